//! What `hanok doctor` finds: shown in a terminal, as JSON, and wherever operators look.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Somebody's call does not work, or will stop working.
    Error,
    /// Calls work, but worse or less safely than they could.
    Warning,
    /// It could not be found out.
    Unknown,
    /// As it should be.
    Ok,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, in a word or two; the same for every level.
    pub topic: &'static str,
    /// What is the case.
    pub what: String,
    /// Why it matters; empty where all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Commands and lines of the `.env` file that mend it, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fix: Vec<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(topic: &'static str, what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            topic,
            what: what.into(),
            why: String::new(),
            fix: Vec::new(),
        }
    }

    /// It could not be found out.
    pub fn unknown(topic: &'static str, what: impl Into<String>) -> Self {
        Self {
            level: Level::Unknown,
            ..Self::ok(topic, what)
        }
    }

    /// Something is worse than it could be.
    pub fn warning(topic: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            why: why.into(),
            ..Self::ok(topic, what)
        }
    }

    /// Something keeps calls from working.
    pub fn error(topic: &'static str, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            ..Self::warning(topic, what, why)
        }
    }

    /// A command or a line that mends it, after those before.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix.push(fix.into());
        self
    }
}
