//! TURN as an operator and a participant see it: credentials, quotas, lists.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use hanok::config::Config;
use hanok::config::settings::State;
use hanok::config::values::Workers;
use hanok::media::stun::{AttributeType, Message, Method, Writer};
use hanok::media::turn::{FiveTuple, Protocol};
use hanok::testing::client::{Client, LOOPBACK, PATIENCE};
use hanok::testing::turn::TurnClient;
use hanok::units::{PortRange, Secret, turn_credential};
use serde_json::Value;
use tokio::net::UdpSocket;

use crate::house::{House, Witness, eventually};

/// A TURN client on a socket of its own.
pub(crate) struct Relayed {
    pub(crate) socket: UdpSocket,
    pub(crate) client: TurnClient,
}

/// When a request is sent again that has not been answered (RFC 8489 section 6.2.1).
const RETRANSMISSION: Duration = Duration::from_millis(500);

impl Relayed {
    pub(crate) async fn new(house: &House, username: &str, password: &str) -> Self {
        let server = (LOOPBACK, house.config.turn.port).into();
        Self::between(LOOPBACK, server, username, password).await
    }

    /// A client at this address of a server at that one.
    pub(crate) async fn between(
        own: IpAddr,
        server: SocketAddr,
        username: &str,
        password: &str,
    ) -> Self {
        let socket = UdpSocket::bind((own, 0)).await.unwrap();
        socket.connect(server).await.unwrap();
        let local = socket.local_addr().unwrap();
        let client = TurnClient::with_credential(
            FiveTuple::new(Protocol::Udp, local, server),
            username.to_owned(),
            password.to_owned(),
        );
        Self { socket, client }
    }

    /// Asks, answers one challenge, and returns the error code of the last answer, 0 for success.
    pub(crate) async fn ask(&mut self, method: Method, build: impl Fn(&mut Writer<'_>)) -> u16 {
        let mut code = 0;
        for _ in 0..2 {
            let request = self.client.request(method, &build);
            let answer = tokio::time::timeout(PATIENCE, self.answer_to(&request)).await;
            let answer = answer.expect("an answer");
            code = Message::parse(&answer)
                .unwrap()
                .error_code()
                .map_or(0, |error| error.code);
            let had_nonce = self.client.nonce.is_some();
            if !self.client.take_challenge(&answer) || (had_nonce && code == 401) {
                break;
            }
        }
        code
    }

    /// Sends a request until an answer comes to it.
    async fn answer_to(&self, request: &[u8]) -> Vec<u8> {
        let mut answer = [0; 1_500];
        loop {
            self.socket.send(request).await.unwrap();
            let received = tokio::time::timeout(RETRANSMISSION, self.socket.recv(&mut answer));
            let Ok(len) = received.await.map(Result::unwrap) else {
                continue;
            };
            // A late answer to another request is none to this one.
            if answer[8..20] == request[8..20] {
                return answer[..len].to_vec();
            }
        }
    }

    pub(crate) async fn allocate(&mut self) -> u16 {
        let udp = |writer: &mut Writer<'_>| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        };
        self.ask(Method::ALLOCATE, udp).await
    }

    /// Asks for a permission for a foreign peer, for which a relay socket is opened; nothing is sent to it.
    pub(crate) async fn permit_foreign(&mut self) -> u16 {
        let peer = SocketAddr::from(([8, 8, 8, 8], 9));
        let named = |writer: &mut Writer<'_>| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        };
        self.ask(Method::CREATE_PERMISSION, named).await
    }

    pub(crate) async fn refresh(&mut self, seconds: u32) -> u16 {
        let lifetime = |writer: &mut Writer<'_>| {
            writer.attribute(AttributeType::LIFETIME, &seconds.to_be_bytes());
        };
        self.ask(Method::REFRESH, lifetime).await
    }
}

/// A user name that is good for an hour, and its password under `secret`.
pub(crate) fn minted(secret: &str, name: &str) -> (String, String) {
    let expiry = hanok::units::clock::wall_ms() / 1_000 + 3_600;
    let username = format!("{expiry}:{name}");
    let password = turn_credential::password(&Secret::new(secret), &username);
    (username, password)
}

fn secrets(secrets: &[&str]) -> Vec<Secret> {
    secrets.iter().map(|secret| Secret::new(*secret)).collect()
}

pub(crate) fn two_workers(config: &mut Config) {
    config.media.workers = Workers::Count(NonZeroUsize::new(2).unwrap());
    config.turn.secrets = secrets(&["north"]);
}

