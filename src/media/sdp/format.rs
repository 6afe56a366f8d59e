//! Payload formats: `a=rtpmap`, `a=fmtp` and `a=rtcp-fb` of one payload type, and which of them carry the same video.

use crate::units::{Codec, Feedback, PayloadType};

/// The most `a=fmtp` parameters that are kept of one format; browsers write three.
const MAX_PARAMETERS: usize = 32;

/// A payload format that we could forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) codec: Codec,
    pub(super) payload_type: PayloadType,
    /// The payload type whose `apt` is this one (RFC 4588 section 8.1).
    pub(super) rtx: Option<PayloadType>,
    pub(super) parameters: Parameters,
    pub(super) feedback: Feedback,
}

impl Format {
    /// How good this format is for a stream that everyone shall decode; `None` if we do not take it.
    ///
    /// Chromium, Firefox and Safari all decode VP9 profile 0, AV1 main and H.264 constrained baseline; of H.264's
    /// other profiles each browser lacks some, and packetization mode 1 lets frames exceed one packet.
    fn rank_as_source(&self) -> Option<usize> {
        match self.codec {
            Codec::Opus | Codec::Vp8 => Some(0),
            Codec::Vp9 => (self.parameters.vp9_profile()? == 0).then_some(0),
            Codec::Av1 => (self.parameters.av1_profile()? == 0).then_some(0),
            Codec::H264 => {
                let fragments = self.parameters.h264_fragments()?;
                let profile = self.parameters.h264_profile()?;
                let baseline = profile <= H264Profile::Baseline;
                Some(match (baseline, fragments) {
                    (true, true) => profile as usize,
                    (true, false) => 10 + profile as usize,
                    (false, true) => 20 + profile as usize,
                    (false, false) => 30 + profile as usize,
                })
            }
        }
    }

    /// Returns whether a receiver of this format decodes `codec` with the `a=fmtp` parameters `source`.
    pub(super) fn receives(&self, codec: Codec, source: &Parameters) -> bool {
        self.rank_as_receiver(codec, source).is_some()
    }

    /// How well a receiver of this format decodes `codec` with the parameters `source`; `None` if it does not.
    ///
    /// H.264 levels are not compared: browsers allow asymmetry and decode what exceeds their own (RFC 6184
    /// section 8.2.2).
    fn rank_as_receiver(&self, codec: Codec, source: &Parameters) -> Option<usize> {
        if self.codec != codec {
            return None;
        }
        let ours = &self.parameters;
        match codec {
            Codec::Opus | Codec::Vp8 => Some(0),
            Codec::Vp9 => (ours.vp9_profile()? == source.vp9_profile()?).then_some(0),
            Codec::Av1 => (ours.av1_profile()? == source.av1_profile()?).then_some(0),
            Codec::H264 => {
                // A receiver of mode 1 takes the single packets of mode 0 too (RFC 6184 section 6.3), not the reverse.
                let fragments = ours.h264_fragments()?;
                if source.h264_fragments()? && !fragments {
                    return None;
                }
                let distance = ours.h264_profile()?.distance(source.h264_profile()?)?;
                Some(distance * 2 + usize::from(fragments != source.h264_fragments()?))
            }
        }
    }
}

/// The format that a publisher shall send: of `wanted`, else of the first codec in the offer's order that we take.
pub(super) fn choose(formats: &[Format], wanted: Option<Codec>) -> Option<&Format> {
    let codec = formats
        .iter()
        .find(|format| {
            wanted.is_none_or(|codec| format.codec == codec) && format.rank_as_source().is_some()
        })?
        .codec;
    formats
        .iter()
        .filter(|format| format.codec == codec)
        .filter_map(|format| Some((format.rank_as_source()?, format)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, format)| format)
}

/// The format in which a subscriber can decode `codec` with the `a=fmtp` parameters `source`.
pub(super) fn receive<'a>(
    formats: &'a [Format],
    codec: Codec,
    source: &Parameters,
) -> Option<&'a Format> {
    formats
        .iter()
        .filter_map(|format| Some((format.rank_as_receiver(codec, source)?, format)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, format)| format)
}

/// The profiles of H.264 in our order of preference (RFC 6184 section 8.1, table 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    ConstrainedHigh,
    Main,
    High,
}

