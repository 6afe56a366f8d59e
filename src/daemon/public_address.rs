//! The address by which others reach this machine, where neither its interfaces nor the configuration tell it: asked of
//! STUN servers (RFC 8489) in the background.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{sleep, timeout};

use super::media::resolve;
use super::reload::Changeable;
use crate::config::Config;
use crate::config::values::{CoturnIp, PublicIp, Server};
use crate::media::net::addresses::Addresses;
use crate::media::stun::{Class, Message, Method, TransactionId, Writer};
use crate::media::turn::is_globally_reachable;
use crate::units::Random;

/// Servers that must say the same: one alone may lie, and what it says may open an access list.
const VOTES: usize = 2;

/// A server's name is looked up within this time.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(3);

/// All servers together answer within this time.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// When a request is sent again for the first time; each time it takes twice as long (RFC 8489 section 6.2.1).
const RETRANSMISSION: Duration = Duration::from_millis(500);

/// How long to wait before asking again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// What somebody wants a public address for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `COTURN_IP`: to be told to clients if the domain does not lead to it.
    pub(super) turn: Option<Family>,
    /// `PROXY_PUBLIC_IP`: to be admitted by access lists.
    pub(super) lists: Option<Family>,
}

impl Wanted {
    /// The families to ask for.
    pub(super) fn families(self) -> impl Iterator<Item = Family> {
        let other = self.lists.filter(|family| self.turn != Some(*family));
        self.turn.into_iter().chain(other)
    }
}

/// What is known of this machine without asking.
#[derive(Debug)]
pub(super) struct Place {
    /// The addresses of the candidates.
    pub(super) told: Addresses,
    /// The domain's DNS answer.
    pub(super) resolved: Vec<IpAddr>,
    /// The addresses that are known to be ours.
    pub(super) own: Vec<IpAddr>,
}

impl Place {
    /// What has to be asked.
    pub(super) fn wanted(&self, config: &Config) -> Wanted {
        if config.dev || config.media.public_address_servers.is_empty() {
            return Wanted::default();
        }
        let leads_here = self
            .resolved
            .iter()
            .any(|address| !address.is_loopback() && self.own.contains(address));
        let turn = match config.turn.address {
            CoturnIp::AutoIpv4 => Some(Family::V4),
            CoturnIp::AutoIpv6 => Some(Family::V6),
            CoturnIp::Auto | CoturnIp::Host(_) => None,
        };
        let lists = match config.web.public_ip {
            PublicIp::AutoIpv4 => Some(Family::V4),
            PublicIp::AutoIpv6 => Some(Family::V6),
            PublicIp::Address(_) => None,
        };
        let is_known = |family: Family| {
            let mut own = self.own.iter().copied();
            own.any(|address| family.has(address) && is_globally_reachable(address))
        };
        let has_list = config.web.dashboard_access.is_some() || config.web.rest_access.is_some();
        Wanted {
            // An address in the place of a domain is what the operator wants to be told.
            turn: turn.filter(|_| config.public.host.name().is_some() && !leads_here),
            lists: lists.filter(|family| has_list && !is_known(*family)),
        }
    }

    /// Asks for the public address of this family and takes note of it.
    pub(super) async fn seek(
        self: Arc<Self>,
        config: Config,
        family: Family,
        live: Arc<Changeable>,
    ) {
        let address = seek(&config.media.public_address_servers, family).await;
        let mut is_told = self.wanted(&config).turn == Some(family);
        if let Some(domain) = config.public.host.name()
            && is_told
        {
            // Again: at a machine's start names may not be resolvable yet.
            let resolved = resolve(domain).await;
            is_told = !resolved.contains(&address);
            if is_told {
                tracing::warn!(
                    "{domain} does not lead to this machine, which others reach by {address}: clients are told the \
                     address as the TURN server; set COTURN_IP to tell them something else"
                );
            }
        }
        if !self.told.addresses.contains(&address) {
            tracing::warn!(
                "others reach this machine by {address}, which no candidate names: set HANOK_EXTERNAL_IP={address}"
            );
        }
        tracing::info!("public address: {address}, as STUN servers say");
        live.is_reached_by(address, is_told).await;
    }
}

