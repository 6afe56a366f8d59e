//! Channels: short headers for peers that a client talks to often (RFC 8656 section 12).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |         Channel Number        |            Length             |
//! |                       Application Data                        |
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::five_tuple::Family;

/// How long a binding lives without a refresh (RFC 8656 section 12).
pub const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// Bytes in front of the data of a ChannelData message (RFC 8656 section 12.4).
pub const CHANNEL_HEADER_LEN: usize = 4;

/// A number that a channel can have: 0x4000 to 0x4FFF (RFC 8656 section 12), and on to 0x7FFF, where clients of RFC 5766
/// such as coturn's own choose theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// `None` outside the range.
    pub fn new(number: u16) -> Option<Self> {
        (0x4000..=0x7fff).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Splits a ChannelData message into number and length of data. Over UDP what follows the data is padding
/// (RFC 8656 section 12.5).
pub(super) fn decode(message: &[u8]) -> Option<(ChannelNumber, usize)> {
    let ([n0, n1, l0, l1], rest) = message.split_first_chunk::<CHANNEL_HEADER_LEN>()?;
    let number = ChannelNumber::new(u16::from_be_bytes([*n0, *n1]))?;
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    (len <= rest.len()).then_some((number, len))
}

/// Why a channel is not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BindError {
    /// The number has another peer, or the peer another number (RFC 8656 section 12.2).
    Conflict,
    /// There are as many as there may be.
    Full,
}

/// The channels of an allocation, ordered by number. Empty, they occupy no heap.
#[derive(Debug, Default)]
pub(super) struct Channels(Vec<Channel>);

/// A live binding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
    number: ChannelNumber,
    pub(super) peer: SocketAddr,
    pub(super) is_own: bool,
    expires_at: Instant,
}

impl Channels {
    pub(super) fn by_number(&self, now: Instant, number: ChannelNumber) -> Option<&Channel> {
        let at = self
            .0
            .binary_search_by_key(&number, |channel| channel.number)
            .ok()?;
        self.0.get(at).filter(|channel| now < channel.expires_at)
    }

    pub(super) fn by_peer(&self, now: Instant, peer: SocketAddr) -> Option<ChannelNumber> {
        self.0
            .iter()
            .find(|channel| channel.peer == peer && now < channel.expires_at)
            .map(|channel| channel.number)
    }

    /// Whether `number` could be bound to `peer`, or is.
    pub(super) fn check(
        &mut self,
        now: Instant,
        number: ChannelNumber,
        peer: SocketAddr,
        max: usize,
    ) -> Result<(), BindError> {
        self.0.retain(|channel| now < channel.expires_at);
        let both = |channel: &&Channel| channel.number == number || channel.peer == peer;
        match self.0.iter().find(both) {
            Some(channel) if channel.number == number && channel.peer == peer => Ok(()),
            Some(_) => Err(BindError::Conflict),
            None if self.0.len() < max => Ok(()),
            None => Err(BindError::Full),
        }
    }

    /// Binds or refreshes; [`Self::check`] was asked before.
    pub(super) fn bind(
        &mut self,
        now: Instant,
        number: ChannelNumber,
        peer: SocketAddr,
        is_own: bool,
    ) {
        let channel = Channel {
            number,
            peer,
            is_own,
            expires_at: now + CHANNEL_LIFETIME,
        };
        match self
            .0
            .binary_search_by_key(&number, |channel| channel.number)
        {
            Ok(at) => self.0[at] = channel,
            Err(at) => self.0.insert(at, channel),
        }
    }

    /// Drops those that `keep` refuses.
    pub(super) fn retain(&mut self, keep: impl Fn(IpAddr) -> bool) {
        self.0.retain(|channel| keep(channel.peer.ip()));
    }

    pub(super) fn remove_family(&mut self, family: Family) {
        self.retain(|peer| Family::of(peer) != family);
    }

    pub(super) fn count(&self, now: Instant) -> usize {
        self.0
            .iter()
            .filter(|channel| now < channel.expires_at)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    const N: ChannelNumber = ChannelNumber(0x4001);
    const M: ChannelNumber = ChannelNumber(0x4000);

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([8, 8, 8, 8], port))
    }

    #[test]
    fn numbers_are_those_of_rfc_5766() {
        for (number, valid) in [
            (0x3fff, false),
            (0x4000, true),
            (0x4fff, true),
            (0x5000, true),
            (0x7fff, true),
            (0x8000, false),
        ] {
            assert_eq!(ChannelNumber::new(number).is_some(), valid, "{number:#x}");
        }
    }

    #[test]
    fn a_length_that_lies_is_refused_and_padding_is_not_data() {
        assert_eq!(decode(&[0x40, 1, 0, 2, 9, 9]), Some((N, 2)));
        assert_eq!(decode(&[0x40, 1, 0, 2, 9, 9, 0, 0]), Some((N, 2)));
        assert_eq!(decode(&[0x40, 1, 0, 0]), Some((N, 0)));
        assert_eq!(decode(&[0x40, 1, 0, 3, 9, 9]), None);
        assert_eq!(decode(&[0x40, 1, 0]), None);
        assert_eq!(decode(&[0x80, 1, 0, 0]), None);
    }

    #[test]
    fn a_number_has_one_peer_and_a_peer_one_number() {
        let mut channels = Channels::default();
        assert_eq!(channels.check(t0(), N, peer(1), 2), Ok(()));
        channels.bind(t0(), N, peer(1), false);
        assert_eq!(channels.check(t0(), N, peer(1), 1), Ok(()));
        assert_eq!(
            channels.check(t0(), N, peer(2), 2),
            Err(BindError::Conflict)
        );
        assert_eq!(
            channels.check(t0(), M, peer(1), 2),
            Err(BindError::Conflict)
        );
        assert_eq!(channels.check(t0(), M, peer(2), 1), Err(BindError::Full));
        channels.bind(t0(), M, peer(2), true);
        assert_eq!(channels.by_peer(t0(), peer(2)), Some(M));
        assert_eq!(channels.by_number(t0(), N).unwrap().peer, peer(1));
        assert_eq!(channels.count(t0()), 2);
    }

    #[test]
    fn a_binding_ends_exactly_at_its_lifetime() {
        let mut channels = Channels::default();
        channels.bind(t0(), N, peer(1), false);
        let end = t0() + CHANNEL_LIFETIME;
        assert!(
            channels
                .by_number(end - Duration::from_nanos(1), N)
                .is_some()
        );
        assert!(channels.by_number(end, N).is_none());
        assert_eq!(channels.by_peer(end, peer(1)), None);
        assert_eq!(channels.check(end, N, peer(2), 1), Ok(()));
    }
}
