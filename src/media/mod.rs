//! What moves packets: knows nothing of OpenVidu.

pub mod net;
pub mod plane;
pub mod rtp;
pub mod sdp;
pub mod sfu;
pub mod stun;
pub mod transport;
pub mod turn;
pub mod worker;
