//! `hanok loadtest turn`.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use ipnet::IpNet;

use super::seconds;
use crate::cli::{EXIT_FAILURE, EXIT_SUCCESS, EXIT_USAGE, Terminal};
use crate::config::Machine;
use crate::loadtest::turn::{self, Case, Login, MAX_RUN, MAX_SIZE, MIN_SIZE, Options, Pace};
use crate::units::Secret;

/// Where the secret is looked for as well.
const SECRET: &str = "COTURN_SHARED_SECRET_KEY";

/// The port of a URL without one (RFC 7065 section 3.1).
const PORT: u16 = 3_478;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What is done
    #[arg(value_enum)]
    case: Case,
    #[arg(long, value_name = "URL", value_parser = server, help = "The server, turn:HOST[:PORT], over UDP")]
    url: SocketAddr,
    /// The secret that time-limited users are made from, one for each allocation; without --secret and --user the
    /// environment variable COTURN_SHARED_SECRET_KEY, which other users do not see
    #[arg(long, conflicts_with = "user")]
    secret: Option<String>,
    /// A user of the server's
    #[arg(long, requires = "password")]
    user: Option<String>,
    /// Its password
    #[arg(long, requires = "user")]
    password: Option<String>,
    /// Allocations, each with a channel; sockets where there are no allocations
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    allocations: u32,
    /// Bytes of each payload
    #[arg(long, default_value_t = 172, value_parser = clap::value_parser!(u32).range(MIN_SIZE as i64..=MAX_SIZE as i64))]
    size: u32,
    /// Datagrams that each flow sends at a time, by one system call where the system can (GSO)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_RUN as i64))]
    run: u32,
    /// Datagrams or requests per second, whatever becomes of them; without this option as many as the server takes
    #[arg(long, value_name = "PER_SECOND", conflicts_with = "in_flight", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Datagrams or requests that are on their way at any time
    #[arg(long, default_value_t = 2_048, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    in_flight: u32,
    /// Seconds to measure
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    duration: f64,
    /// Seconds before that
    #[arg(long, default_value_t = 0.5, value_name = "SECONDS", value_parser = seconds)]
    warm_up: f64,
    /// The address of ours to send from and to receive at; the server must be able to send there
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// A network of ours, such as 127.1.0.0/16, from which every client has an address of its own (allocate, idle,
    /// binding, flood)
    #[arg(long, value_name = "NETWORK")]
    sources: Option<IpNet>,
    /// Send to this address, from which nothing comes back, and not to ourselves (up, direct)
    #[arg(long, value_name = "ADDRESS:PORT")]
    peer: Option<SocketAddr>,
    /// Clients with a relayed port from this one on send to that address instead: with a server whose threads have shares of
    /// the relay ports, on the same thread or across
    #[arg(long, value_name = "PORT=ADDRESS:PORT", requires = "peer", value_parser = upper_peer)]
    upper_peer: Option<(u16, SocketAddr)>,
    /// Let the kernel merge what arrives (GRO). It spares a server on this machine the cutting of its runs, which on a
    /// network its device or driver does
    #[arg(long)]
    merge: bool,
    /// The server's process, if it runs on this machine, to be charged with what it uses
    #[arg(long)]
    pid: Option<u32>,
    /// Print one line of JSON and nothing else
    #[arg(long)]
    json: bool,
    /// Microseconds to sleep when nothing is due; 0: never. The program does not sleep until a packet calls, since a
    /// server on the same machine would be charged for waking it
    #[arg(long, default_value_t = 50, value_name = "US", value_parser = clap::value_parser!(u64).range(0..=100_000))]
    poll_us: u64,
}

