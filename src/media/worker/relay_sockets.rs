//! Relay sockets: where allocations meet foreign peers.
//!
//! They are waited for together, by one epoll object that the loop polls beside its other sockets: thousands of idle
//! allocations cost a turn nothing. They are not connected, not even to a sole peer: a permission is for an address
//! whatever the port (RFC 8656 section 9), and ICE relies on hearing from ports that nobody has named yet.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use super::relay::relayed_link;
use super::slots::Slots;
use crate::media::net::udp::{BatchSocket, Outgoing, ReceiveBuffers, Sent};
use crate::media::transport::Link;
use crate::media::turn::AllocationId;

/// Sockets served in one turn.
const EVENTS_PER_TURN: usize = 64;

/// Messages received from one socket in one call.
pub(super) const MESSAGES_PER_CALL: usize = 8;

/// Bytes that wait at most; a fuller arena is sent at once.
const ARENA: usize = 256 * 1024;

/// Datagrams that wait at most.
const BATCH: usize = 512;

/// How long no socket is opened once descriptors or memory ran out.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

/// How often that is complained about at most.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Why a relay socket is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenError {
    /// Its port is somebody else's.
    PortInUse,
    /// The process or the system is out of something.
    Exhausted,
}

#[derive(Debug)]
struct RelaySocket {
    socket: BatchSocket,
    generation: u32,
    allocation: AllocationId,
    may_fragment: bool,
}

/// Datagrams for one socket, one behind the other in the batch.
#[derive(Debug)]
struct Segment {
    slot: u32,
    may_fragment: bool,
    first: usize,
    end: usize,
}

/// All relay sockets of one worker.
#[derive(Debug)]
pub(super) struct RelaySockets {
    epoll: OwnedFd,
    sockets: Slots<RelaySocket>,
    /// By family and port, which the bound and the told address share.
    by_link: HashMap<Link, u32>,
    max_sockets: usize,
    paused_until: Option<Instant>,
    complained_at: Option<Instant>,
    ready: Vec<(u32, u32)>,
    arena: Vec<u8>,
    used: usize,
    batch: Vec<Outgoing>,
    segments: Vec<Segment>,
    /// The last sleep was ended by one of them.
    pub(super) may_have_input: bool,
    sent: Sent,
}

