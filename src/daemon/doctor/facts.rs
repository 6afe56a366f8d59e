//! What the probes found out: values, from which [`findings`](super::findings) are computed.

use std::net::IpAddr;
use std::path::PathBuf;

use super::dns::{Caa, DnsError};
use super::firewall::Filter;
use crate::config::ports::Need;
use crate::front::proxy::certificate::service::command::Status;
use crate::host::port_owner::{Process, Waiting};
use crate::media::net::addresses::Addresses;
use crate::units::PortRange;

/// Everything that was found out about this machine, and about what others see of it.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) names: Names,
    pub(super) place: Place,
    pub(super) needs: Vec<Need>,
    /// Media threads.
    pub(super) workers: usize,
    /// The sockets that wait on ports which this configuration needs, and who holds them.
    pub(super) sockets: Vec<(Waiting, Vec<Process>)>,
    /// The daemon that runs with this configuration, as far as can be seen.
    pub(super) daemon: Option<Process>,
    pub(super) is_root: bool,
    pub(super) files: Files,
    pub(super) clock: Clock,
    pub(super) kernel: Kernel,
    pub(super) disk: Option<Disk>,
    pub(super) firewall: Result<Vec<Filter>, String>,
    /// `None` where there is no state folder that lasts.
    pub(super) certificate: Option<Status>,
    /// Whether the file that [`Status`] names is there.
    pub(super) has_certificate_file: bool,
}

/// What DNS says of the domain.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) v4: Result<Vec<IpAddr>, DnsError>,
    pub(super) v6: Result<Vec<IpAddr>, DnsError>,
    /// The CAA records that count for the domain.
    pub(super) caa: Result<Vec<Caa>, DnsError>,
    /// What this machine's own resolver says, `/etc/hosts` included.
    pub(super) here: Vec<IpAddr>,
}

/// Where this machine is.
#[derive(Debug)]
pub(super) struct Place {
    /// Its lasting unicast addresses, those of bridges and container networks left out.
    pub(super) own: Vec<IpAddr>,
    /// What clients are told as candidates.
    pub(super) told: Addresses,
    /// By which addresses others reach it, as STUN servers say: IPv4, IPv6.
    pub(super) public: [Option<IpAddr>; 2],
    /// Whether STUN servers were asked.
    pub(super) was_asked: bool,
    /// Whether there is a way out for IPv6.
    pub(super) has_v6_route: bool,
}

/// Files with secrets, and who may open them.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) found: Vec<File>,
    /// As whom the daemon runs.
    pub(super) user: User,
}

/// A file or folder.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) role: Role,
    pub(super) owner: Owner,
    /// The folders above it, the nearest first.
    pub(super) above: Vec<(PathBuf, Owner)>,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The `.env` file; `true` if secrets stand in it.
    Configuration(bool),
    /// A secret's own file.
    Secret,
    /// The private key of `CERTIFICATE_TYPE=owncert`.
    PrivateKey,
    /// Its certificate.
    Certificate,
    /// `HANOK_STATE_DIR`.
    State,
    /// A file in it that holds a secret.
    StateSecret,
}

/// Who owns a file, and what the others may do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A user and the groups that it is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) groups: Vec<u32>,
}

/// This machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clock {
    /// How far it is ahead of the time servers', in milliseconds.
    pub(super) ahead_ms: Option<i64>,
    /// Whether the system says that something keeps it right.
    pub(super) is_kept: Option<bool>,
}

/// What the kernel grants.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    /// File descriptors, of the daemon that runs, else of this process.
    pub(super) descriptors: Option<u64>,
    /// `net.core.rmem_max` and `wmem_max`.
    pub(super) buffers: [Option<u64>; 2],
    /// `net.ipv4.ip_local_port_range`.
    pub(super) ephemeral: Option<PortRange>,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub(super) reserved: Vec<PortRange>,
    /// Whether UDP datagrams can be sent in runs (GSO).
    pub(super) sends_runs: Option<bool>,
}

/// The file system of the state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// The state folder, or the nearest folder above it that exists.
    pub(super) path: PathBuf,
    /// Bytes that are free for users that are not root.
    pub(super) free: u64,
    /// Files that can be made; `None` where the file system does not count them.
    pub(super) files: Option<u64>,
    pub(super) is_read_only: bool,
}
