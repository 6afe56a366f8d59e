//! Our server, in virtual time.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Context as _;
use hanok::media::turn::{
    Action, Credentials, FiveTuple, MAX_ANSWER_LEN, Protocol, RelayAddress, Server, Settings,
};
use hanok::testing::t0;
use hanok::units::{PortRange, Random, Secret};

use super::{REALM, Reply, Subject, USERS};

/// Where it is, and where its relayed addresses are.
const SERVER: &str = "198.51.100.1:3478";
const RELAYS: [&str; 2] = ["198.51.100.1", "2a0f::1"];

/// Where its client of this number is.
fn client(number: usize) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 7], 5_000 + number as u16))
}

pub(super) struct Ours(Server);

impl Ours {
    pub(super) fn new() -> Self {
        let users: BTreeMap<String, Secret> = USERS
            .iter()
            .map(|(name, password)| ((*name).to_owned(), Secret::new(*password)))
            .collect();
        let settings = Settings {
            credentials: Credentials::new(REALM).with_users(users),
            relays: RELAYS
                .map(|ip| {
                    let ip = ip.parse().expect("an address");
                    RelayAddress {
                        bound: ip,
                        told: ip,
                    }
                })
                .to_vec(),
            ports: PortRange::new(50_000, 50_099).expect("a range"),
            ..Settings::stun_only()
        };
        Self(Server::new(t0(), settings, Random::seeded(1)))
    }
}

impl Subject for Ours {
    fn exchange(&mut self, number: usize, bytes: &[u8]) -> anyhow::Result<Reply> {
        let server = SERVER.parse().context("an address")?;
        let from = FiveTuple::new(Protocol::Udp, client(number), server);
        let mut out = [0; MAX_ANSWER_LEN];
        let action = self.0.handle_input(t0(), from, bytes, &mut out);
        while self.0.poll_output().is_some() {}
        self.0.assert_sound(t0());
        Ok(match action {
            Action::Nothing => None,
            Action::Reply { len } => Some(out[..len].to_vec()),
            Action::Forward(forward) => anyhow::bail!("data went out: {forward:?}"),
        })
    }

    fn address(&self, number: usize) -> SocketAddr {
        client(number)
    }
}
