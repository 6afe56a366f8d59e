//! TURN as the daemon runs it: the settings of each worker's server, and what changes while they run.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::adapters::MintedTurnCredentials;
use crate::config::settings::{Turn, TurnLimits};
use crate::media::net::addresses::Relayed;
use crate::media::plane::TurnHandle;
use crate::media::plane::service::Stopped;
use crate::media::turn::{
    Credentials, Limits, LivePorts, PeerPolicy, Quotas, RelayAddress, Settings,
};
use crate::units::{PortRange, Secret};

/// The realm that OpenVidu gives coturn (`openvidu-deployment` section 9.1).
pub(super) const REALM: &str = "openvidu";

/// Bytes a second in a kbit/s.
const BYTES_PER_KBIT: u64 = 125;

/// Where the workers are.
pub(super) struct Place<'a> {
    /// The relayed addresses, at most one of each family.
    pub(super) relayed: &'a [Relayed],
    /// Every address by which this machine can be named.
    pub(super) own_addresses: &'a [IpAddr],
    /// The media port of each worker.
    pub(super) worker_ports: &'a [u16],
}

/// What the state folder knows of credentials.
pub(super) struct Known<'a> {
    /// Never empty; the first one mints.
    pub(super) secrets: &'a [Secret],
    /// User names whose owners have left.
    pub(super) revoked: &'a [String],
}

/// The settings of each worker's server: what is counted is counted for all of them together, relay ports are shared
/// out, and so is the bound of bytes for all, which is spent packet by packet.
pub(super) fn settings(turn: &Turn, known: &Known<'_>, place: &Place<'_>) -> Vec<Settings> {
    let workers = place.worker_ports.len();
    let relays: Vec<RelayAddress> = place
        .relayed
        .iter()
        .map(|relayed| RelayAddress {
            bound: relayed.bound,
            told: if turn.internal_relay {
                relayed.bound
            } else {
                relayed.told
            },
        })
        .collect();
    let (live_ports, quotas) = (Arc::new(LivePorts::new()), Arc::new(Quotas::new()));
    shares(turn.relay_ports, workers)
        .into_iter()
        .map(|share| Settings {
            credentials: credentials(turn, known.secrets).with_revoked(known.revoked),
            relays: share.map(|_| relays.clone()).unwrap_or_default(),
            // Who has no share relays nothing, and no port of another one's leads to it.
            ports: share.unwrap_or(Settings::stun_only().ports),
            live_ports: live_ports.clone(),
            quotas: quotas.clone(),
            own_addresses: place.own_addresses.to_vec(),
            worker_ports: place.worker_ports.to_vec(),
            policy: policy(turn),
            limits: limits(&turn.limits, workers),
        })
        .collect()
}

/// A range cut into as many parts that differ by one port at most; of more parts than ports the last are nothing.
fn shares(range: PortRange, parts: usize) -> Vec<Option<PortRange>> {
    let ports = range.iter().len();
    let begin = |part: usize| {
        // Parts before this one that have one port more.
        let longer = part.min(ports % parts.max(1));
        usize::from(range.first()) + part * (ports / parts.max(1)) + longer
    };
    (0..parts)
        .map(|part| {
            let first = u16::try_from(begin(part)).ok()?;
            let last = u16::try_from(begin(part + 1).checked_sub(1)?).ok()?;
            PortRange::new(first, last)
        })
        .collect()
}

fn credentials(turn: &Turn, secrets: &[Secret]) -> Credentials {
    let users: BTreeMap<String, Secret> = turn
        .users
        .iter()
        .map(|user| (user.name.clone(), user.password.clone()))
        .collect();
    Credentials::new(REALM)
        .with_secrets(secrets.to_vec())
        .with_users(users)
}

fn policy(turn: &Turn) -> PeerPolicy {
    PeerPolicy {
        allowed: turn.allowed_peers.clone(),
        denied: turn.denied_peers.clone(),
    }
}

