//! Half-open floods of the TURN port (robustness R16): twenty thousand connections that say nothing, and five thousand new
//! ones a second. A process may have so many descriptors, so the clients are processes of their own.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hanok::units::clock;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::house::{Witness, eventually};
use crate::process::Process;

/// Processes of clients, and what each of them has open and opens in a second.
const CLIENTS: u8 = 3;
const OPEN: usize = 20_000 / CLIENTS as usize;
const EACH_SECOND: u32 = 5_000 / CLIENTS as u32;

/// What the daemon may take for it, in KiB.
const MOST: u64 = 200 * 1_024;

/// What a process of clients is told: its number, the server, for how many seconds.
const TASK: &str = "HANOK_TURN_IDLE_CLIENTS";

/// `HANOK_TURN_IDLE_SECS` says how long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: scripts/test --long turn-idle"]
async fn a_flood_of_idle_connections_costs_little_and_disturbs_no_call() {
    let secs: u64 = std::env::var("HANOK_TURN_IDLE_SECS").map_or(30, |secs| secs.parse().unwrap());
    let process = Process::start_with(&[]).await;
    let witness = Witness::begin_at(process.plain).await;
    let (descriptors, before) = process.usage();
    let end = clock::now() + Duration::from_secs(secs);
    let mut clients: Vec<Child> = (0..CLIENTS)
        .map(|number| clients(number, process.turn, secs))
        .collect();
    let (mut most, mut most_held) = (0, 0);
    while clock::now() < end {
        let (held, resident) = process.usage();
        most = most.max(resident.saturating_sub(before));
        most_held = most_held.max(held - descriptors.min(held));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let waiting = tokio::task::spawn_blocking(move || {
        clients
            .iter_mut()
            .all(|client| client.wait().unwrap().success())
    });
    assert!(
        waiting.await.unwrap(),
        "the clients did what they were told"
    );
    println!("{most_held} connections held at most, {most} KiB more at most");
    assert!(most < MOST, "{most} KiB");
    eventually("descriptors come back", async || {
        process.usage().0 <= descriptors
    })
    .await;
    witness.has_lost_nothing().await;
}

/// This program again, as clients.
fn clients(number: u8, server: SocketAddr, secs: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "turn_idle::clients_of_a_flood",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(TASK, format!("{number} {server} {secs}"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "is a part of another one"]
fn clients_of_a_flood() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let mut words = task.split(' ');
    let number: u8 = words.next().unwrap().parse().unwrap();
    let server: SocketAddr = words.next().unwrap().parse().unwrap();
    let secs: u64 = words.next().unwrap().parse().unwrap();
    let limit = getrlimit(Resource::Nofile);
    let granted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, granted).unwrap();
    let tick = Duration::from_millis(20);
    let each_tick = EACH_SECOND / 50;
    let end = clock::now() + Duration::from_secs(secs);
    let (mut open, mut opened, mut due) = (VecDeque::new(), 0_u32, clock::now());
    while clock::now() < end {
        for _ in 0..each_tick {
            let [_, _, high, low] = opened.to_be_bytes();
            let source = Ipv4Addr::new(127, 1 + number, high, low);
            open.extend(connection(source, server));
            opened += 1;
            if open.len() > OPEN {
                open.pop_front();
            }
        }
        due += tick;
        std::thread::sleep(due.saturating_duration_since(clock::now()));
    }
    println!(
        "clients {number}: {opened} connections in {secs} s, {} open at last",
        open.len()
    );
    assert!(opened > 1_000);
}

/// A connection that is on its way, or through; nobody looks after it.
fn connection(source: Ipv4Addr, server: SocketAddr) -> Option<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    socket
        .bind(&SockAddr::from(SocketAddr::from((source, 0))))
        .ok()?;
    match socket.connect(&server.into()) {
        Ok(()) => Some(socket),
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Some(socket)
        }
        Err(_) => None,
    }
}
