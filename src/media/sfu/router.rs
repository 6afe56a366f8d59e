//! The router of one room: which packet goes to whom.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::counts::Counts;
use super::ntp::Moment;
use super::producer::Arrival;
use super::source::Source;
use crate::media::rtp::rtcp::Writer;
use crate::media::rtp::rtcp::writer::MAX_COMPOUND_LEN;
use crate::units::{Bitrate, Random, Ssrc, Track};
use crate::views::media::{ConsumerStats, ProducerStats};

/// Packets that are taken in before any of them is sent on; the rest of a longer run follows.
const MAX_RUN: usize = 32;

/// RTCP packets that may wait for [`Router::poll_output`]; more are dropped, since every one of them is repeated.
const MAX_WAITING: usize = 4096;

/// A transport of the room: the worker's index of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportKey(pub u32);

/// Where forwarded packets go.
pub trait Sink {
    /// Offers room for one RTP packet of at most `max_len` bytes to `to`. `write` returns the packet's length, 0 if there
    /// is nothing to send. The packet is then sealed and queued.
    ///
    /// Returns false, and has sealed nothing, if the transport cannot send now. A packet with a number that was sealed
    /// before is the same to the last bit (a retransmission where RTX was not negotiated).
    fn send_rtp(
        &mut self,
        to: TransportKey,
        max_len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool;
}

/// What a router wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Seal this compound RTCP packet of at most 1,200 bytes and send it.
    Rtcp {
        /// The transport.
        to: TransportKey,
        /// The packet, until the next call.
        packet: &'a [u8],
    },
    /// A publisher's media gets here so well, 5 (excellent) to 0 (not at all), unlike before.
    Quality {
        /// Its transport.
        of: TransportKey,
        /// How well.
        level: u8,
    },
}

/// The producers and consumers of one room.
#[derive(Debug)]
pub struct Router {
    began: Instant,
    random: Random,
    /// Our SSRC in reports to publishers, to whom we send no media.
    our_ssrc: Ssrc,
    sources: BTreeMap<TransportKey, Source>,
    source_by_subscriber: BTreeMap<TransportKey, TransportKey>,
    /// Scratch space for one run.
    arrivals: Vec<Arrival>,
    outbox: Outbox,
    pub(crate) counts: Arc<Counts>,
    /// The earliest deadline, or earlier.
    wake: Option<Instant>,
}

impl Router {
    /// An empty room.
    pub fn new(now: Instant, mut random: Random) -> Self {
        Self {
            began: now,
            our_ssrc: Ssrc(random.u32()),
            random,
            sources: BTreeMap::new(),
            source_by_subscriber: BTreeMap::new(),
            arrivals: Vec::with_capacity(MAX_RUN),
            outbox: Outbox::default(),
            counts: Arc::default(),
            wake: None,
        }
    }

    /// The same, counting together with whoever else has `counts`.
    #[must_use]
    pub fn counting_into(self, counts: Arc<Counts>) -> Self {
        Self { counts, ..self }
    }

    /// A transport on which a browser sends `tracks`. It is told to send at most `max_receive` of video, or less if a
    /// subscriber may get less.
    pub fn add_publisher(
        &mut self,
        now: Instant,
        key: TransportKey,
        tracks: &[Track],
        max_receive: Option<Bitrate>,
    ) {
        self.remove(key);
        let counts = self.counts.clone();
        let source = Source::new(key, tracks, max_receive, &mut self.random, counts);
        self.sources.insert(key, source);
        self.settle(now, key);
    }

    /// A transport that receives the tracks of `source` that have the kind and codec of one in `tracks`. Without such a
    /// publisher it stays silent.
    pub fn add_subscriber(
        &mut self,
        now: Instant,
        key: TransportKey,
        source: TransportKey,
        tracks: &[Track],
    ) {
        self.remove_subscriber(key);
        if let Some(publisher) = self.sources.get_mut(&source) {
            publisher.add_destination(key, tracks, &mut self.random);
            self.source_by_subscriber.insert(key, source);
            self.settle(now, source);
        }
    }

    /// As long as the subscriber `key` gets video, its publisher is told to send at most `max_send`.
    pub fn limit_subscriber(&mut self, key: TransportKey, max_send: Option<Bitrate>) {
        let source = self.source_of(key);
        if let Some(publisher) = source.and_then(|source| self.sources.get_mut(&source)) {
            publisher.limit_destination(key, max_send);
        }
    }

