//! What leaves through one socket in this turn: bytes side by side in one arena, so that runs can go out as GSO.

use std::net::{IpAddr, SocketAddr};

use crate::media::net::udp::{BatchSocket, Outgoing, Sent};

/// Bytes that wait at most; a fuller arena is sent at once. Small enough to stay in the second-level cache.
const ARENA: usize = 256 * 1024;

/// Datagrams that wait at most.
const BATCH: usize = 512;

/// Outgoing datagrams of one socket.
#[derive(Debug)]
pub(super) struct Outbox {
    arena: Vec<u8>,
    used: usize,
    batch: Vec<Outgoing>,
    /// What became of everything sent so far.
    pub(super) sent: Sent,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            arena: vec![0; ARENA],
            used: 0,
            batch: Vec::with_capacity(BATCH),
            sent: Sent::default(),
        }
    }
}

impl Outbox {
    /// Room for the next datagram of at most `max_len` bytes; sends what waits if it would not fit.
    /// `None` if `max_len` exceeds any datagram.
    pub(super) fn space(&mut self, socket: &BatchSocket, max_len: usize) -> Option<&mut [u8]> {
        if self.arena.len() - self.used < max_len || self.batch.len() == BATCH {
            self.flush(socket);
        }
        self.arena.get_mut(self.used..self.used + max_len)
    }

    /// Queues the first `len` bytes of the room that [`Self::space`] gave.
    pub(super) fn commit(&mut self, to: SocketAddr, from: Option<IpAddr>, len: usize) {
        self.batch.push(Outgoing {
            to,
            from,
            start: self.used,
            len,
        });
        self.used += len;
    }

    /// Sends everything that waits.
    pub(super) fn flush(&mut self, socket: &BatchSocket) {
        if !self.batch.is_empty() {
            self.sent += socket.send(&self.arena, &self.batch);
            self.batch.clear();
        }
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> BatchSocket {
        BatchSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)), false, None).unwrap()
    }

    fn push(outbox: &mut Outbox, socket: &BatchSocket, datagram: &[u8]) {
        let space = outbox.space(socket, datagram.len()).unwrap();
        space.copy_from_slice(datagram);
        outbox.commit(socket.local_addr(), None, datagram.len());
    }

    #[test]
    fn datagrams_lie_side_by_side_so_that_they_can_leave_as_one_run() {
        let socket = socket();
        let mut outbox = Outbox::default();
        for byte in 0..3 {
            outbox.space(&socket, 100).unwrap()[..40].fill(byte);
            outbox.commit(socket.local_addr(), None, 40);
        }
        let starts: Vec<usize> = outbox.batch.iter().map(|datagram| datagram.start).collect();
        assert_eq!(starts, [0, 40, 80]);
        outbox.flush(&socket);
        assert_eq!((outbox.sent.datagrams, outbox.sent.dropped), (3, 0));
        outbox.flush(&socket);
        assert_eq!(outbox.sent.datagrams, 3, "once");
    }

    #[test]
    fn what_does_not_fit_any_more_makes_the_rest_leave() {
        let socket = socket();
        let mut outbox = Outbox::default();
        for _ in 0..=ARENA / 1_000 {
            push(&mut outbox, &socket, &[1; 1_000]);
        }
        assert_eq!(outbox.batch.len(), 1);
        assert!(outbox.sent.datagrams > 0);

        let mut outbox = Outbox::default();
        for _ in 0..=BATCH {
            push(&mut outbox, &socket, &[1]);
        }
        assert_eq!(outbox.batch.len(), 1);
    }

    #[test]
    fn space_that_is_not_used_is_given_again() {
        let socket = socket();
        let mut outbox = Outbox::default();
        assert!(outbox.space(&socket, 100).is_some());
        assert!(outbox.space(&socket, ARENA).is_some());
        assert!(outbox.space(&socket, ARENA + 1).is_none());
        outbox.flush(&socket);
        assert_eq!(outbox.sent, Sent::default());
    }
}
