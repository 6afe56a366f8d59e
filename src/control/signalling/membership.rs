//! `joinRoom` and `leaveRoom` (`openvidu-signalling` sections 3, 8.1, 8.2).

use serde_json::{Map, Value, json};

use super::call::CallError;
use super::notification::{member, stream};
use super::params::Params;
use crate::OPENVIDU_VERSION;
use crate::control::session::reply::Joined;
use crate::control::session::{Hidden, JoinRoom, Request};
use crate::units::{Secret, SubscribeOffer};

/// Longest client data: it is repeated to everyone who joins later.
const METADATA_MAX: usize = 64 * 1024;

/// What REST shows of `platform`, in characters.
const PLATFORM_MAX: usize = 256;

pub(super) fn join_room(mut params: Params) -> Result<JoinRoom, CallError> {
    let session = params.text("session")?;
    let token = params.text("token")?;
    let secret = Secret::new(params.text("secret")?);
    let platform = params.text("platform")?;
    let is_recorder = has_flag(&mut params, "recorder");
    let is_stt = has_flag(&mut params, "stt");
    let hidden = match (is_recorder, is_stt) {
        (true, _) => Some(Hidden::Recorder),
        (false, true) => Some(Hidden::SpeechToText),
        (false, false) => None,
    };
    Ok(JoinRoom {
        session,
        token,
        secret,
        hidden,
        metadata: params.bounded_text("metadata", METADATA_MAX)?,
        platform: platform.chars().take(PLATFORM_MAX).collect(),
    })
}

/// A flag that is false whatever else is sent for it, as in OpenVidu.
fn has_flag(params: &mut Params, name: &'static str) -> bool {
    params.take(name) == Some(Value::Bool(true))
}

pub(super) fn leave_room(_: Params) -> Result<Request, CallError> {
    Ok(Request::Leave)
}

/// The result of `joinRoom`. `version` is strict semver and `role` is there: clients hang or mistake themselves
/// for a stranger otherwise.
pub(super) fn joined(joined: &Joined) -> Map<String, Value> {
    let members = joined.members.iter().map(|(who, published)| {
        let mut shown = member(who);
        if let Some(published) = published {
            shown.insert("streams".to_owned(), json!([stream(published)]));
        }
        Value::Object(shown)
    });
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| {
        result.insert(name.to_owned(), value);
    };
    put("id", joined.connection.as_str().into());
    put("finalUserId", joined.final_user_id.as_str().into());
    put("createdAt", joined.created_at.into());
    put("metadata", joined.metadata.as_str().into());
    put("value", members.collect());
    put("session", joined.session.as_str().into());
    put("version", OPENVIDU_VERSION.into());
    let media_server = match joined.subscribe_offer {
        SubscribeOffer::Client => "kurento",
        SubscribeOffer::Server => "mediasoup",
    };
    put("mediaServer", media_server.into());
    put("videoSimulcast", joined.video_simulcast.into());
    put("record", joined.record.into());
    put("role", joined.role.as_str().into());
    put("coturnIp", joined.coturn_ip.as_str().into());
    put("coturnPort", joined.coturn_port.into());
    if let (Some(username), Some(credential)) = (&joined.turn_username, &joined.turn_credential) {
        put("turnUsername", username.as_str().into());
        put("turnCredential", credential.as_str().into());
    }
    put("customIceServers", json!(joined.custom_ice_servers));
    result
}
