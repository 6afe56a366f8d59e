//! Handshakes over good and bad networks.

use std::time::Duration;

use hanok::media::transport::srtp::Profile;
use hanok::media::transport::{FailureReason, Output, Version};
use hanok::testing::net::Conditions;

use crate::call::{Call, Certificate, identity};
use crate::wire;

#[test]
fn a_good_network_connects_in_three_round_trips_with_an_aead_profile() {
    let mut call = Call::new(1, Conditions::good());
    // One round trip for the check, two for DTLS.
    assert_eq!(call.connect(), Some(Duration::from_millis(60)));
    let profile = Profile::AeadAes256Gcm;
    assert!(matches!(call.events[..], [(_, Output::Connected { profile: it })] if it == profile));
    assert_eq!(
        call.browser.profile,
        Some(dimpl::SrtpProfile::AEAD_AES_256_GCM)
    );
    let dtls = &call.transport.counters().dtls;
    assert_eq!(dtls.profile, Some(profile));
    assert_eq!(dtls.version, Some(Version::Dtls1_2));
    assert_eq!(dtls.handshake, Some(Duration::from_millis(20)));
    assert_eq!((dtls.datagrams_in, dtls.datagrams_out), (2, 2));
    assert_eq!(dtls.unexpected_records, 0);
    assert_eq!(dtls.offer.as_ref().unwrap().profiles.len(), 3);
}

#[test]
fn the_certificate_that_the_browser_sees_is_the_announced_one() {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    let der = call.browser.peer_certificate.unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    assert_eq!(digest.as_ref(), identity().fingerprint().digest);
    // A random serial number of 16 bytes: INTEGER, length, value.
    let serial = der
        .windows(2)
        .position(|pair| pair == [2, 16])
        .expect("an INTEGER of 16 bytes");
    assert_ne!(der[serial + 2..serial + 18], [0; 16]);
}

#[test]
fn any_one_datagram_may_be_lost() {
    let mut clean = Call::new(1, Conditions::good());
    clean.connect().unwrap();
    assert_eq!(clean.dtls_datagrams, 4);
    for lost in 0..clean.dtls_datagrams {
        let mut call = Call::new(1, Conditions::good());
        call.tamper = Some(Box::new(move |sent| {
            if sent.number == lost {
                return vec![];
            }
            vec![sent.bytes.to_vec()]
        }));
        let time = call.connect().unwrap_or_else(|| panic!("datagram {lost}"));
        assert!(time < Duration::from_millis(400), "{lost}: {time:?}");
        assert!(time > Duration::from_millis(60), "{lost} was really lost");
    }
}

#[test]
fn any_two_datagrams_may_be_lost() {
    for first in 0..6 {
        for second in first + 1..7 {
            let mut call = Call::new(1, Conditions::good());
            call.tamper = Some(Box::new(move |sent| {
                if sent.number == first || sent.number == second {
                    return vec![];
                }
                vec![sent.bytes.to_vec()]
            }));
            let time = call.connect();
            assert!(
                time.is_some_and(|time| time < Duration::from_secs(2)),
                "{first}, {second}: {time:?}"
            );
        }
    }
}

#[test]
fn every_datagram_may_arrive_twice() {
    let mut call = Call::new(1, Conditions::good());
    call.tamper = Some(Box::new(|sent| {
        vec![sent.bytes.to_vec(), sent.bytes.to_vec()]
    }));
    assert!(call.connect().unwrap() < Duration::from_millis(200));
    call.run_for(Duration::from_secs(5));
    assert!(call.is_connected() && call.failure().is_none());
}

fn connected_of(runs: u64, conditions: &Conditions) -> (usize, Vec<Duration>) {
    let mut times: Vec<Duration> = (0..runs)
        .filter_map(|seed| Call::new(seed, conditions.clone()).connect())
        .collect();
    times.sort();
    (times.len(), times)
}

#[test]
fn with_a_tenth_of_all_datagrams_lost_every_call_connects() {
    let (connected, times) = connected_of(200, &Conditions::lossy(100));
    assert_eq!(connected, 200);
    assert!(times[100] < Duration::from_millis(200), "{:?}", times[100]);
    assert!(times[190] < Duration::from_secs(1), "{:?}", times[190]);
}

#[test]
fn with_three_tenths_of_all_datagrams_lost_nearly_every_call_connects() {
    let (connected, times) = connected_of(200, &Conditions::lossy(300));
    assert!(connected >= 195, "{connected}");
    assert!(times[100] < Duration::from_millis(600), "{:?}", times[100]);
}

#[test]
fn random_delay_repetition_and_reordering_do_no_harm() {
    let conditions = Conditions {
        delay: Duration::from_millis(1)..=Duration::from_millis(120),
        loss_per_mille: 0,
        repeat_per_mille: 200,
    };
    let (connected, _) = connected_of(100, &conditions);
    assert_eq!(connected, 100);
}

