//! The machine as the configuration sees it: files, process environment, name resolution. The only I/O of this folder.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::config::dotenv::MAX_SIZE;

/// What loading a configuration needs to know of the machine. Tests answer from maps.
pub trait Machine {
    /// The variables of the process environment.
    fn environment(&self) -> Vec<(OsString, OsString)>;
    /// The content of a configuration file, at most [`MAX_SIZE`] bytes.
    ///
    /// # Errors
    /// The file is missing, unreadable or larger.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The permission bits of a file (`chmod`'s twelve).
    ///
    /// # Errors
    /// There is no such file, or what is there is no file.
    fn mode(&self, path: &Path) -> io::Result<u32>;
    /// Whether there is anything at `path`.
    fn exists(&self, path: &Path) -> bool {
        !matches!(self.mode(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }
    /// Whether a file can be opened for reading.
    ///
    /// # Errors
    /// It cannot.
    fn readable(&self, path: &Path) -> io::Result<()>;
    /// Whether a folder is writable or could be made, with its parents, and would be. Nothing is made.
    ///
    /// # Errors
    /// It could not be made or written to.
    fn writable_folder(&self, path: &Path) -> io::Result<()>;
    /// How many threads can run at the same time here; at least 1.
    fn cores(&self) -> usize;
    /// The addresses of a host name; empty if it does not resolve.
    fn resolve(&self, name: &str) -> Vec<IpAddr>;
}

/// The machine that the process runs on.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn environment(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_SIZE).unwrap_or(u64::MAX);
        File::open(path)?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() > MAX_SIZE {
            return Err(io::Error::other("the file is larger than 1 MiB"));
        }
        Ok(bytes)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        let found = std::fs::metadata(path)?;
        if found.is_file() {
            Ok(found.mode() & 0o7777)
        } else {
            Err(io::Error::other("it is not a file"))
        }
    }

    fn readable(&self, path: &Path) -> io::Result<()> {
        if File::open(path)?.metadata()?.is_file() {
            Ok(())
        } else {
            Err(io::Error::other("it is not a file"))
        }
    }

    fn writable_folder(&self, path: &Path) -> io::Result<()> {
        use rustix::fs::{Access, access};
        for ancestor in path.ancestors() {
            // The parent of a relative path is the working folder.
            let ancestor = if ancestor.as_os_str().is_empty() {
                Path::new(".")
            } else {
                ancestor
            };
            match std::fs::metadata(ancestor) {
                Ok(found) if !found.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
                Ok(_) => return Ok(access(ancestor, Access::WRITE_OK | Access::EXEC_OK)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        (name, 0)
            .to_socket_addrs()
            .map(|addresses| addresses.map(|address| address.ip()).collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_a_limit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(".env");
        let kind = |result: io::Result<Vec<u8>>| result.map_err(|error| error.kind());
        assert_eq!(kind(ThisMachine.read(&path)), Err(io::ErrorKind::NotFound));
        std::fs::write(&path, "A=1").expect("writable");
        assert_eq!(kind(ThisMachine.read(&path)), Ok(b"A=1".to_vec()));
        std::fs::write(&path, vec![b'#'; MAX_SIZE + 1]).expect("writable");
        assert!(ThisMachine.read(&path).is_err());
        assert!(ThisMachine.read(folder.path()).is_err());
    }

    #[test]
    fn a_folder_that_could_be_made_is_writable_and_is_not_made() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let deep = folder.path().join("a/b/c");
        assert!(ThisMachine.writable_folder(&deep).is_ok());
        assert!(ThisMachine.writable_folder(folder.path()).is_ok());
        assert!(!folder.path().join("a").exists());
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("writable");
        assert!(ThisMachine.writable_folder(&file).is_err());
        assert!(ThisMachine.writable_folder(&file.join("x")).is_err());
    }

    #[test]
    fn only_files_are_readable() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("key.pem");
        std::fs::write(&file, "").expect("writable");
        assert!(ThisMachine.readable(&file).is_ok());
        assert!(ThisMachine.readable(folder.path()).is_err());
        assert!(ThisMachine.readable(&folder.path().join("none")).is_err());
    }

    #[test]
    fn the_mode_of_a_file_is_told_and_of_nothing_else() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("secret");
        assert!(!ThisMachine.exists(&file));
        std::fs::write(&file, "").expect("writable");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("ours");
        assert_eq!(ThisMachine.mode(&file).expect("a file"), 0o640);
        assert!(ThisMachine.exists(&file));
        assert!(ThisMachine.mode(folder.path()).is_err());
        assert!(ThisMachine.exists(folder.path()));
    }

    #[test]
    fn there_is_at_least_one_core() {
        assert!(ThisMachine.cores() > 0);
    }

    #[test]
    fn localhost_resolves_to_loopback_addresses() {
        let addresses = ThisMachine.resolve("localhost");
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }
}
