//! Round-trip times to a publisher, who gets no media from us: the reference times that we send come back with how long
//! they were kept (RRTR and DLRR, RFC 3611 sections 4.4 and 4.5). Chromium and Firefox answer with their next report,
//! whatever was negotiated.

use std::time::{Duration, Instant};

use super::ntp;
use crate::media::rtp::rtcp::ReferenceReply;

/// Audio reports come every five seconds.
const REMEMBERED: usize = 8;

/// What was sent lately.
#[derive(Debug, Default)]
pub(crate) struct ReferenceTimes {
    sent: [Option<(u32, Instant)>; REMEMBERED],
    next: usize,
}

impl ReferenceTimes {
    /// The NTP time `ntp_time` is sent.
    pub(crate) fn sent(&mut self, now: Instant, ntp_time: u64) {
        self.sent[self.next] = Some((ntp::middle(ntp_time), now));
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// The round-trip time that a reply tells, each one once.
    pub(crate) fn replied(&mut self, now: Instant, reply: ReferenceReply) -> Option<Duration> {
        let sent = self
            .sent
            .iter_mut()
            .find(|sent| sent.is_some_and(|(middle, _)| middle == reply.last_reference_time))?;
        let (_, at) = sent.take()?;
        let kept = ntp::from_middle(reply.delay_since_last_reference_time);
        now.saturating_duration_since(at).checked_sub(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;
    use crate::units::Ssrc;

    fn reply(middle: u32, kept: Duration) -> ReferenceReply {
        ReferenceReply {
            ssrc: Ssrc(1),
            last_reference_time: middle,
            delay_since_last_reference_time: ntp::middle(ntp::ntp_duration(kept)),
        }
    }

    #[test]
    fn a_reply_tells_the_round_trip_time_once() {
        let mut times = ReferenceTimes::default();
        for second in 0..4 {
            let at = Duration::from_secs(second);
            times.sent(t0() + at, ntp::ntp_duration(at));
        }
        let now = t0() + Duration::from_millis(3_500);
        let kept = Duration::from_millis(1_400);
        let round_trip = times.replied(now, reply(2 << 16, kept)).unwrap();
        assert!(round_trip.as_millis().abs_diff(100) <= 1, "{round_trip:?}");
        assert_eq!(times.replied(now, reply(2 << 16, kept)), None);
    }

    #[test]
    fn made_up_replies_tell_nothing() {
        let mut times = ReferenceTimes::default();
        times.sent(t0(), 7 << 16);
        let now = t0() + Duration::from_millis(100);
        assert_eq!(times.replied(now, reply(8, Duration::ZERO)), None);
        assert_eq!(times.replied(now, reply(0, Duration::ZERO)), None);
        // Kept for longer than it was away.
        assert_eq!(
            times.replied(now, reply(7, Duration::from_secs(60_000))),
            None
        );
    }
}
