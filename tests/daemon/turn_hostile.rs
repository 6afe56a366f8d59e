//! What the TURN port must bear (robustness S01, S02, S06, R02), from clients with a credential and without.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hanok::media::net::interfaces::own_addresses;
use hanok::media::stun::{AttributeType, Class, Method, TransactionId, Writer};
use hanok::testing::client::LOOPBACK;
use hanok::testing::special_addresses;
use hanok::testing::turn::written;
use hanok::units::{Random, Secret, clock};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::house::{House, Witness};
use crate::process::Process;
use crate::turn::{Relayed, minted};

const SECRET: &str = "north";

async fn house() -> House {
    House::with(|config| config.turn.secrets = vec![Secret::new(SECRET)]).await
}

fn peer(at: SocketAddr) -> impl Fn(&mut Writer<'_>) {
    move |writer| writer.xor_address(AttributeType::XOR_PEER_ADDRESS, at)
}

fn channel(at: SocketAddr) -> impl Fn(&mut Writer<'_>) {
    move |writer| {
        writer.attribute(AttributeType::CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_opens_no_door_into_this_machine_or_its_networks() {
    let house = house().await;
    let (name, password) = minted(SECRET, "mallory");
    let mut client = Relayed::new(&house, &name, &password).await;
    let both = |writer: &mut Writer<'_>| {
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        writer.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    };
    assert_eq!(client.ask(Method::ALLOCATE, both).await, 0);

    let own = own_addresses().unwrap();
    let mut refused = 0;
    for (name, ip) in special_addresses::refused().filter(|(_, ip)| !own.contains(ip)) {
        let at = SocketAddr::new(ip, 80);
        let code = client.ask(Method::CREATE_PERMISSION, peer(at)).await;
        assert_eq!(code, 403, "CreatePermission, {name}");
        let code = client.ask(Method::CHANNEL_BIND, channel(at)).await;
        assert_eq!(code, 403, "ChannelBind, {name}");
        refused += 2;
    }
    assert!(refused > 1_000, "{refused}");

    // A service of this machine, and one that has an address of the loopback network to itself.
    let service = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let at = service.local_addr().unwrap();
    let aside = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 53), 0))
        .await
        .unwrap();
    // An own address may be permitted, for its workers; its other ports are closed.
    assert_eq!(client.ask(Method::CREATE_PERMISSION, peer(at)).await, 0);
    assert_eq!(client.ask(Method::CHANNEL_BIND, channel(at)).await, 403);
    let before = house.daemon.turn().counters().await.unwrap();
    let targets = [
        at,
        aside.local_addr().unwrap(),
        (LOOPBACK, house.config.turn.port).into(),
        house.plain(),
    ];
    for target in targets {
        for _ in 0..10 {
            let datagram = client.client.indication(|writer| {
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, target);
                writer.attribute(AttributeType::DATA, b"are you there");
            });
            client.socket.send(&datagram).await.unwrap();
        }
    }
    // What follows them is answered, so they have been looked at.
    assert_eq!(client.refresh(600).await, 0);
    let after = house.daemon.turn().counters().await.unwrap();
    assert_eq!(after.dropped_own_port - before.dropped_own_port, 30);
    assert_eq!(after.dropped_unpermitted - before.dropped_unpermitted, 10);
    assert_eq!(after.packets_to_peers, 0);
    assert!(service.try_recv(&mut [0; 64]).is_err());
    assert!(aside.try_recv(&mut [0; 64]).is_err());
}

/// A request that anybody can send.
fn bare_allocate() -> Vec<u8> {
    written(
        Class::Request,
        Method::ALLOCATE,
        TransactionId([9; 12]),
        |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        },
    )
}

