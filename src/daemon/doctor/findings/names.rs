//! The domain's DNS, and the addresses that clients are told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::Config;
use crate::config::settings::Certificate;
use crate::config::values::{CoturnIp, Host};
use crate::daemon::doctor::dns::{DnsError, may_issue};
use crate::daemon::doctor::facts::Facts;
use crate::media::net::addresses::Reason;
use crate::media::turn::is_globally_reachable;
use crate::views::finding::Finding;

/// What Cloudflare publishes as its proxies' networks.
const CLOUDFLARE_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(103, 21, 244, 0), 22),
    (Ipv4Addr::new(103, 22, 200, 0), 22),
    (Ipv4Addr::new(103, 31, 4, 0), 22),
    (Ipv4Addr::new(104, 16, 0, 0), 13),
    (Ipv4Addr::new(104, 24, 0, 0), 14),
    (Ipv4Addr::new(108, 162, 192, 0), 18),
    (Ipv4Addr::new(131, 0, 72, 0), 22),
    (Ipv4Addr::new(141, 101, 64, 0), 18),
    (Ipv4Addr::new(162, 158, 0, 0), 15),
    (Ipv4Addr::new(172, 64, 0, 0), 13),
    (Ipv4Addr::new(173, 245, 48, 0), 20),
    (Ipv4Addr::new(188, 114, 96, 0), 20),
    (Ipv4Addr::new(190, 93, 240, 0), 20),
    (Ipv4Addr::new(197, 234, 240, 0), 22),
    (Ipv4Addr::new(198, 41, 128, 0), 17),
];
const CLOUDFLARE_V6: [(Ipv6Addr, u8); 7] = [
    (Ipv6Addr::new(0x2400, 0xcb00, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2405, 0x8100, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2405, 0xb500, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2803, 0xf800, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2a06, 0x98c0, 0, 0, 0, 0, 0, 0), 29),
    (Ipv6Addr::new(0x2c0f, 0xf248, 0, 0, 0, 0, 0, 0), 32),
];

const DNS: &str = "DNS";
const ADDRESS: &str = "addresses";
const IPV6: &str = "IPv6";
const AUTHORITY: &str = "CAA";

/// Whether the domain leads here.
pub(super) fn domain(config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    match &config.public.host {
        Host::Address(address) => literal(*address, config, facts, found),
        Host::Name(name) if name.contains('.') => named(name, config, facts, found),
        Host::Name(name) => found.push(
            Finding::warning(
                DNS,
                format!("{name} is a name of this network only"),
                "clients elsewhere do not find this machine, and no public authority makes a certificate for it",
            )
            .fix("set DOMAIN_OR_PUBLIC_IP to a public domain name"),
        ),
    }
}

fn literal(address: IpAddr, config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    if !is_globally_reachable(address) {
        found.push(
            Finding::warning(
                DNS,
                format!("DOMAIN_OR_PUBLIC_IP is {address}, which is no public address"),
                "only clients of this machine or its network reach it",
            )
            .fix("set DOMAIN_OR_PUBLIC_IP to a public domain name or address"),
        );
        return;
    }
    match ours(config, facts, address.is_ipv4()) {
        ours if ours.is_empty() || ours.contains(&address) => {
            found.push(Finding::ok(
                DNS,
                format!("{address} is used instead of a domain name"),
            ));
        }
        ours => found.push(
            Finding::error(
                DNS,
                format!(
                    "DOMAIN_OR_PUBLIC_IP is {address}, but others reach this machine by {}",
                    list(&ours)
                ),
                "clients are sent to another machine",
            )
            .fix(format!("set DOMAIN_OR_PUBLIC_IP={}", ours[0])),
        ),
    }
}

