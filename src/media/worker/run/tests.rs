//! A worker turned by hand: real loopback sockets, time as the test tells it.

mod relaying;
mod replacing;
mod strangers;
mod turn_streams;

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};

use proptest::prelude::*;

use super::commands::COMMANDS_PER_TURN;
use super::*;
use crate::media::net::stream::StreamListener;
use crate::media::plane::{Command, Event, PublisherSpec, SubscriberSpec};
use crate::media::sdp::{IceCredentials, RemoteTransport};
use crate::media::stun::{
    AttributeType, Class, IntegrityKey, Message, Method, TransactionId, Writer,
};
use crate::media::turn;
use crate::media::worker::{COMMAND_QUEUE, Crossing, WorkerPorts};
use crate::testing::t0;
use crate::units::{Bitrate, Codec, ExtensionIds, Feedback, MediaKind, PayloadType, Ssrc, Track};

const PWD: &str = "a password of at least 22 characters";

struct Bench {
    worker: Loop,
    now: Instant,
    commands: mpsc::Sender<WorkerCommand>,
    media: SocketAddr,
    tcp: SocketAddr,
    stun: SocketAddr,
    turn_tcp: SocketAddr,
}

impl Bench {
    fn new() -> Self {
        Self::several(1, |_, _| turn::Settings::stun_only()).remove(0)
    }

    /// Workers of one process, with TURN servers as `settings` says for their media ports and the place of each.
    fn several(count: usize, settings: impl Fn(&[u16], usize) -> turn::Settings) -> Vec<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bind = || BatchSocket::bind(any, false, None).unwrap();
        let media: Vec<BatchSocket> = (0..count).map(|_| bind()).collect();
        let numbers: Vec<u16> = media
            .iter()
            .map(|socket| socket.local_addr().port())
            .collect();
        let settings: Vec<turn::Settings> =
            (0..count).map(|index| settings(&numbers, index)).collect();
        let ports: Vec<WorkerPorts> = numbers
            .iter()
            .zip(&settings)
            .map(|(&media, settings)| WorkerPorts {
                media,
                relays: settings.ports,
            })
            .collect();
        let crossings = Crossing::between(&ports).unwrap();
        let parts = media.into_iter().zip(settings).zip(crossings);
        parts
            .map(|((media, turn), crossing)| Self::with(media, turn, crossing))
            .collect()
    }

    fn with(media: BatchSocket, turn: turn::Settings, crossing: Crossing) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let stun = BatchSocket::bind(any, false, None).unwrap();
        let [listener, turn_listener] = [(); 2].map(|()| StreamListener::bind(any, false).unwrap());
        let turn_tcp = turn_listener.local_addr();
        let (addrs, tcp) = (
            (media.local_addr(), stun.local_addr()),
            listener.local_addr(),
        );
        let (commands, mailbox) = mpsc::channel(COMMAND_QUEUE);
        let wake = crossing.wake();
        let parts = Parts {
            index: 0,
            media: MediaPort {
                sockets: vec![media],
                listeners: vec![listener],
            },
            max_streams: 2_000,
            turn_sockets: vec![stun],
            turn_listeners: vec![turn_listener],
            turn,
            max_relay_sockets: 1_000,
            crossing,
            candidates: Arc::new([]),
            identity: Arc::new(Identity::generate().unwrap()),
            counters: Arc::default(),
        };
        let worker = Loop::new(t0(), parts, mailbox, wake, Arc::default(), Arc::default());
        Self {
            worker: worker.unwrap(),
            now: t0(),
            commands,
            media: addrs.0,
            tcp,
            stun: addrs.1,
            turn_tcp,
        }
    }

    fn turn(&mut self) {
        self.worker.turn(self.now);
    }

    fn turn_with_streams(&mut self) {
        self.worker.exits.streams.may_have_input = true;
        self.turn();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.turn();
    }

    fn open_room(&mut self, room: u64, mailbox: usize) -> mpsc::Receiver<Event> {
        let (events, receiver) = mpsc::channel(mailbox);
        self.commands
            .try_send(WorkerCommand::Open {
                room: RoomId(room),
                events,
                span: tracing::Span::none(),
            })
            .unwrap();
        self.turn();
        receiver
    }

    fn command(&mut self, room: u64, command: Command) {
        self.commands
            .try_send(WorkerCommand::Room {
                room: RoomId(room),
                command,
            })
            .unwrap();
        self.turn();
    }

    /// A subscriber of nobody, whose user name fragment is its number.
    fn open(&mut self, room: u64, transport: u64) {
        let spec = SubscriberSpec {
            remote: None,
            tracks: Vec::new(),
            ..subscriber(transport, u64::MAX, audio(2), None)
        };
        self.command(room, Command::OpenSubscriber(Box::new(spec)));
    }

    fn close(&mut self, room: u64, transport: u64) {
        self.command(room, Command::CloseTransport(TransportId(transport)));
    }

    /// Sends from `socket` and returns the answer, if there is one.
    fn ask(&mut self, socket: &UdpSocket, datagram: &[u8]) -> Option<Vec<u8>> {
        self.send(socket, datagram);
        socket.set_nonblocking(true).unwrap();
        let mut answer = [0; 2_048];
        let len = socket.recv(&mut answer).ok()?;
        Some(answer[..len].to_vec())
    }

    fn send(&mut self, socket: &UdpSocket, datagram: &[u8]) {
        socket.send_to(datagram, self.media).unwrap();
        self.turn();
    }

    fn check(&mut self, socket: &UdpSocket, transport: u64) -> bool {
        self.ask(socket, &check(transport)).is_some_and(|answer| {
            Message::parse(&answer).is_ok_and(|answer| answer.class() == Class::Success)
        })
    }

    /// The transport whose datagrams come from `socket`.
    fn owner_of(&mut self, socket: &UdpSocket) -> Option<u64> {
        let key = (Link(0), socket.local_addr().unwrap());
        let index = *self.worker.peers_by_addr.get(&key)?;
        self.worker.peers.get_mut(index).map(|peer| peer.id.0)
    }

    fn peer(&mut self, room: u64, transport: u64) -> u32 {
        let slot = self.worker.rooms_by_id[&RoomId(room)];
        self.worker.peer_of(slot, TransportId(transport)).unwrap()
    }

    fn is_empty(&self) -> bool {
        self.worker.peers.len() == 0
            && self.worker.peers_by_addr.is_empty()
            && self.worker.peers_by_ufrag.is_empty()
    }

    fn dropped(&self) -> u64 {
        self.worker.counters.receive_dropped.load(Ordering::Relaxed)
    }
}

