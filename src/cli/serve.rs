//! `hanok serve`: loads the configuration, starts the log and tells what was read; `main` runs the daemon.

use std::io::{self, Write};

use crate::cli::{Action, EXIT_CONFIG, ServeArguments, Terminal, version};
use crate::config::{Loaded, Machine, Options, load};
use crate::telemetry::log;

pub(super) fn run<O: Write, E: Write>(
    arguments: ServeArguments,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<Action> {
    let options = Options {
        env_file: arguments.file.env_file,
        dev: arguments.dev,
    };
    match load(machine, &options) {
        Ok(loaded) => {
            log::init(&loaded.config.log, loaded.config.log_format);
            tell(&loaded);
            Ok(Action::Serve(Box::new(loaded), options))
        }
        Err(report) => {
            write!(terminal.err, "{report}")?;
            Ok(Action::Exit(EXIT_CONFIG))
        }
    }
}

/// The first line names the file that was read; then come the notes.
fn tell(loaded: &Loaded) {
    let version = version::TEXT;
    match &loaded.config.file {
        Some(file) => {
            tracing::info!(
                "hanok {version}: configuration read from {}",
                file.display()
            );
        }
        None if loaded.config.dev => {
            tracing::info!("hanok {version}: development defaults, no configuration file");
        }
        None => tracing::info!("hanok {version}: configuration from the process environment alone"),
    }
    for note in &loaded.notes {
        if note.is_warning() {
            tracing::warn!("{note}");
        } else {
            tracing::info!("{note}");
        }
    }
}
