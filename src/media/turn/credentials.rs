//! Who may allocate: bearers of time-limited credentials, which are checked by a MAC alone, and static users.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::media::stun::user_hash;
use crate::units::{Secret, turn_credential};

/// Revoked names that are remembered: three a second for a day.
const MAX_REVOKED: usize = 1 << 18;

/// The credentials that a server accepts.
///
/// A time-limited one (`units::turn_credential`) is good for an Allocate until its expiry. An allocation made with it
/// lives on as long as it is refreshed: a call must not break because it is long. Revoking ends both.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    secrets: Vec<Secret>,
    users: BTreeMap<String, Secret>,
    users_by_hash: HashMap<[u8; 32], String>,
    /// By the end of their time: a hash is enough, and small.
    revoked: BTreeSet<(u64, u64)>,
    hash: RandomState,
    realm: String,
    /// The wall clock's time, in seconds since 1970, and when it was that.
    wall: Option<(Instant, u64)>,
}

impl Credentials {
    /// No credentials at all, for `realm` (RFC 8489 section 9.2), which should have eight characters at most: a
    /// challenge then has at most 96 bytes.
    pub fn new(realm: impl Into<String>) -> Self {
        Self {
            realm: realm.into(),
            ..Self::default()
        }
    }

    /// Accepts what was minted under any of these secrets; the first is the one that mints.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Vec<Secret>) -> Self {
        self.secrets = secrets;
        self
    }

    /// Accepts these users and passwords.
    #[must_use]
    pub fn with_users(mut self, users: BTreeMap<String, Secret>) -> Self {
        self.set_users(users);
        self
    }

    /// Refuses these names.
    #[must_use]
    pub fn with_revoked(mut self, names: &[String]) -> Self {
        names.iter().for_each(|name| self.revoke(name));
        self
    }

    fn set_users(&mut self, users: BTreeMap<String, Secret>) {
        self.users_by_hash = users
            .keys()
            .map(|name| (user_hash(name, &self.realm), name.clone()))
            .collect();
        self.users = users;
    }

    /// Takes over secrets and users of `new`, and keeps the realm, the clock and what has been revoked.
    pub(super) fn replace(&mut self, new: Self) {
        self.secrets = new.secrets;
        self.set_users(new.users);
    }

    /// The realm (RFC 8489 section 9.2).
    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// Says what the wall clock shows. Without a clock no time-limited credential is good.
    pub(super) fn set_wall_clock(&mut self, now: Instant, unix_secs: u64) {
        self.wall = Some((now, unix_secs));
        while self
            .revoked
            .first()
            .is_some_and(|(expiry, _)| *expiry <= unix_secs)
        {
            self.revoked.pop_first();
        }
    }

    /// Refuses `username` from now on. It is remembered until the name expires by itself; of more than
    /// [`MAX_REVOKED`] names the first to expire are forgotten.
    pub(super) fn revoke(&mut self, username: &str) {
        self.revoked.insert(self.revocation(username));
        if self.revoked.len() > MAX_REVOKED {
            self.revoked.pop_first();
        }
    }

    fn revocation(&self, username: &str) -> (u64, u64) {
        let expiry = turn_credential::expiry(username).unwrap_or(u64::MAX);
        (expiry, self.hash.hash_one(username))
    }

    /// The static user with this USERHASH (RFC 8489 section 14.4).
    pub(super) fn user_of_hash(&self, hash: &[u8]) -> Option<&str> {
        let hash: &[u8; 32] = hash.try_into().ok()?;
        self.users_by_hash.get(hash).map(String::as_str)
    }

    /// The passwords with which `username` may authenticate itself at `now`.
    pub(super) fn passwords(&self, now: Instant, username: &str) -> Vec<Secret> {
        if self.revoked.contains(&self.revocation(username)) {
            return Vec::new();
        }
        if let Some(password) = self.users.get(username) {
            return vec![password.clone()];
        }
        let good = turn_credential::expiry(username)
            .zip(self.unix_secs(now))
            .is_some_and(|(expiry, now)| now < expiry);
        if !good {
            return Vec::new();
        }
        self.secrets
            .iter()
            .map(|secret| Secret::new(turn_credential::password(secret, username)))
            .collect()
    }

    fn unix_secs(&self, now: Instant) -> Option<u64> {
        let (then, secs) = self.wall?;
        let since: Duration = now.saturating_duration_since(then);
        Some(secs.saturating_add(since.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;
    use crate::units::Random;

    fn credentials(secrets: &[&str]) -> Credentials {
        let mut credentials = Credentials::new("hanok")
            .with_secrets(secrets.iter().map(|secret| Secret::new(*secret)).collect());
        credentials.set_wall_clock(t0(), 1_000);
        credentials
    }

    #[test]
    fn what_is_minted_is_accepted_until_it_expires() {
        let credentials = credentials(&["north"]);
        let (name, password) =
            turn_credential::mint(&Secret::new("north"), 2_000, &mut Random::seeded(1));
        let at = |secs| credentials.passwords(t0() + Duration::from_secs(secs), &name);
        assert_eq!(at(999), [Secret::new(password)]);
        assert_eq!(at(1_000), []);
    }

    #[test]
    fn every_secret_of_a_rotation_counts() {
        let accepted = credentials(&["new", "old"]).passwords(t0(), "2000:x");
        let expected = ["new", "old"]
            .map(|secret| Secret::new(turn_credential::password(&Secret::new(secret), "2000:x")));
        assert_eq!(accepted, expected);
    }

    #[test]
    fn names_that_are_no_time_have_no_password() {
        for name in ["", "alice", ":", "999:x", "-5:x", "2000\0:x"] {
            assert_eq!(
                credentials(&["north"]).passwords(t0(), name),
                [],
                "{name:?}"
            );
        }
        let clockless = Credentials::new("hanok").with_secrets(vec![Secret::new("north")]);
        assert_eq!(clockless.passwords(t0(), "2000:x"), []);
    }

    #[test]
    fn a_revoked_name_is_refused_and_forgotten_once_it_has_expired() {
        let mut credentials = credentials(&["north"]);
        credentials.revoke("2000:x");
        credentials = credentials.with_revoked(&["1999:z".to_owned()]);
        assert_eq!(credentials.passwords(t0(), "2000:x"), []);
        assert_eq!(credentials.passwords(t0(), "1999:z"), []);
        assert_eq!(credentials.passwords(t0(), "2000:y").len(), 1);
        credentials.set_wall_clock(t0(), 1_999);
        assert_eq!(credentials.revoked.len(), 1);
        credentials.set_wall_clock(t0(), 2_000);
        assert_eq!(credentials.revoked.len(), 0);
        assert_eq!(credentials.passwords(t0(), "2000:x"), []);
    }

    #[test]
    fn what_is_remembered_of_the_revoked_is_bounded_and_the_longest_lived_count() {
        let mut credentials = credentials(&["north"]);
        let name = |number: usize| format!("{}:x", 2_000 + number);
        (0..MAX_REVOKED + 10).for_each(|number| credentials.revoke(&name(number)));
        assert_eq!(credentials.revoked.len(), MAX_REVOKED);
        for (number, passwords) in [(0, 1), (9, 1), (10, 0), (MAX_REVOKED + 9, 0)] {
            let found = credentials.passwords(t0(), &name(number)).len();
            assert_eq!(found, passwords, "{number}");
        }
    }

    #[test]
    fn static_users_stand_beside_and_are_found_by_their_hash() {
        let users = BTreeMap::from([("alice".to_owned(), Secret::new("wonder"))]);
        let mut credentials = credentials(&["north"]).with_users(users);
        assert_eq!(
            credentials.passwords(t0(), "alice"),
            [Secret::new("wonder")]
        );
        assert_eq!(
            credentials.user_of_hash(&user_hash("alice", "hanok")),
            Some("alice")
        );
        assert_eq!(credentials.user_of_hash(&user_hash("alice", "other")), None);
        assert_eq!(credentials.user_of_hash(b"short"), None);
        credentials.replace(Credentials::default().with_secrets(vec![Secret::new("south")]));
        assert_eq!(credentials.passwords(t0(), "alice"), []);
        assert_eq!(credentials.realm(), "hanok");
    }
}
