//! `/openvidu/accept-certificate`: a page to visit once so that the browser accepts a self-signed certificate.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;

const SCRIPT: &str = "history.back()";

/// The one script of the page is allowed by its digest, so that nothing else can run.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = digest::digest(&digest::SHA256, SCRIPT.as_bytes());
    let digest = base64::engine::general_purpose::STANDARD.encode(digest);
    HeaderValue::from_str(&format!(
        "default-src 'none'; script-src 'sha256-{digest}'; frame-ancestors 'none'"
    ))
    .expect("base64 and ASCII make a header value")
});

/// Whoever sees the page has accepted the certificate, and is sent back to where they came from.
pub(super) async fn page() -> Response {
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Certificate accepted</title></head>\
         <body><p>The certificate is accepted. You can go back.</p><script>{SCRIPT}</script></body></html>"
    );
    ([(CONTENT_SECURITY_POLICY, POLICY.clone())], Html(page)).into_response()
}
