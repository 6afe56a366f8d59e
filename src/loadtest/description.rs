//! Session descriptions as Chrome writes them, and as much of a server's as a client needs to read.

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

/// What a client is able and willing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Opus.
    pub audio: bool,
    /// VP8, and VP9.
    pub video: bool,
    /// Retransmissions as a stream of their own (RFC 4588).
    pub rtx: bool,
    /// Feedback about bandwidth: REMB and the transport-wide one.
    pub congestion_feedback: bool,
}

impl Capabilities {
    /// Everything, as a browser.
    pub const BROWSER: Self = Self {
        audio: true,
        video: true,
        rtx: true,
        congestion_feedback: true,
    };

    /// The kinds of media, and the mid of each.
    fn kinds(self) -> impl Iterator<Item = (MediaKind, &'static str)> {
        let wanted = [
            (MediaKind::Audio, self.audio),
            (MediaKind::Video, self.video),
        ];
        let kinds = wanted.into_iter().filter(|(_, wanted)| *wanted);
        kinds.zip(["0", "1"]).map(|((kind, _), mid)| (kind, mid))
    }

    fn write_head(self, out: &mut String) {
        let mids: Vec<_> = self.kinds().map(|(_, mid)| mid).collect();
        write_head(out, &mids);
    }

    /// Whether the attribute `line` stays.
    fn allows(self, line: &str) -> bool {
        let about_bandwidth = line.ends_with(" transport-cc") || line.ends_with(" goog-remb");
        let about_rtx = line.contains(" rtx/90000") || line.contains(" apt=");
        (self.congestion_feedback || !about_bandwidth) && (self.rtx || !about_rtx)
    }

    fn write_codecs(self, out: &mut String, lines: &str) {
        for line in lines.split_inclusive("\r\n") {
            if self.allows(line.trim_end()) {
                out.push_str(line);
            }
        }
    }

    fn write_extensions(self, out: &mut String, kind: MediaKind, extensions: &[(Extension, u8)]) {
        let bandwidth = [Extension::AbsSendTime, Extension::TransportCc];
        let extensions: Vec<_> = extensions
            .iter()
            .filter(|(extension, _)| self.congestion_feedback || !bandwidth.contains(extension))
            .copied()
            .collect();
        write_extensions(out, kind, &extensions);
    }

    /// The payload types of a video line, `first` before `second`.
    fn video_formats(self, [first, second]: [u8; 2]) -> String {
        if self.rtx {
            format!("{first} {} {second} {}", first + 1, second + 1)
        } else {
            format!("{first} {second}")
        }
    }

    /// What a publisher sends: Opus, then VP8.
    pub fn publisher_offer(self, local: &Local, sources: Sources) -> String {
        let Sources { audio, video, rtx } = sources;
        let mut out = String::new();
        self.write_head(&mut out);
        for (kind, mid) in self.kinds() {
            match kind {
                MediaKind::Audio => out.push_str("m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0\r\n"),
                MediaKind::Video => {
                    let formats = self.video_formats([96, 98]);
                    let _ = write!(out, "m=video 9 UDP/TLS/RTP/SAVPF {formats}\r\n");
                }
            }
            write_transport(&mut out, local, "actpass");
            let _ = write!(out, "a=mid:{mid}\r\n");
            self.write_extensions(&mut out, kind, &PUBLISHER_EXTENSIONS);
            let (track, codecs) = match kind {
                MediaKind::Audio => ("microphone", AUDIO_CODECS),
                MediaKind::Video => ("camera", VIDEO_CODECS),
            };
            let _ = write!(
                out,
                "a=sendonly\r\na=msid:stream {track}\r\na=rtcp-mux\r\na=rtcp-rsize\r\n"
            );
            self.write_codecs(&mut out, codecs);
            let sources = match kind {
                MediaKind::Audio => vec![audio],
                MediaKind::Video if self.rtx => {
                    let _ = write!(out, "a=ssrc-group:FID {video} {rtx}\r\n");
                    vec![video, rtx]
                }
                MediaKind::Video => vec![video],
            };
            for source in sources {
                let _ = write!(
                    out,
                    "a=ssrc:{source} cname:browser\r\na=ssrc:{source} msid:stream {track}\r\n"
                );
            }
        }
        out
    }

