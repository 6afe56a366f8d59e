//! Addresses that are not everybody's: the classes of the IANA special-purpose registries, and the ways in which an IPv6
//! address carries an IPv4 one. What a relay must not reach is tried with all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Public unicast addresses, right beside the special blocks too.
pub const PUBLIC_V4: [&str; 14] = [
    "1.0.0.0",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "198.20.0.0",
    "223.255.255.255",
];

/// The same for IPv6.
pub const PUBLIC_V6: [&str; 4] = [
    "2001:200::1",
    "2001:4860:4860::8888",
    "2a00:1450::1",
    "3ffe::1",
];

/// Classes of IPv4 addresses that a relay refuses, each with its ends and its best-known members.
pub const SPECIAL_V4: [(&str, &[&str]); 17] = [
    ("this network", &["0.0.0.0", "0.0.0.1", "0.255.255.255"]),
    (
        "private use, 10/8",
        &["10.0.0.0", "10.96.0.1", "10.255.255.255"],
    ),
    (
        "shared by carriers",
        &["100.64.0.0", "100.100.100.200", "100.127.255.255"],
    ),
    (
        "loopback",
        &["127.0.0.0", "127.0.0.1", "127.0.0.53", "127.255.255.255"],
    ),
    ("a platform's services", &["168.63.129.16"]),
    (
        "link-local and metadata",
        &[
            "169.254.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.255.255",
        ],
    ),
    (
        "private use, 172.16/12",
        &["172.16.0.0", "172.17.0.1", "172.31.255.255"],
    ),
    (
        "protocol assignments",
        &["192.0.0.0", "192.0.0.192", "192.0.0.255"],
    ),
    ("documentation 1", &["192.0.2.0", "192.0.2.255"]),
    ("6to4 relays", &["192.88.99.0", "192.88.99.255"]),
    (
        "private use, 192.168/16",
        &["192.168.0.0", "192.168.1.1", "192.168.255.255"],
    ),
    ("benchmarks", &["198.18.0.0", "198.19.255.255"]),
    ("documentation 2", &["198.51.100.0", "198.51.100.255"]),
    ("documentation 3", &["203.0.113.0", "203.0.113.255"]),
    ("multicast", &["224.0.0.1", "239.255.255.255"]),
    ("reserved", &["240.0.0.0", "255.255.255.254"]),
    ("broadcast", &["255.255.255.255"]),
];

