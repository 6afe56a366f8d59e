//! The cryptographic transforms: AES-GCM (RFC 7714) and AES-CM with HMAC-SHA1-80 (RFC 3711 sections 4.1.1, 4.2.1).
//!
//! Replay and roll-over are the caller's: a transform is told the packet index.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use crate::media::transport::srtp::key_derivation::{Label, MasterKey};
use crate::media::transport::srtp::{Profile, RTCP_HEADER_LEN};
use crate::units::Ssrc;

const GCM_TAG_LEN: usize = 16;
const SHA1_80_TAG_LEN: usize = 10;
const RTCP_INDEX_LEN: usize = 4;
const ENCRYPTED_FLAG: u32 = 1 << 31;

/// The keyed transform of SRTP or SRTCP in one direction. A failed `seal` leaves its buffer untouched.
pub(super) enum Transform {
    Gcm(Gcm),
    Cm(Box<Cm>),
}

/// RFC 7714.
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

/// RFC 3711 with a tag of 80 bits.
pub(super) struct Cm {
    key: EncryptingKey,
    salt: [u8; 14],
    authentication: hmac::Key,
}

impl Transform {
    pub(super) fn for_rtp(master: &MasterKey<'_>) -> Self {
        Self::derive(
            master,
            Label::RtpEncryption,
            Label::RtpAuthentication,
            Label::RtpSalt,
        )
    }

    pub(super) fn for_rtcp(master: &MasterKey<'_>) -> Self {
        Self::derive(
            master,
            Label::RtcpEncryption,
            Label::RtcpAuthentication,
            Label::RtcpSalt,
        )
    }

    fn derive(
        master: &MasterKey<'_>,
        encryption: Label,
        authentication: Label,
        salt: Label,
    ) -> Self {
        match master.profile() {
            Profile::AeadAes256Gcm => {
                let (mut key, mut salt_bytes) = ([0; 32], [0; 12]);
                master.derive(encryption, &mut key);
                master.derive(salt, &mut salt_bytes);
                Self::Gcm(Gcm::aes_256(&key, salt_bytes))
            }
            Profile::AeadAes128Gcm => {
                let (mut key, mut salt_bytes) = ([0; 16], [0; 12]);
                master.derive(encryption, &mut key);
                master.derive(salt, &mut salt_bytes);
                Self::Gcm(Gcm::aes_128(&key, salt_bytes))
            }
            Profile::Aes128CmSha1_80 => {
                let (mut key, mut salt_bytes, mut authentication_key) = ([0; 16], [0; 14], [0; 20]);
                master.derive(encryption, &mut key);
                master.derive(salt, &mut salt_bytes);
                master.derive(authentication, &mut authentication_key);
                Self::Cm(Cm::new(&key, salt_bytes, &authentication_key))
            }
        }
    }

    pub(super) fn tag_len(&self) -> usize {
        match self {
            Self::Gcm(_) => GCM_TAG_LEN,
            Self::Cm(_) => SHA1_80_TAG_LEN,
        }
    }

    /// Seals the RTP packet `buffer[..len]`, whose first `header_len` bytes are its header. `None` if the tag does
    /// not fit.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header_len: usize,
        len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> Option<usize> {
        let (packet, room) = buffer.split_at_mut_checked(len)?;
        let tag = room.get_mut(..self.tag_len())?;
        match self {
            Self::Gcm(gcm) => {
                let (header, payload) = packet.split_at_mut_checked(header_len)?;
                gcm.seal(ssrc, index, &*header, payload, tag)?;
            }
            Self::Cm(cm) => {
                cm.apply_key_stream(ssrc, index, packet.get_mut(header_len..)?)?;
                let full = cm.authenticate(packet, &roll_over_counter(index));
                tag.copy_from_slice(full.as_ref().get(..SHA1_80_TAG_LEN)?);
            }
        }
        Some(len + self.tag_len())
    }

