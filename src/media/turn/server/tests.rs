//! The server as its clients see it.

mod peer_matrix;
mod unpredictable;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::media::stun::{IntegrityKey, PasswordAlgorithm, user_hash};
use crate::media::turn::{CHANNEL_LIFETIME, PERMISSION_LIFETIME};
use crate::testing::t0;
use crate::testing::turn::{REALM, TurnClient, WALL_CLOCK, secret, written};
use crate::units::Secret;

const ID: TransactionId = TransactionId([5; 12]);
const FOREIGN: &str = "8.8.8.8:1000";
const WORKER: &str = "198.51.100.1:40000";

fn settings() -> Settings {
    Settings {
        credentials: Credentials::new(REALM).with_secrets(vec![Secret::new("old"), secret()]),
        relays: vec![
            RelayAddress {
                bound: "10.0.0.5".parse().unwrap(),
                told: "198.51.100.1".parse().unwrap(),
            },
            RelayAddress {
                bound: "2a0f::1".parse().unwrap(),
                told: "2a0f::1".parse().unwrap(),
            },
        ],
        ports: PortRange::new(57_001, 57_032).unwrap(),
        worker_ports: vec![40_000],
        ..Settings::stun_only()
    }
}

fn server_with(settings: Settings) -> Server {
    let mut server = Server::new(t0(), settings, Random::seeded(3));
    server.set_wall_clock(t0(), WALL_CLOCK);
    server
}

fn server() -> Server {
    server_with(settings())
}

fn stun_server() -> Server {
    server_with(Settings::stun_only())
}

fn client(port: u16) -> TurnClient {
    let addr = SocketAddr::from(([203, 0, 113, 7], port));
    TurnClient::new(Protocol::Udp, addr, "alice")
}

fn input(server: &mut Server, now: Instant, from: FiveTuple, bytes: &[u8]) -> Action {
    let mut out = [0xee; MAX_ANSWER_LEN];
    let action = server.handle_input(now, from, bytes, &mut out);
    server.assert_sound(now);
    action
}

fn answer(server: &mut Server, now: Instant, from: FiveTuple, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = [0xee; MAX_ANSWER_LEN];
    let action = server.handle_input(now, from, bytes, &mut out);
    server.assert_sound(now);
    match action {
        Action::Reply { len } => Some(out[..len].to_vec()),
        Action::Nothing => None,
        Action::Forward(forward) => panic!("forwarded: {forward:?}"),
    }
}

/// Asks until there is no challenge; the answer must be sealed.
fn ask(
    server: &mut Server,
    client: &mut TurnClient,
    now: Instant,
    method: Method,
    build: impl Fn(&mut Writer<'_>),
) -> Vec<u8> {
    for _ in 0..2 {
        let request = client.request(method, &build);
        let answered = answer(server, now, client.five_tuple, &request).expect("an answer");
        if !client.take_challenge(&answered) {
            let key = match client.algorithm {
                PasswordAlgorithm::Md5 => client.key().sha1_integrity(),
                PasswordAlgorithm::Sha256 => client.key().sha256_integrity(),
            };
            assert!(Message::parse(&answered).unwrap().is_authentic(&key));
            return answered;
        }
    }
    panic!("challenged twice");
}

fn udp(writer: &mut Writer<'_>) {
    writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
}

fn peer(at: &str) -> impl Fn(&mut Writer<'_>) + use<> {
    let at: SocketAddr = at.parse().unwrap();
    move |writer| writer.xor_address(AttributeType::XOR_PEER_ADDRESS, at)
}

fn channel(number: u16, at: &str) -> impl Fn(&mut Writer<'_>) + use<> {
    let peer = peer(at);
    move |writer| {
        let [high, low] = number.to_be_bytes();
        writer.attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0]);
        peer(writer);
    }
}

fn lifetime(secs: u32) -> impl Fn(&mut Writer<'_>) {
    move |writer| writer.attribute(AttributeType::LIFETIME, &secs.to_be_bytes())
}

fn code(answer: &[u8]) -> u16 {
    let message = Message::parse(answer).unwrap();
    message.error_code().map_or(0, |error| error.code)
}

fn value(answer: &[u8], kind: AttributeType) -> Option<Vec<u8>> {
    let message = Message::parse(answer).unwrap();
    Some(message.get(kind)?.value.to_vec())
}

fn secs(answer: &[u8]) -> u32 {
    u32::from_be_bytes(
        value(answer, AttributeType::LIFETIME)
            .unwrap()
            .try_into()
            .unwrap(),
    )
}

fn relayed(answer: &[u8]) -> SocketAddr {
    let message = Message::parse(answer).unwrap();
    message
        .xor_address(AttributeType::XOR_RELAYED_ADDRESS)
        .unwrap()
}

fn allocated(server: &mut Server, port: u16) -> (TurnClient, SocketAddr) {
    let mut client = client(port);
    let answered = ask(server, &mut client, t0(), Method::ALLOCATE, udp);
    assert_eq!(code(&answered), 0);
    (client, relayed(&answered))
}

/// With both families.
fn dual(server: &mut Server) -> TurnClient {
    let mut client = client(4_000);
    let answered = ask(server, &mut client, t0(), Method::ALLOCATE, |writer| {
        udp(writer);
        writer.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    assert_eq!(code(&answered), 0);
    client
}

fn send(server: &mut Server, client: &mut TurnClient, now: Instant, to: &str) -> Action {
    let to = to.parse().unwrap();
    let datagram = client.indication(|writer| {
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, to);
        writer.attribute(AttributeType::DATA, b"payload");
    });
    let action = input(server, now, client.five_tuple, &datagram);
    if let Action::Forward(forward) = &action {
        assert_eq!(&datagram[forward.data.clone()], b"payload");
    }
    action
}

fn outputs(server: &mut Server) -> Vec<Output> {
    std::iter::from_fn(|| server.poll_output()).collect()
}

// ---- Binding ----------------------------------------------------------------------------------------------------

fn request(method: Method, build: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    written(Class::Request, method, ID, build)
}

fn bind(server: &mut Server, from: &str, datagram: &[u8]) -> Option<Vec<u8>> {
    let from = FiveTuple::new(
        Protocol::Udp,
        from.parse().unwrap(),
        ([198, 51, 100, 1], 3478).into(),
    );
    answer(server, t0(), from, datagram)
}

#[test]
fn a_binding_answer_is_32_or_44_bytes_and_carries_the_mapped_address() {
    let bare = request(Method::BINDING, |_| {});
    for (from, seen, len) in [
        ("192.0.2.1:4000", "192.0.2.1:4000", 32),
        ("[::ffff:192.0.2.1]:4000", "192.0.2.1:4000", 32),
        ("[2001:db8::1]:4000", "[2001:db8::1]:4000", 44),
    ] {
        let answer = bind(&mut server(), from, &bare).unwrap();
        assert_eq!(answer.len(), len);
        let message = Message::parse(&answer).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.transaction_id(), ID);
        assert_eq!(message.xor_mapped_address(), Some(seen.parse().unwrap()));
    }
}

