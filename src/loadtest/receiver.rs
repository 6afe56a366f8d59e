//! Media that is received: what arrived, late, twice or never, and what receivers owe senders: reports, requests for
//! lost packets and for key frames, with the timing of libwebrtc.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::description::{Remote, Section};
use super::frames::{FrameCounts, Frames};
use super::measure::Measure;
use super::stamp::Stamp;
use crate::media::rtp::rtcp::writer::MAX_NACKED;
use crate::media::rtp::rtcp::{Packet, ReportBlock, SenderInfo, Writer};
use crate::media::rtp::{RtpPacket, retransmission};
use crate::units::{MediaKind, SeqNo, Ssrc};

/// How often receiver reports leave.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// How long a request for a lost packet waits for it: a round trip not yet measured, as libwebrtc assumes.
const NACK_INTERVAL: Duration = Duration::from_millis(100);

/// Requests for one packet.
const MAX_NACKS: u8 = 10;

/// Lost packets that are asked for at the same time; a longer gap is for a key frame to close.
const MAX_MISSING: usize = 1_000;

/// A subscriber that sees no key frame asks for one so soon after the first packet.
const FIRST_REQUEST: Duration = Duration::from_millis(300);

/// And one whose picture stands for so long asks again.
const STALL: Duration = Duration::from_millis(500);

/// Our SSRC in reports.
const REPORTER: Ssrc = Ssrc(1);

/// What became of what was sent in the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Arrived, each counted once.
    pub(super) unique: u64,
    /// Of these, those that came only when asked for again.
    pub(super) recovered: u64,
    /// Arrived behind a later one, unasked.
    pub(super) reordered: u64,
    /// Arrived again.
    pub(super) duplicates: u64,
}

/// One track.
#[derive(Debug)]
pub(super) struct Incoming {
    kind: MediaKind,
    payload_type: u8,
    rtx_payload_type: Option<u8>,
    clock_per_second: f64,
    media: Option<Ssrc>,
    /// The highest sequence number, cycles included.
    highest: u64,
    first: u64,
    arrived: u64,
    /// Expected and arrived, when the last report left.
    reported: (u64, u64),
    jitter: f64,
    transit: Option<f64>,
    missing: VecDeque<Missing>,
    seen: Seen,
    sender_report: Option<(Instant, u32)>,
    pub(super) received: Received,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    seq: u64,
    asked: u8,
    next: Instant,
}

/// What a packet was to a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    InOrder,
    Reordered,
    Recovered,
}

/// One subscription's media, sans-I/O.
#[derive(Debug)]
pub(super) struct Receiver {
    /// The publisher whose packets are expected.
    stream: u32,
    tracks: Vec<Incoming>,
    frames: Option<Frames>,
    first_media: Option<Instant>,
    first_key_frame: Option<Instant>,
    next_report: Instant,
    /// When the picture is looked at again, once there is media.
    next_look: Option<Instant>,
    /// Of other publishers, or without a stamp.
    pub(super) foreign: u64,
    pub(super) nacked: u64,
}

impl Receiver {
    /// For what the server sends according to `remote`; frames are held back for `playout_delay` before they are shown.
    pub(super) fn new(now: Instant, stream: u32, remote: &Remote, playout_delay: Duration) -> Self {
        let has_video = remote.section(MediaKind::Video).is_some();
        Self {
            stream,
            tracks: remote.sections.iter().map(Incoming::new).collect(),
            frames: has_video.then(|| Frames::new(playout_delay)),
            first_media: None,
            first_key_frame: None,
            next_report: now + REPORT_INTERVAL,
            next_look: None,
            foreign: 0,
            nacked: 0,
        }
    }

    /// When the first packet arrived.
    pub(super) const fn first_media(&self) -> Option<Instant> {
        self.first_media
    }

    /// When the first whole key frame was there.
    pub(super) const fn first_key_frame(&self) -> Option<Instant> {
        self.first_key_frame
    }

