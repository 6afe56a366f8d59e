//! The thread that moves packets: one socket for each association, as browsers have, looked at by the clock.
//!
//! A thread that sleeps until a socket calls makes the server pay for waking it where both are on one machine, a quarter
//! of its time in some measurements; so this one looks at all sockets every so often (`poll` without waiting) and sleeps
//! in between. The price is that a packet may be seen so much later, which is part of the latency that is reported. The
//! sockets do not ask for GRO, which no browser does and which would spare the server the cutting of its runs.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::sync::{mpsc, oneshot};

use super::description::{Remote, Sources};
use super::histogram::Histogram;
use super::measure::{Measure, Window};
use super::peer::{Context, Failure, Media, Peer, State};
use super::process;
use super::publisher::{Publisher, Sent, Video};
use super::receiver::{Received, Receiver};
use crate::media::sdp::IceCredentials;
use crate::media::transport::Identity;
use crate::media::transport::srtp::Profile;
use crate::units::{MediaKind, Random, clock};

/// Commands that may wait.
const COMMANDS: usize = 1_024;

/// Datagrams that are read from one socket before the others have their turn.
const READS: usize = 64;

/// What we ask of the kernel for each socket.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Nothing longer is sent to us.
const MAX_DATAGRAM: usize = 2_048;

/// Associations are numbered by whoever opens them.
pub(super) type PeerId = usize;

/// An association to be.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: PeerId,
    pub(super) local: IceCredentials,
    pub(super) remote: Remote,
    pub(super) purpose: Purpose,
}

/// What it is for.
#[derive(Debug)]
pub(super) enum Purpose {
    Publish {
        stream: u32,
        sources: Sources,
        video: Video,
        phase: u32,
    },
    Subscribe {
        /// The publisher's number.
        stream: u32,
        /// It joined while others were measured: its latency does not count.
        late: bool,
    },
}

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Command {
    Open(Box<Opening>),
    Candidate(PeerId, SocketAddr),
    /// Measure what is sent between these moments.
    Measure(Instant, Instant),
    /// Say goodbye, stop, and tell what was measured.
    Finish(oneshot::Sender<Box<Outcome>>),
}

/// What the thread tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) peer: PeerId,
    pub(super) at: Instant,
    pub(super) kind: EventKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventKind {
    Connected(Profile),
    FirstMedia,
    FirstKeyFrame,
    Failed(Failure),
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) latency: Histogram,
    /// How late packets left.
    pub(super) lateness: Histogram,
    /// Time between two looks at the sockets.
    pub(super) gaps: Histogram,
    pub(super) arrived: u64,
    pub(super) arrived_bytes: u64,
    /// Datagrams that our sockets could not hold.
    pub(super) dropped: u64,
    pub(super) peers: Vec<(PeerId, PeerOutcome)>,
}

/// What was measured of one association.
#[derive(Debug, Clone)]
pub(super) struct PeerOutcome {
    pub(super) failure: Option<Failure>,
    pub(super) unauthentic: u64,
    pub(super) media: MediaOutcome,
}

#[derive(Debug, Clone)]
pub(super) enum MediaOutcome {
    Published {
        stream: u32,
        sent: Sent,
    },
    Received {
        stream: u32,
        late: bool,
        audio: Option<Received>,
        video: Option<Received>,
        shown: u64,
        freezes: u64,
        foreign: u64,
        nacked: u64,
    },
}

/// The thread's handle.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) commands: mpsc::Sender<Command>,
    /// RTP packets received so far.
    pub(super) received: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

/// How the thread works.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) identity: Arc<Identity>,
    /// How often sockets are looked at.
    pub(super) poll: Duration,
    /// How long frames are held back before they are shown.
    pub(super) playout_delay: Duration,
}

impl Engine {
    /// Starts it; what happens is told to `events`.
    pub(super) fn start(
        settings: Settings,
        events: mpsc::UnboundedSender<Event>,
    ) -> io::Result<Self> {
        let (commands, mailbox) = mpsc::channel(COMMANDS);
        let received = Arc::new(AtomicU64::new(0));
        let run = Run {
            measure: Measure::new(clock::now()),
            // Of those who join late, whom nobody counts.
            unmeasured: Measure::new(clock::now()),
            settings,
            mailbox,
            events,
            received: received.clone(),
            slots: Vec::new(),
            deadlines: Vec::new(),
            handshakes: VecDeque::new(),
            gaps: Histogram::default(),
        };
        let thread = thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || run.run())?;
        Ok(Self {
            commands,
            received,
            thread: Some(thread),
        })
    }

    /// Tells it something; false if it has ended.
    pub(super) async fn tell(&self, command: Command) -> bool {
        self.commands.send(command).await.is_ok()
    }

    /// Ends it and returns what was measured; `None` if it has ended before.
    pub(super) async fn finish(mut self) -> Option<Box<Outcome>> {
        let (answer, answered) = oneshot::channel();
        self.tell(Command::Finish(answer)).await;
        let outcome = answered.await.ok();
        if let Some(thread) = self.thread.take() {
            // Its panic was printed where it happened.
            let _ = thread.join();
        }
        outcome
    }
}

