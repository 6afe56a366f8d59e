//! One allocation, and the slab that holds a server's (RFC 8656 sections 3.2 and 7).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::channel::Channels;
use super::five_tuple::{Family, FiveTuple};
use super::permission::Permissions;
use super::token_bucket::TokenBucket;
use crate::media::stun::{LongTermKey, TransactionId};

/// What a client gets that asks for nothing, or for less (RFC 8656 section 3.2).
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

/// Names an allocation of one server; never reused for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AllocationId {
    pub(super) slot: u32,
    generation: u32,
}

impl AllocationId {
    pub(super) const FIRST: Self = Self {
        slot: 0,
        generation: 0,
    };
    pub(super) const LAST: Self = Self {
        slot: u32::MAX,
        generation: u32::MAX,
    };
}

impl fmt::Display for AllocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// A text that names no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an allocation")]
pub struct NotAnAllocation;

impl FromStr for AllocationId {
    type Err = NotAnAllocation;

    fn from_str(text: &str) -> Result<Self, NotAnAllocation> {
        let (slot, generation) = text.split_once('.').ok_or(NotAnAllocation)?;
        Ok(Self {
            slot: slot.parse().map_err(|_| NotAnAllocation)?,
            generation: generation.parse().map_err(|_| NotAnAllocation)?,
        })
    }
}

/// What an allocation has carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Traffic {
    pub(super) packets_to_peers: u64,
    pub(super) bytes_to_peers: u64,
    pub(super) packets_to_client: u64,
    pub(super) bytes_to_client: u64,
}

/// One of the at most two relayed transport addresses of an allocation, by family.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relay {
    pub(super) port: u16,
    pub(super) expires_at: Instant,
    /// Whether its socket has been asked for: that is done for the first foreign peer.
    pub(super) is_open: bool,
    /// Whether data has gone to workers of ours, which may have paths here.
    pub(super) reaches_workers: bool,
}

/// What is kept for a client.
#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) five_tuple: FiveTuple,
    pub(super) username: Box<str>,
    pub(super) key: LongTermKey,
    pub(super) created: Created,
    pub(super) created_at: Instant,
    /// When the first of its relays expires: under which it stands among the server's deadlines.
    pub(super) deadline: Instant,
    pub(super) relays: [Option<Relay>; 2],
    pub(super) permissions: Permissions,
    pub(super) channels: Channels,
    pub(super) rate: TokenBucket,
    pub(super) traffic: Traffic,
}

/// What a repeated Allocate is answered with (RFC 8656 section 7.2).
#[derive(Debug, Clone, Copy)]
pub(super) struct Created {
    pub(super) transaction: TransactionId,
    pub(super) lifetime: Duration,
    pub(super) relayed: [Option<SocketAddr>; 2],
    pub(super) token: Option<[u8; 8]>,
    /// Why there is no second address although it was asked for (RFC 8656 section 18.12).
    pub(super) missing: Option<u16>,
}

impl Allocation {
    /// The relay of this family, if it lives.
    pub(super) fn relay(&self, now: Instant, family: Family) -> Option<&Relay> {
        self.relays[family.index()]
            .as_ref()
            .filter(|relay| now < relay.expires_at)
    }

    pub(super) fn relay_mut(&mut self, family: Family) -> Option<&mut Relay> {
        self.relays[family.index()].as_mut()
    }
}

const CHUNK: usize = 64;

/// Allocations in chunks that never move: growing costs no copy, and a slot is used again.
#[derive(Debug, Default)]
pub(super) struct Slab {
    chunks: Vec<Box<[Slot]>>,
    free: Vec<u32>,
    len: usize,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    allocation: Option<Allocation>,
}

