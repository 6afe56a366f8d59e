//! `forceUnpublish`, `forceDisconnect`, speech to text (`openvidu-signalling` sections 8.12, 8.13, 8.15).

use super::call::CallError;
use super::params::Params;
use super::subscribing::ID_MAX;
use crate::control::session::Request;

pub(super) fn force_unpublish(mut params: Params) -> Result<Request, CallError> {
    let stream = params.bounded_text("streamId", ID_MAX)?;
    Ok(Request::ForceUnpublish { stream })
}

pub(super) fn force_disconnect(mut params: Params) -> Result<Request, CallError> {
    let connection = params.bounded_text("connectionId", ID_MAX)?;
    Ok(Request::ForceDisconnect { connection })
}

/// Refused whatever the parameters are.
pub(super) fn speech_to_text(_: Params) -> Result<Request, CallError> {
    Ok(Request::SpeechToText)
}
