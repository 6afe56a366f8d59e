//! Composition root: construct, wire, start, stop.
//!
//! The order of a start: state folder, secrets, certificate, media workers (their ports first), sessions, web ports,
//! readiness. Everything is bound before readiness is reported. A stop goes the other way: nothing is accepted any more,
//! clients are told and evicted, web connections finish, workers close their transports, exit 0 within
//! `HANOK_STOP_DEADLINE`.

pub mod adapters;
mod control_socket;
pub mod doctor;
mod drain;
pub mod inherited;
mod media;
mod neighbours;
mod observation;
mod public_address;
mod reload;
pub mod revoked;
pub mod service_manager;
mod state;
mod turn;
mod watchdog;
mod web;

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::settings::CONTROL_SOCKET_FILE;
use crate::config::{Config, Loaded, Options};
use crate::control::access::Gate;
use crate::control::session::Directory;
use crate::control::signalling::Connections;
use crate::front::proxy;
use crate::media::plane::TurnHandle;
use crate::media::worker::Worker;
use crate::telemetry::service::Admin;
use crate::units::{Live, clock};
use crate::views::control::Drain;
use adapters::{MintedTurnCredentials, OverTls};
use control_socket::ControlSocket;
use control_socket::api::{self, Api, ReloadRequest};
use drain::service::DrainHandle;
use inherited::Inherited;
use observation::Observation;
use public_address::Place;
use reload::{Changeable, Current, Told};
use revoked::RevokedNames;
use service_manager::Life;
use state::StateFolder;

/// The reason that clients are told on an orderly stop (`openvidu-signalling` section 12).
const STOP_REASON: &str = "openviduServerStopped";

/// Runs the daemon until SIGTERM or SIGINT. SIGHUP reloads the configuration, which `options` say where to find.
///
/// # Errors
/// Something that a start needs is missing; the message says what to change. With
/// [`Misconfigured`](crate::config::Misconfigured) the exit status is 78.
pub fn serve(loaded: Loaded, options: Options) -> anyhow::Result<()> {
    // Before anything else is opened, and before there are threads.
    let inherited = Inherited::from_environment()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("control")
        .enable_all()
        .build()
        .context("the control plane's threads cannot start")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be watched")?;
        let daemon = Daemon::start_with(&loaded.config, inherited).await?;
        daemon.announce(&loaded.config);
        daemon.live.tell(&loaded, &[]);
        let watching = service_manager::watch(&daemon);
        // Where nothing was read there is nothing to read again: then the terminal is gone, and whoever tried us out.
        let is_trial = loaded.config.dev && loaded.config.file.is_none();
        let mut running = Arc::new(loaded);
        let signal = {
            let mut stop = pin!(async {
                tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                }
            });
            loop {
                let asked = tokio::select! {
                    signal = &mut stop => break signal,
                    () = daemon.drain.over() => break "drained",
                    _ = hangup.recv() => None,
                    asked = daemon.reload_request() => Some(asked),
                };
                let outcome = match asked {
                    None if is_trial => break "SIGHUP",
                    Some(_) if is_trial => reload::nothing_to_read(),
                    None | Some(_) => tokio::select! {
                        signal = &mut stop => break signal,
                        (loaded, outcome) = reload::reload(&daemon, Arc::clone(&running), &options) => {
                            running = loaded;
                            outcome
                        }
                    },
                };
                if let Some(asked) = asked {
                    // Who asked may be gone.
                    let _ = asked.send(outcome);
                }
            }
        };
        tracing::info!("{signal}: stopping");
        let deadline = running.config.stop_deadline;
        // Workers that end stand still, too.
        drop(watching);
        service_manager::stopping();
        let stopped = tokio::select! {
            stopped = tokio::time::timeout(deadline, daemon.stop()) => stopped.is_ok(),
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
        };
        if !stopped {
            tracing::warn!(
                ?deadline,
                "stopping before every client was told: HANOK_STOP_DEADLINE has passed or a second signal came"
            );
        }
        tracing::info!("stopped");
        Ok(())
    })
}

