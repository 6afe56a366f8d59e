//! The TURN server of a worker: clients, foreign peers, our own transports, other workers.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU16;

use super::*;
use crate::media::net::udp::Outgoing;
use crate::media::turn::{Credentials, LivePorts, PeerPolicy, Protocol, RelayAddress, Settings};
use crate::media::worker::relay::relayed_link;
use crate::media::worker::relay_sockets::RelaySockets;
use crate::testing::turn::{REALM, TurnClient, secret};
use crate::units::{PortRange, turn_credential};

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Not an address of the workers, and so a foreign one.
const FOREIGN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const CHANNEL: u16 = 0x4000;

/// Relay ports of one worker.
const PORTS: u16 = 8;

/// Free ports that the kernel gives to nobody who asks for any: a TURN server has a range of them.
fn free_ports(count: u16) -> PortRange {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let nth = NEXT.fetch_add(count, Ordering::Relaxed);
        let offset = (std::process::id() as u16)
            .wrapping_mul(97)
            .wrapping_add(nth);
        let first = 10_000 + offset % 20_000;
        if (first..first + count).all(|port| UdpSocket::bind((LOCAL, port)).is_ok()) {
            return PortRange::new(first, first + count - 1).unwrap();
        }
    }
}

fn workers(count: usize) -> Vec<Bench> {
    let all = free_ports(PORTS * u16::try_from(count).unwrap());
    let live_ports = Arc::new(LivePorts::new());
    Bench::several(count, |worker_ports, index| {
        let first = all.first() + PORTS * u16::try_from(index).unwrap();
        Settings {
            credentials: Credentials::new(REALM).with_secrets(vec![secret()]),
            relays: vec![RelayAddress {
                bound: LOCAL.into(),
                told: LOCAL.into(),
            }],
            ports: PortRange::new(first, first + PORTS - 1).unwrap(),
            live_ports: live_ports.clone(),
            worker_ports: worker_ports.to_vec(),
            policy: PeerPolicy {
                allowed: vec!["127.0.0.2/32".parse().unwrap()],
                denied: Vec::new(),
            },
            ..Settings::stun_only()
        }
    })
}

impl Bench {
    pub(super) fn relaying() -> Self {
        workers(1).remove(0)
    }

    /// A turn in which every socket has called.
    pub(super) fn relay(&mut self) {
        self.worker.exits.relay.sockets.may_have_input = true;
        self.worker.exits.relay.crossing.may_have_input = true;
        self.turn();
        let relay = &self.worker.exits.relay;
        relay.server.assert_sound(self.now);
        relay.sockets.assert_sound();
    }

    fn relay_sockets(&self) -> usize {
        self.worker.exits.relay.sockets.len()
    }

    fn turn_counters(&self) -> crate::views::turn::TurnCounters {
        self.worker.exits.relay.server.counters()
    }

    fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.worker.counters).load(Ordering::Relaxed)
    }

    fn is_linked(&mut self, transport: u64, relayed: SocketAddr) -> bool {
        let index = self.peer(1, transport);
        let peer = self.worker.peers.get_mut(index).unwrap();
        peer.transport.is_linked(relayed_link(relayed))
    }
}

/// A client with an allocation.
struct Client {
    turn: TurnClient,
    socket: BatchSocket,
    server: SocketAddr,
    relayed: SocketAddr,
}

