//! Judging the facts: pure functions, one file for each part of the machine. Every finding that is not good says why it
//! matters and what mends it.

mod certificate;
mod files;
mod machine;
mod names;
mod ports;
#[cfg(test)]
mod tests;

use super::facts::Facts;
use crate::config::{Config, Loaded, Note};
use crate::units::Secret;
use crate::views::finding::Finding;

/// Fewer characters can be guessed by whoever has a day.
const SECRET_LENGTH: usize = 16;

/// Fewer different ones were typed, not drawn.
const SECRET_VARIETY: usize = 7;

/// What there is to say, the worst first.
pub(super) fn judge(loaded: &Loaded, facts: &Facts) -> Vec<Finding> {
    let config = &loaded.config;
    let mut found = Vec::new();
    configuration(loaded, facts, &mut found);
    secrets(config, &mut found);
    names::domain(config, facts, &mut found);
    names::addresses(config, facts, &mut found);
    names::ipv6(config, facts, &mut found);
    names::authorities(config, facts, &mut found);
    ports::listeners(facts, &mut found);
    ports::media(config, facts, &mut found);
    ports::ephemeral(facts, &mut found);
    ports::firewall(facts, &mut found);
    certificate::judge(config, facts, &mut found);
    files::judge(facts, &mut found);
    machine::judge(facts, &mut found);
    found.sort_by_key(|finding| finding.level);
    found
}

fn configuration(loaded: &Loaded, facts: &Facts, found: &mut Vec<Finding>) {
    const TOPIC: &str = "configuration";
    // A short secret is a finding of its own.
    let warnings = loaded
        .notes
        .iter()
        .filter(|note| note.is_warning() && !matches!(note, Note::ShortSecret { .. }));
    let before = found.len();
    found.extend(warnings.map(|note: &Note| {
        let why = "a start warns of it as well";
        Finding::warning(TOPIC, note.to_string(), why)
    }));
    if found.len() == before {
        let from = loaded.config.file.as_ref().map_or_else(
            || "the process environment".to_owned(),
            |file| file.display().to_string(),
        );
        let daemon = facts.daemon.as_ref().map_or_else(
            || "hanok does not run at present".to_owned(),
            |daemon| format!("{daemon} runs"),
        );
        found.push(Finding::ok(
            TOPIC,
            format!("{from} has no errors; {daemon}"),
        ));
    }
}

/// Beside what a start refuses or warns of.
fn secrets(config: &Config, found: &mut Vec<Finding>) {
    const TOPIC: &str = "secrets";
    let before = found.len();
    let secret = config.secret.expose();
    let weakness = if secret.len() < SECRET_LENGTH {
        Some("is shorter than 16 characters")
    } else {
        is_typed(secret).then_some("looks as if it had been typed by a person")
    };
    if let Some(weakness) = weakness {
        found.push(
            Finding::warning(
                TOPIC,
                format!("OPENVIDU_SECRET {weakness}"),
                "whoever guesses it controls every session",
            )
            .fix(
                "openssl rand -hex 24  # the new value of OPENVIDU_SECRET, here and in your application",
            ),
        );
    }
    for secret in &config.turn.secrets {
        if secret.matches(config.secret.expose().as_bytes()) {
            found.push(
                Finding::warning(
                    TOPIC,
                    "COTURN_SHARED_SECRET_KEY is the same as OPENVIDU_SECRET",
                    "participants get credentials made with it, from which they can guess it offline",
                )
                .fix("delete COTURN_SHARED_SECRET_KEY: hanok makes one for itself"),
            );
        } else if secret.expose().len() < SECRET_LENGTH || is_typed(secret.expose()) {
            found.push(
                Finding::warning(
                    TOPIC,
                    "COTURN_SHARED_SECRET_KEY can be guessed",
                    "participants get credentials made with it, and can try guesses offline",
                )
                .fix("delete COTURN_SHARED_SECRET_KEY: hanok makes one for itself"),
            );
        }
    }
    let short = |password: &Secret| password.expose().len() < SECRET_LENGTH / 2;
    for user in config
        .turn
        .users
        .iter()
        .filter(|user| short(&user.password))
    {
        found.push(
            Finding::warning(
                TOPIC,
                format!(
                    "the TURN user {} of HANOK_TURN_USERS has a short password",
                    user.name
                ),
                "strangers would relay their traffic through this machine",
            )
            .fix("openssl rand -hex 16  # a new password for it"),
        );
    }
    if found.len() == before {
        found.push(Finding::ok(TOPIC, "none can be guessed"));
    }
}

/// Whether a secret has so few different characters, or such words in it, that it was no machine that drew it.
fn is_typed(secret: &str) -> bool {
    const WORDS: [&str; 8] = [
        "secret", "passw", "openvidu", "hanok", "admin", "1234", "qwerty", "changeme",
    ];
    let lower = secret.to_ascii_lowercase();
    let mut different: Vec<char> = secret.chars().collect();
    different.sort_unstable();
    different.dedup();
    let rest = WORDS
        .iter()
        .fold(lower, |rest, word| rest.replace(word, ""));
    different.len() < SECRET_VARIETY || rest.len() < SECRET_LENGTH * 3 / 4
}
