//! The RTP retransmission payload format (RFC 4588 section 4): the original sequence number before the payload.

use crate::units::SeqNo;

/// Bytes of the original sequence number in front of the payload.
pub const OSN_LEN: usize = 2;

/// Splits a retransmission's payload into the original sequence number and payload. `None` if it is shorter than that
/// number, as padding that keeps a path warm is.
pub fn unwrap(payload: &[u8]) -> Option<(SeqNo, &[u8])> {
    let (osn, original) = payload.split_first_chunk::<OSN_LEN>()?;
    Some((SeqNo(u16::from_be_bytes(*osn)), original))
}

/// Writes a retransmission's payload and returns its length; `None` if `out` is too short.
pub fn wrap(out: &mut [u8], original: SeqNo, payload: &[u8]) -> Option<usize> {
    let (osn, rest) = out.split_first_chunk_mut::<OSN_LEN>()?;
    rest.get_mut(..payload.len())?.copy_from_slice(payload);
    *osn = original.0.to_be_bytes();
    Some(OSN_LEN + payload.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_has_no_original() {
        assert_eq!(unwrap(&[]), None);
        assert_eq!(unwrap(&[1]), None);
    }

    #[test]
    fn a_payload_that_does_not_fit_is_not_wrapped() {
        assert_eq!(wrap(&mut [0; 1], SeqNo(1), &[]), None);
        assert_eq!(wrap(&mut [0; 4], SeqNo(1), &[0; 3]), None);
    }

    proptest! {
        #[test]
        fn wrapping_round_trips(seq in any::<u16>(), payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut out = [0; 128];
            let len = wrap(&mut out, SeqNo(seq), &payload).unwrap();
            prop_assert_eq!(unwrap(&out[..len]), Some((SeqNo(seq), &payload[..])));
        }
    }
}
