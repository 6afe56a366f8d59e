//! Answers come from the address that was asked, also on a wildcard socket.

use std::net::{Ipv4Addr, SocketAddr};

use hanok::media::stun::{Class, Message, Method, TransactionId, Writer};
use hanok::testing::client::{LOOPBACK, Negotiation, PATIENCE, publish_params, remote};
use tokio::net::UdpSocket;

use crate::house::House;

/// Two of the addresses of every loopback interface.
const ASKED: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_call_runs_over_the_address_that_the_browser_asked() {
    let house = House::open().await;
    let session = house.session().await;
    for asked in ASKED {
        let mut client = house.join(&session).await;
        let negotiation = Negotiation::new(LOOPBACK).await.unwrap();
        let params = publish_params(&negotiation.publisher_offer());
        let published = client.request("publishVideo", params).await.unwrap();
        let remote = remote(&published, "sdpAnswer").unwrap();
        let candidate = remote
            .candidates
            .iter()
            .find(|candidate| candidate.ip().is_loopback())
            .unwrap();
        let target = SocketAddr::new(asked.into(), candidate.port());
        let sending = negotiation.connect(&remote, true, Some(target)).unwrap();
        let report = sending
            .until("feedback arrives", |report| report.receiver_reports > 0)
            .await
            .unwrap();
        assert!(report.is_connected());
        assert_eq!(report.strangers, 0, "everything came from {asked}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stun_is_answered_from_the_address_that_was_asked_and_allocate_is_refused() {
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
                assert_eq!(answer.error_code().map(|code| code.code), Some(403));
            }
        }
    }
}
