//! The shell around one [`Session`]: a task that owns it, a bounded mailbox, and the handle that others hold.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::administration::SignalError;
use super::command::{JoinRoom, Joiner, Request, RequestId, Signal};
use super::core::{Home, Moment, Session, TooManyPending};
use super::effect::{Effect, Happening};
use super::identifiers::{ConnectionId, SocketId};
use super::notification::Notification;
use super::ports::Client;
use super::properties::{ConnectionChange, ConnectionProperties};
use super::reason;
use super::reconnection::SocketEnd;
use super::refusal::Refusal;
use super::reply::Reply;
use super::rpc_session::{RpcKey, RpcSession};
use crate::media::plane::{self, Event, EventKind, Plane, Room};
use crate::units::clock;
use crate::views::openvidu as view;

/// Messages that may wait for one session; senders wait while it is full, and with them their own sockets.
const MAILBOX: usize = 256;

/// How long a new session of the same name waits for the old one to end (`openvidu-rest` section 5.1).
const CLOSING_WAIT: Duration = Duration::from_secs(15);

/// How to reach one session; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    id: Arc<str>,
    mailbox: mpsc::Sender<Message>,
    closing: Arc<AtomicBool>,
    ended: CancellationToken,
}

enum Message {
    Join {
        client: Arc<dyn Client>,
        joiner: Joiner,
        request: RequestId,
        join: JoinRoom,
        joined: oneshot::Sender<bool>,
    },
    Reconnect {
        client: Arc<dyn Client>,
        socket: SocketId,
        request: RequestId,
        rpc_session: RpcKey,
        reconnected: oneshot::Sender<bool>,
    },
    Request {
        client: Arc<dyn Client>,
        socket: SocketId,
        request: RequestId,
        body: Request,
    },
    SocketClosed {
        socket: SocketId,
        end: SocketEnd,
    },
    View {
        pending: bool,
        answer: oneshot::Sender<view::Session>,
    },
    CreateConnection {
        properties: Box<ConnectionProperties>,
        answer: oneshot::Sender<Result<view::Connection, TooManyPending>>,
    },
    Connection {
        connection: String,
        answer: oneshot::Sender<Option<view::Connection>>,
    },
    DeleteConnection {
        connection: String,
        reason: String,
        answer: oneshot::Sender<bool>,
    },
    UpdateConnection {
        connection: String,
        change: ConnectionChange,
        answer: oneshot::Sender<Option<view::Connection>>,
    },
    Announce {
        signal: Signal,
        answer: oneshot::Sender<Result<(), SignalError>>,
    },
    UnpublishStream {
        stream: String,
        reason: String,
        answer: oneshot::Sender<bool>,
    },
    Close {
        reason: String,
        answer: oneshot::Sender<()>,
    },
    #[cfg(any(test, feature = "testing"))]
    Panic(Fault),
}

/// Where an injected panic strikes.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// In the session's task.
    Session,
    /// In the worker, while it handles the transport on which this connection publishes.
    Publisher(String),
    /// In the worker, while it forwards the session's media.
    Room,
}

impl Handle {
    /// The session's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Asks to join for `client`, which is answered in any case; returns whether it has joined.
    pub async fn join(
        &self,
        client: Arc<dyn Client>,
        joiner: Joiner,
        request: RequestId,
        join: JoinRoom,
    ) -> bool {
        let (joined, outcome) = oneshot::channel();
        let message = Message::Join {
            client,
            joiner,
            request,
            join,
            joined,
        };
        if let Err(mpsc::error::SendError(message)) = self.mailbox.send(message).await {
            refuse(&self.id, message);
            return false;
        }
        outcome.await.unwrap_or(false)
    }

    /// Asks to go on with `socket` as the participant of an RPC session, for `client`, which is answered in any case;
    /// returns whether it does.
    pub async fn reconnect(
        &self,
        client: Arc<dyn Client>,
        socket: SocketId,
        request: RequestId,
        rpc_session: RpcKey,
    ) -> bool {
        let (reconnected, outcome) = oneshot::channel();
        let message = Message::Reconnect {
            client,
            socket,
            request,
            rpc_session,
            reconnected,
        };
        if let Err(mpsc::error::SendError(message)) = self.mailbox.send(message).await {
            refuse(&self.id, message);
            return false;
        }
        outcome.await.unwrap_or(false)
    }