#[test]
fn a_fingerprint_is_answered_with_one() {
    let sealed = request(Method::BINDING, |writer| writer.fingerprint());
    let answer = bind(&mut server(), "192.0.2.1:4000", &sealed).unwrap();
    assert_eq!(answer.len(), 40);
    assert_eq!(
        Message::parse(&answer).unwrap().fingerprint(),
        Fingerprint::Valid
    );
    let mut broken = sealed;
    broken[27] ^= 1;
    assert_eq!(bind(&mut server(), "192.0.2.1:4000", &broken), None);
}

#[test]
fn without_relays_an_allocation_is_forbidden_in_as_few_bytes_as_it_asked_with() {
    let allocate = request(Method::ALLOCATE, udp);
    let answer = bind(&mut stun_server(), "192.0.2.1:4000", &allocate).unwrap();
    assert_eq!((allocate.len(), answer.len()), (28, 28));
    assert_eq!(code(&answer), 403);
}

#[test]
fn unknown_required_attributes_are_named_and_bounded() {
    let many = request(Method::BINDING, |writer| {
        for kind in 0..200 {
            writer.attribute(AttributeType(0x7000 + kind), &[]);
        }
        writer.attribute(AttributeType(0x9999), &[]);
        writer.fingerprint();
    });
    let answer = bind(&mut server(), "192.0.2.1:4000", &many).unwrap();
    assert!(answer.len() <= 64);
    assert_eq!(code(&answer), 420);
    let listed = value(&answer, AttributeType::UNKNOWN_ATTRIBUTES).unwrap();
    assert_eq!(listed.len(), 16);
    assert_eq!(listed[..4], [0x70, 0x00, 0x70, 0x01]);
}

#[test]
fn indications_answers_unknown_methods_and_noise_get_silence() {
    let mut server = server();
    for class in [Class::Indication, Class::Success, Class::Error] {
        let message = written(class, Method::BINDING, ID, |_| {});
        assert_eq!(bind(&mut server, "192.0.2.1:4000", &message), None);
    }
    let unknown = request(Method::new(0x00f), |_| {});
    assert_eq!(bind(&mut server, "192.0.2.1:4000", &unknown), None);
    for noise in [&b""[..], b"\0", b"GET / HTTP/1.1\r\n\r\n", &[0x40; 40]] {
        assert_eq!(bind(&mut server, "192.0.2.1:4000", noise), None);
    }
    assert_eq!(server.counters().ignored, 8);
}

