//! A full ICE agent that controls (RFC 8445), with one socket and so one base: a pair is an address of the server's.
//!
//! Like Chromium it nominates with every check where the server is lite; a full server is first checked and then told
//! which pair it shall be (regular nomination, section 8.1.1). Addresses from which the server's own checks arrive
//! become pairs too (section 7.3.1.3).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::media::sdp::IceCredentials;
use crate::media::stun::{
    AttributeType, Class, Fingerprint, IntegrityKey, Message, Method, TransactionId, Writer,
};
use crate::units::Random;

/// Time between the first checks of two pairs (RFC 8445 section 14.2).
const PACE: Duration = Duration::from_millis(50);

/// The first wait for an answer, doubled for each repetition.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Repetitions of a check, so that a pair is given up after 12.7 s.
const REPETITIONS: u32 = 6;

/// How often the chosen pair is checked, as Chromium does (RFC 7675).
const KEEP_ALIVE: Duration = Duration::from_millis(2_500);

/// Without an answer for so long the server is gone (RFC 7675 section 5.1).
pub(super) const CONSENT: Duration = Duration::from_secs(30);

/// Pairs at most; a server may name as many addresses as it likes.
const MAX_PAIRS: usize = 32;

/// The priority that our address has as a peer-reflexive candidate (RFC 8445 section 7.1.1).
const PEER_REFLEXIVE_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Larger than any other, so that a server that wants to control as well gives way (RFC 8445 section 7.3.1.1).
const TIE_BREAKER: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// Sent `sends` times, most recently `at`.
    InProgress {
        at: Instant,
        sends: u32,
    },
    Succeeded,
    Failed,
}

#[derive(Debug)]
struct Pair {
    addr: SocketAddr,
    state: State,
    check: TransactionId,
    /// The check that is under way nominates.
    nominates: bool,
}

/// Our side of ICE for one transport, sans-I/O. Drain [`Agent::poll_output`] after every call.
#[derive(Debug)]
pub(super) struct Agent {
    user_name: String,
    /// Of the server's checks.
    expected_user_name: String,
    local_key: IntegrityKey,
    remote_key: IntegrityKey,
    remote_is_lite: bool,
    random: Random,
    pairs: Vec<Pair>,
    chosen: Option<SocketAddr>,
    /// When the next pair may be checked for the first time.
    next_start: Instant,
    next_keep_alive: Instant,
    heard_at: Instant,
    outputs: VecDeque<(SocketAddr, Vec<u8>)>,
}

impl Agent {
    pub(super) fn new(
        now: Instant,
        local: &IceCredentials,
        remote: &IceCredentials,
        remote_is_lite: bool,
        random: Random,
    ) -> Self {
        Self {
            user_name: format!("{}:{}", remote.ufrag, local.ufrag),
            expected_user_name: format!("{}:{}", local.ufrag, remote.ufrag),
            local_key: IntegrityKey::short_term(&local.pwd),
            remote_key: IntegrityKey::short_term(&remote.pwd),
            remote_is_lite,
            random,
            pairs: Vec::new(),
            chosen: None,
            next_start: now,
            next_keep_alive: now,
            heard_at: now,
            outputs: VecDeque::new(),
        }
    }

    /// A server's candidate, from its description or trickled. Known ones, and too many, are ignored.
    pub(super) fn add_candidate(&mut self, addr: SocketAddr) {
        if self.pairs.len() < MAX_PAIRS && !self.pairs.iter().any(|pair| pair.addr == addr) {
            self.pairs.push(Pair {
                addr,
                state: State::Waiting,
                check: TransactionId([0; 12]),
                nominates: false,
            });
        }
    }

    /// Where to send.
    pub(super) const fn chosen(&self) -> Option<SocketAddr> {
        self.chosen
    }

