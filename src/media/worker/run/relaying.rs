//! Step 2 of a turn, for the TURN server: what its clients send, what their peers send, and what comes from the
//! allocations and transports of other workers.
//!
//! ```text
//!                                            +--> relay socket --> foreign peer
//! client --> handle_turn_input --> forward --+--> handle_datagram: a transport of this worker
//!                                            +--> another allocation of this worker --> its client
//!                                            +--> ring --> another worker's deliver
//! ```

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::crossing::{Place, Record};
use super::super::exits::Port;
use super::super::relay::{Relay, relayed_link};
use super::super::relay_sockets::{MESSAGES_PER_CALL, OpenError};
use super::{Loop, RECEIVES_PER_TURN, pause};
use crate::media::net::udp::{RECEIVE_BATCH, ReceiveBuffers};
use crate::media::transport::Path;
use crate::media::turn::{self, Action, AllocationId, FiveTuple, Forward, Output, Via};

/// Packets of one other worker in one turn.
const CROSSINGS_PER_TURN: usize = 128;

/// The first byte of the receive buffers that a packet from another worker may not begin at any more, so that the
/// longest one fits.
const CROSSING_END: usize = ReceiveBuffers::offset(RECEIVE_BATCH - 1);

impl Loop {
    // ---- from clients -----------------------------------------------------------------------------------------

    /// Receives from clients over UDP.
    pub(super) fn receive_from_clients(&mut self, now: Instant, port: usize) {
        for _ in 0..RECEIVES_PER_TURN {
            let Port { socket, .. } = &self.exits.relay.ports[port];
            if let Err(error) = socket.receive(&mut self.buffers) {
                return pause(socket, &error);
            }
            let local = socket.local_addr();
            self.opened.clear();
            let (mut datagrams, mut bytes) = (0, 0);
            for message in 0..self.buffers.len() {
                let received = self.buffers.received(message);
                let server = SocketAddr::new(received.to.unwrap_or(local.ip()), local.port());
                let from = FiveTuple::new(turn::Protocol::Udp, received.from, server);
                let begin = ReceiveBuffers::offset(message);
                let mut at = 0;
                while at < received.len {
                    let len = received.stride.min(received.len - at);
                    self.handle_turn_input(now, from, begin + at, len);
                    at += len;
                    datagrams += 1;
                }
                bytes += at;
            }
            self.count_received(datagrams, bytes);
            self.pace.count(datagrams);
            self.forward(now);
            if self.buffers.len() < RECEIVE_BATCH {
                return;
            }
        }
    }

    /// Handles one message of a client of the TURN server, whatever it came by: `len` bytes at `start` of the receive
    /// buffers. Media in it is opened in place and collected for [`Self::forward`].
    pub(super) fn handle_turn_input(
        &mut self,
        now: Instant,
        from: FiveTuple,
        start: usize,
        len: usize,
    ) {
        let allocation = move |server: &turn::Server| server.allocation_of(&from);
        self.contained_relay(now, allocation, |this| {
            #[cfg(test)]
            super::strike(&mut this.faulty_client, from);
            let mut answer = [0; turn::MAX_ANSWER_LEN];
            let input = &this.buffers.bytes()[start..start + len];
            let server = &mut this.exits.relay.server;
            match server.handle_input(now, from, input, &mut answer) {
                Action::Nothing => {}
                Action::Reply { len } => {
                    if this.carry_out_outputs(now) {
                        this.exits.answer(&from, &answer[..len]);
                    }
                    this.log_allocation(&from);
                }
                Action::Forward(forward) => this.forward_data(now, &forward, start),
            }
        });
    }

    /// Logs an allocation that has just been made.
    fn log_allocation(&mut self, from: &FiveTuple) {
        let Relay { server, made, .. } = &mut self.exits.relay;
        let before = std::mem::replace(made, server.counters().allocations);
        if *made != before
            && let Some(allocation) = server.allocation_of(from)
        {
            let (protocol, client) = (from.protocol, from.client);
            tracing::debug!(%allocation, ?protocol, %client, "a TURN allocation begins");
        }
    }

