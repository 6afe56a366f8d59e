//! A real process whose clock is wrong, or jumps (robustness R09, S34). libfaketime tells it another wall time; the
//! monotonic clock stays the machine's.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use hanok::front::proxy::certificate::facts::Facts;
use hanok::testing::client::{Client, LOOPBACK};
use hanok::units::clock::wall_ms;
use hanok::units::{DangerousAnyCertificate, turn_credential};
use rustls::ClientConfig;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;

use crate::house::{Witness, eventually, new_session, new_token};
use crate::pebble::{Behaviour, Own, Pebble, connect};
use crate::process::Process;
use crate::turn::{Relayed, minted};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// Six days, as certificates for addresses have.
const LIFETIME: u64 = 518_400;

/// A lie about the time, which may change.
struct Clock(TempDir);

impl Clock {
    fn ahead_by(seconds: i64) -> Self {
        let clock = Self(tempfile::tempdir().unwrap());
        clock.set(seconds);
        clock
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    fn set(&self, ahead: i64) {
        let draft = self.0.path().join("draft");
        std::fs::write(&draft, format!("{ahead:+}\n")).unwrap();
        std::fs::rename(draft, self.file()).unwrap();
    }

    fn deceive(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", self.file())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
    }
}

fn library() -> OsString {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let mut paths = folders.map(|entry| entry.unwrap().path().join("faketime/libfaketimeMT.so.1"));
    let found = paths.find(|path| path.exists());
    found.expect("faketime is installed by scripts/test").into()
}

/// Joins, and allocates with what that gives; by how many seconds the process believes to be ahead.
async fn join_and_allocate(process: &Process) -> i64 {
    let session = new_session(process.plain).await;
    let token = new_token(process.plain, &session, "PUBLISHER").await;
    let mut client = Client::open(process.plain).await.unwrap();
    let joined = client.join(&token).await.unwrap();
    let text = |key: &str| joined[key].as_str().unwrap().to_owned();
    let (name, password) = (text("turnUsername"), text("turnCredential"));
    let mut relayed = Relayed::between(LOOPBACK, process.turn, &name, &password).await;
    assert_eq!(relayed.allocate().await, 0, "{name}");
    client.leave().await.unwrap();
    let minted_at = turn_credential::expiry(&name).unwrap() - turn_credential::LIFETIME_SECS;
    minted_at as i64 - (wall_ms() / 1_000) as i64
}

/// What a handshake is shown by whoever believes anybody.
async fn shown(process: &Process) -> Facts {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let anybody = DangerousAnyCertificate::new(&provider);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anybody))
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connect(&connector, process.https, "localhost")
        .await
        .unwrap();
    Facts::read(&stream.get_ref().1.peer_certificates().unwrap()[0]).unwrap()
}

/// Waits for a certificate of the authority; returns what it says.
async fn issued(process: &Process) -> Facts {
    eventually("a certificate comes", async || {
        shown(process).await.issuer.contains("Pebble")
    })
    .await;
    shown(process).await
}

/// The lines of a process that orders from an authority, and keeps its state in `state`.
fn lines(own: &Own, behaviour: &Behaviour, state: &TempDir) -> Vec<String> {
    vec![
        format!("HANOK_STATE_DIR={}", state.path().display()),
        "CERTIFICATE_TYPE=letsencrypt".to_owned(),
        "LETSENCRYPT_EMAIL=me@example.org".to_owned(),
        format!("HTTP_PORT={}", behaviour.http_port),
        format!("HANOK_ACME_DIRECTORY={}", own.directory()),
        format!("HANOK_ACME_CA_FILE={}", own.path("ca.pem").display()),
        "HANOK_ACME_PORTS_FORWARDED=true".to_owned(),
        "COTURN_SHARED_SECRET_KEY=north".to_owned(),
    ]
}

async fn start(lines: &[String], clock: &Clock) -> Process {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    Process::start_under(&lines, |command| clock.deceive(command)).await
}

fn behaviour() -> Behaviour {
    Behaviour {
        lifetime: LIFETIME,
        short_lived: true,
        ..Behaviour::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_disturbs_no_call_and_a_certificate_is_renewed_once() {
    let (own, behaviour, state) = (Own::new(), behaviour(), tempfile::tempdir().unwrap());
    let pebble = Pebble::start(&own, &behaviour).await;
    let clock = Clock::ahead_by(0);
    let process = start(&lines(&own, &behaviour, &state), &clock).await;
    let first = issued(&process).await;
    let witness = Witness::begin_at(process.plain).await;
    let (name, password) = minted("north", "steady");
    let mut steady = Relayed::between(LOOPBACK, process.turn, &name, &password).await;
    assert_eq!(steady.allocate().await, 0);

    let mut last = first.clone();
    for ahead in [HOUR, -HOUR, 60 * DAY, 0] {
        clock.set(ahead);
        // One challenge at most, or this would not be 0.
        assert_eq!(steady.refresh(600).await, 0, "{ahead}");
        let believed = join_and_allocate(&process).await;
        assert!((believed - ahead).abs() < 10, "{believed}, not {ahead}");
        if ahead > LIFETIME as i64 {
            eventually("the certificate is renewed", async || {
                shown(&process).await.serial != last.serial
            })
            .await;
            last = shown(&process).await;
        }
        assert_eq!(shown(&process).await.serial, last.serial, "{ahead}");
        witness.has_lost_nothing().await;
    }
    assert_eq!((pebble.accounts(), pebble.orders()), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_far_behind_gets_a_certificate_all_the_same_and_the_operator_is_told() {
    let (own, behaviour, state) = (Own::new(), behaviour(), tempfile::tempdir().unwrap());
    let pebble = Pebble::start(&own, &behaviour).await;
    let clock = Clock::ahead_by(-400 * DAY);
    let mut process = start(&lines(&own, &behaviour, &state), &clock).await;
    process
        .says("behind the certificate authority's: set it")
        .await;
    issued(&process).await;
    Witness::begin_at(process.plain)
        .await
        .has_lost_nothing()
        .await;
    assert_eq!(pebble.orders(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_our_own_that_is_about_to_end_is_made_anew_at_the_start() {
    let state = tempfile::tempdir().unwrap();
    let lines = [format!("HANOK_STATE_DIR={}", state.path().display())];
    let mut serials = Vec::new();
    for days in [0, 1, 390, 391] {
        let clock = Clock::ahead_by(days * DAY);
        let mut process = start(&lines, &clock).await;
        serials.push(shown(&process).await.serial);
        process.signal(rustix::process::Signal::TERM);
        assert_eq!(process.ended().await, 0);
    }
    assert_eq!(serials[0], serials[1]);
    assert_ne!(serials[1], serials[2]);
    assert_eq!(serials[2], serials[3]);
}
