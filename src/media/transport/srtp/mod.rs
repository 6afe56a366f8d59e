//! SRTP and SRTCP (RFC 3711, RFC 7714) on aws-lc-rs, in place, without allocation.
//!
//! ```text
//! SRTP   | RTP header | encrypted payload        | tag |                (both families)
//! SRTCP  | 8 bytes    | encrypted rest     | tag | E + 31-bit index |   AEAD (RFC 7714 section 9.2)
//! SRTCP  | 8 bytes    | encrypted rest     | E + 31-bit index | tag |   AES-CM (RFC 3711 section 3.4)
//! ```
//!
//! No MKI, no key derivation rate other than zero, no unencrypted SRTCP: WebRTC has none of them (RFC 8827
//! section 6.5). State changes only after a tag was verified, so a forged packet costs its check and nothing more.

mod key_derivation;
mod packet_index;
mod replay_list;
mod transform;

use std::fmt;

use crate::media::transport::srtp::key_derivation::MasterKey;
use crate::media::transport::srtp::packet_index::{MAX_RTCP_INDEX, MAX_RTP_INDEX};
use crate::media::transport::srtp::replay_list::ReplayList;
use crate::media::transport::srtp::transform::Transform;
use crate::units::{SeqNo, Ssrc};

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
        2 * (self.key_len() + self.salt_len())
    }

    /// Bytes of a master key and of a session encryption key.
    const fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
        }
    }

    /// Bytes of a master salt and of a session salt.
    const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }
}

/// Bytes by which protection may lengthen a packet: the largest tag plus the SRTCP index.
pub const MAX_OVERHEAD: usize = 16 + 4;

/// Sources that one half keeps state for. A peer that holds the key could otherwise make us remember 2^32 of them; a
/// browser uses about ten. A source is never forgotten, since that would open it to replay and to nonce reuse.
pub const MAX_SSRCS: usize = 64;

/// How far behind the newest packet of its SSRC a packet may be when it is protected again for a retransmission.
/// Receivers refuse what is older anyway: libwebrtc's replay window spans 1024 packets.
pub const MAX_RETRANSMISSION_AGE: u16 = 2_048;

/// Why a packet could not be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtectError {
    /// The packet is not RTP or RTCP, or the buffer has no room for the tag.
    #[error("the packet is malformed or the buffer too small")]
    Malformed,
    /// The key has protected as many packets as it may (RFC 3711 section 9.2).
    #[error("the key is used up")]
    KeyExhausted,
    /// The sequence number lies more than [`MAX_RETRANSMISSION_AGE`] behind the newest of its SSRC: too old to be
    /// worth sending, or a jump that no receiver's roll-over estimate can follow (RFC 3711 section 3.3.1).
    #[error("the sequence number is too old to be a retransmission")]
    TooOld,
    /// The SSRC is new and [`MAX_SSRCS`] are known already.
    #[error("too many SSRCs under one key")]
    TooManySsrcs,
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
    /// The packet is authentic, its SSRC is new and [`MAX_SSRCS`] are known already.
    #[error("too many SSRCs under one key")]
    TooManySsrcs,
}

/// Derives both halves for the DTLS server from the exporter's output (RFC 5764 section 4.2: client key, server key,
/// client salt, server salt); the server receives with the client's. `None` if the length does not fit the profile.
pub fn server_halves(profile: Profile, keying_material: &[u8]) -> Option<(Sender, Receiver)> {
    let (client, server) = MasterKey::split(profile, keying_material)?;
    Some((Sender::new(&server), Receiver::new(&client)))
}

/// Derives both halves for the DTLS client: what [`server_halves`] sends, these receive, and the reverse.
pub fn client_halves(profile: Profile, keying_material: &[u8]) -> Option<(Sender, Receiver)> {
    let (client, server) = MasterKey::split(profile, keying_material)?;
    Some((Sender::new(&client), Receiver::new(&server)))
}

/// The sending half of an association.
pub struct Sender {
    rtp: Transform,
    rtcp: Transform,
    sources: Vec<SentSource>,
}

/// What was sent from one SSRC.
#[derive(Debug)]
struct SentSource {
    ssrc: Ssrc,
    newest_rtp_index: Option<u64>,
    /// The index of the last SRTCP packet. The first one has index 1, as in every implementation known to us.
    last_rtcp_index: u32,
}

