//! The command line: one file per subcommand. It decides and prints; what needs the daemon's own code is left to `main` as an
//! [`Action`].

mod cert;
mod check_config;
mod completions;
mod control;
pub mod doctor;
mod drain;
mod duration;
mod healthcheck;
mod loadtest;
mod man;
mod mask;
mod migrate;
mod ports;
mod print_config;
mod reload;
mod sample_env;
mod serve;
mod sessions;
mod status;
mod token;
mod turn;
mod turn_cred;
mod version;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{Loaded, Machine, Options};

/// Exit status of success.
pub const EXIT_SUCCESS: u8 = 0;
/// Exit status of everything that has no status of its own.
pub const EXIT_FAILURE: u8 = 1;
/// Exit status of a wrong command line (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// Exit status of a configuration that cannot be used (`EX_CONFIG`).
pub use crate::config::report::EXIT_CONFIG;

/// hanok: one daemon that is a whole OpenVidu 2 deployment.
#[derive(Debug, Parser)]
#[command(
    name = "hanok",
    version = version::TEXT,
    about = "One daemon that is a whole OpenVidu 2 deployment: signalling, REST, SFU, STUN/TURN, HTTPS",
    after_help = "Exit status: 0 success, 64 wrong usage, 78 configuration error, 1 anything else.",
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    #[command(
        long_about = "Runs the daemon in the foreground, until SIGTERM or SIGINT.\n\n\
                      The configuration is read from --env-file, else $DOTENV_PATH, else /etc/hanok/.env, else \
                      /opt/openvidu/.env; the process environment wins over the file."
    )]
    Serve(ServeArguments),
    /// Report every problem of the configuration at once, with its line and what to write instead
    CheckConfig(FileArguments),
    /// Print the effective value of every key and where it comes from, secrets masked
    PrintConfig(FileArguments),
    /// Tell what would keep a call from working here: DNS, ports and who has them, certificate, key files, clock, limits
    #[command(
        long_about = "Examines this machine for what would keep a call from working: DNS and addresses, ports and who has \
                      them, the firewall, the certificate, files with secrets, the clock, limits, buffers, the disk. Each \
                      finding says why it matters and what mends it. The daemon need not run; as root it sees more.\n\n\
                      Exit status: 0 no error was found, 1 at least one, 78 configuration error."
    )]
    Doctor(doctor::Arguments),
    /// List the ports that a firewall has to let in for this configuration, with reasons or as commands
    #[command(
        long_about = "Lists the ports that a firewall has to let in for this configuration: port by port with the reason, or \
                      as commands. It is far less than OpenVidu's list. The daemon need not run."
    )]
    Ports(ports::Arguments),
    /// Tell how the running daemon is: sessions, TURN, certificate, ports, load, and what needs attention
    #[command(
        long_about = "Tells how the running daemon is: sessions, TURN, certificate, ports, load, and what needs \
                      attention.\n\n\
                      Exit status: 0 it works, 1 it does not run or has a problem, 64 wrong usage, 78 configuration error."
    )]
    Status(status::Arguments),
    /// Have the daemon take no new sessions and end with the last one, for upgrades that drop no call
    #[command(
        long_about = "Has the daemon take no new sessions: REST answers 503 with Retry-After. Those that exist go on, and \
                      participants may still join them and come back to them. The daemon ends with exit status 0 when the \
                      last session has ended, or at the deadline; sessions that nobody has joined are waited for a minute. \
                      Given again, it changes the deadline."
    )]
    Drain(drain::Arguments),
    /// Have the daemon read its configuration again; waits, and tells what counts from now on and what was refused
    #[command(
        long_about = "Has the daemon read its configuration again, and tells which keys count from now on and which from the \
                      next start on. If anything is wrong, everything stays as it was.\n\n\
                      Exit status: 0 reloaded, 1 the daemon does not run, 64 wrong usage, 78 configuration error."
    )]
    Reload(reload::Arguments),
    /// Exit with 0 if the daemon works, else with 1, and say why in one line
    Healthcheck(healthcheck::Arguments),
    /// The sessions of the running daemon
    #[command(subcommand)]
    Sessions(sessions::Command),
    /// Tokens of sessions
    #[command(subcommand)]
    Token(token::Command),
    /// The TURN server's allocations
    #[command(subcommand)]
    Turn(turn::Command),
    /// Put load on an OpenVidu 2 server, this or any other, and measure what becomes of it
    #[command(
        long_about = "Puts load on an OpenVidu 2 server, this or any other: publishers and subscribers join by its public \
                      protocol, send and receive synthetic VP8 and Opus, and tell what was lost, how late it came and, \
                      with --pid, what the server used. Prints a table and one line of JSON.\n\n\
                      Exit status: 0 with a valid result, 1 without one."
    )]
    Loadtest(Box<loadtest::Arguments>),
    /// The certificate of HTTPS and TURN over TLS
    #[command(subcommand)]
    Cert(cert::Command),
    /// Credentials of the TURN server
    #[command(subcommand)]
    TurnCred(turn_cred::Command),
    /// Copy standard input to standard output with every secret masked, for logs and reports that you share
    Mask(FileArguments),
    /// Take over an OpenVidu 2 folder: .env, certificates, TURN secret, recordings, nginx files
    #[command(
        long_about = "Takes over the folder of an OpenVidu 2 installation: .env with every key and comment, the certificate, coturn's \
                      secret, custom nginx locations as routes; recordings, CDR and layouts stay where they are. Nothing in the \
                      folder is changed. Tells what does not carry over, and the commands that lead to hanok and back.\n\n\
                      Exit status: 0 done, or done already; 1 refused or failed; 78 done, but hanok does not start with it yet."
    )]
    Migrate(migrate::Arguments),
    /// Print our version and the OpenVidu release that clients are told
    Version(version::Arguments),
    /// Print the manual page, or write those of all commands into a folder
    Man(man::Arguments),
    /// Print what a shell needs to complete this command line
    Completions(completions::Arguments),
    /// Print etc/hanok.env
    #[command(hide = true)]
    SampleEnv,
}

