//! Composition root: construct, wire, start, stop.
//!
//! The order of a start: state folder, secrets, certificate, media workers (their ports first), sessions, web ports,
//! readiness. Everything is bound before readiness is reported. A stop goes the other way: clients are told and
//! evicted, web connections finish, workers close their transports, exit 0 within `HANOK_STOP_DEADLINE`.

pub mod adapters;
mod media;
mod port_owner;
mod state;
mod turn;
mod web;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::control::access::Gate;
use crate::control::session::Directory;
use crate::control::signalling::Connections;
use crate::front::proxy;
use crate::media::plane::TurnHandle;
use crate::media::worker::Worker;
use adapters::MintedTurnCredentials;
use state::StateFolder;

/// The reason that clients are told on an orderly stop (`openvidu-signalling` section 12).
const STOP_REASON: &str = "openviduServerStopped";

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// Something that a start needs is missing; the message says what to change. With
/// [`Misconfigured`](crate::config::Misconfigured) the exit status is 78.
pub fn serve(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("control")
        .enable_all()
        .build()
        .context("the control plane's threads cannot start")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be watched")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be watched")?;
        let daemon = Daemon::start(&config).await?;
        daemon.announce(&config);
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let stopped = tokio::select! {
            stopped = tokio::time::timeout(config.stop_deadline, daemon.stop()) => stopped.is_ok(),
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
        };
        if !stopped {
            tracing::warn!(
                deadline = ?config.stop_deadline,
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
    proxy: tokio::task::JoinSet<()>,
    web: proxy::Containment,
    workers: Vec<Worker>,
    counters: Vec<Arc<crate::media::worker::Counters>>,
    turn: turn::Control,
    _revoking: tokio::task::JoinSet<()>,
    _keeping: tokio::task::JoinSet<()>,
    certificates: Arc<proxy::CertificateStore>,
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
        let media = media::start(config, &turn_secrets).await?;
        let (minted, revocations) = MintedTurnCredentials::new(turn_secrets);
        let turn = turn::Control {
            handle: media.plane.turn(),
            minted: Arc::new(minted),
            workers: media.workers.len(),
        };
        let mut revoking = tokio::task::JoinSet::new();
        revoking.spawn(revocations.carry_to(turn.handle.clone()));
        let directory = Directory::new(
            web::session_settings(config, &media.turn_host),
            media.plane.clone(),
            turn.minted.clone(),
        );
        // One for all that take the secret from outside, so that wrong guesses add up.
        let gate = Gate::new(config.secret.clone());
        let connections = Connections::new(directory.clone(), gate.clone());
        let proxy = web::bind(
            config,
            Arc::clone(&certificates),
            directory.clone(),
            &connections,
            gate,
            media.plane,
        )?;
        let addresses = proxy.addresses().collect();
        let web = proxy.containment();
        let proxy_stop = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(proxy.serve(proxy_stop.clone()));
        let mut keeping = tokio::task::JoinSet::new();
        keeping.spawn(keeper.run());
        Ok(Self {
            directory,
            connections,
            addresses,
            proxy_stop,
            proxy: tasks,
            web,
            workers: media.workers,
            counters: media.counters,
            turn,
            _revoking: revoking,
            _keeping: keeping,
            certificates,
            state,
        })
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

    /// The certificate that is served.
    pub fn certificates(&self) -> &proxy::CertificateStore {
        &self.certificates
    }

    /// The TURN servers of all media workers.
    pub fn turn(&self) -> &TurnHandle {
        &self.turn.handle
    }

    /// Takes over what of TURN may change while it runs: secrets, users, peers and limits.
    ///
    /// # Errors
    /// A secret cannot be kept, or the workers have stopped.
    pub async fn reload_turn(&self, config: &Config) -> anyhow::Result<()> {
        let secrets = self.state.turn_secrets(&config.turn.secrets)?;
        self.turn.apply(&config.turn, secrets).await?;
        Ok(())
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
