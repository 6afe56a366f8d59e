//! Sockets in batches, streams, demultiplexing (RFC 7983), addresses of this host.

pub mod addresses;
pub mod demux;
pub mod framing;
pub mod interfaces;
pub mod port;
pub mod stream;
pub mod udp;
