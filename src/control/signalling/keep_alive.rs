//! The ping watchdog (`openvidu-signalling` section 4) and probes for half-open sockets.

use std::time::{Duration, Instant};

/// The interval if the first ping names none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(20);

/// Pings that may be missed.
const MISSED_PINGS: u32 = 3;

/// How often a WebSocket ping goes out. Browsers answer by themselves, even in background tabs.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// Without any sign of life for so long, the socket is half open.
const SILENCE: Duration = Duration::from_secs(45);

/// When a socket is considered dead.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// The client's ping interval, fixed by its first ping.
    interval: Option<Duration>,
    last_ping: Instant,
    last_heard: Instant,
    next_probe: Instant,
    /// Something other than a ping has come: only then does the watchdog bite.
    has_session: bool,
}

/// What has become due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a WebSocket ping.
    Probe,
    /// The client has stopped pinging.
    Watchdog,
    /// Nobody is there any more.
    Silence,
}

impl KeepAlive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            interval: None,
            last_ping: now,
            last_heard: now,
            next_probe: now + PROBE_INTERVAL,
            has_session: false,
        }
    }

    /// Anything has arrived.
    pub(super) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// A request other than `ping` has arrived.
    pub(super) fn asked(&mut self) {
        self.has_session = true;
    }

    /// `ping` has arrived, perhaps with `interval` in milliseconds.
    pub(super) fn pinged(&mut self, now: Instant, interval_ms: Option<i64>) {
        self.last_ping = now;
        self.interval.get_or_insert_with(|| {
            // The bounds keep a client from arming a watchdog that bites at once, or never.
            interval_ms
                .and_then(|ms| u64::try_from(ms).ok())
                .map_or(DEFAULT_INTERVAL, Duration::from_millis)
                .clamp(Duration::from_secs(1), Duration::from_secs(60))
        });
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        let silence = self.last_heard + SILENCE;
        let earliest = self.next_probe.min(silence);
        self.watchdog().map_or(earliest, |at| at.min(earliest))
    }

    /// What is due at `now`, the gravest first.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        if self.watchdog().is_some_and(|at| at <= now) {
            return Some(Due::Watchdog);
        }
        if self.last_heard + SILENCE <= now {
            return Some(Due::Silence);
        }
        (self.next_probe <= now).then(|| {
            self.next_probe = now + PROBE_INTERVAL;
            Due::Probe
        })
    }

    fn watchdog(&self) -> Option<Instant> {
        let interval = self.interval.filter(|_| self.has_session)?;
        Some(self.last_ping + interval * MISSED_PINGS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    fn seconds(seconds: u64) -> Instant {
        t0() + Duration::from_secs(seconds)
    }

    #[test]
    fn three_missed_pings_end_a_session_but_not_a_socket_without_one() {
        let mut socket = KeepAlive::new(t0());
        socket.pinged(t0(), Some(5000));
        assert_ne!(socket.handle_timeout(seconds(15)), Some(Due::Watchdog));
        socket.asked();
        socket.heard(seconds(15));
        assert_eq!(socket.poll_timeout(), seconds(15));
        assert_eq!(socket.handle_timeout(seconds(14)), None);
        assert_eq!(socket.handle_timeout(seconds(15)), Some(Due::Watchdog));
        socket.pinged(seconds(15), None);
        assert_eq!(socket.handle_timeout(seconds(29)), None);
        assert_eq!(socket.handle_timeout(seconds(30)), Some(Due::Watchdog));
    }

    #[test]
    fn the_first_ping_fixes_the_interval_within_bounds() {
        for (announced, seconds_until) in [
            (None, 60),
            (Some(5000), 15),
            (Some(0), 3),
            (Some(-1), 60),
            (Some(i64::MAX), 180),
        ] {
            let mut socket = KeepAlive::new(t0());
            socket.asked();
            socket.pinged(t0(), announced);
            socket.pinged(t0(), Some(7000));
            assert_eq!(
                socket.watchdog(),
                Some(seconds(seconds_until)),
                "{announced:?}"
            );
        }
    }

    #[test]
    fn a_client_that_never_pings_is_probed_and_ends_only_by_silence() {
        let mut socket = KeepAlive::new(t0());
        socket.asked();
        assert_eq!(socket.handle_timeout(seconds(15)), Some(Due::Probe));
        assert_eq!(socket.handle_timeout(seconds(15)), None);
        socket.heard(seconds(16));
        assert_eq!(socket.handle_timeout(seconds(60)), Some(Due::Probe));
        assert_eq!(socket.handle_timeout(seconds(61)), Some(Due::Silence));
    }
}
