//! Randomness that the caller hands to a core: the system's in production, a seeded sequence in tests.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// A source of random numbers and identifiers.
#[derive(Debug)]
pub struct Random(Source);

#[derive(Debug)]
enum Source {
    System(SystemRandom),
    #[cfg(any(test, feature = "testing"))]
    Seeded(u64),
}

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Random {
    /// The system's cryptographic generator.
    pub fn system() -> Self {
        Self(Source::System(SystemRandom::new()))
    }

    /// A repeatable sequence for tests (SplitMix64); never for secrets.
    #[cfg(any(test, feature = "testing"))]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(seed))
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        match &mut self.0 {
            Source::System(system) => system
                .fill(out)
                .expect("the system's generator does not fail once seeded"),
            #[cfg(any(test, feature = "testing"))]
            Source::Seeded(state) => {
                for chunk in out.chunks_mut(8) {
                    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = *state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    let bytes = (z ^ (z >> 31)).to_le_bytes();
                    chunk.copy_from_slice(&bytes[..chunk.len()]);
                }
            }
        }
    }

    /// A random 32-bit number.
    pub fn u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// A random 64-bit number.
    pub fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// `len` characters of `[A-Za-z0-9]`, each equally likely.
    pub fn alphanumeric(&mut self, len: usize) -> String {
        self.chosen_from(ALPHANUMERIC, len)
    }

    /// One upper-case letter followed by `len - 1` of `[A-Za-z0-9]`: the shape of OpenVidu's identifiers.
    pub fn identifier(&mut self, len: usize) -> String {
        let mut id = self.chosen_from(&ALPHANUMERIC[..26], 1.min(len));
        id.push_str(&self.alphanumeric(len.saturating_sub(1)));
        id
    }

    fn chosen_from(&mut self, alphabet: &[u8], len: usize) -> String {
        // Rejection keeps every character equally likely.
        let limit = 256 - 256 % alphabet.len();
        let mut text = String::with_capacity(len);
        let mut bytes = [0; 64];
        while text.len() < len {
            self.fill(&mut bytes);
            for byte in bytes {
                if usize::from(byte) < limit && text.len() < len {
                    text.push(char::from(alphabet[usize::from(byte) % alphabet.len()]));
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats() {
        assert_eq!(
            Random::seeded(7).alphanumeric(40),
            Random::seeded(7).alphanumeric(40)
        );
        assert_ne!(
            Random::seeded(7).alphanumeric(40),
            Random::seeded(8).alphanumeric(40)
        );
    }

    #[test]
    fn identifiers_begin_with_a_capital() {
        let mut random = Random::system();
        for _ in 0..100 {
            let id = random.identifier(10);
            assert_eq!(id.len(), 10);
            assert!(id.starts_with(|c: char| c.is_ascii_uppercase()), "{id}");
            assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
        }
    }
}
