//! Load on any TURN server: many clients with a channel each, numbered datagrams, and what became of them.
//!
//! ```text
//! clients (client)  sockets, allocations, channels
//! relay (pacer)     up, down, pair, direct: datagrams that are relayed, or not
//! holding           allocate, idle: what an allocation costs
//! questions         binding, flood, answer: requests without a user
//! book (flow)       what was sent and what became of it
//! report            one table, one line of JSON
//! ```
//!
//! One thread sends and receives: generator and sink are on one core, the server on another.

mod book;
mod client;
mod clients;
mod flow;
mod holding;
mod pacer;
mod questions;
mod relay;
mod report;
mod service;
mod sources;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ipnet::IpNet;

pub use client::{Login, Refusal};
pub use report::{Counted, Datagrams, Generator, Load, Report, Server, SetUp};
pub use service::{Printing, run};

/// The longest payload: behind the header of ChannelData it still leaves in runs.
pub const MAX_SIZE: usize = 1_296;

/// The shortest payload: a byte that tells RTP from STUN, and what every datagram says about itself.
pub const MIN_SIZE: usize = super::stamp::LEN + 2;

/// The most datagrams of a run (the kernel's limit of segments).
pub const MAX_RUN: usize = 64;

/// What a test does. The command line and its help are made from these names and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    /// Clients send through their allocations to a peer
    Up,
    /// A peer sends to the relayed addresses, and clients receive
    Down,
    /// Every second client sends to its neighbour, through both allocations
    Pair,
    /// Datagrams to --peer without TURN, for what receiving them costs; or to ourselves, for what this program and the
    /// machine can do at most
    Direct,
    /// Allocations as fast as the server makes them, from the first challenge on, and the memory that they take
    Allocate,
    /// Allocations with a channel each that nobody uses
    Idle,
    /// Binding requests
    Binding,
    /// Allocate requests without a user; forged addresses by --sources
    Flood,
    /// Binding requests until one is answered, and when that was: how fast a server starts
    Answer,
}

