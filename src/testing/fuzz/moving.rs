//! Files of an OpenVidu installation that somebody else has edited.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{dotenv, validate};
use crate::migration::containers::Deployment;
use crate::migration::locations::{Kind, read};
use crate::migration::{compose as yaml, env_file};

/// A file of `custom-nginx-locations` or `custom-nginx-vhosts`: what becomes of it is a value that hanok reads.
pub fn nginx(bytes: &[u8]) {
    let mounts = [("/srv/site".to_owned(), "/home/me/site".to_owned())];
    for kind in [Kind::Locations, Kind::VirtualHosts] {
        let read = read([(kind, Path::new("my.conf"), bytes)], &mounts);
        let routes = validate::routes(&read.value());
        assert!(routes.is_ok_and(|routes| routes.len() == read.routes.len()));
        assert!(
            read.notes
                .iter()
                .all(|note| note.place.starts_with("my.conf"))
        );
        assert!(read.routes.iter().all(|route| route.path.starts_with('/')));
    }
}

/// A compose file: what is not understood is told by its line, and the rest is a deployment.
pub fn compose(bytes: &[u8]) {
    let Ok(document) = yaml::parse(bytes) else {
        return;
    };
    let lines = bytes.split(|byte| *byte == b'\n').count();
    assert!(
        document
            .unread
            .iter()
            .all(|line| (1..=lines).contains(line))
    );
    let variables = BTreeMap::from([("COTURN_PORT".to_owned(), "3478".to_owned())]);
    let files = [
        ("a.yml".to_owned(), document.clone()),
        ("b.yml".to_owned(), document),
    ];
    let deployment = Deployment::new(&files, &variables);
    assert_eq!(deployment.added().count(), 0, "the first file has them all");
    for service in deployment.services.values() {
        assert!(
            service
                .ports
                .iter()
                .all(|port| 0 < port.first && port.first <= port.last)
        );
    }
}

/// A `.env` file that is carried over has no line that hanok cannot read.
pub(super) fn carried(bytes: &[u8]) {
    let carried = env_file::carry(".env", bytes);
    assert!(dotenv::parse(carried.text.as_bytes()).faults.is_empty());
}
