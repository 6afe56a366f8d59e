//! `hanok turn-cred new`: a time-limited TURN credential, as `joinRoom` hands out, for tests and other applications.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::cli::{EXIT_CONFIG, EXIT_FAILURE, EXIT_SUCCESS, FileArguments, Terminal, duration};
use crate::config::values::{CoturnIp, Host};
use crate::config::{Config, Machine, load};
use crate::units::turn_url::turn_urls;
use crate::units::{Random, Secret, clock, turn_credential};

/// Longer names would not be useful; RFC 8489 section 14.3 allows 508 bytes with the time.
const MAX_NAME_LEN: usize = 64;

/// A credential cannot be taken back once it is printed.
const MAX_TTL: Duration = Duration::from_secs(366 * 86_400);

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print a new user name and its credential
    #[command(
        long_about = "Prints a new time-limited user name, its credential and the URLs for which they are good.\n\n\
                      They are made under the first key of COTURN_SHARED_SECRET_KEY or, if that is unset, under the \
                      key that the daemon has made in its state folder; the daemon need not run. They cannot be taken \
                      back but by changing the key.\n\n\
                      Exit status: 0 success, 64 wrong usage, 78 configuration error or no key, 1 anything else."
    )]
    New(New),
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    #[command(flatten)]
    file: FileArguments,
    /// How long it is good: seconds, or a number with s, m, h or d, at most 366d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = ttl)]
    ttl: Duration,
    /// What stands behind the time in the user name, instead of eight random characters
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Print JSON that fits into a browser's iceServers
    #[arg(long)]
    json: bool,
}

pub(super) fn run<O: Write, E: Write>(
    Command::New(arguments): Command,
    machine: &dyn Machine,
    terminal: &mut Terminal<O, E>,
) -> io::Result<u8> {
    let New {
        file,
        ttl,
        name,
        json,
    } = arguments;
    let config = match load(machine, &file.options()) {
        Ok(loaded) => loaded.config,
        Err(report) => {
            write!(terminal.err, "{report}")?;
            return Ok(EXIT_CONFIG);
        }
    };
    let secret = match secret(&config, machine) {
        Ok(secret) => secret,
        Err((status, problem)) => {
            writeln!(terminal.err, "{problem}")?;
            return Ok(status);
        }
    };
    let expires_at = (clock::wall_ms() / 1000).saturating_add(ttl.as_secs());
    let (username, credential) = match name {
        Some(name) => {
            let username = format!("{expires_at}:{name}");
            let credential = turn_credential::password(&secret, &username);
            (username, credential)
        }
        None => turn_credential::mint(&secret, expires_at, &mut Random::system()),
    };
    let mut urls = turn_urls(&host(&config), config.turn.port);
    urls.extend(config.turns_urls());
    let out = &mut terminal.out;
    if json {
        let shown = json!({
            "urls": urls,
            "username": username,
            "credential": credential,
            "expiresAt": expires_at,
        });
        writeln!(out, "{shown}")?;
    } else {
        writeln!(out, "username    {username}")?;
        writeln!(out, "credential  {credential}")?;
        writeln!(out, "expires in  {} s", ttl.as_secs())?;
        for url in urls {
            writeln!(out, "url         {url}")?;
        }
    }
    Ok(EXIT_SUCCESS)
}

/// The key under which the daemon makes its credentials.
fn secret(config: &Config, machine: &dyn Machine) -> Result<Secret, (u8, String)> {
    if let Some(secret) = config.turn.secrets.first() {
        return Ok(secret.clone());
    }
    let missing = |file: &Path| {
        let file = file.display();
        let text = format!(
            "there is no TURN key in {file} yet: start hanok once, or set COTURN_SHARED_SECRET_KEY"
        );
        (EXIT_CONFIG, text)
    };
    let file = config.state.turn_secret_file().unwrap_or_default();
    let read = machine.read(&file).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return missing(&file);
        }
        let text = format!(
            "the TURN key in {} cannot be read ({error}): run this as root or as the user who runs hanok",
            file.display()
        );
        (EXIT_FAILURE, text)
    })?;
    match String::from_utf8(read).as_deref().map(str::trim) {
        Ok("") | Err(_) => Err(missing(&file)),
        Ok(secret) => Ok(Secret::new(secret)),
    }
}

/// What clients are told as the TURN server, as far as the configuration says it.
fn host(config: &Config) -> String {
    let external = |fits: fn(&std::net::IpAddr) -> bool| {
        let external = config.media.external.iter();
        external.copied().find(fits).map(Host::Address)
    };
    let told = match &config.turn.address {
        CoturnIp::Host(host) => return host.to_string(),
        CoturnIp::Auto => external(|_| true),
        CoturnIp::AutoIpv4 => external(std::net::IpAddr::is_ipv4),
        CoturnIp::AutoIpv6 => external(std::net::IpAddr::is_ipv6),
    };
    let public = &config.public.host;
    let told = told.filter(|_| public.name().is_none());
    told.as_ref().unwrap_or(public).to_string()
}

fn ttl(text: &str) -> Result<Duration, String> {
    duration::parse(text)
        .filter(|ttl| !ttl.is_zero() && *ttl <= MAX_TTL)
        .ok_or_else(|| "write a time from 1s to 366d, in seconds or with s, m, h or d".to_owned())
}

fn name(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    if (1..=MAX_NAME_LEN).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 64 letters, digits, dots, hyphens, underscores or @".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_lives_for_a_second_at_least_and_a_leap_year_at_most() {
        assert_eq!(ttl("1"), Ok(Duration::from_secs(1)));
        assert_eq!(ttl("366d"), Ok(MAX_TTL));
        for wrong in ["", "0", "0h", "367d", "soon"] {
            assert!(ttl(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_has_neither_colon_nor_blank() {
        assert_eq!(name("camera-3@roof").as_deref(), Ok("camera-3@roof"));
        for wrong in ["", "a:b", "a b", "한", "a\0", &"x".repeat(65)] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
