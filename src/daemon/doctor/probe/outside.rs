//! What only others can tell: name servers, STUN servers, time servers.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::OUTSIDE;
use crate::config::Config;
use crate::daemon::doctor::dns::{self, Caa, DnsError, Kind, Record};
use crate::daemon::doctor::facts::Names;
use crate::daemon::doctor::sntp;
use crate::daemon::public_address::{self, Family};
use crate::units::{Random, clock};

/// One name server's time for one answer.
const NAME_SERVER: Duration = Duration::from_millis(900);

/// Whose clocks ours is compared with: those of two of the companies whose STUN servers are asked by default.
const TIME_SERVERS: [&str; 2] = ["time.cloudflare.com:123", "time.google.com:123"];

/// What was answered.
pub(super) struct Outside {
    pub(super) names: Names,
    pub(super) public: [Option<IpAddr>; 2],
    pub(super) ahead_ms: Option<i64>,
}

/// Asks everybody at the same time; nobody but this machine's own resolver unless `may_ask`.
pub(super) async fn ask(config: &Config, may_ask: bool) -> Outside {
    let domain = config.public.host.name().unwrap_or_default();
    // What has no dot is a name of this network, which no name server of the world knows.
    let is_public = domain.contains('.');
    let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = dns::name_servers(&servers);
    let stun = &config.media.public_address_servers;
    let public = async |family| {
        if !may_ask || stun.is_empty() {
            return None;
        }
        let asked = timeout(OUTSIDE, public_address::ask(stun, family)).await;
        asked.ok().flatten()
    };
    let addresses = async |kind| {
        if !is_public {
            return Ok(Vec::new());
        }
        if !may_ask {
            return Err(DnsError::NotAsked);
        }
        let records = resolve(&servers, domain, kind).await?;
        let addresses = records.into_iter().filter_map(|record| match record {
            Record::Address(address) => Some(address),
            Record::Caa(_) => None,
        });
        Ok(addresses.collect())
    };
    let caa = async {
        if !is_public || !may_ask {
            return Err(DnsError::NotAsked);
        }
        authorities(&servers, domain).await
    };
    let time = async {
        if may_ask && !stun.is_empty() {
            ahead(&TIME_SERVERS).await
        } else {
            None
        }
    };
    let (v4, v6, caa, here, public_v4, public_v6, ahead_ms) = tokio::join!(
        addresses(Kind::A),
        addresses(Kind::Aaaa),
        caa,
        here(domain),
        public(Family::V4),
        public(Family::V6),
        time
    );
    Outside {
        names: Names { v4, v6, caa, here },
        public: [public_v4, public_v6],
        ahead_ms,
    }
}

