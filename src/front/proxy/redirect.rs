//! Redirects to the configured domain: of everything on the plain HTTP port, and of `www.DOMAIN` with `REDIRECT_WWW`
//! (`openvidu-deployment` sections 6.1 and 6.4).

use std::net::Ipv6Addr;

use axum::http::header::LOCATION;
use axum::http::uri::{Authority, InvalidUri};
use axum::http::{HeaderValue, Response, StatusCode, Uri};

use super::routes;

/// Where plain requests are sent: always the configured domain, and always with the port, even 443.
#[derive(Debug, Clone)]
pub struct Redirect {
    authority: Authority,
    host: Authority,
}

impl Redirect {
    /// Redirects to `https://domain:port`.
    ///
    /// # Errors
    /// `domain` cannot stand in a URL.
    pub fn new(domain: &str, port: u16) -> Result<Self, InvalidUri> {
        let host = if domain.parse::<Ipv6Addr>().is_ok() {
            format!("[{domain}]")
        } else {
            domain.to_owned()
        };
        Ok(Self {
            authority: format!("{host}:{port}").parse()?,
            host: host.parse()?,
        })
    }

    /// The domain.
    pub const fn host(&self) -> &Authority {
        &self.host
    }

    /// Whether `host` is the domain with `www.` in front.
    pub fn is_www(&self, host: &Authority) -> bool {
        let host = host.host().trim_end_matches('.');
        let domain = host
            .split_at_checked(4)
            .filter(|(www, _)| www.eq_ignore_ascii_case("www."));
        domain.is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(self.host.as_str()))
    }

    /// 301 with path and query kept; 404 for challenges that nobody waits for.
    pub fn answer<B: Default>(&self, uri: &Uri) -> Response<B> {
        let mut response = Response::new(B::default());
        // `OPTIONS *` and `CONNECT host:port` have no path.
        let target = uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .strip_prefix('/')
            .unwrap_or_default();
        if routes::is_challenge(uri.path()) {
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
        match HeaderValue::try_from(format!("https://{}/{target}", self.authority)) {
            Ok(location) => {
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                response.headers_mut().insert(LOCATION, location);
            }
            Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(domain: &str, port: u16, uri: &str) -> (u16, String) {
        let response: Response<()> = Redirect::new(domain, port)
            .unwrap()
            .answer(&uri.parse().unwrap());
        let location = response
            .headers()
            .get(LOCATION)
            .map_or("", |value| value.to_str().unwrap());
        (response.status().as_u16(), location.to_owned())
    }

    #[test]
    fn domain_and_port_are_always_written_and_path_and_query_kept() {
        for (uri, expected) in [
            ("/", "https://call.example:443/"),
            ("/a/b?c=d&e=%20", "https://call.example:443/a/b?c=d&e=%20"),
            ("http://evil.example/x?y", "https://call.example:443/x?y"),
            (
                "//evil.example/x",
                "https://call.example:443//evil.example/x",
            ),
            ("*", "https://call.example:443/"),
            ("host:80", "https://call.example:443/"),
        ] {
            assert_eq!(
                location("call.example", 443, uri),
                (301, expected.to_owned()),
                "{uri}"
            );
        }
        assert_eq!(
            location("2001:db8::1", 4443, "/x").1,
            "https://[2001:db8::1]:4443/x"
        );
    }

    #[test]
    fn challenges_are_not_redirected() {
        assert_eq!(
            location("call.example", 443, "/.well-known/acme-challenge/token"),
            (404, String::new())
        );
    }

    #[test]
    fn www_is_the_domain_with_that_in_front_and_nothing_else() {
        let redirect = Redirect::new("call.example", 443).unwrap();
        for (host, expected) in [
            ("www.call.example", true),
            ("WWW.Call.Example:4443", true),
            ("www.call.example.", true),
            ("call.example", false),
            ("www.other.example", false),
            ("www.www.call.example", false),
            ("www", false),
            ("[2001:db8::1]", false),
        ] {
            assert_eq!(redirect.is_www(&host.parse().unwrap()), expected, "{host}");
        }
    }

    #[test]
    fn a_domain_that_breaks_headers_is_refused() {
        assert!(Redirect::new("a\r\nb", 443).is_err());
    }
}
