//! Every key of OpenVidu's reference, and what becomes of it here.
//!
//! The lists are the reference's own (`openvidu-deployment` sections 3 and 15, design section 5), so that a key that is
//! lost from the table is missed here. A key either takes effect at the place that stands beside it, or start-up says
//! why nothing follows from it.

use std::fs;
use std::path::Path;

use crate::config::fake::FakeMachine;
use crate::config::key::{About, Effect};
use crate::config::{Loaded, Note, Options, keys, load};

/// What becomes of a key.
#[derive(Clone, Copy)]
enum Fate {
    /// It does what its doc says: a file of `src/` and a word in it by which the place is found.
    Does(&'static str, &'static str),
    /// What it controls is not built yet; start-up warns whoever sets it.
    NotYet,
    /// It has no counterpart; start-up says so for information.
    Nothing,
    /// It counts in the process environment.
    Environment,
}
use Fate::{Does, Environment, NotYet, Nothing};

/// Section 3.1: the server's.
const SERVER: &[(&str, Fate)] = &[
    ("DOMAIN_OR_PUBLIC_IP", Does("daemon/web.rs", "public")),
    ("OPENVIDU_SECRET", Does("daemon/mod.rs", "secret")),
    ("CERTIFICATE_TYPE", Does("daemon/web.rs", "certificate")),
    ("HTTPS_PORT", Does("daemon/web.rs", "https_port")),
    ("SERVER_PORT", Does("daemon/web.rs", "plain")),
    ("SERVER_SSL_ENABLED", Nothing),
    ("FORCE_PLAIN_HTTP", Does("config/settings.rs", "plain_http")),
    (
        "SUPPORT_DEPRECATED_API",
        Does("front/proxy/routes.rs", "deprecated"),
    ),
    ("DOTENV_PATH", Environment),
    ("OPENVIDU_DEV", Nothing),
    ("KMS_URIS", Nothing),
    (
        "MEDIA_NODES_PUBLIC_IPS",
        Does("media/net/addresses.rs", "nodes"),
    ),
    ("COTURN_IP", Does("daemon/media.rs", "turn_host")),
    ("COTURN_PORT", Does("daemon/media.rs", "turn_sockets")),
    (
        "COTURN_SHARED_SECRET_KEY",
        Does("daemon/state.rs", "turn_secrets"),
    ),
    (
        "COTURN_INTERNAL_RELAY",
        Does("daemon/turn.rs", "internal_relay"),
    ),
    ("OPENVIDU_CDR", NotYet),
    ("OPENVIDU_CDR_PATH", NotYet),
    ("OPENVIDU_RECORDING", NotYet),
    ("OPENVIDU_RECORDING_DEBUG", NotYet),
    ("OPENVIDU_RECORDING_VERSION", NotYet),
    ("OPENVIDU_RECORDING_IMAGE", NotYet),
    ("OPENVIDU_RECORDING_ENABLE_GPU", NotYet),
    ("OPENVIDU_RECORDING_PATH", NotYet),
    ("OPENVIDU_RECORDING_PUBLIC_ACCESS", NotYet),
    ("OPENVIDU_RECORDING_NOTIFICATION", NotYet),
    (
        "OPENVIDU_RECORDING_CUSTOM_LAYOUT",
        Does("front/proxy/routes.rs", "layouts"),
    ),
    ("OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT", NotYet),
    ("OPENVIDU_RECORDING_COMPOSED_URL", NotYet),
    ("OPENVIDU_RECORDING_COMPOSED_BASICAUTH", NotYet),
    (
        "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH",
        Does("control/session/publishing.rs", "video_max_recv"),
    ),
    ("OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH", NotYet),
    (
        "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH",
        Does("control/session/subscribing.rs", "video_max_send"),
    ),
    ("OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH", NotYet),
    (
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC",
        Does("control/session/publishing.rs", "forced_video_codec"),
    ),
    (
        "OPENVIDU_STREAMS_ALLOW_TRANSCODING",
        Does("control/session/publishing.rs", "allow_transcoding"),
    ),
    (
        "OPENVIDU_SESSIONS_GARBAGE_INTERVAL",
        Does("daemon/web.rs", "garbage_interval"),
    ),
    (
        "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD",
        Does("control/session/core.rs", "garbage_threshold"),
    ),
    ("OPENVIDU_WEBHOOK", NotYet),
    ("OPENVIDU_WEBHOOK_ENDPOINT", NotYet),
    ("OPENVIDU_WEBHOOK_HEADERS", NotYet),
    ("OPENVIDU_WEBHOOK_EVENTS", NotYet),
    (
        "OPENVIDU_WEBRTC_ICE_SERVERS",
        Does("control/rest/connections.rs", "ice_servers"),
    ),
    // Of section 15.
    ("OPENVIDU_WEBRTC_SIMULCAST", NotYet),
    (
        "OPENVIDU_EDITION",
        Does("control/rest/connections.rs", "community_edition"),
    ),
];

