//! Sockets in batches, demultiplexing (RFC 7983), addresses of this host.

pub mod addresses;
pub mod interfaces;