impl Client {
    fn allocate(bench: &mut Bench) -> Self {
        let any = SocketAddr::from((LOCAL, 0));
        let socket = BatchSocket::bind(any, false, None).unwrap();
        let mut turn = TurnClient::new(Protocol::Udp, socket.local_addr(), "alice");
        turn.five_tuple.server = bench.stun;
        turn.username = format!("{}:alice", u32::MAX);
        turn.password = turn_credential::password(&secret(), &turn.username);
        let mut client = Self {
            turn,
            socket,
            server: bench.stun,
            relayed: any,
        };
        let answer = client.request(bench, Method::ALLOCATE, |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        });
        let answer = answer.unwrap();
        let relayed = Message::parse(&answer)
            .unwrap()
            .xor_address(AttributeType::XOR_RELAYED_ADDRESS);
        client.relayed = relayed.unwrap();
        client
    }

    fn request(
        &mut self,
        bench: &mut Bench,
        method: Method,
        build: impl Fn(&mut Writer<'_>),
    ) -> Option<Vec<u8>> {
        for _ in 0..2 {
            let request = self.turn.request(method, &build);
            self.say(bench, &[&request]);
            let answer = self.heard().pop()?;
            if !self.turn.take_challenge(&answer) {
                return Some(answer);
            }
        }
        None
    }

    /// The error code of the answer, 0 for success; `None` if there was no answer.
    fn code(
        &mut self,
        bench: &mut Bench,
        method: Method,
        build: impl Fn(&mut Writer<'_>),
    ) -> Option<u16> {
        let answer = self.request(bench, method, build)?;
        let answer = Message::parse(&answer).unwrap();
        Some(answer.error_code().map_or(0, |error| error.code))
    }

    fn permit(&mut self, bench: &mut Bench, peer: SocketAddr) -> Option<u16> {
        self.code(bench, Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }

    fn bind(&mut self, bench: &mut Bench, peer: SocketAddr) -> Option<u16> {
        self.code(bench, Method::CHANNEL_BIND, |writer| {
            let [high, low] = CHANNEL.to_be_bytes();
            writer.attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0]);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }

    fn end(&mut self, bench: &mut Bench) {
        let ended = self.code(bench, Method::REFRESH, |writer| {
            writer.attribute(AttributeType::LIFETIME, &[0; 4]);
        });
        assert_eq!(ended, Some(0));
    }

    /// Sends datagrams, those of one size as one run.
    fn say(&self, bench: &mut Bench, datagrams: &[&[u8]]) {
        train(&self.socket, self.server, datagrams);
        bench.relay();
    }

    fn say_by_channel(&self, bench: &mut Bench, data: &[u8]) {
        self.say(bench, &[&channel_data(data)]);
    }

    fn indicate(&mut self, bench: &mut Bench, to: SocketAddr, data: &[u8], whole: bool) {
        let indication = self.turn.indication(|writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, to);
            if whole {
                writer.attribute(AttributeType::DONT_FRAGMENT, &[]);
            }
            writer.attribute(AttributeType::DATA, data);
        });
        self.say(bench, &[&indication]);
    }

    /// Everything that has arrived.
    fn heard(&self) -> Vec<Vec<u8>> {
        heard(&self.socket).into_iter().map(|(_, it)| it).collect()
    }

    /// What has arrived by the channel, without its headers; all of it must have come so.
    fn heard_by_channel(&self) -> Vec<Vec<u8>> {
        let data = |message: Vec<u8>| {
            let data = message[4..].to_vec();
            assert_eq!(message, channel_data(&data));
            data
        };
        self.heard().into_iter().map(data).collect()
    }
}

pub(super) fn channel_data(data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap();
    [&CHANNEL.to_be_bytes(), &len.to_be_bytes(), data].concat()
}

/// Sends datagrams so that those of one size leave as one run.
fn train(socket: &BatchSocket, to: SocketAddr, datagrams: &[&[u8]]) {
    let mut start = 0;
    let outgoing = |datagram: &&[u8]| {
        start += datagram.len();
        Outgoing {
            to,
            from: None,
            start: start - datagram.len(),
            len: datagram.len(),
        }
    };
    let batch: Vec<Outgoing> = datagrams.iter().map(outgoing).collect();
    let sent = socket.send(&datagrams.concat(), &batch);
    assert_eq!(sent.datagrams, datagrams.len() as u64);
}

pub(super) fn heard(socket: &BatchSocket) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut buffers = ReceiveBuffers::default();
    let mut heard = Vec::new();
    loop {
        socket.receive(&mut buffers).unwrap();
        if buffers.is_empty() {
            return heard;
        }
        for message in 0..buffers.len() {
            let received = buffers.received(message);
            let start = ReceiveBuffers::offset(message);
            let bytes = &buffers.bytes()[start..start + received.len];
            let datagrams = bytes.chunks(received.stride.max(1));
            heard.extend(datagrams.map(|datagram| (received.from, datagram.to_vec())));
        }
    }
}

