//! The user of the service, in `/etc/passwd` and `/etc/group`.

use std::fs;

/// A user with all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Its own group among them.
    pub(super) groups: Vec<u32>,
}

/// The user with this name, if this machine has one.
pub(super) fn find(name: &str) -> Option<Account> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    read(name, &users, &groups)
}

fn read(name: &str, users: &str, groups: &str) -> Option<Account> {
    let (uid, gid) = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        Some((uid, fields.next()?.parse().ok()?))
    })?;
    let others = groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let gid = fields.nth(2)?.parse().ok()?;
        let has = fields.next()?.split(',').any(|member| member == name);
        has.then_some(gid)
    });
    Some(Account {
        uid,
        gid,
        groups: std::iter::once(gid).chain(others).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_all_groups_or_not_at_all() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\nhanok:x:990:991::/:/usr/sbin/nologin\ndamaged:x\n";
        let groups = "root:x:0:\nhanok:x:991:\nssl-cert:x:115:me,hanok\nother:x:116:hanok2\n";
        let found = read("hanok", users, groups).unwrap();
        let expected = Account {
            uid: 990,
            gid: 991,
            groups: vec![991, 115],
        };
        assert_eq!(found, expected);
        for name in ["nobody", "damaged", ""] {
            assert_eq!(read(name, users, groups), None);
        }
    }
}
