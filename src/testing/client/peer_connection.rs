//! One WebRTC association as a browser has it: a UDP socket or a TCP connection, ICE checks, DTLS client, SRTP, media.
//!
//! [`Core`] takes datagrams and time and yields datagrams; the task around it owns the [`Socket`]. What happened is
//! published in a [`Report`], on which tests wait.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use dimpl::{Config, Dtls, DtlsCertificate, Output as DtlsOutput, SrtpProfile};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::description::{self, Local, Remote, Sources};
use super::media::{AUDIO_INTERVAL, Incoming, Outgoing, Packet, TrackReport, VIDEO_INTERVAL};
use super::{Error, PATIENCE};
use crate::media::net::framing::{Extent, Framing, Rfc4571};
use crate::media::rtp::RtpPacket;
use crate::media::rtp::rtcp::{self, Compound, ReportBlock, Writer};
use crate::media::stun::{
    AttributeType, Class, IntegrityKey, Message, Method, TransactionId, Writer as StunWriter,
};
use crate::media::transport::srtp::{self, Profile};
use crate::units::{MediaKind, Random, SeqNo, Ssrc, clock};

/// How often a check is repeated until it is answered, and from then on.
const CHECK_INTERVAL: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(2_500)];
/// How often missing packets are asked for.
const NACK_INTERVAL: Duration = Duration::from_millis(50);
/// How often sender and receiver reports go out.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);
/// Most datagrams read before what they caused is sent.
const READS: usize = 64;
/// Frames that are made up for at most when the machine was busy elsewhere.
const MAX_DELAY: Duration = Duration::from_millis(200);

/// Our SSRC where we send no media.
const REPORTER: Ssrc = Ssrc(1);

/// How far an association has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// Checks or the handshake are under way.
    #[default]
    Connecting,
    /// Media flows.
    Connected(Profile),
    /// The server has said `close_notify`.
    ClosedByServer,
    /// DTLS has failed.
    Failed(String),
}

/// What happened so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How far it has come.
    pub state: State,
    /// The address that the server saw.
    pub mapped: Option<SocketAddr>,
    /// Checks answered.
    pub checks: u64,
    /// Opus.
    pub audio: TrackReport,
    /// VP8.
    pub video: TrackReport,
    /// Packets of no declared source, payload type or mid, and RTCP about none.
    pub unexpected: u64,
    /// Packets that could not be opened.
    pub unauthentic: u64,
    /// Datagrams from the right port at another address than the one that was asked.
    pub strangers: u64,
    /// Key frames asked for.
    pub key_frame_requests: u64,
    /// Packets asked for again.
    pub nacked: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Receiver reports about what this end sends, and the latest loss in them.
    pub receiver_reports: u64,
    /// Lost according to the latest receiver reports, audio and video.
    pub reported_lost: [i32; 2],
    /// The highest and the latest estimate, in bits per second.
    pub remb: Option<(u64, u64)>,
    /// Transport-wide feedback packets.
    pub transport_wide_feedback: u64,
    /// BYE packets.
    pub goodbyes: u64,
    /// Protected datagrams of this end, most recent last, where recording was asked for.
    pub recorded: Vec<Vec<u8>>,
}

impl Report {
    /// Whether media can flow.
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }
}

/// What a test can ask for.
#[derive(Debug)]
enum Command {
    Send(bool),
    LoseNext(u32),
    DropNext(u64),
    Lossy(u32),
    Record(usize),
    Rtcp(Vec<u8>),
    Rtp(Vec<u8>),
    Raw(Vec<u8>),
    Rebind(Socket),
    Stall(Duration),
    CheckEvery(Duration),
    Stop(bool),
}

/// A certificate and its hash.
fn certificate() -> Result<(DtlsCertificate, Vec<u8>), Error> {
    let made = rcgen::KeyPair::generate().and_then(|key| {
        let certificate = rcgen::CertificateParams::new(Vec::new())?.self_signed(&key)?;
        Ok((certificate.der().to_vec(), key.serialize_der()))
    });
    let (certificate, private_key) = made.map_err(|error| Error::Unusable(error.to_string()))?;
    let hash = digest::digest(&digest::SHA256, &certificate);
    Ok((
        DtlsCertificate {
            certificate,
            private_key,
        },
        hash.as_ref().to_vec(),
    ))
}

/// What datagrams travel through.
#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    /// ICE-TCP, active end (RFC 6544); the bytes are what has arrived of a frame.
    Tcp(TcpStream, Vec<u8>),
}

