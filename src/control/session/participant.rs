//! One participant: its socket, its stream, its subscriptions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use super::identifiers::{ConnectionId, SocketId, StreamId};
use super::notification::{Member, StreamDescriptor};
use super::properties::Role;
use super::reconnection::Grace;
use super::rpc_session::RpcKey;
use super::token::{Admission, Token};
use crate::media::plane::{Track, TransportId};
use crate::units::Codec;
use crate::views::openvidu as view;

/// A member of a session.
#[derive(Debug)]
pub(super) struct Participant {
    /// What it joined with.
    pub(super) token: Token,
    /// By what right it is here.
    pub(super) admission: Admission,
    /// Its way to us.
    pub(super) link: Link,
    /// By which it comes back.
    pub(super) rpc_session: RpcKey,
    /// The moment of the join, milliseconds.
    pub(super) active_at: u64,
    /// What the client passed to `connect()`.
    pub(super) client_data: String,
    /// What the client says it runs on.
    pub(super) platform: String,
    /// The client's address.
    pub(super) address: IpAddr,
    /// The user name of its TURN credentials.
    pub(super) turn_username: Option<String>,
    /// Its stream.
    pub(super) publication: Option<Publication>,
    /// What it receives, by publisher.
    pub(super) subscriptions: BTreeMap<ConnectionId, Subscription>,
    /// The first media section of the next offer to it: no two have a mid in common, so that answers cannot be mixed up.
    pub(super) next_mid: u32,
    /// The quality of its way to us, as the members were last told.
    pub(super) quality: Option<u8>,
}

/// Whether a participant's socket is open.
#[derive(Debug)]
pub(super) enum Link {
    /// Open.
    Open(SocketId),
    /// Closed without `leaveRoom`.
    Grace(Grace),
}

impl Participant {
    pub(super) fn connection(&self) -> &ConnectionId {
        &self.token.connection
    }

    /// The socket, while it is open.
    pub(super) fn socket(&self) -> Option<SocketId> {
        match &self.link {
            Link::Open(socket) => Some(*socket),
            Link::Grace(_) => None,
        }
    }

    /// The transports on which its browser sends and receives.
    pub(super) fn transports(&self) -> impl Iterator<Item = TransportId> {
        let subscriptions = self.subscriptions.values();
        let publication = self.publication.iter();
        publication
            .map(|publication| publication.transport)
            .chain(subscriptions.map(|subscription| subscription.transport))
    }

    /// The others do not see it: it is in no list and no count, and its coming and going is not told.
    pub(super) fn is_hidden(&self) -> bool {
        matches!(self.admission, Admission::Hidden(_))
    }

    /// Hidden ones may not: their stream would outlive them for the others, who never hear of their leaving.
    pub(super) fn may_publish(&self) -> bool {
        match self.admission {
            Admission::Token => self.token.properties.role != Role::Subscriber,
            Admission::Secret => true,
            Admission::Hidden(_) => false,
        }
    }

    /// Returns whether it may act on others.
    pub(super) fn may_moderate(&self) -> bool {
        match self.admission {
            Admission::Token => self.token.properties.role == Role::Moderator,
            Admission::Secret | Admission::Hidden(_) => true,
        }
    }

    /// Returns whether it publishes exactly this stream.
    pub(super) fn owns(&self, stream: &str) -> bool {
        let publication = self.publication.as_ref();
        publication.is_some_and(|publication| publication.descriptor.id.as_str() == stream)
    }

    /// `metadata`: the client's data and the server's, joined (section 7.2).
    pub(super) fn metadata(&self) -> String {
        match (
            self.client_data.as_str(),
            self.token.properties.data.as_str(),
        ) {
            (client, "") => client.to_owned(),
            ("", server) => server.to_owned(),
            (client, server) => format!("{client}%/%{server}"),
        }
    }

    /// How others see it.
    pub(super) fn member(&self) -> Member {
        Member {
            connection: self.connection().clone(),
            created_at: self.active_at,
            metadata: self.metadata(),
        }
    }

