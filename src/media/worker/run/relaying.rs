//! Step 2 of a turn, for the TURN server: what its clients send.

use std::net::SocketAddr;
use std::time::Instant;

use super::super::exits::{Exits, Port};
use super::{Loop, RECEIVES_PER_TURN, pause};
use crate::media::net::udp::{RECEIVE_BATCH, ReceiveBuffers};
use crate::media::turn::{self, Action, FiveTuple, Output};

impl Loop {
    /// Receives from clients over UDP.
    pub(super) fn receive_from_clients(&mut self, now: Instant, port: usize) {
        for _ in 0..RECEIVES_PER_TURN {
            let Port { socket, .. } = &self.exits.relay.ports[port];
            if let Err(error) = socket.receive(&mut self.buffers) {
                return pause(socket, &error);
            }
            let local = socket.local_addr();
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
                }
            }
            if self.buffers.len() < RECEIVE_BATCH {
                return;
            }
        }
    }

    /// Handles one message of a client of the TURN server, whatever it came by.
    pub(super) fn handle_turn_input(
        &mut self,
        now: Instant,
        from: FiveTuple,
        start: usize,
        len: usize,
    ) {
        let mut answer = [0; turn::MAX_ANSWER_LEN];
        let input = &self.buffers.bytes()[start..start + len];
        let action = self
            .exits
            .relay
            .server
            .handle_input(now, from, input, &mut answer);
        match action {
            Action::Nothing => {}
            Action::Reply { len } => {
                self.carry_out_outputs();
                self.exits.send_to_client(&from, &answer[..len], &[], 0);
            }
            Action::Forward(_) => self.count_dropped(),
        }
    }

    /// Lets the TURN server's time pass.
    pub(super) fn handle_relay_timeout(&mut self, now: Instant) {
        let server = &mut self.exits.relay.server;
        if server.poll_timeout().is_some_and(|at| at <= now) {
            server.handle_timeout(now);
            self.carry_out_outputs();
        }
    }

    pub(super) fn carry_out_outputs(&mut self) {
        while let Some(output) = self.exits.relay.server.poll_output() {
            match output {
                Output::OpenRelay { .. } | Output::CloseRelay { .. } => {}
                Output::Ended { five_tuple, .. } => {
                    let Exits {
                        now, turn_streams, ..
                    } = &mut self.exits;
                    turn_streams.release_client(*now, &five_tuple);
                }
            }
        }
    }
}
