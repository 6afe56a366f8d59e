//! Why a value is refused, and what to write instead.

use crate::units::IceServerError;

/// Why a validator refuses a text (`openvidu-deployment` section 4). The message never repeats the text: it may be
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A secret that authorities hand out in base64url.
    #[error("must be base64url: letters, digits, - and _, copied as the authority shows it")]
    NotBase64Url,
    /// `KEY=` or nothing where something is needed.
    #[error("may not be empty")]
    Empty,
    /// `a,` or `,` where every element of the list counts.
    #[error("has an empty element: write values with commas between them only")]
    EmptyElement,
    /// Not `true` or `false`.
    #[error("is not a boolean: write true or false")]
    NotBoolean,
    /// Not a whole number from 0 to 2147483647.
    #[error(
        "is not a non-negative integer: write a whole number from 0 to 2147483647, without blanks"
    )]
    NotNonNegative,
    /// Not a whole number.
    #[error("is not an integer: write a port from 1 to 65535")]
    NotInteger,
    /// A number, but no port.
    #[error("is out of port range: write a port from 1 to 65535")]
    NotPort,
    /// A character that `OPENVIDU_SECRET` may not have.
    #[error(
        "may contain only letters, digits, hyphen and underscore: write a new one, for example with `openssl rand -hex 24`"
    )]
    NotAlphanumeric,
    /// A secret that is printed in public documents.
    #[error(
        "is a published sample that anybody can guess: write a new one, for example with `openssl rand -hex 24`"
    )]
    PublishedSecret,
    /// Neither address nor name.
    #[error(
        "is not a valid address or domain: write the bare name or IP address, without https://, port, path or brackets"
    )]
    NotInet,
    /// A name with letters outside ASCII.
    #[error("has letters outside ASCII: write the domain in its xn-- form")]
    NotAscii,
    /// A name without a dot that nothing resolves.
    #[error(
        "is not a valid address or domain, and does not resolve: write a public domain name or an IP address"
    )]
    Unresolved,
    /// Not an IP address.
    #[error("is not a valid IP: write an IP address")]
    NotIp,
    /// Not a list of IP addresses.
    #[error(
        "is not a list of IP addresses: write them comma separated, for example 203.0.113.7,2001:db8::7"
    )]
    NotIpList,
    /// Two addresses of one family where one per family is meant.
    #[error("has two addresses of one family: write at most one IPv4 and one IPv6 address")]
    TwoOfOneFamily,
    /// Not a list of addresses or networks.
    #[error(
        "has an element that is no address or network: write IP addresses or CIDR ranges, comma separated, for example 10.0.0.0/8,2001:db8::1"
    )]
    NotNetworks,
    /// Not a path.
    #[error("is not a valid path")]
    NotPath,
    /// A URL that cannot be read.
    #[error(
        "is not a valid URL: write scheme, host and path, for example https://example.com/hook"
    )]
    NotUrl,
    /// A URL without scheme.
    #[error("is not a valid URL: the scheme is missing, write for example https:// in front")]
    UrlWithoutScheme,
    /// A URL without host.
    #[error("is not a valid URL: the host is missing")]
    UrlWithoutHost,
    /// An upstream that is no origin.
    #[error("is not an upstream: write http://HOST:PORT or https://HOST:PORT")]
    NotUpstream,
    /// A word outside the list.
    #[error("must be one of {0}")]
    NotOneOf(&'static str),
    /// Not a JSON array of strings.
    #[error("is not a JSON string array: write for example [\"one\",\"two\"], or [] for none")]
    NotStringArray,
    /// A header without `: `.
    #[error(
        "has a header with wrong syntax: write \"Name: value\" with a colon and a blank, for example [\"Authorization: Basic YWJjZDphYmNk\"]"
    )]
    HeaderSyntax,
    /// A header whose name is empty.
    #[error("has a header with an empty name: write \"Name: value\"")]
    HeaderName,
    /// A header whose value is empty.
    #[error("has a header with an empty value: write \"Name: value\"")]
    HeaderValue,
    /// Webhook events that do not exist, all of them.
    #[error("names events that do not exist: {}. The events are {known}", .unknown.join(", "))]
    UnknownEvents {
        /// The unknown names.
        unknown: Vec<String>,
        /// Every name that exists.
        known: String,
    },
    /// Not a WebSocket URL.
    #[error("is not a WebSocket URL: write [\"ws://localhost:8888/kurento\"]")]
    NotWebSocketUrl,
    /// Not `image:tag`.
    #[error("must be image:tag, with exactly one colon")]
    NotImageTag,
    /// Not `private:public`.
    #[error("is not a valid pair: write [\"PRIVATE_IP:PUBLIC_IP\"] with IPv4 addresses")]
    NotPair,
    /// A part of an ICE server string that is not known, or no URL.
    #[error(
        "has an ICE server with an unknown part, or without a url: write \"url=turns:example.com:443,username=…,credential=…\" or \"url=…,staticAuthSecret=…\""
    )]
    IcePart,
    /// An ICE server that breaks a rule.
    #[error("has an entry that is not a valid ICE server: {0}")]
    IceServer(IceServerError),
    /// Not a duration.
    #[error(
        "is not a duration: write seconds, or a number with ms, s, m or h, for example 5 or 500ms"
    )]
    NotDuration,
    /// Not a number of threads.
    #[error("is not a number of threads: write auto or a number from 1 to 1024")]
    NotThreads,
    /// Not a listening address.
    #[error("is not a listening address: write :PORT or ADDRESS:PORT, IPv6 in brackets")]
    NotListen,
    /// Not a list of servers.
    #[error(
        "is not a list of servers: write HOST:PORT, comma separated, IPv6 addresses in brackets"
    )]
    NotServers,
    /// Not `path=upstream` pairs.
    #[error(
        "is not a list of routes: write path=http://HOST:PORT or path=/folder pairs, comma separated; a path begins with /"
    )]
    NotRoutes,
    /// Not `name:password` pairs.
    #[error("is not a list of users: write name:password pairs, comma separated")]
    NotUsers,
    /// Not log directives.
    #[error(
        "is not a list of log levels: write off, error, warn, info, debug or trace, and module=level pairs, comma separated, for example info,hanok::media=debug"
    )]
    NotLogLevels,
    /// No TLS version that is supported.
    #[error("has no supported version: write TLSv1.2 TLSv1.3, or one of them")]
    NotTlsVersions,
    /// A list of cipher suites of which none is spoken.
    #[error(
        "names no cipher suite of TLS 1.2 that is spoken here: write some of {0}, or leave TLSv1.2 out of HTTPS_PROTOCOLS"
    )]
    NoCipherSuite(String),
    /// An e-mail address for Let's Encrypt that was not changed.
    #[error(
        "must be your e-mail address with CERTIFICATE_TYPE=letsencrypt; the sample address is refused by Let's Encrypt"
    )]
    SampleEmail,
    /// A header value with control characters.
    #[error("has characters that a header value may not have")]
    NotHeaderValue,
}
