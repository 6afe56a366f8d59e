//! `hanok version`.

use std::io::{self, Write};

use crate::cli::EXIT_SUCCESS;

/// Our version and the OpenVidu release that clients are told.
pub(super) const TEXT: &str = concat!(env!("CARGO_PKG_VERSION"), " (OpenVidu 2.32.1)");

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> io::Result<u8> {
    if arguments.json {
        let versions = serde_json::json!({
            "hanok": env!("CARGO_PKG_VERSION"),
            "openvidu": crate::OPENVIDU_VERSION,
        });
        writeln!(out, "{versions}")?;
    } else {
        writeln!(out, "hanok {TEXT}")?;
    }
    Ok(EXIT_SUCCESS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_text_names_the_one_openvidu_version() {
        assert!(super::TEXT.contains(crate::OPENVIDU_VERSION));
    }
}