#[test]
fn a_flood_from_one_source_never_gets_more_than_it_sent_over_ten_seconds() {
    for (method, build) in [
        (Method::BINDING, None),
        (Method::ALLOCATE, Some(udp as fn(&mut Writer<'_>))),
    ] {
        let mut server = server();
        let bare = request(method, |writer| {
            if let Some(build) = build {
                build(writer);
            }
        });
        let mut out = [0; MAX_ANSWER_LEN];
        let from = client(1).five_tuple;
        let (mut bytes_in, mut bytes_out) = (0, 0);
        for packet in 0..500_000u32 {
            let now = t0() + Duration::from_micros(20) * packet;
            bytes_in += bare.len();
            if let Action::Reply { len } = server.handle_input(now, from, &bare, &mut out) {
                bytes_out += len;
            }
        }
        assert!(bytes_out <= bytes_in, "{bytes_out} > {bytes_in}");
        assert!(bytes_out > 64 * 1024, "the budget itself was answered");
        assert!(server.counters().over_budget > 400_000);
        let now = t0() + Duration::from_secs(10);
        assert!(bind(&mut server, "192.0.2.2:4000", &bare).is_some());
        assert_eq!(server.allocations(now).count(), 0);
    }
}

// ---- credentials ------------------------------------------------------------------------------------------------

#[test]
fn a_challenge_has_at_most_96_bytes_and_leaves_nothing_behind() {
    let mut server = server();
    let bare = request(Method::ALLOCATE, |writer| {
        udp(writer);
        writer.fingerprint();
    });
    let challenge = answer(&mut server, t0(), client(1).five_tuple, &bare).unwrap();
    assert_eq!((code(&challenge), challenge.len()), (401, 96));
    assert_eq!(
        value(&challenge, AttributeType::REALM).unwrap(),
        REALM.as_bytes()
    );
    assert_eq!(
        value(&challenge, AttributeType::PASSWORD_ALGORITHMS).unwrap(),
        [0, 2, 0, 0, 0, 1, 0, 0]
    );
    assert_eq!(server.allocations(t0()).count(), 0);
    assert_eq!(server.poll_timeout(), None);
}

#[test]
fn every_way_of_proving_oneself_works_and_is_answered_in_kind() {
    let users = BTreeMap::from([("bob".to_owned(), Secret::new("builder"))]);
    let mut settings = settings();
    settings.credentials = settings.credentials.with_users(users);
    let mut server = server_with(settings);
    for (port, algorithm) in [(1, PasswordAlgorithm::Md5), (2, PasswordAlgorithm::Sha256)] {
        let mut client = client(port);
        client.algorithm = algorithm;
        let answered = ask(&mut server, &mut client, t0(), Method::ALLOCATE, udp);
        assert_eq!(code(&answered), 0);
    }
    let mut bob = client(3);
    (bob.username, bob.password) = ("bob".into(), "builder".into());
    let answered = ask(&mut server, &mut bob, t0(), Method::ALLOCATE, udp);
    assert_eq!(code(&answered), 0);
    // The same user by USERHASH.
    let mut bob = client(4);
    (bob.username, bob.password) = ("bob".into(), "builder".into());
    let bare = bob.request(Method::ALLOCATE, udp);
    let challenge = answer(&mut server, t0(), bob.five_tuple, &bare).unwrap();
    assert!(bob.take_challenge(&challenge));
    let hashed = request(Method::ALLOCATE, |writer| {
        udp(writer);
        writer.attribute(AttributeType::USERHASH, &user_hash("bob", REALM));
        writer.attribute(AttributeType::REALM, REALM.as_bytes());
        writer.attribute(AttributeType::NONCE, bob.nonce.as_ref().unwrap());
        writer.integrity(&bob.key().sha1_integrity());
    });
    let answered = answer(&mut server, t0(), bob.five_tuple, &hashed).unwrap();
    assert_eq!(code(&answered), 0);
    assert_eq!(server.allocations(t0()).count(), 4);
}

#[test]
fn a_wrong_expired_revoked_or_absurd_credential_is_refused_with_401() {
    let mut server = server();
    server.revoke(t0(), &client(0).username);
    let expired = format!("{}:x", WALL_CLOCK);
    let password = |name: &str| crate::units::turn_credential::password(&secret(), name);
    let long = "9".repeat(509);
    let wide = format!("{}:é\0:", WALL_CLOCK + 10);
    for (name, password, expected) in [
        (client(0).username, client(0).password, 401),
        (expired.clone(), password(&expired), 401),
        (long.clone(), password(&long), 401),
        ("alice".to_owned(), String::new(), 401),
        (wide.clone(), password(&wide), 0),
        (wide.clone(), "wrong".to_owned(), 401),
    ] {
        let mut client = client(1);
        (client.username, client.password) = (name, password);
        let bare = client.request(Method::ALLOCATE, udp);
        let challenge = answer(&mut server, t0(), client.five_tuple, &bare).unwrap();
        assert!(client.take_challenge(&challenge));
        let sealed = client.request(Method::ALLOCATE, udp);
        let answered = answer(&mut server, t0(), client.five_tuple, &sealed).unwrap();
        assert_eq!(code(&answered), expected, "{}", client.username);
    }
}

#[test]
fn a_nonce_of_another_client_or_an_hour_old_is_stale() {
    let mut server = server();
    let (first, _) = allocated(&mut server, 1);
    let mut second = client(2);
    second.nonce = first.nonce.clone();
    let replayed = second.request(Method::ALLOCATE, udp);
    let answered = answer(&mut server, t0(), second.five_tuple, &replayed).unwrap();
    assert_eq!(code(&answered), 438);
    assert!(answered.len() <= 96);
    assert!(value(&answered, AttributeType::NONCE).is_some());
    let later = t0() + Duration::from_secs(3_600);
    let mut first = first;
    let old = first.request(Method::REFRESH, |_| {});
    let answered = answer(&mut server, later, first.five_tuple, &old).unwrap();
    assert_eq!(code(&answered), 438);
}

#[test]
fn incomplete_or_weakened_credentials_are_refused_with_400() {
    let mut server = server();
    let (client, _) = allocated(&mut server, 1);
    let nonce = client.nonce.clone().unwrap();
    type Build<'a> = &'a dyn Fn(&mut Writer<'_>);
    let name: Build<'_> = &|writer| {
        writer.attribute(AttributeType::USERNAME, client.username.as_bytes());
    };
    let realm: Build<'_> = &|writer| writer.attribute(AttributeType::REALM, REALM.as_bytes());
    let fresh: Build<'_> = &|writer| writer.attribute(AttributeType::NONCE, &nonce);
    let chosen: Build<'_> =
        &|writer| writer.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 1, 0, 0]);
    let weakened: Build<'_> =
        &|writer| writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &[0, 1, 0, 0]);
    let other: Build<'_> =
        &|writer| writer.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 3, 0, 0]);
    let offer: Build<'_> = &|writer| {
        writer.attribute(
            AttributeType::PASSWORD_ALGORITHMS,
            &[0, 2, 0, 0, 0, 1, 0, 0],
        );
    };
    for parts in [
        vec![realm, fresh],
        vec![name, fresh],
        vec![name, realm],
        vec![name, realm, fresh, chosen],
        vec![name, realm, fresh, offer],
        vec![name, realm, fresh, chosen, weakened],
        vec![name, realm, fresh, other, offer],
    ] {
        let message = request(Method::REFRESH, |writer| {
            parts.iter().for_each(|part| part(writer));
            writer.integrity(&client.key().sha1_integrity());
        });
        let answered = answer(&mut server, t0(), client.five_tuple, &message).unwrap();
        assert_eq!(code(&answered), 400);
        assert!(answered.len() <= 28);
    }
}

#[test]
fn another_user_on_the_same_five_tuple_is_refused_with_441() {
    let mut server = server();
    let (mut owner, _) = allocated(&mut server, 1);
    let mut other = TurnClient::new(Protocol::Udp, owner.five_tuple.client, "mallory");
    for method in [
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
    ] {
        let answered = ask(&mut server, &mut other, t0(), method, peer(FOREIGN));
        assert_eq!(code(&answered), 441);
    }
    let answered = ask(&mut server, &mut other, t0(), Method::ALLOCATE, udp);
    assert_eq!(code(&answered), 437);
    let answered = ask(&mut server, &mut owner, t0(), Method::REFRESH, |_| {});
    assert_eq!(code(&answered), 0);
}

#[test]
fn revoking_ends_allocations_and_refuses_the_name_but_a_rotation_does_not() {
    let mut server = server();
    let (mut client, at) = allocated(&mut server, 1);
    server.set_credentials(Credentials::new("").with_secrets(vec![Secret::new("new")]));
    let answered = ask(&mut server, &mut client, t0(), Method::REFRESH, |_| {});
    assert_eq!(code(&answered), 0);
    server.revoke(t0(), &client.username);
    assert_eq!(server.allocation_at(t0(), at), None);
    assert!(matches!(outputs(&mut server)[..], [Output::Ended { .. }]));
    let refresh = client.request(Method::REFRESH, |_| {});
    let answered = answer(&mut server, t0(), client.five_tuple, &refresh).unwrap();
    assert_eq!(code(&answered), 401);
}

// ---- Allocate and Refresh ---------------------------------------------------------------------------------------

#[test]
fn an_allocation_is_answered_with_its_addresses_and_lifetime() {
    let mut server = server();
    let mut client = client(1);
    let answered = ask(&mut server, &mut client, t0(), Method::ALLOCATE, udp);
    let at = relayed(&answered);
    assert_eq!(at.ip(), "198.51.100.1".parse::<IpAddr>().unwrap());
    assert!((57_001..=57_032).contains(&at.port()));
    assert_eq!(secs(&answered), 600);
    assert_eq!(
        Message::parse(&answered).unwrap().xor_mapped_address(),
        Some(client.five_tuple.client)
    );
    let id = server.allocation_at(t0(), at).unwrap();
    assert_eq!(server.allocation_of(&client.five_tuple), Some(id));
    let bound = SocketAddr::new("10.0.0.5".parse().unwrap(), at.port());
    assert_eq!(server.allocation_at(t0(), bound), Some(id));
    assert_eq!(outputs(&mut server), [], "no socket before a foreign peer");
    let (_, view) = server.allocations(t0()).next().unwrap();
    assert_eq!((view.relayed, &*view.protocol), (vec![at], "udp"));
}

