//! `hanok doctor`: what would keep a call from working here. This prints; `main` has the daemon examine.

use std::io::{self, Write};

use crate::cli::{Action, EXIT_CONFIG, EXIT_FAILURE, EXIT_SUCCESS, FileArguments, Terminal};
use crate::config::{Machine, load};
use crate::views::finding::{Finding, Level};

/// Characters in a line, where there are blanks to break it at.
const WIDTH: usize = 110;

/// Where texts begin.
const INDENT: usize = 27;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: FileArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask no name, STUN or time server
    #[arg(long)]
    offline: bool,
}

/// How findings are made and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// As JSON.
    pub json: bool,
    /// Without asking anybody outside.
    pub offline: bool,
}

pub(super) fn run<O: Write, E: Write>(
    arguments: Arguments,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<Action> {
    let Arguments {
        file,
        json,
        offline,
    } = arguments;
    match load(machine, &file.options()) {
        Ok(loaded) => Ok(Action::Examine(Box::new(loaded), Form { json, offline })),
        Err(report) => {
            write!(terminal.err, "{report}")?;
            Ok(Action::Exit(EXIT_CONFIG))
        }
    }
}

/// Prints what was found; returns the exit status.
///
/// # Errors
/// Printing failed.
pub fn tell(findings: &[Finding], form: Form, out: &mut impl Write) -> io::Result<u8> {
    let count = |level| findings.iter().filter(|it| it.level == level).count();
    let status = if count(Level::Error) > 0 {
        EXIT_FAILURE
    } else {
        EXIT_SUCCESS
    };
    if form.json {
        let shown = serde_json::json!({
            "good": status == EXIT_SUCCESS,
            "findings": findings,
        });
        writeln!(out, "{shown:#}")?;
        return Ok(status);
    }
    for finding in findings {
        let level = match finding.level {
            Level::Error => "ERROR",
            Level::Warning => "warning",
            Level::Unknown => "?",
            Level::Ok => "ok",
        };
        write!(out, "{level:<8} {:<17} ", finding.topic)?;
        wrap(&finding.what, INDENT, out)?;
        if !finding.why.is_empty() {
            write!(out, "{:INDENT$}why: ", "")?;
            wrap(&finding.why, INDENT + 5, out)?;
        }
        for (index, fix) in finding.fix.iter().enumerate() {
            // A command must stay in one line, to be copied.
            let label = if index == 0 { "fix: " } else { "     " };
            writeln!(out, "{:INDENT$}{label}{fix}", "")?;
        }
    }
    let part = |level, one: &str, many: &str| match count(level) {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    };
    writeln!(
        out,
        "\n{}, {}, {} good, {} unknown",
        part(Level::Error, "error", "errors"),
        part(Level::Warning, "warning", "warnings"),
        count(Level::Ok),
        count(Level::Unknown)
    )?;
    Ok(status)
}

/// Writes `text` from where the cursor is, `indent` characters into the line.
fn wrap(text: &str, indent: usize, out: &mut impl Write) -> io::Result<()> {
    let mut column = indent;
    for (index, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > WIDTH {
            write!(out, "\n{:indent$}", "")?;
            column = indent;
        } else if index > 0 {
            write!(out, " ")?;
            column += 1;
        }
        write!(out, "{word}")?;
        column += length;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Form = Form {
        json: false,
        offline: true,
    };

    fn told(findings: &[Finding], form: Form) -> (u8, String) {
        let mut out = Vec::new();
        let status = tell(findings, form, &mut out).unwrap();
        (status, String::from_utf8(out).unwrap())
    }

    #[test]
    fn errors_make_the_status_bad_and_nothing_else_does() {
        let error = Finding::error("disk", "it is full", "nothing is kept").fix("rm -r /x");
        let others = [
            Finding::warning("clock", "it drifts", "it does"),
            Finding::unknown("DNS", "nobody answers"),
            Finding::ok("files", "good"),
        ];
        assert_eq!(told(&others, TEXT).0, EXIT_SUCCESS);
        let all = [std::slice::from_ref(&error), &others].concat();
        let (status, text) = told(&all, TEXT);
        assert_eq!(status, EXIT_FAILURE);
        let begin = "ERROR    disk              it is full\n                           why: nothing is kept\n                           \
                     fix: rm -r /x\nwarning  clock ";
        assert!(text.starts_with(begin), "{text}");
        assert!(
            text.ends_with("\n1 error, 1 warning, 1 good, 1 unknown\n"),
            "{text}"
        );
    }

    #[test]
    fn long_texts_are_broken_and_commands_are_not() {
        let long = "word ".repeat(60);
        let finding = Finding::error("disk", long.trim(), long.trim()).fix("x ".repeat(90).trim());
        let (_, text) = told(&[finding], TEXT);
        let (commands, texts): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.contains("fix:"));
        assert_eq!(commands.len(), 1);
        assert!(texts.iter().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(text.matches("word").count(), 120);
    }

    #[test]
    fn json_has_every_field() {
        let finding = Finding::error("disk", "it is full", "nothing is kept").fix("rm -r /x");
        let form = Form { json: true, ..TEXT };
        let (status, text) = told(&[finding, Finding::ok("files", "good")], form);
        assert_eq!(status, EXIT_FAILURE);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "good": false,
            "findings": [
                {"level": "error", "topic": "disk", "what": "it is full", "why": "nothing is kept", "fix": ["rm -r /x"]},
                {"level": "ok", "topic": "files", "what": "good"},
            ]
        });
        assert_eq!(json, expected);
    }
}
