//! Synthetic media: what a camera and a microphone send, and what became of it at the other end.
//!
//! Every packet of a track carries its running number in the last four bytes of its payload, so that a receiver can
//! tell what the network or the server lost, repeated or reordered, whatever was done to sequence numbers on the way.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::description::Section;
use crate::media::rtp::rtcp::SenderInfo;
use crate::media::rtp::{ExtensionWriter, Header, RtpPacket, descriptor, retransmission};
use crate::units::{Codec, Extension, MediaKind, PayloadType, SeqNo, Ssrc};

/// One Opus packet each.
pub(super) const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
/// One video frame each.
pub(super) const VIDEO_INTERVAL: Duration = Duration::from_millis(40);

const KEY_FRAME_PACKETS: u32 = 4;
const DELTA_FRAME_PACKETS: u32 = 2;
const VIDEO_PAYLOAD: usize = 700;
const AUDIO_PAYLOAD: usize = 80;

/// Voice at -30 dBov (RFC 6464).
const AUDIO_LEVEL: [u8; 1] = [0x80 | 30];
/// From 0 to 100 ms.
const PLAYOUT_DELAY: [u8; 3] = [0, 0, 10];

/// Video packets that can be sent again.
const HISTORY: usize = 512;

/// One outgoing track.
#[derive(Debug)]
pub(super) struct Outgoing {
    section: Section,
    pub(super) ssrc: u32,
    rtx_ssrc: u32,
    seq: SeqNo,
    rtx_seq: SeqNo,
    timestamp: u32,
    picture_id: u16,
    /// Packets so far; the running number of the next one.
    pub(super) number: u32,
    octets: u32,
    history: VecDeque<(SeqNo, u32, bool, Vec<u8>)>,
}

/// An RTP packet that is to be sent, and whether it is to be lost on purpose where that is wanted.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    pub(super) is_first_of_key_frame: bool,
}

impl Outgoing {
    pub(super) fn new(section: &Section, ssrc: u32, rtx_ssrc: u32, first: u16) -> Self {
        Self {
            section: section.clone(),
            ssrc,
            rtx_ssrc,
            seq: SeqNo(first),
            rtx_seq: SeqNo(first / 2),
            timestamp: ssrc,
            picture_id: 0x7ff0,
            number: 0,
            octets: 0,
            history: VecDeque::new(),
        }
    }

    /// The next 20 ms of audio.
    pub(super) fn audio(&mut self, transport_wide: &mut u16) -> Packet {
        let mut payload = vec![0x78; AUDIO_PAYLOAD];
        number(&mut payload, self.number);
        self.timestamp = self.timestamp.wrapping_add(48 * 20);
        self.next(payload, true, transport_wide, false)
    }

    /// The next frame (RFC 7741): descriptor with a picture id of 15 bits, payload header, filling.
    pub(super) fn frame(&mut self, is_key_frame: bool, transport_wide: &mut u16) -> Vec<Packet> {
        self.timestamp = self.timestamp.wrapping_add(90 * 40);
        self.picture_id = self.picture_id.wrapping_add(1) & 0x7fff;
        let [high, low] = self.picture_id.to_be_bytes();
        let count = if is_key_frame {
            KEY_FRAME_PACKETS
        } else {
            DELTA_FRAME_PACKETS
        };
        (0..count)
            .map(|index| {
                let start = if index == 0 { 0x10 } else { 0 };
                let mut payload = vec![0x80 | start, 0x80, 0x80 | high, low];
                if index == 0 && is_key_frame {
                    payload.extend([0x10, 0x02, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]);
                } else if index == 0 {
                    payload.extend([0x11, 0x02, 0]);
                }
                payload.resize(VIDEO_PAYLOAD, 0xa5);
                number(&mut payload, self.number);
                let is_last = index + 1 == count;
                self.next(payload, is_last, transport_wide, index == 0 && is_key_frame)
            })
            .collect()
    }

    fn next(
        &mut self,
        payload: Vec<u8>,
        marker: bool,
        transport_wide: &mut u16,
        is_first_of_key_frame: bool,
    ) -> Packet {
        let header = Header {
            marker,
            payload_type: PayloadType::new(self.section.payload_type & 0x7f)
                .expect("seven bits are left"),
            sequence_number: self.seq,
            timestamp: self.timestamp,
            ssrc: Ssrc(self.ssrc),
        };
        let bytes = self.write(header, &payload, transport_wide);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        if self.section.rtx_payload_type.is_some() {
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            self.history
                .push_back((self.seq, self.timestamp, marker, payload));
        }
        self.seq = self.seq.plus(1);
        self.number += 1;
        Packet {
            bytes,
            is_first_of_key_frame,
        }
    }

