//! `hanok doctor` on real machines: one thing at a time is made wrong, where no other program notices.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hanok::testing::client::PATIENCE;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::house::free_port;
use crate::process::Process;

/// A folder that others may enter, with a `.env` file on ports of its own and these lines; nobody outside is asked.
struct Patient {
    folder: TempDir,
}

impl Patient {
    fn new(lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let patient = Self { folder };
        let text = format!(
            "DOMAIN_OR_PUBLIC_IP=call.example.com\nOPENVIDU_SECRET=0f3b8c1d9e7a24650f3b8c1d\nHTTPS_PORT={}\nHTTP_PORT={}\n\
             COTURN_PORT={}\nHANOK_PLAIN_LISTEN=127.0.0.1:{}\nHANOK_ADMIN_LISTEN=\nHANOK_PUBLIC_ADDRESS_SERVERS=\n\
             HANOK_WORKERS=2\nHANOK_STATE_DIR={}\n{lines}\n",
            free_port(),
            free_port(),
            free_port(),
            free_port(),
            patient.path("state").display(),
        );
        std::fs::write(patient.path(".env"), text).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(patient.path(".env"), private).unwrap();
        patient
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// What the doctor finds, and its exit status.
    async fn examine(&self, arguments: &[&str]) -> (i32, Value) {
        examine(
            Command::new(env!("CARGO_BIN_EXE_hanok")),
            &self.path(".env"),
            arguments,
        )
        .await
    }

    /// The same in namespaces of its own, after these commands of a shell; `$1` is our folder. `None` where users may have
    /// no namespaces.
    async fn examine_after(&self, commands: &str, kinds: &[&str]) -> Option<(i32, Value)> {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).args(kinds);
        let can = Command::new("unshare")
            .args(["--user", "--map-root-user"])
            .args(kinds)
            .arg("true")
            .status();
        if !can.is_ok_and(|status| status.success()) {
            return None;
        }
        let script = format!("set -e; {commands}; shift; exec \"$@\"");
        command.args(["sh", "-c", &script, "sh"]);
        command
            .arg(self.folder.path())
            .arg(env!("CARGO_BIN_EXE_hanok"));
        Some(examine(command, &self.path(".env"), &[]).await)
    }
}

