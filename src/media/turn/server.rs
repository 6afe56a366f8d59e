//! The server: what arrives, what leaves, and what ends (RFC 8656).

mod allocate;
mod answer;
mod authenticate;
mod peers;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::answer::Answer;
use super::allocation::{Allocation, AllocationId, Slab};
use super::answer_budget::AnswerBudget;
use super::channel;
use super::credentials::Credentials;
use super::five_tuple::{Family, FiveTuple, KeyedHash, Protocol, canonical};
use super::nonce::Nonces;
use super::peer_policy::{PeerPolicy, Reach};
use super::quotas::{Limits, Quotas};
use super::relay_ports::{LivePorts, RelayAddress, RelayPorts, Reservation};
use super::request::Request;
use super::token_bucket::TokenBucket;
use crate::media::stun::{
    AttributeType, Class, Fingerprint, Message, Method, TransactionId, Writer,
};
use crate::units::{PortRange, Random};
use crate::views::turn as views;

/// No answer is longer, with a realm of up to 64 bytes.
pub const MAX_ANSWER_LEN: usize = 256;

/// No header in front of data for a client is longer: that of a Data indication from an IPv6 peer.
pub const MAX_HEADER_LEN: usize = 48;

/// The same from an IPv4 peer.
const DATA_INDICATION_LEN_V4: usize = 36;

/// The longest lifetime of an allocation (RFC 8656 section 7.2).
pub const MAX_LIFETIME: Duration = Duration::from_secs(3_600);

/// What a server needs to know.
#[derive(Debug)]
pub struct Settings {
    /// Who may allocate.
    pub credentials: Credentials,
    /// Where relayed addresses are, the first of each family. Without any, TURN requests are refused with 403.
    pub relays: Vec<RelayAddress>,
    /// This server's share of the relay ports, which no other server has.
    pub ports: PortRange,
    /// The relayed addresses of all servers of this process.
    pub live_ports: Arc<LivePorts>,
    /// Who has how many allocations on all servers of this process.
    pub quotas: Arc<Quotas>,
    /// Further addresses of this host, in every form in which they can be named: bound, external, private.
    pub own_addresses: Vec<IpAddr>,
    /// UDP ports of our workers at these addresses: the only ones that clients reach, besides relayed addresses.
    pub worker_ports: Vec<u16>,
    /// Which peers may be reached.
    pub policy: PeerPolicy,
    /// What clients may have.
    pub limits: Limits,
}

impl Settings {
    /// Answers Binding requests and refuses everything else.
    pub fn stun_only() -> Self {
        Self {
            credentials: Credentials::new(""),
            relays: Vec::new(),
            ports: PortRange::new(1, 1).expect("1 is not above 1"),
            live_ports: Arc::default(),
            quotas: Arc::default(),
            own_addresses: Vec::new(),
            worker_ports: Vec::new(),
            policy: PeerPolicy::default(),
            limits: Limits::default(),
        }
    }
}

/// What is to be done with what arrived from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// The first `len` bytes of the buffer for answers go back to the client.
    Reply {
        /// Length of the answer.
        len: usize,
    },
    /// A part of the input goes to a peer.
    Forward(Forward),
}

/// Data for a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Whose data it is.
    pub allocation: AllocationId,
    /// The relayed transport address from which the peer sees it come.
    pub from: SocketAddr,
    /// The peer, as the client named it.
    pub to: SocketAddr,
    /// The way there.
    pub via: Via,
    /// Where the data stands in the input.
    pub data: Range<usize>,
    /// The client wants no fragmentation (RFC 8656 section 18.9).
    pub dont_fragment: bool,
}

/// The way to a peer. Data for our own addresses never leaves the process, and no socket is ever opened towards them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The allocation's relay socket.
    RelaySocket,
    /// The worker whose UDP port the peer's is.
    Worker,
    /// The allocation, of this or another worker's server, whose relayed address the peer's is: its server's
    /// [`Server::allocation_at`] and [`Server::handle_peer`] take it from there.
    Allocation,
}

/// Data for a client: send `header`, then the payload, then `padding` zero bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToClient {
    /// The client.
    pub to: FiveTuple,
    header: [u8; MAX_HEADER_LEN],
    header_len: usize,
    /// Zero bytes after the payload, at most three.
    pub padding: usize,
}

