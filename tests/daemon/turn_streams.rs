//! The TURN port by TCP and TURN over TLS: who is served, and who is cut off.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hanok::config::settings::Certificate;
use hanok::config::values::{Listen, Workers};
use hanok::front::proxy::Listener;
use hanok::media::net::framing::{Extent, Framing, TurnFraming};
use hanok::media::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};
use hanok::media::turn::{FiveTuple, Protocol};
use hanok::media::worker::Counters;
use hanok::testing::client::{LOOPBACK, PATIENCE};
use hanok::testing::turn::{TurnClient, written};
use hanok::units::{Secret, clock};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::house::{House, Witness, eventually, free_port};
use crate::turn::minted;

pub(crate) const SECRET: &str = "a secret of the tests";

const CHANNEL: [u8; 2] = [0x40, 0];

/// A daemon with two workers, a certificate of its own and a port for TURN over TLS.
pub(crate) struct TurnHouse {
    pub(crate) house: House,
    tcp: SocketAddr,
    pub(crate) tls: SocketAddr,
    roots: RootCertStore,
    folder: TempDir,
}

impl TurnHouse {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert"), folder.path().join("key"));
        let mut roots = RootCertStore::empty();
        roots.add(write_pair(&folder)).unwrap();
        let tls = free_port();
        let house = House::with(|config| {
            config.media.workers = Workers::Count(NonZeroUsize::new(2).unwrap());
            config.turn.secrets = vec![Secret::new(SECRET)];
            config.web.certificate = Certificate::Own { certificate, key };
            config.turn.tls_listen = Some(Listen {
                address: Some(Ipv4Addr::LOCALHOST.into()),
                port: tls,
            });
        })
        .await;
        Self {
            tcp: (LOOPBACK, house.config.turn.port).into(),
            tls: (LOOPBACK, tls).into(),
            house,
            roots,
            folder,
        }
    }

    /// Puts another certificate where the operator's lies, and has clients trust it.
    pub(crate) fn write_another_certificate(&mut self) {
        self.roots.add(write_pair(&self.folder)).unwrap();
    }

    pub(crate) async fn over_tls(&self, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        self.over_tls_at(self.tls, alpn).await
    }

    /// On the port of HTTPS.
    pub(crate) async fn over_https(&self, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        let at = self.house.address(Listener::Https);
        self.over_tls_at(at, alpn).await
    }

    async fn over_tls_at(
        &self,
        at: SocketAddr,
        alpn: &[&[u8]],
    ) -> io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let socket = TcpStream::connect(at).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await
    }

    pub(crate) async fn holds(&self, connections: u64) {
        eventually("so many connections are held", async || {
            self.house.counted(turn_streams) == connections
        })
        .await;
    }
}

