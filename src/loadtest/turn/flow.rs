//! One flow of numbered datagrams: how many are on their way, what came, twice or behind later ones. Sans-I/O.

/// A flow. Whatever is older than the latest arrival is no longer on its way: it has come, or is lost or late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// The number of the next datagram.
    next: u32,
    /// The lowest number that may still be on its way.
    settled: u32,
    /// Which of the 128 before that have come, the latest in the lowest bit.
    came: u128,
}

/// What an arrival is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The latest so far: so many are no longer on their way.
    Latest(u32),
    /// A later one came before it.
    Behind,
    /// It has come before.
    Again,
    /// It was never sent.
    Strange,
}

impl Flow {
    /// The number of a datagram that is sent now.
    pub(super) fn take(&mut self) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }

    /// Datagrams on their way.
    pub(super) const fn in_flight(&self) -> u32 {
        self.next.wrapping_sub(self.settled)
    }

    /// A datagram has come.
    pub(super) fn arrives(&mut self, number: u32) -> Arrival {
        let ahead = number.wrapping_sub(self.settled);
        if ahead < self.in_flight() {
            self.settle(ahead + 1);
            self.came |= 1;
            return Arrival::Latest(ahead + 1);
        }
        let back = self.settled.wrapping_sub(number).wrapping_sub(1);
        if back > u32::MAX / 2 {
            return Arrival::Strange;
        }
        let Some(bit) = 1_u128.checked_shl(back) else {
            // Too old to be known.
            return Arrival::Behind;
        };
        if self.came & bit != 0 {
            return Arrival::Again;
        }
        self.came |= bit;
        Arrival::Behind
    }

    /// Nothing comes any more: what is on its way counts as lost. Returns how many that are.
    pub(super) fn give_up(&mut self) -> u32 {
        let lost = self.in_flight();
        self.settle(lost);
        lost
    }

    fn settle(&mut self, more: u32) {
        self.settled = self.settled.wrapping_add(more);
        self.came = self.came.checked_shl(more).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(count: u32) -> Flow {
        let mut flow = Flow::default();
        for number in 0..count {
            assert_eq!(flow.take(), number);
        }
        flow
    }

    #[test]
    fn what_a_later_one_overtakes_is_no_longer_on_its_way() {
        let mut flow = sent(5);
        assert_eq!(flow.in_flight(), 5);
        assert_eq!(flow.arrives(2), Arrival::Latest(3));
        assert_eq!(flow.in_flight(), 2);
        assert_eq!(flow.arrives(1), Arrival::Behind);
        assert_eq!(flow.arrives(1), Arrival::Again);
        assert_eq!(flow.arrives(2), Arrival::Again);
        assert_eq!(flow.arrives(5), Arrival::Strange);
        assert_eq!(flow.arrives(4), Arrival::Latest(2));
        assert_eq!(flow.in_flight(), 0);
    }

    #[test]
    fn what_is_given_up_makes_room_and_is_late_if_it_comes_after_all() {
        let mut flow = sent(300);
        assert_eq!(flow.arrives(0), Arrival::Latest(1));
        assert_eq!(flow.give_up(), 299);
        assert_eq!((flow.in_flight(), flow.give_up()), (0, 0));
        assert_eq!(flow.arrives(299), Arrival::Behind);
        assert_eq!(flow.arrives(299), Arrival::Again);
        // Beyond what is remembered.
        assert_eq!(flow.arrives(0), Arrival::Behind);
    }

    proptest! {
        #[test]
        fn each_is_counted_once_in_whatever_order_they_come(
            start in any::<u32>(),
            order in Just((0..100_u32).collect::<Vec<_>>()).prop_shuffle(),
            twice in 0..100_u32,
        ) {
            let mut flow = Flow { next: start, settled: start, came: 0 };
            for _ in 0..100 {
                flow.take();
            }
            let (mut new, mut freed) = (0, 0);
            for ahead in order {
                match flow.arrives(start.wrapping_add(ahead)) {
                    Arrival::Latest(more) => {
                        new += 1;
                        freed += more;
                    }
                    Arrival::Behind => new += 1,
                    Arrival::Again | Arrival::Strange => prop_assert!(false, "counted before"),
                }
            }
            prop_assert_eq!((new, freed, flow.in_flight()), (100, 100, 0));
            prop_assert_eq!(flow.arrives(start.wrapping_add(twice)), Arrival::Again);
        }
    }
}