    /// Sends data of a client on its way; `start` is where in the receive buffers its message begins.
    fn forward_data(&mut self, now: Instant, forward: &Forward, start: usize) {
        let (from, to) = (forward.from, forward.to);
        let (start, len) = (start + forward.data.start, forward.data.len());
        let Relay {
            crossing, sockets, ..
        } = &mut self.exits.relay;
        let place = match forward.via {
            Via::RelaySocket => {
                let data = &self.buffers.bytes()[start..start + len];
                return sockets.send(from, to, data, !forward.dont_fragment);
            }
            Via::Worker => crossing.place_of_worker(to.port()),
            Via::Allocation => crossing.place_of_relay(to.port()),
        };
        match place {
            Some(Place::Here) => self.deliver(now, from, to, start, len),
            Some(Place::There(worker)) => {
                let data = &self.buffers.bytes()[start..start + len];
                crossing.send(worker, from, to, data);
            }
            None => self.count_dropped(),
        }
    }

    // ---- inside the process -----------------------------------------------------------------------------------

    /// Takes a packet that never leaves the process: to one of our transports, or to a client of ours.
    fn deliver(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        start: usize,
        len: usize,
    ) {
        if to.port() == self.exits.relay.crossing.media_port() {
            let path = Path {
                link: relayed_link(from),
                local: Some(to.ip()),
                remote: from,
            };
            return self.handle_datagram(now, path, start, len);
        }
        match self.exits.relay.server.allocation_at(now, to) {
            Some(allocation) => self.send_to_client(now, allocation, from, start, len),
            None => self.count_dropped(),
        }
    }

    /// Sends the client of an allocation what a peer has for it.
    fn send_to_client(
        &mut self,
        now: Instant,
        allocation: AllocationId,
        from: SocketAddr,
        start: usize,
        len: usize,
    ) {
        let server = &mut self.exits.relay.server;
        if let Some(data) = server.handle_peer(now, allocation, from, len) {
            let payload = &self.buffers.bytes()[start..start + len];
            self.exits.send_data(&data, payload);
        }
    }

    /// Takes what other workers have for ours, from each of them a part.
    pub(super) fn receive_crossings(&mut self, now: Instant) {
        self.exits.relay.crossing.may_have_input = false;
        for worker in 0..self.exits.relay.crossing.workers() {
            self.opened.clear();
            let mut at = 0;
            for taken in 1..=CROSSINGS_PER_TURN {
                let buffer = &mut self.buffers.bytes_mut()[at..];
                match self.exits.relay.crossing.receive(worker, buffer) {
                    Some(Record::Packet { from, to, len }) => {
                        self.contained_relay(
                            now,
                            |server| server.allocation_at(now, to),
                            |this| this.deliver(now, from, to, at, len),
                        );
                        at += len;
                    }
                    Some(Record::PathsEnded { relayed }) => self.end_paths(relayed),
                    None => break,
                }
                if taken == CROSSINGS_PER_TURN || at > CROSSING_END {
                    self.exits.relay.crossing.may_have_input = true;
                    break;
                }
            }
            self.forward(now);
        }
    }

    /// Paths of this worker's transports through an allocation are over.
    fn end_paths(&mut self, relayed: SocketAddr) {
        let link = relayed_link(relayed);
        if let Some(index) = self.peers_by_addr.remove(&(link, relayed))
            && let Some(peer) = self.peers.get_mut(index)
        {
            peer.transport.forget(link);
            peer.addrs.retain(|addr| addr.0 != link);
        }
    }

    // ---- from peers -------------------------------------------------------------------------------------------

