//! A daemon of this process's own, and what tests ask of it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hanok::config::fake::FakeMachine;
use hanok::config::values::{Listen, Workers};
use hanok::config::{Config, Options, load};
use hanok::daemon::Daemon;
use hanok::front::proxy::Listener;
use hanok::testing::client::{Client, PATIENCE};
use hanok::units::PortRange;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::call::Call;

/// Media ports of all daemons of these tests: the lowest free one is taken.
pub(crate) const MEDIA_PORTS: (u16, u16) = (23_000, 23_999);

/// A running daemon with one worker.
pub(crate) struct House {
    pub(crate) daemon: Daemon,
    pub(crate) config: Config,
}

/// The configuration of `serve --dev`, on free ports.
pub(crate) fn config() -> Config {
    let options = Options {
        dev: true,
        ..Options::default()
    };
    let mut config = load(&FakeMachine::default(), &options)
        .expect("the development defaults are good")
        .config;
    config.web.https_port = 0;
    config.web.plain = Some(Listen {
        address: Some(Ipv4Addr::LOCALHOST.into()),
        port: 0,
    });
    config.admin_listen = Some(Listen {
        address: Some(Ipv4Addr::LOCALHOST.into()),
        port: 0,
    });
    config.turn.port = free_port();
    config.media.ports = PortRange::new(MEDIA_PORTS.0, MEDIA_PORTS.1).unwrap();
    config.media.workers = Workers::Count(NonZeroUsize::MIN);
    config
}

/// A port that is free on UDP and TCP; below those that the kernel gives to clients.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin at different places.
    let offset = (std::process::id() % 80) as u16 * 100;
    for _ in 0..8_000 {
        let port = 24_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000;
        let is_free = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
            && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if is_free {
            return port;
        }
    }
    panic!("no port is free");
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let daemon = Daemon::start(&config).await.expect("it starts");
        Self { daemon, config }
    }

    pub(crate) fn address(&self, listener: Listener) -> SocketAddr {
        let listeners = self.daemon.addresses();
        let found = listeners.iter().find(|(kind, _)| *kind == listener);
        found.expect("it listens").1
    }

    pub(crate) fn plain(&self) -> SocketAddr {
        self.address(Listener::Plain)
    }

    /// A new session's id.
    pub(crate) async fn session(&self) -> String {
        new_session(self.plain()).await
    }

    /// A token for `session`.
    pub(crate) async fn token(&self, session: &str, role: &str) -> String {
        new_token(self.plain(), session, role).await
    }

    /// A client that has joined.
    pub(crate) async fn join(&self, session: &str) -> Client {
        join(self.plain(), session).await
    }

    /// A call with so many subscribers, in a session of its own.
    pub(crate) async fn call(&self, subscribers: usize) -> Call {
        Call::begin(self.plain(), subscribers).await
    }

    /// The media address of `session`'s worker on the loopback interface.
    pub(crate) async fn media_address(&self, session: &str) -> SocketAddr {
        let mut client = self.join(session).await;
        let (_, sending) = client.publish().await.unwrap();
        let target = sending.target;
        client.leave().await.unwrap();
        target
    }

    /// `GET /openvidu/api/sessions`.
    pub(crate) async fn sessions(&self) -> Vec<Value> {
        let (status, body) = rest(self.plain(), "GET", "/openvidu/api/sessions", None).await;
        assert_eq!(status, 200);
        body["content"].as_array().unwrap().clone()
    }

    /// Waits until no session, no room and no transport is left.
    pub(crate) async fn is_empty(&self) {
        eventually("everything is freed", async || {
            self.daemon.directory().list(true).await.is_empty()
                && self.daemon.transports() == 0
                && self.daemon.rooms() == 0
        })
        .await;
    }

    /// The sum of one of the workers' counters.
    pub(crate) fn counted(
        &self,
        counter: impl Fn(&hanok::media::worker::Counters) -> &std::sync::atomic::AtomicU64,
    ) -> u64 {
        let counters = self.daemon.counters().iter();
        counters.map(|it| counter(it).load(Ordering::Relaxed)).sum()
    }
}

