//! The router's behaviour, seen from its transports in simulated time.

mod codecs;
mod loss;
mod muting;
mod quality;
mod replacing;
mod storm;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Output, Router, TransportKey};
use crate::media::rtp::rtcp::{Compound, Packet, ReportBlock, SenderInfo, Writer};
use crate::media::rtp::{ExtensionWriter, Header, RtpPacket};
use crate::testing::sink::Recording;
use crate::testing::t0;
use crate::units::{
    Bitrate, Codec, Extension, ExtensionIds, Feedback, MediaKind, PayloadType, Random, SeqNo, Ssrc,
    Track,
};

const PUBLISHER: TransportKey = TransportKey(1);
const SUBSCRIBER: TransportKey = TransportKey(2);

const AUDIO: Ssrc = Ssrc(1000);
const VIDEO: Ssrc = Ssrc(2000);
const VIDEO_RTX: Ssrc = Ssrc(2001);
const OUT_AUDIO: Ssrc = Ssrc(7000);
const OUT_VIDEO: Ssrc = Ssrc(8000);
const OUT_VIDEO_RTX: Ssrc = Ssrc(8001);

fn payload_type(value: u8) -> PayloadType {
    PayloadType::new(value).unwrap()
}

fn ids(list: &[(Extension, u8)]) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    for (extension, id) in list {
        ids.set(*extension, *id);
    }
    ids
}

/// As a browser publishes it.
fn audio() -> Track {
    Track {
        kind: MediaKind::Audio,
        mid: "0".into(),
        codec: Codec::Opus,
        payload_type: payload_type(111),
        rtx_payload_type: None,
        fmtp: String::new(),
        extensions: ids(&[
            (Extension::AudioLevel, 1),
            (Extension::AbsSendTime, 2),
            (Extension::TransportCc, 3),
            (Extension::Mid, 4),
        ]),
        feedback: Feedback {
            transport_cc: true,
            ..Feedback::default()
        },
        ssrc: Some(AUDIO),
        rtx_ssrc: None,
    }
}

fn video() -> Track {
    Track {
        kind: MediaKind::Video,
        mid: "1".into(),
        codec: Codec::Vp8,
        payload_type: payload_type(96),
        rtx_payload_type: Some(payload_type(97)),
        fmtp: String::new(),
        extensions: ids(&[
            (Extension::AbsSendTime, 2),
            (Extension::TransportCc, 3),
            (Extension::Mid, 4),
            (Extension::VideoOrientation, 13),
            (Extension::PlayoutDelay, 5),
        ]),
        feedback: Feedback {
            nack: true,
            pli: true,
            fir: true,
            remb: true,
            transport_cc: true,
        },
        ssrc: Some(VIDEO),
        rtx_ssrc: Some(VIDEO_RTX),
    }
}

/// As another browser subscribes to it: every number differs.
fn audio_out() -> Track {
    Track {
        mid: "sound".into(),
        payload_type: payload_type(109),
        extensions: ids(&[
            (Extension::AudioLevel, 7),
            (Extension::Mid, 9),
            (Extension::TransportCc, 10),
        ]),
        ssrc: Some(OUT_AUDIO),
        ..audio()
    }
}

fn video_out() -> Track {
    Track {
        mid: "picture".into(),
        payload_type: payload_type(120),
        rtx_payload_type: Some(payload_type(121)),
        extensions: ids(&[
            (Extension::Mid, 9),
            (Extension::TransportCc, 10),
            (Extension::AbsSendTime, 11),
            (Extension::VideoOrientation, 12),
            (Extension::PlayoutDelay, 14),
        ]),
        ssrc: Some(OUT_VIDEO),
        rtx_ssrc: Some(OUT_VIDEO_RTX),
        ..video()
    }
}

fn video_out_without_rtx() -> Track {
    Track {
        rtx_payload_type: None,
        rtx_ssrc: None,
        ..video_out()
    }
}

/// A packet to publish.
#[derive(Debug, Clone)]
struct Rtp {
    header: Header,
    extensions: Vec<(u8, Vec<u8>)>,
    payload: Vec<u8>,
}

impl Rtp {
    fn audio(seq: u16) -> Self {
        Self {
            header: Header {
                marker: false,
                payload_type: payload_type(111),
                sequence_number: SeqNo(seq),
                timestamp: u32::from(seq) * 960,
                ssrc: AUDIO,
            },
            extensions: Vec::new(),
            payload: vec![0xfc, seq as u8],
        }
    }

    /// A VP8 frame in one packet.
    fn frame(seq: u16) -> Self {
        let mut packet = Self::audio(seq);
        packet.header.payload_type = payload_type(96);
        packet.header.ssrc = VIDEO;
        packet.header.timestamp = u32::from(seq) * 3000;
        packet.payload = vec![0x10, 0x01, (seq >> 8) as u8, seq as u8];
        packet
    }

    fn key_frame(seq: u16) -> Self {
        let mut packet = Self::frame(seq);
        packet.payload[1] = 0x00;
        packet
    }

    fn with(mut self, id: u8, data: &[u8]) -> Self {
        self.extensions.push((id, data.to_vec()));
        self
    }

    fn from(mut self, ssrc: Ssrc) -> Self {
        self.header.ssrc = ssrc;
        self
    }

    /// As the publisher's browser retransmits it.
    fn retransmitted(mut self, rtx_seq: u16) -> Self {
        let original = self.header.sequence_number.0.to_be_bytes();
        self.payload.splice(..0, original);
        self.header.sequence_number = SeqNo(rtx_seq);
        self.header.payload_type = payload_type(97);
        self.header.ssrc = VIDEO_RTX;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 200];
        let mut writer = ExtensionWriter::new(&mut out[12..]);
        for (id, data) in &self.extensions {
            writer.push(*id, data);
        }
        let len = writer.finish();
        self.header.write(out.first_chunk_mut().unwrap(), len > 0);
        out.truncate(12 + len);
        out.extend(&self.payload);
        out
    }
}

struct Room {
    router: Router,
    now: Instant,
    sink: Recording,
    rtcp: Vec<(TransportKey, Vec<u8>)>,
    qualities: Vec<(TransportKey, u8)>,
}

impl Room {
    fn empty() -> Self {
        Self {
            router: Router::new(t0(), Random::seeded(1)),
            now: t0(),
            sink: Recording::default(),
            rtcp: Vec::new(),
            qualities: Vec::new(),
        }
    }

    /// One publisher with these tracks, nobody subscribed.
    fn published(tracks: &[Track]) -> Self {
        let mut room = Self::empty();
        room.router.add_publisher(room.now, PUBLISHER, tracks, None);
        room.router.connected(room.now, PUBLISHER);
        room
    }

    /// One publisher of audio and video, one subscriber whose transport is up.
    fn call() -> Self {
        let mut room = Self::published(&[audio(), video()]);
        room.subscribe(SUBSCRIBER, &[audio_out(), video_out()]);
        room
    }

    /// The same, and the first key frame has gone through.
    fn flowing_call(first: u16) -> Self {
        let mut room = Self::call();
        room.publish(&Rtp::key_frame(first));
        assert_eq!(room.sink.sent.len(), 1, "the key frame");
        room.sink.sent.clear();
        room.rtcp.clear();
        room
    }

    fn subscribe(&mut self, key: TransportKey, tracks: &[Track]) {
        self.subscribe_at_most(key, tracks, None);
    }

    fn subscribe_at_most(
        &mut self,
        key: TransportKey,
        tracks: &[Track],
        max_send: Option<Bitrate>,
    ) {
        self.router.add_subscriber(self.now, key, PUBLISHER, tracks);
        self.router.limit_subscriber(key, max_send);
        self.router.connected(self.now, key);
        self.drain();
    }

    fn publish(&mut self, packet: &Rtp) {
        self.publish_run(std::slice::from_ref(packet));
    }

    fn publish_run(&mut self, run: &[Rtp]) {
        self.publish_run_from(PUBLISHER, run);
    }

    fn publish_run_from(&mut self, publisher: TransportKey, run: &[Rtp]) {
        let bytes: Vec<_> = run.iter().map(Rtp::bytes).collect();
        let slices: Vec<_> = bytes.iter().map(Vec::as_slice).collect();
        self.router
            .handle_rtp(self.now, publisher, &slices, &mut self.sink);
        self.drain();
    }

