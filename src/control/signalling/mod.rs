//! Signalling: JSON-RPC 2.0 in WebSocket text frames, the protocol of `openvidu-browser` 2.20 to 2.32.
//!
//! `envelope` is the frame, `call` the table of methods, one file per family of methods; `service.rs` holds the sockets.

mod budget;
mod call;
mod candidates;
mod envelope;
mod filters;
mod keep_alive;
mod membership;
mod metrics;
mod moderation;
mod notification;
mod outbox;
mod params;
mod publishing;
mod reconnection;
#[cfg(test)]
mod roles;
mod service;
mod signals;
mod subscribing;
#[cfg(test)]
mod tests;

pub use service::{Connections, service};

/// What a participant's frame is answered before any session sees it, if anything: the entry of a fuzz target.
#[cfg(any(test, feature = "testing"))]
pub fn refusal_of(frame: &str) -> Option<String> {
    match envelope::Envelope::parse(frame) {
        Err(error) => Some(error.answer()),
        Ok(request) => call::decode(&request.method, request.params)
            .err()
            .map(|error| error.answer(&request.id)),
    }
}
