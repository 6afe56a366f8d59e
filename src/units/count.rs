//! Numbers that one part of the process counts and another one reads: no lock, no order, nothing that a packet waits for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Nothing so far.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Once more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often a duration was how long: a count for each of [`Spread::BOUNDS`], and one for whatever took longer.
#[derive(Debug, Default)]
pub struct Spread {
    within: [Count; Spread::BOUNDS.len()],
    longer: Count,
    sum_us: Count,
}

impl Spread {
    /// The longest duration of each class, in microseconds: from what a packet takes through a worker to what a client
    /// gives up at.
    pub const BOUNDS: [u64; 16] = [
        25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000,
        500_000, 1_000_000, 5_000_000,
    ];

    /// Takes note of something that took so long.
    pub fn observe(&self, took: Duration) {
        self.observe_many(took, 1);
    }

    /// Takes note of `many` things that took so long each.
    pub fn observe_many(&self, took: Duration, many: u64) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = Self::BOUNDS.partition_point(|bound| *bound < us);
        self.within.get(class).unwrap_or(&self.longer).add(many);
        self.sum_us.add(us.saturating_mul(many));
    }

    /// What has been observed.
    pub fn get(&self) -> Observed {
        Observed {
            within: self.within.each_ref().map(Count::get),
            longer: self.longer.get(),
            sum_us: self.sum_us.get(),
        }
    }
}

/// What a [`Spread`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// Observations of each class alone, in the order of [`Spread::BOUNDS`].
    pub within: [u64; Spread::BOUNDS.len()],
    /// Those beyond the last bound.
    pub longer: u64,
    /// All of them together in microseconds.
    pub sum_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_class_that_is_not_shorter() {
        let spread = Spread::default();
        let us = Duration::from_micros;
        spread.observe(Duration::ZERO);
        spread.observe(us(25));
        spread.observe(us(26));
        spread.observe_many(us(1_000), 7);
        spread.observe(us(5_000_000));
        spread.observe(us(5_000_001));
        let seen = spread.get();
        assert_eq!(seen.within[..6], [2, 1, 0, 0, 0, 7]);
        assert_eq!((seen.within[15], seen.longer), (1, 1));
        assert_eq!(seen.sum_us, 25 + 26 + 7_000 + 5_000_000 + 5_000_001);
    }

    #[test]
    fn classes_are_in_order() {
        assert!(Spread::BOUNDS.is_sorted_by(|a, b| a < b));
    }
}
