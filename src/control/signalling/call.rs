//! A request, decoded; or why it cannot be carried out before any session sees it.

use serde_json::{Map, Value};

use super::envelope;
use super::{candidates, membership, moderation, publishing, signals, subscribing};
use crate::control::session::{JoinRoom, Refusal, Reply, Request, RequestId};

/// A decoded request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    /// `joinRoom`
    Join(JoinRoom),
    /// Anything else that a session decides.
    Member(Request),
}

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// A parameter is missing.
    #[error(
        "Request element '{name}' is missing in RPC method '{method}'. Check that 'openvidu-server' and \
         'openvidu-browser' versions are compatible with each other"
    )]
    Missing {
        /// The parameter.
        name: &'static str,
        /// The method.
        method: &'static str,
    },
    /// A parameter has the wrong type.
    #[error("Invalid params: element '{name}' of RPC method '{method}' must be {expected}")]
    Invalid {
        /// The parameter.
        name: &'static str,
        /// The method.
        method: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
    /// No such method.
    #[error("Method not found: {0}")]
    UnknownMethod(String),
    /// `connect`: the RPC session is unknown or has expired.
    #[error("reconnection error")]
    Reconnection,
    /// Nothing has been joined; the ending tells a first request from one after a failed `joinRoom`.
    #[error(
        "No {what} found for participant with privateId {rpc_session}. Method 'Session.connect()' must be the first \
         operation called in any session"
    )]
    NotJoined {
        /// `connection` or `session information`.
        what: &'static str,
        /// The caller's own RPC session id.
        rpc_session: String,
    },
    /// OpenVidu's own.
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl CallError {
    /// The method whose parameters are at fault.
    pub(super) fn method(&self) -> Option<&'static str> {
        match self {
            Self::Missing { method, .. } | Self::Invalid { method, .. } => Some(method),
            Self::UnknownMethod(_)
            | Self::Reconnection
            | Self::NotJoined { .. }
            | Self::Refused(_) => None,
        }
    }

    /// The error response.
    pub(super) fn answer(&self, id: &RequestId) -> String {
        let text = self.to_string();
        match self {
            Self::Missing { .. } => envelope::error(id, -1, &text),
            Self::Invalid { .. } => envelope::error(id, -32602, &text),
            Self::UnknownMethod(_) => envelope::error(id, -32601, &text),
            Self::Reconnection => envelope::error(id, 40007, &text),
            Self::NotJoined { .. } => envelope::openvidu_error(id, 803, &text),
            Self::Refused(refusal) => envelope::openvidu_error(id, refusal.code(), &text),
        }
    }
}

/// The success response.
pub(super) fn answer(id: &RequestId, reply: &Reply, rpc_session: &str) -> String {
    let result: Map<String, Value> = match reply {
        Reply::Joined(joined) => membership::joined(joined),
        Reply::Published {
            answer,
            stream,
            created_at,
        } => publishing::published(answer, stream, *created_at),
        Reply::Offer(offer) => subscribing::offered(offer),
        Reply::Answer(answer) => subscribing::answered(answer),
        Reply::Done => Map::new(),
    };
    envelope::result(id, result, rpc_session)
}

/// The table of methods that need a session. `ping` and `connect` are the connection's own.
pub(super) fn decode(method: &str, params: Map<String, Value>) -> Result<Call, CallError> {
    type Decode = fn(super::params::Params) -> Result<Request, CallError>;
    let (name, decode): (&'static str, Decode) = match method {
        "joinRoom" => {
            let params = super::params::Params::new("joinRoom", params);
            return membership::join_room(params).map(Call::Join);
        }
        "leaveRoom" => ("leaveRoom", membership::leave_room),
        "publishVideo" => ("publishVideo", publishing::publish_video),
        "unpublishVideo" => ("unpublishVideo", publishing::unpublish_video),
        "streamPropertyChanged" => ("streamPropertyChanged", publishing::stream_property_changed),
        "videoData" => ("videoData", publishing::video_data),
        "prepareReceiveVideoFrom" => (
            "prepareReceiveVideoFrom",
            subscribing::prepare_receive_video_from,
        ),
        "receiveVideoFrom" => ("receiveVideoFrom", subscribing::receive_video_from),
        "unsubscribeFromVideo" => ("unsubscribeFromVideo", subscribing::unsubscribe_from_video),
        "onIceCandidate" => ("onIceCandidate", candidates::on_ice_candidate),
        "sendMessage" => ("sendMessage", signals::send_message),
        "echo" => ("echo", |_| Ok(Request::Acknowledge)),
        other => {
            return moderation::unserved(other)
                .map(|method| Call::Member(Request::Unserved(method)))
                .ok_or_else(|| CallError::UnknownMethod(other.chars().take(64).collect()));
        }
    };
    decode(super::params::Params::new(name, params)).map(Call::Member)
}
