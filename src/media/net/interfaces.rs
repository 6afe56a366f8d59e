//! The network interfaces of this machine and their addresses, asked of the kernel by rtnetlink (RFC 3549).
//!
//! Two dumps, links and addresses, on one socket. `/proc` tells IPv4 addresses without their interface; netlink tells
//! both, and which interfaces are bridges.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// One address of an interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// What kind of interface it is.
    pub kind: Kind,
}

/// What kind of interface it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A bridge.
    Bridge,
    /// Anything else.
    #[default]
    Other,
}

impl Interface {
    /// Returns whether it leads to containers or virtual machines on this machine: by its kind, or by the names that
    /// container engines and hypervisors give. Being one end of a veth pair says nothing: inside a container that is
    /// the way out.
    pub fn is_virtual(&self) -> bool {
        const PREFIXES: [&str; 11] = [
            "docker", "br-", "veth", "virbr", "lxcbr", "lxdbr", "podman", "cni", "cali", "flannel",
            "vnet",
        ];
        self.kind == Kind::Bridge || PREFIXES.iter().any(|prefix| self.name.starts_with(prefix))
    }
}

/// Every lasting address of every interface that is up, in the kernel's order.
///
/// # Errors
/// The kernel refuses, for example in a sandbox without `AF_NETLINK`.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    Ok(join(&dump(RTM_GETLINK)?, &dump(RTM_GETADDR)?))
}

/// Every address of this machine, those included that nobody is told: temporary ones, and those of links that are down.
///
/// # Errors
/// The kernel refuses, for example in a sandbox without `AF_NETLINK`.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let addresses = dump(RTM_GETADDR)?;
    Ok(all(&addresses).map(|found| found.address).collect())
}

/// All that the kernel answers a request for a dump.
fn dump(request: u16) -> io::Result<Vec<u8>> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::send(&socket, &dump_request(request), SendFlags::empty())?;
    let mut answer = Vec::new();
    loop {
        let mut buffer = vec![0; RECEIVE_BUFFER];
        let (received, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        let batch = buffer.get(..received).unwrap_or_default();
        answer.extend_from_slice(batch);
        let mut messages = Messages(batch);
        let last = messages.find(|message| matches!(message.kind, NLMSG_DONE | NLMSG_ERROR));
        match last.map(|message| message.kind) {
            Some(NLMSG_ERROR) => return Err(io::Error::other("the kernel refused a dump")),
            Some(_) => return Ok(answer),
            None if received == 0 || answer.len() > MAX_ANSWER => {
                return Err(io::Error::other("the kernel's dump does not end"));
            }
            None => {}
        }
    }
}

// Of linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h, linux/if_link.h and linux/if.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const IFF_UP: u32 = 1;
/// Temporary (RFC 8981), failed, deprecated or tentative (RFC 4862): nothing to tell others for longer.
const IFA_F_UNUSABLE: u32 = 0x01 | 0x08 | 0x20 | 0x40;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The kernel sends at most this much at once.
const RECEIVE_BUFFER: usize = 32 * 1024;
/// More than any machine has interfaces and addresses.
const MAX_ANSWER: usize = 16 << 20;

