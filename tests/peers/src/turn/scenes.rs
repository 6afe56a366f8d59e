//! What is asked: every way to make a mistake, and the ways to make none beside it.

use hanok::media::stun::{
    AttributeType, Class, IntegrityKey, LongTermKey, Method, PasswordAlgorithm, Writer,
};

use super::{REALM, USERS, key};

/// Clients of a scene: they are numbered from 0.
pub(super) const CLIENTS: usize = 4;

/// Messages that follow one another.
#[derive(Debug)]
pub struct Scene {
    /// Its name.
    pub name: &'static str,
    /// What clients send.
    pub steps: Vec<Step>,
}

/// One message.
#[derive(Debug)]
pub struct Step {
    /// Its name in the scene.
    pub label: &'static str,
    /// Who sends it.
    pub client: usize,
    /// Of the message.
    pub class: Class,
    /// Of the message.
    pub method: Method,
    /// How it is sealed.
    pub seal: Seal,
    /// What it carries beside its credential.
    pub parts: Vec<Part>,
    /// It has the transaction identifier of the message before it.
    pub again: bool,
    /// It ends with a FINGERPRINT.
    pub fingerprint: bool,
    /// The bytes, where they are no message that could be built.
    pub raw: Option<&'static [u8]>,
}

/// How a message proves who sends it.
#[derive(Debug, Clone, Copy)]
pub enum Seal {
    /// Not at all.
    None,
    /// As the user of this number, by MESSAGE-INTEGRITY.
    User(usize),
    /// As the first user, by MESSAGE-INTEGRITY-SHA256 and a key made by SHA-256.
    Sha256,
    /// With a password that is not the user's.
    WrongPassword,
    /// As somebody whom the server does not know.
    Nobody,
    /// For another realm.
    WrongRealm,
    /// With a nonce that is not the server's.
    MadeUpNonce,
    /// With the nonce of the client of this number.
    NonceOf(usize),
    /// Without one of the attributes.
    Without(AttributeType),
    /// With all of them, and no MESSAGE-INTEGRITY.
    Unsealed,
}

/// An attribute.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// With this value.
    Is(AttributeType, &'static [u8]),
    /// XOR-PEER-ADDRESS.
    Peer(&'static str),
}

impl Part {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Is(kind, value) => writer.attribute(*kind, value),
            Self::Peer(at) => {
                let at = at.parse().expect("an address");
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, at);
            }
        }
    }
}

impl Seal {
    /// The client whose challenge is needed.
    pub(super) const fn nonce_of(self, client: usize) -> Option<usize> {
        match self {
            Self::None | Self::MadeUpNonce => None,
            Self::NonceOf(other) => Some(other),
            Self::User(_)
            | Self::Sha256
            | Self::WrongPassword
            | Self::Nobody
            | Self::WrongRealm
            | Self::Without(_)
            | Self::Unsealed => Some(client),
        }
    }

    /// The key under which the server should seal its answer, and would if it did wrong.
    pub(super) fn key(self) -> Option<LongTermKey> {
        let (algorithm, user) = match self {
            Self::None => return None,
            Self::User(number) => (PasswordAlgorithm::Md5, number),
            Self::Sha256 => (PasswordAlgorithm::Sha256, 0),
            Self::WrongPassword
            | Self::Nobody
            | Self::WrongRealm
            | Self::MadeUpNonce
            | Self::NonceOf(_)
            | Self::Without(_)
            | Self::Unsealed => (PasswordAlgorithm::Md5, 0),
        };
        let (name, password) = USERS[user];
        Some(key(name, password, algorithm))
    }

