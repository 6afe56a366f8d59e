//! The typed configuration, and the rules between keys.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::config::key::About;
use crate::config::keys::{compose, hanok, openvidu, proxy};
use crate::config::layers::Reading;
use crate::config::refusal::Refusal;
use crate::config::report::{KeyFault, Note};
use crate::config::values::{
    AppUpstream, CallOpen, CertificateType, CoturnIp, ForcedVideoCodec, Front, Host, Listen,
    LogFormat, MediaNode, PublicIp, RecordingNotification, Route, RouteTarget, Server,
    SubscribeOffer, TlsVersions, TurnUser, Workers,
};
use crate::units::turn_url::turns_url;
use crate::units::{IceServer, PortRange, Secret, TlsSuite};

/// The sample address of the stock `.env`.
const SAMPLE_EMAIL: &str = "user@example.com";
/// Secrets that stand in public documents.
const PUBLISHED_SECRETS: [&str; 2] = ["MY_SECRET", "YOUR_SECRET"];
/// Where `owncert/` lies when no file was read.
const INSTALL_FOLDER: &str = "/opt/openvidu";

/// The whole configuration, validated.
#[derive(Debug, Clone)]
pub struct Config {
    /// `serve --dev`.
    pub dev: bool,
    /// The `.env` file that was read.
    pub file: Option<PathBuf>,
    /// What clients reach us by.
    pub public: Public,
    /// `OPENVIDU_SECRET`.
    pub secret: Secret,
    /// HTTPS, HTTP and plain listeners.
    pub web: Web,
    /// Media ports, addresses and threads.
    pub media: Media,
    /// STUN and TURN.
    pub turn: Turn,
    /// `OPENVIDU_STREAMS_*`.
    pub streams: Streams,
    /// How sessions behave.
    pub sessions: Sessions,
    /// `OPENVIDU_RECORDING*`.
    pub recording: Recording,
    /// `OPENVIDU_CDR*`.
    pub cdr: Cdr,
    /// `OPENVIDU_WEBHOOK*`.
    pub webhook: Webhook,
    /// Let's Encrypt.
    pub acme: Acme,
    /// Where durable state lies.
    pub state: State,
    /// `HANOK_ADMIN_LISTEN`: metrics and health; `None` is off.
    pub admin_listen: Option<Listen>,
    /// Whether `HANOK_ADMIN_LISTEN` was set: a busy port is then a [`Misconfigured`](super::Misconfigured), else it is
    /// done without.
    pub admin_listen_is_set: bool,
    /// `HANOK_CONTROL_SOCKET`; `None` is [`CONTROL_SOCKET_FILE`] in the state folder (`--dev`).
    pub control_socket: Option<PathBuf>,
    /// `HANOK_STOP_DEADLINE`.
    pub stop_deadline: Duration,
    /// `HANOK_LOG`, or `debug` by `OV_CE_DEBUG_LEVEL=DEBUG`: directives for the log filter.
    pub log: String,
    /// `HANOK_LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `OPENVIDU_EDITION=ce`: answer as the community edition does.
    pub community_edition: bool,
}

impl Config {
    /// The `turns:` URLs that are good while the certificate is publicly valid (design D7): the HTTPS port if it is
    /// ours, then `HANOK_TURN_TLS_LISTEN`. Browsers take nothing but a certificate that they trust for the name in the
    /// URL, without asking their user; so an address has none, and neither has a certificate of our own making.
    pub fn turns_urls(&self) -> Vec<String> {
        let Some(name) = self.public.host.name() else {
            return Vec::new();
        };
        if self.web.certificate == Certificate::SelfSigned {
            return Vec::new();
        }
        let https = (self.web.front == Front::On).then_some(self.public.https_port);
        let own = self.turn.tls_listen.map(|listen| listen.port);
        let ports = https.into_iter().chain(own);
        ports.map(|port| turns_url(name, port)).collect()
    }

    /// What the certificate is for: the domain or address, and `www.` before it with `REDIRECT_WWW`.
    pub fn certificate_names(&self) -> Vec<String> {
        let host = &self.public.host;
        let mut names = vec![host.to_string()];
        if let Some(name) = host.name().filter(|_| self.web.redirect_www) {
            names.push(format!("www.{name}"));
        }
        names
    }
}

/// What clients reach us by. The URL is derived, never configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// `DOMAIN_OR_PUBLIC_IP`.
    pub host: Host,
    /// `HTTPS_PORT`.
    pub https_port: u16,
    /// `FORCE_PLAIN_HTTP`: URLs begin with `http` and `ws`.
    pub plain_http: bool,
}

impl Public {
    /// `https://HOST[:PORT]` without a trailing slash; the port stands only if it is not 443.
    pub fn url(&self) -> String {
        let scheme = if self.plain_http { "http" } else { "https" };
        format!("{scheme}://{}", self.authority())
    }

