//! One order from its beginning, or from where a crash has left it, to the certificate (RFC 8555 section 7.4).

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error,
    ExternalAccountKey, Identifier, Key, NewAccount, NewOrder, Order, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::time::sleep;

use super::{Keeper, wall};
use crate::front::proxy::certificate::acme::Binding;
use crate::front::proxy::certificate::acme::plan::{Challenge, Failure, FailureKind, Server};
use crate::front::proxy::certificate::acme::record::{AccountRecord, Pending};
use crate::front::proxy::certificate::challenges::Waiting;
use crate::units::Secret;

/// The profile that authorities have for addresses (Let's Encrypt's name for it).
const SHORT_LIVED: &str = "shortlived";

/// How often a step is repeated whose nonce was refused, beside the two repetitions of `instant_acme`: where half of all
/// nonces are refused, one step in 2^24 fails.
const NONCE_TRIES: u32 = 8;

/// The first and the longest pause between two looks at an order.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What an order has brought.
pub(super) struct Issued {
    /// The private key as PEM.
    pub(super) private: Secret,
    /// The chain as PEM.
    pub(super) chain: String,
}

/// Repeats a step whose nonce was refused; a macro, since each repetition borrows anew.
macro_rules! persistently {
    ($step:expr) => {{
        let mut tries = 0;
        loop {
            match $step.await {
                Err(error) if tries < NONCE_TRIES && is(&error, "badNonce") => tries += 1,
                done => break done,
            }
        }
    }};
}

