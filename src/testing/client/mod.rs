//! A simulated browser: an OpenVidu client that signals over a real WebSocket and sends and receives synthetic media
//! over real UDP or TCP. Tests drive a daemon with it, in-process or not.
//!
//! [`description`] writes offers as Chrome does, [`peer_connection`] is one association, [`media`] what flows in it;
//! here is the signalling (`openvidu-signalling`).

mod media;
mod peer_connection;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
pub use tokio_tungstenite::tungstenite::{self, Message};

pub use crate::loadtest::description::{self, Remote};
pub use media::TrackReport;
pub use peer_connection::{LOOPBACK, Negotiation, PeerConnection, Report, State};

/// How long anything may take that a test waits for: much longer than it ever should, so that a busy machine fails
/// no test.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Frames and notifications that may wait.
const QUEUE: usize = 1_024;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It did not happen in time.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// The server has answered with an error.
    #[error("refused with {code}: {message}")]
    Refused {
        /// The JSON-RPC code.
        code: i64,
        /// The text.
        message: String,
    },
    /// The WebSocket has ended.
    #[error("the socket is closed")]
    Closed,
    /// The server's words make no sense, or ours.
    #[error("unusable: {0}")]
    Unusable(String),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// The code of a refusal.
    pub const fn code(&self) -> Option<i64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::TimedOut(_) | Self::Closed | Self::Unusable(_) | Self::Io(_) => None,
        }
    }
}

/// What a server says without being asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// For example `participantJoined`.
    pub method: String,
    /// Its parameters.
    pub params: Value,
}

type Answer = Result<Value, Error>;
type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// One client with one WebSocket; ends without a word when dropped.
#[derive(Debug)]
pub struct Client {
    outgoing: mpsc::Sender<Message>,
    pending: Pending,
    notifications: mpsc::Receiver<Notification>,
    /// Notifications that were passed over while another one was waited for.
    passed_over: VecDeque<Notification>,
    closed: oneshot::Receiver<Option<u16>>,
    next_id: u64,
    /// UDP is blocked where this client is: media goes over TCP.
    pub over_tcp: bool,
    /// The connection's id, once joined.
    pub connection: String,
    /// What brings the participant back, once joined.
    pub rpc_session: String,
    server: SocketAddr,
    /// A second hold of the TCP socket.
    wire: Option<std::net::TcpStream>,
    tasks: JoinSet<()>,
}

