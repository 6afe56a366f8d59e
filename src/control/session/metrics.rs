//! How many sessions, participants and streams there are, and were.

use crate::units::Count;
use crate::views::metric::Family;

/// What all sessions of the process have in common: numbers that only grow, two for whatever comes and goes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sessions: Passage,
    pub(super) participants: Passage,
    pub(super) streams: Passage,
    pub(super) subscriptions: Passage,
}

/// What comes and goes.
#[derive(Debug, Default)]
pub(super) struct Passage {
    come: Count,
    gone: Count,
}

impl Passage {
    pub(super) fn come(&self) {
        self.come.one();
    }

    pub(super) fn go(&self, many: u64) {
        self.gone.add(many);
    }

    fn present(&self) -> u64 {
        // Read in this order, nothing can have gone that has not come.
        let gone = self.gone.get();
        self.come.get().saturating_sub(gone)
    }
}

/// What one session has added to the [`Tally`] and not taken back.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) participants: u64,
    pub(super) streams: u64,
    pub(super) subscriptions: u64,
}

impl Tally {
    /// A session has ended, however it ended: what was left of it is gone.
    pub(super) fn end(&self, share: &Share) {
        self.sessions.go(1);
        self.participants.go(share.participants);
        self.streams.go(share.streams);
        self.subscriptions.go(share.subscriptions);
    }

    /// Everything as metrics; `panics` and `flooded` are counted beside.
    pub(super) fn families(&self, panics: u64, flooded: u64) -> Vec<Family> {
        let Self {
            sessions,
            participants,
            streams,
            subscriptions,
        } = self;
        let mut families = Vec::new();
        for (passage, name, help, total, total_help) in [
            (
                sessions,
                "hanok_sessions",
                "Sessions, those included that nobody has joined yet.",
                "hanok_sessions_total",
                "Sessions created.",
            ),
            (
                participants,
                "hanok_participants",
                "Connections that have joined a session.",
                "hanok_participants_total",
                "Connections that joined a session.",
            ),
            (
                streams,
                "hanok_streams",
                "Streams that are published.",
                "hanok_streams_total",
                "Streams published.",
            ),
            (
                subscriptions,
                "hanok_subscriptions",
                "Subscriptions to streams.",
                "hanok_subscriptions_total",
                "Subscriptions begun.",
            ),
        ] {
            families.push(Family::gauge(name, help, passage.present()));
            families.push(Family::counter(total, total_help, passage.come.get()));
        }
        families.push(Family::counter(
            "hanok_session_panics_total",
            "Bugs that ended a session and nothing else.",
            panics,
        ));
        families.push(Family::counter(
            "hanok_participants_flooded_total",
            "Absent participants for whom more notifications waited than are kept, so that they were evicted.",
            flooded,
        ));
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::metric::Value;

    #[test]
    fn what_a_session_leaves_behind_is_gone_with_it() {
        let tally = Tally::default();
        tally.sessions.come();
        tally.sessions.come();
        for _ in 0..3 {
            tally.participants.come();
            tally.streams.come();
        }
        tally.participants.go(1);
        let share = Share {
            participants: 2,
            streams: 1,
            subscriptions: 0,
        };
        tally.end(&share);
        let families = tally.families(1, 0);
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name == name);
            family.unwrap().samples[0].value
        };
        for (name, expected) in [
            ("hanok_sessions", 1),
            ("hanok_sessions_total", 2),
            ("hanok_participants", 0),
            ("hanok_participants_total", 3),
            ("hanok_streams", 2),
            ("hanok_session_panics_total", 1),
        ] {
            assert_eq!(value(name), Value::Whole(expected), "{name}");
        }
    }
}
