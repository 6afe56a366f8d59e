//! Which addresses clients are told: the candidates of the SDP, and `coturnIp` (design section 2).
//!
//! Pure: the composition root collects the [`Facts`] (configuration, resolver, [`interfaces`](super::interfaces)).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::media::net::interfaces::Interface;

/// What the rule looks at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// `HANOK_EXTERNAL_IP`.
    pub external: &'a [IpAddr],
    /// `MEDIA_NODES_PUBLIC_IPS`: private and public address.
    pub nodes: &'a [(IpAddr, IpAddr)],
    /// `DOMAIN_OR_PUBLIC_IP`, if it is a literal address.
    pub domain_address: Option<IpAddr>,
    /// What the resolver says about `DOMAIN_OR_PUBLIC_IP`, if it is a name.
    pub resolved: &'a [IpAddr],
    /// The addresses of this machine.
    pub interfaces: &'a [Interface],
    /// `HANOK_BIND`: addresses that media is not bound on are no candidates.
    pub bind: &'a [IpAddr],
    /// `serve --dev`.
    pub dev: bool,
}

/// The addresses to tell, best first, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Never empty, without duplicates.
    pub addresses: Vec<IpAddr>,
    /// The rule that yielded the first one.
    pub reason: Reason,
}

/// The rule that yielded the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `HANOK_EXTERNAL_IP`.
    External,
    /// `MEDIA_NODES_PUBLIC_IPS`.
    MediaNodes,
    /// A literal `DOMAIN_OR_PUBLIC_IP`.
    DomainAddress,
    /// The DNS answer for the domain: this machine has private addresses only.
    DomainResolved,
    /// The addresses of the interfaces.
    Interfaces,
    /// There is nothing but the loopback interface.
    LoopbackOnly,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::External => "HANOK_EXTERNAL_IP",
            Self::MediaNodes => "MEDIA_NODES_PUBLIC_IPS",
            Self::DomainAddress => "DOMAIN_OR_PUBLIC_IP is an address",
            Self::DomainResolved => {
                "the domain's DNS answer, since this machine has private addresses only; behind a CDN set \
                 HANOK_EXTERNAL_IP"
            }
            Self::Interfaces => "the addresses of the network interfaces",
            Self::LoopbackOnly => "there is no other address than loopback",
        })
    }
}

impl fmt::Display for Addresses {
    /// The one line for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("candidate addresses:")?;
        for (index, address) in self.addresses.iter().enumerate() {
            let comma = if index == 0 { " " } else { ", " };
            write!(f, "{comma}{address}")?;
        }
        write!(f, " ({})", self.reason)
    }
}

