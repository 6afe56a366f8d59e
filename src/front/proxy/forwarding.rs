//! What changes in the headers of a request that goes on to an upstream, and of the response that comes back
//! (RFC 9110 section 7.6, `openvidu-deployment` section 6.3).

use std::net::IpAddr;

use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, SERVER, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers of one hop (RFC 9110 section 7.6.1), whether or not `Connection` names them.
const HOP_BY_HOP: [HeaderName; 6] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether that is one of `HANOK_TRUSTED_PROXIES`, whose forwarding headers are believed.
    pub trusted: bool,
    /// The client, as `headers::remote_addr` found it.
    pub remote: IpAddr,
    /// Whether we ended TLS ourselves.
    pub https: bool,
    /// What the client calls us.
    pub host: &'a Authority,
}

/// Why a request is refused before anybody else sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// HTTP/1.1 needs a Host header, and one only (RFC 9112 section 3.2).
    #[error("no Host header, or more than one")]
    Host,
    /// The host is no host.
    #[error("the Host header cannot be read")]
    HostSyntax,
    /// The target is neither a path nor an absolute URL.
    #[error("the request target is no path")]
    Target,
    /// A method that no origin server is asked with.
    #[error("CONNECT and TRACE are not forwarded")]
    Method,
}

impl BadRequest {
    /// What the client is told.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Host | Self::HostSyntax | Self::Target => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

/// Which host a request is for: the target's own, else the `Host` header's. `None` is an HTTP/1.0 client that says
/// nothing.
///
/// # Errors
/// The request must not be forwarded: two readers could take it for two things.
pub fn host(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
) -> Result<Option<Authority>, BadRequest> {
    if method == Method::CONNECT || method == Method::TRACE {
        return Err(BadRequest::Method);
    }
    if !uri.path().starts_with('/') {
        return Err(BadRequest::Target);
    }
    let mut lines = headers.get_all(HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(BadRequest::Host);
    }
    let authority = match (uri.authority(), line) {
        (Some(authority), _) => authority.clone(),
        (None, Some(line)) => {
            Authority::try_from(line.as_bytes()).map_err(|_| BadRequest::HostSyntax)?
        }
        (None, None) if version == Version::HTTP_10 => return Ok(None),
        (None, None) => return Err(BadRequest::Host),
    };
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(BadRequest::HostSyntax);
    }
    Ok(Some(authority))
}

/// The protocol that a client wants to change to (RFC 9110 section 7.8).
///
/// None of those that carry requests: in a tunnel to an application that speaks HTTP/2 nobody would look at them any
/// more, and they could name any path and any client.
pub fn wanted_upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = version == Version::HTTP_11
        && connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let mut lines = headers.get_all(UPGRADE).iter();
    let (Some(protocol), None) = (lines.next().filter(|_| asked), lines.next()) else {
        return None;
    };
    let carries_requests = |name: &str| {
        let name = name.trim().to_ascii_lowercase();
        name == "h2c" || name == "h2" || name.starts_with("http/") || name.starts_with("tls/")
    };
    let is_fine = !protocol.to_str().ok()?.split(',').any(carries_requests);
    is_fine.then(|| protocol.clone())
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}

/// Removes what was meant for us alone. `Connection` cannot name away what frames the message or addresses it.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers)
        .filter_map(|option| option.parse().ok())
        .filter(|name| ![HOST, CONTENT_LENGTH].contains(name))
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Makes a client's headers those that the upstream gets.
///
/// What tells of the client is ours: from whom we do not trust, every forwarding header is dropped. Names with
/// underscores are dropped as nginx does, since CGI and WSGI take `X_Real_IP` for `X-Real-IP`.
pub fn to_upstream(headers: &mut HeaderMap, via: &Via<'_>, upgrade: Option<HeaderValue>) {
    remove_hop_by_hop(headers);
    headers.remove(EXPECT);
    headers.remove(HTTP2_SETTINGS);
    let dropped: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().contains('_') || (!via.trusted && is_forwarding(name)))
        .cloned()
        .collect();
    for name in dropped {
        headers.remove(name);
    }
    join_cookies(headers);
    let chain = forwarded_for(headers, via);
    headers.insert(X_FORWARDED_FOR, text(&chain));
    headers.insert(X_REAL_IP, text(&via.remote.to_string()));
    let proto = if via.https { "https" } else { "http" };
    if via.https
        || !is_one_of(
            headers.get_all(X_FORWARDED_PROTO).iter(),
            &["http", "https"],
        )
    {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    }
    headers
        .entry(X_FORWARDED_HOST)
        .or_insert_with(|| text(via.host.as_str()));
    headers.insert(HOST, text(&via.host.host().to_ascii_lowercase()));
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

fn is_forwarding(name: &HeaderName) -> bool {
    name == FORWARDED || name == X_REAL_IP || name.as_str().starts_with("x-forwarded-")
}