#[derive(Debug, clap::Args)]
struct FileArguments {
    /// Read this .env file instead of looking for one
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ServeArguments {
    #[command(flatten)]
    file: FileArguments,
    /// Try it out: no file needed, https://127.0.0.1:4443, self-signed certificate, secret MY_SECRET, no HTTP
    /// redirect, TURN on 3478, state in a temporary folder
    #[arg(long)]
    dev: bool,
}

impl FileArguments {
    fn options(self) -> Options {
        Options {
            env_file: self.env_file,
            dev: false,
        }
    }
}

/// What is left to do.
#[derive(Debug)]
pub enum Action {
    /// Nothing: end with this status.
    Exit(u8),
    /// Run the daemon with this configuration, which was found by these options. The log is set up and tells it already.
    Serve(Box<Loaded>, Options),
    /// Examine this machine for this configuration, and tell it in this form ([`doctor::tell`]).
    Examine(Box<Loaded>, doctor::Form),
}

/// Where a subcommand prints to.
#[derive(Debug)]
pub struct Terminal<O, E> {
    /// Results.
    pub out: O,
    /// Problems.
    pub err: E,
}

/// Carries out the command line `arguments`, the program's name first.
///
/// # Errors
/// Printing failed.
pub fn run<O: Write, E: Write>(
    arguments: impl IntoIterator<Item = OsString>,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<Action> {
    let command = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line.command,
        Err(error) if error.use_stderr() => {
            write!(terminal.err, "{}", error.render())?;
            return Ok(Action::Exit(EXIT_USAGE));
        }
        Err(help) => {
            write!(terminal.out, "{}", help.render())?;
            return Ok(Action::Exit(EXIT_SUCCESS));
        }
    };
    match command {
        Command::Serve(arguments) => serve::run(arguments, machine, terminal),
        Command::CheckConfig(arguments) => {
            check_config::run(arguments.options(), machine, terminal).map(Action::Exit)
        }
        Command::PrintConfig(arguments) => {
            print_config::run(arguments.options(), machine, terminal).map(Action::Exit)
        }
        Command::Doctor(arguments) => doctor::run(arguments, machine, terminal),
        Command::Ports(arguments) => ports::run(arguments, machine, terminal).map(Action::Exit),
        Command::Loadtest(arguments) => {
            loadtest::run(*arguments, machine, terminal).map(Action::Exit)
        }
        Command::Status(arguments) => status::run(arguments, machine, terminal).map(Action::Exit),
        Command::Drain(arguments) => drain::run(arguments, machine, terminal).map(Action::Exit),
        Command::Reload(arguments) => reload::run(arguments, machine, terminal).map(Action::Exit),
        Command::Healthcheck(arguments) => {
            healthcheck::run(arguments, machine, terminal).map(Action::Exit)
        }
        Command::Sessions(command) => sessions::run(command, machine, terminal).map(Action::Exit),
        Command::Token(command) => token::run(command, machine, terminal).map(Action::Exit),
        Command::Turn(command) => turn::run(command, machine, terminal).map(Action::Exit),
        Command::Cert(command) => cert::run(command, machine, terminal).map(Action::Exit),
        Command::TurnCred(command) => turn_cred::run(command, machine, terminal).map(Action::Exit),
        Command::Mask(arguments) => {
            mask::run(arguments, machine, &mut io::stdin().lock(), terminal).map(Action::Exit)
        }
        Command::Migrate(arguments) => migrate::run(arguments, machine, terminal).map(Action::Exit),
        Command::Version(arguments) => {
            version::run(&arguments, &mut terminal.out).map(Action::Exit)
        }
        Command::Man(arguments) => man::run(arguments, terminal).map(Action::Exit),
        Command::Completions(arguments) => {
            completions::run(&arguments, &mut terminal.out).map(Action::Exit)
        }
        Command::SampleEnv => sample_env::run(&mut terminal.out).map(Action::Exit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fake::FakeMachine;
    use crate::config::layers::OPENVIDU_FILE;
    use crate::units::{Secret, clock, turn_credential};

    /// Runs a command line; returns the status (255 for serve), standard output and standard error.
    fn hanok(arguments: &str, file: &str) -> (u8, String, String) {
        hanok_on(&machine(file), arguments)
    }

    fn machine(file: &str) -> FakeMachine {
        let mut machine = FakeMachine::default();
        if !file.is_empty() {
            machine
                .files
                .insert(OPENVIDU_FILE.into(), file.as_bytes().to_vec());
        }
        machine
    }

    fn hanok_on(machine: &FakeMachine, arguments: &str) -> (u8, String, String) {
        let arguments = std::iter::once("hanok").chain(arguments.split_whitespace());
        let mut terminal = Terminal {
            out: Vec::new(),
            err: Vec::new(),
        };
        let action = run(arguments.map(OsString::from), machine, &mut terminal)
            .expect("a vector takes everything");
        let status = match action {
            Action::Exit(status) => status,
            Action::Serve(..) | Action::Examine(..) => 255,
        };
        let text = |bytes| String::from_utf8(bytes).expect("we print UTF-8");
        (status, text(terminal.out), text(terminal.err))
    }

    const GOOD: &str = "DOMAIN_OR_PUBLIC_IP=example.com\nOPENVIDU_SECRET=0123456789abcdef\n";

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }

    #[test]
    fn wrong_usage_exits_64_and_help_exits_0() {
        for wrong in [
            "",
            "swerve",
            "serve --port 5",
            "version extra",
            "completions",
            "completions tcsh",
            "man one two",
            "check-config --env-file",
            "loadtest",
            "loadtest --url http://127.0.0.1 --secret x --publishers 0",
            "loadtest --url http://127.0.0.1 --secret x --duration nan",
            "loadtest --url http://127.0.0.1 --secret x --insecure --ca x",
            "loadtest turn",
            "loadtest turn up",
            "loadtest turn sideways --url turn:127.0.0.1",
            "loadtest turn up --url http://127.0.0.1",
            "loadtest turn up --url turn:127.0.0.1 --user alice",
            "loadtest turn up --url turn:127.0.0.1 --rate 5 --in-flight 5",
            "loadtest turn up --url turn:127.0.0.1 --size 1297",
            "loadtest --url http://127.0.0.1 turn up --url turn:127.0.0.1",
            "turn-cred",
            "turn-cred new --ttl 0",
            "turn-cred new --name a:b",
            "migrate",
            "migrate --from",
            "migrate --from /nowhere extra",
            "mask extra",
        ] {
            let (status, out, err) = hanok(wrong, "");
            assert_eq!(status, EXIT_USAGE, "{wrong}");
            assert!(out.is_empty() && err.contains("--help"), "{wrong}: {err}");
        }
        for help in [
            "--help",
            "-h",
            "serve --help",
            "turn-cred new --help",
            "--version",
        ] {
            let (status, out, err) = hanok(help, "");
            assert_eq!(status, EXIT_SUCCESS, "{help}");
            assert!(out.contains("hanok") && err.is_empty(), "{help}: {out}");
        }
        let (_, out, _) = hanok("--help", "");
        assert!(out.contains("check-config") && !out.contains("sample-env"));
    }

    #[test]
    fn a_load_test_says_what_it_lacks() {
        let (status, out, err) = hanok("loadtest --url http://127.0.0.1", "");
        assert_eq!((status, out.as_str()), (EXIT_USAGE, ""));
        assert!(err.contains("OPENVIDU_SECRET"), "{err}");
        let nothing = "loadtest --url http://127.0.0.1 --secret x --no-audio --video-kbps 0";
        let (status, _, err) = hanok(nothing, "");
        assert_eq!(status, EXIT_USAGE);
        assert!(err.contains("nothing to send"), "{err}");
        let (status, out, err) = hanok("loadtest --url ftp://example.com --secret x", "");
        assert_eq!((status, out.as_str()), (EXIT_FAILURE, ""));
        assert!(err.contains("ftp://example.com"), "{err}");
    }

    #[test]
    fn a_load_test_of_turn_says_what_it_lacks_and_what_does_not_answer() {
        let (status, out, err) = hanok("loadtest turn up --url turn:127.0.0.1", "");
        assert_eq!((status, out.as_str()), (EXIT_USAGE, ""));
        assert!(err.contains("secret"), "{err}");
        let silent = "loadtest turn answer --url turn:127.0.0.1:9 --duration 0.05";
        let (status, out, err) = hanok(silent, "");
        assert_eq!((status, out.as_str()), (EXIT_FAILURE, ""));
        assert!(err.contains("did not answer"), "{err}");
    }

    #[test]
    fn check_config_exits_78_with_the_report_or_0() {
        let (status, out, err) = hanok("check-config", "HTTPS_PORT=x\n");
        assert_eq!(status, EXIT_CONFIG);
        assert!(out.is_empty());
        assert!(err.contains("/opt/openvidu/.env:1: HTTPS_PORT=x"), "{err}");
        assert!(err.contains("OPENVIDU_SECRET") && err.contains("DOMAIN_OR_PUBLIC_IP"));

        let (status, out, err) = hanok("check-config", GOOD);
        assert_eq!((status, err.as_str()), (EXIT_SUCCESS, ""));
        assert!(out.contains("/opt/openvidu/.env"), "{out}");

        let file = format!("{GOOD}HANOK_OUTBOUND_DENY=10.0.0.0/8\n");
        let (status, _, err) = hanok("check-config", &file);
        assert_eq!(status, EXIT_SUCCESS);
        assert!(
            err.contains("HANOK_OUTBOUND_DENY has no effect yet"),
            "{err}"
        );
    }

    #[test]
    fn print_config_shows_every_key_with_its_origin_and_no_secret() {
        let (status, out, _) = hanok("print-config", GOOD);
        assert_eq!(status, EXIT_SUCCESS);
        assert!(!out.contains("0123456789abcdef"));
        assert!(out.contains("OPENVIDU_SECRET=********"), "{out}");
        assert!(out.contains("DOMAIN_OR_PUBLIC_IP=example.com"), "{out}");
        assert!(out.contains("HTTPS_PORT=443"), "{out}");
        assert!(out.contains("/opt/openvidu/.env:1"), "{out}");
        let (status, out, err) = hanok("print-config", "");
        assert_eq!((status, out.as_str()), (EXIT_CONFIG, ""));
        assert!(err.contains("no .env file was read"), "{err}");
    }

    #[test]
    fn a_named_file_that_is_missing_exits_78() {
        let (status, _, err) = hanok("check-config --env-file /none", GOOD);
        assert_eq!(status, EXIT_CONFIG);
        assert!(err.contains("/none"), "{err}");
    }

    #[test]
    fn turn_cred_new_prints_what_the_server_accepts() {
        let file = format!("{GOOD}COTURN_SHARED_SECRET_KEY=new,old\nCOTURN_PORT=3479\n");
        let (status, out, err) = hanok("turn-cred new --ttl 1h --name cam --json", &file);
        assert_eq!((status, err.as_str()), (EXIT_SUCCESS, ""));
        let json: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
        let text = |key: &str| json[key].as_str().unwrap_or_default();
        let expires = json["expiresAt"].as_u64().unwrap();
        assert_eq!(text("username"), format!("{expires}:cam"));
        let is_valid = |secret: &str, at| {
            let (username, credential) = (text("username"), text("credential"));
            turn_credential::is_valid(&Secret::new(secret), username, credential, at)
        };
        let now = clock::wall_ms() / 1000;
        assert!(is_valid("new", now) && is_valid("new", now + 3_590));
        assert!(!is_valid("old", now) && !is_valid("new", now + 3_610));
        assert_eq!(
            json["urls"],
            serde_json::json!([
                "turn:example.com:3479",
                "turn:example.com:3479?transport=tcp"
            ])
        );
        let (status, out, _) = hanok("turn-cred new", &file);
        assert_eq!(status, EXIT_SUCCESS);
        let lines: Vec<_> = out.lines().map(|line| line.split_at(12)).collect();
        let titles: Vec<_> = lines.iter().map(|(title, _)| title.trim()).collect();
        assert_eq!(
            titles,
            ["username", "credential", "expires in", "url", "url"]
        );
        assert_eq!(lines[2].1, "86400 s");
        let made = turn_credential::password(&Secret::new("new"), lines[0].1);
        assert_eq!(lines[1].1, made);
    }

    #[test]
    fn turn_cred_takes_the_daemons_own_key_and_says_when_there_is_none() {
        let (status, out, err) = hanok("turn-cred new", GOOD);
        assert_eq!((status, out.as_str()), (EXIT_CONFIG, ""));
        assert!(err.contains("/var/lib/hanok/turn-secret"), "{err}");
        let mut machine = machine(GOOD);
        let key = PathBuf::from("/var/lib/hanok/turn-secret");
        machine.files.insert(key.clone(), b"thirty-five\n".to_vec());
        let (status, out, _) = hanok_on(&machine, "turn-cred new --name x");
        assert_eq!(status, EXIT_SUCCESS);
        let username = out.lines().next().unwrap().split_at(12).1;
        assert!(out.contains(&turn_credential::password(
            &Secret::new("thirty-five"),
            username
        )));
        machine.forbidden.push(key);
        let (status, out, err) = hanok_on(&machine, "turn-cred new");
        assert_eq!((status, out.as_str()), (EXIT_FAILURE, ""));
        assert!(err.contains("cannot be read"), "{err}");
    }

    #[test]
    fn turn_cred_names_the_address_that_clients_are_told() {
        let urls = |lines: &str| {
            let file =
                format!("OPENVIDU_SECRET=0123456789abcdef\nCOTURN_SHARED_SECRET_KEY=k\n{lines}\n");
            let (status, out, err) = hanok("turn-cred new", &file);
            assert_eq!(status, EXIT_SUCCESS, "{err}");
            let urls = out.lines().filter_map(|line| line.strip_prefix("url"));
            let urls: Vec<_> = urls.map(|url| url.trim().to_owned()).collect();
            urls[0].clone()
        };
        let address = "DOMAIN_OR_PUBLIC_IP=2001:db8::7";
        assert_eq!(urls(address), "turn:[2001:db8::7]:3478");
        assert_eq!(
            urls(&format!("{address}\nHANOK_EXTERNAL_IP=203.0.113.7")),
            "turn:203.0.113.7:3478"
        );
        assert_eq!(
            urls(&format!("{address}\nCOTURN_IP=turn.example.com")),
            "turn:turn.example.com:3478"
        );
        assert_eq!(
            urls("DOMAIN_OR_PUBLIC_IP=example.com\nHANOK_EXTERNAL_IP=203.0.113.7"),
            "turn:example.com:3478"
        );
    }

    #[test]
    fn cert_tells_imports_and_asks() {
        let state = tempfile::tempdir().unwrap();
        let lets_encrypt = format!(
            "{GOOD}CERTIFICATE_TYPE=letsencrypt\nLETSENCRYPT_EMAIL=me@example.org\nHANOK_STATE_DIR={}\n",
            state.path().display()
        );
        let (status, out, _) = hanok("cert status", &lets_encrypt);
        assert_eq!(status, EXIT_FAILURE);
        assert!(out.contains("no certificate"), "{out}");
        let (status, out, _) = hanok("cert status --json", &lets_encrypt);
        assert_eq!(status, EXIT_FAILURE);
        let json: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
        assert!(json["certificate"].is_null() && json["error"].is_string());
        let (status, _, err) = hanok("cert import /nowhere", &lets_encrypt);
        assert_eq!(status, EXIT_FAILURE);
        assert!(err.contains("fullchain.pem"), "{err}");
        let (status, _, err) = hanok("cert renew", GOOD);
        assert_eq!(status, EXIT_FAILURE);
        assert!(err.contains("by itself"), "{err}");
        let (status, _, err) = hanok("cert status", "HTTPS_PORT=x\n");
        assert_eq!(status, EXIT_CONFIG);
        assert!(err.contains("HTTPS_PORT"), "{err}");
    }

    #[test]
    fn what_is_no_openvidu_folder_is_not_migrated() {
        let empty = tempfile::tempdir().unwrap();
        let empty = empty.path().display().to_string();
        let (status, out, err) = hanok(&format!("migrate --from {empty} --to {empty}/to"), "");
        assert_eq!((status, out.as_str()), (EXIT_FAILURE, ""));
        assert!(err.contains("there is no .env here"), "{err}");
        let line = format!("migrate --from {empty} --to {empty}/to --json");
        let (status, out, _) = hanok(&line, "");
        assert_eq!(status, EXIT_FAILURE);
        let json: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
        assert_eq!(json["outcome"], "refused");
    }

    #[test]
    fn version_names_both_releases() {
        let (status, out, _) = hanok("version", "");
        assert_eq!(status, EXIT_SUCCESS);
        assert_eq!(out, format!("hanok {}\n", version::TEXT));
        let (_, out, _) = hanok("version --json", "");
        let json: serde_json::Value = serde_json::from_str(&out).expect("it is JSON");
        assert_eq!(json["hanok"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["openvidu"], crate::OPENVIDU_VERSION);
    }

    #[test]
    fn sample_env_prints_the_sample_file() {
        let (status, out, _) = hanok("sample-env", "");
        assert_eq!(status, EXIT_SUCCESS);
        assert_eq!(out, crate::config::sample::sample());
    }
}
