//! One transport on which a browser sends, its tracks, and the transports that receive them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::arrival_log::ArrivalLog;
use super::consumer::{Consumer, MAX_HEADER_LEN, Stamp, Verdict};
use super::counts::Counts;
use super::history::PassedOn;
use super::ntp::{self, Moment};
use super::producer::{Arrival, Producer, Stream};
use super::quality::{Measures, Quality};
use super::rate_limit::{AudioSent, RateLimit};
use super::reference_times::ReferenceTimes;
use super::router::{Outbox, Sink, TransportKey};
use crate::media::rtp::RtpPacket;
use crate::media::rtp::rtcp::{Compound, NackedSequences, Packet};
use crate::units::{Bitrate, Extension, MediaKind, Random, SeqNo, Ssrc, Track};

/// Transport-wide feedback is sent this often, as Chromium does; every other report once in [`TICKS`] of these.
const TICK: Duration = Duration::from_millis(100);
const TICKS: u32 = 10;
/// A transport that sends nothing for this long gets and causes no reports.
const IDLE: Duration = Duration::from_secs(2);
/// Most sequence numbers that are read of one NACK packet.
const MAX_NACKED_READ: usize = 512;

/// Most tracks of one publisher: each has a history of half a megabyte. Browsers offer two.
const MAX_TRACKS: usize = 8;

/// A transport on which a browser sends.
#[derive(Debug)]
pub(crate) struct Source {
    key: TransportKey,
    rate_limit: RateLimit,
    /// Subscribers have come or gone: what it is told may have changed.
    is_audience_new: bool,
    quality: Quality,
    reference_times: ReferenceTimes,
    pub(crate) producers: Vec<Producer>,
    /// Sorted by key.
    pub(crate) destinations: Vec<Destination>,
    /// What each extension id means. Bundled media sections agree on them (RFC 8843 section 10).
    extensions: [Option<Extension>; 16],
    arrival_log: Option<ArrivalLog>,
    last_packet: Option<Instant>,
    next_tick: Option<Instant>,
    tick: u32,
    /// Scratch space for NACKs.
    lost: Vec<SeqNo>,
    cname: String,
    counts: Arc<Counts>,
}

/// A transport on which a browser receives.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) key: TransportKey,
    is_connected: bool,
    /// The most video that it may get.
    max_send: Option<Bitrate>,
    pub(crate) consumers: Vec<Consumer>,
    transport_wide: SeqNo,
}

impl Source {
    pub(crate) fn new(
        key: TransportKey,
        tracks: &[Track],
        max_receive: Option<Bitrate>,
        random: &mut Random,
        counts: Arc<Counts>,
    ) -> Self {
        let tracks = &tracks[..tracks.len().min(MAX_TRACKS)];
        let mut extensions = [None; 16];
        for (extension, id) in tracks.iter().flat_map(|track| track.extensions.iter()) {
            if let Some(meaning) = extensions.get_mut(usize::from(id)) {
                *meaning = Some(extension);
            }
        }
        Self {
            key,
            rate_limit: RateLimit::new(max_receive),
            is_audience_new: false,
            quality: Quality::default(),
            reference_times: ReferenceTimes::default(),
            producers: tracks
                .iter()
                .enumerate()
                .map(|(index, track)| Producer::new(index, track, &counts))
                .collect(),
            destinations: Vec::new(),
            extensions,
            arrival_log: tracks
                .iter()
                .any(|track| track.feedback.transport_cc)
                .then(ArrivalLog::default),
            last_packet: None,
            next_tick: None,
            tick: 0,
            lost: Vec::new(),
            cname: random.alphanumeric(16),
            counts,
        }
    }

    /// Adds a transport that receives those of our tracks that `tracks` names.
    pub(crate) fn add_destination(
        &mut self,
        key: TransportKey,
        tracks: &[Track],
        random: &mut Random,
    ) {
        let destination = Destination {
            key,
            is_connected: false,
            max_send: None,
            consumers: tracks
                .iter()
                .take(MAX_TRACKS)
                .map(|track| self.new_consumer(track, random))
                .collect(),
            transport_wide: SeqNo(0),
        };
        self.insert(destination);
    }

    fn insert(&mut self, destination: Destination) {
        let index = self
            .destinations
            .partition_point(|other| other.key < destination.key);
        self.destinations.insert(index, destination);
    }