/// Section 3.2: the proxy's.
const PROXY: &[(&str, Fate)] = &[
    ("HTTP_PORT", Does("daemon/web.rs", "http_port")),
    ("LETSENCRYPT_EMAIL", Does("daemon/web.rs", "email")),
    ("REDIRECT_WWW", Does("front/proxy/redirect.rs", "www")),
    ("WORKER_CONNECTIONS", Nothing),
    (
        "ALLOWED_ACCESS_TO_DASHBOARD",
        Does("front/proxy/access.rs", "dashboard"),
    ),
    (
        "ALLOWED_ACCESS_TO_RESTAPI",
        Does("front/proxy/access.rs", "rest"),
    ),
    ("HTTPS_PROTOCOLS", Does("front/proxy/tls.rs", "tls12")),
    ("HTTPS_CIPHERS", Does("front/proxy/tls.rs", "suites")),
    ("HTTPS_HSTS", Does("daemon/web.rs", "hsts")),
    ("PROXY_PUBLIC_IP", Does("daemon/web.rs", "public_ip")),
    ("DOCKER_LOGS_MAX_SIZE", Nothing),
];

/// Section 3.3: what else stands in the template or the compose files.
const OTHERS: &[(&str, Fate)] = &[
    ("KMS_IMAGE", Nothing),
    ("KMS_DOCKER_ENV_GST_DEBUG", Nothing),
    ("OV_CE_DEBUG_LEVEL", Does("config/settings.rs", "log")),
    ("JAVA_OPTIONS", Nothing),
    ("KMS_DOCKER_ENV_KURENTO_LOG_FILE_SIZE", Nothing),
    ("COTURN_MIN_PORT", Does("daemon/turn.rs", "relay_ports")),
    ("COTURN_MAX_PORT", Does("daemon/turn.rs", "relay_ports")),
    (
        "KMS_DOCKER_ENV_KMS_MIN_PORT",
        Does("daemon/media.rs", "ports"),
    ),
    (
        "KMS_DOCKER_ENV_KMS_MAX_PORT",
        Does("daemon/media.rs", "ports"),
    ),
    ("CALL_PRIVATE_ACCESS", Nothing),
    ("CALL_USER", Nothing),
    ("CALL_SECRET", Nothing),
    ("CALL_ADMIN_SECRET", Nothing),
    ("CALL_RECORDING", Nothing),
];