impl ToClient {
    /// What stands in front of the payload: the header of ChannelData or of a Data indication.
    pub fn header(&self) -> &[u8] {
        self.header.get(..self.header_len).unwrap_or_default()
    }
}

/// What else is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Bind a relay socket: a foreign peer has been permitted for the first time. If the port turns out to be
    /// occupied, say so by [`Server::relay_port_in_use`] and leave the answer unsent.
    OpenRelay {
        /// Whose it is.
        allocation: AllocationId,
        /// Where it is bound.
        bound: SocketAddr,
    },
    /// Close that socket.
    CloseRelay {
        /// Whose it was.
        allocation: AllocationId,
        /// Where it is bound.
        bound: SocketAddr,
    },
    /// A relayed address is gone from which data went to workers: paths that lead there are over.
    PathsEnded {
        /// The address, as clients are told.
        relayed: SocketAddr,
    },
    /// The allocation is gone.
    Ended {
        /// Its name.
        allocation: AllocationId,
        /// Its client.
        five_tuple: FiveTuple,
    },
}

/// A STUN and TURN server for the clients of one worker. Sans-I/O.
///
/// Time-limited credentials need [`Server::set_wall_clock`] once before, and now and then.
#[derive(Debug)]
pub struct Server {
    credentials: Credentials,
    relays: [Option<RelayAddress>; 2],
    ports: [RelayPorts; 2],
    live_ports: Arc<LivePorts>,
    own_addresses: Vec<IpAddr>,
    worker_ports: Vec<u16>,
    policy: PeerPolicy,
    limits: Limits,
    nonces: Nonces,
    budget: AnswerBudget,
    random: Random,
    /// The identifiers of Data indications, which nobody answers, count from a random number.
    next_indication: u64,
    allocations: Slab,
    by_five_tuple: HashMap<FiveTuple, AllocationId, KeyedHash>,
    /// By the hash of the user name.
    by_user: BTreeSet<(u64, AllocationId)>,
    deadlines: BTreeSet<(Instant, AllocationId)>,
    /// Ordered by their end: all live equally long.
    reservations: VecDeque<Reservation>,
    quotas: Arc<Quotas>,
    rate: TokenBucket,
    is_draining: bool,
    can_open: bool,
    outputs: VecDeque<Output>,
    counters: views::TurnCounters,
}

impl Server {
    /// A server without allocations.
    pub fn new(now: Instant, settings: Settings, mut random: Random) -> Self {
        let Settings {
            credentials,
            relays,
            ports,
            live_ports,
            quotas,
            mut own_addresses,
            mut worker_ports,
            policy,
            limits,
        } = settings;
        own_addresses.extend(relays.iter().flat_map(|relay| [relay.bound, relay.told]));
        own_addresses.sort_unstable();
        own_addresses.dedup();
        worker_ports.sort_unstable();
        let mut ports = Family::BOTH.map(|family| RelayPorts::new(family, ports));
        // Where the ranges overlap, what goes to a worker's port goes to the worker.
        for pool in &mut ports {
            worker_ports.iter().for_each(|port| {
                pool.take_exactly(*port);
            });
        }
        Self {
            credentials,
            relays: Family::BOTH.map(|family| {
                relays
                    .iter()
                    .copied()
                    .find(|relay| Family::of(relay.told) == family)
            }),
            ports,
            live_ports,
            own_addresses,
            worker_ports,
            policy,
            limits,
            nonces: Nonces::new(now, &mut random),
            budget: AnswerBudget::new(now, &mut random),
            next_indication: random.u64(),
            allocations: Slab::default(),
            by_five_tuple: HashMap::with_hasher(KeyedHash::new(&mut random)),
            by_user: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            reservations: VecDeque::new(),
            quotas,
            rate: TokenBucket::full(now),
            is_draining: false,
            can_open: true,
            outputs: VecDeque::new(),
            counters: views::TurnCounters::default(),
            random,
        }
    }

    /// Takes one datagram, or one message of a stream, from a client. An answer is written into `out`, which needs
    /// [`MAX_ANSWER_LEN`] bytes.
    pub fn handle_input(
        &mut self,
        now: Instant,
        from: FiveTuple,
        input: &[u8],
        out: &mut [u8],
    ) -> Action {
        match input.first() {
            Some(0x40..=0x7f) => self.handle_channel_data(now, &from, input),
            Some(0..=3) => match Message::parse(input) {
                Ok(message) => self.handle_stun(now, &from, message, input.len(), out),
                Err(_) => self.ignore(),
            },
            _ => self.ignore(),
        }
    }