    /// The subscriber gets at most so much video.
    pub(crate) fn limit_destination(&mut self, key: TransportKey, max_send: Option<Bitrate>) {
        if let Some(index) = self.destination(key) {
            self.destinations[index].max_send = max_send;
            self.is_audience_new = true;
        }
    }

    /// This publisher takes the place of `old`: everybody who received that one's tracks goes on with ours.
    pub(crate) fn succeed(&mut self, old: Self) {
        self.cname = old.cname;
        self.is_audience_new = true;
        for mut destination in old.destinations {
            for consumer in &mut destination.consumers {
                let producer = self.producer_of(consumer.track());
                consumer.follow(producer);
            }
            self.insert(destination);
        }
    }

    /// The transport is gone; its subscribers may wait for another under the key `key`.
    pub(crate) fn detach(&mut self, key: TransportKey) {
        self.key = key;
        self.next_tick = None;
        self.arrival_log = None;
        for producer in &mut self.producers {
            producer.fall_silent();
        }
    }

    /// The subscriber `new` goes on where `old` stood, which is forgotten.
    pub(crate) fn replace_destination(&mut self, old: TransportKey, new: TransportKey) {
        let Some(index) = self.destination(old) else {
            return;
        };
        let old = self.destinations.remove(index);
        self.is_audience_new = true;
        let Some(index) = self.destination(new) else {
            return;
        };
        for consumer in &mut self.destinations[index].consumers {
            let former = old
                .consumers
                .iter()
                .find(|former| former.carries(consumer.track()));
            if let Some(former) = former {
                consumer.succeed(former);
            }
        }
    }

    /// The subscriber has answered: `tracks` are left.
    pub(crate) fn set_tracks(&mut self, key: TransportKey, tracks: &[Track], random: &mut Random) {
        let Some(index) = self.destination(key) else {
            return;
        };
        let mut old = std::mem::take(&mut self.destinations[index].consumers);
        let consumers = tracks
            .iter()
            .take(MAX_TRACKS)
            .map(
                |track| match old.iter().position(|consumer| consumer.is_for(track)) {
                    Some(index) => {
                        let mut consumer = old.swap_remove(index);
                        consumer.renegotiate(track, random);
                        consumer
                    }
                    None => self.new_consumer(track, random),
                },
            )
            .collect();
        self.destinations[index].consumers = consumers;
        self.is_audience_new = true;
    }

    fn new_consumer(&self, track: &Track, random: &mut Random) -> Consumer {
        Consumer::new(self.producer_of(track), track, random, &self.counts)
    }

    /// The producer whose packets a consumer of `track` can pass on.
    fn producer_of(&self, track: &Track) -> Option<usize> {
        self.producers
            .iter()
            .position(|producer| producer.kind == track.kind && producer.codec == track.codec)
    }

    pub(crate) fn remove_destination(&mut self, key: TransportKey) {
        if let Some(index) = self.destination(key) {
            self.destinations.remove(index);
            self.is_audience_new = true;
        }
    }

    fn destination(&self, key: TransportKey) -> Option<usize> {
        self.destinations
            .binary_search_by_key(&key, |destination| destination.key)
            .ok()
    }

    /// The subscriber's transport is up: its video needs a key frame now.
    pub(crate) fn connected(&mut self, now: Instant, key: TransportKey) {
        let Some(index) = self.destination(key) else {
            return;
        };
        let destination = &mut self.destinations[index];
        destination.is_connected = true;
        self.is_audience_new = true;
        for consumer in &destination.consumers {
            if let Some(producer) = producer_mut(&mut self.producers, consumer) {
                producer.request_key_frame(now);
            }
        }
    }

    /// Takes in one opened packet from the publisher.
    pub(crate) fn receive(&mut self, moment: Moment, bytes: &[u8]) -> Option<Arrival> {
        let packet = RtpPacket::parse(bytes).ok()?;
        let mut mid = None;
        let mut passed_on = PassedOn::default();
        for (id, data) in packet.extensions() {
            let meaning = self.extensions.get(usize::from(id)).copied().flatten();
            match (meaning, data) {
                (Some(Extension::Mid), _) => mid = Some(data),
                (Some(Extension::TransportCc), &[high, low, ..]) => {
                    if let Some(log) = &mut self.arrival_log {
                        // 292,000 years fit.
                        let at = moment.since.as_micros() as i64;
                        log.record(SeqNo(u16::from_be_bytes([high, low])), at);
                    }
                }
                (Some(Extension::AudioLevel), &[level]) => passed_on.audio_level = Some(level),
                (Some(Extension::VideoOrientation), &[orientation]) => {
                    passed_on.video_orientation = Some(orientation);
                }
                (Some(Extension::PlayoutDelay), &[a, b, c]) => {
                    passed_on.playout_delay = Some([a, b, c]);
                }
                _ => {}
            }
        }
        if self.next_tick.is_none() {
            self.next_tick = Some(moment.now);
            self.tick = 0;
        }
        self.last_packet = Some(moment.now);

        let (index, stream, is_new) = self.route(moment.now, &packet, mid)?;
        self.producers
            .get_mut(index)?
            .receive(moment, stream, is_new, &packet, passed_on)
    }