/// A dump request: a header and an empty `ifinfomsg`, whose first byte, the family, is 0 for all. It is longer than
/// `ifaddrmsg`, which the kernel accepts.
fn dump_request(kind: u16) -> [u8; 32] {
    let mut request = [0; 32];
    request[0..4].copy_from_slice(&32_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&kind.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    request[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    request
}

/// Joins the dumps of links and of addresses.
fn join(links: &[u8], addresses: &[u8]) -> Vec<Interface> {
    let links: BTreeMap<u32, (String, Kind)> = Messages(links)
        .filter(|message| message.kind == RTM_NEWLINK)
        .filter_map(|message| link(message.body))
        .collect();
    all(addresses)
        .filter(|found| found.is_lasting)
        .filter_map(|found| {
            let (name, kind) = links.get(&found.index)?.clone();
            Some(Interface {
                name,
                address: found.address,
                kind,
            })
        })
        .collect()
}

/// An address in a dump.
struct Found {
    index: u32,
    address: IpAddr,
    is_lasting: bool,
}

fn all(addresses: &[u8]) -> impl Iterator<Item = Found> {
    Messages(addresses)
        .filter(|message| message.kind == RTM_NEWADDR)
        .filter_map(|message| address(message.body))
}

/// The index, name and kind of a link that is up.
fn link(body: &[u8]) -> Option<(u32, (String, Kind))> {
    // struct ifinfomsg: family, pad, type (2), index (4), flags (4), change (4)
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)?;
    if flags & IFF_UP == 0 {
        return None;
    }
    let (mut name, mut kind) = (None, Kind::Other);
    for attribute in Attributes(body.get(16..)?) {
        if attribute.kind == IFLA_IFNAME {
            name = Some(text(attribute.body));
        } else if attribute.kind == IFLA_LINKINFO {
            let bridge = Attributes(attribute.body)
                .any(|info| info.kind == IFLA_INFO_KIND && text(info.body) == "bridge");
            kind = if bridge { Kind::Bridge } else { Kind::Other };
        }
    }
    Some((index, (name?, kind)))
}

/// The interface and the local address.
fn address(body: &[u8]) -> Option<Found> {
    // struct ifaddrmsg: family, prefix length, flags, scope, index (4)
    let family = *body.first()?;
    let mut flags = u32::from(*body.get(2)?);
    let index = u32_at(body, 4)?;
    let (mut address, mut local) = (None, None);
    for attribute in Attributes(body.get(8..)?) {
        match attribute.kind {
            IFA_ADDRESS => address = ip(family, attribute.body),
            IFA_LOCAL => local = ip(family, attribute.body),
            IFA_FLAGS => flags = u32_at(attribute.body, 0)?,
            _ => {}
        }
    }
    // On a point-to-point link the address is the other end's, and only the local one is ours.
    let address = local.or(address)?;
    // Of an IPv4 address the lowest bit says "secondary", which is as good as any.
    let is_lasting = address.is_ipv4() || flags & IFA_F_UNUSABLE == 0;
    Some(Found {
        index,
        address,
        is_lasting,
    })
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => <[u8; 4]>::try_from(bytes)
            .ok()
            .map(|octets| Ipv4Addr::from(octets).into()),
        AF_INET6 => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    let bytes = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// A typed part of a dump.
struct Part<'a> {
    kind: u16,
    body: &'a [u8],
}

/// Netlink messages, one after the other, each padded to four bytes. Ends at the first one that does not fit.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        // struct nlmsghdr: length (4), type (2), flags (2), sequence (4), port (4)
        let length = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let kind = u16_at(self.0, 4)?;
        let body = self.0.get(16..length)?;
        self.0 = after(self.0, length);
        Some(Part { kind, body })
    }
}

/// Route attributes, one after the other, each padded to four bytes. Ends at the first one that does not fit.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        // struct rtattr: length (2), type (2), whose two highest bits are flags
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let body = self.0.get(4..length)?;
        self.0 = after(self.0, length);
        Some(Part { kind, body })
    }
}

