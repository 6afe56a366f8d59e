//! Joining, leaving, being evicted (`openvidu-signalling` sections 5.2, 8.1, 8.2, 9.1, 9.4, 9.5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::FORCED_CLOSE_DELAY;
use super::command::{Hidden, JoinRoom, Joiner, RequestId};
use super::core::{Caller, Moment, Session};
use super::effect::Happening;
use super::ice_servers::with_credentials;
use super::identifiers::{ConnectionId, SocketId};
use super::notification::Notification;
use super::participant::{Link, Participant};
use super::ports::TurnCredential;
use super::properties::ConnectionProperties;
use super::reason;
use super::refusal::Refusal;
use super::reply::{Joined, Reply};
use super::token::{Admission, PresentedToken, Token};
use crate::units::{Secret, SubscribeOffer};
use crate::views::openvidu::IceServer;

/// What opens the session to a joiner.
enum Key {
    /// The pending token at this position.
    Token(usize),
    /// The server's secret.
    Secret,
}

impl Session {
    /// Returns whether this request would join, but the session has no room yet.
    pub fn needs_room_for(&self, joiner: &Joiner, join: &JoinRoom) -> bool {
        self.home.is_none() && self.key_of(joiner, join).is_some()
    }

    /// Admits whoever holds an unused token or knows the server's secret; returns whether it did. Exactly one answer results, after
    /// `participantJoined` to those who are there and before any other message to the joiner.
    pub fn handle_join(
        &mut self,
        at: Moment,
        joiner: &Joiner,
        request: RequestId,
        join: JoinRoom,
    ) -> bool {
        let outcome = self.join(at, joiner, join);
        let joined = outcome.is_ok();
        self.answer(joiner.socket, request, outcome);
        joined
    }

    fn join(&mut self, at: Moment, joiner: &Joiner, join: JoinRoom) -> Result<Reply, Refusal> {
        if self.has_ended() {
            return Err(Refusal::SessionClosed(self.id.clone()));
        }
        if self.has_socket(joiner.socket) {
            return Err(Refusal::AlreadyJoined(self.id.clone()));
        }
        let Some(key) = self.key_of(joiner, &join) else {
            return Err(Refusal::InvalidToken {
                session: self.id.clone(),
                token: Secret::new(join.token),
            });
        };
        if self.members.len() >= self.settings.get().limits.members {
            return Err(Refusal::Full(self.id.clone()));
        }
        if self.home.is_none() {
            return Err(Refusal::NoMediaNode(self.id.clone()));
        }

        let (token, admission) = match key {
            Key::Token(position) => (self.pending.remove(position), Admission::Token),
            Key::Secret => self.admit_by_secret(at, join.hidden),
        };
        let credential = self.turn.mint();
        let participant = Participant {
            link: Link::Open(joiner.socket),
            rpc_session: joiner.rpc_session.key(),
            active_at: at.wall_ms,
            client_data: join.metadata,
            platform: join.platform,
            address: joiner.address,
            turn_username: credential.as_ref().map(|minted| minted.username.clone()),
            publication: None,
            subscriptions: BTreeMap::new(),
            next_mid: 0,
            quality: None,
            token,
            admission,
        };
        let reply = self.joined(joiner, &participant, credential);
        let connection = participant.connection().clone();
        let is_hidden = participant.is_hidden();
        let announcement = Notification::ParticipantJoined(participant.member());
        self.members.push(participant);
        if is_hidden {
            self.happened(Happening::JoinedUnseen(connection));
        } else {
            self.happened(Happening::Joined(connection.clone()));
            self.garbage_at = None;
            self.deserted_until = None;
            self.notify_others(&connection, announcement);
        }
        Ok(reply)
    }

    /// The secret comes before the token, which is then not even looked up (section 8.1).
    fn key_of(&self, joiner: &Joiner, join: &JoinRoom) -> Option<Key> {
        if joiner.knows_secret {
            return (join.session == self.id).then_some(Key::Secret);
        }
        self.token_of(join).map(Key::Token)
    }