fn ufrag(transport: u64) -> String {
    format!("transport{transport}")
}

fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: PWD.to_owned(),
    }
}

fn remote() -> RemoteTransport {
    RemoteTransport {
        ice: credentials("browser"),
        fingerprints: vec![Identity::generate().unwrap().fingerprint().clone()],
    }
}

fn track(kind: MediaKind, codec: Codec, ssrc: u32) -> Track {
    Track {
        kind,
        mid: "0".into(),
        codec,
        payload_type: PayloadType::new(111).unwrap(),
        rtx_payload_type: None,
        fmtp: String::new(),
        extensions: ExtensionIds::default(),
        feedback: Feedback::default(),
        ssrc: Some(Ssrc(ssrc)),
        rtx_ssrc: None,
    }
}

fn audio(ssrc: u32) -> Track {
    track(MediaKind::Audio, Codec::Opus, ssrc)
}

fn video(ssrc: u32) -> Track {
    track(MediaKind::Video, Codec::Vp8, ssrc)
}

fn publisher(transport: u64, track: Track, replaces: Option<u64>) -> PublisherSpec {
    PublisherSpec {
        transport: TransportId(transport),
        local: credentials(&ufrag(transport)),
        remote: remote(),
        tracks: vec![track],
        max_receive: None,
        replaces: replaces.map(TransportId),
        loopback: Vec::new(),
    }
}

fn subscriber(transport: u64, source: u64, track: Track, replaces: Option<u64>) -> SubscriberSpec {
    SubscriberSpec {
        transport: TransportId(transport),
        source: TransportId(source),
        local: credentials(&ufrag(transport)),
        remote: Some(remote()),
        tracks: vec![track],
        max_send: None,
        replaces: replaces.map(TransportId),
    }
}

fn check(transport: u64) -> Vec<u8> {
    let mut buffer = vec![0; 512];
    let id = TransactionId([7; 12]);
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, id);
    let username = format!("{}:browser", ufrag(transport));
    writer.attribute(AttributeType::USERNAME, username.as_bytes());
    writer.attribute(AttributeType::USE_CANDIDATE, &[]);
    writer.integrity(&IntegrityKey::short_term(PWD));
    writer.fingerprint();
    let len = writer.finish().unwrap();
    buffer.truncate(len);
    buffer
}

fn socket() -> UdpSocket {
    UdpSocket::bind(("127.0.0.1", 0)).unwrap()
}

fn event(transport: u64, kind: EventKind) -> Event {
    Event {
        transport: Some(TransportId(transport)),
        kind,
    }
}

#[test]
fn strangers_are_neither_answered_nor_remembered() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let stranger = socket();
    let mut wrong_password = check(10);
    let len = wrong_password.len();
    wrong_password[len - 20] ^= 1;
    for datagram in [
        check(11),
        wrong_password,
        vec![0; 20],
        vec![22; 300],
        vec![128; 300],
        vec![64; 300],
        vec![255],
        Vec::new(),
    ] {
        assert_eq!(bench.ask(&stranger, &datagram), None, "{datagram:?}");
    }
    assert_eq!(bench.dropped(), 7, "all but the empty one are counted");
    assert!(bench.worker.peers_by_addr.is_empty());
    assert!(bench.worker.handshakes.is_empty());
}

#[test]
fn a_check_finds_its_transport_and_its_address_is_forgotten_with_it() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let browser = socket();
    assert!(bench.check(&browser, 10));
    assert_eq!(bench.owner_of(&browser), Some(10));
    bench.close(1, 10);
    assert!(bench.is_empty());
    assert!(!bench.check(&browser, 10));
    assert_eq!(bench.worker.load.load(Ordering::Relaxed), 1, "the room");
}

