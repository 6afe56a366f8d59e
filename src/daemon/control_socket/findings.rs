//! What `hanok status` has to say beside numbers: facts in, findings out.

use crate::daemon::reload::Told;
use crate::front::proxy::certificate::acme::plan::Validity;
use crate::views::control::{Certificate, Finding, Severity};
use crate::views::turn::TurnCounters;

const DAY: u64 = 24 * 3600;

/// An own certificate that ends so soon should be replaced.
const SOON: u64 = 7 * DAY;

/// The part of its life that is left of a certificate whose renewal is late: a third is when it is tried first.
const LATE_PART: u64 = 6;

/// What is known.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// `serve --dev`.
    pub(super) dev: bool,
    /// Seconds since the epoch.
    pub(super) now: u64,
    /// What is served.
    pub(super) certificate: Option<&'a (Certificate, Validity)>,
    /// What bugs have ended since the start.
    pub(super) panics: u64,
    /// What the TURN servers count; `None` if a media thread does not answer.
    pub(super) turn: Option<TurnCounters>,
    /// Every session has told its numbers.
    pub(super) sessions_answer: bool,
    /// What the configuration has to say.
    pub(super) told: &'a Told,
}

/// What the operator should know, worst first.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Findings::default();
    match &facts.turn {
        None => found.problem(
            "the media threads do not answer: restart hanok (`systemctl restart hanok`) and report it with the log",
        ),
        Some(turn) => of_turn(turn, &mut found),
    }
    if !facts.sessions_answer {
        found.problem(
            "a session does not answer, so the numbers of all are missing: restart hanok (`systemctl restart hanok`) and \
             report it with the log",
        );
    }
    match facts.certificate {
        None => found.problem(
            "the certificate that is served cannot be read: `hanok cert status` tells more",
        ),
        Some((certificate, validity)) => of_certificate(facts, certificate, *validity, &mut found),
    }
    if facts.panics > 0 {
        let panics = facts.panics;
        found.warning(format!(
            "bugs have ended {panics} sessions, connections or streams since the start: please report the panic messages of \
             the log"
        ));
    }
    for warning in &facts.told.warnings {
        found.warning(warning.as_str());
    }
    if !facts.told.at_next_start.is_empty() {
        let keys = facts.told.at_next_start.join(", ");
        found.warning(format!(
            "changed, but counting from the next start on: {keys}; `systemctl restart hanok` when it suits"
        ));
    }
    let mut found = found.0;
    // Those of one kind stay in order.
    found.sort_by_key(|finding| finding.severity);
    found
}

fn of_certificate(
    facts: &Facts<'_>,
    certificate: &Certificate,
    validity: Validity,
    found: &mut Findings,
) {
    let is_ordered = certificate.source == "letsencrypt";
    let left = validity.until.saturating_sub(facts.now);
    let late = validity.lifetime() / LATE_PART;
    if left == 0 {
        let advice = if is_ordered {
            "`hanok cert status` tells why it was not renewed"
        } else {
            "replace the files of HANOK_CERTIFICATE_FILE and HANOK_CERTIFICATE_KEY_FILE"
        };
        found.problem(format!("the certificate has expired: {advice}"));
    } else if is_ordered && !certificate.is_trusted {
        found.problem(
            "browsers refuse the certificate, since none has come from the authority yet: `hanok cert status` tells why",
        );
    } else if is_ordered && left < late {
        let days = left / DAY;
        found.warning(format!(
            "the certificate ends in {days} days and its renewal is late: `hanok cert status` tells why"
        ));
    } else if certificate.source == "owncert" && left < SOON.min(late) {
        let days = left / DAY;
        found.warning(format!(
            "your certificate ends in {days} days: put a new pair into the files of HANOK_CERTIFICATE_FILE and \
             HANOK_CERTIFICATE_KEY_FILE, it is taken over by itself"
        ));
    } else if !certificate.is_trusted && !facts.dev {
        found.warning(
            "browsers warn of the certificate unless they know who signed it; CERTIFICATE_TYPE=letsencrypt brings one that \
             they accept",
        );
    }
}

