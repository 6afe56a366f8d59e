//! Which protocol a datagram on a media port belongs to (RFC 7983 section 7).

/// The protocol of a datagram, by its first byte.
///
/// ```text
///   0..=3     STUN
///  20..=63    DTLS (32..=63: the DTLS 1.3 short header)
///  64..=127   TURN channel; above 79, those of RFC 5766's clients
/// 128..=191   RTP or RTCP
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A STUN message.
    Stun,
    /// A DTLS record.
    Dtls,
    /// TURN ChannelData.
    ChannelData,
    /// RTP or RTCP, protected.
    Rtp,
    /// Nothing that we speak.
    Unknown,
}

/// Returns the protocol of `datagram`.
pub fn protocol(datagram: &[u8]) -> Protocol {
    match datagram.first() {
        Some(0..=3) => Protocol::Stun,
        Some(20..=63) => Protocol::Dtls,
        Some(64..=127) => Protocol::ChannelData,
        Some(128..=191) => Protocol::Rtp,
        _ => Protocol::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_the_protocol_of_the_rfc() {
        for byte in 0..=255_u8 {
            let expected = match byte {
                0..=3 => Protocol::Stun,
                20..=63 => Protocol::Dtls,
                64..=127 => Protocol::ChannelData,
                128..=191 => Protocol::Rtp,
                _ => Protocol::Unknown,
            };
            assert_eq!(protocol(&[byte]), expected, "{byte}");
        }
        assert_eq!(protocol(&[]), Protocol::Unknown);
    }
}
