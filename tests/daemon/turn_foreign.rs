//! coturn's own tools as clients and as peers of the daemon, in a network namespace of their own: there are peers in it
//! whose addresses are not the daemon's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hanok::config::values::Listen;
use hanok::front::proxy::Listener;
use hanok::testing::client::LOOPBACK;
use hanok::units::Secret;
use tokio::task::JoinSet;

use crate::house::{House, eventually, free_port};

const SECRET: &str = "north";

/// Where peers are.
const PEER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2);

/// Where the daemon is.
const OWN: [&str; 2] = ["10.213.9.1", "fd00:1::1"];

/// Set inside the namespace.
const INSIDE: &str = "HANOK_TEST_NAMESPACE";

/// Gives the daemon an address of each family, and makes the peers' addresses good without giving them to an interface:
/// whatever has one of its own is the daemon's.
const SET_UP: &str = "ip link set lo up && ip link add here type veth peer name there && \
                      ip address add 10.213.9.1/24 dev here && \
                      ip address add fd00:1::1/64 dev here nodad && \
                      ip link set here up && ip link set there up && \
                      ip -6 route add local fd00:2::/64 dev lo && \
                      echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind && exec \"$0\" \"$@\"";

/// Whether this test, of this name, is in a namespace. If not, it has just been run in one.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "sh", "-c", SET_UP]);
    command.arg(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]);
    let status = command.env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "{status}");
    false
}