#[test]
fn a_repeated_allocate_is_answered_identically_and_another_with_437() {
    let mut server = server();
    let mut client = client(1);
    let first = ask(&mut server, &mut client, t0(), Method::ALLOCATE, |writer| {
        udp(writer);
        writer.attribute(AttributeType::EVEN_PORT, &[0x80]);
    });
    client.next_id -= 1;
    let later = t0() + Duration::from_secs(5);
    let again = ask(
        &mut server,
        &mut client,
        later,
        Method::ALLOCATE,
        |writer| {
            udp(writer);
            writer.attribute(AttributeType::EVEN_PORT, &[0x80]);
        },
    );
    assert_eq!(first, again);
    assert_eq!(server.allocations(later).count(), 1);
    let other = ask(&mut server, &mut client, later, Method::ALLOCATE, udp);
    assert_eq!(code(&other), 437);
}

#[test]
fn what_an_allocate_may_not_ask_for() {
    type Attributes<'a> = &'a [(AttributeType, &'a [u8])];
    const TRANSPORT: (AttributeType, &[u8]) = (AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let table: &[(u16, Attributes<'_>)] = &[
        (400, &[]),
        (400, &[(AttributeType::REQUESTED_TRANSPORT, &[17])]),
        (442, &[(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0])]),
        (
            440,
            &[
                TRANSPORT,
                (AttributeType::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0]),
            ],
        ),
        (
            400,
            &[TRANSPORT, (AttributeType::REQUESTED_ADDRESS_FAMILY, &[1])],
        ),
        (
            400,
            &[
                TRANSPORT,
                (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0]),
            ],
        ),
        (
            400,
            &[
                TRANSPORT,
                (AttributeType::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]),
                (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
            ],
        ),
        (
            400,
            &[
                TRANSPORT,
                (AttributeType::EVEN_PORT, &[0x80]),
                (AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]),
            ],
        ),
        (400, &[TRANSPORT, (AttributeType::EVEN_PORT, &[])]),
        (
            400,
            &[
                TRANSPORT,
                (AttributeType::EVEN_PORT, &[0]),
                (AttributeType::RESERVATION_TOKEN, &[1; 8]),
            ],
        ),
        (
            400,
            &[
                TRANSPORT,
                (AttributeType::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]),
                (AttributeType::RESERVATION_TOKEN, &[1; 8]),
            ],
        ),
        (
            400,
            &[TRANSPORT, (AttributeType::RESERVATION_TOKEN, &[1; 7])],
        ),
        (
            508,
            &[TRANSPORT, (AttributeType::RESERVATION_TOKEN, &[1; 8])],
        ),
        (400, &[TRANSPORT, (AttributeType::LIFETIME, &[1])]),
        (420, &[TRANSPORT, (AttributeType(0x7fff), &[1])]),
        (
            0,
            &[
                TRANSPORT,
                (AttributeType::DONT_FRAGMENT, &[]),
                (AttributeType(0xc057), &[1]),
            ],
        ),
    ];
    for (expected, attributes) in table {
        let mut server = server();
        let answered = ask(
            &mut server,
            &mut client(1),
            t0(),
            Method::ALLOCATE,
            |writer| {
                for (kind, value) in *attributes {
                    writer.attribute(*kind, value);
                }
            },
        );
        assert_eq!(code(&answered), *expected, "{attributes:?}");
    }
}

#[test]
fn lifetimes_are_at_least_ten_minutes_and_at_most_an_hour() {
    let mut server = server();
    let (mut client, _) = allocated(&mut server, 1);
    for (asked, granted) in [(1, 600), (600, 600), (1_000, 1_000), (u32::MAX, 3_600)] {
        let answered = ask(
            &mut server,
            &mut client,
            t0(),
            Method::REFRESH,
            lifetime(asked),
        );
        assert_eq!(secs(&answered), granted);
        let at = t0() + Duration::from_secs(granted.into());
        assert_eq!(server.poll_timeout(), Some(at));
    }
    let answered = ask(&mut server, &mut client, t0(), Method::REFRESH, lifetime(0));
    assert_eq!(secs(&answered), 0);
    assert_eq!(server.allocations(t0()).count(), 0);
    let answered = ask(&mut server, &mut client, t0(), Method::REFRESH, lifetime(0));
    assert_eq!(code(&answered), 437);
}

#[test]
fn an_allocation_ends_at_its_lifetime_and_its_port_is_free_again() {
    let mut server = server();
    let (mut client, at) = allocated(&mut server, 1);
    let end = t0() + DEFAULT;
    server.handle_timeout(end - Duration::from_nanos(1));
    assert!(server.allocation_at(t0(), at).is_some());
    assert!(matches!(
        ask(
            &mut server,
            &mut client,
            t0(),
            Method::CREATE_PERMISSION,
            peer(FOREIGN)
        )[..],
        [1, 8, ..]
    ));
    let opened = outputs(&mut server);
    server.handle_timeout(end);
    server.assert_sound(end);
    let [Output::OpenRelay { allocation, bound }] = opened[..] else {
        panic!("{opened:?}");
    };
    assert_eq!(
        outputs(&mut server),
        [
            Output::CloseRelay { allocation, bound },
            Output::Ended {
                allocation,
                five_tuple: client.five_tuple
            }
        ]
    );
    assert_eq!(server.poll_timeout(), None);
    assert_eq!(
        server.handle_peer(end, allocation, FOREIGN.parse().unwrap(), 1),
        None
    );
}

const DEFAULT: Duration = Duration::from_secs(600);

#[test]
fn a_dual_allocation_has_two_addresses_that_end_one_by_one() {
    let mut server = server();
    let mut client = dual(&mut server);
    let (_, view) = server.allocations(t0()).next().unwrap();
    assert_eq!(view.relayed.len(), 2);
    let v6 = "[2a00:1450::1]:1000";
    for at in [FOREIGN, v6] {
        let done = ask(
            &mut server,
            &mut client,
            t0(),
            Method::CREATE_PERMISSION,
            peer(at),
        );
        assert_eq!(code(&done), 0);
    }
    let ended = ask(&mut server, &mut client, t0(), Method::REFRESH, |writer| {
        writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        lifetime(0)(writer);
    });
    assert_eq!(code(&ended), 0);
    assert_eq!(send(&mut server, &mut client, t0(), v6), Action::Nothing);
    assert!(matches!(
        send(&mut server, &mut client, t0(), FOREIGN),
        Action::Forward(_)
    ));
    let again = ask(&mut server, &mut client, t0(), Method::REFRESH, |writer| {
        writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    });
    assert_eq!(code(&again), 443);
    let permission = ask(
        &mut server,
        &mut client,
        t0(),
        Method::CREATE_PERMISSION,
        peer(v6),
    );
    assert_eq!(code(&permission), 443);
}

