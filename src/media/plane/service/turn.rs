//! Control of the TURN servers: what is changed while they run, and what is asked of them.
//!
//! Every worker has a server of its own. Whatever is told here is told to each of them; what is asked is put together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{Stopped, WorkerCommand, WorkerDoor};
use crate::media::turn::{AllocationId, Credentials, Limits, PeerPolicy};
use crate::views::turn::{Allocation, TurnCounters};

/// Allocations that a worker lists at once: media must not wait for a long list.
pub const PAGE: usize = 64;

/// A command to the TURN server of one worker.
#[derive(Debug)]
pub enum TurnCommand {
    /// Accept other secrets and users; allocations that live stay.
    SetCredentials(Box<Credentials>),
    /// Other limits; what exceeds them stays, and nothing is added to it.
    SetLimits(Limits),
    /// Another policy; permissions and channels that it denies end.
    SetPolicy(PeerPolicy),
    /// Refuse new allocations with 508, or take them again.
    SetDraining(bool),
    /// Refuse a user name from now on, and end its allocations.
    Revoke(Arc<str>),
    /// End one allocation; says whether it lived.
    End(AllocationId, oneshot::Sender<bool>),
    /// List at most [`PAGE`] allocations, those that come after one of them.
    List(
        Option<AllocationId>,
        oneshot::Sender<Vec<(AllocationId, Allocation)>>,
    ),
    /// Tell the counters.
    Count(oneshot::Sender<TurnCounters>),
}

/// All TURN servers of the process; cheap to clone.
///
/// A call that tells something returns when every worker has it in its mailbox: it counts before whatever a client
/// sends afterwards. A future that is dropped before it is done may have reached some workers and not others.
#[derive(Clone)]
pub struct TurnHandle {
    workers: Arc<[WorkerDoor]>,
}

impl TurnHandle {
    pub(in crate::media::plane) const fn new(workers: Arc<[WorkerDoor]>) -> Self {
        Self { workers }
    }

    /// Takes other secrets and users; what has been revoked stays revoked, and allocations that live stay.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn set_credentials(&self, credentials: Credentials) -> Result<(), Stopped> {
        self.tell(|| TurnCommand::SetCredentials(Box::new(credentials.clone())))
            .await
    }

    /// Takes other limits, as they are for one worker.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn set_limits(&self, limits: Limits) -> Result<(), Stopped> {
        self.tell(|| TurnCommand::SetLimits(limits)).await
    }

    /// Takes another policy; permissions and channels that it denies end.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn set_policy(&self, policy: PeerPolicy) -> Result<(), Stopped> {
        self.tell(|| TurnCommand::SetPolicy(policy.clone())).await
    }

    /// Refuses new allocations, or takes them again; those that live are not touched.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn set_draining(&self, is_draining: bool) -> Result<(), Stopped> {
        self.tell(|| TurnCommand::SetDraining(is_draining)).await
    }

    /// Refuses a user name from now on, and ends its allocations.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn revoke(&self, username: &str) -> Result<(), Stopped> {
        let username: Arc<str> = username.into();
        self.tell(|| TurnCommand::Revoke(username.clone())).await
    }

    /// Ends the allocation with this `id` ([`Allocation::id`]); returns whether it lived.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn kick(&self, id: &str) -> Result<bool, Stopped> {
        let named = id.split_once('.').and_then(|(worker, allocation)| {
            let worker = self.workers.get(worker.parse::<usize>().ok()?)?;
            Some((worker, allocation.parse().ok()?))
        });
        let Some((worker, allocation)) = named else {
            return Ok(false);
        };
        ask(worker, |ended| TurnCommand::End(allocation, ended)).await
    }

    /// The allocations that live. What begins or ends meanwhile may be missing or still there.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn allocations(&self) -> Result<Vec<Allocation>, Stopped> {
        let mut all = Vec::new();
        for (index, worker) in self.workers.iter().enumerate() {
            let mut after = None;
            loop {
                let page = ask(worker, |page| TurnCommand::List(after, page)).await?;
                let is_last = page.len() < PAGE;
                after = page.last().map(|(id, _)| *id);
                all.extend(page.into_iter().map(|(_, allocation)| Allocation {
                    id: format!("{index}.{}", allocation.id),
                    ..allocation
                }));
                if is_last {
                    break;
                }
            }
        }
        Ok(all)
    }

    /// What all servers have done since they began.
    ///
    /// # Errors
    /// The workers have stopped.
    pub async fn counters(&self) -> Result<TurnCounters, Stopped> {
        let mut each = Vec::with_capacity(self.workers.len());
        for worker in self.workers.iter() {
            each.push(ask(worker, TurnCommand::Count).await?);
        }
        Ok(sum(each))
    }

    /// What each worker's server has done; `None` for a worker that does not answer within `patience`: it is stuck, or
    /// has stopped.
    pub async fn counters_by_worker(&self, patience: Duration) -> Vec<Option<TurnCounters>> {
        let asked = self.workers.iter().map(|worker| async move {
            let answered = ask(worker, TurnCommand::Count);
            tokio::time::timeout(patience, answered).await.ok()?.ok()
        });
        join_all(asked).await
    }

    /// How many commands wait in each worker's mailbox.
    pub fn commands_waiting(&self) -> Vec<usize> {
        let mailboxes = self.workers.iter().map(|worker| &worker.commands);
        mailboxes
            .map(|mailbox| mailbox.max_capacity() - mailbox.capacity())
            .collect()
    }

    async fn tell(&self, command: impl Fn() -> TurnCommand) -> Result<(), Stopped> {
        for worker in self.workers.iter() {
            worker.deliver(WorkerCommand::Turn(command())).await?;
        }
        Ok(())
    }
}

