//! The loop of one worker.
//!
//! The order of a turn:
//!
//! 1. [`commands`], at most [`commands::COMMANDS_PER_TURN`];
//! 2. datagrams, at most [`RECEIVES_PER_TURN`] calls for each socket and one for each TCP connection: media is opened
//!    in place and collected, checks and RTCP are handled at once, handshake datagrams are set aside; then what clients
//!    of the TURN server, their peers and other workers send ([`relaying`]);
//! 3. forwarding: the opened packets of one publisher go through its room's router as one run;
//! 4. one handshake datagram, so that joins never delay media by more than one flight;
//! 5. timers that are due, and a part of the rooms that end;
//! 6. everything written so far leaves, run by run;
//! 7. sleep until a socket, the mailbox or the next deadline calls.

mod commands;
mod following;
mod relaying;
mod turn_clients;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::sync::mpsc;

use super::exits::{Exits, Media, Port};
use super::pace::Pace;
use super::peer::Peer;
use super::relay::Relay;
use super::room::Room;
use super::slots::Slots;
use super::streams::{IceTcp, Owner as StreamOwner, Ready, Streams, Tally};
use super::timers::{Owner, Timers};
use super::turn_streams::TurnClients;
use super::wake::Wake;
use super::{Counters, MAX_SOCKETS, Parts};
use crate::media::net::demux::{Protocol, protocol};
use crate::media::net::framing::{Extent, Framing, Rfc4571};
use crate::media::net::port::MediaPort;
use crate::media::net::stream::{Arrived, RECEIVE_BUFFER};
use crate::media::net::udp::{BatchSocket, RECEIVE_BATCH, ReceiveBuffers};
use crate::media::plane::service::WorkerCommand;
use crate::media::plane::{EventKind, FailureReason, RoomId, TransportId};
use crate::media::sfu::{self, Sink, TransportKey};
use crate::media::stun;
use crate::media::transport::srtp::{MAX_OVERHEAD, Profile};
use crate::media::transport::{self, Identity, Input, Link, MAX_DTLS_DATAGRAM, Path};
#[cfg(test)]
use crate::media::turn;
use crate::units::clock;

/// Receive calls for each socket in one turn.
const RECEIVES_PER_TURN: usize = 4;

/// Once a turn has taken so long, it goes on receiving only if no command waits.
const YIELD_AFTER: Duration = Duration::from_micros(200);

/// Packets of one run through a router.
const RUN: usize = 64;

/// Handshake datagrams that may wait for their turn; the peers of those dropped repeat theirs.
const HANDSHAKES_WAITING: usize = 1024;

/// Of one peer, so that none of them crowds the others out.
const HANDSHAKES_PER_PEER: usize = 64;

/// An address whose peer was heard so lately stays its own: whoever may join a call could otherwise cut others off by
/// checks with forged senders. Longer than the interval between two checks of Chromium.
const ADDRESS_GRACE: Duration = Duration::from_secs(5);

/// How soon events that found their session's mailbox full are offered again.
const EVENT_RETRY: Duration = Duration::from_millis(10);

/// What an error of a socket costs, such as the kernel's being out of memory.
const FAILED_SOCKET_PAUSE: Duration = Duration::from_millis(10);

/// Transports of rooms that end which are closed in one turn.
const CLOSES_PER_TURN: usize = 16;

/// How often rooms are looked at whose session may have vanished without closing them.
const SWEEP: Duration = Duration::from_secs(5);

/// The largest RTCP packet that we write.
const MAX_RTCP: usize = 1_400;

/// An opened RTP packet in the receive buffers.
#[derive(Clone, Copy)]
struct Opened {
    peer: u32,
    start: usize,
    len: usize,
}

/// A handshake datagram that waits for its turn.
struct Handshake {
    peer: u32,
    generation: u32,
    path: Path,
    datagram: Vec<u8>,
}

/// What a transport says beside its datagrams.
enum Said {
    Connected(Profile),
    WentQuiet,
    HeardAgain,
    Failed(FailureReason),
}

/// A worker's state.
pub(super) struct Loop {
    exits: Exits,
    identity: Arc<Identity>,
    counters: Arc<Counters>,
    mailbox: mpsc::Receiver<WorkerCommand>,
    wake: Wake,
    stop: Arc<AtomicBool>,
    load: Arc<AtomicU64>,

    rooms: Slots<Room>,
    rooms_by_id: BTreeMap<RoomId, u32>,
    peers: Slots<Peer>,
    peers_by_ufrag: HashMap<String, u32>,
    peers_by_addr: HashMap<(Link, SocketAddr), u32>,
    timers: Timers,
    pace: Pace,
    handshakes: VecDeque<Handshake>,
    /// Rooms that end, by slot and generation.
    ending: VecDeque<(u32, u32)>,
    /// Rooms whose session's mailbox was full.
    undelivered: BTreeSet<u32>,
    next_sweep: Instant,
    /// When media from a stranger is looked at again.
    next_follow: Instant,
    opened: Vec<Opened>,
    buffers: ReceiveBuffers,
    /// Datagrams that have left in this turn.
    sent: u64,
    /// The slot whose next datagram, or packets, an injected panic strikes.
    #[cfg(any(test, feature = "testing"))]
    faulty_peer: Option<u32>,
    #[cfg(any(test, feature = "testing"))]
    faulty_room: Option<u32>,
    #[cfg(test)]
    faulty_client: Option<turn::FiveTuple>,
    #[cfg(test)]
    faulty_allocation: Option<turn::AllocationId>,
}

