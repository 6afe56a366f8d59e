//! Calls of browsers that reach the media server through allocations of its own TURN server.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hanok::media::stun::{AttributeType, Method};
use hanok::testing::client::{Client, LOOPBACK, PeerConnection, Remote, publish_params, remote};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::call::media_goes_on;
use crate::house::House;
use crate::turn::{Relayed, minted, two_workers};

const CHANNEL: u16 = 0x4000;

/// An allocation in front of a browser that knows nothing of it: what goes to `local` leaves by a channel to the media
/// port, and what comes by the channel comes from `local`.
struct Tunnel {
    local: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Tunnel {
    async fn open(house: &House, media: SocketAddr) -> Self {
        let (username, password) = minted("north", "browser");
        let mut relayed = Relayed::new(house, &username, &password).await;
        assert_eq!(relayed.allocate().await, 0);
        let bound = relayed.ask(Method::CHANNEL_BIND, |writer| {
            let [high, low] = CHANNEL.to_be_bytes();
            writer.attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0]);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, media);
        });
        assert_eq!(bound.await, 0, "{media}");
        let near = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
        let local = near.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(carry(near, relayed.socket));
        Self {
            local,
            _tasks: tasks,
        }
    }
}

async fn carry(near: UdpSocket, server: UdpSocket) {
    let (mut out, mut back) = ([0; 2_048], [0; 2_048]);
    let mut browser = None;
    loop {
        tokio::select! {
            Ok((len, from)) = near.recv_from(&mut out[4..]) => {
                browser = Some(from);
                out[..2].copy_from_slice(&CHANNEL.to_be_bytes());
                out[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
                let _ = server.send(&out[..4 + len]).await;
            }
            Ok(len) = server.recv(&mut back) => {
                assert_eq!(back[..2], CHANNEL.to_be_bytes());
                assert_eq!(usize::from(u16::from_be_bytes([back[2], back[3]])), len - 4);
                if let Some(browser) = browser {
                    let _ = near.send_to(&back[4..len], browser).await;
                }
            }
        }
    }
}

fn media_of(remote: &Remote) -> SocketAddr {
    let mut candidates = remote.candidates.iter();
    *candidates.find(|addr| addr.ip() == LOOPBACK).unwrap()
}

async fn publish(house: &House, client: &mut Client) -> (String, PeerConnection, Tunnel) {
    let negotiation = client.negotiate().await.unwrap();
    let params = publish_params(&negotiation.publisher_offer());
    let published = client.request("publishVideo", params).await.unwrap();
    let remote = remote(&published, "sdpAnswer").unwrap();
    let tunnel = Tunnel::open(house, media_of(&remote)).await;
    let sending = negotiation.connect(&remote, true, Some(tunnel.local));
    let stream = published["id"].as_str().unwrap().to_owned();
    (stream, sending.unwrap(), tunnel)
}

async fn subscribe(house: &House, client: &mut Client, stream: &str) -> (PeerConnection, Tunnel) {
    let negotiation = client.negotiate().await.unwrap();
    let params = json!({"sender": stream, "sdpOffer": negotiation.subscriber_offer()});
    let answered = client.request("receiveVideoFrom", params).await.unwrap();
    let remote = remote(&answered, "sdpAnswer").unwrap();
    let tunnel = Tunnel::open(house, media_of(&remote)).await;
    let receiving = negotiation.connect(&remote, false, Some(tunnel.local));
    (receiving.unwrap(), tunnel)
}

/// The workers that have allocations.
async fn workers(house: &House) -> BTreeSet<String> {
    let allocations = house.daemon.turn().allocations().await.unwrap();
    let worker = |id: &str| id.split('.').next().unwrap().to_owned();
    allocations.iter().map(|one| worker(&one.id)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_runs_through_allocations_of_the_calls_worker_and_of_the_other() {
    let house = House::with(two_workers).await;
    let session = house.session().await;
    let mut publisher = house.join(&session).await;
    let (stream, sending, _tunnel) = publish(&house, &mut publisher).await;
    // The kernel places clients by their ports: go on until both workers have some.
    let mut viewers = Vec::new();
    while viewers.len() < 2 || (workers(&house).await.len() < 2 && viewers.len() < 32) {
        let mut viewer = house.join(&session).await;
        let (receiving, tunnel) = subscribe(&house, &mut viewer, &stream).await;
        viewers.push((viewer, receiving, tunnel));
    }
    assert_eq!(workers(&house).await.len(), 2);
    for (_, receiving, _) in &viewers {
        let report = media_goes_on(receiving).await;
        let mapped = report.mapped.unwrap().port();
        assert!(house.config.turn.relay_ports.contains(mapped), "{mapped}");
    }
    let report = sending.report();
    assert!(report.receiver_reports > 0 && report.transport_wide_feedback > 0);
    assert_eq!(house.counted(|counters| &counters.relay_sockets), 0);
    assert_eq!(house.counted(|counters| &counters.crossing_dropped), 0);
}
