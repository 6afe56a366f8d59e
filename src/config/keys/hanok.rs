//! Our own keys.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::key::{About, AnyKey, Effect, Empty, Key};
use crate::config::validate;
use crate::config::values::{
    AppUpstream, CallOpen, Front, Listen, LogFormat, Route, Server, SubscribeOffer, TurnUser,
    Workers,
};
use crate::units::Secret;

/// The keys of this file, in the order of the sample file.
pub(crate) static KEYS: &[&dyn AnyKey] = &[
    &HANOK_STATE_DIR,
    &HANOK_APP_UPSTREAM,
    &HANOK_PROXY_ROUTES,
    &HANOK_ERROR_PAGES,
    &HANOK_PLAIN_LISTEN,
    &HANOK_FRONT,
    &HANOK_TRUSTED_PROXIES,
    &HANOK_CERTIFICATE_FILE,
    &HANOK_CERTIFICATE_KEY_FILE,
    &HANOK_ACME_DIRECTORY,
    &HANOK_ACME_CA_FILE,
    &HANOK_ACME_PORTS_FORWARDED,
    &HANOK_ACME_EAB_KEY_ID,
    &HANOK_ACME_EAB_HMAC_KEY,
    &HANOK_MEDIA_MIN_PORT,
    &HANOK_MEDIA_MAX_PORT,
    &HANOK_WORKERS,
    &HANOK_BIND,
    &HANOK_EXTERNAL_IP,
    &HANOK_PUBLIC_ADDRESS_SERVERS,
    &HANOK_TURN_TLS_LISTEN,
    &HANOK_TURN_ALLOWED_PEERS,
    &HANOK_TURN_DENIED_PEERS,
    &HANOK_TURN_USERS,
    &HANOK_TURN_USER_QUOTA,
    &HANOK_TURN_SOURCE_QUOTA,
    &HANOK_TURN_TOTAL_QUOTA,
    &HANOK_TURN_ALLOCATION_KBPS,
    &HANOK_TURN_TOTAL_KBPS,
    &HANOK_OUTBOUND_DENY,
    &HANOK_SUBSCRIBE_OFFER,
    &HANOK_RECONNECT_GRACE,
    &HANOK_STOP_DEADLINE,
    &HANOK_CALL_OPEN,
    &HANOK_ADMIN_LISTEN,
    &HANOK_CONTROL_SOCKET,
    &HANOK_LOG,
    &HANOK_LOG_FORMAT,
];

