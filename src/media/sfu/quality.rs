//! How well a publisher's media gets here, in the levels of OpenVidu's `networkQualityLevelChanged`.
//!
//! | level | meaning | loss below | round trip below | jitter below |
//! |---|---|---|---|---|
//! | 5 | excellent | 1 % | 150 ms | 20 ms |
//! | 4 | good | 2.5 % | 250 ms | 40 ms |
//! | 3 | not optimal | 5 % | 400 ms | 70 ms |
//! | 2 | poor | 12 % | 700 ms | 120 ms |
//! | 1 | bad | | | |
//! | 0 | broken: nothing authentic arrives at all | | | |
//!
//! The worst of the three counts. Loss is that of the network, before any repair, over about five seconds; the round trip
//! is the browser's answer to our reference times (RFC 3611); jitter is the audio's (RFC 3550), since browsers spread the
//! packets of a picture over time by themselves. A low bit rate alone says nothing: a still screen, a muted camera and a
//! restricted publisher send little over the best of networks. Only if video falls below half of what it lately was
//! within ten seconds of such a disturbance, the sender has given way to the network, and the level is at most 3, or 2
//! below a quarter, for half a minute or until video is back.

use std::time::{Duration, Instant};

/// OpenVidu Pro looks every five seconds by default; changes come no closer than that.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// Samples before the first level, and in a row before it changes. One comes each second.
const FIRST_AFTER: u32 = 4;
const FALLS_AFTER: u32 = 3;
const RISES_AFTER: u32 = 5;
/// A better level needs values so much below its limits.
const MARGIN: f64 = 0.8;
/// What a second leaves of the loss before it.
const FADING: f64 = 0.8;
/// What a second leaves of the highest bit rate: a half in 34 seconds.
const PEAK_FADING: f64 = 0.98;
/// Without a report for so long, what was measured before tells nothing.
const MAX_SAMPLE: Duration = Duration::from_secs(3);
/// How long before a collapse of the bit rate a disturbance may have been its cause.
const CAUSE: Duration = Duration::from_secs(10);
const MAX_STARVED: Duration = Duration::from_secs(30);
/// An answer to a reference time is good for so long.
const ROUND_TRIP_AGE: Duration = Duration::from_secs(6);

const BEST: u8 = 5;
const BROKEN: u8 = 0;
const LOSS: [f64; 4] = [0.01, 0.025, 0.05, 0.12];
const ROUND_TRIP_MS: [f64; 4] = [150.0, 250.0, 400.0, 700.0];
const JITTER_MS: [f64; 4] = [20.0, 40.0, 70.0, 120.0];

/// Counters of a publisher, since its tracks began, and what is measured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measures {
    /// Packets sent, going by their numbers.
    pub(crate) expected: u64,
    /// Of those, packets that came without being asked for again.
    pub(crate) received: u64,
    pub(crate) video_bytes: u64,
    /// `None` without audio.
    pub(crate) jitter: Option<Duration>,
}

/// The level of one publisher.
#[derive(Debug, Default)]
pub(crate) struct Quality {
    level: Option<u8>,
    changed_at: Option<Instant>,
    /// What was measured before the silence, while there is one.
    before_silence: Option<Option<u8>>,
    last: Option<(Instant, Measures)>,
    samples: u32,
    /// Packets, faded.
    expected: f64,
    lost: f64,
    round_trip: Option<(Duration, Instant)>,
    /// Bytes of video in a second, faded.
    peak: f64,
    disturbed_at: Option<Instant>,
    starved: Option<Starved>,
    tendency: Option<Tendency>,
}

#[derive(Debug, Clone, Copy)]
struct Starved {
    since: Instant,
    /// Bytes of video in a second before.
    normal: f64,
}

/// Samples in a row on one side of the level.
#[derive(Debug, Clone, Copy)]
struct Tendency {
    falls: bool,
    samples: u32,
    /// Of those, the closest to the level.
    to: u8,
}

impl Quality {
    /// The browser has answered a reference time.
    pub(crate) fn measured_round_trip(&mut self, now: Instant, sample: Duration) {
        let round_trip = match self.round_trip {
            Some((before, at)) if now < at + ROUND_TRIP_AGE => (before * 3 + sample) / 4,
            _ => sample,
        };
        self.round_trip = Some((round_trip, now));
    }