fn named(name: &str, config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    let names = &facts.names;
    let before = found.len();
    let record = || {
        let mut known = ours(config, facts, true);
        known.extend(ours(config, facts, false));
        known.first().map_or_else(
            || format!("at your DNS provider: {name}. A ADDRESS-OF-THIS-MACHINE"),
            |address| format!("at your DNS provider: {name}. {} {address}", kind(*address)),
        )
    };
    match (&names.v4, &names.v6) {
        (Err(DnsError::NoSuchName), _) | (_, Err(DnsError::NoSuchName)) => found.push(
            Finding::error(
                DNS,
                format!("{name} does not exist"),
                "no client finds this machine",
            )
            .fix(record()),
        ),
        (Ok(v4), Ok(v6)) if v4.is_empty() && v6.is_empty() => found.push(
            Finding::error(
                DNS,
                format!("{name} has neither an A nor an AAAA record"),
                "no client finds this machine",
            )
            .fix(record()),
        ),
        (v4, v6) => {
            for answer in [v4, v6] {
                match answer {
                    Ok(addresses) => leads_here(name, addresses, config, facts, found),
                    Err(error) => {
                        found.push(Finding::unknown(
                            DNS,
                            format!("where {name} leads: {error}"),
                        ));
                    }
                }
            }
        }
    }
    let is_loopback_here = !names.here.is_empty() && names.here.iter().all(IpAddr::is_loopback);
    if is_loopback_here && found.len() == before {
        found.push(
            Finding::warning(
                DNS,
                format!("/etc/hosts leads {name} to {} on this machine", list(&names.here)),
                "programs here do not see what clients see, and behind address translation hanok cannot take the public \
                 address from DNS",
            )
            .fix(format!("delete {name} from the line of {} in /etc/hosts", names.here[0])),
        );
    }
    if found.len() == before {
        let mut addresses: Vec<IpAddr> = Vec::new();
        addresses.extend(names.v4.iter().flatten());
        addresses.extend(names.v6.iter().flatten());
        found.push(Finding::ok(
            DNS,
            format!("{name} leads here: {}", list(&addresses)),
        ));
    }
}

/// One family's records.
fn leads_here(
    name: &str,
    addresses: &[IpAddr],
    config: &Config,
    facts: &Facts,
    found: &mut Vec<Finding>,
) {
    let Some(first) = addresses.first() else {
        return;
    };
    let v4 = first.is_ipv4();
    let ours = ours(config, facts, v4);
    let others: Vec<IpAddr> = addresses
        .iter()
        .copied()
        .filter(|address| !ours.contains(address))
        .collect();
    if others.is_empty() {
        return;
    }
    let Some(own) = ours.first() else {
        // Without any IPv6 that is another finding.
        if v4 {
            found.push(Finding::unknown(
                DNS,
                format!(
                    "whether {name}, which leads to {}, leads here: this machine has private addresses, and no STUN \
                     server told the public one",
                    list(&others)
                ),
            ));
        }
        return;
    };
    if others.iter().all(|address| is_cloudflare(*address)) {
        return found.push(content_network(name, &others, *own, config, facts));
    }
    let (what, why) = if others.len() == addresses.len() {
        (
            format!(
                "{name} leads to {}, but this machine is {}",
                list(&others),
                list(&ours)
            ),
            "clients are sent to another machine; if that one is a proxy or a CDN of yours, media and TURN cannot pass it",
        )
    } else {
        (
            format!(
                "{name} leads to {} too, which is not this machine",
                list(&others)
            ),
            "some clients are sent elsewhere, at random",
        )
    };
    found.push(
        Finding::error(DNS, what, why)
            .fix(format!(
                "at your DNS provider: {name}. {} {own}, and no other",
                kind(*own)
            ))
            .fix(format!(
                "behind a proxy of yours: set HANOK_EXTERNAL_IP={own} and COTURN_IP={own}"
            )),
    );
}

/// A CDN carries HTTPS and WebSockets, but no media.
fn content_network(
    name: &str,
    others: &[IpAddr],
    own: IpAddr,
    config: &Config,
    facts: &Facts,
) -> Finding {
    let what = format!("{name} leads to Cloudflare ({})", list(others));
    let is_told = facts.place.told.addresses.contains(&own);
    let knows_turn = matches!(config.turn.address, CoturnIp::Host(_));
    if is_told && knows_turn {
        return Finding::ok(
            DNS,
            format!("{what}; media and TURN go around it, to {own}"),
        );
    }
    let why = "it carries HTTPS and WebSockets, but neither media nor TURN, which have to be told this machine's own \
               address";
    let finding = if is_told {
        Finding::warning(DNS, what, why)
    } else {
        Finding::error(DNS, what, why)
    };
    finding
        .fix(format!("set HANOK_EXTERNAL_IP={own} and COTURN_IP={own}"))
        .fix("list its networks in HANOK_TRUSTED_PROXIES, or every client has its address")
        .fix(format!("or at Cloudflare: set {name} to \"DNS only\""))
}

