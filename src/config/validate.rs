//! The validators: one function per kind of value (`openvidu-deployment` section 4). Pure: text in, value out.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Uri;
use ipnet::IpNet;

use crate::config::refusal::Refusal;
use crate::config::values::{
    AppUpstream, CallOpen, CertificateType, CipherList, CoturnIp, ForcedVideoCodec, Front, Host,
    Listen, LogFormat, MediaNode, PublicIp, RecordingNotification, Route, RouteTarget, Server,
    SubscribeOffer, TlsVersions, TurnUser, Workers,
};
use crate::units::host_name::is_host_name;
use crate::units::{IceServer, Secret};

/// Every event name that `OPENVIDU_WEBHOOK_EVENTS` may hold (`openvidu-rest` sections 14.2 and 14.4).
pub const WEBHOOK_EVENTS: [&str; 17] = [
    "sessionCreated",
    "sessionDestroyed",
    "participantJoined",
    "participantLeft",
    "webrtcConnectionCreated",
    "webrtcConnectionDestroyed",
    "recordingStatusChanged",
    "filterEventDispatched",
    "signalSent",
    "mediaNodeStatusChanged",
    "autoscaling",
    "nodeCrashed",
    "nodeRecovered",
    "broadcastStarted",
    "broadcastStopped",
    "HANodeRegistered",
    "HANodeDeregistered",
];

/// Any text.
pub fn text(text: &str) -> Result<String, Refusal> {
    Ok(text.to_owned())
}

/// A text that is not empty.
pub fn non_empty(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        Err(Refusal::Empty)
    } else {
        Ok(text.to_owned())
    }
}

/// `true` or `false`, in any case.
pub fn boolean(text: &str) -> Result<bool, Refusal> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(Refusal::NotBoolean)
    }
}

/// Anything; only `true` is true.
pub fn lenient_boolean(text: &str) -> Result<bool, Refusal> {
    Ok(text.eq_ignore_ascii_case("true"))
}

/// A whole number from 0 to 2147483647; `+5` and `-0` pass as in the original.
pub fn non_negative(text: &str) -> Result<u32, Refusal> {
    i32::from_str(text)
        .ok()
        .and_then(|number| u32::try_from(number).ok())
        .ok_or(Refusal::NotNonNegative)
}

/// Seconds as a whole number.
pub fn whole_seconds(text: &str) -> Result<Duration, Refusal> {
    non_negative(text).map(|seconds| Duration::from_secs(u64::from(seconds)))
}

/// A port from 1 to 65535.
pub fn port(text: &str) -> Result<u16, Refusal> {
    let number = i64::from_str(text).map_err(|_| Refusal::NotInteger)?;
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or(Refusal::NotPort)
}

/// A port that may be unset.
pub fn optional_port(text: &str) -> Result<Option<u16>, Refusal> {
    port(text).map(Some)
}

/// `OPENVIDU_SECRET`.
pub fn openvidu_secret(text: &str) -> Result<Option<Secret>, Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() {
        Err(Refusal::Empty)
    } else if text.chars().all(allowed) {
        Ok(Some(Secret::new(text)))
    } else {
        Err(Refusal::NotAlphanumeric)
    }
}

/// Secrets of any characters but the comma, which stands between them; empty means none.
pub fn secrets(text: &str) -> Result<Vec<Secret>, Refusal> {
    list(text)
        .map(|secret| match secret {
            "" => Err(Refusal::EmptyElement),
            secret => Ok(Secret::new(secret)),
        })
        .collect()
}

/// A secret in base64url (RFC 4648 section 5), with or without padding; empty means none.
pub fn base64url_secret(text: &str) -> Result<Option<Secret>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    match BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')) {
        Ok(_) => Ok(Some(Secret::new(text))),
        Err(_) => Err(Refusal::NotBase64Url),
    }
}

