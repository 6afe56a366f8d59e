//! Carries out what the plan says: talks to the authority, keeps everything on disk, swaps the certificate.
//!
//! What must not be lost is written before the step that needs it: an account's key before it is registered, an order's
//! URL and the certificate's key before the order is finalised. The future may be dropped at any time.

pub(crate) mod folder;
mod http;
mod order;
mod probe;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{Account, CertificateIdentifier};
use rustls::RootCertStore;
use rustls::pki_types::UnixTime;
use tokio::time::{sleep, timeout};

use super::Settings;
use super::plan::{Challenge, Failure, FailureKind, Plan, Progress, Server, Step};
use super::record::Record;
use crate::front::proxy::certificate::challenges::Waiting;
use crate::front::proxy::certificate::facts::Facts;
use crate::front::proxy::certificate::service::{read_bounded, system_authorities};
use crate::front::proxy::certificate::{Certificate, CertificateStore, Problem, pem};
use crate::front::proxy::http_date::http_date;
use crate::units::{Random, clock};
pub(crate) use folder::Folder;
use http::Http;
use order::Issued;

/// How often requests are looked for, and how soon a clock that jumped is noticed.
const TICK: Duration = Duration::from_secs(2);

/// The time for an attempt as a whole.
const ATTEMPT: Duration = Duration::from_secs(300);

/// The port where authorities look for HTTP-01 (RFC 8555 section 8.3).
const HTTP_PORT: u16 = 80;

/// How soon an authority is asked again when its answer about renewal failed, in seconds.
const RENEWAL_INFO_RETRY: u64 = 6 * 3600;

/// Why certificates cannot be ordered at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `HANOK_ACME_CA_FILE` cannot be used.
    #[error(
        "HANOK_ACME_CA_FILE={path}: {reason}; put the PEM file of the ACME server's root there"
    )]
    Root {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// TLS refuses its own settings.
    #[error("TLS towards the ACME server cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// A certificate that was kept, with what it says.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) certificate: Certificate,
    pub(crate) facts: Facts,
}

impl Held {
    /// Reads key and chain from one PEM text; what has expired is read, too, but not trusted.
    pub(crate) fn read(
        text: &[u8],
        domain: &str,
        authorities: &RootCertStore,
        now: u64,
    ) -> Result<Self, Problem> {
        let chain = pem::chain(text).map_err(|_| Problem::NoCertificate)?;
        let private = pem::key(text).map_err(|no_key| Problem::KeyUnusable(no_key.to_string()))?;
        let facts = chain.first().and_then(Facts::read);
        let facts = facts.ok_or(Problem::Malformed)?;
        // Our clock may be wrong, and a certificate that has ended says more to users than a self-signed one.
        let validity = facts.validity;
        let at = now.clamp(validity.from, validity.until.max(validity.from));
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        let certificate = Certificate::new(chain, private, domain, authorities, at)?;
        let certificate = if now > validity.until {
            certificate.distrusted()
        } else {
            certificate
        };
        Ok(Self { certificate, facts })
    }
}

/// The certificate that was got before for these names, if it can be served.
pub(crate) fn load(folder: &Folder, settings: &Settings) -> Option<Held> {
    let text = folder.read_certificate().ok()?;
    let domain = settings.names.first()?;
    match Held::read(&text, domain, &system_authorities(), wall()) {
        Ok(held) if held.facts.covers(std::slice::from_ref(domain)) => Some(held),
        Ok(_) => None,
        Err(problem) => {
            let path = folder.certificate();
            tracing::error!(
                "{}: {problem}; a new certificate is ordered",
                path.display()
            );
            None
        }
    }
}

/// Keeps a certificate current; see [`Keeper::run`].
pub(crate) struct Keeper {
    settings: Settings,
    folder: Folder,
    store: Arc<CertificateStore>,
    authorities: RootCertStore,
    http: Http,
    account: Option<(Server, Account)>,
    plan: Plan,
    random: Random,
    held: Option<Facts>,
    /// The server has answered about renewal, so it knows `replaces`, too (RFC 9773 section 5).
    knows_renewal_info: bool,
    /// The way from the public name to us has been looked at.
    has_probed: bool,
}

