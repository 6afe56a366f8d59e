//! What tests share: the start of time, strategies, the simulated network, the simulated browser, special addresses, a
//! router's way out.

pub mod client;
pub mod fuzz;
pub mod net;
pub mod sink;
pub mod special_addresses;
pub mod tls;
pub mod turn;

use std::time::Instant;

/// The instant at which simulated time starts.
pub fn t0() -> Instant {
    use std::sync::OnceLock;
    static T0: OnceLock<Instant> = OnceLock::new();
    *T0.get_or_init(crate::units::clock::now)
}
