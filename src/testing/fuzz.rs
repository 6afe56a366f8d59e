//! The entry of every fuzz target: one function per decoder, which feeds it bytes from outside and panics where a
//! promise of it is broken. `fuzz/` calls them, and `tests/corpora.rs` replays the committed corpora through them.

mod forwarding;
mod moving;
mod relaying;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::config::fake::FakeMachine;
use crate::config::{self, Options, dotenv};
use crate::control::signalling;
use crate::media::rtp::rtcp::{Compound, Packet};
use crate::media::rtp::{ExtensionWriter, Header, RtpPacket, descriptor, retransmission};
use crate::media::sdp::{
    Candidate, CodecPolicy, Fingerprint, IceCredentials, LocalTransport, Rejection,
    RemoteTransport, Track, accept_answer, answer_publisher, answer_publisher_with_loopback,
    answer_subscriber, offer_subscriber,
};
use crate::media::stun::{self, AttributeType, IntegrityKey, Message};
use crate::media::transport::srtp::{
    MAX_OVERHEAD, Profile, Receiver, Sender, client_halves, server_halves,
};
use crate::media::transport::{Identity, Input, Link, Output, Path, Transport};
use crate::media::turn::{Action, FiveTuple, Protocol, Server, Settings};
use crate::testing::t0;
use crate::units::{Bitrate, Codec, ExtensionIds, Feedback, MediaKind, PayloadType, Random};

pub use forwarding::{forwarded, header_extension, router};
pub use moving::{compose, nginx};
pub use relaying::turn_server;

/// A target's name, which is also that of its corpus, and its entry.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 17] = [
    ("stun", stun),
    ("stun_server", stun_server),
    ("turn_server", turn_server),
    ("srtp", srtp),
    ("rtp", rtp),
    ("descriptor", descriptor),
    ("header_extension", header_extension),
    ("router", router),
    ("rtcp", rtcp),
    ("sdp_answer_publisher", sdp_answer_publisher),
    ("sdp_answer_subscriber", sdp_answer_subscriber),
    ("sdp_accept_answer", sdp_accept_answer),
    ("client_hello", client_hello),
    ("dotenv", dotenv),
    ("json_rpc", json_rpc),
    ("nginx", nginx),
    ("compose", compose),
];

/// The largest UDP payload.
const MAX_DATAGRAM: usize = 65_507;

/// The password with which the seeds are signed.
const ICE_PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

/// One STUN message (RFC 8489): what is read lies within it, and what is read twice is the same.
pub fn stun(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else {
        assert_eq!(stun::username(bytes), None);
        return;
    };
    let mut counted = 0;
    for attribute in message.attributes() {
        counted += 4 + attribute.value.len().next_multiple_of(4);
        assert!(message.has(attribute.kind));
    }
    assert!(counted + 20 <= bytes.len());
    for unknown in message.unknown_attributes(&[AttributeType::USERNAME]) {
        assert!(unknown.is_comprehension_required());
        assert_ne!(unknown, AttributeType::USERNAME);
    }
    let _ = message.is_authentic(&IntegrityKey::short_term(ICE_PASSWORD));
    let _ = message.fingerprint();
    let _ = message.xor_mapped_address();
    let _ = message.priority();
    let _ = message.ice_controlling();
    let _ = message.ice_controlled();
    if let Some(error) = message.error_code() {
        assert!((300..700).contains(&error.code));
    }
    if let Some(name) = stun::username(bytes) {
        assert_eq!(message.username(), Some(name));
    }
}

