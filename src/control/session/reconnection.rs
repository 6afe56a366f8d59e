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
        self.kept_bytes > KEPT_MAX && self.end()
    }

    fn end(&mut self) -> bool {
        self.kept.clear();
        (self.until, self.longest) = (self.began, None);
        true
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
            SocketEnd::Lost | SocketEnd::Silent => self.settings.get().reconnect_grace,
        };
        let longest = (end == SocketEnd::Silent).then_some(HEARD_WITHOUT_SIGNALLING);
        let mut grace = Grace::new(at.now, length, longest);
        let flooded = match unheard {
            Some(unheard) => unheard
                .into_iter()
                .fold(false, |flooded, missed| flooded | grace.keep(missed)),
            None => grace.end(),
        };
        if flooded {
            self.happened(Happening::Flooded(connection.clone()));
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
        if self.socket_of(rpc_session).is_none() {
            // Whose time was over a moment ago is too late, however busy the timer was. Only then: what others' ends
            // would tell a socket that has handed back what it held, nobody would hear.
            self.evict_expired(at);
        }
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
        let grace = self.settings.get().reconnect_grace;
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
        if unheard.is_none() && member.socket().is_some() {
            self.evict_flooded(at, &connection);
            return None;
        }
        match std::mem::replace(&mut member.link, Link::Open(socket)) {
            Link::Open(former) if former == socket => Some(VecDeque::new()),
            Link::Open(former) => {
                self.release(former, Duration::ZERO);
                unheard.map(VecDeque::from)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::session::command::{Request, Signal};
    use crate::control::session::effect::Effect;
    use crate::control::session::scene::{Stage, rpc_session, socket};
    use crate::media::plane::EventKind;

    const NOTHING: [&str; 0] = [];

    const GONE: [&str; 2] = [
        "B <- left con_A, networkDisconnect",
        "B <- evicted con_A, networkDisconnect",
    ];

    fn signal(data: impl Into<String>) -> Request {
        Request::Signal(Signal {
            data: Some(data.into()),
            ..Signal::default()
        })
    }

    fn heard_signal(data: &str) -> Arc<Notification> {
        Arc::new(Notification::SendMessage {
            data: Some(data.to_owned()),
            kind: None,
            from: None,
        })
    }

    /// A and B, who hears nothing more of what it has said itself.
    fn two() -> Stage {
        let mut stage = Stage::new();
        stage.join('A');
        stage.join('B');
        stage
    }

    fn flooded(stage: &Stage) -> bool {
        let flooded = Effect::Happened(Happening::Flooded("con_A".into()));
        stage.effects.contains(&flooded)
    }

    #[test]
    fn a_lost_socket_has_a_grace_and_then_its_participant_is_evicted() {
        let mut stage = two();
        stage.publish('A');
        assert_eq!(stage.lose('A', SocketEnd::Lost), NOTHING);
        let due = stage.now + Duration::from_secs(10);
        assert_eq!(stage.core.poll_timeout(), Some(due));
        assert_eq!(stage.core.connection_views(false).len(), 2);
        assert_eq!(
            stage.ask('B', signal("hi")),
            ["B <- signal hi from con_B", "B <= done"]
        );
        assert_eq!(stage.advance(Duration::from_millis(9_999)), NOTHING);
        let evicted = stage.advance(Duration::from_millis(1));
        assert_eq!(evicted, ["media: close 1", GONE[0], GONE[1]]);
        assert_eq!(stage.core.poll_timeout(), None);
        assert_eq!(
            stage.reconnect('A', 'a', Some(vec![])),
            ["a <= error 40007"]
        );
    }

    #[test]
    fn a_client_that_says_goodbye_has_no_grace() {
        let mut stage = two();
        assert_eq!(stage.lose('A', SocketEnd::ByClient), GONE);
        assert_eq!(
            stage.lose('B', SocketEnd::ByClient),
            ["media: close room", "ended"]
        );
    }

    #[test]
    fn the_close_of_a_socket_that_nobody_uses_changes_nothing() {
        let mut stage = two();
        assert_eq!(stage.lose('X', SocketEnd::ByClient), NOTHING);
        stage.ask('A', Request::Leave);
        assert_eq!(stage.lose('A', SocketEnd::Lost), NOTHING);
        assert_eq!(stage.core.poll_timeout(), None);
    }

    #[test]
    fn who_comes_back_hears_once_and_in_order_what_it_has_missed_and_nobody_else_is_told() {
        let mut stage = two();
        stage.publish('A');
        stage.lose_with('A', SocketEnd::Lost, Some(vec![heard_signal("lost")]));
        stage.ask('B', signal("one"));
        stage.join('C');
        stage.ask('B', Request::Leave);
        stage.advance(Duration::from_secs(9));
        assert_eq!(
            stage.reconnect('A', 'a', Some(vec![])),
            [
                "a <= reconnected",
                "a <- signal lost from -",
                "a <- signal one from con_B",
                "a <- joined con_C",
                "a <- left con_B, disconnect"
            ]
        );
        assert_eq!(stage.core.poll_timeout(), None);
        assert_eq!(stage.advance(Duration::from_secs(60)), NOTHING);
        assert_eq!(
            stage.ask('C', signal("two")),
            [
                "a <- signal two from con_C",
                "C <- signal two from con_C",
                "C <= done"
            ]
        );
        assert_eq!(stage.ask('A', signal("old")), ["A <= error 102"]);
        let unpublished = stage.ask('a', Request::Unpublish);
        assert!(unpublished.contains(&"a <= done".to_owned()));
    }

    #[test]
    fn a_new_socket_that_comes_before_the_old_one_has_closed_takes_its_place() {
        let mut stage = two();
        assert_eq!(
            stage.reconnect('A', 'a', Some(vec![heard_signal("unheard")])),
            [
                "A released at once",
                "a <= reconnected",
                "a <- signal unheard from -"
            ]
        );
        assert_eq!(
            stage.core.socket_of(rpc_session(socket('A')).key()),
            Some(socket('a'))
        );
        for end in [SocketEnd::Lost, SocketEnd::ByClient, SocketEnd::Silent] {
            assert_eq!(stage.lose('A', end), NOTHING, "a late close is nobody's");
        }
        assert_eq!(stage.core.poll_timeout(), None);
        assert_eq!(stage.core.connection_views(false).len(), 2);
        let again = stage.reconnect('A', 'a', Some(vec![]));
        assert_eq!(again, ["a <= reconnected"], "who is there already stays");
    }

    #[test]
    fn an_unknown_rpc_session_is_an_error_without_consequences() {
        let mut stage = two();
        assert_eq!(
            stage.reconnect('X', 'x', Some(vec![])),
            ["x <= error 40007"]
        );
        stage.ask('A', Request::Leave);
        assert_eq!(
            stage.reconnect('A', 'a', Some(vec![])),
            ["a <= error 40007"]
        );
        stage.ask('B', Request::Leave);
        assert!(stage.core.has_ended());
        assert_eq!(
            stage.reconnect('B', 'b', Some(vec![])),
            ["b <= error 40007"]
        );
    }

    #[test]
    fn whose_time_is_over_is_too_late_even_if_the_timer_is_too() {
        let mut stage = two();
        stage.lose('A', SocketEnd::Lost);
        stage.now += Duration::from_secs(10);
        assert_eq!(
            stage.reconnect('A', 'a', Some(vec![])),
            [GONE[0], GONE[1], "a <= error 40007"]
        );
    }

    #[test]
    fn too_much_to_keep_evicts_at_once_and_is_counted() {
        let mut stage = two();
        stage.lose('A', SocketEnd::Lost);
        let large = "x".repeat(KEPT_MAX / 3);
        for _ in 0..2 {
            stage.ask('B', signal(&*large));
            assert!(!flooded(&stage));
        }
        stage.ask('B', signal(&*large));
        assert!(flooded(&stage));
        assert_eq!(stage.core.poll_timeout(), Some(stage.now), "at once");
        stage.ask('B', signal(large));
        assert!(!flooded(&stage), "counted once");
        assert_eq!(stage.advance(Duration::ZERO), GONE);

        let mut stage = two();
        assert_eq!(stage.lose_with('A', SocketEnd::Lost, None), GONE);
        assert!(flooded(&stage));

        let mut stage = two();
        let large = vec![heard_signal(&"x".repeat(2 * KEPT_MAX))];
        assert_eq!(stage.lose_with('A', SocketEnd::Lost, Some(large)), GONE);
        assert!(flooded(&stage));

        let mut stage = two();
        assert_eq!(
            stage.reconnect('A', 'a', None),
            [
                GONE[0],
                "A <- evicted con_A, networkDisconnect",
                "A released",
                GONE[1],
                "a <= error 40007"
            ]
        );
        assert!(flooded(&stage));
    }

    /// A participant that publishes and whose socket has fallen silent.
    fn silent() -> Stage {
        let mut stage = two();
        stage.publish('A');
        stage.media(1, EventKind::Connected);
        stage.lose('A', SocketEnd::Silent);
        stage
    }

    #[test]
    fn media_that_is_heard_keeps_whose_signalling_is_silent_but_not_for_ever() {
        let mut stage = silent();
        let began = stage.now;
        let mut looks = 0;
        while let Some(due) = stage.core.poll_timeout() {
            looks += 1;
            let wait = due - stage.now;
            assert!(!wait.is_zero(), "never twice at the same moment");
            let done = stage.advance(wait);
            assert_eq!(done.is_empty(), stage.core.poll_timeout().is_some());
        }
        assert_eq!(stage.now - began, HEARD_WITHOUT_SIGNALLING);
        assert!(looks < 50, "{looks}");
    }

    #[test]
    fn media_that_falls_silent_too_ends_it_at_the_next_look() {
        let mut stage = silent();
        assert_eq!(stage.advance(Duration::from_secs(10)), NOTHING);
        stage.media(1, EventKind::WentQuiet);
        stage.media(1, EventKind::HeardAgain);
        assert_eq!(stage.advance(LOOK_AGAIN), NOTHING);
        stage.media(1, EventKind::WentQuiet);
        assert!(stage.advance(LOOK_AGAIN).contains(&GONE[0].to_owned()));
    }

    #[test]
    fn a_close_that_was_seen_has_a_hard_grace_however_well_media_flows() {
        let mut stage = two();
        stage.publish('A');
        stage.media(1, EventKind::Connected);
        stage.lose('A', SocketEnd::Lost);
        let gone = stage.advance(Duration::from_secs(10));
        assert_eq!(gone, ["media: close 1", GONE[0], GONE[1]]);
    }

    #[test]
    fn transports_that_never_connected_keep_nobody() {
        let mut stage = two();
        stage.publish('A');
        stage.lose('A', SocketEnd::Silent);
        assert!(
            stage
                .advance(Duration::from_secs(10))
                .contains(&GONE[0].to_owned())
        );
        assert!(stage.core.heard.is_empty());
        stage.media(1, EventKind::Connected);
        assert!(stage.core.heard.is_empty(), "a late event of a closed one");
    }

    #[test]
    fn a_session_whose_members_are_all_away_lives_until_their_time_is_over() {
        let mut stage = two();
        stage.lose('A', SocketEnd::Lost);
        stage.lose('B', SocketEnd::Lost);
        assert_eq!(stage.advance(Duration::from_secs(9)), NOTHING);
        assert_eq!(
            stage.reconnect('A', 'a', Some(vec![])),
            ["a <= reconnected"]
        );
        assert_eq!(
            stage.advance(Duration::from_secs(1)),
            [
                "a <- left con_B, networkDisconnect",
                "a <- evicted con_B, networkDisconnect"
            ]
        );
        stage.lose('a', SocketEnd::Lost);
        assert_eq!(
            stage.advance(Duration::from_secs(10)),
            ["media: close room", "ended"]
        );
    }
}
