//! Which file is read, and the layers: defaults, then the file, then the process environment.
//!
//! The `config` crate does the layering over two sources of our own, whose values carry `FILE:LINE` or `environment` as
//! origin. Its own environment source lower-cases names and its deserialiser stops at the first error, so validation
//! is ours, over the merged map.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ::config::{ConfigError, Map, Source, Value};

use crate::config::dotenv::{self, DotEnv};
use crate::config::key::{About, Effect, Empty, Key, Reload};
use crate::config::keys;
use crate::config::nearest;
use crate::config::refusal::Refusal;
use crate::config::report::{
    Effective, KeyFault, Loaded, Note, Problem, Report, shown, shown_in_report,
};
use crate::config::service::Machine;
use crate::config::settings;

/// Where the file of a package installation lies.
pub const HANOK_FILE: &str = "/etc/hanok/.env";
/// Where the file of an OpenVidu 2 installation lies.
pub const OPENVIDU_FILE: &str = "/opt/openvidu/.env";
/// The origin of a value that does not come from a file.
pub const ENVIRONMENT: &str = "environment";

/// What the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--env-file`.
    pub env_file: Option<PathBuf>,
    /// `--dev`: other defaults, and no file but an explicit one.
    pub dev: bool,
}

/// The defaults of `--dev` (design section 4). The HTTP redirect is off unless `HTTP_PORT` is set.
const DEV_DEFAULTS: [(&str, &str); 4] = [
    ("DOMAIN_OR_PUBLIC_IP", "127.0.0.1"),
    ("OPENVIDU_SECRET", "MY_SECRET"),
    ("HTTPS_PORT", "4443"),
    ("HANOK_CALL_OPEN", "open"),
];

/// Reads, merges and validates everything.
///
/// # Errors
/// The report with every problem at once.
pub fn load(machine: &dyn Machine, options: &Options) -> Result<Loaded, Report> {
    let mut reading = Reading::new(machine, options.dev);
    reading.read_layers(options);
    build(reading)
}

/// Where the control socket of the daemon is, for those who talk to it: the configuration need not be good otherwise,
/// nor readable for them.
///
/// # Errors
/// The key itself cannot be used, or the file that `options` name cannot be read.
pub fn control_socket(machine: &dyn Machine, options: &Options) -> Result<PathBuf, Report> {
    let mut reading = Reading::new(machine, options.dev);
    reading.read_layers(options);
    let named = options.env_file.is_some();
    reading
        .problems
        .retain(|problem| named && matches!(problem, Problem::File { .. }));
    let path = reading.get(&keys::hanok::HANOK_CONTROL_SOCKET);
    if reading.problems.is_empty() {
        return Ok(path);
    }
    Err(Report {
        file: reading.file,
        problems: reading.problems,
        notes: Vec::new(),
    })
}

/// What a running process takes over of a configuration that has been read again.
#[derive(Debug)]
pub struct Reloaded {
    /// What counts from now on: new values of keys that a reload may change, old ones of all others.
    pub loaded: Loaded,
    /// The keys whose new values count.
    pub changed: Vec<&'static str>,
    /// The keys whose new values count from the next start on.
    pub at_next_start: Vec<&'static str>,
}

/// Reads everything again for a process that runs with `running`.
///
/// # Errors
/// The report with every problem of what was read, or of what would come of it; then nothing changes.
pub fn reload(
    machine: &dyn Machine,
    options: &Options,
    running: &Loaded,
) -> Result<Reloaded, Report> {
    let fresh = load(machine, options)?;
    let (mut changed, mut at_next_start) = (Vec::new(), Vec::new());
    let mut merged = fresh.merged.clone();
    for key in keys::all() {
        let about = key.about();
        let differs = fresh.merged.value(about) != running.merged.value(about);
        match about.reload {
            Reload::Live if differs => changed.push(about.name),
            Reload::Live => {}
            Reload::Restart => {
                if differs && about.effect == Effect::Now {
                    at_next_start.push(about.name);
                }
                merged.take_from(&running.merged, about);
            }
        }
    }
    let mut reading = Reading::new(machine, options.dev);
    reading.file.clone_from(&fresh.config.file);
    reading.merged = merged;
    let mut loaded = build(reading)?;
    loaded.notes = fresh.notes;
    Ok(Reloaded {
        loaded,
        changed,
        at_next_start,
    })
}

