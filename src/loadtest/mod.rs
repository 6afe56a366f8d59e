//! Load on any OpenVidu 2 server: publishers and subscribers with synthetic media, and what became of it.
//!
//! ```text
//! scenario     who joins when: REST (server), one WebSocket each (signalling), descriptions
//!    | commands, events
//! engine       one thread, one socket for each association, looked at by the clock
//!    peer      ICE (controlling), DTLS, SRTP, sans-I/O
//!    publisher (encoder)          what is sent: every packet carries a stamp
//!    receiver  (frames)           what became of it
//! report       one table, one line of JSON
//! ```
//!
//! Only OpenVidu's public protocol is used, so any OpenVidu 2 server can be measured. Load on TURN servers of any make is
//! in [`turn`].

pub mod description;
mod encoder;
mod engine;
mod frames;
mod histogram;
mod ice;
mod measure;
mod peer;
mod process;
mod publisher;
mod receiver;
mod report;
mod scenario;
mod server;
mod service;
mod signalling;
mod stamp;
pub mod turn;

pub use crate::media::transport::srtp::Profile as SrtpProfile;
pub use publisher::Video;
pub use report::{Burst, Case, Frames, Generator, Packets, Percentiles, Report, Server};
pub use scenario::{Error, Options, Progress, measure};
pub use server::{ServerError, Trust};
pub use service::{Printing, run};
pub use signalling::SignallingError;