pub(super) fn foreign_peer() -> BatchSocket {
    BatchSocket::bind((FOREIGN, 0).into(), false, None).unwrap()
}

#[test]
fn data_goes_to_a_foreign_peer_and_comes_back() {
    let mut bench = Bench::relaying();
    let mut client = Client::allocate(&mut bench);
    assert_eq!(bench.relay_sockets(), 0, "nobody to talk to");
    let peer = foreign_peer();
    assert_eq!(client.bind(&mut bench, peer.local_addr()), Some(0));
    assert_eq!(bench.relay_sockets(), 1);
    client.say_by_channel(&mut bench, b"there");
    assert_eq!(heard(&peer), [(client.relayed, b"there".to_vec())]);
    train(&peer, client.relayed, &[b"and back"]);
    bench.relay();
    assert_eq!(client.heard_by_channel(), [b"and back".to_vec()]);

    // A permission is for an address, whatever the port.
    let other_port = foreign_peer();
    client.indicate(&mut bench, other_port.local_addr(), b"you, too", true);
    assert_eq!(heard(&other_port), [(client.relayed, b"you, too".to_vec())]);
    train(&other_port, client.relayed, &[b"by no channel"]);
    bench.relay();
    let indication = client.heard().pop().unwrap();
    let indication = Message::parse(&indication).unwrap();
    assert_eq!(indication.class(), Class::Indication);
    let from = indication.xor_address(AttributeType::XOR_PEER_ADDRESS);
    assert_eq!(from, Some(other_port.local_addr()));
    let data = indication.get(AttributeType::DATA).unwrap();
    assert_eq!(data.value, b"by no channel");

    let stranger = BatchSocket::bind((Ipv4Addr::new(127, 0, 0, 3), 0).into(), false, None).unwrap();
    train(&stranger, client.relayed, &[b"let me in"]);
    bench.relay();
    assert!(client.heard().is_empty());
}

#[test]
fn trains_stay_trains_in_both_directions() {
    let mut bench = Bench::relaying();
    let mut client = Client::allocate(&mut bench);
    let peer = foreign_peer();
    assert_eq!(client.bind(&mut bench, peer.local_addr()), Some(0));
    let sent: Vec<Vec<u8>> = (0..8).map(|number| vec![number; 1_000]).collect();
    let wrapped: Vec<Vec<u8>> = sent.iter().map(|data| channel_data(data)).collect();
    let wrapped: Vec<&[u8]> = wrapped.iter().map(Vec::as_slice).collect();
    let runs = |bench: &Bench| bench.count(|counters| &counters.gso_runs);
    let before = runs(&bench);
    client.say(&mut bench, &wrapped);
    let there: Vec<Vec<u8>> = heard(&peer).into_iter().map(|(_, data)| data).collect();
    assert_eq!(there, sent);
    assert_eq!(runs(&bench) - before, 1);
    let plain: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    train(&peer, client.relayed, &plain);
    bench.relay();
    assert_eq!(client.heard_by_channel(), sent);
    assert_eq!(runs(&bench) - before, 2);
}

#[test]
fn a_relay_port_that_somebody_else_has_ends_its_allocation_unanswered() {
    let mut bench = Bench::relaying();
    let mut client = Client::allocate(&mut bench);
    let occupied = UdpSocket::bind(client.relayed).unwrap();
    let peer = foreign_peer();
    assert_eq!(client.permit(&mut bench, peer.local_addr()), None);
    assert_eq!(
        (bench.turn_counters().ports_in_use, bench.relay_sockets()),
        (1, 0)
    );
    assert_eq!(client.permit(&mut bench, peer.local_addr()), Some(437));
    drop(occupied);
    let mut again = Client::allocate(&mut bench);
    assert_ne!(again.relayed, client.relayed);
    assert_eq!(again.permit(&mut bench, peer.local_addr()), Some(0));
}

