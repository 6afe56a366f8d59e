//! A DTLS client that offers one SRTP profile.
//!
//! `dimpl` has its list compiled in, and a list that is changed on the way to the server breaks the handshake: both
//! ends hash the ClientHello (RFC 5246 sections 7.4.8 and 7.4.9). So it is changed on the way and in what the client
//! hashes and signs: every place of the list then names the one profile. Lengths stay as they are.

use ::dimpl::CryptoError;
use ::dimpl::crypto::{
    Buf, CryptoProvider, HashAlgorithm, HashContext, HashProvider, KeyProvider, SignatureAlgorithm,
    SigningKey, aws_lc_rs,
};

use super::record;
use crate::media::transport::srtp::Profile;

const CLIENT_HELLO: u8 = 1;
const USE_SRTP: usize = 14;

/// The cryptography of a client that offers `only`.
pub(super) fn provider(only: Profile) -> CryptoProvider {
    let narrowed: &'static Narrowed = match only {
        Profile::AeadAes256Gcm => &Narrowed(Profile::AeadAes256Gcm),
        Profile::AeadAes128Gcm => &Narrowed(Profile::AeadAes128Gcm),
        Profile::Aes128CmSha1_80 => &Narrowed(Profile::Aes128CmSha1_80),
    };
    CryptoProvider {
        hash_provider: narrowed,
        key_provider: narrowed,
        ..aws_lc_rs::default_provider()
    }
}

/// Narrows the list in a datagram of the client's, if it is a ClientHello.
pub(super) fn narrow_datagram(datagram: &mut [u8], only: Profile) {
    if datagram.first() == Some(&record::content::HANDSHAKE)
        && let Some(messages) = datagram.get_mut(record::RECORD_HEADER_LEN..)
    {
        narrow(messages, only);
    }
}

/// Narrows the list in the ClientHello that `messages` begin with, if they do.
fn narrow(messages: &mut [u8], only: Profile) {
    if let Some((start, len)) = profiles(messages)
        && let Some(list) = messages.get_mut(start..start + len)
    {
        let number: u16 = match only {
            Profile::Aes128CmSha1_80 => 1,
            Profile::AeadAes128Gcm => 7,
            Profile::AeadAes256Gcm => 8,
        };
        for place in list.chunks_exact_mut(2) {
            place.copy_from_slice(&number.to_be_bytes());
        }
    }
}

/// Where the list of profiles stands (RFC 5764 section 4.1.1), and its bytes.
fn profiles(messages: &[u8]) -> Option<(usize, usize)> {
    if *messages.first()? != CLIENT_HELLO {
        return None;
    }
    let u16_at = |at: usize| {
        let bytes = messages.get(at..)?.first_chunk()?;
        Some(usize::from(u16::from_be_bytes(*bytes)))
    };
    let u8_at = |at: usize| messages.get(at).copied().map(usize::from);
    // Version and random; then session id, cookie, suites and compression methods, each with its length.
    let mut at = record::HANDSHAKE_HEADER_LEN + 2 + 32;
    at += 1 + u8_at(at)?;
    at += 1 + u8_at(at)?;
    at += 2 + u16_at(at)?;
    at += 1 + u8_at(at)?;
    let end = at + 2 + u16_at(at)?;
    at += 2;
    while at < end {
        let (kind, len) = (u16_at(at)?, u16_at(at + 2)?);
        if kind == USE_SRTP {
            return Some((at + 6, u16_at(at + 4)?));
        }
        at += 4 + len;
    }
    None
}

/// Hashes and signs as if the client had written the narrowed list.
#[derive(Debug)]
struct Narrowed(Profile);

impl HashProvider for Narrowed {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        Box::new(Hash {
            inner: aws_lc_rs::default_provider()
                .hash_provider
                .create_hash(algorithm),
            only: self.0,
            begun: false,
        })
    }
}

#[derive(Debug)]
struct Hash {
    inner: Box<dyn HashContext>,
    only: Profile,
    begun: bool,
}

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        // The transcript comes whole, the ClientHello first.
        if std::mem::replace(&mut self.begun, true) {
            self.inner.update(data);
        } else {
            let mut data = data.to_vec();
            narrow(&mut data, self.only);
            self.inner.update(&data);
        }
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        self.inner.clone_and_finalize(out);
    }
}

