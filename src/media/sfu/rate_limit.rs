//! How much video a publisher is told to send (REMB, draft-alvestrand-rmcat-remb-03).
//!
//! One encoding goes to everybody, so what the slowest configured limit allows is what the publisher may send. Nothing
//! here is measured on subscribers' networks, so configured minima, which in Kurento bound such measurements from below,
//! have nothing to bound.
//!
//! A limit is about video. Browsers take the number for the whole transport, lower layers included, and set aside what
//! their audio needs; so that is added.

use std::time::{Duration, Instant};

use crate::units::Bitrate;

/// What browsers count of each audio packet besides its payload: RTP with extensions 22, SRTP 16, UDP 8, IPv4 20 bytes.
const AUDIO_PACKET_OVERHEAD: u64 = 66;
/// Browsers set 32 kbit/s aside for Opus even while it is silent: 80 bytes every 20 ms.
const RESERVED_AUDIO_PAYLOAD: u64 = 80;
/// Opus varies with what is said.
const SAMPLES: usize = 3;
const MIN_SAMPLE: Duration = Duration::from_millis(500);

/// What is told once a limit has gone: browsers keep to the last one for ever.
const UNLIMITED: Bitrate = Bitrate::from_kbps(1_000_000);

/// Counters of a publisher's audio.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AudioSent {
    pub(crate) packets: u64,
    pub(crate) payload_bytes: u64,
}

/// The limits of one publisher.
#[derive(Debug)]
pub(crate) struct RateLimit {
    max: Option<Bitrate>,
    /// The video limit that was told last; `None` inside is none.
    told: Option<Option<Bitrate>>,
    was_limited: bool,
    audio: Audio,
}

impl RateLimit {
    pub(crate) fn new(max_receive: Option<Bitrate>) -> Self {
        Self {
            max: max_receive,
            told: None,
            was_limited: false,
            audio: Audio::default(),
        }
    }

    /// The most video, if `subscribers` is the least of what its subscribers may get.
    pub(crate) fn video(&self, subscribers: Option<Bitrate>) -> Option<Bitrate> {
        self.max.into_iter().chain(subscribers).min()
    }

    /// Returns whether the publisher goes by another limit.
    pub(crate) fn is_outdated(&self, subscribers: Option<Bitrate>) -> bool {
        self.told
            .is_some_and(|told| told != self.video(subscribers))
    }

    /// What to tell now; `None` if there is and was no limit. Counts as told.
    pub(crate) fn tell(
        &mut self,
        now: Instant,
        subscribers: Option<Bitrate>,
        audio: AudioSent,
    ) -> Option<Bitrate> {
        let audio = self.audio.rate(now, audio);
        let video = self.video(subscribers);
        self.told = Some(video);
        self.was_limited |= video.is_some();
        match video {
            Some(video) => Some(Bitrate::from_bps(video.bps().saturating_add(audio.bps()))),
            None => self.was_limited.then_some(UNLIMITED),
        }
    }
}

/// The highest rate lately.
#[derive(Debug, Default)]
struct Audio {
    last: Option<(Instant, AudioSent)>,
    lately: [Bitrate; SAMPLES],
    next: usize,
}

