//! Every method by every role, every error code, and those who claim to be somebody else (`openvidu-signalling`
//! sections 6, 8, 10; `robustness` S32, S33, S40), against real sessions over real sockets.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::tests::{Guest, House, SECRET, join_room, notification, publish_video};
use crate::control::access::Verdict;
use crate::control::session::scene::{self, SUBSCRIBER_OFFER};
use crate::control::session::settings::Limits;
use crate::control::session::{Role, Settings};
use crate::units::{ForcedVideoCodec, RemoteAddr, clock};

/// How someone has come in, which decides about what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    By(Role),
    /// By the server's secret alone.
    Secret,
    Recorder,
    SpeechToText,
}

/// The columns of the table.
const EVERYONE: [Who; 6] = [
    Who::By(Role::Subscriber),
    Who::By(Role::Publisher),
    Who::By(Role::Moderator),
    Who::Secret,
    Who::Recorder,
    Who::SpeechToText,
];

impl Who {
    fn may_publish(self) -> bool {
        matches!(
            self,
            Self::By(Role::Publisher | Role::Moderator) | Self::Secret
        )
    }

    /// What it presents to join `session`.
    async fn ticket(self, house: &House, session: &str, name: &str) -> Value {
        let mut ticket = join_room(session, "");
        match self {
            Self::By(role) => ticket["token"] = house.token(session, name, role).await.into(),
            Self::Secret => ticket["secret"] = SECRET.into(),
            Self::Recorder => {
                ticket["secret"] = SECRET.into();
                ticket["recorder"] = true.into();
            }
            Self::SpeechToText => {
                ticket["secret"] = SECRET.into();
                ticket["stt"] = true.into();
            }
        }
        ticket
    }

