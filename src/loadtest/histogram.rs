//! How often a duration was measured, exact to 1.6 %, without allocation while counting.

use std::time::Duration;

/// Steps of each power of two.
const STEPS: u64 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();
const BUCKETS: usize = (u64::BITS - STEP_BITS + 1) as usize * STEPS as usize;

/// Durations by size: linear up to 64 ns, then 64 steps for each power of two.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u32]>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into(),
            total: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(ns)) {
            *count = count.saturating_add(1);
        }
        self.total += 1;
        self.max = self.max.max(ns);
    }

    /// How many were counted.
    pub const fn len(&self) -> u64 {
        self.total
    }

    /// Whether none was.
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The longest one.
    pub const fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// What so many of a thousand do not exceed; zero if there is none at all.
    pub fn per_mille(&self, rank: u64) -> Duration {
        let wanted = (self.total * rank.min(1_000)).div_ceil(1_000).max(1);
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += u64::from(*count);
            if below >= wanted {
                return Duration::from_nanos(highest_of(index).min(self.max));
            }
        }
        self.max()
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.per_mille(500)
    }

    /// What 99 of 100 do not exceed.
    pub fn p99(&self) -> Duration {
        self.per_mille(990)
    }
}

fn bucket(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(STEP_BITS + 1);
    // Of numbers that need a shift, the leading bit stands at the place of STEPS.
    (u64::from(shift) * STEPS + (ns >> shift)) as usize
}

/// The largest number that is counted in bucket `index`.
const fn highest_of(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let lowest = (index - shift * STEPS) << shift;
    lowest + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_of_known_numbers() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.p99(), Duration::ZERO);
        for ms in 1..=1_000 {
            histogram.record(Duration::from_millis(ms));
        }
        let near = |measured: Duration, ms: f64| {
            let error = measured.as_secs_f64() * 1_000.0 / ms;
            assert!((1.0..1.017).contains(&error), "{measured:?} for {ms} ms");
        };
        near(histogram.p50(), 500.0);
        near(histogram.p99(), 990.0);
        assert_eq!(histogram.max(), Duration::from_secs(1));
        assert_eq!(histogram.per_mille(1_000), Duration::from_secs(1));
        assert_eq!(histogram.len(), 1_000);
    }

    proptest! {
        #[test]
        fn a_bucket_holds_what_is_counted_in_it_and_little_else(ns in any::<u64>(), shift in 0u32..64) {
            let ns = ns >> shift;
            let index = bucket(ns);
            prop_assert!(index < BUCKETS);
            let highest = highest_of(index);
            prop_assert!(highest >= ns);
            prop_assert!(highest - ns <= ns / STEPS);
            if index > 0 {
                prop_assert!(highest_of(index - 1) < ns);
            }
        }
    }
}
