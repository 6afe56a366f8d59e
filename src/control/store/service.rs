//! Reading and writing small files.

use std::fs::{DirBuilder, File, OpenOptions, remove_file, rename};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// The content of a file that has at most `max_len` bytes.
///
/// # Errors
/// It cannot be read, is larger, or is no file: a named pipe would keep us waiting for whoever writes to it.
pub fn read_bounded(path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
    let without_waiting = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(without_waiting)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    file.take(max_len.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_len {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {max_len} bytes"),
        ));
    }
    Ok(bytes)
}

/// Writes a file that is either the old one or the new one, whatever happens meanwhile, and readable for its owner only.
/// Makes its folder.
///
/// # Errors
/// It cannot be written; then the old one is still there.
pub fn keep(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    match remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let kept = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| rename(&draft, path));
    if let Err(error) = kept {
        // On a full disk, half a file takes room that is needed.
        let _ = remove_file(&draft);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Whether there is no room, which is no reason for a daemon to stop.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Writes `bytes` behind what the file has; a new one is readable for its owner only. They are not forced to the disk.
///
/// # Errors
/// They cannot be written, or not all of them.
pub fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?
        .write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_for_its_owner_only() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("a/b/file");
        for text in ["first", "second"] {
            // What a crash may have left behind, readable for everybody.
            let draft = state.path().join("a/b/file.new");
            let _ = fs::write(&draft, "half");
            keep(&path, text.as_bytes()).unwrap();
            assert_eq!(read_bounded(&path, 6).unwrap(), text.as_bytes());
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(!draft.exists());
        }
        append(&path, b" and more").unwrap();
        assert_eq!(read_bounded(&path, 100).unwrap(), b"second and more");
        let error = read_bounded(&path, 5).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let state = tempfile::tempdir().unwrap();
        let pipe = state.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [pipe.as_path(), state.path(), Path::new("/dev/zero")] {
            assert!(read_bounded(path, 10).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("file");
        keep(&path, b"old").unwrap();
        fs::create_dir(state.path().join("file.new")).unwrap();
        keep(&path, b"new").unwrap_err();
        assert_eq!(read_bounded(&path, 3).unwrap(), b"old");
    }
}
