//! What the proxy counts, for metrics.

use std::time::Duration;

use axum::http::StatusCode;

use super::limits::{Admission, Full};
use super::routes::{Destination, Entrance, destination, is_challenge};
use crate::units::{Count, Spread};
use crate::views::metric::{Family, Label, Word};

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The WebSocket of signalling; its answer is 101.
    Signalling,
    /// The REST API.
    Rest,
    /// The dashboard.
    Dashboard,
    /// Files of custom layouts.
    Layouts,
    /// The application, a route, or the call page.
    Application,
    /// What a certificate authority comes for.
    Challenge,
    /// From HTTP to HTTPS.
    Redirect,
    /// A path that there is not.
    Nothing,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::Signalling,
        Self::Rest,
        Self::Dashboard,
        Self::Layouts,
        Self::Application,
        Self::Challenge,
        Self::Redirect,
        Self::Nothing,
    ];

    /// The class of a request for `path`; `None` came through a listener that only redirects.
    pub fn of(entrance: Option<Entrance>, path: &str) -> Self {
        if is_challenge(path) {
            return Self::Challenge;
        }
        let Some(entrance) = entrance else {
            return Self::Redirect;
        };
        match destination(entrance, path) {
            Destination::Signalling => Self::Signalling,
            Destination::Rest => Self::Rest,
            Destination::Dashboard => Self::Dashboard,
            Destination::Layouts => Self::Layouts,
            Destination::Elsewhere => Self::Application,
            Destination::Nothing => Self::Nothing,
        }
    }

    /// Its word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signalling => "signalling",
            Self::Rest => "rest",
            Self::Dashboard => "dashboard",
            Self::Layouts => "layouts",
            Self::Application => "application",
            Self::Challenge => "challenge",
            Self::Redirect => "redirect",
            Self::Nothing => "nothing",
        }
    }
}

/// The first digits of statuses (RFC 9110 section 15).
const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts requests and connections.
#[derive(Debug, Default)]
pub struct Traffic {
    /// By class and status.
    answered: [[Count; STATUSES.len()]; Class::ALL.len()],
    took: [Spread; Class::ALL.len()],
    accepted: Count,
    full: Count,
    full_source: Count,
    handshakes: Count,
    failed_handshakes: Count,
}

impl Traffic {
    /// Takes note of an answer whose head was there after `took`.
    pub fn answered(&self, class: Class, status: StatusCode, took: Duration) {
        // Whatever has no class of its own is a mistake of a server's.
        let status = usize::from(status.as_u16() / 100).clamp(1, STATUSES.len()) - 1;
        let classes = Class::ALL.iter().zip(&self.answered).zip(&self.took);
        for ((_, counts), spread) in classes.filter(|((other, _), _)| **other == class) {
            counts[status].one();
            spread.observe(took);
        }
    }

    /// Takes note of a connection that was admitted, or was not.
    pub fn connected(&self, refused: Option<&Full>) {
        match refused {
            None => self.accepted.one(),
            Some(Full::Everyone) => self.full.one(),
            Some(Full::Source) => self.full_source.one(),
        }
    }

    /// Takes note of the end of a TLS handshake.
    pub fn shook_hands(&self, succeeded: bool) {
        if succeeded {
            self.handshakes.one();
        } else {
            self.failed_handshakes.one();
        }
    }

    /// Everything as metrics; `web` and `turn` say how many connections are open.
    pub fn families(&self, web: &Admission, turn: &Admission) -> Vec<Family> {
        let label = |name, word| -> Label { (name, Word::Text(word)) };
        let requests = Class::ALL.iter().zip(&self.answered);
        let requests = requests.flat_map(|(class, counts)| {
            let statuses = STATUSES.iter().zip(counts);
            statuses.map(|(status, count)| {
                let labels = vec![label("route", class.as_str()), label("status", status)];
                (labels, count.get())
            })
        });
        let took = Class::ALL.iter().zip(&self.took);
        vec![
            Family::counters(
                "hanok_http_requests_total",
                "Requests answered, by what they were for and the class of the status.",
                requests,
            ),
            Family::durations(
                "hanok_http_request_seconds",
                "How long the head of an answer took.",
                took.map(|(class, took)| (vec![label("route", class.as_str())], took.get())),
            ),
            Family::gauges(
                "hanok_http_connections",
                "Connections that are open: of the web, WebSockets included, and TURN over TLS during its handshake.",
                [
                    (vec![label("kind", "web")], web.open().into()),
                    (vec![label("kind", "turn")], turn.open().into()),
                ],
            ),
            Family::counters(
                "hanok_http_connections_total",
                "Connections to the web ports: accepted, or closed because everybody, or one source, had too many.",
                [
                    (vec![label("outcome", "accepted")], self.accepted.get()),
                    (vec![label("outcome", "full")], self.full.get()),
                    (
                        vec![label("outcome", "source_full")],
                        self.full_source.get(),
                    ),
                ],
            ),
            Family::counters(
                "hanok_tls_handshakes_total",
                "TLS handshakes, by outcome.",
                [
                    (vec![label("outcome", "done")], self.handshakes.get()),
                    (
                        vec![label("outcome", "failed")],
                        self.failed_handshakes.get(),
                    ),
                ],
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::proxy::Limits;
    use crate::views::metric::Value;

    #[test]
    fn a_request_counts_by_its_path_and_status_alone() {
        for (entrance, path, class) in [
            (Some(Entrance::Https), "/openvidu", Class::Signalling),
            (Some(Entrance::Plain), "/openvidu/api/sessions", Class::Rest),
            (Some(Entrance::Https), "/dashboard/", Class::Dashboard),
            (Some(Entrance::Https), "/openvidu/layouts/a", Class::Layouts),
            (Some(Entrance::Https), "/whatever/x?y", Class::Application),
            (Some(Entrance::Plain), "/whatever", Class::Nothing),
            (None, "/openvidu/api", Class::Redirect),
            (None, "/.well-known/acme-challenge/x", Class::Challenge),
        ] {
            assert_eq!(Class::of(entrance, path), class, "{path}");
        }
        let traffic = Traffic::default();
        traffic.answered(Class::Rest, StatusCode::OK, Duration::from_millis(1));
        traffic.answered(Class::Rest, StatusCode::CREATED, Duration::from_millis(1));
        traffic.answered(
            Class::Rest,
            StatusCode::from_u16(999).unwrap(),
            Duration::ZERO,
        );
        let admission = Admission::new(&Limits::default());
        let families = traffic.families(&admission, &admission);
        let requests = &families[0].samples;
        assert_eq!(requests.len(), Class::ALL.len() * STATUSES.len());
        let of_rest: Vec<_> = requests[5..10].iter().map(|sample| sample.value).collect();
        assert_eq!(of_rest, [0, 2, 0, 0, 1].map(Value::Whole));
    }
}
