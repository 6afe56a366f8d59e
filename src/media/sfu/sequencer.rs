//! Outgoing sequence numbers of one consumer.
//!
//! Gaps of the source stay gaps, so that the subscriber sees loss as loss; what is left out on purpose closes up, so
//! that it does not. No two source packets ever get the same outgoing number: with AEAD protection that would repeat a
//! nonce (RFC 7714 section 8.4).

use std::collections::VecDeque;

use crate::units::SeqNo;

/// How many stretches between dropped packets are remembered for late packets and retransmissions.
const MAX_STRETCHES: usize = 64;

/// No packet is numbered further ahead of those that have left. A receiver follows half a cycle (RFC 3711 section 3.3.1);
/// beyond that, its number and ours would be those of an earlier packet, and so would the nonce.
const MAX_LEAP: u64 = 0x4000;

/// Maps extended sequence numbers of the source, which never wrap, to outgoing ones.
#[derive(Debug)]
pub(crate) struct Sequencer {
    /// Oldest first; empty until the first [`Sequencer::skip_to`].
    stretches: VecDeque<Stretch>,
    /// One above the highest source number that was mapped or dropped.
    next_source: u64,
    /// The number that the first packet will get.
    first_out: u64,
    /// The highest number of a packet that has left.
    left: Option<u64>,
}

/// Source numbers from `source` on become `out` and up, until the next stretch's dropped ones begin.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    source: u64,
    out: u64,
    /// How many source numbers directly before `source` are never sent.
    dropped: u64,
}

impl Stretch {
    const fn map(&self, source: u64) -> u64 {
        self.out + (source - self.source)
    }
}

impl Sequencer {
    /// The first packet will be numbered `first`.
    pub(crate) fn new(first: SeqNo) -> Self {
        Self {
            stretches: VecDeque::new(),
            next_source: 0,
            // One cycle up, so that nothing ever goes below zero.
            first_out: 0x1_0000 + u64::from(first.0),
            left: None,
        }
    }

    /// Everything between what has been seen and `source` is left out: `source` follows without a gap. Does nothing if
    /// `source` has been passed already.
    pub(crate) fn skip_to(&mut self, source: u64) {
        if let Some(left) = self.left
            && self.next_out() > left + MAX_LEAP
        {
            // None of the numbers in between has left, so that they can be given again.
            self.first_out = left + 1;
            self.stretches.clear();
            self.next_source = 0;
        }
        if source < self.next_source {
            return;
        }
        let stretch = match self.stretches.back() {
            None => Stretch {
                source,
                out: self.first_out,
                dropped: source,
            },
            Some(last) => Stretch {
                source,
                out: last.map(self.next_source),
                dropped: source - self.next_source,
            },
        };
        self.begin(stretch);
        self.next_source = source;
    }

    /// Another source takes over, whose numbers have nothing to do with those so far: its first packet follows without a
    /// gap, and what was sent before can no longer be named.
    pub(crate) fn change_source(&mut self) {
        self.first_out = self.next_out();
        self.stretches.clear();
        self.next_source = 0;
    }

    /// The outgoing number that follows everything sent so far, extended.
    pub(crate) fn next_out(&self) -> u64 {
        self.stretches
            .back()
            .map_or(self.first_out, |last| last.map(self.next_source))
    }

    /// The packet `source` has left under its number.
    #[inline]
    pub(crate) fn has_left(&mut self, source: u64) {
        let mut stretches = self.stretches.iter().rev();
        let out = stretches
            .find(|stretch| stretch.source <= source)
            .map(|stretch| stretch.map(source));
        self.left = self.left.max(out);
    }

    /// Returns whether so much has not left since the last packet that did that `source` must not be numbered before
    /// [`Sequencer::skip_to`].
    #[inline]
    pub(crate) fn leaps_too_far(&self, source: u64) -> bool {
        match (self.left, self.stretches.back()) {
            (Some(left), Some(last)) if source >= last.source => last.map(source) > left + MAX_LEAP,
            _ => false,
        }
    }

    /// Leaves `source` out. False if a later packet has been sent, so that the gap can no longer be closed: then the
    /// packet itself has to be sent, without payload if it has none.
    pub(crate) fn drop(&mut self, source: u64) -> bool {
        if source < self.next_source {
            return false;
        }
        if let Some(last) = self.stretches.back() {
            let stretch = Stretch {
                source: source + 1,
                out: last.map(source),
                dropped: 1,
            };
            self.begin(stretch);
        }
        self.next_source = source + 1;
        true
    }

