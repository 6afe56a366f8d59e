//! RTP and RTCP through a connected transport, and where they go.

use std::time::Duration;

use hanok::media::stun::AttributeType;
use hanok::media::transport::srtp::{MAX_OVERHEAD, Sender};
use hanok::media::transport::{DropReason, Input};
use hanok::testing::net::Conditions;

use crate::call::{BROWSER, Call, addr, check, path_from, protect, rtcp, rtp};

fn connected() -> Call {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    call
}

#[test]
fn media_is_opened_in_place_and_told_apart() {
    let mut call = connected();
    let packet = protect(&mut call.browser, &rtp(1), Sender::protect_rtp);
    let input = call.receive_at_server(addr(BROWSER), packet);
    assert_eq!(input, Input::Rtp { len: rtp(1).len() });
    let (_, opened) = call.inputs.pop_back().unwrap();
    assert_eq!(opened[..rtp(1).len()], rtp(1));

    let packet = protect(&mut call.browser, &rtcp(), Sender::protect_rtcp);
    let input = call.receive_at_server(addr(BROWSER), packet);
    assert_eq!(input, Input::Rtcp { len: rtcp().len() });
    let (_, opened) = call.inputs.pop_back().unwrap();
    assert_eq!(opened[..rtcp().len()], rtcp());
}

#[test]
fn what_we_protect_the_browser_opens() {
    let mut call = connected();
    let mut buffer = rtp(5);
    let len = buffer.len();
    buffer.resize(len + MAX_OVERHEAD, 0);
    let protected = call.transport.protect_rtp(&mut buffer, len).unwrap();
    assert_ne!(buffer[12..len], rtp(5)[12..]);
    let (_, receiver) = call.browser.keys.as_mut().unwrap();
    let opened = receiver.unprotect_rtp(&mut buffer[..protected]).unwrap();
    assert_eq!(buffer[..opened], rtp(5));

    let mut buffer = rtcp();
    buffer.resize(rtcp().len() + MAX_OVERHEAD, 0);
    let protected = call
        .transport
        .protect_rtcp(&mut buffer, rtcp().len())
        .unwrap();
    let opened = receiver_of(&mut call)
        .unprotect_rtcp(&mut buffer[..protected])
        .unwrap();
    assert_eq!(buffer[..opened], rtcp());
}

fn receiver_of(call: &mut Call) -> &mut hanok::media::transport::srtp::Receiver {
    &mut call.browser.keys.as_mut().unwrap().1
}

#[test]
fn media_before_keys_is_dropped_and_counted() {
    let mut call = Call::new(1, Conditions::good());
    call.run_for(Duration::from_millis(25));
    assert!(call.transport.is_validated(&path_from(addr(BROWSER))));
    for packet in [rtp(1), rtcp(), vec![0x80]] {
        let input = call.receive_at_server(addr(BROWSER), packet);
        assert_eq!(input, Input::Dropped(DropReason::NoKeys));
    }
    assert_eq!(call.transport.counters().dropped(DropReason::NoKeys), 3);
    assert!(call.connect().is_some());
}

#[test]
fn replayed_plain_and_foreign_media_is_dropped() {
    let mut call = connected();
    let packet = protect(&mut call.browser, &rtp(1), Sender::protect_rtp);
    call.receive_at_server(addr(BROWSER), packet.clone());
    let mut forged = protect(&mut call.browser, &rtp(2), Sender::protect_rtp);
    *forged.last_mut().unwrap() ^= 1;
    for (packet, reason) in [
        (packet, DropReason::ReplayedMedia),
        (forged, DropReason::UnauthenticMedia),
        (rtp(3), DropReason::UnauthenticMedia),
    ] {
        let input = call.receive_at_server(addr(BROWSER), packet);
        assert_eq!(input, Input::Dropped(reason));
    }
}

#[test]
fn short_media_is_dropped_without_panic() {
    // S17: 0 to 40 bytes of SRTP and SRTCP.
    let mut call = connected();
    for second in [96, 200, 255] {
        for len in 1..=40 {
            let mut packet = vec![0x80; len];
            if let Some(byte) = packet.get_mut(1) {
                *byte = second;
            }
            let input = call.receive_at_server(addr(BROWSER), packet);
            assert!(
                matches!(
                    input,
                    Input::Dropped(DropReason::MalformedMedia | DropReason::UnauthenticMedia)
                ),
                "{second} {len}: {input:?}"
            );
        }
    }
    assert!(call.is_connected());
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
