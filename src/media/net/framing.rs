//! How datagrams stand in a byte stream.

use std::ops::Range;

use super::demux::{Protocol, protocol};

/// The largest datagram that a stream may carry. RFC 4571 allows 65,535 bytes; over UDP, which ICE-TCP stands in for,
/// browsers send no more than fits an Ethernet frame.
pub const MAX_FRAMED: usize = 8_192;

/// What stands at the beginning of a stream's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// A whole datagram, after which the next frame begins at `end`.
    Complete {
        /// Where the datagram is.
        datagram: Range<usize>,
        /// Where the next frame begins.
        end: usize,
    },
    /// Less than a frame.
    Incomplete,
    /// What no honest peer sends; where the next frame begins is not known.
    Unusable,
}

/// A way of putting datagrams into a stream.
pub trait Framing {
    /// Bytes in front of each datagram; 0 where datagrams say themselves how long they are.
    const HEADER: usize;

    /// Where the first datagram of `bytes` is.
    fn first(bytes: &[u8]) -> Extent;

    /// Writes the header of a datagram of `len` bytes, which is at most [`MAX_FRAMED`], into [`Self::HEADER`] bytes.
    fn write_header(header: &mut [u8], len: usize);

    /// Whether `datagram` may be lost where there is no room for it: media, which is worthless when it comes late.
    fn is_expendable(datagram: &[u8]) -> bool;
}

/// ICE-TCP: each datagram behind its length (RFC 4571 section 2, RFC 6544 section 3).
///
/// ```text
///  0                   1
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
/// +-------------------------------+-------------
/// |            LENGTH             |  datagram …
/// +-------------------------------+-------------
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Rfc4571;

impl Framing for Rfc4571 {
    const HEADER: usize = 2;

    fn first(bytes: &[u8]) -> Extent {
        let Some((header, rest)) = bytes.split_first_chunk::<2>() else {
            return Extent::Incomplete;
        };
        let len = usize::from(u16::from_be_bytes(*header));
        if len > MAX_FRAMED {
            Extent::Unusable
        } else if rest.len() < len {
            Extent::Incomplete
        } else {
            let end = Self::HEADER + len;
            Extent::Complete {
                datagram: Self::HEADER..end,
                end,
            }
        }
    }

    fn write_header(header: &mut [u8], len: usize) {
        let len = u16::try_from(len).expect("no datagram is longer than MAX_FRAMED");
        header.copy_from_slice(&len.to_be_bytes());
    }

    fn is_expendable(datagram: &[u8]) -> bool {
        // RFC 5761 section 4: the packet type of RTCP stands where RTP has marker and payload type.
        protocol(datagram) == Protocol::Rtp
            && !datagram
                .get(1)
                .is_some_and(|kind| (192..=223).contains(kind))
    }
}

/// TURN over TCP and TLS: STUN messages and ChannelData say themselves how long they are (RFC 8489 section 6.2.2,
/// RFC 8656 section 12.5).
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---+---------------------------+-------------------------------+
/// |0 0|     STUN message type     | LENGTH, without these 20 bytes|
/// +---+---------------------------+-------------------------------+
/// |         magic cookie and transaction identifier …
///
/// +-------+-----------------------+-------------------------------+
/// |0 1 0 0|    channel number     |  LENGTH, without these 4 bytes|
/// +-------+-----------------------+-------------------------------+
/// |         data, and padding to a multiple of four bytes …
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TurnFraming;

/// Bytes of a STUN message that its length does not count (RFC 8489 section 5).
const STUN_HEADER: usize = 20;

/// Where the magic cookie stands in a STUN message, and what it is (RFC 8489 section 5).
const MAGIC_COOKIE: (usize, [u8; 4]) = (4, 0x2112_a442_u32.to_be_bytes());

/// Bytes of ChannelData that its length does not count (RFC 8656 section 12.4).
const CHANNEL_HEADER: usize = 4;

/// The type of a Data indication (RFC 8656 section 17).
const DATA_INDICATION: [u8; 2] = [0x00, 0x17];

impl Framing for TurnFraming {
    const HEADER: usize = 0;

