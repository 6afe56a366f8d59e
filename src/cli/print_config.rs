//! `hanok print-config`: the effective value of every key, as lines of a `.env` file; secrets masked.

use std::io::{self, Write};

use crate::cli::{EXIT_CONFIG, EXIT_SUCCESS, Terminal};
use crate::config::{Machine, Options, load};

pub(super) fn run<O: Write, E: Write>(
    options: Options,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let loaded = match load(machine, &options) {
        Ok(loaded) => loaded,
        Err(report) => {
            write!(terminal.err, "{report}")?;
            return Ok(EXIT_CONFIG);
        }
    };
    let mut shown_origin = None;
    for key in &loaded.effective {
        // The format has no comments behind values, so origins stand on lines of their own.
        let origin = key.origin.as_deref().unwrap_or("default");
        if shown_origin != Some(origin) {
            writeln!(terminal.out, "# {origin}")?;
            shown_origin = Some(origin);
        }
        match &key.value {
            Some(value) => writeln!(terminal.out, "{}={value}", key.name)?,
            None => writeln!(terminal.out, "#{}=", key.name)?,
        }
    }
    Ok(EXIT_SUCCESS)
}
