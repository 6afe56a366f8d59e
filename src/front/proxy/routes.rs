//! Which path goes where (design section 6).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use axum::http::Uri;
use axum::http::uri::{Authority, Scheme};

use super::certificate::challenges::HTTP_PREFIX;

/// What answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// The WebSocket of JSON-RPC signalling.
    Signalling,
    /// The REST API and whatever else of OpenVidu's server lies below `/openvidu/`.
    Rest,
    /// The files of `OPENVIDU_RECORDING_CUSTOM_LAYOUT`.
    Layouts,
    /// The dashboard.
    Dashboard,
    /// `HANOK_PROXY_ROUTES`, then `HANOK_APP_UPSTREAM`.
    Elsewhere,
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

/// Where custom layouts lie.
pub const LAYOUTS: &str = "/openvidu/layouts";

/// What OpenVidu's proxy sends to its server. Anything else below `/openvidu/` is the application's on the HTTPS port, as
/// it is there.
const REST: [&str; 5] = [
    "/openvidu/api",
    "/openvidu/cdr",
    "/openvidu/recordings",
    "/openvidu/info",
    "/openvidu/accept-certificate",
];

/// Old prefixes and what replaces them (`openvidu-rest` section 2.2).
const DEPRECATED: [(&str, &str); 6] = [
    ("/api", "/openvidu/api"),
    ("/config", "/openvidu/api/config"),
    ("/cdr", "/openvidu/cdr"),
    ("/recordings", "/openvidu/recordings"),
    ("/layouts/custom", LAYOUTS),
    ("/accept-certificate", "/openvidu/accept-certificate"),
];

/// The destination of `path`, which is compared as it was sent: an encoded form of one of our paths is not ours, and
/// what answers it decodes it or not.
///
/// Signalling is `/openvidu`, with or without a slash at the end. OpenVidu's nginx takes any path that ends in
/// `/openvidu`; no client uses another one, and applications may.
pub fn destination(entrance: Entrance, path: &str) -> Destination {
    if path == "/openvidu" || path == "/openvidu/" {
        return Destination::Signalling;
    }
    if below(LAYOUTS, path).is_some() {
        return Destination::Layouts;
    }
    if below("/dashboard", path).is_some() {
        return Destination::Dashboard;
    }
    if is_challenge(path) {
        return Destination::Nothing;
    }
    match entrance {
        Entrance::Https if REST.iter().any(|prefix| below(prefix, path).is_some()) => {
            Destination::Rest
        }
        Entrance::Https => Destination::Elsewhere,
        Entrance::Plain if path.starts_with("/openvidu/") => Destination::Rest,
        Entrance::Plain => Destination::Nothing,
    }
}

/// The path that replaces a deprecated one (`SUPPORT_DEPRECATED_API`).
pub fn replaced(path: &str) -> Option<String> {
    DEPRECATED.iter().find_map(|(old, new)| {
        let rest = below(old, path)?;
        Some(format!("{new}{rest}"))
    })
}

/// Whether `path` belongs to certificate authorities (RFC 8555 section 8.3); never redirected.
pub fn is_challenge(path: &str) -> bool {
    path.starts_with(HTTP_PREFIX)
}

/// What follows `prefix` in `path`, if that ends where a segment ends: nothing, or something that begins with a slash.
pub fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(prefix)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Scheme, host and port of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
}

impl Origin {
    /// `http` or `https`.
    pub fn scheme(&self) -> Scheme {
        self.scheme.clone()
    }

    /// Host and port.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }
}

/// A text is no `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an upstream: write http://HOST:PORT or https://HOST:PORT")]
pub struct NotOrigin;

impl FromStr for Origin {
    type Err = NotOrigin;

