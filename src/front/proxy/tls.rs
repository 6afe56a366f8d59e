//! TLS for HTTP: versions, ALPN, certificate.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;

use super::certificate::CertificateStore;

/// ALPN of HTTP/2 (RFC 9113 section 3.2).
pub(super) const HTTP_2: &[u8] = b"h2";

/// TLS 1.2 and 1.3 with the certificate that `certificates` holds at the moment of each handshake.
pub(super) fn server_config(
    certificates: Arc<CertificateStore>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}
