//! `hanok healthcheck`: whether the daemon works, in one line and by the exit status, for monitors and containers.

use std::io::{self, Write};

use http::Method;

use crate::cli::control::service::SOON;
use crate::cli::control::{SocketArguments, failed};
use crate::cli::{EXIT_FAILURE, EXIT_SUCCESS, Terminal};
use crate::config::Machine;
use crate::views::control::Health;

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
    let answer = daemon.call(Method::GET, "/health", None, SOON);
    match answer.and_then(|(_, answer)| daemon.read::<Health>(&answer)) {
        Ok(Health {
            is_healthy: true,
            text,
        }) => {
            writeln!(terminal.out, "{text}")?;
            Ok(EXIT_SUCCESS)
        }
        Ok(Health { text, .. }) => {
            writeln!(terminal.err, "{text}")?;
            Ok(EXIT_FAILURE)
        }
        Err(failure) => failed(&failure, terminal),
    }
}
