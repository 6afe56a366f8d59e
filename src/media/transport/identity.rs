//! Our DTLS certificate and the fingerprints of certificates (RFC 8122).

use std::fmt;
use std::sync::Arc;

use ::dimpl::{Config, DtlsCertificate};
use aws_lc_rs::digest;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SerialNumber};
use subtle::ConstantTimeEq;

use super::dtls;
use super::srtp::Profile;
use crate::media::sdp::Fingerprint;
use crate::units::Random;

/// The certificate that every transport of the process presents: self-signed ECDSA P-256, made at start.
pub struct Identity {
    certificate: DtlsCertificate,
    config: Arc<Config>,
    fingerprint: Fingerprint,
    only_profile: Option<Profile>,
}

/// The certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Making or signing the certificate failed.
    #[error("the DTLS certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The DTLS implementation refuses our settings.
    #[error("the DTLS settings were refused: {0}")]
    Settings(::dimpl::Error),
}

impl Identity {
    /// A new key and certificate.
    ///
    /// # Errors
    /// The system's cryptography failed.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "hanok media");
        // Random: Firefox is known to object to a serial number that it has seen on another certificate.
        let mut serial = [0; 16];
        Random::system().fill(&mut serial);
        // Positive and without a leading zero, so that it is 16 bytes in DER.
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2120, 1, 1);
        let der = params.self_signed(&key)?.der().to_vec();
        Ok(Self {
            fingerprint: Fingerprint {
                hash: "sha-256".to_owned(),
                digest: digest::digest(&digest::SHA256, &der).as_ref().to_vec(),
            },
            certificate: DtlsCertificate {
                certificate: der,
                private_key: key.serialize_der(),
            },
            config: dtls::config().map_err(IdentityError::Settings)?,
            only_profile: None,
        })
    }

    /// The same for a DTLS client that offers `profile` and no other, as load tests do; for a server it is unusable.
    ///
    /// # Errors
    /// The DTLS implementation refuses our settings.
    pub fn offering_only(self, profile: Profile) -> Result<Self, IdentityError> {
        Ok(Self {
            config: dtls::config_offering_only(profile).map_err(IdentityError::Settings)?,
            only_profile: Some(profile),
            ..self
        })
    }

    /// What goes into `a=fingerprint`: SHA-256 (RFC 8122 section 5).
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub(super) fn certificate(&self) -> DtlsCertificate {
        self.certificate.clone()
    }

    pub(super) const fn only_profile(&self) -> Option<Profile> {
        self.only_profile
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.config.clone()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Whether a certificate has one of the fingerprints (RFC 8122 section 6.2). Hash functions that are no longer
/// collision-resistant (MD5, SHA-1), and unknown ones, match nothing.
pub fn matches(certificate: &[u8], fingerprints: &[Fingerprint]) -> bool {
    fingerprints.iter().any(|fingerprint| {
        let algorithm = match fingerprint.hash.as_str() {
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return false,
        };
        let ours = digest::digest(algorithm, certificate);
        ours.as_ref().ct_eq(&fingerprint.digest).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_identities_share_neither_key_nor_serial_number() {
        let [a, b] = [(); 2].map(|()| Identity::generate().unwrap());
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_ne!(a.certificate.private_key, b.certificate.private_key);
        assert_eq!(a.fingerprint().digest.len(), 32);
    }

    #[test]
    fn a_certificate_matches_any_one_of_the_fingerprints_under_a_sound_hash() {
        let identity = Identity::generate().unwrap();
        let der = &identity.certificate.certificate;
        let of = |hash: &str, digest: &[u8]| Fingerprint {
            hash: hash.to_owned(),
            digest: digest.to_vec(),
        };
        let sha512 = of("sha-512", digest::digest(&digest::SHA512, der).as_ref());
        let sha1 = of(
            "sha-1",
            digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref(),
        );
        let wrong = of("sha-256", &[0; 32]);
        let short = of("sha-256", &identity.fingerprint().digest[..31]);
        assert!(matches(der, &[identity.fingerprint().clone()]));
        assert!(matches(der, &[wrong.clone(), sha512]));
        for refused in [vec![], vec![wrong], vec![sha1], vec![short]] {
            assert!(!matches(der, &refused), "{refused:?}");
        }
    }

    #[test]
    fn an_identity_does_not_print_its_key() {
        let identity = Identity::generate().unwrap();
        assert!(!format!("{identity:?}").contains("private"));
    }
}
