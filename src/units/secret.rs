//! Secrets that neither print nor compare in variable time.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// A secret text: never printed, compared in constant time, wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself, for the one place that must send or hash it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns whether `guess` is the secret. The time taken depends on the lengths only.
    pub fn matches(&self, guess: &[u8]) -> bool {
        self.expose().as_bytes().ct_eq(guess).into()
    }
}

/// In constant time, like [`Secret::matches`].
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.expose().as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "Secret(..)");
    }

    #[test]
    fn only_the_exact_text_matches() {
        let secret = Secret::new("MY_SECRET");
        assert!(secret.matches(b"MY_SECRET"));
        assert!(!secret.matches(b"my_secret"));
        assert!(!secret.matches(b"MY_SECRET "));
        assert!(!secret.matches(b""));
    }
}
