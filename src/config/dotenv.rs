//! The `.env` file format (`openvidu-deployment` section 2).
//!
//! As OpenVidu's server reads it: a line is skipped if it is blank or begins, in column one, with `#` or `//`; else it
//! is split at the first `=`, the key is trimmed and the value is verbatim: no inline comments, no expansion, no
//! escapes. Duplicate keys: the last one wins. Two deliberate differences, both with a note, because users do quote
//! (compose strips quotes for them): trailing white space and one pair of surrounding quotes are taken off the value.

use std::collections::BTreeMap;

/// The largest file that is read; the stock one has 8 KiB.
pub const MAX_SIZE: usize = 1 << 20;

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DotEnv {
    /// The entries by key; of several the last one.
    pub entries: BTreeMap<String, Entry>,
    /// Lines that cannot be read.
    pub faults: Vec<Located<LineFault>>,
    /// Lines that were read with a difference worth a word.
    pub notes: Vec<Located<LineNote>>,
}

/// The value of a key and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line, from 1.
    pub line: usize,
    /// The value, without trailing white space and surrounding quotes.
    pub value: String,
}

/// Something at a line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The line, from 1.
    pub line: usize,
    /// What is there.
    pub what: T,
}

/// Why a line cannot be read. The line itself is never repeated: it may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// There is no `=`.
    #[error("has no \"=\": write KEY=value, or begin the line with # in the first column")]
    NoEquals,
    /// There is nothing before the `=`.
    #[error("has no key before the \"=\": write KEY=value")]
    EmptyKey,
    /// There is a control character in the key: whoever prints it would be fooled.
    #[error("has a control character in its key")]
    ControlCharacter,
    /// The bytes are not UTF-8.
    #[error("is not valid UTF-8: save the file as UTF-8")]
    NotUtf8,
}

/// What was taken off or ignored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineNote {
    /// White space after the value.
    #[error("{0}: white space after the value is left out")]
    TrailingSpace(String),
    /// One pair of quotes around the value.
    #[error("{0}: the quotes around the value are left out")]
    Quotes(String),
    /// An earlier line with the same key.
    #[error("{key} stands in line {earlier} too: this later line counts")]
    Duplicate {
        /// The key.
        key: String,
        /// The line that does not count.
        earlier: usize,
    },
}

/// Reads a file's bytes. Every line is judged by itself, so that one run names all faults.
pub fn parse(bytes: &[u8]) -> DotEnv {
    let mut read = DotEnv::default();
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        read.line(index + 1, line.strip_suffix(b"\r").unwrap_or(line));
    }
    read
}

impl DotEnv {
    fn line(&mut self, number: usize, bytes: &[u8]) {
        let Ok(line) = std::str::from_utf8(bytes) else {
            return self.fault(number, LineFault::NotUtf8);
        };
        if line.trim().is_empty() || line.starts_with('#') || line.starts_with("//") {
            return;
        }
        let Some((key, value)) = line.split_once('=') else {
            return self.fault(number, LineFault::NoEquals);
        };
        let key = key.trim();
        if key.is_empty() {
            return self.fault(number, LineFault::EmptyKey);
        }
        if key.contains(char::is_control) {
            return self.fault(number, LineFault::ControlCharacter);
        }
        let entry = Entry {
            line: number,
            value: self.clean(number, key, value).to_owned(),
        };
        if let Some(earlier) = self.entries.insert(key.to_owned(), entry) {
            self.note(
                number,
                LineNote::Duplicate {
                    key: key.to_owned(),
                    earlier: earlier.line,
                },
            );
        }
    }

