//! Many source addresses of this host, so that a server sees many clients. All of 127.0.0.0/8 are ours on Linux; of other
//! networks, those that a route of type `local` names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The addresses of a network but its first and, if it has more than two, its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sources {
    network: IpNet,
    count: u64,
}

impl Sources {
    /// Those of `network`.
    pub(super) fn new(network: IpNet) -> Self {
        let bits = u32::from(network.max_prefix_len() - network.prefix_len());
        let all = 1_u64.checked_shl(bits).unwrap_or(u64::MAX);
        Self {
            network,
            count: all.saturating_sub(2).max(1),
        }
    }

    /// The `index`-th one; they repeat.
    pub(super) fn address(&self, index: u64) -> IpAddr {
        let offset = index % self.count + u64::from(self.count > 1);
        match self.network.network() {
            IpAddr::V4(first) => {
                let offset = u32::try_from(offset).unwrap_or(0);
                Ipv4Addr::from_bits(first.to_bits().wrapping_add(offset)).into()
            }
            IpAddr::V6(first) => {
                Ipv6Addr::from_bits(first.to_bits().wrapping_add(offset.into())).into()
            }
        }
    }

    /// Which one `address` is.
    pub(super) fn index(&self, address: IpAddr) -> Option<u64> {
        let offset = match (self.network.network(), address) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                u64::from(ip.to_bits().checked_sub(first.to_bits())?)
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                u64::try_from(ip.to_bits().checked_sub(first.to_bits())?).ok()?
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let index = offset.checked_sub(u64::from(self.count > 1))?;
        (index < self.count).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_index_and_an_index_one_address() {
        for (network, count, first, last) in [
            ("127.1.0.0/16", 65_534, "127.1.0.1", "127.1.255.254"),
            ("127.0.0.7/32", 1, "127.0.0.7", "127.0.0.7"),
            ("10.0.0.8/30", 2, "10.0.0.9", "10.0.0.10"),
            ("fd00::/112", 65_534, "fd00::1", "fd00::fffe"),
        ] {
            let sources = Sources::new(network.parse().unwrap());
            assert_eq!(sources.count, count, "{network}");
            for (index, address) in [(0, first), (count - 1, last), (count, first)] {
                let address: IpAddr = address.parse().unwrap();
                assert_eq!(sources.address(index), address, "{network}");
                assert_eq!(sources.index(address), Some(index % count), "{network}");
            }
        }
        let sources = Sources::new("10.0.0.8/30".parse().unwrap());
        for foreign in ["10.0.0.8", "10.0.0.11", "10.0.0.7", "9.0.0.0", "::1"] {
            assert_eq!(sources.index(foreign.parse().unwrap()), None, "{foreign}");
        }
        let wide = Sources::new("::/0".parse().unwrap());
        assert_eq!(wide.index(wide.address(1 << 40)), Some(1 << 40));
    }
}
