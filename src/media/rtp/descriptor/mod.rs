//! Payload descriptors: what a forwarder needs to know of a frame without decoding it.

pub mod av1;
pub mod h264;
pub mod vp8;
pub mod vp9;

use crate::units::Codec;

/// Returns whether a decoder can begin with the packet that has this payload: it is the first of a key frame.
/// Every Opus packet qualifies. False for payloads that are not of the codec.
pub fn starts_key_frame(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus => true,
        Codec::Vp8 => {
            vp8::Descriptor::parse(payload).is_some_and(|descriptor| descriptor.starts_key_frame())
        }
        Codec::Vp9 => {
            vp9::Descriptor::parse(payload).is_some_and(|descriptor| descriptor.starts_key_frame())
        }
        Codec::H264 => h264::starts_key_frame(payload),
        Codec::Av1 => av1::AggregationHeader::parse(payload)
            .is_some_and(|header| header.new_coded_video_sequence),
    }
}

/// Reads a picture identifier of 7 or 15 bits (RFC 7741 section 4.2, RFC 9628 section 4.2).
fn picture_id(rest: &mut &[u8]) -> Option<u16> {
    let first = byte(rest)?;
    if first & 0x80 == 0 {
        return Some(u16::from(first));
    }
    Some(u16::from_be_bytes([first & 0x7f, byte(rest)?]))
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (&first, left) = rest.split_first()?;
    *rest = left;
    Some(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reading_any_payload_does_not_panic(payload in prop::collection::vec(any::<u8>(), 0..48)) {
            for codec in Codec::ALL {
                starts_key_frame(codec, &payload);
            }
        }
    }

    #[test]
    fn an_empty_payload_starts_no_picture() {
        for codec in Codec::ALL {
            assert_eq!(starts_key_frame(codec, &[]), codec == Codec::Opus);
        }
    }
}
