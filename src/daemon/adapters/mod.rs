//! The ports that upper folders state, implemented over the lower folders' own interfaces.

use std::sync::Mutex;

use crate::control::session::ports::{TurnCredential, TurnCredentials};
use crate::media::turn::credentials;
use crate::units::{Random, Secret, clock};

/// How long minted credentials are valid, in seconds (`openvidu-signalling` section 3.2).
const TURN_LIFETIME_S: u64 = 86_400;

/// Time-limited TURN credentials of our own STUN/TURN server.
pub struct MintedTurnCredentials {
    secret: Secret,
    random: Mutex<Random>,
}

impl MintedTurnCredentials {
    /// Mints with `secret`.
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            random: Mutex::new(Random::system()),
        }
    }
}

impl TurnCredentials for MintedTurnCredentials {
    fn mint(&self) -> Option<TurnCredential> {
        let expiry = clock::wall_ms() / 1000 + TURN_LIFETIME_S;
        let mut random = self.random.lock().ok()?;
        let (username, credential) = credentials::mint(&self.secret, expiry, &mut random);
        Some(TurnCredential {
            username,
            credential,
        })
    }

    // The server answers every Allocate with 403 so far, so no credential opens anything that a leave must close.
    fn revoke(&self, _username: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_credentials_are_valid_for_a_day() {
        let secret = Secret::new("turn secret of the test");
        let minted = MintedTurnCredentials::new(secret.clone()).mint().unwrap();
        let now = clock::wall_ms() / 1000;
        assert!(credentials::is_valid(
            &secret,
            &minted.username,
            &minted.credential,
            now
        ));
        assert!(credentials::is_valid(
            &secret,
            &minted.username,
            &minted.credential,
            now + TURN_LIFETIME_S - 10
        ));
        assert!(!credentials::is_valid(
            &secret,
            &minted.username,
            &minted.credential,
            now + TURN_LIFETIME_S + 10
        ));
    }
}
