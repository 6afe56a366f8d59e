//! What the service manager is told (sd_notify(3)): readiness, reloads, the end, a line of status, signs of life. Where
//! nobody listens (`NOTIFY_SOCKET`) nothing is said.

use std::fmt;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Daemon;
use super::watchdog::{self, Standing, Watchdog};
use crate::control::session::Directory;
use crate::control::signalling::Connections;
use crate::media::worker::Pulse;

/// How often the line of status is looked at without a watchdog.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Everything is bound.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins. `Type=notify-reload` wants a time that it can compare with that of its own signal.
pub(super) fn reloading() {
    let mut states = vec![
        NotifyState::Reloading,
        NotifyState::Status("reading the configuration again"),
    ];
    states.extend(NotifyState::monotonic_usec_now());
    tell(&states);
}

/// The end begins.
pub(super) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: clients are told"),
    ]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Whoever does not listen any more cannot be told so either.
    let _ = sd_notify::notify(states);
}

/// Tells of life and status until it is dropped.
pub(super) fn watch(daemon: &Daemon) -> JoinSet<()> {
    let mut watching = JoinSet::new();
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        let patience = sd_notify::watchdog_enabled();
        watching.spawn(daemon.life().tell(patience, tell));
    }
    watching
}

/// What shows whether a daemon lives, and how it does.
#[derive(Clone)]
pub struct Life {
    pub(super) url: String,
    pub(super) pulses: Vec<Pulse>,
    pub(super) directory: Directory,
    pub(super) connections: Connections,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Life {
    /// Calls `tell` with `WATCHDOG=1` while everything moves, four times in `patience`, and with `STATUS=` when
    /// that has changed. Works until it is dropped.
    pub async fn tell(self, patience: Option<Duration>, tell: impl Fn(&[NotifyState<'_>])) {
        let every = patience.map_or(STATUS_INTERVAL, watchdog::interval);
        // WATCHDOG_USEC=0 would be no interval.
        let every = every.max(Duration::from_millis(1));
        let mut looks = interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one is due at once.
        looks.tick().await;
        let mut watchdog = Watchdog::default();
        let mut asking = JoinSet::new();
        let mut standing = Standing::default();
        let mut status = self.status();
        loop {
            self.pulses.iter().for_each(Pulse::wake);
            looks.tick().await;
            let answers = self.control_answers(&mut asking, every).await;
            let turns = self.pulses.iter().map(Pulse::turns).collect();
            let now_standing = watchdog.look(turns, answers);
            let mut states = Vec::new();
            if now_standing.is_empty() && patience.is_some() {
                states.push(NotifyState::Watchdog);
            }
            if now_standing != standing {
                report(&now_standing);
                standing = now_standing;
            }
            // Whoever holds the directory's lock would hold us as well.
            if answers {
                let now = self.status();
                if now != status {
                    status = now;
                    states.push(NotifyState::Status(&status));
                }
            }
            if !states.is_empty() {
                tell(&states);
            }
        }
    }

    /// Whether the session directory answers, asked by a task of its own: a lock that is never released would hold it
    /// for ever.
    async fn control_answers(&self, asking: &mut JoinSet<()>, patience: Duration) -> bool {
        if asking.is_empty() {
            let directory = self.directory.clone();
            asking.spawn(async move {
                drop(directory.find(""));
            });
        }
        timeout(patience, asking.join_next()).await.is_ok()
    }

    /// The line that `systemctl status` shows.
    pub fn status(&self) -> String {
        let count = |count: usize, one: &str, many: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {many}"),
        };
        let sessions = self.directory.occupancy().borrow().sessions;
        format!(
            "{}{}/: {}, {}",
            if self.directory.is_refusing() {
                "draining "
            } else {
                ""
            },
            self.url,
            count(sessions, "session", "sessions"),
            count(self.connections.open(), "client", "clients"),
        )
    }
}

fn report(standing: &Standing) {
    if standing.is_empty() {
        tracing::warn!("everything moves again");
    } else {
        tracing::error!(
            "{standing} has not moved for a while: unless it does, the service manager's watchdog restarts the daemon"
        );
    }
}
