//! Allocations that are only held: what making one costs, and what having one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::clients::{AT_ONCE, Clients, sockets};
use super::report::{Charge, Outcome};
use super::{Case, Error, Options, Pace};
use crate::units::clock;

/// How often somebody who waits looks whether he is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// Makes allocations as fast as the server does, or makes them and waits.
pub(super) fn run(options: &Options, stop: &AtomicBool) -> Result<Outcome, Error> {
    let mut charge = Charge::begin(options)?;
    let local = options.local_address()?;
    let mut clients = Clients::open(options, local, options.allocations)?;
    let result = hold(options, stop, &mut clients, &mut charge);
    clients.release();
    result
}

fn hold(
    options: &Options,
    stop: &AtomicBool,
    clients: &mut Clients,
    charge: &mut Charge,
) -> Result<Outcome, Error> {
    let at_once = match options.pace {
        Pace::Saturated { in_flight } => AT_ONCE.min(in_flight.max(1) as usize),
        Pace::PerSecond(_) => AT_ONCE,
    };
    charge.begin_window()?;
    let driven = clients.drive(at_once, stop, |client, _, now| client.allocate(now))?;
    clients.check()?;
    let mut outcome = Outcome {
        latency: driven.each.clone(),
        duration: driven.duration,
        set_up: Some(driven),
        ..Outcome::default()
    };
    // A socket that nothing comes to: nobody uses the channel.
    let peer = sockets(options.local_address()?, 1, false)?;
    if options.case == Case::Idle {
        let address = peer.first().map(|peer| peer.local_addr());
        let address = options.peer.or(address).unwrap_or(options.server);
        clients.drive(at_once, stop, |client, _, now| client.bind(now, address))?;
        clients.check()?;
        wait(clients, options.warm_up, stop)?;
        charge.begin_window()?;
        let begin = clock::now();
        wait(clients, options.duration, stop)?;
        outcome.duration = clock::now().saturating_duration_since(begin);
        charge.end_window()?;
    } else {
        charge.end_window()?;
        // What the server frees, it may free a little later.
        wait(clients, options.warm_up, stop)?;
        charge.look_at_memory()?;
    }
    outcome.charge = charge.finish();
    Ok(outcome)
}

fn wait(clients: &mut Clients, duration: Duration, stop: &AtomicBool) -> Result<(), Error> {
    let end: Instant = clock::now() + duration;
    loop {
        let now = clock::now();
        if now >= end {
            return Ok(());
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        clients.receive(|_, _, _| {});
        clients.attend_all(now);
        thread::sleep(LOOK.min(end.saturating_duration_since(now)));
    }
}
