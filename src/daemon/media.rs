//! The media side: addresses, ports, workers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::inherited::{Inherited, Taken};
use super::turn::{self, Known, Place};
use crate::config::values::{CoturnIp, Workers};
use crate::config::{Config, Misconfigured};
use crate::host::port_owner::{Protocol, port_owner};
use crate::media::net::addresses::{self, Addresses, Facts, Family};
use crate::media::net::interfaces::{interfaces, own_addresses};
use crate::media::net::port::MediaPort;
use crate::media::net::stream::StreamListener;
use crate::media::net::udp::BatchSocket;
use crate::media::plane::Plane;
use crate::media::sdp::Candidate;
use crate::media::transport::Identity;
use crate::media::worker::{Counters, Crossing, Parts, Worker, WorkerPorts};

/// How long a start waits for the domain's DNS answer.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(3);

/// The key of the STUN/TURN port.
const TURN_KEY: &str = "COTURN_PORT";

/// The running media plane.
pub(super) struct Media {
    pub(super) plane: Plane,
    pub(super) workers: Vec<Worker>,
    pub(super) counters: Vec<Arc<Counters>>,
    /// The media port of each worker.
    pub(super) ports: Vec<u16>,
    /// What clients are told as the STUN/TURN server.
    pub(super) turn_host: String,
    /// The addresses of the candidates.
    pub(super) told: Addresses,
    /// The domain's DNS answer.
    pub(super) resolved: Vec<IpAddr>,
    /// The addresses that are known to be ours: of the interfaces, and those that the configuration names.
    pub(super) own: Vec<IpAddr>,
}

/// Binds every port and starts the workers.
pub(super) async fn start(
    config: &Config,
    known: &Known<'_>,
    inherited: &mut Inherited,
) -> anyhow::Result<Media> {
    let interfaces = interfaces().unwrap_or_else(|error| {
        tracing::warn!(%error, "the network interfaces cannot be listed: set HANOK_EXTERNAL_IP");
        Vec::new()
    });
    let host = config.public.host.in_url();
    let resolved = resolve_domain(config).await;
    let facts = Facts {
        external: &config.media.external,
        nodes: &config.media.nodes,
        domain_address: host.trim_matches(['[', ']']).parse().ok(),
        resolved: &resolved,
        interfaces: &interfaces,
        bind: &config.media.bind,
        dev: config.dev,
    };
    let told = addresses::candidates(&facts);
    tracing::info!("{told}");
    let identity = Arc::new(Identity::generate().context("the DTLS certificate cannot be made")?);
    let count = match config.media.workers {
        Workers::PerCore => std::thread::available_parallelism().map_or(1, usize::from),
        Workers::Count(count) => count.get(),
    };
    let bind = bindable(config);
    let sole = |ip: IpAddr| {
        let mut own = interfaces
            .iter()
            .map(|own| own.address)
            .filter(|own| own.is_ipv4() == ip.is_ipv4() && !own.is_loopback());
        own.next().filter(|_| own.next().is_none())
    };
    let turn_port: Vec<_> = bind
        .iter()
        .map(|ip| (*ip, config.turn.port).into())
        .collect();
    let turn_sockets = turn_sockets(turn_port.clone(), count, inherited, sole)?;
    let turn_listeners = turn_listeners(turn_port, count, inherited)?;
    let media_ports = (0..count)
        .map(|_| MediaPort::bind(config.media.ports, &bind, sole))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            Misconfigured(format!(
                "{error} (HANOK_MEDIA_MIN_PORT, HANOK_MEDIA_MAX_PORT)"
            ))
        })?;
    let place = Place {
        relayed: &addresses::relayed(&facts, &told),
        own_addresses: &addresses::names(&facts, &told, &own_addresses().unwrap_or_default()),
        worker_ports: &media_ports
            .iter()
            .map(MediaPort::number)
            .collect::<Vec<_>>(),
    };
    let turn = turn::settings(&config.turn, known, &place);
    turn::announce(&config.turn, &turn);
    let ports: Vec<WorkerPorts> = media_ports
        .iter()
        .zip(&turn)
        .map(|(media, turn)| WorkerPorts {
            media: media.number(),
            relays: turn.ports,
        })
        .collect();
    let crossings = Crossing::between(&ports).context("the media workers cannot be connected")?;
    let max_streams = max_streams();
    let mut workers = Vec::with_capacity(count);
    let mut doors = Vec::with_capacity(count);
    let mut counters = Vec::with_capacity(count);
    let turn_ports = turn_sockets.into_iter().zip(turn_listeners);
    let relaying = turn.into_iter().zip(crossings);
    let parts = media_ports.into_iter().zip(turn_ports).zip(relaying);
    for (index, ((media, (turn_sockets, turn_listeners)), (turn, crossing))) in parts.enumerate() {
        let port = media.number();
        let shared = Arc::new(Counters::default());
        let (worker, door) = Worker::start(Parts {
            index,
            media,
            turn_sockets,
            turn_listeners,
            turn,
            max_streams: max_streams / count / 3,
            max_relay_sockets: max_streams / count / 3,
            crossing,
            candidates: candidates_on(port, &told),
            identity: identity.clone(),
            counters: shared.clone(),
        })
        .context("a media worker cannot start")?;
        tracing::info!(index, port, "media worker");
        workers.push(worker);
        doors.push(door);
        counters.push(shared);
    }
    Ok(Media {
        plane: Plane::new(doors, identity.fingerprint().clone()),
        workers,
        counters,
        ports: ports.iter().map(|ports| ports.media).collect(),
        turn_host: turn_host(config, &told),
        own: interfaces
            .iter()
            .map(|interface| interface.address)
            .chain(config.media.external.iter().copied())
            .chain(config.media.nodes.iter().map(|(_, public)| *public))
            .collect(),
        told,
        resolved,
    })
}