/// Allocates without a user from one address, fifty thousand a second; bytes sent and received.
async fn flood(server: SocketAddr, requests: u32) -> (usize, usize) {
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 66), 0))
        .await
        .unwrap();
    let request = bare_allocate();
    let (mut sent, mut received) = (0, 0);
    let mut answer = [0; 512];
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for number in 0..requests {
        if number % 50 == 0 {
            tick.tick().await;
        }
        sent += socket.send_to(&request, server).await.unwrap();
        while let Ok((len, _)) = socket.try_recv_from(&mut answer) {
            assert!(len <= 96, "{len}");
            received += len;
        }
    }
    (sent, received)
}

/// An office behind one address, with two hundred people in it; the codes of their answers, and how long it took.
async fn crowd(server: SocketAddr) -> (Vec<u16>, Duration) {
    let began = clock::now();
    let mut joining = JoinSet::new();
    for number in 0..200 {
        let (name, password) = minted(SECRET, &number.to_string());
        let ip = Ipv4Addr::new(127, 0, 0, 77);
        let mut client = Relayed::between(ip.into(), server, &name, &password).await;
        joining.spawn(async move { client.allocate().await });
    }
    let codes = joining.join_all().await;
    (codes, began.elapsed())
}

/// Somebody who has an allocation and refreshes it all the time; how long each answer took, from the shortest on.
async fn steady(server: SocketAddr, stop: &CancellationToken) -> Vec<Duration> {
    let (name, password) = minted(SECRET, "steady");
    let mut client = Relayed::between(LOOPBACK, server, &name, &password).await;
    assert_eq!(client.allocate().await, 0);
    let mut took = Vec::new();
    while !stop.is_cancelled() {
        let asked = clock::now();
        assert_eq!(client.refresh(600).await, 0);
        took.push(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    took.sort_unstable();
    took
}

/// How a flood went.
#[derive(Debug)]
struct Flooded {
    /// Bytes in the name of one address, and to it.
    sent: usize,
    received: usize,
    /// Until two hundred neighbours had allocated.
    crowd: Duration,
    /// Of the answers to somebody else.
    p99: Duration,
    answers: usize,
}

/// Row S06: nobody is made to receive more than was sent in their name, and neighbours are served.
async fn is_flooded(server: SocketAddr, requests: u32) -> Flooded {
    let stop = CancellationToken::new();
    let flooding = async {
        let both = tokio::join!(flood(server, requests), crowd(server));
        stop.cancel();
        both
    };
    let (((sent, received), (codes, crowd)), answers) =
        tokio::join!(flooding, steady(server, &stop));
    assert_eq!(codes, [0; 200]);
    let flooded = Flooded {
        sent,
        received,
        crowd,
        p99: answers[(answers.len() - 1) * 99 / 100],
        answers: answers.len(),
    };
    assert!(
        flooded.received > 10_000,
        "it was answered at first: {flooded:?}"
    );
    assert!(flooded.received <= flooded.sent, "{flooded:?}");
    assert!(flooded.answers > 3, "{flooded:?}");
    flooded
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_from_one_address_earns_less_than_it_costs_and_others_are_served() {
    let house = house().await;
    let server: SocketAddr = (LOOPBACK, house.config.turn.port).into();
    let witness = Witness::begin(&house).await;
    println!("{:?}", is_flooded(server, 50_000).await);
    let counters = house.daemon.turn().counters().await.unwrap();
    assert_eq!(counters.allocations, 201, "a flood leaves nothing behind");
    witness.has_lost_nothing().await;
}

/// The times and the memory that the row allows are those of an idle machine, and of a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "wants an idle machine: scripts/test --long turn-hostile"]
async fn a_flood_costs_a_process_no_memory_and_its_users_little_time() {
    let process = Process::start_with(&["COTURN_SHARED_SECRET_KEY=north"]).await;
    let witness = Witness::begin_at(process.plain).await;
    let (_, before) = process.usage();
    let flooded = is_flooded(process.turn, 1_000_000).await;
    let (_, after) = process.usage();
    println!("{flooded:?}; {} KiB more", after.saturating_sub(before));
    assert!(
        after.saturating_sub(before) < 10 * 1_024,
        "{before} KiB, then {after}"
    );
    assert!(flooded.crowd < Duration::from_secs(2), "{flooded:?}");
    assert!(flooded.p99 < Duration::from_millis(50), "{flooded:?}");
    witness.has_lost_nothing().await;
}

/// Sends what the fuzz targets begin with, changed here and there, to these ports for so long, ten thousand a second;
/// returns how many were sent.
async fn malform(ports: [u16; 2], secs: u64) -> u64 {
    const EACH_TICK: usize = 100;
    let corpus = corpora();
    let sockets = [0; 8].map(|_| std::net::UdpSocket::bind((LOOPBACK, 0)).unwrap());
    for socket in &sockets {
        socket.set_nonblocking(true).unwrap();
    }
    let mut random = Random::seeded(2);
    let mut sent = 0_u64;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let end = clock::now() + Duration::from_secs(secs);
    while clock::now() < end {
        tick.tick().await;
        for _ in 0..EACH_TICK {
            let mut packet = corpus[random.u32() as usize % corpus.len()].clone();
            for _ in 0..random.u32() % 4 {
                let at = random.u32() as usize % packet.len();
                packet[at] ^= 1 << (random.u32() % 8);
            }
            packet.truncate(1 + random.u32() as usize % packet.len().max(40));
            let socket = &sockets[random.u32() as usize % sockets.len()];
            let port = ports[random.u32() as usize % ports.len()];
            // A full queue is a packet less.
            sent += u64::from(socket.send_to(&packet, (LOOPBACK, port)).is_ok());
        }
    }
    assert!(sent > 100 * secs, "{sent}");
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_packets_on_every_udp_port_disturb_no_call() {
    let house = house().await;
    let witness = Witness::begin(&house).await;
    malform([house.config.turn.port, witness.port()], 5).await;
    witness.has_lost_nothing().await;
    let mut client = {
        let (name, password) = minted(SECRET, "alice");
        Relayed::new(&house, &name, &password).await
    };
    assert_eq!(client.allocate().await, 0);
    assert_eq!(house.daemon.turn().allocations().await.unwrap().len(), 1);
}

/// Row R02, whose own length is ten minutes: `HANOK_MALFORMED_SECS` says for how long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute or ten: scripts/test --long turn-hostile"]
async fn malformed_packets_cost_a_process_less_than_a_quarter_of_a_core() {
    let secs: u64 = std::env::var("HANOK_MALFORMED_SECS").map_or(30, |secs| secs.parse().unwrap());
    let process = Process::start_with(&["COTURN_SHARED_SECRET_KEY=north"]).await;
    let witness = Witness::begin_at(process.plain).await;
    // What the call takes by itself.
    let span = Duration::from_secs(secs.min(30));
    let begun = process.processor_time();
    tokio::time::sleep(span).await;
    let between = process.processor_time();
    let sent = malform([process.turn.port(), witness.port()], secs).await;
    let ended = process.processor_time();
    let call = (between - begun).as_secs_f64() / span.as_secs_f64();
    let share = (ended - between).as_secs_f64() / secs as f64 - call;
    println!(
        "rejecting {sent} in {secs} s takes {:.1} % of a core, the call beside it {:.1} %",
        share * 100.0,
        call * 100.0
    );
    assert!(share < 0.25, "{share}");
    witness.has_lost_nothing().await;
}

/// What the fuzz targets begin with.
fn corpora() -> Vec<Vec<u8>> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut found = Vec::new();
    for target in [
        "stun",
        "stun_server",
        "turn_server",
        "rtp",
        "rtcp",
        "srtp",
        "client_hello",
    ] {
        for entry in std::fs::read_dir(root.join(target)).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            if !bytes.is_empty() {
                found.push(bytes[..bytes.len().min(1_400)].to_vec());
            }
        }
    }
    assert!(found.len() > 10);
    found
}