/// The limits of one of so many workers.
fn limits(configured: &TurnLimits, workers: usize) -> Limits {
    let count = |quota: u32| if quota == 0 { u32::MAX } else { quota };
    let bytes = |kbps: u32| (kbps > 0).then(|| u64::from(kbps) * BYTES_PER_KBIT);
    Limits {
        allocations_per_user: count(configured.user_quota),
        allocations_per_source: count(configured.source_quota),
        allocations: count(configured.total_quota),
        allocation_bytes_per_sec: bytes(configured.allocation_kbps),
        bytes_per_sec: bytes(configured.total_kbps).map(|all| all.div_ceil(workers.max(1) as u64)),
        ..Limits::default()
    }
}

/// Says at start-up what TURN does, and what it cannot do.
pub(super) fn announce(turn: &Turn, servers: &[Settings]) {
    tracing::info!("{}", Announcement { turn, servers });
    let idle = servers.iter().filter(|server| server.relays.is_empty());
    match idle.count() {
        0 => {}
        all if all == servers.len() => {
            tracing::warn!("TURN relays nothing: set HANOK_BIND to an address of this machine");
        }
        some => tracing::warn!(
            "there are fewer relay ports than media threads, {some} of which relay nothing: widen COTURN_MIN_PORT to \
             COTURN_MAX_PORT or lower HANOK_WORKERS"
        ),
    }
}

struct Announcement<'a> {
    turn: &'a Turn,
    servers: &'a [Settings],
}

impl fmt::Display for Announcement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TURN on port {}: ", self.turn.port)?;
        let mut relaying = self
            .servers
            .iter()
            .filter(|server| !server.relays.is_empty());
        let Some(first) = relaying.next() else {
            return f.write_str("no address of this machine is known, so nothing is relayed");
        };
        f.write_str("relayed addresses ")?;
        for (index, relay) in first.relays.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", relay.told)?;
            if relay.bound != relay.told {
                write!(f, " (here {})", relay.bound)?;
            }
        }
        write!(f, ", relay ports {}", first.ports)?;
        for server in relaying {
            write!(f, ", {}", server.ports)?;
        }
        Ok(())
    }
}

/// Changes what may be changed while the servers run.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) handle: TurnHandle,
    pub(super) minted: Arc<MintedTurnCredentials>,
    pub(super) workers: usize,
}

impl Control {
    /// Takes over secrets, users, peers and limits. Credentials under a secret that is gone are refused, new ones are
    /// made under the first; allocations that live stay.
    pub(super) async fn apply(
        &self,
        turn: &Turn,
        secrets: Vec<Secret>,
        public: &[IpAddr],
    ) -> Result<(), Stopped> {
        // Accepted everywhere before the first one is handed out.
        self.handle
            .set_credentials(credentials(turn, &secrets))
            .await?;
        self.minted.set_secrets(secrets);
        self.deny_ourselves(turn, public).await?;
        self.handle
            .set_limits(limits(&turn.limits, self.workers))
            .await
    }

