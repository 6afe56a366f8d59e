//! A bad line between two network namespaces, for tests on machines whose kernel has no `netem`.
//!
//! ```text
//! shuttle [--seed N] NAMESPACE:DEVICE NAMESPACE:DEVICE [COMMAND …]
//! ```
//!
//! It makes a TUN device in each namespace and carries packets between the two: with delay, jitter, loss, reordering,
//! duplicates, a rate with a bounded queue, and blackouts, separately for each direction. The seed (printed at the
//! start, 1 unless given) repeats the decisions of a run. Commands come as arguments and, at run time, as lines on
//! standard input; each line is answered by one line. It ends when standard input does.
//!
//! By hand, as root:
//!
//! ```text
//! ip netns add left; ip netns add right
//! cargo run --manifest-path tests/shuttle/Cargo.toml -- left:wire0 right:wire0 "delay 20 loss 5%"
//! # in another terminal:
//! ip -n left  addr add 10.0.0.1 peer 10.0.0.2 dev wire0;  ip -n left  link set wire0 up
//! ip -n right addr add 10.0.0.2 peer 10.0.0.1 dev wire0;  ip -n right link set wire0 up
//! # and then, in the first one: stats, loss 10, down rate 300kbit queue 30kB, blackout 20s, clear
//! ```
//!
//! Settings: `delay`, `jitter` (time), `loss`, `reorder`, `duplicate` (percent), `burst` (packets lost in a row on
//! average), `rate` (`300kbit`, `2mbit`, `none`), `queue` (`30kB`), `blackout` (time), `clear`. After `up` they are for
//! the way from the first end to the second, after `down` for the way back, else for both.

mod command;
mod line;
mod random;
mod tun;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use command::{Command, Scope, Step};
use line::{Conditions, Line};

/// Above every MTU.
const LARGEST_PACKET: usize = 65_536;
/// Packets read from one end before the other end and the timers get their turn.
const READS_PER_TURN: usize = 64;
/// Of a command.
const LONGEST_LINE: usize = 4096;

