//! Why a request was refused, with OpenVidu's codes and texts (`openvidu-signalling` sections 8 and 10).

use super::identifiers::ConnectionId;
use crate::units::Secret;

/// A refused request. The text is OpenVidu's, without the `. Code: N` that the wire form appends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `joinRoom`: no such session.
    #[error("Unable to join session. Session {0} cannot be found")]
    UnknownSession(String),
    /// `joinRoom`: the session ended meanwhile.
    #[error("Unable to join the session. Session {0} is closed")]
    SessionClosed(String),
    /// A request on a session that has ended.
    #[error("Session '{0}' is closed")]
    Closed(String),
    /// `joinRoom`: no media worker.
    #[error("There is no available Media Node where to initialize session '{0}'")]
    NoMediaNode(String),
    /// `joinRoom`: too many participants.
    #[error("Unable to join session {0}. It has as many participants as it may have")]
    Full(String),
    /// `joinRoom`: the token is unknown, spent, or of another session.
    #[error("Unable to join session {session}. Token {} is not valid", token.expose())]
    InvalidToken {
        /// The session that was to be joined.
        session: String,
        /// The token as presented.
        token: Secret,
    },
    /// `joinRoom`: this socket has joined already.
    #[error("Unable to join session {0}. This connection has already joined a session")]
    AlreadyJoined(String),
    /// A request of a participant that has left or was evicted.
    #[error("The participant is no longer in session '{0}'")]
    NotAMember(String),
    /// The role does not allow what was asked; `action` completes OpenVidu's sentence.
    #[error("Unable to {action}. The user does not have a valid token")]
    Unauthorized {
        /// For example `publish video`.
        action: &'static str,
    },
    /// `publishVideo`: one stream per connection.
    #[error("User {connection} is already publishing in session {session}")]
    AlreadyPublishing {
        /// The publisher.
        connection: ConnectionId,
        /// The session.
        session: String,
    },
    /// `publishVideo`: the token does not allow this filter.
    #[error(
        "Error applying filter for publishing user {connection}. The token has no permissions to apply filter {filter}"
    )]
    FilterNotAllowed {
        /// The publisher.
        connection: ConnectionId,
        /// The filter's type.
        filter: String,
    },
    /// `forceDisconnect`: nobody has that id.
    #[error("Connection not found when calling 'forceDisconnect'")]
    ConnectionNotFound,
    /// A filter method on a stream that nobody publishes.
    #[error("Owner of stream '{stream}' not found in session '{session}'")]
    StreamOwnerNotFound {
        /// The stream.
        stream: String,
        /// The session.
        session: String,
    },
    /// `addFilterEventListener`: the same in other words.
    #[error("Not user found for streamId '{stream}' in session '{session}'")]
    ListenedStreamNotFound {
        /// The stream.
        stream: String,
        /// The session.
        session: String,
    },
    /// `applyFilter`: the options cannot be read.
    #[error("'options' parameter is not a JSON object: it must be the text of one")]
    FilterOptionsMalformed,
    /// The stream has no filter, as no stream has. The quotes are unbalanced in OpenVidu too.
    #[error(
        "User '{user} has no filter applied in session '{session}'. Media filters are not supported"
    )]
    NoFilter {
        /// The stream's owner.
        user: ConnectionId,
        /// The session.
        session: String,
    },
    /// Filters change decoded media; an SFU does not decode.
    #[error("Media filters are not supported")]
    FiltersUnsupported,
    /// The forced or published codec is not in the session description.
    #[error(
        "Error forcing codec: '{codec}', for PARTICIPANT: '{connection}' in Session: '{session}'. \
         Is publishing: '{publishing}'. Is Subscriber: '{}'. Is Reconnecting: '{reconnecting}'.\n\
         Exception: Codec {codec} not found in the SDP\nSDP:\n{sdp}", !publishing
    )]
    CodecMissing {
        /// The codec.
        codec: &'static str,
        /// Whose description it is.
        connection: ConnectionId,
        /// The session.
        session: String,
        /// A publication, not a subscription.
        publishing: bool,
        /// `reconnectStream`.
        reconnecting: bool,
        /// The description.
        sdp: String,
    },
    /// The publisher's offer cannot be answered.
    #[error("Error generating SDP response for publishing user {connection}: {why}")]
    PublisherSdp {
        /// The publisher.
        connection: ConnectionId,
        /// What is wrong with it.
        why: String,
    },
    /// The subscriber's description cannot be used.
    #[error(
        "Unable to generate SDP answer when subscribing '{subscriber}' to '{publisher}': {why}"
    )]
    SubscriberSdp {
        /// The subscriber.
        subscriber: ConnectionId,
        /// The publisher.
        publisher: ConnectionId,
        /// What is wrong with it.
        why: String,
    },
    /// The caller publishes nothing.
    #[error("Participant '{0}' is not streaming media")]
    NotStreaming(ConnectionId),
    /// Nobody has that id. The quotes are unbalanced in OpenVidu too.
    #[error("User '{user} not found in session '{session}'")]
    UserNotFound {
        /// Who was looked for.
        user: String,
        /// The session.
        session: String,
    },
    /// `unsubscribeFromVideo`: nobody has that id.
    #[error("User {user} not found in session {session}")]
    PublisherGone {
        /// Who was looked for.
        user: String,
        /// The session.
        session: String,
    },
    /// The other one publishes nothing.
    #[error("User '{user} not streaming media in session '{session}'")]
    UserNotStreaming {
        /// The other one.
        user: ConnectionId,
        /// The session.
        session: String,
    },
    /// Nobody subscribes to itself.
    #[error("Can loopback only when publishing media")]
    SelfSubscription,
    /// `reconnectStream`: nobody publishes that stream.
    #[error("Stream '{stream}' does not exist in Session '{session}'")]
    UnknownStream {
        /// The stream that was named.
        stream: String,
        /// The session.
        session: String,
    },
    /// `receiveVideoFrom` with an answer to no offer, or to one that another has replaced.
    #[error(
        "Unable to create subscriber endpoint. There is no offer to answer for the stream of participant {0}"
    )]
    NothingOffered(ConnectionId),
    /// Too many subscriptions.
    #[error(
        "Unable to create subscriber endpoint. Participant {0} has as many subscriptions as it may have"
    )]
    TooManySubscriptions(ConnectionId),
    /// `sendMessage`: the text is not JSON of the right shape.
    #[error("Provided signal object '{0}' has not a valid JSON format")]
    SignalMalformed(String),
    /// `sendMessage`: `to` is not a list of texts.
    #[error("Signal \"to\" field invalid format: null")]
    SignalRecipientsMalformed,
    /// `sendMessage`: someone in `to` is not here, so nobody is told.
    #[error("Signal \"to\" field invalid format: some connectionId does not exist in this session")]
    SignalRecipientUnknown,
    /// `connect`: the RPC session is unknown or has expired.
    #[error("reconnection error")]
    Reconnection,
    /// A method that this version does not serve.
    #[error("Method '{0}' is not available in this server version")]
    Unavailable(&'static str),
    /// Speech to text.
    #[error("Speech To Text requires OpenVidu Pro/Enterprise edition")]
    SpeechToText,
}