impl Loop {
    pub(super) fn new(
        now: Instant,
        parts: Parts,
        mailbox: mpsc::Receiver<WorkerCommand>,
        wake: Wake,
        stop: Arc<AtomicBool>,
        load: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let MediaPort { sockets, listeners } = parts.media;
        Ok(Self {
            exits: Exits {
                now,
                ports: sockets.into_iter().map(Port::new).collect(),
                streams: Streams::new(IceTcp, listeners, parts.max_streams)?,
                relay: Relay::new(
                    now,
                    parts.turn_sockets,
                    parts.turn,
                    parts.max_relay_sockets,
                    parts.crossing,
                )?,
                turn_streams: Streams::new(
                    TurnClients::default(),
                    parts.turn_listeners,
                    parts.max_streams,
                )?,
                written_to: None,
                media: Media::default(),
            },
            identity: parts.identity,
            counters: parts.counters,
            mailbox,
            wake,
            stop,
            load,
            rooms: Slots::default(),
            rooms_by_id: BTreeMap::new(),
            peers: Slots::default(),
            peers_by_ufrag: HashMap::new(),
            peers_by_addr: HashMap::new(),
            timers: Timers::default(),
            pace: Pace::new(now),
            handshakes: VecDeque::new(),
            ending: VecDeque::new(),
            undelivered: BTreeSet::new(),
            next_sweep: now + SWEEP,
            next_follow: now,
            opened: Vec::new(),
            buffers: ReceiveBuffers::default(),
            sent: 0,
            #[cfg(any(test, feature = "testing"))]
            faulty_peer: None,
            #[cfg(any(test, feature = "testing"))]
            faulty_room: None,
            #[cfg(test)]
            faulty_client: None,
            #[cfg(test)]
            faulty_allocation: None,
        })
    }

