//! An application behind the proxy that takes every byte literally: what it sees is what the proxy has sent.

use std::sync::{Mutex, PoisonError};

use tokio::io::BufReader;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::front::proxy::routes::Origin;

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The head up to its empty line.
    pub(super) head: String,
    /// The body without its chunks' framing.
    pub(super) body: Vec<u8>,
}

impl Seen {
    /// The value of the only line with this name; empty if there is none.
    pub(super) fn header(&self, name: &str) -> String {
        let mut values = self.head.lines().filter_map(|line| {
            let (given, value) = line.split_once(": ")?;
            given.eq_ignore_ascii_case(name).then(|| value.to_owned())
        });
        let value = values.next().unwrap_or_default();
        assert_eq!(values.next(), None, "two lines of {name}: {}", self.head);
        value
    }

    pub(super) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }
}

/// What it does with a request.
pub(super) enum Act {
    /// Writes this; the connection goes on.
    Answer(String),
    /// Writes this and echoes what comes afterwards.
    Echo(String),
    /// Writes this and closes.
    Last(String),
    /// Never says anything.
    Silence,
}

type Script = dyn Fn(&Seen) -> Act + Send + Sync;

/// A running application.
pub(super) struct App {
    pub(super) address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<std::sync::atomic::AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl App {
    /// Answers 200 with the target it was asked for.
    pub(super) async fn plain() -> Self {
        Self::scripted(|seen| Act::Answer(ok(seen.target()))).await
    }

    pub(super) async fn scripted(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(script)).await
    }

    pub(super) async fn tls(acceptor: TlsAcceptor) -> Self {
        Self::start(
            Some(acceptor),
            Arc::new(|seen: &Seen| Act::Answer(ok(seen.target()))),
        )
        .await
    }

    async fn start(acceptor: Option<TlsAcceptor>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::default();
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (seen, connections) = (Arc::clone(&seen), Arc::clone(&connections));
            async move {
                let mut open = JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let count: &std::sync::atomic::AtomicUsize = &connections;
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                    let acceptor = acceptor.clone();
                    open.spawn(async move {
                        match acceptor {
                            None => converse(stream, &seen, &*script).await,
                            Some(acceptor) => {
                                let stream = acceptor.accept(stream).await.unwrap();
                                converse(stream, &seen, &*script).await;
                            }
                        }
                    });
                }
            }
        });
        Self {
            address,
            scheme,
            seen,
            connections,
            _tasks: tasks,
        }
    }

    pub(super) fn origin(&self) -> Origin {
        format!("{}://{}", self.scheme, self.address)
            .parse()
            .unwrap()
    }

    /// Every request so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How often somebody has connected.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A proxy whose `/` is this application.
    pub(super) fn proxied(&self) -> Running {
        self.proxied_with(|_| {})
    }

    pub(super) fn proxied_with(&self, change: impl FnOnce(&mut Settings)) -> Running {
        Running::start_by(|settings| {
            settings.routing.application = Application::Upstream(self.origin());
            change(settings);
        })
    }
}

/// A response with a length.
pub(super) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn converse<S>(stream: S, seen: &Mutex<Vec<Seen>>, script: &Script)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let act = script(&request);
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(request);
        let (text, then) = match act {
            Act::Answer(text) => (text, 0),
            Act::Echo(text) => (text, 1),
            Act::Last(text) => (text, 2),
            Act::Silence => std::future::pending().await,
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        let _ = stream.flush().await;
        match then {
            0 => {}
            1 => {
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
                return;
            }
            _ => {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

/// Reads one request strictly; `None` at the end of the connection.
async fn read<S>(stream: &mut BufReader<S>) -> Option<Seen>
where
    S: tokio::io::AsyncRead + Unpin,
{
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            assert_eq!(head, "", "an unfinished head");
            return None;
        }
        assert!(line.ends_with("\r\n"), "a bare line feed: {line:?}");
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut seen = Seen {
        head,
        body: Vec::new(),
    };
    let length = seen.header("content-length");
    match (length.as_str(), seen.header("transfer-encoding").as_str()) {
        ("", "") => {}
        (length, "") => {
            let length: usize = length.parse().unwrap();
            seen.body = vec![0; length];
            stream.read_exact(&mut seen.body).await.ok()?;
        }
        ("", "chunked") => loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let len = usize::from_str_radix(line.strip_suffix("\r\n")?, 16).unwrap();
            let mut chunk = vec![0; len + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            seen.body.extend(&chunk[..len]);
            if len == 0 {
                break;
            }
        },
        both => panic!("framed twice: {both:?}"),
    }
    Some(seen)
}
