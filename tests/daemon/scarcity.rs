//! A process that runs out of disk or descriptors: calls go on, what is refused is refused cleanly, and it recovers by
//! itself.

use std::path::{Path, PathBuf};

use hanok::testing::client::{Client, LOOPBACK};
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::house::{Witness, eventually, new_session, new_token, rest, try_http};
use crate::process::{Process, after, under};
use crate::turn::Relayed;

/// Fills the folder for temporary files, which is a disk of its own and has the state folder in it.
const FULL_DISK: &str = "mount -t tmpfs -o size=64k,nr_inodes=64 none \"$TMPDIR\"
dd if=/dev/zero of=\"$TMPDIR/filler\" bs=1k count=1000 2>/dev/null || true";

/// The files of the state folder.
fn state(temporary: &Path) -> Vec<String> {
    let folder = std::fs::read_dir(temporary)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.is_dir())
        .unwrap();
    std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// The daemon's minted credentials, with a client in a session that they belong to.
async fn credentials(process: &Process) -> (Client, String, String) {
    let session = new_session(process.plain).await;
    let token = new_token(process.plain, &session, "SUBSCRIBER").await;
    let mut owner = Client::open(process.plain).await.unwrap();
    let joined = owner.join(&token).await.unwrap();
    let text = |key: &str| joined[key].as_str().unwrap().to_owned();
    (owner, text("turnUsername"), text("turnCredential"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_it_starts_calls_and_reloads_and_keeps_its_secrets_once_there_is_room() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: no disk can be made");
        return;
    }
    let mut process = Process::start_by(&[], |command| {
        under(&["unshare", "--mount"], &after(FULL_DISK, &command))
    })
    .await;
    assert!(process.has_said("the TURN secret cannot be kept"));
    assert!(process.has_said("the self-signed certificate cannot be kept"));
    // Another mount namespace, where the same path is another folder.
    let temporary: PathBuf = process.in_its_namespace(&process.temporary());
    assert!(!state(&temporary).contains(&"turn-secret".to_owned()));

    let witness = Witness::begin_at(process.plain).await;
    let (_owner, username, password) = credentials(&process).await;
    let mut client = Relayed::between(LOOPBACK, process.turn, &username, &password).await;
    assert_eq!(client.allocate().await, 0);
    process.reload_with(&["HANOK_TURN_USER_QUOTA=7"]);
    process.says("configuration reloaded").await;
    // Its secret is what it was.
    assert_eq!(client.refresh(600).await, 0);
    let mut another = Relayed::between(LOOPBACK, process.turn, &username, &password).await;
    assert_eq!(another.allocate().await, 0);

    std::fs::remove_file(temporary.join("filler")).unwrap();
    process.signal(Signal::HUP);
    process.says("configuration reloaded").await;
    assert!(state(&temporary).contains(&"turn-secret".to_owned()));
    let mut another = Relayed::between(LOOPBACK, process.turn, &username, &password).await;
    assert_eq!(another.allocate().await, 0);
    witness.has_lost_nothing().await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_256_descriptors_a_crowd_at_every_door_costs_calls_nothing_and_leaves_no_trace() {
    let process = Process::start_by(&[], |command| after("ulimit -n 256", &command)).await;
    let witness = Witness::begin_at(process.plain).await;
    let (_owner, username, password) = credentials(&process).await;
    let mut client = Relayed::between(LOOPBACK, process.turn, &username, &password).await;
    assert_eq!(client.allocate().await, 0);
    let before = process.usage().0;

    let media = (LOOPBACK, witness.port()).into();
    let mut crowd = Vec::new();
    for door in [process.plain, process.turn, media] {
        for _ in 0..200 {
            // The kernel accepts, whether or not the daemon ever will.
            crowd.push(TcpStream::connect(door).await.unwrap());
        }
    }
    eventually("it is at its limits", async || {
        process.usage().0 >= before + 100
    })
    .await;
    witness.has_lost_nothing().await;
    assert_eq!(client.refresh(600).await, 0);
    let asked = try_http(process.plain, "GET", "/openvidu/api/sessions", None);
    // An answer or none in time, but never a broken one.
    if let Ok(Some((status, ..))) =
        tokio::time::timeout(std::time::Duration::from_secs(2), asked).await
    {
        assert!([200, 503].contains(&status), "{status}");
    }

    drop(crowd);
    eventually("descriptors come back", async || {
        process.usage().0 <= before + 5
    })
    .await;
    let (status, _) = rest(process.plain, "GET", "/openvidu/api/sessions", None).await;
    assert_eq!(status, 200);
    Witness::begin_at(process.plain)
        .await
        .has_lost_nothing()
        .await;
    witness.has_lost_nothing().await;
}
