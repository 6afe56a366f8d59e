//! The connections of TURN clients, by five-tuple (RFC 8656 section 3.1).

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use super::streams::{Purpose, Streams};
use crate::media::net::framing::TurnFraming;
use crate::media::net::stream::Stream;
use crate::media::plane::service::TlsStream;
use crate::media::turn::{FiveTuple, Protocol};

/// The connections that carry TURN. They are proved as long as they have an allocation.
pub(super) type TurnStreams = Streams<TurnClients>;

/// Clients that reach the TURN server by TCP or TLS.
#[derive(Debug, Default)]
pub(super) struct TurnClients {
    slots: HashMap<FiveTuple, u32>,
    /// Clients that had an allocation when their connection ended.
    lost: Vec<FiveTuple>,
}

impl Purpose for TurnClients {
    type Framing = TurnFraming;
    type Owner = ();

    /// Challenges, other realms, stale nonces and Binding requests come before an allocation.
    const MAX_UNPROVED_FRAMES: u8 = 32;

    fn replaced_by(&self, stream: &Stream<TurnFraming>) -> Option<u32> {
        self.slots.get(&five_tuple(stream)).copied()
    }

    fn begin(&mut self, slot: u32, stream: &Stream<TurnFraming>) {
        self.slots.insert(five_tuple(stream), slot);
    }

    fn end(&mut self, _slot: u32, stream: &Stream<TurnFraming>, owner: Option<()>) {
        let client = five_tuple(stream);
        self.slots.remove(&client);
        if owner.is_some() {
            self.lost.push(client);
        }
    }
}

impl TurnStreams {
    /// Takes over a connection whose handshake was done elsewhere.
    pub(super) fn adopt(&mut self, now: Instant, stream: TlsStream) -> io::Result<()> {
        let TlsStream {
            socket,
            peer,
            session,
        } = stream;
        self.admit(now, Stream::over_tls(socket, peer, session)?)
    }

    /// Whose messages come through the connection in `slot`.
    pub(super) fn client(&mut self, slot: u32) -> Option<FiveTuple> {
        self.stream(slot).map(five_tuple)
    }

    /// Room for a message of at most `max_len` bytes to `client`, as [`Streams::space`]; [`Streams::commit`] queues it.
    pub(super) fn space_to(&mut self, client: &FiveTuple, max_len: usize) -> Option<&mut [u8]> {
        let slot = *self.purpose.slots.get(client)?;
        self.space(slot, max_len)
    }

    /// The allocation of `client` has ended: its connection stays for another one, as long as a fresh one would.
    pub(super) fn release_client(&mut self, now: Instant, client: &FiveTuple) {
        if let Some(&slot) = self.purpose.slots.get(client) {
            self.release(now, slot);
        }
    }

    /// A client whose connection has ended before its allocation, until `None`.
    pub(super) fn next_lost(&mut self) -> Option<FiveTuple> {
        self.purpose.lost.pop()
    }
}

fn five_tuple(stream: &Stream<TurnFraming>) -> FiveTuple {
    let protocol = if stream.is_tls() {
        Protocol::Tls
    } else {
        Protocol::Tcp
    };
    FiveTuple::new(protocol, stream.peer(), stream.local())
}
