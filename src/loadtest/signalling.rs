//! One participant's signalling: JSON-RPC over a WebSocket as openvidu-browser speaks it, as far as a load needs it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::description;
use super::engine::{Command, PeerId};
use super::server::{PATIENCE, Server, ServerError, Stream};

/// How often openvidu-browser pings.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Requests that may wait.
const QUEUE: usize = 16;

/// How openvidu-browser closes its socket.
const CLOSED_BY_CLIENT: u16 = 4102;

/// Candidates that may come before their association does.
const MAX_EARLY: usize = 64;

/// Why a participant cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SignallingError {
    /// There is no WebSocket.
    #[error("the WebSocket: {0}")]
    Socket(String),
    /// The server says no.
    #[error("{method} was refused with {code}: {message}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// The JSON-RPC code.
        code: i64,
        /// The server's words.
        message: String,
    },
    /// Nothing was said in time.
    #[error("{0} was not answered in time")]
    Unanswered(&'static str),
    /// The answer cannot be used.
    #[error("the answer to {method} has no usable {what}")]
    Unusable {
        /// What was asked.
        method: &'static str,
        /// What is wrong with the answer.
        what: &'static str,
    },
}

type Answer = Result<Value, (i64, String)>;

/// What the task is told.
enum Order {
    Ask {
        method: &'static str,
        params: Value,
        answer: oneshot::Sender<Answer>,
    },
    /// Candidates that name this connection are for that association.
    Route(String, PeerId),
}

/// A participant's line to the server. Dropping it hangs up without a word.
#[derive(Debug)]
pub(super) struct Line {
    orders: mpsc::Sender<Order>,
    _task: JoinSet<()>,
}

impl Line {
    /// Opens the WebSocket; candidates that arrive go to `engine`.
    pub(super) async fn open(
        server: &Server,
        session: &str,
        engine: mpsc::Sender<Command>,
    ) -> Result<Self, SignallingError> {
        let opening = async {
            let stream = server
                .connect()
                .await
                .map_err(|error: ServerError| SignallingError::Socket(error.to_string()))?;
            let mut config = WebSocketConfig::default();
            // 128 KiB for each of hundreds are too much.
            config.read_buffer_size = 8 * 1_024;
            let url = server.signalling_url(session);
            tokio_tungstenite::client_async_with_config(url, stream, Some(config))
                .await
                .map_err(|error| SignallingError::Socket(error.to_string()))
        };
        let (socket, _) = tokio::time::timeout(PATIENCE, opening)
            .await
            .map_err(|_| SignallingError::Unanswered("the WebSocket"))??;
        let (orders, mailbox) = mpsc::channel(QUEUE);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut running = Running {
                socket,
                engine,
                pending: HashMap::new(),
                routes: HashMap::new(),
                early: Vec::new(),
                next_id: 0,
            };
            // Whoever waits for an answer learns of the end by its absence.
            let _ = running.run(mailbox).await;
        });
        Ok(Self {
            orders,
            _task: task,
        })
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<Value, SignallingError> {
        let (answer, answered) = oneshot::channel();
        let gone = || SignallingError::Socket("closed by the server".to_owned());
        let order = Order::Ask {
            method,
            params,
            answer,
        };
        self.orders.send(order).await.map_err(|_| gone())?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(Ok(Err((code, message)))) => Err(SignallingError::Refused {
                method,
                code,
                message,
            }),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(SignallingError::Unanswered(method)),
        }
    }

    /// From here on candidates for streams of `connection` belong to `peer`.
    pub(super) async fn route(&self, connection: &str, peer: PeerId) {
        // A line that is closed brings no candidates.
        let _ = self
            .orders
            .send(Order::Route(connection.to_owned(), peer))
            .await;
    }

    /// Leaves the session and closes the socket, as openvidu-browser does.
    pub(super) async fn leave(self) {
        // Whatever the server says to that, the socket is closed now.
        let _ = self.ask("leaveRoom", json!({})).await;
        let Self { orders, mut _task } = self;
        drop(orders);
        let _ = tokio::time::timeout(Duration::from_secs(2), _task.join_next()).await;
    }
}

