//! What others send in between: from addresses without a check, and under the browser's own address.

use std::time::Duration;

use hanok::media::stun::AttributeType;
use hanok::media::transport::{DropReason, FailureReason, Input};
use hanok::testing::net::Conditions;
use hanok::units::Random;

use crate::call::{BROWSER, Call, STRANGER, addr, below, check, check_with};
use crate::wire;

/// Forged plaintext that must change nothing.
fn forgeries() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("close_notify", wire::alert(1, 0)),
        ("fatal alert", wire::alert(2, 40)),
        (
            "fragment with absurd length",
            wire::piece(1, 0, 0xff_ffff, 0, &[1; 500]),
        ),
        (
            "fragment of a long ClientHello",
            wire::piece(1, 0, 4_096, 0, &[1; 1_000]),
        ),
        (
            "ClientHello with another number",
            wire::piece(1, 1, 60, 0, &[1; 60]),
        ),
        ("HelloRequest", wire::piece(0, 0, 0, 0, &[])),
        ("plaintext Finished", wire::piece(20, 4, 12, 0, &[1; 12])),
        ("ServerHello", wire::piece(2, 0, 70, 0, &[1; 70])),
        ("ChangeCipherSpec", wire::record(20, 0, &[1])),
        ("application data", wire::record(23, 0, b"GET / HTTP/1.0")),
        ("unknown content", wire::record(25, 0, &[1; 40])),
        ("ciphertext", wire::record(22, 1, &[1; 48])),
        ("encrypted alert", wire::record(21, 1, &[1; 26])),
        ("epoch 2", wire::record(22, 2, &[1; 60])),
        ("epoch 65535", wire::record(23, 65_535, &[1; 60])),
        ("unified header", vec![0x2f; 60]),
        ("truncated record", vec![22, 0xfe, 0xfd, 0, 0]),
        (
            "part of a certificate",
            wire::piece(11, 1, 900, 10, &[1; 30]),
        ),
        (
            "part of a verification",
            wire::piece(15, 3, 300, 10, &[1; 30]),
        ),
    ]
}

#[test]
fn forged_plaintext_changes_nothing_before_during_and_after_the_handshake() {
    for (what, forged) in forgeries() {
        // 12 ms: after the check, before the ClientHello; then before and after each further step.
        for at in [12, 25, 35, 45, 55, 80] {
            let mut call = Call::new(1, Conditions::good());
            call.run_for(Duration::from_millis(at));
            call.receive_at_server(addr(BROWSER), forged.clone());
            call.run_until(Duration::from_secs(12), Call::is_connected);
            call.run_for(Duration::from_secs(1));
            assert!(
                call.is_connected(),
                "{what} at {at}: {:?} {:?}",
                call.failure(),
                call.browser.failed
            );
            assert!(
                call.browser.connected_at.unwrap() - (call.now - call.elapsed())
                    <= Duration::from_millis(60),
                "{what} at {at}: delayed"
            );
        }
    }
}

#[test]
fn a_storm_of_forgeries_delays_nothing() {
    for seed in 0..20 {
        let mut random = Random::seeded(seed);
        let mut call = Call::new(seed, Conditions::good());
        let all = forgeries();
        let mut at = Duration::ZERO;
        while at < Duration::from_millis(70) {
            call.run_for(Duration::from_micros(500));
            at += Duration::from_micros(500);
            let (_, forged) = &all[below(&mut random, all.len())];
            call.receive_at_server(addr(BROWSER), forged.clone());
        }
        assert!(call.is_connected(), "{seed}: {:?}", call.failure());
    }
}

#[test]
fn forged_ciphertext_on_an_established_association_is_harmless() {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    for content in [21, 22, 23] {
        for len in [0, 1, 8, 24, 25, 60, 1_000] {
            call.receive_at_server(addr(BROWSER), wire::record(content, 1, &vec![7; len]));
        }
    }
    call.run_for(Duration::from_secs(1));
    assert!(call.is_connected() && call.failure().is_none());
}

#[test]
fn a_new_client_hello_on_an_established_association_is_not_answered() {
    let mut call = Call::new(1, Conditions::good());
    let (sender, hellos) = std::sync::mpsc::channel();
    call.tamper = Some(Box::new(move |sent| {
        if sent.to_server {
            sender.send(sent.bytes.to_vec()).unwrap();
        }
        vec![sent.bytes.to_vec()]
    }));
    call.connect().unwrap();
    let hello = hellos.recv().unwrap();
    let mut other = hello.clone();
    other[27..59].fill(0x77);
    let sent = call.dtls_datagrams;
    for datagram in [hello, other] {
        let input = call.receive_at_server(addr(BROWSER), datagram);
        assert_eq!(input, Input::Dropped(DropReason::UnexpectedDtls));
    }
    call.run_for(Duration::from_secs(2));
    assert_eq!(call.dtls_datagrams, sent, "not even a repetition");
    assert!(call.is_connected());
    assert_eq!(call.transport.counters().dtls.late_client_hellos, 2);
}