    fn clean<'a>(&mut self, number: usize, key: &str, value: &'a str) -> &'a str {
        let trimmed = value.trim_end();
        if trimmed.len() < value.len() {
            self.note(number, LineNote::TrailingSpace(key.to_owned()));
        }
        let unquoted = ['"', '\'']
            .into_iter()
            .find_map(|quote| trimmed.strip_prefix(quote)?.strip_suffix(quote));
        match unquoted {
            Some(inner) => {
                self.note(number, LineNote::Quotes(key.to_owned()));
                inner
            }
            None => trimmed,
        }
    }

    fn fault(&mut self, line: usize, what: LineFault) {
        self.faults.push(Located { line, what });
    }

    fn note(&mut self, line: usize, what: LineNote) {
        self.notes.push(Located { line, what });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value<'a>(read: &'a DotEnv, key: &str) -> Option<&'a str> {
        read.entries.get(key).map(|entry| entry.value.as_str())
    }

    #[test]
    fn a_comment_sign_counts_in_the_first_column_only() {
        let read = parse(b"# a=b\n// c=d\n#\n\n   \n # e\n  //f\nKEY=v # not a comment\n");
        assert_eq!(value(&read, "KEY"), Some("v # not a comment"));
        assert_eq!(read.entries.len(), 1);
        let lines: Vec<_> = read.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [6, 7]);
        assert!(
            read.faults
                .iter()
                .all(|fault| fault.what == LineFault::NoEquals)
        );
    }

    #[test]
    fn a_line_is_split_at_the_first_equals_sign_and_the_value_stays_as_it_is() {
        let read = parse(b"  A\t= x = \\n ${HOME} $B\nB==\n");
        assert_eq!(value(&read, "A"), Some(" x = \\n ${HOME} $B"));
        assert_eq!(value(&read, "B"), Some("="));
        assert!(read.faults.is_empty() && read.notes.is_empty());
    }

    #[test]
    fn an_empty_value_is_not_an_absent_key() {
        let read = parse(b"A=\nB=\"\"\n");
        assert_eq!(value(&read, "A"), Some(""));
        assert_eq!(value(&read, "B"), Some(""));
        assert_eq!(value(&read, "C"), None);
    }

    #[test]
    fn line_ends_of_windows_and_a_byte_order_mark_do_not_matter() {
        let read = parse(b"\xef\xbb\xbfA=1\r\nB=2\r\n\r\nC=3");
        assert_eq!(value(&read, "A"), Some("1"));
        assert_eq!(value(&read, "B"), Some("2"));
        assert_eq!(value(&read, "C"), Some("3"));
        assert!(read.faults.is_empty() && read.notes.is_empty());
    }

    #[test]
    fn trailing_space_and_one_pair_of_quotes_are_taken_off_with_a_note() {
        let read = parse(b"A=x \t\nB=\"y\"\nC=''z''  \nD=\"open\nE=\"\nF=[\"a\"]\n");
        assert_eq!(value(&read, "A"), Some("x"));
        assert_eq!(value(&read, "B"), Some("y"));
        assert_eq!(value(&read, "C"), Some("'z'"));
        assert_eq!(value(&read, "D"), Some("\"open"));
        assert_eq!(value(&read, "E"), Some("\""));
        assert_eq!(value(&read, "F"), Some("[\"a\"]"));
        let notes: Vec<_> = read.notes.iter().map(|note| note.what.clone()).collect();
        assert_eq!(
            notes,
            [
                LineNote::TrailingSpace("A".into()),
                LineNote::Quotes("B".into()),
                LineNote::TrailingSpace("C".into()),
                LineNote::Quotes("C".into()),
            ]
        );
    }

    #[test]
    fn the_last_of_several_lines_with_one_key_wins() {
        let read = parse(b"A=1\nB=2\nA=3\n");
        assert_eq!(
            read.entries.get("A"),
            Some(&Entry {
                line: 3,
                value: "3".into()
            })
        );
        assert_eq!(
            read.notes,
            [Located {
                line: 3,
                what: LineNote::Duplicate {
                    key: "A".into(),
                    earlier: 1
                }
            }]
        );
    }

    #[test]
    fn every_fault_is_found_in_one_run() {
        let read = parse(b"no equals\n=x\n  =y\nA=\xff\nB=1\nC\x1b[0m=2\n");
        let faults: Vec<_> = read
            .faults
            .iter()
            .map(|fault| (fault.line, fault.what))
            .collect();
        assert_eq!(
            faults,
            [
                (1, LineFault::NoEquals),
                (2, LineFault::EmptyKey),
                (3, LineFault::EmptyKey),
                (4, LineFault::NotUtf8),
                (6, LineFault::ControlCharacter),
            ]
        );
        assert_eq!(value(&read, "B"), Some("1"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let read = parse(&bytes);
            let lines = bytes.split(|byte| *byte == b'\n').count();
            prop_assert!(read.entries.len() + read.faults.len() <= lines);
        }

        #[test]
        fn what_is_written_plainly_is_read_back(
            entries in proptest::collection::btree_map("[A-Z][A-Z_]{0,20}", "[^\\s\"'\\p{C}]([^\\p{C}\\s\"']{0,30})", 0..20)
        ) {
            let file: String = entries.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
            let read = parse(file.as_bytes());
            prop_assert!(read.faults.is_empty() && read.notes.is_empty());
            let back: BTreeMap<_, _> = read.entries.into_iter().map(|(key, entry)| (key, entry.value)).collect();
            prop_assert_eq!(back, entries);
        }
    }
}
