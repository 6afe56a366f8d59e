//! `hanok man`: manual pages, made from the command line itself.

mod service;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{CommandLine, EXIT_FAILURE, EXIT_SUCCESS, Terminal, version};
use crate::config::layers::{HANOK_FILE, OPENVIDU_FILE};

/// Folders and files of an installation, as the packages lay them down.
const FILES: &[(&str, &str)] = &[
    (HANOK_FILE, "The configuration."),
    (
        OPENVIDU_FILE,
        "The configuration of an OpenVidu 2 deployment, read where the former does not exist.",
    ),
    (
        "/var/lib/hanok",
        "Certificates, keys and what else is kept (HANOK_STATE_DIR).",
    ),
    (
        "/run/hanok/control.sock",
        "Where status, drain, reload and other commands reach the daemon (HANOK_CONTROL_SOCKET).",
    ),
];

const SIGNALS: &[(&str, &str)] = &[
    (
        "SIGTERM, SIGINT",
        "Clients are told, and the daemon ends within HANOK_STOP_DEADLINE; a second one ends it at once.",
    ),
    (
        "SIGHUP",
        "The configuration is read again; what cannot change in a running daemon is named in the log.",
    ),
];

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// An existing folder to write the pages of all commands into
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(super) fn run<O: Write, E: Write>(
    arguments: Arguments,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let Some(folder) = arguments.folder else {
        terminal.out.write_all(&main_page()?.text)?;
        return Ok(EXIT_SUCCESS);
    };
    match service::write(&folder, &pages()?) {
        Ok(()) => Ok(EXIT_SUCCESS),
        Err(error) => {
            let folder = folder.display();
            writeln!(
                terminal.err,
                "the manual pages cannot be written into {folder} ({error}): name an existing folder of yours"
            )?;
            Ok(EXIT_FAILURE)
        }
    }
}

/// A manual page.
#[derive(Debug)]
struct Page {
    /// The file's name, `hanok-cert-status.1`.
    name: String,
    /// In the language of man(7).
    text: Vec<u8>,
}

/// The page of the program and those of all its subcommands.
fn pages() -> io::Result<Vec<Page>> {
    let mut pages = vec![main_page()?];
    for command in commands() {
        pages.push(page(command)?);
    }
    Ok(pages)
}

fn main_page() -> io::Result<Page> {
    let mut page = page(root())?;
    let mut more = Roff::new();
    for (title, entries) in [("FILES", FILES), ("SIGNALS", SIGNALS)] {
        more.control("SH", [title]);
        for (term, meaning) in entries {
            more.control("TP", []);
            more.text([bold(*term)]).text([roman(*meaning)]);
        }
    }
    more.control("SH", ["SEE ALSO"]);
    more.text([
        bold("hanok check-config"),
        roman(" tells what is wrong with a configuration, "),
        bold("hanok print-config"),
        roman(" what is in force. The sample file hanok.env explains every key."),
    ]);
    more.to_writer(&mut page.text)?;
    Ok(page)
}

fn page(command: Command) -> io::Result<Page> {
    let man = Man::new(command)
        .source(format!("hanok {}", version::TEXT))
        .manual("hanok");
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok(Page {
        name: man.get_filename(),
        text,
    })
}

fn root() -> Command {
    let mut root = CommandLine::command();
    // Gives every subcommand its full name.
    root.build();
    root
}

/// All subcommands that are no secret, at any depth.
pub(super) fn commands() -> Vec<Command> {
    fn visit(command: &Command, into: &mut Vec<Command>) {
        for inner in command.get_subcommands().filter(|it| !it.is_hide_set()) {
            into.push(inner.clone());
            visit(inner, into);
        }
    }
    let mut all = Vec::new();
    visit(&root(), &mut all);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &Page) -> &str {
        std::str::from_utf8(&page.text).expect("it is text")
    }

    /// As a reader sees it: hyphens are escaped in man(7).
    fn shown(page: &Page) -> String {
        text(page).replace("\\-", "-")
    }

    #[test]
    fn every_subcommand_has_a_page_and_stands_in_its_parents() {
        let pages = pages().unwrap();
        let page = |name: &str| {
            let name = format!("{name}.1");
            let found = pages.iter().find(|page| page.name == name);
            found.unwrap_or_else(|| panic!("there is no {name}"))
        };
        let commands = commands();
        assert!(commands.len() > 10, "{}", commands.len());
        for command in &commands {
            let full = command.get_display_name().expect("it was built");
            assert!(text(page(full)).starts_with(".ie"), "{full}");
            let parent = full.strip_suffix(&format!("-{}", command.get_name()));
            let parent = page(parent.expect("the name ends with its own"));
            assert!(shown(parent).contains(&format!("{full}(1)")), "{full}");
        }
        assert_eq!(pages.len(), commands.len() + 1);
    }

    #[test]
    fn the_page_of_the_program_names_files_and_signals() {
        let page = main_page().unwrap();
        let shown = shown(&page);
        assert_eq!(page.name, "hanok.1");
        for expected in [
            "/etc/hanok/.env",
            "/opt/openvidu/.env",
            "SIGTERM",
            "check-config",
        ] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
        assert!(!shown.contains("sample-env"), "it is hidden");
    }

    #[test]
    fn pages_go_into_an_existing_folder_or_the_status_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut terminal = Terminal {
            out: Vec::new(),
            err: Vec::new(),
        };
        let mut write_into = |path: PathBuf| {
            let arguments = Arguments { folder: Some(path) };
            run(arguments, &mut terminal).unwrap()
        };
        assert_eq!(write_into(folder.path().to_owned()), EXIT_SUCCESS);
        assert_eq!(write_into(folder.path().join("none")), EXIT_FAILURE);
        assert!(terminal.out.is_empty());
        let told = String::from_utf8(terminal.err).unwrap();
        assert!(told.contains("existing folder"), "{told}");
        let written = std::fs::read(folder.path().join("hanok.1")).unwrap();
        assert_eq!(written, main_page().unwrap().text);
        assert!(folder.path().join("hanok-cert-status.1").exists());
    }
}
