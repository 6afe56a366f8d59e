//! Which ports a configuration needs, what for, and who has to reach them. Pure.
//!
//! It is far less than OpenVidu's list (`openvidu-deployment` section 10), which opens 17,001 media ports and 8,535
//! relay ports for UDP and TCP: each media thread has one media port (design section 2), and a relayed packet whose
//! peer is our own SFU touches no relay port (design D6).

use std::fmt;
use std::net::IpAddr;

use crate::config::Config;
use crate::config::settings::Certificate;
use crate::config::values::{Front, Listen, Workers};
use crate::units::PortRange;

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    /// As firewalls write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Who has to reach a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everybody who takes part in a call.
    Everybody,
    /// Peers of other applications that relay through this TURN server, as the configuration shows that there are.
    Peers,
    /// The same, but nothing shows that there are any.
    PeersIfAny,
    /// Nobody outside: this machine, or the network that it is in.
    Inside,
}

/// A port, or several in a row, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The ports.
    pub ports: PortRange,
    /// For TCP or UDP.
    pub protocol: Protocol,
    /// The addresses that it is bound on.
    pub bind: Vec<IpAddr>,
    /// What for, in words.
    pub purpose: &'static str,
    /// The key that says so.
    pub key: &'static str,
    /// Who has to reach it.
    pub reach: Reach,
    /// How many of `ports` are bound when the daemon starts: one for a listener, one for each media thread for
    /// media, none for relaying.
    pub bound_at_start: usize,
}

/// The key that says where the media ports begin.
const MEDIA: &str = "HANOK_MEDIA_MIN_PORT";

impl Need {
    /// Whether these are the media threads' own ports, of which others are taken where somebody has one.
    pub fn is_media(&self) -> bool {
        self.key == MEDIA
    }
}

/// How many media threads there are on a machine with so many cores.
pub fn workers(config: &Config, cores: usize) -> usize {
    match config.media.workers {
        Workers::PerCore => cores.max(1),
        Workers::Count(count) => count.get(),
    }
}

/// Every port that the daemon takes with this configuration, and so many media threads.
pub fn needs(config: &Config, workers: usize) -> Vec<Need> {
    let web = &config.web;
    let mut needs = Vec::new();
    let mut listen = |port: u16, protocol, bind: &[IpAddr], purpose, key, reach| {
        let reach = from(bind, reach);
        needs.extend(PortRange::new(port, port).map(|ports| Need {
            ports,
            protocol,
            bind: bind.to_vec(),
            purpose,
            key,
            reach,
            bound_at_start: 1,
        }));
    };
    if web.front == Front::On {
        let purpose = if config.turns_urls().is_empty() {
            "HTTPS: signalling, REST, pages"
        } else {
            "HTTPS: signalling, REST, pages; TURN over TLS"
        };
        let everybody = Reach::Everybody;
        listen(
            web.https_port,
            Protocol::Tcp,
            &web.bind,
            purpose,
            "HTTPS_PORT",
            everybody,
        );
        if let Some(port) = web.http_port {
            let purpose = match web.certificate {
                Certificate::LetsEncrypt { .. } => "redirect to HTTPS, proof for Let's Encrypt",
                Certificate::SelfSigned | Certificate::Own { .. } => "redirect to HTTPS",
            };
            listen(
                port,
                Protocol::Tcp,
                &web.bind,
                purpose,
                "HTTP_PORT",
                everybody,
            );
        }
    }
    let (bind, turn) = (&config.media.bind, &config.turn);
    for (protocol, purpose) in [
        (Protocol::Udp, "STUN and TURN"),
        (Protocol::Tcp, "TURN for networks that let no UDP through"),
    ] {
        listen(
            turn.port,
            protocol,
            bind,
            purpose,
            "COTURN_PORT",
            Reach::Everybody,
        );
    }
    let addresses = |at: Listen| at.address.map_or_else(|| bind.clone(), |one| vec![one]);
    let own = [
        (
            turn.tls_listen,
            "TURN over TLS",
            "HANOK_TURN_TLS_LISTEN",
            Reach::Everybody,
        ),
        (
            web.plain,
            "plain HTTP for applications and proxies of yours",
            "HANOK_PLAIN_LISTEN",
            Reach::Inside,
        ),
        (
            config.admin_listen,
            "metrics and health",
            "HANOK_ADMIN_LISTEN",
            Reach::Inside,
        ),
    ];
    for (at, purpose, key, reach) in own {
        if let Some(at) = at {
            listen(at.port, Protocol::Tcp, &addresses(at), purpose, key, reach);
        }
    }
    media(config, workers, &mut needs);
    relay(config, &mut needs);
    needs.sort_by_key(|need| match need.reach {
        Reach::Everybody => 0,
        Reach::Peers => 1,
        Reach::PeersIfAny => 2,
        Reach::Inside => 3,
    });
    needs
}

