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
    /// Bytes in front of each datagram.
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

    proptest! {
        #[test]
        fn what_is_framed_is_found_again_wherever_the_bytes_are_cut(
            datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = framed(&datagrams);
            let cut = cut.index(bytes.len() + 1);
            let (mut at, mut found) = (0, Vec::new());
            for available in [&bytes[..cut], &bytes[..]] {
                while let Extent::Complete { datagram, end } = Rfc4571::first(&available[at..]) {
                    found.push(available[at..][datagram].to_vec());
                    at += end;
                }
                prop_assert_eq!(Rfc4571::first(&available[at..]), Extent::Incomplete);
            }
            prop_assert_eq!(found, datagrams);
            prop_assert_eq!(at, bytes.len());
        }
    }
}
