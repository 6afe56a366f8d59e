//! Candidates of clients (`openvidu-signalling` section 8.8).

use super::core::{Caller, Session};

/// Candidates that are counted for one transport (`robustness` S23).
pub(super) const CANDIDATES_MAX: u8 = 100;

impl Session {
    /// `onIceCandidate`: an ICE-lite agent sends no checks, so candidates are neither kept nor resolved.
    pub(super) fn count_candidate(&mut self, caller: &Caller, owner: &str) {
        let own = owner == caller.connection.as_str();
        if let Some(member) = self.member_mut(caller.connection.as_str()) {
            let count = if own {
                member
                    .publication
                    .as_mut()
                    .map(|publication| &mut publication.candidates)
            } else {
                member
                    .subscriptions
                    .get_mut(owner)
                    .map(|subscription| &mut subscription.candidates)
            };
            if let Some(count) = count {
                *count = count.saturating_add(1).min(CANDIDATES_MAX);
            }
        }
        self.done(caller);
    }
}
