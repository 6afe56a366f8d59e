//! The state folder: where it is, and the secrets that it keeps.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::config::Misconfigured;
use crate::config::settings::{State, TURN_SECRET_FILE};
use crate::control::store::service::{is_full, keep};
use crate::units::{Random, Secret};

/// Characters of a TURN secret that we make, as OpenVidu's installer does.
const TURN_SECRET_LEN: usize = 35;

/// `HANOK_STATE_DIR`, or a temporary folder that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct StateFolder {
    path: PathBuf,
    temporary: bool,
    /// The TURN secret that we made but could not keep, because the disk is full.
    unkept: OnceLock<Secret>,
}

impl StateFolder {
    /// Makes the folder if it is missing, readable for its owner only.
    pub(super) fn open(state: &State) -> Result<Self, Misconfigured> {
        let (path, temporary) = match state {
            State::Folder(path) => (path.clone(), false),
            State::Temporary => (
                std::env::temp_dir().join(format!("hanok-{}", Random::system().alphanumeric(12))),
                true,
            ),
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| {
                Misconfigured(format!(
                    "the state folder {} cannot be made ({error}): create it for the user who runs hanok, or set \
                     HANOK_STATE_DIR",
                    path.display()
                ))
            })?;
        Ok(Self {
            path,
            temporary,
            unkept: OnceLock::new(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// `configured`, else the secret that was made here once, else a new one that is kept, as soon as there is room; never
    /// empty.
    pub(super) fn turn_secrets(&self, configured: &[Secret]) -> Result<Vec<Secret>, Misconfigured> {
        if configured.is_empty() {
            self.own_turn_secret().map(|secret| vec![secret])
        } else {
            Ok(configured.to_vec())
        }
    }

    fn own_turn_secret(&self) -> Result<Secret, Misconfigured> {
        let path = self.path.join(TURN_SECRET_FILE);
        if let Ok(kept) = fs::read_to_string(&path)
            && kept.trim().len() >= TURN_SECRET_LEN
        {
            return Ok(Secret::new(kept.trim()));
        }
        let made = || Secret::new(Random::system().alphanumeric(TURN_SECRET_LEN));
        let secret = self.unkept.get().cloned().unwrap_or_else(made);
        match keep(&path, secret.expose().as_bytes()) {
            Ok(()) => Ok(secret),
            // Calls matter more than what outlives them.
            Err(error) if is_full(&error) => {
                tracing::warn!(
                    "the TURN secret cannot be kept in {} ({error}): it counts until the daemon stops; make room there, \
                     then run `hanok reload`",
                    path.display()
                );
                Ok(self.unkept.get_or_init(|| secret).clone())
            }
            Err(error) => Err(Misconfigured(format!(
                "the TURN secret cannot be kept in {} ({error}): make the folder writable, or set \
                 COTURN_SHARED_SECRET_KEY",
                path.display()
            ))),
        }
    }
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_turn_secret_is_made_once_and_kept_for_its_owner_only() {
        let folder = StateFolder::open(&State::Temporary).unwrap();
        let first = folder.turn_secrets(&[]).unwrap();
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].expose().len(), TURN_SECRET_LEN);
        assert_eq!(folder.turn_secrets(&[]).unwrap(), first);
        let mode = fs::metadata(folder.path().join(TURN_SECRET_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let configured = ["new", "old"].map(Secret::new);
        assert_eq!(folder.turn_secrets(&configured).unwrap(), configured);
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_the_operators_to_mend() {
        let folder = StateFolder::open(&State::Temporary).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let Misconfigured(text) = StateFolder::open(&State::Folder(file)).unwrap_err();
        assert!(text.contains("HANOK_STATE_DIR"), "{text}");
        fs::create_dir(folder.path().join("turn-secret")).unwrap();
        let Misconfigured(text) = folder.turn_secrets(&[]).unwrap_err();
        assert!(text.contains("COTURN_SHARED_SECRET_KEY"), "{text}");
    }

    #[test]
    fn a_temporary_folder_vanishes_with_its_owner() {
        let folder = StateFolder::open(&State::Temporary).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        drop(folder);
        assert!(!path.exists());
    }
}
