//! The domain: sessions, connections, publishers, subscribers, tokens, roles; commands in, effects out.

pub mod directory;
pub mod properties;

pub use properties::{
    ConnectionProperties, ForcedVideoCodec, KurentoOptions, Role, SessionProperties,
};