    /// The publisher `new` takes the place of `old`: whoever received `old` goes on with the tracks of `new` that have the
    /// same kind and codec, in its own numbering, from the next key frame on. `old` is forgotten.
    pub fn replace_publisher(&mut self, now: Instant, old: TransportKey, new: TransportKey) {
        // What the old transport got of its own media, the new one negotiates for itself.
        self.remove_subscriber(old);
        let Some(source) = self.sources.remove(&old) else {
            return;
        };
        let Some(successor) = self.sources.get_mut(&new) else {
            self.sources.insert(old, source);
            return;
        };
        for destination in &source.destinations {
            self.source_by_subscriber.insert(destination.key, new);
        }
        successor.succeed(source);
        self.settle(now, new);
    }

    /// The subscriber `new` goes on where `old` stood with the same publisher. `old` is forgotten.
    pub fn replace_subscriber(&mut self, old: TransportKey, new: TransportKey) {
        let source = self.source_of(new);
        if source.is_some() && source == self.source_of(old) {
            self.source_by_subscriber.remove(&old);
            if let Some(publisher) = source.and_then(|source| self.sources.get_mut(&source)) {
                publisher.replace_destination(old, new);
            }
        }
        self.remove_subscriber(old);
    }

    /// The publisher `key` is gone, but may come back on another transport: until it is removed or replaced, its
    /// subscribers wait under the key that is returned. `None` if `key` published nothing.
    pub fn detach_publisher(&mut self, key: TransportKey) -> Option<TransportKey> {
        self.remove_subscriber(key);
        let mut source = self.sources.remove(&key)?;
        // The worker's own keys are indices and begin at the other end.
        let waiting = (0..=u32::MAX)
            .rev()
            .map(TransportKey)
            .find(|free| !self.sources.contains_key(free))?;
        source.detach(waiting);
        for destination in &source.destinations {
            self.source_by_subscriber.insert(destination.key, waiting);
        }
        self.sources.insert(waiting, source);
        Some(waiting)
    }

    /// The answer to our offer has arrived: `tracks` are what the subscriber accepted.
    pub fn set_subscriber_tracks(&mut self, now: Instant, key: TransportKey, tracks: &[Track]) {
        if let Some(source) = self.source_of(key) {
            if let Some(publisher) = self.sources.get_mut(&source) {
                publisher.set_tracks(key, tracks, &mut self.random);
            }
            self.settle(now, source);
        }
    }

    /// The transport `key` can send and receive: a subscriber's video asks for one key frame.
    pub fn connected(&mut self, now: Instant, key: TransportKey) {
        if let Some(source) = self.source_of(key) {
            if let Some(publisher) = self.sources.get_mut(&source) {
                publisher.connected(now, key);
            }
            self.settle(now, source);
        }
    }

    /// Nothing authentic arrives from the transport `key` any more.
    pub fn went_quiet(&mut self, now: Instant, key: TransportKey) {
        if let Some(source) = self.sources.get_mut(&key) {
            source.went_quiet(now, &mut self.outbox);
        }
    }

    /// Something arrives from the transport `key` again.
    pub fn heard_again(&mut self, now: Instant, key: TransportKey) {
        if let Some(source) = self.sources.get_mut(&key) {
            source.heard_again(now, &mut self.outbox);
        }
    }

    /// Forgets a transport. Subscribers of a publisher that goes stay, silent.
    pub fn remove(&mut self, key: TransportKey) {
        self.remove_subscriber(key);
        if let Some(source) = self.sources.remove(&key) {
            for destination in source.destinations {
                self.source_by_subscriber.remove(&destination.key);
            }
        }
    }

    /// Forwards a run of opened RTP packets from one transport. What goes to one destination comes out in a row.
    pub fn handle_rtp(
        &mut self,
        now: Instant,
        from: TransportKey,
        packets: &[&[u8]],
        sink: &mut impl Sink,
    ) {
        let moment = self.moment(now);
        let Some(source) = self.sources.get_mut(&from) else {
            return;
        };
        for run in packets.chunks(MAX_RUN) {
            self.arrivals.clear();
            self.arrivals.extend(
                run.iter()
                    .filter_map(|packet| source.receive(moment, packet)),
            );
            source.forward(moment, &self.arrivals, sink);
        }
        source.flush_requests(now, self.our_ssrc, &mut self.outbox);
        let deadline = source.deadline();
        self.wake_by(deadline);
    }

