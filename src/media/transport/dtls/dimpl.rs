//! The `dimpl` crate behind [`Association`], held to DTLS 1.2: there it prefers AES_256_GCM, then AES_128_GCM, then
//! AES128_CM_SHA1_80, whatever the client's order; in its DTLS 1.3 the client's order wins, and Chromium lists CM first.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::dimpl::{Config, ConfigBuilder, Dtls, Error, Output, SrtpProfile};
use tracing::debug;

use super::{Association, Event, Fatal, Keys, MAX_DATAGRAM, Role, Version, only_profile};
use crate::media::transport::Identity;
use crate::media::transport::srtp::Profile;

/// The first wait for an answer, doubled for each repetition.
const FLIGHT_START_RTO: Duration = Duration::from_millis(200);

/// More than fit into the transport's own deadline, which shall decide: repetitions that the client asks for are
/// taken from the same budget.
const FLIGHT_RETRIES: usize = 24;

/// Beyond the transport's own deadline, which shall decide.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// "No timer" is an instant years ahead.
const NO_TIMER: Duration = Duration::from_secs(24 * 3_600);

/// The settings that all associations of an identity share.
pub(in crate::media::transport) fn config() -> Result<Arc<Config>, Error> {
    settings().build().map(Arc::new)
}

/// The same for clients that offer one profile.
pub(in crate::media::transport) fn config_offering_only(
    profile: Profile,
) -> Result<Arc<Config>, Error> {
    settings()
        .with_crypto_provider(only_profile::provider(profile))
        .build()
        .map(Arc::new)
}

fn settings() -> ConfigBuilder {
    Config::builder()
        .require_client_certificate(true)
        // ICE has proved the address already.
        .use_server_cookie(false)
        .flight_start_rto(FLIGHT_START_RTO)
        .flight_retries(FLIGHT_RETRIES)
        .handshake_timeout(HANDSHAKE_TIMEOUT)
}

/// A `dimpl` association.
pub(in crate::media::transport) struct Dimpl {
    dtls: Dtls,
    events: VecDeque<Event>,
    deadline: Option<Instant>,
    connected: bool,
    keyed: bool,
    /// The one profile that a client offers, where it is not free to offer all.
    only: Option<Profile>,
}

impl Dimpl {
    /// An association that has not begun.
    pub(in crate::media::transport) fn new(now: Instant, identity: &Identity, role: Role) -> Self {
        let mut dtls = Dtls::new_12(identity.config(), identity.certificate(), now);
        dtls.set_active(role == Role::Client);
        Self {
            dtls,
            events: VecDeque::new(),
            deadline: None,
            connected: false,
            keyed: false,
            only: identity.only_profile().filter(|_| role == Role::Client),
        }
    }

    /// Lets time pass and drains, as the implementation wants before every datagram.
    fn advance(&mut self, now: Instant) -> Result<(), Fatal> {
        let result = self.dtls.handle_timeout(now);
        self.drain(now);
        result.map_err(fatal)
    }

    fn drain(&mut self, now: Instant) {
        // The implementation insists on room for the peer's certificate.
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => {
                    let mut packet = packet.to_vec();
                    if let Some(only) = self.only {
                        only_profile::narrow_datagram(&mut packet, only);
                    }
                    self.events.push_back(Event::Transmit(packet));
                }
                Output::PeerCert(der) => {
                    self.events.push_back(Event::PeerCertificate(der.to_vec()));
                }
                Output::Connected => self.connected = true,
                Output::KeyingMaterial(material, profile) => {
                    let Some(profile) = known(profile) else {
                        continue;
                    };
                    self.keyed = true;
                    self.events.push_back(Event::Established(Keys {
                        profile,
                        version: Version::Dtls1_2,
                        material: material.to_vec().into(),
                    }));
                }
                Output::CloseNotify => self.events.push_back(Event::ClosedByPeer),
                Output::Timeout(at) => {
                    self.deadline = (at < now + NO_TIMER).then_some(at);
                    return;
                }
                // Nothing but keys is wanted of the association.
                Output::ApplicationData(_) => {}
                // The buffer is larger than anything that is polled; going on would not end.
                Output::BufferTooSmall { .. } | _ => return,
            }
        }
    }
}

impl Association for Dimpl {
    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Fatal> {
        self.advance(now)?;
        let result = self.dtls.handle_packet(datagram);
        self.drain(now);
        result.map_err(fatal)?;
        if self.connected && !self.keyed {
            debug!("the DTLS client offered no SRTP profile that we know");
            return Err(Fatal::Protocol);
        }
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Fatal> {
        self.advance(now)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn close(&mut self, now: Instant) {
        // A failure leaves nothing to close.
        let _ = self.dtls.close();
        self.drain(now);
    }
}

impl fmt::Debug for Dimpl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dimpl")
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

fn known(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        _ => None,
    }
}

fn fatal(error: Error) -> Fatal {
    debug!(%error, "DTLS failed");
    if matches!(error, Error::Timeout(_)) {
        Fatal::Timeout
    } else {
        Fatal::Protocol
    }
}
