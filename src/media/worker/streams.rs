//! The TCP connections of a worker: who may connect, whose they are, what leaves through them.
//!
//! ```text
//!                            ICE-TCP: authentic check
//!                            TURN: allocation
//! accepted --> unproved -----------------------------> proved
//! or adopted      |  ^                                    |
//!                 |  +--(TURN: the allocation ended)------+--(ICE-TCP: the transport ended)--> closed
//!                 |
//!                 +--(10 s, or newer ones crowd it out)--> closed
//! ```
//!
//! What differs between the two is a [`Purpose`]: [`IceTcp`], and [`super::turn_streams`].
//!
//! They are waited for together, by one epoll object that the loop polls beside its UDP sockets: thousands of idle
//! connections cost a turn nothing.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::slots::Slots;
use crate::media::net::framing::{Extent, Framing, MAX_FRAMED, Rfc4571};
use crate::media::net::stream::{Arrived, Stream, StreamListener, Written};
use crate::media::transport::Link;

/// A connection that has not proved to be a browser's, or has no allocation, for so long is closed (robustness S10).
pub(super) const PROOF_DEADLINE: Duration = Duration::from_secs(10);

/// Unproved connections, and no more than half of all; of more the oldest gives way. A browser proves itself within a
/// round trip.
const MAX_UNPROVED: usize = 4_096;

/// Unproved connections of one address, for IPv6 of one /64; further ones are closed at once.
const MAX_UNPROVED_PER_ADDRESS: u32 = 512;

/// Connections accepted from one listener in one turn.
const ACCEPTS_PER_TURN: usize = 16;

/// Connections served in one turn.
pub(super) const EVENTS_PER_TURN: usize = 32;

/// How long nothing is accepted once descriptors or memory ran out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How often that is complained about at most.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes that wait at most; a fuller arena is sent at once.
const ARENA: usize = 256 * 1024;

/// Links of streams have this bit, those of sockets do not.
const STREAM: u32 = 1 << 31;

/// The epoll object's names of listeners have this bit; a connection's is its slot, below its generation.
const LISTENER: u64 = 1 << 31;

/// What connections are for.
pub(super) trait Purpose {
    /// How datagrams stand in them.
    type Framing: Framing + Debug;
    /// What a proved connection belongs to.
    type Owner: Copy + Debug + PartialEq;

    /// Frames of a connection until it is proved.
    const MAX_UNPROVED_FRAMES: u8;

    /// The connection that is over because its peer has begun this one.
    fn replaced_by(&self, stream: &Stream<Self::Framing>) -> Option<u32>;

    /// A connection has begun.
    fn begin(&mut self, slot: u32, stream: &Stream<Self::Framing>);

    /// A connection has ended.
    fn end(&mut self, slot: u32, stream: &Stream<Self::Framing>, owner: Option<Self::Owner>);
}

/// Media over TCP (RFC 6544).
#[derive(Debug)]
pub(super) struct IceTcp;

impl Purpose for IceTcp {
    type Framing = Rfc4571;
    type Owner = Owner;

    /// A browser's first one proves it, unless the roles have to be settled.
    const MAX_UNPROVED_FRAMES: u8 = 8;

    fn replaced_by(&self, _stream: &Stream<Rfc4571>) -> Option<u32> {
        None
    }

    fn begin(&mut self, _slot: u32, _stream: &Stream<Rfc4571>) {}

    fn end(&mut self, _slot: u32, _stream: &Stream<Rfc4571>, _owner: Option<Owner>) {}
}

/// A peer and the generation of its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// Its slot.
    pub(super) peer: u32,
    /// The slot's generation.
    pub(super) generation: u32,
}

/// Something that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// Connections wait to be accepted.
    Listener(usize),
    /// A connection can be read, or is over.
    Readable(u32, u32),
}

/// What streams count; taken once a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// What became of outgoing frames.
    pub(super) written: Written,
    /// Connections that were closed unproved.
    pub(super) refused: u64,
}

