//! Looking at the old folder and at the machine, and writing what the plan says. Nothing of the old folder is opened for
//! writing.

mod accounts;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown, fchown};
use std::path::{Path, PathBuf};

use super::draft::{Content, Draft, Found};
use super::locations::Kind;
use super::plan::{
    self, Certificate, FileState, Folder, Imported, MOST_COUNTED, OwnFiles, OwnPair, Plan, Seen,
    Wanted, Write,
};
use super::{compose, nginx};
use crate::config::report::{Loaded, Report};
use crate::config::values::Front;
use crate::config::{Config, Machine, Options, dotenv, load};
use crate::control::store::service::{keep, read_bounded};
use crate::front::proxy::certificate::acme::Settings;
use crate::front::proxy::certificate::service::command::{Importable, inspect, inspect_own};
use crate::front::proxy::http_date::http_date;
use crate::host::port_owner::{self, Protocol};
use accounts::Account;

/// The user who runs the service.
const USER: &str = "hanok";
/// The most files of a folder of nginx's that are read.
const MOST_PROXY_FILES: usize = 256;
/// The most bytes of a PEM file.
const MAX_PEM_SIZE: usize = 1 << 20;

/// Reads the old folder.
pub fn find(from: &Path) -> Found {
    let mut proxy_files = Vec::new();
    for (kind, folder) in [
        (Kind::VirtualHosts, "custom-nginx-vhosts"),
        (Kind::Locations, "custom-nginx-locations"),
    ] {
        let files = proxy_files_in(&from.join(folder)).into_iter();
        proxy_files.extend(files.map(|path| {
            let content = read(&path, nginx::MAX_SIZE + 1);
            (kind, path, content)
        }));
    }
    let mut put_aside = Vec::new();
    for folder in entries(from, MOST_COUNTED) {
        let is_old = |name: &OsStr| name.as_encoded_bytes().starts_with(b".old-");
        if folder.file_name().is_some_and(is_old) {
            put_aside.extend(proxy_files_in(&folder.join("custom-nginx-vhosts")));
            put_aside.extend(proxy_files_in(&folder.join("custom-nginx-locations")));
        }
    }
    Found {
        from: from.to_owned(),
        env: read(&from.join(".env"), dotenv::MAX_SIZE),
        shared_secret_key: read(&from.join("coturn/shared-secret-key"), 64 * 1024),
        compose: read(&from.join("docker-compose.yml"), compose::MAX_SIZE),
        compose_override: read(&from.join("docker-compose.override.yml"), compose::MAX_SIZE),
        proxy_files,
        put_aside,
    }
}

/// What `*.conf` matches in a folder, in the order in which nginx reads it.
fn proxy_files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = entries(folder, MOST_PROXY_FILES);
    files.retain(|path| path.extension().is_some_and(|it| it == "conf"));
    files
}

