//! What is kept in the state folder, as JSON: the plan's progress, the order that was begun, the accounts.

use serde::{Deserialize, Serialize};

use super::plan::{Progress, Server, Validity};
use crate::units::Secret;

/// The plan's progress, with what it is for: it says nothing of other names or another server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Record {
    /// `HANOK_ACME_DIRECTORY`.
    pub directory: String,
    /// What the certificate is for.
    pub names: Vec<String>,
    /// What the certificate in use says.
    pub validity: Option<Validity>,
    /// How the plan stands.
    pub progress: Progress,
}

impl Record {
    /// Reads what was kept; what cannot be read says nothing.
    pub fn read(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

/// An order that was begun: with it a crash costs no second one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Where.
    pub server: Server,
    /// The directory of that server.
    pub directory: String,
    /// What for.
    pub names: Vec<String>,
    /// The order's URL.
    pub url: String,
    /// When it was begun.
    pub begun_at: u64,
    /// The private key of the certificate that will come, as PEM.
    #[serde(with = "secret")]
    pub private: Secret,
}

/// How long an order is resumed: Let's Encrypt keeps them for a week.
const LONGEST_PENDING: u64 = 7 * 24 * 3600;

impl Pending {
    /// Reads an order that is worth going on with.
    pub fn read(text: &[u8], directory: &str, names: &[String], now: u64) -> Option<Self> {
        let pending: Self = serde_json::from_slice(text).ok()?;
        let is_ours = pending.directory == directory && pending.names == names;
        let is_young = now.saturating_sub(pending.begun_at) < LONGEST_PENDING;
        (is_ours && is_young).then_some(pending)
    }
}

/// An account: its key is kept before it is registered, so that a crash does not cost a second one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRecord {
    /// The directory of its server.
    pub directory: String,
    /// Its URL, once it is registered.
    pub url: Option<String>,
    /// Its private key: PKCS#8 in base64.
    #[serde(with = "secret")]
    pub private: Secret,
}

impl AccountRecord {
    /// Reads an account of this server.
    pub fn read(text: &[u8], directory: &str) -> Option<Self> {
        let account: Self = serde_json::from_slice(text).ok()?;
        (account.directory == directory).then_some(account)
    }
}

mod secret {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::units::Secret;

    pub(super) fn serialize<S: Serializer>(value: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(value.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["call.example".to_owned()]
    }

    #[test]
    fn a_record_is_read_by_newer_and_older_versions() {
        let record = Record {
            directory: "https://ca.example/dir".to_owned(),
            names: names(),
            ..Record::default()
        };
        let text = serde_json::to_vec(&record).unwrap();
        assert_eq!(Record::read(&text), Some(record));
        assert_eq!(Record::read(b"<html>"), None);
        let newer = br#"{"directory":"d","unknown":1}"#;
        assert_eq!(Record::read(newer).unwrap().directory, "d");
    }

    #[test]
    fn an_order_is_resumed_for_a_week_and_shows_no_key() {
        let pending = Pending {
            server: Server::Main,
            directory: "d".to_owned(),
            names: names(),
            url: "https://ca.example/order/1".to_owned(),
            begun_at: 1_000,
            private: Secret::new("hush"),
        };
        let text = serde_json::to_vec(&pending).unwrap();
        let read = |now| Pending::read(&text, "d", &names(), now);
        assert_eq!(read(2_000), Some(pending.clone()));
        assert!(read(0).is_some(), "the clock was set back");
        assert_eq!(read(1_000 + LONGEST_PENDING), None);
        assert!(!format!("{pending:?}").contains("hush"));
    }
}
