//! Secrets in files of their own: `KEY_FILE=/path`, as containers do it, and systemd's credentials
//! (`LoadCredential=KEY:/path`, systemd.exec(5)), so that a `.env` file can be shown to anybody.
//!
//! Whatever the form, the value takes the place of the key in the merged map, so validation, rules and reload see no
//! difference. One secret in two forms is an error that names both: whichever won, somebody would change the other one
//! and wonder.

use std::path::{Path, PathBuf};

use crate::config::key::About;
use crate::config::keys;
use crate::config::layers::{Reading, Setting};
use crate::config::report::{KeyFault, MASK, Note, Problem, shown_in_report};

/// Where systemd puts a unit's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// What others may do with it, and that its group may change it. A group that reads is how a service gets at root's file.
const TOO_OPEN: u32 = 0o027;

/// More than any secret has.
const LONGEST: usize = 64 * 1024;

/// A form in which a secret is set, beside the key itself.
struct Form {
    /// The name under which problems are told.
    name: String,
    /// Where it is set.
    origin: String,
    /// The file with the value.
    path: PathBuf,
    /// What is shown of it.
    shown: String,
}

impl Form {
    /// The form as another one's problem names it.
    fn describe(&self) -> String {
        if self.origin == self.path.display().to_string() {
            format!("the credential {}", self.origin)
        } else {
            format!("{} ({})", self.name, self.origin)
        }
    }
}