/// The typed configuration of what was read, or everything that is wrong with it.
fn build(mut reading: Reading<'_>) -> Result<Loaded, Report> {
    let config = settings::assemble(&mut reading);
    let effective = reading.effective();
    if reading.problems.is_empty() {
        Ok(Loaded {
            config,
            notes: reading.notes,
            effective,
            merged: reading.merged,
        })
    } else {
        if reading.has_file_problem() {
            // What is not set may be in the file that could not be read.
            reading.problems.retain(Problem::is_certain);
        }
        reading.problems.sort_by_key(Problem::line);
        Err(Report {
            file: reading.file,
            problems: reading.problems,
            notes: reading.notes,
        })
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The text.
    pub(crate) text: String,
    /// `FILE:LINE` or `environment`; `None` if it is the default.
    pub(crate) origin: Option<String>,
}

/// The merged map: every name that is set or has a default. It holds secrets, so it does not print.
#[derive(Clone, Default)]
pub(crate) struct Merged(Map<String, Setting>);

impl std::fmt::Debug for Merged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merged").finish_non_exhaustive()
    }
}

impl Merged {
    /// The setting that counts for a key: under its name, else under an alias, else its default.
    fn find(&self, about: &About) -> Option<(&str, &Setting)> {
        let set = names(about).find_map(|name| {
            let setting = self.0.get(name)?;
            setting.origin.is_some().then_some((name, setting))
        });
        set.or_else(|| Some((about.name, self.0.get(about.name)?)))
    }

    /// The text that counts for a key; `None` if it is unset and has no default.
    pub(super) fn value(&self, about: &About) -> Option<&str> {
        let (_, setting) = self.find(about)?;
        Some(match about.empty {
            Empty::Default if setting.text.is_empty() => about.default.unwrap_or_default(),
            Empty::Default | Empty::Refused | Empty::Value => setting.text.as_str(),
        })
    }

    /// Sets a key as it is set in `other`.
    fn take_from(&mut self, other: &Self, about: &About) {
        for name in names(about) {
            match other.0.get(name) {
                Some(setting) => drop(self.0.insert(name.to_owned(), setting.clone())),
                None => drop(self.0.remove(name)),
            }
        }
    }
}

/// A key's name, then its aliases.
fn names(about: &About) -> impl Iterator<Item = &'static str> {
    std::iter::once(about.name).chain(about.aliases.iter().copied())
}

/// The merged map while it is read, with what was found wrong so far.
pub(crate) struct Reading<'a> {
    pub(crate) machine: &'a dyn Machine,
    pub(crate) dev: bool,
    pub(crate) file: Option<PathBuf>,
    pub(crate) notes: Vec<Note>,
    pub(super) problems: Vec<Problem>,
    /// Secrets whose problem is told already.
    pub(super) unusable: BTreeSet<&'static str>,
    merged: Merged,
}

impl<'a> Reading<'a> {
    fn new(machine: &'a dyn Machine, dev: bool) -> Self {
        Self {
            machine,
            dev,
            file: None,
            notes: Vec::new(),
            problems: Vec::new(),
            unusable: BTreeSet::new(),
            merged: Merged::default(),
        }
    }

    fn read_layers(&mut self, options: &Options) {
        let environment = self.process_environment();
        let file = self.env_file(options, &environment);
        match merge(self.dev, file, environment) {
            Ok(merged) => {
                let settings = merged
                    .into_iter()
                    .filter_map(|(name, value)| {
                        let origin = value.origin().map(str::to_owned);
                        let text = value.into_string().ok()?;
                        Some((from_layer_name(name), Setting { text, origin }))
                    })
                    .collect();
                self.merged = Merged(settings);
            }
            Err(error) => self.problems.push(Problem::Layers(error.to_string())),
        }
        self.read_secret_files();
        self.note_set_keys();
    }

