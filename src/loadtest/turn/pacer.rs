//! When runs of datagrams are due at a fixed rate, whatever becomes of them (an open loop). Sans-I/O.

use std::time::{Duration, Instant};

/// A fixed rate, without drift: the time of each run is computed from the beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pacer {
    begin: Instant,
    per_second: u32,
    run: u32,
    taken: u64,
}

impl Pacer {
    /// `per_second` datagrams in runs of `run`, the first at `begin`.
    pub(super) const fn new(begin: Instant, per_second: u32, run: u32) -> Self {
        Self {
            begin,
            per_second,
            run,
            taken: 0,
        }
    }

    /// When the next run is due.
    pub(super) fn due(&self) -> Instant {
        let datagrams = u128::from(self.taken) * u128::from(self.run);
        let ns = datagrams * 1_000_000_000 / u128::from(self.per_second.max(1));
        self.begin + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX / 2))
    }

    /// Takes the next run if it is due, and says when it was.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = self.due();
        if due > now {
            return None;
        }
        self.taken += 1;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    #[test]
    fn runs_are_spread_evenly_and_do_not_drift() {
        let mut pacer = Pacer::new(t0(), 30_000, 8);
        let hour = Duration::from_secs(3_600);
        let mut runs = 0_u64;
        while pacer.take(t0() + hour).is_some() {
            runs += 1;
        }
        // Those of an hour, and the one at its very end.
        assert_eq!(runs, 30_000 * 3_600 / 8 + 1);
        assert_eq!(pacer.due(), t0() + hour + Duration::from_nanos(266_666));
    }

    #[test]
    fn whoever_is_late_is_told_by_how_much_and_catches_up() {
        let mut pacer = Pacer::new(t0(), 1_000, 1);
        let at = |ms| t0() + Duration::from_millis(ms);
        assert_eq!(pacer.take(at(0)), Some(at(0)));
        assert_eq!(pacer.take(at(0)), None);
        assert_eq!(pacer.take(at(5)), Some(at(1)));
        assert_eq!(pacer.take(at(5)), Some(at(2)));
        assert_eq!(pacer.due(), at(3));
    }
}
