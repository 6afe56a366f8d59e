//! Synthetic media that is sent: Opus at 50 packets per second, VP8 at a given rate, and what senders owe receivers:
//! reports, retransmissions, key frames.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::description::{Remote, Section, Sources};
use super::encoder::{self, Encoder};
use super::measure::Measure;
use super::stamp::Stamp;
use crate::media::rtp::packet::FIXED_HEADER_LEN;
use crate::media::rtp::rtcp::{Packet, SenderInfo, Writer};
use crate::media::rtp::{ExtensionWriter, Header, RtpPacket, retransmission};
use crate::units::{Extension, MediaKind, PayloadType, SeqNo, Ssrc};

/// Room that every packet fits into before it is protected.
pub(super) const MAX_PACKET: usize = 1_400;

/// One Opus packet each.
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of one: 32 kbit/s.
const AUDIO_PAYLOAD: usize = 80;
const AUDIO_CLOCK: f64 = 48_000.0;
const VIDEO_CLOCK: f64 = 90_000.0;

/// How often sender reports leave.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Packets that can be sent again.
const HISTORY: usize = 512;

/// Retransmissions that may wait.
const MAX_RESENDS: usize = 512;

/// What is late by more is left out, as a camera would.
const MAX_DELAY: Duration = Duration::from_millis(250);

/// Voice at -30 dBov (RFC 6464).
const AUDIO_LEVEL: [u8; 1] = [0x80 | 30];

/// How video looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Video {
    /// Kilobits per second, payload only.
    pub kbps: u32,
    /// Frames per second.
    pub fps: u32,
    /// The packets of a frame leave over so much time, as a browser's pacer lets them; zero: at once.
    pub pace: Duration,
}

/// What was sent in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) audio: u64,
    pub(super) video: u64,
    pub(super) frames: u64,
    /// In the window or not.
    pub(super) key_frame_requests: u64,
    pub(super) retransmitted: u64,
}

/// One publication's media, sans-I/O.
#[derive(Debug)]
pub(super) struct Publisher {
    stream: u32,
    audio: Option<Audio>,
    video: Option<Camera>,
    /// What receivers have missed: whether of video, and which.
    resends: VecDeque<(bool, SeqNo)>,
    next_report: Instant,
    pub(super) sent: Sent,
}

#[derive(Debug)]
struct Audio {
    track: Track,
    next: Instant,
}

#[derive(Debug)]
struct Camera {
    track: Track,
    encoder: Encoder,
    interval: Duration,
    pace: Duration,
    next_frame: Instant,
    wants_key_frame: bool,
    frame: u32,
    picture_id: u16,
    /// The frame that is leaving.
    leaving: Option<Leaving>,
}

#[derive(Debug, Clone, Copy)]
struct Leaving {
    /// When a camera would have taken it: when it was due, however late it leaves.
    taken: Instant,
    size: usize,
    count: usize,
    index: usize,
    key_frame: bool,
}

impl Publisher {
    /// Media for what the server has accepted in `remote`; begins at `now`, shifted by `phase` so that publishers do not
    /// keep step.
    pub(super) fn new(
        now: Instant,
        stream: u32,
        remote: &Remote,
        sources: Sources,
        video: Video,
        phase: u32,
    ) -> Self {
        let shift = |interval: Duration| interval.mul_f64(f64::from(phase % 1_024) / 1_024.0);
        let interval = Duration::from_secs(1) / video.fps.max(1);
        let camera = |section: &Section| Camera {
            track: Track::new(section, sources.video, sources.rtx, phase),
            encoder: Encoder::new(u64::from(video.kbps) * 125, video.fps, phase),
            interval,
            pace: video.pace.min(interval),
            next_frame: now + shift(interval),
            wants_key_frame: true,
            frame: 0,
            picture_id: (phase & 0x7fff) as u16,
            leaving: None,
        };
        let microphone = |section: &Section| Audio {
            track: Track::new(section, sources.audio, 0, phase),
            next: now + shift(AUDIO_INTERVAL),
        };
        Self {
            stream,
            audio: remote.section(MediaKind::Audio).map(microphone),
            video: remote.section(MediaKind::Video).map(camera),
            resends: VecDeque::new(),
            next_report: now + REPORT_INTERVAL,
            sent: Sent::default(),
        }
    }