    /// What the layers say under a name; not the default.
    pub(super) fn set(&self, name: &str) -> Option<&Setting> {
        let setting = self.merged.0.get(name)?;
        setting.origin.is_some().then_some(setting)
    }

    /// Sets a key over all layers.
    pub(super) fn put(&mut self, name: &str, setting: Setting) {
        self.merged.0.insert(name.to_owned(), setting);
    }

    /// The variables that are keys of ours; unknown ones that begin like ours are worth a note.
    fn process_environment(&mut self) -> ProcessEnvironment {
        let mut variables = Vec::new();
        for (name, value) in self.machine.environment() {
            let Ok(name) = name.into_string() else {
                continue;
            };
            let is_known = keys::find(&name).is_some() || keys::of_file(&name).is_some();
            if !is_known && !name.starts_with("HANOK_") && !name.starts_with("OPENVIDU_") {
                continue;
            }
            match value.into_string() {
                Ok(value) => variables.push((name, value)),
                Err(_) => self.problems.push(Problem::Key {
                    name,
                    origin: Some(ENVIRONMENT.to_owned()),
                    value: "\u{fffd}".to_owned(),
                    fault: KeyFault::NotUtf8,
                }),
            }
        }
        variables.sort();
        ProcessEnvironment { variables }
    }

    /// Finds the file, reads it, and takes its faults and notes over.
    fn env_file(&mut self, options: &Options, environment: &ProcessEnvironment) -> EnvFile {
        let Some(file) = self.find_file(options, environment) else {
            return EnvFile::default();
        };
        self.file = Some(PathBuf::from(&file.path));
        for fault in &file.content.faults {
            self.problems.push(Problem::Line {
                origin: file.origin(fault.line),
                fault: fault.what,
            });
        }
        for note in &file.content.notes {
            self.notes.push(Note::Line {
                origin: file.origin(note.line),
                note: note.what.clone(),
            });
        }
        file
    }

    fn find_file(
        &mut self,
        options: &Options,
        environment: &ProcessEnvironment,
    ) -> Option<EnvFile> {
        if let Some(path) = &options.env_file {
            let file = self.read_file(path);
            if file.is_none() && !self.has_file_problem() {
                self.problems.push(Problem::File {
                    path: path.clone(),
                    reason: "it does not exist".to_owned(),
                });
            }
            return file;
        }
        if let Some(path) = environment
            .get("DOTENV_PATH")
            .filter(|path| !path.is_empty())
        {
            // A path that ends in `.env` is the file; any other one is the folder that holds it.
            let path = if path.ends_with(".env") {
                PathBuf::from(path)
            } else {
                Path::new(path).join(".env")
            };
            let file = self.read_file(&path);
            if file.is_none() && !self.has_file_problem() {
                self.notes.push(Note::MissingFile(path));
            }
            return file;
        }
        if self.dev {
            return None;
        }
        let ours = self.read_file(Path::new(HANOK_FILE));
        let theirs = self.read_file(Path::new(OPENVIDU_FILE));
        let (Some(read), Some(other)) = (&ours, &theirs) else {
            return ours.or(theirs);
        };
        let keys = read.differing_keys(other);
        if !keys.is_empty() {
            self.notes.push(Note::FilesDiffer {
                read: read.path.clone(),
                other: other.path.clone(),
                keys,
            });
        }
        ours
    }

    /// Reads one file; `None` if it does not exist. A file that exists but cannot be read is a problem: to start on
    /// defaults would only hide it.
    fn read_file(&mut self, path: &Path) -> Option<EnvFile> {
        match self.machine.read(path) {
            Ok(bytes) => Some(EnvFile {
                path: path.display().to_string(),
                content: dotenv::parse(&bytes),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.problems.push(Problem::File {
                    path: path.to_owned(),
                    reason: error.to_string(),
                });
                None
            }
        }
    }

    fn has_file_problem(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| matches!(problem, Problem::File { .. }))
    }

