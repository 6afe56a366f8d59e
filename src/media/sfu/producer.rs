//! One incoming media track.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::history::{History, PacketInfo, PassedOn};
use super::key_frame::KeyFrameRequests;
use super::missing::MissingPackets;
use super::ntp::{self, Moment};
use super::quality::Measures;
use super::reception::{Place, Reception};
use crate::media::rtp::rtcp::{ReportBlock, SenderInfo, Writer};
use crate::media::rtp::{RtpPacket, descriptor, retransmission};
use crate::units::{Codec, Feedback, MediaKind, PayloadType, SeqNo, Ssrc, Track};
use crate::views::media::ProducerStats;

/// A source that was replaced may come back after the new one has been silent for this long: a stray packet of an
/// unknown source costs no more.
const SILENCE: Duration = Duration::from_millis(500);

/// Which of a track's two sources a packet came from (RFC 4588 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Media,
    Retransmission,
}

/// A packet that was accepted and lies in its producer's history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Index of the producer.
    pub(crate) producer: usize,
    /// Grows with every restart of the source.
    pub(crate) epoch: u32,
    /// Extended sequence number.
    pub(crate) seq: u64,
    /// There is nothing in it for a subscriber.
    pub(crate) is_padding: bool,
    /// A decoder can begin here.
    pub(crate) starts_key_frame: bool,
}

#[derive(Debug)]
pub(crate) struct Producer {
    /// Its place among the producers of its transport.
    index: usize,
    pub(crate) kind: MediaKind,
    pub(crate) codec: Codec,
    pub(crate) mid: String,
    pub(crate) feedback: Feedback,
    payload_type: PayloadType,
    rtx_payload_type: Option<PayloadType>,
    pub(crate) ssrc: Option<Ssrc>,
    rtx_ssrc: Option<Ssrc>,
    /// The source before this one: its late packets must not take the track back.
    retired: Option<Ssrc>,
    /// When the media source last sent.
    last_media: Option<Instant>,
    epoch: u32,
    reception: Reception,
    missing: MissingPackets,
    pub(crate) history: History,
    key_frames: KeyFrameRequests,
    /// The timestamp of the last picture that began a key frame.
    key_frame: Option<u32>,
    fir_sequence_number: u8,
    /// The source's last sender report and when it came.
    sender_report: Option<(SenderInfo, Instant)>,
    pub(crate) stats: ProducerStats,
    counts: Arc<Counts>,
}

impl Producer {
    pub(crate) fn new(index: usize, track: &Track, counts: &Arc<Counts>) -> Self {
        Self {
            index,
            kind: track.kind,
            codec: track.codec,
            mid: track.mid.clone(),
            feedback: track.feedback,
            payload_type: track.payload_type,
            rtx_payload_type: track.rtx_payload_type,
            ssrc: track.ssrc,
            rtx_ssrc: track.rtx_ssrc,
            retired: None,
            last_media: None,
            epoch: 0,
            reception: Reception::new(),
            missing: MissingPackets::new(),
            history: History::new(track.kind),
            key_frames: KeyFrameRequests::default(),
            key_frame: None,
            fir_sequence_number: 0,
            sender_report: None,
            stats: ProducerStats::default(),
            counts: counts.clone(),
        }
    }

    /// Its transport is gone: nothing more comes, nobody can be asked, and no memory is held for it.
    pub(crate) fn fall_silent(&mut self) {
        self.epoch = 0;
        self.history = History::new(self.kind);
        self.missing.clear();
        self.key_frames = KeyFrameRequests::default();
        self.sender_report = None;
    }

    /// Returns whether a packet has come yet.
    const fn is_live(&self) -> bool {
        self.epoch > 0
    }

    /// Which of this track's known sources `ssrc` is.
    pub(crate) fn stream(&self, ssrc: Ssrc) -> Option<Stream> {
        if self.ssrc == Some(ssrc) {
            Some(Stream::Media)
        } else if self.rtx_ssrc == Some(ssrc) {
            Some(Stream::Retransmission)
        } else {
            None
        }
    }

