//! Key frame requests to one track's sender: at most one in 300 ms, repeated until a key frame comes.

use std::time::{Duration, Instant};

/// The shortest time between two requests: a key frame costs the publisher as much as dozens of other frames.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(300);

/// After this an unanswered request counts as lost; every further one gets twice as long.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// How often an unanswered request is repeated, over 15.5 s: whoever sends few pictures, or none for a while, has one of
/// them by then and begins with a key frame. Later packets without one ask again.
const MAX_RETRIES: u32 = 5;

/// The throttle, with one request waiting for it to open.
#[derive(Debug, Default)]
pub(crate) struct KeyFrameRequests {
    last_sent: Option<Instant>,
    /// When the request that waits may be sent, or the last one be repeated.
    due: Option<Instant>,
    retries: u32,
}

impl KeyFrameRequests {
    /// Somebody needs a key frame.
    pub(crate) fn request(&mut self, now: Instant) {
        let opens = self.last_sent.map_or(now, |last| last + MIN_INTERVAL);
        self.due = Some(opens.max(now));
        self.retries = 0;
    }

    /// Packets come, but somebody still waits: asks anew unless the last request is still being repeated.
    pub(crate) fn request_again(&mut self, now: Instant) {
        if self.due.is_none() {
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
        self.due = (self.retries < MAX_RETRIES).then(|| now + RETRY_AFTER * (1 << self.retries));
        self.retries += 1;
        self.last_sent = Some(now);
        true
    }

    /// When the request that waits may be sent, or the last one be repeated.
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

    /// The milliseconds at which requests go out, with `each` called before every one of them.
    fn sent_within(ms: u64, mut each: impl FnMut(u64, &mut KeyFrameRequests)) -> Vec<u64> {
        let mut requests = KeyFrameRequests::default();
        (0..ms)
            .filter(|ms| {
                each(*ms, &mut requests);
                requests.take_due(t0() + Duration::from_millis(*ms))
            })
            .collect()
    }

    #[test]
    fn an_unanswered_request_is_repeated_ever_more_rarely_and_then_given_up() {
        let sent = sent_within(60_000, |ms, requests| {
            if ms == 0 {
                requests.request(t0());
            }
        });
        assert_eq!(sent, [0, 500, 1_500, 3_500, 7_500, 15_500]);
    }

    #[test]
    fn whoever_still_waits_hastens_no_repetition_but_keeps_the_requests_coming() {
        let sent = sent_within(20_000, |ms, requests| {
            requests.request_again(t0() + Duration::from_millis(ms));
        });
        assert_eq!(
            sent,
            [
                0, 500, 1_500, 3_500, 7_500, 15_500, 15_800, 16_300, 17_300, 19_300
            ]
        );
    }

    #[test]
    fn an_answered_request_is_not_repeated() {
        let sent = sent_within(10_000, |ms, requests| match ms {
            0 => requests.request(t0()),
            600 => requests.satisfied(),
            _ => {}
        });
        assert_eq!(sent, [0, 500]);
    }
}
