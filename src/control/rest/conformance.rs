//! The conformance vectors of `openvidu-rest` section 19 that concern sessions, connections, tokens and configuration,
//! through the router and the real directory, and the rules that hold for every path.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::body::Members;
use super::{MAX_BODY_LEN, Recording, Settings, Webhook, router};
use crate::control::access::Gate;
use crate::control::session::directory::Directory;
use crate::control::session::ports::NoTurn;
use crate::control::session::scene;
use crate::units::ForcedVideoCodec;
use crate::units::{Bitrate, RemoteAddr, Secret, clock};

/// `OPENVIDUAPP:MY_SECRET`.
const RIGHT: &str = "Basic T1BFTlZJRFVBUFA6TVlfU0VDUkVU";
const WRONG: &str = "Basic T1BFTlZJRFVBUFA6V1JPTkc=";

fn settings() -> Settings {
    Settings {
        domain_or_public_ip: "localhost".to_owned(),
        https_port: 4443,
        public_url: "https://localhost:4443".to_owned(),
        cdr: false,
        cdr_path: "/opt/openvidu/cdr".to_owned(),
        video_max_recv: Bitrate::from_kbps(1000),
        video_min_recv: Bitrate::from_kbps(300),
        video_max_send: Bitrate::from_kbps(1000),
        video_min_send: Bitrate::from_kbps(300),
        forced_video_codec: ForcedVideoCodec::MediaServerPreferred,
        allow_transcoding: false,
        simulcast: false,
        garbage_interval: Duration::from_secs(900),
        garbage_threshold: Duration::from_secs(3600),
        recording_path: "/opt/openvidu/recordings".to_owned(),
        recording: None,
        webhook: None,
        community_edition: false,
        ice_servers: Vec::new(),
    }
}

struct Server(Router, Directory);

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// 400s and 404s of handlers carry the error object, others nothing (section 1.4).
    fn has_error_object(&self, path: &str) -> bool {
        let Ok(error) = serde_json::from_str::<Value>(&self.text) else {
            return false;
        };
        error["status"] == self.status
            && error["path"] == path
            && error["timestamp"].is_u64()
            && error["error"].is_string()
            && error["message"].is_string()
    }
}