    /// Opens the SRTP packet, whose first `header_len` bytes are its header. `None` if it is not authentic.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: Ssrc,
        index: u64,
    ) -> Option<usize> {
        let len = packet.len().checked_sub(self.tag_len())?;
        let (plain, tag) = packet.split_at_mut_checked(len)?;
        match self {
            Self::Gcm(gcm) => {
                let (header, payload) = plain.split_at_mut_checked(header_len)?;
                gcm.open(ssrc, index, &*header, tag, payload)?;
            }
            Self::Cm(cm) => {
                cm.verify(plain, &roll_over_counter(index), tag)?;
                cm.apply_key_stream(ssrc, index, plain.get_mut(header_len..)?)?;
            }
        }
        Some(len)
    }

    /// Seals the compound RTCP packet `buffer[..len]`. `None` if tag and index do not fit.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        len: usize,
        ssrc: Ssrc,
        index: u32,
    ) -> Option<usize> {
        let sealed_len = len + self.tag_len() + RTCP_INDEX_LEN;
        let (packet, trailer) = buffer.get_mut(..sealed_len)?.split_at_mut_checked(len)?;
        let index_word = (ENCRYPTED_FLAG | index).to_be_bytes();
        match self {
            Self::Gcm(gcm) => {
                let (header, body) = packet.split_at_mut_checked(RTCP_HEADER_LEN)?;
                let (tag, word) = trailer.split_at_mut_checked(GCM_TAG_LEN)?;
                let associated = gcm_rtcp_associated(header, index_word)?;
                gcm.seal(ssrc, index.into(), associated, body, tag)?;
                word.copy_from_slice(&index_word);
            }
            Self::Cm(cm) => {
                let (word, tag) = trailer.split_at_mut_checked(RTCP_INDEX_LEN)?;
                cm.apply_key_stream(ssrc, index.into(), packet.get_mut(RTCP_HEADER_LEN..)?)?;
                let full = cm.authenticate(packet, &index_word);
                word.copy_from_slice(&index_word);
                tag.copy_from_slice(full.as_ref().get(..SHA1_80_TAG_LEN)?);
            }
        }
        Some(sealed_len)
    }

    /// The E flag and the index that an SRTCP packet claims. `None` if it is too short to hold them.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<(bool, u32)> {
        let (_, trailer) = self
            .split_rtcp(packet.len())
            .and_then(|len| packet.split_at_checked(len))?;
        let word = match self {
            Self::Gcm(_) => trailer.last_chunk(),
            Self::Cm(_) => trailer.first_chunk(),
        }?;
        let word = u32::from_be_bytes(*word);
        Some((word & ENCRYPTED_FLAG != 0, word & !ENCRYPTED_FLAG))
    }

    /// Opens the SRTCP packet that claims to be encrypted under `index`. `None` if it is not authentic.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: Ssrc, index: u32) -> Option<usize> {
        let len = self.split_rtcp(packet.len())?;
        let (plain, trailer) = packet.split_at_mut_checked(len)?;
        let index_word = (ENCRYPTED_FLAG | index).to_be_bytes();
        match self {
            Self::Gcm(gcm) => {
                let (header, body) = plain.split_at_mut_checked(RTCP_HEADER_LEN)?;
                let associated = gcm_rtcp_associated(header, index_word)?;
                let tag = trailer.get(..GCM_TAG_LEN)?;
                gcm.open(ssrc, index.into(), associated, tag, body)?;
            }
            Self::Cm(cm) => {
                cm.verify(plain, &index_word, trailer.get(RTCP_INDEX_LEN..)?)?;
                cm.apply_key_stream(ssrc, index.into(), plain.get_mut(RTCP_HEADER_LEN..)?)?;
            }
        }
        Some(len)
    }

    /// Where tag and index of an SRTCP packet begin.
    fn split_rtcp(&self, len: usize) -> Option<usize> {
        len.checked_sub(self.tag_len() + RTCP_INDEX_LEN)
            .filter(|len| *len >= RTCP_HEADER_LEN)
    }
}