    pub(super) fn write(self, writer: &mut Writer<'_>, nonce: Option<&[u8]>) {
        let ((name, password), realm) = match self {
            Self::None => return,
            Self::User(number) => (USERS[number], REALM),
            Self::WrongPassword => ((USERS[0].0, "wander"), REALM),
            Self::Nobody => (("mallory", "wonder"), REALM),
            Self::WrongRealm => (USERS[0], "elsewhere"),
            Self::Sha256
            | Self::MadeUpNonce
            | Self::NonceOf(_)
            | Self::Without(_)
            | Self::Unsealed => (USERS[0], REALM),
        };
        let nonce = nonce.unwrap_or(b"obMatJos2AAABAAAAAAAAAAAAAAAAA");
        for (kind, value) in [
            (AttributeType::USERNAME, name.as_bytes()),
            (AttributeType::REALM, realm.as_bytes()),
            (AttributeType::NONCE, nonce),
        ] {
            if !matches!(self, Self::Without(absent) if absent == kind) {
                writer.attribute(kind, value);
            }
        }
        let md5 = || LongTermKey::new(PasswordAlgorithm::Md5, name, realm, password);
        let integrity: IntegrityKey = match self {
            Self::Unsealed => return,
            Self::Sha256 => {
                let offer = [0, 2, 0, 0, 0, 1, 0, 0];
                writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &offer);
                writer.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
                key(name, password, PasswordAlgorithm::Sha256).sha256_integrity()
            }
            _ => md5().sha1_integrity(),
        };
        writer.integrity(&integrity);
    }
}

impl Step {
    fn by(mut self, client: usize) -> Self {
        self.client = client;
        self
    }

    fn sealed(mut self, seal: Seal) -> Self {
        self.seal = seal;
        self
    }

    fn again(mut self) -> Self {
        self.again = true;
        self
    }

