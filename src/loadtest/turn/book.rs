//! What was sent and what became of it, by flow; and the course of a test: warm-up, window, the last arrivals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::flow::{Arrival, Flow};
use super::report::{Charge, Outcome};
use super::{Error, Options};
use crate::loadtest::measure::{Measure, Window};

/// How long the last datagrams may take.
const DRAIN: Duration = Duration::from_millis(300);

/// If nothing has come for so long, what is on its way is lost.
const STALL: Duration = Duration::from_millis(100);

/// All flows of a test.
#[derive(Debug)]
pub(super) struct Book {
    flows: Vec<Flow>,
    /// Datagrams on their way.
    pub(super) in_flight: u32,
    pub(super) measure: Measure,
    pub(super) outcome: Outcome,
    latest_arrival: Instant,
}

impl Book {
    pub(super) fn new(now: Instant, flows: usize) -> Self {
        Self {
            flows: vec![Flow::default(); flows],
            in_flight: 0,
            measure: Measure::new(now),
            outcome: Outcome::default(),
            latest_arrival: now,
        }
    }

    /// Enters a datagram that leaves now; returns its number and its time.
    pub(super) fn leaves(&mut self, now: Instant, flow: usize) -> Option<(u32, u64)> {
        let number = self.flows.get_mut(flow)?.take();
        let sent_ns = self.measure.ns(now);
        self.in_flight += 1;
        self.outcome.sent += u64::from(self.measure.counts(sent_ns));
        Some((number, sent_ns))
    }

    /// Enters an arrival of `len` bytes, with what it says of its flow, its number and its departure. `None` if it says
    /// nothing, or not what was sent.
    pub(super) fn arrives(&mut self, now: Instant, note: Option<(usize, u32, u64)>, len: usize) {
        let now_ns = self.measure.ns(now);
        let known = note.and_then(|(flow, number, sent_ns)| {
            let arrival = self.flows.get_mut(flow)?.arrives(number);
            (arrival != Arrival::Strange).then_some((arrival, sent_ns))
        });
        let Some((arrival, sent_ns)) = known else {
            self.outcome.damaged += u64::from(self.measure.counts(now_ns));
            return;
        };
        let counts = u64::from(self.measure.counts(sent_ns));
        match arrival {
            Arrival::Latest(settled) => self.in_flight = self.in_flight.saturating_sub(settled),
            Arrival::Behind => self.outcome.reordered += counts,
            Arrival::Again | Arrival::Strange => {
                self.outcome.duplicates += counts;
                return;
            }
        }
        self.latest_arrival = now;
        self.outcome.received += counts;
        self.measure.arrives(now_ns, len);
        self.measure.has_travelled(sent_ns, now_ns);
    }

    /// What has not come for long does not come any more.
    pub(super) fn give_up_if_stalled(&mut self, now: Instant) {
        if self.in_flight > 0 && now.saturating_duration_since(self.latest_arrival) > STALL {
            for flow in &mut self.flows {
                flow.give_up();
            }
            self.in_flight = 0;
            self.latest_arrival = now;
        }
    }

    /// Everything that was observed.
    pub(super) fn close(self) -> Outcome {
        Outcome {
            arrived: self.measure.arrived,
            arrived_bytes: self.measure.arrived_bytes,
            latency: self.measure.latency,
            lateness: self.measure.lateness,
            ..self.outcome
        }
    }
}

/// Where a test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Datagrams leave, be they counted or not.
    Sending,
    /// The last ones are waited for.
    Draining,
    /// It is over.
    Over,
}

/// The course of a test.
#[derive(Debug)]
pub(super) struct Course {
    begin_at: Instant,
    duration: Duration,
    begun: Option<Instant>,
    ended: Option<Instant>,
}

impl Course {
    /// It begins now.
    pub(super) fn new(now: Instant, options: &Options) -> Self {
        Self {
            begin_at: now + options.warm_up,
            duration: options.duration,
            begun: None,
            ended: None,
        }
    }