struct Running {
    socket: WebSocketStream<Box<dyn Stream>>,
    engine: mpsc::Sender<Command>,
    pending: HashMap<u64, oneshot::Sender<Answer>>,
    routes: HashMap<String, PeerId>,
    /// Candidates whose association is not open yet, by the connection that they name.
    early: Vec<(String, SocketAddr)>,
    next_id: u64,
}

impl Running {
    async fn run(&mut self, mut mailbox: mpsc::Receiver<Order>) -> tungstenite::Result<()> {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        let mut interval = Some(PING_INTERVAL);
        loop {
            tokio::select! {
                message = self.socket.next() => match message.transpose()? {
                    Some(Message::Text(text)) => self.handle(&text).await,
                    Some(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                    Some(Message::Close(_)) | None => return Ok(()),
                },
                order = mailbox.recv() => match order {
                    Some(Order::Ask { method, params, answer }) => {
                        self.pending.insert(self.next_id, answer);
                        self.send(method, params).await?;
                    }
                    Some(Order::Route(connection, peer)) => self.route(connection, peer).await,
                    None => {
                        let frame = CloseFrame {
                            code: CLOSED_BY_CLIENT.into(),
                            reason: "Connection closed by client".into(),
                        };
                        return self.socket.close(Some(frame)).await;
                    }
                },
                _ = ping.tick() => {
                    // The first one tells how often they will come.
                    let params = interval.take().map(|it| json!({"interval": it.as_millis() as u64}));
                    self.send("ping", params.unwrap_or(Value::Null)).await?;
                }
            }
        }
    }

    async fn send(&mut self, method: &str, params: Value) -> tungstenite::Result<()> {
        let mut request = json!({"jsonrpc": "2.0", "method": method, "id": self.next_id});
        if !params.is_null() {
            request["params"] = params;
        }
        self.next_id += 1;
        self.socket.send(Message::text(request.to_string())).await
    }

    async fn handle(&mut self, text: &str) {
        let Ok(mut frame) = serde_json::from_str::<Value>(text) else {
            return;
        };
        if frame["method"] == "iceCandidate" {
            let params = &frame["params"];
            let connection = params["senderConnectionId"].as_str();
            let addr = params["candidate"]
                .as_str()
                .and_then(|it| description::candidate(it.strip_prefix("candidate:")?));
            if let (Some(connection), Some(addr)) = (connection, addr) {
                self.candidate(connection.to_owned(), addr).await;
            }
            return;
        }
        let Some(waiting) = frame["id"].as_u64().and_then(|id| self.pending.remove(&id)) else {
            return;
        };
        let answer = match frame.get_mut("error") {
            Some(error) => Err((
                error["code"].as_i64().unwrap_or_default(),
                error["message"].as_str().unwrap_or_default().to_owned(),
            )),
            None => Ok(frame["result"].take()),
        };
        // Whoever asked may have lost patience.
        let _ = waiting.send(answer);
    }

    async fn candidate(&mut self, connection: String, addr: SocketAddr) {
        match self.routes.get(&connection) {
            Some(peer) => {
                // An engine that has ended needs no candidates.
                let _ = self.engine.send(Command::Candidate(*peer, addr)).await;
            }
            None if self.early.len() < MAX_EARLY => self.early.push((connection, addr)),
            None => {}
        }
    }

    async fn route(&mut self, connection: String, peer: PeerId) {
        self.routes.insert(connection.clone(), peer);
        let early = std::mem::take(&mut self.early);
        for (named, addr) in early {
            if named == connection {
                self.candidate(named, addr).await;
            } else {
                self.early.push((named, addr));
            }
        }
    }
}
