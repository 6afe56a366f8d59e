//! Bodies with limits: requests that pause or grow too long fail, responses tell when they are done.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};

/// A request's body.
#[derive(Debug)]
pub(super) struct RequestBody {
    body: Incoming,
    left: u64,
    idle: Duration,
    /// Runs while nothing arrives.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, max_len: u64, idle: Duration) -> Self {
        Self {
            body,
            left: max_len,
            idle,
            waiting: None,
        }
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
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            let waiting = this
                .waiting
                .get_or_insert_with(|| Box::pin(sleep(this.idle)));
            return waiting
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(io::ErrorKind::TimedOut.into())));
        };
        let Some(frame) = frame else {
            return Poll::Ready(None);
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
        };
        if let Some(data) = frame.data_ref() {
            // Empty DATA frames are no progress.
            if !data.is_empty() {
                this.waiting = None;
            }
            match this.left.checked_sub(data.len() as u64) {
                Some(left) => this.left = left,
                None => return Poll::Ready(Some(Err(io::ErrorKind::FileTooLarge.into()))),
            }
        }
        Poll::Ready(Some(Ok(frame)))
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

/// A response's body, which keeps its request in progress.
#[derive(Debug)]
pub(super) struct ResponseBody {
    body: Body,
    _in_progress: InProgress,
}

impl ResponseBody {
    pub(super) fn new(body: Body, in_progress: InProgress) -> Self {
        Self {
            body,
            _in_progress: in_progress,
        }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
