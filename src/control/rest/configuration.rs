//! `/openvidu/api/config` and its single values (section 11).

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};

use super::Api;
use crate::OPENVIDU_VERSION;
use crate::units::{Bitrate, ForcedVideoCodec, IceServer};

/// The facts and defaults that the REST API shows and applies.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `DOMAIN_OR_PUBLIC_IP`.
    pub domain_or_public_ip: String,
    /// `HTTPS_PORT`.
    pub https_port: u16,
    /// `https://HOST[:PORT]`, with or without a trailing slash.
    pub public_url: String,
    /// `OPENVIDU_CDR`.
    pub cdr: bool,
    /// `OPENVIDU_CDR_PATH`.
    pub cdr_path: String,
    /// `OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH`.
    pub video_max_recv: Bitrate,
    /// `OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH`.
    pub video_min_recv: Bitrate,
    /// `OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH`.
    pub video_max_send: Bitrate,
    /// `OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH`.
    pub video_min_send: Bitrate,
    /// `OPENVIDU_STREAMS_FORCED_VIDEO_CODEC`, also the default of sessions.
    pub forced_video_codec: ForcedVideoCodec,
    /// `OPENVIDU_STREAMS_ALLOW_TRANSCODING`, also the default of sessions.
    pub allow_transcoding: bool,
    /// `OPENVIDU_WEBRTC_SIMULCAST`.
    pub simulcast: bool,
    /// `OPENVIDU_SESSIONS_GARBAGE_INTERVAL`.
    pub garbage_interval: Duration,
    /// `OPENVIDU_SESSIONS_GARBAGE_THRESHOLD`.
    pub garbage_threshold: Duration,
    /// `OPENVIDU_RECORDING_PATH`, shown even while recording is off.
    pub recording_path: String,
    /// What is shown of recording, if `OPENVIDU_RECORDING` is on.
    pub recording: Option<Recording>,
    /// What is shown of the webhook, if `OPENVIDU_WEBHOOK` is on.
    pub webhook: Option<Webhook>,
    /// `OPENVIDU_EDITION=ce`: what only other editions offer is refused.
    pub community_edition: bool,
    /// `OPENVIDU_WEBRTC_ICE_SERVERS`: for connections whose request names none.
    pub ice_servers: Vec<IceServer>,
}

/// The `OPENVIDU_RECORDING_*` facts of `/config`.
#[derive(Debug, Clone)]
pub struct Recording {
    /// `OPENVIDU_RECORDING_VERSION`.
    pub version: String,
    /// `OPENVIDU_RECORDING_PUBLIC_ACCESS`.
    pub public_access: bool,
    /// `OPENVIDU_RECORDING_NOTIFICATION`.
    pub notification: String,
    /// `OPENVIDU_RECORDING_CUSTOM_LAYOUT`.
    pub custom_layout: String,
    /// `OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT`.
    pub autostop_timeout: Duration,
    /// `OPENVIDU_RECORDING_COMPOSED_URL`, if set.
    pub composed_url: Option<String>,
}

/// The `OPENVIDU_WEBHOOK_*` facts of `/config`.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// `OPENVIDU_WEBHOOK_ENDPOINT`.
    pub endpoint: String,
    /// `OPENVIDU_WEBHOOK_HEADERS`, each `Name: value`.
    pub headers: Vec<String>,
    /// `OPENVIDU_WEBHOOK_EVENTS`.
    pub events: Vec<String>,
}

pub(super) async fn all(State(api): State<Api>) -> Json<Value> {
    Json(Value::Object(facts(&api.settings.get())))
}

fn facts(settings: &Settings) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut show = |name: &str, value: Value| {
        facts.insert(name.to_owned(), value);
    };
    show("VERSION", json!(OPENVIDU_VERSION));
    show("DOMAIN_OR_PUBLIC_IP", json!(settings.domain_or_public_ip));
    show("HTTPS_PORT", json!(settings.https_port));
    show(
        "OPENVIDU_PUBLICURL",
        json!(settings.public_url.trim_end_matches('/')),
    );
    show("OPENVIDU_CDR", json!(settings.cdr));
    if settings.cdr {
        show("OPENVIDU_CDR_PATH", json!(folder(&settings.cdr_path)));
    }
    for (name, limit) in [
        ("MAX_RECV", settings.video_max_recv),
        ("MIN_RECV", settings.video_min_recv),
        ("MAX_SEND", settings.video_max_send),
        ("MIN_SEND", settings.video_min_send),
    ] {
        show(
            &format!("OPENVIDU_STREAMS_VIDEO_{name}_BANDWIDTH"),
            json!(limit.kbps()),
        );
    }
    show(
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC",
        json!(settings.forced_video_codec.as_str()),
    );
    show(
        "OPENVIDU_STREAMS_ALLOW_TRANSCODING",
        json!(settings.allow_transcoding),
    );
    show("OPENVIDU_WEBRTC_SIMULCAST", json!(settings.simulcast));
    show(
        "OPENVIDU_SESSIONS_GARBAGE_INTERVAL",
        json!(settings.garbage_interval.as_secs()),
    );
    show(
        "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD",
        json!(settings.garbage_threshold.as_secs()),
    );
    show("OPENVIDU_RECORDING", json!(settings.recording.is_some()));
    if let Some(recording) = &settings.recording {
        show("OPENVIDU_RECORDING_VERSION", json!(recording.version));
        show(
            "OPENVIDU_RECORDING_PATH",
            json!(folder(&settings.recording_path)),
        );
        show(
            "OPENVIDU_RECORDING_PUBLIC_ACCESS",
            json!(recording.public_access),
        );
        show(
            "OPENVIDU_RECORDING_NOTIFICATION",
            json!(recording.notification),
        );
        show(
            "OPENVIDU_RECORDING_CUSTOM_LAYOUT",
            json!(folder(&recording.custom_layout)),
        );
        show(
            "OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT",
            json!(recording.autostop_timeout.as_secs()),
        );
        if let Some(url) = &recording.composed_url {
            show("OPENVIDU_RECORDING_COMPOSED_URL", json!(url));
        }
    }
    show("OPENVIDU_WEBHOOK", json!(settings.webhook.is_some()));
    if let Some(webhook) = &settings.webhook {
        show("OPENVIDU_WEBHOOK_ENDPOINT", json!(webhook.endpoint));
        show("OPENVIDU_WEBHOOK_HEADERS", json!(webhook.headers));
        show("OPENVIDU_WEBHOOK_EVENTS", json!(webhook.events));
    }
    facts
}

/// With the trailing slash that upstream always shows.
fn folder(path: &str) -> String {
    format!("{}/", path.trim_end_matches('/'))
}

/// Public, and polled with HEAD as a readiness probe.
pub(super) async fn public_url(State(api): State<Api>) -> String {
    folder(&api.settings.get().public_url)
}

pub(super) async fn version() -> &'static str {
    OPENVIDU_VERSION
}

pub(super) async fn recording(State(api): State<Api>) -> Json<bool> {
    Json(api.settings.get().recording.is_some())
}

pub(super) async fn recording_path(State(api): State<Api>) -> String {
    folder(&api.settings.get().recording_path)
}

pub(super) async fn cdr(State(api): State<Api>) -> Json<bool> {
    Json(api.settings.get().cdr)
}
