//! Every verb of the command line, and the exit statuses that scripts rely on: 0 success, 1 it did not work, 64 wrong
//! usage, 78 configuration error.

use std::collections::BTreeSet;

use hanok::testing::client::LOOPBACK;

use crate::process::{Process, run};
use crate::turn::{Relayed, minted};

/// One call. In it, `SOCKET` stands for the control socket of a daemon that runs, `NOWHERE` for one of none, `ENV` for its
/// good `.env` file, `BAD` for a bad one, `EMPTY` for an empty folder, `TURN` for its
/// TURN port, `ALLOCATION` for an allocation there.
struct Row(&'static str, i32, &'static str);

/// In this order: some make what others end. The text is in what is printed, wherever.
const ROWS: &[Row] = &[
    Row("version", 0, "OpenVidu"),
    Row("version --json", 0, "openvidu"),
    Row("version extra", 64, "--help"),
    Row("man", 0, "hanok"),
    Row("man EMPTY", 0, ""),
    Row("man NOWHERE", 1, "NOWHERE"),
    Row("man a b", 64, "--help"),
    Row("completions bash", 0, "_hanok"),
    Row("completions cmd", 64, "--help"),
    Row("mask --env-file ENV", 0, ""),
    Row("mask --env-file EMPTY", 1, "EMPTY"),
    Row("mask extra", 64, "--help"),
    Row("migrate --from NOWHERE --dry-run", 1, "NOWHERE"),
    Row("migrate", 64, "--help"),
    Row("check-config --env-file ENV", 0, ".env"),
    Row("check-config --env-file BAD", 78, "HTTPS_PORT=x"),
    Row("check-config extra", 64, "--help"),
    Row("print-config --env-file ENV", 0, "OPENVIDU_SECRET=********"),
    Row("print-config --env-file BAD", 78, "HTTPS_PORT=x"),
    Row("print-config extra", 64, "--help"),
    Row("doctor --env-file BAD", 78, "HTTPS_PORT=x"),
    Row("doctor extra", 64, "--help"),
    Row("ports --env-file ENV", 0, "TURN"),
    Row("ports --env-file BAD", 78, "HTTPS_PORT=x"),
    Row("ports --format ini --env-file ENV", 64, "--help"),
    Row("serve --env-file BAD", 78, "HTTPS_PORT=x"),
    // The ports are taken by the one that runs.
    Row("serve --env-file ENV", 78, "cannot listen"),
    Row("serve --port 5", 64, "--help"),
    Row("status --socket SOCKET", 0, "takes new sessions"),
    Row("status --json --env-file ENV", 0, "\"sessions\":0"),
    Row("status --socket NOWHERE", 1, "NOWHERE"),
    Row("status --env-file NOWHERE", 78, "does not exist"),
    Row("status extra", 64, "--help"),
    Row("healthcheck --socket SOCKET", 0, "ok"),
    Row("healthcheck --socket NOWHERE", 1, "systemctl start hanok"),
    Row("healthcheck --env-file NOWHERE", 78, "does not exist"),
    Row("healthcheck extra", 64, "--help"),
    Row("token new room --socket SOCKET", 0, "wss://127.0.0.1"),
    Row(
        "token new room --role moderator --json --socket SOCKET",
        0,
        "MODERATOR",
    ),
    Row("token new room --socket NOWHERE", 1, "NOWHERE"),
    Row("token new room --env-file NOWHERE", 78, "does not exist"),
    Row("token new a/b --socket SOCKET", 64, "--help"),
    Row("token new room --role king --socket SOCKET", 64, "--help"),
    Row("sessions list --socket SOCKET", 0, "room"),
    Row("sessions list --json --socket SOCKET", 0, "\"pending\":2"),
    Row("sessions list --socket NOWHERE", 1, "NOWHERE"),
    Row("sessions list --env-file NOWHERE", 78, "does not exist"),
    Row("sessions list extra", 64, "--help"),
    Row(
        "drain --deadline 1h --socket SOCKET",
        0,
        "sessions left: 1, with participants: 0;",
    ),
    Row(
        "token new other --socket SOCKET",
        1,
        "about to be restarted",
    ),
    Row("token new room --socket SOCKET", 0, "wss://127.0.0.1"),
    Row(
        "drain --cancel --socket SOCKET",
        0,
        "new sessions are taken",
    ),
    Row("drain --cancel --socket SOCKET", 1, "nothing is draining"),
    Row("drain --socket NOWHERE", 1, "NOWHERE"),
    Row("drain --env-file NOWHERE", 78, "does not exist"),
    Row("drain --deadline 8d --socket SOCKET", 64, "--help"),
    Row("drain --deadline 1m --cancel --socket SOCKET", 64, "--help"),
    Row("sessions close room --socket SOCKET", 0, "is closed"),
    Row("sessions close room --socket SOCKET", 1, "no session room"),
    Row(
        "sessions close room --env-file NOWHERE",
        78,
        "does not exist",
    ),
    Row("sessions close --socket SOCKET", 64, "--help"),
    Row("reload --socket SOCKET", 0, "ENV is read"),
    Row("reload --socket NOWHERE", 1, "NOWHERE"),
    Row("reload --env-file NOWHERE", 78, "does not exist"),
    Row("reload extra", 64, "--help"),
    Row("turn list --socket SOCKET", 0, "1 allocations"),
    Row(
        "turn list --json --socket SOCKET",
        0,
        "\"protocol\":\"udp\"",
    ),
    Row("turn list --socket NOWHERE", 1, "NOWHERE"),
    Row("turn list --env-file NOWHERE", 78, "does not exist"),
    Row("turn list extra", 64, "--help"),
    Row("turn kick ALLOCATION --socket SOCKET", 0, "has ended"),
    Row(
        "turn kick ALLOCATION --socket SOCKET",
        1,
        "no such allocation",
    ),
    Row("turn kick 0.1.1 --env-file NOWHERE", 78, "does not exist"),
    Row("turn kick everything --socket SOCKET", 64, "--help"),
    Row("turn-cred new --env-file ENV", 0, "credential"),
    Row("turn-cred new --env-file BAD", 78, "HTTPS_PORT=x"),
    Row("turn-cred new --ttl 0", 64, "--help"),
    // Nobody's authority has signed what the daemon has made for itself; more of these is in `acme`.
    Row("cert status --env-file ENV", 1, "warn of it"),
    Row("cert status --env-file BAD", 78, "HTTPS_PORT=x"),
    Row("cert status extra", 64, "--help"),
    Row("cert renew --env-file ENV", 1, "renewed by itself"),
    Row("cert renew --env-file BAD", 78, "HTTPS_PORT=x"),
    Row("cert renew extra", 64, "--help"),
    Row("cert import EMPTY --env-file ENV", 1, "letsencrypt"),
    Row("cert import EMPTY --env-file BAD", 78, "HTTPS_PORT=x"),
    Row("cert import", 64, "--help"),
    Row(
        "loadtest --url ftp://example.com --secret x",
        1,
        "ftp://example.com",
    ),
    Row("loadtest --url http://127.0.0.1", 64, "OPENVIDU_SECRET"),
    Row(
        "loadtest turn answer --url turn:127.0.0.1:TURN --duration 0.5",
        0,
        "answer",
    ),
    Row(
        "loadtest turn answer --url turn:127.0.0.1:9 --duration 0.05",
        1,
        "did not answer",
    ),
    Row("loadtest turn sideways", 64, "--help"),
];

