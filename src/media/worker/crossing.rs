//! Relayed packets between workers: one bounded ring for each ordered pair.
//!
//! The kernel places a client of the TURN server on a worker before anybody knows which calls it takes part in, so its
//! allocation and the transports that it talks to may live on different workers. A record is a packet as a peer or a
//! client would see it: from which address, to which. Records are copied into the ring and out of it; nothing is
//! allocated, nobody waits, and what does not fit is dropped and counted.
//!
//! ```text
//! allocation --- from: relayed address, to: our media port ------> transport
//! allocation <-- from: our media port,  to: relayed address ------ transport
//! allocation --- from: relayed address, to: relayed address -----> allocation
//! ```

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use rtrb::{Consumer, Producer, RingBuffer};

use super::wake::Wake;
use crate::units::PortRange;

/// Bytes of the rings out of one worker together.
const RINGS_BYTES: usize = 4 << 20;

/// Bytes of one ring at least and at most.
const RING_BYTES: [usize; 2] = [128 << 10, 1 << 20];

/// No packet is longer.
const MAX_PACKET: usize = 65_535;

/// What stands in front of a record's packet: its kind, its length, whence and where to.
const HEADER_LEN: usize = 1 + 2 + 2 * ADDRESS_LEN;

const ADDRESS_LEN: usize = 16 + 2;

/// Which ports are a worker's.
#[derive(Debug, Clone, Copy)]
pub struct WorkerPorts {
    /// Its media port.
    pub media: u16,
    /// The relay ports of its TURN server.
    pub relays: PortRange,
}

/// What comes out of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// A packet, whose bytes are at the beginning of the buffer.
    Packet {
        from: SocketAddr,
        to: SocketAddr,
        len: usize,
    },
    /// Paths that lead to this relayed address are over.
    PathsEnded { relayed: SocketAddr },
}

/// Where an address of ours is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// By this worker.
    Here,
    /// By the worker of this number.
    There(usize),
}

/// One worker's ends of the rings to and from the others.
#[derive(Debug)]
pub struct Crossing {
    index: usize,
    ports: Arc<[WorkerPorts]>,
    wake: Wake,
    /// By the other worker's number; none for this one.
    lanes: Vec<Option<Lane>>,
    /// A packet that is being written.
    packet: Vec<u8>,
    /// The last sleep was ended by another worker, or something was left over.
    pub(super) may_have_input: bool,
    dropped: u64,
}

#[derive(Debug)]
struct Lane {
    out: Producer<u8>,
    into: Consumer<u8>,
    wake: Wake,
    /// The other worker has to be woken.
    is_news: bool,
}

