//! How much one user, one source and everybody together may have.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use super::five_tuple::KeyedHash;
use crate::units::Random;

/// What clients may have. Counts are those of one server, that is, of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Allocations of one user name, reserved ports included.
    pub allocations_per_user: u32,
    /// Allocations from one source, a /32 or a /64, reserved ports included.
    pub allocations_per_source: u32,
    /// Allocations in all, reserved ports included.
    pub allocations: u32,
    /// Peers that one allocation may have permissions for.
    pub permissions: usize,
    /// Channels of one allocation.
    pub channels: usize,
    /// Bytes per second of one allocation, both directions together.
    pub allocation_bytes_per_sec: Option<u64>,
    /// Bytes per second of all allocations, both directions together.
    pub bytes_per_sec: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // One participant subscribes to dozens of streams, each a peer connection that allocates over UDP and TCP
            // from each of the client's addresses.
            allocations_per_user: 256,
            allocations_per_source: 2_048,
            allocations: 32_768,
            permissions: 64,
            channels: 64,
            allocation_bytes_per_sec: None,
            bytes_per_sec: None,
        }
    }
}

/// Who has how much.
#[derive(Debug)]
pub(super) struct Quotas {
    users: Counts<Box<str>>,
    sources: Counts<IpAddr>,
    total: u32,
}

impl Quotas {
    pub(super) fn new(random: &mut Random) -> Self {
        let hash = KeyedHash::new(random);
        Self {
            users: Counts(HashMap::with_hasher(hash.clone())),
            sources: Counts(HashMap::with_hasher(hash)),
            total: 0,
        }
    }

    /// Whether a user at a source may have `more` (RFC 8656 section 7.2, error 486).
    pub(super) fn allow(&self, limits: &Limits, username: &str, source: IpAddr, more: u32) -> bool {
        let fits = |count: u32, limit| count.saturating_add(more) <= limit;
        fits(self.total, limits.allocations)
            && fits(self.users.get(username), limits.allocations_per_user)
            && fits(
                self.sources.get(&prefix(source)),
                limits.allocations_per_source,
            )
    }

    pub(super) fn add(&mut self, username: &str, source: IpAddr) {
        self.users.add(username.into());
        self.sources.add(prefix(source));
        self.total += 1;
    }

    pub(super) fn remove(&mut self, username: &str, source: IpAddr) {
        self.users.remove(username);
        self.sources.remove(&prefix(source));
        self.total = self.total.saturating_sub(1);
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn total(&self) -> u32 {
        self.total
    }
}

/// Counts by key; a count of zero has no entry.
#[derive(Debug)]
struct Counts<K>(HashMap<K, u32, KeyedHash>);

impl<K: Eq + Hash> Counts<K> {
    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> u32
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key).copied().unwrap_or(0)
    }

    fn add(&mut self, key: K) {
        *self.0.entry(key).or_insert(0) += 1;
    }

    fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(count) = self.0.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(key);
            }
        }
    }
}

fn prefix(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyedHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_sources_and_the_total_are_bounded_each() {
        let limits = Limits {
            allocations_per_user: 2,
            allocations_per_source: 3,
            allocations: 4,
            ..Limits::default()
        };
        let mut quotas = Quotas::new(&mut Random::seeded(1));
        let [a, b]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::2"].map(|ip| ip.parse().unwrap());
        let other = "198.51.100.1".parse().unwrap();
        quotas.add("u", a);
        quotas.add("u", b);
        assert!(!quotas.allow(&limits, "u", other, 1));
        assert!(quotas.allow(&limits, "v", a, 1) && !quotas.allow(&limits, "v", a, 2));
        quotas.add("v", b);
        assert!(!quotas.allow(&limits, "w", a, 1));
        assert!(quotas.allow(&limits, "w", other, 1) && !quotas.allow(&limits, "w", other, 2));
        quotas.remove("u", a);
        assert!(quotas.allow(&limits, "u", a, 1));
        quotas.remove("u", b);
        quotas.remove("v", b);
        assert!(quotas.users.0.is_empty() && quotas.sources.0.is_empty());
    }
}