    fn from_str(text: &str) -> Result<Self, NotOrigin> {
        let uri: Uri = text.parse().map_err(|_| NotOrigin)?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(NotOrigin);
        };
        let is_bare = parts
            .path_and_query
            .is_none_or(|target| target.as_str() == "/");
        let is_http = scheme == Scheme::HTTP || scheme == Scheme::HTTPS;
        let has_host = !authority.host().is_empty() && !authority.as_str().contains('@');
        if is_bare && is_http && has_host {
            Ok(Self { scheme, authority })
        } else {
            Err(NotOrigin)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// Where a route of `HANOK_PROXY_ROUTES` goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To an upstream.
    Upstream(Origin),
    /// To the files of a folder.
    Folder(PathBuf),
}

/// `HANOK_APP_UPSTREAM`: where `/` goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Application {
    /// To OpenVidu's place for the application once it has ever answered, which the file remembers; until then to the
    /// built-in page.
    Auto {
        /// Where the application would be.
        origin: Origin,
        /// Exists once it has answered.
        seen: PathBuf,
    },
    /// Nowhere.
    None,
    /// To an upstream.
    Upstream(Origin),
}

/// What goes where, as configured; a reload may replace it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    /// `HANOK_APP_UPSTREAM`.
    pub application: Application,
    /// `HANOK_PROXY_ROUTES`.
    pub routes: Vec<(String, Target)>,
    /// `OPENVIDU_RECORDING_CUSTOM_LAYOUT`.
    pub layouts: PathBuf,
    /// `HANOK_ERROR_PAGES`.
    pub error_pages: Option<PathBuf>,
    /// `SUPPORT_DEPRECATED_API`.
    pub deprecated_api: bool,
    /// `REDIRECT_WWW`.
    pub redirect_www: bool,
}

/// `HANOK_PROXY_ROUTES`: what lies at which prefix.
#[derive(Debug, Clone)]
pub struct Routes<T>(Vec<(String, T)>);

impl<T> Routes<T> {
    /// Of two with one prefix the first counts. A slash at a prefix's end means nothing.
    pub fn new(pairs: impl IntoIterator<Item = (String, T)>) -> Self {
        let trimmed =
            |(prefix, place): (String, T)| (prefix.trim_end_matches('/').to_owned(), place);
        let mut pairs: Vec<_> = pairs.into_iter().map(trimmed).collect();
        // Stable, so the first of equals stays first.
        pairs.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Self(pairs)
    }

