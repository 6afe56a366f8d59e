//! `etc/openvidu`: what it calls, and a report without secrets. systemctl and journalctl are stand-ins that say what they
//! were asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const SECRETS: [&str; 5] = [
    "0123456789abcdef",
    "turn-secret-of-ours",
    "hook-credential-77",
    "word-of-a-user",
    "made-in-the-state-folder",
];

/// A machine of stand-ins.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["systemctl", "journalctl", "apt-get"] {
            stage.program(name, "echo \"$(basename \"$0\") $*\"");
        }
        let hanok = env!("CARGO_BIN_EXE_hanok");
        stage.program("hanok", &format!("exec {hanok} \"$@\""));
        stage
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.path(&format!("bin/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/openvidu");
        let path = format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            self.path("bin").display()
        );
        Command::new(script)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("DOTENV_PATH", self.path(".env"))
            .env("HANOK_STATE_DIR", self.path("state"))
            .env("HANOK_CONTROL_SOCKET", self.path("control.sock"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn says(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    }
}

#[test]
fn each_command_calls_what_does_the_work() {
    let stage = Stage::new();
    for (arguments, said) in [
        (&["start"][..], "systemctl start hanok\n"),
        (&["stop"], "systemctl stop hanok\n"),
        (&["restart"], "systemctl restart hanok\n"),
        (&["logs"], "journalctl -u hanok --no-pager\n"),
        (&["logs", "-f"], "journalctl -u hanok -f -n 10\n"),
        (&["kms-logs", "--follow"], "journalctl -u hanok -f -n 10\n"),
    ] {
        assert_eq!(stage.says(arguments), (Some(0), said.to_owned()));
    }
    let (status, said) = stage.says(&["version"]);
    assert_eq!(status, Some(0));
    assert!(
        said.starts_with("hanok ") && said.contains("service: systemctl is-active hanok"),
        "{said}"
    );
    let (status, said) = stage.says(&["help"]);
    assert_eq!(status, Some(0));
    assert!(said.contains("Usage: openvidu COMMAND"));
    assert_eq!(stage.run(&["dance"]).status.code(), Some(64));
    let refused = stage.run(&["upgrade"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("hanok drain"));
    fs::write(stage.path("hanok.deb"), "").unwrap();
    assert_eq!(
        stage.says(&["upgrade", "hanok.deb"]),
        (Some(0), "apt-get install ./hanok.deb\n".to_owned())
    );
}

#[test]
fn a_report_tells_everything_but_secrets() {
    let stage = Stage::new();
    let [secret, turn, hook, user, state] = SECRETS;
    let file = format!(
        "DOMAIN_OR_PUBLIC_IP=call.example\nOPENVIDU_SECRET={secret}\nCOTURN_SHARED_SECRET_KEY={turn}\n\
         OPENVIDU_WEBHOOK_HEADERS=[\"Authorization: Bearer {hook}\"]\nHANOK_TURN_USERS=me:{user}\nHTTPS_PORT=8443\n"
    );
    fs::write(stage.path(".env"), file).unwrap();
    fs::create_dir(stage.path("state")).unwrap();
    fs::write(stage.path("state/turn-secret"), state).unwrap();
    // A log that says what it never should.
    let log = SECRETS
        .map(|secret| format!("echo 'a line with {secret} in it'"))
        .join("\n");
    stage.program("journalctl", &format!("{log}\necho the last line"));
    let (status, said) = stage.says(&["report"]);
    assert_eq!(status, Some(0), "{said}");
    let report = fs::read_dir(stage.folder.path())
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let mut report = report.filter(|path| path.to_string_lossy().contains("openvidu-report-"));
    let path = report.next().expect("a report");
    assert_eq!(report.next(), None, "nothing else is left");
    assert!(
        said.contains(path.file_name().unwrap().to_str().unwrap()),
        "{said}"
    );
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    let report = fs::read_to_string(path).unwrap();
    for secret in SECRETS {
        assert!(!report.contains(secret), "{secret} is in {report}");
    }
    for part in [
        "DOMAIN_OR_PUBLIC_IP=call.example",
        "HTTPS_PORT=8443",
        "a line with ******** in it",
        "the last line",
        "systemctl status --no-pager --lines=0 hanok",
        "== doctor",
    ] {
        assert!(report.contains(part), "{part:?} is not in {report}");
    }
}

#[test]
fn there_is_no_report_where_secrets_cannot_be_known() {
    let stage = Stage::new();
    // It exists and cannot be read, whoever runs this.
    fs::create_dir(stage.path(".env")).unwrap();
    let refused = stage.run(&["report"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("could not be masked"), "{said}");
    let left = fs::read_dir(stage.folder.path()).unwrap().flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().contains("report"));
    assert_eq!(left.count(), 0);
}
