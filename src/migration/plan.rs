//! What is written where, what is told, and the commands that lead there and back.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::containers::Edition;
use super::draft::{Content, Draft, Refusal};
use super::features;
use super::report::{Class, Note};
use crate::config::report::{Loaded, Report};
use crate::config::settings::State;
use crate::config::values::RouteTarget;
use crate::config::{self, Config};

/// What the operator has asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The old folder.
    pub from: PathBuf,
    /// The folder of the new `.env`.
    pub to: PathBuf,
    /// Whether a `.env` that says something else is replaced.
    pub force: bool,
}

impl Wanted {
    /// The new `.env`.
    pub fn file(&self) -> PathBuf {
        self.to.join(".env")
    }

    /// Where `CERTIFICATE_TYPE=owncert` has its files beside the new `.env`.
    pub fn own_certificate(&self) -> OwnFiles {
        OwnFiles::in_folder(&self.to.join("owncert"))
    }
}

/// The two files of `CERTIFICATE_TYPE=owncert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl OwnFiles {
    /// Under OpenVidu's names.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            certificate: folder.join("certificate.cert"),
            key: folder.join("certificate.key"),
        }
    }
}

/// What the machine is like, as far as the draft makes it matter.
pub struct Seen {
    /// The new `.env` as it is at the moment.
    pub target: Content,
    /// The draft as hanok reads it.
    pub config: Result<Loaded, Report>,
    /// The certificate.
    pub certificate: Certificate,
    /// Folders that are used where they are.
    pub folders: Vec<Folder>,
    /// Who has the ports that hanok will need, such as `443/tcp: nginx (pid 1)`.
    pub listeners: Vec<String>,
    /// `docker compose`, or `docker-compose` where that is what there is.
    pub compose: &'static str,
}

/// What there is of a certificate.
pub enum Certificate {
    /// One that hanok makes itself.
    SelfSigned,
    /// One that is named by its path, and stays there.
    Named,
    /// The operator's own.
    Own(Result<OwnPair, String>),
    /// Of certbot.
    LetsEncrypt(Result<Imported, String>),
    /// Of a type that is none.
    Unknown,
}

/// The operator's own certificate.
pub struct OwnPair {
    /// Where it was found.
    pub from: OwnFiles,
    /// The chain's bytes.
    pub certificate: Vec<u8>,
    /// The key's bytes.
    pub key: Vec<u8>,
    /// When it ends, for people.
    pub until: String,
    /// Whether there are other files where it is to lie.
    pub others_are_there: bool,
    /// Whether it lies there already.
    pub is_there: bool,
}

/// A certificate of certbot that can be taken over.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The tree that it lies in.
    pub from: PathBuf,
    /// When it ends, for people.
    pub until: String,
    /// Whether the state folder has it already, or a better one.
    pub is_kept: bool,
}

/// A folder that is used where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The key that names it.
    pub key: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// How many entries it has, at most [`MOST_COUNTED`]; `None` if there is no folder.
    pub entries: Option<usize>,
    /// Whether hanok writes into it.
    pub is_written: bool,
    /// Whether the user who runs hanok has the access that it takes; `None` if there is no such user yet.
    pub is_accessible: Option<bool>,
}

/// Entries of a folder beyond this are not counted.
pub const MOST_COUNTED: usize = 10_000;

/// The folders outside its own that the service may write to (`systemd/hanok.service`).
const WRITABLE: [&str; 2] = ["/opt/openvidu/recordings", "/opt/openvidu/cdr"];
/// What the service does not see (`ProtectHome=`).
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// Everything that will be done and told.
pub struct Plan {
    /// What was found, in one line.
    pub summary: String,
    /// Files to be written, in this order.
    pub writes: Vec<Write>,
    /// The certificate that goes into the state folder.
    pub import: Option<Imported>,
    /// What to tell, sorted.
    pub notes: Vec<Note>,
    /// What keeps hanok from starting with the new file.
    pub problems: Vec<String>,
    /// Why nothing is done.
    pub refusal: Option<Refusal>,
    /// The commands that put hanok in OpenVidu's place.
    pub forward: Vec<String>,
    /// The commands that undo that.
    pub back: Vec<String>,
}

/// A file to be written.
pub struct Write {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub bytes: Vec<u8>,
    /// What it is, for people.
    pub about: String,
    /// How it is at the moment.
    pub state: FileState,
}

