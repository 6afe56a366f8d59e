//! Applications behind the proxy: connections that are kept and shared, bounds, time-outs.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Extensions, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Body as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::{Progress, RequestBody, UpstreamBody};
use super::{Containment, Tracked};
use crate::front::proxy::limits::Limits;
use crate::front::proxy::routes::Origin;
use crate::units::DangerousAnyCertificate;

/// A connection that waits for the next request is closed after this: before the application closes it, which would
/// lose a request that is just on its way. Node does so after 5 s.
const KEPT: Duration = Duration::from_secs(4);

/// Connections that wait for the next request, for each upstream.
const KEPT_AT_MOST: usize = 64;

/// The longest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// One application.
#[derive(Debug)]
pub(super) struct Upstream {
    origin: Origin,
    /// So many requests and tunnels at a time: a slow application leaves connections to everybody else.
    places: Arc<Semaphore>,
}

impl Upstream {
    pub(super) fn new(origin: Origin, limits: &Limits) -> Self {
        Self {
            origin,
            places: Arc::new(Semaphore::new(limits.requests_per_upstream)),
        }
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The request's target, addressed to this upstream.
    fn address(&self, target: Option<&PathAndQuery>) -> Result<Uri, axum::http::Error> {
        Uri::builder()
            .scheme(self.origin.scheme())
            .authority(self.origin.authority().clone())
            .path_and_query(target.cloned().unwrap_or(PathAndQuery::from_static("/")))
            .build()
    }
}

/// Why there is no answer of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It cannot be reached, or does not speak HTTP.
    Down,
    /// It does not answer in time.
    Silent,
    /// As many requests as are allowed wait for it already.
    Busy,
    /// It was the client who did not finish its request.
    Client(StatusCode),
}

impl Failure {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Down => StatusCode::BAD_GATEWAY,
            Self::Silent => StatusCode::GATEWAY_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Client(status) => status,
        }
    }
}

/// What an application has answered, and its place among that application's requests.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    pub(super) place: OwnedSemaphorePermit,
}

impl Answer {
    /// The response as it goes to the client; its place is kept until the last byte.
    pub(super) fn into_response(self, limits: &Limits) -> Response<Body> {
        let place = self.place;
        self.response
            .map(|body| Body::new(UpstreamBody::new(body, limits.upstream_read, place)))
    }
}

/// Sends requests to upstreams; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Upstreams {
    client: Client<Connector, RequestBody>,
    connector: Connector,
    read: Duration,
}

impl Upstreams {
    /// Its connections are tasks of `tasks` that end with `stop`.
    pub(super) fn new(
        limits: &Limits,
        off_limits: Option<u16>,
        authorities: RootCertStore,
        tasks: TaskTracker,
        containment: Containment,
        stop: CancellationToken,
    ) -> Result<Self, rustls::Error> {
        let connector = Connector::new(limits.upstream_connect, off_limits, authorities)?;
        let executor = Tracked {
            tasks,
            containment,
            stop: Some(stop),
        };
        let client = Client::builder(executor)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(KEPT_AT_MOST)
            .http1_max_buf_size(MAX_HEAD)
            .set_host(false)
            .build(connector.clone());
        Ok(Self {
            client,
            connector,
            read: limits.upstream_read,
        })
    }

    /// Whether somebody takes connections at `upstream`.
    pub(super) async fn reaches(&self, upstream: &Upstream) -> bool {
        self.connector
            .tcp(upstream.origin.authority())
            .await
            .is_ok()
    }

    /// The answer of `upstream`, whose head is there; bodies stream both ways.
    ///
    /// A request without a body is sent once more if the connection that was kept for it had been closed meanwhile.
    pub(super) async fn send(
        &self,
        upstream: &Upstream,
        request: Request<RequestBody>,
    ) -> Result<Answer, Failure> {
        let place = Arc::clone(&upstream.places)
            .try_acquire_owned()
            .map_err(|_| Failure::Busy)?;
        let (mut parts, body) = request.into_parts();
        parts.uri = upstream
            .address(parts.uri.path_and_query())
            .map_err(|_| Failure::Client(StatusCode::BAD_REQUEST))?;
        parts.version = Version::HTTP_11;
        parts.extensions = Extensions::new();
        let repeatable = body.is_end_stream()
            && [Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method);
        let again = repeatable.then(|| parts.clone());
        let progress = body.progress();
        let mut outcome = self
            .try_send(Request::from_parts(parts, body), &progress)
            .await;
        if let (Err(Unanswered::ConnectionGone), Some(parts)) = (&outcome, again) {
            let request = Request::from_parts(parts, RequestBody::empty());
            outcome = self.try_send(request, &progress).await;
        }
        match outcome {
            Ok(response) => Ok(Answer { response, place }),
            Err(unanswered) => {
                let failure = unanswered.failure(&progress);
                tracing::debug!(upstream = %upstream.origin, ?failure, "no answer of an upstream");
                Err(failure)
            }
        }
    }