    fn of(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    fn with_fingerprint(mut self) -> Self {
        self.fingerprint = true;
        self
    }
}

fn scene(name: &'static str, steps: Vec<Step>) -> Scene {
    Scene { name, steps }
}

fn ask(label: &'static str, method: Method, parts: &[Part]) -> Step {
    Step {
        label,
        client: 0,
        class: Class::Request,
        method,
        seal: Seal::User(0),
        parts: parts.to_vec(),
        again: false,
        fingerprint: false,
        raw: None,
    }
}

fn bytes(label: &'static str, raw: &'static [u8]) -> Step {
    Step {
        raw: Some(raw),
        ..ask(label, Method::BINDING, &[]).sealed(Seal::None)
    }
}

use self::Part::{Is, Peer};

const UDP: Part = Is(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
const V6: Part = Is(AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
const BOTH: Part = Is(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0]);
const EVEN: Part = Is(AttributeType::EVEN_PORT, &[0]);
const PAIR: Part = Is(AttributeType::EVEN_PORT, &[0x80]);
const TOKEN: Part = Is(AttributeType::RESERVATION_TOKEN, &[1; 8]);
const UNKNOWN: Part = Is(AttributeType(0x7777), &[1]);
const OPTIONAL: Part = Is(AttributeType(0xeeee), &[1]);
const FOREIGN: Part = Peer("8.8.8.8:1000");
const OTHER: Part = Peer("8.8.8.8:1001");
const FOREIGN_V6: Part = Peer("[2a00:1450::1]:1000");
const GONE: Part = Is(AttributeType::LIFETIME, &[0; 4]);
const DATA: Part = Is(AttributeType::DATA, b"payload");

const ALLOCATE: Method = Method::ALLOCATE;
const REFRESH: Method = Method::REFRESH;
const PERMIT: Method = Method::CREATE_PERMISSION;
const BIND: Method = Method::CHANNEL_BIND;

const fn channel(value: &'static [u8]) -> Part {
    Is(AttributeType::CHANNEL_NUMBER, value)
}

const FIRST: Part = channel(&[0x40, 0, 0, 0]);

/// One scene for each Allocate: each is the first of its client.
fn allocate(name: &'static str, parts: &[Part]) -> Scene {
    scene(name, vec![ask("Allocate", ALLOCATE, parts)])
}

/// All scenes.
pub fn scenes() -> Vec<Scene> {
    let mut scenes = vec![
        binding(),
        without_credential(),
        half_a_credential(),
        wrong_credential(),
    ];
    scenes.extend(allocations());
    scenes.extend([
        second_allocate(),
        refresh(),
        dual(),
        permissions(),
        channels(),
        methods(),
        sha256(),
    ]);
    scenes
}

fn binding() -> Scene {
    let ask = |label, parts: &[Part]| ask(label, Method::BINDING, parts).sealed(Seal::None);
    scene(
        "Binding",
        vec![
            ask("bare", &[]),
            ask("with a fingerprint", &[]).with_fingerprint(),
            ask("with something unknown", &[UNKNOWN]),
            ask("with something unknown and optional", &[OPTIONAL]),
            ask("as an indication", &[]).of(Class::Indication),
            ask("as a success", &[]).of(Class::Success),
            ask("as an error", &[]).of(Class::Error),
            bytes(
                "a length beyond the end",
                &[
                    0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
                ],
            ),
            bytes(
                "a length not of words",
                &[
                    0, 1, 0, 1, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0,
                ],
            ),
            bytes("half a header", &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2]),
            bytes("no protocol of ours", b"GET / HTTP/1.1\r\n\r\n"),
        ],
    )
}

fn without_credential() -> Scene {
    let ask = |label, method, parts: &[Part]| ask(label, method, parts).sealed(Seal::None);
    scene(
        "no credential",
        vec![
            ask("Allocate", ALLOCATE, &[UDP]),
            ask("Allocate without a transport", ALLOCATE, &[]),
            ask("Allocate with something unknown", ALLOCATE, &[UDP, UNKNOWN]),
            ask("Refresh", REFRESH, &[]),
            ask("CreatePermission", PERMIT, &[FOREIGN]),
            ask("ChannelBind", BIND, &[FIRST, FOREIGN]),
        ],
    )
}

fn half_a_credential() -> Scene {
    let ask = |label, seal| ask(label, ALLOCATE, &[UDP]).sealed(seal);
    scene(
        "half a credential",
        vec![
            ask("no USERNAME", Seal::Without(AttributeType::USERNAME)),
            ask("no REALM", Seal::Without(AttributeType::REALM)),
            ask("no NONCE", Seal::Without(AttributeType::NONCE)),
            ask("no MESSAGE-INTEGRITY", Seal::Unsealed),
            ask("all of it", Seal::User(0)),
        ],
    )
}

fn wrong_credential() -> Scene {
    let ask = |label, seal| ask(label, ALLOCATE, &[UDP]).sealed(seal);
    scene(
        "a wrong credential",
        vec![
            ask("the password", Seal::WrongPassword),
            ask("the user", Seal::Nobody),
            ask("the realm", Seal::WrongRealm),
            ask("a nonce that was made up", Seal::MadeUpNonce),
            ask("a nonce of another client", Seal::NonceOf(1)),
            ask("the right one", Seal::User(0)),
            ask("the password, later", Seal::WrongPassword),
            super::scenes::ask("the password, to Refresh", REFRESH, &[])
                .sealed(Seal::WrongPassword),
            super::scenes::ask("a made-up nonce, to Refresh", REFRESH, &[])
                .sealed(Seal::MadeUpNonce),
        ],
    )
}

fn allocations() -> Vec<Scene> {
    let transport = |value| Is(AttributeType::REQUESTED_TRANSPORT, value);
    let family = |value| Is(AttributeType::REQUESTED_ADDRESS_FAMILY, value);
    let lifetime = |value| Is(AttributeType::LIFETIME, value);
    vec![
        allocate("Allocate", &[UDP]),
        allocate("Allocate without a transport", &[]),
        allocate("Allocate with a short transport", &[transport(&[17])]),
        allocate("Allocate for TCP", &[transport(&[6, 0, 0, 0])]),
        allocate("Allocate for SCTP", &[transport(&[132, 0, 0, 0])]),
        allocate("Allocate for IPv4", &[UDP, family(&[1, 0, 0, 0])]),
        allocate("Allocate for IPv6", &[UDP, V6]),
        allocate("Allocate for no family", &[UDP, family(&[3, 0, 0, 0])]),
        allocate("Allocate for a short family", &[UDP, family(&[1])]),
        allocate("Allocate for both families", &[UDP, BOTH]),
        allocate(
            "Allocate for IPv4 additionally",
            &[
                UDP,
                Is(AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[1, 0, 0, 0]),
            ],
        ),
        allocate("Allocate for IPv6 and additionally", &[UDP, V6, BOTH]),
        allocate("Allocate an even port", &[UDP, EVEN]),
        allocate("Allocate a pair of ports", &[UDP, PAIR]),
        allocate("Allocate an even port for both", &[UDP, EVEN, BOTH]),
        allocate("Allocate a pair for both", &[UDP, PAIR, BOTH]),
        allocate(
            "Allocate an empty EVEN-PORT",
            &[UDP, Is(AttributeType::EVEN_PORT, &[])],
        ),
        allocate("Allocate what was never reserved", &[UDP, TOKEN]),
        allocate("Allocate the reserved, even", &[UDP, TOKEN, EVEN]),
        allocate("Allocate the reserved for IPv6", &[UDP, TOKEN, V6]),
        allocate("Allocate the reserved for both", &[UDP, TOKEN, BOTH]),
        allocate(
            "Allocate with a short token",
            &[UDP, Is(AttributeType::RESERVATION_TOKEN, &[1; 7])],
        ),
        allocate(
            "Allocate without fragments",
            &[UDP, Is(AttributeType::DONT_FRAGMENT, &[])],
        ),
        allocate("Allocate with something unknown", &[UDP, UNKNOWN]),
        allocate(
            "Allocate with two things unknown",
            &[UDP, UNKNOWN, Is(AttributeType(0x7778), &[])],
        ),
        allocate(
            "Allocate with something unknown and optional",
            &[UDP, OPTIONAL],
        ),
        allocate("Allocate with a peer", &[UDP, FOREIGN]),
        allocate("Allocate for a second", &[UDP, lifetime(&[0, 0, 0, 1])]),
        allocate("Allocate for no time", &[UDP, GONE]),
        allocate(
            "Allocate for 1,000 seconds",
            &[UDP, lifetime(&[0, 0, 3, 232])],
        ),
        allocate("Allocate for ever", &[UDP, lifetime(&[0xff; 4])]),
        allocate("Allocate with a short lifetime", &[UDP, lifetime(&[0, 1])]),
    ]
}

fn second_allocate() -> Scene {
    scene(
        "Allocate once more",
        vec![
            ask("the first", ALLOCATE, &[UDP]),
            ask("the same", ALLOCATE, &[UDP]).again(),
            ask("another", ALLOCATE, &[UDP]),
            ask("another user", ALLOCATE, &[UDP]).sealed(Seal::User(1)),
            ask("another client", ALLOCATE, &[UDP]).by(1),
            ask("is it there", REFRESH, &[]),
        ],
    )
}

fn refresh() -> Scene {
    let lifetime = |value| Is(AttributeType::LIFETIME, value);
    scene(
        "Refresh",
        vec![
            ask("without an allocation", REFRESH, &[]),
            ask("the end, without an allocation", REFRESH, &[GONE]),
            ask("allocated", ALLOCATE, &[UDP]),
            ask("bare", REFRESH, &[]),
            ask("for a second", REFRESH, &[lifetime(&[0, 0, 0, 1])]),
            ask("for 1,000 seconds", REFRESH, &[lifetime(&[0, 0, 3, 232])]),
            ask("for ever", REFRESH, &[lifetime(&[0xff; 4])]),
            ask("for a short lifetime", REFRESH, &[lifetime(&[1])]),
            ask(
                "of its family",
                REFRESH,
                &[Is(AttributeType::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0])],
            ),
            ask("of another family", REFRESH, &[V6]),
            ask(
                "of no family",
                REFRESH,
                &[Is(AttributeType::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0])],
            ),
            ask("the end of another family", REFRESH, &[V6, GONE]),
            ask("with something unknown", REFRESH, &[UNKNOWN]),
            ask("as another user", REFRESH, &[]).sealed(Seal::User(1)),
            ask("the end, as another user", REFRESH, &[GONE]).sealed(Seal::User(1)),
            ask("from another client", REFRESH, &[]).by(1),
            ask("the end", REFRESH, &[GONE]),
            ask("after the end", REFRESH, &[]),
            ask("the end once more", REFRESH, &[GONE]),
            ask("allocated anew", ALLOCATE, &[UDP]),
        ],
    )
}

