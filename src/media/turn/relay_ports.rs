//! Relay ports: which are free, which an allocation has, and which another process occupies.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::five_tuple::Family;
use crate::units::{PortRange, Random};

/// How long a port that another process occupies is left alone.
const IN_USE_FOR: Duration = Duration::from_secs(60);

const WORDS: usize = 65_536 / 64;

/// The relayed addresses that live anywhere in the process, shared by the servers of all workers: what a peer's
/// address is asked against before data crosses from one allocation to another.
pub struct LivePorts([Box<[AtomicU64]>; 2]);

impl LivePorts {
    /// None yet.
    pub fn new() -> Self {
        Self(Family::BOTH.map(|_| (0..WORDS).map(|_| AtomicU64::new(0)).collect()))
    }

    pub(super) fn contains(&self, family: Family, port: u16) -> bool {
        let (word, bit) = self.bit(family, port);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn insert(&self, family: Family, port: u16) {
        if let (Some(word), bit) = self.bit(family, port) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    fn remove(&self, family: Family, port: u16) {
        if let (Some(word), bit) = self.bit(family, port) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn bit(&self, family: Family, port: u16) -> (Option<&AtomicU64>, u64) {
        let port = usize::from(port);
        (self.0[family.index()].get(port / 64), 1 << (port % 64))
    }
}

impl Default for LivePorts {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LivePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LivePorts(..)")
    }
}

/// The relay ports of one server and one family. Every choice is random: who sees one port cannot tell the next
/// (RFC 6056; CVE-2025-69217 was the opposite).
#[derive(Debug)]
pub(super) struct RelayPorts {
    family: Family,
    first: u16,
    free: Vec<u16>,
    /// By port: where it stands in `free`.
    places: Box<[u16]>,
    /// By port: the slot of the allocation that has it.
    owners: Box<[u32]>,
    in_use: VecDeque<(Instant, u16)>,
}

const NOWHERE: u16 = u16::MAX;
const NOBODY: u32 = u32::MAX;

impl RelayPorts {
    pub(super) fn new(family: Family, range: PortRange) -> Self {
        // Port 65,535 gives way to the mark for "nowhere": a place is at most 65,534 then.
        let free: Vec<u16> = range.iter().collect();
        let places = (0..free.len()).map(|place| place as u16).collect();
        let owners = vec![NOBODY; free.len()].into_boxed_slice();
        Self {
            family,
            first: range.first(),
            free,
            places,
            owners,
            in_use: VecDeque::new(),
        }
    }

    /// Panics unless this many ports are neither free nor occupied by another process.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn assert_taken(&self, taken: usize) {
        let all = self.owners.len();
        assert_eq!(self.free.len() + self.in_use.len() + taken, all);
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn covers(&self, port: u16) -> bool {
        self.index(port).is_some_and(|at| at < self.owners.len())
    }

    /// Any free port.
    pub(super) fn take(&mut self, random: &mut Random) -> Option<u16> {
        let port = *self.free.get(self.random_place(random)?)?;
        self.remove(port).then_some(port)
    }

    /// A free even port (RFC 8656 section 7.2); with `pair`, one whose successor is free, and takes that, too.
    pub(super) fn take_even(&mut self, random: &mut Random, pair: bool) -> Option<u16> {
        let start = self.random_place(random)?;
        let (before, after) = self.free.split_at(start);
        let port = after.iter().chain(before).copied().find(|port| {
            port % 2 == 0 && (!pair || port.checked_add(1).is_some_and(|next| self.is_free(next)))
        })?;
        self.remove(port);
        if pair {
            self.remove(port + 1);
        }
        Some(port)
    }

    /// Takes this port if it is free.
    pub(super) fn take_exactly(&mut self, port: u16) -> bool {
        self.remove(port)
    }

    /// Notes whose port it is.
    pub(super) fn assign(&mut self, port: u16, slot: u32, live: &LivePorts) {
        if let Some(owner) = self.index(port).and_then(|at| self.owners.get_mut(at)) {
            *owner = slot;
            live.insert(self.family, port);
        }
    }

    /// The slot of the allocation that has `port`.
    pub(super) fn owner(&self, port: u16) -> Option<u32> {
        let owner = *self.owners.get(self.index(port)?)?;
        (owner != NOBODY).then_some(owner)
    }

    /// Takes a port back.
    pub(super) fn release(&mut self, port: u16, live: &LivePorts) {
        self.disown(port, live);
        self.insert(port);
    }

    /// Takes a port back that another process occupies.
    pub(super) fn release_in_use(&mut self, now: Instant, port: u16, live: &LivePorts) {
        self.disown(port, live);
        self.in_use.push_back((now + IN_USE_FOR, port));
    }

    /// When the next occupied port is looked at again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.in_use.front().map(|(at, _)| *at)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, port)) = self.in_use.pop_front_if(|(at, _)| *at <= now) {
            self.insert(port);
        }
    }

    fn disown(&mut self, port: u16, live: &LivePorts) {
        if let Some(owner) = self.index(port).and_then(|at| self.owners.get_mut(at)) {
            *owner = NOBODY;
        }
        live.remove(self.family, port);
    }

    fn index(&self, port: u16) -> Option<usize> {
        port.checked_sub(self.first).map(usize::from)
    }

