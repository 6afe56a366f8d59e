//! DTLS (RFC 6347) with SRTP keys (RFC 5764): the trait that an implementation fits behind, and the stage in front.

mod admission;
mod client_hello;
mod dimpl;
mod only_profile;
mod reassembly;
mod record;

use std::time::Instant;

use secrecy::SecretSlice;

use super::Identity;
use super::srtp::Profile;

pub(super) use admission::Admission;
pub use client_hello::Offer;
use dimpl::Dimpl;
pub(super) use dimpl::{config, config_offering_only};
pub(super) use record::fatal_alert;

/// Bytes in a client's Certificate message; browsers send one self-signed certificate of a few hundred.
const MAX_CERTIFICATE_MESSAGE: usize = 4_096;

/// Bytes in a datagram that is looked at, and room for whatever an association sends; browsers keep to 1,500.
pub const MAX_DATAGRAM: usize = MAX_CERTIFICATE_MESSAGE + 512;

/// Who begins (RFC 8842 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Waits for a ClientHello (`a=setup:passive`).
    Server,
    /// Sends one (`a=setup:active`) as soon as time passes. No transport of the daemon does: load tests do.
    Client,
}

/// An association that has not begun.
pub fn associate(now: Instant, identity: &Identity, role: Role) -> Box<dyn Association> {
    Box::new(Dimpl::new(now, identity, role))
}

/// The version that was negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RFC 6347
    Dtls1_2,
}

/// What the handshake was for.
#[derive(Debug)]
pub struct Keys {
    /// The SRTP profile.
    pub profile: Profile,
    /// The version that was negotiated.
    pub version: Version,
    /// The exporter's output: client key, server key, client salt, server salt (RFC 5764 section 4.2).
    pub material: SecretSlice<u8>,
}

/// What an association yields, in the order in which it must be taken.
#[derive(Debug)]
pub enum Event {
    /// To be sent.
    Transmit(Vec<u8>),
    /// The peer's certificate in DER, before anything is sent that depends on it. Whoever dislikes it drops the
    /// association at once: then the peer never believes that it is connected.
    PeerCertificate(Vec<u8>),
    /// The handshake is done.
    Established(Keys),
    /// An authenticated `close_notify` (RFC 5246 section 7.2.1).
    ClosedByPeer,
}

/// Why an association is over. Every error is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The peer fell silent.
    #[error("the handshake was not answered in time")]
    Timeout,
    /// There is nothing in common with the peer, or it broke the protocol.
    #[error("the handshake failed")]
    Protocol,
}

/// One DTLS association, sans-I/O. [`Association::poll_event`] is drained after every call that changes it, also
/// after a failure: an alert may be left to send.
pub trait Association: std::fmt::Debug + Send {
    /// Takes a datagram.
    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Fatal>;

    /// Lets time pass; spurious calls are harmless.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), Fatal>;

    /// When [`Association::handle_timeout`] is due, as of the last call.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next event.
    fn poll_event(&mut self) -> Option<Event>;

    /// Queues a `close_notify` where there are keys for it.
    fn close(&mut self, now: Instant);
}

/// What happened to one transport's DTLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Datagrams that arrived from validated addresses.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// ClientHello fragments; browsers need two for theirs.
    pub client_hello_fragments: u64,
    /// Whole repetitions of the ClientHello.
    pub client_hello_repeats: u64,
    /// ClientHellos other than the one that began the handshake, dropped.
    pub foreign_client_hellos: u64,
    /// ClientHello fragments after the handshake, dropped.
    pub late_client_hellos: u64,
    /// Plaintext alerts, dropped: nobody vouches for them.
    pub plaintext_alerts: u64,
    /// Records that an honest client does not send at that point, dropped.
    pub unexpected_records: u64,
    /// Records or messages whose lengths contradict each other, dropped.
    pub malformed_records: u64,
    /// Records with the unified header of DTLS 1.3, which was not negotiated, dropped.
    pub unified_records: u64,
    /// What the client offered.
    pub offer: Option<Offer>,
    /// The version that was negotiated.
    pub version: Option<Version>,
    /// The SRTP profile that was negotiated.
    pub profile: Option<Profile>,
    /// Time from the first fragment of the ClientHello to the keys.
    pub handshake: Option<std::time::Duration>,
}
