//! ICE-lite (RFC 8445 sections 2.5 and 7.3): we answer checks, send none, and are always controlled.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::DropReason;
use crate::media::sdp::IceCredentials;
use crate::media::stun::{
    AttributeType, Class, Fingerprint, IntegrityKey, Message, Method, Writer,
};

/// Without an authenticated check for so long the peer is gone (RFC 7675 section 5.1 has the same figure).
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// Without anything authentic for so long a connected peer has gone quiet: Chromium checks every 2.5 s, Firefox every 5 s.
pub(super) const QUIET: Duration = Duration::from_secs(8);

/// Validated paths kept per transport; the least recently checked one gives way.
const MAX_PATHS: usize = 8;

/// Once the chosen path has not been heard for so long, authentic media from another validated path, or from another
/// port of the same host, shows where the peer is: a NAT has given it another port. Firefox never nominates again then,
/// and checks every five seconds only.
const MEDIA_MOVES_AFTER: Duration = Duration::from_secs(1);

/// The same for a valid check without nomination; longer than the interval between two checks of Firefox.
const CHECK_MOVES_AFTER: Duration = Duration::from_secs(7);

/// Attributes of a check that need no 420 (RFC 8489 section 6.3.1).
const KNOWN: [AttributeType; 5] = [
    AttributeType::USERNAME,
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::PRIORITY,
    AttributeType::USE_CANDIDATE,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
];

/// Unknown attributes that a 420 names at most.
const MAX_UNKNOWN: usize = 8;

/// One of the worker's sockets, or one of its TCP connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link(pub u32);

/// Where a packet came from and an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The socket or connection.
    pub link: Link,
    /// The address of ours that was asked, where the socket listens on several.
    pub local: Option<IpAddr>,
    /// The peer's address.
    pub remote: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
struct Validated {
    path: Path,
    checked_at: Instant,
    heard_at: Instant,
    nominated: bool,
}

/// What to do after a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send this back on the same path.
    Answer(Vec<u8>),
    /// The peer claims to be controlled, which only we may be: send this back.
    RoleConflict(Vec<u8>),
    /// Say nothing.
    Silence(DropReason),
}

/// Our side of ICE for one transport.
#[derive(Debug)]
pub(super) struct Agent {
    ufrag: String,
    key: IntegrityKey,
    paths: Vec<Validated>,
    chosen: Option<Path>,
    /// The peer has chosen before, so that a path which is there no more may be replaced without its word.
    has_chosen: bool,
    alive_since: Instant,
    /// The last valid check or authentic media, on whichever path.
    heard_at: Instant,
}

impl Agent {
    pub(super) fn new(now: Instant, local: IceCredentials) -> Self {
        Self {
            key: IntegrityKey::short_term(&local.pwd),
            ufrag: local.ufrag,
            paths: Vec::new(),
            chosen: None,
            has_chosen: false,
            alive_since: now,
            heard_at: now,
        }
    }

    /// The time of silence begins anew, as for a peer that has only just learnt of us.
    pub(super) fn restart_silence(&mut self, now: Instant) {
        self.alive_since = self.alive_since.max(now);
    }

    /// When the peer counts as gone.
    pub(super) fn deadline(&self) -> Instant {
        self.alive_since + SILENCE
    }

    /// When the peer counts as quiet.
    pub(super) fn quiet_at(&self) -> Instant {
        self.heard_at + QUIET
    }

    /// Whether a valid check has come from there.
    pub(super) fn is_validated(&self, path: &Path) -> bool {
        self.paths.iter().any(|known| known.path == *path)
    }

    /// Whether a valid check has come through `link`.
    pub(super) fn is_linked(&self, link: Link) -> bool {
        self.paths.iter().any(|known| known.path.link == link)
    }

    /// When the peer was last heard from there, to whichever address of ours.
    pub(super) fn heard_at(&self, link: Link, remote: SocketAddr) -> Option<Instant> {
        let is_there = |path: &Path| path.link == link && path.remote == remote;
        let known = self.paths.iter().filter(|known| is_there(&known.path));
        known.map(|known| known.heard_at).max()
    }

    /// Where to send: the path that the peer chose.
    pub(super) const fn chosen(&self) -> Option<Path> {
        self.chosen
    }

