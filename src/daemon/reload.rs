//! SIGHUP: the configuration is read again, and what may change while calls go on changes, all of it or nothing.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::state::StateFolder;
use super::{Daemon, service_manager, turn, web};
use crate::config::{self, Config, Loaded, Options, Reloaded, Report, ThisMachine};
use crate::control::access::Gate;
use crate::control::{rest, session};
use crate::front::proxy::{self, CertificateStore};
use crate::telemetry::log;
use crate::units::Live;
use crate::views::control as view;

/// What changes while connections go on, by a reload or because the public address was found.
pub(super) struct Changeable {
    pub(super) certificates: Arc<CertificateStore>,
    pub(super) gate: Gate,
    pub(super) rules: Live<proxy::Rules>,
    pub(super) routing: proxy::RoutingHandle,
    pub(super) rest: Live<rest::Settings>,
    pub(super) sessions: Live<session::Settings>,
    pub(super) turn: turn::Control,
    /// Locked by whoever changes something, so that both see what the other one did.
    pub(super) current: Mutex<Current>,
    /// What the configuration has to say, as it was last read.
    pub(super) told: Live<Told>,
}

/// What the configuration has to say.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Its warnings.
    pub(super) warnings: Vec<String>,
    /// Keys whose new values wait for the next start.
    pub(super) at_next_start: Vec<&'static str>,
}

/// What the values are made of.
pub(super) struct Current {
    pub(super) config: Config,
    /// What clients are told as the STUN/TURN server.
    pub(super) turn_host: String,
    /// The public addresses that were found, at most one of each family.
    pub(super) public: Vec<IpAddr>,
}

impl Changeable {
    /// Takes over all of `config` that may change.
    ///
    /// # Errors
    /// Something cannot be used; then nothing has changed. Or the workers have stopped.
    pub(super) async fn apply(&self, config: &Config, state: &StateFolder) -> anyhow::Result<()> {
        let mut current = self.current.lock().await;
        // First whatever can fail.
        let secrets = state.turn_secrets(&config.turn.secrets)?;
        let certificate = web::own_certificate(config)?;
        let rules = web::rules(config, &current.public);
        self.turn
            .apply(&config.turn, secrets, &current.public)
            .await?;
        if let Some(certificate) = certificate {
            self.certificates.replace(certificate);
        }
        self.gate.set_secret(config.secret.clone());
        self.rules.set(rules);
        self.routing.set(web::routing(config, state.path()));
        self.rest.set(web::rest_settings(config));
        let sessions = web::session_settings(config, &current.turn_host);
        self.sessions.set(sessions);
        log::set_levels(&config.log);
        current.config = config.clone();
        Ok(())
    }

    /// Keeps for `hanok status` what the configuration has to say.
    pub(super) fn tell(&self, loaded: &Loaded, at_next_start: &[&'static str]) {
        let warnings = loaded.notes.iter().filter(|note| note.is_warning());
        self.told.set(Told {
            warnings: warnings.map(ToString::to_string).collect(),
            at_next_start: at_next_start.to_vec(),
        });
    }

    /// Takes note that others reach this machine by `address`, which clients are told as the STUN/TURN server if
    /// `is_told`.
    pub(super) async fn is_reached_by(&self, address: IpAddr, is_told: bool) {
        let mut current = self.current.lock().await;
        let other_family = |known: &IpAddr| known.is_ipv4() != address.is_ipv4();
        current.public.retain(other_family);
        current.public.push(address);
        if is_told {
            current.turn_host = address.to_string();
        }
        let Current {
            config,
            turn_host,
            public,
        } = &*current;
        self.rules.set(web::rules(config, public));
        self.sessions.set(web::session_settings(config, turn_host));
        // Workers that have stopped relay nothing.
        let _ = self.turn.deny_ourselves(&config.turn, public).await;
    }
}

/// The outcome where nothing was read.
pub(super) fn nothing_to_read() -> view::Reload {
    view::Reload {
        problems: vec![
            "`hanok serve --dev` without --env-file has read no file: there is nothing to read again".to_owned(),
        ],
        ..view::Reload::default()
    }
}

/// Reads the configuration again and takes over what a reload may change. Returns what counts from now on, `running`
/// itself if anything is wrong, which is told line by line; and what became of it, for who asked.
///
/// Cancel safe as far as a daemon needs that stops: what was not taken over yet is not.
pub(super) async fn reload(
    daemon: &Daemon,
    running: Arc<Loaded>,
    options: &Options,
) -> (Arc<Loaded>, view::Reload) {
    service_manager::reloading();
    let taken_over = take_over(daemon, &running, options).await;
    daemon.observed.reloaded(taken_over.is_ok());
    service_manager::ready(&daemon.life().status());
    match taken_over {
        Ok((loaded, outcome)) => (Arc::new(loaded), outcome),
        Err(problems) => {
            for problem in &problems {
                tracing::error!("{problem}");
            }
            tracing::error!("the configuration is not reloaded: everything stays as it was");
            let outcome = view::Reload {
                file: file_of(&running),
                problems,
                ..view::Reload::default()
            };
            (running, outcome)
        }
    }
}

/// All of it, or every problem, each in one line.
async fn take_over(
    daemon: &Daemon,
    running: &Arc<Loaded>,
    options: &Options,
) -> Result<(Loaded, view::Reload), Vec<String>> {
    let Reloaded {
        loaded,
        changed,
        at_next_start,
    } = read(Arc::clone(running), options.clone()).await?;
    let applied = daemon.reload(&loaded.config).await;
    applied.map_err(|error| vec![format!("{error:#}")])?;
    daemon.live.tell(&loaded, &at_next_start);
    for note in &loaded.notes {
        if note.is_warning() && !running.notes.contains(note) {
            tracing::warn!("{note}");
        }
    }
    if changed.is_empty() {
        tracing::info!("configuration reloaded: no key has changed that a reload may change");
    } else {
        tracing::info!("configuration reloaded: {}", changed.join(", "));
    }
    if !at_next_start.is_empty() {
        tracing::warn!(
            "changed, but counting from the next start on: {}",
            at_next_start.join(", ")
        );
    }
    let own = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect();
    let outcome = view::Reload {
        file: file_of(&loaded),
        problems: Vec::new(),
        changed: own(changed),
        at_next_start: own(at_next_start),
        warnings: daemon.live.told.get().warnings.clone(),
    };
    Ok((loaded, outcome))
}

fn file_of(loaded: &Loaded) -> Option<PathBuf> {
    loaded.config.file.clone()
}

async fn read(running: Arc<Loaded>, options: Options) -> Result<Reloaded, Vec<String>> {
    // Names may have to be resolved.
    let read =
        tokio::task::spawn_blocking(move || config::reload(&ThisMachine, &options, &running));
    let lines = |report: Report| report.problems.iter().map(ToString::to_string).collect();
    match read.await {
        Ok(read) => read.map_err(lines),
        Err(error) => Err(vec![format!("the configuration cannot be read: {error}")]),
    }
}
