//! Bounds of bandwidth.

use std::time::{Duration, Instant};

/// What may flow at once when nothing has flowed for a while.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket, kept as the moment at which it will be full again.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenBucket(Instant);

impl TokenBucket {
    pub(super) const fn full(now: Instant) -> Self {
        Self(now)
    }

    /// Whether `bytes` may flow at `bytes_per_sec`; what may not costs nothing.
    pub(super) fn spend(&mut self, now: Instant, bytes_per_sec: Option<u64>, bytes: usize) -> bool {
        let Some(rate) = bytes_per_sec else {
            return true;
        };
        let nanos = (bytes as u64)
            .saturating_mul(1_000_000_000)
            .checked_div(rate)
            .unwrap_or(u64::MAX);
        let next = self.0.max(now).checked_add(Duration::from_nanos(nanos));
        match next.filter(|next| *next <= now + BURST) {
            Some(next) => {
                self.0 = next;
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
    fn a_second_flows_at_once_and_then_the_rate() {
        let mut bucket = TokenBucket::full(t0());
        let mut spend = |now| {
            std::iter::repeat_with(|| bucket.spend(now, Some(100_000), 1_000))
                .take_while(|flows| *flows)
                .count()
        };
        assert_eq!(spend(t0()), 100);
        assert_eq!(spend(t0() + Duration::from_millis(100)), 10);
        assert_eq!(spend(t0() + Duration::from_secs(100)), 100);
    }

    #[test]
    fn no_rate_bounds_nothing_and_a_rate_of_zero_everything() {
        let mut bucket = TokenBucket::full(t0());
        assert!((0..1_000).all(|_| bucket.spend(t0(), None, 65_535)));
        assert!(!bucket.spend(t0(), Some(0), 1));
    }
}
