//! What the verbs have in common that talk to a running daemon: where it is found, and what is said when it is not.

pub(super) mod service;

use std::io::{self, Write};
use std::path::PathBuf;

use crate::cli::{EXIT_CONFIG, EXIT_FAILURE, FileArguments, Terminal};
use crate::config::{Machine, control_socket};
pub(super) use service::{Daemon, Failure};

/// How a verb finds the daemon.
#[derive(Debug, clap::Args)]
pub(super) struct SocketArguments {
    #[command(flatten)]
    file: FileArguments,
    /// Talk to the daemon at this control socket instead of the one of HANOK_CONTROL_SOCKET; with `serve --dev`, its log
    /// names it
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

impl SocketArguments {
    /// The daemon that is meant, whether it runs or not; or the exit status, if nobody can know which one that is.
    pub(super) fn daemon<O: Write, E: Write>(
        self,
        machine: &dyn Machine,
        terminal: &mut Terminal<O, E>,
    ) -> io::Result<Result<Daemon, u8>> {
        if let Some(socket) = self.socket {
            return Ok(Ok(Daemon::new(socket)));
        }
        match control_socket(machine, &self.file.options()) {
            Ok(socket) => Ok(Ok(Daemon::new(socket))),
            Err(report) => {
                write!(terminal.err, "{report}")?;
                Ok(Err(EXIT_CONFIG))
            }
        }
    }
}

/// Says why it did not work; returns the exit status.
pub(super) fn failed<O: Write, E: Write>(
    failure: &Failure,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    writeln!(terminal.err, "{failure}")?;
    Ok(EXIT_FAILURE)
}

/// What others chose, made fit for a terminal: they may have chosen its control characters.
pub(super) fn printable(text: &str) -> String {
    let is_plain = |character: char| !character.is_control();
    text.chars()
        .map(|character| {
            if is_plain(character) {
                character
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// A session's id as REST accepts it (`openvidu-rest` section 5.1): it goes into a path as it is.
pub(super) fn session_id(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if (1..=256).contains(&text.len()) && text.bytes().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 256 letters, digits, hyphens or underscores".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_writes_to_the_operators_terminal() {
        assert_eq!(printable("1:an\u{1b}[2J\nna"), "1:an\u{fffd}[2J\u{fffd}na");
        assert_eq!(printable("한-user"), "한-user");
    }

    #[test]
    fn a_session_id_leaves_its_path_alone() {
        assert_eq!(session_id("room_1-a").as_deref(), Ok("room_1-a"));
        for wrong in ["", "a/b", "a b", "..", "a%2f", "방", &"x".repeat(257)] {
            assert!(session_id(wrong).is_err(), "{wrong}");
        }
    }
}
