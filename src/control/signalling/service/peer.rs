//! One client, as sessions and its own tasks see it: what is to be written to it, and how.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use futures_util::stream::SplitSink;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{Socket, lock};
use crate::control::session::{
    Client, Notification, Refusal, Reply, RequestId, RpcSession, Unheard,
};
use crate::control::signalling::call::{self, CallError};
use crate::control::signalling::notification;
use crate::control::signalling::outbox::{End, Frame, Outbox, Outgoing};
use crate::units::clock;

/// What is taken for the interval of the page's pings before the first one.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// A client; whoever has something for it writes into its outbox.
pub(super) struct Peer {
    rpc_session: Mutex<Arc<RpcSession>>,
    outbox: Mutex<Outbox>,
    /// When the socket is closed unless the client does so first.
    pub(super) close_at: Mutex<Option<Instant>>,
    /// When a page that has come back must have pinged.
    pub(super) ping_by: Mutex<Option<Instant>>,
    /// Something is to be written.
    to_write: Notify,
    /// The reader has something to look at: the socket is to end, now or at `close_at`, or the client has come back.
    pub(super) to_look: Notify,
}

impl Client for Peer {
    fn reply(&self, id: &RequestId, outcome: Result<&Reply, &Refusal>) {
        self.send(match outcome {
            Ok(reply) => call::answer(id, reply, self.rpc_session().id()),
            Err(refusal) => CallError::Refused(refusal.clone()).answer(id),
        });
    }

    fn notify(&self, notification: Arc<Notification>) {
        let text = notification::frame(&notification);
        self.push(Outgoing::Notification(notification, text));
    }

    fn take_back(&self) -> Unheard {
        let patience = self.patience();
        let unheard = lock(&self.outbox).take_back(clock::now(), patience);
        self.to_write.notify_one();
        unheard
    }

    fn close_after(&self, delay: Duration) {
        *lock(&self.close_at) = clock::now().checked_add(delay);
        self.to_look.notify_one();
    }
}

impl Peer {
    pub(super) fn new(rpc_session: Arc<RpcSession>) -> Self {
        Self {
            rpc_session: Mutex::new(rpc_session),
            outbox: Mutex::default(),
            close_at: Mutex::default(),
            ping_by: Mutex::default(),
            to_write: Notify::new(),
            to_look: Notify::new(),
        }
    }

    pub(super) fn rpc_session(&self) -> Arc<RpcSession> {
        lock(&self.rpc_session).clone()
    }

    /// This socket carries on another RPC session, or its own again; returns the one that it had.
    pub(super) fn adopt(&self, rpc_session: Arc<RpcSession>) -> Arc<RpcSession> {
        let own = std::mem::replace(&mut *lock(&self.rpc_session), rpc_session);
        self.to_look.notify_one();
        own
    }

    /// The client has come back on this socket. Pages ping as soon as they read that. One that does not has given up its
    /// request before the answer came, as it does when its former socket fails meanwhile, and would believe itself away
    /// for ever; once this socket closes, it comes back again.
    pub(super) fn came_back(&self) {
        if self.rpc_session().ping_interval().is_some() {
            *lock(&self.ping_by) = clock::now().checked_add(self.patience());
            self.to_look.notify_one();
        }
    }

    /// How long a page may be silent that is not standing still.
    fn patience(&self) -> Duration {
        self.rpc_session().ping_interval().unwrap_or(PING_INTERVAL) * 3 / 2
    }

    pub(super) fn send(&self, text: String) {
        self.push(Outgoing::Text(text));
    }

    pub(super) fn push(&self, frame: Outgoing) {
        let overflow = {
            let mut outbox = lock(&self.outbox);
            outbox.push(frame);
            outbox.end() == Some(End::Overflow)
        };
        self.to_write.notify_one();
        if overflow {
            self.to_look.notify_one();
        }
    }

    /// The client has answered a probe of ours.
    pub(super) fn heard(&self, probe: &[u8]) {
        if let Ok(number) = probe.try_into()
            && lock(&self.outbox).heard(u64::from_be_bytes(number))
        {
            self.to_write.notify_one();
        }
    }

    /// Something has come from the client; `is_page`: a request, and thus from its page.
    pub(super) fn spoke(&self, now: Instant, is_page: bool) {
        let mut outbox = lock(&self.outbox);
        if is_page {
            outbox.page_spoke(now);
        } else {
            outbox.browser_spoke(now);
        }
    }

    /// The connection has broken.
    pub(super) fn broke(&self) {
        lock(&self.outbox).broke();
    }

    pub(super) fn close(&self, code: u16, reason: &'static str) {
        lock(&self.outbox).close(code, reason);
        self.to_write.notify_one();
    }

    pub(super) fn end(&self) -> Option<End> {
        lock(&self.outbox).end()
    }

    /// Writes what waits until the end is written or writing fails.
    pub(super) async fn write(
        &self,
        mut sink: SplitSink<Socket, Message>,
    ) -> SplitSink<Socket, Message> {
        loop {
            let next = lock(&self.outbox).pop();
            let written = match next {
                Some(Frame::Text(text)) => sink.feed(Message::text(text)).await,
                Some(Frame::Probe(number)) => {
                    let number = bytes::Bytes::copy_from_slice(&number.to_be_bytes());
                    sink.feed(Message::Ping(number)).await
                }
                None => match self.end() {
                    Some(End::Close(code, reason)) => {
                        return bid_farewell(sink, code, reason).await;
                    }
                    Some(End::TakenBack) => return bid_farewell(sink, 1000, "").await,
                    Some(End::Overflow) => return sink,
                    None => match sink.flush().await {
                        Ok(()) => {
                            self.to_write.notified().await;
                            Ok(())
                        }
                        Err(error) => Err(error),
                    },
                },
            };
            if let Err(error) = written {
                tracing::debug!(%error, "writing ended");
                return sink;
            }
        }
    }
}

/// Closes with `code`.
async fn bid_farewell(
    mut sink: SplitSink<Socket, Message>,
    code: u16,
    reason: &'static str,
) -> SplitSink<Socket, Message> {
    let frame = CloseFrame {
        code: code.into(),
        reason: reason.into(),
    };
    let _ = sink.send(Message::Close(Some(frame))).await;
    sink
}
