//! What we write: every description of ours has one ICE-lite transport, described in full in each section.

use rtc_sdp::description::common::{Address, Attribute, Bandwidth, ConnectionInformation};
use rtc_sdp::description::media::{MediaDescription, MediaName, RangedPort};
use rtc_sdp::description::session::{Origin, SessionDescription, TimeDescription, Timing};

use super::remote::{Direction, Section};
use super::{Candidate, Fingerprint, LocalTransport};
use crate::units::{Bitrate, Codec, Extension, Feedback, Track};

/// RFC 8445 section 5.1.2.2.
const HOST_PREFERENCE: u32 = 126;
/// Below every UDP candidate, as RFC 6544 section 4.2 recommends; the value that browsers use.
const TCP_HOST_PREFERENCE: u32 = 90;
/// Direction preference of passive TCP host candidates (RFC 6544 section 4.2).
const TCP_PASSIVE_PREFERENCE: u32 = 4;
/// RTP and RTCP share the only component.
const COMPONENT: u32 = 1;
/// The longest `a=msid` identifier (RFC 8830 section 2).
const MAX_MSID_BYTES: usize = 64;

/// A header extension as written: its id and, where the offer restricted it, its direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExtensionLine {
    pub(super) extension: Extension,
    pub(super) id: u8,
    pub(super) direction: Option<Direction>,
}

/// What Opus and its headers take, as Chromium counts them. `TIAS` is the section's payload alone (RFC 3890), which
/// Firefox goes by; Chromium goes by the last line and applies it to the whole transport with all headers, so `AS`, which
/// includes lower layers anyway (RFC 3550 section 6.2), stands last and leaves room for them.
const AUDIO_AND_ITS_HEADERS_KBPS: u64 = 60;

/// A section that carries media, or could.
pub(super) struct AcceptedSection<'a> {
    pub(super) protocol: &'a str,
    pub(super) track: &'a Track,
    pub(super) direction: Direction,
    pub(super) rtcp_rsize: bool,
    pub(super) extensions: &'a [ExtensionLine],
    pub(super) max_receive: Option<Bitrate>,
    /// What we send, if anything, and its canonical name and media stream.
    pub(super) sent: Option<(&'a Track, &'a str)>,
}

/// A description in the making.
pub(super) struct LocalDescription<'a> {
    local: &'a LocalTransport,
    setup: &'static str,
    sections: Vec<MediaDescription>,
    accepted: Vec<String>,
}

impl<'a> LocalDescription<'a> {
    /// Begins a description in which every section says `a=setup:{setup}`.
    pub(super) const fn new(local: &'a LocalTransport, setup: &'static str) -> Self {
        Self {
            local,
            setup,
            sections: Vec::new(),
            accepted: Vec::new(),
        }
    }

    /// Appends the refusal of an offered section: port 0 (RFC 3264 section 6), outside BUNDLE.
    pub(super) fn refuse(&mut self, section: &Section) {
        let mut attributes = Vec::new();
        if let Some(mid) = &section.mid {
            attributes.push(value("mid", mid));
        }
        attributes.push(flag("inactive"));
        self.sections.push(MediaDescription {
            media_name: MediaName {
                media: section.media.clone(),
                port: RangedPort {
                    value: 0,
                    range: None,
                },
                protos: vec![section.protocol.clone()],
                formats: section.format_list.clone(),
            },
            connection_information: Some(unspecified()),
            attributes,
            ..MediaDescription::default()
        });
    }

    /// Appends a section with one codec and its retransmissions.
    pub(super) fn accept(&mut self, section: &AcceptedSection<'_>) {
        let track = section.track;
        let mut formats = vec![track.payload_type.to_string()];
        formats.extend(track.rtx_payload_type.map(|rtx| rtx.to_string()));
        let bandwidth = section
            .max_receive
            .filter(|limit| limit.kbps() > 0)
            .map_or_else(Vec::new, |limit| {
                let line = |kind: &str, bandwidth| Bandwidth {
                    experimental: false,
                    bandwidth_type: kind.to_owned(),
                    bandwidth,
                };
                let with_the_rest = limit.kbps() + limit.kbps() / 20 + AUDIO_AND_ITS_HEADERS_KBPS;
                vec![line("TIAS", limit.bps()), line("AS", with_the_rest)]
            });

        let mut attributes = vec![
            value("mid", &track.mid),
            flag(section.direction.as_str()),
            value("ice-ufrag", &self.local.ice.ufrag),
            value("ice-pwd", &self.local.ice.pwd),
            value("fingerprint", fingerprint(&self.local.fingerprint)),
            value("setup", self.setup),
            flag("rtcp-mux"),
        ];
        if section.rtcp_rsize {
            attributes.push(flag("rtcp-rsize"));
        }
        attributes.extend(section.extensions.iter().map(|line| {
            let uri = line.extension.uri();
            value(
                "extmap",
                match line.direction {
                    Some(direction) => format!("{}/{} {uri}", line.id, direction.as_str()),
                    None => format!("{} {uri}", line.id),
                },
            )
        }));
        attributes.extend(codec_attributes(track));
        if let Some((sent, cname)) = section.sent {
            attributes.extend(source_attributes(sent, cname));
        }
        attributes.extend(
            candidates(&self.local.candidates)
                .into_iter()
                .map(|candidate| value("candidate", candidate)),
        );
        attributes.push(flag("end-of-candidates"));

        self.accepted.push(track.mid.clone());
        self.sections.push(MediaDescription {
            media_name: MediaName {
                media: track.kind.as_str().to_owned(),
                port: RangedPort {
                    value: 9,
                    range: None,
                },
                protos: vec![section.protocol.to_owned()],
                formats,
            },
            connection_information: Some(unspecified()),
            bandwidth,
            attributes,
            ..MediaDescription::default()
        });
    }

