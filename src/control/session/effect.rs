//! What a session wants done: its only output.

use std::sync::Arc;
use std::time::Duration;

use super::command::RequestId;
use super::identifiers::{ConnectionId, SocketId, StreamId};
use super::notification::Notification;
use super::refusal::Refusal;
use super::reply::Reply;
use super::rpc_session::RpcKey;
use crate::media::plane;

/// One thing to do; effects are carried out in the order in which they appear.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Hand this to the session's room.
    Media(plane::Command),
    /// Answer a request.
    Reply {
        /// Who asked.
        socket: SocketId,
        /// What it asked.
        request: RequestId,
        /// The answer.
        outcome: Result<Reply, Refusal>,
    },
    /// Tell a client.
    Notify {
        /// Whom.
        socket: SocketId,
        /// What; shared by everyone who is told.
        notification: Arc<Notification>,
    },
    /// The socket is no member's any more: close it after `after` unless its client does so first.
    Release {
        /// Which.
        socket: SocketId,
        /// The time that the client has.
        after: Duration,
    },
    /// Whoever presents this RPC session's id comes too late: its participant is gone.
    Forget(RpcKey),
    /// Something that the journal of events will want to know.
    Happened(Happening),
    /// The session is over; nothing follows.
    Ended,
}

/// What happened, for logs and, later, CDR and webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// Someone joined.
    Joined(ConnectionId),
    /// Someone left.
    Left(ConnectionId, Arc<str>),
    /// A hidden participant joined: for the log only, events do not tell of it (`openvidu-rest` section 3).
    JoinedUnseen(ConnectionId),
    /// A hidden participant left.
    LeftUnseen(ConnectionId, Arc<str>),
    /// More notifications waited for someone than are kept: it is evicted.
    Flooded(ConnectionId),
    /// A stream began.
    Published(StreamId),
    /// A stream ended.
    Unpublished(StreamId, Arc<str>),
    /// A subscription began.
    Subscribed(ConnectionId, StreamId),
    /// A subscription ended.
    Unsubscribed(ConnectionId, StreamId, Arc<str>),
    /// The session ended.
    Destroyed(Arc<str>),
}