    /// The outgoing number of `source`; `None` if it is left out or too old.
    #[inline]
    pub(crate) fn map(&mut self, source: u64) -> Option<SeqNo> {
        let mut before_dropped = u64::MAX;
        for stretch in self.stretches.iter().rev() {
            if source >= before_dropped {
                return None;
            }
            if source >= stretch.source {
                self.next_source = self.next_source.max(source + 1);
                return Some(SeqNo(stretch.map(source) as u16));
            }
            before_dropped = stretch.source - stretch.dropped;
        }
        None
    }

    /// The source number that was sent as `out`; `None` if it was not or is forgotten.
    pub(crate) fn source_of(&self, out: SeqNo) -> Option<u64> {
        self.stretches.back()?;
        let highest = self.next_out().checked_sub(1)?;
        let behind = u64::from((highest as u16).wrapping_sub(out.0));
        // Half the circle ahead means not sent yet.
        if behind >= 0x8000 {
            return None;
        }
        let out = highest.checked_sub(behind)?;
        let stretch = self
            .stretches
            .iter()
            .rev()
            .find(|stretch| stretch.out <= out)?;
        Some(stretch.source + (out - stretch.out))
    }

    /// One above the highest source number that was sent or left out.
    pub(crate) const fn next_source(&self) -> u64 {
        self.next_source
    }

