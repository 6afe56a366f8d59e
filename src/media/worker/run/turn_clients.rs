//! Step 2 of a turn, for clients that reach the TURN server by TCP or TLS.

use std::time::Instant;

use super::super::streams::Ready;
use super::super::turn_streams::TurnStreams;
use super::Loop;
use crate::media::net::framing::Extent;
use crate::media::net::stream::{Arrived, RECEIVE_BUFFER};
use crate::media::plane::service::TlsStream;

impl Loop {
    /// Takes over a connection whose handshake was done elsewhere.
    pub(super) fn adopt(&mut self, now: Instant, stream: TlsStream) {
        if let Err(error) = self.exits.turn_streams.adopt(now, stream) {
            tracing::debug!(%error, "a connection for TURN broke before it was taken over");
        }
        self.end_lost_allocations(now);
    }

    /// Accepts and reads what waits, as far as one turn may.
    pub(super) fn receive_turn_streams(&mut self, now: Instant) {
        let ready = self.exits.turn_streams.poll();
        for &ready in &ready {
            match ready {
                Ready::Listener(index) => self.exits.turn_streams.accept(now, index),
                Ready::Readable(slot, generation) => {
                    self.receive_turn_stream(now, slot, generation);
                }
            }
            self.end_lost_allocations(now);
        }
        self.exits.turn_streams.polled(ready);
    }

    /// Reads a connection once and handles its messages like datagrams.
    fn receive_turn_stream(&mut self, now: Instant, slot: u32, generation: u32) {
        let streams = &mut self.exits.turn_streams;
        if streams.peer(slot, generation).is_none() {
            return;
        }
        let Some(client) = streams.client(slot) else {
            return;
        };
        let filled = match streams.receive(slot, &mut self.buffers.bytes_mut()[..RECEIVE_BUFFER]) {
            Arrived::Bytes(filled) => filled,
            Arrived::Nothing => return,
            Arrived::End => return streams.close(slot),
        };
        self.opened.clear();
        let (mut at, mut messages) = (0, 0);
        let is_usable = loop {
            match TurnStreams::first(&self.buffers.bytes()[at..filled]) {
                Extent::Complete { datagram, end } => {
                    self.handle_turn_input(now, client, at + datagram.start, datagram.len());
                    at += end;
                    messages += 1;
                    if self.exits.relay.server.allocation_of(&client).is_some() {
                        self.exits.turn_streams.prove(slot, ());
                    } else if !self.exits.turn_streams.may_go_on(slot) {
                        break false;
                    }
                }
                Extent::Incomplete => break true,
                Extent::Unusable => break false,
            }
        };
        self.count_received(messages, at);
        self.forward(now);
        let streams = &mut self.exits.turn_streams;
        if streams.peer(slot, generation).is_none() {
            return;
        }
        if !is_usable || !streams.keep(slot, &self.buffers.bytes()[at..filled]) {
            // What came before it was good, and its answers leave.
            self.count_dropped();
            self.exits.turn_streams.end(slot);
        }
    }

    /// An allocation lives no longer than its client's connection (RFC 8656 section 3.1).
    pub(super) fn end_lost_allocations(&mut self, now: Instant) {
        while let Some(client) = self.exits.turn_streams.next_lost() {
            self.exits.relay.server.handle_closed_stream(now, &client);
            self.carry_out_outputs(now);
        }
    }
}