async fn examine(mut command: Command, file: &Path, arguments: &[&str]) -> (i32, Value) {
    command
        .args(["doctor", "--json", "--env-file"])
        .arg(file)
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null());
    let running = tokio::task::spawn_blocking(move || command.output());
    let output: Output = tokio::time::timeout(PATIENCE, running)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap();
    let told = serde_json::from_slice(&output.stdout);
    let told = told.unwrap_or_else(|error| {
        panic!(
            "{error}: {} {}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (output.status.code().unwrap(), told)
}

/// What was found about one thing: level and text of each finding.
fn about(found: &Value, topic: &str) -> Vec<(String, String)> {
    let findings = found["findings"].as_array().unwrap();
    let findings = findings.iter().filter(|finding| finding["topic"] == topic);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let both = |finding: &Value| (text(&finding["level"]), text(&finding["what"]));
    findings.map(both).collect()
}

#[track_caller]
fn assert_found(found: &Value, topic: &str, level: &str, words: &str) {
    let about = about(found, topic);
    let is_found = about
        .iter()
        .any(|(found, what)| found == level && what.contains(words));
    assert!(is_found, "{level} {words:?} is not in {about:#?}");
}

#[tokio::test]
async fn a_busy_port_is_found_with_its_owner() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let patient = Patient::new(&format!("HTTPS_PORT={port}"));
    let (status, found) = patient.examine(&["--offline"]).await;
    assert_eq!((status, &found["good"]), (1, &Value::Bool(false)));
    let owner = format!("(pid {}) has {port}/tcp", std::process::id());
    assert_found(&found, "ports", "error", &owner);
    drop(listener);
    let (_, found) = patient.examine(&["--offline"]).await;
    assert_found(&found, "ports", "ok", &format!("{port}/tcp"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ports_of_the_daemon_that_runs_with_this_configuration_are_good() {
    let http = format!("HTTP_PORT={}", free_port());
    let process = Process::start_with(&[&http, "HANOK_ADMIN_LISTEN="]).await;
    let mut command = Command::new("env");
    command.args([
        "DOMAIN_OR_PUBLIC_IP=127.0.0.1",
        "OPENVIDU_SECRET=0f3b8c1d9e7a24650f3b8c1d",
        // `--dev` listens on loopback.
        "HANOK_BIND=127.0.0.1",
        env!("CARGO_BIN_EXE_hanok"),
    ]);
    let (_, found) = examine(command, &process.file(), &["--offline"]).await;
    assert_found(&found, "ports", "ok", "hanok (pid ");
    assert_found(
        &found,
        "ports",
        "ok",
        &format!("{}/tcp", process.plain.port()),
    );
    assert_found(&found, "media ports", "ok", "for 2 media threads");
    assert_found(&found, "configuration", "ok", "runs");
}

#[tokio::test]
async fn files_that_everybody_may_read_are_found() {
    let patient = Patient::new("COTURN_SHARED_SECRET_KEY_FILE=/nowhere");
    let secret = patient.path("turn-key");
    let lines = std::fs::read_to_string(patient.path(".env")).unwrap();
    let lines = lines.replace("/nowhere", secret.to_str().unwrap());
    std::fs::write(patient.path(".env"), lines).unwrap();
    std::fs::write(&secret, "9e7a24650f3b8c1d9e7a2465\n").unwrap();
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&secret, 0o600);
    let (_, found) = patient.examine(&["--offline"]).await;
    assert!(
        about(&found, "files")
            .iter()
            .all(|(level, _)| level != "warning"),
        "{found:#}"
    );
    set(&secret, 0o644);
    set(&patient.path(".env"), 0o644);
    let (_, found) = patient.examine(&["--offline"]).await;
    assert_found(&found, "files", "warning", "turn-key (mode 0644)");
    assert_found(&found, "files", "warning", ".env (mode 0644)");
    // The start says it, too.
    assert_found(&found, "configuration", "warning", "turn-key");
    assert!(!found.to_string().contains("9e7a2465"), "{found:#}");
}

#[tokio::test]
async fn a_full_disk_is_found() {
    let patient = Patient::new("");
    std::fs::create_dir(patient.path("state")).unwrap();
    let mount = |size: &str, then: &str| {
        format!("mount -t tmpfs -o size={size},nr_inodes=2000 none \"$1/state\"; {then}")
    };
    for (commands, level, words) in [
        (mount("64m", ":"), "warning", "64 MiB are free"),
        (mount("4m", ":"), "error", "4 MiB are free"),
        (
            mount(
                "1g",
                "i=0; while touch \"$1/state/$i\" 2>/dev/null; do i=$((i+1)); done",
            ),
            "error",
            "0 files can still be made",
        ),
        (
            mount("1g", "mount -o remount,ro \"$1/state\""),
            "error",
            "read-only",
        ),
    ] {
        let Some((_, found)) = patient.examine_after(&commands, &["--mount"]).await else {
            return;
        };
        assert_found(&found, "disk", level, words);
    }
}

#[tokio::test]
async fn ports_that_the_kernel_gives_to_clients_are_found() {
    let patient = Patient::new("");
    let ranges = |range: &str, reserved: &str| {
        let folder = "/proc/sys/net/ipv4";
        format!(
            "echo '{range}' > {folder}/ip_local_port_range; echo '{reserved}' > {folder}/ip_local_reserved_ports"
        )
    };
    for (commands, level, words) in [
        (
            ranges("32768 60999", ""),
            "warning",
            "40000-40001,57001-60999",
        ),
        (
            ranges("32768 60999", "40000-40001"),
            "warning",
            "may give 57001-60999",
        ),
        (
            ranges("32768 60999", "40000-40127,57001-65535"),
            "ok",
            "without ours",
        ),
        (ranges("10000 20000", ""), "ok", "10000-20000"),
    ] {
        let Some((_, found)) = patient.examine_after(&commands, &["--net"]).await else {
            return;
        };
        assert_found(&found, "ephemeral ports", level, words);
    }
}

#[tokio::test]
async fn a_closed_firewall_is_found_until_the_lines_of_hanok_ports_open_it() {
    let patient = Patient::new("");
    let table = "nft add table inet filter; \
                 nft 'add chain inet filter input { type filter hook input priority 0; policy drop; }'; \
                 nft add rule inet filter input ct state established,related accept; \
                 nft add rule inet filter input tcp dport 22 accept";
    let Some((status, found)) = patient.examine_after(table, &["--net"]).await else {
        return;
    };
    assert_eq!(status, 1);
    assert_found(&found, "firewall", "error", "40000-40001/udp");
    let hanok = env!("CARGO_BIN_EXE_hanok");
    let open = format!("{table}; {hanok} ports --env-file \"$1/.env\" --format nft | sh -e");
    let (_, found) = patient.examine_after(&open, &["--net"]).await.unwrap();
    assert_found(&found, "firewall", "ok", "lets everything in");
    // What a finding itself proposes does it as well.
    let finding = format!(
        "{table}; {hanok} doctor --json --offline --env-file \"$1/.env\" | grep -o 'nft insert rule [^\"]*' | sh -e"
    );
    let (_, found) = patient.examine_after(&finding, &["--net"]).await.unwrap();
    assert_found(&found, "firewall", "ok", "lets everything in");
    let (_, found) = patient.examine_after(":", &["--net"]).await.unwrap();
    assert_found(&found, "firewall", "ok", "none on this machine");
}

/// A name server that knows these addresses of every name, and its CAA records.
async fn name_server(
    at: SocketAddr,
    addresses: &'static [[u8; 4]],
    issuer: &'static str,
) -> Option<JoinSet<()>> {
    let serving = UdpSocket::bind(at).await.ok()?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = serving.recv_from(&mut query).await {
            let query = &query[..length];
            let kind = u16::from_be_bytes([query[length - 4], query[length - 3]]);
            let records: Vec<Vec<u8>> = match kind {
                1 => addresses.iter().map(|octets| octets.to_vec()).collect(),
                257 => vec![[b"\0\x05issue", issuer.as_bytes()].concat()],
                _ => Vec::new(),
            };
            let mut answer = query.to_vec();
            answer[2] |= 0x80;
            answer[7] = u8::try_from(records.len()).unwrap();
            for record in records {
                answer.extend([0xc0, 12]);
                for word in [kind, 1, 0, 60, u16::try_from(record.len()).unwrap()] {
                    answer.extend(word.to_be_bytes());
                }
                answer.extend(record);
            }
            let _ = serving.send_to(&answer, from).await;
        }
    });
    Some(tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_dns_says_is_found() {
    let patient = Patient::new(
        "HANOK_EXTERNAL_IP=8.8.4.4\nCERTIFICATE_TYPE=letsencrypt\nLETSENCRYPT_EMAIL=me@example.org\nHANOK_ACME_PORTS_FORWARDED=true",
    );
    let [high, low] = std::process::id().to_be_bytes()[2..] else {
        unreachable!("two of four bytes")
    };
    for (host, addresses, issuer, (dns, dns_words), caa) in [
        (
            1,
            &[[8, 8, 4, 4]][..],
            "letsencrypt.org",
            ("ok", "leads here: 8.8.4.4"),
            "ok",
        ),
        (
            2,
            &[[9, 9, 9, 9]],
            "pki.goog",
            ("error", "leads to 9.9.9.9, but this machine is 8.8.4.4"),
            "error",
        ),
        (
            3,
            &[[104, 16, 0, 1]],
            "letsencrypt.org",
            ("warning", "Cloudflare"),
            "ok",
        ),
        (
            4,
            &[],
            "letsencrypt.org",
            ("error", "neither an A nor an AAAA"),
            "ok",
        ),
    ] {
        let address = Ipv4Addr::new(127, high.max(1), low, host);
        // Nobody but root may have the port of name servers.
        let Some(_server) = name_server((address, 53).into(), addresses, issuer).await else {
            return;
        };
        std::fs::write(
            patient.path("resolv.conf"),
            format!("nameserver {address}\n"),
        )
        .unwrap();
        let mount = "mount --bind \"$1/resolv.conf\" \"$(realpath /etc/resolv.conf)\"";
        let Some((_, found)) = patient.examine_after(mount, &["--mount"]).await else {
            return;
        };
        assert_found(&found, "DNS", dns, dns_words);
        assert_found(&found, "CAA", caa, "");
    }
}

#[tokio::test]
async fn a_bad_configuration_is_status_78_and_nobody_is_examined() {
    let patient = Patient::new("HTTPS_PORT=none");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hanok"));
    command
        .arg("doctor")
        .arg("--env-file")
        .arg(patient.path(".env"))
        .env_clear();
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("HTTPS_PORT=none"));
}
