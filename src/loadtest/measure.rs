//! What is counted while a test runs, and when.

use std::time::{Duration, Instant};

use super::histogram::Histogram;

/// The part of the test that counts: packets by the time at which they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Nanoseconds from the beginning of the test.
    pub(super) begin_ns: u64,
    /// Behind its end.
    pub(super) end_ns: u64,
}

impl Window {
    /// Whether it holds what was sent then.
    pub(super) const fn holds(self, sent_ns: u64) -> bool {
        self.begin_ns <= sent_ns && sent_ns < self.end_ns
    }
}

/// What all connections of a thread share.
#[derive(Debug)]
pub(super) struct Measure {
    /// The beginning of the test.
    origin: Instant,
    /// Set once everybody has joined.
    pub(super) window: Option<Window>,
    /// From departure to arrival, of packets in the window.
    pub(super) latency: Histogram,
    /// How late packets left, in the window.
    pub(super) lateness: Histogram,
    /// RTP packets that arrived in the window.
    pub(super) arrived: u64,
    /// Their bytes, headers and tags included.
    pub(super) arrived_bytes: u64,
}

impl Measure {
    pub(super) fn new(origin: Instant) -> Self {
        Self {
            origin,
            window: None,
            latency: Histogram::default(),
            lateness: Histogram::default(),
            arrived: 0,
            arrived_bytes: 0,
        }
    }

    /// Nanoseconds from the beginning of the test to `now`.
    pub(super) fn ns(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether the window holds what is sent, or arrives, then.
    pub(super) fn counts(&self, ns: u64) -> bool {
        self.window.is_some_and(|window| window.holds(ns))
    }

    /// A packet leaves at `now` that was due at `due`.
    pub(super) fn leaves(&mut self, now: Instant, due: Instant) {
        if self.counts(self.ns(now)) {
            self.lateness.record(now.saturating_duration_since(due));
        }
    }

    /// A packet of `len` bytes has arrived.
    pub(super) fn arrives(&mut self, now_ns: u64, len: usize) {
        if self.counts(now_ns) {
            self.arrived += 1;
            self.arrived_bytes += len as u64;
        }
    }

    /// A packet that was sent then has arrived for the first time.
    pub(super) fn has_travelled(&mut self, sent_ns: u64, now_ns: u64) {
        if self.counts(sent_ns) {
            let travelled = Duration::from_nanos(now_ns.saturating_sub(sent_ns));
            self.latency.record(travelled);
        }
    }
}
