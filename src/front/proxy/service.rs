//! The listeners and their connections.
//!
//! Every connection is a task of its listener's `JoinSet`, every HTTP/2 request one of the proxy's tracker; both end
//! by cancellation. A connection's permit lives in its stream, so an upgraded WebSocket counts until it closes.

mod access_log;
mod body;
mod dispatch;
mod files;
mod stream;
mod turn;
mod upgrade;
mod upstream;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, InvalidHeaderValue};
use axum::http::uri::InvalidUri;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::AccessLists;
use super::certificate::CertificateStore;
use super::certificate::service::system_authorities;
use super::containment::Containment;
#[cfg(any(test, feature = "testing"))]
use super::containment::Fault;
use super::headers;
use super::limits::{Admission, Full, Limits, accept_pause};
use super::ports::Services;
use super::redirect::Redirect;
use super::routes::{Entrance, Routing};
use super::tls::{self, TlsPolicy};
use super::traffic::{Class, Traffic};
use crate::units::{Live, clock};
use crate::views::metric::Family;
use body::{InProgress, keeping};
pub use dispatch::RoutingHandle;
use dispatch::{Asking, Reply, Table};
use stream::GuardedStream;
use upstream::Upstreams;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// A connection so young is served on when we stop: its first request is on its way, and nobody else would answer it.
const FRESH: Duration = Duration::from_millis(500);

/// What a bug may end.
const CONNECTION: &str = "a web connection";
const REQUEST: &str = "a request";

/// Where to listen, and what to say there.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Addresses for HTTPS; empty: none.
    pub https: Vec<SocketAddr>,
    /// Addresses that redirect to HTTPS; empty: none.
    pub http: Vec<SocketAddr>,
    /// Addresses that serve `/openvidu/**` and `/dashboard/**` without TLS; empty: none.
    pub plain: Vec<SocketAddr>,
    /// Addresses for TURN over TLS and nothing else; empty: none.
    pub turn_tls: Vec<SocketAddr>,
    /// The host of redirects (`DOMAIN_OR_PUBLIC_IP`).
    pub domain: String,
    /// The port of redirects (`HTTPS_PORT`).
    pub https_port: u16,
    /// `HTTPS_HSTS`, sent with a trusted certificate only; empty: never.
    pub hsts: String,
    /// What a reload may change: whoever keeps a clone swaps it, and the next request goes by the new rules.
    pub rules: Live<Rules>,
    /// Versions and cipher suites of TLS.
    pub tls: TlsPolicy,
    /// What goes where at first; [`Proxy::routing`] changes it.
    pub routing: Routing,
    /// Limits and time-outs.
    pub limits: Limits,
    /// A TCP port of this machine that no upstream may be, by whatever name: the admin listener's.
    pub off_limits: Option<u16>,
}

/// The rules by which requests are judged.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// `HANOK_TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<IpNet>,
    /// `ALLOWED_ACCESS_TO_*`.
    pub access: AccessLists,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// HTTPS.
    Https,
    /// The redirect to HTTPS.
    Http,
    /// HTTP for neighbours on the same machine.
    Plain,
    /// TURN over TLS.
    TurnTls,
}

impl Listener {
    /// The keys that move the listener elsewhere.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Https => "HTTPS_PORT",
            Self::Http => "HTTP_PORT",
            Self::Plain => "HANOK_PLAIN_LISTEN",
            Self::TurnTls => "HANOK_TURN_TLS_LISTEN",
        }
    }
}

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A port cannot be taken.
    #[error("cannot listen on {address} ({}): {error}{}", listener.key(), advice(*listener, error))]
    Listen {
        /// What for.
        listener: Listener,
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// TLS refuses its own settings.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The domain cannot stand in a redirect.
    #[error("DOMAIN_OR_PUBLIC_IP is no host name: {0}")]
    Domain(InvalidUri),
    /// `HTTPS_HSTS` cannot stand in a header.
    #[error("HTTPS_HSTS is no header value: {0}")]
    Hsts(InvalidHeaderValue),
}

impl BindError {
    /// Whether somebody else has the port.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Listen { error, .. } if error.kind() == io::ErrorKind::AddrInUse)
    }
}