/// The STUN server on port 3478: it answers with a STUN message that fits, or not at all, and never an answer.
pub fn stun_server(bytes: &[u8]) {
    let mut out = [0; 1_500];
    let mut server = Server::new(t0(), Settings::stun_only(), Random::seeded(1));
    let from = FiveTuple::new(
        Protocol::Udp,
        SocketAddr::from(([192, 0, 2, 1], 40_000)),
        SocketAddr::from(([192, 0, 2, 2], 3_478)),
    );
    let Action::Reply { len } = server.handle_input(t0(), from, bytes, &mut out) else {
        return;
    };
    let answer = Message::parse(&out[..len]).expect("an answer is a STUN message");
    let request = Message::parse(bytes).expect("only a STUN message is answered");
    assert_eq!(request.class(), stun::Class::Request);
    assert_eq!(answer.transaction_id(), request.transaction_id());
    assert_ne!(answer.class(), stun::Class::Request);
    assert_eq!(
        server.handle_input(t0(), from, &out[..len], &mut [0; 1_500]),
        Action::Nothing,
        "an answer to an answer is a loop"
    );
}

/// What an unproved peer may say to a transport: datagrams, each behind its length in two bytes, from an address that
/// ICE has validated. Nothing is answered elsewhere, and nobody is connected without a certificate.
pub fn client_hello(bytes: &[u8]) {
    handshake_begins(bytes);
}

/// What [`client_hello`] does; returns whether DTLS answered.
pub fn handshake_begins(bytes: &[u8]) -> bool {
    static IDENTITY: OnceLock<Arc<Identity>> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Arc::new(Identity::generate().expect("a certificate")));
    let path = Path {
        link: Link(0),
        local: None,
        remote: SocketAddr::from(([192, 0, 2, 1], 40_000)),
    };
    let mut transport = Transport::new(
        t0(),
        IceCredentials {
            ufrag: "ours".into(),
            pwd: ICE_PASSWORD.into(),
        },
        None,
        identity,
    );
    assert_eq!(
        transport.handle_input(t0(), path, &mut ice_check()),
        Input::Handled
    );
    assert!(transport.is_validated(&path));
    assert!(matches!(
        transport.poll_output(),
        Some(Output::Transmit { .. })
    ));
    let mut answered = false;
    let mut rest = bytes;
    while let Some((len, tail)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes(*len)).min(tail.len());
        let (datagram, tail) = tail.split_at(len);
        rest = tail;
        // STUN could end the path, and is a target of its own.
        if datagram.first().is_some_and(|first| *first > 3) {
            let input = transport.handle_input(t0(), path, &mut datagram.to_vec());
            assert!(matches!(input, Input::Handled | Input::Dropped(_)));
        }
        while let Some(output) = transport.poll_output() {
            match output {
                Output::Transmit { path: to, .. } => {
                    assert_eq!(to, path);
                    answered = true;
                }
                Output::Connected { .. } | Output::WentQuiet | Output::HeardAgain => {
                    panic!("connected to nobody")
                }
                Output::Failed(_) => {}
            }
        }
    }
    assert_eq!(transport.path(), None);
    answered
}

/// A nominating check for the transport that [`client_hello`] talks to.
fn ice_check() -> Vec<u8> {
    let mut buffer = vec![0; 256];
    let mut writer = stun::Writer::new(
        &mut buffer,
        stun::Class::Request,
        stun::Method::BINDING,
        stun::TransactionId([1; 12]),
    );
    writer.attribute(AttributeType::USERNAME, b"ours:theirs");
    writer.attribute(AttributeType::PRIORITY, &[0, 0, 1, 0]);
    writer.attribute(AttributeType::ICE_CONTROLLING, &[1; 8]);
    writer.attribute(AttributeType::USE_CANDIDATE, &[]);
    writer.integrity(&IntegrityKey::short_term(ICE_PASSWORD));
    writer.fingerprint();
    let len = writer.finish().expect("256 bytes are enough");
    buffer.truncate(len);
    buffer
}

