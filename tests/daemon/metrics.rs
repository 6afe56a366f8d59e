//! What monitoring sees: the admin listener, metrics against what clients have counted, and how many of them there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use hanok::config::Misconfigured;
use hanok::config::values::Listen;
use hanok::daemon::Daemon;
use hanok::media::net::interfaces::own_addresses;
use hanok::media::stun::{AttributeType, Method};
use hanok::testing::client::{LOOPBACK, PATIENCE};
use hanok::units::Secret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::house::{House, config, eventually, free_port, http, rest};
use crate::process::Process;
use crate::turn::{Relayed, minted, two_workers};

/// One request with exactly these lines; status, head and body of the response.
async fn ask(server: SocketAddr, lines: &[&str]) -> (u16, String, String) {
    let request = lines.join("\r\n") + "\r\nConnection: close\r\n\r\n";
    let exchange = async {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        String::from_utf8(response).unwrap()
    };
    let response = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

/// `GET` by the address that is asked.
async fn get(server: SocketAddr, path: &str) -> (u16, String, String) {
    let lines = [format!("GET {path} HTTP/1.1"), format!("Host: {server}")];
    ask(server, &lines.each_ref().map(String::as_str)).await
}

fn admin(house: &House) -> SocketAddr {
    *house.daemon.admin().first().expect("it listens")
}

/// What `/metrics` says: the value of every sample, by its name with labels.
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub(crate) async fn of(server: SocketAddr) -> Self {
        let (status, head, body) = get(server, "/metrics").await;
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        Self::parse(&body)
    }

    fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        let count = samples.clone().count();
        let map: BTreeMap<_, _> = samples.collect();
        assert_eq!(map.len(), count, "a sample stands twice");
        Self(map)
    }

    /// One sample, or the sum over all labels of a metric.
    pub(crate) fn value(&self, name: &str) -> f64 {
        let of_it = |sample: &str| {
            sample == name
                || (!name.contains('{')
                    && sample
                        .strip_prefix(name)
                        .is_some_and(|it| it.starts_with('{')))
        };
        let samples = self.0.iter().filter(|(sample, _)| of_it(sample));
        let values: Vec<f64> = samples.map(|(_, value)| *value).collect();
        assert!(
            !values.is_empty(),
            "{name} is not among {:?}",
            self.0.keys()
        );
        values.iter().sum()
    }

    /// Names with labels.
    fn label_sets(&self) -> BTreeSet<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Names.
    fn names(&self) -> BTreeSet<&str> {
        let names = self.0.keys().map(|sample| sample.split('{').next());
        names.flatten().collect()
    }
}

