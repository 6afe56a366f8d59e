//! Clients that reach the TURN server by TCP and by TLS.

use std::collections::BTreeMap;
use std::net::{IpAddr, Shutdown};

use rustls::SupportedProtocolVersion;
use rustls::version::TLS13;
use socket2::{Domain, Socket, Type};

use super::*;
use crate::media::net::framing::TurnFraming;
use crate::media::plane::service::TlsStream;
use crate::media::turn::{Credentials, FiveTuple, RelayAddress};
use crate::media::worker::streams::PROOF_DEADLINE;
use crate::testing::tls::{Browser, WAYS, connected};
use crate::testing::turn::{REALM, TurnClient, written};
use crate::units::{PortRange, Secret};

const USER: &str = "alice";
const PASSWORD: &str = "a password of Alice's";
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Turns of the worker in which whatever a test waits for has happened.
const PATIENCE: usize = 10_000;

fn bench() -> Bench {
    let users = BTreeMap::from([(USER.to_owned(), Secret::new(PASSWORD))]);
    let address = RelayAddress {
        bound: LOOPBACK,
        told: LOOPBACK,
    };
    Bench::with_turn(turn::Settings {
        credentials: Credentials::new(REALM).with_users(users),
        relays: vec![address],
        ports: PortRange::new(57_001, 57_100).unwrap(),
        ..turn::Settings::stun_only()
    })
}

/// A client and its connection.
struct Client {
    turn: TurnClient,
    browser: Browser,
}

impl Client {
    /// Connects; over TLS, the connection is handed to the worker with `first` decrypted.
    fn connect(
        bench: &mut Bench,
        way: Option<&'static SupportedProtocolVersion>,
        first: &[u8],
    ) -> Self {
        let browser = if let Some(version) = way {
            let listener = StreamListener::bind(SocketAddr::new(LOOPBACK, 0), false).unwrap();
            let browser = TcpStream::connect(listener.local_addr()).unwrap();
            let accepted = std::iter::repeat_with(|| listener.accept().unwrap());
            let (socket, peer) = accepted.flatten().next().unwrap();
            let (server, client) = connected(version, first);
            let session = Box::new(server);
            let adopt = RoomCommand::Adopt(TlsStream {
                socket,
                peer,
                session,
            });
            bench.commands.try_send(adopt).unwrap();
            bench.turn();
            Browser::over_tls(client, browser)
        } else {
            let mut browser = TcpStream::connect(bench.turn_tcp).unwrap();
            browser.write_all(first).unwrap();
            Browser::Plain(browser)
        };
        browser.socket().set_nonblocking(true).unwrap();
        let local = browser.socket().local_addr().unwrap();
        let mut turn = TurnClient::new(turn::Protocol::Tcp, local, USER);
        turn.username = USER.to_owned();
        turn.password = PASSWORD.to_owned();
        Self { turn, browser }
    }

    /// What the server knows it by.
    fn five_tuple(&self) -> FiveTuple {
        let protocol = match self.browser {
            Browser::Plain(_) => turn::Protocol::Tcp,
            Browser::Tls(_) => turn::Protocol::Tls,
        };
        let socket = self.browser.socket();
        let (client, server) = (socket.local_addr(), socket.peer_addr());
        FiveTuple::new(protocol, client.unwrap(), server.unwrap())
    }

