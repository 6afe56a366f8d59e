//! `hanok cert`: what is known of the certificate, a new one now, and one that certbot or OpenVidu has left.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::{EXIT_CONFIG, EXIT_FAILURE, EXIT_SUCCESS, FileArguments, Terminal};
use crate::config::settings::{Certificate, State};
use crate::config::{Config, Machine, load};
use crate::front::proxy::certificate::acme::Settings;
use crate::front::proxy::certificate::service::command::{self, CommandError, Known, Status};
use crate::front::proxy::certificate::service::keeper::Source;
use crate::front::proxy::http_date::http_date;

const DAY: u64 = 24 * 3600;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Tell what is known of the certificate: names, end, renewal, the last problem
    #[command(
        long_about = "Tells what the state folder or your own files hold: names, issuer, end, and with Let's Encrypt when it is \
                      renewed and what went wrong last. The daemon need not run.\n\n\
                      Exit status: 0 there is a certificate that browsers accept, 1 there is none, 78 configuration error."
    )]
    Status(StatusArguments),
    /// Ask the running daemon for a new certificate now, whatever failed before
    Renew(FileArguments),
    /// Take over a certificate of certbot or of OpenVidu's proxy, until the next renewal
    #[command(
        long_about = "Takes over a certificate with its key: of certbot (/etc/letsencrypt, or live/DOMAIN in it) or of OpenVidu's \
                      proxy (/opt/openvidu/certificates). It is checked, copied into the state folder, served from the next start on, \
                      and renewed in time by hanok itself. The original is not touched."
    )]
    Import(ImportArguments),
}

#[derive(Debug, clap::Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    file: FileArguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArguments {
    #[command(flatten)]
    file: FileArguments,
    /// The folder with fullchain.pem and privkey.pem, or the tree that it lies in
    #[arg(value_name = "FOLDER")]
    from: PathBuf,
}

pub(super) fn run<O: Write, E: Write>(
    command: Command,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let (file, rest) = match command {
        Command::Status(StatusArguments { file, json }) => (file, Rest::Status { json }),
        Command::Renew(file) => (file, Rest::Renew),
        Command::Import(ImportArguments { file, from }) => (file, Rest::Import { from }),
    };
    let config = match load(machine, &file.options()) {
        Ok(loaded) => loaded.config,
        Err(report) => {
            write!(terminal.err, "{report}")?;
            return Ok(EXIT_CONFIG);
        }
    };
    let State::Folder(state_dir) = &config.state else {
        writeln!(
            terminal.err,
            "there is no state folder that lasts with --dev"
        )?;
        return Ok(EXIT_CONFIG);
    };
    match rest {
        Rest::Status { json } => status(&config, state_dir, json, &mut terminal.out),
        Rest::Renew => renew(&config, state_dir, terminal),
        Rest::Import { from } => import(&config, state_dir, &from, terminal),
    }
}

enum Rest {
    Status { json: bool },
    Renew,
    Import { from: PathBuf },
}

