//! What sessions need from folders above or beside them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::command::RequestId;
use super::notification::Notification;
use super::reconnection::Unheard;
use super::refusal::Refusal;
use super::reply::Reply;

/// A TURN user name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnCredential {
    /// `turnUsername`
    pub username: String,
    /// `turnCredential`
    pub credential: String,
}

impl fmt::Debug for TurnCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnCredential")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Mints what `joinRoom` hands out (`openvidu-signalling` section 3.2) and takes it back. Neither call may block.
pub trait TurnCredentials: Send + Sync {
    /// New credentials, valid for a day, or `None` without a TURN server.
    fn mint(&self) -> Option<TurnCredential>;
    /// Ends what was minted for `username`, since its owner has left.
    fn revoke(&self, username: &str);
    /// The TURN URLs over TLS for which they are good, too, as long as clients would trust the certificate.
    fn urls_over_tls(&self) -> Vec<String> {
        Vec::new()
    }
}

/// No TURN server.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTurn;

impl TurnCredentials for NoTurn {
    fn mint(&self) -> Option<TurnCredential> {
        None
    }

    fn revoke(&self, _username: &str) {}
}

/// One client's socket, as far as a session writes to it. No call may block: a client that reads too slowly is
/// disconnected by its implementation.
pub trait Client: Send + Sync {
    /// Answers the request `id`.
    fn reply(&self, id: &RequestId, outcome: Result<&Reply, &Refusal>);
    /// Tells the client something.
    fn notify(&self, notification: Arc<Notification>);
    /// Takes back what the client was to be told and is not known to have received; from now on the socket writes
    /// nothing any more.
    fn take_back(&self) -> Unheard;
    /// Closes the socket after `delay` unless the client does so first.
    fn close_after(&self, delay: Duration);
}