/// Whether there is exactly one line, and it is one of `known`.
fn is_one_of<'a>(mut lines: impl Iterator<Item = &'a HeaderValue>, known: &[&str]) -> bool {
    let line = lines.next().and_then(|line| line.to_str().ok());
    line.is_some_and(|line| known.contains(&line)) && lines.next().is_none()
}

/// The list that a trusted proxy sent, with that proxy at its end; without one, the client and then the proxy.
fn forwarded_for(headers: &HeaderMap, via: &Via<'_>) -> String {
    let mut chain: Vec<String> = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|line| Some(line.to_str().ok()?.trim().to_owned()))
        .filter(|line| !line.is_empty())
        .collect();
    if chain.is_empty() && via.remote != via.peer {
        chain.push(via.remote.to_string());
    }
    chain.push(via.peer.to_string());
    chain.join(", ")
}

/// HTTP/2 sends a cookie header in pieces, which HTTP/1.1 does not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// Makes an upstream's headers those that the client gets; redirects and cookies pass unchanged. Which server the
/// application runs on is nobody's business.
pub fn to_client(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    headers.remove(SERVER);
}

/// A header value of what was a header value or an address before.
fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        lines.sort();
        lines
    }

    fn via(host: &Authority, trusted: bool) -> Via<'_> {
        Via {
            peer: "203.0.113.9".parse().unwrap(),
            trusted,
            remote: if trusted {
                "198.51.100.7".parse().unwrap()
            } else {
                "203.0.113.9".parse().unwrap()
            },
            https: !trusted,
            host,
        }
    }

    fn sent(trusted: bool, given: &[(&str, &str)]) -> Vec<String> {
        let host: Authority = "Call.Example:4443".parse().unwrap();
        let mut headers = map(given);
        to_upstream(&mut headers, &via(&host, trusted), None);
        lines(&headers)
    }

    #[test]
    fn what_a_client_says_about_itself_is_replaced() {
        assert_eq!(
            sent(
                false,
                &[
                    ("host", "Call.Example:4443"),
                    ("x-forwarded-for", "127.0.0.1"),
                    ("x-real-ip", "127.0.0.1"),
                    ("x-forwarded-proto", "gopher"),
                    ("x-forwarded-host", "evil.example"),
                    ("x-forwarded-prefix", "/evil"),
                    ("forwarded", "for=127.0.0.1"),
                    ("x_real_ip", "127.0.0.1"),
                    ("x-kept", "1"),
                    ("authorization", "Basic eDp5"),
                ]
            ),
            [
                "authorization: Basic eDp5",
                "host: call.example",
                "x-forwarded-for: 203.0.113.9",
                "x-forwarded-host: Call.Example:4443",
                "x-forwarded-proto: https",
                "x-kept: 1",
                "x-real-ip: 203.0.113.9",
            ]
        );
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept_and_continued() {
        assert_eq!(
            sent(
                true,
                &[
                    ("host", "inner"),
                    ("x-forwarded-for", "1.1.1.1, 198.51.100.7"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "shop.example"),
                    ("x-forwarded-port", "8443"),
                ]
            ),
            [
                "host: call.example",
                "x-forwarded-for: 1.1.1.1, 198.51.100.7, 203.0.113.9",
                "x-forwarded-host: shop.example",
                "x-forwarded-port: 8443",
                "x-forwarded-proto: https",
                "x-real-ip: 198.51.100.7",
            ]
        );
        let named_otherwise = sent(
            true,
            &[("x-real-ip", "198.51.100.7"), ("x-forwarded-proto", "ftp")],
        );
        assert!(named_otherwise.contains(&"x-forwarded-for: 198.51.100.7, 203.0.113.9".to_owned()));
        assert!(named_otherwise.contains(&"x-forwarded-proto: http".to_owned()));
    }

    #[test]
    fn headers_of_one_hop_do_not_travel_and_cannot_take_ours_away() {
        assert_eq!(
            sent(
                false,
                &[
                    (
                        "connection",
                        "close, X-Hop, x-real-ip, host, content-length"
                    ),
                    ("connection", "x-forwarded-for"),
                    ("keep-alive", "timeout=5"),
                    ("proxy-connection", "keep-alive"),
                    ("te", "trailers"),
                    ("transfer-encoding", "chunked"),
                    ("upgrade", "h2c"),
                    ("expect", "100-continue"),
                    ("x-hop", "1"),
                    ("content-length", "3"),
                ]
            ),
            [
                "content-length: 3",
                "host: call.example",
                "x-forwarded-for: 203.0.113.9",
                "x-forwarded-host: Call.Example:4443",
                "x-forwarded-proto: https",
                "x-real-ip: 203.0.113.9",
            ]
        );
    }

    #[test]
    fn an_upgrade_is_asked_for_in_our_own_words() {
        let host: Authority = "call.example".parse().unwrap();
        let mut headers = map(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "eDp5"),
        ]);
        let upgrade = wanted_upgrade(Version::HTTP_11, &headers);
        assert_eq!(upgrade.as_ref().unwrap(), "websocket");
        assert_eq!(wanted_upgrade(Version::HTTP_2, &headers), None);
        assert_eq!(
            wanted_upgrade(Version::HTTP_11, &map(&[("upgrade", "h2c")])),
            None
        );
        for refused in ["h2c", "websocket, H2C", "HTTP/2.0", "TLS/1.2", "\u{e9}"] {
            let lines = [("connection", "upgrade"), ("upgrade", refused)];
            assert_eq!(
                wanted_upgrade(Version::HTTP_11, &map(&lines)),
                None,
                "{refused}"
            );
        }
        let twice = [
            ("connection", "upgrade"),
            ("upgrade", "a"),
            ("upgrade", "b"),
        ];
        assert_eq!(wanted_upgrade(Version::HTTP_11, &map(&twice)), None);
        to_upstream(&mut headers, &via(&host, false), upgrade);
        assert_eq!(headers[CONNECTION], "upgrade");
        assert_eq!(headers[UPGRADE], "websocket");
        assert_eq!(headers["sec-websocket-key"], "eDp5");
    }

    #[test]
    fn cookies_of_http_2_become_one_header() {
        let sent = sent(
            false,
            &[("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")],
        );
        assert!(
            sent.contains(&"cookie: a=1; b=2; c=3; d=4".to_owned()),
            "{sent:?}"
        );
    }

    #[test]
    fn an_answer_keeps_its_redirect_and_cookies_and_loses_its_hop_and_server() {
        let mut headers = map(&[
            ("server", "Apache/2.4.1"),
            ("connection", "keep-alive, x-hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("location", "http://127.0.0.1:8080/login"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("x-powered-by", "Express"),
            ("content-length", "0"),
        ]);
        to_client(&mut headers);
        assert_eq!(
            lines(&headers),
            [
                "content-length: 0",
                "location: http://127.0.0.1:8080/login",
                "set-cookie: a=1",
                "set-cookie: b=2",
                "x-powered-by: Express",
            ]
        );
    }

    #[test]
    fn a_request_without_one_readable_host_and_path_is_refused() {
        let ask = |method: Method, uri: &str, version, given: &[(&str, &str)]| {
            host(&method, &uri.parse().unwrap(), version, &map(given))
        };
        let get = |uri, given: &[(&str, &str)]| ask(Method::GET, uri, Version::HTTP_11, given);
        let named = |name: &str| Ok(Some(name.parse::<Authority>().unwrap()));
        assert_eq!(
            get("/", &[("host", "a.example:4443")]),
            named("a.example:4443")
        );
        assert_eq!(
            get("/", &[("host", "[2001:db8::1]:80")]),
            named("[2001:db8::1]:80")
        );
        // The target decides over the header (RFC 9112 section 3.2.2).
        assert_eq!(
            get("http://b.example/", &[("host", "a.example")]),
            named("b.example")
        );
        assert_eq!(get("/", &[]), Err(BadRequest::Host));
        assert_eq!(ask(Method::GET, "/", Version::HTTP_10, &[]), Ok(None));
        assert_eq!(
            get("/", &[("host", "a"), ("host", "a")]),
            Err(BadRequest::Host)
        );
        for bad in ["", "a b", "a/b", "user@a", "a, b", "[::1", "\u{e9}"] {
            assert_eq!(
                get("/", &[("host", bad)]),
                Err(BadRequest::HostSyntax),
                "{bad}"
            );
        }
        assert_eq!(get("*", &[("host", "a")]), Err(BadRequest::Target));
        for method in [Method::CONNECT, Method::TRACE] {
            let refused = ask(method, "/", Version::HTTP_11, &[("host", "a")]).unwrap_err();
            assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_the_upstream_learns_one_truth(
            given in proptest::collection::vec(
                ("(x-forwarded-for|x-real-ip|connection|forwarded|host|x_real_ip|upgrade|cookie)", "[ -~]{0,30}"), 0..12)
        ) {
            let given: Vec<_> = given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let sent = sent(false, &given);
            let count = |prefix: &str| sent.iter().filter(|line| line.starts_with(prefix)).count();
            prop_assert_eq!(count("x-forwarded-for: 203.0.113.9"), 1);
            prop_assert_eq!(count("x-real-ip: 203.0.113.9"), 1);
            prop_assert_eq!(count("host: call.example"), 1);
            for gone in ["connection", "forwarded", "upgrade", "x_real_ip"] {
                prop_assert_eq!(count(gone), 0);
            }
            prop_assert!(count("cookie: ") <= 1);
        }
    }
}
