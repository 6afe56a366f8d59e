//! A transport and what the worker knows about it.

use std::net::SocketAddr;
use std::time::Instant;

use crate::media::plane::TransportId;
use crate::media::transport::{Link, Transport};

/// One transport of a room.
pub(super) struct Peer {
    /// Its name in commands and events.
    pub(super) id: TransportId,
    /// Its slot's generation, for timers.
    pub(super) generation: u32,
    /// Its room's slot.
    pub(super) room: u32,
    /// Our user name fragment, under which checks find it.
    pub(super) ufrag: String,
    /// ICE, DTLS and SRTP.
    pub(super) transport: Transport,
    /// Senders whose datagrams are routed to it: those of the transport's valid paths.
    pub(super) addrs: Vec<(Link, SocketAddr)>,
    /// TCP connections that a check has proved to be its own, by slot.
    pub(super) streams: Vec<u32>,
    /// Its datagrams in the queue of handshakes.
    pub(super) handshakes: usize,
    /// Its earliest entry in the timer queue.
    pub(super) registered: Option<Instant>,
}