#[test]
fn the_successor_in_a_slot_inherits_nothing() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let browser = socket();
    assert!(bench.check(&browser, 10));
    let index = bench.peer(1, 10);
    // Waits in the queue when its transport goes.
    browser.send_to(&[22; 100], bench.media).unwrap();
    bench.worker.receive_media(bench.now, 0);
    assert_eq!(bench.worker.handshakes.len(), 1);
    bench
        .worker
        .contained(bench.now, 0, None, |worker| worker.forget_peer(index));
    bench.open(1, 11);
    assert_eq!(bench.peer(1, 11), index);
    assert_eq!(bench.owner_of(&browser), None);
    assert!(bench.worker.handshakes.is_empty());
    let peer = bench.worker.peers.get_mut(index).unwrap();
    assert_eq!(peer.transport.counters().dtls.datagrams_in, 0);
}

#[test]
fn an_address_is_taken_over_only_once_its_peer_has_fallen_silent() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    bench.open(1, 11);
    let browser = socket();
    assert!(bench.check(&browser, 10));
    bench.pass(ADDRESS_GRACE - Duration::from_millis(1));
    assert!(
        bench.check(&browser, 11),
        "a check is answered all the same"
    );
    assert_eq!(bench.owner_of(&browser), Some(10));
    bench.pass(Duration::from_millis(1));
    assert!(bench.check(&browser, 11));
    assert_eq!(bench.owner_of(&browser), Some(11));
    bench.close(1, 10);
    assert_eq!(bench.owner_of(&browser), Some(11), "no longer the other's");
}

#[test]
fn the_addresses_of_one_peer_are_those_of_its_paths() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let sockets: Vec<UdpSocket> = (0..20).map(|_| socket()).collect();
    for socket in &sockets {
        bench.now += Duration::from_millis(10);
        assert!(bench.check(socket, 10));
    }
    assert_eq!(bench.worker.peers_by_addr.len(), 8);
    for (number, socket) in sockets.iter().enumerate() {
        let is_kept = bench.owner_of(socket) == Some(10);
        let index = bench.peer(1, 10);
        let peer = bench.worker.peers.get_mut(index).unwrap();
        let addr = socket.local_addr().unwrap();
        let is_valid = peer.transport.heard_at(Link(0), addr).is_some();
        assert_eq!(is_kept, is_valid, "{number}");
    }
    assert_eq!(bench.owner_of(&sockets[19]), Some(10));
    bench.close(1, 10);
    assert!(bench.is_empty());
}

#[test]
fn one_peer_cannot_fill_the_queue_of_handshakes() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let browser = socket();
    assert!(bench.check(&browser, 10));
    let before = bench.dropped();
    browser
        .send_to(&vec![22; MAX_DTLS_DATAGRAM + 1], bench.media)
        .unwrap();
    for _ in 0..100 {
        browser.send_to(&[22; 100], bench.media).unwrap();
    }
    for _ in 0..4 {
        bench.worker.receive_media(bench.now, 0);
    }
    assert_eq!(bench.worker.handshakes.len(), HANDSHAKES_PER_PEER);
    assert_eq!(bench.dropped() - before, 101 - HANDSHAKES_PER_PEER as u64);
    assert_eq!(bench.worker.idle_for(bench.now), Some(Duration::ZERO));
    for _ in 0..HANDSHAKES_PER_PEER {
        bench.turn();
    }
    assert!(bench.worker.handshakes.is_empty());
    let index = bench.peer(1, 10);
    assert_eq!(bench.worker.peers.get_mut(index).unwrap().handshakes, 0);
}

#[test]
fn a_worker_with_nothing_to_do_sleeps_until_it_is_called() {
    let mut bench = Bench::new();
    bench.turn();
    assert_eq!(bench.worker.idle_for(bench.now), None);
    let events = bench.open_room(1, 8);
    bench.open(1, 10);
    assert_eq!(bench.worker.idle_for(bench.now), Some(SWEEP));
    bench.close(1, 10);
    drop(events);
    // A room without a session is swept; the last entries of the timers run out unnoticed.
    bench.pass(SWEEP);
    assert!(bench.worker.rooms_by_id.is_empty());
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.worker.idle_for(bench.now), None);
}

#[test]
fn silence_ends_a_transport_and_nothing_of_it_stays() {
    let mut bench = Bench::new();
    let mut events = bench.open_room(1, 8);
    bench.open(1, 10);
    let browser = socket();
    assert!(bench.check(&browser, 10));
    bench.pass(Duration::from_secs(29));
    assert!(events.try_recv().is_err());
    assert!(bench.check(&browser, 10));
    bench.pass(Duration::from_secs(2));
    let failed = event(10, EventKind::Failed(FailureReason::DtlsTimeout));
    assert_eq!(events.try_recv(), Ok(failed), "no ClientHello for 30 s");
    assert!(bench.is_empty());

    bench.open(1, 11);
    bench.pass(Duration::from_secs(31));
    let failed = event(11, EventKind::Failed(FailureReason::IceTimeout));
    assert_eq!(events.try_recv(), Ok(failed));
    assert!(bench.is_empty());
}

