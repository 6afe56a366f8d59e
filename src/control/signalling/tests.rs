//! Signalling over loopback, as clients and attackers see it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Connections, service};
use crate::control::access::Gate;
use crate::control::session::scene::{self, PUBLISHER_OFFER, SUBSCRIBER_OFFER};
use crate::control::session::{Directory, Fault, Role, Settings, TurnCredential, TurnCredentials};
use crate::media::plane::Plane;
use crate::media::plane::service::WorkerCommand;
use crate::units::{RemoteAddr, Secret, clock};

/// `OPENVIDU_SECRET`.
pub(super) const SECRET: &str = "the server's secret";

/// Nothing on loopback takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

struct Turn;

impl TurnCredentials for Turn {
    fn mint(&self) -> Option<TurnCredential> {
        Some(TurnCredential {
            username: "1700086410:aZ3kQ9xB".to_owned(),
            credential: "bXk=".to_owned(),
        })
    }

    fn revoke(&self, _username: &str) {}
}

/// A whole signalling server with the sessions `S1` and `S2`.
pub(super) struct House {
    pub(super) directory: Directory,
    pub(super) gate: Gate,
    connections: Connections,
    addr: SocketAddr,
    media: mpsc::Receiver<WorkerCommand>,
    _server: JoinSet<()>,
}

impl House {
    pub(super) async fn open() -> Self {
        Self::with(Settings {
            websocket_url: "wss://ov.example.org".to_owned(),
            coturn_ip: "ov.example.org".to_owned(),
            turn_urls: vec!["turn:ov.example.org:3478".to_owned()],
            ..Settings::default()
        })
        .await
    }

    pub(super) async fn with(settings: Settings) -> Self {
        Self::on(scene::plane(), settings).await
    }

    pub(super) async fn on(
        (plane, media): (Plane, mpsc::Receiver<WorkerCommand>),
        settings: Settings,
    ) -> Self {
        let directory = Directory::new(settings, plane, Arc::new(Turn));
        for id in ["S1", "S2"] {
            let mut properties = scene::properties();
            properties.custom_session_id = Some(id.to_owned());
            directory.create(properties).await.unwrap();
        }
        let gate = Gate::new(Secret::new(SECRET));
        let connections = Connections::new(directory.clone(), gate.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = service(&connections)
            .layer(Extension(RemoteAddr(Ipv4Addr::new(203, 0, 113, 9).into())));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            directory,
            gate,
            connections,
            addr,
            media,
            _server: server,
        }
    }

    pub(super) async fn token(&self, session: &str, name: &str, role: Role) -> String {
        let mut properties = scene::connection(role);
        properties.data = json!({ "openviduCustomConnectionId": name }).to_string();
        let created = self.directory.create_connection(session, properties).await;
        created.unwrap().token.unwrap()
    }

    pub(super) async fn knock(&self) -> Guest {
        let url = format!("ws://{}/openvidu?sessionId=S1", self.addr);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Guest {
            socket,
            next_id: 0,
            told: Vec::new(),
        }
    }

    /// A guest in `S1` with the connection id `con_<name>`.
    pub(super) async fn guest(&self, name: &str) -> Guest {
        let token = self.token("S1", name, Role::Publisher).await;
        let mut guest = self.knock().await;
        let answer = guest.ask("joinRoom", join_room("S1", &token)).await;
        assert_eq!(answer["result"]["id"], format!("con_{name}"), "{answer}");
        guest
    }

    /// Waits until as many sockets are open, which is soon or never.
    pub(super) async fn wait_for_sockets(&self, count: usize) {
        let waiting = async {
            while self.connections.open() != count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    pub(super) async fn active(&self, session: &str) -> Vec<String> {
        let session = self.directory.get(session, false).await;
        let connections = session.map(|session| session.connections.content);
        connections
            .unwrap_or_default()
            .into_iter()
            .map(|connection| connection.id)
            .collect()
    }
}

pub(super) struct Guest {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
    /// Notifications that came while an answer was awaited.
    pub(super) told: Vec<Value>,
}

impl Guest {
    async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next message, or the close code.
    pub(super) async fn receive(&mut self) -> Result<Value, u16> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match message.expect("a message in time") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// Sends a request and waits for its answer; what comes before it is kept in `told`.
    pub(super) async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id});
        self.send(&request.to_string()).await;
        loop {
            let message = self.receive().await.unwrap();
            if message.get("id") == Some(&json!(id)) {
                return message;
            }
            self.told.push(message);
        }
    }

    pub(super) async fn refused(&mut self, method: &str, params: Value) -> (i64, String) {
        let answer = self.ask(method, params).await;
        let error = &answer["error"];
        (
            error["code"].as_i64().unwrap_or_else(|| panic!("{answer}")),
            error["message"].as_str().unwrap().to_owned(),
        )
    }

    /// The next notification.
    pub(super) async fn told(&mut self) -> Value {
        if self.told.is_empty() {
            return self.receive().await.unwrap();
        }
        self.told.remove(0)
    }

    pub(super) async fn hang_up(&mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.socket.close(Some(frame)).await.unwrap();
    }
}