impl Server {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let (plane, _commands) = scene::plane();
        let directory = Directory::new(
            crate::control::session::settings::Settings::default(),
            plane,
            Arc::new(NoTurn),
        );
        let gate = Gate::new(Secret::new("MY_SECRET"));
        Self(router(settings, gate, directory.clone()), directory)
    }

    async fn send(&self, mut request: Request<Body>) -> Answer {
        request
            .extensions_mut()
            .insert(RemoteAddr(Ipv4Addr::new(198, 51, 100, 1).into()));
        let response = self.0.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 10 * MAX_BODY_LEN).await.unwrap();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    /// `call` is a method and a path below `/openvidu/api`; no body is sent the way the SDKs do.
    async fn call(&self, call: &str, body: impl Into<Option<Value>>) -> Answer {
        let (method, path) = call.split_once(' ').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("/openvidu/api{path}"))
            .header("authorization", RIGHT);
        let request = match body.into() {
            Some(body) => request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string())),
            None => request
                .header("content-type", "application/x-www-form-urlencoded")
                .body(Body::empty()),
        };
        self.send(request.unwrap()).await
    }

    async fn anonymous(&self, method: &str, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

#[tokio::test]
async fn a_server_that_drains_sends_new_sessions_elsewhere_and_goes_on_with_the_others() {
    let server = Server::new();
    let old = json!({"customSessionId": "old"});
    assert_eq!(server.call("POST /sessions", old.clone()).await.status, 200);
    let in_ten_minutes = clock::now() + Duration::from_secs(600);
    server.1.refuse_until(Some(in_ten_minutes));
    let refused = server.call("POST /sessions", json!({})).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert!(
        refused.has_error_object("/openvidu/api/sessions"),
        "{refused:?}"
    );
    assert_eq!(server.call("POST /sessions", old.clone()).await.status, 409);
    let joining = server.call("POST /sessions/old/connection", json!({}));
    assert_eq!(joining.await.status, 200);
    assert_eq!(server.call("DELETE /sessions/old", None).await.status, 204);
    assert_eq!(server.call("POST /sessions", old.clone()).await.status, 503);
    server.1.refuse_until(Some(clock::now()));
    let refused = server.call("POST /sessions", json!({})).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.1.refuse_until(None);
    assert_eq!(server.call("POST /sessions", old).await.status, 200);
}

fn keys(value: &Value) -> Vec<&str> {
    let members = value.as_object().unwrap();
    members.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_upstream_vectors_hold_in_order() {
    let server = Server::new();
    let session = "CUSTOM_SESSION_ID";

    // 1-3
    assert_eq!(
        server.anonymous("GET", "/openvidu/api/config").await.status,
        401
    );
    assert_eq!(
        server.call("GET /sessions/NOT_EXISTS", None).await.status,
        404
    );
    let list = server.call("GET /sessions", None).await;
    assert_eq!(
        (list.status, list.text.as_str()),
        (200, r#"{"numberOfElements":0,"content":[]}"#)
    );

    // 4-10
    for bad in [
        json!({"mediaMode": "NOT_EXISTS"}),
        json!({"mediaMode": "ROUTED", "recordingMode": false}),
        json!({"mediaMode": "ROUTED", "recordingMode": "ALWAYS", "customSessionId": 999}),
        json!({"recordingMode": "NOT_EXISTS"}),
        json!({"defaultRecordingProperties": "STR"}),
        json!({"defaultRecordingProperties": {"outputMode": "NOT_EXISTS"}}),
        json!({"defaultRecordingProperties": {"outputMode": "COMPOSED", "recordingLayout": "NOT_EXISTS"}}),
        json!({"customSessionId": "../x"}),
        json!({"customSessionId": "caf\u{e9}"}),
        json!({"forcedVideoCodec": "vp8"}),
        json!({"forcedVideoCodec": "AV1"}),
        json!({"allowTranscoding": "true"}),
        json!({"mediaNode": "media_1"}),
        json!({"mediaNode": {"id": 1}}),
    ] {
        let answer = server.call("POST /sessions", bad.clone()).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(
            answer.has_error_object("/openvidu/api/sessions"),
            "{bad}: {}",
            answer.text
        );
    }

    // 11: what the Node SDK sends, null for what its caller left out.
    let created = server
        .call(
            "POST /sessions",
            json!({"mediaMode": "ROUTED", "recordingMode": "MANUAL", "customSessionId": session,
                   "defaultRecordingProperties": null, "mediaNode": null, "forcedVideoCodec": null,
                   "allowTranscoding": null, "unknown": {"x": 1}}),
        )
        .await;
    assert_eq!(created.status, 200);
    assert_eq!(created.header("content-type"), Some("application/json"));
    assert_eq!(
        keys(&created.json()),
        [
            "id",
            "object",
            "sessionId",
            "createdAt",
            "recording",
            "broadcasting",
            "mediaMode",
            "recordingMode",
            "defaultRecordingProperties",
            "customSessionId",
            "forcedVideoCodec",
            "allowTranscoding",
            "connections"
        ]
    );
    assert_eq!(
        keys(&created.json()["defaultRecordingProperties"]),
        [
            "name",
            "hasAudio",
            "hasVideo",
            "outputMode",
            "recordingLayout",
            "resolution",
            "frameRate",
            "shmSize"
        ]
    );

    // 12-16
    let other = server.call("POST /sessions", json!({})).await;
    let other_id = other.json()["id"].as_str().unwrap().to_owned();
    let closed = server
        .call(&format!("DELETE /sessions/{other_id}"), None)
        .await;
    assert_eq!((closed.status, closed.text.as_str()), (204, ""));
    let conflict = server
        .call("POST /sessions", json!({"customSessionId": session}))
        .await;
    assert_eq!((conflict.status, conflict.text.as_str()), (409, ""));
    for (call, status) in [
        ("GET /sessions/NOT_EXISTS/connection", 404),
        ("GET /sessions/NOT_EXISTS/connection/NOT_EXISTS", 400),
        ("GET /sessions/CUSTOM_SESSION_ID/connection/NOT_EXISTS", 404),
    ] {
        let answer = server.call(call, None).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (status, ""),
            "{call}"
        );
    }

    // 17-18
    for bad in [
        json!({}),
        json!({"session": true}),
        json!({"session": session, "role": "NOT_EXISTS"}),
        json!({"session": session, "data": 999}),
        json!({"session": session, "kurentoOptions": false}),
        json!({"session": session, "kurentoOptions": {"allowedFilters": "STRING"}}),
    ] {
        assert_eq!(
            server.call("POST /tokens", bad.clone()).await.status,
            400,
            "{bad}"
        );
    }
    assert_eq!(
        server
            .call("POST /tokens", json!({"session": "NOT_EXISTS"}))
            .await
            .status,
        404
    );
    let token = server
        .call(
            "POST /tokens",
            json!({"session": session, "role": "MODERATOR", "data": "SERVER_DATA", "record": false,
                   "kurentoOptions": {"videoMaxSendBandwidth": 777, "allowedFilters": ["GStreamerFilter"]}}),
        )
        .await;
    assert_eq!(token.status, 200, "{token:?}");
    let token = token.json();
    assert_eq!(
        keys(&token),
        [
            "id",
            "token",
            "createdAt",
            "connectionId",
            "session",
            "data",
            "role",
            "kurentoOptions"
        ]
    );
    assert_eq!(token["id"], token["token"]);
    assert_eq!(token["session"], session);

    // 19-20
    let post = format!("POST /sessions/{session}/connection");
    let path = format!("/openvidu/api/sessions/{session}/connection");
    for bad in [
        json!({"type": false}),
        json!({"type": "NOT_EXISTS"}),
        json!({"role": 123}),
        json!({"role": "publisher"}),
        json!({"data": true}),
        json!({"record": "true"}),
        json!({"customIceServers": {}}),
        json!({"customIceServers": ["stun:valid-domain.es"]}),
        json!({"customIceServers": [{}]}),
        json!({"customIceServers": [{"url": "bad-ice-server"}]}),
        json!({"customIceServers": [{"url": "turn:bad-ice-server"}]}),
        json!({"customIceServers": [{"url": "bad-prefix:bad-ice-server"}]}),
    ] {
        let answer = server.call(&post, bad.clone()).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.has_error_object(&path), "{bad}: {}", answer.text);
    }
    let unknown = server
        .call("POST /sessions/NOT_EXISTS/connection", json!({"type": 1}))
        .await;
    assert_eq!((unknown.status, unknown.text.as_str()), (404, ""));

    // 21
    let ice_servers = json!([
        {"url": "turn:valid-domain.es", "username": "USERNAME", "credential": "CREDENTIAL"},
        {"url": "stun:valid-domain.es:1234"}
    ]);
    let connection = server
        .call(
            &post,
            json!({"type": "WEBRTC", "data": "MY_DATA", "record": null, "role": "SUBSCRIBER", "kurentoOptions": {},
                   "customIceServers": ice_servers, "rtspUri": null}),
        )
        .await;
    assert_eq!(connection.status, 200, "{connection:?}");
    let connection = connection.json();
    assert_eq!(
        keys(&connection),
        [
            "id",
            "object",
            "status",
            "connectionId",
            "sessionId",
            "createdAt",
            "type",
            "record",
            "role",
            "kurentoOptions",
            "customIceServers",
            "rtspUri",
            "adaptativeBitrate",
            "onlyPlayWithSubscribers",
            "networkCache",
            "serverData",
            "token",
            "activeAt",
            "location",
            "ip",
            "platform",
            "clientData",
            "publishers",
            "subscribers"
        ]
    );
    assert_eq!(connection["customIceServers"], ice_servers);
    assert_eq!(connection["kurentoOptions"], json!({}));
    for null in [
        "activeAt",
        "publishers",
        "subscribers",
        "rtspUri",
        "ip",
        "clientData",
    ] {
        assert!(connection[null].is_null(), "{null}");
    }

    // 22-23
    let get = format!("GET /sessions/{session}");
    let count = |answer: Answer| {
        answer.json()["connections"]["numberOfElements"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(count(server.call(&get, None).await), 0);
    assert_eq!(
        count(
            server
                .call(&format!("{get}?pendingConnections=true"), None)
                .await
        ),
        2
    );
    let connections = server.call(&format!("{get}/connection"), None).await.json();
    assert_eq!(connections["numberOfElements"], 2);
    assert_eq!(connections["content"][1], connection);
    let none = server
        .call(&format!("{get}/connection?pendingConnections=false"), None)
        .await;
    assert_eq!(none.text, r#"{"numberOfElements":0,"content":[]}"#);
    let id = connection["id"].as_str().unwrap();
    assert_eq!(
        server
            .call(&format!("{get}/connection/{id}"), None)
            .await
            .json(),
        connection
    );

    // 42-43
    let delete = format!("DELETE /sessions/{session}");
    for (call, status) in [
        (
            "DELETE /sessions/NOT_EXISTS/connection/NOT_EXISTS".to_owned(),
            400,
        ),
        (format!("{delete}/connection/NOT_EXISTS"), 404),
        (format!("{delete}/connection/{id}"), 204),
        (format!("{delete}/connection/{id}"), 404),
        ("DELETE /sessions/NOT_EXISTS".to_owned(), 404),
        (delete.clone(), 204),
        (delete, 404),
    ] {
        let answer = server.call(&call, None).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (status, ""),
            "{call}"
        );
    }
    assert_eq!(server.call("DELETE /sessions", None).await.status, 403);

    // 45
    let forced = server
        .call(
            "POST /sessions",
            json!({"forcedVideoCodec": "H264", "allowTranscoding": true}),
        )
        .await
        .json();
    assert_eq!(
        (&forced["forcedVideoCodec"], &forced["allowTranscoding"]),
        (&json!("H264"), &json!(true))
    );
    let listed = server.call("GET /sessions", None).await.json();
    assert_eq!(listed, json!({"numberOfElements": 1, "content": [forced]}));

    // Security vectors
    for (call, status) in [
        ("GET /sessions/UNKNOWN", 404),
        ("DELETE /sessions/UNKNOWN", 404),
        ("POST /sessions/UNKNOWN/connection", 404),
        ("GET /sessions/UNKNOWN/connection", 404),
        ("GET /sessions/UNKNOWN/connection/UNKNOWN", 400),
        ("DELETE /sessions/UNKNOWN/connection/UNKNOWN", 400),
        ("POST /recordings/start", 501),
        ("POST /recordings/stop/UNKNOWN", 501),
        ("GET /recordings", 501),
        ("GET /recordings/UNKNOWN", 501),
        ("DELETE /recordings/UNKNOWN", 501),
    ] {
        assert_eq!(server.call(call, None).await.status, status, "{call}");
    }
}

#[tokio::test]
async fn what_was_posted_is_shown_the_same_in_every_answer() {
    let server = Server::new();
    let body = json!({
        "customSessionId": "room", "mediaMode": "RELAYED", "recordingMode": "ALWAYS", "mediaNode": {"id": "media_1", "x": 1},
        "forcedVideoCodec": "NONE",
        "defaultRecordingProperties": {"shmSize": 134_217_728, "name": "n", "recordingLayout": "CUSTOM", "customLayout": "l"}
    });
    let created = server.call("POST /sessions", body).await;
    assert_eq!(created.json()["mediaNode"], json!({"id": "media_1"}));
    assert_eq!(created.json()["forcedVideoCodec"], "NONE");
    assert_eq!(
        server.call("GET /sessions/room", None).await.text,
        created.text
    );
    let list = server
        .call("GET /sessions?pendingConnections=true", None)
        .await;
    assert_eq!(
        list.text,
        format!(r#"{{"numberOfElements":1,"content":[{}]}}"#, created.text)
    );
}

#[tokio::test]
async fn configured_ice_servers_are_shown_where_the_request_names_none() {
    let configured =
        crate::units::IceServer::new("turn:192.0.2.1", None, None, Some("north-wind")).unwrap();
    let server = Server::with(Settings {
        ice_servers: vec![configured],
        ..settings()
    });
    server
        .call("POST /sessions", json!({"customSessionId": "room"}))
        .await;
    let with = server
        .call(
            "POST /sessions/room/connection",
            json!({"customIceServers": []}),
        )
        .await;
    let entry = with.json()["customIceServers"][0].clone();
    assert_eq!(keys(&entry), ["url", "username", "credential"]);
    assert!(!with.text.contains("north-wind"));
    let own = json!([{"url": "stun:192.0.2.2"}]);
    let without = server
        .call(
            "POST /sessions/room/connection",
            json!({"customIceServers": own}),
        )
        .await;
    assert_eq!(without.json()["customIceServers"], own);
}

#[tokio::test]
async fn a_connection_changes_in_every_edition_but_the_community_one() {
    let server = Server::new();
    let custom = json!({"customSessionId": "S"});
    assert_eq!(server.call("POST /sessions", custom).await.status, 200);
    let properties = json!({"role": "PUBLISHER", "data": "srv"});
    let created = server.call("POST /sessions/S/connection", properties).await;
    let created = created.json();
    let id = created["id"].as_str().unwrap();
    let patch = format!("PATCH /sessions/S/connection/{id}");

    for (body, role, record) in [
        (Value::Null, "PUBLISHER", true),
        (json!({}), "PUBLISHER", true),
        (json!({"role": "MODERATOR"}), "MODERATOR", true),
        (json!({"record": false, "role": null}), "MODERATOR", false),
        (
            json!({"role": "SUBSCRIBER", "record": true, "data": "other", "token": 5}),
            "SUBSCRIBER",
            true,
        ),
    ] {
        let sent = (!body.is_null()).then_some(body.clone());
        let answer = server.call(&patch, sent).await;
        assert_eq!(answer.status, 200, "{body}");
        let mut expected = created.clone();
        expected["role"] = role.into();
        expected["record"] = record.into();
        assert_eq!(answer.json(), expected, "{body}");
    }
    for bad in [
        json!({"role": "ADMIN"}),
        json!({"role": "moderator"}),
        json!({"role": 1}),
        json!({"record": "false"}),
        json!({"role": "PUBLISHER", "record": 0}),
    ] {
        let answer = server.call(&patch, bad.clone()).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.has_error_object("/openvidu/api/sessions/S/connection"));
    }
    let shown = server.call(&patch.replace("PATCH", "GET"), None).await;
    assert_eq!(
        shown.json()["role"],
        "SUBSCRIBER",
        "a bad request changes nothing"
    );
    let bad = json!({"role": 1});
    let unknown = server
        .call("PATCH /sessions/S/connection/con_none", json!({}))
        .await;
    assert_eq!(unknown.status, 404);
    let unknown = server.call("PATCH /sessions/none/connection/x", bad).await;
    assert_eq!(unknown.status, 404, "before the body is looked at");
}

#[tokio::test]
async fn signals_and_streams_are_checked_in_upstreams_order() {
    let server = Server::new();
    let custom = json!({"customSessionId": "S"});
    assert_eq!(server.call("POST /sessions", custom).await.status, 200);
    for (body, status) in [
        (json!({}), 400),
        (json!({"session": 5}), 400),
        (json!({"session": null, "to": []}), 400),
        (json!({"session": "none", "to": "con_A"}), 400),
        (json!({"session": "none", "to": [5]}), 400),
        (json!({"session": "none", "type": {}}), 400),
        (json!({"session": "none", "data": ["x"]}), 400),
        (json!({"session": "none"}), 404),
        (json!({"session": "none", "to": [null]}), 404),
        (json!({"session": "S"}), 406),
        (json!({"session": "S", "to": ["con_A", null]}), 406),
    ] {
        let answer = server.call("POST /signal", body.clone()).await;
        assert_eq!(answer.status, status, "{body}");
        let has_object = answer.has_error_object("/openvidu/api/signal");
        assert_eq!(has_object, status == 400, "{body}: {}", answer.text);
    }
    let unknown = server.call("DELETE /sessions/none/stream/x", None).await;
    assert_eq!(unknown.status, 400);
    let unknown = server.call("DELETE /sessions/S/stream/x", None).await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn cameras_are_refused_until_they_exist() {
    let server = Server::new();
    server
        .call("POST /sessions", json!({"customSessionId": "room"}))
        .await;
    let body = json!({"type": "IPCAM", "rtspUri": "rtsp://dummyurl.com"});
    let answer = server
        .call("POST /sessions/room/connection", body.clone())
        .await;
    assert_eq!(answer.status, 501);
    assert!(answer.has_error_object("/openvidu/api/sessions/room/connection"));
    assert_eq!(
        server
            .call("POST /sessions/none/connection", body)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn configuration_shows_names_and_types_but_never_the_secret() {
    let server = Server::new();
    let answer = server.call("GET /config", None).await;
    assert_eq!(
        answer.json(),
        json!({
            "VERSION": crate::OPENVIDU_VERSION, "DOMAIN_OR_PUBLIC_IP": "localhost", "HTTPS_PORT": 4443,
            "OPENVIDU_PUBLICURL": "https://localhost:4443", "OPENVIDU_CDR": false,
            "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH": 1000, "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH": 300,
            "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH": 1000, "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH": 300,
            "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC": "MEDIA_SERVER_PREFERRED",
            "OPENVIDU_STREAMS_ALLOW_TRANSCODING": false, "OPENVIDU_WEBRTC_SIMULCAST": false,
            "OPENVIDU_SESSIONS_GARBAGE_INTERVAL": 900, "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD": 3600,
            "OPENVIDU_RECORDING": false, "OPENVIDU_WEBHOOK": false
        })
    );
    assert!(!answer.text.contains("MY_SECRET"));

    let server = Server::with(Settings {
        cdr: true,
        recording: Some(Recording {
            version: "2.32.0".to_owned(),
            public_access: false,
            notification: "publisher_moderator".to_owned(),
            custom_layout: "/opt/openvidu/custom-layout".to_owned(),
            autostop_timeout: Duration::from_secs(120),
            composed_url: None,
        }),
        webhook: Some(Webhook {
            endpoint: "http://127.0.0.1:7777/webhook".to_owned(),
            headers: vec!["Authorization: Basic x".to_owned()],
            events: vec!["sessionCreated".to_owned()],
        }),
        ..settings()
    });
    let shown = server.call("GET /config", None).await.json();
    assert_eq!(shown["OPENVIDU_CDR_PATH"], "/opt/openvidu/cdr/");
    assert_eq!(
        shown["OPENVIDU_RECORDING_PATH"],
        "/opt/openvidu/recordings/"
    );
    assert_eq!(
        shown["OPENVIDU_RECORDING_CUSTOM_LAYOUT"],
        "/opt/openvidu/custom-layout/"
    );
    assert_eq!(shown["OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT"], 120);
    assert_eq!(
        shown["OPENVIDU_WEBHOOK_HEADERS"],
        json!(["Authorization: Basic x"])
    );
    assert!(shown.get("OPENVIDU_RECORDING_COMPOSED_URL").is_none());
}

#[tokio::test]
async fn single_values_are_plain() {
    let server = Server::new();
    for (path, text) in [
        ("openvidu-publicurl", "https://localhost:4443/"),
        ("openvidu-version", crate::OPENVIDU_VERSION),
        ("openvidu-recording", "false"),
        ("openvidu-recording-path", "/opt/openvidu/recordings/"),
        ("openvidu-cdr", "false"),
    ] {
        let answer = server.call(&format!("GET /config/{path}"), None).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, text), "{path}");
    }
}

#[tokio::test]
async fn public_paths_need_no_secret_but_refuse_a_wrong_one() {
    let server = Server::new();
    for path in [
        "/openvidu/api/config/openvidu-publicurl",
        "/openvidu/accept-certificate",
    ] {
        assert_eq!(server.anonymous("GET", path).await.status, 200, "{path}");
        let head = server.anonymous("HEAD", path).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
        assert_eq!(server.anonymous("POST", path).await.status, 401, "{path}");
        let wrong = Request::get(path).header("authorization", WRONG);
        assert_eq!(
            server.send(wrong.body(Body::empty()).unwrap()).await.status,
            401,
            "{path}"
        );
    }
    let page = server
        .anonymous("GET", "/openvidu/accept-certificate")
        .await;
    assert!(page.text.contains("history.back()"));
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("script-src 'sha256-")
    );
}

#[tokio::test]
async fn without_the_secret_every_other_path_and_method_is_401() {
    let server = Server::new();
    for path in [
        "/openvidu/api/sessions",
        "/openvidu/api/sessions/S",
        "/openvidu/api/sessions/S/connection",
        "/openvidu/api/sessions/S/connection/C",
        "/openvidu/api/sessions/S/stream/T",
        "/openvidu/api/tokens",
        "/openvidu/api/signal",
        "/openvidu/api/recordings",
        "/openvidu/api/recordings/start",
        "/openvidu/api/recordings/stop/R",
        "/openvidu/api/recordings/R",
        "/openvidu/api/config",
        "/openvidu/api/config/",
        "/openvidu/api/config/openvidu-publicurl/",
        "/openvidu/api/config/openvidu-version",
        "/openvidu/api/config/openvidu-recording",
        "/openvidu/api/config/openvidu-recording-path",
        "/openvidu/api/config/openvidu-cdr",
        "/openvidu/api/nonsense",
        "/openvidu/cdr",
        "/openvidu/cdr/CDR.log",
        "/openvidu/recordings/R/R.mp4",
        "/openvidu/layouts/x",
        "/openvidu/info",
        "/",
    ] {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
        ] {
            let answer = server.anonymous(method, path).await;
            assert_eq!(
                (answer.status, answer.text.as_str()),
                (401, ""),
                "{method} {path}"
            );
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Basic realm=\"Realm\""),
                "{method} {path}"
            );
        }
    }
    let script = Request::get("/openvidu/api/config").header("x-requested-with", "XMLHttpRequest");
    let answer = server.send(script.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (answer.status, answer.header("www-authenticate")),
        (401, None)
    );
}

