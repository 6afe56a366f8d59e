//! What one unauthenticated handshake may cost.

use std::process::Command;

use aws_lc_rs::digest::{SHA256, digest};
use hanok::media::stun::AttributeType;
use hanok::media::transport::Transport;
use hanok::testing::net::Conditions;
use hanok::testing::t0;
use hanok::units::Random;

use crate::call::{BROWSER, Call, Certificate, addr, below, check, identity, local_ice, path_from};
use crate::wire;

const HANDSHAKES: usize = 400;
const LIMIT: usize = 64 * 1024;
const ALONE: &str = "HANOK_SIM_MEMORY_ALONE";

/// Resident bytes of this process.
pub(crate) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// Whether this test, of this name, has the process for itself. If not, it has just been run in one of its own: other
/// tests share this one and its memory.
pub(crate) fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}

/// A ClientHello that the server answers, padded to the largest size.
fn largest_client_hello() -> Vec<u8> {
    let mut call = Call::new(1, Conditions::good());
    let (sender, sent) = std::sync::mpsc::channel();
    call.tamper = Some(Box::new(move |it| {
        sender.send(it.bytes.to_vec()).unwrap();
        vec![]
    }));
    call.run_for(std::time::Duration::from_millis(30));
    let datagram = sent.recv().unwrap();
    let mut body = wire::client_hello_body(&datagram).to_vec();
    let padding = 4_096 - body.len() - 4;
    let mut at = 34;
    for wide in [false, false, true, false] {
        at += if wide {
            2 + usize::from(u16::from_be_bytes([body[at], body[at + 1]]))
        } else {
            1 + usize::from(body[at])
        };
    }
    let extensions = u16::from_be_bytes([body[at], body[at + 1]]) + 4 + padding as u16;
    body[at..at + 2].copy_from_slice(&extensions.to_be_bytes());
    body.extend([0, 21]);
    body.extend((padding as u16).to_be_bytes());
    body.resize(4_096, 0);
    body
}

/// A handshake that is driven as far, and made to hold as much, as plaintext can.
fn hostile(hello: &[u8], seed: u64) -> Transport {
    let mut random = Random::seeded(seed);
    // Whoever negotiates may announce the fingerprint of whatever it will present.
    let mut certificate = vec![0, 0x0f, 0xfd, 0, 0x0f, 0xfa];
    certificate.resize(4_096, 0x30);
    let mut remote = Certificate::shared().remote();
    remote.fingerprints[0].digest = digest(&SHA256, &certificate[6..]).as_ref().to_vec();
    let mut transport = Transport::new(t0(), local_ice(), Some(remote), identity());
    let path = path_from(addr(BROWSER));
    let mut input = |mut packet: Vec<u8>| {
        transport.handle_input(t0(), path, &mut packet);
        while transport.poll_output().is_some() {}
    };
    input(check(&[AttributeType::USE_CANDIDATE], 1));
    for total in 3_000..3_100 {
        input(wire::piece(1, 0, total, 0, &[1; 1_000]));
    }
    for (at, part) in hello.chunks(1_000).enumerate() {
        input(wire::piece(1, 0, hello.len(), at * 1_000, part));
    }
    for _ in 0..20 {
        input(wire::piece(1, 0, hello.len(), 0, hello));
    }
    // A certificate list of 4 kB, then parts of everything else, alerts, ChangeCipherSpecs and ciphertext.
    input(wire::piece(11, 1, 4_096, 0, &certificate));
    for _ in 0..100 {
        let (kind, number, limit) =
            [(1, 0, 4_096), (11, 1, 4_096), (16, 2, 512), (15, 3, 1_024)][below(&mut random, 4)];
        let total = limit - below(&mut random, 40);
        input(wire::piece(
            kind,
            number,
            total,
            1,
            &vec![1; (total - 1).min(1_400)],
        ));
        input(wire::record(20, 0, &[1]));
        input(wire::record(22, 1, &[1; 1_400]));
        input(wire::record(23, 1, &[1; 1_400]));
        input(wire::record(22, 0, &[11; 1_400]));
    }
    assert!(
        transport.poll_timeout().is_some(),
        "still alive, so holding"
    );
    transport
}

#[test]
fn an_unauthenticated_handshake_holds_at_most_64_kib() {
    if !is_alone("memory::an_unauthenticated_handshake_holds_at_most_64_kib") {
        return;
    }
    let hello = largest_client_hello();
    drop(hostile(&hello, 0));
    let before = resident();
    let held: Vec<Transport> = (1..=HANDSHAKES as u64)
        .map(|seed| hostile(&hello, seed))
        .collect();
    let each = (resident() - before) / HANDSHAKES;
    assert_eq!(held.len(), HANDSHAKES);
    assert!(
        held.iter()
            .all(|transport| transport.counters().dtls.datagrams_out > 0),
        "the handshakes have begun"
    );
    assert!(each > 4_096, "{each} bytes: nothing was measured");
    assert!(each <= LIMIT, "{each} bytes");
    println!("{each} bytes each");
}
