//! Web pages embedded in the binary.
//!
//! `embedded/` is what `scripts/ui` builds before the crate is compiled. Only what was embedded can be named by a
//! path, so no request can reach a file of the machine.

mod asset;

use axum::Router;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use axum::response::IntoResponse as _;
use rust_embed::RustEmbed;

use asset::Asset;

#[derive(RustEmbed)]
#[folder = "src/front/dashboard/embedded/"]
struct Embedded;

/// Shown on `/` when the crate was compiled before the page was built.
const PLACEHOLDER: &str = "<!DOCTYPE html>
<html lang=\"en\"><head><meta charset=\"utf-8\"><title>hanok</title></head>
<body><h1>hanok is running</h1>
<p>This binary was built without its web page. <code>scripts/ui</code> builds the page, <code>scripts/run</code> builds
page and binary together. The REST API and signalling work as they are.</p></body></html>
";

/// No inline script or style, nothing from elsewhere. Signalling may be on another name of this server than the page
/// (the token says which), hence `wss:`; virtual backgrounds and recorders need workers and blobs.
const CONTENT_POLICY: &str = "default-src 'self'; connect-src 'self' wss:; img-src 'self' data: blob:; \
     media-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// The built-in call page on `/` and the files beside it.
pub fn call_page() -> Router {
    Router::new().fallback(answer)
}

async fn answer(method: Method, uri: Uri, headers: HeaderMap) -> axum::response::Response {
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")]).into_response();
    }
    match find(uri.path()) {
        Some(asset) => respond(asset, headers.get(IF_NONE_MATCH)),
        None => (StatusCode::NOT_FOUND, "Not found\n").into_response(),
    }
}

fn find(path: &str) -> Option<Asset> {
    let name = match path {
        "/" => "index.html",
        other => other.strip_prefix('/')?,
    };
    match Embedded::get(&format!("call/{name}")) {
        Some(file) => Some(Asset::embedded(name, file)),
        None if path == "/" => Some(Asset::text("index.html", PLACEHOLDER)),
        None => None,
    }
}

fn respond(asset: Asset, if_none_match: Option<&HeaderValue>) -> axum::response::Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (ETAG, asset.etag.clone()),
        (CACHE_CONTROL, HeaderValue::from_static(asset.cache_control)),
        (CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(CONTENT_POLICY),
        ),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    let body = if asset.is_known_to(if_none_match) {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(axum::body::Body::from(asset.bytes))
    };
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;

    async fn ask(request: Request<Body>) -> axum::response::Response {
        call_page().oneshot(request).await.unwrap()
    }

    async fn get(path: &str) -> axum::response::Response {
        ask(Request::get(path).body(Body::empty()).unwrap()).await
    }

    #[tokio::test]
    async fn the_front_page_is_html_without_inline_scripts_and_is_revalidated() {
        let response = get("/").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(!policy.contains("unsafe"), "{policy}");
        let etag = response.headers()[ETAG].clone();
        let again = Request::get("/")
            .header(IF_NONE_MATCH, etag)
            .body(Body::empty())
            .unwrap();
        let again = ask(again).await;
        assert_eq!(again.status(), 304);
        assert!(to_bytes(again.into_body(), 10).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn every_embedded_file_of_the_page_is_served_with_its_type() {
        for name in Embedded::iter().filter(|name| name.starts_with("call/")) {
            let path = name.strip_prefix("call").unwrap();
            let response = get(path).await;
            assert_eq!(response.status(), 200, "{path}");
            assert_ne!(
                response.headers()[CONTENT_TYPE],
                "application/octet-stream",
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn nothing_but_embedded_files_can_be_named() {
        for path in [
            "/../mod.rs",
            "/..%2fmod.rs",
            "/%2e%2e/mod.rs",
            "//etc/passwd",
            "/.gitkeep",
            "/../.gitkeep",
            "/call/index.html",
            "/index.html/",
            "/assets",
            "/nothing",
        ] {
            assert_eq!(get(path).await.status(), 404, "{path}");
        }
    }

    #[tokio::test]
    async fn only_reading_is_allowed() {
        let post = Request::post("/").body(Body::empty()).unwrap();
        assert_eq!(ask(post).await.status(), 405);
        let head = Request::head("/").body(Body::empty()).unwrap();
        assert_eq!(ask(head).await.status(), 200);
    }
}
