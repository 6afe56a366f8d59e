//! The secret, its comparison, and the limit on failed guesses.
//!
//! One [`Gate`] is shared by everything that takes the secret from outside (REST, the dashboard, `joinRoom.secret`),
//! so that the limit on failed guesses holds across all of them.

pub mod basic;
pub mod guess_limiter;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use subtle::ConstantTimeEq;

use crate::units::{Live, RemoteAddr, Secret};
use basic::Credentials;
use guess_limiter::{GuessLimiter, Source};

/// The only user name of HTTP Basic (`openvidu-rest` section 1.2).
pub const USER_NAME: &str = "OPENVIDUAPP";

/// What came of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The secret is right.
    Granted,
    /// The secret is wrong; the guess has been counted.
    Wrong,
    /// Too many wrong guesses from this source: this one was not looked at, right or wrong.
    NotChecked {
        /// When the next guess will be looked at.
        retry_after: Duration,
    },
}

/// What an HTTP request proves about its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It carries no Basic credentials: not a guess, so never counted.
    Anonymous,
    /// It carries credentials, with this outcome.
    Basic(Verdict),
}

/// Compares guesses with the secret in constant time, ten wrong ones a minute and source. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    secret: Live<Secret>,
    limiter: Mutex<GuessLimiter>,
}

impl Gate {
    /// A gate that opens for `secret` (`OPENVIDU_SECRET`).
    pub fn new(secret: Secret) -> Self {
        Self(Arc::new(Inner {
            secret: secret.into(),
            limiter: Mutex::new(GuessLimiter::default()),
        }))
    }

    /// From now on it opens for `secret` alone. Who is inside stays there.
    pub fn set_secret(&self, secret: Secret) {
        self.0.secret.set(secret);
    }

    /// Checks a bare secret, such as `secret` of `joinRoom`.
    pub fn check_secret(&self, now: Instant, from: RemoteAddr, guess: &[u8]) -> Verdict {
        self.check(now, from.0, || self.0.secret.get().matches(guess))
    }

    /// Checks the value of an `Authorization` header (RFC 7617). Schemes other than Basic say nothing about the sender.
    pub fn check_authorization(
        &self,
        now: Instant,
        from: RemoteAddr,
        authorization: Option<&[u8]>,
    ) -> Claim {
        let Some(encoded) = authorization.and_then(basic::encoded_credentials) else {
            return Claim::Anonymous;
        };
        Claim::Basic(self.check(now, from.0, || {
            let Some(credentials) = Credentials::decode(encoded) else {
                return false;
            };
            // Both comparisons always run, so the time taken does not tell which half was wrong.
            let user: bool = credentials
                .user()
                .as_bytes()
                .ct_eq(USER_NAME.as_bytes())
                .into();
            user & self
                .0
                .secret
                .get()
                .matches(credentials.password().as_bytes())
        }))
    }

    fn check(&self, now: Instant, from: IpAddr, is_right: impl FnOnce() -> bool) -> Verdict {
        let source = Source::from(from);
        // A poisoned lock only means that a thread panicked while counting; the counts are still good.
        let mut limiter = self
            .0
            .limiter
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(retry_after) = limiter.refuses(now, source) {
            return Verdict::NotChecked { retry_after };
        }
        if is_right() {
            return Verdict::Granted;
        }
        if limiter.count_failure(now, source) {
            tracing::warn!(
                source = %from,
                "ten wrong guesses of OPENVIDU_SECRET in a minute: further ones from this source are not looked at; \
                 if it is an application of yours, correct its secret"
            );
        }
        Verdict::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    fn gate() -> Gate {
        Gate::new(Secret::new("MY_SECRET"))
    }

    fn from(text: &str) -> RemoteAddr {
        RemoteAddr(text.parse().unwrap())
    }

    fn basic(user: &str, password: &str) -> Vec<u8> {
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        format!("Basic {pair}").into_bytes()
    }

    #[test]
    fn only_the_exact_user_and_secret_are_granted() {
        let gate = gate();
        let cases = [
            ("OPENVIDUAPP", "MY_SECRET", Verdict::Granted),
            ("OPENVIDUAPP", "my_secret", Verdict::Wrong),
            ("openviduapp", "MY_SECRET", Verdict::Wrong),
            ("OPENVIDUAPP", "MY_SECRET ", Verdict::Wrong),
            ("", "", Verdict::Wrong),
        ];
        for (user, password, verdict) in cases {
            assert_eq!(
                gate.check_authorization(t0(), from("198.51.100.1"), Some(&basic(user, password))),
                Claim::Basic(verdict),
                "{user}:{password}"
            );
        }
    }

    #[test]
    fn a_request_without_basic_credentials_is_never_counted() {
        let gate = gate();
        for _ in 0..1000 {
            for header in [None, Some(b"Bearer abc".as_slice())] {
                assert_eq!(
                    gate.check_authorization(t0(), from("198.51.100.1"), header),
                    Claim::Anonymous
                );
            }
        }
        assert_eq!(
            gate.check_secret(t0(), from("198.51.100.1"), b"MY_SECRET"),
            Verdict::Granted
        );
    }

    #[test]
    fn after_ten_wrong_guesses_even_the_right_secret_is_not_looked_at() {
        let gate = gate();
        for _ in 0..10 {
            assert_eq!(
                gate.check_secret(t0(), from("198.51.100.1"), b"guess"),
                Verdict::Wrong
            );
        }
        let right = basic(USER_NAME, "MY_SECRET");
        assert_eq!(
            gate.check_authorization(t0(), from("198.51.100.1"), Some(&right)),
            Claim::Basic(Verdict::NotChecked {
                retry_after: Duration::from_secs(6)
            })
        );
        assert_eq!(
            gate.check_authorization(t0(), from("198.51.100.2"), Some(&right)),
            Claim::Basic(Verdict::Granted)
        );
        assert_eq!(
            gate.check_authorization(
                t0() + Duration::from_secs(6),
                from("198.51.100.1"),
                Some(&right)
            ),
            Claim::Basic(Verdict::Granted)
        );
    }

    #[test]
    fn another_secret_takes_the_place_of_the_first_for_everybody_who_holds_the_gate() {
        let gate = gate();
        gate.clone().set_secret(Secret::new("ANOTHER"));
        let check = |guess: &[u8]| gate.check_secret(t0(), from("198.51.100.1"), guess);
        assert_eq!(check(b"MY_SECRET"), Verdict::Wrong);
        assert_eq!(check(b"ANOTHER"), Verdict::Granted);
    }

    #[test]
    fn right_guesses_are_not_limited() {
        let gate = gate();
        for _ in 0..1000 {
            assert_eq!(
                gate.check_secret(t0(), from("2001:db8::1"), b"MY_SECRET"),
                Verdict::Granted
            );
        }
    }
}