impl Socket {
    async fn connect(target: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream, Vec::new()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(stream, _) => stream.local_addr(),
        }
    }

    /// What the kernel does not take is lost, as on any network.
    async fn send(&mut self, datagram: &[u8], target: SocketAddr) {
        match self {
            Self::Udp(socket) => {
                let _ = socket.send_to(datagram, target).await;
            }
            Self::Tcp(stream, _) => {
                let mut frame = vec![0; Rfc4571::HEADER];
                Rfc4571::write_header(&mut frame, datagram.len());
                frame.extend_from_slice(datagram);
                let _ = stream.write_all(&frame).await;
            }
        }
    }

    /// Waits for datagrams, at most [`READS`], and hands them to `take` with their sender. May be dropped while it
    /// waits.
    async fn receive(
        &mut self,
        target: SocketAddr,
        buffer: &mut [u8],
        mut take: impl FnMut(SocketAddr, &mut [u8]),
    ) {
        match self {
            Self::Udp(socket) => {
                let mut received = socket.recv_from(buffer).await;
                for _ in 0..READS {
                    let Ok((len, from)) = received else { break };
                    take(from, &mut buffer[..len]);
                    received = socket.try_recv_from(buffer);
                }
            }
            Self::Tcp(stream, bytes) => {
                match stream.read(buffer).await {
                    Ok(len @ 1..) => bytes.extend_from_slice(&buffer[..len]),
                    // The end of a connection is no end of the association: time tells.
                    Ok(0) | Err(_) => std::future::pending().await,
                }
                let mut at = 0;
                while let Extent::Complete { datagram, end } = Rfc4571::first(&bytes[at..]) {
                    take(target, &mut bytes[at..][datagram]);
                    at += end;
                }
                bytes.drain(..at);
            }
        }
    }
}

/// An association that waits for the server's description.
#[derive(Debug)]
pub struct Negotiation {
    socket: UdpSocket,
    certificate: DtlsCertificate,
    /// What is told to the server.
    pub local: Local,
    /// What a publisher declares.
    pub sources: Sources,
    random: Random,
}

impl Negotiation {
    /// Opens a socket on `ip` and makes keys.
    ///
    /// # Errors
    /// The system is out of something.
    pub async fn new(ip: IpAddr) -> Result<Self, Error> {
        let socket = UdpSocket::bind((ip, 0)).await?;
        let mut random = Random::system();
        let (certificate, fingerprint) = certificate()?;
        Ok(Self {
            socket,
            certificate,
            local: Local {
                ufrag: random.alphanumeric(4),
                pwd: random.alphanumeric(24),
                fingerprint,
            },
            sources: Sources {
                audio: random.u32() | 1 << 8,
                video: random.u32() | 1 << 9,
                rtx: random.u32() | 1 << 10,
            },
            random,
        })
    }

    /// The offer of a publisher.
    pub fn publisher_offer(&self) -> String {
        description::publisher_offer(&self.local, self.sources)
    }

    /// The offer of a subscriber.
    pub fn subscriber_offer(&self) -> String {
        description::subscriber_offer(&self.local)
    }

    /// The answer of a subscriber.
    pub fn subscriber_answer(&self, offer: &Remote) -> String {
        description::subscriber_answer(&self.local, offer)
    }

    /// Begins to connect, to `target` or the first candidate of the socket's kind. A publisher starts to send as soon
    /// as it is connected.
    ///
    /// # Errors
    /// There is nowhere to connect to.
    pub fn connect(
        self,
        remote: &Remote,
        publishes: bool,
        target: Option<SocketAddr>,
    ) -> Result<PeerConnection, Error> {
        let target = target
            .or_else(|| self.reachable(&remote.candidates))
            .ok_or_else(|| Error::Unusable("no candidate can be reached".to_owned()))?;
        self.begin(remote, publishes, target, None)
    }

    /// The same over TCP, as browsers do where UDP is blocked.
    ///
    /// # Errors
    /// There is nowhere to connect to, or nobody accepts.
    pub async fn connect_tcp(
        self,
        remote: &Remote,
        publishes: bool,
    ) -> Result<PeerConnection, Error> {
        let target = self
            .reachable(&remote.tcp_candidates)
            .ok_or_else(|| Error::Unusable("no TCP candidate can be reached".to_owned()))?;
        let connection = Socket::connect(target).await?;
        self.begin(remote, publishes, target, Some(connection))
    }

