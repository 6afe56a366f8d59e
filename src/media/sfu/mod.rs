//! Selective forwarding: router, producer, consumer, sequencer, history, key frames.
//!
//! One [`Router`] per room, without I/O and clock. A *producer* is one incoming media track, a *consumer* one outgoing
//! copy of it. Opened packets go in, rewritten packets come out through a [`Sink`] that seals them; between the two
//! nothing is allocated.

mod arrival_log;
mod consumer;
mod counts;
mod history;
mod key_frame;
mod missing;
mod ntp;
mod producer;
mod quality;
mod rate_limit;
mod reception;
mod reference_times;
mod router;
mod sequencer;
mod source;

pub use counts::Counts;
pub use router::{Output, Router, Sink, TransportKey};

#[cfg(test)]
mod tests;