impl Refusal {
    /// The code of the error object.
    pub const fn code(&self) -> i64 {
        match self {
            Self::UserNotFound { .. }
            | Self::PublisherGone { .. }
            | Self::NotAMember(_)
            | Self::ConnectionNotFound
            | Self::StreamOwnerNotFound { .. }
            | Self::ListenedStreamNotFound { .. } => 102,
            Self::AlreadyJoined(_) => 104,
            Self::UnknownStream { .. }
            | Self::NotStreaming(_)
            | Self::UserNotStreaming { .. }
            | Self::SelfSubscription => 105,
            Self::AlreadyPublishing { .. } => 106,
            Self::Full(_) => 201,
            Self::UnknownSession(_) => 202,
            Self::SessionClosed(_) | Self::Closed(_) => 203,
            Self::NoMediaNode(_) => 204,
            Self::PublisherSdp { .. } | Self::SubscriberSdp { .. } => 302,
            Self::NothingOffered(_) | Self::TooManySubscriptions(_) => 303,
            Self::InvalidToken { .. } | Self::Unauthorized { .. } => 401,
            Self::FilterNotAllowed { .. }
            | Self::FilterOptionsMalformed
            | Self::NoFilter { .. }
            | Self::FiltersUnsupported => 406,
            Self::SignalMalformed(_) => 600,
            Self::SignalRecipientsMalformed | Self::SignalRecipientUnknown => 601,
            Self::CodecMissing { .. } => 800,
            Self::SpeechToText => 997,
            Self::Unavailable(_) => 999,
            Self::Reconnection => 40007,
        }
    }
}
