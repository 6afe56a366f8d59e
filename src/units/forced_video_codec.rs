//! The codec that a session or the configuration forces.

use super::Codec;

/// `forcedVideoCodec` of a session and `OPENVIDU_STREAMS_FORCED_VIDEO_CODEC` (`openvidu-signalling` section 11.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForcedVideoCodec {
    /// VP8 when clients offer on subscribing, nothing forced when the server does (design D9).
    #[default]
    MediaServerPreferred,
    /// Nothing forced.
    None,
    /// Only this codec.
    Forced(Codec),
}

impl ForcedVideoCodec {
    /// The name in REST and `.env`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MediaServerPreferred => "MEDIA_SERVER_PREFERRED",
            Self::None => "NONE",
            Self::Forced(codec) => codec.name(),
        }
    }

    /// The value with this exact name: `MEDIA_SERVER_PREFERRED`, `NONE`, `VP8`, `VP9` or `H264`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "MEDIA_SERVER_PREFERRED" => Some(Self::MediaServerPreferred),
            "NONE" => Some(Self::None),
            "VP8" => Some(Self::Forced(Codec::Vp8)),
            "VP9" => Some(Self::Forced(Codec::Vp9)),
            "H264" => Some(Self::Forced(Codec::H264)),
            _ => None,
        }
    }
}