impl Slab {
    #[cfg(any(test, feature = "testing"))]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, allocation: Allocation) -> AllocationId {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let first = (self.chunks.len() * CHUNK) as u32;
                let chunk = (0..CHUNK).map(|_| Slot::default()).collect();
                self.chunks.push(chunk);
                self.free.extend((first + 1..first + CHUNK as u32).rev());
                first
            }
        };
        let place = self.slot_mut(slot).expect("the slot exists");
        place.allocation = Some(allocation);
        let generation = place.generation;
        self.len += 1;
        AllocationId { slot, generation }
    }

    pub(super) fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        let place = self
            .slot_mut(id.slot)
            .filter(|place| place.generation == id.generation)?;
        let allocation = place.allocation.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.slot);
        self.len -= 1;
        Some(allocation)
    }

    pub(super) fn get(&self, id: AllocationId) -> Option<&Allocation> {
        self.slot(id.slot)
            .filter(|place| place.generation == id.generation)?
            .allocation
            .as_ref()
    }

    pub(super) fn get_mut(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        self.slot_mut(id.slot)
            .filter(|place| place.generation == id.generation)?
            .allocation
            .as_mut()
    }

    /// The id of the allocation in `slot`.
    pub(super) fn id_at(&self, slot: u32) -> Option<AllocationId> {
        let place = self.slot(slot)?;
        place.allocation.is_some().then_some(AllocationId {
            slot,
            generation: place.generation,
        })
    }

    /// All, by slot.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        self.iter_after(None)
    }

    /// Those in slots after that of `after`.
    pub(super) fn iter_after(
        &self,
        after: Option<AllocationId>,
    ) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        let first = after.map_or(0, |after| after.slot as usize + 1);
        let chunk = first / CHUNK;
        let slots = self.chunks.get(chunk..).unwrap_or_default();
        slots
            .iter()
            .flatten()
            .zip((chunk * CHUNK) as u32..)
            .skip(first % CHUNK)
            .filter_map(|(place, slot)| {
                let id = AllocationId {
                    slot,
                    generation: place.generation,
                };
                Some((id, place.allocation.as_ref()?))
            })
    }

    fn slot(&self, slot: u32) -> Option<&Slot> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        let slot = slot as usize;
        self.chunks.get_mut(slot / CHUNK)?.get_mut(slot % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::stun::PasswordAlgorithm;
    use crate::media::turn::Protocol;
    use crate::testing::t0;

    fn allocation(port: u16) -> Allocation {
        Allocation {
            five_tuple: FiveTuple::new(
                Protocol::Udp,
                ([198, 51, 100, 7], port).into(),
                ([192, 0, 2, 1], 3478).into(),
            ),
            username: "u".into(),
            key: LongTermKey::new(PasswordAlgorithm::Md5, "u", "r", "p"),
            created: Created {
                transaction: TransactionId([0; 12]),
                lifetime: DEFAULT_LIFETIME,
                relayed: [None; 2],
                token: None,
                missing: None,
            },
            created_at: t0(),
            deadline: t0(),
            relays: [None; 2],
            permissions: Permissions::default(),
            channels: Channels::default(),
            rate: TokenBucket::full(t0()),
            traffic: Traffic::default(),
        }
    }

    #[test]
    fn a_record_is_small() {
        assert!(
            size_of::<Allocation>() <= 512,
            "{}",
            size_of::<Allocation>()
        );
    }

    #[test]
    fn an_old_id_never_names_a_new_allocation() {
        let mut slab = Slab::default();
        let ids: Vec<_> = (0..130).map(|port| slab.insert(allocation(port))).collect();
        assert_eq!(slab.len(), 130);
        assert_eq!(slab.iter().map(|(id, _)| id).collect::<Vec<_>>(), ids);
        for (place, id) in ids.iter().enumerate() {
            let rest: Vec<_> = slab.iter_after(Some(*id)).map(|(id, _)| id).collect();
            assert_eq!(rest, ids[place + 1..]);
            assert_eq!(id.to_string().parse(), Ok(*id));
        }
        assert_eq!(slab.iter_after(Some(AllocationId::LAST)).count(), 0);
        for text in ["", "1", "1.", ".1", "1.2.3", "-1.0", "4294967296.0"] {
            assert_eq!(text.parse::<AllocationId>(), Err(NotAnAllocation), "{text}");
        }
        assert_eq!(slab.remove(ids[70]).unwrap().five_tuple.client.port(), 70);
        assert!(slab.remove(ids[70]).is_none() && slab.get(ids[70]).is_none());
        assert_eq!(slab.id_at(70), None);
        let again = slab.insert(allocation(999));
        assert_eq!((again.slot, slab.chunks.len()), (70, 3));
        assert_ne!(again, ids[70]);
        assert!(slab.get_mut(ids[70]).is_none());
        assert_eq!(slab.get(again).unwrap().five_tuple.client.port(), 999);
    }
}
