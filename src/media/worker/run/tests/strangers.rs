//! Handshakes of somebody who has proved nothing, before and while another one connects (`robustness` S14).

use std::collections::VecDeque;

use super::*;
use crate::media::transport::dtls::{self, Association, Role, associate};

const ROOM: u64 = 1;
const VICTIM: u64 = 10;

/// A turn of the worker.
const STEP: Duration = Duration::from_millis(1);

/// From the victim to the worker, and back.
const WAY: Duration = Duration::from_millis(10);

/// How long the strangers are at it before the victim begins.
const HEAD_START: u32 = 1_000;

/// A browser that checks once and then shakes hands.
struct Victim {
    socket: UdpSocket,
    identity: Arc<Identity>,
    association: Option<Box<dyn Association>>,
    to_worker: VecDeque<(Instant, Vec<u8>)>,
    from_worker: VecDeque<(Instant, Vec<u8>)>,
    /// The first thing that it said in the handshake.
    hello: Option<Vec<u8>>,
}

fn due(queue: &mut VecDeque<(Instant, Vec<u8>)>, now: Instant) -> Option<Vec<u8>> {
    queue.front().filter(|(at, _)| *at <= now)?;
    queue.pop_front().map(|(_, datagram)| datagram)
}

impl Victim {
    fn new(identity: Arc<Identity>) -> Self {
        let socket = socket();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            identity,
            association: None,
            to_worker: VecDeque::new(),
            from_worker: VecDeque::new(),
            hello: None,
        }
    }

    /// What is on its way to the worker arrives.
    fn send(&mut self, now: Instant, worker: SocketAddr) {
        while let Some(datagram) = due(&mut self.to_worker, now) {
            self.socket.send_to(&datagram, worker).unwrap();
        }
    }

    /// What the worker has sent is on its way, and what arrives is answered.
    fn receive(&mut self, now: Instant) {
        let mut buffer = [0; 2_048];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.from_worker
                .push_back((now + WAY, buffer[..len].to_vec()));
        }
        while let Some(datagram) = due(&mut self.from_worker, now) {
            match &mut self.association {
                Some(association) => association.handle_datagram(now, &datagram).unwrap(),
                None => {
                    let answer = Message::parse(&datagram).unwrap();
                    assert_eq!(answer.class(), Class::Success);
                    let mut association = associate(now, &self.identity, Role::Client);
                    association.handle_timeout(now).unwrap();
                    self.association = Some(association);
                }
            }
        }
        let Some(association) = &mut self.association else {
            return;
        };
        while let Some(event) = association.poll_event() {
            if let dtls::Event::Transmit(datagram) = event {
                self.hello.get_or_insert_with(|| datagram.clone());
                self.to_worker.push_back((now + WAY, datagram));
            }
        }
    }
}

/// How a victim's connecting went.
#[derive(Debug, PartialEq, Eq)]
struct Connecting {
    /// From its check to the news that it is connected.
    took: Duration,
    /// DTLS datagrams that reached its transport.
    datagrams: u64,
}

/// Lets a victim connect while strangers send so many of `attacks` in each turn; they get no answer, and their datagrams
/// are dropped at the door.
fn connect(attacks: &[Vec<u8>], in_each_turn: usize) -> (Connecting, Vec<u8>) {
    let mut bench = Bench::new();
    let mut events = bench.open_room(ROOM, 8);
    let identity = Arc::new(Identity::generate().unwrap());
    let mut spec = subscriber(VICTIM, u64::MAX, audio(2), None);
    spec.remote = Some(RemoteTransport {
        ice: credentials("browser"),
        fingerprints: vec![identity.fingerprint().clone()],
    });
    bench.command(ROOM, Command::OpenSubscriber(Box::new(spec)));
    let mut victim = Victim::new(identity);
    let stranger = socket();
    stranger.set_nonblocking(true).unwrap();
    let mut flood = attacks.iter().cycle();
    let mut sent = 0;
    let mut began = bench.now;
    for turn in 0.. {
        bench.now += STEP;
        if turn == HEAD_START {
            began = bench.now;
            victim.to_worker.push_back((bench.now + WAY, check(VICTIM)));
        }
        for attack in flood.by_ref().take(in_each_turn) {
            stranger.send_to(attack, bench.media).unwrap();
            sent += 1;
        }
        victim.send(bench.now, bench.media);
        bench.turn();
        victim.receive(bench.now);
        assert_eq!(bench.dropped(), sent, "all of the strangers', nothing else");
        match events.try_recv() {
            Ok(told) => {
                assert_eq!(told, event(VICTIM, EventKind::Connected));
                break;
            }
            Err(_) => assert!(turn < 10 * HEAD_START, "it never connects"),
        }
    }
    let answer = stranger.recv(&mut [0; 2_048]);
    assert!(answer.is_err(), "strangers hear nothing: {answer:?}");
    let index = bench.peer(ROOM, VICTIM);
    let peer = bench.worker.peers.get_mut(index).unwrap();
    let connecting = Connecting {
        took: bench.now - began,
        datagrams: peer.transport.counters().dtls.datagrams_in,
    };
    (connecting, victim.hello.unwrap())
}

/// A ClientHello with another version and nothing but the NULL cipher (RFC 5246 section 7.4.1.2).
fn null_cipher(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([0x11; 32]);
    // No session, no cookie, one cipher suite, one compression method.
    body.extend([0, 0, 0, 2, 0, 0, 1, 0]);
    let len = body.len() as u8;
    let message = [&[1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len], &body[..]].concat();
    let record = [22, version[0], version[1], 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [&record[..], &[message.len() as u8], &message].concat()
}

#[test]
fn a_thousand_handshakes_of_strangers_in_a_second_delay_nobody_by_a_single_turn() {
    let (undisturbed, hello) = connect(&[], 0);
    // A check, ClientHello and what answers it, the client's keys: three ways there, two back, and the turns in between.
    assert!(undisturbed.took >= 5 * WAY && undisturbed.took < 6 * WAY);
    let attacks = [
        null_cipher([0xfe, 0xff]),
        null_cipher([0xfe, 0xfd]),
        // What another victim has really said.
        hello,
        vec![22; 1_200],
        [&[22, 0xfe, 0xff][..], &[0xaa; 200]].concat(),
    ];
    for in_each_turn in [1, 20] {
        let (disturbed, _) = connect(&attacks, in_each_turn);
        assert_eq!(disturbed, undisturbed, "{in_each_turn} per millisecond");
    }
}
