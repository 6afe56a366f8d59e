//! Answers come from the address that was asked, also on a wildcard socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hanok::media::stun::{Class, Message, Method, TransactionId, Writer};
use hanok::testing::client::{LOOPBACK, Negotiation, PATIENCE, publish_params, remote};
use tokio::net::UdpSocket;

use crate::house::{House, eventually};

/// Two of the addresses of every loopback interface.
const ASKED: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];

/// A publisher whose checks go to the address `asked` is heard and answered from there alone.
async fn publishes_by_way_of(house: &House, session: &str, from: IpAddr, asked: IpAddr) {
    let mut client = house.join(session).await;
    let negotiation = Negotiation::new(from).await.unwrap();
    let params = publish_params(&negotiation.publisher_offer());
    let published = client.request("publishVideo", params).await.unwrap();
    let remote = remote(&published, "sdpAnswer").unwrap();
    let mut candidates = remote.candidates.iter();
    let port = candidates.find(|it| it.ip().is_loopback()).unwrap().port();
    let target = SocketAddr::new(asked, port);
    let sending = negotiation.connect(&remote, true, Some(target)).unwrap();
    let report = sending
        .until("feedback arrives", |report| report.receiver_reports > 0)
        .await
        .unwrap();
    assert!(report.is_connected());
    assert_eq!(report.strangers, 0, "everything came from {asked}");
    assert_eq!(report.mapped, Some(sending.local_addr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_call_runs_over_the_address_that_the_browser_asked() {
    let house = House::open().await;
    let session = house.session().await;
    for asked in ASKED {
        publishes_by_way_of(&house, &session, LOOPBACK, asked.into()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_runs_over_ipv6() {
    // A machine without IPv6 has no such calls.
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.is_err() {
        return;
    }
    let house = House::open().await;
    let session = house.session().await;
    let here = Ipv6Addr::LOCALHOST.into();
    publishes_by_way_of(&house, &session, here, here).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_goes_on_from_and_to_a_new_port_after_the_next_check() {
    let house = House::open().await;
    let call = house.call(1).await;
    for moved in [&call.sending, call.receiving()] {
        let checks = moved.report().checks;
        let began = tokio::time::Instant::now();
        let local = moved.rebind().await.unwrap();
        let report = moved
            .until("a check is answered at the new port", |report| {
                report.checks > checks && report.mapped == Some(local)
            })
            .await
            .unwrap();
        assert!(report.is_connected());
        call.goes_on().await;
        // Checks are 2.5 s apart (robustness R05).
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{:?}",
            began.elapsed()
        );
    }
    // The gaps were mended or skipped, and nothing came twice or out of step.
    call.is_in_step();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_goes_on_from_and_to_a_new_port_of_the_same_host_before_any_check() {
    let house = House::open().await;
    let call = house.call(1).await;
    for moved in [&call.sending, call.receiving()] {
        // Firefox checks every five seconds or so.
        moved.check_every(Duration::from_secs(20)).await;
        call.goes_on().await;
        let checks = moved.report().checks;
        moved.rebind().await.unwrap();
        call.goes_on().await;
        call.goes_on().await;
        assert_eq!(moved.report().checks, checks);
    }
    call.is_in_step();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_is_dropped_gives_its_ports_back() {
    let house = House::open().await;
    let port = house.config.turn.port;
    drop(house);
    eventually("the port is free", async || {
        std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stun_over_ipv6_is_answered_from_the_address_that_was_asked() {
    // A machine without IPv6 has nothing to answer.
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        return;
    };
    let house = House::open().await;
    let target = SocketAddr::from((Ipv6Addr::LOCALHOST, house.config.turn.port));
    let mut request = vec![0; 64];
    let id = TransactionId([6; 12]);
    let len = Writer::new(&mut request, Class::Request, Method::BINDING, id)
        .finish()
        .unwrap();
    socket.send_to(&request[..len], target).await.unwrap();
    let mut answer = vec![0; 1_500];
    let (len, from) = tokio::time::timeout(PATIENCE, socket.recv_from(&mut answer))
        .await
        .expect("an answer")
        .unwrap();
    assert_eq!((from, len), (target, 44));
    let answer = Message::parse(&answer[..len]).unwrap();
    assert_eq!(
        answer.xor_mapped_address(),
        Some(socket.local_addr().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stun_is_answered_from_the_address_that_was_asked_and_allocate_is_challenged() {
    let house = House::open().await;
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    for asked in ASKED {
        let target = SocketAddr::new(asked.into(), house.config.turn.port);
        for (method, class) in [
            (Method::BINDING, Class::Success),
            (Method::ALLOCATE, Class::Error),
        ] {
            let id = TransactionId([asked.octets()[3]; 12]);
            let mut request = vec![0; 64];
            let len = Writer::new(&mut request, Class::Request, method, id)
                .finish()
                .unwrap();
            socket.send_to(&request[..len], target).await.unwrap();
            let mut answer = vec![0; 1_500];
            let (len, from) = tokio::time::timeout(PATIENCE, socket.recv_from(&mut answer))
                .await
                .expect("an answer")
                .unwrap();
            assert_eq!(from, target);
            let answer = Message::parse(&answer[..len]).unwrap();
            assert_eq!(
                (answer.class(), answer.method(), answer.transaction_id()),
                (class, method, id)
            );
            if class == Class::Success {
                let local = socket.local_addr().unwrap();
                assert_eq!(answer.xor_mapped_address(), Some(local));
                assert_eq!(len, 32, "nothing but the address (robustness S06)");
            } else {
                assert_eq!(answer.error_code().map(|code| code.code), Some(401));
            }
        }
    }
}
