//! The RTP packet (RFC 3550 section 5.1): read once, written anew for every consumer.

use crate::media::rtp::Extensions;
use crate::units::{PayloadType, SeqNo, Ssrc};

/// Bytes of the fixed header.
pub const FIXED_HEADER_LEN: usize = 12;

const EXTENSION_BIT: u8 = 0x10;
const PADDING_BIT: u8 = 0x20;
const MARKER_BIT: u8 = 0x80;

/// Why bytes are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Shorter than its own header says.
    #[error("the header is truncated")]
    Truncated,
    /// Not version 2.
    #[error("the version is not 2")]
    Version,
    /// The padding count is zero or exceeds the payload.
    #[error("the padding does not fit the packet")]
    Padding,
}

/// An RTP packet whose lengths have been checked.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |V=2|P|X|  CC   |M|     PT      |       sequence number         |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                           timestamp                           |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |           synchronization source (SSRC) identifier            |
/// +=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+=+
/// |  CC contributing sources, then X: profile, length, extensions |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// The fixed header.
    pub header: Header,
    /// Contributing sources, four bytes each.
    pub csrcs: &'a [u8],
    /// The `defined by profile` field of the header extension; 0 without one.
    pub extension_profile: u16,
    /// The header extension's data, without profile and length.
    pub extension: &'a [u8],
    /// The payload without padding.
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Reads the header and checks every length in it.
    ///
    /// # Errors
    /// The bytes are not an RTP packet.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (fixed, mut rest) = bytes
            .split_first_chunk::<FIXED_HEADER_LEN>()
            .ok_or(ParseError::Truncated)?;
        if fixed[0] >> 6 != 2 {
            return Err(ParseError::Version);
        }
        let header = Header {
            marker: fixed[1] & MARKER_BIT != 0,
            payload_type: PayloadType::new(fixed[1] & !MARKER_BIT)
                .expect("seven bits are a payload type"),
            sequence_number: SeqNo(u16::from_be_bytes([fixed[2], fixed[3]])),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: Ssrc(u32::from_be_bytes([
                fixed[8], fixed[9], fixed[10], fixed[11],
            ])),
        };

        let csrcs = take(&mut rest, 4 * usize::from(fixed[0] & 0x0f))?;
        let (mut extension_profile, mut extension): (u16, &[u8]) = (0, &[]);
        if fixed[0] & EXTENSION_BIT != 0 {
            let preamble = take(&mut rest, 4)?;
            extension_profile = u16::from_be_bytes([preamble[0], preamble[1]]);
            let words = u16::from_be_bytes([preamble[2], preamble[3]]);
            extension = take(&mut rest, 4 * usize::from(words))?;
        }
        if fixed[0] & PADDING_BIT != 0 {
            let padding = usize::from(*rest.last().ok_or(ParseError::Padding)?);
            if padding == 0 || padding > rest.len() {
                return Err(ParseError::Padding);
            }
            rest = &rest[..rest.len() - padding];
        }
        Ok(Self {
            header,
            csrcs,
            extension_profile,
            extension,
            payload: rest,
        })
    }

    /// The header extension's elements (RFC 8285).
    pub fn extensions(&self) -> Extensions<'a> {
        Extensions::new(self.extension_profile, self.extension)
    }
}

/// The fields of the fixed header that a forwarder changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The marker bit.
    pub marker: bool,
    /// The payload type.
    pub payload_type: PayloadType,
    /// The sequence number.
    pub sequence_number: SeqNo,
    /// The timestamp, in units of the codec's clock.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: Ssrc,
}

impl Header {
    /// Writes a fixed header without padding and contributing sources. `extended` announces a header extension behind it.
    pub fn write(&self, out: &mut [u8; FIXED_HEADER_LEN], extended: bool) {
        out[0] = 0x80 | if extended { EXTENSION_BIT } else { 0 };
        self.write_fields(out);
    }

    /// Puts these fields into the RTP packet `packet` and leaves everything else of it alone.
    ///
    /// # Errors
    /// The packet is shorter than a fixed header or not version 2.
    pub fn overwrite(&self, packet: &mut [u8]) -> Result<(), ParseError> {
        let fixed = packet
            .first_chunk_mut::<FIXED_HEADER_LEN>()
            .ok_or(ParseError::Truncated)?;
        if fixed[0] >> 6 != 2 {
            return Err(ParseError::Version);
        }
        self.write_fields(fixed);
        Ok(())
    }

