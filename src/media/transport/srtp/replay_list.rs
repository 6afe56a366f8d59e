//! The replay list (RFC 3711 section 3.3.2) as a ring of bit blocks (RFC 6479).

/// Which of the newest packet indices were received: a window of `(BLOCKS - 1) * 64` indices.
///
/// One block more than the window is kept, so that moving on clears whole blocks and never shifts.
#[derive(Debug)]
pub(super) struct ReplayList<const BLOCKS: usize> {
    newest: Option<u64>,
    seen: [u64; BLOCKS],
}

impl<const BLOCKS: usize> Default for ReplayList<BLOCKS> {
    fn default() -> Self {
        Self {
            newest: None,
            seen: [0; BLOCKS],
        }
    }
}

impl<const BLOCKS: usize> ReplayList<BLOCKS> {
    const WIDTH: u64 = (BLOCKS as u64 - 1) * 64;

    /// The highest index received.
    pub(super) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// Returns whether `index` is neither received already nor older than the window.
    pub(super) fn admits(&self, index: u64) -> bool {
        let Some(newest) = self.newest else {
            return true;
        };
        index > newest
            || (newest - index < Self::WIDTH && self.seen[block(index, BLOCKS)] & bit(index) == 0)
    }

    /// Marks `index` as received, and moves the window if it is the newest. Only for an authentic packet that
    /// [`Self::admits`] let pass.
    pub(super) fn insert(&mut self, index: u64) {
        match self.newest {
            None => self.newest = Some(index),
            Some(newest) if index > newest => {
                let entered = (index / 64 - newest / 64).min(BLOCKS as u64);
                for step in 1..=entered {
                    self.seen[block(newest + 64 * step, BLOCKS)] = 0;
                }
                self.newest = Some(index);
            }
            Some(_) => {}
        }
        self.seen[block(index, BLOCKS)] |= bit(index);
    }
}

fn block(index: u64, blocks: usize) -> usize {
    ((index / 64) % blocks as u64) as usize
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const WIDTH: u64 = ReplayList::<4>::WIDTH;

    #[test]
    fn an_index_passes_once() {
        let mut list = ReplayList::<4>::default();
        assert!(list.admits(0));
        list.insert(0);
        assert!(!list.admits(0));
        assert!(list.admits(1));
    }

    #[test]
    fn the_window_ends_exactly_at_its_width() {
        let mut list = ReplayList::<4>::default();
        list.insert(10_000);
        assert!(list.admits(10_000 - WIDTH + 1));
        assert!(!list.admits(10_000 - WIDTH));
    }

    #[test]
    fn the_window_for_rtp_is_wider_than_1024() {
        assert_eq!(ReplayList::<32>::WIDTH, 1_984);
    }

    proptest! {
        /// A set without bounds is the model.
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec(-300_i64..300, 1..400)) {
            let mut list = ReplayList::<4>::default();
            let mut received = BTreeSet::new();
            let mut at = 5_000_i64;
            for step in steps {
                at = (at + step).max(0);
                let index = at as u64;
                let newest = received.last().copied().unwrap_or(0);
                let expected = !received.contains(&index) && index + WIDTH > newest;
                prop_assert_eq!(list.admits(index), expected);
                if expected {
                    list.insert(index);
                    received.insert(index);
                }
                prop_assert_eq!(list.newest(), received.last().copied());
            }
        }
    }
}
