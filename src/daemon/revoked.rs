//! TURN user names whose owners have left: kept over restarts until the names expire by themselves.
//!
//! The file has one name a line and is appended to, since somebody leaves all the time. What is appended is not forced to
//! the disk: a stop or a crash of the daemon loses nothing of it, and a name that a dying machine loses ends within a day.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::str;

use crate::control::store::service::{append, keep, read_bounded};
use crate::units::turn_credential;

/// The file in the state folder.
const FILE: &str = "turn-revoked";

/// Names that are kept, as many as a worker remembers; of more, those that expire first are forgotten.
const MAX_NAMES: usize = 1 << 18;

/// Lines that the file may have before it is written anew.
const MAX_LINES: usize = 2 * MAX_NAMES;

/// A name with the end of its line; ours have 20 bytes.
const MAX_LINE: usize = 64;

/// The names in the state folder.
#[derive(Debug)]
pub struct RevokedNames {
    path: PathBuf,
    lines: usize,
    /// It has been said that they cannot be kept.
    has_warned: bool,
}

impl RevokedNames {
    /// What `state_dir` has kept, and the names that have not expired at `now_unix` (seconds since 1970).
    pub fn open(state_dir: &Path, now_unix: u64) -> (Self, Vec<String>) {
        let mut kept = Self {
            path: state_dir.join(FILE),
            lines: 0,
            has_warned: false,
        };
        let names = kept.names(now_unix).unwrap_or_else(|error| {
            kept.warn(&error);
            Vec::new()
        });
        // They count, even if the disk is full.
        if let Err(error) = kept.write_anew(&names) {
            kept.warn(&error);
        }
        (kept, names)
    }

    /// Keeps more of them.
    pub fn add(&mut self, names: &[String], now_unix: u64) {
        let mut text = String::new();
        let fit = names.iter().filter(|name| is_line(name));
        for name in fit {
            text.push_str(name);
            text.push('\n');
            self.lines += 1;
        }
        let mut written = append(&self.path, text.as_bytes());
        if self.lines > MAX_LINES {
            written = written.and_then(|()| {
                let names = self.names(now_unix)?;
                self.write_anew(&names)
            });
        }
        match written {
            Ok(()) => self.has_warned = false,
            Err(error) => self.warn(&error),
        }
    }

    /// What the file has that has not expired.
    fn names(&self, now_unix: u64) -> io::Result<Vec<String>> {
        match read_bounded(&self.path, (2 * MAX_LINES * MAX_LINE) as u64) {
            Ok(text) => Ok(unexpired(&text, now_unix)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Writes the file anew.
    fn write_anew(&mut self, names: &[String]) -> io::Result<()> {
        self.lines = names.len();
        if names.is_empty() && !self.path.exists() {
            return Ok(());
        }
        let mut text = names.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        keep(&self.path, text.as_bytes())
    }

    fn warn(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            tracing::warn!(
                "{}: {error}: TURN credentials of those who leave are good again after a restart, for what is left of their day",
                self.path.display()
            );
        }
    }
}

/// Whether it is a line, and says until when.
fn is_line(name: &str) -> bool {
    name.len() < MAX_LINE
        && !name.contains(char::is_control)
        && turn_credential::expiry(name).is_some()
}

/// The names that have not expired, each once, by the end of their time; of too many the longest-lived. What is no name is
/// passed over.
fn unexpired(text: &[u8], now_unix: u64) -> Vec<String> {
    let mut names = BTreeSet::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(name) = str::from_utf8(line).ok().filter(|name| is_line(name)) else {
            continue;
        };
        match turn_credential::expiry(name) {
            Some(expiry) if expiry > now_unix => names.insert((expiry, name)),
            Some(_) | None => continue,
        };
        if names.len() > MAX_NAMES {
            names.pop_first();
        }
    }
    names.into_iter().map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_kept_until_they_expire() {
        let state = tempfile::tempdir().unwrap();
        let (mut kept, found) = RevokedNames::open(state.path(), NOW);
        assert_eq!(found, [""; 0]);
        kept.add(&names(&["2000:a", "1500:b"]), NOW);
        kept.add(&names(&["2000:a", "1200:c"]), NOW);
        let (_, found) = RevokedNames::open(state.path(), 1_200);
        assert_eq!(found, ["1500:b", "2000:a"]);
        let text = fs::read_to_string(state.path().join(FILE)).unwrap();
        assert_eq!(text, "1500:b\n2000:a\n");
        let (_, found) = RevokedNames::open(state.path(), 2_000);
        assert_eq!(found, [""; 0]);
        assert_eq!(fs::read(state.path().join(FILE)).unwrap(), b"");
    }

    #[test]
    fn what_is_no_name_is_passed_over_and_a_torn_line_stays_alone() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(FILE);
        fs::write(&path, b"2000:a\n\xff\xfe\nalice\n\n2000:\x01\n2000:b").unwrap();
        let (mut kept, found) = RevokedNames::open(state.path(), NOW);
        assert_eq!(found, ["2000:a", "2000:b"]);
        let long = format!("2000:{}", "x".repeat(MAX_LINE));
        kept.add(&names(&["2000:c", "2000:d\n9999:e", "alice", &long]), NOW);
        let (_, found) = RevokedNames::open(state.path(), NOW);
        assert_eq!(found, ["2000:a", "2000:b", "2000:c"]);
    }

    #[test]
    fn the_file_is_bounded_and_the_longest_lived_stay() {
        let state = tempfile::tempdir().unwrap();
        let (mut kept, _) = RevokedNames::open(state.path(), NOW);
        let name = |number: usize| format!("{}:x", 10_000 + number);
        let many: Vec<String> = (0..MAX_LINES + 10).map(name).collect();
        kept.add(&many, NOW);
        assert_eq!(kept.lines, MAX_NAMES);
        let (_, found) = RevokedNames::open(state.path(), NOW);
        assert_eq!(found.len(), MAX_NAMES);
        assert_eq!(found.last(), many.last());
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_costs_nothing_but_the_memory_of_it() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join("file");
        fs::write(&file, "").unwrap();
        let (mut kept, found) = RevokedNames::open(&file, NOW);
        assert_eq!(found, [""; 0]);
        kept.add(&names(&["2000:a"]), NOW);
        assert!(kept.has_warned);
    }

    proptest! {
        #[test]
        fn any_file_can_be_read(text in proptest::collection::vec(any::<u8>(), 0..500), now in any::<u32>()) {
            let found = unexpired(&text, now.into());
            prop_assert!(found.iter().all(|name| is_line(name)));
        }
    }
}