    /// The text. The accepted sections form the BUNDLE group in the order of `bundle`, which is empty if the offer had
    /// no group.
    pub(super) fn finish(self, bundle: &[String]) -> String {
        let mut attributes = vec![flag("ice-lite")];
        let group: Vec<&str> = bundle
            .iter()
            .filter(|mid| self.accepted.contains(mid))
            .map(String::as_str)
            .collect();
        if !group.is_empty() {
            attributes.push(value("group", format!("BUNDLE {}", group.join(" "))));
        }
        SessionDescription {
            version: 0,
            origin: Origin {
                username: "-".to_owned(),
                session_id: session_id(&self.local.ice.ufrag),
                session_version: 1,
                network_type: "IN".to_owned(),
                address_type: "IP4".to_owned(),
                unicast_address: "0.0.0.0".to_owned(),
            },
            session_name: "-".to_owned(),
            time_descriptions: vec![TimeDescription {
                timing: Timing::default(),
                repeat_times: Vec::new(),
            }],
            attributes,
            media_descriptions: self.sections,
            ..SessionDescription::default()
        }
        .marshal()
    }

    /// The mids accepted so far, in order.
    pub(super) fn accepted(&self) -> &[String] {
        &self.accepted
    }
}

fn codec_attributes(track: &Track) -> Vec<Attribute> {
    let payload_type = track.payload_type;
    let channels = match track.codec {
        Codec::Opus => "/2",
        Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::Av1 => "",
    };
    let (name, clock_rate) = (track.codec.name(), track.codec.clock_rate());
    let mut attributes = vec![value(
        "rtpmap",
        format!("{payload_type} {name}/{clock_rate}{channels}"),
    )];
    if !track.fmtp.is_empty() {
        attributes.push(value("fmtp", format!("{payload_type} {}", track.fmtp)));
    }
    let Feedback {
        nack,
        pli,
        fir,
        remb,
        transport_cc,
    } = track.feedback;
    for (negotiated, message) in [
        (remb, "goog-remb"),
        (transport_cc, "transport-cc"),
        (fir, "ccm fir"),
        (nack, "nack"),
        (pli, "nack pli"),
    ] {
        if negotiated {
            attributes.push(value("rtcp-fb", format!("{payload_type} {message}")));
        }
    }
    if let Some(rtx) = track.rtx_payload_type {
        attributes.push(value("rtpmap", format!("{rtx} rtx/{clock_rate}")));
        attributes.push(value("fmtp", format!("{rtx} apt={payload_type}")));
    }
    attributes
}

/// RFC 8830 for the stream, RFC 5576 for the sources.
fn source_attributes(track: &Track, cname: &str) -> Vec<Attribute> {
    let cname = identifier(cname);
    let mut attributes = vec![value(
        "msid",
        format!("{cname} {}-{}", track.kind.as_str(), track.mid),
    )];
    if let (Some(ssrc), Some(rtx)) = (track.ssrc, track.rtx_ssrc) {
        attributes.push(value("ssrc-group", format!("FID {ssrc} {rtx}")));
    }
    for ssrc in [track.ssrc, track.rtx_ssrc].into_iter().flatten() {
        attributes.push(value("ssrc", format!("{ssrc} cname:{cname}")));
    }
    attributes
}

/// `name` without what a token cannot hold, so that it cannot change the meaning of its line.
fn identifier(name: &str) -> String {
    let kept: String = name
        .chars()
        .filter(|c| u8::try_from(*c).is_ok_and(super::remote::is_token_byte))
        .take(MAX_MSID_BYTES)
        .collect();
    if kept.is_empty() {
        "-".to_owned()
    } else {
        kept
    }
}