    /// Whether the server has been silent for too long, or no pair is left.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        now >= self.heard_at + CONSENT
    }

    /// Lets time pass; spurious calls are harmless.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.pairs.len() {
            if let State::InProgress { at, sends } = self.pairs[index].state
                && now >= at + wait(sends)
            {
                if sends > REPETITIONS {
                    self.pairs[index].state = State::Failed;
                } else {
                    self.check(now, index, sends + 1);
                }
            }
        }
        if let Some(chosen) = self.chosen {
            if now >= self.next_keep_alive {
                self.next_keep_alive = now + KEEP_ALIVE;
                let index = self.pairs.iter().position(|pair| pair.addr == chosen);
                if let Some(index) = index {
                    self.start(now, index, self.remote_is_lite);
                }
            }
        } else if now >= self.next_start
            && let Some(index) = self.waiting()
        {
            self.next_start = now + PACE;
            self.start(now, index, self.remote_is_lite);
        }
    }

    /// When [`Agent::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Instant {
        let mut next = self.heard_at + CONSENT;
        for pair in &self.pairs {
            if let State::InProgress { at, sends } = pair.state {
                next = next.min(at + wait(sends));
            }
        }
        if self.chosen.is_some() {
            next = next.min(self.next_keep_alive);
        } else if self.waiting().is_some() {
            next = next.min(self.next_start);
        }
        next
    }

    /// The next datagram, and where to.
    pub(super) fn poll_output(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outputs.pop_front()
    }

    /// Takes a STUN message.
    pub(super) fn handle_stun(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let Ok(message) = Message::parse(datagram) else {
            return;
        };
        if message.method() != Method::BINDING || message.fingerprint() == Fingerprint::Invalid {
            return;
        }
        match message.class() {
            Class::Request => self.handle_check(now, from, &message),
            Class::Success if message.is_authentic(&self.remote_key) => {
                self.handle_success(now, from, message.transaction_id());
            }
            // Of errors none is expected: the repetition will tell whether it lasts.
            Class::Success | Class::Error | Class::Indication => {}
        }
    }

    fn handle_success(&mut self, now: Instant, from: SocketAddr, id: TransactionId) {
        let answered = self.pairs.iter().position(|pair| {
            pair.addr == from && pair.check == id && matches!(pair.state, State::InProgress { .. })
        });
        let Some(index) = answered else { return };
        self.pairs[index].state = State::Succeeded;
        self.heard_at = now;
        if self.chosen.is_some() {
            return;
        }
        if self.pairs[index].nominates {
            self.chosen = Some(from);
            self.next_keep_alive = now + KEEP_ALIVE;
        } else if !self.pairs.iter().any(|pair| pair.nominates) {
            self.start(now, index, true);
        }
    }

    /// A check of the server's, which no lite one sends (RFC 8445 section 7.3).
    fn handle_check(&mut self, now: Instant, from: SocketAddr, check: &Message<'_>) {
        if check.username() != Some(self.expected_user_name.as_str())
            || !check.is_authentic(&self.local_key)
        {
            return;
        }
        let mut buffer = [0; 128];
        let controls = check.has(AttributeType::ICE_CONTROLLING);
        let class = if controls {
            Class::Error
        } else {
            Class::Success
        };
        let id = check.transaction_id();
        let mut writer = Writer::new(&mut buffer, class, Method::BINDING, id);
        if controls {
            writer.error_code(487);
        } else {
            writer.xor_mapped_address(from);
        }
        writer.integrity(&self.local_key);
        writer.fingerprint();
        if let Ok(len) = writer.finish() {
            self.outputs
                .push_back((from, buffer.get(..len).unwrap_or_default().to_vec()));
        }
        if controls {
            return;
        }
        self.heard_at = now;
        self.add_candidate(from);
        // A triggered check (section 7.3.1.4).
        let pair = self.pairs.iter().position(|pair| {
            pair.addr == from && matches!(pair.state, State::Waiting | State::Failed)
        });
        if let Some(index) = pair.filter(|_| self.chosen.is_none()) {
            self.start(now, index, false);
        }
    }

    fn waiting(&self) -> Option<usize> {
        self.pairs
            .iter()
            .position(|pair| pair.state == State::Waiting)
    }

    /// Begins a check under a number of its own.
    fn start(&mut self, now: Instant, index: usize, nominates: bool) {
        if let Some(pair) = self.pairs.get_mut(index) {
            self.random.fill(&mut pair.check.0);
            pair.nominates = nominates;
        }
        self.check(now, index, 1);
    }

    fn check(&mut self, now: Instant, index: usize, sends: u32) {
        let Some(pair) = self.pairs.get_mut(index) else {
            return;
        };
        pair.state = State::InProgress { at: now, sends };
        let mut buffer = [0; 256];
        let mut writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, pair.check);
        writer.attribute(AttributeType::USERNAME, self.user_name.as_bytes());
        writer.attribute(AttributeType::ICE_CONTROLLING, &TIE_BREAKER.to_be_bytes());
        if pair.nominates {
            writer.attribute(AttributeType::USE_CANDIDATE, &[]);
        }
        let priority = PEER_REFLEXIVE_PRIORITY.to_be_bytes();
        writer.attribute(AttributeType::PRIORITY, &priority);
        writer.integrity(&self.remote_key);
        writer.fingerprint();
        // A server whose credentials do not fit gets no check, and so no connection.
        if let Ok(len) = writer.finish() {
            let datagram = buffer.get(..len).unwrap_or_default().to_vec();
            self.outputs.push_back((pair.addr, datagram));
        }
    }
}

