//! Foreign WebRTC stacks as independent oracles. Each oracle is a function here, a binary that prints its summary,
//! and a test.

pub mod dtls;
pub mod srtp;
pub mod turn;