    async fn try_send(
        &self,
        request: Request<RequestBody>,
        progress: &Progress,
    ) -> Result<Response<Incoming>, Unanswered> {
        let mut response = self.client.request(request);
        let mut sent = progress.frames();
        let answer = loop {
            match timeout(self.read, &mut response).await {
                Ok(answer) => break answer,
                // An upload that goes on is no silence.
                Err(_) if progress.frames() != sent => sent = progress.frames(),
                Err(_) => return Err(Unanswered::Silent),
            }
        };
        match answer {
            Ok(mut response) => {
                if let Some(Proven(proven)) = response.extensions_mut().remove() {
                    proven.store(true, Ordering::Relaxed);
                }
                Ok(response)
            }
            Err(error) if is_timeout(&error) => Err(Unanswered::Silent),
            Err(error) => {
                tracing::debug!(%error, cause = ?error.source(), "a request to an upstream failed");
                let mut kept = Extensions::new();
                if let Some(connected) = error.connect_info() {
                    connected.get_extras(&mut kept);
                }
                let proven = kept.get::<Proven>();
                if proven.is_some_and(|Proven(proven)| proven.load(Ordering::Relaxed)) {
                    Err(Unanswered::ConnectionGone)
                } else {
                    Err(Unanswered::Failed)
                }
            }
        }
    }
}

/// Why a request has no answer.
#[derive(Debug)]
enum Unanswered {
    Silent,
    /// A connection that had served a request before.
    ConnectionGone,
    Failed,
}

impl Unanswered {
    fn failure(&self, progress: &Progress) -> Failure {
        match (progress.fault(), self) {
            (Some(status), _) => Failure::Client(status),
            (None, Self::Silent) => Failure::Silent,
            (None, Self::ConnectionGone | Self::Failed) => Failure::Down,
        }
    }
}

/// Whether a connection has already served a request.
#[derive(Debug, Clone, Default)]
struct Proven(Arc<AtomicBool>);

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io_error = error.downcast_ref::<io::Error>();
        if io_error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Opens connections.
#[derive(Clone)]
struct Connector {
    patience: Duration,
    off_limits: Option<u16>,
    verified: TlsConnector,
    on_this_machine: TlsConnector,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    fn new(
        patience: Duration,
        off_limits: Option<u16>,
        authorities: RootCertStore,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
        };
        let verified = builder()?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        // Nobody can stand in for what runs here, and its certificate it has made by itself.
        let on_this_machine = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(DangerousAnyCertificate::new(&provider)))
            .with_no_client_auth();
        Ok(Self {
            patience,
            off_limits,
            verified: TlsConnector::from(Arc::new(verified)),
            on_this_machine: TlsConnector::from(Arc::new(on_this_machine)),
        })
    }

    async fn tcp(&self, authority: &Authority) -> io::Result<TcpStream> {
        let host = authority.host().trim_matches(['[', ']']);
        let port = authority.port_u16().unwrap_or(80);
        let stream = timeout(self.patience, TcpStream::connect((host, port))).await??;
        // Many names lead to this machine; only the kernel knows that one does.
        let there = stream.peer_addr()?;
        let is_here =
            there.ip().to_canonical().is_loopback() || there.ip() == stream.local_addr()?.ip();
        if is_here && self.off_limits == Some(there.port()) {
            tracing::warn!(
                host,
                port,
                "an upstream is the admin listener: nothing is sent there"
            );
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // A socket that refuses is closing anyway.
        let _ = stream.set_nodelay(true);
        let _ = super::keep_alive(&stream);
        Ok(stream)
    }

    async fn connect(self, uri: Uri) -> io::Result<UpstreamStream> {
        let authority = uri.authority().ok_or(io::ErrorKind::InvalidInput)?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Ok(UpstreamStream::Plain(self.tcp(authority).await?));
        }
        let host = authority.host().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let with_port;
        let authority = match authority.port() {
            Some(_) => authority,
            None => {
                with_port = format!("{authority}:443")
                    .parse()
                    .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                &with_port
            }
        };
        let stream = self.tcp(authority).await?;
        // What the kernel says of the connection counts, not the name that led to it.
        let is_here = stream.peer_addr()?.ip().to_canonical().is_loopback();
        let tls = if is_here {
            &self.on_this_machine
        } else {
            &self.verified
        };
        let stream = timeout(self.patience, tls.connect(name, stream)).await??;
        Ok(UpstreamStream::Tls(Box::new(stream)))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<UpstreamStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.clone().connect(uri);
        Box::pin(async move { connecting.await.map(TokioIo::new) })
    }
}

/// A connection to an upstream.
enum UpstreamStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for UpstreamStream {
    fn connected(&self) -> Connected {
        Connected::new().extra(Proven::default())
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_is_found_among_the_causes_of_an_error() {
        #[derive(Debug, thiserror::Error)]
        #[error("wrapped")]
        struct Wrapped(#[source] io::Error);
        let wrapped = |kind: io::ErrorKind| Wrapped(kind.into());
        assert!(is_timeout(&wrapped(io::ErrorKind::TimedOut)));
        assert!(!is_timeout(&wrapped(io::ErrorKind::ConnectionReset)));
        assert!(!is_timeout(&io::Error::from(
            io::ErrorKind::ConnectionRefused
        )));
    }
}