/// How a file that is to be written is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It does not exist.
    Missing,
    /// It is what it should be.
    Same,
    /// It says something else, and is kept beside.
    Replaced,
}

impl fmt::Debug for Write {
    /// Not the bytes: they are secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("path", &self.path)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// The folders that the draft uses where they are: key, path, whether hanok writes there.
pub fn folders(draft: &Draft, config: Option<&Config>) -> Vec<(&'static str, PathBuf, bool)> {
    let value = |key: &str| draft.values.get(key).filter(|value| !value.is_empty());
    let is_on = |key: &str| value(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let mut folders = Vec::new();
    for (key, is_written) in [
        ("OPENVIDU_RECORDING_PATH", is_on("OPENVIDU_RECORDING")),
        ("OPENVIDU_CDR_PATH", is_on("OPENVIDU_CDR")),
        ("OPENVIDU_RECORDING_CUSTOM_LAYOUT", false),
    ] {
        let path = value(key).map(PathBuf::from);
        folders.extend(path.map(|path| (key, path, is_written)));
    }
    for route in config
        .map(|config| config.web.routes.as_slice())
        .unwrap_or_default()
    {
        if let RouteTarget::Folder(path) = &route.target {
            folders.push(("HANOK_PROXY_ROUTES", path.clone(), false));
        }
    }
    folders
}

impl Plan {
    /// Judges a draft.
    pub fn new(wanted: &Wanted, draft: &Draft, seen: &Seen) -> Self {
        let mut plan = Self {
            summary: summary(wanted, draft),
            writes: Vec::new(),
            import: None,
            notes: draft.notes.clone(),
            problems: Vec::new(),
            refusal: None,
            forward: forward(wanted, draft, seen.compose),
            back: back(wanted),
        };
        plan.certificate(wanted, &seen.certificate);
        plan.env_file(wanted, draft, &seen.target);
        plan.configuration(wanted, &seen.config);
        for folder in &seen.folders {
            plan.folder(folder);
        }
        for listener in &seen.listeners {
            let text = "the first command below takes it away, or stop it yourself";
            plan.notes.push(Note::action(listener.clone(), text));
        }
        plan.notes.sort_by_key(|note| note.class);
        plan
    }

    /// The plan for a folder that cannot be migrated.
    pub fn refused(refusal: Refusal) -> Self {
        Self {
            summary: String::new(),
            writes: Vec::new(),
            import: None,
            notes: Vec::new(),
            problems: Vec::new(),
            refusal: Some(refusal),
            forward: Vec::new(),
            back: Vec::new(),
        }
    }

    fn certificate(&mut self, wanted: &Wanted, certificate: &Certificate) {
        const KEY: &str = "CERTIFICATE_TYPE";
        match certificate {
            Certificate::SelfSigned => self.notes.push(Note::change(
                format!("{KEY}=selfsigned"),
                "hanok makes a certificate of its own, with the names that clients ask for; who has trusted the old one has to trust the new one",
            )),
            Certificate::Named => self.notes.push(Note::kept("HANOK_CERTIFICATE_FILE", "stays where it is")),
            Certificate::Own(Ok(pair)) => self.own_certificate(wanted, pair),
            Certificate::Own(Err(problem)) => self.notes.push(Note::action(
                format!("{KEY}=owncert"),
                format!("no pair can be taken over ({problem}): put yours where HANOK_CERTIFICATE_FILE and HANOK_CERTIFICATE_KEY_FILE say"),
            )),
            Certificate::LetsEncrypt(Ok(imported)) => {
                let text = format!("the certificate is good until {}; hanok renews it with an account of its own", imported.until);
                self.notes.push(Note::kept(imported.from.display().to_string(), text));
                self.import = Some(imported.clone());
            }
            Certificate::LetsEncrypt(Err(problem)) => self.notes.push(Note::change(
                format!("{KEY}=letsencrypt"),
                format!("{problem}: hanok orders a new one at its first start"),
            )),
            Certificate::Unknown => {}
        }
    }

    fn own_certificate(&mut self, wanted: &Wanted, pair: &OwnPair) {
        let to = wanted.own_certificate();
        if pair.others_are_there && !wanted.force {
            let text = "there is another certificate here already: it stays, and the old folder's is not taken over";
            self.notes
                .push(Note::action(to.certificate.display().to_string(), text));
            return;
        }
        let text = format!(
            "was copied and is good until {}: whoever renews it has to put the new one there from now on; hanok sees that by itself",
            pair.until
        );
        self.notes.push(Note::change(
            pair.from.certificate.display().to_string(),
            text,
        ));
        let state = match (pair.is_there, pair.others_are_there) {
            (true, _) => FileState::Same,
            (false, true) => FileState::Replaced,
            (false, false) => FileState::Missing,
        };
        for (path, bytes, about) in [
            (to.key, &pair.key, "the key of your certificate"),
            (to.certificate, &pair.certificate, "your certificate"),
        ] {
            self.writes.push(Write {
                path,
                bytes: bytes.clone(),
                about: about.to_owned(),
                state,
            });
        }
    }

    fn env_file(&mut self, wanted: &Wanted, draft: &Draft, target: &Content) {
        let path = wanted.file();
        let state = match target {
            Content::Missing => FileState::Missing,
            Content::Bytes(bytes) if *bytes == draft.env.as_bytes() => FileState::Same,
            Content::Bytes(_) if wanted.force => FileState::Replaced,
            Content::Bytes(_) => {
                self.refusal = Some(Refusal::Exists(path.clone()));
                FileState::Replaced
            }
            Content::Unreadable(reason) => {
                self.refusal = Some(Refusal::Unreadable {
                    file: path.clone(),
                    reason: reason.clone(),
                });
                FileState::Replaced
            }
        };
        let about = match draft.added.as_slice() {
            [] => format!("{} keys of the old file", draft.carried_keys),
            added => format!(
                "{} keys of the old file, and {}",
                draft.carried_keys,
                added.join(", ")
            ),
        };
        self.writes.push(Write {
            path,
            bytes: draft.env.clone().into_bytes(),
            about,
            state,
        });
    }

    fn configuration(&mut self, wanted: &Wanted, config: &Result<Loaded, Report>) {
        let notes = match config {
            Ok(loaded) => &loaded.notes,
            Err(report) => {
                self.problems = report.problems.iter().map(ToString::to_string).collect();
                let file = wanted.file();
                let text = "correct what is wrong in this file, not in the old one, until `hanok check-config` is content";
                self.notes
                    .push(Note::action(file.display().to_string(), text));
                &report.notes
            }
        };
        for note in notes {
            let Some(class) = class_of(note) else {
                continue;
            };
            self.notes.push(Note {
                class,
                place: String::new(),
                text: note.to_string(),
            });
        }
    }

    fn folder(&mut self, folder: &Folder) {
        let place = format!("{}={}", folder.key, folder.path.display());
        let is_below = |places: &[&str]| places.iter().any(|place| folder.path.starts_with(place));
        let path = quoted(&folder.path);
        match folder.entries {
            Some(entries) => {
                let many = if entries >= MOST_COUNTED {
                    "more than "
                } else {
                    ""
                };
                let text = format!("stays where it is, with {many}{entries} entries");
                self.notes.push(Note::kept(place.clone(), text));
            }
            None if !folder.is_written => return,
            None => {
                let text =
                    format!("there is no such folder: `install -d -o hanok -g hanok {path}`");
                self.notes.push(Note::action(place.clone(), text));
            }
        }
        if is_below(&HOMES) {
            let text = "the service does not see what lies there: move it elsewhere, or allow it by `systemctl edit hanok` with ProtectHome=no";
            self.notes.push(Note::action(place.clone(), text));
        }
        if folder.is_written && !is_below(&WRITABLE) {
            let text = format!(
                "the service may not write there: `systemctl edit hanok`, with the lines [Service] and ReadWritePaths={path}"
            );
            self.notes.push(Note::action(place.clone(), text));
        }
        if folder.entries.is_some() && folder.is_accessible == Some(false) {
            let access = if folder.is_written { "rwX" } else { "rX" };
            let text = format!(
                "the user hanok has no access: `setfacl -R -m u:hanok:{access},d:u:hanok:{access} {path}` (package acl)"
            );
            self.notes.push(Note::action(place, text));
        }
    }

    /// Whether anything is left to be written.
    pub fn is_done(&self) -> bool {
        self.writes
            .iter()
            .all(|write| write.state == FileState::Same)
            && self.import.as_ref().is_none_or(|imported| imported.is_kept)
    }

    /// Where the certificate of certbot goes, if there is one.
    pub fn state_folder(config: &Result<Loaded, Report>) -> Option<&Path> {
        match config.as_ref().ok().map(|loaded| &loaded.config.state)? {
            State::Folder(path) => Some(path),
            State::Temporary => None,
        }
    }
}

/// What a note of the configuration is about; `None` if it has been told already, or says nothing to somebody who moves.
fn class_of(note: &config::Note) -> Option<Class> {
    let is_known = |name: &String| features::is_known(name);
    let is_told = if let config::Note::UnknownKey { name, .. } = note {
        is_known(name)
    } else if let config::Note::NoCounterpart { names, .. } = note {
        names.iter().all(is_known)
    } else {
        matches!(note, config::Note::Line { .. })
    };
    let class = if matches!(note, config::Note::NoEffectYet { .. }) {
        Class::Loss
    } else if note.is_warning() {
        Class::Action
    } else {
        Class::Change
    };
    (!is_told).then_some(class)
}

fn summary(wanted: &Wanted, draft: &Draft) -> String {
    let edition = match draft.deployment.edition {
        Edition::Community => "CE",
        Edition::Pro => "Pro",
        Edition::Enterprise => "Enterprise",
    };
    let version = draft
        .deployment
        .version
        .as_deref()
        .unwrap_or("2 of unknown version");
    let services: BTreeSet<_> = draft
        .deployment
        .services
        .keys()
        .map(String::as_str)
        .collect();
    let services: Vec<_> = services.into_iter().collect();
    format!(
        "OpenVidu {edition} {version} in {}: {}",
        wanted.from.display(),
        services.join(", ")
    )
}

/// OpenVidu's own containers are removed, not only stopped: docker starts a container that was stopped again with the
/// machine if its restart policy is `always`, as that of the proxy is. The application's stay.
fn forward(wanted: &Wanted, draft: &Draft, compose: &str) -> Vec<String> {
    let own: Vec<_> = draft
        .deployment
        .own()
        .map(|(name, _)| quoted(Path::new(name)))
        .collect();
    let stop = match own.as_slice() {
        [] => format!("cd {} && ./openvidu stop", quoted(&wanted.from)),
        own => format!(
            "cd {} && {compose} rm --stop --force {}",
            quoted(&wanted.from),
            own.join(" ")
        ),
    };
    let file = wanted.file();
    let start = if file == Path::new(config::layers::HANOK_FILE) {
        "systemctl enable --now hanok".to_owned()
    } else {
        format!("hanok serve --env-file {}", quoted(&file))
    };
    vec![stop, start]
}

fn back(wanted: &Wanted) -> Vec<String> {
    vec![
        "systemctl disable --now hanok".to_owned(),
        format!("cd {} && ./openvidu start", quoted(&wanted.from)),
    ]
}

/// A path as a shell reads it as one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str, is_written: bool, is_accessible: Option<bool>) -> Vec<String> {
        let mut plan = Plan::refused(Refusal::NoFile(PathBuf::new()));
        plan.folder(&Folder {
            key: "OPENVIDU_CDR_PATH",
            path: path.into(),
            entries: Some(3),
            is_written,
            is_accessible,
        });
        plan.notes.iter().map(|note| note.text.clone()).collect()
    }

