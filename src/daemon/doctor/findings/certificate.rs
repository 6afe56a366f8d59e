//! The certificate: whether there is one, for whom, how long, and whether the next one can be had.

use crate::config::Config;
use crate::config::settings::Certificate;
use crate::config::values::Front;
use crate::daemon::doctor::facts::Facts;

use crate::front::proxy::certificate::service::command::{Known, Status};
use crate::front::proxy::http_date::http_date;
use crate::views::finding::Finding;

const TOPIC: &str = "certificate";
const DAY: u64 = 24 * 3600;

/// Let's Encrypt's are renewed a month before their end; one that is nearer to it is late.
const LATE_DAYS: u64 = 14;

pub(super) fn judge(config: &Config, facts: &Facts, found: &mut Vec<Finding>) {
    let Some(status) = &facts.certificate else {
        return;
    };
    let is_ordered = matches!(config.web.certificate, Certificate::LetsEncrypt { .. });
    if is_ordered {
        can_be_proven(config, found);
    }
    match &status.certificate {
        Ok(known) => present(config, status, known, found),
        Err(error) => absent(config, facts, status, error, found),
    }
}

/// Authorities come to port 80 or 443 and nowhere else (RFC 8555 section 8.3, RFC 8737).
fn can_be_proven(config: &Config, found: &mut Vec<Finding>) {
    let web = &config.web;
    let why = "Let's Encrypt asks on ports 80 and 443 only, so it never sees the proof that the domain is ours";
    if web.front == Front::Off {
        found.push(
            Finding::error(TOPIC, "CERTIFICATE_TYPE=letsencrypt with HANOK_FRONT=off", why)
                .fix("let the proxy in front have the certificate, and set CERTIFICATE_TYPE=selfsigned")
                .fix("or set CERTIFICATE_TYPE=owncert and HANOK_CERTIFICATE_FILE to its files, for TURN over TLS"),
        );
    } else if web.http_port != Some(80) && web.https_port != 443 && !config.acme.ports_forwarded {
        found.push(
            Finding::error(
                TOPIC,
                format!("HTTPS_PORT is {} and HTTP_PORT is not 80", web.https_port),
                why,
            )
            .fix("set HTTP_PORT=80")
            .fix("or, if 80 or 443 is forwarded to it, set HANOK_ACME_PORTS_FORWARDED=true"),
        );
    }
}

fn absent(config: &Config, facts: &Facts, status: &Status, error: &str, found: &mut Vec<Finding>) {
    let file = status.file.display();
    if !facts.is_root && error.contains("ermission denied") {
        found.push(Finding::unknown(
            TOPIC,
            format!("only root may read {file}"),
        ));
        return;
    }
    let problem = status
        .record
        .as_ref()
        .and_then(|record| record.progress.problem.as_ref());
    found.push(match (&config.web.certificate, problem) {
        (Certificate::LetsEncrypt { .. }, Some(problem)) => Finding::error(
            TOPIC,
            format!("there is none yet; the last attempt failed: {problem}"),
            "browsers warn of the self-signed one that is served meanwhile",
        )
        .fix("hanok cert renew  # once what it says is mended"),
        (Certificate::LetsEncrypt { .. }, None) if facts.daemon.is_some() => Finding::warning(
            TOPIC,
            "there is none yet",
            "browsers warn of the self-signed one that is served meanwhile",
        )
        .fix("hanok cert status  # tells what becomes of it"),
        (Certificate::LetsEncrypt { .. }, None) => {
            Finding::ok(TOPIC, "it is ordered when hanok starts")
        }
        (Certificate::SelfSigned, _) if !facts.has_certificate_file => {
            self_signed("it is made when hanok starts")
        }
        (Certificate::SelfSigned | Certificate::Own { .. }, _) => Finding::error(
            TOPIC,
            format!("{file} cannot be served: {error}"),
            "hanok cannot start without one",
        )
        .fix(match config.web.certificate {
            Certificate::Own { .. } => {
                format!("openssl x509 -noout -text -in {file}  # then replace it")
            }
            Certificate::SelfSigned | Certificate::LetsEncrypt { .. } => format!("rm {file}"),
        }),
    });
}

fn self_signed(what: &str) -> Finding {
    Finding::warning(
        TOPIC,
        format!("self-signed; {what}"),
        "browsers warn of it, phones refuse it, and TURN over TLS is offered to nobody",
    )
    .fix("set CERTIFICATE_TYPE=letsencrypt and LETSENCRYPT_EMAIL")
}

fn present(config: &Config, status: &Status, known: &Known, found: &mut Vec<Finding>) {
    let validity = known.facts.validity;
    let until = http_date(validity.until);
    let left = validity.until.saturating_sub(status.now) / DAY;
    let mend = || match &config.web.certificate {
        Certificate::LetsEncrypt { .. } => "hanok cert renew".to_owned(),
        Certificate::Own { certificate, .. } => {
            format!(
                "renew it; hanok takes {} over by itself",
                certificate.display()
            )
        }
        Certificate::SelfSigned => "systemctl restart hanok  # makes a new one".to_owned(),
    };
    let problem = status
        .record
        .as_ref()
        .and_then(|record| record.progress.problem.as_ref());
    let problem = problem.map_or_else(String::new, |problem| {
        format!("; the last attempt failed: {problem}")
    });
    let missing: Vec<String> = config
        .certificate_names()
        .into_iter()
        .filter(|name| !covers(&known.facts.names, name))
        .collect();
    found.push(if status.now >= validity.until {
        let what = format!("it expired on {until}{problem}");
        Finding::error(TOPIC, what, "browsers refuse to connect").fix(mend())
    } else if status.now < validity.from {
        Finding::error(
            TOPIC,
            format!("it begins to be valid on {} only", http_date(validity.from)),
            "browsers refuse to connect; usually this machine's clock is wrong",
        )
        .fix("timedatectl")
    } else if !missing.is_empty() {
        Finding::error(
            TOPIC,
            format!(
                "it is for {}, not for {}",
                known.facts.names.join(", "),
                missing.join(", ")
            ),
            "browsers refuse to connect",
        )
        .fix(mend())
    } else if left < LATE_DAYS {
        Finding::warning(
            TOPIC,
            format!("{left} days are left, until {until}{problem}"),
            "it should have been renewed by now; browsers refuse to connect when it ends",
        )
        .fix(mend())
    } else if config.web.certificate == Certificate::SelfSigned {
        self_signed(&format!("valid until {until}"))
    } else if known.is_trusted {
        Finding::ok(
            TOPIC,
            format!("{left} days are left, until {until}; browsers accept it"),
        )
    } else {
        Finding::warning(
            TOPIC,
            format!(
                "browsers do not accept it; it was issued by {}",
                known.facts.issuer
            ),
            "users are warned, and TURN over TLS works for nobody",
        )
        .fix("put the whole chain into the file, the server's certificate first")
    });
}

/// Whether one of `names`, of which some may be wildcards (RFC 6125 section 6.4.3), is for `wanted`.
fn covers(names: &[String], wanted: &str) -> bool {
    names.iter().any(|name| {
        name.eq_ignore_ascii_case(wanted)
            || name.strip_prefix("*.").is_some_and(|parent| {
                wanted
                    .split_once('.')
                    .is_some_and(|(_, above)| above.eq_ignore_ascii_case(parent))
            })
    })
}
