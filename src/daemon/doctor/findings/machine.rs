//! Clock, limits, buffers, kernel, disk.

use crate::daemon::doctor::facts::{Disk, Facts};
use crate::views::finding::Finding;

const CLOCK: &str = "clock";
const DESCRIPTORS: &str = "file descriptors";
const BUFFERS: &str = "socket buffers";
const RUNS: &str = "UDP in runs";
const DISK: &str = "disk";

/// Beyond it, certificates and credentials that are good seem to be none; every TOTP fails long before.
const CLOCK_WRONG_MS: u64 = 120_000;

/// A kept clock is never as far off.
const CLOCK_OFF_MS: u64 = 2_000;

/// Below it a few hundred participants over TCP use them up.
const FEW_DESCRIPTORS: u64 = 16_384;

/// Below it a start fails.
const TOO_FEW_DESCRIPTORS: u64 = 512;

/// What the media sockets ask for (`media::net::udp`).
const BUFFER: u64 = 4 << 20;

/// A certificate, an account and their drafts need less; recordings, more.
const LITTLE_SPACE: u64 = 512 << 20;
const NO_SPACE: u64 = 8 << 20;
const FEW_FILES: u64 = 1_000;

pub(super) fn judge(facts: &Facts, found: &mut Vec<Finding>) {
    clock(facts, found);
    descriptors(facts, found);
    buffers(facts, found);
    runs(facts, found);
    if let Some(state) = &facts.disk {
        disk(state, found);
    }
}

fn clock(facts: &Facts, found: &mut Vec<Finding>) {
    const SYNCHRONISE: &str = "timedatectl set-ntp true";
    let clock = facts.clock;
    let ahead = clock.ahead_ms.unwrap_or_default();
    let off = ahead.unsigned_abs();
    let shown = format!(
        "{}.{:01} s {} the time servers'",
        off / 1000,
        off % 1000 / 100,
        if ahead < 0 { "behind" } else { "ahead of" }
    );
    let wrong = format!("the clock is {shown}");
    found.push(match (clock.ahead_ms, clock.is_kept) {
        (Some(_), _) if off > CLOCK_WRONG_MS => Finding::error(
            CLOCK,
            wrong,
            "certificates cannot be ordered or seem expired, and TURN credentials end at another time than clients think",
        )
        .fix(SYNCHRONISE),
        (Some(_), _) if off > CLOCK_OFF_MS => {
            Finding::warning(CLOCK, wrong, "nothing keeps it right, so it goes on drifting").fix(SYNCHRONISE)
        }
        (_, Some(false)) => Finding::warning(
            CLOCK,
            "nothing keeps the clock right (timedatectl: NTPSynchronized=no)",
            "it drifts until certificates and TURN credentials are refused",
        )
        .fix(SYNCHRONISE),
        (Some(_), _) => Finding::ok(CLOCK, shown),
        (None, Some(true)) => Finding::ok(CLOCK, "the system keeps it right"),
        (None, None) => Finding::unknown(CLOCK, "no time server answered, and the system does not say"),
    });
}

fn descriptors(facts: &Facts, found: &mut Vec<Finding>) {
    const WHY: &str =
        "every connection takes one, and so does every TURN allocation with a foreign peer";
    const FIX: &str = "systemctl edit hanok  # [Service] LimitNOFILE=524288";
    let whose = if facts.daemon.is_some() {
        "the daemon"
    } else {
        "a process started from here"
    };
    found.push(match facts.kernel.descriptors {
        None => Finding::unknown(DESCRIPTORS, "how many are granted"),
        Some(few) if few < TOO_FEW_DESCRIPTORS => {
            Finding::error(DESCRIPTORS, format!("{whose} may have {few}"), WHY).fix(FIX)
        }
        Some(few) if few < FEW_DESCRIPTORS => {
            Finding::warning(DESCRIPTORS, format!("{whose} may have {few}"), WHY).fix(FIX)
        }
        Some(u64::MAX) => Finding::ok(DESCRIPTORS, format!("{whose} may have as many as it likes")),
        Some(enough) => Finding::ok(DESCRIPTORS, format!("{whose} may have {enough}")),
    });
}

