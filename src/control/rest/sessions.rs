//! `/openvidu/api/sessions` (section 5).

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::json;

use super::body::{self, Invalid, Members};
use super::error::{ApiError, Refusal};
use super::query::{self, ListingQuery};
use super::recording_properties;
use super::{Api, Settings};
use crate::control::session::SessionProperties;
use crate::control::session::directory::CreateError;
use crate::units::ForcedVideoCodec;
use crate::views::openvidu as view;

pub(super) const PATH: &str = "/openvidu/api/sessions";

/// Longest `customSessionId`: it is repeated in every token, notification and line of the log.
const CUSTOM_ID_MAX: usize = 256;

/// The reason that everyone inside is told.
const CLOSED: &str = "sessionClosedByServer";

pub(super) async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<view::Session>, Refusal> {
    let members = body::parse(&headers, &body, PATH)?;
    let properties = properties(Members::new(&members), &api.settings.get())
        .map_err(|invalid| invalid.at(PATH))?;
    match api.directory.create(properties).await {
        Ok(session) => Ok(Json(session)),
        Err(CreateError::Conflict) => Err(StatusCode::CONFLICT.into()),
        Err(draining @ CreateError::Draining { retry_after }) => Err(Refusal::Later {
            error: ApiError::new(StatusCode::SERVICE_UNAVAILABLE, draining.to_string(), PATH),
            retry_after,
        }),
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    query: ListingQuery,
) -> Result<Json<view::List<view::Session>>, Refusal> {
    let pending = query::pending(query, false, PATH)?;
    Ok(Json(api.directory.list(pending).await.into()))
}

pub(super) async fn get(
    State(api): State<Api>,
    Path(session): Path<String>,
    query: ListingQuery,
) -> Result<Json<view::Session>, Refusal> {
    let pending = query::pending(query, false, PATH)?;
    let session = api.directory.get(&session, pending).await;
    Ok(Json(session.ok_or(StatusCode::NOT_FOUND)?))
}

pub(super) async fn close(State(api): State<Api>, Path(session): Path<String>) -> StatusCode {
    match api.directory.close(&session, CLOSED).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::NOT_FOUND,
    }
}

/// The rules of section 5.1.
pub(super) fn properties(
    given: Members<'_>,
    settings: &Settings,
) -> Result<SessionProperties, Invalid> {
    let media_mode = one_of(given, "mediaMode", ["ROUTED", "RELAYED"])?;
    let recording_mode = one_of(given, "recordingMode", ["MANUAL", "ALWAYS"])?;
    let forced_video_codec = match given.string("forcedVideoCodec")? {
        None => settings.forced_video_codec,
        Some(name) => ForcedVideoCodec::from_name(name).ok_or_else(|| {
            Invalid::new(
                "Parameter 'forcedVideoCodec' must be MEDIA_SERVER_PREFERRED, NONE, VP8, VP9 or H264",
            )
        })?,
    };
    let default_recording_properties = match given.object("defaultRecordingProperties")? {
        None => recording_properties::defaults(),
        Some(given) => recording_properties::parse(given)?,
    };
    let media_node = match given.object("mediaNode")? {
        None => None,
        Some(node) => Some(json!({
            "id": node.string("id")?.ok_or_else(|| Invalid::new("Parameter 'mediaNode' has no 'id'"))?
        })),
    };
    Ok(SessionProperties {
        media_mode,
        recording_mode,
        custom_session_id: custom_session_id(given)?,
        forced_video_codec,
        allow_transcoding: given
            .boolean("allowTranscoding")?
            .unwrap_or(settings.allow_transcoding),
        default_recording_properties,
        media_node,
    })
}

/// One of two exact words, the first by default.
fn one_of(
    given: Members<'_>,
    name: &str,
    words: [&'static str; 2],
) -> Result<&'static str, Invalid> {
    let [default, _] = words;
    match given.string(name)? {
        None => Ok(default),
        Some(text) => words.into_iter().find(|word| *word == text).ok_or_else(|| {
            Invalid::new(format!("Parameter '{name}' must be {}", words.join(" or ")))
        }),
    }
}

fn custom_session_id(given: Members<'_>) -> Result<Option<String>, Invalid> {
    let Some(id) = given.string("customSessionId")?.filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    if id.len() > CUSTOM_ID_MAX {
        return Err(Invalid::new(format!(
            "Parameter 'customSessionId' may have {CUSTOM_ID_MAX} characters at most"
        )));
    }
    if id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    {
        Ok(Some(id.to_owned()))
    } else {
        Err(Invalid::new(
            "Parameter 'customSessionId' may only hold letters, digits, '_' and '-'",
        ))
    }
}