    /// When [`Publisher::poll_packet`] or [`Publisher::poll_report`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if !self.resends.is_empty() {
            // Long due.
            return Some(self.next_report - REPORT_INTERVAL);
        }
        let audio = self.audio.as_ref().map(|audio| audio.next);
        let video = self.video.as_ref().map(Camera::due);
        [audio, video, Some(self.next_report)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Writes the next RTP packet that is due into `out`, of [`MAX_PACKET`] bytes at least, and returns its length.
    pub(super) fn poll_packet(
        &mut self,
        now: Instant,
        measure: &mut Measure,
        out: &mut [u8],
    ) -> Option<usize> {
        while let Some((video, seq)) = self.resends.pop_front() {
            let track = if video {
                self.video.as_mut().map(|video| &mut video.track)
            } else {
                self.audio.as_mut().map(|audio| &mut audio.track)
            };
            if let Some(len) = track.and_then(|track| track.again(seq, out)) {
                self.sent.retransmitted += 1;
                return Some(len);
            }
        }
        let sent_ns = measure.ns(now);
        let counts = measure.counts(sent_ns);
        if let Some(audio) = self.audio.as_mut().filter(|audio| now >= audio.next) {
            measure.leaves(now, audio.next);
            self.sent.audio += u64::from(counts);
            return audio.write(now, self.stream, sent_ns, out);
        }
        if let Some(video) = self.video.as_mut().filter(|video| now >= video.due()) {
            measure.leaves(now, video.due());
            self.sent.video += u64::from(counts);
            let is_in_window = measure.counts(measure.ns(video.due()));
            self.sent.frames += u64::from(video.is_at_start() && is_in_window);
            return video.write(now, self.stream, sent_ns, out);
        }
        None
    }

    /// Writes the sender report of one track into `out` if it is due; `ntp` is the wall clock of `now`.
    pub(super) fn poll_report(
        &self,
        now: Instant,
        ntp: u64,
        measure: &Measure,
        kind: MediaKind,
        out: &mut Vec<u8>,
    ) -> bool {
        let track = match kind {
            MediaKind::Audio => self.audio.as_ref().map(|audio| (&audio.track, AUDIO_CLOCK)),
            MediaKind::Video => self.video.as_ref().map(|video| (&video.track, VIDEO_CLOCK)),
        };
        let Some((track, clock)) = track.filter(|_| now >= self.next_report) else {
            return false;
        };
        let info = SenderInfo {
            ntp_time: ntp,
            rtp_time: media_time(measure.ns(now), clock),
            packet_count: track.number,
            octet_count: track.octets,
        };
        Writer::new(out)
            .sender_report(Ssrc(track.ssrc), info)
            .canonical_name(Ssrc(track.ssrc), "load");
        true
    }

    /// Every track has reported.
    pub(super) fn has_reported(&mut self, now: Instant) {
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
        }
    }

    /// Takes an RTCP packet.
    pub(super) fn handle_rtcp(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Nack { media, lost } => {
                let is_video = self
                    .video
                    .as_ref()
                    .is_some_and(|it| it.track.ssrc == media.0);
                for seq in lost.clone() {
                    if self.resends.len() < MAX_RESENDS {
                        self.resends.push_back((is_video, seq));
                    }
                }
            }
            Packet::PictureLossIndication { .. } | Packet::FullIntraRequest { .. } => {
                self.sent.key_frame_requests += 1;
                if let Some(video) = &mut self.video {
                    video.wants_key_frame = true;
                }
            }
            Packet::SenderReport { .. }
            | Packet::ReceiverReport { .. }
            | Packet::SourceDescription { .. }
            | Packet::Goodbye { .. }
            | Packet::ReceiverEstimatedMaximumBitrate { .. }
            | Packet::TransportWide { .. }
            | Packet::ExtendedReport { .. }
            | Packet::Other { .. } => {}
        }
    }
}

