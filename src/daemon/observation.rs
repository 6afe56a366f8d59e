//! What monitoring is told: whether the daemon does its work, whether it takes more of it, and everything that is counted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::config::{Config, Misconfigured};
use crate::control::session::Directory;
use crate::control::signalling::Connections;
use crate::front::proxy::{self, CertificateStore, certificate};
use crate::media::plane::TurnHandle;
use crate::media::plane::service::turn::sum;
use crate::media::{turn, worker};
use crate::telemetry::log;
use crate::telemetry::service::{Admin, Source, process_families, receive_drops};
use crate::units::{Count, Live};
use crate::views::control::Drain;
use crate::views::metric::{Family, Label, Word};
use crate::views::turn::TurnCounters;

use super::inherited::{Inherited, Taken};
use super::turn::REALM;

/// How long a worker may take to answer; it is asked between two turns of its loop, each of which takes less than a
/// millisecond.
const PATIENCE: Duration = Duration::from_millis(500);

/// Everything that can be observed.
pub(super) struct Observation {
    pub(super) turn: TurnHandle,
    pub(super) workers: Vec<Arc<worker::Counters>>,
    pub(super) directory: Directory,
    pub(super) connections: Connections,
    pub(super) web: proxy::Observer,
    pub(super) web_panics: proxy::Containment,
    pub(super) certificates: Arc<CertificateStore>,
    pub(super) drain: Live<Drain>,
    /// The UDP ports of media and TURN.
    pub(super) ports: BTreeSet<u16>,
    /// When the daemon began, in seconds since the epoch.
    pub(super) started_at: u64,
    pub(super) state: Arc<State>,
}

/// What the daemon itself has to say.
#[derive(Debug, Default)]
pub(super) struct State {
    is_stopping: AtomicBool,
    reloads: Count,
    failed_reloads: Count,
    last_reload_failed: AtomicBool,
    /// What each worker's TURN server had counted when it last answered: a counter must not fall because one is stuck.
    counted: Mutex<Vec<TurnCounters>>,
}

impl State {
    /// The daemon ends.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// The configuration was read again.
    pub(super) fn reloaded(&self, succeeded: bool) {
        let count = if succeeded {
            &self.reloads
        } else {
            &self.failed_reloads
        };
        count.one();
        self.last_reload_failed.store(!succeeded, Ordering::Relaxed);
    }

    /// Takes note of what was answered, and yields the latest of every worker.
    fn remember(&self, answers: &[Option<TurnCounters>]) -> Vec<TurnCounters> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.resize(answers.len(), TurnCounters::default());
        for (known, answer) in counted.iter_mut().zip(answers) {
            *known = answer.unwrap_or(*known);
        }
        counted.clone()
    }

    fn families(&self) -> Vec<Family> {
        let outcome = |word| -> Vec<Label> { vec![("outcome", Word::Text(word))] };
        vec![
            Family::counters(
                "hanok_config_reloads_total",
                "Reloads of the configuration, by outcome.",
                [
                    (outcome("done"), self.reloads.get()),
                    (outcome("failed"), self.failed_reloads.get()),
                ],
            ),
            Family::gauge(
                "hanok_config_last_reload_successful",
                "Whether the last reload has succeeded: 0 while the configuration in the file is not the one that counts.",
                !self.last_reload_failed.load(Ordering::Relaxed),
            ),
        ]
    }
}

impl Source for Observation {
    async fn metrics(&self) -> Vec<Family> {
        let answers = self.turn.counters_by_worker(PATIENCE).await;
        let reasons = self.reasons(&answers);
        let mut families = vec![
            build(),
            Family::gauge(
                "hanok_ready",
                "Whether new sessions may come here, as /readyz says.",
                reasons.is_empty(),
            ),
            Family::gauge(
                "hanok_draining",
                "Whether new sessions are refused until the last one has ended.",
                is_draining(*self.drain.get()),
            ),
        ];
        families.extend(self.state.families());
        families.extend(by_worker(&answers, &self.turn.commands_waiting()));
        families.extend(worker::families(&self.workers));
        let turn = sum(self.state.remember(&answers));
        families.extend(turn::families(&turn, REALM));
        families.extend(self.directory.families());
        families.extend(self.connections.families());
        families.extend(self.web.families());
        families.push(Family::counter(
            "hanok_http_panics_total",
            "Bugs that ended a request or a web connection and nothing else.",
            self.web_panics.panics(),
        ));
        families.extend(certificate::metrics::families(&self.certificates));
        families.push(log::family());
        // Files of the kernel, but files.
        let started_at = self.started_at;
        let ports = self.ports.clone();
        let kernel = spawn_blocking(move || {
            let mut families = process_families(started_at);
            families.push(Family::counter(
                "hanok_network_receive_buffer_dropped_packets_total",
                "Datagrams for media and TURN that came faster than they were read, so that the kernel dropped them.",
                receive_drops("self", &ports),
            ));
            families
        });
        families.extend(kernel.await.unwrap_or_default());
        families
    }

    async fn ailments(&self) -> Vec<String> {
        stuck(&self.turn.counters_by_worker(PATIENCE).await)
    }

    async fn reasons_to_wait(&self) -> Vec<String> {
        self.reasons(&self.turn.counters_by_worker(PATIENCE).await)
    }
}

