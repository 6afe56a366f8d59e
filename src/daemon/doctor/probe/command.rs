//! Programs of the system whose output tells what no file does.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a program may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// More than any rule set that a person has written.
const LONGEST: u64 = 8 << 20;

/// What a program prints, in English; why it does not otherwise.
pub(super) fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    // Administrators' programs are not in everybody's PATH.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env(
            "PATH",
            format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    let (done, read) = mpsc::sync_channel(1);
    if let Some(stdout) = child.stdout.take() {
        // It ends when the program does, at the latest when that is killed below.
        thread::spawn(move || {
            let mut text = Vec::new();
            let result = stdout.take(LONGEST).read_to_end(&mut text);
            let _ = done.send(result.map(|_| text));
        });
    }
    let text = read.recv_timeout(DEADLINE);
    if text.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let text = text
        .map_err(|_| format!("{program} does not end"))?
        .map_err(|error| error.to_string())?;
    if status.success() {
        String::from_utf8(text).map_err(|_| format!("{program} prints no UTF-8"))
    } else {
        Err(format!("{program} fails"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_prints_fails_is_missing_or_takes_too_long() {
        assert_eq!(output("echo", &["한옥"]).as_deref(), Ok("한옥\n"));
        assert!(output("false", &[]).unwrap_err().contains("fails"));
        assert!(
            output("hanok-none", &[])
                .unwrap_err()
                .contains("cannot be run")
        );
        assert!(
            output("sleep", &["60"])
                .unwrap_err()
                .contains("does not end")
        );
        let long = output("sh", &["-c", "yes | head -c 1000000"]).unwrap();
        assert_eq!(long.len(), 1_000_000);
    }
}
