//! Quantities and words that every folder shares: time, numbers on the wire, media terms, secrets.

pub mod bitrate;
pub mod clock;
pub mod count;
pub mod dangerous_any_certificate;
pub mod forced_video_codec;
pub mod host_name;
pub mod ice_server;
pub mod live;
pub mod log_format;
pub mod media;
pub mod port_range;
pub mod random;
pub mod remote_addr;
pub mod rtp;
pub mod secret;
pub mod subscribe_offer;
pub mod tls_suite;
pub mod track;
pub mod turn_credential;
pub mod turn_url;

pub use bitrate::Bitrate;
pub use count::{Count, Spread};
pub use dangerous_any_certificate::DangerousAnyCertificate;
pub use forced_video_codec::ForcedVideoCodec;
pub use ice_server::{IceCredentials, IceServer, IceServerError};
pub use live::Live;
pub use log_format::LogFormat;
pub use media::{Codec, Extension, ExtensionIds, MediaKind};
pub use port_range::PortRange;
pub use random::Random;
pub use remote_addr::RemoteAddr;
pub use rtp::{PayloadType, SeqNo, Ssrc};
pub use secret::Secret;
pub use subscribe_offer::SubscribeOffer;
pub use tls_suite::{CipherList, TlsSuite};
pub use track::{Feedback, Track};
