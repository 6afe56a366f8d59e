//! Checks, and the path that they choose.

use std::net::SocketAddr;
use std::time::Duration;

use hanok::media::stun::{AttributeType, Class, Fingerprint, IntegrityKey, Message};
use hanok::media::transport::srtp::Sender;
use hanok::media::transport::{DropReason, Input, Output, Path, Transport};
use hanok::testing::net::Conditions;
use hanok::testing::t0;

use crate::call::{
    BROWSER, Call, STRANGER, addr, check, identity, local_ice, path_from, protect, rtp,
};

fn connected() -> Call {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    call
}

/// The answer to a check, if there is one.
fn answer(transport: &mut Transport, path: Path, mut packet: Vec<u8>) -> Option<Vec<u8>> {
    let input = transport.handle_input(t0(), path, &mut packet);
    match transport.poll_output() {
        Some(Output::Transmit { path: to, datagram }) => {
            assert_eq!((input, to), (Input::Handled, path));
            Some(datagram)
        }
        Some(output) => panic!("too early: {output:?}"),
        None => None,
    }
}

fn transport() -> Transport {
    Transport::new(t0(), local_ice(), None, identity())
}

#[test]
fn a_valid_check_is_answered_with_its_address_sealed_with_our_password() {
    let mut transport = transport();
    for (remote, seen) in [
        ("10.0.0.2:5000", "10.0.0.2:5000"),
        ("[::ffff:10.0.0.2]:5000", "10.0.0.2:5000"),
        ("[2001:db8::2]:5000", "[2001:db8::2]:5000"),
    ] {
        let path = path_from(addr(remote));
        assert!(!transport.is_validated(&path));
        let datagram = answer(&mut transport, path, check(PLAIN, 9)).unwrap();
        let message = Message::parse(&datagram).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.transaction_id().0, [9; 12]);
        assert_eq!(message.xor_mapped_address(), Some(addr(seen)));
        assert!(message.is_authentic(&IntegrityKey::short_term(&local_ice().pwd)));
        assert_eq!(message.fingerprint(), Fingerprint::Valid);
        assert!(transport.is_validated(&path));
    }
    assert_eq!(transport.counters().checks, 3);
}

#[test]
fn unknown_required_attributes_get_420_and_validate_nothing() {
    let mut transport = transport();
    let path = path_from(addr(BROWSER));
    let many: Vec<_> = (0..20).map(|n| AttributeType(0x7001 + n)).collect();
    let datagram = answer(&mut transport, path, check(&many, 1)).unwrap();
    let message = Message::parse(&datagram).unwrap();
    assert_eq!(message.error_code().unwrap().code, 420);
    let listed = message.get(AttributeType::UNKNOWN_ATTRIBUTES).unwrap();
    assert_eq!(listed.value.len(), 16);
    assert!(!transport.is_validated(&path));
}

#[test]
fn paths_differ_by_link_and_by_the_address_that_was_asked() {
    let mut transport = transport();
    let path = path_from(addr(BROWSER));
    answer(&mut transport, path, check(NOMINATED, 1)).unwrap();
    let tcp = Path {
        link: hanok::media::transport::Link(7),
        ..path
    };
    let asked = Path {
        local: Some(addr("10.0.0.9:1").ip()),
        ..path
    };
    assert!(!transport.is_validated(&tcp) && !transport.is_validated(&asked));
    let input = transport.handle_input(t0(), tcp, &mut [22; 60]);
    assert_eq!(input, Input::Dropped(DropReason::Unvalidated));
}

#[test]
fn indications_and_answers_are_ignored() {
    let mut transport = transport();
    let path = path_from(addr(BROWSER));
    for kind in [[0x00, 0x11], [0x01, 0x01], [0x01, 0x11], [0x00, 0x03]] {
        let mut packet = check(PLAIN, 1);
        packet[..2].copy_from_slice(&kind);
        let input = transport.handle_input(t0(), path, &mut packet);
        assert_eq!(input, Input::Dropped(DropReason::UnexpectedStun));
        assert_eq!(transport.poll_output(), None);
    }
}

