//! Reading the parameters of a request (`openvidu-signalling` section 2.3). `null` counts as absent.

use serde_json::{Map, Value};

use super::call::CallError;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Params {
    method: &'static str,
    values: Map<String, Value>,
}

impl Params {
    pub(super) fn new(method: &'static str, values: Map<String, Value>) -> Self {
        Self { method, values }
    }

    /// A text that must be there.
    pub(super) fn text(&mut self, name: &'static str) -> Result<String, CallError> {
        self.optional_text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A text.
    pub(super) fn optional_text(
        &mut self,
        name: &'static str,
    ) -> Result<Option<String>, CallError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(name, "a string")),
        }
    }

    /// A text of at most `max` bytes.
    pub(super) fn bounded_text(
        &mut self,
        name: &'static str,
        max: usize,
    ) -> Result<String, CallError> {
        let text = self.text(name)?;
        if text.len() > max {
            return Err(self.invalid(name, "shorter"));
        }
        Ok(text)
    }

    /// A boolean that must be there.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, CallError> {
        self.optional_flag(name)?.ok_or_else(|| self.missing(name))
    }

    /// A boolean.
    pub(super) fn optional_flag(&mut self, name: &'static str) -> Result<Option<bool>, CallError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.invalid(name, "a boolean")),
        }
    }

    /// A number, its fraction dropped: browsers report frame rates and sizes that are no integers.
    pub(super) fn optional_integer(
        &mut self,
        name: &'static str,
    ) -> Result<Option<i64>, CallError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let integer = number.as_i64();
                // The cast saturates.
                Ok(integer.or_else(|| number.as_f64().map(|float| float as i64)))
            }
            Some(_) => Err(self.invalid(name, "a number")),
        }
    }

    /// A number that must be there.
    pub(super) fn integer(&mut self, name: &'static str) -> Result<i64, CallError> {
        self.optional_integer(name)?
            .ok_or_else(|| self.missing(name))
    }

    /// A text that holds a JSON object, as `videoDimensions` does: other clients parse it unchecked.
    pub(super) fn optional_object_text(
        &mut self,
        name: &'static str,
    ) -> Result<Option<String>, CallError> {
        let text = self.optional_text(name)?.filter(|text| !text.is_empty());
        match text {
            Some(text) if !is_object_text(&text) => {
                Err(self.invalid(name, "a short string that holds a JSON object"))
            }
            text => Ok(text),
        }
    }

    /// Anything that must be there.
    pub(super) fn value(&mut self, name: &'static str) -> Result<Value, CallError> {
        self.take(name).ok_or_else(|| self.missing(name))
    }

    /// Anything.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.values.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn missing(&self, name: &'static str) -> CallError {
        CallError::Missing {
            name,
            method: self.method,
        }
    }

    pub(super) fn invalid(&self, name: &'static str, expected: &'static str) -> CallError {
        CallError::Invalid {
            name,
            method: self.method,
            expected,
        }
    }
}

/// Returns whether `text` is a JSON object that is short enough to be repeated to everyone.
pub(super) fn is_object_text(text: &str) -> bool {
    text.len() <= 1024 && serde_json::from_str::<Map<String, Value>>(text).is_ok()
}
