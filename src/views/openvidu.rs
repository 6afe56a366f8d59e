//! Sessions and connections as OpenVidu's REST API shows them (`openvidu-rest` section 4).
//!
//! Member order is part of the contract: the Node SDK compares some of these as text.

use std::fmt;

use serde::Serialize;

/// A list with its length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct List<T> {
    /// `content.len()`.
    #[serde(rename = "numberOfElements")]
    pub number_of_elements: usize,
    /// The elements.
    pub content: Vec<T>,
}

impl<T> From<Vec<T>> for List<T> {
    fn from(content: Vec<T>) -> Self {
        Self {
            number_of_elements: content.len(),
            content,
        }
    }
}

/// A session (section 4.1).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The session's id.
    pub id: String,
    /// Always `session`.
    pub object: &'static str,
    /// The id again, read by the SDKs.
    pub session_id: String,
    /// Milliseconds since the epoch.
    pub created_at: u64,
    /// A recording is starting or running.
    pub recording: bool,
    /// Always false.
    pub broadcasting: bool,
    /// `ROUTED` or `RELAYED`.
    pub media_mode: String,
    /// `MANUAL` or `ALWAYS`.
    pub recording_mode: String,
    /// As requested or defaulted, in upstream's member order (section 4.2).
    pub default_recording_properties: serde_json::Value,
    /// Empty when not given.
    pub custom_session_id: String,
    /// The requested value, not the resolved one.
    pub forced_video_codec: String,
    /// As requested or configured.
    pub allow_transcoding: bool,
    /// Present only when given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_node: Option<serde_json::Value>,
    /// Active connections, and pending ones if asked for.
    pub connections: List<Connection>,
}

/// A connection, pending or active (sections 4.3 and 4.4): exactly 24 members, absent values as `null`.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The connection's id.
    pub id: String,
    /// Always `connection`.
    pub object: &'static str,
    /// `pending` or `active`.
    pub status: &'static str,
    /// The id again.
    pub connection_id: String,
    /// The session's id.
    pub session_id: String,
    /// When the token was created, milliseconds.
    pub created_at: u64,
    /// `WEBRTC` or `IPCAM`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether its streams enter individual recordings.
    pub record: bool,
    /// `SUBSCRIBER`, `PUBLISHER` or `MODERATOR`; null for cameras.
    pub role: Option<&'static str>,
    /// As given, in upstream's member order (section 4.8).
    pub kurento_options: Option<serde_json::Value>,
    /// As given (section 4.9).
    pub custom_ice_servers: Vec<IceServer>,
    /// Cameras only.
    pub rtsp_uri: Option<String>,
    /// Cameras only.
    pub adaptative_bitrate: Option<bool>,
    /// Cameras only.
    pub only_play_with_subscribers: Option<bool>,
    /// Cameras only, milliseconds.
    pub network_cache: Option<u64>,
    /// The `data` of the REST call.
    pub server_data: String,
    /// The token URL; kept after it was consumed.
    pub token: Option<String>,
    /// When the user joined, milliseconds.
    pub active_at: Option<u64>,
    /// `unknown` once active.
    pub location: Option<String>,
    /// The client's address once active.
    pub ip: Option<String>,
    /// What the client said it runs on.
    pub platform: Option<String>,
    /// What the client passed to `connect()`.
    pub client_data: Option<String>,
    /// Null while pending; none or one.
    pub publishers: Option<Vec<Publisher>>,
    /// Null while pending.
    pub subscribers: Option<Vec<Subscriber>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token admits whoever holds it.
        f.debug_struct("Connection")
            .field("id", &self.id)
            .field("status", &self.status)
            .field("session_id", &self.session_id)
            .finish_non_exhaustive()
    }
}

/// A stream that a connection publishes (section 4.5).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Publisher {
    /// Milliseconds since the epoch.
    pub created_at: u64,
    /// The stream's id.
    pub stream_id: String,
    /// Its media.
    pub media_options: MediaOptions,
}

/// What a stream carries (section 4.5).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MediaOptions {
    /// The stream has an audio track.
    pub has_audio: bool,
    /// It is not muted; absent without audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_active: Option<bool>,
    /// The stream has a video track.
    pub has_video: bool,
    /// It is not muted; absent without video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_active: Option<bool>,
    /// `CAMERA`, `SCREEN`, `CUSTOM` or `IPCAM`; absent without video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_of_video: Option<String>,
    /// Frames per second, -1 when unset; absent without video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_rate: Option<i64>,
    /// A string that holds JSON; absent without video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_dimensions: Option<String>,
    /// `{}` when there is none.
    pub filter: serde_json::Value,
}

/// A subscription (section 4.5).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscriber {
    /// Milliseconds since the epoch.
    pub created_at: u64,
    /// The publisher's stream.
    pub stream_id: String,
}

/// An ICE server as shown and as sent to clients (section 4.9).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct IceServer {
    /// `stun:`, `stuns:`, `turn:` or `turns:`.
    pub url: String,
    /// Absent when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Absent when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("url", &self.url)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}
