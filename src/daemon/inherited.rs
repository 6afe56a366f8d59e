//! Sockets that the service manager holds and hands over (sd_listen_fds(3)), so that nobody is refused while the daemon
//! restarts.
//!
//! A socket is taken for the key that names its address. Its name (`FileDescriptorName=`) decides nothing: one socket
//! unit, which has one name, holds the ports of several keys.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::Misconfigured;
use crate::host::port_owner::Protocol;

/// What was handed over and nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    listeners: Vec<Held<TcpListener>>,
    sockets: Vec<Held<UdpSocket>>,
}

#[derive(Debug)]
struct Held<S> {
    socket: S,
    place: Place,
}

/// Where a socket is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    address: SocketAddr,
    /// An IPv6 socket that IPv4 reaches, too.
    both_families: bool,
}

impl Place {
    fn serves(self, wanted: SocketAddr) -> bool {
        let ip = self.address.ip();
        let for_both = self.both_families
            && ip.is_unspecified()
            && wanted.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.address.port() == wanted.port() && (ip == wanted.ip() || for_both)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if self.both_families {
            f.write_str(" with IPv4")?;
        }
        Ok(())
    }
}

/// What a key wants: sockets for some of its addresses, and the addresses that are still to be bound.
#[derive(Debug)]
pub(super) struct Taken<S> {
    pub(super) sockets: Vec<S>,
    pub(super) rest: Vec<SocketAddr>,
}

impl Inherited {
    /// What the process environment says (`LISTEN_FDS`, `LISTEN_PID`), which is taken out of it. To be called before
    /// anything else is opened and before there are threads.
    ///
    /// # Errors
    /// The socket unit hands over what cannot be used.
    pub fn from_environment() -> Result<Self, Misconfigured> {
        let mut handed_over = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..handed_over.len() {
            if let Ok(Some(listener)) = handed_over.take_tcp_listener(index) {
                inherited.add_listener(listener)?;
            } else if let Ok(Some(socket)) = handed_over.take_udp_socket(index) {
                inherited.add_socket(socket)?;
            } else {
                return Err(Misconfigured(format!(
                    "socket {index} of the socket unit is neither a TCP listener nor a UDP socket: leave it out"
                )));
            }
        }
        Ok(inherited)
    }

    fn add_listener(&mut self, socket: TcpListener) -> Result<(), Misconfigured> {
        let place = place(&socket.local_addr(), &SockRef::from(&socket))?;
        if !SockRef::from(&socket).is_listener().unwrap_or(false) {
            return Err(Misconfigured(format!(
                "the socket unit hands over a connection at {place}: Accept= must be no"
            )));
        }
        self.listeners.push(Held { socket, place });
        Ok(())
    }

    fn add_socket(&mut self, socket: UdpSocket) -> Result<(), Misconfigured> {
        let place = place(&socket.local_addr(), &SockRef::from(&socket))?;
        if place.both_families {
            return Err(Misconfigured(format!(
                "the socket unit hands over UDP {place}: set BindIPv6Only=ipv6-only, and name 0.0.0.0 and [::] on lines of \
                 their own"
            )));
        }
        self.sockets.push(Held { socket, place });
        Ok(())
    }

    /// The TCP listeners at the addresses that `key` wants.
    ///
    /// # Errors
    /// There is one at the key's port, but not at its address.
    pub(super) fn listeners(
        &mut self,
        key: &'static str,
        wanted: Vec<SocketAddr>,
    ) -> Result<Taken<TcpListener>, Misconfigured> {
        take(&mut self.listeners, Protocol::Tcp, key, wanted)
    }

    /// The UDP sockets at the addresses that `key` wants.
    ///
    /// # Errors
    /// There is one at the key's port, but not at its address.
    pub(super) fn sockets(
        &mut self,
        key: &'static str,
        wanted: Vec<SocketAddr>,
    ) -> Result<Taken<UdpSocket>, Misconfigured> {
        take(&mut self.sockets, Protocol::Udp, key, wanted)
    }

    /// Closes what belongs to no key. The service manager keeps it open: whoever connects there waits in vain.
    pub(super) fn close_the_rest(self) {
        let listeners = self
            .listeners
            .iter()
            .map(|held| (Protocol::Tcp, held.place));
        let sockets = self.sockets.iter().map(|held| (Protocol::Udp, held.place));
        for (protocol, place) in listeners.chain(sockets) {
            let protocol = protocol.name();
            tracing::warn!(
                "the socket unit hands over {protocol} {place}, which no key of the configuration names: whoever connects \
                 there waits in vain; change ListenStream= and ListenDatagram=, or HTTPS_PORT, HTTP_PORT, COTURN_PORT, \
                 HANOK_PLAIN_LISTEN, HANOK_TURN_TLS_LISTEN or HANOK_ADMIN_LISTEN"
            );
        }
    }
}

fn place(address: &io::Result<SocketAddr>, socket: &SockRef<'_>) -> Result<Place, Misconfigured> {
    let Ok(address) = *address else {
        return Err(Misconfigured(
            "the socket unit hands over a socket without an address: leave it out".to_owned(),
        ));
    };
    Ok(Place {
        address,
        both_families: address.is_ipv6() && !socket.only_v6().unwrap_or(true),
    })
}

