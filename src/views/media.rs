//! Counters of the packet path, since the track began.

use serde::Serialize;

/// One incoming track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProducerStats {
    /// Packets that carried media, recovered ones included.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that left a gap when later ones arrived.
    pub lost: u64,
    /// Of those, packets that arrived after all, late or retransmitted.
    pub recovered: u64,
    /// Packets refused: duplicates, too old, or not of the track's format.
    pub refused: u64,
    /// Packets that we asked for again, counted once for each time.
    pub nacks: u64,
    /// Key frames that we asked for.
    pub key_frame_requests: u64,
    /// Key frames that began.
    pub key_frames: u64,
}

/// One outgoing copy of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerStats {
    /// Packets sent for the first time.
    pub packets: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Packets that the transport could not take.
    pub refused: u64,
    /// Packets that the subscriber asked for again.
    pub nacks: u64,
    /// Packets sent again.
    pub retransmissions: u64,
    /// Key frames that the subscriber asked for.
    pub key_frame_requests: u64,
    /// Loss since the start, as the subscriber reports it.
    pub lost: i32,
    /// Loss lately, as the subscriber reports it, in 256ths.
    pub fraction_lost: u8,
    /// Interarrival jitter as the subscriber reports it, in units of the media clock.
    pub jitter: u32,
    /// Round-trip time to the subscriber in microseconds; 0 while unknown.
    pub round_trip_us: u64,
}
