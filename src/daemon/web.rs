//! The web side: what REST, signalling and the proxy are told of the configuration.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls::pki_types::UnixTime;
use tower::util::BoxCloneSyncService;

use super::adapters::WorkerStreams;
use super::inherited::{Inherited, Taken};
use super::neighbours::neighbours;
use crate::config::settings::Certificate;
use crate::config::values::{AppUpstream, Front, Listen, PublicIp, RouteTarget};
use crate::config::{Config, Misconfigured};
use crate::control::access::Gate;
use crate::control::rest;
use crate::control::session::{self, Directory};
use crate::control::signalling::{self, Connections};
use crate::front::dashboard;
use crate::front::proxy::certificate::acme::{self, plan::Challenge};
use crate::front::proxy::certificate::service::keeper::{Keeper, Source};
use crate::front::proxy::{
    self, AccessLists, Application, BindError, CertificateStore, Limits, Listener, Proxy, Routing,
    Services, Target, TlsPolicy, certificate,
};
use crate::host::port_owner::{Protocol, port_owner};
use crate::media::plane::Plane;
use crate::units::turn_url::{in_url, turn_urls};
use crate::units::{Bitrate, Live, clock};

/// The certificate that HTTPS and TURN over TLS serve, and who keeps it current.
pub(super) fn certificate(
    config: &Config,
    state: &Path,
) -> Result<(Arc<CertificateStore>, Keeper), Misconfigured> {
    let domain = config.public.host.to_string();
    let others: Vec<String> = if config.dev {
        ["localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .to_vec()
    } else {
        Vec::new()
    };
    // Whatever is wrong with it, starting again changes nothing.
    certificate::service::keeper::begin(certificate_source(config), state, &domain, &others)
        .map_err(|error| Misconfigured(error.to_string()))
}

/// Where the certificate comes from.
pub(super) fn certificate_source(config: &Config) -> Source {
    match &config.web.certificate {
        Certificate::SelfSigned => Source::SelfSigned,
        Certificate::Own { certificate, key } => Source::Own {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        Certificate::LetsEncrypt { email } => Source::Acme(acme_settings(config, email)),
    }
}

/// What is ordered, and how it can be proven.
fn acme_settings(config: &Config, email: &str) -> acme::Settings {
    let web = &config.web;
    let reaches = |port: u16, asked: u16| port == asked || config.acme.ports_forwarded;
    let mut challenges = Vec::new();
    if web.front == Front::On {
        if web.http_port.is_some_and(|port| reaches(port, 80)) {
            challenges.push(Challenge::Http01);
        }
        if reaches(web.https_port, 443) {
            challenges.push(Challenge::TlsAlpn01);
        }
    }
    acme::Settings {
        directory: config.acme.directory.clone(),
        ca_file: config.acme.ca_file.clone(),
        email: email.to_owned(),
        names: config.certificate_names(),
        challenges,
        binding: config
            .acme
            .binding
            .as_ref()
            .map(|(key_id, hmac_key)| acme::Binding {
                key_id: key_id.clone(),
                hmac_key: hmac_key.clone(),
            }),
    }
}

/// The pair of `CERTIFICATE_TYPE=owncert`, if that is what is configured.
pub(super) fn own_certificate(
    config: &Config,
) -> Result<Option<proxy::Certificate>, Misconfigured> {
    let Certificate::Own { certificate, key } = &config.web.certificate else {
        return Ok(None);
    };
    let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::wall_ms()));
    let domain = config.public.host.to_string();
    certificate::service::load_own(certificate, key, &domain, now)
        .map(Some)
        .map_err(|error| Misconfigured(error.to_string()))
}

