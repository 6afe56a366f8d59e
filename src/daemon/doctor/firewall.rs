//! What firewalls on this machine let in, read from what their own tools print. Pure.
//!
//! An approximation that errs on one side: a port counts as open if any rule that everybody meets accepts it. So what
//! is called closed is closed; what is not called closed may still be.

use serde_json::Value;

use crate::config::ports::Protocol;
use crate::units::PortRange;

/// One firewall that drops what no rule accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) tool: Tool,
    /// What it accepts from everybody.
    pub(super) accepts: Vec<Accept>,
}

/// Whose commands change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tool {
    Ufw,
    /// The chain, with its table and that one's family.
    Nft(String),
}

/// What a rule lets in; `None` is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accept {
    pub(super) protocol: Option<Protocol>,
    pub(super) ports: Option<PortRange>,
}

const EVERYTHING: Accept = Accept {
    protocol: None,
    ports: None,
};

impl Filter {
    /// Whether every one of `ports` is let in, by one rule or by several.
    pub(super) fn lets_in(&self, protocol: Protocol, ports: PortRange) -> bool {
        ports.iter().all(|port| {
            self.accepts.iter().any(|accept| {
                accept.protocol.is_none_or(|accepted| accepted == protocol)
                    && accept.ports.is_none_or(|range| range.contains(port))
            })
        })
    }
}

/// Reads `ufw status verbose`; `None` if it is not active, or lets everything in.
pub(super) fn read_ufw(text: &str) -> Option<Filter> {
    let lines = || text.lines().map(str::trim);
    lines().find(|line| *line == "Status: active")?;
    // It is English whatever the system's language is, or the rules are of no use to us.
    if lines().any(|line| line.starts_with("Default: allow (incoming)")) {
        return None;
    }
    let accepts = lines()
        .filter(|line| line.contains("ALLOW") && line.contains("Anywhere") && !line.contains("OUT"))
        .filter(|line| !line.contains(" on "))
        .flat_map(|line| {
            let target = line.split("ALLOW").next().unwrap_or_default();
            let target = target.trim().trim_end_matches("(v6)").trim();
            read_target(target)
        })
        .collect();
    Some(Filter {
        tool: Tool::Ufw,
        accepts,
    })
}

/// `443/tcp`, `443`, `80,443/tcp`, `40000:57000/udp`, `Anywhere`, or the name of an application.
fn read_target(target: &str) -> Vec<Accept> {
    if target == "Anywhere" {
        return vec![EVERYTHING];
    }
    let web = |ports: &[u16]| {
        let one = |port: &u16| Accept {
            protocol: Some(Protocol::Tcp),
            ports: PortRange::new(*port, *port),
        };
        ports.iter().map(one).collect()
    };
    // The names that Debian's and Ubuntu's packages bring.
    match target {
        "Nginx Full" | "Apache Full" | "WWW Full" => return web(&[80, 443]),
        "Nginx HTTP" | "Apache" | "WWW" => return web(&[80]),
        "Nginx HTTPS" | "Apache Secure" | "WWW Secure" => return web(&[443]),
        _ => {}
    }
    let (ports, protocol) = match target.split_once('/') {
        Some((ports, "tcp")) => (ports, Some(Protocol::Tcp)),
        Some((ports, "udp")) => (ports, Some(Protocol::Udp)),
        Some(_) => return Vec::new(),
        None => (target, None),
    };
    let read = ports.split(',').map(|span| {
        let (first, last) = span.split_once(':').unwrap_or((span, span));
        let range = PortRange::new(first.parse().ok()?, last.parse().ok()?)?;
        Some(Accept {
            protocol,
            ports: Some(range),
        })
    });
    read.flatten().collect()
}

