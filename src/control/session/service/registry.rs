//! The sessions by id, and the parent of their tasks.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::actor::Actor;
use super::handle::Handle;
use crate::control::session::core::Session;
use crate::control::session::metrics::Tally;
use crate::control::session::rpc_session::{RpcKey, RpcSession};
use crate::media::plane::Plane;
use crate::views::metric::Family;

/// How long a new session of the same name waits for the old one to end (`openvidu-rest` section 5.1).
const CLOSING_WAIT: Duration = Duration::from_secs(15);

/// Every session of this process.
pub(in crate::control::session) struct Registry {
    plane: Plane,
    sessions: Mutex<Sessions>,
    occupancy: watch::Sender<Occupancy>,
    rpc_sessions: Mutex<HashMap<RpcKey, Participation>>,
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
    stop_reason: OnceLock<Arc<str>>,
    next_serial: AtomicU64,
    panics: AtomicU64,
    flooded: AtomicU64,
    tally: Tally,
}

#[derive(Default)]
struct Sessions {
    by_id: BTreeMap<Arc<str>, Entry>,
    /// While the process drains: when it ends at the latest.
    refused_until: Option<Instant>,
}

struct Entry {
    serial: u64,
    handle: Handle,
    is_occupied: bool,
}

/// How many sessions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Occupancy {
    /// All of them.
    pub sessions: usize,
    /// Those that somebody is in, hidden participants apart.
    pub occupied: usize,
}

/// Tells whenever the [`Occupancy`] changes.
pub type OccupancyWatch = watch::Receiver<Occupancy>;

/// Where an RPC session has joined.
struct Participation {
    rpc_session: Arc<RpcSession>,
    session: Arc<str>,
    serial: u64,
}

/// Keeps an RPC session findable while it lives.
pub(super) struct Findable {
    registry: Arc<Registry>,
    pub(super) key: RpcKey,
}

impl Drop for Findable {
    fn drop(&mut self) {
        lock(&self.registry.rpc_sessions).remove(&self.key);
    }
}

/// Why a session does not begin.
pub(in crate::control::session) enum NotStarted {
    /// Its id is in use by a session that is not about to end.
    Taken,
    /// The process drains, and ends at this moment at the latest.
    Draining(Instant),
}

impl Registry {
    pub(in crate::control::session) fn new(plane: Plane) -> Self {
        Self {
            plane,
            sessions: Mutex::default(),
            occupancy: watch::Sender::default(),
            rpc_sessions: Mutex::default(),
            tasks: Mutex::default(),
            stop: CancellationToken::new(),
            stop_reason: OnceLock::new(),
            next_serial: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            flooded: AtomicU64::new(0),
            tally: Tally::default(),
        }
    }

    /// Runs the session that `make` makes under `id`. If one of that id is just closing, waits for its end.
    pub(in crate::control::session) async fn start(
        self: &Arc<Self>,
        id: &str,
        make: impl FnOnce() -> Session,
    ) -> Result<(), NotStarted> {
        let deadline = tokio::time::sleep(CLOSING_WAIT);
        tokio::pin!(deadline);
        loop {
            let ended = {
                let mut sessions = lock(&self.sessions);
                let refused_until = sessions.refused_until;
                match sessions.by_id.get(id) {
                    None => {
                        // Only now: who asks for a session that exists shall go on with it.
                        if let Some(until) = refused_until {
                            return Err(NotStarted::Draining(until));
                        }
                        let entry = self.spawn(id, make());
                        sessions.by_id.insert(entry.handle.id.clone(), entry);
                        self.occupancy.send_modify(|it| it.sessions += 1);
                        return Ok(());
                    }
                    Some(entry) if entry.handle.is_closing() => entry.handle.ended.clone(),
                    Some(_) => return Err(NotStarted::Taken),
                }
            };
            tokio::select! {
                () = ended.cancelled() => {}
                () = &mut deadline => return Err(NotStarted::Taken),
            }
        }
    }