fn main() -> ExitCode {
    match Shuttle::start(std::env::args().skip(1)).and_then(|mut shuttle| shuttle.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shuttle: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Two ends, and a line in each direction.
struct Shuttle {
    ends: [File; 2],
    /// From the first end to the second, and back.
    lines: [Line; 2],
    input: Vec<u8>,
    /// Packets that an end did not take, for example because it is down.
    refused: u64,
}

impl Shuttle {
    fn start(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut seed: u64 = 1;
        let mut ends = Vec::new();
        let mut commands = Vec::new();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            if argument == "--seed" {
                let value = arguments.next().unwrap_or_default();
                seed = value.parse().map_err(|_| format!("{value:?} is no seed"))?;
            } else if ends.len() < 2 {
                let (namespace, device) = argument.split_once(':').ok_or(
                    "usage: shuttle [--seed N] NAMESPACE:DEVICE NAMESPACE:DEVICE [COMMAND …]",
                )?;
                ends.push(
                    tun::open(namespace, device).map_err(|error| format!("{argument}: {error}"))?,
                );
            } else {
                commands.push(argument);
            }
        }
        let ends = <[File; 2]>::try_from(ends).map_err(|_| "a line has two ends".to_owned())?;
        // Different numbers for each direction.
        let lines = [seed, !seed].map(|seed| Line::new(Conditions::default(), seed));
        let mut shuttle = Self {
            ends,
            lines,
            input: Vec::new(),
            refused: 0,
        };
        for command in commands {
            shuttle.obey(now(), &command)?;
        }
        say(&format!("ready, seed {seed}"))?;
        Ok(shuttle)
    }

    fn run(&mut self) -> Result<(), String> {
        let stdin = io::stdin();
        let mut buffer = vec![0; LARGEST_PACKET];
        loop {
            let [up, down, told] = {
                let [first, second] = &self.ends;
                let mut waited = [
                    PollFd::new(first, PollFlags::IN),
                    PollFd::new(second, PollFlags::IN),
                    PollFd::new(&stdin, PollFlags::IN),
                ];
                match poll(&mut waited, self.patience().as_ref()) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(format!("poll: {error}")),
                }
                waited.map(|fd| !fd.revents().is_empty())
            };
            for (from, readable) in [up, down].into_iter().enumerate() {
                if readable {
                    self.receive(from, &mut buffer)?;
                }
            }
            for from in 0..2 {
                self.deliver(from);
            }
            if told && !self.listen(&stdin, &mut buffer)? {
                return Ok(());
            }
        }
    }

    /// How long nothing is due.
    fn patience(&self) -> Option<Timespec> {
        let next = self.lines.iter().filter_map(Line::poll_timeout).min()?;
        let left = next.saturating_duration_since(now());
        Some(Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        })
    }

    fn receive(&mut self, from: usize, buffer: &mut [u8]) -> Result<(), String> {
        for _ in 0..READS_PER_TURN {
            match rustix::io::read(&self.ends[from], &mut *buffer) {
                Ok(len) => self.lines[from].handle_input(now(), &buffer[..len]),
                Err(Errno::AGAIN | Errno::INTR | Errno::IO) => break,
                Err(error) => return Err(format!("reading packets: {error}")),
            }
        }
        Ok(())
    }

    fn deliver(&mut self, from: usize) {
        let now = now();
        while let Some(packet) = self.lines[from].poll_output(now) {
            if rustix::io::write(&self.ends[1 - from], &packet).is_err() {
                self.refused += 1;
            }
        }
    }

    /// Reads and obeys commands. Returns whether there may be more.
    fn listen(&mut self, stdin: &io::Stdin, buffer: &mut [u8]) -> Result<bool, String> {
        let len = rustix::io::read(stdin, &mut *buffer)
            .map_err(|error| format!("reading commands: {error}"))?;
        self.input.extend_from_slice(&buffer[..len]);
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let answer = match self.obey(now(), &String::from_utf8_lossy(&line)) {
                Ok(answer) => answer,
                Err(error) => format!("error: {error}"),
            };
            say(&answer)?;
        }
        if self.input.len() > LONGEST_LINE {
            return Err("a command has no end".to_owned());
        }
        Ok(len > 0)
    }

    fn obey(&mut self, now: Instant, line: &str) -> Result<String, String> {
        match command::parse(line)? {
            Command::Stats => Ok(self.statistics()),
            Command::Change(scope, steps) => {
                let [up, down] = &mut self.lines;
                if scope != Scope::Down {
                    change(up, now, &steps);
                }
                if scope != Scope::Up {
                    change(down, now, &steps);
                }
                Ok("ok".to_owned())
            }
        }
    }

    fn statistics(&self) -> String {
        let mut text = String::from("{");
        for (name, line) in ["up", "down"].into_iter().zip(&self.lines) {
            let counters = line.counters();
            let fields = [
                ("packets", counters.packets),
                ("bytes", counters.bytes),
                ("lost", counters.lost),
                ("blackedOut", counters.blacked_out),
                ("overflowed", counters.overflowed),
                ("reordered", counters.reordered),
                ("duplicated", counters.duplicated),
                ("delivered", counters.delivered),
                ("underWay", line.under_way() as u64),
            ]
            .map(|(field, value)| format!("\"{field}\":{value}"));
            let _ = write!(text, "\"{name}\":{{{}}},", fields.join(","));
        }
        let _ = write!(text, "\"refused\":{}}}", self.refused);
        text
    }
}

fn change(line: &mut Line, now: Instant, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Blackout(length) => line.black_out(now, *length),
            Step::Clear => line.black_out(now, Duration::ZERO),
            Step::Delay(_)
            | Step::Jitter(_)
            | Step::Loss(_)
            | Step::Burst(_)
            | Step::Reorder(_)
            | Step::Duplicate(_)
            | Step::Rate(_)
            | Step::Queue(_) => {}
        }
        line.set_conditions(step.applied_to(line.conditions()));
    }
}

/// A line for whoever started us.
fn say(line: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(|error| format!("answering: {error}"))
}

#[expect(clippy::disallowed_methods, reason = "the shuttle's one clock")]
fn now() -> Instant {
    Instant::now()
}
