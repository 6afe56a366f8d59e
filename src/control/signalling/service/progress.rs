//! The half of a socket that has requests carried out, one after the other.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;

use super::peer::Peer;
use crate::control::access::{Gate, Verdict};
use crate::control::session::{
    Client, Directory, Handle, JoinRoom, Joiner, Refusal, Reply, RequestId,
};
use crate::control::signalling::call::{self, Call, CallError};
use crate::control::signalling::envelope;
use crate::units::{RemoteAddr, Secret, clock};

/// `joinRoom` and `connect` requests that may fail on one socket: clients try once.
const FAILED_ATTEMPTS: u32 = 10;

/// A request that waits for its predecessors.
pub(super) struct Waiting {
    pub(super) id: RequestId,
    pub(super) call: Result<Call, CallError>,
}

/// What a client has come to, and what it asks for.
pub(super) struct Progress {
    directory: Directory,
    gate: Gate,
    peer: Arc<Peer>,
    joiner: Joiner,
    state: RpcState,
    failed_attempts: u32,
}

/// How far an RPC session has come; it joins once.
enum RpcState {
    Fresh,
    /// Whether the session has admitted the socket is not known yet.
    Joining(Handle),
    Refused,
    Joined(Handle),
}

impl Progress {
    /// Of a client that has not joined.
    pub(super) const fn new(
        directory: Directory,
        gate: Gate,
        peer: Arc<Peer>,
        joiner: Joiner,
    ) -> Self {
        Self {
            directory,
            gate,
            peer,
            joiner,
            state: RpcState::Fresh,
            failed_attempts: 0,
        }
    }

    /// The session that must learn of the socket's end, if there is one.
    pub(super) fn into_session(self) -> Option<Handle> {
        match self.state {
            RpcState::Joining(session) | RpcState::Joined(session) => Some(session),
            RpcState::Fresh | RpcState::Refused => None,
        }
    }

    /// Carries out what comes until the reader ends.
    pub(super) async fn run(&mut self, mut waiting: mpsc::Receiver<Waiting>) {
        while let Some(Waiting { id, call }) = waiting.recv().await {
            let refusal = match (&self.state, call) {
                (RpcState::Joined(session), Ok(Call::Member(request))) => {
                    let client = self.peer.clone();
                    session
                        .request(client, self.joiner.socket, id, request)
                        .await;
                    continue;
                }
                (RpcState::Joined(_), Ok(Call::Join(join))) => {
                    Refusal::AlreadyJoined(join.session).into()
                }
                (RpcState::Joined(_), Err(error)) => error,
                (_, Ok(Call::Join(join))) => {
                    self.join(id, join).await;
                    continue;
                }
                (_, Ok(Call::Connect(None))) => {
                    let answer = call::connected(&id, "OK", self.peer.rpc_session().id());
                    self.peer.send(answer);
                    continue;
                }
                (_, Ok(Call::Connect(Some(rpc_session)))) => {
                    self.reconnect(id, rpc_session.expose()).await;
                    continue;
                }
                (_, Ok(Call::Status(session))) => match self.status(&id, session) {
                    Ok(answer) => {
                        self.peer.send(answer);
                        continue;
                    }
                    Err(refusal) => {
                        // Nobody shall find out by trying which sessions there are.
                        self.count_failure();
                        refusal.into()
                    }
                },
                (_, Err(error))
                    if matches!(
                        error.method(),
                        Some("joinRoom" | "connect" | "sessionStatus")
                    ) =>
                {
                    error
                }
                (RpcState::Fresh | RpcState::Joining(_), _) => self.not_joined("connection"),
                (RpcState::Refused, _) => self.not_joined("session information"),
            };
            self.peer.send(refusal.answer(&id));
        }
    }

    async fn join(&mut self, id: RequestId, join: JoinRoom) {
        let joined = match self.directory.find(&join.session) {
            None => {
                // While the process drains it may live on another one: not found would tell the client to give up.
                let refusal = if self.directory.is_refusing() {
                    Refusal::NoMediaNode(join.session)
                } else {
                    Refusal::UnknownSession(join.session)
                };
                self.peer.reply(&id, Err(&refusal));
                None
            }
            Some(session) => {
                // Should the socket end meanwhile, the session must learn of it all the same.
                self.state = RpcState::Joining(session.clone());
                let client = self.peer.clone();
                let joiner = Joiner {
                    knows_secret: self.knows_secret(&join),
                    ..self.joiner.clone()
                };
                let joined = session.join(client, joiner, id, join).await;
                joined.then_some(session)
            }
        };
        if let Some(session) = joined {
            tracing::Span::current().record("session", session.id());
            self.state = RpcState::Joined(session);
            return;
        }
        self.state = RpcState::Refused;
        self.count_failure();
    }

    /// `connect` with the id of an RPC session: this socket takes the place of the one that the client had.
    async fn reconnect(&mut self, id: RequestId, presented: &str) {
        if matches!(self.state, RpcState::Joined(_)) {
            // Whoever is someone here becomes no one else.
            let outcome = if self.peer.rpc_session().is(presented) {
                Ok(&Reply::Reconnected)
            } else {
                Err(&Refusal::Reconnection)
            };
            self.peer.reply(&id, outcome);
            return;
        }
        let Some((session, rpc_session)) = self.directory.rpc_session(presented) else {
            self.peer.reply(&id, Err(&Refusal::Reconnection));
            self.count_failure();
            return;
        };
        // Should the socket end meanwhile, the session must learn of it all the same.
        let before = std::mem::replace(&mut self.state, RpcState::Joining(session.clone()));
        let own = self.peer.adopt(rpc_session.clone());
        let client = self.peer.clone();
        let reconnected = session
            .reconnect(client, self.joiner.socket, id, rpc_session.key())
            .await;
        if reconnected {
            self.peer.came_back();
            tracing::Span::current().record("session", session.id());
            self.state = RpcState::Joined(session);
        } else {
            self.peer.adopt(own);
            self.state = before;
            self.count_failure();
        }
    }

    fn count_failure(&mut self) {
        self.failed_attempts += 1;
        if self.failed_attempts >= FAILED_ATTEMPTS {
            self.peer.close(1008, "Too many failed attempts to join");
        }
    }

    /// Whether the secret is right. An empty one is what every ordinary client sends, and no guess; a wrong one leaves
    /// the decision to the token, and so does one that is not looked at after too many.
    fn knows_secret(&self, join: &JoinRoom) -> bool {
        let guess = join.secret.expose().as_bytes();
        let from = RemoteAddr(self.joiner.address);
        !guess.is_empty() && self.gate.check_secret(clock::now(), from, guess) == Verdict::Granted
    }

    /// The response to `sessionStatus`: every session has one life here, since none outlives its process.
    fn status(&self, id: &RequestId, session: String) -> Result<String, Refusal> {
        match self.directory.find(&session) {
            Some(_) => Ok(envelope::bare_result(id, json!({"life": -1}))),
            None => Err(Refusal::UnknownSession(session)),
        }
    }

    fn not_joined(&self, what: &'static str) -> CallError {
        CallError::NotJoined {
            what,
            rpc_session: Secret::new(self.peer.rpc_session().id()),
        }
    }
}
