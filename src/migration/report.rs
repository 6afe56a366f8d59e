//! What migration tells: what stays, what changes, what is lost, what is left to do. Never a secret.

use serde::Serialize;

/// Something the operator should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    /// What it is about.
    pub class: Class,
    /// `FILE:LINE`, a file, a key or a service; may be empty.
    pub place: String,
    /// The sentence.
    pub text: String,
}

/// What a note is about, in the order of telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// It stays where it is, or carries over as it is.
    Kept,
    /// It carries over in another form.
    Change,
    /// It is in use and has no counterpart.
    Loss,
    /// The operator has to do something.
    Action,
}

impl Class {
    /// Its title in the text.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Kept => "Carries over",
            Self::Change => "Carries over in another form",
            Self::Loss => "Does not carry over",
            Self::Action => "Left to do",
        }
    }
}

impl Note {
    pub(crate) fn kept(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Class::Kept, place, text)
    }

    pub(crate) fn change(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Class::Change, place, text)
    }

    pub(crate) fn loss(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Class::Loss, place, text)
    }

    pub(crate) fn action(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Class::Action, place, text)
    }

    fn new(class: Class, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            class,
            place: place.into(),
            text: text.into(),
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = |text: &str| text.replace(char::is_control, "\u{fffd}");
        if self.place.is_empty() {
            f.write_str(&line(&self.text))
        } else {
            write!(f, "{}: {}", line(&self.place), line(&self.text))
        }
    }
}
