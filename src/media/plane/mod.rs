//! The media plane's door: commands in, events out, and the handle that the control plane holds.
//!
//! Negotiation happens on the caller's thread ([`crate::media::sdp`]); workers get checked values only.

pub mod command;
pub mod event;
pub mod service;

pub use crate::media::sdp::{
    Candidate, CodecPolicy, Fingerprint, IceCredentials, LocalTransport, Offering, Publishing,
    Rejection, RemoteTransport, Subscribing, Track, accept_answer, answer_publisher,
    answer_publisher_with_loopback, answer_subscriber, offer_subscriber,
};
#[cfg(any(test, feature = "testing"))]
pub use command::Fault;
pub use command::{Command, PublisherSpec, RoomId, SubscriberSpec, TransportId};
pub use event::{Event, EventKind, FailureReason};
pub use service::turn::{TurnCommand, TurnHandle};
pub use service::{Plane, Room};
