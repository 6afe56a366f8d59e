//! What one `.env` key is: name, default, unit, validator, doc and test examples together.

use crate::config::refusal::Refusal;

/// One key whose validated value is a `T`.
pub struct Key<T: 'static> {
    /// Everything but the type.
    pub about: About,
    /// The validator: the text as written, without surrounding quotes, to the value.
    pub parse: fn(&str) -> Result<T, Refusal>,
}

/// What is known of a key, whatever its type.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The name in the file and in the process environment.
    pub name: &'static str,
    /// Other names of the same setting, tried in order when `name` is not set.
    pub aliases: &'static [&'static str],
    /// The text that counts when nothing is set; `None` means "unset", which is not the same as empty.
    pub default: Option<&'static str>,
    /// The unit of the value, empty if there is none.
    pub unit: &'static str,
    /// One or two sentences for the operator.
    pub doc: &'static str,
    /// What `KEY=` means.
    pub empty: Empty,
    /// Whether `hanok reload` may change it.
    pub reload: Reload,
    /// Whether setting it does anything.
    pub effect: Effect,
    /// The value is never shown: not in reports, not in logs, not by `print-config`.
    pub secret: bool,
    /// Values that the validator accepts: its test, and examples for the reader.
    pub accepts: &'static [&'static str],
    /// Values that the validator refuses: its test.
    pub refuses: &'static [&'static str],
}

impl About {
    /// A key that takes part from the next start on; every entry of the table begins with this.
    pub const RESTART: Self = Self {
        name: "",
        aliases: &[],
        default: None,
        unit: "",
        doc: "",
        empty: Empty::Refused,
        reload: Reload::Restart,
        effect: Effect::Now,
        secret: false,
        accepts: &[],
        refuses: &[],
    };

    /// A key that a reload may change.
    pub const LIVE: Self = Self {
        reload: Reload::Live,
        ..Self::RESTART
    };
}

/// What `KEY=` means (`openvidu-deployment` sections 2, 4 and 18).
///
/// OpenVidu's own server refuses most empty values, but whatever compose interpolates as `${KEY:-default}`, and all
/// that the proxy's start script reads, takes its default; that difference is kept key by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// It may not be empty.
    Refused,
    /// The default counts, as with compose's `${KEY:-default}`.
    Default,
    /// The validator decides: "none" or "off".
    Value,
}

/// When a changed value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// At the next `hanok reload`.
    Live,
    /// At the next start.
    Restart,
}

/// Whether setting a key does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does what its doc says.
    Now,
    /// It is validated and kept, but what it controls is not built yet. Start-up says so.
    Later(&'static str),
    /// It controls a part of the old deployment that has no counterpart here, for this reason. It is accepted, and
    /// start-up says so for information where it is set to something.
    Never(&'static str),
    /// It is read from the process environment before there is a file. In a file it does nothing, and start-up says so.
    InEnvironment,
}

/// A key of any type, as the table lists it.
pub trait AnyKey: Sync {
    /// What is known of it.
    fn about(&self) -> &About;
    /// Applies the validator and drops the value.
    ///
    /// # Errors
    /// The text is not a value of this key.
    fn check(&self, text: &str) -> Result<(), Refusal>;
}

impl<T> AnyKey for Key<T> {
    fn about(&self) -> &About {
        &self.about
    }

    fn check(&self, text: &str) -> Result<(), Refusal> {
        (self.parse)(text).map(drop)
    }
}
