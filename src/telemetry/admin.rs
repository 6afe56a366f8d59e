//! The admin listener's questions (design section 5): `/metrics`, `/healthz`, `/readyz`, and who may ask them.
//!
//! It only shows and changes nothing, so it asks for no password; it listens on this machine unless the operator says
//! otherwise. A web page that somebody on this machine has open must not read it either: by DNS rebinding such a page
//! reaches any local port, but it cannot choose the `Host` that the browser sends, which is the attacker's own name.

use std::net::IpAddr;

use http::header::{ACCEPT, ALLOW, HOST};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};

use super::exposition::Format;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `/metrics`.
    Metrics(Format),
    /// `/healthz`: do all threads do their work?
    Health,
    /// `/readyz`: does it take new sessions?
    Readiness,
}

/// Why nothing is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another path.
    #[error("there are /metrics, /healthz and /readyz")]
    NotFound,
    /// Another method than GET and HEAD.
    #[error("this can only be read")]
    Method,
    /// No `Host`, or several.
    #[error("the request names no host")]
    NoHost,
    /// Some other host's name.
    #[error("ask by an address of this machine, its name, DOMAIN_OR_PUBLIC_IP, or localhost")]
    ForeignHost,
}

impl Refusal {
    /// Its HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoHost => StatusCode::BAD_REQUEST,
            // As those answer who know nothing of that host (RFC 9110 section 15.5.20).
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    /// The answer.
    pub fn response(self) -> Response<String> {
        let mut response = text(self.status(), format!("{self}\n"));
        if self == Self::Method {
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
        }
        response
    }
}

/// Reads a request; `own_names` are those of this machine.
///
/// # Errors
/// It is none of the three, or somebody asks for another host.
pub fn question(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    own_names: &[String],
) -> Result<Question, Refusal> {
    let mut named = headers.get_all(HOST).iter();
    let host = match (named.next(), named.next()) {
        (Some(host), None) => host.to_str().map_err(|_| Refusal::NoHost)?,
        _ => return Err(Refusal::NoHost),
    };
    if !is_ours(host, own_names) || uri.authority().is_some_and(|uri| uri.as_str() != host) {
        return Err(Refusal::ForeignHost);
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(Refusal::Method);
    }
    match uri.path() {
        "/metrics" => {
            let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
            Ok(Question::Metrics(Format::wanted(
                accept.unwrap_or_default(),
            )))
        }
        "/healthz" => Ok(Question::Health),
        "/readyz" => Ok(Question::Readiness),
        _ => Err(Refusal::NotFound),
    }
}

/// Whether `host`, with or without a port, is a name that nobody else can give to one of our addresses.
fn is_ours(host: &str, own_names: &[String]) -> bool {
    let host = match host.rsplit_once(':') {
        // The last colon of a bare IPv6 address ends no host.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            if !port.bytes().all(|byte| byte.is_ascii_digit()) {
                return false;
            }
            host
        }
        _ => host,
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || own_names
            .iter()
            .any(|own| !own.is_empty() && host.eq_ignore_ascii_case(own))
}

/// The answer to `/healthz` and `/readyz`: 200, or 503 with a line for everything that is wrong.
pub fn verdict(problems: &[String]) -> Response<String> {
    if problems.is_empty() {
        text(StatusCode::OK, "ok\n".to_owned())
    } else {
        let lines = problems.join("\n") + "\n";
        text(StatusCode::SERVICE_UNAVAILABLE, lines)
    }
}

/// A text that nobody keeps.
fn text(status: StatusCode, text: String) -> Response<String> {
    with_type(status, "text/plain; charset=utf-8", text)
}

/// The answer to `/metrics`.
pub fn metrics(format: Format, text: String) -> Response<String> {
    with_type(StatusCode::OK, format.content_type(), text)
}

