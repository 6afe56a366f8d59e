//! Cross-origin requests (section 1.5): open to every origin, never with credentials of the browser's own.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Answers preflights before authentication and marks every other answer as readable from every origin.
pub(super) async fn allow_every_origin(request: Request, next: Next) -> Response {
    let mut response = match preflight(request.method(), request.headers()) {
        Some(response) => response,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.append(
        VARY,
        HeaderValue::from_static(
            "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ),
    );
    response
}

fn preflight(method: &Method, request: &HeaderMap) -> Option<Response> {
    let wanted_method = request.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    if method != Method::OPTIONS || !request.contains_key(ORIGIN) {
        return None;
    }
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, wanted_method.clone());
    for wanted in request.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.append(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    Some(response)
}
