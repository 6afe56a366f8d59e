//! RTP and RTCP through a connected transport.

use std::time::Duration;

use hanok::media::transport::srtp::{MAX_OVERHEAD, Sender};
use hanok::media::transport::{DropReason, Input};
use hanok::testing::net::Conditions;

use crate::call::{BROWSER, Call, addr, path_from, protect, rtcp, rtp};

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
