//! The Unix socket by which `hanok status`, `drain`, `reload` and their siblings reach the daemon: JSON over HTTP/1.1,
//! so that `curl --unix-socket` does, too. Who may connect is decided by the file's mode and by what the kernel tells
//! of the other side; nobody is asked for a secret.

pub(super) mod api;
mod findings;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Connections at the same time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16;

/// How long the head of a request may take.
const HEADER_READ: Duration = Duration::from_secs(2);

/// How long one connection may take: the longest answer is that of a reload.
const CONNECTION: Duration = Duration::from_secs(120);

/// How long answers that are on their way may take once the socket is closed.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Bytes of a request's head.
const HEADER_BYTES: usize = 16 * 1024;

/// For the owner and the group.
const MODE: u32 = 0o660;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum BindError {
    /// Its folder is missing.
    #[error(
        "there is no folder {0} for the control socket, so hanok status, drain and reload do not work: the systemd unit makes \
         /run/hanok (RuntimeDirectory=hanok); else create the folder for the user who runs hanok, or set \
         HANOK_CONTROL_SOCKET"
    )]
    NoFolder(String),
    /// Another daemon serves it.
    #[error(
        "another process answers at {0}, so hanok status, drain and reload reach that one and not this: set \
         HANOK_CONTROL_SOCKET to a path of its own"
    )]
    Live(String),
    /// Something else is there.
    #[error(
        "{0} is no socket, so hanok status, drain and reload do not work: remove it, or set HANOK_CONTROL_SOCKET"
    )]
    NoSocket(String),
    /// Anything else.
    #[error(
        "the control socket {path} cannot be made ({error}), so hanok status, drain and reload do not work: give the user \
         who runs hanok access to its folder, or set HANOK_CONTROL_SOCKET"
    )]
    Other {
        /// Where.
        path: String,
        /// Why not.
        error: io::Error,
    },
}

/// The bound socket.
#[derive(Debug)]
pub(super) struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

