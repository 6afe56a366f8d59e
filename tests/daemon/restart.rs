//! A restart under a service manager that holds the sockets: nobody is refused, and clients are back soon.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hanok::testing::client::{LOOPBACK, PATIENCE};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::call::Call;
use crate::house::{free_port, new_session, new_token};
use crate::process::{Process, after, hanok, run_command};
use crate::turn::Relayed;

/// Sockets that outlive the processes that they are handed to.
struct Held {
    sockets: Vec<OwnedFd>,
    plain: SocketAddr,
    turn: u16,
}

impl Held {
    /// The plain port, and the TURN port: one TCP listener for both families, and a UDP socket for each worker.
    fn new() -> Self {
        let plain = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let turn = free_port();
        let both = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        both.set_only_v6(false).unwrap();
        both.set_reuse_address(true).unwrap();
        both.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, turn)).into())
            .unwrap();
        both.listen(1_024).unwrap();
        let udp = || {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket
                .bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, turn)).into())
                .unwrap();
            UdpSocket::from(socket)
        };
        Self {
            plain: plain.local_addr().unwrap(),
            turn,
            sockets: vec![plain.into(), both.into(), udp().into(), udp().into()],
        }
    }

    async fn start(&self) -> Process {
        let mut copies = Vec::new();
        Process::start_on(self.plain.port(), self.turn, &[], |command| {
            hand_over(&self.sockets, &command, &mut copies)
        })
        .await
    }
}

/// What runs `command` with these sockets, as sd_listen_fds(3) says; it must be started while the copies live. Other
/// children of this process that are started meanwhile get them, too, which harms nobody.
fn hand_over(sockets: &[OwnedFd], command: &Command, copies: &mut Vec<OwnedFd>) -> Command {
    // Far from where they are to be, so that none is overwritten.
    let mut lines = String::new();
    for (socket, wanted) in sockets.iter().zip(3..) {
        let high = fcntl_dupfd_cloexec(socket.as_fd(), 200).unwrap();
        fcntl_setfd(&high, FdFlags::empty()).unwrap();
        lines += &format!("exec {wanted}<&{0} {0}<&-\n", high.as_raw_fd());
        copies.push(high);
    }
    lines += &format!("export LISTEN_FDS={} LISTEN_PID=$$", sockets.len());
    after(&lines, command)
}

/// What became of requests, each on a connection of its own.
#[derive(Debug, Default)]
struct Outcomes {
    answered: AtomicU64,
    refused: AtomicU64,
    unanswered: AtomicU64,
}

async fn request(server: SocketAddr, outcomes: Arc<Outcomes>) {
    let exchange = async {
        let mut stream = match TcpStream::connect(server).await {
            Ok(stream) => stream,
            Err(_) => return &outcomes.refused,
        };
        let request =
            b"GET /openvidu/accept-certificate HTTP/1.1\r\nHost: house\r\nConnection: close\r\n\r\n";
        let mut response = Vec::new();
        let sent = stream.write_all(request).await;
        let read = stream.read_to_end(&mut response).await;
        if sent.is_ok() && read.is_ok() && response.starts_with(b"HTTP/1.1 200") {
            &outcomes.answered
        } else {
            &outcomes.unanswered
        }
    };
    let counter = tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap_or(&outcomes.unanswered);
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Two hundred requests a second until `stop`.
async fn requests(server: SocketAddr, outcomes: Arc<Outcomes>, stop: Arc<AtomicBool>) {
    let mut asking = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        asking.spawn(request(server, outcomes.clone()));
        while asking.try_join_next().is_some() {}
    }
    asking.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_refuses_nobody_and_calls_are_back_within_ten_seconds() {
    let held = Held::new();
    let server = held.plain;
    let mut old = held.start().await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(Call::begin(server, 1).await);
    }
    let (outcomes, stop) = (
        Arc::new(Outcomes::default()),
        Arc::new(AtomicBool::new(false)),
    );
    let mut load = JoinSet::new();
    load.spawn(requests(server, outcomes.clone(), stop.clone()));
    let is_busy = async |more: u64| {
        let before = outcomes.answered.load(Ordering::Relaxed);
        crate::house::eventually("requests are answered", async || {
            outcomes.answered.load(Ordering::Relaxed) >= before + more
        })
        .await;
    };
    is_busy(50).await;

    #[expect(clippy::disallowed_methods, reason = "real time is measured")]
    let began = std::time::Instant::now();
    old.signal(Signal::TERM);
    let mut coming_back = JoinSet::new();
    for mut call in calls {
        coming_back.spawn(async move {
            for client in call.clients() {
                let told = client.notification("participantEvicted", |_| true).await;
                assert_eq!(told.unwrap()["reason"], "openviduServerStopped");
            }
            drop(call);
            // What an application does then: a new session, and everybody joins it.
            Call::begin(server, 1).await
        });
    }
    assert_eq!(old.ended().await, 0);
    let new = held.start().await;
    let back = coming_back.join_all().await;
    let took = began.elapsed();
    println!("calls are back after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    is_busy(100).await;
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;
    println!("{outcomes:?}");
    assert_eq!(outcomes.refused.load(Ordering::Relaxed), 0, "{outcomes:?}");
    assert_eq!(
        outcomes.unanswered.load(Ordering::Relaxed),
        0,
        "{outcomes:?}"
    );
    for call in &back {
        call.has_lost_nothing().await;
    }

    // TURN on the sockets that were held all the time, by either worker.
    let session = new_session(server).await;
    let token = new_token(server, &session, "SUBSCRIBER").await;
    let mut owner = hanok::testing::client::Client::open(server).await.unwrap();
    let joined = owner.join(&token).await.unwrap();
    let (username, password) = (&joined["turnUsername"], &joined["turnCredential"]);
    for _ in 0..8 {
        let (username, password) = (username.as_str().unwrap(), password.as_str().unwrap());
        let mut client = Relayed::between(LOOPBACK, new.turn, username, password).await;
        assert_eq!(client.allocate().await, 0);
    }
    let tcp = (Ipv4Addr::LOCALHOST, held.turn);
    TcpStream::connect(tcp).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_at_another_address_than_its_key_says_is_a_misconfiguration_that_names_both() {
    let elsewhere = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    let lines = [
        format!("HANOK_PLAIN_LISTEN=127.0.0.1:{port}"),
        format!("HTTPS_PORT={}", free_port()),
        format!("COTURN_PORT={}", free_port()),
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let command = hanok(&["serve", "--dev", "--env-file", path.to_str().unwrap()]);
    let mut copies = Vec::new();
    let command = hand_over(&[elsewhere.into()], &command, &mut copies);
    let (status, _, err) = run_command(command).await;
    assert_eq!(status, 78, "{err}");
    for part in [
        "HANOK_PLAIN_LISTEN",
        "ListenStream=",
        &format!("127.0.0.1:{port}"),
        &format!("127.0.0.2:{port}"),
    ] {
        assert!(err.contains(part), "{part} is not in {err}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_no_key_names_is_told_and_the_daemon_starts() {
    let spare = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = spare.local_addr().unwrap();
    let mut copies = Vec::new();
    let mut process = Process::start_by(&[], |command| {
        hand_over(&[spare.into()], &command, &mut copies)
    })
    .await;
    assert!(
        process.has_said(&format!(
            "TCP {address}, which no key of the configuration names"
        )),
        "it says so before it is ready"
    );
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, 0);
}
