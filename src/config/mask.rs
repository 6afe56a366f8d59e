//! Texts that leave the machine, such as logs for a report: every secret that the configuration knows is masked.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::config::dotenv;
use crate::config::keys;
use crate::config::layers::{HANOK_FILE, OPENVIDU_FILE, Options};
use crate::config::report::MASK;
use crate::config::service::Machine;
use crate::config::settings::TURN_SECRET_FILE;

/// Words in the names of keys that are secret, whoever reads them.
const SECRET_WORDS: [&str; 7] = [
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "TOKEN",
    "CREDENTIAL",
    "LICENSE",
    "_KEY",
];
/// A secret that is shorter than this is masked only where it stands alone.
const SHORT: usize = 4;
/// The user name of OpenVidu's Basic authentication.
const BASIC_USER: &str = "OPENVIDUAPP";
/// Where systemd looks for credentials that it hands to a service.
const CREDENTIAL_STORES: [&str; 2] = ["/etc/credstore", "/run/credstore"];

/// Masks secrets, line by line. It does not print: it holds them.
pub struct Masker {
    /// The longest first, so that none is masked in part.
    secrets: Vec<String>,
    /// Inside a private key in PEM.
    in_key: bool,
}

impl Masker {
    /// Gathers the secrets of the configuration that `options` name: of every file that could count, of the process
    /// environment, and of the files that they name.
    ///
    /// # Errors
    /// A file exists that cannot be read: its secrets could not be masked.
    pub fn new(machine: &dyn Machine, options: &Options) -> Result<Self, Unreadable> {
        let mut gathered = Gathered::default();
        let mut state_dir = PathBuf::from("/var/lib/hanok");
        let environment = machine.environment();
        let variables = environment.into_iter().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let mut entries: Vec<(String, String)> = variables.collect();
        let named = entries.iter().find(|(name, _)| name == "DOTENV_PATH");
        let named = named.map(|(_, path)| match path.as_str() {
            path if path.ends_with(".env") => PathBuf::from(path),
            path => Path::new(path).join(".env"),
        });
        let files = [HANOK_FILE, OPENVIDU_FILE].map(PathBuf::from);
        for path in files
            .into_iter()
            .chain(named)
            .chain(options.env_file.clone())
        {
            let Some(bytes) = read(machine, &path)? else {
                continue;
            };
            let read = dotenv::parse(&bytes);
            entries.extend(
                read.entries
                    .into_iter()
                    .map(|(key, entry)| (key, entry.value)),
            );
            // A value that was given twice was a secret twice.
            let lines = String::from_utf8_lossy(&bytes);
            let lines = lines.lines().filter_map(|line| line.split_once('='));
            entries
                .extend(lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())));
        }
        for (key, value) in &entries {
            if key == "HANOK_STATE_DIR" && !value.is_empty() {
                state_dir = PathBuf::from(value);
            }
            if keys::of_file(key).is_some() {
                gathered.file(machine, Path::new(value))?;
            } else if is_secret(key) {
                gathered.value(key, value);
            }
            gathered.credentials_in_urls(value);
        }
        gathered.file(machine, &state_dir.join(TURN_SECRET_FILE))?;
        let handed = entries
            .iter()
            .filter(|(name, _)| name == "CREDENTIALS_DIRECTORY");
        let stores = handed
            .map(|(_, path)| path.as_str())
            .chain(CREDENTIAL_STORES);
        for store in stores {
            for key in keys::all().filter(|key| keys::may_be_in_file(key.about())) {
                gathered.file(machine, &Path::new(store).join(key.about().name))?;
            }
        }
        let mut secrets: Vec<String> = gathered.0.into_iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Ok(Self {
            secrets,
            in_key: false,
        })
    }

    /// One line as it may be shown, without its line end.
    pub fn line(&mut self, line: &str) -> String {
        let begins = line.contains("-----BEGIN ") && line.contains("PRIVATE KEY-----");
        let ends = line.contains("-----END ");
        if self.in_key || begins {
            self.in_key = !ends;
            return MASK.to_owned();
        }
        let mut masked = line.to_owned();
        for secret in &self.secrets {
            masked = if secret.len() < SHORT {
                replace_alone(&masked, secret)
            } else {
                masked.replace(secret, MASK)
            };
        }
        for (begin, signs) in PATTERNS {
            masked = mask_behind(&masked, begin, signs);
        }
        masked
    }
}

