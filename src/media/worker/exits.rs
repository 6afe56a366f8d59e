//! Where datagrams leave for browsers: through a UDP socket or through a TCP connection, as the path's link says.

use super::outbox::Outbox;
use super::streams::{IceTcp, Streams};
use crate::media::net::udp::BatchSocket;
use crate::media::transport::Path;

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

/// The media sockets and the TCP connections.
pub(super) struct Exits {
    /// Their links are their places here.
    pub(super) ports: Vec<Port>,
    pub(super) streams: Streams<IceTcp>,
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
}
