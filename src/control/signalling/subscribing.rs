//! `prepareReceiveVideoFrom`, `receiveVideoFrom`, `unsubscribeFromVideo` (`openvidu-signalling` sections 8.5 to 8.7).

use serde_json::{Map, Value};

use super::call::CallError;
use super::params::Params;
use crate::control::session::Request;

/// Longest `sender`: a stream id, which holds a connection id.
pub(super) const ID_MAX: usize = 512;

pub(super) fn prepare_receive_video_from(mut params: Params) -> Result<Request, CallError> {
    let sender = params.bounded_text("sender", ID_MAX)?;
    // An existing subscription is replaced either way.
    params.flag("reconnect")?;
    Ok(Request::PrepareReceive { sender })
}

/// Who offers shows in which key is there; `sdpOffer` is looked at first.
pub(super) fn receive_video_from(mut params: Params) -> Result<Request, CallError> {
    let sender = params.bounded_text("sender", ID_MAX)?;
    if let Some(offer) = params.optional_text("sdpOffer")? {
        return Ok(Request::ReceiveOffer { sender, offer });
    }
    match params.optional_text("sdpAnswer")? {
        Some(answer) => Ok(Request::ReceiveAnswer { sender, answer }),
        None => Err(params.missing("sdpOffer")),
    }
}

pub(super) fn unsubscribe_from_video(mut params: Params) -> Result<Request, CallError> {
    let sender = params.bounded_text("sender", ID_MAX)?;
    Ok(Request::Unsubscribe { sender })
}

pub(super) fn offered(offer: &str) -> Map<String, Value> {
    Map::from_iter([("sdpOffer".to_owned(), offer.into())])
}

pub(super) fn answered(answer: &str) -> Map<String, Value> {
    Map::from_iter([("sdpAnswer".to_owned(), answer.into())])
}