/// What is secret whatever it says: what precedes it, and the signs that belong to it beside letters and digits.
const PATTERNS: [(&str, &str); 3] = [
    ("uthorization: Basic ", "+/="),
    ("uthorization: Bearer ", "+/=-_.~"),
    ("tok_", ""),
];

/// A file that holds secrets, and that is not for us.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}: its secrets could not be masked; run this as root", path.display())]
pub struct Unreadable {
    path: PathBuf,
    error: io::Error,
}

fn read(machine: &dyn Machine, path: &Path) -> Result<Option<Vec<u8>>, Unreadable> {
    match machine.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unreadable {
            path: path.to_owned(),
            error,
        }),
    }
}

fn is_secret(key: &str) -> bool {
    match keys::find(key) {
        Some(key) => key.about().secret,
        None => SECRET_WORDS
            .iter()
            .any(|word| key.to_ascii_uppercase().contains(word)),
    }
}

#[derive(Default)]
struct Gathered(BTreeSet<String>);

impl Gathered {
    fn add(&mut self, secret: &str) {
        let secret = secret.trim().trim_matches(['"', '\'']);
        if !secret.is_empty() && !["true", "false", "[]"].contains(&secret) {
            self.0.insert(secret.to_owned());
        }
    }

    /// A value, and the parts of it that are secrets by themselves.
    fn value(&mut self, key: &str, value: &str) {
        self.add(value);
        if key == "OPENVIDU_SECRET" {
            self.add(&BASE64_STANDARD.encode(format!("{BASIC_USER}:{value}")));
        }
        for part in value.trim_matches(['[', ']']).split(',') {
            let part = part.trim().trim_matches(['"', '\'', '[', ']']);
            match part.split_once('=') {
                Some(("url", _)) => {}
                Some(("username" | "credential" | "staticAuthSecret", secret)) => self.add(secret),
                Some(_) | None => self.add(part),
            }
            if key == "HANOK_TURN_USERS"
                && let Some((_, password)) = part.split_once(':')
            {
                self.add(password);
            }
            // A header line: its value, and what a scheme such as Bearer stands before.
            if let Some((_, header)) = part.split_once(": ") {
                self.add(header);
                header
                    .split(' ')
                    .filter(|word| word.len() >= 2 * SHORT)
                    .for_each(|word| self.add(word));
            }
        }
    }

    /// `user:password@` in URLs.
    fn credentials_in_urls(&mut self, value: &str) {
        for (at, _) in value.match_indices("://") {
            let rest = value.get(at + 3..).unwrap_or_default();
            let authority = rest
                .split(['/', '?', '#', ',', '"', ' '])
                .next()
                .unwrap_or_default();
            if let Some((user, _)) = authority.rsplit_once('@') {
                let (_, password) = user.split_once(':').unwrap_or(("", user));
                self.add(password);
            }
        }
    }

    /// A file that holds one secret.
    fn file(&mut self, machine: &dyn Machine, path: &Path) -> Result<(), Unreadable> {
        if let Some(bytes) = read(machine, path)? {
            self.add(&String::from_utf8_lossy(&bytes));
        }
        Ok(())
    }
}

/// `text` with `word` masked where neither letter nor digit stands beside it.
fn replace_alone(text: &str, word: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(word) {
        let is_alone =
            !before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        masked.push_str(before);
        masked.push_str(if is_alone { MASK } else { word });
        rest = after;
    }
    masked.push_str(rest);
    masked
}

