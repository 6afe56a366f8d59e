//! `onIceCandidate` (`openvidu-signalling` section 8.8).

use super::call::CallError;
use super::params::Params;
use super::subscribing::ID_MAX;
use crate::control::session::Request;

/// Only `endpointName` matters: whatever the candidate is, null, empty, mDNS or nonsense, an error would surface in
/// the application, and nothing is done with it.
pub(super) fn on_ice_candidate(mut params: Params) -> Result<Request, CallError> {
    let owner = params.bounded_text("endpointName", ID_MAX)?;
    params.optional_text("candidate")?;
    Ok(Request::IceCandidate { owner })
}