/// Waits until `condition` holds. It is asked again and again where nothing announces the change.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut interval = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !condition().await {
            interval.tick().await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("timed out: {what}");
    }
}

pub(crate) async fn new_session(server: SocketAddr) -> String {
    let (status, body) = rest(server, "POST", "/openvidu/api/sessions", Some(json!({}))).await;
    assert_eq!(status, 200, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn new_token(server: SocketAddr, session: &str, role: &str) -> String {
    let path = format!("/openvidu/api/sessions/{session}/connection");
    let (status, body) = rest(server, "POST", &path, Some(json!({"role": role}))).await;
    assert_eq!(status, 200, "{body}");
    body["token"].as_str().unwrap().to_owned()
}

pub(crate) async fn join(server: SocketAddr, session: &str) -> Client {
    let token = new_token(server, session, "PUBLISHER").await;
    let mut client = Client::open(server).await.unwrap();
    client.join(&token).await.unwrap();
    client
}

/// One REST call with the development secret.
pub(crate) async fn rest(
    server: SocketAddr,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let (status, _, body) = http(server, method, path, body).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// One HTTP request: status, head and body of the response.
pub(crate) async fn http(
    server: SocketAddr,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, String, String) {
    let response = try_http(server, method, path, body).await;
    response.expect("the server answers")
}

/// A GET request with more headers, each ending its line.
pub(crate) async fn http_from(
    server: SocketAddr,
    path: &str,
    headers: &str,
) -> (u16, String, String) {
    let response = exchange(server, DEV_SECRET, "GET", path, headers, "").await;
    response.expect("the server answers")
}

/// One REST call with this secret.
pub(crate) async fn rest_by(
    secret: &str,
    server: SocketAddr,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let response = exchange(server, secret, method, path, "", &body).await;
    let (status, _, body) = response.expect("the server answers");
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// The same as [`http`]; `None` if the server goes away meanwhile.
pub(crate) async fn try_http(
    server: SocketAddr,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Option<(u16, String, String)> {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    exchange(server, DEV_SECRET, method, path, "", &body).await
}

/// The secret of `serve --dev`.
const DEV_SECRET: &str = "MY_SECRET";

async fn exchange(
    server: SocketAddr,
    secret: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Option<(u16, String, String)> {
    let secret = BASE64_STANDARD.encode(format!("OPENVIDUAPP:{secret}"));
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nAuthorization: Basic {secret}\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(server).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.ok()?;
        String::from_utf8(response).ok()
    };
    let exchange = tokio::time::timeout(PATIENCE, exchange).await;
    let response = exchange.expect("an answer or none, in time")?;
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_owned(), body.to_owned()))
}

/// A call that runs beside what a test does and must not notice any of it.
pub(crate) struct Witness {
    pub(crate) session: String,
    call: Call,
}

impl Witness {
    pub(crate) async fn begin(house: &House) -> Self {
        Self::begin_at(house.plain()).await
    }

    pub(crate) async fn begin_at(server: SocketAddr) -> Self {
        let call = Call::begin(server, 1).await;
        Self {
            session: call.session.clone(),
            call,
        }
    }

    /// What is published.
    pub(crate) fn stream(&self) -> &str {
        &self.call.stream
    }

    /// Video packets sent so far.
    pub(crate) fn sent(&self) -> u32 {
        self.call.sending.report().video.sent
    }

    /// The port of its worker.
    pub(crate) fn port(&self) -> u16 {
        self.call.sending.target.port()
    }

    /// Everybody leaves.
    pub(crate) async fn end(self) {
        let Call {
            publisher,
            subscribers,
            ..
        } = self.call;
        for (subscriber, _) in subscribers {
            subscriber.leave().await.unwrap();
        }
        publisher.leave().await.unwrap();
    }

    /// Everything sent so far has arrived, once and in order, and the call goes on.
    pub(crate) async fn has_lost_nothing(&self) {
        self.call.has_lost_nothing().await;
    }
}