#[derive(Debug)]
struct Listener {
    socket: StreamListener,
    /// Out of descriptors or memory: not waited for until then.
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Connection<P: Purpose> {
    stream: Stream<P::Framing>,
    generation: u32,
    /// Whose it is, once proved.
    owner: Option<P::Owner>,
    /// When it is closed unless it is proved.
    deadline: Instant,
    /// Frames that did not prove it.
    unproved_frames: u8,
    /// Closed as soon as everything is sent that its transport has still said.
    is_ending: bool,
    /// The epoll object tells when the kernel has room again.
    waits_for_room: bool,
}

/// Frames for one connection, side by side in the arena.
#[derive(Debug)]
struct Segment {
    slot: u32,
    generation: u32,
    start: usize,
    end: usize,
}

/// All streams of one worker that are for the same.
#[derive(Debug)]
pub(super) struct Streams<P: Purpose> {
    pub(super) purpose: P,
    epoll: OwnedFd,
    listeners: Vec<Listener>,
    connections: Slots<Connection<P>>,
    max_connections: usize,
    max_unproved: usize,
    /// In the order of their deadlines; entries of proved and closed ones, and of those with a new deadline, are passed
    /// over.
    unproved: VecDeque<(Instant, u32, u32)>,
    unproved_count: usize,
    unproved_by_network: HashMap<IpAddr, u32>,
    complained_at: Option<Instant>,
    /// Connections to close once everything is sent.
    ending: Vec<(u32, u32)>,
    ready: Vec<Ready>,
    /// Connections with something to be handled of which the kernel knows nothing.
    unseen: Vec<(u32, u32)>,
    arena: Vec<u8>,
    used: usize,
    segments: Vec<Segment>,
    /// The last sleep was ended by a stream, or there was none yet.
    pub(super) may_have_input: bool,
    tally: Tally,
}

impl Streams<IceTcp> {
    /// The slot of the stream that `link` stands for.
    pub(super) const fn slot(link: Link) -> Option<u32> {
        if link.0 & STREAM == 0 {
            None
        } else {
            Some(link.0 & !STREAM)
        }
    }

    /// What stands for the stream in `slot`.
    pub(super) const fn link(slot: u32) -> Link {
        Link(slot | STREAM)
    }
}

impl<P: Purpose> Streams<P> {
    /// Waits for connections at `listeners`, of which it keeps `max_connections`.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub(super) fn new(
        purpose: P,
        listeners: Vec<StreamListener>,
        max_connections: usize,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, socket) in listeners.iter().enumerate() {
            epoll::add(&epoll, socket, listener_data(index), epoll::EventFlags::IN)?;
        }
        let listener = |socket| Listener {
            socket,
            paused_until: None,
        };
        Ok(Self {
            purpose,
            epoll,
            listeners: listeners.into_iter().map(listener).collect(),
            connections: Slots::default(),
            max_connections,
            max_unproved: MAX_UNPROVED.min(max_connections / 2),
            unproved: VecDeque::new(),
            unproved_count: 0,
            unproved_by_network: HashMap::new(),
            complained_at: None,
            ending: Vec::new(),
            ready: Vec::with_capacity(EVENTS_PER_TURN),
            unseen: Vec::new(),
            arena: vec![0; ARENA],
            used: 0,
            segments: Vec::new(),
            may_have_input: true,
            tally: Tally::default(),
        })
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// The proved connections.
    #[cfg(test)]
    pub(super) fn owned(&self) -> impl Iterator<Item = (u32, P::Owner)> {
        let connections = self.connections.iter();
        connections.filter_map(|(slot, connection)| Some((slot, connection.owner?)))
    }

    // ---- waiting and accepting --------------------------------------------------------------------------------

    /// Whether [`Self::poll`] finds something though the epoll object does not call.
    pub(super) fn has_unseen(&self) -> bool {
        !self.unseen.is_empty()
    }

