//! HTTP Basic in front of every path (section 1.2): decided before routing, so that 401 tells nothing about paths.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::control::access::{Claim, Gate, Verdict};
use crate::units::{RemoteAddr, clock};

/// Lets a request through that knows the secret, or asks for a public path without claiming anything.
pub(super) async fn require_secret(
    State(gate): State<Gate>,
    request: Request,
    next: Next,
) -> Response {
    let from = request
        .extensions()
        .get::<RemoteAddr>()
        .copied()
        .unwrap_or(RemoteAddr(std::net::Ipv4Addr::UNSPECIFIED.into()));
    let authorization = request.headers().get(AUTHORIZATION);
    let claim =
        gate.check_authorization(clock::now(), from, authorization.map(HeaderValue::as_bytes));
    match claim {
        Claim::Basic(Verdict::Granted) => next.run(request).await,
        Claim::Anonymous if is_public(request.method(), request.uri().path()) => {
            next.run(request).await
        }
        Claim::Anonymous | Claim::Basic(Verdict::Wrong) => unauthorized(request.headers()),
        Claim::Basic(Verdict::NotChecked { retry_after }) => {
            let mut response = unauthorized(request.headers());
            let seconds = retry_after.as_secs().saturating_add(1);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
    }
}

fn is_public(method: &Method, path: &str) -> bool {
    (method == Method::GET || method == Method::HEAD)
        && matches!(
            path,
            "/openvidu/api/config/openvidu-publicurl" | "/openvidu/accept-certificate"
        )
}

/// The challenge stays away from scripts, so that browsers do not raise a password dialog over a page.
fn unauthorized(request: &HeaderMap) -> Response {
    let mut response = StatusCode::UNAUTHORIZED.into_response();
    let from_script = request
        .get("x-requested-with")
        .is_some_and(|value| value == "XMLHttpRequest");
    if !from_script {
        response.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Basic realm=\"Realm\""),
        );
    }
    response
}
