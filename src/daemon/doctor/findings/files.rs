//! Who may open files with secrets, and whether the daemon may.

use std::path::Path;

use crate::daemon::doctor::facts::{Facts, File, Owner, Role, User};
use crate::views::finding::Finding;

const TOPIC: &str = "files";

/// The bits of `chmod`, for the owner; the group's are three lower, everybody's six.
const READ: u32 = 0o400;
const WRITE: u32 = 0o200;
const ENTER: u32 = 0o100;

pub(super) fn judge(facts: &Facts, found: &mut Vec<Finding>) {
    let before = found.len();
    let user = &facts.files.user;
    for file in &facts.files.found {
        found.extend(too_open(file, user));
        found.extend(too_closed(file, user));
    }
    if found.len() == before {
        let count = facts.files.found.len();
        found.push(match count {
            0 => Finding::unknown(TOPIC, "there are none yet that this user may see"),
            _ => Finding::ok(
                TOPIC,
                format!(
                    "{} may use all {count} that matter, and others none that is secret",
                    user.name
                ),
            ),
        });
    }
}

/// A secret that others may get at.
fn too_open(file: &File, user: &User) -> Option<Finding> {
    let mode = file.owner.mode;
    let (is_secret, what) = match file.role {
        Role::Configuration(has_secrets) => (has_secrets, "secrets stand in it"),
        Role::Secret => (true, "it holds a secret"),
        Role::PrivateKey => (true, "it holds the certificate's private key"),
        Role::StateSecret => (true, "hanok keeps a secret in it"),
        Role::State => (true, "hanok keeps secrets in it"),
        Role::Certificate => (false, ""),
    };
    let path = file.path.display();
    if mode & 0o022 & !0o020 != 0 || (mode & 0o020 != 0 && is_secret) {
        return Some(
            Finding::warning(
                TOPIC,
                format!("others may change {path} (mode {mode:04o})"),
                "whoever does decides what hanok does",
            )
            .fix(format!("chmod go-w {path}")),
        );
    }
    let is_open = is_secret && mode & 0o007 != 0;
    // What lies in a closed folder is closed.
    let is_reachable = file
        .above
        .iter()
        .all(|(_, folder)| folder.mode & 0o001 != 0);
    (is_open && is_reachable).then(|| {
        let wanted = match file.role {
            Role::State => "700",
            Role::StateSecret => "600",
            Role::Configuration(_) | Role::Secret | Role::PrivateKey | Role::Certificate => "640",
        };
        let mut finding = Finding::warning(
            TOPIC,
            format!("everybody on this machine may read {path} (mode {mode:04o})"),
            what,
        );
        if wanted == "640" && user.uid != 0 && user.uid != file.owner.uid {
            finding = finding.fix(format!("chgrp {} {path}", user.name));
        }
        finding.fix(format!("chmod {wanted} {path}"))
    })
}

/// What the daemon needs and may not have.
fn too_closed(file: &File, user: &User) -> Option<Finding> {
    let why = match file.role {
        Role::Configuration(_) => "hanok cannot start",
        Role::Secret => "hanok cannot start without the secret in it",
        Role::PrivateKey | Role::Certificate => "hanok cannot start without the certificate",
        Role::State => "hanok cannot keep certificates and secrets, and does not start",
        Role::StateSecret => "hanok cannot use what it has kept there",
    };
    let path = file.path.display();
    if let Some((folder, _)) = file
        .above
        .iter()
        .find(|(_, owner)| !may(user, *owner, ENTER))
    {
        return Some(
            Finding::error(
                TOPIC,
                format!(
                    "{} may not enter {}, where {path} lies",
                    user.name,
                    folder.display()
                ),
                why,
            )
            .fix(way_in(&file.path, folder, file.role, user)),
        );
    }
    let wanted = match file.role {
        Role::State => READ | WRITE | ENTER,
        Role::StateSecret => READ | WRITE,
        Role::Configuration(_) | Role::Secret | Role::PrivateKey | Role::Certificate => READ,
    };
    if [READ, WRITE, ENTER]
        .into_iter()
        .all(|bit| wanted & bit == 0 || may(user, file.owner, bit))
    {
        return None;
    }
    let finding = Finding::error(TOPIC, format!("{} may not open {path}", user.name), why);
    Some(match file.role {
        Role::State | Role::StateSecret => {
            finding.fix(format!("chown -R {0}:{0} {path}", user.name))
        }
        Role::Configuration(_) | Role::Secret | Role::PrivateKey | Role::Certificate => {
            finding.fix(format!("chgrp {} {path} && chmod 640 {path}", user.name))
        }
    })
}

fn way_in(path: &Path, folder: &Path, role: Role, user: &User) -> String {
    match role {
        Role::PrivateKey | Role::Secret => format!(
            "systemctl edit hanok  # [Service] LoadCredential=NAME:{}, and /run/credentials/hanok.service/NAME in the .env \
             file",
            path.display()
        ),
        Role::Configuration(_) | Role::Certificate | Role::State | Role::StateSecret => {
            format!("chgrp {} {1} && chmod g+x {1}", user.name, folder.display())
        }
    }
}

/// Whether a user may, by the permission bits alone: the first that fits counts, as in the kernel.
fn may(user: &User, owner: Owner, bit: u32) -> bool {
    let shift = if user.uid == 0 {
        return true;
    } else if user.uid == owner.uid {
        0
    } else if user.groups.contains(&owner.gid) {
        3
    } else {
        6
    };
    owner.mode & (bit >> shift) != 0
}
