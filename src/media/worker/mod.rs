//! One thread per core: sockets, transports, rooms; runs the loop.
//!
//! A worker owns everything that it touches between a packet's arrival and its departure: no lock, no allocation in
//! steady state, no task, no thread hop. Control talks to it through one bounded mailbox ([`crate::media::plane::service`]).

mod crossing;
mod exits;
mod metrics;
mod outbox;
mod pace;
mod peer;
mod relay;
mod relay_sockets;
mod room;
mod run;
mod slots;
mod streams;
mod timers;
mod turn_streams;
mod wake;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use crate::media::net::port::MediaPort;
use crate::media::net::stream::StreamListener;
use crate::media::net::udp::BatchSocket;
use crate::media::plane::FailureReason;
use crate::media::plane::service::{WorkerCommand, WorkerDoor};
use crate::media::sdp::Candidate;
use crate::media::sfu;
use crate::media::transport::Identity;
use crate::media::turn;
use crate::units::{Spread, clock};
use wake::Wake;

pub use crossing::{Crossing, WorkerPorts};
pub use metrics::families;

/// Commands that may wait for one worker; senders wait when it is full.
pub const COMMAND_QUEUE: usize = 1024;

/// Transports that one worker owns at most.
pub const MAX_TRANSPORTS: usize = 20_000;

/// Sockets of one worker at most.
const MAX_SOCKETS: usize = 32;

/// What a worker is made of.
pub struct Parts {
    /// Its number, for the thread's name and for logs.
    pub index: usize,
    /// Its media sockets and listeners: one port on every bound address.
    pub media: MediaPort,
    /// TCP connections that it keeps at most, for media and for TURN each.
    pub max_streams: usize,
    /// Its share of the TURN port: a socket on every bound address.
    pub turn_sockets: Vec<BatchSocket>,
    /// Its listeners on the TURN port: one on every bound address.
    pub turn_listeners: Vec<StreamListener>,
    /// What its TURN server needs to know.
    pub turn: turn::Settings,
    /// Relay sockets that it opens at most.
    pub max_relay_sockets: usize,
    /// Its ways to the other workers.
    pub crossing: Crossing,
    /// How clients reach the media port, best first.
    pub candidates: Arc<[Candidate]>,
    /// The process's DTLS certificate.
    pub identity: Arc<Identity>,
    /// Counters that it shares with the control plane.
    pub counters: Arc<Counters>,
}

/// What a worker counts for the outside; written by the worker once a turn at most, read by anybody.
#[derive(Debug, Default)]
pub struct Counters {
    /// How often its loop has gone round.
    pub turns: AtomicU64,
    /// Rooms that it holds.
    pub rooms: AtomicU64,
    /// Transports that it holds.
    pub transports: AtomicU64,
    /// Datagrams received.
    pub received: AtomicU64,
    /// Their bytes.
    pub received_bytes: AtomicU64,
    /// Datagrams sent.
    pub sent: AtomicU64,
    /// Their bytes.
    pub sent_bytes: AtomicU64,
    /// Media packets that were opened.
    pub rtp_received: AtomicU64,
    /// Their bytes, header included, opened.
    pub rtp_received_bytes: AtomicU64,
    /// Media packets that were sealed and queued, those sent again included.
    pub rtp_sent: AtomicU64,
    /// Their bytes, header included, before they were sealed.
    pub rtp_sent_bytes: AtomicU64,
    /// Transports that came up.
    pub connected: AtomicU64,
    /// Transports that ended without a command, in the order of [`FailureReason::ALL`].
    pub failed: [AtomicU64; FailureReason::ALL.len()],
    /// Handshake datagrams that wait for their turn.
    pub handshakes: AtomicU64,
    /// Microseconds that the loop was not asleep.
    pub busy_us: AtomicU64,
    /// For each datagram sent, how long before the loop had looked what there was to receive.
    pub latency: Spread,
    /// What the routers of its rooms count.
    pub sfu: Arc<sfu::Counts>,
    /// Datagrams that the kernel did not take.
    pub send_dropped: AtomicU64,
    /// GSO runs sent.
    pub gso_runs: AtomicU64,
    /// GSO runs that a device refused.
    pub gso_refused: AtomicU64,
    /// Datagrams dropped on arrival: unknown sender, not authentic, malformed.
    pub receive_dropped: AtomicU64,
    /// TCP connections for media that it holds.
    pub streams: AtomicU64,
    /// TCP and TLS connections of TURN clients that it holds.
    pub turn_streams: AtomicU64,
    /// TCP connections closed without having proved to be a browser's, or for want of room.
    pub streams_refused: AtomicU64,
    /// Media packets lost because a TCP connection had no room for them.
    pub stream_dropped: AtomicU64,
    /// Relay sockets that it holds.
    pub relay_sockets: AtomicU64,
    /// Datagrams to foreign peers of TURN clients that the kernel did not take.
    pub relay_dropped: AtomicU64,
    /// Relayed packets lost because another worker did not keep up.
    pub crossing_dropped: AtomicU64,
    /// Panics caught: bugs of ours.
    pub panics: AtomicU64,
}

/// A running worker.
pub struct Worker {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    wake: Wake,
    counters: Arc<Counters>,
}

/// Shows whether a worker's loop goes round; cheap to clone.
#[derive(Debug, Clone)]
pub struct Pulse {
    counters: Arc<Counters>,
    wake: Wake,
}

impl Pulse {
    /// How often it has gone round. An idle worker sleeps for long: [`Self::wake`] it, and look again.
    pub fn turns(&self) -> u64 {
        self.counters.turns.load(Ordering::Relaxed)
    }

    /// Makes it go round at least once.
    pub fn wake(&self) {
        self.wake.wake();
    }
}

impl Worker {
    /// Starts the thread and returns it with the door through which it is commanded.
    ///
    /// # Errors
    /// There are more sockets than a worker can wait for, or the process is out of threads or file descriptors.
    pub fn start(parts: Parts) -> io::Result<(Self, WorkerDoor)> {
        if parts.media.sockets.len() + parts.turn_sockets.len() > MAX_SOCKETS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("media and TURN together are bound on more than {MAX_SOCKETS} addresses"),
            ));
        }
        let (commands, mailbox) = mpsc::channel::<WorkerCommand>(COMMAND_QUEUE);
        let wake = parts.crossing.wake();
        let stop = Arc::new(AtomicBool::new(false));
        let load = Arc::new(AtomicU64::new(0));
        let counters = parts.counters.clone();
        let door = WorkerDoor {
            candidates: parts.candidates.clone(),
            commands,
            wake: {
                let wake = wake.clone();
                Arc::new(move || wake.wake())
            },
            load: load.clone(),
        };
        let name = format!("media-{}", parts.index);
        let worker_loop = run::Loop::new(
            clock::now(),
            parts,
            mailbox,
            wake.clone(),
            stop.clone(),
            load,
        )?;
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || worker_loop.run())?;
        Ok((
            Self {
                thread: Some(thread),
                stop,
                wake,
                counters,
            },
            door,
        ))
    }

    /// Shows whether it lives.
    pub fn pulse(&self) -> Pulse {
        Pulse {
            counters: self.counters.clone(),
            wake: self.wake.clone(),
        }
    }

    /// Ends the thread after it has told every peer (`close_notify`), and waits for it.
    pub fn stop(mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            // Its panics were caught and logged inside; there is nothing left to do about one here.
            let _ = thread.join();
        }
    }

    fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake.wake();
    }
}

/// A worker that nobody holds any more ends too, as when a start fails halfway.
impl Drop for Worker {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}
