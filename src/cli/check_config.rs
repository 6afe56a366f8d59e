//! `hanok check-config`: every problem at once; exit 0 or 78.

use std::io::{self, Write};

use crate::cli::{EXIT_CONFIG, EXIT_SUCCESS, Terminal};
use crate::config::{Machine, Options, load};

pub(super) fn run<O: Write, E: Write>(
    options: Options,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    match load(machine, &options) {
        Ok(loaded) => {
            for note in &loaded.notes {
                writeln!(terminal.err, "{note}")?;
            }
            match &loaded.config.file {
                Some(file) => writeln!(terminal.out, "{}: no errors", file.display())?,
                None => writeln!(terminal.out, "process environment: no errors")?,
            }
            Ok(EXIT_SUCCESS)
        }
        Err(report) => {
            write!(terminal.err, "{report}")?;
            Ok(EXIT_CONFIG)
        }
    }
}