/// A `.env` file: every line is accounted for, and the whole configuration is judged without a panic.
pub fn dotenv(bytes: &[u8]) {
    let read = dotenv::parse(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    for (key, entry) in &read.entries {
        assert!((1..=lines).contains(&entry.line));
        assert_eq!(key.trim(), key);
        assert!(!key.is_empty() && !key.contains('=') && !entry.value.contains('\n'));
    }
    assert!(read.entries.len() + read.faults.len() <= lines);
    assert!(read.faults.iter().all(|fault| fault.line <= lines));
    moving::carried(bytes);

    let file = PathBuf::from("/etc/hanok/.env");
    let machine = FakeMachine {
        files: BTreeMap::from([(file.clone(), bytes.to_vec())]),
        ..FakeMachine::default()
    };
    let options = Options {
        env_file: Some(file),
        dev: false,
    };
    if let Err(report) = config::load(&machine, &options) {
        assert!(!report.problems.is_empty());
    }
}

/// One frame of signalling: what is refused gets one well-formed answer to the same id.
pub fn json_rpc(bytes: &[u8]) {
    let Ok(frame) = std::str::from_utf8(bytes) else {
        return;
    };
    let Some(answer) = signalling::refusal_of(frame) else {
        return;
    };
    let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
    assert_eq!(answer["jsonrpc"], "2.0");
    assert!(answer["error"]["code"].is_i64());
    assert!(answer["error"]["message"].is_string());
    let Ok(request) = serde_json::from_str::<Value>(frame) else {
        assert_eq!(answer["id"], Value::Null);
        return;
    };
    if !answer["id"].is_null() {
        assert_eq!(answer["id"], request["id"]);
    }
}

/// SRTP and SRTCP under all profiles: nothing without the key is opened, and whatever can be sealed comes back.
pub fn srtp(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_DATAGRAM)];
    for profile in [
        Profile::AeadAes256Gcm,
        Profile::AeadAes128Gcm,
        Profile::Aes128CmSha1_80,
    ] {
        let (mut sender, mut receiver) = srtp_association(profile);
        assert!(receiver.unprotect_rtp(&mut bytes.to_vec()).is_err());
        assert!(receiver.unprotect_rtcp(&mut bytes.to_vec()).is_err());

        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len() + MAX_OVERHEAD, 0);
        if let Ok(len) = sender.protect_rtp(&mut buffer, bytes.len()) {
            assert_eq!(receiver.unprotect_rtp(&mut buffer[..len]), Ok(bytes.len()));
            assert_eq!(&buffer[..bytes.len()], bytes);
        } else {
            assert!(RtpPacket::parse(bytes).is_err());
        }
        let mut buffer = bytes.to_vec();
        buffer.resize(bytes.len() + MAX_OVERHEAD, 0);
        if let Ok(len) = sender.protect_rtcp(&mut buffer, bytes.len()) {
            assert_eq!(receiver.unprotect_rtcp(&mut buffer[..len]), Ok(bytes.len()));
            assert_eq!(&buffer[..bytes.len()], bytes);
        }
    }
}

fn srtp_association(profile: Profile) -> (Sender, Receiver) {
    let material = vec![7; profile.keying_material_len()];
    let (sender, _) = client_halves(profile, &material).expect("the length fits");
    let (_, receiver) = server_halves(profile, &material).expect("the length fits");
    (sender, receiver)
}

/// One RTP packet (RFC 3550, RFC 8285): its parts lie within it, and it survives being rewritten as for a consumer.
pub fn rtp(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_DATAGRAM)];
    let Ok(packet) = RtpPacket::parse(bytes) else {
        return;
    };
    let parts = packet.csrcs.len() + packet.extension.len() + packet.payload.len();
    assert!(12 + parts <= bytes.len());

    let mut out = vec![0; bytes.len() + 512];
    let mut writer = ExtensionWriter::new(&mut out[12..]);
    let mut kept = Vec::new();
    for (id, data) in packet.extensions() {
        assert!(data.len() <= packet.extension.len());
        if (1..=14).contains(&id) && (1..=16).contains(&data.len()) {
            writer.push(id, data);
            kept.push((id, data));
        }
    }
    let extension_len = writer.finish();
    let header = Header {
        sequence_number: packet.header.sequence_number.plus(1),
        ..packet.header
    };
    header.write(
        out.first_chunk_mut().expect("512 bytes and more"),
        extension_len > 0,
    );
    let len = 12 + extension_len + packet.payload.len();
    out[12 + extension_len..len].copy_from_slice(packet.payload);
    let rewritten = RtpPacket::parse(&out[..len]).expect("what we write is RTP");
    assert_eq!(rewritten.header, header);
    assert_eq!(rewritten.payload, packet.payload);
    assert!(rewritten.extensions().eq(kept));

    let mut overwritten = bytes.to_vec();
    header.overwrite(&mut overwritten).expect("it is RTP");
    let overwritten = RtpPacket::parse(&overwritten).expect("only fields changed");
    assert_eq!(overwritten.header, header);
    assert_eq!(overwritten.payload, packet.payload);
    descriptor(packet.payload);
}