/// How much is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As much as it takes: so many datagrams are on their way at any time (a closed loop).
    Saturated {
        /// How many at most.
        in_flight: u32,
    },
    /// So many datagrams per second, whatever becomes of them (an open loop).
    PerSecond(u32),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server.
    pub server: SocketAddr,
    /// Who we are there.
    pub login: Option<Login>,
    /// What is done.
    pub case: Case,
    /// Allocations; without allocations, sockets.
    pub allocations: usize,
    /// Bytes of each payload.
    pub size: usize,
    /// Datagrams that each flow sends at a time, by one system call.
    pub run: usize,
    /// How much is sent.
    pub pace: Pace,
    /// How long is measured.
    pub duration: Duration,
    /// What passes before that.
    pub warm_up: Duration,
    /// The address of ours to send from and to receive at; `None`: what the system chooses for the server.
    pub bind: Option<IpAddr>,
    /// The network of ours from which each client, or each request, has an address of its own, where no data is
    /// relayed.
    pub sources: Option<IpNet>,
    /// A peer that is not ours and from which nothing comes back.
    pub peer: Option<SocketAddr>,
    /// The peer of those whose relayed port is this one or a higher one: a server that has shared its relay ports out among
    /// its threads is so asked to relay on one thread, or from one to another.
    pub upper_peer: Option<(u16, SocketAddr)>,
    /// The kernel may merge what arrives (GRO). Where the server is on this machine, that spares it the cutting of its
    /// runs, which on a network its device or driver does.
    pub merge: bool,
    /// The server's process, if it runs here, to be charged with what it uses.
    pub pid: Option<u32>,
    /// How long this program sleeps between two looks at its sockets if it has nothing to send; zero: never.
    pub poll: Duration,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Options that do not fit together.
    #[error("{0}")]
    Options(&'static str),
    /// The system refuses something.
    #[error("{what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Clients got no allocation or no channel.
    #[error("{failed} of {wanted} clients have no allocation or no channel: {first}")]
    Refused {
        /// How many.
        failed: usize,
        /// Of how many.
        wanted: usize,
        /// Why the first one has none.
        first: Refusal,
    },
    /// Nobody answered.
    #[error("the server did not answer within {0:.1} s")]
    Silence(f64),
    /// Somebody has stopped it before there was anything to tell.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Runs a test, on this thread, until it is over or `stop` is set.
///
/// # Errors
/// There is no result.
pub fn measure(options: &Options, stop: &AtomicBool) -> Result<Report, Error> {
    options.check()?;
    let outcome = match options.case {
        Case::Up | Case::Down | Case::Pair | Case::Direct => relay::run(options, stop)?,
        Case::Allocate | Case::Idle => holding::run(options, stop)?,
        Case::Binding | Case::Flood => questions::run(options, stop)?,
        Case::Answer => questions::first_answer(options, stop)?,
    };
    Ok(Report::new(options, &outcome))
}

impl Options {
    /// Whether they fit together.
    ///
    /// # Errors
    /// They do not, and why.
    pub fn check(&self) -> Result<(), Error> {
        let is_relay = matches!(self.case, Case::Up | Case::Down | Case::Pair);
        let wrong = if !(MIN_SIZE..=MAX_SIZE).contains(&self.size) {
            "a payload has 34 to 1296 bytes"
        } else if !(1..=MAX_RUN).contains(&self.run) {
            "a run has 1 to 64 datagrams"
        } else if self.allocations == 0 {
            "without an allocation there is nothing to do"
        } else if self.case == Case::Pair && self.allocations < 2 {
            "a pair needs two allocations"
        } else if (is_relay || matches!(self.case, Case::Allocate | Case::Idle))
            && self.login.is_none()
        {
            "an allocation needs a user and a password, or the server's secret"
        } else if self.peer.is_some() && !matches!(self.case, Case::Up | Case::Direct) {
            "a peer of somebody else's is for sending only (up, direct)"
        } else if self.upper_peer.is_some() && (self.case != Case::Up || self.peer.is_none()) {
            "a second peer of somebody else's needs a first one (up)"
        } else if matches!(self.pace, Pace::Saturated { .. })
            && (self.peer.is_some() || self.case == Case::Flood)
        {
            "where nothing comes back only a rate says how much to send"
        } else if self
            .bind
            .is_some_and(|ip| ip.is_ipv4() != self.server.is_ipv4())
        {
            "our address and the server's are not of one family"
        } else {
            return Ok(());
        };
        Err(Error::Options(wrong))
    }

    /// Our address towards the server.
    fn local_address(&self) -> Result<IpAddr, Error> {
        if let Some(address) = self.bind {
            return Ok(address);
        }
        let any: SocketAddr = match self.server {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0; 16], 0).into(),
        };
        UdpSocket::bind(any)
            .and_then(|socket| {
                socket.connect(self.server)?;
                Ok(socket.local_addr()?.ip())
            })
            .map_err(Error::system("there is no way to the server"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_do_not_fit_together_are_named() {
        let good = Options {
            server: ([127, 0, 0, 1], 3478).into(),
            login: Some(Login::Secret(crate::units::Secret::new("north"))),
            case: Case::Up,
            allocations: 10,
            size: 172,
            run: 1,
            pace: Pace::Saturated { in_flight: 64 },
            duration: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            bind: None,
            sources: None,
            peer: None,
            upper_peer: None,
            merge: false,
            pid: None,
            poll: Duration::ZERO,
        };
        assert!(good.check().is_ok());
        let wrong = |change: fn(&mut Options)| {
            let mut options = good.clone();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        for (change, word) in [
            ((|it| it.size = MIN_SIZE - 1) as fn(&mut Options), "payload"),
            (|it| it.size = MAX_SIZE + 1, "payload"),
            (|it| it.run = 0, "run"),
            (|it| it.run = MAX_RUN + 1, "run"),
            (|it| it.allocations = 0, "allocation"),
            (|it| it.login = None, "secret"),
            (|it| (it.case, it.allocations) = (Case::Pair, 1), "pair"),
            (|it| it.peer = Some(it.server), "rate"),
            (|it| it.case = Case::Flood, "rate"),
            (|it| it.upper_peer = Some((1, it.server)), "second"),
            (
                |it| (it.case, it.peer) = (Case::Down, Some(it.server)),
                "peer",
            ),
            (|it| it.bind = Some([0; 16].into()), "family"),
        ] {
            let text = wrong(change);
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
