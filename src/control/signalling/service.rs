//! The sockets: handshake, reading, writing, and the end of each (`openvidu-signalling` sections 1.3, 2.5, 4).

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::budget::Budget;
use super::call::{self, Call, CallError};
use super::envelope::{self, Envelope};
use super::keep_alive::{Due, KeepAlive};
use super::notification;
use super::outbox::{End, Frame, Outbox, Outgoing};
use crate::control::access::{Gate, Verdict};
use crate::control::session::{
    Client, Directory, Handle, JoinRoom, Joiner, Notification, Refusal, Reply, RequestId,
    RpcSession, SocketEnd, Unheard,
};
use crate::units::{Random, RemoteAddr, Secret, clock};

/// The longest message; session descriptions of many codecs take a tenth.
const MESSAGE_MAX: usize = 256 * 1024;

/// Requests that may wait for their predecessors; while more come, the socket is not read.
const WAITING_REQUESTS: usize = 32;

/// `joinRoom` and `connect` requests that may fail on one socket: clients try once.
const FAILED_ATTEMPTS: u32 = 10;

/// The time in which an accepted handshake must become a socket.
const UPGRADE_TIME: Duration = Duration::from_secs(10);

/// The time that the close handshake may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// The close code of clients that will not come back, and that of those whose reconnection was refused.
const GRACEFUL: [u16; 2] = [4102, 4101];

/// All open sockets, and the parent of their tasks; cheap to clone.
#[derive(Debug, Clone)]
pub struct Connections {
    directory: Directory,
    gate: Gate,
    tasks: Arc<Mutex<JoinSet<()>>>,
    stop: CancellationToken,
    panics: Arc<AtomicU64>,
}

/// The WebSocket endpoint, on whatever path it is mounted. Requests carry [`RemoteAddr`] as an extension.
pub fn service(connections: &Connections) -> Router {
    Router::new()
        .fallback(upgrade)
        .with_state(connections.clone())
}

impl Connections {
    /// No sockets yet; those to come will join sessions of `directory`, by token or by the secret of `gate`.
    pub fn new(directory: Directory, gate: Gate) -> Self {
        Self {
            directory,
            gate,
            tasks: Arc::default(),
            stop: CancellationToken::new(),
            panics: Arc::default(),
        }
    }

    /// How many sockets are open.
    pub fn open(&self) -> usize {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.len()
    }

    /// How many sockets a bug has ended.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Closes every socket, after what waits to be written, and waits for their end: two seconds at most. The
    /// directory should have been shut down before, so that clients know that they need not come back.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.tasks());
        while tasks.join_next().await.is_some() {}
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        lock(&self.tasks)
    }
}

async fn upgrade(
    State(connections): State<Connections>,
    mut request: Request<Body>,
) -> Response<Body> {
    let key = match handshake(request.method(), request.headers()) {
        Ok(key) => key,
        Err(refused) => return status(refused),
    };
    let Some(RemoteAddr(address)) = request.extensions().get::<RemoteAddr>().copied() else {
        tracing::error!("a request without the client's address has reached signalling");
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    };
    if request.extensions().get::<OnUpgrade>().is_none() {
        return status(StatusCode::UPGRADE_REQUIRED);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let mut random = Random::system();
    let socket = connections.directory.new_socket();
    let rpc_session = Arc::new(RpcSession::new(&mut random));
    let peer = Arc::new(Peer::new(rpc_session.clone()));
    let joiner = Joiner {
        socket,
        rpc_session,
        final_user_id: random.alphanumeric(16),
        address,
        knows_secret: false,
    };
    let house = connections.clone();
    let serve = async move {
        match tokio::time::timeout(UPGRADE_TIME, upgrade).await {
            Ok(Ok(upgraded)) => serve(upgraded, house, peer, joiner).await,
            Ok(Err(error)) => tracing::debug!(%error, "upgrade failed"),
            Err(_) => tracing::debug!("upgrade timed out"),
        }
    };
    let span = tracing::info_span!("socket", id = socket.0);
    let mut tasks = connections.tasks();
    while tasks.try_join_next().is_some() {}
    tasks.spawn(serve.instrument(span));
    drop(tasks);

    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_ACCEPT, key);
    response
}

