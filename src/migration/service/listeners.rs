//! Who has the ports that hanok will need.

use std::fs;
use std::path::Path;

use crate::config::Config;
use crate::config::values::Front;

/// One line for each port that somebody listens on, such as `443/tcp: nginx (pid 1)`.
pub(super) fn of(config: &Config) -> Vec<String> {
    let front = [Some(config.web.https_port), config.web.http_port];
    let front = front
        .into_iter()
        .flatten()
        .filter(|_| config.web.front == Front::On);
    let plain = config.web.plain.map(|listen| listen.port);
    let turn = config.turn.port;
    let ports = front.chain(plain).map(|port| ("tcp", port));
    ports
        .chain([("tcp", turn), ("udp", turn)])
        .filter_map(|(protocol, port)| {
            let inode = inode(protocol, port)?;
            let owner = owner(inode).unwrap_or_else(|| "somebody".to_owned());
            Some(format!("{port}/{protocol}: {owner} has it"))
        })
        .collect()
}

/// The socket that waits on a port.
fn inode(protocol: &str, port: u16) -> Option<u64> {
    ["", "6"].into_iter().find_map(|version| {
        let table = fs::read_to_string(format!("/proc/net/{protocol}{version}")).ok()?;
        table
            .lines()
            .skip(1)
            .find_map(|line| waiting(line, protocol, port))
    })
}

/// The inode of a line of `/proc/net/{tcp,udp}` that is a socket waiting on `port`.
fn waiting(line: &str, protocol: &str, port: u16) -> Option<u64> {
    const TCP_LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let local_port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
    (local_port == port && (protocol == "udp" || state == TCP_LISTEN))
        .then(|| inode.parse().ok())?
}

/// Whose socket it is; `None` if that cannot be seen, as for others' processes without root.
fn owner(inode: u64) -> Option<String> {
    let socket = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let holds =
            |fd: fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|to| to == Path::new(&socket));
        let has = fs::read_dir(entry.path().join("fd"))
            .ok()?
            .flatten()
            .any(holds);
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        has.then(|| format!("{} (pid {pid})", name.trim()))
    })
}