/// The shape of a host: address or name. Whether a name without a dot resolves is asked later.
pub fn host(text: &str) -> Result<Host, Refusal> {
    if let Ok(address) = IpAddr::from_str(text) {
        return Ok(Host::Address(address));
    }
    if text.is_empty() {
        return Err(Refusal::Empty);
    }
    if !text.is_ascii() {
        return Err(Refusal::NotAscii);
    }
    if is_host_name(text) {
        Ok(Host::Name(text.to_ascii_lowercase()))
    } else {
        Err(Refusal::NotInet)
    }
}

/// `DOMAIN_OR_PUBLIC_IP`.
pub fn domain(text: &str) -> Result<Option<Host>, Refusal> {
    match host(text)? {
        Host::Address(address) if address.is_unspecified() || address.is_multicast() => {
            Err(Refusal::NotInet)
        }
        host @ (Host::Address(_) | Host::Name(_)) => Ok(Some(host)),
    }
}

/// `COTURN_IP`.
pub fn coturn_ip(text: &str) -> Result<CoturnIp, Refusal> {
    match text {
        "" => Ok(CoturnIp::Auto),
        "auto-ipv4" => Ok(CoturnIp::AutoIpv4),
        "auto-ipv6" => Ok(CoturnIp::AutoIpv6),
        other => host(other).map(CoturnIp::Host).map_err(|_| Refusal::NotIp),
    }
}

/// One of `selfsigned`, `owncert`, `letsencrypt`.
pub fn certificate_type(text: &str) -> Result<CertificateType, Refusal> {
    match text {
        "selfsigned" => Ok(CertificateType::SelfSigned),
        "owncert" => Ok(CertificateType::OwnCert),
        "letsencrypt" => Ok(CertificateType::LetsEncrypt),
        _ => Err(Refusal::NotOneOf("selfsigned, owncert, letsencrypt")),
    }
}

/// A constant of `VideoCodec`, case sensitive.
pub fn forced_codec(text: &str) -> Result<ForcedVideoCodec, Refusal> {
    ForcedVideoCodec::from_name(text).ok_or(Refusal::NotOneOf(
        "MEDIA_SERVER_PREFERRED, NONE, VP8, VP9, H264",
    ))
}

/// `none`, `moderator`, `publisher_moderator` or `all`.
pub fn recording_notification(text: &str) -> Result<RecordingNotification, Refusal> {
    match text {
        "none" => Ok(RecordingNotification::None),
        "moderator" => Ok(RecordingNotification::Moderator),
        "publisher_moderator" => Ok(RecordingNotification::PublisherModerator),
        "all" => Ok(RecordingNotification::All),
        _ => Err(Refusal::NotOneOf(
            "none, moderator, publisher_moderator, all",
        )),
    }
}

/// A folder; a trailing `/` is added, as REST shows it.
pub fn folder(text: &str) -> Result<String, Refusal> {
    let mut path = path(text)?;
    if !path.ends_with('/') {
        path.push('/');
    }
    Ok(path)
}

fn path(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        Err(Refusal::Empty)
    } else if text.contains('\0') {
        Err(Refusal::NotPath)
    } else {
        Ok(text.to_owned())
    }
}

/// The path of a file.
pub fn file(text: &str) -> Result<PathBuf, Refusal> {
    path(text).map(PathBuf::from)
}

/// The path of a file; empty means none.
pub fn optional_file(text: &str) -> Result<Option<PathBuf>, Refusal> {
    if text.is_empty() {
        Ok(None)
    } else {
        file(text).map(Some)
    }
}

/// Blank, or a URI with a scheme (any) and a host.
pub fn optional_url(text: &str) -> Result<Option<String>, Refusal> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    url(text).map(Some)
}