    /// Finds the track of a packet: by its source, else by mid and payload type (RFC 8843 section 9.2), which the source
    /// then keeps. The third value says that the source is new.
    fn route(
        &mut self,
        now: Instant,
        packet: &RtpPacket<'_>,
        mid: Option<&[u8]>,
    ) -> Option<(usize, Stream, bool)> {
        let ssrc = packet.header.ssrc;
        for (index, producer) in self.producers.iter().enumerate() {
            if let Some(stream) = producer.stream(ssrc) {
                return Some((index, stream, false));
            }
        }
        let mut candidates = self
            .producers
            .iter_mut()
            .enumerate()
            .filter(|(_, producer)| mid.is_none_or(|mid| producer.mid.as_bytes() == mid))
            .filter_map(|(index, producer)| {
                let stream = producer.stream_by_payload_type(packet.header.payload_type)?;
                Some((index, producer, stream))
            });
        let (index, producer, stream) = candidates.next()?;
        if candidates.next().is_some() {
            return None;
        }
        producer
            .latch(now, ssrc, stream)
            .then_some((index, stream, true))
    }

    /// Sends what has arrived to everybody, one destination after the other.
    pub(crate) fn forward(&mut self, moment: Moment, arrivals: &[Arrival], sink: &mut impl Sink) {
        let now = moment.now;
        let abs_send_time = ntp::abs_send_time(moment.since);
        let Self {
            producers,
            destinations,
            ..
        } = self;
        for destination in destinations {
            if !destination.is_connected {
                continue;
            }
            for arrival in arrivals {
                let Some(consumer) = destination
                    .consumers
                    .iter_mut()
                    .find(|consumer| consumer.producer == Some(arrival.producer))
                else {
                    continue;
                };
                let Some(producer) = producers.get_mut(arrival.producer) else {
                    continue;
                };
                let Some(stored) = producer.history.get(now, arrival.seq) else {
                    continue;
                };
                let clock_rate = producer.codec.clock_rate();
                match consumer.admit(now, arrival, stored.info.timestamp, clock_rate) {
                    Verdict::Drop => {}
                    Verdict::NeedKeyFrame => producer.request_key_frame_again(now),
                    Verdict::Forward(seq) => {
                        let stamp = Stamp {
                            abs_send_time,
                            transport_wide: destination.transport_wide,
                        };
                        let max_len = MAX_HEADER_LEN + stored.payload.len();
                        let sent = sink.send_rtp(destination.key, max_len, |out| {
                            consumer.write(out, seq, &stored, stamp)
                        });
                        if sent {
                            consumer.sent(now, arrival.seq, &stored);
                            destination.transport_wide = destination.transport_wide.plus(1);
                        } else {
                            consumer.was_refused();
                        }
                    }
                }
            }
        }
    }

    /// Reads RTCP that came from the publisher.
    pub(crate) fn handle_publisher_rtcp(&mut self, now: Instant, datagram: &[u8]) {
        for packet in Compound::new(datagram) {
            if let Packet::SenderReport { ssrc, info, .. } = packet
                && let Some(producer) = self
                    .producers
                    .iter_mut()
                    .find(|producer| producer.ssrc == Some(ssrc))
            {
                producer.sender_report(now, info);
            }
            if let Packet::ExtendedReport { replies } = packet {
                for reply in replies {
                    if let Some(round_trip) = self.reference_times.replied(now, reply) {
                        self.quality.measured_round_trip(now, round_trip);
                        self.counts.round_trips_up.observe(round_trip);
                    }
                }
            }
        }
    }

