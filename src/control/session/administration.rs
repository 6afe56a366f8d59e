//! What the REST API does to connections and streams of a session (`openvidu-rest` sections 6.6, 6.7, 8).

use super::command::Signal;
use super::core::{Moment, Session};
use super::notification::{ConnectionProperty, Notification};
use super::properties::ConnectionChange;
use crate::views::openvidu as view;

/// Why a signal was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalError {
    /// Nobody has joined the session.
    Inactive,
    /// Someone in `to` is not here, so nobody is told.
    UnknownRecipient,
}

impl Session {
    /// Removes a pending connection or evicts an active one; false if there is neither.
    pub fn delete_connection(&mut self, at: Moment, connection: &str, reason: &str) -> bool {
        let tokens = self.pending.len();
        self.pending
            .retain(|token| token.connection.as_str() != connection);
        if self.pending.len() < tokens {
            return true;
        }
        let member = self.member(connection);
        let Some(member) = member.filter(|member| !member.is_hidden()) else {
            return false;
        };
        let connection = member.connection().clone();
        self.evict(at, &connection, &reason.into());
        true
    }

    /// Changes what a connection may do, from its next request on: a stream that is published already goes on even if
    /// the new role could not begin it. Only the connection itself is told, once for each property that really changes.
    pub fn update_connection(
        &mut self,
        connection: &str,
        change: ConnectionChange,
    ) -> Option<view::Connection> {
        let member = self
            .members
            .iter_mut()
            .find(|member| member.connection().as_str() == connection && !member.is_hidden());
        let token = match member {
            Some(member) => &mut member.token,
            None => {
                let mut pending = self.pending.iter_mut();
                pending.find(|token| token.connection.as_str() == connection)?
            }
        };
        let connection_id = token.connection.clone();
        let properties = &mut token.properties;
        let role = change.role.filter(|role| *role != properties.role);
        let record = change.record.filter(|record| *record != properties.record);
        properties.role = role.unwrap_or(properties.role);
        properties.record = record.unwrap_or(properties.record);
        let changed = [
            role.map(ConnectionProperty::Role),
            record.map(ConnectionProperty::Record),
        ];
        for property in changed.into_iter().flatten() {
            let notification = Notification::ConnectionPropertyChanged(property);
            self.notify_one(&connection_id, notification);
        }
        self.connection_view(connection)
    }

    /// Sends a signal that comes from no participant.
    ///
    /// # Errors
    /// Nobody is there, or one of the recipients is not.
    pub fn announce(&mut self, signal: Signal) -> Result<(), SignalError> {
        if self.members.is_empty() {
            return Err(SignalError::Inactive);
        }
        self.deliver(None, signal)
    }

    /// Ends a stream; false if nobody publishes it. Everyone is told, its publisher included.
    pub fn unpublish_stream(&mut self, stream: &str, reason: &str) -> bool {
        let Some(publisher) = self.publisher_of(stream) else {
            return false;
        };
        self.lose_publication(&publisher, reason);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::session::command::{Hidden, Request};
    use crate::control::session::properties::Role;
    use crate::control::session::reconnection::SocketEnd;
    use crate::control::session::scene::{Stage, stream_of};

    const NOTHING: [&str; 0] = [];

    fn role(role: Role) -> ConnectionChange {
        ConnectionChange {
            role: Some(role),
            record: None,
        }
    }

    #[test]
    fn only_the_connection_itself_is_told_and_once_for_each_property_that_changes() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.join('B');
        let both = ConnectionChange {
            role: Some(Role::Moderator),
            record: Some(false),
        };
        let shown = stage.core.update_connection("con_A", both).unwrap();
        assert_eq!((shown.role, shown.record), (Some("MODERATOR"), false));
        assert_eq!(
            stage.transcript(),
            ["A <- Role(Moderator)", "A <- Record(false)"]
        );
        let shown = stage.core.update_connection("con_A", both).unwrap();
        assert_eq!((shown.role, shown.record), (Some("MODERATOR"), false));
        let nothing = ConnectionChange::default();
        assert!(stage.core.update_connection("con_A", nothing).is_some());
        assert_eq!(stage.transcript(), NOTHING);
        assert!(stage.core.update_connection("con_X", both).is_none());
    }