/// The paths in a folder, sorted, at most so many; none if it cannot be read.
fn entries(folder: &Path, most: usize) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = found
        .flatten()
        .take(most)
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// A file's bytes, at most `limit`. Links are followed, as docker follows them.
fn read(path: &Path, limit: usize) -> Content {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    match read_bounded(path, limit) {
        Ok(bytes) => Content::Bytes(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Content::Missing,
        Err(error) => Content::Unreadable(error.to_string()),
    }
}

/// Looks at what the draft needs to know. `acme` says what a certificate that is taken over is for.
pub fn look(
    wanted: &Wanted,
    draft: &Draft,
    machine: &dyn Machine,
    acme: impl Fn(&Config) -> Settings,
) -> Seen {
    let kind = draft
        .values
        .get("CERTIFICATE_TYPE")
        .map_or("selfsigned", String::as_str);
    let is_named = draft
        .values
        .get("HANOK_CERTIFICATE_FILE")
        .is_some_and(|it| !it.is_empty());
    let own = (kind == "owncert" && !is_named).then(|| own_certificate(wanted, draft));
    let config = with_draft(
        wanted,
        draft,
        machine,
        own.as_ref().is_some_and(Result::is_ok),
    );
    let certificate = match (own, kind) {
        (Some(own), _) => Certificate::Own(own),
        (None, "owncert") => Certificate::Named,
        (None, "selfsigned") => Certificate::SelfSigned,
        (None, "letsencrypt") => {
            Certificate::LetsEncrypt(certbots(wanted, &config, acme).map(|(_, found)| found))
        }
        (None, _) => Certificate::Unknown,
    };
    let loaded = config.as_ref().ok().map(|loaded| &loaded.config);
    let account = accounts::find(USER);
    let folders = plan::folders(draft, loaded)
        .into_iter()
        .map(|(key, path, is_written)| folder(key, path, is_written, account.as_ref()))
        .collect();
    Seen {
        target: read(&wanted.file(), dotenv::MAX_SIZE),
        certificate,
        folders,
        listeners: loaded.map(listeners).unwrap_or_default(),
        compose: compose_command(),
        config,
    }
}

/// Who has the ports that hanok will need: a line for each of them that somebody waits on.
fn listeners(config: &Config) -> Vec<String> {
    let front = [Some(config.web.https_port), config.web.http_port];
    let front = front
        .into_iter()
        .flatten()
        .filter(|_| config.web.front == Front::On);
    let plain = config.web.plain.map(|listen| listen.port);
    let turn = config.turn.port;
    let wanted: Vec<_> = front
        .chain(plain)
        .chain([turn])
        .map(|port| (Protocol::Tcp, port))
        .chain([(Protocol::Udp, turn)])
        .collect();
    let mut waiting = port_owner::waiting();
    waiting.retain(|socket| wanted.contains(&(socket.protocol, socket.at.port())));
    // Once, however many addresses it waits at.
    waiting.sort_by_key(|socket| (socket.at.port(), socket.protocol));
    waiting.dedup_by_key(|socket| (socket.at.port(), socket.protocol));
    let told = |(socket, holders): (port_owner::Waiting, Vec<port_owner::Process>)| {
        let owner = holders.first().map(ToString::to_string);
        // Other users' processes are seen by root only.
        let owner = owner.unwrap_or_else(|| "somebody".to_owned());
        let port = socket.at.port();
        format!("{port}/{}: {owner} has it", socket.protocol)
    };
    port_owner::with_holders(waiting)
        .into_iter()
        .map(told)
        .collect()
}

/// The pair of `owncert`, else the copy of it that the old proxy has made.
fn own_certificate(wanted: &Wanted, draft: &Draft) -> Result<OwnPair, String> {
    let domain = draft
        .values
        .get("DOMAIN_OR_PUBLIC_IP")
        .map_or("", String::as_str);
    let copies = wanted.from.join("certificates/live").join(domain);
    let copies = OwnFiles {
        certificate: copies.join("fullchain.pem"),
        key: copies.join("privkey.pem"),
    };
    let originals = OwnFiles::in_folder(&wanted.from.join("owncert"));
    let judge = |files: &OwnFiles| inspect_own(&files.certificate, &files.key, domain);
    let (from, facts) = match (judge(&originals), judge(&copies)) {
        (Ok(facts), _) => (originals, facts),
        (Err(_), Ok(facts)) => (copies, facts),
        (Err(problem), Err(_)) => return Err(problem),
    };
    let bytes = |path: &Path| match read(path, MAX_PEM_SIZE) {
        Content::Bytes(bytes) => Ok(bytes),
        Content::Missing => Err(format!("{}: it is gone", path.display())),
        Content::Unreadable(reason) => Err(format!("{}: {reason}", path.display())),
    };
    let (certificate, key) = (bytes(&from.certificate)?, bytes(&from.key)?);
    let to = wanted.own_certificate();
    let there = [(&to.certificate, &certificate), (&to.key, &key)]
        .map(|(path, bytes)| (read(path, MAX_PEM_SIZE), bytes));
    Ok(OwnPair {
        until: http_date(facts.validity.until),
        is_there: there
            .iter()
            .all(|(is, should)| *is == Content::Bytes((*should).clone())),
        others_are_there: there.iter().any(|(is, should)| {
            *is != Content::Missing && *is != Content::Bytes((*should).clone())
        }),
        from,
        certificate,
        key,
    })
}

/// The certificate in certbot's tree, and what it is for.
fn certbots(
    wanted: &Wanted,
    config: &Result<Loaded, Report>,
    acme: impl Fn(&Config) -> Settings,
) -> Result<((Importable, Settings), Imported), String> {
    let from = wanted.from.join("certificates");
    let loaded = config.as_ref().map_err(|_| {
        format!(
            "once the file is corrected, `hanok cert import {}` takes the certificate over, else",
            from.display()
        )
    })?;
    let settings = acme(&loaded.config);
    let found = inspect(&from, &settings).map_err(|error| error.to_string())?;
    let is_kept = Plan::state_folder(config).is_some_and(|state| found.is_kept(&settings, state));
    let imported = Imported {
        from,
        until: http_date(found.facts.validity.until),
        is_kept,
    };
    Ok(((found, settings), imported))
}

/// The draft as hanok would read it.
fn with_draft(
    wanted: &Wanted,
    draft: &Draft,
    machine: &dyn Machine,
    has_own_certificate: bool,
) -> Result<Loaded, Report> {
    let own = wanted.own_certificate();
    let planned = Planned {
        machine,
        file: wanted.file(),
        content: draft.env.as_bytes(),
        readable: if has_own_certificate {
            vec![own.certificate, own.key]
        } else {
            Vec::new()
        },
    };
    let options = Options {
        env_file: Some(wanted.file()),
        dev: false,
    };
    load(&planned, &options)
}

/// The machine as it would be.
struct Planned<'a> {
    machine: &'a dyn Machine,
    file: PathBuf,
    content: &'a [u8],
    readable: Vec<PathBuf>,
}