/// Reads `nft --json list ruleset`: every table that drops what comes in for this machine unless a rule accepts it.
/// The rules of `iptables` and of firewalld are there, too.
pub(super) fn read_nft(text: &str) -> Option<Vec<Filter>> {
    let ruleset: Value = serde_json::from_str(text).ok()?;
    let objects = ruleset.get("nftables")?.as_array()?;
    let of = |kind: &'static str| objects.iter().filter_map(move |object| object.get(kind));
    let mut filters: Vec<Filter> = Vec::new();
    for chain in of("chain") {
        let is_input = text_of(chain, "hook") == Some("input")
            && text_of(chain, "type").is_none_or(|kind| kind == "filter");
        if !is_input {
            continue;
        }
        let place = place(chain);
        let name = text_of(chain, "name");
        let tool = Tool::Nft(format!("{place} {}", name.unwrap_or_default()));
        let drops = text_of(chain, "policy") == Some("drop")
            || of("rule").any(|rule| {
                self::place(rule) == place && text_of(rule, "chain") == name && refuses_all(rule)
            });
        if !drops {
            continue;
        }
        let sets: Vec<&Value> = of("set").filter(|set| self::place(set) == place).collect();
        let rules = of("rule").filter(|rule| self::place(rule) == place);
        filters.push(Filter {
            tool,
            accepts: rules.flat_map(|rule| accepts(rule, &sets)).collect(),
        });
    }
    Some(filters)
}

fn text_of<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// `inet filter`.
fn place(object: &Value) -> String {
    let word = |key| text_of(object, key).unwrap_or_default();
    format!("{} {}", word("family"), word("table"))
}

