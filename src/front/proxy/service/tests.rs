//! The listeners over loopback, with foreign TLS, HTTP and WebSocket clients.

mod application;
mod applications;
mod folders;
mod hostile;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::{Request, Response, StatusCode};
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn as client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tower::util::BoxCloneSyncService;

use super::door::empty;
use super::*;
use crate::front::proxy::certificate::service::self_signed;
use crate::front::proxy::ports::{StreamSink, TurnStream};
use crate::front::proxy::routes::Application;
use crate::units::{RemoteAddr, clock};

/// Whatever a test waits for comes within this, or not at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running proxy whose services say who they are.
struct Running {
    addresses: Vec<(Listener, SocketAddr)>,
    certificates: Arc<CertificateStore>,
    shared: Arc<Shared>,
    cancel: CancellationToken,
    tasks: JoinSet<()>,
    /// What was handed over.
    turn: mpsc::UnboundedReceiver<TurnStream>,
}

#[derive(Debug)]
struct Taken(mpsc::UnboundedSender<TurnStream>);

impl StreamSink for Taken {
    fn take(&self, stream: TurnStream) {
        self.0.send(stream).unwrap();
    }
}

impl Running {
    fn start(limits: Limits) -> Self {
        Self::start_with(limits, Rules::default())
    }

    fn start_with(limits: Limits, rules: Rules) -> Self {
        Self::start_by(|settings| {
            settings.limits = limits;
            settings.rules = rules.into();
        })
    }

    /// With whatever else a test needs.
    fn start_by(change: impl FnOnce(&mut Settings)) -> Self {
        let state = tempfile::tempdir().unwrap();
        let certificates = Arc::new(CertificateStore::new(certificate(state.path())));
        let anywhere = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let mut settings = Settings {
            https: anywhere.clone(),
            http: anywhere.clone(),
            plain: anywhere.clone(),
            turn_tls: anywhere,
            domain: "call.example".to_owned(),
            https_port: 443,
            hsts: "max-age=63072000".to_owned(),
            rules: Rules::default().into(),
            tls: TlsPolicy::default(),
            routing: no_application(),
            limits: Limits::default(),
            off_limits: None,
        };
        change(&mut settings);
        let (taken, turn) = mpsc::unbounded_channel();
        let services = Services {
            rest: BoxCloneSyncService::new(Router::new().fallback(rest)),
            signalling: BoxCloneSyncService::new(Router::new().fallback(echo)),
            page: BoxCloneSyncService::new(Router::new().fallback(page)),
            turn: Arc::new(Taken(taken)),
        };
        let proxy = Proxy::bind(settings, Vec::new(), Arc::clone(&certificates), services).unwrap();
        let addresses = proxy.addresses().collect();
        let shared = Arc::clone(&proxy.shared);
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(proxy.serve(cancel.clone()));
        Self {
            addresses,
            certificates,
            shared,
            cancel,
            tasks,
            turn,
        }
    }

    fn address(&self, listener: Listener) -> SocketAddr {
        let (_, address) = self
            .addresses
            .iter()
            .find(|(kind, _)| *kind == listener)
            .unwrap();
        *address
    }

    async fn tcp(&self, listener: Listener) -> TcpStream {
        TcpStream::connect(self.address(listener)).await.unwrap()
    }

    async fn tls(&self, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        self.try_tls(Listener::Https, alpn).await.unwrap()
    }

    async fn try_tls(
        &self,
        listener: Listener,
        alpn: &[&[u8]],
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.tcp(listener).await;
        let config = self.client(rustls::ALL_VERSIONS, alpn);
        TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), stream)
            .await
    }

    async fn handed_over(&mut self) -> TurnStream {
        timeout(PATIENCE, self.turn.recv()).await.unwrap().unwrap()
    }

    fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let served = self.certificates.current();
        roots.add(served.chain()[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }

    /// Sends `text` to a listener without TLS and returns everything until it closes the connection.
    async fn raw(&self, listener: Listener, text: &str) -> String {
        let mut stream = self.tcp(listener).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }

    async fn stop(mut self) {
        self.cancel.cancel();
        let ended = timeout(PATIENCE, self.tasks.join_next()).await.unwrap();
        ended.unwrap().unwrap();
        for admission in [&self.shared.admission, &self.shared.turn_admission] {
            assert_eq!(admission.open(), 0, "every permit is returned");
        }
    }
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(clock::wall_ms()))
}

