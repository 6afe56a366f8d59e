//! A connected peer that is not heard for a while.

use std::time::Duration;

use hanok::media::transport::srtp::Sender;
use hanok::media::transport::{FailureReason, Output};
use hanok::testing::net::Conditions;

use crate::call::{BROWSER, Call, addr, check, protect, rtcp, rtp};

const QUIET: Duration = Duration::from_secs(8);

/// Connected, and the browser has just stopped checking; what happened before is forgotten.
fn falls_silent() -> Call {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    call.run_for(Duration::from_secs(60));
    call.browser.silent = true;
    // What is on its way still counts.
    call.run_for(Duration::from_secs(1));
    let media = protect(&mut call.browser, &rtp(1), Sender::protect_rtp);
    call.receive_at_server(addr(BROWSER), media);
    call.events.clear();
    call
}

fn outputs(call: &Call) -> Vec<&Output> {
    call.events.iter().map(|(_, output)| output).collect()
}

#[test]
fn a_peer_that_checks_is_never_quiet() {
    let mut call = Call::new(1, Conditions::good());
    call.connect().unwrap();
    call.events.clear();
    call.run_for(Duration::from_secs(120));
    assert_eq!(call.events, []);
}

#[test]
fn a_peer_goes_quiet_once_exactly_eight_seconds_after_the_last_packet() {
    let mut call = falls_silent();
    call.run_for(QUIET - Duration::from_millis(1));
    assert_eq!(call.events, []);
    call.run_for(Duration::from_millis(1));
    assert_eq!(outputs(&call), [&Output::WentQuiet]);
    call.run_for(Duration::from_secs(12));
    assert_eq!(call.events.len(), 1);
    call.run_for(Duration::from_secs(12));
    let failed = Output::Failed(FailureReason::IceTimeout);
    assert_eq!(outputs(&call), [&Output::WentQuiet, &failed]);
}

#[test]
fn media_alone_keeps_a_peer_from_being_quiet() {
    let mut call = falls_silent();
    for sequence in 2..5 {
        call.run_for(QUIET - Duration::from_millis(1));
        let media = protect(&mut call.browser, &rtp(sequence), Sender::protect_rtp);
        call.receive_at_server(addr(BROWSER), media);
    }
    assert_eq!(call.events, []);
}

#[test]
fn a_check_media_or_a_report_ends_the_silence_and_a_new_one_is_told_again() {
    let mut call = falls_silent();
    for round in 0..3_u16 {
        call.run_for(QUIET);
        assert_eq!(outputs(&call), [&Output::WentQuiet], "{round}");
        call.events.clear();
        let packet = match round {
            0 => check(&[], 77),
            1 => protect(&mut call.browser, &rtp(2), Sender::protect_rtp),
            _ => protect(&mut call.browser, &rtcp(), Sender::protect_rtcp),
        };
        call.receive_at_server(addr(BROWSER), packet);
        assert_eq!(outputs(&call), [&Output::HeardAgain], "{round}");
        call.events.clear();
    }
}

#[test]
fn what_is_not_authentic_ends_no_silence() {
    let mut call = falls_silent();
    let seen = protect(&mut call.browser, &rtp(2), Sender::protect_rtp);
    call.receive_at_server(addr(BROWSER), seen.clone());
    call.run_for(QUIET);
    assert_eq!(outputs(&call), [&Output::WentQuiet]);
    let mut forged_check = check(&[], 77);
    *forged_check.last_mut().unwrap() ^= 1;
    let mut forged_media = protect(&mut call.browser, &rtp(3), Sender::protect_rtp);
    *forged_media.last_mut().unwrap() ^= 1;
    let dtls = vec![22, 254, 253, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0];
    for packet in [seen, forged_check, forged_media, rtp(4), rtcp(), dtls] {
        call.receive_at_server(addr(BROWSER), packet);
    }
    call.run_for(Duration::from_secs(8));
    assert_eq!(outputs(&call), [&Output::WentQuiet]);
}

#[test]
fn who_never_connected_never_goes_quiet() {
    let mut call = Call::new(1, Conditions::good());
    call.browser.mute_after = Some(0);
    call.run_for(Duration::from_secs(60));
    assert!(!outputs(&call).contains(&&Output::WentQuiet));
}
