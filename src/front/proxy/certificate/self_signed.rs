//! Self-signed certificates: ECDSA, with the names that browsers look at in the subject alternative names.

use std::time::Duration;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::UnixTime;
use rustls::server::ParsedCertificate;

use super::{Certificate, names, pem};

/// Browsers that were told to accept one refuse more than 825 days; a year and a month is what authorities give.
const LIFETIME: Duration = Duration::from_secs(397 * 24 * 3600);

/// A kept certificate that ends sooner is replaced at start.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Clients' clocks may be behind ours.
const BACKDATE: Duration = Duration::from_secs(24 * 3600);

/// Makes a certificate for `domain` and every one of `others`, DNS names or IP addresses; returns key and certificate
/// as one PEM text.
///
/// # Errors
/// A name is neither.
pub fn make(domain: &str, others: &[String], now: UnixTime) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(all_names(domain, others))?;
    let epoch = date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(now.as_secs());
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + now + LIFETIME;
    params.distinguished_name.push(DnType::CommonName, domain);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    Ok(key.serialize_pem() + &certificate.pem())
}

/// Reads what [`make`] wrote, if it is still good: whole, for all these names, and not about to expire.
pub fn reuse(text: &[u8], domain: &str, others: &[String], now: UnixTime) -> Option<Certificate> {
    let chain = pem::chain(text).ok()?;
    let own = ParsedCertificate::try_from(chain.first()?).ok()?;
    if !all_names(domain, others)
        .iter()
        .all(|name| names(&own, name))
    {
        return None;
    }
    let soon = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + RENEW_BEFORE);
    let key = pem::key(text).ok()?;
    let nobody = RootCertStore::empty();
    Certificate::new(chain.clone(), key.clone_key(), domain, &nobody, soon).ok()?;
    Certificate::new(chain, key, domain, &nobody, now).ok()
}

fn all_names(domain: &str, others: &[String]) -> Vec<String> {
    let mut names = vec![domain.to_owned()];
    for other in others {
        if !names.contains(other) {
            names.push(other.clone());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(days: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(1_700_000_000 + days * 24 * 3600))
    }

    fn others(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn it_is_reused_until_a_month_before_its_end_and_for_its_names_only() {
        let local = others(&["localhost", "127.0.0.1", "::1", "call.example"]);
        let text = make("call.example", &local, at(0)).unwrap();
        let reuse = |domain: &str, others: &[String], at| {
            reuse(text.as_bytes(), domain, others, at).is_some()
        };
        assert!(reuse("call.example", &local, at(0)));
        assert!(reuse("::1", &[], at(366)));
        assert!(!reuse("call.example", &local, at(368)));
        assert!(!reuse("other.example", &[], at(0)));
        assert!(!reuse("call.example", &others(&["192.0.2.1"]), at(0)));
    }

    #[test]
    fn clocks_that_are_behind_accept_it_and_it_is_not_trusted() {
        let text = make("192.0.2.1", &[], at(10)).unwrap();
        let certificate = reuse(text.as_bytes(), "192.0.2.1", &[], at(9)).unwrap();
        assert!(!certificate.is_trusted());
        assert!(reuse(text.as_bytes(), "192.0.2.1", &[], at(8)).is_none());
    }

    #[test]
    fn a_damaged_file_is_not_reused() {
        let text = make("call.example", &[], at(0)).unwrap();
        for cut in (0..text.len()).step_by(37) {
            assert!(reuse(&text.as_bytes()[..cut], "call.example", &[], at(0)).is_none());
        }
        let foreign = make("call.example", &[], at(0)).unwrap();
        let (key, _) = text.split_at(text.find("-----BEGIN CERTIFICATE").unwrap());
        let (_, certificate) = foreign.split_at(foreign.find("-----BEGIN CERTIFICATE").unwrap());
        let mixed = key.to_owned() + certificate;
        assert!(reuse(mixed.as_bytes(), "call.example", &[], at(0)).is_none());
    }
}
