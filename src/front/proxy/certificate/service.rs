//! The files: the operator's pair, the self-signed certificate that is kept, the system's authorities.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::UnixTime;

use super::{Certificate, CertificateError, Problem, pem, self_signed};

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

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_PEM_LEN + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_PEM_LEN {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "larger than any PEM file",
        ));
    }
    Ok(bytes)
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
    keep(state_dir, &path, text.as_bytes()).map_err(not_kept)?;
    Ok(certificate)
}

/// Writes a file that is either the old one or the new one, and readable for its owner only.
fn keep(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let draft = path.with_extension("pem.new");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(dir)?.sync_all()
}

/// Empty where the system keeps none: then no certificate counts as trusted, which is the safe side.
fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for path in AUTHORITIES {
        if let Ok(bytes) = read_bounded(Path::new(path))
            && let Ok(authorities) = pem::chain(&bytes)
        {
            roots.add_parsable_certificates(authorities);
            break;
        }
    }
    roots
}
