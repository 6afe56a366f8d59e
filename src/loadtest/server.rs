//! The way to an OpenVidu server: TCP, TLS, REST.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::units::{DangerousAnyCertificate, Secret};

/// How long a connection or a request may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer of the REST API that is read.
const MAX_ANSWER: usize = 16 << 20;

/// Where the certificates of the public authorities lie: Debian and its kin, Red Hat and its kin, openSUSE.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// What the system believes.
    System,
    /// The authorities in a PEM file.
    File(PathBuf),
    /// Everybody's: for self-signed certificates.
    Anybody,
}

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The URL is not `http(s)://host[:port]`.
    #[error("{0} is not the URL of a server, as https://example.com:4443 is")]
    Url(String),
    /// The certificates of the authorities cannot be read.
    #[error("no certificates of authorities in {path}: {reason}")]
    Roots {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// There is no connection.
    #[error("{address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// What is wrong.
        source: io::Error,
    },
    /// A request was not answered as HTTP wants.
    #[error("{what}: {reason}")]
    Http {
        /// Method and path.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The server says no.
    #[error("{what} was answered with {status}{hint}")]
    Refused {
        /// Method and path.
        what: String,
        /// The status.
        status: StatusCode,
        /// What may be done about it.
        hint: &'static str,
    },
}

/// A byte stream, TLS or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An OpenVidu server.
#[derive(Clone)]
pub(super) struct Server {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    authorization: Secret,
}

impl Server {
    /// The server at `url`, `http(s)://host[:port]`.
    pub(super) fn new(url: &str, secret: &Secret, trust: &Trust) -> Result<Self, ServerError> {
        let wrong = || ServerError::Url(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| wrong())?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong());
        }
        let host = uri.host().ok_or_else(wrong)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let tls = if is_https {
            let name = ServerName::try_from(bare.to_owned()).map_err(|_| wrong())?;
            Some((TlsConnector::from(Arc::new(client_config(trust)?)), name))
        } else {
            None
        };
        let credentials = BASE64_STANDARD.encode(format!("OPENVIDUAPP:{}", secret.expose()));
        Ok(Self {
            host: bare.to_owned(),
            port: uri.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            tls,
            authorization: Secret::new(format!("Basic {credentials}")),
        })
    }

    /// Host and port, as they stand in a URL.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The URL of the WebSocket.
    pub(super) fn signalling_url(&self, session: &str) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!(
            "{scheme}://{}/openvidu?sessionId={session}",
            self.authority()
        )
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, ServerError> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            Ok::<Box<dyn Stream>, io::Error>(match &self.tls {
                Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
                None => Box::new(stream),
            })
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await;
        connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| ServerError::Connect {
                address: self.authority(),
                source,
            })
    }

    /// Creates a session and returns its id.
    pub(super) async fn create_session(&self) -> Result<String, ServerError> {
        let path = "/openvidu/api/sessions";
        let created = self.request(Method::POST, path, Some(json!({}))).await?;
        text(&created, "id", path)
    }

    /// Creates a connection of `role` and returns its token.
    pub(super) async fn create_connection(
        &self,
        session: &str,
        role: &str,
    ) -> Result<String, ServerError> {
        let path = format!("/openvidu/api/sessions/{session}/connection");
        let created = self
            .request(Method::POST, &path, Some(json!({ "role": role })))
            .await?;
        text(&created, "token", &path)
    }

    /// Closes a session.
    pub(super) async fn close_session(&self, session: &str) -> Result<(), ServerError> {
        let path = format!("/openvidu/api/sessions/{session}");
        self.request(Method::DELETE, &path, None).await?;
        Ok(())
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, ServerError> {
        let what = format!("{method} {path}");
        let failed = |reason: String| ServerError::Http {
            what: what.clone(),
            reason,
        };
        let mut authorization = header::HeaderValue::from_str(self.authorization.expose())
            .map_err(|_| {
                failed("the secret holds characters that no header may have".to_owned())
            })?;
        authorization.set_sensitive(true);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.authority())
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(error.to_string()))?;
        let stream = self.connect().await?;
        let exchange = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| failed(error.to_string()))?;
            let asking = async {
                let answer = sender
                    .send_request(request)
                    .await
                    .map_err(|error| failed(error.to_string()))?;
                let status = answer.status();
                let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
                let body = body.map_err(|error| failed(error.to_string()))?.to_bytes();
                Ok((status, body))
            };
            let mut connection = std::pin::pin!(connection);
            let mut asking = std::pin::pin!(asking);
            tokio::select! {
                answer = &mut asking => answer,
                // The connection ends once the answer is there, or tells why there is none.
                ended = &mut connection => match ended {
                    Ok(()) => asking.await,
                    Err(error) => Err(failed(error.to_string())),
                },
            }
        };
        let (status, body) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| Err(failed("not answered in time".to_owned())))?;
        if !status.is_success() {
            let hint = match status {
                StatusCode::UNAUTHORIZED => ": is it another secret?",
                StatusCode::NOT_FOUND => ": is this an OpenVidu 2 server?",
                _ => "",
            };
            return Err(ServerError::Refused { what, status, hint });
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
    }
}

fn text(value: &Value, name: &str, path: &str) -> Result<String, ServerError> {
    let text = value[name].as_str();
    text.map(str::to_owned).ok_or_else(|| ServerError::Http {
        what: path.to_owned(),
        reason: format!("there is no {name} in the answer"),
    })
}

fn client_config(trust: &Trust) -> Result<ClientConfig, ServerError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let mut config = match trust {
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(DangerousAnyCertificate::new(&provider)))
            .with_no_client_auth(),
        Trust::File(path) => builder
            .with_root_certificates(roots(path)?)
            .with_no_client_auth(),
        Trust::System => {
            let found = SYSTEM_ROOTS
                .iter()
                .map(Path::new)
                .find(|path| path.exists());
            let path = found.unwrap_or(Path::new(SYSTEM_ROOTS[0]));
            builder
                .with_root_certificates(roots(path)?)
                .with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, ServerError> {
    let wrong = |reason: String| ServerError::Roots {
        path: path.display().to_string(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(wrong("it holds none".to_owned()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Result<Server, ServerError> {
        Server::new(url, &Secret::new("MY_SECRET"), &Trust::Anybody)
    }

    #[test]
    fn urls_name_scheme_host_and_port() {
        let https = server("https://example.com").unwrap();
        assert_eq!(https.authority(), "example.com:443");
        assert_eq!(
            https.signalling_url("A"),
            "wss://example.com:443/openvidu?sessionId=A"
        );
        let plain = server("http://[::1]:5443/").unwrap();
        assert_eq!(
            plain.signalling_url("A"),
            "ws://[::1]:5443/openvidu?sessionId=A"
        );
        for wrong in [
            "",
            "example.com",
            "ftp://example.com",
            "https://",
            "https://example.com/openvidu",
            "https://example.com?a=b",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_no_trust() {
        for path in ["/dev/null", "/nonexistent"] {
            let trust = Trust::File(path.into());
            let refused = Server::new("https://a", &Secret::new("x"), &trust);
            assert!(matches!(refused, Err(ServerError::Roots { .. })), "{path}");
        }
    }
}
