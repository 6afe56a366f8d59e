//! Which peers a client may reach. A relay that reaches everything is a door into its own network, so everything that
//! is not public unicast is refused unless the operator says otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// IPv4 blocks that are not globally reachable (IANA IPv4 Special-Purpose Address Registry), multicast, and the
/// address of the Azure platform's services, which lies in public space.
const DENIED_V4: [(Ipv4Addr, u8); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// The one IPv6 block from which global unicast addresses come (RFC 4291 section 2.4). All else, such as loopback,
/// unique local, link-local, IPv4-mapped and multicast addresses, lies outside.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Blocks inside it that are not globally reachable (IANA IPv6 Special-Purpose Address Registry): protocol
/// assignments with Teredo among them, and documentation.
const DENIED_V6: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Where translators between the protocols put IPv4 addresses (RFC 6052 section 2.1).
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x0064, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// What a peer's address is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// One of our own: reachable inside the process only, port by port.
    Own,
    /// Somebody else, reachable through a relay socket.
    Foreign,
    /// Not to be reached.
    Denied,
}

/// Whether an address is public unicast: somebody on the Internet may have it.
pub fn is_globally_reachable(ip: IpAddr) -> bool {
    let by_default = PeerPolicy::default().classify(ip.to_canonical(), &[]);
    by_default == Reach::Foreign && !matches!(ip, IpAddr::V6(ip) if in_v6(ip, NAT64))
}

/// The operator's lists on top of the default ones.
#[derive(Debug, Clone, Default)]
pub struct PeerPolicy {
    /// Networks that may be reached although the default, or `denied`, says no.
    pub allowed: Vec<IpNet>,
    /// Networks that may not be reached.
    pub denied: Vec<IpNet>,
}

impl PeerPolicy {
    /// Classifies an address; `own` are ours, in every form in which they can be named.
    pub(super) fn classify(&self, ip: IpAddr, own: &[IpAddr]) -> Reach {
        if own.contains(&ip) {
            return Reach::Own;
        }
        if contains(&self.allowed, ip) {
            return Reach::Foreign;
        }
        let embedded = match ip {
            IpAddr::V4(_) => [None; 2],
            IpAddr::V6(ip) => embedded_v4(ip).map(|inner| inner.map(IpAddr::V4)),
        };
        let hides_denied = embedded
            .into_iter()
            .flatten()
            .any(|inner| own.contains(&inner) || self.is_denied(inner));
        if hides_denied || self.is_denied(ip) {
            Reach::Denied
        } else {
            Reach::Foreign
        }
    }

    fn is_denied(&self, ip: IpAddr) -> bool {
        contains(&self.denied, ip)
            || match ip {
                IpAddr::V4(ip) => DENIED_V4.iter().any(|block| in_v4(ip, *block)),
                IpAddr::V6(ip) => {
                    !(in_v6(ip, GLOBAL_V6) || in_v6(ip, NAT64))
                        || DENIED_V6.iter().any(|block| in_v6(ip, *block))
                }
            }
    }
}

fn contains(networks: &[IpNet], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

fn in_v4(ip: Ipv4Addr, (block, len): (Ipv4Addr, u8)) -> bool {
    (ip.to_bits() ^ block.to_bits()) >> (32 - len) == 0
}

fn in_v6(ip: Ipv6Addr, (block, len): (Ipv6Addr, u8)) -> bool {
    (ip.to_bits() ^ block.to_bits()) >> (128 - len) == 0
}

/// The IPv4 addresses behind a global IPv6 address: NAT64's (RFC 6052) and 6to4's (RFC 3056), and ISATAP's
/// (RFC 5214), which any prefix can carry. Other embeddings lie in blocks that are denied as a whole.
fn embedded_v4(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let bits = ip.to_bits();
    let prefix = if in_v6(ip, NAT64) {
        Some(Ipv4Addr::from_bits(bits as u32))
    } else if ip.segments()[0] == 0x2002 {
        Some(Ipv4Addr::from_bits((bits >> 80) as u32))
    } else {
        None
    };
    let isatap = matches!(ip.segments(), [.., 0x0000 | 0x0200, 0x5efe, _, _])
        .then(|| Ipv4Addr::from_bits(bits as u32));
    [prefix, isatap]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::special_addresses;

    fn classify(policy: &PeerPolicy, ip: &str) -> Reach {
        let own = ["198.51.100.1".parse().unwrap(), "10.0.0.5".parse().unwrap()];
        policy.classify(ip.parse().unwrap(), &own)
    }

    #[test]
    fn public_unicast_is_reached_and_everything_else_is_denied() {
        let policy = PeerPolicy::default();
        for (name, ip, is_reached) in special_addresses::public() {
            let reach = if is_reached {
                Reach::Foreign
            } else {
                Reach::Denied
            };
            assert_eq!(policy.classify(ip, &[]), reach, "{name}");
        }
        for (name, ip) in special_addresses::refused() {
            assert_eq!(policy.classify(ip, &[]), Reach::Denied, "{name}");
        }
    }

    #[test]
    fn public_unicast_is_globally_reachable_in_whatever_form() {
        for (address, expected) in [
            ("9.9.9.9", true),
            ("::ffff:9.9.9.9", true),
            ("2606:4700::1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("64:ff9b::909:909", false),
            ("fd00::1", false),
            ("::1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(is_globally_reachable(address), expected, "{address}");
        }
    }

    #[test]
    fn an_own_address_is_own_even_if_private_but_not_inside_another() {
        let policy = PeerPolicy::default();
        for ip in ["198.51.100.1", "10.0.0.5"] {
            assert_eq!(classify(&policy, ip), Reach::Own);
        }
        let own = Ipv4Addr::new(8, 8, 4, 4);
        assert_eq!(policy.classify(own.into(), &[own.into()]), Reach::Own);
        for way in special_addresses::EMBEDDINGS {
            let reach = policy.classify((way.of)(own).into(), &[own.into()]);
            assert_eq!(reach, Reach::Denied, "{}", way.name);
        }
    }

    #[test]
    fn the_operators_lists_go_on_top_and_allowing_wins() {
        let policy = PeerPolicy {
            allowed: vec![
                "10.1.0.0/16".parse().unwrap(),
                "8.8.8.8/32".parse().unwrap(),
            ],
            denied: vec!["8.8.8.0/24".parse().unwrap(), "2a00::/16".parse().unwrap()],
        };
        for (ip, reach) in [
            ("10.1.2.3", Reach::Foreign),
            ("10.2.2.3", Reach::Denied),
            ("8.8.8.8", Reach::Foreign),
            ("8.8.8.9", Reach::Denied),
            ("2a00:1450::1", Reach::Denied),
            ("64:ff9b::8.8.8.9", Reach::Denied),
            ("::ffff:10.1.2.3", Reach::Denied),
            ("10.0.0.5", Reach::Own),
        ] {
            assert_eq!(classify(&policy, ip), reach, "{ip}");
        }
    }
}
