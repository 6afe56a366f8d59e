//! Sockets that break: silent, reset, too long away, replaced before they close (`robustness` R04, R18).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hanok::testing::client::{Client, Error, Message, PeerConnection, State, remote};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::house::{House, eventually, rest};

/// A TCP connection to the daemon that can be cut without either end being told: what is sent from then on is lost.
struct Cable {
    end: SocketAddr,
    cut: Arc<watch::Sender<bool>>,
    _tasks: JoinSet<()>,
}

impl Cable {
    async fn lay(house: &House) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let end = listener.local_addr().unwrap();
        let (cut, is_cut) = watch::channel(false);
        let server = house.plain();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(server).await.unwrap();
            let (near_in, near_out) = near.into_split();
            let (far_in, far_out) = far.into_split();
            tokio::join!(
                relay(near_in, far_out, is_cut.clone()),
                relay(far_in, near_out, is_cut)
            );
        });
        Self {
            end,
            cut: Arc::new(cut),
            _tasks: tasks,
        }
    }

    fn cut(&self) {
        self.cut.send_replace(true);
    }
}

/// Passes on until the cable is cut; then only takes in. Neither end of the connection closes.
async fn relay(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    is_cut: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !*is_cut.borrow() && to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    std::future::pending::<()>().await;
}

/// A, who publishes, and B, who receives.
struct Call {
    house: House,
    session: String,
    a: Client,
    b: Client,
    stream: String,
    sending: PeerConnection,
    receiving: PeerConnection,
}

impl Call {
    async fn begin(house: House, a_comes_by: Option<SocketAddr>) -> Self {
        let session = house.session().await;
        let token = house.token(&session, "PUBLISHER").await;
        let server = a_comes_by.unwrap_or_else(|| house.plain());
        let mut a = Client::open(server).await.unwrap();
        a.request("ping", json!({"interval": 5000})).await.unwrap();
        a.join(&token).await.unwrap();
        let mut b = house.join(&session).await;
        let (stream, sending) = a.publish().await.unwrap();
        let receiving = b.subscribe(&stream).await.unwrap();
        flows(&receiving).await;
        // What has been heard until here is vouched for.
        a.request("echo", json!({})).await.unwrap();
        a.heard();
        b.heard();
        Self {
            house,
            session,
            a,
            b,
            stream,
            sending,
            receiving,
        }
    }

    /// B says something to everyone.
    async fn say(&mut self, data: &str) {
        say(&mut self.b, data).await;
    }

    /// Nobody else has noticed anything, and media has never stopped.
    fn went_unnoticed(&mut self) {
        let heard = self.b.heard();
        let strange = heard.iter().find(|told| told.method != "sendMessage");
        assert_eq!(strange, None, "B has noticed");
        let report = self.receiving.report();
        assert!(
            report.audio.is_flawless() && report.video.is_flawless(),
            "{report:?}"
        );
        assert!(self.sending.report().is_connected());
    }
}

async fn say(client: &mut Client, data: &str) {
    let message = json!({"to": [], "data": data, "type": "signal:x"}).to_string();
    let params = json!({ "message": message });
    client.request("sendMessage", params).await.unwrap();
}

/// Media arrives, and goes on doing so.
async fn flows(receiving: &PeerConnection) {
    let before = receiving.report();
    receiving
        .until("media flows", |report| {
            report.video.received > before.video.received + 5
                && report.audio.received > before.audio.received + 5
        })
        .await
        .unwrap();
}

/// Waits until a client has heard as many signals, and then a little; yields what they say.
async fn signals(client: &mut Client, count: usize) -> Vec<Value> {
    let mut heard = Vec::new();
    eventually("the signals arrive", async || {
        heard.extend(client.heard());
        heard.len() >= count
    })
    .await;
    client.request("echo", json!({})).await.unwrap();
    heard.extend(client.heard());
    heard
        .into_iter()
        .map(|told| told.params["data"].clone())
        .collect()
}

fn code(outcome: Result<Client, Error>) -> Option<i64> {
    outcome.err()?.code()
}

/// Where clients hear only what others do: the community edition does not tell how good a connection is, which depends
/// on what else this machine does.
async fn house() -> House {
    House::with(|config| config.community_edition = true).await
}

