//! One session as a synchronous core: requests, media events and time in, [`Effect`]s out.
//!
//! After every call the owner drains [`Session::poll_effect`] to `None` and carries the effects out in order. What is
//! told before what is decided here and nowhere else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::{Request, RequestId};
use super::effect::{Effect, Happening};
use super::identifiers::{ConnectionId, SocketId};
use super::notification::Notification;
use super::participant::{Link, Participant, pending_view};
use super::ports::TurnCredentials;
use super::properties::{ConnectionProperties, SessionProperties};
use super::refusal::Refusal;
use super::reply::Reply;
use super::rpc_session::RpcKey;
use super::settings::Settings;
use super::token::Token;
use crate::media::plane::{self, Candidate, Fingerprint, TransportId};
use crate::units::{Live, Random};
use crate::views::control::Session as Summary;
use crate::views::openvidu as view;

/// The time of a call.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Monotonic, for timers.
    pub now: Instant,
    /// Milliseconds since the epoch, for what is shown.
    pub wall_ms: u64,
}

/// What a session must know of its room in the media plane.
pub struct Home {
    /// The addresses of the room's worker, best first.
    pub candidates: Arc<[Candidate]>,
    /// The fingerprint of our DTLS certificate.
    pub fingerprint: Fingerprint,
    /// Makes transport identities.
    pub next_transport: Box<dyn FnMut() -> TransportId + Send>,
}

/// A session: its tokens, its participants, what they publish and receive.
pub struct Session {
    pub(super) id: String,
    created_at: u64,
    pub(super) properties: SessionProperties,
    pub(super) settings: Live<Settings>,
    pub(super) turn: Arc<dyn TurnCredentials>,
    pub(super) random: Random,
    pub(super) home: Option<Home>,
    pub(super) pending: Vec<Token>,
    /// In order of joining.
    pub(super) members: Vec<Participant>,
    pub(super) transports: BTreeMap<TransportId, TransportOwner>,
    /// Those of them that are connected and have not gone quiet.
    pub(super) heard: BTreeSet<TransportId>,
    /// When the session is dropped because nobody ever joined, hidden participants apart.
    pub(super) garbage_at: Option<Instant>,
    /// When the session is closed because everyone but hidden participants has left.
    pub(super) deserted_until: Option<Instant>,
    next_serial: u64,
    ended: bool,
    effects: VecDeque<Effect>,
}

/// A session has as many unused tokens as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyPending;

/// What a transport is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TransportOwner {
    Publication(ConnectionId),
    Subscription {
        subscriber: ConnectionId,
        publisher: ConnectionId,
    },
}

/// Who asked, and under which id the answer is awaited.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) connection: ConnectionId,
    pub(super) socket: SocketId,
    pub(super) request: RequestId,
}