    /// Takes `len` bytes that came for an allocation's relayed address from `peer`, be it through its relay socket or
    /// from inside the process; returns how they go to the client, if they do.
    pub fn handle_peer(
        &mut self,
        now: Instant,
        allocation: AllocationId,
        peer: SocketAddr,
        len: usize,
    ) -> Option<ToClient> {
        let peer = canonical(peer);
        let Some(known) = self.allocations.get_mut(allocation) else {
            self.counters.dropped_unpermitted += 1;
            return None;
        };
        let permitted = known.relay(now, Family::of(peer.ip())).is_some()
            && known.permissions.allows(now, peer.ip()).is_some();
        if !permitted {
            self.counters.dropped_unpermitted += 1;
            return None;
        }
        let within = known
            .rate
            .spend(now, self.limits.allocation_bytes_per_sec, len)
            && self.rate.spend(now, self.limits.bytes_per_sec, len);
        if !within {
            self.counters.dropped_over_rate += 1;
            return None;
        }
        let field = u16::try_from(len).ok()?;
        let to = known.five_tuple;
        let mut header = [0; MAX_HEADER_LEN];
        let (header_len, padding) = match known.channels.by_peer(now, peer) {
            Some(number) => {
                header[..2].copy_from_slice(&number.get().to_be_bytes());
                header[2..4].copy_from_slice(&field.to_be_bytes());
                // RFC 8656 section 12.5: padding is for streams only.
                let padding = match to.protocol {
                    Protocol::Udp => 0,
                    Protocol::Tcp | Protocol::Tls => padding_of(len),
                };
                (channel::CHANNEL_HEADER_LEN, padding)
            }
            None => {
                self.next_indication = self.next_indication.wrapping_add(1);
                let id = self.next_indication;
                (
                    data_indication(&mut header, id, peer, field)?,
                    padding_of(len),
                )
            }
        };
        known.traffic.packets_to_client += 1;
        known.traffic.bytes_to_client += len as u64;
        self.counters.packets_to_clients += 1;
        self.counters.bytes_to_clients += len as u64;
        Some(ToClient {
            to,
            header,
            header_len,
            padding,
        })
    }

    /// Whose data [`Self::handle_peer`] makes of what comes from `peer` for this allocation, and how long the header in
    /// front of it will be; `None` if nothing may pass.
    pub fn way_to_client(
        &self,
        now: Instant,
        allocation: AllocationId,
        peer: SocketAddr,
    ) -> Option<(FiveTuple, usize)> {
        let peer = canonical(peer);
        let known = self.allocations.get(allocation)?;
        known.relay(now, Family::of(peer.ip()))?;
        known.permissions.allows(now, peer.ip())?;
        let header_len = match (known.channels.by_peer(now, peer), peer) {
            (Some(_), _) => channel::CHANNEL_HEADER_LEN,
            (None, SocketAddr::V4(_)) => DATA_INDICATION_LEN_V4,
            (None, SocketAddr::V6(_)) => MAX_HEADER_LEN,
        };
        Some((known.five_tuple, header_len))
    }

