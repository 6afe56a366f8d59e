//! How long a check of a secret takes says nothing about where it fails (robustness S12).
//!
//! Two guesses, one wrong in its first byte and one wrong in its last, are checked in random order, each check is timed,
//! and the means of the two groups are compared by Welch's t-test. A comparison that stops at the first difference is
//! measured in the same way: it must be found out, or the measurement would prove nothing.

use std::hint::black_box;

use hanok::media::stun::{
    AttributeType, Class, LongTermKey, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};
use hanok::units::{Random, Secret, clock};

/// Timed checks of each kind.
const CHECKS: usize = 1_000_000;

/// Checks before the clock counts.
const WARM_UP: usize = 50_000;

/// |t| beyond which the groups differ.
const BOUND: f64 = 4.5;

/// Times what `check` says to what is `right` but for its first byte, and but for its last.
fn t_of(right: &[u8], mut check: impl FnMut(&[u8]) -> bool) -> f64 {
    let guesses = [0, right.len() - 1].map(|at| {
        let mut guess = right.to_vec();
        guess[at] ^= 1;
        guess
    });
    let mut given = right.to_vec();
    let mut random = Random::seeded(1);
    let mut times: [Vec<u32>; 2] = [Vec::new(), Vec::new()];
    for at in 0..CHECKS + WARM_UP {
        let group = (random.u32() & 1) as usize;
        // Every guess comes out of the same memory, written in the same way.
        given.copy_from_slice(&guesses[group]);
        let began = clock::now();
        let is_right = check(black_box(&given));
        let took = began.elapsed();
        assert!(!is_right);
        if at >= WARM_UP {
            times[group].push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
        }
    }
    // Interruptions are not what is measured: the slowest tenth of all, whichever group it falls into, is left out.
    let mut all: Vec<u32> = times.iter().flatten().copied().collect();
    let (_, limit, _) = all.select_nth_unstable(CHECKS / 10 * 9);
    let [first, second] = times.map(|group| {
        let kept = group.into_iter().filter(|time| time <= limit);
        Moments::of(&kept.collect::<Vec<_>>())
    });
    (first.mean - second.mean) / (first.error + second.error).sqrt()
}

struct Moments {
    mean: f64,
    /// The variance of the mean.
    error: f64,
}

impl Moments {
    fn of(times: &[u32]) -> Self {
        let count = times.len() as f64;
        let mean = times.iter().copied().map(f64::from).sum::<f64>() / count;
        let squares = times.iter().map(|time| (f64::from(*time) - mean).powi(2));
        let variance = squares.sum::<f64>() / (count - 1.0);
        Self {
            mean,
            error: variance / count,
        }
    }
}

/// A request whose last attribute is the integrity; its bytes and where the tag stands.
fn request(algorithm: PasswordAlgorithm) -> (Vec<u8>, usize, LongTermKey) {
    let key = LongTermKey::new(algorithm, "1700000000:alice", "hanok", "a password");
    let mut buffer = vec![0; 256];
    let id = TransactionId([7; 12]);
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::REFRESH, id);
    writer.attribute(AttributeType::USERNAME, b"1700000000:alice");
    let tag = match algorithm {
        PasswordAlgorithm::Md5 => {
            writer.integrity(&key.sha1_integrity());
            20
        }
        PasswordAlgorithm::Sha256 => {
            writer.integrity(&key.sha256_integrity());
            32
        }
    };
    let len = writer.finish().unwrap();
    buffer.truncate(len);
    (buffer, len - tag, key)
}

#[test]
#[ignore = "measures time for a minute: scripts/test --long constant-time, on a quiet machine"]
fn where_a_guess_is_wrong_does_not_show_in_the_time_that_its_check_takes() {
    for algorithm in [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256] {
        let (mut bytes, at, key) = request(algorithm);
        let integrity = match algorithm {
            PasswordAlgorithm::Md5 => key.sha1_integrity(),
            PasswordAlgorithm::Sha256 => key.sha256_integrity(),
        };
        assert!(Message::parse(&bytes).unwrap().is_authentic(&integrity));
        let right = bytes[at..].to_vec();
        let t = t_of(&right, |guess| {
            bytes[at..].copy_from_slice(guess);
            Message::parse(&bytes).unwrap().is_authentic(&integrity)
        });
        println!("MESSAGE-INTEGRITY, {algorithm:?}: t = {t:.2}");
        assert!(t.abs() < BOUND, "{algorithm:?}: {t}");

        // The same check, and one more of the kind that stops early.
        let t = t_of(&right, |guess| {
            bytes[at..].copy_from_slice(guess);
            let is_authentic = Message::parse(&bytes).unwrap().is_authentic(&integrity);
            let mut pairs = guess.iter().zip(&right);
            is_authentic | pairs.all(|(guess, right)| black_box(guess) == black_box(right))
        });
        println!("with a comparison that stops early: t = {t:.2}");
        assert!(t.abs() > BOUND, "nothing would have been noticed: {t}");
    }
    let text = "a secret of OpenVidu's own length";
    let secret = Secret::new(text);
    let t = t_of(text.as_bytes(), |guess| secret.matches(guess));
    println!("OPENVIDU_SECRET: t = {t:.2}");
    assert!(t.abs() < BOUND, "{t}");
}
