//! One transport and one browser on a network.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate, Output as DtlsOutput, SrtpProfile};
use hanok::media::sdp::{Fingerprint, IceCredentials, RemoteTransport};
use hanok::media::stun::{
    AttributeType, Class, IntegrityKey, Message, Method, TransactionId, Writer,
};
use hanok::media::transport::srtp::{self, Profile};
use hanok::media::transport::{FailureReason, Identity, Input, Link, Output, Path, Transport};
use hanok::testing::net::{Conditions, Datagram, Net};
use hanok::testing::t0;
use hanok::units::Random;

pub(crate) const SERVER: &str = "10.0.0.1:40000";
pub(crate) const BROWSER: &str = "10.0.0.2:5000";
pub(crate) const STRANGER: &str = "10.0.0.3:6000";

const PWD: &str = "serverpasswordserverpass";

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn path_from(remote: SocketAddr) -> Path {
    Path {
        link: Link(0),
        local: Some(addr(SERVER).ip()),
        remote,
    }
}

/// What is made once for all tests: keys take time.
pub(crate) fn identity() -> &'static Arc<Identity> {
    use std::sync::OnceLock;
    static IDENTITY: OnceLock<Arc<Identity>> = OnceLock::new();
    IDENTITY.get_or_init(|| Arc::new(Identity::generate().unwrap()))
}

/// A browser's certificate and its fingerprint.
#[derive(Clone)]
pub(crate) struct Certificate {
    pub(crate) dtls: DtlsCertificate,
    pub(crate) fingerprint: Fingerprint,
}

impl Certificate {
    pub(crate) fn ecdsa() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self::new(certificate.der().to_vec(), key.serialize_der())
    }

    /// An RSA certificate. The key beside it is ECDSA, since the client at hand cannot sign with RSA; the server
    /// cannot check such a signature either, whoever made it.
    pub(crate) fn rsa() -> Self {
        let rsa = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::new(vec![])
            .unwrap()
            .self_signed(&rsa)
            .unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        Self::new(certificate.der().to_vec(), key.serialize_der())
    }

    fn new(certificate: Vec<u8>, private_key: Vec<u8>) -> Self {
        use aws_lc_rs::digest;
        let digest = digest::digest(&digest::SHA256, &certificate);
        Self {
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                digest: digest.as_ref().to_vec(),
            },
            dtls: DtlsCertificate {
                certificate,
                private_key,
            },
        }
    }

    pub(crate) fn shared() -> Self {
        use std::sync::OnceLock;
        static CERTIFICATE: OnceLock<Certificate> = OnceLock::new();
        CERTIFICATE.get_or_init(Self::ecdsa).clone()
    }

    pub(crate) fn remote(&self) -> RemoteTransport {
        RemoteTransport {
            ice: IceCredentials {
                ufrag: "brow".into(),
                pwd: "browserpasswordbrowserpa".into(),
            },
            fingerprints: vec![self.fingerprint.clone()],
        }
    }
}

pub(crate) fn local_ice() -> IceCredentials {
    IceCredentials {
        ufrag: "serv".into(),
        pwd: PWD.into(),
    }
}

/// A check as a browser sends it.
pub(crate) fn check(attributes: &[AttributeType], number: u8) -> Vec<u8> {
    check_with("serv:brow", PWD, attributes, number)
}

pub(crate) fn check_with(
    username: &str,
    pwd: &str,
    attributes: &[AttributeType],
    number: u8,
) -> Vec<u8> {
    let mut buffer = vec![0; 1_024];
    let mut writer = Writer::new(
        &mut buffer,
        Class::Request,
        Method::BINDING,
        TransactionId([number; 12]),
    );
    writer.attribute(AttributeType::USERNAME, username.as_bytes());
    // What Chromium adds and nobody needs to know.
    writer.attribute(AttributeType(0xc057), &[0, 1, 0, 0]);
    for kind in attributes {
        let value: &[u8] = match *kind {
            AttributeType::USE_CANDIDATE => &[],
            _ => &[1; 8],
        };
        writer.attribute(*kind, value);
    }
    writer.attribute(AttributeType::PRIORITY, &[0x6e, 0x7f, 0x1e, 0xff]);
    writer.integrity(&IntegrityKey::short_term(pwd));
    writer.fingerprint();
    let len = writer.finish().unwrap();
    buffer.truncate(len);
    buffer
}

