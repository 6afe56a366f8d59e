//! The TURN server: what it counts, and the allocations that live.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What a TURN server did, since it began, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnCounters {
    /// Binding requests answered.
    pub bindings: u64,
    /// Requests answered with 401 or 438, which ask for a credential.
    pub challenges: u64,
    /// Requests answered with another error.
    pub refused: u64,
    /// Requests left unanswered because their source has used up its budget.
    pub over_budget: u64,
    /// Input that is no request to this server.
    pub ignored: u64,
    /// Allocations made.
    pub allocations: u64,
    /// Allocations that live, of clients that come by UDP.
    pub live_udp: u64,
    /// Those of clients that come by TCP.
    pub live_tcp: u64,
    /// Those of clients that come by TLS.
    pub live_tls: u64,
    /// Allocations refused with 486.
    pub over_quota: u64,
    /// Allocations refused with 508.
    pub out_of_ports: u64,
    /// Relay ports that another process occupied.
    pub ports_in_use: u64,
    /// Permissions and channels refused with 403 because of their peer.
    pub denied_peers: u64,
    /// Packets relayed to peers, those to our own media server included.
    pub packets_to_peers: u64,
    /// Their payload bytes.
    pub bytes_to_peers: u64,
    /// Of those packets, the ones that never left the process.
    pub packets_inside: u64,
    /// Packets relayed to clients.
    pub packets_to_clients: u64,
    /// Their payload bytes.
    pub bytes_to_clients: u64,
    /// Data dropped for want of an allocation, a permission or a channel.
    pub dropped_unpermitted: u64,
    /// Data dropped because its peer is a port of ours that is not reachable.
    pub dropped_own_port: u64,
    /// Data dropped because of a bound of bandwidth.
    pub dropped_over_rate: u64,
}

/// A live allocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocation {
    /// Names it for as long as it lives, and never another one.
    pub id: String,
    /// The user name that made it.
    pub username: String,
    /// `udp`, `tcp` or `tls`.
    pub protocol: Cow<'static, str>,
    /// The client's address, as the server sees it.
    pub client: SocketAddr,
    /// The server's address that the client uses.
    pub server: SocketAddr,
    /// The relayed transport addresses, as clients are told.
    pub relayed: Vec<SocketAddr>,
    /// Seconds since it was made.
    pub age_secs: u64,
    /// Seconds until it ends unless it is refreshed.
    pub expires_in_secs: u64,
    /// Peers that may be talked to.
    pub permissions: usize,
    /// Channels bound.
    pub channels: usize,
    /// Packets relayed to peers.
    pub packets_to_peers: u64,
    /// Their payload bytes.
    pub bytes_to_peers: u64,
    /// Packets relayed to the client.
    pub packets_to_client: u64,
    /// Their payload bytes.
    pub bytes_to_client: u64,
}
