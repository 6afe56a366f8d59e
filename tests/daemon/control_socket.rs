//! The control socket from outside: what strangers and nonsense meet there, and what becomes of its file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hanok::testing::client::PATIENCE;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::house::{Witness, eventually};
use crate::process::{Process, run};

/// What comes back for these bytes.
async fn answer(socket: &Path, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        // It may be refused before all of it is read.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await;
    answer.expect("an answer or an end, in time")
}

/// One call: its status, and the JSON that it is answered by.
pub(crate) async fn ask(socket: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: hanok\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let answer = answer(socket, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_refused_in_words_and_disturbs_nobody() {
    let process = Process::start().await;
    let witness = Witness::begin_at(process.plain).await;
    let socket = process.control_socket();
    let long = "[".repeat(100_000);
    for (method, path, body, expected) in [
        ("GET", "/nothing", "", 404),
        ("GET", "/openvidu/nothing", "", 403),
        ("PUT", "/status", "", 405),
        ("POST", "/drain", "", 400),
        ("POST", "/drain", "{}", 422),
        ("POST", "/drain", r#"{"deadlineSecs":-1}"#, 422),
        ("POST", "/drain", r#"{"deadlineSecs":1,"x":1}"#, 422),
        ("POST", "/drain", long.as_str(), 413),
        ("DELETE", "/drain", "", 409),
        ("DELETE", "/allocations/..%2f..", "", 404),
        ("DELETE", "/allocations/0.1.1", "", 404),
        ("GET", "/status", "", 200),
        ("GET", "/openvidu/api/sessions", "", 200),
        ("POST", "/openvidu/api/sessions", r#"{"mediaMode":1}"#, 400),
    ] {
        let (status, answer) = ask(&socket, method, path, body).await;
        assert_eq!(status, expected, "{method} {path} {answer}");
    }
    assert!(
        !answer(&socket, b"\x16\x03\x01\0\r\n\r\n")
            .await
            .contains(" 200 ")
    );
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000));
    assert!(
        answer(&socket, long.as_bytes())
            .await
            .starts_with("HTTP/1.1 4")
    );

    // More that say nothing than are served at the same time: they are let go, and the next one is heard.
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(UnixStream::connect(&socket).await.unwrap());
    }
    let (status, _) = ask(&socket, "GET", "/health", "").await;
    assert_eq!(status, 200);
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_for_owner_and_group_and_its_file_ends_with_the_process_or_is_replaced() {
    let mut process = Process::start().await;
    let socket = process.control_socket();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, 0);
    assert!(!socket.exists());

    // What a kill leaves behind is no obstacle; a daemon that lives keeps what it has.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let line = format!("HANOK_CONTROL_SOCKET={}", socket.display());
    let mut first = Process::start_with(&[&line]).await;
    let (status, ..) = run(&["healthcheck", "--socket", socket.to_str().unwrap()]).await;
    assert_eq!(status, 0);
    let mut second = Process::start_with(&[&line]).await;
    second.signal(Signal::TERM);
    assert_eq!(second.ended().await, 0);
    let (status, ..) = run(&["healthcheck", "--socket", socket.to_str().unwrap()]).await;
    assert_eq!(status, 0, "the first one is still there");
    first.signal(Signal::TERM);
    assert_eq!(first.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_folder_is_a_warning_and_no_reason_not_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("none/control.sock");
    let line = format!("HANOK_CONTROL_SOCKET={}", nowhere.display());
    let mut process = Process::start_with(&[&line]).await;
    let witness = Witness::begin_at(process.plain).await;
    witness.has_lost_nothing().await;
    let (status, _, err) = run(&["status", "--socket", nowhere.to_str().unwrap()]).await;
    assert_eq!(status, 1);
    for part in [nowhere.to_str().unwrap(), "systemctl start hanok"] {
        assert!(err.contains(part), "{part} is not in {err}");
    }
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_counts_what_there_is() {
    let process = Process::start().await;
    let witness = Witness::begin_at(process.plain).await;
    let (status, out, err) = process.verb(&["status", "--json"]).await;
    assert_eq!(status, 0, "{err}");
    let shown: Value = serde_json::from_str(&out).unwrap();
    for (name, expected) in [
        ("sessions", json!(1)),
        ("connections", json!(2)),
        ("streams", json!(1)),
        ("subscriptions", json!(1)),
        ("sockets", json!(2)),
        ("allocations", json!(0)),
        ("findings", json!([])),
        ("drain", json!({"state": "running"})),
        ("openvidu", json!(hanok::OPENVIDU_VERSION)),
    ] {
        assert_eq!(shown[name], expected, "{name} of {shown}");
    }
    let workers = shown["workers"].as_array().unwrap();
    let sum = |name: &str| {
        workers
            .iter()
            .map(|it| it[name].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((workers.len(), sum("rooms"), sum("transports")), (2, 1, 2));
    assert!(sum("received") > 0 && sum("sent") > 0);
    let listens = |purpose: &str, port: u16| {
        let listeners = shown["listeners"].as_array().unwrap();
        listeners.iter().any(|it| {
            it["purpose"] == purpose && it["address"].as_str().unwrap().ends_with(&port.to_string())
        })
    };
    assert!(listens("plain", process.plain.port()) && listens("turn", process.turn.port()));
    assert!(listens("media", witness.port()), "{shown}");
    assert_eq!(shown["certificate"]["source"], "selfsigned");
    let (status, out, _) = process.verb(&["status"]).await;
    assert_eq!(status, 0);
    assert!(
        out.contains("1 with 2 connections, 1 streams, 1 subscriptions; 2 WebSockets"),
        "{out}"
    );
    witness.end().await;
    eventually("it is seen", async || {
        let (_, shown) = ask(&process.control_socket(), "GET", "/sessions", "").await;
        shown == json!([])
    })
    .await;
}
