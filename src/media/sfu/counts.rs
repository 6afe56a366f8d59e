//! What the routers of a worker count together, for metrics: tracks come and go, these numbers only grow.
//!
//! Nothing here is counted packet by packet: what a packet costs when all goes well is counted by whoever sees batches.

use std::time::Duration;

use crate::units::{Count, Spread};

/// What has happened on all tracks.
#[derive(Debug, Default)]
pub struct Counts {
    /// Packets that left a gap when later ones arrived from a publisher.
    pub lost: Count,
    /// Of those, packets that arrived after all, late or retransmitted.
    pub recovered: Count,
    /// Packets of publishers refused: duplicates, too old, or not of the track's format.
    pub refused: Count,
    /// Packets that publishers were asked for again, once for each time.
    pub nacks_sent: Count,
    /// Key frames that publishers were asked for.
    pub key_frame_requests_sent: Count,
    /// Key frames that began.
    pub key_frames: Count,
    /// Packets that subscribers asked for again.
    pub nacks_received: Count,
    /// Packets that were sent to subscribers again.
    pub retransmissions: Count,
    /// Key frames that subscribers asked for.
    pub key_frame_requests_received: Count,
    /// Packets that subscribers have reported as lost on their way.
    pub lost_downstream: Count,
    /// Packets that a subscriber's transport could not take.
    pub unsent: Count,
    /// Round trips to publishers, as their replies to our reports tell.
    pub round_trips_up: Spread,
    /// Round trips to subscribers, as their reports tell.
    pub round_trips_down: Spread,
}

impl Counts {
    /// A subscriber's reports say that so many packets are lost in all, where they said `before`; duplicates make it
    /// less.
    pub(crate) fn reported_lost(&self, before: i32, now: i32) {
        let more = i64::from(now) - i64::from(before);
        self.lost_downstream.add(u64::try_from(more).unwrap_or(0));
    }

    /// A subscriber's report came back so long after ours had left.
    pub(crate) fn round_trip_down(&self, took: Duration) {
        self.round_trips_down.observe(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_subscriber_takes_back_is_not_counted() {
        let counts = Counts::default();
        for (before, now) in [(0, 3), (3, 2), (2, 7), (7, -1), (i32::MIN, i32::MIN)] {
            counts.reported_lost(before, now);
        }
        assert_eq!(counts.lost_downstream.get(), 8);
    }
}
