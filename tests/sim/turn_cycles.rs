//! What a TURN server keeps of allocations that are gone: nothing, however many there were.

use std::collections::HashSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hanok::media::stun::{AttributeType, Message, Method, Writer};
use hanok::media::turn::{
    Action, Credentials, Limits, MAX_ANSWER_LEN, Output, Protocol, RelayAddress, Server, Settings,
};
use hanok::testing::t0;
use hanok::testing::turn::{REALM, TurnClient, WALL_CLOCK, secret};
use hanok::units::{PortRange, Random};

use crate::memory::{is_alone, resident};

/// Allocations that live at the same time.
const WAVE: u32 = 1_000;
/// Waves until pools and tables have reached their size.
const WARM_UP: u32 = 5;
/// What a process may grow by meanwhile. One byte kept of each of a million cycles would be seen.
const GROWTH: usize = 512 * 1024;

/// Clients of all protocols, each with a name and an address of its own, allocate in waves; their allocations end in
/// every way there is, and as many others, whose names are their own too, prove nothing. `HANOK_TURN_CYCLES` says how many; the usual run plays a fiftieth of the long one's million.
#[test]
fn allocations_that_ended_leave_nothing_behind() {
    if !is_alone("turn_cycles::allocations_that_ended_leave_nothing_behind") {
        return;
    }
    let cycles: u32 = std::env::var("HANOK_TURN_CYCLES").map_or(20_000, |it| it.parse().unwrap());
    let mut world = World::new();
    let mut before = 0;
    for wave in 0..cycles.div_ceil(WAVE) {
        world.wave(wave);
        if wave == WARM_UP {
            before = resident();
        }
    }
    let growth = resident().saturating_sub(before);
    println!("{cycles} cycles, {growth} bytes more");
    assert!(before > 0 && growth <= GROWTH, "{growth} bytes");
    let counters = world.server.counters();
    assert_eq!(
        counters.allocations,
        u64::from(cycles.div_ceil(WAVE) * WAVE)
    );
    assert!(counters.challenges >= 2 * counters.allocations);
}

/// The client of this number in a wave: of one of three protocols, with a name and a source of its own.
fn client(wave: u32, number: u32) -> TurnClient {
    let protocol = [Protocol::Udp, Protocol::Tcp, Protocol::Tls][(number % 3) as usize];
    let ip = 0x2a00 << 112 | u128::from(wave) << 80 | u128::from(number) << 64;
    let addr = SocketAddr::new(Ipv6Addr::from_bits(ip).into(), 5_000);
    TurnClient::new(protocol, addr, &format!("user-{wave}-{number}"))
}

struct World {
    server: Server,
    now: Instant,
    /// Relay sockets that a worker would have open.
    open: HashSet<SocketAddr>,
    out: [u8; MAX_ANSWER_LEN],
}

impl World {
    fn new() -> Self {
        let settings = Settings {
            credentials: Credentials::new(REALM).with_secrets(vec![secret()]),
            relays: ["198.51.100.1", "2a0f::1"]
                .map(|ip| {
                    let ip = ip.parse().unwrap();
                    RelayAddress {
                        bound: ip,
                        told: ip,
                    }
                })
                .to_vec(),
            ports: PortRange::new(50_000, 50_000 + WAVE as u16 - 1).unwrap(),
            limits: Limits::default(),
            ..Settings::stun_only()
        };
        Self {
            server: Server::new(t0(), settings, Random::seeded(1)),
            now: t0(),
            open: HashSet::new(),
            out: [0; MAX_ANSWER_LEN],
        }
    }

    fn wave(&mut self, wave: u32) {
        // Names do not expire meanwhile: this is about allocations.
        self.server.set_wall_clock(self.now, WALL_CLOCK);
        let mut clients: Vec<_> = (0..WAVE).map(|number| client(wave, number)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            self.allocate(client, number % 2 == 0);
        }
        for number in 0..WAVE {
            self.guess(wave, number);
        }
        assert_eq!(self.server.allocations(self.now).count(), WAVE as usize);
        assert_eq!(
            self.open.len(),
            WAVE as usize,
            "two each for every other one"
        );
        for (number, client) in clients.iter_mut().enumerate() {
            match number % 8 {
                0 | 1 => self.ask(client, Method::REFRESH, |writer| {
                    writer.attribute(AttributeType::LIFETIME, &[0; 4]);
                }),
                2 | 3 => self
                    .server
                    .handle_closed_stream(self.now, &client.five_tuple),
                4 => self.server.revoke(self.now, &client.username),
                // These expire: first their permissions and channels, then they themselves.
                _ => {}
            }
            self.drain();
        }
        let waiting = WAVE as usize * 3 / 8;
        assert_eq!(self.server.allocations(self.now).count(), waiting);
        for _ in 0..4 {
            self.now += Duration::from_secs(200);
            self.server.handle_timeout(self.now);
            self.drain();
        }
        assert_eq!(self.server.allocations(self.now).count(), 0);
        assert_eq!(self.server.poll_timeout(), None);
        assert!(self.open.is_empty());
        self.server.assert_sound(self.now);
        // What was revoked is forgotten once its name has expired.
        self.server
            .set_wall_clock(self.now, WALL_CLOCK + 2 * 86_400);
    }

    /// Asks with a name that nobody else has, and with a password that is not its own.
    fn guess(&mut self, wave: u32, number: u32) {
        let mut client = client(wave, number + WAVE);
        client.password.push('x');
        for _ in 0..2 {
            let request = client.request(Method::ALLOCATE, |writer| {
                writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            });
            let action =
                self.server
                    .handle_input(self.now, client.five_tuple, &request, &mut self.out);
            if let Action::Reply { len } = action {
                let answer = self.out[..len].to_vec();
                let error = Message::parse(&answer).unwrap().error_code();
                assert_eq!(error.map(|it| it.code), Some(401));
                client.take_challenge(&answer);
            }
        }
    }

    /// Allocates; with a socket for each family, or with none.
    fn allocate(&mut self, client: &mut TurnClient, has_sockets: bool) {
        self.ask(client, Method::ALLOCATE, |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            if has_sockets {
                writer.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
            }
        });
        if !has_sockets {
            return;
        }
        for (channel, peer) in [(0, "8.8.8.8:1"), (1, "[2a00:1450::1]:1")] {
            self.ask(client, Method::CHANNEL_BIND, |writer| {
                writer.attribute(AttributeType::CHANNEL_NUMBER, &[0x40, channel, 0, 0]);
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer.parse().unwrap());
            });
        }
    }

    fn ask(&mut self, client: &mut TurnClient, method: Method, build: impl Fn(&mut Writer<'_>)) {
        for _ in 0..2 {
            let request = client.request(method, &build);
            let from = client.five_tuple;
            let Action::Reply { len } =
                self.server
                    .handle_input(self.now, from, &request, &mut self.out)
            else {
                panic!("no answer to {method:?}");
            };
            self.drain();
            let answer = self.out[..len].to_vec();
            if !client.take_challenge(&answer) {
                let error = Message::parse(&answer)
                    .unwrap()
                    .error_code()
                    .map(|it| it.code);
                assert_eq!(error, None, "{method:?}");
                return;
            }
        }
        panic!("challenged twice");
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::OpenRelay { bound, .. } => assert!(self.open.insert(bound)),
                Output::CloseRelay { bound, .. } => assert!(self.open.remove(&bound)),
                Output::PathsEnded { .. } | Output::Ended { .. } => {}
            }
        }
    }
}
