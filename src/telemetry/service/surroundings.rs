//! Where lines of the log go, and who writes them.

use std::os::unix::fs::MetadataExt;

/// Whether standard error is the journal's: somebody may have sent it elsewhere (systemd.exec(5), `$JOURNAL_STREAM`).
pub fn is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else {
        return false;
    };
    let meta = std::fs::metadata("/proc/self/fd/2");
    meta.is_ok_and(|meta| is_stream(&stream, meta.dev(), meta.ino()))
}

/// Whether `stream` is this file, as `DEVICE:INODE`.
fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    let parts = stream.split_once(':');
    parts.is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

/// What the calling thread is called.
pub fn thread_name() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or("unnamed").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_its_device_and_inode() {
        assert!(is_stream("8:4711", 8, 4711));
        for other in ["8:4712", "9:4711", "8", "", ":", "8:4711:1", "x:y"] {
            assert!(!is_stream(other, 8, 4711), "{other}");
        }
    }
}
