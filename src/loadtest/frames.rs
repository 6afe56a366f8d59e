//! Frames as a viewer sees them: complete or not, in order or never, and how long the picture stood still.
//!
//! A browser does not show a frame when its last packet arrives: its jitter buffer holds frames back, so that one whose
//! missing packets come again in time is as smooth as its neighbours. Here a frame is due a fixed time, the playout delay,
//! after the fastest frame so far would have been complete, and is shown then, or at once if it is complete only later.
//!
//! ```text
//! taken     0        33        66        99
//! complete  25       58        191 (a packet came again)      124
//! due       225      258       291       324                  with a playout delay of 200 ms
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::stamp::Stamp;

/// Frames that may be incomplete at the same time: more than two seconds.
const WINDOW: usize = 128;

/// A pause that is no shorter than three usual ones, and than a usual one and this, is a freeze (W3C webrtc-stats,
/// `freezeCount`).
pub(super) const FREEZE: Duration = Duration::from_millis(150);

/// Pauses of which the usual one is the mean (webrtc-stats again).
const USUAL: usize = 30;

/// With fewer nobody knows what is usual, and nothing is a freeze: libwebrtc's number.
const FEWEST: usize = 5;

/// What became of the frames that were taken in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FrameCounts {
    /// Shown.
    pub(super) shown: u64,
    /// Pauses that were freezes.
    pub(super) freezes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    number: u32,
    count: u8,
    have: u8,
    key_frame: bool,
    /// It was taken in the window.
    counts: bool,
    /// When it was taken, by the clock of arrivals.
    taken: Option<Instant>,
}

/// One video track's frames. Packets must come in once each.
#[derive(Debug)]
pub(super) struct Frames {
    frames: Box<[Frame; WINDOW]>,
    playout_delay: Duration,
    /// The one that is shown next; none before the first key frame.
    next: Option<u32>,
    /// The shortest time from the taking of a frame to its completion.
    fastest: Option<Duration>,
    /// When the picture moved on last as far as the network is concerned: without the playout delay.
    moved_at: Option<Instant>,
    shown_at: Option<Instant>,
    pauses: Pauses,
    pub(super) counts: FrameCounts,
}

impl Frames {
    /// Frames that are held back for `playout_delay`.
    pub(super) fn new(playout_delay: Duration) -> Self {
        Self {
            frames: Box::new([Frame::default(); WINDOW]),
            playout_delay,
            next: None,
            fastest: None,
            moved_at: None,
            shown_at: None,
            pauses: Pauses::default(),
            counts: FrameCounts::default(),
        }
    }

    /// Takes a packet that has not been seen before and whose frame was taken `age` ago; `counts` if that was in the
    /// window. Returns whether a key frame is whole because of it.
    pub(super) fn take(
        &mut self,
        now: Instant,
        age: Duration,
        stamp: &Stamp,
        counts: bool,
    ) -> bool {
        if self.next.is_some_and(|next| is_before(stamp.frame, next)) {
            return false;
        }
        let frame = &mut self.frames[slot(stamp.frame)];
        if frame.number != stamp.frame || frame.count == 0 {
            if frame.count != 0 && is_before(stamp.frame, frame.number) {
                return false;
            }
            *frame = Frame {
                number: stamp.frame,
                count: stamp.count,
                have: 0,
                key_frame: stamp.key_frame,
                counts,
                taken: now.checked_sub(age),
            };
        }
        frame.have = frame.have.saturating_add(1);
        if frame.have < frame.count {
            return false;
        }
        self.fastest = Some(self.fastest.map_or(age, |fastest| fastest.min(age)));
        // A whole key frame makes everything before it superfluous.
        if frame.key_frame {
            self.next = Some(stamp.frame);
        }
        let key_frame = frame.key_frame;
        self.move_on(now);
        key_frame
    }

    /// When the last frame so far could be decoded; `None` before the first one.
    pub(super) const fn moved_at(&self) -> Option<Instant> {
        self.moved_at
    }

    /// Every frame that is whole, and has none before it that is not, will be shown.
    fn move_on(&mut self, now: Instant) {
        while let Some(next) = self.next {
            let frame = self.frames[slot(next)];
            if frame.number != next || frame.count == 0 || frame.have < frame.count {
                return;
            }
            self.next = Some(next.wrapping_add(1));
            self.moved_at = Some(now);
            self.counts.shown += u64::from(frame.counts);
            let is_freeze = self.show(self.due(&frame).map_or(now, |due| due.max(now)));
            self.counts.freezes += u64::from(is_freeze && frame.counts);
        }
    }

