//! Step 1 of a turn: what the control plane wants, and the beginning and end of rooms and transports.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::MAX_TRANSPORTS;
use super::super::peer::Peer;
use super::super::room::Room;
use super::Loop;
#[cfg(any(test, feature = "testing"))]
use crate::media::plane::Fault;
use crate::media::plane::service::WorkerCommand;
use crate::media::plane::service::turn::PAGE;
use crate::media::plane::{
    Command, EventKind, FailureReason, PublisherSpec, SubscriberSpec, TransportId, TurnCommand,
};
use crate::media::sdp::{IceCredentials, RemoteTransport};
use crate::media::sfu::{Router, TransportKey};
use crate::media::transport::Transport;
use crate::units::Random;

/// Commands carried out in one turn.
pub(super) const COMMANDS_PER_TURN: usize = 64;

impl Loop {
    pub(super) fn carry_out_commands(&mut self, now: Instant) {
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.mailbox.try_recv() else {
                return;
            };
            match command {
                WorkerCommand::Open { room, events, span } => {
                    let router =
                        Router::new(now, Random::system()).counting_into(self.counters.sfu.clone());
                    let slot = self
                        .rooms
                        .insert(|_, generation| Room::new(room, generation, router, events, span));
                    self.rooms_by_id.insert(room, slot);
                    self.report_load();
                }
                WorkerCommand::Room { room, command } => {
                    let Some(&slot) = self.rooms_by_id.get(&room) else {
                        continue;
                    };
                    if self.rooms.get_mut(slot).is_none_or(|room| room.is_ending) {
                        continue;
                    }
                    self.contained(now, slot, None, |this| this.carry_out(now, slot, command));
                }
                WorkerCommand::Turn(command) => self.carry_out_turn(now, command),
                WorkerCommand::Adopt(stream) => self.adopt(now, stream),
                #[cfg(any(test, feature = "testing"))]
                WorkerCommand::Stand(until) => {
                    let _ = until.recv();
                }
            }
        }
    }

    fn carry_out_turn(&mut self, now: Instant, command: TurnCommand) {
        let server = &mut self.exits.relay.server;
        match command {
            TurnCommand::SetCredentials(credentials) => server.set_credentials(*credentials),
            TurnCommand::SetLimits(limits) => server.set_limits(limits),
            TurnCommand::SetPolicy(policy) => server.set_policy(policy),
            TurnCommand::SetDraining(is_draining) => server.set_draining(is_draining),
            TurnCommand::Revoke(username) => server.revoke(now, &username),
            TurnCommand::End(allocation, ended) => {
                let lives = server.is_alive(allocation);
                server.end(now, allocation);
                // Whoever asked may have gone; the same below.
                let _ = ended.send(lives);
            }
            TurnCommand::List(after, page) => {
                let _ = page.send(server.allocations_after(now, after).take(PAGE).collect());
            }
            TurnCommand::Count(counters) => {
                let _ = counters.send(server.counters());
            }
        }
        self.carry_out_outputs(now);
    }

    fn carry_out(&mut self, now: Instant, room: u32, command: Command) {
        match command {
            Command::OpenPublisher(spec) => self.open_publisher(now, room, *spec),
            Command::OpenSubscriber(spec) => self.open_subscriber(now, room, *spec),
            Command::AcceptAnswer {
                transport,
                remote,
                tracks,
            } => {
                let Some(index) = self.peer_of(room, transport) else {
                    return;
                };
                let Some(peer) = self.peers.get_mut(index) else {
                    return;
                };
                // Once keys may be in use, a track that came back would begin its numbers, and so its nonces, anew.
                if !peer.transport.set_remote(now, remote) {
                    return;
                }
                if let Some(room) = self.rooms.get_mut(room) {
                    room.router
                        .set_subscriber_tracks(now, TransportKey(index), &tracks);
                }
                self.drain_peer(now, index);
            }
            Command::CloseTransport(transport) => self.close_transport(now, room, transport),
            Command::CloseRoom => self.end_room(room),
            #[cfg(any(test, feature = "testing"))]
            Command::Panic(fault) => match fault {
                Fault::Transport(transport) => self.faulty_peer = self.peer_of(room, transport),
                Fault::Room => self.faulty_room = Some(room),
            },
        }
        self.drain_room(room);
    }

    fn open_publisher(&mut self, now: Instant, room: u32, spec: PublisherSpec) {
        let PublisherSpec {
            transport,
            local,
            remote,
            tracks,
            max_receive,
            replaces,
            loopback,
        } = spec;
        // The old transport ends before the new one begins: there is no moment in which both are heard.
        if let Some(old) = replaces {
            if let Some(state) = self.rooms.get_mut(room) {
                state.send_away(old);
                if let Some(waiting) = state.away.remove(&old) {
                    state.away.insert(transport, waiting);
                }
            }
            self.close_transport(now, room, old);
        }
        let Some(peer) = self.open_peer(now, room, transport, local, Some(remote)) else {
            return;
        };
        let Some(room) = self.rooms.get_mut(room) else {
            return;
        };
        let key = TransportKey(peer);
        let router = &mut room.router;
        router.add_publisher(now, key, &tracks, max_receive);
        if let Some(waiting) = room.away.remove(&transport) {
            router.replace_publisher(now, waiting, key);
        }
        if !loopback.is_empty() {
            router.add_subscriber(now, key, key, &loopback);
        }
    }

    fn open_subscriber(&mut self, now: Instant, room: u32, spec: SubscriberSpec) {
        let SubscriberSpec {
            transport,
            source,
            local,
            remote,
            tracks,
            max_send,
            replaces,
        } = spec;
        let peer = self.open_peer(now, room, transport, local, remote);
        if let (Some(peer), Some(room)) = (peer, self.rooms.get_mut(room))
            && let Some(source) = room.source(source)
        {
            let key = TransportKey(peer);
            room.router.add_subscriber(now, key, source, &tracks);
            room.router.limit_subscriber(key, max_send);
            if let Some(&old) = replaces.and_then(|old| room.peers.get(&old)) {
                room.router.replace_subscriber(TransportKey(old), key);
            }
        }
        if let Some(old) = replaces {
            self.close_transport(now, room, old);
        }
    }

    /// Ends a transport, whether it is up or away.
    fn close_transport(&mut self, now: Instant, room: u32, transport: TransportId) {
        if let Some(peer) = self.peer_of(room, transport) {
            self.close_peer(now, peer);
        } else if let Some(room) = self.rooms.get_mut(room)
            && let Some(waiting) = room.away.remove(&transport)
        {
            room.router.remove(waiting);
        }
    }

    pub(super) fn peer_of(&mut self, room: u32, transport: TransportId) -> Option<u32> {
        self.rooms.get_mut(room)?.peers.get(&transport).copied()
    }

    fn open_peer(
        &mut self,
        now: Instant,
        room: u32,
        id: TransportId,
        local: IceCredentials,
        remote: Option<RemoteTransport>,
    ) -> Option<u32> {
        if self.peers.len() >= MAX_TRANSPORTS {
            self.tell(room, Some(id), EventKind::Failed(FailureReason::Exhausted));
            return None;
        }
        let ufrag = local.ufrag.clone();
        let transport = Transport::new(now, local, remote, &self.identity);
        let peer = self.peers.insert(|_, generation| Peer {
            id,
            generation,
            room,
            ufrag: ufrag.clone(),
            transport,
            addrs: Vec::new(),
            streams: Vec::new(),
            handshakes: 0,
            registered: None,
        });
        self.peers_by_ufrag.insert(ufrag, peer);
        self.rooms.get_mut(room)?.peers.insert(id, peer);
        self.report_load();
        self.drain_peer(now, peer);
        Some(peer)
    }

    pub(super) fn close_peer(&mut self, now: Instant, peer: u32) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.transport.close(now);
        }
        self.transmit(peer);
        self.forget_peer(peer);
    }

    pub(super) fn forget_peer(&mut self, index: u32) {
        let Some(peer) = self.peers.remove(index) else {
            return;
        };
        if self.peers_by_ufrag.get(&peer.ufrag) == Some(&index) {
            self.peers_by_ufrag.remove(&peer.ufrag);
        }
        for addr in &peer.addrs {
            if self.peers_by_addr.get(addr) == Some(&index) {
                self.peers_by_addr.remove(addr);
            }
        }
        for stream in peer.streams {
            self.exits.streams.end(stream);
        }
        if let Some(room) = self.rooms.get_mut(peer.room) {
            room.peers.remove(&peer.id);
            room.router.remove(TransportKey(index));
        }
        self.report_load();
    }

    /// The room ends, its transports a few in each turn.
    pub(super) fn end_room(&mut self, room: u32) {
        if let Some(state) = self.rooms.get_mut(room)
            && !state.is_ending
        {
            state.is_ending = true;
            self.ending.push_back((room, state.generation));
        }
    }

    /// Closes the room at once, as when the worker stops.
    pub(super) fn close_room(&mut self, now: Instant, room: u32) {
        let Some(peers) = self
            .rooms
            .get_mut(room)
            .map(|room| room.peers.values().copied().collect::<Vec<_>>())
        else {
            return;
        };
        for peer in peers {
            self.close_peer(now, peer);
        }
        self.forget_room(room);
    }

    pub(super) fn forget_room(&mut self, index: u32) {
        if let Some(room) = self.rooms.remove(index) {
            self.rooms_by_id.remove(&room.id);
            // There are none left, unless a bug kept the room from being closed in order.
            for peer in room.peers.into_values() {
                self.forget_peer(peer);
            }
        }
        self.undelivered.remove(&index);
        self.report_load();
    }

    /// Rooms count too, so that sessions that begin at the same time are spread before anybody publishes.
    fn report_load(&self) {
        let (rooms, transports) = (self.rooms.len() as u64, self.peers.len() as u64);
        self.load.store(rooms + transports, Ordering::Relaxed);
        self.counters.rooms.store(rooms, Ordering::Relaxed);
        self.counters
            .transports
            .store(transports, Ordering::Relaxed);
    }
}
