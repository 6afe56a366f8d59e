//! A request, decoded; or why it cannot be carried out before any session sees it.

use serde_json::{Map, Value};

use super::envelope;
use super::{
    candidates, filters, membership, moderation, publishing, reconnection, signals, subscribing,
};
use crate::control::session::{JoinRoom, Refusal, Reply, Request, RequestId};
use crate::units::Secret;

/// A decoded request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    /// `joinRoom`
    Join(JoinRoom),
    /// `connect`, with the id of the RPC session that is to go on.
    Connect(Option<Secret>),
    /// `sessionStatus` of the session with this id; clients ask it before they have joined.
    Status(String),
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
    /// Nothing has been joined; the ending tells a first request from one after a failed `joinRoom`.
    #[error(
        "No {what} found for participant with privateId {}. Method 'Session.connect()' must be the first \
         operation called in any session",
        rpc_session.expose()
    )]
    NotJoined {
        /// `connection` or `session information`.
        what: &'static str,
        /// The caller's own RPC session id.
        rpc_session: Secret,
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
            Self::UnknownMethod(_) | Self::NotJoined { .. } | Self::Refused(_) => None,
        }
    }

    /// The error response.
    pub(super) fn answer(&self, id: &RequestId) -> String {
        let text = self.to_string();
        match self {
            Self::Missing { .. } => envelope::error(id, -1, &text),
            Self::Invalid { .. } => envelope::error(id, -32602, &text),
            Self::UnknownMethod(_) => envelope::error(id, -32601, &text),
            Self::NotJoined { .. } => envelope::openvidu_error(id, 803, &text),
            // Of the RPC layer: its text has no ending.
            Self::Refused(refusal @ Refusal::Reconnection) => {
                envelope::error(id, refusal.code(), &text)
            }
            Self::Refused(refusal) => envelope::openvidu_error(id, refusal.code(), &text),
        }
    }
}

/// The success response of a method other than `ping`.
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
        Reply::Reconnected => return connected(id, "reconnection successful", rpc_session),
        Reply::Done => Map::new(),
    };
    envelope::result(id, result, rpc_session)
}

/// The success response of `connect` (section 5.2).
pub(super) fn connected(id: &RequestId, value: &str, rpc_session: &str) -> String {
    let result = Map::from_iter([("value".to_owned(), value.into())]);
    envelope::result(id, result, rpc_session)
}

/// The table of methods that may have to wait for each other. `ping` is the connection's own.
pub(super) fn decode(method: &str, params: Map<String, Value>) -> Result<Call, CallError> {
    type Decode = fn(super::params::Params) -> Result<Request, CallError>;
    let (name, decode): (&'static str, Decode) = match method {
        "joinRoom" => {
            let params = super::params::Params::new("joinRoom", params);
            return membership::join_room(params).map(Call::Join);
        }
        "connect" => {
            let params = super::params::Params::new("connect", params);
            return reconnection::connect(params).map(Call::Connect);
        }
        "sessionStatus" => {
            let mut params = super::params::Params::new("sessionStatus", params);
            return params.text("sessionId").map(Call::Status);
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
        "forceUnpublish" => ("forceUnpublish", moderation::force_unpublish),
        "forceDisconnect" => ("forceDisconnect", moderation::force_disconnect),
        "applyFilter" => ("applyFilter", filters::apply_filter),
        "removeFilter" => ("removeFilter", filters::remove_filter),
        "execFilterMethod" => ("execFilterMethod", filters::exec_filter_method),
        "addFilterEventListener" => ("addFilterEventListener", filters::add_filter_event_listener),
        "removeFilterEventListener" => (
            "removeFilterEventListener",
            filters::remove_filter_event_listener,
        ),
        "subscribeToSpeechToText" => ("subscribeToSpeechToText", moderation::speech_to_text),
        "unsubscribeFromSpeechToText" => {
            ("unsubscribeFromSpeechToText", moderation::speech_to_text)
        }
        "reconnectStream" => ("reconnectStream", reconnection::reconnect_stream),
        "echo" => ("echo", |_| Ok(Request::Acknowledge)),
        other => return Err(CallError::UnknownMethod(other.chars().take(64).collect())),
    };
    decode(super::params::Params::new(name, params)).map(Call::Member)
}

/// Every method of the table.
#[cfg(test)]
pub(super) const METHODS: [&str; 24] = [
    "joinRoom",
    "connect",
    "reconnectStream",
    "leaveRoom",
    "publishVideo",
    "unpublishVideo",
    "streamPropertyChanged",
    "videoData",
    "prepareReceiveVideoFrom",
    "receiveVideoFrom",
    "unsubscribeFromVideo",
    "onIceCandidate",
    "sendMessage",
    "forceUnpublish",
    "forceDisconnect",
    "applyFilter",
    "removeFilter",
    "execFilterMethod",
    "addFilterEventListener",
    "removeFilterEventListener",
    "subscribeToSpeechToText",
    "unsubscribeFromSpeechToText",
    "sessionStatus",
    "echo",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(|number| json!(number)),
            any::<i64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            Just(json!("{\"to\":[],\"data\":\"\",\"type\":\"signal:x\"}")),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,5}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    const FIELDS: [&str; 27] = [
        "session",
        "token",
        "secret",
        "platform",
        "metadata",
        "sdpOffer",
        "sdpAnswer",
        "sender",
        "message",
        "streamId",
        "property",
        "newValue",
        "reason",
        "hasAudio",
        "filter",
        "frameRate",
        "connectionId",
        "recorder",
        "type",
        "options",
        "method",
        "params",
        "eventType",
        "sessionId",
        "stream",
        "sdpString",
        "endpointName",
    ];

    proptest! {
        #[test]
        fn parameters_of_any_shape_are_a_call_or_an_error(
            method in prop::sample::select(&METHODS[..]),
            params in prop::collection::vec((prop::sample::select(&FIELDS[..]), value()), 0..16),
        ) {
            let params = params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            if let Err(error) = decode(method, params) {
                let answer: Value = serde_json::from_str(&error.answer(&RequestId(json!(0)))).unwrap();
                prop_assert!(answer["error"]["code"].is_i64());
                prop_assert_eq!(&answer["id"], &json!(0));
            }
        }
    }

    #[test]
    fn every_method_of_every_client_is_known() {
        let known =
            |method: &str| !matches!(decode(method, Map::new()), Err(CallError::UnknownMethod(_)));
        for method in METHODS {
            assert!(known(method), "{method}");
        }
        assert!(!known("trickle"));
        assert_eq!(
            decode("x".repeat(1000).as_str(), Map::new()),
            Err(CallError::UnknownMethod("x".repeat(64)))
        );
    }
}
