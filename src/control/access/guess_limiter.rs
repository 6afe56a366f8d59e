//! The limit on failed guesses: ten a minute and source, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Wrong guesses that a source may make at once, and per [`WINDOW`].
pub const BURST: u32 = 10;

/// The time in which [`BURST`] guesses are forgiven.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Sources per generation; two generations are kept, about 100 bytes each.
const MAX_SOURCES: usize = 8192;

const COST: Duration = Duration::from_secs(WINDOW.as_secs() / BURST as u64);

/// Who is limited together: one IPv4 address, or one IPv6 /64, since a single subscriber owns that many addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address.
    V6([u8; 8]),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Counts failed guesses by source.
///
/// Each failure pushes the source's `debt_until` the cost of one guess into the future (a leaky bucket that stores one instant).
/// Nobody is remembered longer than two windows, and a flood of sources pushes out the oldest ones only.
#[derive(Debug, Default)]
pub struct GuessLimiter {
    recent: HashMap<Source, Instant>,
    older: HashMap<Source, Instant>,
    recent_since: Option<Instant>,
}

impl GuessLimiter {
    /// How long `source` must wait before a guess is looked at, or `None` if it may guess.
    pub fn refuses(&self, now: Instant, source: Source) -> Option<Duration> {
        let debt = self.debt(now, source);
        // One more failure must fit into the window.
        (debt + COST)
            .checked_sub(WINDOW)
            .filter(|wait| !wait.is_zero())
    }

    /// Counts a wrong guess; returns whether it was the one that used up the allowance.
    pub fn count_failure(&mut self, now: Instant, source: Source) -> bool {
        let was_free = self.refuses(now, source).is_none();
        let debt_until = now + (self.debt(now, source) + COST).min(WINDOW);
        self.rotate(now);
        self.recent.insert(source, debt_until);
        was_free && self.refuses(now, source).is_some()
    }

    fn debt(&self, now: Instant, source: Source) -> Duration {
        self.recent
            .get(&source)
            .or_else(|| self.older.get(&source))
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// A debt lasts at most a window after the failure that made it, so what has aged a window in `older` is void.
    fn rotate(&mut self, now: Instant) {
        let since = *self.recent_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= WINDOW || self.recent.len() >= MAX_SOURCES {
            self.older = std::mem::take(&mut self.recent);
            self.recent_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;
    use proptest::prelude::*;

    fn source(text: &str) -> Source {
        Source::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn the_tenth_failure_closes_and_one_guess_is_forgiven_every_six_seconds() {
        let mut limiter = GuessLimiter::default();
        let source = source("198.51.100.1");
        for n in 1..=10 {
            assert_eq!(limiter.refuses(t0(), source), None);
            assert_eq!(limiter.count_failure(t0(), source), n == 10);
        }
        assert_eq!(limiter.refuses(t0(), source), Some(Duration::from_secs(6)));
        let later = t0() + Duration::from_secs(6);
        assert_eq!(limiter.refuses(later, source), None);
        assert!(limiter.count_failure(later, source));
        assert!(limiter.refuses(later, source).is_some());
        assert_eq!(limiter.refuses(later + WINDOW, source), None);
    }

    #[test]
    fn a_v6_subscriber_is_one_source_and_mapped_v4_is_v4() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:198.51.100.1"), source("198.51.100.1"));
    }

    #[test]
    fn memory_is_bounded_however_many_sources_guess() {
        let mut limiter = GuessLimiter::default();
        for n in 0..100_000_u32 {
            limiter.count_failure(t0(), Source::V4(n.to_be_bytes()));
        }
        assert!(limiter.recent.len() + limiter.older.len() <= 2 * MAX_SOURCES);
    }

    proptest! {
        #[test]
        fn no_minute_sees_more_than_twice_the_burst_looked_at(gaps in proptest::collection::vec(0_u64..5000, 1..300)) {
            let mut limiter = GuessLimiter::default();
            let source = source("198.51.100.1");
            let mut now = t0();
            let mut looked_at = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                if limiter.refuses(now, source).is_none() {
                    limiter.count_failure(now, source);
                    looked_at.push(now);
                }
            }
            for (index, start) in looked_at.iter().enumerate() {
                let within = looked_at[index..].iter().take_while(|at| **at < *start + WINDOW).count();
                prop_assert!(within < 2 * BURST as usize, "{within}");
            }
        }
    }
}
