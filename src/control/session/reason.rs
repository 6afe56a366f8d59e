//! The words by which clients are told why (`openvidu-signalling` section 12).

/// The participant's own `leaveRoom`.
pub const DISCONNECT: &str = "disconnect";
/// The publisher's own `unpublishVideo`.
pub const UNPUBLISH: &str = "unpublish";
/// The subscriber's own `unsubscribeFromVideo`; in events only.
pub const UNSUBSCRIBE: &str = "unsubscribe";
/// The client did not come back, or its media path broke.
pub const NETWORK_DISCONNECT: &str = "networkDisconnect";
/// The media worker failed.
pub const MEDIA_SERVER_RECONNECT: &str = "mediaServerReconnect";
/// A bug ended the session.
pub const NODE_CRASHED: &str = "nodeCrashed";
/// A moderator's `forceUnpublish`.
pub const FORCE_UNPUBLISH_BY_USER: &str = "forceUnpublishByUser";
/// A moderator's `forceDisconnect`.
pub const FORCE_DISCONNECT_BY_USER: &str = "forceDisconnectByUser";
/// Only hidden participants were left for too long.
pub const AUTOMATIC_STOP: &str = "automaticStop";
/// The session ended because nobody was left; in events only.
pub const LAST_PARTICIPANT_LEFT: &str = "lastParticipantLeft";