    /// `wss://HOST[:PORT]`, the origin of token URLs.
    pub fn websocket_url(&self) -> String {
        let scheme = if self.plain_http { "ws" } else { "wss" };
        format!("{scheme}://{}", self.authority())
    }

    /// `HOST[:PORT]`, IPv6 in brackets.
    pub fn authority(&self) -> String {
        let host = self.host.in_url();
        match self.https_port {
            443 => host,
            port => format!("{host}:{port}"),
        }
    }
}

/// HTTPS, HTTP and plain listeners.
#[derive(Debug, Clone)]
pub struct Web {
    /// `HANOK_FRONT`: whether the HTTPS and HTTP ports are bound.
    pub front: Front,
    /// Whether `HANOK_FRONT` was set: a busy port is then the operator's, else a [`Misconfigured`](super::Misconfigured).
    pub front_is_set: bool,
    /// The addresses that the HTTPS and HTTP ports are bound on: `HANOK_BIND`, or 127.0.0.1 in `--dev`.
    pub bind: Vec<IpAddr>,
    /// `HTTPS_PORT`, to bind.
    pub https_port: u16,
    /// `HTTP_PORT`, to bind; `None` is off (in `--dev`).
    pub http_port: Option<u16>,
    /// `HANOK_PLAIN_LISTEN` with `SERVER_PORT`; `None` is off.
    pub plain: Option<Listen>,
    /// Where the certificate comes from.
    pub certificate: Certificate,
    /// `HTTPS_PROTOCOLS`.
    pub tls_versions: TlsVersions,
    /// `HTTPS_CIPHERS`, for TLS 1.2.
    pub tls_suites: Vec<TlsSuite>,
    /// `HTTPS_HSTS`: the header's value; never sent with an untrusted certificate.
    pub hsts: String,
    /// `HANOK_TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<IpNet>,
    /// `ALLOWED_ACCESS_TO_DASHBOARD`; `None` is everybody.
    pub dashboard_access: Option<Vec<IpNet>>,
    /// `ALLOWED_ACCESS_TO_RESTAPI`, as written; `None` is everybody.
    pub rest_access: Option<Vec<IpNet>>,
    /// `PROXY_PUBLIC_IP`.
    pub public_ip: PublicIp,
    /// `REDIRECT_WWW`.
    pub redirect_www: bool,
    /// `SUPPORT_DEPRECATED_API`.
    pub deprecated_api: bool,
    /// `HANOK_APP_UPSTREAM`.
    pub app_upstream: AppUpstream,
    /// `HANOK_PROXY_ROUTES`.
    pub routes: Vec<Route>,
    /// `HANOK_ERROR_PAGES`.
    pub error_pages: Option<PathBuf>,
    /// `HANOK_CALL_OPEN`.
    pub call_open: CallOpen,
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Made by ourselves.
    SelfSigned,
    /// From two PEM files that were readable when this was loaded.
    Own {
        /// The certificate and its chain.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// From the ACME server.
    LetsEncrypt {
        /// `LETSENCRYPT_EMAIL`.
        email: String,
    },
}

/// Media ports, addresses and threads.
#[derive(Debug, Clone)]
pub struct Media {
    /// `HANOK_BIND`: listening addresses of media and TURN.
    pub bind: Vec<IpAddr>,
    /// Whether `HANOK_BIND` was set: by default a family that the machine does not have is no error.
    pub bind_is_set: bool,
    /// `HANOK_MEDIA_MIN_PORT` to `HANOK_MEDIA_MAX_PORT`.
    pub ports: PortRange,
    /// `HANOK_WORKERS`.
    pub workers: Workers,
    /// `HANOK_EXTERNAL_IP`: at most one per family.
    pub external: Vec<IpAddr>,
    /// `MEDIA_NODES_PUBLIC_IPS`: private and public address.
    pub nodes: Vec<(IpAddr, IpAddr)>,
    /// `HANOK_PUBLIC_ADDRESS_SERVERS`: whom to ask for the public address; empty is nobody.
    pub public_address_servers: Vec<Server>,
}

/// STUN and TURN.
#[derive(Debug, Clone)]
pub struct Turn {
    /// `COTURN_IP`: what clients are told.
    pub address: CoturnIp,
    /// `COTURN_PORT`, UDP and TCP.
    pub port: u16,
    /// `COTURN_SHARED_SECRET_KEY`: the first one mints, all are accepted. Empty: one is made in the state folder
    /// ([`State::turn_secret_file`]). Never `OPENVIDU_SECRET`: participants could guess that offline.
    pub secrets: Vec<Secret>,
    /// `COTURN_MIN_PORT` to `COTURN_MAX_PORT`.
    pub relay_ports: PortRange,
    /// `COTURN_INTERNAL_RELAY`.
    pub internal_relay: bool,
    /// `HANOK_TURN_TLS_LISTEN`; `None` is off.
    pub tls_listen: Option<Listen>,
    /// `HANOK_TURN_ALLOWED_PEERS`.
    pub allowed_peers: Vec<IpNet>,
    /// `HANOK_TURN_DENIED_PEERS`.
    pub denied_peers: Vec<IpNet>,
    /// `HANOK_TURN_USERS`.
    pub users: Vec<TurnUser>,
    /// `HANOK_TURN_*_QUOTA` and `HANOK_TURN_*_KBPS`.
    pub limits: TurnLimits,
    /// `OPENVIDU_WEBRTC_ICE_SERVERS`: if there are any, clients get these alone.
    pub ice_servers: Vec<IceServer>,
}

/// What TURN clients may have: as written, where 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnLimits {
    /// `HANOK_TURN_USER_QUOTA`: allocations of one user name.
    pub user_quota: u32,
    /// `HANOK_TURN_SOURCE_QUOTA`: allocations from one address.
    pub source_quota: u32,
    /// `HANOK_TURN_TOTAL_QUOTA`: allocations in all.
    pub total_quota: u32,
    /// `HANOK_TURN_ALLOCATION_KBPS`: of one allocation, both directions together.
    pub allocation_kbps: u32,
    /// `HANOK_TURN_TOTAL_KBPS`: of all, both directions together.
    pub total_kbps: u32,
}