    /// How REST shows it (`openvidu-rest` section 4.4).
    pub(super) fn view(&self, websocket_url: &str, session: &str) -> view::Connection {
        view::Connection {
            status: "active",
            active_at: Some(self.active_at),
            location: Some("unknown".to_owned()),
            ip: Some(self.address.to_canonical().to_string()),
            platform: Some(self.platform.clone()),
            client_data: Some(self.client_data.clone()),
            publishers: Some(self.publication.iter().map(Publication::view).collect()),
            subscribers: Some(
                self.subscriptions
                    .values()
                    .filter(|subscription| subscription.offered.is_none())
                    .map(Subscription::view)
                    .collect(),
            ),
            ..pending_view(&self.token, websocket_url, session)
        }
    }
}

/// How REST shows a connection that nobody has used (`openvidu-rest` section 4.3).
pub(super) fn pending_view(token: &Token, websocket_url: &str, session: &str) -> view::Connection {
    view::Connection {
        id: token.connection.to_string(),
        object: "connection",
        status: "pending",
        connection_id: token.connection.to_string(),
        session_id: session.to_owned(),
        created_at: token.created_at,
        kind: "WEBRTC",
        record: token.properties.record,
        role: Some(token.properties.role.as_str()),
        kurento_options: token.properties.kurento_options_json.clone(),
        custom_ice_servers: token.properties.custom_ice_servers.clone(),
        rtsp_uri: None,
        adaptative_bitrate: None,
        only_play_with_subscribers: None,
        network_cache: None,
        server_data: token.properties.data.clone(),
        token: Some(token.url(websocket_url, session)),
        active_at: None,
        location: None,
        ip: None,
        platform: None,
        client_data: None,
        publishers: None,
        subscribers: None,
    }
}

/// A participant's stream.
#[derive(Debug)]
pub(super) struct Publication {
    /// How others see it.
    pub(super) descriptor: StreamDescriptor,
    /// Its transport.
    pub(super) transport: TransportId,
    /// What can be subscribed to.
    pub(super) tracks: Vec<Track>,
    /// Its own media comes back to it (`doLoopback`), also after it has reconnected.
    pub(super) do_loopback: bool,
    /// Its transport is gone: unless a request explains that or brings another one by this moment, the stream is over.
    pub(super) orphaned_until: Option<Instant>,
    /// Candidates that the client announced.
    pub(super) candidates: u8,
}

impl Publication {
    fn view(&self) -> view::Publisher {
        let stream = &self.descriptor;
        view::Publisher {
            created_at: stream.created_at,
            stream_id: stream.id.to_string(),
            media_options: view::MediaOptions {
                has_audio: stream.has_audio,
                audio_active: stream
                    .has_audio
                    .then_some(stream.audio_active.unwrap_or(true)),
                has_video: stream.has_video,
                video_active: stream
                    .has_video
                    .then_some(stream.video_active.unwrap_or(true)),
                type_of_video: stream.type_of_video.map(str::to_owned),
                frame_rate: stream.has_video.then_some(stream.frame_rate),
                video_dimensions: stream.video_dimensions.clone(),
                filter: serde_json::Value::Object(serde_json::Map::new()),
            },
        }
    }
}

/// What a participant receives of one other.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Milliseconds since the epoch.
    pub(super) created_at: u64,
    /// The publisher's stream.
    pub(super) stream: StreamId,
    /// Its transport.
    pub(super) transport: TransportId,
    /// What we offered, while the answer is awaited.
    pub(super) offered: Option<Vec<Track>>,
    /// What it can decode, one for each kind of medium.
    pub(super) codecs: Vec<Codec>,
    /// Candidates that the client announced.
    pub(super) candidates: u8,
}

impl Subscription {
    /// Returns whether all of `source` that is of a kind it receives is something that it can decode.
    pub(super) fn can_follow(&self, source: &[Track]) -> bool {
        source.iter().all(|track| {
            let mut of_kind = self
                .codecs
                .iter()
                .filter(|codec| codec.kind() == track.kind);
            of_kind.all(|codec| *codec == track.codec)
        })
    }

    fn view(&self) -> view::Subscriber {
        view::Subscriber {
            created_at: self.created_at,
            stream_id: self.stream.to_string(),
        }
    }
}