/// A URI with a scheme (any) and a host.
pub fn url(text: &str) -> Result<String, Refusal> {
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(Refusal::UrlWithoutScheme);
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !is_scheme || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Refusal::NotUrl);
    }
    let Some(after) = rest.strip_prefix("//") else {
        // `localhost:8080/hook` reads as a URI with the scheme `localhost`; what is missing is the scheme.
        return Err(if rest.starts_with(|c: char| c.is_ascii_digit()) {
            Refusal::UrlWithoutScheme
        } else {
            Refusal::UrlWithoutHost
        });
    };
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    if host_and_port.is_empty() || host_and_port.starts_with(':') {
        return Err(Refusal::UrlWithoutHost);
    }
    match http::uri::Authority::from_str(authority) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Refusal::NotUrl),
    }
}

/// A JSON array of strings, read leniently: strings may stand without quotes; empty text, `[]` and `[""]` are empty.
pub fn string_array(text: &str) -> Result<Vec<String>, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut strings = match serde_json::from_str(text) {
        Ok(strings) => strings,
        Err(_) => lenient_array(text)?,
    };
    if let [only] = strings.as_slice()
        && only.is_empty()
    {
        strings.clear();
    }
    Ok(strings)
}

fn lenient_array(text: &str) -> Result<Vec<String>, Refusal> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or(Refusal::NotStringArray)?;
    let mut rest = inner.trim_start();
    let mut strings = Vec::new();
    loop {
        let (string, after) = element(rest)?;
        strings.push(string);
        let after = after.trim_start();
        if after.is_empty() {
            return Ok(strings);
        }
        rest = after
            .strip_prefix(',')
            .ok_or(Refusal::NotStringArray)?
            .trim_start();
    }
}

/// One string of an array, and what follows it.
fn element(text: &str) -> Result<(String, &str), Refusal> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let end = text.find(',').unwrap_or(text.len());
        let (word, after) = text.split_at(end);
        let word = word.trim_end();
        // Nested values, and the `null` that a trailing comma stands for, are no strings.
        if word.is_empty() || word == "null" || word.contains(['[', ']', '{', '}', '"']) {
            return Err(Refusal::NotStringArray);
        }
        return Ok((word.to_owned(), after));
    };
    let mut string = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            c if c == quote => return Ok((string, &text[at + c.len_utf8()..])),
            '\\' => {
                let (_, escaped) = characters.next().ok_or(Refusal::NotStringArray)?;
                match escaped {
                    'n' => string.push('\n'),
                    't' => string.push('\t'),
                    'r' => string.push('\r'),
                    'u' => {
                        let digits: String = characters.by_ref().take(4).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16)
                            .ok()
                            .filter(|_| digits.len() == 4)
                            .and_then(char::from_u32)
                            .ok_or(Refusal::NotStringArray)?;
                        string.push(code);
                    }
                    other @ ('"' | '\'' | '\\' | '/') => string.push(other),
                    _ => return Err(Refusal::NotStringArray),
                }
            }
            c => string.push(c),
        }
    }
    Err(Refusal::NotStringArray)
}

/// `Name: value` headers.
pub fn webhook_headers(text: &str) -> Result<Vec<String>, Refusal> {
    let headers = string_array(text)?;
    for header in &headers {
        let (name, value) = header.split_once(": ").ok_or(Refusal::HeaderSyntax)?;
        if name.trim().is_empty() {
            return Err(Refusal::HeaderName);
        }
        if value.trim().is_empty() {
            return Err(Refusal::HeaderValue);
        }
        if http::HeaderName::from_str(name).is_err() || http::HeaderValue::from_str(value).is_err()
        {
            return Err(Refusal::HeaderSyntax);
        }
    }
    Ok(headers)
}

/// Names of webhook events; all unknown ones are named at once.
pub fn webhook_events(text: &str) -> Result<Vec<String>, Refusal> {
    let (known, unknown): (Vec<String>, Vec<String>) = string_array(text)?
        .into_iter()
        .partition(|event| WEBHOOK_EVENTS.contains(&event.as_str()));
    if unknown.is_empty() {
        Ok(known)
    } else {
        Err(Refusal::UnknownEvents {
            unknown,
            known: WEBHOOK_EVENTS.join(", "),
        })
    }
}

