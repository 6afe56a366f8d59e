//! The packet index: 32 bits of roll-over counter, 16 bits of sequence number (RFC 3711 section 3.3.1).

use crate::units::SeqNo;

/// The last SRTP packet index under one key (RFC 3711 section 9.2).
pub(super) const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// The last SRTCP index under one key (RFC 3711 section 9.2).
pub(super) const MAX_RTCP_INDEX: u32 = (1 << 31) - 1;

const HALF: u16 = 1 << 15;

/// The index that a packet numbered `seq` most likely has, given the newest index of its SSRC. May exceed
/// [`MAX_RTP_INDEX`] by one roll-over.
///
/// Before the first roll-over there is no lower counter to guess, so a number far ahead is a jump, as in libsrtp.
pub(super) fn estimate(newest: Option<u64>, seq: SeqNo) -> u64 {
    let newest = newest.unwrap_or_else(|| seq.0.into());
    let roll_over_counter = newest >> 16;
    let newest_seq = newest as u16;
    let guess = if newest_seq < HALF {
        if seq.0 > newest_seq + HALF {
            roll_over_counter.saturating_sub(1)
        } else {
            roll_over_counter
        }
    } else if seq.0 < newest_seq - HALF {
        roll_over_counter + 1
    } else {
        roll_over_counter
    };
    guess << 16 | u64::from(seq.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_packet_has_roll_over_counter_zero() {
        assert_eq!(estimate(None, SeqNo(65_535)), 65_535);
    }

    #[test]
    fn a_small_number_after_a_large_one_rolls_over() {
        assert_eq!(estimate(Some(65_535), SeqNo(0)), 1 << 16);
        assert_eq!(estimate(Some(0x3_fff0), SeqNo(5)), 0x4_0005);
    }

    #[test]
    fn a_late_packet_belongs_before_the_roll_over() {
        assert_eq!(estimate(Some(0x1_0002), SeqNo(65_530)), 65_530);
    }

    #[test]
    fn before_the_first_roll_over_a_far_number_is_a_jump() {
        assert_eq!(estimate(Some(1_000), SeqNo(41_000)), 41_000);
    }

    #[test]
    fn the_middle_is_decided_as_rfc_3711_writes_it() {
        // s_l < 2^15: SEQ - s_l > 2^15 is needed for v = ROC - 1.
        assert_eq!(estimate(Some(0x5_1000), SeqNo(0x9000)), 0x5_9000);
        assert_eq!(estimate(Some(0x5_1000), SeqNo(0x9001)), 0x4_9001);
        // s_l >= 2^15: s_l - 2^15 > SEQ is needed for v = ROC + 1.
        assert_eq!(estimate(Some(0x5_9000), SeqNo(0x1000)), 0x5_1000);
        assert_eq!(estimate(Some(0x5_9000), SeqNo(0x0fff)), 0x6_0fff);
    }

    proptest! {
        #[test]
        fn any_index_less_than_half_a_cycle_away_is_found(
            newest in 0x1_0000..=MAX_RTP_INDEX,
            distance in -32_767_i64..=32_767,
        ) {
            let index = newest.checked_add_signed(distance).expect("newest is larger than any distance");
            prop_assert_eq!(estimate(Some(newest), SeqNo(index as u16)), index);
        }
    }
}
