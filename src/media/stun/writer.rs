//! Writing a message into a caller's buffer; padding is always zero (CVE-2020-4067 was the opposite).

use std::net::{IpAddr, SocketAddr};

use super::message::{message_type, xor_pad};
use super::{
    AttributeType, Class, HEADER_LEN, IntegrityKey, MAGIC_COOKIE, Method, TransactionId,
    fingerprint,
};

/// The message does not fit into the buffer, or its length does not fit into 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the STUN message does not fit into the buffer")]
pub struct BufferTooSmall;

/// Writes one message. What does not fit is remembered and reported by [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
    id: TransactionId,
    overflow: bool,
}

impl<'a> Writer<'a> {
    /// Begins a message (RFC 8489 section 5).
    pub fn new(buffer: &'a mut [u8], class: Class, method: Method, id: TransactionId) -> Self {
        let mut writer = Self {
            buffer,
            len: 0,
            id,
            overflow: false,
        };
        writer.put(&message_type(class, method).to_be_bytes());
        writer.put(&[0, 0]);
        writer.put(&MAGIC_COOKIE.to_be_bytes());
        writer.put(&id.0);
        writer
    }

    /// Appends an attribute and its padding.
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) {
        let Ok(len) = u16::try_from(value.len()) else {
            self.overflow = true;
            return;
        };
        self.put(&kind.0.to_be_bytes());
        self.put(&len.to_be_bytes());
        self.put(value);
        self.put(&[0; 3][..value.len().next_multiple_of(4) - value.len()]);
    }

    /// Appends XOR-MAPPED-ADDRESS (RFC 8489 section 14.2).
    pub fn xor_mapped_address(&mut self, addr: SocketAddr) {
        self.xor_address(AttributeType::XOR_MAPPED_ADDRESS, addr);
    }

    /// Appends an address in the form of XOR-MAPPED-ADDRESS, such as XOR-PEER-ADDRESS (RFC 8656 section 18).
    pub fn xor_address(&mut self, kind: AttributeType, addr: SocketAddr) {
        let mut value = [0; 20];
        let port = addr.port() ^ (MAGIC_COOKIE >> 16) as u16;
        value[2..4].copy_from_slice(&port.to_be_bytes());
        let len = match addr.ip() {
            IpAddr::V4(ip) => {
                value[1] = 1;
                value[4..8].copy_from_slice(&(ip.to_bits() ^ MAGIC_COOKIE).to_be_bytes());
                8
            }
            IpAddr::V6(ip) => {
                value[1] = 2;
                value[4..].copy_from_slice(&(ip.to_bits() ^ xor_pad(self.id)).to_be_bytes());
                20
            }
        };
        self.attribute(kind, &value[..len]);
    }

    /// Appends ERROR-CODE without a reason phrase, which nobody reads and which amplifies (RFC 8489 section 14.8).
    pub fn error_code(&mut self, code: u16) {
        let [class, number] = [code / 100, code % 100].map(|part| part as u8);
        self.attribute(AttributeType::ERROR_CODE, &[0, 0, class & 0x07, number]);
    }

    /// Appends UNKNOWN-ATTRIBUTES (RFC 8489 section 14.13).
    pub fn unknown_attributes(&mut self, kinds: impl Iterator<Item = AttributeType>) {
        let start = self.len;
        self.attribute(AttributeType::UNKNOWN_ATTRIBUTES, &[]);
        let mut len = 0u16;
        for kind in kinds {
            self.put(&kind.0.to_be_bytes());
            len = len.saturating_add(2);
        }
        self.put(&[0; 3][..usize::from(len).next_multiple_of(4) - usize::from(len)]);
        if let Some(field) = self.buffer.get_mut(start + 2..start + 4) {
            field.copy_from_slice(&len.to_be_bytes());
        }
    }

    /// Appends the integrity attribute of `key` over everything so far (RFC 8489 sections 14.5 and 14.6).
    pub fn integrity(&mut self, key: &IntegrityKey) {
        let Some(length) = self.length_with(4 + key.tag_len()) else {
            return;
        };
        let tag = key.tag(self.buffer.get(..self.len).unwrap_or_default(), length);
        self.attribute(key.attribute(), tag.as_ref());
    }

    /// Appends FINGERPRINT over everything so far (RFC 8489 section 14.7).
    pub fn fingerprint(&mut self) {
        let Some(length) = self.length_with(8) else {
            return;
        };
        self.set_length(length);
        let value = fingerprint::of(self.buffer.get(..self.len).unwrap_or_default());
        self.attribute(AttributeType::FINGERPRINT, &value.to_be_bytes());
    }

    /// Completes the header and returns the length of the message.
    ///
    /// # Errors
    /// Something did not fit.
    pub fn finish(mut self) -> Result<usize, BufferTooSmall> {
        let length = self.length_with(0).ok_or(BufferTooSmall)?;
        self.set_length(length);
        Ok(self.len)
    }

    /// The header's length field once `more` bytes are appended, unless something did not fit.
    fn length_with(&mut self, more: usize) -> Option<u16> {
        if self.overflow {
            return None;
        }
        let length = u16::try_from(self.len + more - HEADER_LEN).ok();
        self.overflow = length.is_none();
        length
    }

    fn set_length(&mut self, length: u16) {
        if let Some(field) = self.buffer.get_mut(2..4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.overflow {
            return;
        }
        match self.buffer.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.overflow = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Fingerprint, Message};
    use super::*;

    const ID: TransactionId = TransactionId([0xab; 12]);

    proptest! {
        #[test]
        fn what_is_written_is_read(
            attributes in proptest::collection::vec(
                (0x8100u16..0x8200, proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
            v4 in any::<(u32, u16)>(),
            v6 in any::<(u128, u16)>(),
            password in "[A-Za-z0-9+/]{0,40}",
        ) {
            let key = IntegrityKey::short_term(&password);
            let v4 = SocketAddr::from((std::net::Ipv4Addr::from_bits(v4.0), v4.1));
            let v6 = SocketAddr::from((std::net::Ipv6Addr::from_bits(v6.0), v6.1));
            for addr in [v4, v6] {
                let mut buffer = [0xee; 1_024];
                let mut writer = Writer::new(&mut buffer, Class::Success, Method::BINDING, ID);
                writer.xor_mapped_address(addr);
                for (kind, value) in &attributes {
                    writer.attribute(AttributeType(*kind), value);
                }
                writer.integrity(&key);
                writer.fingerprint();
                let len = writer.finish().unwrap();
                let message = Message::parse(&buffer[..len]).unwrap();
                prop_assert_eq!(message.xor_mapped_address(), Some(addr));
                prop_assert!(message.is_authentic(&key));
                let longer = format!("{password}x");
                prop_assert!(!message.is_authentic(&IntegrityKey::short_term(&longer)));
                prop_assert_eq!(message.fingerprint(), Fingerprint::Valid);
                let read: Vec<_> = message
                    .attributes()
                    .filter(|a| (0x8100..0x8200).contains(&a.kind.0))
                    .map(|a| (a.kind.0, a.value.to_vec()))
                    .collect();
                prop_assert_eq!(&read, &attributes);
            }
        }

        #[test]
        fn any_flipped_bit_breaks_the_seal(at in 0usize..60, bit in 0u8..8) {
            let key = IntegrityKey::short_term("secret password 22 long");
            let mut buffer = [0; 128];
            let mut writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, ID);
            writer.attribute(AttributeType::USERNAME, b"ours:theirs");
            writer.attribute(AttributeType::PRIORITY, &[1, 2, 3, 4]);
            writer.integrity(&key);
            let len = writer.finish().unwrap();
            prop_assume!(at < len);
            let mut bytes = buffer[..len].to_vec();
            bytes[at] ^= 1 << bit;
            prop_assert!(!Message::parse(&bytes).is_ok_and(|message| message.is_authentic(&key)));
        }
    }

    #[test]
    fn a_message_never_exceeds_its_buffer_and_says_so() {
        let key = IntegrityKey::short_term("password");
        let write = |buffer: &mut [u8]| {
            let mut writer = Writer::new(buffer, Class::Error, Method::ALLOCATE, ID);
            writer.error_code(420);
            writer.unknown_attributes([AttributeType(0x7ffe)].into_iter());
            writer.integrity(&key);
            writer.fingerprint();
            writer.finish()
        };
        let mut whole = [0; 256];
        let len = write(&mut whole).unwrap();
        for room in 0..len {
            assert_eq!(write(&mut vec![0; room]), Err(BufferTooSmall), "{room}");
        }
        let mut exact = vec![0; len];
        assert_eq!(write(&mut exact), Ok(len));
        assert_eq!(exact, whole[..len]);
    }

    #[test]
    fn padding_is_zero_whatever_the_buffer_held() {
        for len in 1..=4 {
            let mut buffer = [0xee; 64];
            let mut writer = Writer::new(&mut buffer, Class::Error, Method::BINDING, ID);
            writer.attribute(AttributeType::SOFTWARE, &[0x11; 4][..len]);
            writer.unknown_attributes([AttributeType(0x7777)].into_iter());
            let total = writer.finish().unwrap();
            assert!(buffer[24 + len..28].iter().all(|byte| *byte == 0));
            assert_eq!(buffer[28..total], [0, 0x0a, 0, 2, 0x77, 0x77, 0, 0]);
        }
    }

    #[test]
    fn an_error_has_its_code_and_no_reason() {
        let mut buffer = [0xee; 64];
        let mut writer = Writer::new(&mut buffer, Class::Error, Method::BINDING, ID);
        writer.error_code(487);
        let len = writer.finish().unwrap();
        assert_eq!(len, 28);
        let error = Message::parse(&buffer[..len])
            .unwrap()
            .error_code()
            .unwrap();
        assert_eq!((error.code, error.reason), (487, ""));
    }
}
