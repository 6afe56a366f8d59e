//! The ports that upper folders state, implemented over the lower folders' own interfaces.

use std::fmt;
use std::sync::Mutex;

use crate::control::session::ports::{TurnCredential, TurnCredentials};
use crate::front::proxy::{StreamSink, TurnStream};
use crate::media::plane::Plane;
use crate::media::plane::service::TlsStream;
use crate::units::{Random, Secret, clock, turn_credential};

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
        let expiry = clock::wall_ms() / 1000 + turn_credential::LIFETIME_SECS;
        let mut random = self.random.lock().ok()?;
        let (username, credential) = turn_credential::mint(&self.secret, expiry, &mut random);
        Some(TurnCredential {
            username,
            credential,
        })
    }

    // The server answers every Allocate with 403 so far, so no credential opens anything that a leave must close.
    fn revoke(&self, _username: &str) {}
}

/// Streams that turned out to be TURN go to the media workers.
pub struct WorkerStreams(pub Plane);

impl fmt::Debug for WorkerStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerStreams")
    }
}

impl StreamSink for WorkerStreams {
    fn take(&self, stream: TurnStream) {
        let TurnStream {
            socket,
            peer,
            session,
        } = stream;
        let stream = TlsStream {
            socket: socket.into(),
            peer,
            session,
        };
        if let Err(error) = self.0.adopt(stream) {
            tracing::debug!(%peer, %error, "a TURN connection is closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_credentials_are_valid_for_a_day() {
        let secret = Secret::new("turn secret of the test");
        let minted = MintedTurnCredentials::new(secret.clone()).mint().unwrap();
        let now = clock::wall_ms() / 1000;
        assert!(turn_credential::is_valid(
            &secret,
            &minted.username,
            &minted.credential,
            now
        ));
        assert!(turn_credential::is_valid(
            &secret,
            &minted.username,
            &minted.credential,
            now + turn_credential::LIFETIME_SECS - 10
        ));
        assert!(!turn_credential::is_valid(
            &secret,
            &minted.username,
            &minted.credential,
            now + turn_credential::LIFETIME_SECS + 10
        ));
    }
}
