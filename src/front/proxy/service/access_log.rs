//! When a line of the access log is written: once the answer has gone, or can go no further.

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Frame;

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
    let mut line = Line {
        status: response.status(),
        bytes: 0,
        entry,
    };
    response.map(|body| Body::new(body.inspect_frame(move |frame| line.count(frame))))
}

/// Written when it is dropped.
struct Line {
    status: StatusCode,
    bytes: u64,
    entry: Entry,
}

impl Line {
    fn count(&mut self, frame: &Frame<Bytes>) {
        let len = frame.data_ref().map_or(0, Bytes::len);
        self.bytes = self.bytes.saturating_add(len as u64);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        tracing::info!(target: TARGET, "{}", self.entry.line(self.status, self.bytes));
    }
}