fn statements(rule: &Value) -> &[Value] {
    rule.get("expr")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// What says nothing of whose packet it is.
fn is_neutral(statement: &Value) -> bool {
    ["counter", "log", "limit", "comment"]
        .iter()
        .any(|name| statement.get(name).is_some())
}

/// Whether a rule drops or rejects whatever comes to it.
fn refuses_all(rule: &Value) -> bool {
    let mut rest = statements(rule)
        .iter()
        .filter(|statement| !is_neutral(statement));
    let refuses =
        |statement: &Value| statement.get("drop").is_some() || statement.get("reject").is_some();
    rest.next().is_some_and(refuses) && rest.next().is_none()
}

/// What a rule accepts from everybody.
fn accepts(rule: &Value, sets: &[&Value]) -> Vec<Accept> {
    let mut statements = statements(rule).iter();
    if !statements.clone().any(|it| it.get("accept").is_some()) {
        return Vec::new();
    }
    let mut accepted = vec![EVERYTHING];
    let mut is_general = true;
    for matched in statements.by_ref().filter_map(|it| it.get("match")) {
        let left = matched.get("left");
        let payload = left.and_then(|left| left.get("payload"));
        let field = payload.and_then(|payload| text_of(payload, "field"));
        let right = matched.get("right");
        let meta = left.and_then(|left| left.get("meta"));
        let meta = meta.and_then(|meta| text_of(meta, "key"));
        match (field, meta, right) {
            (Some("dport"), _, Some(right)) if text_of(matched, "op") != Some("!=") => {
                let protocol = match payload.and_then(|payload| text_of(payload, "protocol")) {
                    Some("tcp") => Some(Protocol::Tcp),
                    Some("udp") => Some(Protocol::Udp),
                    _ => accepted.first().and_then(|accept| accept.protocol),
                };
                let ports = spans(right, sets).into_iter().map(|range| Accept {
                    protocol,
                    ports: Some(range),
                });
                accepted = ports.collect();
            }
            // `meta l4proto tcp`, `ip protocol udp`.
            (Some("protocol" | "nexthdr"), _, Some(right)) | (_, Some("l4proto"), Some(right)) => {
                let protocol = match right.as_str() {
                    Some("tcp") => Protocol::Tcp,
                    Some("udp") => Protocol::Udp,
                    _ => {
                        // Both at once, or others such as ICMP.
                        is_general &= right.to_string().contains("tcp");
                        continue;
                    }
                };
                for accept in &mut accepted {
                    accept.protocol = Some(protocol);
                }
            }
            // `ct state new` is what comes first of everybody.
            _ => {
                let is_state = left
                    .and_then(|left| left.get("ct"))
                    .and_then(|ct| text_of(ct, "key"))
                    == Some("state");
                let is_new = right.is_some_and(|right| right.to_string().contains("\"new\""));
                is_general &= is_state && is_new;
            }
        }
    }
    if is_general { accepted } else { Vec::new() }
}

/// The ports of a match: one, a range, or a set of both, which may have a name.
fn spans(right: &Value, sets: &[&Value]) -> Vec<PortRange> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    if let Some(port) = port(right) {
        return PortRange::new(port, port).into_iter().collect();
    }
    if let Some([first, last]) = right
        .get("range")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    {
        let range = port(first).zip(port(last));
        return range
            .and_then(|(first, last)| PortRange::new(first, last))
            .into_iter()
            .collect();
    }
    let named = right.as_str().and_then(|name| name.strip_prefix('@'));
    let members = match named {
        Some(name) => sets
            .iter()
            .find(|set| text_of(set, "name") == Some(name))
            .and_then(|set| set.get("elem")),
        None => right.get("set"),
    };
    let members = members.and_then(Value::as_array);
    // A set has no sets in it, so this ends.
    let flat = members
        .into_iter()
        .flatten()
        .filter(|it| it.get("set").is_none());
    flat.filter(|it| !it.is_string())
        .flat_map(|member| spans(member, &[]))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_open(filter: &Filter, protocol: Protocol, first: u16, last: u16) -> bool {
        filter.lets_in(protocol, PortRange::new(first, last).unwrap())
    }

    #[test]
    fn ufw_lets_in_what_its_status_says() {
        let text = "Status: active\nLogging: on (low)\nDefault: deny (incoming), allow (outgoing), disabled (routed)\n\
                    New profiles: skip\n\nTo                         Action      From\n\
                    --                         ------      ----\n\
                    22/tcp                     ALLOW IN    Anywhere\n\
                    Nginx Full                 ALLOW IN    Anywhere\n\
                    3478                       ALLOW IN    Anywhere\n\
                    40000:40001/udp            ALLOW IN    Anywhere                   # hanok\n\
                    5443/tcp                   ALLOW IN    10.0.0.0/8\n\
                    9000/tcp on eth1           ALLOW IN    Anywhere\n\
                    9100/tcp                   DENY IN     Anywhere\n\
                    25/tcp                     ALLOW OUT   Anywhere\n\
                    8080,8443/tcp              ALLOW IN    Anywhere\n\
                    22/tcp (v6)                ALLOW IN    Anywhere (v6)\n";
        let filter = read_ufw(text).unwrap();
        for (protocol, first, last, expected) in [
            (Protocol::Tcp, 22, 22, true),
            (Protocol::Tcp, 443, 443, true),
            (Protocol::Udp, 443, 443, false),
            (Protocol::Udp, 3478, 3478, true),
            (Protocol::Tcp, 3478, 3478, true),
            (Protocol::Udp, 40_000, 40_001, true),
            (Protocol::Udp, 40_000, 40_002, false),
            (Protocol::Tcp, 40_000, 40_001, false),
            (Protocol::Tcp, 5443, 5443, false),
            (Protocol::Tcp, 9000, 9000, false),
            (Protocol::Tcp, 9100, 9100, false),
            (Protocol::Tcp, 25, 25, false),
            (Protocol::Tcp, 8443, 8443, true),
        ] {
            let found = is_open(&filter, protocol, first, last);
            assert_eq!(found, expected, "{first}-{last}/{protocol}");
        }
        assert_eq!(read_ufw("Status: inactive\n"), None);
        let open = "Status: active\nDefault: allow (incoming), allow (outgoing)\n";
        assert_eq!(read_ufw(open), None);
    }

    /// A rule set with one table, its chain's policy, and these expressions as rules.
    fn ruleset(policy: &str, rules: &[&str]) -> String {
        let rules: String = rules
            .iter()
            .map(|expr| {
                format!(
                    ",{{\"rule\":{{\"family\":\"inet\",\"table\":\"filter\",\"chain\":\"input\",\"expr\":[{expr}]}}}}"
                )
            })
            .collect();
        format!(
            "{{\"nftables\":[{{\"metainfo\":{{}}}},{{\"chain\":{{\"family\":\"inet\",\"table\":\"filter\",\"name\":\"input\",\
             \"type\":\"filter\",\"hook\":\"input\",\"prio\":0,\"policy\":\"{policy}\"}}}},{{\"set\":{{\"family\":\"inet\",\
             \"table\":\"filter\",\"name\":\"web\",\"elem\":[80,443]}}}}{rules}]}}"
        )
    }

    fn dport(protocol: &str, right: &str) -> String {
        format!(
            "{{\"match\":{{\"op\":\"==\",\"left\":{{\"payload\":{{\"protocol\":\"{protocol}\",\"field\":\"dport\"}}}},\
             \"right\":{right}}}}},{{\"counter\":{{}}}},{{\"accept\":null}}"
        )
    }

    #[test]
    fn nft_lets_in_what_its_rules_accept_from_everybody() {
        let from_inside = "{\"match\":{\"op\":\"==\",\"left\":{\"payload\":{\"protocol\":\"ip\",\"field\":\"saddr\"}},\"right\":\"10.0.0.1\"}},";
        let on_loopback = "{\"match\":{\"op\":\"==\",\"left\":{\"meta\":{\"key\":\"iifname\"}},\"right\":\"lo\"}},{\"accept\":null}";
        let known = "{\"match\":{\"op\":\"in\",\"left\":{\"ct\":{\"key\":\"state\"}},\"right\":[\"established\",\"related\"]}},{\"accept\":null}";
        let new =
            "{\"match\":{\"op\":\"in\",\"left\":{\"ct\":{\"key\":\"state\"}},\"right\":\"new\"}},";
        let text = ruleset(
            "drop",
            &[
                on_loopback,
                known,
                &dport("tcp", "\"@web\""),
                &dport("udp", "{\"set\":[3478,{\"range\":[40000,40007]}]}"),
                &format!("{new}{}", dport("tcp", "3478")),
                &format!("{from_inside}{}", dport("tcp", "5443")),
            ],
        );
        let filters = read_nft(&text).unwrap();
        let [filter] = filters.as_slice() else {
            panic!("{filters:?}")
        };
        assert_eq!(filter.tool, Tool::Nft("inet filter input".to_owned()));
        for (protocol, first, last, expected) in [
            (Protocol::Tcp, 80, 80, true),
            (Protocol::Tcp, 443, 443, true),
            (Protocol::Udp, 443, 443, false),
            (Protocol::Udp, 3478, 3478, true),
            (Protocol::Tcp, 3478, 3478, true),
            (Protocol::Udp, 40_000, 40_007, true),
            (Protocol::Udp, 40_000, 40_008, false),
            (Protocol::Tcp, 5443, 5443, false),
            (Protocol::Tcp, 22, 22, false),
        ] {
            let found = is_open(filter, protocol, first, last);
            assert_eq!(found, expected, "{first}-{last}/{protocol}");
        }
    }

    #[test]
    fn a_firewall_that_accepts_by_default_is_none_unless_its_last_rule_refuses() {
        assert_eq!(read_nft(&ruleset("accept", &[])), Some(Vec::new()));
        let refusing = ruleset("accept", &[&dport("tcp", "443"), "{\"reject\":null}"]);
        let filters = read_nft(&refusing).unwrap();
        assert!(is_open(&filters[0], Protocol::Tcp, 443, 443));
        assert!(!is_open(&filters[0], Protocol::Tcp, 80, 80));
        let everything = ruleset("drop", &["{\"accept\":null}"]);
        let filters = read_nft(&everything).unwrap();
        assert!(is_open(&filters[0], Protocol::Udp, 1, 65_535));
        let one_protocol = "{\"match\":{\"op\":\"==\",\"left\":{\"meta\":{\"key\":\"l4proto\"}},\"right\":\"icmp\"}},{\"accept\":null}";
        let filters = read_nft(&ruleset("drop", &[one_protocol])).unwrap();
        assert!(!is_open(&filters[0], Protocol::Udp, 1, 1));
        assert_eq!(read_nft("Error: not permitted"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,200}") {
            let _ = read_nft(&text);
            let _ = read_ufw(&text);
            let _ = read_ufw(&format!("Status: active\n{text} ALLOW IN Anywhere"));
        }
    }
}
