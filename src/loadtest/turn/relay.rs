//! Datagrams that are relayed: sent, followed, counted.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use super::book::{Book, Course, Stage};
use super::client::{CHANNEL, Client};
use super::clients::{AT_ONCE, Clients, receive, sockets};
use super::pacer::Pacer;
use super::report::{Charge, Outcome};
use super::{Case, Error, Options, Pace};
use crate::loadtest::stamp::{self, Stamp};
use crate::media::net::udp::{BatchSocket, Outgoing, ReceiveBuffers};
use crate::units::clock;

/// Bytes in front of the data of ChannelData (RFC 8656 section 12.4).
const HEADER_LEN: usize = 4;

/// How often clients are looked after.
const ATTENDANCE: Duration = Duration::from_millis(100);

/// Runs that leave before sockets are looked at again.
const RUNS_AT_ONCE: usize = 256;

/// Payloads begin like an RTP packet of version 2 (RFC 3550 section 5.1), so that whoever sorts by the first byte takes
/// them for media.
const FIRST_BYTE: u8 = 0x80;

/// Where a flow's datagrams leave, and for where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lane {
    /// A client's socket; `None`: the peer's.
    client: Option<usize>,
    to: SocketAddr,
    /// As ChannelData.
    in_channel: bool,
}

/// What is sent, and how it is recognised.
#[derive(Debug)]
struct Payload(Vec<u8>);

impl Payload {
    fn new(size: usize) -> Self {
        let mut bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
        if let Some(first) = bytes.first_mut() {
            *first = FIRST_BYTE;
        }
        Self(bytes)
    }

    /// Appends a datagram to `arena`.
    fn write(
        &self,
        flow: usize,
        (number, sent_ns): (u32, u64),
        in_channel: bool,
        arena: &mut Vec<u8>,
    ) {
        let stamp = Stamp {
            stream: flow as u32,
            number,
            frame: 0,
            sent_ns,
            age_ns: 0,
            index: 0,
            count: 1,
            key_frame: false,
        };
        if in_channel {
            arena.extend_from_slice(&CHANNEL.to_be_bytes());
            arena.extend_from_slice(&(self.0.len() as u16).to_be_bytes());
        }
        let start = arena.len();
        arena.extend_from_slice(&self.0);
        if let Some(payload) = arena.get_mut(start..) {
            stamp.write(payload);
        }
    }

    /// What `payload` says of its flow, its number and its departure; `None` if it is not what was sent.
    fn read(&self, payload: &[u8]) -> Option<(usize, u32, u64)> {
        let body = self.0.len().checked_sub(stamp::LEN)?;
        let is_whole =
            payload.len() == self.0.len() && payload.get(..body)? == self.0.get(..body)?;
        let stamp = Stamp::read(payload).filter(|_| is_whole)?;
        Some((stamp.stream as usize, stamp.number, stamp.sent_ns))
    }

    /// The same of ChannelData, whose padding does not matter (RFC 8656 section 12.5).
    fn read_channel_data(&self, datagram: &[u8]) -> Option<(usize, u32, u64)> {
        let ([c0, c1, l0, l1], rest) = datagram.split_first_chunk::<HEADER_LEN>()?;
        let len = usize::from(u16::from_be_bytes([*l0, *l1]));
        let is_ours = [*c0, *c1] == CHANNEL.to_be_bytes();
        self.read(rest.get(..len)?).filter(|_| is_ours)
    }
}

/// The sending side.
#[derive(Debug)]
struct Sending {
    lanes: Vec<Lane>,
    payload: Payload,
    run: usize,
    pace: Option<Pacer>,
    most_in_flight: u32,
    /// The lane whose turn it is.
    turn: usize,
    arena: Vec<u8>,
    batch: Vec<Outgoing>,
}

impl Sending {
    /// Sends what may leave now.
    fn send(&mut self, now: Instant, book: &mut Book, clients: &Clients, peer: &BatchSocket) {
        // Once around at most: two runs of one lane must not become one.
        let lanes = self.lanes.len().min(RUNS_AT_ONCE);
        let mut open: Option<Option<usize>> = None;
        for _ in 0..lanes {
            match &mut self.pace {
                Some(pacer) => match pacer.take(now) {
                    Some(due) => book.measure.leaves(now, due),
                    None => break,
                },
                None if book.in_flight + self.run as u32 > self.most_in_flight => break,
                None => {}
            }
            let lane = self.lanes[self.turn];
            if open.is_some_and(|open| open != lane.client) {
                self.flush(open.flatten(), book, clients, peer);
            }
            open = Some(lane.client);
            let left_at = clock::now();
            for _ in 0..self.run {
                let Some(note) = book.leaves(left_at, self.turn) else {
                    continue;
                };
                let start = self.arena.len();
                self.payload
                    .write(self.turn, note, lane.in_channel, &mut self.arena);
                self.batch.push(Outgoing {
                    to: lane.to,
                    from: None,
                    start,
                    len: self.arena.len() - start,
                });
            }
            self.turn = (self.turn + 1) % self.lanes.len();
        }
        self.flush(open.flatten(), book, clients, peer);
    }