#[test]
fn of_two_families_one_is_enough_and_the_other_is_explained() {
    let mut settings = settings();
    settings.relays.truncate(1);
    let mut server = server_with(settings);
    let answered = ask(
        &mut server,
        &mut client(1),
        t0(),
        Method::ALLOCATE,
        |writer| {
            udp(writer);
            writer.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        },
    );
    assert_eq!(code(&answered), 0);
    assert_eq!(
        value(&answered, AttributeType::ADDRESS_ERROR_CODE).unwrap(),
        [2, 0, 4, 40]
    );
    let answered = ask(
        &mut server,
        &mut client(2),
        t0(),
        Method::ALLOCATE,
        |writer| {
            udp(writer);
            writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        },
    );
    assert_eq!(code(&answered), 440);
}

#[test]
fn a_reserved_port_waits_thirty_seconds_for_its_user() {
    let pair = |server: &mut Server, port| {
        let answered = ask(
            server,
            &mut client(port),
            t0(),
            Method::ALLOCATE,
            |writer| {
                udp(writer);
                writer.attribute(AttributeType::EVEN_PORT, &[0x80]);
            },
        );
        let token = value(&answered, AttributeType::RESERVATION_TOKEN).unwrap();
        (relayed(&answered).port(), token)
    };
    let mut server = server();
    let (even, token) = pair(&mut server, 1);
    assert_eq!(even % 2, 0);
    let redeem = |server: &mut Server, client: &mut TurnClient, now, token: &[u8]| {
        ask(server, client, now, Method::ALLOCATE, |writer| {
            udp(writer);
            writer.attribute(AttributeType::RESERVATION_TOKEN, token);
        })
    };
    let addr = "203.0.113.7:9".parse().unwrap();
    let mut mallory = TurnClient::new(Protocol::Udp, addr, "mallory");
    assert_eq!(code(&redeem(&mut server, &mut mallory, t0(), &token)), 508);
    let answered = redeem(&mut server, &mut client(2), t0(), &token);
    assert_eq!(relayed(&answered).port(), even + 1);
    assert_eq!(
        code(&redeem(&mut server, &mut client(3), t0(), &token)),
        508
    );
    let (_, token) = pair(&mut server, 4);
    let late = t0() + Duration::from_secs(30);
    assert_eq!(
        code(&redeem(&mut server, &mut client(5), late, &token)),
        508
    );
    server.handle_timeout(late);
    server.assert_sound(late);
}

#[test]
fn quotas_are_answered_with_486_and_an_empty_pool_with_508() {
    let mut settings = settings();
    settings.limits.allocations_per_user = 2;
    let mut server = server_with(settings);
    let (mut first, _) = allocated(&mut server, 1);
    allocated(&mut server, 2);
    let refused = ask(&mut server, &mut client(3), t0(), Method::ALLOCATE, udp);
    assert_eq!(code(&refused), 486);
    ask(&mut server, &mut first, t0(), Method::REFRESH, lifetime(0));
    allocated(&mut server, 3);
    let mut server = server_with(self::settings());
    for port in 1..=32 {
        allocated(&mut server, port);
    }
    let refused = ask(&mut server, &mut client(33), t0(), Method::ALLOCATE, udp);
    assert_eq!(code(&refused), 508);
    let end = t0() + DEFAULT;
    server.handle_timeout(end);
    let granted = ask(&mut server, &mut client(33), end, Method::ALLOCATE, udp);
    assert_eq!(code(&granted), 0);
    assert_eq!(
        (server.counters().over_quota, server.counters().out_of_ports),
        (0, 1)
    );
}

#[test]
fn a_port_that_another_process_has_is_left_alone() {
    let mut settings = settings();
    settings.ports = PortRange::new(57_001, 57_001).unwrap();
    let mut server = server_with(settings);
    let (mut client, _) = allocated(&mut server, 1);
    ask(
        &mut server,
        &mut client,
        t0(),
        Method::CREATE_PERMISSION,
        peer(FOREIGN),
    );
    let Some(Output::OpenRelay { bound, .. }) = server.poll_output() else {
        panic!("no socket is asked for");
    };
    server.relay_port_in_use(t0(), bound);
    server.assert_sound(t0());
    assert!(matches!(outputs(&mut server)[..], [Output::Ended { .. }]));
    let refused = ask(&mut server, &mut client, t0(), Method::ALLOCATE, udp);
    assert_eq!(code(&refused), 508);
    let later = server.poll_timeout().unwrap();
    server.handle_timeout(later);
    let granted = ask(&mut server, &mut client, later, Method::ALLOCATE, udp);
    assert_eq!(code(&granted), 0);
}

#[test]
fn without_descriptors_a_foreign_peer_is_refused_with_508_and_nothing_else_is() {
    let mut server = server();
    let (mut client, at) = allocated(&mut server, 1);
    let mut permit = |server: &mut Server, at| {
        let done = ask(
            server,
            &mut client,
            t0(),
            Method::CREATE_PERMISSION,
            peer(at),
        );
        code(&done)
    };
    assert_eq!(permit(&mut server, FOREIGN), 0);
    let [Output::OpenRelay { bound, .. }] = outputs(&mut server)[..] else {
        panic!("no socket is asked for");
    };
    server.relay_not_opened(bound);
    server.set_can_open(false);
    assert_eq!(permit(&mut server, FOREIGN), 508);
    assert_eq!(permit(&mut server, WORKER), 0, "needs no socket");
    assert!(outputs(&mut server).is_empty());
    server.set_can_open(true);
    assert_eq!(permit(&mut server, FOREIGN), 0);
    assert!(matches!(
        outputs(&mut server)[..],
        [Output::OpenRelay { .. }]
    ));
    server.set_can_open(false);
    assert_eq!(permit(&mut server, "9.9.9.9:9"), 0, "it is open already");
    assert!(server.allocation_at(t0(), at).is_some());
    server.assert_sound(t0());
}

