//! The client of the control socket.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::views::control::Refused;

/// How long an answer may take that nobody has to work for.
pub(in crate::cli) const SOON: Duration = Duration::from_secs(15);

/// The largest answer: a list of as many allocations as there are ports.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A daemon, by its control socket.
#[derive(Debug)]
pub(in crate::cli) struct Daemon {
    socket: PathBuf,
}

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Failure {
    /// Nobody serves the socket.
    #[error(
        "hanok does not run, or its control socket is not {socket} ({error}): start it with `systemctl start hanok`, or name \
         the socket with --socket; the log of a running one says where it is"
    )]
    NotRunning {
        /// Which socket was tried.
        socket: String,
        /// What the system says.
        error: io::Error,
    },
    /// The socket is not for us.
    #[error(
        "the control socket {socket} is not for you ({error}): run this as root, as the user who runs hanok, or as a member of \
         its group"
    )]
    NotAllowed {
        /// Which socket was tried.
        socket: String,
        /// What the system says.
        error: io::Error,
    },
    /// It listens and says nothing.
    #[error(
        "hanok has the control socket {socket} but has not answered within {} s: `systemctl restart hanok` helps, its log tells \
         why", patience.as_secs()
    )]
    Silent {
        /// Which socket was tried.
        socket: String,
        /// For how long.
        patience: Duration,
    },
    /// The connection ended too early: the daemon has, too.
    #[error(
        "hanok has closed the connection ({error}): it is stopping, or what answers at {socket} is something else"
    )]
    Closed {
        /// Which socket was tried.
        socket: String,
        /// What was seen.
        error: String,
    },
    /// It does not do what was asked.
    #[error("{message}")]
    Refused {
        /// HTTP's word for it.
        status: StatusCode,
        /// For the operator.
        message: String,
    },
    /// The answer means nothing to us.
    #[error(
        "the answer at {socket} cannot be read ({error}): is the daemon of the same version as this command?"
    )]
    Strange {
        /// Which socket was tried.
        socket: String,
        /// What is wrong with it.
        error: String,
    },
}

impl Failure {
    /// Whether nobody is there any more.
    pub(in crate::cli) const fn is_gone(&self) -> bool {
        matches!(self, Self::NotRunning { .. } | Self::Closed { .. })
    }
}

impl Daemon {
    /// The one at this socket.
    pub(in crate::cli) const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Asks, and takes the answer for a `T`.
    pub(in crate::cli) fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Failure> {
        let (status, answer) = self.call(method, path, body, SOON)?;
        if status.is_success() {
            return self.read(&answer);
        }
        Err(refusal(status, &answer))
    }

    /// Asks for something that is answered by nothing but its success.
    pub(in crate::cli) fn tell(&self, method: Method, path: &str) -> Result<(), Failure> {
        let (status, answer) = self.call(method, path, None, SOON)?;
        if status.is_success() {
            Ok(())
        } else {
            Err(refusal(status, &answer))
        }
    }

    /// The answer, whatever its status.
    pub(in crate::cli) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.closed(&error))?;
        runtime.block_on(async {
            let exchange = self.exchange(method, path, body);
            timeout(patience, exchange)
                .await
                .map_err(|_| Failure::Silent {
                    socket: self.shown(),
                    patience,
                })?
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.closed(&error))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "hanok")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.strange(&error))?;
        let answer = async {
            let answer = sender.send_request(request).await;
            let (head, body) = answer.map_err(|error| self.closed(&error))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| self.closed(error.as_ref()))?;
            Ok((head.status, body.to_bytes()))
        };
        // The connection has to be driven while the answer comes; it may end right after it.
        let driven = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            never = driven => never,
        }
    }

    /// Takes an answer for a `T`.
    pub(in crate::cli) fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(answer).map_err(|error| self.strange(&error))
    }

    fn unreachable(&self, error: io::Error) -> Failure {
        let socket = self.shown();
        if error.kind() == io::ErrorKind::PermissionDenied {
            Failure::NotAllowed { socket, error }
        } else {
            Failure::NotRunning { socket, error }
        }
    }

    fn closed(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::Closed {
            socket: self.shown(),
            error: error.to_string(),
        }
    }

    fn strange(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::Strange {
            socket: self.shown(),
            error: error.to_string(),
        }
    }

    fn shown(&self) -> String {
        self.socket.display().to_string()
    }
}

/// What the daemon says, else HTTP's word for it.
pub(in crate::cli) fn refusal(status: StatusCode, answer: &[u8]) -> Failure {
    let message = serde_json::from_slice(answer).map(|Refused { message }| message);
    Failure::Refused {
        status,
        message: message.unwrap_or_else(|_| format!("hanok answers {status}")),
    }
}

/// Waits between two looks.
pub(in crate::cli) fn pause(time: Duration) {
    thread::sleep(time);
}
