//! Named counters of what should be rare: panics, drops, refusals. Metrics are exported from here.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only rises while the process lives.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    help: &'static str,
    value: AtomicU64,
}

impl Counter {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            value: AtomicU64::new(0),
        }
    }

    /// Counts one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `by`. Wraps around after 2^64.
    pub fn add(&self, by: u64) {
        // Counters order nothing else.
        self.value.fetch_add(by, Ordering::Relaxed);
    }

    /// The number so far.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// The metric's name, in Prometheus' style.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it counts.
    pub const fn help(&self) -> &'static str {
        self.help
    }
}

/// Every counter of the process. One is made at start and shared.
#[derive(Debug)]
pub struct Counters {
    /// Sessions that a bug ended.
    pub session_panics: Counter,
    /// Rooms of the media plane that a bug ended.
    pub room_panics: Counter,
    /// Transports that a bug ended.
    pub transport_panics: Counter,
    /// Datagrams from addresses without a valid ICE check, or of no known protocol.
    pub datagrams_dropped: Counter,
    /// Packets that failed authentication or were replayed.
    pub srtp_rejected: Counter,
    /// Events of the media plane that a full queue dropped.
    pub events_dropped: Counter,
    /// Transports that failed: no ICE check in time, or no DTLS handshake.
    pub transports_failed: Counter,
    /// Wrong guesses of the secret.
    pub secret_guesses: Counter,
    /// Requests refused after too many wrong guesses.
    pub guesses_limited: Counter,
    /// Signalling connections closed because they did not keep up.
    pub slow_sockets_closed: Counter,
}

impl Counters {
    /// All at zero.
    pub const fn new() -> Self {
        Self {
            session_panics: Counter::new("hanok_session_panics_total", "Sessions that a bug ended"),
            room_panics: Counter::new("hanok_room_panics_total", "Rooms that a bug ended"),
            transport_panics: Counter::new(
                "hanok_transport_panics_total",
                "Transports that a bug ended",
            ),
            datagrams_dropped: Counter::new(
                "hanok_datagrams_dropped_total",
                "Datagrams from unvalidated addresses or of no known protocol",
            ),
            srtp_rejected: Counter::new(
                "hanok_srtp_rejected_total",
                "Packets that failed authentication or were replayed",
            ),
            events_dropped: Counter::new(
                "hanok_events_dropped_total",
                "Events of the media plane that a full queue dropped",
            ),
            transports_failed: Counter::new(
                "hanok_transports_failed_total",
                "Transports without ICE check or DTLS handshake in time",
            ),
            secret_guesses: Counter::new(
                "hanok_secret_guesses_total",
                "Wrong guesses of the secret",
            ),
            guesses_limited: Counter::new(
                "hanok_guesses_limited_total",
                "Requests refused after too many wrong guesses",
            ),
            slow_sockets_closed: Counter::new(
                "hanok_slow_sockets_closed_total",
                "Signalling connections that did not keep up",
            ),
        }
    }

    /// Every counter.
    pub fn iter(&self) -> impl Iterator<Item = &Counter> {
        // Destructured, so that a new counter that is not listed does not compile.
        let Self {
            session_panics,
            room_panics,
            transport_panics,
            datagrams_dropped,
            srtp_rejected,
            events_dropped,
            transports_failed,
            secret_guesses,
            guesses_limited,
            slow_sockets_closed,
        } = self;
        [
            session_panics,
            room_panics,
            transport_panics,
            datagrams_dropped,
            srtp_rejected,
            events_dropped,
            transports_failed,
            secret_guesses,
            guesses_limited,
            slow_sockets_closed,
        ]
        .into_iter()
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_distinct_names_and_start_at_zero() {
        let counters = Counters::new();
        let mut names: Vec<_> = counters.iter().map(Counter::name).collect();
        assert!(
            counters
                .iter()
                .all(|counter| counter.get() == 0 && !counter.help().is_empty())
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), counters.iter().count());
    }

    #[test]
    fn counts_from_several_threads_add_up() {
        let counters = Counters::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| counters.session_panics.increment()));
            }
        });
        counters.session_panics.add(5);
        assert_eq!(counters.session_panics.get(), 4005);
    }
}
