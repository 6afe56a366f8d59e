//! A daemon that is to be restarted: nothing new begins, nothing that goes on is cut, and it ends (`robustness` R12).

use std::net::{Ipv4Addr, SocketAddr};

use hanok::testing::client::Client;
use serde_json::json;

use crate::house::{Witness, eventually, free_port, http, join, new_session, new_token, rest};
use crate::process::{Process, run};

const SESSIONS: &str = "/openvidu/api/sessions";

/// Calls that go on while the daemon drains, beside one with media.
const CALLS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_refuses_what_is_new_keeps_what_goes_on_and_ends_with_the_last_call() {
    let admin = free_port();
    let listen = format!("HANOK_ADMIN_LISTEN=127.0.0.1:{admin}");
    let mut process = Process::start_with(&[&listen]).await;
    let server = process.plain;
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
    let ready = async || http(admin, "GET", "/readyz", None).await.0;
    eventually("it is ready", async || ready().await == 200).await;
    let witness = Witness::begin_at(server).await;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let session = new_session(server).await;
        let (one, other) = (join(server, &session).await, join(server, &session).await);
        calls.push((session, one, other));
    }
    let (_, stray) = rest(server, "POST", SESSIONS, Some(json!({}))).await;

    let (status, out, err) = process.verb(&["drain", "--deadline", "10m"]).await;
    assert_eq!(status, 0, "{err}");
    assert!(
        out.contains("sessions left: 22, with participants: 21;"),
        "{out}"
    );
    let (status, head, body) = http(server, "POST", SESSIONS, Some(json!({}))).await;
    assert_eq!(status, 503, "{body}");
    let retry_after = head.to_lowercase();
    let retry_after = retry_after.split("retry-after: ").nth(1).unwrap();
    let seconds: u64 = retry_after.lines().next().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{head}");
    // Applications ask for the session that they have before each token.
    let (session, ..) = &calls[0];
    let again = json!({"customSessionId": session});
    let (status, _) = rest(server, "POST", SESSIONS, Some(again)).await;
    assert_eq!(status, 409);
    let token = new_token(server, session, "PUBLISHER").await;
    let elsewhere = token.replace(session.as_str(), "ses_elsewhere");
    let mut stranger = Client::open(server).await.unwrap();
    let refused = stranger.join(&elsewhere).await.unwrap_err();
    assert_eq!(refused.code(), Some(204), "{refused:?}");
    let mut late = Client::open(server).await.unwrap();
    late.join(&token).await.unwrap();
    let (_, one, _) = &mut calls[1];
    one.reset().unwrap();
    let again = one.reconnect(server).await.unwrap();
    calls[1].1 = again;
    let (status, out, _) = process.verb(&["healthcheck"]).await;
    assert_eq!((status, out.trim()), (0, "ok, draining"));
    assert_eq!(ready().await, 503, "balancers look elsewhere");

    let (status, out, _) = process.verb(&["drain", "--cancel"]).await;
    assert_eq!((status, out.trim()), (0, "new sessions are taken"));
    eventually("it is ready again", async || ready().await == 200).await;
    let (status, made) = rest(server, "POST", SESSIONS, Some(json!({}))).await;
    assert_eq!(status, 200);
    for unused in [&stray, &made] {
        let path = format!("{SESSIONS}/{}", unused["id"].as_str().unwrap());
        assert_eq!(rest(server, "DELETE", &path, None).await.0, 204);
    }
    let (status, _, err) = process.verb(&["drain", "--cancel"]).await;
    assert_eq!(status, 1);
    assert!(err.contains("nothing is draining"), "{err}");

    let (status, _, err) = process.verb(&["drain"]).await;
    assert_eq!(status, 0, "{err}");
    late.leave().await.unwrap();
    for (_, one, other) in calls {
        one.leave().await.unwrap();
        other.leave().await.unwrap();
    }
    witness.has_lost_nothing().await;
    let (status, out, _) = process.verb(&["status", "--json"]).await;
    assert_eq!(status, 0);
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(shown["drain"]["state"], "draining");
    assert_eq!(shown["sessions"], 1);
    witness.has_lost_nothing().await;
    witness.end().await;
    assert_eq!(process.ended().await, 0);
    assert!(!process.control_socket().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_deadline_clients_are_told_as_at_a_stop_and_who_waits_for_it_learns_of_the_end() {
    let mut process = Process::start().await;
    let session = new_session(process.plain).await;
    let mut client = join(process.plain, &session).await;
    let socket = process.control_socket();
    let socket = socket.to_str().unwrap().to_owned();
    let waiting =
        async move { run(&["drain", "--deadline", "1s", "--wait", "--socket", &socket]).await };
    let told = async {
        let told = client.notification("participantEvicted", |_| true).await;
        let told = told.unwrap();
        assert_eq!(told["reason"], "openviduServerStopped");
        client.closed().await.unwrap();
    };
    let ((status, out, err), ()) = tokio::join!(waiting, told);
    assert_eq!(status, 0, "{err}");
    let last = out.lines().last();
    assert_eq!(last, Some("hanok has ended"), "{out}");
    process
        .says("deadline has passed with 1 sessions going on")
        .await;
    assert_eq!(process.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_nobody_uses_is_drained_at_once() {
    let mut process = Process::start().await;
    let (status, out, err) = process.verb(&["drain"]).await;
    assert_eq!(
        (status, out.trim()),
        (0, "drained: hanok is ending"),
        "{err}"
    );
    assert_eq!(process.ended().await, 0);
    let (status, _, err) = process.verb(&["drain"]).await;
    assert_eq!(status, 1);
    assert!(err.contains("hanok does not run"), "{err}");
}
