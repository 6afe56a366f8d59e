//! The types of validated values.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::units::Secret;
pub use crate::units::{CipherList, ForcedVideoCodec, LogFormat, SubscribeOffer};

/// A host as configured: an address or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A literal IP address.
    Address(IpAddr),
    /// A name, in lower case.
    Name(String),
}

impl Host {
    /// The host as it stands in a URL: IPv6 in brackets.
    pub fn in_url(&self) -> String {
        match self {
            Self::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Self::Address(IpAddr::V4(_)) | Self::Name(_) => self.to_string(),
        }
    }

    /// The literal address, if it is one.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(_) => None,
        }
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Address(_) => None,
            Self::Name(name) => Some(name),
        }
    }
}

impl fmt::Display for Host {
    /// The bare host, IPv6 without brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `CERTIFICATE_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CertificateType {
    /// Made by ourselves.
    #[default]
    SelfSigned,
    /// From two PEM files.
    OwnCert,
    /// From Let's Encrypt.
    LetsEncrypt,
}

/// `OPENVIDU_RECORDING_NOTIFICATION`: who is told that a recording started or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordingNotification {
    /// Nobody.
    None,
    /// Moderators.
    Moderator,
    /// Publishers and moderators.
    #[default]
    PublisherModerator,
    /// Everybody.
    All,
}

impl RecordingNotification {
    /// The word in `.env` and REST.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Moderator => "moderator",
            Self::PublisherModerator => "publisher_moderator",
            Self::All => "all",
        }
    }
}

/// `COTURN_IP`: what clients are told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CoturnIp {
    /// Empty: the domain if there is one, else an address of ours.
    #[default]
    Auto,
    /// `auto-ipv4`: the same, IPv4 where it must be an address.
    AutoIpv4,
    /// `auto-ipv6`: the same, IPv6 where it must be an address.
    AutoIpv6,
    /// As written.
    Host(Host),
}

/// `PROXY_PUBLIC_IP`: this machine's public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PublicIp {
    /// `auto-ipv4`.
    #[default]
    AutoIpv4,
    /// `auto-ipv6`.
    AutoIpv6,
    /// As written.
    Address(IpAddr),
}

/// A server of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name or address.
    pub host: Host,
    /// Its port, never 0.
    pub port: u16,
}

/// One pair of `MEDIA_NODES_PUBLIC_IPS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaNode {
    /// The address on the machine.
    pub private: Host,
    /// The address that clients reach.
    pub public: Host,
}

/// `HANOK_FRONT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Front {
    /// Bind the HTTPS and HTTP ports.
    #[default]
    On,
    /// Bind neither: the users keep their own proxy.
    Off,
}

/// `HANOK_CALL_OPEN`: who may open rooms on the call page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallOpen {
    /// Everybody.
    Open,
    /// Who knows the secret.
    #[default]
    Secret,
    /// Nobody: there is no call page.
    Off,
}

/// A listening address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address; `None` means the addresses of `HANOK_BIND`.
    pub address: Option<IpAddr>,
    /// The port, never 0.
    pub port: u16,
}

impl Listen {
    /// The socket addresses: the address that was given, else each of `bind` (`HANOK_BIND`).
    pub fn socket_addrs(self, bind: &[IpAddr]) -> Vec<SocketAddr> {
        let addresses = self.address.as_ref().map_or(bind, std::slice::from_ref);
        addresses
            .iter()
            .map(|address| SocketAddr::new(*address, self.port))
            .collect()
    }
}

/// `HANOK_APP_UPSTREAM`: where `/` goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AppUpstream {
    /// OpenVidu's place for the application once it has ever answered, until then the call page.
    #[default]
    Auto,
    /// Nowhere: 404.
    None,
    /// This origin.
    Url(String),
}

/// One pair of `HANOK_PROXY_ROUTES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The path prefix, beginning with `/`.
    pub path: String,
    /// Where it goes.
    pub target: RouteTarget,
}

/// Where a route goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// To this origin.
    Upstream(String),
    /// To the files of this folder.
    Folder(PathBuf),
}

/// `HTTPS_PROTOCOLS`: the versions that rustls speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsVersions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self {
            tls12: true,
            tls13: true,
        }
    }
}

/// `HANOK_WORKERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Workers {
    /// One for each core.
    #[default]
    PerCore,
    /// This many.
    Count(NonZeroUsize),
}

/// A static TURN user of `HANOK_TURN_USERS`.
#[derive(Debug, Clone)]
pub struct TurnUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Secret,
}