/// How long the `sends`-th request waits for its answer.
fn wait(sends: u32) -> Duration {
    FIRST_WAIT * (1 << sends.saturating_sub(1).min(REPETITIONS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    const SERVER: SocketAddr = addr(1);
    const OTHER: SocketAddr = addr(2);

    const fn addr(last: u8) -> SocketAddr {
        SocketAddr::new(
            std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, last)),
            40_000,
        )
    }

    fn credentials(name: &str) -> IceCredentials {
        IceCredentials {
            ufrag: name.to_owned(),
            pwd: format!("{name}passwordpasswordpassword"),
        }
    }

    fn agent(lite: bool) -> Agent {
        let mut agent = Agent::new(
            t0(),
            &credentials("load"),
            &credentials("serv"),
            lite,
            Random::seeded(1),
        );
        agent.add_candidate(SERVER);
        agent
    }

    /// What the server makes of a check: whether it nominates, and its answer.
    fn answer(datagram: &[u8]) -> (bool, Vec<u8>) {
        let key = IntegrityKey::short_term(&credentials("serv").pwd);
        let check = Message::parse(datagram).unwrap();
        assert_eq!(check.username(), Some("serv:load"));
        assert!(check.is_authentic(&key) && check.fingerprint() == Fingerprint::Valid);
        assert_eq!(check.ice_controlling(), Some(u64::MAX));
        let mut buffer = vec![0; 128];
        let id = check.transaction_id();
        let mut writer = Writer::new(&mut buffer, Class::Success, Method::BINDING, id);
        writer.xor_mapped_address(OTHER);
        writer.integrity(&key);
        writer.fingerprint();
        let len = writer.finish().unwrap();
        buffer.truncate(len);
        (check.has(AttributeType::USE_CANDIDATE), buffer)
    }

    /// A check of the server's, as full agents send them.
    fn check_of_the_server(password: &str, role: AttributeType) -> Vec<u8> {
        let mut buffer = vec![0; 256];
        let id = TransactionId([9; 12]);
        let mut writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, id);
        writer.attribute(AttributeType::USERNAME, b"load:serv");
        writer.attribute(role, &[1; 8]);
        writer.integrity(&IntegrityKey::short_term(password));
        writer.fingerprint();
        let len = writer.finish().unwrap();
        buffer.truncate(len);
        buffer
    }

    fn sent(agent: &mut Agent, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        agent.handle_timeout(now);
        std::iter::from_fn(|| agent.poll_output()).collect()
    }

    #[test]
    fn a_lite_server_is_nominated_with_the_first_check() {
        let mut agent = agent(true);
        let [(to, check)] = &sent(&mut agent, t0())[..] else {
            panic!("one check");
        };
        assert_eq!(*to, SERVER);
        let (nominates, answer) = answer(check);
        assert!(nominates);
        agent.handle_stun(t0(), OTHER, &answer);
        assert_eq!(agent.chosen(), None, "from another address");
        agent.handle_stun(t0(), SERVER, &answer);
        assert_eq!(agent.chosen(), Some(SERVER));
    }

    #[test]
    fn a_full_server_is_told_once_a_check_has_succeeded() {
        let mut agent = agent(false);
        let (nominates, first) = answer(&sent(&mut agent, t0())[0].1);
        assert!(!nominates);
        agent.handle_stun(t0(), SERVER, &first);
        assert_eq!(agent.chosen(), None);
        let (nominates, second) = answer(&sent(&mut agent, t0())[0].1);
        assert!(nominates);
        agent.handle_stun(t0(), SERVER, &first);
        assert_eq!(agent.chosen(), None, "an old answer");
        agent.handle_stun(t0(), SERVER, &second);
        assert_eq!(agent.chosen(), Some(SERVER));
    }

    #[test]
    fn a_check_is_repeated_under_its_number_and_a_dead_pair_given_up_for_the_next() {
        let mut agent = agent(true);
        agent.add_candidate(OTHER);
        let mut seen: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        let mut now = t0();
        while now < t0() + Duration::from_secs(20) {
            seen.extend(sent(&mut agent, now));
            now = agent.poll_timeout().max(now + Duration::from_millis(1));
        }
        for addr in [SERVER, OTHER] {
            let of: Vec<_> = seen.iter().filter(|(to, _)| *to == addr).collect();
            assert_eq!(of.len(), 1 + REPETITIONS as usize);
            assert!(of.iter().all(|(_, check)| *check == of[0].1));
        }
        assert!(!agent.is_lost(t0() + Duration::from_secs(29)));
        assert!(agent.is_lost(t0() + CONSENT));
    }

    #[test]
    fn the_chosen_pair_is_checked_as_long_as_it_is_used() {
        let mut agent = agent(true);
        let mut now = t0();
        let mut checks = 0;
        while now < t0() + Duration::from_secs(60) {
            for (_, check) in sent(&mut agent, now) {
                checks += 1;
                agent.handle_stun(now, SERVER, &answer(&check).1);
            }
            now = agent.poll_timeout().max(now + Duration::from_millis(1));
        }
        assert!((23..=25).contains(&checks), "{checks}");
        assert!(!agent.is_lost(now));
    }

    #[test]
    fn a_check_from_an_unknown_address_is_answered_and_returned() {
        let mut agent = agent(false);
        sent(&mut agent, t0());
        let good = check_of_the_server(&credentials("load").pwd, AttributeType::ICE_CONTROLLED);
        agent.handle_stun(t0(), OTHER, &good);
        let out = sent(&mut agent, t0());
        let kinds: Vec<_> = out
            .iter()
            .map(|(to, datagram)| (*to, Message::parse(datagram).unwrap().class()))
            .collect();
        assert_eq!(kinds, [(OTHER, Class::Success), (OTHER, Class::Request)]);
        let mapped = Message::parse(&out[0].1).unwrap().xor_mapped_address();
        assert_eq!(mapped, Some(OTHER));
    }

    #[test]
    fn a_server_that_wants_to_control_gives_way_and_a_stranger_gets_no_answer() {
        let mut agent = agent(false);
        sent(&mut agent, t0());
        let password = credentials("load").pwd;
        let conflict = check_of_the_server(&password, AttributeType::ICE_CONTROLLING);
        agent.handle_stun(t0(), SERVER, &conflict);
        let out = sent(&mut agent, t0());
        let message = Message::parse(&out[0].1).unwrap();
        assert_eq!(message.error_code().map(|error| error.code), Some(487));
        let forged = check_of_the_server("wrong", AttributeType::ICE_CONTROLLED);
        agent.handle_stun(t0(), OTHER, &forged);
        assert!(sent(&mut agent, t0()).is_empty());
        agent.handle_stun(t0(), SERVER, &[0; 20]);
        assert!(sent(&mut agent, t0()).is_empty());
    }

    #[test]
    fn trickled_candidates_are_bounded() {
        let mut agent = agent(true);
        for last in 0..=255 {
            agent.add_candidate(addr(last));
            agent.add_candidate(addr(last));
        }
        assert_eq!(agent.pairs.len(), MAX_PAIRS);
    }
}
