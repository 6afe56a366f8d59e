//! Handshake messages put together from fragments in any order (RFC 6347 section 4.2.3).

use super::record::Fragment;

/// Messages that may be incomplete, or wait for an earlier one, at once.
const MAX_CANDIDATES: usize = 4;

/// Collects fragments; a message is known by its type, number and length, so that a forged length spoils no other.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// Least recently extended first: that one gives way.
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    kind: u8,
    number: u16,
    body: Vec<u8>,
    /// One bit for each byte of `body` that has arrived.
    arrived: Vec<u8>,
    missing: usize,
}

impl Reassembly {
    /// Adds a fragment. The caller has bounded the message's length.
    pub(super) fn add(&mut self, fragment: Fragment<'_>) {
        let position = self.candidates.iter().position(|candidate| {
            candidate.kind == fragment.kind
                && candidate.number == fragment.number
                && candidate.body.len() == fragment.total
        });
        let mut candidate = match position {
            Some(position) => self.candidates.remove(position),
            None => {
                if self.candidates.len() == MAX_CANDIDATES {
                    self.candidates.remove(0);
                }
                Candidate::new(fragment)
            }
        };
        candidate.add(fragment);
        self.candidates.push(candidate);
    }

    /// Takes the message of this type and number, once complete. Rival candidates of other lengths are kept: they may
    /// be the true one.
    pub(super) fn take(&mut self, kind: u8, number: u16) -> Option<Vec<u8>> {
        let position = self.candidates.iter().position(|candidate| {
            candidate.kind == kind && candidate.number == number && candidate.missing == 0
        })?;
        Some(self.candidates.remove(position).body)
    }

    /// Gives everything up.
    pub(super) fn clear(&mut self) {
        self.candidates = Vec::new();
    }

    /// Bytes of heap in use.
    pub(super) fn held_bytes(&self) -> usize {
        self.candidates.capacity() * size_of::<Candidate>()
            + self
                .candidates
                .iter()
                .map(|candidate| candidate.body.capacity() + candidate.arrived.capacity())
                .sum::<usize>()
    }
}

impl Candidate {
    fn new(fragment: Fragment<'_>) -> Self {
        Self {
            kind: fragment.kind,
            number: fragment.number,
            body: vec![0; fragment.total],
            arrived: vec![0; fragment.total.div_ceil(8)],
            missing: fragment.total,
        }
    }

    /// Of bytes that arrive twice the first stay.
    fn add(&mut self, fragment: Fragment<'_>) {
        let slots = self.body.iter_mut().enumerate().skip(fragment.offset);
        for ((at, slot), byte) in slots.zip(fragment.body) {
            let Some(bits) = self.arrived.get_mut(at / 8) else {
                return;
            };
            let bit = 1 << (at % 8);
            if *bits & bit == 0 {
                *bits |= bit;
                *slot = *byte;
                self.missing -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fragment(body: &[u8], offset: usize, len: usize) -> Fragment<'_> {
        Fragment {
            kind: 1,
            number: 0,
            total: body.len(),
            offset,
            body: &body[offset..offset + len],
        }
    }

    proptest! {
        #[test]
        fn fragments_in_any_order_with_any_overlap_make_the_message(
            body in proptest::collection::vec(any::<u8>(), 1..600),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..200), 0..40),
            size in 1usize..100,
            seed in any::<u64>(),
        ) {
            // A complete cover in an arbitrary order, mixed with overlapping pieces.
            let mut pieces: Vec<(usize, usize)> = (0..body.len())
                .step_by(size)
                .map(|at| (at, size.min(body.len() - at)))
                .collect();
            pieces.extend(cuts.iter().map(|(at, len)| {
                let at = at.index(body.len());
                (at, (*len).min(body.len() - at))
            }));
            let mut random = crate::units::Random::seeded(seed);
            for i in (1..pieces.len()).rev() {
                pieces.swap(i, random.u64() as usize % (i + 1));
            }
            let mut reassembly = Reassembly::default();
            let mut arrived = vec![false; body.len()];
            let mut done = None;
            for (at, len) in pieces {
                arrived[at..at + len].fill(true);
                reassembly.add(fragment(&body, at, len));
                done = reassembly.take(1, 0);
                prop_assert_eq!(done.is_some(), arrived.iter().all(|byte| *byte));
                if done.is_some() {
                    break;
                }
            }
            prop_assert_eq!(done, Some(body));
        }
    }

    #[test]
    fn a_forged_length_spoils_no_other_candidate() {
        let body = [7; 100];
        let forged = [9; 101];
        let mut reassembly = Reassembly::default();
        reassembly.add(fragment(&body, 0, 50));
        reassembly.add(fragment(&forged, 0, 101));
        reassembly.add(fragment(&body, 50, 50));
        assert_eq!(reassembly.take(1, 0), Some(forged.to_vec()));
        assert_eq!(reassembly.take(1, 0), Some(body.to_vec()));
        assert_eq!(reassembly.take(1, 0), None);
    }

    #[test]
    fn the_least_recently_extended_candidate_gives_way() {
        let mut reassembly = Reassembly::default();
        let bodies: Vec<Vec<u8>> = (100..105).map(|len| vec![1; len]).collect();
        for body in &bodies[..4] {
            reassembly.add(fragment(body, 0, 10));
        }
        reassembly.add(fragment(&bodies[0], 10, 10));
        reassembly.add(fragment(&bodies[4], 0, 10));
        reassembly.add(fragment(&bodies[0], 20, 80));
        assert_eq!(reassembly.take(1, 0), Some(bodies[0].clone()));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut reassembly = Reassembly::default();
        for len in 1_000..=4_096 {
            reassembly.add(fragment(&vec![1; len], 0, 1));
        }
        assert!(
            reassembly.held_bytes() <= 20 * 1024,
            "{}",
            reassembly.held_bytes()
        );
    }
}
