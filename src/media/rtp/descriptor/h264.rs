//! H.264 network abstraction layer units in RTP (RFC 6184 section 5).

const NAL_IDR_SLICE: u8 = 5;
const NAL_SEQUENCE_PARAMETER_SET: u8 = 7;
const STAP_A: u8 = 24;
const STAP_B: u8 = 25;
const FU_A: u8 = 28;
const FU_B: u8 = 29;

/// Returns whether a decoder can begin here: with a sequence parameter set, which precedes the picture, or, where those
/// travel out of band, with an instantaneous decoding refresh picture. Aggregates and the first fragment are looked into.
pub fn starts_key_frame(payload: &[u8]) -> bool {
    let Some((&header, rest)) = payload.split_first() else {
        return false;
    };
    match header & 0x1f {
        // RFC 6184 section 5.7.1: 16-bit size before each unit.
        STAP_A => aggregate_begins(rest),
        // With a decoding order number in front.
        STAP_B => rest.get(2..).is_some_and(aggregate_begins),
        // RFC 6184 section 5.8: start bit and type of the fragmented unit.
        FU_A | FU_B => rest
            .first()
            .is_some_and(|fragment| fragment & 0x80 != 0 && begins(fragment & 0x1f)),
        unit => begins(unit),
    }
}

const fn begins(unit: u8) -> bool {
    matches!(unit, NAL_SEQUENCE_PARAMETER_SET | NAL_IDR_SLICE)
}

fn aggregate_begins(mut rest: &[u8]) -> bool {
    while let Some((size, units)) = rest.split_first_chunk::<2>() {
        let Some((unit, following)) =
            units.split_at_checked(usize::from(u16::from_be_bytes(*size)))
        else {
            return false;
        };
        if unit.first().is_some_and(|header| begins(header & 0x1f)) {
            return true;
        }
        rest = following;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_and_refresh_pictures_begin_a_key_frame() {
        assert!(starts_key_frame(&[0x67, 1, 2]));
        assert!(starts_key_frame(&[0x65, 1, 2]));
        assert!(!starts_key_frame(&[0x61, 1, 2]));
        assert!(!starts_key_frame(&[0x68, 1, 2]));
    }

    #[test]
    fn aggregates_are_looked_into() {
        assert!(starts_key_frame(&[
            0x78, 0, 1, 0x09, 0, 2, 0x67, 1, 0, 1, 0x68
        ]));
        assert!(!starts_key_frame(&[0x78, 0, 1, 0x09, 0, 1, 0x61]));
        assert!(!starts_key_frame(&[0x78, 0, 9, 0x67]));
        assert!(!starts_key_frame(&[0x78, 0, 0, 0, 0]));
        assert!(starts_key_frame(&[0x79, 0, 0, 0, 1, 0x65]));
    }

    #[test]
    fn only_the_first_fragment_begins_a_key_frame() {
        assert!(starts_key_frame(&[0x7c, 0x85, 1]));
        assert!(!starts_key_frame(&[0x7c, 0x05, 1]));
        assert!(!starts_key_frame(&[0x7c, 0x81, 1]));
        assert!(!starts_key_frame(&[0x7c]));
    }
}
