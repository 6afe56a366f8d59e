//! Sockets in batches, demultiplexing (RFC 7983), addresses of this host.

pub mod addresses;
pub mod demux;
pub mod interfaces;
pub mod port;
pub mod udp;