fn advice(listener: Listener, error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::AddrInUse {
        match listener {
            Listener::Https | Listener::Http => {
                "; another process has this port: stop it, choose another port, or keep it and set HANOK_FRONT=off"
            }
            Listener::Plain => {
                "; another process has this port: stop it, choose another port, or do without (HANOK_PLAIN_LISTEN=)"
            }
            Listener::TurnTls => {
                "; another process has this port: stop it, choose another port, or do without (HANOK_TURN_TLS_LISTEN=)"
            }
        }
    } else if kind == io::ErrorKind::PermissionDenied {
        "; ports below 1024 need the capability CAP_NET_BIND_SERVICE, which the systemd unit grants"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "; no interface of this machine has this address"
    } else {
        ""
    }
}

/// All listeners, bound and waiting.
#[derive(Debug)]
pub struct Proxy {
    sockets: Vec<(Listener, TcpListener)>,
    shared: Arc<Shared>,
    http_tls: Acceptor,
    turn_tls: Acceptor,
}

/// What every connection needs.
#[derive(Debug)]
struct Shared {
    services: Services,
    certificates: Arc<CertificateStore>,
    redirect: Redirect,
    hsts: Option<HeaderValue>,
    rules: Live<Rules>,
    limits: Limits,
    admission: Admission,
    /// Handshakes for TURN count by themselves: whoever crowds them keeps nobody from HTTPS.
    turn_admission: Admission,
    table: Live<Table>,
    upstreams: Upstreams,
    requests: TaskTracker,
    tunnels: TaskTracker,
    /// Ends connections to upstreams, kept ones and tunnels.
    stop_upstreams: CancellationToken,
    containment: Containment,
    traffic: Traffic,
}

/// What is seen of a proxy from outside; cheap to clone.
#[derive(Debug, Clone)]
pub struct Observer(Arc<Shared>);

impl Observer {
    /// What it counts, as metrics.
    pub fn families(&self) -> Vec<Family> {
        let Shared {
            traffic,
            admission,
            turn_admission,
            ..
        } = &*self.0;
        traffic.families(admission, turn_admission)
    }
}

/// `TlsAcceptor` does not print.
#[derive(Clone)]
struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

impl Proxy {
    /// Takes every port of `settings`, beside sockets that listen already; must run inside a tokio runtime.
    ///
    /// # Errors
    /// The first port that cannot be taken; then none is kept.
    pub fn bind(
        settings: Settings,
        listening: Vec<(Listener, std::net::TcpListener)>,
        certificates: Arc<CertificateStore>,
        services: Services,
    ) -> Result<Self, BindError> {
        let acceptor = |config| Acceptor(TlsAcceptor::from(Arc::new(config)));
        let http_tls = acceptor(tls::http(Arc::clone(&certificates), &settings.tls)?);
        let turn_tls = acceptor(tls::turn(Arc::clone(&certificates))?);
        let redirect =
            Redirect::new(&settings.domain, settings.https_port).map_err(BindError::Domain)?;
        let hsts = match settings.hsts.as_str() {
            "" => None,
            value => Some(HeaderValue::from_str(value).map_err(BindError::Hsts)?),
        };
        let (tunnels, stop_upstreams) = (TaskTracker::new(), CancellationToken::new());
        let containment = Containment::default();
        let upstreams = Upstreams::new(
            &settings.limits,
            settings.off_limits,
            system_authorities(),
            tunnels.clone(),
            containment.clone(),
            stop_upstreams.clone(),
        )?;
        let mut sockets = Vec::new();
        for (listener, socket) in listening {
            let address = socket.local_addr();
            let adopted = adopt(socket).map_err(|error| BindError::Listen {
                listener,
                address: address.unwrap_or_else(|_| ([0, 0, 0, 0], 0).into()),
                error,
            })?;
            sockets.push((listener, adopted));
        }
        for (listener, addresses) in [
            (Listener::Https, &settings.https),
            (Listener::Http, &settings.http),
            (Listener::Plain, &settings.plain),
            (Listener::TurnTls, &settings.turn_tls),
        ] {
            let has_another = |addresses: &[SocketAddr], sockets: &[(Listener, TcpListener)]| {
                addresses.len() > 1 || sockets.iter().any(|(kind, _)| *kind == listener)
            };
            for address in addresses {
                match listen(*address) {
                    Ok(socket) => sockets.push((listener, socket)),
                    Err(error) if is_missing_family(&error) && has_another(addresses, &sockets) => {
                        tracing::info!(%address, "this machine has no such address family: not listening there");
                    }
                    Err(error) => {
                        return Err(BindError::Listen {
                            listener,
                            address: *address,
                            error,
                        });
                    }
                }
            }
        }
        Ok(Self {
            sockets,
            http_tls,
            turn_tls,
            shared: Arc::new(Shared {
                services,
                certificates,
                redirect,
                hsts,
                rules: settings.rules,
                admission: Admission::new(&settings.limits),
                turn_admission: Admission::new(&settings.limits),
                table: Live::new(Table::new(settings.routing, &settings.limits)),
                limits: settings.limits,
                upstreams,
                requests: TaskTracker::new(),
                tunnels,
                stop_upstreams,
                containment,
                traffic: Traffic::default(),
            }),
        })
    }

