//! What OpenVidu is: decides, never touches a packet.

pub mod access;
pub mod rest;
pub mod session;
pub mod signalling;
pub mod store;
