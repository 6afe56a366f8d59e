//! Who asks (RFC 8489 section 9.2.4). What is cheap to refuse is refused first: the nonce's MAC before any work that
//! depends on a credential, and nothing is stored before the request's integrity has been proved.

use std::time::Instant;

use super::Server;
use super::answer::{Answer, Content, PASSWORD_ALGORITHMS};
use crate::media::stun::{IntegrityKey, LongTermKey, Method, PasswordAlgorithm};
use crate::media::turn::AllocationId;
use crate::media::turn::five_tuple::FiveTuple;
use crate::media::turn::nonce::Freshness;
use crate::media::turn::request::Request;

/// The longest user name (RFC 8489 section 14.3).
const MAX_USERNAME_LEN: usize = 508;

/// A client that has proved who it is.
pub(super) struct Authenticated {
    pub(super) username: String,
    pub(super) key: LongTermKey,
    integrity: IntegrityKey,
}

impl Server {
    /// Checks the credential and, if it is good, carries the request out.
    pub(super) fn answer_authenticated(
        &mut self,
        now: Instant,
        from: &FiveTuple,
        request: &Request<'_>,
    ) -> Answer {
        let who = match self.authenticate(now, from, request) {
            Ok(who) => who,
            Err(code) => return Answer::refusal(code),
        };
        self.budget.prove(now, from.client.ip());
        let result = if request.has_unknown {
            Err(420)
        } else {
            match request.message.method() {
                Method::ALLOCATE => self.allocate(now, from, request, &who),
                Method::REFRESH => self.refresh(now, from, request, &who),
                Method::CREATE_PERMISSION => self.create_permission(now, from, request, &who),
                Method::CHANNEL_BIND => self.channel_bind(now, from, request, &who),
                _ => Err(400),
            }
        };
        if result.as_ref().is_err_and(|code| *code == 403) {
            self.counters.denied_peers += 1;
        }
        Answer::sealed(result, who.integrity)
    }

    /// The allocation of a client that is who made it (RFC 8656 section 5).
    pub(super) fn own_allocation(
        &self,
        from: &FiveTuple,
        who: &Authenticated,
    ) -> Result<AllocationId, u16> {
        let id = self.allocation_of(from).ok_or(437u16)?;
        let known = self.allocations.get(id).ok_or(437u16)?;
        if *known.username == *who.username {
            Ok(id)
        } else {
            Err(441)
        }
    }

    fn authenticate(
        &self,
        now: Instant,
        from: &FiveTuple,
        request: &Request<'_>,
    ) -> Result<Authenticated, u16> {
        if !request.has_integrity && !request.has_integrity_sha256 {
            return Err(401);
        }
        let named = request.username.is_some() || request.user_hash.is_some();
        let (Some(realm), Some(nonce), true) = (request.realm, request.nonce, named) else {
            return Err(400);
        };
        if self.nonces.check(now, from, nonce) == Freshness::Stale {
            return Err(438);
        }
        let algorithm = password_algorithm(request)?;
        if realm != self.credentials.realm().as_bytes() {
            return Err(401);
        }
        let username = self.username(request).ok_or(401u16)?;
        // An allocation keeps its key; another key may be right, too, once a password has changed.
        let kept = self
            .allocation_of(from)
            .and_then(|id| self.allocations.get(id))
            .filter(|known| *known.username == *username && known.key.algorithm() == algorithm)
            .map(|known| known.key);
        if let Some(who) = kept.and_then(|key| prove(request, username, key)) {
            return Ok(who);
        }
        let realm = self.credentials.realm();
        self.credentials
            .passwords(now, username)
            .iter()
            .map(|password| LongTermKey::new(algorithm, username, realm, password.expose()))
            .find_map(|key| prove(request, username, key))
            .ok_or(401)
    }

    fn username<'a>(&'a self, request: &Request<'a>) -> Option<&'a str> {
        match (request.username, request.user_hash) {
            (Some(name), _) if name.len() <= MAX_USERNAME_LEN => std::str::from_utf8(name).ok(),
            (None, Some(hash)) => self.credentials.user_of_hash(hash),
            _ => None,
        }
    }
}

/// Checks the request against one key: by MESSAGE-INTEGRITY-SHA256 if it has that, else by MESSAGE-INTEGRITY. The
/// answer will be sealed likewise.
fn prove(request: &Request<'_>, username: &str, key: LongTermKey) -> Option<Authenticated> {
    let integrity = if request.has_integrity_sha256 {
        key.sha256_integrity()
    } else {
        key.sha1_integrity()
    };
    request
        .message
        .is_authentic(&integrity)
        .then(|| Authenticated {
            username: username.to_owned(),
            key,
            integrity,
        })
}

/// How the client made its key. All our nonces announce the choice, so who chooses repeats the offer, and an offer
/// that somebody has weakened on the way is noticed (RFC 8489 section 9.2.4).
fn password_algorithm(request: &Request<'_>) -> Result<PasswordAlgorithm, u16> {
    match (request.algorithm, request.algorithms) {
        (None, None) => Ok(PasswordAlgorithm::Md5),
        (Some(chosen), Some(offer)) if offer == PASSWORD_ALGORITHMS => match chosen {
            [0, 1, 0, 0] => Ok(PasswordAlgorithm::Md5),
            [0, 2, 0, 0] => Ok(PasswordAlgorithm::Sha256),
            _ => Err(400),
        },
        _ => Err(400),
    }
}

/// What carrying out a request leads to: an answer, or the error code of RFC 8656 section 19.
pub(super) type Outcome = Result<Content, u16>;
