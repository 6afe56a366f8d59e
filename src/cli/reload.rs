//! `hanok reload`: has the daemon read its configuration again, and tells what became of it.

use std::io::{self, Write};
use std::time::Duration;

use http::{Method, StatusCode};

use crate::cli::control::{SocketArguments, failed};
use crate::cli::{EXIT_CONFIG, EXIT_SUCCESS, Terminal};
use crate::config::Machine;
use crate::views::control::Reload;

/// How long a reload may take: names may have to be resolved, and others may be waiting.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    socket: SocketArguments,
}

pub(super) fn run<O: Write, E: Write>(
    arguments: Arguments,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let daemon = match arguments.socket.daemon(machine, terminal)? {
        Ok(daemon) => daemon,
        Err(status) => return Ok(status),
    };
    let outcome = match daemon.call(Method::POST, "/reload", None, PATIENCE) {
        Ok((StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY, answer)) => {
            daemon.read::<Reload>(&answer)
        }
        Ok((status, answer)) => Err(crate::cli::control::service::refusal(status, &answer)),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(reload) => tell(&reload, terminal),
        Err(failure) => failed(&failure, terminal),
    }
}

fn tell<O: Write, E: Write>(reload: &Reload, terminal: &mut Terminal<O, E>) -> io::Result<u8> {
    let file = match &reload.file {
        Some(file) => file.display().to_string(),
        None => "the process environment".to_owned(),
    };
    if !reload.problems.is_empty() {
        writeln!(terminal.err, "not reloaded, everything stays as it was:")?;
        for problem in &reload.problems {
            writeln!(terminal.err, "  * {problem}")?;
        }
        return Ok(EXIT_CONFIG);
    }
    let out = &mut terminal.out;
    if reload.changed.is_empty() {
        writeln!(
            out,
            "{file} is read: no key has changed that counts at once"
        )?;
    } else {
        let keys = reload.changed.join(", ");
        writeln!(out, "{file} is read; from now on these count: {keys}")?;
    }
    if !reload.at_next_start.is_empty() {
        let keys = reload.at_next_start.join(", ");
        writeln!(
            out,
            "these count from the next start on (`systemctl restart hanok`): {keys}"
        )?;
    }
    for warning in &reload.warnings {
        writeln!(terminal.err, "warning: {warning}")?;
    }
    Ok(EXIT_SUCCESS)
}