/// Every address with UDP, then every address with TCP, for browsers whose network lets no UDP through.
fn candidates_on(port: u16, told: &Addresses) -> Arc<[Candidate]> {
    let candidates = |tcp| {
        let ranked = told.addresses.iter().zip(0..);
        ranked.map(move |(ip, rank)| Candidate {
            addr: SocketAddr::new(*ip, port),
            tcp,
            rank,
        })
    };
    candidates(false).chain(candidates(true)).collect()
}

/// TCP connections of all workers together. Service managers grant many descriptors but hand out few, for the sake of
/// programs that call select(2): what we may have, we take. Half of it belongs to the web and the files.
fn max_streams() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let granted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if setrlimit(Resource::Nofile, granted).is_ok() {
        limit.current = limit.maximum;
    }
    let unlimited = u64::MAX;
    usize::try_from(limit.current.unwrap_or(unlimited) / 2).unwrap_or(usize::MAX)
}

async fn resolve_domain(config: &Config) -> Vec<IpAddr> {
    match config.public.host.name() {
        Some(name) if !config.dev => resolve(name).await,
        _ => Vec::new(),
    }
}

pub(super) async fn resolve(name: &str) -> Vec<IpAddr> {
    match tokio::time::timeout(RESOLVE_DEADLINE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
        Ok(Err(error)) => {
            tracing::warn!(%name, %error, "DOMAIN_OR_PUBLIC_IP has no DNS answer");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!(%name, "the DNS answer for DOMAIN_OR_PUBLIC_IP did not come in time");
            Vec::new()
        }
    }
}

fn turn_host(config: &Config, told: &Addresses) -> String {
    let family = match &config.turn.address {
        CoturnIp::Host(host) => return host.in_url().trim_matches(['[', ']']).to_owned(),
        CoturnIp::Auto => Family::Any,
        CoturnIp::AutoIpv4 => Family::V4,
        CoturnIp::AutoIpv6 => Family::V6,
    };
    addresses::coturn_host(
        config.public.host.name().filter(|_| !config.dev),
        family,
        told,
    )
}

