//! The admin listener: one port for monitoring, apart from everything that participants reach.

mod process;
mod sockets;
mod surroundings;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admin::{Question, metrics, question, verdict};
use super::exposition::exposition;
use crate::views::metric::Family;

pub use process::families as process_families;
pub use sockets::receive_drops;
pub use surroundings::{is_journal, thread_name};

/// Connections at a time; more wait until one of these is over.
const CONNECTIONS: usize = 16;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 64;

/// A request's head may take this long, counted from the end of the previous request.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// A connection may last this long, whatever its client does: sixteen idle ones must not lock monitoring out.
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// Bytes of a request's head.
const MAX_HEAD: usize = 16 * 1024;

/// Header lines of a request.
const MAX_HEADERS: usize = 64;

/// What this machine calls itself (proc_sys_kernel(5), hostname(5)); the first is hidden by `ProcSubset=pid`.
const HOST_NAME: [&str; 2] = ["/proc/sys/kernel/hostname", "/etc/hostname"];

/// How long nothing is accepted after that failed, as without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Where the answers come from.
pub trait Source: Send + Sync + 'static {
    /// Everything that is measured, as it is at this moment.
    fn metrics(&self) -> impl Future<Output = Vec<Family>> + Send;

    /// Which part of the process does not do its work, a line for each.
    fn ailments(&self) -> impl Future<Output = Vec<String>> + Send;

    /// Why no new session should come here, a line for each reason.
    fn reasons_to_wait(&self) -> impl Future<Output = Vec<String>> + Send;
}

/// The listener, bound and waiting.
#[derive(Debug)]
pub struct Admin {
    sockets: Vec<TcpListener>,
    own_names: Vec<String>,
}

impl Admin {
    /// Takes the port on every one of `addresses`, beside sockets that listen already; must run inside a tokio runtime.
    /// Whoever asks may call this machine `name`, too.
    ///
    /// # Errors
    /// The first address that cannot be taken, and why; then none is kept.
    pub fn bind(
        listening: Vec<std::net::TcpListener>,
        addresses: &[SocketAddr],
        name: String,
    ) -> Result<Self, (SocketAddr, io::Error)> {
        let mut sockets = Vec::new();
        for socket in listening {
            let address = socket.local_addr();
            let adopted = socket
                .set_nonblocking(true)
                .and_then(|()| TcpListener::from_std(socket));
            let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
            sockets.push(adopted.map_err(|error| (address.unwrap_or(unknown), error))?);
        }
        for address in addresses {
            match listen(*address) {
                Ok(socket) => sockets.push(socket),
                Err(error) if is_missing_family(&error) && addresses.len() + sockets.len() > 1 => {}
                Err(error) => return Err((*address, error)),
            }
        }
        // Where neither can be read, nobody comes by that name.
        let own_name = HOST_NAME
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok());
        let own_name = own_name.unwrap_or_default();
        Ok(Self {
            sockets,
            own_names: vec![name, own_name.trim().to_owned()],
        })
    }

    /// The addresses that were really taken.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let sockets = self.sockets.iter();
        sockets.filter_map(|socket| socket.local_addr().ok())
    }

    /// Answers out of `source` until `cancel` is cancelled, which closes everything at once.
    pub async fn serve<S: Source>(self, source: Arc<S>, cancel: CancellationToken) {
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        let own_names: Arc<[String]> = self.own_names.into();
        let mut listeners = JoinSet::new();
        for socket in self.sockets {
            let (source, own_names) = (Arc::clone(&source), Arc::clone(&own_names));
            listeners.spawn(accept(socket, Arc::clone(&free), source, own_names));
        }
        let ended = async { while listeners.join_next().await.is_some() {} };
        cancel.run_until_cancelled(ended).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_missing_family(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// Accepts as long as nobody drops this, which ends its connections too.
async fn accept<S: Source>(
    socket: TcpListener,
    free: Arc<Semaphore>,
    source: Arc<S>,
    own_names: Arc<[String]>,
) {
    let mut connections = JoinSet::new();
    loop {
        // Those that have ended would otherwise be kept for a parent that never asks.
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        match socket.accept().await {
            Ok((stream, _)) => {
                let (source, own_names) = (Arc::clone(&source), Arc::clone(&own_names));
                connections.spawn(async move {
                    let connection = connection(stream, source, own_names);
                    let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for monitoring");
                drop(permit);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S: Source>(stream: TcpStream, source: Arc<S>, own_names: Arc<[String]>) {
    let service = service_fn(|request| {
        let (source, own_names) = (Arc::clone(&source), Arc::clone(&own_names));
        async move {
            let answer = answer(&request, &*source, &own_names).await;
            Ok::<_, Infallible>(answer.map(|text| Full::new(Bytes::from(text))))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = pin!(connection).await {
        tracing::debug!(%error, "a connection for monitoring failed");
    }
}

async fn answer<S: Source>(
    request: &Request<Incoming>,
    source: &S,
    own_names: &[String],
) -> Response<String> {
    let (method, uri, headers) = (request.method(), request.uri(), request.headers());
    match question(method, uri, headers, own_names) {
        Ok(Question::Metrics(format)) => {
            metrics(format, exposition(&source.metrics().await, format))
        }
        Ok(Question::Health) => verdict(&source.ailments().await),
        Ok(Question::Readiness) => verdict(&source.reasons_to_wait().await),
        Err(refusal) => refusal.response(),
    }
}