    fn reachable(&self, candidates: &[SocketAddr]) -> Option<SocketAddr> {
        let ip = self.socket.local_addr().ok()?.ip();
        let reachable = |candidate: &&SocketAddr| {
            candidate.is_ipv4() == ip.is_ipv4() && candidate.ip().is_loopback() == ip.is_loopback()
        };
        candidates.iter().find(reachable).copied()
    }

    fn begin(
        self,
        remote: &Remote,
        publishes: bool,
        target: SocketAddr,
        connection: Option<Socket>,
    ) -> Result<PeerConnection, Error> {
        let socket = connection.unwrap_or(Socket::Udp(self.socket));
        let local_addr = socket.local_addr()?;
        let (commands, mailbox) = mpsc::channel(64);
        let (publish, report) = watch::channel(Report::default());
        let now = clock::now();
        let core = Core::new(
            now,
            self.certificate,
            &self.local,
            remote,
            target,
            self.random,
        )?;
        let core = if publishes {
            core.publishing(remote, self.sources)
        } else {
            core.subscribing(remote)
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(run(socket, core, mailbox, publish));
        Ok(PeerConnection {
            local_addr,
            target,
            remote: remote.clone(),
            commands,
            report,
            _tasks: tasks,
        })
    }
}

/// A running association; ends without a word when dropped.
#[derive(Debug)]
pub struct PeerConnection {
    /// Our socket's address.
    pub local_addr: SocketAddr,
    /// The server's address.
    pub target: SocketAddr,
    /// The server's description.
    pub remote: Remote,
    commands: mpsc::Sender<Command>,
    report: watch::Receiver<Report>,
    _tasks: JoinSet<()>,
}

impl PeerConnection {
    /// The source that the server has declared for `kind`.
    pub fn ssrc(&self, kind: MediaKind) -> Option<u32> {
        self.remote.section(kind)?.ssrc
    }

    /// What happened so far.
    pub fn report(&self) -> Report {
        self.report.borrow().clone()
    }

    /// Waits until `condition` holds; `what` says what is waited for.
    ///
    /// # Errors
    /// It did not come to hold in time.
    pub async fn until(
        &self,
        what: &str,
        condition: impl FnMut(&Report) -> bool,
    ) -> Result<Report, Error> {
        let mut report = self.report.clone();
        let waited = tokio::time::timeout(PATIENCE, report.wait_for(condition)).await;
        if let Ok(Ok(report)) = waited {
            return Ok(report.clone());
        }
        drop(waited);
        let mut report = self.report();
        report.recorded.clear();
        Err(Error::TimedOut(format!("{what}: {report:?}")))
    }

    /// Waits until media can flow.
    ///
    /// # Errors
    /// It did not connect in time.
    pub async fn connected(&self) -> Result<Report, Error> {
        self.until("connected", Report::is_connected).await
    }

    /// Starts or stops sending media.
    pub async fn send_media(&self, on: bool) {
        self.command(Command::Send(on)).await;
    }

    /// The next `count` video packets are not sent, as if the network had lost them.
    pub async fn lose_next(&self, count: u32) {
        self.command(Command::LoseNext(count)).await;
    }

    /// The next `count` video packets that arrive are thrown away.
    pub async fn drop_next(&self, count: u64) {
        self.command(Command::DropNext(count)).await;
    }

    /// From here on so many of a thousand RTP and RTCP packets are lost, in each direction.
    pub async fn lossy(&self, per_mille: u32) {
        self.command(Command::Lossy(per_mille)).await;
    }

    /// Keeps the next `count` protected datagrams in the report.
    pub async fn record(&self, count: usize) {
        self.command(Command::Record(count)).await;
    }

    /// Sends a compound RTCP packet, protected.
    pub async fn send_rtcp(&self, packet: Vec<u8>) {
        self.command(Command::Rtcp(packet)).await;
    }

    /// Sends an RTP packet, protected.
    pub async fn send_rtp(&self, packet: Vec<u8>) {
        self.command(Command::Rtp(packet)).await;
    }

    /// Sends a datagram as it is.
    pub async fn send_raw(&self, datagram: Vec<u8>) {
        self.command(Command::Raw(datagram)).await;
    }

    /// Goes on from another port without knowing it, as behind a NAT that has forgotten the old one.
    ///
    /// # Errors
    /// The system is out of ports.
    pub async fn rebind(&self) -> Result<SocketAddr, Error> {
        let socket = UdpSocket::bind((self.local_addr.ip(), 0)).await?;
        let local = socket.local_addr()?;
        self.command(Command::Rebind(Socket::Udp(socket))).await;
        Ok(local)
    }