    /// Reads RTCP that came from the subscriber `key`.
    pub(crate) fn handle_subscriber_rtcp(
        &mut self,
        moment: Moment,
        key: TransportKey,
        datagram: &[u8],
        sink: &mut impl Sink,
    ) {
        let Some(index) = self.destination(key) else {
            return;
        };
        let Self {
            producers,
            destinations,
            ..
        } = self;
        let destination = &mut destinations[index];
        // Several NACKs of one datagram share the bound.
        let mut nacks_left = MAX_NACKED_READ;
        for packet in Compound::new(datagram) {
            match packet {
                Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks, .. } => {
                    for block in blocks {
                        if let Some(consumer) = destination.consumer(block.ssrc) {
                            consumer.receiver_report(moment.now, &block);
                        }
                    }
                }
                Packet::Nack { media, lost } => {
                    destination.retransmit(moment, producers, media, lost, &mut nacks_left, sink);
                }
                Packet::PictureLossIndication { media } => {
                    destination.request_key_frame(moment.now, producers, media);
                }
                Packet::FullIntraRequest { sources } => {
                    for media in sources {
                        destination.request_key_frame(moment.now, producers, media);
                    }
                }
                Packet::SourceDescription { .. }
                | Packet::ExtendedReport { .. }
                | Packet::Goodbye { .. }
                | Packet::ReceiverEstimatedMaximumBitrate { .. }
                | Packet::TransportWide { .. }
                | Packet::Other { .. } => {}
            }
        }
    }

    /// Asks the publisher for what is due: missing packets and key frames.
    pub(crate) fn flush_requests(&mut self, now: Instant, our_ssrc: Ssrc, outbox: &mut Outbox) {
        if self.request_deadline().is_none_or(|at| now < at) {
            return;
        }
        for producer in &mut self.producers {
            let lost = &mut self.lost;
            outbox.write(self.key, |writer| {
                producer.write_requests(now, our_ssrc, lost, writer);
            });
        }
    }

    /// Reports whose time has come.
    pub(crate) fn handle_timeout(&mut self, moment: Moment, our_ssrc: Ssrc, outbox: &mut Outbox) {
        let now = moment.now;
        self.flush_requests(now, our_ssrc, outbox);
        if self.next_tick.is_none_or(|at| now < at) {
            return;
        }
        let is_idle = self
            .last_packet
            .is_none_or(|at| now.saturating_duration_since(at) >= IDLE);
        if is_idle {
            self.next_tick = None;
            return;
        }
        self.next_tick = Some(now + TICK);
        let slot = self.tick % TICKS;
        self.tick = self.tick.wrapping_add(1);

        self.write_transport_wide(our_ssrc, outbox);
        let is_outdated = std::mem::take(&mut self.is_audience_new)
            && self.rate_limit.is_outdated(self.least_max_send());
        if slot == 0 || is_outdated {
            self.write_receiver_report(moment, our_ssrc, outbox);
        }
        if slot == 0 {
            let mut measures = Measures::default();
            for producer in &self.producers {
                producer.measure(&mut measures);
            }
            outbox.rate(self.key, self.quality.sample(now, measures));
        }
        for destination in &mut self.destinations {
            // Spread over the second, so that a large room's reports are not one burst.
            if destination.is_connected && destination.key.0 % TICKS == slot {
                destination.write_sender_reports(now, &self.producers, &self.cname, outbox);
            }
        }
    }

    fn write_transport_wide(&mut self, our_ssrc: Ssrc, outbox: &mut Outbox) {
        let Some(log) = &mut self.arrival_log else {
            return;
        };
        let Some(media) = self.producers.iter().find_map(|producer| producer.ssrc) else {
            return;
        };
        while let Some(report) = log.take_report() {
            outbox.write(self.key, |writer| {
                writer.transport_wide(our_ssrc, media, &report);
            });
        }
    }

    /// Nothing authentic arrives from the publisher any more.
    pub(crate) fn went_quiet(&mut self, now: Instant, outbox: &mut Outbox) {
        outbox.rate(self.key, self.quality.went_quiet(now));
    }

    /// Something arrives again.
    pub(crate) fn heard_again(&mut self, now: Instant, outbox: &mut Outbox) {
        outbox.rate(self.key, self.quality.heard_again(now));
    }

    fn write_receiver_report(&mut self, moment: Moment, our_ssrc: Ssrc, outbox: &mut Outbox) {
        let now = moment.now;
        let reference_time = ntp::ntp_duration(moment.since);
        self.reference_times.sent(now, reference_time);
        let least_max_send = self.least_max_send();
        let Self {
            key,
            rate_limit,
            producers,
            cname,
            ..
        } = self;
        outbox.write(*key, |writer| {
            let blocks = producers
                .iter_mut()
                .filter_map(|producer| producer.report_block(now));
            writer
                .receiver_report(our_ssrc, blocks)
                .canonical_name(our_ssrc, cname)
                .receiver_reference_time(our_ssrc, reference_time);
            if !producers.iter().any(|producer| producer.feedback.remb) {
                return;
            }
            let mut audio = AudioSent::default();
            for producer in producers.iter() {
                if producer.kind == MediaKind::Audio {
                    audio.packets += producer.stats.packets;
                    audio.payload_bytes += producer.stats.bytes;
                }
            }
            if let Some(limit) = rate_limit.tell(now, least_max_send, audio) {
                let video = producers
                    .iter()
                    .filter(|producer| producer.kind == MediaKind::Video)
                    .filter_map(|producer| producer.ssrc);
                writer.receiver_estimated_maximum_bitrate(our_ssrc, limit, video);
            }
        });
    }

    /// What the most restricted of those who get our video may get.
    fn least_max_send(&self) -> Option<Bitrate> {
        self.destinations
            .iter()
            .filter(|destination| destination.is_connected && destination.gets_video())
            .filter_map(|destination| destination.max_send)
            .min()
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.request_deadline()
            .into_iter()
            .chain(self.next_tick)
            .min()
    }

    fn request_deadline(&self) -> Option<Instant> {
        self.producers.iter().filter_map(Producer::deadline).min()
    }
}

