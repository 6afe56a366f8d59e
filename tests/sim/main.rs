//! Cores against each other over a seeded network, in virtual time; and what they cost in memory and in real time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod call;
mod client_hello;
mod constant_time;
mod failures;
mod forgery;
mod handshake;
mod ice;
mod media;
mod memory;
mod restart;
mod silence;
mod turn_cycles;
mod wire;
