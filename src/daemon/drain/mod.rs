//! A drain: no new sessions, those that exist finish, then the process ends; at the deadline in any case.
//!
//! ```text
//!             begin                  nobody is left, or the deadline
//!   Running ---------> Draining -----------------------------------> Drained
//!      ^                 |   ^ |
//!      +-----------------+   +-+ begin: another deadline
//!             cancel
//! ```

pub(super) mod service;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::control::session::Occupancy;

/// How long sessions that nobody is in are waited for: their tokens have just been handed out. Whoever has not come by
/// then may not come at all, and a deployment would wait for an hour.
pub(super) const UNUSED_GRACE: Duration = Duration::from_secs(60);

/// The longest deadline; a longer one is a mistake.
pub(super) const MAX_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Decides how a drain goes.
#[derive(Debug, Default)]
pub(super) struct Drain {
    state: State,
    occupancy: Occupancy,
    effects: VecDeque<Effect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Running,
    Draining {
        since: Instant,
        until: Instant,
    },
    Drained,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Refuse new sessions; the process ends at this moment at the latest.
    Refuse {
        /// The deadline.
        until: Instant,
    },
    /// Take new sessions again.
    Admit,
    /// End the process.
    Finish(Ending),
}

/// Why a drain is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nobody is left.
    Empty,
    /// The time is up for so many sessions that somebody is in.
    Deadline {
        /// Sessions that somebody is in.
        occupied: usize,
    },
}

/// Why an order is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DrainError {
    /// Cancelled, but nothing drains.
    #[error("nothing is draining: there is nothing to cancel")]
    NotDraining,
    /// The process is ending already.
    #[error("the drain is over and the process is ending: start it again instead")]
    Over,
}

impl Drain {
    /// Begins a drain, or gives the one that goes on another deadline.
    pub(super) fn begin(&mut self, now: Instant, deadline: Duration) -> Result<(), DrainError> {
        let since = match self.state {
            State::Running => now,
            State::Draining { since, .. } => since,
            State::Drained => return Err(DrainError::Over),
        };
        let until = now + deadline.min(MAX_DEADLINE);
        self.state = State::Draining { since, until };
        // A session may be made until this is carried out: whether one is left is looked at afterwards.
        self.effects.push_back(Effect::Refuse { until });
        Ok(())
    }

    /// Goes back to what was.
    pub(super) fn cancel(&mut self) -> Result<(), DrainError> {
        match self.state {
            State::Running => Err(DrainError::NotDraining),
            State::Drained => Err(DrainError::Over),
            State::Draining { .. } => {
                self.state = State::Running;
                self.effects.push_back(Effect::Admit);
                Ok(())
            }
        }
    }

    /// Takes note of the sessions that there are, as counted after all effects were carried out.
    pub(super) fn handle_occupancy(&mut self, now: Instant, occupancy: Occupancy) {
        self.occupancy = occupancy;
        self.handle_timeout(now);
    }

