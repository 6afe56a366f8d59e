//! Handshakes that cannot end well, and calls that end.

use std::time::Duration;

use hanok::media::transport::{DropReason, FailureReason, Input, Output};
use hanok::testing::net::Conditions;
use hanok::units::Random;

use crate::call::{BROWSER, Call, Certificate, addr, below, rtp};
use crate::wire;

fn failed_at(call: &Call) -> Duration {
    let (at, _) = call
        .events
        .iter()
        .find(|(_, event)| matches!(event, Output::Failed(_)))
        .unwrap();
    *at - (call.now - call.elapsed())
}

#[test]
fn a_client_that_falls_silent_after_its_client_hello_fails_ten_seconds_later() {
    for keep in [1, 2] {
        let mut call = Call::new(1, Conditions::good());
        call.browser.mute_after = Some(keep);
        // With two: the second datagram is the client's flight, of which only a part arrives.
        call.tamper = Some(Box::new(|sent| {
            if sent.to_server && wire::first_message(sent.bytes) == Some(11) {
                return vec![wire::records(sent.bytes)[0].to_vec()];
            }
            vec![sent.bytes.to_vec()]
        }));
        call.run_for(Duration::from_secs(20));
        assert_eq!(call.failure(), Some(FailureReason::DtlsTimeout), "{keep}");
        // The ClientHello leaves after the first check's round trip and takes 10 ms.
        assert_eq!(failed_at(&call), Duration::from_millis(10_030));
        assert_eq!(call.transport.poll_timeout(), None);
    }
}

#[test]
fn a_client_that_never_begins_fails_although_its_checks_go_on() {
    let mut call = Call::new(1, Conditions::good());
    call.browser.mute_after = Some(0);
    call.run_for(Duration::from_secs(40));
    assert_eq!(call.failure(), Some(FailureReason::DtlsTimeout));
    assert_eq!(failed_at(&call), Duration::from_millis(30_010));
}

#[test]
fn half_a_client_hello_starts_the_deadline() {
    let mut call = Call::new(1, Conditions::good());
    call.tamper = Some(Box::new(|sent| {
        let body = wire::client_hello_body(sent.bytes);
        vec![wire::piece(1, 0, body.len(), 0, &body[..50])]
    }));
    call.run_for(Duration::from_secs(20));
    assert_eq!(call.failure(), Some(FailureReason::DtlsTimeout));
    assert_eq!(failed_at(&call), Duration::from_millis(10_030));
}

#[test]
fn without_any_check_the_transport_dies_after_thirty_seconds() {
    let mut call = Call::new(1, Conditions::good());
    call.browser.silent = true;
    call.run_for(Duration::from_secs(60));
    assert_eq!(call.failure(), Some(FailureReason::IceTimeout));
    assert_eq!(failed_at(&call), Duration::from_secs(30));
}

#[test]
fn a_connected_peer_that_falls_silent_dies_thirty_seconds_after_its_last_check() {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    call.run_for(Duration::from_secs(60));
    assert!(call.is_connected(), "checks keep it alive");
    call.browser.silent = true;
    let silent_since = call.elapsed();
    call.run_for(Duration::from_secs(60));
    assert_eq!(call.failure(), Some(FailureReason::IceTimeout));
    let after = failed_at(&call) - silent_since;
    assert!(
        (27..=30).contains(&after.as_secs()),
        "{after:?}, checks come every 2.5 s"
    );
}

#[test]
fn a_wrong_fingerprint_fails_and_the_browser_never_believes_it_is_connected() {
    let certificate = Certificate::shared();
    let remote = Certificate::ecdsa().remote();
    let mut call = Call::with(1, Conditions::good(), &certificate, Some(remote));
    call.run_for(Duration::from_secs(20));
    assert_eq!(call.failure(), Some(FailureReason::FingerprintMismatch));
    assert!(call.browser.connected_at.is_none());
    assert!(call.browser.failed.is_some(), "it was told bad_certificate");
    assert!(call.transport.path().is_none());
    assert!(call.transport.protect_rtp(&mut [0; 200], 100).is_err());
    assert!(
        !call
            .events
            .iter()
            .any(|(_, event)| matches!(event, Output::Connected { .. }))
    );
}

#[test]
fn an_rsa_certificate_fails_clearly_and_at_once() {
    let certificate = Certificate::rsa();
    let mut call = Call::with(
        1,
        Conditions::good(),
        &certificate,
        Some(certificate.remote()),
    );
    call.run_for(Duration::from_secs(20));
    assert_eq!(call.failure(), Some(FailureReason::DtlsFailed));
    assert!(failed_at(&call) < Duration::from_millis(100));
    assert!(call.browser.connected_at.is_none());
}