#[test]
fn a_peer_that_claims_to_be_controlled_gets_487_and_validates_nothing() {
    let mut call = Call::new(1, Conditions::good());
    let path = crate::call::path_from(addr(STRANGER));
    let mut packet = check(
        &[AttributeType::USE_CANDIDATE, AttributeType::ICE_CONTROLLED],
        1,
    );
    let input = call.transport.handle_input(call.now, path, &mut packet);
    assert_eq!(input, Input::Handled);
    let Some(Output::Transmit { datagram, .. }) = call.transport.poll_output() else {
        panic!("an answer");
    };
    let answer = Message::parse(&datagram).unwrap();
    assert_eq!(answer.class(), Class::Error);
    assert_eq!(answer.error_code().unwrap().code, 487);
    assert!(!call.transport.is_validated(&path));
    assert_eq!(call.transport.counters().role_conflicts, 1);
}

const NOMINATED: &[AttributeType] = &[AttributeType::USE_CANDIDATE, AttributeType::ICE_CONTROLLING];
const PLAIN: &[AttributeType] = &[AttributeType::ICE_CONTROLLING];
const MOVED: &str = "10.0.0.2:5999";

#[test]
fn the_last_nominated_check_chooses_the_path_and_others_only_refresh() {
    let mut call = connected();
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
    call.receive_at_server(addr(MOVED), check(PLAIN, 200));
    assert!(call.transport.is_validated(&path_from(addr(MOVED))));
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
    call.receive_at_server(addr(MOVED), check(NOMINATED, 201));
    assert_eq!(call.transport.path(), Some(path_from(addr(MOVED))));
    call.receive_at_server(addr(BROWSER), check(PLAIN, 202));
    assert_eq!(call.transport.path(), Some(path_from(addr(MOVED))));
    call.receive_at_server(addr(BROWSER), check(NOMINATED, 203));
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
}

#[test]
fn authentic_media_from_a_checked_address_moves_the_path_once_the_old_one_is_silent() {
    // R05 with Firefox: a NAT gives it another port, and it never nominates again.
    let mut call = connected();
    call.browser.silent = true;
    call.receive_at_server(addr(MOVED), check(PLAIN, 200));
    let media = |call: &mut Call, number| {
        let packet = protect(&mut call.browser, &rtp(number), Sender::protect_rtp);
        call.receive_at_server(addr(MOVED), packet)
    };
    assert!(matches!(media(&mut call, 1), Input::Rtp { .. }));
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
    call.run_for(Duration::from_millis(1_100));
    media(&mut call, 2);
    assert_eq!(call.transport.path(), Some(path_from(addr(MOVED))));
}

#[test]
fn media_from_an_unchecked_address_moves_nothing_even_if_authentic() {
    let mut call = connected();
    call.browser.silent = true;
    call.run_for(Duration::from_secs(5));
    let packet = protect(&mut call.browser, &rtp(1), Sender::protect_rtp);
    let input = call.receive_at_server(addr(MOVED), packet);
    assert_eq!(input, Input::Dropped(DropReason::Unvalidated));
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
}

#[test]
fn media_from_another_port_of_a_silent_peers_host_is_followed_if_it_is_authentic() {
    let mut call = connected();
    call.browser.silent = true;
    let (another_port, another_host) = (addr(MOVED), addr("10.0.0.9:5999"));
    let follow = |call: &mut Call, from: SocketAddr, number, damage: u8| {
        let mut packet = protect(&mut call.browser, &rtp(number), Sender::protect_rtp);
        *packet.last_mut().unwrap() ^= damage;
        let now = call.now;
        let followed = call.transport.follow(now, path_from(from), &mut packet);
        matches!(followed, Some(Input::Rtp { .. }))
    };
    assert!(
        !follow(&mut call, another_port, 1, 0),
        "the old port is alive"
    );
    call.run_for(Duration::from_millis(1_100));
    assert!(!follow(&mut call, another_host, 2, 0), "another host");
    assert!(!follow(&mut call, another_port, 3, 1), "a forgery");
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
    assert!(follow(&mut call, another_port, 4, 0));
    assert_eq!(call.transport.path(), Some(path_from(another_port)));
    assert!(call.transport.is_validated(&path_from(another_port)));
    // Checks alone keep a transport alive.
    call.run_for(Duration::from_secs(29));
    assert!(call.transport.path().is_none());
}

