//! How much one client, and all of them together, may take.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::control::access::guess_limiter::Source;

/// Limits and time-outs of every listener.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A TLS handshake may take this long.
    pub tls_handshake: Duration,
    /// A request's head may take this long, counted from the end of the previous request: it also bounds how long an
    /// idle HTTP/1.1 connection is kept.
    pub header_read: Duration,
    /// A request's body may pause this long.
    pub body_idle: Duration,
    /// A client may leave written bytes unread this long.
    pub write_stall: Duration,
    /// An HTTP/2 connection without a request is kept this long.
    pub http2_idle: Duration,
    /// After cancellation, requests in progress get this long.
    pub shutdown: Duration,
    /// Connections of all clients.
    pub connections: usize,
    /// Connections of one IPv4 address or IPv6 /64; trusted proxies are exempt, since they carry many clients.
    pub connections_per_source: usize,
    /// Bytes of a request's head.
    pub header_bytes: u32,
    /// Header lines of a request.
    pub headers: usize,
    /// Bytes of a request's body, as OpenVidu's proxy has it; each service has a lower limit of its own.
    pub body_bytes: u64,
    /// Concurrent requests of one HTTP/2 connection.
    pub http2_streams: u32,
    /// A connection to an upstream must be there after this long.
    pub upstream_connect: Duration,
    /// An upstream may be silent this long before its answer and between two pieces of it.
    pub upstream_read: Duration,
    /// Requests and tunnels of one upstream at a time: fewer than `connections`, so that a slow application leaves some
    /// to everybody else.
    pub requests_per_upstream: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tls_handshake: Duration::from_secs(10),
            header_read: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            write_stall: Duration::from_secs(30),
            http2_idle: Duration::from_secs(60),
            shutdown: Duration::from_secs(3),
            connections: 16_384,
            connections_per_source: 1024,
            header_bytes: 32 * 1024,
            headers: 100,
            body_bytes: 200 * 1024 * 1024,
            http2_streams: 64,
            upstream_connect: Duration::from_secs(5),
            upstream_read: Duration::from_secs(60),
            requests_per_upstream: 8192,
        }
    }
}

/// Counts connections; cheap to clone.
#[derive(Debug, Clone)]
pub struct Admission(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    total: usize,
    per_source: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// Why a connection is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// `Limits::connections` are open.
    #[error("too many connections")]
    Everyone,
    /// The source has `Limits::connections_per_source` open.
    #[error("too many connections from this source")]
    Source,
}

impl Admission {
    /// Nobody is connected yet.
    pub fn new(limits: &Limits) -> Self {
        Self(Arc::new(Counts {
            total: limits.connections,
            per_source: limits.connections_per_source,
            open: Mutex::default(),
        }))
    }

    /// Counts a connection from `peer` until the permit is dropped; `exempt` ones count for everyone only.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn admit(&self, peer: IpAddr, exempt: bool) -> Result<Permit, Full> {
        let mut open = self.lock();
        if open.total >= self.0.total {
            return Err(Full::Everyone);
        }
        let source = (!exempt).then(|| Source::from(peer));
        if let Some(source) = source {
            let count = open.by_source.entry(source).or_default();
            if *count >= self.0.per_source {
                return Err(Full::Source);
            }
            *count += 1;
        }
        open.total += 1;
        Ok(Permit {
            admission: self.clone(),
            source,
        })
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One admitted connection.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    source: Option<Source>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.admission.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(source) = self.source
            && let Some(count) = open.by_source.get_mut(&source)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_source.remove(&source);
            }
        }
    }
}

/// How long to wait before the next `accept` after it failed; `previous` is the last wait, zero after a success.
///
/// Errors of the one connection cost nothing. Whatever else (no descriptors, no memory) needs time to pass, since the
/// connection stays in the queue and `accept` would fail again at once.
pub fn accept_pause(error: &io::Error, previous: Duration) -> Duration {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);
    let of_one_connection = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::Interrupted,
    ];
    if of_one_connection.contains(&error.kind()) {
        return Duration::ZERO;
    }
    (previous * 2).clamp(FIRST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, connections_per_source: usize) -> Admission {
        Admission::new(&Limits {
            connections,
            connections_per_source,
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_source_and_all_together_are_limited_and_freed() {
        let admission = admission(3, 2);
        let first = admission.admit(ip("198.51.100.1"), false).unwrap();
        let _second = admission.admit(ip("198.51.100.1"), false).unwrap();
        assert_eq!(
            admission.admit(ip("198.51.100.1"), false).unwrap_err(),
            Full::Source
        );
        let _third = admission.admit(ip("198.51.100.2"), false).unwrap();
        assert_eq!(
            admission.admit(ip("198.51.100.3"), false).unwrap_err(),
            Full::Everyone
        );
        drop(first);
        let _fourth = admission.admit(ip("198.51.100.1"), false).unwrap();
        assert_eq!(admission.open(), 3);
    }

    #[test]
    fn a_v6_subscriber_is_one_source_and_proxies_are_exempt() {
        let admission = admission(100, 1);
        let _one = admission.admit(ip("2001:db8::1"), false).unwrap();
        assert_eq!(
            admission.admit(ip("2001:db8::2"), false).unwrap_err(),
            Full::Source
        );
        let _proxied: Vec<_> = (0..10)
            .map(|_| admission.admit(ip("127.0.0.1"), true).unwrap())
            .collect();
    }

    #[test]
    fn nothing_is_remembered_of_closed_connections() {
        let admission = admission(10, 10);
        drop(admission.admit(ip("198.51.100.1"), false).unwrap());
        assert!(admission.lock().by_source.is_empty());
        assert_eq!(admission.open(), 0);
    }

    #[test]
    fn accepting_backs_off_only_when_the_machine_is_out_of_something() {
        let no_descriptors = io::Error::from_raw_os_error(24);
        let mut pause = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pause = accept_pause(&no_descriptors, pause);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        let aborted = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(accept_pause(&aborted, pause), Duration::ZERO);
    }
}
