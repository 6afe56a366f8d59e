//! How many messages one socket may send (`robustness` S30): generous, since subscribing to a full session takes
//! thousands at once.

use std::time::{Duration, Instant};

/// Messages that may come at once.
const BURST: u32 = 5000;

/// Messages per second in the long run.
const PER_SECOND: u32 = 500;

/// A bucket of messages that refills steadily.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    refilled: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            refilled: now,
        }
    }

    /// Takes one message; false if there is none left.
    pub(super) fn spend(&mut self, now: Instant) -> bool {
        let interval = Duration::from_secs(1) / PER_SECOND;
        let elapsed = now.saturating_duration_since(self.refilled);
        let earned = elapsed.as_nanos() / interval.as_nanos();
        if let Ok(earned @ 0..BURST) = u32::try_from(earned) {
            self.left = BURST.min(self.left + earned);
            self.refilled += interval * earned;
        } else {
            *self = Self::new(now);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    #[test]
    fn a_burst_passes_a_flood_does_not_and_the_budget_comes_back() {
        let mut budget = Budget::new(t0());
        let passed = (0..100_000).filter(|_| budget.spend(t0())).count();
        assert_eq!(passed, BURST as usize);
        let later = t0() + Duration::from_secs(1);
        let passed = (0..100_000).filter(|_| budget.spend(later)).count();
        assert_eq!(passed, PER_SECOND as usize);
        let much_later = later + Duration::from_secs(100_000_000);
        assert!(budget.spend(much_later));
    }
}
