//! What `/proc` says of a process (proc(5)), and of sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::time::Duration;

use crate::telemetry::service::receive_drops;

/// What a process has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage {
    /// Nanoseconds on a processor, system calls included, by thread.
    threads: BTreeMap<OsString, u64>,
    /// Resident memory.
    pub(super) rss_kib: u64,
}

impl Usage {
    /// The processor time of all threads since `before`. What threads used that have ended meanwhile is not in it.
    pub(super) fn cpu_since(&self, before: &Self) -> Duration {
        let used = self.threads.iter().map(|(thread, ns)| {
            let earlier = before.threads.get(thread).copied().unwrap_or(0);
            ns.saturating_sub(earlier)
        });
        Duration::from_nanos(used.sum())
    }
}

/// What process `pid` has used so far; `None` means this one.
pub(super) fn usage(pid: Option<u32>) -> io::Result<Usage> {
    let folder = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("{folder}/task"))? {
        let thread = thread?;
        // Nanoseconds on a processor come first; clock ticks, in `stat`, are too coarse for a window of seconds.
        match fs::read_to_string(thread.path().join("schedstat")) {
            Ok(text) => {
                threads.insert(thread.file_name(), first_number(&text));
            }
            // The thread has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let status = fs::read_to_string(format!("{folder}/status"))?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(Usage {
        threads,
        rss_kib: rss.map_or(0, first_number),
    })
}

fn first_number(text: &str) -> u64 {
    let word = text.split_ascii_whitespace().next();
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Datagrams that UDP sockets bound to `ports` of this host could not hold, as far as the kernel tells.
pub(super) fn socket_drops(ports: &BTreeSet<u16>) -> u64 {
    receive_drops("self", ports)
}

/// Datagrams that UDP sockets bound to `ports` could not hold, in the network of process `pid`.
pub(super) fn socket_drops_of(pid: u32, ports: &BTreeSet<u16>) -> u64 {
    receive_drops(&pid.to_string(), ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_processor_and_memory() {
        let before = usage(None).unwrap();
        let mut sum = 0_u64;
        while usage(None).unwrap().cpu_since(&before) < Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_mul(31) + 1);
        }
        assert!(before.rss_kib > 1_000, "{before:?}");
        let same = usage(Some(std::process::id())).unwrap();
        assert!(same.cpu_since(&before) >= Duration::from_millis(5));
        assert!(usage(Some(u32::MAX)).is_err());
    }
}
