//! `.env` as the containers understood it, written so that hanok understands the same.
//!
//! OpenVidu's containers get the file through compose, which trims values, strips quotes and comments behind values, and
//! passes over lines that say nothing; hanok takes values as they are (`openvidu-deployment` sections 2 and 18). Lines
//! that both read alike are kept as they are, in their order, comments included.

use std::collections::BTreeMap;

use super::report::Note;
use crate::config::dotenv;

/// Ports that OpenVidu's compose file sets over the file's.
const SERVER_PORTS: [&str; 2] = ["SERVER_PORT", "server.port"];
/// What it sets them to.
const SERVER_PORT: &str = "5443";

/// The file to be written, without what migration adds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Its text; every line ends with a line feed.
    pub text: String,
    /// The values as the containers saw them; of several with one name the last.
    pub values: BTreeMap<String, String>,
    /// `FILE:LINE` of each.
    pub places: BTreeMap<String, String>,
    /// What was changed, and what was not though the containers saw something else.
    pub notes: Vec<Note>,
}

/// Carries a file over. `name` is what notes call it.
pub fn carry(name: &str, bytes: &[u8]) -> Carried {
    let mut carried = Carried::default();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        carried.line(&format!("{name}:{}", index + 1), line);
    }
    carried
}

impl Carried {
    fn line(&mut self, place: &str, bytes: &[u8]) {
        let Ok(line) = std::str::from_utf8(bytes) else {
            let line = String::from_utf8_lossy(bytes).replace(|c: char| c.is_control(), " ");
            if !line.trim_start().starts_with('#') {
                self.note(
                    place,
                    "is not UTF-8 and became a comment: write it again, in UTF-8",
                );
            }
            return self.comment(&line);
        };
        let statement = line.trim_start();
        if statement.is_empty() || statement.starts_with('#') {
            return self.push(statement);
        }
        if line.starts_with("//") {
            return self.push(line);
        }
        let statement = match statement.strip_prefix("export") {
            Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
            Some(_) | None => statement,
        };
        let (key, value) = match statement.split_once('=') {
            Some((key, value)) if is_key(key.trim()) => (key.trim(), value),
            Some(_) | None => {
                self.note(
                    place,
                    "says nothing to compose and became a comment: write KEY=value if it should",
                );
                return self.comment(line);
            }
        };
        let (value, remark) = as_compose(value);
        if let Some(value) = value {
            self.values.insert(key.to_owned(), value.to_owned());
            self.places.insert(key.to_owned(), place.to_owned());
        } else {
            let text = format!(
                "{key}: what compose makes of the value is not certain (escapes, or a quote without its end): compare it"
            );
            self.note(place, &text);
        }
        if SERVER_PORTS.contains(&key) && value != Some(SERVER_PORT) {
            let text = format!(
                "{key} became a comment: compose sets {SERVER_PORT} over it, and applications on this machine use that port"
            );
            self.note(place, &text);
            return self.comment(line);
        }
        if value.is_some_and(has_variable) {
            let text = format!(
                "{key} has a $, which compose takes for a variable, and hanok for a $: write what should stand there"
            );
            self.note(place, &text);
        }
        match value {
            Some(value) if !is_read_as(line, key, value) => {
                self.note(
                    place,
                    &format!("{key}: what stands around the value is left out, as compose does"),
                );
                self.rewrite(key, value, remark);
            }
            Some(_) | None => self.push(line),
        }
    }

    /// Writes a line that hanok reads as `value`.
    fn rewrite(&mut self, key: &str, value: &str, remark: Option<&str>) {
        if let Some(remark) = remark {
            self.comment(remark.trim_start_matches('#'));
        }
        let candidates = [
            format!("{key}={value}"),
            format!("{key}=\"{value}\""),
            format!("{key}='{value}'"),
        ];
        let fits = |line: &&String| is_read_as(line, key, value);
        let line = candidates.iter().find(fits);
        // A value that no line can hold has line ends, and those were split off.
        let line = line.unwrap_or(&candidates[0]).clone();
        self.push(&line);
    }