async fn ask<T>(
    worker: &WorkerDoor,
    command: impl FnOnce(oneshot::Sender<T>) -> TurnCommand,
) -> Result<T, Stopped> {
    let (answer, answered) = oneshot::channel();
    worker.deliver(WorkerCommand::Turn(command(answer))).await?;
    answered.await.map_err(|_| Stopped)
}

/// What several servers have done together.
pub fn sum(each: impl IntoIterator<Item = TurnCounters>) -> TurnCounters {
    let mut sum = TurnCounters::default();
    for one in each {
        add(&mut sum, one);
    }
    sum
}

/// Names every field, so that none is forgotten.
const fn add(sum: &mut TurnCounters, one: TurnCounters) {
    let TurnCounters {
        bindings,
        challenges,
        refused,
        over_budget,
        ignored,
        allocations,
        live_udp,
        live_tcp,
        live_tls,
        over_quota,
        out_of_ports,
        ports_in_use,
        denied_peers,
        packets_to_peers,
        bytes_to_peers,
        packets_inside,
        packets_to_clients,
        bytes_to_clients,
        dropped_unpermitted,
        dropped_own_port,
        dropped_over_rate,
    } = one;
    sum.bindings += bindings;
    sum.challenges += challenges;
    sum.refused += refused;
    sum.over_budget += over_budget;
    sum.ignored += ignored;
    sum.allocations += allocations;
    sum.live_udp += live_udp;
    sum.live_tcp += live_tcp;
    sum.live_tls += live_tls;
    sum.over_quota += over_quota;
    sum.out_of_ports += out_of_ports;
    sum.ports_in_use += ports_in_use;
    sum.denied_peers += denied_peers;
    sum.packets_to_peers += packets_to_peers;
    sum.bytes_to_peers += bytes_to_peers;
    sum.packets_inside += packets_inside;
    sum.packets_to_clients += packets_to_clients;
    sum.bytes_to_clients += bytes_to_clients;
    sum.dropped_unpermitted += dropped_unpermitted;
    sum.dropped_own_port += dropped_own_port;
    sum.dropped_over_rate += dropped_over_rate;
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    /// A handle to workers that answer what `answer` makes of a command.
    fn handle(
        workers: usize,
        answer: impl Fn(usize, TurnCommand) + Clone + Send + 'static,
    ) -> TurnHandle {
        let doors = (0..workers).map(|index| {
            let (commands, mut mailbox) = mpsc::channel(2);
            let answer = answer.clone();
            std::thread::spawn(move || {
                while let Some(WorkerCommand::Turn(command)) = mailbox.blocking_recv() {
                    answer(index, command);
                }
            });
            WorkerDoor {
                candidates: Arc::new([]),
                commands,
                wake: Arc::new(|| {}),
                load: Arc::default(),
            }
        });
        TurnHandle::new(doors.collect())
    }

    fn allocation(id: AllocationId) -> (AllocationId, Allocation) {
        let addr = "198.51.100.1:1".parse().unwrap();
        let shown = Allocation {
            id: id.to_string(),
            username: "u".to_owned(),
            protocol: "udp".into(),
            client: addr,
            server: addr,
            relayed: Vec::new(),
            age_secs: 0,
            expires_in_secs: 0,
            permissions: 0,
            channels: 0,
            packets_to_peers: 0,
            bytes_to_peers: 0,
            packets_to_client: 0,
            bytes_to_client: 0,
        };
        (id, shown)
    }

    #[tokio::test]
    async fn a_long_list_comes_in_parts_and_names_the_worker() {
        let turn = handle(2, |index, command| {
            let TurnCommand::List(after, page) = command else {
                panic!("{command:?}");
            };
            let all = (0..if index == 0 { 2 * PAGE } else { 3 })
                .map(|slot| format!("{slot}.7").parse::<AllocationId>().unwrap());
            let rest = all.filter(|id| after.is_none_or(|after| after < *id));
            page.send(rest.take(PAGE).map(allocation).collect())
                .unwrap();
        });
        let ids: Vec<String> = turn
            .allocations()
            .await
            .unwrap()
            .into_iter()
            .map(|allocation| allocation.id)
            .collect();
        let expected = (0..2 * PAGE)
            .map(|slot| format!("0.{slot}.7"))
            .chain((0..3).map(|slot| format!("1.{slot}.7")));
        assert_eq!(ids, expected.collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn counters_are_summed_over_the_workers() {
        let turn = handle(3, |index, command| {
            let TurnCommand::Count(counters) = command else {
                panic!("{command:?}");
            };
            let sent = counters.send(TurnCounters {
                bindings: 1,
                dropped_over_rate: index as u64,
                ..TurnCounters::default()
            });
            sent.unwrap();
        });
        let expected = TurnCounters {
            bindings: 3,
            dropped_over_rate: 3,
            ..TurnCounters::default()
        };
        assert_eq!(turn.counters().await, Ok(expected));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_stuck_or_has_stopped_is_told_from_those_that_answer() {
        let door = |commands| WorkerDoor {
            candidates: Arc::new([]),
            commands,
            wake: Arc::new(|| {}),
            load: Arc::default(),
        };
        let (answering, mut mailbox) = mpsc::channel(2);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            while let Some(WorkerCommand::Turn(TurnCommand::Count(answer))) = mailbox.recv().await {
                answer.send(TurnCounters::default()).unwrap();
            }
        });
        let (stuck, _unread) = mpsc::channel(2);
        let (stopped, _) = mpsc::channel(2);
        let workers = [answering, stuck, stopped].map(door);
        let turn = TurnHandle::new(Arc::new(workers));
        let patience = Duration::from_secs(1);
        for waiting in 1..=2 {
            let answers = turn.counters_by_worker(patience).await;
            assert_eq!(answers, [Some(TurnCounters::default()), None, None]);
            assert_eq!(turn.commands_waiting(), [0, waiting, 0]);
        }
        // Nor is anybody held up by a mailbox that is full.
        assert_eq!(turn.counters_by_worker(patience).await[1], None);
    }

    #[tokio::test]
    async fn a_name_that_is_none_ends_nothing_and_a_stopped_worker_is_an_error() {
        let turn = handle(1, |_, command| {
            let TurnCommand::End(id, ended) = command else {
                panic!("{command:?}");
            };
            ended.send(id.to_string() == "5.0").unwrap();
        });
        for name in ["", "0", "0.", "0.5", "1.5.0", "x.5.0", "0.6.0", "0.5.0.1"] {
            assert_eq!(turn.kick(name).await, Ok(false), "{name}");
        }
        assert_eq!(turn.kick("0.5.0").await, Ok(true));
        let stopped = TurnHandle::new(Arc::new([WorkerDoor {
            candidates: Arc::new([]),
            commands: mpsc::channel(1).0,
            wake: Arc::new(|| {}),
            load: Arc::default(),
        }]));
        assert_eq!(stopped.revoke("u").await, Err(Stopped));
        assert_eq!(stopped.allocations().await, Err(Stopped));
    }
}
