//! The ports that this configuration needs, and who has them.

use std::fs;

use crate::config::Config;
use crate::config::ports::{Need, needs, workers};
use crate::host::port_owner::{self, Process, Waiting};

/// What the kernel calls our own process.
pub(in crate::daemon::doctor) const OURS: &str = "hanok";

/// What was seen.
pub(super) struct Ports {
    pub(super) needs: Vec<Need>,
    pub(super) workers: usize,
    pub(super) sockets: Vec<(Waiting, Vec<Process>)>,
    pub(super) daemon: Option<Process>,
}

pub(super) fn look(config: &Config, cores: usize) -> Ports {
    let workers = workers(config, cores);
    let needs = needs(config, workers);
    let mut sockets = port_owner::waiting();
    sockets.retain(|socket| {
        let is_needed = |need: &Need| {
            // Media goes on to the next free port, so others of its range matter, too.
            let ports = if need.is_media() {
                config.media.ports
            } else {
                need.ports
            };
            need.protocol == socket.protocol
                && need.bound_at_start > 0
                && ports.contains(socket.at.port())
        };
        needs.iter().any(is_needed)
    });
    let sockets = port_owner::with_holders(sockets);
    let holder = sockets.iter().flat_map(|(_, holders)| holders);
    let holder = holder.clone().find(|process| process.name == OURS).cloned();
    Ports {
        needs,
        workers,
        // Other users' sockets are seen by root only; that a daemon runs is seen by everybody.
        daemon: holder.or_else(serving),
        sockets,
    }
}

/// A `hanok serve` that runs, but only where nobody can say whose ports are whose.
fn serving() -> Option<Process> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let own = std::process::id();
    port_owner::pids()
        .filter(|pid| *pid != own)
        .find_map(|pid| {
            let name = port_owner::name(pid).filter(|name| name == OURS)?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let mut arguments = line.split(|byte| *byte == 0);
            arguments
                .any(|argument| argument == b"serve")
                .then_some(Process { pid, name })
        })
}