    /// Takes a sample, one each second while packets come; returns the level if it is another one.
    pub(crate) fn sample(&mut self, now: Instant, measures: Measures) -> Option<u8> {
        let (at, before) = self.last.replace((now, measures))?;
        let time = now.saturating_duration_since(at);
        // Numbers that begin anew belong to another source.
        if time.is_zero() || time > MAX_SAMPLE || measures.is_before(&before) {
            return None;
        }
        let expected = measures.expected - before.expected;
        let received = measures.received - before.received;
        self.expected = self.expected * FADING + expected as f64;
        self.lost = self.lost * FADING + expected.saturating_sub(received) as f64;
        let video = (measures.video_bytes - before.video_bytes) as f64 / time.as_secs_f64();
        self.look_at_video(now, video, measures.jitter);

        let falls_to = self.rate(now, measures.jitter, video, 1.0);
        let rises_to = self.rate(now, measures.jitter, video, MARGIN);
        self.samples = self.samples.saturating_add(1);
        self.before_silence = None;
        self.settle(now, falls_to, rises_to)
    }

    /// Nothing authentic arrives any more.
    pub(crate) fn went_quiet(&mut self, now: Instant) -> Option<u8> {
        self.before_silence.get_or_insert(self.level);
        self.change(now, BROKEN)
    }

    /// Something arrives again, not necessarily media: until there is enough of it, what was before counts.
    pub(crate) fn heard_again(&mut self, now: Instant) -> Option<u8> {
        let before = self.before_silence.take()?;
        *self = Self {
            level: self.level,
            ..Self::default()
        };
        self.change(now, before.unwrap_or(BEST))
    }

    fn look_at_video(&mut self, now: Instant, video: f64, jitter: Option<Duration>) {
        if self.network(now, jitter, 1.0) <= 3 {
            self.disturbed_at = Some(now);
        }
        let is_disturbed = self.disturbed_at.is_some_and(|at| now <= at + CAUSE);
        self.starved = match self.starved {
            Some(starved)
                if video > 0.0
                    && video < starved.normal * 0.7
                    && now < starved.since + MAX_STARVED =>
            {
                Some(starved)
            }
            None if is_disturbed && video > 0.0 && video < self.peak / 2.0 => Some(Starved {
                since: now,
                normal: self.peak,
            }),
            Some(_) | None => None,
        };
        self.peak = (self.peak * PEAK_FADING).max(video);
    }

    fn rate(&self, now: Instant, jitter: Option<Duration>, video: f64, margin: f64) -> u8 {
        let starved = self.starved.map_or(
            BEST,
            |starved| {
                if video < starved.normal / 4.0 { 2 } else { 3 }
            },
        );
        self.network(now, jitter, margin).min(starved)
    }

    fn network(&self, now: Instant, jitter: Option<Duration>, margin: f64) -> u8 {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        let loss = if self.expected > 0.0 {
            self.lost / self.expected
        } else {
            0.0
        };
        let round_trip = self
            .round_trip
            .filter(|(_, at)| now < *at + ROUND_TRIP_AGE)
            .map_or(0.0, |(time, _)| milliseconds(time));
        let jitter = jitter.map_or(0.0, milliseconds);
        [
            (loss, LOSS),
            (round_trip, ROUND_TRIP_MS),
            (jitter, JITTER_MS),
        ]
        .into_iter()
        .map(|(value, limits)| {
            BEST - limits
                .iter()
                .filter(|limit| value >= **limit * margin)
                .count() as u8
        })
        .min()
        .unwrap_or(BEST)
    }

    /// A level that would fall without a margin, or rise with one, has to do so several times in a row.
    fn settle(&mut self, now: Instant, falls_to: u8, rises_to: u8) -> Option<u8> {
        let Some(level) = self.level else {
            return (self.samples >= FIRST_AFTER)
                .then(|| self.change(now, falls_to))
                .flatten();
        };
        let (falls, to) = if falls_to < level {
            (true, falls_to)
        } else if rises_to > level {
            (false, rises_to)
        } else {
            self.tendency = None;
            return None;
        };
        let tendency = match self.tendency {
            Some(before) if before.falls == falls => Tendency {
                falls,
                samples: before.samples.saturating_add(1),
                to: if falls {
                    before.to.max(to)
                } else {
                    before.to.min(to)
                },
            },
            _ => Tendency {
                falls,
                samples: 1,
                to,
            },
        };
        self.tendency = Some(tendency);
        let needed = if falls { FALLS_AFTER } else { RISES_AFTER };
        let is_early = self.changed_at.is_some_and(|at| now < at + MIN_INTERVAL);
        if tendency.samples < needed || is_early {
            return None;
        }
        self.change(now, tendency.to)
    }