    fn comment(&mut self, text: &str) {
        self.push(format!("# {}", text.trim()).trim_end());
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn note(&mut self, place: &str, text: &str) {
        self.notes
            .push(Note::change(place.to_owned(), text.to_owned()));
    }
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && !key.contains(|c: char| c.is_control() || c.is_whitespace() || "'\"#".contains(c))
}

/// The value as compose hands it to containers, and the comment behind it; `None` if that depends on what is not known
/// here.
fn as_compose(value: &str) -> (Option<&str>, Option<&str>) {
    let value = value.trim();
    if let Some(quote @ ('"' | '\'')) = value.chars().next() {
        let inner = value.get(1..).unwrap_or_default();
        let Some((inner, behind)) = inner.split_once(quote) else {
            return (None, None);
        };
        let behind = behind.trim_start();
        let is_clean = (behind.is_empty() || behind.starts_with('#')) && !inner.contains('\\');
        let remark = Some(behind).filter(|behind| !behind.is_empty());
        return (Some(inner).filter(|_| is_clean), remark);
    }
    if value.starts_with('#') {
        return (Some(""), Some(value));
    }
    let comment = value.match_indices('#').map(|(at, _)| at).find(|at| {
        value
            .get(..*at)
            .is_some_and(|before| before.ends_with([' ', '\t']))
    });
    match comment.and_then(|at| value.split_at_checked(at)) {
        Some((before, comment)) => (Some(before.trim_end()), Some(comment)),
        None => (Some(value), None),
    }
}

/// Whether hanok's own reader makes `value` of `key` in one line.
fn is_read_as(line: &str, key: &str, value: &str) -> bool {
    let read = dotenv::parse(line.as_bytes());
    read.entries
        .get(key)
        .is_some_and(|entry| entry.value == value)
}

fn has_variable(value: &str) -> bool {
    value.split('$').skip(1).any(|behind| {
        let first = behind.chars().next();
        first.is_some_and(|c| c == '{' || c == '_' || c.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(carried: &Carried) -> Vec<&str> {
        carried
            .notes
            .iter()
            .map(|note| note.place.as_str())
            .collect()
    }

    #[test]
    fn a_stock_file_stays_as_it_is() {
        let file = "# OpenVidu configuration\n\nDOMAIN_OR_PUBLIC_IP=call.example\n# HTTP_PORT=80\nOPENVIDU_WEBHOOK_EVENTS=[sessionCreated,sessionDestroyed]\nJAVA_OPTIONS=-Xms2048m -Xmx4096m\nOPENVIDU_RECORDING_PATH=/opt/openvidu/recordings\nQUOTED=\"a b\"\nEMPTY=\n";
        let carried = carry(".env", file.as_bytes());
        assert_eq!(carried.text, file);
        assert_eq!(carried.notes, []);
        assert_eq!(carried.values["QUOTED"], "a b");
        assert_eq!(carried.values["EMPTY"], "");
    }

    #[test]
    fn what_compose_strips_is_stripped_and_kept_as_a_comment() {
        let file = b"\xef\xbb\xbfA=1 # one\r\n  # indented\r\nB= x\r\nexport C=3\r\nD='q' # quoted\r\nE=#none\r\nF=a#b\r\n";
        let carried = carry(".env", file);
        assert_eq!(
            carried.text,
            "# one\nA=1\n# indented\nB=x\nC=3\n# quoted\nD=q\n# none\nE=\nF=a#b\n"
        );
        assert_eq!(
            places(&carried),
            [".env:1", ".env:3", ".env:4", ".env:5", ".env:6"]
        );
        let values: Vec<_> = carried.values.values().collect();
        assert_eq!(values, ["1", "x", "3", "q", "", "a#b"]);
    }

    #[test]
    fn what_cannot_be_carried_over_becomes_a_comment_and_is_told() {
        let file =
            b"KEY\nnot a=key\n=x\n# caf\xe9\nN=caf\xe9\nSERVER_PORT=6443\nSERVER_PORT=5443\n";
        let carried = carry(".env", file);
        assert_eq!(
            carried.text,
            "# KEY\n# not a=key\n# =x\n# # caf\u{fffd}\n# N=caf\u{fffd}\n# SERVER_PORT=6443\nSERVER_PORT=5443\n"
        );
        assert_eq!(
            places(&carried),
            [".env:1", ".env:2", ".env:3", ".env:5", ".env:6"]
        );
        assert!(dotenv::parse(carried.text.as_bytes()).faults.is_empty());
    }

    #[test]
    fn what_is_not_certain_is_kept_and_told_without_its_value() {
        let file = b"A=pa$$word$HOME\nB=\"a\\nb\"\nC=\"open\nD=$5\n";
        let carried = carry(".env", file);
        assert_eq!(carried.text.as_bytes(), file);
        assert_eq!(places(&carried), [".env:1", ".env:2", ".env:3"]);
        assert!(carried.notes.iter().all(|note| !note.text.contains("pa$")));
    }

    #[test]
    fn quotes_that_belong_to_a_value_survive() {
        let carried = carry(".env", b"A='\"x\"' # y\nB=\"'\" # z\n");
        let read = dotenv::parse(carried.text.as_bytes());
        assert_eq!(read.entries["A"].value, "\"x\"");
        assert_eq!(read.entries["B"].value, "'");
    }

    proptest! {
        #[test]
        fn any_bytes_become_a_file_without_faults(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let carried = carry(".env", &bytes);
            let read = dotenv::parse(carried.text.as_bytes());
            prop_assert_eq!(read.faults, []);
        }

        #[test]
        fn hanok_reads_what_the_containers_saw(
            lines in prop::collection::vec("(export )?[ ]{0,2}[A-C][ ]?=[ ]?(\"|'|)[a-c#$= é]{0,6}(\"|'|)[ ]?(# c)?", 0..6)
        ) {
            let carried = carry(".env", lines.join("\n").as_bytes());
            let read = dotenv::parse(carried.text.as_bytes());
            let uncertain = carried.notes.iter().any(|note| note.text.contains("not certain"));
            for (key, value) in &carried.values {
                let entry = read.entries.get(key).map(|entry| entry.value.as_str());
                prop_assert!(uncertain || entry == Some(value.as_str()), "{key}: {value:?}, {entry:?} in {:?}", carried.text);
            }
        }

        #[test]
        fn lines_that_both_read_alike_stay_as_they_are(file in "([A-C]|=|#|'|\"| |x|\n){0,60}") {
            let carried = carry(".env", file.as_bytes());
            let is_comment = |line: &str| line.trim_start().is_empty() || line.trim_start().starts_with('#');
            if carried.notes.is_empty() {
                let file = file.strip_suffix('\n').unwrap_or(&file);
                let lines = file.split('\n').zip(carried.text.split('\n'));
                for (old, new) in lines {
                    prop_assert!(old == new || is_comment(old), "{old:?} became {new:?}");
                }
            }
        }
    }
}
