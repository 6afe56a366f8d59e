//! Our TURN server beside coturn: how many messages both answered alike, and where they mean to differ.

use hanok_peers::turn::{DIFFERENCES, compare};

fn main() -> anyhow::Result<()> {
    let compared = compare()?;
    println!(
        "{} messages, {} answered alike, {} otherwise and for a reason",
        compared.messages, compared.same, compared.explained
    );
    for row in DIFFERENCES {
        println!(
            "{}: {} (coturn: {}): {}",
            row.at, row.ours, row.theirs, row.because
        );
    }
    Ok(())
}