async fn short_grace(grace: Duration) -> House {
    House::with(|config| {
        config.community_edition = true;
        config.sessions.reconnect_grace = grace;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_and_a_return_within_eight_seconds_lose_nothing_and_nobody_notices() {
    let mut call = Call::begin(house().await, None).await;
    let server = call.house.plain();
    let connection = call.a.connection.clone();
    call.a.reset().unwrap();
    for number in 0..20 {
        tokio::time::sleep(Duration::from_millis(350)).await;
        call.say(&number.to_string()).await;
    }
    let path = format!("/openvidu/api/sessions/{}", call.session);
    let (_, shown) = rest(server, "GET", &path, None).await;
    assert_eq!(shown["connections"]["numberOfElements"], 2, "still there");

    let mut a = call.a.reconnect(server).await.unwrap();
    call.say("20").await;
    let expected: Vec<Value> = (0..=20).map(|number| json!(number.to_string())).collect();
    assert_eq!(signals(&mut a, 21).await, expected);
    flows(&call.receiving).await;
    call.went_unnoticed();

    // It goes on as who it was.
    say(&mut a, "back").await;
    let heard = call
        .b
        .notification("sendMessage", |told| told["data"] == "back")
        .await;
    assert_eq!(heard.unwrap()["from"], connection.as_str());
    a.request("unpublishVideo", json!({})).await.unwrap();
    a.leave().await.unwrap();
    call.b.leave().await.unwrap();
    call.house.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_silent_cut_of_twenty_seconds_what_was_written_in_vain_is_told() {
    let house = house().await;
    let cable = Cable::lay(&house).await;
    let mut call = Call::begin(house, Some(cable.end)).await;
    cable.cut();
    let began = Instant::now();
    let mut expected = Vec::new();
    while began.elapsed() < Duration::from_secs(20) {
        let data = format!("{}", expected.len());
        call.say(&data).await;
        expected.push(json!(data));
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    let mut a = call.a.reconnect(call.house.plain()).await.unwrap();
    assert_eq!(signals(&mut a, expected.len()).await, expected);
    flows(&call.receiving).await;
    call.went_unnoticed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_away_for_twelve_seconds_has_left_after_ten() {
    let mut call = Call::begin(house().await, None).await;
    let began = Instant::now();
    let connection = call.a.connection.clone();
    call.a.reset().unwrap();
    for method in ["participantLeft", "participantEvicted"] {
        let told = call.b.notification(method, |_| true).await.unwrap();
        let expected = json!({"connectionId": connection, "reason": "networkDisconnect"});
        assert_eq!(told, expected);
    }
    let away = began.elapsed().as_millis();
    assert!((9_900..11_500).contains(&away), "{away} ms");
    tokio::time::sleep_until(began + Duration::from_secs(12)).await;
    let server = call.house.plain();
    assert_eq!(code(call.a.reconnect(server).await), Some(40007));
    let told = call.receiving.until("its media ends", |report| {
        report.state == State::ClosedByServer
    });
    told.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_socket_takes_the_place_of_one_that_is_still_open() {
    let house = short_grace(Duration::from_millis(200)).await;
    let cable = Cable::lay(&house).await;
    let mut call = Call::begin(house, Some(cable.end)).await;
    let server = call.house.plain();
    cable.cut();
    call.say("unheard").await;
    let mut second = call.a.reconnect(server).await.unwrap();
    assert_eq!(signals(&mut second, 1).await, [json!("unheard")]);
    // The server closes the first; the second is replaced while it works.
    let mut third = second.reconnect(server).await.unwrap();
    assert_eq!(second.closed().await.unwrap(), Some(1000));
    call.say("heard").await;
    assert_eq!(signals(&mut third, 1).await, [json!("heard")]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    third.request("echo", json!({})).await.unwrap();
    flows(&call.receiving).await;
    call.went_unnoticed();
    eventually("the sockets that were replaced are gone", async || {
        call.house.daemon.sockets() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_stops_pinging_stays_while_its_browser_answers_and_media_keeps_one_that_does_not()
 {
    let house = short_grace(Duration::from_millis(500)).await;
    let session = house.session().await;
    let cable = Cable::lay(&house).await;
    let mut clients = Vec::new();
    for server in [house.plain(), cable.end] {
        let token = house.token(&session, "PUBLISHER").await;
        let mut client = Client::open(server).await.unwrap();
        // Its watchdog bites after three seconds.
        client
            .request("ping", json!({"interval": 1000}))
            .await
            .unwrap();
        client.join(&token).await.unwrap();
        clients.push(client);
    }
    let (mut cut_off, mut frozen) = (clients.pop().unwrap(), clients.pop().unwrap());
    let (_, sending) = cut_off.publish().await.unwrap();
    sending.connected().await.unwrap();
    frozen.heard();
    cable.cut();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(
        frozen.heard(),
        [],
        "the watchdog and the grace are long over"
    );
    frozen.request("echo", json!({})).await.unwrap();
    assert_eq!(house.daemon.sockets(), 1, "the silent one is closed");

    // Without media it is gone at the next look.
    sending.close().await;
    let told = frozen
        .notification("participantEvicted", |_| true)
        .await
        .unwrap();
    assert_eq!(told["reason"], "networkDisconnect");
    assert_eq!(code(cut_off.reconnect(house.plain()).await), Some(40007));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_misses_more_than_is_kept_is_evicted_and_counted() {
    let house = short_grace(Duration::from_secs(600)).await;
    let mut call = Call::begin(house, None).await;
    let connection = call.a.connection.clone();
    call.a.reset().unwrap();
    let large = "x".repeat(100_000);
    // The first one or two may be written before the reset is noticed.
    for _ in 0..8 {
        call.say(&large).await;
    }
    let told = call
        .b
        .notification("participantEvicted", |_| true)
        .await
        .unwrap();
    assert_eq!(
        told,
        json!({"connectionId": connection, "reason": "networkDisconnect"})
    );
    assert_eq!(call.house.daemon.directory().flooded(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_of_rpc_sessions_are_few() {
    let house = house().await;
    let mut client = Client::open(house.plain()).await.unwrap();
    let own = client.request("connect", json!({})).await.unwrap();
    assert_eq!(own["value"], "OK");
    assert_eq!(own["sessionId"].as_str().unwrap().len(), 26);
    for number in 0..10 {
        // Its own opens nothing either, before it has joined.
        let guess = [own["sessionId"].clone(), json!(""), json!("guess")][number % 3].clone();
        let refused = client.request("connect", json!({"sessionId": guess, "reconnect": true}));
        let refused = refused.await.unwrap_err();
        let Error::Refused { code, message } = refused else {
            panic!("{refused}");
        };
        assert_eq!((code, message.as_str()), (40007, "reconnection error"));
    }
    assert_eq!(client.closed().await.unwrap(), Some(1008));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_socket_costs_at_most_its_participant_who_may_come_back() {
    let mut call = Call::begin(house().await, None).await;
    let panic = json!({"jsonrpc": "2.0", "method": "panic", "id": 1}).to_string();
    call.a.send(Message::text(panic)).await.unwrap();
    call.say("meanwhile").await;
    let server = call.house.plain();
    let mut a = call.a.reconnect(server).await.unwrap();
    // The panic and what is said race: it is heard on either socket, and on both if only the receipt was lost.
    let mut heard = Vec::new();
    eventually("the signal arrives", async || {
        heard.extend(call.a.heard());
        heard.extend(a.heard());
        !heard.is_empty()
    })
    .await;
    assert!(heard.iter().all(|told| told.params["data"] == "meanwhile"));
    flows(&call.receiving).await;
    call.went_unnoticed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_a_session_that_a_panic_has_ended_nobody_comes_back() {
    let call = Call::begin(house().await, None).await;
    let handle = call.house.daemon.directory().find(&call.session).unwrap();
    handle.panic(hanok::control::session::Fault::Session).await;
    eventually("the session is gone", async || {
        call.house.sessions().await.is_empty()
    })
    .await;
    let server = call.house.plain();
    assert_eq!(code(call.a.reconnect(server).await), Some(40007));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_and_its_subscriptions_get_other_transports_and_go_on() {
    let mut call = Call::begin(house().await, None).await;
    // The publisher closes its peer connection first, as openvidu-browser does.
    call.sending.close().await;
    let negotiation = call.a.negotiate().await.unwrap();
    let params = json!({"stream": call.stream, "sdpString": negotiation.publisher_offer()});
    let answered = call.a.request("reconnectStream", params).await.unwrap();
    assert_eq!(answered["id"], call.stream.as_str());
    let sending = negotiation
        .connect(&remote(&answered, "sdpAnswer").unwrap(), true, None)
        .unwrap();
    sending.connected().await.unwrap();
    flows(&call.receiving).await;
    assert_eq!(call.b.heard(), []);

    let negotiation = call.b.negotiate().await.unwrap();
    let params = json!({"stream": call.stream, "sdpOffer": negotiation.subscriber_offer(), "forciblyReconnect": false});
    let answered = call.b.request("reconnectStream", params).await.unwrap();
    let receiving = negotiation
        .connect(&remote(&answered, "sdpAnswer").unwrap(), false, None)
        .unwrap();
    flows(&receiving).await;

    let params = json!({"sender": call.stream, "reconnect": true});
    let offered = call
        .b
        .request("prepareReceiveVideoFrom", params)
        .await
        .unwrap();
    let offer = remote(&offered, "sdpOffer").unwrap();
    let negotiation = call.b.negotiate().await.unwrap();
    let params = json!({"stream": call.stream, "sdpString": negotiation.subscriber_answer(&offer),
        "forciblyReconnect": false});
    call.b.request("reconnectStream", params).await.unwrap();
    let receiving = negotiation.connect(&offer, false, None).unwrap();
    flows(&receiving).await;
    eventually("what was replaced is freed", async || {
        call.house.daemon.transports() == 2
    })
    .await;
}
