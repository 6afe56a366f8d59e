//! The JSON-RPC 2.0 envelope (`openvidu-signalling` section 2).

use serde_json::{Map, Value, json};

use crate::control::session::RequestId;

/// A request as it came, its parameters unread.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Envelope {
    /// The id to be echoed; 0 is as good as any.
    pub(super) id: RequestId,
    /// The method's name.
    pub(super) method: String,
    /// Its parameters; absent ones are none.
    pub(super) params: Map<String, Value>,
}

/// Why a frame is no request. The id is the one to answer to.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum EnvelopeError {
    /// Not JSON, or nested deeper than the parser's 128 levels.
    #[error("Parse error")]
    Parse,
    /// JSON, but no request.
    #[error("Invalid Request: {1}")]
    Invalid(RequestId, &'static str),
    /// A request whose parameters are no object.
    #[error("Invalid params: an object is expected")]
    Params(RequestId),
}

impl EnvelopeError {
    /// The answer to the frame.
    pub(super) fn answer(&self) -> String {
        let nobody = RequestId(Value::Null);
        let (id, code) = match self {
            Self::Parse => (&nobody, -32700),
            Self::Invalid(id, _) => (id, -32600),
            Self::Params(id) => (id, -32602),
        };
        error(id, code, &self.to_string())
    }
}

impl Envelope {
    /// Reads one frame. Of duplicate keys the last counts, as in browsers.
    pub(super) fn parse(text: &str) -> Result<Self, EnvelopeError> {
        let invalid = |id: &Value, why| EnvelopeError::Invalid(RequestId(id.clone()), why);
        let value: Value = serde_json::from_str(text).map_err(|_| EnvelopeError::Parse)?;
        let Value::Object(mut frame) = value else {
            return Err(invalid(&Value::Null, "an object is expected"));
        };
        let id = match frame.remove("id") {
            Some(id @ Value::String(_)) => id,
            // A fraction, or a number of more than 64 bits, would not come back as it was sent.
            Some(id) if id.is_i64() || id.is_u64() => id,
            _ => return Err(invalid(&Value::Null, "id must be an integer")),
        };
        let Some(Value::String(method)) = frame.remove("method") else {
            return Err(invalid(&id, "method must be a string"));
        };
        let params = match frame.remove("params") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => return Err(EnvelopeError::Params(RequestId(id))),
        };
        Ok(Self {
            id: RequestId(id),
            method,
            params,
        })
    }
}

/// A successful response; the RPC session id is injected as upstream's RPC layer does.
pub(super) fn result(id: &RequestId, mut result: Map<String, Value>, rpc_session: &str) -> String {
    result.insert("sessionId".to_owned(), rpc_session.into());
    json!({"id": id.0, "result": result, "jsonrpc": "2.0"}).to_string()
}

/// A successful response into which nothing is injected: those of the RPC layer itself (section 8.17).
pub(super) fn bare_result(id: &RequestId, result: Value) -> String {
    json!({"id": id.0, "result": result, "jsonrpc": "2.0"}).to_string()
}

/// The response to `ping`.
pub(super) fn pong(id: &RequestId) -> String {
    bare_result(id, json!({"value": "pong"}))
}

/// A failed response in shape (a) of section 2.3.
pub(super) fn error(id: &RequestId, code: i64, message: &str) -> String {
    json!({"id": id.0, "error": {"code": code, "message": message}, "jsonrpc": "2.0"}).to_string()
}

/// An OpenVidu error: clients match the ending of its text.
pub(super) fn openvidu_error(id: &RequestId, code: i64, message: &str) -> String {
    error(id, code, &format!("{message}. Code: {code}"))
}

/// A notification.
pub(super) fn notification(method: &str, params: Value) -> String {
    json!({"method": method, "params": params, "jsonrpc": "2.0"}).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_read_with_id_zero_and_without_params() {
        let envelope = Envelope::parse(r#"{"jsonrpc":"2.0","method":"ping","id":0}"#).unwrap();
        assert_eq!(envelope.id, RequestId(json!(0)));
        assert_eq!(envelope.method, "ping");
        assert!(envelope.params.is_empty());
        assert_eq!(
            pong(&envelope.id),
            r#"{"id":0,"result":{"value":"pong"},"jsonrpc":"2.0"}"#
        );
    }

    #[test]
    fn what_is_no_request_gets_the_matching_json_rpc_code() {
        let code = |text: &str| {
            let answer = Envelope::parse(text).unwrap_err().answer();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            (
                answer["error"]["code"].as_i64().unwrap(),
                answer["id"].clone(),
            )
        };
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for text in ["", "{", "nonsense", "{\"id\":1}}", "\u{0}", &deep] {
            assert_eq!(code(text), (-32700, Value::Null), "{text:.20}");
        }
        for text in ["[]", "1", "null", "{}", r#"[{"id":1,"method":"ping"}]"#] {
            assert_eq!(code(text), (-32600, Value::Null), "{text}");
        }
        for id in ["[1]", "1.5", "4e77", "44444444444444444444444444444441"] {
            let text = format!(r#"{{"id":{id},"method":"ping"}}"#);
            assert_eq!(code(&text), (-32600, Value::Null), "{id}");
        }
        assert_eq!(code(r#"{"id":1,"method":5}"#), (-32600, json!(1)));
        assert_eq!(
            code(r#"{"id":1,"method":"x","params":[]}"#),
            (-32602, json!(1))
        );
    }

    #[test]
    fn of_duplicate_keys_the_last_counts() {
        let text = r#"{"id":1,"id":2,"method":"a","method":"b","params":{"x":1,"x":2}}"#;
        let envelope = Envelope::parse(text).unwrap();
        assert_eq!(
            (envelope.id, envelope.method),
            (RequestId(json!(2)), "b".to_owned())
        );
        assert_eq!(envelope.params["x"], json!(2));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = Envelope::parse(&text);
        }

        #[test]
        fn every_answer_is_a_response_that_clients_accept(id in any::<i64>(), message in ".{0,100}") {
            let id = RequestId(json!(id));
            for text in [error(&id, 1, &message), result(&id, Map::new(), &message), pong(&id)] {
                let value: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&value["jsonrpc"], "2.0");
                prop_assert_eq!(&value["id"], &id.0);
                prop_assert!(value.get("result").is_some() != value.get("error").is_some());
            }
        }
    }
}