    /// Runs until [`super::Worker::stop`].
    pub(super) fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let now = clock::now();
            // What belongs to a room is contained below; this is for the rest, such as the timers of the TURN server.
            if catch_unwind(AssertUnwindSafe(|| self.turn(now))).is_err() {
                self.counters.panics.fetch_add(1, Ordering::Relaxed);
                tracing::error!("a bug of ours cut a turn short: please report the panic above");
            }
            self.counters.turns.fetch_add(1, Ordering::Relaxed);
            self.sleep();
        }
        self.close_every_room(clock::now());
    }

    /// Steps 1 to 6.
    fn turn(&mut self, now: Instant) {
        self.exits.now = now;
        self.exits.relay.refresh(now);
        self.carry_out_commands(now);
        for port in 0..self.exits.ports.len() {
            if self.exits.ports[port].may_have_input {
                self.receive_media(now, port);
            }
        }
        if self.exits.streams.may_have_input {
            self.receive_streams(now);
        }
        for port in 0..self.exits.relay.ports.len() {
            if self.exits.relay.ports[port].may_have_input {
                self.receive_from_clients(now, port);
            }
        }
        let turn_streams = &self.exits.turn_streams;
        if turn_streams.may_have_input || turn_streams.has_unseen() {
            self.receive_turn_streams(now);
        }
        if self.exits.relay.sockets.may_have_input {
            self.receive_from_peers(now);
        }
        if self.exits.relay.crossing.may_have_input {
            self.receive_crossings(now);
        }
        self.advance_one_handshake(now);
        self.handle_due_timers(now);
        self.exits.streams.handle_timeout(now);
        self.exits.turn_streams.handle_timeout(now);
        self.handle_relay_timeout(now);
        self.sweep(now);
        self.end_rooms(now);
        self.deliver_events();
        self.flush();
        self.end_lost_allocations(now);
    }

    fn close_every_room(&mut self, now: Instant) {
        while let Some((_, room)) = self.rooms_by_id.pop_first() {
            self.close_room(now, room);
        }
        self.flush();
    }

    // ---- 2. datagrams -----------------------------------------------------------------------------------------

    fn receive_media(&mut self, now: Instant, port: usize) {
        for _ in 0..RECEIVES_PER_TURN {
            if let Err(error) = self.exits.ports[port].socket.receive(&mut self.buffers) {
                return pause(&self.exits.ports[port].socket, &error);
            }
            if self.buffers.is_empty() {
                return;
            }
            self.opened.clear();
            let (mut datagrams, mut bytes) = (0, 0);
            let link = Link(u32::try_from(port).expect("a worker has a handful of sockets"));
            for message in 0..self.buffers.len() {
                let received = self.buffers.received(message);
                let path = Path {
                    link,
                    local: received.to,
                    remote: received.from,
                };
                let begin = ReceiveBuffers::offset(message);
                let mut at = 0;
                while at < received.len {
                    let len = received.stride.min(received.len - at);
                    self.handle_datagram(now, path, begin + at, len);
                    at += len;
                    datagrams += 1;
                }
                bytes += at;
            }
            self.count_received(datagrams, bytes);
            self.forward(now);
            let is_called = !self.mailbox.is_empty() && clock::now() >= now + YIELD_AFTER;
            if self.buffers.len() < RECEIVE_BATCH || is_called {
                return;
            }
        }
    }

    fn receive_streams(&mut self, now: Instant) {
        let ready = self.exits.streams.poll();
        for &ready in &ready {
            match ready {
                Ready::Listener(index) => self.exits.streams.accept(now, index),
                Ready::Readable(slot, generation) => self.receive_stream(now, slot, generation),
            }
        }
        self.exits.streams.polled(ready);
    }

    /// Reads a connection once and handles its frames like datagrams.
    fn receive_stream(&mut self, now: Instant, slot: u32, generation: u32) {
        let Some(remote) = self.exits.streams.peer(slot, generation) else {
            return;
        };
        let path = Path {
            link: Streams::link(slot),
            local: None,
            remote,
        };
        let buffer = &mut self.buffers.bytes_mut()[..RECEIVE_BUFFER];
        let filled = match self.exits.streams.receive(slot, buffer) {
            Arrived::Bytes(filled) => filled,
            Arrived::Nothing => return,
            Arrived::End => return self.lose_stream(slot),
        };
        self.opened.clear();
        let (mut at, mut frames) = (0, 0);
        let is_usable = loop {
            match Rfc4571::first(&self.buffers.bytes()[at..filled]) {
                Extent::Complete { datagram, end } => {
                    self.handle_datagram(now, path, at + datagram.start, datagram.len());
                    at += end;
                    frames += 1;
                    if !self.exits.streams.may_go_on(slot) {
                        break false;
                    }
                }
                Extent::Incomplete => break true,
                Extent::Unusable => break false,
            }
        };
        self.count_received(frames, at);
        self.forward(now);
        // Whatever it carried may have ended its transport, and the connection with it.
        if self.exits.streams.peer(slot, generation).is_none() {
            return;
        }
        let rest = &self.buffers.bytes()[at..filled];
        if !is_usable || !self.exits.streams.keep(slot, rest) {
            self.count_dropped();
            self.lose_stream(slot);
        }
    }

    /// A connection is over, and with it the paths of its transport that led through it.
    fn lose_stream(&mut self, slot: u32) {
        if let Some(owner) = self.exits.streams.owner(slot)
            && let Some(peer) = self.peers.get_generation_mut(owner.peer, owner.generation)
        {
            peer.transport.forget(Streams::link(slot));
            peer.streams.retain(|stream| *stream != slot);
        }
        self.exits.streams.close(slot);
    }

    /// Whether checks for a peer may come this way: a connection serves one peer in its life.
    fn may_serve(&mut self, path: &Path, index: u32) -> bool {
        let Some(slot) = Streams::slot(path.link) else {
            return true;
        };
        self.peers.get_mut(index).is_some_and(|peer| {
            let generation = peer.generation;
            let owner = StreamOwner {
                peer: index,
                generation,
            };
            self.exits.streams.may_serve(slot, owner)
        })
    }

    /// Whose a packet that is no check is, by where it came from.
    fn owner_of(&mut self, path: &Path) -> Option<u32> {
        match Streams::slot(path.link) {
            Some(slot) => {
                let owner = self.exits.streams.owner(slot)?;
                let is_alive = self.peers.get_generation_mut(owner.peer, owner.generation);
                is_alive.map(|_| owner.peer)
            }
            None => self.peers_by_addr.get(&(path.link, path.remote)).copied(),
        }
    }

    fn handle_datagram(&mut self, now: Instant, path: Path, start: usize, len: usize) {
        let datagram = &self.buffers.bytes()[start..start + len];
        let kind = protocol(datagram);
        let peer = match kind {
            // A check names its transport; its address may be new, or may have served another one before.
            Protocol::Stun => local_ufrag(datagram)
                .and_then(|ufrag| self.peers_by_ufrag.get(ufrag))
                .copied()
                .filter(|&index| self.may_serve(&path, index)),
            Protocol::Dtls | Protocol::Rtp => self.owner_of(&path),
            Protocol::ChannelData | Protocol::Unknown => None,
        };
        // To port 0 nothing can be sent.
        let peer = peer.filter(|_| path.remote.port() != 0);
        let Some((index, peer)) = peer.and_then(|index| Some((index, self.peers.get_mut(index)?)))
        else {
            if kind != Protocol::Rtp || !self.follow(now, path, start, len) {
                self.count_dropped();
            }
            return;
        };
        if kind == Protocol::Dtls {
            if self.handshakes.len() < HANDSHAKES_WAITING
                && peer.handshakes < HANDSHAKES_PER_PEER
                && len <= MAX_DTLS_DATAGRAM
            {
                peer.handshakes += 1;
                self.handshakes.push_back(Handshake {
                    peer: index,
                    generation: peer.generation,
                    path,
                    datagram: self.buffers.bytes()[start..start + len].to_vec(),
                });
            } else {
                self.count_dropped();
            }
            return;
        }
        let room = peer.room;
        self.contained(now, room, Some(index), |this| {
            let Some(peer) = this.peers.get_mut(index) else {
                return;
            };
            #[cfg(any(test, feature = "testing"))]
            strike(&mut this.faulty_peer, index);
            let datagram = &mut this.buffers.bytes_mut()[start..start + len];
            let input = peer.transport.handle_input(now, path, datagram);
            this.take_input(now, path, index, start, input);
        });
    }

    /// Goes on with what a transport has made of a datagram.
    fn take_input(&mut self, now: Instant, path: Path, index: u32, start: usize, input: Input) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let room = peer.room;
        // Media makes the transport speak only when it ends a silence.
        let speaks = input == Input::Handled || peer.transport.has_output();
        match input {
            Input::Rtp { len } => self.opened.push(Opened {
                peer: index,
                start,
                len,
            }),
            Input::Rtcp { len } => {
                let Some(room) = self.rooms.get_mut(room) else {
                    return;
                };
                let packet = &self.buffers.bytes()[start..start + len];
                let mut sink = Fanout {
                    peers: &mut self.peers,
                    exits: &mut self.exits,
                };
                room.router
                    .handle_rtcp(now, TransportKey(index), packet, &mut sink);
                self.drain_room_of(index);
            }
            Input::Handled => self.learn_address(now, index, path),
            Input::Dropped(_) => {
                self.count_dropped();
            }
        }
        if speaks {
            self.drain_peer(now, index);
        }
    }

    fn count_received(&self, datagrams: u64, bytes: usize) {
        let Counters {
            received,
            received_bytes,
            ..
        } = &*self.counters;
        received.fetch_add(datagrams, Ordering::Relaxed);
        received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn count_dropped(&self) {
        self.counters
            .receive_dropped
            .fetch_add(1, Ordering::Relaxed);
    }

    /// From here on, datagrams from `path` belong to this peer, if a check has proved it and nobody else is heard there.
    fn learn_address(&mut self, now: Instant, index: u32, path: Path) {
        if let Some(slot) = Streams::slot(path.link) {
            return self.learn_stream(index, slot, &path);
        }
        let key = (path.link, path.remote);
        let owner = self.peers_by_addr.get(&key).copied();
        if owner == Some(index) {
            return;
        }
        let is_taken = owner
            .and_then(|owner| self.peers.get_mut(owner))
            .and_then(|owner| owner.transport.heard_at(path.link, path.remote))
            .is_some_and(|at| now < at + ADDRESS_GRACE);
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        if is_taken || !peer.transport.is_validated(&path) {
            return;
        }
        // The transport bounds its paths; what it has forgotten goes here too.
        let Peer {
            addrs, transport, ..
        } = peer;
        addrs.retain(|addr| {
            let is_kept = *addr != key && transport.heard_at(addr.0, addr.1).is_some();
            if !is_kept && self.peers_by_addr.get(addr) == Some(&index) {
                self.peers_by_addr.remove(addr);
            }
            is_kept
        });
        addrs.push(key);
        self.peers_by_addr.insert(key, index);
    }

    /// From here on, a connection belongs to the peer that a check has proved; those that it no longer uses end.
    fn learn_stream(&mut self, index: u32, slot: u32, path: &Path) {
        let Exits { streams, .. } = &mut self.exits;
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        let owner = StreamOwner {
            peer: index,
            generation: peer.generation,
        };
        if !peer.transport.is_validated(path) || !streams.prove(slot, owner) {
            return;
        }
        if !peer.streams.contains(&slot) {
            peer.streams.push(slot);
        }
        let Peer {
            streams: own,
            transport,
            ..
        } = peer;
        own.retain(|&slot| {
            let is_used = transport.is_linked(Streams::link(slot));
            if !is_used {
                streams.end(slot);
            }
            is_used
        });
    }

    // ---- 3. forwarding ----------------------------------------------------------------------------------------

    fn forward(&mut self, now: Instant) {
        if self.opened.is_empty() {
            return;
        }
        let bytes = self.opened.iter().map(|opened| opened.len as u64);
        let (packets, bytes) = (self.opened.len() as u64, bytes.sum());
        let received = &self.counters.rtp_received;
        received.fetch_add(packets, Ordering::Relaxed);
        let received = &self.counters.rtp_received_bytes;
        received.fetch_add(bytes, Ordering::Relaxed);
        // Neighbours in time from one publisher become one run. They lie in the buffers in the order of arrival.
        self.opened
            .sort_unstable_by_key(|opened| (opened.peer, opened.start));
        let mut at = 0;
        while at < self.opened.len() {
            let index = self.opened[at].peer;
            let end = (at + 1..self.opened.len().min(at + RUN))
                .find(|&next| self.opened[next].peer != index)
                .unwrap_or(self.opened.len().min(at + RUN));
            let run = at..end;
            at = end;
            let Some(room) = self.peers.get_mut(index).map(|peer| peer.room) else {
                continue;
            };
            self.contained(now, room, None, |this| {
                #[cfg(any(test, feature = "testing"))]
                strike(&mut this.faulty_room, room);
                let bytes = this.buffers.bytes();
                let opened = &this.opened[run];
                let packets: [&[u8]; RUN] = std::array::from_fn(|i| {
                    opened.get(i).map_or(&[][..], |opened| {
                        &bytes[opened.start..opened.start + opened.len]
                    })
                });
                let Some(room) = this.rooms.get_mut(room) else {
                    return;
                };
                let mut sink = Fanout {
                    peers: &mut this.peers,
                    exits: &mut this.exits,
                };
                room.router.handle_rtp(
                    now,
                    TransportKey(index),
                    &packets[..opened.len()],
                    &mut sink,
                );
                this.drain_room_of(index);
            });
        }
    }

    // ---- 4. handshakes ----------------------------------------------------------------------------------------

    fn advance_one_handshake(&mut self, now: Instant) {
        let Some(Handshake {
            peer: index,
            generation,
            path,
            mut datagram,
        }) = self.handshakes.pop_front()
        else {
            return;
        };
        let Some(peer) = self.peers.get_generation_mut(index, generation) else {
            return;
        };
        peer.handshakes -= 1;
        let room = peer.room;
        self.contained(now, room, Some(index), |this| {
            let Some(peer) = this.peers.get_mut(index) else {
                return;
            };
            if let Input::Dropped(_) = peer.transport.handle_input(now, path, &mut datagram) {
                this.count_dropped();
            }
            this.drain_peer(now, index);
        });
    }

    // ---- 5. timers --------------------------------------------------------------------------------------------

    fn handle_due_timers(&mut self, now: Instant) {
        // Each at most once: a deadline that stays in the past must not keep the packets waiting.
        for _ in 0..self.timers.len() {
            let Some((deadline, owner)) = self.timers.due(now) else {
                return;
            };
            match owner {
                Owner::Transport(index, generation) => {
                    let Some(peer) = self.peers.get_generation_mut(index, generation) else {
                        continue;
                    };
                    if peer.registered == Some(deadline) {
                        peer.registered = None;
                    }
                    let room = peer.room;
                    self.contained(now, room, Some(index), |this| {
                        let Some(peer) = this.peers.get_mut(index) else {
                            return;
                        };
                        if peer.transport.poll_timeout().is_some_and(|at| at <= now) {
                            peer.transport.handle_timeout(now);
                        }
                        this.drain_peer(now, index);
                    });
                }
                Owner::Room(index, generation) => {
                    let Some(room) = self.rooms.get_generation_mut(index, generation) else {
                        continue;
                    };
                    if room.registered == Some(deadline) {
                        room.registered = None;
                    }
                    self.contained(now, index, None, |this| {
                        let Some(room) = this.rooms.get_mut(index) else {
                            return;
                        };
                        if room.router.poll_timeout().is_some_and(|at| at <= now) {
                            room.router.handle_timeout(now);
                        }
                        this.drain_room(index);
                    });
                }
            }
        }
    }

    /// Closes rooms whose session ended without a word, as after a panic of its task.
    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP;
        let rooms: Vec<u32> = self.rooms_by_id.values().copied().collect();
        for room in rooms {
            if self
                .rooms
                .get_mut(room)
                .is_some_and(|room| room.is_abandoned())
            {
                self.end_room(room);
            }
        }
    }

    /// Closes the transports of rooms that end, a few in each turn: a large room must not keep the others waiting.
    fn end_rooms(&mut self, now: Instant) {
        let mut closed = 0;
        while closed < CLOSES_PER_TURN
            && let Some(&(slot, generation)) = self.ending.front()
        {
            let room = self.rooms.get_generation_mut(slot, generation);
            match room.map(|room| room.peers.pop_first()) {
                Some(Some((_, peer))) => {
                    self.contained(now, slot, Some(peer), |this| this.close_peer(now, peer));
                    closed += 1;
                }
                Some(None) => self.forget_room(slot),
                None => {
                    self.ending.pop_front();
                }
            }
        }
    }

    // ---- outputs ----------------------------------------------------------------------------------------------

    /// Queues what the transport wants sent and returns the first output that is something else.
    fn transmit(&mut self, index: u32) -> Option<Said> {
        let peer = self.peers.get_mut(index)?;
        loop {
            match peer.transport.poll_output()? {
                transport::Output::Transmit { path, datagram } => {
                    self.exits.push(&path, &datagram);
                }
                transport::Output::Connected { profile } => return Some(Said::Connected(profile)),
                transport::Output::WentQuiet => return Some(Said::WentQuiet),
                transport::Output::HeardAgain => return Some(Said::HeardAgain),
                transport::Output::Failed(reason) => return Some(Said::Failed(failure(reason))),
            }
        }
    }

    fn drain_peer(&mut self, now: Instant, index: u32) {
        while let Some(said) = self.transmit(index) {
            let Some(peer) = self.peers.get_mut(index) else {
                return;
            };
            let (id, room_slot) = (peer.id, peer.room);
            match said {
                Said::Connected(profile) => {
                    self.log_of(room_slot, || {
                        tracing::debug!(transport = id.0, ?profile, "connected");
                    });
                    if let Some(room) = self.rooms.get_mut(room_slot) {
                        room.router.connected(now, TransportKey(index));
                    }
                    self.tell(room_slot, Some(id), EventKind::Connected);
                    self.drain_room(room_slot);
                }
                Said::WentQuiet => {
                    self.tell(room_slot, Some(id), EventKind::WentQuiet);
                    if let Some(room) = self.rooms.get_mut(room_slot) {
                        room.router.went_quiet(now, TransportKey(index));
                    }
                    self.drain_room(room_slot);
                }
                Said::HeardAgain => {
                    self.tell(room_slot, Some(id), EventKind::HeardAgain);
                    if let Some(room) = self.rooms.get_mut(room_slot) {
                        room.router.heard_again(now, TransportKey(index));
                    }
                    self.drain_room(room_slot);
                }
                Said::Failed(reason) => {
                    self.log_of(room_slot, || {
                        tracing::debug!(transport = id.0, ?reason, "failed");
                    });
                    self.fail_peer(index, reason);
                    return;
                }
            }
        }
        if let Some(peer) = self.peers.get_mut(index) {
            let owner = Owner::Transport(index, peer.generation);
            self.timers
                .register(owner, peer.transport.poll_timeout(), &mut peer.registered);
        }
    }

    /// Tells the session now, or when its mailbox has room again.
    fn tell(&mut self, room: u32, transport: Option<TransportId>, kind: EventKind) {
        match kind {
            EventKind::Connected => {
                self.counters.connected.fetch_add(1, Ordering::Relaxed);
            }
            EventKind::Failed(reason) => {
                let reasons = FailureReason::ALL.iter().zip(&self.counters.failed);
                for (_, failed) in reasons.filter(|(other, _)| **other == reason) {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            EventKind::WentQuiet
            | EventKind::HeardAgain
            | EventKind::Quality(_)
            | EventKind::RoomFailed => {}
        }
        if let Some(state) = self.rooms.get_mut(room)
            && state.tell(transport, kind)
        {
            self.undelivered.insert(room);
        }
    }

    /// Logs something of a room, in its session's span.
    fn log_of(&mut self, room: u32, log: impl FnOnce()) {
        match self.rooms.get_mut(room) {
            Some(room) => room.span.in_scope(log),
            None => log(),
        }
    }

    fn fail_peer(&mut self, index: u32, reason: FailureReason) {
        let Some((id, room)) = self.peers.get_mut(index).map(|peer| (peer.id, peer.room)) else {
            return;
        };
        if let Some(room) = self.rooms.get_mut(room) {
            room.send_away(id);
        }
        self.forget_peer(index);
        self.tell(room, Some(id), EventKind::Failed(reason));
    }

    fn drain_room_of(&mut self, peer: u32) {
        if let Some(room) = self.peers.get_mut(peer).map(|peer| peer.room) {
            self.drain_room(room);
        }
    }

    fn drain_room(&mut self, index: u32) {
        let Some(room) = self.rooms.get_mut(index) else {
            return;
        };
        while let Some(output) = room.router.poll_output() {
            let (to, packet) = match output {
                sfu::Output::Rtcp { to, packet } => (to, packet),
                sfu::Output::Quality { of, level } => {
                    if let Some(id) = self.peers.get_mut(of.0).map(|peer| peer.id)
                        && room.tell(Some(id), EventKind::Quality(level))
                    {
                        self.undelivered.insert(index);
                    }
                    continue;
                }
            };
            let Some(peer) = self.peers.get_mut(to.0) else {
                continue;
            };
            let Some(path) = peer.transport.path() else {
                continue;
            };
            let len = packet.len();
            if len > MAX_RTCP {
                continue;
            }
            let Some(space) = self.exits.space(&path, len + MAX_OVERHEAD) else {
                continue;
            };
            space[..len].copy_from_slice(packet);
            if let Ok(len) = peer.transport.protect_rtcp(space, len) {
                self.exits.commit(&path, len);
            }
        }
        let owner = Owner::Room(index, room.generation);
        self.timers
            .register(owner, room.router.poll_timeout(), &mut room.registered);
    }

    fn deliver_events(&mut self) {
        let rooms = &mut self.rooms;
        self.undelivered
            .retain(|&room| rooms.get_mut(room).is_some_and(Room::deliver));
    }

    // ---- 6. and 7. flush, sleep -------------------------------------------------------------------------------

    fn flush(&mut self) {
        let Exits {
            ports,
            relay,
            streams,
            turn_streams,
            ..
        } = &mut self.exits;
        for Port { socket, outbox, .. } in ports.iter_mut().chain(&mut relay.ports) {
            outbox.flush(socket);
            let sent = std::mem::take(&mut outbox.sent);
            self.sent += sent.datagrams;
            self.counters
                .sent
                .fetch_add(sent.datagrams, Ordering::Relaxed);
            self.counters
                .sent_bytes
                .fetch_add(sent.bytes, Ordering::Relaxed);
            self.counters
                .send_dropped
                .fetch_add(sent.dropped, Ordering::Relaxed);
            self.counters
                .gso_runs
                .fetch_add(sent.runs, Ordering::Relaxed);
            if sent.refused_runs > 0 {
                self.counters
                    .gso_refused
                    .fetch_add(sent.refused_runs, Ordering::Relaxed);
                tracing::info!(
                    socket = %socket.local_addr(),
                    "the network device refuses GSO: datagrams leave by sendmmsg from now on"
                );
            }
        }
        let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
        let to_peers = relay.sockets.take_sent();
        self.sent += to_peers.datagrams;
        add(&self.counters.sent, to_peers.datagrams);
        add(&self.counters.sent_bytes, to_peers.bytes);
        add(&self.counters.relay_dropped, to_peers.dropped);
        add(&self.counters.gso_runs, to_peers.runs);
        add(&self.counters.gso_refused, to_peers.refused_runs);
        add(&self.counters.crossing_dropped, relay.crossing.flush());
        for Tally { written, refused } in [streams.flush(), turn_streams.flush()] {
            self.sent += written.datagrams;
            add(&self.counters.sent, written.datagrams);
            add(&self.counters.sent_bytes, written.bytes);
            add(&self.counters.stream_dropped, written.dropped);
            add(&self.counters.streams_refused, refused);
        }
        let hold = |counter: &AtomicU64, held: usize| counter.store(held as u64, Ordering::Relaxed);
        hold(&self.counters.streams, streams.len());
        hold(&self.counters.turn_streams, turn_streams.len());
        hold(&self.counters.relay_sockets, relay.sockets.len());
        hold(&self.counters.handshakes, self.handshakes.len());
        let media = std::mem::take(&mut self.exits.media);
        add(&self.counters.rtp_sent, media.packets);
        add(&self.counters.rtp_sent_bytes, media.bytes);
    }

    /// Takes note of how long the turn took that is over: whatever has left in it came in after its beginning.
    fn measure(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.exits.now);
        let busy = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counters.busy_us.fetch_add(busy, Ordering::Relaxed);
        let sent = std::mem::take(&mut self.sent);
        if sent > 0 {
            self.counters.latency.observe_many(took, sent);
        }
    }

    /// How long nothing has to be done; `None` until somebody calls.
    fn idle_for(&self, now: Instant) -> Option<Duration> {
        // Sockets call for themselves as long as something waits in them.
        let is_busy = !self.handshakes.is_empty()
            || !self.ending.is_empty()
            || !self.mailbox.is_empty()
            || self.exits.turn_streams.has_unseen()
            || self.exits.relay.crossing.may_have_input;
        if is_busy {
            return Some(Duration::ZERO);
        }
        let mut until = self
            .timers
            .next()
            .into_iter()
            .chain(self.exits.streams.poll_timeout())
            .chain(self.exits.turn_streams.poll_timeout())
            .chain(self.exits.relay.poll_timeout())
            .min()
            .map(|deadline| deadline.saturating_duration_since(now));
        if !self.rooms_by_id.is_empty() {
            let sweep = self.next_sweep.saturating_duration_since(now);
            until = Some(until.map_or(sweep, |until| until.min(sweep)));
        }
        if !self.undelivered.is_empty() {
            until = Some(until.map_or(EVENT_RETRY, |until| until.min(EVENT_RETRY)));
        }
        until
    }

    fn sleep(&mut self) {
        let now = clock::now();
        self.measure(now);
        let idle = self.idle_for(now);
        let wait = self.pace.wait(now, || self.exits.relay.server.counters());
        // While that lasts, the sockets of the TURN server do not call; all others do.
        let wait = wait.filter(|wait| idle.is_none_or(|idle| *wait < idle));
        let timeout = wait.or(idle).map(|until| Timespec {
            tv_sec: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: until.subsec_nanos().into(),
        });
        let Exits {
            ports,
            streams,
            relay,
            turn_streams,
            ..
        } = &self.exits;
        let mut sockets = ports.iter().chain(&relay.ports);
        let relays = 3 + ports.len() + relay.ports.len();
        let used = relays + usize::from(relay.sockets.len() > 0);
        let mut fds: [PollFd<'_>; 4 + MAX_SOCKETS] = std::array::from_fn(|i| match i {
            0 => PollFd::new(&self.wake, PollFlags::IN),
            1 => PollFd::new(streams, PollFlags::IN),
            2 => PollFd::new(turn_streams, PollFlags::IN),
            _ if i == relays => PollFd::new(&relay.sockets, PollFlags::IN),
            _ => sockets.next().map_or_else(
                || PollFd::new(&self.wake, PollFlags::IN),
                |port| PollFd::new(&port.socket, PollFlags::IN),
            ),
        });
        // An interrupted sleep is a short sleep.
        let polled = match wait {
            Some(_) => 3 + ports.len(),
            None => used,
        };
        let _ = rustix::event::poll(&mut fds[..polled], timeout.as_ref());
        let called: [bool; 4 + MAX_SOCKETS] =
            std::array::from_fn(|i| i >= polled || !fds[i].revents().is_empty());
        if called[0] {
            self.wake.clear();
            self.exits.relay.crossing.may_have_input = true;
        }
        self.exits.relay.sockets.may_have_input = used > relays && called[relays];
        self.exits.streams.may_have_input = called[1];
        self.exits.turn_streams.may_have_input = called[2];
        let Exits { ports, relay, .. } = &mut self.exits;
        let ports = ports.iter_mut().chain(&mut relay.ports);
        for (port, called) in ports.zip(&called[3..]) {
            port.may_have_input = *called;
        }
    }

    // ---- containment ------------------------------------------------------------------------------------------

    /// Runs `work`; a panic in it ends the transport `peer`, or the whole room if it was in none.
    fn contained(
        &mut self,
        now: Instant,
        room: u32,
        peer: Option<u32>,
        work: impl FnOnce(&mut Self),
    ) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_ok() {
            return;
        }
        self.counters.panics.fetch_add(1, Ordering::Relaxed);
        if let Some(peer) = peer {
            self.log_of(room, || {
                tracing::error!(
                    peer,
                    "a transport ended by a bug of ours: please report the panic above"
                );
            });
            if catch_unwind(AssertUnwindSafe(|| {
                self.fail_peer(peer, FailureReason::Panicked)
            }))
            .is_ok()
            {
                return;
            }
        }
        self.log_of(room, || {
            tracing::error!(
                room,
                "a room ended by a bug of ours: please report the panic above"
            );
        });
        self.tell(room, None, EventKind::RoomFailed);
        // What the panic left inconsistent goes with the room.
        if catch_unwind(AssertUnwindSafe(|| self.close_room(now, room))).is_err() {
            tracing::error!(room, "the room could not be closed cleanly");
            self.forget_room(room);
        }
    }
}