    /// Receives from foreign peers.
    pub(super) fn receive_from_peers(&mut self, now: Instant) {
        let ready = self.exits.relay.sockets.poll();
        for &(slot, generation) in &ready {
            for _ in 0..RECEIVES_PER_TURN {
                let sockets = &mut self.exits.relay.sockets;
                let Some((allocation, received)) =
                    sockets.receive(slot, generation, &mut self.buffers)
                else {
                    break;
                };
                if let Err(error) = received {
                    // It would go on calling.
                    tracing::warn!(%error, "a relay socket failed, and its allocation with it");
                    self.exits.relay.server.end(now, allocation);
                    self.carry_out_outputs(now);
                    break;
                }
                self.contained_relay(
                    now,
                    |_| Some(allocation),
                    |this| this.handle_peers(now, allocation),
                );
                if self.buffers.len() < MESSAGES_PER_CALL {
                    break;
                }
            }
        }
        self.exits.relay.sockets.polled(ready);
    }

    /// Handles what has been received for an allocation.
    fn handle_peers(&mut self, now: Instant, allocation: AllocationId) {
        #[cfg(test)]
        super::strike(&mut self.faulty_allocation, allocation);
        let (mut datagrams, mut bytes) = (0, 0);
        for message in 0..self.buffers.len() {
            let received = self.buffers.received(message);
            let begin = ReceiveBuffers::offset(message);
            let mut at = 0;
            // An empty datagram is one, too.
            loop {
                let len = received.stride.min(received.len - at);
                self.send_to_client(now, allocation, received.from, begin + at, len);
                at += len;
                datagrams += 1;
                if at >= received.len {
                    break;
                }
            }
            bytes += at;
        }
        self.count_received(datagrams, bytes);
        self.pace.count(datagrams);
    }

    // ---- outputs and time -------------------------------------------------------------------------------------

    /// Lets the TURN server's time pass.
    pub(super) fn handle_relay_timeout(&mut self, now: Instant) {
        let passed = catch_unwind(AssertUnwindSafe(|| {
            self.exits.relay.handle_timeout(now);
            self.carry_out_outputs(now);
        }));
        if passed.is_err() {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                "a bug of ours cut the TURN server's timers short: please report the panic above"
            );
            self.exits.relay.pause_timers(now);
        }
    }

    /// Does what the TURN server wants done. False if that did not succeed, so that no answer must be sent.
    pub(super) fn carry_out_outputs(&mut self, now: Instant) -> bool {
        let mut succeeded = true;
        while let Some(output) = self.exits.relay.server.poll_output() {
            let Relay {
                server,
                sockets,
                crossing,
                ..
            } = &mut self.exits.relay;
            match output {
                Output::OpenRelay { allocation, bound } => {
                    match sockets.open(now, allocation, bound) {
                        Ok(()) => {}
                        Err(OpenError::PortInUse) => {
                            server.relay_port_in_use(now, bound);
                            succeeded = false;
                        }
                        Err(OpenError::Exhausted) => {
                            server.relay_not_opened(bound);
                            succeeded = false;
                        }
                    }
                    server.set_can_open(sockets.can_open(now));
                }
                Output::CloseRelay { bound, .. } => {
                    sockets.close(bound);
                    server.set_can_open(sockets.can_open(now));
                }
                Output::PathsEnded { relayed } => {
                    crossing.end_paths(relayed);
                    self.end_paths(relayed);
                }
                Output::Ended {
                    allocation,
                    five_tuple,
                } => {
                    tracing::debug!(%allocation, "a TURN allocation has ended");
                    self.exits.turn_streams.release_client(now, &five_tuple);
                }
            }
        }
        succeeded
    }

    /// Runs `work`; a panic in it ends the allocation that it was about.
    fn contained_relay(
        &mut self,
        now: Instant,
        allocation: impl FnOnce(&turn::Server) -> Option<AllocationId>,
        work: impl FnOnce(&mut Self),
    ) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_ok() {
            return;
        }
        self.counters.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!("an allocation ended by a bug of ours: please report the panic above");
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let relay = &mut self.exits.relay;
            if let Some(allocation) = allocation(&relay.server) {
                relay.server.end(now, allocation);
                self.carry_out_outputs(now);
            }
        }));
        if ended.is_err() {
            tracing::error!("the allocation could not be ended cleanly");
        }
    }
}
