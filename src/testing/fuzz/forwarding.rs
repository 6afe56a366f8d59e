//! Targets about what is read of media packets: header extensions, and a whole router driven by a list of operations.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use crate::media::rtp::packet::FIXED_HEADER_LEN;
use crate::media::rtp::rtcp::Writer;
use crate::media::rtp::{ExtensionWriter, Extensions, Header, RtpPacket, retransmission};
use crate::media::sfu::{Output, Router, TransportKey};
use crate::testing::sink::Recording;
use crate::testing::t0;
use crate::units::{
    Codec, Extension, ExtensionIds, Feedback, PayloadType, Random, SeqNo, Ssrc, Track,
};

/// Behind the two bytes of a profile, the elements of a header extension (RFC 8285): they are those that reading byte by
/// byte finds, and come back as they were written.
pub fn header_extension(bytes: &[u8]) {
    let Some((profile, data)) = bytes.split_first_chunk() else {
        return;
    };
    let profile = u16::from_be_bytes(*profile);
    let read: Vec<(u8, &[u8])> = Extensions::new(profile, data).collect();
    assert_eq!(read, elements(profile, data));

    let mut out = vec![0; bytes.len() * 2 + 8];
    let mut writer = ExtensionWriter::new(&mut out);
    let can_be_written =
        |(id, data): &(u8, &[u8])| (1..=14).contains(id) && (1..=16).contains(&data.len());
    let written: Vec<_> = read.into_iter().filter(can_be_written).collect();
    for (id, data) in &written {
        writer.push(*id, data);
    }
    let len = writer.finish();
    assert_eq!(len % 4, 0);
    assert_eq!(len == 0, written.is_empty());
    if len > 0 {
        let again: Vec<_> = Extensions::new(0xbede, &out[4..len]).collect();
        assert_eq!(again, written);
    }
}

/// RFC 8285 sections 4.2 and 4.3, as plainly as possible.
fn elements(profile: u16, data: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let first = data[at];
        let (id, from, len) = if profile == 0xbede {
            let len = usize::from(first & 0x0f) + 1;
            (first >> 4, at + 1, len)
        } else if profile >> 4 == 0x100 {
            let len = data.get(at + 1).copied().unwrap_or(u8::MAX);
            (first, at + 2, usize::from(len))
        } else {
            break;
        };
        if id == 0 {
            at += 1;
            continue;
        }
        if from + len > data.len() || profile == 0xbede && id == 15 {
            break;
        }
        found.push((id, &data[from..from + len]));
        at = from + len;
    }
    found
}

const SUBSCRIBERS: [TransportKey; 2] = [TransportKey(1), TransportKey(2)];
const AUDIO: Ssrc = Ssrc(1000);
const VIDEO: Ssrc = Ssrc(2000);
const VIDEO_RTX: Ssrc = Ssrc(2001);

/// A publisher with two subscribers, one of them without RTX. The first byte chooses the video's codec; then follow
/// operations: packets, feedback, time, transports that end and are replaced. Whatever happens, a number of one source
/// names one packet, and nothing is sent to whom it does not belong.
pub fn router(bytes: &[u8]) {
    forwarded(bytes);
}

/// What [`router`] does; returns how many packets were sent on.
pub fn forwarded(bytes: &[u8]) -> usize {
    let mut input = bytes;
    let codec =
        [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1][usize::from(take(&mut input) % 4)];
    let mut room = Room::new(codec);
    while let Some(operation) = Operation::read(&mut input) {
        room.perform(operation);
        room.check();
    }
    room.perform(Operation::Pass(Duration::from_secs(60)));
    assert_eq!(room.router.poll_timeout(), None, "a silent room sleeps");
    room.forwarded
}

/// The next byte; 0 behind the end.
fn take(input: &mut &[u8]) -> u8 {
    input.split_off_first().copied().unwrap_or(0)
}

/// So many of the next bytes as the next byte says, at most 63.
fn take_some<'a>(input: &mut &'a [u8]) -> &'a [u8] {
    let len = usize::from(take(input) & 0x3f).min(input.len());
    input.split_off(..len).unwrap_or_default()
}

