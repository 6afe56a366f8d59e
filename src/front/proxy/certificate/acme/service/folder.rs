//! The files of the state folder's `acme/`: each is either the old one or the new one, and its owner's only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

use crate::control::store::service::keep;
use crate::front::proxy::certificate::acme::record::{AccountRecord, Pending, Record};
use crate::front::proxy::certificate::service::read_bounded;

/// `HANOK_STATE_DIR/acme`.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("acme"))
    }

    /// The private key and the chain in one file, so that no crash leaves one beside another's.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("certificate.pem")
    }

    pub(crate) fn record_file(&self) -> PathBuf {
        self.0.join("record.json")
    }

    fn order_file(&self) -> PathBuf {
        self.0.join("order.json")
    }

    /// Exists from when a renewal is asked for until the daemon has seen it.
    fn request_file(&self) -> PathBuf {
        self.0.join("renew")
    }

    /// One for each server: staging has accounts of its own.
    fn account_file(&self, directory: &str) -> PathBuf {
        let hash = digest(&SHA256, directory.as_bytes());
        let name: String = hash
            .as_ref()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.0.join(format!("account-{name}.json"))
    }

    pub(crate) fn read_certificate(&self) -> io::Result<Vec<u8>> {
        read_bounded(&self.certificate())
    }

    pub(crate) fn keep_certificate(&self, text: &[u8]) -> io::Result<()> {
        keep(&self.certificate(), text)
    }

    pub(crate) fn record(&self) -> Option<Record> {
        Record::read(&read_bounded(&self.record_file()).ok()?)
    }

    pub(crate) fn keep_record(&self, record: &Record) -> io::Result<()> {
        keep(&self.record_file(), &serde_json::to_vec_pretty(record)?)
    }

    pub(super) fn pending(&self, directory: &str, names: &[String], now: u64) -> Option<Pending> {
        let text = read_bounded(&self.order_file()).ok()?;
        Pending::read(&text, directory, names, now)
    }

    pub(super) fn keep_pending(&self, pending: &Pending) -> io::Result<()> {
        keep(&self.order_file(), &serde_json::to_vec_pretty(pending)?)
    }

    pub(super) fn forget_pending(&self) {
        if let Err(error) = remove(&self.order_file()) {
            tracing::error!(%error, "an order that is done with cannot be forgotten: {}", self.0.display());
        }
    }

    /// The account with this server; an unreadable file is kept aside, since a key that was lost cannot be made again.
    pub(super) fn account(&self, directory: &str) -> Option<AccountRecord> {
        let path = self.account_file(directory);
        let text = read_bounded(&path).ok()?;
        let account = AccountRecord::read(&text, directory);
        if account.is_none() {
            let aside = path.with_extension("json.damaged");
            tracing::error!(
                "the ACME account in {} is damaged: it is kept as {}, and a new account is made",
                path.display(),
                aside.display()
            );
            let _ = fs::rename(&path, aside);
        }
        account
    }

    pub(super) fn keep_account(&self, account: &AccountRecord) -> io::Result<()> {
        let path = self.account_file(&account.directory);
        keep(&path, &serde_json::to_vec_pretty(account)?)
    }

    /// Asks the daemon that runs on this folder for a new certificate.
    pub(crate) fn request_renewal(&self) -> io::Result<()> {
        keep(&self.request_file(), b"")
    }

    /// Whether a request waits to be seen.
    pub(crate) fn is_requested(&self) -> bool {
        self.request_file().exists()
    }

    /// Whether somebody has asked; only once.
    pub(crate) fn take_request(&self) -> bool {
        self.is_requested() && remove(&self.request_file()).is_ok()
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::units::Secret;

    #[test]
    fn accounts_are_kept_for_their_owner_one_for_each_server_and_never_overwritten_when_damaged() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::new(state.path());
        for directory in ["https://a.example/dir", "https://b.example/dir"] {
            assert_eq!(folder.account(directory), None);
            let account = AccountRecord {
                directory: directory.to_owned(),
                url: None,
                private: Secret::new(directory),
            };
            folder.keep_account(&account).unwrap();
            assert_eq!(folder.account(directory), Some(account));
            let path = folder.account_file(directory);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let path = folder.account_file("https://a.example/dir");
        fs::write(&path, "damaged").unwrap();
        assert_eq!(folder.account("https://a.example/dir"), None);
        let aside = path.with_extension("json.damaged");
        assert_eq!(fs::read(aside).unwrap(), b"damaged");
    }

    #[test]
    fn a_request_is_seen_once() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::new(state.path());
        assert!(!folder.take_request());
        folder.request_renewal().unwrap();
        assert!(folder.is_requested());
        assert!(folder.take_request());
        assert!(!folder.take_request());
    }
}