/// The socket's file, removed when this is dropped, unless another one has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| inode(&found) == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl ControlSocket {
    /// Takes `path`. A socket that nobody serves any more is replaced, as one that a killed process has left.
    ///
    /// # Errors
    /// It cannot be taken; what is there stays.
    pub(super) fn bind(path: &Path) -> Result<Self, BindError> {
        let shown = || path.display().to_string();
        let other = |error| BindError::Other {
            path: shown(),
            error,
        };
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(path);
                return Err(BindError::NoFolder(folder.display().to_string()));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let found = fs::symlink_metadata(path).map_err(other)?;
                if !found.file_type().is_socket() {
                    return Err(BindError::NoSocket(shown()));
                }
                if is_live(path) {
                    return Err(BindError::Live(shown()));
                }
                fs::remove_file(path).map_err(other)?;
                UnixListener::bind(path)
            }
            bound => bound,
        }
        .map_err(other)?;
        let bound = fs::symlink_metadata(path).map_err(other)?;
        let file = SocketFile {
            path: path.to_owned(),
            inode: inode(&bound),
        };
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(other)?;
        Ok(Self { listener, file })
    }

    /// Serves `routes` until `stop`.
    pub(super) async fn serve(self, routes: Router, stop: CancellationToken) {
        let Self { listener, file } = self;
        let mut connections = JoinSet::new();
        loop {
            let is_full = connections.len() >= MAX_CONNECTIONS;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if ended.is_err() {
                        tracing::error!("a bug has ended a control connection; please report the panic message above");
                    }
                }
                accepted = listener.accept(), if !is_full => match accepted {
                    Ok((stream, _)) => {
                        let routes = match judge(&stream, &file.path) {
                            Ok(()) => routes.clone(),
                            Err(who) => {
                                tracing::warn!("control connection refused: {who}");
                                stranger()
                            }
                        };
                        connections.spawn(converse(stream, routes));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a control connection");
                        sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        drop((listener, file));
        // Who has ordered what ends the process is still answered.
        let answers = async { while connections.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, answers).await.is_err() {
            connections.shutdown().await;
        }
    }
}

/// Whether somebody accepts connections there. Never waits.
fn is_live(path: &Path) -> bool {
    let connected = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)
        .and_then(|socket| socket.connect(&SockAddr::unix(path)?));
    // A full queue (EAGAIN) is somebody's, and so may be one that is not for us.
    !matches!(connected, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether the other side may command us; else who it is.
fn judge(stream: &UnixStream, path: &Path) -> Result<(), String> {
    let peer = stream.peer_cred().map_err(|error| error.to_string())?;
    let file = fs::symlink_metadata(path).ok();
    let file = file.map(|file| (file.mode(), file.gid()));
    if is_admitted(&peer, rustix::process::geteuid().as_raw(), file) {
        Ok(())
    } else {
        Err(format!(
            "uid {} is neither root nor the user who runs hanok, nor of the group that {} is for",
            peer.uid(),
            path.display()
        ))
    }
}

/// Root, ourselves, and the file's group. Connecting takes leave to write (unix(7)): as long as the mode gives that to
/// nobody else, the kernel has checked the group, supplementary ones included; else only the peer's own group counts.
fn is_admitted(peer: &UCred, own_uid: u32, file: Option<(u32, u32)>) -> bool {
    let of_group = |(mode, gid): (u32, u32)| mode & 0o002 == 0 || peer.gid() == gid;
    peer.uid() == 0 || peer.uid() == own_uid || file.is_some_and(of_group)
}

/// What those are told who may not be here.
fn stranger() -> Router {
    Router::new().fallback(|| async {
        api::refusal(
            StatusCode::FORBIDDEN,
            "you may not command this daemon: run this as root, as the user who runs hanok, or as a member of the group \
             of the control socket",
        )
    })
}

async fn converse(stream: UnixStream, routes: Router) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ)
        .keep_alive(false)
        .max_header_size(HEADER_BYTES)
        .max_buf_size(2 * HEADER_BYTES);
    let service = TowerToHyperService::new(routes);
    let connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "control connection failed"),
        Err(_) => tracing::debug!("control connection took too long"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        (folder, path)
    }

    #[tokio::test]
    async fn the_socket_is_for_owner_and_group_and_vanishes_with_its_daemon() {
        let (_folder, path) = folder();
        let socket = ControlSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_process_has_left_is_replaced_and_a_live_socket_never() {
        let (_folder, path) = folder();
        // Closing it leaves the file, as a kill does.
        drop(StdListener::bind(&path).unwrap());
        let first = ControlSocket::bind(&path).unwrap();
        assert!(matches!(
            ControlSocket::bind(&path),
            Err(BindError::Live(_))
        ));
        assert!(path.exists());
        // The first one's file is another one's by now.
        fs::remove_file(&path).unwrap();
        let second = ControlSocket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_accepts_too_slowly_is_live_all_the_same() {
        let (_folder, path) = folder();
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(matches!(
            ControlSocket::bind(&path),
            Err(BindError::Live(_))
        ));
    }

    #[tokio::test]
    async fn what_is_in_the_way_stays_and_the_operator_is_told_what_to_change() {
        let (folder, path) = folder();
        fs::write(&path, "precious").unwrap();
        let refused = ControlSocket::bind(&path).unwrap_err().to_string();
        assert!(refused.contains("HANOK_CONTROL_SOCKET"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let nowhere = folder.path().join("none/control.sock");
        let refused = ControlSocket::bind(&nowhere).unwrap_err().to_string();
        for part in ["none", "RuntimeDirectory=hanok", "HANOK_CONTROL_SOCKET"] {
            assert!(refused.contains(part), "{part} is not in {refused}");
        }
    }

    #[tokio::test]
    async fn root_ourselves_and_the_group_are_admitted_and_nobody_else() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = one.peer_cred().unwrap();
        let (uid, gid) = (peer.uid(), peer.gid());
        let stranger = uid + 1;
        assert!(is_admitted(&peer, uid, None), "ourselves");
        // Root is let in by everybody; a test that runs as root shows no more than that.
        let is_root = uid == 0;
        assert_eq!(is_admitted(&peer, stranger, None), is_root);
        assert!(is_admitted(&peer, stranger, Some((0o140_660, gid + 1))));
        assert!(is_admitted(&peer, stranger, Some((0o140_666, gid))));
        let open = Some((0o140_666, gid + 1));
        assert_eq!(is_admitted(&peer, stranger, open), is_root);
    }
}