#[test]
fn a_checked_address_takes_over_from_a_silent_one_without_any_media() {
    let mut call = connected();
    call.browser.silent = true;
    call.run_for(Duration::from_secs(5));
    call.receive_at_server(addr(MOVED), check(PLAIN, 200));
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
    call.run_for(Duration::from_secs(3));
    call.receive_at_server(addr(MOVED), check(PLAIN, 201));
    assert_eq!(call.transport.path(), Some(path_from(addr(MOVED))));
}

#[test]
fn validated_paths_are_bounded_and_the_chosen_one_stays() {
    let mut call = connected();
    for port in 10_000..20_000u16 {
        let from = (addr(BROWSER).ip(), port).into();
        call.receive_at_server(from, check(PLAIN, 7));
    }
    let validated = (10_000..20_000u16)
        .filter(|port| {
            call.transport
                .is_validated(&path_from((addr(BROWSER).ip(), *port).into()))
        })
        .count();
    assert_eq!(validated, 7);
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
    assert!(call.transport.is_validated(&path_from(addr(BROWSER))));
}

#[test]
fn the_path_comes_with_the_nomination_even_if_the_keys_were_first() {
    let mut call = Call::new(1, Conditions::good());
    // The browser's own checks lose their nomination on the way, as Firefox's first ones do.
    call.browser.silent = true;
    call.receive_at_server(addr(BROWSER), check(PLAIN, 1));
    call.browser.checked = true;
    call.browser.silent = false;
    let hold = Duration::from_secs(3);
    call.browser.postpone_checks(hold);
    call.run_for(Duration::from_millis(500));
    assert!(call.browser.connected_at.is_some());
    assert_eq!(call.transport.path(), None);
    assert!(call.events.is_empty());
    call.receive_at_server(addr(BROWSER), check(NOMINATED, 2));
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
    assert_eq!(call.events.len(), 1);
}

#[test]
fn a_browser_whose_address_was_translated_anew_has_its_media_back_within_three_seconds() {
    // R05, with Chromium's checks: every 2.5 s, nominating.
    let rebound: Vec<SocketAddr> = [MOVED, "10.9.9.9:1024", "[2001:db8::9]:4000"]
        .map(addr)
        .into();
    for (seed, moved) in (1..).zip(rebound) {
        let mut call = Call::new(seed, Conditions::good());
        call.connect().unwrap();
        call.run_for(Duration::from_millis(700 * seed));
        let began = call.now;
        call.browser.addr = moved;
        let limit = Duration::from_secs(6);
        let is_back = |call: &Call| call.transport.path() == Some(path_from(moved));
        assert!(call.run_until(limit, is_back));
        let gap = call.now - began;
        assert!(gap < Duration::from_secs(3), "{moved}: {gap:?}");
        let packet = protect(&mut call.browser, &rtp(1), Sender::protect_rtp);
        let input = call.receive_at_server(moved, packet);
        assert!(matches!(input, Input::Rtp { .. }));
        call.run_for(Duration::from_secs(60));
        assert!(call.is_connected() && call.failure().is_none());
    }
}

#[test]
fn a_connection_that_ends_takes_its_paths_along_and_any_valid_check_mends_that() {
    let mut call = connected();
    let over_tcp = Path {
        link: hanok::media::transport::Link(1 << 31),
        local: None,
        ..path_from(addr(BROWSER))
    };
    let mut nominating = check(NOMINATED, 200);
    call.transport
        .handle_input(call.now, over_tcp, &mut nominating);
    assert_eq!(call.transport.path(), Some(over_tcp));
    // The path over UDP was nominated before: it takes over at once.
    call.transport.forget(over_tcp.link);
    assert_eq!(call.transport.path(), Some(path_from(addr(BROWSER))));
    call.transport.forget(path_from(addr(BROWSER)).link);
    assert_eq!(call.transport.path(), None);
    assert!(!call.transport.is_linked(over_tcp.link));
    // Firefox nominates only once in a connection's life.
    let mut plain = check(PLAIN, 201);
    call.transport.handle_input(call.now, over_tcp, &mut plain);
    assert_eq!(call.transport.path(), Some(over_tcp));
}
