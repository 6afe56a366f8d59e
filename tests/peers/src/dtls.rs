//! Our transport against `rtc-dtls` as client: ICE done first, virtual time, keys compared by using them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::BytesMut;
use hanok::media::sdp::{Fingerprint, IceCredentials, RemoteTransport};
use hanok::media::stun::{AttributeType, Class, IntegrityKey, Method, TransactionId, Writer};
use hanok::media::transport::srtp::{MAX_OVERHEAD, Profile};
use hanok::media::transport::{FailureReason, Identity, Input, Link, Output, Path, Transport};
use hanok::testing::t0;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use shared::TransportProtocol;

use crate::srtp::foreign;

/// One way over the virtual network.
const DELAY: Duration = Duration::from_millis(10);
const GIVE_UP: Duration = Duration::from_secs(20);

const UFRAG: &str = "ours";
const PASSWORD: &str = "0123456789abcdefghijkl";

/// `SRTP_AES128_CM_HMAC_SHA1_80`
pub const CM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;
/// `SRTP_AEAD_AES_128_GCM`
pub const GCM_128: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
/// `SRTP_AEAD_AES_256_GCM`
pub const GCM_256: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm;

/// What clients offer, and what must come of it: an AEAD profile wherever there is one, whatever the order (design D4).
pub const OFFERS: [(&[SrtpProtectionProfile], Profile); 6] = [
    (&[CM], Profile::Aes128CmSha1_80),
    (&[GCM_128], Profile::AeadAes128Gcm),
    (&[GCM_256], Profile::AeadAes256Gcm),
    (&[CM, GCM_128], Profile::AeadAes128Gcm),
    (&[GCM_128, GCM_256, CM], Profile::AeadAes256Gcm),
    (&[CM, GCM_128, GCM_256], Profile::AeadAes256Gcm),
];

/// A handshake with `offer`, then media in both directions under the keys that each side exported.
///
/// # Errors
/// The handshake failed, or the sides disagree.
pub fn compare(offer: &[SrtpProtectionProfile], expected: Profile) -> anyhow::Result<()> {
    let mut call = Call::new(offer, Described::AsItIs)?;
    let ended = call.run()?;
    ensure!(ended == Ended::Connected(expected), "{ended:?}");
    call.exchange_media(expected)
}

/// A client whose certificate is not the one that its description names.
///
/// # Errors
/// It was let in, or the wrong reason was given.
pub fn refuse_another_certificate() -> anyhow::Result<()> {
    let ended = Call::new(&[GCM_128], Described::AsAnother)?.run()?;
    ensure!(
        ended == Ended::Failed(FailureReason::FingerprintMismatch),
        "{ended:?}"
    );
    Ok(())
}

enum Described {
    AsItIs,
    AsAnother,
}

#[derive(Debug, PartialEq)]
enum Ended {
    Connected(Profile),
    Failed(FailureReason),
}

/// Our transport, a foreign client and the datagrams between them.
struct Call {
    now: Instant,
    transport: Transport,
    path: Path,
    client: Endpoint,
    server_addr: SocketAddr,
    to_client: VecDeque<(Instant, Vec<u8>)>,
    to_server: VecDeque<(Instant, Vec<u8>)>,
    client_is_done: bool,
}

impl Call {
    fn new(offer: &[SrtpProtectionProfile], described: Described) -> anyhow::Result<Self> {
        let now = t0();
        let client_addr = SocketAddr::from(([192, 0, 2, 1], 50_000));
        let server_addr = SocketAddr::from(([192, 0, 2, 2], 40_000));
        let provider = crypto::default_provider()?;
        let certificate =
            Certificate::generate_self_signed(vec!["client".to_owned()], provider.crypto())?;
        let mut fingerprint = digest(&SHA256, &certificate.certificate[0])
            .as_ref()
            .to_vec();
        if let Described::AsAnother = described {
            fingerprint[0] ^= 1;
        }
        let remote = RemoteTransport {
            ice: IceCredentials {
                ufrag: "theirs".into(),
                pwd: PASSWORD.into(),
            },
            fingerprints: vec![Fingerprint {
                hash: "sha-256".into(),
                digest: fingerprint,
            }],
        };
        let local = IceCredentials {
            ufrag: UFRAG.into(),
            pwd: PASSWORD.into(),
        };
        let identity = Arc::new(Identity::generate()?);
        let mut call = Self {
            now,
            transport: Transport::new(now, local, Some(remote), &identity),
            path: Path {
                link: Link(0),
                local: None,
                remote: client_addr,
            },
            client: Endpoint::new(client_addr, TransportProtocol::UDP, None),
            server_addr,
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            client_is_done: false,
        };
        call.check_path()?;
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(offer.to_vec())
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_insecure_skip_verify(true)
            .build(true, None)?;
        call.client
            .connect(now, server_addr, Arc::new(config), None)?;
        Ok(call)
    }

    /// A nominating check of the client (RFC 8445 section 7.2).
    fn check_path(&mut self) -> anyhow::Result<()> {
        let mut buffer = vec![0; 256];
        let mut writer = Writer::new(
            &mut buffer,
            Class::Request,
            Method::BINDING,
            TransactionId([1; 12]),
        );
        writer.attribute(
            AttributeType::USERNAME,
            format!("{UFRAG}:theirs").as_bytes(),
        );
        writer.attribute(AttributeType::PRIORITY, &[0, 0, 1, 0]);
        writer.attribute(AttributeType::ICE_CONTROLLING, &[1; 8]);
        writer.attribute(AttributeType::USE_CANDIDATE, &[]);
        writer.integrity(&IntegrityKey::short_term(PASSWORD));
        writer.fingerprint();
        let len = writer.finish()?;
        let input = self
            .transport
            .handle_input(self.now, self.path, &mut buffer[..len]);
        ensure!(input == Input::Handled, "{input:?}");
        let answer = self.transport.poll_output();
        ensure!(
            matches!(answer, Some(Output::Transmit { .. })),
            "{answer:?}"
        );
        Ok(())
    }