#[test]
fn events_wait_for_a_full_mailbox_in_order() {
    let mut bench = Bench::new();
    let mut events = bench.open_room(1, 1);
    let slot = bench.worker.rooms_by_id[&RoomId(1)];
    let told: Vec<Event> = (0..5).map(|n| event(n, EventKind::Connected)).collect();
    for event in &told {
        bench.worker.tell(slot, event.transport, event.kind);
    }
    assert_eq!(bench.worker.idle_for(bench.now), Some(EVENT_RETRY));
    for event in told {
        assert_eq!(events.try_recv(), Ok(event));
        bench.turn();
    }
    assert!(bench.worker.undelivered.is_empty());
    assert!(events.try_recv().is_err());
}

#[test]
fn a_full_mailbox_is_not_filled_further_by_states_that_come_and_go() {
    let mut bench = Bench::new();
    let mut events = bench.open_room(1, 1);
    let slot = bench.worker.rooms_by_id[&RoomId(1)];
    bench
        .worker
        .tell(slot, Some(TransportId(9)), EventKind::Connected);
    for level in 0..5 {
        for kind in [
            EventKind::WentQuiet,
            EventKind::Quality(level),
            EventKind::HeardAgain,
        ] {
            bench.worker.tell(slot, Some(TransportId(10)), kind);
            bench.worker.tell(slot, Some(TransportId(11)), kind);
        }
    }
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(event);
        bench.turn();
    }
    assert_eq!(
        told,
        [
            event(9, EventKind::Connected),
            event(10, EventKind::Quality(4)),
            event(11, EventKind::Quality(4)),
            event(10, EventKind::HeardAgain),
            event(11, EventKind::HeardAgain),
        ]
    );
}

#[test]
fn a_panic_about_a_transport_ends_that_transport_alone() {
    let mut bench = Bench::new();
    let mut events = bench.open_room(1, 8);
    bench.open(1, 10);
    bench.open(1, 11);
    let browsers = [socket(), socket()];
    assert!(bench.check(&browsers[0], 10));
    assert!(bench.check(&browsers[1], 11));
    let (slot, peer) = (bench.worker.rooms_by_id[&RoomId(1)], bench.peer(1, 10));
    bench
        .worker
        .contained(bench.now, slot, Some(peer), |_| panic!("injected"));
    let failed = event(10, EventKind::Failed(FailureReason::Panicked));
    assert_eq!(events.try_recv(), Ok(failed));
    assert_eq!(bench.worker.counters.panics.load(Ordering::Relaxed), 1);
    assert!(!bench.check(&browsers[0], 10));
    assert!(bench.check(&browsers[1], 11));
}

#[test]
fn a_panic_about_a_room_ends_that_room_alone() {
    let mut bench = Bench::new();
    let mut first = bench.open_room(1, 8);
    let mut second = bench.open_room(2, 8);
    bench.open(1, 10);
    bench.open(2, 20);
    let browsers = [socket(), socket()];
    assert!(bench.check(&browsers[0], 10));
    assert!(bench.check(&browsers[1], 20));
    let slot = bench.worker.rooms_by_id[&RoomId(1)];
    bench
        .worker
        .contained(bench.now, slot, None, |_| panic!("injected"));
    let told = first.try_recv().unwrap();
    assert_eq!((told.transport, told.kind), (None, EventKind::RoomFailed));
    assert!(!bench.check(&browsers[0], 10));
    assert!(bench.check(&browsers[1], 20));
    assert!(second.try_recv().is_err());
    assert_eq!(bench.worker.peers.len(), 1);
    assert_eq!(bench.owner_of(&browsers[0]), None);
}

#[test]
fn a_room_that_cannot_be_closed_in_order_leaves_no_transport_behind() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let slot = bench.worker.rooms_by_id[&RoomId(1)];
    bench.worker.forget_room(slot);
    assert!(bench.is_empty());
    assert_eq!(bench.worker.load.load(Ordering::Relaxed), 0);
}

#[test]
fn commands_for_what_is_not_there_change_nothing() {
    let mut bench = Bench::new();
    bench.command(5, Command::CloseRoom);
    bench.open(5, 10);
    assert!(bench.is_empty());
    let _events = bench.open_room(1, 8);
    bench.close(1, 10);
    bench.command(
        1,
        Command::AcceptAnswer {
            transport: TransportId(10),
            remote: remote(),
            tracks: Vec::new(),
        },
    );
    bench.command(1, Command::CloseRoom);
    bench.command(1, Command::CloseRoom);
    assert!(bench.is_empty() && bench.worker.rooms.len() == 0);
}

#[test]
fn a_second_answer_is_not_heard() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let index = bench.peer(1, 10);
    let now = bench.now;
    let mut accept = || {
        let peer = bench.worker.peers.get_mut(index).unwrap();
        peer.transport.set_remote(now, remote())
    };
    assert!(accept());
    assert!(!accept());
}

