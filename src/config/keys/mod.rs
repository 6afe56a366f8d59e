//! The key table: every key that means something here, with everything that is known of it.

pub mod compose;
pub mod hanok;
pub mod openvidu;
pub mod proxy;

use crate::config::key::{About, AnyKey, Effect};

/// Why the media server's keys do nothing.
pub(crate) const BUILT_IN: &str = "the media server is built in";

/// Why the keys of OpenVidu Call do nothing here.
pub(crate) const OF_CALL: &str = "the OpenVidu Call application reads them itself";

/// Prefixes of keys of the paid editions and of containers (`openvidu-deployment` sections 3.3 and 15), and why nothing
/// follows from them here.
pub const OF_OTHERS: [(&str, &str); 5] = [
    (
        "OPENVIDU_PRO_",
        "there is one edition, which needs no license and has settings of its own",
    ),
    (
        "OPENVIDU_ENTERPRISE_",
        "there is one edition, which needs no license and has settings of its own",
    ),
    (
        "OPENVIDU_BROWSER_LOGS",
        "logs of browsers are not collected",
    ),
    ("KMS_DOCKER_ENV_", BUILT_IN),
    ("CALL_", OF_CALL),
];

/// What stands behind the name of a secret key in the name of the key that says which file holds its value.
const FILE_SUFFIX: &str = "_FILE";

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

/// The secret key whose value `name` says the file of, such as `OPENVIDU_SECRET` for `OPENVIDU_SECRET_FILE`.
pub fn of_file(name: &str) -> Option<&'static dyn AnyKey> {
    find(name.strip_suffix(FILE_SUFFIX)?).filter(|key| may_be_in_file(key.about()))
}

/// The name of the key that says which file holds the value of `about`.
pub fn file_name(about: &About) -> String {
    format!("{}{FILE_SUFFIX}", about.name)
}

/// Whether the value may be in a file of its own: that of every secret that is used here.
pub fn may_be_in_file(about: &About) -> bool {
    about.secret && !matches!(about.effect, Effect::Never(_))
}
