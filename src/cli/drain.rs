//! `hanok drain`: no new sessions; the daemon ends with the last one, or at the deadline.

use std::io::{self, Write};
use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::cli::control::service::pause;
use crate::cli::control::{Daemon, SocketArguments, failed};
use crate::cli::{EXIT_FAILURE, EXIT_SUCCESS, Terminal, duration};
use crate::config::Machine;
use crate::units::clock;
use crate::views::control::{Drain, Draining};

/// Between two looks at a drain.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    socket: SocketArguments,
    /// When the daemon ends at the latest: seconds, or a number with s, m, h or d, at most 7d
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = deadline)]
    deadline: Duration,
    /// Take new sessions again
    #[arg(long, conflicts_with_all = ["deadline", "wait"])]
    cancel: bool,
    /// Return when the daemon has ended, and tell how far it is meanwhile
    #[arg(long)]
    wait: bool,
}

pub(super) fn run<O: Write, E: Write>(
    arguments: Arguments,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let Arguments {
        socket,
        deadline,
        cancel,
        wait,
    } = arguments;
    let daemon = match socket.daemon(machine, terminal)? {
        Ok(daemon) => daemon,
        Err(status) => return Ok(status),
    };
    let ordered: Result<Draining, _> = if cancel {
        daemon.ask(Method::DELETE, "/drain", None)
    } else {
        let body = json!({"deadlineSecs": deadline.as_secs()});
        daemon.ask(Method::POST, "/drain", Some(&body))
    };
    match ordered {
        Ok(progress) => {
            writeln!(terminal.out, "{}", sentence(progress))?;
            if wait {
                return follow(&daemon, progress, terminal);
            }
            Ok(EXIT_SUCCESS)
        }
        Err(failure) => failed(&failure, terminal),
    }
}

/// Tells how far the drain is until the daemon has ended.
fn follow<O: Write, E: Write>(
    daemon: &Daemon,
    mut told: Draining,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    loop {
        pause(LOOK);
        match daemon.ask::<Draining>(Method::GET, "/drain", None) {
            Ok(Draining {
                drain: Drain::Running,
                ..
            }) => {
                writeln!(terminal.err, "somebody has cancelled the drain")?;
                return Ok(EXIT_FAILURE);
            }
            Ok(progress) => {
                if progress != told {
                    writeln!(terminal.out, "{}", sentence(progress))?;
                    told = progress;
                }
            }
            Err(failure) if failure.is_gone() => {
                writeln!(terminal.out, "hanok has ended")?;
                return Ok(EXIT_SUCCESS);
            }
            Err(failure) => return failed(&failure, terminal),
        }
    }
}

fn sentence(progress: Draining) -> String {
    let Draining {
        drain,
        sessions,
        occupied,
    } = progress;
    match drain {
        Drain::Running => "new sessions are taken".to_owned(),
        Drain::Draining { until } => {
            let left = until.saturating_sub(clock::wall_ms() / 1000);
            let left = duration::shown(left);
            format!(
                "draining: new sessions are refused; sessions left: {sessions}, with participants: {occupied}; hanok ends with the \
                 last one, in {left} at the latest"
            )
        }
        Drain::Drained => "drained: hanok is ending".to_owned(),
    }
}

fn deadline(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(7 * 86_400);
    duration::parse(text)
        .filter(|deadline| *deadline <= longest)
        .ok_or_else(|| "write seconds, or a number with s, m, h or d, at most 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_may_be_at_once_and_has_an_end() {
        assert_eq!(deadline("0"), Ok(Duration::ZERO));
        assert_eq!(deadline("30m"), Ok(Duration::from_secs(1_800)));
        assert_eq!(deadline("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["8d", "soon", "-1m"] {
            assert!(deadline(wrong).is_err(), "{wrong}");
        }
    }
}