#[test]
fn more_commands_than_one_turn_takes_are_carried_out_in_the_next() {
    let mut bench = Bench::new();
    let (events, _receiver) = mpsc::channel(8);
    for room in 0..=COMMANDS_PER_TURN as u64 {
        let events = events.clone();
        let room = RoomId(room);
        bench
            .commands
            .try_send(WorkerCommand::Open {
                room,
                events,
                span: tracing::Span::none(),
            })
            .unwrap();
    }
    bench.turn();
    assert_eq!(bench.worker.rooms.len(), COMMANDS_PER_TURN);
    assert_eq!(bench.worker.idle_for(bench.now), Some(Duration::ZERO));
    bench.turn();
    assert_eq!(bench.worker.rooms.len(), COMMANDS_PER_TURN + 1);
}

#[test]
fn a_thousand_transports_end_with_the_worker() {
    let mut bench = Bench::new();
    let mut receivers = Vec::new();
    for room in 0..10 {
        receivers.push(bench.open_room(room, 8));
        for number in 0..100 {
            bench.open(room, 1_000 * room + number);
        }
    }
    assert_eq!(bench.worker.load.load(Ordering::Relaxed), 1_010);
    bench.worker.close_every_room(bench.now);
    assert!(bench.is_empty());
    assert_eq!(bench.worker.load.load(Ordering::Relaxed), 0);
    for events in &mut receivers {
        let told = events.try_recv();
        assert_eq!(told, Err(mpsc::error::TryRecvError::Disconnected));
    }
}

#[test]
fn a_large_room_ends_a_few_transports_in_each_turn_and_takes_no_more_commands() {
    let mut bench = Bench::new();
    let _large = bench.open_room(1, 8);
    let _other = bench.open_room(2, 8);
    for number in 0..100 {
        bench.open(1, number);
    }
    bench.command(1, Command::CloseRoom);
    assert_eq!(bench.worker.peers.len(), 100 - CLOSES_PER_TURN);
    bench.open(2, 1_000);
    bench.open(1, 1_001);
    assert_eq!(bench.worker.idle_for(bench.now), Some(Duration::ZERO));
    assert_eq!(bench.worker.peers.len(), 101 - 3 * CLOSES_PER_TURN);
    for _ in 0..4 {
        bench.turn();
    }
    assert_eq!((bench.worker.peers.len(), bench.worker.rooms.len()), (1, 1));
    assert!(bench.worker.ending.is_empty());
}

#[test]
fn the_stun_server_answers_beside_the_rooms() {
    let mut bench = Bench::new();
    let client = socket();
    let mut request = [0; 20];
    let id = TransactionId([1; 12]);
    let writer = Writer::new(&mut request, Class::Request, Method::BINDING, id);
    let len = writer.finish().unwrap();
    client.send_to(&request[..len], bench.stun).unwrap();
    bench.turn();
    client.set_nonblocking(true).unwrap();
    let mut answer = [0; 100];
    let len = client.recv(&mut answer).unwrap();
    let answer = Message::parse(&answer[..len]).unwrap();
    assert_eq!(answer.xor_mapped_address(), client.local_addr().ok());
}

/// A browser's TCP connection.
struct Tcp(TcpStream);

impl Tcp {
    fn connect(bench: &mut Bench) -> Self {
        let stream = TcpStream::connect(bench.tcp).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        bench.turn_with_streams();
        Self(stream)
    }

    fn send(&mut self, bench: &mut Bench, datagram: &[u8]) {
        assert!(self.try_send(bench, datagram));
    }

    /// False if our end has closed it.
    fn try_send(&mut self, bench: &mut Bench, datagram: &[u8]) -> bool {
        let len = u16::try_from(datagram.len()).unwrap();
        let frame = [&len.to_be_bytes(), datagram].concat();
        let is_open = self.0.write_all(&frame).is_ok();
        bench.turn_with_streams();
        is_open
    }

    /// The datagram that has arrived, if there is one.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 4_096];
        let len = self.0.read(&mut bytes).ok()?;
        match Rfc4571::first(&bytes[..len]) {
            Extent::Complete { datagram, .. } => Some(bytes[datagram].to_vec()),
            Extent::Incomplete | Extent::Unusable => None,
        }
    }

    /// Whether our end has closed it.
    fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0; 4_096]) {
            Ok(len) => len == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn check(&mut self, bench: &mut Bench, transport: u64) -> bool {
        self.send(bench, &check(transport));
        self.receive().is_some_and(|answer| {
            Message::parse(&answer).is_ok_and(|answer| answer.class() == Class::Success)
        })
    }
}

#[test]
fn a_check_over_tcp_is_answered_there_and_the_connection_ends_with_its_transport() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    bench.open(1, 11);
    let mut browser = Tcp::connect(&mut bench);
    assert!(browser.check(&mut bench, 10));
    assert!(browser.check(&mut bench, 10), "again and again");
    assert!(
        !browser.check(&mut bench, 11),
        "a connection serves one transport"
    );
    let index = bench.peer(1, 10);
    let peer = bench.worker.peers.get_mut(index).unwrap();
    assert_eq!(peer.streams.len(), 1);
    let link = Streams::link(peer.streams[0]);
    let addr = browser.0.local_addr().unwrap();
    assert!(peer.transport.heard_at(link, addr).is_some());
    browser.send(&mut bench, &[22; 100]);
    let peer = bench.worker.peers.get_mut(index).unwrap();
    let unexpected = transport::DropReason::UnexpectedDtls;
    assert_eq!(peer.transport.counters().dropped(unexpected), 1);
    bench.close(1, 10);
    assert!(browser.is_closed());
    assert_eq!(bench.worker.exits.streams.len(), 0);
}

