//! What every packet carries at the end of its payload, whatever a server does to its header: who sent it, which one it
//! is, when it left, and its place in a frame.
//!
//! ```text
//! | magic 4 | stream 4 | number 4 | frame 4 | sent, ns 8 | age, ns 4 | index 1 | count 1 | flags 1 | 0 |
//! ```

/// Bytes of a stamp.
pub(super) const LEN: usize = 32;

const MAGIC: [u8; 4] = *b"hnk1";
const KEY_FRAME: u8 = 1;

/// A packet's own words about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The publisher's number.
    pub(super) stream: u32,
    /// The packet's running number in its track.
    pub(super) number: u32,
    /// The running number of its frame.
    pub(super) frame: u32,
    /// Nanoseconds from the beginning of the test to its departure.
    pub(super) sent_ns: u64,
    /// Nanoseconds since its frame was taken.
    pub(super) age_ns: u32,
    /// Its place in the frame.
    pub(super) index: u8,
    /// Packets of the frame.
    pub(super) count: u8,
    /// The frame is a key frame.
    pub(super) key_frame: bool,
}

impl Stamp {
    /// Writes it to the end of `payload`, if there is room.
    pub(super) fn write(&self, payload: &mut [u8]) {
        let Some(out) = payload.last_chunk_mut::<LEN>() else {
            return;
        };
        out[..4].copy_from_slice(&MAGIC);
        out[4..8].copy_from_slice(&self.stream.to_be_bytes());
        out[8..12].copy_from_slice(&self.number.to_be_bytes());
        out[12..16].copy_from_slice(&self.frame.to_be_bytes());
        out[16..24].copy_from_slice(&self.sent_ns.to_be_bytes());
        out[24..28].copy_from_slice(&self.age_ns.to_be_bytes());
        out[28] = self.index;
        out[29] = self.count;
        out[30] = if self.key_frame { KEY_FRAME } else { 0 };
        out[31] = 0;
    }

    /// When its frame was taken.
    pub(super) const fn frame_ns(&self) -> u64 {
        self.sent_ns.saturating_sub(self.age_ns as u64)
    }

    /// Reads it from the end of `payload`; `None` if it is not ours.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let bytes = payload.last_chunk::<LEN>()?;
        let u32_at = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
        if bytes[..4] != MAGIC || bytes[28] >= bytes[29] {
            return None;
        }
        Some(Self {
            stream: u32_at(4)?,
            number: u32_at(8)?,
            frame: u32_at(12)?,
            sent_ns: u64::from_be_bytes(*bytes.get(16..)?.first_chunk()?),
            age_ns: u32_at(24)?,
            index: bytes[28],
            count: bytes[29],
            key_frame: bytes[30] & KEY_FRAME != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stamp_is_read_as_it_was_written_and_anything_else_is_not(
            number in any::<u32>(),
            sent_ns in any::<u64>(),
            count in 1u8..,
            key_frame in any::<bool>(),
            len in 0usize..80,
            noise in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let stamp = Stamp {
                stream: !number,
                number,
                frame: number / 3,
                sent_ns,
                age_ns: number ^ 0x55,
                index: count - 1,
                count,
                key_frame,
            };
            let mut payload = vec![0xa5; len];
            stamp.write(&mut payload);
            prop_assert_eq!(Stamp::read(&payload), (len >= LEN).then_some(stamp));
            prop_assert_eq!(Stamp::read(&noise), None);
        }
    }
}
