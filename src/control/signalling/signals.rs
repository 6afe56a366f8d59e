//! `sendMessage` (`openvidu-signalling` section 8.9).

use serde_json::{Map, Value};

use super::call::CallError;
use super::params::Params;
use crate::control::session::command::Signal;
use crate::control::session::{Refusal, Request};

/// Recipients that one signal may name.
const RECIPIENTS_MAX: usize = 10_000;

pub(super) fn send_message(mut params: Params) -> Result<Request, CallError> {
    let message = params.text("message")?;
    let malformed = || Refusal::SignalMalformed(message.clone());
    let mut signal: Map<String, Value> = serde_json::from_str(&message).map_err(|_| malformed())?;
    let mut text = |name: &str| match signal.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        // Applications that are not typed send numbers; the original turns them into text.
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(Value::Array(_) | Value::Object(_)) => Err(malformed()),
    };
    let (data, kind) = (text("data")?, text("type")?);
    let to = recipients(signal.remove("to")).ok_or(Refusal::SignalRecipientsMalformed)?;
    Ok(Request::Signal(Signal { to, data, kind }))
}

fn recipients(to: Option<Value>) -> Option<Vec<String>> {
    let to = match to {
        None | Some(Value::Null) => return Some(Vec::new()),
        Some(Value::Array(to)) if to.len() <= RECIPIENTS_MAX => to,
        Some(_) => return None,
    };
    to.into_iter()
        .map(|id| match id {
            Value::String(id) => Some(id),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::signalling::call::CallError;

    fn data(message: &Value) -> Result<Option<String>, CallError> {
        let params = Map::from_iter([("message".to_owned(), message.to_string().into())]);
        send_message(Params::new("sendMessage", params)).map(|request| match request {
            Request::Signal(signal) => signal.data,
            other => panic!("no signal but {other:?}"),
        })
    }

    #[test]
    fn data_is_text_and_numbers_become_text() {
        for (value, text) in [
            (json!("x"), Some("x")),
            (json!(42), Some("42")),
            (json!(0.5), Some("0.5")),
            (json!(true), Some("true")),
            (json!(null), None),
        ] {
            assert_eq!(data(&json!({ "data": value })), Ok(text.map(str::to_owned)));
        }
        assert_eq!(data(&json!({})), Ok(None));
        for bad in [json!({"data": {}}), json!({"data": ["x"]}), json!([])] {
            assert_eq!(
                data(&bad),
                Err(Refusal::SignalMalformed(bad.to_string()).into())
            );
        }
    }
}
