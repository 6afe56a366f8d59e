//! All clients of a test with their sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::client::{Client, MAX_REQUEST_LEN};
use super::sources::Sources;
use super::{Error, Login, Options, Refusal};
use crate::loadtest::histogram::Histogram;
use crate::media::net::udp::{BatchSocket, Outgoing, RECEIVE_BATCH, ReceiveBuffers};
use crate::units::{Random, clock};

/// Batches that are read from one socket before the others have their turn.
const BATCHES: usize = 16;

/// How long time-limited users are good: longer than any test.
const USER_LIFETIME_SECS: u64 = 86_400;

/// Requests that wait for their answers at any time.
pub(super) const AT_ONCE: usize = 128;

/// Clients, each with a socket of its own or, where they have addresses of their own, all with one.
#[derive(Debug)]
pub(super) struct Clients {
    server: SocketAddr,
    sockets: Vec<BatchSocket>,
    sources: Option<Sources>,
    clients: Vec<Client>,
    buffers: ReceiveBuffers,
}

/// How all clients were brought to do something.
#[derive(Debug, Default)]
pub(super) struct Driven {
    /// How long it took.
    pub(super) duration: Duration,
    /// How long each client took.
    pub(super) each: Histogram,
}

impl Clients {
    /// Opens their sockets at `local`. Without a login they are sockets only.
    pub(super) fn open(options: &Options, local: IpAddr, count: usize) -> Result<Self, Error> {
        let sources = options.sources.map(Sources::new);
        let sockets = match sources {
            Some(_) => vec![every_address(options.server)?],
            None => sockets(local, count, options.merge)?,
        };
        let expiry = clock::wall_ms() / 1_000 + USER_LIFETIME_SECS;
        let new = |login: &Login| {
            let mut random = Random::system();
            Client::new(login.user(expiry, &mut random), random)
        };
        let clients = options
            .login
            .iter()
            .flat_map(|login| (0..count).map(move |_| new(login)))
            .collect();
        Ok(Self {
            server: options.server,
            sockets,
            sources,
            clients,
            buffers: ReceiveBuffers::default(),
        })
    }

    /// Every client.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter()
    }

    /// All sockets, by client unless clients have addresses of their own.
    pub(super) fn sockets(&self) -> &[BatchSocket] {
        &self.sockets
    }

    /// Has each client, so many at once, `begin` something, and waits until all have done it or given up.
    pub(super) fn drive(
        &mut self,
        at_once: usize,
        stop: &AtomicBool,
        mut begin: impl FnMut(&mut Client, usize, Instant),
    ) -> Result<Driven, Error> {
        let begun_at = clock::now();
        let (mut driven, mut next) = (Driven::default(), 0);
        let mut active: Vec<(usize, Instant)> = Vec::with_capacity(at_once);
        while next < self.clients.len() || !active.is_empty() {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let now = clock::now();
            while active.len() < at_once
                && let Some(client) = self.clients.get_mut(next)
            {
                begin(client, next, now);
                self.send(next, now);
                active.push((next, now));
                next += 1;
            }
            if self.receive(|_, _, _| {}) == 0 {
                thread::yield_now();
            }
            let now = clock::now();
            active.retain(|&(index, since)| {
                self.attend(index, now);
                let is_settled = self.clients.get(index).is_none_or(Client::is_settled);
                if is_settled {
                    driven.each.record(now.saturating_duration_since(since));
                }
                !is_settled
            });
        }
        driven.duration = clock::now().saturating_duration_since(begun_at);
        Ok(driven)
    }

    /// An error if a client gave up.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refusals: Vec<Refusal> = self.iter().filter_map(Client::refusal).collect();
        match refusals.first() {
            Some(first) => Err(Error::Refused {
                failed: refusals.len(),
                wanted: self.clients.len(),
                first: *first,
            }),
            None => Ok(()),
        }
    }

    /// Gives all allocations back. A server that does not answer will see them expire.
    pub(super) fn release(&mut self) {
        let never = AtomicBool::new(false);
        let _ = self.drive(AT_ONCE, &never, |client, _, now| client.release(now));
    }

    /// Keeps alive what would expire.
    pub(super) fn attend_all(&mut self, now: Instant) {
        for index in 0..self.clients.len() {
            self.attend(index, now);
        }
    }

    fn attend(&mut self, index: usize, now: Instant) {
        if let Some(client) = self.clients.get_mut(index)
            && client.poll_timeout().is_some_and(|at| now >= at)
        {
            client.handle_timeout(now);
            self.send(index, now);
        }
    }

    /// Sends what a client has to say.
    fn send(&mut self, index: usize, now: Instant) {
        let mut request = [0; MAX_REQUEST_LEN];
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        while let Some(len) = client.poll_output(now, &mut request) {
            let (socket, from) = match &self.sources {
                Some(sources) => (0, Some(sources.address(index as u64))),
                None => (index, None),
            };
            let outgoing = Outgoing {
                to: self.server,
                from,
                start: 0,
                len,
            };
            if let Some(socket) = self.sockets.get(socket) {
                // What the kernel does not take is repeated like what the network loses.
                socket.send(&request, &[outgoing]);
            }
        }
    }

    /// Receives what waits: answers for clients, and data for `data`, with the client's number and the time. Returns how
    /// many datagrams came.
    pub(super) fn receive(&mut self, mut data: impl FnMut(usize, Instant, &[u8])) -> usize {
        let ready = if self.sockets.len() == 1 {
            vec![0]
        } else {
            ready(&self.sockets)
        };
        let mut count = 0;
        for socket in ready {
            for _ in 0..BATCHES {
                let received = self.sockets[socket].receive(&mut self.buffers);
                if received.is_err() || self.buffers.is_empty() {
                    break;
                }
                count += self.take_batch(socket, &mut data);
                if self.buffers.len() < RECEIVE_BATCH {
                    break;
                }
            }
        }
        count
    }

    fn take_batch(&mut self, socket: usize, data: &mut impl FnMut(usize, Instant, &[u8])) -> usize {
        let now = clock::now();
        let (mut count, mut answered) = (0, Vec::new());
        for message in 0..self.buffers.len() {
            let received = self.buffers.received(message);
            let index = match (&self.sources, received.to) {
                (None, _) => socket,
                (Some(sources), Some(to)) => match sources.index(to) {
                    Some(index) => index as usize,
                    None => continue,
                },
                (Some(_), None) => continue,
            };
            let start = ReceiveBuffers::offset(message);
            let bytes = &self.buffers.bytes()[start..start + received.len];
            for datagram in bytes.chunks(received.stride.max(1)) {
                count += 1;
                match (datagram.first(), self.clients.get_mut(index)) {
                    (Some(0..=3), Some(client)) => {
                        client.handle_input(now, datagram);
                        answered.push(index);
                    }
                    _ => data(index, now, datagram),
                }
            }
        }
        for index in answered {
            self.send(index, now);
        }
        count
    }
}

