//! The sizes of synthetic video frames, so that a bit rate holds, and how a frame is cut into packets.

use std::ops::Range;

/// The longest payload of a packet, near libwebrtc's.
pub(super) const MAX_PAYLOAD: usize = 1_150;

/// The shortest, so that there is room for descriptor, payload header and stamp.
const MIN_PAYLOAD: usize = 64;

/// What a key frame costs in frames of average size.
const KEY_FRAME_COST: i64 = 4;

/// Frames over which what a key frame took is paid back.
const PAY_BACK: i64 = 15;

/// Packets of one frame at most: places in a frame have one byte.
const MAX_PACKETS: usize = 255;

/// Bytes of one frame at most.
const MAX_FRAME: i64 = (MAX_PAYLOAD * MAX_PACKETS) as i64;

/// Chooses frame sizes.
#[derive(Debug)]
pub(super) struct Encoder {
    /// Bytes of a frame if all were equal.
    average: i64,
    /// Bytes that were earned and not spent; negative after a key frame.
    credit: i64,
    /// A small generator (xorshift): sizes vary, and repeat with the seed.
    noise: u32,
}

impl Encoder {
    /// For `bytes_per_second` at `fps` frames.
    pub(super) fn new(bytes_per_second: u64, fps: u32, seed: u32) -> Self {
        let average = bytes_per_second / u64::from(fps.max(1));
        Self {
            average: i64::try_from(average).unwrap_or(MAX_FRAME).min(MAX_FRAME),
            credit: 0,
            noise: seed | 1,
        }
    }

    /// The payload bytes of the next frame.
    pub(super) fn next_frame(&mut self, key_frame: bool) -> usize {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 17;
        self.noise ^= self.noise << 5;
        self.credit += self.average;
        let size = if key_frame {
            KEY_FRAME_COST * self.average
        } else {
            // Up to 12 % more or less than the average, and a share of what is left over or owed.
            let varied = self.average * (88 + i64::from(self.noise % 25)) / 100;
            let owed = (self.credit - self.average) / PAY_BACK;
            (varied + owed).max(self.average / 3)
        };
        let size = size.clamp(MIN_PAYLOAD as i64, MAX_FRAME);
        self.credit -= size;
        usize::try_from(size).unwrap_or(MIN_PAYLOAD)
    }
}

/// How many packets a frame of `size` bytes needs.
pub(super) fn packets(size: usize) -> usize {
    size.div_ceil(MAX_PAYLOAD).clamp(1, MAX_PACKETS)
}

/// Which bytes packet `index` of `count` carries. As libwebrtc does, all carry about the same, the last ones a byte more
/// where it does not divide.
pub(super) fn share(size: usize, count: usize, index: usize) -> Range<usize> {
    let each = size / count;
    let smaller = count - size % count;
    let start = each * index + index.saturating_sub(smaller);
    let len = each + usize::from(index >= smaller);
    start..start + len
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bit_rate_holds_whatever_key_frames_are_asked_for() {
        for every in [1_000_000, 300, 60] {
            let mut encoder = Encoder::new(187_500, 30, 7);
            let frames = 3_000;
            let bytes: usize = (0..frames)
                .map(|frame| encoder.next_frame(frame % every == 0))
                .sum();
            let rate = bytes as f64 * 30.0 / f64::from(frames);
            assert!((rate / 187_500.0 - 1.0).abs() < 0.02, "{every}: {rate}");
        }
    }

    #[test]
    fn a_key_frame_is_larger_and_frames_vary() {
        let mut encoder = Encoder::new(187_500, 30, 7);
        assert_eq!(encoder.next_frame(true), 25_000);
        let sizes: std::collections::BTreeSet<_> =
            (0..100).map(|_| encoder.next_frame(false)).collect();
        assert!(sizes.len() > 15, "{sizes:?}");
        assert!(sizes.iter().all(|size| (2_083..9_000).contains(size)));
    }

    proptest! {
        #[test]
        fn packets_cover_the_frame_once_and_none_is_too_long(size in 64usize..200_000) {
            let count = packets(size);
            let mut end = 0;
            for index in 0..count {
                let share = share(size, count, index);
                prop_assert_eq!(share.start, end);
                prop_assert!((32..=MAX_PAYLOAD).contains(&share.len()));
                end = share.end;
            }
            prop_assert_eq!(end, size);
        }

        #[test]
        fn no_rate_overflows(rate in any::<u64>(), fps in any::<u32>(), seed in any::<u32>()) {
            let mut encoder = Encoder::new(rate, fps, seed);
            for frame in 0..50 {
                let size = encoder.next_frame(frame % 7 == 0);
                prop_assert!(packets(size) <= MAX_PACKETS);
                prop_assert!(size <= MAX_PAYLOAD * MAX_PACKETS);
            }
        }
    }
}
