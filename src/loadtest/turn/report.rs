//! The result of a test: one table for people, one line of JSON for programs.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::Duration;

use serde::Serialize;

use super::clients::Driven;
use super::{Case, Error, Options, Pace};
use crate::loadtest::histogram::Histogram;
use crate::loadtest::process::{self, Usage};
use crate::loadtest::report::{Percentiles, ms, percent, ratio};

/// A generator that sends later than this more than once in a hundred times measures itself.
const MOST_LAG: Duration = Duration::from_millis(1);

/// A server that is given as much as it takes, and is idle for longer than the rest, waits for the generator.
const LEAST_BUSY_PERCENT: f64 = 85.0;

/// Where nobody receives, a server that did not read more than this has not done the work.
const MOST_DROPPED_PERCENT: f64 = 1.0;

/// What was asked of the operating system about a test.
#[derive(Debug, Clone, Default)]
pub(super) struct Charge {
    pid: Option<u32>,
    server_ports: BTreeSet<u16>,
    own_ports: BTreeSet<u16>,
    before: Option<Usage>,
    begin: Option<Moment>,
    end: Option<Moment>,
    rss_after_kib: Option<u64>,
}

#[derive(Debug, Clone)]
struct Moment {
    server: Option<Usage>,
    own: Usage,
    server_drops: u64,
    own_drops: u64,
}

impl Charge {
    /// Looks at the server before anything is asked of it.
    pub(super) fn begin(options: &Options) -> Result<Self, Error> {
        Ok(Self {
            pid: options.pid,
            before: usage_of(options.pid)?,
            server_ports: BTreeSet::from([options.server.port()]),
            ..Self::default()
        })
    }

    /// Whose full sockets are counted.
    pub(super) fn watch(&mut self, server_ports: BTreeSet<u16>, own_ports: BTreeSet<u16>) {
        self.server_ports.extend(server_ports);
        // Of a port number that both have, it cannot be said whose datagrams were lost.
        self.own_ports = own_ports.difference(&self.server_ports).copied().collect();
    }

    pub(super) fn begin_window(&mut self) -> Result<(), Error> {
        self.begin = Some(self.look()?);
        Ok(())
    }

    pub(super) fn end_window(&mut self) -> Result<(), Error> {
        self.end = Some(self.look()?);
        Ok(())
    }

    /// Looks at the server's memory, later than at the end of the window.
    pub(super) fn look_at_memory(&mut self) -> Result<(), Error> {
        self.rss_after_kib = usage_of(self.pid)?.map(|usage| usage.rss_kib);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Self {
        std::mem::take(self)
    }

    fn look(&self) -> Result<Moment, Error> {
        Ok(Moment {
            server: usage_of(self.pid)?,
            own: process::usage(None).map_err(Error::system("there is no /proc"))?,
            server_drops: self
                .pid
                .map_or(0, |pid| process::socket_drops_of(pid, &self.server_ports)),
            own_drops: process::socket_drops(&self.own_ports),
        })
    }

    /// Datagrams that the server's sockets could not hold.
    fn server_dropped(&self) -> u64 {
        self.between(|moment| moment.server_drops)
    }

    fn own_dropped(&self) -> u64 {
        self.between(|moment| moment.own_drops)
    }

    fn between(&self, count: impl Fn(&Moment) -> u64) -> u64 {
        match (&self.begin, &self.end) {
            (Some(begin), Some(end)) => count(end).saturating_sub(count(begin)),
            _ => 0,
        }
    }
}

fn usage_of(pid: Option<u32>) -> Result<Option<Usage>, Error> {
    pid.map(|pid| process::usage(Some(pid)))
        .transpose()
        .map_err(Error::system("the server's process cannot be looked at"))
}

/// What was observed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) duration: Duration,
    pub(super) interrupted: bool,
    /// Sent in the window.
    pub(super) sent: u64,
    /// Of these, those that arrived.
    pub(super) received: u64,
    pub(super) reordered: u64,
    pub(super) duplicates: u64,
    pub(super) damaged: u64,
    /// Arrived in the window, whenever they were sent.
    pub(super) arrived: u64,
    pub(super) arrived_bytes: u64,
    /// What the kernel did not take from us.
    pub(super) unsent: u64,
    /// Nothing is meant to come back.
    pub(super) nobody_receives: bool,
    pub(super) latency: Histogram,
    pub(super) lateness: Histogram,
    pub(super) set_up: Option<Driven>,
    pub(super) answered_at_unix_ms: Option<u64>,
    pub(super) charge: Charge,
}

