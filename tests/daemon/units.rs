//! The files of `systemd/`: systemd understands them, they grant little, and they say what the configuration says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use hanok::config::fake::FakeMachine;
use hanok::config::{Config, Options, load};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::house::{Witness, eventually};
use crate::process::{Process, run_command, under};

const UNITS: [&str; 3] = ["hanok.service", "hanok.socket", "hanok-turn-udp.socket"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

/// What stands after `key=` on lines of their own, in their order.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
        .collect()
}

/// The units, with the daemon where it is here.
fn units() -> (TempDir, Vec<PathBuf>) {
    let copies = tempfile::tempdir().unwrap();
    let paths = UNITS.map(|name| {
        let text = read(name).replace("/usr/bin/hanok", env!("CARGO_BIN_EXE_hanok"));
        let path = copies.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    });
    (copies, paths.to_vec())
}

/// What a configuration is by default.
fn defaults() -> Config {
    let mut machine = FakeMachine::default();
    let file = "DOMAIN_OR_PUBLIC_IP=example.com\nOPENVIDU_SECRET=0123456789abcdef\n";
    machine.files.insert("/.env".into(), file.into());
    let options = Options {
        env_file: Some("/.env".into()),
        ..Options::default()
    };
    load(&machine, &options).expect("it is good").config
}

#[tokio::test]
async fn systemd_understands_every_line_of_the_units() {
    let (_copies, paths) = units();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).args(paths);
    let (status, out, err) = run_command(verify).await;
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""));
}

#[tokio::test]
async fn the_service_is_exposed_by_two_of_ten_at_most() {
    let (_copies, paths) = units();
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--no-pager", "--threshold=20"]);
    security.arg(&paths[0]);
    let (status, out, err) = run_command(security).await;
    assert_eq!(status, 0, "{out}{err}");
    let overall = out.lines().last().unwrap();
    assert!(overall.contains("exposure level"), "{out}");
    println!("{overall}");
}

#[test]
fn sockets_are_those_of_the_default_configuration() {
    let config = defaults();
    let local = |listen: Option<hanok::config::values::Listen>| {
        let listen = listen.unwrap();
        format!("{}:{}", listen.address.unwrap(), listen.port)
    };
    assert_eq!(
        values(&read("hanok.socket"), "ListenStream"),
        [
            config.web.https_port.to_string(),
            config.web.http_port.unwrap().to_string(),
            local(config.web.plain),
            config.turn.port.to_string(),
            local(config.admin_listen),
        ]
    );
    let turn = config.turn.port;
    assert_eq!(
        values(&read("hanok-turn-udp.socket"), "ListenDatagram"),
        [format!("0.0.0.0:{turn}"), format!("[::]:{turn}")]
    );
}

#[test]
fn the_service_is_given_the_folders_of_the_default_configuration_and_time_to_stop() {
    let config = defaults();
    let unit = read("hanok.service");
    let one = |key| values(&unit, key).join(" ");
    let hanok::config::settings::State::Folder(state) = config.state else {
        panic!("it is temporary");
    };
    assert_eq!(state, Path::new("/var/lib").join(one("StateDirectory")));
    let runtime = Path::new("/run").join(one("RuntimeDirectory"));
    assert_eq!(config.control_socket.unwrap().parent(), Some(&*runtime));
    let seconds = |key| one(key).parse::<u64>().unwrap();
    assert!(config.stop_deadline.as_secs() < seconds("TimeoutStopSec"));
    let final_status = one("RestartPreventExitStatus");
    assert_eq!(final_status, hanok::cli::EXIT_CONFIG.to_string());
}

#[test]
fn reserved_ports_are_the_first_of_media_and_those_of_relays() {
    let config = defaults();
    let text = read("sysctl.conf");
    let [reserved] = values(&text, "net.ipv4.ip_local_reserved_ports")[..] else {
        panic!("one list");
    };
    let ranges: Vec<(u16, u16)> = reserved
        .split(',')
        .map(|range| range.split_once('-').unwrap())
        .map(|(first, last)| (first.parse().unwrap(), last.parse().unwrap()))
        .collect();
    let (media, relay) = (config.media.ports, config.turn.relay_ports);
    assert_eq!(ranges[0].0, media.first());
    assert!(ranges[0].1 > media.first() && ranges[0].1 <= media.last());
    assert_eq!(ranges[1], (relay.first(), relay.last()));
    assert_eq!(ranges.len(), 2);
}

/// The system calls of a group, and of the groups in it.
fn system_calls(groups: &str, group: &str, calls: &mut BTreeSet<String>) {
    let members = groups
        .lines()
        .skip_while(|line| *line != group)
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        .map(str::trim)
        .filter(|member| !member.starts_with('#'));
    for member in members {
        match member.starts_with('@') {
            true => system_calls(groups, member, calls),
            false => drop(calls.insert(member.to_owned())),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_may_make_every_system_call_that_it_makes() {
    let list = Command::new("systemd-analyze")
        .args(["syscall-filter", "--no-pager"])
        .output()
        .unwrap();
    let groups = String::from_utf8(list.stdout).unwrap();
    let mut granted = BTreeSet::new();
    let unit = read("hanok.service");
    let filters = values(&unit, "SystemCallFilter");
    let [allowed, denied] = filters[..] else {
        panic!("{filters:?}");
    };
    system_calls(&groups, allowed, &mut granted);
    for group in denied.strip_prefix('~').unwrap().split(' ') {
        let mut calls = BTreeSet::new();
        system_calls(&groups, group, &mut calls);
        assert!(!calls.is_empty(), "{group} is no group");
        granted.retain(|call| !calls.contains(call));
    }

    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    // -D: it is the daemon that we get as a child, and the tracer its own.
    let tracing = ["strace", "-D", "-f", "-o", trace.to_str().unwrap()];
    let mut process = Process::start_by(&[], |command| under(&tracing, &command)).await;
    Witness::begin_at(process.plain)
        .await
        .has_lost_nothing()
        .await;
    process.reload_with(&[]);
    process.says("configuration reloaded").await;
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await, 0);
    let mut lines = String::new();
    eventually("the trace is written", async || {
        lines = std::fs::read_to_string(&trace).unwrap();
        lines.contains("exit_group(0)")
    })
    .await;
    let trace = lines;
    let made: BTreeSet<String> = trace
        .lines()
        .filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('))
        .map(|(name, _)| name.to_owned())
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
        .collect();
    assert!(made.len() > 30, "{made:?}");
    let refused: Vec<_> = made.difference(&granted).collect();
    assert!(refused.is_empty(), "{refused:?}");
}