/// Whether the candidates name an address by which others reach this machine.
pub(super) fn addresses(config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    let place = &facts.place;
    let told = &place.told;
    let before = found.len();
    if told.reason == Reason::LoopbackOnly {
        found.push(
            Finding::error(
                ADDRESS,
                "this machine has no address but loopback",
                "no client reaches its media",
            )
            .fix("set HANOK_BIND and HANOK_EXTERNAL_IP, or bring the network up"),
        );
        return;
    }
    for public in place.public.iter().flatten() {
        let is_bound = config
            .media
            .bind
            .iter()
            .any(|bind| bind.is_ipv4() == public.is_ipv4());
        if told.addresses.contains(public) || !is_bound {
            continue;
        }
        let what = format!(
            "others reach this machine by {public}, but clients are told {}",
            list(&told.addresses)
        );
        let is_explicit = matches!(
            told.reason,
            Reason::External | Reason::MediaNodes | Reason::DomainAddress
        );
        let why = if place
            .own
            .iter()
            .any(|own| own.is_ipv4() == public.is_ipv4())
        {
            "it is behind address translation (1:1 NAT), so media sent to what clients are told does not arrive"
        } else {
            "media sent to what clients are told may not arrive"
        };
        let finding = if is_explicit {
            // What leaves may take another way than what comes in.
            Finding::warning(ADDRESS, what, why)
        } else {
            Finding::error(ADDRESS, what, why)
        };
        found.push(finding.fix(format!("set HANOK_EXTERNAL_IP={public}")));
    }
    if found.len() > before {
        return;
    }
    let clients = format!(
        "clients are told {} ({})",
        list(&told.addresses),
        told.reason
    );
    if told
        .addresses
        .iter()
        .any(|address| is_globally_reachable(*address))
    {
        let translated = place
            .public
            .iter()
            .flatten()
            .find(|public| !place.own.contains(public));
        let note = translated.map_or_else(String::new, |public| {
            format!("; 1:1 NAT: {public} stands for an address of this machine")
        });
        found.push(Finding::ok(ADDRESS, clients + &note));
    } else if place.was_asked {
        found.push(
            Finding::warning(
                ADDRESS,
                format!("{clients}, which only this network reaches; no STUN server told a public one"),
                "clients elsewhere get no media",
            )
            .fix("set HANOK_EXTERNAL_IP to the public address, if this machine is to be reached from elsewhere")
            .fix("let UDP to the servers of HANOK_PUBLIC_ADDRESS_SERVERS out"),
        );
    } else {
        found.push(Finding::unknown(
            ADDRESS,
            format!(
                "{clients}, which only this network reaches; nobody was asked for a public one"
            ),
        ));
    }
}