/// `OPENVIDU_STREAMS_*`: as written, in kbit/s, where 0 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// The most video a client sends to the server.
    pub max_recv_kbps: u32,
    /// The least.
    pub min_recv_kbps: u32,
    /// The most video the server sends to a client.
    pub max_send_kbps: u32,
    /// The least.
    pub min_send_kbps: u32,
    /// The forced codec.
    pub forced_codec: ForcedVideoCodec,
    /// Whether a client without it may take part.
    pub allow_transcoding: bool,
}

/// How sessions behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    /// `OPENVIDU_SESSIONS_GARBAGE_INTERVAL`; zero is never.
    pub garbage_interval: Duration,
    /// `OPENVIDU_SESSIONS_GARBAGE_THRESHOLD`.
    pub garbage_threshold: Duration,
    /// `HANOK_RECONNECT_GRACE`.
    pub reconnect_grace: Duration,
    /// `HANOK_SUBSCRIBE_OFFER`; `server` also by `OPENVIDU_WEBRTC_SIMULCAST=true`.
    pub subscribe_offer: SubscribeOffer,
    /// `OPENVIDU_WEBRTC_SIMULCAST`.
    pub simulcast: bool,
}

/// `OPENVIDU_RECORDING*`. Folders end with `/`, as REST shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Recording is on.
    pub enabled: bool,
    /// Keep the recorder's logs.
    pub debug: bool,
    /// The version that REST tells.
    pub version: String,
    /// Use a graphics card.
    pub gpu: bool,
    /// Where the files are.
    pub path: String,
    /// No credentials needed.
    pub public_access: bool,
    /// Who is told.
    pub notification: RecordingNotification,
    /// Own layouts.
    pub custom_layout: String,
    /// How long a recording outlives its last publisher.
    pub autostop: Duration,
    /// Where layout pages are.
    pub composed_url: Option<String>,
    /// Whether that URL carries the credentials.
    pub composed_basic_auth: bool,
}

/// `OPENVIDU_CDR*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cdr {
    /// Call detail records are written.
    pub enabled: bool,
    /// Their folder, ending with `/`.
    pub path: String,
}

/// `OPENVIDU_WEBHOOK*`. Its `Debug` form shows no header: they carry credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where events go; `None` if the webhook is off.
    pub endpoint: Option<String>,
    /// `Name: value`.
    pub headers: Vec<String>,
    /// The events that are sent.
    pub events: Vec<String>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("enabled", &self.endpoint.is_some())
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// Let's Encrypt, or another ACME server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// `HANOK_ACME_DIRECTORY`.
    pub directory: String,
    /// `HANOK_ACME_CA_FILE`.
    pub ca_file: Option<PathBuf>,
    /// `HANOK_ACME_PORTS_FORWARDED`.
    pub ports_forwarded: bool,
    /// `HANOK_ACME_EAB_KEY_ID` and `HANOK_ACME_EAB_HMAC_KEY` (RFC 8555 section 7.3.4).
    pub binding: Option<(String, Secret)>,
}

/// Where durable state lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// In `HANOK_STATE_DIR`.
    Folder(PathBuf),
    /// In a folder made at start and removed at the end (`--dev`).
    Temporary,
}

