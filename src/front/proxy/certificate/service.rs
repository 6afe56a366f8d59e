//! The files: the operator's pair, the self-signed certificate that is kept, the system's authorities.

pub mod command;
pub mod keeper;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::UnixTime;

use super::{Certificate, CertificateError, Problem, pem, self_signed};
use crate::control::store::service::{self as store, is_full, keep};

/// Largest PEM file that is read: dozens of certificates.
const MAX_PEM_LEN: u64 = 1024 * 1024;

/// Where Debian and Fedora keep the authorities that the system trusts.
const AUTHORITIES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Reads the pair of `CERTIFICATE_TYPE=owncert`.
///
/// # Errors
/// The file that is wrong, and what to change.
pub fn load_own(
    certificate: &Path,
    key: &Path,
    domain: &str,
    now: UnixTime,
) -> Result<Certificate, CertificateError> {
    load_pair(certificate, key, domain, &system_authorities(), now)
}

fn load_pair(
    certificate: &Path,
    key: &Path,
    domain: &str,
    authorities: &RootCertStore,
    now: UnixTime,
) -> Result<Certificate, CertificateError> {
    let chain =
        pem::chain(&read_pem(certificate)?).map_err(|expected| CertificateError::NotPem {
            path: certificate.to_owned(),
            expected,
        })?;
    let private = pem::key(&read_pem(key)?).map_err(|expected| CertificateError::NotPem {
        path: key.to_owned(),
        expected,
    })?;
    Certificate::new(chain, private, domain, authorities, now).map_err(|problem| {
        CertificateError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            problem,
        }
    })
}

fn read_pem(path: &Path) -> Result<Vec<u8>, CertificateError> {
    read_bounded(path).map_err(|error| CertificateError::Unreadable {
        path: path.to_owned(),
        error,
    })
}

pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    store::read_bounded(path, MAX_PEM_LEN)
}

/// The private key and the chain as one text, as the state folder has them.
fn read_pair(certificate: &Path, key: &Path) -> io::Result<Vec<u8>> {
    let mut text = read_bounded(key)?;
    text.push(b'\n');
    text.extend(read_bounded(certificate)?);
    Ok(text)
}

/// The self-signed certificate that `state_dir` keeps for these names, made anew if there is none or it is about to
/// expire. `others` are further DNS names and IP addresses, such as `localhost`.
///
/// # Errors
/// It can neither be reused nor made and kept.
pub fn self_signed(
    state_dir: &Path,
    domain: &str,
    others: &[String],
    now: UnixTime,
) -> Result<Certificate, CertificateError> {
    // One file for both, so that a crash never leaves a key beside another key's certificate.
    let path = state_dir.join("self-signed.pem");
    let not_kept = |error| CertificateError::NotKept {
        path: path.clone(),
        error,
    };
    if let Ok(text) = read_bounded(&path)
        && let Some(certificate) = self_signed::reuse(&text, domain, others, now)
    {
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(not_kept)?;
        return Ok(certificate);
    }
    let not_made = |reason: String| CertificateError::NotMade {
        names: std::iter::once(domain.to_owned())
            .chain(others.iter().cloned())
            .collect(),
        reason,
    };
    let text =
        self_signed::make(domain, others, now).map_err(|error| not_made(error.to_string()))?;
    let certificate = self_signed::reuse(text.as_bytes(), domain, others, now)
        .ok_or_else(|| not_made(Problem::Malformed.to_string()))?;
    match keep(&path, text.as_bytes()) {
        // A certificate that is made anew at the next start is better than no start.
        Err(error) if is_full(&error) => tracing::warn!(
            "the self-signed certificate cannot be kept in {} ({error}): make room there, or browsers have to accept \
             another one after each restart",
            path.display()
        ),
        kept => kept.map_err(not_kept)?,
    }
    Ok(certificate)
}