impl Audio {
    fn write(&mut self, now: Instant, stream: u32, sent_ns: u64, out: &mut [u8]) -> Option<usize> {
        let stamp = Stamp {
            stream,
            number: self.track.number,
            frame: self.track.number,
            sent_ns,
            age_ns: 0,
            index: 0,
            count: 1,
            key_frame: false,
        };
        self.next = next_due(now, self.next, AUDIO_INTERVAL);
        let timestamp = media_time(sent_ns, AUDIO_CLOCK);
        self.track.write(timestamp, true, out, |payload| {
            let payload = payload.get_mut(..AUDIO_PAYLOAD)?;
            payload.fill(0x5a);
            // One 20 ms frame, wide-band (RFC 6716 section 3.1).
            payload[0] = 0x78;
            stamp.write(payload);
            Some(AUDIO_PAYLOAD)
        })
    }
}

impl Camera {
    /// When the next packet leaves.
    fn due(&self) -> Instant {
        self.leaving.map_or(self.next_frame, |leaving| {
            leaving.taken
                + self
                    .pace
                    .mul_f64(leaving.index as f64 / leaving.count as f64)
        })
    }

    const fn is_at_start(&self) -> bool {
        self.leaving.is_none()
    }

    /// A packet of a frame (RFC 7741): descriptor with a picture id of 15 bits, payload header, filling.
    fn write(&mut self, now: Instant, stream: u32, sent_ns: u64, out: &mut [u8]) -> Option<usize> {
        let leaving = self.leaving.unwrap_or_else(|| {
            let key_frame = std::mem::take(&mut self.wants_key_frame);
            let size = self.encoder.next_frame(key_frame);
            let taken = self.next_frame;
            self.next_frame = next_due(now, self.next_frame, self.interval);
            self.frame = self.frame.wrapping_add(1);
            self.picture_id = self.picture_id.wrapping_add(1) & 0x7fff;
            Leaving {
                taken,
                size,
                count: encoder::packets(size),
                index: 0,
                key_frame,
            }
        });
        let Leaving {
            taken,
            size,
            count,
            index,
            key_frame,
        } = leaving;
        self.leaving = (index + 1 < count).then_some(Leaving {
            index: index + 1,
            ..leaving
        });
        let age = u64::try_from(now.saturating_duration_since(taken).as_nanos()).ok()?;
        let stamp = Stamp {
            stream,
            number: self.track.number,
            frame: self.frame,
            sent_ns,
            age_ns: u32::try_from(age).unwrap_or(u32::MAX),
            index: u8::try_from(index).ok()?,
            count: u8::try_from(count).ok()?,
            key_frame,
        };
        // All packets of a frame have one timestamp.
        let timestamp = media_time(sent_ns.saturating_sub(age), VIDEO_CLOCK);
        let [high, low] = self.picture_id.to_be_bytes();
        let len = encoder::share(size, count, index).len();
        self.track
            .write(timestamp, index + 1 == count, out, |payload| {
                let payload = payload.get_mut(..len)?;
                payload.fill(0xa5);
                let start = if index == 0 { 0x10 } else { 0 };
                payload[..4].copy_from_slice(&[0x80 | start, 0x80, 0x80 | high, low]);
                if index == 0 && key_frame {
                    // Frame tag of a shown key frame, start code, 640 by 360.
                    payload[4..14].copy_from_slice(&[0x10, 2, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1]);
                } else if index == 0 {
                    payload[4..7].copy_from_slice(&[0x11, 2, 0]);
                }
                stamp.write(payload);
                Some(len)
            })
    }
}

/// When it is due again; what was left out for lateness is not made up for.
fn next_due(now: Instant, due: Instant, interval: Duration) -> Instant {
    let next = due + interval;
    if now > next + MAX_DELAY { now } else { next }
}

