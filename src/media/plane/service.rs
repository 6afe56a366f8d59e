//! The handle that the control plane holds: opens rooms on workers and carries commands to them.

pub mod turn;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::ServerConnection;
use tokio::sync::mpsc;
use tracing::Span;

use super::{Command, Event, RoomId, TransportId, TurnCommand, TurnHandle};
use crate::media::sdp::{Candidate, Fingerprint};

/// Events of one room that may wait for its session; when it is full, the worker keeps
/// them and offers them again.
pub const EVENT_QUEUE: usize = 256;

/// How to reach one worker. The worker supplies it at start.
#[derive(Clone)]
pub struct WorkerDoor {
    /// Where its UDP port is, best first, as written into every description of its rooms.
    pub candidates: Arc<[Candidate]>,
    /// Commands for it; when full, senders wait.
    pub commands: mpsc::Sender<WorkerCommand>,
    /// Wakes its loop after a command was queued.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Its load as it last reported it: rooms and transports that it owns.
    pub load: Arc<AtomicU64>,
}

/// One command for a worker: to a room of its, or to its TURN server.
#[derive(Debug)]
pub enum WorkerCommand {
    /// A room begins; its events go here.
    Open {
        /// The room.
        room: RoomId,
        /// Its session's mailbox.
        events: mpsc::Sender<Event>,
        /// What tells its session in the log.
        span: Span,
    },
    /// A command to a room.
    Room {
        /// The room.
        room: RoomId,
        /// The command.
        command: Command,
    },
    /// A command to the worker's TURN server, which belongs to no room.
    Turn(TurnCommand),
    /// A TURN client's connection, whose handshake was done elsewhere.
    Adopt(TlsStream),
    /// Makes the worker stand still, for tests of the watchdog, until the other end is dropped.
    #[cfg(any(test, feature = "testing"))]
    Stand(std::sync::mpsc::Receiver<()>),
}

impl WorkerDoor {
    /// Hands over a command; waits while the mailbox is full. Commands keep their order.
    pub(super) async fn deliver(&self, command: WorkerCommand) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)?;
        (self.wake)();
        Ok(())
    }
}

/// A TCP connection with TLS whose handshake is done.
#[derive(Debug)]
pub struct TlsStream {
    /// The connected socket.
    pub socket: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// The TLS layer; it may hold what the client has sent already.
    pub session: Box<ServerConnection>,
}

/// Why a worker does not get a connection, which is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdopted {
    /// Its mailbox is full.
    #[error("the worker has too many commands waiting")]
    Busy,
    /// It has ended.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// The workers have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the media plane has stopped")]
pub struct Stopped;

/// The media plane; cheap to clone.
#[derive(Clone)]
pub struct Plane {
    workers: Arc<[WorkerDoor]>,
    fingerprint: Arc<Fingerprint>,
    next_id: Arc<AtomicU64>,
}

impl Plane {
    /// A plane of these workers, which all use the DTLS certificate with this fingerprint.
    ///
    /// # Panics
    /// If there is no worker.
    pub fn new(workers: Vec<WorkerDoor>, fingerprint: Fingerprint) -> Self {
        assert!(!workers.is_empty(), "a media plane has at least one worker");
        Self {
            workers: workers.into(),
            fingerprint: Arc::new(fingerprint),
            next_id: Arc::new(AtomicU64::new(1)),
        }
    }

    /// The TURN servers of all workers.
    pub fn turn(&self) -> TurnHandle {
        TurnHandle::new(self.workers.clone())
    }