    fn write_fields(&self, out: &mut [u8; FIXED_HEADER_LEN]) {
        out[1] = self.payload_type.get() | if self.marker { MARKER_BIT } else { 0 };
        out[2..4].copy_from_slice(&self.sequence_number.0.to_be_bytes());
        out[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        out[8..12].copy_from_slice(&self.ssrc.0.to_be_bytes());
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], ParseError> {
    let (taken, left) = rest.split_at_checked(len).ok_or(ParseError::Truncated)?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> Header {
        Header {
            marker: true,
            payload_type: PayloadType::new(96).unwrap(),
            sequence_number: SeqNo(0xfffe),
            timestamp: 0x0102_0304,
            ssrc: Ssrc(0xa0b0_c0d0),
        }
    }

    #[test]
    fn every_part_of_a_full_header_is_read() {
        let mut packet = vec![0; FIXED_HEADER_LEN];
        header().write(packet.first_chunk_mut().unwrap(), true);
        packet[0] |= 0x20 | 2;
        packet.extend([1, 1, 1, 1, 2, 2, 2, 2]);
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0x55, 0, 0]);
        packet.extend(b"payload");
        packet.extend([0, 0, 3]);

        let parsed = RtpPacket::parse(&packet).unwrap();

        assert_eq!(parsed.header, header());
        assert_eq!(parsed.csrcs, [1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(parsed.extension_profile, 0xbede);
        assert_eq!(parsed.payload, b"payload");
        assert_eq!(
            parsed.extensions().collect::<Vec<_>>(),
            [(1, &[0x55_u8][..])]
        );
    }

    #[test]
    fn padding_of_zero_or_more_than_the_payload_is_refused() {
        let mut packet = vec![0; FIXED_HEADER_LEN];
        header().write(packet.first_chunk_mut().unwrap(), false);
        packet[0] |= 0x20;
        assert_eq!(RtpPacket::parse(&packet), Err(ParseError::Padding));
        packet.extend([9, 0]);
        assert_eq!(RtpPacket::parse(&packet), Err(ParseError::Padding));
        *packet.last_mut().unwrap() = 3;
        assert_eq!(RtpPacket::parse(&packet), Err(ParseError::Padding));
        *packet.last_mut().unwrap() = 2;
        assert_eq!(RtpPacket::parse(&packet).unwrap().payload, b"");
    }

    #[test]
    fn a_header_longer_than_the_packet_is_refused() {
        let mut packet = vec![0; FIXED_HEADER_LEN];
        header().write(packet.first_chunk_mut().unwrap(), false);
        packet[0] |= 1;
        assert_eq!(RtpPacket::parse(&packet), Err(ParseError::Truncated));
        packet[0] = 0x90;
        packet.extend([0xbe, 0xde, 0, 1]);
        assert_eq!(RtpPacket::parse(&packet), Err(ParseError::Truncated));
        packet[0] = 0x40;
        assert_eq!(RtpPacket::parse(&packet), Err(ParseError::Version));
    }

    proptest! {
        #[test]
        fn parsing_any_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packet) = RtpPacket::parse(&bytes) {
                prop_assert!(packet.payload.len() + FIXED_HEADER_LEN <= bytes.len());
                packet.extensions().count();
            }
        }

        #[test]
        fn overwriting_changes_the_fields_and_nothing_else(
            tail in prop::collection::vec(any::<u8>(), 0..40),
            marker in any::<bool>(),
            payload_type in 0_u8..128,
            seq in any::<u16>(),
            timestamp in any::<u32>(),
            ssrc in any::<u32>(),
        ) {
            let mut packet = vec![0; FIXED_HEADER_LEN];
            header().write(packet.first_chunk_mut().unwrap(), false);
            packet.extend(&tail);
            let new = Header {
                marker,
                payload_type: PayloadType::new(payload_type).unwrap(),
                sequence_number: SeqNo(seq),
                timestamp,
                ssrc: Ssrc(ssrc),
            };

            new.overwrite(&mut packet).unwrap();

            let parsed = RtpPacket::parse(&packet).unwrap();
            prop_assert_eq!(parsed.header, new);
            prop_assert_eq!(parsed.payload, &tail[..]);
        }
    }
}
