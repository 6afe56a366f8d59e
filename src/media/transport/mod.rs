//! One WebRTC peer: ICE-lite, DTLS, SRTP.
//!
//! ```text
//! STUN  --> ice   a check with our credentials validates its path; a nominated one chooses it
//! DTLS  --> dtls::Admission --> Association --> certificate compared --> keys
//! SRTP  --> srtp  only on validated paths, only with keys whose owner is proved
//! ```

pub mod dtls;
mod ice;
mod identity;
pub mod srtp;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use tracing::debug;

use self::dtls::{Admission, Association, Event, Fatal, Keys, Role};
pub use self::dtls::{Counters as DtlsCounters, MAX_DATAGRAM as MAX_DTLS_DATAGRAM, Offer, Version};
use self::ice::{Agent, Verdict};
pub use self::ice::{Link, Path};
pub use self::identity::{Identity, IdentityError, matches as certificate_matches};
use self::srtp::{Profile, ProtectError, UnprotectError};
use crate::media::sdp::{Fingerprint, IceCredentials, RemoteTransport};

/// From the first fragment of a ClientHello to the keys.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Time for a client that has validated a path to begin the handshake.
pub const CLIENT_HELLO_DEADLINE: Duration = Duration::from_secs(30);

/// `bad_certificate` (RFC 5246 section 7.2), which RFC 8122 section 6.2 wants said.
const BAD_CERTIFICATE: u8 = 42;

/// Datagrams that may wait for [`Transport::poll_output`]; further ones are lost, as on any network.
const MAX_OUTPUTS: usize = 32;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// It was for the transport itself; drain its outputs.
    Handled,
    /// The first `len` bytes are now an RTP packet.
    Rtp {
        /// Length of the opened packet.
        len: usize,
    },
    /// The first `len` bytes are now a compound RTCP packet.
    Rtcp {
        /// Length of the opened packet.
        len: usize,
    },
    /// It was ignored.
    Dropped(DropReason),
}

/// Why a packet was ignored. None of them is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The first byte belongs to no protocol of ours (RFC 7983 section 7).
    UnknownProtocol,
    /// Begins like STUN and is none.
    MalformedStun,
    /// STUN other than a Binding request.
    UnexpectedStun,
    /// A check for another ufrag.
    UnknownUfrag,
    /// A check with a wrong MESSAGE-INTEGRITY or FINGERPRINT.
    UnauthenticStun,
    /// Not STUN, from an address without a valid check.
    Unvalidated,
    /// DTLS of which nothing was let through.
    UnexpectedDtls,
    /// Media before there are keys.
    NoKeys,
    /// Media that is too short, or whose header does not fit its length.
    MalformedMedia,
    /// Media that was received before, or is too old to tell.
    ReplayedMedia,
    /// Media with a wrong tag.
    UnauthenticMedia,
    /// Media of more sources than one peer may have.
    TooManySsrcs,
    /// The transport has ended.
    Ended,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 13] = [
        Self::UnknownProtocol,
        Self::MalformedStun,
        Self::UnexpectedStun,
        Self::UnknownUfrag,
        Self::UnauthenticStun,
        Self::Unvalidated,
        Self::UnexpectedDtls,
        Self::NoKeys,
        Self::MalformedMedia,
        Self::ReplayedMedia,
        Self::UnauthenticMedia,
        Self::TooManySsrcs,
        Self::Ended,
    ];
}

/// Something for the worker to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Transmit {
        /// Where to.
        path: Path,
        /// What.
        datagram: Vec<u8>,
    },
    /// Media can flow, on [`Transport::path`].
    Connected {
        /// The SRTP profile in use.
        profile: Profile,
    },
    /// Nothing authentic has arrived for eight seconds.
    WentQuiet,
    /// Something authentic has arrived after all.
    HeardAgain,
    /// The transport is over; nothing follows.
    Failed(FailureReason),
}

/// Why a transport ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// No authenticated check for 30 s.
    IceTimeout,
    /// The DTLS handshake did not finish within its deadline.
    DtlsTimeout,
    /// The DTLS handshake failed, for example for want of a common cipher suite.
    DtlsFailed,
    /// The certificate matches no fingerprint of the remote description.
    FingerprintMismatch,
    /// The peer closed the association.
    ClosedByPeer,
}

/// Why a packet could not be protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There are no keys (any more).
    #[error("the transport is not connected")]
    NotConnected,
    /// SRTP refused.
    #[error(transparent)]
    Srtp(#[from] ProtectError),
}

