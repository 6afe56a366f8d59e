//! A session's share of a worker.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tracing::Span;

use crate::media::plane::{Event, EventKind, RoomId, TransportId};
use crate::media::sfu::{Router, TransportKey};

/// One room.
pub(super) struct Room {
    /// Its name in commands.
    pub(super) id: RoomId,
    /// Its slot's generation, for timers.
    pub(super) generation: u32,
    /// Who forwards what to whom.
    pub(super) router: Router,
    /// Its transports' slots.
    pub(super) peers: BTreeMap<TransportId, u32>,
    /// Publishers whose transport has ended, but whose subscribers wait for the one that replaces it: their keys in the
    /// router. They end by command, as transports do.
    pub(super) away: BTreeMap<TransportId, TransportKey>,
    /// Its earliest entry in the timer queue.
    pub(super) registered: Option<Instant>,
    /// Its session has closed it; its transports end a few in each turn.
    pub(super) is_ending: bool,
    /// What tells its session in the log.
    pub(super) span: Span,
    events: mpsc::Sender<Event>,
    /// Events that the session's mailbox had no room for; at most four for each transport, since newer ones replace what
    /// they make obsolete.
    waiting: VecDeque<Event>,
}

impl Room {
    pub(super) fn new(
        id: RoomId,
        generation: u32,
        router: Router,
        events: mpsc::Sender<Event>,
        span: Span,
    ) -> Self {
        Self {
            id,
            generation,
            router,
            peers: BTreeMap::new(),
            away: BTreeMap::new(),
            registered: None,
            is_ending: false,
            span,
            events,
            waiting: VecDeque::new(),
        }
    }

    /// Where the router has the media of the publisher `transport`, whether its transport is up or away.
    pub(super) fn source(&self, transport: TransportId) -> Option<TransportKey> {
        let peer = self.peers.get(&transport).copied().map(TransportKey);
        peer.or_else(|| self.away.get(&transport).copied())
    }

    /// The publisher's transport ends, but its subscribers go on waiting.
    pub(super) fn send_away(&mut self, transport: TransportId) {
        if let Some(&peer) = self.peers.get(&transport)
            && let Some(key) = self.router.detach_publisher(TransportKey(peer))
        {
            self.away.insert(transport, key);
        }
    }

    /// Tells the session; returns whether something waits for room in its mailbox.
    pub(super) fn tell(&mut self, transport: Option<TransportId>, kind: EventKind) -> bool {
        self.waiting
            .retain(|event| event.transport != transport || !is_obsolete(event.kind, kind));
        self.waiting.push_back(Event { transport, kind });
        self.deliver()
    }

    /// Hands over what waits; returns whether something still waits.
    pub(super) fn deliver(&mut self) -> bool {
        while let Some(event) = self.waiting.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return true;
                }
                Err(TrySendError::Closed(_)) => {
                    self.waiting.clear();
                }
            }
        }
        false
    }

    /// Returns whether the session has gone without closing the room.
    pub(super) fn is_abandoned(&self) -> bool {
        self.events.is_closed()
    }
}

/// Returns whether nobody needs to hear `old` once `new` has happened to the same transport.
const fn is_obsolete(old: EventKind, new: EventKind) -> bool {
    matches!(
        (old, new),
        (
            EventKind::WentQuiet | EventKind::HeardAgain,
            EventKind::WentQuiet | EventKind::HeardAgain
        ) | (EventKind::Quality(_), EventKind::Quality(_))
    )
}
