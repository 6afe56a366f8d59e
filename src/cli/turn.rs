//! `hanok turn`: the TURN server's allocations, and the end of one.

use std::io::{self, Write};

use http::Method;

use crate::cli::control::{SocketArguments, failed, printable};
use crate::cli::{EXIT_SUCCESS, Terminal, duration};
use crate::config::Machine;
use crate::views::turn::Allocation;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the allocations, with user, addresses and traffic
    List(List),
    /// End an allocation; its client may make another one
    Kick(Kick),
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    socket: SocketArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Kick {
    /// The allocation's id, as `hanok turn list` shows it
    #[arg(value_name = "ALLOCATION", value_parser = allocation_id)]
    allocation: String,
    #[command(flatten)]
    socket: SocketArguments,
}

/// It goes into a path as it is.
fn allocation_id(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    let begins = text.as_bytes().first().is_some_and(u8::is_ascii_digit);
    if begins && text.len() <= 64 && text.bytes().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("write what `hanok turn list` shows, such as 0.12.3".to_owned())
    }
}

pub(super) fn run<O: Write, E: Write>(
    command: Command,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    match command {
        Command::List(arguments) => list(arguments, machine, terminal),
        Command::Kick(arguments) => kick(arguments, machine, terminal),
    }
}

fn list<O: Write, E: Write>(
    List { socket, json }: List,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let daemon = match socket.daemon(machine, terminal)? {
        Ok(daemon) => daemon,
        Err(status) => return Ok(status),
    };
    match daemon.ask::<Vec<Allocation>>(Method::GET, "/allocations", None) {
        Ok(allocations) if json => {
            writeln!(terminal.out, "{}", serde_json::json!(allocations))?;
            Ok(EXIT_SUCCESS)
        }
        Ok(allocations) => {
            for allocation in &allocations {
                show(allocation, &mut terminal.out)?;
            }
            let count = allocations.len();
            writeln!(terminal.out, "{count} allocations")?;
            Ok(EXIT_SUCCESS)
        }
        Err(failure) => failed(&failure, terminal),
    }
}

fn show(allocation: &Allocation, out: &mut impl Write) -> io::Result<()> {
    let relayed: Vec<_> = allocation.relayed.iter().map(ToString::to_string).collect();
    let bytes = allocation.bytes_to_peers + allocation.bytes_to_client;
    writeln!(
        out,
        "{}  {}  {} by {} to {}, for {}, {} permissions, {} channels, {bytes} bytes",
        printable(&allocation.id),
        printable(&allocation.username),
        allocation.client,
        printable(&allocation.protocol),
        relayed.join(" and "),
        duration::shown(allocation.age_secs),
        allocation.permissions,
        allocation.channels,
    )
}

fn kick<O: Write, E: Write>(
    Kick { allocation, socket }: Kick,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let daemon = match socket.daemon(machine, terminal)? {
        Ok(daemon) => daemon,
        Err(status) => return Ok(status),
    };
    match daemon.tell(Method::DELETE, &format!("/allocations/{allocation}")) {
        Ok(()) => {
            writeln!(terminal.out, "allocation {allocation} has ended")?;
            Ok(EXIT_SUCCESS)
        }
        Err(failure) => failed(&failure, terminal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_is_named_as_it_is_shown() {
        assert_eq!(allocation_id("0.12.3").as_deref(), Ok("0.12.3"));
        for wrong in ["", ".", "../x", "0/1", "all"] {
            assert!(allocation_id(wrong).is_err(), "{wrong}");
        }
    }
}
