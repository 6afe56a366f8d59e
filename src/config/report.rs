//! What is told about a configuration: every problem at once, notes, effective values; never a secret.

use std::fmt;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::dotenv::{LineFault, LineNote};
use crate::config::keys;
use crate::config::layers::Merged;
use crate::config::refusal::Refusal;

/// Exit status of a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// What stands where a secret would.
pub const MASK: &str = "********";

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The typed values.
    pub config: Config,
    /// What the operator should know.
    pub notes: Vec<Note>,
    /// Every key with the value that counts, in the order of the table.
    pub effective: Vec<Effective>,
    /// What it was made of.
    pub(crate) merged: Merged,
}

/// A key with the value that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The key.
    pub name: &'static str,
    /// The value as it may be shown; `None` if the key is unset and has no default.
    pub value: Option<String>,
    /// `FILE:LINE` or `environment`; `None` if it is the default.
    pub origin: Option<String>,
}

/// A configuration that cannot be used: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// At least one problem.
    pub problems: Vec<Problem>,
    /// What the operator should know beside.
    pub notes: Vec<Note>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The file cannot be read.
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A line cannot be read.
    Line {
        /// `FILE:LINE`.
        origin: String,
        /// Why.
        fault: LineFault,
    },
    /// A key's value cannot be used.
    Key {
        /// The key.
        name: String,
        /// `FILE:LINE` or `environment`; `None` if it is not set.
        origin: Option<String>,
        /// The value as it may be shown.
        value: String,
        /// Why.
        fault: KeyFault,
    },
    /// The layers could not be merged.
    Layers(String),
}

/// Why a value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is not a value of this key.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A variable of the process environment that is not UTF-8.
    #[error("is not valid UTF-8")]
    NotUtf8,
    /// The webhook has nowhere to go.
    #[error("may not be empty with OPENVIDU_WEBHOOK=true: write the URL of your server")]
    WebhookWithoutEndpoint,
    /// A folder that has to be written to.
    #[error(
        "cannot be written to ({reason}): give the user that runs hanok access, or write another folder"
    )]
    NotWritable {
        /// What the system says.
        reason: String,
    },
    /// A secret in two forms.
    #[error("is set by {other}, too: leave one of them out")]
    TwoForms {
        /// The other form, and where it stands.
        other: String,
    },
    /// A file with a secret.
    #[error(
        "leads to no secret ({reason}): write the path of a file that holds the secret alone, in one line, and that the \
         user who runs hanok may read"
    )]
    SecretFile {
        /// What is wrong with the file.
        reason: String,
    },
    /// A file that has to be read.
    #[error("cannot be read ({reason}): put the PEM file there, or write its path here")]
    NotReadable {
        /// What the system says.
        reason: String,
    },
    /// No web listener at all.
    #[error(
        "may not be empty with HANOK_FRONT=off: no client could come in; write the address where your proxy finds us, \
         such as 127.0.0.1:5443, or set HANOK_FRONT=on"
    )]
    NoListener,
    /// Two listeners on one address and TCP port.
    #[error("is the port of {other} too: write another one")]
    SamePort {
        /// The other key.
        other: &'static str,
    },
    /// A key that says nothing without another one.
    #[error("says nothing without {other}: set both, as the authority shows them, or neither")]
    Alone {
        /// The other key.
        other: &'static str,
    },
    /// An upstream that is the admin listener.
    #[error(
        "leads to HANOK_ADMIN_LISTEN, which is for monitoring and never for visitors: write your application's address"
    )]
    LeadsToAdmin,
    /// A range that ends before it begins.
    #[error("is lower than {first_key} ({first}): write the end of the range")]
    RangeReversed {
        /// The key of the range's begin.
        first_key: &'static str,
        /// The begin.
        first: u16,
    },
    /// A name for which there is no address.
    #[error("has the name {name}, which does not resolve: write addresses")]
    NameWithoutAddress {
        /// The name.
        name: String,
    },
}

