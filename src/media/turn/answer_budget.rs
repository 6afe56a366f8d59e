//! How much more we may send to an address that nobody has proved to be the sender's (reflection).

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::units::Random;

/// Bytes that a source may receive beyond what it sent, at once.
const BURST: u64 = 64 * 1024;

/// Bytes per second that it earns back.
const REFILL: u64 = 8 * 1024;

/// Sources that share a slot share its budget; a fixed size is what makes spoofed sources cost nothing.
const SLOTS: usize = 8 * 1024;

/// How long a source that answered a challenge needs no budget.
const PROVED_FOR: Duration = Duration::from_secs(60);

/// Leaky buckets by source, one per /32 or /64, in a fixed-size table indexed by a keyed hash.
///
/// A bucket is kept as the moment at which it will be full again, which needs no rounding at any rate.
pub(super) struct AnswerBudget {
    epoch: Instant,
    key: [u8; 16],
    full_at: Box<[Duration]>,
    proved_until: Box<[Duration]>,
}

impl AnswerBudget {
    pub(super) fn new(now: Instant, random: &mut Random) -> Self {
        let mut key = [0; 16];
        random.fill(&mut key);
        Self {
            epoch: now,
            key,
            full_at: vec![Duration::ZERO; SLOTS].into_boxed_slice(),
            proved_until: vec![Duration::ZERO; SLOTS].into_boxed_slice(),
        }
    }

    /// Takes what `answer` bytes to `source` cost beyond the `request` bytes; false if that is not there.
    pub(super) fn spend(
        &mut self,
        now: Instant,
        source: IpAddr,
        request: usize,
        answer: usize,
    ) -> bool {
        let Some(cost) = answer.checked_sub(request).filter(|cost| *cost > 0) else {
            return true;
        };
        let now = now.saturating_duration_since(self.epoch);
        let slot = self.slot(source);
        if self
            .proved_until
            .get(slot)
            .is_some_and(|until| now < *until)
        {
            return true;
        }
        let Some(full_at) = self.full_at.get_mut(slot) else {
            return false;
        };
        let next = (*full_at).max(now) + refill_time(cost as u64);
        if next > now + refill_time(BURST) {
            return false;
        }
        *full_at = next;
        true
    }

    /// Notes that `source` has answered a challenge: it gets what is sent to it.
    pub(super) fn prove(&mut self, now: Instant, source: IpAddr) {
        let until = now.saturating_duration_since(self.epoch) + PROVED_FOR;
        let slot = self.slot(source);
        if let Some(proved_until) = self.proved_until.get_mut(slot) {
            *proved_until = until;
        }
    }

    fn slot(&self, source: IpAddr) -> usize {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        match source.to_canonical() {
            IpAddr::V4(ip) => ip.to_bits().hash(&mut hasher),
            IpAddr::V6(ip) => (ip.to_bits() >> 64).hash(&mut hasher),
        }
        hasher.finish() as usize % SLOTS
    }
}

impl fmt::Debug for AnswerBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerBudget(..)")
    }
}

fn refill_time(bytes: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000 / REFILL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));

    fn budget() -> AnswerBudget {
        AnswerBudget::new(t0(), &mut Random::seeded(1))
    }

    fn spend_all(budget: &mut AnswerBudget, now: Instant, source: IpAddr) -> u64 {
        std::iter::repeat_with(|| budget.spend(now, source, 20, 32))
            .take_while(|answered| *answered)
            .count() as u64
            * 12
    }

    #[test]
    fn a_source_gets_the_burst_and_then_the_refill() {
        let mut budget = budget();
        let at_once = spend_all(&mut budget, t0(), V4);
        assert!((BURST - 12..=BURST).contains(&at_once), "{at_once}");
        let later = spend_all(&mut budget, t0() + Duration::from_secs(1), V4);
        assert!((REFILL - 24..=REFILL + 12).contains(&later), "{later}");
        let full = spend_all(&mut budget, t0() + Duration::from_secs(1_000), V4);
        assert!((BURST - 12..=BURST).contains(&full), "{full}");
    }

    #[test]
    fn a_source_that_answered_a_challenge_is_exempt_for_a_minute() {
        let mut budget = budget();
        spend_all(&mut budget, t0(), V4);
        budget.prove(t0(), V4);
        let last = t0() + PROVED_FOR - Duration::from_nanos(1);
        assert!((0..10_000).all(|_| budget.spend(last, V4, 20, 96)));
        spend_all(&mut budget, t0() + PROVED_FOR, V4);
        assert!(!budget.spend(t0() + PROVED_FOR, V4, 20, 96));
    }

    #[test]
    fn an_answer_no_longer_than_its_request_is_free_and_earns_nothing() {
        let mut budget = budget();
        for _ in 0..100_000 {
            assert!(budget.spend(t0(), V4, 1_000, 32));
        }
        assert!(spend_all(&mut budget, t0(), V4) <= BURST);
        assert!(budget.spend(t0(), V4, 32, 32));
        assert!(!budget.spend(t0(), V4, 20, 32));
    }

    #[test]
    fn a_v6_source_is_its_64_and_a_mapped_one_its_v4_address() {
        let mut budget = budget();
        spend_all(&mut budget, t0(), "2001:db8:0:1::1".parse().unwrap());
        assert!(!budget.spend(t0(), "2001:db8:0:1:ffff::2".parse().unwrap(), 20, 44));
        assert!(budget.spend(t0(), "2001:db8:0:2::1".parse().unwrap(), 20, 44));
        spend_all(&mut budget, t0(), V4);
        assert!(!budget.spend(t0(), "::ffff:203.0.113.7".parse().unwrap(), 20, 32));
    }

    #[test]
    fn the_key_decides_who_shares_a_slot() {
        let slots = |seed| {
            let budget = AnswerBudget::new(t0(), &mut Random::seeded(seed));
            (0..64u32)
                .map(|ip| budget.slot(IpAddr::V4(ip.into())))
                .collect::<Vec<_>>()
        };
        assert_eq!(slots(1), slots(1));
        assert_ne!(slots(1), slots(2));
    }
}
