//! `hanok doctor`: what would keep a call from working here.
//!
//! Probes (`probe`) gather `facts`, pure functions (`findings`) judge them. It looks as the daemon looks when it starts, with
//! the same functions, and works whether or not one runs; that is why it lives here.

mod dns;
mod facts;
mod findings;
mod firewall;
mod probe;
mod sntp;

use crate::config::{Loaded, Machine, ThisMachine};
use crate::views::finding::Finding;

/// Examines this machine for `loaded`; asks nobody outside, name servers included, unless `may_ask`.
///
/// # Errors
/// There are no threads to be had for the probes.
pub fn examine(loaded: &Loaded, may_ask: bool) -> anyhow::Result<Vec<Finding>> {
    let facts = probe::gather(loaded, may_ask, ThisMachine.cores())?;
    Ok(findings::judge(loaded, &facts))
}