    /// Sends what waited for room and returns what else can be done.
    pub(super) fn poll(&mut self) -> Vec<Ready> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let unseen = self.unseen.drain(..);
        ready.extend(unseen.map(|(slot, generation)| Ready::Readable(slot, generation)));
        let none = epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        };
        let mut events = [none; EVENTS_PER_TURN];
        let called = epoll::wait(&self.epoll, &mut events[..], Some(&Timespec::default()));
        // An interrupted call finds the same the next time.
        for event in &events[..called.unwrap_or(0)] {
            let (data, flags) = (event.data.u64(), event.flags);
            let low = data as u32;
            if data & LISTENER != 0 {
                ready.push(Ready::Listener((data & !LISTENER) as usize));
                continue;
            }
            let generation = (data >> 32) as u32;
            if flags.contains(epoll::EventFlags::OUT) {
                self.resume(low, generation);
            }
            if flags.intersects(!epoll::EventFlags::OUT) {
                ready.push(Ready::Readable(low, generation));
            }
        }
        ready
    }

    /// Gives the list of [`Self::poll`] back, so that it need not be made anew.
    pub(super) fn polled(&mut self, ready: Vec<Ready>) {
        self.ready = ready;
    }

    /// Accepts what waits at a listener, as far as one turn may.
    pub(super) fn accept(&mut self, now: Instant, listener: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(Listener { socket, .. }) = self.listeners.get(listener) else {
                return;
            };
            match socket.accept() {
                Ok(Some((socket, peer))) => {
                    // A connection that has broken already is none.
                    let Ok(stream) = Stream::new(socket, peer, &[]) else {
                        continue;
                    };
                    if let Err(error) = self.admit(now, stream) {
                        return self.pause(now, listener, &error);
                    }
                }
                Ok(None) => return,
                Err(error) => return self.pause(now, listener, &error),
            }
        }
    }

    /// Takes a connection that was accepted, if there is room for it.
    ///
    /// # Errors
    /// The process is out of memory for waiting.
    pub(super) fn admit(&mut self, now: Instant, stream: Stream<P::Framing>) -> io::Result<()> {
        if let Some(slot) = self.purpose.replaced_by(&stream) {
            self.close(slot);
        }
        let network = network(stream.peer().ip());
        let of_network = self.unproved_by_network.get(&network).copied();
        if of_network >= Some(MAX_UNPROVED_PER_ADDRESS)
            || self.connections.len() >= self.max_connections
            || stream.peer().port() == 0
        {
            self.tally.refused += 1;
            return Ok(());
        }
        while self.unproved_count >= self.max_unproved.max(1) {
            let Some((deadline, slot, generation)) = self.unproved.pop_front() else {
                break;
            };
            self.refuse(deadline, slot, generation);
        }
        let deadline = now + PROOF_DEADLINE;
        let slot = self.connections.insert(|_, generation| Connection {
            stream,
            generation,
            owner: None,
            deadline,
            unproved_frames: 0,
            is_ending: false,
            waits_for_room: false,
        });
        self.unproved_count += 1;
        *self.unproved_by_network.entry(network).or_default() += 1;
        let Some(connection) = self.connections.get_mut(slot) else {
            return Ok(());
        };
        let generation = connection.generation;
        self.purpose.begin(slot, &connection.stream);
        let data = connection_data(slot, generation);
        let flags = epoll::EventFlags::IN;
        if let Err(error) = epoll::add(&self.epoll, &connection.stream, data, flags) {
            self.close(slot);
            return Err(error.into());
        }
        self.unproved.push_back((deadline, slot, generation));
        self.attend(slot);
        Ok(())
    }

    /// Sees to it that the connection is served, and its bytes leave, without a call of the kernel's if need be.
    fn attend(&mut self, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.stream.has_unseen() {
            self.unseen.push((slot, connection.generation));
        }
        if connection.stream.is_waiting() {
            self.watch_room(slot, true);
        }
    }

    /// Out of descriptors or memory, the listener would go on calling: without a pause that is a loop at full speed.
    fn pause(&mut self, now: Instant, listener: usize, error: &io::Error) {
        if self
            .complained_at
            .is_none_or(|at| now >= at + COMPLAINT_INTERVAL)
        {
            self.complained_at = Some(now);
            tracing::warn!(%error, "cannot accept TCP connections for media; raise LimitNOFILE if descriptors ran out");
        }
        self.wait_for(listener, epoll::EventFlags::empty());
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.paused_until = Some(now + ACCEPT_PAUSE);
        }
    }

    fn wait_for(&self, listener: usize, flags: epoll::EventFlags) {
        if let Some(Listener { socket, .. }) = self.listeners.get(listener) {
            // A known descriptor can always be modified.
            let _ = epoll::modify(&self.epoll, socket, listener_data(listener), flags);
        }
    }

    // ---- time -------------------------------------------------------------------------------------------------

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let paused = self.listeners.iter().filter_map(|it| it.paused_until);
        let proof = self.unproved.front().map(|(deadline, ..)| *deadline);
        paused.chain(proof).min()
    }

    /// Closes who has not proved to be a browser in time, and ends pauses.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(deadline, slot, generation)) = self.unproved.front()
            && deadline <= now
        {
            self.unproved.pop_front();
            self.refuse(deadline, slot, generation);
        }
        for listener in 0..self.listeners.len() {
            let paused_until = &mut self.listeners[listener].paused_until;
            if paused_until.is_some_and(|until| until <= now) {
                *paused_until = None;
                self.wait_for(listener, epoll::EventFlags::IN);
            }
        }
    }

    // ---- connections ------------------------------------------------------------------------------------------

    /// Where the connection in `slot` comes from, if it is still that of `generation`.
    pub(super) fn peer(&mut self, slot: u32, generation: u32) -> Option<SocketAddr> {
        let connection = self.connections.get_generation_mut(slot, generation)?;
        (!connection.is_ending).then(|| connection.stream.peer())
    }

    /// Reads once into `buffer`.
    pub(super) fn receive(&mut self, slot: u32, buffer: &mut [u8]) -> Arrived {
        let Some(connection) = self.connections.get_mut(slot) else {
            return Arrived::Nothing;
        };
        let arrived = connection.stream.receive(buffer);
        self.attend(slot);
        arrived
    }

    /// Where the first datagram of `bytes` is.
    pub(super) fn first(bytes: &[u8]) -> Extent {
        P::Framing::first(bytes)
    }

    /// Keeps the beginning of a frame. False if it is more than any frame has.
    pub(super) fn keep(&mut self, slot: u32, rest: &[u8]) -> bool {
        self.connections
            .get_mut(slot)
            .is_none_or(|connection| connection.stream.keep(rest))
    }

    /// The connection in `slot`.
    pub(super) fn stream(&mut self, slot: u32) -> Option<&Stream<P::Framing>> {
        Some(&self.connections.get_mut(slot)?.stream)
    }

    /// Whose the connection is; `None` as long as nobody has proved it.
    pub(super) fn owner(&mut self, slot: u32) -> Option<P::Owner> {
        self.connections.get_mut(slot)?.owner
    }

    /// Whether checks for `owner` may come through the connection: it is nobody's yet, or its own.
    pub(super) fn may_serve(&mut self, slot: u32, owner: P::Owner) -> bool {
        self.connections.get_mut(slot).is_some_and(|connection| {
            !connection.is_ending && connection.owner.is_none_or(|known| known == owner)
        })
    }

    /// A valid check has proved whose the connection is. False if it is another's.
    pub(super) fn prove(&mut self, slot: u32, owner: P::Owner) -> bool {
        let Some(connection) = self.connections.get_mut(slot) else {
            return false;
        };
        if let Some(known) = connection.owner {
            return known == owner;
        }
        if connection.is_ending {
            return false;
        }
        connection.owner = Some(owner);
        let network = network(connection.stream.peer().ip());
        self.leave_unproved(network);
        true
    }

    /// What the connection belonged to is over: it may find something new, in as much time as a fresh one.
    pub(super) fn release(&mut self, now: Instant, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.owner.take().is_none() {
            return;
        }
        connection.deadline = now + PROOF_DEADLINE;
        connection.unproved_frames = 0;
        let entry = (connection.deadline, slot, connection.generation);
        let network = network(connection.stream.peer().ip());
        self.unproved.push_back(entry);
        self.unproved_count += 1;
        *self.unproved_by_network.entry(network).or_default() += 1;
    }

    /// A frame has been handled. False if the connection has had enough of them without a proof.
    pub(super) fn may_go_on(&mut self, slot: u32) -> bool {
        let Some(connection) = self.connections.get_mut(slot) else {
            return false;
        };
        if connection.owner.is_none() {
            connection.unproved_frames += 1;
        }
        connection.unproved_frames < P::MAX_UNPROVED_FRAMES
    }

    /// Closes the connection once everything is sent; from here on it is nobody's.
    pub(super) fn end(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot)
            && !connection.is_ending
        {
            connection.is_ending = true;
            self.ending.push((slot, connection.generation));
        }
    }

    /// Closes a connection that did not prove until `deadline` whose it is.
    fn refuse(&mut self, deadline: Instant, slot: u32, generation: u32) {
        let connection = self.connections.get_generation_mut(slot, generation);
        if connection.is_some_and(|it| it.owner.is_none() && it.deadline == deadline) {
            self.tally.refused += 1;
            self.close(slot);
        }
    }

    /// Closes the connection; what still waits in it is lost. Closing takes it out of the epoll object.
    pub(super) fn close(&mut self, slot: u32) {
        let Some(mut connection) = self.connections.remove(slot) else {
            return;
        };
        connection.stream.finish();
        if connection.owner.is_none() {
            self.leave_unproved(network(connection.stream.peer().ip()));
        }
        self.purpose.end(slot, &connection.stream, connection.owner);
    }

    fn leave_unproved(&mut self, network: IpAddr) {
        self.unproved_count -= 1;
        if let Some(count) = self.unproved_by_network.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.unproved_by_network.remove(&network);
            }
        }
    }

    // ---- sending ----------------------------------------------------------------------------------------------

    /// Room for the next datagram of at most `max_len` bytes to the connection in `slot`; sends what waits if it would
    /// not fit. `None` if there is no such connection, or `max_len` exceeds any datagram.
    pub(super) fn space(&mut self, slot: u32, max_len: usize) -> Option<&mut [u8]> {
        if max_len > MAX_FRAMED {
            return None;
        }
        let generation = self.connections.get_mut(slot)?.generation;
        if self.arena.len() - self.used < P::Framing::HEADER + max_len {
            self.send();
        }
        let is_next = |last: &Segment| last.slot == slot && last.generation == generation;
        if !self.segments.last().is_some_and(is_next) {
            self.segments.push(Segment {
                slot,
                generation,
                start: self.used,
                end: self.used,
            });
        }
        let start = self.used + P::Framing::HEADER;
        self.arena.get_mut(start..start + max_len)
    }

    /// Queues the first `len` bytes of the room that [`Self::space`] gave last.
    pub(super) fn commit(&mut self, len: usize) {
        let start = self.used + P::Framing::HEADER;
        if let Some(segment) = self.segments.last_mut() {
            P::Framing::write_header(&mut self.arena[self.used..start], len);
            self.used = start + len;
            segment.end = self.used;
        }
    }

    /// Sends everything that waits, then closes what was to end after that.
    pub(super) fn flush(&mut self) -> Tally {
        self.send();
        let mut ending = std::mem::take(&mut self.ending);
        for (slot, generation) in ending.drain(..) {
            if self
                .connections
                .get_generation_mut(slot, generation)
                .is_some()
            {
                self.close(slot);
            }
        }
        self.ending = ending;
        std::mem::take(&mut self.tally)
    }

    fn send(&mut self) {
        let mut segments = std::mem::take(&mut self.segments);
        for segment in segments.drain(..) {
            let (slot, generation) = (segment.slot, segment.generation);
            let Some(connection) = self.connections.get_generation_mut(slot, generation) else {
                continue;
            };
            let frames = &self.arena[segment.start..segment.end];
            let written = connection.stream.send(frames);
            self.tally.written.datagrams += written.datagrams;
            self.tally.written.bytes += written.bytes;
            self.tally.written.dropped += written.dropped;
            if connection.stream.is_waiting() {
                self.watch_room(slot, true);
            }
        }
        self.segments = segments;
        self.used = 0;
    }

    fn resume(&mut self, slot: u32, generation: u32) {
        if let Some(connection) = self.connections.get_generation_mut(slot, generation)
            && !connection.stream.resume()
        {
            self.watch_room(slot, false);
        }
    }

    fn watch_room(&mut self, slot: u32, watch: bool) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.waits_for_room == watch {
            return;
        }
        connection.waits_for_room = watch;
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, watch);
        let data = connection_data(slot, connection.generation);
        // A known descriptor can always be modified.
        let _ = epoll::modify(&self.epoll, &connection.stream, data, flags);
    }
}