/// What happened to a transport so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Valid checks.
    pub checks: u64,
    /// Checks answered with 487.
    pub role_conflicts: u64,
    /// Packets ignored, by reason.
    dropped: [u64; DropReason::ALL.len()],
    /// Outputs lost because nobody took them.
    pub outputs_lost: u64,
    /// DTLS.
    pub dtls: DtlsCounters,
}

impl Counters {
    /// Packets ignored for this reason. `NoKeys` is media before keys.
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}

/// What is known of the peer's certificate.
#[derive(Debug)]
enum PeerCertificate {
    /// It has not been presented.
    Unknown,
    /// It waits for the answer whose fingerprint it must match.
    Presented(Vec<u8>),
    /// It matches.
    Verified,
}

#[derive(Debug)]
enum Security {
    /// No keys that may be used; those made before the answer arrived wait for it.
    Handshaking { unproved: Option<Keys> },
    /// Keys of a proved owner.
    Ready(Srtp),
    /// Closed or failed.
    Ended,
}

#[derive(Debug)]
struct Srtp {
    profile: Profile,
    sender: srtp::Sender,
    receiver: srtp::Receiver,
    /// A path has been chosen as well, and the worker told.
    connected: bool,
    /// The worker has been told that nothing arrives.
    quiet: bool,
}