/// Panics where a test has asked for it.
#[cfg(any(test, feature = "testing"))]
fn strike<T: PartialEq>(fault: &mut Option<T>, here: T) {
    if *fault == Some(here) {
        *fault = None;
        panic!("injected");
    }
}

/// A socket that fails goes on calling: without a pause that would be a loop at full speed.
fn pause(socket: &BatchSocket, error: &std::io::Error) {
    tracing::error!(%error, socket = %socket.local_addr(), "a UDP socket failed");
    std::thread::sleep(FAILED_SOCKET_PAUSE);
}

/// Our user name fragment in a check: what stands before the colon (RFC 8445 section 7.2.2).
fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    stun::username(datagram)?.split(':').next()
}

/// Where a router's packets go: sealed by the transport, queued on its path's socket.
struct Fanout<'a> {
    peers: &'a mut Slots<Peer>,
    exits: &'a mut Exits,
}

impl Sink for Fanout<'_> {
    fn send_rtp(
        &mut self,
        to: TransportKey,
        max_len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        let Some(peer) = self.peers.get_mut(to.0) else {
            return false;
        };
        let Some(path) = peer.transport.path() else {
            return false;
        };
        let Some(space) = self.exits.space(&path, max_len + MAX_OVERHEAD) else {
            return false;
        };
        let len = write(&mut space[..max_len]);
        if len == 0 {
            return true;
        }
        match peer.transport.protect_rtp(space, len) {
            Ok(sealed) => {
                self.exits.media.packets += 1;
                self.exits.media.bytes += len as u64;
                self.exits.commit(&path, sealed);
                true
            }
            Err(_) => false,
        }
    }
}

fn failure(reason: transport::FailureReason) -> FailureReason {
    match reason {
        transport::FailureReason::IceTimeout => FailureReason::IceTimeout,
        transport::FailureReason::DtlsTimeout => FailureReason::DtlsTimeout,
        transport::FailureReason::DtlsFailed => FailureReason::DtlsFailed,
        transport::FailureReason::FingerprintMismatch => FailureReason::FingerprintMismatch,
        transport::FailureReason::ClosedByPeer => FailureReason::ClosedByPeer,
    }
}

#[cfg(test)]
mod tests;