/// A payload, read as of every codec and as a retransmission (RFC 4588). What is read lies within its bits, and is the
/// same whatever follows.
pub fn descriptor(payload: &[u8]) {
    let longer = [payload, &[0xff; 3]].concat();
    if let Some(vp8) = descriptor::vp8::Descriptor::parse(payload) {
        assert!(vp8.partition <= 7 && vp8.temporal_id.is_none_or(|id| id <= 3));
        assert!(vp8.picture_id.is_none_or(|id| id < 1 << 15));
        assert_eq!(descriptor::vp8::Descriptor::parse(&longer), Some(vp8));
    }
    if let Some(vp9) = descriptor::vp9::Descriptor::parse(payload) {
        assert!(
            vp9.temporal_id.is_none_or(|id| id <= 7) && vp9.spatial_id.is_none_or(|id| id <= 7)
        );
        assert!(vp9.picture_id.is_none_or(|id| id < 1 << 15));
        assert_eq!(descriptor::vp9::Descriptor::parse(&longer), Some(vp9));
    }
    if let Some(av1) = descriptor::av1::AggregationHeader::parse(payload) {
        assert!(av1.unit_count <= 3 && !(av1.continues && av1.new_coded_video_sequence));
        assert_eq!(
            descriptor::av1::AggregationHeader::parse(&longer),
            Some(av1)
        );
    }
    for codec in Codec::ALL {
        if descriptor::starts_key_frame(codec, payload) {
            assert!(codec == Codec::Opus || !payload.is_empty());
            assert!(descriptor::starts_key_frame(codec, &longer));
        }
    }
    if let Some((original, rest)) = retransmission::unwrap(payload) {
        let mut again = vec![0; payload.len()];
        let len = retransmission::wrap(&mut again, original, rest);
        assert_eq!(len, Some(payload.len()));
        assert_eq!(again, payload);
    }
}

/// One compound RTCP packet (RFC 3550, RFC 4585, RFC 5104): every list in it ends.
pub fn rtcp(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MAX_DATAGRAM)];
    let mut packets = 0;
    let mut items = 0;
    for packet in Compound::new(bytes) {
        packets += 1;
        items += match packet {
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                blocks.count()
            }
            Packet::SourceDescription { cname, .. } => cname.map_or(0, <[u8]>::len),
            Packet::Goodbye { ssrcs } => ssrcs.count(),
            Packet::Nack { lost, .. } => lost.count(),
            Packet::FullIntraRequest { sources } => sources.count(),
            Packet::ExtendedReport { replies } => replies.count(),
            Packet::ReceiverEstimatedMaximumBitrate { ssrcs, .. } => ssrcs.count(),
            Packet::TransportWide { report } => report.len(),
            Packet::PictureLossIndication { .. } | Packet::Other { .. } => 0,
        };
    }
    assert!(packets <= bytes.len() / 4);
    // A NACK item of four bytes names 17 packets.
    assert!(items <= 5 * bytes.len());
}

