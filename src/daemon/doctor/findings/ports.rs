//! Ports: who has those that we need, who else may get them, and who may reach them.

use std::net::IpAddr;

use crate::config::Config;
use crate::config::ports::{Need, Protocol, Reach};
use crate::daemon::doctor::facts::Facts;
use crate::daemon::doctor::firewall::{Filter, Tool};
use crate::daemon::doctor::probe::OURS;
use crate::host::port_owner::{Process, Waiting};
use crate::units::PortRange;
use crate::views::finding::Finding;

const PORTS: &str = "ports";
const MEDIA: &str = "media ports";
const EPHEMERAL: &str = "ephemeral ports";
const FIREWALL: &str = "firewall";

/// Whether each listener can have its port.
pub(super) fn listeners(facts: &Facts, found: &mut Vec<Finding>) {
    let before = found.len();
    let (mut held, mut free) = (Vec::new(), Vec::new());
    for need in facts.needs.iter().filter(|need| is_listener(need)) {
        let port = name(need);
        let mut sockets = facts
            .sockets
            .iter()
            .filter(|(socket, _)| is_for(need, socket))
            .peekable();
        if sockets.peek().is_none() {
            free.push(port);
            continue;
        }
        let holders: Vec<&Process> = sockets.flat_map(|(_, holders)| holders).collect();
        if holders.iter().any(|process| process.name == OURS) {
            held.push(port);
        } else {
            found.push(busy(need, &port, holders.first().copied(), facts));
        }
    }
    if let Some(daemon) = facts
        .daemon
        .as_ref()
        .filter(|_| facts.is_root && !held.is_empty())
        && !free.is_empty()
    {
        found.push(
            Finding::warning(
                PORTS,
                format!("{daemon} runs, but does not listen on {}", free.join(", ")),
                "the configuration has changed since it was started",
            )
            .fix("systemctl restart hanok"),
        );
    }
    if found.len() == before {
        let all = |ports: &[String]| ports.join(", ");
        let daemon = facts
            .daemon
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        found.push(Finding::ok(
            PORTS,
            match (held.is_empty(), free.is_empty()) {
                (true, _) => format!("{} are free", all(&free)),
                (false, true) => format!("{daemon} has {}", all(&held)),
                (false, false) => format!("{daemon} has {}; {} are free", all(&held), all(&free)),
            },
        ));
    }
}

/// A port that somebody else has.
fn busy(need: &Need, port: &str, holder: Option<&Process>, facts: &Facts) -> Finding {
    let why = format!(
        "hanok cannot start without it ({}: {})",
        need.key, need.purpose
    );
    let see = format!(
        "ss -l{}np sport = :{}  # as root, names the process",
        match need.protocol {
            Protocol::Tcp => 't',
            Protocol::Udp => 'u',
        },
        need.ports.first()
    );
    let Some(process) = holder else {
        let what = format!("{port} is in use, by whom only root may see");
        if facts.is_root {
            let what = format!("{port} is in use, by the kernel or a process in another namespace");
            return Finding::error(PORTS, what, why)
                .fix(format!("set {} to another port", need.key));
        }
        if let Some(daemon) = &facts.daemon {
            return Finding::unknown(PORTS, format!("{what}; {daemon} runs and may have it"));
        }
        return Finding::error(PORTS, what, why).fix(see);
    };
    let mut finding = Finding::error(PORTS, format!("{process} has {port}"), why);
    for fix in advice(process, need) {
        finding = finding.fix(fix);
    }
    finding.fix(match need.key {
        "HTTPS_PORT" | "HTTP_PORT" => {
            "or keep it: set HANOK_FRONT=off and let it pass on to HANOK_PLAIN_LISTEN".to_owned()
        }
        key => format!("or set {key} to another port"),
    })
}

/// What stops a program that is known to be in the way.
fn advice(process: &Process, need: &Need) -> Vec<String> {
    let unit = match process.name.as_str() {
        // Containers of an OpenVidu 2 deployment publish, or on the host network take, exactly these ports.
        "docker-proxy" | "kurento-media-s" | "java" => {
            return vec!["cd /opt/openvidu && ./openvidu stop  # if it is OpenVidu's".to_owned()];
        }
        "turnserver" => "coturn",
        "nginx" | "haproxy" | "caddy" | "traefik" | "lighttpd" | "apache2" | "httpd" => {
            &process.name
        }
        "systemd" => {
            return vec![format!(
                "systemctl list-sockets  # the unit that has port {}; hanok.socket is ours",
                need.ports.first()
            )];
        }
        _ => return vec![format!("kill {}  # or stop what starts it", process.pid)],
    };
    vec![
        format!("systemctl disable --now {unit}"),
        "cd /opt/openvidu && ./openvidu stop  # if it is one of OpenVidu's containers".to_owned(),
    ]
}