    fn rtcp_from(&mut self, from: TransportKey, write: impl FnOnce(&mut Writer<'_>)) {
        let mut bytes = Vec::new();
        write(&mut Writer::new(&mut bytes));
        self.router
            .handle_rtcp(self.now, from, &bytes, &mut self.sink);
        self.drain();
    }

    /// Time passes; every deadline in between is kept to the instant.
    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        let mut turns = 0;
        while let Some(at) = self.router.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.router.handle_timeout(self.now);
            self.drain();
            turns += 1;
            assert!(turns < 100_000, "the router does not get past {at:?}");
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(output) = self.router.poll_output() {
            match output {
                Output::Rtcp { to, packet } => {
                    assert!(packet.len() <= 1200);
                    self.rtcp.push((to, packet.to_vec()));
                }
                Output::Quality { of, level } => self.qualities.push((of, level)),
            }
        }
    }

    /// What `to` got since the last time, read.
    fn received(&mut self, to: TransportKey) -> Vec<Received> {
        self.sink
            .sent
            .extract_if(.., |(key, _)| *key == to)
            .map(|(_, bytes)| Received::read(&bytes))
            .collect()
    }

    fn reports(&mut self, to: TransportKey) -> Vec<Vec<u8>> {
        self.rtcp
            .extract_if(.., |(key, _)| *key == to)
            .map(|(_, packet)| packet)
            .collect()
    }

    /// The sequence numbers that the publisher was asked for.
    fn asked(&mut self) -> Vec<u16> {
        self.reports(PUBLISHER)
            .iter()
            .flat_map(|packet| Compound::new(packet))
            .filter_map(|packet| {
                let Packet::Nack { media, lost } = packet else {
                    return None;
                };
                assert_eq!(media, VIDEO);
                Some(lost.map(|seq| seq.0).collect::<Vec<_>>())
            })
            .flatten()
            .collect()
    }

    /// How often the publisher was asked for a key frame.
    fn key_frame_requests(&mut self) -> usize {
        let reports = self.reports(PUBLISHER);
        reports
            .iter()
            .flat_map(|packet| Compound::new(packet))
            .filter(|packet| {
                matches!(
                    packet,
                    Packet::PictureLossIndication { .. } | Packet::FullIntraRequest { .. }
                )
            })
            .count()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Received {
    header: Header,
    extensions: Vec<(u8, Vec<u8>)>,
    payload: Vec<u8>,
}

impl Received {
    fn read(bytes: &[u8]) -> Self {
        let packet = RtpPacket::parse(bytes).unwrap();
        Self {
            header: packet.header,
            extensions: packet
                .extensions()
                .map(|(id, data)| (id, data.to_vec()))
                .collect(),
            payload: packet.payload.to_vec(),
        }
    }

    fn seq(&self) -> u16 {
        self.header.sequence_number.0
    }

    fn extension(&self, id: u8) -> Option<&[u8]> {
        self.extensions
            .iter()
            .find(|(found, _)| *found == id)
            .map(|(_, data)| data.as_slice())
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn seqs(received: &[Received]) -> Vec<u16> {
    received.iter().map(Received::seq).collect()
}

// Rewriting

#[test]
fn every_number_is_the_subscribers_own() {
    let mut room = Room::call();
    room.advance(Duration::from_millis(1500));
    room.publish(
        &Rtp::audio(500)
            .with(1, &[0x85])
            .with(2, &[1, 2, 3])
            .with(3, &[0, 9])
            .with(4, b"0"),
    );
    room.publish(
        &Rtp::key_frame(60)
            .with(13, &[0x02])
            .with(5, &[0, 0x10, 1])
            .with(3, &[0, 10]),
    );

    let received = room.received(SUBSCRIBER);
    let [sound, picture] = &received[..] else {
        panic!("{received:?}")
    };
    assert_eq!(sound.header.ssrc, OUT_AUDIO);
    assert_eq!(sound.header.payload_type, payload_type(109));
    assert_eq!(sound.payload, Rtp::audio(500).payload);
    assert_eq!(
        sound.extensions,
        [(9, b"sound".to_vec()), (10, vec![0, 0]), (7, vec![0x85])]
    );
    assert_eq!(picture.header.ssrc, OUT_VIDEO);
    assert_eq!(picture.header.payload_type, payload_type(120));
    assert_eq!(picture.header.timestamp, 60 * 3000);
    assert_eq!(
        picture.extensions,
        [
            (9, b"picture".to_vec()),
            (11, vec![6, 0, 0]),
            (10, vec![0, 1]),
            (12, vec![0x02]),
            (14, vec![0, 0x10, 1]),
        ]
    );
}

#[test]
fn marker_and_csrc_free_header_survive() {
    let mut room = Room::call();
    let mut packet = Rtp::key_frame(1);
    packet.header.marker = true;
    room.publish(&packet);
    room.publish(&Rtp::frame(2));
    let markers: Vec<_> = room
        .received(SUBSCRIBER)
        .iter()
        .map(|packet| packet.header.marker)
        .collect();
    assert_eq!(markers, [true, false]);
}

#[test]
fn a_mid_too_long_for_one_byte_headers_is_left_out() {
    let mut room = Room::published(&[audio()]);
    let track = Track {
        mid: "x".repeat(17),
        ..audio_out()
    };
    room.subscribe(SUBSCRIBER, &[track]);
    room.publish(&Rtp::audio(1).with(1, &[3]));
    let received = room.received(SUBSCRIBER);
    assert_eq!(received[0].extension(9), None);
    assert_eq!(received[0].extension(7), Some(&[3_u8][..]));
}

#[test]
fn a_run_comes_out_grouped_by_destination() {
    let mut room = Room::published(&[video()]);
    for key in [5, 3, 4] {
        room.subscribe(TransportKey(key), &[video_out()]);
    }
    let run: Vec<_> = std::iter::once(Rtp::key_frame(10))
        .chain((11..14).map(Rtp::frame))
        .collect();
    room.publish_run(&run);
    let order: Vec<_> = room.sink.sent.iter().map(|(key, _)| key.0).collect();
    assert_eq!(order, [3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5]);
}

#[test]
fn a_run_of_any_length_is_forwarded_whole() {
    let mut room = Room::flowing_call(0);
    let run: Vec<_> = (1..=200).map(Rtp::frame).collect();
    room.publish_run(&run);
    assert_eq!(room.received(SUBSCRIBER).len(), 200);
}

// Key frames

#[test]
fn video_begins_with_a_key_frame_and_audio_at_once() {
    let mut room = Room::call();
    room.publish(&Rtp::audio(1));
    room.publish(&Rtp::frame(1));
    assert_eq!(room.received(SUBSCRIBER).len(), 1);
    room.publish(&Rtp::key_frame(2));
    room.publish(&Rtp::frame(1));
    room.publish(&Rtp::frame(3));
    let received = room.received(SUBSCRIBER);
    assert_eq!(
        received
            .iter()
            .map(|packet| &packet.payload)
            .collect::<Vec<_>>(),
        [&Rtp::key_frame(2).payload, &Rtp::frame(3).payload]
    );
    assert_eq!(received[1].seq(), received[0].seq().wrapping_add(1));
}

#[test]
fn nothing_is_sent_before_the_transport_is_up() {
    let mut room = Room::published(&[audio(), video()]);
    room.router
        .add_subscriber(room.now, SUBSCRIBER, PUBLISHER, &[audio_out(), video_out()]);
    room.publish(&Rtp::audio(1));
    room.publish(&Rtp::key_frame(1));
    assert_eq!(room.sink.sent, []);
    assert_eq!(room.key_frame_requests(), 0);
}

#[test]
fn a_new_subscription_asks_for_one_key_frame_at_once() {
    let mut room = Room::flowing_call(1);
    room.advance(ms(400));
    room.rtcp.clear();
    room.subscribe(TransportKey(9), &[audio_out(), video_out()]);
    assert_eq!(room.key_frame_requests(), 1);
    room.publish(&Rtp::key_frame(2));
    for seq in 3..50 {
        room.advance(ms(33));
        room.publish(&Rtp::frame(seq));
    }
    assert_eq!(room.key_frame_requests(), 0);
    assert_eq!(room.received(TransportKey(9)).len(), 48);
}

#[test]
fn a_request_that_was_lost_is_repeated_while_frames_come() {
    let mut room = Room::flowing_call(1);
    room.advance(ms(400));
    room.subscribe(TransportKey(9), &[video_out()]);
    room.rtcp.clear();
    for seq in 2..62 {
        room.advance(ms(33));
        room.publish(&Rtp::frame(seq));
    }
    assert_eq!(room.key_frame_requests(), 2, "after 500 and 1,500 ms");
    assert_eq!(room.received(TransportKey(9)), []);
}

/// A canvas that changes once in ten seconds, or a picture that stands still.
#[test]
fn a_request_that_was_lost_is_repeated_while_nothing_comes() {
    let mut room = Room::flowing_call(1);
    room.advance(ms(400));
    room.subscribe(TransportKey(9), &[video_out()]);
    assert_eq!(room.key_frame_requests(), 1);
    room.advance(ms(499));
    assert_eq!(room.key_frame_requests(), 0);
    room.advance(ms(9_501));
    assert_eq!(room.key_frame_requests(), 4);
    room.publish(&Rtp::key_frame(2));
    assert_eq!(room.received(TransportKey(9)).len(), 1);
    room.advance(ms(60_000));
    assert_eq!(room.key_frame_requests(), 0);
    assert_eq!(room.router.poll_timeout(), None);
}

#[test]
fn a_storm_of_requests_reaches_the_publisher_once_in_300_ms() {
    let mut room = Room::flowing_call(1);
    let mut asked_at = Vec::new();
    for at in 0..3000 {
        room.advance(ms(1));
        for _ in 0..3 {
            room.rtcp_from(SUBSCRIBER, |writer| {
                writer
                    .picture_loss_indication(Ssrc(1), OUT_VIDEO)
                    .full_intra_request(Ssrc(1), OUT_VIDEO, at as u8);
            });
        }
        if room.key_frame_requests() > 0 {
            asked_at.push(at);
        }
    }
    assert_eq!(asked_at.len(), 10);
    assert!(asked_at.windows(2).all(|pair| pair[1] - pair[0] >= 300));
}

#[test]
fn the_request_that_waits_is_sent_when_the_throttle_opens() {
    let mut room = Room::flowing_call(1);
    let ask = |room: &mut Room| {
        room.rtcp_from(SUBSCRIBER, |writer| {
            writer.picture_loss_indication(Ssrc(1), OUT_VIDEO);
        });
    };
    ask(&mut room);
    assert_eq!(room.key_frame_requests(), 1);
    room.advance(ms(100));
    ask(&mut room);
    room.advance(ms(199));
    assert_eq!(room.key_frame_requests(), 0);
    room.advance(ms(1));
    assert_eq!(room.key_frame_requests(), 1);
    room.publish(&Rtp::key_frame(2));
    room.advance(ms(5000));
    assert_eq!(room.key_frame_requests(), 0);
}

#[test]
fn a_request_for_audio_or_a_foreign_source_asks_nobody() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::audio(1));
    room.rtcp.clear();
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer
            .picture_loss_indication(Ssrc(1), OUT_AUDIO)
            .picture_loss_indication(Ssrc(1), VIDEO)
            .full_intra_request(Ssrc(1), Ssrc(5), 1);
    });
    room.rtcp_from(TransportKey(77), |writer| {
        writer.picture_loss_indication(Ssrc(1), OUT_VIDEO);
    });
    assert_eq!(room.key_frame_requests(), 0);
}

