//! The simple network time protocol (RFC 4330), as far as it takes to compare clocks. Pure.

use subtle::ConstantTimeEq;

use crate::units::Random;

/// Seconds from the beginning of NTP's time, 1900, to that of Unix, 1970.
const UNIX_EPOCH: u64 = 2_208_988_800;

/// Version 4, client.
const REQUEST: u8 = 0x23;

/// Bytes of a message without extensions.
pub(super) const MESSAGE: usize = 48;

/// A request; what it says of the time it was sent is random, so that nobody but who sees it can answer, and that it
/// tells nothing of our clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    nonce: [u8; 8],
    /// Our clock when it was made, in milliseconds since the Unix epoch.
    sent_ms: u64,
}

impl Request {
    pub(super) fn new(random: &mut Random, now_ms: u64) -> Self {
        let mut nonce = [0; 8];
        random.fill(&mut nonce);
        Self {
            nonce,
            sent_ms: now_ms,
        }
    }

    pub(super) fn bytes(&self) -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        message[0] = REQUEST;
        message[40..].copy_from_slice(&self.nonce);
        message
    }

    /// How far our clock is ahead, in milliseconds, if `answer`, received at `now_ms`, answers this request.
    pub(super) fn ahead_ms(&self, answer: &[u8], now_ms: u64) -> Option<i64> {
        let message: &[u8; MESSAGE] = answer.get(..MESSAGE)?.try_into().ok()?;
        let (leap, mode, stratum) = (message[0] >> 6, message[0] & 7, message[1]);
        let is_ours = bool::from(message[24..32].ct_eq(&self.nonce));
        let is_synchronized = leap != 3 && (1..16).contains(&stratum);
        if mode != 4 || !is_synchronized || !is_ours {
            return None;
        }
        let sent = since(&message[32..40], self.sent_ms)?;
        let received = since(&message[40..48], now_ms)?;
        // The way there and the way back are taken to be equally long.
        Some(-(sent + received) / 2)
    }
}

/// How many milliseconds the timestamp lies after our time. It has 32 bits of seconds, which begin again in 2036: of all
/// that it may mean, the nearest is meant.
fn since(timestamp: &[u8], ours_ms: u64) -> Option<i64> {
    let word = |at: usize| {
        let bytes: [u8; 4] = timestamp.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes))
    };
    let (seconds, fraction) = (word(0)?, word(4)?);
    // The low 32 bits are what the timestamp has of them.
    let ours = (ours_ms / 1000).wrapping_add(UNIX_EPOCH) as u32;
    let seconds = i64::from(seconds.wrapping_sub(ours) as i32);
    let fraction_ms = i64::try_from((u64::from(fraction) * 1000) >> 32).ok()?;
    let ours_fraction_ms = i64::try_from(ours_ms % 1000).ok()?;
    Some(seconds * 1000 + fraction_ms - ours_fraction_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_795_000_000_250;

    /// What a server says whose clock shows so many milliseconds since the Unix epoch.
    fn answer(request: &Request, shows_ms: u64) -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        message[0] = 0x24;
        message[1] = 2;
        message[24..32].copy_from_slice(&request.bytes()[40..]);
        let seconds = ((shows_ms / 1000 + UNIX_EPOCH) & 0xffff_ffff) as u32;
        let fraction = (((shows_ms % 1000) << 32) / 1000) as u32;
        for at in [32, 40] {
            message[at..at + 4].copy_from_slice(&seconds.to_be_bytes());
            message[at + 4..at + 8].copy_from_slice(&fraction.to_be_bytes());
        }
        message
    }

    fn request() -> Request {
        Request::new(&mut Random::seeded(1), NOW_MS)
    }

    #[test]
    fn the_difference_of_clocks_is_found() {
        let request = request();
        for (shows_ms, ahead_ms) in [
            (NOW_MS, 0),
            (NOW_MS - 3_600_000, 3_600_000),
            (NOW_MS + 86_400_000, -86_400_000),
            // Behind the end of NTP's first era, in 2036.
            (2_100_000_000_000, -305_000_000_000 + 250),
        ] {
            let found = request
                .ahead_ms(&answer(&request, shows_ms), NOW_MS)
                .unwrap();
            assert!((found - ahead_ms).abs() <= 1_000, "{shows_ms}: {found}");
        }
        // Half of the time on the way is taken off.
        let late = request
            .ahead_ms(&answer(&request, NOW_MS + 50), NOW_MS + 100)
            .unwrap();
        assert!(late.abs() <= 1, "{late}");
    }

    #[test]
    fn what_is_no_answer_does_not_count() {
        let request = request();
        let good = answer(&request, NOW_MS);
        assert!(request.ahead_ms(&good, NOW_MS).is_some());
        for (at, byte) in [(0, 0x23), (0, 0xe4), (1, 0), (1, 16), (24, !good[24])] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(request.ahead_ms(&bad, NOW_MS), None, "{at} {byte}");
        }
        assert_eq!(request.ahead_ms(&good[..47], NOW_MS), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..60), now_ms: u64) {
            let request = request();
            if let Some(nonce) = bytes.get_mut(24..32) {
                nonce.copy_from_slice(&request.bytes()[40..]);
            }
            if let Some(begin) = bytes.get_mut(..2) {
                begin.copy_from_slice(&[0x24, 1]);
            }
            let _ = request.ahead_ms(&bytes, now_ms);
        }
    }
}
