//! The media plane's door: commands in, events out, and the handle that the control plane holds.
//!
//! Negotiation happens on the caller's thread ([`crate::media::sdp`]); workers get checked values only.

pub mod command;
pub mod event;
pub mod service;

pub use command::{Command, PublisherSpec, RoomId, SubscriberSpec, TransportId};
pub use event::{Event, EventKind, FailureReason};
pub use service::{Plane, Room};