    /// What arrived of `kind`; `None` if it is not subscribed to.
    pub(super) fn received(&self, kind: MediaKind) -> Option<Received> {
        let track = self.tracks.iter().find(|track| track.kind == kind);
        track.map(|track| track.received)
    }

    /// What became of the frames; `None` without video.
    pub(super) fn frame_counts(&self) -> Option<FrameCounts> {
        self.frames.as_ref().map(|frames| frames.counts)
    }

    /// Takes an RTP packet.
    pub(super) fn handle_rtp(
        &mut self,
        now: Instant,
        packet: &RtpPacket<'_>,
        measure: &mut Measure,
    ) {
        let now_ns = measure.ns(now);
        let payload_type = packet.header.payload_type.get();
        let mut payload = packet.payload;
        let mut original = None;
        let track = self.tracks.iter_mut().find(|track| {
            track.payload_type == payload_type || track.rtx_payload_type == Some(payload_type)
        });
        let Some(track) = track else {
            self.foreign += 1;
            return;
        };
        if track.rtx_payload_type == Some(payload_type) {
            // Padding on the retransmission stream is no packet.
            let Some((seq, wrapped)) = retransmission::unwrap(payload) else {
                return;
            };
            original = Some(seq);
            payload = wrapped;
        }
        let Some(stamp) = Stamp::read(payload).filter(|stamp| stamp.stream == self.stream) else {
            self.foreign += u64::from(!payload.is_empty());
            return;
        };
        let arrival = match original {
            Some(seq) => track.repeated(seq),
            None => track.arrived(now, now_ns, packet),
        };
        let counts = measure.counts(stamp.sent_ns);
        if !track.seen.insert(stamp.number) {
            track.received.duplicates += u64::from(counts);
            return;
        }
        if counts {
            track.received.unique += 1;
            track.received.recovered += u64::from(arrival == Arrival::Recovered);
            track.received.reordered += u64::from(arrival == Arrival::Reordered);
        }
        measure.has_travelled(stamp.sent_ns, now_ns);
        if self.first_media.is_none() {
            self.first_media = Some(now);
            self.next_look = self.frames.as_ref().map(|_| now + FIRST_REQUEST);
        }
        if track.kind == MediaKind::Video
            && let Some(frames) = &mut self.frames
        {
            let age = Duration::from_nanos(now_ns.saturating_sub(stamp.frame_ns()));
            if frames.take(now, age, &stamp, measure.counts(stamp.frame_ns())) {
                self.first_key_frame.get_or_insert(now);
            }
        }
    }

    /// Takes an RTCP packet.
    pub(super) fn handle_rtcp(&mut self, now: Instant, packet: &Packet<'_>) {
        if let Packet::SenderReport {
            ssrc,
            info: SenderInfo { ntp_time, .. },
            ..
        } = packet
        {
            let track = self
                .tracks
                .iter_mut()
                .find(|track| track.media == Some(*ssrc));
            if let Some(track) = track {
                track.sender_report = Some((now, (ntp_time >> 16) as u32));
            }
        }
    }

    /// When [`Receiver::poll_rtcp`] has something.
    pub(super) fn poll_timeout(&self) -> Instant {
        let missing = self.tracks.iter().filter_map(Incoming::next_nack);
        missing
            .chain(self.next_look)
            .fold(self.next_report, Instant::min)
    }

