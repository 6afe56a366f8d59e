//! What has been received of one source: extended sequence numbers, duplicates, reception reports (RFC 3550 appendix A).

use std::time::{Duration, Instant};

use super::ntp;
use crate::media::rtp::rtcp::ReportBlock;
use crate::units::{SeqNo, Ssrc};

/// A larger step ahead is a restart of the sender (RFC 3550 appendix A.1).
const MAX_DROPOUT: i16 = 3000;
/// How far behind a packet may come. Each number within is accepted once.
const WINDOW: u64 = 1024;

/// Where a packet stands. Extended numbers only ever grow: a restart of the source begins a higher cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The highest so far; `missing` packets directly before it have not come.
    Ahead { seq: u64, missing: u64 },
    /// One that was missing, or that was overtaken.
    Late { seq: u64 },
    /// The first packet of a source, or of one that has started its numbers anew.
    Restart { seq: u64 },
}

/// The numbers of one source.
#[derive(Debug)]
pub(crate) struct Reception {
    highest: Option<u64>,
    /// The first packet since the last restart, and the cycle it lies in.
    first: u64,
    cycle: u64,
    /// One bit for each of the last [`WINDOW`] numbers.
    seen: [u64; (WINDOW / 64) as usize],
    /// What must follow for a leap to count as a restart.
    leapt_to: Option<SeqNo>,
    received: u64,
    reported_expected: u64,
    reported_received: u64,
    /// Times 16, as appendix A.8 keeps it.
    jitter: u32,
    last_transit: Option<u32>,
}

impl Reception {
    pub(crate) const fn new() -> Self {
        Self {
            highest: None,
            first: 0,
            cycle: 0,
            seen: [0; (WINDOW / 64) as usize],
            leapt_to: None,
            received: 0,
            reported_expected: 0,
            reported_received: 0,
            jitter: 0,
            last_transit: None,
        }
    }

    /// The place of a packet that was sent with the number `seq`; `None` if it must not be used.
    pub(crate) fn place(&mut self, seq: SeqNo) -> Option<Place> {
        let Some(highest) = self.highest else {
            return Some(self.restart(seq));
        };
        let distance = seq.distance_from(SeqNo(highest as u16));
        if distance > MAX_DROPOUT || i64::from(distance) <= -(WINDOW as i64) {
            if self.leapt_to == Some(seq) {
                return Some(self.restart(seq));
            }
            self.leapt_to = Some(seq.plus(1));
            return None;
        }
        self.leapt_to = None;
        let extended = highest.checked_add_signed(i64::from(distance))?;
        let place = if extended > highest {
            for skipped in highest + 1..=extended {
                self.forget(skipped);
            }
            self.highest = Some(extended);
            Place::Ahead {
                seq: extended,
                missing: extended - highest - 1,
            }
        } else {
            Place::Late { seq: extended }
        };
        if !self.mark(extended) {
            return None;
        }
        self.received += 1;
        Some(place)
    }

