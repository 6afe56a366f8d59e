//! A configuration that is read again while calls go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hanok::testing::client::{Client, LOOPBACK};
use rustix::process::Signal;
use tokio::task::JoinSet;

use crate::control_socket::ask;
use crate::house::{Witness, new_session, new_token, rest};
use crate::process::Process;
use crate::turn::{Relayed, minted};

const SESSIONS: &str = "/openvidu/api/sessions";

async fn client_of(process: &Process, secret: &str, name: &str) -> Relayed {
    let (username, password) = minted(secret, name);
    Relayed::between(LOOPBACK, process.turn, &username, &password).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_changes_secrets_and_limits_under_a_call_and_an_allocation() {
    let before = ["COTURN_SHARED_SECRET_KEY=north", "HANOK_TURN_USER_QUOTA=1"];
    let mut process = Process::start_with(&before).await;
    let witness = Witness::begin_at(process.plain).await;
    let session = new_session(process.plain).await;
    let token = new_token(process.plain, &session, "PUBLISHER").await;
    let mut waiting = Client::open(process.plain).await.unwrap();
    let mut lasting = client_of(&process, "north", "lasting").await;
    assert_eq!(lasting.allocate().await, 0);
    let (status, _) = rest(process.plain, "GET", SESSIONS, None).await;
    assert_eq!(status, 200);

    process.reload_with(&[
        "COTURN_SHARED_SECRET_KEY=south",
        "HANOK_TURN_USER_QUOTA=2",
        "OPENVIDU_SECRET=another_secret_of_the_tests",
        "HANOK_MEDIA_MAX_PORT=23998",
    ]);
    let keys = "OPENVIDU_SECRET, COTURN_SHARED_SECRET_KEY, HANOK_TURN_USER_QUOTA";
    process
        .says(&format!("configuration reloaded: {keys}"))
        .await;
    process
        .says("from the next start on: HANOK_MEDIA_MAX_PORT")
        .await;

    witness.has_lost_nothing().await;
    assert_eq!(lasting.refresh(600).await, 0);
    let (status, _) = rest(process.plain, "GET", SESSIONS, None).await;
    assert_eq!(status, 401, "the secret was changed");
    let joined = waiting.join(&token).await.unwrap();
    let (username, password) = (&joined["turnUsername"], &joined["turnCredential"]);
    let (username, password) = (username.as_str().unwrap(), password.as_str().unwrap());
    let mut of_join = Relayed::between(LOOPBACK, process.turn, username, password).await;
    assert_eq!(of_join.allocate().await, 0, "made under the new key");
    let mut old = client_of(&process, "north", "old").await;
    assert_eq!(old.allocate().await, 401);
    let (username, password) = minted("south", "new");
    let mut codes = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Relayed::between(LOOPBACK, process.turn, &username, &password).await;
        codes.push(client.allocate().await);
        clients.push(client);
    }
    assert_eq!(codes, [0, 0, 486]);

    process.reload_with(&["COTURN_SHARED_SECRET_KEY=south", "HANOK_TURN_USER_QUOTA=3"]);
    process
        .says("configuration reloaded: OPENVIDU_SECRET, HANOK_TURN_USER_QUOTA")
        .await;
    assert_eq!(clients[2].allocate().await, 0);
    let (status, _) = rest(process.plain, "GET", SESSIONS, None).await;
    assert_eq!(status, 200);
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_changes_nothing_and_every_problem_is_a_line() {
    let before = ["COTURN_SHARED_SECRET_KEY=north", "HANOK_TURN_USER_QUOTA=1"];
    let mut process = Process::start_with(&before).await;
    let witness = Witness::begin_at(process.plain).await;
    let broken = [
        &[
            "COTURN_SHARED_SECRET_KEY=south",
            "HANOK_TURN_USER_QUOTA=many",
            "ALLOWED_ACCESS_TO_RESTAPI=nobody",
        ][..],
        // Good by itself, but not in use: what cannot be loaded is no part of it either.
        &["COTURN_SHARED_SECRET_KEY=south", "no key at all"],
    ];
    for (lines, problems) in broken.into_iter().zip([
        &[
            "HANOK_TURN_USER_QUOTA=many",
            "ALLOWED_ACCESS_TO_RESTAPI=nobody",
        ][..],
        &["the line"],
    ]) {
        process.reload_with(lines);
        for problem in problems {
            process.says(problem).await;
        }
        process
            .says("not reloaded: everything stays as it was")
            .await;
        let mut old = client_of(&process, "north", problems[0]).await;
        assert_eq!(old.allocate().await, 0);
        let mut new = client_of(&process, "south", "new").await;
        assert_eq!(new.allocate().await, 401);
        let (status, _) = rest(process.plain, "GET", SESSIONS, None).await;
        assert_eq!(status, 200);
    }
    process.reload_with(&["COTURN_SHARED_SECRET_KEY=south,north"]);
    process.says("configuration reloaded: ").await;
    let mut new = client_of(&process, "south", "new").await;
    assert_eq!(new.allocate().await, 0);
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_log_levels_are_reloaded_and_sigterm_still_ends_the_process() {
    let mut process = Process::start_with(&["HANOK_LOG=warn,hanok::daemon=info"]).await;
    let proxied = "X-Forwarded-For: 198.51.100.9\r\n";
    let ask = async |process: &Process| {
        let (status, ..) = crate::house::http_from(process.plain, SESSIONS, proxied).await;
        status
    };
    assert_eq!(ask(&process).await, 200);
    process.reload_with(&["HANOK_LOG=info", "ALLOWED_ACCESS_TO_RESTAPI=203.0.113.0/24"]);
    process
        .says("reloaded: ALLOWED_ACCESS_TO_RESTAPI, HANOK_LOG")
        .await;
    assert_eq!(ask(&process).await, 403);
    process.reload_with(&["HANOK_LOG=debug", "HANOK_TRUSTED_PROXIES=192.0.2.1"]);
    process
        .says("reloaded: ALLOWED_ACCESS_TO_RESTAPI, HANOK_TRUSTED_PROXIES, HANOK_LOG")
        .await;
    assert_eq!(ask(&process).await, 200, "nobody is listed any more");
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, 0);
}

/// `robustness` R14. `HANOK_RELOADS` says how many; the usual run does a few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_say_what_they_change_and_nobody_notices() {
    let reloads: u32 = std::env::var("HANOK_RELOADS").map_or(30, |text| text.parse().unwrap());
    let process = Process::start_with(&["COTURN_SHARED_SECRET_KEY=north"]).await;
    let socket = process.control_socket();
    let witness = Witness::begin_at(process.plain).await;
    let mut lasting = client_of(&process, "north", "lasting").await;
    assert_eq!(lasting.allocate().await, 0);
    let plain = process.plain;
    let requests = Arc::new(AtomicU32::new(0));
    let mut load: JoinSet<()> = JoinSet::new();
    let answered = Arc::clone(&requests);
    load.spawn(async move {
        loop {
            let (status, _) = rest(plain, "GET", SESSIONS, None).await;
            assert_eq!(status, 200);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut kept = 1_000;
    for number in 1..=reloads {
        let is_bad = number % 5 == 0;
        let recv = format!("OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH={number}");
        let quota = match is_bad {
            true => "HANOK_TURN_USER_QUOTA=many".to_owned(),
            false => format!("HANOK_TURN_USER_QUOTA={}", number + 1),
        };
        let level = ["HANOK_LOG=info", "HANOK_LOG=warn,hanok::daemon=info"];
        let port = format!("HANOK_MEDIA_MAX_PORT={}", 23_900 + number % 90);
        let level = level[number as usize % 2];
        process.write_env(&[
            "COTURN_SHARED_SECRET_KEY=north",
            &recv,
            &quota,
            level,
            &port,
        ]);
        let (status, outcome) = ask(&socket, "POST", "/reload", "").await;
        if is_bad {
            assert_eq!(status, 422, "{outcome}");
            let problems = outcome["problems"].as_array().unwrap();
            assert_eq!(problems.len(), 1, "{outcome}");
            let problem = problems[0].as_str().unwrap();
            assert!(problem.contains("HANOK_TURN_USER_QUOTA=many"), "{problem}");
        } else {
            assert_eq!(status, 200, "{outcome}");
            let changed = outcome["changed"].as_array().unwrap();
            let key = "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH";
            assert!(changed.contains(&key.into()), "{outcome}");
            let waiting = outcome["atNextStart"].as_array().unwrap();
            assert_eq!(waiting.as_slice(), ["HANOK_MEDIA_MAX_PORT"], "{outcome}");
            kept = number;
        }
        // What a client is told right afterwards.
        let (_, config) = ask(&socket, "GET", "/openvidu/api/config", "").await;
        let told = &config["OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH"];
        assert_eq!(told, kept, "after {number} reloads");
    }
    process.write_env(&["HANOK_TURN_USER_QUOTA=many", "no key at all"]);
    let (status, out, err) = process.verb(&["reload"]).await;
    assert_eq!((status, out.as_str()), (78, ""), "{err}");
    for part in ["everything stays", "HANOK_TURN_USER_QUOTA=many", "the line"] {
        assert!(err.contains(part), "{part} is not in {err}");
    }
    assert!(load.try_join_next().is_none(), "a request has failed");
    load.shutdown().await;
    assert!(requests.load(Ordering::Relaxed) > reloads / 2);
    assert_eq!(lasting.refresh(600).await, 0);
    witness.has_lost_nothing().await;
}