/// Writes a certificate and its key into `folder`; returns the certificate.
fn write_pair(folder: &TempDir) -> CertificateDer<'static> {
    let made = generate_simple_self_signed(["localhost".to_owned()]);
    let CertifiedKey { cert, signing_key } = made.unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
    write("cert", cert.pem()).unwrap();
    write("key", signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn turn_streams(counters: &Counters) -> &AtomicU64 {
    &counters.turn_streams
}

/// The address that a Binding request's answer tells.
async fn mapped(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Option<SocketAddr> {
    let request = written(
        Class::Request,
        Method::BINDING,
        TransactionId([3; 12]),
        |_| {},
    );
    stream.write_all(&request).await.unwrap();
    let mut answer = [0; 32];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    read.expect("an answer in time").unwrap();
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.class(), Class::Success);
    let mapped = answer.get(AttributeType::XOR_MAPPED_ADDRESS)?;
    answer.decode_xor_address(&mapped)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stun_is_answered_over_tcp_and_over_tls_by_every_worker() {
    let house = TurnHouse::open().await;
    let (mut plain, mut over_tls) = (Vec::new(), Vec::new());
    let alpn: [&[&[u8]]; 3] = [&[], &[b"stun.turn"], &[b"h2", b"stun.nat-discovery"]];
    for number in 0..12 {
        let mut stream = TcpStream::connect(house.tcp).await.unwrap();
        assert_eq!(mapped(&mut stream).await, stream.local_addr().ok());
        plain.push(stream);
        let mut stream = house.over_tls(alpn[number % 3]).await.unwrap();
        let local = stream.get_ref().0.local_addr().ok();
        assert_eq!(mapped(&mut stream).await, local);
        over_tls.push(stream);
    }
    house.holds(24).await;
    for counters in house.house.daemon.counters() {
        let held = counters
            .turn_streams
            .load(std::sync::atomic::Ordering::Relaxed);
        assert!(held > 0, "a worker has none");
    }
    // Again on the same connections, in pieces.
    for stream in &mut over_tls {
        assert!(mapped(stream).await.is_some());
    }
    drop((plain, over_tls));
    house.holds(0).await;
}

/// A client with an allocation.
pub(crate) struct Relayed<S> {
    stream: S,
    client: TurnClient,
    relayed: SocketAddr,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Relayed<S> {
    pub(crate) async fn allocate(stream: S, five_tuple: FiveTuple) -> Self {
        let (username, password) = minted(SECRET, "alice");
        let mut client = Self {
            stream,
            client: TurnClient::with_credential(five_tuple, username, password),
            relayed: five_tuple.client,
        };
        let answer = client.ask(Method::ALLOCATE, |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        });
        let answer = answer.await;
        let answer = Message::parse(&answer).unwrap();
        let relayed = answer.xor_address(AttributeType::XOR_RELAYED_ADDRESS);
        client.relayed = relayed.unwrap();
        client
    }

    pub(crate) async fn ask(&mut self, method: Method, build: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
        for _ in 0..2 {
            let request = self.client.request(method, &build);
            self.stream.write_all(&request).await.unwrap();
            let answer = self.next().await;
            if !self.client.take_challenge(&answer) {
                let answered = Message::parse(&answer).unwrap();
                assert_eq!(answered.class(), Class::Success);
                return answer;
            }
        }
        panic!("challenged twice");
    }

    async fn bind(&mut self, peer: SocketAddr) {
        self.ask(Method::CHANNEL_BIND, |writer| {
            let [high, low] = CHANNEL;
            writer.attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0]);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
        .await;
    }

    async fn next(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let byte = tokio::time::timeout(PATIENCE, self.stream.read_u8()).await;
            bytes.push(byte.expect("a message in time").unwrap());
            match TurnFraming::first(&bytes) {
                Extent::Complete { datagram, .. } => return bytes[datagram].to_vec(),
                Extent::Incomplete => {}
                Extent::Unusable => panic!("the server writes nonsense: {bytes:?}"),
            }
        }
    }

    /// Sends by the channel, in pieces of `size` bytes.
    async fn say(&mut self, data: &[u8], size: usize) {
        let mut message = channel_data(data);
        message.resize(message.len().next_multiple_of(4), 0);
        for piece in message.chunks(size) {
            self.stream.write_all(piece).await.unwrap();
            self.stream.flush().await.unwrap();
        }
    }
}

fn channel_data(data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap().to_be_bytes();
    [&CHANNEL, &len[..], data].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_client_and_a_tls_client_are_relayed_to_each_other_by_whichever_worker() {
    let house = TurnHouse::open().await;
    // The kernel and the load spread them, so some pairs meet on one worker and some do not.
    for round in 0..6 {
        let plain = TcpStream::connect(house.tcp).await.unwrap();
        plain.set_nodelay(true).unwrap();
        let local = plain.local_addr().unwrap();
        let by_tcp = FiveTuple::new(Protocol::Tcp, local, house.tcp);
        let mut by_tcp = Relayed::allocate(plain, by_tcp).await;
        let sealed = house.over_tls(&[b"stun.turn"]).await.unwrap();
        let local = sealed.get_ref().0.local_addr().unwrap();
        let by_tls = FiveTuple::new(Protocol::Tls, local, house.tls);
        let mut by_tls = Relayed::allocate(sealed, by_tls).await;
        by_tcp.bind(by_tls.relayed).await;
        by_tls.bind(by_tcp.relayed).await;
        for len in [1, 5, 172, 1_200] {
            let data = vec![round; len];
            by_tcp.say(&data, if len < 10 { 1 } else { 100 }).await;
            assert_eq!(by_tls.next().await, channel_data(&data));
            by_tls.say(&data, if len < 10 { 1 } else { 700 }).await;
            assert_eq!(by_tcp.next().await, channel_data(&data));
        }
        // Neither is disturbed by what the other one leaves behind.
        drop(by_tls);
        house.holds(1).await;
        by_tcp.say(b"nobody is there", 100).await;
        let answer = by_tcp.ask(Method::REFRESH, |_| {});
        assert!(Message::parse(&answer.await).is_ok());
        drop(by_tcp);
        house.holds(0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_https_port_carries_turn_beside_http_whether_clients_say_so_or_not() {
    let house = TurnHouse::open().await;
    let https = house.house.address(Listener::Https);
    for protocols in [&[][..], &[&b"http/1.1"[..]]] {
        let mut stream = house.over_https(protocols).await.unwrap();
        let request = b"GET /openvidu/api/config/openvidu-publicurl HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = end.expect("it is closed in time");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
    }
    let h2 = house.over_https(&[b"h2", b"http/1.1"]).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(h2),
    )
    .await
    .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let asked = hyper::Request::get("https://localhost/openvidu/api/config/openvidu-publicurl");
    let asked = asked.body(http_body_util::Empty::<bytes::Bytes>::new());
    let answer = sender.clone().send_request(asked.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    house.holds(0).await;

    let mut streams = Vec::new();
    let alpn: [&[&[u8]]; 3] = [&[], &[b"stun.turn"], &[b"stun.nat-discovery"]];
    for protocols in alpn.repeat(2) {
        let mut stream = house.over_https(protocols).await.unwrap();
        let local = stream.get_ref().0.local_addr().ok();
        assert_eq!(mapped(&mut stream).await, local);
        streams.push(stream);
    }
    house.holds(6).await;

    // Relayed from one to a client of the TURN port, and back.
    let stream = house.over_https(&[]).await.unwrap();
    let local = stream.get_ref().0.local_addr().unwrap();
    let sealed = FiveTuple::new(Protocol::Tls, local, https);
    let mut sealed = Relayed::allocate(stream, sealed).await;
    let plain = TcpStream::connect(house.tcp).await.unwrap();
    let five_tuple = FiveTuple::new(Protocol::Tcp, plain.local_addr().unwrap(), house.tcp);
    let mut plain = Relayed::allocate(plain, five_tuple).await;
    plain.bind(sealed.relayed).await;
    sealed.bind(plain.relayed).await;
    for len in [1, 172, 1_200] {
        let data = vec![7; len];
        plain.say(&data, 500).await;
        assert_eq!(sealed.next().await, channel_data(&data));
        sealed.say(&data, 500).await;
        assert_eq!(plain.next().await, channel_data(&data));
    }
    drop((streams, sealed, plain));
    house.holds(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_on_the_turn_ports_are_cut_off_and_disturb_no_call() {
    let house = TurnHouse::open().await;
    let witness = Witness::begin(&house.house).await;
    let mut idle = Vec::new();
    for _ in 0..600 {
        idle.push(TcpStream::connect(house.tcp).await.unwrap());
    }
    let mut idle_over_tls = Vec::new();
    for alpn in [&[][..], &[&b"stun.turn"[..]]].repeat(5) {
        idle_over_tls.push(house.over_tls(alpn).await.unwrap());
    }
    let refused = house.over_tls(&[b"http/1.1"]).await.unwrap_err();
    assert!(
        refused.to_string().contains("NoApplicationProtocol"),
        "{refused}"
    );
    let since = clock::now();
    for nonsense in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        &[0, 1, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42],
        &[0x40, 0, 0xff, 0xff],
        &[255; 100_000],
    ] {
        let mut stream = TcpStream::connect(house.tcp).await.unwrap();
        // It may be cut off while it still speaks.
        let _ = stream.write_all(nonsense).await;
        ends_without_a_word(&mut stream).await;
        let mut stream = house.over_tls(&[]).await.unwrap();
        let _ = stream.write_all(nonsense).await;
        ends_without_a_word(&mut stream).await;
    }
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    for stream in &mut idle {
        ends_without_a_word(stream).await;
    }
    for stream in &mut idle_over_tls {
        ends_without_a_word(stream).await;
    }
    house.holds(0).await;
    witness.has_lost_nothing().await;
}

async fn ends_without_a_word(stream: &mut (impl AsyncRead + Unpin)) {
    let mut answer = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let _ = end.expect("it is closed in time");
    assert_eq!(answer, b"");
}