fn dual() -> Scene {
    scene(
        "both families",
        vec![
            ask("allocated", ALLOCATE, &[UDP, BOTH]),
            ask("permitted", PERMIT, &[FOREIGN, FOREIGN_V6]),
            ask("bound", BIND, &[FIRST, FOREIGN_V6]),
            ask("refreshed", REFRESH, &[]),
            ask("refreshed, one of them", REFRESH, &[V6]),
            ask("the end of one", REFRESH, &[V6, GONE]),
            ask("its end once more", REFRESH, &[V6, GONE]),
            ask("permitted in it", PERMIT, &[FOREIGN_V6]),
            ask(
                "bound in it",
                BIND,
                &[channel(&[0x40, 1, 0, 0]), FOREIGN_V6],
            ),
            ask("permitted in the other", PERMIT, &[FOREIGN]),
            ask("the end of the other", REFRESH, &[GONE]),
            ask("after the end", REFRESH, &[]),
        ],
    )
}

fn permissions() -> Scene {
    let peer = |value| Is(AttributeType::XOR_PEER_ADDRESS, value);
    let permit = |label, parts: &[Part]| ask(label, PERMIT, parts);
    scene(
        "CreatePermission",
        vec![
            permit("without an allocation", &[FOREIGN]),
            ask("allocated", ALLOCATE, &[UDP]),
            permit("for nobody", &[]),
            permit("for one", &[FOREIGN]),
            permit("for one again", &[FOREIGN]),
            permit(
                "for several",
                &[FOREIGN, Peer("9.9.9.9:1"), Peer("1.1.1.1:0")],
            ),
            permit("for another family", &[FOREIGN_V6]),
            permit("for both families", &[FOREIGN, FOREIGN_V6]),
            permit("for half an address", &[peer(&[0, 1, 0, 0])]),
            permit(
                "for an address of no family",
                &[peer(&[0, 3, 0, 0, 1, 2, 3, 4])],
            ),
            permit(
                "for one and half an address",
                &[FOREIGN, peer(&[0, 1, 0, 0])],
            ),
            permit("for loopback", &[Peer("127.0.0.1:1")]),
            permit("for this network", &[Peer("0.0.0.0:1")]),
            permit("for a private address", &[Peer("10.1.2.3:1")]),
            permit("for the metadata service", &[Peer("169.254.169.254:80")]),
            permit("for multicast", &[Peer("224.0.0.1:1")]),
            permit("for broadcast", &[Peer("255.255.255.255:1")]),
            permit("with something unknown", &[FOREIGN, UNKNOWN]),
            permit("as another user", &[FOREIGN]).sealed(Seal::User(1)),
            permit("from another client", &[FOREIGN]).by(1),
        ],
    )
}

