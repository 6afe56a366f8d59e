//! `/openvidu/api/signal` (section 8.1).

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::Api;
use super::body::{self, Invalid, Members};
use super::error::{ApiError, Refusal};
use crate::control::session::SignalError;
use crate::control::session::command::Signal;

const PATH: &str = "/openvidu/api/signal";

/// Delivers a signal that comes from no participant; its type goes out as it came, without the prefix `signal:`.
pub(super) async fn send(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refusal> {
    let members = body::parse(&headers, &body, PATH)?;
    let (session, signal) = read(Members::new(&members)).map_err(|invalid| invalid.at(PATH))?;
    match api.directory.signal(session, signal).await {
        Ok(Ok(())) => Ok(StatusCode::OK),
        Ok(Err(SignalError::Inactive)) => Err(StatusCode::NOT_ACCEPTABLE.into()),
        Ok(Err(SignalError::UnknownRecipient)) => {
            let message = "Some connectionId in 'to' does not exist in this session";
            Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, message, PATH).into())
        }
        Err(_) => Err(StatusCode::NOT_FOUND.into()),
    }
}

fn read(given: Members<'_>) -> Result<(&str, Signal), Invalid> {
    let session = given.string("session")?;
    let text = |name| given.string(name).map(|text| text.map(str::to_owned));
    let signal = Signal {
        to: given
            .array("to")?
            .unwrap_or_default()
            .iter()
            .map(recipient)
            .collect::<Result<_, _>>()?,
        data: text("data")?,
        kind: text("type")?,
    };
    let session = session.ok_or_else(|| Invalid::new("Parameter 'session' is mandatory"))?;
    Ok((session, signal))
}

/// `null` is nobody: the empty id, which is found as little.
fn recipient(id: &Value) -> Result<String, Invalid> {
    match id {
        Value::String(id) => Ok(id.clone()),
        Value::Null => Ok(String::new()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(
            Invalid::new("Parameter 'to' is not an array of connection ids"),
        ),
    }
}
