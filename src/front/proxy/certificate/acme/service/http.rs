//! HTTP to the authority: one connection for each request, everything bounded. An order takes a dozen of them.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::http::header::{DATE, HOST, HeaderMap, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::units::clock;

/// The time for a whole request. Authorities answer within a second; one that takes longer is asked again later.
const PATIENCE: Duration = Duration::from_secs(30);

/// The largest answer that is read: chains have a few KiB.
const MAX_ANSWER: usize = 1024 * 1024;

/// Clocks differ by a little everywhere.
const TOLERATED_OFFSET: i64 = 300;

/// Talks to one authority, and remembers what its answers say beside ACME; clones share that.
#[derive(Clone)]
pub(super) struct Http {
    tls: TlsConnector,
    observed: Arc<Observed>,
}

#[derive(Debug, Default)]
struct Observed {
    /// By how many seconds the authority's clock is ahead of ours.
    offset: AtomicI64,
    /// `Retry-After` of the last answer that refused, in seconds; 0 is none.
    retry_after: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0} is no https URL with a host")]
    Url(Uri),
    #[error("{0} is no host name")]
    Host(#[from] InvalidDnsNameError),
    #[error("{host} cannot be reached: {error}")]
    Connect { host: String, error: io::Error },
    #[error("no TLS with {host}: {error}")]
    Tls { host: String, error: io::Error },
    #[error("{0} did not answer within {PATIENCE:?}")]
    Slow(String),
    #[error("{host} does not speak HTTP: {error}")]
    Http { host: String, error: hyper::Error },
    #[error("{host} closed the connection, or sent more than {MAX_ANSWER} bytes: {error}")]
    Answer {
        host: String,
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{host} answered with status {status} and no ACME problem: is it an ACME server?")]
    NotAcme { host: String, status: StatusCode },
}

impl Http {
    /// A client that trusts `roots`.
    pub(super) fn new(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            observed: Arc::default(),
        })
    }

    /// By how many seconds the authority's clock is ahead of ours, if that is worth a word.
    pub(super) fn clock_offset(&self) -> Option<i64> {
        let offset = self.observed.offset.load(Ordering::Relaxed);
        (offset.abs() > TOLERATED_OFFSET).then_some(offset)
    }

    /// What the last refusal said about coming back, in seconds; only once.
    pub(super) fn take_retry_after(&self) -> Option<u64> {
        let seconds = self.observed.retry_after.swap(0, Ordering::Relaxed);
        (seconds > 0).then_some(seconds)
    }

    async fn exchange(
        self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Bytes>, Problem> {
        let uri = request.uri().clone();
        let no_url = || Problem::Url(uri.clone());
        let authority = uri.authority().ok_or_else(no_url)?;
        if uri.scheme_str() != Some("https") {
            return Err(no_url());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(443);
        let name = ServerName::try_from(host.clone())?;
        let header = HeaderValue::from_str(authority.as_str()).map_err(|_| no_url())?;
        request.headers_mut().insert(HOST, header);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| no_url())?;

        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.map_err(|error| Problem::Connect {
            host: host.clone(),
            error,
        })?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| Problem::Tls {
            host: host.clone(),
            error,
        })?;
        let no_http = |error| Problem::Http {
            host: host.clone(),
            error,
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(no_http)?;
        let answer = async {
            let (parts, body) = sender
                .send_request(request)
                .await
                .map_err(no_http)?
                .into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| Problem::Answer {
                host: host.clone(),
                error,
            })?;
            Ok::<_, Problem>(Response::from_parts(parts, body.to_bytes()))
        };
        let (mut answer, mut connection) = (pin!(answer), pin!(connection));
        let response = tokio::select! {
            biased;
            response = answer.as_mut() => response?,
            // It has ended and says so to whoever waits for the answer.
            _ = connection.as_mut() => answer.await?,
        };
        self.observe(response.status(), response.headers());
        let is_refusal = response.status().is_client_error() || response.status().is_server_error();
        if is_refusal && serde_json::from_slice::<serde_json::Value>(response.body()).is_err() {
            // A proxy's or a web server's page.
            return Err(Problem::NotAcme {
                host: host.clone(),
                status: response.status(),
            });
        }
        Ok(response)
    }

    fn observe(&self, status: StatusCode, headers: &HeaderMap) {
        let now = i64::try_from(clock::wall_ms() / 1000).unwrap_or(i64::MAX);
        let seconds = |name: &HeaderName| {
            let time = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
            let since = time.duration_since(UNIX_EPOCH).ok()?;
            i64::try_from(since.as_secs()).ok()
        };
        if let Some(theirs) = seconds(&DATE) {
            self.observed
                .offset
                .store(theirs.saturating_sub(now), Ordering::Relaxed);
        }
        if status.is_client_error() || status.is_server_error() {
            let text = headers
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok());
            let delay = text.and_then(|text| text.trim().parse().ok());
            let delay = delay.or_else(|| {
                let at = seconds(&RETRY_AFTER)?;
                u64::try_from(at.saturating_sub(now)).ok()
            });
            self.observed
                .retry_after
                .store(delay.unwrap_or(0), Ordering::Relaxed);
        }
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let response = match timeout(PATIENCE, http.exchange(request)).await {
                Ok(response) => response,
                Err(_) => Err(Problem::Slow(host)),
            };
            let (parts, body) = response
                .map_err(|problem| Error::Other(Box::new(problem)))?
                .into_parts();
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}
