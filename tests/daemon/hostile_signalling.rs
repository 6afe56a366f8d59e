//! Requests that no client of good will sends (`robustness` S19, S22, S23, S30, S32, S33, S39): an error for who
//! sent them, nothing left behind, and nobody else notices.

use std::time::Duration;

use hanok::config::Config;
use hanok::testing::client::{Client, Error, Message, Negotiation, publish_params};
use serde_json::{Value, json};

use crate::house::{House, Witness, eventually, http, rest};

/// Lost participants are gone at once.
fn impatient(config: &mut Config) {
    config.sessions.reconnect_grace = Duration::ZERO;
}

/// Offers that must be refused, by name.
fn bad_offers(good: &str) -> Vec<(&'static str, String)> {
    let without = |prefix: &str| {
        let lines = good.split_inclusive("\r\n");
        lines
            .filter(|line| !line.starts_with(prefix))
            .collect::<String>()
    };
    let (head, sections) = good.split_at(good.find("m=").unwrap());
    let section = &sections[..sections[2..].find("m=").unwrap() + 2];
    vec![
        ("empty", String::new()),
        ("no description", "hello".to_owned()),
        ("JSON", "{\"type\":\"offer\"}".to_owned()),
        (
            "control characters",
            good.replace("a=rtcp-mux", "a=rtcp\0mux"),
        ),
        ("only a head", head.to_owned()),
        ("half of it", good[..good.len() / 3].to_owned()),
        (
            "ten thousand lines",
            head.to_owned() + &"m=a\r\n".repeat(10_000),
        ),
        ("257 sections", head.to_owned() + &section.repeat(257)),
        (
            "more lines than any",
            good.to_owned() + &"a=x\r\n".repeat(20_000),
        ),
        (
            "a long line",
            good.replace("a=mid:0", &format!("a=mid:{}", "0".repeat(9_000))),
        ),
        ("the same mid twice", good.replace("a=mid:1", "a=mid:0")),
        ("no fingerprint", without("a=fingerprint")),
        (
            "a fingerprint of rubbish",
            good.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 ZZ:"),
        ),
        (
            "a fingerprint under MD5",
            good.replace("a=fingerprint:sha-256", "a=fingerprint:md5"),
        ),
        ("no credentials", without("a=ice-ufrag")),
        (
            "a short password",
            good.replace("a=ice-pwd:", "a=ice-pwd:x\r\na=x:"),
        ),
        (
            "we shall be the client",
            good.replace("a=setup:actpass", "a=setup:passive"),
        ),
        (
            "no role",
            good.replace("a=setup:actpass", "a=setup:holdconn"),
        ),
        (
            "two roles",
            good.replacen("a=setup:actpass", "a=setup:active\r\na=setup:passive", 1),
        ),
        (
            "two sections, two roles",
            good.replacen("a=setup:actpass", "a=setup:passive", 1),
        ),
        (
            "two directions",
            good.replace("a=sendonly", "a=sendonly\r\na=recvonly"),
        ),
        ("nothing is sent", good.replace("a=sendonly", "a=inactive")),
        (
            "no codec of ours",
            good.replace("VP8/90000", "H263/90000")
                .replace("opus/48000/2", "speex/8000")
                .replace("VP9/90000", "H261/90000"),
        ),
        (
            "payload types out of range",
            good.replace("a=rtpmap:96", "a=rtpmap:4096"),
        ),
        ("plain RTP", good.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP")),
    ]
}

/// Offers that look odd and must be served.
fn odd_offers(good: &str) -> Vec<(&'static str, String)> {
    let candidates: String = (0..1_000)
        .map(|number| {
            format!("a=candidate:{number} 1 udp 1 x{number}.local 9 typ host\r\na=candidate:1 1 udp 1 10.0.0.1 22 typ host\r\n")
        })
        .collect();
    let channel = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\n\
                   a=max-message-size:262144\r\n";
    let transport: String = good
        .split_inclusive("\r\n")
        .filter(|line| {
            ["a=ice-", "a=fing", "a=setu"]
                .iter()
                .any(|it| line.starts_with(it))
        })
        .take(4)
        .collect();
    vec![
        (
            "candidates by name and in private",
            good.to_owned() + &candidates,
        ),
        (
            "a data channel (S22)",
            good.replace("BUNDLE 0 1", "BUNDLE 0 1 2") + channel + &transport,
        ),
        (
            "two hundred kilobytes of attributes",
            good.to_owned() + &format!("a=unknown:{}\r\n", "y".repeat(1_000)).repeat(200),
        ),
        (
            "unknown attributes",
            good.to_owned() + &"a=unknown:thing\r\n".repeat(100),
        ),
    ]
}

fn publishers(session: &Value) -> usize {
    let connections = session["connections"]["content"].as_array().unwrap();
    connections
        .iter()
        .map(|connection| connection["publishers"].as_array().unwrap().len())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_offers_of_publishers_are_refused_and_leave_no_ghost() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    let mut client = house.join(&session).await;
    let negotiation = client.negotiate().await.unwrap();
    let good = negotiation.publisher_offer();
    let [audio, video] =
        [negotiation.sources.audio, negotiation.sources.video].map(|it| it.to_string());
    let mut offers = bad_offers(&good);
    offers.push(("one source in two sections", good.replace(&video, &audio)));
    for (name, offer) in offers {
        let refused = client.request("publishVideo", publish_params(&offer)).await;
        let code = refused.as_ref().err().and_then(Error::code);
        assert!(matches!(code, Some(302 | 800)), "{name}: {refused:?}");
    }
    let views = house.sessions().await;
    let view = views.iter().find(|view| view["id"] == session.as_str());
    assert_eq!(publishers(view.unwrap()), 0);
    assert_eq!(house.daemon.transports(), 2, "the witness's");

    // The same client, on the same socket, may then do it right.
    for (name, offer) in odd_offers(&good) {
        let published = client.request("publishVideo", publish_params(&offer)).await;
        let answer = published.unwrap_or_else(|error| panic!("{name}: {error}"));
        let answer = answer["sdpAnswer"].as_str().unwrap();
        assert_eq!(
            answer.contains("m=application 0 "),
            offer.contains("m=application"),
            "{name}: {answer}"
        );
        client.request("unpublishVideo", json!({})).await.unwrap();
    }
    let (_, sending) = client.publish().await.unwrap();
    sending.connected().await.unwrap();
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_descriptions_of_subscribers_are_refused_and_leave_no_ghost() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    let mut publisher = house.join(&session).await;
    let (stream, sending) = publisher.publish().await.unwrap();
    sending.connected().await.unwrap();
    let mut client = house.join(&session).await;
    let negotiation = client.negotiate().await.unwrap();
    let good = negotiation.subscriber_offer();
    for (name, offer) in bad_offers(&good) {
        // These two are what a subscriber offers anyway, or no contradiction for it.
        if ["nothing is sent", "two directions"].contains(&name) {
            continue;
        }
        let params = json!({"sender": stream, "sdpOffer": offer});
        let refused = client.request("receiveVideoFrom", params).await;
        let code = refused.as_ref().err().and_then(Error::code);
        assert!(
            matches!(code, Some(302 | 800)),
            "offer, {name}: {refused:?}"
        );

        let params = json!({"sender": stream, "reconnect": false});
        let offered = client.request("prepareReceiveVideoFrom", params).await;
        offered.unwrap();
        let params = json!({"sender": stream, "sdpAnswer": offer});
        let refused = client.request("receiveVideoFrom", params).await;
        let code = refused.as_ref().err().and_then(Error::code);
        // What can be read is seen to answer none of our offers.
        assert!(
            matches!(code, Some(302 | 303 | 800)),
            "answer, {name}: {refused:?}"
        );
    }
    // The last offer may still be waiting for its own answer.
    let params = json!({"sender": stream});
    let unsubscribed = client.request("unsubscribeFromVideo", params).await;
    unsubscribed.unwrap();
    eventually("their transports are closed", async || {
        house.daemon.transports() == 3
    })
    .await;
    let receiving = client.subscribe(&stream).await.unwrap();
    receiving
        .until("media arrives", |report| report.video.received > 5)
        .await
        .unwrap();
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_larger_than_any_message_ends_the_socket_alone() {
    let house = House::with(impatient).await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    let stays = house.join(&session).await;
    let client = house.join(&session).await;
    let negotiation = Negotiation::new(hanok::testing::client::LOOPBACK)
        .await
        .unwrap();
    let offer = negotiation.publisher_offer() + &"a=x\r\n".repeat(2 << 20);
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "publishVideo", "params": publish_params(&offer)});
    // It may be closed before it has written everything.
    let _ = client.send(Message::text(request.to_string())).await;
    let _ = client.closed().await.unwrap();
    eventually("its participant is gone", async || {
        let views = house.sessions().await;
        let view = views.iter().find(|view| view["id"] == session.as_str());
        view.unwrap()["connections"]["numberOfElements"] == 1
    })
    .await;
    stays.leave().await.unwrap();
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_candidates_end_the_socket_at_most() {
    let house = House::with(impatient).await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    let mut client = house.join(&session).await;
    let (_, sending) = client.publish().await.unwrap();
    sending.connected().await.unwrap();
    let connection = client.connection.clone();
    // What a browser in a strange place may send is answered.
    for number in 0..300 {
        let candidate = format!(
            "candidate:{number} 1 udp 1 10.0.0.{} 22 typ host",
            number % 256
        );
        let params = json!({"endpointName": connection, "candidate": candidate, "sdpMid": "0", "sdpMLineIndex": 0});
        let answer = client.request("onIceCandidate", params).await.unwrap();
        assert!(answer.is_object());
    }
    // A flood is not.
    let frame = json!({"jsonrpc": "2.0", "id": 1, "method": "onIceCandidate", "params":
        {"endpointName": connection, "candidate": "candidate:1 1 udp 1 host.example 22 typ host", "sdpMid": "0",
        "sdpMLineIndex": 0}});
    for _ in 0..10_000 {
        if client.send(Message::text(frame.to_string())).await.is_err() {
            break;
        }
    }
    let code = client.closed().await.unwrap();
    assert!(matches!(code, Some(1008) | None), "{code:?}");
    eventually("it is gone, with its session", async || {
        house.sessions().await.len() == 1 && house.daemon.transports() == 2
    })
    .await;
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_no_requests_are_answered_with_the_codes_of_json_rpc() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    let mut client = house.join(&session).await;
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let in_params = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1000000,\"method\":\"echo\",\"params\":{{\"x\":{}}}}}",
        nested(10_000)
    );
    for (frame, code) in [
        ("{", -32700),
        ("", -32700),
        (nested(10_000).as_str(), -32700),
        (nested(100).as_str(), -32600),
        (in_params.as_str(), -32700),
        ("{\"id\":1e400,\"method\":\"echo\"}", -32700),
        ("[]", -32600),
        ("null", -32600),
        ("{\"jsonrpc\":\"2.0\"}", -32600),
    ] {
        client.send(Message::text(frame)).await.unwrap();
        let shown: String = frame.chars().take(40).collect();
        let told = client
            .notification("error", |_| true)
            .await
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(told["code"], code, "{shown}");
    }
    // The last of two equal keys counts, as in browsers.
    client
        .send(Message::text(
            r#"{"jsonrpc":"2.0","id":"x","method":"leaveRoom","method":"echo","params":{}}"#,
        ))
        .await
        .unwrap();
    let refused = client.request("noSuchMethod", json!({})).await;
    assert_eq!(refused.unwrap_err().code(), Some(-32601));
    let (_, sending) = client.publish().await.unwrap();
    sending.connected().await.unwrap();
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_wrong_used_foreign_or_guessed_join_nothing() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let (ours, other) = (house.session().await, house.session().await);
    let token = house.token(&ours, "PUBLISHER").await;
    let foreign = house.token(&other, "PUBLISHER").await;
    let mut joined = Client::open(house.plain()).await.unwrap();
    joined.join(&token).await.unwrap();
    let guessed = format!("{}AAAAAAAAAAAAAAAA", &token[..token.len() - 16]);
    let bare = token.rsplit_once("token=").unwrap().1;
    let foreign_bare = foreign.rsplit_once("token=").unwrap().1;
    let mut attacker = Client::open(house.plain()).await.unwrap();
    for (token, session, code) in [
        (token.as_str(), ours.as_str(), 401),
        (bare, &ours, 401),
        (&guessed, &ours, 401),
        (&foreign, &ours, 401),
        (foreign_bare, &ours, 401),
        ("", &ours, 401),
        ("tok_", &ours, 401),
        (&token[..token.len() - 1], &ours, 401),
        (&foreign, "no_such_session", 202),
    ] {
        // Whatever else is claimed changes nothing (S32, S33).
        let params = json!({"token": token, "session": session, "platform": "x", "metadata": "", "secret": "",
            "recorder": true, "dashboard": true, "role": "MODERATOR", "id": joined.connection});
        let refused = attacker.request("joinRoom", params).await;
        let refused = refused.expect_err(token);
        assert_eq!(refused.code(), Some(code), "{token} {session}: {refused}");
    }
    // Ten failures end the socket.
    let _ = attacker.join(&guessed).await;
    assert_eq!(attacker.closed().await.unwrap(), Some(1008));

    let views = house.sessions().await;
    let view =
        |id: &str| views.iter().find(|view| view["id"] == id).unwrap()["connections"].clone();
    assert_eq!(view(&ours)["numberOfElements"], 1);
    assert_eq!(view(&other)["numberOfElements"], 0);
    // Of two who use one token at the same moment, one gets in.
    let shared = house.token(&other, "PUBLISHER").await;
    let mut first = Client::open(house.plain()).await.unwrap();
    let mut second = Client::open(house.plain()).await.unwrap();
    let (first, second) = tokio::join!(first.join(&shared), second.join(&shared));
    assert_eq!(first.is_ok() as u8 + second.is_ok() as u8, 1);

    // Nobody was hurt, and the token that was tried in the wrong place is still good in its own.
    let (_, sending) = joined.publish().await.unwrap();
    sending.connected().await.unwrap();
    let mut rightful = Client::open(house.plain()).await.unwrap();
    rightful.join(&foreign).await.unwrap();
    witness.has_lost_nothing().await;
}