#[test]
fn a_connection_that_breaks_takes_its_path_along() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let mut browser = Tcp::connect(&mut bench);
    assert!(browser.check(&mut bench, 10));
    drop(browser);
    bench.turn_with_streams();
    let index = bench.peer(1, 10);
    let peer = bench.worker.peers.get_mut(index).unwrap();
    assert!(peer.streams.is_empty());
    assert_eq!(bench.worker.exits.streams.len(), 0);
    // The next connection gets the same slot, and the same transport by a check of its own only.
    let mut browser = Tcp::connect(&mut bench);
    let before = bench.dropped();
    browser.send(&mut bench, &[22; 100]);
    assert_eq!(bench.dropped() - before, 1);
    assert!(browser.check(&mut bench, 10));
}

#[test]
fn a_connection_that_proves_nothing_is_closed_after_ten_seconds() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let mut silent = Tcp::connect(&mut bench);
    let mut wrong = Tcp::connect(&mut bench);
    let mut good = Tcp::connect(&mut bench);
    let mut wrong_password = check(10);
    let len = wrong_password.len();
    wrong_password[len - 20] ^= 1;
    wrong.send(&mut bench, &wrong_password);
    assert!(good.check(&mut bench, 10));
    assert!(bench.worker.idle_for(bench.now) <= Some(Duration::from_secs(10)));
    bench.pass(Duration::from_millis(9_900));
    assert_eq!(bench.worker.exits.streams.len(), 3);
    bench.pass(Duration::from_millis(100));
    assert!(silent.is_closed() && wrong.is_closed() && !good.is_closed());
    let refused = &bench.worker.counters.streams_refused;
    assert_eq!(refused.load(Ordering::Relaxed), 2);
}

#[test]
fn lies_about_the_length_end_a_connection_at_once() {
    let mut bench = Bench::new();
    let mut liar = Tcp::connect(&mut bench);
    liar.0.write_all(&[255, 255, 0, 1]).unwrap();
    bench.turn_with_streams();
    assert!(liar.is_closed());
    assert_eq!(bench.worker.exits.streams.len(), 0);
}

#[test]
fn a_connection_that_says_much_and_proves_nothing_is_closed_at_once() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    let mut wrong_password = check(10);
    let len = wrong_password.len();
    wrong_password[len - 20] ^= 1;
    for nonsense in [&wrong_password[..], &[], &[128; 60], &[22; 60]] {
        let mut stranger = Tcp::connect(&mut bench);
        for _ in 0..7 {
            stranger.send(&mut bench, nonsense);
        }
        assert!(!stranger.is_closed());
        stranger.send(&mut bench, nonsense);
        assert!(stranger.is_closed(), "{nonsense:?}");
        // All that fits one read costs no more.
        let mut stranger = Tcp::connect(&mut bench);
        let before = bench.worker.counters.received.load(Ordering::Relaxed);
        stranger.0.write_all(&[0; 10_000]).unwrap();
        bench.turn_with_streams();
        let handled = bench.worker.counters.received.load(Ordering::Relaxed) - before;
        assert_eq!((handled, stranger.is_closed()), (8, true));
    }
    assert_eq!(bench.worker.exits.streams.len(), 0);
    // Who has proved itself may say what it likes, and a wrong beginning is forgiven.
    let mut browser = Tcp::connect(&mut bench);
    browser.send(&mut bench, &wrong_password);
    assert!(browser.check(&mut bench, 10));
    for _ in 0..100 {
        browser.send(&mut bench, &[128; 60]);
    }
    assert!(browser.check(&mut bench, 10));
}

#[test]
fn a_check_that_comes_byte_by_byte_is_one_and_keeps_nobody_waiting() {
    let mut bench = Bench::new();
    let _events = bench.open_room(1, 8);
    bench.open(1, 10);
    bench.open(1, 11);
    let (mut slow, mut other) = (Tcp::connect(&mut bench), Tcp::connect(&mut bench));
    let datagram = check(10);
    let len = u16::try_from(datagram.len()).unwrap();
    let frame = [&len.to_be_bytes(), &datagram[..]].concat();
    for (number, byte) in frame.iter().enumerate() {
        assert_eq!(slow.receive(), None, "byte {number}");
        slow.0.write_all(&[*byte]).unwrap();
        assert!(other.check(&mut bench, 11), "byte {number}");
    }
    assert!(slow.receive().is_some(), "an answer");
    assert_eq!(bench.worker.exits.streams.owned().count(), 2);
}

#[test]
fn connections_of_one_address_and_of_all_are_bounded() {
    let mut bench = Bench::new();
    let mut crowd: Vec<Tcp> = (0..600).map(|_| Tcp::connect(&mut bench)).collect();
    assert_eq!(bench.worker.exits.streams.len(), 512);
    assert!(crowd.iter_mut().skip(512).all(Tcp::is_closed));
    assert!(!crowd[0].is_closed());
    drop(crowd);
    while bench.worker.exits.streams.len() > 0 {
        bench.turn_with_streams();
    }
    assert_eq!(bench.worker.counters.streams.load(Ordering::Relaxed), 0);
    assert!(!Tcp::connect(&mut bench).is_closed());
}