    fn begin(&mut self, mut stretch: Stretch) {
        // A stretch of which nothing was sent, nor can be, merges with its successor.
        if let Some(last) = self.stretches.back()
            && last.out == stretch.out
        {
            stretch.dropped = stretch.source - (last.source - last.dropped);
            self.stretches.pop_back();
        }
        if self.stretches.len() == MAX_STRETCHES {
            self.stretches.pop_front();
        }
        self.stretches.push_back(stretch);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn started(first_out: u16, source: u64) -> Sequencer {
        let mut sequencer = Sequencer::new(SeqNo(first_out));
        sequencer.skip_to(source);
        sequencer
    }

    #[test]
    fn nothing_is_sent_before_the_start() {
        let mut sequencer = Sequencer::new(SeqNo(7));
        assert_eq!(sequencer.map(100), None);
        assert_eq!(sequencer.source_of(SeqNo(7)), None);
        sequencer.skip_to(100);
        assert_eq!(sequencer.map(99), None);
        assert_eq!(sequencer.map(100), Some(SeqNo(7)));
    }

    #[test]
    fn gaps_stay_and_wrap() {
        let mut sequencer = started(65_534, 1000);
        assert_eq!(sequencer.map(1000), Some(SeqNo(65_534)));
        assert_eq!(sequencer.map(1003), Some(SeqNo(1)));
        assert_eq!(sequencer.map(1001), Some(SeqNo(65_535)));
        assert_eq!(sequencer.source_of(SeqNo(0)), Some(1002));
        assert_eq!(sequencer.source_of(SeqNo(2)), None);
    }

    #[test]
    fn dropped_packets_leave_no_gap() {
        let mut sequencer = started(10, 100);
        assert_eq!(sequencer.map(100), Some(SeqNo(10)));
        assert!(sequencer.drop(101));
        assert!(sequencer.drop(102));
        assert_eq!(sequencer.map(103), Some(SeqNo(11)));
        assert_eq!(sequencer.map(102), None);
        assert_eq!(sequencer.source_of(SeqNo(11)), Some(103));
        assert_eq!(sequencer.source_of(SeqNo(10)), Some(100));
    }

    #[test]
    fn a_late_packet_cannot_be_dropped() {
        let mut sequencer = started(10, 100);
        assert_eq!(sequencer.map(102), Some(SeqNo(12)));
        assert!(!sequencer.drop(101));
        assert_eq!(sequencer.map(101), Some(SeqNo(11)));
    }

    #[test]
    fn a_restarted_source_follows_without_a_gap() {
        let mut sequencer = started(10, 100);
        assert_eq!(sequencer.map(100), Some(SeqNo(10)));
        sequencer.skip_to(70_000);
        assert_eq!(sequencer.map(70_000), Some(SeqNo(11)));
        assert_eq!(sequencer.map(101), None);
        assert_eq!(sequencer.map(100), Some(SeqNo(10)));
        assert_eq!(sequencer.source_of(SeqNo(11)), Some(70_000));
        sequencer.skip_to(50);
        assert_eq!(sequencer.map(70_001), Some(SeqNo(12)));
    }

    #[test]
    fn another_source_follows_without_a_gap_whatever_its_numbers() {
        let mut sequencer = started(65_534, 70_000);
        assert_eq!(sequencer.map(70_000), Some(SeqNo(65_534)));
        assert_eq!(sequencer.map(70_001), Some(SeqNo(65_535)));
        sequencer.change_source();
        assert_eq!(sequencer.source_of(SeqNo(65_535)), None);
        assert_eq!(sequencer.map(70_002), None, "not before it begins");
        sequencer.change_source();
        sequencer.skip_to(5);
        assert_eq!(sequencer.map(5), Some(SeqNo(0)));
        assert_eq!(sequencer.source_of(SeqNo(0)), Some(5));
        assert_eq!(sequencer.source_of(SeqNo(65_535)), None);
    }

    #[test]
    fn numbers_that_never_left_are_given_again_before_they_come_round() {
        let mut sequencer = started(10, 100);
        for source in [100, 110] {
            assert!(sequencer.map(source).is_some());
            sequencer.has_left(source);
        }
        assert!(!sequencer.leaps_too_far(110 + MAX_LEAP));
        assert!(sequencer.leaps_too_far(111 + MAX_LEAP));
        // Numbered, but not sent: a transport without a path, or packets that are too long for it.
        sequencer.map(50_000);
        assert!(sequencer.leaps_too_far(49_000));
        sequencer.skip_to(60_000);
        assert_eq!(sequencer.map(60_000), Some(SeqNo(21)));
        assert_eq!(sequencer.map(50_001), None);
        assert_eq!(sequencer.source_of(SeqNo(20)), None);
        assert_eq!(sequencer.source_of(SeqNo(21)), Some(60_000));
        // Once they have left, they are gone.
        sequencer.has_left(60_000);
        sequencer.skip_to(70_000);
        assert_eq!(sequencer.map(70_000), Some(SeqNo(22)));
    }

    /// What is expected, by the simplest means: which source numbers are dropped, and counting.
    #[derive(Default)]
    struct Model {
        start: u64,
        dropped: BTreeSet<u64>,
        seen: BTreeSet<u64>,
    }

    impl Model {
        fn map(&self, first: u16, source: u64) -> Option<SeqNo> {
            if source < self.start || self.dropped.contains(&source) {
                return None;
            }
            let before = self.dropped.range(self.start..source).count() as u64;
            Some(SeqNo(
                (u64::from(first) + source - self.start - before) as u16,
            ))
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Send(i64),
        Drop(i64),
        Skip(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        prop::collection::vec(
            prop_oneof![
                6 => (-4_i64..5).prop_map(Step::Send),
                1 => (-4_i64..5).prop_map(Step::Drop),
                1 => (0_u64..40).prop_map(Step::Skip),
            ],
            // Few enough that no stretch is forgotten.
            1..MAX_STRETCHES,
        )
    }

    proptest! {
        #[test]
        fn numbers_agree_with_counting(first in any::<u16>(), start in 10_u64..200_000, steps in steps()) {
            let mut sequencer = started(first, start);
            let mut model = Model { start, ..Model::default() };
            let mut next = start;
            let mut sent = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Send(offset) => {
                        let source = next.saturating_add_signed(offset);
                        let out = sequencer.map(source);
                        prop_assert_eq!(out, model.map(first, source));
                        if let Some(out) = out {
                            let earlier = sent.insert(out.0, source);
                            prop_assert!(earlier.is_none_or(|earlier| earlier == source), "{} twice", out.0);
                            model.seen.insert(source);
                            next = next.max(source + 1);
                        }
                    }
                    Step::Drop(offset) => {
                        let source = next.saturating_add_signed(offset);
                        prop_assert_eq!(sequencer.drop(source), source >= next);
                        if source >= next {
                            model.dropped.insert(source);
                            next = source + 1;
                        }
                    }
                    Step::Skip(by) => {
                        sequencer.skip_to(next + by);
                        model.dropped.extend(next..next + by);
                        next += by;
                    }
                }
                for (out, source) in &sent {
                    prop_assert_eq!(sequencer.source_of(SeqNo(*out)), Some(*source));
                }
            }
        }

        #[test]
        fn no_number_is_given_twice_however_much_is_dropped(
            first in any::<u16>(),
            steps in prop::collection::vec((any::<bool>(), 0_u64..90), 1..600),
        ) {
            let mut sequencer = started(first, 1000);
            let mut next = 1000_u64;
            let mut sent = BTreeMap::new();
            for (drop, back) in steps {
                if drop && sequencer.drop(next) {
                    next += 1;
                    continue;
                }
                let source = next.saturating_sub(back);
                if let Some(out) = sequencer.map(source) {
                    let earlier = sent.insert(out.0, source);
                    prop_assert!(earlier.is_none_or(|earlier| earlier == source));
                    next = next.max(source + 1);
                }
            }
        }
    }
}
