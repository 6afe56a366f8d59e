//! When it pays to look at the TURN server's sockets less often.
//!
//! Waking up costs several times what a small packet does. At a few thousand packets a second each of them would come
//! with a wake-up of its own; waiting a little lets several share one. Who talks little is not kept waiting, nor is
//! whoever fills batches anyway, nor the calls of our own media server.

use std::time::{Duration, Instant};

use crate::views::turn::TurnCounters;

/// How long the sockets are left alone; `ZERO` switches it off. What it adds to a packet's delay stays below a
/// millisecond, late wake-ups included.
const WAIT: Duration = Duration::from_micros(700);

/// Relayed packets per second from which on a wait gathers at least two.
const BRISK: u64 = 3_000;

/// Packets in one turn from which on they come in batches by themselves.
const BATCH: u64 = 64;

/// Over how long the rate is taken.
const WINDOW: Duration = Duration::from_millis(10);

/// How brisk the traffic through relay sockets is.
#[derive(Debug)]
pub(super) struct Pace {
    window_began: Instant,
    at_begin: TurnCounters,
    is_brisk: bool,
    /// Datagrams of clients and peers in this turn.
    in_turn: u64,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window_began: now,
            at_begin: TurnCounters::default(),
            is_brisk: false,
            in_turn: 0,
        }
    }

    /// Takes note of datagrams that a client or a peer has sent.
    pub(super) const fn count(&mut self, datagrams: u64) {
        self.in_turn += datagrams;
    }

    /// How long the sockets may be left alone after this turn.
    pub(super) fn wait(
        &mut self,
        now: Instant,
        counters: impl FnOnce() -> TurnCounters,
    ) -> Option<Duration> {
        let in_turn = std::mem::take(&mut self.in_turn);
        let elapsed = now.saturating_duration_since(self.window_began);
        if elapsed >= WINDOW {
            let counters = counters();
            self.is_brisk = is_brisk(&self.at_begin, &counters, elapsed);
            (self.window_began, self.at_begin) = (now, counters);
        }
        (self.is_brisk && (1..BATCH).contains(&in_turn) && !WAIT.is_zero()).then_some(WAIT)
    }
}

/// Whether relayed packets come often, and few of them are for our own media server.
fn is_brisk(before: &TurnCounters, after: &TurnCounters, elapsed: Duration) -> bool {
    let to_peers = after.packets_to_peers - before.packets_to_peers;
    let inside = after.packets_inside - before.packets_inside;
    let to_clients = after.packets_to_clients - before.packets_to_clients;
    let least = elapsed.as_micros() * u128::from(BRISK) / 1_000_000;
    inside * 4 <= to_peers && u128::from(to_peers + to_clients) >= least.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    fn counters(to_peers: u64, inside: u64, to_clients: u64) -> TurnCounters {
        TurnCounters {
            packets_to_peers: to_peers,
            packets_inside: inside,
            packets_to_clients: to_clients,
            ..TurnCounters::default()
        }
    }

    /// What is waited after a window with these counters and a turn with so many datagrams.
    fn wait(after: TurnCounters, in_turn: u64) -> Option<Duration> {
        let mut pace = Pace::new(t0());
        pace.count(in_turn);
        pace.wait(t0() + WINDOW, || after)
    }

    #[test]
    fn brisk_relaying_in_small_batches_is_gathered() {
        let least = BRISK / 100;
        for brisk in [
            counters(least, 0, 0),
            counters(0, 0, least),
            counters(20, 5, 10),
        ] {
            assert_eq!(wait(brisk, 1), Some(WAIT), "{brisk:?}");
            assert_eq!(wait(brisk, BATCH), None);
            assert_eq!(wait(brisk, 0), None, "nobody has called");
        }
        assert!(WAIT < Duration::from_millis(1));
    }

    #[test]
    fn who_talks_little_or_to_our_media_server_is_not_kept_waiting() {
        for slow in [
            counters(0, 0, 0),
            counters(BRISK / 100 - 1, 0, 0),
            counters(500, 500, 0),
            counters(10, 10, 5_000),
        ] {
            assert_eq!(wait(slow, 1), None, "{slow:?}");
        }
    }

    #[test]
    fn a_pause_ends_the_haste() {
        let mut pace = Pace::new(t0());
        pace.count(1);
        let busy = counters(1_000, 0, 0);
        assert_eq!(pace.wait(t0() + WINDOW, || busy), Some(WAIT));
        pace.count(1);
        assert_eq!(pace.wait(t0() + WINDOW * 100, || busy), None);
    }
}
