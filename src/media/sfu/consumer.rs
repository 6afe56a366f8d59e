//! One outgoing copy of a media track.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counts::Counts;
use super::history::{PassedOn, Stored};
use super::ntp;
use super::producer::{Arrival, Producer};
use super::sequencer::Sequencer;
use crate::media::rtp::packet::FIXED_HEADER_LEN;
use crate::media::rtp::rtcp::{ReportBlock, SenderInfo};
use crate::media::rtp::{ExtensionWriter, Header, retransmission};
use crate::units::{Extension, Feedback, MediaKind, PayloadType, Random, SeqNo, Ssrc, Track};
use crate::views::media::ConsumerStats;

/// What a rewritten packet may be longer than its payload: fixed header, extensions (mid of 16 bytes, abs-send-time,
/// transport-wide number, audio level, orientation, playout delay, padding) and original sequence number.
pub(crate) const MAX_HEADER_LEN: usize =
    FIXED_HEADER_LEN + (4 + 17 + 4 + 3 + 2 + 2 + 4) + retransmission::OSN_LEN;

/// Retransmissions that one consumer gets at once, and in a second: a NACK storm costs no more.
const RETRANSMISSION_BURST: u32 = 256;
const RETRANSMISSIONS_PER_SECOND: u32 = 512;

/// One packet is not sent again sooner while the round-trip time is unknown.
const DEFAULT_REPEAT_INTERVAL: Duration = Duration::from_millis(30);
const MIN_REPEAT_INTERVAL: Duration = Duration::from_millis(10);
const MAX_REPEAT_INTERVAL: Duration = Duration::from_millis(200);

/// Recently retransmitted packets that are remembered, a power of two.
const REPEATS: usize = 128;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Sent with this number.
    Forward(SeqNo),
    /// Left out.
    Drop,
    /// Left out, since the subscriber could not decode it without a key frame.
    NeedKeyFrame,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    /// Index of the producer; `None` while the publisher sends nothing that this consumer could pass on.
    pub(crate) producer: Option<usize>,
    pub(crate) ssrc: Ssrc,
    track: Track,
    rtx: Option<Rtx>,
    extensions: Extensions,
    /// The source's restart that is forwarded; 0 before the first packet.
    epoch: u32,
    /// A key frame has to come first.
    is_waiting: bool,
    sequencer: Sequencer,
    /// Source numbers below must not be sent again: they went out with another header.
    retransmit_from: u64,
    timestamp_offset: u32,
    /// The latest outgoing timestamp and when it went out.
    last_timestamp: Option<(u32, Instant)>,
    packet_count: u32,
    octet_count: u32,
    /// Middle NTP bits of our latest sender reports and when they went out.
    reports_sent: [Option<(u32, Instant)>; 2],
    budget: Budget,
    /// By outgoing number modulo the length; allocated with the first retransmission.
    repeats: Vec<Option<(SeqNo, Instant)>>,
    round_trip: Option<Duration>,
    pub(crate) stats: ConsumerStats,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Rtx {
    ssrc: Ssrc,
    payload_type: PayloadType,
    next: SeqNo,
}

/// What differs between packets of one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    pub(crate) abs_send_time: [u8; 3],
    pub(crate) transport_wide: SeqNo,
}

impl Consumer {
    pub(crate) fn new(
        producer: Option<usize>,
        track: &Track,
        random: &mut Random,
        counts: &Arc<Counts>,
    ) -> Self {
        let ssrc = track.ssrc.unwrap_or_else(|| Ssrc(random.u32()));
        Self {
            producer,
            ssrc,
            rtx: Rtx::new(track, random),
            extensions: Extensions::new(track),
            track: track.clone(),
            epoch: 0,
            is_waiting: true,
            sequencer: Sequencer::new(first_sequence_number(random)),
            retransmit_from: 0,
            timestamp_offset: 0,
            last_timestamp: None,
            packet_count: 0,
            octet_count: 0,
            reports_sent: [None; 2],
            budget: Budget::default(),
            repeats: Vec::new(),
            round_trip: None,
            stats: ConsumerStats::default(),
            counts: counts.clone(),
        }
    }

    /// Returns whether `track` is this consumer's, as negotiated later.
    pub(crate) fn is_for(&self, track: &Track) -> bool {
        self.track.codec == track.codec
            && (track.ssrc == Some(self.ssrc)
                || track.ssrc.is_none() && self.track.mid == track.mid)
    }