    /// The next message; `None` if the connection ends before.
    fn next(&mut self, bench: &mut Bench) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        for _ in 0..PATIENCE {
            match self.browser.read(&mut byte) {
                Ok(0) => return None,
                Ok(_) => bytes.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    bench.turn_with_turn_streams();
                }
                Err(_) => return None,
            }
            match TurnFraming::first(&bytes) {
                Extent::Complete { datagram, .. } => return Some(bytes[datagram].to_vec()),
                Extent::Incomplete => {}
                Extent::Unusable => panic!("the server writes nonsense: {bytes:?}"),
            }
        }
        panic!("no answer");
    }

    fn send(&mut self, bench: &mut Bench, message: &[u8]) {
        self.browser.write_all(message).unwrap();
        bench.turn_with_turn_streams();
    }

    /// Asks until there is no challenge.
    fn ask(&mut self, bench: &mut Bench, method: Method, lifetime: u32) -> Vec<u8> {
        for _ in 0..2 {
            let request = allocate(&mut self.turn, method, lifetime);
            self.send(bench, &request);
            let answer = self.next(bench).expect("an answer");
            if !self.turn.take_challenge(&answer) {
                let answered = Message::parse(&answer).unwrap();
                assert!(answered.is_authentic(&self.turn.key().sha1_integrity()));
                return answer;
            }
        }
        panic!("challenged twice");
    }

    fn allocate(&mut self, bench: &mut Bench) {
        let answer = self.ask(bench, Method::ALLOCATE, 600);
        assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);
    }

    fn is_closed(&mut self) -> bool {
        match self.browser.read(&mut [0; 100]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

fn allocate(client: &mut TurnClient, method: Method, lifetime: u32) -> Vec<u8> {
    client.request(method, |writer| {
        if method == Method::ALLOCATE {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        }
        writer.attribute(AttributeType::LIFETIME, &lifetime.to_be_bytes());
    })
}

fn binding() -> Vec<u8> {
    written(
        Class::Request,
        Method::BINDING,
        TransactionId([9; 12]),
        |_| {},
    )
}

impl Bench {
    fn turn_with_turn_streams(&mut self) {
        self.worker.exits.turn_streams.may_have_input = true;
        self.turn();
    }

    fn allocations(&self) -> usize {
        self.worker.exits.relay.server.allocations(self.now).count()
    }

    fn turn_streams(&self) -> usize {
        self.worker.exits.turn_streams.len()
    }

    /// Turns until so many connections are left.
    fn until_left(&mut self, left: usize) {
        for _ in 0..PATIENCE {
            if self.turn_streams() == left {
                return;
            }
            self.turn_with_turn_streams();
        }
        panic!("{} connections instead of {left}", self.turn_streams());
    }
}

#[test]
fn an_allocation_lives_on_its_connection_however_the_bytes_are_cut() {
    for way in WAYS {
        let mut bench = bench();
        let mut client = Client::connect(&mut bench, way, &binding());
        let bound = client.next(&mut bench).unwrap();
        let bound = Message::parse(&bound).unwrap();
        let mapped = bound.get(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
        let mapped = bound.decode_xor_address(&mapped);
        assert_eq!(mapped, Some(client.five_tuple().client));
        for _ in 0..2 {
            let request = allocate(&mut client.turn, Method::ALLOCATE, 600);
            for byte in request {
                client.send(&mut bench, &[byte]);
            }
            let answer = client.next(&mut bench).unwrap();
            client.turn.take_challenge(&answer);
        }
        assert_eq!(bench.allocations(), 1);
        // It is nobody's any more whom the deadline concerns, until the allocation ends.
        bench.pass(PROOF_DEADLINE * 10);
        assert_eq!(bench.turn_streams(), 1);
        client.ask(&mut bench, Method::REFRESH, 0);
        assert_eq!(bench.allocations(), 0);
        bench.pass(PROOF_DEADLINE / 2);
        client.allocate(&mut bench);
        // The time that the first one left is over, and means nothing.
        bench.pass(PROOF_DEADLINE / 2);
        assert_eq!((bench.turn_streams(), bench.allocations()), (1, 1));
        client.ask(&mut bench, Method::REFRESH, 0);
        bench.pass(PROOF_DEADLINE - Duration::from_millis(1));
        assert!(!client.is_closed());
        bench.pass(Duration::from_millis(1));
        assert!(client.is_closed());
        assert_eq!(bench.turn_streams(), 0);
    }
}

#[test]
fn an_allocation_ends_with_its_connection() {
    for way in WAYS {
        let mut bench = bench();
        let mut client = Client::connect(&mut bench, way, &[]);
        client.allocate(&mut bench);
        assert_eq!(bench.allocations(), 1);
        drop(client);
        bench.until_left(0);
        assert_eq!(bench.allocations(), 0);
    }
}

#[test]
fn a_client_that_sends_no_more_still_gets_its_answers() {
    for way in WAYS {
        let mut bench = bench();
        let mut client = Client::connect(&mut bench, way, &[]);
        client.browser.write_all(&binding().repeat(3)).unwrap();
        client.browser.socket().shutdown(Shutdown::Write).unwrap();
        for _ in 0..3 {
            assert!(client.next(&mut bench).is_some());
        }
        assert!(client.next(&mut bench).is_none());
        bench.until_left(0);
    }
}

#[test]
fn whoever_speaks_no_turn_is_closed_at_once() {
    let mut lie = binding();
    lie[2..4].copy_from_slice(&[0xff, 0xfc]);
    let mut no_cookie = binding();
    no_cookie[4] ^= 1;
    for way in [None, Some(&TLS13)] {
        for nonsense in [
            b"GET / HTTP/1.1\r\nHost: call.example\r\n\r\n",
            &[22, 3, 1, 2, 0, 1, 0, 1][..],
            &[0x40, 0, 0xff, 0xff, 1, 2, 3, 4],
            &[0xff],
            &[0x50; 3_000],
            &lie,
            &no_cookie,
        ] {
            let mut bench = bench();
            let mut client = Client::connect(&mut bench, way, nonsense);
            assert!(client.next(&mut bench).is_none(), "{nonsense:?}");
            bench.until_left(0);
        }
    }
}

#[test]
fn a_request_behind_which_nonsense_stands_is_answered_before_the_end() {
    let mut bench = bench();
    let bytes = [&binding()[..], b"nonsense"].concat();
    let mut client = Client::connect(&mut bench, None, &bytes);
    assert!(client.next(&mut bench).is_some());
    assert!(client.next(&mut bench).is_none());
}

#[test]
fn idle_connections_and_endless_talkers_are_closed() {
    let mut bench = bench();
    // Beyond so many of one address, they are refused at once.
    let mut idle = Vec::new();
    for _ in 0..600 {
        idle.push(Client::connect(&mut bench, None, &[]));
        bench.turn_with_turn_streams();
    }
    let held = bench.turn_streams();
    assert!((500..600).contains(&held), "{held}");
    bench.pass(PROOF_DEADLINE - Duration::from_millis(1));
    assert_eq!(bench.turn_streams(), held);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.turn_streams(), 0);
    assert!(idle.iter_mut().all(Client::is_closed));

    let mut client = Client::connect(&mut bench, None, &binding().repeat(100));
    let mut answers = 0;
    while client.next(&mut bench).is_some() {
        answers += 1;
    }
    assert!((1..100).contains(&answers), "{answers}");
    bench.until_left(0);
}

#[test]
fn a_client_that_does_not_read_loses_whole_messages_and_stalls_nobody() {
    for way in WAYS {
        let mut bench = bench();
        let [mut slow, mut other] = [(); 2].map(|()| {
            let mut client = Client::connect(&mut bench, way, &[]);
            client.allocate(&mut bench);
            client
        });
        let to = slow.five_tuple();
        let mut sent = 0_u32;
        for _ in 0..100 {
            for _ in 0..50 {
                let mut payload = [0; 1_201];
                payload[..4].copy_from_slice(&sent.to_be_bytes());
                let header = [0x40, 0, 0x04, 0xb1];
                let exits = &mut bench.worker.exits;
                exits.send_to_client(&to, &header, &payload, 3);
                sent += 1;
            }
            bench.turn_with_turn_streams();
        }
        let dropped = bench.worker.counters.stream_dropped.load(Ordering::Relaxed);
        assert!(dropped > 0);
        // An answer is not lost though there is no room, and others go on.
        let request = allocate(&mut slow.turn, Method::REFRESH, 600);
        slow.send(&mut bench, &request);
        other.ask(&mut bench, Method::REFRESH, 600);
        let (mut last, mut arrived) = (None, 0);
        loop {
            let message = slow.next(&mut bench).unwrap();
            if message[0] != 0x40 {
                let answer = Message::parse(&message).unwrap();
                assert_eq!(answer.class(), Class::Success);
                break;
            }
            let number = u32::from_be_bytes(*message[4..].first_chunk().unwrap());
            assert!(Some(number) > last, "in order");
            assert_eq!(message.len(), 4 + 1_201);
            last = Some(number);
            arrived += 1;
        }
        assert_eq!(arrived + dropped, u64::from(sent));
    }
}

#[test]
fn who_connects_again_from_the_same_port_gets_a_connection_of_its_own() {
    let mut bench = bench();
    let turn_tcp = bench.turn_tcp;
    let connect = |from: SocketAddr| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect(&turn_tcp.into()).unwrap();
        TcpStream::from(socket)
    };
    let first = connect(SocketAddr::new(LOOPBACK, 0));
    let from = first.local_addr().unwrap();
    let mut client = Client::connect(&mut bench, None, &[]);
    client.browser = Browser::Plain(first);
    client.browser.socket().set_nonblocking(true).unwrap();
    client.allocate(&mut bench);
    // It goes without a farewell, and the worker sees the new connection first.
    client.browser = Browser::Plain(TcpStream::connect(bench.tcp).unwrap());
    client.browser = Browser::Plain(connect(from));
    client.browser.socket().set_nonblocking(true).unwrap();
    let now = bench.now;
    bench.worker.exits.turn_streams.accept(now, 0);
    bench.worker.end_lost_allocations(now);
    client.allocate(&mut bench);
    assert_eq!(bench.allocations(), 1);
    for _ in 0..10 {
        bench.turn_with_turn_streams();
    }
    assert_eq!(bench.allocations(), 1, "the old one's end does not end it");
    client.ask(&mut bench, Method::REFRESH, 600);
}