    /// Ends what has expired. Spurious calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            for family in Family::BOTH {
                let expired = self
                    .allocations
                    .get(id)
                    .and_then(|known| known.relays[family.index()])
                    .is_some_and(|relay| relay.expires_at <= now);
                if expired {
                    self.end_relay(now, id, family);
                }
            }
        }
        while let Some(reservation) = self
            .reservations
            .pop_front_if(|reservation| reservation.expires_at <= now)
        {
            self.quotas
                .give_back(&reservation.username, reservation.source, 1);
            self.ports[reservation.family.index()].release(reservation.port, &self.live_ports);
        }
        for ports in &mut self.ports {
            ports.handle_timeout(now);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let reservation = self.reservations.front().map(|first| first.expires_at);
        let ports = self.ports.iter().filter_map(RelayPorts::poll_timeout);
        deadline.into_iter().chain(reservation).chain(ports).min()
    }

    /// What else is to be done, until `None`. To be asked after every call, and before an answer is sent.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What it has done so far.
    pub const fn counters(&self) -> views::TurnCounters {
        self.counters
    }

    /// The allocation whose relayed address this is, told or bound.
    pub fn allocation_at(&self, now: Instant, relayed: SocketAddr) -> Option<AllocationId> {
        let relayed = canonical(relayed);
        let family = Family::of(relayed.ip());
        let relay = self.relays[family.index()]?;
        if ![relay.told, relay.bound].contains(&relayed.ip()) {
            return None;
        }
        let slot = self.ports[family.index()].owner(relayed.port())?;
        let id = self.allocations.id_at(slot)?;
        self.allocations.get(id)?.relay(now, family)?;
        Some(id)
    }

    /// The allocation of a client.
    pub fn allocation_of(&self, client: &FiveTuple) -> Option<AllocationId> {
        self.by_five_tuple.get(client).copied()
    }

    /// The allocations that live.
    pub fn allocations(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (AllocationId, views::Allocation)> {
        self.allocations_after(now, None)
    }

    /// Those that come after another in the order of [`Self::allocations`], whether that one still lives or not: for
    /// lists that are made in parts.
    pub fn allocations_after(
        &self,
        now: Instant,
        after: Option<AllocationId>,
    ) -> impl Iterator<Item = (AllocationId, views::Allocation)> {
        self.allocations
            .iter_after(after)
            .map(move |(id, known)| (id, self.view(now, id, known)))
    }

    /// Ends what a stream had that is closed (RFC 8656 section 3.1).
    pub fn handle_closed_stream(&mut self, now: Instant, client: &FiveTuple) {
        if let Some(id) = self.allocation_of(client) {
            self.end(now, id);
        }
    }

    /// Whether an allocation lives.
    pub fn is_alive(&self, id: AllocationId) -> bool {
        self.allocations.get(id).is_some()
    }

    /// Ends an allocation.
    pub fn end(&mut self, now: Instant, id: AllocationId) {
        for family in Family::BOTH {
            self.end_relay(now, id, family);
        }
    }

    /// Takes note that a relay port could not be bound, and ends its allocation: its client learns so from the next
    /// answer (437) and allocates anew. The port is left alone for a while.
    pub fn relay_port_in_use(&mut self, now: Instant, bound: SocketAddr) {
        let family = Family::of(bound.ip());
        let owner = self.ports[family.index()].owner(bound.port());
        let Some(id) = owner.and_then(|slot| self.allocations.id_at(slot)) else {
            return;
        };
        if let Some(relay) = self
            .allocations
            .get_mut(id)
            .and_then(|known| known.relay_mut(family))
        {
            relay.is_open = false;
        }
        self.end(now, id);
        let ports = &mut self.ports[family.index()];
        if ports.take_exactly(bound.port()) {
            ports.release_in_use(now, bound.port(), &self.live_ports);
        }
        self.counters.ports_in_use += 1;
    }

    /// Takes note that a relay socket could not be opened for want of descriptors or memory. The permission stays, and
    /// asking for it again tries again.
    pub fn relay_not_opened(&mut self, bound: SocketAddr) {
        let family = Family::of(bound.ip());
        let owner = self.ports[family.index()].owner(bound.port());
        let id = owner.and_then(|slot| self.allocations.id_at(slot));
        if let Some(relay) = id
            .and_then(|id| self.allocations.get_mut(id))
            .and_then(|known| known.relay_mut(family))
        {
            relay.is_open = false;
        }
    }

    /// Says whether relay sockets can be opened. As long as they cannot, a foreign peer that needs one is refused with
    /// 508.
    pub fn set_can_open(&mut self, can_open: bool) {
        self.can_open = can_open;
    }

    /// Says what the wall clock shows: time-limited credentials are measured by it.
    pub fn set_wall_clock(&mut self, now: Instant, unix_secs: u64) {
        self.credentials.set_wall_clock(now, unix_secs);
    }

    /// Refuses a user name from now on, and ends its allocations.
    pub fn revoke(&mut self, now: Instant, username: &str) {
        self.credentials.revoke(username);
        let user = self.hash_of(username);
        let ids: Vec<AllocationId> = self
            .by_user
            .range((user, AllocationId::FIRST)..=(user, AllocationId::LAST))
            .map(|(_, id)| *id)
            // Another name may have the same hash.
            .filter(|id| {
                let known = self.allocations.get(*id);
                known.is_some_and(|known| &*known.username == username)
            })
            .collect();
        for id in ids {
            self.end(now, id);
        }
    }

    /// Takes other secrets and users; allocations that live stay.
    pub fn set_credentials(&mut self, credentials: Credentials) {
        self.credentials.replace(credentials);
    }

    /// Takes other limits; what exceeds them stays, and nothing is added to it.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes another policy; permissions and channels that it denies end.
    pub fn set_policy(&mut self, policy: PeerPolicy) {
        self.policy = policy;
        let ids: Vec<AllocationId> = self.allocations.iter().map(|(id, _)| id).collect();
        for id in ids {
            let Some(known) = self.allocations.get_mut(id) else {
                continue;
            };
            let (policy, own) = (&self.policy, &self.own_addresses);
            let keep = |peer| policy.classify(peer, own) != Reach::Denied;
            known.permissions.retain(keep);
            known.channels.retain(keep);
        }
    }

    /// Refuses new allocations with 508, or takes them again; those that live are not touched.
    pub fn set_draining(&mut self, is_draining: bool) {
        self.is_draining = is_draining;
    }

    /// Panics where the parts of the state disagree.
    #[cfg(any(test, feature = "testing"))]
    pub fn assert_sound(&self, now: Instant) {
        let live = self.allocations.len();
        assert_eq!(self.by_five_tuple.len(), live);
        assert_eq!(self.deadlines.len(), live);
        assert_eq!(self.by_user.len(), live);
        let counted = live + self.reservations.len();
        assert_eq!(self.quotas.total() as usize, counted);
        for family in Family::BOTH {
            let mut taken = self
                .reservations
                .iter()
                .filter(|reservation| reservation.family == family)
                .count();
            for (id, known) in self.allocations.iter() {
                assert!(self.deadlines.contains(&(known.deadline, id)));
                assert_eq!(self.by_five_tuple.get(&known.five_tuple), Some(&id));
                let user = self.hash_of(&known.username);
                assert!(self.by_user.contains(&(user, id)));
                assert!(known.permissions.count(now) <= self.limits.permissions);
                assert!(known.channels.count(now) <= self.limits.channels);
                let Some(relay) = known.relays[family.index()] else {
                    continue;
                };
                taken += 1;
                assert_eq!(self.ports[family.index()].owner(relay.port), Some(id.slot));
                assert!(self.live_ports.contains(family, relay.port));
                assert!(known.deadline <= relay.expires_at);
            }
            let pool = &self.ports[family.index()];
            let withheld = self.worker_ports.iter().filter(|port| pool.covers(**port));
            pool.assert_taken(taken + withheld.count());
        }
    }

    // ---- from clients -----------------------------------------------------------------------------------------

    fn handle_channel_data(&mut self, now: Instant, from: &FiveTuple, input: &[u8]) -> Action {
        let Some((number, len)) = channel::decode(input) else {
            return self.ignore();
        };
        let bound = self.allocation_of(from).and_then(|id| {
            let channel = self.allocations.get(id)?.channels.by_number(now, number)?;
            Some((id, channel.peer, channel.is_own))
        });
        let Some((id, peer, is_own)) = bound else {
            self.counters.dropped_unpermitted += 1;
            return Action::Nothing;
        };
        let start = channel::CHANNEL_HEADER_LEN;
        self.forward(now, id, peer, is_own, start..start + len, false)
    }

    fn handle_send(&mut self, now: Instant, from: &FiveTuple, request: &Request<'_>) -> Action {
        // RFC 8656 section 11.2: what is not as it should be is dropped without a word.
        let peer = request
            .peer
            .and_then(|attribute| request.message.decode_xor_address(&attribute));
        let (Some(peer), Some(data), false) = (peer, request.data, request.has_unknown) else {
            return self.ignore();
        };
        let permitted = self.allocation_of(from).and_then(|id| {
            let permissions = &self.allocations.get(id)?.permissions;
            Some((id, permissions.allows(now, peer.ip())?))
        });
        let Some((id, is_own)) = permitted else {
            self.counters.dropped_unpermitted += 1;
            return Action::Nothing;
        };
        self.forward(now, id, peer, is_own, data.range(), request.dont_fragment)
    }

    fn forward(
        &mut self,
        now: Instant,
        id: AllocationId,
        to: SocketAddr,
        is_own: bool,
        data: Range<usize>,
        dont_fragment: bool,
    ) -> Action {
        let via = if is_own {
            let Some(via) = self.way_inside(to) else {
                self.counters.dropped_own_port += 1;
                return Action::Nothing;
            };
            via
        } else {
            Via::RelaySocket
        };
        let family = Family::of(to.ip());
        let from = self.relays[family.index()];
        let known = self.allocations.get_mut(id);
        let (Some(from), Some(known)) = (from, known) else {
            return Action::Nothing;
        };
        let Some(relay) = known
            .relay_mut(family)
            .filter(|relay| now < relay.expires_at && to.port() != 0)
        else {
            self.counters.dropped_unpermitted += 1;
            return Action::Nothing;
        };
        relay.reaches_workers |= via == Via::Worker;
        let from = from.told(relay.port);
        let within = known
            .rate
            .spend(now, self.limits.allocation_bytes_per_sec, data.len())
            && self.rate.spend(now, self.limits.bytes_per_sec, data.len());
        if !within {
            self.counters.dropped_over_rate += 1;
            return Action::Nothing;
        }
        known.traffic.packets_to_peers += 1;
        known.traffic.bytes_to_peers += data.len() as u64;
        self.counters.packets_to_peers += 1;
        self.counters.bytes_to_peers += data.len() as u64;
        self.counters.packets_inside += u64::from(via != Via::RelaySocket);
        Action::Forward(Forward {
            allocation: id,
            from,
            to,
            via,
            data,
            dont_fragment,
        })
    }

    /// The way to a port of an own address: to our workers and to relayed addresses, and to nothing else.
    fn way_inside(&self, to: SocketAddr) -> Option<Via> {
        if self.worker_ports.binary_search(&to.port()).is_ok() {
            return Some(Via::Worker);
        }
        let family = Family::of(to.ip());
        let relay = self.relays[family.index()]?;
        ([relay.told, relay.bound].contains(&to.ip())
            && self.live_ports.contains(family, to.port()))
        .then_some(Via::Allocation)
    }

    fn handle_stun(
        &mut self,
        now: Instant,
        from: &FiveTuple,
        message: Message<'_>,
        len: usize,
        out: &mut [u8],
    ) -> Action {
        let request = Request::read(message);
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => return self.handle_send(now, from, &request),
            (Class::Request, _) => {}
            (Class::Indication | Class::Success | Class::Error, _) => return self.ignore(),
        }
        let fingerprint = match message.fingerprint() {
            Fingerprint::Absent => false,
            Fingerprint::Valid => true,
            Fingerprint::Invalid => return self.ignore(),
        };
        let answer = match message.method() {
            Method::BINDING if request.has_unknown => Answer::refusal(420),
            Method::BINDING => Answer::mapped(),
            Method::ALLOCATE
            | Method::REFRESH
            | Method::CREATE_PERMISSION
            | Method::CHANNEL_BIND
                if self.relays != [None; 2] =>
            {
                self.answer_authenticated(now, from, &request)
            }
            Method::ALLOCATE
            | Method::REFRESH
            | Method::CREATE_PERMISSION
            | Method::CHANNEL_BIND
            | Method::CONNECT
            | Method::CONNECTION_BIND => Answer::refusal(403),
            _ => return self.ignore(),
        };
        let Some(written) = self.write_answer(now, from, &request, &answer, fingerprint, out)
        else {
            return self.ignore();
        };
        // Streams prove their address, and so does who knows the key: nobody else gets more than the budget.
        let is_free = answer.is_sealed() || from.protocol != Protocol::Udp;
        if !is_free && !self.budget.spend(now, from.client.ip(), len, written) {
            self.counters.over_budget += 1;
            return Action::Nothing;
        }
        self.count(&answer);
        Action::Reply { len: written }
    }

    fn count(&mut self, answer: &Answer) {
        let counters = &mut self.counters;
        let counter = match answer.error() {
            None if answer.is_mapped() => &mut counters.bindings,
            None => return,
            Some(401 | 438) => &mut counters.challenges,
            Some(486) => &mut counters.over_quota,
            Some(508) => &mut counters.out_of_ports,
            Some(_) => &mut counters.refused,
        };
        *counter += 1;
    }

    fn ignore(&mut self) -> Action {
        self.counters.ignored += 1;
        Action::Nothing
    }

    // ---- ends -------------------------------------------------------------------------------------------------

    /// Ends one relay with its permissions and channels, and with the last one the allocation.
    fn end_relay(&mut self, now: Instant, id: AllocationId, family: Family) {
        let Some(known) = self.allocations.get_mut(id) else {
            return;
        };
        let Some(relay) = known.relays[family.index()].take() else {
            return;
        };
        known.permissions.remove_family(family);
        known.channels.remove_family(family);
        if let Some(address) = self.relays[family.index()].filter(|_| relay.is_open) {
            self.outputs.push_back(Output::CloseRelay {
                allocation: id,
                bound: address.bound(relay.port),
            });
        }
        if let Some(address) = self.relays[family.index()].filter(|_| relay.reaches_workers) {
            self.outputs.push_back(Output::PathsEnded {
                relayed: address.told(relay.port),
            });
        }
        self.ports[family.index()].release(relay.port, &self.live_ports);
        if known.relays.iter().all(Option::is_none) {
            self.forget(id);
        } else {
            self.schedule(now, id);
        }
    }

    fn forget(&mut self, id: AllocationId) {
        let Some(gone) = self.allocations.remove(id) else {
            return;
        };
        *self.live(gone.five_tuple.protocol) -= 1;
        self.deadlines.remove(&(gone.deadline, id));
        self.by_five_tuple.remove(&gone.five_tuple);
        let user = self.hash_of(&gone.username);
        self.by_user.remove(&(user, id));
        self.quotas
            .give_back(&gone.username, gone.five_tuple.client.ip(), 1);
        self.outputs.push_back(Output::Ended {
            allocation: id,
            five_tuple: gone.five_tuple,
        });
    }

    /// The allocations that live, of clients that come by `protocol`.
    const fn live(&mut self, protocol: Protocol) -> &mut u64 {
        match protocol {
            Protocol::Udp => &mut self.counters.live_udp,
            Protocol::Tcp => &mut self.counters.live_tcp,
            Protocol::Tls => &mut self.counters.live_tls,
        }
    }

    fn hash_of(&self, username: &str) -> u64 {
        self.by_five_tuple.hasher().hash_one(username)
    }

    /// Puts the allocation among the deadlines where its relays want it.
    fn schedule(&mut self, now: Instant, id: AllocationId) {
        let Some(known) = self.allocations.get_mut(id) else {
            return;
        };
        let deadline = known
            .relays
            .iter()
            .flatten()
            .map(|relay| relay.expires_at)
            .min()
            .unwrap_or(now);
        self.deadlines.remove(&(known.deadline, id));
        known.deadline = deadline;
        self.deadlines.insert((deadline, id));
    }

    fn view(&self, now: Instant, id: AllocationId, known: &Allocation) -> views::Allocation {
        let relayed = Family::BOTH.into_iter().filter_map(|family| {
            let relay = known.relay(now, family)?;
            Some(self.relays[family.index()]?.told(relay.port))
        });
        views::Allocation {
            id: id.to_string(),
            username: known.username.to_string(),
            protocol: match known.five_tuple.protocol {
                Protocol::Udp => "udp",
                Protocol::Tcp => "tcp",
                Protocol::Tls => "tls",
            }
            .into(),
            client: known.five_tuple.client,
            server: known.five_tuple.server,
            relayed: relayed.collect(),
            age_secs: now.saturating_duration_since(known.created_at).as_secs(),
            expires_in_secs: known.deadline.saturating_duration_since(now).as_secs(),
            permissions: known.permissions.count(now),
            channels: known.channels.count(now),
            packets_to_peers: known.traffic.packets_to_peers,
            bytes_to_peers: known.traffic.bytes_to_peers,
            packets_to_client: known.traffic.packets_to_client,
            bytes_to_client: known.traffic.bytes_to_client,
        }
    }
}

const fn padding_of(len: usize) -> usize {
    len.next_multiple_of(4) - len
}

/// Writes a Data indication up to where its data begins (RFC 8656 section 11.4).
fn data_indication(header: &mut [u8], id: u64, peer: SocketAddr, len: u16) -> Option<usize> {
    let mut transaction = [0; 12];
    transaction[4..].copy_from_slice(&id.to_be_bytes());
    let mut writer = Writer::new(
        header,
        Class::Indication,
        Method::DATA,
        TransactionId(transaction),
    );
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    writer.attribute(AttributeType::DATA, &[]);
    let end = writer.finish().ok()?;
    let total = u16::try_from(end - 20 + usize::from(len).next_multiple_of(4)).ok()?;
    header.get_mut(2..4)?.copy_from_slice(&total.to_be_bytes());
    header
        .get_mut(end - 2..end)?
        .copy_from_slice(&len.to_be_bytes());
    Some(end)
}
