//! From DTLS keying material to session keys (RFC 5764 section 4.2, RFC 3711 section 4.3, RFC 7714 section 11).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};

use crate::media::transport::srtp::Profile;

/// What a session key is for (RFC 3711 section 4.3.2).
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// The master key and salt of one direction, of the lengths that the profile asks for.
pub(super) struct MasterKey<'a> {
    profile: Profile,
    key: &'a [u8],
    salt: &'a [u8],
}

impl<'a> MasterKey<'a> {
    /// Client's and server's, from client key, server key, client salt, server salt.
    pub(super) fn split(profile: Profile, keying_material: &'a [u8]) -> Option<(Self, Self)> {
        if keying_material.len() != profile.keying_material_len() {
            return None;
        }
        let (client_key, rest) = keying_material.split_at_checked(profile.key_len())?;
        let (server_key, rest) = rest.split_at_checked(profile.key_len())?;
        let (client_salt, server_salt) = rest.split_at_checked(profile.salt_len())?;
        let master = |key, salt| Self { profile, key, salt };
        Some((
            master(client_key, client_salt),
            master(server_key, server_salt),
        ))
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// Fills `out` with the AES-CM key stream for `label`, with a key derivation rate of zero. The AES-256 profile
    /// uses AES-256 here too; a 96-bit salt counts as followed by 16 zero bits.
    pub(super) fn derive(&self, label: Label, out: &mut [u8]) {
        let algorithm = if self.key.len() == 32 {
            &AES_256
        } else {
            &AES_128
        };
        let mut iv = [0; 16];
        for (byte, salt) in iv.iter_mut().zip(self.salt) {
            *byte = *salt;
        }
        iv[7] ^= label as u8;
        out.fill(0);
        UnboundCipherKey::new(algorithm, self.key)
            .and_then(EncryptingKey::ctr)
            .and_then(|prf| prf.less_safe_encrypt(out, EncryptionContext::Iv128(iv.into())))
            .expect("the algorithm was chosen by the key's length");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::transport::srtp::tests::hex;

    #[test]
    fn rfc_3711_appendix_b_3() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let master = MasterKey {
            profile: Profile::Aes128CmSha1_80,
            key: &key,
            salt: &salt,
        };
        let derive = |label, len| {
            let mut out = vec![0; len];
            master.derive(label, &mut out);
            out
        };
        assert_eq!(
            derive(Label::RtpEncryption, 16),
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(
            derive(Label::RtpSalt, 14),
            hex("30CBBC08863D8C85D49DB34A9AE1")
        );
        assert_eq!(
            derive(Label::RtpAuthentication, 94),
            hex(concat!(
                "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4",
                "8F0A0ACF3C34E2359E6CDBCEE049646C43D9327A",
                "D175578EF72270986371C10C9A369AC2F94A8C5F",
                "BCDDDC256D6E919A48B610EF17C2041E47403576",
                "6B68642C59BBFC2F34DB60DBDFB2"
            ))
        );
    }

    #[test]
    fn keying_material_must_have_its_exact_length() {
        for profile in [
            Profile::AeadAes256Gcm,
            Profile::AeadAes128Gcm,
            Profile::Aes128CmSha1_80,
        ] {
            let len = profile.keying_material_len();
            assert!(MasterKey::split(profile, &vec![0; len]).is_some());
            assert!(MasterKey::split(profile, &vec![0; len - 1]).is_none());
            assert!(MasterKey::split(profile, &vec![0; len + 1]).is_none());
        }
    }

    #[test]
    fn the_order_is_client_key_server_key_client_salt_server_salt() {
        let material: Vec<u8> = (0..60).collect();
        let (client, server) =
            MasterKey::split(Profile::Aes128CmSha1_80, &material).expect("60 bytes");
        assert_eq!((client.key[0], client.salt[0]), (0, 32));
        assert_eq!((server.key[0], server.salt[0]), (16, 46));
    }
}
