//! What faces the web: TLS and HTTP only.

pub mod dashboard;
pub mod proxy;
