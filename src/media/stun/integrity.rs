//! The keys of MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 sections 9.1.1, 9.2.2, 14.5 and 14.6).

use std::fmt;

use aws_lc_rs::{digest, hmac};
use subtle::ConstantTimeEq;

use super::{AttributeType, md5};

/// A key for one of the two integrity attributes, prepared once and used for many messages. It does not print.
#[derive(Clone)]
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// The key of a short-term credential for MESSAGE-INTEGRITY: the password itself (RFC 8489 section 9.1.1).
    pub fn short_term(password: &str) -> Self {
        Self::from_bytes(password.as_bytes())
    }

    /// A key for MESSAGE-INTEGRITY given as bytes.
    pub fn from_bytes(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key))
    }

    /// A key for MESSAGE-INTEGRITY-SHA256 given as bytes.
    pub fn sha256(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The attribute that this key makes and checks.
    pub(super) fn attribute(&self) -> AttributeType {
        if self.0.algorithm() == hmac::HMAC_SHA256 {
            AttributeType::MESSAGE_INTEGRITY_SHA256
        } else {
            AttributeType::MESSAGE_INTEGRITY
        }
    }

    /// Bytes in that attribute's value. TURN does not allow the truncated form (RFC 8489 section 14.6).
    pub(super) fn tag_len(&self) -> usize {
        self.0.algorithm().tag_len()
    }

    /// The HMAC over `message`, read as if its header's length field were `length`.
    pub(super) fn tag(&self, message: &[u8], length: u16) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        let (kind, rest) = message.split_at(message.len().min(2));
        context.update(kind);
        context.update(&length.to_be_bytes());
        context.update(rest.get(2..).unwrap_or_default());
        context.sign()
    }

    /// Compares in constant time.
    pub(super) fn matches(&self, message: &[u8], length: u16, tag: &[u8]) -> bool {
        self.tag(message, length).as_ref().ct_eq(tag).into()
    }
}

impl fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntegrityKey(..)")
    }
}

/// How a password becomes a key (RFC 8489 section 18.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordAlgorithm {
    /// The one that every client knows.
    Md5,
    /// That of RFC 8489.
    Sha256,
}

/// The key of a long-term credential (RFC 8489 section 9.2.2), small enough to be kept for each client. It does not
/// print.
#[derive(Clone, Copy)]
pub struct LongTermKey {
    algorithm: PasswordAlgorithm,
    bytes: [u8; digest::SHA256_OUTPUT_LEN],
}

impl LongTermKey {
    /// The hash of `username ":" realm ":" password`. The texts are taken as they are: the OpaqueString profile
    /// changes none that we hand out.
    pub fn new(algorithm: PasswordAlgorithm, username: &str, realm: &str, password: &str) -> Self {
        let parts = [username, ":", realm, ":", password];
        let mut bytes = [0; digest::SHA256_OUTPUT_LEN];
        match algorithm {
            PasswordAlgorithm::Md5 => {
                bytes[..md5::LEN].copy_from_slice(&md5::of(parts.concat().as_bytes()));
            }
            PasswordAlgorithm::Sha256 => {
                let mut hash = digest::Context::new(&digest::SHA256);
                parts.iter().for_each(|part| hash.update(part.as_bytes()));
                bytes.copy_from_slice(hash.finish().as_ref());
            }
        }
        Self { algorithm, bytes }
    }

    /// How the key was made.
    pub const fn algorithm(&self) -> PasswordAlgorithm {
        self.algorithm
    }

    /// The key, prepared for MESSAGE-INTEGRITY.
    pub fn sha1_integrity(&self) -> IntegrityKey {
        IntegrityKey::from_bytes(self.bytes())
    }

    /// The key, prepared for MESSAGE-INTEGRITY-SHA256.
    pub fn sha256_integrity(&self) -> IntegrityKey {
        IntegrityKey::sha256(self.bytes())
    }

    fn bytes(&self) -> &[u8] {
        match self.algorithm {
            PasswordAlgorithm::Md5 => &self.bytes[..md5::LEN],
            PasswordAlgorithm::Sha256 => &self.bytes,
        }
    }
}

impl fmt::Debug for LongTermKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LongTermKey(..)")
    }
}

/// The value of USERHASH: SHA-256 of `username ":" realm` (RFC 8489 section 14.4).
pub fn user_hash(username: &str, realm: &str) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [username, ":", realm] {
        hash.update(part.as_bytes());
    }
    let mut value = [0; digest::SHA256_OUTPUT_LEN];
    value.copy_from_slice(hash.finish().as_ref());
    value
}