impl Client {
    /// Opens the WebSocket on a listener without TLS.
    ///
    /// # Errors
    /// The server does not accept it.
    pub async fn open(server: SocketAddr) -> Result<Self, Error> {
        let unusable = |error: tungstenite::Error| Error::Unusable(error.to_string());
        let opening = async {
            let stream = TcpStream::connect(server).await?.into_std()?;
            let wire = stream.try_clone()?;
            let stream = TcpStream::from_std(stream)?;
            stream.set_nodelay(true)?;
            let url = format!("ws://{server}/openvidu");
            let (socket, _) = tokio_tungstenite::client_async(url, stream)
                .await
                .map_err(unusable)?;
            Ok::<_, Error>((socket, wire))
        };
        let (socket, wire) = tokio::time::timeout(PATIENCE, opening)
            .await
            .map_err(|_| Error::TimedOut("the WebSocket opens".to_owned()))??;
        let (mut sink, stream) = socket.split();
        let (outgoing, mut to_send) = mpsc::channel::<Message>(QUEUE);
        let (told, notifications) = mpsc::channel(QUEUE);
        let (close, closed) = oneshot::channel();
        let pending = Pending::default();
        let mut tasks = JoinSet::new();
        let answers = pending.clone();
        tasks.spawn(async move {
            let writing = async {
                while let Some(message) = to_send.recv().await {
                    if sink.send(message).await.is_err() {
                        // Reading tells why.
                        std::future::pending::<()>().await;
                    }
                }
            };
            let code = tokio::select! {
                code = read(stream, &answers, told) => code,
                () = writing => None,
            };
            lock(&answers).clear();
            let _ = close.send(code);
        });
        Ok(Self {
            outgoing,
            pending,
            notifications,
            passed_over: VecDeque::new(),
            closed,
            next_id: 0,
            over_tcp: false,
            connection: String::new(),
            rpc_session: String::new(),
            server,
            wire: Some(wire),
            tasks,
        })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn request(&mut self, method: &str, params: Value) -> Answer {
        let id = self.next_id;
        self.next_id += 1;
        let (answer, answered) = oneshot::channel();
        lock(&self.pending).insert(id, answer);
        let request = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id});
        self.send(Message::text(request.to_string())).await?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::TimedOut(format!("{method} is answered"))),
        }
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The socket is closed.
    pub async fn send(&self, message: Message) -> Result<(), Error> {
        let sent = tokio::time::timeout(PATIENCE, self.outgoing.send(message)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::TimedOut("the server reads".to_owned())),
        }
    }

    /// Joins with a token as REST returns it, a URL.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn join(&mut self, token: &str) -> Answer {
        let session = token
            .split_once("sessionId=")
            .and_then(|(_, rest)| rest.split('&').next())
            .unwrap_or_default();
        let params = json!({"token": token, "session": session, "platform": "Chrome 140.0 on Linux", "metadata": "{}",
            "secret": "", "recorder": false, "dashboard": false});
        let joined = self.request("joinRoom", params).await?;
        self.connection = text(&joined, "id")?;
        self.rpc_session = text(&joined, "sessionId")?;
        Ok(joined)
    }

    /// Publishes audio and video; returns the stream's id too.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn publish(&mut self) -> Result<(String, PeerConnection), Error> {
        let negotiation = self.negotiate().await?;
        let published = self
            .request(
                "publishVideo",
                publish_params(&negotiation.publisher_offer()),
            )
            .await?;
        let remote = remote(&published, "sdpAnswer")?;
        let peer_connection = self.connect(negotiation, &remote, true).await?;
        Ok((text(&published, "id")?, peer_connection))
    }

    /// The same, and gets its own media back on the same association.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn publish_with_loopback(&mut self) -> Result<(String, PeerConnection), Error> {
        let negotiation = self.negotiate().await?;
        let offer = negotiation.publisher_offer();
        let mut params = publish_params(&offer.replace("a=sendonly", "a=sendrecv"));
        params["doLoopback"] = true.into();
        let published = self.request("publishVideo", params).await?;
        let remote = remote(&published, "sdpAnswer")?;
        let peer_connection = negotiation.connect(&remote, true, None)?;
        Ok((text(&published, "id")?, peer_connection))
    }

    /// Subscribes to `stream` by an offer of ours.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn subscribe(&mut self, stream: &str) -> Result<PeerConnection, Error> {
        let negotiation = self.negotiate().await?;
        let params = json!({"sender": stream, "sdpOffer": negotiation.subscriber_offer()});
        let answered = self.request("receiveVideoFrom", params).await?;
        self.connect(negotiation, &remote(&answered, "sdpAnswer")?, false)
            .await
    }

    /// Subscribes to `stream` by an offer of the server's.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn subscribe_as_offered(&mut self, stream: &str) -> Result<PeerConnection, Error> {
        let params = json!({"sender": stream, "reconnect": false});
        let offered = self.request("prepareReceiveVideoFrom", params).await?;
        let remote = remote(&offered, "sdpOffer")?;
        if remote.setup != "actpass" {
            return Err(Error::Unusable(format!(
                "an offer with setup:{}",
                remote.setup
            )));
        }
        let negotiation = self.negotiate().await?;
        let params = json!({"sender": stream, "sdpAnswer": negotiation.subscriber_answer(&remote)});
        self.request("receiveVideoFrom", params).await?;
        self.connect(negotiation, &remote, false).await
    }

    async fn connect(
        &self,
        negotiation: Negotiation,
        remote: &Remote,
        publishes: bool,
    ) -> Result<PeerConnection, Error> {
        if self.over_tcp {
            negotiation.connect_tcp(remote, publishes).await
        } else {
            negotiation.connect(remote, publishes, None)
        }
    }

    /// A new association from an address from which the server can be reached.
    ///
    /// # Errors
    /// The system is out of something.
    pub async fn negotiate(&self) -> Result<Negotiation, Error> {
        let ip = if self.server.ip().is_loopback() {
            LOOPBACK
        } else {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        };
        Negotiation::new(ip).await
    }

    /// The same participant on another socket, to `server`, which answers `connect`. The old socket stays as it is, and
    /// what it has been told stays with it.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn reconnect(&self, server: SocketAddr) -> Result<Self, Error> {
        let mut again = Self::open(server).await?;
        again.next_id = self.next_id;
        again.connection.clone_from(&self.connection);
        again.rpc_session.clone_from(&self.rpc_session);
        let params = json!({"sessionId": self.rpc_session, "reconnect": true});
        let answer = again.request("connect", params).await?;
        let expected = json!({"value": "reconnection successful", "sessionId": self.rpc_session});
        if answer != expected {
            return Err(Error::Unusable(answer.to_string()));
        }
        Ok(again)
    }

    /// Resets the TCP connection, so that neither end says goodbye.
    ///
    /// # Errors
    /// The system refuses.
    pub fn reset(&mut self) -> Result<(), Error> {
        if let Some(wire) = self.wire.take() {
            socket2::SockRef::from(&wire).set_linger(Some(Duration::ZERO))?;
        }
        self.tasks.abort_all();
        Ok(())
    }

    /// The notifications that came so far and were not waited for, in order.
    pub fn heard(&mut self) -> Vec<Notification> {
        while let Ok(told) = self.notifications.try_recv() {
            self.passed_over.push_back(told);
        }
        self.passed_over.drain(..).collect()
    }

    /// Leaves, and closes the socket as openvidu-browser does.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn leave(mut self) -> Result<(), Error> {
        self.request("leaveRoom", json!({})).await?;
        self.close(4102).await;
        Ok(())
    }

    /// Closes the socket with `code` and waits for the server to do so too; returns its code.
    pub async fn close(self, code: u16) -> Option<u16> {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.send(Message::Close(Some(frame))).await.ok()?;
        self.closed().await.ok()?
    }

    /// Waits until the server closes the socket; returns its code, if it named one.
    ///
    /// # Errors
    /// It does not.
    pub async fn closed(self) -> Result<Option<u16>, Error> {
        match tokio::time::timeout(PATIENCE, self.closed).await {
            Ok(Ok(code)) => Ok(code),
            Ok(Err(_)) => Ok(None),
            Err(_) => Err(Error::TimedOut("the socket closes".to_owned())),
        }
    }

    /// Waits for a notification `method` whose parameters satisfy `condition`; others are kept for later calls.
    ///
    /// # Errors
    /// It does not come in time.
    pub async fn notification(
        &mut self,
        method: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Answer {
        let fits = |told: &Notification| told.method == method && condition(&told.params);
        if let Some(at) = self.passed_over.iter().position(&fits) {
            let told = self.passed_over.remove(at);
            return told.map(|told| told.params).ok_or(Error::Closed);
        }
        let waiting = async {
            while let Some(told) = self.notifications.recv().await {
                if fits(&told) {
                    return Ok(told.params);
                }
                self.passed_over.push_back(told);
            }
            Err(Error::Closed)
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::TimedOut(format!(
                "{method} comes; so far came {:?}",
                self.passed_over
            ))),
        }
    }
}

