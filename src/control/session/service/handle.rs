//! How others reach a session: its mailbox, and what is asked through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::control::session::administration::SignalError;
use crate::control::session::command::{JoinRoom, Joiner, Request, RequestId, Signal};
use crate::control::session::core::TooManyPending;
use crate::control::session::identifiers::SocketId;
use crate::control::session::ports::Client;
use crate::control::session::properties::{ConnectionChange, ConnectionProperties};
use crate::control::session::reconnection::SocketEnd;
use crate::control::session::refusal::Refusal;
use crate::control::session::rpc_session::RpcKey;
use crate::views::control::Session as Summary;
use crate::views::openvidu as view;

/// Messages that may wait for one session; senders wait while it is full, and with them their own sockets.
const MAILBOX: usize = 256;
/// How to reach one session; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) id: Arc<str>,
    mailbox: mpsc::Sender<Message>,
    closing: Arc<AtomicBool>,
    /// Cancelled once the session's task has ended.
    pub(super) ended: CancellationToken,
}

pub(super) enum Message {
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
    Summary {
        answer: oneshot::Sender<Summary>,
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
    /// A way to the session `id`, and the mailbox that its task is to read.
    pub(super) fn new(id: &str) -> (Self, mpsc::Receiver<Message>) {
        let (mailbox, messages) = mpsc::channel(MAILBOX);
        let handle = Self {
            id: id.into(),
            mailbox,
            closing: Arc::default(),
            ended: CancellationToken::new(),
        };
        (handle, messages)
    }

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

    pub(in crate::control::session) async fn view(&self, pending: bool) -> Option<view::Session> {
        self.ask(|answer| Message::View { pending, answer }).await
    }

    pub(in crate::control::session) async fn summary(&self) -> Option<Summary> {
        self.ask(|answer| Message::Summary { answer }).await
    }

    pub(in crate::control::session) async fn create_connection(
        &self,
        properties: ConnectionProperties,
    ) -> Option<Result<view::Connection, TooManyPending>> {
        let properties = Box::new(properties);
        self.ask(|answer| Message::CreateConnection { properties, answer })
            .await
    }

    pub(in crate::control::session) async fn connection(
        &self,
        connection: String,
    ) -> Option<Option<view::Connection>> {
        self.ask(|answer| Message::Connection { connection, answer })
            .await
    }

    pub(in crate::control::session) async fn delete_connection(
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

    pub(in crate::control::session) async fn update_connection(
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

    pub(in crate::control::session) async fn announce(
        &self,
        signal: Signal,
    ) -> Option<Result<(), SignalError>> {
        self.ask(|answer| Message::Announce { signal, answer })
            .await
    }

    pub(in crate::control::session) async fn unpublish_stream(
        &self,
        stream: String,
        reason: String,
    ) -> Option<bool> {
        self.ask(|answer| Message::UnpublishStream {
            stream,
            reason,
            answer,
        })
        .await
    }

    /// Closes the session and waits until everyone has been told; false if somebody else closes it already.
    pub(in crate::control::session) async fn close(&self, reason: String) -> bool {
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
pub(super) fn refuse(session: &str, message: Message) {
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
        | Message::Summary { .. }
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
