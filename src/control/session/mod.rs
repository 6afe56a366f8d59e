//! The domain: sessions, connections, publishers, subscribers, tokens, roles; commands in, effects out.
//!
//! [`core::Session`] decides and touches nothing; `service.rs` runs one task around each; [`Directory`] holds them all.

use std::time::Duration;

mod administration;
mod candidates;
pub mod command;
pub mod core;
pub mod directory;
pub mod effect;
mod failures;
mod filters;
pub mod ice_servers;
pub mod identifiers;
mod media_reconnection;
mod membership;
mod metrics;
mod moderation;
pub mod notification;
mod participant;
pub mod ports;
pub mod properties;
mod publishing;
mod quality;
pub mod reason;
mod reconnection;
pub mod refusal;
pub mod reply;
pub mod rpc_session;
#[cfg(test)]
pub(crate) mod scene;
#[cfg(test)]
mod schedules;
pub mod service;
pub mod settings;
mod signals;
mod subscribing;
#[cfg(test)]
mod tests;
mod token;

pub use administration::SignalError;
pub use command::{Hidden, JoinRoom, Joiner, Request, RequestId};
pub use directory::{ConnectError, CreateError, Directory, LookupError};
pub use identifiers::{ConnectionId, SocketId, StreamId};
pub use notification::Notification;
pub use ports::{Client, NoTurn, TurnCredential, TurnCredentials};
pub use properties::{
    ConnectionChange, ConnectionProperties, KurentoOptions, Role, SessionProperties,
};
pub use reconnection::{SocketEnd, Unheard};
pub use refusal::Refusal;
pub use reply::Reply;
pub use rpc_session::{RpcKey, RpcSession};
#[cfg(any(test, feature = "testing"))]
pub use service::Fault;
pub use service::{Handle, Occupancy, OccupancyWatch};
pub use settings::{Limits, Settings};

/// The time that a client has to close its socket after it left or was evicted (`openvidu-signalling` section 9.5).
pub const FORCED_CLOSE_DELAY: Duration = Duration::from_secs(10);
