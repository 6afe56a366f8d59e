//! Media terms: kinds, codecs and RTP header extensions.

/// The kind of a media section (RFC 8866 section 5.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
}

impl MediaKind {
    /// The word in the `m=` line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// A codec that the SFU forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// H.264 (RFC 6184).
    H264,
    /// AV1 (AOM RTP payload specification 1.0).
    Av1,
}

impl Codec {
    /// Every codec, in our order of preference within a kind.
    pub const ALL: [Self; 5] = [Self::Opus, Self::Vp8, Self::Vp9, Self::H264, Self::Av1];

    /// The encoding name in `a=rtpmap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::Av1 => "AV1",
        }
    }

    /// The codec with this encoding name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// The RTP clock rate in hertz.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => 90_000,
        }
    }

    /// Audio or video.
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => MediaKind::Video,
        }
    }
}

/// An RTP header extension that we understand or pass through (RFC 8285).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Extension {
    /// Media section (RFC 9143): rewritten for every consumer.
    Mid,
    /// Restriction identifier of a simulcast layer (RFC 8852).
    Rid,
    /// Restriction identifier of the layer that a retransmission repairs (RFC 8852).
    RepairedRid,
    /// Client-to-mixer audio level (RFC 6464): passed through.
    AudioLevel,
    /// Absolute send time: rewritten where negotiated.
    AbsSendTime,
    /// Transport-wide sequence number: rewritten where negotiated.
    TransportCc,
    /// Coordination of video orientation (3GPP TS 26.114): passed through.
    VideoOrientation,
    /// Playout delay limits: passed through.
    PlayoutDelay,
}

impl Extension {
    /// Every extension.
    pub const ALL: [Self; 8] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AudioLevel,
        Self::AbsSendTime,
        Self::TransportCc,
        Self::VideoOrientation,
        Self::PlayoutDelay,
    ];

    /// The URI in `a=extmap`.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        }
    }

    /// The extension with this URI.
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|extension| extension.uri() == uri)
    }
}

/// Which id each extension has on one media section; ids are 1 to 14 (RFC 8285 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionIds([u8; Extension::ALL.len()]);

impl ExtensionIds {
    /// The id of `extension`, if it was negotiated.
    pub const fn get(&self, extension: Extension) -> Option<u8> {
        match self.0[extension as usize] {
            0 => None,
            id => Some(id),
        }
    }

    /// Gives `extension` the id `id`; ids outside 1 to 14 are ignored, since one-byte headers cannot carry them.
    pub const fn set(&mut self, extension: Extension, id: u8) {
        if id >= 1 && id <= 14 {
            self.0[extension as usize] = id;
        }
    }

    /// The extension that has the id `id`.
    pub fn extension(&self, id: u8) -> Option<Extension> {
        if id == 0 {
            return None;
        }
        Extension::ALL
            .into_iter()
            .find(|extension| self.0[*extension as usize] == id)
    }

    /// The negotiated extensions and their ids.
    pub fn iter(&self) -> impl Iterator<Item = (Extension, u8)> + '_ {
        Extension::ALL
            .into_iter()
            .filter_map(|extension| self.get(extension).map(|id| (extension, id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_uris_round_trip() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_name(&codec.name().to_lowercase()), Some(codec));
        }
        for extension in Extension::ALL {
            assert_eq!(Extension::from_uri(extension.uri()), Some(extension));
        }
    }

    #[test]
    fn ids_that_one_byte_headers_cannot_carry_are_not_kept() {
        let mut ids = ExtensionIds::default();
        ids.set(Extension::Mid, 15);
        ids.set(Extension::AudioLevel, 1);
        assert_eq!(ids.get(Extension::Mid), None);
        assert_eq!(ids.extension(1), Some(Extension::AudioLevel));
        assert_eq!(ids.extension(0), None);
        assert_eq!(ids.iter().count(), 1);
    }
}