    fn first(bytes: &[u8]) -> Extent {
        let kind = protocol(bytes);
        if !bytes.is_empty() && !matches!(kind, Protocol::Stun | Protocol::ChannelData) {
            return Extent::Unusable;
        }
        let Some(&[_, _, high, low]) = bytes.first_chunk::<4>() else {
            return Extent::Incomplete;
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (end_of_datagram, end) = if kind == Protocol::Stun {
            let end = STUN_HEADER + len;
            (end, end)
        } else {
            let end = CHANNEL_HEADER + len;
            (end, end.next_multiple_of(4))
        };
        // Attributes are padded, so the length of a STUN message is a multiple of four. What only looks like one is
        // found out before it is waited for.
        let (at, cookie) = MAGIC_COOKIE;
        let is_stun = || {
            let seen = bytes.iter().skip(at).zip(&cookie);
            len.is_multiple_of(4) && seen.into_iter().all(|(seen, cookie)| seen == cookie)
        };
        if end > MAX_FRAMED || (kind == Protocol::Stun && !is_stun()) {
            Extent::Unusable
        } else if bytes.len() < end {
            Extent::Incomplete
        } else {
            Extent::Complete {
                datagram: 0..end_of_datagram,
                end,
            }
        }
    }

    fn write_header(_header: &mut [u8], _len: usize) {}

    fn is_expendable(datagram: &[u8]) -> bool {
        protocol(datagram) == Protocol::ChannelData || datagram.starts_with(&DATA_INDICATION)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `datagrams` one behind the other.
    fn framed(datagrams: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for datagram in datagrams {
            let mut header = [0; 2];
            Rfc4571::write_header(&mut header, datagram.len());
            bytes.extend(header);
            bytes.extend(datagram);
        }
        bytes
    }

    #[test]
    fn a_length_beyond_any_datagram_is_unusable_before_it_has_arrived() {
        let longest = u16::try_from(MAX_FRAMED).unwrap();
        assert_eq!(Rfc4571::first(&longest.to_be_bytes()), Extent::Incomplete);
        assert_eq!(
            Rfc4571::first(&(longest + 1).to_be_bytes()),
            Extent::Unusable
        );
        // The beginning of a TLS ClientHello; of an HTTP request it is "GE", 18,245.
        assert_eq!(Rfc4571::first(b"GET / HTTP/1.1"), Extent::Unusable);
    }

    #[test]
    fn media_may_be_lost_but_nothing_that_controls_it() {
        let rtp = [[128, 96], [144, 224], [191, 0], [128, 127]];
        assert!(rtp.iter().all(|packet| Rfc4571::is_expendable(packet)));
        let others: [&[u8]; 7] = [
            &[128, 200],
            &[129, 201],
            &[143, 205],
            &[0, 1],
            &[22, 254],
            &[64, 0],
            &[],
        ];
        assert!(!others.iter().any(|packet| Rfc4571::is_expendable(packet)));
    }

    fn stun(kind: u16, len: usize) -> Vec<u8> {
        let mut message = vec![0; STUN_HEADER + len];
        message[..2].copy_from_slice(&kind.to_be_bytes());
        message[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        message[4..8].copy_from_slice(&MAGIC_COOKIE.1);
        message
    }

    fn channel_data(data: &[u8]) -> Vec<u8> {
        let len = u16::try_from(data.len()).unwrap().to_be_bytes();
        [&[0x4f, 0xff], &len[..], data].concat()
    }

    /// `messages` one behind the other, as a client of TURN sends them.
    fn padded(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.extend(message);
            bytes.resize(bytes.len().next_multiple_of(4), 0xee);
        }
        bytes
    }

    #[test]
    fn whatever_is_no_message_of_turn_is_unusable_by_its_first_byte() {
        for byte in 0..=255_u8 {
            let expected = match byte {
                0..=3 | 0x40..=0x7f => Extent::Incomplete,
                _ => Extent::Unusable,
            };
            assert_eq!(TurnFraming::first(&[byte]), expected, "{byte}");
        }
        assert_eq!(TurnFraming::first(&[]), Extent::Incomplete);
    }

    #[test]
    fn lengths_that_lie_are_unusable_before_anything_is_waited_for() {
        // Beyond any message, and one that no STUN message can have.
        for header in [
            [0x00, 0x01, 0xff, 0xfc],
            [0x00, 0x01, 0x20, 0x00],
            [0x40, 0x00, 0xff, 0xff],
            [0x40, 0x00, 0x1f, 0xfd],
            [0x00, 0x01, 0x00, 0x02],
        ] {
            assert_eq!(TurnFraming::first(&header), Extent::Unusable, "{header:?}");
        }
        for header in [[0x00, 0x01, 0x1f, 0xec], [0x40, 0x00, 0x1f, 0xfc]] {
            let first = TurnFraming::first(&header);
            assert_eq!(first, Extent::Incomplete, "{header:?}");
        }
        // Without the cookie it is no STUN, however much of it has come.
        let mut message = stun(1, 0);
        message[7] ^= 1;
        assert_eq!(TurnFraming::first(&message[..7]), Extent::Incomplete);
        assert_eq!(TurnFraming::first(&message[..8]), Extent::Unusable);
    }

    #[test]
    fn padding_belongs_to_the_frame_and_not_to_the_datagram() {
        let bytes = padded(&[channel_data(b"abcde")]);
        let whole = Extent::Complete {
            datagram: 0..9,
            end: 12,
        };
        assert_eq!(TurnFraming::first(&bytes), whole);
        assert_eq!(TurnFraming::first(&bytes[..11]), Extent::Incomplete);
    }

    #[test]
    fn relayed_data_may_be_lost_but_no_answer() {
        assert!(TurnFraming::is_expendable(&channel_data(b"data")));
        assert!(TurnFraming::is_expendable(&stun(0x0017, 8)));
        for answer in [0x0001, 0x0101, 0x0103, 0x0113, 0x0104, 0x0108, 0x0109] {
            assert!(!TurnFraming::is_expendable(&stun(answer, 8)));
        }
    }

    /// What is found in `bytes` when the second part comes after the first; what is left in the end.
    fn found<F: Framing>(bytes: &[u8], cut: usize) -> (Vec<Vec<u8>>, Extent) {
        let (mut at, mut found) = (0, Vec::new());
        for available in [&bytes[..cut], bytes] {
            while let Extent::Complete { datagram, end } = F::first(&available[at..]) {
                found.push(available[at..][datagram].to_vec());
                at += end;
            }
        }
        (found, F::first(&bytes[at..]))
    }

    fn turn_message() -> impl Strategy<Value = Vec<u8>> {
        let data = prop::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            data.prop_map(|data| channel_data(&data)),
            (0_u16..0x0400, 0_usize..10).prop_map(|(kind, words)| stun(kind, words * 4)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_framed_is_found_again_wherever_the_bytes_are_cut(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = framed(&datagrams);
            let cut = cut.index(bytes.len() + 1);
            prop_assert_eq!(found::<Rfc4571>(&bytes, cut), (datagrams, Extent::Incomplete));
        }

        #[test]
        fn messages_of_turn_are_found_again_wherever_the_bytes_are_cut(
            messages in prop::collection::vec(turn_message(), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = padded(&messages);
            let cut = cut.index(bytes.len() + 1);
            prop_assert_eq!(found::<TurnFraming>(&bytes, cut), (messages, Extent::Incomplete));
        }

        #[test]
        fn a_stream_of_anything_is_cut_inside_its_bounds_or_not_at_all(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            header in prop::sample::select(vec![[0, 1, 0, 8], [0x40, 0, 0, 9], [0x4f, 255, 255, 255], [3, 0, 16, 0]]),
        ) {
            if bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&header);
            }
            for extent in [Rfc4571::first(&bytes), TurnFraming::first(&bytes)] {
                match extent {
                    Extent::Complete { datagram, end } => {
                        prop_assert!(datagram.start <= datagram.end && datagram.end <= end);
                        prop_assert!(0 < end && end <= bytes.len());
                    }
                    // Nobody waits for more than the largest frame.
                    Extent::Incomplete => prop_assert!(bytes.len() < 2 + MAX_FRAMED),
                    Extent::Unusable => {}
                }
            }
        }
    }
}
