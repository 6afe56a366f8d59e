//! The `turn` crate as a client of our TURN server: all that a client does in its life, by a stack that shares nothing
//! with ours.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::turn::client::{Client, ClientConfig};
use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use hanok::media::stun::{Class, Message, Method};
use hanok::testing::client::{LOOPBACK, PATIENCE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use util::Conn;

use crate::house::{FOREIGN_HOST, House, eventually};

/// How the client reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// UDP.
    Udp,
    /// TCP. The crate leaves the framing of a stream (RFC 8656 section 12.5, RFC 8489 section 6.2.2) to its user.
    Tcp,
}

impl Over {
    const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// The lengths of what is sent: nothing that has to be padded is left out.
const LENGTHS: [usize; 8] = [1, 2, 3, 4, 171, 172, 1_199, 1_200];

/// After which the client refreshes: half of the lifetime that the server grants.
const HALF_LIFETIME: Duration = Duration::from_secs(300);

/// Binding, Allocate, CreatePermission, ChannelBind, data both ways with a foreign peer, what is refused, Refresh, and
/// the end. Time is moved on, so this must be alone on a runtime of one thread, and the daemon on another one.
///
/// # Errors
/// Anything went otherwise.
pub async fn live(house: &House, over: Over) -> anyhow::Result<()> {
    let peer = Peer::open().await?;
    let line = Arc::new(Line::open(over, house.turn).await?);
    let (username, password) = house.credential();
    let config = ClientConfig {
        stun_serv_addr: house.turn.to_string(),
        turn_serv_addr: house.turn.to_string(),
        username,
        password,
        realm: String::new(),
        software: String::new(),
        rto_in_ms: 0,
        conn: line.clone(),
        vnet: None,
    };
    let client = Client::new(config).await?;
    client.listen().await?;

    let mapped = in_time("Binding", client.send_binding_request()).await??;
    ensure!(mapped == line.local, "{mapped} is not {}", line.local);

    let relay = in_time("Allocate", client.allocate()).await??;
    let relayed = relay.local_addr()?;
    let allocation = house.allocation().await?;
    ensure!(allocation.protocol == over.name(), "{allocation:?}");
    ensure!(allocation.client == line.local, "{allocation:?}");
    ensure!(allocation.relayed == [relayed], "{allocation:?}");
    ensure!(allocation.permissions == 0 && allocation.channels == 0);

    // The first one goes as an indication, behind a permission, and asks for a channel beside.
    converse(&relay, &peer, &[0x11; 172]).await?;
    ensure!(line.seen(Class::Success, Method::CREATE_PERMISSION) > 0);
    eventually("a channel is bound", async || {
        Ok(line.seen(Class::Success, Method::CHANNEL_BIND) > 0)
    })
    .await?;
    let allocation = house.allocation().await?;
    ensure!(allocation.permissions == 1 && allocation.channels == 1);

    let before = line.channel_data();
    for len in LENGTHS {
        converse(&relay, &peer, &vec![len as u8; len]).await?;
    }
    ensure!(line.channel_data() == before + LENGTHS.len());
    ensure!(peer.heard_from(relayed) == LENGTHS.len() + 1);

    let private = SocketAddr::from((Ipv4Addr::new(10, 1, 2, 3), 9));
    let refused = in_time("a refusal", relay.send_to(b"no", private)).await?;
    let said = refused.err().context("a private peer was let in")?;
    ensure!(said.to_string().contains("403"), "{said}");

    // Time that stands still runs ahead while nothing happens, so that the client may ask more than once.
    let permitted = line.seen(Class::Success, Method::CREATE_PERMISSION);
    ensure!(line.seen(Class::Success, Method::REFRESH) == 0);
    tokio::time::pause();
    tokio::time::advance(HALF_LIFETIME).await;
    tokio::time::resume();
    let refreshed = eventually("allocation and permission are refreshed", async || {
        Ok(line.seen(Class::Success, Method::REFRESH) > 0
            && line.seen(Class::Success, Method::CREATE_PERMISSION) > permitted)
    })
    .await;
    refreshed.with_context(|| format!("{:?}", lock(&line.seen).messages))?;
    converse(&relay, &peer, b"after a while").await?;

    relay.close().await?;
    eventually("the allocation is released", async || {
        Ok(house.allocations().await?.is_empty())
    })
    .await?;
    client.close().await?;
    let counters = house.counters().await?;
    ensure!(counters.packets_inside == 0, "{counters:?}");
    ensure!(
        counters.packets_to_clients >= LENGTHS.len() as u64 + 2,
        "{counters:?}"
    );
    Ok(())
}

async fn in_time<T>(what: &str, doing: impl Future<Output = T>) -> anyhow::Result<T> {
    let ended = tokio::time::timeout(PATIENCE, doing).await;
    ended.with_context(|| format!("{what} takes too long"))
}

/// Says something to the peer and hears the same from it.
async fn converse(relay: &impl Conn, peer: &Peer, text: &[u8]) -> anyhow::Result<()> {
    relay.send_to(text, peer.at).await?;
    let mut heard = vec![0; 2_048];
    let (len, from) = in_time("an echo", relay.recv_from(&mut heard)).await??;
    ensure!(from == peer.at, "{from} answers instead of {}", peer.at);
    ensure!(&heard[..len] == text, "{len} other bytes came back");
    Ok(())
}

/// A foreign host that sends back what it hears.
struct Peer {
    at: SocketAddr,
    heard: Arc<Mutex<BTreeMap<SocketAddr, usize>>>,
    echoing: tokio::task::JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.echoing.abort();
    }
}