    fn flush(
        &mut self,
        client: Option<usize>,
        book: &mut Book,
        clients: &Clients,
        peer: &BatchSocket,
    ) {
        let socket = client.and_then(|client| clients.sockets().get(client));
        if !self.batch.is_empty() {
            let sent = socket.unwrap_or(peer).send(&self.arena, &self.batch);
            book.outcome.unsent += sent.dropped;
        }
        self.arena.clear();
        self.batch.clear();
    }

    /// How long nothing is due.
    fn idle_for(&self, now: Instant) -> Duration {
        let due = self.pace.as_ref().map(Pacer::due);
        due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now))
    }
}

/// Runs one of the cases in which datagrams are relayed.
pub(super) fn run(options: &Options, stop: &AtomicBool) -> Result<Outcome, Error> {
    let mut charge = Charge::begin(options)?;
    let local = options.local_address()?;
    // Whoever sends straight has no allocation.
    let login = options
        .login
        .clone()
        .filter(|_| options.case != Case::Direct);
    let options = &Options {
        login,
        sources: None,
        ..options.clone()
    };
    let mut clients = Clients::open(options, local, options.allocations)?;
    let peer = sockets(local, 1, options.merge)?
        .pop()
        .ok_or(Error::Options("there is no socket for the peer"))?;
    let driven = clients.drive(AT_ONCE, stop, |client, _, now| client.allocate(now))?;
    clients.check()?;
    let result = relay(options, stop, &mut clients, &peer, &mut charge);
    clients.release();
    let mut outcome = result?;
    outcome.set_up = (options.case != Case::Direct).then_some(driven);
    Ok(outcome)
}

fn relay(
    options: &Options,
    stop: &AtomicBool,
    clients: &mut Clients,
    peer: &BatchSocket,
    charge: &mut Charge,
) -> Result<Outcome, Error> {
    let relayed: Vec<SocketAddr> = clients.iter().filter_map(Client::relayed).collect();
    let peer_address = options.peer.unwrap_or_else(|| peer.local_addr());
    let partner = |index: usize| {
        let neighbour = relayed.get(index ^ 1).copied();
        neighbour
            .filter(|_| options.case == Case::Pair)
            .or_else(|| upper_peer(options, relayed.get(index)?))
            .unwrap_or(peer_address)
    };
    clients.drive(AT_ONCE, stop, |client, index, now| {
        client.bind(now, partner(index));
    })?;
    clients.check()?;
    let lanes = lanes(options, &relayed, peer_address);
    let mut server_ports: BTreeSet<u16> = relayed.iter().map(SocketAddr::port).collect();
    server_ports.insert(options.server.port());
    let peers = [options.peer, options.upper_peer.map(|(_, peer)| peer)];
    server_ports.extend(peers.into_iter().flatten().map(|peer| peer.port()));
    let own_sockets = clients.sockets().iter().chain([peer]);
    let own_ports = own_sockets.map(|socket| socket.local_addr().port());
    charge.watch(server_ports, own_ports.collect());
    let now = clock::now();
    let sending = Sending {
        run: options.run,
        pace: match options.pace {
            Pace::Saturated { .. } => None,
            Pace::PerSecond(rate) => Some(Pacer::new(now, rate, options.run as u32)),
        },
        most_in_flight: match options.pace {
            Pace::Saturated { in_flight } => in_flight.max(options.run as u32),
            Pace::PerSecond(_) => u32::MAX,
        },
        turn: 0,
        arena: Vec::new(),
        batch: Vec::new(),
        payload: Payload::new(options.size),
        lanes,
    };
    let mut outcome = exchange(options, stop, clients, peer, charge, sending)?;
    outcome.nobody_receives = options.peer.is_some();
    Ok(outcome)
}

/// [`Options::upper_peer`], if it is that of the client with this relayed address.
fn upper_peer(options: &Options, relayed: &SocketAddr) -> Option<SocketAddr> {
    let (first_port, peer) = options.upper_peer?;
    (relayed.port() >= first_port).then_some(peer)
}

/// Where each flow goes; of a pair the first sends and the second receives.
fn lanes(options: &Options, relayed: &[SocketAddr], peer: SocketAddr) -> Vec<Lane> {
    let (step, in_channel) = match options.case {
        Case::Pair => (2, true),
        Case::Direct => (1, false),
        Case::Down => {
            let down = |to: &SocketAddr| Lane {
                client: None,
                to: *to,
                in_channel: false,
            };
            return relayed.iter().map(down).collect();
        }
        Case::Up | Case::Allocate | Case::Idle | Case::Binding | Case::Flood | Case::Answer => {
            (1, true)
        }
    };
    (0..options.allocations / step)
        .map(|flow| Lane {
            client: Some(flow * step),
            to: if in_channel { options.server } else { peer },
            in_channel,
        })
        .collect()
}