/// The parameters of `publishVideo` as openvidu-browser sends them.
pub fn publish_params(offer: &str) -> Value {
    json!({"sdpOffer": offer, "doLoopback": false, "hasAudio": true, "hasVideo": true, "audioActive": true,
        "videoActive": true, "typeOfVideo": "CAMERA", "frameRate": 25,
        "videoDimensions": "{\"width\":640,\"height\":360}"})
}

async fn read(
    mut stream: SplitStream<WebSocketStream<TcpStream>>,
    pending: &Pending,
    told: mpsc::Sender<Notification>,
) -> Option<u16> {
    let mut code = None;
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Text(text) => {
                let Ok(frame) = serde_json::from_str::<Value>(&text) else {
                    return code;
                };
                if let Some(notification) = handle(frame, pending)
                    && told.send(notification).await.is_err()
                {
                    return code;
                }
            }
            Message::Close(frame) => code = frame.map(|frame| frame.code.into()),
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    code
}

/// Hands an answer to whoever waits for it; yields a notification.
fn handle(mut frame: Value, pending: &Pending) -> Option<Notification> {
    if let Some(method) = frame.get("method").and_then(Value::as_str) {
        return Some(Notification {
            method: method.to_owned(),
            params: frame["params"].take(),
        });
    }
    let answer = match frame.get_mut("error") {
        Some(error) => Err(Error::Refused {
            code: error["code"].as_i64().unwrap_or_default(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
        }),
        None => Ok(frame["result"].take()),
    };
    match frame["id"].as_u64() {
        Some(id) => {
            let waiting = lock(pending).remove(&id)?;
            // Whoever asked has lost patience.
            let _ = waiting.send(answer);
            None
        }
        // An answer to what was no request: told to whoever sent it.
        None => Some(Notification {
            method: "error".to_owned(),
            params: frame["error"].take(),
        }),
    }
}

fn text(value: &Value, name: &str) -> Result<String, Error> {
    let text = value[name].as_str();
    text.map(str::to_owned)
        .ok_or_else(|| Error::Unusable(format!("no {name} in {value}")))
}

/// The description called `name` in an answer.
///
/// # Errors
/// There is none, or none that a browser could use.
pub fn remote(value: &Value, name: &str) -> Result<Remote, Error> {
    let description = text(value, name)?;
    Remote::parse(&description).ok_or(Error::Unusable(description))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
