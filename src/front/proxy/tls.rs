//! TLS: versions, cipher suites, ALPN, certificate.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, cipher_suite};
use rustls::{ProtocolVersion, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::certificate::CertificateStore;
pub(super) use super::certificate::challenges::ACME_TLS;
use crate::units::TlsSuite;

/// ALPN of HTTP/2 (RFC 9113 section 3.2).
pub(super) const HTTP_2: &[u8] = b"h2";

/// ALPN of TURN (RFC 7443 section 3).
pub(super) const TURN: &[u8] = b"stun.turn";

/// ALPN of STUN for NAT discovery (RFC 7443 section 3).
pub(super) const NAT_DISCOVERY: &[u8] = b"stun.nat-discovery";

/// What is spoken on the HTTPS port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPolicy {
    /// TLS 1.2 (`HTTPS_PROTOCOLS`).
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
    /// The suites of TLS 1.2 (`HTTPS_CIPHERS`); those of TLS 1.3 are always spoken.
    pub suites: Vec<TlsSuite>,
}

impl Default for TlsPolicy {
    fn default() -> Self {
        Self {
            tls12: true,
            tls13: true,
            suites: TlsSuite::ALL.to_vec(),
        }
    }
}

impl TlsPolicy {
    fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let both = [
            (self.tls13, &rustls::version::TLS13),
            (self.tls12, &rustls::version::TLS12),
        ];
        both.into_iter()
            .filter_map(|(spoken, version)| spoken.then_some(version))
            .collect()
    }

    fn allows(&self, suite: SupportedCipherSuite) -> bool {
        let version = suite.version().version;
        let mut chosen = self.suites.iter().copied().map(of_rustls);
        version == ProtocolVersion::TLSv1_3 || chosen.any(|chosen| chosen == suite)
    }
}

const fn of_rustls(suite: TlsSuite) -> SupportedCipherSuite {
    match suite {
        TlsSuite::EcdheEcdsaAes256 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TlsSuite::EcdheEcdsaAes128 => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TlsSuite::EcdheEcdsaChaCha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        TlsSuite::EcdheRsaAes256 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        TlsSuite::EcdheRsaAes128 => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TlsSuite::EcdheRsaChaCha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

/// For the port that HTTP shares with TURN, and with authorities that come for a challenge's certificate (RFC 8737). A
/// client that names none of these is refused in the handshake; one that names nothing is known by its first byte.
///
/// TURN comes first: no browser names it for its web pages, while coturn's client names HTTP beside it.
pub(super) fn http(
    certificates: Arc<CertificateStore>,
    policy: &TlsPolicy,
) -> Result<ServerConfig, rustls::Error> {
    let protocols = [TURN, NAT_DISCOVERY, HTTP_2, b"http/1.1", ACME_TLS];
    server_config(certificates, policy, &protocols)
}

/// For TURN: who says that it speaks something else is refused in the handshake (RFC 7301 section 3.2).
pub(super) fn turn(certificates: Arc<CertificateStore>) -> Result<ServerConfig, rustls::Error> {
    server_config(certificates, &TlsPolicy::default(), &[TURN, NAT_DISCOVERY])
}

/// With the certificate that `certificates` holds at the moment of each handshake.
fn server_config(
    certificates: Arc<CertificateStore>,
    policy: &TlsPolicy,
    protocols: &[&[u8]],
) -> Result<ServerConfig, rustls::Error> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| policy.allows(*suite));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&policy.versions())?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_of_tls_1_2_has_a_name_and_lists_leave_tls_1_3_alone() {
        let all = aws_lc_rs::default_provider().cipher_suites;
        let allowed =
            |policy: &TlsPolicy| all.iter().filter(|suite| policy.allows(**suite)).count();
        assert_eq!(allowed(&TlsPolicy::default()), all.len());
        let one = TlsPolicy {
            suites: vec![TlsSuite::EcdheRsaAes128],
            ..TlsPolicy::default()
        };
        assert_eq!(allowed(&one), all.len() - TlsSuite::ALL.len() + 1);
    }
}