/// Sends and receives until the time is over.
fn exchange(
    options: &Options,
    stop: &AtomicBool,
    clients: &mut Clients,
    peer: &BatchSocket,
    charge: &mut Charge,
    mut sending: Sending,
) -> Result<Outcome, Error> {
    let mut buffers = ReceiveBuffers::default();
    let begin = clock::now();
    let mut book = Book::new(begin, sending.lanes.len());
    let mut course = Course::new(begin, options);
    let mut attended_at = begin;
    loop {
        match course.advance(clock::now(), stop, &mut book, charge)? {
            Stage::Sending => sending.send(clock::now(), &mut book, clients, peer),
            Stage::Draining => {}
            Stage::Over => break,
        }
        let mut came = clients.receive(|_, now, datagram| {
            let note = sending.payload.read_channel_data(datagram);
            book.arrives(now, note, datagram.len());
        });
        came += receive(peer, &mut buffers, |now, datagram| {
            let note = sending.payload.read(datagram);
            book.arrives(now, note, datagram.len());
        });
        let now = clock::now();
        book.give_up_if_stalled(now);
        if now >= attended_at + ATTENDANCE {
            clients.attend_all(now);
            attended_at = now;
        }
        if came == 0 {
            let pause = sending.idle_for(now).min(options.poll);
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
    }
    book.outcome.charge = charge.finish();
    Ok(book.close())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loadtest::turn::book;

    #[test]
    fn a_payload_is_recognised_in_and_outside_a_channel() {
        let payload = Payload::new(172);
        let (mut plain, mut in_channel) = (Vec::new(), Vec::new());
        payload.write(3, (5, 7), false, &mut plain);
        payload.write(3, (5, 7), true, &mut in_channel);
        assert_eq!((plain.len(), plain[0]), (172, FIRST_BYTE));
        assert_eq!(in_channel[..HEADER_LEN], [0x40, 0, 0, 172]);
        assert_eq!(in_channel[HEADER_LEN..], plain);
        assert_eq!(payload.read(&plain), Some((3, 5, 7)));
        let padded = [in_channel.as_slice(), &[0; 3]].concat();
        for datagram in [in_channel, padded] {
            assert_eq!(payload.read_channel_data(&datagram), Some((3, 5, 7)));
        }
    }

    #[test]
    fn what_is_not_ours_or_not_whole_is_not_recognised() {
        let payload = Payload::new(172);
        let mut sent = Vec::new();
        payload.write(0, (0, 0), true, &mut sent);
        let changed = |at: usize, to: u8| {
            let mut copy = sent.clone();
            copy[at] = to;
            copy
        };
        let (flipped, other_channel, longer) = (changed(20, 0xff), changed(1, 1), changed(3, 173));
        let shorter = changed(3, 171);
        let hostile: [&[u8]; 7] = [
            &[],
            &[0x40],
            &flipped,
            &other_channel,
            &longer,
            &shorter,
            &sent[..100],
        ];
        for bytes in hostile {
            assert_eq!(payload.read_channel_data(bytes), None, "{bytes:?}");
        }
        assert!(payload.read_channel_data(&sent).is_some());
    }

    #[test]
    fn the_upper_peer_is_for_relayed_ports_from_its_first_one_on() {
        let upper: SocketAddr = ([192, 0, 2, 2], 10).into();
        let options = Options {
            upper_peer: Some((50_000, upper)),
            ..book::tests::options()
        };
        let of = |port| upper_peer(&options, &SocketAddr::from(([192, 0, 2, 1], port)));
        assert_eq!((of(49_999), of(50_000)), (None, Some(upper)));
        let without = book::tests::options();
        let relayed = SocketAddr::from(([192, 0, 2, 1], 65_535));
        assert_eq!(upper_peer(&without, &relayed), None);
    }

    #[test]
    fn every_case_sends_where_its_name_says() {
        let server: SocketAddr = ([192, 0, 2, 1], 3478).into();
        let peer: SocketAddr = ([192, 0, 2, 2], 9).into();
        let relayed = [1, 2, 3, 4].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        let of = |case| {
            let options = Options {
                server,
                case,
                ..book::tests::options()
            };
            let options = Options {
                allocations: 4,
                ..options
            };
            lanes(&options, &relayed, peer)
        };
        let client = |index, to, in_channel| Lane {
            client: Some(index),
            to,
            in_channel,
        };
        assert_eq!(
            of(Case::Up),
            [0, 1, 2, 3].map(|index| client(index, server, true))
        );
        assert_eq!(
            of(Case::Pair),
            [0, 2].map(|index| client(index, server, true))
        );
        assert_eq!(
            of(Case::Direct),
            [0, 1, 2, 3].map(|index| client(index, peer, false))
        );
        let down = relayed.map(|to| Lane {
            client: None,
            to,
            in_channel: false,
        });
        assert_eq!(of(Case::Down), down);
    }
}
