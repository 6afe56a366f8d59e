//! The packets of one producer that may still be asked for: one ring for all its consumers, filled once.

use std::time::{Duration, Instant};

use crate::units::MediaKind;

/// How long a packet may be asked for: a receiver's jitter buffer gives up earlier.
const MAX_AGE: Duration = Duration::from_secs(2);

/// What a consumer needs of a packet besides its payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PacketInfo {
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) passed_on: PassedOn,
}

/// Header extensions that reach the subscriber unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PassedOn {
    pub(crate) audio_level: Option<u8>,
    pub(crate) video_orientation: Option<u8>,
    pub(crate) playout_delay: Option<[u8; 3]>,
}

/// A packet in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    pub(crate) info: PacketInfo,
    pub(crate) payload: &'a [u8],
}

/// A ring of packets, bounded by count, bytes and age, and allocated with the first packet.
#[derive(Debug)]
pub(crate) struct History {
    // Both are powers of two.
    slot_count: usize,
    arena_len: usize,
    slots: Vec<Slot>,
    arena: Vec<u8>,
    /// How many bytes have ever been written, those skipped at the arena's end included.
    written: u64,
    /// When the arena's first byte was last written.
    lap_began: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    seq: u64,
    at: Instant,
    /// Value of `History::written` before the payload was.
    position: u64,
    len: usize,
    info: PacketInfo,
}

impl History {
    pub(crate) fn new(kind: MediaKind) -> Self {
        // 512 packets are 2 s of 3 Mbit/s, 128 are 2.5 s of Opus.
        let (slot_count, arena_len) = match kind {
            MediaKind::Audio => (128, 32 * 1024),
            MediaKind::Video => (512, 512 * 1024),
        };
        Self {
            slot_count,
            arena_len,
            slots: Vec::new(),
            arena: Vec::new(),
            written: 0,
            lap_began: None,
        }
    }

    /// Keeps a packet; the oldest make room. Payloads above a quarter of the ring are not kept.
    pub(crate) fn insert(&mut self, now: Instant, seq: u64, info: PacketInfo, payload: &[u8]) {
        if payload.len() > self.arena_len / 4 {
            return;
        }
        if self.arena.is_empty() {
            self.arena = vec![0; self.arena_len];
            self.slots = vec![
                Slot {
                    seq: u64::MAX,
                    at: now,
                    position: 0,
                    len: 0,
                    info: PacketInfo::default(),
                };
                self.slot_count
            ];
        }
        let mut start = self.offset_of(self.written);
        // Payloads stay in one piece. What lies at the arena's start is past its age after a while: to begin there again
        // keeps the rest of the arena untouched, and out of memory, where bit rates are low.
        let is_stale = self
            .lap_began
            .is_none_or(|at| now.saturating_duration_since(at) > MAX_AGE);
        if start + payload.len() > self.arena_len || is_stale && start > 0 {
            self.written += (self.arena_len - start) as u64;
            start = 0;
        }
        if start == 0 {
            self.lap_began = Some(now);
        }
        self.arena[start..start + payload.len()].copy_from_slice(payload);
        let slot = self.slot_of(seq);
        self.slots[slot] = Slot {
            seq,
            at: now,
            position: self.written,
            len: payload.len(),
            info,
        };
        self.written += payload.len() as u64;
    }

    /// The packet with the extended sequence number `seq`, unless it is gone or too old.
    #[inline]
    pub(crate) fn get(&self, now: Instant, seq: u64) -> Option<Stored<'_>> {
        let slot = self.slots.get(self.slot_of(seq))?;
        if slot.seq != seq || now.saturating_duration_since(slot.at) > MAX_AGE {
            return None;
        }
        // Overwritten as soon as the ring has come round to its first byte.
        if self.written - slot.position > self.arena_len as u64 {
            return None;
        }
        let start = self.offset_of(slot.position);
        Some(Stored {
            info: slot.info,
            payload: self.arena.get(start..start + slot.len)?,
        })
    }

    fn slot_of(&self, seq: u64) -> usize {
        seq as usize & (self.slot_count - 1)
    }

    fn offset_of(&self, position: u64) -> usize {
        position as usize & (self.arena_len - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::t0;

    fn info(timestamp: u32) -> PacketInfo {
        PacketInfo {
            timestamp,
            ..PacketInfo::default()
        }
    }

    #[test]
    fn nothing_is_allocated_before_the_first_packet() {
        let history = History::new(MediaKind::Video);
        assert_eq!(history.arena.capacity() + history.slots.capacity(), 0);
        assert_eq!(history.get(t0(), 0), None);
    }

    #[test]
    fn a_packet_ages_out() {
        let mut history = History::new(MediaKind::Audio);
        history.insert(t0(), 5, info(1), b"x");
        assert!(history.get(t0() + MAX_AGE, 5).is_some());
        assert_eq!(
            history.get(t0() + MAX_AGE + Duration::from_nanos(1), 5),
            None
        );
    }

    #[test]
    fn a_payload_that_would_empty_the_ring_is_not_kept() {
        let mut history = History::new(MediaKind::Audio);
        history.insert(t0(), 1, info(1), b"kept");
        history.insert(t0(), 2, info(2), &vec![0; 20_000]);
        assert!(history.get(t0(), 1).is_some());
        assert_eq!(history.get(t0(), 2), None);
    }

    #[test]
    fn a_low_bit_rate_touches_little_memory_and_forgets_nothing_early() {
        let mut history = History::new(MediaKind::Audio);
        for seq in 0..2000 {
            let now = t0() + Duration::from_millis(20 * seq);
            history.insert(now, seq, info(seq as u32), &[seq as u8 | 1; 80]);
            for young in seq.saturating_sub(100)..=seq {
                let stored = history.get(now, young);
                assert_eq!(
                    stored.map(|stored| stored.info.timestamp),
                    Some(young as u32)
                );
                assert_eq!(
                    stored.map(|stored| stored.payload[79]),
                    Some(young as u8 | 1)
                );
            }
        }
        let touched = history.arena.iter().rposition(|byte| *byte != 0);
        assert!(touched < Some(8400), "{touched:?}");
    }

    proptest! {
        #[test]
        fn what_is_returned_is_what_was_kept_and_the_newest_are_there(
            packets in prop::collection::vec((0_u64..400, 0_usize..1500), 1..200),
        ) {
            let mut history = History::new(MediaKind::Audio);
            let mut order: Vec<u64> = Vec::new();
            for (index, (seq, len)) in packets.iter().enumerate() {
                if order.contains(seq) {
                    continue;
                }
                order.push(*seq);
                history.insert(t0(), *seq, info(index as u32), &vec![*seq as u8; *len]);
                // All of them at the end, where the ring has come round most often.
                let checked = if index + 1 == packets.len() { 400 } else { 20 };
                for seq in 0..checked {
                    let Some(stored) = history.get(t0(), seq) else { continue };
                    prop_assert!(order.contains(&seq));
                    prop_assert_eq!(stored.payload.len(), packets[stored.info.timestamp as usize].1);
                    prop_assert!(stored.payload.iter().all(|byte| *byte == seq as u8));
                }
                prop_assert!(history.get(t0(), *seq).is_some());
                prop_assert_eq!(history.arena.capacity(), 32 * 1024);
            }
        }
    }
}