/// Chooses the candidate addresses: the first rule that yields something wins.
///
/// 1. `HANOK_EXTERNAL_IP`;
/// 2. the public half of `MEDIA_NODES_PUBLIC_IPS` whose private half is ours;
/// 3. a literal `DOMAIN_OR_PUBLIC_IP` that is not loopback;
/// 4. the DNS answer of the domain, where the machine has private addresses only;
/// 5. the unicast addresses of the interfaces that are up, without loopback, link-local, docker and bridges.
///
/// Rules 4 and 5 are applied per address family: on EC2 IPv4 is translated while IPv6 is global, and one rule for both
/// would lose one of them. An address of ours that a told one stands for by 1:1 translation follows with lower
/// priority, for clients inside. In `--dev` loopback comes last: stock Firefox pairs loopback with nothing else.
pub fn candidates(facts: &Facts<'_>) -> Addresses {
    let own = own_addresses(facts);
    let mut chosen = first_rule(facts, &own);
    let mut told = Vec::with_capacity(chosen.addresses.len() + 1);
    for address in &chosen.addresses {
        push(&mut told, *address);
    }
    for address in &chosen.addresses {
        if !own.contains(address) {
            // 1:1 translation: what it is translated to are our private addresses of that family.
            let behind = own
                .iter()
                .filter(|ours| ours.is_ipv4() == address.is_ipv4() && is_private(**ours));
            behind.for_each(|ours| push(&mut told, *ours));
        }
    }
    if facts.dev {
        push(&mut told, IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    chosen.addresses = told;
    chosen
}

fn first_rule(facts: &Facts<'_>, own: &[IpAddr]) -> Addresses {
    let external: Vec<_> = facts
        .external
        .iter()
        .copied()
        .filter(|address| is_bound_family(facts.bind, *address))
        .collect();
    if !external.is_empty() {
        return because(Reason::External, external);
    }
    let is_ours = |address: &IpAddr| own.contains(address) || has(facts.interfaces, *address);
    let nodes: Vec<_> = facts
        .nodes
        .iter()
        .filter(|(private, _)| is_ours(private))
        .map(|(_, public)| *public)
        .collect();
    if !nodes.is_empty() {
        return because(Reason::MediaNodes, nodes);
    }
    if let Some(address) = facts.domain_address
        && is_unicast(address)
    {
        return because(Reason::DomainAddress, vec![address]);
    }
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = own.iter().partition(|address| address.is_ipv4());
    let (v4, v4_reason) = resolved_or_own(facts.resolved, v4);
    let (v6, v6_reason) = resolved_or_own(facts.resolved, v6);
    let reason = if v4.is_empty() { v6_reason } else { v4_reason };
    let mut addresses = [v4, v6].concat();
    // What everybody reaches stands before what only neighbours reach.
    addresses.sort_by_key(|address| is_private(*address));
    if facts.dev {
        addresses.truncate(1);
    }
    if addresses.is_empty() {
        let loopback = if facts.bind.iter().any(IpAddr::is_ipv4) {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        };
        return because(Reason::LoopbackOnly, vec![loopback]);
    }
    because(reason, addresses)
}

/// Rules 4 and 5 for the addresses `own` of one family.
fn resolved_or_own(resolved: &[IpAddr], own: Vec<IpAddr>) -> (Vec<IpAddr>, Reason) {
    let Some(family) = own.first().map(IpAddr::is_ipv4) else {
        return (own, Reason::Interfaces);
    };
    let resolved: Vec<_> = resolved
        .iter()
        .copied()
        .filter(|address| address.is_ipv4() == family && is_unicast(*address))
        .collect();
    let only_private = own.iter().all(|address| is_private(*address));
    // A private answer that is not ours would be a name server's idea of some other network.
    let useful = resolved
        .iter()
        .any(|address| !is_private(*address) || own.contains(address));
    if only_private && useful {
        (resolved, Reason::DomainResolved)
    } else {
        (own, Reason::Interfaces)
    }
}

/// Where relayed transport addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// An address of this machine, to bind.
    pub bound: IpAddr,
    /// What clients are told: the best candidate. Another one than `bound` under 1:1 translation.
    pub told: IpAddr,
}

/// The relayed addresses that go with `candidates`, at most one of each family; none of a family that is not bound.
pub fn relayed(facts: &Facts<'_>, candidates: &Addresses) -> Vec<Relayed> {
    let ours = |address: &IpAddr| {
        let is_known = has(facts.interfaces, *address) || facts.bind.contains(address);
        is_known && !address.is_unspecified() && is_bound(facts.bind, *address)
    };
    let of_family = |v4: bool| {
        let mut best = candidates.addresses.iter().copied();
        let told = best.find(|address| address.is_ipv4() == v4)?;
        // What it stands for: itself, the private half of its pair, or the first one that others can reach.
        let halves = facts.nodes.iter().filter(|(_, public)| *public == told);
        let bound = std::iter::once(told)
            .chain(halves.map(|(private, _)| *private))
            .chain(candidates.addresses.iter().copied())
            .chain(own_addresses(facts))
            .chain(facts.bind.iter().copied())
            .filter(|address| address.is_ipv4() == v4)
            .find(ours)?;
        Some(Relayed { bound, told })
    };
    [true, false].into_iter().filter_map(of_family).collect()
}

/// Every address by which this machine can be named, as far as it is known: `all` that its interfaces have, what it is
/// bound to, what it is told as, and what the configuration and the resolver say.
pub fn names(facts: &Facts<'_>, candidates: &Addresses, all: &[IpAddr]) -> Vec<IpAddr> {
    let interfaces = facts.interfaces.iter().map(|interface| interface.address);
    let known = all.iter().chain(facts.bind).chain(facts.external);
    let known = known.chain(&facts.domain_address).chain(facts.resolved);
    let ours = |(private, public): &(IpAddr, IpAddr)| {
        let is_ours = all.contains(private) || has(facts.interfaces, *private);
        is_ours.then_some(*public)
    };
    let mut names = Vec::new();
    for address in known
        .copied()
        .chain(interfaces)
        .chain(candidates.addresses.iter().copied())
        .chain(facts.nodes.iter().filter_map(ours))
    {
        // The unspecified address names every machine.
        if !address.is_unspecified() {
            push(&mut names, address.to_canonical());
        }
    }
    names
}

/// What `coturnIp` says where `COTURN_IP` does not: the domain if it is a name, else the best candidate of the wanted
/// family, else the best candidate. 2.20 clients need an address or a name there. IPv6 stands without brackets.
pub fn coturn_host(domain_name: Option<&str>, family: Family, candidates: &Addresses) -> String {
    if let Some(name) = domain_name {
        return name.to_owned();
    }
    let wanted = candidates.addresses.iter().find(|address| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    });
    wanted
        .or(candidates.addresses.first())
        .map(IpAddr::to_string)
        .unwrap_or_default()
}

