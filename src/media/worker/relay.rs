//! The TURN server of a worker, its sockets, and its ways to other workers.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::crossing::Crossing;
use super::exits::Port;
use super::relay_sockets::RelaySockets;
use crate::media::net::udp::BatchSocket;
use crate::media::transport::Link;
use crate::media::turn::{self, FiveTuple};
use crate::units::{Random, clock};

/// How often the server is told what the wall clock shows.
const WALL_CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// After a bug of ours cut its timers short, they rest so long: the rest of the turn must not suffer with them.
const TIMER_PAUSE: Duration = Duration::from_secs(1);

/// Links of relayed addresses have this bit, those of sockets and streams do not; below it the family and the port.
const RELAYED: u32 = 1 << 30;

/// What stands for paths through the allocation with this relayed address: port and family are enough, since the
/// allocations of one process never share them.
pub(super) const fn relayed_link(relayed: SocketAddr) -> Link {
    Link(RELAYED | (relayed.is_ipv6() as u32) << 16 | relayed.port() as u32)
}

/// Whether `link`, which is no stream's, stands for a relayed address.
pub(super) const fn is_relayed(link: Link) -> bool {
    link.0 & RELAYED != 0
}

/// A TURN server and what it needs of the world.
pub(super) struct Relay {
    /// The TURN port on every bound address.
    pub(super) ports: Vec<Port>,
    pub(super) server: turn::Server,
    pub(super) sockets: RelaySockets,
    pub(super) crossing: Crossing,
    /// Allocations that the server had made when this was last looked at.
    pub(super) made: u64,
    /// When the server is told the wall-clock time again, if anything happens at all.
    wall_clock_at: Instant,
    /// Its timers rest until then.
    paused_until: Option<Instant>,
}

impl Relay {
    pub(super) fn new(
        now: Instant,
        sockets: Vec<BatchSocket>,
        settings: turn::Settings,
        max_relay_sockets: usize,
        crossing: Crossing,
    ) -> io::Result<Self> {
        for socket in &sockets {
            // What peers send may be longer than the way to the client allows once it has a header.
            socket.may_fragment(true);
        }
        Ok(Self {
            ports: sockets.into_iter().map(Port::new).collect(),
            server: turn::Server::new(now, settings, Random::system()),
            sockets: RelaySockets::new(max_relay_sockets)?,
            crossing,
            made: 0,
            wall_clock_at: now,
            paused_until: None,
        })
    }

    /// The socket through which a UDP client reaches the server.
    pub(super) fn port_of(&mut self, client: &FiveTuple) -> Option<&mut Port> {
        self.ports.iter_mut().find(|port| {
            let bound = port.socket.local_addr();
            bound.is_ipv4() == client.server.is_ipv4()
                && (bound.ip() == client.server.ip() || bound.ip().is_unspecified())
        })
    }

    /// Tells the server what may have changed without its knowing: the wall clock, which somebody may set, and whether
    /// there are descriptors.
    pub(super) fn refresh(&mut self, now: Instant) {
        if now >= self.wall_clock_at {
            self.wall_clock_at = now + WALL_CLOCK_INTERVAL;
            self.server.set_wall_clock(now, clock::wall_ms() / 1_000);
        }
        self.server.set_can_open(self.sockets.can_open(now));
    }

    /// When the server has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.server.poll_timeout()?;
        Some(deadline.max(self.paused_until.unwrap_or(deadline)))
    }

    /// Lets the server's time pass.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.server.handle_timeout(now);
        }
    }

    /// Lets the server's timers rest for a while.
    pub(super) fn pause_timers(&mut self, now: Instant) {
        self.paused_until = Some(now + TIMER_PAUSE);
    }
}