#[test]
fn paths_of_workers_end_with_the_relayed_address_and_only_where_there_may_be_some() {
    let mut server = server();
    let (mut client, at) = allocated(&mut server, 1);
    for peer_at in [WORKER, FOREIGN] {
        let done = ask(
            &mut server,
            &mut client,
            t0(),
            Method::CREATE_PERMISSION,
            peer(peer_at),
        );
        assert_eq!(code(&done), 0);
    }
    send(&mut server, &mut client, t0(), FOREIGN);
    let (mut other, _) = allocated(&mut server, 2);
    outputs(&mut server);
    ask(&mut server, &mut other, t0(), Method::REFRESH, lifetime(0));
    assert!(matches!(outputs(&mut server)[..], [Output::Ended { .. }]));
    send(&mut server, &mut client, t0(), WORKER);
    ask(&mut server, &mut client, t0(), Method::REFRESH, lifetime(0));
    let ended = outputs(&mut server);
    assert!(
        ended.contains(&Output::PathsEnded { relayed: at }),
        "{ended:?}"
    );
}

#[test]
fn a_closed_stream_ends_its_allocation_and_draining_refuses_new_ones() {
    let mut server = server();
    let addr = "203.0.113.7:1".parse().unwrap();
    let mut client = TurnClient::new(Protocol::Tcp, addr, "alice");
    ask(&mut server, &mut client, t0(), Method::ALLOCATE, udp);
    assert_eq!(server.allocations(t0()).count(), 1);
    server.set_draining(true);
    let refused = ask(
        &mut server,
        &mut self::client(2),
        t0(),
        Method::ALLOCATE,
        udp,
    );
    assert_eq!(code(&refused), 508);
    let kept = ask(&mut server, &mut client, t0(), Method::REFRESH, |_| {});
    assert_eq!(code(&kept), 0);
    server.handle_closed_stream(t0(), &client.five_tuple);
    assert_eq!(server.allocations(t0()).count(), 0);
}

// ---- peers ------------------------------------------------------------------------------------------------------

#[test]
fn another_allocations_relayed_address_is_reached_inside_while_it_lives() {
    let mut server = server();
    let (mut a, a_at) = allocated(&mut server, 1);
    let (mut b, b_at) = allocated(&mut server, 2);
    let to_b = channel(0x4001, &b_at.to_string());
    let bound = ask(&mut server, &mut a, t0(), Method::CHANNEL_BIND, to_b);
    assert_eq!(code(&bound), 0);
    let Action::Forward(forward) = input(
        &mut server,
        t0(),
        a.five_tuple,
        &[0x40, 1, 0, 2, 7, 8, 0, 0],
    ) else {
        panic!("not forwarded");
    };
    assert_eq!((forward.via, forward.data.clone()), (Via::Allocation, 4..6));
    assert_eq!((forward.from, forward.to), (a_at, b_at));
    let id = server.allocation_at(t0(), forward.to).unwrap();
    // The other client has not permitted the first one yet.
    assert_eq!(server.handle_peer(t0(), id, forward.from, 2), None);
    let to_a = peer(&a_at.to_string());
    ask(&mut server, &mut b, t0(), Method::CREATE_PERMISSION, to_a);
    let arrived = server.handle_peer(t0(), id, forward.from, 2).unwrap();
    assert_eq!(arrived.to, b.five_tuple);
    assert_eq!(outputs(&mut server), []);
    ask(&mut server, &mut b, t0(), Method::REFRESH, lifetime(0));
    let gone = input(&mut server, t0(), a.five_tuple, &[0x40, 1, 0, 0]);
    assert_eq!(gone, Action::Nothing);
    assert_eq!(server.counters().dropped_own_port, 1);
}

#[test]
fn permissions_are_all_granted_or_none_and_bounded() {
    let mut settings = settings();
    settings.limits.permissions = 2;
    let mut server = server_with(settings);
    let (mut client, _) = allocated(&mut server, 1);
    let create = |server: &mut Server, client: &mut TurnClient, peers: &[&str]| {
        let answered = ask(server, client, t0(), Method::CREATE_PERMISSION, |writer| {
            peers.iter().for_each(|at| peer(at)(writer));
        });
        code(&answered)
    };
    assert_eq!(create(&mut server, &mut client, &[]), 400);
    assert_eq!(
        create(&mut server, &mut client, &["8.8.8.8:1", "10.1.1.1:1"]),
        403
    );
    assert_eq!(
        create(&mut server, &mut client, &["8.8.8.8:1", "[2a00::1]:1"]),
        443
    );
    assert_eq!(
        send(&mut server, &mut client, t0(), FOREIGN),
        Action::Nothing
    );
    assert_eq!(outputs(&mut server), []);
    let three = ["8.8.8.1:1", "8.8.8.2:1", "8.8.8.3:1"];
    assert_eq!(create(&mut server, &mut client, &three), 508);
    assert_eq!(create(&mut server, &mut client, &three[..2]), 0);
    assert_eq!(
        create(&mut server, &mut client, &["8.8.8.1:2", "8.8.8.2:3"]),
        0
    );
    assert_eq!(create(&mut server, &mut client, &three[2..]), 508);
    assert_eq!(outputs(&mut server).len(), 1, "one socket for all peers");
}

#[test]
fn channel_binds_that_are_refused() {
    let mut settings = settings();
    settings.limits.channels = 2;
    let mut server = server_with(settings);
    let (mut client, _) = allocated(&mut server, 1);
    for (number, at, expected) in [
        (0x3fff, FOREIGN, 400),
        (0x8000, FOREIGN, 400),
        (0x4000, "8.8.8.8:0", 400),
        (0x4000, FOREIGN, 0),
        (0x4000, FOREIGN, 0),
        (0x4000, "8.8.8.8:1001", 400),
        (0x4001, FOREIGN, 400),
        (0x4001, "8.8.8.8:1001", 0),
        (0x4002, "8.8.8.8:1002", 508),
    ] {
        let answered = ask(
            &mut server,
            &mut client,
            t0(),
            Method::CHANNEL_BIND,
            channel(number, at),
        );
        assert_eq!(code(&answered), expected, "{number:#x} {at}");
    }
    let without_peer = ask(
        &mut server,
        &mut client,
        t0(),
        Method::CHANNEL_BIND,
        |writer| {
            writer.attribute(AttributeType::CHANNEL_NUMBER, &[0x40, 1, 0, 0]);
        },
    );
    assert_eq!(code(&without_peer), 400);
    let stranger = ask(
        &mut server,
        &mut self::client(2),
        t0(),
        Method::CHANNEL_BIND,
        channel(0x4000, FOREIGN),
    );
    assert_eq!(code(&stranger), 437);
}

