//! One listener: who is admitted, the handshake, HTTP/1.1 and HTTP/2, and that every request gets its answer.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::body::{InProgress, keeping};
use super::dispatch::{Asking, Reply};
use super::stream::GuardedStream;
use super::{Acceptor, Listener, REQUEST, Shared, Tracked, access_log, turn};
#[cfg(any(test, feature = "testing"))]
use crate::front::proxy::containment::Fault;
use crate::front::proxy::limits::{Full, Limits, accept_pause};
use crate::front::proxy::routes::Entrance;
use crate::front::proxy::traffic::Class;
use crate::front::proxy::{headers, tls};
use crate::units::clock;

/// What a bug may end.
const CONNECTION: &str = "a web connection";

/// A connection so young is served on when we stop: its first request is on its way, and nobody else would answer it.
const FRESH: Duration = Duration::from_millis(500);

/// When a connection is told that we stop.
#[derive(Debug)]
struct Farewell {
    cancel: CancellationToken,
    not_before: Instant,
}

impl Farewell {
    /// Cancel safe.
    async fn is_due(&self) {
        self.cancel.cancelled().await;
        sleep_until(self.not_before).await;
    }
}

/// One listener.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) listener: Listener,
    pub(super) tls: Acceptor,
    pub(super) shared: Arc<Shared>,
}