/// A publisher's offer: the answer is well-formed, and what was negotiated can be offered to a subscriber.
pub fn sdp_answer_publisher(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for policy in [
        CodecPolicy::default(),
        CodecPolicy {
            forced_video: Some(Codec::Vp8),
            fall_back: false,
            max_receive: Some(Bitrate::from_kbps(1_000)),
        },
        CodecPolicy {
            forced_video: Some(Codec::H264),
            fall_back: true,
            max_receive: None,
        },
    ] {
        let Ok(publishing) = answer_publisher(&text, &policy, &local_transport()) else {
            continue;
        };
        well_formed(&publishing.answer, &text);
        sound(&publishing.remote, &publishing.tracks);
        assert!(!publishing.tracks.is_empty());
        assert!(publishing.loopback.is_empty());
        let mut random = Random::seeded(1);
        let looped = answer_publisher_with_loopback(
            &text,
            &policy,
            "cname",
            &mut random,
            &local_transport(),
        );
        let looped = looped.expect("loopback refuses nothing");
        well_formed(&looped.answer, &text);
        assert_eq!(looped.tracks, publishing.tracks);
        sound(&looped.remote, &looped.loopback);
        for sent in &looped.loopback {
            assert!(looped.tracks.iter().any(|track| track.mid == sent.mid));
        }
        let offering = offer_subscriber(
            &publishing.tracks,
            "cname",
            0,
            &mut random,
            &local_transport(),
        );
        well_formed(&offering.offer, &text);
        // A client is never ICE-lite; but for that our own reader must understand what we write.
        let read_back = answer_subscriber(
            &offering.offer.replace("a=ice-lite\r\n", ""),
            &publishing.tracks,
            "cname",
            &mut random,
            &local_transport(),
        );
        assert!(
            !matches!(read_back, Err(Rejection::Malformed(_))),
            "{read_back:?}"
        );
    }
}

/// A subscriber's offer.
pub fn sdp_answer_subscriber(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let answered = answer_subscriber(
        &text,
        &source_tracks(),
        "cname",
        &mut Random::seeded(1),
        &local_transport(),
    );
    if let Ok(subscribing) = answered {
        well_formed(&subscribing.answer, &text);
        sound(&subscribing.remote, &subscribing.tracks);
    }
}

/// A subscriber's answer to our offer.
pub fn sdp_accept_answer(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let offering = offer_subscriber(
        &source_tracks(),
        "cname",
        0,
        &mut Random::seeded(1),
        &local_transport(),
    );
    if let Ok((remote, tracks)) = accept_answer(&text, &offering.tracks) {
        sound(&remote, &tracks);
    }
}

fn well_formed(written: &str, read: &str) {
    assert!(written.ends_with("\r\n"));
    for line in written.split_terminator("\r\n") {
        assert!(line.as_bytes().get(1) == Some(&b'='), "{line}");
        assert!(!line.chars().any(char::is_control), "{line}");
    }
    assert!(written.len() <= 16 * read.len() + 8_192);
}

fn sound(remote: &RemoteTransport, tracks: &[Track]) {
    assert!(!remote.fingerprints.is_empty());
    assert!((4..=256).contains(&remote.ice.ufrag.len()));
    assert!((22..=256).contains(&remote.ice.pwd.len()));
    for kind in [MediaKind::Audio, MediaKind::Video] {
        assert!(tracks.iter().filter(|track| track.kind == kind).count() <= 1);
    }
    for track in tracks {
        assert_eq!(track.codec.kind(), track.kind);
    }
}

fn local_transport() -> LocalTransport {
    LocalTransport {
        ice: IceCredentials {
            ufrag: "ours".into(),
            pwd: ICE_PASSWORD.into(),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            digest: vec![0xab; 32],
        },
        candidates: Arc::new([Candidate {
            addr: SocketAddr::from(([192, 0, 2, 1], 40_000)),
            tcp: false,
            rank: 0,
        }]),
    }
}

/// Opus and VP8, as a browser publishes them.
fn source_tracks() -> [Track; 2] {
    let track = |codec: Codec, mid: &str, payload_type, rtx| Track {
        kind: codec.kind(),
        mid: mid.into(),
        codec,
        payload_type: PayloadType::new(payload_type).expect("seven bits"),
        rtx_payload_type: PayloadType::new(rtx),
        fmtp: String::new(),
        extensions: ExtensionIds::default(),
        feedback: Feedback::default(),
        ssrc: None,
        rtx_ssrc: None,
    };
    [
        track(Codec::Opus, "0", 111, 128),
        track(Codec::Vp8, "1", 96, 97),
    ]
}