fn with_type(status: StatusCode, content_type: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    for (name, value) in [
        (http::header::CONTENT_TYPE, content_type),
        (http::header::CACHE_CONTROL, "no-store"),
        (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn own_names() -> [String; 3] {
        ["call-1", "", "call.example"].map(str::to_owned)
    }

    fn asked(
        method: &Method,
        uri: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Question, Refusal> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()));
        // `extend` keeps several values of one name.
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let _: bool = map.append::<http::HeaderName>(name, value);
        }
        question(method, &uri.parse().unwrap(), &map, &own_names())
    }

    #[test]
    fn three_paths_can_be_read() {
        let host = [("host", "127.0.0.1:9641")];
        for (path, question) in [
            ("/metrics", Question::Metrics(Format::Prometheus)),
            ("/metrics?name[]=x", Question::Metrics(Format::Prometheus)),
            ("/healthz", Question::Health),
            ("/readyz", Question::Readiness),
        ] {
            assert_eq!(asked(&Method::GET, path, &host), Ok(question));
            assert_eq!(asked(&Method::HEAD, path, &host), Ok(question));
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                assert_eq!(asked(&method, path, &host), Err(Refusal::Method));
            }
        }
        for path in ["/", "/metrics/", "/Metrics", "/healthz/x", "//metrics"] {
            assert_eq!(asked(&Method::GET, path, &host), Err(Refusal::NotFound));
        }
        let accept = [
            ("host", "localhost"),
            ("accept", "application/openmetrics-text"),
        ];
        let wanted = Question::Metrics(Format::OpenMetrics);
        assert_eq!(asked(&Method::GET, "/metrics", &accept), Ok(wanted));
    }

    #[test]
    fn who_comes_by_a_name_that_anybody_may_have_gets_nothing() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9641",
            "[::1]:9641",
            "[2001:db8::1]",
            "192.168.1.4:80",
            "localhost",
            "LocalHost:9641",
            "call-1",
            "CALL-1:9641",
            "call.example:9641",
        ] {
            let asked = asked(&Method::GET, "/healthz", &[("host", host)]);
            assert_eq!(asked, Ok(Question::Health), "{host}");
        }
        for host in [
            "rebound.example",
            "rebound.example:9641",
            "127.0.0.1.rebound.example",
            "localhost.rebound.example",
            "127.0.0.1:9641.rebound.example",
            "127.0.0.1@rebound.example",
            "[::1].rebound.example:9641",
            "call-1.example",
            "",
            ":9641",
        ] {
            let asked = asked(&Method::GET, "/healthz", &[("host", host)]);
            assert_eq!(asked, Err(Refusal::ForeignHost), "{host}");
        }
        assert_eq!(
            asked(&Method::GET, "/healthz", &[]),
            Err(Refusal::NoHost),
            "a request of HTTP/1.0"
        );
        let two = [("host", "127.0.0.1"), ("host", "rebound.example")];
        assert_eq!(asked(&Method::GET, "/healthz", &two), Err(Refusal::NoHost));
        let absolute = "http://rebound.example/healthz";
        assert_eq!(
            asked(&Method::GET, absolute, &[("host", "127.0.0.1")]),
            Err(Refusal::ForeignHost)
        );
    }

    #[test]
    fn what_is_wrong_is_said_line_by_line() {
        assert_eq!(verdict(&[]).status(), StatusCode::OK);
        let problems = ["worker 1 does not answer", "draining"].map(str::to_owned);
        let wrong = verdict(&problems);
        assert_eq!(wrong.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(wrong.body(), "worker 1 does not answer\ndraining\n");
        assert_eq!(
            Refusal::Method.response().headers().get(ALLOW).unwrap(),
            "GET, HEAD"
        );
    }

    proptest! {
        #[test]
        fn a_host_with_a_dotted_name_is_never_ours(host in "[a-z0-9.:\\[\\]-]{0,20}\\.[a-z]{2,9}(:[0-9]{1,5})?") {
            prop_assert!(!is_ours(&host, &["call-1".to_owned()]));
        }
    }
}