impl Machine for Planned<'_> {
    fn environment(&self) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        self.machine.environment()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == self.file {
            Ok(self.content.to_owned())
        } else {
            self.machine.read(path)
        }
    }

    fn readable(&self, path: &Path) -> io::Result<()> {
        if path == self.file || self.readable.iter().any(|readable| readable == path) {
            Ok(())
        } else {
            self.machine.readable(path)
        }
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        self.machine.mode(path)
    }

    fn writable_folder(&self, path: &Path) -> io::Result<()> {
        self.machine.writable_folder(path)
    }

    fn cores(&self) -> usize {
        self.machine.cores()
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        self.machine.resolve(name)
    }
}

fn folder(key: &'static str, path: PathBuf, is_written: bool, account: Option<&Account>) -> Folder {
    let entries = fs::read_dir(&path)
        .ok()
        .map(|found| found.take(MOST_COUNTED).count());
    let is_accessible = account.map(|account| {
        let wanted = if is_written { 0o7 } else { 0o5 };
        let mut places = path.ancestors();
        let own = places
            .next()
            .is_some_and(|path| grants(path, account, wanted));
        own && places
            .filter(|path| !path.as_os_str().is_empty())
            .all(|path| grants(path, account, 0o1))
    });
    Folder {
        key,
        path,
        entries,
        is_written,
        is_accessible,
    }
}

/// Whether the mode of a folder grants these rights.
fn grants(path: &Path, account: &Account, wanted: u32) -> bool {
    let Ok(found) = fs::metadata(path) else {
        return false;
    };
    let shift = if found.uid() == account.uid {
        6
    } else if account.groups.contains(&found.gid()) {
        3
    } else {
        0
    };
    found.mode() >> shift & wanted == wanted
}

/// How compose is called here: as docker's plugin, unless there is only the program of its own.
fn compose_command() -> &'static str {
    const PLUGINS: [&str; 4] = [
        "/usr/libexec/docker/cli-plugins",
        "/usr/lib/docker/cli-plugins",
        "/usr/local/libexec/docker/cli-plugins",
        "/usr/local/lib/docker/cli-plugins",
    ];
    let has = |folder: &str| Path::new(folder).join("docker-compose").exists();
    if !PLUGINS.into_iter().any(has) && ["/usr/bin", "/usr/local/bin"].into_iter().any(has) {
        "docker-compose"
    } else {
        "docker compose"
    }
}

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// The system refuses.
    #[error("{}: {error}: run this as root, or name another folder with --to", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The certificate cannot be kept.
    #[error("{0}")]
    Certificate(String),
}

