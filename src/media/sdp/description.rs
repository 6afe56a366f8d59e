//! What a negotiation needs and yields, without any SDP text.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::units::{Bitrate, Codec, Track};

/// An ICE user name fragment and password (RFC 8839 section 5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// `a=ice-ufrag`, 4 to 256 characters.
    pub ufrag: String,
    /// `a=ice-pwd`, 22 to 256 characters.
    pub pwd: String,
}

/// A certificate fingerprint (RFC 8122 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The hash function's name in lower case, for example `sha-256`.
    pub hash: String,
    /// The digest.
    pub digest: Vec<u8>,
}

/// A host candidate of ours (RFC 8839 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where clients send their checks.
    pub addr: SocketAddr,
    /// Passive TCP (RFC 6544) instead of UDP.
    pub tcp: bool,
    /// Position in the list of addresses, 0 is preferred: decides the local preference of the priority.
    pub rank: u16,
}

/// Our end of a transport, as written into an offer or answer.
#[derive(Debug, Clone)]
pub struct LocalTransport {
    /// Our ICE credentials for this transport alone.
    pub ice: IceCredentials,
    /// SHA-256 of the process's DTLS certificate.
    pub fingerprint: Fingerprint,
    /// The worker's addresses, best first.
    pub candidates: Arc<[Candidate]>,
}

/// The browser's end of a transport, as read from its offer or answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteTransport {
    /// Its ICE credentials; the password is never needed by an ICE-lite agent that sends no checks.
    pub ice: IceCredentials,
    /// Every `a=fingerprint` that its certificate may match; never empty.
    pub fingerprints: Vec<Fingerprint>,
}

/// Which codecs a negotiation may end with, and how much a publisher may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CodecPolicy {
    /// Only this video codec (OpenVidu's forced codec, `openvidu-signalling` 11.4).
    pub forced_video: Option<Codec>,
    /// If the forced codec is not offered, accept another instead of refusing (`allowTranscoding`).
    pub fall_back: bool,
    /// The most video that the other end may send to us; `None` is unlimited.
    pub max_receive: Option<Bitrate>,
}

/// Why an offer or answer was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The text is not SDP, breaks one of our bounds, or contradicts itself.
    #[error("{0}")]
    Malformed(String),
    /// The forced codec, or the codec that the publisher sends, is not in the description: error 800.
    #[error("codec {codec} is not in the session description")]
    CodecMissing {
        /// The encoding name that was looked for.
        codec: &'static str,
    },
    /// The peer wants to be DTLS server, but we are (design D4).
    #[error("a=setup:{0} is not supported: an offer must say actpass or active, an answer active")]
    DtlsRole(String),
    /// The answer is to another offer of ours.
    #[error("the answer has a=mid:{answered}, which is not in the offer")]
    OtherOffer {
        /// What the answer says.
        answered: String,
    },
}

/// A publisher's offer, answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publishing {
    /// Our answer, `recvonly`, or `sendrecv` where its media goes back to it.
    pub answer: String,
    /// The browser's end.
    pub remote: RemoteTransport,
    /// What it will send: one track for each accepted media section, in the order of the offer.
    pub tracks: Vec<Track>,
    /// What it gets back of that, with the SSRCs that the answer declares.
    pub loopback: Vec<Track>,
}

/// A subscriber's offer, answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribing {
    /// Our answer, `sendonly`.
    pub answer: String,
    /// The browser's end.
    pub remote: RemoteTransport,
    /// What we send, with the SSRCs that the answer declares.
    pub tracks: Vec<Track>,
}

/// An offer of ours to a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offering {
    /// The offer, `sendonly`, `setup:actpass`.
    pub offer: String,
    /// What it offers, with the SSRCs that it declares.
    pub tracks: Vec<Track>,
}
