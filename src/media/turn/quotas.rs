//! How much one user, one source and everybody together may have.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What clients may have. Allocations are counted over all servers that share their [`Quotas`]; bytes are those of one
/// server.
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
    /// Bytes per second of all allocations of this server, both directions together.
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

/// Who has how much, shared by the servers of all workers: the kernel spreads the allocations of one user over them.
/// It is asked when an allocation begins and ends, never for a packet, so a lock is no harm.
#[derive(Default)]
pub struct Quotas(Mutex<Held>);

#[derive(Default)]
struct Held {
    users: Counts<Box<str>>,
    sources: Counts<IpAddr>,
    total: u32,
}

impl Quotas {
    /// Nobody has anything yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a user at a source so many more, unless that is more than it may have (RFC 8656 section 7.2, error 486).
    pub(super) fn take(&self, limits: &Limits, username: &str, source: IpAddr, more: u32) -> bool {
        let mut held = self.held();
        let fits = |count: u32, limit| count.saturating_add(more) <= limit;
        let may = fits(held.total, limits.allocations)
            && fits(held.users.get(username), limits.allocations_per_user)
            && fits(
                held.sources.get(&prefix(source)),
                limits.allocations_per_source,
            );
        if may {
            held.add(username, source, more);
        }
        may
    }

    /// Counts what a user is owed whatever the limits say: the port that it has reserved.
    pub(super) fn add(&self, username: &str, source: IpAddr) {
        self.held().add(username, source, 1);
    }

    /// Takes back so many.
    pub(super) fn give_back(&self, username: &str, source: IpAddr, fewer: u32) {
        let mut held = self.held();
        held.users.sub(username, fewer);
        held.sources.sub(&prefix(source), fewer);
        held.total = held.total.saturating_sub(fewer);
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn total(&self) -> u32 {
        self.held().total
    }

    /// Whoever panicked while it held the lock left numbers, which are as good as before.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quotas(..)")
    }
}

impl Held {
    fn add(&mut self, username: &str, source: IpAddr, more: u32) {
        if more > 0 {
            self.users.add(username.into(), more);
            self.sources.add(prefix(source), more);
            self.total = self.total.saturating_add(more);
        }
    }
}

/// Counts by key; a count of zero has no entry. The map hashes with a key that outsiders do not know.
struct Counts<K>(HashMap<K, u32>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Counts<K> {
    fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> u32
    where
        K: std::borrow::Borrow<Q>,
    {
        self.0.get(key).copied().unwrap_or(0)
    }

    fn add(&mut self, key: K, more: u32) {
        let count = self.0.entry(key).or_insert(0);
        *count = count.saturating_add(more);
    }

    fn sub<Q: Eq + Hash + ?Sized>(&mut self, key: &Q, fewer: u32)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Some(count) = self.0.get_mut(key) {
            *count = count.saturating_sub(fewer);
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
        let quotas = Quotas::new();
        let [a, b]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::2"].map(|ip| ip.parse().unwrap());
        let other = "198.51.100.1".parse().unwrap();
        assert!(quotas.take(&limits, "u", a, 1) && quotas.take(&limits, "u", b, 1));
        assert!(!quotas.take(&limits, "u", other, 1));
        assert!(!quotas.take(&limits, "v", a, 2) && quotas.take(&limits, "v", b, 1));
        assert!(!quotas.take(&limits, "w", a, 1));
        assert!(!quotas.take(&limits, "w", other, 2) && quotas.take(&limits, "w", other, 1));
        assert_eq!(quotas.total(), 4);
        quotas.give_back("w", other, 1);
        quotas.give_back("u", a, 1);
        assert!(quotas.take(&limits, "u", a, 1));
        quotas.give_back("u", b, 2);
        quotas.give_back("v", b, 1);
        let held = quotas.held();
        assert!(held.users.0.is_empty() && held.sources.0.is_empty());
        assert_eq!(held.total, 0);
    }

    #[test]
    fn what_is_shared_is_never_exceeded_however_many_ask_at_once() {
        let limits = Limits {
            allocations_per_user: 100,
            ..Limits::default()
        };
        let quotas = Quotas::new();
        let taken: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4u8)
                .map(|worker| {
                    let (quotas, limits) = (&quotas, &limits);
                    scope.spawn(move || {
                        let source = IpAddr::from([198, 51, 100, worker]);
                        (0..80)
                            .filter(|_| quotas.take(limits, "u", source, 1))
                            .count()
                    })
                })
                .collect();
            let counts = workers.into_iter().map(|worker| worker.join().unwrap());
            counts.sum()
        });
        assert_eq!((taken, quotas.total()), (100, 100));
    }

    #[test]
    fn a_hundred_thousand_names_leave_nothing_behind() {
        let (quotas, limits) = (Quotas::new(), Limits::default());
        let source = IpAddr::from([198, 51, 100, 1]);
        for number in 0..100_000 {
            let name = format!("1700086400:{number}");
            assert!(quotas.take(&limits, &name, source, 1));
            quotas.give_back(&name, source, 1);
        }
        let held = quotas.held();
        assert!(held.users.0.is_empty() && held.users.0.capacity() < 64);
    }
}
