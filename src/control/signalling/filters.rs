//! The five methods on media filters (`openvidu-signalling` section 8.14).

use serde_json::{Map, Value};

use super::call::CallError;
use super::params::Params;
use super::publishing::WORD_MAX;
use super::subscribing::ID_MAX;
use crate::control::session::Request;
use crate::control::session::command::{FilterAction, FilterRequest};

pub(super) fn apply_filter(mut params: Params) -> Result<Request, CallError> {
    let kind = params.bounded_text("type", WORD_MAX)?;
    let options = params.text("options")?;
    let has_good_options = is_object(&options);
    let action = FilterAction::Apply {
        kind,
        has_good_options,
    };
    request(params, action)
}

pub(super) fn remove_filter(params: Params) -> Result<Request, CallError> {
    request(params, FilterAction::Remove)
}

pub(super) fn exec_filter_method(mut params: Params) -> Result<Request, CallError> {
    params.text("method")?;
    let arguments = params.text("params")?;
    if !is_object(&arguments) {
        return Err(params.invalid("params", "a string that holds a JSON object"));
    }
    request(params, FilterAction::Execute)
}

pub(super) fn add_filter_event_listener(mut params: Params) -> Result<Request, CallError> {
    params.text("eventType")?;
    request(params, FilterAction::AddListener)
}

pub(super) fn remove_filter_event_listener(mut params: Params) -> Result<Request, CallError> {
    params.text("eventType")?;
    request(params, FilterAction::RemoveListener)
}

fn request(mut params: Params, action: FilterAction) -> Result<Request, CallError> {
    let stream = params.bounded_text("streamId", ID_MAX)?;
    Ok(Request::Filter(FilterRequest { stream, action }))
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(text).is_ok()
}
