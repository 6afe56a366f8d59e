//! RTP (RFC 3550) header view, header extensions, RTCP, payload descriptors.

pub mod descriptor;
pub mod extension;
pub mod packet;
pub mod retransmission;
pub mod rtcp;

pub use extension::{ExtensionWriter, Extensions};
pub use packet::{Header, ParseError, RtpPacket};
