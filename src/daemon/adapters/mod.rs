//! The ports that upper folders state, implemented over the lower folders' own interfaces.

use std::fmt;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::revoked::RevokedNames;
use crate::control::session::ports::{TurnCredential, TurnCredentials};
use crate::front::proxy::{CertificateStore, StreamSink, TurnStream};
use crate::media::plane::service::TlsStream;
use crate::media::plane::{Plane, TurnHandle};
use crate::units::{Random, Secret, clock, turn_credential};

/// Names of those who have left that may wait to be told to the workers.
const MAX_WAITING: usize = 65_536;

/// Names that are kept at a time.
const AT_ONCE: usize = 1_024;

/// Time-limited TURN credentials of our own STUN/TURN server, which end when their owner leaves.
pub struct MintedTurnCredentials {
    /// The first one mints.
    secrets: ArcSwap<Vec<Secret>>,
    random: Mutex<Random>,
    revoked: mpsc::Sender<String>,
    stopping: CancellationToken,
    over_tls: OverTls,
}

/// Where TURN is spoken over TLS, and the certificate that clients meet there.
pub struct OverTls {
    /// [`Config::turns_urls`](crate::config::Config::turns_urls).
    pub urls: Vec<String>,
    /// Asked each time: certificates come, are renewed and expire.
    pub certificates: Arc<CertificateStore>,
}

/// Whose credentials end; to be carried to the workers by [`Revocations::carry_to`].
pub struct Revocations {
    names: mpsc::Receiver<String>,
    stopping: CancellationToken,
}

impl MintedTurnCredentials {
    /// Mints with the first of `secrets`.
    pub fn new(secrets: Vec<Secret>, over_tls: OverTls) -> (Self, Revocations) {
        let (revoked, names) = mpsc::channel(MAX_WAITING);
        let stopping = CancellationToken::new();
        let minted = Self {
            secrets: ArcSwap::from_pointee(secrets),
            random: Mutex::new(Random::system()),
            revoked,
            stopping: stopping.clone(),
            over_tls,
        };
        (minted, Revocations { names, stopping })
    }

    /// Mints with the first of other secrets from now on.
    pub fn set_secrets(&self, secrets: Vec<Secret>) {
        self.secrets.store(Arc::new(secrets));
    }

    /// Nobody leaves any more: whoever is sent away because the daemon stops keeps what may help to come back.
    pub fn stop_revoking(&self) {
        self.stopping.cancel();
    }
}

impl TurnCredentials for MintedTurnCredentials {
    fn mint(&self) -> Option<TurnCredential> {
        let expiry = clock::wall_ms() / 1000 + turn_credential::LIFETIME_SECS;
        let mut random = self.random.lock().ok()?;
        let (username, credential) =
            turn_credential::mint(self.secrets.load().first()?, expiry, &mut random);
        Some(TurnCredential {
            username,
            credential,
        })
    }

    fn revoke(&self, username: &str) {
        if self.stopping.is_cancelled() {
            return;
        }
        // Only workers that are stuck let so many wait; then the credential ends by itself, within a day.
        if self.revoked.try_send(username.to_owned()).is_err() {
            tracing::warn!("a TURN credential stays good although its owner has left");
        }
    }

    fn urls_over_tls(&self) -> Vec<String> {
        if self.over_tls.certificates.is_publicly_valid() {
            self.over_tls.urls.clone()
        } else {
            Vec::new()
        }
    }
}

impl Revocations {
    /// Carries every name to every worker and into `kept`, until there is nobody left to revoke or the workers have stopped.
    ///
    /// Cancel safe but for the names that are just carried.
    pub async fn carry_to(mut self, turn: TurnHandle, kept: RevokedNames) {
        let mut kept = Some(kept);
        let mut names = Vec::new();
        loop {
            let count = tokio::select! {
                count = self.names.recv_many(&mut names, AT_ONCE) => count,
                () = self.stopping.cancelled(), if !self.names.is_closed() => {
                    // What waits already is still carried.
                    self.names.close();
                    continue;
                }
            };
            if count == 0 {
                return;
            }
            for username in &names {
                if turn.revoke(username).await.is_err() {
                    return;
                }
            }
            let carried = std::mem::take(&mut names);
            if let Some(mut keeping) = kept.take() {
                let written = spawn_blocking(move || {
                    keeping.add(&carried, clock::wall_ms() / 1000);
                    keeping
                });
                kept = written.await.ok();
            }
        }
    }
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
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::RootCertStore;
    use rustls::pki_types::{PrivateKeyDer, UnixTime};

    use super::*;
    use crate::front::proxy::Certificate;

    const DOMAIN: &str = "call.example";

    /// A certificate for the domain, and whether the authority that has signed it is one of those that count.
    fn certificate(is_known: bool) -> Certificate {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        if is_known {
            roots.add(authority.der().clone()).unwrap();
        }
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([DOMAIN.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &authority).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::wall_ms()));
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Certificate::new(vec![leaf.der().clone()], key, DOMAIN, &roots, now).unwrap()
    }

    fn over_tls() -> OverTls {
        OverTls {
            urls: vec!["turns:call.example:443?transport=tcp".to_owned()],
            certificates: Arc::new(CertificateStore::new(certificate(false))),
        }
    }

    #[test]
    fn urls_over_tls_come_and_go_with_a_publicly_valid_certificate() {
        let over_tls = over_tls();
        let certificates = Arc::clone(&over_tls.certificates);
        let (minter, _revocations) = MintedTurnCredentials::new(Vec::new(), over_tls);
        assert_eq!(minter.urls_over_tls(), [""; 0]);
        certificates.replace(certificate(true));
        let urls = ["turns:call.example:443?transport=tcp"];
        assert_eq!(minter.urls_over_tls(), urls);
        certificates.replace(certificate(false));
        assert_eq!(minter.urls_over_tls(), [""; 0]);
    }

    #[test]
    fn minted_credentials_are_valid_for_a_day() {
        let secret = Secret::new("turn secret of the test");
        let (minter, _revocations) = MintedTurnCredentials::new(vec![secret.clone()], over_tls());
        let minted = minter.mint().unwrap();
        let now = clock::wall_ms() / 1000;
        let is_valid =
            |at| turn_credential::is_valid(&secret, &minted.username, &minted.credential, at);
        assert!(is_valid(now));
        assert!(is_valid(now + turn_credential::LIFETIME_SECS - 10));
        assert!(!is_valid(now + turn_credential::LIFETIME_SECS + 10));
        let other = Secret::new("another one");
        minter.set_secrets(vec![other.clone(), secret]);
        let minted = minter.mint().unwrap();
        let password = turn_credential::password(&other, &minted.username);
        assert_eq!(minted.credential, password);
    }

    #[tokio::test]
    async fn names_wait_for_the_workers_and_never_block_who_revokes() {
        let (minter, mut revocations) =
            MintedTurnCredentials::new(vec![Secret::new("x")], over_tls());
        for number in 0..MAX_WAITING + 10 {
            minter.revoke(&number.to_string());
        }
        assert_eq!(revocations.names.recv().await.as_deref(), Some("0"));
        assert_eq!(revocations.names.len(), MAX_WAITING - 1);
    }
}