/// A DTLS client behind ICE checks.
pub(crate) struct Browser {
    pub(crate) addr: SocketAddr,
    dtls: Option<Dtls>,
    timeout: Option<Instant>,
    next_check: Instant,
    check_interval: Duration,
    checks: u8,
    pub(crate) checked: bool,
    pub(crate) silent: bool,
    /// Stops taking part in DTLS once it has sent so many datagrams.
    pub(crate) mute_after: Option<usize>,
    pub(crate) keys: Option<(srtp::Sender, srtp::Receiver)>,
    pub(crate) profile: Option<SrtpProfile>,
    pub(crate) peer_certificate: Option<Vec<u8>>,
    pub(crate) connected_at: Option<Instant>,
    pub(crate) failed: Option<String>,
    pub(crate) closed_by_peer: bool,
    dtls_sent: usize,
}

impl Browser {
    pub(crate) fn new(now: Instant, certificate: &Certificate) -> Self {
        let config = Config::builder()
            .flight_start_rto(Duration::from_millis(50))
            .flight_retries(12)
            .build()
            .unwrap();
        let mut dtls = Dtls::new_12(Arc::new(config), certificate.dtls.clone(), now);
        dtls.set_active(true);
        Self {
            addr: addr(BROWSER),
            dtls: Some(dtls),
            timeout: None,
            next_check: now,
            check_interval: Duration::from_millis(50),
            checks: 0,
            checked: false,
            silent: false,
            mute_after: None,
            keys: None,
            profile: None,
            peer_certificate: None,
            connected_at: None,
            failed: None,
            closed_by_peer: false,
            dtls_sent: 0,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.silent {
            return None;
        }
        let dtls = self.timeout.filter(|_| self.checked && self.takes_part());
        Some(dtls.map_or(self.next_check, |at| at.min(self.next_check)))
    }

    fn takes_part(&self) -> bool {
        self.failed.is_none() && self.mute_after.is_none_or(|limit| self.dtls_sent < limit)
    }

    fn handle_timeout(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        if self.silent {
            return out;
        }
        if now >= self.next_check {
            self.checks += 1;
            self.next_check = now + self.check_interval;
            out.push(check(
                &[AttributeType::USE_CANDIDATE, AttributeType::ICE_CONTROLLING],
                self.checks,
            ));
        }
        if self.checked && self.timeout.is_some_and(|at| now >= at) {
            self.advance(now, None, &mut out);
        }
        out
    }

    fn handle_datagram(&mut self, now: Instant, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        match bytes[0] {
            0..=3 => {
                let message = Message::parse(bytes).unwrap();
                assert_eq!(message.class(), Class::Success);
                assert_eq!(message.xor_mapped_address(), Some(self.addr));
                assert!(message.is_authentic(&IntegrityKey::short_term(PWD)));
                if !self.checked {
                    self.checked = true;
                    self.check_interval = Duration::from_millis(2_500);
                    self.next_check = now + self.check_interval;
                    self.advance(now, None, &mut out);
                }
            }
            20..=63 => self.advance(now, Some(bytes), &mut out),
            _ => {}
        }
        out
    }

    fn advance(&mut self, now: Instant, datagram: Option<&[u8]>, out: &mut Vec<Vec<u8>>) {
        if !self.takes_part() {
            return;
        }
        let Some(mut dtls) = self.dtls.take() else {
            return;
        };
        let mut result = dtls.handle_timeout(now);
        self.drain(now, &mut dtls, out);
        if let (Ok(()), Some(datagram)) = (&result, datagram) {
            result = dtls.handle_packet(datagram);
            self.drain(now, &mut dtls, out);
        }
        match result {
            Ok(()) => self.dtls = Some(dtls),
            Err(error) => self.failed = Some(error.to_string()),
        }
    }

    fn drain(&mut self, now: Instant, dtls: &mut Dtls, out: &mut Vec<Vec<u8>>) {
        let mut buffer = [0; 8_192];
        loop {
            match dtls.poll_output(&mut buffer) {
                DtlsOutput::Packet(packet) => {
                    if self.takes_part() {
                        self.dtls_sent += 1;
                        out.push(packet.to_vec());
                    }
                }
                DtlsOutput::PeerCert(der) => self.peer_certificate = Some(der.to_vec()),
                DtlsOutput::Connected => self.connected_at = Some(now),
                DtlsOutput::KeyingMaterial(material, profile) => {
                    self.profile = Some(profile);
                    self.keys = Some(client_halves(profile, &material));
                }
                DtlsOutput::CloseNotify => self.closed_by_peer = true,
                DtlsOutput::Timeout(at) => {
                    self.timeout = Some(at);
                    return;
                }
                DtlsOutput::ApplicationData(_) | DtlsOutput::BufferTooSmall { .. } | _ => {
                    panic!("unexpected output of the client")
                }
            }
        }
    }

    /// Makes its next check wait.
    pub(crate) fn postpone_checks(&mut self, by: Duration) {
        self.next_check += by;
        self.timeout = Some(self.next_check - by);
    }

    /// Sends `close_notify`.
    pub(crate) fn close(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let mut dtls = self.dtls.take().unwrap();
        dtls.close().unwrap();
        self.drain(now, &mut dtls, &mut out);
        out
    }
}

/// The client's halves: the server's with keys and salts exchanged.
fn client_halves(profile: SrtpProfile, material: &[u8]) -> (srtp::Sender, srtp::Receiver) {
    let (profile, key, salt) = match profile {
        SrtpProfile::AEAD_AES_256_GCM => (Profile::AeadAes256Gcm, 32, 12),
        SrtpProfile::AEAD_AES_128_GCM => (Profile::AeadAes128Gcm, 16, 12),
        SrtpProfile::AES128_CM_SHA1_80 | _ => (Profile::Aes128CmSha1_80, 16, 14),
    };
    let (keys, salts) = material.split_at(2 * key);
    let exchanged = [&keys[key..], &keys[..key], &salts[salt..], &salts[..salt]].concat();
    srtp::server_halves(profile, &exchanged).unwrap()
}

/// A DTLS datagram that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) to_server: bool,
    /// Counts the DTLS datagrams of both directions.
    pub(crate) number: usize,
    pub(crate) bytes: &'a [u8],
}

