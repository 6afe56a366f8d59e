//! The half of a socket that reads: pings are answered at once, everything else is queued.

use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::peer::Peer;
use super::progress::Waiting;
use super::{Socket, lock};
use crate::control::session::SocketEnd;
use crate::control::signalling::budget::Budget;
use crate::control::signalling::call;
use crate::control::signalling::envelope::{self, Envelope};
use crate::control::signalling::keep_alive::{Due, KeepAlive};
use crate::control::signalling::outbox::{End, Outgoing};
use crate::units::clock;

/// The close code of clients that will not come back, and that of those whose reconnection was refused.
const GRACEFUL: [u16; 2] = [4102, 4101];

/// The half that reads: answers pings at once and queues everything else.
pub(super) struct Reader {
    pub(super) peer: Arc<Peer>,
    keep_alive: KeepAlive,
    budget: Budget,
    /// How the socket ended, as far as is known.
    pub(super) end: SocketEnd,
}

impl Reader {
    /// For a socket that has just opened.
    pub(super) fn new(now: Instant, peer: Arc<Peer>) -> Self {
        Self {
            peer,
            keep_alive: KeepAlive::new(now),
            budget: Budget::new(now),
            end: SocketEnd::Lost,
        }
    }

    /// Reads until the socket ends, by whomever.
    pub(super) async fn run(
        &mut self,
        mut stream: SplitStream<Socket>,
        requests: mpsc::Sender<Waiting>,
        stop: CancellationToken,
    ) -> SplitStream<Socket> {
        let mut permit = None;
        loop {
            let closing = earlier(*lock(&self.peer.close_at), *lock(&self.peer.ping_by));
            if let Some(interval) = self.peer.rpc_session().ping_interval() {
                self.keep_alive.carry_over(interval);
            }
            let due = self.keep_alive.poll_timeout();
            let due = closing.map_or(due, |closing| closing.min(due));
            tokio::select! {
                free = requests.reserve(), if permit.is_none() => match free {
                    Ok(free) => permit = Some(free),
                    Err(_) => return stream,
                },
                message = stream.next(), if permit.is_some() => {
                    let waiting = match message {
                        Some(Ok(message)) => self.read(message),
                        Some(Err(error)) => {
                            self.fail(&error);
                            return stream;
                        }
                        None => return stream,
                    };
                    if let (Some(waiting), Some(permit)) = (waiting, permit.take()) {
                        permit.send(waiting);
                    }
                }
                () = self.peer.to_look.notified() => {
                    if self.peer.end() == Some(End::Overflow) {
                        tracing::debug!("the client reads too slowly");
                        return stream;
                    }
                }
                () = tokio::time::sleep_until(due.into()) => {
                    if !self.time_out(closing) {
                        return stream;
                    }
                }
                () = stop.cancelled() => {
                    self.peer.close(1001, "");
                    return stream;
                }
            }
        }
    }

    /// Takes one message; a request that is to be queued comes back.
    fn read(&mut self, message: Message) -> Option<Waiting> {
        let now = clock::now();
        self.keep_alive.heard(now);
        self.peer.spoke(now, matches!(message, Message::Text(_)));
        match message {
            // After our close frame nothing counts but the client's.
            Message::Text(_) if self.peer.end().is_some() => None,
            Message::Text(_) if !self.budget.spend(now) => {
                self.peer.close(1008, "Too many messages");
                None
            }
            Message::Text(text) => self.request(&text),
            Message::Binary(_) => {
                self.peer.close(1003, "Binary messages are not supported");
                None
            }
            Message::Close(frame) => {
                if frame.is_some_and(|frame| GRACEFUL.contains(&frame.code.into())) {
                    self.end = SocketEnd::ByClient;
                }
                None
            }
            Message::Pong(probe) => {
                self.peer.heard(&probe);
                None
            }
            Message::Ping(_) | Message::Frame(_) => None,
        }
    }

    /// `ping` bypasses the queue, so that a slow request never delays a pong.
    fn request(&mut self, text: &str) -> Option<Waiting> {
        let envelope = match Envelope::parse(text) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.peer.send(error.answer());
                return None;
            }
        };
        let Envelope { id, method, params } = envelope;
        match method.as_str() {
            "ping" => {
                *lock(&self.peer.ping_by) = None;
                let interval = params.get("interval").and_then(Value::as_i64);
                let interval = self.keep_alive.pinged(interval);
                self.peer.rpc_session().set_ping_interval(interval);
                self.peer.send(envelope::pong(&id));
                None
            }
            #[cfg(any(test, feature = "testing"))]
            "panic" => panic!("injected"),
            // Of the RPC layer itself; nothing ever waits to be polled.
            "poll" => {
                self.peer.send(envelope::bare_result(&id, json!([])));
                None
            }
            "closeSession" => {
                self.end = SocketEnd::ByClient;
                self.peer.send(envelope::bare_result(&id, json!("bye")));
                self.peer.close(1000, "");
                None
            }
            method => {
                self.keep_alive.asked();
                let call = call::decode(method, params);
                Some(Waiting { id, call })
            }
        }
    }

    /// Returns whether the socket lives on.
    fn time_out(&mut self, closing: Option<Instant>) -> bool {
        let now = clock::now();
        if closing.is_some_and(|at| at <= now) {
            *lock(&self.peer.close_at) = None;
            *lock(&self.peer.ping_by) = None;
            self.peer.close(1000, "");
            return false;
        }
        match self.keep_alive.handle_timeout(now) {
            None => true,
            Some(Due::Probe) => {
                self.peer.push(Outgoing::Probe);
                true
            }
            Some(Due::Silence) => {
                self.end = SocketEnd::Silent;
                let reason = "Close for not receive ping from client";
                self.peer.close(1000, reason);
                false
            }
        }
    }

    /// Tells the client what was wrong with its frames (RFC 6455 section 7.4.1).
    fn fail(&mut self, error: &Error) {
        tracing::debug!(%error, "reading ended");
        self.peer.broke();
        let code = match error {
            Error::Capacity(_) => 1009,
            Error::Utf8(_) => 1007,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return,
            Error::Protocol(_) | Error::AttackAttempt => 1002,
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Io(_)
            | Error::Tls(_)
            | Error::WriteBufferFull(_)
            | Error::Url(_)
            | Error::Http(_)
            | Error::HttpFormat(_) => return,
        };
        self.peer.close(code, "");
    }
}

/// The first of two moments that may come.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::session::{Client, RpcSession};
    use crate::testing::t0;
    use crate::units::Random;

    #[test]
    fn a_client_that_has_left_is_closed_when_its_time_is_over_and_not_before() {
        let peer = Arc::new(Peer::new(Arc::new(RpcSession::new(&mut Random::system()))));
        let mut reader = Reader::new(clock::now(), peer.clone());
        peer.close_after(Duration::from_secs(10));
        let at = lock(&peer.close_at).unwrap();
        assert!(at > clock::now() + Duration::from_secs(9));
        assert!(reader.time_out(Some(at)));
        assert_eq!(peer.end(), None);
        assert!(!reader.time_out(Some(t0())));
        assert_eq!(peer.end(), Some(End::Close(1000, "")));
    }
}