#[test]
fn a_client_with_a_small_mtu_whose_flight_arrives_in_any_order_connects() {
    for seed in 0..50 {
        let conditions = Conditions {
            delay: Duration::from_millis(1)..=Duration::from_millis(40),
            loss_per_mille: 20,
            repeat_per_mille: 50,
        };
        let mut call = Call::new(seed, conditions);
        // Every handshake message of the client's flights in pieces of 50 bytes, in datagrams of their own.
        call.tamper = Some(Box::new(|sent| {
            if !sent.to_server {
                return vec![sent.bytes.to_vec()];
            }
            let mut out = Vec::new();
            let mut last = Vec::new();
            for record in wire::records(sent.bytes) {
                if record[0] != 22 || record[3..5] != [0, 0] {
                    // ChangeCipherSpec and Finished stay together, as clients send them.
                    last.extend(record);
                    continue;
                }
                let body = &record[25..];
                let number = u16::from_be_bytes([record[17], record[18]]);
                for (at, part) in body.chunks(50).enumerate() {
                    out.push(wire::piece(record[13], number, body.len(), at * 50, part));
                }
            }
            if !last.is_empty() {
                out.push(last);
            }
            out
        }));
        let time = call.connect();
        assert!(time.is_some(), "{seed}: {:?}", call.failure());
    }
}

#[test]
fn the_answer_may_come_after_the_handshake_and_only_then_keys_are_used() {
    let certificate = Certificate::shared();
    let mut call = Call::with(1, Conditions::good(), &certificate, None);
    call.run_for(Duration::from_secs(2));
    assert!(call.browser.connected_at.is_some(), "it need not wait");
    assert!(call.transport.path().is_none());
    assert!(call.events.is_empty());
    assert!(call.transport.protect_rtp(&mut [0; 100], 40).is_err());
    call.transport.set_remote(call.now, certificate.remote());
    assert!(call.connect().is_some());
    assert!(matches!(call.events[..], [(_, Output::Connected { .. })]));
}

#[test]
fn an_answer_with_another_fingerprint_ends_a_finished_handshake() {
    let certificate = Certificate::shared();
    let mut call = Call::with(1, Conditions::good(), &certificate, None);
    call.run_for(Duration::from_secs(2));
    call.transport
        .set_remote(call.now, Certificate::ecdsa().remote());
    call.run_for(Duration::from_millis(100));
    assert_eq!(call.failure(), Some(FailureReason::FingerprintMismatch));
    assert!(call.transport.path().is_none());
}

#[test]
fn the_answer_may_come_in_the_middle_of_the_handshake() {
    for at in [0, 5, 15, 25, 35, 45] {
        let certificate = Certificate::shared();
        let mut call = Call::with(1, Conditions::good(), &certificate, None);
        call.run_for(Duration::from_millis(at));
        call.transport.set_remote(call.now, certificate.remote());
        assert!(call.connect().is_some(), "{at}");
    }
}

/// The profile in the ServerHello for a ClientHello that offers `profiles`.
fn selected(profiles: &[u16]) -> Option<u16> {
    let list: Vec<u8> = profiles.iter().flat_map(|id| id.to_be_bytes()).collect();
    let mut call = Call::new(1, Conditions::good());
    let (sender, receiver) = std::sync::mpsc::channel();
    call.tamper = Some(Box::new(move |sent| {
        if sent.to_server && wire::first_message(sent.bytes) == Some(1) {
            let body = with_profiles(wire::client_hello_body(sent.bytes), &list);
            return vec![wire::piece(1, 0, body.len(), 0, &body)];
        }
        if !sent.to_server {
            sender.send(sent.bytes.to_vec()).unwrap();
        }
        vec![]
    }));
    call.run_for(Duration::from_millis(100));
    let hello = receiver.try_recv().unwrap();
    assert_eq!(wire::first_message(&hello), Some(2));
    // use_srtp: type 14, length 5, a list of one profile, no MKI.
    let at = hello
        .windows(6)
        .position(|window| window == [0, 14, 0, 5, 0, 2])?;
    Some(u16::from_be_bytes([hello[at + 6], hello[at + 7]]))
}

/// A ClientHello's body with another list in its use_srtp extension.
fn with_profiles(body: &[u8], list: &[u8]) -> Vec<u8> {
    let mut out = body[..34].to_vec();
    let mut at = 34;
    for wide in [false, false, true, false] {
        let len = if wide {
            2 + usize::from(u16::from_be_bytes([body[at], body[at + 1]]))
        } else {
            1 + usize::from(body[at])
        };
        out.extend(&body[at..at + len]);
        at += len;
    }
    let mut extensions = Vec::new();
    let mut rest = &body[at + 2..];
    while !rest.is_empty() {
        let len = 4 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if rest[..2] != [0, 14] {
            extensions.extend(&rest[..len]);
        }
        rest = &rest[len..];
    }
    extensions.extend([0, 14]);
    extensions.extend((list.len() as u16 + 3).to_be_bytes());
    extensions.extend((list.len() as u16).to_be_bytes());
    extensions.extend(list);
    extensions.push(0);
    out.extend((extensions.len() as u16).to_be_bytes());
    out.extend(extensions);
    out
}

#[test]
fn an_aead_profile_wins_whatever_the_clients_order() {
    let (cm, gcm128, gcm256, cm32) = (1, 7, 8, 2);
    // Chromium's order, Firefox's order, and lists without one or the other.
    assert_eq!(selected(&[cm, gcm256, gcm128]), Some(gcm256));
    assert_eq!(selected(&[gcm128, gcm256, cm, cm32]), Some(gcm256));
    assert_eq!(selected(&[cm32, cm, gcm128]), Some(gcm128));
    assert_eq!(selected(&[cm32, cm]), Some(cm));
    assert_eq!(selected(&[cm32]), None);
}
