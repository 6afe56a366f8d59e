//! Frames as a decoder sees them: complete or not, in order or never, and how long the picture stood still.

use std::time::{Duration, Instant};

use super::stamp::Stamp;

/// Frames that may be incomplete at the same time: more than two seconds.
const WINDOW: usize = 128;

/// A pause is a freeze if it is longer than three usual ones, or than a usual one and this (W3C webrtc-stats,
/// `freezeCount`).
const FREEZE: Duration = Duration::from_millis(150);

/// What became of the frames that were sent in the window.
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
    /// It was sent in the window.
    counts: bool,
}

/// One video track's frames. Packets must come in once each.
#[derive(Debug)]
pub(super) struct Frames {
    frames: Box<[Frame; WINDOW]>,
    /// The one that is shown next; none before the first key frame.
    next: Option<u32>,
    shown_at: Option<Instant>,
    /// The usual time between two, a moving average.
    interval: Duration,
    pub(super) counts: FrameCounts,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            frames: Box::new([Frame::default(); WINDOW]),
            next: None,
            shown_at: None,
            interval: Duration::ZERO,
            counts: FrameCounts::default(),
        }
    }
}

impl Frames {
    /// Takes a packet that has not been seen before; `counts` if its frame began in the window. Returns whether a key frame
    /// was shown because of it.
    pub(super) fn take(&mut self, now: Instant, stamp: &Stamp, counts: bool) -> bool {
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
            };
        }
        frame.have = frame.have.saturating_add(1);
        if frame.have < frame.count {
            return false;
        }
        // A whole key frame makes everything before it superfluous.
        if frame.key_frame {
            self.next = Some(stamp.frame);
        }
        let key_frame = frame.key_frame;
        self.show(now);
        key_frame
    }

    /// When a frame was shown last; `None` before the first one.
    pub(super) const fn shown_at(&self) -> Option<Instant> {
        self.shown_at
    }

    fn show(&mut self, now: Instant) {
        while let Some(next) = self.next {
            let frame = self.frames[slot(next)];
            if frame.number != next || frame.count == 0 || frame.have < frame.count {
                return;
            }
            self.next = Some(next.wrapping_add(1));
            self.counts.shown += u64::from(frame.counts);
            if let Some(shown_at) = self.shown_at {
                let pause = now.saturating_duration_since(shown_at);
                let is_known = !self.interval.is_zero();
                if is_known && pause > (3 * self.interval).max(self.interval + FREEZE) {
                    self.counts.freezes += u64::from(frame.counts);
                } else if is_known {
                    self.interval = (self.interval * 31 + pause) / 32;
                } else {
                    self.interval = pause;
                }
            }
            self.shown_at = Some(now);
        }
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

    fn at(frame: u32) -> Instant {
        t0() + INTERVAL * frame
    }

    #[test]
    fn nothing_is_shown_before_a_key_frame() {
        let mut frames = Frames::default();
        assert!(!frames.take(at(1), &packet(1, 0, 1, false), true));
        assert_eq!(frames.counts.shown, 0);
        assert!(!frames.take(at(2), &packet(2, 0, 2, true), true));
        assert!(frames.take(at(2), &packet(2, 1, 2, true), true));
        frames.take(at(3), &packet(3, 0, 1, false), true);
        assert_eq!(frames.counts.shown, 2);
        assert_eq!(frames.shown_at(), Some(at(3)));
    }

    #[test]
    fn a_late_packet_lets_everything_behind_it_be_shown() {
        let mut frames = Frames::default();
        for frame in 0..20 {
            frames.take(at(frame), &packet(frame, 0, 2, frame == 0), true);
            if frame != 15 {
                frames.take(at(frame), &packet(frame, 1, 2, frame == 0), true);
            }
        }
        assert_eq!(frames.counts.shown, 15);
        frames.take(at(19), &packet(15, 1, 2, false), true);
        assert_eq!(
            frames.counts,
            FrameCounts {
                shown: 20,
                freezes: 0
            }
        );
        frames.take(at(30), &packet(20, 0, 1, false), true);
        assert_eq!(frames.counts.freezes, 1, "eleven intervals");
    }

    #[test]
    fn a_gap_that_never_closes_is_left_behind_at_the_next_key_frame() {
        let mut frames = Frames::default();
        frames.take(at(0), &packet(0, 0, 1, true), true);
        for frame in 2..10 {
            frames.take(at(frame), &packet(frame, 0, 1, false), true);
        }
        assert_eq!(frames.counts.shown, 1);
        assert_eq!(frames.shown_at(), Some(at(0)));
        frames.take(at(18), &packet(10, 0, 1, true), false);
        frames.take(at(19), &packet(11, 0, 1, false), true);
        assert_eq!(frames.counts.shown, 2, "those of the window");
        assert!(
            !frames.take(at(20), &packet(5, 0, 1, false), true),
            "too late"
        );
    }

    #[test]
    fn numbers_wrap() {
        let mut frames = Frames::default();
        for step in 0..300_u32 {
            let number = (u32::MAX - 100).wrapping_add(step);
            frames.take(at(step), &packet(number, 0, 1, step == 0), true);
        }
        assert_eq!(
            frames.counts,
            FrameCounts {
                shown: 300,
                freezes: 0
            }
        );
    }
}
