//! The client's side of TURN, as far as tests need it: requests with a credential.

use std::net::SocketAddr;

use crate::media::stun::{
    AttributeType, Class, LongTermKey, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};
use crate::media::turn::{FiveTuple, Protocol};
use crate::units::{Secret, turn_credential};

/// The realm of the servers that tests make; that of others is learnt from their challenge.
pub const REALM: &str = "hanok";

/// What the wall clock shows when a test begins.
pub const WALL_CLOCK: u64 = 1_700_000_000;

/// The secret under which these clients' credentials are minted.
pub fn secret() -> Secret {
    Secret::new("a secret of the tests")
}

/// A client that builds requests and remembers the challenge it got.
#[derive(Debug)]
pub struct TurnClient {
    /// Whence and where to it sends.
    pub five_tuple: FiveTuple,
    /// Its user name.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The realm for which that is.
    pub realm: String,
    /// How it makes its key, and whether it uses MESSAGE-INTEGRITY-SHA256.
    pub algorithm: PasswordAlgorithm,
    /// The nonce it got.
    pub nonce: Option<Vec<u8>>,
    /// The number in the next request's transaction identifier.
    pub next_id: u32,
}

impl TurnClient {
    /// A client at an address, with a credential that is good for a day.
    pub fn new(protocol: Protocol, client: SocketAddr, name: &str) -> Self {
        let username = format!("{}:{name}", WALL_CLOCK + 86_400);
        let password = turn_credential::password(&secret(), &username);
        let server = SocketAddr::from(([198, 51, 100, 1], 3478));
        Self::with_credential(FiveTuple::new(protocol, client, server), username, password)
    }

    /// A client with a credential of somebody else's making.
    pub fn with_credential(five_tuple: FiveTuple, username: String, password: String) -> Self {
        Self {
            five_tuple,
            username,
            password,
            realm: REALM.to_owned(),
            algorithm: PasswordAlgorithm::Md5,
            nonce: None,
            next_id: 1,
        }
    }

    /// The client of this number; two share a user name, one uses TCP and one SHA-256.
    pub fn nth(number: u8) -> Self {
        let protocol = if number == 2 {
            Protocol::Tcp
        } else {
            Protocol::Udp
        };
        let addr = SocketAddr::from(([203, 0, 113, number], 5_000));
        let mut client = Self::new(protocol, addr, ["a", "b", "c"][usize::from(number % 3)]);
        if number == 4 {
            client.algorithm = PasswordAlgorithm::Sha256;
        }
        client
    }

    /// Its key.
    pub fn key(&self) -> LongTermKey {
        LongTermKey::new(self.algorithm, &self.username, &self.realm, &self.password)
    }

    /// A request, sealed if there has been a challenge.
    pub fn request(&mut self, method: Method, build: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let id = self.next_transaction();
        let nonce = self.nonce.clone();
        written(Class::Request, method, id, |writer| {
            build(writer);
            let Some(nonce) = nonce else { return };
            writer.attribute(AttributeType::USERNAME, self.username.as_bytes());
            writer.attribute(AttributeType::REALM, self.realm.as_bytes());
            writer.attribute(AttributeType::NONCE, &nonce);
            match self.algorithm {
                PasswordAlgorithm::Md5 => writer.integrity(&self.key().sha1_integrity()),
                PasswordAlgorithm::Sha256 => {
                    writer.attribute(AttributeType::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
                    let offer = [0, 2, 0, 0, 0, 1, 0, 0];
                    writer.attribute(AttributeType::PASSWORD_ALGORITHMS, &offer);
                    writer.integrity(&self.key().sha256_integrity());
                }
            }
        })
    }

    /// A Send indication.
    pub fn indication(&mut self, build: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let id = self.next_transaction();
        written(Class::Indication, Method::SEND, id, build)
    }

    /// Remembers the nonce of a challenge; whether the answer is one.
    pub fn take_challenge(&mut self, answer: &[u8]) -> bool {
        let Ok(message) = Message::parse(answer) else {
            return false;
        };
        let is_challenge = message
            .error_code()
            .is_some_and(|error| matches!(error.code, 401 | 438));
        if let (true, Some(nonce)) = (is_challenge, message.get(AttributeType::NONCE)) {
            self.nonce = Some(nonce.value.to_vec());
            if let Some(realm) = message.get(AttributeType::REALM) {
                self.realm = String::from_utf8_lossy(realm.value).into_owned();
            }
        }
        is_challenge
    }

    fn next_transaction(&mut self) -> TransactionId {
        let mut id = [7; 12];
        id[..4].copy_from_slice(&self.next_id.to_be_bytes());
        self.next_id = self.next_id.wrapping_add(1);
        TransactionId(id)
    }
}

/// A message built by `build`.
pub fn written(
    class: Class,
    method: Method,
    id: TransactionId,
    build: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut buffer = vec![0; 4_096];
    let mut writer = Writer::new(&mut buffer, class, method, id);
    build(&mut writer);
    let len = writer.finish().expect("4 KiB are enough");
    buffer.truncate(len);
    buffer
}
