//! What moderators may do to others (`openvidu-signalling` sections 6, 8.12, 8.13).

use std::sync::Arc;

use super::core::{Caller, Moment, Session};
use super::identifiers::{ConnectionId, owner_in};
use super::notification::Notification;
use super::reason;
use super::refusal::Refusal;

impl Session {
    /// `forceUnpublish`: the moderator is answered before everyone, the publisher included, hears of it. The stream is
    /// taken at its word: an old id never ends what its owner publishes by now.
    pub(super) fn force_unpublish(&mut self, caller: &Caller, stream: &str) -> Result<(), Refusal> {
        self.require_moderator(caller, "force unpublish")?;
        let Some(publisher) = self.publisher_of(stream) else {
            return Err(Refusal::NotStreaming(owner_in(stream).into()));
        };
        let reason: Arc<str> = reason::FORCE_UNPUBLISH_BY_USER.into();
        self.end_publication(&publisher, &reason);
        self.done(caller);
        self.notify_all(Notification::ParticipantUnpublished {
            connection: publisher,
            reason,
        });
        Ok(())
    }

    /// `forceDisconnect`: those who remain hear that the participant has left, the moderator is answered, everyone
    /// hears of the eviction.
    pub(super) fn force_disconnect(
        &mut self,
        at: Moment,
        caller: &Caller,
        connection: &str,
    ) -> Result<(), Refusal> {
        self.require_moderator(caller, "force disconnect")?;
        let reason: Arc<str> = reason::FORCE_DISCONNECT_BY_USER.into();
        let evicted = self.depart(&connection.into(), &reason);
        let evicted = evicted.ok_or(Refusal::ConnectionNotFound)?;
        self.done(caller);
        self.show_out(at, &evicted, &reason);
        Ok(())
    }

    fn require_moderator(&self, caller: &Caller, action: &'static str) -> Result<(), Refusal> {
        if self.caller(caller)?.may_moderate() {
            Ok(())
        } else {
            Err(Refusal::Unauthorized { action })
        }
    }

    /// Who publishes exactly this stream.
    pub(super) fn publisher_of(&self, stream: &str) -> Option<ConnectionId> {
        let publisher = self.members.iter().find(|member| member.owns(stream));
        publisher.map(|publisher| publisher.connection().clone())
    }
}

#[cfg(test)]
mod tests {
    use crate::control::session::command::{Hidden, Request};
    use crate::control::session::properties::Role;
    use crate::control::session::scene::{Stage, stream_of};

    fn disconnect(connection: &str) -> Request {
        Request::ForceDisconnect {
            connection: connection.to_owned(),
        }
    }

    fn unpublish(stream: &str) -> Request {
        Request::ForceUnpublish {
            stream: stream.to_owned(),
        }
    }

    /// M moderates; A publishes, B receives.
    fn moderated_call() -> Stage {
        let mut stage = Stage::new();
        stage.join_as('M', Role::Moderator);
        stage.join('A');
        stage.join('B');
        stage.publish('A');
        stage.subscribe('B', 'A');
        stage
    }

    #[test]
    fn the_moderator_is_answered_between_the_leaving_and_the_eviction() {
        let mut stage = moderated_call();
        assert_eq!(
            stage.ask('M', disconnect("con_A")),
            [
                "media: close 2",
                "media: close 1",
                "M <- left con_A, forceDisconnectByUser",
                "B <- left con_A, forceDisconnectByUser",
                "M <= done",
                "A <- evicted con_A, forceDisconnectByUser",
                "A released",
                "M <- evicted con_A, forceDisconnectByUser",
                "B <- evicted con_A, forceDisconnectByUser",
            ]
        );
        assert_eq!(stage.ask('M', disconnect("con_A")), ["M <= error 102"]);
    }

    #[test]
    fn a_moderator_may_throw_itself_out_and_is_answered_first() {
        let mut stage = Stage::new();
        stage.join_as('M', Role::Moderator);
        assert_eq!(
            stage.ask('M', disconnect("con_M")),
            [
                "M <= done",
                "M <- evicted con_M, forceDisconnectByUser",
                "M released",
                "media: close room",
                "ended"
            ]
        );
    }

    #[test]
    fn a_pending_connection_cannot_be_forced_out() {
        let mut stage = Stage::new();
        stage.join_as('M', Role::Moderator);
        let token = stage.token('A', Role::Publisher);
        assert_eq!(stage.ask('M', disconnect("con_A")), ["M <= error 102"]);
        stage.join_with('A', &token);
        assert_eq!(stage.effects.len(), 3, "it has joined all the same");
    }

    #[test]
    fn everyone_hears_of_a_forced_unpublishing_after_the_moderator_is_answered() {
        let mut stage = moderated_call();
        let stream = stream_of(&stage, 'A');
        assert_eq!(
            stage.ask('M', unpublish(&stream)),
            [
                "media: close 2",
                "media: close 1",
                "M <= done",
                "M <- unpublished con_A, forceUnpublishByUser",
                "A <- unpublished con_A, forceUnpublishByUser",
                "B <- unpublished con_A, forceUnpublishByUser",
            ]
        );
        stage.publish('A');
        assert_eq!(
            stage.ask('M', unpublish(&stream)),
            ["M <= error 105"],
            "an old id does not end the new stream"
        );
        assert_eq!(stage.ask('M', unpublish("nonsense")), ["M <= error 105"]);
    }

    #[test]
    fn roles_decide_and_the_secret_outranks_them() {
        let mut stage = Stage::new();
        stage.join_as('V', Role::Publisher);
        stage.publish('V');
        let stream = stream_of(&stage, 'V');
        stage.join_as('S', Role::Subscriber);
        stage.join_as('P', Role::Publisher);
        for name in ['S', 'P'] {
            let refused = [format!("{name} <= error 401")];
            assert_eq!(stage.ask(name, unpublish(&stream)), refused);
            assert_eq!(stage.ask(name, disconnect("con_V")), refused);
            assert_eq!(stage.ask(name, disconnect("con_none")), refused);
        }
        stage.join_by_secret('X', None);
        assert_eq!(stage.ask('X', unpublish(&stream))[1], "X <= done");
        assert!(
            stage.publish('X').contains(&"X <= published".to_owned()),
            "its role says SUBSCRIBER, and does not count"
        );
        stage.join_by_secret('R', Some(Hidden::Recorder));
        assert_eq!(stage.publish('R'), ["R <= error 401"]);
        let done = "R <= done".to_owned();
        assert!(stage.ask('R', disconnect("con_V")).contains(&done));
    }
}