    /// Writes the next compound packet that is due into `out`; false if none is.
    pub(super) fn poll_rtcp(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        for track in &mut self.tracks {
            let mut lost = [SeqNo(0); MAX_NACKED];
            let count = track.due_nacks(now, &mut lost);
            if let Some(media) = track.media.filter(|_| count > 0) {
                self.nacked += count as u64;
                Writer::new(out).nack(REPORTER, media, &lost[..count]);
                return true;
            }
        }
        if self.asks_for_key_frame(now) {
            let video = self
                .tracks
                .iter()
                .find(|track| track.kind == MediaKind::Video);
            if let Some(media) = video.and_then(|track| track.media) {
                Writer::new(out).picture_loss_indication(REPORTER, media);
                return true;
            }
        }
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            let blocks = self.tracks.iter_mut().filter_map(|track| track.report(now));
            Writer::new(out)
                .receiver_report(REPORTER, blocks)
                .canonical_name(REPORTER, "load");
            return true;
        }
        false
    }

    /// Whether the picture has stood still for too long.
    fn asks_for_key_frame(&mut self, now: Instant) -> bool {
        if self.next_look.is_none_or(|at| now < at) {
            return false;
        }
        let moved_at = self.frames.as_ref().and_then(Frames::moved_at);
        let moves_until = moved_at.map(|at| at + STALL).filter(|until| now < *until);
        self.next_look = Some(moves_until.unwrap_or(now + STALL));
        moves_until.is_none()
    }
}

impl Incoming {
    fn new(section: &Section) -> Self {
        Self {
            kind: section.kind,
            payload_type: section.payload_type,
            rtx_payload_type: section.rtx_payload_type,
            clock_per_second: match section.kind {
                MediaKind::Audio => 48_000.0,
                MediaKind::Video => 90_000.0,
            },
            media: None,
            highest: 0,
            first: 0,
            arrived: 0,
            reported: (0, 0),
            jitter: 0.0,
            transit: None,
            missing: VecDeque::new(),
            seen: Seen::default(),
            sender_report: None,
            received: Received::default(),
        }
    }

    /// A packet of the media stream.
    fn arrived(&mut self, now: Instant, now_ns: u64, packet: &RtpPacket<'_>) -> Arrival {
        let seq = packet.header.sequence_number;
        if self.media != Some(packet.header.ssrc) {
            // The first one, or the server has begun anew under another source.
            self.media = Some(packet.header.ssrc);
            self.highest = (1 << 32) | u64::from(seq.0);
            self.first = self.highest;
            self.arrived = 1;
            self.reported = (0, 0);
            self.missing.clear();
            return Arrival::InOrder;
        }
        self.arrived += 1;
        let distance = seq.distance_from(SeqNo(self.highest as u16));
        let extended = self.highest.wrapping_add_signed(distance.into());
        if distance <= 0 {
            return match self.forget_missing(extended) {
                Some(asked) if asked > 0 => Arrival::Recovered,
                Some(_) | None => Arrival::Reordered,
            };
        }
        for seq in self.highest + 1..extended {
            if self.missing.len() == MAX_MISSING {
                self.missing.pop_front();
            }
            self.missing.push_back(Missing {
                seq,
                asked: 0,
                next: now,
            });
        }
        self.highest = extended;
        // RFC 3550 section 6.4.1.
        let arrival = now_ns as f64 / 1e9 * self.clock_per_second;
        let transit = arrival - f64::from(packet.header.timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = (transit - before).abs();
            // The wrap of either clock is no jitter.
            if difference < self.clock_per_second {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
        Arrival::InOrder
    }

    /// A packet of the retransmission stream.
    fn repeated(&mut self, seq: SeqNo) -> Arrival {
        let distance = seq.distance_from(SeqNo(self.highest as u16));
        self.forget_missing(self.highest.wrapping_add_signed(distance.into()));
        Arrival::Recovered
    }

    /// Returns how often it was asked for, if it was missing.
    fn forget_missing(&mut self, seq: u64) -> Option<u8> {
        let at = self.missing.iter().position(|missing| missing.seq == seq)?;
        self.missing.remove(at).map(|missing| missing.asked)
    }

    fn next_nack(&self) -> Option<Instant> {
        // Audio is not asked for again: neither do browsers.
        let video = self.kind == MediaKind::Video;
        let missing = self.missing.iter().filter(|_| video);
        missing.map(|missing| missing.next).min()
    }

    /// Puts what is to be asked for into `lost` and returns how many they are.
    fn due_nacks(&mut self, now: Instant, lost: &mut [SeqNo; MAX_NACKED]) -> usize {
        if self.kind == MediaKind::Audio {
            self.missing.clear();
            return 0;
        }
        self.missing
            .retain(|missing| missing.asked < MAX_NACKS || now < missing.next);
        let mut count = 0;
        for missing in self.missing.iter_mut().filter(|it| now >= it.next) {
            let Some(place) = lost.get_mut(count) else {
                break;
            };
            *place = SeqNo(missing.seq as u16);
            missing.asked += 1;
            missing.next = now + NACK_INTERVAL;
            count += 1;
        }
        count
    }

    fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let ssrc = self.media?;
        let expected = self.highest - self.first + 1;
        let (expected_before, arrived_before) = self.reported;
        self.reported = (expected, self.arrived);
        let lately = expected - expected_before;
        let lost = lately.saturating_sub(self.arrived - arrived_before);
        let since = self
            .sender_report
            .map(|(at, _)| now.saturating_duration_since(at));
        Some(ReportBlock {
            ssrc,
            fraction_lost: u8::try_from((lost * 256).checked_div(lately).unwrap_or(0))
                .unwrap_or(u8::MAX),
            total_lost: i32::try_from(expected.saturating_sub(self.arrived)).unwrap_or(i32::MAX),
            extended_highest: self.highest as u32,
            jitter: self.jitter as u32,
            last_sender_report: self.sender_report.map_or(0, |(_, middle)| middle),
            delay_since_last_sender_report: since
                .map_or(0, |since| (since.as_secs_f64() * 65_536.0) as u32),
        })
    }
}

/// Which running numbers have been seen, as far as memory goes.
#[derive(Debug)]
struct Seen {
    highest: Option<u32>,
    bits: [u64; Self::WORDS],
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            highest: None,
            bits: [0; Self::WORDS],
        }
    }
}