impl Keeper {
    /// Picks up where the last process left off. `held`: what [`load`] found.
    pub(crate) fn open(
        settings: Settings,
        folder: Folder,
        store: Arc<CertificateStore>,
        held: Option<Facts>,
    ) -> Result<Self, OpenError> {
        let authorities = system_authorities();
        let roots = match &settings.ca_file {
            None => authorities.clone(),
            Some(path) => {
                let unusable = |reason: String| OpenError::Root {
                    path: path.display().to_string(),
                    reason,
                };
                let text = read_bounded(path).map_err(|error| unusable(error.to_string()))?;
                let chain = pem::chain(&text).map_err(|expected| unusable(expected.to_string()))?;
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(chain);
                roots
            }
        };
        let record = folder.record();
        let is_same_server = |record: &Record| record.directory == settings.directory;
        // A certificate whose record was lost is as good as before; one from another server is to be replaced.
        let held = held.filter(|_| record.as_ref().is_none_or(is_same_server));
        let progress = record
            .filter(|record| is_same_server(record) && record.names == settings.names)
            .map_or_else(Progress::default, |record| record.progress);
        let covered = held.as_ref();
        let covered = covered.filter(|facts| facts.covers(&settings.names));
        let plan = Plan::new(
            settings.challenges.clone(),
            settings.staging().is_some(),
            progress,
            covered.map(|facts| facts.validity),
        );
        Ok(Self {
            http: Http::new(roots)?,
            settings,
            folder,
            store,
            authorities,
            account: None,
            plan,
            random: Random::system(),
            held,
            knows_renewal_info: false,
            has_probed: false,
        })
    }

    /// Works until it is dropped, which it may be at any time.
    pub(crate) async fn run(mut self) {
        if self.settings.challenges.is_empty() {
            tracing::error!(
                "no certificate can be got for {}: authorities look for us on port 80 (HTTP_PORT) or 443 (HTTPS_PORT) alone; \
                 use one of them, or set HANOK_ACME_PORTS_FORWARDED=true if they reach our ports by forwarding; with HANOK_FRONT=off your own proxy needs the certificate",
                self.names()
            );
        }
        loop {
            let now = wall();
            self.look_at_its_end(now);
            if self.folder.take_request() {
                tracing::info!("a new certificate is asked for");
                self.plan.want();
            }
            match self.plan.poll(now) {
                Step::Wait { until } => {
                    sleep(TICK.min(Duration::from_secs(until.saturating_sub(now)))).await;
                }
                Step::AskRenewalInfo => self.ask_renewal_info().await,
                Step::Order { server, challenge } => self.attempt(server, challenge).await,
            }
        }
    }

    fn names(&self) -> String {
        self.settings.names.join(", ")
    }

    fn directory(&self, server: Server) -> &str {
        match (server, self.settings.staging()) {
            (Server::Staging, Some(staging)) => staging,
            (Server::Staging | Server::Main, _) => &self.settings.directory,
        }
    }

    /// What has ended is served on, since nothing better is here, but no longer promised to be valid.
    fn look_at_its_end(&self, now: u64) {
        let current = self.store.current();
        let has_ended = self
            .held
            .as_ref()
            .is_some_and(|facts| now > facts.validity.until);
        if has_ended && current.is_trusted() {
            tracing::error!(
                "the certificate for {} has expired and could not be renewed: browsers refuse it",
                self.names()
            );
            self.store.replace(current.as_ref().clone().distrusted());
        }
    }

