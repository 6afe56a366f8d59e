//! Composition root: construct, wire, start, drain.

use crate::config::Config;

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// It could not start; with [`Misconfigured`](crate::config::Misconfigured) the exit status is 78.
pub fn serve(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the daemon is not wired yet")
}