    /// Takes over what the subscriber's answer changed.
    pub(crate) fn renegotiate(&mut self, track: &Track, random: &mut Random) {
        if self.track == *track {
            return;
        }
        self.extensions = Extensions::new(track);
        match (&mut self.rtx, Rtx::new(track, random)) {
            // Its numbers go on, since its key does.
            (Some(old), Some(new)) if old.ssrc == new.ssrc => old.payload_type = new.payload_type,
            (old, new) => *old = new,
        }
        self.track = track.clone();
        self.retransmit_from = self.sequencer.next_source();
    }

    /// Another publisher's track takes the place of the one so far, or nothing does. Source, numbers and clock go on from
    /// its first key frame; what was sent before is not sent again.
    pub(crate) fn follow(&mut self, producer: Option<usize>) {
        self.producer = producer;
        self.epoch = 0;
        self.is_waiting = true;
        self.sequencer.change_source();
    }

    /// Goes on in the numbering of `old`, the consumer of the same track on the subscriber's former transport.
    ///
    /// Keys and source are new, so that nothing repeats a nonce. Numbers in the upper half of the circle fall back into
    /// the lower one, as at every beginning: a fresh receiver does not know how often they have rolled over.
    pub(crate) fn succeed(&mut self, old: &Self) {
        self.sequencer = Sequencer::new(in_lower_half(old.sequencer.next_out()));
        self.timestamp_offset = old.timestamp_offset;
    }

    /// Returns whether `track` is what this consumer carries, on whichever transport.
    pub(crate) fn carries(&self, track: &Track) -> bool {
        self.track.kind == track.kind && self.track.codec == track.codec
    }

    pub(crate) const fn track(&self) -> &Track {
        &self.track
    }

    pub(crate) const fn kind(&self) -> MediaKind {
        self.track.kind
    }

    pub(crate) const fn feedback(&self) -> Feedback {
        self.track.feedback
    }

