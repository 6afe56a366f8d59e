//! The STUN/TURN server on 3478 (RFC 8489, RFC 8656).
