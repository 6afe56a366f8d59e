//! Recorded bytes and texts of real peers: golden in, golden out.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails fails its test, where the lint does not apply"
)]

mod sdp;