impl Sender {
    fn new(master: &MasterKey<'_>) -> Self {
        Self {
            rtp: Transform::for_rtp(master),
            rtcp: Transform::for_rtcp(master),
            sources: Vec::new(),
        }
    }

    /// Protects the RTP packet in `buffer[..len]` in place and returns its new length.
    ///
    /// A sequence number up to [`MAX_RETRANSMISSION_AGE`] behind the newest is taken for a retransmission and gets
    /// the packet index, and so the nonce, that it had before. **The packet must then be the same to the byte, header
    /// included**: two different packets under one AES-GCM nonce reveal the authentication key (RFC 7714 section 8.1).
    ///
    /// # Errors
    /// The packet is malformed or too old, the buffer is too small, the key is used up, or there are too many SSRCs.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, ProtectError> {
        let packet = buffer.get(..len).ok_or(ProtectError::Malformed)?;
        let header = RtpHeader::parse(packet).ok_or(ProtectError::Malformed)?;
        let source = source_of(&mut self.sources, header.ssrc)?;
        let index = packet_index::estimate(source.newest_rtp_index, header.seq);
        if index > MAX_RTP_INDEX {
            return Err(ProtectError::KeyExhausted);
        }
        let newest = source.newest_rtp_index.unwrap_or(index);
        if index + u64::from(MAX_RETRANSMISSION_AGE) < newest {
            return Err(ProtectError::TooOld);
        }
        let sealed = self
            .rtp
            .seal_rtp(buffer, header.len, len, header.ssrc, index)
            .ok_or(ProtectError::Malformed)?;
        source.newest_rtp_index = Some(newest.max(index));
        Ok(sealed)
    }

    /// Protects the compound RTCP packet in `buffer[..len]` in place and returns its new length.
    ///
    /// # Errors
    /// The packet is malformed, the buffer is too small, the key is used up, or there are too many SSRCs.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, ProtectError> {
        let packet = buffer.get(..len).ok_or(ProtectError::Malformed)?;
        let ssrc = rtcp_ssrc(packet).ok_or(ProtectError::Malformed)?;
        let source = source_of(&mut self.sources, ssrc)?;
        let index = source.last_rtcp_index + 1;
        if index > MAX_RTCP_INDEX {
            return Err(ProtectError::KeyExhausted);
        }
        let sealed = self
            .rtcp
            .seal_rtcp(buffer, len, ssrc, index)
            .ok_or(ProtectError::Malformed)?;
        source.last_rtcp_index = index;
        Ok(sealed)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

fn source_of(sources: &mut Vec<SentSource>, ssrc: Ssrc) -> Result<&mut SentSource, ProtectError> {
    let at = match sources.iter().position(|source| source.ssrc == ssrc) {
        Some(at) => at,
        None if sources.len() == MAX_SSRCS => return Err(ProtectError::TooManySsrcs),
        None => {
            sources.push(SentSource {
                ssrc,
                newest_rtp_index: None,
                last_rtcp_index: 0,
            });
            sources.len() - 1
        }
    };
    Ok(&mut sources[at])
}

/// The receiving half of an association.
pub struct Receiver {
    rtp: Transform,
    rtcp: Transform,
    sources: Vec<ReceivedSource>,
}

/// What was received from one SSRC.
#[derive(Debug)]
struct ReceivedSource {
    ssrc: Ssrc,
    /// 1,984 packets: a key frame in flight while an older packet is retransmitted must not close the window.
    rtp: ReplayList<32>,
    /// 192 packets.
    rtcp: ReplayList<4>,
}

impl Receiver {
    fn new(master: &MasterKey<'_>) -> Self {
        Self {
            rtp: Transform::for_rtp(master),
            rtcp: Transform::for_rtcp(master),
            sources: Vec::new(),
        }
    }

