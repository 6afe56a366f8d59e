//! Reading a message: a view over the received bytes, without allocation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

use super::{HEADER_LEN, IntegrityKey, MAGIC_COOKIE, fingerprint};

/// What a message is (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer to a request that was carried out.
    Success,
    /// The answer to a request that was refused.
    Error,
}

/// What a message is about, 12 bits (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method(u16);

impl Method {
    /// `Binding` (RFC 8489 section 3).
    pub const BINDING: Self = Self(0x001);
    /// `Allocate` (RFC 8656 section 17).
    pub const ALLOCATE: Self = Self(0x003);
    /// `Refresh` (RFC 8656 section 17).
    pub const REFRESH: Self = Self(0x004);
    /// `Send` (RFC 8656 section 17), an indication.
    pub const SEND: Self = Self(0x006);
    /// `Data` (RFC 8656 section 17), an indication.
    pub const DATA: Self = Self(0x007);
    /// `CreatePermission` (RFC 8656 section 17).
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// `ChannelBind` (RFC 8656 section 17).
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// `Connect` (RFC 6062 section 6.1).
    pub const CONNECT: Self = Self(0x00a);
    /// `ConnectionBind` (RFC 6062 section 6.1).
    pub const CONNECTION_BIND: Self = Self(0x00b);

    /// The method with this number; only the low 12 bits count.
    pub const fn new(number: u16) -> Self {
        Self(number & 0x0fff)
    }

    /// The method's number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

/// The message type field: the class's two bits lie between the method's (RFC 8489 section 5).
pub(super) const fn message_type(class: Class, method: Method) -> u16 {
    let class = match class {
        Class::Request => 0x000,
        Class::Indication => 0x010,
        Class::Success => 0x100,
        Class::Error => 0x110,
    };
    let method = method.0;
    (method & 0x000f) | (method & 0x0070) << 1 | (method & 0x0f80) << 2 | class
}

/// Pairs an answer with its request (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// The type of an attribute (RFC 8489 section 18.3, RFC 8445 section 16.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttributeType(pub u16);

impl AttributeType {
    /// `MAPPED-ADDRESS`
    pub const MAPPED_ADDRESS: Self = Self(0x0001);
    /// `USERNAME`
    pub const USERNAME: Self = Self(0x0006);
    /// `MESSAGE-INTEGRITY`
    pub const MESSAGE_INTEGRITY: Self = Self(0x0008);
    /// `ERROR-CODE`
    pub const ERROR_CODE: Self = Self(0x0009);
    /// `UNKNOWN-ATTRIBUTES`
    pub const UNKNOWN_ATTRIBUTES: Self = Self(0x000a);
    /// `CHANNEL-NUMBER` (RFC 8656 section 18)
    pub const CHANNEL_NUMBER: Self = Self(0x000c);
    /// `LIFETIME` (RFC 8656 section 18)
    pub const LIFETIME: Self = Self(0x000d);
    /// `XOR-PEER-ADDRESS` (RFC 8656 section 18)
    pub const XOR_PEER_ADDRESS: Self = Self(0x0012);
    /// `DATA` (RFC 8656 section 18)
    pub const DATA: Self = Self(0x0013);
    /// `REALM`
    pub const REALM: Self = Self(0x0014);
    /// `NONCE`
    pub const NONCE: Self = Self(0x0015);
    /// `XOR-RELAYED-ADDRESS` (RFC 8656 section 18)
    pub const XOR_RELAYED_ADDRESS: Self = Self(0x0016);
    /// `REQUESTED-ADDRESS-FAMILY` (RFC 8656 section 18)
    pub const REQUESTED_ADDRESS_FAMILY: Self = Self(0x0017);
    /// `EVEN-PORT` (RFC 8656 section 18)
    pub const EVEN_PORT: Self = Self(0x0018);
    /// `REQUESTED-TRANSPORT` (RFC 8656 section 18)
    pub const REQUESTED_TRANSPORT: Self = Self(0x0019);
    /// `DONT-FRAGMENT` (RFC 8656 section 18)
    pub const DONT_FRAGMENT: Self = Self(0x001a);
    /// `MESSAGE-INTEGRITY-SHA256`
    pub const MESSAGE_INTEGRITY_SHA256: Self = Self(0x001c);
    /// `PASSWORD-ALGORITHM`
    pub const PASSWORD_ALGORITHM: Self = Self(0x001d);
    /// `USERHASH`
    pub const USERHASH: Self = Self(0x001e);
    /// `XOR-MAPPED-ADDRESS`
    pub const XOR_MAPPED_ADDRESS: Self = Self(0x0020);
    /// `RESERVATION-TOKEN` (RFC 8656 section 18)
    pub const RESERVATION_TOKEN: Self = Self(0x0022);
    /// `PRIORITY` (RFC 8445 section 16.1)
    pub const PRIORITY: Self = Self(0x0024);
    /// `USE-CANDIDATE` (RFC 8445 section 16.1)
    pub const USE_CANDIDATE: Self = Self(0x0025);
    /// `ADDITIONAL-ADDRESS-FAMILY` (RFC 8656 section 18)
    pub const ADDITIONAL_ADDRESS_FAMILY: Self = Self(0x8000);
    /// `ADDRESS-ERROR-CODE` (RFC 8656 section 18)
    pub const ADDRESS_ERROR_CODE: Self = Self(0x8001);
    /// `PASSWORD-ALGORITHMS`
    pub const PASSWORD_ALGORITHMS: Self = Self(0x8002);
    /// `SOFTWARE`
    pub const SOFTWARE: Self = Self(0x8022);
    /// `FINGERPRINT`
    pub const FINGERPRINT: Self = Self(0x8028);
    /// `ICE-CONTROLLED` (RFC 8445 section 16.1)
    pub const ICE_CONTROLLED: Self = Self(0x8029);
    /// `ICE-CONTROLLING` (RFC 8445 section 16.1)
    pub const ICE_CONTROLLING: Self = Self(0x802a);

