//! What the control plane tells a worker.

use crate::media::sdp::{IceCredentials, RemoteTransport, Track};
use crate::units::Bitrate;

/// A session's home on one worker; unique for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// One ICE, DTLS and SRTP association; unique for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransportId(pub u64);

/// A command to the worker that owns the room. Commands of one room are carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Opens a transport on which a browser sends media.
    OpenPublisher(Box<PublisherSpec>),
    /// Opens a transport on which a browser receives the media of one publisher.
    OpenSubscriber(Box<SubscriberSpec>),
    /// Completes a subscriber that we offered to: its answer has arrived.
    AcceptAnswer {
        /// The subscriber's transport.
        transport: TransportId,
        /// The browser's end.
        remote: RemoteTransport,
        /// The tracks as answered; those that the browser refused are missing.
        tracks: Vec<Track>,
    },
    /// Ends a transport. Subscribers of an ended publisher stay open and silent until they are closed too. A publisher
    /// whose transport failed is kept for the one that may replace it, until it is closed.
    CloseTransport(TransportId),
    /// Ends every transport of the room and forgets it.
    CloseRoom,
    /// Makes the worker panic at its next chance, for tests of containment.
    #[cfg(any(test, feature = "testing"))]
    Panic(Fault),
}

/// Where an injected panic strikes.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// While the next datagram of a transport is handled.
    Transport(TransportId),
    /// While the next packets of a room are forwarded.
    Room,
}

/// A transport on which a browser sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherSpec {
    /// Its identity.
    pub transport: TransportId,
    /// Our credentials, as written into the answer.
    pub local: IceCredentials,
    /// The browser's end.
    pub remote: RemoteTransport,
    /// What it sends, one track for each accepted media section.
    pub tracks: Vec<Track>,
    /// The most video it may send, as it is told by REMB; `None` is unlimited.
    pub max_receive: Option<Bitrate>,
    /// The publisher's former transport: its subscribers go on with this one, in their own numbering, and it ends
    /// (`reconnectStream`).
    pub replaces: Option<TransportId>,
    /// What it gets back of its own media, with the SSRCs that we declared (`doLoopback`); empty for nothing.
    pub loopback: Vec<Track>,
}

/// A transport on which a browser receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberSpec {
    /// Its identity.
    pub transport: TransportId,
    /// The publisher's transport in the same room, whose tracks of the same kind it receives.
    pub source: TransportId,
    /// Our credentials, as written into the answer or offer.
    pub local: IceCredentials,
    /// The browser's end; `None` while its answer to our offer is awaited.
    pub remote: Option<RemoteTransport>,
    /// What we send, with the SSRCs that we declared.
    pub tracks: Vec<Track>,
    /// The most video that may be sent to it, to which its publisher is held; `None` is unlimited.
    pub max_send: Option<Bitrate>,
    /// The subscriber's former transport for the same source: this one goes on in its numbering, and it ends
    /// (`reconnectStream`).
    pub replaces: Option<TransportId>,
}
