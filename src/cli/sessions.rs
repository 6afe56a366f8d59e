//! `hanok sessions`: what there is, and the end of one.

use std::io::{self, Write};

use http::{Method, StatusCode};

use crate::cli::control::{Failure, SocketArguments, failed, printable, session_id};
use crate::cli::{EXIT_FAILURE, EXIT_SUCCESS, Terminal, duration};
use crate::config::Machine;
use crate::units::clock;
use crate::views::control::Session;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the sessions, oldest first, with participants, streams and unused tokens
    List(List),
    /// Close a session; everyone in it is told
    Close(Close),
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
pub(super) struct Close {
    /// The session's id
    #[arg(value_name = "SESSION", value_parser = session_id)]
    session: String,
    #[command(flatten)]
    socket: SocketArguments,
}

pub(super) fn run<O: Write, E: Write>(
    command: Command,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    match command {
        Command::List(arguments) => list(arguments, machine, terminal),
        Command::Close(arguments) => close(arguments, machine, terminal),
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
    match daemon.ask::<Vec<Session>>(Method::GET, "/sessions", None) {
        Ok(sessions) if json => {
            writeln!(terminal.out, "{}", serde_json::json!(sessions))?;
            Ok(EXIT_SUCCESS)
        }
        Ok(sessions) => {
            show(&sessions, clock::wall_ms(), &mut terminal.out)?;
            Ok(EXIT_SUCCESS)
        }
        Err(failure) => failed(&failure, terminal),
    }
}

fn show(sessions: &[Session], now_ms: u64, out: &mut impl Write) -> io::Result<()> {
    let longest = sessions.iter().map(|it| it.id.len()).max().unwrap_or(0);
    let width = longest.max("SESSION".len());
    writeln!(
        out,
        "{:width$}  {:>11}  {:>11}  {:>7}  {:>13}  {:>13}",
        "SESSION", "AGE", "CONNECTIONS", "STREAMS", "SUBSCRIPTIONS", "UNUSED TOKENS"
    )?;
    for session in sessions {
        let age = now_ms.saturating_sub(session.created_at) / 1000;
        writeln!(
            out,
            "{:width$}  {:>11}  {:>11}  {:>7}  {:>13}  {:>13}",
            printable(&session.id),
            duration::shown(age),
            session.connections,
            session.streams,
            session.subscriptions,
            session.pending
        )?;
    }
    Ok(())
}

fn close<O: Write, E: Write>(
    Close { session, socket }: Close,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let daemon = match socket.daemon(machine, terminal)? {
        Ok(daemon) => daemon,
        Err(status) => return Ok(status),
    };
    let path = format!("/openvidu/api/sessions/{session}");
    match daemon.tell(Method::DELETE, &path) {
        Ok(()) => {
            writeln!(terminal.out, "session {session} is closed")?;
            Ok(EXIT_SUCCESS)
        }
        Err(Failure::Refused {
            status: StatusCode::NOT_FOUND,
            ..
        }) => {
            writeln!(
                terminal.err,
                "there is no session {session}: `hanok sessions list` shows those that there are"
            )?;
            Ok(EXIT_FAILURE)
        }
        Err(failure) => failed(&failure, terminal),
    }
}