    /// The packet `seq` once more (RFC 4588); `None` if it is forgotten.
    pub(super) fn again(&mut self, seq: SeqNo, transport_wide: &mut u16) -> Option<Vec<u8>> {
        let payload_type = self.section.rtx_payload_type.and_then(PayloadType::new)?;
        let (_, timestamp, marker, payload) =
            self.history.iter().find(|(kept, ..)| *kept == seq)?.clone();
        let mut wrapped = vec![0; payload.len() + retransmission::OSN_LEN];
        retransmission::wrap(&mut wrapped, seq, &payload)?;
        let header = Header {
            marker,
            payload_type,
            sequence_number: self.rtx_seq,
            timestamp,
            ssrc: Ssrc(self.rtx_ssrc),
        };
        self.rtx_seq = self.rtx_seq.plus(1);
        Some(self.write(header, &wrapped, transport_wide))
    }

    fn write(&self, header: Header, payload: &[u8], transport_wide: &mut u16) -> Vec<u8> {
        let mut out = vec![0; 12 + 64];
        let (fixed, rest) = out.split_at_mut(12);
        let mut writer = ExtensionWriter::new(rest);
        for (extension, id) in self.section.extensions.iter() {
            match extension {
                Extension::Mid => writer.push(id, self.section.mid.as_bytes()),
                Extension::AbsSendTime => writer.push(id, &[1, 2, 3]),
                Extension::TransportCc => writer.push(id, &transport_wide.to_be_bytes()),
                Extension::AudioLevel => writer.push(id, &AUDIO_LEVEL),
                Extension::PlayoutDelay => writer.push(id, &PLAYOUT_DELAY),
                Extension::Rid | Extension::RepairedRid | Extension::VideoOrientation => {}
            }
        }
        *transport_wide = transport_wide.wrapping_add(1);
        let len = writer.finish();
        header.write(
            fixed
                .first_chunk_mut()
                .expect("twelve bytes were split off"),
            len > 0,
        );
        out.truncate(12 + len);
        out.extend(payload);
        out
    }

    /// What the next sender report says, `ntp_time` apart.
    pub(super) fn sender_info(&self, ntp_time: u64) -> SenderInfo {
        SenderInfo {
            ntp_time,
            rtp_time: self.timestamp,
            packet_count: self.number,
            octet_count: self.octets,
        }
    }
}

fn number(payload: &mut [u8], number: u32) {
    if let Some(end) = payload.last_chunk_mut() {
        *end = number.to_be_bytes();
    }
}

/// What arrived of one track.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrackReport {
    /// Packets sent, where this end sends.
    pub sent: u32,
    /// Packets received, each counted once.
    pub received: u64,
    /// The running number of the first one.
    pub first: Option<u32>,
    /// The highest running number.
    pub newest: Option<u32>,
    /// Packets below the newest that have not arrived.
    pub missing: usize,
    /// Packets that arrived on the media source behind a later one.
    pub late: u64,
    /// Packets that arrived twice.
    pub duplicates: u64,
    /// Packets that arrived by retransmission.
    pub recovered: u64,
    /// Times at which running number and sequence number fell out of step.
    pub shifts: u64,
    /// Key frames that began.
    pub key_frames: u64,
    /// Whether the very first packet began a key frame.
    pub began_with_key_frame: bool,
    /// Packets that this end dropped on purpose.
    pub dropped_on_purpose: u64,
    /// Sender reports of this track.
    pub sender_reports: u64,
}

impl TrackReport {
    /// Whether everything since the first packet has arrived, once and in order.
    pub fn is_flawless(&self) -> bool {
        self.is_complete() && self.late == 0 && self.recovered == 0
    }

    /// Whether everything since the first packet has arrived, by whatever way.
    pub fn is_complete(&self) -> bool {
        self.missing == 0 && self.duplicates == 0 && self.shifts == 0
    }

    /// Whether the packet `number` and everything before it have arrived.
    pub fn has_all_up_to(&self, number: u32) -> bool {
        self.is_complete() && self.newest.is_some_and(|newest| newest >= number)
    }
}

/// One incoming track.
#[derive(Debug)]
pub(super) struct Incoming {
    section: Section,
    highest: Option<u64>,
    missing: BTreeSet<u64>,
    /// Running number less extended sequence number.
    step: Option<u32>,
}

/// Longer gaps are no loss but nonsense.
const MAX_GAP: u64 = 10_000;

impl Incoming {
    pub(super) fn new(section: &Section) -> Self {
        Self {
            section: section.clone(),
            highest: None,
            missing: BTreeSet::new(),
            step: None,
        }
    }

    pub(super) fn ssrc(&self) -> Option<u32> {
        self.section.ssrc
    }