/// A whole result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was asked for.
    pub load: Load,
    /// Seconds that were measured.
    pub seconds: f64,
    /// It was stopped before its time.
    pub interrupted: bool,
    /// Whether the figures mean anything.
    pub valid: bool,
    /// Why not.
    pub invalid_because: Vec<String>,
    /// What the server is charged with.
    pub counted: Counted,
    /// What became of datagrams, or of requests.
    pub datagrams: Option<Datagrams>,
    /// From our socket to our socket, in milliseconds.
    pub latency_ms: Percentiles,
    /// How allocations were made, if there are any.
    pub set_up: Option<SetUp>,
    /// When the first answer came, in milliseconds since 1970.
    pub answered_at_unix_ms: Option<u64>,
    /// What the server used, if its process is known.
    pub server: Option<Server>,
    /// What this program used, and how late it was.
    pub generator: Generator,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Load {
    /// What was done.
    pub case: Case,
    /// Allocations, or sockets.
    pub allocations: usize,
    /// Bytes of a payload.
    pub size: usize,
    /// Datagrams of a run.
    pub run: usize,
    /// Datagrams per second; `None`: as many as the server takes.
    pub per_second: Option<u32>,
    /// On their way at any time, if there is no rate.
    pub in_flight: Option<u32>,
    /// The kernel was allowed to merge what arrived.
    pub merged: bool,
}

/// What the server is charged with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Counted {
    /// Datagrams, answers, requests or allocations.
    pub what: &'static str,
    /// How many.
    pub count: u64,
    /// In one second.
    pub per_second: f64,
}

/// What became of what was sent in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Datagrams {
    /// Sent.
    pub sent: u64,
    /// Arrived, each counted once.
    pub received: u64,
    /// The rest.
    pub lost: u64,
    /// In percent.
    pub lost_percent: f64,
    /// Came behind later ones.
    pub reordered: u64,
    /// Came again.
    pub duplicates: u64,
    /// Came, but not as they were sent.
    pub damaged: u64,
    /// Payload that arrived, in megabits per second.
    pub mbps: f64,
}

/// How allocations were made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SetUp {
    /// How many.
    pub allocations: usize,
    /// How long it took.
    pub seconds: f64,
    /// In one second.
    pub per_second: f64,
    /// From the first request of each to its last answer, in milliseconds.
    pub each_ms: Percentiles,
}

/// What the server used in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Server {
    /// Processor seconds, all threads, system calls included.
    pub cpu_seconds: f64,
    /// Share of one processor, in percent.
    pub cpu_percent: f64,
    /// What is counted, for each of them.
    pub counted_per_cpu_second: f64,
    /// Microseconds of processor time for each of what is counted.
    pub cpu_us_each: f64,
    /// Resident memory before anything was asked.
    pub rss_before_kib: u64,
    /// And at the end.
    pub rss_after_kib: u64,
    /// The difference for each allocation, in bytes.
    pub rss_per_allocation: f64,
    /// Datagrams that its sockets could not hold.
    pub dropped: u64,
}

/// What this program used in the window, and how late it was.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Generator {
    /// Share of one processor, in percent. It looks at its sockets all the time unless it was told otherwise.
    pub cpu_percent: f64,
    /// How late datagrams left.
    pub lateness_ms: Percentiles,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
    /// Datagrams that its sockets could not hold.
    pub dropped: u64,
}

