//! Who talks to the server: a client's transport address and ours (RFC 8656 section 2).

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use crate::units::Random;

/// How a client reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Datagrams, whose source address anybody can forge.
    Udp,
    /// A TCP connection; the five-tuple lives as long as it does.
    Tcp,
    /// TLS over TCP.
    Tls,
}

/// A client's address, the server's address that it uses, and the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiveTuple {
    /// How the client reaches the server.
    pub protocol: Protocol,
    /// The client's transport address, as the server sees it.
    pub client: SocketAddr,
    /// The server's transport address.
    pub server: SocketAddr,
}

impl FiveTuple {
    /// A client whose address a socket for both families may show as an IPv4-mapped one.
    pub fn new(protocol: Protocol, client: SocketAddr, server: SocketAddr) -> Self {
        Self {
            protocol,
            client: canonical(client),
            server: canonical(server),
        }
    }

    /// The tuple in a form of fixed length, for hashes.
    pub(super) fn to_bytes(self) -> [u8; 37] {
        let mut bytes = [0; 37];
        bytes[0] = self.protocol as u8;
        for (at, addr) in [(1, self.client), (19, self.server)] {
            let ip = match addr.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            bytes[at..at + 16].copy_from_slice(&ip.octets());
            bytes[at + 16..at + 18].copy_from_slice(&addr.port().to_be_bytes());
        }
        bytes
    }
}

impl Hash for FiveTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.to_bytes());
    }
}

/// An IPv4-mapped address as the IPv4 address that it is, and without a flow label. The scope stays: to a link-local
/// address nothing can be sent without it.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    match (addr, addr.ip().to_canonical()) {
        (SocketAddr::V6(scoped), IpAddr::V6(ip)) => {
            SocketAddrV6::new(ip, addr.port(), 0, scoped.scope_id()).into()
        }
        (SocketAddr::V4(_) | SocketAddr::V6(_), ip) => SocketAddr::new(ip, addr.port()),
    }
}

/// The two kinds of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Its place in a pair.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Its number in REQUESTED-ADDRESS-FAMILY (RFC 8656 section 18.8).
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }
}

/// Hashes with a key that outsiders do not know, so that they cannot choose what collides.
#[derive(Clone)]
pub(super) struct KeyedHash([u8; 16]);

impl KeyedHash {
    pub(super) fn new(random: &mut Random) -> Self {
        let mut key = [0; 16];
        random.fill(&mut key);
        Self(key)
    }
}

impl fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHash(..)")
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.0);
        hasher
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_client_is_the_v4_client_that_it_is() {
        let server = "192.0.2.1:3478".parse().unwrap();
        let mapped = FiveTuple::new(
            Protocol::Udp,
            "[::ffff:198.51.100.7]:4000".parse().unwrap(),
            server,
        );
        let plain = FiveTuple::new(Protocol::Udp, "198.51.100.7:4000".parse().unwrap(), server);
        assert_eq!(mapped, plain);
    }

    #[test]
    fn every_part_of_the_tuple_counts() {
        let base = FiveTuple::new(
            Protocol::Udp,
            "198.51.100.7:4000".parse().unwrap(),
            "192.0.2.1:3478".parse().unwrap(),
        );
        let mut all = vec![base.to_bytes()];
        for (protocol, client, server) in [
            (Protocol::Tcp, "198.51.100.7:4000", "192.0.2.1:3478"),
            (Protocol::Udp, "198.51.100.8:4000", "192.0.2.1:3478"),
            (Protocol::Udp, "198.51.100.7:4001", "192.0.2.1:3478"),
            (Protocol::Udp, "198.51.100.7:4000", "192.0.2.2:3478"),
            (Protocol::Udp, "198.51.100.7:4000", "192.0.2.1:3479"),
        ] {
            let other = FiveTuple::new(protocol, client.parse().unwrap(), server.parse().unwrap());
            all.push(other.to_bytes());
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 6);
    }
}