impl Destination {
    fn gets_video(&self) -> bool {
        self.consumers
            .iter()
            .any(|consumer| consumer.kind() == MediaKind::Video && consumer.producer.is_some())
    }

    fn consumer(&mut self, ssrc: Ssrc) -> Option<&mut Consumer> {
        self.consumers
            .iter_mut()
            .find(|consumer| consumer.ssrc == ssrc)
    }

    fn request_key_frame(&mut self, now: Instant, producers: &mut [Producer], media: Ssrc) {
        let Some(consumer) = self.consumer(media) else {
            return;
        };
        if consumer.kind() != MediaKind::Video {
            return;
        }
        consumer.was_asked_for_key_frame();
        if let Some(producer) = producer_mut(producers, consumer) {
            producer.request_key_frame(now);
        }
    }

    fn retransmit(
        &mut self,
        moment: Moment,
        producers: &[Producer],
        media: Ssrc,
        lost: NackedSequences<'_>,
        nacks_left: &mut usize,
        sink: &mut impl Sink,
    ) {
        let abs_send_time = ntp::abs_send_time(moment.since);
        let key = self.key;
        let mut transport_wide = self.transport_wide;
        let Some(consumer) = self.consumer(media) else {
            return;
        };
        let Some(producer) = consumer.producer.and_then(|index| producers.get(index)) else {
            return;
        };
        if !consumer.feedback().nack {
            return;
        }
        for seq in lost {
            let Some(left) = nacks_left.checked_sub(1) else {
                break;
            };
            *nacks_left = left;
            let stamp = Stamp {
                abs_send_time,
                transport_wide,
            };
            let may_go_on =
                consumer.retransmit(moment.now, producer, seq, stamp, |max_len, write| {
                    let sent = sink.send_rtp(key, max_len, write);
                    if sent {
                        transport_wide = transport_wide.plus(1);
                    }
                    sent
                });
            if !may_go_on {
                break;
            }
        }
        self.transport_wide = transport_wide;
    }

    fn write_sender_reports(
        &mut self,
        now: Instant,
        producers: &[Producer],
        cname: &str,
        outbox: &mut Outbox,
    ) {
        outbox.write(self.key, |writer| {
            for consumer in &mut self.consumers {
                let producer = consumer.producer.and_then(|index| producers.get(index));
                let report = producer.and_then(|producer| consumer.sender_report(now, producer));
                if let Some(info) = report {
                    writer
                        .sender_report(consumer.ssrc, info)
                        .canonical_name(consumer.ssrc, cname);
                }
            }
        });
    }
}

fn producer_mut<'a>(
    producers: &'a mut [Producer],
    consumer: &Consumer,
) -> Option<&'a mut Producer> {
    producers.get_mut(consumer.producer?)
}