/// IPv6 that is there on one side only.
pub(super) fn ipv6(config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    let Host::Name(name) = &config.public.host else {
        return;
    };
    let Ok(records) = &facts.names.v6 else {
        return;
    };
    let ours = ours(config, facts, false);
    let is_bound = config.media.bind.iter().any(IpAddr::is_ipv6);
    let first = "clients with IPv6 try it first, and wait for an answer that does not come";
    let remove = format!("at your DNS provider: delete the AAAA record of {name}");
    let finding = match (records.first(), ours.first()) {
        (None, None) => Finding::ok(IPV6, "neither DNS nor this machine has it"),
        (Some(record), None) => Finding::error(
            IPV6,
            format!(
                "{name} has the AAAA record {record}, but this machine has no public IPv6 address"
            ),
            first,
        )
        .fix(remove),
        (Some(record), Some(_)) if !is_bound => Finding::error(
            IPV6,
            format!("{name} has the AAAA record {record}, but HANOK_BIND has no IPv6 address"),
            first,
        )
        .fix("set HANOK_BIND=0.0.0.0,::")
        .fix(remove),
        (Some(record), Some(_)) if !facts.place.has_v6_route => Finding::error(
            IPV6,
            format!(
                "{name} has the AAAA record {record}, but this machine has no IPv6 default route"
            ),
            first,
        )
        .fix("ip -6 route show default  # empty: your provider names the gateway")
        .fix(remove),
        (None, Some(own)) if is_bound && !facts.place.has_v6_route => Finding::warning(
            IPV6,
            format!("this machine has {own}, but no IPv6 default route"),
            "clients are told an address that leads nowhere, and try it in vain",
        )
        .fix("ip -6 route show default  # empty: your provider names the gateway")
        .fix("or set HANOK_BIND=0.0.0.0"),
        (None, Some(own)) if is_bound => Finding::warning(
            IPV6,
            format!("this machine has {own}, but {name} has no AAAA record"),
            "clients that have nothing but IPv6 do not find it",
        )
        .fix(format!("at your DNS provider: {name}. AAAA {own}")),
        (None, Some(_)) => Finding::ok(IPV6, "not used"),
        (Some(_), Some(own)) => {
            Finding::ok(IPV6, format!("{own}, with a route and an AAAA record"))
        }
    };
    found.push(finding);
}

/// Whether Let's Encrypt may make the certificate.
pub(super) fn authorities(config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    const ISSUER: &str = "letsencrypt.org";
    let is_wanted = matches!(config.web.certificate, Certificate::LetsEncrypt { .. })
        && config.acme.directory.contains(ISSUER);
    let Some(name) = config.public.host.name().filter(|_| is_wanted) else {
        return;
    };
    found.push(match &facts.names.caa {
        Ok(records) if may_issue(records, ISSUER) => {
            let what = if records.is_empty() {
                "no records: every authority may make certificates"
            } else {
                "the records let Let's Encrypt make certificates"
            };
            Finding::ok(AUTHORITY, what)
        }
        Ok(records) => {
            let issuers = records.iter().filter(|caa| caa.property == "issue");
            let issuers: Vec<&str> = issuers.map(|caa| caa.value.as_str()).collect();
            Finding::error(
                AUTHORITY,
                format!(
                    "the CAA records of {name} admit only: {}",
                    issuers.join(", ")
                ),
                "Let's Encrypt refuses to make a certificate",
            )
            .fix(format!(
                "at your DNS provider: {name}. CAA 0 issue \"{ISSUER}\""
            ))
        }
        Err(error) => Finding::unknown(AUTHORITY, format!("the CAA records of {name}: {error}")),
    });
}

/// The public addresses of one family by which others reach this machine, the surest first.
fn ours(config: &Config, facts: &Facts, v4: bool) -> Vec<IpAddr> {
    let place = &facts.place;
    let mut ours: Vec<IpAddr> = Vec::new();
    let nodes = config.media.nodes.iter();
    let nodes = nodes.filter(|(private, _)| place.own.contains(private));
    let known = place.public.iter().flatten().copied();
    let known = known
        .chain(config.media.external.iter().copied())
        .chain(nodes.map(|(_, public)| *public))
        .chain(
            place
                .own
                .iter()
                .copied()
                .filter(|own| is_globally_reachable(*own)),
        );
    for address in known.filter(|address| address.is_ipv4() == v4) {
        if !ours.contains(&address) {
            ours.push(address);
        }
    }
    ours
}

fn is_cloudflare(address: IpAddr) -> bool {
    let v4 = CLOUDFLARE_V4
        .iter()
        .filter_map(|(net, length)| Ipv4Net::new(*net, *length).ok());
    let v6 = CLOUDFLARE_V6
        .iter()
        .filter_map(|(net, length)| Ipv6Net::new(*net, *length).ok());
    v4.map(IpNet::from)
        .chain(v6.map(IpNet::from))
        .any(|net| net.contains(&address))
}

/// The type of an address's record.
fn kind(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "A" } else { "AAAA" }
}

fn list(addresses: &[IpAddr]) -> String {
    let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    shown.join(", ")
}