fn of_turn(turn: &TurnCounters, found: &mut Findings) {
    if turn.out_of_ports > 0 {
        let refused = turn.out_of_ports;
        found.warning(format!(
            "{refused} TURN allocations were refused since the start because no relay port was free: widen COTURN_MIN_PORT to \
             COTURN_MAX_PORT"
        ));
    }
    if turn.over_quota > 0 {
        let refused = turn.over_quota;
        found.warning(format!(
            "{refused} TURN allocations were refused since the start by a quota: `hanok turn list` shows who has how many; \
             HANOK_TURN_USER_QUOTA, HANOK_TURN_SOURCE_QUOTA and HANOK_TURN_TOTAL_QUOTA change it"
        ));
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn problem(&mut self, text: impl Into<String>) {
        self.add(Severity::Problem, text.into());
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.add(Severity::Warning, text.into());
    }

    fn add(&mut self, severity: Severity, text: String) {
        self.0.push(Finding { severity, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn certificate(source: &str, is_trusted: bool, left: u64) -> (Certificate, Validity) {
        let validity = Validity {
            from: NOW + left - 90 * DAY,
            until: NOW + left,
        };
        let shown = Certificate {
            source: source.to_owned(),
            names: vec!["call.example".to_owned()],
            issuer: "CN=somebody".to_owned(),
            not_after: validity.until,
            is_trusted,
        };
        (shown, validity)
    }

    /// What is found, and how bad, when one thing differs from a daemon that is well.
    fn found(change: impl FnOnce(&mut Facts<'_>)) -> Vec<(Severity, String)> {
        let (good, told) = (certificate("letsencrypt", true, 60 * DAY), Told::default());
        let mut facts = Facts {
            dev: false,
            now: NOW,
            certificate: Some(&good),
            panics: 0,
            turn: Some(TurnCounters::default()),
            sessions_answer: true,
            told: &told,
        };
        // The facts that are borrowed live as long as the call.
        change(&mut facts);
        let found = findings(&facts).into_iter();
        found.map(|it| (it.severity, it.text)).collect()
    }

    fn only(found: &[(Severity, String)], severity: Severity, part: &str) {
        let [(seen, text)] = found else {
            panic!("{found:?}");
        };
        assert!(*seen == severity && text.contains(part), "{found:?}");
    }

    #[test]
    fn a_daemon_that_is_well_has_nothing_to_say() {
        assert_eq!(found(|_| {}), []);
    }

    #[test]
    fn certificates_are_judged_by_where_they_come_from_and_when_they_end() {
        let (problem, warning) = (Severity::Problem, Severity::Warning);
        for (source, is_trusted, left, expected) in [
            ("letsencrypt", true, 16 * DAY, None),
            ("letsencrypt", true, 14 * DAY, Some((warning, "late"))),
            ("letsencrypt", true, 0, Some((problem, "expired"))),
            ("letsencrypt", false, 60 * DAY, Some((problem, "authority"))),
            ("owncert", true, 8 * DAY, None),
            ("owncert", true, 6 * DAY, Some((warning, "new pair"))),
            ("owncert", false, 60 * DAY, Some((warning, "who signed it"))),
            (
                "owncert",
                true,
                0,
                Some((problem, "HANOK_CERTIFICATE_FILE")),
            ),
            (
                "selfsigned",
                false,
                60 * DAY,
                Some((warning, "CERTIFICATE_TYPE")),
            ),
        ] {
            let served = certificate(source, is_trusted, left);
            let told = Told::default();
            let facts = Facts {
                dev: false,
                now: NOW,
                certificate: Some(&served),
                panics: 0,
                turn: Some(TurnCounters::default()),
                sessions_answer: true,
                told: &told,
            };
            let seen: Vec<_> = findings(&facts)
                .into_iter()
                .map(|it| (it.severity, it.text))
                .collect();
            match expected {
                None => assert_eq!(seen, [], "{source} {left}"),
                Some((severity, part)) => only(&seen, severity, part),
            }
        }
        let trial = certificate("selfsigned", false, 60 * DAY);
        let told = Told::default();
        let facts = Facts {
            dev: true,
            now: NOW,
            certificate: Some(&trial),
            panics: 0,
            turn: Some(TurnCounters::default()),
            sessions_answer: true,
            told: &told,
        };
        assert_eq!(findings(&facts), [], "nobody expects more of --dev");
    }

    #[test]
    fn silence_bugs_and_refusals_are_told_with_what_to_do() {
        let (problem, warning) = (Severity::Problem, Severity::Warning);
        only(&found(|it| it.turn = None), problem, "restart hanok");
        only(
            &found(|it| it.sessions_answer = false),
            problem,
            "report it",
        );
        only(&found(|it| it.certificate = None), problem, "cert status");
        only(&found(|it| it.panics = 3), warning, "3 sessions");
        let refused = |it: &mut Facts<'_>| {
            it.turn = Some(TurnCounters {
                out_of_ports: 7,
                ..TurnCounters::default()
            });
        };
        only(&found(refused), warning, "COTURN_MIN_PORT");
        let refused = |it: &mut Facts<'_>| {
            it.turn = Some(TurnCounters {
                over_quota: 7,
                ..TurnCounters::default()
            });
        };
        only(&found(refused), warning, "HANOK_TURN_USER_QUOTA");
    }

    #[test]
    fn what_the_configuration_says_comes_after_what_does_not_work() {
        let told = Told {
            warnings: vec!["a key has no effect".to_owned()],
            at_next_start: vec!["HTTPS_PORT", "HANOK_BIND"],
        };
        let facts = Facts {
            dev: false,
            now: NOW,
            certificate: None,
            panics: 1,
            turn: None,
            sessions_answer: false,
            told: &told,
        };
        let found: Vec<_> = findings(&facts).into_iter().map(|it| it.text).collect();
        let parts = [
            "do not answer",
            "does not answer",
            "cannot be read",
            "bugs",
            "a key has no effect",
            "HTTPS_PORT, HANOK_BIND",
        ];
        assert_eq!(found.len(), parts.len(), "{found:?}");
        for (text, part) in found.iter().zip(parts) {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
