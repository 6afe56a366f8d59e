//! The VP9 payload descriptor (RFC 9628 section 4.2).

use super::{byte, picture_id};

/// What precedes a VP9 payload. The scalability structure is not read.
///
/// ```text
///      0 1 2 3 4 5 6 7
///     +-+-+-+-+-+-+-+-+
///     |I|P|L|F|B|E|V|Z|
///     +-+-+-+-+-+-+-+-+
/// I:  |M| PICTURE ID  |  M: one more byte
///     +-+-+-+-+-+-+-+-+
/// L:  | TID |U| SID |D|
///     +-+-+-+-+-+-+-+-+
///     |   TL0PICIDX   |  with L, unless F
///     +-+-+-+-+-+-+-+-+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// The picture refers to earlier ones.
    pub inter_picture_predicted: bool,
    /// The payload begins a frame.
    pub start_of_frame: bool,
    /// The payload ends a frame.
    pub end_of_frame: bool,
    /// Temporal layer.
    pub temporal_id: Option<u8>,
    /// Spatial layer.
    pub spatial_id: Option<u8>,
    /// A receiver may switch up to this temporal layer here.
    pub switching_up_point: bool,
    /// Running index of the temporal base layer, in the non-flexible mode.
    pub tl0_pic_idx: Option<u8>,
}

impl Descriptor {
    /// Reads the descriptor; `None` if the payload ends within it.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut rest = payload;
        let first = byte(&mut rest)?;
        let mut descriptor = Self {
            picture_id: None,
            inter_picture_predicted: first & 0x40 != 0,
            start_of_frame: first & 0x08 != 0,
            end_of_frame: first & 0x04 != 0,
            temporal_id: None,
            spatial_id: None,
            switching_up_point: false,
            tl0_pic_idx: None,
        };
        let flexible = first & 0x10 != 0;
        if first & 0x80 != 0 {
            descriptor.picture_id = Some(picture_id(&mut rest)?);
        }
        if first & 0x20 != 0 {
            let layer = byte(&mut rest)?;
            descriptor.temporal_id = Some(layer >> 5);
            descriptor.switching_up_point = layer & 0x10 != 0;
            descriptor.spatial_id = Some(layer >> 1 & 0x07);
            if !flexible {
                descriptor.tl0_pic_idx = Some(byte(&mut rest)?);
            }
        }
        Some(descriptor)
    }

    /// Returns whether the payload is the first of a key frame: its base spatial layer, which predicts from nothing.
    pub fn starts_key_frame(&self) -> bool {
        !self.inter_picture_predicted && self.start_of_frame && self.spatial_id.unwrap_or(0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_begins_with_its_base_layer() {
        assert!(
            Descriptor::parse(&[0x88, 0x05, 0])
                .unwrap()
                .starts_key_frame()
        );
        assert!(
            !Descriptor::parse(&[0xc8, 0x05, 0])
                .unwrap()
                .starts_key_frame()
        );
        assert!(
            !Descriptor::parse(&[0x80, 0x05, 0])
                .unwrap()
                .starts_key_frame()
        );
        assert!(
            !Descriptor::parse(&[0xa8, 0x05, 0x02, 1])
                .unwrap()
                .starts_key_frame()
        );
    }

    #[test]
    fn layers_and_indices_are_read() {
        let descriptor = Descriptor::parse(&[0xa4, 0x81, 0x02, 0x54, 9]).unwrap();
        assert_eq!(descriptor.picture_id, Some(0x0102));
        assert_eq!(descriptor.temporal_id, Some(2));
        assert_eq!(descriptor.spatial_id, Some(2));
        assert!(descriptor.switching_up_point && descriptor.end_of_frame);
        assert_eq!(descriptor.tl0_pic_idx, Some(9));
        let flexible = Descriptor::parse(&[0x30, 0x54]).unwrap();
        assert_eq!(flexible.tl0_pic_idx, None);
    }

    #[test]
    fn a_truncated_descriptor_is_none() {
        let whole = [0xa4, 0x81, 0x02, 0x54, 9];
        for len in 0..whole.len() {
            assert_eq!(Descriptor::parse(&whole[..len]), None, "{len}");
        }
    }
}
