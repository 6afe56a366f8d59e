//! Composition root: construct, wire, start, stop.
//!
//! The order of a start: state folder, secrets, certificate, media workers (their ports first), sessions, web ports,
//! readiness. Everything is bound before readiness is reported. A stop goes the other way: clients are told and
//! evicted, web connections finish, workers close their transports, exit 0 within `HANOK_STOP_DEADLINE`.

pub mod adapters;
mod media;
mod neighbours;
mod port_owner;
mod public_address;
mod reload;
pub mod revoked;
mod state;
mod turn;
mod web;

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Loaded, Options};
use crate::control::access::Gate;
use crate::control::session::Directory;
use crate::control::signalling::Connections;
use crate::front::proxy;
use crate::media::plane::TurnHandle;
use crate::media::worker::Worker;
use crate::units::{Live, clock};
use adapters::{MintedTurnCredentials, OverTls};
use public_address::Place;
use reload::{Changeable, Current};
use revoked::RevokedNames;
use state::StateFolder;

/// The reason that clients are told on an orderly stop (`openvidu-signalling` section 12).
const STOP_REASON: &str = "openviduServerStopped";

/// Runs the daemon until SIGTERM or SIGINT. SIGHUP reloads the configuration, which `options` say where to find.
///
/// # Errors
/// Something that a start needs is missing; the message says what to change. With
/// [`Misconfigured`](crate::config::Misconfigured) the exit status is 78.
pub fn serve(loaded: Loaded, options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("control")
        .enable_all()
        .build()
        .context("the control plane's threads cannot start")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
        let mut hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be watched")?;
        let daemon = Daemon::start(&loaded.config).await?;
        daemon.announce(&loaded.config);
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
                tokio::select! {
                    signal = &mut stop => break signal,
                    _ = hangup.recv() => {}
                }
                if is_trial {
                    break "SIGHUP";
                }
                tokio::select! {
                    signal = &mut stop => break signal,
                    loaded = reload::reload(&daemon, Arc::clone(&running), &options) => running = loaded,
                }
            }
        };
        tracing::info!("{signal}: stopping");
        let deadline = running.config.stop_deadline;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
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
    revoking: JoinSet<()>,
    _keeping: JoinSet<()>,
    state: StateFolder,
}

impl Daemon {
    /// Binds everything and starts serving; must run inside a tokio runtime.
    ///
    /// # Errors
    /// Something is missing; the message says what to change.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let state = StateFolder::open(&config.state)?;
        let turn_secrets = state.turn_secrets(&config.turn.secrets)?;
        let (certificates, keeper) = web::certificate(config, state.path())?;
        let (kept, revoked) = RevokedNames::open(state.path(), clock::wall_ms() / 1000);
        let known = turn::Known {
            secrets: &turn_secrets,
            revoked: &revoked,
        };
        let media = media::start(config, &known).await?;
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
            media.plane,
        );
        let rules = Live::new(web::rules(config, &[]));
        let proxy = web::bind(
            config,
            state.path(),
            Arc::clone(&certificates),
            services,
            rules.clone(),
        )?;
        let addresses = proxy.addresses().collect();
        let (web, routing) = (proxy.containment(), proxy.routing());
        let proxy_stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(proxy.serve(proxy_stop.clone()));
        let mut keeping = JoinSet::new();
        keeping.spawn(keeper.run());
        let daemon = Self {
            directory,
            connections,
            addresses,
            proxy_stop,
            proxy: tasks,
            web,
            workers: media.workers,
            counters: media.counters,
            live: Arc::new(Changeable {
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
            }),
            place: Arc::new(Place {
                told: media.told,
                resolved: media.resolved,
                own: media.own,
            }),
            seeking: Mutex::default(),
            revoking,
            _keeping: keeping,
            state,
        };
        daemon.seek(config);
        Ok(daemon)
    }

    /// The web ports that were really taken.
    pub fn addresses(&self) -> &[(proxy::Listener, std::net::SocketAddr)] {
        &self.addresses
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

    /// Where the proxy's panics are injected.
    #[cfg(any(test, feature = "testing"))]
    pub const fn web(&self) -> &proxy::Containment {
        &self.web
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
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Tells every client, ends every connection and thread, and removes a temporary state folder.
    pub async fn stop(mut self) {
        self.live.turn.minted.stop_revoking();
        while self.revoking.join_next().await.is_some() {}
        self.directory.shutdown(STOP_REASON).await;
        self.connections.shutdown().await;
        self.proxy_stop.cancel();
        while self.proxy.join_next().await.is_some() {}
        let workers = std::mem::take(&mut self.workers);
        // A worker ends within one turn of its loop; joining it must not block the runtime's threads all the same.
        let _ =
            tokio::task::spawn_blocking(move || workers.into_iter().for_each(Worker::stop)).await;
    }
}
