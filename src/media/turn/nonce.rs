//! Nonces that need no table: a time and a MAC over it and the client (RFC 8489 section 9.2, RFC 8656 section 5).
//!
//! ```text
//! "obMatJos2" | security features, 24 bits in base64 | time and MAC, 96 bits in base64
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq;

use super::five_tuple::FiveTuple;
use crate::units::Random;

/// How long a nonce is good: RFC 8656 section 5 recommends an hour.
pub(super) const NONCE_LIFETIME: Duration = Duration::from_secs(3_600);

/// Bytes in a nonce.
pub(super) const NONCE_LEN: usize = 29;

/// Says that the security features follow (RFC 8489 section 9.2).
const COOKIE: &[u8; 9] = b"obMatJos2";

/// Bits of the security features (RFC 8489 section 18.1, counted from the right as erratum 6290 has it): bit 0,
/// password algorithms. Bit 1, user name anonymity, stays unset: the hash of a time-limited name leads nowhere.
const FEATURES: &[u8; 4] = b"AAAB";

/// What became of a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    /// Too old, another client's, another server's, or made up.
    Stale,
}

/// The nonces of one server.
pub(super) struct Nonces {
    epoch: Instant,
    key: hmac::Key,
}

impl Nonces {
    pub(super) fn new(now: Instant, random: &mut Random) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        Self {
            epoch: now,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        }
    }

    /// A nonce that is good for this client alone.
    pub(super) fn issue(&self, now: Instant, client: &FiveTuple) -> [u8; NONCE_LEN] {
        let seconds = self.seconds(now);
        let mut raw = [0; 12];
        raw[..4].copy_from_slice(&seconds.to_be_bytes());
        raw[4..].copy_from_slice(&self.mac(seconds, client));
        let mut nonce = [0; NONCE_LEN];
        nonce[..9].copy_from_slice(COOKIE);
        nonce[9..13].copy_from_slice(FEATURES);
        STANDARD_NO_PAD
            .encode_slice(raw, &mut nonce[13..])
            .expect("12 bytes are 16 characters");
        nonce
    }

    pub(super) fn check(&self, now: Instant, client: &FiveTuple, nonce: &[u8]) -> Freshness {
        self.age(now, client, nonce)
            .filter(|age| *age < NONCE_LIFETIME)
            .map_or(Freshness::Stale, |_| Freshness::Fresh)
    }

    /// How old the nonce is, if it is ours and this client's.
    fn age(&self, now: Instant, client: &FiveTuple, nonce: &[u8]) -> Option<Duration> {
        let encoded = nonce.strip_prefix(COOKIE)?.strip_prefix(FEATURES)?;
        let mut raw = [0; 12];
        let len = STANDARD_NO_PAD.decode_slice(encoded, &mut raw).ok()?;
        let ([s0, s1, s2, s3], mac) = raw.get(..len)?.split_first_chunk::<4>()?;
        let seconds = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
        let authentic: bool = self.mac(seconds, client).as_slice().ct_eq(mac).into();
        let age = self.seconds(now).checked_sub(seconds)?;
        authentic.then(|| Duration::from_secs(age.into()))
    }

    fn seconds(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_secs() as u32
    }

    fn mac(&self, seconds: u32, client: &FiveTuple) -> [u8; 8] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&seconds.to_be_bytes());
        context.update(&client.to_bytes());
        let mut mac = [0; 8];
        mac.copy_from_slice(&context.sign().as_ref()[..8]);
        mac
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonces(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::five_tuple::Protocol;
    use super::*;
    use crate::testing::t0;

    fn nonces(seed: u64) -> Nonces {
        Nonces::new(t0(), &mut Random::seeded(seed))
    }

    fn client(port: u16) -> FiveTuple {
        FiveTuple::new(
            Protocol::Udp,
            ([198, 51, 100, 7], port).into(),
            ([192, 0, 2, 1], 3478).into(),
        )
    }

    #[test]
    fn a_nonce_is_good_for_its_client_until_its_lifetime_ends() {
        let nonces = nonces(1);
        let nonce = nonces.issue(t0(), &client(1));
        assert!(nonce.starts_with(b"obMatJos2AAAB"));
        let last = t0() + NONCE_LIFETIME - Duration::from_secs(1);
        assert_eq!(nonces.check(last, &client(1), &nonce), Freshness::Fresh);
        let over = t0() + NONCE_LIFETIME;
        assert_eq!(nonces.check(over, &client(1), &nonce), Freshness::Stale);
        assert_eq!(nonces.check(t0(), &client(2), &nonce), Freshness::Stale);
        let tcp = FiveTuple {
            protocol: Protocol::Tcp,
            ..client(1)
        };
        assert_eq!(nonces.check(t0(), &tcp, &nonce), Freshness::Stale);
    }

    #[test]
    fn another_servers_a_made_up_and_a_mutilated_nonce_are_stale() {
        let nonce = nonces(1).issue(t0(), &client(1));
        assert_eq!(nonces(2).check(t0(), &client(1), &nonce), Freshness::Stale);
        let nonces = nonces(1);
        for len in 0..NONCE_LEN {
            assert_eq!(
                nonces.check(t0(), &client(1), &nonce[..len]),
                Freshness::Stale
            );
        }
        for at in 0..NONCE_LEN {
            let mut flipped = nonce;
            flipped[at] ^= 1;
            assert_eq!(
                nonces.check(t0(), &client(1), &flipped),
                Freshness::Stale,
                "{at}"
            );
        }
        let mut longer = nonce.to_vec();
        longer.push(b'A');
        assert_eq!(nonces.check(t0(), &client(1), &longer), Freshness::Stale);
    }

    #[test]
    fn a_nonce_from_the_future_is_stale() {
        let nonces = nonces(1);
        let later = nonces.issue(t0() + Duration::from_secs(9), &client(1));
        assert_eq!(nonces.check(t0(), &client(1), &later), Freshness::Stale);
    }
}