/// Reads `turn:HOST[:PORT]` (RFC 7065) and asks for the host's address.
fn server(text: &str) -> Result<SocketAddr, String> {
    let rest = text
        .strip_prefix("turn:")
        .or_else(|| text.strip_prefix("stun:"))
        .ok_or("it begins with turn:")?;
    let rest = rest.strip_suffix("?transport=udp").unwrap_or(rest);
    if let Ok(address) = rest.parse() {
        return Ok(address);
    }
    let host = rest.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, PORT));
    }
    let resolved = match rest.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse::<u16>().map_err(|error| error.to_string())?;
            (host, port).to_socket_addrs()
        }
        None => (rest, PORT).to_socket_addrs(),
    };
    let mut addresses = resolved.map_err(|error| error.to_string())?;
    addresses
        .next()
        .ok_or_else(|| "the name has no address".to_owned())
}

fn upper_peer(text: &str) -> Result<(u16, SocketAddr), String> {
    let (port, peer) = text
        .split_once('=')
        .ok_or("it is PORT=ADDRESS:PORT, as 50000=192.0.2.1:9")?;
    let port = port.parse::<u16>().map_err(|error| error.to_string())?;
    let peer = peer
        .parse::<SocketAddr>()
        .map_err(|error| error.to_string())?;
    Ok((port, peer))
}

impl Arguments {
    fn login(&mut self, machine: &dyn Machine) -> Option<Login> {
        if let (Some(name), Some(password)) = (self.user.take(), self.password.take()) {
            let password = Secret::new(password);
            return Some(Login::User { name, password });
        }
        let from_environment = || {
            let variables = machine.environment();
            let secret = variables.into_iter().find(|(name, _)| name == SECRET);
            secret.and_then(|(_, value)| value.into_string().ok())
        };
        let secret = self.secret.take().or_else(from_environment)?;
        Some(Login::Secret(Secret::new(secret)))
    }

    fn options(self, login: Option<Login>) -> Options {
        Options {
            server: self.url,
            login,
            case: self.case,
            allocations: self.allocations as usize,
            size: self.size as usize,
            run: self.run as usize,
            pace: match self.rate {
                Some(rate) => Pace::PerSecond(rate),
                None => Pace::Saturated {
                    in_flight: self.in_flight,
                },
            },
            duration: Duration::from_secs_f64(self.duration),
            warm_up: Duration::from_secs_f64(self.warm_up),
            bind: self.bind,
            sources: self.sources,
            peer: self.peer,
            upper_peer: self.upper_peer,
            merge: self.merge,
            pid: self.pid,
            poll: Duration::from_micros(self.poll_us),
        }
    }
}

pub(super) fn run<O: Write, E: Write>(
    mut arguments: Arguments,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let json_only = arguments.json;
    let login = arguments.login(machine);
    let options = arguments.options(login);
    if let Err(wrong) = options.check() {
        writeln!(terminal.err, "hanok loadtest turn: {wrong}")?;
        return Ok(EXIT_USAGE);
    }
    let valid = turn::run(
        options,
        turn::Printing {
            out: &mut terminal.out,
            err: &mut terminal.err,
            json_only,
        },
    )?;
    Ok(if valid { EXIT_SUCCESS } else { EXIT_FAILURE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_url() {
        for (url, address) in [
            ("turn:192.0.2.1", "192.0.2.1:3478"),
            ("turn:192.0.2.1:5000", "192.0.2.1:5000"),
            ("turn:192.0.2.1:5000?transport=udp", "192.0.2.1:5000"),
            ("stun:[2001:db8::1]", "[2001:db8::1]:3478"),
            ("turn:[2001:db8::1]:5000", "[2001:db8::1]:5000"),
        ] {
            assert_eq!(server(url), Ok(address.parse().unwrap()), "{url}");
        }
        assert_eq!(
            upper_peer("50000=192.0.2.1:9"),
            Ok((50_000, "192.0.2.1:9".parse().unwrap()))
        );
        for wrong in ["", "50000", "x=192.0.2.1:9", "70000=192.0.2.1:9", "50000=9"] {
            assert!(upper_peer(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "",
            "192.0.2.1",
            "turn:192.0.2.1:x",
            "turn:192.0.2.1:70000",
            "turns:192.0.2.1",
        ] {
            assert!(server(wrong).is_err(), "{wrong}");
        }
    }
}
