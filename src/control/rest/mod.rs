//! OpenVidu 2's REST API: routes, one file per resource, JSON models.
//!
//! Statuses, bodies and null rules are OpenVidu 2.32's. Deliberate deviations, all in cases that no SDK depends on:
//!
//! - malformed JSON, a body that is no object and a query value that is no boolean answer 400 with the error object,
//!   a body of another content type 415, one above [`MAX_BODY_LEN`] 413 (upstream: 403 for all of them);
//! - a missing body counts as `{}` everywhere;
//! - host names of custom ICE servers are judged by their syntax, never looked up in DNS
//!   ([`crate::units::ice_server`]);
//! - negative bandwidths are 400, and so is a `customSessionId` of more than 256 characters;
//! - a session of which 10,000 connections wait for their user takes no more of them: 409;
//! - a connection can be changed (PATCH), as in OpenVidu Pro, unless `OPENVIDU_EDITION` is `ce`: then it is 403;
//! - while the process drains, creating a session is 503 with `Retry-After`; one that exists is 409 as ever, by which
//!   the SDKs go on with it;
//! - after ten wrong guesses in a minute a source gets 401 with `Retry-After` and its credentials are not looked at:
//!   the SDKs know 401, and know no 429.
//!
//! IP cameras and recordings answer 501 until they exist.

mod authentication;
mod body;
mod certificate_page;
mod configuration;
#[cfg(test)]
mod conformance;
mod connections;
mod cors;
mod error;
mod kurento_options;
mod query;
mod recording_properties;
mod security_headers;
mod sessions;
mod signal;
mod streams;
mod tokens;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{any, get, post};

use crate::control::access::Gate;
use crate::control::session::directory::Directory;
use crate::units::Live;
pub use configuration::{Recording, Settings, Webhook};
use error::ApiError;

/// Largest request body; the largest real one is a few kilobytes.
pub const MAX_BODY_LEN: usize = 1024 * 1024;

/// What every handler needs.
#[derive(Debug, Clone)]
struct Api {
    settings: Live<Settings>,
    directory: Directory,
}

/// Everything below `/openvidu/` but signalling: the API, its public pages, and the refusal of the rest.
pub fn router(settings: impl Into<Live<Settings>>, gate: Gate, directory: Directory) -> Router {
    unauthenticated(settings, directory)
        .layer(from_fn_with_state(gate, authentication::require_secret))
        .layer(from_fn(cors::allow_every_origin))
        .layer(from_fn(security_headers::add))
}

/// The same for a door that knows by other means who comes in: the secret is not asked for.
pub fn unauthenticated(settings: impl Into<Live<Settings>>, directory: Directory) -> Router {
    let api = Api {
        settings: settings.into(),
        directory,
    };
    let router = Router::new();
    #[cfg(any(test, feature = "testing"))]
    let router = router.route("/openvidu/api/panic", get(panic));
    router
        .route(
            "/openvidu/api/sessions",
            post(sessions::create).get(sessions::list),
        )
        .route(
            "/openvidu/api/sessions/{session}",
            get(sessions::get).delete(sessions::close),
        )
        .route(
            "/openvidu/api/sessions/{session}/connection",
            post(connections::create).get(connections::list),
        )
        .route(
            "/openvidu/api/sessions/{session}/connection/{connection}",
            get(connections::get)
                .delete(connections::delete)
                .patch(connections::update),
        )
        .route(
            "/openvidu/api/sessions/{session}/stream/{stream}",
            axum::routing::delete(streams::unpublish),
        )
        .route("/openvidu/api/tokens", post(tokens::create))
        .route("/openvidu/api/signal", post(signal::send))
        .route("/openvidu/api/recordings", get(recording_is_off))
        .route("/openvidu/api/recordings/start", post(recording_is_off))
        .route(
            "/openvidu/api/recordings/stop/{recording}",
            post(recording_is_off),
        )
        .route(
            "/openvidu/api/recordings/{recording}",
            get(recording_is_off).delete(recording_is_off),
        )
        // Without this, `stop` would be taken for the id of a recording and `POST` answered as a known path.
        .route("/openvidu/api/recordings/stop", any(forbidden))
        .route("/openvidu/api/config", get(configuration::all))
        .route(
            "/openvidu/api/config/openvidu-publicurl",
            get(configuration::public_url),
        )
        .route(
            "/openvidu/api/config/openvidu-version",
            get(configuration::version),
        )
        .route(
            "/openvidu/api/config/openvidu-recording",
            get(configuration::recording),
        )
        .route(
            "/openvidu/api/config/openvidu-recording-path",
            get(configuration::recording_path),
        )
        .route("/openvidu/api/config/openvidu-cdr", get(configuration::cdr))
        .route("/openvidu/accept-certificate", get(certificate_page::page))
        .fallback(forbidden)
        .method_not_allowed_fallback(forbidden)
        .with_state(api)
        .layer(DefaultBodyLimit::max(MAX_BODY_LEN))
}

/// Whatever no rule names is 403 for those who know the secret (section 1.3); the others got 401 before.
async fn forbidden(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "Forbidden", uri.path())
}

/// A bug, for tests of containment.
#[cfg(any(test, feature = "testing"))]
async fn panic() -> StatusCode {
    panic!("injected")
}

/// What OpenVidu answers while `OPENVIDU_RECORDING` is false (section 9); applications hide their buttons on it.
async fn recording_is_off() -> StatusCode {
    StatusCode::NOT_IMPLEMENTED
}
