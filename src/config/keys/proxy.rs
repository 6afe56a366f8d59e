//! The keys of OpenVidu's proxy (`openvidu-deployment` section 3.2).

use ipnet::IpNet;

use crate::config::key::{About, AnyKey, Effect, Empty, Key};
use crate::config::validate;
use crate::config::values::{CipherList, PublicIp, TlsVersions};

/// The keys of this file, in the order of the sample file.
pub(crate) static KEYS: &[&dyn AnyKey] = &[
    &HTTP_PORT,
    &LETSENCRYPT_EMAIL,
    &REDIRECT_WWW,
    &WORKER_CONNECTIONS,
    &ALLOWED_ACCESS_TO_DASHBOARD,
    &ALLOWED_ACCESS_TO_RESTAPI,
    &HTTPS_PROTOCOLS,
    &HTTPS_CIPHERS,
    &HTTPS_HSTS,
    &PROXY_PUBLIC_IP,
    &DOCKER_LOGS_MAX_SIZE,
];

pub(crate) static HTTP_PORT: Key<u16> = Key {
    parse: validate::port,
    about: About {
        name: "HTTP_PORT",
        default: Some("80"),
        unit: "port",
        doc: "The plain HTTP port: redirect to HTTPS, and Let's Encrypt's challenge, which needs 80.",
        empty: Empty::Default,
        accepts: &["1", "65535"],
        refuses: &["0", "65536", "-1", "x", "1.5", "80 "],
        ..About::RESTART
    },
};

pub(crate) static LETSENCRYPT_EMAIL: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "LETSENCRYPT_EMAIL",
        default: Some("user@example.com"),
        doc: "Your e-mail address for Let's Encrypt; mandatory with CERTIFICATE_TYPE=letsencrypt.",
        empty: Empty::Value,
        accepts: &["", "me@example.org"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static REDIRECT_WWW: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "REDIRECT_WWW",
        default: Some("false"),
        doc: "Redirect www.DOMAIN to DOMAIN; the name is added to the certificate.",
        empty: Empty::Default,
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static WORKER_CONNECTIONS: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "WORKER_CONNECTIONS",
        default: Some("10240"),
        doc: "nginx's connections per worker.",
        empty: Empty::Default,
        effect: Effect::Never(
            "connections are bounded by the file descriptors that the service manager grants (LimitNOFILE)",
        ),
        accepts: &["10240"],
        refuses: &["many"],
        ..About::RESTART
    },
};

pub(crate) static ALLOWED_ACCESS_TO_DASHBOARD: Key<Option<Vec<IpNet>>> = Key {
    parse: validate::access_list,
    about: About {
        name: "ALLOWED_ACCESS_TO_DASHBOARD",
        default: Some(""),
        doc: "Who may use the dashboard: addresses and networks, comma separated; empty or all is everybody. This machine and its private networks are always admitted. Your own proxy in front has to send X-Forwarded-For or X-Real-IP.",
        empty: Empty::Value,
        accepts: &["", "all", "203.0.113.7, 10.0.0.0/8,2001:db8::/32"],
        refuses: &["999.1.1.1/99", "10.0.0.0/33", "example.com", ","],
        ..About::LIVE
    },
};

pub(crate) static ALLOWED_ACCESS_TO_RESTAPI: Key<Option<Vec<IpNet>>> = Key {
    parse: validate::access_list,
    about: About {
        name: "ALLOWED_ACCESS_TO_RESTAPI",
        default: Some(""),
        doc: "Who may use the REST API, likewise; who may use the dashboard may use it, too.",
        empty: Empty::Value,
        accepts: &["", "all", "203.0.113.7"],
        refuses: &["203.0.113"],
        ..About::LIVE
    },
};

pub(crate) static HTTPS_PROTOCOLS: Key<TlsVersions> = Key {
    parse: validate::tls_versions,
    about: About {
        name: "HTTPS_PROTOCOLS",
        default: Some("TLSv1.2 TLSv1.3"),
        doc: "TLS versions; older ones than 1.2 are not spoken.",
        empty: Empty::Default,
        accepts: &["TLSv1.2 TLSv1.3", "TLSv1.3", "TLSv1 TLSv1.1 TLSv1.2"],
        refuses: &["TLSv1.1", "tls13", "TLSv1.2,TLSv1.3"],
        ..About::RESTART
    },
};

pub(crate) static HTTPS_CIPHERS: Key<CipherList> = Key {
    parse: validate::cipher_list,
    about: About {
        name: "HTTPS_CIPHERS",
        default: Some(""),
        doc: "OpenSSL's list of cipher suites for TLS 1.2; those of TLS 1.3 are always spoken. Empty is all that are spoken here: ECDHE with AES-GCM or ChaCha20.",
        empty: Empty::Value,
        accepts: &[
            "",
            "ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256",
            "HIGH:!aNULL:!MD5",
        ],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static HTTPS_HSTS: Key<String> = Key {
    parse: validate::header_value,
    about: About {
        name: "HTTPS_HSTS",
        default: Some("max-age=63072000"),
        doc: "The value of Strict-Transport-Security, sent when the certificate is publicly valid.",
        empty: Empty::Default,
        accepts: &["max-age=0"],
        refuses: &["a\nb"],
        ..About::RESTART
    },
};

pub(crate) static PROXY_PUBLIC_IP: Key<PublicIp> = Key {
    parse: validate::proxy_public_ip,
    about: About {
        name: "PROXY_PUBLIC_IP",
        default: Some("auto-ipv4"),
        doc: "This machine's public address, always admitted by access lists: auto-ipv4, auto-ipv6 or an address. Automatic: that of an interface, else what HANOK_PUBLIC_ADDRESS_SERVERS say.",
        empty: Empty::Default,
        accepts: &["auto-ipv4", "auto-ipv6", "203.0.113.7"],
        refuses: &["me"],
        ..About::RESTART
    },
};

pub(crate) static DOCKER_LOGS_MAX_SIZE: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "DOCKER_LOGS_MAX_SIZE",
        default: Some("100M"),
        doc: "The size of a container's log.",
        empty: Empty::Value,
        effect: Effect::Never("there are no containers, and the journal keeps the log"),
        accepts: &["", "anything"],
        refuses: &[],
        ..About::RESTART
    },
};