#[test]
fn a_publisher_that_knows_only_fir_gets_fir_with_growing_numbers() {
    let mut track = video();
    track.feedback.pli = false;
    let mut room = Room::published(&[track]);
    room.subscribe(SUBSCRIBER, &[video_out()]);
    room.publish(&Rtp::key_frame(1));
    let mut numbers = Vec::new();
    for _ in 0..2 {
        room.rtcp.clear();
        room.rtcp_from(SUBSCRIBER, |writer| {
            writer.picture_loss_indication(Ssrc(1), OUT_VIDEO);
        });
        let reports = room.reports(PUBLISHER);
        assert!(matches!(
            Compound::new(&reports[0]).next(),
            Some(Packet::FullIntraRequest { .. })
        ));
        numbers.push(reports[0][16]);
        room.advance(ms(400));
    }
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_publisher_that_knows_neither_is_not_asked() {
    let mut track = video();
    (track.feedback.pli, track.feedback.fir) = (false, false);
    let mut room = Room::published(&[track]);
    room.publish(&Rtp::frame(1));
    room.subscribe(SUBSCRIBER, &[video_out()]);
    for seq in 2..100 {
        room.publish(&Rtp::frame(seq));
        room.advance(ms(33));
    }
    assert_eq!(room.key_frame_requests(), 0);
}

// Sequence numbers and sources

#[test]
fn first_numbers_lie_far_from_the_roll_over() {
    for seed in 0..50 {
        let mut room = Room::empty();
        room.router = Router::new(t0(), Random::seeded(seed));
        room.router
            .add_publisher(room.now, PUBLISHER, &[video()], None);
        room.subscribe(SUBSCRIBER, &[video_out()]);
        room.publish(&Rtp::key_frame(60_000));
        let first = room.received(SUBSCRIBER)[0].header.sequence_number;
        room.rtcp_from(SUBSCRIBER, |writer| {
            writer.nack(Ssrc(1), OUT_VIDEO, &[first]);
        });
        let again = room.received(SUBSCRIBER)[0].header;
        assert_eq!(again.ssrc, OUT_VIDEO_RTX);
        assert!(first.0 < 0x8000 && again.sequence_number.0 < 0x8000);
    }
}

#[test]
fn a_gap_stays_a_gap_and_a_late_packet_fills_it() {
    let mut room = Room::flowing_call(65_530);
    for seq in [65_531, 65_534, 2, 65_532] {
        room.publish(&Rtp::frame(seq));
    }
    let received = seqs(&room.received(SUBSCRIBER));
    let first = received[0];
    assert_eq!(
        received
            .iter()
            .map(|seq| seq.wrapping_sub(first))
            .collect::<Vec<_>>(),
        [0, 3, 7, 1]
    );
}

#[test]
fn duplicates_are_forwarded_once() {
    let mut room = Room::flowing_call(1);
    for seq in [2, 2, 4, 3, 3, 2] {
        room.publish(&Rtp::frame(seq));
    }
    assert_eq!(room.received(SUBSCRIBER).len(), 3);
}

#[test]
fn padding_is_not_forwarded_and_leaves_no_gap() {
    let mut room = Room::flowing_call(1);
    let mut padding = Rtp::frame(2);
    padding.payload = vec![0, 0, 0, 4];
    let mut bytes = padding.bytes();
    bytes[0] |= 0x20;
    room.router
        .handle_rtp(room.now, PUBLISHER, &[&bytes], &mut room.sink);
    let mut comfort_noise = Rtp::frame(3);
    comfort_noise.header.payload_type = payload_type(13);
    room.publish(&comfort_noise);
    room.publish(&Rtp::frame(4));
    room.publish(&Rtp::frame(5));
    let received = room.received(SUBSCRIBER);
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].payload, Rtp::frame(4).payload);
    assert_eq!(received[1].seq(), received[0].seq().wrapping_add(1));
    let stats = room.router.producers().nth(1).unwrap().1;
    assert_eq!(stats.packets, 3, "padding is no media");
}

#[test]
fn padding_that_comes_late_fills_its_gap_without_payload() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(3));
    let mut padding = Rtp::frame(2);
    padding.payload.clear();
    room.publish(&padding);
    let received = room.received(SUBSCRIBER);
    assert_eq!(received[1].payload, b"");
    assert_eq!(received[1].seq(), received[0].seq().wrapping_sub(1));
}