    /// The connection of someone who has no token. The token that it gets admits nobody: it was never pending.
    fn admit_by_secret(&mut self, at: Moment, hidden: Option<Hidden>) -> (Token, Admission) {
        let connection = match hidden {
            Some(kind) => kind.connection_id().into(),
            None => ConnectionId::random(&mut self.random),
        };
        let connection = self.free_id(connection);
        let now_secs = at.wall_ms / 1000;
        let settings = self.settings.get();
        let configured = settings.ice_servers.iter();
        let ice_servers = configured
            .map(|server| with_credentials(server, now_secs, &mut self.random))
            .collect();
        let properties = ConnectionProperties::of_secret(ice_servers);
        let token = self.new_token(at, connection, properties);
        (token, hidden.map_or(Admission::Secret, Admission::Hidden))
    }

    /// Which pending token a request presents.
    fn token_of(&self, join: &JoinRoom) -> Option<usize> {
        let presented = PresentedToken::parse(&join.token)?;
        if presented.session != self.id || join.session != self.id {
            return None;
        }
        // Every token is compared, so that the time taken does not tell which one nearly matched.
        self.pending
            .iter()
            .enumerate()
            .filter(|(_, token)| token.admits(&presented))
            .fold(None, |_, (position, _)| Some(position))
    }

    fn joined(
        &self,
        joiner: &Joiner,
        participant: &Participant,
        credential: Option<TurnCredential>,
    ) -> Reply {
        let settings = self.settings.get();
        let token = &participant.token;
        let seen = self.members.iter().filter(|member| !member.is_hidden());
        let members = seen.map(|member| {
            let stream = member.publication.as_ref();
            (
                member.member(),
                stream.map(|publication| publication.descriptor.clone()),
            )
        });
        Reply::Joined(Box::new(Joined {
            connection: token.connection.clone(),
            final_user_id: joiner.final_user_id.clone(),
            created_at: participant.active_at,
            metadata: participant.metadata(),
            members: members.collect(),
            session: self.id.clone(),
            role: token.properties.role,
            record: token.properties.record,
            subscribe_offer: settings.subscribe_offer,
            video_simulcast: settings.simulcast
                && settings.subscribe_offer == SubscribeOffer::Server,
            coturn_ip: settings.coturn_ip.clone(),
            coturn_port: settings.coturn_port,
            custom_ice_servers: self.ice_servers(token, credential.as_ref()),
            turn_username: credential.as_ref().map(|minted| minted.username.clone()),
            turn_credential: credential.map(|minted| minted.credential),
        }))
    }

    /// `customIceServers` (section 3.2): the connection's own, among which the configured ones are if no request named
    /// any, else ours.
    fn ice_servers(&self, token: &Token, credential: Option<&TurnCredential>) -> Vec<IceServer> {
        let own = &token.properties.custom_ice_servers;
        if !own.is_empty() {
            return own.clone();
        }
        let Some(credential) = credential else {
            return Vec::new();
        };
        let mut urls = self.settings.get().turn_urls.clone();
        urls.extend(self.turn.urls_over_tls());
        urls.into_iter()
            .map(|url| IceServer {
                url,
                username: Some(credential.username.clone()),
                credential: Some(credential.credential.clone()),
            })
            .collect()
    }

    /// `leaveRoom`: the others learn of it before the leaver is answered. A recorder's socket closes at once.
    pub(super) fn leave(&mut self, at: Moment, caller: &Caller) {
        let Some(left) = self.depart(&caller.connection, &reason::DISCONNECT.into()) else {
            return;
        };
        self.done(caller);
        let delay = match left.admission {
            Admission::Hidden(Hidden::Recorder) => Duration::ZERO,
            Admission::Hidden(Hidden::SpeechToText) | Admission::Token | Admission::Secret => {
                FORCED_CLOSE_DELAY
            }
        };
        self.release(caller.socket, delay);
        self.end_if_deserted(at, &left);
    }