impl Keeper {
    /// Orders, or resumes the order that was begun; a rehearsal ends without a certificate once the names are proven.
    pub(super) async fn order(
        &mut self,
        server: Server,
        challenge: Challenge,
    ) -> Result<Option<Issued>, Failure> {
        let account = self.account(server).await?;
        let (mut order, pending) = self.begin(server, &account).await?;
        let mut pause = FIRST_PAUSE;
        let mut is_proven = false;
        loop {
            match order.state().status {
                OrderStatus::Pending if !is_proven => {
                    self.prove(&mut order, challenge).await?;
                    is_proven = true;
                }
                OrderStatus::Ready if server == Server::Staging => {
                    self.folder.forget_pending();
                    return Ok(None);
                }
                OrderStatus::Ready => {
                    let request = self.request(&pending.private)?;
                    persistently!(order.finalize_csr(&request))
                        .map_err(|error| self.failure(error))?;
                }
                OrderStatus::Valid => break,
                OrderStatus::Invalid => {
                    self.folder.forget_pending();
                    return Err(self.why_invalid(&mut order).await);
                }
                OrderStatus::Pending | OrderStatus::Processing => {}
            }
            if order.state().status == OrderStatus::Valid {
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            persistently!(order.refresh()).map_err(|error| self.failure(error))?;
        }
        let chain = persistently!(order.certificate()).map_err(|error| self.failure(error))?;
        let chain = chain.ok_or_else(|| unreachable("the certificate is not ready".to_owned()))?;
        Ok(Some(Issued {
            private: pending.private,
            chain,
        }))
    }

    /// The account with this server: the one that was kept, else a new one.
    pub(super) async fn account(&mut self, server: Server) -> Result<Account, Failure> {
        if let Some((known, account)) = &self.account
            && *known == server
        {
            return Ok(account.clone());
        }
        let directory = self.directory(server).to_owned();
        let kept = self.folder.account(&directory);
        let account = match kept {
            Some(AccountRecord {
                url: Some(url),
                private,
                ..
            }) => {
                let private = pkcs8(&private)?;
                let builder = Account::builder_with_http(Box::new(self.http.clone()));
                let account = builder.from_parts(url, private, directory).await;
                account.map_err(|error| self.failure(error))?
            }
            begun => self.register(directory, begun).await?,
        };
        self.account = Some((server, account.clone()));
        Ok(account)
    }

    /// Registers an account (RFC 8555 section 7.3). Its key is kept first: to a key that it knows, the server answers with
    /// the account that there is.
    async fn register(
        &self,
        directory: String,
        begun: Option<AccountRecord>,
    ) -> Result<Account, Failure> {
        let contact = format!("mailto:{}", self.settings.email);
        let contacts: &[&str] = if self.settings.email.is_empty() {
            &[]
        } else {
            &[&contact]
        };
        let not_kept =
            |error: io::Error| unreachable(format!("the ACME account cannot be kept: {error}"));
        let mut record = match begun {
            Some(record) => record,
            None => {
                let (_, private) = Key::generate_pkcs8().map_err(|error| self.failure(error))?;
                AccountRecord {
                    directory: directory.clone(),
                    url: None,
                    private: Secret::new(BASE64_STANDARD.encode(private.secret_pkcs8_der())),
                }
            }
        };
        self.folder.keep_account(&record).map_err(not_kept)?;
        let builder = || Account::builder_with_http(Box::new(self.http.clone()));
        let account = if let Some(binding) = &self.settings.binding {
            let external = external(binding)?;
            let new = NewAccount {
                contact: contacts,
                terms_of_service_agreed: true,
                only_return_existing: false,
            };
            let made = persistently!(builder().create(&new, directory.clone(), Some(&external)));
            let (account, credentials) = made.map_err(|error| self.failure(error))?;
            let private = credentials.private_key().secret_pkcs8_der();
            record.private = Secret::new(BASE64_STANDARD.encode(private));
            account
        } else {
            let private = pkcs8(&record.private)?;
            let pair = || {
                let der = private.clone_key();
                Key::from_pkcs8_der(der.clone_key()).map(|key| (key, PrivateKeyDer::Pkcs8(der)))
            };
            let made = persistently!(async {
                builder().create_from_key(pair()?, directory.clone()).await
            });
            let (account, _) = made.map_err(|error| self.failure(error))?;
            account
        };
        record.url = Some(account.id().to_owned());
        self.folder.keep_account(&record).map_err(not_kept)?;
        tracing::info!(account = account.id(), "registered with {directory}");
        if self.settings.binding.is_none()
            && !contacts.is_empty()
            && let Err(error) = persistently!(account.update_contacts(contacts))
        {
            tracing::warn!(%error, "the authority does not take LETSENCRYPT_EMAIL; certificates come all the same");
        }
        Ok(account)
    }

    /// Goes on with the order that was begun, or begins one; with what it needs kept on disk.
    async fn begin(
        &mut self,
        server: Server,
        account: &Account,
    ) -> Result<(Order, Pending), Failure> {
        let directory = self.directory(server).to_owned();
        let names = self.settings.names.clone();
        let kept = self.folder.pending(&directory, &names, wall());
        if let Some(pending) = kept.filter(|pending| !self.is_served(&pending.private)) {
            match persistently!(account.order(pending.url.clone())) {
                Ok(mut order) => {
                    if order.state().status != OrderStatus::Invalid {
                        tracing::info!("going on with the order that was begun before");
                        return Ok((order, pending));
                    }
                }
                // The server has forgotten it.
                Err(Error::Api(_)) => {}
                Err(error) => return Err(self.failure(error)),
            }
        }
        self.folder.forget_pending();
        let identifiers: Vec<Identifier> = names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(address) => Identifier::Ip(address),
                Err(_) => Identifier::Dns(name.clone()),
            })
            .collect();
        let is_address = |identifier: &Identifier| matches!(identifier, Identifier::Ip(_));
        let has_profile = account
            .profiles()
            .any(|profile| profile.name == SHORT_LIVED);
        let new_order = || {
            let order = NewOrder::new(&identifiers);
            if has_profile && identifiers.iter().any(is_address) {
                order.profile(SHORT_LIVED)
            } else {
                order
            }
        };
        let replaces = self
            .held
            .as_ref()
            .filter(|_| self.knows_renewal_info && server == Server::Main)
            .and_then(|facts| facts.renewal_id());
        let mut begun = None;
        if let Some((authority_key, serial)) = replaces {
            let replaces = || CertificateIdentifier {
                authority_key_identifier: Cow::Borrowed(&authority_key),
                serial: Cow::Borrowed(&serial),
            };
            let order = persistently!(account.new_order(&new_order().replaces(replaces())));
            match order {
                Ok(order) => begun = Some(order),
                Err(error) if is(&error, "rateLimited") => return Err(self.failure(error)),
                // It may have been replaced already; the order is good without.
                Err(error) => tracing::debug!(%error, "the authority does not take `replaces`"),
            }
        }
        let order = match begun {
            Some(order) => order,
            None => persistently!(account.new_order(&new_order()))
                .map_err(|error| self.failure_of_order(server, error))?,
        };
        let private = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| unreachable(format!("no key can be made: {error}")))?;
        let pending = Pending {
            server,
            directory,
            names,
            url: order.url().to_owned(),
            begun_at: wall(),
            private: Secret::new(private.serialize_pem()),
        };
        self.folder
            .keep_pending(&pending)
            .map_err(|error| unreachable(format!("the order cannot be kept: {error}")))?;
        Ok((order, pending))
    }

    /// Whether this key is the one in use: then a crash came after the certificate was kept, and the order is done with.
    fn is_served(&self, private: &Secret) -> bool {
        let kept = self.folder.read_certificate().unwrap_or_default();
        let kept = String::from_utf8_lossy(&kept);
        let head = kept.split_once("-----BEGIN CERTIFICATE");
        head.is_some_and(|(head, _)| private.matches(head.as_bytes()))
    }

    /// Lets the answers be fetched, and tells the server that they are there (RFC 8555 section 7.5.1).
    async fn prove(&self, order: &mut Order, challenge: Challenge) -> Result<(), Failure> {
        let wanted = match challenge {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut waiting = Waiting::default();
        persistently!(fetch_all(order)).map_err(|error| self.failure(error))?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failure(error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let Some(handle) = authorization.challenge(wanted.clone()) else {
                return Err(Failure {
                    kind: FailureKind::Invalid,
                    reason: format!("the authority does not offer {}", challenge.as_str()),
                    retry_after: None,
                });
            };
            let answer = handle.key_authorization();
            match challenge {
                Challenge::Http01 => waiting.add_http(&handle.token, answer.as_str()),
                Challenge::TlsAlpn01 => {
                    let name = handle.identifier().to_string();
                    waiting
                        .add_tls(&name, answer.digest().as_ref())
                        .map_err(|error| unreachable(error.to_string()))?;
                }
            }
        }
        self.store.challenges().set(waiting);
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failure(error))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            if let Some(mut handle) = authorization.challenge(wanted.clone())
                && handle.status == ChallengeStatus::Pending
            {
                persistently!(handle.set_ready()).map_err(|error| self.failure(error))?;
            }
        }
        Ok(())
    }

    /// What the authority has against us, in its own words.
    async fn why_invalid(&self, order: &mut Order) -> Failure {
        let mut reasons = Vec::new();
        let stated = order.state().error.as_ref().map(ToString::to_string);
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            // Its state is from before the authority looked.
            if persistently!(authorization.refresh()).is_err() {
                continue;
            }
            let name = authorization.identifier().to_string();
            let errors = authorization.challenges.iter();
            let errors = errors.filter_map(|challenge| challenge.error.as_ref());
            reasons.extend(errors.map(|problem| format!("{name}: {}", told(problem))));
        }
        reasons.extend(stated.filter(|_| reasons.is_empty()));
        Failure {
            kind: FailureKind::Invalid,
            reason: if reasons.is_empty() {
                "the authority has refused the order without a reason".to_owned()
            } else {
                reasons.join("; ")
            },
            retry_after: self.http.take_retry_after(),
        }
    }

    /// The request for a certificate (RFC 2986) with this key.
    fn request(&self, private: &Secret) -> Result<Vec<u8>, Failure> {
        let made = || {
            let pair = KeyPair::from_pem(private.expose())?;
            let mut params = CertificateParams::new(self.settings.names.clone())?;
            params.distinguished_name = DistinguishedName::new();
            Ok(params.serialize_request(&pair)?.der().to_vec())
        };
        made().map_err(|error: rcgen::Error| {
            unreachable(format!("no certificate request can be made: {error}"))
        })
    }

    /// A failure of beginning an order: an account that the server does not know any more is registered again.
    fn failure_of_order(&self, server: Server, error: Error) -> Failure {
        if is(&error, "accountDoesNotExist")
            && let Some(account) = self.folder.account(self.directory(server))
        {
            let account = AccountRecord {
                url: None,
                ..account
            };
            if let Err(error) = self.folder.keep_account(&account) {
                tracing::error!(%error, "the ACME account cannot be kept");
            }
        }
        self.failure(error)
    }

    fn failure(&self, error: Error) -> Failure {
        let retry_after = self.http.take_retry_after();
        let is_passing = is(&error, "badNonce") || is(&error, "serverInternal");
        if let Error::Api(problem) = &error {
            return Failure {
                kind: if is_passing {
                    FailureKind::Unreachable
                } else {
                    FailureKind::Refused
                },
                reason: told(problem),
                retry_after,
            };
        }
        let reason = if let Error::Json(error) = &error {
            format!("the answer is not ACME (is HANOK_ACME_DIRECTORY right?): {error}")
        } else {
            error.to_string()
        };
        Failure {
            retry_after,
            ..unreachable(reason)
        }
    }
}