#[test]
fn a_restarted_publisher_continues_in_sequence_and_time() {
    let mut room = Room::flowing_call(100);
    room.publish(&Rtp::audio(1));
    room.publish(&Rtp::frame(101));
    let before = room.received(SUBSCRIBER);
    room.advance(ms(400));
    room.rtcp.clear();

    // New sources, as after a publisher's renegotiation: other numbers, other clocks, no key frame yet.
    let mut packet = Rtp::frame(60_000).from(Ssrc(2500));
    packet.header.timestamp = 5;
    room.publish(&packet);
    assert_eq!(room.received(SUBSCRIBER), []);
    assert_eq!(room.key_frame_requests(), 1);
    room.advance(ms(100));
    let mut packet = Rtp::key_frame(60_001).from(Ssrc(2500));
    packet.header.timestamp = 9000;
    room.publish(&packet);
    let mut packet = Rtp::audio(30_000).from(Ssrc(1500));
    packet.header.timestamp = 77;
    room.publish(&packet);
    room.publish(&Rtp::frame(102));

    let after = room.received(SUBSCRIBER);
    assert_eq!(after.len(), 2, "the replaced source is ignored");
    for (index, clock) in [(0, 90_u32), (1, 48)] {
        let old = before[1 - index].header;
        let new = after[index].header;
        assert_eq!(new.ssrc, old.ssrc);
        assert_eq!(new.sequence_number, old.sequence_number.plus(1));
        assert_eq!(new.timestamp.wrapping_sub(old.timestamp), 500 * clock);
    }
}

#[test]
fn a_stray_source_holds_a_track_for_no_longer_than_it_sends() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(40).from(Ssrc(5)));
    room.publish(&Rtp::key_frame(2));
    assert_eq!(room.received(SUBSCRIBER), []);
    room.advance(ms(500));
    room.publish(&Rtp::key_frame(3));
    assert_eq!(room.received(SUBSCRIBER).len(), 1);
}

#[test]
fn an_undeclared_source_is_known_by_its_payload_type() {
    let mut room = Room::published(&[
        Track {
            ssrc: None,
            ..audio()
        },
        Track {
            ssrc: None,
            rtx_ssrc: None,
            ..video()
        },
    ]);
    room.subscribe(SUBSCRIBER, &[audio_out(), video_out()]);
    room.publish(&Rtp::key_frame(1));
    room.publish(&Rtp::audio(1));
    room.publish(&Rtp::frame(3));
    room.publish(&Rtp::frame(2).retransmitted(900));
    let mut foreign = Rtp::frame(4);
    foreign.header.payload_type = payload_type(35);
    foreign.header.ssrc = Ssrc(1);
    room.publish(&foreign);
    let received = room.received(SUBSCRIBER);
    assert_eq!(
        received
            .iter()
            .map(|packet| packet.header.ssrc)
            .collect::<Vec<_>>(),
        [OUT_VIDEO, OUT_AUDIO, OUT_VIDEO, OUT_VIDEO]
    );
    assert_eq!(received[3].payload, Rtp::frame(2).payload);
}

#[test]
fn an_undeclared_source_is_known_by_its_mid_where_payload_types_repeat() {
    let second = Track {
        mid: "2".into(),
        ssrc: None,
        rtx_ssrc: None,
        codec: Codec::Vp9,
        ..video()
    };
    let first = Track {
        ssrc: None,
        rtx_ssrc: None,
        ..video()
    };
    let mut room = Room::published(&[first, second]);
    room.subscribe(SUBSCRIBER, &[video_out()]);
    room.publish(&Rtp::key_frame(1));
    room.publish(&Rtp::key_frame(1).with(4, b"9"));
    room.publish(&Rtp::key_frame(1).from(Ssrc(3)).with(4, b"2"));
    assert_eq!(room.received(SUBSCRIBER), [], "ambiguous, unknown, VP9");
    room.publish(&Rtp::key_frame(1).with(4, b"1"));
    room.publish(&Rtp::frame(2));
    assert_eq!(room.received(SUBSCRIBER).len(), 2);
}

// Loss on the publisher's side

#[test]
fn missing_packets_are_asked_for_at_once_and_again() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(5));
    assert_eq!(room.asked(), [2, 3, 4]);
    room.publish(&Rtp::frame(3));
    room.advance(ms(130));
    assert_eq!(room.asked(), [2, 4]);
    room.publish(&Rtp::frame(2).retransmitted(1));
    room.publish(&Rtp::frame(4).retransmitted(2));
    room.advance(ms(5000));
    assert_eq!(room.asked(), Vec::<u16>::new());
    let received = room.received(SUBSCRIBER);
    let first = received[0].seq().wrapping_sub(4);
    assert_eq!(
        received
            .iter()
            .map(|packet| (packet.seq().wrapping_sub(first), packet.payload[3]))
            .collect::<Vec<_>>(),
        [(4, 5), (2, 3), (1, 2), (3, 4)]
    );
    let stats = room.router.producers().nth(1).unwrap().1;
    assert_eq!((stats.lost, stats.recovered, stats.nacks), (3, 3, 5));
}

#[test]
fn a_retransmission_that_nobody_needs_is_not_forwarded() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(2));
    room.received(SUBSCRIBER);
    room.publish(&Rtp::frame(2).retransmitted(1));
    room.publish(&Rtp::frame(40_000).retransmitted(2));
    let mut empty = Rtp::frame(2).retransmitted(3);
    empty.payload.truncate(1);
    room.publish(&empty);
    assert_eq!(room.received(SUBSCRIBER), []);
}

#[test]
fn the_slices_of_one_h264_picture_are_one_key_frame() {
    let h264 = |track| Track {
        codec: Codec::H264,
        ..track
    };
    let unit = |seq: u16, unit: u8| {
        let mut packet = Rtp::frame(seq);
        packet.header.timestamp = 9000;
        packet.payload = vec![unit, 1, 2];
        packet
    };
    let mut room = Room::published(&[h264(video())]);
    room.subscribe(SUBSCRIBER, &[h264(video_out())]);
    room.publish(&unit(1, 0x67));
    room.publish(&unit(2, 0x65));
    assert_eq!(room.received(SUBSCRIBER).len(), 2);
    // Lost on the way: what is left of the same picture does not help.
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.picture_loss_indication(Ssrc(1), OUT_VIDEO);
    });
    let late = TransportKey(3);
    room.subscribe(late, &[h264(video_out())]);
    assert_eq!(room.key_frame_requests(), 1, "for the first, at once");
    room.publish(&unit(3, 0x65));
    room.publish(&unit(4, 0x65));
    assert_eq!(room.received(late).len(), 0, "no beginning in the middle");
    room.advance(ms(400));
    assert_eq!(room.key_frame_requests(), 1, "for the second, in its turn");
    let mut next = unit(5, 0x67);
    next.header.timestamp += 3000;
    room.publish(&next);
    assert_eq!(room.received(late).len(), 1);
    let frames: Vec<u64> = room
        .router
        .producers()
        .map(|(_, stats)| stats.key_frames)
        .collect();
    assert_eq!(frames, [2]);
}

#[test]
fn a_packet_that_never_comes_is_given_up_for_a_key_frame() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(3));
    room.advance(ms(900));
    assert_eq!(room.asked().len(), 5);
    room.advance(ms(200));
    assert_eq!(room.key_frame_requests(), 1);
    room.advance(ms(5000));
    assert_eq!(room.asked(), Vec::<u16>::new());
}

#[test]
fn a_gap_too_long_to_ask_for_asks_for_a_key_frame() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(1000));
    let reports = room.reports(PUBLISHER);
    let kinds: Vec<_> = reports
        .iter()
        .flat_map(|packet| Compound::new(packet))
        .map(|packet| matches!(packet, Packet::PictureLossIndication { media: VIDEO }))
        .collect();
    assert_eq!(kinds, [true]);
}

#[test]
fn without_nack_nothing_is_asked_for() {
    let mut track = video();
    track.feedback.nack = false;
    let mut room = Room::published(&[track]);
    room.publish(&Rtp::key_frame(1));
    room.publish(&Rtp::frame(5));
    room.advance(ms(500));
    assert_eq!(room.asked(), Vec::<u16>::new());
}

// Loss on the subscriber's side

