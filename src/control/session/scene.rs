//! What tests of sessions share: properties, a media plane that only listens.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::properties::{ConnectionProperties, ForcedVideoCodec, Role, SessionProperties};
use crate::media::plane::service::{RoomCommand, WorkerDoor};
use crate::media::plane::{Candidate, Fingerprint, Plane};

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
pub(crate) fn plane() -> (Plane, mpsc::Receiver<RoomCommand>) {
    let (commands, receiver) = mpsc::channel(4096);
    let door = WorkerDoor {
        candidates: candidates(),
        commands,
        wake: Arc::new(|| {}),
        load: Arc::default(),
    };
    (Plane::new(vec![door], fingerprint()), receiver)
}
