//! Compares our SRTP with `rtc-srtp` byte by byte: `srtp-oracle [PACKETS [SEED]]`. Prints one line per profile and
//! fails on the first difference.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hanok::units::Random;
use hanok_peers::srtp::{PROFILES, compare};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let count = arguments.next().transpose()?.unwrap_or(30_000);
    let seed = match arguments.next().transpose()? {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    for profile in PROFILES {
        let compared = compare(profile, usize::try_from(count)?, &mut Random::seeded(seed))
            .with_context(|| format!("seed {seed}"))?;
        println!(
            "{profile:?}: {} RTP ({} after a wrap) and {} RTCP packets identical to rtc-srtp, {} forgeries refused, seed {seed}",
            compared.rtp, compared.after_a_wrap, compared.rtcp, compared.tampered
        );
    }
    Ok(())
}