/// Fails unless both are the same within one percent.
#[track_caller]
fn same(what: &str, metric: f64, truth: f64) {
    assert!(truth > 0.0, "{what}: nothing was counted");
    let difference = (metric - truth).abs() / truth;
    assert!(
        difference <= 0.01,
        "{what}: {metric} instead of {truth}, off by {:.2} %",
        difference * 100.0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_readiness_are_told_on_the_admin_port_alone_and_to_this_machine_alone() {
    let house = House::open().await;
    let admin = admin(&house);
    for path in ["/healthz", "/readyz"] {
        let (status, head, body) = get(admin, path).await;
        assert_eq!((status, body.as_str()), (200, "ok\n"), "{path}");
        assert!(head.to_lowercase().contains("cache-control: no-store"));
        let (status, ..) = http(house.plain(), "GET", path, None).await;
        assert_eq!(status, 404, "{path} is not for visitors");
    }
    let host = format!("Host: {admin}");
    for (lines, expected) in [
        (vec!["GET /metrics HTTP/1.1", "Host: rebound.example"], 421),
        (vec!["GET /healthz HTTP/1.1", "Host: localhost"], 200),
        (vec!["GET / HTTP/1.1", &host], 404),
        (
            vec!["POST /metrics HTTP/1.1", &host, "Content-Length: 0"],
            405,
        ),
        (vec!["GET /healthz HTTP/1.0"], 400),
    ] {
        let (status, _, body) = ask(admin, &lines).await;
        assert_eq!(status, expected, "{lines:?}: {body}");
        assert!(!body.contains("hanok_"), "{lines:?}");
    }
    let (status, _, body) = ask(admin, &["HEAD /metrics HTTP/1.1", &host]).await;
    assert_eq!((status, body.as_str()), (200, ""));
    let wanted = "Accept: application/openmetrics-text; version=1.0.0";
    let (_, head, body) = ask(admin, &["GET /metrics HTTP/1.1", &host, wanted]).await;
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_admin_port_stops_nobody_who_has_not_asked_for_it() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut config = config();
    config.admin_listen = Some(Listen {
        address: Some(LOOPBACK),
        port,
    });
    let daemon = Daemon::start(&config).await.unwrap();
    assert!(daemon.admin().is_empty());
    daemon.stop().await;
    config.admin_listen_is_set = true;
    config.turn.port = free_port();
    let Err(error) = Daemon::start(&config).await else {
        panic!("it starts");
    };
    assert!(error.is::<Misconfigured>());
    assert!(error.to_string().contains("HANOK_ADMIN_LISTEN"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_is_no_upstream_and_no_turn_peer() {
    let port = free_port();
    let house = House::with(|config| {
        config.admin_listen = Some(Listen {
            // So that any name of this machine leads there.
            address: Some(Ipv4Addr::UNSPECIFIED.into()),
            port,
        });
        // As if the name of a neighbour led here, which the configuration cannot know.
        config.web.app_upstream =
            hanok::config::values::AppUpstream::Url(format!("http://127.0.0.3:{port}"));
        config.web.http_port = None;
        config.turn.secrets = vec![Secret::new("north")];
    })
    .await;
    assert_eq!(admin(&house).port(), port);
    let certificate = house.daemon.certificates().current();
    let roots = {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.chain()[0].clone()).unwrap();
        roots
    };
    let connector = crate::pebble::connector(roots, &[b"http/1.1"]);
    let https = house.address(hanok::front::proxy::Listener::Https);
    let mut stream = crate::pebble::connect(&connector, https, "localhost")
        .await
        .unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert!(!answer.contains("hanok_"), "{answer}");

    let (username, password) = minted("north", "curious");
    let mut client = Relayed::new(&house, &username, &password).await;
    assert_eq!(client.allocate().await, 0);
    for own in own_addresses().unwrap() {
        let bound = client.ask(Method::CHANNEL_BIND, |writer| {
            writer.attribute(AttributeType::CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, (own, port).into());
        });
        let code = bound.await;
        assert!(matches!(code, 403 | 443), "{own}: {code}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_a_call_are_what_its_clients_have_counted() {
    let house = House::with(two_workers).await;
    let admin = admin(&house);
    let before = Metrics::of(admin).await;
    for name in ["hanok_sessions", "hanok_participants", "hanok_transports"] {
        assert_eq!(before.value(name), 0.0, "{name}");
    }
    let mut call = house.call(3).await;
    let enough = |report: &hanok::testing::client::Report| report.video.received > 600;
    call.receiving()
        .until("a while passes", enough)
        .await
        .unwrap();
    for (name, expected) in [
        ("hanok_sessions", 1.0),
        ("hanok_participants", 4.0),
        ("hanok_streams", 1.0),
        ("hanok_subscriptions", 3.0),
        ("hanok_transports", 4.0),
        ("hanok_rooms", 1.0),
        ("hanok_websockets", 4.0),
        ("hanok_worker_up", 2.0),
        ("hanok_ready", 1.0),
        ("hanok_transports_connected_total", 4.0),
    ] {
        assert_eq!(Metrics::of(admin).await.value(name), expected, "{name}");
    }
    call.all_arrives().await;

    let metrics = Metrics::of(admin).await;
    let sent = call.sending.report();
    let packets = f64::from(sent.video.sent + sent.audio.sent);
    same(
        "received",
        metrics.value("hanok_rtp_received_packets_total"),
        packets,
    );
    let mut received = 0.0;
    for (_, receiving) in &call.subscribers {
        let report = receiving.report();
        received += (report.video.received + report.audio.received) as f64;
    }
    same(
        "sent",
        metrics.value("hanok_rtp_sent_packets_total"),
        received,
    );
    assert_eq!(
        metrics.value("hanok_rtcp_key_frame_requests_sent_total"),
        sent.key_frame_requests as f64
    );
    assert_eq!(
        metrics.value("hanok_rtcp_nacks_sent_total"),
        sent.nacked as f64
    );
    assert_eq!(metrics.value("hanok_rtp_lost_packets_total"), 0.0);
    // Media, reports and handshakes: never fewer datagrams than media packets, and not many more.
    let out = metrics.value("hanok_network_sent_packets_total");
    assert!(
        out >= received && out < received * 1.5,
        "{out} for {received}"
    );
    same(
        "latencies",
        metrics.value("hanok_packet_latency_seconds_count"),
        out,
    );
    let bytes = metrics.value("hanok_network_sent_bytes_total");
    assert!(
        bytes > metrics.value("hanok_rtp_sent_bytes_total"),
        "{bytes}"
    );

    let call_ends = async |call: crate::call::Call| {
        for (client, _receiving) in call.subscribers {
            client.leave().await.unwrap();
        }
        call.publisher.leave().await.unwrap();
    };
    call.sending.send_media(false).await;
    let clients = call.clients().count();
    assert_eq!(clients, 4);
    call_ends(call).await;
    house.is_empty().await;
    eventually("nobody is left", async || {
        let after = Metrics::of(admin).await;
        [
            "hanok_sessions",
            "hanok_participants",
            "hanok_streams",
            "hanok_subscriptions",
            "hanok_rooms",
        ]
        .iter()
        .all(|name| after.value(name) == 0.0)
            && after.value("hanok_participants_total") == 4.0
            && after.value("hanok_subscriptions_total") == 3.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_and_connections_are_counted_one_by_one() {
    let house = House::open().await;
    let admin = admin(&house);
    for _ in 0..25 {
        assert!(house.sessions().await.is_empty());
    }
    for _ in 0..7 {
        let lines = [
            "GET /openvidu/api/sessions HTTP/1.1",
            "Host: x",
            "Authorization: Basic eDp5",
        ];
        let (status, ..) = ask(house.plain(), &lines).await;
        assert_eq!(status, 401);
    }
    let _client = {
        let session = house.session().await;
        house.join(&session).await
    };
    let metrics = Metrics::of(admin).await;
    let requests = |route: &str, status: &str| {
        metrics.value(&format!(
            "hanok_http_requests_total{{route=\"{route}\",status=\"{status}\"}}"
        ))
    };
    // A session and a token beside.
    assert_eq!(requests("rest", "2xx"), 27.0);
    assert_eq!(requests("rest", "4xx"), 7.0);
    assert_eq!(requests("signalling", "1xx"), 1.0);
    assert_eq!(requests("rest", "5xx"), 0.0);
    assert_eq!(metrics.value("hanok_http_request_seconds_count"), 35.0);
    assert_eq!(
        metrics.value("hanok_http_connections_total{outcome=\"accepted\"}"),
        35.0
    );
    assert_eq!(metrics.value("hanok_http_connections{kind=\"web\"}"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_a_relay_are_what_its_clients_have_counted() {
    const PACKETS: u32 = 2_000;
    const LEN: usize = 160;
    let house = House::with(two_workers).await;
    let admin = admin(&house);
    let mut clients = Vec::new();
    for name in ["one", "other"] {
        let (username, password) = minted("north", name);
        let mut client = Relayed::new(&house, &username, &password).await;
        assert_eq!(client.allocate().await, 0);
        clients.push(client);
    }
    let allocations = house.daemon.turn().allocations().await.unwrap();
    let relayed_of = |client: &Relayed| {
        let own = client.socket.local_addr().unwrap();
        let found = allocations.iter().find(|one| one.client == own).unwrap();
        found.relayed[0]
    };
    let relayed: Vec<SocketAddr> = clients.iter().map(relayed_of).collect();
    for (client, peer) in clients.iter_mut().zip(relayed.iter().rev()) {
        let bound = client.ask(Method::CHANNEL_BIND, |writer| {
            writer.attribute(AttributeType::CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
        });
        assert_eq!(bound.await, 0);
    }
    let [one, other] = clients.try_into().ok().unwrap();
    let mut frame = vec![7; 4 + LEN];
    frame[..4].copy_from_slice(&[0x40, 0, 0, LEN as u8]);
    let mut received = 0_u32;
    let mut buffer = [0; 2_048];
    for _ in 0..PACKETS {
        one.socket.send(&frame).await.unwrap();
        // One at a time, so that no socket of this machine is too small for them.
        let arrival = tokio::time::timeout(PATIENCE, other.socket.recv(&mut buffer));
        let len = arrival.await.expect("it arrives").unwrap();
        assert_eq!(buffer[..len], frame);
        received += 1;
    }
    let metrics = Metrics::of(admin).await;
    let (sent, got) = (f64::from(PACKETS), f64::from(received));
    let bytes = (LEN as f64) * got;
    for (name, truth) in [
        ("hanok_turn_relayed_packets_total{to=\"peer\"}", sent),
        ("hanok_turn_relayed_packets_total{to=\"client\"}", got),
        ("hanok_turn_relayed_bytes_total{to=\"peer\"}", bytes),
        ("hanok_turn_relayed_bytes_total{to=\"client\"}", bytes),
        ("hanok_turn_inside_packets_total", sent),
        ("turn_traffic_rcvp{realm=\"openvidu\"}", sent),
        ("turn_total_traffic_rcvb", bytes),
        ("turn_total_traffic_sentp", got),
        ("turn_total_traffic_peer_sentb", bytes),
        ("turn_total_traffic_peer_rcvp", got),
    ] {
        same(name, metrics.value(name), truth);
    }
    assert_eq!(
        metrics.value("hanok_turn_allocations{transport=\"udp\"}"),
        2.0
    );
    assert_eq!(metrics.value("turn_total_allocations{type=\"UDP\"}"), 2.0);
    assert_eq!(metrics.value("hanok_turn_allocations_total"), 2.0);
    let challenges = "hanok_turn_requests_total{outcome=\"challenge\"}";
    assert_eq!(metrics.value(challenges), 2.0);
    let (mut one, other) = (one, other);
    assert_eq!(one.refresh(0).await, 0);
    let after = Metrics::of(admin).await;
    assert_eq!(after.value("hanok_turn_allocations"), 1.0);
    drop(other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_to_a_foreign_peer_counts_the_same_in_both_directions() {
    let peer = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0))
        .await
        .unwrap();
    let peer_addr = peer.local_addr().unwrap();
    let house = House::with(|config| {
        two_workers(config);
        config.turn.allowed_peers = vec![peer_addr.ip().into()];
    })
    .await;
    let (username, password) = minted("north", "one");
    let mut client = Relayed::new(&house, &username, &password).await;
    assert_eq!(client.allocate().await, 0);
    let bound = client.ask(Method::CHANNEL_BIND, |writer| {
        writer.attribute(AttributeType::CHANNEL_NUMBER, &[0x40, 0, 0, 0]);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer_addr);
    });
    assert_eq!(bound.await, 0);
    let frame = [0x40, 0, 0, 4, 1, 2, 3, 4];
    let mut buffer = [0; 64];
    for _ in 0..300 {
        client.socket.send(&frame).await.unwrap();
        let arrival = tokio::time::timeout(PATIENCE, peer.recv_from(&mut buffer));
        let (len, from) = arrival.await.expect("it arrives").unwrap();
        peer.send_to(&buffer[..len], from).await.unwrap();
        let arrival = tokio::time::timeout(PATIENCE, client.socket.recv(&mut buffer));
        assert_eq!(arrival.await.expect("it comes back").unwrap(), frame.len());
    }
    let metrics = Metrics::of(admin(&house)).await;
    for name in [
        "hanok_turn_relayed_packets_total{to=\"peer\"}",
        "hanok_turn_relayed_packets_total{to=\"client\"}",
        "turn_total_traffic_peer_rcvp",
        "turn_total_traffic_peer_sentp",
    ] {
        same(name, metrics.value(name), 300.0);
    }
    same(
        "bytes",
        metrics.value("hanok_turn_relayed_bytes_total{to=\"client\"}"),
        1_200.0,
    );
    assert_eq!(metrics.value("hanok_turn_relay_sockets"), 1.0);
    assert_eq!(metrics.value("hanok_turn_inside_packets_total"), 0.0);
}

/// How many names a run invents; a long one sets it.
fn distinct_names() -> usize {
    let given = std::env::var("HANOK_DISTINCT_NAMES").ok();
    given.map_or(600, |given| given.parse().unwrap())
}

/// Has one user of this name allocate and give back, with the nonce that the client has.
async fn passes_through(client: &mut Relayed, name: &str) {
    let (username, password) = minted("north", name);
    (client.client.username, client.client.password) = (username, password);
    assert_eq!(client.allocate().await, 0, "{name}");
    assert_eq!(client.refresh(0).await, 0, "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_and_memory_do_not_grow_with_users_sessions_or_paths() {
    let port = free_port();
    let listen = format!("HANOK_ADMIN_LISTEN=127.0.0.1:{port}");
    let more = [
        listen.as_str(),
        "COTURN_SHARED_SECRET_KEY=north",
        // The log is not what is measured here.
        "HANOK_LOG=warn,hanok::daemon=info",
    ];
    let process = Process::start_with(&more).await;
    let admin = (Ipv4Addr::LOCALHOST, port).into();
    let mut user = Relayed::between(LOOPBACK, process.turn, "", "").await;
    let visit = async |user: &mut Relayed, index: usize| {
        passes_through(user, &format!("user-{index}")).await;
        let name = format!("session-{index}");
        let body = json!({"customSessionId": name});
        let created = rest(process.plain, "POST", "/openvidu/api/sessions", Some(body)).await;
        assert_eq!(created.0, 200, "{name}");
        let path = format!("/openvidu/api/sessions/{name}");
        assert_eq!(rest(process.plain, "DELETE", &path, None).await.0, 204);
        let path = format!("/openvidu/api/nothing-{index}");
        assert_eq!(rest(process.plain, "GET", &path, None).await.0, 403);
    };
    let names = distinct_names();
    // Tables reach the size that they keep.
    let warm = names / 4;
    for index in 0..warm {
        visit(&mut user, index).await;
    }
    let first = Metrics::of(admin).await;
    let (_, before) = process.usage();
    for index in warm..names {
        visit(&mut user, index).await;
    }
    let last = Metrics::of(admin).await;
    let (_, after) = process.usage();
    assert_eq!(first.label_sets(), last.label_sets());
    assert_eq!(last.value("hanok_turn_allocations_total"), names as f64);
    assert_eq!(last.value("hanok_sessions_total"), names as f64);
    let missed = "hanok_http_requests_total{route=\"rest\",status=\"4xx\"}";
    assert_eq!(last.value(missed), names as f64);
    let grown = after.saturating_sub(before);
    assert!(grown <= 4 * 1024, "{names} names took {grown} KiB for good");
    println!(
        "{names} users, sessions and paths: {} label sets before and after, {grown} KiB",
        last.label_sets().len()
    );
}

fn etc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc").join(name)
}

/// The names of ours, and of what every process has, in an expression of PromQL.
fn named_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_name(c));
    let prefixes = ["hanok_", "turn_", "stun_", "process_"];
    words
        .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
        .map(str::to_owned)
        .collect()
}

/// Every `expr` below a value of JSON.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), value.as_str()) {
                    ("expr" | "query" | "definition", Some(text)) => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_that_the_dashboard_and_the_alerts_name_exists() {
    let house = House::open().await;
    let metrics = Metrics::of(admin(&house)).await;
    let names = metrics.names();
    let dashboard = std::fs::read_to_string(etc("grafana/hanok.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut panels = Vec::new();
    expressions(&dashboard, &mut panels);
    assert!(panels.len() > 20, "{}", panels.len());
    let rules = std::fs::read_to_string(etc("prometheus/hanok.rules.yml")).unwrap();
    let alerts = rules.matches("- alert:").count();
    assert!(alerts >= 8, "{alerts}");
    for (place, text) in [("the dashboard", panels.join("\n")), ("the rules", rules)] {
        let named = named_in(&text);
        assert!(named.len() > 8, "{place}: {named:?}");
        for name in named {
            assert!(
                names.contains(name.as_str()),
                "{place} names {name}, which there is not"
            );
        }
    }
    // What a metric counts is said.
    let (_, _, text) = get(admin(&house), "/metrics").await;
    let families = text
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .count();
    let helps = text.lines().filter(|line| line.starts_with("# HELP"));
    assert_eq!(helps.clone().count(), families);
    assert!(
        helps
            .into_iter()
            .all(|line| line.ends_with('.') || line.ends_with(')'))
    );
}

#[test]
fn prometheus_itself_accepts_the_rules() {
    let rules = etc("prometheus/hanok.rules.yml");
    let checked = std::process::Command::new("promtool")
        .args(["check", "rules"])
        .arg(rules)
        .output()
        .expect("promtool is installed by scripts/test");
    let said = String::from_utf8_lossy(&checked.stdout);
    let wrong = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_itself_reads_the_metrics() {
    let house = House::open().await;
    let _call = house.call(1).await;
    let (_, _, text) = get(admin(&house), "/metrics").await;
    let checked = tokio::task::spawn_blocking(move || {
        use std::io::Write;
        let mut promtool = std::process::Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("promtool is installed by scripts/test");
        let mut stdin = promtool.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        promtool.wait_with_output().unwrap()
    });
    let checked = checked.await.unwrap();
    let wrong = String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
    // It also has opinions on names, which are coturn's where they are not ours.
    let wrong: Vec<&str> = wrong
        .lines()
        .filter(|line| !line.starts_with("turn_") && !line.starts_with("stun_"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