    /// What lies at the longest prefix of `path`, and what follows the prefix.
    pub fn find<'a>(&self, path: &'a str) -> Option<(&T, &'a str)> {
        self.0
            .iter()
            .find_map(|(prefix, place)| Some((place, below(prefix, path)?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_path_has_one_destination_per_entrance() {
        use Destination::{Dashboard, Elsewhere, Layouts, Nothing, Rest, Signalling};
        for (path, https, plain) in [
            ("/openvidu", Signalling, Signalling),
            ("/openvidu/", Signalling, Signalling),
            ("/openvidu/api", Rest, Rest),
            ("/openvidu/api/sessions", Rest, Rest),
            ("/openvidu/cdr", Rest, Rest),
            ("/openvidu/recordings/x/x.mp4", Rest, Rest),
            ("/openvidu/accept-certificate", Rest, Rest),
            ("/openvidu/info", Rest, Rest),
            ("/openvidu/layouts", Layouts, Layouts),
            ("/openvidu/layouts/mine/index.html", Layouts, Layouts),
            // The application's, as behind OpenVidu's proxy; the server refuses them.
            ("/openvidu/apifoo", Elsewhere, Rest),
            ("/openvidu/other", Elsewhere, Rest),
            ("/openvidu/%61pi/sessions", Elsewhere, Rest),
            ("/openvidux", Elsewhere, Nothing),
            ("/x/openvidu", Elsewhere, Nothing),
            ("/OPENVIDU", Elsewhere, Nothing),
            ("//openvidu", Elsewhere, Nothing),
            ("/x/../openvidu/api", Elsewhere, Nothing),
            // What the application's own developers rely on.
            ("/api/v1/users", Elsewhere, Nothing),
            ("/upload", Elsewhere, Nothing),
            ("/group-call", Elsewhere, Nothing),
            ("/recordings", Elsewhere, Nothing),
            ("/", Elsewhere, Nothing),
            ("", Elsewhere, Nothing),
            ("*", Elsewhere, Nothing),
            ("/dashboard", Dashboard, Dashboard),
            ("/dashboard/index.html", Dashboard, Dashboard),
            ("/dashboards", Elsewhere, Nothing),
            ("/.well-known/acme-challenge/x", Nothing, Nothing),
            ("/.well-known/other", Elsewhere, Nothing),
        ] {
            assert_eq!(destination(Entrance::Https, path), https, "{path}");
            assert_eq!(destination(Entrance::Plain, path), plain, "{path}");
        }
    }

    #[test]
    fn deprecated_prefixes_are_replaced_where_a_segment_ends() {
        for (old, new) in [
            ("/api/sessions", Some("/openvidu/api/sessions")),
            ("/config", Some("/openvidu/api/config")),
            (
                "/config/openvidu-cdr",
                Some("/openvidu/api/config/openvidu-cdr"),
            ),
            ("/cdr", Some("/openvidu/cdr")),
            ("/recordings/x/x.mp4", Some("/openvidu/recordings/x/x.mp4")),
            (
                "/layouts/custom/index.html",
                Some("/openvidu/layouts/index.html"),
            ),
            ("/accept-certificate", Some("/openvidu/accept-certificate")),
            ("/configuration", None),
            ("/apis", None),
            ("/layouts/other", None),
            ("/openvidu/api", None),
            ("/", None),
        ] {
            assert_eq!(replaced(old).as_deref(), new, "{old}");
        }
    }

    fn routes() -> Routes<&'static str> {
        Routes::new(
            [
                ("/", "all"),
                ("/api/", "api"),
                ("/api/v1", "first"),
                ("/api/v1", "second"),
                ("/files", "files"),
            ]
            .map(|(prefix, place)| (prefix.to_owned(), place)),
        )
    }

    #[test]
    fn the_longest_prefix_wins_where_a_segment_ends() {
        for (path, place, rest) in [
            ("/", "all", "/"),
            ("/x", "all", "/x"),
            ("/api", "api", ""),
            ("/api/", "api", "/"),
            ("/api/v", "api", "/v"),
            ("/api/v1", "first", ""),
            ("/api/v1/x", "first", "/x"),
            ("/api/v11", "api", "/v11"),
            ("/files/a/b", "files", "/a/b"),
            ("/filesystem", "all", "/filesystem"),
        ] {
            assert_eq!(routes().find(path), Some((&place, rest)), "{path}");
        }
        assert_eq!(Routes::<()>::new([]).find("/"), None);
    }

    #[test]
    fn an_upstream_is_scheme_host_and_port() {
        for good in [
            "http://127.0.0.1:5442",
            "https://[::1]:8443",
            "http://app.internal",
        ] {
            assert_eq!(good.parse::<Origin>().unwrap().to_string(), good);
        }
        assert_eq!(
            "http://a:1/".parse::<Origin>().unwrap().to_string(),
            "http://a:1"
        );
        for bad in [
            "a:1",
            "ftp://a",
            "http://a/b",
            "http://u:p@a",
            "http://",
            "/a",
            "",
            "http://a?b",
        ] {
            assert_eq!(bad.parse::<Origin>(), Err(NotOrigin), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_path_confuses_the_table(path in "(/|a|api|v1|files|\\.\\.|%2e|\\?){0,8}") {
            if let Some((_, rest)) = routes().find(&path) {
                prop_assert!(rest.is_empty() || rest.starts_with('/'));
                prop_assert!(path.ends_with(rest));
            }
            if let Some(new) = replaced(&path) {
                prop_assert!(new.starts_with("/openvidu/"));
            }
        }
    }
}