impl Report {
    pub(super) fn new(options: &Options, outcome: &Outcome) -> Self {
        let seconds = outcome.duration.as_secs_f64();
        let charge = &outcome.charge;
        let counted = counted(options, outcome);
        let server = server(options, outcome, counted.count);
        let own = match (&charge.begin, &charge.end) {
            (Some(begin), Some(end)) => end.own.cpu_since(&begin.own).as_secs_f64(),
            _ => 0.0,
        };
        let generator = Generator {
            cpu_percent: 100.0 * ratio(own, seconds),
            lateness_ms: (&outcome.lateness).into(),
            unsent: outcome.unsent,
            dropped: charge.own_dropped(),
        };
        let lost = outcome.sent.saturating_sub(outcome.received);
        // Of a flood it is told how many are answered.
        let is_silent = outcome.nobody_receives && options.case != Case::Flood;
        let invalid_because = flaws(options, outcome, server.as_ref(), &generator);
        Self {
            load: Load {
                case: options.case,
                allocations: options.allocations,
                size: options.size,
                run: options.run,
                per_second: match options.pace {
                    Pace::Saturated { .. } => None,
                    Pace::PerSecond(rate) => Some(rate),
                },
                in_flight: match options.pace {
                    Pace::Saturated { in_flight } => Some(in_flight),
                    Pace::PerSecond(_) => None,
                },
                merged: options.merge,
            },
            seconds,
            interrupted: outcome.interrupted,
            valid: invalid_because.is_empty(),
            invalid_because,
            counted,
            datagrams: (outcome.sent > 0 && !is_silent).then(|| Datagrams {
                sent: outcome.sent,
                received: outcome.received,
                lost,
                lost_percent: percent(lost, outcome.sent),
                reordered: outcome.reordered,
                duplicates: outcome.duplicates,
                damaged: outcome.damaged,
                mbps: ratio(outcome.arrived_bytes as f64 * 8e-6, seconds),
            }),
            latency_ms: (&outcome.latency).into(),
            set_up: outcome.set_up.as_ref().map(|driven| SetUp {
                allocations: options.allocations,
                seconds: driven.duration.as_secs_f64(),
                per_second: ratio(options.allocations as f64, driven.duration.as_secs_f64()),
                each_ms: (&driven.each).into(),
            }),
            answered_at_unix_ms: outcome.answered_at_unix_ms,
            server,
            generator,
        }
    }

    /// The result as one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn counted(options: &Options, outcome: &Outcome) -> Counted {
    let read = outcome.sent.saturating_sub(outcome.charge.server_dropped());
    let (what, count) = match options.case {
        Case::Up | Case::Down | Case::Pair | Case::Direct if outcome.nobody_receives => {
            ("datagrams", read)
        }
        Case::Up | Case::Down | Case::Pair | Case::Direct => ("datagrams", outcome.arrived),
        Case::Allocate | Case::Idle => ("allocations", options.allocations as u64),
        Case::Binding | Case::Answer => ("answers", outcome.arrived),
        Case::Flood => ("requests", read),
    };
    Counted {
        what,
        count,
        per_second: ratio(count as f64, outcome.duration.as_secs_f64()),
    }
}

fn server(options: &Options, outcome: &Outcome, counted: u64) -> Option<Server> {
    let charge = &outcome.charge;
    let before = charge.before.as_ref()?;
    let begin = charge.begin.as_ref()?.server.as_ref()?;
    let end = charge.end.as_ref()?.server.as_ref()?;
    let cpu_seconds = end.cpu_since(begin).as_secs_f64();
    let rss_after_kib = charge.rss_after_kib.unwrap_or(end.rss_kib);
    let grown = rss_after_kib.saturating_sub(before.rss_kib) as f64 * 1_024.0;
    let allocations = if outcome.set_up.is_some() {
        options.allocations
    } else {
        0
    };
    Some(Server {
        cpu_seconds,
        cpu_percent: 100.0 * ratio(cpu_seconds, outcome.duration.as_secs_f64()),
        counted_per_cpu_second: ratio(counted as f64, cpu_seconds),
        cpu_us_each: ratio(cpu_seconds * 1e6, counted as f64),
        rss_before_kib: before.rss_kib,
        rss_after_kib,
        rss_per_allocation: ratio(grown, allocations as f64),
        dropped: charge.server_dropped(),
    })
}

