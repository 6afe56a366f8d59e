//! What the control socket answers, for `hanok status` and its siblings.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Whether new sessions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(
    tag = "state",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Drain {
    /// They are.
    #[default]
    Running,
    /// They are refused; the process ends with the last session.
    Draining {
        /// When it ends at the latest, in seconds since the epoch.
        until: u64,
    },
    /// The last session has ended, or the deadline has passed: the process is ending.
    Drained,
}

/// What a drain waits for, as `hanok drain` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draining {
    /// How far it is.
    #[serde(flatten)]
    pub drain: Drain,
    /// Sessions that exist.
    pub sessions: usize,
    /// Those of them that somebody is in.
    pub occupied: usize,
}

/// Why something asked for did not happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// For the operator.
    pub message: String,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reload {
    /// The file that was read; none if only the process environment counts.
    pub file: Option<PathBuf>,
    /// Why everything stays as it was; empty if the new values count.
    pub problems: Vec<String>,
    /// Keys whose new values count.
    pub changed: Vec<String>,
    /// Keys whose new values count from the next start on.
    pub at_next_start: Vec<String>,
    /// What the operator should know beside.
    pub warnings: Vec<String>,
}

/// The daemon as it is at the moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Our version.
    pub version: String,
    /// The OpenVidu release that clients are told.
    pub openvidu: String,
    /// The process.
    pub pid: u32,
    /// Since when it runs, in seconds since the epoch.
    pub started_at: u64,
    /// For how long.
    pub uptime_secs: u64,
    /// Where browsers find it.
    pub url: String,
    /// The configuration file that was read; none if only the process environment counts.
    pub file: Option<PathBuf>,
    /// Whether new sessions are taken.
    pub drain: Drain,
    /// What is listened on.
    pub listeners: Vec<Listener>,
    /// What HTTPS and TURN over TLS serve; none if it cannot be read.
    pub certificate: Option<Certificate>,
    /// Sessions that exist.
    pub sessions: usize,
    /// Participants in them, hidden ones included.
    pub connections: usize,
    /// Streams that are published.
    pub streams: usize,
    /// Streams that are received.
    pub subscriptions: usize,
    /// WebSockets that are open.
    pub sockets: usize,
    /// TURN allocations that live; unknown if the media threads do not answer.
    pub allocations: Option<usize>,
    /// The media threads.
    pub workers: Vec<Worker>,
    /// What the operator should know, worst first.
    pub findings: Vec<Finding>,
}

/// A port that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    /// What for.
    pub purpose: String,
    /// `tcp`, `udp` or `udp+tcp`.
    pub protocol: String,
    /// The address, or addresses, with the port.
    pub address: String,
}

/// The certificate that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Where it comes from, in the words of `CERTIFICATE_TYPE`.
    pub source: String,
    /// For what names it is good.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// When it ends, in seconds since the epoch.
    pub not_after: u64,
    /// Whether browsers accept it without asking.
    pub is_trusted: bool,
}

/// The load of one media thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Its number.
    pub index: usize,
    /// How much of the last moment it was not asleep, in percent.
    pub busy_percent: f64,
    /// Sessions that live on it.
    pub rooms: u64,
    /// Their ICE, DTLS and SRTP associations.
    pub transports: u64,
    /// TCP connections for media.
    pub streams: u64,
    /// TCP and TLS connections of TURN clients.
    pub turn_streams: u64,
    /// Sockets towards foreign peers of TURN clients.
    pub relay_sockets: u64,
    /// Datagrams received since the start.
    pub received: u64,
    /// Datagrams sent since the start.
    pub sent: u64,
    /// Datagrams that the kernel did not take.
    pub send_dropped: u64,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Something does not work: the exit status of `hanok status` is 1.
    Problem,
    /// Something to act upon; calls work.
    Warning,
}

/// Something the operator should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, and what to do about it.
    pub text: String,
}

/// Whether the daemon works, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// It does.
    pub is_healthy: bool,
    /// Why, or why not.
    pub text: String,
}

/// A session in short.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id.
    pub id: String,
    /// When it was made, in milliseconds since the epoch.
    pub created_at: u64,
    /// Participants, hidden ones included.
    pub connections: usize,
    /// Streams that are published.
    pub streams: usize,
    /// Streams that are received.
    pub subscriptions: usize,
    /// Tokens that nobody has used.
    pub pending: usize,
}
