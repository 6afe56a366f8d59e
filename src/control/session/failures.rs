//! What becomes of streams and subscriptions whose media fails (`openvidu-signalling` sections 9.3, 9.10).

use super::core::{Moment, Session, TransportOwner};
use super::identifiers::ConnectionId;
use super::participant::Participant;
use super::reason;
use crate::media::plane::{Event, EventKind, FailureReason, TransportId};

impl Session {
    /// Draws the consequences of what the media plane reports.
    ///
    /// A stream whose transport failed ends for everyone, its publisher included. A subscription that failed ends
    /// for its subscriber, who gets `mediaError`. If the whole room failed, every stream ends with reason
    /// `mediaServerReconnect`, the participants stay, and a new room opens for the next request.
    pub fn handle_media_event(&mut self, at: Moment, event: Event) {
        match (event.kind, event.transport) {
            (EventKind::RoomFailed, _) => self.lose_room(),
            (EventKind::Connected | EventKind::WentQuiet | EventKind::HeardAgain, _)
            | (EventKind::Failed(_) | EventKind::Quality(_), None) => {}
            (EventKind::Quality(level), Some(transport)) => self.rate(transport, level),
            (EventKind::Failed(why), Some(transport)) => self.lose_transport(at, transport, why),
        }
    }

    fn lose_transport(&mut self, at: Moment, transport: TransportId, why: FailureReason) {
        match self.transports.remove(&transport) {
            None => {}
            Some(TransportOwner::Publication(publisher)) => {
                if why == FailureReason::ClosedByPeer {
                    // Browsers close before or after they say unpublish, leave or reconnect; only one that
                    // says nothing has lost its stream.
                    let until = at.now.checked_add(self.settings.reconnect_grace);
                    let member = self.member_mut(publisher.as_str());
                    if let Some(publication) = member.and_then(|member| member.publication.as_mut())
                    {
                        publication.orphaned_until = until;
                    }
                } else {
                    self.lose_publication(&publisher, public_reason(why));
                }
            }
            Some(TransportOwner::Subscription {
                subscriber,
                publisher,
            }) => self.lose_subscription(&subscriber, &publisher, why),
        }
    }

    fn lose_room(&mut self) {
        self.home = None;
        // The worker has forgotten them all: whatever ends below has nothing left to close.
        self.transports.clear();
        let publishers: Vec<ConnectionId> = self
            .members
            .iter()
            .map(|member| member.connection().clone())
            .collect();
        for publisher in publishers {
            self.lose_publication(&publisher, reason::MEDIA_SERVER_RECONNECT);
        }
    }

    /// Ends the streams whose browsers closed their end and have not said why.
    pub(super) fn unpublish_orphans(&mut self, at: Moment) {
        let is_due = |member: &Participant| {
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