fn certificate(state: &Path) -> crate::front::proxy::Certificate {
    let others = ["127.0.0.1".to_owned(), "::1".to_owned()];
    self_signed(state, "localhost", &others, now()).unwrap()
}

async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the connection is closed");
    String::from_utf8(bytes).unwrap()
}

/// Nothing but our own services: whether an application would be there is known to nobody.
fn no_application() -> Routing {
    Routing {
        application: Application::Auto {
            // The discard port, where nothing of the test's listens.
            origin: "http://127.0.0.1:9".parse().unwrap(),
            seen: "/nowhere/at/all".into(),
        },
        routes: Vec::new(),
        layouts: "/nowhere".into(),
        error_pages: None,
        deprecated_api: false,
        redirect_www: false,
    }
}

async fn page(request: axum::extract::Request) -> (StatusCode, &'static str) {
    match request.uri().path() {
        "/missing" => (StatusCode::NOT_FOUND, "missing"),
        _ => (StatusCode::OK, "page"),
    }
}

/// Says whom it sees and how long the body was, or 413 if the body failed.
async fn rest(request: axum::extract::Request) -> Response<Body> {
    assert_ne!(request.uri().path(), "/openvidu/api/panic", "injected");
    let RemoteAddr(remote) = *request.extensions().get::<RemoteAddr>().unwrap();
    match to_bytes(request.into_body(), usize::MAX).await {
        Ok(body) => Response::new(Body::from(format!("rest {remote} {}", body.len()))),
        Err(_) => empty(StatusCode::PAYLOAD_TOO_LARGE),
    }
}

/// The tasks of upgraded connections.
static ECHOES: std::sync::LazyLock<TaskTracker> = std::sync::LazyLock::new(TaskTracker::new);

/// Upgrades and sends back what it gets, until the client closes.
async fn echo(mut request: axum::extract::Request) -> Response<Body> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
        return Response::new(Body::from("signalling"));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    ECHOES.spawn(async move {
        let upgraded = TokioIo::new(upgrade.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    });
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, "upgrade".parse().unwrap());
    headers.insert(UPGRADE, "websocket".parse().unwrap());
    headers.insert(
        SEC_WEBSOCKET_ACCEPT,
        derive_accept_key(key.as_bytes()).parse().unwrap(),
    );
    response
}

async fn post<B>(
    sender: &mut client::http1::SendRequest<B>,
    path: &str,
    body: B,
) -> (Response<()>, Bytes)
where
    B: hyper::body::Body + 'static,
{
    let request = Request::post(path).header("host", "localhost");
    let request = request.body(body).unwrap();
    let response = timeout(PATIENCE, sender.send_request(request)).await;
    let (head, body) = response.unwrap().unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), body)
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older_is_configured() {
    let running = Running::start(Limits::default());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = running.client(&[version], &[b"http/1.1"]);
        let stream = running.tcp(Listener::Https).await;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("127.0.0.1").unwrap(), stream)
            .await
            .unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(version.version));
        assert_eq!(session.alpn_protocol(), Some(b"http/1.1".as_slice()));
    }
    running.stop().await;
}

