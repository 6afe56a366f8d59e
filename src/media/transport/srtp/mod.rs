//! SRTP and SRTCP (RFC 3711, RFC 7714) on aws-lc-rs, in place, without allocation.

/// An SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_256_GCM`
    AeadAes256Gcm,
    /// `SRTP_AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    Aes128CmSha1_80,
}

impl Profile {
    /// Bytes to export from DTLS: two master keys and two master salts (RFC 5764 section 4.2).
    pub const fn keying_material_len(self) -> usize {
        2 * match self {
            Self::AeadAes256Gcm => 32 + 12,
            Self::AeadAes128Gcm => 16 + 12,
            Self::Aes128CmSha1_80 => 16 + 14,
        }
    }
}

/// Bytes by which protection may lengthen a packet: the largest tag plus the SRTCP index.
pub const MAX_OVERHEAD: usize = 16 + 4;

/// Why a packet could not be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtectError {
    /// The packet is not RTP or RTCP, or the buffer has no room for the tag.
    #[error("the packet is malformed or the buffer too small")]
    Malformed,
    /// The key has protected as many packets as it may (RFC 3711 section 9.2).
    #[error("the key is used up")]
    KeyExhausted,
}

/// Why a received packet was refused. The buffer's content is unspecified afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnprotectError {
    /// Too short, or its header does not fit its length.
    #[error("the packet is malformed")]
    Malformed,
    /// Received before, or older than the replay window.
    #[error("the packet is a replay")]
    Replayed,
    /// The tag is wrong.
    #[error("the packet is not authentic")]
    NotAuthentic,
}

/// The sending half of an association.
#[derive(Debug)]
pub struct Sender {}

/// The receiving half of an association.
#[derive(Debug)]
pub struct Receiver {}

/// Derives both halves for the DTLS server from the exporter's output (RFC 5764 section 4.2: client key, server key,
/// client salt, server salt); the server receives with the client's. `None` if the length does not fit the profile.
pub fn server_halves(_profile: Profile, _keying_material: &[u8]) -> Option<(Sender, Receiver)> {
    unimplemented!()
}

impl Sender {
    /// Protects the RTP packet in `buffer[..len]` in place and returns its new length.
    ///
    /// # Errors
    /// The packet is malformed, the buffer is too small, or the key is used up.
    pub fn protect_rtp(&mut self, _buffer: &mut [u8], _len: usize) -> Result<usize, ProtectError> {
        unimplemented!()
    }

    /// Protects the compound RTCP packet in `buffer[..len]` in place and returns its new length.
    ///
    /// # Errors
    /// The packet is malformed, the buffer is too small, or the key is used up.
    pub fn protect_rtcp(&mut self, _buffer: &mut [u8], _len: usize) -> Result<usize, ProtectError> {
        unimplemented!()
    }
}

impl Receiver {
    /// Opens the SRTP packet in place and returns the length of the RTP packet.
    ///
    /// # Errors
    /// The packet is malformed, a replay, or not authentic.
    pub fn unprotect_rtp(&mut self, _packet: &mut [u8]) -> Result<usize, UnprotectError> {
        unimplemented!()
    }

    /// Opens the SRTCP packet in place and returns the length of the RTCP packet.
    ///
    /// # Errors
    /// The packet is malformed, a replay, or not authentic.
    pub fn unprotect_rtcp(&mut self, _packet: &mut [u8]) -> Result<usize, UnprotectError> {
        unimplemented!()
    }
}