/// The same for IPv6; what carries IPv4 addresses is left to [`EMBEDDINGS`].
pub const SPECIAL_V6: [(&str, &[&str]); 14] = [
    ("unspecified", &["::"]),
    ("loopback", &["::1"]),
    ("discard only", &["100::", "100::ffff:ffff:ffff:ffff"]),
    (
        "protocol assignments",
        &["2001:1::1", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ),
    ("benchmarks", &["2001:2::1"]),
    ("ORCHID", &["2001:10::1", "2001:2f:ffff::1"]),
    ("documentation 1", &["2001:db8::1", "2001:db8:ffff::1"]),
    ("documentation 2", &["3fff::1", "3fff:fff:ffff::1"]),
    ("segment identifiers", &["5f00::1"]),
    ("not assigned", &["4000::1", "8000::1", "e000::1"]),
    (
        "unique local and metadata",
        &[
            "fc00::1",
            "fd00:ec2::254",
            "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ],
    ),
    (
        "link-local",
        &["fe80::1", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ),
    ("site-local", &["fec0::1", "feff::1"]),
    ("multicast", &["ff01::1", "ff02::1", "ff05::2", "ff0e::1"]),
];

/// A way in which an IPv6 address carries an IPv4 one.
#[derive(Debug, Clone, Copy)]
pub struct Embedding {
    /// Its name, and where it is from.
    pub name: &'static str,
    /// The address that carries this one.
    pub of: fn(Ipv4Addr) -> Ipv6Addr,
    /// Whether a public address may be reached by it.
    pub reaches_public: bool,
}

/// All ways that standards know.
pub const EMBEDDINGS: [Embedding; 13] = [
    Embedding {
        name: "IPv4-mapped (RFC 4291 section 2.5.5.2)",
        of: |ip| ip.to_ipv6_mapped(),
        reaches_public: false,
    },
    Embedding {
        name: "IPv4-compatible (RFC 4291 section 2.5.5.1)",
        of: |ip| at(0, ip, 0),
        reaches_public: false,
    },
    Embedding {
        name: "IPv4-translated (RFC 2765 section 2.1)",
        of: |ip| at(0xffff_0000 << 32, ip, 0),
        reaches_public: false,
    },
    Embedding {
        name: "NAT64 (RFC 6052 section 2.1)",
        of: |ip| at(0x0064_ff9b << 96, ip, 0),
        reaches_public: true,
    },
    Embedding {
        name: "NAT64 with the local prefix (RFC 8215)",
        of: |ip| at(0x0064_ff9b_0001 << 80, ip, 0),
        reaches_public: false,
    },
    Embedding {
        name: "NAT64 with the local prefix of 48 bits (RFC 6052 section 2.2)",
        of: |ip| {
            let bits = u128::from(ip.to_bits());
            Ipv6Addr::from_bits(0x0064_ff9b_0001 << 80 | (bits >> 16) << 64 | (bits & 0xffff) << 40)
        },
        reaches_public: false,
    },
    Embedding {
        name: "6to4 (RFC 3056 section 2)",
        of: |ip| at(0x2002 << 112, ip, 80),
        reaches_public: true,
    },
    Embedding {
        name: "6to4, a host in it",
        of: |ip| at(0x2002 << 112 | 0x0001_0000_0000_0000_0001, ip, 80),
        reaches_public: true,
    },
    Embedding {
        name: "a Teredo server (RFC 4380 section 4)",
        of: |ip| at(0x2001 << 112, ip, 64),
        reaches_public: false,
    },
    Embedding {
        name: "a Teredo client (RFC 4380 section 4)",
        of: |ip| {
            at(
                0x2001_0000_0808_0808 << 64,
                Ipv4Addr::from_bits(!ip.to_bits()),
                0,
            )
        },
        reaches_public: false,
    },
    Embedding {
        name: "ISATAP with a global prefix (RFC 5214 section 6.1)",
        of: |ip| at(0x2a00_1450 << 96 | 0x5efe << 32, ip, 0),
        reaches_public: true,
    },
    Embedding {
        name: "ISATAP of a unique address (RFC 5214 section 6.1)",
        of: |ip| at(0x2a00_1450 << 96 | 0x0200_5efe << 32, ip, 0),
        reaches_public: true,
    },
    Embedding {
        name: "ISATAP, link-local",
        of: |ip| at(0xfe80 << 112 | 0x5efe << 32, ip, 0),
        reaches_public: false,
    },
];

/// `ip`, so many bits from the end of an address of these other bits.
const fn at(others: u128, ip: Ipv4Addr, from_end: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(others | (ip.to_bits() as u128) << from_end)
}

/// Every address that a relay refuses by default, by name: the classes, and each IPv4 one of them in every embedding.
pub fn refused() -> impl Iterator<Item = (String, IpAddr)> {
    let v4 = SPECIAL_V4.iter().flat_map(|(class, members)| {
        members.iter().flat_map(move |text| {
            let ip: Ipv4Addr = text.parse().expect("an address");
            let plain = (format!("{class}: {ip}"), IpAddr::V4(ip));
            let embedded = EMBEDDINGS.iter().map(move |way| {
                let inner = (way.of)(ip);
                (
                    format!("{class}: {ip} as {}: {inner}", way.name),
                    inner.into(),
                )
            });
            std::iter::once(plain).chain(embedded)
        })
    });
    let v6 = SPECIAL_V6.iter().flat_map(|(class, members)| {
        members.iter().map(move |text| {
            let ip: Ipv6Addr = text.parse().expect("an address");
            (format!("{class}: {ip}"), ip.into())
        })
    });
    v4.chain(v6)
}

/// Every public address, by name, plain and embedded; whether a relay reaches it.
pub fn public() -> impl Iterator<Item = (String, IpAddr, bool)> {
    let v4 = PUBLIC_V4.iter().flat_map(|text| {
        let ip: Ipv4Addr = text.parse().expect("an address");
        let embedded = EMBEDDINGS.iter().map(move |way| {
            let inner = (way.of)(ip);
            let name = format!("{ip} as {}: {inner}", way.name);
            (name, inner.into(), way.reaches_public)
        });
        std::iter::once((ip.to_string(), ip.into(), true)).chain(embedded)
    });
    let v6 = PUBLIC_V6.iter().map(|text| {
        let ip: Ipv6Addr = text.parse().expect("an address");
        (ip.to_string(), ip.into(), true)
    });
    v4.chain(v6)
}