/// What sessions need to know.
pub(super) fn session_settings(config: &Config, turn_host: &str) -> session::Settings {
    session::Settings {
        websocket_url: config.public.websocket_url(),
        subscribe_offer: config.sessions.subscribe_offer,
        // Answers take one layer, the lowest that a client sends: layers would only shrink the picture until they are chosen.
        simulcast: false,
        coturn_ip: in_url(turn_host),
        coturn_port: config.turn.port,
        turn_urls: turn_urls(turn_host, config.turn.port),
        ice_servers: config.turn.ice_servers.clone(),
        video_max_recv: Bitrate::from_kbps(config.streams.max_recv_kbps.into()),
        video_max_send: Bitrate::from_kbps(config.streams.max_send_kbps.into()),
        reconnect_grace: config.sessions.reconnect_grace,
        garbage_threshold: (!config.sessions.garbage_interval.is_zero())
            .then_some(config.sessions.garbage_threshold),
        autostop: config.recording.autostop,
        community_edition: config.community_edition,
        limits: session::Limits::default(),
    }
}

/// The rules by which the proxy judges requests, on a machine with these public addresses beside those of its
/// interfaces.
pub(super) fn rules(config: &Config, public: &[IpAddr]) -> proxy::Rules {
    let web = &config.web;
    let has_list = web.dashboard_access.is_some() || web.rest_access.is_some();
    let mut public = public.to_vec();
    if let PublicIp::Address(address) = web.public_ip {
        public.push(address);
    }
    let rest = web.rest_access.clone().map(|mut rest| {
        // Who may use the dashboard may use what it is made of.
        rest.extend(web.dashboard_access.iter().flatten());
        rest
    });
    let access = AccessLists {
        dashboard: web.dashboard_access.clone(),
        rest,
        neighbours: if has_list {
            neighbours(&public)
        } else {
            Vec::new()
        },
    };
    if has_list {
        tracing::info!(
            "access lists also admit this machine and its private networks: {}",
            Listed(&access.neighbours)
        );
    }
    proxy::Rules {
        trusted_proxies: web.trusted_proxies.clone(),
        access,
    }
}

struct Listed<'a>(&'a [IpNet]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, network) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

/// Takes the web ports.
pub(super) fn bind(
    config: &Config,
    state: &Path,
    inherited: &mut Inherited,
    certificates: Arc<CertificateStore>,
    services: Services,
    rules: Live<proxy::Rules>,
    off_limits: Option<u16>,
) -> anyhow::Result<Proxy> {
    let web = &config.web;
    let on = web.front == Front::On;
    let listen = |port: u16| {
        web.bind
            .iter()
            .map(|ip| (*ip, port).into())
            .collect::<Vec<_>>()
    };
    let mut listening = Vec::new();
    let mut still_to_bind = |listener: Listener, wanted: Option<Vec<SocketAddr>>| {
        let Taken { sockets, rest } =
            inherited.listeners(listener.key(), wanted.unwrap_or_default())?;
        listening.extend(sockets.into_iter().map(|socket| (listener, socket)));
        Ok::<_, Misconfigured>(rest)
    };
    let on_media_addresses = |listen: Listen| listen.socket_addrs(&config.media.bind);
    let (https, http) = (Some(web.https_port), web.http_port);
    let turn_tls = config.turn.tls_listen.map(on_media_addresses);
    let settings = proxy::Settings {
        https: still_to_bind(Listener::Https, https.filter(|_| on).map(listen))?,
        http: still_to_bind(Listener::Http, http.filter(|_| on).map(listen))?,
        plain: still_to_bind(Listener::Plain, web.plain.map(on_media_addresses))?,
        turn_tls: still_to_bind(Listener::TurnTls, turn_tls)?,
        domain: config.public.host.in_url(),
        https_port: config.public.https_port,
        rules,
        hsts: web.hsts.clone(),
        tls: tls_policy(config),
        routing: routing(config, state),
        limits: Limits::default(),
        off_limits,
    };
    Proxy::bind(settings, listening, certificates, services).map_err(explain)
}

/// OpenVidu's place for the application (`openvidu-deployment` section 6.5).
const APPLICATION: &str = "http://127.0.0.1:5442";

/// The file that remembers, in the state folder, that an application has answered there.
const APPLICATION_SEEN: &str = "application-seen";

