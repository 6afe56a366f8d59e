//! The few configured values that sessions need; the composition root fills them in.

use std::time::Duration;

use crate::units::turn_url::turn_urls;
use crate::units::{Bitrate, IceServer, SubscribeOffer};

/// Configured values of every session; keys are named after their `.env` names.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The start of every token: `wss://HOST` or `wss://HOST:PORT`, without a path.
    pub websocket_url: String,
    /// `HANOK_SUBSCRIBE_OFFER`.
    pub subscribe_offer: SubscribeOffer,
    /// `OPENVIDU_WEBRTC_SIMULCAST`, told to clients as `videoSimulcast` if the server offers.
    pub simulcast: bool,
    /// `coturnIp` of the join result, of which clients 2.20 to 2.22 make a URL as it is: IPv6 in brackets.
    pub coturn_ip: String,
    /// `coturnPort` of the join result.
    pub coturn_port: u16,
    /// TURN URLs without TLS that the minted credentials are for, best first; used when the connection names no ICE
    /// server.
    pub turn_urls: Vec<String>,
    /// `OPENVIDU_WEBRTC_ICE_SERVERS`: for those who join by the secret. Into the connections of all others REST puts
    /// them when it makes a token.
    pub ice_servers: Vec<IceServer>,
    /// `OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH`, 0 is unlimited.
    pub video_max_recv: Bitrate,
    /// `OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH`, 0 is unlimited.
    pub video_max_send: Bitrate,
    /// `HANOK_RECONNECT_GRACE`: how long a participant outlives its closed socket.
    pub reconnect_grace: Duration,
    /// `OPENVIDU_SESSIONS_GARBAGE_THRESHOLD`: how long a session waits for its first participant; `None` is for ever.
    pub garbage_threshold: Option<Duration>,
    /// `OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT`: how long hidden participants may keep a session that all others have left.
    pub autostop: Duration,
    /// `OPENVIDU_EDITION=ce`: clients are told only what the community edition tells.
    pub community_edition: bool,
    /// Bounds that protect the process.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            websocket_url: "wss://localhost:4443".to_owned(),
            subscribe_offer: SubscribeOffer::Client,
            simulcast: false,
            coturn_ip: "localhost".to_owned(),
            coturn_port: 3478,
            turn_urls: turn_urls("localhost", 3478),
            ice_servers: Vec::new(),
            video_max_recv: Bitrate::from_kbps(1000),
            video_max_send: Bitrate::from_kbps(1000),
            reconnect_grace: Duration::from_secs(10),
            garbage_threshold: Some(Duration::from_secs(3600)),
            autostop: Duration::from_secs(120),
            community_edition: false,
            limits: Limits::default(),
        }
    }
}

/// Bounds on one session; reaching one is an error for the request that would exceed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Participants of one session.
    pub members: usize,
    /// Subscriptions of one participant.
    pub subscriptions: usize,
    /// Tokens of one session that nobody has used: applications that mint one for each click never run out.
    pub pending: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members: 2000,
            subscriptions: 500,
            pending: 10_000,
        }
    }
}
