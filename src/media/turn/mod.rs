//! The STUN/TURN server (RFC 8489, RFC 8656): sans-I/O, one for each worker.
//!
//! ```text
//! client --- five_tuple ---> Server::handle_input --- Action::Reply ----> client
//!                                 |   allocation: permission, channel
//!                                 +--- Action::Forward via a relay socket, or inside the process
//! peer ---- AllocationId ---> Server::handle_peer --- ToClient ---------> client
//! ```

mod allocation;
mod answer_budget;
mod channel;
mod credentials;
mod five_tuple;
mod metrics;
mod nonce;
mod peer_policy;
mod permission;
mod quotas;
mod relay_ports;
mod request;
mod server;
mod token_bucket;

pub use allocation::{AllocationId, DEFAULT_LIFETIME, NotAnAllocation};
pub use channel::{CHANNEL_HEADER_LEN, CHANNEL_LIFETIME, ChannelNumber};
pub use credentials::Credentials;
pub use five_tuple::{FiveTuple, Protocol};
pub use metrics::families;
pub use peer_policy::{PeerPolicy, is_globally_reachable};
pub use permission::PERMISSION_LIFETIME;
pub use quotas::{Limits, Quotas};
pub use relay_ports::{LivePorts, RelayAddress};
pub use server::{
    Action, Forward, MAX_ANSWER_LEN, MAX_HEADER_LEN, MAX_LIFETIME, Output, Server, Settings,
    ToClient, Via,
};