/// An address family, as `COTURN_IP=auto-ipv4` or `auto-ipv6` wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Either.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Rule 5: the addresses of this machine that peers may reach and that media is bound on.
///
/// Docker's networks, bridges and the like are left out; a public address on a bridge counts, as on virtualisation hosts
/// whose network card belongs to a bridge. If that leaves nothing, private addresses on bridges count too.
fn own_addresses(facts: &Facts<'_>) -> Vec<IpAddr> {
    let reachable = |interface: &&Interface| {
        is_unicast(interface.address) && is_bound(facts.bind, interface.address)
    };
    let all: Vec<&Interface> = facts.interfaces.iter().filter(reachable).collect();
    let outward: Vec<&Interface> = all
        .iter()
        .copied()
        .filter(|interface| !interface.is_virtual() || !is_private(interface.address))
        .collect();
    let counted = if outward.is_empty() { all } else { outward };
    let mut addresses = Vec::new();
    for interface in counted {
        push(&mut addresses, interface.address);
    }
    addresses
}

fn because(reason: Reason, addresses: Vec<IpAddr>) -> Addresses {
    Addresses { addresses, reason }
}

fn push(addresses: &mut Vec<IpAddr>, address: IpAddr) {
    if !addresses.contains(&address) {
        addresses.push(address);
    }
}

fn has(interfaces: &[Interface], address: IpAddr) -> bool {
    interfaces
        .iter()
        .any(|interface| interface.address == address)
}

/// Whether media that is bound on `bind` receives what is sent to the local address `address`.
fn is_bound(bind: &[IpAddr], address: IpAddr) -> bool {
    bind.iter().any(|bound| {
        *bound == address || (bound.is_unspecified() && bound.is_ipv4() == address.is_ipv4())
    })
}

fn is_bound_family(bind: &[IpAddr], address: IpAddr) -> bool {
    bind.iter()
        .any(|bound| bound.is_ipv4() == address.is_ipv4())
}

/// Whether other machines can have a path to `address`.
fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            !(v4.is_loopback()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_link_local())
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || v6.to_ipv4_mapped().is_some())
        }
    }
}

