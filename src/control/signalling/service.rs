//! The sockets: handshake, reading, writing, and the end of each (`openvidu-signalling` sections 1.3, 2.5, 4).

mod peer;
mod progress;
mod reader;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tracing::field::Empty;

use super::metrics::Tally;
use super::outbox::End;
use crate::control::access::Gate;
use crate::control::session::{Directory, Joiner, RpcSession};
use crate::units::{Random, RemoteAddr, clock};
use crate::views::metric::Family;
use peer::Peer;
use progress::Progress;
use reader::Reader;

/// The longest message; session descriptions of many codecs take a tenth.
const MESSAGE_MAX: usize = 256 * 1024;

/// Requests that may wait for their predecessors; while more come, the socket is not read.
const WAITING_REQUESTS: usize = 32;

/// The time in which an accepted handshake must become a socket.
const UPGRADE_TIME: Duration = Duration::from_secs(10);

/// The time that the close handshake may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// All open sockets, and the parent of their tasks; cheap to clone.
#[derive(Debug, Clone)]
pub struct Connections {
    directory: Directory,
    gate: Gate,
    tasks: Arc<Mutex<JoinSet<()>>>,
    stop: CancellationToken,
    panics: Arc<AtomicU64>,
    tally: Arc<Tally>,
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
            tally: Arc::default(),
        }
    }

    /// How many sockets there are, and what became of others, as metrics.
    pub fn families(&self) -> Vec<Family> {
        self.tally.families(self.open(), self.panics())
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
    connections.tally.opened.one();
    // Of the highest level, so that it stands beside whatever is logged. What it joins is told when it does.
    let span = tracing::error_span!("socket", id = socket.0, session = Empty);
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
    let Connections {
        directory,
        gate,
        stop,
        panics,
        tally,
        ..
    } = connections;
    let mut progress = Progress::new(directory, gate, peer.clone(), joiner);
    let ended = peer.clone();
    let mut reader = Reader::new(clock::now(), peer);
    let conversation = converse(socket, &mut reader, &mut progress, stop);
    let halves = AssertUnwindSafe(conversation).catch_unwind().await;
    if ended.end() == Some(End::Overflow) {
        tally.overflowed.one();
    }
    if let Some(session) = progress.into_session() {
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
            panics.fetch_add(1, Ordering::Relaxed);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is valid after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
