//! What survives a WebSocket: the RPC session (`openvidu-signalling` sections 2.2, 4, 5).

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::digest;

use crate::units::{Random, Secret};

/// One RPC session. Its id re-attaches a participant to another socket, so whoever knows it is that participant.
#[derive(Debug)]
pub struct RpcSession {
    id: Secret,
    ping_interval: OnceLock<Duration>,
}

impl RpcSession {
    /// A session of its own with an id that nobody guesses: 26 characters, as in OpenVidu.
    pub fn new(random: &mut Random) -> Self {
        Self {
            id: Secret::new(random.alphanumeric(26)),
            ping_interval: OnceLock::new(),
        }
    }

    /// The id, which its own client is told with every result.
    pub fn id(&self) -> &str {
        self.id.expose()
    }

    /// Returns whether `presented` is the id. The time taken depends on the lengths only.
    pub fn is(&self, presented: &str) -> bool {
        self.id.matches(presented.as_bytes())
    }

    /// Under which it is found.
    pub fn key(&self) -> RpcKey {
        RpcKey::of(self.id())
    }

    /// The client's ping interval, once it has pinged.
    pub fn ping_interval(&self) -> Option<Duration> {
        self.ping_interval.get().copied()
    }

    /// The first ping says how often more will come; what later ones say is not heard.
    pub fn set_ping_interval(&self, interval: Duration) {
        self.ping_interval.get_or_init(|| interval);
    }
}

/// The SHA-256 of an RPC session's id. Looking one up takes time that tells nothing about the ids that exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RpcKey([u8; digest::SHA256_OUTPUT_LEN]);

impl RpcKey {
    /// The key of the RPC session with this id, should there be one.
    pub fn of(id: &str) -> Self {
        let mut key = [0; digest::SHA256_OUTPUT_LEN];
        key.copy_from_slice(digest::digest(&digest::SHA256, id.as_bytes()).as_ref());
        Self(key)
    }
}

impl fmt::Debug for RpcKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RpcKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_long_its_own_and_prints_nowhere() {
        let mut random = Random::system();
        let (one, other) = (RpcSession::new(&mut random), RpcSession::new(&mut random));
        assert_eq!(one.id().len(), 26);
        assert!(one.is(one.id()) && !one.is(other.id()) && !one.is(""));
        assert_eq!(one.key(), RpcKey::of(one.id()));
        assert_ne!(one.key(), other.key());
        let shown = format!("{one:?} {:?}", one.key());
        assert!(!shown.contains(one.id()), "{shown}");
    }

    #[test]
    fn the_first_ping_interval_stays() {
        let session = RpcSession::new(&mut Random::seeded(1));
        assert_eq!(session.ping_interval(), None);
        session.set_ping_interval(Duration::from_secs(5));
        session.set_ping_interval(Duration::from_secs(7));
        assert_eq!(session.ping_interval(), Some(Duration::from_secs(5)));
    }
}
