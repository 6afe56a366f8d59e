//! The packets of one producer that we ask its sender for (RFC 4585 section 6.2.1).

use std::time::{Duration, Instant};

use crate::units::SeqNo;

/// Most packets asked for at a time; a longer gap is for a key frame to mend.
const MAX_MISSING: usize = 256;
/// How often one packet is asked for.
const MAX_ATTEMPTS: u8 = 8;
/// How long one packet is asked for: viewers' jitter buffers have moved on by then.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How much longer than the last one each question waits for its answer.
const PATIENCE: f64 = 1.25;
/// Assumed until the first answer.
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(100);
const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// Ascending by sequence number.
#[derive(Debug)]
pub(crate) struct MissingPackets {
    packets: Vec<Missing>,
    /// The earliest `ask_at`, or earlier.
    next: Option<Instant>,
    round_trip: Duration,
}

#[derive(Debug)]
struct Missing {
    seq: u64,
    since: Instant,
    asked: u8,
    asked_at: Instant,
    ask_at: Instant,
}

impl MissingPackets {
    pub(crate) const fn new() -> Self {
        Self {
            packets: Vec::new(),
            next: None,
            round_trip: INITIAL_ROUND_TRIP,
        }
    }

    /// The `count` packets before `end`, all above every earlier one, have not come. Returns whether they can be asked
    /// for; if they are too many, everything is given up.
    pub(crate) fn add(&mut self, now: Instant, end: u64, count: u64) -> bool {
        if self.packets.len() as u64 + count > MAX_MISSING as u64 {
            self.clear();
            return false;
        }
        self.packets.extend((end - count..end).map(|seq| Missing {
            seq,
            since: now,
            asked: 0,
            asked_at: now,
            ask_at: now,
        }));
        self.next = Some(now);
        true
    }

    /// `seq` has come after all. The answer to a single question tells the round-trip time (Karn's rule).
    pub(crate) fn arrived(&mut self, now: Instant, seq: u64) {
        let Ok(index) = self.packets.binary_search_by_key(&seq, |packet| packet.seq) else {
            return;
        };
        let packet = self.packets.remove(index);
        if packet.asked == 1 {
            let sample = now.saturating_duration_since(packet.asked_at);
            self.round_trip = (self.round_trip * 7 + sample) / 8;
        }
    }

    /// Appends what to ask for at `now`. Returns whether a packet was given up.
    ///
    /// Each further question waits longer for its answer: the first ones mend loss within a round-trip time or two, the
    /// last ones outlive a sender or a path that stands still for half a second, where giving up costs a key frame.
    pub(crate) fn take_due(&mut self, now: Instant, due: &mut Vec<SeqNo>) -> bool {
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        let interval = (self.round_trip + self.round_trip / 4).max(MIN_INTERVAL);
        let before = self.packets.len();
        self.packets.retain_mut(|packet| {
            if now < packet.ask_at {
                return true;
            }
            if packet.asked == MAX_ATTEMPTS
                || now.saturating_duration_since(packet.since) >= MAX_AGE
            {
                return false;
            }
            due.push(SeqNo(packet.seq as u16));
            packet.asked_at = now;
            let wait = interval.mul_f64(PATIENCE.powi(packet.asked.into()));
            packet.ask_at = (now + wait).min(packet.since + MAX_AGE);
            packet.asked += 1;
            true
        });
        self.next = self.packets.iter().map(|packet| packet.ask_at).min();
        self.packets.len() < before
    }

    /// Gives everything up, for example because the source has started anew.
    pub(crate) fn clear(&mut self) {
        self.packets.clear();
        self.next = None;
    }

    /// When to ask next.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    fn ms(ms: u64) -> Instant {
        t0() + Duration::from_millis(ms)
    }

    #[test]
    fn a_packet_is_asked_for_at_once_again_after_a_round_trip_and_given_up() {
        let mut missing = MissingPackets::new();
        assert!(missing.add(t0(), 70_002, 2));
        let mut asked = Vec::new();
        let mut given_up = None;
        for at in 0..2000 {
            let mut due = Vec::new();
            if missing.take_due(ms(at), &mut due) {
                given_up.get_or_insert(at);
            }
            if !due.is_empty() {
                assert_eq!(due, [SeqNo(4464), SeqNo(4465)]);
                asked.push(at);
            }
        }
        assert_eq!(asked, [0, 125, 282, 478, 723]);
        assert_eq!(given_up, Some(1000));
        assert_eq!(missing.deadline(), None);
    }

    #[test]
    fn questions_outlive_half_a_second_of_silence_on_a_short_path() {
        let mut missing = MissingPackets::new();
        missing.round_trip = Duration::from_millis(40);
        missing.add(t0(), 1, 1);
        let asked: Vec<_> = (0..900)
            .filter(|at| {
                let mut due = Vec::new();
                assert!(
                    !missing.take_due(ms(*at), &mut due),
                    "given up after {at} ms"
                );
                !due.is_empty()
            })
            .collect();
        assert_eq!(asked.len(), usize::from(MAX_ATTEMPTS));
        assert!(asked.last() > Some(&700), "{asked:?}");
    }

    #[test]
    fn an_answer_shortens_the_interval() {
        let mut missing = MissingPackets::new();
        let mut due = Vec::new();
        for round in 0..40 {
            let now = ms(round * 100);
            missing.add(now, round + 1, 1);
            missing.take_due(now, &mut due);
            missing.arrived(now + Duration::from_millis(8), round);
        }
        assert!(missing.round_trip < Duration::from_millis(12));
        missing.take_due(ms(4000), &mut due);
        assert_eq!(missing.deadline(), None, "nothing is missing");
        missing.add(ms(5000), 100, 1);
        missing.take_due(ms(5000), &mut due);
        assert_eq!(missing.deadline(), Some(ms(5020)));
    }

    #[test]
    fn an_answer_to_one_of_two_questions_tells_nothing() {
        let mut missing = MissingPackets::new();
        let mut due = Vec::new();
        missing.add(t0(), 1, 1);
        missing.take_due(t0(), &mut due);
        missing.take_due(ms(125), &mut due);
        assert_eq!(due.len(), 2);
        missing.arrived(ms(126), 0);
        assert_eq!(missing.round_trip, INITIAL_ROUND_TRIP);
    }

    #[test]
    fn a_gap_too_long_is_given_up_at_once() {
        let mut missing = MissingPackets::new();
        assert!(missing.add(t0(), 1000, 200));
        assert!(!missing.add(t0(), 2000, 57));
        assert_eq!(missing.deadline(), None);
        assert!(missing.add(t0(), 3000, 256));
        assert!(!missing.add(t0(), u64::MAX, u64::MAX / 2));
    }
}
