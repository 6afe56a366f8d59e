//! The listeners and their connections.
//!
//! Every connection is a task of its listener's `JoinSet`, every HTTP/2 request one of the proxy's tracker; both end
//! by cancellation. A connection's permit lives in its stream, so an upgraded WebSocket counts until it closes.

mod access_log;
mod body;
mod dispatch;
mod door;
mod files;
mod stream;
mod turn;
mod upgrade;
mod upstream;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::InvalidHeaderValue;
use axum::http::uri::InvalidUri;
use hyper::rt::Executor;
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::AccessLists;
use super::certificate::CertificateStore;
use super::certificate::service::system_authorities;
use super::containment::Containment;
use super::limits::{Admission, Limits};
use super::ports::Services;
use super::redirect::Redirect;
use super::routes::Routing;
use super::tls::{self, TlsPolicy};
use super::traffic::Traffic;
use crate::units::Live;
use crate::views::metric::Family;
pub use dispatch::RoutingHandle;
use dispatch::Table;
use door::Door;
use upstream::Upstreams;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// What a bug may end.
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