    /// Which of this track's sources a packet of an unknown one belongs to, by its payload type.
    pub(crate) fn stream_by_payload_type(&self, payload_type: PayloadType) -> Option<Stream> {
        if self.payload_type == payload_type {
            Some(Stream::Media)
        } else if self.rtx_payload_type == Some(payload_type) {
            Some(Stream::Retransmission)
        } else {
            None
        }
    }

    /// Makes `ssrc` the source of `stream`; false if it is the one that was just replaced by one that still sends.
    pub(crate) fn latch(&mut self, now: Instant, ssrc: Ssrc, stream: Stream) -> bool {
        let is_sending = self
            .last_media
            .is_some_and(|at| now.saturating_duration_since(at) < SILENCE);
        if self.retired == Some(ssrc) && is_sending {
            return false;
        }
        match stream {
            Stream::Media => {
                // Before its first packet the declared source was only a promise.
                if self.is_live() {
                    self.retired = self.ssrc;
                }
                self.ssrc = Some(ssrc);
                self.sender_report = None;
            }
            Stream::Retransmission => self.rtx_ssrc = Some(ssrc),
        }
        true
    }

    /// Takes in a packet of this track; `is_new` says that the media source has just begun.
    pub(crate) fn receive(
        &mut self,
        moment: Moment,
        stream: Stream,
        is_new: bool,
        packet: &RtpPacket<'_>,
        passed_on: PassedOn,
    ) -> Option<Arrival> {
        let arrival = match stream {
            Stream::Media => self.receive_media(moment, is_new, packet, passed_on),
            Stream::Retransmission => self.receive_retransmission(moment.now, packet, passed_on),
        };
        if arrival.is_none() {
            self.stats.refused += 1;
            self.counts.refused.one();
        }
        arrival
    }

    fn receive_media(
        &mut self,
        moment: Moment,
        is_new: bool,
        packet: &RtpPacket<'_>,
        passed_on: PassedOn,
    ) -> Option<Arrival> {
        let now = moment.now;
        let header = packet.header;
        self.last_media = Some(now);
        let place = if is_new {
            self.reception.restart(header.sequence_number)
        } else {
            self.reception.place(header.sequence_number)?
        };
        let at = ntp::media_units(moment.since, self.codec.clock_rate());
        self.reception.arrived(at, header.timestamp);
        let seq = match place {
            Place::Ahead { seq, missing } => {
                if missing > 0 {
                    self.lost(now, seq, missing);
                }
                seq
            }
            Place::Late { seq } => {
                self.recovered(now, seq);
                seq
            }
            Place::Restart { seq } => {
                self.request_key_frame(now);
                self.epoch += 1;
                self.missing.clear();
                self.key_frame = None;
                seq
            }
        };
        // Another format on the same source (comfort noise, DTMF, redundancy) was not negotiated with anybody.
        let payload = if header.payload_type == self.payload_type {
            packet.payload
        } else {
            &[]
        };
        Some(self.keep(now, seq, packet, payload, passed_on))
    }

    fn receive_retransmission(
        &mut self,
        now: Instant,
        packet: &RtpPacket<'_>,
        passed_on: PassedOn,
    ) -> Option<Arrival> {
        if self.rtx_payload_type != Some(packet.header.payload_type) {
            return None;
        }
        let (original, payload) = retransmission::unwrap(packet.payload)?;
        let seq = self.reception.place_recovered(original)?;
        self.recovered(now, seq);
        Some(self.keep(now, seq, packet, payload, passed_on))
    }

    fn keep(
        &mut self,
        now: Instant,
        seq: u64,
        packet: &RtpPacket<'_>,
        payload: &[u8],
        passed_on: PassedOn,
    ) -> Arrival {
        let info = PacketInfo {
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            passed_on,
        };
        self.history.insert(now, seq, info, payload);
        let is_padding = payload.is_empty();
        let mut starts_key_frame = !is_padding && descriptor::starts_key_frame(self.codec, payload);
        if !is_padding {
            self.stats.packets += 1;
            self.stats.bytes += payload.len() as u64;
        }
        if starts_key_frame && self.kind == MediaKind::Video {
            // H.264 looks like a beginning more than once: parameter set, then every slice of the picture.
            let timestamp = Some(info.timestamp);
            starts_key_frame = self.key_frame != timestamp;
            self.key_frame = timestamp;
            if starts_key_frame {
                self.stats.key_frames += 1;
                self.counts.key_frames.one();
                self.key_frames.satisfied();
            }
        }
        Arrival {
            producer: self.index,
            epoch: self.epoch,
            seq,
            is_padding,
            starts_key_frame,
        }
    }