    fn change(&mut self, now: Instant, level: u8) -> Option<u8> {
        self.tendency = None;
        if self.level.replace(level) == Some(level) {
            return None;
        }
        self.changed_at = Some(now);
        Some(level)
    }
}

impl Measures {
    fn is_before(&self, earlier: &Self) -> bool {
        self.expected < earlier.expected
            || self.received < earlier.received
            || self.video_bytes < earlier.video_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::t0;

    /// A publisher, second by second.
    #[derive(Debug)]
    struct Line {
        quality: Quality,
        second: u64,
        measures: Measures,
        packets: u64,
        kbps: u64,
        loss_percent: u64,
        round_trip: Option<Duration>,
    }

    impl Line {
        fn new() -> Self {
            Self {
                quality: Quality::default(),
                second: 0,
                measures: Measures {
                    jitter: Some(Duration::from_millis(2)),
                    ..Measures::default()
                },
                packets: 150,
                kbps: 800,
                loss_percent: 0,
                round_trip: Some(Duration::from_millis(30)),
            }
        }

        /// A line whose level is known to be the best.
        fn good() -> Self {
            let mut line = Self::new();
            assert_eq!(line.run(10), [(4, 5)]);
            line
        }

        fn now(&self) -> Instant {
            t0() + Duration::from_secs(self.second)
        }

        /// The changes of so many seconds.
        fn run(&mut self, seconds: u64) -> Vec<(u64, u8)> {
            let mut changes = Vec::new();
            for _ in 0..seconds {
                let now = self.now();
                if let Some(round_trip) = self.round_trip {
                    self.quality.measured_round_trip(now, round_trip);
                }
                let level = self.quality.sample(now, self.measures);
                changes.extend(level.map(|level| (self.second, level)));
                self.second += 1;
                self.measures.expected += self.packets;
                self.measures.received += self.packets - self.packets * self.loss_percent / 100;
                self.measures.video_bytes += self.kbps * 125;
            }
            changes
        }

        fn levels(&mut self, seconds: u64) -> Vec<u8> {
            self.run(seconds)
                .into_iter()
                .map(|(_, level)| level)
                .collect()
        }
    }

    #[test]
    fn a_good_line_is_told_once() {
        let mut line = Line::good();
        assert_eq!(line.run(600), []);
    }

    #[test]
    fn steady_loss_round_trip_and_jitter_have_the_levels_of_the_table() {
        for (percent, level) in [(0, 5), (2, 4), (4, 3), (10, 2), (20, 1), (99, 1)] {
            let mut line = Line::new();
            line.loss_percent = percent;
            assert_eq!(line.levels(60), [level], "{percent} % lost");
        }
        for (ms, level) in [(149, 5), (150, 4), (300, 3), (500, 2), (900, 1)] {
            let mut line = Line::new();
            line.round_trip = Some(Duration::from_millis(ms));
            assert_eq!(line.levels(60), [level], "{ms} ms there and back");
        }
        for (ms, level) in [(19, 5), (20, 4), (50, 3), (100, 2), (300, 1)] {
            let mut line = Line::new();
            line.measures.jitter = Some(Duration::from_millis(ms));
            assert_eq!(line.levels(60), [level], "{ms} ms of jitter");
        }
    }

    #[test]
    fn a_line_that_gets_worse_is_told_within_seconds_and_its_recovery_later() {
        let mut line = Line::good();
        line.loss_percent = 20;
        let changes = line.run(30);
        let (first, _) = changes[0];
        assert!((13..=16).contains(&first), "{changes:?}");
        assert_eq!(changes.last().map(|(_, level)| *level), Some(1));
        line.loss_percent = 0;
        let changes = line.run(90);
        assert_eq!(changes.last().map(|(_, level)| *level), Some(5));
        assert!(changes.len() <= 4, "{changes:?}");
        assert_eq!(line.run(300), []);
    }

    #[test]
    fn one_bad_second_is_not_worth_mentioning() {
        let mut line = Line::good();
        line.loss_percent = 6;
        line.run(1);
        line.loss_percent = 0;
        assert_eq!(line.run(60), []);
    }

    #[test]
    fn values_around_a_limit_do_not_make_the_level_swing() {
        let mut line = Line::good();
        let mut changes = Vec::new();
        for round in 0..300 {
            let ms = if round % 7 < 4 { 260 } else { 235 };
            line.round_trip = Some(Duration::from_millis(ms));
            changes.extend(line.levels(1));
        }
        assert_eq!(changes, [4, 3]);
    }

    #[test]
    fn an_old_round_trip_is_forgotten() {
        let mut line = Line::new();
        line.round_trip = Some(Duration::from_millis(500));
        assert_eq!(line.levels(10), [2]);
        line.round_trip = None;
        assert_eq!(line.levels(60), [5]);
    }

    #[test]
    fn little_or_no_video_over_a_good_line_is_no_bad_quality() {
        let mut line = Line::good();
        for (kbps, packets) in [(20, 60), (0, 50), (800, 150), (0, 0), (800, 150), (100, 80)] {
            (line.kbps, line.packets) = (kbps, packets);
            assert_eq!(line.run(60), [], "{kbps} kbit/s");
        }
    }

    #[test]
    fn a_rate_that_collapses_after_a_disturbance_keeps_the_level_down_until_it_is_back() {
        let mut line = Line::good();
        line.loss_percent = 10;
        assert_eq!(line.levels(10).last(), Some(&2));
        // The sender has given way: nothing is lost any more, but a sixth is left.
        line.loss_percent = 0;
        line.kbps = 130;
        let mut line_with_content = Line::good();
        assert_eq!(line.run(15), []);
        line.kbps = 250;
        assert_eq!(line.levels(12), [3]);
        line.kbps = 780;
        assert_eq!(line.levels(20), [5]);
        // Without the disturbance the same rates say nothing.
        for kbps in [130, 250, 780] {
            line_with_content.kbps = kbps;
            assert_eq!(line_with_content.run(15), []);
        }
    }

    #[test]
    fn a_collapse_does_not_count_for_ever() {
        let mut line = Line::good();
        line.loss_percent = 6;
        line.run(8);
        (line.loss_percent, line.kbps) = (0, 130);
        assert_eq!(line.levels(120).last(), Some(&5));
    }

    #[test]
    fn silence_is_told_at_once_and_ends_with_what_was_before() {
        let mut line = Line::new();
        line.loss_percent = 4;
        assert_eq!(line.levels(20), [3]);
        let now = line.now();
        assert_eq!(line.quality.went_quiet(now), Some(0));
        assert_eq!(line.quality.went_quiet(now), None);
        line.second += 20;
        let now = line.now();
        assert_eq!(line.quality.heard_again(now), Some(3));
        assert_eq!(line.quality.heard_again(now), None);
        line.loss_percent = 0;
        assert_eq!(
            line.levels(60),
            [5],
            "what was lost in the silence is not loss"
        );

        let mut unknown = Line::new();
        let now = unknown.now();
        assert_eq!(unknown.quality.went_quiet(now), Some(0));
        assert_eq!(unknown.quality.heard_again(now), Some(5));
    }

    #[test]
    fn a_source_that_begins_anew_is_no_loss() {
        let mut line = Line::good();
        line.measures.expected = 10;
        line.measures.received = 10;
        assert_eq!(line.run(60), []);
        line.measures.expected += 30_000;
        line.second += 10;
        assert_eq!(line.run(60), [], "after a pause");
    }

    proptest! {
        #[test]
        fn levels_change_rarely_and_stay_in_their_range(
            seconds in prop::collection::vec(
                (0..400_u64, 0..400_u64, 0..3_000_u64, prop::option::of(0..2_000_u64), 0..4_u64), 1..200),
        ) {
            let mut quality = Quality::default();
            let (mut now, mut last) = (t0(), None);
            let mut measures = Measures::default();
            let mut level = None;
            for (expected, received, bytes, millis, wait) in seconds {
                now += Duration::from_secs(wait);
                measures.expected += expected;
                measures.received += received.min(expected);
                measures.video_bytes += bytes;
                measures.jitter = millis.map(Duration::from_millis);
                if let Some(millis) = millis {
                    quality.measured_round_trip(now, Duration::from_millis(millis));
                }
                if let Some(new) = quality.sample(now, measures) {
                    prop_assert!((1..=BEST).contains(&new));
                    prop_assert!(level.replace(new) != Some(new));
                    prop_assert!(last.is_none_or(|at| now >= at + MIN_INTERVAL));
                    last = Some(now);
                }
            }
        }
    }
}