    /// Opens the SRTP packet in place and returns the length of the RTP packet.
    ///
    /// # Errors
    /// The packet is malformed, a replay, not authentic, or of one SSRC too many.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, UnprotectError> {
        let header = RtpHeader::parse(packet).ok_or(UnprotectError::Malformed)?;
        if packet.len() < header.len + self.rtp.tag_len() {
            return Err(UnprotectError::Malformed);
        }
        let known = self.position(header.ssrc);
        let newest = known.and_then(|at| self.sources[at].rtp.newest());
        let index = packet_index::estimate(newest, header.seq);
        // An index past the last one is no packet that a sender may still make (RFC 3711 section 9.2).
        if index > MAX_RTP_INDEX || known.is_some_and(|at| !self.sources[at].rtp.admits(index)) {
            return Err(UnprotectError::Replayed);
        }
        let len = self
            .rtp
            .open_rtp(packet, header.len, header.ssrc, index)
            .ok_or(UnprotectError::NotAuthentic)?;
        self.authentic_source(known, header.ssrc)?.rtp.insert(index);
        Ok(len)
    }

    /// Opens the SRTCP packet in place and returns the length of the RTCP packet.
    ///
    /// # Errors
    /// The packet is malformed, a replay, not authentic, or of one SSRC too many.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, UnprotectError> {
        let ssrc = rtcp_ssrc(packet).ok_or(UnprotectError::Malformed)?;
        let (encrypted, index) = self
            .rtcp
            .rtcp_index(packet)
            .ok_or(UnprotectError::Malformed)?;
        if !encrypted {
            return Err(UnprotectError::NotAuthentic);
        }
        let known = self.position(ssrc);
        if known.is_some_and(|at| !self.sources[at].rtcp.admits(index.into())) {
            return Err(UnprotectError::Replayed);
        }
        let len = self
            .rtcp
            .open_rtcp(packet, ssrc, index)
            .ok_or(UnprotectError::NotAuthentic)?;
        self.authentic_source(known, ssrc)?
            .rtcp
            .insert(index.into());
        Ok(len)
    }

    fn position(&self, ssrc: Ssrc) -> Option<usize> {
        self.sources.iter().position(|source| source.ssrc == ssrc)
    }

    /// The state of a source that has just proved to hold the key.
    fn authentic_source(
        &mut self,
        known: Option<usize>,
        ssrc: Ssrc,
    ) -> Result<&mut ReceivedSource, UnprotectError> {
        let at = match known {
            Some(at) => at,
            None if self.sources.len() == MAX_SSRCS => return Err(UnprotectError::TooManySsrcs),
            None => {
                self.sources.push(ReceivedSource {
                    ssrc,
                    rtp: ReplayList::default(),
                    rtcp: ReplayList::default(),
                });
                self.sources.len() - 1
            }
        };
        Ok(&mut self.sources[at])
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ssrcs = self.sources.iter().map(|source| source.ssrc);
        f.debug_struct("Receiver")
            .field("ssrcs", &ssrcs.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// What SRTP must know of an RTP header (RFC 3550 section 5.1).
#[derive(Debug, Clone, Copy)]
struct RtpHeader {
    /// Bytes that stay in the clear: fixed part, CSRCs, header extension.
    len: usize,
    seq: SeqNo,
    ssrc: Ssrc,
}

impl RtpHeader {
    fn parse(packet: &[u8]) -> Option<Self> {
        let (fixed, rest) = packet.split_first_chunk::<12>()?;
        let [flags, _, s0, s1, _, _, _, _, c0, c1, c2, c3] = *fixed;
        if flags >> 6 != 2 {
            return None;
        }
        let csrcs_len = 4 * usize::from(flags & 0x0f);
        let extension_len = if flags & 0x10 == 0 {
            0
        } else {
            let (_, after_csrcs) = rest.split_at_checked(csrcs_len)?;
            let [_, _, l0, l1] = *after_csrcs.first_chunk::<4>()?;
            4 + 4 * usize::from(u16::from_be_bytes([l0, l1]))
        };
        let len = 12 + csrcs_len + extension_len;
        (len <= packet.len()).then_some(Self {
            len,
            seq: SeqNo(u16::from_be_bytes([s0, s1])),
            ssrc: Ssrc(u32::from_be_bytes([c0, c1, c2, c3])),
        })
    }
}

/// The SSRC of the first packet of a compound RTCP packet (RFC 3550 section 6.1).
fn rtcp_ssrc(packet: &[u8]) -> Option<Ssrc> {
    let [flags, _, _, _, c0, c1, c2, c3] = *packet.first_chunk::<RTCP_HEADER_LEN>()?;
    (flags >> 6 == 2).then_some(Ssrc(u32::from_be_bytes([c0, c1, c2, c3])))
}

/// Bytes of a compound RTCP packet that stay in the clear (RFC 3711 section 3.4).
const RTCP_HEADER_LEN: usize = 8;

#[cfg(test)]
mod tests;
