//! What clients are told without having asked (`openvidu-signalling` section 9).

use std::sync::Arc;

use super::command::PropertyChange;
use super::identifiers::{ConnectionId, StreamId};
use super::properties::Role;

/// A message from the server to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notification {
    /// `participantJoined`
    ParticipantJoined(Member),
    /// `participantPublished`
    ParticipantPublished {
        /// The publisher.
        connection: ConnectionId,
        /// Its stream.
        stream: StreamDescriptor,
    },
    /// `participantUnpublished`
    ParticipantUnpublished {
        /// The publisher.
        connection: ConnectionId,
        /// Why.
        reason: Arc<str>,
    },
    /// `participantLeft`
    ParticipantLeft {
        /// Who.
        connection: ConnectionId,
        /// Why.
        reason: Arc<str>,
    },
    /// `participantEvicted`
    ParticipantEvicted {
        /// Who.
        connection: ConnectionId,
        /// Why.
        reason: Arc<str>,
    },
    /// `sendMessage`
    SendMessage {
        /// `data`
        data: Option<String>,
        /// `type`
        kind: Option<String>,
        /// The sender, absent for signals of the REST API.
        from: Option<ConnectionId>,
    },
    /// `streamPropertyChanged`
    StreamPropertyChanged {
        /// The publisher.
        connection: ConnectionId,
        /// Its stream.
        stream: StreamId,
        /// `property` and `newValue`
        change: PropertyChange,
        /// `reason`
        reason: String,
    },
    /// `mediaError`
    MediaError {
        /// `error`
        text: String,
    },
    /// `connectionPropertyChanged`, to that connection alone.
    ConnectionPropertyChanged(ConnectionProperty),
    /// `networkQualityLevelChanged`
    NetworkQualityLevelChanged {
        /// Whose.
        connection: ConnectionId,
        /// `oldValue`, absent the first time.
        old: Option<u8>,
        /// `newValue`, 0 to 5.
        new: u8,
    },
    /// `forciblyReconnectSubscriber`: the subscriber is to answer this offer instead of what it has.
    ForciblyReconnectSubscriber {
        /// The publisher.
        connection: ConnectionId,
        /// Its stream.
        stream: StreamId,
        /// `sdpOffer`
        offer: String,
    },
}

/// A property of the client's own connection and its new value (section 9.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionProperty {
    /// `role`
    Role(Role),
    /// `record`
    Record(bool),
}

/// A participant as others see it (section 7.3). It has no role: clients take whoever has one for themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `id`
    pub connection: ConnectionId,
    /// `createdAt`: the moment of the join.
    pub created_at: u64,
    /// `metadata`
    pub metadata: String,
}

/// A stream as others see it (section 7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDescriptor {
    /// `id`
    pub id: StreamId,
    /// `createdAt`
    pub created_at: u64,
    /// `hasAudio`
    pub has_audio: bool,
    /// `hasVideo`
    pub has_video: bool,
    /// `audioActive`, if the publisher sent it.
    pub audio_active: Option<bool>,
    /// `videoActive`, if the publisher sent it.
    pub video_active: Option<bool>,
    /// `typeOfVideo`, absent without video.
    pub type_of_video: Option<&'static str>,
    /// `frameRate`, -1 when unset.
    pub frame_rate: i64,
    /// `videoDimensions`: a string that holds JSON.
    pub video_dimensions: Option<String>,
}
