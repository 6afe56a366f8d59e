//! RTCP (RFC 3550 section 6), reference times (RFC 3611), feedback messages (RFC 4585, RFC 5104) and two extensions: REMB
//! (draft-alvestrand-rmcat-remb-03) and transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! Written with `rtc-rtcp`, whose allocations do not matter a few times a second. Read with readers of our own: a
//! thousand subscribers send tens of thousands of packets a second of which most are skipped, and `rtc-rtcp` allocates
//! by counts that the sender claims before it has checked them.

pub mod compound;
pub mod transport_wide;
pub mod writer;

pub use compound::{
    Compound, NackedSequences, Packet, ReferenceReply, ReportBlock, ReportBlocks, SenderInfo,
};
pub use writer::Writer;