    /// Passes on a request of `client`, which is answered in any case.
    pub async fn request(
        &self,
        client: Arc<dyn Client>,
        socket: SocketId,
        request: RequestId,
        body: Request,
    ) {
        let message = Message::Request {
            client,
            socket,
            request,
            body,
        };
        if let Err(mpsc::error::SendError(message)) = self.mailbox.send(message).await {
            refuse(&self.id, message);
        }
    }

    /// Tells the session that a socket is gone.
    pub async fn socket_closed(&self, socket: SocketId, end: SocketEnd) {
        // A session that has ended has no use for it.
        let _ = self
            .mailbox
            .send(Message::SocketClosed { socket, end })
            .await;
    }

    pub(super) async fn view(&self, pending: bool) -> Option<view::Session> {
        self.ask(|answer| Message::View { pending, answer }).await
    }

    pub(super) async fn create_connection(
        &self,
        properties: ConnectionProperties,
    ) -> Option<Result<view::Connection, TooManyPending>> {
        let properties = Box::new(properties);
        self.ask(|answer| Message::CreateConnection { properties, answer })
            .await
    }

    pub(super) async fn connection(&self, connection: String) -> Option<Option<view::Connection>> {
        self.ask(|answer| Message::Connection { connection, answer })
            .await
    }

    pub(super) async fn delete_connection(
        &self,
        connection: String,
        reason: String,
    ) -> Option<bool> {
        self.ask(|answer| Message::DeleteConnection {
            connection,
            reason,
            answer,
        })
        .await
    }

    pub(super) async fn update_connection(
        &self,
        connection: String,
        change: ConnectionChange,
    ) -> Option<Option<view::Connection>> {
        self.ask(|answer| Message::UpdateConnection {
            connection,
            change,
            answer,
        })
        .await
    }

    pub(super) async fn announce(&self, signal: Signal) -> Option<Result<(), SignalError>> {
        self.ask(|answer| Message::Announce { signal, answer })
            .await
    }

    pub(super) async fn unpublish_stream(&self, stream: String, reason: String) -> Option<bool> {
        self.ask(|answer| Message::UnpublishStream {
            stream,
            reason,
            answer,
        })
        .await
    }

    /// Closes the session and waits until everyone has been told; false if somebody else closes it already.
    pub(super) async fn close(&self, reason: String) -> bool {
        // Marked only when nothing can come between: a caller that gives up here has not begun.
        let Ok(permit) = self.mailbox.reserve().await else {
            return false;
        };
        if self.closing.swap(true, Ordering::AcqRel) {
            return false;
        }
        let (answer, told) = oneshot::channel();
        permit.send(Message::Close { reason, answer });
        told.await.is_ok()
    }

    /// Makes what serves the session panic, for tests of containment.
    #[cfg(any(test, feature = "testing"))]
    pub async fn panic(&self, fault: Fault) {
        let _ = self.mailbox.send(Message::Panic(fault)).await;
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire) || self.mailbox.is_closed()
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (answer, outcome) = oneshot::channel();
        self.mailbox.send(message(answer)).await.ok()?;
        outcome.await.ok()
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&self.id).finish()
    }
}

/// Answers what a session that has ended will not: clients must never wait for their time-out.
fn refuse(session: &str, message: Message) {
    match message {
        Message::Join {
            client, request, ..
        } => client.reply(&request, Err(&Refusal::SessionClosed(session.to_owned()))),
        Message::Reconnect {
            client, request, ..
        } => client.reply(&request, Err(&Refusal::Reconnection)),
        Message::Request {
            client, request, ..
        } => client.reply(&request, Err(&Refusal::Closed(session.to_owned()))),
        // Whoever asked learns it from the dropped channel.
        Message::SocketClosed { .. }
        | Message::View { .. }
        | Message::CreateConnection { .. }
        | Message::Connection { .. }
        | Message::DeleteConnection { .. }
        | Message::UpdateConnection { .. }
        | Message::Announce { .. }
        | Message::UnpublishStream { .. }
        | Message::Close { .. } => {}
        #[cfg(any(test, feature = "testing"))]
        Message::Panic(_) => {}
    }
}