/// A socket that sends from, and receives at, every address of ours.
pub(super) fn every_address(server: SocketAddr) -> Result<BatchSocket, Error> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    BatchSocket::bind(SocketAddr::new(any, 0), false, None)
        .map_err(Error::system("there is no socket"))
}

/// `count` sockets at `local`.
pub(super) fn sockets(local: IpAddr, count: usize, merge: bool) -> Result<Vec<BatchSocket>, Error> {
    let any_port = SocketAddr::new(local, 0);
    let bind = |_| {
        if merge {
            BatchSocket::bind(any_port, false, None)
        } else {
            BatchSocket::bind_plain(any_port)
        }
    };
    (0..count)
        .map(bind)
        .collect::<Result<_, _>>()
        .map_err(Error::system(
            "there are not enough sockets (see `ulimit -n`)",
        ))
}

/// Receives what waits at `socket`, each datagram with the time; returns how many they were.
pub(super) fn receive(
    socket: &BatchSocket,
    buffers: &mut ReceiveBuffers,
    mut take: impl FnMut(Instant, &[u8]),
) -> usize {
    let mut count = 0;
    for _ in 0..BATCHES {
        if socket.receive(buffers).is_err() || buffers.is_empty() {
            break;
        }
        let now = clock::now();
        for message in 0..buffers.len() {
            let received = buffers.received(message);
            let start = ReceiveBuffers::offset(message);
            let bytes = &buffers.bytes()[start..start + received.len];
            for datagram in bytes.chunks(received.stride.max(1)) {
                take(now, datagram);
                count += 1;
            }
        }
        if buffers.len() < RECEIVE_BATCH {
            break;
        }
    }
    count
}

/// The numbers of the sockets at which something waits.
pub(super) fn ready(sockets: &[BatchSocket]) -> Vec<usize> {
    let mut fds: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|socket| PollFd::new(socket, PollFlags::IN))
        .collect();
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // With a signal in between nothing is ready, until the next turn.
    if !rustix::event::poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0) {
        return Vec::new();
    }
    fds.iter()
        .enumerate()
        .filter(|(_, fd)| !fd.revents().is_empty())
        .map(|(index, _)| index)
        .collect()
}
