//! The STUN/TURN server on 3478 (RFC 8489, RFC 8656): Binding is answered, allocations are refused.

mod answer_budget;
mod server;

pub use server::{Counters, MAX_ANSWER_LEN, Server};