/// Requests that name what is somebody else's, all of which must fail (S33).
fn trespasses(
    stream: &str,
    connections: [&str; 2],
    own: &Negotiation,
) -> Vec<(&'static str, Value)> {
    let [publisher, viewer] = connections;
    let rubbish = "v=0\r\nrubbish\r\n";
    let (sending, receiving) = (own.publisher_offer(), own.subscriber_offer());
    let mut requests = Vec::new();
    for sdp in [rubbish, "", &sending, &receiving] {
        requests.push((
            "reconnectStream",
            json!({"stream": stream, "sdpString": sdp, "forciblyReconnect": true}),
        ));
        requests.push((
            "receiveVideoFrom",
            json!({"sender": stream, "sdpAnswer": sdp}),
        ));
    }
    for sdp in [rubbish, ""] {
        requests.push((
            "reconnectStream",
            json!({"stream": stream, "sdpOffer": sdp}),
        ));
        requests.push((
            "receiveVideoFrom",
            json!({"sender": stream, "sdpOffer": sdp}),
        ));
        let mut publish = publish_params(sdp);
        for name in ["stream", "streamId", "sender", "id"] {
            publish[name] = stream.into();
        }
        for name in ["connectionId", "endpointName", "participantPublicId"] {
            publish[name] = publisher.into();
        }
        requests.push(("publishVideo", publish));
    }
    for name in [stream, publisher, viewer] {
        requests.push(("connect", json!({"sessionId": name, "reconnect": true})));
    }
    for connection in [publisher, viewer] {
        // Neither of them is the name of a stream.
        requests.push((
            "reconnectStream",
            json!({"stream": connection, "sdpOffer": sending}),
        ));
        requests.push(("forceDisconnect", json!({"connectionId": connection})));
    }
    requests.push(("forceUnpublish", json!({"streamId": stream})));
    requests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_about_what_is_somebody_elses_fail_and_its_owner_notices_nothing() {
    // Where nobody is told how good connections are, which depends on what else this machine does.
    let house = House::with(|config| config.community_edition = true).await;
    let mut call = house.call(1).await;
    let member = house.join(&call.session).await;
    let foreigner = house.join(&house.session().await).await;
    let stranger = Client::open(house.plain()).await.unwrap();
    let (mut viewer, receiving) = call.subscribers.pop().unwrap();
    let names = [call.publisher.connection.clone(), viewer.connection.clone()];
    for victim in [&mut call.publisher, &mut viewer] {
        victim.request("echo", json!({})).await.unwrap();
        victim.heard();
    }
    call.subscribers.push((viewer, receiving));

    for (who, mut attacker) in [
        ("member", member),
        ("foreigner", foreigner),
        ("stranger", stranger),
    ] {
        let before = house.sessions().await;
        let own = attacker.negotiate().await.unwrap();
        let names = [names[0].as_str(), names[1].as_str()];
        for (method, params) in trespasses(&call.stream, names, &own) {
            let shown: String = params.to_string().chars().take(120).collect();
            let refused = attacker.request(method, params).await;
            let code = refused.as_ref().err().and_then(Error::code);
            assert!(code.is_some(), "{who}: {method} {shown}: {refused:?}");
        }
        call.has_lost_nothing().await;
        for victim in call.clients() {
            victim.request("echo", json!({})).await.unwrap();
            assert_eq!(victim.heard(), [], "{who}");
        }
        assert_eq!(house.sessions().await, before, "{who}");
        assert_eq!(house.daemon.transports(), 2, "{who}");
        if who == "member" {
            // What is one's own still works, and so does what is for everybody.
            let receiving = attacker.subscribe(&call.stream).await.unwrap();
            receiving.connected().await.unwrap();
            let (_, sending) = attacker.publish().await.unwrap();
            sending.connected().await.unwrap();
            attacker.leave().await.unwrap();
            eventually("it has left", async || house.daemon.transports() == 2).await;
            for victim in call.clients() {
                let told = victim.notification("participantLeft", |_| true).await;
                assert_eq!(told.unwrap()["reason"], "disconnect");
                victim.heard();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_publishes_nothing_and_strangers_and_other_sessions_reach_nothing() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let (ours, other) = (house.session().await, house.session().await);
    let mut publisher = house.join(&other).await;
    let (stream, sending) = publisher.publish().await.unwrap();
    sending.connected().await.unwrap();
    let mut subscriber = Client::open(house.plain()).await.unwrap();
    let token = house.token(&ours, "SUBSCRIBER").await;
    subscriber.join(&token).await.unwrap();
    let refused = subscriber.publish().await.unwrap_err();
    assert_eq!(refused.code(), Some(401), "{refused}");
    // A stream of another session does not exist here.
    let refused = subscriber.subscribe(&stream).await.unwrap_err();
    assert_eq!(refused.code(), Some(102), "{refused}");
    let params = json!({"connectionId": publisher.connection});
    let refused = subscriber.request("forceDisconnect", params).await;
    assert!(refused.is_err());
    // Before joining nothing but ping is served.
    let mut stranger = Client::open(house.plain()).await.unwrap();
    let refused = stranger.publish().await.unwrap_err();
    assert_eq!(refused.code(), Some(803), "{refused}");
    let refused = stranger.subscribe(&stream).await.unwrap_err();
    assert_eq!(refused.code(), Some(803), "{refused}");
    assert_eq!(house.daemon.transports(), 3);
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_secrets_of_sockets_and_of_rest_add_up_and_shut_out_secrets_alone() {
    let house = House::open().await;
    let session = house.session().await;
    let token = house.token(&session, "PUBLISHER").await;
    let join = |secret: &str, token: &str| {
        json!({"token": token, "session": session, "platform": "x", "metadata": "", "secret": secret,
            "recorder": true})
    };
    // The development secret opens the door to a recorder that nobody sees.
    let mut recorder = Client::open(house.plain()).await.unwrap();
    let joined = recorder.request("joinRoom", join("MY_SECRET", "")).await;
    assert_eq!(joined.unwrap()["id"], "RECORDER");
    let shown = house.sessions().await;
    assert_eq!(shown[0]["connections"]["numberOfElements"], 0);

    for guess in ["my_secret", "MY_SECRET ", "MY_SECRE", "OPENVIDUAPP", "x"] {
        let mut guesser = Client::open(house.plain()).await.unwrap();
        for _ in 0..2 {
            let refused = guesser.request("joinRoom", join(guess, "")).await;
            assert_eq!(refused.unwrap_err().code(), Some(401), "{guess}");
        }
    }
    let (status, head, _) = http(house.plain(), "GET", "/openvidu/api/sessions", None).await;
    assert_eq!(status, 401, "the right secret is not looked at");
    assert!(head.to_lowercase().contains("retry-after:"), "{head}");
    let mut late = Client::open(house.plain()).await.unwrap();
    let refused = late.request("joinRoom", join("MY_SECRET", "")).await;
    assert_eq!(refused.unwrap_err().code(), Some(401));
    let joined = late.request("joinRoom", join("MY_SECRET", &token)).await;
    assert!(joined.unwrap()["id"].as_str().unwrap().starts_with("con_"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moderators_end_streams_and_participants_with_their_media_and_nobody_elses() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    let mut moderator = Client::open(house.plain()).await.unwrap();
    let token = house.token(&session, "MODERATOR").await;
    moderator.join(&token).await.unwrap();
    let mut victim = house.join(&session).await;
    let (stream, sending) = victim.publish().await.unwrap();
    sending.connected().await.unwrap();
    let receiving = moderator.subscribe(&stream).await.unwrap();
    receiving
        .until("media arrives", |report| report.video.received > 0)
        .await
        .unwrap();
    assert_eq!(house.daemon.transports(), 4);

    let unpublish = json!({"streamId": stream});
    moderator
        .request("forceUnpublish", unpublish.clone())
        .await
        .unwrap();
    let told = victim
        .notification("participantUnpublished", |_| true)
        .await;
    assert_eq!(told.unwrap()["reason"], "forceUnpublishByUser");
    eventually("its transports are closed", async || {
        house.daemon.transports() == 2
    })
    .await;
    let refused = moderator.request("forceUnpublish", unpublish).await;
    assert_eq!(refused.unwrap_err().code(), Some(105));

    // REST does the same to the next stream.
    let (stream, sending) = victim.publish().await.unwrap();
    sending.connected().await.unwrap();
    let path = format!("/openvidu/api/sessions/{session}/stream/{stream}");
    assert_eq!(rest(house.plain(), "DELETE", &path, None).await.0, 204);
    let by_server = |params: &Value| params["reason"] == "forceUnpublishByServer";
    victim
        .notification("participantUnpublished", by_server)
        .await
        .unwrap();
    assert_eq!(rest(house.plain(), "DELETE", &path, None).await.0, 404);

    let (_, sending) = victim.publish().await.unwrap();
    sending.connected().await.unwrap();
    let params = json!({"connectionId": victim.connection});
    moderator.request("forceDisconnect", params).await.unwrap();
    let told = victim.notification("participantEvicted", |_| true).await;
    assert_eq!(told.unwrap()["reason"], "forceDisconnectByUser");
    eventually("its transport is closed", async || {
        house.daemon.transports() == 2
    })
    .await;
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_signals_and_changes_of_a_connection_reach_the_clients_that_they_concern() {
    let house = House::open().await;
    let session = house.session().await;
    let mut a = house.join(&session).await;
    let mut b = house.join(&session).await;
    let signal = json!({"session": session, "type": "chat", "data": "hello", "to": [b.connection]});
    let (status, _) = rest(house.plain(), "POST", "/openvidu/api/signal", Some(signal)).await;
    assert_eq!(status, 200);
    let told = b.notification("sendMessage", |_| true).await.unwrap();
    assert_eq!(
        told,
        json!({"type": "chat", "data": "hello"}),
        "without from"
    );

    let path = format!(
        "/openvidu/api/sessions/{session}/connection/{}",
        a.connection
    );
    let change = json!({"role": "SUBSCRIBER", "record": false});
    let (status, shown) = rest(house.plain(), "PATCH", &path, Some(change)).await;
    assert_eq!((status, &shown["role"]), (200, &json!("SUBSCRIBER")));
    for expected in [
        json!({"property": "role", "newValue": "SUBSCRIBER"}),
        json!({"property": "record", "newValue": "false"}),
    ] {
        let told = a.notification("connectionPropertyChanged", |_| true).await;
        assert_eq!(told.unwrap(), expected);
    }
    assert_eq!(a.publish().await.unwrap_err().code(), Some(401));

    let house = House::with(|config| config.community_edition = true).await;
    let session = house.session().await;
    let path = format!("/openvidu/api/sessions/{session}/connection/x");
    let (status, _) = rest(house.plain(), "PATCH", &path, Some(json!({}))).await;
    assert_eq!(status, 403);
}
