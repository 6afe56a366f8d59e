//! What a server said, without what may differ from one to the next: a line of text to compare and to read.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use hanok::media::stun::{
    Attribute, AttributeType, Class, LongTermKey, Message, Method, PasswordAlgorithm, TransactionId,
};

use super::Reply;

/// Attributes that are not compared, and why.
const BESIDE_THE_POINT: [(AttributeType, &str); 6] = [
    (AttributeType::SOFTWARE, "optional (RFC 8489 section 14.14)"),
    (
        AttributeType::FINGERPRINT,
        "at the server's choice (RFC 8489 section 7); that ours mirrors it has a test of its own",
    ),
    (
        AttributeType::PASSWORD_ALGORITHMS,
        "RFC 8489 section 14.11: coturn is a server of RFC 5389",
    ),
    (
        AttributeType::MAPPED_ADDRESS,
        "coturn adds it for clients of RFC 3489",
    ),
    (AttributeType(0x802b), "RESPONSE-ORIGIN (RFC 5780)"),
    (AttributeType(0x802c), "OTHER-ADDRESS (RFC 5780)"),
];

/// What came of one message.
pub(super) struct Seen {
    head: String,
    attributes: BTreeSet<(u16, String)>,
}

impl Seen {
    /// Reads a reply; whatever is wrong in it whoever says it, such as another transaction's identifier, is an error.
    pub(super) fn of(
        reply: Reply,
        method: Method,
        id: TransactionId,
        key: Option<&LongTermKey>,
        client: SocketAddr,
    ) -> anyhow::Result<Self> {
        let mut seen = Self {
            head: "silence".to_owned(),
            attributes: BTreeSet::new(),
        };
        let Some(bytes) = reply else {
            return Ok(seen);
        };
        let message = Message::parse(&bytes).context("an answer that is STUN")?;
        ensure!(
            message.transaction_id() == id,
            "another transaction's answer"
        );
        ensure!(message.method() == method, "another method's answer");
        seen.head = match (message.class(), message.error_code()) {
            (Class::Success, None) => "success".to_owned(),
            (Class::Error, Some(error)) => error.code.to_string(),
            (class, error) => format!("{class:?} {error:?}"),
        };
        for attribute in message.attributes() {
            if attribute.kind != AttributeType::ERROR_CODE {
                let text = text_of(&message, &attribute, key, client);
                seen.attributes.insert((attribute.kind.0, text));
            }
        }
        Ok(seen)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        for (kind, value) in &self.attributes {
            if !BESIDE_THE_POINT.iter().any(|(known, _)| known.0 == *kind) {
                write!(f, " {value}")?;
            }
        }
        Ok(())
    }
}

fn text_of(
    message: &Message<'_>,
    attribute: &Attribute<'_>,
    key: Option<&LongTermKey>,
    client: SocketAddr,
) -> String {
    let value = attribute.value;
    let family = |addr: SocketAddr| if addr.is_ipv4() { "v4" } else { "v6" };
    let number = || {
        value
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    match attribute.kind {
        AttributeType::XOR_MAPPED_ADDRESS => match message.decode_xor_address(attribute) {
            Some(addr) if addr == client => "mapped".to_owned(),
            other => format!("mapped={other:?}"),
        },
        AttributeType::XOR_RELAYED_ADDRESS => match message.decode_xor_address(attribute) {
            Some(addr) => format!("relayed={}", family(addr)),
            None => "relayed=nonsense".to_owned(),
        },
        AttributeType::LIFETIME => format!("lifetime={}", number()),
        AttributeType::REALM => format!("realm={}", String::from_utf8_lossy(value)),
        AttributeType::NONCE => "nonce".to_owned(),
        AttributeType::RESERVATION_TOKEN => "token".to_owned(),
        AttributeType::PASSWORD_ALGORITHMS => "algorithms".to_owned(),
        AttributeType::PASSWORD_ALGORITHM => "algorithm".to_owned(),
        AttributeType::ADDRESS_ERROR_CODE => match value {
            [family, _, class, number, ..] => {
                format!(
                    "missing={family}:{}",
                    u16::from(*class) * 100 + u16::from(*number)
                )
            }
            _ => "missing=nonsense".to_owned(),
        },
        AttributeType::UNKNOWN_ATTRIBUTES => {
            let kinds: Vec<String> = value
                .chunks_exact(2)
                .map(|kind| format!("{:02x}{:02x}", kind[0], kind[1]))
                .collect();
            format!("unknown={}", kinds.join(","))
        }
        AttributeType::MESSAGE_INTEGRITY | AttributeType::MESSAGE_INTEGRITY_SHA256 => {
            let is_authentic = key.is_some_and(|key| {
                let integrity = match key.algorithm() {
                    PasswordAlgorithm::Md5 => key.sha1_integrity(),
                    PasswordAlgorithm::Sha256 => key.sha256_integrity(),
                };
                message.is_authentic(&integrity)
            });
            if is_authentic {
                "sealed"
            } else {
                "sealed by nobody"
            }
            .to_owned()
        }
        AttributeType(other) => format!("{other:04x}={value:02x?}"),
    }
}