#[test]
fn a_reload_of_the_policy_ends_what_it_denies() {
    let mut server = server();
    let (mut client, _) = allocated(&mut server, 1);
    ask(
        &mut server,
        &mut client,
        t0(),
        Method::CHANNEL_BIND,
        channel(0x4000, FOREIGN),
    );
    server.set_policy(PeerPolicy {
        denied: vec!["8.8.8.0/24".parse().unwrap()],
        ..PeerPolicy::default()
    });
    let action = input(&mut server, t0(), client.five_tuple, &[0x40, 0, 0, 0]);
    assert_eq!(action, Action::Nothing);
    let refused = ask(
        &mut server,
        &mut client,
        t0(),
        Method::CREATE_PERMISSION,
        peer(FOREIGN),
    );
    assert_eq!(code(&refused), 403);
}

// ---- data -------------------------------------------------------------------------------------------------------

#[test]
fn data_for_a_client_comes_by_channel_or_as_an_indication() {
    let mut server = server();
    let (mut client, at) = allocated(&mut server, 1);
    let id = server.allocation_at(t0(), at).unwrap();
    let from: SocketAddr = FOREIGN.parse().unwrap();
    assert_eq!(server.handle_peer(t0(), id, from, 5), None);
    ask(
        &mut server,
        &mut client,
        t0(),
        Method::CREATE_PERMISSION,
        peer(FOREIGN),
    );
    let arrived = server.handle_peer(t0(), id, from, 5).unwrap();
    let mut whole = arrived.header().to_vec();
    whole.extend(b"hello");
    whole.resize(whole.len() + arrived.padding, 0);
    let message = Message::parse(&whole).unwrap();
    assert_eq!(message.method(), Method::DATA);
    assert_eq!(
        message.xor_address(AttributeType::XOR_PEER_ADDRESS),
        Some(from)
    );
    assert_eq!(message.get(AttributeType::DATA).unwrap().value, b"hello");
    ask(
        &mut server,
        &mut client,
        t0(),
        Method::CHANNEL_BIND,
        channel(0x4abc, FOREIGN),
    );
    let arrived = server.handle_peer(t0(), id, from, 5).unwrap();
    assert_eq!(arrived.header(), [0x4a, 0xbc, 0, 5]);
    assert_eq!(arrived.padding, 0);
    let other_port = SocketAddr::new(from.ip(), 2_000);
    let arrived = server.handle_peer(t0(), id, other_port, 5).unwrap();
    assert_eq!(arrived.header().len(), 36);
    // A permission ends before its channel; what comes back needs one.
    let later = t0() + PERMISSION_LIFETIME;
    assert_eq!(server.handle_peer(later, id, from, 5), None);
    assert!(matches!(
        input(&mut server, later, client.five_tuple, &[0x4a, 0xbc, 0, 0]),
        Action::Forward(_)
    ));
    ask(
        &mut server,
        &mut client,
        later,
        Method::REFRESH,
        lifetime(3_600),
    );
    let end = t0() + CHANNEL_LIFETIME;
    let late = input(&mut server, end, client.five_tuple, &[0x4a, 0xbc, 0, 0]);
    assert_eq!(late, Action::Nothing);
}

#[test]
fn channel_data_is_padded_for_streams_only() {
    let mut server = server();
    let addr = "203.0.113.7:1".parse().unwrap();
    let mut client = TurnClient::new(Protocol::Tls, addr, "alice");
    let answered = ask(&mut server, &mut client, t0(), Method::ALLOCATE, udp);
    let id = server.allocation_at(t0(), relayed(&answered)).unwrap();
    ask(
        &mut server,
        &mut client,
        t0(),
        Method::CHANNEL_BIND,
        channel(0x4000, FOREIGN),
    );
    for (len, padding) in [(0, 0), (1, 3), (2, 2), (3, 1), (4, 0)] {
        let arrived = server
            .handle_peer(t0(), id, FOREIGN.parse().unwrap(), len)
            .unwrap();
        assert_eq!(arrived.padding, padding);
    }
    assert_eq!(
        server.handle_peer(t0(), id, FOREIGN.parse().unwrap(), 65_536),
        None
    );
}

#[test]
fn bandwidth_is_bounded_in_both_directions_together() {
    let mut settings = settings();
    settings.limits.allocation_bytes_per_sec = Some(1_000);
    let mut server = server_with(settings);
    let (mut client, at) = allocated(&mut server, 1);
    let id = server.allocation_at(t0(), at).unwrap();
    ask(
        &mut server,
        &mut client,
        t0(),
        Method::CHANNEL_BIND,
        channel(0x4000, FOREIGN),
    );
    let from = FOREIGN.parse().unwrap();
    assert!(server.handle_peer(t0(), id, from, 999).is_some());
    let data = [0x40, 0, 0, 1, 9];
    assert!(matches!(
        input(&mut server, t0(), client.five_tuple, &data),
        Action::Forward(_)
    ));
    let over = input(&mut server, t0(), client.five_tuple, &data);
    assert_eq!(over, Action::Nothing);
    assert_eq!(server.handle_peer(t0(), id, from, 1), None);
    assert_eq!(server.counters().dropped_over_rate, 2);
    let (_, view) = server.allocations(t0()).next().unwrap();
    assert_eq!((view.bytes_to_client, view.bytes_to_peers), (999, 1));
}

#[test]
fn the_first_peer_of_a_send_counts_and_dont_fragment_is_passed_on() {
    let mut server = server();
    let (mut client, _) = allocated(&mut server, 1);
    ask(
        &mut server,
        &mut client,
        t0(),
        Method::CREATE_PERMISSION,
        peer(FOREIGN),
    );
    let datagram = client.indication(|writer| {
        peer(FOREIGN)(writer);
        peer("9.9.9.9:9")(writer);
        writer.attribute(AttributeType::DATA, b"abc");
        writer.attribute(AttributeType::DONT_FRAGMENT, &[]);
    });
    let Action::Forward(forward) = input(&mut server, t0(), client.five_tuple, &datagram) else {
        panic!("not forwarded");
    };
    assert_eq!(forward.to, FOREIGN.parse().unwrap());
    assert!(forward.dont_fragment);
    assert_eq!(&datagram[forward.data], b"abc");
}

// ---- hostile input ----------------------------------------------------------------------------------------------

