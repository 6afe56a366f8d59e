//! `hanok loadtest`.

mod turn;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::{EXIT_FAILURE, EXIT_SUCCESS, EXIT_USAGE, Terminal};
use crate::config::Machine;
use crate::loadtest::{self, Options, Printing, SrtpProfile, Trust, Video};
use crate::units::{Secret, SubscribeOffer};

/// Where the secret is looked for as well.
const SECRET: &str = "OPENVIDU_SECRET";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    #[arg(
        long,
        value_name = "URL",
        required = true,
        help = "The server, https://HOST[:PORT] (or http:// where it listens without TLS)"
    )]
    url: Option<String>,
    /// Its OPENVIDU_SECRET; without this option the environment variable of that name, which other users do not see
    #[arg(long)]
    secret: Option<String>,
    /// Believe any certificate, as for a self-signed one
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Believe the authorities in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Sessions, all alike
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sessions: u32,
    /// Publishers of each session
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    publishers: u32,
    /// Subscribers of each session, who publish nothing and receive every publisher
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    subscribers: u32,
    /// Publishers receive each other too
    #[arg(long)]
    mesh: bool,
    /// So many more subscribers join all at once after a third of the time
    #[arg(long, default_value_t = 0, value_name = "SUBSCRIBERS", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    burst: u32,
    /// Seconds to measure
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", value_parser = seconds)]
    duration: f64,
    /// Seconds between the last join and the measurement
    #[arg(long, default_value_t = 1.5, value_name = "SECONDS", value_parser = seconds)]
    warm_up: f64,
    /// Kilobits of VP8 per second and publisher; 0 for none
    #[arg(long, default_value_t = 1_500, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    video_kbps: u32,
    /// Frames per second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: u32,
    /// Milliseconds over which the packets of a frame leave, as a browser spreads them; 0: at once
    #[arg(long, default_value_t = 0, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=1_000))]
    pace_ms: u64,
    /// Send Opus as well, 50 packets per second (the default)
    #[arg(long, overrides_with = "no_audio")]
    audio: bool,
    /// Send no audio
    #[arg(long)]
    no_audio: bool,
    /// Do not offer a retransmission stream (RFC 4588)
    #[arg(long)]
    no_rtx: bool,
    /// The SRTP profile to offer; without it all are offered and the server chooses
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Who makes the offer when somebody subscribes
    #[arg(long, value_enum, default_value_t = Offer::Auto)]
    offer: Offer,
    /// The server's process, if it runs on this machine, to be charged with what it uses
    #[arg(long)]
    pid: Option<u32>,
    /// Print one line of JSON and nothing else
    #[arg(long)]
    json: bool,
    /// Microseconds between two looks at the sockets. The program does not sleep until a packet calls, since a server on
    /// the same machine would be charged for waking it
    #[arg(long, default_value_t = 200, value_name = "US", value_parser = clap::value_parser!(u64).range(0..=100_000))]
    poll_us: u64,
    /// Milliseconds by which subscribers delay the picture, as a browser's jitter buffer does: what is lost and comes again
    /// within them is no freeze; 0: every frame is shown at once
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=10_000))]
    playout_delay_ms: u64,
    /// Joins per second at most; 0: as fast as the server answers
    #[arg(long, default_value_t = 0, value_name = "PER_SECOND")]
    join_rate: u32,
    /// Seed of what varies: frame sizes, and when each publisher begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Load on something else than calls.
#[derive(Debug, clap::Subcommand)]
enum Other {
    /// Put load on a TURN server, this or any other
    #[command(
        long_about = "Puts load on a TURN server, this or any other, over UDP: many clients with an allocation and a channel \
                      each, or requests without a user. Tells what was delivered, lost and late and, with --pid, what the \
                      server used. Everything is sent and received by one thread. Prints a table and one line of JSON.\n\n\
                      Exit status: 0 with a valid result, 1 without one."
    )]
    Turn(Box<turn::Arguments>),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Profile {
    AesCm,
    #[value(name = "aes-gcm-128")]
    AesGcm128,
    #[value(name = "aes-gcm-256")]
    AesGcm256,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Offer {
    /// As the server says
    Auto,
    /// The subscriber, as with Kurento
    Client,
    /// The server, as with mediasoup
    Server,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.0..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("it must lie between 0 and 86400".to_owned())
    }
}

impl Arguments {
    fn options(self, secret: Secret) -> Options {
        let trust = match self.ca {
            _ if self.insecure => Trust::Anybody,
            Some(file) => Trust::File(file),
            None => Trust::System,
        };
        Options {
            url: self.url.unwrap_or_default(),
            secret,
            trust,
            sessions: self.sessions as usize,
            publishers: self.publishers as usize,
            subscribers: self.subscribers as usize,
            mesh: self.mesh,
            burst: self.burst as usize,
            duration: Duration::from_secs_f64(self.duration),
            warm_up: Duration::from_secs_f64(self.warm_up),
            video: (self.video_kbps > 0).then_some(Video {
                kbps: self.video_kbps,
                fps: self.fps,
                pace: Duration::from_millis(self.pace_ms),
            }),
            audio: self.audio || !self.no_audio,
            rtx: !self.no_rtx,
            profile: self.profile.map(|profile| match profile {
                Profile::AesCm => SrtpProfile::Aes128CmSha1_80,
                Profile::AesGcm128 => SrtpProfile::AeadAes128Gcm,
                Profile::AesGcm256 => SrtpProfile::AeadAes256Gcm,
            }),
            offer: match self.offer {
                Offer::Auto => None,
                Offer::Client => Some(SubscribeOffer::Client),
                Offer::Server => Some(SubscribeOffer::Server),
            },
            pid: self.pid,
            poll: Duration::from_micros(self.poll_us),
            playout_delay: Duration::from_millis(self.playout_delay_ms),
            join_rate: self.join_rate,
            seed: self.seed,
        }
    }
}

pub(super) fn run<O: Write, E: Write>(
    mut arguments: Arguments,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    if let Some(Other::Turn(arguments)) = arguments.other {
        return turn::run(*arguments, machine, terminal);
    }
    let json_only = arguments.json;
    let from_environment = || {
        let variables = machine.environment();
        let secret = variables.into_iter().find(|(name, _)| name == SECRET);
        secret.and_then(|(_, value)| value.into_string().ok())
    };
    let Some(secret) = arguments.secret.take().or_else(from_environment) else {
        writeln!(
            terminal.err,
            "hanok loadtest: neither --secret nor {SECRET} is there"
        )?;
        return Ok(EXIT_USAGE);
    };
    let options = arguments.options(Secret::new(secret));
    if options.video.is_none() && !options.audio {
        writeln!(
            terminal.err,
            "hanok loadtest: --no-audio and --video-kbps 0 leave nothing to send"
        )?;
        return Ok(EXIT_USAGE);
    }
    let valid = loadtest::run(
        &options,
        Printing {
            out: &mut terminal.out,
            err: &mut terminal.err,
            bar: io::stderr().is_terminal() && !json_only,
            json_only,
        },
    )?;
    Ok(if valid { EXIT_SUCCESS } else { EXIT_FAILURE })
}