impl<P: Purpose> AsFd for Streams<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn listener_data(index: usize) -> epoll::EventData {
    epoll::EventData::new_u64(LISTENER | index as u64)
}

fn connection_data(slot: u32, generation: u32) -> epoll::EventData {
    epoll::EventData::new_u64(u64::from(generation) << 32 | u64::from(slot))
}

/// What counts as one source of connections: whoever has an IPv6 address has its whole /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpStream;

    use super::*;
    use crate::testing::t0;

    fn streams(max_connections: usize) -> (Streams<IceTcp>, SocketAddr) {
        let listener = StreamListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), false).unwrap();
        let addr = listener.local_addr();
        let streams = Streams::new(IceTcp, vec![listener], max_connections).unwrap();
        (streams, addr)
    }

    fn turn(streams: &mut Streams<IceTcp>, now: Instant) -> Vec<Ready> {
        let ready = streams.poll();
        for ready in &ready {
            if let Ready::Listener(index) = ready {
                streams.accept(now, *index);
            }
        }
        ready
    }

    fn is_closed(browser: &mut TcpStream) -> bool {
        browser.set_nonblocking(true).unwrap();
        match browser.read(&mut [0; 10]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    #[test]
    fn the_oldest_unproved_connection_gives_way_and_proved_ones_stay() {
        let (mut streams, addr) = streams(8);
        let mut browsers = Vec::new();
        let owner = Owner {
            peer: 1,
            generation: 0,
        };
        for _ in 0..4 {
            browsers.push(TcpStream::connect(addr).unwrap());
            turn(&mut streams, t0());
        }
        assert!(streams.prove(0, owner));
        for _ in 0..3 {
            browsers.push(TcpStream::connect(addr).unwrap());
            turn(&mut streams, t0());
        }
        let closed: Vec<bool> = browsers.iter_mut().map(is_closed).collect();
        assert_eq!(closed, [false, true, true, false, false, false, false]);
        assert_eq!((streams.len(), streams.flush().refused), (5, 2));
        // What is proved is bounded by all.
        for slot in 1..5 {
            assert!(streams.prove(slot, owner));
        }
        for _ in 0..8 {
            browsers.push(TcpStream::connect(addr).unwrap());
            turn(&mut streams, t0());
        }
        assert_eq!(streams.len(), 8);
        streams.handle_timeout(t0() + PROOF_DEADLINE);
        assert_eq!((streams.len(), streams.poll_timeout()), (5, None));
    }

    #[test]
    fn without_descriptors_nothing_is_accepted_for_a_second() {
        let (mut streams, addr) = streams(100);
        let _browser = TcpStream::connect(addr).unwrap();
        let exhausted = rustix::io::Errno::MFILE.into();
        streams.pause(t0(), 0, &exhausted);
        assert_eq!(turn(&mut streams, t0()), []);
        let later = streams.poll_timeout().unwrap();
        assert_eq!(later, t0() + ACCEPT_PAUSE);
        streams.handle_timeout(later);
        assert_eq!(turn(&mut streams, later), [Ready::Listener(0)]);
        assert_eq!(streams.len(), 1);
    }

    #[test]
    fn a_crowd_is_counted_by_its_network() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            network(ip("2001:db8:1:2:3:4:5:6")),
            network(ip("2001:db8:1:2::9"))
        );
        assert_ne!(
            network(ip("2001:db8:1:2::1")),
            network(ip("2001:db8:1:3::1"))
        );
        assert_ne!(network(ip("192.0.2.1")), network(ip("192.0.2.2")));
    }

    #[test]
    fn frames_for_a_connection_that_has_gone_are_nobodys() {
        let (mut streams, addr) = streams(8);
        let first = TcpStream::connect(addr).unwrap();
        turn(&mut streams, t0());
        streams.space(0, 100).unwrap()[..3].copy_from_slice(b"one");
        streams.commit(3);
        streams.close(0);
        drop(first);
        let mut second = TcpStream::connect(addr).unwrap();
        turn(&mut streams, t0());
        assert_eq!(streams.len(), 1, "in the same slot");
        streams.flush();
        assert!(streams.space(1, 100).is_none());
        assert!(streams.space(0, MAX_FRAMED + 1).is_none());
        streams.space(0, 100).unwrap()[..3].copy_from_slice(b"two");
        streams.commit(3);
        assert_eq!(streams.flush().written.datagrams, 1);
        let mut frame = [0; 100];
        assert_eq!(second.read(&mut frame).unwrap(), 5);
        assert_eq!(frame[..5], *b"\0\x03two");
    }
}
