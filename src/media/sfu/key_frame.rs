//! Key frame requests to one track's sender, at most one in 300 ms.

use std::time::{Duration, Instant};

/// The shortest time between two requests: a key frame costs the publisher as much as dozens of other frames.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(300);

/// After this a request counts as lost while somebody still waits.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The throttle, with one request waiting for it to open.
#[derive(Debug, Default)]
pub(crate) struct KeyFrameRequests {
    last_sent: Option<Instant>,
    /// When the request that waits may be sent.
    due: Option<Instant>,
}

impl KeyFrameRequests {
    /// Somebody needs a key frame.
    pub(crate) fn request(&mut self, now: Instant) {
        let opens = self.last_sent.map_or(now, |last| last + MIN_INTERVAL);
        self.due = Some(opens.max(now));
    }

    /// Somebody is waiting, maybe for long enough that the last request must be lost.
    pub(crate) fn request_again(&mut self, now: Instant) {
        if self.last_sent.is_none_or(|last| now >= last + RETRY_AFTER) {
            self.request(now);
        }
    }

    /// A key frame begins: whoever waited has it.
    pub(crate) fn satisfied(&mut self) {
        self.due = None;
    }

    /// Returns whether to send a request at `now`, and counts it as sent.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.due = None;
        self.last_sent = Some(now);
        true
    }

    /// When the throttle opens for the request that waits.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    #[test]
    fn the_first_request_goes_out_at_once() {
        let mut requests = KeyFrameRequests::default();
        assert!(!requests.take_due(t0()));
        requests.request(t0());
        assert!(requests.take_due(t0()));
        assert!(!requests.take_due(t0()));
    }

    #[test]
    fn a_storm_is_one_request_per_interval() {
        let mut requests = KeyFrameRequests::default();
        let mut sent = Vec::new();
        for ms in 0..1000 {
            let now = t0() + Duration::from_millis(ms);
            requests.request(now);
            if requests.take_due(now) {
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 300, 600, 900]);
    }

    #[test]
    fn the_key_frame_itself_satisfies_the_request_that_waits() {
        let mut requests = KeyFrameRequests::default();
        requests.request(t0());
        assert!(requests.take_due(t0()));
        requests.request(t0());
        assert_eq!(requests.deadline(), Some(t0() + MIN_INTERVAL));
        requests.satisfied();
        assert_eq!(requests.deadline(), None);
        assert!(!requests.take_due(t0() + MIN_INTERVAL));
    }

    #[test]
    fn a_lost_request_is_repeated_only_after_a_while() {
        let mut requests = KeyFrameRequests::default();
        requests.request_again(t0());
        assert!(requests.take_due(t0()));
        requests.request_again(t0() + MIN_INTERVAL);
        assert!(!requests.take_due(t0() + MIN_INTERVAL));
        requests.request_again(t0() + RETRY_AFTER);
        assert!(requests.take_due(t0() + RETRY_AFTER));
    }
}
