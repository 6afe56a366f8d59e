//! Who has a port: for the message that tells the operator what to stop, and for the doctor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use crate::config::ports::Protocol;

/// A socket that waits for connections or datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where.
    pub at: SocketAddr,
    inode: u64,
}

#[cfg(test)]
impl Waiting {
    /// One that nobody holds.
    pub(crate) const fn for_test(protocol: Protocol, at: SocketAddr) -> Self {
        let inode = 0;
        Self {
            protocol,
            at,
            inode,
        }
    }
}

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// What the kernel calls it: the first 15 bytes of the program's name.
    pub name: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

impl Protocol {
    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// The process that listens on `port`, as `NAME (pid PID)`; `None` if it cannot be found, as for other users' processes
/// when we are not root.
pub fn port_owner(protocol: Protocol, port: u16) -> Option<String> {
    let mut sockets = waiting();
    sockets.retain(|socket| socket.protocol == protocol && socket.at.port() == port);
    let holders = holders(&sockets);
    let mut held = sockets
        .iter()
        .filter_map(|socket| holders.get(&socket.inode));
    held.find_map(|holders| Some(holders.first()?.to_string()))
}

/// Every socket of this network namespace that waits for TCP connections, and every UDP socket.
pub fn waiting() -> Vec<Waiting> {
    let mut waiting = Vec::new();
    for (protocol, tables) in [
        (Protocol::Tcp, ["/proc/net/tcp", "/proc/net/tcp6"]),
        (Protocol::Udp, ["/proc/net/udp", "/proc/net/udp6"]),
    ] {
        for table in tables {
            let table = fs::read_to_string(table).unwrap_or_default();
            let lines = table.lines().skip(1);
            waiting.extend(lines.filter_map(|line| read_line(line, protocol)));
        }
    }
    waiting
}

/// Who holds these sockets, by inode; those of other users are seen by root only.
fn holders(sockets: &[Waiting]) -> BTreeMap<u64, Vec<Process>> {
    let wanted: BTreeMap<String, u64> = sockets
        .iter()
        .map(|socket| (format!("socket:[{}]", socket.inode), socket.inode))
        .collect();
    let mut holders: BTreeMap<u64, Vec<Process>> = BTreeMap::new();
    if wanted.is_empty() {
        return holders;
    }
    for pid in pids() {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        let held: BTreeSet<u64> = descriptors
            .flatten()
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .filter_map(|target| wanted.get(target.to_str()?).copied())
            .collect();
        if let Some(name) = name(pid).filter(|_| !held.is_empty()) {
            for inode in held {
                let process = Process {
                    pid,
                    name: name.clone(),
                };
                holders.entry(inode).or_default().push(process);
            }
        }
    }
    holders
}

/// These sockets, each with who holds it.
pub fn with_holders(sockets: Vec<Waiting>) -> Vec<(Waiting, Vec<Process>)> {
    let mut holders = holders(&sockets);
    let held = |socket: Waiting| {
        let holders = holders.remove(&socket.inode).unwrap_or_default();
        (socket, holders)
    };
    sockets.into_iter().map(held).collect()
}

/// Every process that we may see, by number.
pub fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// What the kernel calls a process.
pub fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim().to_owned())
}

/// A line of `/proc/net/{tcp,udp}[6]`, if that socket waits.
fn read_line(line: &str, protocol: Protocol) -> Option<Waiting> {
    const TCP_LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let at = SocketAddr::new(read_address(address)?, u16::from_str_radix(port, 16).ok()?);
    (protocol == Protocol::Udp || state == TCP_LISTEN).then_some(Waiting {
        protocol,
        at,
        inode,
    })
}

/// An address as the kernel prints it: words of 32 bits, each as a number of the machine's own byte order.
fn read_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let octets: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
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
    fn what_waits_is_listed_with_its_address_and_holders() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has no such listener.
            let Ok(listener) = std::net::TcpListener::bind(address) else {
                continue;
            };
            let at = listener.local_addr().unwrap();
            let mut found = waiting();
            found.retain(|socket| socket.protocol == Protocol::Tcp && socket.at == at);
            assert_eq!(found.len(), 1, "{at}");
            let (_, holders) = with_holders(found).remove(0);
            assert_eq!(holders.len(), 1);
            assert_eq!(holders[0].pid, std::process::id());
        }
    }

    #[test]
    fn a_free_port_has_no_owner_and_garbage_is_no_line() {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        assert_eq!(port_owner(Protocol::Tcp, port), None);
        for line in [
            "",
            "0:",
            "  1: zz:zz 00000000:0000 0A x x x x x x",
            "  1: 0100007F:1F90 00000000:0000 0A x x x x x inode",
            "  1: 0100:1F90 00000000:0000 0A x x x x x 1",
            "  1: 한한00000:1F90 00000000:0000 0A x x x x x 1",
        ] {
            assert_eq!(read_line(line, Protocol::Tcp), None, "{line}");
        }
    }
}
