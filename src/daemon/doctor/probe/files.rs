//! Files with secrets, whose they are, and as whom the daemon runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::state_folder;
use crate::config::settings::{Certificate, TURN_SECRET_FILE};
use crate::config::{Config, Loaded, keys};
use crate::daemon::doctor::facts::{File, Files, Owner, Role, User};
use crate::host::port_owner::Process;

/// The user that packages make.
const SERVICE_USER: &str = "hanok";

/// More files than the state folder has beside each other.
const MOST_FILES: usize = 64;

pub(super) fn look(loaded: &Loaded, daemon: Option<&Process>) -> Files {
    let mut paths = named(loaded);
    paths.extend(kept(&loaded.config));
    Files {
        found: paths.into_iter().filter_map(file).collect(),
        user: user(daemon),
    }
}

/// What the configuration names.
fn named(loaded: &Loaded) -> Vec<(PathBuf, Role)> {
    let secrets = || {
        let secret = |name: &str| keys::find(name).is_some_and(|key| key.about().secret);
        let set = loaded.effective.iter().filter(move |key| secret(key.name));
        set.filter(|key| key.value.as_ref().is_some_and(|value| !value.is_empty()))
            .filter_map(|key| key.origin.as_deref())
    };
    let mut paths = Vec::new();
    if let Some(file) = &loaded.config.file {
        let line = format!("{}:", file.display());
        let has_secrets = secrets().any(|origin| origin.starts_with(&line));
        paths.push((file.clone(), Role::Configuration(has_secrets)));
    }
    let own = secrets().map(Path::new).filter(|path| path.is_file());
    paths.extend(own.map(|path| (path.to_owned(), Role::Secret)));
    if let Certificate::Own { certificate, key } = &loaded.config.web.certificate {
        paths.push((certificate.clone(), Role::Certificate));
        paths.push((key.clone(), Role::PrivateKey));
    }
    paths
}

/// What the daemon has made for itself.
fn kept(config: &Config) -> Vec<(PathBuf, Role)> {
    let Some(state) = state_folder(config) else {
        return Vec::new();
    };
    let mut paths = vec![(state.to_owned(), Role::State)];
    for name in [TURN_SECRET_FILE, "self-signed.pem"] {
        paths.push((state.join(name), Role::StateSecret));
    }
    let acme = fs::read_dir(state.join("acme")).into_iter().flatten();
    let files = acme.flatten().map(|entry| entry.path());
    let files = files.filter(|path| path.is_file()).take(MOST_FILES);
    paths.extend(files.map(|path| (path, Role::StateSecret)));
    paths
}

/// What is there; nothing for what is not, or may not be seen.
fn file((path, role): (PathBuf, Role)) -> Option<File> {
    // The way there is that of the file itself, not of a link to it.
    let path = fs::canonicalize(&path).unwrap_or(path);
    let owner = owner(&path)?;
    let above = path.ancestors().skip(1);
    let above = above.filter_map(|folder| Some((folder.to_owned(), self::owner(folder)?)));
    Some(File {
        above: above.collect(),
        path,
        role,
        owner,
    })
}

fn owner(path: &Path) -> Option<Owner> {
    let found = fs::metadata(path).ok()?;
    Some(Owner {
        mode: found.mode() & 0o7777,
        uid: found.uid(),
        gid: found.gid(),
    })
}

/// As whom the daemon runs: as the one that does, else as the packages' user, else as whoever asks.
fn user(daemon: Option<&Process>) -> User {
    let running = daemon.and_then(|daemon| {
        let status = fs::metadata(format!("/proc/{}", daemon.pid)).ok()?;
        Some(status.uid())
    });
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let own = rustix::process::geteuid().as_raw();
    let wanted = match running {
        Some(uid) => find_user(&users, |_, other| other == uid),
        None if own == 0 => find_user(&users, |name, _| name == SERVICE_USER)
            .or_else(|| find_user(&users, |_, other| other == own)),
        None => find_user(&users, |_, other| other == own),
    };
    let Some((name, uid, gid)) = wanted else {
        let uid = running.unwrap_or(own);
        return User {
            name: uid.to_string(),
            uid,
            groups: Vec::new(),
        };
    };
    let mut member_of = vec![gid];
    member_of.extend(groups_of(&groups, &name));
    User {
        name,
        uid,
        groups: member_of,
    }
}

/// The first line of `/etc/passwd` (passwd(5)) with such a name and number: name, number, group.
fn find_user(users: &str, fits: impl Fn(&str, u32) -> bool) -> Option<(String, u32, u32)> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else {
            return None;
        };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        fits(name, uid).then(|| ((*name).to_owned(), uid, gid))
    })
}

/// The groups of `/etc/group` (group(5)) that list `user` as a member.
fn groups_of(groups: &str, user: &str) -> Vec<u32> {
    let group = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields.as_slice() else {
            return None;
        };
        let is_member = members.split(',').any(|member| member == user);
        gid.parse().ok().filter(|_| is_member)
    };
    groups.lines().filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_their_groups_are_read() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbad line\nhanok:x:990:991::/var/lib/hanok:/sbin/nologin\n";
        let hanok = ("hanok".to_owned(), 990, 991);
        assert_eq!(
            find_user(users, |name, _| name == "hanok"),
            Some(hanok.clone())
        );
        assert_eq!(find_user(users, |_, uid| uid == 990), Some(hanok));
        assert_eq!(find_user(users, |_, uid| uid == 5), None);
        let groups = "root:x:0:\nssl-cert:x:110:other,hanok\nhanokx:x:111:hanokx\nbad\n";
        assert_eq!(groups_of(groups, "hanok"), [110]);
    }

    #[test]
    fn a_file_is_told_with_the_folders_above_it_and_behind_links() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        fs::create_dir(&real).unwrap();
        fs::write(real.join("key"), "").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(real.join("key"), &link).unwrap();
        let found = file((link, Role::PrivateKey)).unwrap();
        assert!(found.path.ends_with("real/key"));
        assert!(found.above[0].0.ends_with("real"));
        assert_eq!(found.above.last().unwrap().0, Path::new("/"));
        assert!(file((folder.path().join("none"), Role::Secret)).is_none());
    }
}