    /// Goes on over a new TCP connection, as when the old one broke; asks for a check at once as browsers do.
    ///
    /// # Errors
    /// Nobody accepts.
    pub async fn reconnect(&self) -> Result<SocketAddr, Error> {
        let connection = Socket::connect(self.target).await?;
        let local = connection.local_addr()?;
        self.command(Command::Rebind(connection)).await;
        Ok(local)
    }

    /// Checks no more often than this, beginning now.
    pub async fn check_every(&self, interval: Duration) {
        self.command(Command::CheckEvery(interval)).await;
    }

    /// Reads nothing and sends nothing for so long.
    pub async fn stall(&self, time: Duration) {
        self.command(Command::Stall(time)).await;
    }

    /// Ends as a browser does that closes its peer connection: with `close_notify`.
    pub async fn close(self) {
        self.stop(true).await;
    }

    /// Ends as a browser does that was killed.
    pub async fn vanish(self) {
        self.stop(false).await;
    }

    async fn stop(mut self, politely: bool) {
        self.command(Command::Stop(politely)).await;
        let _ = tokio::time::timeout(PATIENCE, self._tasks.join_next()).await;
    }

    async fn command(&self, command: Command) {
        // One that has ended does nothing any more.
        let _ = self.commands.send(command).await;
    }
}

async fn run(
    mut socket: Socket,
    mut core: Core,
    mut mailbox: mpsc::Receiver<Command>,
    publish: watch::Sender<Report>,
) {
    let mut buffer = vec![0; 2_048];
    loop {
        while let Some(datagram) = core.outputs.pop_front() {
            socket.send(&datagram, core.target).await;
        }
        if core.changed {
            core.changed = false;
            publish.send_modify(|report| report.clone_from(&core.report));
        }
        if core.stopped {
            return;
        }
        let (target, deadline) = (core.target, core.poll_timeout());
        tokio::select! {
            () = socket.receive(target, &mut buffer, |from, datagram| {
                core.handle_datagram(clock::now(), from, datagram);
            }) => {}
            command = mailbox.recv() => match command {
                Some(Command::Rebind(other)) => {
                    if matches!(other, Socket::Tcp(..)) {
                        core.next_check = clock::now();
                    }
                    socket = other;
                }
                Some(Command::Stall(time)) => tokio::time::sleep(time).await,
                Some(command) => core.handle_command(clock::now(), command),
                None => return,
            },
            () = tokio::time::sleep_until(deadline.into()) => core.handle_timeout(clock::now()),
        }
    }
}

/// What a publisher sends.
#[derive(Debug)]
struct Sending {
    audio: Outgoing,
    video: Outgoing,
    transport_wide: u16,
    on: bool,
    next_audio: Instant,
    next_frame: Instant,
    wants_key_frame: bool,
    lose: u32,
}

#[derive(Debug)]
struct Core {
    target: SocketAddr,
    report: Report,
    changed: bool,
    stopped: bool,
    outputs: VecDeque<Vec<u8>>,
    random: Random,

    user_name: String,
    key: IntegrityKey,
    check: TransactionId,
    next_check: Instant,
    check_intervals: [Duration; 2],
    is_valid: bool,

    fingerprint: Vec<u8>,
    dtls: Option<Dtls>,
    dtls_timeout: Option<Instant>,
    srtp: Option<(srtp::Sender, srtp::Receiver)>,

    sending: Option<Sending>,
    incoming: Vec<(MediaKind, Incoming)>,
    drop_next: u64,
    loss_per_mille: u32,
    record: usize,
    next_nack: Instant,
    next_report: Instant,
}

impl Core {
    fn new(
        now: Instant,
        certificate: DtlsCertificate,
        local: &Local,
        remote: &Remote,
        target: SocketAddr,
        random: Random,
    ) -> Result<Self, Error> {
        let config = Config::builder()
            .flight_start_rto(Duration::from_millis(100))
            .build()
            .map_err(|error| Error::Unusable(error.to_string()))?;
        let mut dtls = Dtls::new_12(Arc::new(config), certificate, now);
        dtls.set_active(true);
        Ok(Self {
            target,
            report: Report::default(),
            changed: true,
            stopped: false,
            outputs: VecDeque::new(),
            random,
            user_name: format!("{}:{}", remote.ufrag, local.ufrag),
            key: IntegrityKey::short_term(&remote.pwd),
            check: TransactionId([0; 12]),
            next_check: now,
            check_intervals: CHECK_INTERVAL,
            is_valid: false,
            fingerprint: remote.fingerprint.clone(),
            dtls: Some(dtls),
            dtls_timeout: None,
            srtp: None,
            sending: None,
            incoming: Vec::new(),
            drop_next: 0,
            loss_per_mille: 0,
            record: 0,
            next_nack: now,
            next_report: now + REPORT_INTERVAL,
        })
    }

