//! The key table: every key that means something here, with everything that is known of it.

pub mod compose;
pub mod hanok;
pub mod openvidu;
pub mod proxy;

use crate::config::key::AnyKey;

/// Prefixes of keys of the paid editions and of containers, accepted without a word (`openvidu-deployment` sections 3.3
/// and 15).
pub const IGNORED_PREFIXES: [&str; 5] = [
    "OPENVIDU_PRO_",
    "OPENVIDU_ENTERPRISE_",
    "OPENVIDU_BROWSER_LOGS",
    "KMS_DOCKER_ENV_",
    "CALL_",
];

/// Every key, in the order of the sample file.
pub fn all() -> impl Iterator<Item = &'static dyn AnyKey> {
    [openvidu::KEYS, proxy::KEYS, compose::KEYS, hanok::KEYS]
        .into_iter()
        .flatten()
        .copied()
}

/// The key with this name or alias.
pub fn find(name: &str) -> Option<&'static dyn AnyKey> {
    all().find(|key| {
        let about = key.about();
        about.name == name || about.aliases.contains(&name)
    })
}