/// WebSocket URLs; quotes, backslashes and blanks around them do not matter.
pub fn kms_uris(text: &str) -> Result<Vec<String>, Refusal> {
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, '"' | '\'' | '\\' | ' '))
        .collect();
    let uris = string_array(&plain)?;
    let is_web_socket =
        |uri: &String| (uri.starts_with("ws://") || uri.starts_with("wss://")) && url(uri).is_ok();
    if uris.iter().all(is_web_socket) {
        Ok(uris)
    } else {
        Err(Refusal::NotWebSocketUrl)
    }
}

/// Empty, or `image:tag` with exactly one colon.
pub fn recording_image(text: &str) -> Result<Option<String>, Refusal> {
    match text.split(':').collect::<Vec<_>>().as_slice() {
        [""] => Ok(None),
        [image, tag] if !image.is_empty() && !tag.is_empty() => Ok(Some(text.to_owned())),
        _ => Err(Refusal::NotImageTag),
    }
}

/// `private:public` pairs.
pub fn media_nodes(text: &str) -> Result<Vec<MediaNode>, Refusal> {
    string_array(text)?
        .iter()
        .map(|pair| {
            let (private, public) = pair.split_once(':').ok_or(Refusal::NotPair)?;
            Ok(MediaNode {
                private: host(private.trim()).map_err(|_| Refusal::NotPair)?,
                public: host(public.trim()).map_err(|_| Refusal::NotPair)?,
            })
        })
        .collect()
}

/// `url=…,username=…,credential=…` or `url=…,staticAuthSecret=…` strings.
pub fn ice_servers(text: &str) -> Result<Vec<IceServer>, Refusal> {
    string_array(text)?
        .iter()
        .map(|server| ice_server(server))
        .collect()
}

fn ice_server(text: &str) -> Result<IceServer, Refusal> {
    let (mut url, mut username, mut credential, mut key) = (None, None, None, None);
    for part in text.split(',') {
        let (name, value) = part.trim().split_once('=').ok_or(Refusal::IcePart)?;
        match name {
            "url" => url = Some(value),
            "username" => username = Some(value),
            "credential" => credential = Some(value),
            "staticAuthSecret" => key = Some(value),
            _ => return Err(Refusal::IcePart),
        }
    }
    let url = url.ok_or(Refusal::IcePart)?;
    IceServer::new(url, username, credential, key).map_err(Refusal::IceServer)
}

/// `all` or empty is everybody; else addresses and networks, comma separated, blanks ignored.
pub fn access_list(text: &str) -> Result<Option<Vec<IpNet>>, Refusal> {
    let text = text.trim();
    if text.is_empty() || text == "all" {
        Ok(None)
    } else {
        networks(text).map(Some)
    }
}

/// Addresses and networks, comma separated, blanks ignored; empty is none.
pub fn networks(text: &str) -> Result<Vec<IpNet>, Refusal> {
    list(text)
        .map(|element| {
            IpNet::from_str(element)
                .or_else(|_| IpAddr::from_str(element).map(IpNet::from))
                .map(|net| net.trunc())
                .map_err(|_| Refusal::NotNetworks)
        })
        .collect()
}

/// The elements of a comma-separated list without the blanks around them; a blank list has none.
fn list(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim();
    text.split(',')
        .map(str::trim)
        .filter(move |_| !text.is_empty())
}

/// Addresses, comma separated, at least one.
pub fn addresses(text: &str) -> Result<Vec<IpAddr>, Refusal> {
    let addresses = list(text)
        .map(|element| IpAddr::from_str(element).map_err(|_| Refusal::NotIpList))
        .collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        Err(Refusal::Empty)
    } else {
        Ok(addresses)
    }
}

/// At most one address per family; empty is none.
pub fn external_addresses(text: &str) -> Result<Vec<IpAddr>, Refusal> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let addresses = addresses(text)?;
    if addresses
        .iter()
        .any(|address| address.is_unspecified() || address.is_multicast())
    {
        return Err(Refusal::NotIpList);
    }
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    if v4 > 1 || addresses.len() - v4 > 1 {
        Err(Refusal::TwoOfOneFamily)
    } else {
        Ok(addresses)
    }
}

