//! The task that drains, and how it is told to.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Drain, DrainError, Effect, Ending};
use crate::control::session::{Directory, OccupancyWatch};
use crate::units::{Live, clock};
use crate::views::control as view;

/// Orders that may wait; who gives another one waits.
const ORDERS: usize = 8;

/// How a drain is begun, cancelled and seen; cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct DrainHandle {
    orders: mpsc::Sender<Order>,
    shown: Live<view::Drain>,
    occupancy: OccupancyWatch,
    over: CancellationToken,
}

#[derive(Debug)]
struct Order {
    what: What,
    outcome: oneshot::Sender<Result<(), DrainError>>,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Begin(Duration),
    Cancel,
}

impl DrainHandle {
    /// Nothing drains. The task drains the sessions of `directory` when it is told to.
    pub(in crate::daemon) fn new(directory: Directory) -> (Self, Task) {
        let (orders, waiting) = mpsc::channel(ORDERS);
        let handle = Self {
            orders,
            shown: Live::new(view::Drain::Running),
            occupancy: directory.occupancy(),
            over: CancellationToken::new(),
        };
        let task = Task {
            core: Drain::default(),
            waiting,
            occupancy: directory.occupancy(),
            directory,
            shown: handle.shown.clone(),
            over: handle.over.clone(),
        };
        (handle, task)
    }

    /// Begins a drain, or gives the one that goes on another deadline.
    pub(in crate::daemon) async fn begin(
        &self,
        deadline: Duration,
    ) -> Result<view::Draining, DrainError> {
        self.order(What::Begin(deadline)).await
    }

    /// Goes back to what was.
    pub(in crate::daemon) async fn cancel(&self) -> Result<view::Draining, DrainError> {
        self.order(What::Cancel).await
    }

    async fn order(&self, what: What) -> Result<view::Draining, DrainError> {
        let (outcome, answered) = oneshot::channel();
        let order = Order { what, outcome };
        // The task ends with the daemon.
        let sent = self.orders.send(order).await;
        sent.map_err(|_| DrainError::Over)?;
        answered.await.map_err(|_| DrainError::Over)??;
        Ok(self.progress())
    }

    /// How far it is.
    pub(in crate::daemon) fn progress(&self) -> view::Draining {
        let occupancy = *self.occupancy.borrow();
        view::Draining {
            drain: *self.shown.get(),
            sessions: occupancy.sessions,
            occupied: occupancy.occupied,
        }
    }

    /// Whether new sessions are taken, for whoever wants to read it at any time.
    pub(in crate::daemon) const fn shown(&self) -> &Live<view::Drain> {
        &self.shown
    }

    /// Waits until the process should end.
    pub(in crate::daemon) async fn over(&self) {
        self.over.cancelled().await;
    }
}

/// What a [`DrainHandle`] talks to.
pub(in crate::daemon) struct Task {
    core: Drain,
    waiting: mpsc::Receiver<Order>,
    occupancy: OccupancyWatch,
    directory: Directory,
    shown: Live<view::Drain>,
    over: CancellationToken,
}

impl Task {
    /// Works until it is dropped, which it may be at any time.
    pub(in crate::daemon) async fn run(mut self) {
        loop {
            let due = self.core.poll_timeout();
            let mut answer = None;
            tokio::select! {
                order = self.waiting.recv() => {
                    let Some(Order { what, outcome }) = order else { return };
                    let done = match what {
                        What::Begin(deadline) => self.core.begin(clock::now(), deadline),
                        What::Cancel => self.core.cancel(),
                    };
                    answer = Some((outcome, done));
                }
                changed = self.occupancy.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = sleep_until(due) => self.core.handle_timeout(clock::now()),
            }
            self.carry_out();
            // Counted only now that no session can begin unseen.
            let occupancy = *self.occupancy.borrow_and_update();
            self.core.handle_occupancy(clock::now(), occupancy);
            self.carry_out();
            if let Some((outcome, done)) = answer {
                // Who asked may be gone.
                let _ = outcome.send(done);
            }
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Refuse { until } => {
                    self.directory.refuse_until(Some(until));
                    let left = until.saturating_duration_since(clock::now()).as_secs();
                    let until = clock::wall_ms() / 1000 + left;
                    self.shown.set(view::Drain::Draining { until });
                    tracing::info!(
                        "draining: new sessions are refused, those that exist have {left} s"
                    );
                }
                Effect::Admit => {
                    self.directory.refuse_until(None);
                    self.shown.set(view::Drain::Running);
                    tracing::info!("the drain is cancelled: new sessions are taken again");
                }
                Effect::Finish(ending) => {
                    self.shown.set(view::Drain::Drained);
                    match ending {
                        Ending::Empty => tracing::info!("drained: nobody is left"),
                        Ending::Deadline { occupied } => tracing::warn!(
                            "the drain's deadline has passed with {occupied} sessions going on"
                        ),
                    }
                    self.over.cancel();
                }
            }
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