    /// Goes on to where the test is at `now`; the window opens and closes on the way.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        stop: &AtomicBool,
        book: &mut Book,
        charge: &mut Charge,
    ) -> Result<Stage, Error> {
        let is_stopped = stop.load(Ordering::Relaxed);
        let now_ns = book.measure.ns(now);
        let Some(begun) = self.begun else {
            if is_stopped {
                return Err(Error::Interrupted);
            }
            if now >= self.begin_at {
                charge.begin_window()?;
                book.measure.window = Some(Window {
                    begin_ns: now_ns,
                    end_ns: u64::MAX,
                });
                self.begun = Some(now);
            }
            return Ok(Stage::Sending);
        };
        let end = begun + self.duration;
        let Some(ended) = self.ended else {
            if !is_stopped && now < end {
                return Ok(Stage::Sending);
            }
            charge.end_window()?;
            if let Some(window) = &mut book.measure.window {
                window.end_ns = now_ns;
            }
            book.outcome.interrupted = now < end;
            book.outcome.duration = now.saturating_duration_since(begun);
            self.ended = Some(now);
            return Ok(Stage::Draining);
        };
        Ok(if book.in_flight == 0 || now >= ended + DRAIN {
            Stage::Over
        } else {
            Stage::Draining
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Case, Pace};
    use super::*;
    use crate::testing::t0;

    fn at(ms: u64) -> Instant {
        t0() + Duration::from_millis(ms)
    }

    fn open_book() -> Book {
        let mut book = Book::new(t0(), 2);
        book.measure.window = Some(Window {
            begin_ns: 0,
            end_ns: u64::MAX,
        });
        book
    }

    #[test]
    fn each_arrival_is_entered_as_what_it_is() {
        let mut book = open_book();
        let notes: Vec<_> = (0..3)
            .map(|_| book.leaves(at(0), 1).unwrap())
            .map(|(number, sent_ns)| (1, number, sent_ns))
            .collect();
        assert_eq!(book.leaves(at(0), 2), None);
        for number in [1, 0, 0, 2] {
            book.arrives(at(2), Some(notes[number]), 100);
        }
        for strange in [None, Some((0, 0, 0)), Some((2, 0, 0)), Some((1, 3, 0))] {
            book.arrives(at(2), strange, 100);
        }
        assert_eq!(book.in_flight, 0);
        let outcome = book.close();
        assert_eq!((outcome.sent, outcome.received, outcome.arrived), (3, 3, 3));
        assert_eq!(
            (outcome.reordered, outcome.duplicates, outcome.damaged),
            (1, 1, 4)
        );
        assert_eq!(outcome.latency.max(), Duration::from_millis(2));
    }

    #[test]
    fn a_loop_that_lost_everything_goes_on() {
        let mut book = open_book();
        for _ in 0..5 {
            book.leaves(at(0), 0);
        }
        book.give_up_if_stalled(at(100));
        assert_eq!(book.in_flight, 5);
        book.give_up_if_stalled(at(101));
        assert_eq!(book.in_flight, 0);
    }

    pub(in crate::loadtest::turn) fn options() -> Options {
        Options {
            server: ([127, 0, 0, 1], 3478).into(),
            login: None,
            case: Case::Direct,
            allocations: 1,
            size: 172,
            run: 1,
            pace: Pace::Saturated { in_flight: 1 },
            duration: Duration::from_millis(1_000),
            warm_up: Duration::from_millis(100),
            bind: None,
            sources: None,
            peer: None,
            upper_peer: None,
            merge: false,
            pid: None,
            poll: Duration::ZERO,
        }
    }

    #[test]
    fn only_what_leaves_in_the_window_counts_and_the_last_ones_are_waited_for() {
        let (mut book, mut charge) = (Book::new(t0(), 1), Charge::default());
        let mut course = Course::new(t0(), &options());
        let stop = AtomicBool::new(false);
        let mut advance = |ms, book: &mut Book| {
            let stage = course.advance(at(ms), &stop, book, &mut charge);
            stage.unwrap()
        };
        for (ms, stage) in [
            (99, Stage::Sending),
            (100, Stage::Sending),
            (1_099, Stage::Sending),
        ] {
            assert_eq!(advance(ms, &mut book), stage);
            book.leaves(at(ms), 0);
        }
        assert_eq!(advance(1_100, &mut book), Stage::Draining);
        assert_eq!(advance(1_399, &mut book), Stage::Draining);
        book.arrives(at(1_399), Some((0, 2, 1_099_000_000)), 1);
        assert_eq!(advance(1_399, &mut book), Stage::Over);
        let outcome = book.close();
        assert_eq!((outcome.sent, outcome.received, outcome.arrived), (2, 1, 0));
        assert_eq!(
            (outcome.duration, outcome.interrupted),
            (options().duration, false)
        );
    }

    #[test]
    fn a_test_that_is_stopped_has_a_shorter_window_or_none() {
        let (mut book, mut charge) = (Book::new(t0(), 1), Charge::default());
        let stop = AtomicBool::new(true);
        let mut course = Course::new(t0(), &options());
        let early = course.advance(at(0), &stop, &mut book, &mut charge);
        assert!(matches!(early, Err(Error::Interrupted)));
        stop.store(false, Ordering::Relaxed);
        course
            .advance(at(100), &stop, &mut book, &mut charge)
            .unwrap();
        stop.store(true, Ordering::Relaxed);
        let stage = course.advance(at(350), &stop, &mut book, &mut charge);
        assert_eq!(stage.unwrap(), Stage::Draining);
        assert!(book.outcome.interrupted);
        assert_eq!(book.outcome.duration, Duration::from_millis(250));
    }
}
