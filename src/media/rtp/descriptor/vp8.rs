//! The VP8 payload descriptor (RFC 7741 section 4.2).

use super::{byte, picture_id};

/// What precedes a VP8 payload, and whether that payload begins a key frame.
///
/// ```text
///      0 1 2 3 4 5 6 7
///     +-+-+-+-+-+-+-+-+
///     |X|R|N|S|R| PID |
///     +-+-+-+-+-+-+-+-+
/// X:  |I|L|T|K| RSV   |
///     +-+-+-+-+-+-+-+-+
/// I:  |M| PictureID   |  M: one more byte
///     +-+-+-+-+-+-+-+-+
/// L:  |   TL0PICIDX   |
///     +-+-+-+-+-+-+-+-+
/// T/K:|TID|Y| KEYIDX  |
///     +-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The payload begins a VP8 partition.
    pub start_of_partition: bool,
    /// The partition's index.
    pub partition: u8,
    /// No other frame refers to this one.
    pub non_reference: bool,
    /// 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// Running index of the temporal base layer.
    pub tl0_pic_idx: Option<u8>,
    /// Temporal layer.
    pub temporal_id: Option<u8>,
    /// The frame refers to the base layer only.
    pub layer_sync: bool,
    /// The inverse key frame flag of the payload header, where one is present (RFC 7741 section 4.3).
    pub key_frame: bool,
}

impl Descriptor {
    /// Reads the descriptor and the first byte behind it; `None` if the payload ends within them.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut rest = payload;
        let first = byte(&mut rest)?;
        let mut descriptor = Self {
            start_of_partition: first & 0x10 != 0,
            partition: first & 0x07,
            non_reference: first & 0x20 != 0,
            picture_id: None,
            tl0_pic_idx: None,
            temporal_id: None,
            layer_sync: false,
            key_frame: false,
        };
        if first & 0x80 != 0 {
            let present = byte(&mut rest)?;
            if present & 0x80 != 0 {
                descriptor.picture_id = Some(picture_id(&mut rest)?);
            }
            if present & 0x40 != 0 {
                descriptor.tl0_pic_idx = Some(byte(&mut rest)?);
            }
            if present & 0x30 != 0 {
                let layer = byte(&mut rest)?;
                if present & 0x20 != 0 {
                    descriptor.temporal_id = Some(layer >> 6);
                    descriptor.layer_sync = layer & 0x20 != 0;
                }
            }
        }
        let frame = byte(&mut rest)?;
        if descriptor.start_of_partition && descriptor.partition == 0 {
            descriptor.key_frame = frame & 0x01 == 0;
        }
        Some(descriptor)
    }

    /// Returns whether the payload is the first of a key frame.
    pub const fn starts_key_frame(&self) -> bool {
        self.key_frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_of_a_key_frame_is_recognised() {
        let key = Descriptor::parse(&[0x10, 0x00]).unwrap();
        assert!(key.starts_key_frame());
        assert!(!Descriptor::parse(&[0x10, 0x01]).unwrap().starts_key_frame());
        assert!(!Descriptor::parse(&[0x00, 0x00]).unwrap().starts_key_frame());
        assert!(!Descriptor::parse(&[0x11, 0x00]).unwrap().starts_key_frame());
    }

    #[test]
    fn every_optional_field_is_read() {
        let descriptor = Descriptor::parse(&[0xb0, 0xf0, 0x81, 0x02, 7, 0xa3, 0x00]).unwrap();
        assert_eq!(descriptor.picture_id, Some(0x0102));
        assert_eq!(descriptor.tl0_pic_idx, Some(7));
        assert_eq!(descriptor.temporal_id, Some(2));
        assert!(descriptor.layer_sync && descriptor.non_reference);
        assert!(descriptor.starts_key_frame());
    }

    #[test]
    fn a_truncated_descriptor_is_none() {
        let whole = [0x90, 0xf0, 0x81, 0x02, 7, 0xa3, 0x00];
        for len in 0..whole.len() {
            assert_eq!(Descriptor::parse(&whole[..len]), None, "{len}");
        }
    }
}
