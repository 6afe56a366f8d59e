//! Choosing ports from a configured range, skipping those in use.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::stream::StreamListener;
use super::udp::BatchSocket;
use crate::units::PortRange;

/// Why no socket could be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Every port of the range is taken by somebody.
    #[error("no port of {range} is free on both UDP and TCP: free one or widen the range")]
    RangeExhausted {
        /// The range.
        range: PortRange,
    },
    /// The address cannot be bound for another reason than a busy port.
    #[error("cannot bind UDP and TCP {addr}: {source}")]
    Unusable {
        /// The address.
        addr: SocketAddr,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// One port number, bound on every address for UDP and TCP.
#[derive(Debug)]
pub struct MediaPort {
    /// UDP.
    pub sockets: Vec<BatchSocket>,
    /// TCP, for browsers whose network lets no UDP through (RFC 6544).
    pub listeners: Vec<StreamListener>,
}

impl MediaPort {
    /// Binds the lowest port of `range` that is free on all of `addresses`.
    /// `sole` tells the only address that the host has of the family of another ([`BatchSocket::bind`]).
    ///
    /// # Errors
    /// No port is free, or an address is not ours.
    pub fn bind(
        range: PortRange,
        addresses: &[IpAddr],
        sole: impl Fn(IpAddr) -> Option<IpAddr>,
    ) -> Result<Self, BindError> {
        'ports: for port in range.iter() {
            let mut bound = Self {
                sockets: Vec::with_capacity(addresses.len()),
                listeners: Vec::with_capacity(addresses.len()),
            };
            for &ip in addresses {
                let addr = SocketAddr::new(ip, port);
                match bound.add(addr, sole(ip)) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse => continue 'ports,
                    Err(source) => return Err(BindError::Unusable { addr, source }),
                }
            }
            return Ok(bound);
        }
        Err(BindError::RangeExhausted { range })
    }

    fn add(&mut self, addr: SocketAddr, sole: Option<IpAddr>) -> io::Result<()> {
        self.sockets.push(BatchSocket::bind(addr, false, sole)?);
        self.listeners.push(StreamListener::bind(addr, false)?);
        Ok(())
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.sockets
            .first()
            .map_or(0, |socket| socket.local_addr().port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_port_in_use_by_either_protocol_is_skipped_and_a_full_range_is_named() {
        let any = SocketAddr::new(LOOPBACK, 0);
        let taken = BatchSocket::bind(any, false, None).unwrap();
        let listening = StreamListener::bind(any, false).unwrap();
        for taken in [taken.local_addr(), listening.local_addr()] {
            let port = taken.port();
            let range = PortRange::new(port, port).unwrap();
            let error = MediaPort::bind(range, &[LOOPBACK], |_| None).unwrap_err();
            assert!(matches!(error, BindError::RangeExhausted { .. }), "{error}");

            let wide = PortRange::new(port, port.saturating_add(200)).unwrap();
            let bound = MediaPort::bind(wide, &[LOOPBACK], |_| None).unwrap();
            assert_ne!(bound.number(), port);
            assert!(wide.contains(bound.number()));
            assert_eq!(bound.listeners[0].local_addr().port(), bound.number());
        }
    }

    #[test]
    fn an_address_that_is_not_ours_is_an_error_of_its_own() {
        let range = PortRange::new(40_000, 40_010).unwrap();
        let foreign = [IpAddr::from([198, 51, 100, 1])];
        let error = MediaPort::bind(range, &foreign, |_| None).unwrap_err();
        assert!(matches!(error, BindError::Unusable { .. }), "{error}");
    }
}
