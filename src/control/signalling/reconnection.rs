//! `connect` and `reconnectStream` (`openvidu-signalling` section 5).

use super::call::CallError;
use super::params::Params;
use super::subscribing::ID_MAX;
use crate::control::session::Request;
use crate::control::session::command::{ReconnectStream, StreamSdp};
use crate::units::Secret;

/// `connect`, with the id of the RPC session that is to go on; `reconnect` says the same a second time.
pub(super) fn connect(mut params: Params) -> Result<Option<Secret>, CallError> {
    Ok(params.optional_text("sessionId")?.map(Secret::new))
}

/// `forciblyReconnect` says nothing that the stream and the description do not.
pub(super) fn reconnect_stream(mut params: Params) -> Result<Request, CallError> {
    let stream = params.bounded_text("stream", ID_MAX)?;
    let text = params.optional_text("sdpString")?;
    let offer = params.optional_text("sdpOffer")?;
    let sdp = text
        .map(StreamSdp::Text)
        .or_else(|| offer.map(StreamSdp::Offer));
    match sdp {
        Some(sdp) => Ok(Request::ReconnectStream(ReconnectStream { stream, sdp })),
        None => Err(params.missing("sdpString")),
    }
}
