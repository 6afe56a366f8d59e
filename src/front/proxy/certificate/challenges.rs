//! Answers that a certificate authority comes to fetch: HTTP-01 (RFC 8555 section 8.3) and TLS-ALPN-01 (RFC 8737).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

/// ALPN of the handshakes that fetch a TLS-ALPN-01 answer (RFC 8737 section 4).
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// Where HTTP-01 answers lie (RFC 8555 section 8.3).
pub const HTTP_PREFIX: &str = "/.well-known/acme-challenge/";

/// The answers that wait at the moment; cheap to clone, and all clones hold the same.
#[derive(Debug, Clone, Default)]
pub struct Challenges(Arc<ArcSwap<Waiting>>);

/// What is answered until it is replaced.
#[derive(Debug, Clone, Default)]
pub struct Waiting {
    http: BTreeMap<String, String>,
    tls: BTreeMap<String, Arc<CertifiedKey>>,
}

/// Why there is no certificate for TLS-ALPN-01.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// The name or the key cannot be used.
    #[error("no certificate can be made for the challenge: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS cannot use what was made.
    #[error("the challenge's certificate cannot be used: {0}")]
    Key(#[from] rustls::Error),
}

impl Challenges {
    /// From here on these and no others are answered.
    pub fn set(&self, waiting: Waiting) {
        self.0.store(Arc::new(waiting));
    }

    /// Nothing is answered any more.
    pub fn clear(&self) {
        self.set(Waiting::default());
    }

    /// The body that belongs to an HTTP path, if an authority is expected there.
    pub fn http(&self, path: &str) -> Option<String> {
        self.0
            .load()
            .http
            .get(path.strip_prefix(HTTP_PREFIX)?)
            .cloned()
    }

    /// The certificate for a handshake that speaks [`ACME_TLS`] and asks for `server_name`.
    pub fn tls(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        let waiting = self.0.load();
        let name = server_name.trim_end_matches('.').to_ascii_lowercase();
        waiting.tls.get(&name).cloned()
    }
}

impl Waiting {
    /// Answers HTTP-01 for `token`.
    pub fn add_http(&mut self, token: &str, key_authorization: &str) {
        self.http
            .insert(token.to_owned(), key_authorization.to_owned());
    }

    /// Answers TLS-ALPN-01 for `name`, a DNS name or an IP address, with the SHA-256 of the key authorization.
    ///
    /// # Errors
    /// No certificate can be made for the name.
    pub fn add_tls(&mut self, name: &str, digest: &[u8]) -> Result<(), NotMade> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        // Without the check that a server's certificate gets: its critical extension is meant for authorities alone.
        let signer = aws_lc_rs::sign::any_supported_type(&private)?;
        let certified = CertifiedKey::new(vec![certificate.der().clone()], signer);
        self.tls.insert(server_name(name), Arc::new(certified));
        Ok(())
    }
}

/// What the authority asks for in SNI: the name, or the reverse form of an address (RFC 8738 section 6).
fn server_name(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let octets = address.octets();
            let nibbles = octets
                .iter()
                .rev()
                .map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            nibbles.collect::<String>() + "ip6.arpa"
        }
        Err(_) => name.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_given_for_its_own_path_until_it_is_replaced() {
        let challenges = Challenges::default();
        let elsewhere = challenges.clone();
        let mut waiting = Waiting::default();
        waiting.add_http("abc", "abc.thumbprint");
        challenges.set(waiting);
        let answer = elsewhere.http("/.well-known/acme-challenge/abc");
        assert_eq!(answer.as_deref(), Some("abc.thumbprint"));
        for path in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/abd",
            "/.well-known/acme-challenge/abc/",
            "/x/.well-known/acme-challenge/abc",
            "abc",
        ] {
            assert_eq!(elsewhere.http(path), None, "{path}");
        }
        challenges.clear();
        assert_eq!(elsewhere.http("/.well-known/acme-challenge/abc"), None);
    }

    #[test]
    fn an_authority_asks_for_names_as_they_are_and_for_addresses_in_reverse() {
        let challenges = Challenges::default();
        let mut waiting = Waiting::default();
        for name in ["Call.Example", "192.0.2.10", "2001:db8::1"] {
            waiting.add_tls(name, &[7; 32]).unwrap();
        }
        challenges.set(waiting);
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        for asked in [
            "call.example",
            "CALL.example.",
            "10.2.0.192.in-addr.arpa",
            v6,
        ] {
            assert!(challenges.tls(asked).is_some(), "{asked}");
        }
        for asked in ["other.example", "192.0.2.10", ""] {
            assert!(challenges.tls(asked).is_none(), "{asked}");
        }
    }
}
