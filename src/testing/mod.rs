//! What tests share: the start of time, strategies, the simulated network, the simulated browser.

pub mod client;
pub mod fuzz;
pub mod net;
pub mod tls;
pub mod turn;

use std::time::Instant;

/// The instant at which simulated time starts.
pub fn t0() -> Instant {
    use std::sync::OnceLock;
    static T0: OnceLock<Instant> = OnceLock::new();
    *T0.get_or_init(crate::units::clock::now)
}