    /// What a subscriber wants. It prefers VP9, so that a server that forces VP8 is seen to do so.
    pub fn subscriber_offer(self, local: &Local) -> String {
        let mut out = String::new();
        self.write_head(&mut out);
        for (kind, mid) in self.kinds() {
            let codecs = match kind {
                MediaKind::Audio => {
                    out.push_str("m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0\r\n");
                    AUDIO_CODECS
                }
                MediaKind::Video => {
                    let formats = self.video_formats([98, 96]);
                    let _ = write!(out, "m=video 9 UDP/TLS/RTP/SAVPF {formats}\r\n");
                    VIDEO_CODECS
                }
            };
            write_transport(&mut out, local, "actpass");
            let _ = write!(out, "a=mid:{mid}\r\n");
            self.write_extensions(&mut out, kind, &SUBSCRIBER_EXTENSIONS);
            out.push_str("a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
            self.write_codecs(&mut out, codecs);
        }
        out
    }

    /// Accepts of `offer` what it can, the first codec of each section.
    pub fn subscriber_answer(self, local: &Local, offer: &Remote) -> String {
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
            let rtx = section.rtx_payload_type.filter(|_| self.rtx);
            let _ = write!(out, "m={kind} 9 UDP/TLS/RTP/SAVPF {payload_type}");
            if let Some(rtx) = rtx {
                let _ = write!(out, " {rtx}");
            }
            out.push_str("\r\n");
            write_transport(&mut out, local, "active");
            let _ = write!(out, "a=mid:{}\r\n", section.mid);
            let accepted: Vec<_> = section.extensions.iter().collect();
            self.write_extensions(&mut out, section.kind, &accepted);
            out.push_str("a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
            for (about, line) in &section.codec_lines {
                if *about == Some(payload_type) || (*about == rtx && rtx.is_some()) {
                    self.write_codecs(&mut out, line);
                }
            }
        }
        out
    }
}

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

/// What a browser publishes: Opus on mid 0, VP8 on mid 1.
pub fn publisher_offer(local: &Local, sources: Sources) -> String {
    Capabilities::BROWSER.publisher_offer(local, sources)
}

/// What a browser subscribes to: audio on mid 0, video on mid 1.
pub fn subscriber_offer(local: &Local) -> String {
    Capabilities::BROWSER.subscriber_offer(local)
}

/// A browser's answer: it accepts everything that `offer` offers.
pub fn subscriber_answer(local: &Local, offer: &Remote) -> String {
    Capabilities::BROWSER.subscriber_answer(local, offer)
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
    /// It sends no checks (RFC 8445 section 2.5).
    pub ice_lite: bool,
    /// Its UDP candidates, as listed; none if it sends them apart.
    pub candidates: Vec<SocketAddr>,
    /// Its passive TCP candidates, as listed.
    pub tcp_candidates: Vec<SocketAddr>,
    /// Its media sections, rejected ones left out.
    pub sections: Vec<Section>,
}

/// A media section, and the codec of ours in it.
#[derive(Debug, Clone)]
pub struct Section {
    /// Audio or video.
    pub kind: MediaKind,
    /// `a=mid`.
    pub mid: String,
    /// The payload type of Opus or VP8, else of whatever is listed first.
    pub payload_type: u8,
    /// The payload type of its retransmissions.
    pub rtx_payload_type: Option<u8>,
    /// Header extensions.
    pub extensions: ExtensionIds,
    /// The source that the server declares.
    pub ssrc: Option<u32>,
    /// Its source of retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// `a=rtpmap`, `a=fmtp` and `a=rtcp-fb`, line ends included, and the payload type that each is about.
    codec_lines: Vec<(Option<u8>, String)>,
}

impl Remote {
    /// Reads a server's description; `None` if something that a client needs is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let mut remote = Self::default();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next_if(|line| !line.starts_with("m=")) {
            remote.read_transport(line);
        }
        while let Some(media) = lines.next() {
            let mut section = Section::begin(media);
            while let Some(line) = lines.next_if(|line| !line.starts_with("m=")) {
                remote.read_transport(line);
                if let Some(section) = &mut section {
                    section.read_line(line);
                }
            }
            remote.sections.extend(section.map(Section::choose_codec));
        }
        let complete = !remote.sections.is_empty()
            && !remote.ufrag.is_empty()
            && !remote.pwd.is_empty()
            && !remote.fingerprint.is_empty();
        complete.then_some(remote)
    }

    /// Attributes of the one transport, wherever they stand: at the session level or in a section.
    fn read_transport(&mut self, line: &str) {
        if line == "a=ice-lite" {
            self.ice_lite = true;
        }
        let Some((name, value)) = attribute(line) else {
            return;
        };
        match name {
            "ice-ufrag" => value.clone_into(&mut self.ufrag),
            "ice-pwd" => value.clone_into(&mut self.pwd),
            "setup" => value.clone_into(&mut self.setup),
            "fingerprint" => {
                if let Some(digest) = value.strip_prefix("sha-256 ") {
                    let bytes = digest
                        .split(':')
                        .map(|byte| u8::from_str_radix(byte, 16).ok());
                    self.fingerprint = bytes.collect::<Option<_>>().unwrap_or_default();
                }
            }
            "candidate" => {
                let Some((protocol, addr)) = transport_address(value) else {
                    return;
                };
                let list = match protocol.to_ascii_lowercase().as_str() {
                    "udp" => &mut self.candidates,
                    "tcp" if value.ends_with(" tcptype passive") => &mut self.tcp_candidates,
                    _ => return,
                };
                if !list.contains(&addr) {
                    list.push(addr);
                }
            }
            _ => {}
        }
    }

    /// The section of `kind`.
    pub fn section(&self, kind: MediaKind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }
}