/// Something the operator should know; the configuration can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// A line was read with a difference.
    #[error("{origin}: {note}")]
    Line {
        /// `FILE:LINE`.
        origin: String,
        /// What differs.
        note: LineNote,
    },
    /// A key that the table does not have.
    #[error("{origin}: {name} is not a key of hanok or OpenVidu and is ignored{}", did_you_mean(.nearest.as_ref()))]
    UnknownKey {
        /// `FILE:LINE` or `environment`.
        origin: String,
        /// The key.
        name: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// Keys that are set, but control what is not here and will not be.
    #[error("{origin}: {} {} no effect here: {reason}", .names.join(", "), if .names.len() == 1 { "has" } else { "have" })]
    NoCounterpart {
        /// `FILE:LINE` or `environment` of the first one.
        origin: String,
        /// The keys.
        names: Vec<String>,
        /// Why.
        reason: &'static str,
    },
    /// A key that is read before there is a file.
    #[error("{origin}: {name} counts in the process environment only")]
    OnlyInEnvironment {
        /// `FILE:LINE`.
        origin: String,
        /// The key.
        name: &'static str,
    },
    /// A secret's own file that too many may open.
    #[error(
        "{}: its mode is {mode:04o}, so others can get at {name}: run `chmod 640 {}`", .path.display(), .path.display()
    )]
    OpenSecretFile {
        /// The key.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key that is set, but controls what is not built yet.
    #[error("{origin}: {name} has no effect yet: this version has no {feature}")]
    NoEffectYet {
        /// `FILE:LINE` or `environment`.
        origin: String,
        /// The key.
        name: &'static str,
        /// What it would control.
        feature: &'static str,
    },
    /// Cipher suites that are not spoken here.
    #[error("{origin}: HTTPS_CIPHERS has words that name nothing spoken here and are passed over: {}", .names.join(", "))]
    UnknownCiphers {
        /// `FILE:LINE` or `environment`.
        origin: String,
        /// The words.
        names: Vec<String>,
    },
    /// A secret that can be guessed.
    #[error(
        "{origin}: OPENVIDU_SECRET is shorter than 16 characters: write a longer one, for example with `openssl rand -hex 24`"
    )]
    ShortSecret {
        /// `FILE:LINE` or `environment`.
        origin: String,
    },
    /// Two installations' files that say different things.
    #[error("{read} was read, but {other} exists and differs in {}", .keys.join(", "))]
    FilesDiffer {
        /// The file that counts.
        read: String,
        /// The file that does not.
        other: String,
        /// The keys that differ.
        keys: Vec<String>,
    },
    /// `DOTENV_PATH` leads nowhere; as in the original that is not fatal.
    #[error("{} of DOTENV_PATH does not exist: only the process environment and defaults count", .0.display())]
    MissingFile(PathBuf),
    /// Media and relay ports overlap.
    #[error("the media ports {media} and the relay ports {relay} overlap: both take what is free")]
    RangesOverlap {
        /// HANOK_MEDIA_MIN_PORT to HANOK_MEDIA_MAX_PORT.
        media: String,
        /// COTURN_MIN_PORT to COTURN_MAX_PORT.
        relay: String,
    },
    /// An edition that is not sold here.
    #[error(
        "{origin}: OPENVIDU_EDITION is ignored unless it is ce: features of all editions are on"
    )]
    Edition {
        /// `FILE:LINE` or `environment`.
        origin: String,
    },
}

fn did_you_mean(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(": did you mean {nearest}?"))
}

impl Note {
    /// Returns whether the operator should act; else it is for information.
    pub const fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::UnknownKey { nearest: None, .. }
                | Self::NoCounterpart { .. }
                | Self::UnknownCiphers { .. }
                | Self::Edition { .. }
                | Self::Line {
                    note: LineNote::Duplicate { .. },
                    ..
                }
        )
    }
}

/// A problem that shows only when the configuration is used, such as a busy port: exit status 78.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(pub String);

impl Problem {
    /// Whether it holds whatever is in a file that could not be read.
    pub(crate) const fn is_certain(&self) -> bool {
        !matches!(self, Self::Key { origin: None, .. })
    }

