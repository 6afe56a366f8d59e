//! Numbers of the RTP header (RFC 3550 section 5.1).

use std::fmt;

/// A synchronisation source (RFC 3550 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssrc(pub u32);

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An RTP payload type, 0 to 127.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PayloadType(u8);

impl PayloadType {
    /// The payload type `value`, or `None` above 127.
    pub const fn new(value: u8) -> Option<Self> {
        if value < 128 { Some(Self(value)) } else { None }
    }

    /// The seven bits on the wire.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for PayloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A 16-bit RTP sequence number. It has no total order: compare with [`SeqNo::distance_from`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeqNo(pub u16);

impl SeqNo {
    /// The number `by` steps later, wrapping.
    #[must_use]
    pub const fn plus(self, by: u16) -> Self {
        Self(self.0.wrapping_add(by))
    }

    /// The number `by` steps earlier, wrapping.
    #[must_use]
    pub const fn minus(self, by: u16) -> Self {
        Self(self.0.wrapping_sub(by))
    }

    /// How far `self` is ahead of `other`, from -32768 to 32767 (RFC 1982 with 16 bits).
    pub const fn distance_from(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0) as i16
    }

    /// Returns whether `self` comes after `other`.
    pub const fn is_after(self, other: Self) -> bool {
        self.distance_from(other) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_order_wraps() {
        assert!(SeqNo(0).is_after(SeqNo(65_535)));
        assert!(!SeqNo(65_535).is_after(SeqNo(0)));
        assert_eq!(SeqNo(2).distance_from(SeqNo(65_534)), 4);
    }

    #[test]
    fn payload_types_have_seven_bits() {
        assert!(PayloadType::new(127).is_some());
        assert!(PayloadType::new(128).is_none());
    }
}
