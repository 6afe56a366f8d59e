//! `hanok ports`: what a firewall has to let in for this configuration, as a list or as commands.

use std::io::{self, Write};

use crate::cli::{EXIT_CONFIG, EXIT_SUCCESS, FileArguments, Terminal};
use crate::config::ports::{Need, Protocol, Reach, needs, workers};
use crate::config::{Config, Machine, load};
use crate::units::PortRange;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: FileArguments,
    /// A list with reasons, or commands for a firewall, or rows for a cloud provider's console
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Open the relay ports too, for applications whose peers are not on this server
    #[arg(long)]
    relay: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Text,
    Ufw,
    Nft,
    Cloud,
}

pub(super) fn run<O: Write, E: Write>(
    arguments: Arguments,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let Arguments {
        file,
        format,
        relay,
    } = arguments;
    let config = match load(machine, &file.options()) {
        Ok(loaded) => loaded.config,
        Err(report) => {
            write!(terminal.err, "{report}")?;
            return Ok(EXIT_CONFIG);
        }
    };
    let workers = workers(&config, machine.cores());
    let mut needs = needs(&config, workers);
    if relay {
        for need in &mut needs {
            if need.reach == Reach::PeersIfAny {
                need.reach = Reach::Peers;
            }
        }
    }
    let out = &mut terminal.out;
    match format {
        Format::Text => text(&config, workers, &needs, out)?,
        Format::Ufw => ufw(&needs, out)?,
        Format::Nft => nft(&needs, out)?,
        Format::Cloud => cloud(&needs, out)?,
    }
    Ok(EXIT_SUCCESS)
}

/// What has to be opened.
fn opened(needs: &[Need]) -> impl Iterator<Item = &Need> {
    needs
        .iter()
        .filter(|need| matches!(need.reach, Reach::Everybody | Reach::Peers))
}

/// One port, or the first and the last with `between` them.
pub(super) fn span(ports: PortRange, between: char) -> String {
    if ports.first() == ports.last() {
        ports.first().to_string()
    } else {
        format!("{}{between}{}", ports.first(), ports.last())
    }
}

fn text(config: &Config, workers: usize, needs: &[Need], out: &mut impl Write) -> io::Result<()> {
    let from = config.file.as_ref().map_or_else(
        || "the process environment".to_owned(),
        |file| file.display().to_string(),
    );
    let threads = if workers == 1 { "thread" } else { "threads" };
    writeln!(out, "Ports for {from}, with {workers} media {threads}")?;
    for (reach, title) in [
        (Reach::Everybody, "Open to everybody:"),
        (
            Reach::Peers,
            "Open to everybody, for the peers of applications that relay through this TURN server:",
        ),
        (
            Reach::PeersIfAny,
            "Only if applications of yours relay through this TURN server to peers elsewhere (--relay):",
        ),
        (Reach::Inside, "Not to be opened:"),
    ] {
        let mut group = needs.iter().filter(|need| need.reach == reach).peekable();
        if group.peek().is_none() {
            continue;
        }
        writeln!(out, "\n{title}")?;
        for need in group {
            writeln!(
                out,
                "  {:<12} {}  {} ({})",
                span(need.ports, '-'),
                need.protocol,
                need.purpose,
                need.key
            )?;
        }
    }
    let media = config.media.ports;
    let relay = config.turn.relay_ports;
    writeln!(
        out,
        "\nOpenVidu's list is longer: {media} for media and {relay} for relaying, UDP and TCP. Here each media thread has \
         one\nport for all calls, the lowest of {media} that is free; if another program has one of those above, open the \
         next\none (`hanok doctor` says so). What TURN relays to this server's own media uses no relay port at all. With \
         OpenVidu's\nlist open everything works as well."
    )?;
    if config.media.bind.iter().any(std::net::IpAddr::is_ipv6) {
        writeln!(out, "\nThe same list counts for IPv4 and for IPv6.")?;
    }
    writeln!(
        out,
        "\nAs commands: --format ufw, --format nft; for a cloud provider's console: --format cloud. Keep 22/tcp (SSH) open."
    )
}

fn ufw(needs: &[Need], out: &mut impl Write) -> io::Result<()> {
    for need in opened(needs) {
        writeln!(
            out,
            "ufw allow {}/{} comment 'hanok: {}'",
            span(need.ports, ':'),
            need.protocol,
            need.purpose
        )?;
    }
    Ok(())
}

