//! When a line of the access log is written: once the answer has gone, or can go no further.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::front::proxy::access_log::{Entry, TARGET};
use crate::units::{RemoteAddr, clock};

/// What is logged of `request`, if anybody reads it.
pub(super) fn entry<B>(RemoteAddr(remote): RemoteAddr, request: &Request<B>) -> Option<Entry> {
    tracing::enabled!(target: TARGET, tracing::Level::INFO).then(|| {
        let line = (request.method(), request.uri(), request.version());
        Entry::new(remote, clock::wall_ms() / 1000, line, request.headers())
    })
}

/// The response that writes its line when it is done.
pub(super) fn logged(response: Response<Body>, entry: Option<Entry>) -> Response<Body> {
    let Some(entry) = entry else {
        return response;
    };
    let status = response.status();
    response.map(|body| {
        Body::new(LoggedBody {
            body,
            bytes: 0,
            status,
            entry,
        })
    })
}

struct LoggedBody {
    body: Body,
    bytes: u64,
    status: StatusCode,
    entry: Entry,
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        tracing::info!(target: TARGET, "{}", self.entry.line(self.status, self.bytes));
    }
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            let len = frame.data_ref().map_or(0, Bytes::len);
            self.bytes = self.bytes.saturating_add(len as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
