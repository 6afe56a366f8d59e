//! The keys of OpenVidu's server (`openvidu-deployment` section 3.1, and two of section 15).

use std::time::Duration;

use crate::config::key::{About, AnyKey, Effect, Empty, Key};
use crate::config::keys::BUILT_IN;
use crate::config::validate;
use crate::config::values::{
    CertificateType, CoturnIp, ForcedVideoCodec, Host, MediaNode, RecordingNotification,
};
use crate::units::{IceServer, Secret};

/// The keys of this file, in the order of the sample file.
pub(crate) static KEYS: &[&dyn AnyKey] = &[
    &DOMAIN_OR_PUBLIC_IP,
    &OPENVIDU_SECRET,
    &CERTIFICATE_TYPE,
    &HTTPS_PORT,
    &SERVER_PORT,
    &SERVER_SSL_ENABLED,
    &FORCE_PLAIN_HTTP,
    &SUPPORT_DEPRECATED_API,
    &DOTENV_PATH,
    &OPENVIDU_DEV,
    &KMS_URIS,
    &MEDIA_NODES_PUBLIC_IPS,
    &COTURN_IP,
    &COTURN_PORT,
    &COTURN_SHARED_SECRET_KEY,
    &COTURN_INTERNAL_RELAY,
    &OPENVIDU_CDR,
    &OPENVIDU_CDR_PATH,
    &OPENVIDU_RECORDING,
    &OPENVIDU_RECORDING_DEBUG,
    &OPENVIDU_RECORDING_VERSION,
    &OPENVIDU_RECORDING_IMAGE,
    &OPENVIDU_RECORDING_ENABLE_GPU,
    &OPENVIDU_RECORDING_PATH,
    &OPENVIDU_RECORDING_PUBLIC_ACCESS,
    &OPENVIDU_RECORDING_NOTIFICATION,
    &OPENVIDU_RECORDING_CUSTOM_LAYOUT,
    &OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT,
    &OPENVIDU_RECORDING_COMPOSED_URL,
    &OPENVIDU_RECORDING_COMPOSED_BASICAUTH,
    &OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH,
    &OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH,
    &OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH,
    &OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH,
    &OPENVIDU_STREAMS_FORCED_VIDEO_CODEC,
    &OPENVIDU_STREAMS_ALLOW_TRANSCODING,
    &OPENVIDU_SESSIONS_GARBAGE_INTERVAL,
    &OPENVIDU_SESSIONS_GARBAGE_THRESHOLD,
    &OPENVIDU_WEBHOOK,
    &OPENVIDU_WEBHOOK_ENDPOINT,
    &OPENVIDU_WEBHOOK_HEADERS,
    &OPENVIDU_WEBHOOK_EVENTS,
    &OPENVIDU_WEBRTC_ICE_SERVERS,
    &OPENVIDU_WEBRTC_SIMULCAST,
    &OPENVIDU_EDITION,
];

