//! Whether the daemon does its work: what the service manager's watchdog is told (sd_notify(3), `WATCHDOG=1`).
//!
//! A media thread lives if its loop has gone round since the last look; each look ends by waking them all, so that an idle
//! one goes round, too. The control plane lives if the session directory has answered. Looks are a quarter of
//! `WATCHDOG_USEC` apart: whoever misses one is late, whoever misses all of them has the daemon restarted.

use std::fmt;
use std::time::Duration;

/// Looks in the time that the service manager waits.
const LOOKS: u32 = 4;

/// The time between two looks.
pub(super) fn interval(patience: Duration) -> Duration {
    patience / LOOKS
}

/// What the last look has seen.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    turns: Vec<u64>,
}

/// Who has not moved since the last look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// Media threads, by number.
    pub(super) workers: Vec<usize>,
    /// The session directory does not answer.
    pub(super) control: bool,
}

impl Standing {
    /// Everything moves.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty() && !self.control
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for worker in &self.workers {
            write!(f, "{separator}media thread {worker}")?;
            separator = ", ";
        }
        if self.control {
            write!(f, "{separator}the session directory")?;
        }
        Ok(())
    }
}

impl Watchdog {
    /// Takes note of how often each worker's loop has gone round, and whether the control plane has answered.
    pub(super) fn look(&mut self, turns: Vec<u64>, control_answers: bool) -> Standing {
        let before = |worker| self.turns.get(worker).copied().unwrap_or(0);
        let workers = turns
            .iter()
            .enumerate()
            .filter(|(worker, turns)| **turns == before(*worker))
            .map(|(worker, _)| worker)
            .collect();
        self.turns = turns;
        Standing {
            workers,
            control: !control_answers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_moved_since_the_last_look_lives_and_whoever_has_not_is_named() {
        let mut watchdog = Watchdog::default();
        assert!(watchdog.look(vec![1, 700], true).is_empty());
        assert!(watchdog.look(vec![2, 900], true).is_empty());
        let standing = watchdog.look(vec![3, 900], true);
        assert_eq!(standing.workers, [1]);
        assert_eq!(standing.to_string(), "media thread 1");
        let standing = watchdog.look(vec![3, 900], false);
        assert_eq!(
            standing.to_string(),
            "media thread 0, media thread 1, the session directory"
        );
        // Late is not dead.
        assert!(watchdog.look(vec![4, 901], true).is_empty());
    }

    #[test]
    fn a_worker_that_never_began_stands() {
        let mut watchdog = Watchdog::default();
        assert_eq!(watchdog.look(vec![0, 1], true).workers, [0]);
    }

    #[test]
    fn a_single_missed_look_leaves_time_for_the_next() {
        let patience = Duration::from_secs(20);
        assert!(interval(patience) * 3 < patience);
    }
}