    #[test]
    fn a_folder_that_the_service_cannot_use_is_told_with_the_command_that_opens_it() {
        let kept = "stays where it is, with 3 entries";
        assert_eq!(folder("/opt/openvidu/cdr", true, Some(true)), [kept]);
        assert_eq!(folder("/opt/openvidu/cdr", true, None), [kept]);
        let notes = folder("/srv/my cdr", true, Some(false));
        assert_eq!(notes.len(), 3);
        assert!(
            notes[1].contains("ReadWritePaths='/srv/my cdr'"),
            "{notes:?}"
        );
        assert!(
            notes[2].contains("setfacl -R -m u:hanok:rwX,d:u:hanok:rwX '/srv/my cdr'"),
            "{notes:?}"
        );
        assert!(folder("/home/me/layouts", false, Some(true))[1].contains("ProtectHome=no"));
        assert!(folder("/srv/layouts", false, Some(false))[1].contains("u:hanok:rX,"));
    }

    #[test]
    fn paths_are_one_word_for_a_shell() {
        for (path, expected) in [
            ("/opt/openvidu", "/opt/openvidu"),
            ("/a b", "'/a b'"),
            ("/it's", "'/it'\\''s'"),
            ("/$(reboot)", "'/$(reboot)'"),
            ("-rf", "'-rf'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