    /// Reads an opened compound RTCP packet from one transport; retransmissions go to `sink`.
    pub fn handle_rtcp(
        &mut self,
        now: Instant,
        from: TransportKey,
        packet: &[u8],
        sink: &mut impl Sink,
    ) {
        let moment = self.moment(now);
        if let Some(source) = self.sources.get_mut(&from) {
            source.handle_publisher_rtcp(now, packet);
        }
        if let Some(source) = self.source_of(from) {
            if let Some(publisher) = self.sources.get_mut(&source) {
                publisher.handle_subscriber_rtcp(moment, from, packet, sink);
            }
            self.settle(now, source);
        }
    }

    /// Sends the reports and requests whose time has come. May be called at any time.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wake.is_none_or(|at| now < at) {
            return;
        }
        let moment = self.moment(now);
        for source in self.sources.values_mut() {
            source.handle_timeout(moment, self.our_ssrc, &mut self.outbox);
        }
        self.wake = self.sources.values().filter_map(Source::deadline).min();
    }

    /// When to call [`Router::handle_timeout`].
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// What to do next; to be called until there is nothing, after every other call.
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        self.outbox.poll()
    }

    /// The counters of every incoming track, by its transport.
    pub fn producers(&self) -> impl Iterator<Item = (TransportKey, ProducerStats)> + '_ {
        self.sources.iter().flat_map(|(key, source)| {
            source
                .producers
                .iter()
                .map(|producer| (*key, producer.stats))
        })
    }

    /// The counters of every outgoing track, by its transport.
    pub fn consumers(&self) -> impl Iterator<Item = (TransportKey, ConsumerStats)> + '_ {
        self.sources
            .values()
            .flat_map(|source| &source.destinations)
            .flat_map(|destination| {
                destination
                    .consumers
                    .iter()
                    .map(|consumer| (destination.key, consumer.stats))
            })
    }

    fn moment(&self, now: Instant) -> Moment {
        Moment {
            now,
            since: now.saturating_duration_since(self.began),
        }
    }

    fn source_of(&self, subscriber: TransportKey) -> Option<TransportKey> {
        self.source_by_subscriber.get(&subscriber).copied()
    }

    fn remove_subscriber(&mut self, key: TransportKey) {
        if let Some(source) = self.source_by_subscriber.remove(&key)
            && let Some(source) = self.sources.get_mut(&source)
        {
            source.remove_destination(key);
        }
    }

    /// Sends what a change of `source` made due, and remembers when it next needs attention.
    fn settle(&mut self, now: Instant, source: TransportKey) {
        if let Some(source) = self.sources.get_mut(&source) {
            source.flush_requests(now, self.our_ssrc, &mut self.outbox);
            let deadline = source.deadline();
            self.wake_by(deadline);
        }
    }

    fn wake_by(&mut self, deadline: Option<Instant>) {
        self.wake = self.wake.into_iter().chain(deadline).min();
    }
}

/// What waits to be polled; RTCP packets are in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<(TransportKey, Vec<u8>)>,
    /// The latest of each publisher.
    levels: BTreeMap<TransportKey, u8>,
    spare: Vec<Vec<u8>>,
    /// The packet that was polled last.
    current: Vec<u8>,
}

impl Outbox {
    /// Lets `write` fill a packet to `to`; an empty one is not sent.
    pub(crate) fn write(&mut self, to: TransportKey, write: impl FnOnce(&mut Writer<'_>)) {
        let mut packet = self
            .spare
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(MAX_COMPOUND_LEN));
        write(&mut Writer::new(&mut packet));
        if packet.is_empty() || self.waiting.len() >= MAX_WAITING {
            self.recycle(packet);
        } else {
            self.waiting.push_back((to, packet));
        }
    }

    /// A publisher's quality, if it is another one.
    pub(crate) fn rate(&mut self, of: TransportKey, level: Option<u8>) {
        if let Some(level) = level {
            self.levels.insert(of, level);
        }
    }

    fn poll(&mut self) -> Option<Output<'_>> {
        if let Some((of, level)) = self.levels.pop_first() {
            return Some(Output::Quality { of, level });
        }
        let (to, packet) = self.waiting.pop_front()?;
        let last = std::mem::replace(&mut self.current, packet);
        self.recycle(last);
        Some(Output::Rtcp {
            to,
            packet: &self.current,
        })
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        // A few suffice: the queue is drained after every call.
        if self.spare.len() < 8 {
            self.spare.push(buffer);
        }
    }
}
