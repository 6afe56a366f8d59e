//! What the proxy needs from others: services to hand requests to.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{Request, Response};
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
}
