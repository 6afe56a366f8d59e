//! STUN messages (RFC 8489): a borrowed view that reads any bytes, and a writer into a caller's buffer.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |0 0|     STUN Message Type     |         Message Length        |
//! |                         Magic Cookie                          |
//! |                     Transaction ID (96 bits)                  |
//! |         Type                  |            Length             |  attributes,
//! |                         Value (variable), padded to 32 bits   |  any number
//! ```

mod fingerprint;
mod integrity;
mod md5;
mod message;
mod writer;

pub use integrity::{IntegrityKey, LongTermKey, PasswordAlgorithm, user_hash};
pub use message::{
    Attribute, AttributeType, Attributes, Class, DecodeError, ErrorCode, Fingerprint, Message,
    Method, TransactionId, username,
};
pub use writer::{BufferTooSmall, Writer};

/// The fixed value at offset 4 of every message (RFC 8489 section 5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Bytes in the header that every message begins with (RFC 8489 section 5).
pub const HEADER_LEN: usize = 20;

#[cfg(test)]
mod rfc5769;