    /// Authentic media has arrived from a validated path.
    pub(super) fn hear(&mut self, now: Instant, path: &Path) {
        self.heard_at = now;
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == *path) {
            known.heard_at = now;
        }
        if self.has_chosen
            && self.chosen != Some(*path)
            && self.has_fallen_silent(now, MEDIA_MOVES_AFTER)
        {
            self.choose(*path);
        }
    }

    /// Whether `path`, from which no check came, leads to another port of the peer's host while nothing comes from the
    /// chosen one any more.
    pub(super) fn may_have_moved(&self, now: Instant, path: &Path) -> bool {
        let is_neighbour = |chosen: Path| {
            chosen.link == path.link
                && chosen.remote.ip() == path.remote.ip()
                && chosen.remote.port() != path.remote.port()
        };
        self.chosen.is_some_and(is_neighbour) && self.has_fallen_silent(now, MEDIA_MOVES_AFTER)
    }

    /// Authentic media has arrived from where the peer may have moved to. That counts like a check, but for the time
    /// after which a peer without checks is gone.
    pub(super) fn follow(&mut self, now: Instant, path: Path) {
        self.make_room();
        self.paths.push(Validated {
            path,
            checked_at: now,
            heard_at: now,
            nominated: false,
        });
        self.choose(path);
    }

    fn choose(&mut self, path: Path) {
        self.chosen = Some(path);
        self.has_chosen = true;
    }

    /// A connection has ended, and its paths with it. Another nominated path takes over, if there is one.
    pub(super) fn forget(&mut self, link: Link) {
        self.paths.retain(|known| known.path.link != link);
        if self.chosen.is_some_and(|chosen| chosen.link == link) {
            let nominated = self.paths.iter().filter(|known| known.nominated);
            let latest = nominated.max_by_key(|known| known.heard_at);
            self.chosen = latest.map(|known| known.path);
        }
    }

    /// Checks a Binding request and decides what is said to it (RFC 8445 section 7.3).
    pub(super) fn handle_stun(&mut self, now: Instant, path: Path, packet: &[u8]) -> Verdict {
        let Ok(message) = Message::parse(packet) else {
            return Verdict::Silence(DropReason::MalformedStun);
        };
        if message.method() != Method::BINDING || message.class() != Class::Request {
            return Verdict::Silence(DropReason::UnexpectedStun);
        }
        // An error to a stranger would make us a reflector.
        if !message.username().is_some_and(|name| self.is_ours(name)) {
            return Verdict::Silence(DropReason::UnknownUfrag);
        }
        if message.fingerprint() != Fingerprint::Valid || !message.is_authentic(&self.key) {
            return Verdict::Silence(DropReason::UnauthenticStun);
        }
        self.heard_at = now;
        if message.has(AttributeType::ICE_CONTROLLED) {
            return Verdict::RoleConflict(self.refuse(&message, 487));
        }
        if message.unknown_attributes(&KNOWN).next().is_some() {
            return Verdict::Answer(self.refuse(&message, 420));
        }
        self.validate(now, path, message.has(AttributeType::USE_CANDIDATE));
        Verdict::Answer(self.accept(&message, path.remote))
    }

    fn is_ours(&self, username: &str) -> bool {
        username
            .split_once(':')
            .is_some_and(|(ufrag, _)| ufrag == self.ufrag)
    }

    fn validate(&mut self, now: Instant, path: Path, nominated: bool) {
        self.alive_since = now;
        self.paths
            .retain(|known| known.path == path || now < known.checked_at + SILENCE);
        match self.paths.iter_mut().find(|known| known.path == path) {
            Some(known) => {
                known.checked_at = now;
                known.heard_at = now;
                known.nominated |= nominated;
            }
            None => {
                self.make_room();
                self.paths.push(Validated {
                    path,
                    checked_at: now,
                    heard_at: now,
                    nominated,
                });
            }
        }
        if nominated || (self.has_chosen && self.has_fallen_silent(now, CHECK_MOVES_AFTER)) {
            self.choose(path);
        }
    }

    fn make_room(&mut self) {
        if self.paths.len() < MAX_PATHS {
            return;
        }
        let oldest = self
            .paths
            .iter()
            .enumerate()
            .filter(|(_, known)| Some(known.path) != self.chosen)
            .min_by_key(|(_, known)| (known.nominated, known.checked_at))
            .map(|(index, _)| index);
        if let Some(index) = oldest {
            self.paths.swap_remove(index);
        }
    }

    /// Whether the chosen path has not been heard for `limit`, or is no longer valid.
    fn has_fallen_silent(&self, now: Instant, limit: Duration) -> bool {
        self.paths
            .iter()
            .find(|known| Some(known.path) == self.chosen)
            .is_none_or(|chosen| now >= chosen.heard_at + limit)
    }

    fn accept(&self, request: &Message<'_>, from: SocketAddr) -> Vec<u8> {
        self.answer(request, Class::Success, |writer| {
            let ip = from.ip().to_canonical();
            writer.xor_mapped_address(SocketAddr::new(ip, from.port()));
        })
    }

    fn refuse(&self, request: &Message<'_>, code: u16) -> Vec<u8> {
        self.answer(request, Class::Error, |writer| {
            writer.error_code(code);
            if code == 420 {
                writer.unknown_attributes(request.unknown_attributes(&KNOWN).take(MAX_UNKNOWN));
            }
        })
    }

    fn answer(
        &self,
        request: &Message<'_>,
        class: Class,
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        let mut buffer = [0; 128];
        let mut writer = Writer::new(
            &mut buffer,
            class,
            request.method(),
            request.transaction_id(),
        );
        body(&mut writer);
        writer.integrity(&self.key);
        writer.fingerprint();
        let len = writer
            .finish()
            .expect("the longest answer, a 420 with eight attributes, has 80 bytes");
        buffer.get(..len).unwrap_or_default().to_vec()
    }
}