pub(super) fn join_room(session: &str, token: &str) -> Value {
    json!({"session": session, "token": token, "metadata": "{\"clientData\":\"Bob\"}", "secret": "",
        "platform": "Chrome 120.0.0.0 on Linux 64-bit", "sdkVersion": "2.32.1", "recorder": false, "stt": false})
}

pub(super) fn publish_video() -> Value {
    json!({"sdpOffer": PUBLISHER_OFFER, "doLoopback": false, "hasAudio": true, "hasVideo": true, "audioActive": true,
        "videoActive": true, "typeOfVideo": "CAMERA", "frameRate": -1,
        "videoDimensions": "{\"width\":640,\"height\":480}"})
}

pub(super) fn notification(method: &str, params: Value) -> Value {
    json!({"method": method, "params": params, "jsonrpc": "2.0"})
}

#[tokio::test]
async fn a_call_of_two_reads_like_the_transcripts_of_openvidu() {
    let house = House::open().await;
    let token = house.token("S1", "A", Role::Publisher).await;
    let mut a = house.knock().await;

    // The first ping and joinRoom leave back to back.
    a.send(r#"{"jsonrpc":"2.0","method":"ping","params":{"interval":5000},"id":0}"#)
        .await;
    let join =
        json!({"jsonrpc": "2.0", "method": "joinRoom", "params": join_room("S1", &token), "id": 1});
    a.send(&join.to_string()).await;
    a.next_id = 2;
    assert_eq!(
        a.receive().await.unwrap(),
        json!({"id": 0, "result": {"value": "pong"}, "jsonrpc": "2.0"})
    );
    let answer = a.receive().await.unwrap();
    let result = &answer["result"];
    let rpc_session = result["sessionId"].as_str().unwrap().to_owned();
    assert_eq!(rpc_session.len(), 26);
    assert_eq!(result["finalUserId"].as_str().unwrap().len(), 16);
    let metadata = r#"{"clientData":"Bob"}%/%{"openviduCustomConnectionId":"A"}"#;
    assert_eq!(
        answer,
        json!({"id": 1, "result": {"id": "con_A", "finalUserId": result["finalUserId"],
            "createdAt": result["createdAt"], "metadata": metadata, "value": [], "session": "S1", "version": "2.32.1",
            "mediaServer": "kurento", "videoSimulcast": false, "record": true, "role": "PUBLISHER",
            "coturnIp": "ov.example.org", "coturnPort": 3478, "turnUsername": "1700086410:aZ3kQ9xB",
            "turnCredential": "bXk=", "customIceServers": [{"url": "turn:ov.example.org:3478",
            "username": "1700086410:aZ3kQ9xB", "credential": "bXk="}], "sessionId": rpc_session}, "jsonrpc": "2.0"})
    );
    assert!(result["createdAt"].as_u64().unwrap() > 1_700_000_000_000);

    let published = a.ask("publishVideo", publish_video()).await;
    let stream = published["result"]["id"].as_str().unwrap().to_owned();
    assert!(
        stream.starts_with("str_CAM_") && stream.ends_with("_con_A"),
        "{stream}"
    );
    let sdp = published["result"]["sdpAnswer"].as_str().unwrap();
    assert!(sdp.starts_with("v=0") && sdp.contains("a=recvonly"));
    assert_eq!(published["result"]["sessionId"], rpc_session.as_str());
    let candidate =
        json!({"endpointName": "con_A", "candidate": "", "sdpMid": null, "sdpMLineIndex": null});
    let done = json!({"id": 3, "result": {"sessionId": rpc_session}, "jsonrpc": "2.0"});
    assert_eq!(a.ask("onIceCandidate", candidate).await, done);

    let token = house.token("S1", "B", Role::Publisher).await;
    let mut b = house.knock().await;
    let answer = b.ask("joinRoom", join_room("S1", &token)).await;
    let member = &answer["result"]["value"][0];
    let created_at = &member["streams"][0]["createdAt"];
    assert_eq!(
        answer["result"]["value"],
        json!([{"id": "con_A", "createdAt": result["createdAt"], "metadata": metadata, "streams": [{"id": stream,
            "createdAt": created_at, "hasAudio": true, "hasVideo": true, "audioActive": true, "videoActive": true,
            "typeOfVideo": "CAMERA", "frameRate": -1, "videoDimensions": "{\"width\":640,\"height\":480}",
            "filter": {}}]}])
    );
    let metadata = metadata.replace("\"A\"", "\"B\"");
    let joined_at = &answer["result"]["createdAt"];
    assert_eq!(
        a.told().await,
        notification(
            "participantJoined",
            json!({"id": "con_B", "createdAt": joined_at, "metadata": metadata})
        )
    );

    let offer = json!({"sender": stream, "sdpOffer": SUBSCRIBER_OFFER});
    let answer = b.ask("receiveVideoFrom", offer).await;
    assert!(
        answer["result"]["sdpAnswer"]
            .as_str()
            .unwrap()
            .contains("a=sendonly")
    );

    let mute = json!({"streamId": stream, "property": "videoActive", "newValue": false, "reason": "publishVideo"});
    a.ask("streamPropertyChanged", mute).await;
    assert_eq!(
        b.told().await,
        notification(
            "streamPropertyChanged",
            json!({"connectionId": "con_A", "streamId": stream, "property": "videoActive", "newValue": "false",
                "reason": "publishVideo"})
        )
    );
    let resize = json!({"streamId": stream, "property": "videoDimensions",
        "newValue": "{\"width\":1280,\"height\":720}", "reason": "screenResized"});
    a.ask("streamPropertyChanged", resize).await;
    assert_eq!(
        b.told().await["params"]["newValue"],
        r#""{\"width\":1280,\"height\":720}""#,
        "encoded twice"
    );

    let text = "caf\u{e9} {\"json\":[\"\u{1f600}\"]}";
    let message = json!({"to": [], "data": text, "type": "signal:chat"}).to_string();
    b.ask("sendMessage", json!({ "message": message })).await;
    let signal = notification(
        "sendMessage",
        json!({"data": text, "type": "signal:chat", "from": "con_B"}),
    );
    assert_eq!(a.told().await, signal);
    assert_eq!(b.told, [signal], "the sender hears it before its answer");
    b.told.clear();

    let data = json!({"height": 480, "width": 640, "videoActive": true, "audioActive": true});
    for (method, params) in [
        ("videoData", data),
        ("echo", json!({})),
        ("unpublishVideo", json!({})),
    ] {
        let answer = a.ask(method, params).await;
        assert_eq!(
            answer["result"],
            json!({ "sessionId": rpc_session }),
            "{method}"
        );
    }
    assert_eq!(
        b.told().await,
        notification(
            "participantUnpublished",
            json!({"connectionId": "con_A", "reason": "unpublish"})
        )
    );
    let unsubscribed = b
        .ask("unsubscribeFromVideo", json!({"sender": "con_A"}))
        .await;
    assert!(unsubscribed.get("result").is_some());

    a.ask("leaveRoom", json!({})).await;
    assert_eq!(
        b.told().await,
        notification(
            "participantLeft",
            json!({"connectionId": "con_A", "reason": "disconnect"})
        )
    );
    a.hang_up(4102).await;
    b.ask("leaveRoom", json!({})).await;
    assert!(
        house.directory.get("S1", true).await.is_none(),
        "the last leave ends the session"
    );
    b.hang_up(4102).await;
    house.wait_for_sockets(0).await;
    assert_eq!(house.directory.list(true).await.len(), 1);
    house.directory.shutdown("openviduServerStopped").await;
    assert!(house.directory.list(true).await.is_empty());
    assert_eq!(house.directory.running_tasks(), 0);
}

#[tokio::test]
async fn the_server_offers_when_it_is_told_to() {
    let house = House::with(Settings {
        subscribe_offer: crate::units::SubscribeOffer::Server,
        simulcast: true,
        ..Settings::default()
    })
    .await;
    let token = house.token("S1", "A", Role::Publisher).await;
    let mut a = house.knock().await;
    let joined = a.ask("joinRoom", join_room("S1", &token)).await;
    assert_eq!(joined["result"]["mediaServer"], "mediasoup");
    assert_eq!(joined["result"]["videoSimulcast"], true);
    let stream = a.ask("publishVideo", publish_video()).await["result"]["id"].clone();
    let mut b = house.guest("B").await;
    let params = json!({"sender": stream, "reconnect": false});
    let offered = b.ask("prepareReceiveVideoFrom", params).await;
    let offer = offered["result"]["sdpOffer"].as_str().unwrap();
    assert!(offer.contains("a=setup:actpass") && offer.contains("a=sendonly"));
    let answer = json!({"sender": stream, "sdpAnswer": offer});
    let (code, _) = b.refused("receiveVideoFrom", answer).await;
    assert_eq!(code, 302, "our own offer is no answer");
}

#[tokio::test]
async fn while_the_server_drains_sessions_that_exist_are_joined_and_others_are_not_to_be_had() {
    let house = House::open().await;
    let token = house.token("S1", "A", Role::Publisher).await;
    house.directory.refuse_until(Some(clock::now()));
    let mut a = house.knock().await;
    let (code, text) = a.refused("joinRoom", join_room("S0", &token)).await;
    assert_eq!(code, 204);
    assert_eq!(
        text,
        "There is no available Media Node where to initialize session 'S0'. Code: 204"
    );
    let mut b = house.knock().await;
    let joined = b.ask("joinRoom", join_room("S1", &token)).await;
    assert_eq!(joined["result"]["id"], "con_A", "{joined}");
}

#[tokio::test]
async fn wrong_used_and_foreign_tokens_join_nothing() {
    let house = House::open().await;
    let token = house.token("S1", "A", Role::Publisher).await;
    let mut a = house.knock().await;
    let (code, text) = a.refused("joinRoom", join_room("S0", &token)).await;
    assert_eq!(code, 202);
    assert_eq!(
        text,
        "Unable to join session. Session S0 cannot be found. Code: 202"
    );
    for (session, token) in [
        ("S2", token.clone()),
        ("S2", token.replace("S1", "S2")),
        (
            "S1",
            "wss://ov.example.org?sessionId=S1&token=tok_".to_owned(),
        ),
        ("S1", String::new()),
    ] {
        let (code, text) = a.refused("joinRoom", join_room(session, &token)).await;
        assert_eq!(code, 401);
        assert_eq!(
            text,
            format!("Unable to join session {session}. Token {token} is not valid. Code: 401")
        );
    }
    let (code, text) = a.refused("publishVideo", publish_video()).await;
    assert_eq!(code, 803);
    assert!(text.starts_with("No session information found for participant with privateId "));

    assert!(
        a.ask("joinRoom", join_room("S1", &token))
            .await
            .get("result")
            .is_some()
    );
    assert_eq!(a.refused("joinRoom", join_room("S2", &token)).await.0, 104);
    let mut b = house.knock().await;
    assert_eq!(b.refused("joinRoom", join_room("S1", &token)).await.0, 401);
    assert_eq!(house.active("S1").await, ["con_A"]);
    assert!(house.active("S2").await.is_empty());
}

#[tokio::test]
async fn a_socket_that_guesses_tokens_is_closed() {
    let house = House::open().await;
    let mut a = house.knock().await;
    let mut failed = 0;
    let code = loop {
        let request = json!({"id": failed, "method": "joinRoom", "params": join_room("S1", "wss://h?sessionId=S1&token=x")});
        if a.socket
            .send(Message::text(request.to_string()))
            .await
            .is_err()
        {
            break 1006;
        }
        match a.receive().await {
            Ok(_) => failed += 1,
            Err(code) => break code,
        }
    };
    assert_eq!((failed, code), (10, 1008));
}

#[tokio::test]
async fn nothing_but_ping_is_served_before_joining() {
    let house = House::open().await;
    let mut a = house.knock().await;
    for method in ["publishVideo", "echo", "noSuchMethod", "leaveRoom"] {
        let (code, text) = a.refused(method, json!({})).await;
        assert_eq!(code, 803, "{method}");
        assert!(text.starts_with("No connection found for participant with privateId "));
        assert!(text.ends_with(
            ". Method 'Session.connect()' must be the first operation called in any session. Code: 803"
        ));
    }
    let reconnection = json!({"sessionId": "somebody else's", "reconnect": true});
    assert_eq!(
        a.refused("connect", reconnection).await,
        (40007, "reconnection error".to_owned())
    );
    assert_eq!(
        a.ask("ping", Value::Null).await["result"],
        json!({"value": "pong"})
    );
}

#[tokio::test]
async fn requests_that_make_no_sense_are_answered_and_harm_nobody() {
    let house = House::open().await;
    let mut a = house.guest("A").await;
    let mut b = house.guest("B").await;
    a.told().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (text, code) in [
        ("{", -32700),
        ("", -32700),
        (deep.as_str(), -32700),
        ("[]", -32600),
        (r#"{"id":1,"method":"echo","params":5}"#, -32602),
        (r#"{"id":1e999,"method":"echo"}"#, -32700),
        (
            r#"{"id":1,"id":2,"method":"noSuchMethod","params":{}}"#,
            -32601,
        ),
    ] {
        b.send(text).await;
        let answer = b.receive().await.unwrap();
        assert_eq!(answer["error"]["code"], code, "{text:.40}: {answer}");
    }
    assert_eq!(
        b.refused("receiveVideoFrom", json!({"sdpOffer": ""})).await,
        (
            -1,
            "Request element 'sender' is missing in RPC method 'receiveVideoFrom'. Check that 'openvidu-server' and \
             'openvidu-browser' versions are compatible with each other"
                .to_owned()
        )
    );
    assert_eq!(
        b.refused("receiveVideoFrom", json!({"sender": "con_A"}))
            .await
            .0,
        -1
    );
    let huge = json!({"sender": "x".repeat(10_000), "sdpOffer": ""});
    assert_eq!(b.refused("receiveVideoFrom", huge).await.0, -32602);
    for (message, code) in [
        ("nonsense", 600),
        ("[]", 600),
        (r#"{"to":[],"data":{}}"#, 600),
        (r#"{"to":"con_A"}"#, 601),
        (r#"{"to":[5]}"#, 601),
        (r#"{"to":["con_X"],"data":""}"#, 601),
    ] {
        let (actual, text) = b
            .refused("sendMessage", json!({ "message": message }))
            .await;
        assert_eq!(actual, code, "{message}: {text}");
    }
    let ping = a.ask("ping", json!({})).await;
    assert!(
        a.told.is_empty(),
        "A heard nothing of all this: {:?}",
        a.told
    );
    assert!(ping.get("result").is_some());
}

#[tokio::test]
async fn a_wrong_type_in_any_documented_field_is_an_error_of_that_request_alone() {
    let house = House::open().await;
    let mut a = house.guest("A").await;
    let cases: [(&str, Value); 7] = [
        ("publishVideo", publish_video()),
        (
            "prepareReceiveVideoFrom",
            json!({"sender": "con_A", "reconnect": false}),
        ),
        (
            "receiveVideoFrom",
            json!({"sender": "con_A", "sdpOffer": "v=0"}),
        ),
        ("unsubscribeFromVideo", json!({"sender": "con_A"})),
        (
            "onIceCandidate",
            json!({"endpointName": "con_A", "candidate": ""}),
        ),
        ("sendMessage", json!({"message": "{}"})),
        (
            "streamPropertyChanged",
            json!({"streamId": "s", "property": "audioActive", "newValue": true, "reason": "publishAudio"}),
        ),
    ];
    let mut refused = 0;
    for (method, params) in &cases {
        for field in params.as_object().unwrap().keys() {
            for wrong in [
                json!([[]]),
                json!({"a": {}}),
                json!(1e300),
                json!("\u{0}"),
                json!(true),
            ] {
                let before = &params[field];
                if std::mem::discriminant(before) == std::mem::discriminant(&wrong)
                    || (field == "newValue" && wrong.is_boolean())
                {
                    continue;
                }
                let mut params = params.clone();
                params[field] = wrong.clone();
                let (code, text) = a.refused(method, params).await;
                assert_eq!(code, -32602, "{method} {field} {wrong}: {text}");
                refused += 1;
            }
        }
    }
    assert!(refused > 60, "{refused}");
    assert!(a.ask("echo", json!({})).await.get("result").is_some());
    assert_eq!(house.active("S1").await, ["con_A"]);
}

#[tokio::test]
async fn broken_session_descriptions_are_refused_and_leave_nothing_behind() {
    let house = House::open().await;
    let mut a = house.guest("A").await;
    let many_sections = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(7000);
    let no_fingerprint: String = PUBLISHER_OFFER
        .lines()
        .filter(|line| !line.starts_with("a=fingerprint"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let offers = [
        String::new(),
        "v=0".to_owned(),
        "\u{0}".repeat(1000),
        format!("v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{many_sections}"),
        no_fingerprint,
        PUBLISHER_OFFER.replace("a=setup:actpass", "a=setup:passive"),
        PUBLISHER_OFFER.replace("VP8/90000", "XYZ/90000"),
    ];
    for offer in offers {
        let mut params = publish_video();
        params["sdpOffer"] = offer.as_str().into();
        let (code, _) = a.refused("publishVideo", params).await;
        assert!([302, 800].contains(&code), "{code} for {offer:.60}");
    }
    let shown = house.directory.connection("S1", "con_A").await.unwrap();
    assert_eq!(shown.publishers, Some(Vec::new()));
    assert!(
        a.ask("publishVideo", publish_video())
            .await
            .get("result")
            .is_some()
    );
}

#[tokio::test]
async fn a_socket_that_vanishes_evicts_after_the_grace_and_a_goodbye_at_once() {
    let house = House::with(Settings {
        reconnect_grace: Duration::ZERO,
        ..Settings::default()
    })
    .await;
    let mut witness = house.guest("W").await;
    let a = house.guest("A").await;
    witness.told().await;
    drop(a);
    let reason = json!({"connectionId": "con_A", "reason": "networkDisconnect"});
    assert_eq!(
        witness.told().await,
        notification("participantLeft", reason.clone())
    );
    assert_eq!(
        witness.told().await,
        notification("participantEvicted", reason)
    );

    let house = House::open().await;
    let mut witness = house.guest("W").await;
    let mut a = house.guest("A").await;
    witness.told().await;
    a.hang_up(4102).await;
    assert_eq!(witness.told().await["method"], "participantLeft");
    assert_eq!(house.active("S1").await, ["con_W"]);
}

#[tokio::test]
async fn a_client_that_asks_to_leave_and_hangs_up_has_left() {
    let house = House::open().await;
    let mut witness = house.guest("W").await;
    let mut a = house.guest("A").await;
    witness.told().await;
    a.send(r#"{"id":9,"method":"leaveRoom","params":{},"jsonrpc":"2.0"}"#)
        .await;
    a.hang_up(1001).await;
    assert_eq!(
        witness.told().await,
        notification(
            "participantLeft",
            json!({"connectionId": "con_A", "reason": "disconnect"})
        )
    );
}

#[tokio::test]
async fn evictions_and_closed_sessions_reach_their_clients() {
    let house = House::open().await;
    let mut a = house.guest("A").await;
    let mut b = house.guest("B").await;
    a.told().await;
    let reason = "forceDisconnectByServer";
    house
        .directory
        .delete_connection("S1", "con_A", reason)
        .await
        .unwrap();
    let params = json!({"connectionId": "con_A", "reason": reason});
    assert_eq!(
        a.told().await,
        notification("participantEvicted", params.clone())
    );
    assert_eq!(
        b.told().await,
        notification("participantLeft", params.clone())
    );
    assert_eq!(b.told().await, notification("participantEvicted", params));
    let (code, text) = a.refused("publishVideo", publish_video()).await;
    assert_eq!(code, 102, "{text}");
    assert_eq!(a.ask("ping", json!({})).await["result"]["value"], "pong");

    house
        .directory
        .close("S1", "sessionClosedByServer")
        .await
        .unwrap();
    assert_eq!(b.told().await["params"]["reason"], "sessionClosedByServer");
    let (code, text) = b.refused("echo", json!({})).await;
    assert_eq!(
        (code, text.as_str()),
        (203, "Session 'S1' is closed. Code: 203")
    );
}

/// Browsers whose former socket fails while `connect` is being answered give up their request: without the answer they
/// neither ping nor tell their application that they are back.
#[tokio::test]
async fn who_comes_back_and_does_not_ping_is_closed_and_may_come_back_again() {
    let house = House::open().await;
    let mut before = house.knock().await;
    before.ask("ping", json!({"interval": 1000})).await;
    let token = house.token("S1", "A", Role::Publisher).await;
    let joined = before.ask("joinRoom", join_room("S1", &token)).await;
    let connect = json!({"sessionId": joined["result"]["sessionId"], "reconnect": true});

    let mut deaf = house.knock().await;
    let answer = deaf.ask("connect", connect.clone()).await;
    assert!(answer.get("result").is_some(), "{answer}");
    assert_eq!(deaf.receive().await, Err(1000));

    let mut back = house.knock().await;
    back.ask("connect", connect).await;
    back.ask("ping", Value::Null).await;
    // For longer than the other one was given.
    let while_it_lasts = tokio::time::timeout(Duration::from_millis(2500), back.receive()).await;
    assert!(while_it_lasts.is_err(), "{while_it_lasts:?}");
    assert!(back.ask("ping", Value::Null).await.get("result").is_some());
    assert_eq!(house.active("S1").await, ["con_A"]);
}

#[tokio::test]
async fn at_shutdown_clients_are_told_and_then_closed() {
    let house = House::open().await;
    let mut a = house.guest("A").await;
    let mut stranger = house.knock().await;
    stranger.ask("ping", json!({})).await;
    let finished = async {
        house.directory.shutdown("openviduServerStopped").await;
        house.connections.shutdown().await;
    };
    let told = async {
        let evicted = a.receive().await.unwrap();
        assert_eq!(evicted["method"], "participantEvicted");
        assert_eq!(evicted["params"]["reason"], "openviduServerStopped");
        assert_eq!(a.receive().await, Err(1001));
        assert_eq!(stranger.receive().await, Err(1001));
        drop((a, stranger));
    };
    tokio::join!(finished, told);
    assert_eq!(house.connections.open(), 0);
    assert_eq!(house.directory.running_tasks(), 0);
    assert!(house.directory.list(true).await.is_empty());
}

#[tokio::test]
async fn a_panic_ends_one_session_and_no_other() {
    let house = House::open().await;
    let mut a = house.guest("A").await;
    let token = house.token("S2", "B", Role::Publisher).await;
    let mut b = house.knock().await;
    b.ask("joinRoom", join_room("S2", &token)).await;

    house
        .directory
        .find("S1")
        .unwrap()
        .panic(Fault::Session)
        .await;
    assert_eq!(
        a.told().await,
        notification(
            "participantEvicted",
            json!({"connectionId": "con_A", "reason": "nodeCrashed"})
        )
    );
    assert_eq!(a.refused("echo", json!({})).await.0, 203);
    assert_eq!(house.directory.panics(), 1);
    let left: Vec<String> = house
        .directory
        .list(true)
        .await
        .into_iter()
        .map(|s| s.id)
        .collect();
    assert_eq!(left, ["S2"]);
    assert!(b.ask("echo", json!({})).await.get("result").is_some());
    let mut properties = scene::properties();
    properties.custom_session_id = Some("S1".to_owned());
    assert!(
        house.directory.create(properties).await.is_ok(),
        "the id is free again"
    );
}

#[tokio::test]
async fn a_panic_in_a_socket_ends_that_socket_and_its_participant_alone() {
    let house = House::with(Settings {
        reconnect_grace: Duration::ZERO,
        ..Settings::default()
    })
    .await;
    let mut witness = house.guest("W").await;
    let mut a = house.guest("A").await;
    witness.told().await;
    a.send(r#"{"id":1,"method":"panic"}"#).await;
    assert_eq!(a.receive().await, Err(1006));
    assert_eq!(witness.told().await["method"], "participantLeft");
    assert_eq!(house.active("S1").await, ["con_W"]);
    assert_eq!(house.connections.panics(), 1);
    house.wait_for_sockets(1).await;
}

#[tokio::test]
async fn a_request_that_takes_long_delays_its_successors_but_no_pong() {
    // Opening the room is the one command that the worker takes.
    let mut house = House::on(scene::plane_with_room_for(1), Settings::default()).await;
    let mut a = house.guest("A").await;
    let publish = json!({"id": 100, "method": "publishVideo", "params": publish_video()});
    a.send(&publish.to_string()).await;
    a.send(r#"{"id":101,"method":"echo","params":{}}"#).await;
    for _ in 0..3 {
        assert_eq!(a.ask("ping", json!({})).await["result"]["value"], "pong");
    }
    assert!(a.told.is_empty(), "{:?}", a.told);
    // Kept: it holds the way back for events, and a worker that lets go of that has lost the room.
    let _open = house.media.recv().await.unwrap();
    assert_eq!(a.receive().await.unwrap()["id"], 100);
    assert_eq!(a.receive().await.unwrap()["id"], 101);
}

/// A raw socket after the opening handshake, for frames that no client library would write.
async fn raw(house: &House) -> TcpStream {
    let mut socket = TcpStream::connect(house.addr).await.unwrap();
    let request = "GET /openvidu HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        head.to_lowercase()
            .contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
        "{head}"
    );
    socket
}

/// The close code that answers `bytes`.
async fn close_code_after(house: &House, bytes: &[u8]) -> u16 {
    let mut socket = raw(house).await;
    // The server may hang up before it has read everything.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    read.expect("an end in time").expect("no reset");
    assert_eq!(answer.first(), Some(&0x88), "a close frame: {answer:?}");
    u16::from_be_bytes([answer[2], answer[3]])
}

fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![opcode, 0x80 | 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn frames_that_break_the_rules_end_the_socket_with_the_matching_code() {
    let house = House::open().await;
    let mut gigabyte = vec![0x81, 0x80 | 127];
    gigabyte.extend((1u64 << 30).to_be_bytes());
    gigabyte.extend([0; 4]);
    assert_eq!(close_code_after(&house, &gigabyte).await, 1009);
    let long = masked(0x81, &vec![b' '; 300 * 1024]);
    assert_eq!(close_code_after(&house, &long).await, 1009);
    let mut fragments = masked(0x01, b"[");
    for _ in 0..3000 {
        fragments.extend(masked(0x00, &[b' '; 100]));
    }
    assert_eq!(close_code_after(&house, &fragments).await, 1009);
    assert_eq!(
        close_code_after(&house, &masked(0x81, &[0xff, 0xfe])).await,
        1007
    );
    assert_eq!(close_code_after(&house, &masked(0x82, b"{}")).await, 1003);
    assert_eq!(close_code_after(&house, &[0x81, 2, b'{', b'}']).await, 1002);
    assert_eq!(close_code_after(&house, &masked(0xc1, b"{}")).await, 1002);
    assert_eq!(close_code_after(&house, &masked(0x83, b"")).await, 1002);
    house.wait_for_sockets(0).await;
}

#[tokio::test]
async fn a_message_of_ten_thousand_fragments_is_one_message() {
    let house = House::open().await;
    let mut a = house.knock().await;
    let text = format!("{:>10000}", r#"{"id":0,"method":"ping"}"#);
    let last = text.len() - 1;
    for (at, byte) in text.bytes().enumerate() {
        let opcode = if at == 0 { Data::Text } else { Data::Continue };
        let header = FrameHeader {
            is_final: at == last,
            opcode: OpCode::Data(opcode),
            mask: Some([1, 2, 3, 4]),
            ..FrameHeader::default()
        };
        let frame = Frame::from_payload(header, vec![byte].into());
        a.socket.feed(Message::Frame(frame)).await.unwrap();
    }
    a.socket.flush().await.unwrap();
    assert_eq!(a.receive().await.unwrap()["result"]["value"], "pong");
}

#[tokio::test]
async fn a_flood_of_messages_ends_the_socket() {
    let house = House::open().await;
    let a = house.knock().await;
    let (mut sink, mut stream) = a.socket.split();
    let flood = async {
        for id in 0..100_000 {
            let ping = format!(r#"{{"id":{id},"method":"ping"}}"#);
            if sink.send(Message::text(ping)).await.is_err() {
                return;
            }
        }
    };
    let end = async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    };
    let ((), code) = tokio::time::timeout(PATIENCE, async { tokio::join!(flood, end) })
        .await
        .unwrap();
    assert_eq!(code, Some(1008u16));
    house.wait_for_sockets(0).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_nobody_waits_for_it() {
    let house = House::open().await;
    let sleeper = house.guest("A").await;
    let mut b = house.guest("B").await;
    let data = "x".repeat(200 * 1024);
    let message = json!({"to": ["con_A"], "data": data, "type": "signal:chat"}).to_string();
    let params = json!({ "message": message });
    // Megabytes disappear in the buffers of the system first.
    for _ in 0..200 {
        b.ask("sendMessage", params.clone()).await;
        if house.connections.open() == 1 {
            break;
        }
    }
    house.wait_for_sockets(1).await;
    assert!(b.ask("echo", json!({})).await.get("result").is_some());
    drop(sleeper);
}

#[tokio::test]
async fn what_is_no_handshake_is_refused_over_http() {
    let house = House::open().await;
    let status = async |head: &str| {
        let mut socket = TcpStream::connect(house.addr).await.unwrap();
        let request = format!("{head}\r\nHost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    };
    let upgrade = "GET /openvidu HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket";
    assert_eq!(status("GET /openvidu HTTP/1.1").await, "HTTP/1.1 426");
    assert_eq!(status("POST /openvidu HTTP/1.1").await, "HTTP/1.1 426");
    assert_eq!(status(upgrade).await, "HTTP/1.1 400");
    let old = format!("{upgrade}\r\nSec-WebSocket-Version: 8");
    assert_eq!(status(&old).await, "HTTP/1.1 426");
    let no_key = format!("{upgrade}\r\nSec-WebSocket-Version: 13");
    assert_eq!(status(&no_key).await, "HTTP/1.1 400");
    let key = format!("{no_key}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(status(&key).await, "HTTP/1.1 101");
    house.wait_for_sockets(0).await;
}

#[tokio::test]
async fn many_come_and_go_and_nothing_stays() {
    let house = House::open().await;
    let anchor = house.guest("Z").await;
    for round in 0..10 {
        let mut guests = Vec::new();
        for at in 0..8 {
            guests.push(house.guest(&format!("G{round}x{at}")).await);
        }
        for (at, mut guest) in guests.into_iter().enumerate() {
            guest.ask("publishVideo", publish_video()).await;
            match at % 2 {
                0 => {
                    guest.ask("leaveRoom", json!({})).await;
                }
                _ => guest.hang_up(4102).await,
            }
        }
    }
    house.wait_for_sockets(1).await;
    assert_eq!(house.active("S1").await, ["con_Z"]);
    drop(anchor);
}
