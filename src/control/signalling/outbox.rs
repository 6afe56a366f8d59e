//! What waits to be written to one socket (`robustness` S30).

use std::collections::VecDeque;

/// Bytes that may wait; a client that lets more pile up is disconnected.
const LIMIT: usize = 1024 * 1024;

/// Frames in order, bounded by their size.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Outgoing>,
    bytes: usize,
    end: Option<End>,
}

/// One frame to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// A text frame.
    Text(String),
    /// A WebSocket ping.
    Probe,
}

/// How the socket is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With this close code and reason, after everything before it was written.
    Close(u16, &'static str),
    /// At once: the client does not read.
    Overflow,
}

impl Outbox {
    /// Appends a frame, or ends the socket if too much waits already.
    pub(super) fn push(&mut self, frame: Outgoing) {
        if self.end.is_some() {
            return;
        }
        let size = frame.size();
        if self.bytes + size > LIMIT {
            self.frames.clear();
            self.end = Some(End::Overflow);
            return;
        }
        self.bytes += size;
        self.frames.push_back(frame);
    }

    /// The next frame to write.
    pub(super) fn pop(&mut self) -> Option<Outgoing> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.size();
        Some(frame)
    }

    /// Ends the socket after what waits; the first end counts.
    pub(super) fn close(&mut self, code: u16, reason: &'static str) {
        self.end.get_or_insert(End::Close(code, reason));
    }

    /// How the socket is to end, once [`Outbox::pop`] yields nothing.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }
}

impl Outgoing {
    /// What it counts: half the limit at most, since the answer to joining a large session is as long as the session
    /// is large, and must pass among the small frames that come with it.
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len().min(LIMIT / 2),
            Self::Probe => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Outgoing {
        Outgoing::Text("x".repeat(len))
    }

    #[test]
    fn more_than_the_limit_ends_the_socket_and_frees_what_waited() {
        let mut outbox = Outbox::default();
        for _ in 0..4 {
            outbox.push(text(LIMIT / 4));
        }
        assert_eq!(outbox.end(), None);
        outbox.push(text(1));
        assert_eq!(outbox.end(), Some(End::Overflow));
        assert_eq!(outbox.pop(), None);
        outbox.push(text(1));
        assert_eq!(outbox.pop(), None);
    }

    #[test]
    fn a_large_frame_passes_among_small_ones_and_popping_makes_room() {
        let mut outbox = Outbox::default();
        for frame in [text(10), text(3 * LIMIT), text(1000)] {
            outbox.push(frame);
        }
        assert_eq!(outbox.end(), None);
        assert_eq!(outbox.pop(), Some(text(10)));
        assert_eq!(outbox.pop(), Some(text(3 * LIMIT)));
        outbox.push(text(3 * LIMIT));
        assert_eq!(outbox.end(), None);
        outbox.push(text(LIMIT));
        assert_eq!(outbox.end(), Some(End::Overflow), "two of them do not");
    }

    #[test]
    fn what_was_queued_before_the_close_is_still_written_and_nothing_after() {
        let mut outbox = Outbox::default();
        outbox.push(text(1));
        outbox.close(1000, "first");
        outbox.close(1001, "second");
        outbox.push(text(2));
        assert_eq!(outbox.pop(), Some(text(1)));
        assert_eq!(outbox.pop(), None);
        assert_eq!(outbox.end(), Some(End::Close(1000, "first")));
    }
}
