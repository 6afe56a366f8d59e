//! Keeps the certificate current while the daemon runs, wherever it comes from.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tokio::time::sleep;

use super::{load_own, self_signed};
use crate::front::proxy::certificate::acme::service::{self as acme_service, Folder, OpenError};
use crate::front::proxy::certificate::facts::Facts;
use crate::front::proxy::certificate::{Certificate, CertificateError, CertificateStore, acme};
use crate::front::proxy::http_date::http_date;

/// How often the operator's files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How often the end of a certificate is looked at.
const LOOK_AT_END: Duration = Duration::from_secs(3600);

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Made by ourselves (`CERTIFICATE_TYPE=selfsigned`).
    SelfSigned,
    /// The operator's files (`CERTIFICATE_TYPE=owncert`).
    Own {
        /// The chain.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// An ACME server (`CERTIFICATE_TYPE=letsencrypt`).
    Acme(acme::Settings),
}

/// Why there is no certificate to begin with.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// There is none to serve.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// None can be ordered.
    #[error(transparent)]
    Acme(#[from] OpenError),
}

/// Keeps the store's certificate current.
pub struct Keeper {
    store: Arc<CertificateStore>,
    state_dir: PathBuf,
    domain: String,
    others: Vec<String>,
    task: Task,
}

enum Task {
    SelfSigned,
    Own { certificate: PathBuf, key: PathBuf },
    Acme(Box<acme_service::Keeper>),
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// What can be served at once, and who keeps it current. `domain` is the main name, `others` are further names of a
/// self-signed certificate.
///
/// # Errors
/// There is nothing to serve; the message says what to change.
pub fn begin(
    source: Source,
    state_dir: &Path,
    domain: &str,
    others: &[String],
) -> Result<(Arc<CertificateStore>, Keeper), BeginError> {
    let own_make = || self_signed(state_dir, domain, others, now());
    let stored = |certificate| Arc::new(CertificateStore::new(certificate));
    let (store, task) = match source {
        Source::SelfSigned => (stored(own_make()?), Task::SelfSigned),
        Source::Own { certificate, key } => {
            let loaded = load_own(&certificate, &key, domain, now())?;
            (stored(loaded), Task::Own { certificate, key })
        }
        Source::Acme(settings) => {
            let folder = Folder::new(state_dir);
            let (certificate, facts) = match acme_service::load(&folder, &settings) {
                Some(held) => (held.certificate, Some(held.facts)),
                None => {
                    tracing::warn!(
                        "a self-signed certificate is served for {domain} until one has come from {}: browsers warn of it",
                        settings.directory
                    );
                    (own_make()?, None)
                }
            };
            let store = stored(certificate);
            let keeper = acme_service::Keeper::open(settings, folder, Arc::clone(&store), facts)?;
            (store, Task::Acme(Box::new(keeper)))
        }
    };
    let keeper = Keeper {
        store: Arc::clone(&store),
        state_dir: state_dir.to_owned(),
        domain: domain.to_owned(),
        others: others.to_vec(),
        task,
    };
    Ok((store, keeper))
}

impl Keeper {
    /// Works until it is dropped, which it may be at any time.
    pub async fn run(self) {
        let Self {
            store,
            state_dir,
            domain,
            others,
            task,
        } = self;
        match task {
            Task::Acme(keeper) => keeper.run().await,
            Task::SelfSigned => loop {
                sleep(LOOK_AT_END).await;
                // The same one, unless it is about to end.
                match self_signed(&state_dir, &domain, &others, now()) {
                    Ok(certificate) => replace(&store, certificate),
                    Err(error) => tracing::error!("{error}"),
                }
            },
            Task::Own { certificate, key } => {
                watch(&store, &certificate, &key, &domain).await;
            }
        }
    }
}

/// What tells one state of two files from another: links are followed, since certbot changes where they lead.
type Stamp = [Option<(u64, u64, i64, i64)>; 2];

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    })
}

