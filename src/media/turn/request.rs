//! The attributes of a request, found in one pass: a hostile message with thousands of them is walked once.

use crate::media::stun::{Attribute, AttributeType, Message};

/// Attributes that count for the server. Of repeated ones the first counts (RFC 8489 section 14).
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) message: Message<'a>,
    pub(super) username: Option<&'a [u8]>,
    pub(super) user_hash: Option<&'a [u8]>,
    pub(super) realm: Option<&'a [u8]>,
    pub(super) nonce: Option<&'a [u8]>,
    pub(super) algorithm: Option<&'a [u8]>,
    pub(super) algorithms: Option<&'a [u8]>,
    pub(super) has_integrity: bool,
    pub(super) has_integrity_sha256: bool,
    pub(super) lifetime: Option<&'a [u8]>,
    pub(super) transport: Option<&'a [u8]>,
    pub(super) family: Option<&'a [u8]>,
    pub(super) additional_family: Option<&'a [u8]>,
    pub(super) even_port: Option<&'a [u8]>,
    pub(super) token: Option<&'a [u8]>,
    pub(super) dont_fragment: bool,
    pub(super) channel: Option<&'a [u8]>,
    pub(super) peer: Option<Attribute<'a>>,
    pub(super) data: Option<Attribute<'a>>,
    /// There is an attribute that must be understood and is not.
    pub(super) has_unknown: bool,
}

/// What a request may carry without being refused with 420.
const KNOWN: [AttributeType; 22] = [
    AttributeType::MAPPED_ADDRESS,
    AttributeType::USERNAME,
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::REALM,
    AttributeType::NONCE,
    AttributeType::PASSWORD_ALGORITHM,
    AttributeType::USERHASH,
    AttributeType::PRIORITY,
    AttributeType::USE_CANDIDATE,
    AttributeType::CHANNEL_NUMBER,
    AttributeType::LIFETIME,
    AttributeType::XOR_PEER_ADDRESS,
    AttributeType::DATA,
    AttributeType::XOR_RELAYED_ADDRESS,
    AttributeType::XOR_MAPPED_ADDRESS,
    AttributeType::REQUESTED_ADDRESS_FAMILY,
    AttributeType::EVEN_PORT,
    AttributeType::REQUESTED_TRANSPORT,
    AttributeType::DONT_FRAGMENT,
    AttributeType::RESERVATION_TOKEN,
    AttributeType::ERROR_CODE,
];

impl<'a> Request<'a> {
    pub(super) fn read(message: Message<'a>) -> Self {
        let mut read = Self {
            message,
            username: None,
            user_hash: None,
            realm: None,
            nonce: None,
            algorithm: None,
            algorithms: None,
            has_integrity: false,
            has_integrity_sha256: false,
            lifetime: None,
            transport: None,
            family: None,
            additional_family: None,
            even_port: None,
            token: None,
            dont_fragment: false,
            channel: None,
            peer: None,
            data: None,
            has_unknown: false,
        };
        for attribute in message.attributes() {
            read.note(attribute);
        }
        read
    }

    fn note(&mut self, attribute: Attribute<'a>) {
        let place = match attribute.kind {
            AttributeType::USERNAME => &mut self.username,
            AttributeType::USERHASH => &mut self.user_hash,
            AttributeType::REALM => &mut self.realm,
            AttributeType::NONCE => &mut self.nonce,
            AttributeType::PASSWORD_ALGORITHM => &mut self.algorithm,
            AttributeType::PASSWORD_ALGORITHMS => &mut self.algorithms,
            AttributeType::LIFETIME => &mut self.lifetime,
            AttributeType::REQUESTED_TRANSPORT => &mut self.transport,
            AttributeType::REQUESTED_ADDRESS_FAMILY => &mut self.family,
            AttributeType::ADDITIONAL_ADDRESS_FAMILY => &mut self.additional_family,
            AttributeType::EVEN_PORT => &mut self.even_port,
            AttributeType::RESERVATION_TOKEN => &mut self.token,
            AttributeType::CHANNEL_NUMBER => &mut self.channel,
            AttributeType::XOR_PEER_ADDRESS => {
                self.peer.get_or_insert(attribute);
                return;
            }
            AttributeType::DATA => {
                self.data.get_or_insert(attribute);
                return;
            }
            AttributeType::MESSAGE_INTEGRITY => {
                self.has_integrity = true;
                return;
            }
            AttributeType::MESSAGE_INTEGRITY_SHA256 => {
                self.has_integrity_sha256 = true;
                return;
            }
            AttributeType::DONT_FRAGMENT => {
                self.dont_fragment = true;
                return;
            }
            kind => {
                self.has_unknown |= kind.is_comprehension_required() && !KNOWN.contains(&kind);
                return;
            }
        };
        place.get_or_insert(attribute.value);
    }

    /// The attributes that must be understood and are not.
    pub(super) fn unknown(&self) -> impl Iterator<Item = AttributeType> + use<'a> {
        self.message.unknown_attributes(&KNOWN)
    }
}