impl Observation {
    fn reasons(&self, answers: &[Option<TurnCounters>]) -> Vec<String> {
        let is_stopping = self.state.is_stopping.load(Ordering::Relaxed);
        reasons(answers, *self.drain.get(), is_stopping)
    }
}

/// Why no new session should come here.
fn reasons(answers: &[Option<TurnCounters>], drain: Drain, is_stopping: bool) -> Vec<String> {
    let mut reasons = stuck(answers);
    if is_draining(drain) {
        reasons.push("draining: new sessions are refused".to_owned());
    }
    if is_stopping {
        reasons.push("stopping".to_owned());
    }
    reasons
}

const fn is_draining(drain: Drain) -> bool {
    match drain {
        Drain::Running => false,
        Drain::Draining { .. } | Drain::Drained => true,
    }
}

fn stuck(answers: &[Option<TurnCounters>]) -> Vec<String> {
    let silent = answers.iter().enumerate().filter(|(_, it)| it.is_none());
    silent
        .map(|(index, _)| format!("media worker {index} does not answer"))
        .collect()
}

fn build() -> Family {
    let labels = vec![
        ("version", Word::Text(env!("CARGO_PKG_VERSION"))),
        ("openvidu", Word::Text(crate::OPENVIDU_VERSION)),
    ];
    Family::gauges(
        "hanok_build_info",
        "The version of this program, and the one that clients are told. Always 1.",
        [(labels, 1_u64.into())],
    )
}

fn by_worker(answers: &[Option<TurnCounters>], waiting: &[usize]) -> [Family; 2] {
    let of = |index| vec![("worker", Word::Number(index))];
    let up = answers.iter().enumerate();
    let waiting = waiting.iter().enumerate();
    [
        Family::gauges(
            "hanok_worker_up",
            "Whether a media worker answers.",
            up.map(|(index, answer)| (of(index), answer.is_some().into())),
        ),
        Family::gauges(
            "hanok_worker_commands_waiting",
            "Commands of the control plane that wait for a media worker.",
            waiting.map(|(index, waiting)| (of(index), (*waiting).into())),
        ),
    ]
}

/// Takes the port of `HANOK_ADMIN_LISTEN`. Whoever did not ask for it can do without.
pub(super) fn bind(
    config: &Config,
    inherited: &mut Inherited,
) -> Result<Option<Admin>, Misconfigured> {
    let Some(listen) = config.admin_listen else {
        return Ok(None);
    };
    let wanted = listen.socket_addrs(&config.media.bind);
    let Taken { sockets, rest } = inherited.listeners("HANOK_ADMIN_LISTEN", wanted)?;
    let name = config.public.host.to_string();
    match Admin::bind(sockets, &rest, name) {
        Ok(admin) => {
            for address in admin.addresses() {
                tracing::info!(%address, "metrics and health");
            }
            Ok(Some(admin))
        }
        Err((address, error)) if config.admin_listen_is_set => Err(Misconfigured(format!(
            "cannot listen on {address} (HANOK_ADMIN_LISTEN): {error}; stop what uses the port, choose another one, or do \
             without (HANOK_ADMIN_LISTEN=)"
        ))),
        Err((address, error)) => {
            // Of two daemons that somebody tries out, one is the second.
            if config.dev {
                tracing::info!(%address, %error, "no metrics and health: set HANOK_ADMIN_LISTEN");
            } else {
                tracing::warn!(%address, %error, "no metrics and health: set HANOK_ADMIN_LISTEN");
            }
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stuck_worker_had_counted_still_counts() {
        let state = State::default();
        let one = |bindings| {
            Some(TurnCounters {
                bindings,
                ..TurnCounters::default()
            })
        };
        assert_eq!(sum(state.remember(&[one(3), one(4)])).bindings, 7);
        assert_eq!(sum(state.remember(&[None, one(5)])).bindings, 8);
        assert_eq!(sum(state.remember(&[one(6), None])).bindings, 11);
        assert_eq!(stuck(&[one(1), None]), ["media worker 1 does not answer"]);
    }

    #[test]
    fn who_drains_or_stops_or_has_a_stuck_worker_is_not_ready_but_only_the_last_is_ill() {
        let well = [Some(TurnCounters::default())];
        assert!(reasons(&well, Drain::Running, false).is_empty());
        for drain in [Drain::Draining { until: 7 }, Drain::Drained] {
            let reasons = reasons(&well, drain, false);
            assert_eq!(reasons, ["draining: new sessions are refused"]);
        }
        assert_eq!(reasons(&well, Drain::Running, true), ["stopping"]);
        assert!(stuck(&well).is_empty());
        assert_eq!(reasons(&[None], Drain::Drained, true).len(), 3);
    }

    #[test]
    fn a_reload_that_succeeds_makes_good_for_one_that_failed() {
        let state = State::default();
        let last = || {
            let families = state.families();
            families[1].samples[0].value
        };
        assert_eq!(last(), 1_u64.into());
        state.reloaded(false);
        assert_eq!(last(), 0_u64.into());
        state.reloaded(true);
        assert_eq!(last(), 1_u64.into());
        assert_eq!((state.reloads.get(), state.failed_reloads.get()), (1, 1));
    }
}
