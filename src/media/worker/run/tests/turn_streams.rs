//! Clients that reach the TURN server by TCP and by TLS.

use std::net::{IpAddr, Shutdown};

use rustls::SupportedProtocolVersion;
use rustls::version::TLS13;
use socket2::{Domain, Socket, Type};

use super::relaying::{channel_data, foreign_peer, heard};
use super::*;
use crate::media::net::framing::TurnFraming;
use crate::media::net::udp::Outgoing;
use crate::media::plane::service::TlsStream;
use crate::media::turn::FiveTuple;
use crate::media::worker::streams::PROOF_DEADLINE;
use crate::testing::tls::{Browser, WAYS, connected};
use crate::testing::turn::{TurnClient, secret, written};
use crate::units::turn_credential;

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Turns of the worker in which whatever a test waits for has happened.
const PATIENCE: usize = 10_000;

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
            let adopt = WorkerCommand::Adopt(TlsStream {
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
        let mut turn = TurnClient::new(turn::Protocol::Tcp, local, "alice");
        turn.username = format!("{}:alice", u32::MAX);
        turn.password = turn_credential::password(&secret(), &turn.username);
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
    fn ask(&mut self, bench: &mut Bench, method: Method, build: impl Fn(&mut Writer<'_>)) {
        for _ in 0..2 {
            let request = self.turn.request(method, &build);
            self.send(bench, &request);
            let answer = self.next(bench).expect("an answer");
            if !self.turn.take_challenge(&answer) {
                let answered = Message::parse(&answer).unwrap();
                assert!(answered.is_authentic(&self.turn.key().sha1_integrity()));
                assert_eq!(answered.class(), Class::Success);
                return;
            }
        }
        panic!("challenged twice");
    }

    fn allocate(&mut self, bench: &mut Bench) {
        self.ask(bench, Method::ALLOCATE, for_udp);
    }

    fn refresh(&mut self, bench: &mut Bench, secs: u32) {
        self.ask(bench, Method::REFRESH, lifetime(secs));
    }

    fn bind(&mut self, bench: &mut Bench, peer: SocketAddr) {
        self.ask(bench, Method::CHANNEL_BIND, |writer| {
            writer.attribute(AttributeType::CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
    }

    fn is_closed(&mut self) -> bool {
        match self.browser.read(&mut [0; 100]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

fn for_udp(writer: &mut Writer<'_>) {
    writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

fn lifetime(secs: u32) -> impl Fn(&mut Writer<'_>) {
    move |writer| writer.attribute(AttributeType::LIFETIME, &secs.to_be_bytes())
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
        self.relay();
    }

    fn allocations(&self) -> usize {
        self.worker.exits.relay.server.allocations(self.now).count()
    }

    fn turn_streams(&self) -> usize {
        self.worker.exits.turn_streams.len()
    }

    /// Turns until the peer has heard so much.
    fn until_heard(&mut self, peer: &BatchSocket, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        for _ in 0..PATIENCE {
            all.extend(heard(peer));
            if all.len() >= count {
                assert_eq!(all.len(), count);
                return all;
            }
            self.turn_with_turn_streams();
        }
        panic!("{} datagrams instead of {count}", all.len());
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
        let mut bench = Bench::relaying();
        let mut client = Client::connect(&mut bench, way, &binding());
        let bound = client.next(&mut bench).unwrap();
        let bound = Message::parse(&bound).unwrap();
        let mapped = bound.get(AttributeType::XOR_MAPPED_ADDRESS).unwrap();
        let mapped = bound.decode_xor_address(&mapped);
        assert_eq!(mapped, Some(client.five_tuple().client));
        for _ in 0..2 {
            let request = client.turn.request(Method::ALLOCATE, for_udp);
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
        client.refresh(&mut bench, 0);
        assert_eq!(bench.allocations(), 0);
        bench.pass(PROOF_DEADLINE / 2);
        client.allocate(&mut bench);
        // The time that the first one left is over, and means nothing.
        bench.pass(PROOF_DEADLINE / 2);
        assert_eq!((bench.turn_streams(), bench.allocations()), (1, 1));
        client.refresh(&mut bench, 0);
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
        let mut bench = Bench::relaying();
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
        let mut bench = Bench::relaying();
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
            let mut bench = Bench::relaying();
            let mut client = Client::connect(&mut bench, way, nonsense);
            assert!(client.next(&mut bench).is_none(), "{nonsense:?}");
            bench.until_left(0);
        }
    }
}

#[test]
fn a_request_behind_which_nonsense_stands_is_answered_before_the_end() {
    let mut bench = Bench::relaying();
    let bytes = [&binding()[..], b"nonsense"].concat();
    let mut client = Client::connect(&mut bench, None, &bytes);
    assert!(client.next(&mut bench).is_some());
    assert!(client.next(&mut bench).is_none());
}

#[test]
fn idle_connections_and_endless_talkers_are_closed() {
    let mut bench = Bench::relaying();
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
        let mut bench = Bench::relaying();
        let [mut slow, mut other] = [(); 2].map(|()| {
            let mut client = Client::connect(&mut bench, way, &[]);
            client.allocate(&mut bench);
            client
        });
        let to = slow.five_tuple();
        let mut sent = 0_u32;
        for _ in 0..100 {
            for _ in 0..50 {
                let exits = &mut bench.worker.exits;
                let space = exits.client_space(&to, 1_208).unwrap();
                space[..4].copy_from_slice(&[0x40, 0, 0x04, 0xb1]);
                space[4..8].copy_from_slice(&sent.to_be_bytes());
                exits.client_commit(&to, 1_208);
                sent += 1;
            }
            bench.turn_with_turn_streams();
        }
        let dropped = bench.worker.counters.stream_dropped.load(Ordering::Relaxed);
        assert!(dropped > 0);
        // An answer is not lost though there is no room, and others go on.
        let request = slow.turn.request(Method::REFRESH, lifetime(600));
        slow.send(&mut bench, &request);
        other.refresh(&mut bench, 600);
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
    let mut bench = Bench::relaying();
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
    client.refresh(&mut bench, 600);
}

#[test]
fn data_crosses_between_a_stream_and_a_foreign_peer_however_it_is_cut() {
    for way in WAYS {
        let mut bench = Bench::relaying();
        let mut client = Client::connect(&mut bench, way, &[]);
        client.allocate(&mut bench);
        let peer = foreign_peer();
        client.bind(&mut bench, peer.local_addr());
        for len in [1, 2, 5, 8, 1_201] {
            let data = vec![len as u8; len];
            let mut bytes = channel_data(&data);
            bytes.resize(bytes.len().next_multiple_of(4), 0xee);
            if len < 10 {
                for byte in bytes {
                    client.send(&mut bench, &[byte]);
                }
            } else {
                client.send(&mut bench, &bytes);
            }
            let (from, arrived) = bench.until_heard(&peer, 1).remove(0);
            assert_eq!(arrived, data);
            let answer = [Outgoing {
                to: from,
                from: None,
                start: 0,
                len,
            }];
            assert_eq!(peer.send(&data, &answer).datagrams, 1);
            assert_eq!(client.next(&mut bench).unwrap(), channel_data(&data));
        }
        // Many at once: nothing is lost as long as somebody reads, and all of it is whole.
        for number in 0..100_u8 {
            client.send(&mut bench, &channel_data(&[number; 1_000]));
        }
        let arrived = bench.until_heard(&peer, 100);
        for (number, (_, data)) in arrived.iter().enumerate() {
            assert_eq!(*data, [number as u8; 1_000]);
        }
    }
}

#[test]
fn a_check_through_an_allocation_of_a_stream_reaches_our_own_transport() {
    for way in WAYS {
        let mut bench = Bench::relaying();
        let _events = bench.open_room(1, 8);
        bench.open(1, 10);
        let mut client = Client::connect(&mut bench, way, &[]);
        client.allocate(&mut bench);
        let media = bench.media;
        client.bind(&mut bench, media);
        let mut bytes = channel_data(&check(10));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        client.send(&mut bench, &bytes);
        let answer = client.next(&mut bench).unwrap();
        let answer = Message::parse(&answer[4..]).unwrap();
        assert_eq!(answer.class(), Class::Success);
        // The path ends with the connection.
        let index = bench.peer(1, 10);
        let has_path = |bench: &mut Bench| {
            let peer = bench.worker.peers.get_mut(index).unwrap();
            !peer.addrs.is_empty()
        };
        assert!(has_path(&mut bench));
        drop(client);
        bench.until_left(0);
        assert!(!has_path(&mut bench));
    }
}