/// Empty where the system keeps none: then no certificate counts as trusted, which is the safe side.
pub(in crate::front::proxy) fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // As OpenSSL and everything built on it do.
    let own = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    for path in own.into_iter().chain(AUTHORITIES.map(PathBuf::from)) {
        if let Ok(bytes) = read_bounded(&path)
            && let Ok(authorities) = pem::chain(&bytes)
        {
            roots.add_parsable_certificates(authorities);
            break;
        }
    }
    roots
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::encoding::{AsDer as _, EcPrivateKeyRfc5915Der};
    use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
    use base64::Engine as _;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };
    use rustls::pki_types::PrivateKeyDer;
    use tempfile::TempDir;

    use super::*;

    const DOMAIN: &str = "call.example";

    /// In the middle of the validity of every certificate that the tests make.
    fn in_time() -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000))
    }

    fn years_later(years: u64) -> UnixTime {
        let secs = in_time().as_secs();
        UnixTime::since_unix_epoch(Duration::from_secs(secs + years * 366 * 24 * 3600))
    }

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2023, 1, 1);
        params.not_after = date_time_ymd(2025, 1, 1);
        params
    }

    struct Files(TempDir);

    impl Files {
        fn new(certificate: &str, key: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("certificate.cert"), certificate).unwrap();
            fs::write(dir.path().join("certificate.key"), key).unwrap();
            Self(dir)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn load(&self, roots: &RootCertStore, now: UnixTime) -> Result<Certificate, String> {
            let (certificate, key) = (self.path("certificate.cert"), self.path("certificate.key"));
            load_pair(&certificate, &key, DOMAIN, roots, now).map_err(|error| error.to_string())
        }
    }

    fn own(names: &[&str]) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(names).self_signed(&key).unwrap();
        (certificate.pem(), key)
    }

    fn pem_text(label: &str, der: &[u8]) -> String {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    #[test]
    fn an_own_pair_is_trusted_only_if_it_leads_to_a_known_authority_and_names_the_domain() {
        let mut ca = params(&[]);
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        for (names, trusted) in [([DOMAIN], true), (["other.example"], false)] {
            let key = KeyPair::generate().unwrap();
            let leaf = params(&names).signed_by(&key, &ca).unwrap();
            let files = Files::new(&(leaf.pem() + &ca.pem()), &key.serialize_pem());
            let loaded = files.load(&roots, in_time()).unwrap();
            assert_eq!(loaded.chain().len(), 2);
            assert_eq!(loaded.is_trusted(), trusted, "{names:?}");
            let unknown = files.load(&RootCertStore::empty(), in_time()).unwrap();
            assert!(!unknown.is_trusted());
        }
        let (certificate, key) = own(&[DOMAIN]);
        let files = Files::new(&certificate, &key.serialize_pem());
        assert!(!files.load(&roots, in_time()).unwrap().is_trusted());
    }

    #[test]
    fn keys_may_be_pkcs8_sec1_or_pkcs1() {
        let nobody = RootCertStore::empty();
        let (certificate, key) = own(&[DOMAIN]);
        let pkcs8 = key.serialize_der();
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).unwrap();
        let sec1: EcPrivateKeyRfc5915Der<'_> = ec.private_key().as_der().unwrap();
        for key in [
            pem_text("PRIVATE KEY", &pkcs8),
            pem_text("EC PRIVATE KEY", sec1.as_ref()),
        ] {
            Files::new(&certificate, &key)
                .load(&nobody, in_time())
                .unwrap();
        }

        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        let pkcs8 = pkcs8.as_ref().to_vec();
        // RFC 5208: version and algorithm are 26 bytes for a key of this size, then the PKCS#1 key.
        let pkcs1 = &pkcs8[26..];
        let key = KeyPair::try_from(&PrivateKeyDer::Pkcs8(pkcs8.clone().into())).unwrap();
        let certificate = params(&[DOMAIN]).self_signed(&key).unwrap().pem();
        for key in [
            pem_text("PRIVATE KEY", &pkcs8),
            pem_text("RSA PRIVATE KEY", pkcs1),
        ] {
            Files::new(&certificate, &key)
                .load(&nobody, in_time())
                .unwrap();
        }
    }

    #[test]
    fn a_bad_pair_is_refused_by_the_name_of_its_file_and_what_to_change() {
        let nobody = RootCertStore::empty();
        let (certificate, key) = own(&[DOMAIN]);
        let (foreign, _) = own(&[DOMAIN]);
        let key = key.serialize_pem();
        let refused = |certificate: &str, key: &str, now| {
            let files = Files::new(certificate, key);
            files.load(&nobody, now).unwrap_err()
        };
        for (error, parts) in [
            (
                refused(&foreign, &key, in_time()),
                ["certificate.key", "does not belong to the certificate"],
            ),
            (
                refused(&certificate, &key, years_later(5)),
                ["certificate.cert", "has expired"],
            ),
            (
                refused(
                    &certificate,
                    &key,
                    UnixTime::since_unix_epoch(Duration::ZERO),
                ),
                ["certificate.cert", "not valid yet"],
            ),
            (
                refused(&key, &key, in_time()),
                ["certificate.cert", "BEGIN CERTIFICATE"],
            ),
            (
                refused(&certificate, &certificate, in_time()),
                ["certificate.key", "without a pass phrase"],
            ),
            (
                refused(&pem_text("CERTIFICATE", b"junk"), &key, in_time()),
                ["certificate.cert", "cannot be parsed"],
            ),
            (
                refused(&"x".repeat(2_000_000), &key, in_time()),
                ["certificate.cert", "it has more than 1048576 bytes"],
            ),
        ] {
            for part in parts {
                assert!(error.contains(part), "{error}");
            }
        }
        let files = Files::new(&certificate, &key);
        fs::remove_file(files.path("certificate.key")).unwrap();
        let error = files.load(&nobody, in_time()).unwrap_err();
        assert!(
            error.contains("certificate.key") && error.contains("readable"),
            "{error}"
        );
    }

    #[test]
    fn the_self_signed_certificate_is_kept_for_its_owner_only_and_reused() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("new/state");
        let path = dir.join("self-signed.pem");
        let others = ["localhost".to_owned(), "::1".to_owned()];
        let load = |domain: &str, now| self_signed(&dir, domain, &others, now).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;

        let first = load(DOMAIN, in_time());
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let again = load(DOMAIN, in_time());
        assert_eq!(mode(), 0o600);
        assert_eq!(first.chain(), again.chain());

        let renamed = load("192.0.2.1", in_time());
        assert_ne!(first.chain(), renamed.chain());
        let renewed = load("192.0.2.1", years_later(2));
        assert_ne!(renamed.chain(), renewed.chain());
        fs::write(&path, "damaged").unwrap();
        fs::write(path.with_extension("pem.new"), "left by a crash").unwrap();
        load("192.0.2.1", in_time());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_made_or_kept_says_why() {
        let state = tempfile::tempdir().unwrap();
        let error = self_signed(state.path(), "caf\u{e9}", &[], in_time()).unwrap_err();
        assert!(error.to_string().contains("DOMAIN_OR_PUBLIC_IP"), "{error}");
        let file = state.path().join("file");
        fs::write(&file, "").unwrap();
        let error = self_signed(&file, DOMAIN, &[], in_time()).unwrap_err();
        assert!(error.to_string().contains("HANOK_STATE_DIR"), "{error}");
    }
}