#[test]
fn a_lost_packet_is_retransmitted_on_the_rtx_source() {
    let mut room = Room::flowing_call(10);
    room.publish(&Rtp::frame(11).with(13, &[1]));
    room.publish(&Rtp::frame(12));
    let sent = room.received(SUBSCRIBER);
    room.rtcp.clear();
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.nack(
            Ssrc(1),
            OUT_VIDEO,
            &[
                sent[0].header.sequence_number,
                sent[1].header.sequence_number,
            ],
        );
    });
    let again = room.received(SUBSCRIBER);
    assert_eq!(again.len(), 2);
    for (original, again) in sent.iter().zip(&again) {
        assert_eq!(again.header.ssrc, OUT_VIDEO_RTX);
        assert_eq!(again.header.payload_type, payload_type(121));
        assert_eq!(again.header.timestamp, original.header.timestamp);
        assert_eq!(again.header.marker, original.header.marker);
        let (seq, payload) = again.payload.split_at(2);
        assert_eq!(seq, original.seq().to_be_bytes());
        assert_eq!(payload, original.payload);
        assert_eq!(again.extension(9), Some(&b"picture"[..]));
        assert_eq!(again.extension(12), original.extension(12));
    }
    assert_eq!(again[1].seq(), again[0].seq().wrapping_add(1));
    let numbers: Vec<_> = sent
        .iter()
        .chain(&again)
        .map(|packet| packet.extension(10).unwrap()[1])
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4], "one count for the whole transport");
    assert_eq!(room.reports(PUBLISHER), Vec::<Vec<u8>>::new());
}

#[test]
fn without_rtx_a_retransmission_is_the_same_to_the_last_bit() {
    let mut room = Room::published(&[video()]);
    room.subscribe(SUBSCRIBER, &[video_out_without_rtx()]);
    room.publish(&Rtp::key_frame(1).with(13, &[3]));
    let (_, sent) = room.sink.sent.remove(0);
    room.advance(ms(77));
    room.publish(&Rtp::frame(2));
    room.sink.sent.clear();
    let seq = Received::read(&sent).header.sequence_number;
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.nack(Ssrc(1), OUT_VIDEO, &[seq]);
    });
    assert_eq!(room.sink.sent, [(SUBSCRIBER, sent)]);
}

#[test]
fn a_packet_that_was_lost_upstream_is_not_asked_for_a_second_time() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(2));
    room.publish(&Rtp::frame(4));
    assert_eq!(room.asked(), [3]);
    let missing = room.received(SUBSCRIBER)[0].header.sequence_number.plus(1);
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.nack(Ssrc(1), OUT_VIDEO, &[missing]);
    });
    assert_eq!(room.asked(), Vec::<u16>::new());
    assert_eq!(room.received(SUBSCRIBER), []);
}

#[test]
fn one_packet_is_not_repeated_faster_than_it_can_arrive() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(2));
    let seq = room.received(SUBSCRIBER)[0].header.sequence_number;
    let mut repeats = 0;
    for _ in 0..100 {
        room.rtcp_from(SUBSCRIBER, |writer| {
            writer.nack(Ssrc(1), OUT_VIDEO, &[seq]);
        });
        repeats += room.received(SUBSCRIBER).len();
        room.advance(ms(1));
    }
    assert_eq!(repeats, 4, "every 30 ms");
}

#[test]
fn a_storm_of_nacks_is_answered_within_bounds() {
    let mut room = Room::flowing_call(0);
    for seq in 1..=500 {
        room.publish(&Rtp::frame(seq));
    }
    let sent: Vec<_> = room
        .received(SUBSCRIBER)
        .iter()
        .map(|packet| packet.header.sequence_number)
        .collect();
    for _ in 0..1000 {
        for part in sent.chunks(250) {
            room.rtcp_from(SUBSCRIBER, |writer| {
                writer.nack(Ssrc(1), OUT_VIDEO, part);
            });
        }
        room.advance(ms(1));
    }
    let answers = room.received(SUBSCRIBER).len();
    assert!((512..=256 + 512).contains(&answers), "{answers}");
    assert_eq!(room.asked(), Vec::<u16>::new());
}

#[test]
fn one_datagram_of_nacks_costs_a_bounded_amount_of_work() {
    let mut room = Room::flowing_call(1);
    let mut datagram = vec![0x81, 205, 0, 0, 0, 0, 0, 1];
    datagram.extend(OUT_VIDEO.0.to_be_bytes());
    datagram.extend([0xff; 4 * 290]);
    let words = (datagram.len() / 4 - 1) as u16;
    datagram[2..4].copy_from_slice(&words.to_be_bytes());
    room.router
        .handle_rtcp(room.now, SUBSCRIBER, &datagram, &mut room.sink);
    assert_eq!(room.router.consumers().nth(1).unwrap().1.nacks, 512);
}

#[test]
fn numbers_that_were_never_sent_are_not_answered() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(2));
    let seq = room.received(SUBSCRIBER)[0].header.sequence_number;
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer
            .nack(Ssrc(1), OUT_VIDEO, &[seq.minus(5), seq.plus(1)])
            .nack(Ssrc(1), VIDEO, &[SeqNo(2)])
            .nack(Ssrc(1), OUT_AUDIO, &[SeqNo(1)]);
    });
    assert_eq!(room.received(SUBSCRIBER), []);
}

#[test]
fn a_packet_too_old_is_not_retransmitted() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(2));
    let seq = room.received(SUBSCRIBER)[0].header.sequence_number;
    room.advance(ms(2001));
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.nack(Ssrc(1), OUT_VIDEO, &[seq]);
    });
    assert_eq!(room.received(SUBSCRIBER), []);
}

#[test]
fn a_transport_that_cannot_send_loses_packets_and_nothing_else() {
    let mut room = Room::flowing_call(1);
    room.sink.refuses = true;
    room.publish(&Rtp::frame(2));
    room.sink.refuses = false;
    room.publish(&Rtp::frame(3));
    let received = room.received(SUBSCRIBER);
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.nack(
            Ssrc(1),
            OUT_VIDEO,
            &[received[0].header.sequence_number.minus(1)],
        );
    });
    assert_eq!(
        room.received(SUBSCRIBER)[0].payload[2..],
        Rtp::frame(2).payload
    );
    let stats = room.router.consumers().nth(1).unwrap().1;
    assert_eq!(
        (stats.refused, stats.packets, stats.retransmissions),
        (1, 2, 1)
    );
}

// Reports

fn sender_report(room: &mut Room, ssrc: Ssrc, ntp_time: u64, rtp_time: u32) {
    room.rtcp_from(PUBLISHER, |writer| {
        writer.sender_report(
            ssrc,
            SenderInfo {
                ntp_time,
                rtp_time,
                packet_count: 1,
                octet_count: 1,
            },
        );
    });
}

#[test]
fn sender_reports_keep_lips_and_sound_together() {
    let mut room = Room::call();
    room.publish(&Rtp::audio(1));
    room.publish(&Rtp::key_frame(1));
    // The publisher's clock; the two reports are 250 ms apart on it and on ours.
    sender_report(&mut room, AUDIO, 1000 << 32, 48_000);
    room.advance(ms(250));
    sender_report(&mut room, VIDEO, (1000 << 32) + (1 << 30), 90_000);
    room.rtcp.clear();
    for seq in 2..40 {
        room.advance(ms(33));
        room.publish(&Rtp::frame(seq));
    }
    let reports = room.reports(SUBSCRIBER);
    let packets: Vec<_> = Compound::new(&reports[0]).collect();
    let [
        Packet::SenderReport {
            ssrc: OUT_AUDIO,
            info: sound,
            ..
        },
        Packet::SourceDescription {
            ssrc: OUT_AUDIO,
            cname: Some(sound_name),
        },
        Packet::SenderReport {
            ssrc: OUT_VIDEO,
            info: picture,
            ..
        },
        Packet::SourceDescription {
            ssrc: OUT_VIDEO,
            cname: Some(picture_name),
        },
    ] = &packets[..]
    else {
        panic!("{packets:?}")
    };
    assert_eq!(sound.ntp_time, picture.ntp_time, "one clock for both");
    assert_eq!(sound_name, picture_name);
    // 48,000 and 90,000 were one second and one and a quarter: what the two clocks say at the report's instant.
    let since = ((sound.ntp_time - (1000 << 32)) * 1000) >> 32;
    let sound_ms = u64::from(sound.rtp_time - 48_000) / 48;
    let picture_ms = u64::from(picture.rtp_time - 90_000) / 90;
    assert!(sound_ms.abs_diff(since) <= 1);
    assert!(picture_ms.abs_diff(since - 250) <= 1);
    assert_eq!(sound.packet_count, 1);
    assert_eq!(sound.octet_count, 2);
    assert!(picture.packet_count > 1);
    assert_eq!(picture.octet_count, 4 * picture.packet_count);
}

