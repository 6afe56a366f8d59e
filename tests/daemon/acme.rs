//! Certificates from an authority: ordered, kept, renewed; Pebble is the authority.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hanok::config::Config;
use hanok::config::settings::{Acme, Certificate, State};
use hanok::config::values::{Host, Listen};
use hanok::front::proxy::Listener;
use hanok::front::proxy::certificate::facts::Facts;
use hanok::media::stun::{AttributeType, Class, Method};
use hanok::media::turn::{FiveTuple, Protocol};
use hanok::testing::client::PATIENCE;
use hanok::testing::turn::TurnClient;
use hanok::units::Secret;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use crate::house::{House, eventually, free_port};
use crate::pebble::{Behaviour, Own, Pebble, connect, connector};
use crate::turn::minted;

const DOMAIN: &str = "call.example.test";
const TURN_SECRET: &str = "north";

/// A daemon's state over its restarts, and where an authority looks for it.
struct Site {
    state: TempDir,
    own: Own,
    behaviour: Behaviour,
    host: Host,
    binding: Option<(String, Secret)>,
    tls_listen: Option<Listen>,
}

impl Site {
    fn new() -> Self {
        Self {
            state: tempfile::tempdir().unwrap(),
            own: Own::new(),
            behaviour: Behaviour::default(),
            host: Host::Name(DOMAIN.to_owned()),
            binding: None,
            tls_listen: None,
        }
    }

    async fn authority(&self) -> Pebble {
        Pebble::start(&self.own, &self.behaviour).await
    }

    async fn open(&self) -> House {
        self.open_with(|_| {}).await
    }

    async fn open_with(&self, change: impl FnOnce(&mut Config)) -> House {
        House::with(|config| {
            config.state = State::Folder(self.state.path().to_owned());
            config.public.host = self.host.clone();
            config.web.certificate = Certificate::LetsEncrypt {
                email: "me@example.org".to_owned(),
            };
            config.web.http_port = Some(self.behaviour.http_port);
            config.web.https_port = self.behaviour.tls_port;
            config.turn.tls_listen = self.tls_listen;
            config.turn.secrets = vec![Secret::new(TURN_SECRET)];
            config.acme = Acme {
                directory: self.own.directory(),
                ca_file: Some(self.own.path("ca.pem")),
                ports_forwarded: true,
                binding: self.binding.clone(),
            };
            change(config);
        })
        .await
    }

    /// Ends a daemon without a word, and waits until its ports are free.
    async fn crash(&self, house: House) {
        drop(house);
        for port in [self.behaviour.http_port, self.behaviour.tls_port] {
            eventually("the port is free", async || {
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_ok()
            })
            .await;
        }
    }

