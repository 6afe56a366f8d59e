//! Foreign WebRTC stacks: as independent oracles, and as clients of a daemon. Each is a function here and a test; oracles
//! are also binaries that print a summary.

pub mod call;
pub mod dtls;
pub mod house;
pub mod srtp;
pub mod turn;
pub mod turn_client;
