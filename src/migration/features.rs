//! Keys of the paid editions that are in use, and what follows from that. What every other key means here, the
//! configuration says by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::env_file::Carried;
use super::report::{Class, Note};

/// Prefixes of such keys; the first that fits counts.
const FEATURES: [(&str, Class, &str); 14] = [
    (
        "OPENVIDU_PRO_LICENSE",
        Class::Kept,
        "no licence is needed: what the paid editions have is on, as far as hanok has it",
    ),
    (
        "OPENVIDU_PRO_CLUSTER",
        Class::Loss,
        "hanok is one process on this machine: it uses no media nodes and needs no autoscaling",
    ),
    (
        "OPENVIDU_PRO_MEDIA_NODE",
        Class::Loss,
        "hanok is one process on this machine: it uses no media nodes and needs no autoscaling",
    ),
    (
        "OPENVIDU_PRO_COTURN",
        Class::Change,
        "TURN is a part of hanok: COTURN_PORT, and turns: on the HTTPS port",
    ),
    ("OPENVIDU_PRO_ELASTICSEARCH", Class::Loss, ELASTIC),
    ("OPENVIDU_PRO_KIBANA", Class::Loss, ELASTIC),
    ("OPENVIDU_PRO_STATS", Class::Loss, ELASTIC),
    ("ELASTICSEARCH_", Class::Loss, ELASTIC),
    ("OPENVIDU_PRO_RECORDING_STORAGE", Class::Loss, S3),
    ("OPENVIDU_PRO_AWS", Class::Loss, S3),
    (
        "OPENVIDU_PRO_NETWORK_QUALITY",
        Class::Kept,
        "clients are told networkQualityLevelChanged here, too",
    ),
    (
        "OPENVIDU_PRO_SPEECH_TO_TEXT",
        Class::Loss,
        "hanok has no speech to text",
    ),
    (
        "OPENVIDU_ENTERPRISE_MEDIA_SERVER",
        Class::Action,
        "if clients rely on what mediasoup did (the server offers, no codec is forced), add HANOK_SUBSCRIBE_OFFER=server",
    ),
    (
        "OPENVIDU_ENTERPRISE_",
        Class::Loss,
        "hanok is one process on this machine, without a second master",
    ),
];

const ELASTIC: &str = "nothing is sent to Elasticsearch: what it holds stays in its folder, and Prometheus reads new \
                       figures at HANOK_ADMIN_LISTEN";
const S3: &str =
    "recordings are not kept in S3: what is there stays there, and hanok does not serve it";

/// Values that say "no", so that nothing is lost.
const OFF: [&str; 6] = ["", "false", "none", "disabled", "local", "[]"];

/// Whether [`notes`] speaks of this key.
pub fn is_known(key: &str) -> bool {
    FEATURES.iter().any(|(prefix, ..)| key.starts_with(prefix))
}

/// One note for each group of keys that are in use.
pub fn notes(carried: &Carried) -> Vec<Note> {
    let mut groups: BTreeMap<(Class, &str), BTreeSet<&str>> = BTreeMap::new();
    for (key, value) in &carried.values {
        let found = FEATURES.iter().find(|(prefix, ..)| key.starts_with(prefix));
        if let Some((_, class, text)) = found
            && !OFF.iter().any(|off| value.eq_ignore_ascii_case(off))
        {
            groups.entry((*class, *text)).or_default().insert(key);
        }
    }
    groups
        .into_iter()
        .map(|((class, text), keys)| {
            let keys: Vec<_> = keys.into_iter().collect();
            Note {
                class,
                place: keys.join(", "),
                text: text.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::env_file::carry;
    use super::*;

    #[test]
    fn what_is_in_use_is_named_in_groups_and_what_is_off_is_not() {
        let file = b"OPENVIDU_PRO_LICENSE=abc-hush\nOPENVIDU_PRO_CLUSTER_MODE=manual\nOPENVIDU_PRO_CLUSTER_AUTOSCALING=false\n\
            OPENVIDU_PRO_ELASTICSEARCH=true\nELASTICSEARCH_USERNAME=elasticadmin\nOPENVIDU_PRO_SPEECH_TO_TEXT=disabled\n\
            OPENVIDU_SECRET=x\nMY_OWN=1\nOPENVIDU_PRO_RECORDING_STORAGE=local\n";
        let notes = notes(&carry(".env", file));
        let places: Vec<_> = notes.iter().map(|note| note.place.as_str()).collect();
        assert_eq!(
            places,
            [
                "OPENVIDU_PRO_LICENSE",
                "OPENVIDU_PRO_CLUSTER_MODE",
                "ELASTICSEARCH_USERNAME, OPENVIDU_PRO_ELASTICSEARCH",
            ]
        );
        assert!(notes.iter().all(|note| !note.text.contains("hush")));
        assert!(is_known("OPENVIDU_PRO_AWS_S3_BUCKET") && !is_known("OPENVIDU_SECRET"));
    }
}