    /// The addresses that were really taken; differs from the settings where those say port 0.
    pub fn addresses(&self) -> impl Iterator<Item = (Listener, SocketAddr)> + '_ {
        self.sockets
            .iter()
            .filter_map(|(listener, socket)| Some((*listener, socket.local_addr().ok()?)))
    }

    /// Changes what goes where.
    pub fn routing(&self) -> RoutingHandle {
        RoutingHandle::new(self.shared.table.clone(), &self.shared.limits)
    }

    /// What monitoring is told.
    pub fn observer(&self) -> Observer {
        Observer(Arc::clone(&self.shared))
    }

    /// What bugs have cost so far.
    pub fn containment(&self) -> Containment {
        self.shared.containment.clone()
    }

    /// Serves until `cancel` is cancelled, then stops accepting, lets requests in progress finish within
    /// `Limits::shutdown`, and closes what is left. Dropping the future closes everything at once.
    pub async fn serve(self, cancel: CancellationToken) {
        let mut listeners = JoinSet::new();
        for (listener, socket) in self.sockets {
            let tls = match listener {
                Listener::TurnTls => &self.turn_tls,
                Listener::Https | Listener::Http | Listener::Plain => &self.http_tls,
            };
            let door = Door {
                listener,
                tls: tls.clone(),
                shared: Arc::clone(&self.shared),
            };
            listeners.spawn(door.accept(socket, cancel.clone()));
        }
        while let Some(ended) = listeners.join_next().await {
            self.shared.report("a listener", ended);
        }
        let tunnels = &self.shared.tunnels;
        self.shared.stop_upstreams.cancel();
        tunnels.close();
        tunnels.wait().await;
        // Their connections are gone, so they are being dropped.
        let requests = &self.shared.requests;
        requests.close();
        if timeout(self.shared.limits.shutdown, requests.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = requests.len(),
                "HTTP/2 requests outlived their connections"
            );
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own, so that addresses are never of the mapped kind.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    adopt(socket.into())
}

fn adopt(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it: a client that has vanished is found out even where nobody sends anything.
    keep_alive(&socket)?;
    TcpListener::from_std(socket)
}

/// Has the kernel ask whether the other side is still there.
fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    let asking = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    SockRef::from(socket).set_tcp_keepalive(&asking)
}

fn is_missing_family(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

impl Shared {
    fn report(&self, what: &'static str, ended: Result<(), JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            self.containment.count(what);
        }
    }
}

/// When a connection is told that we stop.
#[derive(Debug)]
struct Farewell {
    cancel: CancellationToken,
    not_before: Instant,
}

impl Farewell {
    /// Cancel safe.
    async fn is_due(&self) {
        self.cancel.cancelled().await;
        sleep_until(self.not_before).await;
    }
}

/// One listener.
#[derive(Debug, Clone)]
struct Door {
    listener: Listener,
    tls: Acceptor,
    shared: Arc<Shared>,
}