#[tokio::test]
async fn with_the_secret_what_no_rule_names_is_403() {
    let server = Server::with(Settings {
        community_edition: true,
        ..settings()
    });
    for call in [
        "DELETE /sessions",
        "DELETE /recordings",
        "POST /recordings/stop",
        "PATCH /sessions/S/connection/C",
        "PUT /sessions",
        "GET /sessions/",
        "GET /nonsense",
        "GET /health",
        "POST /config",
        "OPTIONS /sessions",
    ] {
        let answer = server.call(call, None).await;
        assert_eq!(answer.status, 403, "{call}");
        let path = call.split_once(' ').unwrap().1;
        assert!(
            answer.has_error_object(&format!("/openvidu/api{path}")),
            "{call}"
        );
    }
}

#[tokio::test]
async fn guesses_are_limited_over_all_paths_and_the_answer_stays_401() {
    let server = Server::new();
    let ask = |path: &'static str, authorization: &'static str| {
        let request = Request::get(path).header("authorization", authorization);
        server.send(request.body(Body::empty()).unwrap())
    };
    for _ in 0..5 {
        for path in ["/openvidu/api/sessions", "/openvidu/api/config"] {
            let answer = ask(path, WRONG).await;
            assert_eq!((answer.status, answer.header("retry-after")), (401, None));
        }
    }
    let locked = ask("/openvidu/api/sessions", RIGHT).await;
    assert_eq!(locked.status, 401);
    assert!(
        locked
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            <= 7
    );
    assert_eq!(
        server
            .anonymous("GET", "/openvidu/api/config/openvidu-publicurl")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn every_origin_may_ask_and_preflights_need_no_secret() {
    let server = Server::new();
    let preflight = Request::options("/openvidu/api/sessions")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    let answer = server.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(
        answer.header("access-control-allow-headers"),
        Some("authorization,content-type")
    );
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    assert_eq!(answer.header("vary"), Some(vary));
    let plain = server.call("GET /sessions", None).await;
    assert_eq!(plain.header("access-control-allow-origin"), Some("*"));
    assert_eq!(plain.header("vary"), Some(vary));
    let refused = server.anonymous("GET", "/openvidu/api/sessions").await;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("*"),
        "scripts must see the status"
    );
}

#[tokio::test]
async fn bodies_are_bounded_strict_and_may_be_missing() {
    let server = Server::new();
    let post = |content_type: &'static str, body: String| {
        let request = Request::post("/openvidu/api/sessions")
            .header("authorization", RIGHT)
            .header("content-type", content_type);
        server.send(request.body(Body::from(body)).unwrap())
    };
    for (content_type, body, status) in [
        ("application/json", "{".to_owned(), 400),
        ("application/json", "[]".to_owned(), 400),
        ("application/json", "\"x\"".to_owned(), 400),
        (
            "application/json",
            format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000)),
            400,
        ),
        ("application/json", " ".repeat(MAX_BODY_LEN + 1), 413),
        ("text/plain", "{}".to_owned(), 415),
        ("application/json;charset=UTF-8", "{}".to_owned(), 200),
        ("text/plain", String::new(), 200),
    ] {
        let start: String = body.chars().take(20).collect();
        assert_eq!(
            post(content_type, body).await.status,
            status,
            "{content_type} {start}"
        );
    }
    let bad_query = server
        .call("GET /sessions?pendingConnections=maybe", None)
        .await;
    assert_eq!(bad_query.status, 400);
    let bad_path = server.call("GET /sessions/%ff", None).await;
    assert_eq!(bad_path.status, 400);
}

