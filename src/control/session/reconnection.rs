//! Sockets that break and come back (`openvidu-signalling` section 5): the grace, what is said meanwhile, the return.
//!
//! ```text
//!              socket lost: reconnect_grace
//!   Open -------------------------------------> Grace ---- its end ----> evicted, networkDisconnect
//!    ^  \                                        |  ^ \
//!    |   `-- goodbye (4101, 4102): evicted       |  |  `-- too much to keep: evicted
//!    |                                           |  |
//!    +------------ connect, on any socket -------+  +-- began by silence, and media is still heard: longer
//! ```

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::RequestId;
use super::core::{Moment, Session};
use super::effect::Happening;
use super::identifiers::{ConnectionId, SocketId};
use super::notification::Notification;
use super::participant::{Link, Participant};
use super::reason;
use super::refusal::Refusal;
use super::reply::Reply;
use super::rpc_session::RpcKey;

/// How often a participant whose grace is over is looked at, while its media is heard.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// The longest that media keeps a participant whose signalling is silent.
const HEARD_WITHOUT_SIGNALLING: Duration = Duration::from_secs(120);

/// Bytes of notifications that are kept for one participant: half of what a socket may have waiting, since they all
/// go out at once.
const KEPT_MAX: usize = 512 * 1024;

/// How a socket ended, as far as it matters to its participant (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEnd {
    /// The client said that it will not come back (close codes 4101 and 4102).
    ByClient,
    /// It was closed or reset, a closed tab included: the client may come back within the grace.
    Lost,
    /// We closed it because nothing came any more, pongs included. The client may still be there: its media tells.
    Silent,
}

/// What a socket was given to write and its client is not known to have received, in order. `None` if some of it is
/// lost, so that the client could not be brought up to date.
pub type Unheard = Option<Vec<Arc<Notification>>>;

/// The time without a socket.
#[derive(Debug)]
pub(super) struct Grace {
    began: Instant,
    /// When it is over.
    pub(super) until: Instant,
    /// Until when it may go on while media is heard.
    longest: Option<Instant>,
    kept: VecDeque<Arc<Notification>>,
    kept_bytes: usize,
}

impl Grace {
    fn new(began: Instant, length: Duration, longest: Option<Duration>) -> Self {
        let after = |wait| began.checked_add(wait).unwrap_or(began);
        Self {
            began,
            until: after(length),
            longest: longest.map(after),
            kept: VecDeque::new(),
            kept_bytes: 0,
        }
    }

    /// Keeps `notification` for the client's return. Returns whether this is what makes it too much, so that the
    /// client could not be brought up to date any more: its time is over.
    pub(super) fn keep(&mut self, notification: Arc<Notification>) -> bool {
        if self.kept_bytes > KEPT_MAX {
            return false;
        }
        self.kept_bytes += length(&notification);
        self.kept.push_back(notification);
        let too_much = self.kept_bytes > KEPT_MAX;
        if too_much {
            self.kept.clear();
            (self.until, self.longest) = (self.began, None);
        }
        too_much
    }
}

/// About what a notification takes on the wire.
fn length(notification: &Notification) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut count = Count(0);
    // Escaped much like JSON, and of every notification that there will ever be. Counting does not fail.
    let _ = write!(count, "{notification:?}");
    count.0
}

impl Session {
    /// A socket is gone. Only the socket that a participant uses matters: one that was replaced may close late.
    pub fn handle_socket_closed(
        &mut self,
        at: Moment,
        socket: SocketId,
        end: SocketEnd,
        unheard: Unheard,
    ) {
        let Some(connection) = self.connection_of(socket) else {
            return;
        };
        let length = match end {
            SocketEnd::ByClient => Duration::ZERO,
            SocketEnd::Lost | SocketEnd::Silent => self.settings.reconnect_grace,
        };
        let longest = (end == SocketEnd::Silent).then_some(HEARD_WITHOUT_SIGNALLING);
        let mut grace = Grace::new(at.now, length, longest);
        let Some(unheard) = unheard else {
            self.evict_flooded(at, &connection);
            return;
        };
        for notification in unheard {
            if grace.keep(notification) {
                self.happened(Happening::Flooded(connection.clone()));
            }
        }
        if let Some(member) = self.member_mut(connection.as_str()) {
            member.link = Link::Grace(grace);
        }
        self.evict_expired(at);
    }