/// The sessions by id, and the parent of their tasks.
pub(super) struct Registry {
    plane: Plane,
    sessions: Mutex<BTreeMap<Arc<str>, Entry>>,
    rpc_sessions: Mutex<HashMap<RpcKey, Participation>>,
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
    stop_reason: OnceLock<Arc<str>>,
    next_serial: AtomicU64,
    panics: AtomicU64,
    flooded: AtomicU64,
}

struct Entry {
    serial: u64,
    handle: Handle,
}

/// Where an RPC session has joined.
struct Participation {
    rpc_session: Arc<RpcSession>,
    session: Arc<str>,
    serial: u64,
}

/// Keeps an RPC session findable while it lives.
struct Findable {
    registry: Arc<Registry>,
    key: RpcKey,
}

impl Drop for Findable {
    fn drop(&mut self) {
        lock(&self.registry.rpc_sessions).remove(&self.key);
    }
}

/// An id is in use by a session that is not about to end.
pub(super) struct Taken;

impl Registry {
    pub(super) fn new(plane: Plane) -> Self {
        Self {
            plane,
            sessions: Mutex::default(),
            rpc_sessions: Mutex::default(),
            tasks: Mutex::default(),
            stop: CancellationToken::new(),
            stop_reason: OnceLock::new(),
            next_serial: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            flooded: AtomicU64::new(0),
        }
    }

    /// Runs the session that `make` makes under `id`. If one of that id is just closing, waits for its end.
    pub(super) async fn start(
        self: &Arc<Self>,
        id: &str,
        make: impl FnOnce() -> Session,
    ) -> Result<(), Taken> {
        let deadline = tokio::time::sleep(CLOSING_WAIT);
        tokio::pin!(deadline);
        loop {
            let ended = {
                let mut sessions = lock(&self.sessions);
                match sessions.get(id) {
                    None => {
                        let entry = self.spawn(id, make());
                        sessions.insert(entry.handle.id.clone(), entry);
                        return Ok(());
                    }
                    Some(entry) if entry.handle.is_closing() => entry.handle.ended.clone(),
                    Some(_) => return Err(Taken),
                }
            };
            tokio::select! {
                () = ended.cancelled() => {}
                () = &mut deadline => return Err(Taken),
            }
        }
    }

