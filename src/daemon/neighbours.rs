//! Whom every access list admits without naming them: this machine, and the private networks that it is in
//! (`openvidu-deployment` section 8), which is where containers with applications are.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::media::net::interfaces::own_addresses;

/// The kernel's IPv4 routes.
const ROUTES: &str = "/proc/net/route";

/// This machine's addresses, `public` among them, and its private networks.
///
/// OpenVidu admits every network in the routing table. In a data centre that is also the public network of all who rent
/// a machine there, so of networks only private ones count here.
pub(super) fn neighbours(public: &[IpAddr]) -> Vec<IpNet> {
    let own = own_addresses().unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine's addresses cannot be listed: access lists must name them");
        Vec::new()
    });
    let routes = fs::read_to_string(ROUTES).unwrap_or_default();
    let mut admitted: Vec<IpNet> = own
        .into_iter()
        .chain(public.iter().copied())
        .map(|address| address.to_canonical())
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
        .map(IpNet::from)
        .chain(private_networks(&routes).map(IpNet::from))
        .collect();
    admitted.sort();
    admitted.dedup();
    admitted
}

/// The private networks of a routing table that are reached without a gateway.
fn private_networks(routes: &str) -> impl Iterator<Item = Ipv4Net> + '_ {
    const UP: u32 = 0x1;
    routes.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let mut number = |skipped| u32::from_str_radix(fields.nth(skipped)?, 16).ok();
        let (destination, gateway, flags) = (number(0)?, number(0)?, number(0)?);
        let mask = number(3)?;
        // The kernel prints the bytes of addresses as one number of the machine's own byte order.
        let address = |number: u32| Ipv4Addr::from(number.to_ne_bytes());
        let network = Ipv4Net::with_netmask(address(destination), address(mask)).ok()?;
        let is_private = network.network().is_private() && network.broadcast().is_private();
        (gateway == 0 && flags & UP != 0 && is_private).then(|| network.trunc())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_without_a_gateway_count_and_no_others() {
        let line = |destination: [u8; 4], gateway: [u8; 4], flags: u32, mask: [u8; 4]| {
            let hex = |octets| format!("{:08X}", u32::from_ne_bytes(octets));
            let (destination, gateway, mask) = (hex(destination), hex(gateway), hex(mask));
            format!("eth0\t{destination}\t{gateway}\t{flags:04X}\t0\t0\t0\t{mask}\t0\t0\t0\n")
        };
        let none = [0; 4];
        let routes = [
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
                .to_owned(),
            line(none, [203, 0, 113, 1], 3, none),
            line([203, 0, 113, 0], none, 1, [255, 255, 255, 0]),
            line([172, 17, 0, 0], none, 1, [255, 255, 0, 0]),
            line([10, 8, 0, 0], [10, 0, 0, 1], 3, [255, 255, 0, 0]),
            line([10, 0, 0, 0], none, 1, [255, 255, 255, 0]),
            line([10, 9, 0, 0], none, 0, [255, 255, 0, 0]),
            // Private at its beginning only.
            line([192, 168, 0, 0], none, 1, [255, 0, 0, 0]),
            "eth0\tnonsense\n\n".to_owned(),
            line([10, 7, 0, 0], none, 1, [255, 0, 255, 0]),
        ];
        let found: Vec<_> = private_networks(&routes.concat())
            .map(|network| network.to_string())
            .collect();
        assert_eq!(found, ["172.17.0.0/16", "10.0.0.0/24"]);
    }

    #[test]
    fn this_machine_is_its_own_neighbour_and_so_is_its_public_address() {
        let public = IpAddr::from([8, 8, 8, 8]);
        let admitted = neighbours(&[public]);
        assert!(admitted.contains(&IpNet::from(public)));
        for own in own_addresses().unwrap() {
            let expected = !own.is_loopback();
            let found = admitted.contains(&IpNet::from(own.to_canonical()));
            assert_eq!(found, expected, "{own}");
        }
    }
}
