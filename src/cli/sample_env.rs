//! `hanok sample-env` (hidden): prints `etc/hanok.env`, so that packaging and the test have one source.

use std::io::{self, Write};

use crate::cli::EXIT_SUCCESS;
use crate::config::sample::sample;

pub(super) fn run(out: &mut impl Write) -> io::Result<u8> {
    out.write_all(sample().as_bytes())?;
    Ok(EXIT_SUCCESS)
}