/// Why the figures are not the server's.
fn flaws(
    options: &Options,
    outcome: &Outcome,
    server: Option<&Server>,
    generator: &Generator,
) -> Vec<String> {
    let mut flaws = Vec::new();
    let lateness = outcome.lateness.p99();
    if lateness > MOST_LAG.max(4 * options.poll) {
        flaws.push(format!(
            "this program sent too late: by {:.1} ms at the 99th percentile",
            ms(lateness)
        ));
    }
    let own_loss = generator.dropped + generator.unsent;
    if own_loss > 0 {
        flaws.push(format!(
            "this program's own sockets could not hold {own_loss} datagrams"
        ));
    }
    let is_measured_by_what_it_takes = matches!(options.pace, Pace::Saturated { .. })
        && matches!(
            options.case,
            Case::Up | Case::Down | Case::Pair | Case::Binding | Case::Allocate
        );
    if let Some(server) = server
        && is_measured_by_what_it_takes
        && server.cpu_percent < LEAST_BUSY_PERCENT
    {
        flaws.push(format!(
            "the server was busy for {:.0} % of the time: this program, or the machine, was the bottleneck",
            server.cpu_percent
        ));
    }
    let expects_data = !outcome.nobody_receives
        && matches!(
            options.case,
            Case::Up | Case::Down | Case::Pair | Case::Direct | Case::Binding
        );
    if expects_data && outcome.received == 0 {
        flaws.push("nothing arrived".to_owned());
    }
    let unread = percent(outcome.charge.server_dropped(), outcome.sent);
    // What a flood does to the server is the result itself.
    let must_be_read = outcome.nobody_receives && options.case != Case::Flood;
    if must_be_read && unread > MOST_DROPPED_PERCENT {
        flaws.push(format!(
            "the server's sockets could not hold {unread:.1} % of what was sent"
        ));
    }
    flaws
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: Vec<(&str, String)> = Vec::new();
        let load = &self.load;
        let pace = match (load.per_second, load.in_flight) {
            (Some(rate), _) => format!("{rate} per second"),
            (None, Some(in_flight)) => format!("{in_flight} on their way"),
            (None, None) => String::new(),
        };
        rows.push((
            "case",
            format!(
                "{:?}: {} clients, {} bytes in runs of {}, {pace}",
                load.case, load.allocations, load.size, load.run
            ),
        ));
        let counted = &self.counted;
        rows.push((
            "counted",
            format!(
                "{} {} in {:.2} s, {:.0} per second",
                counted.count, counted.what, self.seconds, counted.per_second
            ),
        ));
        if let Some(datagrams) = &self.datagrams {
            rows.push((
                "lost",
                format!(
                    "{:.3} % ({} of {}); {} out of order, {} twice, {} damaged",
                    datagrams.lost_percent,
                    datagrams.lost,
                    datagrams.sent,
                    datagrams.reordered,
                    datagrams.duplicates,
                    datagrams.damaged
                ),
            ));
        }
        if self.latency_ms.count > 0 {
            rows.push(("latency", self.latency_ms.to_string()));
        }
        if let Some(set_up) = &self.set_up {
            rows.push((
                "allocations",
                format!(
                    "{} in {:.2} s, {:.0} per second; each {}",
                    set_up.allocations, set_up.seconds, set_up.per_second, set_up.each_ms
                ),
            ));
        }
        if let Some(server) = &self.server {
            rows.push((
                "server",
                format!(
                    "{:.3} CPU-s ({:.1} % of a core), {:.0} {} per CPU-s, {:.3} us each, {} datagrams dropped",
                    server.cpu_seconds,
                    server.cpu_percent,
                    server.counted_per_cpu_second,
                    counted.what,
                    server.cpu_us_each,
                    server.dropped
                ),
            ));
            rows.push((
                "server memory",
                format!(
                    "{} KiB before, {} KiB after, {:.0} bytes per allocation",
                    server.rss_before_kib, server.rss_after_kib, server.rss_per_allocation
                ),
            ));
        }
        let generator = &self.generator;
        rows.push((
            "this program",
            format!(
                "{:.1} % of a core; sent late by {}",
                generator.cpu_percent, generator.lateness_ms
            ),
        ));
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for (name, value) in rows {
            writeln!(out, "{name:<width$}  {value}")?;
        }
        if self.interrupted {
            writeln!(out, "\nStopped before its time.")?;
        }
        for why in &self.invalid_because {
            writeln!(out, "\nNOT VALID: {why}.")?;
        }
        f.write_str(&out)
    }
}