/// The control socket's file in a state folder that is temporary.
pub const CONTROL_SOCKET_FILE: &str = "control.sock";

/// The file of the TURN secret that the daemon makes for itself, in the state folder.
pub const TURN_SECRET_FILE: &str = "turn-secret";

impl State {
    /// Where the TURN secret is kept if `COTURN_SHARED_SECRET_KEY` is unset; nowhere that lasts with `--dev`.
    pub fn turn_secret_file(&self) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.join(TURN_SECRET_FILE)),
            Self::Temporary => None,
        }
    }
}

/// Builds the configuration from the merged map; what is wrong becomes a problem there.
pub(crate) fn assemble(reading: &mut Reading<'_>) -> Config {
    let secret = secret(reading);
    let public = public(reading);
    let sessions = sessions(reading);
    let config = Config {
        dev: reading.dev,
        file: reading.file.clone(),
        secret,
        web: web(reading, public.https_port),
        public,
        media: media(reading),
        turn: turn(reading),
        streams: Streams {
            max_recv_kbps: reading.get(&openvidu::OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH),
            min_recv_kbps: reading.get(&openvidu::OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH),
            max_send_kbps: reading.get(&openvidu::OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH),
            min_send_kbps: reading.get(&openvidu::OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH),
            forced_codec: reading.get(&openvidu::OPENVIDU_STREAMS_FORCED_VIDEO_CODEC),
            allow_transcoding: reading.get(&openvidu::OPENVIDU_STREAMS_ALLOW_TRANSCODING),
        },
        sessions,
        recording: recording(reading),
        cdr: cdr(reading),
        webhook: webhook(reading),
        acme: acme(reading),
        state: state(reading),
        admin_listen: reading.get(&hanok::HANOK_ADMIN_LISTEN),
        admin_listen_is_set: reading.origin(&hanok::HANOK_ADMIN_LISTEN.about).is_some(),
        control_socket: control_socket(reading),
        stop_deadline: reading.get(&hanok::HANOK_STOP_DEADLINE),
        log: log(reading),
        log_format: reading.get(&hanok::HANOK_LOG_FORMAT),
        community_edition: community_edition(reading),
    };
    check_unused(reading);
    check_ports(reading, &config);
    check_upstreams(reading, &config);
    config
}

fn secret(reading: &mut Reading<'_>) -> Secret {
    let key = &openvidu::OPENVIDU_SECRET;
    let problems = reading.problem_count();
    let Some(secret) = reading.get(key) else {
        if reading.problem_count() == problems {
            reading.fault(&key.about, Refusal::Empty);
        }
        return Secret::new("");
    };
    if !reading.dev {
        if PUBLISHED_SECRETS.contains(&secret.expose()) {
            reading.fault(&key.about, Refusal::PublishedSecret);
        } else if secret.expose().len() < 16 {
            let origin = reading.origin(&key.about).unwrap_or_default();
            reading.notes.push(Note::ShortSecret { origin });
        }
    }
    secret
}

