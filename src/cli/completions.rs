//! `hanok completions`: what a shell needs to complete our command line.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{CommandLine, EXIT_SUCCESS};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell that reads them
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> io::Result<u8> {
    // The generator panics where its writer fails; a vector takes everything.
    let mut script = Vec::new();
    let mut command = CommandLine::command();
    clap_complete::generate(arguments.shell, &mut command, "hanok", &mut script);
    out.write_all(&script)?;
    Ok(EXIT_SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::cli::man::commands;

    #[test]
    fn every_shell_completes_every_subcommand() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            let arguments = Arguments { shell: *shell };
            assert_eq!(run(&arguments, &mut script).unwrap(), EXIT_SUCCESS);
            let script = String::from_utf8(script).expect("it is text");
            for command in commands() {
                let name = command.get_name();
                assert!(script.contains(name), "{shell}: {name}");
            }
            assert!(script.contains("env-file"), "{shell}");
        }
    }
}