    /// Until both sides are done, or ours has failed.
    fn run(&mut self) -> anyhow::Result<Ended> {
        let mut connected = None;
        while self.now < t0() + GIVE_UP {
            while let Some(message) = self.client.poll_transmit() {
                let at = self.now + DELAY;
                self.to_server.push_back((at, message.message.to_vec()));
            }
            while let Some(output) = self.transport.poll_output() {
                match output {
                    Output::Transmit { path, datagram } => {
                        ensure!(path == self.path, "sent to {path:?}");
                        self.to_client.push_back((self.now + DELAY, datagram));
                    }
                    Output::Connected { profile } => connected = Some(profile),
                    Output::WentQuiet | Output::HeardAgain => {}
                    Output::Failed(reason) => return Ok(Ended::Failed(reason)),
                }
            }
            if let (Some(profile), true) = (connected, self.client_is_done) {
                return Ok(Ended::Connected(profile));
            }
            self.step()?;
        }
        bail!(
            "not done after {GIVE_UP:?}: ours {connected:?}, client {}",
            self.client_is_done
        )
    }

    /// The next thing that happens: a datagram arrives, or a timer is due.
    fn step(&mut self) -> anyhow::Result<()> {
        let next = [
            self.to_client.front().map(|(at, _)| *at),
            self.to_server.front().map(|(at, _)| *at),
            self.transport.poll_timeout(),
            self.client.poll_timeout(&self.server_addr),
        ];
        let next = next
            .into_iter()
            .flatten()
            .min()
            .context("nothing to wait for")?;
        self.now = next.max(self.now);
        if let Some((_, datagram)) = self.to_client.pop_front_if(|(at, _)| *at <= self.now) {
            let data = BytesMut::from(&datagram[..]);
            for event in self.client.read(self.now, self.server_addr, None, data)? {
                if let EndpointEvent::HandshakeComplete = event {
                    self.client_is_done = true;
                }
            }
        } else if let Some((_, mut datagram)) =
            self.to_server.pop_front_if(|(at, _)| *at <= self.now)
        {
            self.transport
                .handle_input(self.now, self.path, &mut datagram);
        } else {
            self.transport.handle_timeout(self.now);
            let due = self.client.poll_timeout(&self.server_addr);
            if due.is_some_and(|at| at <= self.now) {
                self.client.handle_timeout(self.server_addr, self.now)?;
            }
        }
        Ok(())
    }

    /// Packets sealed by each side with its own export and opened by the other.
    fn exchange_media(&mut self, profile: Profile) -> anyhow::Result<()> {
        let state = self
            .client
            .get_connection_state(self.server_addr)
            .context("the client's association")?;
        let chosen = state.srtp_protection_profile();
        let expected = match profile {
            Profile::AeadAes256Gcm => GCM_256,
            Profile::AeadAes128Gcm => GCM_128,
            Profile::Aes128CmSha1_80 => CM,
        };
        ensure!(chosen == expected, "the client has {chosen:?}");
        let material = state.export_keying_material(
            "EXTRACTOR-dtls_srtp",
            &[],
            profile.keying_material_len(),
        )?;
        let mut client_sends = foreign(profile, material.as_ref(), true)?;
        let mut client_receives = foreign(profile, material.as_ref(), false)?;

        let rtp = [&[0x80, 96, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2][..], b"payload"].concat();
        let rtcp = [0x80, 201, 0, 1, 0, 0, 0, 2];
        let mut sealed = client_sends.encrypt_rtp(&rtp)?.to_vec();
        let input = self
            .transport
            .handle_input(self.now, self.path, &mut sealed);
        ensure!(input == Input::Rtp { len: rtp.len() } && sealed[..rtp.len()] == rtp);
        let mut sealed = client_sends.encrypt_rtcp(&rtcp)?.to_vec();
        let input = self
            .transport
            .handle_input(self.now, self.path, &mut sealed);
        ensure!(input == Input::Rtcp { len: rtcp.len() } && sealed[..rtcp.len()] == rtcp);

        let mut buffer = rtp.clone();
        buffer.resize(rtp.len() + MAX_OVERHEAD, 0);
        let len = self.transport.protect_rtp(&mut buffer, rtp.len())?;
        ensure!(client_receives.decrypt_rtp(&buffer[..len])? == rtp);
        let mut buffer = rtcp.to_vec();
        buffer.resize(rtcp.len() + MAX_OVERHEAD, 0);
        let len = self.transport.protect_rtcp(&mut buffer, rtcp.len())?;
        ensure!(client_receives.decrypt_rtcp(&buffer[..len])? == rtcp[..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_profile_of_every_offer_is_chosen_and_its_keys_agree() {
        for (offer, expected) in OFFERS {
            compare(offer, expected).expect("both sides agree");
        }
    }

    #[test]
    fn a_certificate_other_than_the_described_one_is_refused() {
        refuse_another_certificate().expect("a refusal");
    }
}
