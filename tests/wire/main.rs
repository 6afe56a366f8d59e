//! Recorded bytes and texts of real peers: golden in, golden out.

mod sdp;