#[tokio::test]
async fn answers_carry_the_headers_that_upstreams_framework_adds() {
    let server = Server::new();
    let answer = server.call("GET /sessions", None).await;
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-xss-protection", "0"),
        (
            "cache-control",
            "no-cache, no-store, max-age=0, must-revalidate",
        ),
        ("pragma", "no-cache"),
        ("expires", "0"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(answer.header("strict-transport-security"), None);
    assert_eq!(answer.header("set-cookie"), None);
}

/// Any JSON, with the members that the API knows well represented.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "(turn|stun)s?:[a-z0-9.:\\[\\]?=-]{0,20}".prop_map(Value::from),
        "[0-9]{1,4}x[0-9]{1,4}|COMPOSED|INDIVIDUAL|CUSTOM|VP8".prop_map(Value::from),
    ];
    let name = prop_oneof![
        Just("customIceServers"),
        Just("url"),
        Just("username"),
        Just("credential"),
        Just("staticAuthSecret"),
        Just("kurentoOptions"),
        Just("videoMaxRecvBandwidth"),
        Just("allowedFilters"),
        Just("role"),
        Just("data"),
        Just("defaultRecordingProperties"),
        Just("outputMode"),
        Just("resolution"),
        Just("frameRate"),
        Just("shmSize"),
        Just("customSessionId"),
        Just("mediaNode"),
        Just("id"),
        Just("forcedVideoCodec"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_a_parser_panic(body in any_json()) {
        if let Some(members) = body.as_object().map(Members::new) {
            let _ = super::sessions::properties(members, &settings());
            let _ = super::connections::properties(members, &settings());
        }
    }
}