/// Something that happens to a worker; rooms, transports and sockets by number.
#[derive(Debug, Clone)]
enum Happening {
    OpenRoom(u64),
    CloseRoom(u64),
    LeaveRoom(u64),
    Open(u64, u64),
    Publish {
        room: u64,
        transport: u64,
        replaces: Option<u64>,
        loopback: bool,
    },
    Subscribe {
        room: u64,
        transport: u64,
        source: u64,
        replaces: Option<u64>,
        max_send: Option<u64>,
    },
    Close(u64, u64),
    Fail(u64, u64),
    Check(usize, u64),
    Handshake(usize),
    Media(usize),
    TcpConnect(usize),
    TcpCheck(usize, u64),
    TcpMedia(usize),
    TcpClose(usize),
    Pass(u64),
    Panic(u64, Option<u64>),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let (room, transport, socket) = (0..3_u64, 0..8_u64, 0..4_usize);
    let replaced = || prop::option::of(0..8_u64);
    let publish = (room.clone(), transport.clone(), replaced(), any::<bool>()).prop_map(
        |(room, transport, replaces, loopback)| Happening::Publish {
            room,
            transport,
            replaces,
            loopback,
        },
    );
    let limit = prop::option::of(30..3_000_u64);
    let subscribe = (room.clone(), transport.clone(), 0..8_u64, replaced(), limit).prop_map(
        |(room, transport, source, replaces, max_send)| Happening::Subscribe {
            room,
            transport,
            source,
            replaces,
            max_send,
        },
    );
    prop::collection::vec(
        prop_oneof![
            3 => room.clone().prop_map(Happening::OpenRoom),
            1 => room.clone().prop_map(Happening::CloseRoom),
            1 => room.clone().prop_map(Happening::LeaveRoom),
            6 => (room.clone(), transport.clone()).prop_map(|(room, it)| Happening::Open(room, it)),
            5 => publish,
            6 => subscribe,
            2 => (room.clone(), transport.clone()).prop_map(|(room, it)| Happening::Close(room, it)),
            2 => (room.clone(), transport.clone()).prop_map(|(room, it)| Happening::Fail(room, it)),
            9 => (socket.clone(), transport.clone()).prop_map(|(socket, it)| Happening::Check(socket, it)),
            2 => socket.clone().prop_map(Happening::Handshake),
            2 => socket.clone().prop_map(Happening::Media),
            2 => socket.clone().prop_map(Happening::TcpConnect),
            6 => (socket.clone(), transport.clone()).prop_map(|(it, to)| Happening::TcpCheck(it, to)),
            1 => socket.clone().prop_map(Happening::TcpMedia),
            1 => socket.prop_map(Happening::TcpClose),
            3 => (0..8_000_u64).prop_map(Happening::Pass),
            1 => (room, prop::option::of(transport)).prop_map(|(room, it)| Happening::Panic(room, it)),
        ],
        1..80,
    )
}

impl Bench {
    /// Transports have numbers of their own, as the plane gives them.
    fn happen(
        &mut self,
        happening: &Happening,
        sockets: &[UdpSocket],
        connections: &mut BTreeMap<usize, Tcp>,
        receivers: &mut BTreeMap<u64, mpsc::Receiver<Event>>,
    ) {
        let slot = |worker: &Loop, room| worker.rooms_by_id.get(&RoomId(room)).copied();
        match *happening {
            Happening::OpenRoom(room) => {
                if slot(&self.worker, room).is_none() {
                    receivers.insert(room, self.open_room(room, 1));
                }
            }
            Happening::CloseRoom(room) => self.command(room, Command::CloseRoom),
            Happening::LeaveRoom(room) => {
                receivers.remove(&room);
            }
            Happening::Open(room, transport) => {
                if !self.knows(transport) {
                    self.open(room, transport);
                }
            }
            Happening::Publish {
                room,
                transport,
                replaces,
                loopback,
            } => {
                if !self.knows(transport) {
                    let loopback = loopback.then(|| video(3));
                    let mut spec = publisher(transport, video(1), replaces);
                    spec.loopback.extend(loopback);
                    self.command(room, Command::OpenPublisher(Box::new(spec)));
                }
            }
            Happening::Subscribe {
                room,
                transport,
                source,
                replaces,
                max_send,
            } => {
                if !self.knows(transport) {
                    let mut spec = subscriber(transport, source, video(2), replaces);
                    spec.max_send = max_send.map(Bitrate::from_kbps);
                    self.command(room, Command::OpenSubscriber(Box::new(spec)));
                }
            }
            Happening::Close(room, transport) => self.close(room, transport),
            Happening::Fail(room, transport) => {
                let Some(slot) = slot(&self.worker, room) else {
                    return;
                };
                if let Some(peer) = self.worker.peer_of(slot, TransportId(transport)) {
                    self.worker.fail_peer(peer, FailureReason::ClosedByPeer);
                    self.turn();
                }
            }
            Happening::Check(socket, transport) => {
                self.check(&sockets[socket], transport);
            }
            Happening::Handshake(socket) => self.send(&sockets[socket], &[22; 60]),
            Happening::Media(socket) => self.send(&sockets[socket], &[128; 60]),
            Happening::TcpConnect(number) => {
                let connection = Tcp::connect(self);
                connections.insert(number, connection);
            }
            Happening::TcpCheck(number, transport) => {
                if let Some(connection) = connections.get_mut(&number) {
                    connection.try_send(self, &check(transport));
                }
            }
            Happening::TcpMedia(number) => {
                if let Some(connection) = connections.get_mut(&number) {
                    connection.try_send(self, &[128; 60]);
                }
            }
            Happening::TcpClose(number) => {
                connections.remove(&number);
                self.turn_with_streams();
            }
            Happening::Pass(millis) => self.pass(Duration::from_millis(millis)),
            Happening::Panic(room, transport) => {
                let Some(slot) = slot(&self.worker, room) else {
                    return;
                };
                let peer = transport.and_then(|it| self.worker.peer_of(slot, TransportId(it)));
                self.worker
                    .contained(self.now, slot, peer, |_| panic!("injected"));
                self.turn();
            }
        }
    }