    /// Does what has become due. Spurious calls are harmless.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let State::Draining { since, until } = self.state else {
            return;
        };
        let Occupancy { sessions, occupied } = self.occupancy;
        let ending = if sessions == 0 || (occupied == 0 && now >= since + UNUSED_GRACE) {
            Ending::Empty
        } else if now >= until {
            Ending::Deadline { occupied }
        } else {
            return;
        };
        self.state = State::Drained;
        self.effects.push_back(Effect::Finish(ending));
    }

    /// The moment at which [`Drain::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let State::Draining { since, until } = self.state else {
            return None;
        };
        Some(if self.occupancy.occupied == 0 {
            until.min(since + UNUSED_GRACE)
        } else {
            until
        })
    }

    /// The next thing to do.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::t0;

    const MINUTE: Duration = Duration::from_secs(60);

    const fn occupancy(sessions: usize, occupied: usize) -> Occupancy {
        Occupancy { sessions, occupied }
    }

    fn effects(drain: &mut Drain) -> Vec<Effect> {
        std::iter::from_fn(|| drain.poll_effect()).collect()
    }

    fn draining(sessions: usize, occupied: usize) -> Drain {
        let mut drain = Drain::default();
        drain.handle_occupancy(t0(), occupancy(sessions, occupied));
        drain.begin(t0(), 30 * MINUTE).unwrap();
        let until = t0() + 30 * MINUTE;
        assert_eq!(effects(&mut drain), [Effect::Refuse { until }]);
        drain
    }

    #[test]
    fn without_sessions_a_drain_is_over_at_once() {
        let mut drain = draining(0, 0);
        drain.handle_occupancy(t0(), occupancy(0, 0));
        assert_eq!(effects(&mut drain), [Effect::Finish(Ending::Empty)]);
        assert_eq!(drain.poll_timeout(), None);
        assert_eq!(drain.begin(t0(), MINUTE), Err(DrainError::Over));
        assert_eq!(drain.cancel(), Err(DrainError::Over));
    }

    #[test]
    fn the_last_session_ends_it_and_not_the_one_before() {
        let mut drain = draining(2, 2);
        let later = t0() + 5 * MINUTE;
        drain.handle_occupancy(later, occupancy(1, 1));
        assert_eq!(effects(&mut drain), []);
        drain.handle_occupancy(later, occupancy(0, 0));
        assert_eq!(effects(&mut drain), [Effect::Finish(Ending::Empty)]);
    }

    #[test]
    fn the_deadline_ends_it_whoever_is_still_there() {
        let mut drain = draining(3, 2);
        let until = t0() + 30 * MINUTE;
        assert_eq!(drain.poll_timeout(), Some(until));
        drain.handle_timeout(until - Duration::from_millis(1));
        assert_eq!(effects(&mut drain), []);
        drain.handle_timeout(until);
        let ending = Ending::Deadline { occupied: 2 };
        assert_eq!(effects(&mut drain), [Effect::Finish(ending)]);
        drain.handle_timeout(until + MINUTE);
        assert_eq!(effects(&mut drain), [], "it ends once");
    }

    #[test]
    fn sessions_that_nobody_has_joined_yet_are_waited_for_a_minute() {
        let mut drain = draining(1, 0);
        assert_eq!(drain.poll_timeout(), Some(t0() + UNUSED_GRACE));
        drain.handle_timeout(t0() + UNUSED_GRACE - Duration::from_millis(1));
        assert_eq!(effects(&mut drain), []);
        // Somebody comes in time: then it is waited for as any other.
        drain.handle_occupancy(t0() + UNUSED_GRACE / 2, occupancy(1, 1));
        drain.handle_timeout(t0() + UNUSED_GRACE);
        assert_eq!(effects(&mut drain), []);
        let mut drain = draining(1, 0);
        drain.handle_timeout(t0() + UNUSED_GRACE);
        assert_eq!(effects(&mut drain), [Effect::Finish(Ending::Empty)]);
    }

    #[test]
    fn another_deadline_replaces_the_first_one_and_cancelling_goes_back() {
        let mut drain = draining(1, 1);
        let later = t0() + 10 * MINUTE;
        drain.begin(later, MINUTE).unwrap();
        let until = later + MINUTE;
        assert_eq!(effects(&mut drain), [Effect::Refuse { until }]);
        assert_eq!(drain.poll_timeout(), Some(until));
        assert_eq!(drain.cancel(), Ok(()));
        assert_eq!(effects(&mut drain), [Effect::Admit]);
        assert_eq!(drain.poll_timeout(), None);
        drain.handle_timeout(t0() + 60 * MINUTE);
        drain.handle_occupancy(t0() + 60 * MINUTE, occupancy(0, 0));
        assert_eq!(effects(&mut drain), [], "nobody waits for anything");
        assert_eq!(drain.cancel(), Err(DrainError::NotDraining));
        assert_eq!(drain.begin(t0() + 60 * MINUTE, MINUTE), Ok(()));
    }

    #[test]
    fn a_deadline_that_is_too_long_is_cut() {
        let mut drain = Drain::default();
        drain.begin(t0(), Duration::MAX).unwrap();
        let until = t0() + MAX_DEADLINE;
        assert_eq!(effects(&mut drain), [Effect::Refuse { until }]);
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Begin(u64),
        Cancel,
        Sessions(usize, usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..5_000_u64).prop_map(Step::Begin),
            Just(Step::Cancel),
            (0..4_usize, 0..4_usize).prop_map(|(a, b)| Step::Sessions(a.max(b), a.min(b))),
            (0..2_000_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever happens: sessions are refused exactly between a begin and its cancelling, a drain ends at most once, never
        /// before its deadline while somebody is in a session, and never after it.
        #[test]
        fn a_drain_keeps_its_promises(steps in proptest::collection::vec(step(), 1..40)) {
            let (mut drain, mut now) = (Drain::default(), t0());
            let (mut deadline, mut seen, mut is_over) = (None, occupancy(0, 0), false);
            for step in steps {
                match step {
                    Step::Begin(secs) => {
                        let begun = drain.begin(now, Duration::from_secs(secs));
                        prop_assert_eq!(begun.is_err(), is_over);
                    }
                    Step::Cancel => {
                        let expected = deadline.is_some() && !is_over;
                        prop_assert_eq!(drain.cancel().is_ok(), expected);
                    }
                    Step::Sessions(sessions, occupied) => seen = occupancy(sessions, occupied),
                    Step::Wait(secs) => {
                        let end = now + Duration::from_secs(secs);
                        // As its shell does: awake at each moment that it names.
                        while let Some(due) = drain.poll_timeout().filter(|due| *due <= end) {
                            now = now.max(due);
                            drain.handle_timeout(now);
                            if drain.effects.is_empty() {
                                break;
                            }
                        }
                        now = if drain.effects.is_empty() { end } else { now };
                    }
                }
                let mut effects = effects(&mut drain);
                drain.handle_occupancy(now, seen);
                effects.extend(std::iter::from_fn(|| drain.poll_effect()));
                for effect in effects {
                    prop_assert!(!is_over, "nothing after the end");
                    match effect {
                        Effect::Refuse { until } => deadline = Some(until),
                        Effect::Admit => deadline = None,
                        Effect::Finish(ending) => {
                            is_over = true;
                            let deadline = deadline.expect("it had begun");
                            match ending {
                                Ending::Empty => prop_assert_eq!(seen.occupied, 0),
                                Ending::Deadline { occupied } => {
                                    prop_assert_eq!(occupied, seen.occupied);
                                    prop_assert!(now >= deadline);
                                }
                            }
                        }
                    }
                }
                if let Some(deadline) = deadline.filter(|_| !is_over) {
                    prop_assert!(now < deadline, "it went on after its deadline");
                }
            }
        }
    }
}
