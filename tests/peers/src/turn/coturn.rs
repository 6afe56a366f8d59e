//! coturn, as a process on the loopback interface.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hanok::media::stun::{Class, Message, Method, TransactionId};

use super::{REALM, Reply, Subject, USERS, written};

/// How long it has to begin, or to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer is waited for once a probe has been answered.
const AFTER: Duration = Duration::from_millis(400);

/// How often it is asked whether it has begun.
const POLL: Duration = Duration::from_millis(50);

/// The identifier of requests that only ask whether it is done.
const DONE: TransactionId = TransactionId([0xdd; 12]);

/// A `turnserver` of our own; killed when dropped.
pub struct Coturn {
    child: Child,
    at: SocketAddr,
    folder: PathBuf,
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Coturn {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// It is not installed, or does not answer.
    pub fn start() -> anyhow::Result<Self> {
        let at = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let folder = std::env::temp_dir().join(format!("hanok-peers-coturn-{}", at.port()));
        std::fs::create_dir_all(&folder)?;
        let mut command = Command::new("turnserver");
        command.args(["-n", "--lt-cred-mech", "--no-cli", "--no-tcp", "--no-tls"]);
        command.args(["--no-dtls", "--log-file=stdout", "--realm", REALM]);
        command.args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"]);
        command.args(["--relay-ip=::1", "--relay-threads=1"]);
        command.arg(format!("--listening-port={}", at.port()));
        command.arg(format!("--pidfile={}", folder.join("pid").display()));
        command.arg(format!("--userdb={}", folder.join("db").display()));
        for (name, password) in USERS {
            command.arg(format!("--user={name}:{password}"));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .context("coturn (turnserver) is not installed")?;
        let coturn = Self { child, at, folder };
        let socket = coturn.socket(POLL)?;
        let mut answer = [0; 512];
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            // Until it listens, the kernel refuses at once.
            if socket.send(&probe()).is_ok() && socket.recv(&mut answer).is_ok() {
                return Ok(coturn);
            }
            std::thread::sleep(POLL);
        }
        anyhow::bail!("coturn does not answer")
    }

    /// For one scene: clients that it has not seen.
    pub(super) fn visit(&self) -> anyhow::Result<Visit<'_>> {
        let mut visit = Visit {
            coturn: self,
            sockets: BTreeMap::new(),
        };
        for client in 0..super::scenes::CLIENTS {
            let socket = self.socket(PATIENCE)?;
            visit.sockets.insert(client, socket);
            // It hands a new client over to another socket: order counts from here on.
            ensure!(visit.take(client, &probe())?.is_empty(), "a second answer");
        }
        Ok(visit)
    }

    fn socket(&self, timeout: Duration) -> anyhow::Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(self.at)?;
        socket.set_read_timeout(Some(timeout))?;
        Ok(socket)
    }
}

/// A Binding request, to which there is always an answer.
fn probe() -> Vec<u8> {
    written(Class::Request, Method::BINDING, DONE, |_| {})
}

pub(super) struct Visit<'a> {
    coturn: &'a Coturn,
    sockets: BTreeMap<usize, UdpSocket>,
}

impl Visit<'_> {
    /// Sends, and returns what came before the answer to a probe, or soon after it: coturn looks for a user's password
    /// in another thread, which a probe overtakes.
    fn take(&self, client: usize, bytes: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
        let socket = self.sockets.get(&client).context("a client")?;
        socket.send(bytes)?;
        let is_probe = bytes == probe();
        if !is_probe {
            socket.send(&probe())?;
        }
        let (mut answers, mut is_done) = (Vec::new(), false);
        loop {
            socket.set_read_timeout(Some(if is_done { AFTER } else { PATIENCE }))?;
            let mut answer = vec![0; 2_048];
            match socket.recv(&mut answer) {
                Ok(len) => answer.truncate(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_done => {
                    return Ok(answers);
                }
                Err(error) => {
                    return Err(error).context(format!("coturn at {} is silent", self.coturn.at));
                }
            }
            if Message::parse(&answer).is_ok_and(|it| it.transaction_id() == DONE) {
                is_done = true;
            } else {
                answers.push(answer);
            }
            if is_done && (is_probe || !answers.is_empty()) {
                return Ok(answers);
            }
        }
    }
}

impl Subject for Visit<'_> {
    fn exchange(&mut self, client: usize, bytes: &[u8]) -> anyhow::Result<Reply> {
        let mut answers = self.take(client, bytes)?;
        ensure!(answers.len() <= 1, "two answers to one message");
        Ok(answers.pop())
    }

    fn address(&self, client: usize) -> SocketAddr {
        let socket = self.sockets.get(&client);
        let local = socket.and_then(|socket| socket.local_addr().ok());
        local.unwrap_or_else(|| SocketAddr::from(([0; 4], 0)))
    }
}
