//! Unknown names: which key somebody may have meant, and which names are nobody's business here.
//!
//! A `.env` file is often shared with the application, whose keys are its own. So a name is worth a word only if it
//! is a slip of the pen away from a key, or begins as only keys of OpenVidu and hanok do.

use crate::config::keys;

/// How names begin that only OpenVidu and hanok use.
const OURS: [&str; 9] = [
    "OPENVIDU_",
    "HANOK_",
    "COTURN_",
    "CERTIFICATE_",
    "LETSENCRYPT_",
    "ALLOWED_ACCESS_",
    "MEDIA_NODES_",
    "DOMAIN_OR_",
    "OV_CE_",
];

/// No key is longer, and nobody mistypes a key to twice its length.
const LONGEST: usize = 64;

/// Below this nearly every name is near to some other one.
const SHORTEST: usize = 6;

/// Whether `name` begins as only keys of OpenVidu and hanok do.
pub(super) fn is_ours(name: &str) -> bool {
    let name = as_key(name);
    OURS.iter().any(|prefix| name.starts_with(prefix))
}

/// The key that was meant by `name`, if it is clear enough to be named.
pub(super) fn nearest(name: &str) -> Option<String> {
    if !(SHORTEST..=LONGEST).contains(&name.len()) {
        return None;
    }
    // Others' names come close by accident.
    let errors = name.len() / if is_ours(name) { 5 } else { 8 };
    let name = as_key(name);
    let near = names()
        .map(|key| (distance(&name, &key), key))
        .filter(|(distance, _)| *distance <= errors.max(1))
        .min()
        .map(|(_, key)| key);
    near.or_else(|| beginning(&name))
}

/// The one key that begins with the words of `name`.
fn beginning(name: &str) -> Option<String> {
    if !is_ours(name) {
        return None;
    }
    let begin = format!("{name}_");
    let mut found = keys::all()
        .map(|key| key.about().name)
        .filter(|key| key.starts_with(&begin));
    let only = found.next()?;
    found.next().is_none().then(|| only.to_owned())
}

/// Every name that may stand in a file.
fn names() -> impl Iterator<Item = String> {
    keys::all().flat_map(|key| {
        let about = key.about();
        let file = keys::may_be_in_file(about).then(|| keys::file_name(about));
        std::iter::once(about.name.to_owned()).chain(file)
    })
}

/// As keys are written.
fn as_key(name: &str) -> String {
    name.replace(['-', '.', ' '], "_").to_uppercase()
}

/// How many letters have to be added, left out, changed or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1; right.len() + 1];
        for (column, b) in right.iter().enumerate() {
            let changed = last[column] + usize::from(a != b);
            let added = current[column] + 1;
            let left_out = last[column + 1] + 1;
            let mut least = changed.min(added).min(left_out);
            let is_swapped = row > 0
                && column > 0
                && left.get(row - 1) == Some(b)
                && right.get(column - 1) == Some(a);
            if is_swapped {
                least = least.min(before_last[column - 1] + 1);
            }
            current[column + 1] = least;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        for (name, key) in [
            ("OPENVIDU_SECRETS", "OPENVIDU_SECRET"),
            ("OPENVIDU_SERCET", "OPENVIDU_SECRET"),
            ("openvidu_secret", "OPENVIDU_SECRET"),
            ("OPENVIDU-SECRET", "OPENVIDU_SECRET"),
            ("OPENVIDU_SECRET_FIEL", "OPENVIDU_SECRET_FILE"),
            ("DOMAIN_OR_PUBLICIP", "DOMAIN_OR_PUBLIC_IP"),
            ("CERTIFICATE_TYP", "CERTIFICATE_TYPE"),
            ("CERTIFICAT_TYPE", "CERTIFICATE_TYPE"),
            ("LETSENCRYPT_MAIL", "LETSENCRYPT_EMAIL"),
            ("LETENCRYPT_EMAIL", "LETSENCRYPT_EMAIL"),
            ("COTURN_SHARED_SECRET", "COTURN_SHARED_SECRET_KEY"),
            ("HANOK_STATE", "HANOK_STATE_DIR"),
            ("HANOK_WORKER", "HANOK_WORKERS"),
            ("HTTP_PROT", "HTTP_PORT"),
            ("HTTPS.PORT", "HTTPS_PORT"),
            ("ALLOWED_ACCESS_TO_REST", "ALLOWED_ACCESS_TO_RESTAPI"),
        ] {
            assert_eq!(nearest(name).as_deref(), Some(key), "{name}");
        }
    }

    #[test]
    fn an_applications_own_names_are_left_alone() {
        for name in [
            "PORT",
            "HOST",
            "DB_PASSWORD",
            "DATABASE_URL",
            "SPRING_PROFILES_ACTIVE",
            "NODE_ENV",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "HTTP_HOST",
            "SERVER_HOST",
            "SERVER_NAME",
            "JWT_SECRET",
            "TZ",
            "REDIS_PORT",
            "LOG_LEVEL",
        ] {
            assert_eq!(nearest(name), None, "{name}");
            assert!(!is_ours(name), "{name}");
        }
        // Ours by its beginning, and near to nothing.
        assert!(is_ours("HANOK_COFFEE") && nearest("HANOK_COFFEE").is_none());
        assert_eq!(nearest("HANOK_MEDIA"), None, "two keys begin so");
        assert_eq!(nearest(&"HANOK_LOG".repeat(1_000)), None);
    }

    #[test]
    fn a_distance_counts_slips() {
        for (left, right, slips) in [
            ("", "", 0),
            ("ABC", "", 3),
            ("ABC", "ABC", 0),
            ("ABC", "ACB", 1),
            ("ABC", "ABXC", 1),
            ("ABC", "AB", 1),
            ("ABC", "AXC", 1),
            ("KITTEN", "SITTING", 3),
        ] {
            assert_eq!(distance(left, right), slips, "{left} {right}");
        }
    }

    proptest! {
        #[test]
        fn distances_are_symmetric_and_bounded(left in "[A-D]{0,9}", right in "[A-D]{0,9}") {
            let slips = distance(&left, &right);
            prop_assert_eq!(slips, distance(&right, &left));
            prop_assert!(slips <= left.len().max(right.len()));
            prop_assert_eq!(slips == 0, left == right);
        }

        #[test]
        fn any_name_is_looked_at_without_a_panic(name in "\\PC{0,80}") {
            let _ = nearest(&name);
        }
    }
}