/// The bound addresses; a family that the machine lacks is left out unless `HANOK_BIND` asks for it.
fn bindable(config: &Config) -> Vec<IpAddr> {
    let usable = |ip: &IpAddr| std::net::UdpSocket::bind((*ip, 0)).is_ok();
    config
        .media
        .bind
        .iter()
        .copied()
        .filter(|ip| config.media.bind_is_set || usable(ip))
        .collect()
}

/// The STUN/TURN port, once for every worker: the kernel keeps a client's packets on one of them. Sockets that the
/// service manager holds are dealt out instead, where it holds any.
fn turn_sockets(
    wanted: Vec<SocketAddr>,
    workers: usize,
    inherited: &mut Inherited,
    sole: impl Fn(IpAddr) -> Option<IpAddr>,
) -> Result<Vec<Vec<BatchSocket>>, Misconfigured> {
    let Taken { sockets, rest } = inherited.sockets(TURN_KEY, wanted)?;
    let mut of_workers = on_turn_port(Protocol::Udp, &rest, workers, |addr, shared| {
        BatchSocket::bind(addr, shared, sole(addr.ip()))
    })?;
    let mut at_address = BTreeMap::<SocketAddr, usize>::new();
    for socket in sockets {
        let socket = socket
            .local_addr()
            .and_then(|addr| BatchSocket::adopt(socket, sole(addr.ip())))
            .map_err(|error| unusable(Protocol::Udp, &error))?;
        let dealt = at_address.entry(socket.local_addr()).or_default();
        of_workers[*dealt % workers].push(socket);
        *dealt += 1;
    }
    for (address, dealt) in at_address {
        if dealt < workers {
            tracing::warn!(
                "{dealt} of {workers} media threads serve TURN on UDP {address}, since the socket unit hands over no more \
                 sockets: repeat ListenDatagram={address} with ReusePort=yes, or set HANOK_WORKERS"
            );
        }
    }
    Ok(of_workers)
}

/// The same port for TCP, whose connections the kernel spreads. Whoever accepts one keeps it, so all workers may share a
/// listener that the service manager holds.
fn turn_listeners(
    wanted: Vec<SocketAddr>,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<Vec<StreamListener>>, Misconfigured> {
    let Taken { sockets, rest } = inherited.listeners(TURN_KEY, wanted)?;
    let mut of_workers = on_turn_port(Protocol::Tcp, &rest, workers, StreamListener::bind)?;
    for socket in sockets {
        for listeners in &mut of_workers {
            let shared = socket.try_clone().and_then(StreamListener::adopt);
            listeners.push(shared.map_err(|error| unusable(Protocol::Tcp, &error))?);
        }
    }
    Ok(of_workers)
}

fn unusable(protocol: Protocol, error: &std::io::Error) -> Misconfigured {
    Misconfigured(format!(
        "the {} socket that the socket unit hands over for {TURN_KEY} cannot be used: {error}",
        protocol.name()
    ))
}

/// What `open` opens on every address, once for every worker.
fn on_turn_port<T>(
    protocol: Protocol,
    addresses: &[SocketAddr],
    workers: usize,
    open: impl Fn(SocketAddr, bool) -> std::io::Result<T>,
) -> Result<Vec<Vec<T>>, Misconfigured> {
    let open = |addr: SocketAddr, shared: bool| {
        open(addr, shared).map_err(|error| {
            let name = protocol.name();
            let owner = port_owner(protocol, addr.port())
                .map(|owner| format!(", which {owner} has"))
                .unwrap_or_default();
            Misconfigured(format!(
                "cannot listen on {name} {addr}{owner} (COTURN_PORT): {error}; stop what uses the port or set COTURN_PORT"
            ))
        })
    };
    for &addr in addresses {
        // Sharing would let us bind beside another process that shares too: somebody else's port must be an error.
        open(addr, false)?;
    }
    (0..workers)
        .map(|_| addresses.iter().map(|&addr| open(addr, true)).collect())
        .collect()
}
