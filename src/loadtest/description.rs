//! Session descriptions as Chrome writes them, and as much of ours as a browser needs to read.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::units::{Extension, ExtensionIds, MediaKind};

/// The browser's side of a transport.
#[derive(Debug, Clone)]
pub struct Local {
    /// Its user name fragment.
    pub ufrag: String,
    /// Its password.
    pub pwd: String,
    /// SHA-256 of its certificate.
    pub fingerprint: Vec<u8>,
}

/// The sources that a publisher declares.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    /// Opus.
    pub audio: u32,
    /// VP8.
    pub video: u32,
    /// Retransmissions of VP8 (RFC 4588).
    pub rtx: u32,
}

const AUDIO_CODECS: &str = "\
a=rtpmap:111 opus/48000/2\r\n\
a=rtcp-fb:111 transport-cc\r\n\
a=fmtp:111 minptime=10;useinbandfec=1\r\n\
a=rtpmap:63 red/48000/2\r\n\
a=fmtp:63 111/111\r\n\
a=rtpmap:0 PCMU/8000\r\n";

const VIDEO_CODECS: &str = "\
a=rtpmap:96 VP8/90000\r\n\
a=rtcp-fb:96 goog-remb\r\n\
a=rtcp-fb:96 transport-cc\r\n\
a=rtcp-fb:96 ccm fir\r\n\
a=rtcp-fb:96 nack\r\n\
a=rtcp-fb:96 nack pli\r\n\
a=rtpmap:97 rtx/90000\r\n\
a=fmtp:97 apt=96\r\n\
a=rtpmap:98 VP9/90000\r\n\
a=rtcp-fb:98 nack\r\n\
a=rtcp-fb:98 nack pli\r\n\
a=fmtp:98 profile-id=0\r\n\
a=rtpmap:99 rtx/90000\r\n\
a=fmtp:99 apt=98\r\n";

/// Chrome's ids; those of the subscriber differ, so that passing ids through unchanged is noticed.
const PUBLISHER_EXTENSIONS: [(Extension, u8); 5] = [
    (Extension::AudioLevel, 1),
    (Extension::AbsSendTime, 2),
    (Extension::TransportCc, 3),
    (Extension::Mid, 4),
    (Extension::PlayoutDelay, 5),
];
const SUBSCRIBER_EXTENSIONS: [(Extension, u8); 5] = [
    (Extension::AudioLevel, 6),
    (Extension::AbsSendTime, 7),
    (Extension::TransportCc, 8),
    (Extension::Mid, 9),
    (Extension::PlayoutDelay, 10),
];

fn write_head(out: &mut String, mids: &[&str]) {
    let _ = write!(
        out,
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS stream\r\n",
        mids.join(" ")
    );
}

fn write_transport(out: &mut String, local: &Local, setup: &str) {
    let _ = write!(
        out,
        "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\n\
         a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
        local.ufrag,
        local.pwd,
        hex(&local.fingerprint),
    );
}