    fn due(&self, frame: &Frame) -> Option<Instant> {
        Some(frame.taken? + self.fastest? + self.playout_delay)
    }

    /// The picture changes at `at`, or with the one before if that is shown only later; returns whether it had frozen.
    fn show(&mut self, at: Instant) -> bool {
        let Some(before) = self.shown_at else {
            self.shown_at = Some(at);
            return false;
        };
        let pause = at.saturating_duration_since(before);
        if pause.is_zero() {
            // Of frames that are late together one is seen.
            return false;
        }
        self.shown_at = Some(at);
        let is_freeze = self
            .pauses
            .usual()
            .is_some_and(|usual| pause >= (3 * usual).max(usual + FREEZE));
        self.pauses.push(pause);
        is_freeze
    }
}

/// The last pauses between two frames.
#[derive(Debug, Default)]
struct Pauses(VecDeque<Duration>);

impl Pauses {
    fn push(&mut self, pause: Duration) {
        if self.0.len() == USUAL {
            self.0.pop_front();
        }
        self.0.push_back(pause);
    }

    /// Their mean, if there are enough of them.
    fn usual(&self) -> Option<Duration> {
        let sum: Duration = self.0.iter().sum();
        (self.0.len() >= FEWEST).then(|| sum / self.0.len() as u32)
    }
}

const fn slot(number: u32) -> usize {
    number as usize % WINDOW
}

const fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > u32::MAX / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    const INTERVAL: Duration = Duration::from_millis(33);

    /// From departure to arrival, if nothing goes wrong.
    const WAY: Duration = Duration::from_millis(25);

    fn packet(frame: u32, index: u8, count: u8, key_frame: bool) -> Stamp {
        Stamp {
            stream: 1,
            number: 0,
            frame,
            sent_ns: 0,
            age_ns: 0,
            index,
            count,
            key_frame,
        }
    }

    /// A player at the end of a way, and its clock: frame `n` is sent after `n` intervals.
    struct Player {
        frames: Frames,
        first: u32,
    }

    impl Player {
        fn new(playout_delay_ms: u64) -> Self {
            Self {
                frames: Frames::new(Duration::from_millis(playout_delay_ms)),
                first: 0,
            }
        }

        /// A packet of `frame` arrives so much later than it should.
        fn take(&mut self, late: Duration, stamp: &Stamp, counts: bool) -> bool {
            let sent = INTERVAL * stamp.frame.wrapping_sub(self.first);
            let age = WAY + late;
            self.frames.take(t0() + sent + age, age, stamp, counts)
        }

        /// A frame of one packet.
        fn frame(&mut self, frame: u32, late_ms: u64) {
            let stamp = packet(frame, 0, 1, frame == self.first);
            self.take(Duration::from_millis(late_ms), &stamp, true);
        }

        const fn counts(&self) -> (u64, u64) {
            (self.frames.counts.shown, self.frames.counts.freezes)
        }
    }

    #[test]
    fn nothing_is_shown_before_a_key_frame() {
        let mut player = Player::new(0);
        let on_time = Duration::ZERO;
        assert!(!player.take(on_time, &packet(1, 0, 1, false), true));
        assert_eq!(player.counts().0, 0);
        assert!(!player.take(on_time, &packet(2, 0, 2, true), true));
        assert!(player.take(on_time, &packet(2, 1, 2, true), true));
        player.take(on_time, &packet(3, 0, 1, false), true);
        assert_eq!(player.counts().0, 2);
        assert_eq!(player.frames.moved_at(), Some(t0() + 3 * INTERVAL + WAY));
    }

    /// Twenty frames, of which the sixteenth lacks a packet that comes `late_ms` behind its time.
    fn a_packet_comes_again(playout_delay_ms: u64, late_ms: u64) -> (u64, u64) {
        let mut player = Player::new(playout_delay_ms);
        let late = Duration::from_millis(late_ms);
        let arrives = 15 * INTERVAL + late;
        let mut has_come = false;
        for number in 0..40 {
            if number > 15 && !has_come && INTERVAL * number > arrives {
                player.take(late, &packet(15, 1, 2, false), true);
                has_come = true;
            }
            let key_frame = number == 0;
            player.take(Duration::ZERO, &packet(number, 0, 2, key_frame), true);
            if number != 15 {
                player.take(Duration::ZERO, &packet(number, 1, 2, key_frame), true);
            }
        }
        player.counts()
    }

    #[test]
    fn a_packet_that_comes_again_within_the_playout_delay_costs_nothing() {
        assert_eq!(a_packet_comes_again(200, 150), (40, 0));
        assert_eq!(a_packet_comes_again(200, 200), (40, 0));
    }

    #[test]
    fn a_packet_that_comes_later_freezes_the_picture_for_what_the_delay_does_not_hide() {
        // The pause is an interval longer than what is late: 183 ms are the least that counts at 33 ms.
        assert_eq!(a_packet_comes_again(0, 149), (40, 0));
        assert_eq!(a_packet_comes_again(0, 150), (40, 1));
        assert_eq!(a_packet_comes_again(200, 349), (40, 0));
        assert_eq!(a_packet_comes_again(200, 350), (40, 1));
    }

    #[test]
    fn slow_pictures_freeze_after_three_intervals() {
        for (late_ms, freezes) in [(199, 0), (200, 1)] {
            let mut player = Player::new(0);
            let age = Duration::from_millis;
            for number in 0..11 {
                let late = if number == 10 { late_ms } else { 0 };
                let now = t0() + age(100 * u64::from(number) + late);
                let stamp = packet(number, 0, 1, number == 0);
                player.frames.take(now, age(late), &stamp, true);
            }
            assert_eq!(player.counts(), (11, freezes), "{late_ms}");
        }
    }

    #[test]
    fn what_is_usual_is_the_mean_of_the_last_thirty_pauses_and_unknown_before_there_are_five() {
        let mut pauses = Pauses::default();
        for ms in 1..=4 {
            pauses.push(Duration::from_millis(ms));
            assert_eq!(pauses.usual(), None);
        }
        pauses.push(Duration::from_millis(10));
        assert_eq!(pauses.usual(), Some(Duration::from_millis(4)));
        for _ in 0..29 {
            pauses.push(Duration::from_millis(50));
        }
        // Twenty-nine of 50 and the one of 10 are left.
        assert_eq!(pauses.usual(), Some(Duration::from_millis(1_460) / 30));
    }

    #[test]
    fn frames_are_due_by_the_fastest_of_them() {
        let mut player = Player::new(100);
        // The way is slow at first.
        for number in 0..10 {
            player.frame(number, 300 - 30 * u64::from(number));
        }
        for number in 10..60 {
            player.frame(number, 0);
        }
        // What is 90 ms late now is on time, and what is 260 ms late is not.
        for (number, late_ms) in [(60, 90), (61, 57), (62, 24), (63, 0)] {
            player.frame(number, late_ms);
        }
        assert_eq!(player.counts(), (64, 0));
        player.frame(64, 260);
        assert_eq!(player.counts(), (65, 1));
    }

    #[test]
    fn a_gap_that_never_closes_is_left_behind_at_the_next_key_frame() {
        let mut player = Player::new(50);
        player.frame(0, 0);
        for number in 2..10 {
            player.frame(number, 0);
        }
        assert_eq!(player.counts(), (1, 0));
        assert_eq!(player.frames.moved_at(), Some(t0() + WAY));
        let late = 8 * INTERVAL;
        player.take(late, &packet(10, 0, 1, true), false);
        player.take(late, &packet(11, 0, 1, false), true);
        assert_eq!(player.counts().0, 2, "those of the window");
        let too_late = packet(5, 0, 1, false);
        assert!(!player.take(15 * INTERVAL, &too_late, true));
    }

    #[test]
    fn an_outage_counts_once_however_many_frames_it_takes() {
        let mut player = Player::new(200);
        for number in 0..30 {
            player.frame(number, 0);
        }
        // Two seconds without anything, then a key frame.
        player.take(Duration::ZERO, &packet(90, 0, 1, true), true);
        for number in 91..120 {
            player.frame(number, 0);
        }
        assert_eq!(player.counts(), (60, 1));
    }

    #[test]
    fn numbers_wrap() {
        let mut player = Player::new(100);
        player.first = u32::MAX - 100;
        for step in 0..300_u32 {
            player.frame(player.first.wrapping_add(step), 0);
        }
        assert_eq!(player.counts(), (300, 0));
    }
}
