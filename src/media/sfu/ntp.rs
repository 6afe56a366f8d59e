//! Time as RTP and NTP count it (RFC 3550 section 4).

use std::time::{Duration, Instant};

/// The time of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    /// Since the router began.
    pub(crate) since: Duration,
}

/// `duration` as seconds with 32 bits before and 32 behind the point.
pub(crate) fn ntp_duration(duration: Duration) -> u64 {
    (duration.as_secs() << 32) | ((u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000)
}

/// The middle 32 bits of an NTP time, as LSR and DLSR have them (RFC 3550 section 6.4.1).
pub(crate) const fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// `units` 65536ths of a second.
pub(crate) fn from_middle(units: u32) -> Duration {
    Duration::from_nanos((u64::from(units) * 1_000_000_000) >> 16)
}

/// `duration` in units of a media clock, wrapping as RTP timestamps do.
pub(crate) fn media_units(duration: Duration, clock_rate: u32) -> u32 {
    (duration.as_nanos() * u128::from(clock_rate) / 1_000_000_000) as u32
}

/// The abs-send-time extension: 6 bits of seconds and 18 of their fraction, since any epoch.
pub(crate) fn abs_send_time(since: Duration) -> [u8; 3] {
    let [.., a, b, c] = ((ntp_duration(since) >> 14) as u32).to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_convert() {
        assert_eq!(ntp_duration(Duration::from_millis(1500)), 0x1_8000_0000);
        assert_eq!(middle(0x1_8000_0000), 0x1_8000);
        assert_eq!(from_middle(0x1_8000), Duration::from_millis(1500));
        assert_eq!(media_units(Duration::from_millis(20), 48_000), 960);
        assert_eq!(abs_send_time(Duration::from_millis(1500)), [0x06, 0, 0]);
        assert_eq!(abs_send_time(Duration::from_secs(65)), [0x04, 0, 0]);
    }
}
