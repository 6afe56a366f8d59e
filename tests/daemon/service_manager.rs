//! What a service manager is told: readiness, reloads, signs of life, the end.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hanok::testing::client::PATIENCE;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::house::{House, Witness, join};
use crate::process::Process;
use crate::turn::two_workers;

/// A socket that stands for the service manager.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: TempDir,
}

impl Manager {
    fn listen() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            path,
            _folder: folder,
        }
    }

    /// The next message, as lines.
    async fn told(&self) -> Vec<String> {
        let socket = self.socket.try_clone().unwrap();
        let told = tokio::task::spawn_blocking(move || {
            let mut message = [0; 1_000];
            let len = socket.recv(&mut message).unwrap();
            String::from_utf8(message[..len].to_vec()).unwrap()
        });
        told.await.unwrap().lines().map(str::to_owned).collect()
    }

    /// The next message with this line.
    async fn told_of(&self, wanted: &str) -> Vec<String> {
        loop {
            let told = self.told().await;
            if told.iter().any(|line| line == wanted) {
                return told;
            }
        }
    }

    async fn start(&self, more: &[&str], environment: &[(&str, &str)]) -> Process {
        Process::start_by(more, |mut command| {
            command
                .env("NOTIFY_SOCKET", &self.path)
                .envs(environment.iter().copied());
            command
        })
        .await
    }
}

fn status(told: &[String]) -> Option<&str> {
    told.iter().find_map(|line| line.strip_prefix("STATUS="))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_of_readiness_once_everything_is_bound() {
    let manager = Manager::listen();
    #[expect(clippy::disallowed_methods, reason = "real time is measured")]
    let began = Instant::now();
    let mut process = manager.start(&[], &[]).await;
    let told = manager.told().await;
    assert_eq!(told[0], "READY=1");
    // The goal is a second; a machine that compiles at the same time gets more.
    let took = began.elapsed();
    println!("READY after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(
        status(&told).unwrap().ends_with("0 sessions, 0 clients"),
        "{told:?}"
    );
    Witness::begin_at(process.plain)
        .await
        .has_lost_nothing()
        .await;
    process.signal(Signal::TERM);
    manager.told_of("STOPPING=1").await;
    assert_eq!(process.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_when_a_reload_begins_and_ends() {
    let manager = Manager::listen();
    let mut process = manager.start(&[], &[]).await;
    manager.told_of("READY=1").await;
    for lines in [
        &["HANOK_TURN_USER_QUOTA=5"],
        &["HANOK_TURN_USER_QUOTA=many"],
    ] {
        let before = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        process.reload_with(lines);
        let reloading = manager.told_of("RELOADING=1").await;
        let began = reloading
            .iter()
            .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let began: i64 = began.unwrap().parse().unwrap();
        assert!(began / 1_000_000 >= before.tv_sec, "{reloading:?}");
        manager.told_of("READY=1").await;
    }
    process.signal(Signal::TERM);
    manager.told_of("STOPPING=1").await;
    assert_eq!(process.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watchdog_gets_signs_of_life_and_the_status_follows_what_happens() {
    let manager = Manager::listen();
    let process = manager.start(&[], &[("WATCHDOG_USEC", "2000000")]).await;
    manager.told_of("READY=1").await;
    // Nothing happens, and it lives.
    for _ in 0..3 {
        manager.told_of("WATCHDOG=1").await;
    }
    let session = crate::house::new_session(process.plain).await;
    let _client = join(process.plain, &session).await;
    loop {
        let told = manager.told().await;
        if status(&told).is_some_and(|status| status.ends_with("1 session, 1 client")) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_media_thread_that_stands_still_silences_the_watchdog_until_it_moves_again() {
    const PATIENCE_OF_MANAGER: Duration = Duration::from_millis(800);
    let house = House::with(two_workers).await;
    let (said, mut heard) = mpsc::unbounded_channel();
    let mut telling = JoinSet::new();
    telling.spawn(
        house
            .daemon
            .life()
            .tell(Some(PATIENCE_OF_MANAGER), move |states| {
                for state in states {
                    let _ = said.send(state.to_string());
                }
            }),
    );
    let mut sign = async |patience: Duration| {
        let next = async {
            while let Some(said) = heard.recv().await {
                if said == "WATCHDOG=1" {
                    return;
                }
            }
        };
        timeout(patience, next).await.is_ok()
    };
    assert!(sign(PATIENCE).await && sign(PATIENCE).await);
    let standing = house.daemon.plane().make_stand(1).await.unwrap();
    // What was seen before it stood still may still be told.
    while sign(PATIENCE_OF_MANAGER / 2).await {}
    assert!(!sign(PATIENCE_OF_MANAGER * 2).await, "it must be silent");
    drop(standing);
    assert!(sign(PATIENCE).await);
}