impl RelaySockets {
    /// None yet, and at most `max_sockets` at a time.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub(super) fn new(max_sockets: usize) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            sockets: Slots::default(),
            by_link: HashMap::new(),
            max_sockets,
            paused_until: None,
            complained_at: None,
            ready: Vec::with_capacity(EVENTS_PER_TURN),
            arena: vec![0; ARENA],
            used: 0,
            batch: Vec::with_capacity(BATCH),
            segments: Vec::new(),
            may_have_input: false,
            sent: Sent::default(),
        })
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Whether another one may be opened.
    pub(super) fn can_open(&self, now: Instant) -> bool {
        self.sockets.len() < self.max_sockets && self.paused_until.is_none_or(|until| until <= now)
    }

    /// Opens the socket of an allocation.
    pub(super) fn open(
        &mut self,
        now: Instant,
        allocation: AllocationId,
        bound: SocketAddr,
    ) -> Result<(), OpenError> {
        if !self.can_open(now) {
            return Err(OpenError::Exhausted);
        }
        let socket = BatchSocket::bind_small(bound).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => OpenError::PortInUse,
            _ => self.pause(now, &error),
        })?;
        let slot = self.sockets.insert(|_, generation| RelaySocket {
            socket,
            generation,
            allocation,
            may_fragment: true,
        });
        let Some(opened) = self.sockets.get_mut(slot) else {
            return Err(OpenError::Exhausted);
        };
        let data = epoll::EventData::new_u64(u64::from(opened.generation) << 32 | u64::from(slot));
        if let Err(error) = epoll::add(&self.epoll, &opened.socket, data, epoll::EventFlags::IN) {
            self.sockets.remove(slot);
            return Err(self.pause(now, &error.into()));
        }
        self.by_link.insert(relayed_link(bound), slot);
        Ok(())
    }

    fn pause(&mut self, now: Instant, error: &io::Error) -> OpenError {
        if self
            .complained_at
            .is_none_or(|at| now >= at + COMPLAINT_INTERVAL)
        {
            self.complained_at = Some(now);
            tracing::warn!(%error, "cannot open relay sockets; raise LimitNOFILE if descriptors ran out");
        }
        self.paused_until = Some(now + OPEN_PAUSE);
        OpenError::Exhausted
    }

    /// Closes the socket bound there, which takes it out of the epoll object, too. What still waits in it is sent.
    pub(super) fn close(&mut self, bound: SocketAddr) {
        if let Some(slot) = self.by_link.remove(&relayed_link(bound)) {
            self.flush();
            self.sockets.remove(slot);
        }
    }

    // ---- from peers -------------------------------------------------------------------------------------------

    /// The sockets in which something waits, by slot and generation.
    pub(super) fn poll(&mut self) -> Vec<(u32, u32)> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let none = epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        };
        let mut events = [none; EVENTS_PER_TURN];
        let called = epoll::wait(&self.epoll, &mut events[..], Some(&Timespec::default()));
        // An interrupted call finds the same the next time.
        for event in &events[..called.unwrap_or(0)] {
            let data = event.data.u64();
            ready.push((data as u32, (data >> 32) as u32));
        }
        ready
    }

    /// Gives the list of [`Self::poll`] back, so that it need not be made anew.
    pub(super) fn polled(&mut self, ready: Vec<(u32, u32)>) {
        self.ready = ready;
    }

    /// Receives once from a socket, if it is still the one of `generation`; whose it is and whether that worked.
    pub(super) fn receive(
        &mut self,
        slot: u32,
        generation: u32,
        buffers: &mut ReceiveBuffers,
    ) -> Option<(AllocationId, io::Result<()>)> {
        let relay = self.sockets.get_generation_mut(slot, generation)?;
        let received = relay.socket.receive_at_most(MESSAGES_PER_CALL, buffers);
        Some((relay.allocation, received))
    }

    // ---- to peers ---------------------------------------------------------------------------------------------

    /// Queues `data` from the relay socket of the address `relayed` to a peer.
    pub(super) fn send(
        &mut self,
        relayed: SocketAddr,
        to: SocketAddr,
        data: &[u8],
        may_fragment: bool,
    ) {
        let Some(&slot) = self.by_link.get(&relayed_link(relayed)) else {
            self.sent.dropped += 1;
            return;
        };
        if self.arena.len() - self.used < data.len() || self.batch.len() == BATCH {
            self.flush();
        }
        let start = self.used;
        let Some(space) = self.arena.get_mut(start..start + data.len()) else {
            self.sent.dropped += 1;
            return;
        };
        space.copy_from_slice(data);
        self.used += data.len();
        self.batch.push(Outgoing {
            to,
            from: None,
            start,
            len: data.len(),
        });
        let end = self.batch.len();
        match self.segments.last_mut() {
            Some(last) if last.slot == slot && last.may_fragment == may_fragment => last.end = end,
            _ => self.segments.push(Segment {
                slot,
                may_fragment,
                first: end - 1,
                end,
            }),
        }
    }

    /// Sends everything that waits.
    fn flush(&mut self) {
        for segment in self.segments.drain(..) {
            let batch = &self.batch[segment.first..segment.end];
            let Some(relay) = self.sockets.get_mut(segment.slot) else {
                self.sent.dropped += batch.len() as u64;
                continue;
            };
            if relay.may_fragment != segment.may_fragment {
                relay.may_fragment = segment.may_fragment;
                relay.socket.may_fragment(segment.may_fragment);
            }
            self.sent += relay.socket.send(&self.arena, batch);
        }
        self.batch.clear();
        self.used = 0;
    }

    /// Sends everything that waits; what became of it since the last time.
    pub(super) fn take_sent(&mut self) -> Sent {
        self.flush();
        std::mem::take(&mut self.sent)
    }

    /// Panics where the parts of the state disagree.
    #[cfg(test)]
    pub(super) fn assert_sound(&self) {
        assert_eq!(self.by_link.len(), self.sockets.len());
        for (slot, relay) in self.sockets.iter() {
            let link = relayed_link(relay.socket.local_addr());
            assert_eq!(self.by_link.get(&link), Some(&slot));
        }
    }
}

impl AsFd for RelaySockets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
