//! ICE servers that a REST request or `OPENVIDU_WEBRTC_ICE_SERVERS` names (`openvidu-rest` section 6.3; RFC 7064,
//! RFC 7065).
//!
//! A host that is no IP address must be a host name. Upstream asks DNS about names that end in no known top-level
//! domain and refuses those that it cannot resolve; we take them, since a request must not make this process send
//! queries, and only browsers need to resolve the name.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Secret;
use super::host_name::is_host_name;

/// Longest URL; the longest DNS name is 253 characters.
const MAX_URL_LEN: usize = 512;

/// What is wrong with an ICE server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IceServerError {
    /// Not `turn:`, `turns:`, `stun:` or `stuns:`.
    #[error("the URL must begin with turn:, turns:, stun: or stuns:")]
    Scheme,
    /// Longer than any valid URL.
    #[error("the URL is too long")]
    TooLong,
    /// A query where none may be, or another one than the transport.
    #[error("only turn and turns URLs may have a query: ?transport=udp or ?transport=tcp")]
    Query,
    /// Neither an IP address nor a host name.
    #[error("the host is neither an IP address nor a host name")]
    Host,
    /// No number from 1 to 65535, or no port after the colon.
    #[error("the port must lie between 1 and 65535")]
    Port,
    /// `turn` without a user.
    #[error("turn and turns need either username and credential, or staticAuthSecret")]
    CredentialsMissing,
    /// Both ways of authentication at once.
    #[error("staticAuthSecret excludes username and credential")]
    CredentialsAmbiguous,
    /// `stun` with a user.
    #[error("stun and stuns take no username and no credential")]
    CredentialsForbidden,
}

/// A valid ICE server.
#[derive(Debug, Clone)]
pub struct IceServer {
    url: String,
    credentials: IceCredentials,
}

/// How a client authenticates at an ICE server.
#[derive(Debug, Clone)]
pub enum IceCredentials {
    /// Not at all: STUN.
    None,
    /// With a fixed name and password; either may be empty.
    Fixed {
        /// The name.
        username: String,
        /// The password.
        credential: Secret,
    },
    /// With time-limited credentials made from this key.
    StaticAuthSecret(Secret),
}

impl IceServer {
    /// Checks one entry. "Given" means present: an empty `username` counts.
    ///
    /// # Errors
    /// The first rule of section 6.3 that the entry breaks.
    pub fn new(
        url: &str,
        username: Option<&str>,
        credential: Option<&str>,
        static_auth_secret: Option<&str>,
    ) -> Result<Self, IceServerError> {
        let credentials = if is_turn(url)? {
            match (username, credential, static_auth_secret) {
                (Some(username), Some(credential), None) => IceCredentials::Fixed {
                    username: username.to_owned(),
                    credential: Secret::new(credential),
                },
                (None, None, Some(secret)) => IceCredentials::StaticAuthSecret(Secret::new(secret)),
                (_, _, Some(_)) => return Err(IceServerError::CredentialsAmbiguous),
                (_, _, None) => return Err(IceServerError::CredentialsMissing),
            }
        } else if username.is_some() || credential.is_some() {
            return Err(IceServerError::CredentialsForbidden);
        } else {
            IceCredentials::None
        };
        Ok(Self {
            url: url.to_owned(),
            credentials,
        })
    }

    /// The URL as given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How a client authenticates there.
    pub fn credentials(&self) -> &IceCredentials {
        &self.credentials
    }
}

/// Checks a URL; returns whether it is one of TURN.
fn is_turn(url: &str) -> Result<bool, IceServerError> {
    if url.len() > MAX_URL_LEN {
        return Err(IceServerError::TooLong);
    }
    let (scheme, rest) = url.split_once(':').ok_or(IceServerError::Scheme)?;
    let turn = match scheme {
        "turn" | "turns" => true,
        "stun" | "stuns" => false,
        _ => return Err(IceServerError::Scheme),
    };
    let address = match rest.split_once('?') {
        None => rest,
        Some((address, "transport=udp" | "transport=tcp")) if turn => address,
        Some(_) => return Err(IceServerError::Query),
    };
    check_address(address)?;
    Ok(turn)
}

fn check_address(address: &str) -> Result<(), IceServerError> {
    if let Some(bracketed) = address.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(IceServerError::Host)?;
        host.parse::<Ipv6Addr>().map_err(|_| IceServerError::Host)?;
        return match rest.strip_prefix(':') {
            Some(port) => check_port(port),
            None if rest.is_empty() => Ok(()),
            None => Err(IceServerError::Port),
        };
    }
    match address.split_once(':') {
        None => check_host(address),
        Some((host, port)) => {
            check_host(host)?;
            check_port(port)
        }
    }
}

fn check_port(text: &str) -> Result<(), IceServerError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(1..) if digits => Ok(()),
        _ => Err(IceServerError::Port),
    }
}