impl Section {
    /// Begins with an `m=` line; `None` if the section is rejected or carries something else.
    fn begin(media: &str) -> Option<Self> {
        let mut words = media.strip_prefix("m=")?.split(' ');
        let kind = match words.next()? {
            "audio" => MediaKind::Audio,
            "video" => MediaKind::Video,
            _ => return None,
        };
        let is_rejected = words.next()? == "0";
        let payload_type = words.nth(1)?.parse().ok()?;
        (!is_rejected).then(|| Self {
            kind,
            mid: String::new(),
            payload_type,
            rtx_payload_type: None,
            extensions: ExtensionIds::default(),
            ssrc: None,
            rtx_ssrc: None,
            codec_lines: Vec::new(),
        })
    }

    fn read_line(&mut self, line: &str) {
        let Some((name, value)) = attribute(line) else {
            return;
        };
        match name {
            "mid" => value.clone_into(&mut self.mid),
            "extmap" => {
                let known = value.split_once(' ').and_then(|(id, uri)| {
                    let id = id.split('/').next()?.parse().ok()?;
                    Some((Extension::from_uri(uri)?, id))
                });
                if let Some((extension, id)) = known {
                    self.extensions.set(extension, id);
                }
            }
            "ssrc-group" => {
                let mut words = value.split(' ');
                if words.next() == Some("FID") {
                    let mut ssrc = || words.next()?.parse().ok();
                    self.ssrc = ssrc();
                    self.rtx_ssrc = ssrc();
                }
            }
            "ssrc" if self.ssrc.is_none() => {
                self.ssrc = value.split(' ').next().and_then(|ssrc| ssrc.parse().ok());
            }
            "rtpmap" | "rtcp-fb" | "fmtp" => {
                let about = value
                    .split(' ')
                    .next()
                    .and_then(|number| number.parse().ok());
                self.codec_lines.push((about, format!("{line}\r\n")));
            }
            _ => {}
        }
    }

    /// Once all lines are read: which of the codecs it will be, and who repeats it.
    fn choose_codec(mut self) -> Self {
        let codec = match self.kind {
            MediaKind::Audio => " opus/48000",
            MediaKind::Video => " VP8/90000",
        };
        let lines = self.codec_lines.iter();
        let ours = lines.clone().find(|(_, line)| line.contains(codec));
        if let Some((Some(payload_type), _)) = ours {
            self.payload_type = *payload_type;
        }
        let repeats = format!(" apt={}\r\n", self.payload_type);
        let rtx = lines.clone().find(|(_, line)| line.ends_with(&repeats));
        self.rtx_payload_type = rtx.and_then(|(payload_type, _)| *payload_type);
        self
    }
}

fn attribute(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("a=")?.split_once(':')
}

/// Reads what follows `candidate:`; `None` unless it is an address that UDP can reach.
pub fn candidate(value: &str) -> Option<SocketAddr> {
    let (protocol, addr) = transport_address(value)?;
    protocol.eq_ignore_ascii_case("udp").then_some(addr)
}

