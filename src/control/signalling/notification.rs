//! Notifications and the objects within them, as JSON (`openvidu-signalling` sections 7.3, 9).

use serde_json::{Map, Value, json};

use super::envelope;
use crate::control::session::Notification;
use crate::control::session::command::PropertyChange;
use crate::control::session::notification::{ConnectionProperty, Member, StreamDescriptor};

/// The whole frame.
pub(super) fn frame(notification: &Notification) -> String {
    let (method, params) = match notification {
        Notification::ParticipantJoined(who) => ("participantJoined", Value::Object(member(who))),
        Notification::ParticipantPublished {
            connection,
            stream: published,
        } => (
            "participantPublished",
            json!({"id": connection.as_str(), "streams": [stream(published)]}),
        ),
        Notification::ParticipantUnpublished { connection, reason } => (
            "participantUnpublished",
            json!({"connectionId": connection.as_str(), "reason": &**reason}),
        ),
        Notification::ParticipantLeft { connection, reason } => (
            "participantLeft",
            json!({"connectionId": connection.as_str(), "reason": &**reason}),
        ),
        Notification::ParticipantEvicted { connection, reason } => (
            "participantEvicted",
            json!({"connectionId": connection.as_str(), "reason": &**reason}),
        ),
        Notification::SendMessage { data, kind, from } => {
            let from = from.as_ref().map(|from| from.as_str());
            (
                "sendMessage",
                present([
                    ("data", data.as_deref()),
                    ("type", kind.as_deref()),
                    ("from", from),
                ]),
            )
        }
        Notification::StreamPropertyChanged {
            connection,
            stream,
            change,
            reason,
        } => {
            let (property, value) = property(change);
            (
                "streamPropertyChanged",
                json!({"connectionId": connection.as_str(), "streamId": stream.as_str(), "property": property,
                    "newValue": value, "reason": reason}),
            )
        }
        Notification::MediaError { text } => ("mediaError", json!({"error": text})),
        Notification::ConnectionPropertyChanged(change) => {
            let (property, value) = match change {
                ConnectionProperty::Role(role) => ("role", role.as_str()),
                // A text, like the mute states.
                ConnectionProperty::Record(true) => ("record", "true"),
                ConnectionProperty::Record(false) => ("record", "false"),
            };
            (
                "connectionPropertyChanged",
                json!({"property": property, "newValue": value}),
            )
        }
        Notification::NetworkQualityLevelChanged {
            connection,
            old,
            new,
        } => {
            let mut params = json!({"connectionId": connection.as_str(), "newValue": new});
            if let Some(old) = old {
                params["oldValue"] = (*old).into();
            }
            ("networkQualityLevelChanged", params)
        }
        Notification::ForciblyReconnectSubscriber {
            connection,
            stream,
            offer,
        } => (
            "forciblyReconnectSubscriber",
            json!({"connectionId": connection.as_str(), "streamId": stream.as_str(), "sdpOffer": offer}),
        ),
    };
    envelope::notification(method, params)
}

/// A participant as others see it.
pub(super) fn member(member: &Member) -> Map<String, Value> {
    Map::from_iter([
        ("id".to_owned(), member.connection.as_str().into()),
        ("createdAt".to_owned(), member.created_at.into()),
        ("metadata".to_owned(), member.metadata.as_str().into()),
    ])
}

/// A stream as others see it; values that the publisher did not send are absent.
pub(super) fn stream(stream: &StreamDescriptor) -> Value {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            shown.insert(name.to_owned(), value);
        }
    };
    put("id", stream.id.as_str().into());
    put("createdAt", stream.created_at.into());
    put("hasAudio", stream.has_audio.into());
    put("hasVideo", stream.has_video.into());
    put("audioActive", stream.audio_active.into());
    put("videoActive", stream.video_active.into());
    put("typeOfVideo", stream.type_of_video.into());
    put("frameRate", stream.frame_rate.into());
    put("videoDimensions", stream.video_dimensions.as_deref().into());
    put("filter", json!({}));
    Value::Object(shown)
}

/// `property` and `newValue`: the value as JSON text, so that dimensions, a text already, are encoded twice.
fn property(change: &PropertyChange) -> (&'static str, String) {
    match change {
        PropertyChange::AudioActive(active) => ("audioActive", active.to_string()),
        PropertyChange::VideoActive(active) => ("videoActive", active.to_string()),
        PropertyChange::VideoDimensions(text) => {
            ("videoDimensions", Value::String(text.clone()).to_string())
        }
        PropertyChange::AudioTrack(json) => ("audioTrack", json.clone()),
        PropertyChange::VideoTrack(json) => ("videoTrack", json.clone()),
    }
}

fn present<const N: usize>(members: [(&str, Option<&str>); N]) -> Value {
    members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))))
        .collect::<Map<_, _>>()
        .into()
}