#[derive(Debug)]
enum Operation<'a> {
    Media {
        ssrc: Ssrc,
        payload_type: u8,
        step: u8,
        extension: &'a [u8],
        payload: &'a [u8],
    },
    Bytes(&'a [u8]),
    Rtcp(Option<TransportKey>, &'a [u8]),
    Nack(TransportKey, &'a [u8]),
    PictureLoss(TransportKey),
    Pass(Duration),
    ReplacePublisher {
        closes_first: bool,
    },
    ReplaceSubscriber(usize),
    Refuse(bool),
}

impl<'a> Operation<'a> {
    fn read(input: &mut &'a [u8]) -> Option<Self> {
        let kind = input.split_off_first().copied()?;
        let subscriber = usize::from(kind >> 7);
        Some(match kind & 0x0f {
            0..=6 => {
                let (ssrc, payload_type) = match kind >> 4 & 0x07 {
                    0 => (AUDIO, 111),
                    1 => (VIDEO_RTX, 97),
                    2 => (VIDEO, 111),
                    3 => (Ssrc(u32::from(take(input) % 4)), 96),
                    _ => (VIDEO, 96),
                };
                Self::Media {
                    ssrc,
                    payload_type,
                    step: take(input),
                    extension: take_some(input),
                    payload: take_some(input),
                }
            }
            7 => Self::Bytes(take_some(input)),
            8 => Self::Rtcp(None, take_some(input)),
            9 => Self::Rtcp(Some(SUBSCRIBERS[subscriber]), take_some(input)),
            10 => Self::Nack(SUBSCRIBERS[subscriber], take_some(input)),
            11 => Self::PictureLoss(SUBSCRIBERS[subscriber]),
            12 => Self::ReplacePublisher {
                closes_first: kind & 0x80 != 0,
            },
            13 => Self::ReplaceSubscriber(subscriber),
            14 => Self::Refuse(kind & 0x80 != 0),
            _ => Self::Pass(Duration::from_millis(u64::from(take(input)) * 8)),
        })
    }
}

/// What was sealed for each transport, by source and number.
#[derive(Default)]
struct Sealed {
    packets: BTreeMap<(TransportKey, Ssrc, u16), Vec<u8>>,
    latest: BTreeMap<TransportKey, SeqNo>,
}

impl Sealed {
    fn take(&mut self, to: TransportKey, packet: Vec<u8>) {
        let header = RtpPacket::parse(&packet)
            .expect("what we write is RTP")
            .header;
        if header.payload_type.get() == 96 {
            self.latest.insert(to, header.sequence_number);
        }
        let name = (to, header.ssrc, header.sequence_number.0);
        match self.packets.entry(name) {
            Entry::Vacant(place) => {
                place.insert(packet);
            }
            Entry::Occupied(earlier) => {
                assert_eq!(*earlier.get(), packet, "one number, two packets");
            }
        }
    }
}

struct Room {
    router: Router,
    now: Instant,
    codec: Codec,
    publisher: TransportKey,
    subscribers: [TransportKey; 2],
    next_key: u32,
    seq: SeqNo,
    sink: Recording,
    sealed: Sealed,
    forwarded: usize,
}

impl Room {
    fn new(codec: Codec) -> Self {
        let mut room = Self {
            router: Router::new(t0(), Random::seeded(1)),
            now: t0(),
            codec,
            publisher: TransportKey(0),
            subscribers: SUBSCRIBERS,
            next_key: 100,
            seq: SeqNo(65_530),
            sink: Recording::default(),
            sealed: Sealed::default(),
            forwarded: 0,
        };
        room.publish();
        for (index, key) in SUBSCRIBERS.into_iter().enumerate() {
            room.subscribe(index, key);
        }
        room
    }

    fn tracks(&self, rtx: bool) -> [Track; 2] {
        let mut extensions = ExtensionIds::default();
        for (extension, id) in Extension::ALL.into_iter().zip(1..) {
            extensions.set(extension, id);
        }
        let track = |codec: Codec, payload_type, rtx_payload_type| Track {
            kind: codec.kind(),
            mid: codec.name().to_owned(),
            codec,
            payload_type: PayloadType::new(payload_type).expect("seven bits"),
            rtx_payload_type,
            fmtp: String::new(),
            extensions,
            feedback: Feedback {
                nack: true,
                pli: true,
                fir: true,
                remb: true,
                transport_cc: true,
            },
            ssrc: None,
            rtx_ssrc: rtx_payload_type.map(|_| VIDEO_RTX),
        };
        let rtx = PayloadType::new(97).filter(|_| rtx);
        [track(Codec::Opus, 111, None), track(self.codec, 96, rtx)]
    }

    fn publish(&mut self) {
        let tracks = self.tracks(true);
        self.router
            .add_publisher(self.now, self.publisher, &tracks, None);
        self.router.connected(self.now, self.publisher);
    }

    fn subscribe(&mut self, index: usize, key: TransportKey) {
        let mut tracks = self.tracks(index == 0);
        for (track, ssrc) in tracks.iter_mut().zip(3000..) {
            track.ssrc = Some(Ssrc(ssrc + key.0 * 10));
            track.rtx_ssrc = track.rtx_ssrc.map(|_| Ssrc(4000 + key.0 * 10));
        }
        self.router
            .add_subscriber(self.now, key, self.publisher, &tracks);
        let former = std::mem::replace(&mut self.subscribers[index], key);
        if former != key {
            self.router.replace_subscriber(former, key);
        }
        self.router.connected(self.now, key);
    }

    fn new_key(&mut self) -> TransportKey {
        self.next_key += 1;
        TransportKey(self.next_key)
    }

    /// Where the subscriber that was at first `key` is by now.
    fn subscriber(&self, key: TransportKey) -> TransportKey {
        self.subscribers[usize::from(key == SUBSCRIBERS[1])]
    }

    fn perform(&mut self, operation: Operation<'_>) {
        let Self { router, sink, .. } = self;
        match operation {
            Operation::Media {
                ssrc,
                payload_type,
                step,
                extension,
                payload,
            } => {
                self.seq = self.seq.plus(u16::from(step)).minus(4);
                let seq = self.seq;
                let mut packet = vec![0; FIXED_HEADER_LEN];
                let header = Header {
                    marker: step & 1 != 0,
                    payload_type: PayloadType::new(payload_type).expect("seven bits"),
                    sequence_number: seq,
                    timestamp: u32::from(seq.0) * 3000,
                    ssrc,
                };
                let words = extension.len() / 4;
                header.write(packet.first_chunk_mut().expect("twelve bytes"), words > 0);
                if words > 0 {
                    packet.extend([0xbe, 0xde, 0, words as u8]);
                    packet.extend(&extension[..words * 4]);
                }
                if ssrc == VIDEO_RTX {
                    let mut wrapped = vec![0; payload.len() + retransmission::OSN_LEN];
                    retransmission::wrap(&mut wrapped, seq.minus(3), payload);
                    packet.extend(wrapped);
                } else {
                    packet.extend(payload);
                }
                router.handle_rtp(self.now, self.publisher, &[&packet], sink);
            }
            Operation::Bytes(bytes) => {
                router.handle_rtp(self.now, self.publisher, &[bytes], sink);
            }
            Operation::Rtcp(from, bytes) => {
                let from = from.map_or(self.publisher, |key| self.subscriber(key));
                self.router
                    .handle_rtcp(self.now, from, bytes, &mut self.sink);
            }
            Operation::Nack(from, back) => {
                let from = self.subscriber(from);
                let latest = self.sealed.latest.get(&from).copied().unwrap_or(SeqNo(0));
                let lost: Vec<SeqNo> = back
                    .iter()
                    .map(|back| latest.minus(u16::from(*back)))
                    .collect();
                self.feedback(from, |writer, media| {
                    writer.nack(Ssrc(1), media, &lost);
                });
            }
            Operation::PictureLoss(from) => {
                let from = self.subscriber(from);
                self.feedback(from, |writer, media| {
                    writer.picture_loss_indication(Ssrc(1), media);
                });
            }
            Operation::Pass(time) => self.pass(time),
            Operation::ReplacePublisher { closes_first } => {
                let new = self.new_key();
                let old = if closes_first {
                    self.router
                        .detach_publisher(self.publisher)
                        .expect("it publishes")
                } else {
                    self.publisher
                };
                self.publisher = new;
                self.publish();
                self.router.replace_publisher(self.now, old, new);
            }
            Operation::ReplaceSubscriber(index) => {
                let new = self.new_key();
                self.subscribe(index, new);
            }
            Operation::Refuse(refuses) => self.sink.refuses = refuses,
        }
    }

    fn feedback(&mut self, from: TransportKey, write: impl FnOnce(&mut Writer<'_>, Ssrc)) {
        let mut packet = Vec::new();
        write(&mut Writer::new(&mut packet), Ssrc(3001 + from.0 * 10));
        self.router
            .handle_rtcp(self.now, from, &packet, &mut self.sink);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        while let Some(at) = self.router.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.router.handle_timeout(self.now);
            self.check();
            turns += 1;
            assert!(turns < 10_000, "the router does not get past {at:?}");
        }
        self.now = end;
    }

    fn check(&mut self) {
        let mut reports = 0;
        while let Some(Output::Rtcp { to, packet }) = self.router.poll_output() {
            assert!(packet.len() <= 1_200);
            assert!(to == self.publisher || self.subscribers.contains(&to));
            reports += 1;
        }
        assert!(reports <= 64, "{reports} reports at once");
        // One packet goes to each subscriber; a NACK of 63 numbers is answered as often at most.
        let sent = self.sink.sent.len();
        assert!(sent <= 1_024, "{sent} packets");
        self.forwarded += sent;
        for (to, packet) in self.sink.sent.drain(..) {
            self.sealed.take(to, packet);
        }
    }
}