/// What goes where on the web ports.
pub(super) fn routing(config: &Config, state: &Path) -> Routing {
    let web = &config.web;
    let origin = |text: &str| {
        text.parse()
            .expect("the configuration has checked that it is an origin")
    };
    Routing {
        application: match &web.app_upstream {
            AppUpstream::Auto => Application::Auto {
                origin: origin(APPLICATION),
                seen: state.join(APPLICATION_SEEN),
            },
            AppUpstream::None => Application::None,
            AppUpstream::Url(url) => Application::Upstream(origin(url)),
        },
        routes: web
            .routes
            .iter()
            .map(|route| {
                let target = match &route.target {
                    RouteTarget::Upstream(url) => Target::Upstream(origin(url)),
                    RouteTarget::Folder(folder) => Target::Folder(folder.clone()),
                };
                (route.path.clone(), target)
            })
            .collect(),
        layouts: config.recording.custom_layout.clone().into(),
        error_pages: web.error_pages.clone(),
        deprecated_api: web.deprecated_api,
        redirect_www: web.redirect_www,
    }
}

/// `HTTPS_PROTOCOLS` and `HTTPS_CIPHERS`.
fn tls_policy(config: &Config) -> TlsPolicy {
    TlsPolicy {
        tls12: config.web.tls_versions.tls12,
        tls13: config.web.tls_versions.tls13,
        suites: config.web.tls_suites.clone(),
    }
}

/// Who answers what comes in.
pub(super) fn services(
    rest: Live<rest::Settings>,
    gate: Gate,
    directory: Directory,
    connections: &Connections,
    plane: Plane,
) -> Services {
    Services {
        rest: BoxCloneSyncService::new(rest::router(rest, gate, directory)),
        signalling: BoxCloneSyncService::new(signalling::service(connections)),
        page: BoxCloneSyncService::new(dashboard::call_page()),
        turn: Arc::new(WorkerStreams(plane)),
    }
}

/// A port that somebody else has is for the operator to solve: names the owner.
fn explain(error: BindError) -> anyhow::Error {
    match error {
        BindError::Listen { address, .. } => {
            let owner = port_owner(Protocol::Tcp, address.port());
            let owner = match owner {
                Some(owner) => format!("; it belongs to {owner}"),
                // Whose it is, only root may see.
                None if error.is_taken() => {
                    let port = address.port();
                    format!("; as root, `ss -ltnp sport = :{port}` names that process")
                }
                None => String::new(),
            };
            Misconfigured(format!("{error}{owner}")).into()
        }
        BindError::Tls(_) | BindError::Domain(_) | BindError::Hsts(_) => {
            Misconfigured(error.to_string()).into()
        }
    }
}

pub(super) fn rest_settings(config: &Config) -> rest::Settings {
    let streams = &config.streams;
    let kbps = |kbps: u32| Bitrate::from_kbps(kbps.into());
    rest::Settings {
        domain_or_public_ip: config.public.host.to_string(),
        https_port: config.public.https_port,
        public_url: config.public.url(),
        cdr: config.cdr.enabled,
        cdr_path: config.cdr.path.clone(),
        video_max_recv: kbps(streams.max_recv_kbps),
        video_min_recv: kbps(streams.min_recv_kbps),
        video_max_send: kbps(streams.max_send_kbps),
        video_min_send: kbps(streams.min_send_kbps),
        forced_video_codec: streams.forced_codec,
        allow_transcoding: streams.allow_transcoding,
        simulcast: config.sessions.simulcast,
        garbage_interval: config.sessions.garbage_interval,
        garbage_threshold: config.sessions.garbage_threshold,
        recording_path: config.recording.path.clone(),
        recording: config.recording.enabled.then(|| rest::Recording {
            version: config.recording.version.clone(),
            public_access: config.recording.public_access,
            notification: config.recording.notification.as_str().to_owned(),
            custom_layout: config.recording.custom_layout.clone(),
            autostop_timeout: config.recording.autostop,
            composed_url: config.recording.composed_url.clone(),
        }),
        webhook: config
            .webhook
            .endpoint
            .as_ref()
            .map(|endpoint| rest::Webhook {
                endpoint: endpoint.clone(),
                headers: config.webhook.headers.clone(),
                events: config.webhook.events.clone(),
            }),
        community_edition: config.community_edition,
        ice_servers: config.turn.ice_servers.clone(),
    }
}