    #[test]
    fn a_new_role_counts_from_the_next_request_on() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.join('V');
        let disconnect = Request::ForceDisconnect {
            connection: "con_V".to_owned(),
        };
        assert_eq!(stage.ask('A', disconnect.clone()), ["A <= error 401"]);
        stage.core.update_connection("con_A", role(Role::Moderator));
        stage.transcript();
        let told = stage.ask('A', disconnect);
        assert!(told.contains(&"A <= done".to_owned()), "{told:?}");
    }

    #[test]
    fn who_may_publish_no_more_goes_on_with_the_stream_that_it_has_and_begins_no_other() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.join('B');
        stage.publish('A');
        stage
            .core
            .update_connection("con_A", role(Role::Subscriber));
        assert_eq!(stage.transcript(), ["A <- Role(Subscriber)"]);
        assert_eq!(
            stage.subscribe('B', 'A'),
            ["media: subscriber 2 of 1", "B <= answer"]
        );
        stage.ask('A', Request::Unpublish);
        assert_eq!(stage.publish('A'), ["A <= error 401"]);
        stage.core.update_connection("con_A", role(Role::Publisher));
        assert_eq!(stage.transcript(), ["A <- Role(Publisher)"]);
        assert!(stage.publish('A').contains(&"A <= published".to_owned()));
    }

    #[test]
    fn a_pending_connection_changes_before_its_user_comes() {
        let mut stage = Stage::new();
        let token = stage.token('A', Role::Publisher);
        let shown = stage
            .core
            .update_connection("con_A", role(Role::Subscriber))
            .unwrap();
        assert_eq!((shown.status, shown.role), ("pending", Some("SUBSCRIBER")));
        assert_eq!(
            shown.token.as_deref(),
            Some(token.as_str()),
            "the token stays"
        );
        assert_eq!(stage.join_with('A', &token), ["A <= joined"]);
        assert_eq!(stage.publish('A'), ["A <= error 401"]);
    }

    #[test]
    fn a_signal_from_outside_reaches_everyone_or_those_who_are_named() {
        let mut stage = Stage::new();
        let signal = |to: &[&str]| Signal {
            to: to.iter().map(|id| (*id).to_owned()).collect(),
            data: Some("hi".to_owned()),
            kind: None,
        };
        assert_eq!(stage.core.announce(signal(&[])), Err(SignalError::Inactive));
        stage.join('A');
        stage.join('B');
        stage.join_by_secret('R', Some(Hidden::Recorder));
        assert_eq!(stage.core.announce(signal(&[])), Ok(()));
        assert_eq!(
            stage.transcript(),
            [
                "A <- signal hi from -",
                "B <- signal hi from -",
                "R <- signal hi from -"
            ]
        );
        assert_eq!(stage.core.announce(signal(&["con_B", "con_B"])), Ok(()));
        assert_eq!(stage.transcript(), ["B <- signal hi from -"]);
        let unknown = stage.core.announce(signal(&["con_B", "con_X"]));
        assert_eq!(unknown, Err(SignalError::UnknownRecipient));
        assert_eq!(stage.transcript(), NOTHING);
    }

    #[test]
    fn a_stream_that_is_ended_from_outside_ends_for_its_publisher_too() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.join('B');
        stage.publish('A');
        let stream = stream_of(&stage, 'A');
        assert!(
            stage
                .core
                .unpublish_stream(&stream, "forceUnpublishByServer")
        );
        assert_eq!(
            stage.transcript(),
            [
                "media: close 1",
                "A <- unpublished con_A, forceUnpublishByServer",
                "B <- unpublished con_A, forceUnpublishByServer"
            ]
        );
        assert!(
            !stage
                .core
                .unpublish_stream(&stream, "forceUnpublishByServer")
        );
        assert!(
            !stage
                .core
                .unpublish_stream("con_A", "forceUnpublishByServer")
        );
        assert_eq!(stage.transcript(), NOTHING);
    }

    #[test]
    fn hidden_participants_are_out_of_reach_for_the_api() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.join_by_secret('R', Some(Hidden::Recorder));
        let at = stage.moment();
        assert!(!stage.core.delete_connection(at, "RECORDER", "x"));
        let change = role(Role::Moderator);
        assert!(stage.core.update_connection("RECORDER", change).is_none());
        assert!(stage.core.connection_view("RECORDER").is_none());
        let listed = stage.core.connection_views(true);
        assert_eq!(listed.len(), 1);
        assert_eq!(stage.core.view(true).connections.number_of_elements, 1);
    }

    #[test]
    fn a_change_while_the_socket_is_away_is_kept() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.lose('A', SocketEnd::Lost);
        let change = role(Role::Moderator);
        let shown = stage.core.update_connection("con_A", change).unwrap();
        assert_eq!(shown.role, Some("MODERATOR"));
        assert_eq!(
            stage.reconnect('A', 'a', None),
            ["a <= reconnected", "a <- Role(Moderator)"]
        );
    }
}
