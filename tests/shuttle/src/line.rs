//! One direction of the line, without I/O: packets and the time go in, packets and deadlines come out.
//!
//! ```text
//! packet -> blackout? -> lost? -> bounded queue at the given rate -> delay and jitter -> out, in order
//!                                                                    \ held back: overtaken by later ones
//!                                                                    \ twice
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::random::Random;

/// Most packets under way; further ones are dropped, as any real queue ends somewhere.
const MAX_UNDER_WAY: usize = 50_000;
/// How much later than the others a packet comes that is overtaken.
const HELD_BACK: Duration = Duration::from_millis(15);

/// What a direction does to packets. The default passes all of them on at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Conditions {
    /// How long each packet is under way.
    pub(crate) delay: Duration,
    /// By how much that varies at most, up or down, evenly spread. The order of packets is kept.
    pub(crate) jitter: Duration,
    /// The share of packets that is lost.
    pub(crate) loss: f64,
    /// How many packets are lost in a row on average; up to 1: each on its own.
    pub(crate) burst: f64,
    /// The share of packets that is overtaken by later ones.
    pub(crate) reorder: f64,
    /// The share of packets that arrives twice.
    pub(crate) duplicate: f64,
    /// In bit/s of whole IP packets.
    pub(crate) rate: Option<u64>,
    /// How many bytes may wait for their turn where there is a rate; what does not fit is dropped.
    pub(crate) queue: usize,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: 0.0,
            reorder: 0.0,
            duplicate: 0.0,
            rate: None,
            queue: 64_000,
        }
    }
}

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Packets that came in.
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    pub(crate) blacked_out: u64,
    /// For want of room.
    pub(crate) overflowed: u64,
    pub(crate) reordered: u64,
    pub(crate) duplicated: u64,
    /// Packets that went out, duplicates included.
    pub(crate) delivered: u64,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Line {
    conditions: Conditions,
    counters: Counters,
    random: Random,
    is_losing: bool,
    blackout_until: Option<Instant>,
    /// When the last packet has left the queue.
    sent_until: Option<Instant>,
    /// When the last packet that keeps the order arrives.
    last_arrival: Option<Instant>,
    /// By arrival, then by turn.
    under_way: BTreeMap<(Instant, u64), Vec<u8>>,
    turn: u64,
}

