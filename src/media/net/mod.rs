//! Sockets in batches, demultiplexing (RFC 7983), addresses of this host.

pub mod demux;
pub mod udp;
