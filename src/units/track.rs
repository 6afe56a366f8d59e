//! One media section as negotiated: what SDP yields, what the SFU forwards.

use crate::units::{Codec, ExtensionIds, MediaKind, PayloadType, Ssrc};

/// RTCP feedback negotiated for a media section (RFC 4585, RFC 5104).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// `nack`
    pub nack: bool,
    /// `nack pli`
    pub pli: bool,
    /// `ccm fir`
    pub fir: bool,
    /// `goog-remb`
    pub remb: bool,
    /// `transport-cc`
    pub transport_cc: bool,
}

/// One negotiated media section with exactly one codec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Audio or video.
    pub kind: MediaKind,
    /// `a=mid` on this transport.
    pub mid: String,
    /// The one codec that flows.
    pub codec: Codec,
    /// Its payload type on this transport.
    pub payload_type: PayloadType,
    /// The payload type of its retransmissions (RFC 4588), if negotiated.
    pub rtx_payload_type: Option<PayloadType>,
    /// The `a=fmtp` parameters of the codec, without the payload type; empty if there are none.
    pub fmtp: String,
    /// Header extensions and their ids on this transport.
    pub extensions: ExtensionIds,
    /// RTCP feedback on this transport.
    pub feedback: Feedback,
    /// The media SSRC: declared by the browser for what it sends (may be absent), chosen by us for what we send.
    pub ssrc: Option<Ssrc>,
    /// The retransmission SSRC, likewise.
    pub rtx_ssrc: Option<Ssrc>,
}
