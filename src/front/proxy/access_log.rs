//! The access log: one line for each request, in the combined format with `X-Forwarded-For` behind it
//! (`openvidu-deployment` section 6.3).

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use axum::http::header::{REFERER, USER_AGENT};
use axum::http::{HeaderMap, Method, StatusCode, Uri, Version};

use super::http_date::log_date;

/// Where the lines go: `access=off` in `HANOK_LOG` silences them.
pub const TARGET: &str = "access";

/// Characters of one field that are shown.
const MAX_FIELD: usize = 512;

/// What is known of a request before it is answered.
#[derive(Debug, Clone)]
pub struct Entry {
    remote: IpAddr,
    secs: u64,
    request: String,
    referer: String,
    agent: String,
    forwarded_for: String,
}

impl Entry {
    /// Takes what is logged of a request. Queries are left out: tokens and the secret travel in them.
    pub fn new(
        remote: IpAddr,
        secs: u64,
        (method, uri, version): (&Method, &Uri, Version),
        headers: &HeaderMap,
    ) -> Self {
        let field = |name: &str| {
            let value = headers
                .get(name)
                .map_or(&b"-"[..], |value| value.as_bytes());
            escaped(value)
        };
        let without_query = |text: String| match text.split_once('?') {
            Some((path, _)) => format!("{path}?"),
            None => text,
        };
        let query = if uri.query().is_some() { "?" } else { "" };
        let path = escaped(uri.path().as_bytes());
        Self {
            remote,
            secs,
            request: format!("{method} {path}{query} {version:?}"),
            referer: without_query(field(REFERER.as_str())),
            agent: field(USER_AGENT.as_str()),
            forwarded_for: field("x-forwarded-for"),
        }
    }

    /// The line, once the answer is known.
    pub fn line(&self, status: StatusCode, bytes: u64) -> String {
        format!(
            "{} - - [{}] \"{}\" {} {bytes} \"{}\" \"{}\" \"{}\"",
            self.remote,
            log_date(self.secs),
            self.request,
            status.as_u16(),
            self.referer,
            self.agent,
            self.forwarded_for,
        )
    }
}

/// Bytes from outside as they may stand in a line: nobody can begin a new one, or end a field.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().min(MAX_FIELD));
    for byte in bytes.iter().take(MAX_FIELD) {
        // Writing to a string does not fail.
        let _: fmt::Result = match byte {
            b'"' | b'\\' | 0..=31 | 127.. => write!(text, "\\x{byte:02X}"),
            printable => text.write_char(char::from(*printable)),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn line(uri: &str, headers: &HeaderMap) -> String {
        let uri = uri.parse().unwrap();
        let remote = "2001:db8::7".parse().unwrap();
        Entry::new(
            remote,
            784_111_777,
            (&Method::GET, &uri, Version::HTTP_11),
            headers,
        )
        .line(StatusCode::OK, 1234)
    }

    #[test]
    fn a_line_is_in_the_combined_format_with_the_forwarded_addresses() {
        let headers = HeaderMap::from_iter([
            (
                REFERER,
                HeaderValue::from_static("https://a.example/?token=tok_1"),
            ),
            (USER_AGENT, HeaderValue::from_static("curl/8 \"x\"")),
            (
                "x-forwarded-for".parse().unwrap(),
                HeaderValue::from_static("198.51.100.7"),
            ),
        ]);
        assert_eq!(
            line("/openvidu?secret=s3cret&token=tok_1", &headers),
            "2001:db8::7 - - [06/Nov/1994:08:49:37 +0000] \"GET /openvidu? HTTP/1.1\" 200 1234 \
             \"https://a.example/?\" \"curl/8 \\x22x\\x22\" \"198.51.100.7\""
        );
        assert!(
            line("/", &HeaderMap::new()).ends_with("\"GET / HTTP/1.1\" 200 1234 \"-\" \"-\" \"-\"")
        );
    }

    proptest! {
        #[test]
        fn nobody_can_forge_a_line(agent in proptest::collection::vec(32u8..=255, 0..2000)) {
            if let Ok(agent) = HeaderValue::from_bytes(&agent) {
                let line = line("/", &HeaderMap::from_iter([(USER_AGENT, agent)]));
                prop_assert!(line.len() < 5000);
                prop_assert_eq!(line.matches('"').count(), 8);
                prop_assert!(line.bytes().all(|byte| (32..127).contains(&byte)));
            }
        }
    }
}