impl Audio {
    fn rate(&mut self, now: Instant, sent: AudioSent) -> Bitrate {
        let (began, before) = *self.last.get_or_insert((now, sent));
        let time = now.saturating_duration_since(began);
        if time >= MIN_SAMPLE {
            self.last = Some((now, sent));
            let packets = sent.packets.saturating_sub(before.packets);
            let payload = sent.payload_bytes.saturating_sub(before.payload_bytes);
            let bytes =
                payload.max(packets * RESERVED_AUDIO_PAYLOAD) + packets * AUDIO_PACKET_OVERHEAD;
            // Some megabytes at most.
            let rate = bytes * 8 * 1000 / (time.as_millis() as u64).max(1);
            self.lately[self.next] = Bitrate::from_bps(rate);
            self.next = (self.next + 1) % SAMPLES;
        }
        self.lately.iter().copied().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::t0;

    const NO_AUDIO: AudioSent = AudioSent {
        packets: 0,
        payload_bytes: 0,
    };

    fn kbps(rate: u64) -> Option<Bitrate> {
        Some(Bitrate::from_kbps(rate))
    }

    #[test]
    fn the_least_limit_holds_whosever_it_is() {
        let video = |max, subscribers| RateLimit::new(max).video(subscribers);
        assert_eq!(video(kbps(1000), None), kbps(1000));
        assert_eq!(video(kbps(1000), kbps(600)), kbps(600));
        assert_eq!(video(kbps(1000), kbps(2000)), kbps(1000));
        assert_eq!(video(kbps(1000), kbps(100)), kbps(100));
        assert_eq!(video(None, kbps(100)), kbps(100));
        assert_eq!(video(None, None), None);
    }

    #[test]
    fn a_limit_that_has_gone_is_lifted_and_one_that_never_was_is_not_mentioned() {
        let mut limit = RateLimit::new(None);
        assert_eq!(limit.tell(t0(), None, NO_AUDIO), None);
        assert_eq!(limit.tell(t0(), kbps(500), NO_AUDIO), kbps(500));
        assert!(!limit.is_outdated(kbps(500)));
        assert!(limit.is_outdated(None));
        // More than once: a report may be lost.
        for _ in 0..3 {
            assert_eq!(limit.tell(t0(), None, NO_AUDIO), Some(UNLIMITED));
        }
    }

    #[test]
    fn audio_comes_on_top_as_browsers_count_it() {
        let mut limit = RateLimit::new(kbps(300));
        let told = |limit: &mut RateLimit, second: u64, packets, payload_bytes| {
            let sent = AudioSent {
                packets,
                payload_bytes,
            };
            let now = t0() + Duration::from_secs(second);
            limit.tell(now, None, sent).unwrap().bps()
        };
        assert_eq!(told(&mut limit, 0, 0, 0), 300_000, "nothing was sent yet");
        // 50 packets of 160 bytes: 64 kbit/s.
        let loud = 300_000 + 50 * (160 + 66) * 8;
        assert_eq!(told(&mut limit, 1, 50, 8_000), loud);
        // Silence of 3 bytes each, for which the browser sets aside what speech needs.
        assert_eq!(told(&mut limit, 2, 100, 8_150), loud);
        assert_eq!(told(&mut limit, 3, 150, 8_300), loud);
        let silent = 300_000 + 50 * (80 + 66) * 8;
        assert_eq!(told(&mut limit, 4, 200, 8_450), silent);
        // The track was stopped.
        for second in 5..7 {
            assert_eq!(told(&mut limit, second, 200, 8_450), silent);
        }
        assert_eq!(told(&mut limit, 7, 200, 8_450), 300_000);
    }

    #[test]
    fn a_second_report_at_once_takes_the_last_measurement() {
        let mut limit = RateLimit::new(kbps(300));
        let mut told = |millis, packets| {
            let sent = AudioSent {
                packets,
                payload_bytes: packets * 80,
            };
            limit.tell(t0() + Duration::from_millis(millis), None, sent)
        };
        told(0, 0);
        let first = told(1000, 50);
        assert_eq!(told(1001, 60), first);
    }

    proptest! {
        #[test]
        fn counters_that_leap_or_fall_do_no_harm(
            counts in prop::collection::vec((any::<u32>(), any::<u32>(), 0..3_000_u64), 1..50),
        ) {
            let mut limit = RateLimit::new(kbps(300));
            let mut now = t0();
            for (packets, payload, wait) in counts {
                now += Duration::from_millis(wait);
                let sent = AudioSent { packets: packets.into(), payload_bytes: payload.into() };
                prop_assert!(limit.tell(now, None, sent) >= kbps(300));
            }
        }
    }
}