fn channels() -> Scene {
    let bind = |label, parts: &[Part]| ask(label, BIND, parts);
    let second = channel(&[0x40, 1, 0, 0]);
    scene(
        "ChannelBind",
        vec![
            bind("without an allocation", &[FIRST, FOREIGN]),
            ask("allocated", ALLOCATE, &[UDP]),
            bind("nothing", &[]),
            bind("without a number", &[FOREIGN]),
            bind("without a peer", &[FIRST]),
            bind("a short number", &[channel(&[0x40]), FOREIGN]),
            bind("below the range", &[channel(&[0x3f, 0xff, 0, 0]), FOREIGN]),
            bind(
                "where RFC 5766 has numbers",
                &[channel(&[0x50, 0, 0, 0]), Peer("8.8.8.9:1")],
            ),
            bind("above the range", &[channel(&[0x80, 0, 0, 0]), FOREIGN]),
            bind("a first", &[FIRST, FOREIGN]),
            bind("the first again", &[FIRST, FOREIGN]),
            bind("its number for another port", &[FIRST, OTHER]),
            bind("its peer by another number", &[second, FOREIGN]),
            bind("a second", &[second, OTHER]),
            bind(
                "with reserved bits",
                &[channel(&[0x40, 2, 0xff, 0xff]), Peer("8.8.8.8:1002")],
            ),
            bind(
                "the last number",
                &[channel(&[0x4f, 0xff, 0, 0]), Peer("8.8.8.8:1003")],
            ),
            bind("another family", &[channel(&[0x40, 3, 0, 0]), FOREIGN_V6]),
            bind(
                "half an address",
                &[
                    channel(&[0x40, 3, 0, 0]),
                    Is(AttributeType::XOR_PEER_ADDRESS, &[0, 1]),
                ],
            ),
            bind("port 0", &[channel(&[0x40, 3, 0, 0]), Peer("8.8.8.8:0")]),
            bind(
                "loopback",
                &[channel(&[0x40, 4, 0, 0]), Peer("127.0.0.1:1")],
            ),
            bind(
                "a private address",
                &[channel(&[0x40, 5, 0, 0]), Peer("10.1.2.3:1")],
            ),
            bind("with something unknown", &[FIRST, FOREIGN, UNKNOWN]),
            bind("as another user", &[FIRST, FOREIGN]).sealed(Seal::User(1)),
            bind("from another client", &[FIRST, FOREIGN]).by(1),
        ],
    )
}