    /// What has to be asked for.
    pub(super) fn missing(&self) -> impl Iterator<Item = SeqNo> + '_ {
        self.missing.iter().map(|seq| SeqNo(*seq as u16))
    }

    pub(super) const fn wants_retransmissions(&self) -> bool {
        self.section.rtx_payload_type.is_some()
    }

    /// For the next receiver report.
    pub(super) fn extended_highest(&self) -> u32 {
        self.highest.unwrap_or(0) as u32
    }

    /// Takes a packet in; false if it is not of this track.
    pub(super) fn take(&mut self, packet: &RtpPacket<'_>, report: &mut TrackReport) -> bool {
        let ssrc = Some(packet.header.ssrc.0);
        let payload_type = packet.header.payload_type.get();
        if !self.has_our_extensions(packet) {
            false
        } else if ssrc == self.section.ssrc && payload_type == self.section.payload_type {
            self.take_media(packet, report);
            true
        } else if ssrc == self.section.rtx_ssrc
            && Some(payload_type) == self.section.rtx_payload_type
        {
            self.take_retransmission(packet, report);
            true
        } else {
            false
        }
    }

    /// Every extension was negotiated, those that are always sent are there, the mid is this section's, and what is
    /// passed through is what was sent.
    fn has_our_extensions(&self, packet: &RtpPacket<'_>) -> bool {
        let expected = [
            Extension::Mid,
            Extension::AudioLevel,
            Extension::PlayoutDelay,
        ];
        let mut expected = expected
            .into_iter()
            .filter_map(|extension| self.section.extensions.get(extension));
        if !expected.all(|expected| packet.extensions().any(|(id, _)| id == expected)) {
            return false;
        }
        for (id, data) in packet.extensions() {
            let is_right = match self.section.extensions.extension(id) {
                Some(Extension::Mid) => data == self.section.mid.as_bytes(),
                Some(Extension::AudioLevel) => data == AUDIO_LEVEL,
                Some(Extension::PlayoutDelay) => data == PLAYOUT_DELAY,
                Some(Extension::AbsSendTime) => data.len() == 3,
                Some(Extension::TransportCc) => data.len() == 2,
                // The publisher sends none of these.
                Some(Extension::Rid | Extension::RepairedRid | Extension::VideoOrientation)
                | None => false,
            };
            if !is_right {
                return false;
            }
        }
        true
    }

    fn take_media(&mut self, packet: &RtpPacket<'_>, report: &mut TrackReport) {
        let seq = packet.header.sequence_number;
        let Some(highest) = self.highest else {
            let first = 1 << 32 | u64::from(seq.0);
            self.highest = Some(first);
            report.first = running_number(packet.payload);
            report.began_with_key_frame = starts_key_frame(self.section.kind, packet.payload);
            self.count(first, packet.payload, report);
            return;
        };
        let distance = seq.distance_from(SeqNo(highest as u16));
        let extended = highest.saturating_add_signed(distance.into());
        if extended > highest {
            let gap = highest + 1..extended;
            if extended - highest < MAX_GAP {
                self.missing.extend(gap);
            } else {
                report.shifts += 1;
            }
            self.highest = Some(extended);
        } else if self.missing.remove(&extended) {
            report.late += 1;
        } else {
            report.duplicates += 1;
            return;
        }
        self.count(extended, packet.payload, report);
    }

    fn take_retransmission(&mut self, packet: &RtpPacket<'_>, report: &mut TrackReport) {
        let Some((seq, payload)) = retransmission::unwrap(packet.payload) else {
            return;
        };
        let Some(highest) = self.highest else { return };
        let distance = seq.distance_from(SeqNo(highest as u16));
        let extended = highest.saturating_add_signed(distance.into());
        // It may have been asked for twice before the first answer came.
        if self.missing.remove(&extended) {
            report.recovered += 1;
            self.count(extended, payload, report);
        }
    }

    fn count(&mut self, extended: u64, payload: &[u8], report: &mut TrackReport) {
        report.received += 1;
        report.missing = self.missing.len();
        let Some(number) = running_number(payload) else {
            return;
        };
        let step = number.wrapping_sub(extended as u32);
        if self.step.replace(step).is_some_and(|before| before != step) {
            report.shifts += 1;
        }
        report.newest = report.newest.max(Some(number));
        if starts_key_frame(self.section.kind, payload) {
            report.key_frames += 1;
        }
    }
}

fn running_number(payload: &[u8]) -> Option<u32> {
    payload.last_chunk().copied().map(u32::from_be_bytes)
}

