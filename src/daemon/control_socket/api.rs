//! What can be asked through the control socket. All of it is JSON; `views/control` says what it looks like.
//!
//! ```text
//! GET    /status                  Status
//! GET    /health                  Health; 503 if it is not
//! GET    /drain                   Draining
//! POST   /drain {deadlineSecs}    Draining; 409 if the process is ending
//! DELETE /drain                   Draining; 409 if nothing drains
//! POST   /reload                  Reload, once it is done; 422 if everything stays as it was
//! GET    /sessions                [Session]
//! GET    /allocations             [views/turn Allocation]
//! DELETE /allocations/{id}        204; 404 if there is none
//! ANY    /openvidu/api/…          OpenVidu's REST API, without asking for the secret
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::findings::{Facts, findings};
use crate::config::{Config, settings};
use crate::control::rest;
use crate::control::session::Directory;
use crate::control::signalling::Connections;
use crate::daemon::drain::DrainError;
use crate::daemon::drain::service::DrainHandle;
use crate::daemon::reload::Changeable;
use crate::front::proxy;
use crate::front::proxy::certificate::acme::plan::Validity;
use crate::front::proxy::certificate::facts::Facts as CertificateFacts;
use crate::media::worker::Counters;
use crate::units::clock;
use crate::views::control::{
    Certificate, Drain, Draining, Health, Listener, Refused, Reload, Session, Status, Worker,
};
use crate::views::turn::{Allocation, TurnCounters};

/// Bytes of a request's body; REST has its own limit.
const MAX_BODY_LEN: usize = 16 * 1024;

/// How long a media thread may take to answer: its loop turns in milliseconds.
const WORKER_PATIENCE: Duration = Duration::from_secs(2);

/// Reloads that may wait; who asks for more is told to wait.
const RELOADS: usize = 4;

/// Over what time the load of the media threads is measured.
const LOAD_WINDOW: Duration = Duration::from_millis(200);

/// Somebody waits for a reload; what becomes of it is sent there.
pub(in crate::daemon) type ReloadRequest = oneshot::Sender<Reload>;

/// What the answers are made of.
#[derive(Clone)]
pub(in crate::daemon) struct Api(Arc<Parts>);

/// What the answers are made of, each a handle of its own.
pub(in crate::daemon) struct Parts {
    pub(in crate::daemon) directory: Directory,
    pub(in crate::daemon) connections: Connections,
    pub(in crate::daemon) web: proxy::Containment,
    pub(in crate::daemon) web_addresses: Vec<(proxy::Listener, SocketAddr)>,
    /// The port of each media thread.
    pub(in crate::daemon) media_ports: Vec<u16>,
    pub(in crate::daemon) counters: Vec<Arc<Counters>>,
    pub(in crate::daemon) live: Arc<Changeable>,
    pub(in crate::daemon) drain: DrainHandle,
    /// As the process began with it: what is told of it changes at a start only.
    pub(in crate::daemon) config: Config,
    /// When the process began.
    pub(in crate::daemon) started: Instant,
    /// The same in seconds since the epoch.
    pub(in crate::daemon) started_at: u64,
}

/// Whoever reloads the configuration, and what its requests are sent by.
pub(in crate::daemon) fn reloads() -> (mpsc::Sender<ReloadRequest>, mpsc::Receiver<ReloadRequest>) {
    mpsc::channel(RELOADS)
}

impl Api {
    pub(in crate::daemon) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// All that can be asked.
    pub(in crate::daemon) fn routes(self, reloads: mpsc::Sender<ReloadRequest>) -> Router {
        let rest = rest::unauthenticated(self.0.live.rest.clone(), self.0.directory.clone());
        let reload = post(reload).with_state(reloads);
        Router::new()
            .route("/status", get(status))
            .route("/health", get(health))
            .route(
                "/drain",
                get(draining).post(begin_drain).delete(cancel_drain),
            )
            .route("/reload", reload)
            .route("/sessions", get(sessions))
            .route("/allocations", get(allocations))
            .route("/allocations/{id}", delete(kick))
            .layer(DefaultBodyLimit::max(MAX_BODY_LEN))
            .fallback(move |request| openvidu(rest.clone(), request))
            .with_state(self)
    }

