//! What the proxy needs from others: services to hand requests to, and a place for streams that are no HTTP.

use std::convert::Infallible;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response};
use rustls::ServerConnection;
use tower::util::BoxCloneSyncService;

/// A service that answers every request. Each request carries `units::RemoteAddr` as an extension, and
/// `hyper::upgrade::OnUpgrade` where the connection can be upgraded.
pub type Service = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Services {
    /// `/openvidu/**` but the signalling path.
    pub rest: Service,
    /// The WebSocket on `/openvidu`.
    pub signalling: Service,
    /// Everything else.
    pub page: Service,
    /// Streams that turned out to be TURN.
    pub turn: Arc<dyn StreamSink>,
}

/// A connection that carries STUN and TURN in TLS, whose handshake is done.
#[derive(Debug)]
pub struct TurnStream {
    /// The connected TCP socket.
    pub socket: OwnedFd,
    /// The client's address.
    pub peer: SocketAddr,
    /// The TLS layer; it may hold what the client has sent already.
    pub session: Box<ServerConnection>,
}

/// Where TURN is spoken.
pub trait StreamSink: Debug + Send + Sync {
    /// Takes the connection over, or closes it if there is no room for it.
    fn take(&self, stream: TurnStream);
}
