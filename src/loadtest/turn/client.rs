//! One TURN client over UDP: allocates, binds a channel, keeps both alive, gives them back. Sans-I/O.
//!
//! ```text
//! allocate   Allocate -> 401 (realm, nonce) -> Allocate -> relayed address
//! bind       ChannelBind -> channel 0x4000
//! release    Refresh of lifetime zero
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::media::stun::{
    AttributeType, Class, IntegrityKey, LongTermKey, Message, Method, PasswordAlgorithm,
    TransactionId, Writer,
};
use crate::units::{Random, Secret, turn_credential};

/// The channel that every client binds (RFC 8656 section 12: the first of all).
pub(super) const CHANNEL: u16 = 0x4000;

/// No request of ours is longer: a user name of 508 bytes, a realm and a nonce of 763 each, and the rest.
pub(super) const MAX_REQUEST_LEN: usize = 2_304;

/// The first retransmission (RFC 8489 section 6.2.1).
const RTO: Duration = Duration::from_millis(500);

/// Times that a request is sent. RFC 8489 says seven; who waits 40 s for an answer has no result in any case.
const TRIES: u32 = 4;

/// Challenges for one request: the first, and one for a nonce that has become stale.
const CHALLENGES: u32 = 3;

/// How often channel and permission are renewed; permissions live for 300 s (RFC 8656 section 9).
const RENEWAL: Duration = Duration::from_secs(200);

/// The protocol number of REQUESTED-TRANSPORT, and three bytes that are reserved (RFC 8656 section 18.7).
const UDP: [u8; 4] = [17, 0, 0, 0];

/// Who we say we are.
#[derive(Debug, Clone)]
pub enum Login {
    /// A user of the server's.
    User {
        /// Its name.
        name: String,
        /// Its password.
        password: Secret,
    },
    /// The secret from which time-limited users are made, one for each client.
    Secret(Secret),
}

impl Login {
    /// Name and password of a client that needs them until `expiry_unix` (seconds since 1970).
    pub(super) fn user(&self, expiry_unix: u64, random: &mut Random) -> (String, Secret) {
        match self {
            Self::User { name, password } => (name.clone(), password.clone()),
            Self::Secret(secret) => {
                let (name, password) = turn_credential::mint(secret, expiry_unix, random);
                (name, Secret::new(password))
            }
        }
    }
}

/// Why a client gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An error response.
    #[error("the server answers {method} with error {code}")]
    Code {
        /// What was asked.
        method: &'static str,
        /// The code.
        code: u16,
    },
    /// Nobody answers.
    #[error("the server does not answer {method}")]
    Silence {
        /// What was asked.
        method: &'static str,
    },
    /// An answer that cannot be used.
    #[error("the server's answer to {method} lacks what it must have")]
    Answer {
        /// What was asked.
        method: &'static str,
    },
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Allocate,
    Bind(SocketAddr),
    Refresh,
    Release,
}