/// Does what the plan says; returns what was written. What is there already is left alone but for its mode and owner.
///
/// # Errors
/// Something could not be written; what comes before it was, and doing it again goes on from there. `.env` comes last.
pub fn apply(
    wanted: &Wanted,
    plan: &Plan,
    config: &Result<Loaded, Report>,
    acme: impl Fn(&Config) -> Settings,
) -> Result<Vec<PathBuf>, NotWritten> {
    let mut written = Vec::new();
    let owner = Owner::find();
    if plan
        .import
        .as_ref()
        .is_some_and(|imported| !imported.is_kept)
        && let Some(state) = Plan::state_folder(config)
    {
        let ((found, settings), _) =
            certbots(wanted, config, acme).map_err(NotWritten::Certificate)?;
        let kept = owner
            .make_state_folder(state)
            .map_err(|error| NotWritten::File {
                path: state.to_owned(),
                error,
            });
        kept?;
        let kept = found.keep(&settings, state);
        kept.map_err(|error| NotWritten::Certificate(error.to_string()))?;
        written.push(state.join("acme/certificate.pem"));
    }
    for write in &plan.writes {
        let done = owner.write(write).map_err(|error| NotWritten::File {
            path: write.path.clone(),
            error,
        })?;
        if done {
            written.push(write.path.clone());
        }
    }
    Ok(written)
}

/// To whom files are given.
struct Owner {
    account: Option<Account>,
}

impl Owner {
    /// The user of the service, if there is one and we are root; else whoever we are.
    fn find() -> Self {
        let is_root = rustix::process::geteuid().is_root();
        Self {
            account: accounts::find(USER).filter(|_| is_root),
        }
    }

    /// Readable for the group of the service, or for ourselves alone.
    const fn file_mode(&self) -> u32 {
        if self.account.is_some() { 0o640 } else { 0o600 }
    }

    fn group(&self) -> Option<u32> {
        self.account.as_ref().map(|account| account.gid)
    }

    /// Makes the folder that the service keeps its state in, as systemd would.
    fn make_state_folder(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o755)
                    .create(path.parent().unwrap_or(path))?;
                DirBuilder::new().mode(0o700).create(path)?;
            }
            made => made?,
        }
        match &self.account {
            Some(account) => chown(path, Some(account.uid), Some(account.gid)),
            None => Ok(()),
        }
    }

    /// Writes a file that is either the old one or the new one; returns whether anything was done.
    fn write(&self, write: &Write) -> io::Result<bool> {
        let path = &write.path;
        if write.state == FileState::Same {
            let found = fs::metadata(path)?;
            let is_right = found.mode() & 0o7777 == self.file_mode()
                && self.group().is_none_or(|group| group == found.gid());
            // Whoever has given it to others than we would may have a reason, unless everybody can read it.
            let is_closed = self.account.is_none() && found.mode() & 0o007 == 0;
            if !is_right && !is_closed {
                self.open_to_service(path)?;
            }
            return Ok(!is_right && !is_closed);
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        self.make_folder(folder)?;
        if write.state == FileState::Replaced {
            put_aside(path)?;
        }
        keep(path, &write.bytes)?;
        self.open_to_service(path)?;
        Ok(true)
    }

    fn open_to_service(&self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        fchown(&file, None, self.group())?;
        file.set_permissions(Permissions::from_mode(self.file_mode()))
    }

    /// A folder that the service may look into and nobody else.
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.make_folder(parent)?;
        }
        DirBuilder::new().mode(0o750).create(path)?;
        chown(path, None, self.group())
    }
}

/// Keeps a file beside itself, under a name that is free.
fn put_aside(path: &Path) -> io::Result<()> {
    for number in 1..=u16::MAX {
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".before-migration-{number}"));
        match fs::hard_link(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // One of a pair may be missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => return done,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