#[tokio::test]
async fn http_1_over_tls_reaches_every_service_and_shows_no_hsts_with_a_self_signed_certificate() {
    let running = Running::start(Limits::default());
    let stream = TokioIo::new(running.tls(&[b"http/1.1"]).await);
    let (mut sender, connection) = client::http1::handshake(stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    for (path, expected) in [
        ("/openvidu/api/sessions", "rest 127.0.0.1 3"),
        ("/openvidu", "signalling"),
        ("/", "page"),
    ] {
        let (head, body) = post(&mut sender, path, Full::new(Bytes::from("abc"))).await;
        assert_eq!(
            (head.status().as_u16(), &body[..]),
            (200, expected.as_bytes()),
            "{path}"
        );
        assert_eq!(head.headers()["x-content-type-options"], "nosniff");
        for absent in ["strict-transport-security", "server"] {
            assert!(!head.headers().contains_key(absent), "{absent}");
        }
    }
    drop(sender);
    running.stop().await;
}

#[tokio::test]
async fn http_2_is_chosen_by_alpn_and_carries_concurrent_requests() {
    let running = Running::start(Limits::default());
    let stream = running.tls(&[b"h2", b"http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (sender, connection) = client::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let requests = (0..20).map(|n| {
        let mut sender = sender.clone();
        async move {
            let request = Request::builder()
                .uri(format!("https://localhost/openvidu/api/{n}"))
                .body(Full::new(Bytes::from(vec![b'x'; n])))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["x-frame-options"], "DENY");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("rest 127.0.0.1 {n}"));
        }
    });
    timeout(PATIENCE, futures_util::future::join_all(requests))
        .await
        .unwrap();
    drop(sender);
    running.stop().await;
}

#[tokio::test]
async fn a_panic_costs_one_request_and_neither_its_connection_nor_its_neighbours() {
    let running = Running::start(Limits::default());
    let stream = running.tcp(Listener::Plain).await;
    let (mut sender, connection) = client::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    for (path, status) in [("panic", 500), ("sessions", 200), ("panic", 500)] {
        let path = format!("/openvidu/api/{path}");
        let (head, _) = post(&mut sender, &path, Full::new(Bytes::new())).await;
        assert_eq!(head.status(), status);
        assert_eq!(head.headers()["x-frame-options"], "DENY");
    }

    let stream = running.tls(&[b"h2"]).await;
    let (sender, connection) = client::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tasks.spawn(async move { drop(connection.await) });
    let requests = (0..10).map(|n| {
        let mut sender = sender.clone();
        async move {
            let path = if n == 5 { "panic" } else { "sessions" };
            let request = Request::builder()
                .uri(format!("https://localhost/openvidu/api/{path}"))
                .body(Full::new(Bytes::new()))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), if n == 5 { 500 } else { 200 });
        }
    });
    timeout(PATIENCE, futures_util::future::join_all(requests))
        .await
        .unwrap();
    assert_eq!(running.shared.containment.panics(), 3);
    drop(sender);
    running.stop().await;
}