impl Door {
    /// Accepts until `cancel` is cancelled, then lets connections finish.
    pub(super) async fn accept(self, socket: TcpListener, cancel: CancellationToken) {
        let mut connections = JoinSet::new();
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                Some(ended) = connections.join_next() => self.shared.report(CONNECTION, ended),
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        pause = Duration::ZERO;
                        let admission = || self.admit(stream, peer, &cancel);
                        let admitted = self.shared.containment.contain(CONNECTION, admission);
                        if let Some(connection) = admitted.flatten() {
                            connections.spawn(connection);
                        }
                    }
                    Err(error) => {
                        if pause.is_zero() {
                            tracing::warn!(%error, listener = ?self.listener, "cannot accept a connection; raise LimitNOFILE if descriptors ran out");
                        }
                        pause = accept_pause(&error, pause);
                        tokio::select! {
                            () = cancel.cancelled() => break,
                            () = sleep(pause) => {}
                        }
                    }
                },
            }
        }
        drop(socket);
        let finish = async {
            while let Some(ended) = connections.join_next().await {
                self.shared.report(CONNECTION, ended);
            }
        };
        if timeout(self.shared.limits.shutdown, finish).await.is_err() {
            connections.shutdown().await;
        }
    }

    fn admit(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        cancel: &CancellationToken,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let shared = &self.shared;
        #[cfg(any(test, feature = "testing"))]
        shared.containment.strike(Fault::Admission);
        let exempt = headers::is_trusted(peer.ip(), &shared.rules.get().trusted_proxies);
        let admission = match self.listener {
            Listener::TurnTls => &shared.turn_admission,
            Listener::Https | Listener::Http | Listener::Plain => &shared.admission,
        };
        let admitted = admission.admit(peer.ip(), exempt);
        shared.traffic.connected(admitted.as_ref().err());
        let permit = match admitted {
            Ok(permit) => permit,
            Err(Full::Everyone) => {
                tracing::debug!(%peer, "too many connections: closed");
                return None;
            }
            Err(Full::Source) => {
                tracing::debug!(%peer, "too many connections from one source: closed");
                return None;
            }
        };
        // Small messages of signalling must not wait for a full segment; a socket that refuses is closing anyway.
        let _ = stream.set_nodelay(true);
        let stream = GuardedStream::new(stream, shared.limits.write_stall, permit);
        let farewell = Farewell {
            cancel: cancel.clone(),
            not_before: Instant::now() + FRESH,
        };
        Some(self.clone().connection(stream, peer, farewell))
    }

    async fn connection(self, stream: GuardedStream, peer: SocketAddr, farewell: Farewell) {
        #[cfg(any(test, feature = "testing"))]
        self.shared.containment.strike(Fault::Connection);
        match self.listener {
            Listener::Http | Listener::Plain => {
                self.http1(TokioIo::new(stream), peer, farewell).await;
            }
            Listener::Https | Listener::TurnTls => {
                let Some((stream, is_turn)) = self.handshake(stream, peer, &farewell).await else {
                    return;
                };
                let protocol = stream.get_ref().1.alpn_protocol();
                if is_turn {
                    if let Err(error) = turn::hand_over(stream, peer, &*self.shared.services.turn) {
                        tracing::debug!(%peer, %error, "a TURN connection cannot be handed over");
                    }
                } else if self.listener == Listener::TurnTls || protocol == Some(tls::ACME_TLS) {
                    // Of an authority the handshake was all that it came for (RFC 8737 section 3).
                    turn::refuse(stream).await;
                } else if protocol == Some(tls::HTTP_2) {
                    self.http2(TokioIo::new(stream), peer, farewell).await;
                } else {
                    self.http1(TokioIo::new(stream), peer, farewell).await;
                }
            }
        }
    }

    /// The handshake, and whether the client speaks TURN.
    async fn handshake(
        &self,
        stream: GuardedStream,
        peer: SocketAddr,
        farewell: &Farewell,
    ) -> Option<(TlsStream<GuardedStream>, bool)> {
        let handshake = async {
            let mut stream = self.tls.0.accept(stream).await?;
            let is_turn = turn::is_turn(&mut stream).await?;
            Ok::<_, io::Error>((stream, is_turn))
        };
        tokio::select! {
            () = farewell.is_due() => None,
            outcome = timeout(self.shared.limits.tls_handshake, handshake) => {
                let done = match outcome {
                    Ok(Ok(done)) => Some(done),
                    Ok(Err(error)) => {
                        tracing::debug!(%peer, %error, "TLS handshake failed");
                        None
                    }
                    Err(_) => {
                        tracing::debug!(%peer, "TLS handshake took too long");
                        None
                    }
                };
                self.shared.traffic.shook_hands(done.is_some());
                done
            },
        }
    }

    async fn http1<S>(self, stream: S, peer: SocketAddr, farewell: Farewell)
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let limits = &self.shared.limits;
        let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_read)
            .max_headers(limits.headers)
            .max_header_size(header_bytes)
            .max_buf_size(header_bytes.saturating_mul(2).max(8192));
        let door = &self;
        let service = service_fn(move |request| async move {
            Ok::<_, Infallible>(door.answer(request, peer).await)
        });
        let mut connection = pin!(builder.serve_connection(stream, service).with_upgrades());
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = farewell.is_due() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "HTTP/1.1 connection failed");
        }
    }

    async fn http2<S>(self, stream: S, peer: SocketAddr, farewell: Farewell)
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let limits = self.shared.limits.clone();
        let mut builder = http2::Builder::new(Tracked {
            tasks: self.shared.requests.clone(),
            containment: self.shared.containment.clone(),
            stop: None,
        });
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.http2_streams)
            .max_header_list_size(limits.header_bytes)
            // A client that opens and resets streams faster than they are noticed is cut off (RUSTSEC-2024-0003).
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(64)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(1024 * 1024)
            .max_send_buf_size(256 * 1024)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        let (requests, progress) = watch::channel(0_usize);
        let door = Arc::new(self);
        let service = service_fn(move |request| {
            let door = Arc::clone(&door);
            let in_progress = InProgress::new(&requests);
            async move {
                let response = door.answer(request, peer).await;
                Ok::<_, Infallible>(response.map(|body| keeping(body, in_progress)))
            }
        });
        let mut connection = pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = farewell.is_due() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = idle(progress, &limits) => {
                connection.as_mut().graceful_shutdown();
                // A client that does not confirm the farewell is not waited for.
                timeout(limits.header_read, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "HTTP/2 connection failed");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let entrance = match self.listener {
            Listener::Https => Some(Entrance::Https),
            Listener::Plain => Some(Entrance::Plain),
            Listener::Http | Listener::TurnTls => None,
        };
        let (class, asked) = (Class::of(entrance, request.uri().path()), clock::now());
        let response = self.respond(request, peer).await;
        let took = clock::now().saturating_duration_since(asked);
        let traffic = &self.shared.traffic;
        traffic.answered(class, response.status(), took);
        response
    }

    async fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let shared = &self.shared;
        let challenges = shared.certificates.challenges();
        if let Some(answer) = challenges.http(request.uri().path()) {
            return challenge_answer(answer);
        }
        let sender = {
            let rules = shared.rules.get();
            headers::sender(peer.ip(), request.headers(), &rules.trusted_proxies)
        };
        let entry = access_log::entry(sender.address(), &request);
        let response = match self.listener {
            Listener::Http => shared.redirect.answer(request.uri()),
            Listener::Https => self.reply(request, peer, sender, Entrance::Https).await,
            Listener::Plain => self.reply(request, peer, sender, Entrance::Plain).await,
            Listener::TurnTls => empty(StatusCode::NOT_FOUND),
        };
        access_log::logged(response, entry)
    }

    async fn reply(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        sender: headers::Sender,
        entrance: Entrance,
    ) -> Response<Body> {
        let shared = &self.shared;
        let asking = Asking {
            entrance,
            peer: peer.ip(),
            sender,
        };
        let dispatch = async {
            #[cfg(any(test, feature = "testing"))]
            shared.containment.strike(Fault::Request);
            shared.dispatch(request, asking).await
        };
        let reply = shared.containment.contain_future(REQUEST, dispatch).await;
        let (mut response, ours) = match reply {
            Some(Reply::Theirs(response)) => (response, false),
            Some(Reply::Ours(response)) => (response, true),
            None => {
                let pages = &shared.table.get().pages;
                (pages.response(StatusCode::INTERNAL_SERVER_ERROR), true)
            }
        };
        if ours {
            headers::harden(response.headers_mut());
        }
        if entrance == Entrance::Https && shared.certificates.is_publicly_valid() {
            headers::add_hsts(response.headers_mut(), shared.hsts.as_ref());
        }
        response
    }
}

/// RFC 8555 section 8.3.
fn challenge_answer(key_authorization: String) -> Response<Body> {
    let mut response = Response::new(Body::from(key_authorization));
    let binary = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, binary);
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Ends when no request has been in progress for long enough: at first within the time for a request's head.
async fn idle(mut in_progress: watch::Receiver<usize>, limits: &Limits) {
    let mut patience = limits.header_read;
    while timeout(patience, in_progress.wait_for(|count| *count > 0))
        .await
        .is_ok_and(|seen| seen.is_ok())
    {
        if in_progress.wait_for(|count| *count == 0).await.is_err() {
            break;
        }
        patience = limits.http2_idle;
    }
}
