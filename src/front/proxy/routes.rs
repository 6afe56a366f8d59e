//! Which path goes where (design section 6).

use super::certificate::challenges::HTTP_PREFIX;

/// What answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The WebSocket of JSON-RPC signalling.
    Signalling,
    /// The REST API and whatever else lies below `/openvidu/`.
    Rest,
    /// The web page.
    Page,
    /// 404.
    Nothing,
}

/// Which kind of listener a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// `HTTPS_PORT`: everything.
    Https,
    /// `HANOK_PLAIN_LISTEN`: `/openvidu/**` and `/dashboard/**` only.
    Plain,
}

/// The destination of `path`, which is compared as it was sent.
///
/// Signalling is `/openvidu`, with or without a slash at the end. OpenVidu's nginx takes any path that ends in
/// `/openvidu`; no client uses another one, and applications may.
pub fn destination(entrance: Entrance, path: &str) -> Destination {
    if path == "/openvidu" || path == "/openvidu/" {
        return Destination::Signalling;
    }
    if path.starts_with("/openvidu/") {
        return Destination::Rest;
    }
    if is_challenge(path) {
        return Destination::Nothing;
    }
    match entrance {
        Entrance::Https => Destination::Page,
        Entrance::Plain if path == "/dashboard" || path.starts_with("/dashboard/") => {
            Destination::Page
        }
        Entrance::Plain => Destination::Nothing,
    }
}

/// Whether `path` belongs to certificate authorities (RFC 8555 section 8.3); never redirected.
pub fn is_challenge(path: &str) -> bool {
    path.starts_with(HTTP_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_one_destination_per_entrance() {
        use Destination::{Nothing, Page, Rest, Signalling};
        for (path, https, plain) in [
            ("/openvidu", Signalling, Signalling),
            ("/openvidu/", Signalling, Signalling),
            ("/openvidu/api/sessions", Rest, Rest),
            ("/openvidu/apifoo", Rest, Rest),
            ("/openvidu/accept-certificate", Rest, Rest),
            ("/openvidu/info", Rest, Rest),
            ("/openvidux", Page, Nothing),
            ("/x/openvidu", Page, Nothing),
            ("/OPENVIDU", Page, Nothing),
            ("//openvidu", Page, Nothing),
            ("/", Page, Nothing),
            ("", Page, Nothing),
            ("*", Page, Nothing),
            ("/dashboard", Page, Page),
            ("/dashboard/index.html", Page, Page),
            ("/dashboards", Page, Nothing),
            ("/.well-known/acme-challenge/x", Nothing, Nothing),
        ] {
            assert_eq!(destination(Entrance::Https, path), https, "{path}");
            assert_eq!(destination(Entrance::Plain, path), plain, "{path}");
        }
    }
}