/// `PROXY_PUBLIC_IP`: `auto-ipv4`, `auto-ipv6` or an address.
pub fn proxy_public_ip(text: &str) -> Result<PublicIp, Refusal> {
    match text {
        "auto-ipv4" => Ok(PublicIp::AutoIpv4),
        "auto-ipv6" => Ok(PublicIp::AutoIpv6),
        other => IpAddr::from_str(other)
            .map(PublicIp::Address)
            .map_err(|_| Refusal::NotIp),
    }
}

/// `HOST:PORT` elements, comma separated, IPv6 in brackets; empty is none.
pub fn servers(text: &str) -> Result<Vec<Server>, Refusal> {
    list(text)
        .map(|element| {
            let (name, number) = element.rsplit_once(':').ok_or(Refusal::NotServers)?;
            let bare = name
                .strip_prefix('[')
                .and_then(|name| name.strip_suffix(']'));
            let is_v6 = bare.unwrap_or(name).contains(':');
            if is_v6 != bare.is_some() {
                return Err(Refusal::NotServers);
            }
            Ok(Server {
                host: host(bare.unwrap_or(name)).map_err(|_| Refusal::NotServers)?,
                port: port(number).map_err(|_| Refusal::NotServers)?,
            })
        })
        .collect()
}

/// `:PORT` or `ADDRESS:PORT`; empty is off.
pub fn listen(text: &str) -> Result<Option<Listen>, Refusal> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let listen = match text.strip_prefix(':') {
        Some(port_text) => Listen {
            address: None,
            port: port(port_text).map_err(|_| Refusal::NotListen)?,
        },
        None => {
            let address = SocketAddr::from_str(text).map_err(|_| Refusal::NotListen)?;
            Listen {
                address: Some(address.ip()),
                port: address.port(),
            }
        }
    };
    if listen.port == 0 {
        Err(Refusal::NotListen)
    } else {
        Ok(Some(listen))
    }
}

/// `on` or `off`.
pub fn front(text: &str) -> Result<Front, Refusal> {
    match text {
        "on" => Ok(Front::On),
        "off" => Ok(Front::Off),
        _ => Err(Refusal::NotOneOf("on, off")),
    }
}

/// `client` or `server`.
pub fn subscribe_offer(text: &str) -> Result<SubscribeOffer, Refusal> {
    match text {
        "client" => Ok(SubscribeOffer::Client),
        "server" => Ok(SubscribeOffer::Server),
        _ => Err(Refusal::NotOneOf("client, server")),
    }
}

/// `open`, `secret` or `off`.
pub fn call_open(text: &str) -> Result<CallOpen, Refusal> {
    match text {
        "open" => Ok(CallOpen::Open),
        "secret" => Ok(CallOpen::Secret),
        "off" => Ok(CallOpen::Off),
        _ => Err(Refusal::NotOneOf("open, secret, off")),
    }
}

/// `auto`, or a number of threads.
pub fn workers(text: &str) -> Result<Workers, Refusal> {
    if text == "auto" {
        return Ok(Workers::PerCore);
    }
    usize::from_str(text)
        .ok()
        .filter(|count| *count <= 1024)
        .and_then(NonZeroUsize::new)
        .map(Workers::Count)
        .ok_or(Refusal::NotThreads)
}

/// Seconds, or a number with `ms`, `s`, `m` or `h`; at most a day.
pub fn duration(text: &str) -> Result<Duration, Refusal> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = u64::from_str(number).map_err(|_| Refusal::NotDuration)?;
    let milliseconds = match unit.trim() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(Refusal::NotDuration),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= Duration::from_secs(86_400))
        .ok_or(Refusal::NotDuration)
}

/// `auto`, `none`, or the origin of the application.
pub fn app_upstream(text: &str) -> Result<AppUpstream, Refusal> {
    match text {
        "auto" => Ok(AppUpstream::Auto),
        "none" => Ok(AppUpstream::None),
        other => upstream(other).map(AppUpstream::Url),
    }
}

