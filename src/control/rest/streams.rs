//! `/openvidu/api/sessions/{session}/stream/{stream}` (section 8.2).

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::Api;
use super::connections::status_of_one;

/// The reason that everyone inside is told.
const UNPUBLISHED: &str = "forceUnpublishByServer";

pub(super) async fn unpublish(
    State(api): State<Api>,
    Path((session, stream)): Path<(String, String)>,
) -> StatusCode {
    let directory = &api.directory;
    match directory
        .unpublish_stream(&session, &stream, UNPUBLISHED)
        .await
    {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(error) => status_of_one(error),
    }
}
