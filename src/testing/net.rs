//! A seeded network in virtual time: loses, delays, reorders and repeats datagrams, always the same way for a seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::units::Random;

/// What the network does to datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// One-way delay, drawn for each datagram; a wide range reorders.
    pub delay: RangeInclusive<Duration>,
    /// Datagrams lost, of a thousand.
    pub loss_per_mille: u32,
    /// Datagrams that arrive twice, of a thousand; the copy has a delay of its own.
    pub repeat_per_mille: u32,
}

impl Conditions {
    /// Loses nothing, keeps the order, 10 ms one way.
    pub fn good() -> Self {
        let delay = Duration::from_millis(10);
        Self {
            delay: delay..=delay,
            loss_per_mille: 0,
            repeat_per_mille: 0,
        }
    }

    /// As [`Conditions::good`], with so many of a thousand datagrams lost.
    pub fn lossy(loss_per_mille: u32) -> Self {
        Self {
            loss_per_mille,
            ..Self::good()
        }
    }
}

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The sender as the receiver sees it.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// The network. A panic while it exists prints the seed that repeats the run.
#[derive(Debug)]
pub struct Net {
    seed: u64,
    random: Random,
    conditions: Conditions,
    /// By time of arrival, then in the order of sending.
    in_flight: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
}

impl Net {
    /// A network.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            seed,
            random: Random::seeded(seed),
            conditions,
            in_flight: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Changes what happens to datagrams sent from here on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Sends a datagram, which may get lost.
    pub fn send(&mut self, now: Instant, datagram: Datagram) {
        if self.happens(self.conditions.loss_per_mille) {
            return;
        }
        if self.happens(self.conditions.repeat_per_mille) {
            self.put_on_its_way(now, datagram.clone());
        }
        self.put_on_its_way(now, datagram);
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.keys().next().map(|(at, _)| *at)
    }

    /// The next datagram that has arrived by `now`.
    pub fn receive(&mut self, now: Instant) -> Option<Datagram> {
        let entry = self.in_flight.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    fn happens(&mut self, per_mille: u32) -> bool {
        per_mille > 0 && self.random.u64() % 1_000 < u64::from(per_mille)
    }

    fn put_on_its_way(&mut self, now: Instant, datagram: Datagram) {
        let (least, most) = (*self.conditions.delay.start(), *self.conditions.delay.end());
        let spread = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        let jitter = match spread {
            0 => 0,
            spread => self.random.u64() % spread.saturating_add(1).max(1),
        };
        let arrival = now + least + Duration::from_micros(jitter);
        self.in_flight.insert((arrival, self.sent), datagram);
        self.sent += 1;
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        #[expect(
            clippy::print_stderr,
            reason = "whoever reads a failed test needs the seed"
        )]
        if std::thread::panicking() {
            eprintln!(
                "simulated network: seed {}, {:?}",
                self.seed, self.conditions
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    fn deliver(seed: u64, conditions: Conditions) -> Vec<(Duration, u8)> {
        let mut net = Net::new(seed, conditions);
        for number in 0..100 {
            let datagram = Datagram {
                from: ([10, 0, 0, 1], 1).into(),
                to: ([10, 0, 0, 2], 2).into(),
                bytes: vec![number],
            };
            net.send(t0() + Duration::from_millis(number.into()), datagram);
        }
        let mut arrived = Vec::new();
        while let Some(at) = net.next_arrival() {
            while let Some(datagram) = net.receive(at) {
                arrived.push((at - t0(), datagram.bytes[0]));
            }
        }
        arrived
    }

    fn bad() -> Conditions {
        Conditions {
            delay: Duration::from_millis(5)..=Duration::from_millis(50),
            loss_per_mille: 200,
            repeat_per_mille: 100,
        }
    }

    #[test]
    fn a_good_network_delivers_everything_in_order_after_its_delay() {
        let arrived = deliver(1, Conditions::good());
        let expected: Vec<_> = (0..100)
            .map(|number: u8| (Duration::from_millis(u64::from(number) + 10), number))
            .collect();
        assert_eq!(arrived, expected);
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        assert_eq!(deliver(1, bad()), deliver(1, bad()));
        assert_ne!(deliver(1, bad()), deliver(2, bad()));
    }

    #[test]
    fn a_bad_network_loses_repeats_and_reorders() {
        let arrived = deliver(3, bad());
        let count = |number| arrived.iter().filter(|(_, it)| *it == number).count();
        assert!((0..100).any(|number| count(number) == 0));
        assert!((0..100).any(|number| count(number) == 2));
        assert!(arrived.windows(2).any(|pair| pair[0].1 > pair[1].1));
    }
}
