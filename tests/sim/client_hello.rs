//! ClientHellos in pieces.

use std::time::Duration;

use hanok::testing::net::Conditions;
use hanok::units::Random;

use crate::call::{Call, Sent, below};
use crate::wire;

/// Replaces the client's ClientHellos by what `cut` makes of their bodies.
fn connect(mut cut: impl FnMut(&[u8]) -> Vec<Vec<u8>> + 'static) -> Call {
    let mut call = Call::new(1, Conditions::good());
    call.tamper = Some(Box::new(move |sent: Sent<'_>| {
        if sent.to_server && wire::first_message(sent.bytes) == Some(1) {
            return cut(wire::client_hello_body(sent.bytes));
        }
        vec![sent.bytes.to_vec()]
    }));
    call.connect();
    call
}

/// The body in `count` datagrams.
fn pieces(body: &[u8], count: usize) -> Vec<Vec<u8>> {
    let size = body.len() / count;
    let pieces: Vec<_> = body
        .chunks(size)
        .enumerate()
        .map(|(at, part)| wire::piece(1, 0, body.len(), at * size, part))
        .collect();
    assert!(pieces.len() >= count, "really cut");
    pieces
}

fn assert_at_once(call: &Call, what: &str) {
    assert!(call.is_connected(), "{what}: {:?}", call.failure());
    assert_eq!(call.elapsed(), Duration::from_millis(60), "{what}");
}

#[test]
fn in_any_number_of_pieces_it_is_as_fast_as_whole() {
    for count in [2, 8, 40] {
        let call = connect(move |body| pieces(body, count));
        assert_at_once(&call, "in order");
        let call = connect(move |body| pieces(body, count).into_iter().rev().collect());
        assert_at_once(&call, "reversed");
        let call = connect(move |body| {
            let pieces = pieces(body, count);
            pieces
                .iter()
                .cloned()
                .chain(pieces.iter().cloned())
                .collect()
        });
        assert_at_once(&call, "repeated");
        for seed in 0..10 {
            let call = connect(move |body| {
                let mut pieces = pieces(body, count);
                let mut random = Random::seeded(seed);
                for i in (1..pieces.len()).rev() {
                    pieces.swap(i, below(&mut random, i + 1));
                }
                pieces
            });
            assert_at_once(&call, "shuffled");
        }
    }
}

#[test]
fn several_pieces_may_share_a_datagram_or_a_record() {
    let call = connect(|body| vec![pieces(body, 6).concat()]);
    assert_at_once(&call, "one datagram");
    let call = connect(|body| {
        let messages: Vec<u8> = pieces(body, 6)
            .iter()
            .flat_map(|record| record[13..].to_vec())
            .collect();
        vec![wire::record(22, 0, &messages)]
    });
    assert_at_once(&call, "one record");
}

#[test]
fn overlapping_pieces_make_the_message() {
    let call = connect(|body| {
        let total = body.len();
        vec![
            wire::piece(1, 0, total, 0, &body[..50]),
            wire::piece(1, 0, total, 25, &body[25..75]),
            wire::piece(1, 0, total, 10, &body[10..30]),
            wire::piece(1, 0, total, 70, &body[70..]),
        ]
    });
    assert_at_once(&call, "overlap");
}

#[test]
fn a_lost_piece_is_made_up_by_the_repetition_with_the_same_cuts() {
    let mut attempt = 0;
    let call = connect(move |body| {
        attempt += 1;
        let mut pieces = pieces(body, 2);
        if attempt == 1 {
            pieces.pop();
        }
        pieces
    });
    assert!(call.is_connected());
    assert!(
        call.elapsed() < Duration::from_millis(140),
        "{:?}",
        call.elapsed()
    );
}

#[test]
fn firefox_may_cut_elsewhere_after_three_damaged_attempts() {
    let mut attempt = 0;
    let call = connect(move |body| {
        attempt += 1;
        let total = body.len();
        match attempt {
            1..=3 => vec![wire::piece(1, 0, total, 0, &body[..total - 20])],
            4 => vec![wire::piece(1, 0, total, total - 40, &body[total - 40..])],
            _ => vec![],
        }
    });
    assert!(call.is_connected(), "{:?}", call.failure());
    assert!(
        call.elapsed() < Duration::from_millis(800),
        "{:?}",
        call.elapsed()
    );
    assert_eq!(call.transport.counters().dtls.client_hello_fragments, 4);
}

#[test]
fn the_offer_is_read_from_whatever_piece_it_is_in() {
    let call = connect(|body| pieces(body, 40));
    let offer = call.transport.counters().dtls.offer.clone().unwrap();
    assert!(offer.dtls_1_2 && !offer.dtls_1_3);
    assert_eq!(offer.profiles.len(), 3);
}