fn upstream(text: &str) -> Result<String, Refusal> {
    let uri = Uri::from_str(text).map_err(|_| Refusal::NotUpstream)?;
    let is_origin = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
        && uri
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'))
        && uri.query().is_none()
        && matches!(uri.path(), "" | "/");
    if is_origin {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(Refusal::NotUpstream)
    }
}

/// `path=upstream` and `path=/folder` pairs, comma separated.
pub fn routes(text: &str) -> Result<Vec<Route>, Refusal> {
    list(text)
        .map(|pair| {
            let (path, target) = pair.split_once('=').ok_or(Refusal::NotRoutes)?;
            let (path, target) = (path.trim(), target.trim());
            if !path.starts_with('/') {
                return Err(Refusal::NotRoutes);
            }
            let target = if target.starts_with('/') {
                RouteTarget::Folder(file(target).map_err(|_| Refusal::NotRoutes)?)
            } else {
                RouteTarget::Upstream(upstream(target).map_err(|_| Refusal::NotRoutes)?)
            };
            Ok(Route {
                path: path.to_owned(),
                target,
            })
        })
        .collect()
}

/// `name:password` pairs, comma separated.
pub fn turn_users(text: &str) -> Result<Vec<TurnUser>, Refusal> {
    list(text)
        .map(|pair| match pair.split_once(':') {
            Some((name, password)) if !name.is_empty() && !password.is_empty() => Ok(TurnUser {
                name: name.to_owned(),
                password: Secret::new(password),
            }),
            _ => Err(Refusal::NotUsers),
        })
        .collect()
}

/// nginx's names of TLS versions, separated by blanks. Older ones than 1.2 are not spoken, and passed over.
pub fn tls_versions(text: &str) -> Result<TlsVersions, Refusal> {
    let mut versions = TlsVersions {
        tls12: false,
        tls13: false,
    };
    for word in text.split_ascii_whitespace() {
        match word {
            "TLSv1.2" => versions.tls12 = true,
            "TLSv1.3" => versions.tls13 = true,
            "SSLv2" | "SSLv3" | "TLSv1" | "TLSv1.1" => {}
            _ => return Err(Refusal::NotTlsVersions),
        }
    }
    if versions.tls12 || versions.tls13 {
        Ok(versions)
    } else {
        Err(Refusal::NotTlsVersions)
    }
}

/// OpenSSL's list of cipher suites; empty is all.
pub fn cipher_list(text: &str) -> Result<CipherList, Refusal> {
    Ok(CipherList::read(text))
}

/// A header value.
pub fn header_value(text: &str) -> Result<String, Refusal> {
    http::HeaderValue::from_str(text)
        .map(|_| text.to_owned())
        .map_err(|_| Refusal::NotHeaderValue)
}

/// Log levels: one for all, and `module=level` pairs. A word that is no level would be taken for a module.
pub fn log_levels(text: &str) -> Result<String, Refusal> {
    let is_level = |level: &str| {
        ["off", "error", "warn", "info", "debug", "trace"]
            .iter()
            .any(|word| word.eq_ignore_ascii_case(level))
    };
    let is_directive = |directive: &str| match directive.split_once('=') {
        Some((module, level)) => !module.is_empty() && is_level(level),
        None => is_level(directive),
    };
    if text.split(',').all(is_directive)
        && tracing_subscriber::filter::Targets::from_str(text).is_ok()
    {
        Ok(text.to_owned())
    } else {
        Err(Refusal::NotLogLevels)
    }
}

/// `auto`, `text` or `json`.
pub fn log_format(text: &str) -> Result<LogFormat, Refusal> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Refusal::NotOneOf("auto, text, json")),
    }
}

/// `OPENVIDU_EDITION`, kept as written.
pub fn edition(text: &str) -> Result<Option<String>, Refusal> {
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