    /// Removes a participant against its will: everyone is told that it left, then that it was evicted.
    pub(super) fn evict(&mut self, at: Moment, connection: &ConnectionId, reason: &Arc<str>) {
        if let Some(participant) = self.depart(connection, reason) {
            self.show_out(at, &participant, reason);
        }
    }

    /// Says that a participant, gone already, was evicted: to itself, and to the others unless it was hidden.
    pub(super) fn show_out(&mut self, at: Moment, participant: &Participant, reason: &Arc<str>) {
        let evicted = Notification::ParticipantEvicted {
            connection: participant.connection().clone(),
            reason: reason.clone(),
        };
        self.dismiss(participant, evicted.clone());
        if !participant.is_hidden() {
            self.notify_all(evicted);
        }
        self.end_if_deserted(at, participant);
    }

    /// Closes the session: everyone is evicted with `reason`.
    ///
    /// Everyone learns of its own eviction only: telling those who are about to be evicted of all who were before
    /// them would take messages by the square of the members.
    pub fn close(&mut self, reason: &str) {
        let reason: Arc<str> = reason.into();
        for participant in std::mem::take(&mut self.members) {
            self.tear_down(&participant, &reason);
            let evicted = Notification::ParticipantEvicted {
                connection: participant.connection().clone(),
                reason: reason.clone(),
            };
            self.dismiss(&participant, evicted);
            self.has_left(&participant, &reason);
        }
        self.happened(Happening::Destroyed(reason));
        self.end();
    }

    fn has_left(&mut self, participant: &Participant, reason: &Arc<str>) {
        let (connection, reason) = (participant.connection().clone(), reason.clone());
        self.happened(if participant.is_hidden() {
            Happening::LeftUnseen(connection, reason)
        } else {
            Happening::Left(connection, reason)
        });
    }

    /// Tells a former participant, unless its socket is away, and leaves it time to close that itself.
    fn dismiss(&mut self, participant: &Participant, evicted: Notification) {
        if let Some(socket) = participant.socket() {
            self.notify(socket, Arc::new(evicted));
            self.release(socket, FORCED_CLOSE_DELAY);
        }
    }

    /// Takes a participant out, ends its media, and tells those who remain, unless it was hidden from them.
    pub(super) fn depart(
        &mut self,
        connection: &ConnectionId,
        reason: &Arc<str>,
    ) -> Option<Participant> {
        let position = self
            .members
            .iter()
            .position(|member| member.connection() == connection)?;
        let participant = self.members.remove(position);
        self.tear_down(&participant, reason);
        if !participant.is_hidden() {
            self.notify_all(Notification::ParticipantLeft {
                connection: connection.clone(),
                reason: reason.clone(),
            });
        }
        self.has_left(&participant, reason);
        Some(participant)
    }

    /// Ends the media of a participant that is no member any more: what others receive of it, what it receives,
    /// what it sends (`openvidu-rest` section 12).
    fn tear_down(&mut self, participant: &Participant, reason: &Arc<str>) {
        let connection = participant.connection();
        self.forget_rpc_session(participant.rpc_session);
        self.end_subscriptions_to(connection, reason);
        for subscription in participant.subscriptions.values() {
            self.close_transport(subscription.transport);
            self.happened(Happening::Unsubscribed(
                connection.clone(),
                subscription.stream.clone(),
                reason.clone(),
            ));
        }
        if let Some(publication) = &participant.publication {
            self.close_publisher(publication.transport);
            self.happened(Happening::Unpublished(
                publication.descriptor.id.clone(),
                reason.clone(),
            ));
        }
        if let Some(username) = &participant.turn_username {
            self.turn.revoke(username);
        }
    }

    /// Without members the session is over. If the last one to be seen has left and hidden ones remain, it waits a
    /// while for others to come: a recorder would otherwise keep it for ever, and without any delay the reload of the
    /// only page would cut a recording in two.
    fn end_if_deserted(&mut self, at: Moment, left: &Participant) {
        if self.members.is_empty() && !self.has_ended() {
            self.happened(Happening::Destroyed(reason::LAST_PARTICIPANT_LEFT.into()));
            self.end();
        } else if !left.is_hidden() && self.members.iter().all(Participant::is_hidden) {
            self.deserted_until = at.now.checked_add(self.settings.get().autostop);
        }
    }

