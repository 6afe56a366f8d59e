//! What becomes of streams and subscriptions whose media fails (`openvidu-signalling` sections 9.3, 9.10).

use std::time::Duration;

use super::core::{Moment, Session, TransportOwner};
use super::identifiers::ConnectionId;
use super::participant::Participant;
use super::reason;
use crate::media::plane::{Event, EventKind, FailureReason, TransportId};

/// How long a stream is kept whose media path has broken. OpenVidu keeps it for ever, frozen; clients since 2.24 bring
/// it back by themselves: after nine seconds without a path, and then each time that a new one has failed, which
/// browsers say after half a minute at most.
const RECOVERY: Duration = Duration::from_secs(60);

impl Session {
    /// Draws the consequences of what the media plane reports.
    ///
    /// A stream whose transport failed in a way that no new one mends ends for everyone, its publisher included; of any
    /// other a new transport is awaited. A subscription that failed ends for its subscriber, who gets `mediaError`. If the whole room failed, every stream ends with reason
    /// `mediaServerReconnect`, the participants stay, and a new room opens for the next request.
    pub fn handle_media_event(&mut self, at: Moment, event: Event) {
        match (event.kind, event.transport) {
            (EventKind::RoomFailed, _) => self.lose_room(),
            (EventKind::Connected | EventKind::HeardAgain, Some(transport)) => {
                if self.transports.contains_key(&transport) {
                    self.heard.insert(transport);
                }
            }
            (EventKind::WentQuiet, Some(transport)) => {
                self.heard.remove(&transport);
            }
            (EventKind::Quality(level), Some(transport)) => self.rate(transport, level),
            (
                EventKind::Connected
                | EventKind::WentQuiet
                | EventKind::HeardAgain
                | EventKind::Quality(_)
                | EventKind::Failed(_),
                None,
            ) => {}
            (EventKind::Failed(why), Some(transport)) => self.lose_transport(at, transport, why),
        }
    }

    fn lose_transport(&mut self, at: Moment, transport: TransportId, why: FailureReason) {
        self.heard.remove(&transport);
        match self.transports.remove(&transport) {
            None => {}
            Some(TransportOwner::Publication(publisher)) => {
                let Some(wait) = self.patience(why) else {
                    self.lose_publication(&publisher, public_reason(why));
                    return;
                };
                let member = self.member_mut(publisher.as_str());
                if let Some(publication) = member.and_then(|member| member.publication.as_mut()) {
                    publication.orphaned_until = at.now.checked_add(wait);
                }
            }
            Some(TransportOwner::Subscription {
                subscriber,
                publisher,
            }) => self.lose_subscription(&subscriber, &publisher, why),
        }
    }

    /// How long a stream outlives its transport, so that `reconnectStream` can give it another one.
    fn patience(&self, why: FailureReason) -> Option<Duration> {
        match why {
            // Browsers close before or after they say unpublish, leave or reconnect; only one that says nothing has
            // lost its stream.
            FailureReason::ClosedByPeer => Some(self.settings.get().reconnect_grace),
            FailureReason::IceTimeout | FailureReason::DtlsTimeout => Some(RECOVERY),
            FailureReason::DtlsFailed
            | FailureReason::FingerprintMismatch
            | FailureReason::Exhausted
            | FailureReason::Panicked => None,
        }
    }

    fn lose_room(&mut self) {
        self.home = None;
        // The worker has forgotten them all: whatever ends below has nothing left to close.
        self.transports.clear();
        self.heard.clear();
        let publishers: Vec<ConnectionId> = self
            .members
            .iter()
            .map(|member| member.connection().clone())
            .collect();
        for publisher in publishers {
            self.lose_publication(&publisher, reason::MEDIA_SERVER_RECONNECT);
        }
    }

    /// Ends the streams that have lost their transport and have not been given another one in time. Who is away cannot
    /// do so.
    pub(super) fn unpublish_orphans(&mut self, at: Moment) {
        let is_due = |member: &Participant| {
            if member.socket().is_none() {
                return false;
            }
            let publication = member.publication.as_ref();
            publication
                .and_then(|publication| publication.orphaned_until)
                .is_some_and(|until| until <= at.now)
        };
        while let Some(member) = self.members.iter().find(|member| is_due(member)) {
            let connection = member.connection().clone();
            self.lose_publication(&connection, reason::NETWORK_DISCONNECT);
        }
    }
}

/// The reason that clients are given (section 12).
fn public_reason(why: FailureReason) -> &'static str {
    match why {
        FailureReason::IceTimeout
        | FailureReason::DtlsTimeout
        | FailureReason::DtlsFailed
        | FailureReason::FingerprintMismatch
        | FailureReason::ClosedByPeer => reason::NETWORK_DISCONNECT,
        FailureReason::Exhausted | FailureReason::Panicked => reason::MEDIA_SERVER_RECONNECT,
    }
}