fn hex(digest: &[u8]) -> String {
    let bytes: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

fn write_extensions(out: &mut String, kind: MediaKind, extensions: &[(Extension, u8)]) {
    for (extension, id) in extensions {
        let fits = match extension {
            Extension::AudioLevel => kind == MediaKind::Audio,
            Extension::PlayoutDelay | Extension::VideoOrientation => kind == MediaKind::Video,
            Extension::Mid
            | Extension::Rid
            | Extension::RepairedRid
            | Extension::AbsSendTime
            | Extension::TransportCc => true,
        };
        if fits {
            let _ = write!(out, "a=extmap:{id} {}\r\n", extension.uri());
        }
    }
}

/// What a publisher sends: Opus on mid 0, VP8 on mid 1.
pub fn publisher_offer(local: &Local, sources: Sources) -> String {
    let Sources { audio, video, rtx } = sources;
    let mut out = String::new();
    write_head(&mut out, &["0", "1"]);
    out.push_str("m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0\r\n");
    write_transport(&mut out, local, "actpass");
    out.push_str("a=mid:0\r\n");
    write_extensions(&mut out, MediaKind::Audio, &PUBLISHER_EXTENSIONS);
    out.push_str("a=sendonly\r\na=msid:stream microphone\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
    out.push_str(AUDIO_CODECS);
    let _ = write!(
        out,
        "a=ssrc:{audio} cname:browser\r\na=ssrc:{audio} msid:stream microphone\r\n"
    );
    out.push_str("m=video 9 UDP/TLS/RTP/SAVPF 96 97 98 99\r\n");
    write_transport(&mut out, local, "actpass");
    out.push_str("a=mid:1\r\n");
    write_extensions(&mut out, MediaKind::Video, &PUBLISHER_EXTENSIONS);
    out.push_str("a=sendonly\r\na=msid:stream camera\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
    out.push_str(VIDEO_CODECS);
    let _ = write!(
        out,
        "a=ssrc-group:FID {video} {rtx}\r\na=ssrc:{video} cname:browser\r\na=ssrc:{video} msid:stream camera\r\n\
         a=ssrc:{rtx} cname:browser\r\na=ssrc:{rtx} msid:stream camera\r\n"
    );
    out
}

/// What a subscriber wants: audio on mid 0, video on mid 1.
pub fn subscriber_offer(local: &Local) -> String {
    let mut out = String::new();
    write_head(&mut out, &["0", "1"]);
    for (kind, mid, line, codecs) in [
        (
            MediaKind::Audio,
            0,
            "m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0",
            AUDIO_CODECS,
        ),
        (
            MediaKind::Video,
            1,
            "m=video 9 UDP/TLS/RTP/SAVPF 98 99 96 97",
            VIDEO_CODECS,
        ),
    ] {
        let _ = write!(out, "{line}\r\n");
        write_transport(&mut out, local, "actpass");
        let _ = write!(out, "a=mid:{mid}\r\n");
        write_extensions(&mut out, kind, &SUBSCRIBER_EXTENSIONS);
        out.push_str("a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
        out.push_str(codecs);
    }
    out
}

/// Accepts everything that `offer` offers.
pub fn subscriber_answer(local: &Local, offer: &Remote) -> String {
    let mids: Vec<&str> = offer
        .sections
        .iter()
        .map(|section| section.mid.as_str())
        .collect();
    let mut out = String::new();
    write_head(&mut out, &mids);
    for section in &offer.sections {
        let kind = section.kind.as_str();
        let payload_type = section.payload_type;
        let _ = write!(out, "m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type}");
        if let Some(rtx) = section.rtx_payload_type {
            let _ = write!(out, " {rtx}");
        }
        out.push_str("\r\n");
        write_transport(&mut out, local, "active");
        let _ = write!(out, "a=mid:{}\r\n", section.mid);
        let accepted: Vec<_> = section.extensions.iter().collect();
        write_extensions(&mut out, section.kind, &accepted);
        out.push_str("a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
        for line in &section.codec_lines {
            let _ = write!(out, "{line}\r\n");
        }
    }
    out
}

/// The server's side, read from its offer or answer.
#[derive(Debug, Clone, Default)]
pub struct Remote {
    /// Its user name fragment.
    pub ufrag: String,
    /// Its password.
    pub pwd: String,
    /// SHA-256 of its certificate.
    pub fingerprint: Vec<u8>,
    /// `a=setup`.
    pub setup: String,
    /// Its UDP candidates, as listed.
    pub candidates: Vec<SocketAddr>,
    /// Its passive TCP candidates, as listed.
    pub tcp_candidates: Vec<SocketAddr>,
    /// Its media sections, rejected ones left out.
    pub sections: Vec<Section>,
}

/// A media section that carries one codec.
#[derive(Debug, Clone)]
pub struct Section {
    /// Audio or video.
    pub kind: MediaKind,
    /// `a=mid`.
    pub mid: String,
    /// The codec's payload type.
    pub payload_type: u8,
    /// The payload type of its retransmissions.
    pub rtx_payload_type: Option<u8>,
    /// Header extensions.
    pub extensions: ExtensionIds,
    /// The source that the server declares.
    pub ssrc: Option<u32>,
    /// Its source of retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// `a=rtpmap`, `a=fmtp` and `a=rtcp-fb`.
    codec_lines: Vec<String>,
}

impl Remote {
    /// Reads a description that our server wrote; `None` if something that a browser needs is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let mut remote = Self::default();
        for part in text.split("\r\nm=").skip(1) {
            let mut lines = part.split("\r\n");
            let mut words = lines.next()?.split(' ');
            let kind = match words.next()? {
                "audio" => MediaKind::Audio,
                "video" => MediaKind::Video,
                _ => continue,
            };
            if words.next()? == "0" {
                continue;
            }
            let payload_type = words.nth(1)?.parse().ok()?;
            let mut section = Section {
                kind,
                mid: String::new(),
                payload_type,
                rtx_payload_type: None,
                extensions: ExtensionIds::default(),
                ssrc: None,
                rtx_ssrc: None,
                codec_lines: Vec::new(),
            };
            for line in lines {
                remote.read_line(&mut section, line)?;
            }
            remote.sections.push(section);
        }
        let complete = !remote.sections.is_empty()
            && !remote.candidates.is_empty()
            && !remote.fingerprint.is_empty();
        complete.then_some(remote)
    }

    fn read_line(&mut self, section: &mut Section, line: &str) -> Option<()> {
        let Some((name, value)) = line.strip_prefix("a=").and_then(|it| it.split_once(':')) else {
            return Some(());
        };
        match name {
            "mid" => section.mid = value.to_owned(),
            "ice-ufrag" => self.ufrag = value.to_owned(),
            "ice-pwd" => self.pwd = value.to_owned(),
            "setup" => self.setup = value.to_owned(),
            "fingerprint" => {
                let digest = value.strip_prefix("sha-256 ")?.split(':');
                self.fingerprint = digest
                    .map(|byte| u8::from_str_radix(byte, 16).ok())
                    .collect::<Option<_>>()?;
            }
            "candidate" => {
                let words: Vec<&str> = value.split(' ').collect();
                let [_, _, protocol, _, ip, port, ..] = words[..] else {
                    return Some(());
                };
                let list = match protocol {
                    "udp" => &mut self.candidates,
                    "tcp" if value.ends_with(" tcptype passive") => &mut self.tcp_candidates,
                    _ => return Some(()),
                };
                let candidate = SocketAddr::new(ip.parse().ok()?, port.parse().ok()?);
                if !list.contains(&candidate) {
                    list.push(candidate);
                }
            }
            "extmap" => {
                let (id, uri) = value.split_once(' ')?;
                if let Some(extension) = Extension::from_uri(uri) {
                    section.extensions.set(extension, id.parse().ok()?);
                }
            }
            "ssrc-group" => {
                let mut words = value.strip_prefix("FID ")?.split(' ');
                section.ssrc = words.next()?.parse().ok();
                section.rtx_ssrc = words.next()?.parse().ok();
            }
            "ssrc" if section.ssrc.is_none() => {
                section.ssrc = value.split(' ').next()?.parse().ok();
            }
            "rtpmap" | "rtcp-fb" => section.codec_lines.push(line.to_owned()),
            "fmtp" => {
                section.codec_lines.push(line.to_owned());
                let (payload_type, parameters) = value.split_once(' ')?;
                if parameters == format!("apt={}", section.payload_type) {
                    section.rtx_payload_type = payload_type.parse().ok();
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The section of `kind`.
    pub fn section(&self, kind: MediaKind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::media::sdp::{
        Candidate, CodecPolicy, Fingerprint, IceCredentials, LocalTransport, accept_answer,
        answer_publisher, answer_subscriber, offer_subscriber,
    };
    use crate::units::{Codec, Random};

    fn local() -> Local {
        Local {
            ufrag: "browser".to_owned(),
            pwd: "passwordpasswordpasswordpa".to_owned(),
            fingerprint: (0..32).collect(),
        }
    }

    fn server() -> LocalTransport {
        LocalTransport {
            ice: IceCredentials {
                ufrag: "server".into(),
                pwd: "serverserverserverserver".into(),
            },
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                digest: vec![0xab; 32],
            },
            candidates: Arc::new([false, true].map(|tcp| Candidate {
                addr: ([192, 0, 2, 1], 40_000).into(),
                tcp,
                rank: 0,
            })),
        }
    }

    const SOURCES: Sources = Sources {
        audio: 11,
        video: 22,
        rtx: 33,
    };

    #[test]
    fn offers_and_answers_are_understood_in_both_directions() {
        let offer = publisher_offer(&local(), SOURCES);
        let publishing = answer_publisher(&offer, &CodecPolicy::default(), &server()).unwrap();
        assert_eq!(publishing.remote.ice.ufrag, "browser");
        assert_eq!(
            publishing.remote.fingerprints[0].digest,
            local().fingerprint
        );
        let sources: Vec<_> = publishing
            .tracks
            .iter()
            .map(|track| {
                (
                    track.codec,
                    track.ssrc.map(|it| it.0),
                    track.rtx_ssrc.map(|it| it.0),
                )
            })
            .collect();
        assert_eq!(
            sources,
            [
                (Codec::Opus, Some(11), None),
                (Codec::Vp8, Some(22), Some(33))
            ]
        );

        let answer = Remote::parse(&publishing.answer).unwrap();
        assert_eq!(
            (answer.ufrag.as_str(), answer.setup.as_str()),
            ("server", "passive")
        );
        assert_eq!(answer.fingerprint, [0xab; 32]);
        assert_eq!(answer.candidates, [([192, 0, 2, 1], 40_000).into()]);
        assert_eq!(answer.tcp_candidates, answer.candidates);
        let video = answer.section(MediaKind::Video).unwrap();
        assert_eq!((video.payload_type, video.rtx_payload_type), (96, Some(97)));
        assert_eq!(video.extensions.get(Extension::Mid), Some(4));

        let mut random = Random::seeded(1);
        let tracks = &publishing.tracks;
        let asked = answer_subscriber(
            &subscriber_offer(&local()),
            tracks,
            "cname",
            &mut random,
            &server(),
        );
        let asked = asked.unwrap();
        let answer = Remote::parse(&asked.answer).unwrap();
        for (section, track) in answer.sections.iter().zip(&asked.tracks) {
            assert_eq!(section.ssrc, track.ssrc.map(|it| it.0));
            assert_eq!(section.rtx_ssrc, track.rtx_ssrc.map(|it| it.0));
        }

        let offered = offer_subscriber(tracks, "cname", 0, &mut random, &server());
        let remote = Remote::parse(&offered.offer).unwrap();
        let answer = subscriber_answer(&local(), &remote);
        let (remote, accepted) = accept_answer(&answer, &offered.tracks).unwrap();
        assert_eq!(remote.ice.ufrag, "browser");
        assert_eq!(accepted.len(), 2);
    }

    #[test]
    fn what_no_browser_could_use_is_not_read() {
        let offer = publisher_offer(&local(), SOURCES);
        assert!(Remote::parse(&offer).is_none(), "no candidate");
        let candidate = "a=candidate:1 1 udp 1 192.0.2.1 40000 typ host\r\n";
        assert!(Remote::parse(&(offer.clone() + candidate)).is_some());
        assert!(Remote::parse(&(offer.replace("m=", "x=") + candidate)).is_none());
        for bad in ["", "v=0", "v=0\r\nm=audio", "v=0\r\nm=audio 9 X y\r\n"] {
            assert!(Remote::parse(bad).is_none(), "{bad}");
        }
    }
}
