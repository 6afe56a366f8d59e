//! `POST /openvidu/api/tokens`, the form before connections existed (section 7).

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;

use super::Api;
use super::body::{self, Invalid, Members};
use super::connections;
use super::error::{ApiError, Refusal};
use crate::control::session::directory::ConnectError;

const PATH: &str = "/openvidu/api/tokens";

/// A token as this call shows it (section 4.7).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    id: Option<String>,
    token: Option<String>,
    created_at: u64,
    connection_id: String,
    session: String,
    data: String,
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kurento_options: Option<Value>,
}

pub(super) async fn create(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Token>, Refusal> {
    let members = body::parse(&headers, &body, PATH)?;
    let given = Members::new(&members);
    let session = given
        .string("session")
        .and_then(|session| session.ok_or_else(|| Invalid::new("Parameter 'session' is mandatory")))
        .map_err(|invalid| invalid.at(PATH))?;
    let unknown = || {
        ApiError::new(
            StatusCode::NOT_FOUND,
            format!("Session {session} not found"),
            PATH,
        )
    };
    if api.directory.find(session).is_none() {
        return Err(unknown().into());
    }
    let mut properties = connections::properties(given, &api.settings.get())
        .map_err(|invalid| invalid.at(&connections::path(session)))?;
    // This call never knew `record`.
    properties.record = true;
    let connection = api
        .directory
        .create_connection(session, properties)
        .await
        .map_err(|error| match error {
            ConnectError::UnknownSession => unknown(),
            ConnectError::TooManyPending => {
                ApiError::new(StatusCode::CONFLICT, error.to_string(), PATH)
            }
        })?;
    Ok(Json(Token {
        id: connection.token.clone(),
        token: connection.token,
        created_at: connection.created_at,
        connection_id: connection.connection_id,
        session: connection.session_id,
        data: connection.server_data,
        role: connection.role,
        kurento_options: connection.kurento_options,
    }))
}
