//! What the REST API asks of a session or connection, already validated.

use crate::units::{Bitrate, ForcedVideoCodec};
use crate::views::openvidu::IceServer;

/// What a connection may do (`openvidu-signalling` section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// May subscribe and send signals.
    Subscriber,
    /// May also publish.
    Publisher,
    /// May also act on others.
    Moderator,
}

impl Role {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "SUBSCRIBER",
            Self::Publisher => "PUBLISHER",
            Self::Moderator => "MODERATOR",
        }
    }

    /// The role with this exact name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Subscriber, Self::Publisher, Self::Moderator]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// The body of `POST /openvidu/api/sessions`, validated (`openvidu-rest` section 5.1).
#[derive(Debug, Clone, PartialEq)]
pub struct SessionProperties {
    /// `ROUTED` or `RELAYED`.
    pub media_mode: &'static str,
    /// `MANUAL` or `ALWAYS`.
    pub recording_mode: &'static str,
    /// `customSessionId`, if it was given and is not empty.
    pub custom_session_id: Option<String>,
    /// `forcedVideoCodec`.
    pub forced_video_codec: ForcedVideoCodec,
    /// `allowTranscoding`.
    pub allow_transcoding: bool,
    /// `defaultRecordingProperties` in the form of section 4.2.
    pub default_recording_properties: serde_json::Value,
    /// `mediaNode`, stored and echoed only.
    pub media_node: Option<serde_json::Value>,
}

impl ConnectionProperties {
    /// Those of whoever joins with the server's secret instead of a token (`openvidu-signalling` section 8.1).
    pub(super) fn of_secret(ice_servers: Vec<IceServer>) -> Self {
        Self {
            role: Role::Subscriber,
            data: String::new(),
            record: true,
            kurento_options: None,
            kurento_options_json: None,
            custom_ice_servers: ice_servers,
        }
    }
}

/// The body of `PATCH …/connection/{connection}`, validated (`openvidu-rest` section 6.7); what is absent stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionChange {
    /// `role`.
    pub role: Option<Role>,
    /// `record`.
    pub record: Option<bool>,
}

/// Bandwidth limits of one connection in each direction; `None` where not given, 0 kbps is unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KurentoOptions {
    /// `videoMaxRecvBandwidth`: client to server.
    pub video_max_recv: Option<Bitrate>,
    /// `videoMinRecvBandwidth`: like the other minimum stored and without effect, since nothing measured lowers a rate.
    pub video_min_recv: Option<Bitrate>,
    /// `videoMaxSendBandwidth`: server to client.
    pub video_max_send: Option<Bitrate>,
    /// `videoMinSendBandwidth`.
    pub video_min_send: Option<Bitrate>,
    /// `allowedFilters`.
    pub allowed_filters: Vec<String>,
}

/// The body of `POST …/connection` for type `WEBRTC`, validated (`openvidu-rest` section 6.1).
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionProperties {
    /// `role`.
    pub role: Role,
    /// `data`, the server's metadata.
    pub data: String,
    /// `record`.
    pub record: bool,
    /// `kurentoOptions`, if given.
    pub kurento_options: Option<KurentoOptions>,
    /// The same as JSON in upstream's member order, to be shown.
    pub kurento_options_json: Option<serde_json::Value>,
    /// `customIceServers`, or the configured ones when the request has none.
    pub custom_ice_servers: Vec<IceServer>,
}

impl ConnectionProperties {
    /// The connection's own limit, else the configured one; `None` if the one that holds is 0.
    pub(super) fn limit(
        &self,
        own: impl Fn(&KurentoOptions) -> Option<Bitrate>,
        configured: Bitrate,
    ) -> Option<Bitrate> {
        let own = self.kurento_options.as_ref().and_then(own);
        Some(own.unwrap_or(configured)).filter(|rate| rate.bps() > 0)
    }
}
