//! Certificates from an ACME server, such as Let's Encrypt (RFC 8555).
//!
//! [`plan`] decides, [`record`] is what is kept, [`service`] talks to the server and to the disk.

pub mod plan;
pub mod record;
pub mod service;

use std::path::PathBuf;

use crate::units::Secret;
use plan::Challenge;

/// Let's Encrypt, and its twin for rehearsals.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// What an account, an order and its proof need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's directory (`HANOK_ACME_DIRECTORY`).
    pub directory: String,
    /// The root that the server's own certificate leads to (`HANOK_ACME_CA_FILE`); `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Whom the authority may write to (`LETSENCRYPT_EMAIL`).
    pub email: String,
    /// What the certificate is for, DNS names or IP addresses, the main one first; never empty.
    pub names: Vec<String>,
    /// The challenges that can reach us, the better one first.
    pub challenges: Vec<Challenge>,
    /// The account with the authority that ours is bound to (RFC 8555 section 7.3.4).
    pub binding: Option<Binding>,
}

/// External account binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// `HANOK_ACME_EAB_KEY_ID`.
    pub key_id: String,
    /// `HANOK_ACME_EAB_HMAC_KEY`, base64url as authorities hand it out.
    pub hmac_key: Secret,
}

impl Settings {
    /// The directory for rehearsals, where we know one.
    pub fn staging(&self) -> Option<&'static str> {
        (self.directory == LETS_ENCRYPT).then_some(LETS_ENCRYPT_STAGING)
    }
}
