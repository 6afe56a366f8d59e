//! Who the client is, and the headers that every answer of ours carries.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{
    FORWARDED, STRICT_TRANSPORT_SECURITY, VIA, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    X_XSS_PROTECTION,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::units::RemoteAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Who has sent a request, as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Who is at the other end of the connection.
    Direct(IpAddr),
    /// Whom a trusted proxy names.
    Forwarded(IpAddr),
    /// Somebody behind the trusted proxy with this address, which does not say who.
    Unnamed(IpAddr),
}

impl Sender {
    /// The client's address; of a client that nobody names, its proxy's.
    pub const fn address(self) -> RemoteAddr {
        match self {
            Self::Direct(address) | Self::Forwarded(address) | Self::Unnamed(address) => {
                RemoteAddr(address)
            }
        }
    }
}

/// Decides who the client is (`robustness` S25): the socket's address; or, if that is one of `trusted`
/// (`HANOK_TRUSTED_PROXIES`), the right-most element of `X-Forwarded-For` that is not; else `X-Real-IP`.
///
/// Elements further left are whatever the client wrote, so an unreadable right-most one ends the search instead of
/// being skipped. What comes from this machine without a trace of a proxy is a program on it.
pub fn sender(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Sender {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return Sender::Direct(peer);
    }
    let named = forwarded_for(headers, trusted).or_else(|| real_ip(headers));
    match named {
        Some(client) => Sender::Forwarded(client),
        None if peer.is_loopback() && !came_through_proxy(headers) => Sender::Direct(peer),
        None => Sender::Unnamed(peer),
    }
}

/// Whether any of the headers is there that proxies add to what they pass on.
fn came_through_proxy(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        *name == X_REAL_IP
            || *name == FORWARDED
            || *name == VIA
            || name.as_str().starts_with("x-forwarded-")
    })
}

/// Whether `address` is one of `trusted`.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted
        .iter()
        .any(|network| network.contains(&address.to_canonical()))
}

fn forwarded_for(headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .rev()
        .flat_map(|line| line.to_str().unwrap_or("unreadable").rsplit(','))
        .map(address)
        .find(|element| element.is_none_or(|element| !is_trusted(element, trusted)))
        .flatten()
}

fn real_ip(headers: &HeaderMap) -> Option<IpAddr> {
    address(headers.get(X_REAL_IP)?.to_str().ok()?)
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            inner.parse().ok()
        })
        .map(|address| address.to_canonical())
}

/// Adds what browsers need to be told of pages of ours, where the service has not said it itself. An application's
/// answers stay as they are: it may want to be framed.
pub fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_XSS_PROTECTION, "0"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

