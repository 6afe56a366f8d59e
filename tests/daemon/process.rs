//! The real binary: starting, stopping, and what it says when it cannot.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use hanok::testing::client::{Client, LOOPBACK, PATIENCE};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::house::{
    MEDIA_PORTS, Witness, eventually, free_port, join, new_session, new_token, rest,
};
use crate::turn::Relayed;

pub(crate) fn hanok(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hanok"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

/// What runs `command` after these lines of a shell, in the same process and with the same environment.
pub(crate) fn after(lines: &str, command: &Command) -> Command {
    let script = format!("set -e\n{lines}\nexec \"$@\"");
    under(&["bash", "-c", &script, "bash"], command)
}

/// What has the program `prefix`, with its arguments, run `command` in the same process.
pub(crate) fn under(prefix: &[&str], command: &Command) -> Command {
    let (program, arguments) = prefix.split_first().expect("a program");
    let mut outer = Command::new(program);
    outer.args(arguments).env_clear().stdin(Stdio::null());
    outer.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer
}

/// Runs to the end: exit status, standard output, standard error.
pub(crate) async fn run(arguments: &[&str]) -> (i32, String, String) {
    run_command(hanok(arguments)).await
}

/// The same of any command.
pub(crate) async fn run_command(mut command: Command) -> (i32, String, String) {
    let running = tokio::task::spawn_blocking(move || command.output());
    let output: Output = tokio::time::timeout(PATIENCE, running)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A folder with a `.env` of these lines.
fn env_file(lines: &[String]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    (folder, path)
}

/// The keys that put a process on ports of its own; the plain one is returned.
fn on_free_ports(turn: u16) -> (Vec<String>, u16) {
    let plain = free_port();
    (on_ports(plain, turn), plain)
}

fn on_ports(plain: u16, turn: u16) -> Vec<String> {
    vec![
        format!("HTTPS_PORT={}", free_port()),
        format!("COTURN_PORT={turn}"),
        format!("HANOK_PLAIN_LISTEN=127.0.0.1:{plain}"),
        format!("HANOK_MEDIA_MIN_PORT={}", MEDIA_PORTS.0),
        format!("HANOK_MEDIA_MAX_PORT={}", MEDIA_PORTS.1),
        "HANOK_WORKERS=2".to_owned(),
    ]
}

/// A `hanok serve --dev` of its own; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) https: SocketAddr,
    pub(crate) plain: SocketAddr,
    pub(crate) turn: SocketAddr,
    log: mpsc::UnboundedReceiver<String>,
    /// Lines of the log that were read already.
    said: Vec<String>,
    folder: TempDir,
    /// The lines of its `.env` file.
    lines: Vec<String>,
    /// The folder of its control socket, short as such paths must be.
    socket: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more lines in its `.env` file.
    pub(crate) async fn start_with(more: &[&str]) -> Self {
        Self::start_by(more, |command| command).await
    }

    /// With whatever `change` does to its command.
    pub(crate) async fn start_under(more: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        Self::start_by(more, |mut command| {
            change(&mut command);
            command
        })
        .await
    }

    /// Started by the command that `adapt` makes of `hanok serve`.
    pub(crate) async fn start_by(more: &[&str], adapt: impl FnOnce(Command) -> Command) -> Self {
        Self::start_on(free_port(), free_port(), more, adapt).await
    }

    /// The same, on these ports.
    pub(crate) async fn start_on(
        plain: u16,
        turn: u16,
        more: &[&str],
        adapt: impl FnOnce(Command) -> Command,
    ) -> Self {
        let mut own_lines = on_ports(plain, turn);
        let mut ports = own_lines.iter();
        let https = ports.find_map(|line| line.strip_prefix("HTTPS_PORT="));
        let https = https.unwrap().parse().unwrap();
        let socket = tempfile::tempdir().unwrap();
        let control = socket.path().join("control.sock");
        own_lines.push(format!("HANOK_CONTROL_SOCKET={}", control.display()));
        let mut file_lines = own_lines.clone();
        file_lines.extend(more.iter().map(|line| (*line).to_owned()));
        let (folder, path) = env_file(&file_lines);
        let temporary = folder.path().join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let mut command = hanok(&["serve", "--dev", "--env-file", path.to_str().unwrap()]);
        command.env("TMPDIR", temporary).stdin(Stdio::null());
        let mut child = adapt(command)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (lines, log) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            use std::io::{BufRead, BufReader};
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        let mut process = Self {
            child,
            https: (Ipv4Addr::LOCALHOST, https).into(),
            plain: (Ipv4Addr::LOCALHOST, plain).into(),
            turn: (Ipv4Addr::LOCALHOST, turn).into(),
            log,
            said: Vec::new(),
            folder,
            lines: own_lines,
            socket,
        };
        process.says("ready: https://").await;
        process
    }

    /// Its `.env` file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join(".env")
    }

    /// The control socket.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.socket.path().join("control.sock")
    }

    /// Runs a verb that talks to this process: exit status, standard output, standard error.
    pub(crate) async fn verb(&self, arguments: &[&str]) -> (i32, String, String) {
        let socket = self.control_socket();
        let socket = ["--socket", socket.to_str().unwrap()];
        run(&[arguments, &socket].concat()).await
    }

    /// Writes the file anew, with other lines beside those that every process has, and tells it to read it.
    pub(crate) fn reload_with(&self, more: &[&str]) {
        self.write_env(more);
        self.signal(Signal::HUP);
    }

    /// Writes the file anew, with other lines beside those that every process has.
    pub(crate) fn write_env(&self, more: &[&str]) {
        let own = self.lines.iter().map(String::as_str);
        let lines: Vec<_> = own.chain(more.iter().copied()).collect();
        std::fs::write(self.file(), lines.join("\n") + "\n").unwrap();
    }

    /// Waits for a line of the log.
    pub(crate) async fn says(&mut self, text: &str) {
        let from = self.said.len();
        let waiting = async {
            while let Some(line) = self.log.recv().await {
                let found = line.contains(text);
                self.said.push(line);
                if found {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        let said = &self.said[from..];
        assert_eq!(found, Ok(true), "{text:?} is not in {said:#?}");
    }

    /// Everything that it has said, once it has ended.
    pub(crate) async fn whole_log(mut self) -> Vec<String> {
        let rest = async {
            while let Some(line) = self.log.recv().await {
                self.said.push(line);
            }
        };
        let ended = tokio::time::timeout(PATIENCE, rest).await;
        assert!(ended.is_ok(), "it goes on");
        std::mem::take(&mut self.said)
    }

    /// Whether a line of the log that was waited for, or one before it, has this text.
    pub(crate) fn has_said(&self, text: &str) -> bool {
        self.said.iter().any(|line| line.contains(text))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; returns the exit status.
    pub(crate) async fn ended(&mut self) -> i32 {
        let mut status = None;
        eventually("the process ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code().expect("it was not killed")
    }

    /// Its folder for temporary files.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    /// Where we find `path` as the process sees it.
    pub(crate) fn in_its_namespace(&self, path: &Path) -> PathBuf {
        let root = Path::new("/proc")
            .join(self.child.id().to_string())
            .join("root");
        root.join(path.strip_prefix("/").unwrap())
    }

    /// What is left in the folder for temporary files.
    fn left_over(&self) -> usize {
        let left = std::fs::read_dir(self.temporary()).unwrap();
        left.count()
    }

    /// What its threads have used of the processors so far; clock ticks are too coarse for what sleeps most of the time.
    pub(crate) fn processor_time(&self) -> Duration {
        let threads = format!("/proc/{}/task", self.child.id());
        let threads = std::fs::read_dir(threads).unwrap();
        let nanos = threads.map(|thread| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            stat.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Open file descriptors, and resident memory in KiB.
    pub(crate) fn usage(&self) -> (usize, u64) {
        let proc = Path::new("/proc").join(self.child.id().to_string());
        let descriptors = std::fs::read_dir(proc.join("fd")).unwrap().count();
        let status = std::fs::read_to_string(proc.join("status")).unwrap();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let resident = resident.trim().trim_end_matches(" kB").parse().unwrap();
        (descriptors, resident)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_tells_clients_in_a_call_and_exits_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start().await;
        let session = new_session(process.plain).await;
        let mut publisher = join(process.plain, &session).await;
        let mut subscriber = join(process.plain, &session).await;
        let (stream, sending) = publisher.publish().await.unwrap();
        let receiving = subscriber.subscribe(&stream).await.unwrap();
        receiving
            .until("media arrives", |report| report.video.received > 0)
            .await
            .unwrap();
        process.signal(signal);
        for mut client in [publisher, subscriber] {
            let told = client
                .notification("participantEvicted", |_| true)
                .await
                .unwrap();
            assert_eq!(told["reason"], "openviduServerStopped");
            client.closed().await.unwrap();
        }
        sending
            .until("the server closes", |report| !report.is_connected())
            .await
            .unwrap();
        assert_eq!(process.ended().await, 0);
        assert_eq!(process.left_over(), 0, "the state of --dev is temporary");
    }
}

/// A WebSocket whose client never reads or answers.
async fn deaf_socket(server: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = format!(
        "GET /openvidu HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_answer_delays_no_stop_beyond_its_time_and_a_second_signal_forces() {
    let mut process = Process::start().await;
    let _deaf = deaf_socket(process.plain).await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, 0);

    let mut process = Process::start().await;
    let _deaf = deaf_socket(process.plain).await;
    process.signal(Signal::TERM);
    process.says("SIGTERM: stopping").await;
    process.signal(Signal::TERM);
    process.says("a second signal came").await;
    assert_eq!(process.ended().await, 0);
    assert_eq!(process.left_over(), 0);

    // It would take two seconds.
    let mut process = Process::start_with(&["HANOK_STOP_DEADLINE=300ms"]).await;
    let _deaf = deaf_socket(process.plain).await;
    process.signal(Signal::TERM);
    process.says("HANOK_STOP_DEADLINE has passed").await;
    assert_eq!(process.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_descriptors_come_back_after_many_calls() {
    let process = Process::start().await;
    let server = process.plain;
    let round = async || {
        let session = new_session(server).await;
        let mut publisher = join(server, &session).await;
        let mut subscriber = join(server, &session).await;
        let (stream, _sending) = publisher.publish().await.unwrap();
        let receiving = subscriber.subscribe(&stream).await.unwrap();
        receiving
            .until("media arrives", |report| report.video.received > 5)
            .await
            .unwrap();
        subscriber.leave().await.unwrap();
        publisher.leave().await.unwrap();
    };
    let is_empty = async || {
        let (_, sessions) = rest(server, "GET", "/openvidu/api/sessions", None).await;
        sessions["numberOfElements"] == 0
    };
    // Pools, arenas and tables reach their size.
    for _ in 0..15 {
        round().await;
    }
    eventually("all sessions end", is_empty).await;
    let (descriptors, before) = process.usage();
    for _ in 0..50 {
        round().await;
    }
    eventually("all sessions end", is_empty).await;
    eventually("descriptors come back", async || {
        process.usage().0 <= descriptors
    })
    .await;
    let (_, after) = process.usage();
    assert!(
        after <= before + 4 * 1024,
        "50 calls took {} KiB for good",
        after - before
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_turn_port_exits_78_and_names_the_key() {
    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    for (taken, protocol) in [(udp.local_addr(), "UDP"), (tcp.local_addr(), "TCP")] {
        let (lines, _) = on_free_ports(taken.unwrap().port());
        let (_folder, path) = env_file(&lines);
        let path = path.to_str().unwrap();
        let (status, out, err) = run(&["serve", "--dev", "--env-file", path]).await;
        assert_eq!((status, out.as_str()), (78, ""), "{err}");
        assert!(err.contains("COTURN_PORT"), "{err}");
        assert!(
            err.contains(&format!("cannot listen on {protocol}")),
            "{err}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_media_range_or_web_port_exits_78_and_names_the_keys() {
    let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let media = taken.local_addr().unwrap().port();
    let (mut lines, _) = on_free_ports(free_port());
    lines.retain(|line| !line.starts_with("HANOK_MEDIA"));
    lines.push(format!("HANOK_MEDIA_MIN_PORT={media}"));
    lines.push(format!("HANOK_MEDIA_MAX_PORT={media}"));
    let (_folder, path) = env_file(&lines);
    let (status, _, err) = run(&["serve", "--dev", "--env-file", path.to_str().unwrap()]).await;
    assert_eq!(status, 78, "{err}");
    assert!(err.contains("HANOK_MEDIA_MIN_PORT"), "{err}");

    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let web = taken.local_addr().unwrap().port();
    for key in ["HTTPS_PORT", "HTTP_PORT", "HANOK_PLAIN_LISTEN"] {
        let (mut lines, _) = on_free_ports(free_port());
        lines.retain(|line| !line.starts_with(key));
        lines.push(match key {
            "HANOK_PLAIN_LISTEN" => format!("{key}=127.0.0.1:{web}"),
            key => format!("{key}={web}"),
        });
        let (_folder, path) = env_file(&lines);
        let (status, _, err) = run(&["serve", "--dev", "--env-file", path.to_str().unwrap()]).await;
        assert_eq!(status, 78, "{err}");
        let way_out = match key {
            "HANOK_PLAIN_LISTEN" => "HANOK_PLAIN_LISTEN=)",
            _ => "HANOK_FRONT=off",
        };
        let owner = format!("(pid {})", std::process::id());
        for part in [key, way_out, &owner] {
            assert!(err.contains(part), "{part} is not in {err}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_out_of_descriptors_keeps_its_calls_and_recovers() {
    let process = Process::start().await;
    let witness = Witness::begin_at(process.plain).await;
    let (used, _) = process.usage();
    let limit = Rlimit {
        current: Some(used as u64 + 20),
        maximum: Some(used as u64 + 20),
    };
    let pid = Some(Pid::from_child(&process.child));
    prlimit(pid, Resource::Nofile, limit).unwrap();
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(TcpStream::connect(process.plain).await.unwrap());
    }
    eventually("all descriptors are taken", async || {
        process.usage().0 >= used + 20
    })
    .await;
    witness.has_lost_nothing().await;
    drop(crowd);
    eventually("they come back", async || process.usage().0 < used + 20).await;
    // The same on the media port, where browsers knock if UDP is blocked.
    let media = (LOOPBACK, witness.port());
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(TcpStream::connect(media).await.unwrap());
    }
    eventually("all descriptors are taken", async || {
        process.usage().0 >= used + 20
    })
    .await;
    witness.has_lost_nothing().await;
    drop(crowd);
    // It accepts again, and a whole new call fits.
    let again = Witness::begin_at(process.plain).await;
    again.has_lost_nothing().await;
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_foreign_peers_are_refused_and_nothing_else_is() {
    let process = Process::start().await;
    let witness = Witness::begin_at(process.plain).await;
    let token = new_token(process.plain, &witness.session, "SUBSCRIBER").await;
    let mut owner = Client::open(process.plain).await.unwrap();
    let joined = owner.join(&token).await.unwrap();
    let username = joined["turnUsername"].as_str().unwrap();
    let password = joined["turnCredential"].as_str().unwrap();
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = Relayed::between(LOOPBACK, process.turn, username, password).await;
        assert_eq!(client.allocate().await, 0, "allocating opens nothing");
        clients.push(client);
    }
    let (used, _) = process.usage();
    let limit = Rlimit {
        current: Some(used as u64 + 5),
        maximum: Some(used as u64 + 5),
    };
    let pid = Some(Pid::from_child(&process.child));
    prlimit(pid, Resource::Nofile, limit).unwrap();
    let (mut permitted, mut refused) = (Vec::new(), Vec::new());
    for mut client in clients {
        if refused.len() == 3 {
            break;
        }
        match client.permit_foreign().await {
            0 => permitted.push(client),
            508 => refused.push(client),
            other => panic!("{other}"),
        }
    }
    assert!(!permitted.is_empty() && refused.len() == 3);
    witness.has_lost_nothing().await;
    assert_eq!(refused[0].refresh(600).await, 0);
    for client in &mut permitted {
        assert_eq!(client.refresh(0).await, 0);
    }
    eventually("a socket can be opened again", async || {
        refused[0].permit_foreign().await == 0
    })
    .await;
    witness.has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_configuration_exits_78_with_every_problem_in_one_report() {
    let lines = [
        "HTTPS_PORT=99999",
        "OPENVIDU_SECRET=MY_SECRET",
        "OPENVIDU_CDR=maybe",
        "HANOK_WORKERS=none",
    ];
    let (_folder, path) = env_file(&lines.map(str::to_owned));
    let path = path.to_str().unwrap();
    for command in ["serve", "check-config"] {
        let (status, out, err) = run(&[command, "--env-file", path]).await;
        assert_eq!((status, out.as_str()), (78, ""), "{err}");
        for key in [
            "HTTPS_PORT",
            "OPENVIDU_SECRET",
            "OPENVIDU_CDR",
            "HANOK_WORKERS",
            "DOMAIN_OR_PUBLIC_IP",
        ] {
            assert!(err.contains(key), "{key} is not in {err}");
        }
        assert!(err.contains(&format!("{path}:1")), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_usage_exits_64() {
    for wrong in [&[][..], &["swerve"], &["serve", "--port", "5"]] {
        let (status, out, err) = run(wrong).await;
        assert_eq!((status, out.as_str()), (64, ""), "{wrong:?}: {err}");
        assert!(err.contains("--help"), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_runs_on_either_worker_of_the_process() {
    let process = Process::start().await;
    let first = Witness::begin_at(process.plain).await;
    let second = Witness::begin_at(process.plain).await;
    first.has_lost_nothing().await;
    second.has_lost_nothing().await;
    assert_ne!(
        first.port(),
        second.port(),
        "the worker with the least load is chosen"
    );
    let client = Client::open(process.plain).await.unwrap();
    assert_eq!(client.close(1000).await, Some(1000));
}