impl Question {
    const fn method(self) -> Method {
        match self {
            Self::Allocate => Method::ALLOCATE,
            Self::Bind(_) => Method::CHANNEL_BIND,
            Self::Refresh | Self::Release => Method::REFRESH,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Allocate => "Allocate",
            Self::Bind(_) => "ChannelBind",
            Self::Refresh | Self::Release => "Refresh",
        }
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Pending {
    question: Question,
    id: TransactionId,
    /// Times that it has been sent.
    tries: u32,
    challenges: u32,
    /// When it is sent, again or for the first time.
    due: Instant,
}

/// What the server wants to see in requests (RFC 8489 section 9.2).
#[derive(Debug)]
struct Challenge {
    realm: String,
    nonce: Vec<u8>,
    key: IntegrityKey,
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    name: String,
    password: Secret,
    random: Random,
    challenge: Option<Challenge>,
    pending: Option<Pending>,
    relayed: Option<SocketAddr>,
    channel: Option<SocketAddr>,
    renewal: Option<Instant>,
    refusal: Option<Refusal>,
}

impl Client {
    pub(super) fn new((name, password): (String, Secret), random: Random) -> Self {
        Self {
            name,
            password,
            random,
            challenge: None,
            pending: None,
            relayed: None,
            channel: None,
            renewal: None,
            refusal: None,
        }
    }

    /// Asks for an allocation.
    pub(super) fn allocate(&mut self, now: Instant) {
        self.ask(now, Question::Allocate);
    }

    /// Asks for the channel to `peer`.
    pub(super) fn bind(&mut self, now: Instant, peer: SocketAddr) {
        self.ask(now, Question::Bind(peer));
    }

    /// Gives the allocation back.
    pub(super) fn release(&mut self, now: Instant) {
        self.renewal = None;
        if self.relayed.is_some() {
            self.ask(now, Question::Release);
        }
    }

    /// Whether nothing is being asked.
    pub(super) const fn is_settled(&self) -> bool {
        self.pending.is_none()
    }

    /// The relayed address, once there is one.
    pub(super) const fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    /// Why it gave up, if it did.
    pub(super) const fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.pending
            .as_ref()
            .map_or(self.renewal, |pending| Some(pending.due))
    }

    /// Gives up what nobody answers, and renews what would expire. Spurious calls are harmless.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(pending) = &self.pending {
            if pending.tries >= TRIES && now >= pending.due {
                let method = pending.question.name();
                self.give_up(Refusal::Silence { method });
            }
        } else if self.renewal.is_some_and(|at| now >= at) {
            self.ask(now, Question::Refresh);
        }
    }

    /// Writes the request that is due into `out`, which needs [`MAX_REQUEST_LEN`] bytes; returns its length.
    pub(super) fn poll_output(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        let pending = self.pending.as_mut()?;
        if now < pending.due || pending.tries >= TRIES {
            return None;
        }
        pending.due = now + RTO * 2_u32.pow(pending.tries);
        pending.tries += 1;
        let question = pending.question;
        let mut writer = Writer::new(out, Class::Request, question.method(), pending.id);
        match question {
            Question::Allocate => {
                writer.attribute(AttributeType::REQUESTED_TRANSPORT, &UDP);
            }
            Question::Bind(peer) => {
                let [high, low] = CHANNEL.to_be_bytes();
                writer.attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0]);
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            }
            Question::Refresh => {}
            Question::Release => writer.attribute(AttributeType::LIFETIME, &[0; 4]),
        }
        if let Some(challenge) = &self.challenge {
            writer.attribute(AttributeType::USERNAME, self.name.as_bytes());
            writer.attribute(AttributeType::REALM, challenge.realm.as_bytes());
            writer.attribute(AttributeType::NONCE, &challenge.nonce);
            writer.integrity(&challenge.key);
        }
        writer.finish().ok()
    }

    /// Takes an answer. What is none of ours, or not authentic, is ignored.
    pub(super) fn handle_input(&mut self, now: Instant, input: &[u8]) {
        let Ok(message) = Message::parse(input) else {
            return;
        };
        let Some(pending) = &self.pending else { return };
        let question = pending.question;
        if message.transaction_id() != pending.id || message.method() != question.method() {
            return;
        }
        match message.class() {
            Class::Success => {
                let key = self.challenge.as_ref().map(|challenge| &challenge.key);
                if key.is_some_and(|key| message.is_authentic(key)) {
                    self.handle_success(now, question, &message);
                }
            }
            Class::Error => self.handle_error(now, question, &message),
            Class::Request | Class::Indication => {}
        }
    }

    fn handle_success(&mut self, now: Instant, question: Question, message: &Message<'_>) {
        self.pending = None;
        match question {
            Question::Allocate => {
                self.relayed = message.xor_address(AttributeType::XOR_RELAYED_ADDRESS);
                if self.relayed.is_none() {
                    let method = question.name();
                    return self.give_up(Refusal::Answer { method });
                }
                self.renewal = Some(now + RENEWAL);
            }
            Question::Bind(peer) => {
                self.channel = Some(peer);
                self.renewal = Some(now + RENEWAL);
            }
            Question::Refresh => match self.channel {
                Some(peer) => self.ask(now, Question::Bind(peer)),
                None => self.renewal = Some(now + RENEWAL),
            },
            Question::Release => self.relayed = None,
        }
    }

    fn handle_error(&mut self, now: Instant, question: Question, message: &Message<'_>) {
        let method = question.name();
        let Some(code) = message.error_code().map(|error| error.code) else {
            return self.give_up(Refusal::Answer { method });
        };
        let challenges = self
            .pending
            .as_ref()
            .map_or(0, |pending| pending.challenges);
        // A wrong password is challenged again and again; a stale nonce once.
        let may_try = match code {
            401 => self.challenge.is_none(),
            438 => challenges < CHALLENGES,
            _ => false,
        };
        if !may_try {
            return self.give_up(Refusal::Code { method, code });
        }
        let realm = message.get(AttributeType::REALM);
        let realm = realm.and_then(|realm| std::str::from_utf8(realm.value).ok());
        let (Some(realm), Some(nonce)) = (realm, message.get(AttributeType::NONCE)) else {
            return self.give_up(Refusal::Answer { method });
        };
        // Without PASSWORD-ALGORITHM in a request the algorithm is MD5 (RFC 8489 section 9.2.4).
        let key = LongTermKey::new(
            PasswordAlgorithm::Md5,
            &self.name,
            realm,
            self.password.expose(),
        );
        self.challenge = Some(Challenge {
            realm: realm.to_owned(),
            nonce: nonce.value.to_vec(),
            key: key.sha1_integrity(),
        });
        self.ask(now, question);
        if let Some(pending) = &mut self.pending {
            pending.challenges = challenges + 1;
        }
    }

    fn ask(&mut self, now: Instant, question: Question) {
        let mut id = [0; 12];
        self.random.fill(&mut id);
        self.pending = Some(Pending {
            question,
            id: TransactionId(id),
            tries: 0,
            challenges: 0,
            due: now,
        });
    }

    fn give_up(&mut self, refusal: Refusal) {
        self.pending = None;
        self.renewal = None;
        self.refusal.get_or_insert(refusal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    const REALM: &str = "example.org";

    fn key() -> IntegrityKey {
        LongTermKey::new(PasswordAlgorithm::Md5, "alice", REALM, "wonder").sha1_integrity()
    }

    fn client() -> Client {
        let login = Login::User {
            name: "alice".to_owned(),
            password: Secret::new("wonder"),
        };
        let mut random = Random::seeded(1);
        Client::new(login.user(0, &mut random), random)
    }

    /// Writes the answer that `compose` makes to what the client sends.
    fn answer(
        client: &mut Client,
        now: Instant,
        class: Class,
        key: Option<&IntegrityKey>,
        compose: impl FnOnce(&Message<'_>, &mut Writer<'_>),
    ) {
        let mut buffer = [0; MAX_REQUEST_LEN];
        let len = client.poll_output(now, &mut buffer).expect("it asks");
        let request = Message::parse(&buffer[..len]).unwrap();
        let mut out = [0; 512];
        let mut writer = Writer::new(&mut out, class, request.method(), request.transaction_id());
        compose(&request, &mut writer);
        if let Some(key) = key {
            writer.integrity(key);
        }
        let len = writer.finish().unwrap();
        client.handle_input(now, &out[..len]);
    }

    fn challenge(client: &mut Client, now: Instant, code: u16, nonce: &[u8]) {
        answer(client, now, Class::Error, None, |_, writer| {
            writer.error_code(code);
            writer.attribute(AttributeType::REALM, REALM.as_bytes());
            writer.attribute(AttributeType::NONCE, nonce);
        });
    }

    fn relayed() -> SocketAddr {
        "192.0.2.1:50000".parse().unwrap()
    }

    fn allocated() -> Client {
        let mut client = client();
        client.allocate(t0());
        challenge(&mut client, t0(), 401, b"first");
        let compose = |request: &Message<'_>, writer: &mut Writer<'_>| {
            assert!(request.is_authentic(&key()));
            assert_eq!(request.username(), Some("alice"));
            assert_eq!(request.get(AttributeType::NONCE).unwrap().value, b"first");
            writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, relayed());
        };
        answer(&mut client, t0(), Class::Success, Some(&key()), compose);
        assert_eq!(
            (client.relayed(), client.is_settled()),
            (Some(relayed()), true)
        );
        client
    }

    #[test]
    fn a_challenge_is_answered_and_the_channel_bound_to_the_peer() {
        let mut client = allocated();
        let peer = "198.51.100.7:9".parse().unwrap();
        client.bind(t0(), peer);
        let compose = |request: &Message<'_>, _: &mut Writer<'_>| {
            assert_eq!(request.method(), Method::CHANNEL_BIND);
            let number = request.get(AttributeType::CHANNEL_NUMBER).unwrap().value;
            assert_eq!(number, [0x40, 0, 0, 0]);
            let named = request.xor_address(AttributeType::XOR_PEER_ADDRESS);
            assert_eq!(named, Some(peer));
        };
        answer(&mut client, t0(), Class::Success, Some(&key()), compose);
        assert!(client.is_settled() && client.refusal().is_none());
    }

    #[test]
    fn a_stale_nonce_is_replaced_and_a_wrong_password_gives_up() {
        let mut client = allocated();
        client.release(t0());
        challenge(&mut client, t0(), 438, b"second");
        let compose = |request: &Message<'_>, _: &mut Writer<'_>| {
            assert_eq!(request.get(AttributeType::NONCE).unwrap().value, b"second");
            assert_eq!(request.get(AttributeType::LIFETIME).unwrap().value, [0; 4]);
        };
        answer(&mut client, t0(), Class::Success, Some(&key()), compose);
        assert_eq!((client.relayed(), client.poll_timeout()), (None, None));

        let mut client = self::client();
        client.allocate(t0());
        challenge(&mut client, t0(), 401, b"first");
        challenge(&mut client, t0(), 401, b"second");
        let refusal = Refusal::Code {
            method: "Allocate",
            code: 401,
        };
        assert_eq!(client.refusal(), Some(refusal));
    }

    #[test]
    fn a_server_that_calls_every_nonce_stale_is_not_believed_for_ever() {
        let mut client = allocated();
        client.release(t0());
        for _ in 0..=CHALLENGES {
            challenge(&mut client, t0(), 438, b"next");
        }
        assert!(matches!(
            client.refusal(),
            Some(Refusal::Code { code: 438, .. })
        ));
    }

    #[test]
    fn an_answer_under_another_key_is_none() {
        let mut client = client();
        client.allocate(t0());
        challenge(&mut client, t0(), 401, b"first");
        let forged = IntegrityKey::from_bytes(b"another");
        let compose = |_: &Message<'_>, writer: &mut Writer<'_>| {
            writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, relayed());
        };
        answer(&mut client, t0(), Class::Success, Some(&forged), compose);
        assert_eq!((client.relayed(), client.is_settled()), (None, false));
    }

    #[test]
    fn an_unanswered_request_is_repeated_and_then_given_up() {
        let mut client = client();
        client.allocate(t0());
        let mut buffer = [0; MAX_REQUEST_LEN];
        let mut sent = Vec::new();
        while let Some(at) = client.poll_timeout() {
            client.handle_timeout(at);
            if client.poll_output(at, &mut buffer).is_some() {
                sent.push(at.duration_since(t0()).as_millis());
            }
        }
        assert_eq!(sent, [0, 500, 1_500, 3_500]);
        let method = "Allocate";
        assert_eq!(client.refusal(), Some(Refusal::Silence { method }));
    }

    #[test]
    fn an_allocation_and_its_channel_are_renewed_before_they_expire() {
        let mut client = allocated();
        client.bind(t0(), relayed());
        answer(&mut client, t0(), Class::Success, Some(&key()), |_, _| {});
        let at = client.poll_timeout().unwrap();
        assert!(at < t0() + Duration::from_secs(300));
        client.handle_timeout(at);
        for method in [Method::REFRESH, Method::CHANNEL_BIND] {
            let compose = |request: &Message<'_>, _: &mut Writer<'_>| {
                assert_eq!(request.method(), method);
            };
            answer(&mut client, at, Class::Success, Some(&key()), compose);
        }
        assert!(client.is_settled() && client.poll_timeout() > Some(at));
    }

    #[test]
    fn clients_under_a_secret_have_names_of_their_own() {
        let login = Login::Secret(Secret::new("north"));
        let mut random = Random::seeded(1);
        let [(a, password), (b, _)] = [(); 2].map(|()| login.user(2_000, &mut random));
        assert!(a.starts_with("2000:") && a != b);
        let secret = Secret::new("north");
        assert!(turn_credential::is_valid(
            &secret,
            &a,
            password.expose(),
            1_999
        ));
    }
}
