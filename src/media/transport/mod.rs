//! One WebRTC peer: ICE-lite, DTLS, SRTP.

pub mod srtp;
