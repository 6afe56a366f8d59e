//! `hanok token new`: a token of a session, which is made if there is none: a call in one line, without an application.

use std::io::{self, Write};

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::control::{Daemon, Failure, SocketArguments, failed, session_id};
use crate::cli::{EXIT_SUCCESS, Terminal};
use crate::config::Machine;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print a new token of a session, as openvidu-browser's `session.connect()` takes it; the session is made if there
    /// is none
    New(New),
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// The session's id
    #[arg(value_parser = session_id)]
    session: String,
    #[command(flatten)]
    socket: SocketArguments,
    /// What its holder may do
    #[arg(long, value_enum, default_value = "publisher", ignore_case = true)]
    role: Role,
    /// What the others are told of its holder, beside what the client says
    #[arg(long, value_name = "TEXT", default_value = "")]
    data: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Role {
    Subscriber,
    Publisher,
    Moderator,
}

impl Role {
    /// The word in REST.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "SUBSCRIBER",
            Self::Publisher => "PUBLISHER",
            Self::Moderator => "MODERATOR",
        }
    }
}

/// The part of REST's connection that is shown.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    connection_id: String,
    token: String,
}

pub(super) fn run<O: Write, E: Write>(
    Command::New(arguments): Command,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let New {
        session,
        socket,
        role,
        data,
        json,
    } = arguments;
    let daemon = match socket.daemon(machine, terminal)? {
        Ok(daemon) => daemon,
        Err(status) => return Ok(status),
    };
    match new(&daemon, &session, role, &data) {
        Ok(Connection {
            connection_id,
            token,
        }) => {
            if json {
                let shown = json!({
                    "session": session,
                    "connection": connection_id,
                    "role": role.as_str(),
                    "token": token,
                });
                writeln!(terminal.out, "{shown}")?;
            } else {
                writeln!(terminal.out, "{token}")?;
            }
            Ok(EXIT_SUCCESS)
        }
        Err(failure) => failed(&failure, terminal),
    }
}

/// OpenVidu's own two calls (`openvidu-rest` sections 5.1 and 6.1). 409: the session exists.
fn new(daemon: &Daemon, session: &str, role: Role, data: &str) -> Result<Connection, Failure> {
    let body = json!({"customSessionId": session});
    match daemon.ask::<Value>(Method::POST, "/openvidu/api/sessions", Some(&body)) {
        Ok(_)
        | Err(Failure::Refused {
            status: StatusCode::CONFLICT,
            ..
        }) => {}
        Err(failure) => return Err(failure),
    }
    let path = format!("/openvidu/api/sessions/{session}/connection");
    let body = json!({"role": role.as_str(), "data": data});
    daemon.ask(Method::POST, &path, Some(&body))
}