struct Slot {
    id: PeerId,
    socket: UdpSocket,
    peer: Peer,
    stream: u32,
    late: bool,
    told: Told,
}

/// What has been told of an association.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    connected: bool,
    first_media: bool,
    first_key_frame: bool,
    failed: bool,
}

struct Run {
    settings: Settings,
    mailbox: mpsc::Receiver<Command>,
    events: mpsc::UnboundedSender<Event>,
    received: Arc<AtomicU64>,
    slots: Vec<Slot>,
    /// When each slot has something to do, side by side, since all are looked at in every turn.
    deadlines: Vec<Option<Instant>>,
    /// DTLS datagrams, one in a turn, so that joins do not keep media waiting.
    handshakes: VecDeque<(usize, SocketAddr, Vec<u8>)>,
    measure: Measure,
    unmeasured: Measure,
    gaps: Histogram,
}

impl Run {
    fn run(mut self) {
        let mut looked_at = clock::now();
        loop {
            while let Ok(command) = self.mailbox.try_recv() {
                match command {
                    Command::Open(opening) => self.open(*opening),
                    Command::Candidate(id, addr) => self.add_candidate(id, addr),
                    Command::Measure(begin, end) => {
                        let window = Window {
                            begin_ns: self.measure.ns(begin),
                            end_ns: self.measure.ns(end),
                        };
                        self.measure.window = Some(window);
                    }
                    Command::Finish(answer) => {
                        self.close();
                        // Whoever asked may have lost patience.
                        let _ = answer.send(Box::new(self.outcome()));
                        return;
                    }
                }
            }
            if self.mailbox.is_closed() && self.mailbox.is_empty() {
                self.close();
                return;
            }
            let now = clock::now();
            if self.measure.counts(self.measure.ns(now)) {
                self.gaps.record(now.saturating_duration_since(looked_at));
            }
            looked_at = now;
            self.receive();
            self.advance_one_handshake();
            self.handle_due();
            thread::sleep(self.settings.poll);
        }
    }