impl H264Profile {
    fn from_profile_level_id(id: &str) -> Option<Self> {
        if id.len() != 6 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let profile = u8::from_str_radix(id.get(0..2)?, 16).ok()?;
        let constraints = u8::from_str_radix(id.get(2..4)?, 16).ok()?;
        let set = |bit: u8| constraints & (0x80 >> bit) != 0;
        match profile {
            0x42 if set(1) => Some(Self::ConstrainedBaseline),
            0x42 => Some(Self::Baseline),
            0x4d if set(0) => Some(Self::ConstrainedBaseline),
            0x4d => Some(Self::Main),
            0x58 if set(0) && set(1) => Some(Self::ConstrainedBaseline),
            0x64 if set(4) && set(5) => Some(Self::ConstrainedHigh),
            0x64 if constraints == 0 => Some(Self::High),
            _ => None,
        }
    }

    /// How far this decoder exceeds what `source` needs; `None` if it cannot decode it.
    ///
    /// A baseline stream counts as constrained: no encoder of a browser uses the tools that differ (slice groups).
    fn distance(self, source: Self) -> Option<usize> {
        use H264Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, Main};
        let wider: &[Self] = match source {
            ConstrainedBaseline => &[ConstrainedBaseline, Baseline, Main, ConstrainedHigh, High],
            Baseline => &[Baseline, ConstrainedBaseline, Main, ConstrainedHigh, High],
            Main => &[Main, High],
            ConstrainedHigh => &[ConstrainedHigh, High],
            High => &[High],
        };
        wider.iter().position(|profile| *profile == self)
    }
}

