//! One queue of deadlines for everything that a worker owns.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A transport, by slot and generation.
    Transport(u32, u32),
    /// A room, by slot and generation.
    Room(u32, u32),
}

/// Deadlines in order. Entries are never removed early: an owner whose deadline moved later is asked in vain once and
/// registers anew, one whose deadline moved earlier registers at once.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Owner)>>,
}

impl Timers {
    /// Registers `owner` for `deadline` unless `registered`, its earliest entry, is no later.
    pub(super) fn register(
        &mut self,
        owner: Owner,
        deadline: Option<Instant>,
        registered: &mut Option<Instant>,
    ) {
        let Some(deadline) = deadline else { return };
        if registered.is_none_or(|earlier| deadline < earlier) {
            self.heap.push(Reverse((deadline, owner)));
            *registered = Some(deadline);
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Takes the earliest owner whose deadline has come, with that deadline.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Instant, Owner)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::t0;

    #[test]
    fn owners_come_due_in_order_and_a_later_deadline_is_not_registered_twice() {
        let mut timers = Timers::default();
        let (mut a, mut b) = (None, None);
        let at = |ms| t0() + Duration::from_millis(ms);
        timers.register(Owner::Transport(1, 0), Some(at(20)), &mut a);
        timers.register(Owner::Room(1, 0), Some(at(10)), &mut b);
        timers.register(Owner::Transport(1, 0), Some(at(30)), &mut a);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.due(at(9)), None);
        assert_eq!(timers.due(at(50)), Some((at(10), Owner::Room(1, 0))));
        assert_eq!(timers.due(at(50)), Some((at(20), Owner::Transport(1, 0))));
        assert_eq!(timers.due(at(50)), None);
    }

    #[test]
    fn an_earlier_deadline_is_registered_beside_the_later_one() {
        let mut timers = Timers::default();
        let mut a = None;
        let at = |ms| t0() + Duration::from_millis(ms);
        timers.register(Owner::Transport(1, 0), Some(at(20)), &mut a);
        timers.register(Owner::Transport(1, 0), Some(at(5)), &mut a);
        assert_eq!(timers.next(), Some(at(5)));
    }
}