    fn lost(&mut self, now: Instant, end: u64, count: u64) {
        self.stats.lost += count;
        self.counts.lost.add(count);
        if self.feedback.nack && !self.missing.add(now, end, count) {
            self.request_key_frame(now);
        }
    }

    fn recovered(&mut self, now: Instant, seq: u64) {
        self.stats.recovered += 1;
        self.counts.recovered.one();
        self.missing.arrived(now, seq);
    }

    /// Somebody cannot decode without a key frame.
    pub(crate) fn request_key_frame(&mut self, now: Instant) {
        if self.can_be_asked_for_key_frames() {
            self.key_frames.request(now);
        }
    }

    /// Somebody still waits for a key frame, although packets come.
    pub(crate) fn request_key_frame_again(&mut self, now: Instant) {
        if self.can_be_asked_for_key_frames() {
            self.key_frames.request_again(now);
        }
    }

    /// Before the first packet there is nobody to ask, and that packet begins a key frame anyway.
    fn can_be_asked_for_key_frames(&self) -> bool {
        self.kind == MediaKind::Video && self.is_live() && (self.feedback.pli || self.feedback.fir)
    }

    /// Remembers the source's sender report (RFC 3550 section 6.4.1).
    pub(crate) fn sender_report(&mut self, now: Instant, info: SenderInfo) {
        self.sender_report = Some((info, now));
    }

    /// The sender's wall clock and media clock at `now`, going by its last report.
    pub(crate) fn clocks(&self, now: Instant) -> Option<(u64, u32)> {
        let (info, at) = self.sender_report?;
        let since = now.saturating_duration_since(at);
        Some((
            info.ntp_time.wrapping_add(ntp::ntp_duration(since)),
            info.rtp_time
                .wrapping_add(ntp::media_units(since, self.codec.clock_rate())),
        ))
    }

    /// Adds what tells how well this track gets here.
    pub(crate) fn measure(&self, measures: &mut Measures) {
        let (expected, received) = self.reception.counts();
        measures.expected += expected;
        measures.received += received;
        match self.kind {
            MediaKind::Video => measures.video_bytes += self.stats.bytes,
            MediaKind::Audio if expected > 0 => {
                let seconds =
                    f64::from(self.reception.jitter()) / f64::from(self.codec.clock_rate());
                measures.jitter = Some(Duration::from_secs_f64(seconds));
            }
            MediaKind::Audio => {}
        }
    }

    /// The block about this track in our next receiver report.
    pub(crate) fn report_block(&mut self, now: Instant) -> Option<ReportBlock> {
        let report = self.sender_report.map(|(info, at)| (info.ntp_time, at));
        self.reception.report(now, self.ssrc?, report)
    }

    /// Writes what is due to be asked of the sender: missing packets and a key frame. `lost` is scratch space.
    pub(crate) fn write_requests(
        &mut self,
        now: Instant,
        sender: Ssrc,
        lost: &mut Vec<SeqNo>,
        writer: &mut Writer<'_>,
    ) {
        let Some(media) = self.ssrc else { return };
        lost.clear();
        if self.missing.take_due(now, lost) {
            self.request_key_frame(now);
        }
        if !lost.is_empty() {
            self.stats.nacks += lost.len() as u64;
            self.counts.nacks_sent.add(lost.len() as u64);
            writer.nack(sender, media, lost);
        }
        if self.key_frames.take_due(now) {
            self.stats.key_frame_requests += 1;
            self.counts.key_frame_requests_sent.one();
            if self.feedback.pli {
                writer.picture_loss_indication(sender, media);
            } else {
                self.fir_sequence_number = self.fir_sequence_number.wrapping_add(1);
                writer.full_intra_request(sender, media, self.fir_sequence_number);
            }
        }
    }

    /// When [`Producer::write_requests`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.missing.deadline(), self.key_frames.deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}
