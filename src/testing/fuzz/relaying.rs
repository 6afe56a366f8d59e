//! The TURN server under lists of operations, and what must hold after each of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::media::stun::{AttributeType, Class, Message, Method};
use crate::media::turn::{
    Action, AllocationId, Credentials, Forward, Limits, LivePorts, MAX_ANSWER_LEN, Output,
    PeerPolicy, RelayAddress, Server, Settings, Via,
};
use crate::testing::t0;
use crate::testing::turn::{REALM, TurnClient, WALL_CLOCK, secret};
use crate::units::{PortRange, Random};

const WORKER_PORT: u16 = 40_000;
const FIRST_RELAY_PORT: u16 = 57_001;
const LAST_RELAY_PORT: u16 = 57_016;

/// Peers of all kinds: foreign, own at several ports, private, wrapped, multicast.
const PEERS: [&str; 16] = [
    "8.8.8.8:1000",
    "8.8.8.8:1001",
    "9.9.9.9:53",
    "[2a00:1450::1]:1000",
    "198.51.100.1:40000",
    "198.51.100.1:3478",
    "198.51.100.1:57001",
    "10.0.0.5:57002",
    "[2a0f::1]:40000",
    "[2a0f::1]:57003",
    "127.0.0.1:40000",
    "10.0.0.6:40000",
    "[::ffff:8.8.8.8]:1000",
    "[64:ff9b::a00:1]:1000",
    "224.0.0.1:1000",
    "8.8.8.8:0",
];

/// A list of operations, each a byte that chooses it and bytes that parametrise it: requests of five clients, with the
/// right credential or as raw bytes, data both ways, time, revocation, occupied ports and closed streams.
pub fn turn_server(bytes: &[u8]) {
    let mut scene = Scene::new();
    let mut input = Input(bytes);
    while !input.0.is_empty() {
        scene.step(&mut input);
        scene.drain();
        scene.server.assert_sound(scene.now);
        let live = scene.server.allocations(scene.now).count();
        assert!(live <= usize::from(LAST_RELAY_PORT - FIRST_RELAY_PORT + 1) * 2);
    }
    scene.now += Duration::from_secs(7_200);
    scene.server.handle_timeout(scene.now);
    scene.drain();
    scene.server.assert_sound(scene.now);
    assert_eq!(scene.server.allocations(scene.now).count(), 0);
    assert_eq!(scene.server.poll_timeout(), None);
    assert!(scene.open.is_empty());
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn peer(&mut self) -> SocketAddr {
        PEERS[self.below(PEERS.len())].parse().expect("an address")
    }
}

struct Scene {
    now: Instant,
    server: Server,
    clients: Vec<TurnClient>,
    open: BTreeSet<(AllocationId, SocketAddr)>,
    last_opened: Option<SocketAddr>,
    out: [u8; MAX_ANSWER_LEN],
}