fn source(config: &Config) -> Source {
    match &config.web.certificate {
        Certificate::SelfSigned => Source::SelfSigned,
        Certificate::Own { certificate, key } => Source::Own {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        Certificate::LetsEncrypt { .. } => Source::Acme(acme(config)),
    }
}

/// What import and status need of the settings; nothing is ordered here.
pub(super) fn acme(config: &Config) -> Settings {
    Settings {
        directory: config.acme.directory.clone(),
        ca_file: None,
        email: String::new(),
        names: config.certificate_names(),
        challenges: Vec::new(),
        binding: None,
    }
}

fn status(config: &Config, state_dir: &Path, json: bool, out: &mut impl Write) -> io::Result<u8> {
    let domain = config.public.host.to_string();
    let status = command::status(&source(config), state_dir, &domain);
    let known = status.certificate.as_ref().ok();
    if json {
        writeln!(out, "{}", as_json(&status))?;
    } else {
        tell(&status, out)?;
    }
    Ok(if known.is_some_and(|known| known.is_trusted) {
        EXIT_SUCCESS
    } else {
        EXIT_FAILURE
    })
}

fn as_json(status: &Status) -> serde_json::Value {
    let certificate = status.certificate.as_ref().ok().map(|known| {
        json!({
            "names": known.facts.names,
            "issuer": known.facts.issuer,
            "serial": known.facts.serial_hex(),
            "notBefore": known.facts.validity.from,
            "notAfter": known.facts.validity.until,
            "trusted": known.is_trusted,
        })
    });
    let progress = status.record.as_ref().map(|record| &record.progress);
    json!({
        "file": status.file,
        "certificate": certificate,
        "error": status.certificate.as_ref().err(),
        "failures": progress.map(|progress| progress.failures),
        "problem": progress.and_then(|progress| progress.problem.as_ref()),
        "nextAttempt": next_attempt(status),
    })
}

/// When the next attempt is made after a failure.
fn next_attempt(status: &Status) -> Option<u64> {
    let progress = &status.record.as_ref()?.progress;
    Some(progress.failed_at? + progress.wait)
}

fn tell(status: &Status, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "file      {}", status.file.display())?;
    match &status.certificate {
        Err(error) => writeln!(out, "          no certificate: {error}")?,
        Ok(Known { facts, is_trusted }) => {
            let until = facts.validity.until;
            let left = if until > status.now {
                format!("{} days left", (until - status.now) / DAY)
            } else {
                "expired".to_owned()
            };
            writeln!(out, "names     {}", facts.names.join(", "))?;
            writeln!(out, "issuer    {}", facts.issuer)?;
            writeln!(out, "serial    {}", facts.serial_hex())?;
            writeln!(
                out,
                "valid     {} to {} ({left})",
                http_date(facts.validity.from),
                http_date(until)
            )?;
            writeln!(
                out,
                "browsers  {}",
                if *is_trusted {
                    "accept it"
                } else {
                    "warn of it"
                }
            )?;
        }
    }
    if let Some(record) = &status.record
        && let Some(problem) = &record.progress.problem
    {
        writeln!(out, "problem   {problem}")?;
    }
    if let Some(at) = next_attempt(status) {
        writeln!(out, "next try  {}", http_date(at))?;
    }
    Ok(())
}

fn renew<O: Write, E: Write>(
    config: &Config,
    state_dir: &Path,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    match &config.web.certificate {
        Certificate::LetsEncrypt { .. } => {}
        Certificate::Own { certificate, key } => {
            writeln!(
                terminal.err,
                "your own certificate is taken over by itself within seconds when {} and {} change",
                certificate.display(),
                key.display()
            )?;
            return Ok(EXIT_FAILURE);
        }
        Certificate::SelfSigned => {
            writeln!(
                terminal.err,
                "the self-signed certificate is renewed by itself"
            )?;
            return Ok(EXIT_FAILURE);
        }
    }
    finish(command::renew(state_dir), terminal, |()| {
        "hanok is ordering a certificate now: `hanok cert status` and its log tell what becomes of it".to_owned()
    })
}

fn import<O: Write, E: Write>(
    config: &Config,
    state_dir: &Path,
    from: &Path,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    if !matches!(config.web.certificate, Certificate::LetsEncrypt { .. }) {
        writeln!(
            terminal.err,
            "import is for CERTIFICATE_TYPE=letsencrypt; with owncert set HANOK_CERTIFICATE_FILE and HANOK_CERTIFICATE_KEY_FILE to the \
             files where they are"
        )?;
        return Ok(EXIT_FAILURE);
    }
    finish(
        command::import(from, &acme(config), state_dir),
        terminal,
        |facts| {
            format!(
                "the certificate for {}, valid until {}, is served from the next start of hanok on",
                facts.names.join(", "),
                http_date(facts.validity.until)
            )
        },
    )
}

fn finish<T, O: Write, E: Write>(
    outcome: Result<T, CommandError>,
    terminal: &mut Terminal<O, E>,
    tell: impl FnOnce(T) -> String,
) -> io::Result<u8> {
    match outcome {
        Ok(done) => {
            writeln!(terminal.out, "{}", tell(done))?;
            Ok(EXIT_SUCCESS)
        }
        Err(error) => {
            writeln!(terminal.err, "{error}")?;
            Ok(EXIT_FAILURE)
        }
    }
}