fn after(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(length.next_multiple_of(4)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len() + 4).expect("short");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 16).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(body);
        bytes
    }

    fn link_message(index: u32, up: bool, name: &str, kind: Option<&str>) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend_from_slice(&index.to_ne_bytes());
        body.extend_from_slice(&u32::from(up).to_ne_bytes());
        body.extend_from_slice(&[0; 4]);
        body.extend(attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat()));
        if let Some(kind) = kind {
            let info = attribute(IFLA_INFO_KIND, kind.as_bytes());
            body.extend(attribute(IFLA_LINKINFO | 0x8000, &info));
        }
        message(RTM_NEWLINK, &body)
    }

    fn address_message(index: u32, flags: u32, attributes: &[(u16, IpAddr)]) -> Vec<u8> {
        let family = if attributes[0].1.is_ipv4() {
            AF_INET
        } else {
            AF_INET6
        };
        let mut body = vec![family, 24, 0, 0];
        body.extend_from_slice(&index.to_ne_bytes());
        for (kind, address) in attributes {
            let octets = match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            body.extend(attribute(*kind, &octets));
        }
        body.extend(attribute(IFA_FLAGS, &flags.to_ne_bytes()));
        message(RTM_NEWADDR, &body)
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().expect("a test's address")
    }

    #[test]
    fn addresses_are_joined_with_links_that_are_up() {
        let links = [
            link_message(1, true, "lo", None),
            link_message(2, true, "eth0", None),
            link_message(3, true, "br0", Some("bridge")),
            link_message(4, false, "eth1", None),
            message(NLMSG_DONE, &[0; 4]),
        ]
        .concat();
        let addresses = [
            address_message(1, 0x80, &[(IFA_ADDRESS, addr("127.0.0.1"))]),
            // Secondary, and with the other end of a point-to-point link first.
            address_message(
                2,
                1,
                &[
                    (IFA_ADDRESS, addr("10.0.0.1")),
                    (IFA_LOCAL, addr("10.0.0.5")),
                ],
            ),
            address_message(2, 0x80, &[(IFA_ADDRESS, addr("2001:db8::5"))]),
            // Temporary and tentative.
            address_message(2, 1, &[(IFA_ADDRESS, addr("2001:db8::6"))]),
            address_message(2, 0x40, &[(IFA_ADDRESS, addr("2001:db8::7"))]),
            address_message(3, 0, &[(IFA_ADDRESS, addr("192.168.1.1"))]),
            address_message(4, 0, &[(IFA_ADDRESS, addr("192.168.2.1"))]),
            message(NLMSG_DONE, &[0; 4]),
        ]
        .concat();
        let found: Vec<_> = join(&links, &addresses)
            .into_iter()
            .map(|interface| {
                (
                    interface.name.clone(),
                    interface.address,
                    interface.is_virtual(),
                )
            })
            .collect();
        let expected = [
            ("lo", "127.0.0.1", false),
            ("eth0", "10.0.0.5", false),
            ("eth0", "2001:db8::5", false),
            ("br0", "192.168.1.1", true),
        ]
        .map(|(name, address, is_virtual)| (name.to_owned(), addr(address), is_virtual));
        assert_eq!(found, expected);
        let own: Vec<_> = all(&addresses).map(|found| found.address).collect();
        for hidden in ["2001:db8::6", "2001:db8::7", "192.168.2.1"] {
            assert!(own.contains(&addr(hidden)), "{hidden}");
        }
        assert_eq!(own.len(), 7);
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        let found = interfaces().expect("tests may ask the kernel");
        assert!(
            found.iter().any(|interface| interface.name == "lo"
                && interface.address == IpAddr::V4(Ipv4Addr::LOCALHOST)),
            "{found:?}"
        );
        let own = own_addresses().expect("tests may ask the kernel");
        let listed = |interface: &Interface| own.contains(&interface.address);
        assert!(found.iter().all(listed), "{own:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = join(&bytes, &bytes);
        }

        #[test]
        fn a_damaged_dump_is_read_without_a_panic(at in 0_usize..200, value: u8, cut in 0_usize..200) {
            let mut links = [link_message(2, true, "eth0", Some("bridge"))].concat();
            let mut addresses = address_message(2, 0, &[(IFA_ADDRESS, addr("10.0.0.5"))]);
            for bytes in [&mut links, &mut addresses] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
                bytes.truncate(cut.max(4));
            }
            let _ = join(&links, &addresses);
        }
    }
}
