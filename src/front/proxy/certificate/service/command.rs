//! What `hanok cert` does with the state folder, whether or not the daemon runs.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::keeper::Source;
use super::{read_bounded, read_pair, system_authorities};
use crate::front::proxy::certificate::acme::Settings;
use crate::front::proxy::certificate::acme::record::Record;
use crate::front::proxy::certificate::acme::service::{Folder, Held, wall};
use crate::front::proxy::certificate::facts::Facts;

/// How long a daemon may take to see a request: it looks every two seconds.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at a request.
const LOOK: Duration = Duration::from_millis(200);

/// What there is to say of the certificate.
#[derive(Debug)]
pub struct Status {
    /// The file that holds it.
    pub file: PathBuf,
    /// What it says, or why there is none.
    pub certificate: Result<Known, String>,
    /// How ordering stands, with an ACME server.
    pub record: Option<Record>,
    /// Seconds since the Unix epoch.
    pub now: u64,
}

/// A certificate that can be served.
#[derive(Debug)]
pub struct Known {
    /// What it says.
    pub facts: Facts,
    /// Whether browsers accept it without asking.
    pub is_trusted: bool,
}

/// Why an import or a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no pair in the folder.
    #[error(
        "{}: there is no fullchain.pem with a privkey.pem here, in live/{domain} or in {domain} ({error})", folder.display()
    )]
    NoPair {
        /// The folder.
        folder: PathBuf,
        /// For which name.
        domain: String,
        /// The last thing that was tried.
        error: io::Error,
    },
    /// The pair cannot be served.
    #[error("{}: {problem}", folder.display())]
    Unusable {
        /// Where it lies.
        folder: PathBuf,
        /// Why.
        problem: String,
    },
    /// The state folder cannot be written to.
    #[error("{}: {error}: run this as root or as the user who runs hanok", state_dir.display())]
    State {
        /// The state folder.
        state_dir: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Nobody has seen the request.
    #[error(
        "no hanok that orders certificates runs on {}, or it is busy with an order at the moment", .0.display()
    )]
    NotSeen(PathBuf),
}

/// Reads what `source` serves.
pub fn status(source: &Source, state_dir: &Path, domain: &str) -> Status {
    let folder = Folder::new(state_dir);
    let now = wall();
    let (file, text) = match source {
        Source::SelfSigned => {
            let file = state_dir.join("self-signed.pem");
            (file.clone(), read_bounded(&file))
        }
        Source::Own { certificate, key } => (certificate.clone(), read_pair(certificate, key)),
        Source::Acme(_) => (folder.certificate(), folder.read_certificate()),
    };
    let certificate = text.map_err(|error| error.to_string()).and_then(|text| {
        let held = Held::read(&text, domain, &system_authorities(), now);
        let held = held.map_err(|problem| problem.to_string())?;
        Ok(Known {
            is_trusted: held.certificate.is_trusted(),
            facts: held.facts,
        })
    });
    Status {
        file,
        certificate,
        record: folder
            .record()
            .filter(|_| matches!(source, Source::Acme(_))),
        now,
    }
}

/// Asks the daemon that runs on this state folder for a new certificate, and waits until it has seen that.
///
/// # Errors
/// Nobody sees it.
pub fn renew(state_dir: &Path) -> Result<(), CommandError> {
    let folder = Folder::new(state_dir);
    let asked = folder
        .request_renewal()
        .and_then(|()| give_to_owner(state_dir));
    asked.map_err(|error| CommandError::State {
        state_dir: state_dir.to_owned(),
        error,
    })?;
    let mut waited = Duration::ZERO;
    while folder.is_requested() {
        if waited >= SEEN_WITHIN && folder.take_request() {
            return Err(CommandError::NotSeen(state_dir.to_owned()));
        }
        sleep(LOOK);
        waited += LOOK;
    }
    Ok(())
}

/// Takes over a certificate of certbot or of OpenVidu's proxy; returns what it says.
///
/// # Errors
/// It cannot be served, or not be kept.
pub fn import(from: &Path, settings: &Settings, state_dir: &Path) -> Result<Facts, CommandError> {
    let found = inspect(from, settings)?;
    found.keep(settings, state_dir)?;
    Ok(found.facts)
}

/// A certificate with its key that can be taken over.
pub struct Importable {
    /// The folder that it lies in.
    pub place: PathBuf,
    /// What it says.
    pub facts: Facts,
    text: Vec<u8>,
}

/// Reads a certificate of certbot or of OpenVidu's proxy; nothing is written.
///
/// # Errors
/// There is none, or it cannot be served.
pub fn inspect(from: &Path, settings: &Settings) -> Result<Importable, CommandError> {
    let domain = settings.names.first().map_or("", String::as_str);
    let (place, text) = find_pair(from, domain)?;
    let unusable = |problem: String| CommandError::Unusable {
        folder: place.clone(),
        problem,
    };
    let now = wall();
    let held = Held::read(&text, domain, &system_authorities(), now)
        .map_err(|problem| unusable(problem.to_string()))?;
    if now > held.facts.validity.until {
        return Err(unusable("the certificate has expired".to_owned()));
    }
    if !held.facts.covers(&[domain.to_owned()]) {
        let names = held.facts.names.join(", ");
        return Err(unusable(format!("the certificate is for {names}")));
    }
    Ok(Importable {
        facts: held.facts,
        place,
        text,
    })
}

impl Importable {
    /// Whether the state folder holds this certificate, or one that is good for longer.
    pub fn is_kept(&self, settings: &Settings, state_dir: &Path) -> bool {
        let domain = settings.names.first().map_or("", String::as_str);
        let kept = Folder::new(state_dir).read_certificate().ok();
        let held =
            kept.and_then(|text| Held::read(&text, domain, &system_authorities(), wall()).ok());
        held.is_some_and(|held| {
            held.facts.covers(&[domain.to_owned()])
                && held.facts.validity.until >= self.facts.validity.until
        })
    }