pub(crate) static HANOK_STATE_DIR: Key<PathBuf> = Key {
    parse: validate::file,
    about: About {
        name: "HANOK_STATE_DIR",
        default: Some("/var/lib/hanok"),
        doc: "Certificates, accounts, database, spool.",
        empty: Empty::Default,
        accepts: &["/var/lib/hanok", "/srv/hanok"],
        refuses: &["a\0b"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_APP_UPSTREAM: Key<AppUpstream> = Key {
    parse: validate::app_upstream,
    about: About {
        name: "HANOK_APP_UPSTREAM",
        default: Some("auto"),
        doc: "Where / goes. A URL: always there. none: 404. auto: http://127.0.0.1:5442 once anything has ever answered there, until then the built-in call page. The certificate of an https upstream is checked unless it is on this machine.",
        empty: Empty::Default,
        accepts: &[
            "auto",
            "none",
            "http://127.0.0.1:8080",
            "http://[::1]:8080/",
            "https://127.0.0.1:8443",
        ],
        refuses: &[
            "127.0.0.1:8080",
            "https://user@example.com",
            "http://127.0.0.1:8080/app",
            "ftp://a",
        ],
        ..About::LIVE
    },
};

pub(crate) static HANOK_PROXY_ROUTES: Key<Vec<Route>> = Key {
    parse: validate::routes,
    about: About {
        name: "HANOK_PROXY_ROUTES",
        default: Some(""),
        doc: "Further path=upstream pairs, comma separated; the longest prefix wins, and OpenVidu's own paths before it; the path reaches the upstream as it is. path=/folder serves files: index.html answers for a folder and for whatever may be a page of a single-page application; links and hidden files are not served.",
        empty: Empty::Value,
        accepts: &[
            "",
            "/api=http://127.0.0.1:8080, /v2=https://10.0.0.2, /files=/srv/files",
        ],
        refuses: &["api=http://127.0.0.1:8080", "/api", "/api=8080"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_ERROR_PAGES: Key<Option<PathBuf>> = Key {
    parse: validate::optional_file,
    about: About {
        name: "HANOK_ERROR_PAGES",
        default: Some(""),
        doc: "A folder with pages of your own for what goes wrong in the proxy: 404.html, and 50x.html for 500, 502, 503 and 504. What your application answers is never replaced.",
        empty: Empty::Value,
        accepts: &["", "/etc/hanok/pages"],
        refuses: &["a\0b"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_PLAIN_LISTEN: Key<Option<Listen>> = Key {
    parse: validate::listen,
    about: About {
        name: "HANOK_PLAIN_LISTEN",
        default: Some("127.0.0.1:5443"),
        doc: "Plain HTTP with /openvidu and /dashboard only, where applications on this machine and your own nginx find the server; empty is off.",
        empty: Empty::Value,
        accepts: &["", ":5443", "127.0.0.1:5443", "[::1]:5443"],
        refuses: &["5443", "localhost:5443", "127.0.0.1:0", ":65536"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_FRONT: Key<Front> = Key {
    parse: validate::front,
    about: About {
        name: "HANOK_FRONT",
        default: Some("on"),
        doc: "off: bind neither the HTTPS nor the HTTP port, for those who keep their own proxy; public URLs stay the same.",
        empty: Empty::Default,
        accepts: &["on", "off"],
        refuses: &["true", "OFF"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_TRUSTED_PROXIES: Key<Vec<IpNet>> = Key {
    parse: validate::networks,
    about: About {
        name: "HANOK_TRUSTED_PROXIES",
        default: Some("127.0.0.1,::1"),
        doc: "Whose X-Forwarded-* and X-Real-IP headers are believed: addresses and networks, comma separated; empty is nobody.",
        empty: Empty::Value,
        accepts: &["", "127.0.0.1,::1", "10.0.0.0/8"],
        refuses: &["localhost", "10.0.0.0/40"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_CERTIFICATE_FILE: Key<Option<PathBuf>> = Key {
    parse: validate::optional_file,
    about: About {
        name: "HANOK_CERTIFICATE_FILE",
        doc: "The PEM file of your certificate with its chain, for CERTIFICATE_TYPE=owncert. Unset: owncert/certificate.cert beside this file.",
        empty: Empty::Default,
        accepts: &["/etc/letsencrypt/live/example.com/fullchain.pem"],
        refuses: &["a\0b"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_CERTIFICATE_KEY_FILE: Key<Option<PathBuf>> = Key {
    parse: validate::optional_file,
    about: About {
        name: "HANOK_CERTIFICATE_KEY_FILE",
        doc: "The PEM file of its private key. Unset: owncert/certificate.key beside this file.",
        empty: Empty::Default,
        accepts: &["/etc/letsencrypt/live/example.com/privkey.pem"],
        refuses: &["a\0b"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_ACME_DIRECTORY: Key<String> = Key {
    parse: validate::url,
    about: About {
        name: "HANOK_ACME_DIRECTORY",
        default: Some("https://acme-v02.api.letsencrypt.org/directory"),
        doc: "The directory of the ACME server.",
        empty: Empty::Default,
        accepts: &["https://127.0.0.1:14000/dir"],
        refuses: &["letsencrypt"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_ACME_CA_FILE: Key<Option<PathBuf>> = Key {
    parse: validate::optional_file,
    about: About {
        name: "HANOK_ACME_CA_FILE",
        default: Some(""),
        doc: "The PEM file of the root that the ACME server's own certificate leads to; empty is the public roots.",
        empty: Empty::Value,
        accepts: &["", "/etc/pebble/ca.pem"],
        refuses: &["a\0b"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_ACME_PORTS_FORWARDED: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "HANOK_ACME_PORTS_FORWARDED",
        default: Some("false"),
        doc: "80 and 443 reach other ports of ours by forwarding.",
        empty: Empty::Default,
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_ACME_EAB_KEY_ID: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "HANOK_ACME_EAB_KEY_ID",
        default: Some(""),
        doc: "The key identifier of your account with an ACME server that wants external account binding, such as ZeroSSL or Google; with HANOK_ACME_EAB_HMAC_KEY.",
        empty: Empty::Value,
        accepts: &["", "kid-1"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static HANOK_ACME_EAB_HMAC_KEY: Key<Option<Secret>> = Key {
    parse: validate::base64url_secret,
    about: About {
        name: "HANOK_ACME_EAB_HMAC_KEY",
        default: Some(""),
        doc: "The key that belongs to it, base64url as the authority shows it.",
        empty: Empty::Value,
        secret: true,
        accepts: &[
            "",
            "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
        ],
        refuses: &["a+b/", "a b", "a"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_MEDIA_MIN_PORT: Key<u16> = Key {
    parse: validate::port,
    about: About {
        name: "HANOK_MEDIA_MIN_PORT",
        aliases: &["KMS_DOCKER_ENV_KMS_MIN_PORT"],
        default: Some("40000"),
        unit: "port",
        doc: "The first media port, UDP and TCP.",
        empty: Empty::Default,
        accepts: &["1", "65535"],
        refuses: &["0", "65536", "-1", "x", "1.5", "80 "],
        ..About::RESTART
    },
};

pub(crate) static HANOK_MEDIA_MAX_PORT: Key<u16> = Key {
    parse: validate::port,
    about: About {
        name: "HANOK_MEDIA_MAX_PORT",
        aliases: &["KMS_DOCKER_ENV_KMS_MAX_PORT"],
        default: Some("57000"),
        unit: "port",
        doc: "The last media port.",
        empty: Empty::Default,
        accepts: &["1", "65535"],
        refuses: &["0", "65536", "-1", "x", "1.5", "80 "],
        ..About::RESTART
    },
};

pub(crate) static HANOK_WORKERS: Key<Workers> = Key {
    parse: validate::workers,
    about: About {
        name: "HANOK_WORKERS",
        default: Some("auto"),
        unit: "threads",
        doc: "Media threads; auto is one for each core.",
        empty: Empty::Default,
        accepts: &["auto", "1", "1024"],
        refuses: &["0", "-1", "1025", "many"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_BIND: Key<Vec<IpAddr>> = Key {
    parse: validate::addresses,
    about: About {
        name: "HANOK_BIND",
        default: Some("0.0.0.0,::"),
        doc: "Listening addresses, comma separated.",
        empty: Empty::Default,
        accepts: &["0.0.0.0,::", "203.0.113.7"],
        refuses: &["*", "0.0.0.0:80", "localhost", ","],
        ..About::RESTART
    },
};

pub(crate) static HANOK_EXTERNAL_IP: Key<Vec<IpAddr>> = Key {
    parse: validate::external_addresses,
    about: About {
        name: "HANOK_EXTERNAL_IP",
        default: Some(""),
        doc: "The public address behind 1:1 address translation, as on EC2; one per family, comma separated.",
        empty: Empty::Value,
        accepts: &["", "203.0.113.7", "203.0.113.7,2001:db8::7"],
        refuses: &["example.com", "203.0.113.7,203.0.113.8", "0.0.0.0"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_PUBLIC_ADDRESS_SERVERS: Key<Vec<Server>> = Key {
    parse: validate::servers,
    about: About {
        name: "HANOK_PUBLIC_ADDRESS_SERVERS",
        default: Some("stun.cloudflare.com:3478,stun.l.google.com:19302,stun.nextcloud.com:443"),
        doc: "STUN servers that are asked for this machine's public address, in the background, where COTURN_IP or PROXY_PUBLIC_IP is auto-ipv4 or auto-ipv6 and neither the interfaces nor the domain tell it. Two must agree, unless there is but one; empty asks nobody.",
        empty: Empty::Value,
        accepts: &["", "stun.example.com:3478, [2001:db8::1]:3478"],
        refuses: &[
            "stun.example.com",
            "stun:stun.example.com:3478",
            "a:0",
            "2001:db8::1:3478",
        ],
        ..About::LIVE
    },
};

pub(crate) static HANOK_TURN_TLS_LISTEN: Key<Option<Listen>> = Key {
    parse: validate::listen,
    about: About {
        name: "HANOK_TURN_TLS_LISTEN",
        default: Some(""),
        doc: "TURN over TLS on a port of its own, beside the HTTPS port; empty is off. Clients are offered both by the name in DOMAIN_OR_PUBLIC_IP while the certificate is publicly valid.",
        empty: Empty::Value,
        accepts: &["", ":5349", "203.0.113.7:5349"],
        refuses: &["5349", ":0"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_TURN_ALLOWED_PEERS: Key<Vec<IpNet>> = Key {
    parse: validate::networks,
    about: About {
        name: "HANOK_TURN_ALLOWED_PEERS",
        default: Some(""),
        doc: "Networks that TURN may relay to over the built-in deny list; allowed wins over denied.",
        empty: Empty::Value,
        accepts: &["", "10.0.0.0/8"],
        refuses: &["lan"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_TURN_DENIED_PEERS: Key<Vec<IpNet>> = Key {
    parse: validate::networks,
    about: About {
        name: "HANOK_TURN_DENIED_PEERS",
        default: Some(""),
        doc: "Networks that TURN may not relay to, beside the built-in deny list.",
        empty: Empty::Value,
        accepts: &["", "203.0.113.0/24"],
        refuses: &["lan"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_TURN_USERS: Key<Vec<TurnUser>> = Key {
    parse: validate::turn_users,
    about: About {
        name: "HANOK_TURN_USERS",
        default: Some(""),
        doc: "Static TURN users beside the time-limited ones, as name:password pairs, comma separated.",
        empty: Empty::Value,
        secret: true,
        accepts: &["", "me:word,you:w:rd"],
        refuses: &["me", ":word", "me:"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_TURN_USER_QUOTA: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "HANOK_TURN_USER_QUOTA",
        default: Some("256"),
        unit: "allocations",
        doc: "TURN allocations that one user name may have at the same time, on all media threads together; 0 is unlimited. A participant needs a few for each stream that it sends or receives.",
        empty: Empty::Default,
        accepts: &["0", "256"],
        refuses: &["-1", "many", "1.5"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_TURN_SOURCE_QUOTA: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "HANOK_TURN_SOURCE_QUOTA",
        default: Some("2048"),
        unit: "allocations",
        doc: "TURN allocations from one client address (IPv6: from one /64 network), as of an office behind one router; 0 is unlimited.",
        empty: Empty::Default,
        accepts: &["0", "2048"],
        refuses: &["-1", "many", "1.5"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_TURN_TOTAL_QUOTA: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "HANOK_TURN_TOTAL_QUOTA",
        default: Some("32768"),
        unit: "allocations",
        doc: "TURN allocations in all; 0 is unlimited, up to the number of relay ports.",
        empty: Empty::Default,
        accepts: &["0", "32768"],
        refuses: &["-1", "many", "1.5"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_TURN_ALLOCATION_KBPS: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "HANOK_TURN_ALLOCATION_KBPS",
        default: Some("0"),
        unit: "kbit/s",
        doc: "The most that one TURN allocation may relay, both directions together; 0 is unlimited.",
        empty: Empty::Default,
        accepts: &["0", "100000"],
        refuses: &["-1", "many", "1.5"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_TURN_TOTAL_KBPS: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "HANOK_TURN_TOTAL_KBPS",
        default: Some("0"),
        unit: "kbit/s",
        doc: "The most that all TURN allocations may relay, both directions together; each media thread gets an equal share. 0 is unlimited.",
        empty: Empty::Default,
        accepts: &["0", "100000"],
        refuses: &["-1", "many", "1.5"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_OUTBOUND_DENY: Key<Vec<IpNet>> = Key {
    parse: validate::networks,
    about: About {
        name: "HANOK_OUTBOUND_DENY",
        default: Some(""),
        doc: "Networks that URLs arriving by REST may not lead to.",
        empty: Empty::Value,
        effect: Effect::Later("IP cameras"),
        accepts: &["", "10.0.0.0/8"],
        refuses: &["lan"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_SUBSCRIBE_OFFER: Key<SubscribeOffer> = Key {
    parse: validate::subscribe_offer,
    about: About {
        name: "HANOK_SUBSCRIBE_OFFER",
        default: Some("client"),
        doc: "Who offers when a client subscribes: client, as with Kurento, or server, as with mediasoup, which forces no codec.",
        empty: Empty::Default,
        accepts: &["client", "server"],
        refuses: &["Server", "kurento"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_RECONNECT_GRACE: Key<Duration> = Key {
    parse: validate::duration,
    about: About {
        name: "HANOK_RECONNECT_GRACE",
        default: Some("10"),
        unit: "seconds",
        doc: "How long a participant outlives its closed socket. One whose signalling has only fallen silent stays for up to two minutes while its media still arrives.",
        empty: Empty::Default,
        accepts: &["10", "500ms", "5s", "1m"],
        refuses: &["-1", "five", "10 days", "48h"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_STOP_DEADLINE: Key<Duration> = Key {
    parse: validate::duration,
    about: About {
        name: "HANOK_STOP_DEADLINE",
        default: Some("5"),
        unit: "seconds",
        doc: "On SIGTERM clients are told, sockets closed and the process ended within this time.",
        empty: Empty::Default,
        accepts: &["5", "0", "500ms"],
        refuses: &["-1", "s"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_CALL_OPEN: Key<CallOpen> = Key {
    parse: validate::call_open,
    about: About {
        name: "HANOK_CALL_OPEN",
        default: Some("secret"),
        doc: "Who may open rooms on the call page: open (everybody), secret, or off.",
        empty: Empty::Default,
        effect: Effect::Later("call page of its own"),
        accepts: &["open", "secret", "off"],
        refuses: &["on"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_ADMIN_LISTEN: Key<Option<Listen>> = Key {
    parse: validate::listen,
    about: About {
        name: "HANOK_ADMIN_LISTEN",
        default: Some("127.0.0.1:9641"),
        doc: "Where monitoring reads /metrics, /healthz and /readyz over plain HTTP, without a password; empty is off. Where it is not set and its port is taken, it is off too.",
        empty: Empty::Value,
        accepts: &["", "127.0.0.1:9641", ":9641"],
        refuses: &["9641"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_CONTROL_SOCKET: Key<PathBuf> = Key {
    parse: validate::file,
    about: About {
        name: "HANOK_CONTROL_SOCKET",
        default: Some("/run/hanok/control.sock"),
        doc: "The Unix socket of hanok status, drain, reload and their siblings. Root, the user who runs hanok and the members of its group may use it.",
        empty: Empty::Default,
        accepts: &["/run/hanok/control.sock", "/run/h.sock"],
        refuses: &["a\0b"],
        ..About::RESTART
    },
};

pub(crate) static HANOK_LOG: Key<String> = Key {
    parse: validate::log_levels,
    about: About {
        name: "HANOK_LOG",
        default: Some("info"),
        doc: "Log levels: one for all, and module=level pairs, comma separated. access=off leaves out the access log.",
        empty: Empty::Default,
        accepts: &["info", "warn,hanok::media=debug", "info,access=off"],
        refuses: &["loud", "info,x=loud"],
        ..About::LIVE
    },
};

pub(crate) static HANOK_LOG_FORMAT: Key<LogFormat> = Key {
    parse: validate::log_format,
    about: About {
        name: "HANOK_LOG_FORMAT",
        default: Some("auto"),
        doc: "How lines of the log look: text for people, json with one object in each line, or auto: text on a terminal, json otherwise.",
        empty: Empty::Default,
        accepts: &["auto", "text", "json"],
        refuses: &["JSON", "logfmt"],
        ..About::RESTART
    },
};