    fn spawn(self: &Arc<Self>, id: &str, core: Session) -> Entry {
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let handle = Handle {
            id: id.into(),
            mailbox,
            closing: Arc::default(),
            ended: CancellationToken::new(),
        };
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        let actor = Actor {
            id: handle.id.clone(),
            serial,
            core,
            room: None,
            events: None,
            clients: BTreeMap::new(),
            findable: BTreeMap::new(),
            registry: self.clone(),
        };
        let span = tracing::info_span!("session", id = id);
        let mut tasks = lock(&self.tasks);
        // Those that have ended would otherwise be kept for a parent that never asks.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(
            actor
                .live(messages, handle.ended.clone().drop_guard())
                .instrument(span),
        );
        Entry { serial, handle }
    }

    pub(super) fn find(&self, id: &str) -> Option<Handle> {
        let sessions = lock(&self.sessions);
        sessions
            .get(id)
            .map(|entry| &entry.handle)
            .filter(|handle| !handle.is_closing())
            .cloned()
    }

    /// The RPC session with this id, and the session that it has joined.
    pub(super) fn rpc_session(&self, id: &str) -> Option<(Handle, Arc<RpcSession>)> {
        let (name, serial, rpc_session) = {
            let rpc_sessions = lock(&self.rpc_sessions);
            let found = rpc_sessions.get(&RpcKey::of(id))?;
            (
                found.session.clone(),
                found.serial,
                found.rpc_session.clone(),
            )
        };
        let sessions = lock(&self.sessions);
        let entry = sessions.get(&name).filter(|entry| entry.serial == serial);
        Some((entry?.handle.clone(), rpc_session)).filter(|(handle, _)| !handle.is_closing())
    }

    /// Every session, in order of creation.
    pub(super) fn all(&self) -> Vec<Handle> {
        let sessions = lock(&self.sessions);
        let mut entries: Vec<&Entry> = sessions.values().collect();
        entries.sort_by_key(|entry| entry.serial);
        entries
            .into_iter()
            .map(|entry| entry.handle.clone())
            .collect()
    }

    /// Forgets a session that has ended, but not a later one of the same id.
    fn remove(&self, id: &str, serial: u64) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(id).is_some_and(|entry| entry.serial == serial) {
            sessions.remove(id);
        }
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub(super) fn flooded(&self) -> u64 {
        self.flooded.load(Ordering::Relaxed)
    }

    /// Closes every session with `reason` and waits for the end of their tasks.
    pub(super) async fn shutdown(&self, reason: &str) {
        self.stop_reason.get_or_init(|| reason.into());
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
    }

    fn stop_reason(&self) -> Arc<str> {
        let reason = self.stop_reason.get();
        reason.cloned().unwrap_or_else(|| "".into())
    }

    #[cfg(test)]
    pub(super) fn running_tasks(&self) -> usize {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // No caller panics while it holds the lock, and what a lock guards here is valid after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Actor {
    id: Arc<str>,
    serial: u64,
    core: Session,
    room: Option<Room>,
    events: Option<mpsc::Receiver<Event>>,
    clients: BTreeMap<SocketId, Attached>,
    findable: BTreeMap<RpcKey, Findable>,
    registry: Arc<Registry>,
}

/// A participant's socket. Kept here so that it can be told even if the core has failed.
struct Attached {
    connection: ConnectionId,
    client: Arc<dyn Client>,
}

/// Who is answered while its request is carried out, member or not.
type Asking = Option<Arc<dyn Client>>;

impl Actor {
    async fn live(
        mut self,
        mut mailbox: mpsc::Receiver<Message>,
        _ended: tokio_util::sync::DropGuard,
    ) {
        let outcome = AssertUnwindSafe(self.run(&mut mailbox))
            .catch_unwind()
            .await;
        self.registry.remove(&self.id, self.serial);
        if outcome.is_err() {
            self.mourn().await;
        }
        mailbox.close();
        // Ends only when nobody holds a permit any more: whoever was about to send is answered too.
        while let Some(message) = mailbox.recv().await {
            refuse(&self.id, message);
        }
    }