/// Design section 5: ours. Whether they do something yet is said by their entries.
const OURS: &[&str] = &[
    "HANOK_STATE_DIR",
    "HANOK_APP_UPSTREAM",
    "HANOK_PROXY_ROUTES",
    "HANOK_PLAIN_LISTEN",
    "HANOK_FRONT",
    "HANOK_TRUSTED_PROXIES",
    "HANOK_ACME_DIRECTORY",
    "HANOK_ACME_CA_FILE",
    "HANOK_MEDIA_MIN_PORT",
    "HANOK_MEDIA_MAX_PORT",
    "HANOK_WORKERS",
    "HANOK_BIND",
    "HANOK_EXTERNAL_IP",
    "HANOK_TURN_TLS_LISTEN",
    "HANOK_TURN_ALLOWED_PEERS",
    "HANOK_TURN_DENIED_PEERS",
    "HANOK_SUBSCRIBE_OFFER",
    "HANOK_TURN_USERS",
    "HANOK_OUTBOUND_DENY",
    "HANOK_ACME_PORTS_FORWARDED",
    "HANOK_LOG",
    "HANOK_STOP_DEADLINE",
    "HANOK_RECONNECT_GRACE",
    "HANOK_CALL_OPEN",
    "HANOK_ADMIN_LISTEN",
    "HANOK_CONTROL_SOCKET",
];

const GOOD: &str = "DOMAIN_OR_PUBLIC_IP=example.com\nOPENVIDU_SECRET=0123456789abcdef\n";

/// What two lines that differ from key to key need beside.
const BESIDE: &[(&str, &str)] = &[
    ("LETSENCRYPT_EMAIL", "CERTIFICATE_TYPE=letsencrypt"),
    ("CERTIFICATE_TYPE", "LETSENCRYPT_EMAIL=me@example.org"),
    ("HANOK_ACME_EAB_KEY_ID", "HANOK_ACME_EAB_HMAC_KEY=abcd"),
    ("HANOK_ACME_EAB_HMAC_KEY", "HANOK_ACME_EAB_KEY_ID=kid"),
    (
        "OPENVIDU_WEBHOOK",
        "OPENVIDU_WEBHOOK_ENDPOINT=http://127.0.0.1:7777/",
    ),
    ("HANOK_CERTIFICATE_FILE", "CERTIFICATE_TYPE=owncert"),
    ("HANOK_CERTIFICATE_KEY_FILE", "CERTIFICATE_TYPE=owncert"),
    ("COTURN_MIN_PORT", "COTURN_MAX_PORT=65535"),
    ("HANOK_MEDIA_MIN_PORT", "HANOK_MEDIA_MAX_PORT=65535"),
    ("KMS_DOCKER_ENV_KMS_MIN_PORT", "HANOK_MEDIA_MAX_PORT=65535"),
];

/// What is loaded where this key, by this name, is set to one of its own examples; every example that goes with the
/// rest.
fn set(name: &str, about: &About) -> Vec<Loaded> {
    let beside = BESIDE.iter().find(|(key, _)| *key == name);
    let beside = beside.map_or("", |(_, line)| line);
    let mut examples: Vec<&str> = about.accepts.to_vec();
    if about.unit == "port" {
        examples.push("64000");
    }
    let with = |text: &str| {
        let mut machine = FakeMachine::default();
        let file = format!("{GOOD}{beside}\n{name}={text}\n");
        machine.files.insert("/etc/hanok/.env".into(), file.into());
        for path in about.accepts.iter().filter(|text| text.starts_with('/')) {
            machine.files.insert(path.into(), Vec::new());
        }
        for name in ["certificate.cert", "certificate.key"] {
            let path = Path::new("/etc/hanok/owncert").join(name);
            machine.files.insert(path, Vec::new());
        }
        load(&machine, &Options::default()).ok()
    };
    examples.into_iter().filter_map(with).collect()
}

/// The typed configuration without a secret's value, which has no printed form.
fn shown(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let secrets: Vec<_> = config.turn.secrets.iter().map(|it| it.expose()).collect();
    let hmac = config.acme.binding.as_ref().map(|(_, key)| key.expose());
    let secret = config.secret.expose();
    format!("{config:?} {secret} {secrets:?} {hmac:?}")
}

