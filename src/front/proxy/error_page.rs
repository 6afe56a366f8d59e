//! Pages for what goes wrong in the proxy itself; what an application answers is never replaced.

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode};

/// The page for 404 in `HANOK_ERROR_PAGES`.
pub const NOT_FOUND_FILE: &str = "404.html";

/// The page for 500, 502, 503 and 504 there.
pub const SERVER_ERROR_FILE: &str = "50x.html";

/// The operator's own pages, where there are any; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ErrorPages {
    /// For 404.
    pub not_found: Option<Bytes>,
    /// For 500, 502, 503 and 504.
    pub server_error: Option<Bytes>,
}

impl ErrorPages {
    /// Whether the operator has a page of his own for `status`.
    pub fn own(&self, status: StatusCode) -> Option<&Bytes> {
        match status.as_u16() {
            404 => self.not_found.as_ref(),
            500 | 502..=504 => self.server_error.as_ref(),
            _ => None,
        }
    }

    /// A response with the page for `status`.
    pub fn response(&self, status: StatusCode) -> Response<Body> {
        let page = match self.own(status) {
            Some(own) => Body::from(own.clone()),
            None => Body::from(built_in(status)),
        };
        let mut response = Response::new(page);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        headers.insert(CONTENT_TYPE, html);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn built_in(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    let advice = match status.as_u16() {
        502 | 504 => {
            "<p>The application behind this address does not answer. Please try again in a moment.</p>\n"
        }
        503 => "<p>Too many requests wait at the moment. Please try again in a moment.</p>\n",
        _ => "",
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{status}</title></head>\n\
         <body><h1>{code} {reason}</h1>\n{advice}</body></html>\n",
        code = status.as_u16(),
    )
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn page(pages: &ErrorPages, status: u16) -> String {
        let response = pages.response(StatusCode::from_u16(status).unwrap());
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn an_operators_page_is_shown_for_its_statuses_and_ours_for_the_others() {
        let pages = ErrorPages {
            not_found: Some("lost".into()),
            server_error: Some("down".into()),
        };
        assert_eq!(page(&pages, 404).await, "lost");
        for status in [500, 502, 503, 504] {
            assert_eq!(page(&pages, status).await, "down");
            assert!(
                page(&ErrorPages::default(), status)
                    .await
                    .contains(&status.to_string())
            );
        }
        assert!(page(&pages, 413).await.contains("413 Payload Too Large"));
        assert!(page(&pages, 501).await.contains("501"));
    }
}