#[test]
fn a_client_without_a_certificate_fails_at_once_and_is_told() {
    let mut call = Call::new(1, Conditions::good());
    call.tamper = Some(Box::new(|sent| {
        if sent.to_server && wire::first_message(sent.bytes) == Some(11) {
            return vec![wire::piece(11, 1, 3, 0, &[0, 0, 0])];
        }
        vec![sent.bytes.to_vec()]
    }));
    call.run_for(Duration::from_secs(20));
    assert_eq!(call.failure(), Some(FailureReason::DtlsFailed));
    assert!(failed_at(&call) < Duration::from_millis(100));
    assert!(call.browser.failed.is_some(), "our alert has arrived");
}

#[test]
fn a_client_that_refuses_with_an_alert_is_told_from_a_silent_one() {
    let mut call = Call::new(1, Conditions::good());
    call.tamper = Some(Box::new(|sent| {
        if sent.to_server && wire::first_message(sent.bytes) == Some(11) {
            return vec![wire::alert(2, 40)];
        }
        vec![sent.bytes.to_vec()]
    }));
    call.run_for(Duration::from_secs(20));
    assert_eq!(call.failure(), Some(FailureReason::DtlsFailed));
    assert_eq!(failed_at(&call), Duration::from_millis(10_030));
}

/// Runs a client that offers nothing but this cipher suite.
fn with_suite(suite: [u8; 2]) -> Call {
    let mut call = Call::new(1, Conditions::good());
    call.tamper = Some(Box::new(move |sent| {
        let mut bytes = sent.bytes.to_vec();
        if sent.to_server && wire::first_message(sent.bytes) == Some(1) {
            let at = 13 + 12 + 34 + 2;
            let len = usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
            for pair in bytes[at + 2..at + 2 + len].chunks_mut(2) {
                pair.copy_from_slice(&suite);
            }
        }
        vec![bytes]
    }));
    call.run_for(Duration::from_secs(20));
    call
}

#[test]
fn a_client_without_a_suite_of_ours_fails() {
    // TLS_PSK_WITH_AES_128_CCM_8 is known but wants no certificate; the other one exists nowhere.
    let call = with_suite([0xc0, 0xa8]);
    assert_eq!(call.failure(), Some(FailureReason::DtlsFailed));
    assert!(failed_at(&call) < Duration::from_millis(100));
    let call = with_suite([0x99, 0x99]);
    assert_eq!(call.failure(), Some(FailureReason::DtlsTimeout));
}

#[test]
fn close_notify_from_the_browser_ends_the_transport() {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    let out = call.browser.close(call.now);
    assert!(!out.is_empty());
    call.send_from_browser(out);
    call.browser.silent = true;
    call.run_for(Duration::from_secs(1));
    assert_eq!(call.failure(), Some(FailureReason::ClosedByPeer));
    assert_eq!(call.transport.path(), None);
}

#[test]
fn closing_tells_the_browser_and_leaves_nothing_behind() {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    call.transport.close(call.now);
    assert_eq!(call.transport.poll_timeout(), None);
    assert_eq!(call.transport.path(), None);
    call.run_for(Duration::from_millis(20));
    assert!(call.browser.closed_by_peer);
    assert_eq!(call.failure(), None, "closing is no failure");
    let input = call.receive_at_server(addr(BROWSER), rtp(1));
    assert_eq!(input, Input::Dropped(DropReason::Ended));
}

#[test]
fn closing_at_any_moment_is_harmless() {
    for at in 0..80 {
        let mut call = Call::new(1, Conditions::good());
        call.run_for(Duration::from_millis(at));
        call.transport.close(call.now);
        call.transport.close(call.now);
        call.run_for(Duration::from_secs(1));
        assert_eq!(call.failure(), None);
    }
}

#[test]
fn any_damaged_handshake_datagram_ends_in_a_connection_or_a_clear_failure() {
    let mut connected = 0;
    for seed in 0..300 {
        let mut random = Random::seeded(seed);
        let mut call = Call::new(seed, Conditions::good());
        let victim = below(&mut random, 2);
        let mut from_client = 0;
        call.tamper = Some(Box::new(move |sent| {
            let mut bytes = sent.bytes.to_vec();
            if sent.to_server {
                if from_client == victim {
                    let at = below(&mut random, bytes.len());
                    bytes[at] ^= 1 << below(&mut random, 8);
                }
                from_client += 1;
            }
            vec![bytes]
        }));
        call.run_for(Duration::from_secs(15));
        let is_connected = call.transport.path().is_some();
        connected += usize::from(is_connected);
        assert!(is_connected != call.failure().is_some(), "{seed}");
    }
    assert!((1..300).contains(&connected), "{connected}");
}

#[test]
fn spurious_timeouts_are_harmless() {
    let mut call = Call::new(1, Conditions::good());
    while call.elapsed() < Duration::from_millis(100) {
        for _ in 0..5 {
            call.transport.handle_timeout(call.now);
        }
        call.run_for(Duration::from_millis(1));
    }
    assert!(call.is_connected());
}