/// Nobody outside reaches the loopback interface.
fn from(bind: &[IpAddr], reach: Reach) -> Reach {
    if bind.iter().all(IpAddr::is_loopback) {
        Reach::Inside
    } else {
        reach
    }
}

/// The lowest ports of the range, one for each thread.
fn media(config: &Config, workers: usize, needs: &mut Vec<Need>) {
    let range = config.media.ports;
    let count = u16::try_from(workers.saturating_sub(1)).unwrap_or(u16::MAX);
    let last = range.first().saturating_add(count).min(range.last());
    let Some(ports) = PortRange::new(range.first(), last) else {
        return;
    };
    for (protocol, purpose) in [
        (
            Protocol::Udp,
            "audio and video, one port for each media thread",
        ),
        (
            Protocol::Tcp,
            "the same for networks that let no UDP through",
        ),
    ] {
        needs.push(Need {
            ports,
            protocol,
            bind: config.media.bind.clone(),
            purpose,
            key: MEDIA,
            reach: from(&config.media.bind, Reach::Everybody),
            bound_at_start: workers,
        });
    }
}

fn relay(config: &Config, needs: &mut Vec<Need>) {
    let turn = &config.turn;
    let for_others = !turn.users.is_empty() || !turn.allowed_peers.is_empty();
    needs.push(Need {
        ports: turn.relay_ports,
        protocol: Protocol::Udp,
        bind: config.media.bind.clone(),
        purpose: "peers of other applications that use this TURN server",
        key: "COTURN_MIN_PORT",
        reach: from(
            &config.media.bind,
            if for_others {
                Reach::Peers
            } else {
                Reach::PeersIfAny
            },
        ),
        bound_at_start: 0,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fake::FakeMachine;
    use crate::config::{Options, load};

    fn list(lines: &str, workers: usize) -> Vec<String> {
        let mut machine = FakeMachine::default();
        let file =
            format!("DOMAIN_OR_PUBLIC_IP=example.com\nOPENVIDU_SECRET=0123456789abcdef\n{lines}\n");
        machine.files.insert("/etc/hanok/.env".into(), file.into());
        let config = load(&machine, &Options::default()).expect("good").config;
        let needs = needs(&config, workers);
        let line = |need: &Need| format!("{} {} {:?}", need.ports, need.protocol, need.reach);
        needs.iter().map(line).collect()
    }

    #[test]
    fn a_plain_configuration_needs_a_handful_of_ports() {
        assert_eq!(
            list("", 2),
            [
                "443-443 tcp Everybody",
                "80-80 tcp Everybody",
                "3478-3478 udp Everybody",
                "3478-3478 tcp Everybody",
                "40000-40001 udp Everybody",
                "40000-40001 tcp Everybody",
                "57001-65535 udp PeersIfAny",
                "5443-5443 tcp Inside",
                "9641-9641 tcp Inside",
            ]
        );
    }

    #[test]
    fn what_is_off_needs_no_port_and_what_is_bound_inside_is_not_opened() {
        let lines = "HANOK_FRONT=off\nHANOK_PLAIN_LISTEN=:5443\nHANOK_ADMIN_LISTEN=\nHANOK_TURN_TLS_LISTEN=:5349";
        assert_eq!(
            list(lines, 1),
            [
                "3478-3478 udp Everybody",
                "3478-3478 tcp Everybody",
                "5349-5349 tcp Everybody",
                "40000-40000 udp Everybody",
                "40000-40000 tcp Everybody",
                "57001-65535 udp PeersIfAny",
                "5443-5443 tcp Inside",
            ]
        );
        let loopback = list("HANOK_BIND=127.0.0.1", 1);
        let inside = loopback.iter().filter(|line| line.ends_with("Inside"));
        assert_eq!(inside.count(), loopback.len(), "{loopback:?}");
    }

    #[test]
    fn relay_ports_are_needed_where_others_relay() {
        for lines in [
            "HANOK_TURN_USERS=me:word",
            "HANOK_TURN_ALLOWED_PEERS=10.0.0.0/8",
        ] {
            let list = list(lines, 1);
            assert!(
                list.contains(&"57001-65535 udp Peers".to_owned()),
                "{list:?}"
            );
        }
    }

    #[test]
    fn media_ports_end_where_their_range_ends() {
        let list = list("HANOK_MEDIA_MIN_PORT=65535\nHANOK_MEDIA_MAX_PORT=65535", 9);
        assert!(
            list.contains(&"65535-65535 udp Everybody".to_owned()),
            "{list:?}"
        );
    }
}
