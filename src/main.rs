//! The daemon's process: arguments in, exit status out.

use std::io::{self, Write};
use std::process::ExitCode;

use hanok::cli::{self, Action, EXIT_CONFIG, EXIT_FAILURE, EXIT_SUCCESS, Terminal};
use hanok::config::{Misconfigured, ThisMachine};
use hanok::telemetry::log;

fn main() -> ExitCode {
    let mut terminal = Terminal {
        out: io::stdout(),
        err: io::stderr(),
    };
    let status = match cli::run(std::env::args_os(), &ThisMachine, &mut terminal) {
        Ok(Action::Exit(status)) => status,
        Ok(Action::Serve(loaded, options)) => match hanok::daemon::serve(*loaded, options) {
            Ok(()) => EXIT_SUCCESS,
            Err(error) => failure(&error),
        },
        Ok(Action::Examine(loaded, form)) => {
            match hanok::daemon::doctor::examine(&loaded, !form.offline) {
                Ok(findings) => {
                    cli::doctor::tell(&findings, form, &mut terminal.out).unwrap_or(EXIT_FAILURE)
                }
                Err(error) => failure(&error),
            }
        }
        // The reader of our output went away, for example `hanok print-config | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_SUCCESS,
        Err(_) => EXIT_FAILURE,
    };
    ExitCode::from(status)
}

/// Tells why the daemon ended; returns the status for it.
fn failure(error: &anyhow::Error) -> u8 {
    if log::is_started() {
        tracing::error!("{error:#}");
    } else {
        // Nobody is left to tell if standard error is gone.
        let _ = writeln!(io::stderr(), "hanok: {error:#}");
    }
    if error.is::<Misconfigured>() {
        EXIT_CONFIG
    } else {
        EXIT_FAILURE
    }
}
