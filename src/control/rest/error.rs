//! The error object (section 1.4).

use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::units::clock;

/// A refusal with the error object as its body. Refusals without a body are a bare [`StatusCode`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    path: String,
}

impl ApiError {
    pub(super) fn new(
        status: StatusCode,
        message: impl Into<String>,
        path: impl Into<String>,
    ) -> Self {
        Self {
            status,
            message: message.into(),
            path: path.into(),
        }
    }

    /// 400: the request says something that cannot be.
    pub(super) fn bad_request(message: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, path)
    }
}

#[derive(Serialize)]
struct ErrorObject<'a> {
    timestamp: u64,
    status: u16,
    error: &'a str,
    message: &'a str,
    path: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorObject {
            timestamp: clock::wall_ms(),
            status: self.status.as_u16(),
            error: self.status.canonical_reason().unwrap_or_default(),
            message: &self.message,
            path: &self.path,
        };
        (self.status, Json(body)).into_response()
    }
}

/// Any kind of refusal: with the error object, with an empty body, or for some time.
#[derive(Debug)]
pub(super) enum Refusal {
    WithObject(ApiError),
    Empty(StatusCode),
    Later {
        error: ApiError,
        retry_after: Duration,
    },
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::WithObject(error)
    }
}

impl From<StatusCode> for Refusal {
    fn from(status: StatusCode) -> Self {
        Self::Empty(status)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::WithObject(error) => error.into_response(),
            Self::Empty(status) => status.into_response(),
            Self::Later { error, retry_after } => {
                let mut response = error.into_response();
                let seconds = HeaderValue::from(retry_after.as_secs().max(1));
                response.headers_mut().insert(RETRY_AFTER, seconds);
                response
            }
        }
    }
}