    /// Joins `session`; its connection id comes back too.
    async fn join(self, house: &House, session: &str, name: &str) -> (Guest, String) {
        let mut guest = house.knock().await;
        let ticket = self.ticket(house, session, name).await;
        let answer = guest.ask("joinRoom", ticket).await;
        let id = answer["result"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{self:?}: {answer}"));
        (guest, id.to_owned())
    }
}

impl House {
    async fn create(&self, session: &str) {
        let mut properties = scene::properties();
        properties.custom_session_id = Some(session.to_owned());
        self.directory.create(properties).await.unwrap();
    }
}

async fn publish(guest: &mut Guest) -> String {
    let answer = guest.ask("publishVideo", publish_video()).await;
    let stream = answer["result"]["id"].as_str();
    stream.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The code of an error, 0 of a result.
fn code(answer: &Value) -> i64 {
    answer["error"]["code"].as_i64().unwrap_or(0)
}

/// `$victim` publishes `$stream`; the caller is `$me` and publishes `$own` where the row says so and its role allows.
struct Row {
    method: &'static str,
    params: Value,
    /// The caller publishes first, if it may.
    publishing: bool,
    /// The expected codes, in the order of [`EVERYONE`].
    codes: [i64; 6],
}

fn row(method: &'static str, params: Value, codes: [i64; 6]) -> Row {
    Row {
        method,
        params,
        publishing: false,
        codes,
    }
}

fn own(method: &'static str, params: Value, codes: [i64; 6]) -> Row {
    Row {
        publishing: true,
        ..row(method, params, codes)
    }
}

/// Section 6 and what follows from it, one row for each method and each way in which roles matter to it.
fn table() -> Vec<Row> {
    let all = |code| [code; 6];
    let moderators = |code| [401, 401, code, code, code, code];
    let publishers = |code, others| [others, code, code, code, others, others];
    let owners = |code| [401, code, code, code, 102, 102];
    let filter = |stream| json!({"streamId": stream, "type": "F", "options": "{}"});
    let method = |stream| json!({"streamId": stream, "method": "m", "params": "{}"});
    let listener = |stream| json!({"streamId": stream, "eventType": "e"});
    let signal = |to: Value| {
        let message = json!({"to": to, "data": "d", "type": "signal:t"});
        json!({ "message": message.to_string() })
    };
    let property = json!({"streamId": "$own", "property": "audioActive", "newValue": false, "reason": "publishAudio"});
    let video = json!({"height": 480, "width": 640, "videoActive": true, "audioActive": true});
    let candidate = json!({"endpointName": "$victim", "candidate": "candidate:1 1 udp 1 x.local 9 typ host",
        "sdpMid": "0", "sdpMLineIndex": 0});
    vec![
        row("ping", json!({"interval": 5000}), all(0)),
        row("poll", json!({}), all(0)),
        row(
            "connect",
            json!({"sessionId": "$victim", "reconnect": true}),
            all(40007),
        ),
        row("sessionStatus", json!({"sessionId": "$session"}), all(0)),
        row("sessionStatus", json!({"sessionId": "S0"}), all(202)),
        row("joinRoom", join_room("$session", ""), all(104)),
        row("echo", json!({}), all(0)),
        row("videoData", video, all(0)),
        row("publishVideo", publish_video(), publishers(0, 401)),
        own("publishVideo", publish_video(), publishers(106, 401)),
        row("unpublishVideo", json!({}), all(105)),
        own("unpublishVideo", json!({}), publishers(0, 105)),
        own("streamPropertyChanged", property, publishers(0, 105)),
        row(
            "prepareReceiveVideoFrom",
            json!({"sender": "$stream", "reconnect": false}),
            all(0),
        ),
        row(
            "prepareReceiveVideoFrom",
            json!({"sender": "$me", "reconnect": true}),
            all(105),
        ),
        row(
            "receiveVideoFrom",
            json!({"sender": "$stream", "sdpOffer": SUBSCRIBER_OFFER}),
            all(0),
        ),
        row(
            "receiveVideoFrom",
            json!({"sender": "$victim", "sdpAnswer": SUBSCRIBER_OFFER}),
            all(303),
        ),
        row(
            "receiveVideoFrom",
            json!({"sender": "con_none", "sdpOffer": SUBSCRIBER_OFFER}),
            all(102),
        ),
        own(
            "receiveVideoFrom",
            json!({"sender": "$own", "sdpOffer": SUBSCRIBER_OFFER}),
            publishers(105, 102),
        ),
        own(
            "reconnectStream",
            json!({"stream": "$own", "sdpString": scene::PUBLISHER_OFFER}),
            publishers(0, 105),
        ),
        row(
            "reconnectStream",
            json!({"stream": "$stream", "sdpOffer": SUBSCRIBER_OFFER, "forciblyReconnect": false}),
            all(0),
        ),
        // An offer in the place of an answer: whose stream it is decides what it is taken for.
        row(
            "reconnectStream",
            json!({"stream": "$stream", "sdpString": scene::PUBLISHER_OFFER}),
            all(303),
        ),
        row("unsubscribeFromVideo", json!({"sender": "$victim"}), all(0)),
        row(
            "unsubscribeFromVideo",
            json!({"sender": "con_none"}),
            all(102),
        ),
        row("onIceCandidate", candidate, all(0)),
        row(
            "onIceCandidate",
            json!({"endpointName": "$me", "candidate": ""}),
            all(0),
        ),
        row(
            "onIceCandidate",
            json!({"endpointName": "$victim", "candidate": null, "sdpMid": null,
            "sdpMLineIndex": null}),
            all(0),
        ),
        row("sendMessage", signal(json!([])), all(0)),
        row("sendMessage", signal(json!(["$victim", "$me"])), all(0)),
        row("sendMessage", signal(json!(["con_none"])), all(601)),
        row("sendMessage", json!({"message": "{"}), all(600)),
        row(
            "forceUnpublish",
            json!({"streamId": "$stream"}),
            moderators(0),
        ),
        row(
            "forceUnpublish",
            json!({"streamId": "none"}),
            moderators(105),
        ),
        // Only moderators may end even their own stream in this way.
        own(
            "forceUnpublish",
            json!({"streamId": "$own"}),
            [401, 401, 0, 0, 105, 105],
        ),
        row(
            "forceDisconnect",
            json!({"connectionId": "$victim"}),
            moderators(0),
        ),
        row(
            "forceDisconnect",
            json!({"connectionId": "con_none"}),
            moderators(102),
        ),
        row(
            "forceDisconnect",
            json!({"connectionId": "$me"}),
            moderators(0),
        ),
        row("applyFilter", filter("$stream"), moderators(406)),
        own(
            "applyFilter",
            filter("$own"),
            [401, 401, 406, 406, 102, 102],
        ),
        row(
            "removeFilter",
            json!({"streamId": "$stream"}),
            moderators(406),
        ),
        own("removeFilter", json!({"streamId": "$own"}), owners(406)),
        row("execFilterMethod", method("$stream"), moderators(406)),
        own("execFilterMethod", method("$own"), owners(406)),
        row(
            "addFilterEventListener",
            listener("$stream"),
            moderators(406),
        ),
        own("addFilterEventListener", listener("$own"), owners(406)),
        row(
            "removeFilterEventListener",
            listener("$stream"),
            moderators(406),
        ),
        own(
            "removeFilterEventListener",
            listener("$own"),
            [401, 406, 406, 406, 0, 0],
        ),
        row("removeFilterEventListener", listener("none"), moderators(0)),
        row(
            "subscribeToSpeechToText",
            json!({"connectionId": "$victim", "lang": "en-US"}),
            all(997),
        ),
        row(
            "unsubscribeFromSpeechToText",
            json!({"connectionId": "$victim"}),
            all(997),
        ),
        row("noSuchMethod", json!({}), all(-32601)),
        row("leaveRoom", json!({}), all(0)),
        row("closeSession", json!({}), all(0)),
    ]
}

#[tokio::test]
async fn every_method_does_for_every_role_what_the_reference_says() {
    let house = House::open().await;
    for (at, row) in table().iter().enumerate() {
        for (who, expected) in EVERYONE.into_iter().zip(row.codes) {
            let session = format!("row-{at}-{who:?}").replace(['(', ')'], "-");
            house.create(&session).await;
            let (mut victim, victim_id) =
                Who::By(Role::Publisher).join(&house, &session, "V").await;
            let stream = publish(&mut victim).await;
            let (mut caller, me) = who.join(&house, &session, "C").await;
            let own = if row.publishing && who.may_publish() {
                publish(&mut caller).await
            } else {
                "str_CAM_none".to_owned()
            };
            let params = row
                .params
                .to_string()
                .replace("$victim", &victim_id)
                .replace("$stream", &stream)
                .replace("$own", &own)
                .replace("$me", &me)
                .replace("$session", &session);
            let answer = caller
                .ask(row.method, serde_json::from_str(&params).unwrap())
                .await;
            assert_eq!(
                code(&answer),
                expected,
                "{} {params} by {who:?}: {answer}",
                row.method
            );

            let harms_victim = expected == 0
                && (row.method == "forceDisconnect" && row.params["connectionId"] == "$victim"
                    || row.method == "forceUnpublish" && row.params["streamId"] == "$stream");
            let shown = house.directory.connection(&session, &victim_id).await;
            let publishes = shown.is_ok_and(|shown| !shown.publishers.unwrap().is_empty());
            assert_eq!(publishes, !harms_victim, "{} by {who:?}", row.method);
            house.directory.close(&session, "").await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_table_has_every_method_of_every_client() {
    let rows: BTreeSet<&str> = table().iter().map(|row| row.method).collect();
    for method in super::call::METHODS {
        assert!(rows.contains(method), "{method}");
    }
}

#[tokio::test]
async fn every_error_code_that_can_occur_comes_with_the_text_of_openvidu() {
    let mut provoked = BTreeSet::new();
    let mut check = |(code, text): (i64, String), expected: i64, start: &str| {
        assert_eq!(code, expected, "{text}");
        assert!(text.starts_with(start), "{text}");
        let ends = text.ends_with(&format!(". Code: {code}"));
        assert_eq!(ends, code > 0 && code != 40007, "{text}");
        provoked.insert(code);
    };
    let house = House::open().await;
    let mut stranger = house.knock().await;
    check(
        stranger.refused("publishVideo", publish_video()).await,
        803,
        "No connection found for participant with privateId ",
    );
    check(
        stranger.refused("connect", json!({"sessionId": "x"})).await,
        40007,
        "reconnection error",
    );
    check(
        stranger.refused("joinRoom", json!({"session": "S1"})).await,
        -1,
        "Request element 'token' is missing in RPC method 'joinRoom'. Check that 'openvidu-server' and",
    );
    check(
        stranger.refused("joinRoom", join_room("S0", "t")).await,
        202,
        "Unable to join session. Session S0 cannot be found",
    );
    check(
        stranger.refused("joinRoom", join_room("S1", "t")).await,
        401,
        "Unable to join session S1. Token t is not valid",
    );
    let mut a = house.guest("A").await;
    check(
        a.refused("joinRoom", join_room("S1", "t")).await,
        104,
        "Unable to join session S1. ",
    );
    check(
        a.refused("noSuchMethod", json!({})).await,
        -32601,
        "Method not found: noSuchMethod",
    );
    check(
        a.refused("echo", json!([])).await,
        -32602,
        "Invalid params: ",
    );
    check(
        a.refused("forceUnpublish", json!({"streamId": "s"})).await,
        401,
        "Unable to force unpublish. The user does not have a valid token",
    );
    check(
        a.refused("forceDisconnect", json!({"connectionId": "c"}))
            .await,
        401,
        "Unable to force disconnect. The user does not have a valid token",
    );
    check(
        a.refused("unpublishVideo", json!({})).await,
        105,
        "Participant 'con_A' is not streaming media",
    );
    let mut broken = publish_video();
    broken["sdpOffer"] = "v=0".into();
    check(
        a.refused("publishVideo", broken).await,
        302,
        "Error generating SDP response for publishing user con_A",
    );
    let mut other_codec = publish_video();
    let offer = scene::PUBLISHER_OFFER.replace("VP8/90000", "XYZ/90000");
    other_codec["sdpOffer"] = offer.into();
    check(
        a.refused("publishVideo", other_codec).await,
        800,
        "Error forcing codec: 'VP8', for PARTICIPANT: 'con_A' in Session: 'S1'. Is publishing: 'true'. Is Subscriber: \
         'false'. Is Reconnecting: 'false'.\nException: ",
    );
    let mut filtered = publish_video();
    filtered["filter"] = json!({"type": "GStreamerFilter", "options": {}});
    check(
        a.refused("publishVideo", filtered).await,
        406,
        "Error applying filter for publishing user con_A. The token has no permissions to apply filter GStreamerFilter",
    );
    publish(&mut a).await;
    check(
        a.refused("publishVideo", publish_video()).await,
        106,
        "User con_A is already publishing in session S1",
    );
    let (mut m, _) = Who::By(Role::Moderator).join(&house, "S1", "M").await;
    check(
        m.refused("forceDisconnect", json!({"connectionId": "c"}))
            .await,
        102,
        "Connection not found when calling 'forceDisconnect'",
    );
    check(
        m.refused(
            "receiveVideoFrom",
            json!({"sender": "con_A", "sdpAnswer": "v=0"}),
        )
        .await,
        303,
        "Unable to create subscriber endpoint. ",
    );
    check(
        m.refused(
            "receiveVideoFrom",
            json!({"sender": "str_CAM_x_con_X", "sdpOffer": ""}),
        )
        .await,
        102,
        "User 'con_X not found in session 'S1'",
    );
    check(
        m.refused("sendMessage", json!({"message": "?"})).await,
        600,
        "Provided signal object '?' has not a valid JSON format",
    );
    check(
        m.refused("sendMessage", json!({"message": "{\"to\":5}"}))
            .await,
        601,
        "Signal \"to\" field invalid format: null",
    );
    check(
        m.refused("subscribeToSpeechToText", json!({})).await,
        997,
        "Speech To Text requires OpenVidu Pro/Enterprise edition",
    );
    house.directory.close("S1", "x").await.unwrap();
    check(
        m.refused("publishVideo", publish_video()).await,
        203,
        "Session 'S1' is closed",
    );

    let limits = Limits {
        members: 1,
        ..Limits::default()
    };
    let small = House::with(Settings {
        limits,
        ..Settings::default()
    })
    .await;
    let _first = small.guest("A").await;
    let token = small.token("S1", "B", Role::Publisher).await;
    let mut second = small.knock().await;
    check(
        second.refused("joinRoom", join_room("S1", &token)).await,
        201,
        "Unable to join session S1. ",
    );

    // A worker that has gone away.
    let ((plane, _), (_, commands)) = (scene::plane(), scene::plane());
    let house = House::on((plane, commands), Settings::default()).await;
    let token = house.token("S1", "A", Role::Publisher).await;
    let mut guest = house.knock().await;
    check(
        guest.refused("joinRoom", join_room("S1", &token)).await,
        204,
        "There is no available Media Node where to initialize session 'S1'",
    );

    let possible = [
        -32602, -32601, -1, 102, 104, 105, 106, 201, 202, 203, 204, 302, 303, 401, 406, 600, 601,
        800, 803, 997, 40007,
    ];
    assert_eq!(provoked, BTreeSet::from(possible));
}

#[tokio::test]
async fn a_forced_disconnection_reads_like_the_transcript_of_openvidu() {
    let house = House::open().await;
    let mut a = house.guest("A").await;
    let mut b = house.guest("B").await;
    let (mut m, _) = Who::By(Role::Moderator).join(&house, "S1", "M").await;
    let stream = publish(&mut a).await;
    for _ in 0..2 {
        assert_eq!(a.told().await["method"], "participantJoined");
    }
    for (guest, heard) in [(&mut b, 2), (&mut m, 1)] {
        for _ in 0..heard {
            guest.told().await;
        }
    }

    m.ask("forceUnpublish", json!({"streamId": stream})).await;
    assert!(m.told.is_empty(), "answered before anyone is told");
    let unpublished = notification(
        "participantUnpublished",
        json!({"connectionId": "con_A", "reason": "forceUnpublishByUser"}),
    );
    for guest in [&mut a, &mut b, &mut m] {
        assert_eq!(guest.told().await, unpublished);
    }

    m.ask("forceDisconnect", json!({"connectionId": "con_A"}))
        .await;
    let reason = json!({"connectionId": "con_A", "reason": "forceDisconnectByUser"});
    let left = notification("participantLeft", reason.clone());
    let evicted = notification("participantEvicted", reason);
    assert_eq!(
        m.told,
        std::slice::from_ref(&left),
        "it has left before the answer"
    );
    assert_eq!(a.told().await, evicted);
    assert_eq!(m.told().await, left);
    assert_eq!(m.told().await, evicted);
    assert_eq!(b.told().await, left);
    assert_eq!(b.told().await, evicted);
    let (code, _) = a.refused("publishVideo", publish_video()).await;
    assert_eq!(code, 102);
    assert_eq!(house.active("S1").await, ["con_B", "con_M"]);
}

#[tokio::test]
async fn a_recorder_is_seen_by_nobody_hears_all_and_leaves_at_once() {
    let house = House::open().await;
    let mut a = house.guest("A").await;
    let (mut recorder, id) = Who::Recorder.join(&house, "S1", "").await;
    assert_eq!(id, "RECORDER");
    let mut b = house.knock().await;
    let token = house.token("S1", "B", Role::Publisher).await;
    let joined = b.ask("joinRoom", join_room("S1", &token)).await;
    let value = joined["result"]["value"].as_array().unwrap();
    assert_eq!(value.len(), 1);
    assert_eq!(
        a.told().await["params"]["id"],
        "con_B",
        "the first that A hears"
    );
    assert_eq!(recorder.told().await["params"]["id"], "con_B");
    assert_eq!(house.active("S1").await, ["con_A", "con_B"]);

    let stream = publish(&mut a).await;
    assert_eq!(recorder.told().await["method"], "participantPublished");
    let offer = json!({"sender": stream, "sdpOffer": SUBSCRIBER_OFFER});
    let answer = recorder.ask("receiveVideoFrom", offer).await;
    assert_eq!(code(&answer), 0, "{answer}");
    let message = json!({"to": ["RECORDER"], "data": "layout", "type": "signal:x"}).to_string();
    b.ask("sendMessage", json!({ "message": message })).await;
    assert_eq!(recorder.told().await["params"]["data"], "layout");

    recorder.ask("leaveRoom", json!({})).await;
    assert_eq!(recorder.receive().await, Err(1000));
    b.told.clear();
    let message = json!({"to": [], "data": "last"}).to_string();
    b.ask("sendMessage", json!({ "message": message })).await;
    assert_eq!(b.told.len(), 1, "only its own signal: {:?}", b.told);
}

#[tokio::test]
async fn the_joiner_by_secret_shows_role_subscriber_to_itself_and_to_rest() {
    let house = House::open().await;
    let mut guest = house.knock().await;
    let ticket = Who::Secret.ticket(&house, "S1", "").await;
    let answer = guest.ask("joinRoom", ticket).await;
    let id = answer["result"]["id"].as_str().unwrap();
    assert_eq!(answer["result"]["role"], "SUBSCRIBER");
    let shown = house.directory.connection("S1", id).await.unwrap();
    assert_eq!(shown.role, Some("SUBSCRIBER"));
    let ice = answer["result"]["customIceServers"].as_array().unwrap();
    assert!(!ice.is_empty());
    let mut stranger = house.knock().await;
    let mut ticket = join_room("S0", "");
    ticket["secret"] = SECRET.into();
    assert_eq!(stranger.refused("joinRoom", ticket).await.0, 202);
}

#[tokio::test]
async fn ten_wrong_secrets_close_the_door_for_secrets_but_not_for_tokens() {
    let house = House::open().await;
    let guess = |secret: &str, token: &str| {
        let mut ticket = join_room("S1", token);
        ticket["secret"] = secret.into();
        ticket["recorder"] = true.into();
        ticket
    };
    let from = RemoteAddr(std::net::Ipv4Addr::new(203, 0, 113, 9).into());
    let check = |secret: &str| {
        house
            .gate
            .check_secret(clock::now(), from, secret.as_bytes())
    };
    let mut guesser = house.knock().await;
    for secret in [
        "MY_SECRET",
        "x",
        "The server's secret",
        "the server's secret ",
    ] {
        let (code, text) = guesser.refused("joinRoom", guess(secret, "t")).await;
        assert_eq!(code, 401, "{text}");
    }
    // An empty one is what browsers send, and no guess.
    for _ in 0..5 {
        guesser.refused("joinRoom", join_room("S1", "t")).await;
    }
    // REST, which asks the same gate, adds up with it.
    for _ in 0..6 {
        assert_eq!(check("x"), Verdict::Wrong);
    }
    assert!(matches!(check(SECRET), Verdict::NotChecked { .. }));
    let mut late = house.knock().await;
    let (code, _) = late.refused("joinRoom", guess(SECRET, "t")).await;
    assert_eq!(code, 401, "right, but not looked at");
    let token = house.token("S1", "A", Role::Publisher).await;
    let answer = late.ask("joinRoom", guess(SECRET, &token)).await;
    assert_eq!(answer["result"]["id"], "con_A", "the token decides");
    assert_eq!(answer["result"]["role"], "PUBLISHER");
}

#[tokio::test]
async fn a_wrong_secret_with_a_good_token_joins_by_the_token_and_is_no_recorder() {
    let house = House::open().await;
    let token = house.token("S1", "A", Role::Subscriber).await;
    let mut ticket = join_room("S1", &token);
    for (field, claim) in [
        ("secret", json!("wrong")),
        ("recorder", json!(true)),
        ("stt", json!("yes")),
        ("role", json!("MODERATOR")),
        ("id", json!("con_V")),
        ("record", json!(true)),
    ] {
        ticket[field] = claim;
    }
    let mut guest = house.knock().await;
    let answer = guest.ask("joinRoom", ticket).await;
    assert_eq!(answer["result"]["id"], "con_A", "{answer}");
    assert_eq!(answer["result"]["role"], "SUBSCRIBER");
    let (code, _) = guest.refused("publishVideo", publish_video()).await;
    assert_eq!(code, 401);
    assert_eq!(house.active("S1").await, ["con_A"]);
}

#[tokio::test]
async fn a_token_that_was_used_is_spent_even_after_its_user_has_left() {
    let house = House::open().await;
    let _stays = house.guest("Z").await;
    let token = house.token("S1", "A", Role::Publisher).await;
    let mut first = house.knock().await;
    assert_eq!(
        code(&first.ask("joinRoom", join_room("S1", &token)).await),
        0
    );
    let mut second = house.knock().await;
    assert_eq!(
        second.refused("joinRoom", join_room("S1", &token)).await.0,
        401
    );
    first.ask("leaveRoom", json!({})).await;
    assert_eq!(
        second.refused("joinRoom", join_room("S1", &token)).await.0,
        401
    );
    assert_eq!(
        first.refused("joinRoom", join_room("S1", &token)).await.0,
        104
    );
}

#[tokio::test]
async fn moderators_reach_nobody_in_another_session() {
    let house = House::open().await;
    let mut victim = house.guest("V").await;
    let stream = publish(&mut victim).await;
    for who in [Who::By(Role::Moderator), Who::Secret, Who::Recorder] {
        let (mut foreign, _) = who.join(&house, "S2", "M").await;
        let filter = json!({"streamId": stream, "type": "F", "options": "{}"});
        let message = json!({"to": ["con_V"], "data": ""}).to_string();
        for (method, params, expected) in [
            ("forceDisconnect", json!({"connectionId": "con_V"}), 102),
            ("forceUnpublish", json!({"streamId": stream}), 105),
            ("applyFilter", filter, 102),
            ("removeFilter", json!({"streamId": stream}), 102),
            ("sendMessage", json!({ "message": message }), 601),
            ("unsubscribeFromVideo", json!({"sender": "con_V"}), 102),
            (
                "receiveVideoFrom",
                json!({"sender": stream, "sdpOffer": SUBSCRIBER_OFFER}),
                102,
            ),
        ] {
            let (code, text) = foreign.refused(method, params).await;
            assert_eq!(code, expected, "{method} by {who:?}: {text}");
        }
        foreign.ask("leaveRoom", json!({})).await;
        house.directory.close("S2", "").await.ok();
        house.create("S2").await;
    }
    undisturbed(&house, &mut victim).await;
}

#[tokio::test]
async fn joins_that_name_a_victim_and_fail_leave_it_alone() {
    let house = House::open().await;
    let mut victim = house.guest("V").await;
    let stream = publish(&mut victim).await;
    let mut attacker = house.knock().await;
    for field in [
        "id",
        "connectionId",
        "sessionId",
        "participantId",
        "endpointName",
    ] {
        let mut ticket = join_room("S1", "wss://h?sessionId=S1&token=tok_AAAAAAAAAAAAAAAA");
        ticket[field] = "con_V".into();
        assert_eq!(attacker.refused("joinRoom", ticket).await.0, 401, "{field}");
    }
    for claim in ["con_V", "V", "S1", ""] {
        let params = json!({"sessionId": claim, "reconnect": true});
        let (code, _) = attacker.refused("connect", params).await;
        assert_eq!(code, 40007, "{claim}");
    }
    for method in ["leaveRoom", "unpublishVideo", "reconnectStream"] {
        let params = json!({"sessionId": "con_V", "id": "con_V", "stream": "con_V"});
        assert_eq!(attacker.refused(method, params).await.0, 803, "{method}");
    }
    attacker.hang_up(4102).await;

    // Who asks for the victim's id gets one like it, and cannot act for the victim.
    let token = house.token("S1", "V", Role::Publisher).await;
    let mut twin = house.knock().await;
    let answer = twin.ask("joinRoom", join_room("S1", &token)).await;
    let id = answer["result"]["id"].as_str().unwrap();
    assert!(
        id.starts_with("con_V") && id.len() == "con_V".len() + 4,
        "{id}"
    );
    let candidate = json!({"endpointName": "con_V", "candidate": "x", "sdpMid": "0"});
    twin.ask("onIceCandidate", candidate).await;
    twin.ask("unsubscribeFromVideo", json!({"sender": "con_V"}))
        .await;
    let property = json!({"streamId": "con_V", "property": "videoActive", "newValue": false, "reason": "publishVideo"});
    assert_eq!(twin.refused("streamPropertyChanged", property).await.0, 105);
    let replace = json!({"stream": stream, "sdpString": scene::PUBLISHER_OFFER});
    assert_eq!(twin.refused("reconnectStream", replace).await.0, 303);
    twin.ask("leaveRoom", json!({})).await;
    for method in ["participantJoined", "participantLeft"] {
        let told = victim.told().await;
        assert_eq!(told["method"], method);
        assert_ne!(told["params"]["connectionId"], "con_V");
    }
    undisturbed(&house, &mut victim).await;
}

/// The victim has heard nothing, is still here and still publishes.
async fn undisturbed(house: &House, victim: &mut Guest) {
    assert_eq!(code(&victim.ask("echo", json!({})).await), 0);
    assert!(victim.told.is_empty(), "{:?}", victim.told);
    let shown = house.directory.connection("S1", "con_V").await.unwrap();
    assert_eq!(shown.publishers.unwrap().len(), 1);
}

#[tokio::test]
async fn goodbye_in_the_rpc_layer_ends_without_grace() {
    let house = House::with(Settings {
        reconnect_grace: Duration::from_secs(3600),
        ..Settings::default()
    })
    .await;
    let mut witness = house.guest("W").await;
    let mut a = house.guest("A").await;
    witness.told().await;
    assert_eq!(a.ask("poll", json!({})).await["result"], json!([]));
    assert_eq!(
        a.ask("sessionStatus", json!({"sessionId": "S1"})).await["result"],
        json!({"life": -1})
    );
    assert_eq!(a.ask("closeSession", json!({})).await["result"], "bye");
    assert_eq!(a.receive().await, Err(1000));
    assert_eq!(witness.told().await["method"], "participantLeft");
    assert_eq!(house.active("S1").await, ["con_W"]);
}

#[tokio::test]
async fn clients_of_every_version_join_with_what_they_send_and_read_what_they_need() {
    let house = House::open().await;
    // 2.20 knows neither sdkVersion nor stt, and marks a stream without video by an empty type.
    let token = house.token("S1", "A", Role::Publisher).await;
    let mut ticket = join_room("S1", &token);
    for unknown in ["sdkVersion", "stt", "recorder"] {
        ticket.as_object_mut().unwrap().remove(unknown);
    }
    let mut a = house.knock().await;
    let joined = a.ask("joinRoom", ticket).await;
    for field in ["coturnIp", "coturnPort", "turnUsername", "turnCredential"] {
        assert!(!joined["result"][field].is_null(), "until 2.22: {field}");
    }
    assert!(
        joined["result"]["life"].is_null(),
        "or clients ask sessionStatus"
    );
    let version = joined["result"]["version"].as_str().unwrap();
    assert_eq!(
        version
            .split('.')
            .filter_map(|part| part.parse::<u32>().ok())
            .count(),
        3
    );
    let mut b = house.guest("B").await;
    a.told().await;
    let audio = json!({"sdpOffer": scene::AUDIO_OFFER, "doLoopback": false, "hasAudio": true, "hasVideo": false,
        "audioActive": true, "typeOfVideo": "", "frameRate": -1});
    let published = a.ask("publishVideo", audio).await;
    let stream = published["result"]["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{published}"));
    assert!(stream.starts_with("str_MIC_"), "{stream}");
    let shown = b.told().await["params"]["streams"][0].clone();
    for absent in ["typeOfVideo", "videoActive", "videoDimensions"] {
        assert!(shown.get(absent).is_none(), "{absent}: {shown}");
    }

    // 2.23 announces a replaced track as a mute that is none; from 2.24 on it has a property of its own.
    let change = |property: &str, value: Value, reason: &str| json!({"streamId": stream, "property": property, "newValue": value, "reason": reason});
    let label = change(
        "audioActive",
        json!("{\"newLabel\":\"Microphone 2\"}"),
        "trackReplaced",
    );
    assert_eq!(code(&a.ask("streamPropertyChanged", label).await), 0);
    let track = change(
        "audioTrack",
        json!({"label": "Microphone 3"}),
        "trackReplaced",
    );
    a.ask("streamPropertyChanged", track).await;
    let told = b.told().await;
    assert_eq!(
        told["params"]["property"], "audioTrack",
        "nothing before: {told}"
    );
    assert_eq!(told["params"]["newValue"], "{\"label\":\"Microphone 3\"}");
    let connection = house.directory.connection("S1", "con_A").await.unwrap();
    let publisher = connection.publishers.unwrap().remove(0);
    assert_eq!(publisher.media_options.audio_active, Some(true));
}

#[tokio::test]
async fn a_changed_connection_hears_of_it_in_the_types_that_clients_read() {
    use crate::control::session::ConnectionChange;
    let house = House::open().await;
    let mut a = house.guest("A").await;
    let mut b = house.guest("B").await;
    a.told().await;
    let change = ConnectionChange {
        role: Some(Role::Moderator),
        record: Some(false),
    };
    let shown = house
        .directory
        .update_connection("S1", "con_A", change)
        .await;
    assert_eq!(shown.unwrap().role, Some("MODERATOR"));
    for params in [
        json!({"property": "role", "newValue": "MODERATOR"}),
        json!({"property": "record", "newValue": "false"}),
    ] {
        assert_eq!(
            a.told().await,
            notification("connectionPropertyChanged", params)
        );
    }
    let out = a
        .ask("forceDisconnect", json!({"connectionId": "con_B"}))
        .await;
    assert_eq!(code(&out), 0, "the new role counts at once");
    assert_eq!(
        b.told().await["method"],
        "participantEvicted",
        "and B heard of nothing else"
    );
}

#[tokio::test]
async fn notifications_that_workers_cause_have_the_shape_of_the_reference() {
    use crate::control::session::Notification as N;
    let frame = |notification: &N| -> Value {
        serde_json::from_str(&super::notification::frame(notification)).unwrap()
    };
    let quality = |old| N::NetworkQualityLevelChanged {
        connection: "con_A".into(),
        old,
        new: 2,
    };
    assert_eq!(
        frame(&quality(None)),
        notification(
            "networkQualityLevelChanged",
            json!({"connectionId": "con_A", "newValue": 2})
        )
    );
    assert_eq!(frame(&quality(Some(5)))["params"]["oldValue"], 5);
    let error = N::MediaError {
        text: "broken".to_owned(),
    };
    assert_eq!(
        frame(&error),
        notification("mediaError", json!({"error": "broken"}))
    );
}

#[tokio::test]
async fn a_session_may_force_another_codec_or_none() {
    for (codec, expected) in [
        (ForcedVideoCodec::None, 0),
        (ForcedVideoCodec::MediaServerPreferred, 800),
    ] {
        let house = House::open().await;
        let mut properties = scene::properties();
        properties.custom_session_id = Some("codec".to_owned());
        properties.forced_video_codec = codec;
        house.directory.create(properties).await.unwrap();
        let (mut a, _) = Who::By(Role::Publisher).join(&house, "codec", "A").await;
        let mut params = publish_video();
        params["sdpOffer"] = scene::PUBLISHER_OFFER
            .replace("VP8/90000", "XYZ/90000")
            .into();
        assert_eq!(code(&a.ask("publishVideo", params).await), expected);
    }
}
