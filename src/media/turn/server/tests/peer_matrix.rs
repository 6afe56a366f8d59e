//! Row S01 of the robustness catalogue: every class of addresses, in every form, by every way to reach a peer.

use std::collections::BTreeSet;

use super::*;
use crate::testing::special_addresses::{self, EMBEDDINGS};

/// The told address of [`settings`], its bound form, and the one for IPv6.
const OWN: [&str; 3] = ["198.51.100.1", "10.0.0.5", "2a0f::1"];

/// What happens to a peer's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Everything goes out by a relay socket.
    Relayed,
    /// Everything goes to this place inside the process.
    Inside(Via),
    /// CreatePermission succeeds, for it knows no port; nothing else does.
    ClosedPort,
    /// 403 to every request, silence for the rest.
    Denied,
}

/// Tries `at` by CreatePermission, ChannelBind, Send, ChannelData and Connect, each before and after the others.
fn try_peer(at: SocketAddr, fate: Fate, name: &str) {
    let (permission, binding, way) = match fate {
        Fate::Relayed => (0, 0, Some(Via::RelaySocket)),
        Fate::Inside(via) => (0, 0, Some(via)),
        Fate::ClosedPort => (0, 403, None),
        Fate::Denied => (403, 403, None),
    };
    let mut server = server();
    let mut client = dual(&mut server);
    let peer = peer(&at.to_string());
    let channel = channel(0x4000, &at.to_string());
    let channel_data = [0x40, 0, 0, 1, 9];
    // Without a permission nothing goes out.
    let unpermitted = send(&mut server, &mut client, t0(), &at.to_string());
    assert_eq!(unpermitted, Action::Nothing, "{name}");
    let bound = ask(
        &mut server,
        &mut client,
        t0(),
        Method::CHANNEL_BIND,
        &channel,
    );
    assert_eq!(code(&bound), binding, "ChannelBind, {name}");
    let by_channel = input(&mut server, t0(), client.five_tuple, &channel_data);
    let permitted = ask(
        &mut server,
        &mut client,
        t0(),
        Method::CREATE_PERMISSION,
        &peer,
    );
    assert_eq!(code(&permitted), permission, "CreatePermission, {name}");
    let by_send = send(&mut server, &mut client, t0(), &at.to_string());
    // A permission opens no channel.
    let bound = ask(
        &mut server,
        &mut client,
        t0(),
        Method::CHANNEL_BIND,
        &channel,
    );
    assert_eq!(
        code(&bound),
        binding,
        "ChannelBind after CreatePermission, {name}"
    );
    let by_both = input(&mut server, t0(), client.five_tuple, &channel_data);
    for (how, action) in [
        ("channel", by_channel),
        ("Send", by_send),
        ("both", by_both),
    ] {
        let via = match action {
            Action::Forward(forward) => {
                assert_eq!(forward.to, at);
                Some(forward.via)
            }
            Action::Nothing | Action::Reply { .. } => None,
        };
        assert_eq!(via, way, "{how}, {name}");
    }
    // No socket is ever opened but for foreign peers, and what is refused lets nothing in.
    let opened = outputs(&mut server).len();
    assert_eq!(opened, usize::from(fate == Fate::Relayed), "{name}");
    let id = server.allocation_of(&client.five_tuple).unwrap();
    let is_let_in = server.handle_peer(t0(), id, at, 1).is_some();
    assert_eq!(is_let_in, fate != Fate::Denied, "{name}");
    let connect = client.request(Method::CONNECT, &peer);
    let answered = answer(&mut server, t0(), client.five_tuple, &connect).unwrap();
    assert_eq!(code(&answered), 403, "Connect, {name}");
}

fn is_own(ip: IpAddr) -> bool {
    OWN.iter().any(|own| ip == own.parse::<IpAddr>().unwrap())
}

#[test]
fn special_addresses_are_refused_in_every_form_by_every_way() {
    let mut tried = 0;
    for (name, ip) in special_addresses::refused().filter(|(_, ip)| !is_own(*ip)) {
        // A port that would be open at an own address, and one of a service.
        for port in [40_000, 80] {
            try_peer(SocketAddr::new(ip, port), Fate::Denied, &name);
        }
        tried += 1;
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn public_addresses_are_relayed_to_unless_what_carries_them_is_special() {
    for (name, ip, is_reached) in special_addresses::public() {
        let fate = if is_reached {
            Fate::Relayed
        } else {
            Fate::Denied
        };
        try_peer(SocketAddr::new(ip, 1_000), fate, &name);
    }
}

#[test]
fn own_addresses_are_open_at_the_ports_of_workers_alone_and_closed_inside_others() {
    for own in OWN {
        let ip: IpAddr = own.parse().unwrap();
        for port in [
            1, 22, 25, 53, 80, 443, 3_478, 5_443, 6_379, 57_000, 57_033, 65_535,
        ] {
            let name = format!("{own}:{port}");
            try_peer(SocketAddr::new(ip, port), Fate::ClosedPort, &name);
        }
        try_peer(SocketAddr::new(ip, 40_000), Fate::Inside(Via::Worker), own);
        let IpAddr::V4(ip) = ip else { continue };
        for way in EMBEDDINGS {
            let wrapped = SocketAddr::new((way.of)(ip).into(), 40_000);
            try_peer(wrapped, Fate::Denied, &format!("{own} as {}", way.name));
        }
    }
}

/// The permission of an own address is good for its workers' ports and for relayed addresses that live; every other
/// one of the 65,535 is dropped and counted.
#[test]
fn of_all_ports_of_an_own_address_data_gets_to_workers_and_relayed_addresses_alone() {
    let mut server = server();
    let (_, other) = allocated(&mut server, 1);
    let mut client = dual(&mut server);
    let (_, view) = server
        .allocations(t0())
        .find(|(_, view)| view.client == client.five_tuple.client)
        .unwrap();
    for own in OWN {
        let ip: IpAddr = own.parse().unwrap();
        let permission = peer(&SocketAddr::new(ip, 1).to_string());
        let permitted = ask(
            &mut server,
            &mut client,
            t0(),
            Method::CREATE_PERMISSION,
            permission,
        );
        assert_eq!(code(&permitted), 0);
        let relayed = view.relayed.iter().copied().chain([other]);
        let same_family = relayed.filter(|at| at.is_ipv4() == ip.is_ipv4());
        let mut expected: BTreeSet<u16> = same_family.map(|at| at.port()).collect();
        expected.insert(40_000);
        let before = server.counters().dropped_own_port;
        let mut out = [0; MAX_ANSWER_LEN];
        let mut open = BTreeSet::new();
        for port in 1..=u16::MAX {
            let datagram = client.indication(|writer| {
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, SocketAddr::new(ip, port));
                writer.attribute(AttributeType::DATA, &[1]);
            });
            if let Action::Forward(forward) =
                server.handle_input(t0(), client.five_tuple, &datagram, &mut out)
            {
                assert_ne!(forward.via, Via::RelaySocket);
                open.insert(port);
            }
        }
        assert_eq!(open, expected, "{own}");
        let dropped = server.counters().dropped_own_port - before;
        assert_eq!(dropped, 65_535 - expected.len() as u64);
    }
    assert_eq!(outputs(&mut server), []);
}