/// Whether the media threads get the ports that everybody expects them to have.
pub(super) fn media(config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    let range = config.media.ports;
    let foreign = |port: u16| {
        facts.sockets.iter().find(|(socket, holders)| {
            socket.at.port() == port
                && meets(&config.media.bind, socket.at.ip())
                && !holders.iter().any(|process| process.name == OURS)
        })
    };
    let runs_unseen = facts.daemon.is_some() && !facts.is_root;
    if runs_unseen {
        found.push(Finding::unknown(
            MEDIA,
            format!("which of {range} the daemon has: only root may see"),
        ));
        return;
    }
    let mut running: Vec<u16> = facts
        .sockets
        .iter()
        .filter(|(socket, holders)| {
            range.contains(socket.at.port())
                && socket.protocol == Protocol::Udp
                && holders.iter().any(|process| process.name == OURS)
        })
        .map(|(socket, _)| socket.at.port())
        .collect();
    running.sort_unstable();
    running.dedup();
    let taken: Vec<u16> = if running.is_empty() {
        let free = range.iter().filter(|port| foreign(*port).is_none());
        free.take(facts.workers).collect()
    } else {
        running
    };
    if taken.len() < facts.workers {
        found.push(
            Finding::error(
                MEDIA,
                format!(
                    "{} media threads, but {} free ports in {range}",
                    facts.workers,
                    taken.len()
                ),
                "each needs one of its own, or hanok does not start",
            )
            .fix("widen HANOK_MEDIA_MIN_PORT to HANOK_MEDIA_MAX_PORT, or lower HANOK_WORKERS"),
        );
        return;
    }
    let expected: Vec<u16> = range.iter().take(facts.workers).collect();
    let shown: Vec<String> = taken.iter().map(u16::to_string).collect();
    let shown = shown.join(", ");
    let in_the_way = expected.iter().find_map(|port| {
        let (_, holders) = foreign(*port)?;
        let holder = holders
            .first()
            .map_or_else(|| "somebody else".to_owned(), ToString::to_string);
        Some(format!("{holder} has {port}"))
    });
    found.push(match in_the_way {
        Some(reason) => Finding::warning(
            MEDIA,
            format!("{reason}, so the media threads use {shown}"),
            "`hanok ports` names the lowest ones, so a firewall set up by it is closed for these",
        )
        .fix(format!(
            "open {shown} for UDP and TCP, or move the other program away"
        )),
        None => Finding::ok(
            MEDIA,
            format!("{shown}, UDP and TCP, for {} media threads", facts.workers),
        ),
    });
}

/// Whether the kernel may give our ports to clients of this machine.
pub(super) fn ephemeral(facts: &Facts, found: &mut Vec<Finding>) {
    let Some(ephemeral) = facts.kernel.ephemeral else {
        found.push(Finding::unknown(
            EPHEMERAL,
            "which ports the kernel gives to clients",
        ));
        return;
    };
    let reserved = &facts.kernel.reserved;
    let ours = facts.needs.iter().map(|need| need.ports);
    let mut exposed: Vec<PortRange> = ours
        .filter_map(|ports| {
            let first = ports.first().max(ephemeral.first());
            PortRange::new(first, ports.last().min(ephemeral.last()))
        })
        .filter(|part| {
            let is_reserved = |port: u16| reserved.iter().any(|range| range.contains(port));
            !part.iter().all(is_reserved)
        })
        .collect();
    exposed.sort_by_key(|part| (part.first(), part.last()));
    exposed.dedup();
    if exposed.is_empty() {
        found.push(Finding::ok(
            EPHEMERAL,
            format!("the kernel gives clients {ephemeral}, without ours"),
        ));
        return;
    }
    let parts = join(&exposed);
    let all = merged(reserved.iter().chain(&exposed).copied().collect());
    let all = join(&all);
    found.push(
        Finding::warning(
            EPHEMERAL,
            format!("the kernel may give {parts} to any client of this machine (it gives {ephemeral})"),
            "a connection of curl or of a database then keeps hanok from starting, or from relaying",
        )
        .fix(format!("sysctl -w net.ipv4.ip_local_reserved_ports={all}"))
        .fix(format!(
            "echo 'net.ipv4.ip_local_reserved_ports = {all}' > /etc/sysctl.d/60-hanok-ports.conf"
        )),
    );
}

