//! What clients ask of a session, decoded and typed.

use std::net::IpAddr;
use std::sync::Arc;

use super::identifiers::SocketId;
use super::rpc_session::RpcSession;
use crate::units::Secret;

/// The id of a JSON-RPC request, carried through unread.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestId(pub serde_json::Value);

/// A socket that wants to join, and what is known about it besides its request.
#[derive(Debug, Clone)]
pub struct Joiner {
    /// The socket.
    pub socket: SocketId,
    /// What outlives the socket.
    pub rpc_session: Arc<RpcSession>,
    /// `finalUserId`: sixteen random characters for each handshake.
    pub final_user_id: String,
    /// The client's address.
    pub address: IpAddr,
    /// It has presented the server's secret, which admits without a token.
    pub knows_secret: bool,
}

/// `joinRoom` (`openvidu-signalling` section 8.1).
#[derive(Clone, PartialEq, Eq)]
pub struct JoinRoom {
    /// `session`
    pub session: String,
    /// `token`: the whole token URL.
    pub token: String,
    /// `metadata`: the client's data.
    pub metadata: String,
    /// `secret`: a guess, empty from every ordinary client.
    pub secret: Secret,
    /// `recorder` or `stt`, which count only with the right secret.
    pub hidden: Option<Hidden>,
    /// `platform`
    pub platform: String,
}

/// Participants that the others do not see (section 8.1). They hear everything and send nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// `recorder`: the page that shows a session to a recorder.
    Recorder,
    /// `stt`: the module that writes down what is said.
    SpeechToText,
}

impl Hidden {
    /// The connection id of the first of its kind.
    pub const fn connection_id(self) -> &'static str {
        match self {
            Self::Recorder => "RECORDER",
            Self::SpeechToText => "SPEECH_TO_TEXT",
        }
    }
}

impl std::fmt::Debug for JoinRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token admits whoever holds it.
        f.debug_struct("JoinRoom")
            .field("session", &self.session)
            .field("platform", &self.platform)
            .finish_non_exhaustive()
    }
}

/// A request of a participant.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// `leaveRoom`
    Leave,
    /// `publishVideo`
    Publish(Box<PublishVideo>),
    /// `unpublishVideo`
    Unpublish,
    /// `prepareReceiveVideoFrom`: the server is to offer.
    PrepareReceive {
        /// A stream id or a connection id.
        sender: String,
    },
    /// `receiveVideoFrom` with `sdpOffer`.
    ReceiveOffer {
        /// A stream id or a connection id.
        sender: String,
        /// The client's offer.
        offer: String,
    },
    /// `receiveVideoFrom` with `sdpAnswer`, after [`Request::PrepareReceive`].
    ReceiveAnswer {
        /// A stream id or a connection id.
        sender: String,
        /// The client's answer.
        answer: String,
    },
    /// `unsubscribeFromVideo`
    Unsubscribe {
        /// A connection id or a stream id.
        sender: String,
    },
    /// `onIceCandidate`: counted only, since we send no checks.
    IceCandidate {
        /// The connection id of the stream's owner.
        owner: String,
    },
    /// `sendMessage`
    Signal(Signal),
    /// `streamPropertyChanged`
    StreamProperty(StreamProperty),
    /// `forceUnpublish`: moderators only.
    ForceUnpublish {
        /// The stream.
        stream: String,
    },
    /// `forceDisconnect`: moderators only.
    ForceDisconnect {
        /// The connection.
        connection: String,
    },
    /// One of the five methods on media filters.
    Filter(FilterRequest),
    /// `subscribeToSpeechToText`, `unsubscribeFromSpeechToText`
    SpeechToText,
    /// `echo`, `videoData`, and whatever else needs an answer only.
    Acknowledge,
    /// `reconnectStream`
    ReconnectStream(ReconnectStream),
}

/// `publishVideo` (section 8.3).
#[derive(Debug, Clone, PartialEq)]
pub struct PublishVideo {
    /// `sdpOffer`
    pub offer: String,
    /// `doLoopback`: the publisher wants its own media back on the same transport.
    pub do_loopback: bool,
    /// `hasAudio`
    pub has_audio: bool,
    /// `hasVideo`
    pub has_video: bool,
    /// `audioActive`
    pub audio_active: Option<bool>,
    /// `videoActive`
    pub video_active: Option<bool>,
    /// `typeOfVideo`
    pub type_of_video: VideoType,
    /// `frameRate`, -1 when unset.
    pub frame_rate: i64,
    /// `videoDimensions`: text that is known to be a JSON object.
    pub video_dimensions: Option<String>,
    /// `filter.type`, if a filter is asked for.
    pub filter: Option<String>,
}

/// `typeOfVideo`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoType {
    /// `CAMERA`
    Camera,
    /// `SCREEN`
    Screen,
    /// `CUSTOM`, and whatever is none of the others.
    Custom,
}

impl VideoType {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Camera => "CAMERA",
            Self::Screen => "SCREEN",
            Self::Custom => "CUSTOM",
        }
    }

    /// The type with this name; unknown names are custom video.
    pub fn from_name(name: &str) -> Self {
        [Self::Camera, Self::Screen]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .unwrap_or(Self::Custom)
    }
}

/// A signal as its sender wrote it (section 8.9).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signal {
    /// Connection ids; empty is everyone.
    pub to: Vec<String>,
    /// `data`
    pub data: Option<String>,
    /// `type`
    pub kind: Option<String>,
}

/// `streamPropertyChanged` of the caller's own stream (section 8.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamProperty {
    /// Which property, and its new value.
    pub change: PropertyChange,
    /// `reason`
    pub reason: String,
}

/// A property of a stream and its new value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyChange {
    /// `audioActive`
    AudioActive(bool),
    /// `videoActive`
    VideoActive(bool),
    /// `videoDimensions`: text that is known to be a JSON object.
    VideoDimensions(String),
    /// `audioTrack`: JSON text.
    AudioTrack(String),
    /// `videoTrack`: JSON text.
    VideoTrack(String),
}

/// A request about the media filter of a stream (section 8.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterRequest {
    /// `streamId`
    pub stream: String,
    /// What is to be done to it.
    pub action: FilterAction,
}

/// What can be asked of a stream's filter, as far as it decides about the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilterAction {
    /// `applyFilter`
    Apply {
        /// `type`
        kind: String,
        /// `options` is the text of a JSON object.
        has_good_options: bool,
    },
    /// `removeFilter`
    Remove,
    /// `execFilterMethod`
    Execute,
    /// `addFilterEventListener`
    AddListener,
    /// `removeFilterEventListener`
    RemoveListener,
}

/// `reconnectStream` (section 5.4). Who asks, and what is there, tells what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconnectStream {
    /// `stream`: whose it is decides whether this is about publishing or receiving.
    pub stream: String,
    /// The session description.
    pub sdp: StreamSdp,
}

/// The session description of `reconnectStream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamSdp {
    /// `sdpString`: a publisher's offer, or a subscriber's answer.
    Text(String),
    /// `sdpOffer`
    Offer(String),
}
