//! What the kernel grants and keeps: limits, buffers, port ranges, the clock, space on disks.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Resource, getrlimit};

use super::command;
use crate::daemon::doctor::facts::{Clock, Disk, Kernel};
use crate::units::PortRange;

/// `daemon` is the process that runs; without it, what this process was granted.
pub(super) fn look(daemon: Option<u32>) -> Kernel {
    let number = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?;
        text.trim().parse().ok()
    };
    let ipv4 =
        |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let granted = match daemon {
        Some(pid) => fs::read_to_string(format!("/proc/{pid}/limits"))
            .ok()
            .and_then(|limits| descriptors(&limits)),
        None => getrlimit(Resource::Nofile).maximum.or(Some(u64::MAX)),
    };
    Kernel {
        descriptors: granted,
        buffers: [number("rmem_max"), number("wmem_max")],
        ephemeral: ephemeral(&ipv4("ip_local_port_range")),
        reserved: reserved(&ipv4("ip_local_reserved_ports")),
        sends_runs: sends_runs(),
    }
}

/// The hard limit in `/proc/PID/limits` (proc_pid_limits(5)): what the daemon may have, it takes.
fn descriptors(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_ascii_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Two numbers.
fn ephemeral(text: &str) -> Option<PortRange> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    PortRange::new(numbers.next()?.ok()?, numbers.next()?.ok()?)
}

/// Numbers and ranges, comma separated.
fn reserved(text: &str) -> Vec<PortRange> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        PortRange::new(first.trim().parse().ok()?, last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

/// Asked as the media threads ask.
fn sends_runs() -> Option<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    let state = quinn_udp::UdpSocketState::new((&socket).into()).ok()?;
    Some(state.max_gso_segments() > 1)
}

/// Whether packets to the world's IPv6 addresses have a way out.
pub(super) fn has_v6_route() -> bool {
    let routes = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    routes.lines().any(is_v6_default)
}

/// A default route that does not refuse: destination `::/0`, not on the loopback interface.
fn is_v6_default(line: &str) -> bool {
    const REJECT: u32 = 0x200;
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, length, .., flags, device] = fields.as_slice() else {
        return false;
    };
    let refuses = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & REJECT != 0);
    destination.bytes().all(|digit| digit == b'0') && *length == "00" && *device != "lo" && !refuses
}

/// The file system of the state folder, or of where it would be made.
pub(super) fn disk(state: &Path) -> Option<Disk> {
    let path = state.ancestors().find(|folder| folder.exists())?;
    let found = statvfs(path).ok()?;
    Some(Disk {
        path: path.to_owned(),
        free: found.f_bavail.saturating_mul(found.f_frsize),
        files: (found.f_files > 0).then_some(found.f_favail),
        is_read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// What the system says of its clock, beside what time servers say.
pub(super) fn clock(ahead_ms: Option<i64>) -> Clock {
    let asked = command::output(
        "timedatectl",
        &["show", "--property=NTPSynchronized", "--value"],
    );
    let is_kept = match asked.as_deref().map(str::trim) {
        Ok("yes") => Some(true),
        Ok("no") => Some(false),
        Ok(_) | Err(_) => None,
    };
    Clock { ahead_ms, is_kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_prints_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             7000                 7000                 processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(descriptors(limits), Some(524_288));
        assert_eq!(
            descriptors(&limits.replace("524288", "unlimited")),
            Some(u64::MAX)
        );
        assert_eq!(descriptors("Max open files"), None);
        let range = |first, last| PortRange::new(first, last).unwrap();
        assert_eq!(ephemeral("32768\t60999\n"), Some(range(32_768, 60_999)));
        assert_eq!(ephemeral("32768"), None);
        assert_eq!(reserved("\n"), []);
        assert_eq!(
            reserved("8080,40000-40127,57001-65535\n"),
            [
                range(8080, 8080),
                range(40_000, 40_127),
                range(57_001, 65_535)
            ]
        );
    }

    #[test]
    fn a_default_route_leads_out() {
        let line = |destination: &str, length: &str, flags: &str, device: &str| {
            let none = "0".repeat(32);
            format!(
                "{destination} {length} {none} 00 {none} 00000400 00000001 00000000 {flags} {device}"
            )
        };
        let any = "0".repeat(32);
        assert!(is_v6_default(&line(&any, "00", "00000003", "eth0")));
        assert!(!is_v6_default(&line(&any, "00", "00200200", "lo")));
        assert!(!is_v6_default(&line(&any, "00", "00000200", "eth0")));
        let link = format!("fe80{}", "0".repeat(28));
        assert!(!is_v6_default(&line(&link, "40", "00000001", "eth0")));
        assert!(!is_v6_default("") && !is_v6_default("a b"));
    }

    #[test]
    fn this_kernel_answers() {
        let kernel = look(None);
        assert!(kernel.descriptors.is_some_and(|limit| limit > 0));
        assert!(kernel.sends_runs.is_some());
        assert!(disk(Path::new("/nowhere/at/all")).is_some_and(|disk| disk.path == Path::new("/")));
    }
}