/// Adds `HTTPS_HSTS`, unless the application says it itself. Only over a connection whose certificate browsers trust:
/// with a self-signed one the header would take away the only way past the warning.
pub fn add_hsts(headers: &mut HeaderMap, hsts: Option<&HeaderValue>) {
    if let Some(hsts) = hsts {
        headers
            .entry(STRICT_TRANSPORT_SECURITY)
            .or_insert_with(|| hsts.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Line<'a> = (&'static str, &'a str);

    fn decide(peer: &str, lines: &[Line<'_>]) -> String {
        who(peer, lines).address().0.to_string()
    }

    fn who(peer: &str, lines: &[Line<'_>]) -> Sender {
        let trusted: Vec<IpNet> = ["127.0.0.1/32", "::1/128", "10.0.0.0/8"]
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        sender(peer.parse().unwrap(), &headers, &trusted)
    }

    #[test]
    fn the_socket_decides_unless_it_is_a_trusted_proxy() {
        const XFF: &str = "x-forwarded-for";
        const REAL: &str = "x-real-ip";
        let rows: &[(&str, &[Line<'_>], &str)] = &[
            ("203.0.113.9", &[], "203.0.113.9"),
            // Spoofed by a client that talks to us directly.
            (
                "203.0.113.9",
                &[(XFF, "127.0.0.1"), (REAL, "127.0.0.1")],
                "203.0.113.9",
            ),
            (
                "203.0.113.9",
                &[("forwarded", "for=127.0.0.1")],
                "203.0.113.9",
            ),
            // One proxy.
            ("127.0.0.1", &[(XFF, "198.51.100.1")], "198.51.100.1"),
            ("::1", &[(XFF, "2001:db8::1")], "2001:db8::1"),
            ("::ffff:127.0.0.1", &[(XFF, "198.51.100.1")], "198.51.100.1"),
            // The client wrote the left part itself.
            (
                "127.0.0.1",
                &[(XFF, "127.0.0.1, 198.51.100.1")],
                "198.51.100.1",
            ),
            (
                "127.0.0.1",
                &[(XFF, "1.1.1.1,198.51.100.1")],
                "198.51.100.1",
            ),
            // Two proxies, both ours; and two header lines.
            (
                "127.0.0.1",
                &[(XFF, "1.1.1.1, 198.51.100.1, 10.1.2.3")],
                "198.51.100.1",
            ),
            (
                "127.0.0.1",
                &[(XFF, "1.1.1.1"), (XFF, "198.51.100.1")],
                "198.51.100.1",
            ),
            (
                "127.0.0.1",
                &[(XFF, "198.51.100.1"), (XFF, "10.1.2.3")],
                "198.51.100.1",
            ),
            // Forms.
            ("127.0.0.1", &[(XFF, "198.51.100.1:4711")], "198.51.100.1"),
            ("127.0.0.1", &[(XFF, "[2001:db8::1]:4711")], "2001:db8::1"),
            ("127.0.0.1", &[(XFF, "[2001:db8::1]")], "2001:db8::1"),
            ("127.0.0.1", &[(XFF, "::ffff:198.51.100.1")], "198.51.100.1"),
            // What cannot be read is not skipped towards the spoofable side.
            ("127.0.0.1", &[(XFF, "1.1.1.1, unknown")], "127.0.0.1"),
            (
                "127.0.0.1",
                &[(XFF, "1.1.1.1, unknown"), (REAL, "198.51.100.1")],
                "198.51.100.1",
            ),
            (
                "127.0.0.1",
                &[(XFF, "1.1.1.1"), (XFF, "\u{e9}")],
                "127.0.0.1",
            ),
            ("127.0.0.1", &[(XFF, "")], "127.0.0.1"),
            // Only X-Real-IP, or everybody is a proxy.
            ("127.0.0.1", &[(REAL, "198.51.100.1")], "198.51.100.1"),
            (
                "127.0.0.1",
                &[(XFF, "10.0.0.1"), (REAL, "10.9.9.9")],
                "10.9.9.9",
            ),
            ("127.0.0.1", &[], "127.0.0.1"),
            (
                "127.0.0.1",
                &[("x-original-url", "/"), ("x-forwarded-proto", "https")],
                "127.0.0.1",
            ),
        ];
        for (peer, lines, expected) in rows {
            assert_eq!(&decide(peer, lines), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn whom_no_proxy_names_is_a_neighbour_only_if_no_proxy_has_been_there() {
        let (loopback, other) = ([127, 0, 0, 1].into(), [10, 0, 0, 9].into());
        let rows: &[(&str, &[Line<'_>], Sender)] = &[
            ("127.0.0.1", &[], Sender::Direct(loopback)),
            ("127.0.0.1", &[("host", "x")], Sender::Direct(loopback)),
            ("10.0.0.9", &[], Sender::Unnamed(other)),
            (
                "127.0.0.1",
                &[("x-forwarded-proto", "https")],
                Sender::Unnamed(loopback),
            ),
            (
                "127.0.0.1",
                &[("x-forwarded-for", "127.0.0.1")],
                Sender::Unnamed(loopback),
            ),
            (
                "127.0.0.1",
                &[("x-forwarded-for", "unknown")],
                Sender::Unnamed(loopback),
            ),
            ("127.0.0.1", &[("x-real-ip", "")], Sender::Unnamed(loopback)),
            (
                "127.0.0.1",
                &[("forwarded", "for=10.0.0.9")],
                Sender::Unnamed(loopback),
            ),
            ("127.0.0.1", &[("via", "1.1 x")], Sender::Unnamed(loopback)),
            (
                "127.0.0.1",
                &[("x-real-ip", "127.0.0.1")],
                Sender::Forwarded(loopback),
            ),
        ];
        for (peer, lines, expected) in rows {
            assert_eq!(who(peer, lines), *expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn a_service_keeps_its_own_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
        harden(&mut headers);
        assert_eq!(headers[X_FRAME_OPTIONS], "SAMEORIGIN");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        add_hsts(&mut headers, None);
        assert!(!headers.contains_key(STRICT_TRANSPORT_SECURITY));
        for value in ["max-age=63072000", "max-age=1"] {
            add_hsts(&mut headers, Some(&HeaderValue::from_static(value)));
        }
        assert_eq!(headers[STRICT_TRANSPORT_SECURITY], "max-age=63072000");
    }

    proptest! {
        #[test]
        fn no_element_before_an_untrusted_one_matters(forged in "[ -~]{0,60}") {
            let value = format!("{forged}, 198.51.100.1");
            prop_assert_eq!(decide("127.0.0.1", &[("x-forwarded-for", &value)]), "198.51.100.1");
        }
    }
}