    /// Copies it into the state folder, to be served from the next start on.
    ///
    /// # Errors
    /// It cannot be kept there.
    pub fn keep(&self, settings: &Settings, state_dir: &Path) -> Result<(), CommandError> {
        let folder = Folder::new(state_dir);
        let record = Record {
            directory: settings.directory.clone(),
            names: settings.names.clone(),
            validity: Some(self.facts.validity),
            ..Record::default()
        };
        let kept = folder
            .keep_certificate(&self.text)
            .and_then(|()| folder.keep_record(&record))
            .and_then(|()| give_to_owner(state_dir));
        kept.map_err(|error| CommandError::State {
            state_dir: state_dir.to_owned(),
            error,
        })
    }
}

/// What a pair of `CERTIFICATE_TYPE=owncert` says, if it can be served.
///
/// # Errors
/// It cannot.
pub fn inspect_own(certificate: &Path, key: &Path, domain: &str) -> Result<Facts, String> {
    let text = read_pair(certificate, key)
        .map_err(|error| format!("{} with {}: {error}", certificate.display(), key.display()))?;
    let now = wall();
    let held = Held::read(&text, domain, &system_authorities(), now)
        .map_err(|problem| format!("{}: {problem}", certificate.display()))?;
    if now > held.facts.validity.until {
        return Err(format!(
            "{}: the certificate has expired",
            certificate.display()
        ));
    }
    Ok(held.facts)
}

/// The key and the chain of `from` itself, or of where certbot and OpenVidu keep a domain's below it.
fn find_pair(from: &Path, domain: &str) -> Result<(PathBuf, Vec<u8>), CommandError> {
    let places = [
        from.to_owned(),
        from.join("live").join(domain),
        from.join(domain),
    ];
    let mut last = io::ErrorKind::NotFound.into();
    for place in places {
        match read_pair(&place.join("fullchain.pem"), &place.join("privkey.pem")) {
            Ok(text) => return Ok((place, text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => last = error,
        }
    }
    Err(CommandError::NoPair {
        folder: from.to_owned(),
        domain: domain.to_owned(),
        error: last,
    })
}

/// What root has written belongs to the user whose folder it is: the daemon must be able to read and replace it.
fn give_to_owner(state_dir: &Path) -> io::Result<()> {
    let owner = fs::metadata(state_dir)?;
    let folder = state_dir.join("acme");
    let give = |path: &Path| {
        let found = fs::symlink_metadata(path)?;
        if (found.uid(), found.gid()) == (owner.uid(), owner.gid()) {
            return Ok(());
        }
        match chown(path, Some(owner.uid()), Some(owner.gid())) {
            // The daemon has taken a request away already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    };
    give(&folder)?;
    for entry in fs::read_dir(&folder)? {
        match give(&entry?.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread::spawn;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const DOMAIN: &str = "call.example";

    fn settings() -> Settings {
        Settings {
            directory: "https://ca.example/dir".to_owned(),
            ca_file: None,
            email: String::new(),
            names: vec![DOMAIN.to_owned()],
            challenges: Vec::new(),
            binding: None,
        }
    }

    fn write_pair(place: &Path, name: &str, until: i32) {
        fs::create_dir_all(place).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(place.join("fullchain.pem"), certificate.pem()).unwrap();
        fs::write(place.join("privkey.pem"), key.serialize_pem()).unwrap();
    }

    #[test]
    fn certbots_and_openvidus_trees_are_imported() {
        for place in ["", "live/call.example", "call.example"] {
            let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            write_pair(&tree.path().join(place), DOMAIN, 2100);
            let facts = import(tree.path(), &settings(), state.path()).unwrap();
            assert_eq!(facts.names, [DOMAIN]);
            let status = status(&Source::Acme(settings()), state.path(), DOMAIN);
            assert_eq!(status.certificate.unwrap().facts, facts);
            let record = status.record.unwrap();
            assert_eq!(record.validity, Some(facts.validity));
            assert_eq!(record.directory, settings().directory);
            let again = inspect(tree.path(), &settings()).unwrap();
            assert!(again.is_kept(&settings(), state.path()));
            assert!(!again.is_kept(&settings(), tree.path()));
        }
    }

    #[test]
    fn what_cannot_be_served_is_not_imported() {
        let state = tempfile::tempdir().unwrap();
        let refused = |name: &str, until, mixed: bool| {
            let tree = tempfile::tempdir().unwrap();
            write_pair(tree.path(), name, until);
            if mixed {
                let other = KeyPair::generate().unwrap().serialize_pem();
                fs::write(tree.path().join("privkey.pem"), other).unwrap();
            }
            let refused = import(tree.path(), &settings(), state.path());
            refused.unwrap_err().to_string()
        };
        assert!(refused(DOMAIN, 2021, false).contains("expired"));
        assert!(refused("other.example", 2100, false).contains("is for other.example"));
        assert!(refused(DOMAIN, 2100, true).contains("does not belong"));
        let empty = tempfile::tempdir().unwrap();
        let error = import(empty.path(), &settings(), state.path()).unwrap_err();
        assert!(error.to_string().contains("privkey.pem"), "{error}");
        assert!(!state.path().join("acme").exists(), "nothing was touched");
    }

    #[test]
    fn a_request_waits_until_the_daemon_has_seen_it() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::new(state.path());
        let daemon = spawn(move || {
            while !folder.take_request() {
                sleep(Duration::from_millis(1));
            }
        });
        renew(state.path()).unwrap();
        daemon.join().unwrap();
    }
}