fn note_about(loaded: &Loaded, key: &str) -> Option<Note> {
    let mut notes = loaded.notes.iter();
    let found = notes.find(|note| match note {
        Note::NoEffectYet { name, .. } | Note::OnlyInEnvironment { name, .. } => *name == key,
        Note::NoCounterpart { names, .. } => names.iter().any(|name| name == key),
        Note::Line { .. }
        | Note::UnknownKey { .. }
        | Note::OpenSecretFile { .. }
        | Note::UnknownCiphers { .. }
        | Note::ShortSecret { .. }
        | Note::FilesDiffer { .. }
        | Note::MissingFile(_)
        | Note::RangesOverlap { .. }
        | Note::Edition { .. } => false,
    });
    found.cloned()
}

#[test]
fn every_key_of_the_reference_does_something_or_start_up_says_why_not() {
    for (name, fate) in SERVER.iter().chain(PROXY).chain(OTHERS) {
        let key = keys::find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let about = key.about();
        let fits = match fate {
            Does(..) => about.effect == Effect::Now,
            NotYet => matches!(about.effect, Effect::Later(_)),
            Nothing => matches!(about.effect, Effect::Never(_)),
            Environment => about.effect == Effect::InEnvironment,
        };
        assert!(fits, "{name}: {:?}", about.effect);
        if let Does(file, word) = fate {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
            let text = fs::read_to_string(&path).unwrap_or_default();
            assert!(text.contains(word), "{name}: there is no {word} in {file}");
        }
    }
}

#[test]
fn every_key_is_in_a_reference_or_is_ours() {
    for key in keys::all() {
        let about = key.about();
        let mut names = std::iter::once(&about.name).chain(about.aliases);
        let is_listed = names.any(|name| {
            let mut listed = SERVER.iter().chain(PROXY).chain(OTHERS);
            listed.any(|(listed, _)| listed == name)
        });
        assert!(
            is_listed || about.name.starts_with("HANOK_"),
            "{} is in no list",
            about.name
        );
    }
    for name in OURS {
        assert!(keys::find(name).is_some(), "{name} is not in the table");
    }
}

#[test]
fn a_key_that_does_something_changes_the_configuration_and_any_other_is_named_when_it_is_set() {
    let plain = |name: &str| {
        let beside = BESIDE.iter().find(|(key, _)| *key == name);
        let beside = beside.map_or("", |(_, line)| line);
        let mut machine = FakeMachine::default();
        let file = format!("{GOOD}{beside}\n");
        machine.files.insert("/etc/hanok/.env".into(), file.into());
        for name in ["certificate.cert", "certificate.key"] {
            let path = Path::new("/etc/hanok/owncert").join(name);
            machine.files.insert(path, Vec::new());
        }
        // Alone it may be refused, and then any accepted value is a change.
        load(&machine, &Options::default()).map(|loaded| shown(&loaded))
    };
    for key in keys::all() {
        let about = key.about();
        for name in std::iter::once(about.name).chain(about.aliases.iter().copied()) {
            let loaded = set(name, about);
            assert!(!loaded.is_empty(), "{name} is refused with every example");
            let default = about.default.unwrap_or_default();
            let noted = loaded
                .iter()
                .find_map(|loaded| note_about(loaded, about.name));
            match about.effect {
                Effect::Now => {
                    let plain = plain(name).unwrap_or_default();
                    let mut all = loaded.iter();
                    assert!(
                        all.any(|loaded| shown(loaded) != plain),
                        "{name} changes nothing"
                    );
                    assert_eq!(noted, None, "{name}");
                }
                Effect::Later(_) | Effect::Never(_) | Effect::InEnvironment => {
                    let differs =
                        |text: &&&str| !text.is_empty() && !text.eq_ignore_ascii_case(default);
                    let can_differ = about.accepts.iter().any(|text| differs(&text));
                    assert_eq!(noted.is_some(), can_differ, "{name}: {noted:?}");
                }
            }
        }
    }
}