fn buffers(facts: &Facts, found: &mut Vec<Finding>) {
    let names = ["net.core.rmem_max", "net.core.wmem_max"];
    let mut small: Vec<(&str, u64)> = Vec::new();
    for (name, size) in names.into_iter().zip(facts.kernel.buffers) {
        match size {
            None => {
                found.push(Finding::unknown(BUFFERS, format!("{name} cannot be read")));
                return;
            }
            Some(size) if size < BUFFER => small.push((name, size)),
            Some(_) => {}
        }
    }
    if small.is_empty() {
        found.push(Finding::ok(
            BUFFERS,
            "4 MiB or more, as the media threads ask for",
        ));
        return;
    }
    let shown: Vec<String> = small
        .iter()
        .map(|(name, size)| format!("{name} is {size}"))
        .collect();
    let mut finding = Finding::warning(
        BUFFERS,
        shown.join(", "),
        "key frames of many publishers at once do not fit, and packets are lost here",
    );
    for (name, _) in &small {
        finding = finding.fix(format!("sysctl -w {name}={BUFFER}"));
    }
    let lines: Vec<String> = small
        .iter()
        .map(|(name, _)| format!("{name} = {BUFFER}"))
        .collect();
    found.push(finding.fix(format!(
        "printf '{}\\n' > /etc/sysctl.d/60-hanok-buffers.conf",
        lines.join("\\n")
    )));
}

fn runs(facts: &Facts, found: &mut Vec<Finding>) {
    found.push(match facts.kernel.sends_runs {
        None => Finding::unknown(RUNS, "no UDP socket could be opened"),
        Some(true) => Finding::ok(
            RUNS,
            "the kernel takes several packets for one receiver at once (GSO)",
        ),
        Some(false) => Finding::warning(
            RUNS,
            "the kernel takes one packet at a time (no UDP GSO)",
            "sending costs several times the CPU",
        )
        .fix("uname -r  # it is there from Linux 4.18 on; some containers' sandboxes lack it"),
    });
}

fn disk(disk: &Disk, found: &mut Vec<Finding>) {
    let path = disk.path.display();
    let free = size(disk.free);
    let why = "hanok cannot keep certificates, secrets and records";
    if disk.is_read_only {
        found.push(
            Finding::error(
                DISK,
                format!("{path} lies on a file system that is read-only"),
                why,
            )
            .fix(format!(
                "mount -o remount,rw \"$(findmnt -no TARGET -T {path})\""
            ))
            .fix("or set HANOK_STATE_DIR to a folder elsewhere"),
        );
        return;
    }
    let finding: fn(&'static str, String, String) -> Finding =
        if disk.free < NO_SPACE || disk.files == Some(0) {
            Finding::error
        } else {
            Finding::warning
        };
    if disk.free < LITTLE_SPACE {
        found.push(
            finding(
                DISK,
                format!("{free} are free where {path} lies"),
                why.to_owned(),
            )
            .fix(format!(
                "du -xh --max-depth=2 \"$(findmnt -no TARGET -T {path})\" | sort -h | tail"
            ))
            .fix("journalctl --vacuum-size=200M"),
        );
    } else if let Some(files) = disk.files.filter(|files| *files < FEW_FILES) {
        found.push(
            finding(
                DISK,
                format!("{files} files can still be made where {path} lies"),
                why.to_owned(),
            )
            .fix(format!("df -i {path}")),
        );
    } else {
        found.push(Finding::ok(
            DISK,
            format!("{free} are free where {path} lies"),
        ));
    }
}

/// As people read it.
fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;
    if bytes >= 10 * GIB {
        format!("{} GiB", bytes / GIB)
    } else if bytes >= MIB {
        format!("{} MiB", bytes / MIB)
    } else {
        format!("{} KiB", bytes / 1024)
    }
}