/// Whether firewalls on this machine let in what has to come in.
pub(super) fn firewall(facts: &Facts, found: &mut Vec<Finding>) {
    const IN_FRONT: &str =
        "one in front of this machine cannot be seen from here: `hanok ports --format cloud`";
    let filters = match &facts.firewall {
        Ok(filters) => filters,
        Err(reason) => {
            found.push(Finding::unknown(
                FIREWALL,
                format!("what it lets in: {reason}"),
            ));
            return;
        }
    };
    if filters.is_empty() {
        let what = format!("none on this machine refuses anything; {IN_FRONT}");
        found.push(Finding::ok(FIREWALL, what));
        return;
    }
    let before = found.len();
    for filter in filters {
        closed(filter, &facts.needs, found);
    }
    if found.len() == before {
        let what = format!("the one on this machine lets everything in that is needed; {IN_FRONT}");
        found.push(Finding::ok(FIREWALL, what));
    }
}

fn closed(filter: &Filter, needs: &[Need], found: &mut Vec<Finding>) {
    let from_outside = |need: &&Need| matches!(need.reach, Reach::Everybody | Reach::Peers);
    let closed: Vec<&Need> = needs
        .iter()
        .filter(from_outside)
        .filter(|need| !filter.lets_in(need.protocol, need.ports))
        .collect();
    if closed.is_empty() {
        return;
    }
    let names: Vec<String> = closed.iter().map(|need| name(need)).collect();
    let tool = match &filter.tool {
        Tool::Ufw => "ufw".to_owned(),
        Tool::Nft(chain) => format!("the firewall (nft chain {chain})"),
    };
    let mut finding = Finding::error(
        FIREWALL,
        format!("{tool} does not let in {}", names.join(", ")),
        "clients do not reach it",
    );
    for need in closed {
        let (first, last) = (need.ports.first(), need.ports.last());
        let span = |between: char| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}{between}{last}")
            }
        };
        finding = finding.fix(match &filter.tool {
            Tool::Ufw => format!("ufw allow {}/{}", span(':'), need.protocol),
            Tool::Nft(chain) => format!(
                "nft insert rule {chain} {} dport {} accept",
                need.protocol,
                span('-')
            ),
        });
    }
    if matches!(filter.tool, Tool::Nft(_)) {
        finding = finding
            .fix("and the same in /etc/nftables.conf, or with the tool that made these rules");
    }
    found.push(finding);
}

fn is_listener(need: &Need) -> bool {
    need.bound_at_start > 0 && !need.is_media()
}

/// `443/tcp`.
fn name(need: &Need) -> String {
    let ports = need.ports;
    if ports.first() == ports.last() {
        format!("{}/{}", ports.first(), need.protocol)
    } else {
        format!("{ports}/{}", need.protocol)
    }
}

/// Whether a socket keeps us from what we need.
fn is_for(need: &Need, socket: &Waiting) -> bool {
    need.protocol == socket.protocol
        && need.ports.contains(socket.at.port())
        && meets(&need.bind, socket.at.ip())
}

/// Whether a socket at `address` and ours at `bind` would have an address in common. One at `[::]` usually has all of
/// IPv4, too; the kernel's table does not say.
fn meets(bind: &[IpAddr], address: IpAddr) -> bool {
    bind.iter().any(|bind| {
        let same_family = bind.is_ipv4() == address.is_ipv4();
        *bind == address
            || (same_family && (bind.is_unspecified() || address.is_unspecified()))
            || (address.is_unspecified() && address.is_ipv6())
    })
}

/// Ranges without overlap, ascending; neighbours are one.
fn merged(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_by_key(|range| (range.first(), range.last()));
    let mut merged: Vec<PortRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.first() <= last.last().saturating_add(1) => {
                let end = last.last().max(range.last());
                if let Some(wider) = PortRange::new(last.first(), end) {
                    *last = wider;
                }
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// As sysctl writes them.
fn join(ranges: &[PortRange]) -> String {
    let shown: Vec<String> = ranges
        .iter()
        .map(|range| {
            if range.first() == range.last() {
                range.first().to_string()
            } else {
                range.to_string()
            }
        })
        .collect();
    shown.join(",")
}
