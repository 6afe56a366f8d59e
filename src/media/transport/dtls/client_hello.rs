//! What a ClientHello offers (RFC 6347 section 4.2.1, RFC 5764 section 4.1.1, RFC 8446 section 4.2.1).

use crate::media::transport::srtp::Profile;

/// Bytes in a ClientHello's body; browsers send about 1,450 with a post-quantum key share.
pub(super) const BODY_LEN: std::ops::RangeInclusive<usize> = 38..=4_096;

/// The random that tells a repetition from another ClientHello.
pub(super) type Random = [u8; 32];

const USE_SRTP: u16 = 14;
const SUPPORTED_VERSIONS: u16 = 43;
const DTLS_1_2: u16 = 0xfefd;
const DTLS_1_3: u16 = 0xfefc;

/// What the client offered, for telemetry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    /// DTLS 1.2 is among the versions.
    pub dtls_1_2: bool,
    /// DTLS 1.3 is among the versions.
    pub dtls_1_3: bool,
    /// The SRTP profiles that we know, in the client's order.
    pub profiles: Vec<Profile>,
}

/// Reads a whole body; `None` if it is not one.
pub(super) fn parse(body: &[u8]) -> Option<(Random, Offer)> {
    let mut body = Reader(body);
    let version = body.u16()?;
    let random = *body.take(32)?.first_chunk()?;
    let session_id = body.vector8()?;
    let _cookie = body.vector8()?;
    let suites = body.vector16()?;
    let compressions = body.vector8()?;
    if session_id.0.len() > 32
        || suites.0.is_empty()
        || suites.0.len() % 2 != 0
        || compressions.0.is_empty()
    {
        return None;
    }
    let mut offer = Offer {
        dtls_1_2: version == DTLS_1_2,
        ..Offer::default()
    };
    if body.0.is_empty() {
        return Some((random, offer));
    }
    let mut extensions = body.vector16()?;
    if !body.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut data = extensions.vector16()?;
        match kind {
            USE_SRTP => offer.profiles = profiles(data.vector16()?),
            SUPPORTED_VERSIONS => {
                let mut versions = data.vector8()?;
                offer.dtls_1_2 = false;
                while let Some(version) = versions.u16() {
                    offer.dtls_1_2 |= version == DTLS_1_2;
                    offer.dtls_1_3 |= version == DTLS_1_3;
                }
            }
            _ => {}
        }
    }
    Some((random, offer))
}

fn profiles(mut list: Reader<'_>) -> Vec<Profile> {
    let mut known = Vec::new();
    while let Some(number) = list.u16() {
        let profile = match number {
            0x0001 => Profile::Aes128CmSha1_80,
            0x0007 => Profile::AeadAes128Gcm,
            0x0008 => Profile::AeadAes256Gcm,
            _ => continue,
        };
        if !known.contains(&profile) {
            known.push(profile);
        }
    }
    known
}

/// Vectors of the TLS presentation language (RFC 5246 section 4.3).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        bytes.first_chunk().copied().map(u16::from_be_bytes)
    }

    fn vector8(&mut self) -> Option<Self> {
        let len = *self.take(1)?.first()?;
        self.take(usize::from(len)).map(Self)
    }

    fn vector16(&mut self) -> Option<Self> {
        let len = self.u16()?;
        self.take(usize::from(len)).map(Self)
    }
}

/// A ClientHello like a browser's, for tests: `filler` bytes stand for the key shares.
#[cfg(test)]
pub(super) fn sample(random: Random, filler: usize) -> Vec<u8> {
    let extension = |kind: u16, data: &[u8]| {
        let mut extension = kind.to_be_bytes().to_vec();
        extension.extend((data.len() as u16).to_be_bytes());
        extension.extend(data);
        extension
    };
    let mut extensions = extension(51, &vec![0x5a; filler]);
    extensions.extend(extension(SUPPORTED_VERSIONS, &[4, 0xfe, 0xfc, 0xfe, 0xfd]));
    extensions.extend(extension(USE_SRTP, &[0, 6, 0, 1, 0, 8, 0, 7, 0]));
    let mut body = vec![0xfe, 0xfd];
    body.extend(random);
    body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    body
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_and_profiles_are_read_in_the_clients_order() {
        let (random, offer) = parse(&sample([9; 32], 1_216)).unwrap();
        assert_eq!(random, [9; 32]);
        assert!(offer.dtls_1_2 && offer.dtls_1_3);
        assert_eq!(
            offer.profiles,
            [
                Profile::Aes128CmSha1_80,
                Profile::AeadAes256Gcm,
                Profile::AeadAes128Gcm
            ]
        );
    }

    #[test]
    fn a_truncated_or_lengthened_body_is_none() {
        let body = sample([9; 32], 40);
        let without_extensions = 2 + 32 + 1 + 1 + 4 + 2;
        for len in 0..body.len() {
            let parsed = parse(&body[..len]).is_some();
            assert_eq!(parsed, len == without_extensions, "{len}");
        }
        let mut longer = body;
        longer.push(0);
        assert_eq!(parse(&longer), None);
    }

    proptest! {
        #[test]
        fn any_body_is_read_without_panic(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0usize..120,
            to in any::<u8>(),
        ) {
            let _ = parse(&body);
            let mut mutated = sample([1; 32], 30);
            if let Some(byte) = mutated.get_mut(at) {
                *byte = to;
            }
            let _ = parse(&mutated);
        }
    }
}