#[test]
fn sender_reports_follow_a_restarted_clock() {
    let mut room = Room::flowing_call(1);
    sender_report(&mut room, VIDEO, 1000 << 32, 3000);
    room.advance(ms(100));
    let mut packet = Rtp::key_frame(9).from(Ssrc(2500));
    packet.header.timestamp = 1_000_000;
    room.publish(&packet);
    let timestamp = room.received(SUBSCRIBER)[0].header.timestamp;
    room.rtcp.clear();
    room.advance(ms(1100));
    assert_eq!(
        room.reports(SUBSCRIBER),
        Vec::<Vec<u8>>::new(),
        "the old clock is void"
    );
    sender_report(&mut room, Ssrc(2500), 2000 << 32, 1_000_000);
    room.publish(&Rtp::frame(10).from(Ssrc(2500)));
    room.advance(ms(1100));
    let reports = room.reports(SUBSCRIBER);
    let Some(Packet::SenderReport { info, .. }) = Compound::new(&reports[0]).next() else {
        panic!("{reports:?}")
    };
    let since = ((info.ntp_time - (2000 << 32)) * 90_000) >> 32;
    assert!(u64::from(info.rtp_time.wrapping_sub(timestamp)).abs_diff(since) <= 1);
}

#[test]
fn there_is_no_sender_report_before_the_publishers_own() {
    let mut room = Room::flowing_call(1);
    room.advance(ms(1500));
    assert_eq!(room.reports(SUBSCRIBER), Vec::<Vec<u8>>::new());
}

#[test]
fn the_subscribers_report_tells_loss_and_round_trip() {
    let mut room = Room::flowing_call(1);
    sender_report(&mut room, VIDEO, 1000 << 32, 3000);
    while !room.rtcp.iter().any(|(to, _)| *to == SUBSCRIBER) {
        room.advance(ms(10));
    }
    let reports = room.reports(SUBSCRIBER);
    let Some(Packet::SenderReport { info, .. }) = Compound::new(&reports[0]).next() else {
        panic!("{reports:?}")
    };
    room.advance(ms(540) - ms(room.now.duration_since(t0()).as_millis() as u64 % 10));
    let sent_at_most = 10_000;
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.receiver_report(
            Ssrc(1),
            std::iter::once(ReportBlock {
                ssrc: OUT_VIDEO,
                fraction_lost: 12,
                total_lost: 34,
                extended_highest: 5,
                jitter: 6,
                last_sender_report: (info.ntp_time >> 16) as u32,
                delay_since_last_sender_report: 0x8000,
            }),
        );
    });
    let stats = room.router.consumers().nth(1).unwrap().1;
    assert_eq!((stats.fraction_lost, stats.lost, stats.jitter), (12, 34, 6));
    assert!(
        stats.round_trip_us.abs_diff(40_000) <= sent_at_most,
        "{}",
        stats.round_trip_us
    );
    let counts = &room.router.counts;
    assert_eq!(counts.lost_downstream.get(), 34);
    assert_eq!(counts.round_trips_down.get().sum_us, stats.round_trip_us);
}

#[test]
fn the_publisher_gets_receiver_reports_and_its_limit() {
    let mut room = Room::empty();
    room.router.add_publisher(
        room.now,
        PUBLISHER,
        &[audio(), video()],
        Some(Bitrate::from_kbps(1000)),
    );
    sender_report(&mut room, VIDEO, 0x1_2345_6789, 0);
    room.publish(&Rtp::frame(65_535));
    room.publish(&Rtp::frame(1));
    room.advance(Duration::ZERO);
    let reports: Vec<_> = room
        .reports(PUBLISHER)
        .into_iter()
        .filter(|packet| packet[1] == 201)
        .collect();
    assert_eq!(reports.len(), 1, "at once with the first packet");
    let packets: Vec<_> = Compound::new(&reports[0]).collect();
    let [
        Packet::ReceiverReport { blocks, .. },
        Packet::SourceDescription { cname: Some(_), .. },
        Packet::ExtendedReport { .. },
        Packet::ReceiverEstimatedMaximumBitrate { bitrate, ssrcs },
    ] = &packets[..]
    else {
        panic!("{packets:?}")
    };
    let blocks: Vec<_> = blocks.clone().collect();
    assert_eq!(blocks.len(), 1, "audio has sent nothing");
    assert_eq!(blocks[0].ssrc, VIDEO);
    assert_eq!(blocks[0].extended_highest, 0x1_0001);
    assert_eq!(blocks[0].total_lost, 1);
    assert_eq!(blocks[0].last_sender_report, 0x1_2345);
    assert_eq!(bitrate.kbps(), 1000);
    assert_eq!(ssrcs.clone().collect::<Vec<_>>(), [VIDEO]);

    let mut count = 0;
    for seq in 2..302 {
        room.advance(ms(10));
        room.publish(&Rtp::frame(seq));
        count += room
            .reports(PUBLISHER)
            .iter()
            .filter(|packet| packet[1] == 201)
            .count();
    }
    assert_eq!(count, 3, "once a second");
}

/// What the publisher was told to send at most lately, in order.
fn limits(room: &mut Room) -> Vec<u64> {
    room.reports(PUBLISHER)
        .iter()
        .flat_map(|packet| Compound::new(packet))
        .filter_map(|packet| {
            let Packet::ReceiverEstimatedMaximumBitrate { bitrate, .. } = packet else {
                return None;
            };
            Some(bitrate.kbps())
        })
        .collect()
}

#[test]
fn the_most_restricted_viewer_limits_the_publisher_as_long_as_it_watches() {
    let mut room = Room::empty();
    let kbps = |rate| Some(Bitrate::from_kbps(rate));
    room.router
        .add_publisher(room.now, PUBLISHER, &[video()], kbps(1000));
    let mut seq = 0;
    let mut told = None;
    // A change is told within a tenth of a second, not only with the next report.
    let mut limit = |room: &mut Room| {
        for _ in 0..6 {
            room.publish(&Rtp::frame(seq));
            seq += 1;
            room.advance(ms(20));
        }
        told = limits(room).last().copied().or(told);
        told.unwrap()
    };
    let [limited, restricted, absent, last] = [10, 11, 12, 13].map(TransportKey);
    assert_eq!(limit(&mut room), 1000);
    room.subscribe_at_most(limited, &[video_out()], kbps(600));
    assert_eq!(limit(&mut room), 600);
    room.subscribe_at_most(restricted, &[audio_out(), video_out()], kbps(500));
    room.subscribe(TransportKey(20), &[video_out()]);
    assert_eq!(limit(&mut room), 500);

    // Who only listens, or is not there yet, restricts nobody.
    room.subscribe_at_most(TransportKey(21), &[audio_out()], kbps(400));
    room.router
        .add_subscriber(room.now, absent, PUBLISHER, &[video_out()]);
    room.router.limit_subscriber(absent, kbps(350));
    assert_eq!(limit(&mut room), 500);
    room.router.connected(room.now, absent);
    assert_eq!(limit(&mut room), 350);
    room.router.set_subscriber_tracks(room.now, absent, &[]);
    assert_eq!(limit(&mut room), 500);

    // However little it is.
    room.subscribe_at_most(last, &[video_out()], kbps(100));
    assert_eq!(limit(&mut room), 100);
    room.router.remove(last);
    room.router.remove(restricted);
    assert_eq!(limit(&mut room), 600);
    room.router.remove(limited);
    assert_eq!(limit(&mut room), 1000);
}

#[test]
fn a_publisher_without_limits_is_freed_when_its_restricted_viewers_have_gone() {
    let mut room = Room::published(&[video()]);
    room.publish(&Rtp::frame(1));
    room.advance(ms(1100));
    assert_eq!(limits(&mut room), Vec::<u64>::new());
    room.subscribe_at_most(SUBSCRIBER, &[video_out()], Some(Bitrate::from_kbps(500)));
    room.publish(&Rtp::frame(2));
    room.advance(ms(100));
    assert_eq!(limits(&mut room), [500]);
    room.router.remove(SUBSCRIBER);
    room.publish(&Rtp::frame(3));
    room.advance(ms(100));
    let told = limits(&mut room);
    assert!(
        matches!(told[..], [unlimited] if unlimited >= 100_000),
        "{told:?}"
    );
}

