//! Request bodies: strict JSON objects whose `null` members count as not given (section 1.1).

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::error::ApiError;

/// What is wrong with a request's members, in words for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Invalid(String);

impl Invalid {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    fn wrong_type(name: &str, wanted: &str) -> Self {
        Self(format!(
            "Wrong type of parameter '{name}': {wanted} expected"
        ))
    }

    /// The 400 that a handler answers; `path` is what the error object says.
    pub(super) fn at(self, path: &str) -> ApiError {
        ApiError::bad_request(self.0, path)
    }
}

/// Parses a body. An empty one is `{}`, whatever its content type says.
///
/// # Errors
/// 415 for another content type than JSON (which also keeps foreign web pages from posting with a visitor's cached
/// credentials without a preflight), 400 for what is not a JSON object.
pub(super) fn parse(
    headers: &HeaderMap,
    body: &Bytes,
    path: &str,
) -> Result<Map<String, Value>, ApiError> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    if !is_json(headers) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "A request with a body needs the header 'Content-Type: application/json'",
            path,
        ));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(ApiError::bad_request("The body is not a JSON object", path)),
        Err(error) => Err(ApiError::bad_request(
            format!("The body is not valid JSON: {error}"),
            path,
        )),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("text/json")
        || essence
            .rsplit_once('+')
            .is_some_and(|(_, suffix)| suffix.eq_ignore_ascii_case("json"))
}

/// The members of one JSON object, read by type. A member that is `null` is absent; unknown members are ignored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Members<'a>(&'a Map<String, Value>);

impl<'a> Members<'a> {
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self(object)
    }

    pub(super) fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn string(self, name: &str) -> Result<Option<&'a str>, Invalid> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(super) fn boolean(self, name: &str) -> Result<Option<bool>, Invalid> {
        self.typed(name, "a boolean", Value::as_bool)
    }

    pub(super) fn object(self, name: &str) -> Result<Option<Members<'a>>, Invalid> {
        self.typed(name, "an object", |value| value.as_object().map(Members))
    }

    pub(super) fn array(self, name: &str) -> Result<Option<&'a [Value]>, Invalid> {
        self.typed(name, "an array", |value| {
            value.as_array().map(Vec::as_slice)
        })
    }

    /// A number, truncated to an integer as upstream does.
    pub(super) fn integer(self, name: &str) -> Result<Option<i64>, Invalid> {
        self.typed(name, "a number", truncated)
    }

    fn typed<T>(
        self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Invalid> {
        self.value(name)
            .map(|value| read(value).ok_or_else(|| Invalid::wrong_type(name, wanted)))
            .transpose()
    }
}

/// The integer part of a JSON number that fits 64 bits.
pub(super) fn truncated(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_f64().and_then(truncated_f64))
}

/// The integer part of `number`, `None` outside of what doubles count exactly.
pub(super) fn truncated_f64(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "truncation is the purpose, and the range is checked"
    )]
    (number.abs() <= EXACT).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(content_type: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        headers
    }

    #[test]
    fn an_empty_body_is_an_empty_object_whatever_its_type() {
        let form = headers("application/x-www-form-urlencoded");
        assert_eq!(parse(&form, &Bytes::new(), "/p"), Ok(Map::new()));
    }

    #[test]
    fn only_json_objects_pass() {
        let json = headers("application/json; charset=utf-8");
        let ok = Bytes::from_static(b"{\"a\":null}");
        assert!(parse(&json, &ok, "/p").is_ok());
        assert!(parse(&headers("Application/JSON"), &ok, "/p").is_ok());
        assert!(parse(&headers("text/plain"), &ok, "/p").is_err());
        assert!(parse(&HeaderMap::new(), &ok, "/p").is_err());
        for bad in [
            "[]",
            "1",
            "null",
            "{",
            "{\"a\":1}x",
            "{'a':1}",
            "{\"a\":1e999}",
            "\u{feff}{}",
        ] {
            assert!(parse(&json, &Bytes::from(bad), "/p").is_err(), "{bad}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let json = headers("application/json");
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse(&json, &Bytes::from(deep), "/p").is_err());
    }

    #[test]
    fn null_is_absent_and_types_are_strict() {
        let object = serde_json::json!({"n": null, "s": "x", "b": true, "i": 25.9, "big": 1e300});
        let members = Members::new(object.as_object().unwrap());
        assert_eq!(members.string("n"), Ok(None));
        assert_eq!(members.string("missing"), Ok(None));
        assert_eq!(members.string("s"), Ok(Some("x")));
        assert_eq!(members.integer("i"), Ok(Some(25)));
        assert!(members.string("b").is_err());
        assert!(members.boolean("s").is_err());
        assert!(members.integer("s").is_err());
        assert!(members.integer("big").is_err());
        assert!(members.array("s").is_err());
        assert!(members.object("s").is_err());
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&headers("application/json"), &Bytes::from(bytes), "/p");
        }
    }
}