    async fn attempt(&mut self, server: Server, challenge: Challenge) {
        let directory = self.directory(server).to_owned();
        tracing::info!(
            "ordering a certificate for {} from {directory} by {}",
            self.names(),
            challenge.as_str()
        );
        if challenge == Challenge::Http01 && !self.has_probed {
            self.has_probed = true;
            self.probe().await;
        }
        let outcome = timeout(ATTEMPT, self.order(server, challenge)).await;
        self.store.challenges().clear();
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Failure {
                kind: FailureKind::Unreachable,
                reason: format!("{directory} did not come to an end within {ATTEMPT:?}"),
                retry_after: None,
            })
        });
        self.look_at_the_clock();
        let now = wall();
        let outcome = match outcome {
            Ok(None) => {
                tracing::info!("the rehearsal with {directory} has succeeded: now in earnest");
                self.plan.rehearsed(now);
                Ok(())
            }
            Ok(Some(issued)) => self.install(now, &issued),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = outcome {
            // Whatever it was, the next attempt begins with a fresh look at the directory.
            self.account = None;
            self.plan.failed(now, failure, &mut self.random);
            self.tell_failure(now);
        }
        self.keep_record();
    }

    fn tell_failure(&mut self, now: u64) {
        let next = match self.plan.poll(now) {
            Step::Wait { until } => format!("in {} s", until.saturating_sub(now)),
            Step::AskRenewalInfo | Step::Order { .. } => "now".to_owned(),
        };
        let served = match &self.held {
            None => "a self-signed certificate is served meanwhile".to_owned(),
            Some(facts) => format!(
                "the certificate that is served ends on {}",
                http_date(facts.validity.until)
            ),
        };
        let reason = self.plan.progress().problem.as_deref().unwrap_or_default();
        tracing::warn!(
            "no certificate for {}: {reason}; {served}; next attempt {next}, or at once by `hanok cert renew`",
            self.names()
        );
    }

    fn look_at_the_clock(&self) {
        if let Some(offset) = self.http.clock_offset() {
            let (amount, direction) = if offset < 0 {
                (offset.unsigned_abs(), "ahead of")
            } else {
                (offset.unsigned_abs(), "behind")
            };
            tracing::warn!(
                "this machine's clock is {amount} s {direction} the certificate authority's: set it, for example by `timedatectl set-ntp true`"
            );
        }
    }

    /// Takes over what the authority has given.
    fn install(&mut self, now: u64, issued: &Issued) -> Result<(), Failure> {
        let refused = |reason: String| Failure {
            kind: FailureKind::Refused,
            reason,
            retry_after: None,
        };
        let text = format!("{}{}", issued.private.expose(), issued.chain);
        let domain = self.settings.names.first().map_or("", String::as_str);
        let held = Held::read(text.as_bytes(), domain, &self.authorities, now);
        let held = held.map_err(|problem| {
            self.folder.forget_pending();
            refused(format!(
                "what the authority has sent cannot be served: {problem}"
            ))
        })?;
        if !held.facts.covers(&self.settings.names) {
            self.folder.forget_pending();
            let names = held.facts.names.join(", ");
            return Err(refused(format!(
                "what the authority has sent is for {names:?}"
            )));
        }
        let facts = held.facts;
        // What is seen is kept: whoever stops us once it is served loses nothing.
        let kept = self.folder.keep_certificate(text.as_bytes());
        self.store.replace(held.certificate);
        match kept {
            Ok(()) => self.folder.forget_pending(),
            // The order is kept: after a restart the certificate is fetched once more.
            Err(error) => tracing::error!(
                "{}: {error}: the new certificate is served, but lost at the next start",
                self.folder.certificate().display()
            ),
        }
        self.plan.issued(now, facts.validity, &mut self.random);
        tracing::info!(
            issuer = facts.issuer,
            serial = facts.serial_hex(),
            "a new certificate for {} is served, valid until {}",
            self.names(),
            http_date(facts.validity.until)
        );
        self.held = Some(facts);
        Ok(())
    }

    fn keep_record(&self) {
        let record = Record {
            directory: self.settings.directory.clone(),
            names: self.settings.names.clone(),
            validity: self.held.as_ref().map(|facts| facts.validity),
            progress: self.plan.progress().clone(),
        };
        if let Err(error) = self.folder.keep_record(&record) {
            tracing::error!(
                "{}: {error}: a restart would forget how long to wait",
                self.folder.record_file().display()
            );
        }
    }

    async fn probe(&self) {
        let token = Random::system().alphanumeric(32);
        let mut waiting = Waiting::default();
        waiting.add_http(&token, &token);
        self.store.challenges().set(waiting);
        for name in &self.settings.names {
            match probe::fetch_own(name, HTTP_PORT, &token, &token).await {
                Ok(()) => tracing::info!("port 80 of {name} leads to us"),
                Err(finding) => tracing::warn!("{finding}"),
            }
        }
        self.store.challenges().clear();
    }

    async fn ask_renewal_info(&mut self) {
        let answer = self.renewal_info().await;
        self.look_at_the_clock();
        let now = wall();
        match answer {
            Some((window, again_after)) => {
                self.knows_renewal_info = true;
                self.plan.renewal_info(now, Some(window), again_after);
            }
            None => self.plan.renewal_info(now, None, RENEWAL_INFO_RETRY),
        }
        if let Some(at) = self.plan.renew_at(now) {
            tracing::debug!("the certificate will be renewed on {}", http_date(at));
        }
    }

    /// The authority's window by our clock, and for how long that is good (RFC 9773 section 4.2).
    async fn renewal_info(&mut self) -> Option<((u64, u64), u64)> {
        let (authority_key, serial) = self.held.as_ref()?.renewal_id()?;
        let id = CertificateIdentifier {
            authority_key_identifier: Cow::Owned(authority_key),
            serial: Cow::Owned(serial),
        };
        let account = self.account(Server::Main).await;
        let account = account
            .inspect_err(|failure| tracing::debug!("{}", failure.reason))
            .ok()?;
        let answer = timeout(ATTEMPT, account.renewal_info(&id)).await.ok()?;
        let (info, again_after) = answer
            .inspect_err(|error| tracing::debug!(%error, "no renewal information"))
            .ok()?;
        let offset = self.http.clock_offset().unwrap_or(0);
        let by_our_clock = |theirs: i64| u64::try_from(theirs.saturating_sub(offset)).unwrap_or(0);
        let window = info.suggested_window;
        Some((
            (
                by_our_clock(window.start.unix_timestamp()),
                by_our_clock(window.end.unix_timestamp()),
            ),
            again_after.as_secs(),
        ))
    }
}

/// Seconds since the Unix epoch by our clock.
pub(crate) fn wall() -> u64 {
    clock::wall_ms() / 1000
}