#[test]
fn a_limit_is_told_only_where_remb_was_negotiated() {
    let mut track = video();
    track.feedback.remb = false;
    let mut room = Room::empty();
    let limit = Some(Bitrate::from_kbps(1000));
    room.router
        .add_publisher(room.now, PUBLISHER, &[track], limit);
    room.publish(&Rtp::frame(1));
    room.advance(ms(50));
    let reports = room.reports(PUBLISHER);
    assert!(!reports.is_empty());
    assert!(
        reports
            .iter()
            .flat_map(|packet| Compound::new(packet))
            .all(|packet| !matches!(packet, Packet::ReceiverEstimatedMaximumBitrate { .. }))
    );
}

#[test]
fn every_transport_wide_number_is_reported_once() {
    let mut room = Room::published(&[audio(), video()]);
    let mut reported = Vec::new();
    for n in 0..300_u16 {
        room.advance(ms(5));
        let number = n.wrapping_add(65_400).to_be_bytes();
        if n % 7 == 3 {
            continue;
        }
        let packet = match n % 3 {
            0 => Rtp::audio(n),
            1 => Rtp::frame(n),
            _ => Rtp::frame(n).retransmitted(n),
        };
        room.publish(&packet.with(3, &number));
        for packet in room.reports(PUBLISHER) {
            for packet in Compound::new(&packet) {
                let Packet::TransportWide { report } = packet else {
                    continue;
                };
                let base = u16::from_be_bytes([report[0], report[1]]);
                let count = u16::from_be_bytes([report[2], report[3]]);
                reported.push((base, count));
            }
        }
    }
    assert!(
        (14..=16).contains(&reported.len()),
        "ten a second: {reported:?}"
    );
    assert_eq!(reported[0].0, 65_400);
    for pair in reported.windows(2) {
        assert_eq!(pair[0].0.wrapping_add(pair[0].1), pair[1].0);
    }
}

#[test]
fn a_silent_room_needs_no_timer() {
    let mut room = Room::empty();
    assert_eq!(room.router.poll_timeout(), None);
    room = Room::flowing_call(1);
    assert!(room.router.poll_timeout().is_some());
    room.advance(ms(3000));
    assert_eq!(room.router.poll_timeout(), None);
    room.rtcp.clear();
    room.publish(&Rtp::frame(2));
    room.advance(Duration::ZERO);
    assert!(!room.reports(PUBLISHER).is_empty(), "reports are back");
}

// Coming and going

#[test]
fn subscribers_of_a_publisher_that_left_stay_silent() {
    let mut room = Room::flowing_call(1);
    room.router.remove(PUBLISHER);
    room.publish(&Rtp::frame(2));
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.picture_loss_indication(Ssrc(1), OUT_VIDEO);
    });
    // The worker gives the same index to another publisher.
    room.router
        .add_publisher(room.now, PUBLISHER, &[audio(), video()], None);
    room.publish(&Rtp::key_frame(1));
    room.advance(ms(3000));
    assert_eq!(room.received(SUBSCRIBER), []);
    assert_eq!(room.reports(SUBSCRIBER), Vec::<Vec<u8>>::new());
    room.router.remove(SUBSCRIBER);
    assert_eq!(room.router.consumers().count(), 0);
}

#[test]
fn a_subscriber_that_left_gets_nothing() {
    let mut room = Room::flowing_call(1);
    room.subscribe(TransportKey(3), &[audio_out()]);
    room.router.remove(SUBSCRIBER);
    room.publish(&Rtp::frame(2));
    room.publish(&Rtp::audio(2));
    assert_eq!(room.received(SUBSCRIBER), []);
    assert_eq!(room.received(TransportKey(3)).len(), 1);
}

#[test]
fn tracks_that_the_answer_refused_vanish_and_the_others_go_on() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::audio(1));
    let before = room.received(SUBSCRIBER);
    let answered = Track {
        payload_type: payload_type(99),
        extensions: ids(&[(Extension::Mid, 2)]),
        ..audio_out()
    };
    room.router
        .set_subscriber_tracks(room.now, SUBSCRIBER, &[answered]);
    room.publish(&Rtp::audio(2).with(1, &[5]));
    room.publish(&Rtp::key_frame(2));
    let after = room.received(SUBSCRIBER);
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].seq(), before[0].seq().wrapping_add(1));
    assert_eq!(after[0].header.payload_type, payload_type(99));
    assert_eq!(after[0].extensions, [(2, b"sound".to_vec())]);
    assert_eq!(room.router.consumers().count(), 1);
}

#[test]
fn a_packet_sent_before_the_answer_is_not_repeated_with_another_header() {
    let mut room = Room::published(&[video()]);
    room.subscribe(SUBSCRIBER, &[video_out_without_rtx()]);
    room.publish(&Rtp::key_frame(1));
    let seq = room.received(SUBSCRIBER)[0].header.sequence_number;
    let answered = Track {
        payload_type: payload_type(99),
        ..video_out_without_rtx()
    };
    room.router
        .set_subscriber_tracks(room.now, SUBSCRIBER, &[answered]);
    room.publish(&Rtp::frame(2));
    room.received(SUBSCRIBER);
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.nack(Ssrc(1), OUT_VIDEO, &[seq, seq.plus(1)]);
    });
    assert_eq!(seqs(&room.received(SUBSCRIBER)), [seq.plus(1).0]);
}

#[test]
fn a_subscriber_of_another_codec_gets_no_video() {
    let mut room = Room::published(&[video()]);
    let track = Track {
        codec: Codec::H264,
        ..video_out()
    };
    room.subscribe(SUBSCRIBER, &[track]);
    room.publish(&Rtp::key_frame(1));
    assert_eq!(room.received(SUBSCRIBER), []);
}

#[test]
fn a_publisher_has_no_more_tracks_than_a_browser_would_offer() {
    let tracks: Vec<_> = (0..100)
        .map(|n| Track {
            mid: n.to_string(),
            ssrc: Some(Ssrc(n)),
            ..video()
        })
        .collect();
    let room = Room::published(&tracks);
    assert_eq!(room.router.producers().count(), 8);
}

#[test]
fn an_answer_with_another_codec_ends_the_track() {
    let mut room = Room::flowing_call(1);
    let answered = Track {
        codec: Codec::H264,
        ..video_out()
    };
    room.router
        .set_subscriber_tracks(room.now, SUBSCRIBER, &[answered]);
    room.publish(&Rtp::key_frame(2));
    assert_eq!(room.received(SUBSCRIBER), []);
}

#[test]
fn a_publisher_may_receive_its_own_tracks() {
    let mut room = Room::published(&[audio(), video()]);
    room.router
        .add_subscriber(room.now, PUBLISHER, PUBLISHER, &[audio_out(), video_out()]);
    room.router.connected(room.now, PUBLISHER);
    room.publish(&Rtp::key_frame(1));
    room.publish(&Rtp::audio(1));
    assert_eq!(room.received(PUBLISHER).len(), 2);
    room.router.remove(PUBLISHER);
    room.publish(&Rtp::audio(2));
    assert_eq!(room.received(PUBLISHER), []);
}

#[test]
fn a_subscriber_without_a_publisher_is_harmless() {
    let mut room = Room::empty();
    room.subscribe(SUBSCRIBER, &[audio_out()]);
    room.router
        .set_subscriber_tracks(room.now, SUBSCRIBER, &[audio_out()]);
    room.router.remove(SUBSCRIBER);
    room.publish(&Rtp::audio(1));
    assert_eq!(room.sink.sent, []);
}

// Hostile input

/// One thing that happens to a room.
#[derive(Debug, Clone)]
enum Event {
    Publish(i8, u8),
    Retransmit(i8),
    PublishBytes(Vec<u8>),
    RtcpBytes(bool, Vec<u8>),
    Nack(Vec<u8>),
    PictureLoss,
    Restart(u16),
    Pass(u16),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..80);
    prop::collection::vec(
        prop_oneof![
            8 => (-6_i8..7, any::<u8>()).prop_map(|(step, kind)| Event::Publish(step, kind)),
            2 => (-10_i8..1).prop_map(Event::Retransmit),
            1 => bytes().prop_map(Event::PublishBytes),
            1 => (any::<bool>(), bytes()).prop_map(|(from, bytes)| Event::RtcpBytes(from, bytes)),
            3 => prop::collection::vec(0_u8..40, 1..5).prop_map(Event::Nack),
            1 => Just(Event::PictureLoss),
            1 => any::<u16>().prop_map(Event::Restart),
            3 => (0_u16..400).prop_map(Event::Pass),
        ],
        1..120,
    )
}

