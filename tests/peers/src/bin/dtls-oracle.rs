//! `rtc-dtls` as client against our transport, in virtual time: for every offer the profile and the keys must agree.

use anyhow::Context;
use hanok_peers::dtls::{OFFERS, compare, refuse_another_certificate};

fn main() -> anyhow::Result<()> {
    for (offer, expected) in OFFERS {
        compare(offer, expected).with_context(|| format!("{offer:?}"))?;
        println!("{offer:?}: {expected:?} chosen, media opened in both directions");
    }
    refuse_another_certificate()?;
    println!("another certificate than the described one: refused");
    Ok(())
}