impl Crossing {
    /// The ends of all workers of a process, in their order.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn between(workers: &[WorkerPorts]) -> io::Result<Vec<Self>> {
        let ports: Arc<[WorkerPorts]> = workers.into();
        let wakes: Vec<Wake> = workers
            .iter()
            .map(|_| Wake::new())
            .collect::<io::Result<_>>()?;
        let [least, most] = RING_BYTES;
        let bytes = (RINGS_BYTES / workers.len().max(1)).clamp(least, most);
        let mut all: Vec<Self> = (0..workers.len())
            .map(|index| Self {
                index,
                ports: ports.clone(),
                wake: wakes[index].clone(),
                lanes: workers.iter().map(|_| None).collect(),
                packet: Vec::new(),
                may_have_input: false,
                dropped: 0,
            })
            .collect();
        for one in 0..workers.len() {
            for other in 0..one {
                let (there, back) = (RingBuffer::new(bytes), RingBuffer::new(bytes));
                all[one].lanes[other] = Some(Lane {
                    out: there.0,
                    into: back.1,
                    wake: wakes[other].clone(),
                    is_news: false,
                });
                all[other].lanes[one] = Some(Lane {
                    out: back.0,
                    into: there.1,
                    wake: wakes[one].clone(),
                    is_news: false,
                });
            }
        }
        Ok(all)
    }

    /// What wakes this worker.
    pub(super) fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// This worker's media port.
    pub(super) fn media_port(&self) -> u16 {
        self.ports.get(self.index).map_or(0, |ports| ports.media)
    }

    /// Whose media port this is.
    pub(super) fn place_of_worker(&self, media_port: u16) -> Option<Place> {
        self.place(|ports| ports.media == media_port)
    }

    /// Whose relay port this is.
    pub(super) fn place_of_relay(&self, port: u16) -> Option<Place> {
        self.place(|ports| ports.relays.contains(port))
    }

    fn place(&self, is_it: impl Fn(&WorkerPorts) -> bool) -> Option<Place> {
        if self.ports.get(self.index).is_some_and(&is_it) {
            return Some(Place::Here);
        }
        self.ports.iter().position(is_it).map(Place::There)
    }

    // ---- to the others ----------------------------------------------------------------------------------------

    /// Room in which a packet of at most `max_len` bytes can be written before [`Self::send_written`].
    pub(super) fn space(&mut self, max_len: usize) -> Option<&mut [u8]> {
        if max_len > MAX_PACKET {
            return None;
        }
        if self.packet.len() < max_len {
            self.packet.resize(max_len, 0);
        }
        self.packet.get_mut(..max_len)
    }

    /// Sends the first `len` bytes of the room that [`Self::space`] gave.
    pub(super) fn send_written(
        &mut self,
        worker: usize,
        from: SocketAddr,
        to: SocketAddr,
        len: usize,
    ) {
        let packet = std::mem::take(&mut self.packet);
        self.send(worker, from, to, &packet[..len]);
        self.packet = packet;
    }

    /// Sends a packet to another worker.
    pub(super) fn send(&mut self, worker: usize, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        self.push(worker, Kind::Packet, from, to, packet);
    }

    /// Tells the other workers that paths to a relayed address are over.
    pub(super) fn end_paths(&mut self, relayed: SocketAddr) {
        for worker in 0..self.lanes.len() {
            if self.lanes[worker].is_some() {
                self.push(worker, Kind::PathsEnded, relayed, relayed, &[]);
            }
        }
    }

    fn push(&mut self, worker: usize, kind: Kind, from: SocketAddr, to: SocketAddr, packet: &[u8]) {
        let lane = self.lanes.get_mut(worker).and_then(Option::as_mut);
        let len = u16::try_from(packet.len());
        let (Some(lane), Ok(len)) = (lane, len) else {
            self.dropped += 1;
            return;
        };
        let mut header = [0; HEADER_LEN];
        header[0] = kind as u8;
        header[1..3].copy_from_slice(&len.to_be_bytes());
        write_address(&mut header[3..3 + ADDRESS_LEN], from);
        write_address(&mut header[3 + ADDRESS_LEN..], to);
        // The whole record or nothing: only this worker fills the ring, so room that is there stays.
        let is_pushed = lane.out.slots() >= HEADER_LEN + packet.len()
            && lane.out.push_entire_slice(&header).is_ok()
            && lane.out.push_entire_slice(packet).is_ok();
        if is_pushed {
            lane.is_news = true;
        } else {
            self.dropped += 1;
        }
    }

    /// Wakes those for whom there is something new; how many packets did not fit since the last time.
    pub(super) fn flush(&mut self) -> u64 {
        for lane in self.lanes.iter_mut().flatten() {
            if std::mem::take(&mut lane.is_news) {
                lane.wake.wake();
            }
        }
        std::mem::take(&mut self.dropped)
    }

    // ---- from the others --------------------------------------------------------------------------------------

    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.lanes.len()
    }

    /// Takes the next record of a worker. `buffer` needs room for any packet.
    pub(super) fn receive(&mut self, worker: usize, buffer: &mut [u8]) -> Option<Record> {
        let lane = self.lanes.get_mut(worker)?.as_mut()?;
        let available = lane.into.slots();
        let mut header = [0; HEADER_LEN];
        {
            let chunk = lane.into.read_chunk(HEADER_LEN).ok()?;
            let (one, two) = chunk.as_slices();
            header[..one.len()].copy_from_slice(one);
            header[one.len()..].copy_from_slice(two);
            // Not committed: the packet behind it may still be under way.
        }
        let len = usize::from(u16::from_be_bytes([header[1], header[2]]));
        let packet = buffer.get_mut(..len)?;
        if available < HEADER_LEN + len {
            return None;
        }
        lane.into.read_chunk(HEADER_LEN).ok()?.commit_all();
        lane.into.pop_entire_slice(packet).ok()?;
        let from = read_address(&header[3..3 + ADDRESS_LEN]);
        let to = read_address(&header[3 + ADDRESS_LEN..]);
        Some(match header[0] {
            PATHS_ENDED => Record::PathsEnded { relayed: from },
            _ => Record::Packet { from, to, len },
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Packet,
    PathsEnded,
}

const PATHS_ENDED: u8 = Kind::PathsEnded as u8;

/// An address in a form of fixed length; IPv4 as an IPv4-mapped one. Those that are relayed have no scope.
fn write_address(space: &mut [u8], addr: SocketAddr) {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    space[..16].copy_from_slice(&ip.octets());
    space[16..].copy_from_slice(&addr.port().to_be_bytes());
}

fn read_address(bytes: &[u8]) -> SocketAddr {
    let (mut ip, mut port) = ([0; 16], [0; 2]);
    ip.copy_from_slice(&bytes[..16]);
    port.copy_from_slice(&bytes[16..]);
    let ip = IpAddr::V6(Ipv6Addr::from(ip)).to_canonical();
    SocketAddr::new(ip, u16::from_be_bytes(port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn workers(count: u16) -> Vec<Crossing> {
        let ports: Vec<WorkerPorts> = (0..count)
            .map(|index| WorkerPorts {
                media: 40_000 + index,
                relays: PortRange::new(50_000 + 100 * index, 50_099 + 100 * index).unwrap(),
            })
            .collect();
        Crossing::between(&ports).unwrap()
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn receive(crossing: &mut Crossing, worker: usize) -> Option<(Record, Vec<u8>)> {
        let mut buffer = vec![0; MAX_PACKET];
        let record = crossing.receive(worker, &mut buffer)?;
        let len = match record {
            Record::Packet { len, .. } => len,
            Record::PathsEnded { .. } => 0,
        };
        Some((record, buffer[..len].to_vec()))
    }

    #[test]
    fn every_port_has_its_place() {
        let all = workers(3);
        assert_eq!(all[1].media_port(), 40_001);
        assert_eq!(all[1].place_of_worker(40_001), Some(Place::Here));
        assert_eq!(all[1].place_of_worker(40_002), Some(Place::There(2)));
        assert_eq!(all[1].place_of_worker(40_003), None);
        assert_eq!(all[1].place_of_relay(50_150), Some(Place::Here));
        assert_eq!(all[1].place_of_relay(50_000), Some(Place::There(0)));
        assert_eq!(all[1].place_of_relay(40_001), None);
    }

    #[test]
    fn packets_go_to_the_worker_named_and_come_out_as_they_went_in() {
        let mut all = workers(3);
        let (from, to) = (addr("[2001:db8::1]:50000"), addr("192.0.2.1:40001"));
        all[0].send(1, from, to, b"one");
        all[0].space(5).unwrap()[..5].copy_from_slice(b"two??");
        all[0].send_written(1, to, from, 3);
        all[0].end_paths(from);
        let packet = |from, to| Record::Packet { from, to, len: 3 };
        assert_eq!(
            receive(&mut all[1], 0),
            Some((packet(from, to), b"one".to_vec()))
        );
        assert_eq!(
            receive(&mut all[1], 0),
            Some((packet(to, from), b"two".to_vec()))
        );
        let ended = Record::PathsEnded { relayed: from };
        for worker in [1, 2] {
            assert_eq!(receive(&mut all[worker], 0), Some((ended, Vec::new())));
            assert_eq!(receive(&mut all[worker], 0), None);
        }
        assert_eq!(receive(&mut all[0], 1), None, "nothing comes back");
        assert_eq!(all[0].flush(), 0);
    }

    #[test]
    fn a_full_ring_drops_whole_packets_and_counts_them() {
        let mut all = workers(2);
        let at = addr("192.0.2.1:40001");
        let packet = [7; 1_200];
        let sent = 2 * RING_BYTES[1] / packet.len();
        for _ in 0..sent {
            all[0].send(1, at, at, &packet);
        }
        let dropped = all[0].flush();
        let mut arrived = 0;
        while let Some((_, bytes)) = receive(&mut all[1], 0) {
            assert_eq!(bytes, packet);
            arrived += 1;
        }
        assert!(dropped > 0 && arrived > 0);
        assert_eq!(arrived + dropped, sent as u64);
        all[0].send(1, at, at, &packet);
        assert!(receive(&mut all[1], 0).is_some(), "there is room again");
        all[0].send(0, at, at, &packet);
        all[0].send(2, at, at, &packet);
        assert_eq!(all[0].flush(), 2, "neither to itself nor to nobody");
        assert!(all[0].space(MAX_PACKET + 1).is_none());
    }

    #[test]
    fn others_are_woken_once_and_only_for_news() {
        let mut all = workers(3);
        let at = addr("192.0.2.1:40001");
        all[0].send(1, at, at, &[1]);
        all[0].send(1, at, at, &[2]);
        all[0].flush();
        assert!(all[1].wake.clear() && !all[1].wake.clear());
        assert!(!all[2].wake.clear());
        all[0].flush();
        assert!(!all[1].wake.clear());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_come_out_in_order_wherever_the_ring_wraps(
            first in 0..RING_BYTES[1],
            sizes in proptest::collection::vec(0usize..60_000, 40..60),
        ) {
            let mut all = workers(2);
            let at = addr("192.0.2.1:40001");
            for size in [first / 16; 16] {
                all[0].send(1, at, at, &vec![0; size]);
                prop_assert!(receive(&mut all[1], 0).is_some());
            }
            for (number, &size) in sizes.iter().enumerate() {
                all[0].send(1, at, at, &vec![number as u8; size]);
                let (_, bytes) = receive(&mut all[1], 0).unwrap();
                prop_assert_eq!(bytes, vec![number as u8; size]);
            }
        }
    }
}
