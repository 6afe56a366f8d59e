//! `hanok status`: the daemon as it is, and what the operator should know of it.

use std::io::{self, Write};

use http::Method;

use crate::cli::control::{SocketArguments, failed, printable};
use crate::cli::{EXIT_FAILURE, EXIT_SUCCESS, Terminal, duration};
use crate::config::Machine;
use crate::front::proxy::http_date::http_date;
use crate::units::clock;
use crate::views::control::{Drain, Severity, Status};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    socket: SocketArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run<O: Write, E: Write>(
    Arguments { socket, json }: Arguments,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let daemon = match socket.daemon(machine, terminal)? {
        Ok(daemon) => daemon,
        Err(status) => return Ok(status),
    };
    let status: Status = match daemon.ask(Method::GET, "/status", None) {
        Ok(status) => status,
        Err(failure) => return failed(&failure, terminal),
    };
    if json {
        writeln!(terminal.out, "{}", serde_json::json!(status))?;
    } else {
        let now = clock::wall_ms() / 1000;
        tell(&status, now, &mut terminal.out)?;
    }
    let is_bad = |severity| severity == Severity::Problem;
    Ok(if status.findings.iter().any(|it| is_bad(it.severity)) {
        EXIT_FAILURE
    } else {
        EXIT_SUCCESS
    })
}

fn tell(status: &Status, now: u64, out: &mut impl Write) -> io::Result<()> {
    let mut line = |title: &str, text: String| writeln!(out, "{title:13} {text}");
    line(
        "hanok",
        format!(
            "{} (OpenVidu {}), process {}, up {}",
            status.version,
            status.openvidu,
            status.pid,
            duration::shown(status.uptime_secs)
        ),
    )?;
    line("address", format!("{}/", status.url))?;
    line(
        "configuration",
        match &status.file {
            Some(file) => file.display().to_string(),
            None => "no file, the process environment alone".to_owned(),
        },
    )?;
    line(
        "state",
        match status.drain {
            Drain::Running => "takes new sessions".to_owned(),
            Drain::Draining { until } => format!(
                "draining: ends with the last session, in {} at the latest",
                duration::shown(until.saturating_sub(now))
            ),
            Drain::Drained => "drained: is ending".to_owned(),
        },
    )?;
    line(
        "sessions",
        format!(
            "{} with {} connections, {} streams, {} subscriptions; {} WebSockets",
            status.sessions,
            status.connections,
            status.streams,
            status.subscriptions,
            status.sockets
        ),
    )?;
    line(
        "turn",
        match status.allocations {
            Some(allocations) => format!("{allocations} allocations"),
            None => "does not answer".to_owned(),
        },
    )?;
    if let Some(certificate) = &status.certificate {
        let left = certificate.not_after.saturating_sub(now);
        let left = match left {
            0 => "expired".to_owned(),
            left => format!("{} left", duration::shown(left)),
        };
        line(
            "certificate",
            format!(
                "{} for {}, until {} ({left}), {}",
                certificate.source,
                printable(&certificate.names.join(", ")),
                http_date(certificate.not_after),
                if certificate.is_trusted {
                    "browsers accept it"
                } else {
                    "browsers warn of it"
                }
            ),
        )?;
    }
    for listener in &status.listeners {
        line(
            "listening",
            format!(
                "{} on {} {}",
                listener.purpose, listener.protocol, listener.address
            ),
        )?;
    }
    for worker in &status.workers {
        line(
            "worker",
            format!(
                "{}: {:.1} % busy, {} rooms, {} transports, {} TCP for media, {} for TURN, {} relay sockets",
                worker.index,
                worker.busy_percent,
                worker.rooms,
                worker.transports,
                worker.streams,
                worker.turn_streams,
                worker.relay_sockets
            ),
        )?;
    }
    for finding in &status.findings {
        let title = match finding.severity {
            Severity::Problem => "PROBLEM",
            Severity::Warning => "warning",
        };
        line(title, printable(&finding.text))?;
    }
    Ok(())
}