proptest! {
    /// Whatever a publisher and a subscriber do: with AEAD protection a source and number must name one packet, to the
    /// last bit, and video never begins without a key frame.
    #[test]
    fn no_number_is_ever_used_for_two_packets(events in events(), with_rtx in any::<bool>()) {
        let mut room = Room::published(&[audio(), video()]);
        let video_out = if with_rtx { video_out() } else { video_out_without_rtx() };
        room.subscribe(SUBSCRIBER, &[audio_out(), video_out]);
        let mut seq = 65_500_u16;
        let mut ssrc = VIDEO;
        let mut sent: BTreeMap<(u32, u16), Vec<u8>> = BTreeMap::new();
        let mut latest = SeqNo(0);
        let mut forwarded = 0;
        for event in events {
            match event {
                Event::Publish(step, kind) => {
                    seq = seq.wrapping_add_signed(i16::from(step));
                    let mut packet = match kind % 8 {
                        0 => Rtp::audio(seq),
                        1 | 2 => Rtp::key_frame(seq).from(ssrc),
                        3 => {
                            let mut packet = Rtp::frame(seq).from(ssrc);
                            packet.payload.clear();
                            packet
                        }
                        _ => Rtp::frame(seq).from(ssrc),
                    };
                    // The same number with another content, as a hostile publisher may send it.
                    packet.payload.extend([kind; 1].iter().filter(|_| kind % 8 != 3));
                    room.publish(&packet);
                }
                Event::Retransmit(back) => {
                    let original = seq.wrapping_add_signed(i16::from(back));
                    room.publish(&Rtp::frame(original).retransmitted(seq));
                }
                Event::PublishBytes(mut bytes) => {
                    // Half of them look like ours.
                    if bytes.len() > 12 && bytes[0] & 1 == 0 {
                        bytes[0] = 0x80 | bytes[0] & 0x3f;
                        bytes[1] = if bytes[1] & 1 == 0 { 96 } else { 97 };
                        let ssrc = if bytes[1] == 96 { VIDEO } else { VIDEO_RTX };
                        bytes[8..12].copy_from_slice(&ssrc.0.to_be_bytes());
                    }
                    room.router.handle_rtp(room.now, PUBLISHER, &[&bytes], &mut room.sink);
                    room.drain();
                }
                Event::RtcpBytes(from_publisher, bytes) => {
                    let from = if from_publisher { PUBLISHER } else { SUBSCRIBER };
                    room.router.handle_rtcp(room.now, from, &bytes, &mut room.sink);
                    room.drain();
                }
                Event::Nack(back) => {
                    let mut lost: Vec<_> = back.iter().map(|back| latest.minus(u16::from(*back))).collect();
                    lost.dedup();
                    room.rtcp_from(SUBSCRIBER, |writer| {
                        writer.nack(Ssrc(1), OUT_VIDEO, &lost);
                    });
                }
                Event::PictureLoss => room.rtcp_from(SUBSCRIBER, |writer| {
                    writer.picture_loss_indication(Ssrc(1), OUT_VIDEO);
                }),
                Event::Restart(by) => {
                    ssrc = Ssrc(ssrc.0 + 10);
                    seq = seq.wrapping_add(by);
                }
                Event::Pass(by) => room.advance(ms(u64::from(by))),
            }
            for (_, bytes) in room.sink.sent.drain(..) {
                let packet = Received::read(&bytes);
                if forwarded == 0 && packet.header.ssrc == OUT_VIDEO {
                    prop_assert_eq!(packet.payload.get(1).map(|byte| byte & 1), Some(0));
                }
                if packet.header.ssrc == OUT_VIDEO {
                    forwarded += 1;
                    if packet.header.sequence_number.is_after(latest) || forwarded == 1 {
                        latest = packet.header.sequence_number;
                    }
                }
                let earlier = sent.insert((packet.header.ssrc.0, packet.seq()), bytes.clone());
                prop_assert!(earlier.is_none_or(|earlier| earlier == bytes), "{:?}", packet.header);
            }
        }
    }

    /// Whatever identifiers the two sides chose and in whichever form the publisher writes: the subscriber reads what was
    /// passed on under its own identifiers, and nothing else.
    #[test]
    fn extensions_are_translated_between_any_identifiers(
        theirs in Just((1_u8..15).collect::<Vec<_>>()).prop_shuffle(),
        ours in Just((1_u8..15).collect::<Vec<_>>()).prop_shuffle(),
        offered in prop::array::uniform8(any::<bool>()),
        accepted in prop::array::uniform8(any::<bool>()),
        two_byte in any::<bool>(),
        value in any::<[u8; 3]>(),
    ) {
        let negotiated = |numbers: &[u8], wanted: [bool; 8]| {
            let mut ids = ExtensionIds::default();
            for (extension, (id, wanted)) in Extension::ALL.into_iter().zip(numbers.iter().zip(wanted)) {
                if wanted {
                    ids.set(extension, *id);
                }
            }
            ids
        };
        let theirs = negotiated(&theirs, offered);
        let ours = negotiated(&ours, accepted);
        let mut room = Room::published(&[Track { extensions: theirs, ..video() }]);
        room.subscribe(SUBSCRIBER, &[Track { extensions: ours, ..video_out() }]);

        let content = |extension: Extension| match extension {
            Extension::Mid => b"1".to_vec(),
            Extension::Rid | Extension::RepairedRid => b"layer".to_vec(),
            Extension::AudioLevel | Extension::VideoOrientation => vec![value[0]],
            Extension::TransportCc => value[..2].to_vec(),
            Extension::AbsSendTime | Extension::PlayoutDelay => value.to_vec(),
        };
        let mut packet = Rtp::key_frame(1);
        for (extension, id) in theirs.iter() {
            packet = packet.with(id, &content(extension));
        }
        let mut bytes = packet.bytes();
        if two_byte {
            let mut elements: Vec<u8> = packet
                .extensions
                .iter()
                .flat_map(|(id, data)| [&[*id, data.len() as u8][..], data].concat())
                .collect();
            elements.resize(elements.len().next_multiple_of(4), 0);
            bytes = packet.bytes()[..12].to_vec();
            bytes[0] |= 0x10;
            bytes.extend([0x10, 0, 0, (elements.len() / 4) as u8]);
            bytes.extend(elements);
            bytes.extend(&packet.payload);
        }
        room.router.handle_rtp(room.now, PUBLISHER, &[&bytes], &mut room.sink);

        let received = room.received(SUBSCRIBER);
        prop_assert_eq!(&received[0].payload, &packet.payload);
        let mut expected: Vec<(u8, Vec<u8>)> = ours
            .iter()
            .filter_map(|(extension, id)| {
                let data = match extension {
                    Extension::Mid => b"picture".to_vec(),
                    Extension::AbsSendTime => vec![0; 3],
                    Extension::TransportCc => vec![0; 2],
                    Extension::Rid | Extension::RepairedRid => return None,
                    Extension::AudioLevel | Extension::VideoOrientation | Extension::PlayoutDelay => {
                        theirs.get(extension)?;
                        content(extension)
                    }
                };
                Some((id, data))
            })
            .collect();
        let mut read = received[0].extensions.clone();
        expected.sort();
        read.sort();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn any_bytes_leave_the_router_alive_and_bounded(
        rtp in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..40),
        rtcp in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..40),
    ) {
        let mut room = Room::flowing_call(1);
        let slices: Vec<_> = rtp.iter().map(Vec::as_slice).collect();
        room.router.handle_rtp(room.now, PUBLISHER, &slices, &mut room.sink);
        room.router.handle_rtp(room.now, SUBSCRIBER, &slices, &mut room.sink);
        for packet in &rtcp {
            room.router.handle_rtcp(room.now, PUBLISHER, packet, &mut room.sink);
            room.router.handle_rtcp(room.now, SUBSCRIBER, packet, &mut room.sink);
        }
        room.drain();
        room.advance(ms(3000));
        prop_assert!(room.sink.sent.len() <= rtp.len());
        room.sink.sent.clear();
        room.publish(&Rtp::key_frame(2));
        prop_assert_eq!(room.received(SUBSCRIBER).len(), 1);
    }
}