/// What this machine's programs find for the name.
async fn here(domain: &str) -> Vec<IpAddr> {
    if domain.is_empty() {
        return Vec::new();
    }
    match timeout(OUTSIDE, lookup_host((domain, 0))).await {
        Ok(Ok(found)) => {
            let mut found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            found.sort_unstable();
            found.dedup();
            found
        }
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// The CAA records that count: the first ones on the way up.
async fn authorities(servers: &[IpAddr], domain: &str) -> Result<Vec<Caa>, DnsError> {
    let names = dns::climb(domain);
    let questions = names.iter().map(|name| resolve(servers, name, Kind::Caa));
    for answer in join_all(questions).await {
        let records = match answer {
            Ok(records) => records,
            Err(DnsError::NoSuchName) => continue,
            Err(error) => return Err(error),
        };
        let records: Vec<Caa> = records
            .into_iter()
            .filter_map(|record| match record {
                Record::Caa(caa) => Some(caa),
                Record::Address(_) => None,
            })
            .collect();
        if !records.is_empty() {
            return Ok(records);
        }
    }
    Ok(Vec::new())
}

/// Asks for one kind of records.
async fn resolve(servers: &[IpAddr], name: &str, kind: Kind) -> Result<Vec<Record>, DnsError> {
    let answer = timeout(OUTSIDE, ask_each(servers, name, kind)).await;
    answer.unwrap_or(Err(DnsError::Silent))
}

/// Asks one server after the other, as resolvers do.
async fn ask_each(servers: &[IpAddr], name: &str, kind: Kind) -> Result<Vec<Record>, DnsError> {
    let mut id = [0; 2];
    Random::system().fill(&mut id);
    let query = dns::query(u16::from_be_bytes(id), name, kind)?;
    let mut last = DnsError::NoServer;
    for server in servers {
        let server = SocketAddr::new(*server, 53);
        let answer = match timeout(NAME_SERVER, over_udp(server, &query, kind)).await {
            Ok(Some(Err(DnsError::Truncated))) => {
                timeout(NAME_SERVER, over_tcp(server, &query, kind)).await
            }
            other => other,
        };
        match answer {
            Ok(Some(Err(error @ (DnsError::Refused(_) | DnsError::Malformed)))) => last = error,
            Ok(Some(answer)) => return answer,
            Ok(None) | Err(_) => last = DnsError::Silent,
        }
    }
    Err(last)
}

type Answer = Result<Vec<Record>, DnsError>;

async fn over_udp(server: SocketAddr, query: &[u8], kind: Kind) -> Option<Answer> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(server).await.ok()?;
    socket.send(query).await.ok()?;
    let mut bytes = [0; 4096];
    loop {
        let length = socket.recv(&mut bytes).await.ok()?;
        let received = bytes.get(..length).unwrap_or_default();
        if let Some(answer) = dns::answer(query, kind, received) {
            return Some(answer);
        }
    }
}

/// RFC 7766: the length stands before each message.
async fn over_tcp(server: SocketAddr, query: &[u8], kind: Kind) -> Option<Answer> {
    let mut stream = TcpStream::connect(server).await.ok()?;
    let length = u16::try_from(query.len()).ok()?;
    let message = [&length.to_be_bytes(), query].concat();
    stream.write_all(&message).await.ok()?;
    let length = stream.read_u16().await.ok()?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.ok()?;
    dns::answer(query, kind, &bytes)
}

/// How far our clock is ahead of the first server's that answers.
async fn ahead(servers: &[&str]) -> Option<i64> {
    let mut asked: Vec<_> = servers
        .iter()
        .map(|server| Box::pin(timeout(OUTSIDE, ask_time(server))))
        .collect();
    while !asked.is_empty() {
        let (answer, _, rest) = futures_util::future::select_all(asked).await;
        if let Ok(Some(ahead)) = answer {
            return Some(ahead);
        }
        asked = rest;
    }
    None
}

async fn ask_time(server: &str) -> Option<i64> {
    let server = lookup_host(server).await.ok()?.next()?;
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(server).await.ok()?;
    let request = sntp::Request::new(&mut Random::system(), clock::wall_ms());
    socket.send(&request.bytes()).await.ok()?;
    let mut answer = [0; 2 * sntp::MESSAGE];
    loop {
        let length = socket.recv(&mut answer).await.ok()?;
        let received = answer.get(..length).unwrap_or_default();
        if let Some(ahead) = request.ahead_ms(received, clock::wall_ms()) {
            return Some(ahead);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up_and_none_is_told() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = silent.local_addr().unwrap();
        let query = dns::query(1, "example.com", Kind::A).unwrap();
        let short = Duration::from_millis(20);
        assert!(timeout(short, over_udp(at, &query, Kind::A)).await.is_err());
        let nobody = resolve(&[], "example.com", Kind::A).await;
        assert_eq!(nobody, Err(DnsError::NoServer));
        assert!(timeout(short, ask_time(&at.to_string())).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_that_does_not_fit_comes_by_tcp() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let query = dns::query(1, "example.com", Kind::A).unwrap();
        let mut answer = query.clone();
        answer[2] |= 0x80;
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 7]);
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = usize::from(stream.read_u16().await.unwrap());
            let mut question = vec![0; length];
            stream.read_exact(&mut question).await.unwrap();
            let length = u16::try_from(answer.len()).unwrap();
            stream.write_u16(length).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        };
        let (found, ()) = tokio::join!(over_tcp(at, &query, Kind::A), server);
        let expected = Record::Address([203, 0, 113, 7].into());
        assert_eq!(found, Some(Ok(vec![expected])));
    }
}
