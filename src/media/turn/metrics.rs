//! What TURN servers count, as metrics: by our names, and by those that coturn has, for the dashboards that operators
//! already have.
//!
//! coturn counts traffic when an allocation ends, and with it every message of a client; these numbers are always up to
//! date, and are of relayed data alone. It counts for each realm, of which there is one here.

use crate::views::metric::{Family, Label, Word};
use crate::views::turn::TurnCounters;

/// The metrics of all servers of the process, which count `counters` together in this `realm`.
pub fn families(counters: &TurnCounters, realm: &'static str) -> Vec<Family> {
    let mut families = ours(counters);
    families.extend(coturns(counters, realm));
    families
}

/// Names every field, so that none is forgotten.
fn ours(counters: &TurnCounters) -> Vec<Family> {
    let TurnCounters {
        bindings,
        challenges,
        refused,
        over_budget,
        ignored,
        allocations,
        live_udp,
        live_tcp,
        live_tls,
        over_quota,
        out_of_ports,
        ports_in_use,
        denied_peers,
        packets_to_peers,
        bytes_to_peers,
        packets_inside,
        packets_to_clients,
        bytes_to_clients,
        dropped_unpermitted,
        dropped_own_port,
        dropped_over_rate,
    } = *counters;
    let by =
        |name: &'static str, word: &'static str| -> Vec<Label> { vec![(name, Word::Text(word))] };
    vec![
        Family::gauges(
            "hanok_turn_allocations",
            "TURN allocations that live, by what their client comes by.",
            [
                (by("transport", "udp"), live_udp.into()),
                (by("transport", "tcp"), live_tcp.into()),
                (by("transport", "tls"), live_tls.into()),
            ],
        ),
        Family::counter(
            "hanok_turn_allocations_total",
            "TURN allocations made.",
            allocations,
        ),
        Family::counters(
            "hanok_turn_requests_total",
            "Requests to the STUN and TURN server that made no allocation, by what became of them: binding (answered), \
             challenge (asked for a credential), quota (486), capacity (508), refused (any other error), ignored (no \
             request at all, or too many from one source to be answered).",
            [
                (by("outcome", "binding"), bindings),
                (by("outcome", "challenge"), challenges),
                (by("outcome", "quota"), over_quota),
                (by("outcome", "capacity"), out_of_ports),
                (by("outcome", "refused"), refused),
                (by("outcome", "ignored"), ignored + over_budget),
            ],
        ),
        Family::counter(
            "hanok_turn_denied_peers_total",
            "Permissions and channels refused because of the peer's address.",
            denied_peers,
        ),
        Family::counter(
            "hanok_turn_occupied_ports_total",
            "Relay ports that another process had.",
            ports_in_use,
        ),
        Family::counters(
            "hanok_turn_relayed_packets_total",
            "Packets relayed, to peers and to clients.",
            [
                (by("to", "peer"), packets_to_peers),
                (by("to", "client"), packets_to_clients),
            ],
        ),
        Family::counters(
            "hanok_turn_relayed_bytes_total",
            "Bytes of the packets relayed, without headers of TURN.",
            [
                (by("to", "peer"), bytes_to_peers),
                (by("to", "client"), bytes_to_clients),
            ],
        ),
        Family::counter(
            "hanok_turn_inside_packets_total",
            "Packets to peers that never left the process, since the peer was our own media server.",
            packets_inside,
        ),
        Family::counters(
            "hanok_turn_dropped_packets_total",
            "Data that was not relayed: without permission, for a port of ours that nobody may reach, or beyond a bound \
             of bandwidth.",
            [
                (by("reason", "unpermitted"), dropped_unpermitted),
                (by("reason", "own_port"), dropped_own_port),
                (by("reason", "over_rate"), dropped_over_rate),
            ],
        ),
    ]
}

/// The names of coturn 4.6 and later.
fn coturns(counters: &TurnCounters, realm: &'static str) -> Vec<Family> {
    let typed = |word: &'static str| -> Vec<Label> { vec![("type", Word::Text(word))] };
    let mut families = vec![
        Family::gauges(
            "turn_total_allocations",
            "As coturn: allocations that live.",
            [
                (typed("UDP"), counters.live_udp.into()),
                (typed("TCP"), counters.live_tcp.into()),
                (typed("TLS/TCP"), counters.live_tls.into()),
            ],
        ),
        Family::counter(
            "stun_binding_request",
            "As coturn: Binding requests.",
            counters.bindings,
        ),
        Family::counter(
            "stun_binding_response",
            "As coturn: answers to them.",
            counters.bindings,
        ),
        // Whatever is no Binding request is not answered as one.
        Family::counter(
            "stun_binding_error",
            "As coturn: errors in answer to them.",
            0,
        ),
    ];
    let realm: Vec<Label> = vec![("realm", Word::Text(realm))];
    let (up, up_bytes) = (counters.packets_to_peers, counters.bytes_to_peers);
    let (down, down_bytes) = (counters.packets_to_clients, counters.bytes_to_clients);
    for (name, total, help, value) in [
        (
            "turn_traffic_rcvp",
            "turn_total_traffic_rcvp",
            "As coturn: packets from clients.",
            up,
        ),
        (
            "turn_traffic_rcvb",
            "turn_total_traffic_rcvb",
            "As coturn: bytes from clients.",
            up_bytes,
        ),
        (
            "turn_traffic_sentp",
            "turn_total_traffic_sentp",
            "As coturn: packets to clients.",
            down,
        ),
        (
            "turn_traffic_sentb",
            "turn_total_traffic_sentb",
            "As coturn: bytes to clients.",
            down_bytes,
        ),
        (
            "turn_traffic_peer_rcvp",
            "turn_total_traffic_peer_rcvp",
            "As coturn: packets from peers.",
            down,
        ),
        (
            "turn_traffic_peer_rcvb",
            "turn_total_traffic_peer_rcvb",
            "As coturn: bytes from peers.",
            down_bytes,
        ),
        (
            "turn_traffic_peer_sentp",
            "turn_total_traffic_peer_sentp",
            "As coturn: packets to peers.",
            up,
        ),
        (
            "turn_traffic_peer_sentb",
            "turn_total_traffic_peer_sentb",
            "As coturn: bytes to peers.",
            up_bytes,
        ),
    ] {
        families.push(Family::counters(name, help, [(realm.clone(), value)]));
        families.push(Family::counter(total, help, value));
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::metric::Value;

    #[test]
    fn coturns_names_say_the_same_as_ours() {
        let counters = TurnCounters {
            live_tls: 3,
            packets_to_peers: 10,
            bytes_to_peers: 1_000,
            packets_to_clients: 20,
            bytes_to_clients: 2_000,
            ..TurnCounters::default()
        };
        let families = families(&counters, "openvidu");
        let samples = |name: &str| {
            let family = families.iter().find(|family| family.name == name);
            &family.unwrap_or_else(|| panic!("{name}")).samples
        };
        assert_eq!(samples("turn_total_allocations")[2].value, Value::Whole(3));
        for (name, value) in [
            ("turn_traffic_rcvb", 1_000),
            ("turn_total_traffic_sentp", 20),
            ("turn_traffic_peer_rcvb", 2_000),
            ("turn_total_traffic_peer_sentp", 10),
        ] {
            assert_eq!(samples(name)[0].value, Value::Whole(value), "{name}");
        }
        let realm: &[Label] = &[("realm", Word::Text("openvidu"))];
        assert_eq!(samples("turn_traffic_rcvp")[0].labels, realm);
        assert!(samples("turn_total_traffic_rcvp")[0].labels.is_empty());
    }
}
