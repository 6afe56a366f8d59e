//! The WebSockets of clients, as metrics.

use crate::units::Count;
use crate::views::metric::Family;

/// What has become of sockets.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) opened: Count,
    /// Their clients read too slowly.
    pub(super) overflowed: Count,
}

impl Tally {
    /// Everything as metrics; how many are open, and how many a bug has ended, is counted beside.
    pub(super) fn families(&self, open: usize, panics: u64) -> Vec<Family> {
        vec![
            Family::gauge(
                "hanok_websockets",
                "WebSockets of clients that are open.",
                open,
            ),
            Family::counter(
                "hanok_websockets_total",
                "WebSockets that clients opened.",
                self.opened.get(),
            ),
            Family::counter(
                "hanok_websockets_overflowed_total",
                "WebSockets closed because their client read too slowly.",
                self.overflowed.get(),
            ),
            Family::counter(
                "hanok_websocket_panics_total",
                "Bugs that ended a WebSocket and nothing else.",
                panics,
            ),
        ]
    }
}
