//! Signalling: JSON-RPC 2.0 in WebSocket text frames, the protocol of `openvidu-browser` 2.20 to 2.32.
//!
//! `envelope` is the frame, `method` the table, one file per family of methods; `service.rs` holds the sockets.

mod budget;
mod call;
mod candidates;
mod envelope;
mod keep_alive;
mod membership;
mod moderation;
mod notification;
mod outbox;
mod params;
mod publishing;
mod service;
mod signals;
mod subscribing;
#[cfg(test)]
mod tests;

pub use service::{Connections, service};

/// Reads one frame as far as that needs no connection and returns the error answer, or `None` if it is a request of a
/// known method. For fuzzing.
#[cfg(any(test, feature = "testing"))]
pub fn refusal(frame: &str) -> Option<String> {
    match envelope::Envelope::parse(frame) {
        Ok(request) => call::decode(&request.method, request.params)
            .err()
            .map(|error| error.answer(&request.id)),
        Err(error) => Some(error.answer()),
    }
}
