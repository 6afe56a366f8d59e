//! TLS: versions, ALPN, certificate.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;

use super::certificate::CertificateStore;
pub(super) use super::certificate::challenges::ACME_TLS;

/// ALPN of HTTP/2 (RFC 9113 section 3.2).
pub(super) const HTTP_2: &[u8] = b"h2";

/// ALPN of TURN (RFC 7443 section 3).
pub(super) const TURN: &[u8] = b"stun.turn";

/// ALPN of STUN for NAT discovery (RFC 7443 section 3).
pub(super) const NAT_DISCOVERY: &[u8] = b"stun.nat-discovery";

/// For the port that HTTP shares with TURN, and with authorities that come for a challenge's certificate (RFC 8737). A
/// client that names none of these is refused in the handshake; one that names nothing is known by its first byte.
pub(super) fn http(certificates: Arc<CertificateStore>) -> Result<ServerConfig, rustls::Error> {
    let protocols = [HTTP_2, b"http/1.1", ACME_TLS, TURN, NAT_DISCOVERY];
    server_config(certificates, &protocols)
}

/// For TURN: who says that it speaks something else is refused in the handshake (RFC 7301 section 3.2).
pub(super) fn turn(certificates: Arc<CertificateStore>) -> Result<ServerConfig, rustls::Error> {
    server_config(certificates, &[TURN, NAT_DISCOVERY])
}

/// TLS 1.2 and 1.3 with the certificate that `certificates` holds at the moment of each handshake.
fn server_config(
    certificates: Arc<CertificateStore>,
    protocols: &[&[u8]],
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}
