//! The web side: what REST, signalling and the proxy are told of the configuration.

use std::path::Path;
use std::sync::Arc;

use tower::util::BoxCloneSyncService;

use super::adapters::WorkerStreams;
use super::port_owner::{Protocol, port_owner};
use crate::config::settings::Certificate;
use crate::config::values::Front;
use crate::config::{Config, Misconfigured};
use crate::control::access::Gate;
use crate::control::rest;
use crate::control::session::{self, Directory};
use crate::control::signalling::{self, Connections};
use crate::front::dashboard;
use crate::front::proxy::certificate::acme::{self, plan::Challenge};
use crate::front::proxy::certificate::service::keeper::{Keeper, Source};
use crate::front::proxy::{
    self, BindError, CertificateStore, Limits, Proxy, Services, certificate,
};
use crate::media::plane::Plane;
use crate::units::Bitrate;
use crate::units::turn_url::{in_url, turn_urls};

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
    let source = match &config.web.certificate {
        Certificate::SelfSigned => Source::SelfSigned,
        Certificate::Own { certificate, key } => Source::Own {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        Certificate::LetsEncrypt { email } => Source::Acme(acme_settings(config, email)),
    };
    // Whatever is wrong with it, starting again changes nothing.
    certificate::service::keeper::begin(source, state, &domain, &others)
        .map_err(|error| Misconfigured(error.to_string()))
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

/// What sessions need to know.
pub(super) fn session_settings(config: &Config, turn_host: &str) -> session::Settings {
    session::Settings {
        websocket_url: config.public.websocket_url(),
        subscribe_offer: config.sessions.subscribe_offer,
        // Answers take one layer, the lowest that a client sends: layers would only shrink the picture until they are chosen.
        simulcast: false,
        coturn_ip: in_url(turn_host),
        coturn_port: config.turn.port,
        turn_urls: turn_urls(turn_host, config.turn.port, config.turn_over_tls()),
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

/// Takes the web ports.
pub(super) fn bind(
    config: &Config,
    certificates: Arc<CertificateStore>,
    directory: Directory,
    connections: &Connections,
    gate: Gate,
    plane: Plane,
) -> anyhow::Result<Proxy> {
    let rest = rest::router(rest_settings(config), gate, directory);
    let services = Services {
        rest: BoxCloneSyncService::new(rest),
        signalling: BoxCloneSyncService::new(signalling::service(connections)),
        page: BoxCloneSyncService::new(dashboard::call_page()),
        turn: Arc::new(WorkerStreams(plane)),
    };
    let web = &config.web;
    let on = web.front == Front::On;
    let listen = |port: u16| {
        web.bind
            .iter()
            .map(|ip| (*ip, port).into())
            .collect::<Vec<_>>()
    };
    let settings = proxy::Settings {
        https: if on {
            listen(web.https_port)
        } else {
            Vec::new()
        },
        http: web.http_port.filter(|_| on).map(listen).unwrap_or_default(),
        plain: web
            .plain
            .map(|listen| listen.socket_addrs(&config.media.bind))
            .unwrap_or_default(),
        turn_tls: config
            .turn
            .tls_listen
            .map(|listen| listen.socket_addrs(&config.media.bind))
            .unwrap_or_default(),
        domain: config.public.host.in_url(),
        https_port: config.public.https_port,
        trusted_proxies: web.trusted_proxies.clone(),
        hsts: web.hsts.clone(),
        limits: Limits::default(),
    };
    Proxy::bind(settings, certificates, services).map_err(explain)
}

/// A port that somebody else has is for the operator to solve: names the owner.
fn explain(error: BindError) -> anyhow::Error {
    match error {
        BindError::Listen { address, .. } => {
            let owner = port_owner(Protocol::Tcp, address.port());
            let owner = owner
                .map(|owner| format!("; it belongs to {owner}"))
                .unwrap_or_default();
            Misconfigured(format!("{error}{owner}")).into()
        }
        BindError::Tls(_) | BindError::Domain(_) | BindError::Hsts(_) => {
            Misconfigured(error.to_string()).into()
        }
    }
}

fn rest_settings(config: &Config) -> rest::Settings {
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