/// The `a=fmtp` parameters of one payload type (RFC 8866 section 6.15), in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `key=value;key=value`; a parameter without `=` has an empty value.
    pub(super) fn parse(text: &str) -> Self {
        Self(
            text.split(';')
                .map(str::trim)
                .filter(|parameter| !parameter.is_empty())
                .take(MAX_PARAMETERS)
                .map(|parameter| {
                    let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                    (key.trim().to_ascii_lowercase(), value.trim().to_owned())
                })
                .collect(),
        )
    }

    /// The value of `key`, which is in lower case.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The parameters that an answer with `codec` repeats, in `a=fmtp` form.
    ///
    /// VP8's `max-fs` and `max-fr` are left out: they are the writer's own limits as a receiver, not ours.
    pub(super) fn echo(&self, codec: Codec) -> String {
        let repeated: &[&str] = match codec {
            Codec::Opus => &[
                "minptime",
                "useinbandfec",
                "usedtx",
                "stereo",
                "sprop-stereo",
                "cbr",
                "maxplaybackrate",
                "maxaveragebitrate",
            ],
            Codec::Vp8 => &[],
            Codec::Vp9 => &["profile-id"],
            Codec::H264 => &[
                "level-asymmetry-allowed",
                "packetization-mode",
                "profile-level-id",
            ],
            Codec::Av1 => &["level-idx", "profile", "tier"],
        };
        self.0
            .iter()
            .enumerate()
            .filter(|(at, (key, value))| {
                repeated.contains(&key.as_str())
                    && (1..=16).contains(&value.len())
                    && value.bytes().all(|b| b.is_ascii_alphanumeric())
                    && !self.0.iter().take(*at).any(|(earlier, _)| earlier == key)
            })
            .map(|(_, (key, value))| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(";")
    }

    /// `profile-id`, 0 if absent (RFC 9628 section 7.1); `None` if it is no number.
    fn vp9_profile(&self) -> Option<u8> {
        self.get("profile-id").map_or(Some(0), |id| id.parse().ok())
    }

    /// `profile`, 0 if absent (AV1 RTP specification section 7.2.2); `None` if it is no number.
    fn av1_profile(&self) -> Option<u8> {
        self.get("profile").map_or(Some(0), |id| id.parse().ok())
    }

    /// Baseline if absent (RFC 6184 section 8.1); `None` if it is a profile that we do not take.
    fn h264_profile(&self) -> Option<H264Profile> {
        self.get("profile-level-id").map_or(
            Some(H264Profile::Baseline),
            H264Profile::from_profile_level_id,
        )
    }

    /// Whether frames may be cut into fragments (mode 1); `None` for interleaving (mode 2) and anything else.
    fn h264_fragments(&self) -> Option<bool> {
        match self.get("packetization-mode") {
            None | Some("0") => Some(false),
            Some("1") => Some(true),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(payload_type: u8, fmtp: &str) -> Format {
        format(Codec::H264, payload_type, fmtp)
    }

    fn format(codec: Codec, payload_type: u8, fmtp: &str) -> Format {
        Format {
            codec,
            payload_type: PayloadType::new(payload_type).unwrap(),
            rtx: None,
            parameters: Parameters::parse(fmtp),
            feedback: Feedback::default(),
        }
    }

    fn chosen(formats: &[Format], wanted: Option<Codec>) -> Option<u8> {
        choose(formats, wanted).map(|format| format.payload_type.get())
    }

    #[test]
    fn the_first_codec_that_we_take_wins() {
        let formats = [
            format(Codec::Vp9, 100, "profile-id=2"),
            format(Codec::Av1, 45, "profile=1"),
            format(Codec::Vp9, 98, "profile-id=0"),
            format(Codec::Vp8, 96, ""),
        ];
        assert_eq!(chosen(&formats, None), Some(98));
        assert_eq!(chosen(&formats, Some(Codec::Vp8)), Some(96));
        assert_eq!(chosen(&formats, Some(Codec::Av1)), None);
        assert_eq!(chosen(&formats, Some(Codec::H264)), None);
    }

    #[test]
    fn constrained_baseline_with_fragments_is_preferred() {
        let mut formats = vec![
            h264(41, "packetization-mode=1;profile-level-id=f4001f"),
            h264(127, "packetization-mode=1;profile-level-id=640c1f"),
            h264(104, "packetization-mode=0;profile-level-id=42001f"),
            h264(114, "packetization-mode=0;profile-level-id=42e01f"),
            h264(102, "packetization-mode=1;profile-level-id=42001f"),
            h264(108, "packetization-mode=1;profile-level-id=42e01f"),
        ];
        for expected in [108, 102, 114, 104, 127] {
            assert_eq!(chosen(&formats, None), Some(expected));
            formats.retain(|format| format.payload_type.get() != expected);
        }
        assert_eq!(chosen(&formats, None), None, "4:4:4 is nobody's choice");
    }

    #[test]
    fn profiles_are_read_as_rfc_6184_tells() {
        use H264Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, Main};
        for (id, profile) in [
            ("42e01f", Some(ConstrainedBaseline)),
            ("42E01F", Some(ConstrainedBaseline)),
            ("42c02a", Some(ConstrainedBaseline)),
            ("4d8028", Some(ConstrainedBaseline)),
            ("58c01f", Some(ConstrainedBaseline)),
            ("42001f", Some(Baseline)),
            ("4d001f", Some(Main)),
            ("640c1f", Some(ConstrainedHigh)),
            ("640032", Some(High)),
            ("f4001f", None),
            ("58001f", None),
            ("42e0", None),
            ("+2e01f", None),
            ("4é01f", None),
            ("", None),
        ] {
            assert_eq!(H264Profile::from_profile_level_id(id), profile, "{id}");
        }
    }

    #[test]
    fn a_subscriber_gets_the_format_that_fits_best() {
        let formats = [
            h264(102, "packetization-mode=1;profile-level-id=42001f"),
            h264(114, "packetization-mode=0;profile-level-id=42e01f"),
            h264(108, "packetization-mode=1;profile-level-id=42e034"),
            h264(127, "packetization-mode=1;profile-level-id=4d001f"),
        ];
        let received = |source: &str| {
            receive(&formats, Codec::H264, &Parameters::parse(source))
                .map(|format| format.payload_type.get())
        };
        assert_eq!(
            received("packetization-mode=1;profile-level-id=42e01f"),
            Some(108)
        );
        assert_eq!(
            received("packetization-mode=0;profile-level-id=42e01f"),
            Some(114)
        );
        assert_eq!(
            received("packetization-mode=1;profile-level-id=42001f"),
            Some(102)
        );
        assert_eq!(
            received("packetization-mode=1;profile-level-id=4d0032"),
            Some(127)
        );
        assert_eq!(
            received("packetization-mode=1;profile-level-id=64001f"),
            None
        );
        assert_eq!(receive(&formats, Codec::Vp8, &Parameters::default()), None);

        let single = [h264(114, "profile-level-id=42e01f")];
        assert!(
            receive(
                &single,
                Codec::H264,
                &Parameters::parse("packetization-mode=1;profile-level-id=42e01f")
            )
            .is_none(),
            "a receiver of single packets cannot take fragments"
        );
    }

    #[test]
    fn only_known_parameters_are_repeated_and_only_once() {
        let parameters = Parameters::parse(
            "minptime=10; UseInbandFEC=1;x-evil=1;stereo=1;stereo=0;usedtx=\u{e9};cbr",
        );
        assert_eq!(
            parameters.echo(Codec::Opus),
            "minptime=10;useinbandfec=1;stereo=1"
        );
        assert_eq!(parameters.echo(Codec::Vp8), "");
        assert_eq!(Parameters::parse(&"a=1;".repeat(1000)).0.len(), 32);
    }
}
