//! Who sent a request.

use std::net::IpAddr;

/// The client's address as the proxy decided it (`front/proxy/headers.rs`); travels as a request extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteAddr(pub IpAddr);