pub(crate) static DOMAIN_OR_PUBLIC_IP: Key<Option<Host>> = Key {
    parse: validate::domain,
    about: About {
        name: "DOMAIN_OR_PUBLIC_IP",
        doc: "The domain name or public IP address of this machine: the host in every public URL, and the subject of the certificate.",
        accepts: &["example.com", "203.0.113.7", "2001:db8::7", "localhost"],
        refuses: &[
            "",
            "https://example.com",
            "example.com/",
            "example.com:443",
            "-a.com",
            "256.1.1.1",
            "[::1]",
            "한옥.kr",
            "0.0.0.0",
        ],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_SECRET: Key<Option<Secret>> = Key {
    parse: validate::openvidu_secret,
    about: About {
        name: "OPENVIDU_SECRET",
        doc: "The password of the REST API and the dashboard (user OPENVIDUAPP). Letters, digits, hyphen and underscore; 16 characters or more. `openssl rand -hex 24` makes one.",
        secret: true,
        accepts: &["abc-DEF_123"],
        refuses: &["", "with blank", "sécret", "a$b"],
        ..About::LIVE
    },
};

pub(crate) static CERTIFICATE_TYPE: Key<CertificateType> = Key {
    parse: validate::certificate_type,
    about: About {
        name: "CERTIFICATE_TYPE",
        default: Some("selfsigned"),
        doc: "Where the certificate comes from: selfsigned (browsers warn), owncert (your two PEM files, see HANOK_CERTIFICATE_FILE), letsencrypt.",
        empty: Empty::Refused,
        accepts: &["selfsigned", "owncert", "letsencrypt"],
        refuses: &["", "SelfSigned", "custom"],
        ..About::RESTART
    },
};

pub(crate) static HTTPS_PORT: Key<u16> = Key {
    parse: validate::port,
    about: About {
        name: "HTTPS_PORT",
        default: Some("443"),
        unit: "port",
        doc: "The public HTTPS port. It appears in URLs only when it is not 443.",
        accepts: &["1", "65535"],
        refuses: &["0", "65536", "-1", "x", "1.5", "80 "],
        ..About::RESTART
    },
};

pub(crate) static SERVER_PORT: Key<Option<u16>> = Key {
    parse: validate::optional_port,
    about: About {
        name: "SERVER_PORT",
        aliases: &["server.port"],
        unit: "port",
        doc: "The port of the plain HTTP listener for local applications; replaces the port in HANOK_PLAIN_LISTEN when that is not set itself.",
        empty: Empty::Default,
        accepts: &["5443"],
        refuses: &["0", "65536", "x"],
        ..About::RESTART
    },
};

pub(crate) static SERVER_SSL_ENABLED: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "SERVER_SSL_ENABLED",
        default: Some("true"),
        doc: "OpenVidu's own TLS on SERVER_PORT.",
        empty: Empty::Default,
        effect: Effect::Never(
            "the listener on SERVER_PORT is plain HTTP, and HTTPS has a port of its own",
        ),
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static FORCE_PLAIN_HTTP: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "FORCE_PLAIN_HTTP",
        default: Some("false"),
        doc: "Public URLs begin with http:// and ws://.",
        empty: Empty::Default,
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static SUPPORT_DEPRECATED_API: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "SUPPORT_DEPRECATED_API",
        default: Some("false"),
        doc: "Serve the old paths /api, /config, /recordings, /info and /cdr. They hide your application's own paths of these names.",
        empty: Empty::Default,
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static DOTENV_PATH: Key<String> = Key {
    parse: validate::text,
    about: About {
        name: "DOTENV_PATH",
        doc: "This file, or the folder that holds it.",
        empty: Empty::Value,
        effect: Effect::InEnvironment,
        accepts: &["", "/opt/openvidu"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_DEV: Key<bool> = Key {
    parse: validate::lenient_boolean,
    about: About {
        name: "OPENVIDU_DEV",
        default: Some("false"),
        doc: "OpenVidu's banner for development servers.",
        empty: Empty::Value,
        effect: Effect::Never("all that it switches is a banner of OpenVidu's log"),
        accepts: &["", "true", "whatever"],
        refuses: &[],
        ..About::RESTART
    },
};

pub(crate) static KMS_URIS: Key<Vec<String>> = Key {
    parse: validate::kms_uris,
    about: About {
        name: "KMS_URIS",
        default: Some("[\"ws://localhost:8888/kurento\"]"),
        doc: "Media servers of OpenVidu.",
        empty: Empty::Value,
        effect: Effect::Never(BUILT_IN),
        accepts: &[
            "",
            "[]",
            "[\"ws://localhost:8888/kurento\"]",
            "[\\\"wss://a.example/kurento\\\"]",
            "[ws://a:8888/kurento, ws://b:8888/kurento]",
        ],
        refuses: &["[\"http://localhost\"]", "ws://a"],
        ..About::RESTART
    },
};

pub(crate) static MEDIA_NODES_PUBLIC_IPS: Key<Vec<MediaNode>> = Key {
    parse: validate::media_nodes,
    about: About {
        name: "MEDIA_NODES_PUBLIC_IPS",
        default: Some("[]"),
        doc: "Public addresses of machines behind address translation, as PRIVATE_IP:PUBLIC_IP pairs. HANOK_EXTERNAL_IP is simpler.",
        empty: Empty::Value,
        accepts: &[
            "",
            "[]",
            "[\"10.0.0.5:203.0.113.7\"]",
            "[10.0.0.5:203.0.113.7,10.0.0.6:203.0.113.8]",
        ],
        refuses: &[
            "10.0.0.5:203.0.113.7",
            "[\"10.0.0.5\"]",
            "[\"10.0.0.5:\"]",
            "[\"2001:db8::1:203.0.113.7\"]",
        ],
        ..About::RESTART
    },
};

pub(crate) static COTURN_IP: Key<CoturnIp> = Key {
    parse: validate::coturn_ip,
    about: About {
        name: "COTURN_IP",
        default: Some("auto-ipv4"),
        doc: "The TURN server's address as told to clients: an address, a name, auto-ipv4 or auto-ipv6. Automatic: the domain if there is one, else this machine's public address.",
        empty: Empty::Default,
        accepts: &[
            "auto-ipv4",
            "auto-ipv6",
            "203.0.113.7",
            "2001:db8::7",
            "turn.example.com",
        ],
        refuses: &["turn:example.com", "a b", "1.2.3.400"],
        ..About::RESTART
    },
};

pub(crate) static COTURN_PORT: Key<u16> = Key {
    parse: validate::port,
    about: About {
        name: "COTURN_PORT",
        default: Some("3478"),
        unit: "port",
        doc: "The STUN and TURN port, UDP and TCP.",
        empty: Empty::Default,
        accepts: &["1", "65535"],
        refuses: &["0", "65536", "-1", "x", "1.5", "80 "],
        ..About::RESTART
    },
};

pub(crate) static COTURN_SHARED_SECRET_KEY: Key<Vec<Secret>> = Key {
    parse: validate::secrets,
    about: About {
        name: "COTURN_SHARED_SECRET_KEY",
        doc: "The key of time-limited TURN credentials. Several, comma separated, for a change of keys: the first one makes credentials, all are accepted. Unset: 35 random characters, made once in the state folder.",
        empty: Empty::Value,
        secret: true,
        accepts: &["", "aV3rySecretKey", "aN3werKey,aV3rySecretKey"],
        refuses: &[",", "aV3rySecretKey,"],
        ..About::LIVE
    },
};

pub(crate) static COTURN_INTERNAL_RELAY: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "COTURN_INTERNAL_RELAY",
        default: Some("false"),
        doc: "true: under 1:1 address translation, clients are told this machine's private address as their relayed address, not the public one.",
        empty: Empty::Default,
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_CDR: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "OPENVIDU_CDR",
        default: Some("false"),
        doc: "Write call detail records.",
        effect: Effect::Later("call detail records"),
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_CDR_PATH: Key<String> = Key {
    parse: validate::folder,
    about: About {
        name: "OPENVIDU_CDR_PATH",
        default: Some("/opt/openvidu/cdr"),
        doc: "The folder of the call detail records.",
        effect: Effect::Later("call detail records"),
        accepts: &["/opt/openvidu/cdr", "cdr/"],
        refuses: &["", "a\0b"],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_RECORDING: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "OPENVIDU_RECORDING",
        default: Some("false"),
        doc: "Switch recording on. Off: the recording API answers 501.",
        effect: Effect::Later("recording"),
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_RECORDING_DEBUG: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "OPENVIDU_RECORDING_DEBUG",
        default: Some("false"),
        doc: "Keep the recorder's logs beside the video.",
        effect: Effect::Later("recording"),
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_RECORDING_VERSION: Key<String> = Key {
    parse: validate::non_empty,
    about: About {
        name: "OPENVIDU_RECORDING_VERSION",
        default: Some("2.32.1"),
        doc: "The recorder's version, as told by the REST API.",
        effect: Effect::Later("recording"),
        accepts: &["2.32.1"],
        refuses: &[""],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_RECORDING_IMAGE: Key<Option<String>> = Key {
    parse: validate::recording_image,
    about: About {
        name: "OPENVIDU_RECORDING_IMAGE",
        default: Some(""),
        doc: "The recorder's container image, as image:tag; its tag replaces OPENVIDU_RECORDING_VERSION.",
        empty: Empty::Value,
        effect: Effect::Later("recording"),
        accepts: &["", "openvidu/openvidu-recording:2.32.1"],
        refuses: &[
            "openvidu/openvidu-recording",
            "registry:5000/recording:1",
            ":1",
        ],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_RECORDING_ENABLE_GPU: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "OPENVIDU_RECORDING_ENABLE_GPU",
        default: Some("false"),
        doc: "Let the recorder use a graphics card.",
        effect: Effect::Later("recording"),
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_RECORDING_PATH: Key<String> = Key {
    parse: validate::folder,
    about: About {
        name: "OPENVIDU_RECORDING_PATH",
        default: Some("/opt/openvidu/recordings"),
        doc: "The folder of the recordings.",
        effect: Effect::Later("recording"),
        accepts: &["/opt/openvidu/recordings"],
        refuses: &[""],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_RECORDING_PUBLIC_ACCESS: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "OPENVIDU_RECORDING_PUBLIC_ACCESS",
        default: Some("false"),
        doc: "Anybody who knows a recording's URL may fetch it.",
        effect: Effect::Later("recording"),
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_RECORDING_NOTIFICATION: Key<RecordingNotification> = Key {
    parse: validate::recording_notification,
    about: About {
        name: "OPENVIDU_RECORDING_NOTIFICATION",
        default: Some("publisher_moderator"),
        doc: "Who is told that a recording started or stopped: none, moderator, publisher_moderator or all.",
        effect: Effect::Later("recording"),
        accepts: &["none", "moderator", "publisher_moderator", "all"],
        refuses: &["", "ALL", "publisher"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_RECORDING_CUSTOM_LAYOUT: Key<String> = Key {
    parse: validate::folder,
    about: About {
        name: "OPENVIDU_RECORDING_CUSTOM_LAYOUT",
        default: Some("/opt/openvidu/custom-layout"),
        doc: "The folder of your own recording layouts, served without credentials under /openvidu/layouts.",
        accepts: &["/opt/openvidu/custom-layout", "/srv/layouts/"],
        refuses: &[""],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT: Key<Duration> = Key {
    parse: validate::whole_seconds,
    about: About {
        name: "OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT",
        default: Some("120"),
        unit: "seconds",
        doc: "How long a recording goes on after the last publisher left.",
        effect: Effect::Later("recording"),
        accepts: &["0", "+5", "2147483647"],
        refuses: &["", "-1", "2147483648", "5s"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_RECORDING_COMPOSED_URL: Key<Option<String>> = Key {
    parse: validate::optional_url,
    about: About {
        name: "OPENVIDU_RECORDING_COMPOSED_URL",
        default: Some(""),
        doc: "Where the recorder finds the layout pages.",
        empty: Empty::Value,
        effect: Effect::Later("recording"),
        accepts: &["", " ", "https://layouts.example.com/x"],
        refuses: &["layouts.example.com", "https:///x", "mailto:me"],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_RECORDING_COMPOSED_BASICAUTH: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "OPENVIDU_RECORDING_COMPOSED_BASICAUTH",
        default: Some("true"),
        doc: "Put the credentials into that URL.",
        effect: Effect::Later("recording"),
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH",
        default: Some("1000"),
        unit: "kbit/s",
        doc: "The most video a client may send to the server; 0 is unlimited.",
        accepts: &["0", "+5", "-0", "2147483647"],
        refuses: &["", "-1", "2147483648", " 5", "1.5"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH",
        default: Some("300"),
        unit: "kbit/s",
        doc: "The least video that a client is told to send, however little its subscribers' networks carry.",
        effect: Effect::Later("limits that follow subscribers' networks"),
        accepts: &["0", "+5", "-0", "2147483647"],
        refuses: &["", "-1", "2147483648", " 5", "1.5"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH",
        default: Some("1000"),
        unit: "kbit/s",
        doc: "The most video the server sends to a client, to which those who publish it are held; 0 is unlimited.",
        accepts: &["0", "+5", "-0", "2147483647"],
        refuses: &["", "-1", "2147483648", " 5", "1.5"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH: Key<u32> = Key {
    parse: validate::non_negative,
    about: About {
        name: "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH",
        default: Some("300"),
        unit: "kbit/s",
        doc: "The least video the server should send to a client.",
        effect: Effect::Later("limits that follow subscribers' networks"),
        accepts: &["0", "+5", "-0", "2147483647"],
        refuses: &["", "-1", "2147483648", " 5", "1.5"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_STREAMS_FORCED_VIDEO_CODEC: Key<ForcedVideoCodec> = Key {
    parse: validate::forced_codec,
    about: About {
        name: "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC",
        default: Some("MEDIA_SERVER_PREFERRED"),
        doc: "The one video codec of every session: MEDIA_SERVER_PREFERRED, NONE, VP8, VP9 or H264.",
        accepts: &["MEDIA_SERVER_PREFERRED", "NONE", "VP8", "VP9", "H264"],
        refuses: &["", "vp8", "AV1"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_STREAMS_ALLOW_TRANSCODING: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "OPENVIDU_STREAMS_ALLOW_TRANSCODING",
        default: Some("false"),
        doc: "Let a client take part that does not have the forced codec.",
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_SESSIONS_GARBAGE_INTERVAL: Key<Duration> = Key {
    parse: validate::whole_seconds,
    about: About {
        name: "OPENVIDU_SESSIONS_GARBAGE_INTERVAL",
        default: Some("900"),
        unit: "seconds",
        doc: "0: unused sessions stay open for ever. Any other value: they are closed as soon as OPENVIDU_SESSIONS_GARBAGE_THRESHOLD says, not only once in an interval.",
        accepts: &["0", "+5", "2147483647"],
        refuses: &["", "-1", "2147483648", "5s"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_SESSIONS_GARBAGE_THRESHOLD: Key<Duration> = Key {
    parse: validate::whole_seconds,
    about: About {
        name: "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD",
        default: Some("3600"),
        unit: "seconds",
        doc: "How old an unused session must be to be closed.",
        accepts: &["0", "+5", "2147483647"],
        refuses: &["", "-1", "2147483648", "5s"],
        ..About::LIVE
    },
};

pub(crate) static OPENVIDU_WEBHOOK: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "OPENVIDU_WEBHOOK",
        default: Some("false"),
        doc: "Send events to your server.",
        effect: Effect::Later("webhooks"),
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_WEBHOOK_ENDPOINT: Key<Option<String>> = Key {
    parse: validate::optional_url,
    about: About {
        name: "OPENVIDU_WEBHOOK_ENDPOINT",
        default: Some(""),
        doc: "The URL that events are sent to.",
        empty: Empty::Value,
        effect: Effect::Later("webhooks"),
        accepts: &[
            "",
            " ",
            "http://127.0.0.1:7777/hook",
            "https://user:word@example.com:8443/a?b=c",
        ],
        refuses: &[
            "127.0.0.1:7777/hook",
            "example.com",
            "http://:80/",
            "http://a b/",
        ],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_WEBHOOK_HEADERS: Key<Vec<String>> = Key {
    parse: validate::webhook_headers,
    about: About {
        name: "OPENVIDU_WEBHOOK_HEADERS",
        default: Some("[]"),
        doc: "Headers of these requests, as a JSON array of \"Name: value\" strings.",
        empty: Empty::Value,
        effect: Effect::Later("webhooks"),
        secret: true,
        accepts: &[
            "",
            "[]",
            "[\"\"]",
            "[\"Authorization: Basic YWJjZDphYmNk\"]",
        ],
        refuses: &[
            "Authorization: Basic x",
            "[\"Authorization:Basic\"]",
            "[\": x\"]",
            "[\"X: \"]",
            "[\"A B: c\"]",
            "[\"A: b\\nC: d\"]",
        ],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_WEBHOOK_EVENTS: Key<Vec<String>> = Key {
    parse: validate::webhook_events,
    about: About {
        name: "OPENVIDU_WEBHOOK_EVENTS",
        default: Some(
            "[\"sessionCreated\",\"sessionDestroyed\",\"participantJoined\",\"participantLeft\",\"webrtcConnectionCreated\",\"webrtcConnectionDestroyed\",\"recordingStatusChanged\",\"filterEventDispatched\",\"signalSent\",\"mediaNodeStatusChanged\",\"autoscaling\",\"nodeCrashed\",\"nodeRecovered\",\"broadcastStarted\",\"broadcastStopped\"]",
        ),
        doc: "The events that are sent, as a JSON array of names.",
        empty: Empty::Value,
        effect: Effect::Later("webhooks"),
        accepts: &[
            "",
            "[]",
            "[sessionCreated,sessionDestroyed]",
            "[\"signalSent\"]",
        ],
        refuses: &[
            "sessionCreated",
            "[\"sessioncreated\"]",
            "[sessionCreated,]",
        ],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_WEBRTC_ICE_SERVERS: Key<Vec<IceServer>> = Key {
    parse: validate::ice_servers,
    about: About {
        name: "OPENVIDU_WEBRTC_ICE_SERVERS",
        doc: "ICE servers that clients get instead of the built-in one, as a JSON array of \"url=…,username=…,credential=…\" or \"url=…,staticAuthSecret=…\" strings.",
        empty: Empty::Value,
        secret: true,
        accepts: &[
            "",
            "[]",
            "[\"url=stun:stun.example.com:3478\"]",
            "[\"url=turn:203.0.113.7:3478?transport=tcp,username=me,credential=a=b\"]",
            "[\"url=turns:turn.example.com:443,staticAuthSecret=k\"]",
            "[\"url=turn:[2001:db8::7]:3478,username=,credential=\"]",
            "[\"url=stun:a.example.com,staticAuthSecret=k\"]",
        ],
        refuses: &[
            "[\"turn:a.example.com\"]",
            "[\"username=a\"]",
            "[\"url=http:a.example.com\"]",
            "[\"url=turn:a.example.com\"]",
            "[\"url=turn:a.example.com,username=u\"]",
            "[\"url=turn:a.example.com,username=u,credential=c,staticAuthSecret=k\"]",
            "[\"url=stun:a.example.com,username=\"]",
            "[\"url=stun:a.example.com?transport=udp\"]",
            "[\"url=turn:a.example.com?transport=sctp,staticAuthSecret=k\"]",
            "[\"url=turn:a.example.com:0,staticAuthSecret=k\"]",
            "[\"url=turn:[2001:db8::7,staticAuthSecret=k\"]",
            "[\"url=turn:a b,staticAuthSecret=k\"]",
            "[\"url=turn:a.example.com,password=k\"]",
        ],
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_WEBRTC_SIMULCAST: Key<bool> = Key {
    parse: validate::boolean,
    about: About {
        name: "OPENVIDU_WEBRTC_SIMULCAST",
        default: Some("false"),
        doc: "Clients publish video in several sizes. Implies HANOK_SUBSCRIBE_OFFER=server.",
        empty: Empty::Default,
        accepts: &["true", "FALSE"],
        refuses: &["", "yes", "1", " true"],
        effect: Effect::Later("simulcast layers"),
        ..About::RESTART
    },
};

pub(crate) static OPENVIDU_EDITION: Key<Option<String>> = Key {
    parse: validate::edition,
    about: About {
        name: "OPENVIDU_EDITION",
        doc: "ce: the API answers exactly as the community edition does. Everything of the other editions is on otherwise.",
        empty: Empty::Value,
        accepts: &["", "ce", "pro"],
        refuses: &[],
        ..About::RESTART
    },
};