    /// `connect` with an RPC session id: its participant goes on with `socket`, is answered, and hears in order what
    /// it has missed. `unheard` is what its former socket, if that is still open, has not told it. Returns whether
    /// there is such a participant. Nobody else is told. Exactly one answer results.
    pub fn handle_reconnect(
        &mut self,
        at: Moment,
        socket: SocketId,
        request: RequestId,
        rpc_session: RpcKey,
        unheard: Unheard,
    ) -> bool {
        // Whose time was over a moment ago is too late, however busy the timer was.
        self.evict_expired(at);
        let outcome = self.take_over(at, socket, rpc_session, unheard);
        let Some(missed) = outcome else {
            self.answer(socket, request, Err(Refusal::Reconnection));
            return false;
        };
        self.answer(socket, request, Ok(Reply::Reconnected));
        for notification in missed {
            self.notify(socket, notification);
        }
        true
    }

    /// Yields what the participant has missed.
    fn take_over(
        &mut self,
        at: Moment,
        socket: SocketId,
        rpc_session: RpcKey,
        unheard: Unheard,
    ) -> Option<VecDeque<Arc<Notification>>> {
        let grace = self.settings.reconnect_grace;
        let is_meant = |member: &&mut Participant| member.rpc_session == rpc_session;
        let member = self.members.iter_mut().find(is_meant)?;
        let connection = member.connection().clone();
        if let Some(publication) = &mut member.publication
            && publication.orphaned_until.is_some()
        {
            // It could not say meanwhile why its browser had closed its end.
            let until = at.now.checked_add(grace);
            publication.orphaned_until = publication.orphaned_until.max(until);
        }
        match std::mem::replace(&mut member.link, Link::Open(socket)) {
            Link::Open(former) if former == socket => Some(VecDeque::new()),
            Link::Open(former) => {
                self.release(former, Duration::ZERO);
                let Some(unheard) = unheard else {
                    self.evict_flooded(at, &connection);
                    return None;
                };
                Some(unheard.into())
            }
            Link::Grace(grace) => Some(grace.kept),
        }
    }

    fn evict_flooded(&mut self, at: Moment, connection: &ConnectionId) {
        self.happened(Happening::Flooded(connection.clone()));
        self.evict(at, connection, &reason::NETWORK_DISCONNECT.into());
    }

    /// The socket that the participant of an RPC session uses.
    pub fn socket_of(&self, rpc_session: RpcKey) -> Option<SocketId> {
        let is_meant = |member: &&Participant| member.rpc_session == rpc_session;
        self.members.iter().find(is_meant)?.socket()
    }

    /// Evicts those whose grace is over, unless silence began it and their media is still heard: they are looked at
    /// again.
    pub(super) fn evict_expired(&mut self, at: Moment) {
        let mut expired = Vec::new();
        for member in &mut self.members {
            let mut transports = member.transports();
            let is_heard = transports.any(|transport| self.heard.contains(&transport));
            drop(transports);
            let Link::Grace(grace) = &mut member.link else {
                continue;
            };
            if grace.until > at.now {
                continue;
            }
            match grace.longest {
                Some(longest) if is_heard && longest > at.now => {
                    grace.until = longest.min(at.now + LOOK_AGAIN);
                }
                Some(_) | None => expired.push(member.connection().clone()),
            }
        }
        for connection in expired {
            self.evict(at, &connection, &reason::NETWORK_DISCONNECT.into());
        }
    }
}
