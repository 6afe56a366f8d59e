//! URLs of our own TURN server (RFC 7065).

/// Where clients find the server without TLS, best first: UDP, then TCP.
///
/// The first one has no `?transport=`, which browsers read as UDP and OpenVidu always wrote so.
pub fn turn_urls(host: &str, port: u16) -> Vec<String> {
    let address = format!("{}:{port}", in_url(host));
    vec![
        format!("turn:{address}"),
        format!("turn:{address}?transport=tcp"),
    ]
}

/// Where clients find the server over TLS: by the name in its certificate.
pub fn turns_url(domain: &str, port: u16) -> String {
    format!("turns:{domain}:{port}?transport=tcp")
}

/// A host as it stands in a URL: an IPv6 literal gets brackets unless it has them.
pub fn in_url(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::IceServer;

    #[test]
    fn udp_comes_first_then_tcp_and_tls_is_by_the_name_of_the_certificate() {
        assert_eq!(
            turn_urls("203.0.113.7", 3478),
            [
                "turn:203.0.113.7:3478",
                "turn:203.0.113.7:3478?transport=tcp",
            ]
        );
        assert_eq!(
            turns_url("ov.example.org", 5349),
            "turns:ov.example.org:5349?transport=tcp"
        );
    }

    #[test]
    fn ipv6_literals_get_brackets_and_every_url_is_one_that_clients_accept() {
        for host in [
            "ov.example.org",
            "2001:db8::1",
            "[2001:db8::1]",
            "192.0.2.1",
        ] {
            let over_tls = turns_url("ov.example.org", 443);
            for url in turn_urls(host, 3479).into_iter().chain([over_tls]) {
                let server = IceServer::new(&url, Some("name"), Some("password"), None);
                assert!(server.is_ok(), "{url}");
            }
        }
        assert_eq!(in_url("2001:db8::1"), "[2001:db8::1]");
        assert_eq!(in_url("[2001:db8::1]"), "[2001:db8::1]");
    }
}
