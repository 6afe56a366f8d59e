//! The only place that reads the clocks. Cores never do: they take `now` as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Returns the monotonic time.
pub fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the monotonic clock"
    )]
    Instant::now()
}

/// Returns the wall-clock time in milliseconds since the Unix epoch, 0 if the clock is before it.
pub fn wall_ms() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the wall clock"
    )]
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
