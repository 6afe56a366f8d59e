//! The task that owns one [`Session`].

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tracing::{Instrument, Span};

#[cfg(any(test, feature = "testing"))]
use super::handle::Fault;
use super::handle::{Message, refuse};
use super::registry::{Findable, Registry};
use crate::control::session::core::{Home, Moment, Session};
use crate::control::session::effect::{Effect, Happening};
use crate::control::session::identifiers::{ConnectionId, SocketId};
use crate::control::session::metrics::Share;
use crate::control::session::notification::Notification;
use crate::control::session::ports::Client;
use crate::control::session::refusal::Refusal;
use crate::control::session::reply::Reply;
use crate::control::session::rpc_session::{RpcKey, RpcSession};
use crate::control::session::{FORCED_CLOSE_DELAY, reason};
use crate::media::plane::{self, Event, EventKind, Room};
use crate::units::clock;

/// Owns a session: takes what comes to it, and carries out what it decides.
pub(super) struct Actor {
    id: Arc<str>,
    serial: u64,
    core: Session,
    room: Option<Room>,
    events: Option<mpsc::Receiver<Event>>,
    clients: BTreeMap<SocketId, Attached>,
    findable: BTreeMap<RpcKey, Findable>,
    registry: Arc<Registry>,
    /// What it has of the numbers of all sessions.
    share: Share,
    /// What tells the session in the log.
    span: Span,
    /// As the registry knows it.
    is_occupied: bool,
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.registry.tally().end(&self.share);
    }
}

/// A participant's socket. Kept here so that it can be told even if the core has failed.
struct Attached {
    connection: ConnectionId,
    client: Arc<dyn Client>,
}

/// Who is answered while its request is carried out, member or not.
type Asking = Option<Arc<dyn Client>>;

impl Actor {
    /// An actor that does nothing before [`Actor::live`].
    pub(super) fn new(id: Arc<str>, serial: u64, core: Session, registry: Arc<Registry>) -> Self {
        Self {
            id,
            serial,
            core,
            room: None,
            events: None,
            clients: BTreeMap::new(),
            findable: BTreeMap::new(),
            registry,
            share: Share::default(),
            span: Span::none(),
            is_occupied: false,
        }
    }

    /// Lives until the session has ended, and answers who comes too late.
    pub(super) async fn live(
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
        let stop = self.registry.stop().clone();
        self.span = Span::current();
        tracing::info!("created");
        while !self.core.has_ended() {
            let due = self.core.poll_timeout();
            tokio::select! {
                message = mailbox.recv() => match message {
                    Some(message) => {
                        let span = self.span_of(&message);
                        self.handle(message).instrument(span).await;
                    }
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

    /// What tells the connection in the log that a message is about.
    fn span_of(&self, message: &Message) -> Span {
        let (Message::Request { socket, .. } | Message::SocketClosed { socket, .. }) = message
        else {
            return Span::none();
        };
        match self.clients.get(socket) {
            Some(attached) => tracing::error_span!("connection", id = %attached.connection),
            None => Span::none(),
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
            Message::Summary { answer } => {
                let _ = answer.send(self.core.summary());
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
        // It is the session's, whoever's request needs it.
        let opening = self.registry.plane().open_room();
        match opening.instrument(self.span.clone()).await {
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
        let session = self.id.clone();
        let findable = self
            .registry
            .make_findable(rpc_session, session, self.serial);
        self.findable.insert(findable.key, findable);
    }

    async fn carry_out(&mut self, asking: Asking) {
        if self.core.has_ended() {
            // Whoever is told of the end finds the session gone.
            self.registry.remove(&self.id, self.serial);
        } else if self.core.is_occupied() != self.is_occupied {
            self.is_occupied = !self.is_occupied;
            self.registry
                .set_occupied(&self.id, self.serial, self.is_occupied);
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
                        self.registry.count_flooded();
                    }
                    self.count(&happening);
                    log(&happening);
                }
                Effect::Ended => tracing::debug!("ended"),
            }
        }
    }

    fn count(&mut self, happening: &Happening) {
        let (tally, share) = (self.registry.tally(), &mut self.share);
        let (passage, held, comes) = match happening {
            Happening::Joined(_) | Happening::JoinedUnseen(_) => {
                (&tally.participants, &mut share.participants, true)
            }
            Happening::Left(..) | Happening::LeftUnseen(..) => {
                (&tally.participants, &mut share.participants, false)
            }
            Happening::Published(_) => (&tally.streams, &mut share.streams, true),
            Happening::Unpublished(..) => (&tally.streams, &mut share.streams, false),
            Happening::Subscribed(..) => (&tally.subscriptions, &mut share.subscriptions, true),
            Happening::Unsubscribed(..) => (&tally.subscriptions, &mut share.subscriptions, false),
            Happening::Flooded(_) | Happening::Destroyed(_) => return,
        };
        if comes {
            passage.come();
            *held += 1;
        } else if let Some(left) = held.checked_sub(1) {
            passage.go(1);
            *held = left;
        }
    }

    /// The core has panicked: its session ends, and it alone (`robustness` R18).
    async fn mourn(&mut self) {
        self.registry.count_panic();
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
            attached.client.close_after(FORCED_CLOSE_DELAY);
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