    /// Whether some room has a transport of this number, up or away.
    fn knows(&mut self, transport: u64) -> bool {
        let id = TransportId(transport);
        let slots: Vec<u32> = self.worker.rooms_by_id.values().copied().collect();
        slots.into_iter().any(|slot| {
            let room = self.worker.rooms.get_mut(slot).unwrap();
            room.peers.contains_key(&id) || room.away.contains_key(&id)
        })
    }

    /// What is known twice agrees.
    fn agrees(&mut self) -> Result<(), TestCaseError> {
        let worker = &mut self.worker;
        let mut peers = 0;
        for (id, &slot) in &worker.rooms_by_id {
            let room = worker.rooms.get_mut(slot).unwrap();
            prop_assert_eq!(room.id, *id);
            for (id, &index) in &room.peers {
                let peer = worker.peers.get_mut(index).unwrap();
                prop_assert_eq!((peer.id, peer.room), (*id, slot));
                prop_assert_eq!(worker.peers_by_ufrag.get(&peer.ufrag), Some(&index));
                peers += 1;
            }
            // Media comes from transports that are up or away, and goes to those that are up.
            let up: BTreeSet<u32> = room.peers.values().copied().collect();
            let away: BTreeSet<u32> = room.away.values().map(|key| key.0).collect();
            prop_assert_eq!(
                away.len(),
                room.away.len(),
                "each waits under a key of its own"
            );
            prop_assert!(up.is_disjoint(&away));
            prop_assert!(room.away.keys().all(|id| !room.peers.contains_key(id)));
            for (key, _) in room.router.producers() {
                prop_assert!(up.contains(&key.0) || away.contains(&key.0), "{:?}", key);
            }
            for (key, _) in room.router.consumers() {
                prop_assert!(up.contains(&key.0), "{:?}", key);
            }
        }
        prop_assert_eq!(worker.rooms.len(), worker.rooms_by_id.len());
        prop_assert_eq!(worker.peers.len(), peers);
        prop_assert_eq!(worker.peers_by_ufrag.len(), peers);
        for (addr, &index) in &worker.peers_by_addr {
            let peer = worker.peers.get_mut(index).unwrap();
            prop_assert!(peer.addrs.contains(addr));
        }
        let owned: Vec<_> = worker.exits.streams.owned().collect();
        for (slot, owner) in &owned {
            let peer = worker
                .peers
                .get_generation_mut(owner.peer, owner.generation)
                .unwrap();
            prop_assert!(peer.streams.contains(slot));
            prop_assert!(peer.transport.is_linked(Streams::link(*slot)));
        }
        let mut streams = 0;
        for room in worker.rooms_by_id.values() {
            for peer in worker.rooms.get_mut(*room).unwrap().peers.values() {
                streams += worker.peers.get_mut(*peer).unwrap().streams.len();
            }
        }
        prop_assert_eq!(owned.len(), streams);
        for &room in &worker.undelivered {
            prop_assert!(worker.rooms.get_mut(room).is_some());
        }
        let load = worker.load.load(Ordering::Relaxed);
        prop_assert_eq!(load, (peers + worker.rooms.len()) as u64);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_the_tables_agree_and_nothing_stays(happenings in happenings()) {
        let mut bench = Bench::new();
        let sockets: Vec<UdpSocket> = (0..4).map(|_| socket()).collect();
        let (mut connections, mut receivers) = (BTreeMap::new(), BTreeMap::new());
        for happening in &happenings {
            bench.happen(happening, &sockets, &mut connections, &mut receivers);
            bench.agrees()?;
        }
        receivers.clear();
        bench.pass(SWEEP);
        connections.clear();
        bench.turn_with_streams();
        prop_assert_eq!(bench.worker.exits.streams.len(), 0);
        prop_assert!(bench.is_empty() && bench.worker.rooms.len() == 0);
        bench.pass(Duration::from_secs(60));
        prop_assert_eq!(bench.worker.idle_for(bench.now), None);
    }
}