    /// Whether an agent that does not know the attribute must refuse the message (RFC 8489 section 14).
    pub const fn is_comprehension_required(self) -> bool {
        self.0 < 0x8000
    }
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type.
    pub kind: AttributeType,
    /// Its value without padding.
    pub value: &'a [u8],
    /// Where its header starts in the message.
    offset: usize,
}

impl Attribute<'_> {
    /// Where its value stands in the message.
    pub fn range(&self) -> Range<usize> {
        let start = self.offset + 4;
        start..start + self.value.len()
    }
}

/// The attributes that count, in order: after MESSAGE-INTEGRITY only the other integrity attribute and FINGERPRINT
/// do, and after FINGERPRINT none (RFC 8489 sections 14.5 to 14.7).
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    offset: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Sealed,
    Ended,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        loop {
            if self.stage == Stage::Ended {
                return None;
            }
            let attribute = attribute_at(self.bytes, self.offset)?;
            self.offset = end_of(&attribute);
            match attribute.kind {
                AttributeType::FINGERPRINT => self.stage = Stage::Ended,
                AttributeType::MESSAGE_INTEGRITY_SHA256 => self.stage = Stage::Sealed,
                AttributeType::MESSAGE_INTEGRITY if self.stage == Stage::Open => {
                    self.stage = Stage::Sealed;
                }
                _ if self.stage == Stage::Sealed => continue,
                _ => {}
            }
            return Some(attribute);
        }
    }
}

fn attribute_at(bytes: &[u8], offset: usize) -> Option<Attribute<'_>> {
    let (header, rest) = bytes.get(offset..)?.split_first_chunk::<4>()?;
    let [k0, k1, l0, l1] = *header;
    Some(Attribute {
        kind: AttributeType(u16::from_be_bytes([k0, k1])),
        value: rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?,
        offset,
    })
}

fn end_of(attribute: &Attribute<'_>) -> usize {
    attribute.offset + 4 + attribute.value.len().next_multiple_of(4)
}

/// Why bytes are not a STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than a header.
    #[error("{0} bytes are too few for a header")]
    TooShort(usize),
    /// The first two bits or the magic cookie are wrong.
    #[error("the first two bits or the magic cookie are not those of STUN")]
    NotStun,
    /// The length field is no multiple of four, or not what the datagram holds.
    #[error("the length field says {claimed}, the datagram holds {held}")]
    Length {
        /// What the header says.
        claimed: u16,
        /// Bytes after the header.
        held: usize,
    },
    /// An attribute reaches beyond the message.
    #[error("the attribute at offset {0} reaches beyond the message")]
    Attribute(usize),
}

/// What became of a message's FINGERPRINT (RFC 8489 section 14.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fingerprint {
    /// There is none.
    Absent,
    /// It is that of the message.
    Valid,
    /// It is another message's, or not the last attribute.
    Invalid,
}

/// The value of ERROR-CODE (RFC 8489 section 14.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode<'a> {
    /// 300 to 699.
    pub code: u16,
    /// For people; may be empty.
    pub reason: &'a str,
}

/// A well-formed message: header and attribute lengths agree with the datagram. Nothing else has been checked.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    message_type: u16,
    transaction_id: TransactionId,
}