/// Fetches the authorizations that are not known yet.
async fn fetch_all(order: &mut Order) -> Result<(), Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}

/// Whether the server states this type of problem (RFC 8555 section 6.7).
fn is(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    let stated = problem.r#type.as_deref().unwrap_or_default();
    stated.strip_prefix("urn:ietf:params:acme:error:") == Some(kind)
}

fn told(problem: &instant_acme::Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap_or_default();
    let detail = problem
        .detail
        .as_deref()
        .unwrap_or("without an explanation");
    let mut text = format!("{kind}: {detail}");
    for part in &problem.subproblems {
        text.push_str(&format!("; {part}"));
    }
    text
}

fn unreachable(reason: String) -> Failure {
    Failure {
        kind: FailureKind::Unreachable,
        reason,
        retry_after: None,
    }
}

fn pkcs8(private: &Secret) -> Result<PrivatePkcs8KeyDer<'static>, Failure> {
    let der = BASE64_STANDARD.decode(private.expose());
    let der = der.map_err(|_| unreachable("the ACME account's key is damaged".to_owned()))?;
    Ok(PrivatePkcs8KeyDer::from(der))
}

fn external(binding: &Binding) -> Result<ExternalAccountKey, Failure> {
    let text = binding.hmac_key.expose().trim_end_matches('=');
    let shared = BASE64_URL_SAFE_NO_PAD.decode(text);
    let shared = shared.map_err(|_| Failure {
        kind: FailureKind::Refused,
        reason: "HANOK_ACME_EAB_HMAC_KEY is not base64url: copy it as the authority shows it"
            .to_owned(),
        retry_after: None,
    })?;
    Ok(ExternalAccountKey::new(binding.key_id.clone(), &shared))
}