    fn spawn(self: &Arc<Self>, id: &str, core: Session) -> Entry {
        let (handle, messages) = Handle::new(id);
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        self.tally.sessions.come();
        let actor = Actor::new(handle.id.clone(), serial, core, self.clone());
        // Of the highest level, so that it stands beside whatever is logged.
        let span = tracing::error_span!("session", id = id);
        let mut tasks = lock(&self.tasks);
        // Those that have ended would otherwise be kept for a parent that never asks.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(
            actor
                .live(messages, handle.ended.clone().drop_guard())
                .instrument(span),
        );
        Entry {
            serial,
            handle,
            is_occupied: false,
        }
    }

    pub(in crate::control::session) fn find(&self, id: &str) -> Option<Handle> {
        let sessions = lock(&self.sessions);
        let entry = sessions.by_id.get(id);
        entry
            .map(|entry| &entry.handle)
            .filter(|handle| !handle.is_closing())
            .cloned()
    }

    /// The RPC session with this id, and the session that it has joined.
    pub(in crate::control::session) fn rpc_session(
        &self,
        id: &str,
    ) -> Option<(Handle, Arc<RpcSession>)> {
        let (name, serial, rpc_session) = {
            let rpc_sessions = lock(&self.rpc_sessions);
            let found = rpc_sessions.get(&RpcKey::of(id))?;
            (
                found.session.clone(),
                found.serial,
                found.rpc_session.clone(),
            )
        };
        let sessions = lock(&self.sessions);
        let entry = sessions
            .by_id
            .get(&name)
            .filter(|entry| entry.serial == serial);
        Some((entry?.handle.clone(), rpc_session)).filter(|(handle, _)| !handle.is_closing())
    }

    /// Every session, in order of creation.
    pub(in crate::control::session) fn all(&self) -> Vec<Handle> {
        let sessions = lock(&self.sessions);
        let mut entries: Vec<&Entry> = sessions.by_id.values().collect();
        entries.sort_by_key(|entry| entry.serial);
        entries
            .into_iter()
            .map(|entry| entry.handle.clone())
            .collect()
    }

    /// Forgets a session that has ended, but not a later one of the same id.
    pub(super) fn remove(&self, id: &str, serial: u64) {
        let mut sessions = lock(&self.sessions);
        if let Some(entry) = sessions.by_id.get(id)
            && entry.serial == serial
        {
            let occupied = usize::from(entry.is_occupied);
            sessions.by_id.remove(id);
            self.occupancy.send_modify(|it| {
                it.sessions -= 1;
                it.occupied -= occupied;
            });
        }
    }

    /// Takes note that somebody has come into a session that was empty, or that it is empty again.
    pub(super) fn set_occupied(&self, id: &str, serial: u64, is_occupied: bool) {
        let mut sessions = lock(&self.sessions);
        if let Some(entry) = sessions.by_id.get_mut(id)
            && entry.serial == serial
            && entry.is_occupied != is_occupied
        {
            entry.is_occupied = is_occupied;
            self.occupancy.send_modify(|it| {
                if is_occupied {
                    it.occupied += 1;
                } else {
                    it.occupied -= 1;
                }
            });
        }
    }

    /// Tells of every change of what there is.
    pub(in crate::control::session) fn occupancy(&self) -> OccupancyWatch {
        self.occupancy.subscribe()
    }

    /// Refuses to start sessions, since the process ends at this moment at the latest; or starts them again.
    pub(in crate::control::session) fn refuse_until(&self, until: Option<Instant>) {
        lock(&self.sessions).refused_until = until;
    }

    /// Whether sessions are refused.
    pub(in crate::control::session) fn is_refusing(&self) -> bool {
        lock(&self.sessions).refused_until.is_some()
    }

    /// Where rooms are opened.
    pub(super) const fn plane(&self) -> &Plane {
        &self.plane
    }

    /// Cancelled when every session is to close.
    pub(super) const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// An RPC session that has joined the session `serial` can be found until what is returned is dropped.
    pub(super) fn make_findable(
        self: &Arc<Self>,
        rpc_session: Arc<RpcSession>,
        session: Arc<str>,
        serial: u64,
    ) -> Findable {
        let key = rpc_session.key();
        let participation = Participation {
            rpc_session,
            session,
            serial,
        };
        lock(&self.rpc_sessions).insert(key, participation);
        let registry = self.clone();
        Findable { registry, key }
    }

    /// What there is and was.
    pub(super) const fn tally(&self) -> &Tally {
        &self.tally
    }

    pub(in crate::control::session) fn families(&self) -> Vec<Family> {
        self.tally.families(self.panics(), self.flooded())
    }

    /// A bug has ended a session.
    pub(super) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// More waited for a participant than is kept.
    pub(super) fn count_flooded(&self) {
        self.flooded.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::control::session) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub(in crate::control::session) fn flooded(&self) -> u64 {
        self.flooded.load(Ordering::Relaxed)
    }

    /// Closes every session with `reason` and waits for the end of their tasks.
    pub(in crate::control::session) async fn shutdown(&self, reason: &str) {
        self.stop_reason.get_or_init(|| reason.into());
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        while tasks.join_next().await.is_some() {}
    }

    /// Why, once [`Registry::stop`] is cancelled.
    pub(super) fn stop_reason(&self) -> Arc<str> {
        let reason = self.stop_reason.get();
        reason.cloned().unwrap_or_else(|| "".into())
    }

    #[cfg(test)]
    pub(in crate::control::session) fn running_tasks(&self) -> usize {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No caller panics while it holds the lock, and what a lock guards here is valid after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
