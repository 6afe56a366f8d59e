//! What tests of sessions share: properties, descriptions, a media plane that only listens, and a stage on which
//! participants named by letters act and every effect becomes one line of a transcript.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;

use super::command::{Hidden, JoinRoom, Joiner, PublishVideo, Request, RequestId, VideoType};
use super::core::{Home, Moment, Session};
use super::effect::Effect;
use super::identifiers::SocketId;
use super::notification::Notification;
use super::ports::{TurnCredential, TurnCredentials};
use super::properties::{ConnectionProperties, Role, SessionProperties};
use super::reconnection::{SocketEnd, Unheard};
use super::reply::{Joined, Reply};
use super::rpc_session::RpcSession;
use super::settings::Settings;
use crate::media::plane::service::{WorkerCommand, WorkerDoor};
use crate::media::plane::{Candidate, Command, Event, EventKind, Fingerprint, Plane, TransportId};
use crate::testing::t0;
use crate::units::{ForcedVideoCodec, Random, Secret};

pub(crate) const PUBLISHER_OFFER: &str =
    include_str!("../../../tests/wire/sdp/chromium/publisher_audio_video.sdp");
pub(crate) const AUDIO_OFFER: &str =
    include_str!("../../../tests/wire/sdp/chromium/publisher_audio_only.sdp");
pub(crate) const SUBSCRIBER_OFFER: &str =
    include_str!("../../../tests/wire/sdp/chromium/subscriber_audio_video.sdp");

pub(crate) fn properties() -> SessionProperties {
    SessionProperties {
        media_mode: "ROUTED",
        recording_mode: "MANUAL",
        custom_session_id: None,
        forced_video_codec: ForcedVideoCodec::MediaServerPreferred,
        allow_transcoding: false,
        default_recording_properties: serde_json::json!({}),
        media_node: None,
    }
}

pub(crate) fn connection(role: Role) -> ConnectionProperties {
    ConnectionProperties {
        role,
        data: String::new(),
        record: true,
        kurento_options: None,
        kurento_options_json: None,
        custom_ice_servers: Vec::new(),
    }
}

pub(crate) fn candidates() -> Arc<[Candidate]> {
    [Candidate {
        addr: (Ipv4Addr::new(192, 0, 2, 1), 40_000).into(),
        tcp: false,
        rank: 0,
    }]
    .into()
}

pub(crate) fn fingerprint() -> Fingerprint {
    Fingerprint {
        hash: "sha-256".to_owned(),
        digest: vec![7; 32],
    }
}

/// A plane of one worker that does nothing; its commands arrive at the receiver.
pub(crate) fn plane() -> (Plane, mpsc::Receiver<WorkerCommand>) {
    plane_with_room_for(4096)
}

/// The same, whose worker is stuck after so many commands.
pub(crate) fn plane_with_room_for(commands: usize) -> (Plane, mpsc::Receiver<WorkerCommand>) {
    let (commands, receiver) = mpsc::channel(commands);
    let door = WorkerDoor {
        candidates: candidates(),
        commands,
        wake: Arc::new(|| {}),
        load: Arc::default(),
    };
    (Plane::new(vec![door], fingerprint()), receiver)
}