    async fn run(&mut self, mailbox: &mut mpsc::Receiver<Message>) {
        let stop = self.registry.stop.clone();
        tracing::info!("created");
        while !self.core.has_ended() {
            let due = self.core.poll_timeout();
            tokio::select! {
                message = mailbox.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => return,
                },
                event = next_event(&mut self.events) => self.handle_event(event).await,
                () = sleep_until(due) => {
                    self.core.handle_timeout(moment());
                    self.carry_out(None).await;
                }
                () = stop.cancelled() => {
                    let reason = self.registry.stop_reason();
                    self.core.close(&reason);
                    self.carry_out(None).await;
                }
            }
        }
    }

    async fn handle(&mut self, message: Message) {
        match message {
            Message::Join {
                client,
                joiner,
                request,
                join,
                joined,
            } => {
                if self.core.needs_room_for(&joiner, &join) {
                    self.open_room().await;
                }
                let outcome = self.core.handle_join(moment(), &joiner, request, join);
                if outcome {
                    // Known before its reply is carried out, which names the connection.
                    self.attach(joiner.socket, &client);
                    self.make_findable(joiner.rpc_session);
                }
                self.carry_out(Some(client)).await;
                let _ = joined.send(outcome);
            }
            Message::Reconnect {
                client,
                socket,
                request,
                rpc_session,
                reconnected,
            } => {
                // The new socket often comes before the old one has closed.
                let former = self.core.socket_of(rpc_session);
                let former = former.filter(|former| *former != socket);
                let former = former.and_then(|former| self.clients.get(&former));
                let unheard = former.map_or(Some(Vec::new()), |former| former.client.take_back());
                let outcome =
                    self.core
                        .handle_reconnect(moment(), socket, request, rpc_session, unheard);
                if outcome {
                    self.attach(socket, &client);
                }
                self.carry_out(Some(client)).await;
                let _ = reconnected.send(outcome);
            }
            Message::Request {
                client,
                socket,
                request,
                body,
            } => {
                if self.core.needs_room() {
                    self.open_room().await;
                }
                self.core.handle_request(moment(), socket, request, body);
                self.carry_out(Some(client)).await;
            }
            Message::SocketClosed { socket, end } => {
                let attached = self.clients.remove(&socket);
                let unheard = attached.map_or(Some(Vec::new()), |it| it.client.take_back());
                self.core
                    .handle_socket_closed(moment(), socket, end, unheard);
                self.carry_out(None).await;
            }
            Message::View { pending, answer } => {
                let _ = answer.send(self.core.view(pending));
            }
            Message::CreateConnection { properties, answer } => {
                let _ = answer.send(self.core.create_connection(moment(), *properties));
            }
            Message::Connection { connection, answer } => {
                let _ = answer.send(self.core.connection_view(&connection));
            }
            Message::DeleteConnection {
                connection,
                reason,
                answer,
            } => {
                let found = self.core.delete_connection(moment(), &connection, &reason);
                self.carry_out(None).await;
                let _ = answer.send(found);
            }
            Message::UpdateConnection {
                connection,
                change,
                answer,
            } => {
                let updated = self.core.update_connection(&connection, change);
                self.carry_out(None).await;
                let _ = answer.send(updated);
            }
            Message::Announce { signal, answer } => {
                let outcome = self.core.announce(signal);
                self.carry_out(None).await;
                let _ = answer.send(outcome);
            }
            Message::UnpublishStream {
                stream,
                reason,
                answer,
            } => {
                let found = self.core.unpublish_stream(&stream, &reason);
                self.carry_out(None).await;
                let _ = answer.send(found);
            }
            Message::Close { reason, answer } => {
                self.core.close(&reason);
                self.carry_out(None).await;
                let _ = answer.send(());
            }
            #[cfg(any(test, feature = "testing"))]
            Message::Panic(fault) => self.inject(fault).await,
        }
    }

    #[cfg(any(test, feature = "testing"))]
    async fn inject(&mut self, fault: Fault) {
        let fault = match fault {
            Fault::Session => panic!("injected"),
            Fault::Publisher(connection) => {
                let transport = self.core.publishing_transport(&connection);
                plane::Fault::Transport(transport.expect("it publishes"))
            }
            Fault::Room => plane::Fault::Room,
        };
        if let Some(room) = &self.room {
            let _ = room.send(plane::Command::Panic(fault)).await;
        }
    }

    async fn handle_event(&mut self, event: Option<Event>) {
        // A worker that went away took the room with it.
        let event = event.unwrap_or(Event {
            transport: None,
            kind: EventKind::RoomFailed,
        });
        if event.kind == EventKind::RoomFailed {
            tracing::error!("the session's room in the media plane has failed");
            self.room = None;
            self.events = None;
        }
        self.core.handle_media_event(moment(), event);
        self.carry_out(None).await;
    }

    async fn open_room(&mut self) {
        match self.registry.plane.open_room().await {
            Ok((room, events)) => {
                let ids = room.clone();
                self.core.move_in(Home {
                    candidates: room.candidates(),
                    fingerprint: room.fingerprint().clone(),
                    next_transport: Box::new(move || ids.new_transport_id()),
                });
                self.room = Some(room);
                self.events = Some(events);
            }
            Err(error) => tracing::warn!(%error, "no room for the session"),
        }
    }

    fn attach(&mut self, socket: SocketId, client: &Arc<dyn Client>) {
        if let Some(connection) = self.core.connection_of(socket) {
            self.clients.insert(
                socket,
                Attached {
                    connection,
                    client: client.clone(),
                },
            );
        }
    }

    fn make_findable(&mut self, rpc_session: Arc<RpcSession>) {
        let key = rpc_session.key();
        let participation = Participation {
            rpc_session,
            session: self.id.clone(),
            serial: self.serial,
        };
        lock(&self.registry.rpc_sessions).insert(key, participation);
        let registry = self.registry.clone();
        self.findable.insert(key, Findable { registry, key });
    }

    async fn carry_out(&mut self, asking: Asking) {
        if self.core.has_ended() {
            // Whoever is told of the end finds the session gone.
            self.registry.remove(&self.id, self.serial);
        }
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Media(command) => {
                    if let Some(room) = &self.room
                        && let Err(error) = room.send(command).await
                    {
                        tracing::debug!(%error, "media command lost");
                    }
                }
                Effect::Reply {
                    request, outcome, ..
                } => {
                    // Only the request that is being carried out is answered.
                    if let Some(client) = &asking {
                        log_refusal(&outcome);
                        client.reply(&request, outcome.as_ref());
                    }
                }
                Effect::Notify {
                    socket,
                    notification,
                } => {
                    if let Some(attached) = self.clients.get(&socket) {
                        attached.client.notify(notification);
                    }
                }
                Effect::Release { socket, after } => {
                    if let Some(attached) = self.clients.remove(&socket) {
                        attached.client.close_after(after);
                    }
                }
                Effect::Forget(rpc_session) => {
                    self.findable.remove(&rpc_session);
                }
                Effect::Happened(happening) => {
                    if matches!(happening, Happening::Flooded(_)) {
                        self.registry.flooded.fetch_add(1, Ordering::Relaxed);
                    }
                    log(&happening);
                }
                Effect::Ended => tracing::debug!("ended"),
            }
        }
    }

    /// The core has panicked: its session ends, and it alone (`robustness` R18).
    async fn mourn(&mut self) {
        self.registry.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            clients = self.clients.len(),
            "a bug has ended this session; please report the panic message above"
        );
        for attached in std::mem::take(&mut self.clients).into_values() {
            attached
                .client
                .notify(Arc::new(Notification::ParticipantEvicted {
                    connection: attached.connection,
                    reason: reason::NODE_CRASHED.into(),
                }));
            attached.client.close_after(super::FORCED_CLOSE_DELAY);
        }
        if let Some(room) = &self.room {
            let _ = room.send(plane::Command::CloseRoom).await;
        }
    }
}