/// Checks the opening handshake (RFC 6455 section 4.2.1) and yields what is sent back. Every Origin is welcome:
/// the token decides.
fn handshake(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, StatusCode> {
    let has_word = |name: header::HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    let wants_upgrade = method == Method::GET
        && has_word(header::CONNECTION, "upgrade")
        && has_word(header::UPGRADE, "websocket");
    if !wants_upgrade || version.is_some_and(|version| version != "13") {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|key| key.len() == 24 && version.is_some())
        .ok_or(StatusCode::BAD_REQUEST)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| StatusCode::BAD_REQUEST)
}

/// An empty response; what concerns the upgrade also says what could be upgraded to (RFC 9110 section 15.5.22).
fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    if matches!(
        status,
        StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED
    ) {
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    response
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Serves one socket until its end, of which its session learns even if a bug is the end.
async fn serve(upgraded: Upgraded, connections: Connections, peer: Arc<Peer>, joiner: Joiner) {
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(8 * 1024)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    let socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let id = joiner.socket;
    let mut progress = Progress {
        directory: connections.directory,
        gate: connections.gate,
        peer: peer.clone(),
        joiner,
        state: RpcState::Fresh,
        failed_attempts: 0,
    };
    let mut reader = Reader {
        peer,
        keep_alive: KeepAlive::new(clock::now()),
        budget: Budget::new(clock::now()),
        end: SocketEnd::Lost,
    };
    let conversation = converse(socket, &mut reader, &mut progress, connections.stop);
    let halves = AssertUnwindSafe(conversation).catch_unwind().await;
    if let RpcState::Joining(session) | RpcState::Joined(session) = progress.state {
        session.socket_closed(id, reader.end).await;
    }
    match halves {
        Ok(Some((stream, sink))) => {
            if let Ok(mut socket) = stream.reunite(sink) {
                let _ = tokio::time::timeout(CLOSE_TIME, discard(socket.get_mut())).await;
            }
        }
        Ok(None) => {}
        Err(_) => {
            connections.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!("a bug has ended this socket; please report the panic message above");
        }
    }
}

/// Reads, answers and writes until the socket is at its end; yields its halves if they are still of use.
async fn converse(
    socket: Socket,
    reader: &mut Reader,
    progress: &mut Progress,
    stop: CancellationToken,
) -> Option<(SplitStream<Socket>, SplitSink<Socket, Message>)> {
    let peer = reader.peer.clone();
    let (sink, stream) = socket.split();
    let (requests, waiting) = mpsc::channel(WAITING_REQUESTS);
    let reading = reader.run(stream, requests, stop);
    let writing = peer.write(sink);
    let answering = progress.run(waiting);
    tokio::pin!(reading, writing, answering);
    let (mut read, mut written) = (None, None);
    tokio::select! {
        stream = &mut reading => read = Some(stream),
        sink = &mut writing => written = Some(sink),
        // Ends only after the reader, which it is fed by.
        () = &mut answering => {}
    }
    if read.is_none() {
        // Our close frame is out and the client's is awaited, or nothing can be written any more.
        read = tokio::time::timeout(CLOSE_TIME, &mut reading).await.ok();
    } else {
        // Whoever asks to leave and hangs up shall have left.
        let _ = tokio::time::timeout(CLOSE_TIME, &mut answering).await;
    }
    if written.is_none() && peer.end() != Some(End::Overflow) {
        peer.close(1000, "");
        written = tokio::time::timeout(CLOSE_TIME, &mut writing).await.ok();
    }
    read.zip(written)
}

/// Reads what is still on its way: closing a TCP socket with unread data would take back our close frame.
async fn discard(socket: &mut TokioIo<Upgraded>) {
    let mut buffer = vec![0; 8 * 1024];
    let mut left = 4 * MESSAGE_MAX;
    if socket.shutdown().await.is_err() {
        return;
    }
    while let Ok(read @ 1..) = socket.read(&mut buffer).await
        && left > read
    {
        left -= read;
    }
}

/// One client, as sessions and its own tasks see it.
struct Peer {
    rpc_session: Mutex<Arc<RpcSession>>,
    outbox: Mutex<Outbox>,
    /// When the socket is closed unless the client does so first.
    close_at: Mutex<Option<Instant>>,
    /// Something is to be written.
    to_write: Notify,
    /// The reader has something to look at: the socket is to end, now or at `close_at`, or the client has come back.
    to_look: Notify,
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
        let unheard = lock(&self.outbox).take_back();
        self.to_write.notify_one();
        unheard
    }

    fn close_after(&self, delay: Duration) {
        *lock(&self.close_at) = clock::now().checked_add(delay);
        self.to_look.notify_one();
    }
}