fn starts_key_frame(kind: MediaKind, payload: &[u8]) -> bool {
    kind == MediaKind::Video && descriptor::starts_key_frame(Codec::Vp8, payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::client::description::{Local, Remote, Sources, publisher_offer};

    /// A section as both ends of one track would have it.
    fn section(kind: MediaKind) -> Section {
        let local = Local {
            ufrag: "ufrag".to_owned(),
            pwd: "password".to_owned(),
            fingerprint: vec![1; 32],
        };
        let sources = Sources {
            audio: 1,
            video: 2,
            rtx: 3,
        };
        let offer =
            publisher_offer(&local, sources) + "a=candidate:1 1 udp 1 127.0.0.1 40000 typ host\r\n";
        let remote = Remote::parse(&offer).unwrap();
        remote.section(kind).unwrap().clone()
    }

    /// Forty frames; the first and the twentieth are key frames.
    fn packets() -> (Outgoing, Vec<Vec<u8>>) {
        let mut outgoing = Outgoing::new(&section(MediaKind::Video), 2, 3, 65_530);
        let mut transport_wide = 0;
        let frames = (0..40).flat_map(|frame| outgoing.frame(frame % 20 == 0, &mut transport_wide));
        let packets = frames.map(|packet| packet.bytes).collect();
        (outgoing, packets)
    }

    fn receive<'a>(packets: impl IntoIterator<Item = &'a Vec<u8>>) -> (Incoming, TrackReport) {
        let mut incoming = Incoming::new(&section(MediaKind::Video));
        let mut report = TrackReport::default();
        for packet in packets {
            let packet = RtpPacket::parse(packet).unwrap();
            assert!(incoming.take(&packet, &mut report));
        }
        (incoming, report)
    }

    #[test]
    fn what_arrives_in_order_is_flawless_over_the_end_of_the_cycle() {
        let (_, packets) = packets();
        let (_, report) = receive(&packets);
        assert!(report.is_flawless());
        assert_eq!((report.received, report.key_frames), (84, 2));
        assert!(report.began_with_key_frame);
        assert_eq!((report.first, report.newest), (Some(0), Some(83)));
        assert!(report.has_all_up_to(83) && !report.has_all_up_to(84));
    }

    #[test]
    fn every_flaw_is_seen() {
        let (_, packets) = packets();
        let mut lossy = packets.clone();
        lossy.remove(10);
        let (incoming, report) = receive(&lossy);
        assert_eq!(report.missing, 1);
        assert_eq!(incoming.missing().collect::<Vec<_>>(), [SeqNo(4)]);

        let mut repeated = packets.clone();
        repeated.insert(11, packets[10].clone());
        assert_eq!(receive(&repeated).1.duplicates, 1);

        let mut swapped = packets.clone();
        swapped.swap(10, 11);
        let (_, report) = receive(&swapped);
        assert!(report.is_complete() && !report.is_flawless());
        assert_eq!(report.late, 1);

        // A packet that was left out, with the numbers closed up behind it.
        let mut closed_up = packets.clone();
        closed_up.remove(10);
        for packet in &mut closed_up[10..] {
            let seq = u16::from_be_bytes([packet[2], packet[3]]).wrapping_sub(1);
            packet[2..4].copy_from_slice(&seq.to_be_bytes());
        }
        assert_eq!(receive(&closed_up).1.shifts, 1);
        assert!(!receive(&packets[2..]).1.began_with_key_frame);
    }

    #[test]
    fn a_retransmission_mends_what_was_missing_and_nothing_else() {
        let (mut outgoing, packets) = packets();
        let mut lossy = packets.clone();
        lossy.remove(10);
        let (mut incoming, mut report) = receive(&lossy);
        for (seq, recovered) in [(SeqNo(4), 1), (SeqNo(4), 1), (SeqNo(5), 1)] {
            let again = outgoing.again(seq, &mut 0).unwrap();
            let packet = RtpPacket::parse(&again).unwrap();
            assert!(incoming.take(&packet, &mut report));
            assert_eq!(report.recovered, recovered);
        }
        assert!(report.is_complete());
        assert_eq!(report.received, 84);
        assert!(outgoing.again(SeqNo(60_000), &mut 0).is_none());
    }

    #[test]
    fn packets_of_other_sources_formats_and_sections_are_not_ours() {
        let (_, packets) = packets();
        for (at, what) in [(1, "payload type"), (11, "source")] {
            let mut packet = packets[0].clone();
            packet[at] ^= 0x40;
            let mut incoming = Incoming::new(&section(MediaKind::Video));
            let packet = RtpPacket::parse(&packet).unwrap();
            assert!(
                !incoming.take(&packet, &mut TrackReport::default()),
                "{what}"
            );
        }
        let mut incoming = Incoming::new(&section(MediaKind::Video));
        incoming.section.mid = "7".to_owned();
        let packet = RtpPacket::parse(&packets[0]).unwrap();
        assert!(!incoming.take(&packet, &mut TrackReport::default()), "mid");
    }
}
