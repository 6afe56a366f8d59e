//! What the kernel says of this process (proc(5)), by the names that every Prometheus client library has for it.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::views::metric::{Family, Kind};

/// Ticks of `/proc/PID/stat` in a second: the same on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory, descriptors, processor time, threads, and the start, which the caller knows, in
/// seconds since the epoch. What cannot be read is left out:
/// of `/proc` only the folder of this process need be there (`ProcSubset=pid`).
pub fn families(started_at: u64) -> Vec<Family> {
    let read = |path| fs::read_to_string(path).ok();
    let mut families = vec![Family::gauge(
        "process_start_time_seconds",
        "When this process began, in seconds since 1970.",
        started_at,
    )];
    if let Some(seconds) = read("/proc/self/stat").and_then(|text| cpu_seconds(&text)) {
        families.push(Family {
            kind: Kind::Counter,
            ..Family::gauge(
                "process_cpu_seconds_total",
                "Processor time that this process has used.",
                seconds,
            )
        });
    }
    if let Some(sizes) = read("/proc/self/status").and_then(|text| Sizes::parse(&text)) {
        families.push(Family::gauge(
            "process_resident_memory_bytes",
            "Memory that this process occupies.",
            sizes.resident_bytes,
        ));
        families.push(Family::gauge(
            "process_virtual_memory_bytes",
            "Address space of this process.",
            sizes.virtual_bytes,
        ));
        families.push(Family::gauge(
            "process_threads",
            "Threads of this process.",
            sizes.threads,
        ));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        families.push(Family::gauge(
            "process_open_fds",
            "File descriptors that are open.",
            // The listing has one itself.
            open.count().saturating_sub(1),
        ));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        families.push(Family::gauge(
            "process_max_fds",
            "File descriptors that may be open.",
            limit,
        ));
    }
    families
}

/// What `/proc/PID/stat` says of processor time. The name of a program, in brackets, may hold anything, even brackets and
/// blanks.
fn cpu_seconds(text: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first of them is field 3 of proc(5).
    let seconds = |field: usize| {
        let ticks: u64 = fields.get(field.checked_sub(3)?)?.parse().ok()?;
        Some(ticks as f64 / TICKS_PER_SECOND)
    };
    Some(seconds(14)? + seconds(15)?)
}

/// What `/proc/PID/status` says of memory and threads.
#[derive(Debug, PartialEq, Eq)]
struct Sizes {
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
}

impl Sizes {
    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let bytes = |name| Some(value(name)?.saturating_mul(1024));
        Some(Self {
            resident_bytes: bytes("VmRSS")?,
            virtual_bytes: bytes("VmSize")?,
            threads: value("Threads")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::metric::Value;

    #[test]
    fn a_program_may_be_called_anything() {
        let stat =
            "42 (a) b (c) S 1 1 1 0 -1 4194560 1 0 0 0 70 30 0 0 20 0 7 0 12345 1048576 25 1844";
        assert_eq!(cpu_seconds(stat), Some(1.0));
        assert_eq!(cpu_seconds("42 (a"), None);
        assert_eq!(cpu_seconds("42 (a) S 1 2 3"), None);
        assert_eq!(Sizes::parse("VmRSS:\t 12 kB\nThreads:\t7\n"), None);
    }

    #[test]
    fn this_process_has_memory_threads_descriptors_and_a_beginning() {
        let families = families(1_700_000_000);
        let value = |name: &str| {
            let family = families.iter().find(|family| family.name == name);
            match family.unwrap_or_else(|| panic!("{name}")).samples[0].value {
                Value::Whole(value) => value as f64,
                Value::Real(value) => value,
                Value::Durations(_) => panic!("{name}"),
            }
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert_eq!(value("process_start_time_seconds"), 1.7e9);
    }
}
