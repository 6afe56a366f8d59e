//! Bodies with limits: requests that pause or grow too long fail, responses tell when they are done.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep};

/// Fires when nothing has arrived for a while; runs only while somebody waits.
#[derive(Debug)]
struct Idle {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Idle {
    const fn new(limit: Duration) -> Self {
        Self {
            limit,
            timer: None,
            running: false,
        }
    }

    /// Something has arrived.
    const fn stop(&mut self) {
        self.running = false;
    }

    /// Nothing has arrived yet.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.running {
            self.running = true;
            timer.as_mut().reset(Instant::now() + limit);
        }
        timer.as_mut().poll(cx)
    }
}

/// What has become of a request's body, for those who do not read it themselves.
#[derive(Debug, Default)]
pub(super) struct Progress {
    frames: AtomicU64,
    fault: AtomicU8,
}

const TOO_LONG: u8 = 1;
const TOO_SLOW: u8 = 2;
const BROKEN: u8 = 3;

impl Progress {
    /// Grows while the body is being read.
    pub(super) fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// What the client is told if the body could not be read to its end.
    pub(super) fn fault(&self) -> Option<StatusCode> {
        match self.fault.load(Ordering::Relaxed) {
            TOO_LONG => Some(StatusCode::PAYLOAD_TOO_LARGE),
            TOO_SLOW => Some(StatusCode::REQUEST_TIMEOUT),
            BROKEN => Some(StatusCode::BAD_REQUEST),
            _ => None,
        }
    }
}

/// A request's body.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Option<Incoming>,
    left: u64,
    idle: Idle,
    progress: Arc<Progress>,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, max_len: u64, idle: Duration) -> Self {
        Self {
            body: Some(body),
            left: max_len,
            idle: Idle::new(idle),
            progress: Arc::default(),
        }
    }

    /// No body at all.
    pub(super) fn empty() -> Self {
        Self {
            body: None,
            left: 0,
            idle: Idle::new(Duration::ZERO),
            progress: Arc::default(),
        }
    }

    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    fn fail(&self, fault: u8, error: io::Error) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.progress.fault.store(fault, Ordering::Relaxed);
        Poll::Ready(Some(Err(error)))
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            return match this.idle.poll(cx) {
                Poll::Ready(()) => this.fail(TOO_SLOW, io::ErrorKind::TimedOut.into()),
                Poll::Pending => Poll::Pending,
            };
        };
        let Some(frame) = frame else {
            return Poll::Ready(None);
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return this.fail(BROKEN, io::Error::other(error)),
        };
        if let Some(data) = frame.data_ref() {
            // Empty DATA frames are no progress.
            if !data.is_empty() {
                this.idle.stop();
                this.progress.frames.fetch_add(1, Ordering::Relaxed);
            }
            match this.left.checked_sub(data.len() as u64) {
                Some(left) => this.left = left,
                None => return this.fail(TOO_LONG, io::ErrorKind::FileTooLarge.into()),
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// An upstream's answer on its way to the client; its place among the upstream's requests is free afterwards.
#[derive(Debug)]
pub(super) struct UpstreamBody {
    body: Incoming,
    idle: Idle,
    _place: OwnedSemaphorePermit,
}

impl UpstreamBody {
    pub(super) const fn new(body: Incoming, idle: Duration, place: OwnedSemaphorePermit) -> Self {
        Self {
            body,
            idle: Idle::new(idle),
            _place: place,
        }
    }
}

impl HttpBody for UpstreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.idle.stop();
                Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
            }
            Poll::Pending => self
                .idle
                .poll(cx)
                .map(|()| Some(Err(io::ErrorKind::TimedOut.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request that has not been answered to its last byte.
#[derive(Debug)]
pub(super) struct InProgress(watch::Sender<usize>);

impl InProgress {
    pub(super) fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count = count.saturating_add(1));
        Self(count.clone())
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// `body`, which keeps `kept` until its last byte has gone, or can go no further.
pub(super) fn keeping<K: Send + 'static>(body: Body, kept: K) -> Body {
    Body::new(body.inspect_frame(move |_| {
        let _ = &kept;
    }))
}