    /// The line that an editor is to be sent to; what has none comes first.
    pub(crate) fn line(&self) -> Option<usize> {
        let origin = match self {
            Self::Line { origin, .. } => Some(origin),
            Self::Key { origin, .. } => origin.as_ref(),
            Self::File { .. } | Self::Layers(_) => None,
        };
        origin?.rsplit(':').next()?.parse().ok()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, origin, value, fault) = match self {
            Self::File { path, reason } => {
                return write!(f, "{}: cannot be read: {reason}", path.display());
            }
            Self::Line { origin, fault } => return write!(f, "{origin}: the line {fault}"),
            Self::Layers(reason) => {
                return write!(f, "the configuration cannot be merged: {reason}");
            }
            Self::Key {
                name,
                origin,
                value,
                fault,
            } => (name, origin, value, fault),
        };
        match origin {
            Some(origin) => write!(f, "{origin}: {name}={value} {fault}")?,
            None if value.is_empty() => write!(f, "{name} (not set) {fault}")?,
            None => write!(f, "{name}={value} (the default) {fault}")?,
        }
        match (fault, keys::find(name)) {
            // What to write is what the key means.
            (KeyFault::Refused(Refusal::Empty), Some(key)) => write!(f, ". {}", key.about().doc),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Configuration errors")?;
        writeln!(f)?;
        for problem in &self.problems {
            writeln!(f, "  * {problem}")?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
            for note in &self.notes {
                writeln!(f, "  - {note}")?;
            }
        }
        writeln!(f)?;
        let unread = self.problems.iter().find_map(|problem| match problem {
            Problem::File { path, .. } => Some(path),
            Problem::Line { .. } | Problem::Key { .. } | Problem::Layers(_) => None,
        });
        match (unread, &self.file) {
            (Some(path), _) => writeln!(
                f,
                "How to fix: make {} a file that the user who runs hanok may read, or name another one with --env-file; \
                 then",
                path.display()
            )?,
            (None, Some(file)) => writeln!(f, "How to fix: edit {}, then", file.display())?,
            (None, None) => writeln!(
                f,
                "How to fix: no .env file was read. Write /etc/hanok/.env (`hanok sample-env` prints every key), name one \
                 with --env-file, or try `hanok serve --dev`; then"
            )?,
        }
        writeln!(
            f,
            "run `hanok check-config` until it is content, and start hanok again."
        )
    }
}

impl std::error::Error for Report {}

/// `value` as it may be shown: masked if it is secret, without the credentials of a URL, in one line.
pub fn shown(value: &str, secret: bool) -> String {
    if secret {
        return if value.is_empty() {
            String::new()
        } else {
            MASK.to_owned()
        };
    }
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("://") {
        text.push_str(before);
        text.push_str("://");
        let end = after
            .find(['/', '?', '#', ',', '"', ' '])
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                text.push_str(MASK);
                text.push('@');
                text.push_str(host);
            }
            None => text.push_str(authority),
        }
        rest = tail;
    }
    text.push_str(rest);
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// [`shown`] for a report: what is wrong is seen at the beginning of a value, if it is long.
pub(crate) fn shown_in_report(value: &str, secret: bool) -> String {
    const LONGEST: usize = 120;
    let mut text = shown(value, secret);
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_shows_the_beginning_of_a_long_value() {
        let text = shown_in_report(&"한".repeat(100_000), false);
        assert_eq!(text.chars().count(), 121);
        assert_eq!(shown_in_report("short", false), "short");
    }

    #[test]
    fn credentials_in_urls_are_not_shown() {
        assert_eq!(
            shown("https://me:pa@ss@example.com/x?y=z", false),
            "https://********@example.com/x?y=z"
        );
        assert_eq!(
            shown("/a=http://u:p@h:1,/b=http://h:2", false),
            "/a=http://********@h:1,/b=http://h:2"
        );
        assert_eq!(shown("plain", false), "plain");
        assert_eq!(shown("line\nbreak", false), "line\u{fffd}break");
    }

    #[test]
    fn the_mask_does_not_tell_the_length() {
        assert_eq!(shown("a", true), shown("a much longer one", true));
        assert_eq!(shown("", true), "");
    }
}