fn moment() -> Moment {
    Moment {
        now: clock::now(),
        wall_ms: clock::wall_ms(),
    }
}

async fn next_event(events: &mut Option<mpsc::Receiver<Event>>) -> Option<Event> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

fn log(happening: &Happening) {
    match happening {
        Happening::Joined(connection) => tracing::info!(%connection, "joined"),
        Happening::JoinedUnseen(connection) => {
            tracing::info!(%connection, "joined, hidden from the others");
        }
        Happening::Left(connection, reason) | Happening::LeftUnseen(connection, reason) => {
            tracing::info!(%connection, reason = &**reason, "left")
        }
        Happening::Flooded(connection) => {
            tracing::debug!(%connection, "more waits for it than is kept");
        }
        Happening::Published(stream) => tracing::info!(%stream, "published"),
        Happening::Unpublished(stream, reason) => {
            tracing::info!(%stream, reason = &**reason, "unpublished");
        }
        Happening::Subscribed(connection, stream) => {
            tracing::debug!(%connection, %stream, "subscribed");
        }
        Happening::Unsubscribed(connection, stream, reason) => {
            tracing::debug!(%connection, %stream, reason = &**reason, "unsubscribed");
        }
        Happening::Destroyed(reason) => tracing::info!(reason = &**reason, "destroyed"),
    }
}

/// By code alone: the text may hold a token or a whole session description.
fn log_refusal(outcome: &Result<Reply, Refusal>) {
    if let Err(refusal) = outcome {
        tracing::debug!(code = refusal.code(), "request refused");
    }
}