    /// What all TURN servers have counted, by which the media threads show that they live; `None` if one does not answer.
    async fn turn(&self) -> Option<TurnCounters> {
        let counters = self.0.live.turn.handle.counters();
        timeout(WORKER_PATIENCE, counters).await.ok()?.ok()
    }

    async fn allocations(&self) -> Option<Vec<Allocation>> {
        let allocations = self.0.live.turn.handle.allocations();
        timeout(WORKER_PATIENCE, allocations).await.ok()?.ok()
    }

    async fn status(&self) -> Status {
        let parts = &*self.0;
        let (turn, allocations, summaries, busy) = tokio::join!(
            self.turn(),
            self.allocations(),
            timeout(WORKER_PATIENCE, parts.directory.summaries()),
            self.busy(),
        );
        let config = &parts.config;
        let told = parts.live.told.get();
        let certificate = self.certificate(&config.web.certificate);
        let panics = parts.directory.panics() + parts.connections.panics() + parts.web.panics();
        let in_workers = |counters: &Arc<Counters>| load(&counters.panics);
        let facts = Facts {
            dev: config.dev,
            now: clock::wall_ms() / 1000,
            certificate: certificate.as_ref(),
            panics: panics + parts.counters.iter().map(in_workers).sum::<u64>(),
            turn,
            sessions_answer: summaries.is_ok(),
            told: &told,
        };
        let findings = findings(&facts);
        let progress = parts.drain.progress();
        let summaries = summaries.unwrap_or_default();
        let sum = |count: fn(&Session) -> usize| summaries.iter().map(count).sum();
        let uptime = clock::now().saturating_duration_since(parts.started);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            openvidu: crate::OPENVIDU_VERSION.to_owned(),
            pid: std::process::id(),
            started_at: parts.started_at,
            uptime_secs: uptime.as_secs(),
            url: config.public.url(),
            file: config.file.clone(),
            drain: progress.drain,
            listeners: self.listeners(&config.turn),
            certificate: certificate.map(|(shown, _)| shown),
            sessions: progress.sessions,
            connections: sum(|it| it.connections),
            streams: sum(|it| it.streams),
            subscriptions: sum(|it| it.subscriptions),
            sockets: parts.connections.open(),
            allocations: allocations.map(|all| all.len()),
            workers: parts
                .counters
                .iter()
                .zip(busy)
                .enumerate()
                .map(|(index, (counters, busy_percent))| Worker {
                    index,
                    busy_percent,
                    rooms: load(&counters.rooms),
                    transports: load(&counters.transports),
                    streams: load(&counters.streams),
                    turn_streams: load(&counters.turn_streams),
                    relay_sockets: load(&counters.relay_sockets),
                    received: load(&counters.received),
                    sent: load(&counters.sent),
                    send_dropped: load(&counters.send_dropped),
                })
                .collect(),
            findings,
        }
    }

    /// How much of the next moment each media thread is not asleep, in percent.
    async fn busy(&self) -> Vec<f64> {
        let counters = &self.0.counters;
        let awake = || counters.iter().map(|it| load(&it.busy_us));
        let (began, before) = (clock::now(), awake().collect::<Vec<_>>());
        sleep(LOAD_WINDOW).await;
        let passed = clock::now().saturating_duration_since(began);
        awake()
            .zip(before)
            .map(|(after, before)| {
                let busy = Duration::from_micros(after.saturating_sub(before));
                let share = busy.as_secs_f64() / passed.as_secs_f64().max(1e-9);
                (share * 1000.0).round() / 10.0
            })
            .collect()
    }

    /// What is served, and from when on it is.
    fn certificate(&self, source: &settings::Certificate) -> Option<(Certificate, Validity)> {
        let current = self.0.live.certificates.current();
        let facts = CertificateFacts::read(current.chain().first()?)?;
        let shown = Certificate {
            source: match source {
                settings::Certificate::SelfSigned => "selfsigned",
                settings::Certificate::Own { .. } => "owncert",
                settings::Certificate::LetsEncrypt { .. } => "letsencrypt",
            }
            .to_owned(),
            names: facts.names,
            issuer: facts.issuer,
            not_after: facts.validity.until,
            is_trusted: current.is_trusted(),
        };
        Some((shown, facts.validity))
    }

    fn listeners(&self, turn: &settings::Turn) -> Vec<Listener> {
        let web = self.0.web_addresses.iter().map(|(listener, address)| {
            let purpose = match listener {
                proxy::Listener::Https => "https",
                proxy::Listener::Http => "http",
                proxy::Listener::Plain => "plain",
                proxy::Listener::TurnTls => "turn over tls",
            };
            (purpose, "tcp", address.to_string())
        });
        let both = "udp+tcp";
        let turn = [("turn", both, turn.port.to_string())];
        let media = self.0.media_ports.iter();
        let media = media.map(|port| ("media", both, port.to_string()));
        web.chain(turn)
            .chain(media)
            .map(|(purpose, protocol, address)| Listener {
                purpose: purpose.to_owned(),
                protocol: protocol.to_owned(),
                address,
            })
            .collect()
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Why something is not done, in words for the operator.
pub(super) fn refusal(status: StatusCode, message: impl Into<String>) -> Response {
    let message = message.into();
    (status, Json(Refused { message })).into_response()
}

async fn status(State(api): State<Api>) -> Json<Status> {
    Json(api.status().await)
}

/// The control plane answers or this does not arrive; the media threads are asked.
async fn health(State(api): State<Api>) -> (StatusCode, Json<Health>) {
    let is_healthy = api.turn().await.is_some();
    let text = match (is_healthy, *api.0.drain.shown().get()) {
        (false, _) => "the media threads do not answer",
        (true, Drain::Running) => "ok",
        (true, Drain::Draining { .. }) => "ok, draining",
        (true, Drain::Drained) => "ok, drained",
    };
    let status = if is_healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let text = text.to_owned();
    (status, Json(Health { is_healthy, text }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BeginDrain {
    deadline_secs: u64,
}

async fn draining(State(api): State<Api>) -> Json<Draining> {
    Json(api.0.drain.progress())
}

async fn begin_drain(
    State(api): State<Api>,
    body: Result<Json<BeginDrain>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(BeginDrain { deadline_secs })) => {
            let deadline = Duration::from_secs(deadline_secs);
            drained(api.0.drain.begin(deadline).await)
        }
        Err(rejection) => refusal(rejection.status(), rejection.body_text()),
    }
}

async fn cancel_drain(State(api): State<Api>) -> Response {
    drained(api.0.drain.cancel().await)
}

fn drained(outcome: Result<Draining, DrainError>) -> Response {
    match outcome {
        Ok(progress) => Json(progress).into_response(),
        Err(error) => refusal(StatusCode::CONFLICT, error.to_string()),
    }
}

async fn reload(State(reloads): State<mpsc::Sender<ReloadRequest>>) -> Response {
    let (answer, outcome) = oneshot::channel();
    if reloads.try_send(answer).is_err() {
        let busy = "other reloads are waiting, or the daemon is stopping: try again";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, busy);
    }
    match outcome.await {
        Ok(reload) if reload.problems.is_empty() => Json(reload).into_response(),
        Ok(reload) => (StatusCode::UNPROCESSABLE_ENTITY, Json(reload)).into_response(),
        Err(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the daemon is stopping: nothing was reloaded",
        ),
    }
}

async fn sessions(State(api): State<Api>) -> Json<Vec<Session>> {
    Json(api.0.directory.summaries().await)
}

async fn allocations(State(api): State<Api>) -> Response {
    match api.allocations().await {
        Some(allocations) => Json(allocations).into_response(),
        None => silent(),
    }
}

async fn kick(State(api): State<Api>, Path(id): Path<String>) -> Response {
    match timeout(WORKER_PATIENCE, api.0.live.turn.handle.kick(&id)).await {
        Ok(Ok(true)) => StatusCode::NO_CONTENT.into_response(),
        Ok(Ok(false)) => refusal(StatusCode::NOT_FOUND, "there is no such allocation"),
        Ok(Err(_)) | Err(_) => silent(),
    }
}

fn silent() -> Response {
    refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "the media threads do not answer",
    )
}

/// What has no route of its own: OpenVidu's, or none.
async fn openvidu(rest: Router, request: Request) -> Response {
    if request.uri().path().starts_with("/openvidu/") {
        let Ok(response) = rest.oneshot(request).await;
        return response;
    }
    refusal(
        StatusCode::NOT_FOUND,
        "this daemon knows no such command: is it of the same version?",
    )
}