/// Takes over the operator's files when both have changed and fit; what is wrong with them is said once, and the old
/// certificate served on.
async fn watch(store: &CertificateStore, certificate: &Path, key: &Path, domain: &str) {
    let mut served = stamp(certificate, key);
    let mut seen = served;
    let mut has_ended = false;
    loop {
        sleep(LOOK).await;
        let current = stamp(certificate, key);
        if current == served {
            has_ended = has_ended || look_at_its_end(store, certificate);
        } else if current == seen {
            // Nobody is writing any more.
            served = current;
            has_ended = false;
            match load_own(certificate, key, domain, now()) {
                Ok(loaded) => replace(store, loaded),
                Err(error) => tracing::error!("the certificate served before stays: {error}"),
            }
        }
        seen = current;
    }
}

/// Whether what is served has ended; it is served on, but no longer promised to be valid.
fn look_at_its_end(store: &CertificateStore, path: &Path) -> bool {
    let current = store.current();
    let facts = current.chain().first().and_then(Facts::read);
    let has_ended = facts.is_some_and(|facts| acme_service::wall() > facts.validity.until);
    if has_ended {
        tracing::error!(
            "{}: the certificate has expired, and browsers refuse it: put a new one there",
            path.display()
        );
        store.replace(current.as_ref().clone().distrusted());
    }
    has_ended
}

fn replace(store: &CertificateStore, certificate: Certificate) {
    if store.current().chain() == certificate.chain() {
        return;
    }
    if let Some(facts) = certificate.chain().first().and_then(Facts::read) {
        tracing::info!(
            issuer = facts.issuer,
            serial = facts.serial_hex(),
            "a new certificate is served, valid until {}",
            http_date(facts.validity.until)
        );
    }
    store.replace(certificate);
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(acme_service::wall()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    const DOMAIN: &str = "call.example";

    fn pair(until: i32) -> (String, String) {
        let mut params = CertificateParams::new(vec![DOMAIN.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[tokio::test(start_paused = true)]
    async fn the_operators_files_are_taken_over_when_both_have_changed_and_fit() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("c.pem"), dir.path().join("k.pem"));
        let write = |(chain, private): &(String, String)| {
            fs::write(&certificate, chain).unwrap();
            fs::write(&key, private).unwrap();
        };
        let (first, second) = (pair(2100), pair(2100));
        write(&first);
        let source = Source::Own {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let (store, keeper) = begin(source, dir.path(), DOMAIN, &[]).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(keeper.run());
        let before = store.current();
        let served = || store.current().chain().to_vec();

        // One file alone, an expired pair, and nothing at all: the old certificate stays.
        fs::write(&key, &second.1).unwrap();
        sleep(LOOK * 5).await;
        assert_eq!(served(), before.chain());
        write(&pair(2021));
        sleep(LOOK * 5).await;
        assert_eq!(served(), before.chain());
        fs::remove_file(&certificate).unwrap();
        sleep(LOOK * 5).await;
        assert_eq!(served(), before.chain());

        write(&second);
        let swapped = async {
            while served() == before.chain() {
                sleep(LOOK).await;
            }
        };
        timeout(LOOK * 10, swapped).await.unwrap();
        let text = fs::read(&certificate).unwrap();
        assert_eq!(
            served(),
            crate::front::proxy::certificate::pem::chain(&text).unwrap()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_self_signed_certificate_is_renewed_while_it_is_served() {
        let dir = tempfile::tempdir().unwrap();
        // Made so long ago that it ends within days.
        let now_secs = acme_service::wall();
        let long_ago = UnixTime::since_unix_epoch(Duration::from_secs(now_secs - 390 * 24 * 3600));
        let old = self_signed(dir.path(), DOMAIN, &[], long_ago).unwrap();
        let store = Arc::new(CertificateStore::new(old.clone()));
        let keeper = Keeper {
            store: Arc::clone(&store),
            state_dir: dir.path().to_owned(),
            domain: DOMAIN.to_owned(),
            others: Vec::new(),
            task: Task::SelfSigned,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(keeper.run());
        sleep(LOOK_AT_END * 2).await;
        let renewed = store.current();
        assert_ne!(renewed.chain(), old.chain());
        sleep(LOOK_AT_END * 2).await;
        assert_eq!(store.current().chain(), renewed.chain(), "once");
    }
}
