//! A machine of maps, for tests.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::config::service::Machine;

/// A machine of maps, for tests.
#[derive(Debug, Clone, Default)]
pub struct FakeMachine {
    /// The process environment.
    pub environment: BTreeMap<OsString, OsString>,
    /// Files and their content.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Files that exist but cannot be read, and folders that cannot be written to.
    pub forbidden: Vec<PathBuf>,
    /// Permission bits of files that have others than 0600.
    pub modes: BTreeMap<PathBuf, u32>,
    /// Names and their addresses.
    pub names: BTreeMap<String, Vec<IpAddr>>,
}

impl Machine for FakeMachine {
    fn environment(&self) -> Vec<(OsString, OsString)> {
        self.environment
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.readable(path)?;
        Ok(self.files.get(path).cloned().unwrap_or_default())
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        if self.files.contains_key(path) || self.forbidden.iter().any(|known| known == path) {
            Ok(self.modes.get(path).copied().unwrap_or(0o600))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn readable(&self, path: &Path) -> io::Result<()> {
        if self.forbidden.iter().any(|forbidden| forbidden == path) {
            Err(io::ErrorKind::PermissionDenied.into())
        } else if self.files.contains_key(path) {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn writable_folder(&self, path: &Path) -> io::Result<()> {
        if self
            .forbidden
            .iter()
            .any(|forbidden| path.starts_with(forbidden))
        {
            Err(io::ErrorKind::PermissionDenied.into())
        } else {
            Ok(())
        }
    }

    fn cores(&self) -> usize {
        2
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        self.names.get(name).cloned().unwrap_or_default()
    }
}
