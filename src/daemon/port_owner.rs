//! Who has a port that we cannot take, for the message that tells the operator what to stop.

use std::fs;
use std::path::Path;

/// What the port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// As people write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// The process that listens on `port`, as `NAME (pid PID)`; `None` if it cannot be found, as for other users' processes
/// when we are not root.
pub(super) fn port_owner(protocol: Protocol, port: u16) -> Option<String> {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => &["/proc/net/udp", "/proc/net/udp6"],
    };
    let inode = tables.iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table
            .lines()
            .skip(1)
            .find_map(|line| listening_inode(line, protocol, port))
    })?;
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(entry.path().join("fd"))
            .ok()?
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == Path::new(&socket)));
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        holds.then(|| format!("{} (pid {pid})", name.trim()))
    })
}

/// The inode of a line of `/proc/net/{tcp,udp}` that is a socket waiting on `port`.
fn listening_inode(line: &str, protocol: Protocol, port: u16) -> Option<u64> {
    const TCP_LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let local_port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
    (local_port == port && (protocol == Protocol::Udp || state == TCP_LISTEN))
        .then(|| inode.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_ours_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let owner = port_owner(Protocol::Tcp, listener.local_addr().unwrap().port()).unwrap();
        assert!(
            owner.contains(&format!("(pid {})", std::process::id())),
            "{owner}"
        );
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let owner = port_owner(Protocol::Udp, socket.local_addr().unwrap().port()).unwrap();
        assert!(
            owner.contains(&format!("(pid {})", std::process::id())),
            "{owner}"
        );
    }

    #[test]
    fn a_free_port_has_no_owner_and_garbage_is_no_line() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert_eq!(port_owner(Protocol::Tcp, port), None);
        for line in ["", "0:", "  1: zz:zz 00000000:0000 0A x x x x x x"] {
            assert_eq!(listening_inode(line, Protocol::Tcp, 1), None);
        }
    }
}
