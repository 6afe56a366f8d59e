//! Joining, leaving, being evicted (`openvidu-signalling` sections 5.2, 8.1, 8.2, 9.1, 9.4, 9.5).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::FORCED_CLOSE_DELAY;
use super::command::{JoinRoom, Joiner, RequestId};
use super::core::{Caller, Moment, Session};
use super::effect::Happening;
use super::identifiers::{ConnectionId, SocketId};
use super::notification::Notification;
use super::participant::{Link, Participant};
use super::ports::TurnCredential;
use super::reason;
use super::refusal::Refusal;
use super::reply::{Joined, Reply};
use super::token::{PresentedToken, Token};
use crate::units::SubscribeOffer;
use crate::views::openvidu::IceServer;

impl Session {
    /// Returns whether this request would join, but the session has no room yet.
    pub fn needs_room_for(&self, join: &JoinRoom) -> bool {
        self.home.is_none() && self.token_of(join).is_some()
    }

    /// Admits whoever holds an unused token; returns whether it did. Exactly one answer results, after
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
        let Some(position) = self.token_of(&join) else {
            return Err(Refusal::InvalidToken {
                session: self.id.clone(),
                token: join.token,
            });
        };
        if self.members.len() >= self.settings.limits.members {
            return Err(Refusal::Full(self.id.clone()));
        }
        if self.home.is_none() {
            return Err(Refusal::NoMediaNode(self.id.clone()));
        }

        let token = self.pending.remove(position);
        self.garbage_at = None;
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
            token,
        };
        let reply = self.joined(joiner, &participant, credential);
        let connection = participant.connection().clone();
        let announcement = Notification::ParticipantJoined(participant.member());
        self.members.push(participant);
        self.happened(Happening::Joined(connection.clone()));
        self.notify_others(&connection, announcement);
        Ok(reply)
    }

    /// Which pending token a request presents. Joining with the server's secret instead would be decided here.
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
        let settings = &self.settings;
        let token = &participant.token;
        let members = self.members.iter().map(|member| {
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

    /// `customIceServers` (section 3.2): the connection's own, into which REST has put the configured ones if its
    /// request had none, else ours.
    fn ice_servers(&self, token: &Token, credential: Option<&TurnCredential>) -> Vec<IceServer> {
        let own = &token.properties.custom_ice_servers;
        if !own.is_empty() {
            return own.clone();
        }
        let Some(credential) = credential else {
            return Vec::new();
        };
        self.settings
            .turn_urls
            .iter()
            .map(|url| IceServer {
                url: url.clone(),
                username: Some(credential.username.clone()),
                credential: Some(credential.credential.clone()),
            })
            .collect()
    }

    /// `leaveRoom`: the others learn of it before the leaver is answered.
    pub(super) fn leave(&mut self, caller: &Caller) {
        self.depart(&caller.connection, &reason::DISCONNECT.into());
        self.done(caller);
        self.release(caller.socket, FORCED_CLOSE_DELAY);
        self.end_if_empty();
    }

    /// Removes a participant against its will: everyone is told that it left, then that it was evicted.
    pub(super) fn evict(&mut self, connection: &ConnectionId, reason: &Arc<str>) {
        let Some(participant) = self.depart(connection, reason) else {
            return;
        };
        let evicted = Notification::ParticipantEvicted {
            connection: connection.clone(),
            reason: reason.clone(),
        };
        if let Some(socket) = participant.socket() {
            self.notify(socket, Arc::new(evicted.clone()));
            self.release(socket, FORCED_CLOSE_DELAY);
        }
        self.notify_all(evicted);
        self.end_if_empty();
    }

    /// Closes the session: everyone is evicted with `reason`.
    ///
    /// Everyone learns of its own eviction only: telling those who are about to be evicted of all who were before
    /// them would take messages by the square of the members.
    pub fn close(&mut self, reason: &str) {
        let reason: Arc<str> = reason.into();
        for participant in std::mem::take(&mut self.members) {
            let connection = participant.connection().clone();
            self.forget(participant, &reason);
            self.happened(Happening::Left(connection, reason.clone()));
        }
        self.happened(Happening::Destroyed(reason));
        self.end();
    }

    fn forget(&mut self, participant: Participant, reason: &Arc<str>) {
        self.tear_down(&participant, reason);
        if let Some(socket) = participant.socket() {
            let evicted = Notification::ParticipantEvicted {
                connection: participant.connection().clone(),
                reason: reason.clone(),
            };
            self.notify(socket, Arc::new(evicted));
            self.release(socket, FORCED_CLOSE_DELAY);
        }
    }

    /// Takes a participant out, ends its media, and tells those who remain.
    fn depart(&mut self, connection: &ConnectionId, reason: &Arc<str>) -> Option<Participant> {
        let position = self
            .members
            .iter()
            .position(|member| member.connection() == connection)?;
        let participant = self.members.remove(position);
        self.tear_down(&participant, reason);
        self.notify_all(Notification::ParticipantLeft {
            connection: connection.clone(),
            reason: reason.clone(),
        });
        self.happened(Happening::Left(connection.clone(), reason.clone()));
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

    fn end_if_empty(&mut self) {
        if self.members.is_empty() && !self.has_ended() {
            self.happened(Happening::Destroyed(reason::LAST_PARTICIPANT_LEFT.into()));
            self.end();
        }
    }

    /// Whose socket this is.
    pub fn connection_of(&self, socket: SocketId) -> Option<ConnectionId> {
        self.members
            .iter()
            .find(|member| member.socket() == Some(socket))
            .map(|member| member.connection().clone())
    }
}