impl Session {
    /// A session that nobody has joined.
    pub fn new(
        id: String,
        at: Moment,
        properties: SessionProperties,
        settings: Live<Settings>,
        turn: Arc<dyn TurnCredentials>,
        random: Random,
    ) -> Self {
        Self {
            id,
            created_at: at.wall_ms,
            garbage_at: settings
                .get()
                .garbage_threshold
                .and_then(|wait| at.now.checked_add(wait)),
            properties,
            settings,
            turn,
            random,
            deserted_until: None,
            home: None,
            pending: Vec::new(),
            members: Vec::new(),
            transports: BTreeMap::new(),
            heard: BTreeSet::new(),
            next_serial: 0,
            ended: false,
            effects: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The moment at which [`Session::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let members = self.members.iter().filter_map(|member| match &member.link {
            Link::Open(_) => member.publication.as_ref()?.orphaned_until,
            Link::Grace(grace) => Some(grace.until),
        });
        members
            .chain(self.garbage_at)
            .chain(self.deserted_until)
            .min()
    }

    /// Does what has become due. Spurious calls are harmless.
    pub fn handle_timeout(&mut self, at: Moment) {
        if self.end_if_abandoned(at) {
            return;
        }
        self.evict_expired(at);
        self.unpublish_orphans(at);
    }

    /// Returns whether the session is over and takes no more calls.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns whether this socket belongs to a participant.
    pub fn has_socket(&self, socket: SocketId) -> bool {
        self.members
            .iter()
            .any(|member| member.socket() == Some(socket))
    }

    /// Returns whether anybody is inside whom the others see: hidden participants alone do not make a session used.
    pub fn is_occupied(&self) -> bool {
        self.members.iter().any(|member| !member.is_hidden())
    }

    /// Returns whether participants are without a room: the media plane lost theirs.
    pub fn needs_room(&self) -> bool {
        self.home.is_none() && !self.members.is_empty()
    }

    /// Gives the session its room.
    pub fn move_in(&mut self, home: Home) {
        self.home = Some(home);
    }

    /// Carries out what a participant asks. Exactly one answer results.
    pub fn handle_request(
        &mut self,
        at: Moment,
        socket: SocketId,
        request: RequestId,
        body: Request,
    ) {
        let Some(connection) = self.connection_of(socket) else {
            let gone = if self.ended {
                Refusal::Closed(self.id.clone())
            } else {
                Refusal::NotAMember(self.id.clone())
            };
            self.answer(socket, request, Err(gone));
            return;
        };
        let caller = Caller {
            connection,
            socket,
            request,
        };
        if let Err(refusal) = self.dispatch(at, &caller, body) {
            self.answer(caller.socket, caller.request, Err(refusal));
        }
    }

    fn dispatch(&mut self, at: Moment, caller: &Caller, request: Request) -> Result<(), Refusal> {
        match request {
            Request::Leave => self.leave(at, caller),
            Request::Publish(publish) => return self.publish(at, caller, *publish),
            Request::Unpublish => return self.unpublish(caller),
            Request::PrepareReceive { sender } => return self.prepare_receive(at, caller, &sender),
            Request::ReceiveOffer { sender, offer } => {
                return self.receive_offer(at, caller, &sender, offer, false);
            }
            Request::ReceiveAnswer { sender, answer } => {
                return self.receive_answer(caller, &sender, answer, false);
            }
            Request::Unsubscribe { sender } => return self.unsubscribe(caller, &sender),
            Request::IceCandidate { owner } => self.count_candidate(caller, &owner),
            Request::Signal(signal) => return self.signal(caller, signal),
            Request::StreamProperty(change) => return self.change_property(caller, change),
            Request::ForceUnpublish { stream } => return self.force_unpublish(caller, &stream),
            Request::ForceDisconnect { connection } => {
                return self.force_disconnect(at, caller, &connection);
            }
            Request::Filter(filter) => return self.filter(caller, &filter),
            Request::SpeechToText => return Err(Refusal::SpeechToText),
            Request::Acknowledge => self.done(caller),
            Request::ReconnectStream(reconnect) => {
                return self.reconnect_stream(at, caller, reconnect);
            }
        }
        Ok(())
    }

    /// Creates a pending connection with its token.
    ///
    /// # Errors
    /// [`Limits::pending`](super::settings::Limits::pending) tokens wait already.
    pub fn create_connection(
        &mut self,
        at: Moment,
        properties: ConnectionProperties,
    ) -> Result<view::Connection, TooManyPending> {
        if self.pending.len() >= self.settings.get().limits.pending {
            return Err(TooManyPending);
        }
        let connection = ConnectionId::custom(&properties.data)
            .unwrap_or_else(|| ConnectionId::random(&mut self.random));
        let connection = self.free_id(connection);
        let token = self.new_token(at, connection, properties);
        let shown = pending_view(&token, &self.settings.get().websocket_url, &self.id);
        self.pending.push(token);
        Ok(shown)
    }

    pub(super) fn new_token(
        &mut self,
        at: Moment,
        connection: ConnectionId,
        properties: ConnectionProperties,
    ) -> Token {
        let serial = self.next_serial;
        self.next_serial += 1;
        Token::new(serial, connection, at.wall_ms, properties, &mut self.random)
    }

    /// OpenVidu does not check; two participants of one name would receive each other's messages.
    pub(super) fn free_id(&mut self, wanted: ConnectionId) -> ConnectionId {
        let mut connection = wanted.clone();
        while self.is_taken(&connection) {
            connection = wanted.with_suffix(&mut self.random);
        }
        connection
    }

    fn is_taken(&self, connection: &ConnectionId) -> bool {
        self.member(connection.as_str()).is_some()
            || self
                .pending
                .iter()
                .any(|token| token.connection == *connection)
    }

    /// The session as REST shows it (`openvidu-rest` section 4.1).
    pub fn view(&self, pending: bool) -> view::Session {
        view::Session {
            id: self.id.clone(),
            object: "session",
            session_id: self.id.clone(),
            created_at: self.created_at,
            recording: false,
            broadcasting: false,
            media_mode: self.properties.media_mode.to_owned(),
            recording_mode: self.properties.recording_mode.to_owned(),
            default_recording_properties: self.properties.default_recording_properties.clone(),
            custom_session_id: self
                .properties
                .custom_session_id
                .clone()
                .unwrap_or_default(),
            forced_video_codec: self.properties.forced_video_codec.as_str().to_owned(),
            allow_transcoding: self.properties.allow_transcoding,
            media_node: self.properties.media_node.clone(),
            connections: self.connection_views(pending).into(),
        }
    }

    /// The session in numbers, whatever its size.
    pub fn summary(&self) -> Summary {
        let published = self.members.iter().filter(|it| it.publication.is_some());
        Summary {
            id: self.id.clone(),
            created_at: self.created_at,
            connections: self.members.len(),
            streams: published.count(),
            subscriptions: self.members.iter().map(|it| it.subscriptions.len()).sum(),
            pending: self.pending.len(),
        }
    }

    /// Its connections: active ones first, each group in order of creation.
    pub fn connection_views(&self, pending: bool) -> Vec<view::Connection> {
        let seen = self.members.iter().filter(|member| !member.is_hidden());
        let mut active: Vec<&Participant> = seen.collect();
        active.sort_by_key(|member| member.token.serial);
        let settings = self.settings.get();
        let url = &settings.websocket_url;
        let active = active.into_iter().map(|member| member.view(url, &self.id));
        let waiting = self.pending.iter().filter(|_| pending);
        active
            .chain(waiting.map(|token| pending_view(token, url, &self.id)))
            .collect()
    }

    /// One connection, pending or active.
    pub fn connection_view(&self, connection: &str) -> Option<view::Connection> {
        let settings = self.settings.get();
        let url = &settings.websocket_url;
        let active = self.member(connection).filter(|member| !member.is_hidden());
        active.map(|member| member.view(url, &self.id)).or_else(|| {
            self.pending
                .iter()
                .find(|token| token.connection.as_str() == connection)
                .map(|token| pending_view(token, url, &self.id))
        })
    }

    /// The transport on which a connection publishes.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn publishing_transport(&self, connection: &str) -> Option<TransportId> {
        let publication = self.member(connection)?.publication.as_ref()?;
        Some(publication.transport)
    }

    pub(super) fn member(&self, connection: &str) -> Option<&Participant> {
        self.members
            .iter()
            .find(|member| member.connection().as_str() == connection)
    }

    pub(super) fn member_mut(&mut self, connection: &str) -> Option<&mut Participant> {
        self.members
            .iter_mut()
            .find(|member| member.connection().as_str() == connection)
    }

    /// The caller itself; a refusal only if a bug has let a request of a stranger through.
    pub(super) fn caller(&self, caller: &Caller) -> Result<&Participant, Refusal> {
        self.member(caller.connection.as_str())
            .ok_or_else(|| Refusal::NotAMember(self.id.clone()))
    }

    /// The same, to be changed.
    pub(super) fn caller_mut(&mut self, caller: &Caller) -> Result<&mut Participant, Refusal> {
        let gone = Refusal::NotAMember(self.id.clone());
        self.member_mut(caller.connection.as_str()).ok_or(gone)
    }

    pub(super) fn answer(
        &mut self,
        socket: SocketId,
        request: RequestId,
        outcome: Result<Reply, Refusal>,
    ) {
        self.effects.push_back(Effect::Reply {
            socket,
            request,
            outcome,
        });
    }

    pub(super) fn reply(&mut self, caller: &Caller, reply: Reply) {
        self.answer(caller.socket, caller.request.clone(), Ok(reply));
    }

    pub(super) fn done(&mut self, caller: &Caller) {
        self.reply(caller, Reply::Done);
    }

    pub(super) fn notify(&mut self, socket: SocketId, notification: Arc<Notification>) {
        self.effects.push_back(Effect::Notify {
            socket,
            notification,
        });
    }

    /// Tells every member but `except`.
    pub(super) fn notify_others(&mut self, except: &ConnectionId, notification: Notification) {
        self.notify_those(|member| member.connection() != except, notification);
    }

    /// Tells every member.
    pub(super) fn notify_all(&mut self, notification: Notification) {
        self.notify_those(|_| true, notification);
    }

    /// Tells one member.
    pub(super) fn notify_one(&mut self, connection: &ConnectionId, notification: Notification) {
        self.notify_those(|member| member.connection() == connection, notification);
    }

    /// Tells every member that is `meant`; for those who are away it is kept.
    pub(super) fn notify_those(
        &mut self,
        meant: impl Fn(&Participant) -> bool,
        notification: Notification,
    ) {
        let notification = Arc::new(notification);
        for member in self.members.iter_mut().filter(|member| meant(member)) {
            let notification = notification.clone();
            let effect = match &mut member.link {
                Link::Open(socket) => Effect::Notify {
                    socket: *socket,
                    notification,
                },
                Link::Grace(grace) => {
                    if !grace.keep(notification) {
                        continue;
                    }
                    Effect::Happened(Happening::Flooded(member.connection().clone()))
                }
            };
            self.effects.push_back(effect);
        }
    }

    pub(super) fn command(&mut self, command: plane::Command) {
        self.effects.push_back(Effect::Media(command));
    }

    pub(super) fn close_transport(&mut self, transport: TransportId) {
        // The worker has already forgotten those that failed.
        if self.forget_transport(transport) {
            self.command(plane::Command::CloseTransport(transport));
        }
    }

    /// Ends a publication's transport, even if it has failed: the worker keeps it for one that replaces it.
    pub(super) fn close_publisher(&mut self, transport: TransportId) {
        self.forget_transport(transport);
        if self.home.is_some() {
            self.command(plane::Command::CloseTransport(transport));
        }
    }

    /// The transport is gone, or will be by a command of its own; returns whether it was there.
    pub(super) fn forget_transport(&mut self, transport: TransportId) -> bool {
        self.heard.remove(&transport);
        self.transports.remove(&transport).is_some()
    }

    pub(super) fn release(&mut self, socket: SocketId, after: Duration) {
        self.effects.push_back(Effect::Release { socket, after });
    }

    pub(super) fn forget_rpc_session(&mut self, key: RpcKey) {
        self.effects.push_back(Effect::Forget(key));
    }

    pub(super) fn happened(&mut self, happening: Happening) {
        self.effects.push_back(Effect::Happened(happening));
    }

    /// Ends the session, which has no members any more.
    pub(super) fn end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.pending.clear();
        self.garbage_at = None;
        self.deserted_until = None;
        if self.home.take().is_some() {
            self.command(plane::Command::CloseRoom);
        }
        self.effects.push_back(Effect::Ended);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("members", &self.members.len())
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}