impl Peer {
    async fn open() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((FOREIGN_HOST, 0)).await?;
        let at = socket.local_addr()?;
        let heard = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let counts = heard.clone();
        let echoing = tokio::spawn(async move {
            let mut buffer = vec![0; 2_048];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                *lock(&counts).entry(from).or_default() += 1;
                let _ = socket.send_to(&buffer[..len], from).await;
            }
        });
        Ok(Self { at, heard, echoing })
    }

    fn heard_from(&self, sender: SocketAddr) -> usize {
        lock(&self.heard).get(&sender).copied().unwrap_or_default()
    }
}

/// The way to the server, on which is counted what comes from it.
struct Line {
    way: Way,
    server: SocketAddr,
    local: SocketAddr,
    seen: Mutex<Seen>,
}

enum Way {
    Udp(UdpSocket),
    Tcp(
        tokio::sync::Mutex<OwnedReadHalf>,
        tokio::sync::Mutex<OwnedWriteHalf>,
    ),
}

#[derive(Default)]
struct Seen {
    messages: Vec<(Class, Method)>,
    channel_data: usize,
}

impl Line {
    async fn open(over: Over, server: SocketAddr) -> anyhow::Result<Self> {
        let (way, local) = match over {
            Over::Udp => {
                let socket = UdpSocket::bind((LOOPBACK, 0)).await?;
                let local = socket.local_addr()?;
                (Way::Udp(socket), local)
            }
            Over::Tcp => {
                let stream = TcpStream::connect(server).await?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                let (read, write) = stream.into_split();
                (Way::Tcp(read.into(), write.into()), local)
            }
        };
        Ok(Self {
            way,
            server,
            local,
            seen: Mutex::default(),
        })
    }

    fn note(&self, message: &[u8]) {
        let mut seen = lock(&self.seen);
        match Message::parse(message) {
            Ok(message) => seen.messages.push((message.class(), message.method())),
            Err(_) => seen.channel_data += 1,
        }
    }

    /// How many such messages have come.
    fn seen(&self, class: Class, method: Method) -> usize {
        let seen = lock(&self.seen);
        let such = seen.messages.iter().filter(|it| **it == (class, method));
        such.count()
    }

    fn channel_data(&self) -> usize {
        lock(&self.seen).channel_data
    }
}

/// Reads one message off a stream: STUN says its length without the header, ChannelData without header and padding.
async fn read_message(stream: &mut OwnedReadHalf, buffer: &mut [u8]) -> std::io::Result<usize> {
    stream.read_exact(&mut buffer[..4]).await?;
    let len = usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
    let total = if buffer[0] < 0x40 {
        20 + len
    } else {
        4 + len.next_multiple_of(4)
    };
    let rest = buffer.get_mut(4..total);
    let rest = rest.ok_or(std::io::ErrorKind::InvalidData)?;
    stream.read_exact(rest).await?;
    Ok(total)
}

#[async_trait]
impl Conn for Line {
    async fn connect(&self, _: SocketAddr) -> Result<(), util::Error> {
        Err(unusual())
    }

    async fn recv(&self, _: &mut [u8]) -> Result<usize, util::Error> {
        Err(unusual())
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), util::Error> {
        let (len, from) = match &self.way {
            Way::Udp(socket) => socket.recv_from(buffer).await?,
            Way::Tcp(read, _) => {
                let len = read_message(&mut *read.lock().await, buffer).await?;
                (len, self.server)
            }
        };
        self.note(&buffer[..len]);
        Ok((len, from))
    }

    async fn send(&self, _: &[u8]) -> Result<usize, util::Error> {
        Err(unusual())
    }

    async fn send_to(&self, message: &[u8], to: SocketAddr) -> Result<usize, util::Error> {
        match &self.way {
            Way::Udp(socket) => Ok(socket.send_to(message, to).await?),
            Way::Tcp(_, write) => {
                write.lock().await.write_all(message).await?;
                Ok(message.len())
            }
        }
    }

    fn local_addr(&self) -> Result<SocketAddr, util::Error> {
        Ok(self.local)
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.server)
    }

    async fn close(&self) -> Result<(), util::Error> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

/// What the client has no use for.
fn unusual() -> util::Error {
    std::io::Error::from(std::io::ErrorKind::Unsupported).into()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn lives(over: Over) {
        let daemons = Runtime::new().unwrap();
        let house = daemons.block_on(House::open()).unwrap();
        let clients = Builder::new_current_thread().enable_all().build().unwrap();
        clients.block_on(live(&house, over)).unwrap();
        daemons.block_on(house.close());
    }

    #[test]
    fn the_turn_crate_does_over_udp_whatever_a_client_does() {
        lives(Over::Udp);
    }

    #[test]
    fn the_turn_crate_does_over_tcp_whatever_a_client_does() {
        lives(Over::Tcp);
    }
}
