//! When to order, from which server, by which challenge: decisions alone, in any clock.
//!
//! ```text
//!            due, or asked for            authority says no             two refusals in a row
//!   resting ------------------> ordering ------------------> waiting ------------------------> rehearsing
//!      ^                           |  ^                         |                             (staging server)
//!      +------ certificate --------+  +---- the wait is over ---+                                  |
//!                                     +------------------- it succeeds there ----------------------+
//! ```
//!
//! Times are seconds of the wall clock, which may jump. What lies ahead of `now` and should not is taken as `now`, and
//! a certificate's age is counted from when it came, so that no clock makes us order again and again.

use serde::{Deserialize, Serialize};

use crate::units::Random;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 3600;

/// Waits after failures in a row: Let's Encrypt asks for minutes, then hours, then a day; it allows five failed
/// validations per hour and name.
const WAITS: [u64; 4] = [MINUTE, 10 * MINUTE, 100 * MINUTE, DAY];

/// Rehearsals spend nothing that is scarce, and whoever repairs something wants to see it soon.
const LONGEST_REHEARSAL_WAIT: u64 = 100 * MINUTE;

/// The shortest wait that a certificate's approaching end leads to.
const SHORTEST_WAIT: u64 = 5;

/// A server that says when to come back is believed up to this.
const LONGEST_RETRY_AFTER: u64 = 7 * DAY;

/// Refusals in a row after which the staging server is asked first.
const REFUSALS_BEFORE_REHEARSAL: u32 = 2;

/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 400;

/// A way to prove that a name or address is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    /// A file on port 80 (RFC 8555 section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A handshake on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl Challenge {
    /// Its name in ACME.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// Which directory is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Server {
    /// The one whose certificates are served.
    Main,
    /// Its twin for rehearsals.
    Staging,
}

/// From when to when a certificate is valid, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    /// `notBefore`.
    pub from: u64,
    /// `notAfter`.
    pub until: u64,
}

impl Validity {
    /// How long it is valid in all.
    pub const fn lifetime(self) -> u64 {
        self.until.saturating_sub(self.from)
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing until this time, if the clock does not jump.
    Wait {
        /// Seconds since the Unix epoch.
        until: u64,
    },
    /// Ask the authority when it wants the certificate renewed (RFC 9773).
    AskRenewalInfo,
    /// Order a certificate, or resume the order that was begun.
    Order {
        /// Where.
        server: Server,
        /// How to prove that the names are ours.
        challenge: Challenge,
    },
}

/// Why an order came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Who is to blame.
    pub kind: FailureKind,
    /// One sentence for the operator.
    pub reason: String,
    /// What the authority said about coming back, in seconds.
    pub retry_after: Option<u64>,
}

/// Who is to blame for a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The authority cannot be reached, or does not speak ACME at the moment.
    Unreachable,
    /// The authority came to look and did not find our answer.
    Invalid,
    /// The authority refuses for another reason: a limit, a CAA record, the account.
    Refused,
}

/// What must outlive the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Progress {
    /// When the certificate in use came, by our clock.
    pub issued_at: Option<u64>,
    /// Where in its window this certificate is renewed, in 65,536ths: drawn once for each.
    pub jitter: u16,
    /// Failed attempts in a row, for the wait.
    pub failures: u32,
    /// Failed validations in a row.
    pub refusals: u32,
    /// The staging server is asked first.
    pub rehearsing: bool,
    /// What proved our names last, or is tried next.
    pub challenge: Option<Challenge>,
    /// When the last attempt failed.
    pub failed_at: Option<u64>,
    /// How long to wait after that, in seconds.
    pub wait: u64,
    /// Why it failed.
    pub problem: Option<String>,
}

/// The decisions.
#[derive(Debug)]
pub struct Plan {
    offered: Vec<Challenge>,
    has_staging: bool,
    progress: Progress,
    held: Option<Validity>,
    wanted: bool,
    renewal_info: RenewalInfo,
}

/// What the authority says about renewal (RFC 9773 section 4.2).
#[derive(Debug, Default)]
struct RenewalInfo {
    window: Option<(u64, u64)>,
    asked_at: Option<u64>,
    ask_again_after: u64,
}

impl Plan {
    /// `offered`: the challenges that can reach us, the better one first. `held`: the certificate for exactly our names,
    /// if there is one.
    pub fn new(
        offered: Vec<Challenge>,
        has_staging: bool,
        progress: Progress,
        held: Option<Validity>,
    ) -> Self {
        Self {
            offered,
            has_staging,
            progress,
            held,
            wanted: false,
            renewal_info: RenewalInfo::default(),
        }
    }

    /// What must outlive the process.
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What is to be done at `now`; the same until something is reported.
    pub fn poll(&mut self, now: u64) -> Step {
        let Some(challenge) = self.challenge() else {
            return Step::Wait { until: now + DAY };
        };
        let server = if self.progress.rehearsing && self.has_staging {
            Server::Staging
        } else {
            Server::Main
        };
        let order = Step::Order { server, challenge };
        if self.wanted {
            return order;
        }
        let due = self.renew_at(now).unwrap_or(now);
        if due > now {
            let ask_at = self.ask_at(now);
            return if ask_at <= now {
                Step::AskRenewalInfo
            } else {
                Step::Wait {
                    until: due.min(ask_at),
                }
            };
        }
        match self.progress.failed_at {
            None => order,
            // The clock was set back: the wait begins anew.
            Some(at) if at > now => {
                self.progress.failed_at = Some(now);
                self.waiting(now, order)
            }
            Some(_) => self.waiting(now, order),
        }
    }

