//! SIGHUP: the configuration is read again, and what may change while calls go on changes, all of it or nothing.

use std::sync::Arc;

use sd_notify::NotifyState;

use super::Daemon;
use crate::config::{self, Loaded, Options, Reloaded, Report, ThisMachine};

/// Reads the configuration again and takes over what a reload may change. Returns what counts from now on: `running`
/// itself if anything is wrong, which is told line by line.
///
/// Cancel safe as far as a daemon needs that stops: what was not taken over yet is not.
pub(super) async fn reload(
    daemon: &Daemon,
    running: Arc<Loaded>,
    options: &Options,
) -> Arc<Loaded> {
    // What systemd expects of Type=notify-reload: a time that it can compare with that of its own signal.
    let mut reloading = vec![NotifyState::Reloading];
    reloading.extend(NotifyState::monotonic_usec_now());
    let _ = sd_notify::notify(&reloading);
    let taken_over = take_over(daemon, &running, options).await;
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    match taken_over {
        Ok(loaded) => Arc::new(loaded),
        Err(problems) => {
            for problem in problems {
                tracing::error!("{problem}");
            }
            tracing::error!("the configuration is not reloaded: everything stays as it was");
            running
        }
    }
}

/// All of it, or every problem, each in one line.
async fn take_over(
    daemon: &Daemon,
    running: &Arc<Loaded>,
    options: &Options,
) -> Result<Loaded, Vec<String>> {
    let Reloaded {
        loaded,
        changed,
        at_next_start,
    } = read(Arc::clone(running), options.clone()).await?;
    let applied = daemon.reload(&loaded.config).await;
    applied.map_err(|error| vec![format!("{error:#}")])?;
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
    Ok(loaded)
}

async fn read(running: Arc<Loaded>, options: Options) -> Result<Reloaded, Vec<String>> {
    // Names may have to be resolved.
    let read = tokio::task::spawn_blocking(move || {
        config::reload(&ThisMachine, &options, &running)
    });
    let lines = |report: Report| report.problems.iter().map(ToString::to_string).collect();
    match read.await {
        Ok(read) => read.map_err(lines),
        Err(error) => Err(vec![format!("the configuration cannot be read: {error}")]),
    }
}
