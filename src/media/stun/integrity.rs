//! The key of MESSAGE-INTEGRITY (RFC 8489 sections 9.1.1 and 14.5).

use std::fmt;

use aws_lc_rs::hmac;
use subtle::ConstantTimeEq;

/// Bytes in the value of MESSAGE-INTEGRITY.
pub(super) const TAG_LEN: usize = 20;

/// A key for MESSAGE-INTEGRITY, prepared once and used for many messages. It does not print.
#[derive(Clone)]
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// The key of a short-term credential: the password itself (RFC 8489 section 9.1.1).
    pub fn short_term(password: &str) -> Self {
        Self::from_bytes(password.as_bytes())
    }

    /// A key given as bytes, such as that of a long-term credential (RFC 8489 section 9.2.2).
    pub fn from_bytes(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key))
    }

    /// HMAC-SHA1 over `message`, read as if its header's length field were `length`.
    pub(super) fn tag(&self, message: &[u8], length: u16) -> [u8; TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.0);
        let (kind, rest) = message.split_at(message.len().min(2));
        context.update(kind);
        context.update(&length.to_be_bytes());
        context.update(rest.get(2..).unwrap_or_default());
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// Compares in constant time.
    pub(super) fn matches(&self, message: &[u8], length: u16, tag: &[u8]) -> bool {
        self.tag(message, length).ct_eq(tag).into()
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey(..)")
    }
}