impl KeyProvider for Narrowed {
    fn load_private_key(&self, key_der: &[u8]) -> Result<Box<dyn SigningKey>, CryptoError> {
        let inner = aws_lc_rs::default_provider()
            .key_provider
            .load_private_key(key_der)?;
        Ok(Box::new(Key {
            inner,
            only: self.0,
        }))
    }
}

#[derive(Debug)]
struct Key {
    inner: Box<dyn SigningKey>,
    only: Profile,
}

impl SigningKey for Key {
    fn sign(
        &mut self,
        data: &[u8],
        hash_alg: HashAlgorithm,
        out: &mut Buf,
    ) -> Result<(), CryptoError> {
        let mut data = data.to_vec();
        narrow(&mut data, self.only);
        self.inner.sign(&data, hash_alg, out)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.inner.algorithm()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.inner.hash_algorithm()
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        self.inner.supported_hash_algorithms()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::client_hello::{self, sample};
    use super::super::{Event, Keys, Role, associate};
    use super::*;
    use crate::media::transport::Identity;

    /// A ClientHello as the transcript has it, and something behind it.
    fn transcript() -> Vec<u8> {
        let body = sample([3; 32], 50);
        let len = (body.len() as u32).to_be_bytes();
        let mut messages = vec![CLIENT_HELLO];
        messages.extend(&len[1..]);
        messages.extend([0, 0, 0, 0, 0]);
        messages.extend(&len[1..]);
        messages.extend(body);
        messages.extend([2, 0, 0, 0]);
        messages
    }

    #[test]
    fn the_list_is_narrowed_and_nothing_else_changes() {
        for only in [
            Profile::AeadAes256Gcm,
            Profile::AeadAes128Gcm,
            Profile::Aes128CmSha1_80,
        ] {
            let before = transcript();
            let mut after = before.clone();
            narrow(&mut after, only);
            let body = record::HANDSHAKE_HEADER_LEN..before.len() - 4;
            let (_, offer) = client_hello::parse(&after[body]).unwrap();
            assert_eq!(offer.profiles, [only]);
            let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            assert_eq!(changed, 2, "the low bytes of the two others");
        }
    }

    /// Runs a handshake between a client and one of our servers; returns what both ends have agreed on.
    fn handshake(client: &Identity) -> [Keys; 2] {
        let now = crate::testing::t0();
        let server = Identity::generate().unwrap();
        let mut ends = [
            associate(now, client, Role::Client),
            associate(now, &server, Role::Server),
        ];
        let mut keys = [None, None];
        ends[0].handle_timeout(now).unwrap();
        for _ in 0..20 {
            for at in 0..2 {
                while let Some(event) = ends[at].poll_event() {
                    match event {
                        Event::Transmit(datagram) => {
                            ends[1 - at].handle_datagram(now, &datagram).unwrap();
                        }
                        Event::Established(made) => keys[at] = Some(made),
                        Event::PeerCertificate(_) => {}
                        Event::ClosedByPeer => panic!("closed"),
                    }
                }
            }
        }
        keys.map(|keys| keys.expect("the handshake ends"))
    }

    #[test]
    fn our_server_accepts_the_narrowed_client_and_takes_its_profile() {
        for only in [
            Profile::AeadAes256Gcm,
            Profile::AeadAes128Gcm,
            Profile::Aes128CmSha1_80,
        ] {
            let client = Identity::generate().unwrap().offering_only(only).unwrap();
            let [ours, theirs] = handshake(&client);
            assert_eq!((ours.profile, theirs.profile), (only, only));
            assert_eq!(
                ours.material.expose_secret(),
                theirs.material.expose_secret()
            );
        }
        let [free, _] = handshake(&Identity::generate().unwrap());
        assert_eq!(free.profile, Profile::AeadAes256Gcm, "the server's choice");
    }

    #[test]
    fn whatever_is_cut_off_or_is_no_client_hello_stays_as_it_is() {
        let whole = transcript();
        let (start, _) = profiles(&whole).unwrap();
        for len in 0..start + 6 {
            let mut cut = whole[..len].to_vec();
            narrow(&mut cut, Profile::Aes128CmSha1_80);
            assert_eq!(cut, whole[..len], "{len}");
        }
        let mut other = whole;
        other[0] = 2;
        let before = other.clone();
        narrow(&mut other, Profile::Aes128CmSha1_80);
        assert_eq!(other, before);
    }
}