pub(crate) fn publish_video() -> PublishVideo {
    PublishVideo {
        offer: PUBLISHER_OFFER.to_owned(),
        do_loopback: false,
        has_audio: true,
        has_video: true,
        audio_active: Some(true),
        video_active: Some(true),
        type_of_video: VideoType::Camera,
        frame_rate: -1,
        video_dimensions: Some(r#"{"width":640,"height":480}"#.to_owned()),
        filter: None,
    }
}

/// Mints `user-1`, `user-2`, … and remembers what was taken back.
#[derive(Debug, Default)]
pub(crate) struct CountingTurn {
    minted: Mutex<u32>,
    pub(crate) revoked: Mutex<Vec<String>>,
}

impl TurnCredentials for CountingTurn {
    fn mint(&self) -> Option<TurnCredential> {
        let mut minted = self.minted.lock().unwrap();
        *minted += 1;
        Some(TurnCredential {
            username: format!("user-{minted}"),
            credential: "pass".to_owned(),
        })
    }

    fn revoke(&self, username: &str) {
        self.revoked.lock().unwrap().push(username.to_owned());
    }
}

/// A session `S1` and its audience. The participant `A` has the connection id `con_A` and the socket 65.
pub(crate) struct Stage {
    pub(crate) core: Session,
    pub(crate) turn: Arc<CountingTurn>,
    pub(crate) now: Instant,
    pub(crate) effects: Vec<Effect>,
    next_request: u64,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default(), properties())
    }

    pub(crate) fn with(settings: Settings, properties: SessionProperties) -> Self {
        let turn = Arc::new(CountingTurn::default());
        let at = Moment {
            now: t0(),
            wall_ms: 1000,
        };
        let core = Session::new(
            "S1".to_owned(),
            at,
            properties,
            settings.into(),
            turn.clone(),
            Random::seeded(1),
        );
        let mut stage = Self {
            core,
            turn,
            now: t0(),
            effects: Vec::new(),
            next_request: 0,
        };
        stage.move_in();
        stage
    }

    pub(crate) fn move_in(&mut self) {
        self.move_in_from(0);
    }

    /// The same, on a worker that has opened so many transports already.
    pub(crate) fn move_in_from(&mut self, opened: u64) {
        let mut next = opened;
        self.core.move_in(Home {
            candidates: candidates(),
            fingerprint: fingerprint(),
            next_transport: Box::new(move || {
                next += 1;
                TransportId(next)
            }),
        });
    }

    pub(crate) fn moment(&self) -> Moment {
        let elapsed = self.now.duration_since(t0());
        Moment {
            now: self.now,
            wall_ms: 1000 + u64::try_from(elapsed.as_millis()).unwrap(),
        }
    }

    /// A token for the connection `con_<name>`.
    pub(crate) fn token(&mut self, name: char, role: Role) -> String {
        let mut properties = connection(role);
        properties.data = json!({ "openviduCustomConnectionId": name }).to_string();
        let at = self.moment();
        let created = self.core.create_connection(at, properties);
        created.unwrap().token.unwrap()
    }

    pub(crate) fn join_with(&mut self, name: char, token: &str) -> Vec<String> {
        self.knock(name, token, false, None)
    }

    /// Joins with the server's secret.
    pub(crate) fn join_by_secret(&mut self, name: char, hidden: Option<Hidden>) -> Vec<String> {
        self.knock(name, "", true, hidden)
    }

    fn knock(
        &mut self,
        name: char,
        token: &str,
        knows_secret: bool,
        hidden: Option<Hidden>,
    ) -> Vec<String> {
        let (at, request) = (self.moment(), self.request_id());
        let join = JoinRoom {
            session: "S1".to_owned(),
            token: token.to_owned(),
            secret: Secret::new(""),
            hidden,
            metadata: format!("client {name}"),
            platform: "test".to_owned(),
        };
        let joiner = Joiner {
            socket: socket(name),
            rpc_session: rpc_session(socket(name)),
            final_user_id: "0123456789ABCDEF".to_owned(),
            address: Ipv4Addr::LOCALHOST.into(),
            knows_secret,
        };
        self.core.handle_join(at, &joiner, request, join);
        self.transcript()
    }

    pub(crate) fn join(&mut self, name: char) -> Vec<String> {
        self.join_as(name, Role::Publisher)
    }

    pub(crate) fn join_as(&mut self, name: char, role: Role) -> Vec<String> {
        let token = self.token(name, role);
        self.join_with(name, &token)
    }

    pub(crate) fn ask(&mut self, name: char, request: Request) -> Vec<String> {
        let (at, id) = (self.moment(), self.request_id());
        self.core.handle_request(at, socket(name), id, request);
        self.transcript()
    }

    pub(crate) fn publish(&mut self, name: char) -> Vec<String> {
        self.ask(name, Request::Publish(Box::new(publish_video())))
    }

    pub(crate) fn subscribe(&mut self, name: char, publisher: char) -> Vec<String> {
        self.ask(
            name,
            Request::ReceiveOffer {
                sender: format!("con_{publisher}"),
                offer: SUBSCRIBER_OFFER.to_owned(),
            },
        )
    }

    /// The socket of this name closes, having written all that it had.
    pub(crate) fn lose(&mut self, name: char, end: SocketEnd) -> Vec<String> {
        self.lose_with(name, end, Some(Vec::new()))
    }

    /// The same; `unheard` has not reached the client.
    pub(crate) fn lose_with(
        &mut self,
        name: char,
        end: SocketEnd,
        unheard: Unheard,
    ) -> Vec<String> {
        let at = self.moment();
        self.core
            .handle_socket_closed(at, socket(name), end, unheard);
        self.transcript()
    }

    /// The participant that joined as `name` goes on with the socket `other`; `unheard` is what its former socket, still
    /// open, has not told it.
    pub(crate) fn reconnect(&mut self, name: char, other: char, unheard: Unheard) -> Vec<String> {
        let (at, id) = (self.moment(), self.request_id());
        let key = rpc_session(socket(name)).key();
        self.core
            .handle_reconnect(at, socket(other), id, key, unheard);
        self.transcript()
    }

    pub(crate) fn media(&mut self, transport: u64, kind: EventKind) -> Vec<String> {
        let at = self.moment();
        let event = Event {
            transport: Some(TransportId(transport)),
            kind,
        };
        self.core.handle_media_event(at, event);
        self.transcript()
    }

    pub(crate) fn advance(&mut self, by: Duration) -> Vec<String> {
        self.now += by;
        let at = self.moment();
        self.core.handle_timeout(at);
        self.transcript()
    }

    /// What was to be done since the last time, one line each; happenings are left out.
    pub(crate) fn transcript(&mut self) -> Vec<String> {
        self.effects.clear();
        self.effects
            .extend(std::iter::from_fn(|| self.core.poll_effect()));
        self.effects.iter().filter_map(line).collect()
    }

    fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(json!(self.next_request))
    }
}