impl Gcm {
    fn aes_128(key: &[u8; 16], salt: [u8; 12]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, key).expect("AES-128 takes 16 bytes");
        Self {
            key: LessSafeKey::new(key),
            salt,
        }
    }

    fn aes_256(key: &[u8; 32], salt: [u8; 12]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes");
        Self {
            key: LessSafeKey::new(key),
            salt,
        }
    }

    /// Two zero bytes, SSRC and 48 bits of index, masked by the salt (RFC 7714 sections 8.1 and 9.1: an SRTCP index
    /// of 31 bits after two zero bytes is the same thing).
    fn nonce(&self, ssrc: Ssrc, index: u64) -> Nonce {
        let [_, _, index @ ..] = index.to_be_bytes();
        let mut nonce = self.salt;
        mask(&mut nonce[2..6], ssrc.0.to_be_bytes());
        mask(&mut nonce[6..12], index);
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(
        &self,
        ssrc: Ssrc,
        index: u64,
        associated: impl AsRef<[u8]>,
        plain: &mut [u8],
        tag: &mut [u8],
    ) -> Option<()> {
        self.key
            .seal_in_place_scatter(
                self.nonce(ssrc, index),
                Aad::from(associated),
                plain,
                &[],
                tag,
            )
            .ok()
    }

    fn open(
        &self,
        ssrc: Ssrc,
        index: u64,
        associated: impl AsRef<[u8]>,
        tag: &[u8],
        encrypted: &mut [u8],
    ) -> Option<()> {
        self.key
            .open_in_place_separate_tag(
                self.nonce(ssrc, index),
                Aad::from(associated),
                tag,
                encrypted,
            )
            .ok()
            .map(|_| ())
    }
}

/// The clear part of an SRTCP packet is authenticated together with its index word (RFC 7714 section 9.2).
fn gcm_rtcp_associated(
    header: &[u8],
    index_word: [u8; RTCP_INDEX_LEN],
) -> Option<[u8; RTCP_HEADER_LEN + RTCP_INDEX_LEN]> {
    let mut associated = [0; RTCP_HEADER_LEN + RTCP_INDEX_LEN];
    associated[..RTCP_HEADER_LEN].copy_from_slice(header.first_chunk::<RTCP_HEADER_LEN>()?);
    associated[RTCP_HEADER_LEN..].copy_from_slice(&index_word);
    Some(associated)
}

impl Cm {
    fn new(key: &[u8; 16], salt: [u8; 14], authentication: &[u8; 20]) -> Box<Self> {
        Box::new(Self {
            key: UnboundCipherKey::new(&AES_128, key)
                .and_then(EncryptingKey::ctr)
                .expect("AES-128 takes 16 bytes"),
            salt,
            authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, authentication),
        })
    }

    /// Encrypts or decrypts. The counter block is salt, SSRC and 48 bits of index, then 16 bits that count blocks
    /// (RFC 3711 section 4.1.1).
    fn apply_key_stream(&self, ssrc: Ssrc, index: u64, data: &mut [u8]) -> Option<()> {
        let [_, _, index @ ..] = index.to_be_bytes();
        let mut counter = [0; 16];
        counter[..14].copy_from_slice(&self.salt);
        mask(&mut counter[4..8], ssrc.0.to_be_bytes());
        mask(&mut counter[8..14], index);
        self.key
            .less_safe_encrypt(data, EncryptionContext::Iv128(counter.into()))
            .ok()
            .map(|_| ())
    }

    /// The full HMAC over the packet and what follows it: the roll-over counter or the SRTCP index word.
    fn authenticate(&self, packet: &[u8], suffix: &[u8; 4]) -> hmac::Tag {
        let mut hmac = hmac::Context::with_key(&self.authentication);
        hmac.update(packet);
        hmac.update(suffix);
        hmac.sign()
    }

    fn verify(&self, packet: &[u8], suffix: &[u8; 4], tag: &[u8]) -> Option<()> {
        let full = self.authenticate(packet, suffix);
        verify_slices_are_equal(full.as_ref().get(..SHA1_80_TAG_LEN)?, tag).ok()
    }
}

fn roll_over_counter(index: u64) -> [u8; 4] {
    let [_, _, roc @ .., _, _] = index.to_be_bytes();
    roc
}