fn take<S>(
    held: &mut Vec<Held<S>>,
    protocol: Protocol,
    key: &'static str,
    mut wanted: Vec<SocketAddr>,
) -> Result<Taken<S>, Misconfigured> {
    let serves_any = |held: &Held<S>| wanted.iter().any(|wanted| held.place.serves(*wanted));
    let (taken, left) = std::mem::take(held).into_iter().partition(serves_any);
    let taken: Vec<Held<S>> = taken;
    *held = left;
    wanted.retain(|wanted| !taken.iter().any(|taken| taken.place.serves(*wanted)));
    for wanted in &wanted {
        // Binding would fail, and the port's owner would be ourselves.
        if let Some(other) = held
            .iter()
            .find(|held| held.place.address.port() == wanted.port())
        {
            let line = match protocol {
                Protocol::Tcp => "ListenStream=",
                Protocol::Udp => "ListenDatagram=",
            };
            return Err(Misconfigured(format!(
                "the socket unit hands over {} {}, but {key} and HANOK_BIND say {wanted}: write the same address after \
                 {line}",
                protocol.name(),
                other.place
            )));
        }
    }
    Ok(Taken {
        sockets: taken.into_iter().map(|held| held.socket).collect(),
        rest: wanted,
    })
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    fn addresses(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn held(places: &[(&str, bool)]) -> Vec<Held<usize>> {
        places
            .iter()
            .enumerate()
            .map(|(socket, (address, both_families))| Held {
                socket,
                place: Place {
                    address: address.parse().unwrap(),
                    both_families: *both_families,
                },
            })
            .collect()
    }

    #[test]
    fn a_socket_is_taken_for_the_key_that_names_its_address_and_the_rest_is_bound() {
        let mut held = held(&[
            ("[::]:443", true),
            ("0.0.0.0:80", false),
            ("127.0.0.1:5443", false),
        ]);
        let mut take = |wanted: &[&str]| {
            let taken = take(&mut held, Protocol::Tcp, "KEY", addresses(wanted)).unwrap();
            (taken.sockets, taken.rest)
        };
        // One socket for both families.
        assert_eq!(take(&["0.0.0.0:443", "[::]:443"]), (vec![0], vec![]));
        assert_eq!(
            take(&["0.0.0.0:80", "[::]:80"]),
            (vec![1], addresses(&["[::]:80"]))
        );
        assert_eq!(
            take(&["0.0.0.0:3478"]),
            (vec![], addresses(&["0.0.0.0:3478"]))
        );
        assert_eq!(take(&["127.0.0.1:5443"]), (vec![2], vec![]));
        // What is taken is taken.
        assert_eq!(
            take(&["127.0.0.1:5443"]),
            (vec![], addresses(&["127.0.0.1:5443"]))
        );
    }

    #[test]
    fn several_sockets_at_one_address_are_all_taken() {
        let mut held = held(&[("0.0.0.0:3478", false), ("0.0.0.0:3478", false)]);
        let taken = take(
            &mut held,
            Protocol::Udp,
            "KEY",
            addresses(&["0.0.0.0:3478"]),
        )
        .unwrap();
        assert_eq!((taken.sockets, taken.rest), (vec![0, 1], vec![]));
    }

    #[test]
    fn a_socket_at_the_right_port_of_another_address_is_a_mistake_that_names_both() {
        for (unit, wanted) in [
            ("127.0.0.1:443", "0.0.0.0:443"),
            ("0.0.0.0:443", "192.0.2.7:443"),
            ("0.0.0.0:443", "[::]:443"),
        ] {
            let mut held = held(&[(unit, false)]);
            let wanted_addresses = addresses(&[wanted]);
            let Misconfigured(text) =
                take(&mut held, Protocol::Tcp, "HTTPS_PORT", wanted_addresses).unwrap_err();
            for part in [unit, wanted, "HTTPS_PORT", "ListenStream="] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
        // Reached by IPv6 alone, it serves no IPv4.
        let place = Place {
            address: "[::]:443".parse().unwrap(),
            both_families: false,
        };
        assert!(!place.serves("0.0.0.0:443".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_line_to_change() {
        let mut inherited = Inherited::default();
        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        bound
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        let Misconfigured(text) = inherited.add_listener(bound.into()).unwrap_err();
        assert!(text.contains("Accept="), "{text}");

        let both = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
        both.set_only_v6(false).unwrap();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        both.bind(&any.into()).unwrap();
        let Misconfigured(text) = inherited.add_socket(both.into()).unwrap_err();
        assert!(text.contains("BindIPv6Only=ipv6-only"), "{text}");

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        inherited.add_listener(listener).unwrap();
        let taken = inherited.listeners("KEY", vec![address]).unwrap();
        assert_eq!(taken.sockets[0].local_addr().unwrap(), address);
        assert!(taken.rest.is_empty());
    }
}
