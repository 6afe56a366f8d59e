//! Calls: everything arrives, once and in order, whoever offers.

use std::net::SocketAddr;
use std::time::Duration;

use hanok::config::values::SubscribeOffer;
use hanok::media::rtp::rtcp::Writer;
use hanok::media::transport::srtp::Profile;
use hanok::testing::client::{Client, State, publish_params, remote};
use hanok::units::{MediaKind, Ssrc};
use serde_json::{Value, json};

use crate::house::{House, Witness, eventually, rest, try_http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_subscribers_get_everything_in_order_in_both_offer_directions() {
    let house = House::open().await;
    let call = house.call(3).await;
    for (_, receiving) in &call.subscribers {
        let report = receiving
            .until("a hundred packets arrive", |report| {
                report.video.received > 100
                    && report.audio.received > 50
                    && report.video.sender_reports > 0
                    && report.audio.sender_reports > 0
            })
            .await
            .unwrap();
        // The client offers all three profiles, GCM-256 first; `tests/peers` chooses the others.
        assert_eq!(report.state, State::Connected(Profile::AeadAes256Gcm));
        assert_eq!(report.mapped, Some(receiving.local_addr));
        assert!(report.video.is_flawless(), "{report:?}");
        assert!(report.audio.is_flawless(), "{report:?}");
        assert!(report.video.began_with_key_frame);
        assert_eq!(
            (report.unexpected, report.unauthentic, report.strangers),
            (0, 0, 0)
        );
    }
    call.all_arrives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_gets_reports_an_estimate_within_its_limit_and_transport_wide_feedback() {
    let house = House::open().await;
    let call = house.call(1).await;
    let report = call
        .sending
        .until("feedback arrives", |report| {
            report.receiver_reports > 1
                && report.remb.is_some()
                && report.transport_wide_feedback > 5
        })
        .await
        .unwrap();
    // A limit is about video; what its audio takes is added.
    let audio = 100_000;
    let limit = u64::from(house.config.streams.max_recv_kbps) * 1000 + audio;
    let (highest, _) = report.remb.unwrap();
    assert!(highest > 0 && highest <= limit, "{highest} > {limit}");
    assert_eq!(report.reported_lost, [0, 0]);
    assert_eq!((report.unexpected, report.unauthentic), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subscription_asks_for_one_key_frame_at_once() {
    let house = House::open().await;
    let call = house.call(1).await;
    let session = call.session.clone();
    // A request now, and the throttle of 300 ms opens again: what comes next is not the repetition after a second that
    // would serve a waiting subscriber too.
    let (_, first) = &call.subscribers[0];
    let key_frames = first.report().video.key_frames;
    let mut packet = Vec::new();
    let ssrc = first.ssrc(MediaKind::Video).unwrap();
    Writer::new(&mut packet).picture_loss_indication(Ssrc(1), Ssrc(ssrc));
    first.send_rtcp(packet).await;
    let report = first
        .until("the key frame arrives", |report| {
            report.video.key_frames > key_frames
        })
        .await
        .unwrap();
    first
        .until("four tenths of a second of video", |later| {
            later.video.received > report.video.received + 20
        })
        .await
        .unwrap();
    let before = call.sending.report();
    let mut late = house.join(&session).await;
    let receiving = late.subscribe(&call.stream).await.unwrap();
    receiving.connected().await.unwrap();
    let sent = call.sending.report().video.sent;
    let report = receiving
        .until("ten frames arrive", |report| report.video.received > 20)
        .await
        .unwrap();
    assert!(report.video.began_with_key_frame);
    // Within eight frames of connecting.
    assert!(report.video.first <= Some(sent + 16), "{report:?}");
    let after = call.sending.report();
    assert_eq!(
        after.key_frame_requests - before.key_frame_requests,
        1,
        "one request for one subscription"
    );
    assert_eq!(after.video.key_frames - before.video.key_frames, 1);
    assert!(first.report().video.is_flawless());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_lost_on_the_way_to_us_are_asked_for_and_repaired_for_everyone() {
    let house = House::open().await;
    let call = house.call(2).await;
    call.sending.lose_next(5).await;
    let report = call
        .sending
        .until("what was lost is asked for and sent again", |report| {
            report.video.dropped_on_purpose == 5 && report.retransmitted >= 5
        })
        .await
        .unwrap();
    assert!(report.nacked >= 5);
    call.all_arrives().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_lost_on_the_way_from_us_are_sent_again_to_who_asks() {
    let house = House::open().await;
    let call = house.call(2).await;
    let (_, unlucky) = &call.subscribers[0];
    unlucky.drop_next(7).await;
    unlucky
        .until("what was lost is repaired", |report| {
            report.video.dropped_on_purpose == 7 && report.video.recovered >= 7
        })
        .await
        .unwrap();
    call.all_arrives().await;
    let (_, lucky) = &call.subscribers[1];
    assert!(lucky.report().video.is_flawless());
    assert_eq!(call.sending.report().retransmitted, 0, "ours were kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenth_lost_on_every_path_is_mended() {
    let house = House::open().await;
    let call = house.call(3).await;
    call.sending.lossy(100).await;
    for (_, receiving) in &call.subscribers {
        receiving.lossy(100).await;
    }
    for (_, receiving) in &call.subscribers {
        receiving
            .until("much of it is mended", |report| {
                report.video.received > 200 && report.video.recovered > 10
            })
            .await
            .unwrap();
    }
    assert!(call.sending.report().retransmitted > 10);
    call.sending.lossy(0).await;
    for (_, receiving) in &call.subscribers {
        receiving.lossy(0).await;
    }
    let sent = call.sending.report().video.sent;
    for (_, receiving) in &call.subscribers {
        let report = receiving
            .until("nothing is missing", |report| {
                report.video.has_all_up_to(sent + 10)
            })
            .await
            .unwrap();
        assert_eq!((report.unexpected, report.unauthentic), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_is_asked_for_again_replaces_the_first() {
    let house = House::open().await;
    let mut call = house.call(1).await;
    let (mut client, mut receiving) = call.subscribers.pop().unwrap();
    for round in 0..4 {
        let next = if round % 2 == 0 {
            client.subscribe_as_offered(&call.stream).await.unwrap()
        } else {
            client.subscribe(&call.stream).await.unwrap()
        };
        receiving
            .until("the server closes the former", |report| {
                report.state == State::ClosedByServer
            })
            .await
            .unwrap();
        receiving = next;
        let report = receiving
            .until("media arrives", |report| report.video.received > 5)
            .await
            .unwrap();
        assert!(report.video.is_flawless());
    }
    assert_eq!(house.daemon.transports(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_calls_that_begin_at_once_all_run() {
    let house = House::open().await;
    let server = house.plain();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..30 {
        calls.spawn(async move { Witness::begin_at(server).await });
    }
    let calls = calls.join_all().await;
    assert_eq!(house.daemon.transports(), 60);
    for call in &calls {
        call.has_lost_nothing().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_who_offers() {
    for (offer, media_server) in [
        (SubscribeOffer::Client, "kurento"),
        (SubscribeOffer::Server, "mediasoup"),
    ] {
        let house = House::with(|config| config.sessions.subscribe_offer = offer).await;
        let session = house.session().await;
        let mut client = Client::open(house.plain()).await.unwrap();
        let token = house.token(&session, "PUBLISHER").await;
        let joined = client.join(&token).await.unwrap();
        assert_eq!(joined["mediaServer"], media_server);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_has_lost_the_picture_gets_a_key_frame() {
    let house = House::open().await;
    let call = house.call(1).await;
    let (_, receiving) = &call.subscribers[0];
    let began = receiving.report().video;
    receiving
        .until("the throttle opens", |report| {
            report.video.received > began.received + 30
        })
        .await
        .unwrap();
    let before = (call.sending.report(), receiving.report());
    let ssrc = receiving.ssrc(MediaKind::Video).unwrap();
    let mut packet = Vec::new();
    Writer::new(&mut packet).picture_loss_indication(Ssrc(1), Ssrc(ssrc));
    receiving.send_rtcp(packet).await;
    call.sending
        .until("the publisher is asked", |report| {
            report.key_frame_requests > before.0.key_frame_requests
        })
        .await
        .unwrap();
    receiving
        .until("the key frame arrives", |report| {
            report.video.key_frames > before.1.video.key_frames
        })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_end_something_frees_it() {
    let house = House::open().await;
    let mut call = house.call(4).await;
    assert_eq!(house.daemon.transports(), 5);

    // One unsubscribes: its own transport goes, nobody else notices.
    let (mut client, receiving) = call.subscribers.pop().unwrap();
    client
        .request("unsubscribeFromVideo", json!({"sender": call.stream}))
        .await
        .unwrap();
    receiving
        .until("the server closes", |report| {
            report.state == State::ClosedByServer
        })
        .await
        .unwrap();
    eventually("its transport is freed", async || {
        house.daemon.transports() == 4
    })
    .await;
    client.leave().await.unwrap();

    // One leaves without a word about its subscription.
    let (client, receiving) = call.subscribers.pop().unwrap();
    client.leave().await.unwrap();
    eventually("its transport is freed", async || {
        house.daemon.transports() == 3
    })
    .await;
    receiving.vanish().await;

    // The publisher unpublishes: all subscriptions end with it.
    call.publisher
        .request("unpublishVideo", json!({}))
        .await
        .unwrap();
    for (client, receiving) in &mut call.subscribers {
        let told = client
            .notification("participantUnpublished", |_| true)
            .await
            .unwrap();
        assert_eq!(told["connectionId"], call.publisher.connection.as_str());
        receiving
            .until("the server closes", |report| {
                report.state == State::ClosedByServer
            })
            .await
            .unwrap();
    }
    call.sending.close().await;
    eventually("all transports are freed", async || {
        house.daemon.transports() == 0
    })
    .await;
    let sessions = house.sessions().await;
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0]["connections"]["numberOfElements"], 3);

    // It publishes again, the session is closed by REST: everyone is told and nothing is left.
    let (_, sending) = call.publisher.publish().await.unwrap();
    sending.connected().await.unwrap();
    let id = sessions[0]["id"].as_str().unwrap();
    house
        .daemon
        .directory()
        .close(id, "sessionClosedByServer")
        .await
        .unwrap();
    let told = call
        .publisher
        .notification("participantEvicted", |_| true)
        .await
        .unwrap();
    assert_eq!(told["reason"], "sessionClosedByServer");
    sending
        .until("the server closes", |report| {
            report.state == State::ClosedByServer
        })
        .await
        .unwrap();
    house.is_empty().await;
    drop((call.publisher, call.subscribers));
    eventually("the sockets are closed", async || {
        house.daemon.sockets() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_or_is_removed_by_rest_frees_everything_too() {
    let house = House::with(|config| config.sessions.reconnect_grace = Duration::ZERO).await;
    let mut call = house.call(2).await;
    let session = call.session.clone();

    // A tab is killed.
    let (client, receiving) = call.subscribers.pop().unwrap();
    drop(client);
    receiving
        .until("the server closes", |report| {
            report.state == State::ClosedByServer
        })
        .await
        .unwrap();
    assert_eq!(house.daemon.transports(), 2);

    // The publisher is removed.
    let path = format!(
        "/openvidu/api/sessions/{session}/connection/{}",
        call.publisher.connection
    );
    let (status, _) = rest(house.plain(), "DELETE", &path, None).await;
    assert_eq!(status, 204);
    let (mut client, receiving) = call.subscribers.pop().unwrap();
    let told = client
        .notification("participantLeft", |told| {
            told["connectionId"] == call.publisher.connection.as_str()
        })
        .await
        .unwrap();
    assert_eq!(told["reason"], "forceDisconnectByServer");
    receiving
        .until("the server closes", |report| {
            report.state == State::ClosedByServer
        })
        .await
        .unwrap();
    drop((client, call.publisher));
    house.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_with_another_certificate_than_it_announced_never_connects() {
    let house = House::open().await;
    let session = house.session().await;
    let mut client = house.join(&session).await;
    let mut negotiation = client.negotiate().await.unwrap();
    negotiation.local.fingerprint[0] ^= 1;
    let params = publish_params(&negotiation.publisher_offer());
    let published = client.request("publishVideo", params).await.unwrap();
    let remote = remote(&published, "sdpAnswer").unwrap();
    let sending = negotiation.connect(&remote, true, None).unwrap();
    let told = client
        .notification("participantUnpublished", |_| true)
        .await
        .unwrap();
    assert_eq!(told["reason"], "networkDisconnect");
    let report = sending
        .until("the client learns of it", |report| {
            matches!(report.state, State::Failed(_))
        })
        .await
        .unwrap();
    assert_eq!((report.video.sent, report.receiver_reports), (0, 0));
    eventually("its transport is freed", async || {
        house.daemon.transports() == 0
    })
    .await;
    // With the right one it may try again.
    let (_, sending) = client.publish().await.unwrap();
    sending.connected().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_publisher_reaches_fifty_subscribers_on_one_worker() {
    let house = House::open().await;
    let call = house.call(50).await;
    assert_eq!(house.daemon.transports(), 51);
    let (_, last) = call.subscribers.last().unwrap();
    last.until("a hundred packets arrive", |report| {
        report.video.received > 100
    })
    .await
    .unwrap();
    call.all_arrives().await;
    for (_, receiving) in &call.subscribers {
        let report = receiving.report();
        assert!(report.video.began_with_key_frame);
        assert_eq!(
            (report.unexpected, report.unauthentic, report.strangers),
            (0, 0, 0)
        );
    }
    let requests = call.sending.report().key_frame_requests;
    assert!(requests <= 40, "{requests} requests in some seconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_stops_while_many_join_ends_all_the_same() {
    let house = House::open().await;
    let server = house.plain();
    let mut hammers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        hammers.spawn(async move {
            let mut joined = Vec::new();
            // Until the daemon is gone.
            loop {
                let Some((session, token)) = try_session(server).await else {
                    return joined.len();
                };
                let Ok(mut client) = Client::open(server).await else {
                    return joined.len();
                };
                if client.join(&token).await.is_err() {
                    return joined.len();
                }
                joined.push((session, client));
            }
        });
    }
    eventually("they join", async || house.sessions().await.len() > 20).await;
    let House { daemon, config } = house;
    tokio::time::timeout(config.stop_deadline, daemon.stop())
        .await
        .expect("within HANOK_STOP_DEADLINE");
    let joined: usize = hammers.join_all().await.into_iter().sum();
    assert!(joined > 0);
}

/// A new session and a token for it, while there is a server.
async fn try_session(server: SocketAddr) -> Option<(String, String)> {
    let (_, _, body) = try_http(server, "POST", "/openvidu/api/sessions", Some(json!({}))).await?;
    let session: Value = serde_json::from_str(&body).ok()?;
    let session = session["id"].as_str()?.to_owned();
    let path = format!("/openvidu/api/sessions/{session}/connection");
    let (_, _, body) = try_http(server, "POST", &path, Some(json!({}))).await?;
    let connection: Value = serde_json::from_str(&body).ok()?;
    Some((session, connection["token"].as_str()?.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_stops_tells_everyone_and_ends_within_its_deadline() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    witness.has_lost_nothing().await;
    let session = witness.session.clone();
    let mut client = house.join(&session).await;
    let House { daemon, config } = house;
    tokio::time::timeout(config.stop_deadline, daemon.stop())
        .await
        .expect("within HANOK_STOP_DEADLINE");
    let told = client
        .notification("participantEvicted", |_| true)
        .await
        .unwrap();
    assert_eq!(told["reason"], "openviduServerStopped");
    assert!(client.closed().await.is_ok());
    assert!(config.stop_deadline > Duration::ZERO);
}
