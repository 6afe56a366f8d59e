//! The watchdog (`openvidu-signalling` section 4), fed by whatever arrives.
//!
//! OpenVidu counts `ping` requests alone, and evicts people whose tab is in the background: its timers may be held back
//! to one a minute, or stopped. Their browser still answers WebSocket pings, so these go out whenever nothing was heard
//! for one interval, and only a socket from which nothing comes at all for three of them is closed.

use std::time::{Duration, Instant};

/// The interval if the first ping names none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(20);

/// Intervals that may pass in silence.
const MISSED_PINGS: u32 = 3;

/// What is expected of sockets that have not pinged, or have no session yet; nobody waits for longer.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// When a socket is considered dead.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// The client's ping interval, fixed by its first ping.
    interval: Option<Duration>,
    last_heard: Instant,
    last_probe: Instant,
    /// Something other than a ping has come: only then does the client's own interval count.
    has_session: bool,
}

/// What has become due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a WebSocket ping.
    Probe,
    /// Nothing comes any more, neither pings nor pongs.
    Silence,
}

impl KeepAlive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            interval: None,
            last_heard: now,
            last_probe: now,
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

    /// `ping` has arrived, perhaps with `interval` in milliseconds; returns the interval that counts.
    pub(super) fn pinged(&mut self, interval_ms: Option<i64>) -> Duration {
        // The bounds keep a client from arming a watchdog that bites at once, or never.
        let announced = interval_ms
            .and_then(|ms| u64::try_from(ms).ok())
            .map_or(DEFAULT_INTERVAL, Duration::from_millis)
            .clamp(Duration::from_secs(1), Duration::from_secs(60));
        self.carry_over(announced)
    }

    /// The client's interval is known from its former socket.
    pub(super) fn carry_over(&mut self, interval: Duration) -> Duration {
        *self.interval.get_or_insert(interval)
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.next_probe().min(self.silence())
    }

    /// What is due at `now`, the gravest first.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        if self.silence() <= now {
            return Some(Due::Silence);
        }
        (self.next_probe() <= now).then(|| {
            self.last_probe = now;
            Due::Probe
        })
    }

    fn expected_every(&self) -> Duration {
        let interval = self.interval.filter(|_| self.has_session);
        interval.map_or(PROBE_INTERVAL, |interval| interval.min(PROBE_INTERVAL))
    }

    fn next_probe(&self) -> Instant {
        self.last_heard.max(self.last_probe) + self.expected_every()
    }

    fn silence(&self) -> Instant {
        self.last_heard + self.expected_every() * MISSED_PINGS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    fn seconds(seconds: u64) -> Instant {
        t0() + Duration::from_secs(seconds)
    }

    fn pinging(interval_ms: i64) -> KeepAlive {
        let mut socket = KeepAlive::new(t0());
        socket.asked();
        socket.pinged(Some(interval_ms));
        socket
    }

    #[test]
    fn three_intervals_of_silence_end_a_session_and_probes_go_out_before() {
        let mut socket = pinging(5000);
        assert_eq!(socket.poll_timeout(), seconds(5));
        assert_eq!(socket.handle_timeout(seconds(4)), None);
        assert_eq!(socket.handle_timeout(seconds(5)), Some(Due::Probe));
        assert_eq!(socket.handle_timeout(seconds(5)), None);
        assert_eq!(socket.handle_timeout(seconds(10)), Some(Due::Probe));
        assert_eq!(socket.poll_timeout(), seconds(15));
        assert_eq!(socket.handle_timeout(seconds(14)), None);
        assert_eq!(socket.handle_timeout(seconds(15)), Some(Due::Silence));
    }

    #[test]
    fn a_page_that_has_stopped_pinging_lives_while_its_browser_answers() {
        let mut socket = pinging(5000);
        for minute in 0..10 {
            for second in (5..60).step_by(5) {
                let now = seconds(60 * minute + second);
                assert_eq!(socket.handle_timeout(now), Some(Due::Probe));
                socket.heard(now);
            }
            socket.heard(seconds(60 * (minute + 1)));
        }
        assert_eq!(socket.handle_timeout(seconds(615)), Some(Due::Silence));
    }

    #[test]
    fn a_socket_without_a_session_is_given_more_time() {
        let mut socket = KeepAlive::new(t0());
        socket.pinged(Some(5000));
        assert_eq!(socket.handle_timeout(seconds(15)), Some(Due::Probe));
        assert_eq!(socket.handle_timeout(seconds(44)), Some(Due::Probe));
        assert_eq!(socket.handle_timeout(seconds(45)), Some(Due::Silence));
        socket.asked();
        assert_eq!(socket.silence(), seconds(15));
    }

    #[test]
    fn the_first_ping_fixes_the_interval_within_bounds() {
        for (announced, expected_every) in [
            (None, 15),
            (Some(5000), 5),
            (Some(0), 1),
            (Some(-1), 15),
            (Some(i64::MAX), 15),
        ] {
            let mut socket = KeepAlive::new(t0());
            socket.asked();
            socket.pinged(announced);
            socket.pinged(Some(7000));
            let silence = seconds(3 * expected_every);
            assert_eq!(socket.silence(), silence, "{announced:?}");
        }
    }

    #[test]
    fn the_interval_of_a_former_socket_counts_from_the_start() {
        let mut socket = KeepAlive::new(t0());
        socket.asked();
        assert_eq!(socket.silence(), seconds(45));
        socket.carry_over(Duration::from_secs(5));
        assert_eq!(socket.pinged(Some(9000)), Duration::from_secs(5));
        assert_eq!(socket.silence(), seconds(15));
    }
}