fn methods() -> Scene {
    let unknown = Method::new(0x00f);
    scene(
        "methods",
        vec![
            ask("unknown", unknown, &[]).sealed(Seal::None),
            ask("unknown, with a credential", unknown, &[]),
            ask("Connect", Method::CONNECT, &[FOREIGN]).sealed(Seal::None),
            ask("ConnectionBind", Method::CONNECTION_BIND, &[]).sealed(Seal::None),
            ask("Send as a request", Method::SEND, &[FOREIGN, DATA]),
            ask("Data as a request", Method::DATA, &[FOREIGN, DATA]),
            ask("Allocate as an indication", ALLOCATE, &[UDP]).of(Class::Indication),
            ask("Allocate as a success", ALLOCATE, &[UDP]).of(Class::Success),
            ask("Refresh as an error", REFRESH, &[]).of(Class::Error),
            ask("Data as an indication", Method::DATA, &[FOREIGN, DATA]).of(Class::Indication),
            ask("allocated", ALLOCATE, &[UDP]),
            ask("unknown, with an allocation", unknown, &[]),
            ask("Connect, with an allocation", Method::CONNECT, &[FOREIGN]),
        ],
    )
}

fn sha256() -> Scene {
    let sealed = |label, method, parts: &[Part]| ask(label, method, parts).sealed(Seal::Sha256);
    scene(
        "SHA-256",
        vec![
            sealed("Allocate", ALLOCATE, &[UDP]),
            sealed("CreatePermission", PERMIT, &[FOREIGN]),
            sealed("CreatePermission for nobody", PERMIT, &[]),
            sealed("Allocate once more", ALLOCATE, &[UDP]),
            ask("Refresh by SHA-1", REFRESH, &[]),
            sealed("Refresh", REFRESH, &[GONE]),
        ],
    )
}