/// Nanoseconds in units of a media clock, which wraps.
fn media_time(ns: u64, clock: f64) -> u32 {
    let ticks = (ns as f64 / 1e9 * clock) as u64;
    (ticks & u64::from(u32::MAX)) as u32
}

/// What tracks of either kind have in common.
#[derive(Debug)]
struct Track {
    ssrc: u32,
    payload_type: PayloadType,
    mid: Option<(u8, String)>,
    audio_level: Option<u8>,
    seq: SeqNo,
    /// Packets so far; the running number of the next one.
    number: u32,
    octets: u32,
    rtx: Option<Rtx>,
    /// The plain packets, by the low bits of their number.
    history: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Rtx {
    ssrc: u32,
    payload_type: PayloadType,
    seq: SeqNo,
}

impl Track {
    fn new(section: &Section, ssrc: u32, rtx_ssrc: u32, phase: u32) -> Self {
        let payload_type = |number: u8| PayloadType::new(number & 0x7f);
        let mid = section.extensions.get(Extension::Mid);
        let rtx = section.rtx_payload_type.and_then(payload_type);
        Self {
            ssrc,
            payload_type: payload_type(section.payload_type).expect("seven bits are left"),
            mid: mid.map(|id| (id, section.mid.clone())),
            audio_level: section.extensions.get(Extension::AudioLevel),
            seq: SeqNo(phase as u16),
            number: 0,
            octets: 0,
            rtx: rtx.map(|payload_type| Rtx {
                ssrc: rtx_ssrc,
                payload_type,
                seq: SeqNo((phase >> 16) as u16),
            }),
            history: vec![Vec::new(); HISTORY],
        }
    }

    /// Writes header and header extension and lets `fill` write the payload.
    fn write(
        &mut self,
        timestamp: u32,
        marker: bool,
        out: &mut [u8],
        fill: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> Option<usize> {
        let header = Header {
            marker,
            payload_type: self.payload_type,
            sequence_number: self.seq,
            timestamp,
            ssrc: Ssrc(self.ssrc),
        };
        let start = self.write_header(header, out)?;
        let payload = fill(out.get_mut(start..)?)?;
        let packet = out.get(..start + payload)?;
        let kept = &mut self.history[usize::from(self.seq.0) % HISTORY];
        kept.clear();
        kept.extend_from_slice(packet);
        self.seq = self.seq.plus(1);
        self.number = self.number.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
        Some(start + payload)
    }

    fn write_header(&self, header: Header, out: &mut [u8]) -> Option<usize> {
        let (fixed, rest) = out.split_first_chunk_mut::<FIXED_HEADER_LEN>()?;
        let mut extensions = ExtensionWriter::new(rest);
        if let Some((id, mid)) = &self.mid {
            extensions.push(*id, mid.as_bytes());
        }
        if let Some(id) = self.audio_level {
            extensions.push(id, &AUDIO_LEVEL);
        }
        let len = extensions.finish();
        header.write(fixed, len > 0);
        Some(FIXED_HEADER_LEN + len)
    }

    /// The packet `seq` once more: wrapped where the server takes that (RFC 4588), else as it was.
    fn again(&mut self, seq: SeqNo, out: &mut [u8]) -> Option<usize> {
        let kept = self.history.get(usize::from(seq.0) % HISTORY)?;
        let packet = RtpPacket::parse(kept).ok()?;
        if packet.header.sequence_number != seq {
            return None;
        }
        let Some(rtx) = &self.rtx else {
            out.get_mut(..kept.len())?.copy_from_slice(kept);
            return Some(kept.len());
        };
        let header = Header {
            payload_type: rtx.payload_type,
            sequence_number: rtx.seq,
            ssrc: Ssrc(rtx.ssrc),
            ..packet.header
        };
        let start = self.write_header(header, out)?;
        let len = retransmission::wrap(out.get_mut(start..)?, seq, packet.payload)?;
        if let Some(rtx) = &mut self.rtx {
            rtx.seq = rtx.seq.plus(1);
        }
        Some(start + len)
    }
}