    /// Opens a room on the worker with the least load. What is logged of it there stands in the caller's span.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn open_room(&self) -> Result<(Room, mpsc::Receiver<Event>), Stopped> {
        let worker = self.least_loaded().clone();
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let id = RoomId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let room = Room {
            id,
            worker,
            fingerprint: self.fingerprint.clone(),
            next_id: self.next_id.clone(),
        };
        let open = WorkerCommand::Open {
            room: id,
            events,
            span: Span::current(),
        };
        room.worker.deliver(open).await?;
        Ok((room, receiver))
    }

    /// Hands a TURN client's connection to the worker with the least load. Never waits: who finds no room is closed,
    /// and comes again.
    ///
    /// # Errors
    /// The worker has no room for it, or the workers have stopped.
    pub fn adopt(&self, stream: TlsStream) -> Result<(), NotAdopted> {
        let worker = self.least_loaded();
        worker
            .commands
            .try_send(WorkerCommand::Adopt(stream))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NotAdopted::Busy,
                mpsc::error::TrySendError::Closed(_) => Stopped.into(),
            })?;
        (worker.wake)();
        Ok(())
    }

    /// Makes a worker stand still until what is returned is dropped.
    ///
    /// # Errors
    /// The workers have stopped.
    #[cfg(any(test, feature = "testing"))]
    pub async fn make_stand(&self, worker: usize) -> Result<std::sync::mpsc::Sender<()>, Stopped> {
        let (until, dropped) = std::sync::mpsc::channel();
        let door = self.workers.get(worker).ok_or(Stopped)?;
        door.deliver(WorkerCommand::Stand(dropped)).await?;
        Ok(until)
    }

    fn least_loaded(&self) -> &WorkerDoor {
        let worker = self
            .workers
            .iter()
            .min_by_key(|worker| worker.load.load(Ordering::Relaxed))
            .expect("a media plane has at least one worker");
        // Until the worker reports again, so that what begins at once does not all choose the same one.
        worker.load.fetch_add(1, Ordering::Relaxed);
        worker
    }
}

/// One session's room on its worker.
#[derive(Clone)]
pub struct Room {
    id: RoomId,
    worker: WorkerDoor,
    fingerprint: Arc<Fingerprint>,
    next_id: Arc<AtomicU64>,
}

impl Room {
    /// The addresses of the room's worker, best first.
    pub fn candidates(&self) -> Arc<[Candidate]> {
        self.worker.candidates.clone()
    }

    /// The fingerprint of our DTLS certificate.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// A new transport identity.
    pub fn new_transport_id(&self) -> TransportId {
        TransportId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands `command` to the worker; waits while its mailbox is full. Commands keep their order.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn send(&self, command: Command) -> Result<(), Stopped> {
        let room = self.id;
        self.worker
            .deliver(WorkerCommand::Room { room, command })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> (WorkerDoor, mpsc::Receiver<WorkerCommand>) {
        let (commands, mailbox) = mpsc::channel(8);
        let door = WorkerDoor {
            candidates: Arc::new([]),
            commands,
            wake: Arc::new(|| {}),
            load: Arc::default(),
        };
        (door, mailbox)
    }

    fn plane(doors: &[WorkerDoor]) -> Plane {
        let fingerprint = Fingerprint {
            hash: "sha-256".to_owned(),
            digest: vec![0; 32],
        };
        Plane::new(doors.to_vec(), fingerprint)
    }

    #[tokio::test]
    async fn rooms_that_open_at_once_are_spread_over_the_workers() {
        let (doors, mut mailboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| door()).unzip();
        let plane = plane(&doors);
        for _ in 0..6 {
            plane.open_room().await.unwrap();
        }
        for mailbox in &mut mailboxes {
            assert_eq!(mailbox.len(), 3);
        }
        doors[0].load.store(100, Ordering::Relaxed);
        plane.open_room().await.unwrap();
        assert_eq!((mailboxes[0].len(), mailboxes[1].len()), (3, 4));
    }

    #[tokio::test]
    async fn a_worker_that_has_stopped_is_an_error_and_no_hang() {
        let (door, mailbox) = door();
        let plane = plane(&[door]);
        let (room, _events) = plane.open_room().await.unwrap();
        drop(mailbox);
        assert_eq!(room.send(Command::CloseRoom).await, Err(Stopped));
        assert!(plane.open_room().await.is_err());
    }
}