    fn open(&mut self, opening: Opening) {
        let now = clock::now();
        let Opening {
            id,
            local,
            remote,
            purpose,
        } = opening;
        let socket = match socket_for(&remote) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, "no socket");
                self.tell(now, id, EventKind::Failed(Failure::Ice));
                return;
            }
        };
        let (stream, late, media) = match purpose {
            Purpose::Publish {
                stream,
                sources,
                video,
                phase,
            } => {
                let publisher = Publisher::new(now, stream, &remote, sources, video, phase);
                (stream, false, Media::Publish(Box::new(publisher)))
            }
            Purpose::Subscribe { stream, late } => {
                let playout_delay = self.settings.playout_delay;
                let receiver = Receiver::new(now, stream, &remote, playout_delay);
                (stream, late, Media::Subscribe(Box::new(receiver)))
            }
        };
        let identity = &self.settings.identity;
        let peer = Peer::new(now, identity, &local, &remote, media, Random::system());
        self.slots.push(Slot {
            id,
            socket,
            peer,
            stream,
            late,
            told: Told::default(),
        });
        self.deadlines.push(Some(now));
    }

    fn add_candidate(&mut self, id: PeerId, addr: SocketAddr) {
        if let Some(index) = self.slots.iter().position(|slot| slot.id == id) {
            self.slots[index].peer.add_candidate(addr);
            self.deadlines[index] = Some(clock::now());
        }
    }

    fn receive(&mut self) {
        let mut fds: Vec<PollFd<'_>> = self
            .slots
            .iter()
            .map(|slot| PollFd::new(&slot.socket, PollFlags::IN))
            .collect();
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // With a signal in between nothing is ready, until the next turn.
        if fds.is_empty() || !rustix::event::poll(&mut fds, Some(&at_once)).is_ok_and(|it| it > 0) {
            return;
        }
        let ready: Vec<usize> = fds
            .iter()
            .enumerate()
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(index, _)| index)
            .collect();
        drop(fds);
        let mut buffer = [0; MAX_DATAGRAM];
        for index in ready {
            let mut packets = 0;
            for _ in 0..READS {
                let received = self.slots[index].socket.recv_from(&mut buffer);
                let Ok((len, from)) = received else { break };
                let datagram = &mut buffer[..len];
                match datagram.first() {
                    Some(20..=63) => {
                        self.handshakes.push_back((index, from, datagram.to_vec()));
                    }
                    first => {
                        packets += u64::from(first.is_some_and(|first| *first >= 128));
                        self.with_peer(index, |peer, context| {
                            peer.handle_datagram(context, from, datagram);
                        });
                    }
                }
            }
            self.received.fetch_add(packets, Ordering::Relaxed);
            self.settle(index);
        }
    }

    fn advance_one_handshake(&mut self) {
        if let Some((index, from, mut datagram)) = self.handshakes.pop_front() {
            self.with_peer(index, |peer, context| {
                peer.handle_datagram(context, from, &mut datagram);
            });
            self.settle(index);
        }
    }

    fn handle_due(&mut self) {
        let now = clock::now();
        for index in 0..self.deadlines.len() {
            if self.deadlines[index].is_some_and(|at| now >= at) {
                self.with_peer(index, |peer, context| peer.handle_timeout(context));
                self.settle(index);
            }
        }
    }

    fn with_peer(
        &mut self,
        index: usize,
        work: impl FnOnce(&mut Peer, &mut Context<'_, &mut dyn FnMut(SocketAddr, &[u8])>),
    ) {
        let Slot {
            socket, peer, late, ..
        } = &mut self.slots[index];
        let mut send = |to: SocketAddr, datagram: &[u8]| {
            // What the kernel does not take is lost, as on any network.
            let _ = socket.send_to(datagram, to);
        };
        let mut context = Context {
            now: clock::now(),
            ntp: ntp_time(),
            measure: if *late {
                &mut self.unmeasured
            } else {
                &mut self.measure
            },
            send: &mut send as &mut dyn FnMut(SocketAddr, &[u8]),
        };
        work(peer, &mut context);
    }

    /// Takes note of when the association is due again, and tells what is new.
    fn settle(&mut self, index: usize) {
        let Slot { id, peer, told, .. } = &mut self.slots[index];
        self.deadlines[index] = peer.poll_timeout();
        let (id, before) = (*id, *told);
        let mut news = [None; 3];
        match peer.state {
            State::Connecting => {}
            State::Connected(profile) => {
                if !before.connected {
                    told.connected = true;
                    news[0] = Some((clock::now(), EventKind::Connected(profile)));
                }
            }
            State::Failed(why) => {
                if !before.failed {
                    told.failed = true;
                    news[0] = Some((clock::now(), EventKind::Failed(why)));
                }
            }
        }
        if let Media::Subscribe(receiver) = &peer.media {
            if let Some(at) = receiver.first_media().filter(|_| !before.first_media) {
                told.first_media = true;
                news[1] = Some((at, EventKind::FirstMedia));
            }
            if let Some(at) = receiver
                .first_key_frame()
                .filter(|_| !before.first_key_frame)
            {
                told.first_key_frame = true;
                news[2] = Some((at, EventKind::FirstKeyFrame));
            }
        }
        for (at, kind) in news.into_iter().flatten() {
            self.tell(at, id, kind);
        }
    }

    fn tell(&self, at: Instant, peer: PeerId, kind: EventKind) {
        // Nobody may listen any more.
        let _ = self.events.send(Event { peer, at, kind });
    }

    fn close(&mut self) {
        for index in 0..self.slots.len() {
            self.with_peer(index, |peer, context| peer.close(context));
        }
    }

    fn outcome(self) -> Outcome {
        let ports = self.slots.iter().filter_map(|slot| {
            let addr = slot.socket.local_addr();
            addr.ok().map(|addr| addr.port())
        });
        let dropped = process::socket_drops(&ports.collect());
        Outcome {
            dropped,
            latency: self.measure.latency,
            lateness: self.measure.lateness,
            gaps: self.gaps,
            arrived: self.measure.arrived,
            arrived_bytes: self.measure.arrived_bytes,
            peers: self
                .slots
                .into_iter()
                .map(|slot| (slot.id, outcome_of(&slot)))
                .collect(),
        }
    }
}

fn outcome_of(slot: &Slot) -> PeerOutcome {
    let stream = slot.stream;
    PeerOutcome {
        failure: match slot.peer.state {
            State::Failed(why) => Some(why),
            State::Connecting | State::Connected(_) => None,
        },
        unauthentic: slot.peer.unauthentic,
        media: match &slot.peer.media {
            Media::Publish(publisher) => MediaOutcome::Published {
                stream,
                sent: publisher.sent,
            },
            Media::Subscribe(receiver) => {
                let frames = receiver.frame_counts().unwrap_or_default();
                MediaOutcome::Received {
                    stream,
                    late: slot.late,
                    audio: receiver.received(MediaKind::Audio),
                    video: receiver.received(MediaKind::Video),
                    shown: frames.shown,
                    freezes: frames.freezes,
                    foreign: receiver.foreign,
                    nacked: receiver.nacked,
                }
            }
        },
    }
}

/// A socket from which the server's candidates can be reached, as far as they are known.
fn socket_for(remote: &Remote) -> io::Result<UdpSocket> {
    let first = remote.candidates.first();
    let any = if first.is_some_and(SocketAddr::is_ipv6) {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    } else {
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    // The kernel grants what `net.core.rmem_max` allows.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
    Ok(socket)
}

/// The wall clock as NTP has it (RFC 3550 section 4).
fn ntp_time() -> u64 {
    let ms = clock::wall_ms();
    let seconds = ms / 1_000 + 2_208_988_800;
    (seconds << 32) | (((ms % 1_000) << 32) / 1_000)
}