/// `text` with what follows `begin` masked, as far as there are letters, digits and `signs`.
fn mask_behind(text: &str, begin: &str, signs: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || signs.contains(c);
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(begin) {
        masked.push_str(before);
        masked.push_str(begin);
        let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
        let (part, behind) = after.split_at_checked(end).unwrap_or((after, ""));
        masked.push_str(if part.len() >= SHORT { MASK } else { part });
        rest = behind;
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::fake::FakeMachine;

    const FILE: &str = "DOMAIN_OR_PUBLIC_IP=call.example\n\
        OPENVIDU_SECRET=older_one\nOPENVIDU_SECRET=0123456789abcdef\n\
        COTURN_SHARED_SECRET_KEY=north,south\n\
        OPENVIDU_WEBHOOK_HEADERS=[\"X-Key: hook-hook\", \"Authorization: Bearer bear-bear\"]\n\
        OPENVIDU_WEBRTC_ICE_SERVERS=[\"url=turn:turn.example:3478,username=ice-user,credential=ice-word\",\"url=turns:t:443,staticAuthSecret=ice-static\"]\n\
        HANOK_TURN_USERS=me:word-of-mine,you:w:rd\n\
        HANOK_APP_UPSTREAM=http://app:url-word@10.0.0.2\n\
        MYSQL_PASSWORD=sql-word\nCALL_SECRET=xyz\n";

    fn machine() -> FakeMachine {
        let mut machine = FakeMachine::default();
        machine
            .files
            .insert(HANOK_FILE.into(), FILE.as_bytes().to_vec());
        machine
            .files
            .insert("/var/lib/hanok/turn-secret".into(), b"made-here\n".to_vec());
        machine.files.insert(
            "/etc/credstore/OPENVIDU_SECRET".into(),
            b"from-store\n".to_vec(),
        );
        machine
    }

    fn masker() -> Masker {
        Masker::new(&machine(), &Options::default()).unwrap()
    }

    #[test]
    fn every_secret_is_masked_wherever_it_stands_and_nothing_else_is() {
        let mut masker = masker();
        for secret in [
            "older_one",
            "0123456789abcdef",
            "T1BFTlZJRFVBUFA6MDEyMzQ1Njc4OWFiY2RlZg==",
            "north",
            "south",
            "hook-hook",
            "bear-bear",
            "ice-user",
            "ice-word",
            "ice-static",
            "word-of-mine",
            "w:rd",
            "url-word",
            "sql-word",
            "made-here",
            "from-store",
        ] {
            let masked = masker.line(&format!("a {secret}={secret} b\"{secret}\""));
            assert!(!masked.contains(secret), "{secret} is in {masked}");
            assert!(
                masked.starts_with("a ********") && masked.contains(" b\"********"),
                "{masked}"
            );
        }
        for harmless in [
            "call.example",
            "turn.example:3478",
            "me",
            "wxyz",
            "10.0.0.2",
        ] {
            assert_eq!(masker.line(harmless), harmless);
        }
        assert_eq!(masker.line("xyz x(xyz) wxyz"), "******** x(********) wxyz");
    }

    #[test]
    fn credentials_of_clients_and_private_keys_are_masked_too() {
        let mut masker = masker();
        assert_eq!(
            masker.line("Authorization: Basic dXNlcjpwYXNz, token=tok_AbCdEfGh&x"),
            "Authorization: Basic ********, token=tok_********&x"
        );
        for line in [
            "-----BEGIN EC PRIVATE KEY-----",
            "MHcCAQEE",
            "-----END EC PRIVATE KEY-----",
        ] {
            assert_eq!(masker.line(line), MASK);
        }
        assert_eq!(masker.line("after it"), "after it");
    }

    #[test]
    fn what_cannot_be_read_cannot_be_masked_so_nothing_is_shown() {
        let mut machine = machine();
        machine.forbidden.push(HANOK_FILE.into());
        let error = Masker::new(&machine, &Options::default()).err().unwrap();
        assert!(error.to_string().contains("/etc/hanok/.env"), "{error}");
        assert!(Masker::new(&FakeMachine::default(), &Options::default()).is_ok());
    }

    proptest! {
        #[test]
        fn no_secret_survives(
            secrets in prop::collection::vec("[a-zA-Z0-9_-]{4,12}", 1..4),
            text in "[a-zA-Z0-9_ =-]{0,20}",
        ) {
            let mut machine = FakeMachine::default();
            let file = format!("COTURN_SHARED_SECRET_KEY={}\n", secrets.join(","));
            machine.files.insert(HANOK_FILE.into(), file.into_bytes());
            let mut masker = Masker::new(&machine, &Options::default()).unwrap();
            let line: String = secrets.iter().map(|secret| format!("{text}{secret}")).collect();
            let masked = masker.line(&line);
            for secret in secrets.iter().filter(|secret| !["true", "false"].contains(&secret.as_str())) {
                prop_assert!(!masked.contains(secret.as_str()), "{secret} is in {masked}");
            }
        }

        #[test]
        fn any_line_is_masked_without_a_panic(line in any::<String>()) {
            masker().line(&line);
        }
    }
}