impl<'a> Message<'a> {
    /// Reads one datagram (RFC 8489 section 6.3). The header of RFC 3489, which has no magic cookie, is refused.
    ///
    /// # Errors
    /// The bytes are not one whole STUN message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((header, attributes)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(DecodeError::TooShort(bytes.len()));
        };
        let [t0, t1, l0, l1, c0, c1, c2, c3, id @ ..] = *header;
        if t0 & 0xc0 != 0 || u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
            return Err(DecodeError::NotStun);
        }
        let claimed = u16::from_be_bytes([l0, l1]);
        if usize::from(claimed) != attributes.len() || claimed % 4 != 0 {
            return Err(DecodeError::Length {
                claimed,
                held: attributes.len(),
            });
        }
        let mut offset = HEADER_LEN;
        while offset < bytes.len() {
            match attribute_at(bytes, offset) {
                Some(attribute) if end_of(&attribute) <= bytes.len() => {
                    offset = end_of(&attribute);
                }
                _ => return Err(DecodeError::Attribute(offset)),
            }
        }
        Ok(Self {
            bytes,
            message_type: u16::from_be_bytes([t0, t1]),
            transaction_id: TransactionId(id),
        })
    }

    /// Request, indication or answer.
    pub const fn class(&self) -> Class {
        match self.message_type & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        }
    }

    /// What it is about.
    pub const fn method(&self) -> Method {
        let bits = self.message_type;
        Method(bits & 0x000f | (bits & 0x00e0) >> 1 | (bits & 0x3e00) >> 2)
    }

    /// What an answer must repeat.
    pub const fn transaction_id(&self) -> TransactionId {
        self.transaction_id
    }

    /// The attributes that count, in order.
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes {
            bytes: self.bytes,
            offset: HEADER_LEN,
            stage: Stage::Open,
        }
    }

    /// The first attribute of this type: repeats are ignored (RFC 8489 section 14).
    pub fn get(&self, kind: AttributeType) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.kind == kind)
    }

    /// Whether an attribute of this type is there, such as USE-CANDIDATE, which has no value.
    pub fn has(&self, kind: AttributeType) -> bool {
        self.get(kind).is_some()
    }

    /// USERNAME (RFC 8489 section 14.3); `None` if absent, longer than 508 bytes or not UTF-8.
    pub fn username(&self) -> Option<&'a str> {
        let value = self.get(AttributeType::USERNAME)?.value;
        (value.len() <= 508)
            .then(|| std::str::from_utf8(value).ok())
            .flatten()
    }

    /// Whether the integrity attribute of `key` is there and made with it (RFC 8489 sections 14.5 and 14.6), in
    /// constant time.
    pub fn is_authentic(&self, key: &IntegrityKey) -> bool {
        let Some(integrity) = self.get(key.attribute()) else {
            return false;
        };
        let length = integrity.offset + 4 + key.tag_len() - HEADER_LEN;
        let (Some(covered), Ok(length)) =
            (self.bytes.get(..integrity.offset), u16::try_from(length))
        else {
            return false;
        };
        key.matches(covered, length, integrity.value)
    }

    /// What became of FINGERPRINT, which must be the last attribute (RFC 8489 section 14.7).
    pub fn fingerprint(&self) -> Fingerprint {
        let Some(attribute) = self.get(AttributeType::FINGERPRINT) else {
            return Fingerprint::Absent;
        };
        let value: Result<[u8; 4], _> = attribute.value.try_into();
        let covered = self.bytes.get(..attribute.offset);
        match (value, covered) {
            (Ok(value), Some(covered))
                if end_of(&attribute) == self.bytes.len()
                    && u32::from_be_bytes(value) == fingerprint::of(covered) =>
            {
                Fingerprint::Valid
            }
            _ => Fingerprint::Invalid,
        }
    }

    /// XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        self.xor_address(AttributeType::XOR_MAPPED_ADDRESS)
    }

    /// The first attribute of this type, which has the form of XOR-MAPPED-ADDRESS.
    pub fn xor_address(&self, kind: AttributeType) -> Option<SocketAddr> {
        self.decode_xor_address(&self.get(kind)?)
    }

    /// Reads an attribute of this message that has the form of XOR-MAPPED-ADDRESS.
    pub fn decode_xor_address(&self, attribute: &Attribute<'_>) -> Option<SocketAddr> {
        xor_address(attribute.value, self.transaction_id)
    }

    /// PRIORITY (RFC 8445 section 7.1.1).
    pub fn priority(&self) -> Option<u32> {
        let value = self.get(AttributeType::PRIORITY)?.value;
        value.try_into().ok().map(u32::from_be_bytes)
    }

    /// The tie-breaker of ICE-CONTROLLING (RFC 8445 section 7.1.3).
    pub fn ice_controlling(&self) -> Option<u64> {
        let value = self.get(AttributeType::ICE_CONTROLLING)?.value;
        value.try_into().ok().map(u64::from_be_bytes)
    }

    /// The tie-breaker of ICE-CONTROLLED (RFC 8445 section 7.1.3).
    pub fn ice_controlled(&self) -> Option<u64> {
        let value = self.get(AttributeType::ICE_CONTROLLED)?.value;
        value.try_into().ok().map(u64::from_be_bytes)
    }

    /// ERROR-CODE (RFC 8489 section 14.8).
    pub fn error_code(&self) -> Option<ErrorCode<'a>> {
        let ([_, _, class, number], reason) = self
            .get(AttributeType::ERROR_CODE)?
            .value
            .split_first_chunk::<4>()?;
        let class = u16::from(class & 0x07);
        if !(3..=6).contains(&class) || *number > 99 {
            return None;
        }
        Some(ErrorCode {
            code: class * 100 + u16::from(*number),
            reason: std::str::from_utf8(reason).ok()?,
        })
    }

    /// The comprehension-required attributes that are not `known`, in order, repeats included.
    pub fn unknown_attributes<'k>(
        &self,
        known: &'k [AttributeType],
    ) -> impl Iterator<Item = AttributeType> + use<'a, 'k> {
        self.attributes()
            .map(|attribute| attribute.kind)
            .filter(|kind| kind.is_comprehension_required() && !known.contains(kind))
    }
}