fn mask<const LEN: usize>(bytes: &mut [u8], with: [u8; LEN]) {
    for (byte, with) in bytes.iter_mut().zip(with) {
        *byte ^= with;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::transport::srtp::tests::hex;

    /// "Quid pro quo"
    const SALT: [u8; 12] = *b"Quid pro quo";

    /// RFC 7714 sections 16 and 17 give session keys, not master keys.
    fn rfc_7714(key_len: usize) -> Transform {
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        Transform::Gcm(match key_len {
            16 => Gcm::aes_128(key.first_chunk().expect("16 of 32"), SALT),
            _ => Gcm::aes_256(&key, SALT),
        })
    }

    #[test]
    fn rfc_7714_section_16_srtp() {
        let plain = hex(concat!(
            "8040f17b8041f8d35501a0b2",
            "47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573",
        ));
        let (ssrc, index) = (Ssrc(0x5501_a0b2), 0xf17b);
        for (key_len, sealed) in [
            (
                16,
                concat!(
                    "8040f17b8041f8d35501a0b2",
                    "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833",
                    "899d7f27beb16a9152cf765ee4390cce",
                ),
            ),
            (
                32,
                concat!(
                    "8040f17b8041f8d35501a0b2",
                    "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b",
                    "7aa3db36dfffd6b0f9bb7878d7a76c13",
                ),
            ),
        ] {
            let transform = rfc_7714(key_len);
            let mut buffer = plain.clone();
            buffer.resize(plain.len() + GCM_TAG_LEN, 0);
            let len = transform.seal_rtp(&mut buffer, 12, plain.len(), ssrc, index);
            assert_eq!(len, Some(buffer.len()));
            assert_eq!(buffer, hex(sealed));
            let len = transform.open_rtp(&mut buffer, 12, ssrc, index);
            assert_eq!(len, Some(plain.len()));
            assert_eq!(buffer[..plain.len()], plain);
        }
    }

    #[test]
    fn rfc_7714_section_17_srtcp() {
        let plain = hex(concat!(
            "81c8000d4d617273",
            "4e5450314e545032525450200000042a0000e9304c756e61",
            "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
        ));
        let (ssrc, index) = (Ssrc(0x4d61_7273), 0x5d4);
        for (key_len, sealed) in [
            (
                16,
                concat!(
                    "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32d",
                    "c676a5f1730d6fda4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf872",
                    "45d9eade800005d4",
                ),
            ),
            (
                32,
                concat!(
                    "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50",
                    "a2eaa5c1110555be8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6c",
                    "b26ac3be800005d4",
                ),
            ),
        ] {
            let transform = rfc_7714(key_len);
            let mut buffer = plain.clone();
            buffer.resize(plain.len() + GCM_TAG_LEN + RTCP_INDEX_LEN, 0);
            let len = transform.seal_rtcp(&mut buffer, plain.len(), ssrc, index);
            assert_eq!(len, Some(buffer.len()));
            assert_eq!(buffer, hex(sealed));
            assert_eq!(transform.rtcp_index(&buffer), Some((true, index)));
            let len = transform.open_rtcp(&mut buffer, ssrc, index);
            assert_eq!(len, Some(plain.len()));
            assert_eq!(buffer[..plain.len()], plain);
        }
    }

    #[test]
    fn rfc_3711_appendix_b_2_key_stream() {
        let key = hex("2B7E151628AED2A6ABF7158809CF4F3C");
        let salt = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD");
        let cm = Cm::new(
            key.as_slice().try_into().expect("16 bytes"),
            salt.as_slice().try_into().expect("14 bytes"),
            &[0; 20],
        );
        // 0xff02 blocks of 16 bytes: the counter's whole low half and its carry into the next byte.
        let mut stream = vec![0; 0xff02 * 16];
        cm.apply_key_stream(Ssrc(0), 0, &mut stream)
            .expect("any length is fine");
        assert_eq!(
            stream[..48],
            hex(concat!(
                "E03EAD0935C95E80E166B16DD92B4EB4",
                "D23513162B02D0F72A43A2FE4A5F97AB",
                "41E95B3BB0A2E8DD477901E4FCA894C0",
            ))
        );
        assert_eq!(
            stream[0xfeff * 16..],
            hex(concat!(
                "EC8CDF7398607CB0F2D21675EA9EA1E4",
                "362B7C3C6773516318A077D7FC5073AE",
                "6A2CC3787889374FBEB4C81B17BA6C44",
            ))
        );
    }

    #[test]
    fn a_tag_that_does_not_fit_leaves_the_buffer_untouched() {
        for transform in [
            rfc_7714(16),
            Transform::Cm(Cm::new(&[1; 16], [2; 14], &[3; 20])),
        ] {
            let before = [0x80; 60];
            let mut buffer = before;
            let room = transform.tag_len() - 1;
            assert_eq!(
                transform.seal_rtp(&mut buffer, 12, 60 - room, Ssrc(1), 1),
                None
            );
            assert_eq!(buffer, before);
            let room = transform.tag_len() + RTCP_INDEX_LEN - 1;
            assert_eq!(
                transform.seal_rtcp(&mut buffer, 60 - room, Ssrc(1), 1),
                None
            );
            assert_eq!(buffer, before);
        }
    }
}
