//! A bug of ours ends what it strikes and nothing else (`robustness` R18).

use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use hanok::control::session::Fault;
use hanok::front::proxy::containment;
use hanok::testing::client::{Message, PATIENCE, State};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::call::Call;
use crate::house::{House, Witness, eventually, rest};

async fn strike(house: &House, session: &str, fault: Fault) {
    log();
    let handle = house.daemon.directory().find(session).unwrap();
    handle.panic(fault).await;
}

/// Waits for an error in the log of this process.
async fn logged(text: &str) {
    eventually("the bug is logged", async || {
        let log = log().0.lock().unwrap();
        String::from_utf8_lossy(&log).contains(text)
    })
    .await;
}

/// What all daemons of this process have logged as errors.
#[derive(Default)]
struct Log(Mutex<Vec<u8>>);

fn log() -> &'static Arc<Log> {
    static LOG: OnceLock<Arc<Log>> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Arc::new(Log::default());
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::ERROR)
            .with_ansi(false)
            .with_writer(log.clone())
            .init();
        log
    })
}

impl io::Write for &Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_session_ends_that_session() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    let mut publisher = house.join(&session).await;
    let (_, sending) = publisher.publish().await.unwrap();
    sending.connected().await.unwrap();
    assert_eq!(house.daemon.transports(), 3);

    strike(&house, &session, Fault::Session).await;
    let told = publisher
        .notification("participantEvicted", |_| true)
        .await
        .unwrap();
    assert_eq!(told["reason"], "nodeCrashed");
    sending
        .until("its transport is closed", |report| {
            report.state == State::ClosedByServer
        })
        .await
        .unwrap();
    eventually("only the witness is left", async || {
        house.daemon.transports() == 2 && house.sessions().await.len() == 1
    })
    .await;
    assert_eq!(house.sessions().await[0]["id"], witness.session.as_str());
    assert_eq!(house.daemon.panics(), 1);
    logged("a bug has ended this session").await;
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_over_one_transport_ends_that_transport() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let session = house.session().await;
    let mut victim = house.join(&session).await;
    let mut other = house.join(&session).await;
    let (stream, sending) = victim.publish().await.unwrap();
    let (other_stream, other_sending) = other.publish().await.unwrap();
    let receiving = other.subscribe(&stream).await.unwrap();
    let victims_view = victim.subscribe(&other_stream).await.unwrap();
    for receiving in [&receiving, &victims_view] {
        receiving
            .until("media arrives", |report| report.video.received > 0)
            .await
            .unwrap();
    }

    strike(
        &house,
        &session,
        Fault::Publisher(victim.connection.clone()),
    )
    .await;
    let told = other
        .notification("participantUnpublished", |_| true)
        .await
        .unwrap();
    assert_eq!(told["connectionId"], victim.connection.as_str());
    assert_eq!(told["reason"], "mediaServerReconnect");
    // The victim, too, is told, is still there, and its other transport goes on.
    victim
        .notification("participantUnpublished", |_| true)
        .await
        .unwrap();
    let before = victims_view.report();
    let after = victims_view
        .until("the other stream goes on", |report| {
            report.video.received > before.video.received + 10
        })
        .await
        .unwrap();
    assert!(after.video.is_flawless());
    assert!(other_sending.report().is_connected());
    eventually("its transports are freed", async || {
        house.daemon.transports() == 4
    })
    .await;
    let views = house.sessions().await;
    let view = views.iter().find(|view| view["id"] == session.as_str());
    let connections = view.unwrap()["connections"]["content"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(connections.len(), 2);
    let publishers = connections
        .iter()
        .map(|connection| connection["publishers"].as_array().unwrap().len());
    assert_eq!(publishers.sum::<usize>(), 1);
    assert_eq!(house.daemon.panics(), 1);
    logged("a transport ended by a bug of ours").await;

    // It may publish again.
    drop(sending);
    let (stream, _sending) = victim.publish().await.unwrap();
    let receiving = other.subscribe(&stream).await.unwrap();
    receiving
        .until("media arrives again", |report| report.video.received > 10)
        .await
        .unwrap();
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_a_room_is_routed_ends_that_room_and_its_session_goes_on_in_another() {
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let Call {
        session,
        mut publisher,
        sending,
        subscribers,
        ..
    } = house.call(1).await;
    let [(mut subscriber, receiving)] = subscribers.try_into().unwrap();

    strike(&house, &session, Fault::Room).await;
    for client in [&mut publisher, &mut subscriber] {
        let told = client
            .notification("participantUnpublished", |_| true)
            .await
            .unwrap();
        assert_eq!(told["reason"], "mediaServerReconnect");
    }
    for ended in [&sending, &receiving] {
        ended
            .until("the server closes", |report| {
                report.state == State::ClosedByServer
            })
            .await
            .unwrap();
    }
    assert_eq!(house.daemon.panics(), 1);
    logged("a room ended by a bug of ours").await;
    assert_eq!(house.daemon.transports(), 2);
    assert_eq!(house.sessions().await.len(), 2);

    let (stream, _sending) = publisher.publish().await.unwrap();
    let receiving = subscriber.subscribe(&stream).await.unwrap();
    receiving
        .until("media arrives in the new room", |report| {
            report.video.received > 10
        })
        .await
        .unwrap();
    witness.has_lost_nothing().await;

    // And it ends as any other.
    publisher.request("leaveRoom", json!({})).await.unwrap();
    subscriber.request("leaveRoom", json!({})).await.unwrap();
    eventually("only the witness is left", async || {
        house.daemon.transports() == 2 && house.sessions().await.len() == 1
    })
    .await;
    assert_eq!(house.daemon.panics(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_a_request_is_answered_costs_that_answer_alone() {
    log();
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    let list = "/openvidu/api/sessions";
    // In a handler of REST, and on the way to it.
    let (status, _) = rest(house.plain(), "GET", "/openvidu/api/panic", None).await;
    assert_eq!(status, 500);
    let web = house.daemon.web();
    web.strike_next(containment::Fault::Request);
    assert_eq!(rest(house.plain(), "POST", list, None).await.0, 500);
    logged("a request").await;
    assert_eq!((web.panics(), house.daemon.panics()), (2, 2));
    let sessions = house.sessions().await;
    assert_eq!(sessions.len(), 1, "nothing was begun by halves");
    assert_eq!(sessions[0]["connections"]["numberOfElements"], 2);
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_over_a_web_connection_costs_that_connection_alone() {
    log();
    let house = House::open().await;
    let witness = Witness::begin(&house).await;
    for (number, fault) in [
        (1, containment::Fault::Admission),
        (2, containment::Fault::Connection),
    ] {
        house.daemon.web().strike_next(fault);
        let mut stream = TcpStream::connect(house.plain()).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        // Closed or reset, without a word.
        assert_eq!(end.expect("it ends").unwrap_or(0), 0, "{fault:?}");
        eventually("the bug is counted", async || {
            house.daemon.panics() == number
        })
        .await;
        // The listener goes on, and so does everybody's signalling.
        assert_eq!(house.sessions().await.len(), 1, "{fault:?}");
        let client = house.join(&witness.session).await;
        client.leave().await.unwrap();
    }
    logged("a web connection").await;
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_socket_costs_its_participant_at_most() {
    log();
    let house = House::with(|config| config.sessions.reconnect_grace = Duration::ZERO).await;
    let witness = Witness::begin(&house).await;
    let call = house.call(1).await;
    let panic = json!({"jsonrpc": "2.0", "method": "panic", "id": 1}).to_string();
    call.publisher.send(Message::text(panic)).await.unwrap();
    let [(mut other, receiving)] = call.subscribers.try_into().unwrap();
    let told = other.notification("participantLeft", |_| true).await;
    assert_eq!(told.unwrap()["reason"], "networkDisconnect");
    receiving
        .until("its subscribers' transports are closed", |report| {
            report.state == State::ClosedByServer
        })
        .await
        .unwrap();
    let views = house.sessions().await;
    let view = views
        .iter()
        .find(|view| view["id"] == call.session.as_str());
    assert_eq!(view.unwrap()["connections"]["numberOfElements"], 1);
    assert_eq!(house.daemon.panics(), 1);
    logged("a bug has ended this socket").await;
    other.request("echo", json!({})).await.unwrap();
    witness.has_lost_nothing().await;
}