/// RFC 1918 and RFC 6598 (carrier-grade translation) for IPv4, RFC 4193 for IPv6.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_private() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::net::interfaces::Kind;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a test's address")
    }

    fn interface(name: &str, address: &str) -> Interface {
        Interface {
            name: name.to_owned(),
            address: ip(address),
            kind: Kind::Other,
        }
    }

    const ANY: [IpAddr; 2] = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];

    fn facts(interfaces: &[Interface]) -> Facts<'_> {
        Facts {
            external: &[],
            nodes: &[],
            domain_address: None,
            resolved: &[],
            interfaces,
            bind: &ANY,
            dev: false,
        }
    }

    fn check(facts: &Facts<'_>, reason: Reason, addresses: &[&str]) {
        let chosen = candidates(facts);
        let expected: Vec<_> = addresses.iter().map(|text| ip(text)).collect();
        assert_eq!((chosen.reason, chosen.addresses), (reason, expected));
    }

    #[test]
    fn an_external_address_wins_and_the_private_one_follows() {
        let interfaces = [
            interface("eth0", "10.0.0.5"),
            interface("eth0", "2001:db8::5"),
        ];
        let external = [ip("203.0.113.7")];
        let facts = Facts {
            external: &external,
            nodes: &[(ip("10.0.0.5"), ip("203.0.113.8"))],
            domain_address: Some(ip("203.0.113.9")),
            resolved: &[ip("203.0.113.10")],
            ..facts(&interfaces)
        };
        check(&facts, Reason::External, &["203.0.113.7", "10.0.0.5"]);
        let bound = [ip("2001:db8::5")];
        let facts = Facts {
            bind: &bound,
            nodes: &[],
            domain_address: None,
            ..facts
        };
        check(&facts, Reason::Interfaces, &["2001:db8::5"]);
    }

    #[test]
    fn a_media_node_counts_if_its_private_half_is_ours() {
        let interfaces = [interface("eth0", "10.0.0.5")];
        let nodes = [
            (ip("10.0.0.4"), ip("203.0.113.4")),
            (ip("10.0.0.5"), ip("203.0.113.5")),
        ];
        let facts = Facts {
            nodes: &nodes,
            ..facts(&interfaces)
        };
        check(&facts, Reason::MediaNodes, &["203.0.113.5", "10.0.0.5"]);
        let facts = Facts {
            nodes: &nodes[..1],
            ..facts
        };
        check(&facts, Reason::Interfaces, &["10.0.0.5"]);
    }

    #[test]
    fn a_literal_domain_counts_unless_it_is_loopback() {
        let interfaces = [interface("eth0", "10.0.0.5")];
        let domain = |text: &str| Facts {
            domain_address: Some(ip(text)),
            ..facts(&interfaces)
        };
        check(
            &domain("203.0.113.7"),
            Reason::DomainAddress,
            &["203.0.113.7", "10.0.0.5"],
        );
        check(&domain("10.0.0.5"), Reason::DomainAddress, &["10.0.0.5"]);
        check(&domain("127.0.0.1"), Reason::Interfaces, &["10.0.0.5"]);
        check(&domain("::1"), Reason::Interfaces, &["10.0.0.5"]);
    }

    #[test]
    fn dns_is_believed_only_where_all_addresses_are_private() {
        let resolved = [ip("203.0.113.7"), ip("2001:db8::99")];
        let with = |interfaces| Facts {
            resolved: &resolved,
            ..facts(interfaces)
        };
        let private = [interface("ens5", "172.31.0.9")];
        check(
            &with(&private),
            Reason::DomainResolved,
            &["203.0.113.7", "172.31.0.9"],
        );
        let public = [interface("eth0", "198.51.100.1")];
        check(&with(&public), Reason::Interfaces, &["198.51.100.1"]);
        // EC2 with both families: IPv4 is translated, IPv6 is not.
        let both = [
            interface("ens5", "172.31.0.9"),
            interface("ens5", "2001:db8::5"),
        ];
        check(
            &with(&both),
            Reason::DomainResolved,
            &["203.0.113.7", "2001:db8::5", "172.31.0.9"],
        );
        // A hosts file that maps the name to loopback, and a foreign private answer.
        for useless in ["127.0.1.1", "192.168.77.1"] {
            let resolved = [ip(useless)];
            let facts = Facts {
                resolved: &resolved,
                ..facts(&private)
            };
            check(&facts, Reason::Interfaces, &["172.31.0.9"]);
        }
        let ours = [ip("172.31.0.9")];
        let facts = Facts {
            resolved: &ours,
            ..facts(&private)
        };
        check(&facts, Reason::DomainResolved, &["172.31.0.9"]);
    }

    #[test]
    fn interfaces_of_containers_and_bridges_are_left_out_unless_they_are_public_or_all_there_is() {
        let mut bridge = interface("br0", "192.168.122.1");
        bridge.kind = Kind::Bridge;
        let interfaces = [
            interface("lo", "127.0.0.1"),
            interface("lo", "::1"),
            interface("eth0", "169.254.3.4"),
            interface("eth0", "fe80::1"),
            interface("docker0", "172.17.0.1"),
            interface("br-0123456789ab", "172.18.0.1"),
            interface("veth12ab", "10.9.9.9"),
            bridge.clone(),
            interface("eth0", "192.168.1.5"),
            interface("eth1", "198.51.100.1"),
            interface("eth0", "fd00::5"),
            interface("eth1", "2001:db8::5"),
            interface("eth1", "198.51.100.1"),
        ];
        check(
            &facts(&interfaces),
            Reason::Interfaces,
            &["198.51.100.1", "2001:db8::5", "192.168.1.5", "fd00::5"],
        );
        let mut public_bridge = interface("vmbr0", "198.51.100.9");
        public_bridge.kind = Kind::Bridge;
        let interfaces = [interface("docker0", "172.17.0.1"), public_bridge];
        check(&facts(&interfaces), Reason::Interfaces, &["198.51.100.9"]);
        check(&facts(&[bridge]), Reason::Interfaces, &["192.168.122.1"]);
    }

    #[test]
    fn only_bound_addresses_are_told() {
        let interfaces = [
            interface("eth0", "192.168.1.5"),
            interface("eth0", "192.168.1.6"),
            interface("eth0", "2001:db8::5"),
        ];
        let one = [ip("192.168.1.6")];
        check(
            &Facts {
                bind: &one,
                ..facts(&interfaces)
            },
            Reason::Interfaces,
            &["192.168.1.6"],
        );
        let v4 = [ip("0.0.0.0")];
        check(
            &Facts {
                bind: &v4,
                ..facts(&interfaces)
            },
            Reason::Interfaces,
            &["192.168.1.5", "192.168.1.6"],
        );
    }

    #[test]
    fn dev_tells_the_first_outward_address_and_loopback_after_it() {
        let interfaces = [
            interface("lo", "127.0.0.1"),
            interface("docker0", "172.17.0.1"),
            interface("wlan0", "192.168.1.5"),
            interface("wlan0", "fd00::5"),
        ];
        let dev = Facts {
            dev: true,
            domain_address: Some(ip("127.0.0.1")),
            ..facts(&interfaces)
        };
        check(&dev, Reason::Interfaces, &["192.168.1.5", "127.0.0.1"]);
        let alone = [interface("lo", "127.0.0.1")];
        let dev = Facts {
            interfaces: &alone,
            ..dev
        };
        check(&dev, Reason::LoopbackOnly, &["127.0.0.1"]);
    }

    fn relays(facts: &Facts<'_>) -> Vec<(String, String)> {
        let relayed = relayed(facts, &candidates(facts));
        let texts = relayed.iter();
        texts
            .map(|relayed| (relayed.bound.to_string(), relayed.told.to_string()))
            .collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs = expected.iter();
        pairs
            .map(|(bound, told)| ((*bound).to_owned(), (*told).to_owned()))
            .collect()
    }

    #[test]
    fn relays_are_bound_to_an_address_of_ours_and_told_as_the_best_candidate() {
        let interfaces = [
            interface("lo", "127.0.0.1"),
            interface("eth0", "10.0.0.5"),
            interface("eth1", "10.0.0.6"),
            interface("eth0", "2001:db8::5"),
        ];
        let plain = facts(&interfaces);
        let expected = [("10.0.0.5", "10.0.0.5"), ("2001:db8::5", "2001:db8::5")];
        assert_eq!(relays(&plain), pairs(&expected));
        let external = [ip("203.0.113.7")];
        let translated = Facts {
            external: &external,
            ..plain
        };
        assert_eq!(relays(&translated), pairs(&[("10.0.0.5", "203.0.113.7")]));
        let node = Facts {
            nodes: &[(ip("10.0.0.6"), ip("203.0.113.7"))],
            ..plain
        };
        assert_eq!(relays(&node), pairs(&[("10.0.0.6", "203.0.113.7")]));
        let bound = [ip("10.0.0.6")];
        let one = Facts {
            bind: &bound,
            ..translated
        };
        assert_eq!(relays(&one), pairs(&[("10.0.0.6", "203.0.113.7")]));
    }

    #[test]
    fn relays_need_an_address_that_can_be_bound() {
        let external = [ip("203.0.113.7")];
        let blind = Facts {
            external: &external,
            ..facts(&[])
        };
        assert_eq!(relays(&blind), [], "no interface is known");
        let bound = [ip("10.0.0.6")];
        let told = Facts {
            bind: &bound,
            ..blind
        };
        assert_eq!(relays(&told), pairs(&[("10.0.0.6", "203.0.113.7")]));
        let alone = [interface("lo", "127.0.0.1")];
        let dev = Facts {
            dev: true,
            ..facts(&alone)
        };
        assert_eq!(relays(&dev), pairs(&[("127.0.0.1", "127.0.0.1")]));
    }

    #[test]
    fn this_machine_is_known_by_every_name_that_anybody_gives_it() {
        let interfaces = [interface("eth0", "10.0.0.5")];
        let facts = Facts {
            external: &[ip("203.0.113.7")],
            nodes: &[
                (ip("10.0.0.5"), ip("203.0.113.8")),
                (ip("10.0.0.4"), ip("203.0.113.4")),
            ],
            domain_address: Some(ip("203.0.113.9")),
            resolved: &[ip("203.0.113.10")],
            ..facts(&interfaces)
        };
        let all = [ip("127.0.0.1"), ip("10.0.0.5"), ip("2001:db8::1234")];
        let mut names = names(&facts, &candidates(&facts), &all);
        names.sort();
        let expected = [
            "10.0.0.5",
            "127.0.0.1",
            "203.0.113.7",
            "203.0.113.8",
            "203.0.113.9",
            "203.0.113.10",
            "2001:db8::1234",
        ];
        assert_eq!(names, expected.map(ip));
    }

    #[test]
    fn there_is_always_an_address_and_the_log_line_says_why() {
        check(&facts(&[]), Reason::LoopbackOnly, &["127.0.0.1"]);
        let v6 = [ip("::")];
        check(
            &Facts {
                bind: &v6,
                ..facts(&[])
            },
            Reason::LoopbackOnly,
            &["::1"],
        );
        let interfaces = [interface("eth0", "10.0.0.5")];
        let external = [ip("203.0.113.7")];
        let line = candidates(&Facts {
            external: &external,
            ..facts(&interfaces)
        })
        .to_string();
        assert_eq!(
            line,
            "candidate addresses: 203.0.113.7, 10.0.0.5 (HANOK_EXTERNAL_IP)"
        );
    }

    #[test]
    fn coturn_ip_is_the_domain_or_the_best_candidate_of_its_family() {
        let candidates = Addresses {
            addresses: vec![ip("203.0.113.7"), ip("2001:db8::7")],
            reason: Reason::Interfaces,
        };
        let host = |name, family| coturn_host(name, family, &candidates);
        assert_eq!(host(Some("example.com"), Family::V6), "example.com");
        assert_eq!(host(None, Family::Any), "203.0.113.7");
        assert_eq!(host(None, Family::V6), "2001:db8::7");
        let v4_only = Addresses {
            addresses: vec![ip("203.0.113.7")],
            reason: Reason::Interfaces,
        };
        assert_eq!(coturn_host(None, Family::V6, &v4_only), "203.0.113.7");
    }
}