#[tokio::test]
async fn websockets_pass_over_tls_and_plain() {
    let running = Running::start(Limits::default());
    let tls = running.tls(&[b"http/1.1"]).await;
    let (mut secure, _) =
        tokio_tungstenite::client_async("wss://localhost/openvidu?sessionId=x", tls)
            .await
            .unwrap();
    let tcp = running.tcp(Listener::Plain).await;
    let (mut plain, _) = tokio_tungstenite::client_async("ws://localhost/openvidu", tcp)
        .await
        .unwrap();
    for text in ["ping", "\u{1f3e0}"] {
        secure.send(Message::text(text)).await.unwrap();
        plain.send(Message::text(text)).await.unwrap();
        assert_eq!(secure.next().await.unwrap().unwrap(), Message::text(text));
        assert_eq!(plain.next().await.unwrap().unwrap(), Message::text(text));
    }
    assert_eq!(
        running.shared.admission.open(),
        2,
        "an upgraded connection keeps its permit"
    );
    drop((secure, plain));
    ECHOES.close();
    timeout(PATIENCE, ECHOES.wait()).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn the_plain_listener_serves_openvidu_and_dashboard_only() {
    let running = Running::start(Limits::default());
    for (path, status) in [
        ("/openvidu/api/config", 200),
        ("/openvidu", 200),
        ("/dashboard/", 200),
        ("/", 404),
        ("/index.html", 404),
        ("/.well-known/acme-challenge/x", 404),
    ] {
        let answer = running
            .raw(
                Listener::Plain,
                &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            )
            .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
    }
    running.stop().await;
}

#[tokio::test]
async fn the_http_port_redirects_to_domain_and_port() {
    let running = Running::start(Limits::default());
    let answer = running
        .raw(
            Listener::Http,
            "POST /a%20b?c=d HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
    assert!(
        answer.contains("\r\nlocation: https://call.example:443/a%20b?c=d\r\n"),
        "{answer}"
    );
    assert!(
        !answer.to_lowercase().contains("strict-transport-security"),
        "{answer}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_handshake_or_head_is_closed() {
    let running = Running::start(Limits {
        tls_handshake: Duration::from_millis(50),
        header_read: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut silent = running.tcp(Listener::Https).await;
    assert_eq!(read_to_end(&mut silent).await, "");
    let started = running
        .raw(Listener::Plain, "GET /openvidu HTTP/1.1\r\nX: ")
        .await;
    assert!(
        started.is_empty() || started.starts_with("HTTP/1.1 408 "),
        "{started}"
    );
    let mut nothing = running.tcp(Listener::Http).await;
    read_to_end(&mut nothing).await;
    let mut idle = running.tls(&[b"h2"]).await;
    let mut bytes = Vec::new();
    // Only settings and the farewell arrive.
    let _ = timeout(PATIENCE, idle.read_to_end(&mut bytes))
        .await
        .unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_body_that_pauses_too_long_fails_for_its_service() {
    let running = Running::start(Limits {
        body_idle: Duration::from_millis(50),
        ..Limits::default()
    });
    let answer = running
        .raw(
            Listener::Plain,
            "POST /openvidu/api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn heads_and_bodies_above_their_limits_are_refused() {
    let running = Running::start(Limits {
        body_bytes: 1000,
        ..Limits::default()
    });
    let head = |extra: &str| format!("GET /openvidu/api/x HTTP/1.1\r\nHost: x\r\n{extra}\r\n");
    let long = running
        .raw(
            Listener::Plain,
            &head(&format!("X: {}\r\n", "a".repeat(40_000))),
        )
        .await;
    assert!(long.starts_with("HTTP/1.1 431 "), "{long}");
    let many = running
        .raw(Listener::Plain, &head(&"X: a\r\n".repeat(200)))
        .await;
    assert!(many.starts_with("HTTP/1.1 431 "), "{many}");
    let announced = running
        .raw(Listener::Plain, &head("Content-Length: 1001\r\n"))
        .await;
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");

    // Not announced, so it is counted as it comes.
    let stream = TokioIo::new(running.tcp(Listener::Plain).await);
    let (mut sender, connection) = client::http1::handshake(stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let chunks = futures_util::stream::repeat(Bytes::from(vec![b'x'; 300])).take(4);
    let chunked = StreamBody::new(chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk))));
    let (head, _) = post(&mut sender, "/openvidu/api/x", chunked).await;
    assert_eq!(head.status(), 413);
    drop(sender);
    running.stop().await;
}

#[tokio::test]
async fn what_smuggles_requests_is_refused() {
    let running = Running::start(Limits::default());
    for (name, text) in [
        (
            "two lengths",
            "POST /openvidu/api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        ),
        (
            "signed length",
            "POST /openvidu/api/x HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        ),
        (
            "unknown coding",
            "POST /openvidu/api/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "folded header",
            "GET /openvidu/api/x HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        ),
        (
            "space before colon",
            "GET /openvidu/api/x HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
        ),
        ("no HTTP", "\u{16}\u{3}\u{1}\r\n\r\n"),
    ] {
        let answer = running.raw(Listener::Plain, text).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{name}: {answer}");
    }
    running.stop().await;
}

#[tokio::test]
async fn connections_above_the_limit_of_their_source_are_closed_at_once() {
    let running = Running::start(Limits {
        connections_per_source: 2,
        ..Limits::default()
    });
    let first = running.tls(&[b"http/1.1"]).await;
    let _second = running.tls(&[b"http/1.1"]).await;
    let mut third = running.tcp(Listener::Https).await;
    assert_eq!(read_to_end(&mut third).await, "");
    drop(first);
    running.stop().await;
}

fn trusting_this_machine() -> Rules {
    Rules {
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        ..Rules::default()
    }
}

#[tokio::test]
async fn lists_admit_by_the_clients_address_and_a_swap_counts_for_the_next_request() {
    let mut rules = trusting_this_machine();
    rules.access.rest = Some(vec!["198.51.100.0/24".parse().unwrap()]);
    let running = Running::start_with(Limits::default(), rules.clone());
    let stream = TokioIo::new(running.tls(&[b"http/1.1"]).await);
    let (mut sender, connection) = client::http1::handshake(stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let mut ask = async |path: &str, client: &str| {
        let mut request = Request::get(path).header("host", "localhost");
        if !client.is_empty() {
            request = request.header("x-forwarded-for", client);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let response = timeout(PATIENCE, sender.send_request(request)).await;
        let response = response.unwrap().unwrap();
        let status = response.status().as_u16();
        response.into_body().collect().await.unwrap();
        status
    };
    for (path, client, status) in [
        ("/openvidu/api/sessions", "198.51.100.7", 200),
        ("/openvidu/api/sessions", "203.0.113.7", 403),
        ("/openvidu/api/sessions", "198.51.100.7, 203.0.113.7", 403),
        ("/openvidu/api/sessions", "nobody", 403),
        ("/openvidu/api/sessions", "127.0.0.1", 403),
        ("/openvidu/api/sessions", "", 200),
        ("/openvidu/cdr", "203.0.113.7", 403),
        ("/openvidu", "203.0.113.7", 200),
        ("/openvidu/accept-certificate", "203.0.113.7", 200),
        ("/dashboard/", "203.0.113.7", 200),
        ("/", "203.0.113.7", 200),
    ] {
        assert_eq!(ask(path, client).await, status, "{path} {client}");
    }
    rules.access.rest = Some(vec!["203.0.113.7/32".parse().unwrap()]);
    rules.access.dashboard = Some(Vec::new());
    running.shared.rules.set(rules);
    for (path, client, status) in [
        ("/openvidu/api/sessions", "198.51.100.7", 403),
        ("/openvidu/api/sessions", "203.0.113.7", 200),
        ("/dashboard/", "203.0.113.7", 403),
    ] {
        assert_eq!(ask(path, client).await, status, "{path} {client}");
    }
    drop(sender);
    running.stop().await;
}

#[tokio::test]
async fn a_trusted_proxy_names_the_client() {
    let ask = "GET /openvidu/api/x HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 9.9.9.9, 198.51.100.7\r\nConnection: close\r\n\r\n";
    let running = Running::start_with(Limits::default(), trusting_this_machine());
    let answer = running.raw(Listener::Plain, ask).await;
    assert!(answer.ends_with("rest 198.51.100.7 0"), "{answer}");
    running.stop().await;
    let running = Running::start(Limits::default());
    let answer = running.raw(Listener::Plain, ask).await;
    assert!(answer.ends_with("rest 127.0.0.1 0"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn a_replaced_certificate_is_served_to_the_next_client() {
    let running = Running::start(Limits::default());
    let old = running.tls(&[b"http/1.1"]).await;
    let served = |stream: &TlsStream<TcpStream>| {
        let (_, session) = stream.get_ref();
        session.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let state = tempfile::tempdir().unwrap();
    running.certificates.replace(certificate(state.path()));
    let new = running.tls(&[b"http/1.1"]).await;
    assert_ne!(served(&old), served(&new));
    drop((old, new));
    running.stop().await;
}

#[tokio::test]
async fn stopping_lets_a_request_in_progress_finish_and_closes_idle_connections() {
    let running = Running::start(Limits::default());
    let mut idle = running.tcp(Listener::Plain).await;
    idle.write_all(b"GET /openvidu HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut busy = running.tcp(Listener::Plain).await;
    busy.write_all(b"POST /openvidu/api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let mut interim = [0; 25];
    busy.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 "));
    running.cancel.cancel();
    assert!(read_to_end(&mut idle).await.ends_with("signalling"));
    busy.write_all(b"body").await.unwrap();
    assert!(read_to_end(&mut busy).await.ends_with("rest 127.0.0.1 4"));
    running.stop().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_ways_out() {
    let running = Running::start(Limits::default());
    let taken = running.address(Listener::Https);
    let settings = Settings {
        https: vec![taken],
        http: Vec::new(),
        plain: Vec::new(),
        turn_tls: Vec::new(),
        domain: "call.example".to_owned(),
        https_port: 443,
        hsts: String::new(),
        rules: Rules::default().into(),
        tls: TlsPolicy::default(),
        routing: no_application(),
        limits: Limits::default(),
        off_limits: None,
    };
    let plain = Settings {
        https: Vec::new(),
        plain: vec![taken],
        ..settings.clone()
    };
    let turn = Settings {
        plain: Vec::new(),
        turn_tls: vec![taken],
        ..plain.clone()
    };
    for (settings, key, way_out) in [
        (settings, "HTTPS_PORT", "HANOK_FRONT=off"),
        (plain, "HANOK_PLAIN_LISTEN", "HANOK_PLAIN_LISTEN="),
        (turn, "HANOK_TURN_TLS_LISTEN", "HANOK_TURN_TLS_LISTEN="),
    ] {
        let services = running.shared.services.clone();
        let error = Proxy::bind(
            settings,
            Vec::new(),
            Arc::clone(&running.certificates),
            services,
        )
        .unwrap_err();
        let text = error.to_string();
        for part in [&taken.to_string(), key, way_out] {
            assert!(text.contains(part), "{text}");
        }
    }
    running.stop().await;
}

/// An HTTP/2 frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Opens an HTTP/2 connection, writes `frames`, and returns whether the server says ENHANCE_YOUR_CALM and closes.
async fn calms_down(frames: impl Iterator<Item = Vec<u8>>) -> bool {
    const ENHANCE_YOUR_CALM: u32 = 0xb;
    let running = Running::start(Limits {
        http2_idle: PATIENCE * 10,
        header_read: PATIENCE * 10,
        ..Limits::default()
    });
    let mut stream = running.tls(&[b"h2"]).await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    flood.extend(frame(4, 0, 0, &[]));
    flood.extend(frames.flatten());
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let mut received = Vec::new();
    // The server stops reading at some point; then writing fails.
    let (_, closed) = futures_util::future::join(
        write.write_all(&flood),
        timeout(PATIENCE, read.read_to_end(&mut received)),
    )
    .await;
    let goodbye = received
        .windows(9 + 8)
        .any(|bytes| bytes[3] == 7 && bytes[13..17] == ENHANCE_YOUR_CALM.to_be_bytes());
    running.stop().await;
    closed.is_ok() && goodbye
}

#[tokio::test]
async fn rapid_resets_end_the_http_2_connection() {
    // :method GET, :path /, :scheme https, :authority x
    let request = [0x82, 0x84, 0x87, 0x41, 0x01, b'x'];
    assert!(
        calms_down((0..2000).flat_map(|n| {
            let stream = 2 * n + 1;
            [
                frame(1, 0x05, stream, &request),
                frame(3, 0, stream, &8_u32.to_be_bytes()),
            ]
        }))
        .await
    );
}

#[tokio::test]
async fn a_flood_of_continuations_ends_the_http_2_connection() {
    // Literal headers without indexing, `a: …`, that never end.
    let mut header = vec![0x00, 0x01, b'a', 0x7f, 0x81, 0x3e];
    header.resize(6 + 8064, b'x');
    let mut first = vec![0x82, 0x84, 0x87, 0x41, 0x01, b'x'];
    first.extend(&header);
    assert!(
        calms_down(
            std::iter::once(frame(1, 0x01, 1, &first))
                .chain((0..200).map(|_| frame(9, 0, 1, &header)))
        )
        .await
    );
}

/// The beginning of a Binding request.
const STUN: [u8; 8] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];

/// Where TURN is spoken over TLS: beside HTTP, and alone.
const TURN_DOORS: [Listener; 2] = [Listener::Https, Listener::TurnTls];

#[tokio::test]
async fn what_says_that_it_is_turn_is_handed_over_before_it_says_more() {
    let mut running = Running::start(Limits::default());
    for door in TURN_DOORS {
        for protocol in [&b"stun.turn"[..], b"stun.nat-discovery"] {
            // coturn's client names HTTP, too.
            let alpn: [&[u8]; 4] = [b"http/1.1", b"h2", b"something else", protocol];
            let client = running.try_tls(door, &alpn).await.unwrap();
            let taken = running.handed_over().await;
            assert_eq!(taken.peer, client.get_ref().0.local_addr().unwrap());
            assert_eq!(taken.session.alpn_protocol(), Some(protocol));
            assert!(!taken.session.is_handshaking());
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn what_begins_with_stun_is_handed_over_with_what_has_been_read() {
    let mut running = Running::start(Limits::default());
    for door in TURN_DOORS {
        for version in rustls::ALL_VERSIONS {
            let stream = running.tcp(door).await;
            let connector = TlsConnector::from(Arc::new(running.client(&[version], &[])));
            let name = ServerName::try_from("localhost").unwrap();
            let mut client = connector.connect(name, stream).await.unwrap();
            client.write_all(&STUN).await.unwrap();
            let mut taken = running.handed_over().await;
            let mut read = [0; 100];
            let len = io::Read::read(&mut taken.session.reader(), &mut read).unwrap();
            assert_eq!(read[..len], STUN);
            // The connection lives on elsewhere.
            let socket = std::net::TcpStream::from(taken.socket);
            io::Write::write_all(&mut taken.session.writer(), b"answer").unwrap();
            while taken.session.wants_write() {
                taken.session.write_tls(&mut &socket).unwrap();
            }
            let mut answer = [0; 6];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"answer");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn http_without_alpn_is_served_beside_turn_whatever_its_first_bytes_come_in() {
    let mut running = Running::start(Limits::default());
    let request = b"POST /openvidu/api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    for first in [1, 7, request.len()] {
        let mut client = running.tls(&[]).await;
        assert_eq!(client.get_ref().1.alpn_protocol(), None);
        for _ in 0..2 {
            let (head, rest) = request.split_at(first);
            client.write_all(head).await.unwrap();
            client.flush().await.unwrap();
            client.write_all(rest).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"rest 127.0.0.1 3") {
                let byte = timeout(PATIENCE, client.read_u8()).await.unwrap();
                answer.push(byte.unwrap());
            }
            assert!(answer.starts_with(b"HTTP/1.1 200 "));
        }
    }
    // What is neither gets HTTP's answer; ChannelData begins no conversation.
    for nonsense in [&[0x40, 0, 0, 0][..], &[0xff; 100]] {
        let mut client = running.tls(&[]).await;
        client.write_all(nonsense).await.unwrap();
        let _ = client.shutdown().await;
        let answer = read_to_end(&mut client).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{answer}"
        );
    }
    assert!(running.turn.try_recv().is_err());
    running.stop().await;
}

#[tokio::test]
async fn who_names_no_protocol_that_is_spoken_here_is_refused_in_the_handshake() {
    let running = Running::start(Limits::default());
    for protocol in [&b"h3"[..], b"http/1.0", b"stun", b"xmpp-client"] {
        let refused = running.try_tls(Listener::Https, &[protocol]).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    }
    running.stop().await;
}

#[tokio::test]
async fn nothing_but_turn_is_served_on_its_port() {
    let mut running = Running::start(Limits::default());
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let refused = running.try_tls(Listener::TurnTls, &[protocol]).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    }
    let authority = running.try_tls(Listener::TurnTls, &[b"acme-tls/1"]);
    assert!(authority.await.is_err());
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x40, 0, 0, 0], &[0xff]] {
        let mut client = running.try_tls(Listener::TurnTls, &[]).await.unwrap();
        client.write_all(nonsense).await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "");
    }
    let plain = running.raw(Listener::TurnTls, "GET / HTTP/1.1\r\n\r\n");
    assert!(!plain.await.contains("HTTP"));
    assert!(running.turn.try_recv().is_err());
    running.stop().await;
}

#[tokio::test]
async fn who_says_nothing_is_closed_in_time_before_and_after_the_handshake() {
    let mut running = Running::start(Limits {
        tls_handshake: Duration::from_millis(300),
        ..Limits::default()
    });
    for door in TURN_DOORS {
        let mut silent = running.tcp(door).await;
        let mut shaken = running.try_tls(door, &[]).await.unwrap();
        assert_eq!(
            timeout(PATIENCE, silent.read(&mut [0]))
                .await
                .unwrap()
                .unwrap(),
            0
        );
        // Closed in either way, with a farewell or without.
        let end = timeout(PATIENCE, shaken.read(&mut [0])).await.unwrap();
        assert_eq!(end.unwrap_or(0), 0);
    }
    assert!(running.turn.try_recv().is_err());
    running.stop().await;
}