/// The candidates in `a=candidate` form (RFC 8839 section 5.1, RFC 6544 section 4.5).
fn candidates(candidates: &[Candidate]) -> Vec<String> {
    // Candidates of one base address and protocol share a foundation (RFC 8445 section 5.1.1.3).
    let base = |candidate: &Candidate| (candidate.addr.ip().to_canonical(), candidate.tcp);
    candidates
        .iter()
        .map(|candidate| {
            let foundation = candidates
                .iter()
                .position(|other| base(other) == base(candidate))
                .map_or(1, |at| at + 1);
            let ip = candidate.addr.ip().to_canonical();
            let port = candidate.addr.port();
            let priority = priority(candidate);
            if candidate.tcp {
                format!(
                    "{foundation} {COMPONENT} tcp {priority} {ip} {port} typ host tcptype passive"
                )
            } else {
                format!("{foundation} {COMPONENT} udp {priority} {ip} {port} typ host")
            }
        })
        .collect()
}

/// RFC 8445 section 5.1.2.1; for TCP the local preference of RFC 6544 section 4.2.
fn priority(candidate: &Candidate) -> u32 {
    let rank = u32::from(candidate.rank);
    let (kind, local) = if candidate.tcp {
        (
            TCP_HOST_PREFERENCE,
            (TCP_PASSIVE_PREFERENCE << 13) | 8191_u32.saturating_sub(rank),
        )
    } else {
        (HOST_PREFERENCE, 65_535 - rank)
    };
    (kind << 24) | (local << 8) | (256 - COMPONENT)
}

fn fingerprint(fingerprint: &Fingerprint) -> String {
    let digest: Vec<String> = fingerprint
        .digest
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    format!("{} {}", fingerprint.hash, digest.join(":"))
}

/// A session identifier that is as unique as the ICE user name fragment, 63 bits (RFC 8829 section 5.2.1): FNV-1a.
fn session_id(ufrag: &str) -> u64 {
    let hash = ufrag.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash >> 1
}

/// Browsers take the address from the candidates; this one is RFC 8829's for none.
fn unspecified() -> ConnectionInformation {
    ConnectionInformation {
        network_type: "IN".to_owned(),
        address_type: "IP4".to_owned(),
        address: Some(Address {
            address: "0.0.0.0".to_owned(),
            ttl: None,
            range: None,
        }),
    }
}

fn flag(key: &str) -> Attribute {
    Attribute::new(key.to_owned(), None)
}

fn value(key: &str, value: impl Into<String>) -> Attribute {
    Attribute::new(key.to_owned(), Some(value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(addr: &str, tcp: bool, rank: u16) -> Candidate {
        Candidate {
            addr: addr.parse().unwrap(),
            tcp,
            rank,
        }
    }

    #[test]
    fn priorities_are_those_of_rfc_8445_and_rfc_6544() {
        let udp = |rank| priority(&candidate("192.0.2.1:1", false, rank));
        let tcp = |rank| priority(&candidate("192.0.2.1:1", true, rank));
        assert_eq!(udp(0), (126 << 24) | (65_535 << 8) | 255);
        assert_eq!(udp(1), udp(0) - 256);
        assert_eq!(udp(u16::MAX), (126 << 24) | 255);
        assert_eq!(tcp(0), (90 << 24) | (((4 << 13) | 8191) << 8) | 255);
        assert!(tcp(0) > tcp(1));
        assert!(udp(u16::MAX) > tcp(0), "UDP goes before TCP");
    }

    #[test]
    fn candidates_of_one_address_and_protocol_share_a_foundation() {
        let lines = candidates(&[
            candidate("192.0.2.1:40000", false, 0),
            candidate("[::ffff:192.0.2.1]:40001", false, 1),
            candidate("[2001:db8::1]:40000", false, 2),
            candidate("192.0.2.1:40000", true, 0),
        ]);
        assert_eq!(
            lines,
            [
                "1 1 udp 2130706431 192.0.2.1 40000 typ host",
                "1 1 udp 2130706175 192.0.2.1 40001 typ host",
                "3 1 udp 2130705919 2001:db8::1 40000 typ host",
                "4 1 tcp 1520435199 192.0.2.1 40000 typ host tcptype passive",
            ]
        );
    }

    #[test]
    fn session_identifiers_fit_63_bits_and_differ() {
        assert_ne!(session_id("abcd"), session_id("abce"));
        assert!(
            ["", "abcd", "zzzzzzzzzzzzzzzz"]
                .iter()
                .all(|ufrag| session_id(ufrag) <= i64::MAX as u64)
        );
    }
}
