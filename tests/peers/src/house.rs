//! A daemon of this process's own for foreign clients: one worker, on free ports of the loopback interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hanok::config::fake::FakeMachine;
use hanok::config::values::{Listen, Workers};
use hanok::config::{Config, Options, load};
use hanok::daemon::Daemon;
use hanok::front::proxy::Listener;
use hanok::testing::client::{Client, LOOPBACK, PATIENCE};
use hanok::units::{PortRange, Secret, turn_credential};
use hanok::views::turn::{Allocation, TurnCounters};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An address that no interface has, so that it is a foreign host's; Linux answers for it all the same.
pub const FOREIGN_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Under which TURN credentials are made.
const SECRET: &str = "north";

/// `OPENVIDUAPP:MY_SECRET`, which `serve --dev` takes.
const AUTHORIZATION: &str = "Basic T1BFTlZJRFVBUFA6TVlfU0VDUkVU";

/// How often it is asked whether something has come about.
const POLL: Duration = Duration::from_millis(5);

/// A running daemon.
pub struct House {
    daemon: Daemon,
    /// Where its TURN server is, over UDP and TCP.
    pub turn: SocketAddr,
    plain: SocketAddr,
}

impl House {
    /// Starts one, whose TURN clients may reach [`FOREIGN_HOST`].
    ///
    /// # Errors
    /// It does not start.
    pub async fn open() -> anyhow::Result<Self> {
        let options = Options {
            dev: true,
            ..Options::default()
        };
        let loaded = load(&FakeMachine::default(), &options);
        let mut config: Config = loaded.map_err(|report| anyhow::anyhow!("{report}"))?.config;
        config.web.https_port = 0;
        config.web.plain = Some(Listen {
            address: Some(LOOPBACK),
            port: 0,
        });
        config.media.workers = Workers::Count(NonZeroUsize::MIN);
        config.media.ports = PortRange::new(22_000, 22_999).context("a range")?;
        config.turn.port = free_port()?;
        config.turn.secrets = vec![Secret::new(SECRET)];
        config.turn.allowed_peers = vec![IpAddr::from(FOREIGN_HOST).into()];
        let daemon = Daemon::start(&config).await?;
        let mut listeners = daemon.addresses().iter();
        let plain = listeners.find(|(kind, _)| *kind == Listener::Plain);
        Ok(Self {
            turn: (LOOPBACK, config.turn.port).into(),
            plain: plain.context("it listens")?.1,
            daemon,
        })
    }

    /// A user name that is good for an hour, and its password.
    pub fn credential(&self) -> (String, String) {
        let expiry = hanok::units::clock::wall_ms() / 1_000 + 3_600;
        let username = format!("{expiry}:foreign");
        let password = turn_credential::password(&Secret::new(SECRET), &username);
        (username, password)
    }

    /// The allocations that live.
    ///
    /// # Errors
    /// The worker does not answer.
    pub async fn allocations(&self) -> anyhow::Result<Vec<Allocation>> {
        Ok(self.daemon.turn().allocations().await?)
    }

    /// The only allocation that lives.
    ///
    /// # Errors
    /// It is not the only one.
    pub async fn allocation(&self) -> anyhow::Result<Allocation> {
        let mut all = self.allocations().await?;
        ensure!(all.len() == 1, "{all:?}");
        all.pop().context("one")
    }

    /// What the TURN server has counted.
    ///
    /// # Errors
    /// The worker does not answer.
    pub async fn counters(&self) -> anyhow::Result<TurnCounters> {
        Ok(self.daemon.turn().counters().await?)
    }

    /// A new session's id.
    ///
    /// # Errors
    /// It is refused.
    pub async fn session(&self) -> anyhow::Result<String> {
        let created = self.post("/openvidu/api/sessions", &json!({})).await?;
        Ok(text(&created, "id")?.to_owned())
    }

    /// A client that has joined, and what it was told.
    ///
    /// # Errors
    /// It is refused.
    pub async fn join(&self, session: &str) -> anyhow::Result<(Client, Value)> {
        let path = format!("/openvidu/api/sessions/{session}/connection");
        let token = self.post(&path, &json!({"role": "PUBLISHER"})).await?;
        let mut client = Client::open(self.plain).await?;
        let joined = client.join(text(&token, "token")?).await?;
        Ok((client, joined))
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (plain, body) = (self.plain, body.to_string());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {plain}\r\nAuthorization: {AUTHORIZATION}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(plain).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        let (head, body) = response.split_once("\r\n\r\n").context("a response")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "{response}");
        Ok(serde_json::from_str(body)?)
    }

    /// Ends it.
    pub async fn close(self) {
        self.daemon.stop().await;
    }
}

/// A member of an answer that is a string.
///
/// # Errors
/// It is none.
pub fn text<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    let member = value[key].as_str();
    member.with_context(|| format!("no {key} in {value}"))
}

/// Waits until `condition` holds.
///
/// # Errors
/// It does not in time, or asking fails.
pub async fn eventually(
    what: &str,
    mut condition: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let waiting = async {
        while !condition().await? {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    };
    let ended = tokio::time::timeout(PATIENCE, waiting).await;
    ended.with_context(|| format!("timed out: {what}"))?
}

/// A port that is free on UDP and TCP; below those that the kernel gives to clients.
fn free_port() -> anyhow::Result<u16> {
    // Tests of one process run side by side, and so may processes.
    let first = UdpSocket::bind((LOOPBACK, 0))?.local_addr()?.port() % 7_000;
    let mut ports = (0..7_000).map(|number| 25_000 + (first + number) % 7_000);
    let is_free = |port: &u16| {
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()
            && TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()
    };
    ports.find(is_free).context("no port is free")
}