impl Peer {
    fn new(rpc_session: Arc<RpcSession>) -> Self {
        Self {
            rpc_session: Mutex::new(rpc_session),
            outbox: Mutex::default(),
            close_at: Mutex::default(),
            to_write: Notify::new(),
            to_look: Notify::new(),
        }
    }

    fn rpc_session(&self) -> Arc<RpcSession> {
        lock(&self.rpc_session).clone()
    }

    /// This socket carries on another RPC session, or its own again; returns the one that it had.
    fn adopt(&self, rpc_session: Arc<RpcSession>) -> Arc<RpcSession> {
        let own = std::mem::replace(&mut *lock(&self.rpc_session), rpc_session);
        self.to_look.notify_one();
        own
    }

    fn send(&self, text: String) {
        self.push(Outgoing::Text(text));
    }

    fn push(&self, frame: Outgoing) {
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
    fn heard(&self, probe: &[u8]) {
        if let Ok(number) = probe.try_into()
            && lock(&self.outbox).heard(u64::from_be_bytes(number))
        {
            self.to_write.notify_one();
        }
    }

    fn close(&self, code: u16, reason: &'static str) {
        lock(&self.outbox).close(code, reason);
        self.to_write.notify_one();
    }

    fn end(&self) -> Option<End> {
        lock(&self.outbox).end()
    }

    /// Writes what waits until the end is written or writing fails.
    async fn write(&self, mut sink: SplitSink<Socket, Message>) -> SplitSink<Socket, Message> {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is valid after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that waits for its predecessors.
struct Waiting {
    id: RequestId,
    call: Result<Call, CallError>,
}

/// The half that reads: answers pings at once and queues everything else.
struct Reader {
    peer: Arc<Peer>,
    keep_alive: KeepAlive,
    budget: Budget,
    end: SocketEnd,
}

impl Reader {
    /// Reads until the socket ends, by whomever.
    async fn run(
        &mut self,
        mut stream: SplitStream<Socket>,
        requests: mpsc::Sender<Waiting>,
        stop: CancellationToken,
    ) -> SplitStream<Socket> {
        let mut permit = None;
        loop {
            let closing = *lock(&self.peer.close_at);
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

/// The half that has requests carried out, one after the other.
struct Progress {
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
    async fn run(&mut self, mut waiting: mpsc::Receiver<Waiting>) {
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
                let refusal = Refusal::UnknownSession(join.session);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    #[test]
    fn a_client_that_has_left_is_closed_when_its_time_is_over_and_not_before() {
        let peer = Arc::new(Peer::new(Arc::new(RpcSession::new(&mut Random::system()))));
        let mut reader = Reader {
            peer: peer.clone(),
            keep_alive: KeepAlive::new(clock::now()),
            budget: Budget::new(t0()),
            end: SocketEnd::Lost,
        };
        peer.close_after(Duration::from_secs(10));
        let at = lock(&peer.close_at).unwrap();
        assert!(at > clock::now() + Duration::from_secs(9));
        assert!(reader.time_out(Some(at)));
        assert_eq!(peer.end(), None);
        assert!(!reader.time_out(Some(t0())));
        assert_eq!(peer.end(), Some(End::Close(1000, "")));
    }
}
