//! Choosing ports from a configured range, skipping those in use.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::udp::BatchSocket;
use crate::units::PortRange;

/// Why no socket could be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Every port of the range is taken by somebody.
    #[error("every UDP port of {range} is in use: free one or widen the range")]
    RangeExhausted {
        /// The range.
        range: PortRange,
    },
    /// The address cannot be bound for another reason than a busy port.
    #[error("cannot bind UDP {addr}: {source}")]
    Unusable {
        /// The address.
        addr: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// Binds one port of `range` on all of `addresses` at once, the lowest that is free on each of them.
/// `sole` tells the only address that the host has of the family of another ([`BatchSocket::bind`]).
///
/// # Errors
/// No port is free, or an address is not ours.
pub fn bind_in_range(
    range: PortRange,
    addresses: &[IpAddr],
    sole: impl Fn(IpAddr) -> Option<IpAddr>,
) -> Result<Vec<BatchSocket>, BindError> {
    'ports: for port in range.iter() {
        let mut sockets = Vec::with_capacity(addresses.len());
        for &ip in addresses {
            let addr = SocketAddr::new(ip, port);
            match BatchSocket::bind(addr, false, sole(ip)) {
                Ok(socket) => sockets.push(socket),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue 'ports,
                Err(source) => return Err(BindError::Unusable { addr, source }),
            }
        }
        return Ok(sockets);
    }
    Err(BindError::RangeExhausted { range })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_port_in_use_is_skipped_and_a_full_range_is_named() {
        let taken = BatchSocket::bind(SocketAddr::new(LOOPBACK, 0), false, None).unwrap();
        let port = taken.local_addr().port();
        let range = PortRange::new(port, port).unwrap();
        let error = bind_in_range(range, &[LOOPBACK], |_| None).unwrap_err();
        assert!(matches!(error, BindError::RangeExhausted { .. }), "{error}");

        let wide = PortRange::new(port, port.saturating_add(200)).unwrap();
        let sockets = bind_in_range(wide, &[LOOPBACK], |_| None).unwrap();
        assert_ne!(sockets[0].local_addr().port(), port);
        assert!(wide.contains(sockets[0].local_addr().port()));
    }

    #[test]
    fn an_address_that_is_not_ours_is_an_error_of_its_own() {
        let range = PortRange::new(40_000, 40_010).unwrap();
        let error = bind_in_range(range, &[IpAddr::from([198, 51, 100, 1])], |_| None).unwrap_err();
        assert!(matches!(error, BindError::Unusable { .. }), "{error}");
    }
}
