//! The TURN server of a worker and its sockets.

use std::time::{Duration, Instant};

use super::exits::Port;
use crate::media::net::udp::BatchSocket;
use crate::media::turn::{self, FiveTuple};
use crate::units::{Random, clock};

/// How often the server is told what the wall clock shows.
const WALL_CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// A TURN server and what it needs of the world.
pub(super) struct Relay {
    /// The TURN port on every bound address.
    pub(super) ports: Vec<Port>,
    pub(super) server: turn::Server,
    /// When the server is told the wall-clock time again, if anything happens at all.
    wall_clock_at: Instant,
}

impl Relay {
    pub(super) fn new(now: Instant, sockets: Vec<BatchSocket>, settings: turn::Settings) -> Self {
        Self {
            ports: sockets.into_iter().map(Port::new).collect(),
            server: turn::Server::new(now, settings, Random::system()),
            wall_clock_at: now,
        }
    }

    /// The socket through which a UDP client reaches the server.
    pub(super) fn port_of(&mut self, client: &FiveTuple) -> Option<&mut Port> {
        self.ports.iter_mut().find(|port| {
            let bound = port.socket.local_addr().ip();
            bound == client.server.ip()
                || bound.is_unspecified() && bound.is_ipv4() == client.server.is_ipv4()
        })
    }

    /// Tells the server the wall-clock time, now and then: somebody may set that clock.
    pub(super) fn read_wall_clock(&mut self, now: Instant) {
        if now >= self.wall_clock_at {
            self.wall_clock_at = now + WALL_CLOCK_INTERVAL;
            self.server.set_wall_clock(now, clock::wall_ms() / 1_000);
        }
    }

    /// When the server has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.server.poll_timeout()
    }
}