    fn waiting(&self, now: u64, order: Step) -> Step {
        let until = self.progress.failed_at.unwrap_or(now) + self.progress.wait;
        if until > now {
            Step::Wait { until }
        } else {
            order
        }
    }

    /// When the certificate is to be renewed; `None` if there is none.
    pub fn renew_at(&self, now: u64) -> Option<u64> {
        let held = self.held?;
        let life = held.lifetime();
        let begin = match self.progress.issued_at {
            // A clock that was ahead when it came, and is right since, says nothing.
            Some(at) if at <= now => at,
            Some(_) | None => held.from,
        };
        let share = |of: u64| {
            u64::try_from(u128::from(of) * u128::from(self.progress.jitter) >> 16).unwrap_or(of)
        };
        let Some((from, until)) = self.renewal_info.window else {
            return Some(begin + life / 3 * 2 - share(life / 30));
        };
        let earliest = begin + DAY.min(life / 3);
        let latest = begin + life / 6 * 5;
        Some((from + share(until - from)).clamp(earliest, latest.max(earliest)))
    }

    fn ask_at(&self, now: u64) -> u64 {
        match self.renewal_info.asked_at {
            Some(at) if at <= now => at + self.renewal_info.ask_again_after,
            Some(_) | None => now,
        }
    }

    fn challenge(&self) -> Option<Challenge> {
        let kept = self.progress.challenge;
        let kept = kept.filter(|kept| self.offered.contains(kept));
        kept.or(self.offered.first().copied())
    }

    /// The operator wants a new certificate now, whatever has failed before.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// The authority's answer about renewal at `now`: its window by our clock, and how long the answer is good. `None`:
    /// it has none, and is asked again after `again_after` at the earliest.
    pub fn renewal_info(&mut self, now: u64, window: Option<(u64, u64)>, again_after: u64) {
        self.renewal_info = RenewalInfo {
            // RFC 9773 section 4.2: a window that ends before it begins is no window.
            window: window.filter(|(from, until)| from < until),
            asked_at: Some(now),
            // RFC 9773 section 4.3.2 has clients set bounds of their own.
            ask_again_after: again_after.clamp(MINUTE, DAY),
        };
    }

    /// The rehearsal has succeeded: the names can be proven.
    pub fn rehearsed(&mut self, now: u64) {
        self.progress.rehearsing = false;
        self.progress.failed_at = Some(now);
        self.progress.wait = 0;
    }

    /// A certificate has come at `now`.
    pub fn issued(&mut self, now: u64, validity: Validity, random: &mut Random) {
        let jitter = u16::try_from(random.u32() >> 16).unwrap_or(u16::MAX);
        self.progress = Progress {
            issued_at: Some(now),
            jitter,
            challenge: self.challenge(),
            ..Progress::default()
        };
        self.held = Some(validity);
        self.wanted = false;
        self.renewal_info = RenewalInfo::default();
    }

    /// An order came to nothing at `now`.
    pub fn failed(&mut self, now: u64, failure: Failure, random: &mut Random) {
        self.wanted = false;
        let tried = self.challenge();
        let progress = &mut self.progress;
        progress.problem = Some(one_line(&failure.reason));
        progress.failed_at = Some(now);
        if failure.kind == FailureKind::Invalid {
            progress.refusals = progress.refusals.saturating_add(1);
            progress.rehearsing =
                self.has_staging && progress.refusals >= REFUSALS_BEFORE_REHEARSAL;
            progress.challenge = tried.and_then(|tried| after(&self.offered, tried));
            let tried_once_each = self.offered.len();
            if usize::try_from(progress.refusals).unwrap_or(usize::MAX) < tried_once_each {
                progress.wait = 0;
                return;
            }
        }
        let index = usize::try_from(progress.failures).unwrap_or(usize::MAX);
        progress.failures = progress.failures.saturating_add(1);
        let [.., longest] = WAITS;
        let mut wait = WAITS.get(index).copied().unwrap_or(longest);
        if progress.rehearsing {
            wait = wait.min(LONGEST_REHEARSAL_WAIT);
        }
        let left = self.held.map_or(0, |held| held.until.saturating_sub(now));
        if left > 0 {
            wait = wait.min((left / 6).max(SHORTEST_WAIT));
        }
        // Not everybody at once when an authority comes back.
        wait += u64::from(random.u32()) % (wait / 10 + 1);
        let asked = failure.retry_after.unwrap_or(0).min(LONGEST_RETRY_AFTER);
        progress.wait = wait.max(asked);
    }
}

/// The next one in turn.
fn after(offered: &[Challenge], tried: Challenge) -> Option<Challenge> {
    let at = offered.iter().position(|offered| *offered == tried)?;
    offered.get((at + 1) % offered.len()).copied()
}

/// What others write is shown in one line that ends.
pub(super) fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(LONGEST_REASON)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(LONGEST_REASON).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests;
