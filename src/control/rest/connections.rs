//! `/openvidu/api/sessions/{session}/connection` (section 6).

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};

use super::body::{self, Invalid, Members};
use super::error::{ApiError, Refusal};
use super::query::{self, ListingQuery};
use super::{Api, Settings, kurento_options};
use crate::control::session::directory::{ConnectError, LookupError};
use crate::control::session::ice_servers::with_credentials;
use crate::control::session::{ConnectionChange, ConnectionProperties, Role};
use crate::units::{IceServer, Random, clock};
use crate::views::openvidu as view;

/// The reason that an evicted client is told.
const EVICTED: &str = "forceDisconnectByServer";

pub(super) async fn create(
    State(api): State<Api>,
    Path(session): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<view::Connection>, Refusal> {
    let path = path(&session);
    // The session comes first: an unknown one is 404 even with a bad body.
    if api.directory.find(&session).is_none() {
        return Err(StatusCode::NOT_FOUND.into());
    }
    let members = body::parse(&headers, &body, &path)?;
    let given = Members::new(&members);
    match given.string("type").map_err(|invalid| invalid.at(&path))? {
        None | Some("WEBRTC") => {}
        Some("IPCAM") => {
            return Err(ApiError::new(
                StatusCode::NOT_IMPLEMENTED,
                "This server does not offer connections of type IPCAM yet",
                path,
            )
            .into());
        }
        Some(_) => {
            return Err(Invalid::new("Parameter 'type' must be WEBRTC or IPCAM")
                .at(&path)
                .into());
        }
    }
    let properties = properties(given, &api.settings.get()).map_err(|invalid| invalid.at(&path))?;
    match api.directory.create_connection(&session, properties).await {
        Ok(connection) => Ok(Json(connection)),
        Err(ConnectError::UnknownSession) => {
            Err(ApiError::new(StatusCode::NOT_FOUND, "The session is being closed", path).into())
        }
        Err(full @ ConnectError::TooManyPending) => {
            Err(ApiError::new(StatusCode::CONFLICT, full.to_string(), path).into())
        }
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    Path(session): Path<String>,
    query: ListingQuery,
) -> Result<Json<view::List<view::Connection>>, Refusal> {
    let pending = query::pending(query, true, &path(&session))?;
    match api.directory.connections(&session, pending).await {
        Ok(connections) => Ok(Json(connections.into())),
        Err(_) => Err(StatusCode::NOT_FOUND.into()),
    }
}

pub(super) async fn get(
    State(api): State<Api>,
    Path((session, connection)): Path<(String, String)>,
) -> Result<Json<view::Connection>, StatusCode> {
    let found = api.directory.connection(&session, &connection).await;
    found.map(Json).map_err(status_of_one)
}

pub(super) async fn delete(
    State(api): State<Api>,
    Path((session, connection)): Path<(String, String)>,
) -> StatusCode {
    match api
        .directory
        .delete_connection(&session, &connection, EVICTED)
        .await
    {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(error) => status_of_one(error),
    }
}

/// Changes role and `record`, a feature of OpenVidu Pro (section 6.7); the community edition knows no such call.
pub(super) async fn update(
    State(api): State<Api>,
    Path((session, connection)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<view::Connection>, Refusal> {
    if api.settings.get().community_edition {
        return Err(super::forbidden(uri).await.into());
    }
    if api.directory.find(&session).is_none() {
        return Err(StatusCode::NOT_FOUND.into());
    }
    let path = path(&session);
    let members = body::parse(&headers, &body, &path)?;
    let given = Members::new(&members);
    let change = || {
        Ok(ConnectionChange {
            role: role(given)?,
            record: given.boolean("record")?,
        })
    };
    let change = change().map_err(|invalid: Invalid| invalid.at(&path))?;
    let updated = api
        .directory
        .update_connection(&session, &connection, change)
        .await;
    updated.map(Json).map_err(|_| StatusCode::NOT_FOUND.into())
}

/// An unknown session is 400 here, not 404 as everywhere else (sections 6.4, 6.6 and 8.2).
pub(super) fn status_of_one(error: LookupError) -> StatusCode {
    match error {
        LookupError::UnknownSession => StatusCode::BAD_REQUEST,
        LookupError::UnknownConnection | LookupError::UnknownStream => StatusCode::NOT_FOUND,
    }
}

/// What the error object calls a session's connections.
pub(super) fn path(session: &str) -> String {
    format!("{}/{session}/connection", super::sessions::PATH)
}

/// The `WEBRTC` members of section 6.1; members of other types of connection are ignored.
pub(super) fn properties(
    given: Members<'_>,
    settings: &Settings,
) -> Result<ConnectionProperties, Invalid> {
    let data = given.string("data")?.unwrap_or_default().to_owned();
    let record = given.boolean("record")?.unwrap_or(true);
    let role = role(given)?.unwrap_or(Role::Publisher);
    let (kurento_options, kurento_options_json) = match given.object("kurentoOptions")? {
        None => (None, None),
        Some(options) => {
            let (options, shown) = kurento_options::parse(options)?;
            (Some(options), Some(shown))
        }
    };
    Ok(ConnectionProperties {
        role,
        data,
        record,
        kurento_options,
        kurento_options_json,
        custom_ice_servers: custom_ice_servers(given, &settings.ice_servers)?,
    })
}

fn role(given: Members<'_>) -> Result<Option<Role>, Invalid> {
    let Some(name) = given.string("role")? else {
        return Ok(None);
    };
    Role::from_name(name)
        .map(Some)
        .ok_or_else(|| Invalid::new("Parameter 'role' must be SUBSCRIBER, PUBLISHER or MODERATOR"))
}

/// Those of the request, else the configured ones, each with credentials for a day from this moment.
fn custom_ice_servers(
    given: Members<'_>,
    configured: &[IceServer],
) -> Result<Vec<view::IceServer>, Invalid> {
    let mut requested = Vec::new();
    for entry in given.array("customIceServers")?.unwrap_or_default() {
        let Some(entry) = entry.as_object().map(Members::new) else {
            return Err(Invalid::new(
                "Parameter 'customIceServers' is not an array of objects",
            ));
        };
        let url = entry
            .string("url")?
            .ok_or_else(|| Invalid::new("An entry of 'customIceServers' has no 'url'"))?;
        let server = IceServer::new(
            url,
            entry.string("username")?,
            entry.string("credential")?,
            entry.string("staticAuthSecret")?,
        )
        .map_err(|error| Invalid::new(format!("Parameter 'customIceServers': {error}")))?;
        requested.push(server);
    }
    let servers = if requested.is_empty() {
        configured
    } else {
        requested.as_slice()
    };
    let now_secs = clock::wall_ms() / 1000;
    let mut random = Random::system();
    Ok(servers
        .iter()
        .map(|server| with_credentials(server, now_secs, &mut random))
        .collect())
}