    /// What the plan has written down.
    fn record(&self) -> Value {
        let text = std::fs::read(self.state.path().join("acme/record.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn problem(&self) -> String {
        let record = self.record();
        let problem = record["progress"]["problem"].as_str().unwrap_or_default();
        problem.to_owned()
    }

    async fn fails(&self) {
        eventually("an attempt fails", async || !self.problem().is_empty()).await;
    }

    fn ask_to_renew(&self) {
        std::fs::write(self.state.path().join("acme/renew"), "").unwrap();
    }
}

fn served(house: &House) -> Facts {
    let current = house.daemon.certificates().current();
    Facts::read(&current.chain()[0]).unwrap()
}

/// Waits for a certificate of the authority; returns what it says.
async fn issued(house: &House) -> Facts {
    let waiting = async {
        while !served(house).issuer.contains("Pebble") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let longer = PATIENCE * 4;
    let done = tokio::time::timeout(longer, waiting).await;
    assert!(done.is_ok(), "no certificate has come");
    served(house)
}

/// A handshake by somebody who trusts the authority alone.
async fn is_accepted(pebble: &Pebble, address: SocketAddr, name: &str) {
    let client = connector(pebble.root().await, &[]);
    connect(&client, address, name)
        .await
        .expect("it is trusted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_comes_by_http_01_and_is_served_to_those_who_trust_the_authority() {
    let site = Site::new();
    let pebble = site.authority().await;
    let house = site
        .open_with(|config| config.web.redirect_www = true)
        .await;
    let facts = issued(&house).await;
    assert_eq!(facts.names, [DOMAIN, "www.call.example.test"]);
    for name in [DOMAIN, "www.call.example.test"] {
        is_accepted(&pebble, house.address(Listener::Https), name).await;
    }
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 1));
    assert_eq!(pebble.said("set INVALID"), 0);
    assert!(
        !house.daemon.certificates().is_publicly_valid(),
        "the system does not trust Pebble"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_somebody_else_has_port_80_it_comes_by_tls_alpn_01() {
    let site = Site::new();
    let somebody = TcpListener::bind((Ipv4Addr::LOCALHOST, site.behaviour.http_port));
    let somebody = somebody.await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = somebody.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let pebble = site.authority().await;
    // What the authority sees as port 80 is not ours.
    let house = site
        .open_with(|config| config.web.http_port = Some(0))
        .await;
    issued(&house).await;
    is_accepted(&pebble, house.address(Listener::Https), DOMAIN).await;
    assert_eq!(
        pebble.said("set INVALID"),
        2,
        "an authorization and its order"
    );
    let kept = || site.record()["progress"]["challenge"] == "tls-alpn-01";
    eventually("what worked is written down", async || kept()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_gets_a_certificate_by_either_challenge() {
    for http_01 in [true, false] {
        let mut site = Site::new();
        site.host = Host::Address(Ipv4Addr::LOCALHOST.into());
        site.behaviour.short_lived = true;
        let pebble = site.authority().await;
        let house = site
            .open_with(|config| config.web.http_port = config.web.http_port.filter(|_| http_01))
            .await;
        let facts = issued(&house).await;
        assert_eq!(facts.names, ["127.0.0.1"]);
        if crate::pebble::knows_profiles() {
            let week = 7 * 24 * 3600;
            assert!(
                facts.validity.lifetime() < week,
                "by the profile for addresses"
            );
        }
        is_accepted(&pebble, house.address(Listener::Https), "127.0.0.1").await;
        // Clients that ask for no name, or for another, get it as well.
        let client = connector(pebble.root().await, &[b"http/1.1"]);
        let other = connect(&client, house.address(Listener::Https), "localhost").await;
        let error = other.unwrap_err().to_string();
        assert!(error.contains("not valid for name"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_nonces_may_be_bad() {
    let mut site = Site::new();
    site.behaviour.bad_nonces = 50;
    let pebble = site.authority().await;
    let house = site.open().await;
    issued(&house).await;
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 1));
    assert_eq!(site.problem(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_cost_neither_an_account_nor_an_order() {
    let site = Site::new();
    let pebble = site.authority().await;
    let starts = std::env::var("HANOK_ACME_RESTARTS").map_or(5, |count| count.parse().unwrap());
    let mut first = None;
    for _ in 0..starts {
        let house = site.open().await;
        let facts = issued(&house).await;
        assert_eq!(first.get_or_insert(facts.clone()), &facts);
        house.daemon.stop().await;
    }
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_certificate_is_kept_resumes_the_same_order() {
    let site = Site::new();
    let pebble = site.authority().await;
    // The certificate cannot be written: the order is finalised, and nothing of it is kept.
    let place = site.state.path().join("acme/certificate.pem");
    std::fs::create_dir_all(&place).unwrap();
    let house = site.open().await;
    let first = issued(&house).await;
    site.crash(house).await;
    assert!(site.state.path().join("acme/order.json").exists());
    std::fs::remove_dir(&place).unwrap();
    let _ = std::fs::remove_file(site.state.path().join("acme/record.json"));

    let house = site.open().await;
    assert_eq!(issued(&house).await, first);
    eventually("the order is done with", async || {
        place.is_file() && !site.state.path().join("acme/order.json").exists()
    })
    .await;
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_moment_costs_no_second_order() {
    let site = Site::new();
    let pebble = site.authority().await;
    for milliseconds in [0, 30, 60, 120, 250, 500, 1000] {
        let house = site.open().await;
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        site.crash(house).await;
    }
    let house = site.open().await;
    issued(&house).await;
    assert_eq!(pebble.accounts(), 1);
    // An order whose answer was on its way when we died is unknown to us.
    assert!(pebble.orders() <= 2, "{}", pebble.orders());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_down_is_named_and_asked_again_on_request() {
    let site = Site::new();
    let house = site.open().await;
    site.fails().await;
    assert!(
        site.problem().contains("cannot be reached"),
        "{}",
        site.problem()
    );
    assert!(
        served(&house).issuer.contains(DOMAIN),
        "self-signed meanwhile"
    );
    let (status, ..) = crate::house::http(house.plain(), "GET", "/openvidu/api/config", None).await;
    assert_eq!(status, 200, "everything else works");
    let pebble = site.authority().await;
    site.ask_to_renew();
    issued(&house).await;
    assert_eq!(pebble.orders(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_answers_with_web_pages_is_named() {
    for status in ["200 OK", "502 Bad Gateway", "400 Bad Request"] {
        let site = Site::new();
        let _page = web_page(&site.own, status).await;
        let house = site.open().await;
        site.fails().await;
        let problem = site.problem();
        assert!(problem.contains("ACME"), "{status}: {problem}");
        assert!(served(&house).issuer.contains(DOMAIN));
    }
}

/// A web server at the authority's place.
async fn web_page(own: &Own, status: &'static str) -> JoinSet<()> {
    let chain = std::fs::read(own.path("cert.pem")).unwrap();
    let chain = CertificateDer::pem_slice_iter(&chain)
        .map(Result::unwrap)
        .collect();
    let key = std::fs::read(own.path("key.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(own.address()).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let _ = stream.read(&mut [0; 4096]).await;
            let page = "<html><body>It works!</body></html>";
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
                page.len()
            );
            let _ = stream.write_all((head + page).as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_bound_to_the_one_that_the_authority_knows() {
    let hmac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let mut site = Site::new();
    site.behaviour
        .bindings
        .insert("kid-1".to_owned(), hmac.to_owned());
    let pebble = site.authority().await;
    let house = site.open().await;
    site.fails().await;
    assert!(
        site.problem().contains("externalAccountRequired"),
        "{}",
        site.problem()
    );
    site.crash(house).await;
    site.binding = Some(("kid-1".to_owned(), Secret::new(hmac)));
    let house = site.open().await;
    site.ask_to_renew();
    issued(&house).await;
    assert_eq!(pebble.accounts(), 1);
}

/// Connections that were there before and must not notice.
struct Live {
    https: TlsStream<TcpStream>,
    socket: tokio_tungstenite::WebSocketStream<TlsStream<TcpStream>>,
    turn: TlsStream<TcpStream>,
    allocation: TurnClient,
}

impl Live {
    async fn open(pebble: &Pebble, house: &House) -> Self {
        let address = house.address(Listener::Https);
        let client = connector(pebble.root().await, &[b"http/1.1"]);
        let https = connect(&client, address, DOMAIN).await.unwrap();
        let stream = connect(&client, address, DOMAIN).await.unwrap();
        let url = format!("wss://{DOMAIN}/openvidu");
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let client = connector(pebble.root().await, &[b"stun.turn"]);
        let server = house.address(Listener::TurnTls);
        let turn = connect(&client, server, DOMAIN).await.unwrap();
        let own = turn.get_ref().0.local_addr().unwrap();
        let (username, password) = minted(TURN_SECRET, "live");
        let five_tuple = FiveTuple::new(Protocol::Tcp, own, server);
        let mut live = Self {
            https,
            socket,
            turn,
            allocation: TurnClient::with_credential(five_tuple, username, password),
        };
        let udp: &[u8] = &[17, 0, 0, 0];
        for _ in 0..2 {
            let asked = (Method::ALLOCATE, AttributeType::REQUESTED_TRANSPORT, udp);
            live.ask_turn(asked).await;
        }
        live
    }

    /// Asks the relay; returns whether the answer is a success.
    async fn ask_turn(
        &mut self,
        (method, attribute, value): (Method, AttributeType, &[u8]),
    ) -> bool {
        let request = self.allocation.request(method, |writer| {
            writer.attribute(attribute, value);
        });
        self.turn.write_all(&request).await.unwrap();
        let mut answer = vec![0; 20];
        self.turn.read_exact(&mut answer).await.unwrap();
        let length = u16::from_be_bytes([answer[2], answer[3]]);
        answer.resize(20 + usize::from(length), 0);
        self.turn.read_exact(&mut answer[20..]).await.unwrap();
        self.allocation.take_challenge(&answer);
        let answer = hanok::media::stun::Message::parse(&answer).unwrap();
        answer.class() == Class::Success
    }

    /// Each of them is used.
    async fn all_answer(&mut self) {
        let request =
            format!("GET /openvidu/accept-certificate HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n");
        self.https.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        self.https.read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
        // The rest of it.
        let mut rest = [0; 65_536];
        let _ = self.https.read(&mut rest).await.unwrap();
        let ping = Message::Ping("still there?".into());
        self.socket.send(ping).await.unwrap();
        loop {
            let message = self.socket.next().await.expect("it is open").unwrap();
            if message.is_pong() {
                break;
            }
        }
        let lifetime = 600_u32.to_be_bytes();
        let refresh = (
            Method::REFRESH,
            AttributeType::LIFETIME,
            lifetime.as_slice(),
        );
        assert!(self.ask_turn(refresh).await, "the allocation lives");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_under_live_connections_and_new_ones_see_the_new_one_everywhere() {
    let renewals = std::env::var("HANOK_ACME_RENEWALS").map_or(1, |count| count.parse().unwrap());
    let lifetime = if renewals > 1 { 120 } else { 30 };
    let mut site = Site::new();
    site.behaviour.lifetime = lifetime;
    site.tls_listen = Some(Listen {
        address: Some(Ipv4Addr::LOCALHOST.into()),
        port: free_port(),
    });
    let pebble = site.authority().await;
    let house = site.open().await;
    let mut facts = issued(&house).await;
    let mut live = Live::open(&pebble, &house).await;
    for _ in 0..renewals {
        let renewal = async {
            loop {
                live.all_answer().await;
                if served(&house).serial != facts.serial {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(lifetime + 30), renewal).await;
        done.expect("it is renewed");
        live.all_answer().await;
        let old = std::mem::replace(&mut facts, served(&house));
        let now = hanok::units::clock::wall_ms() / 1000;
        assert!(now <= old.validity.until, "it was renewed before its end");
        for listener in [Listener::Https, Listener::TurnTls] {
            let client = connector(pebble.root().await, &[]);
            let stream = connect(&client, house.address(listener), DOMAIN)
                .await
                .unwrap();
            let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
            assert_eq!(
                Facts::read(shown).unwrap().serial,
                facts.serial,
                "{listener:?}"
            );
        }
    }
    assert_eq!(pebble.accounts(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_when_the_authority_suggests_it_and_not_at_two_thirds_of_its_life()
{
    if !crate::pebble::knows_profiles() {
        println!("Debian's Pebble suggests nothing: not shown");
        return;
    }
    const LIFETIME: u64 = 36;
    let mut site = Site::new();
    site.behaviour.lifetime = LIFETIME;
    let pebble = site.authority().await;
    let house = site.open().await;
    let first = issued(&house).await;
    let came_at = hanok::units::clock::now();
    eventually("it is asked when to renew", async || {
        pebble.said("/renewalInfo/") > 0
    })
    .await;
    let certificate = house.daemon.certificates().current().chain()[0].clone();
    // As soon as we let ourselves be told, which is a third of its life.
    pebble.suggest_renewal(&certificate).await;
    // It would be asked again in six hours; a start asks at once.
    house.daemon.stop().await;
    let house = site.open().await;
    assert_eq!(issued(&house).await, first);
    let renewal = async {
        while served(&house).serial == first.serial {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let two_thirds = Duration::from_secs(LIFETIME / 3 * 2);
    let renewed = tokio::time::timeout(two_thirds, renewal).await;
    let after = came_at.elapsed();
    assert!(
        renewed.is_ok() && after < two_thirds - Duration::from_secs(3),
        "{after:?}"
    );
    assert!(after > Duration::from_secs(LIFETIME / 3 - 2), "{after:?}");
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 2));
}