    /// Decides what becomes of a packet of this consumer's producer. The place for choosing a simulcast layer: a packet
    /// of another layer is a [`Sequencer::drop`], the switch a [`Sequencer::skip_to`] at a key frame.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        timestamp: u32,
        clock_rate: u32,
    ) -> Verdict {
        if arrival.epoch != self.epoch {
            self.epoch = arrival.epoch;
            self.is_waiting = true;
        }
        // So much was lost on the way that it is another beginning.
        if self.sequencer.leaps_too_far(arrival.seq) {
            self.is_waiting = true;
        }
        if self.is_waiting {
            if arrival.is_padding {
                return Verdict::Drop;
            }
            if !arrival.starts_key_frame {
                return Verdict::NeedKeyFrame;
            }
            self.is_waiting = false;
            self.sequencer.skip_to(arrival.seq);
            self.retransmit_from = arrival.seq;
            self.continue_timestamps(now, timestamp, clock_rate);
        }
        if arrival.is_padding && self.sequencer.drop(arrival.seq) {
            return Verdict::Drop;
        }
        match self.sequencer.map(arrival.seq) {
            Some(seq) => Verdict::Forward(seq),
            None => Verdict::Drop,
        }
    }

    /// The first source's timestamps pass through; a later one's go on where the last left off.
    fn continue_timestamps(&mut self, now: Instant, timestamp: u32, clock_rate: u32) {
        if let Some((last, at)) = self.last_timestamp {
            let passed = ntp::media_units(now.saturating_duration_since(at), clock_rate).max(1);
            self.timestamp_offset = last.wrapping_add(passed).wrapping_sub(timestamp);
        }
    }

    /// Writes the packet and returns its length, 0 if `out` is too short.
    #[inline]
    pub(crate) fn write(
        &self,
        out: &mut [u8],
        seq: SeqNo,
        stored: &Stored<'_>,
        stamp: Stamp,
    ) -> usize {
        let header = Header {
            marker: stored.info.marker,
            payload_type: self.track.payload_type,
            sequence_number: seq,
            timestamp: stored.info.timestamp.wrapping_add(self.timestamp_offset),
            ssrc: self.ssrc,
        };
        let Some(start) = self.write_header(out, header, stored.info.passed_on, stamp) else {
            return 0;
        };
        let end = start + stored.payload.len();
        let Some(payload) = out.get_mut(start..end) else {
            return 0;
        };
        payload.copy_from_slice(stored.payload);
        end
    }

    /// Writes the packet once more on the retransmission source (RFC 4588), or, without one, exactly as before.
    fn write_again(&self, out: &mut [u8], seq: SeqNo, stored: &Stored<'_>, stamp: Stamp) -> usize {
        let Some(rtx) = &self.rtx else {
            return self.write(out, seq, stored, stamp);
        };
        let header = Header {
            marker: stored.info.marker,
            payload_type: rtx.payload_type,
            sequence_number: rtx.next,
            timestamp: stored.info.timestamp.wrapping_add(self.timestamp_offset),
            ssrc: rtx.ssrc,
        };
        self.write_header(out, header, stored.info.passed_on, stamp)
            .and_then(|start| {
                let len = retransmission::wrap(out.get_mut(start..)?, seq, stored.payload)?;
                Some(start + len)
            })
            .unwrap_or(0)
    }

    fn write_header(
        &self,
        out: &mut [u8],
        header: Header,
        passed_on: PassedOn,
        stamp: Stamp,
    ) -> Option<usize> {
        let (fixed, rest) = out.split_first_chunk_mut::<FIXED_HEADER_LEN>()?;
        if rest.len() < MAX_HEADER_LEN - FIXED_HEADER_LEN {
            return None;
        }
        let mut writer = ExtensionWriter::new(rest);
        self.extensions.write(&mut writer, passed_on, stamp);
        let len = writer.finish();
        // Contributing sources are not carried over: browsers mix nothing.
        header.write(fixed, len > 0);
        Some(FIXED_HEADER_LEN + len)
    }

    /// Counts a packet that was sent; `source` is its number at the source.
    #[inline]
    pub(crate) fn sent(&mut self, now: Instant, source: u64, stored: &Stored<'_>) {
        self.sequencer.has_left(source);
        let timestamp = stored.info.timestamp.wrapping_add(self.timestamp_offset);
        match &mut self.last_timestamp {
            // A late packet does not turn time back.
            Some((last, _)) if timestamp.wrapping_sub(*last).cast_signed() < 0 => {}
            last => *last = Some((timestamp, now)),
        }
        self.packet_count = self.packet_count.wrapping_add(1);
        self.octet_count = self.octet_count.wrapping_add(stored.payload.len() as u32);
        self.stats.packets += 1;
        self.stats.bytes += stored.payload.len() as u64;
    }

    /// The transport could not take a packet.
    pub(crate) fn was_refused(&mut self) {
        self.stats.refused += 1;
        self.counts.unsent.one();
    }

    /// The subscriber has asked for a key frame.
    pub(crate) fn was_asked_for_key_frame(&mut self) {
        self.stats.key_frame_requests += 1;
        self.counts.key_frame_requests_received.one();
    }

    /// Answers a NACK for `seq` from `producer`'s history through `send`, which gets the longest length and a function
    /// that writes the packet. Returns false once nothing more may be sent.
    pub(crate) fn retransmit(
        &mut self,
        now: Instant,
        producer: &Producer,
        seq: SeqNo,
        stamp: Stamp,
        send: impl FnOnce(usize, &dyn Fn(&mut [u8]) -> usize) -> bool,
    ) -> bool {
        self.stats.nacks += 1;
        self.counts.nacks_received.one();
        let Some(source) = self.sequencer.source_of(seq) else {
            return true;
        };
        if source < self.retransmit_from || self.was_just_repeated(now, seq) {
            return true;
        }
        let Some(stored) = producer.history.get(now, source) else {
            return true;
        };
        if !self.budget.take(now) {
            return false;
        }
        let this = &*self;
        let sent = send(MAX_HEADER_LEN + stored.payload.len(), &|out| {
            this.write_again(out, seq, &stored, stamp)
        });
        // Nothing was sealed, so that the number is still free; a source whose numbers run on unsent comes round to its
        // own nonces unnoticed.
        if !sent {
            return false;
        }
        match &mut self.rtx {
            Some(rtx) => rtx.next = rtx.next.plus(1),
            None => self.sequencer.has_left(source),
        }
        if self.repeats.is_empty() {
            self.repeats = vec![None; REPEATS];
        }
        self.repeats[usize::from(seq.0) % REPEATS] = Some((seq, now));
        self.stats.retransmissions += 1;
        self.counts.retransmissions.one();
        true
    }

    fn was_just_repeated(&self, now: Instant, seq: SeqNo) -> bool {
        let interval = self
            .round_trip
            .map_or(DEFAULT_REPEAT_INTERVAL, |round_trip| {
                (round_trip * 3 / 4).clamp(MIN_REPEAT_INTERVAL, MAX_REPEAT_INTERVAL)
            });
        self.repeats
            .get(usize::from(seq.0) % REPEATS)
            .copied()
            .flatten()
            .is_some_and(|(repeated, at)| repeated == seq && now < at + interval)
    }

    /// Our next sender report: the publisher's wall clock, so that the subscriber can align its tracks. `None` before the
    /// publisher's own first report and before the first packet.
    pub(crate) fn sender_report(
        &mut self,
        now: Instant,
        producer: &Producer,
    ) -> Option<SenderInfo> {
        if self.is_waiting || self.packet_count == 0 {
            return None;
        }
        let (ntp_time, rtp_time) = producer.clocks(now)?;
        self.reports_sent = [Some((ntp::middle(ntp_time), now)), self.reports_sent[0]];
        Some(SenderInfo {
            ntp_time,
            rtp_time: rtp_time.wrapping_add(self.timestamp_offset),
            packet_count: self.packet_count,
            octet_count: self.octet_count,
        })
    }

    /// The subscriber reports how it receives this track.
    pub(crate) fn receiver_report(&mut self, now: Instant, block: &ReportBlock) {
        self.counts.reported_lost(self.stats.lost, block.total_lost);
        self.stats.lost = block.total_lost;
        self.stats.fraction_lost = block.fraction_lost;
        self.stats.jitter = block.jitter;
        let sent = self
            .reports_sent
            .iter()
            .flatten()
            .find(|(middle, _)| *middle == block.last_sender_report);
        if let Some((_, at)) = sent {
            let round_trip = now
                .saturating_duration_since(*at)
                .saturating_sub(ntp::from_middle(block.delay_since_last_sender_report));
            self.round_trip = Some(round_trip);
            self.counts.round_trip_down(round_trip);
            self.stats.round_trip_us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        }
    }
}