type Tamper = Box<dyn FnMut(Sent<'_>) -> Vec<Vec<u8>>>;

pub(crate) struct Call {
    pub(crate) now: Instant,
    pub(crate) net: Net,
    pub(crate) transport: Transport,
    pub(crate) browser: Browser,
    /// Replaces DTLS datagrams; returning none loses the datagram.
    pub(crate) tamper: Option<Tamper>,
    pub(crate) dtls_datagrams: usize,
    pub(crate) events: Vec<(Instant, Output)>,
    /// What the transport made of packets other than its own business, and the packets.
    pub(crate) inputs: VecDeque<(Input, Vec<u8>)>,
    /// Bytes that the transport has sent to anyone but the browser.
    pub(crate) sent_to_strangers: usize,
}

impl Call {
    pub(crate) fn new(seed: u64, conditions: Conditions) -> Self {
        let certificate = Certificate::shared();
        Self::with(seed, conditions, &certificate, Some(certificate.remote()))
    }

    pub(crate) fn with(
        seed: u64,
        conditions: Conditions,
        certificate: &Certificate,
        remote: Option<RemoteTransport>,
    ) -> Self {
        let now = t0();
        Self {
            now,
            net: Net::new(seed, conditions),
            transport: Transport::new(now, local_ice(), remote, identity()),
            browser: Browser::new(now, certificate),
            tamper: None,
            dtls_datagrams: 0,
            events: Vec::new(),
            inputs: VecDeque::new(),
            sent_to_strangers: 0,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - t0()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.transport.path().is_some() && self.browser.connected_at.is_some()
    }

    pub(crate) fn failure(&self) -> Option<FailureReason> {
        self.events.iter().find_map(|(_, event)| match event {
            Output::Failed(reason) => Some(*reason),
            Output::Transmit { .. }
            | Output::Connected { .. }
            | Output::WentQuiet
            | Output::HeardAgain => None,
        })
    }

    /// When both ends were connected, since the start.
    pub(crate) fn connect(&mut self) -> Option<Duration> {
        self.run_until(Duration::from_secs(12), Self::is_connected)
            .then(|| self.elapsed())
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until `done` or `limit` has passed, and tells which.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        let mut stuck = 0;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let next = [
                self.net.next_arrival(),
                self.transport.poll_timeout(),
                self.browser.poll_timeout(),
            ];
            let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            stuck = if next <= self.now { stuck + 1 } else { 0 };
            assert!(stuck < 100, "a timer in the past does not go away");
            self.now = next.max(self.now);
            self.step();
        }
    }

    fn step(&mut self) {
        while let Some(datagram) = self.net.receive(self.now) {
            if datagram.to == self.browser.addr {
                let out = self.browser.handle_datagram(self.now, &datagram.bytes);
                self.send_from_browser(out);
            } else if datagram.to == addr(SERVER) {
                self.receive_at_server(datagram.from, datagram.bytes);
            }
        }
        let out = self.browser.handle_timeout(self.now);
        self.send_from_browser(out);
        self.transport.handle_timeout(self.now);
        self.drain();
    }

    /// Hands the transport a packet without any network.
    pub(crate) fn receive_at_server(&mut self, from: SocketAddr, mut bytes: Vec<u8>) -> Input {
        let input = self
            .transport
            .handle_input(self.now, path_from(from), &mut bytes);
        if input != Input::Handled {
            self.inputs.push_back((input, bytes));
        }
        self.drain();
        input
    }

    fn drain(&mut self) {
        while let Some(output) = self.transport.poll_output() {
            let Output::Transmit { path, datagram } = output else {
                self.events.push((self.now, output));
                continue;
            };
            if path.remote != self.browser.addr {
                self.sent_to_strangers += datagram.len();
                continue;
            }
            for bytes in self.tampered(false, datagram) {
                let (from, to) = (addr(SERVER), path.remote);
                self.net.send(self.now, Datagram { from, to, bytes });
            }
        }
    }

    pub(crate) fn send_from_browser(&mut self, out: Vec<Vec<u8>>) {
        for datagram in out {
            for bytes in self.tampered(true, datagram) {
                let (from, to) = (self.browser.addr, addr(SERVER));
                self.net.send(self.now, Datagram { from, to, bytes });
            }
        }
    }

    fn tampered(&mut self, to_server: bool, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        if !(20..=63).contains(&bytes[0]) {
            return vec![bytes];
        }
        let number = self.dtls_datagrams;
        self.dtls_datagrams += 1;
        match &mut self.tamper {
            Some(tamper) => tamper(Sent {
                to_server,
                number,
                bytes: &bytes,
            }),
            None => vec![bytes],
        }
    }
}

/// An RTP packet with a payload of 100 bytes.
pub(crate) fn rtp(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 9]);
    packet.extend([0x5a; 100]);
    packet
}

/// A receiver report without blocks.
pub(crate) fn rtcp() -> Vec<u8> {
    vec![0x80, 201, 0, 1, 0, 0, 0, 9]
}

/// `packet` protected by the browser.
pub(crate) fn protect(
    browser: &mut Browser,
    packet: &[u8],
    protect: impl FnOnce(&mut srtp::Sender, &mut [u8], usize) -> Result<usize, srtp::ProtectError>,
) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + srtp::MAX_OVERHEAD, 0);
    let (sender, _) = browser.keys.as_mut().unwrap();
    let len = protect(sender, &mut buffer, packet.len()).unwrap();
    buffer.truncate(len);
    buffer
}

/// A number below `limit`.
pub(crate) fn below(random: &mut Random, limit: usize) -> usize {
    usize::try_from(random.u64() % limit as u64).unwrap()
}