/// Protocol and address of a candidate that can be sent to (RFC 8839 section 5.1).
fn transport_address(value: &str) -> Option<(&str, SocketAddr)> {
    let mut words = value.split(' ').skip(2);
    let protocol = words.next()?;
    let ip = words.nth(1)?.parse().ok()?;
    let port = words.next()?.parse().ok()?;
    (port != 0).then(|| (protocol, SocketAddr::new(ip, port)))
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
        assert!(Remote::parse(&offer).is_some_and(|it| it.candidates.is_empty()));
        let candidate = "a=candidate:1 1 udp 1 192.0.2.1 40000 typ host\r\n";
        assert!(
            Remote::parse(&(offer.clone() + candidate)).is_some_and(|it| it.candidates.len() == 1)
        );
        for missing in ["m=", "a=ice-ufrag", "a=ice-pwd", "a=fingerprint"] {
            assert!(
                Remote::parse(&offer.replace(missing, "x=")).is_none(),
                "{missing}"
            );
        }
        for bad in ["", "v=0", "v=0\r\nm=audio", "v=0\r\nm=audio 9 X y\r\n"] {
            assert!(Remote::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn kurentos_dialect_is_understood() {
        // Transport attributes at the session level, several codecs, no candidate.
        let text = "v=0\na=group:BUNDLE 0 1\na=fingerprint:sha-256 AB:CD\na=ice-ufrag:kms\na=ice-pwd:secret\n\
            m=audio 1 UDP/TLS/RTP/SAVPF 0 111\na=setup:active\na=mid:0\na=rtpmap:111 opus/48000/2\n\
            m=video 1 UDP/TLS/RTP/SAVPF 102 96\na=mid:1\na=rtpmap:102 H264/90000\na=rtpmap:96 VP8/90000\n\
            a=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\na=ssrc:77 cname:user\n\
            m=application 0 UDP/DTLS/SCTP webrtc-datachannel\na=mid:2\n";
        let remote = Remote::parse(text).unwrap();
        assert_eq!(
            (remote.ufrag.as_str(), remote.setup.as_str()),
            ("kms", "active")
        );
        assert!(!remote.ice_lite);
        let [audio, video] = &remote.sections[..] else {
            panic!("{remote:?}");
        };
        assert_eq!((audio.payload_type, video.payload_type), (111, 96));
        assert_eq!((video.ssrc, video.rtx_payload_type), (Some(77), None));
        assert_eq!(video.extensions.get(Extension::AbsSendTime), Some(3));
        let trickled = "1 1 UDP 2013266431 198.51.100.7 40123 typ host";
        assert_eq!(
            candidate(trickled),
            Some(([198, 51, 100, 7], 40_123).into())
        );
        for unusable in [
            "1 1 TCP 1019216383 198.51.100.7 9 typ host tcptype active",
            "1 1 udp 1 a.local 40000 typ host",
            "1 1 udp 1 198.51.100.7 0 typ host",
            "",
        ] {
            assert_eq!(candidate(unusable), None, "{unusable}");
        }
    }

    #[test]
    fn what_a_client_cannot_do_is_neither_offered_nor_accepted() {
        let modest = Capabilities {
            audio: false,
            video: true,
            rtx: false,
            congestion_feedback: false,
        };
        let unwanted = [
            "m=audio",
            "rtx",
            "apt=",
            "transport-cc",
            "goog-remb",
            "abs-send-time",
        ];
        let publishing = modest.publisher_offer(&local(), SOURCES);
        let subscribing = modest.subscriber_offer(&local());
        let tracks = answer_publisher(
            &publisher_offer(&local(), SOURCES),
            &CodecPolicy::default(),
            &server(),
        )
        .unwrap()
        .tracks;
        let offered = offer_subscriber(&tracks, "cname", 0, &mut Random::seeded(1), &server());
        let offer = Remote::parse(&offered.offer).unwrap();
        let answer = Capabilities {
            audio: true,
            ..modest
        }
        .subscriber_answer(&local(), &offer);
        assert!(accept_answer(&answer, &offered.tracks).is_ok());
        for word in unwanted {
            assert!(!publishing.contains(word), "{word} in {publishing}");
            assert!(!subscribing.contains(word), "{word} in {subscribing}");
            assert!(
                word == "m=audio" || !answer.contains(word),
                "{word} in {answer}"
            );
        }
        let publication =
            answer_publisher(&publishing, &CodecPolicy::default(), &server()).unwrap();
        assert_eq!(publication.tracks.len(), 1);
        assert_eq!(publication.tracks[0].rtx_ssrc, None);
    }
}
