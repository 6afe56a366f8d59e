//! Where datagrams leave for browsers and for clients of the TURN server: through a UDP socket, through a TCP connection
//! or through an allocation, as the path's link or the client's five-tuple says.

use std::net::SocketAddr;
use std::time::Instant;

use super::crossing::Place;
use super::outbox::Outbox;
use super::relay::{Relay, is_relayed};
use super::streams::{IceTcp, Streams};
use super::turn_streams::TurnStreams;
use crate::media::net::udp::BatchSocket;
use crate::media::transport::Path;
use crate::media::turn::{AllocationId, FiveTuple, Protocol, ToClient};

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
    /// The allocation for whose client a datagram is being written.
    pub(super) written_to: Option<Relayed>,
    /// Media packets of this turn.
    pub(super) media: Media,
}

/// Media packets on their way out, and their bytes before they are sealed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Media {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// An allocation of this worker and how data for its client begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relayed {
    allocation: AllocationId,
    client: FiveTuple,
    header_len: usize,
}

/// Zero bytes behind data for a client at most.
const MAX_PADDING: usize = 3;

impl Exits {
    /// Room for the next datagram of at most `max_len` bytes on `path`; sends what waits if it would not fit.
    /// `None` if the path has gone, or `max_len` exceeds any datagram.
    pub(super) fn space(&mut self, path: &Path, max_len: usize) -> Option<&mut [u8]> {
        if let Some(slot) = Streams::slot(path.link) {
            return self.streams.space(slot, max_len);
        }
        if is_relayed(path.link) {
            return self.relayed_space(path, max_len);
        }
        let Port { socket, outbox, .. } = self.ports.get_mut(path.link.0 as usize)?;
        outbox.space(socket, max_len)
    }

    /// Queues the first `len` bytes of the room that [`Self::space`] gave last, for the same path.
    pub(super) fn commit(&mut self, path: &Path, len: usize) {
        if Streams::slot(path.link).is_some() {
            self.streams.commit(len);
        } else if is_relayed(path.link) {
            self.relayed_commit(path, len);
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

    // ---- through allocations ----------------------------------------------------------------------------------

    /// Our end of a path through an allocation, as its client names it.
    fn near_end(&self, path: &Path) -> Option<SocketAddr> {
        let port = self.relay.crossing.media_port();
        path.local.map(|ip| SocketAddr::new(ip, port))
    }

    /// Room behind the header that the client of the path's allocation will see; where the allocation is another
    /// worker's, room on the way there.
    fn relayed_space(&mut self, path: &Path, max_len: usize) -> Option<&mut [u8]> {
        let (now, from) = (self.now, self.near_end(path)?);
        if let Place::There(_) = self.relay.crossing.place_of_relay(path.remote.port())? {
            return self.relay.crossing.space(max_len);
        }
        let server = &self.relay.server;
        let allocation = server.allocation_at(now, path.remote)?;
        let (client, header_len) = server.way_to_client(now, allocation, from)?;
        self.written_to = Some(Relayed {
            allocation,
            client,
            header_len,
        });
        let space = self.client_space(&client, header_len + max_len + MAX_PADDING)?;
        space.get_mut(header_len..header_len + max_len)
    }

    fn relayed_commit(&mut self, path: &Path, len: usize) {
        let Some(from) = self.near_end(path) else {
            return;
        };
        let Relay {
            server, crossing, ..
        } = &mut self.relay;
        match crossing.place_of_relay(path.remote.port()) {
            Some(Place::Here) => {
                let Some(relayed) = self.written_to.take() else {
                    return;
                };
                // What exceeds a bound of bandwidth stays unsent.
                if let Some(data) = server.handle_peer(self.now, relayed.allocation, from, len)
                    && data.to == relayed.client
                    && data.header().len() == relayed.header_len
                {
                    self.enclose(&data, len);
                }
            }
            Some(Place::There(worker)) => crossing.send_written(worker, from, path.remote, len),
            None => {}
        }
    }

    /// Writes header and padding around the `len` bytes in the room for the client, and queues them.
    fn enclose(&mut self, data: &ToClient, len: usize) {
        let header = data.header();
        let total = header.len() + len + data.padding;
        if let Some(space) = self.client_space(&data.to, total) {
            space[..header.len()].copy_from_slice(header);
            space[header.len() + len..].fill(0);
            self.client_commit(&data.to, total);
        }
    }

    // ---- to clients of the TURN server ------------------------------------------------------------------------

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

    /// Queues data for a client of the TURN server.
    pub(super) fn send_data(&mut self, data: &ToClient, payload: &[u8]) {
        let start = data.header().len();
        let max_len = start + payload.len() + MAX_PADDING;
        if let Some(space) = self.client_space(&data.to, max_len) {
            space[start..start + payload.len()].copy_from_slice(payload);
            self.enclose(data, payload.len());
        }
    }

    /// Queues an answer to a client of the TURN server.
    pub(super) fn answer(&mut self, to: &FiveTuple, answer: &[u8]) {
        if let Some(space) = self.client_space(to, answer.len()) {
            space.copy_from_slice(answer);
            self.client_commit(to, answer.len());
        }
    }
}
