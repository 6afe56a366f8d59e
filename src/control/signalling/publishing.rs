//! `publishVideo`, `unpublishVideo`, `streamPropertyChanged`, `videoData` (`openvidu-signalling` sections 8.3, 8.4,
//! 8.10, 8.11).

use serde_json::{Map, Value};

use super::call::CallError;
use super::params::{Params, is_object_text};
use crate::control::session::command::{PropertyChange, PublishVideo, StreamProperty, VideoType};
use crate::control::session::{Request, StreamId};

/// Longest text of a reason or a filter's type.
pub(super) const WORD_MAX: usize = 256;

/// Longest JSON text of a track's description.
const TRACK_MAX: usize = 4096;

pub(super) fn publish_video(mut params: Params) -> Result<Request, CallError> {
    let video_type = |name: String| VideoType::from_name(&name);
    let publish = PublishVideo {
        offer: params.text("sdpOffer")?,
        do_loopback: params.flag("doLoopback")?,
        has_audio: params.flag("hasAudio")?,
        has_video: params.flag("hasVideo")?,
        audio_active: params.optional_flag("audioActive")?,
        video_active: params.optional_flag("videoActive")?,
        type_of_video: params
            .optional_text("typeOfVideo")?
            .map_or(VideoType::Custom, video_type),
        frame_rate: params.optional_integer("frameRate")?.unwrap_or(-1),
        video_dimensions: params.optional_object_text("videoDimensions")?,
        filter: filter(&mut params)?,
    };
    Ok(Request::Publish(Box::new(publish)))
}

/// The type of the filter that is asked for; an empty object asks for none.
fn filter(params: &mut Params) -> Result<Option<String>, CallError> {
    let invalid = params.invalid("filter", "an object with a type");
    match params.take("filter") {
        None => Ok(None),
        Some(Value::Object(filter)) if filter.is_empty() => Ok(None),
        Some(Value::Object(filter)) => match filter.get("type") {
            Some(Value::String(kind)) if kind.len() <= WORD_MAX => Ok(Some(kind.clone())),
            _ => Err(invalid),
        },
        Some(_) => Err(invalid),
    }
}

pub(super) fn published(answer: &str, stream: &StreamId, created_at: u64) -> Map<String, Value> {
    let mut result = Map::new();
    result.insert("sdpAnswer".to_owned(), answer.into());
    result.insert("id".to_owned(), stream.as_str().into());
    result.insert("createdAt".to_owned(), created_at.into());
    result
}

pub(super) fn unpublish_video(_: Params) -> Result<Request, CallError> {
    Ok(Request::Unpublish)
}

pub(super) fn stream_property_changed(mut params: Params) -> Result<Request, CallError> {
    params.text("streamId")?;
    let property = params.text("property")?;
    let value = params.value("newValue")?;
    let reason = params.bounded_text("reason", WORD_MAX)?;
    let change = match (property.as_str(), value) {
        ("audioActive", Value::Bool(active)) => PropertyChange::AudioActive(active),
        ("videoActive", Value::Bool(active)) => PropertyChange::VideoActive(active),
        // Client 2.23 announces a replaced track as if it were a mute.
        ("audioActive" | "videoActive", _) if reason == "trackReplaced" => {
            return Ok(Request::Acknowledge);
        }
        ("videoDimensions", Value::String(text)) if is_object_text(&text) => {
            PropertyChange::VideoDimensions(text)
        }
        ("audioTrack", value @ Value::Object(_)) => {
            PropertyChange::AudioTrack(track(&params, &value)?)
        }
        ("videoTrack", value @ Value::Object(_)) => {
            PropertyChange::VideoTrack(track(&params, &value)?)
        }
        ("audioActive" | "videoActive", _) => return Err(params.invalid("newValue", "a boolean")),
        ("videoDimensions", _) => {
            return Err(params.invalid("newValue", "a string that holds a JSON object"));
        }
        ("audioTrack" | "videoTrack", _) => return Err(params.invalid("newValue", "an object")),
        _ => return Err(params.invalid("property", "a property of a stream")),
    };
    Ok(Request::StreamProperty(StreamProperty { change, reason }))
}

fn track(params: &Params, value: &Value) -> Result<String, CallError> {
    let text = value.to_string();
    if text.len() > TRACK_MAX {
        return Err(params.invalid("newValue", "shorter"));
    }
    Ok(text)
}

pub(super) fn video_data(mut params: Params) -> Result<Request, CallError> {
    params.integer("height")?;
    params.integer("width")?;
    params.flag("videoActive")?;
    params.flag("audioActive")?;
    Ok(Request::Acknowledge)
}