#[test]
fn messages_cut_anywhere_or_with_thousands_of_attributes_do_no_harm() {
    let mut server = server();
    let (mut client, _) = allocated(&mut server, 1);
    let whole = client.request(Method::CHANNEL_BIND, channel(0x4000, FOREIGN));
    for len in 0..whole.len() {
        let mut cut = whole[..len].to_vec();
        let _ = input(&mut server, t0(), client.five_tuple, &cut);
        if let Some(field) = cut.get_mut(2..4) {
            field.copy_from_slice(&(len.saturating_sub(20) as u16).to_be_bytes());
        }
        let _ = input(&mut server, t0(), client.five_tuple, &cut);
    }
    let (_, view) = server.allocations(t0()).next().unwrap();
    assert_eq!(view.channels, 0, "no part of the request was carried out");
    let mut buffer = vec![0; 65_000];
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::CREATE_PERMISSION, ID);
    writer.attribute(AttributeType::USERNAME, client.username.as_bytes());
    writer.attribute(AttributeType::REALM, REALM.as_bytes());
    writer.attribute(AttributeType::NONCE, client.nonce.as_ref().unwrap());
    for index in 0..2_000 {
        let at = SocketAddr::from(([8, 8, (index >> 8) as u8, index as u8], 1));
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, at);
    }
    writer.integrity(&client.key().sha1_integrity());
    let len = writer.finish().unwrap();
    let answered = answer(&mut server, t0(), client.five_tuple, &buffer[..len]).unwrap();
    assert_eq!(code(&answered), 508);
}

#[test]
fn no_answer_shows_what_the_buffer_held() {
    // `answer` fills the buffer with 0xee; no attribute value of these answers has that byte by itself at its end.
    let mut server = server();
    let mut client = client(1);
    client.nonce = None;
    let bare = client.request(Method::ALLOCATE, udp);
    let challenge = answer(&mut server, t0(), client.five_tuple, &bare).unwrap();
    let message = Message::parse(&challenge).unwrap();
    let mut padding = 0;
    for attribute in message.attributes() {
        let end = attribute.range().end;
        let zeros = &challenge[end..end.next_multiple_of(4)];
        assert!(zeros.iter().all(|byte| *byte == 0));
        padding += zeros.len();
    }
    assert_eq!(padding, 6);
}

#[test]
fn a_key_that_is_almost_right_opens_nothing() {
    let mut server = server();
    let (mut client, _) = allocated(&mut server, 1);
    for key in [
        IntegrityKey::short_term(&client.password),
        IntegrityKey::from_bytes(&[]),
        client.key().sha256_integrity(),
    ] {
        let nonce = client.nonce.clone().unwrap();
        let name = client.username.clone();
        client.nonce = None;
        let bare = client.request(Method::REFRESH, |writer| {
            lifetime(0)(writer);
            writer.attribute(AttributeType::USERNAME, name.as_bytes());
            writer.attribute(AttributeType::REALM, REALM.as_bytes());
            writer.attribute(AttributeType::NONCE, &nonce);
            writer.integrity(&key);
        });
        client.nonce = Some(nonce);
        // The last key is right, and so is the attribute that it makes.
        let answered = answer(&mut server, t0(), client.five_tuple, &bare).unwrap();
        let is_right = Message::parse(&bare)
            .unwrap()
            .has(AttributeType::MESSAGE_INTEGRITY_SHA256);
        assert_eq!(code(&answered), if is_right { 0 } else { 401 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_list_of_operations_keeps_the_state_sound(
        operations in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        crate::testing::fuzz::turn_server(&operations);
    }

    #[test]
    fn any_datagram_gets_a_bounded_answer_or_none(
        datagram in proptest::collection::vec(any::<u8>(), 0..200),
        room in 0usize..80,
    ) {
        let mut out = vec![0; room];
        let action = server().handle_input(t0(), client(1).five_tuple, &datagram, &mut out);
        let bounded = match action {
            Action::Reply { len } => len <= room,
            Action::Nothing => true,
            Action::Forward(_) => false,
        };
        prop_assert!(bounded);
    }
}

#[test]
fn a_workers_port_is_never_a_relayed_one() {
    let mut server = server_with(Settings {
        ports: PortRange::new(40_000, 40_002).unwrap(),
        ..settings()
    });
    let mut relayed: Vec<u16> = (1..=2)
        .map(|port| allocated(&mut server, port).1.port())
        .collect();
    relayed.sort_unstable();
    assert_eq!(relayed, [40_001, 40_002], "40000 is a worker's");
    let refused = ask(&mut server, &mut client(3), t0(), Method::ALLOCATE, udp);
    assert_eq!(code(&refused), 508);
}

#[test]
fn servers_count_together_what_one_user_has() {
    let quotas = Arc::<Quotas>::default();
    let limits = Limits {
        allocations_per_user: 3,
        ..Limits::default()
    };
    let mut servers = [(); 2].map(|()| {
        server_with(Settings {
            quotas: quotas.clone(),
            limits,
            ..settings()
        })
    });
    let ask_for = |server: &mut Server, port| {
        let mut client = client(port);
        let mut out = [0; MAX_ANSWER_LEN];
        for _ in 0..2 {
            let request = client.request(Method::ALLOCATE, udp);
            let action = server.handle_input(t0(), client.five_tuple, &request, &mut out);
            let Action::Reply { len } = action else {
                panic!("{action:?}");
            };
            if !client.take_challenge(&out[..len]) {
                return code(&out[..len]);
            }
        }
        panic!("challenged twice");
    };
    let [one, other] = &mut servers;
    let codes = [
        ask_for(one, 1),
        ask_for(other, 2),
        ask_for(one, 3),
        ask_for(other, 4),
        ask_for(one, 5),
    ];
    assert_eq!(codes, [0, 0, 0, 486, 486]);
    one.revoke(t0(), "somebody else");
    assert_eq!(ask_for(other, 4), 486);
    let first = one.allocations(t0()).next().unwrap().0;
    one.end(t0(), first);
    assert_eq!(ask_for(other, 4), 0);
    let name = client(0).username;
    one.revoke(t0(), &name);
    assert_eq!(one.allocations(t0()).count(), 0);
    assert_eq!(other.allocations(t0()).count(), 2);
    assert_eq!(quotas.total(), 2);
}

#[test]
fn thousands_of_names_leave_nothing_behind() {
    let mut server = server();
    for number in 0..2_000 {
        let addr = SocketAddr::from(([203, 0, 113, 7], 1_000 + number));
        let mut client = TurnClient::new(Protocol::Udp, addr, &format!("name{number}"));
        let created = ask(&mut server, &mut client, t0(), Method::ALLOCATE, udp);
        assert_eq!(code(&created), 0);
        ask(&mut server, &mut client, t0(), Method::REFRESH, lifetime(0));
        outputs(&mut server);
    }
    assert!(server.by_user.is_empty() && server.by_five_tuple.is_empty());
    assert_eq!(server.quotas.total(), 0);
    assert!(server.by_five_tuple.capacity() < 64);
}
