//! What the server answers when it does what was asked.

use std::fmt;

use super::identifiers::{ConnectionId, StreamId};
use super::notification::{Member, StreamDescriptor};
use super::properties::Role;
use crate::units::SubscribeOffer;
use crate::views::openvidu::IceServer;

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// `joinRoom`
    Joined(Box<Joined>),
    /// `publishVideo`
    Published {
        /// `sdpAnswer`
        answer: String,
        /// `id`
        stream: StreamId,
        /// `createdAt`
        created_at: u64,
    },
    /// `prepareReceiveVideoFrom`
    Offer(String),
    /// `receiveVideoFrom` with `sdpOffer`
    Answer(String),
    /// `connect` with an RPC session id.
    Reconnected,
    /// Every other method.
    Done,
}

/// The result of `joinRoom` (`openvidu-signalling` section 3).
#[derive(Clone, PartialEq)]
pub struct Joined {
    /// `id`
    pub connection: ConnectionId,
    /// `finalUserId`
    pub final_user_id: String,
    /// `createdAt`: the moment of the join.
    pub created_at: u64,
    /// `metadata`
    pub metadata: String,
    /// `value`: everyone who is already there, and what they publish.
    pub members: Vec<(Member, Option<StreamDescriptor>)>,
    /// `session`
    pub session: String,
    /// `role`
    pub role: Role,
    /// `record`
    pub record: bool,
    /// `mediaServer`
    pub subscribe_offer: SubscribeOffer,
    /// `videoSimulcast`
    pub video_simulcast: bool,
    /// `coturnIp`
    pub coturn_ip: String,
    /// `coturnPort`
    pub coturn_port: u16,
    /// `turnUsername`
    pub turn_username: Option<String>,
    /// `turnCredential`
    pub turn_credential: Option<String>,
    /// `customIceServers`
    pub custom_ice_servers: Vec<IceServer>,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // TURN credentials open a relay for a day.
        f.debug_struct("Joined")
            .field("connection", &self.connection)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