    /// Ends the session if nobody has joined for too long, hidden ones apart; returns whether it did.
    pub(super) fn end_if_abandoned(&mut self, at: Moment) -> bool {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= at.now);
        if !is_due(self.garbage_at) && !is_due(self.deserted_until) {
            return false;
        }
        if self.members.is_empty() {
            // Silent in OpenVidu too (`openvidu-rest` section 13).
            self.end();
        } else {
            self.close(reason::AUTOMATIC_STOP);
        }
        true
    }

    /// Whose socket this is.
    pub fn connection_of(&self, socket: SocketId) -> Option<ConnectionId> {
        self.members
            .iter()
            .find(|member| member.socket() == Some(socket))
            .map(|member| member.connection().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::session::command::{Request, Signal};
    use crate::control::session::properties::Role;
    use crate::control::session::reconnection::SocketEnd;
    use crate::control::session::scene::{self, Stage};
    use crate::control::session::settings::Settings;

    const NOTHING: [&str; 0] = [];
    const RECORDER: Option<Hidden> = Some(Hidden::Recorder);

    /// The joiner's id and role, and whom it was told of.
    fn joined_as(stage: &Stage) -> (String, Role, Vec<String>) {
        let joined = scene::joined(stage);
        let members = joined.members.iter();
        (
            joined.connection.to_string(),
            joined.role,
            members
                .map(|(member, _)| member.connection.to_string())
                .collect(),
        )
    }

    #[test]
    fn the_secret_admits_a_visible_subscriber_without_any_token() {
        let mut stage = Stage::new();
        stage.join('A');
        let told = stage.join_by_secret('X', None);
        let (id, role, _) = joined_as(&stage);
        assert!(id.starts_with("con_") && id.len() == 14, "{id}");
        assert_eq!(role, Role::Subscriber);
        assert_eq!(
            told,
            [format!("A <- joined {id}"), "X <= joined".to_owned()]
        );
        let shown = stage.core.connection_view(&id).unwrap();
        let token = shown.token.unwrap();
        assert_eq!(
            stage.join_with('Y', &token),
            ["Y <= error 401"],
            "the token that REST shows of it admits nobody"
        );
    }

    #[test]
    fn the_secret_comes_before_the_token_which_stays_unused() {
        let mut stage = Stage::new();
        let token = stage.token('A', Role::Publisher);
        stage.join_by_secret('X', None);
        assert!(
            stage
                .join_with('A', &token)
                .contains(&"A <= joined".to_owned())
        );
    }

    #[test]
    fn a_recorder_hears_everything_and_nobody_sees_it() {
        let mut stage = Stage::new();
        stage.join('A');
        assert_eq!(stage.join_by_secret('R', RECORDER), ["R <= joined"]);
        assert_eq!(
            joined_as(&stage),
            (
                "RECORDER".to_owned(),
                Role::Subscriber,
                vec!["con_A".to_owned()]
            )
        );
        assert_eq!(
            stage.join('B'),
            ["A <- joined con_B", "R <- joined con_B", "B <= joined"]
        );
        assert_eq!(joined_as(&stage).2, ["con_A"], "not in value");
        assert!(
            stage
                .publish('A')
                .contains(&"R <- published con_A".to_owned())
        );
        assert_eq!(
            stage.subscribe('R', 'A'),
            ["media: subscriber 2 of 1", "R <= answer"]
        );
        assert_eq!(
            stage.ask('R', Request::Leave),
            ["media: close 2", "R <= done", "R released at once"],
            "and nobody hears of its leaving"
        );
    }

    #[test]
    fn a_speech_to_text_module_leaves_unheard_too() {
        let mut stage = Stage::new();
        stage.join('A');
        assert_eq!(
            stage.join_by_secret('T', Some(Hidden::SpeechToText)),
            ["T <= joined"]
        );
        assert_eq!(joined_as(&stage).0, "SPEECH_TO_TEXT");
        assert_eq!(stage.ask('T', Request::Leave), ["T <= done", "T released"]);
    }

    #[test]
    fn an_evicted_or_lost_recorder_is_missed_by_nobody() {
        let mut stage = Stage::new();
        stage.join_as('M', Role::Moderator);
        stage.join_by_secret('R', RECORDER);
        let evict = Request::ForceDisconnect {
            connection: "RECORDER".to_owned(),
        };
        assert_eq!(
            stage.ask('M', evict),
            [
                "M <= done",
                "R <- evicted RECORDER, forceDisconnectByUser",
                "R released"
            ]
        );
        stage.join_by_secret('S', RECORDER);
        stage.lose('S', SocketEnd::Lost);
        assert_eq!(stage.advance(Duration::from_secs(10)), NOTHING);
    }

    #[test]
    fn a_second_recorder_has_a_name_of_its_own() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.join_by_secret('R', RECORDER);
        stage.join_by_secret('S', RECORDER);
        let second = joined_as(&stage).0;
        assert!(
            second.starts_with("RECORDER") && second.len() == "RECORDER".len() + 4,
            "{second}"
        );
        stage.ask('R', Request::Leave);
        stage.join_by_secret('T', RECORDER);
        assert_eq!(joined_as(&stage).0, "RECORDER", "the name is free again");
        let signal = Signal {
            to: vec![second],
            data: Some("layout".to_owned()),
            kind: None,
        };
        assert_eq!(
            stage.ask('A', Request::Signal(signal)),
            ["S <- signal layout from con_A", "A <= done"]
        );
    }

    #[test]
    fn hidden_participants_keep_a_deserted_session_for_a_while() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.join_by_secret('R', RECORDER);
        let token = stage.token('B', Role::Publisher);
        stage.ask('A', Request::Leave);
        assert!(!stage.core.has_ended());
        assert_eq!(stage.advance(Duration::from_secs(119)), NOTHING);
        stage.join_with('B', &token);
        assert_eq!(stage.advance(Duration::from_secs(600)), NOTHING);
        stage.ask('B', Request::Leave);
        stage.join_by_secret('S', RECORDER);
        assert_eq!(stage.advance(Duration::from_secs(119)), NOTHING);
        assert_eq!(
            stage.advance(Duration::from_secs(1))[0],
            "R <- evicted RECORDER, automaticStop",
            "another recorder does not keep it longer"
        );
        assert!(stage.core.has_ended());
    }

    #[test]
    fn the_last_hidden_participant_takes_a_deserted_session_with_it() {
        let mut stage = Stage::new();
        stage.join('A');
        stage.join_by_secret('R', RECORDER);
        stage.ask('A', Request::Leave);
        assert_eq!(
            stage.ask('R', Request::Leave),
            [
                "R <= done",
                "R released at once",
                "media: close room",
                "ended"
            ]
        );
    }

    #[test]
    fn a_recorder_that_comes_first_does_not_keep_a_session_that_nobody_joins() {
        let mut stage = Stage::with(
            Settings {
                garbage_threshold: Some(Duration::from_secs(3600)),
                ..Settings::default()
            },
            scene::properties(),
        );
        stage.join_by_secret('R', RECORDER);
        assert_eq!(stage.advance(Duration::from_secs(3599)), NOTHING);
        assert_eq!(
            stage.advance(Duration::from_secs(1))[0],
            "R <- evicted RECORDER, automaticStop"
        );
    }

    #[test]
    fn a_session_that_has_no_room_or_is_another_one_admits_nobody_by_secret() {
        let mut stage = Stage::new();
        stage.core.home = None;
        assert_eq!(stage.join_by_secret('R', RECORDER), ["R <= error 204"]);
        stage.core.close("x");
        stage.transcript();
        assert_eq!(stage.join_by_secret('R', RECORDER), ["R <= error 203"]);
    }
}
