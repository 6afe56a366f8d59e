//! Calls of browsers whose network lets no UDP through (RFC 6544), and connections that are none of a browser's.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hanok::media::worker::Counters;
use hanok::testing::client::{LOOPBACK, Negotiation, PATIENCE, publish_params, remote};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::call::{Call, media_goes_on};
use crate::house::{House, Witness, eventually};

fn streams(counters: &Counters) -> &AtomicU64 {
    &counters.streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_call_runs_over_tcp_in_both_offer_directions() {
    let house = House::open().await;
    let call = Call::over_tcp(house.plain(), 2).await;
    for (_, receiving) in &call.subscribers {
        let report = media_goes_on(receiving).await;
        assert_eq!((report.unexpected, report.unauthentic), (0, 0));
        assert_eq!(report.mapped, Some(receiving.local_addr));
    }
    let report = call.sending.report();
    assert!(report.receiver_reports > 0 && report.transport_wide_feedback > 0);
    assert_eq!(house.counted(streams), 3);
    call.sending.close().await;
    call.publisher.leave().await.unwrap();
    for (client, receiving) in call.subscribers {
        receiving.close().await;
        client.leave().await.unwrap();
    }
    house.is_empty().await;
    eventually("every connection is closed", async || {
        house.counted(streams) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn udp_and_tcp_meet_in_one_room() {
    let house = House::open().await;
    let session = house.session().await;
    let mut clients = [house.join(&session).await, house.join(&session).await];
    clients[1].over_tcp = true;
    let [(over_udp, first), (over_tcp, second)] = [
        clients[0].publish().await.unwrap(),
        clients[1].publish().await.unwrap(),
    ];
    let receiving = [
        clients[0].subscribe(&over_tcp).await.unwrap(),
        clients[1].subscribe(&over_udp).await.unwrap(),
    ];
    for receiving in &receiving {
        let arrives = receiving.until("media arrives", |report| report.video.received > 50);
        assert!(arrives.await.unwrap().video.is_flawless());
    }
    drop((first, second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_goes_on_over_a_new_connection_when_the_old_one_breaks() {
    let house = House::open().await;
    let call = Call::over_tcp(house.plain(), 1).await;
    for moved in [call.receiving(), &call.sending] {
        let local = moved.reconnect().await.unwrap();
        moved
            .until("a check is answered there", |report| {
                report.mapped == Some(local)
            })
            .await
            .unwrap();
        call.goes_on().await;
    }
    eventually("the broken connections are forgotten", async || {
        house.counted(streams) == 2
    })
    .await;
    call.is_in_step();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_who_stops_reading_costs_nobody_else_anything() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let mut subscriber = house.join(&witness.session).await;
    subscriber.over_tcp = true;
    let stream = witness.stream();
    let receiving = subscriber.subscribe(stream).await.unwrap();
    let arrives = receiving.until("media arrives", |report| report.video.received > 0);
    arrives.await.unwrap();
    receiving.stall(Duration::from_secs(3)).await;
    let sent = witness.sent();
    let goes_on = receiving.until("media goes on after the pause", |report| {
        report.video.newest > Some(sent + 100)
    });
    let report = goes_on.await.unwrap();
    assert_eq!((report.video.duplicates, report.video.shifts), (0, 0));
    assert_eq!((report.unexpected, report.unauthentic), (0, 0));
    witness.has_lost_nothing().await;
}

/// The media port of `session`'s worker, by TCP.
async fn tcp_port(house: &House, session: &str) -> SocketAddr {
    let mut client = house.join(session).await;
    let negotiation = Negotiation::new(LOOPBACK).await.unwrap();
    let params = publish_params(&negotiation.publisher_offer());
    let published = client.request("publishVideo", params).await.unwrap();
    let remote = remote(&published, "sdpAnswer").unwrap();
    assert_eq!(remote.tcp_candidates, remote.candidates);
    let mut candidates = remote.tcp_candidates.into_iter();
    candidates.find(|it| it.ip().is_loopback()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_cut_off_and_a_crowd_of_them_disturbs_no_call() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let port = tcp_port(&house, &witness.session).await;
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(port).await.unwrap());
    }
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0].repeat(20_000),
        &[0, 4, 22, 254, 253, 0].repeat(500),
        &[255; 100_000],
    ] {
        let mut stream = TcpStream::connect(port).await.unwrap();
        // It may be cut off while it still speaks.
        let _ = stream.write_all(nonsense).await;
    }
    // Nobody proves anything: all are closed, without a word.
    let mut answer = Vec::new();
    for stream in &mut idle {
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert_eq!(end.expect("it is closed in time").unwrap_or(0), 0);
    }
    eventually("nothing is left of them", async || {
        house.counted(streams) == 0
    })
    .await;
    witness.has_lost_nothing().await;
}