/// What the last one to join was told.
pub(crate) fn joined(stage: &Stage) -> &Joined {
    let mut joins = stage.effects.iter().filter_map(|effect| {
        let Effect::Reply {
            outcome: Ok(Reply::Joined(joined)),
            ..
        } = effect
        else {
            return None;
        };
        Some(&**joined)
    });
    joins.next().expect("it has joined")
}

/// The RPC session that began on this socket.
pub(crate) fn rpc_session(socket: SocketId) -> Arc<RpcSession> {
    Arc::new(RpcSession::new(&mut Random::seeded(socket.0)))
}

/// What a browser would answer: our offer, seen from the other end.
pub(crate) fn answer_to(offer: &str) -> String {
    offer
        .replace("a=setup:actpass", "a=setup:active")
        .replace("a=sendonly", "a=recvonly")
        .lines()
        .filter(|line| {
            !line.starts_with("a=ssrc") && !line.starts_with("a=candidate") && *line != "a=ice-lite"
        })
        .map(|line| format!("{line}\r\n"))
        .collect()
}

/// The stream that this participant publishes.
pub(crate) fn stream_of(stage: &Stage, name: char) -> String {
    let shown = stage.core.connection_view(&format!("con_{name}"));
    let publishers = shown.and_then(|shown| shown.publishers).unwrap_or_default();
    publishers.first().expect("it publishes").stream_id.clone()
}

pub(crate) fn socket(name: char) -> SocketId {
    SocketId(u64::from(u32::from(name)))
}

fn name(socket: SocketId) -> char {
    char::from_u32(u32::try_from(socket.0).unwrap()).unwrap()
}

fn replaced(transport: Option<TransportId>) -> String {
    transport.map_or_else(String::new, |old| format!(", replacing {}", old.0))
}

fn line(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Media(command) => match command {
            Command::OpenPublisher(spec) => {
                let replaced = replaced(spec.replaces);
                format!("media: publisher {}{replaced}", spec.transport.0)
            }
            Command::OpenSubscriber(spec) => {
                let offered = if spec.remote.is_none() {
                    ", offered"
                } else {
                    ""
                };
                format!(
                    "media: subscriber {} of {}{offered}{}",
                    spec.transport.0,
                    spec.source.0,
                    replaced(spec.replaces)
                )
            }
            Command::AcceptAnswer { transport, .. } => format!("media: answered {}", transport.0),
            Command::CloseTransport(transport) => format!("media: close {}", transport.0),
            Command::CloseRoom => "media: close room".to_owned(),
            Command::Panic(fault) => format!("media: panic {fault:?}"),
        },
        Effect::Reply {
            socket, outcome, ..
        } => {
            let outcome = match outcome {
                Ok(Reply::Joined(_)) => "joined".to_owned(),
                Ok(Reply::Published { .. }) => "published".to_owned(),
                Ok(Reply::Offer(_)) => "offer".to_owned(),
                Ok(Reply::Answer(_)) => "answer".to_owned(),
                Ok(Reply::Reconnected) => "reconnected".to_owned(),
                Ok(Reply::Done) => "done".to_owned(),
                Err(refusal) => format!("error {}", refusal.code()),
            };
            format!("{} <= {outcome}", name(*socket))
        }
        Effect::Notify {
            socket,
            notification,
        } => {
            let text = match &**notification {
                Notification::ParticipantJoined(member) => format!("joined {}", member.connection),
                Notification::ParticipantPublished { connection, .. } => {
                    format!("published {connection}")
                }
                Notification::ParticipantUnpublished { connection, reason } => {
                    format!("unpublished {connection}, {reason}")
                }
                Notification::ParticipantLeft { connection, reason } => {
                    format!("left {connection}, {reason}")
                }
                Notification::ParticipantEvicted { connection, reason } => {
                    format!("evicted {connection}, {reason}")
                }
                Notification::SendMessage { data, from, .. } => format!(
                    "signal {} from {}",
                    data.as_deref().unwrap_or("-"),
                    from.as_ref().map_or("-", |from| from.as_str())
                ),
                Notification::StreamPropertyChanged {
                    connection, change, ..
                } => format!("property {connection} {change:?}"),
                Notification::MediaError { .. } => "media error".to_owned(),
                Notification::ConnectionPropertyChanged(property) => format!("{property:?}"),
                Notification::NetworkQualityLevelChanged {
                    connection,
                    old,
                    new,
                } => format!("quality {connection} {old:?} {new}"),
                Notification::ForciblyReconnectSubscriber { connection, .. } => {
                    format!("offer {connection}")
                }
            };
            format!("{} <- {text}", name(*socket))
        }
        Effect::Release { socket, after } if after.is_zero() => {
            format!("{} released at once", name(*socket))
        }
        Effect::Release { socket, .. } => format!("{} released", name(*socket)),
        Effect::Happened(_) | Effect::Forget(_) => return None,
        Effect::Ended => "ended".to_owned(),
    })
}