impl Door {
    async fn accept(self, socket: TcpListener, cancel: CancellationToken) {
        let mut connections = JoinSet::new();
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(ended) = connections.join_next() => self.shared.report(CONNECTION, ended),
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        pause = Duration::ZERO;
                        let admission = || self.admit(stream, peer, &cancel);
                        let admitted = self.shared.containment.contain(CONNECTION, admission);
                        if let Some(connection) = admitted.flatten() {
                            connections.spawn(connection);
                        }
                    }
                    Err(error) => {
                        if pause.is_zero() {
                            tracing::warn!(%error, listener = ?self.listener, "cannot accept a connection; raise LimitNOFILE if descriptors ran out");
                        }
                        pause = accept_pause(&error, pause);
                        tokio::select! {
                            () = cancel.cancelled() => break,
                            () = sleep(pause) => {}
                        }
                    }
                },
            }
        }
        drop(socket);
        let finish = async {
            while let Some(ended) = connections.join_next().await {
                self.shared.report(CONNECTION, ended);
            }
        };
        if timeout(self.shared.limits.shutdown, finish).await.is_err() {
            connections.shutdown().await;
        }
    }

    fn admit(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        cancel: &CancellationToken,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let shared = &self.shared;
        #[cfg(any(test, feature = "testing"))]
        shared.containment.strike(Fault::Admission);
        let exempt = headers::is_trusted(peer.ip(), &shared.rules.get().trusted_proxies);
        let admission = match self.listener {
            Listener::TurnTls => &shared.turn_admission,
            Listener::Https | Listener::Http | Listener::Plain => &shared.admission,
        };
        let admitted = admission.admit(peer.ip(), exempt);
        shared.traffic.connected(admitted.as_ref().err());
        let permit = match admitted {
            Ok(permit) => permit,
            Err(Full::Everyone) => {
                tracing::debug!(%peer, "too many connections: closed");
                return None;
            }
            Err(Full::Source) => {
                tracing::debug!(%peer, "too many connections from one source: closed");
                return None;
            }
        };
        // Small messages of signalling must not wait for a full segment; a socket that refuses is closing anyway.
        let _ = stream.set_nodelay(true);
        let stream = GuardedStream::new(stream, shared.limits.write_stall, permit);
        let farewell = Farewell {
            cancel: cancel.clone(),
            not_before: Instant::now() + FRESH,
        };
        Some(self.clone().connection(stream, peer, farewell))
    }

    async fn connection(self, stream: GuardedStream, peer: SocketAddr, farewell: Farewell) {
        #[cfg(any(test, feature = "testing"))]
        self.shared.containment.strike(Fault::Connection);
        match self.listener {
            Listener::Http | Listener::Plain => {
                self.http1(TokioIo::new(stream), peer, farewell).await;
            }
            Listener::Https | Listener::TurnTls => {
                let Some((stream, is_turn)) = self.handshake(stream, peer, &farewell).await else {
                    return;
                };
                let protocol = stream.get_ref().1.alpn_protocol();
                if is_turn {
                    if let Err(error) = turn::hand_over(stream, peer, &*self.shared.services.turn) {
                        tracing::debug!(%peer, %error, "a TURN connection cannot be handed over");
                    }
                } else if self.listener == Listener::TurnTls || protocol == Some(tls::ACME_TLS) {
                    // Of an authority the handshake was all that it came for (RFC 8737 section 3).
                    turn::refuse(stream).await;
                } else if protocol == Some(tls::HTTP_2) {
                    self.http2(TokioIo::new(stream), peer, farewell).await;
                } else {
                    self.http1(TokioIo::new(stream), peer, farewell).await;
                }
            }
        }
    }

    /// The handshake, and whether the client speaks TURN.
    async fn handshake(
        &self,
        stream: GuardedStream,
        peer: SocketAddr,
        farewell: &Farewell,
    ) -> Option<(TlsStream<GuardedStream>, bool)> {
        let handshake = async {
            let mut stream = self.tls.0.accept(stream).await?;
            let is_turn = turn::is_turn(&mut stream).await?;
            Ok::<_, io::Error>((stream, is_turn))
        };
        tokio::select! {
            () = farewell.is_due() => None,
            outcome = timeout(self.shared.limits.tls_handshake, handshake) => {
                let done = match outcome {
                    Ok(Ok(done)) => Some(done),
                    Ok(Err(error)) => {
                        tracing::debug!(%peer, %error, "TLS handshake failed");
                        None
                    }
                    Err(_) => {
                        tracing::debug!(%peer, "TLS handshake took too long");
                        None
                    }
                };
                self.shared.traffic.shook_hands(done.is_some());
                done
            },
        }
    }

    async fn http1<S>(self, stream: S, peer: SocketAddr, farewell: Farewell)
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let limits = &self.shared.limits;
        let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read)
            .max_headers(limits.headers)
            .max_header_size(header_bytes)
            .max_buf_size(header_bytes.saturating_mul(2).max(8192));
        let door = &self;
        let service = service_fn(move |request| async move {
            Ok::<_, Infallible>(door.answer(request, peer).await)
        });
        let mut connection = pin!(builder.serve_connection(stream, service).with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = farewell.is_due() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "HTTP/1.1 connection failed");
        }
    }

    async fn http2<S>(self, stream: S, peer: SocketAddr, farewell: Farewell)
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let limits = self.shared.limits.clone();
        let mut builder = http2::Builder::new(Tracked {
            tasks: self.shared.requests.clone(),
            containment: self.shared.containment.clone(),
            stop: None,
        });
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .max_header_list_size(limits.header_bytes)
            // A client that opens and resets streams faster than they are noticed is cut off (RUSTSEC-2024-0003).
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(64)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(256 * 1024)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        let (requests, progress) = watch::channel(0_usize);
        let door = Arc::new(self);
        let service = service_fn(move |request| {
            let door = Arc::clone(&door);
            let in_progress = InProgress::new(&requests);
            async move {
                let response = door.answer(request, peer).await;
                Ok::<_, Infallible>(response.map(|body| keeping(body, in_progress)))
            }
        });
        let mut connection = pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = farewell.is_due() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = idle(progress, &limits) => {
                connection.as_mut().graceful_shutdown();
                // A client that does not confirm the farewell is not waited for.
                timeout(limits.header_read, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "HTTP/2 connection failed");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let entrance = match self.listener {
            Listener::Https => Some(Entrance::Https),
            Listener::Plain => Some(Entrance::Plain),
            Listener::Http | Listener::TurnTls => None,
        };
        let (class, asked) = (Class::of(entrance, request.uri().path()), clock::now());
        let response = self.respond(request, peer).await;
        let took = clock::now().saturating_duration_since(asked);
        let traffic = &self.shared.traffic;
        traffic.answered(class, response.status(), took);
        response
    }

    async fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let shared = &self.shared;
        let challenges = shared.certificates.challenges();
        if let Some(answer) = challenges.http(request.uri().path()) {
            return challenge_answer(answer);
        }
        let sender = {
            let rules = shared.rules.get();
            headers::sender(peer.ip(), request.headers(), &rules.trusted_proxies)
        };
        let entry = access_log::entry(sender.address(), &request);
        let response = match self.listener {
            Listener::Http => shared.redirect.answer(request.uri()),
            Listener::Https => self.reply(request, peer, sender, Entrance::Https).await,
            Listener::Plain => self.reply(request, peer, sender, Entrance::Plain).await,
            Listener::TurnTls => empty(StatusCode::NOT_FOUND),
        };
        access_log::logged(response, entry)
    }

    async fn reply(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        sender: headers::Sender,
        entrance: Entrance,
    ) -> Response<Body> {
        let shared = &self.shared;
        let asking = Asking {
            entrance,
            peer: peer.ip(),
            sender,
        };
        let dispatch = async {
            #[cfg(any(test, feature = "testing"))]
            shared.containment.strike(Fault::Request);
            shared.dispatch(request, asking).await
        };
        let reply = shared.containment.contain_future(REQUEST, dispatch).await;
        let (mut response, ours) = match reply {
            Some(Reply::Theirs(response)) => (response, false),
            Some(Reply::Ours(response)) => (response, true),
            None => {
                let pages = &shared.table.get().pages;
                (pages.response(StatusCode::INTERNAL_SERVER_ERROR), true)
            }
        };
        if ours {
            headers::harden(response.headers_mut());
        }
        if entrance == Entrance::Https && shared.certificates.is_publicly_valid() {
            headers::add_hsts(response.headers_mut(), shared.hsts.as_ref());
        }
        response
    }
}

/// RFC 8555 section 8.3.
fn challenge_answer(key_authorization: String) -> Response<Body> {
    let mut response = Response::new(Body::from(key_authorization));
    let binary = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, binary);
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Ends when no request has been in progress for long enough: at first within the time for a request's head.
async fn idle(mut in_progress: watch::Receiver<usize>, limits: &Limits) {
    let mut patience = limits.header_read;
    while timeout(patience, in_progress.wait_for(|count| *count > 0))
        .await
        .is_ok_and(|seen| seen.is_ok())
    {
        if in_progress.wait_for(|count| *count == 0).await.is_err() {
            break;
        }
        patience = limits.http2_idle;
    }
}

/// Runs the requests of HTTP/2 connections, which end with their connection, and connections to upstreams, which end by
/// `stop`.
#[derive(Debug, Clone)]
struct Tracked {
    tasks: TaskTracker,
    containment: Containment,
    stop: Option<CancellationToken>,
}

impl<F> Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let containment = self.containment.clone();
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let task = containment.contain_future(REQUEST, task);
            match stop {
                Some(stop) => drop(stop.run_until_cancelled(task).await),
                None => drop(task.await),
            }
        });
    }
}

#[cfg(test)]
mod tests;