impl Seen {
    const WORDS: usize = 64;
    const SPAN: u32 = 64 * Self::WORDS as u32;

    /// True if `number` is new; what is too old to tell is not.
    fn insert(&mut self, number: u32) -> bool {
        let Some(highest) = self.highest else {
            self.highest = Some(number);
            self.set(number);
            return true;
        };
        let ahead = number.wrapping_sub(highest);
        if ahead != 0 && ahead <= u32::MAX / 2 {
            for skipped in 1..=ahead.min(Self::SPAN) {
                let (word, bit) = place(number.wrapping_sub(ahead.min(Self::SPAN) - skipped));
                self.bits[word] &= !bit;
            }
            self.highest = Some(number);
        } else if highest.wrapping_sub(number) >= Self::SPAN {
            return false;
        }
        let (word, bit) = place(number);
        let is_new = self.bits[word] & bit == 0;
        self.set(number);
        is_new
    }

    const fn set(&mut self, number: u32) {
        let (word, bit) = place(number);
        self.bits[word] |= bit;
    }
}

const fn place(number: u32) -> (usize, u64) {
    let at = number % Seen::SPAN;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::super::description::Sources;
    use super::super::measure::Window;
    use super::super::publisher::{MAX_PACKET, Publisher, Video};
    use super::*;
    use crate::media::rtp::rtcp::Compound;
    use crate::testing::t0;

    const MILLISECOND: Duration = Duration::from_millis(1);

    const PLAYOUT_DELAY: Duration = Duration::from_millis(200);

    /// What a server agrees to; with a stream for retransmissions or without.
    fn remote(rtx: bool) -> Remote {
        let mut text = "v=0\r\na=ice-ufrag:serv\r\na=ice-pwd:serverpasswordserverpass\r\na=fingerprint:sha-256 AB:CD\r\n\
                        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
                        a=rtpmap:111 opus/48000/2\r\n\
                        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=rtpmap:96 VP8/90000\r\n"
            .to_owned();
        if rtx {
            text += "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";
        }
        Remote::parse(&text).unwrap()
    }

    /// A publisher and a subscriber with nothing between them but what a test makes of each packet.
    struct Pair {
        publisher: Publisher,
        receiver: Receiver,
        measure: Measure,
        /// Arriving later.
        delayed: Vec<(Instant, Vec<u8>)>,
        nacks: u64,
        /// Milliseconds in which the publisher does not get to run.
        stall: std::ops::Range<u32>,
    }

    impl Pair {
        fn new(rtx: bool) -> Self {
            let mut measure = Measure::new(t0());
            measure.window = Some(Window {
                begin_ns: 500_000_000,
                end_ns: 4_500_000_000,
            });
            let remote = remote(rtx);
            let sources = Sources {
                audio: 1,
                video: 2,
                rtx: 3,
            };
            let video = Video {
                kbps: 1_500,
                fps: 30,
                pace: 5 * MILLISECOND,
            };
            // Sequence numbers wrap within the first second.
            let phase = 0x1234_ffe0;
            Self {
                publisher: Publisher::new(t0(), 7, &remote, sources, video, phase),
                receiver: Receiver::new(t0(), 7, &remote, PLAYOUT_DELAY),
                measure,
                delayed: Vec::new(),
                nacks: 0,
                stall: 0..0,
            }
        }

        /// Five seconds; `delay` says when the n-th packet arrives, or that it does not.
        fn run(&mut self, mut delay: impl FnMut(u64) -> Option<Duration>) {
            let mut count = 0;
            let mut rtcp = Vec::new();
            for ms in 0..5_000 {
                let now = t0() + MILLISECOND * ms;
                let mut buffer = [0; MAX_PACKET];
                while !self.stall.contains(&ms)
                    && let Some(len) =
                        self.publisher
                            .poll_packet(now, &mut self.measure, &mut buffer)
                {
                    if let Some(delay) = delay(count) {
                        self.delayed.push((now + delay, buffer[..len].to_vec()));
                    }
                    count += 1;
                }
                let (due, later) = std::mem::take(&mut self.delayed)
                    .into_iter()
                    .partition(|(at, _)| *at <= now);
                self.delayed = later;
                let due: Vec<_> = due;
                for (_, packet) in due {
                    let packet = RtpPacket::parse(&packet).unwrap();
                    self.receiver.handle_rtp(now, &packet, &mut self.measure);
                }
                while self.receiver.poll_rtcp(now, &mut rtcp) {
                    for packet in Compound::new(&rtcp) {
                        self.nacks += u64::from(matches!(packet, Packet::Nack { .. }));
                        self.publisher.handle_rtcp(&packet);
                    }
                }
            }
        }

        fn lost(&self) -> [u64; 2] {
            let received = |kind| self.receiver.received(kind).unwrap();
            let sent = self.publisher.sent;
            [
                sent.audio - received(MediaKind::Audio).unique,
                sent.video - received(MediaKind::Video).unique,
            ]
        }
    }

    #[test]
    fn what_is_not_lost_is_counted_once_and_in_order() {
        let mut pair = Pair::new(true);
        pair.run(|_| Some(20 * MILLISECOND));
        let sent = pair.publisher.sent;
        assert_eq!((sent.audio, sent.frames), (200, 120));
        assert!((680..730).contains(&sent.video), "{}", sent.video);
        assert_eq!(pair.lost(), [0, 0]);
        for kind in [MediaKind::Audio, MediaKind::Video] {
            let received = pair.receiver.received(kind).unwrap();
            let flaws = (received.recovered, received.reordered, received.duplicates);
            assert_eq!(flaws, (0, 0, 0), "{kind:?}");
        }
        let frames = pair.receiver.frame_counts().unwrap();
        assert_eq!((frames.shown, frames.freezes), (120, 0));
        assert_eq!(pair.receiver.foreign, 0);
        assert_eq!(pair.nacks, 0);
        let latency = &pair.measure.latency;
        assert_eq!(latency.len(), sent.audio + sent.video);
        assert!(latency.max() >= 20 * MILLISECOND && latency.max() < 22 * MILLISECOND);
    }

    #[test]
    fn lost_video_is_asked_for_and_comes_again_by_either_way() {
        for rtx in [true, false] {
            let mut pair = Pair::new(rtx);
            pair.run(|count| (count % 20 != 19).then_some(10 * MILLISECOND));
            let video = pair.receiver.received(MediaKind::Video).unwrap();
            assert!(video.recovered > 20, "rtx {rtx}: {video:?}");
            assert!(pair.publisher.sent.retransmitted >= video.recovered);
            let [audio_lost, video_lost] = pair.lost();
            assert_eq!(video_lost, 0, "rtx {rtx}");
            assert!(audio_lost > 5, "nobody asks for audio: {audio_lost}");
            assert_eq!(video.duplicates, 0);
            let frames = pair.receiver.frame_counts().unwrap();
            assert_eq!(frames.shown, 120, "rtx {rtx}");
        }
    }

    #[test]
    fn a_silence_ends_with_a_key_frame_that_was_asked_for_and_counts_as_a_freeze() {
        let mut pair = Pair::new(true);
        let mut outage = Vec::new();
        let mut now = 0;
        pair.run(|count| {
            now = count;
            let is_out = (150..950).contains(&count);
            outage.push(is_out);
            (!is_out).then_some(10 * MILLISECOND)
        });
        assert!(now > 1_000 && outage.iter().filter(|out| **out).count() == 800);
        assert!(pair.publisher.sent.key_frame_requests > 0);
        let frames = pair.receiver.frame_counts().unwrap();
        assert!((1..=3).contains(&frames.freezes), "{frames:?}");
        assert!(frames.shown < 100, "{frames:?}");
    }

    #[test]
    fn what_leaves_late_is_shown_on_time_as_far_as_the_playout_delay_allows() {
        // After 400 ms the camera has left frames out.
        for (length, freezes) in [(190, 0..1), (280, 0..1), (400, 1..3)] {
            let mut pair = Pair::new(true);
            pair.stall = 2_000..2_000 + length;
            pair.run(|_| Some(20 * MILLISECOND));
            let frames = pair.receiver.frame_counts().unwrap();
            assert_eq!(frames.shown, pair.publisher.sent.frames, "{length} ms");
            assert!(freezes.contains(&frames.freezes), "{length} ms: {frames:?}");
        }
    }

    #[test]
    fn what_is_late_or_comes_twice_is_told_apart_from_what_was_lost() {
        let mut pair = Pair::new(true);
        // Every tenth packet takes so long that others overtake it, but not so long that it is asked for again in vain.
        pair.run(|count| Some(if count % 10 == 0 { 15 } else { 10 } * MILLISECOND));
        let video = pair.receiver.received(MediaKind::Video).unwrap();
        assert_eq!(pair.lost(), [0, 0]);
        assert!(video.reordered + video.recovered > 30, "{video:?}");
        assert!(
            video.duplicates > 0,
            "asked for at once, they come twice: {video:?}"
        );
    }

    #[test]
    fn strangers_are_counted_apart() {
        let mut pair = Pair::new(true);
        pair.receiver.stream = 8;
        pair.run(|_| Some(10 * MILLISECOND));
        assert!(pair.receiver.foreign > 800);
        assert_eq!(
            pair.receiver.received(MediaKind::Video),
            Some(Received::default())
        );
        assert!(pair.measure.latency.is_empty());
    }

    #[test]
    fn numbers_are_seen_once_over_the_wrap_and_forgotten_once_they_are_old() {
        let mut seen = Seen::default();
        for number in (u32::MAX - 50..=u32::MAX).chain(0..50) {
            assert!(seen.insert(number) && !seen.insert(number), "{number}");
        }
        assert!(seen.insert(60) && seen.insert(55));
        assert!(seen.insert(60 + Seen::SPAN));
        assert!(!seen.insert(60), "too old to tell");
        assert!(seen.insert(61), "skipped");
        assert!(seen.insert(10_000_000) && seen.insert(9_999_999));
    }
}
