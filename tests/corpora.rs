//! Replays the committed fuzz corpora, and mutations of them, through the entries of the fuzz targets: what fuzzing
//! needs a nightly compiler for stays checked on stable.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hanok::control::signalling::refusal_of;
use hanok::media::rtp::RtpPacket;
use hanok::media::rtp::rtcp::Compound;
use hanok::media::stun::{IntegrityKey, Message};
use hanok::testing::fuzz::{TARGETS, forwarded, handshake_begins};
use hanok::units::Random;

const MUTATIONS: u64 = 2_000;

macro_rules! replayed {
    ($($target:ident),* $(,)?) => {
        /// The targets that have a test below.
        const REPLAYED: &[&str] = &[$(stringify!($target)),*];

        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*
    };
}

replayed!(
    stun,
    stun_server,
    turn_server,
    srtp,
    rtp,
    descriptor,
    header_extension,
    router,
    rtcp,
    sdp_answer_publisher,
    sdp_answer_subscriber,
    sdp_accept_answer,
    client_hello,
    dotenv,
    json_rpc,
    nginx,
    compose,
);

#[test]
fn every_target_is_replayed_and_has_a_fuzz_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        targets,
        REPLAYED.iter().map(|name| (*name).to_owned()).collect()
    );
    assert_eq!(targets, names_in(&root.join("corpus")));
    assert_eq!(targets, names_in(&root.join("fuzz_targets")));
}

/// A replay of seeds that a decoder turns down at its door would prove nothing.
#[test]
fn the_seeds_get_past_the_door() {
    let check = read("stun", "ice_check");
    let check = Message::parse(&check).expect("a STUN message");
    let key = IntegrityKey::short_term("VOkJxbRl1RmTxUk/WvJxBt");
    assert!(check.is_authentic(&key));
    for name in names_in(&corpus("rtp")) {
        assert!(RtpPacket::parse(&read("rtp", &name)).is_ok(), "{name}");
    }
    for name in names_in(&corpus("rtcp")) {
        assert!(Compound::new(&read("rtcp", &name)).count() > 0, "{name}");
    }
    for name in names_in(&corpus("router")) {
        // Two subscribers get a key frame and more.
        assert!(forwarded(&read("router", &name)) >= 4, "{name}");
    }
    for name in [
        "join_room",
        "join_room_by_secret",
        "publish_video",
        "send_message",
        "force_unpublish",
        "force_disconnect",
        "apply_filter",
        "exec_filter_method",
    ] {
        let frame = String::from_utf8(read("json_rpc", name)).expect("text");
        assert_eq!(refusal_of(&frame), None);
    }
    for name in names_in(&corpus("client_hello")) {
        let datagrams = read("client_hello", &name);
        assert!(
            handshake_begins(&datagrams) != (name == "record_longer_than_datagram"),
            "{name}"
        );
    }
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

fn read(target: &str, name: &str) -> Vec<u8> {
    fs::read(corpus(target).join(name)).expect("a readable file")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .expect("the folder is committed")
        .map(|entry| entry.expect("a readable folder").path())
        .map(|path| {
            path.file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

fn replay(target: &str) {
    let (_, entry) = TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .expect("a target");
    let folder = corpus(target);
    let names: Vec<_> = names_in(&folder).into_iter().collect();
    assert!(!names.is_empty());
    let corpus: Vec<Vec<u8>> = names.iter().map(|name| read(target, name)).collect();
    for (index, (name, seed)) in names.iter().zip(&corpus).enumerate() {
        check(*entry, seed, || format!("{target}/{name}"));
        for mutation in 0..MUTATIONS {
            let mut random = Random::seeded(mutation << 16 | index as u64);
            let mutated = mutate(seed, &corpus, &mut random);
            check(*entry, &mutated, || {
                format!("{target}/{name}, mutation {mutation}")
            });
        }
    }
}

fn check(entry: fn(&[u8]), bytes: &[u8], name: impl Fn() -> String) {
    if catch_unwind(AssertUnwindSafe(|| entry(bytes))).is_err() {
        panic!("{}: {:?}", name(), String::from_utf8_lossy(bytes));
    }
}

/// One to four changes of the kinds that libFuzzer makes.
fn mutate(seed: &[u8], corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=below(random, 4) {
        let (from, to) = range(&bytes, random);
        match below(random, 9) {
            0 => change_byte(&mut bytes, random, |byte, random| {
                byte ^ 1 << below(random, 8)
            }),
            1 => change_byte(&mut bytes, random, |_, random| {
                [0, 1, 0x7f, 0x80, 0xff][below(random, 5)]
            }),
            2 => change_byte(&mut bytes, random, |byte, random| {
                byte.wrapping_add([1, 255][below(random, 2)])
            }),
            3 => bytes.truncate(to),
            4 => drop(bytes.drain(from..to)),
            5 => {
                let copy = bytes[from..to].to_vec();
                bytes.splice(from..from, copy);
            }
            6 => {
                let mut noise = vec![0; 1 + below(random, 16)];
                random.fill(&mut noise);
                bytes.splice(from..from, noise);
            }
            7 => {
                let other = &corpus[below(random, corpus.len())];
                let (other_from, other_to) = range(other, random);
                bytes.splice(from..to, other[other_from..other_to].iter().copied());
            }
            _ => change_line(&mut bytes, random),
        }
    }
    bytes
}

fn change_byte(bytes: &mut [u8], random: &mut Random, change: impl Fn(u8, &mut Random) -> u8) {
    if !bytes.is_empty() {
        let at = below(random, bytes.len());
        bytes[at] = change(bytes[at], random);
    }
}

/// Drops, repeats or moves a line.
fn change_line(bytes: &mut Vec<u8>, random: &mut Random) {
    let mut lines: Vec<Vec<u8>> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    if lines.is_empty() {
        return;
    }
    let line = lines.remove(below(random, lines.len()));
    for _ in 0..below(random, 3) {
        let at = below(random, lines.len() + 1);
        lines.insert(at, line.clone());
    }
    *bytes = lines.concat();
}

fn range(bytes: &[u8], random: &mut Random) -> (usize, usize) {
    let (a, b) = (
        below(random, bytes.len() + 1),
        below(random, bytes.len() + 1),
    );
    (a.min(b), a.max(b))
}

fn below(random: &mut Random, limit: usize) -> usize {
    (random.u64() % limit as u64) as usize
}
