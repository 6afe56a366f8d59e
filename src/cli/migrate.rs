//! `hanok migrate`: an OpenVidu 2 folder to hanok's configuration, and the commands that lead there and back.

use std::io::{self, Write};
use std::path::{self, Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::{EXIT_CONFIG, EXIT_FAILURE, EXIT_SUCCESS, Terminal, cert};
use crate::config::Machine;
use crate::migration::draft::Draft;
use crate::migration::plan::{FileState, Plan, Wanted};
use crate::migration::report::Class;
use crate::migration::service;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder of the OpenVidu 2 installation; nothing in it is changed
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Where the .env file goes
    #[arg(long, value_name = "FOLDER", default_value = "/etc/hanok")]
    to: PathBuf,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace a .env that says something else; it is kept beside
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run<O: Write, E: Write>(
    arguments: Arguments,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let wanted = Wanted {
        from: absolute(&arguments.from)?,
        to: absolute(&arguments.to)?,
        force: arguments.force,
    };
    let found = service::find(&wanted.from);
    let (draft, seen) = match Draft::new(&found) {
        Ok(draft) => {
            let seen = service::look(&wanted, &draft, machine, cert::acme);
            (draft, seen)
        }
        Err(refusal) => {
            let plan = Plan::refused(refusal);
            tell(&plan, &Outcome::Refused, &arguments, terminal)?;
            return Ok(EXIT_FAILURE);
        }
    };
    let plan = Plan::new(&wanted, &draft, &seen);
    let outcome = if plan.refusal.is_some() {
        Outcome::Refused
    } else if arguments.dry_run {
        Outcome::DryRun
    } else {
        match service::apply(&wanted, &plan, &seen.config, cert::acme) {
            Ok(written) => Outcome::Done(written),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    };
    tell(&plan, &outcome, &arguments, terminal)?;
    Ok(match outcome {
        Outcome::Refused | Outcome::Failed(_) => EXIT_FAILURE,
        Outcome::DryRun | Outcome::Done(_) if !plan.problems.is_empty() => EXIT_CONFIG,
        Outcome::DryRun | Outcome::Done(_) => EXIT_SUCCESS,
    })
}

/// The commands that are told must work from anywhere.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    Ok(path::absolute(path)?.components().collect())
}

enum Outcome {
    Refused,
    DryRun,
    Done(Vec<PathBuf>),
    Failed(String),
}

impl Outcome {
    const fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::DryRun => "dryRun",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
        }
    }
}

fn tell<O: Write, E: Write>(
    plan: &Plan,
    outcome: &Outcome,
    arguments: &Arguments,
    terminal: &mut Terminal<O, E>,
) -> io::Result<()> {
    if arguments.json {
        writeln!(terminal.out, "{:#}", as_json(plan, outcome))?;
    } else {
        as_text(plan, outcome, &mut terminal.out)?;
    }
    if let Some(refusal) = &plan.refusal {
        writeln!(terminal.err, "{refusal}")?;
    }
    if let Outcome::Failed(error) = outcome {
        writeln!(terminal.err, "{error}")?;
    }
    Ok(())
}

fn as_json(plan: &Plan, outcome: &Outcome) -> Value {
    let files: Vec<_> = plan
        .writes
        .iter()
        .map(|write| {
            let state = match write.state {
                FileState::Missing => "missing",
                FileState::Same => "same",
                FileState::Replaced => "replaced",
            };
            json!({"path": write.path, "about": write.about, "was": state})
        })
        .collect();
    let written = match outcome {
        Outcome::Done(written) => written.as_slice(),
        Outcome::Refused | Outcome::DryRun | Outcome::Failed(_) => &[],
    };
    let error = match outcome {
        Outcome::Failed(error) => Some(error.clone()),
        Outcome::Refused => plan.refusal.as_ref().map(ToString::to_string),
        Outcome::DryRun | Outcome::Done(_) => None,
    };
    json!({
        "outcome": outcome.name(),
        "error": error,
        "found": plan.summary,
        "files": files,
        "certificate": plan.import.as_ref().map(|imported| json!({
            "from": imported.from, "until": imported.until, "isKept": imported.is_kept,
        })),
        "written": written,
        "notes": plan.notes,
        "problems": plan.problems,
        "forward": plan.forward,
        "back": plan.back,
    })
}

fn as_text(plan: &Plan, outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    if plan.summary.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "{}",
        plan.summary.replace(char::is_control, "\u{fffd}")
    )?;
    let title = match outcome {
        Outcome::DryRun => "Would be written (this is a dry run)",
        Outcome::Done(_) if plan.is_done() => "Is there already",
        Outcome::Done(_) => "Written",
        Outcome::Refused | Outcome::Failed(_) => "Was to be written",
    };
    writeln!(out, "\n{title}")?;
    for write in &plan.writes {
        let state = match write.state {
            FileState::Missing => "",
            FileState::Same => " (is there already)",
            FileState::Replaced => " (what is there is kept beside)",
        };
        writeln!(out, "  {}: {}{state}", write.path.display(), write.about)?;
    }
    if let Some(imported) = &plan.import {
        let state = if imported.is_kept {
            " (is there already)"
        } else {
            ""
        };
        writeln!(
            out,
            "  the state folder: the certificate of {}{state}",
            imported.from.display()
        )?;
    }
    for class in [Class::Kept, Class::Change, Class::Loss, Class::Action] {
        let mut notes = plan
            .notes
            .iter()
            .filter(|note| note.class == class)
            .peekable();
        if notes.peek().is_some() {
            writeln!(out, "\n{}", class.title())?;
        }
        for note in notes {
            writeln!(out, "  - {note}")?;
        }
    }
    if !plan.problems.is_empty() {
        writeln!(out, "\nKeeps hanok from starting")?;
        for problem in &plan.problems {
            writeln!(out, "  * {problem}")?;
        }
    }
    if matches!(outcome, Outcome::DryRun | Outcome::Done(_)) {
        writeln!(out, "\nTo hanok, when you are ready")?;
        for command in &plan.forward {
            writeln!(out, "  {command}")?;
        }
        writeln!(out, "\nBack to OpenVidu, at any time")?;
        for command in &plan.back {
            writeln!(out, "  {command}")?;
        }
    }
    Ok(())
}