    /// Closes the way back to ourselves by public addresses that were not known at the start.
    pub(super) async fn deny_ourselves(
        &self,
        turn: &Turn,
        public: &[IpAddr],
    ) -> Result<(), Stopped> {
        let mut policy = policy(turn);
        policy
            .denied
            .extend(public.iter().copied().map(IpNet::from));
        self.handle.set_policy(policy).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::fake::FakeMachine;
    use crate::config::{Options, load};

    fn turn(lines: &str) -> Turn {
        let file =
            format!("DOMAIN_OR_PUBLIC_IP=example.com\nOPENVIDU_SECRET=0123456789abcdef\n{lines}\n");
        let mut machine = FakeMachine::default();
        machine.files.insert("/.env".into(), file.into_bytes());
        let options = Options {
            env_file: Some("/.env".into()),
            ..Options::default()
        };
        load(&machine, &options).expect("it is good").config.turn
    }

    fn relayed() -> [Relayed; 2] {
        [("10.0.0.5", "203.0.113.7"), ("2001:db8::7", "2001:db8::7")].map(|(bound, told)| Relayed {
            bound: bound.parse().unwrap(),
            told: told.parse().unwrap(),
        })
    }

    fn servers(turn: &Turn, worker_ports: &[u16]) -> Vec<Settings> {
        let place = Place {
            relayed: &relayed(),
            own_addresses: &["127.0.0.1".parse().unwrap()],
            worker_ports,
        };
        let known = Known {
            secrets: &[Secret::new("new"), Secret::new("old")],
            revoked: &[],
        };
        settings(turn, &known, &place)
    }

    #[test]
    fn each_worker_has_its_own_ports_and_shares_what_is_counted() {
        let turn = turn("COTURN_MIN_PORT=60000\nCOTURN_MAX_PORT=60004");
        let servers = servers(&turn, &[40_000, 40_001]);
        let ports: Vec<_> = servers.iter().map(|it| it.ports.to_string()).collect();
        assert_eq!(ports, ["60000-60002", "60003-60004"]);
        let [one, other] = servers.as_slice() else {
            panic!("{servers:?}");
        };
        assert!(Arc::ptr_eq(&one.live_ports, &other.live_ports));
        assert!(Arc::ptr_eq(&one.quotas, &other.quotas));
        assert_eq!(one.worker_ports, [40_000, 40_001]);
        assert_eq!(one.relays.len(), 2);
        assert_eq!(one.relays, other.relays);
        let told: IpAddr = "203.0.113.7".parse().unwrap();
        assert_eq!(one.relays[0].told, told);
        assert_eq!(
            Announcement {
                turn: &turn,
                servers: &servers
            }
            .to_string(),
            "TURN on port 3478: relayed addresses 203.0.113.7 (here 10.0.0.5), 2001:db8::7, relay ports 60000-60002, \
             60003-60004"
        );
    }

    #[test]
    fn a_worker_without_a_port_relays_nothing_and_no_address_at_all_is_said() {
        let turn = turn("COTURN_MIN_PORT=60000\nCOTURN_MAX_PORT=60000");
        let servers = servers(&turn, &[40_000, 40_001]);
        assert_eq!(servers[0].relays.len(), 2);
        assert_eq!(servers[1].relays, []);
        let place = Place {
            relayed: &[],
            own_addresses: &[],
            worker_ports: &[40_000],
        };
        let nothing = Known {
            secrets: &[],
            revoked: &[],
        };
        let servers = settings(&turn, &nothing, &place);
        let turn = &turn;
        let said = Announcement {
            turn,
            servers: &servers,
        };
        assert!(said.to_string().contains("nothing is relayed"));
    }

    #[test]
    fn an_internal_relay_is_told_as_it_is_bound() {
        let turn = turn("COTURN_INTERNAL_RELAY=true");
        let [server] = servers(&turn, &[40_000]).try_into().unwrap();
        let Settings { relays, .. } = server;
        let private: IpAddr = "10.0.0.5".parse().unwrap();
        assert_eq!((relays[0].told, relays[0].bound), (private, private));
    }

    #[test]
    fn zero_is_unlimited_and_the_bound_for_all_is_shared_out() {
        let keys =
            "HANOK_TURN_USER_QUOTA=0\nHANOK_TURN_ALLOCATION_KBPS=8\nHANOK_TURN_TOTAL_KBPS=1000";
        let limits = limits(&turn(keys).limits, 3);
        assert_eq!(limits.allocations_per_user, u32::MAX);
        assert_eq!(limits.allocations, 32_768);
        assert_eq!(limits.allocation_bytes_per_sec, Some(1_000));
        assert_eq!(limits.bytes_per_sec, Some(41_667));
        let default = super::limits(&turn("").limits, 3);
        assert_eq!(default, Limits::default(), "the keys say the core's own");
    }

    proptest! {
        #[test]
        fn shares_cover_the_range_without_overlap(
            first in 1u16..=65_535, len in 0u16..3_000, parts in 1usize..70,
        ) {
            let range = PortRange::new(first, first.saturating_add(len)).unwrap();
            let shares = shares(range, parts);
            prop_assert_eq!(shares.len(), parts);
            let ports: Vec<u16> = shares.iter().flatten().flat_map(|share| share.iter()).collect();
            prop_assert_eq!(ports, range.iter().collect::<Vec<_>>());
            let lens: Vec<usize> =
                shares.iter().map(|share| share.map_or(0, |share| share.iter().len())).collect();
            let (least, most) = (lens.iter().min().unwrap(), lens.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", lens);
        }
    }
}