impl Reading<'_> {
    /// Puts the values of secrets that have files of their own into the merged map.
    pub(super) fn read_secret_files(&mut self) {
        let credentials = self.credentials_folder();
        for key in keys::all() {
            let about = key.about();
            if keys::may_be_in_file(about) {
                self.read_secret_file(about, credentials.as_deref());
            }
        }
    }

    /// The folder with this unit's credentials; systemd names an absolute path.
    fn credentials_folder(&self) -> Option<PathBuf> {
        let variables = self.machine.environment();
        let mut named = variables
            .into_iter()
            .filter(|(name, _)| name == CREDENTIALS_DIRECTORY)
            .map(|(_, value)| PathBuf::from(value));
        named.find(|folder| folder.is_absolute())
    }

    fn read_secret_file(&mut self, about: &'static About, credentials: Option<&Path>) {
        let pointer = self.pointer(about);
        let credential = credentials
            .map(|folder| folder.join(about.name))
            .filter(|path| self.machine.exists(path))
            .map(|path| Form {
                name: about.name.to_owned(),
                origin: path.display().to_string(),
                path,
                shown: MASK.to_owned(),
            });
        let (form, other) = match (pointer, credential) {
            (None, None) => return,
            (Some(form), None) | (None, Some(form)) => (form, None),
            (Some(form), Some(other)) => (form, Some(other)),
        };
        // The stock file has `OPENVIDU_SECRET=`: nothing is no second form.
        let plain = self.set(about.name).filter(|set| !set.text.is_empty());
        if let Some(origin) = plain.and_then(|set| set.origin.clone()) {
            let other = form.describe();
            let fault = KeyFault::TwoForms { other };
            return self.give_up(about, about.name, &origin, MASK, fault);
        }
        if let Some(other) = other {
            let other = other.describe();
            let fault = KeyFault::TwoForms { other };
            return self.give_up(about, &form.name, &form.origin, &form.shown, fault);
        }
        match self.secret_in(&form.path) {
            Ok((text, mode)) => {
                if mode & TOO_OPEN != 0 {
                    self.notes.push(Note::OpenSecretFile {
                        name: about.name,
                        path: form.path.clone(),
                        mode,
                    });
                }
                let origin = Some(form.path.display().to_string());
                self.put(about.name, Setting { text, origin });
            }
            Err(reason) => {
                let fault = KeyFault::SecretFile { reason };
                self.give_up(about, &form.name, &form.origin, &form.shown, fault);
            }
        }
    }

    /// `KEY_FILE`, if it is set to anything.
    fn pointer(&self, about: &About) -> Option<Form> {
        let name = keys::file_name(about);
        let set = self.set(&name).filter(|set| !set.text.is_empty())?;
        Some(Form {
            origin: set.origin.clone()?,
            path: PathBuf::from(&set.text),
            shown: shown_in_report(&set.text, false),
            name,
        })
    }

    /// The one line of a file, and who may open it.
    fn secret_in(&self, path: &Path) -> Result<(String, u32), String> {
        if !path.is_absolute() {
            return Err("the path does not begin with /".to_owned());
        }
        let mode = self.machine.mode(path).map_err(|error| error.to_string())?;
        let bytes = self.machine.read(path).map_err(|error| error.to_string())?;
        if bytes.len() > LONGEST {
            return Err("it is longer than any secret".to_owned());
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.contains(['\r', '\n', '\0']) {
            return Err("it holds more than one line".to_owned());
        }
        Ok((text.to_owned(), mode))
    }

    /// Tells what is wrong with a secret's forms; that it is then missing is told no second time.
    fn give_up(
        &mut self,
        about: &'static About,
        name: &str,
        origin: &str,
        value: &str,
        fault: KeyFault,
    ) {
        self.unusable.insert(about.name);
        self.problems.push(Problem::Key {
            name: name.to_owned(),
            origin: Some(origin.to_owned()),
            value: value.to_owned(),
            fault,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fake::FakeMachine;
    use crate::config::{Loaded, Options, Report, load, reload};
    use crate::units::Secret;

    const SECRET: &str = "0123456789abcdef";

    /// A machine with these lines in its file, and these files beside.
    fn machine(lines: &str, files: &[(&str, &str)]) -> FakeMachine {
        let mut machine = FakeMachine::default();
        let file = format!("DOMAIN_OR_PUBLIC_IP=example.com\n{lines}\n");
        machine
            .files
            .insert("/etc/hanok/.env".into(), file.into_bytes());
        for (path, content) in files {
            let content = content.as_bytes().to_vec();
            machine.files.insert(PathBuf::from(path), content);
        }
        machine
    }

    fn loaded(machine: &FakeMachine) -> Loaded {
        load(machine, &Options::default()).expect("it is good")
    }

    fn refused(machine: &FakeMachine) -> Report {
        load(machine, &Options::default()).expect_err("it is bad")
    }

    /// The only problem.
    fn problem(machine: &FakeMachine) -> String {
        let report = refused(machine);
        assert_eq!(report.problems.len(), 1, "{report}");
        assert!(!report.to_string().contains(SECRET), "{report}");
        report.problems[0].to_string()
    }

    #[test]
    fn every_secret_may_be_in_a_file_or_a_credential() {
        let mut seen = 0;
        for key in keys::all().filter(|key| keys::may_be_in_file(key.about())) {
            let about = key.about();
            let mut examples = about.accepts.iter().filter(|text| !text.is_empty());
            let example = examples.next().expect("every key has an example");
            let own = if about.name == "OPENVIDU_SECRET" {
                String::new()
            } else {
                format!("OPENVIDU_SECRET={SECRET}\n")
            };
            let value = |machine: &FakeMachine| {
                // One says nothing without the other.
                let pair = "HANOK_ACME_EAB_KEY_ID";
                let mut machine = machine.clone();
                if about.name == "HANOK_ACME_EAB_HMAC_KEY" {
                    machine.environment.insert(pair.into(), "kid".into());
                }
                let loaded = loaded(&machine);
                assert!(
                    loaded
                        .notes
                        .iter()
                        .all(|note| !note.to_string().contains("is not a key")),
                    "{:?}",
                    loaded.notes
                );
                let merged = loaded.merged.value(about).map(str::to_owned);
                let mut shown = loaded.effective.into_iter();
                let shown = shown.find(|shown| shown.name == about.name);
                (merged, shown.and_then(|shown| shown.origin))
            };
            let path = "/run/secrets/it";
            let content = format!("{example}\r\n");
            let pointing = machine(
                &format!("{own}{}={path}", keys::file_name(about)),
                &[(path, &content)],
            );
            let expected = (Some((*example).to_owned()), Some(path.to_owned()));
            assert_eq!(value(&pointing), expected, "{}", about.name);

            let path = format!("/run/credentials/hanok.service/{}", about.name);
            let mut given = machine(&own, &[(&path, &content)]);
            given.environment.insert(
                CREDENTIALS_DIRECTORY.into(),
                "/run/credentials/hanok.service".into(),
            );
            let expected = (Some((*example).to_owned()), Some(path));
            assert_eq!(value(&given), expected, "{}", about.name);
            seen += 1;
        }
        assert!(seen >= 6, "{seen}");
    }

    #[test]
    fn the_process_environment_may_name_the_file_and_an_empty_key_is_no_second_form() {
        let mut machine = machine(
            "OPENVIDU_SECRET=\nOPENVIDU_SECRET_FILE=/a",
            &[("/b", SECRET)],
        );
        machine
            .environment
            .insert("OPENVIDU_SECRET_FILE".into(), "/b".into());
        assert!(loaded(&machine).config.secret.matches(SECRET.as_bytes()));
    }

    #[test]
    fn two_forms_of_one_secret_are_refused_and_both_are_named() {
        let folder = "/run/credentials/hanok.service";
        let credential = format!("{folder}/OPENVIDU_SECRET");
        let key = format!("OPENVIDU_SECRET={SECRET}");
        let pointer = "OPENVIDU_SECRET_FILE=/s";
        let files = [("/s", SECRET), (credential.as_str(), SECRET)];
        let both = format!("{key}\n{pointer}");
        assert_eq!(
            problem(&machine(&both, &files)),
            "/etc/hanok/.env:2: OPENVIDU_SECRET=******** is set by OPENVIDU_SECRET_FILE (/etc/hanok/.env:3), too: leave \
             one of them out"
        );
        let given = |lines: &str| {
            let mut machine = machine(lines, &files);
            machine
                .environment
                .insert(CREDENTIALS_DIRECTORY.into(), folder.into());
            problem(&machine)
        };
        assert_eq!(
            given(&key),
            format!(
                "/etc/hanok/.env:2: OPENVIDU_SECRET=******** is set by the credential {credential}, too: leave one of \
                 them out"
            )
        );
        assert_eq!(
            given(pointer),
            format!(
                "/etc/hanok/.env:2: OPENVIDU_SECRET_FILE=/s is set by the credential {credential}, too: leave one of \
                 them out"
            )
        );
    }

    #[test]
    fn a_file_that_holds_no_secret_is_refused_with_its_path() {
        for (content, reason) in [
            (Some(""), "it is empty"),
            (Some("\n"), "it is empty"),
            (Some("one\ntwo\n"), "more than one line"),
            (Some("a\0b"), "more than one line"),
            (None, "not found"),
        ] {
            let lines = format!("OPENVIDU_SECRET={SECRET}\nCOTURN_SHARED_SECRET_KEY_FILE=/s");
            let files = content.map(|content| ("/s", content));
            let text = problem(&machine(&lines, files.as_slice()));
            let begin = "/etc/hanok/.env:3: COTURN_SHARED_SECRET_KEY_FILE=/s leads to no secret";
            assert!(text.starts_with(begin) && text.contains(reason), "{text}");
        }
        let text = problem(&machine("OPENVIDU_SECRET_FILE=s", &[("s", SECRET)]));
        assert!(text.contains("does not begin with /"), "{text}");
        let mut forbidden = machine("OPENVIDU_SECRET_FILE=/s", &[("/s", SECRET)]);
        forbidden.forbidden.push("/s".into());
        assert!(problem(&forbidden).contains("permission denied"));
        let long = "x".repeat(LONGEST + 1);
        let text = problem(&machine("OPENVIDU_SECRET_FILE=/s", &[("/s", &long)]));
        assert!(text.contains("longer than any secret"), "{text}");
        let mut machine = machine("OPENVIDU_SECRET_FILE=/s", &[]);
        machine.files.insert("/s".into(), vec![0xff]);
        assert!(problem(&machine).contains("UTF-8"));
    }

    #[test]
    fn what_the_file_holds_goes_through_the_keys_own_validator() {
        let text = problem(&machine("OPENVIDU_SECRET_FILE=/s", &[("/s", "with blank")]));
        assert!(
            text.starts_with("/s: OPENVIDU_SECRET=******** may contain"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_everybody_may_read_is_a_warning() {
        for (mode, is_open) in [
            (0o600, false),
            (0o400, false),
            (0o640, false),
            (0o440, false),
            (0o644, true),
            (0o660, true),
            (0o601, true),
        ] {
            let mut machine = machine("OPENVIDU_SECRET_FILE=/s", &[("/s", SECRET)]);
            machine.modes.insert("/s".into(), mode);
            let notes = loaded(&machine).notes;
            assert_eq!(!notes.is_empty(), is_open, "{mode:o} {notes:?}");
            assert!(notes.iter().all(Note::is_warning));
        }
    }

    #[test]
    fn a_reload_reads_the_files_again() {
        let mut machine = machine(
            "OPENVIDU_SECRET_FILE=/s\nCOTURN_SHARED_SECRET_KEY_FILE=/t",
            &[("/s", SECRET), ("/t", "old")],
        );
        let running = loaded(&machine);
        machine.files.insert("/t".into(), b"new,old\n".to_vec());
        let taken_over = reload(&machine, &Options::default(), &running).expect("it is good");
        assert_eq!(taken_over.changed, ["COTURN_SHARED_SECRET_KEY"]);
        let secrets = &taken_over.loaded.config.turn.secrets;
        assert_eq!(secrets, &["new", "old"].map(Secret::new));
        machine.files.insert("/t".into(), Vec::new());
        assert!(reload(&machine, &Options::default(), &running).is_err());
    }
}