#[test]
fn without_descriptors_foreign_peers_are_refused_and_everything_else_goes_on() {
    let mut bench = Bench::relaying();
    bench.worker.exits.relay.sockets = RelaySockets::new(1).unwrap();
    let mut first = Client::allocate(&mut bench);
    let mut second = Client::allocate(&mut bench);
    let peer = foreign_peer();
    assert_eq!(first.bind(&mut bench, peer.local_addr()), Some(0));
    assert_eq!(second.permit(&mut bench, peer.local_addr()), Some(508));
    let media = bench.media;
    assert_eq!(second.bind(&mut bench, media), Some(0));
    first.say_by_channel(&mut bench, b"goes on");
    assert_eq!(heard(&peer).len(), 1);
    first.end(&mut bench);
    assert_eq!(second.permit(&mut bench, peer.local_addr()), Some(0));
}

#[test]
fn an_allocation_that_expires_closes_its_socket() {
    let mut bench = Bench::relaying();
    let mut client = Client::allocate(&mut bench);
    let peer = foreign_peer();
    assert_eq!(client.bind(&mut bench, peer.local_addr()), Some(0));
    let until = bench.worker.idle_for(bench.now).unwrap();
    assert_eq!(until, turn::DEFAULT_LIFETIME);
    bench.pass(until);
    assert_eq!(bench.relay_sockets(), 0);
    assert!(UdpSocket::bind(client.relayed).is_ok());
    client.say_by_channel(&mut bench, b"nobody's");
    assert!(heard(&peer).is_empty());
}

#[test]
fn own_addresses_are_reached_at_the_ports_of_workers_and_nowhere_else() {
    let mut bench = Bench::relaying();
    let mut client = Client::allocate(&mut bench);
    let service = BatchSocket::bind((LOCAL, 0).into(), false, None).unwrap();
    assert_eq!(client.permit(&mut bench, service.local_addr()), Some(0));
    client.indicate(&mut bench, service.local_addr(), b"hello?", false);
    assert!(heard(&service).is_empty());
    assert_eq!(bench.turn_counters().dropped_own_port, 1);
    assert_eq!(client.bind(&mut bench, service.local_addr()), Some(403));
    let turn = bench.stun;
    assert_eq!(client.bind(&mut bench, turn), Some(403), "TURN inside TURN");
    assert_eq!(bench.relay_sockets(), 0);
}

#[test]
fn a_transport_is_reached_inside_the_process_until_the_allocation_ends() {
    let mut bench = Bench::relaying();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let mut client = Client::allocate(&mut bench);
    let media = bench.media;
    assert_eq!(client.bind(&mut bench, media), Some(0));
    client.say_by_channel(&mut bench, &check(10));
    let answer = client.heard_by_channel().pop().unwrap();
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.class(), Class::Success);
    assert_eq!(answer.xor_mapped_address(), Some(client.relayed));
    assert!(bench.is_linked(10, client.relayed));

    client.say_by_channel(&mut bench, &[22; 100]);
    let index = bench.peer(1, 10);
    let counters = bench.worker.peers.get_mut(index).unwrap();
    let unexpected = transport::DropReason::UnexpectedDtls;
    assert_eq!(counters.transport.counters().dropped(unexpected), 1);
    // From that address, but not through the allocation.
    let before = bench.dropped();
    let forger = UdpSocket::bind(client.relayed).unwrap();
    bench.send(&forger, &[22; 100]);
    assert_eq!(bench.dropped() - before, 1);

    assert_eq!(bench.relay_sockets(), 0);
    client.end(&mut bench);
    assert!(!bench.is_linked(10, client.relayed));
    assert!(bench.worker.peers_by_addr.is_empty());
}

#[test]
fn a_transport_of_another_worker_is_reached_until_the_allocation_ends() {
    let mut all = workers(2);
    let _events = all[1].open_room(1, 8);
    all[1].open(1, 10);
    let mut client = Client::allocate(&mut all[0]);
    let media = all[1].media;
    assert_eq!(client.bind(&mut all[0], media), Some(0));
    client.say_by_channel(&mut all[0], &check(10));
    assert!(all[1].worker.wake.clear(), "the other one is woken");
    all[1].relay();
    assert!(all[0].worker.wake.clear(), "and wakes us");
    all[0].relay();
    let answer = client.heard_by_channel().pop().unwrap();
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.class(), Class::Success);
    assert_eq!(answer.xor_mapped_address(), Some(client.relayed));
    assert!(all[1].is_linked(10, client.relayed));

    client.end(&mut all[0]);
    all[1].relay();
    assert!(!all[1].is_linked(10, client.relayed));
    assert!(all[1].worker.peers_by_addr.is_empty());
    assert_eq!(all[0].relay_sockets() + all[1].relay_sockets(), 0);
}