/// One WebRTC peer, sans-I/O. After every call that takes `now`, drain [`Transport::poll_output`].
#[derive(Debug)]
pub struct Transport {
    identity: Arc<Identity>,
    ice: Agent,
    first_check: Option<Instant>,
    admission: Admission,
    association: Option<Box<dyn Association>>,
    /// Where the last DTLS datagram came from.
    dtls_path: Option<Path>,
    first_hello: Option<Instant>,
    fingerprints: Option<Vec<Fingerprint>>,
    certificate: PeerCertificate,
    security: Security,
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Transport {
    /// A transport that waits for checks. Without `remote` (we offered, the answer is not there yet) the handshake may
    /// run, but its keys are not used before [`Transport::set_remote`].
    pub fn new(
        now: Instant,
        local: IceCredentials,
        remote: Option<RemoteTransport>,
        identity: &Arc<Identity>,
    ) -> Self {
        Self {
            identity: identity.clone(),
            ice: Agent::new(now, local),
            first_check: None,
            admission: Admission::default(),
            association: None,
            dtls_path: None,
            first_hello: None,
            fingerprints: remote.map(|remote| remote.fingerprints),
            certificate: PeerCertificate::Unknown,
            security: Security::Handshaking { unproved: None },
            outputs: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Tells the peer's end once its answer has arrived. False if it was known already, which stays.
    pub fn set_remote(&mut self, now: Instant, remote: RemoteTransport) -> bool {
        if self.fingerprints.is_some() || self.has_ended() {
            return false;
        }
        self.ice.restart_silence(now);
        self.fingerprints = Some(remote.fingerprints);
        if let PeerCertificate::Presented(der) = &self.certificate {
            let der = der.clone();
            if self.verify(der).is_ok() {
                self.use_proved_keys();
            }
        }
        true
    }

    /// Takes a packet that arrived on `path`. RTP and RTCP are opened in place.
    pub fn handle_input(&mut self, now: Instant, path: Path, packet: &mut [u8]) -> Input {
        let input = match packet.first() {
            _ if self.has_ended() => Input::Dropped(DropReason::Ended),
            Some(0..=3) => self.handle_stun(now, path, packet),
            Some(20..=63 | 128..=191) if !self.ice.is_validated(&path) => {
                Input::Dropped(DropReason::Unvalidated)
            }
            Some(20..=63) => self.handle_dtls(now, path, packet),
            Some(128..=191) => self.handle_media(now, path, packet),
            _ => Input::Dropped(DropReason::UnknownProtocol),
        };
        if let Input::Dropped(reason) = input {
            self.counters.dropped[reason as usize] += 1;
        }
        input
    }

    /// Whether media from `path`, where no check came from, may be this peer's all the same: see
    /// [`Transport::follow`].
    pub fn may_have_moved(&self, now: Instant, path: &Path) -> bool {
        matches!(&self.security, Security::Ready(srtp) if srtp.connected)
            && self.ice.may_have_moved(now, path)
    }

    /// Opens media in place that came from another port of a silent peer's host, and moves there if it is authentic.
    /// `None` if it is somebody else's; the packet is of no use then.
    pub fn follow(&mut self, now: Instant, path: Path, packet: &mut [u8]) -> Option<Input> {
        if !self.may_have_moved(now, &path) {
            return None;
        }
        match self.handle_media(now, path, packet) {
            input @ (Input::Rtp { .. } | Input::Rtcp { .. }) => {
                self.ice.follow(now, path);
                Some(input)
            }
            Input::Handled | Input::Dropped(_) => None,
        }
    }

    /// Lets time pass; spurious calls are harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.has_ended() {
            return;
        }
        if now >= self.ice.deadline() {
            return self.fail(FailureReason::IceTimeout);
        }
        if self.handshake_deadline().is_some_and(|at| now >= at) {
            return self.fail(self.late());
        }
        if self.quiet_at().is_some_and(|at| now >= at) {
            if let Security::Ready(srtp) = &mut self.security {
                srtp.quiet = true;
            }
            self.output(Output::WentQuiet);
        }
        let due = |at: &Instant| now >= *at;
        if let Some(association) = &mut self.association
            && association.poll_timeout().as_ref().is_some_and(due)
        {
            let result = association.handle_timeout(now);
            self.settle(now, result);
        }
    }

    /// When [`Transport::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.has_ended() {
            return None;
        }
        let association = self.association.as_ref();
        [
            Some(self.ice.deadline()),
            self.handshake_deadline(),
            self.quiet_at(),
            association.and_then(|association| association.poll_timeout()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether [`Transport::poll_output`] has something.
    #[inline]
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Where media goes; `None` unless connected.
    pub fn path(&self) -> Option<Path> {
        match &self.security {
            Security::Ready(srtp) if srtp.connected => self.ice.chosen(),
            Security::Handshaking { .. } | Security::Ready(_) | Security::Ended => None,
        }
    }

    /// Whether a valid check has come from `path`.
    pub fn is_validated(&self, path: &Path) -> bool {
        self.ice.is_validated(path)
    }

    /// Whether a valid check has come through `link` and the path is not forgotten.
    pub fn is_linked(&self, link: Link) -> bool {
        self.ice.is_linked(link)
    }

    /// Forgets a connection that has ended: nothing goes there any more.
    pub fn forget(&mut self, link: Link) {
        self.ice.forget(link);
    }

    /// When the peer was last heard from there by a valid check or authentic media; `None` without a valid check.
    pub fn heard_at(&self, link: Link, remote: SocketAddr) -> Option<Instant> {
        self.ice.heard_at(link, remote)
    }

    /// Protects the RTP packet in `buffer[..len]` in place and returns its new length.
    ///
    /// # Errors
    /// Not connected, or SRTP refuses the packet.
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SendError> {
        Ok(self.sender()?.protect_rtp(buffer, len)?)
    }

    /// Protects the compound RTCP packet in `buffer[..len]` in place and returns its new length.
    ///
    /// # Errors
    /// Not connected, or SRTP refuses the packet.
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SendError> {
        Ok(self.sender()?.protect_rtcp(buffer, len)?)
    }

    /// Ends the transport. A `close_notify` is queued where there is somebody to read it; browsers do not act on it.
    pub fn close(&mut self, now: Instant) {
        if self.has_ended() {
            return;
        }
        if let Some(association) = &mut self.association {
            association.close(now);
            while let Some(event) = self.association.as_mut().and_then(|it| it.poll_event()) {
                if let Event::Transmit(datagram) = event {
                    self.transmit_dtls(datagram);
                }
            }
        }
        self.end();
    }

    /// What happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn has_ended(&self) -> bool {
        matches!(self.security, Security::Ended)
    }

    fn sender(&mut self) -> Result<&mut srtp::Sender, SendError> {
        match &mut self.security {
            Security::Ready(srtp) if srtp.connected => Ok(&mut srtp.sender),
            Security::Handshaking { .. } | Security::Ready(_) | Security::Ended => {
                Err(SendError::NotConnected)
            }
        }
    }

    fn handle_stun(&mut self, now: Instant, path: Path, packet: &[u8]) -> Input {
        match self.ice.handle_stun(now, path, packet) {
            Verdict::Answer(datagram) => {
                self.counters.checks += 1;
                if self.ice.is_validated(&path) {
                    self.first_check.get_or_insert(now);
                }
                self.output(Output::Transmit { path, datagram });
                self.announce();
                self.break_silence();
                Input::Handled
            }
            Verdict::RoleConflict(datagram) => {
                self.counters.role_conflicts += 1;
                self.output(Output::Transmit { path, datagram });
                self.break_silence();
                Input::Handled
            }
            Verdict::Silence(reason) => Input::Dropped(reason),
        }
    }

    fn handle_dtls(&mut self, now: Instant, path: Path, packet: &[u8]) -> Input {
        let mut admitted = Vec::new();
        let useful = self
            .admission
            .admit(packet, &mut admitted, &mut self.counters.dtls);
        if self.admission.has_begun() {
            self.first_hello.get_or_insert(now);
        }
        if !useful {
            return Input::Dropped(DropReason::UnexpectedDtls);
        }
        if admitted.is_empty() {
            return Input::Handled;
        }
        self.dtls_path = Some(path);
        let association = self
            .association
            .get_or_insert_with(|| dtls::associate(now, &self.identity, Role::Server));
        let result = association.handle_datagram(now, &admitted);
        self.settle(now, result);
        Input::Handled
    }

    fn handle_media(&mut self, now: Instant, path: Path, packet: &mut [u8]) -> Input {
        let Security::Ready(srtp) = &mut self.security else {
            return Input::Dropped(DropReason::NoKeys);
        };
        if !srtp.connected {
            return Input::Dropped(DropReason::NoKeys);
        }
        // RFC 5761 section 4: the packet type of RTCP stands where RTP has marker and payload type.
        let is_rtcp = packet.get(1).is_some_and(|kind| (192..=223).contains(kind));
        let opened = if is_rtcp {
            srtp.receiver.unprotect_rtcp(packet)
        } else {
            srtp.receiver.unprotect_rtp(packet)
        };
        match opened {
            Ok(len) => {
                self.ice.hear(now, &path);
                if srtp.quiet {
                    self.break_silence();
                }
                if is_rtcp {
                    Input::Rtcp { len }
                } else {
                    Input::Rtp { len }
                }
            }
            Err(UnprotectError::Malformed) => Input::Dropped(DropReason::MalformedMedia),
            Err(UnprotectError::Replayed) => Input::Dropped(DropReason::ReplayedMedia),
            Err(UnprotectError::NotAuthentic) => Input::Dropped(DropReason::UnauthenticMedia),
            Err(UnprotectError::TooManySsrcs) => Input::Dropped(DropReason::TooManySsrcs),
        }
    }

    /// Takes what the association yields, then its failure if it has failed.
    fn settle(&mut self, now: Instant, result: Result<(), Fatal>) {
        while let Some(event) = self.association.as_mut().and_then(|it| it.poll_event()) {
            match event {
                Event::Transmit(datagram) => self.transmit_dtls(datagram),
                Event::PeerCertificate(der) => {
                    if self.verify(der).is_err() {
                        return;
                    }
                }
                Event::Established(keys) => self.establish(now, keys),
                Event::ClosedByPeer => return self.fail(FailureReason::ClosedByPeer),
            }
        }
        match result {
            Ok(()) => {}
            Err(Fatal::Timeout) => self.fail(self.late()),
            Err(Fatal::Protocol) => self.fail(FailureReason::DtlsFailed),
        }
    }

    /// Compares the certificate with the description's fingerprints, or keeps it until there are some. On mismatch the
    /// transport has failed and nothing of our last flight has been sent.
    fn verify(&mut self, der: Vec<u8>) -> Result<(), FailureReason> {
        let Some(fingerprints) = &self.fingerprints else {
            self.certificate = PeerCertificate::Presented(der);
            return Ok(());
        };
        if identity::matches(&der, fingerprints) {
            self.certificate = PeerCertificate::Verified;
            return Ok(());
        }
        self.transmit_dtls(dtls::fatal_alert(BAD_CERTIFICATE));
        self.fail(FailureReason::FingerprintMismatch);
        Err(FailureReason::FingerprintMismatch)
    }

    fn establish(&mut self, now: Instant, keys: Keys) {
        self.admission.establish();
        let counters = &mut self.counters.dtls;
        counters.version = Some(keys.version);
        counters.profile = Some(keys.profile);
        counters.handshake = self
            .first_hello
            .map(|first| now.saturating_duration_since(first));
        if matches!(self.certificate, PeerCertificate::Unknown) {
            // Nobody has proved to be the other end.
            return self.fail(FailureReason::DtlsFailed);
        }
        if let Security::Handshaking { unproved } = &mut self.security {
            *unproved = Some(keys);
        }
        self.use_proved_keys();
    }

    fn use_proved_keys(&mut self) {
        let (Security::Handshaking { unproved }, PeerCertificate::Verified) =
            (&mut self.security, &self.certificate)
        else {
            return;
        };
        let Some(keys) = unproved.take() else {
            return;
        };
        let Some((sender, receiver)) =
            srtp::server_halves(keys.profile, keys.material.expose_secret())
        else {
            return self.fail(FailureReason::DtlsFailed);
        };
        self.security = Security::Ready(Srtp {
            profile: keys.profile,
            sender,
            receiver,
            connected: false,
            quiet: false,
        });
        self.announce();
    }

    /// Tells the worker once there are both keys and a path.
    fn announce(&mut self) {
        let Security::Ready(srtp) = &mut self.security else {
            return;
        };
        if srtp.connected || self.ice.chosen().is_none() {
            return;
        }
        srtp.connected = true;
        let profile = srtp.profile;
        self.output(Output::Connected { profile });
    }

    /// Tells the worker, if it thinks that the peer is quiet.
    fn break_silence(&mut self) {
        if let Security::Ready(srtp) = &mut self.security
            && std::mem::take(&mut srtp.quiet)
        {
            self.output(Output::HeardAgain);
        }
    }

    /// When the worker is told that nothing arrives, unless it knows or was never told of a connection.
    fn quiet_at(&self) -> Option<Instant> {
        match &self.security {
            Security::Ready(srtp) if srtp.connected && !srtp.quiet => Some(self.ice.quiet_at()),
            Security::Handshaking { .. } | Security::Ready(_) | Security::Ended => None,
        }
    }

    fn handshake_deadline(&self) -> Option<Instant> {
        let Security::Handshaking { unproved: None } = &self.security else {
            return None;
        };
        match (self.first_hello, self.first_check) {
            (Some(hello), _) => Some(hello + HANDSHAKE_DEADLINE),
            (None, Some(check)) => Some(check + CLIENT_HELLO_DEADLINE),
            (None, None) => None,
        }
    }

    /// Plaintext alerts are not believed, but they tell a refusal from silence once the time is over.
    fn late(&self) -> FailureReason {
        if self.counters.dtls.plaintext_alerts > 0 {
            FailureReason::DtlsFailed
        } else {
            FailureReason::DtlsTimeout
        }
    }

    /// DTLS is answered where it last came from; ICE has not chosen yet when the handshake begins.
    fn transmit_dtls(&mut self, datagram: Vec<u8>) {
        let here = self.dtls_path.filter(|path| self.ice.is_validated(path));
        if let Some(path) = here.or(self.ice.chosen()) {
            self.counters.dtls.datagrams_out += 1;
            self.output(Output::Transmit { path, datagram });
        }
    }

    fn output(&mut self, output: Output) {
        let is_datagram = matches!(output, Output::Transmit { .. });
        if is_datagram && self.outputs.len() >= MAX_OUTPUTS {
            self.counters.outputs_lost += 1;
            return;
        }
        self.outputs.push_back(output);
    }

    fn fail(&mut self, reason: FailureReason) {
        debug!(?reason, "transport failed");
        self.end();
        self.output(Output::Failed(reason));
    }

    fn end(&mut self) {
        self.security = Security::Ended;
        self.association = None;
        self.admission = Admission::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drop_reason_has_a_counter_of_its_own() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn a_transport_may_move_to_the_thread_of_its_worker() {
        fn assert_send<T: Send>() {}
        assert_send::<Transport>();
        assert_send::<Identity>();
    }

    #[test]
    fn outputs_that_nobody_takes_are_bounded_but_a_failure_is_always_told() {
        let now = crate::testing::t0();
        let ice = IceCredentials {
            ufrag: "serv".to_owned(),
            pwd: "serverpasswordserverpass".to_owned(),
        };
        let identity = Arc::new(Identity::generate().unwrap());
        let mut transport = Transport::new(now, ice, None, &identity);
        let path = Path {
            link: Link(0),
            local: None,
            remote: ([192, 0, 2, 1], 5_000).into(),
        };
        for _ in 0..1_000 {
            let datagram = vec![0; 100];
            transport.output(Output::Transmit { path, datagram });
        }
        transport.handle_timeout(now + ice::SILENCE);
        let outputs: Vec<_> = std::iter::from_fn(|| transport.poll_output()).collect();
        assert_eq!(outputs.len(), MAX_OUTPUTS + 1);
        let last = Output::Failed(FailureReason::IceTimeout);
        assert_eq!(outputs.last(), Some(&last));
        assert_eq!(
            transport.counters().outputs_lost,
            1_000 - MAX_OUTPUTS as u64
        );
    }
}
