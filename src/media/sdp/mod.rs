//! Session descriptions (RFC 8866, RFC 8829): offers and answers read with bounds, negotiated and written.

pub mod bounds;
pub mod description;
mod format;
mod local;
pub mod negotiate;
mod remote;

pub use crate::units::{Feedback, Track};
pub use description::{
    Candidate, CodecPolicy, Fingerprint, IceCredentials, LocalTransport, Offering, Publishing,
    Rejection, RemoteTransport, Subscribing,
};
pub use negotiate::{
    accept_answer, answer_publisher, answer_publisher_with_loopback, answer_subscriber,
    offer_subscriber,
};