fn public(reading: &mut Reading<'_>) -> Public {
    let key = &openvidu::DOMAIN_OR_PUBLIC_IP;
    let problems = reading.problem_count();
    let host = reading.get(key);
    match &host {
        Some(host) => check_name(reading, &key.about, host),
        None if reading.problem_count() == problems => reading.fault(&key.about, Refusal::Empty),
        None => {}
    }
    Public {
        host: host.unwrap_or(Host::Address(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        https_port: reading.get(&openvidu::HTTPS_PORT),
        plain_http: reading.get(&openvidu::FORCE_PLAIN_HTTP),
    }
}

/// Refuses a name without a dot that does not resolve. Other names are judged by their shape alone: a resolver that is
/// down at boot must not keep the daemon from starting.
fn check_name(reading: &mut Reading<'_>, about: &About, host: &Host) {
    if let Host::Name(name) = host
        && !name.contains('.')
        && reading.machine.resolve(name).is_empty()
    {
        reading.fault(about, Refusal::Unresolved);
    }
}

fn web(reading: &mut Reading<'_>, https_port: u16) -> Web {
    let bind = reading.get(&hanok::HANOK_BIND);
    let bind_is_set = reading.origin(&hanok::HANOK_BIND.about).is_some();
    let http_port = reading.get(&proxy::HTTP_PORT);
    let http_port_is_set = reading.origin(&proxy::HTTP_PORT.about).is_some();
    let tls_versions = reading.get(&proxy::HTTPS_PROTOCOLS);
    Web {
        front: reading.get(&hanok::HANOK_FRONT),
        front_is_set: reading.origin(&hanok::HANOK_FRONT.about).is_some(),
        bind: if reading.dev && !bind_is_set {
            vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]
        } else {
            bind
        },
        https_port,
        http_port: (!reading.dev || http_port_is_set).then_some(http_port),
        plain: plain_listen(reading),
        certificate: certificate(reading),
        tls_suites: tls_suites(reading, tls_versions),
        tls_versions,
        hsts: reading.get(&proxy::HTTPS_HSTS),
        trusted_proxies: reading.get(&hanok::HANOK_TRUSTED_PROXIES),
        dashboard_access: reading.get(&proxy::ALLOWED_ACCESS_TO_DASHBOARD),
        rest_access: reading.get(&proxy::ALLOWED_ACCESS_TO_RESTAPI),
        public_ip: reading.get(&proxy::PROXY_PUBLIC_IP),
        redirect_www: reading.get(&proxy::REDIRECT_WWW),
        deprecated_api: reading.get(&openvidu::SUPPORT_DEPRECATED_API),
        app_upstream: reading.get(&hanok::HANOK_APP_UPSTREAM),
        routes: reading.get(&hanok::HANOK_PROXY_ROUTES),
        error_pages: reading.get(&hanok::HANOK_ERROR_PAGES),
        call_open: reading.get(&hanok::HANOK_CALL_OPEN),
    }
}

/// The suites of TLS 1.2 that `HTTPS_CIPHERS` leaves. An empty list is a mistake only where TLS 1.2 is spoken.
fn tls_suites(reading: &mut Reading<'_>, versions: TlsVersions) -> Vec<TlsSuite> {
    let about = &proxy::HTTPS_CIPHERS.about;
    let list = reading.get(&proxy::HTTPS_CIPHERS);
    if versions.tls12 && list.suites.is_empty() {
        let known = TlsSuite::ALL.map(TlsSuite::openssl_name).join(":");
        reading.fault(about, Refusal::NoCipherSuite(known));
    } else if !list.unknown.is_empty() {
        let origin = reading.origin(about).unwrap_or_default();
        let names = list.unknown;
        reading.notes.push(Note::UnknownCiphers { origin, names });
    }
    list.suites
}

/// `HANOK_PLAIN_LISTEN`, with the port of `SERVER_PORT` when only that is set.
fn plain_listen(reading: &mut Reading<'_>) -> Option<Listen> {
    let port = reading.get(&openvidu::SERVER_PORT);
    let mut listen = reading.get(&hanok::HANOK_PLAIN_LISTEN)?;
    if let Some(port) = port
        && reading.origin(&hanok::HANOK_PLAIN_LISTEN.about).is_none()
    {
        listen.port = port;
    }
    Some(listen)
}

fn certificate(reading: &mut Reading<'_>) -> Certificate {
    let email = reading.get(&proxy::LETSENCRYPT_EMAIL);
    let certificate = reading.get(&hanok::HANOK_CERTIFICATE_FILE);
    let key = reading.get(&hanok::HANOK_CERTIFICATE_KEY_FILE);
    match reading.get(&openvidu::CERTIFICATE_TYPE) {
        CertificateType::SelfSigned => Certificate::SelfSigned,
        CertificateType::OwnCert => {
            let folder = reading.file.as_deref().and_then(Path::parent);
            let folder = folder.unwrap_or(Path::new(INSTALL_FOLDER)).join("owncert");
            let certificate = certificate.unwrap_or_else(|| folder.join("certificate.cert"));
            let key = key.unwrap_or_else(|| folder.join("certificate.key"));
            check_readable(reading, &hanok::HANOK_CERTIFICATE_FILE.about, &certificate);
            check_readable(reading, &hanok::HANOK_CERTIFICATE_KEY_FILE.about, &key);
            Certificate::Own { certificate, key }
        }
        CertificateType::LetsEncrypt => {
            if email.is_empty() || email == SAMPLE_EMAIL {
                reading.fault(&proxy::LETSENCRYPT_EMAIL.about, Refusal::SampleEmail);
            }
            Certificate::LetsEncrypt { email }
        }
    }
}

fn acme(reading: &mut Reading<'_>) -> Acme {
    let (id_key, hmac_key) = (
        &hanok::HANOK_ACME_EAB_KEY_ID,
        &hanok::HANOK_ACME_EAB_HMAC_KEY,
    );
    let key_id = Some(reading.get(id_key)).filter(|id| !id.is_empty());
    let binding = match (key_id, reading.get(hmac_key)) {
        (Some(key_id), Some(hmac)) => Some((key_id, hmac)),
        (None, None) => None,
        (Some(_), None) => {
            let other = hmac_key.about.name;
            reading.fault(&id_key.about, KeyFault::Alone { other });
            None
        }
        (None, Some(_)) => {
            let other = id_key.about.name;
            reading.fault(&hmac_key.about, KeyFault::Alone { other });
            None
        }
    };
    Acme {
        directory: reading.get(&hanok::HANOK_ACME_DIRECTORY),
        ca_file: reading.get(&hanok::HANOK_ACME_CA_FILE),
        ports_forwarded: reading.get(&hanok::HANOK_ACME_PORTS_FORWARDED),
        binding,
    }
}

fn check_readable(reading: &mut Reading<'_>, about: &About, path: &Path) {
    if let Err(error) = reading.machine.readable(path) {
        let reason = format!("{}: {error}", path.display());
        reading.fault(about, KeyFault::NotReadable { reason });
    }
}

fn media(reading: &mut Reading<'_>) -> Media {
    let nodes = reading.get(&openvidu::MEDIA_NODES_PUBLIC_IPS);
    Media {
        bind: reading.get(&hanok::HANOK_BIND),
        bind_is_set: reading.origin(&hanok::HANOK_BIND.about).is_some(),
        ports: port_range(
            reading,
            &hanok::HANOK_MEDIA_MIN_PORT,
            &hanok::HANOK_MEDIA_MAX_PORT,
        ),
        workers: reading.get(&hanok::HANOK_WORKERS),
        external: reading.get(&hanok::HANOK_EXTERNAL_IP),
        nodes: nodes
            .iter()
            .filter_map(|node| media_node(reading, node))
            .collect(),
        public_address_servers: reading.get(&hanok::HANOK_PUBLIC_ADDRESS_SERVERS),
    }
}

fn media_node(reading: &mut Reading<'_>, node: &MediaNode) -> Option<(IpAddr, IpAddr)> {
    let mut address = |host: &Host| match host {
        Host::Address(address) => Some(*address),
        Host::Name(name) => {
            let address = reading
                .machine
                .resolve(name)
                .into_iter()
                .find(IpAddr::is_ipv4);
            if address.is_none() {
                let fault = KeyFault::NameWithoutAddress { name: name.clone() };
                reading.fault(&openvidu::MEDIA_NODES_PUBLIC_IPS.about, fault);
            }
            address
        }
    };
    Some((address(&node.private)?, address(&node.public)?))
}

fn port_range(
    reading: &mut Reading<'_>,
    first_key: &crate::config::key::Key<u16>,
    last_key: &crate::config::key::Key<u16>,
) -> PortRange {
    let problems = reading.problem_count();
    let (first, last) = (reading.get(first_key), reading.get(last_key));
    PortRange::new(first, last).unwrap_or_else(|| {
        if reading.problem_count() == problems {
            let first_key = first_key.about.name;
            let fault = KeyFault::RangeReversed { first_key, first };
            reading.fault(&last_key.about, fault);
        }
        PortRange::new(1, 1).expect("port 1 to port 1 is a range")
    })
}

fn turn(reading: &mut Reading<'_>) -> Turn {
    let address = reading.get(&openvidu::COTURN_IP);
    if let CoturnIp::Host(host) = &address {
        check_name(reading, &openvidu::COTURN_IP.about, host);
    }
    Turn {
        address,
        port: reading.get(&openvidu::COTURN_PORT),
        secrets: reading.get(&openvidu::COTURN_SHARED_SECRET_KEY),
        relay_ports: port_range(
            reading,
            &compose::COTURN_MIN_PORT,
            &compose::COTURN_MAX_PORT,
        ),
        internal_relay: reading.get(&openvidu::COTURN_INTERNAL_RELAY),
        tls_listen: reading.get(&hanok::HANOK_TURN_TLS_LISTEN),
        allowed_peers: reading.get(&hanok::HANOK_TURN_ALLOWED_PEERS),
        denied_peers: reading.get(&hanok::HANOK_TURN_DENIED_PEERS),
        users: reading.get(&hanok::HANOK_TURN_USERS),
        limits: TurnLimits {
            user_quota: reading.get(&hanok::HANOK_TURN_USER_QUOTA),
            source_quota: reading.get(&hanok::HANOK_TURN_SOURCE_QUOTA),
            total_quota: reading.get(&hanok::HANOK_TURN_TOTAL_QUOTA),
            allocation_kbps: reading.get(&hanok::HANOK_TURN_ALLOCATION_KBPS),
            total_kbps: reading.get(&hanok::HANOK_TURN_TOTAL_KBPS),
        },
        ice_servers: reading.get(&openvidu::OPENVIDU_WEBRTC_ICE_SERVERS),
    }
}

fn sessions(reading: &mut Reading<'_>) -> Sessions {
    let simulcast = reading.get(&openvidu::OPENVIDU_WEBRTC_SIMULCAST);
    let subscribe_offer = reading.get(&hanok::HANOK_SUBSCRIBE_OFFER);
    Sessions {
        garbage_interval: reading.get(&openvidu::OPENVIDU_SESSIONS_GARBAGE_INTERVAL),
        garbage_threshold: reading.get(&openvidu::OPENVIDU_SESSIONS_GARBAGE_THRESHOLD),
        reconnect_grace: reading.get(&hanok::HANOK_RECONNECT_GRACE),
        subscribe_offer: if simulcast {
            SubscribeOffer::Server
        } else {
            subscribe_offer
        },
        simulcast,
    }
}

fn recording(reading: &mut Reading<'_>) -> Recording {
    let image = reading.get(&openvidu::OPENVIDU_RECORDING_IMAGE);
    let version = reading.get(&openvidu::OPENVIDU_RECORDING_VERSION);
    let tag = image.as_deref().and_then(|image| image.split_once(':'));
    let recording = Recording {
        enabled: reading.get(&openvidu::OPENVIDU_RECORDING),
        debug: reading.get(&openvidu::OPENVIDU_RECORDING_DEBUG),
        version: tag.map_or(version, |(_, tag)| tag.to_owned()),
        gpu: reading.get(&openvidu::OPENVIDU_RECORDING_ENABLE_GPU),
        path: reading.get(&openvidu::OPENVIDU_RECORDING_PATH),
        public_access: reading.get(&openvidu::OPENVIDU_RECORDING_PUBLIC_ACCESS),
        notification: reading.get(&openvidu::OPENVIDU_RECORDING_NOTIFICATION),
        custom_layout: reading.get(&openvidu::OPENVIDU_RECORDING_CUSTOM_LAYOUT),
        autostop: reading.get(&openvidu::OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT),
        composed_url: reading.get(&openvidu::OPENVIDU_RECORDING_COMPOSED_URL),
        composed_basic_auth: reading.get(&openvidu::OPENVIDU_RECORDING_COMPOSED_BASICAUTH),
    };
    if recording.enabled {
        let about = &openvidu::OPENVIDU_RECORDING_PATH.about;
        check_writable(reading, about, &recording.path);
    }
    recording
}

fn cdr(reading: &mut Reading<'_>) -> Cdr {
    let cdr = Cdr {
        enabled: reading.get(&openvidu::OPENVIDU_CDR),
        path: reading.get(&openvidu::OPENVIDU_CDR_PATH),
    };
    if cdr.enabled {
        check_writable(reading, &openvidu::OPENVIDU_CDR_PATH.about, &cdr.path);
    }
    cdr
}

fn check_writable(reading: &mut Reading<'_>, about: &About, folder: &str) {
    // An empty path was refused already.
    if !folder.is_empty()
        && let Err(error) = reading.machine.writable_folder(Path::new(folder))
    {
        let reason = error.to_string();
        reading.fault(about, KeyFault::NotWritable { reason });
    }
}

fn webhook(reading: &mut Reading<'_>) -> Webhook {
    let enabled = reading.get(&openvidu::OPENVIDU_WEBHOOK);
    let problems = reading.problem_count();
    let endpoint = reading.get(&openvidu::OPENVIDU_WEBHOOK_ENDPOINT);
    if enabled && endpoint.is_none() && reading.problem_count() == problems {
        let about = &openvidu::OPENVIDU_WEBHOOK_ENDPOINT.about;
        reading.fault(about, KeyFault::WebhookWithoutEndpoint);
    }
    Webhook {
        endpoint: endpoint.filter(|_| enabled),
        headers: reading.get(&openvidu::OPENVIDU_WEBHOOK_HEADERS),
        events: reading.get(&openvidu::OPENVIDU_WEBHOOK_EVENTS),
    }
}

fn state(reading: &mut Reading<'_>) -> State {
    let folder = reading.get(&hanok::HANOK_STATE_DIR);
    if reading.dev && reading.origin(&hanok::HANOK_STATE_DIR.about).is_none() {
        State::Temporary
    } else {
        State::Folder(folder)
    }
}

/// `HANOK_CONTROL_SOCKET`; with `--dev` it is beside the rest of what is temporary, unless it is set.
fn control_socket(reading: &mut Reading<'_>) -> Option<PathBuf> {
    let path = reading.get(&hanok::HANOK_CONTROL_SOCKET);
    let is_set = reading.origin(&hanok::HANOK_CONTROL_SOCKET.about).is_some();
    (is_set || !reading.dev).then_some(path)
}

/// `HANOK_LOG`; `debug` if only `OV_CE_DEBUG_LEVEL` asks for it.
fn log(reading: &mut Reading<'_>) -> String {
    let debug = reading.get(&compose::OV_CE_DEBUG_LEVEL) == "DEBUG";
    let log = reading.get(&hanok::HANOK_LOG);
    if debug && reading.origin(&hanok::HANOK_LOG.about).is_none() {
        "debug".to_owned()
    } else {
        log
    }
}

fn community_edition(reading: &mut Reading<'_>) -> bool {
    let key = &openvidu::OPENVIDU_EDITION;
    match reading.get(key) {
        Some(edition) if edition.eq_ignore_ascii_case("ce") => true,
        Some(_) => {
            let origin = reading.origin(&key.about).unwrap_or_default();
            reading.notes.push(Note::Edition { origin });
            false
        }
        None => false,
    }
}

/// Validates the keys whose values nothing uses: a bad one would stop OpenVidu too.
fn check_unused(reading: &mut Reading<'_>) {
    reading.get(&openvidu::SERVER_SSL_ENABLED);
    reading.get(&openvidu::KMS_URIS);
    reading.get(&proxy::WORKER_CONNECTIONS);
}

/// Refuses two listeners on one address and TCP port, and none for the web at all; notes overlapping ranges.
fn check_ports(reading: &mut Reading<'_>, config: &Config) {
    if config.web.front == Front::Off && config.web.plain.is_none() {
        reading.fault(&hanok::HANOK_PLAIN_LISTEN.about, KeyFault::NoListener);
    }
    let mut listeners: Vec<(&'static About, &[IpAddr], u16)> = Vec::new();
    let turn_and_media = config.media.bind.as_slice();
    if config.web.front == Front::On {
        listeners.push((
            &openvidu::HTTPS_PORT.about,
            &config.web.bind,
            config.web.https_port,
        ));
        if let Some(port) = config.web.http_port {
            listeners.push((&proxy::HTTP_PORT.about, &config.web.bind, port));
        }
    }
    listeners.push((
        &openvidu::COTURN_PORT.about,
        turn_and_media,
        config.turn.port,
    ));
    let own = [
        (&hanok::HANOK_PLAIN_LISTEN.about, config.web.plain),
        (&hanok::HANOK_TURN_TLS_LISTEN.about, config.turn.tls_listen),
        (&hanok::HANOK_ADMIN_LISTEN.about, config.admin_listen),
    ];
    let own = own.each_ref().map(|(about, listen)| {
        let (address, port) = listen.map_or((None, 0), |listen| (listen.address, listen.port));
        (*about, address, port)
    });
    for (about, address, port) in &own {
        let addresses = address
            .as_ref()
            .map_or(turn_and_media, std::slice::from_ref);
        listeners.push((about, addresses, *port));
    }
    // Port 0 stands for one that was refused already, or for a listener that is off.
    listeners.retain(|(.., port)| *port != 0);
    for (index, (about, addresses, port)) in listeners.iter().enumerate() {
        let same = listeners
            .iter()
            .take(index)
            .find(|(_, others, other)| other == port && meet(addresses, others));
        if let Some((other, ..)) = same {
            reading.fault(about, KeyFault::SamePort { other: other.name });
        }
    }
    let (media, relay) = (config.media.ports, config.turn.relay_ports);
    if media.first() <= relay.last() && relay.first() <= media.last() {
        reading.notes.push(Note::RangesOverlap {
            media: media.to_string(),
            relay: relay.to_string(),
        });
    }
}

/// Refuses upstreams that lead to the admin listener, which is for this machine's monitoring and not for visitors.
fn check_upstreams(reading: &mut Reading<'_>, config: &Config) {
    let Some(admin) = config.admin_listen else {
        return;
    };
    let is_admin = |origin: &str| {
        let Ok(origin) = origin.parse::<http::Uri>() else {
            return false;
        };
        let host = origin.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_here = match host.parse::<IpAddr>() {
            Ok(ip) => {
                ip.is_loopback()
                    || ip.is_unspecified()
                    || admin.address == Some(ip)
                    || config.media.bind.contains(&ip)
                    || config.media.external.contains(&ip)
            }
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        let is_public = config.public.host.to_string().eq_ignore_ascii_case(host);
        origin.port_u16() == Some(admin.port) && (is_here || is_public)
    };
    let web = &config.web;
    let application = matches!(&web.app_upstream, AppUpstream::Url(url) if is_admin(url));
    let mut routes = web.routes.iter().map(|route| &route.target);
    let route = routes.any(|target| matches!(target, RouteTarget::Upstream(url) if is_admin(url)));
    for (about, leads_there) in [
        (&hanok::HANOK_APP_UPSTREAM.about, application),
        (&hanok::HANOK_PROXY_ROUTES.about, route),
    ] {
        if leads_there {
            reading.fault(about, KeyFault::LeadsToAdmin);
        }
    }
}

/// Whether two sets of listening addresses have one in common, wildcards included.
fn meet(left: &[IpAddr], right: &[IpAddr]) -> bool {
    left.iter().any(|a| {
        right.iter().any(|b| {
            a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
        })
    })
}