/// Asks until enough servers agree; each time that they do not, after a longer pause.
async fn seek(servers: &[Server], family: Family) -> IpAddr {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(address) = ask(servers, family).await {
            return address;
        }
        if pause == FIRST_PAUSE {
            tracing::warn!(
                ?family,
                "this machine's public address is not known: the servers of HANOK_PUBLIC_ADDRESS_SERVERS do not answer \
                 or do not agree; they are asked again"
            );
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks every server once.
pub(super) async fn ask(servers: &[Server], family: Family) -> Option<IpAddr> {
    let mut found: Vec<SocketAddr> = join_all(servers.iter().map(|server| find(server, family)))
        .await
        .into_iter()
        .flatten()
        .collect();
    found.sort_unstable();
    found.dedup();
    let outcome = timeout(ANSWER_DEADLINE, poll(&found, family)).await;
    match outcome.ok()? {
        Ok(address) => Some(address),
        Err(error) => {
            tracing::debug!(%error, "STUN servers cannot be asked");
            None
        }
    }
}

async fn find(server: &Server, family: Family) -> Option<SocketAddr> {
    let host = server.host.to_string();
    let looking = lookup_host((host.as_str(), server.port));
    let mut found = timeout(RESOLVE_DEADLINE, looking).await.ok()?.ok()?;
    found.find(|address| family.has(address.ip()))
}

/// Sends requests until enough servers agree; ends only then, or with an error.
async fn poll(servers: &[SocketAddr], family: Family) -> io::Result<IpAddr> {
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    let mut election = Election::new(servers, family);
    let mut wait = RETRANSMISSION;
    let mut answer = [0; 1_500];
    loop {
        for (server, request) in election.requests() {
            // A server that cannot be reached does not answer.
            let _ = socket.send_to(&request, server).await;
        }
        let mut again = pin!(sleep(wait));
        loop {
            let (len, from) = tokio::select! {
                () = &mut again => break,
                received = socket.recv_from(&mut answer) => received?,
            };
            if let Some(elected) = election.count(from, answer.get(..len).unwrap_or_default()) {
                return Ok(elected);
            }
        }
        wait *= 2;
    }
}

/// What servers say, one vote each.
#[derive(Debug)]
struct Election {
    family: Family,
    asked: BTreeMap<SocketAddr, TransactionId>,
    said: BTreeMap<SocketAddr, IpAddr>,
}

impl Election {
    fn new(servers: &[SocketAddr], family: Family) -> Self {
        let mut random = Random::system();
        let asked = servers.iter().map(|server| {
            let mut id = [0; 12];
            random.fill(&mut id);
            (*server, TransactionId(id))
        });
        Self {
            family,
            asked: asked.collect(),
            said: BTreeMap::new(),
        }
    }

    /// What to send to those who have not answered.
    fn requests(&self) -> Vec<(SocketAddr, Vec<u8>)> {
        let silent = self.asked.iter();
        let silent = silent.filter(|(server, _)| !self.said.contains_key(server));
        silent
            .filter_map(|(server, id)| {
                let mut request = [0; 28];
                let mut writer = Writer::new(&mut request, Class::Request, Method::BINDING, *id);
                writer.fingerprint();
                let len = writer.finish().ok()?;
                Some((*server, request.get(..len)?.to_vec()))
            })
            .collect()
    }

    /// Counts what has come from `from`, if that is an answer; returns what enough servers agree on.
    fn count(&mut self, from: SocketAddr, answer: &[u8]) -> Option<IpAddr> {
        let said = self.read(from, answer)?;
        // The first one counts.
        let said = *self.said.entry(from).or_insert(said);
        let votes = self.said.values().filter(|other| **other == said).count();
        (votes >= VOTES.min(self.asked.len())).then_some(said)
    }

    /// The public address in an answer to our request.
    fn read(&self, from: SocketAddr, answer: &[u8]) -> Option<IpAddr> {
        let asked = self.asked.get(&from)?;
        let message = Message::parse(answer).ok()?;
        let is_answer = message.class() == Class::Success
            && message.method() == Method::BINDING
            && message.transaction_id() == *asked;
        let said = message.xor_mapped_address().filter(|_| is_answer)?;
        let said = said.ip().to_canonical();
        (self.family.has(said) && is_globally_reachable(said)).then_some(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fake::FakeMachine;
    use crate::config::{Options, load};
    use crate::media::net::addresses::Reason;

    fn config(lines: &str) -> Config {
        let file = format!(
            "DOMAIN_OR_PUBLIC_IP=call.example.com\nOPENVIDU_SECRET=0123456789abcdef\n{lines}\n"
        );
        let mut machine = FakeMachine::default();
        machine.files.insert("/.env".into(), file.into_bytes());
        let options = Options {
            env_file: Some("/.env".into()),
            dev: false,
        };
        load(&machine, &options).unwrap().config
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_is_asked_what_is_known_here() {
        let (private, public) = (ip("10.0.0.5"), ip("8.8.4.4"));
        let (v4, none) = (Some(Family::V4), None);
        let own_domain = "DOMAIN_OR_PUBLIC_IP=10.0.0.5";
        let list = "ALLOWED_ACCESS_TO_RESTAPI=9.9.9.9";
        for (lines, resolved, own, turn, lists) in [
            // The domain leads to an address of ours, or to one that is translated to ours, or nowhere.
            ("", &[public][..], &[public][..], none, none),
            ("", &[private], &[private], none, none),
            ("", &[public], &[private], v4, none),
            ("", &[], &[public], v4, none),
            ("", &[ip("127.0.1.1")], &[ip("127.0.1.1")], v4, none),
            ("COTURN_IP=auto-ipv6", &[], &[], Some(Family::V6), none),
            ("COTURN_IP=turn.example.com", &[], &[], none, none),
            (own_domain, &[], &[], none, none),
            ("HANOK_PUBLIC_ADDRESS_SERVERS=", &[], &[], none, none),
            (list, &[public], &[public], none, none),
            (list, &[public], &[private], v4, v4),
            (
                "COTURN_IP=turn.example.com\nALLOWED_ACCESS_TO_DASHBOARD=9.9.9.9",
                &[public],
                &[private],
                none,
                v4,
            ),
            (
                "PROXY_PUBLIC_IP=auto-ipv6\nALLOWED_ACCESS_TO_RESTAPI=9.9.9.9",
                &[public],
                &[public],
                none,
                Some(Family::V6),
            ),
            (
                "PROXY_PUBLIC_IP=9.9.9.9\nALLOWED_ACCESS_TO_RESTAPI=9.9.9.9",
                &[public],
                &[public],
                none,
                none,
            ),
        ] {
            let place = Place {
                told: Addresses {
                    addresses: own.to_vec(),
                    reason: Reason::Interfaces,
                },
                resolved: resolved.to_vec(),
                own: own.to_vec(),
            };
            let wanted = place.wanted(&config(lines));
            assert_eq!(
                wanted,
                Wanted { turn, lists },
                "{lines} {resolved:?} {own:?}"
            );
        }
        let both = Wanted {
            turn: v4,
            lists: v4,
        };
        assert_eq!(both.families().collect::<Vec<_>>(), [Family::V4]);
    }

    /// An answer to what was sent to `server`.
    fn answer(election: &Election, server: SocketAddr, says: &str) -> Vec<u8> {
        let id = election.asked[&server];
        let mut answer = [0; 100];
        let mut writer = Writer::new(&mut answer, Class::Success, Method::BINDING, id);
        writer.xor_mapped_address((ip(says), 4711).into());
        let len = writer.finish().unwrap();
        answer[..len].to_vec()
    }

    fn servers(count: u8) -> Vec<SocketAddr> {
        let server = |number| SocketAddr::from(([198, 51, 100, number], 3478));
        (1..=count).map(server).collect()
    }

    #[test]
    fn two_servers_must_agree_unless_there_is_but_one() {
        let all = servers(3);
        let mut election = Election::new(&all, Family::V4);
        assert_eq!(election.requests().len(), 3);
        let said = |election: &mut Election, server: usize, says| {
            let answer = answer(election, all[server], says);
            election.count(all[server], &answer)
        };
        assert_eq!(said(&mut election, 0, "8.8.4.4"), None);
        assert_eq!(said(&mut election, 0, "8.8.4.4"), None, "one vote each");
        assert_eq!(said(&mut election, 1, "9.9.9.9"), None);
        assert_eq!(said(&mut election, 1, "8.8.4.4"), None, "the first counts");
        assert_eq!(election.requests().len(), 1);
        assert_eq!(said(&mut election, 2, "8.8.4.4"), Some(ip("8.8.4.4")));

        let mut alone = Election::new(&all[..1], Family::V4);
        assert_eq!(said(&mut alone, 0, "9.9.9.9"), Some(ip("9.9.9.9")));
    }

    #[test]
    fn what_is_no_public_address_or_no_answer_of_a_server_does_not_count() {
        let all = servers(1);
        let (server, stranger) = (all[0], SocketAddr::from(([203, 0, 113, 1], 3478)));
        let mut election = Election::new(&all, Family::V4);
        for private in [
            "10.0.0.1",
            "127.0.0.1",
            "100.64.0.1",
            "203.0.113.9",
            "0.0.0.0",
        ] {
            let answer = answer(&election, server, private);
            assert_eq!(election.count(server, &answer), None, "{private}");
        }
        let v6 = answer(&election, server, "2606:4700::1");
        assert_eq!(election.count(server, &v6), None, "of the other family");
        let good = answer(&election, server, "9.9.9.9");
        assert_eq!(election.count(stranger, &good), None);
        let mut forged = good.clone();
        forged[19] ^= 1;
        assert_eq!(election.count(server, &forged), None, "another transaction");
        for len in 0..good.len() {
            assert_eq!(election.count(server, &good[..len]), None);
        }
        assert_eq!(
            election.count(server, &election.requests()[0].1.clone()),
            None
        );
        assert_eq!(election.count(server, &good), Some(ip("9.9.9.9")));
    }

    /// A STUN server that drops every second request and says `says`.
    async fn server(says: &'static str, tasks: &mut tokio::task::JoinSet<()>) -> Server {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tasks.spawn(async move {
            let mut request = [0; 100];
            for number in 0.. {
                let (len, from) = socket.recv_from(&mut request).await.unwrap();
                if number % 2 == 0 {
                    continue;
                }
                let asked = Message::parse(&request[..len]).unwrap();
                let mut answer = [0; 100];
                let id = asked.transaction_id();
                let mut writer = Writer::new(&mut answer, Class::Success, Method::BINDING, id);
                writer.xor_mapped_address((ip(says), 4711).into());
                let len = writer.finish().unwrap();
                socket.send_to(&answer[..len], from).await.unwrap();
            }
        });
        Server {
            host: crate::config::values::Host::Name("localhost".to_owned()),
            port,
        }
    }

    #[tokio::test]
    async fn servers_are_found_by_name_and_asked_again_when_a_packet_is_lost() {
        let mut tasks = tokio::task::JoinSet::new();
        let servers = [
            server("9.9.9.9", &mut tasks).await,
            server("8.8.4.4", &mut tasks).await,
            server("9.9.9.9", &mut tasks).await,
        ];
        assert_eq!(ask(&servers, Family::V4).await, Some(ip("9.9.9.9")));
    }

    #[tokio::test(start_paused = true)]
    async fn servers_that_do_not_answer_cost_seconds() {
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let servers = [silent.local_addr().unwrap()];
        let asked = poll(&servers, Family::V4);
        assert!(timeout(ANSWER_DEADLINE, asked).await.is_err());
        assert_eq!(ask(&[], Family::V4).await, None);
    }
}