fn check_host(host: &str) -> Result<(), IceServerError> {
    // A dot at the end keeps resolvers from searching; browsers take it.
    let name = host.strip_suffix('.').unwrap_or(host);
    let valid = host.parse::<Ipv4Addr>().is_ok() || is_host_name(name);
    valid.then_some(()).ok_or(IceServerError::Host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stun(url: &str) -> Result<(), IceServerError> {
        IceServer::new(url, None, None, None).map(|_| ())
    }

    fn turn(url: &str) -> Result<(), IceServerError> {
        IceServer::new(url, Some("user"), Some("password"), None).map(|_| ())
    }

    #[test]
    fn every_form_of_address_is_accepted() {
        for address in [
            "hostname.com",
            "hostname.com:9999",
            "xn--bcher-kva.example",
            "1.2.3.4",
            "1.2.3.4:1234",
            "[1:2:3:4:5:6:7:8]",
            "[1:2:3:4:5:6:7:8]:4321",
            "localhost:3478",
            "coturn",
        ] {
            assert_eq!(stun(&format!("stun:{address}")), Ok(()), "{address}");
            assert_eq!(stun(&format!("stuns:{address}")), Ok(()), "{address}");
            for query in ["", "?transport=udp", "?transport=tcp"] {
                assert_eq!(turn(&format!("turn:{address}{query}")), Ok(()), "{address}");
                assert_eq!(
                    turn(&format!("turns:{address}{query}")),
                    Ok(()),
                    "{address}"
                );
            }
        }
    }

    #[test]
    fn what_upstream_refuses_is_refused() {
        use IceServerError::{Host, Port, Query, Scheme};
        for (url, error) in [
            ("", Scheme),
            ("wrongurl", Scheme),
            ("turnss:wrongurl", Scheme),
            ("anything:wrongurl", Scheme),
            (":", Scheme),
            ("?", Scheme),
            ("STUN:hostname.com", Scheme),
            ("stun:", Host),
            ("stun::5555", Host),
            ("stun:hostname.com:99a99", Port),
            ("stun:hostname.com:-1", Port),
            ("stun:hostname.com:+1", Port),
            ("stun:hostname.com:0", Port),
            ("stun:hostname.com:65536", Port),
            ("stun:hostname.com:", Port),
            ("stun:hostname.com:port more", Port),
            ("stun:hostname.com:port:more", Port),
            ("stun:[1:2:3:4:5:6:7:8]junk:1000", Port),
            ("stun:[1:2:3:4:5:6:7:8", Host),
            ("stun:1:2:3:4:5:6:7:8", Host),
            ("stun:[notvalid:]:1000", Host),
            ("stun:[]", Host),
            ("stun:/hostname.com", Host),
            ("stun://hostname.com", Host),
            ("stun:#hostname.com", Host),
            ("stun:1.2.3", Host),
            ("stun:999.1.1.1", Host),
            ("stun:host name.com", Host),
            ("stun:-a.com", Host),
            ("stun:a..com", Host),
            ("stun:?hostname.com", Query),
            ("stun:hostname.com?transport=tcp", Query),
            ("turn:hostname.com?transport=invalid", Query),
            ("turn:hostname.com?transport=", Query),
            ("turn:hostname.com?", Query),
        ] {
            assert_eq!(stun(url).unwrap_err(), error, "{url}");
        }
        assert_eq!(
            turn(&format!("turn:{}.com", "a".repeat(600))),
            Err(IceServerError::TooLong)
        );
    }

    #[test]
    fn credentials_follow_the_scheme() {
        use IceServerError::{CredentialsAmbiguous, CredentialsForbidden, CredentialsMissing};
        let check = |url, username, credential, secret| {
            IceServer::new(url, username, credential, secret)
                .map(|_| ())
                .err()
        };
        let (t, s, x) = ("turn:hostname.com", "stun:hostname.com", Some("x"));
        assert_eq!(check(t, None, None, None), Some(CredentialsMissing));
        assert_eq!(check(t, x, None, None), Some(CredentialsMissing));
        assert_eq!(check(t, None, x, None), Some(CredentialsMissing));
        assert_eq!(check(t, x, x, x), Some(CredentialsAmbiguous));
        assert_eq!(check(t, None, x, x), Some(CredentialsAmbiguous));
        assert_eq!(check(t, None, None, x), None);
        assert_eq!(check(t, Some(""), Some(""), None), None);
        assert_eq!(check(s, x, x, None), Some(CredentialsForbidden));
        assert_eq!(check(s, Some(""), None, None), Some(CredentialsForbidden));
        assert_eq!(check(s, None, None, x), None);
    }

    proptest! {
        #[test]
        fn no_url_panics(url in ".{0,80}") {
            let _ = stun(&url);
            let _ = turn(&format!("turn:{url}"));
        }
    }
}