/// Joins; returns the client and what the reply says.
async fn join(house: &House) -> (Client, Value) {
    let session = house.session().await;
    let token = house.token(&session, "PUBLISHER").await;
    let mut client = Client::open(house.plain()).await.unwrap();
    let joined = client.join(&token).await.unwrap();
    (client, joined)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_credential_of_a_join_allocates_until_its_owner_leaves() {
    let house = House::with(two_workers).await;
    let (owner, joined) = join(&house).await;
    let (username, password) = (
        text(&joined, "turnUsername"),
        text(&joined, "turnCredential"),
    );
    let servers = joined["customIceServers"].as_array().unwrap();
    let address = format!(
        "turn:{}:{}",
        text(&joined, "coturnIp"),
        house.config.turn.port
    );
    let urls: Vec<_> = servers.iter().map(|server| text(server, "url")).collect();
    assert_eq!(urls, [address.clone(), format!("{address}?transport=tcp")]);
    assert!(servers.iter().all(|server| {
        text(server, "username") == username && text(server, "credential") == password
    }));

    // Several clients, so that both workers have some.
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Relayed::new(&house, username, password).await;
        assert_eq!(client.allocate().await, 0);
        clients.push(client);
    }
    let (name, password_of_another) = minted("north", "another");
    let mut another = Relayed::new(&house, &name, &password_of_another).await;
    assert_eq!(another.allocate().await, 0);
    assert_eq!(house.daemon.turn().allocations().await.unwrap().len(), 7);

    owner.leave().await.unwrap();
    eventually("the owner's allocations end", async || {
        let left = house.daemon.turn().allocations().await.unwrap();
        left.len() == 1 && left[0].username == name
    })
    .await;
    for client in &mut clients {
        assert_eq!(client.allocate().await, 401, "an old socket");
    }
    let mut again = Relayed::new(&house, username, password).await;
    assert_eq!(again.allocate().await, 401, "a new socket");
    assert_eq!(another.refresh(600).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_left_stays_out_over_a_restart_and_whom_the_restart_sent_away_does_not() {
    let state = tempfile::tempdir().unwrap();
    let open = async || {
        let folder = State::Folder(state.path().to_owned());
        House::with(|config| {
            two_workers(config);
            config.state = folder;
        })
        .await
    };
    let credential = |joined: &Value| {
        let text = |key| text(joined, key).to_owned();
        (text("turnUsername"), text("turnCredential"))
    };
    let house = open().await;
    let (leaver, joined) = join(&house).await;
    let left = credential(&joined);
    let (_stayer, joined) = join(&house).await;
    let stayed = credential(&joined);
    leaver.leave().await.unwrap();
    let mut client = Relayed::new(&house, &left.0, &left.1).await;
    eventually("it is revoked", async || client.allocate().await == 401).await;
    house.daemon.stop().await;

    let house = open().await;
    for ((name, password), code) in [(&left, 401), (&stayed, 0)] {
        let mut client = Relayed::new(&house, name, password).await;
        assert_eq!(client.allocate().await, code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_secrets_keeps_the_old_one_good_for_as_long_as_it_is_listed() {
    let house = House::with(two_workers).await;
    let (_owner, joined) = join(&house).await;
    let old = (
        text(&joined, "turnUsername").to_owned(),
        text(&joined, "turnCredential").to_owned(),
    );
    let mut lasting = Relayed::new(&house, &old.0, &old.1).await;
    assert_eq!(lasting.allocate().await, 0);

    let mut config = house.config.clone();
    config.turn.secrets = secrets(&["south", "north"]);
    house.daemon.reload(&config).await.unwrap();
    let (_owner, joined) = join(&house).await;
    let new = (
        text(&joined, "turnUsername").to_owned(),
        text(&joined, "turnCredential").to_owned(),
    );
    let made = turn_credential::password(&Secret::new("south"), &new.0);
    assert_eq!(new.1, made, "the first one mints");
    for (name, password) in [&old, &new] {
        let mut client = Relayed::new(&house, name, password).await;
        assert_eq!(client.allocate().await, 0);
    }

    config.turn.secrets = secrets(&["south"]);
    house.daemon.reload(&config).await.unwrap();
    for ((name, password), code) in [(&old, 401), (&new, 0)] {
        let mut client = Relayed::new(&house, name, password).await;
        assert_eq!(client.allocate().await, code);
    }
    assert_eq!(lasting.refresh(600).await, 0, "what lives goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_quota_holds_over_all_workers_and_leaves_others_alone() {
    let house = House::with(|config| {
        two_workers(config);
        config.turn.limits.user_quota = 3;
    })
    .await;
    let witness = Witness::begin(&house).await;
    let (name, password) = minted("north", "greedy");
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(Relayed::new(&house, &name, &password).await);
    }
    let mut codes = Vec::new();
    for client in &mut clients {
        codes.push(client.allocate().await);
    }
    assert_eq!(codes, [0, 0, 0, 486, 486, 486, 486, 486, 486, 486]);
    let (name, password) = minted("north", "modest");
    let mut modest = Relayed::new(&house, &name, &password).await;
    assert_eq!(modest.allocate().await, 0);
    assert_eq!(clients[0].refresh(0).await, 0);
    assert_eq!(clients[9].allocate().await, 0, "what was given back");
    let counters = house.daemon.turn().counters().await.unwrap();
    assert_eq!((counters.allocations, counters.over_quota), (5, 7));
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_is_508_for_new_clients_alone_and_ports_come_back() {
    let house = House::with(|config| {
        two_workers(config);
        config.media.workers = Workers::Count(NonZeroUsize::MIN);
        config.turn.relay_ports = PortRange::new(33_000, 33_003).unwrap();
    })
    .await;
    let witness = Witness::begin(&house).await;
    let mut clients = Vec::new();
    let mut codes = Vec::new();
    for number in 0..6 {
        let (name, password) = minted("north", &number.to_string());
        let mut client = Relayed::new(&house, &name, &password).await;
        codes.push(client.allocate().await);
        clients.push(client);
    }
    assert_eq!(codes, [0, 0, 0, 0, 508, 508]);
    assert_eq!(clients[0].refresh(600).await, 0);
    assert_eq!(clients[1].refresh(0).await, 0);
    assert_eq!(clients[4].allocate().await, 0);
    assert_eq!(clients[5].allocate().await, 508);
    let counters = house.daemon.turn().counters().await.unwrap();
    assert_eq!(counters.out_of_ports, 3);
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_ends_and_drains_allocations() {
    let house = House::with(two_workers).await;
    let turn = house.daemon.turn();
    let mut clients = Vec::new();
    for number in 0..4 {
        let (name, password) = minted("north", &number.to_string());
        let mut client = Relayed::new(&house, &name, &password).await;
        assert_eq!(client.allocate().await, 0);
        clients.push(client);
    }
    let listed = turn.allocations().await.unwrap();
    assert_eq!(listed.len(), 4);
    let shown = |client: &Relayed| {
        let found = listed
            .iter()
            .find(|it| it.client == client.client.five_tuple.client);
        found.expect("it is listed").clone()
    };
    let first = shown(&clients[0]);
    assert_eq!(first.username, clients[0].client.username);
    assert_eq!((&*first.protocol, first.relayed.len()), ("udp", 1));
    let port = first.relayed[0].port();
    assert!(house.config.turn.relay_ports.contains(port), "{port}");
    assert!((1..=600).contains(&first.expires_in_secs));

    assert_eq!(turn.kick(&first.id).await, Ok(true));
    assert_eq!(turn.kick(&first.id).await, Ok(false), "only once");
    assert_eq!(clients[0].refresh(600).await, 437);
    assert_eq!(clients[0].allocate().await, 0, "who is kicked may return");

    turn.set_draining(true).await.unwrap();
    let (name, password) = minted("north", "late");
    let mut late = Relayed::new(&house, &name, &password).await;
    assert_eq!(late.allocate().await, 508);
    assert_eq!(clients[1].refresh(600).await, 0);
    turn.set_draining(false).await.unwrap();
    assert_eq!(late.allocate().await, 0);
    assert_eq!(turn.allocations().await.unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_disturb_nobody() {
    let house = House::with(two_workers).await;
    let (name, password) = minted("north", "steady");
    let mut steady = Relayed::new(&house, &name, &password).await;
    assert_eq!(steady.allocate().await, 0);
    let mut config = house.config.clone();
    for number in 0..1_000_u32 {
        config.turn.secrets = if number % 2 == 0 {
            secrets(&["south", "north"])
        } else {
            secrets(&["north"])
        };
        config.turn.limits.user_quota = 1 + number;
        house.daemon.reload(&config).await.unwrap();
        if number % 100 == 0 {
            assert_eq!(steady.refresh(600).await, 0);
        }
    }
    let mut another = Relayed::new(&house, &name, &password).await;
    assert_eq!(another.allocate().await, 0);
}