fn nft(needs: &[Need], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "# For a table \"inet filter\" with a chain \"input\", as Debian's /etc/nftables.conf has it. `insert` puts a rule \
         before\n# those that drop; put the same lines, without the command, into the file to keep them."
    )?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let mut ports: Vec<PortRange> = opened(needs)
            .filter(|need| need.protocol == protocol)
            .map(|need| need.ports)
            .collect();
        if ports.is_empty() {
            continue;
        }
        ports.sort_by_key(|ports| ports.first());
        let ports: Vec<String> = ports.into_iter().map(|ports| span(ports, '-')).collect();
        writeln!(
            out,
            "nft 'insert rule inet filter input {protocol} dport {{ {} }} accept comment \"hanok\"'",
            ports.join(", ")
        )?;
    }
    Ok(())
}

fn cloud(needs: &[Need], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "protocol\tports\tsource\tdescription")?;
    for need in opened(needs) {
        writeln!(
            out,
            "{}\t{}\t0.0.0.0/0, ::/0\t{}",
            need.protocol.to_string().to_uppercase(),
            span(need.ports, '-'),
            need.purpose
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::fake::FakeMachine;

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// Standard output for these arguments and these lines in the file, on a machine with two cores.
    fn ports(arguments: &str, lines: &str) -> String {
        let mut machine = FakeMachine::default();
        let file =
            format!("DOMAIN_OR_PUBLIC_IP=example.com\nOPENVIDU_SECRET=0123456789abcdef\n{lines}\n");
        machine.files.insert("/etc/hanok/.env".into(), file.into());
        let arguments = std::iter::once("ports").chain(arguments.split_whitespace());
        let arguments = CommandLine::try_parse_from(arguments).unwrap().arguments;
        let mut terminal = Terminal {
            out: Vec::new(),
            err: Vec::new(),
        };
        assert_eq!(
            run(arguments, &machine, &mut terminal).unwrap(),
            EXIT_SUCCESS
        );
        String::from_utf8(terminal.out).unwrap()
    }

    #[test]
    fn the_list_says_what_each_port_is_for_and_what_stays_closed() {
        let text = ports("", "");
        assert!(text.starts_with(
            "Ports for /etc/hanok/.env, with 2 media threads\n\nOpen to everybody:\n"
        ));
        let at = |part: &str| {
            text.find(part)
                .unwrap_or_else(|| panic!("{part} is not in {text}"))
        };
        let lines = [
            "  443          tcp  HTTPS: signalling, REST, pages (HTTPS_PORT)\n",
            "  3478         udp  STUN and TURN (COTURN_PORT)\n",
            "  40000-40001  udp  audio and video, one port for each media thread (HANOK_MEDIA_MIN_PORT)\n",
            "\nOnly if applications of yours relay",
            "  57001-65535  udp",
            "\nNot to be opened:\n",
            "  5443         tcp",
        ];
        assert!(lines.map(at).is_sorted(), "{text}");
    }

    #[test]
    fn commands_open_what_everybody_has_to_reach_and_no_more() {
        assert_eq!(
            ports("--format ufw", "HTTP_PORT=8080\nHANOK_WORKERS=1"),
            "ufw allow 443/tcp comment 'hanok: HTTPS: signalling, REST, pages'\n\
             ufw allow 8080/tcp comment 'hanok: redirect to HTTPS'\n\
             ufw allow 3478/udp comment 'hanok: STUN and TURN'\n\
             ufw allow 3478/tcp comment 'hanok: TURN for networks that let no UDP through'\n\
             ufw allow 40000/udp comment 'hanok: audio and video, one port for each media thread'\n\
             ufw allow 40000/tcp comment 'hanok: the same for networks that let no UDP through'\n"
        );
        let nft = ports("--format nft", "");
        let rules: Vec<&str> = nft.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            rules,
            [
                "nft 'insert rule inet filter input tcp dport { 80, 443, 3478, 40000-40001 } accept comment \"hanok\"'",
                "nft 'insert rule inet filter input udp dport { 3478, 40000-40001 } accept comment \"hanok\"'",
            ]
        );
        let cloud = ports("--format cloud --relay", "");
        assert!(
            cloud.contains("\nUDP\t40000-40001\t0.0.0.0/0, ::/0\taudio"),
            "{cloud}"
        );
        assert!(cloud.contains("\nUDP\t57001-65535\t"), "{cloud}");
        assert!(!cloud.contains("5443"), "{cloud}");
    }
}