/// A running daemon; tests start it in-process.
pub struct Daemon {
    directory: Directory,
    connections: Connections,
    addresses: Vec<(proxy::Listener, std::net::SocketAddr)>,
    proxy_stop: CancellationToken,
    proxy: JoinSet<()>,
    web: proxy::Containment,
    workers: Vec<Worker>,
    counters: Vec<Arc<crate::media::worker::Counters>>,
    live: Arc<Changeable>,
    place: Arc<Place>,
    seeking: Mutex<JoinSet<()>>,
    admin: Vec<std::net::SocketAddr>,
    observed: Arc<observation::State>,
    _observing: JoinSet<()>,
    revoking: JoinSet<()>,
    _keeping: JoinSet<()>,
    _draining: JoinSet<()>,
    drain: DrainHandle,
    reload_requests: tokio::sync::Mutex<mpsc::Receiver<ReloadRequest>>,
    control: JoinSet<()>,
    control_stop: CancellationToken,
    state: StateFolder,
    url: String,
    #[cfg(any(test, feature = "testing"))]
    plane: crate::media::plane::Plane,
}

impl Daemon {
    /// Binds everything and starts serving; must run inside a tokio runtime.
    ///
    /// # Errors
    /// Something is missing; the message says what to change.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        Self::start_with(config, Inherited::default()).await
    }

    /// The same, with sockets that the service manager holds where it holds any.
    ///
    /// # Errors
    /// As of [`Self::start`], or such a socket is at another address than its key says.
    pub async fn start_with(config: &Config, mut inherited: Inherited) -> anyhow::Result<Self> {
        let (started, started_at) = (clock::now(), clock::wall_ms() / 1000);
        let state = StateFolder::open(&config.state)?;
        let turn_secrets = state.turn_secrets(&config.turn.secrets)?;
        let (certificates, keeper) = web::certificate(config, state.path())?;
        let (kept, revoked) = RevokedNames::open(state.path(), clock::wall_ms() / 1000);
        let known = turn::Known {
            secrets: &turn_secrets,
            revoked: &revoked,
        };
        let media = media::start(config, &known, &mut inherited).await?;
        let over_tls = OverTls {
            urls: config.turns_urls(),
            certificates: Arc::clone(&certificates),
        };
        let (minted, revocations) = MintedTurnCredentials::new(turn_secrets, over_tls);
        let turn = turn::Control {
            handle: media.plane.turn(),
            minted: Arc::new(minted),
            workers: media.workers.len(),
        };
        let mut revoking = JoinSet::new();
        revoking.spawn(revocations.carry_to(turn.handle.clone(), kept));
        let sessions = Live::new(web::session_settings(config, &media.turn_host));
        let directory = Directory::new(sessions.clone(), media.plane.clone(), turn.minted.clone());
        // One for all that take the secret from outside, so that wrong guesses add up.
        let gate = Gate::new(config.secret.clone());
        let connections = Connections::new(directory.clone(), gate.clone());
        let rest = Live::new(web::rest_settings(config));
        let services = web::services(
            rest.clone(),
            gate.clone(),
            directory.clone(),
            &connections,
            media.plane.clone(),
        );
        let rules = Live::new(web::rules(config, &[]));
        let admin = observation::bind(config, &mut inherited)?;
        let admin_addresses: Vec<_> = admin.iter().flat_map(Admin::addresses).collect();
        let proxy = web::bind(
            config,
            state.path(),
            &mut inherited,
            Arc::clone(&certificates),
            services,
            rules.clone(),
            admin_addresses.first().map(std::net::SocketAddr::port),
        )?;
        inherited.close_the_rest();
        let addresses: Vec<_> = proxy.addresses().collect();
        let (web, routing) = (proxy.containment(), proxy.routing());
        let observer = proxy.observer();
        let proxy_stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(proxy.serve(proxy_stop.clone()));
        let mut keeping = JoinSet::new();
        keeping.spawn(keeper.run());
        let live = Arc::new(Changeable {
            certificates,
            gate,
            rules,
            routing,
            rest,
            sessions,
            turn,
            current: tokio::sync::Mutex::new(Current {
                config: config.clone(),
                turn_host: media.turn_host,
                public: Vec::new(),
            }),
            told: Live::new(Told::default()),
        });
        let (drain, task) = DrainHandle::new(directory.clone());
        let mut draining = JoinSet::new();
        draining.spawn(task.run());
        let observed = Arc::new(observation::State::default());
        let mut observing = JoinSet::new();
        if let Some(admin) = admin {
            let source = Arc::new(Observation {
                turn: live.turn.handle.clone(),
                workers: media.counters.clone(),
                directory: directory.clone(),
                connections: connections.clone(),
                web: observer,
                web_panics: web.clone(),
                certificates: Arc::clone(&live.certificates),
                drain: drain.shown().clone(),
                ports: media
                    .ports
                    .iter()
                    .copied()
                    .chain([config.turn.port])
                    .collect(),
                started_at,
                state: Arc::clone(&observed),
            });
            // As long as the daemon lives, also while it stops.
            observing.spawn(admin.serve(source, CancellationToken::new()));
        }
        let mut control = JoinSet::new();
        let (reloads, reload_requests) = api::reloads();
        let control_stop = CancellationToken::new();
        if let Some(socket) = control_socket(config, &state) {
            let api = Api::new(api::Parts {
                directory: directory.clone(),
                connections: connections.clone(),
                web: web.clone(),
                web_addresses: addresses.clone(),
                media_ports: media.ports,
                counters: media.counters.clone(),
                live: Arc::clone(&live),
                drain: drain.clone(),
                config: config.clone(),
                started,
                started_at,
            });
            control.spawn(socket.serve(api.routes(reloads), control_stop.clone()));
        }
        let daemon = Self {
            directory,
            connections,
            addresses,
            proxy_stop,
            proxy: tasks,
            web,
            workers: media.workers,
            counters: media.counters,
            live,
            place: Arc::new(Place {
                told: media.told,
                resolved: media.resolved,
                own: media.own,
            }),
            seeking: Mutex::default(),
            admin: admin_addresses,
            observed,
            _observing: observing,
            revoking,
            _keeping: keeping,
            _draining: draining,
            drain,
            reload_requests: tokio::sync::Mutex::new(reload_requests),
            control,
            control_stop,
            state,
            url: config.public.url(),
            #[cfg(any(test, feature = "testing"))]
            plane: media.plane,
        };
        daemon.seek(config);
        Ok(daemon)
    }

    /// The web ports that were really taken.
    pub fn addresses(&self) -> &[(proxy::Listener, std::net::SocketAddr)] {
        &self.addresses
    }

    /// Where monitoring asks; empty if it cannot.
    pub fn admin(&self) -> &[std::net::SocketAddr] {
        &self.admin
    }

    /// All sessions.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What each media worker counts.
    pub fn counters(&self) -> &[Arc<crate::media::worker::Counters>] {
        &self.counters
    }

    /// The TURN servers of all media workers.
    pub fn turn(&self) -> &TurnHandle {
        &self.live.turn.handle
    }

    /// Takes over what may change while connections go on: secrets, the certificate, access lists, trusted proxies,
    /// limits, levels of the log, what sessions are told. Keys that count from the next start on must be as they were.
    ///
    /// # Errors
    /// Something cannot be used; then nothing has changed. Or the workers have stopped.
    pub async fn reload(&self, config: &Config) -> anyhow::Result<()> {
        self.live.apply(config, &self.state).await?;
        self.seek(config);
        Ok(())
    }

    /// Asks in the background for the public address, if somebody wants to know it. Who was asking before asks no more.
    fn seek(&self, config: &Config) {
        let mut seeking = JoinSet::new();
        for family in self.place.wanted(config).families() {
            seeking.spawn(Arc::clone(&self.place).seek(
                config.clone(),
                family,
                Arc::clone(&self.live),
            ));
        }
        *self.seeking.lock().unwrap_or_else(PoisonError::into_inner) = seeking;
    }

    /// What TLS connections meet.
    pub fn certificates(&self) -> &proxy::CertificateStore {
        &self.live.certificates
    }

    /// How many transports the media workers hold.
    pub fn transports(&self) -> u64 {
        let held = self.counters.iter().map(|counters| &counters.transports);
        held.map(|held| held.load(Ordering::Relaxed)).sum()
    }

    /// How many rooms the media workers hold.
    pub fn rooms(&self) -> u64 {
        let held = self.counters.iter().map(|counters| &counters.rooms);
        held.map(|held| held.load(Ordering::Relaxed)).sum()
    }

    /// How many WebSockets are open.
    pub fn sockets(&self) -> usize {
        self.connections.open()
    }

    /// Whether new sessions are taken: read at any time, changed by `hanok drain`.
    pub const fn draining(&self) -> &Live<Drain> {
        self.drain.shown()
    }

    /// Waits for somebody at the control socket who wants a reload.
    async fn reload_request(&self) -> ReloadRequest {
        match self.reload_requests.lock().await.recv().await {
            Some(request) => request,
            // There is no control socket.
            None => std::future::pending().await,
        }
    }

    /// How many bugs have ended something, wherever: a session, a socket, a request, a transport, a room.
    pub fn panics(&self) -> u64 {
        let workers = self.counters.iter().map(|counters| &counters.panics);
        self.directory.panics()
            + self.connections.panics()
            + self.web.panics()
            + workers
                .map(|panics| panics.load(Ordering::Relaxed))
                .sum::<u64>()
    }

    /// What shows whether it lives.
    pub fn life(&self) -> Life {
        Life {
            url: self.url.clone(),
            pulses: self.workers.iter().map(Worker::pulse).collect(),
            directory: self.directory.clone(),
            connections: self.connections.clone(),
        }
    }

    /// Where the proxy's panics are injected.
    #[cfg(any(test, feature = "testing"))]
    pub const fn web(&self) -> &proxy::Containment {
        &self.web
    }

    /// Where workers are made to stand still.
    #[cfg(any(test, feature = "testing"))]
    pub const fn plane(&self) -> &crate::media::plane::Plane {
        &self.plane
    }

    fn announce(&self, config: &Config) {
        for (listener, address) in &self.addresses {
            tracing::info!(?listener, %address, "listening");
        }
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            openvidu = crate::OPENVIDU_VERSION,
            "ready: {}/",
            config.public.url()
        );
        service_manager::ready(&self.life().status());
    }

    /// Tells every client, ends every connection and thread, and removes a temporary state folder.
    pub async fn stop(mut self) {
        self.observed.stop();
        self.control_stop.cancel();
        // First, so that whoever comes now waits for the next daemon where a service manager holds the sockets.
        self.proxy_stop.cancel();
        self.live.turn.minted.stop_revoking();
        self.directory.shutdown(STOP_REASON).await;
        self.connections.shutdown().await;
        while self.proxy.join_next().await.is_some() {}
        while self.revoking.join_next().await.is_some() {}
        let workers = std::mem::take(&mut self.workers);
        // A worker ends within one turn of its loop; joining it must not block the runtime's threads all the same.
        let _ =
            tokio::task::spawn_blocking(move || workers.into_iter().for_each(Worker::stop)).await;
        while self.control.join_next().await.is_some() {}
    }
}

/// The control socket. A daemon that cannot be commanded serves calls all the same: what is missing is told.
fn control_socket(config: &Config, state: &StateFolder) -> Option<ControlSocket> {
    let temporary = || state.path().join(CONTROL_SOCKET_FILE);
    let path = config.control_socket.clone().unwrap_or_else(temporary);
    match ControlSocket::bind(&path) {
        Ok(socket) => {
            tracing::info!("control socket {}", path.display());
            Some(socket)
        }
        Err(error) => {
            tracing::warn!("{error}");
            None
        }
    }
}