/// A tool of coturn's; killed when dropped.
struct Tool(Child);

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers every datagram with itself.
async fn echo(at: IpAddr, port: u16) -> Tool {
    let mut command = Command::new("turnutils_peer");
    command.args(["-L", &at.to_string(), "-p", &port.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let tool = Tool(command.spawn().expect("coturn is installed"));
    let any: SocketAddr = match at {
        IpAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_nonblocking(true).unwrap();
    eventually("the peer echoes", async || {
        let _ = socket.send_to(b"echo", (at, port));
        socket.recv(&mut [0; 8]).is_ok()
    })
    .await;
    tool
}

/// A daemon whose policy lets clients reach the peers; TURN over TLS is on this port.
async fn house(tls: u16) -> House {
    House::with(|config| {
        config.turn.tls_listen = Some(Listen {
            address: Some(LOOPBACK),
            port: tls,
        });
        config.turn.secrets = vec![Secret::new(SECRET)];
        config.media.external = OWN.map(|own| own.parse().unwrap()).to_vec();
        config.turn.allowed_peers = vec![IpAddr::from(PEER).into(), IpAddr::from(PEER_V6).into()];
    })
    .await
}

/// Runs a tool to its end; returns what it printed.
async fn run(name: &'static str, arguments: Vec<String>) -> String {
    let what = format!("{name} {}", arguments.join(" "));
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null());
    let running = tokio::task::spawn_blocking(move || command.output());
    // What it does takes seconds by design.
    let output = tokio::time::timeout(Duration::from_secs(90), running).await;
    let output = output.unwrap_or_else(|_| panic!("{what} does not end"));
    let output = output.unwrap().expect("coturn is installed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what}: {}\n{said}", output.status);
    said
}

/// The last number that `said` gives after `name`.
fn number(said: &str, name: &str) -> u64 {
    let (_, rest) = said
        .rsplit_once(name)
        .unwrap_or_else(|| panic!("no {name} in {said}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// `turnutils_uclient`: a transport, how data travels, and where to. Over TLS it has one client: of several, every third
/// speaks TLS 1.1, which is refused.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Over UDP, over TCP, or over TLS.
    transport: &'static [&'static str],
    /// TLS on the port of HTTPS instead of its own.
    beside_http: bool,
    server: IpAddr,
    flags: &'static [&'static str],
    /// The peer; or another allocation of the same client's.
    peer: Option<IpAddr>,
}

const UDP: &[&str] = &[];
const TCP: &[&str] = &["-t"];
const TLS: &[&str] = &["-t", "-S"];

fn rows() -> Vec<Row> {
    let (v4, v6) = (Some(PEER.into()), Some(PEER_V6.into()));
    let row = |transport, flags, peer| Row {
        transport,
        beside_http: false,
        server: LOOPBACK,
        flags,
        peer,
    };
    let mut rows = Vec::new();
    for transport in [UDP, TCP] {
        rows.extend([
            row(transport, &["-c"][..], v4),
            row(transport, &["-c", "-s"], v4),
            row(transport, &["-c", "-x"], v6),
            row(transport, &["-c", "-x", "-s"], v6),
            // Pairs of ports for RTP and RTCP: EVEN-PORT and RESERVATION-TOKEN.
            row(transport, &[], v4),
            // From one allocation to another, which never leaves the process.
            row(transport, &["-y", "-c"], None),
            row(transport, &["-y", "-c", "-s"], None),
            row(transport, &["-y", "-c", "-x"], None),
        ]);
    }
    rows.extend([
        row(UDP, &["-c", "-g"], v4),
        row(TCP, &["-c", "-D"], v4),
        row(UDP, &["-c", "-G"], v4),
        row(TLS, &["-c"], v4),
        row(TLS, &["-c", "-s"], v4),
        row(TLS, &["-c", "-x"], v6),
    ]);
    let over_tls = rows.iter().filter(|row| row.transport == TLS);
    let beside_http = over_tls.map(|row| Row {
        beside_http: true,
        ..*row
    });
    let beside_http: Vec<_> = beside_http.collect();
    rows.extend(beside_http);
    let over_v6 = [row(UDP, &["-c"], v4), row(TCP, &["-c", "-x"], v6)];
    rows.extend(over_v6.map(|row| Row {
        server: Ipv6Addr::LOCALHOST.into(),
        ..row
    }));
    rows
}

const CLIENTS: u64 = 2;
const MESSAGES: u64 = 40;

impl Row {
    fn clients(&self) -> u64 {
        if self.transport == TLS { 1 } else { CLIENTS }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coturns_clients_lose_nothing_over_udp_tcp_and_tls_to_any_peer() {
    if !is_inside("turn_foreign::coturns_clients_lose_nothing_over_udp_tcp_and_tls_to_any_peer") {
        return;
    }
    let tls = free_port();
    let house = house(tls).await;
    let port = free_port();
    let _peers = [
        echo(PEER.into(), port).await,
        echo(PEER_V6.into(), port).await,
    ];
    let mut running = JoinSet::new();
    let mut expected = 0;
    for row in rows() {
        let at = if row.beside_http {
            house.address(Listener::Https).port()
        } else if row.transport == TLS {
            tls
        } else {
            house.config.turn.port
        };
        let mut arguments: Vec<String> = [row.transport, row.flags]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("-W", SECRET.to_owned());
        option("-u", "foreign".to_owned());
        option("-m", row.clients().to_string());
        option("-n", MESSAGES.to_string());
        option("-l", "172".to_owned());
        option("-p", at.to_string());
        if let Some(peer) = row.peer {
            option("-e", peer.to_string());
            option("-r", port.to_string());
        }
        arguments.push(row.server.to_string());
        running.spawn(async move { (row, run("turnutils_uclient", arguments).await) });
        expected += 1;
    }
    let mut seen = 0;
    while let Some(ended) = running.join_next().await {
        let (row, said) = ended.unwrap();
        let sent = number(&said, "tot_send_msgs=");
        assert!(sent >= row.clients() * MESSAGES, "{row:?}: {said}");
        assert_eq!(number(&said, "tot_recv_msgs="), sent, "{row:?}: {said}");
        assert!(
            said.contains("Total lost packets 0 (0.0"),
            "{row:?}: {said}"
        );
        assert!(
            said.contains("total send dropped 0 (0.0"),
            "{row:?}: {said}"
        );
        seen += 1;
    }
    assert_eq!(seen, expected);
    let counters = house.daemon.turn().counters().await.unwrap();
    let clients: u64 = rows().iter().map(Row::clients).sum();
    assert!(counters.allocations >= clients, "{counters:?}");
    assert!(
        counters.packets_inside >= 6 * CLIENTS * MESSAGES,
        "{counters:?}"
    );
    assert!(
        counters.packets_to_peers > counters.packets_inside,
        "{counters:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coturns_stun_client_learns_its_address() {
    let house = House::open().await;
    for server in [LOOPBACK, Ipv6Addr::LOCALHOST.into()] {
        let arguments = [
            "-p".to_owned(),
            house.config.turn.port.to_string(),
            server.to_string(),
        ];
        let said = run("turnutils_stunclient", arguments.to_vec()).await;
        let mapped = said.rsplit_once("UDP reflexive addr: ");
        let (_, mapped) = mapped.unwrap_or_else(|| panic!("{said}"));
        // IPv6 addresses come without brackets.
        let ip = mapped
            .trim()
            .rsplit_once(':')
            .unwrap()
            .0
            .trim_matches(['[', ']']);
        assert_eq!(ip.parse(), Ok(server), "{said}");
    }
}