/// The USERNAME of a Binding request, for finding whose it is before anything is checked. In an ICE check the part
/// before the colon is the ufrag of the agent that is asked (RFC 8445 section 7.2.2).
pub fn username(packet: &[u8]) -> Option<&str> {
    let message = Message::parse(packet).ok()?;
    (message.class() == Class::Request && message.method() == Method::BINDING)
        .then(|| message.username())
        .flatten()
}

fn xor_address(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let ([_, family, p0, p1], address) = value.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([*p0, *p1]) ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match family {
        1 => {
            let address: [u8; 4] = address.try_into().ok()?;
            IpAddr::V4(Ipv4Addr::from_bits(
                u32::from_be_bytes(address) ^ MAGIC_COOKIE,
            ))
        }
        2 => {
            let address: [u8; 16] = address.try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from_bits(
                u128::from_be_bytes(address) ^ xor_pad(id),
            ))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The magic cookie and the transaction id, which hide an IPv6 address (RFC 8489 section 14.2).
pub(super) fn xor_pad(id: TransactionId) -> u128 {
    let mut pad = [0; 16];
    pad[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    pad[4..].copy_from_slice(&id.0);
    u128::from_be_bytes(pad)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Writer;
    use super::*;

    fn read_everything(bytes: &[u8]) {
        let _ = username(bytes);
        let Ok(message) = Message::parse(bytes) else {
            return;
        };
        let _ = (message.class(), message.method(), message.transaction_id());
        let _ = (message.username(), message.fingerprint());
        let _ = message.is_authentic(&IntegrityKey::short_term("x"));
        let _ = (message.xor_mapped_address(), message.priority());
        let _ = (message.ice_controlled(), message.ice_controlling());
        let _ = message.error_code();
        let _ = message.unknown_attributes(&[]).count();
        assert!(message.attributes().count() <= bytes.len() / 4);
    }

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let mut writer = Writer::new(
            &mut buffer,
            Class::Request,
            Method::BINDING,
            TransactionId([7; 12]),
        );
        for (kind, value) in attributes {
            writer.attribute(AttributeType(*kind), value);
        }
        let len = writer.finish().unwrap();
        buffer.truncate(len);
        buffer
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            read_everything(&bytes);
        }

        #[test]
        fn any_attributes_are_read_without_panic(
            body in proptest::collection::vec(any::<u8>(), 0..600),
            message_type in 0u16..0x4000,
        ) {
            let mut bytes = Vec::new();
            bytes.extend(message_type.to_be_bytes());
            bytes.extend((body.len() as u16).to_be_bytes());
            bytes.extend(MAGIC_COOKIE.to_be_bytes());
            bytes.extend([1; 12]);
            bytes.extend(&body);
            read_everything(&bytes);
        }

        #[test]
        fn a_mutated_check_is_read_without_panic(at in 0usize..108, to in any::<u8>(), cut in 0usize..109) {
            let mut bytes = super::super::rfc5769::REQUEST.to_vec();
            bytes[at] = to;
            read_everything(&bytes);
            bytes.truncate(cut);
            read_everything(&bytes);
        }

        #[test]
        fn message_types_round_trip(number in 0u16..0x1000, class in 0usize..4) {
            let class = [Class::Request, Class::Indication, Class::Success, Class::Error][class];
            let mut buffer = [0; 20];
            let len = Writer::new(&mut buffer, class, Method::new(number), TransactionId([9; 12]))
                .finish()
                .unwrap();
            let message = Message::parse(&buffer[..len]).unwrap();
            prop_assert_eq!(message.class(), class);
            prop_assert_eq!(message.method().number(), number);
            prop_assert_eq!(message.transaction_id(), TransactionId([9; 12]));
        }
    }

    #[test]
    fn a_message_truncated_at_any_byte_is_refused() {
        let whole = super::super::rfc5769::REQUEST;
        for len in 0..whole.len() {
            assert!(Message::parse(&whole[..len]).is_err(), "{len}");
        }
        assert!(Message::parse(whole).is_ok());
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for length in [0u16, 1, 2, 3, 84, 87, 89, 92, 65_532, 65_535] {
            let mut bytes = super::super::rfc5769::REQUEST.to_vec();
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            assert!(
                matches!(Message::parse(&bytes), Err(DecodeError::Length { .. })),
                "{length}"
            );
        }
        let mut bytes = message(&[(0x0006, b"abcd")]);
        bytes[22..24].copy_from_slice(&5u16.to_be_bytes());
        assert_eq!(
            Message::parse(&bytes).unwrap_err(),
            DecodeError::Attribute(20)
        );
    }

    #[test]
    fn two_thousand_attributes_are_walked() {
        let many = vec![(0x8001u16, &[][..]); 2_000];
        let bytes = message(&many);
        assert_eq!(Message::parse(&bytes).unwrap().attributes().count(), 2_000);
    }

    #[test]
    fn of_repeated_attributes_the_first_counts() {
        let bytes = message(&[(0x0006, b"first"), (0x0006, b"second")]);
        assert_eq!(Message::parse(&bytes).unwrap().username(), Some("first"));
        assert_eq!(username(&bytes), Some("first"));
    }

    #[test]
    fn attributes_behind_the_integrity_do_not_count() {
        let key = IntegrityKey::short_term("password");
        let mut buffer = [0; 256];
        let mut writer = Writer::new(
            &mut buffer,
            Class::Request,
            Method::BINDING,
            TransactionId([1; 12]),
        );
        writer.integrity(&key);
        writer.attribute(AttributeType::USE_CANDIDATE, &[]);
        writer.attribute(AttributeType::USERNAME, b"forged");
        writer.fingerprint();
        let len = writer.finish().unwrap();
        let message = Message::parse(&buffer[..len]).unwrap();
        assert!(message.is_authentic(&key));
        assert_eq!(message.fingerprint(), Fingerprint::Valid);
        assert!(!message.has(AttributeType::USE_CANDIDATE));
        assert_eq!(message.username(), None);
    }

    #[test]
    fn a_fingerprint_counts_only_as_the_last_attribute() {
        let mut buffer = [0; 64];
        let mut writer = Writer::new(
            &mut buffer,
            Class::Request,
            Method::BINDING,
            TransactionId([1; 12]),
        );
        writer.fingerprint();
        writer.attribute(AttributeType::USE_CANDIDATE, &[]);
        let len = writer.finish().unwrap();
        let message = Message::parse(&buffer[..len]).unwrap();
        assert_eq!(message.fingerprint(), Fingerprint::Invalid);
        assert!(!message.has(AttributeType::USE_CANDIDATE));
    }

    #[test]
    fn an_integrity_value_of_another_length_is_never_authentic() {
        for len in [0, 4, 19, 21, 32] {
            let bytes = message(&[(0x0008, &vec![0; len])]);
            let message = Message::parse(&bytes).unwrap();
            assert!(!message.is_authentic(&IntegrityKey::short_term("")));
        }
    }

    #[test]
    fn the_old_header_without_magic_cookie_is_refused() {
        let mut bytes = message(&[]);
        bytes[4] ^= 1;
        assert_eq!(Message::parse(&bytes).unwrap_err(), DecodeError::NotStun);
        let mut bytes = message(&[]);
        bytes[0] |= 0x80;
        assert_eq!(Message::parse(&bytes).unwrap_err(), DecodeError::NotStun);
    }
}