    fn publishing(mut self, remote: &Remote, sources: Sources) -> Self {
        let now = self.next_check;
        let audio = remote.section(MediaKind::Audio);
        let video = remote.section(MediaKind::Video);
        if let (Some(audio), Some(video)) = (audio, video) {
            // Close to the end of the cycle, so that every call sees numbers wrap.
            let first = 65_500 + (self.random.u32() % 30) as u16;
            self.sending = Some(Sending {
                audio: Outgoing::new(audio, sources.audio, 0, first),
                video: Outgoing::new(video, sources.video, sources.rtx, first),
                transport_wide: first,
                on: true,
                next_audio: now,
                next_frame: now,
                wants_key_frame: true,
                lose: 0,
            });
        }
        // Its own media, where the answer declares sources for it.
        self.subscribing(remote)
    }

    fn subscribing(mut self, remote: &Remote) -> Self {
        self.incoming = remote
            .sections
            .iter()
            .filter(|section| section.ssrc.is_some())
            .map(|section| (section.kind, Incoming::new(section)))
            .collect();
        self
    }

    // ---- time -------------------------------------------------------------------------------------------------

    fn poll_timeout(&self) -> Instant {
        let mut next = self.next_check;
        if self.is_valid && self.dtls.is_some() {
            next = self.dtls_timeout.map_or(next, |at| at.min(next));
        }
        if self.srtp.is_some() {
            next = next.min(self.next_report);
            if self
                .incoming
                .iter()
                .any(|(_, it)| it.missing().next().is_some())
            {
                next = next.min(self.next_nack);
            }
            if let Some(sending) = self.sending.as_ref().filter(|sending| sending.on) {
                next = next.min(sending.next_audio).min(sending.next_frame);
            }
        }
        next
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_check {
            self.send_check(now);
        }
        if self.is_valid && self.dtls_timeout.is_some_and(|at| now >= at) {
            self.advance_dtls(now, None);
        }
        if self.srtp.is_none() {
            return;
        }
        self.send_media(now);
        if now >= self.next_nack {
            self.next_nack = now + NACK_INTERVAL;
            self.send_nacks();
        }
        if now >= self.next_report {
            self.next_report = now + REPORT_INTERVAL;
            self.send_reports();
        }
    }

    fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Send(on) => {
                if let Some(sending) = &mut self.sending {
                    sending.on = on;
                    sending.next_audio = now;
                    sending.next_frame = now;
                }
            }
            Command::LoseNext(count) => {
                if let Some(sending) = &mut self.sending {
                    sending.lose = count;
                }
            }
            Command::DropNext(count) => self.drop_next = count,
            Command::CheckEvery(interval) => {
                self.check_intervals[1] = interval;
                self.next_check = now + interval;
            }
            Command::Lossy(per_mille) => self.loss_per_mille = per_mille,
            Command::Record(count) => {
                self.record = count;
                self.report.recorded.clear();
            }
            Command::Rtcp(packet) => self.send_rtcp(&packet),
            Command::Rtp(packet) => self.send_rtp(&packet),
            Command::Raw(datagram) => self.outputs.push_back(datagram),
            // The socket is the task's.
            Command::Rebind(_) | Command::Stall(_) => {}
            Command::Stop(politely) => {
                if let Some(dtls) = self.dtls.as_mut().filter(|_| politely) {
                    // A handshake that has not come far leaves nothing to close.
                    let _ = dtls.close();
                    self.drain_dtls(now);
                }
                self.stopped = true;
            }
        }
    }

    // ---- ICE --------------------------------------------------------------------------------------------------

    fn send_check(&mut self, now: Instant) {
        self.next_check = now + self.check_intervals[usize::from(self.is_valid)];
        self.random.fill(&mut self.check.0);
        let mut buffer = vec![0; 256];
        let mut writer = StunWriter::new(&mut buffer, Class::Request, Method::BINDING, self.check);
        writer.attribute(AttributeType::USERNAME, self.user_name.as_bytes());
        // GOOG-NETWORK-INFO, as Chromium sends it.
        writer.attribute(AttributeType(0xc057), &[0, 1, 0, 10]);
        writer.attribute(AttributeType::ICE_CONTROLLING, &[7; 8]);
        writer.attribute(AttributeType::USE_CANDIDATE, &[]);
        writer.attribute(AttributeType::PRIORITY, &[0x6e, 0x7f, 0x1e, 0xff]);
        writer.integrity(&self.key);
        writer.fingerprint();
        if let Ok(len) = writer.finish() {
            buffer.truncate(len);
            self.outputs.push_back(buffer);
        }
    }

    fn handle_stun(&mut self, now: Instant, datagram: &[u8]) {
        let Ok(message) = Message::parse(datagram) else {
            return;
        };
        if message.class() != Class::Success
            || message.transaction_id() != self.check
            || !message.is_authentic(&self.key)
        {
            return;
        }
        self.report.checks += 1;
        self.report.mapped = message.xor_mapped_address();
        if !self.is_valid {
            self.is_valid = true;
            self.next_check = now + self.check_intervals[1];
            self.advance_dtls(now, None);
        }
    }

    // ---- DTLS -------------------------------------------------------------------------------------------------

    fn advance_dtls(&mut self, now: Instant, datagram: Option<&[u8]>) {
        let Some(dtls) = &mut self.dtls else { return };
        let mut result = dtls.handle_timeout(now);
        self.drain_dtls(now);
        if let (Ok(()), Some(datagram), Some(dtls)) = (&result, datagram, &mut self.dtls) {
            result = dtls.handle_packet(datagram);
            self.drain_dtls(now);
        }
        if let Err(error) = result {
            self.fail(error.to_string());
        }
    }

    fn fail(&mut self, why: String) {
        self.dtls = None;
        if self.report.state != State::ClosedByServer {
            self.report.state = State::Failed(why);
        }
    }

    fn drain_dtls(&mut self, now: Instant) {
        let Some(mut dtls) = self.dtls.take() else {
            return;
        };
        let mut buffer = vec![0; 8_192];
        loop {
            match dtls.poll_output(&mut buffer) {
                DtlsOutput::Packet(packet) => self.outputs.push_back(packet.to_vec()),
                DtlsOutput::PeerCert(der) => {
                    if digest::digest(&digest::SHA256, der).as_ref() != self.fingerprint {
                        return self.fail("the server's certificate is another one".to_owned());
                    }
                }
                DtlsOutput::KeyingMaterial(material, profile) => {
                    let profile = match profile {
                        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
                        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
                        SrtpProfile::AES128_CM_SHA1_80 | _ => Profile::Aes128CmSha1_80,
                    };
                    self.srtp = srtp::client_halves(profile, &material);
                    self.report.state = State::Connected(profile);
                    if let Some(sending) = &mut self.sending {
                        sending.next_audio = now;
                        sending.next_frame = now;
                    }
                }
                DtlsOutput::CloseNotify => {
                    self.report.state = State::ClosedByServer;
                    self.srtp = None;
                    self.changed = true;
                }
                DtlsOutput::Timeout(at) => {
                    self.dtls_timeout = Some(at);
                    break;
                }
                DtlsOutput::BufferTooSmall { .. } => break,
                DtlsOutput::Connected | DtlsOutput::ApplicationData(_) | _ => {}
            }
        }
        self.dtls = Some(dtls);
    }

    // ---- media ------------------------------------------------------------------------------------------------

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        self.changed = true;
        if from != self.target {
            // Other ports may still send to whoever had ours before.
            self.report.strangers += u64::from(from.port() == self.target.port());
            return;
        }
        match datagram.first() {
            Some(0..=3) => self.handle_stun(now, datagram),
            Some(20..=63) => self.advance_dtls(now, Some(datagram)),
            Some(128..=191) if self.is_lost() => {}
            Some(128..=191) => self.handle_media(now, datagram),
            _ => self.report.unexpected += 1,
        }
    }

    fn is_lost(&mut self) -> bool {
        self.loss_per_mille > 0 && self.random.u32() % 1_000 < self.loss_per_mille
    }

    fn handle_media(&mut self, now: Instant, packet: &mut [u8]) {
        let Some((_, receiver)) = &mut self.srtp else {
            return;
        };
        let is_rtcp = packet.get(1).is_some_and(|kind| (192..=223).contains(kind));
        let opened = if is_rtcp {
            receiver.unprotect_rtcp(packet)
        } else {
            receiver.unprotect_rtp(packet)
        };
        let Ok(len) = opened else {
            self.report.unauthentic += 1;
            return;
        };
        if is_rtcp {
            self.handle_rtcp(&packet[..len]);
        } else {
            self.handle_rtp(now, &packet[..len]);
        }
    }

    fn handle_rtp(&mut self, now: Instant, packet: &[u8]) {
        let Ok(packet) = RtpPacket::parse(packet) else {
            self.report.unexpected += 1;
            return;
        };
        let video = self
            .incoming
            .iter()
            .find(|(kind, _)| *kind == MediaKind::Video);
        let is_video = video.is_some_and(|(_, it)| it.ssrc() == Some(packet.header.ssrc.0));
        if is_video && self.drop_next > 0 {
            self.drop_next -= 1;
            self.report.video.dropped_on_purpose += 1;
            return;
        }
        let report = &mut self.report;
        let taken = self.incoming.iter_mut().any(|(kind, incoming)| {
            let track = match kind {
                MediaKind::Audio => &mut report.audio,
                MediaKind::Video => &mut report.video,
            };
            incoming.take(&packet, track)
        });
        if !taken {
            self.report.unexpected += 1;
        } else if self
            .incoming
            .iter()
            .any(|(_, it)| it.missing().next().is_some())
            && now >= self.next_nack
        {
            self.next_nack = now + NACK_INTERVAL;
            self.send_nacks();
        }
    }

    fn handle_rtcp(&mut self, packet: &[u8]) {
        for packet in Compound::new(packet) {
            let known = match packet {
                rtcp::Packet::SenderReport { ssrc, .. } => {
                    let report = &mut self.report;
                    let track = self
                        .incoming
                        .iter()
                        .find(|(_, it)| it.ssrc() == Some(ssrc.0));
                    match track {
                        Some((MediaKind::Audio, _)) => report.audio.sender_reports += 1,
                        Some((MediaKind::Video, _)) => report.video.sender_reports += 1,
                        None => {}
                    }
                    track.is_some()
                }
                rtcp::Packet::ReceiverReport { blocks, .. } => self.handle_blocks(blocks),
                rtcp::Packet::Nack { media, lost } => self.retransmit(media, lost),
                rtcp::Packet::PictureLossIndication { media } => self.make_key_frame(media),
                rtcp::Packet::FullIntraRequest { mut sources } => {
                    sources.all(|media| self.make_key_frame(media))
                }
                rtcp::Packet::ReceiverEstimatedMaximumBitrate { bitrate, .. } => {
                    let highest = self.report.remb.map_or(0, |(highest, _)| highest);
                    self.report.remb = Some((highest.max(bitrate.bps()), bitrate.bps()));
                    true
                }
                rtcp::Packet::TransportWide { .. } => {
                    self.report.transport_wide_feedback += 1;
                    true
                }
                rtcp::Packet::Goodbye { .. } => {
                    self.report.goodbyes += 1;
                    true
                }
                rtcp::Packet::SourceDescription { .. }
                | rtcp::Packet::ExtendedReport { .. }
                | rtcp::Packet::Other { .. } => true,
            };
            self.report.unexpected += u64::from(!known);
        }
    }

    fn handle_blocks(&mut self, blocks: rtcp::ReportBlocks<'_>) -> bool {
        let Some(sending) = &self.sending else {
            return true;
        };
        self.report.receiver_reports += 1;
        let mut known = true;
        for block in blocks {
            if block.ssrc.0 == sending.audio.ssrc {
                self.report.reported_lost[0] = block.total_lost;
            } else if block.ssrc.0 == sending.video.ssrc {
                self.report.reported_lost[1] = block.total_lost;
            } else {
                known = false;
            }
        }
        known
    }

    fn make_key_frame(&mut self, media: Ssrc) -> bool {
        let Some(sending) = &mut self.sending else {
            return false;
        };
        self.report.key_frame_requests += 1;
        sending.wants_key_frame = true;
        media.0 == sending.video.ssrc
    }

    fn retransmit(&mut self, media: Ssrc, lost: rtcp::NackedSequences<'_>) -> bool {
        let Some(sending) = &mut self.sending else {
            return false;
        };
        if media.0 != sending.video.ssrc {
            return false;
        }
        let mut packets = Vec::new();
        for seq in lost {
            self.report.nacked += 1;
            packets.extend(sending.video.again(seq, &mut sending.transport_wide));
        }
        for packet in packets {
            self.report.retransmitted += 1;
            self.send_rtp(&packet);
        }
        true
    }

    fn send_media(&mut self, now: Instant) {
        let Some(sending) = self.sending.as_mut().filter(|sending| sending.on) else {
            return;
        };
        let mut packets = Vec::new();
        sending.next_audio = sending.next_audio.max(now - MAX_DELAY);
        sending.next_frame = sending.next_frame.max(now - MAX_DELAY);
        while now >= sending.next_audio {
            sending.next_audio += AUDIO_INTERVAL;
            packets.push(sending.audio.audio(&mut sending.transport_wide));
        }
        while now >= sending.next_frame {
            sending.next_frame += VIDEO_INTERVAL;
            let is_key_frame = std::mem::take(&mut sending.wants_key_frame);
            self.report.video.key_frames += u64::from(is_key_frame);
            for packet in sending
                .video
                .frame(is_key_frame, &mut sending.transport_wide)
            {
                // A receiver waits for the beginning of a key frame and does not miss what was before it.
                if sending.lose > 0 && !packet.is_first_of_key_frame {
                    sending.lose -= 1;
                    self.report.video.dropped_on_purpose += 1;
                } else {
                    packets.push(packet);
                }
            }
        }
        self.report.audio.sent = sending.audio.number;
        self.report.video.sent = sending.video.number;
        self.changed = true;
        for Packet { bytes, .. } in packets {
            self.send_rtp(&bytes);
        }
    }

    fn send_nacks(&mut self) {
        let mut out = Vec::new();
        for (_, incoming) in &self.incoming {
            let lost: Vec<SeqNo> = incoming.missing().take(64).collect();
            if let (Some(ssrc), true) = (incoming.ssrc(), incoming.wants_retransmissions())
                && !lost.is_empty()
            {
                let mut packet = Vec::new();
                Writer::new(&mut packet).nack(REPORTER, Ssrc(ssrc), &lost);
                out.push(packet);
            }
        }
        for packet in out {
            self.send_rtcp(&packet);
        }
    }

    fn send_reports(&mut self) {
        let mut packets = Vec::new();
        if let Some(sending) = self.sending.as_ref().filter(|sending| sending.on) {
            let ntp = ntp_time();
            for track in [&sending.audio, &sending.video] {
                let mut packet = Vec::new();
                Writer::new(&mut packet)
                    .sender_report(Ssrc(track.ssrc), track.sender_info(ntp))
                    .canonical_name(Ssrc(track.ssrc), "browser");
                packets.push(packet);
            }
        }
        if !self.incoming.is_empty() {
            let blocks = self.incoming.iter().filter_map(|(_, incoming)| {
                Some(ReportBlock {
                    ssrc: Ssrc(incoming.ssrc()?),
                    fraction_lost: 0,
                    total_lost: 0,
                    extended_highest: incoming.extended_highest(),
                    jitter: 0,
                    last_sender_report: 0,
                    delay_since_last_sender_report: 0,
                })
            });
            let mut packet = Vec::new();
            Writer::new(&mut packet).receiver_report(REPORTER, blocks);
            packets.push(packet);
        }
        for packet in packets {
            self.send_rtcp(&packet);
        }
    }

    fn send_rtp(&mut self, packet: &[u8]) {
        if let Some((sender, _)) = &mut self.srtp {
            let mut buffer = packet.to_vec();
            buffer.resize(packet.len() + srtp::MAX_OVERHEAD, 0);
            if let Ok(len) = sender.protect_rtp(&mut buffer, packet.len()) {
                buffer.truncate(len);
                self.transmit(buffer);
            }
        }
    }

    fn send_rtcp(&mut self, packet: &[u8]) {
        if let Some((sender, _)) = &mut self.srtp {
            let mut buffer = packet.to_vec();
            buffer.resize(packet.len() + srtp::MAX_OVERHEAD, 0);
            if let Ok(len) = sender.protect_rtcp(&mut buffer, packet.len()) {
                buffer.truncate(len);
                self.transmit(buffer);
            }
        }
    }

    fn transmit(&mut self, datagram: Vec<u8>) {
        if self.report.recorded.len() < self.record {
            self.report.recorded.push(datagram.clone());
            self.changed = true;
        }
        if !self.is_lost() {
            self.outputs.push_back(datagram);
        }
    }
}

/// The wall clock as NTP has it (RFC 3550 section 4).
fn ntp_time() -> u64 {
    let ms = clock::wall_ms();
    let seconds = ms / 1000 + 2_208_988_800;
    (seconds << 32) | (((ms % 1000) << 32) / 1000)
}

/// Any address of this machine's loopback interface.
pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
