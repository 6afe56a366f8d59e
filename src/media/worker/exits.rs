//! Where datagrams leave for browsers and for clients of the TURN server: through a UDP socket or through a TCP
//! connection, as the path's link or the client's five-tuple says.

use std::time::Instant;

use super::outbox::Outbox;
use super::relay::Relay;
use super::streams::{IceTcp, Streams};
use super::turn_streams::TurnStreams;
use crate::media::net::udp::BatchSocket;
use crate::media::transport::Path;
use crate::media::turn::{FiveTuple, Protocol};

/// A UDP socket and what leaves through it.
pub(super) struct Port {
    pub(super) socket: BatchSocket,
    pub(super) outbox: Outbox,
    /// The last sleep was ended by this socket, or there was none yet.
    pub(super) may_have_input: bool,
}

impl Port {
    pub(super) fn new(socket: BatchSocket) -> Self {
        Self {
            socket,
            outbox: Outbox::default(),
            may_have_input: true,
        }
    }
}

/// The media sockets, the TCP connections and the TURN server.
pub(super) struct Exits {
    /// When this turn began.
    pub(super) now: Instant,
    /// Their links are their places here.
    pub(super) ports: Vec<Port>,
    pub(super) streams: Streams<IceTcp>,
    pub(super) relay: Relay,
    /// The TURN server's clients that do not come by UDP.
    pub(super) turn_streams: TurnStreams,
}

impl Exits {
    /// Room for the next datagram of at most `max_len` bytes on `path`; sends what waits if it would not fit.
    /// `None` if the path has gone, or `max_len` exceeds any datagram.
    pub(super) fn space(&mut self, path: &Path, max_len: usize) -> Option<&mut [u8]> {
        if let Some(slot) = Streams::slot(path.link) {
            return self.streams.space(slot, max_len);
        }
        let Port { socket, outbox, .. } = self.ports.get_mut(path.link.0 as usize)?;
        outbox.space(socket, max_len)
    }

    /// Queues the first `len` bytes of the room that [`Self::space`] gave last, for the same path.
    pub(super) fn commit(&mut self, path: &Path, len: usize) {
        if Streams::slot(path.link).is_some() {
            self.streams.commit(len);
        } else if let Some(port) = self.ports.get_mut(path.link.0 as usize) {
            port.outbox.commit(path.remote, path.local, len);
        }
    }

    /// Queues a datagram that was written elsewhere.
    pub(super) fn push(&mut self, path: &Path, datagram: &[u8]) {
        if let Some(space) = self.space(path, datagram.len()) {
            space.copy_from_slice(datagram);
            self.commit(path, datagram.len());
        }
    }

    /// Room for a message of at most `max_len` bytes to a client of the TURN server. `None` if there is no way to it.
    pub(super) fn client_space(&mut self, to: &FiveTuple, max_len: usize) -> Option<&mut [u8]> {
        match to.protocol {
            Protocol::Udp => {
                let Port { socket, outbox, .. } = self.relay.port_of(to)?;
                outbox.space(socket, max_len)
            }
            Protocol::Tcp | Protocol::Tls => self.turn_streams.space_to(to, max_len),
        }
    }

    /// Queues the first `len` bytes of the room that [`Self::client_space`] gave last, for the same client.
    pub(super) fn client_commit(&mut self, to: &FiveTuple, len: usize) {
        match to.protocol {
            Protocol::Udp => {
                if let Some(port) = self.relay.port_of(to) {
                    port.outbox.commit(to.client, Some(to.server.ip()), len);
                }
            }
            Protocol::Tcp | Protocol::Tls => self.turn_streams.commit(len),
        }
    }

    /// Queues a message to a client of the TURN server: `header`, then `payload`, then so many zero bytes.
    pub(super) fn send_to_client(
        &mut self,
        to: &FiveTuple,
        header: &[u8],
        payload: &[u8],
        padding: usize,
    ) {
        let end = header.len() + payload.len();
        if let Some(space) = self.client_space(to, end + padding) {
            space[..header.len()].copy_from_slice(header);
            space[header.len()..end].copy_from_slice(payload);
            space[end..].fill(0);
            self.client_commit(to, end + padding);
        }
    }
}
