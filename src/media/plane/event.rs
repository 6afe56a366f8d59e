//! What a worker tells the control plane.

use crate::media::plane::TransportId;

/// Something that happened in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The transport that it is about; `None` if it is the whole room.
    pub transport: Option<TransportId>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// ICE and DTLS are done and media can flow.
    Connected,
    /// The transport is gone; the worker has already forgotten it.
    Failed(FailureReason),
    /// Nothing authentic has arrived on the transport for eight seconds: browsers check at least every six.
    WentQuiet,
    /// Something authentic has arrived on a transport that went quiet.
    HeardAgain,
    /// How well a publisher's media gets here, 5 (excellent) to 0 (lost); sent when it changes.
    Quality(u8),
    /// A bug ended the whole room; the worker has already forgotten it (`design` section 2, containment).
    RoomFailed,
}

/// Why a transport ended without a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureReason {
    /// No authenticated Binding request for 30 s.
    IceTimeout,
    /// The DTLS handshake did not finish within its deadline.
    DtlsTimeout,
    /// The DTLS handshake failed, for example for want of a common cipher suite.
    DtlsFailed,
    /// The certificate matches no fingerprint of the remote description.
    FingerprintMismatch,
    /// The browser closed the association.
    ClosedByPeer,
    /// The worker has no room for another transport.
    Exhausted,
    /// A bug ended this transport alone.
    Panicked,
}

impl FailureReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::IceTimeout,
        Self::DtlsTimeout,
        Self::DtlsFailed,
        Self::FingerprintMismatch,
        Self::ClosedByPeer,
        Self::Exhausted,
        Self::Panicked,
    ];

    /// Its word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IceTimeout => "ice_timeout",
            Self::DtlsTimeout => "dtls_timeout",
            Self::DtlsFailed => "dtls_failed",
            Self::FingerprintMismatch => "fingerprint_mismatch",
            Self::ClosedByPeer => "closed_by_peer",
            Self::Exhausted => "exhausted",
            Self::Panicked => "panicked",
        }
    }
}
