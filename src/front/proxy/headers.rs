//! Who the client is, and the headers that every answer of ours carries.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::units::RemoteAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Decides the client's address: the socket's; or, if that is one of `trusted` (`HANOK_TRUSTED_PROXIES`), the
/// right-most element of `X-Forwarded-For` that is not; else `X-Real-IP`.
///
/// Elements further left are whatever the client wrote, so an unreadable right-most one ends the search instead of
/// being skipped. A trusted proxy that names nobody counts as the client itself.
pub fn remote_addr(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> RemoteAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer, trusted) {
        return RemoteAddr(peer);
    }
    RemoteAddr(
        forwarded_for(headers, trusted)
            .or_else(|| real_ip(headers))
            .unwrap_or(peer),
    )
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
        let trusted: Vec<IpNet> = ["127.0.0.1/32", "::1/128", "10.0.0.0/8"]
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        remote_addr(peer.parse().unwrap(), &headers, &trusted)
            .0
            .to_string()
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
