//! Certificates of the HTTPS port: checked before they are used, and swapped whole.
//!
//! [`service`] reads and writes the files; everything else here is values in, values out.

pub mod acme;
pub mod challenges;
pub mod facts;
pub mod metrics;
pub mod pem;
pub mod self_signed;
pub mod service;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError as Rejection, RootCertStore};

use challenges::{ACME_TLS, Challenges};

/// A chain with its key, fit to be served.
#[derive(Debug, Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    trusted: bool,
}

impl Certificate {
    /// Joins a chain and its key after checking that they belong together and are valid at `now`.
    ///
    /// # Errors
    /// What is wrong with them; the caller knows the files.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        domain: &str,
        roots: &RootCertStore,
        now: UnixTime,
    ) -> Result<Self, Problem> {
        let provider = aws_lc_rs::default_provider();
        let trusted = trust(&chain, domain, roots, now, &provider)?;
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            if let rustls::Error::InconsistentKeys(_) = error {
                Problem::KeyMismatch
            } else {
                Problem::KeyUnusable(error.to_string())
            }
        })?;
        Ok(Self {
            key: Arc::new(key),
            trusted,
        })
    }

    /// Whether browsers that trust the system's authorities accept it for the configured domain.
    pub fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// The same, no longer promised to be accepted.
    #[must_use]
    pub fn distrusted(self) -> Self {
        Self {
            trusted: false,
            ..self
        }
    }

    /// The chain, the server's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }
}

/// What is wrong with a chain or its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No certificate at all.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// Not an X.509 certificate.
    #[error("the certificate cannot be parsed")]
    Malformed,
    /// `notAfter` has passed.
    #[error("the certificate has expired")]
    Expired,
    /// `notBefore` lies ahead.
    #[error("the certificate is not valid yet (is the clock right?)")]
    NotYetValid,
    /// The key is another certificate's.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// A kind of key that TLS cannot use.
    #[error("the private key cannot be used: {0}")]
    KeyUnusable(String),
}

/// Whether the chain leads to one of `roots` and names `domain`.
fn trust(
    chain: &[CertificateDer<'static>],
    domain: &str,
    roots: &RootCertStore,
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<bool, Problem> {
    let (own, intermediates) = chain.split_first().ok_or(Problem::NoCertificate)?;
    let own = ParsedCertificate::try_from(own).map_err(|_| Problem::Malformed)?;
    let leads_to_root = match verify_server_cert_signed_by_trust_anchor(
        &own,
        roots,
        intermediates,
        now,
        provider.signature_verification_algorithms.all,
    ) {
        Ok(()) => true,
        Err(rustls::Error::InvalidCertificate(
            Rejection::Expired | Rejection::ExpiredContext { .. },
        )) => return Err(Problem::Expired),
        Err(rustls::Error::InvalidCertificate(
            Rejection::NotValidYet | Rejection::NotValidYetContext { .. },
        )) => return Err(Problem::NotYetValid),
        Err(_) => false,
    };
    Ok(leads_to_root && names(&own, domain))
}

fn names(certificate: &ParsedCertificate<'_>, name: &str) -> bool {
    ServerName::try_from(name).is_ok_and(|name| verify_server_name(certificate, &name).is_ok())
}

/// Why there is no certificate to serve: the file, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file of `CERTIFICATE_TYPE=owncert` cannot be read.
    #[error("{}: {error}; put the certificate chain and its key there as PEM, readable for this process", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file of `CERTIFICATE_TYPE=owncert` is no PEM file of the right kind.
    #[error("{}: {expected}", path.display())]
    NotPem {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        expected: pem::Expected,
    },
    /// The pair of `CERTIFICATE_TYPE=owncert` cannot be served.
    #[error("{} with {}: {problem}; replace both by a valid pair", certificate.display(), key.display())]
    Unusable {
        /// The chain's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        problem: Problem,
    },
    /// A self-signed certificate cannot be made.
    #[error(
        "no self-signed certificate can be made for {names:?}: {reason}; correct DOMAIN_OR_PUBLIC_IP"
    )]
    NotMade {
        /// For which names.
        names: Vec<String>,
        /// Why.
        reason: String,
    },
    /// A self-signed certificate cannot be kept.
    #[error("{}: {error}; HANOK_STATE_DIR must be writable for this process", path.display())]
    NotKept {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// The certificate that handshakes use, replaceable while connections go on, and the answers to challenges.
#[derive(Debug)]
pub struct CertificateStore {
    current: ArcSwap<Certificate>,
    challenges: Challenges,
}

impl CertificateStore {
    /// A store that serves `certificate`.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            current: ArcSwap::from_pointee(certificate),
            challenges: Challenges::default(),
        }
    }

    /// Later handshakes use `certificate`; connections that exist go on.
    pub fn replace(&self, certificate: Certificate) {
        self.current.store(Arc::new(certificate));
    }

    /// What is served.
    pub fn current(&self) -> Arc<Certificate> {
        self.current.load_full()
    }

    /// Whether browsers accept what is served at the moment without asking their user: what HSTS and `turns:` need.
    pub fn is_publicly_valid(&self) -> bool {
        self.current.load().is_trusted()
    }

    /// The answers that certificate authorities come to fetch.
    pub const fn challenges(&self) -> &Challenges {
        &self.challenges
    }
}

impl ResolvesServerCert for CertificateStore {
    /// The same for every name that a client asks for, and for none: there is one domain. Only an authority, which
    /// offers `acme-tls/1` and nothing else, gets its challenge's certificate (RFC 8737 section 3).
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut protocols = hello.alpn().into_iter().flatten();
        if protocols.next() == Some(ACME_TLS) && protocols.next().is_none() {
            return self.challenges.tls(hello.server_name()?);
        }
        Some(Arc::clone(&self.current.load().key))
    }
}