/// Verbs whose success is another test's: they run until they are told to stop, or depend on the machine.
const SUCCEED_ELSEWHERE: &[&str] = &[
    "migrate",
    "serve",
    "doctor",
    "cert status",
    "cert renew",
    "cert import",
    "loadtest",
];

/// Verbs that fail by the command line or the configuration alone; `doctor` fails in a test of its own.
const NEVER_FAIL_HERE: &[&str] = &[
    "completions",
    "version",
    "check-config",
    "print-config",
    "doctor",
    "ports",
    "serve",
    "turn-cred new",
];

/// What every verb can do wrong.
const NOBODY: &[&str] = &[];

/// Verbs that read no configuration, or nothing but its secrets; `migrate` reads another one's, in tests of its own.
const NEVER_READ: &[&str] = &[
    "version",
    "man",
    "completions",
    "loadtest",
    "mask",
    "migrate",
];

/// Words of the command line that are verbs, as the help lists them; those that have verbs of their own with these.
async fn verbs(path: &[&str]) -> BTreeSet<String> {
    let (status, help, _) = run(&[path, &["--help"]].concat()).await;
    assert_eq!(status, 0, "{path:?}");
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty() && *word != "help");
    let mut verbs = BTreeSet::new();
    for word in listed {
        let whole = [path, &[word]].concat();
        let below = Box::pin(self::verbs(&whole)).await;
        // What also does something by itself has a usage of its own.
        if below.is_empty() || word == "loadtest" {
            verbs.insert(whole.join(" "));
        }
        // Kinds of load are no verbs.
        if word != "loadtest" {
            verbs.extend(below);
        }
    }
    verbs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_verb_has_its_exit_statuses() {
    let lines = [
        "DOMAIN_OR_PUBLIC_IP=127.0.0.1",
        "OPENVIDU_SECRET=secret_of_the_verbs",
        "COTURN_SHARED_SECRET_KEY=key_of_the_verbs",
    ];
    let folder = tempfile::tempdir().unwrap();
    let state = format!("HANOK_STATE_DIR={}", folder.path().join("state").display());
    let process = Process::start_with(&[&lines[..], &[state.as_str()]].concat()).await;
    let bad = folder.path().join("bad.env");
    std::fs::write(&bad, "HTTPS_PORT=x\n").unwrap();
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let (username, password) = minted("key_of_the_verbs", "somebody");
    let mut client = Relayed::between(LOOPBACK, process.turn, &username, &password).await;
    assert_eq!(client.allocate().await, 0);
    let (_, allocations, _) = process.verb(&["turn", "list", "--json"]).await;
    let allocations: serde_json::Value = serde_json::from_str(&allocations).unwrap();
    let shown = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let words = [
        ("SOCKET", shown(process.control_socket())),
        ("NOWHERE", shown(folder.path().join("none.sock"))),
        ("ENV", shown(process.file())),
        ("BAD", shown(bad)),
        ("EMPTY", shown(empty)),
        ("TURN", process.turn.port().to_string()),
        (
            "ALLOCATION",
            allocations[0]["id"].as_str().unwrap().to_owned(),
        ),
    ];
    let fill = |text: &str| {
        let is_name = |word: &str| word.starts_with("OPENVIDU_") || word.starts_with("HTTPS_");
        let fill_word = |word: &str| {
            if is_name(word) {
                return word.to_owned();
            }
            let filled = words.iter().find_map(|(name, value)| {
                let (before, after) = word.split_once(name)?;
                Some(format!("{before}{value}{after}"))
            });
            filled.unwrap_or_else(|| word.to_owned())
        };
        text.split(' ').map(fill_word).collect::<Vec<_>>()
    };
    let mut wrong = Vec::new();
    for Row(line, expected, text) in ROWS {
        let arguments = fill(line);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (status, out, err) = run(&arguments).await;
        let text = fill(text).join(" ");
        if status != *expected || !(out.contains(&text) || err.contains(&text)) {
            wrong.push(format!(
                "{line}: {status} instead of {expected}, {text:?}?\n{out}{err}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_knows_every_verb_and_every_status_that_it_may_have() {
    let verbs = verbs(&[]).await;
    assert!(
        verbs.contains("sessions close") && verbs.len() > 12,
        "{verbs:?}"
    );
    let mut missing = Vec::new();
    for verb in &verbs {
        let has = |status: i32| {
            let mut rows = ROWS.iter();
            rows.any(|Row(line, its, _)| line.starts_with(verb.as_str()) && *its == status)
        };
        for (status, excuse) in [
            (0, SUCCEED_ELSEWHERE),
            (1, NEVER_FAIL_HERE),
            (64, NOBODY),
            (78, NEVER_READ),
        ] {
            if !has(status) && !excuse.contains(&verb.as_str()) {
                missing.push(format!("a row of `{verb}` that ends with {status}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