    /// How many packets were sent since the last restart, going by their numbers, and how many of them came.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let expected = self.highest.map_or(0, |highest| highest + 1 - self.first);
        (expected, self.received)
    }

    /// The interarrival jitter in units of the media clock.
    pub(crate) const fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// The extended number of a packet that was retransmitted on another source; `None` if it is not missing.
    pub(crate) fn place_recovered(&mut self, original: SeqNo) -> Option<u64> {
        let highest = self.highest?;
        let distance = i64::from(original.distance_from(SeqNo(highest as u16)));
        if distance > 0 || distance <= -(WINDOW as i64) {
            return None;
        }
        let extended = highest.checked_add_signed(distance)?;
        (extended >= self.first && self.mark(extended)).then_some(extended)
    }

    /// A new source begins with `seq`.
    pub(crate) fn restart(&mut self, seq: SeqNo) -> Place {
        // Two cycles up: late packets of either source cannot be taken for the other's.
        self.cycle = ((self.highest.unwrap_or(0) >> 16) + 2) << 16;
        let extended = self.cycle + u64::from(seq.0);
        *self = Self {
            highest: Some(extended),
            first: extended,
            cycle: self.cycle,
            received: 1,
            ..Self::new()
        };
        self.mark(extended);
        Place::Restart { seq: extended }
    }

    /// Updates the interarrival jitter (RFC 3550 appendix A.8). `at` is the arrival in units of the media clock.
    pub(crate) fn arrived(&mut self, at: u32, timestamp: u32) {
        let transit = at.wrapping_sub(timestamp);
        if let Some(last) = self.last_transit.replace(transit) {
            let difference = transit.wrapping_sub(last).cast_signed().unsigned_abs();
            // A leap of the sender's clock is no jitter: half a minute at 90 kHz stays below this.
            if difference < 1 << 22 {
                self.jitter = self
                    .jitter
                    .saturating_add(difference)
                    .saturating_sub((self.jitter + 8) >> 4);
            }
        }
    }

    /// The block of the next report; `sender_report` is the NTP time of the source's last one and when it came.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        sender_report: Option<(u64, Instant)>,
    ) -> Option<ReportBlock> {
        let highest = self.highest?;
        let (expected, _) = self.counts();
        let lost = expected.cast_signed() - self.received.cast_signed();
        let expected_lately = expected - self.reported_expected.min(expected);
        let received_lately = self.received - self.reported_received.min(self.received);
        let lost_lately = expected_lately.saturating_sub(received_lately);
        (self.reported_expected, self.reported_received) = (expected, self.received);
        Some(ReportBlock {
            ssrc,
            fraction_lost: (lost_lately << 8)
                .checked_div(expected_lately)
                .unwrap_or(0)
                .min(255) as u8,
            total_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            extended_highest: (highest - self.cycle) as u32,
            jitter: self.jitter(),
            last_sender_report: sender_report.map_or(0, |(ntp, _)| ntp::middle(ntp)),
            delay_since_last_sender_report: sender_report.map_or(0, |(_, at)| {
                let delay: Duration = now.saturating_duration_since(at);
                ntp::middle(ntp::ntp_duration(delay))
            }),
        })
    }

    /// Returns whether `seq` is seen for the first time.
    fn mark(&mut self, seq: u64) -> bool {
        let (word, bit) = Self::bit(seq);
        let first = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        first
    }

    fn forget(&mut self, seq: u64) {
        let (word, bit) = Self::bit(seq);
        self.seen[word] &= !bit;
    }

    const fn bit(seq: u64) -> (usize, u64) {
        ((seq % WINDOW / 64) as usize, 1 << (seq % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::t0;

    fn begun(seq: u16) -> (Reception, u64) {
        let mut reception = Reception::new();
        let Some(Place::Restart { seq }) = reception.place(SeqNo(seq)) else {
            panic!("the first packet begins")
        };
        (reception, seq)
    }

    #[test]
    fn numbers_grow_across_the_wrap() {
        let (mut reception, first) = begun(65_535);
        assert_eq!(
            reception.place(SeqNo(1)),
            Some(Place::Ahead {
                seq: first + 2,
                missing: 1
            })
        );
        assert_eq!(
            reception.place(SeqNo(0)),
            Some(Place::Late { seq: first + 1 })
        );
        assert_eq!(reception.place(SeqNo(0)), None, "a duplicate");
        assert_eq!(reception.place(SeqNo(65_535)), None, "a duplicate");
    }

    #[test]
    fn a_recovered_packet_counts_once_and_only_if_missing() {
        let (mut reception, first) = begun(10);
        reception.place(SeqNo(13));
        assert_eq!(reception.place_recovered(SeqNo(11)), Some(first + 1));
        assert_eq!(reception.place_recovered(SeqNo(11)), None);
        assert_eq!(reception.place(SeqNo(11)), None);
        assert_eq!(reception.place_recovered(SeqNo(13)), None);
        assert_eq!(reception.place_recovered(SeqNo(14)), None, "the future");
        assert_eq!(
            reception.place_recovered(SeqNo(9)),
            None,
            "before the beginning"
        );
    }

    #[test]
    fn a_leap_counts_once_a_second_packet_confirms_it() {
        let (mut reception, first) = begun(10);
        assert_eq!(reception.place(SeqNo(30_000)), None);
        assert_eq!(
            reception.place(SeqNo(11)),
            Some(Place::Ahead {
                seq: first + 1,
                missing: 0
            })
        );
        assert_eq!(reception.place(SeqNo(30_000)), None);
        let Some(Place::Restart { seq }) = reception.place(SeqNo(30_001)) else {
            panic!("two in a row begin anew")
        };
        assert!(seq > first + 0x1_0000);
    }

    #[test]
    fn reports_count_loss_since_the_last_one() {
        let (mut reception, _) = begun(100);
        for seq in [101, 103] {
            reception.place(SeqNo(seq));
        }
        let sender_report = Some((0x1234_5678_9abc_def0, t0()));
        let now = t0() + Duration::from_millis(500);
        let block = reception.report(now, Ssrc(7), sender_report).unwrap();
        assert_eq!(block.total_lost, 1);
        assert_eq!(block.fraction_lost, 64);
        assert_eq!(block.extended_highest, 103);
        assert_eq!(block.last_sender_report, 0x5678_9abc);
        assert_eq!(block.delay_since_last_sender_report, 0x8000);
        reception.place(SeqNo(104));
        let block = reception.report(now, Ssrc(7), None).unwrap();
        assert_eq!((block.total_lost, block.fraction_lost), (1, 0));
    }

    #[test]
    fn cycles_are_reported() {
        let (mut reception, _) = begun(65_535);
        reception.place(SeqNo(0));
        let block = reception.report(t0(), Ssrc(7), None).unwrap();
        assert_eq!(block.extended_highest, 0x1_0000);
    }

    #[test]
    fn even_arrival_has_no_jitter() {
        let (mut reception, _) = begun(0);
        for n in 0..50 {
            reception.arrived(5000 + n * 960, n * 960);
        }
        assert_eq!(
            reception.report(t0(), Ssrc(7), None).map(|b| b.jitter),
            Some(0)
        );
        for n in 50..500 {
            reception.arrived(5000 + n * 960 + (n % 2) * 160, n * 960);
        }
        let jitter = reception
            .report(t0(), Ssrc(7), None)
            .map(|b| b.jitter)
            .unwrap();
        assert!((150..=160).contains(&jitter), "{jitter}");
    }

    proptest! {
        #[test]
        fn no_number_is_accepted_twice(start in any::<u16>(), steps in prop::collection::vec((any::<bool>(), -1500_i16..1500), 1..400)) {
            let (mut reception, first) = begun(start);
            let mut accepted = BTreeSet::from([first]);
            let mut at = start;
            for (retransmitted, step) in steps {
                let seq = SeqNo(at.wrapping_add_signed(step));
                let place = if retransmitted {
                    reception.place_recovered(seq)
                } else {
                    match reception.place(seq) {
                        Some(Place::Ahead { seq: extended, missing }) => {
                            prop_assert!(!accepted.range(extended - missing..).any(|_| true));
                            at = seq.0;
                            Some(extended)
                        }
                        Some(Place::Restart { seq: extended }) => { at = seq.0; Some(extended) }
                        Some(Place::Late { seq }) => Some(seq),
                        None => None,
                    }
                };
                if let Some(extended) = place {
                    prop_assert_eq!(extended as u16, seq.0);
                    prop_assert!(accepted.insert(extended), "{} twice", extended);
                }
            }
        }
    }
}