impl Line {
    pub(crate) const fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            counters: Counters {
                packets: 0,
                bytes: 0,
                lost: 0,
                blacked_out: 0,
                overflowed: 0,
                reordered: 0,
                duplicated: 0,
                delivered: 0,
            },
            random: Random::new(seed),
            is_losing: false,
            blackout_until: None,
            sent_until: None,
            last_arrival: None,
            under_way: BTreeMap::new(),
            turn: 0,
        }
    }

    pub(crate) const fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// From now on; what is under way arrives as it would have.
    pub(crate) const fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Every packet that comes within `length` is lost.
    pub(crate) fn black_out(&mut self, now: Instant, length: Duration) {
        self.blackout_until = Some(now + length);
    }

    pub(crate) const fn counters(&self) -> Counters {
        self.counters
    }

    /// How many packets have not arrived yet.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    pub(crate) fn handle_input(&mut self, now: Instant, packet: &[u8]) {
        self.counters.packets += 1;
        self.counters.bytes += packet.len() as u64;
        // As many numbers for each packet whatever the conditions are: loss does not shift what jitter does.
        let [loss, jitter, reorder, duplicate] = [(); 4].map(|()| self.random.share());
        if self.blackout_until.is_some_and(|until| now < until) {
            self.counters.blacked_out += 1;
            return;
        }
        if self.is_lost(loss) {
            self.counters.lost += 1;
            return;
        }
        let Some(sent_at) = self.send(now, packet.len()) else {
            self.counters.overflowed += 1;
            return;
        };
        let Conditions {
            delay,
            jitter: width,
            ..
        } = self.conditions;
        let mut arrival = sent_at + (delay + width.mul_f64(2.0 * jitter)).saturating_sub(width);
        if let Some(last) = self.last_arrival {
            arrival = arrival.max(last);
        }
        if reorder < self.conditions.reorder {
            self.counters.reordered += 1;
            arrival += HELD_BACK;
        } else {
            self.last_arrival = Some(arrival);
        }
        self.put(arrival, packet);
        if duplicate < self.conditions.duplicate {
            self.counters.duplicated += 1;
            self.put(arrival, packet);
        }
    }

    /// The next packet that has arrived.
    pub(crate) fn poll_output(&mut self, now: Instant) -> Option<Vec<u8>> {
        let first = self.under_way.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        self.counters.delivered += 1;
        Some(first.remove())
    }

    /// When the next packet arrives.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// Gilbert's model where losses come in bursts: two states, and all packets of the bad one are lost.
    fn is_lost(&mut self, random: f64) -> bool {
        let Conditions { loss, burst, .. } = self.conditions;
        if burst <= 1.0 || loss >= 1.0 {
            self.is_losing = false;
            return random < loss;
        }
        self.is_losing = if self.is_losing {
            random >= 1.0 / burst
        } else {
            random < loss / (burst * (1.0 - loss))
        };
        self.is_losing
    }

    /// When the last bit of a packet has left the queue; `None` if it does not fit in.
    fn send(&mut self, now: Instant, len: usize) -> Option<Instant> {
        if self.under_way.len() >= MAX_UNDER_WAY {
            return None;
        }
        let Some(rate) = self.conditions.rate else {
            self.sent_until = None;
            return Some(now);
        };
        let begin = self.sent_until.map_or(now, |until| until.max(now));
        let waiting = (begin - now).as_secs_f64() * rate as f64 / 8.0;
        if waiting + len as f64 > self.conditions.queue as f64 {
            return None;
        }
        let end = begin + Duration::from_secs_f64(len as f64 * 8.0 / rate as f64);
        self.sent_until = Some(end);
        Some(end)
    }

    fn put(&mut self, arrival: Instant, packet: &[u8]) {
        self.under_way.insert((arrival, self.turn), packet.to_vec());
        self.turn += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// What arrives, and when, of `count` packets sent one each millisecond; each holds its number.
    fn run(conditions: Conditions, seed: u64, count: u32) -> (Vec<(Duration, u32)>, Counters) {
        let start = crate::now();
        let mut line = Line::new(conditions, seed);
        let mut arrived = Vec::new();
        let mut drain = |line: &mut Line, until: Instant| {
            while let Some(at) = line.poll_timeout().filter(|at| *at <= until) {
                assert_eq!(
                    line.poll_output(at - Duration::from_nanos(1)),
                    None,
                    "not before its time"
                );
                while let Some(packet) = line.poll_output(at) {
                    let number = u32::from_be_bytes(packet[..4].try_into().expect("four bytes"));
                    arrived.push((at - start, number));
                }
            }
        };
        for number in 0..count {
            let now = start + ms(u64::from(number));
            drain(&mut line, now);
            let mut packet = [0; 1000];
            packet[..4].copy_from_slice(&number.to_be_bytes());
            line.handle_input(now, &packet);
        }
        drain(&mut line, start + ms(u64::from(count) + 3_600_000));
        assert_eq!(line.under_way(), 0);
        (arrived, line.counters())
    }

    fn numbers(arrived: &[(Duration, u32)]) -> Vec<u32> {
        arrived.iter().map(|(_, number)| *number).collect()
    }

    #[test]
    fn without_conditions_all_arrive_at_once_in_order() {
        let (arrived, counters) = run(Conditions::default(), SEED, 100);
        let expected: Vec<_> = (0..100)
            .map(|number| (ms(u64::from(number)), number))
            .collect();
        assert_eq!(arrived, expected);
        assert_eq!(
            (counters.packets, counters.delivered, counters.bytes),
            (100, 100, 100_000)
        );
    }

    #[test]
    fn the_same_seed_repeats_a_run_and_another_does_not() {
        let conditions = Conditions {
            delay: ms(20),
            jitter: ms(10),
            loss: 0.1,
            burst: 3.0,
            reorder: 0.1,
            duplicate: 0.1,
            ..Conditions::default()
        };
        assert_eq!(run(conditions, SEED, 2000), run(conditions, SEED, 2000));
        assert_ne!(run(conditions, SEED, 2000), run(conditions, SEED + 1, 2000));
    }

    #[test]
    fn packets_are_lost_as_often_as_asked_alone_or_in_a_row() {
        for (burst, expected_run) in [(0.0, 1.0 / 0.95), (4.0, 4.0)] {
            let conditions = Conditions {
                loss: 0.05,
                burst,
                ..Conditions::default()
            };
            let (arrived, counters) = run(conditions, SEED, 200_000);
            let share = counters.lost as f64 / 200_000.0;
            assert!((0.045..0.055).contains(&share), "{share}");
            let gaps = numbers(&arrived)
                .windows(2)
                .filter(|pair| pair[1] != pair[0] + 1)
                .count();
            let run_length = counters.lost as f64 / gaps as f64;
            assert!(
                (run_length / expected_run - 1.0).abs() < 0.1,
                "{run_length}"
            );
        }
        let (arrived, _) = run(
            Conditions {
                loss: 1.0,
                ..Conditions::default()
            },
            SEED,
            100,
        );
        assert_eq!(arrived, []);
    }

    #[test]
    fn other_conditions_do_not_shift_which_packets_are_lost() {
        let lossy = Conditions {
            loss: 0.2,
            ..Conditions::default()
        };
        let late_too = Conditions {
            delay: ms(50),
            jitter: ms(20),
            ..lossy
        };
        assert_eq!(
            numbers(&run(lossy, SEED, 500).0),
            numbers(&run(late_too, SEED, 500).0)
        );
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_keeps_the_order() {
        let conditions = Conditions {
            delay: ms(30),
            jitter: ms(10),
            ..Conditions::default()
        };
        let (arrived, _) = run(conditions, SEED, 5000);
        assert_eq!(numbers(&arrived), (0..5000).collect::<Vec<_>>());
        let delays: Vec<_> = arrived
            .iter()
            .map(|(at, number)| *at - ms(u64::from(*number)))
            .collect();
        assert!(delays.iter().all(|delay| (ms(20)..=ms(40)).contains(delay)));
        assert!(delays.iter().max().expect("some") > &ms(38));
        // Jitter without any delay never makes a packet arrive before it was sent.
        run(
            Conditions {
                jitter: ms(10),
                ..Conditions::default()
            },
            SEED,
            500,
        );
    }

    #[test]
    fn held_back_packets_are_overtaken_and_arrive() {
        let conditions = Conditions {
            delay: ms(5),
            reorder: 0.1,
            ..Conditions::default()
        };
        let (arrived, counters) = run(conditions, SEED, 2000);
        let mut order = numbers(&arrived);
        let overtaken = order.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
        assert!((150..250).contains(&counters.reordered));
        assert!(overtaken > 100, "{overtaken}");
        order.sort_unstable();
        assert_eq!(order, (0..2000).collect::<Vec<_>>());
    }

    #[test]
    fn duplicates_arrive_beside_the_original() {
        let (arrived, counters) = run(
            Conditions {
                duplicate: 0.5,
                ..Conditions::default()
            },
            SEED,
            1000,
        );
        assert_eq!(arrived.len() as u64, 1000 + counters.duplicated);
        assert!((400..600).contains(&counters.duplicated));
    }

    #[test]
    fn a_rate_spaces_packets_out_and_its_queue_is_bounded() {
        // 1,000 bytes each millisecond are 8 Mbit/s; half of that may pass, and ten packets may wait.
        let conditions = Conditions {
            rate: Some(4_000_000),
            queue: 10_000,
            ..Conditions::default()
        };
        let (arrived, counters) = run(conditions, SEED, 1000);
        for pair in arrived.windows(2) {
            let gap = pair[1].0 - pair[0].0;
            assert!((gap.as_secs_f64() - 0.002).abs() < 1e-6, "{gap:?}");
        }
        assert!(
            (490..=510).contains(&counters.overflowed),
            "{}",
            counters.overflowed
        );
        assert!(
            arrived
                .iter()
                .all(|(at, number)| *at - ms(u64::from(*number)) <= ms(21))
        );
    }

    #[test]
    fn a_blackout_loses_all_that_comes_within_it_and_nothing_else() {
        let start = crate::now();
        let mut line = Line::new(
            Conditions {
                delay: ms(10),
                ..Conditions::default()
            },
            SEED,
        );
        line.handle_input(start, b"under way");
        line.black_out(start, ms(100));
        line.handle_input(start, b"lost");
        line.handle_input(start + ms(99), b"lost");
        line.handle_input(start + ms(100), b"after");
        assert_eq!(
            line.poll_output(start + ms(10)).as_deref(),
            Some(&b"under way"[..])
        );
        assert_eq!(line.poll_timeout(), Some(start + ms(110)));
        assert_eq!(line.counters().blacked_out, 2);
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let start = crate::now();
        let mut line = Line::new(
            Conditions {
                delay: ms(1000),
                ..Conditions::default()
            },
            SEED,
        );
        for _ in 0..MAX_UNDER_WAY + 5 {
            line.handle_input(start, b"x");
        }
        assert_eq!(
            (line.under_way(), line.counters().overflowed),
            (MAX_UNDER_WAY, 5)
        );
    }

    #[test]
    fn less_delay_does_not_let_later_packets_overtake() {
        let start = crate::now();
        let mut line = Line::new(
            Conditions {
                delay: ms(500),
                ..Conditions::default()
            },
            SEED,
        );
        line.handle_input(start, b"first");
        line.set_conditions(Conditions::default());
        line.handle_input(start + ms(1), b"second");
        assert_eq!(line.poll_output(start + ms(499)), None);
        let arrived: Vec<_> = std::iter::from_fn(|| line.poll_output(start + ms(500))).collect();
        assert_eq!(arrived, [&b"first"[..], b"second"]);
    }
}