    fn is_free(&self, port: u16) -> bool {
        self.place(port).is_some()
    }

    fn place(&self, port: u16) -> Option<usize> {
        let place = *self.places.get(self.index(port)?)?;
        (place != NOWHERE).then_some(usize::from(place))
    }

    fn set_place(&mut self, port: u16, place: u16) {
        if let Some(known) = self.index(port).and_then(|at| self.places.get_mut(at)) {
            *known = place;
        }
    }

    fn remove(&mut self, port: u16) -> bool {
        let Some(place) = self.place(port) else {
            return false;
        };
        self.free.swap_remove(place);
        self.set_place(port, NOWHERE);
        if let Some(moved) = self.free.get(place) {
            self.set_place(*moved, place as u16);
        }
        true
    }

    fn insert(&mut self, port: u16) {
        if !self.is_free(port) {
            self.set_place(port, self.free.len() as u16);
            self.free.push(port);
        }
    }

    fn random_place(&self, random: &mut Random) -> Option<usize> {
        // The bias of the remainder is below 2^-48.
        (random.u64() as usize).checked_rem(self.free.len())
    }
}

/// A port kept for a client that asked for a pair (RFC 8656 section 7.2).
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) token: [u8; 8],
    pub(super) family: Family,
    pub(super) port: u16,
    pub(super) username: Box<str>,
    pub(super) source: std::net::IpAddr,
    pub(super) expires_at: Instant,
}

/// The address of a relay of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayAddress {
    /// Where relay sockets are bound.
    pub bound: std::net::IpAddr,
    /// What clients are told: the external address under 1:1 NAT, else the same.
    pub told: std::net::IpAddr,
}

impl RelayAddress {
    pub(super) fn told(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.told, port)
    }

    pub(super) fn bound(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.bound, port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::t0;

    fn ports(first: u16, last: u16) -> RelayPorts {
        RelayPorts::new(Family::V4, PortRange::new(first, last).unwrap())
    }

    #[test]
    fn every_port_is_taken_once_and_the_order_cannot_be_told() {
        let order = |seed| {
            let (mut ports, mut random) = (ports(57_001, 57_100), Random::seeded(seed));
            std::iter::from_fn(move || ports.take(&mut random)).collect::<Vec<_>>()
        };
        let one = order(1);
        let mut sorted = one.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (57_001..=57_100).collect::<Vec<_>>());
        assert_ne!(one, sorted);
        assert_ne!(one, order(2));
    }

    #[test]
    fn the_whole_range_of_ports_works_to_its_last() {
        let mut ports = ports(1, 65_535);
        let mut random = Random::seeded(1);
        let taken = std::iter::from_fn(|| ports.take(&mut random)).count();
        assert_eq!(taken, 65_535);
    }

    #[test]
    fn a_pair_is_even_and_odd_and_both_are_gone() {
        let mut random = Random::seeded(1);
        let mut pool = ports(57_001, 57_004);
        assert_eq!(pool.take_even(&mut random, true), Some(57_002));
        assert_eq!(pool.free.len(), 2);
        assert_eq!(pool.take_even(&mut random, true), None);
        assert_eq!(pool.take_even(&mut random, false), Some(57_004));
        assert_eq!(pool.take_even(&mut random, false), None);
        assert_eq!(ports(65_534, 65_534).take_even(&mut random, true), None);
    }

    #[test]
    fn a_port_in_use_comes_back_after_a_minute() {
        let (mut pool, mut random) = (ports(57_001, 57_001), Random::seeded(1));
        let live = LivePorts::new();
        let port = pool.take(&mut random).unwrap();
        pool.assign(port, 3, &live);
        assert!(live.contains(Family::V4, port) && !live.contains(Family::V6, port));
        assert_eq!(pool.owner(port), Some(3));
        pool.release_in_use(t0(), port, &live);
        assert!(!live.contains(Family::V4, port));
        assert_eq!((pool.take(&mut random), pool.owner(port)), (None, None));
        let at = pool.poll_timeout().unwrap();
        assert_eq!(at, t0() + IN_USE_FOR);
        pool.handle_timeout(at);
        assert_eq!(pool.take(&mut random), Some(port));
    }

    proptest! {
        #[test]
        fn ports_are_neither_lost_nor_given_twice(
            steps in proptest::collection::vec((0u8..4, any::<prop::sample::Index>()), 1..200),
        ) {
            let (mut pool, mut random) = (ports(100, 120), Random::seeded(1));
            let live = LivePorts::new();
            let mut taken = std::collections::BTreeSet::new();
            for (step, index) in steps {
                match step {
                    0 => taken.extend(pool.take(&mut random)),
                    1 => taken.extend(pool.take_even(&mut random, false)),
                    2 => if let Some(port) = pool.take_even(&mut random, true) {
                        prop_assert!(taken.insert(port) && taken.insert(port + 1));
                    },
                    _ if !taken.is_empty() => {
                        let port = *index.get(&taken.iter().copied().collect::<Vec<_>>());
                        taken.remove(&port);
                        pool.release(port, &live);
                    }
                    _ => {}
                }
                prop_assert_eq!(pool.free.len() + taken.len(), 21);
                prop_assert!(taken.iter().all(|port| !pool.is_free(*port)));
            }
        }
    }
}