impl Scene {
    fn new() -> Self {
        let settings = Settings {
            credentials: Credentials::new(REALM).with_secrets(vec![secret()]),
            relays: vec![
                RelayAddress {
                    bound: IpAddr::from([10, 0, 0, 5]),
                    told: IpAddr::from([198, 51, 100, 1]),
                },
                RelayAddress {
                    bound: "2a0f::1".parse().expect("an address"),
                    told: "2a0f::1".parse().expect("an address"),
                },
            ],
            ports: PortRange::new(FIRST_RELAY_PORT, LAST_RELAY_PORT).expect("a range"),
            live_ports: Arc::new(LivePorts::new()),
            quotas: Arc::default(),
            own_addresses: Vec::new(),
            worker_ports: vec![WORKER_PORT],
            policy: PeerPolicy::default(),
            limits: Limits {
                allocations_per_user: 6,
                permissions: 4,
                channels: 3,
                allocation_bytes_per_sec: Some(100_000),
                ..Limits::default()
            },
        };
        let mut server = Server::new(t0(), settings, Random::seeded(1));
        server.set_wall_clock(t0(), WALL_CLOCK);
        Self {
            now: t0(),
            server,
            clients: (0..5).map(TurnClient::nth).collect(),
            open: BTreeSet::new(),
            last_opened: None,
            out: [0; MAX_ANSWER_LEN],
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.below(10) {
            0 => {
                let client = input.below(self.clients.len());
                self.send(client, input.bytes());
            }
            1..=4 => self.request(input),
            5 => {
                let client = input.below(self.clients.len());
                let number = 0x4000 + input.below(5) as u16;
                let mut data = [0; 24];
                data[..2].copy_from_slice(&number.to_be_bytes());
                data[3] = input.byte() % 32;
                let len = 4 + input.below(20);
                self.send(client, &data[..len]);
            }
            6 => {
                let client = input.below(self.clients.len());
                let peer = input.peer();
                let data = input.bytes();
                let datagram = self.clients[client].indication(|writer| {
                    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
                    writer.attribute(AttributeType::DATA, data);
                });
                self.send(client, &datagram);
            }
            7 => {
                let ids: Vec<_> = self
                    .server
                    .allocations(self.now)
                    .map(|(id, _)| id)
                    .collect();
                let (peer, len) = (input.peer(), input.below(200));
                if let Some(id) = ids.get(input.below(ids.len().max(1))) {
                    self.receive(*id, peer, len);
                }
            }
            8 => {
                self.now += Duration::from_secs(u64::from(input.byte()) * 4);
                self.server.handle_timeout(self.now);
                assert!(self.server.poll_timeout().is_none_or(|at| self.now < at));
            }
            _ => match input.below(4) {
                0 => {
                    let client = &self.clients[input.below(5)];
                    self.server.revoke(self.now, &client.username);
                }
                1 => {
                    if let Some(bound) = self.last_opened {
                        self.server.relay_port_in_use(self.now, bound);
                        // It never was open, so nobody will say that it be closed.
                        self.open.retain(|(_, open)| *open != bound);
                    }
                }
                2 => {
                    let five_tuple = self.clients[input.below(5)].five_tuple;
                    self.server.handle_closed_stream(self.now, &five_tuple);
                }
                _ => self.server.set_draining(input.byte() > 200),
            },
        }
    }

    /// A request with the right credential: first the challenge, if need be.
    fn request(&mut self, input: &mut Input<'_>) {
        let client = input.below(self.clients.len());
        let method = [
            Method::ALLOCATE,
            Method::REFRESH,
            Method::CREATE_PERMISSION,
            Method::CHANNEL_BIND,
        ][input.below(4)];
        let (flags, lifetime) = (input.byte(), u32::from(input.byte()) * 20);
        let (peer, number) = (input.peer(), 0x3fff + input.below(6) as u16);
        for _ in 0..2 {
            let datagram = self.clients[client].request(method, |writer| {
                match method {
                    Method::ALLOCATE => {
                        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
                        match flags % 8 {
                            1 => writer.attribute(AttributeType::EVEN_PORT, &[0x80]),
                            2 => writer.attribute(AttributeType::EVEN_PORT, &[0]),
                            3 => writer
                                .attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]),
                            4 => writer
                                .attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
                            5 => writer.attribute(AttributeType::RESERVATION_TOKEN, &[1; 8]),
                            6 => writer.attribute(AttributeType(0x7777), &[]),
                            _ => {}
                        }
                    }
                    Method::REFRESH if flags % 4 == 0 => {
                        writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
                    }
                    Method::CHANNEL_BIND => {
                        let [high, low] = number.to_be_bytes();
                        writer.attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0]);
                    }
                    _ => {}
                }
                if matches!(method, Method::CREATE_PERMISSION | Method::CHANNEL_BIND) {
                    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
                } else if flags & 0x80 != 0 {
                    writer.attribute(AttributeType::LIFETIME, &lifetime.to_be_bytes());
                }
            });
            let Some(len) = self.send(client, &datagram) else {
                return;
            };
            let answer = self.out[..len].to_vec();
            if !self.clients[client].take_challenge(&answer) {
                return;
            }
        }
    }

    fn send(&mut self, client: usize, datagram: &[u8]) -> Option<usize> {
        let from = self.clients[client].five_tuple;
        let action = self
            .server
            .handle_input(self.now, from, datagram, &mut self.out);
        self.drain();
        match action {
            Action::Nothing => None,
            Action::Reply { len } => {
                let request = Message::parse(datagram).expect("only STUN is answered");
                let answer = Message::parse(&self.out[..len]).expect("an answer is STUN");
                assert_eq!(request.class(), Class::Request);
                assert!(matches!(answer.class(), Class::Success | Class::Error));
                assert_eq!(answer.transaction_id(), request.transaction_id());
                assert_eq!(answer.method(), request.method());
                Some(len)
            }
            Action::Forward(forward) => {
                self.judge(&forward, datagram);
                None
            }
        }
    }

    /// Data goes where it may, in the way it may, from an address that is the allocation's.
    fn judge(&self, forward: &Forward, datagram: &[u8]) {
        assert!(datagram.get(forward.data.clone()).is_some());
        let at = self.server.allocation_at(self.now, forward.from);
        assert_eq!(at, Some(forward.allocation));
        assert_ne!(forward.to.port(), 0);
        let ip = forward.to.ip().to_string();
        match forward.via {
            Via::RelaySocket => {
                assert!(
                    ["8.8.8.8", "9.9.9.9", "2a00:1450::1"].contains(&&*ip),
                    "{ip}"
                );
                let family = forward.to.is_ipv4();
                let open = |(id, bound): &&(AllocationId, SocketAddr)| {
                    *id == forward.allocation && bound.is_ipv4() == family
                };
                assert!(self.open.iter().any(|relay| open(&relay)));
            }
            Via::Worker => {
                assert!(
                    ["198.51.100.1", "10.0.0.5", "2a0f::1"].contains(&&*ip),
                    "{ip}"
                );
                assert_eq!(forward.to.port(), WORKER_PORT);
            }
            Via::Allocation => {
                assert!(self.server.allocation_at(self.now, forward.to).is_some());
            }
        }
    }

    fn receive(&mut self, id: AllocationId, peer: SocketAddr, len: usize) {
        let way = self.server.way_to_client(self.now, id, peer);
        let Some(to_client) = self.server.handle_peer(self.now, id, peer, len) else {
            return;
        };
        assert_eq!(way, Some((to_client.to, to_client.header().len())));
        let mut whole = to_client.header().to_vec();
        whole.resize(whole.len() + len, 0x55);
        whole.resize(whole.len() + to_client.padding, 0);
        if whole.first().is_some_and(|first| *first < 4) {
            let message = Message::parse(&whole).expect("a Data indication is STUN");
            assert_eq!(
                (message.class(), message.method()),
                (Class::Indication, Method::DATA)
            );
            let seen = message.xor_address(AttributeType::XOR_PEER_ADDRESS);
            // A socket for both families shows IPv4 peers as mapped addresses, which mean nothing to clients.
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            assert_eq!(seen, Some(peer));
            let data = message.get(AttributeType::DATA).expect("it has data");
            assert_eq!(data.value.len(), len);
        } else {
            assert_eq!(usize::from(whole[2]) << 8 | usize::from(whole[3]), len);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::OpenRelay { allocation, bound } => {
                    assert!(self.open.insert((allocation, bound)));
                    self.last_opened = Some(bound);
                }
                Output::CloseRelay { allocation, bound } => {
                    assert!(self.open.remove(&(allocation, bound)));
                }
                Output::PathsEnded { relayed } => {
                    assert_eq!(self.server.allocation_at(self.now, relayed), None);
                }
                Output::Ended { allocation, .. } => {
                    assert!(self.open.iter().all(|(id, _)| *id != allocation));
                }
            }
        }
    }
}