#[test]
fn a_third_address_gets_neither_an_answer_nor_the_handshake() {
    // S14: before, during and after; a true ClientHello, one of DTLS 1.0, and garbage, a thousand times a second.
    let hello = {
        let mut call = Call::new(9, Conditions::good());
        let (sender, hellos) = std::sync::mpsc::channel();
        call.tamper = Some(Box::new(move |sent| {
            if sent.to_server {
                sender.send(sent.bytes.to_vec()).unwrap();
            }
            vec![sent.bytes.to_vec()]
        }));
        call.connect().unwrap();
        hellos.recv().unwrap()
    };
    let mut old = hello.clone();
    old[25..27].copy_from_slice(&[0xfe, 0xff]);
    let mut null_cipher = hello.clone();
    null_cipher[61..63].copy_from_slice(&[0, 0]);
    let attacks = [hello, old, null_cipher, vec![22; 300]];

    let mut call = Call::new(1, Conditions::good());
    let mut sent = 0;
    while call.elapsed() < Duration::from_millis(200) {
        for attack in &attacks {
            let input = call.receive_at_server(addr(STRANGER), attack.clone());
            assert_eq!(input, Input::Dropped(DropReason::Unvalidated));
            sent += 1;
        }
        call.run_for(Duration::from_millis(4));
    }
    assert!(call.is_connected());
    let connected = call.events[0].0 - (call.now - call.elapsed());
    assert!(connected <= Duration::from_millis(50), "{connected:?}");
    assert_eq!(call.sent_to_strangers, 0);
    assert_eq!(
        call.transport.counters().dropped(DropReason::Unvalidated),
        sent
    );
    assert_eq!(call.transport.counters().dtls.datagrams_in, 2);
}

#[test]
fn media_and_checks_of_strangers_are_dropped_without_a_word() {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    let stranger = addr(STRANGER);
    let mut wrong_fingerprint = check(&[AttributeType::ICE_CONTROLLING], 1);
    *wrong_fingerprint.last_mut().unwrap() ^= 1;
    let cases = [
        (vec![0x80; 40], DropReason::Unvalidated),
        (vec![0x80, 200, 0, 6], DropReason::Unvalidated),
        (vec![0x80], DropReason::Unvalidated),
        (vec![], DropReason::UnknownProtocol),
        (vec![0x40; 40], DropReason::UnknownProtocol),
        (vec![0xff; 40], DropReason::UnknownProtocol),
        (vec![16; 40], DropReason::UnknownProtocol),
        (vec![0; 40], DropReason::MalformedStun),
        (
            check_with("other:brow", "serverpasswordserverpass", &[], 1),
            DropReason::UnknownUfrag,
        ),
        (
            check_with("serv", "serverpasswordserverpass", &[], 1),
            DropReason::UnknownUfrag,
        ),
        (
            check_with("serv:brow", "browserpasswordbrowserpa", &[], 1),
            DropReason::UnauthenticStun,
        ),
        (wrong_fingerprint, DropReason::UnauthenticStun),
    ];
    let path = call.transport.path();
    for (packet, reason) in cases {
        let before = call.transport.counters().dropped(reason);
        let input = call.receive_at_server(stranger, packet.clone());
        assert_eq!(input, Input::Dropped(reason), "{packet:?}");
        assert_eq!(call.transport.counters().dropped(reason), before + 1);
    }
    assert_eq!(call.sent_to_strangers, 0);
    assert_eq!(call.transport.path(), path);
}

#[test]
fn any_bytes_from_anywhere_at_any_time_never_panic_nor_break_the_call() {
    let mut random = Random::seeded(11);
    for seed in 0..10 {
        let mut call = Call::new(seed, Conditions::good());
        for _ in 0..400 {
            call.run_for(Duration::from_micros(500));
            let mut bytes = vec![0; below(&mut random, 200)];
            random.fill(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = [0, 1, 20, 21, 22, 23, 25, 40, 128, 144, 255][below(&mut random, 11)];
            }
            let from = [BROWSER, STRANGER][below(&mut random, 2)];
            call.receive_at_server(addr(from), bytes);
        }
        assert!(call.is_connected(), "{seed}: {:?}", call.failure());
        assert_eq!(call.failure(), None::<FailureReason>);
    }
}
