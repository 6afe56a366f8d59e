//! Logs and counters.

pub mod counters;
pub mod log;

pub use counters::{Counter, Counters};