    /// Names unknown keys, and set keys from which nothing follows. A key that is set to its default loses nothing, so
    /// it is not named: the stock template sets dozens.
    fn note_set_keys(&mut self) {
        let mut set: Vec<(&String, &Setting, &String)> = self
            .merged
            .0
            .iter()
            .filter_map(|(name, setting)| Some((name, setting, setting.origin.as_ref()?)))
            .collect();
        set.sort_by_key(|(name, ..)| *name);
        let mut notes = Vec::new();
        // What has the same reason is told in one line, at the place of the first.
        let mut without: Vec<(&'static str, &String, Vec<String>)> = Vec::new();
        let mut leave_out = |reason, origin, name: &String| {
            let known = without.iter_mut().find(|(other, ..)| *other == reason);
            match known {
                Some((.., names)) => names.push(name.clone()),
                None => without.push((reason, origin, vec![name.clone()])),
            }
        };
        for (name, setting, origin) in set {
            let Some(key) = keys::find(name) else {
                let others = keys::OF_OTHERS.iter();
                let mut others = others.filter(|(prefix, _)| name.starts_with(prefix));
                if let Some((_, reason)) = others.next() {
                    leave_out(*reason, origin, name);
                } else if keys::of_file(name).is_none() {
                    notes.extend(unknown(name, origin));
                }
                continue;
            };
            let about = key.about();
            let default = about.default.unwrap_or_default();
            if setting.text.eq_ignore_ascii_case(default)
                || (setting.text.is_empty() && about.empty == Empty::Default)
            {
                continue;
            }
            match about.effect {
                Effect::Now => {}
                Effect::Later(feature) => notes.push(Note::NoEffectYet {
                    origin: origin.clone(),
                    name: about.name,
                    feature,
                }),
                Effect::Never(reason) => leave_out(reason, origin, name),
                Effect::InEnvironment if origin == ENVIRONMENT => {}
                Effect::InEnvironment => notes.push(Note::OnlyInEnvironment {
                    origin: origin.clone(),
                    name: about.name,
                }),
            }
        }
        notes.extend(without.into_iter().map(|(reason, origin, names)| {
            let origin = origin.clone();
            Note::NoCounterpart {
                origin,
                names,
                reason,
            }
        }));
        self.notes.extend(notes);
    }

    /// The value of `key`; a refused one becomes a problem, and the type's default stands in for it.
    pub(crate) fn get<T: Default>(&mut self, key: &Key<T>) -> T {
        let about = &key.about;
        if self.unusable.contains(about.name) {
            return T::default();
        }
        let Some((name, setting)) = self.find(about) else {
            return T::default();
        };
        let refusal = match (setting.text.is_empty(), about.empty) {
            (true, Empty::Refused) => Refusal::Empty,
            (true, Empty::Default) => {
                let default = about.default.map(|default| (key.parse)(default));
                return default.and_then(Result::ok).unwrap_or_default();
            }
            (false, _) | (true, Empty::Value) => match (key.parse)(&setting.text) {
                Ok(value) => return value,
                Err(refusal) => refusal,
            },
        };
        let (name, origin) = (name.to_owned(), setting.origin.clone());
        let value = shown_in_report(&setting.text, about.secret);
        self.problems.push(Problem::Key {
            name,
            origin,
            value,
            fault: refusal.into(),
        });
        T::default()
    }

    /// Adds a problem with the value of a key that its validator accepted.
    pub(crate) fn fault(&mut self, about: &About, fault: impl Into<KeyFault>) {
        if self.unusable.contains(about.name) {
            return;
        }
        let fault = fault.into();
        let (name, origin, value) = match self.find(about) {
            Some((name, setting)) => (
                name.to_owned(),
                setting.origin.clone(),
                shown_in_report(&setting.text, about.secret),
            ),
            None => (about.name.to_owned(), None, String::new()),
        };
        self.problems.push(Problem::Key {
            name,
            origin,
            value,
            fault,
        });
    }

    /// How many problems there are so far: tells whether a key was refused or is just not set.
    pub(crate) fn problem_count(&self) -> usize {
        self.problems.len()
    }

    /// Where `about` is set; `None` if its default counts.
    pub(crate) fn origin(&self, about: &About) -> Option<String> {
        self.find(about)
            .and_then(|(_, setting)| setting.origin.clone())
    }

    fn find(&self, about: &About) -> Option<(&str, &Setting)> {
        self.merged.find(about)
    }

    /// Every key with the value that counts.
    fn effective(&self) -> Vec<Effective> {
        keys::all()
            .map(|key| {
                let about = key.about();
                let text = self.merged.value(about);
                Effective {
                    name: about.name,
                    value: text.map(|text| shown(text, about.secret)),
                    origin: self.origin(about),
                }
            })
            .collect()
    }
}

/// What is to say of a name that the table does not have; nothing of an application's own.
fn unknown(name: &str, origin: &str) -> Option<Note> {
    let nearest = nearest::nearest(name);
    (nearest.is_some() || nearest::is_ours(name)).then(|| Note::UnknownKey {
        origin: origin.to_owned(),
        name: name.to_owned(),
        nearest,
    })
}

/// Merges the layers, the later over the earlier.
fn merge(
    dev: bool,
    file: EnvFile,
    environment: ProcessEnvironment,
) -> Result<Map<String, Value>, ConfigError> {
    let mut builder = ::config::Config::builder();
    for (name, default) in defaults(dev) {
        builder = builder.set_default(name, default)?;
    }
    builder
        .add_source(file)
        .add_source(environment)
        .build()?
        .collect()
}

/// The defaults: those of the table, and those of `--dev` over them.
fn defaults(dev: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    let table = keys::all().filter_map(|key| Some((key.about().name, key.about().default?)));
    table.chain(DEV_DEFAULTS.into_iter().filter(move |_| dev))
}

/// The file as a source.
#[derive(Debug, Clone, Default)]
struct EnvFile {
    path: String,
    content: DotEnv,
}

impl EnvFile {
    fn origin(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    /// The keys that do not have the same value in both files.
    fn differing_keys(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (&self.content.entries, &other.content.entries);
        let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        let value = |entry: Option<&dotenv::Entry>| entry.map(|entry| entry.value.clone());
        names
            .into_iter()
            .filter(|name| value(ours.get(*name)) != value(theirs.get(*name)))
            .cloned()
            .collect()
    }
}

impl Source for EnvFile {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self
            .content
            .entries
            .iter()
            .map(|(key, entry)| {
                let origin = self.origin(entry.line);
                (
                    layer_name(key),
                    Value::new(Some(&origin), entry.value.clone()),
                )
            })
            .collect())
    }
}

/// The process environment as a source.
#[derive(Debug, Clone, Default)]
struct ProcessEnvironment {
    variables: Vec<(String, String)>,
}

impl ProcessEnvironment {
    fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

impl Source for ProcessEnvironment {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let origin = ENVIRONMENT.to_owned();
        Ok(self
            .variables
            .iter()
            .map(|(name, value)| (layer_name(name), Value::new(Some(&origin), value.clone())))
            .collect())
    }
}

/// Marks a name that must reach the merged map as it is.
const VERBATIM: char = '%';

/// `name` as the `config` crate has to see it. It takes `server.port` and `a[0]` for paths into tables and lists; what
/// does not read as a path stays whole, and no path begins with [`VERBATIM`].
fn layer_name(name: &str) -> String {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        name.to_owned()
    } else {
        format!("{VERBATIM}{name}")
    }
}

/// The reverse of [`layer_name`].
fn from_layer_name(name: String) -> String {
    match name.strip_prefix(VERBATIM) {
        Some(name) => name.to_owned(),
        None => name,
    }
}
