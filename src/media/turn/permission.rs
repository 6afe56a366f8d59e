//! The peers that an allocation may exchange data with (RFC 8656 section 9).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::five_tuple::Family;

/// How long a permission lives without a refresh (RFC 8656 section 9).
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// Permissions by IP address; ports do not matter (RFC 8656 section 9). Empty, they occupy no heap.
#[derive(Debug, Default)]
pub(super) struct Permissions(Vec<Permission>);

#[derive(Debug)]
struct Permission {
    peer: IpAddr,
    is_own: bool,
    expires_at: Instant,
}

impl Permissions {
    /// Whether data may flow to and from `peer`; if so, whether it is an address of our own.
    pub(super) fn allows(&self, now: Instant, peer: IpAddr) -> Option<bool> {
        self.0
            .iter()
            .find(|permission| permission.peer == peer && now < permission.expires_at)
            .map(|permission| permission.is_own)
    }

    /// Whether `more` peers that have none yet would still get one.
    pub(super) fn has_room(&mut self, now: Instant, peers: &[(IpAddr, bool)], max: usize) -> bool {
        self.0.retain(|permission| now < permission.expires_at);
        let mut new: Vec<IpAddr> = peers
            .iter()
            .map(|(peer, _)| *peer)
            .filter(|peer| self.allows(now, *peer).is_none())
            .collect();
        new.sort_unstable();
        new.dedup();
        self.0.len() + new.len() <= max
    }

    /// Installs or refreshes a permission; [`Self::has_room`] was asked before.
    pub(super) fn install(&mut self, now: Instant, peer: IpAddr, is_own: bool) {
        let expires_at = now + PERMISSION_LIFETIME;
        match self.0.iter_mut().find(|known| known.peer == peer) {
            Some(known) => {
                known.is_own = is_own;
                known.expires_at = expires_at;
            }
            None => self.0.push(Permission {
                peer,
                is_own,
                expires_at,
            }),
        }
    }

    /// Drops those that `keep` refuses.
    pub(super) fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.0.retain(|permission| keep(permission.peer));
    }

    pub(super) fn remove_family(&mut self, family: Family) {
        self.retain(|peer| Family::of(peer) != family);
    }

    pub(super) fn count(&self, now: Instant) -> usize {
        self.0
            .iter()
            .filter(|permission| now < permission.expires_at)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([8, 8, 8, last])
    }

    #[test]
    fn a_permission_ends_exactly_at_its_lifetime_and_a_refresh_prolongs_it() {
        let mut permissions = Permissions::default();
        permissions.install(t0(), ip(1), false);
        let just_before = t0() + PERMISSION_LIFETIME - Duration::from_nanos(1);
        assert_eq!(permissions.allows(just_before, ip(1)), Some(false));
        assert_eq!(permissions.allows(t0() + PERMISSION_LIFETIME, ip(1)), None);
        permissions.install(just_before, ip(1), true);
        assert_eq!(
            permissions.allows(t0() + PERMISSION_LIFETIME, ip(1)),
            Some(true)
        );
        assert_eq!(permissions.allows(t0(), ip(2)), None);
        assert_eq!(permissions.count(just_before), 1);
    }

    #[test]
    fn room_counts_new_peers_once_and_forgets_expired_ones() {
        let mut permissions = Permissions::default();
        permissions.install(t0(), ip(1), false);
        let peers = [(ip(1), false), (ip(2), false), (ip(2), false)];
        assert!(permissions.has_room(t0(), &peers, 2));
        assert!(!permissions.has_room(t0(), &peers, 1));
        assert!(!permissions.has_room(t0(), &[(ip(2), false), (ip(3), false)], 2));
        assert!(permissions.has_room(
            t0() + PERMISSION_LIFETIME,
            &[(ip(2), false), (ip(3), false)],
            2
        ));
    }
}