#[test]
fn two_allocations_reach_each_other_without_sockets_on_whichever_worker() {
    for count in [1, 2] {
        let mut all = workers(count);
        let last = count - 1;
        let mut one = Client::allocate(&mut all[0]);
        let mut other = Client::allocate(&mut all[last]);
        assert_eq!(one.bind(&mut all[0], other.relayed), Some(0));
        one.say_by_channel(&mut all[0], b"uninvited");
        all[last].relay();
        assert!(other.heard().is_empty());
        assert_eq!(other.bind(&mut all[last], one.relayed), Some(0));
        one.say_by_channel(&mut all[0], b"there");
        all[last].relay();
        assert_eq!(other.heard_by_channel(), [b"there".to_vec()]);
        other.say_by_channel(&mut all[last], b"and back");
        all[0].relay();
        assert_eq!(one.heard_by_channel(), [b"and back".to_vec()]);
        other.end(&mut all[last]);
        one.say_by_channel(&mut all[0], b"to nobody");
        assert_eq!(all[0].turn_counters().dropped_own_port, 1);
        assert!(all.iter().all(|bench| bench.relay_sockets() == 0));
    }
}

#[test]
fn a_panic_about_an_allocation_ends_that_allocation_alone() {
    let mut bench = Bench::relaying();
    let peer = foreign_peer();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::allocate(&mut bench)).collect();
    for client in &mut clients {
        assert_eq!(client.bind(&mut bench, peer.local_addr()), Some(0));
    }
    bench.worker.faulty_client = Some(clients[0].turn.five_tuple);
    clients[0].say_by_channel(&mut bench, b"strikes");
    assert_eq!(bench.relay_sockets(), 2);
    let server = &bench.worker.exits.relay.server;
    bench.worker.faulty_allocation = server.allocation_of(&clients[1].turn.five_tuple);
    train(&peer, clients[1].relayed, &[b"strikes"]);
    bench.relay();
    assert_eq!(bench.relay_sockets(), 1);
    assert_eq!(bench.count(|counters| &counters.panics), 2);
    for (client, lives) in clients.iter().zip([false, false, true]) {
        client.say_by_channel(&mut bench, b"still there?");
        assert_eq!(heard(&peer).len(), usize::from(lives));
    }
}

#[test]
fn what_is_lost_on_its_way_to_peers_and_workers_is_counted() {
    let mut all = workers(2);
    let mut client = Client::allocate(&mut all[0]);
    let media = all[1].media;
    assert_eq!(client.bind(&mut all[0], media), Some(0));
    let data = channel_data(&[200; 1_400]);
    let train: Vec<&[u8]> = vec![&data; 40];
    for _ in 0..40 {
        client.say(&mut all[0], &train);
    }
    let dropped = all[0].count(|counters| &counters.crossing_dropped);
    assert!((1..1_600).contains(&dropped), "{dropped}");
    for _ in 0..20 {
        all[1].relay();
    }
    let arrived = all[1].count(|counters| &counters.receive_dropped);
    assert_eq!(arrived + dropped, 1_600, "of no transport's path");
    assert_eq!(all[1].worker.idle_for(all[1].now), None);
}

#[test]
fn an_empty_datagram_is_relayed_like_any_other() {
    let mut bench = Bench::relaying();
    let mut client = Client::allocate(&mut bench);
    let peer = foreign_peer();
    assert_eq!(client.bind(&mut bench, peer.local_addr()), Some(0));
    let plain = UdpSocket::bind((FOREIGN, 0)).unwrap();
    plain.send_to(&[], client.relayed).unwrap();
    train(&peer, client.relayed, &[b"x"]);
    bench.relay();
    let heard = client.heard();
    assert_eq!(heard.len(), 2);
    let empty = Message::parse(&heard[0]).unwrap();
    assert_eq!(empty.get(AttributeType::DATA).unwrap().value, b"");
    assert_eq!(heard[1], channel_data(b"x"));
}