impl Rtx {
    fn new(track: &Track, random: &mut Random) -> Option<Self> {
        Some(Self {
            ssrc: track.rtx_ssrc?,
            payload_type: track.rtx_payload_type?,
            next: first_sequence_number(random),
        })
    }
}

fn first_sequence_number(random: &mut Random) -> SeqNo {
    in_lower_half(random.u32().into())
}

/// A receiver that misses the first packets must not take a roll-over for the beginning (RFC 3711 section 3.3.1).
const fn in_lower_half(number: u64) -> SeqNo {
    SeqNo((number & 0x7fff) as u16)
}

/// The header extensions of one consumer: identifiers, 0 where not negotiated.
#[derive(Debug)]
struct Extensions {
    mid: [u8; 16],
    mid_len: usize,
    mid_id: u8,
    abs_send_time: u8,
    transport_wide: u8,
    audio_level: u8,
    video_orientation: u8,
    playout_delay: u8,
}

impl Extensions {
    fn new(track: &Track) -> Self {
        let id = |extension| track.extensions.get(extension).unwrap_or(0);
        // Without RTX a retransmission repeats number and nonce of the first packet: any difference between the two
        // would give the authentication key away (RFC 7714 section 8.4), so nothing in it may depend on time.
        let may_vary =
            !track.feedback.nack || track.rtx_ssrc.is_some() && track.rtx_payload_type.is_some();
        let mut mid = [0; 16];
        let mid_len = track.mid.len();
        let mid_fits = mid
            .get_mut(..mid_len)
            .map(|mid| mid.copy_from_slice(track.mid.as_bytes()))
            .is_some();
        Self {
            mid,
            mid_len: if mid_fits { mid_len } else { 0 },
            mid_id: id(Extension::Mid),
            abs_send_time: if may_vary {
                id(Extension::AbsSendTime)
            } else {
                0
            },
            transport_wide: if may_vary {
                id(Extension::TransportCc)
            } else {
                0
            },
            audio_level: id(Extension::AudioLevel),
            video_orientation: id(Extension::VideoOrientation),
            playout_delay: id(Extension::PlayoutDelay),
        }
    }

    #[inline]
    fn write(&self, writer: &mut ExtensionWriter<'_>, passed_on: PassedOn, stamp: Stamp) {
        writer.push(self.mid_id, &self.mid[..self.mid_len]);
        writer.push(self.abs_send_time, &stamp.abs_send_time);
        writer.push(self.transport_wide, &stamp.transport_wide.0.to_be_bytes());
        if let Some(level) = passed_on.audio_level {
            writer.push(self.audio_level, &[level]);
        }
        if let Some(orientation) = passed_on.video_orientation {
            writer.push(self.video_orientation, &[orientation]);
        }
        if let Some(delay) = passed_on.playout_delay {
            writer.push(self.playout_delay, &delay);
        }
    }
}

/// A token bucket.
#[derive(Debug, Default)]
struct Budget {
    /// When the bucket was last empty, had it been refilled without a limit.
    empty_at: Option<Instant>,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let token = Duration::from_secs(1) / RETRANSMISSIONS_PER_SECOND;
        let full = now.checked_sub(token * RETRANSMISSION_BURST);
        let empty_at = match (self.empty_at, full) {
            (Some(empty_at), Some(full)) => empty_at.max(full),
            (Some(at), None) | (None, Some(at)) => at,
            (None, None) => now,
        };
        if empty_at + token > now {
            self.empty_at = Some(empty_at);
            return false;
        }
        self.empty_at = Some(empty_at + token);
        true
    }
}
