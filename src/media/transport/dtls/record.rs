//! Records and handshake messages of DTLS 1.2 as they lie in a datagram (RFC 6347 sections 4.1 and 4.2.2).
//!
//! ```text
//! | type 1 | version 2 | epoch 2 | sequence number 6 | length 2 | fragment |        a record
//! | type 1 | length 3 | message number 2 | fragment offset 3 | fragment length 3 |  a handshake message's header
//! ```

/// Bytes before a record's fragment.
pub(super) const RECORD_HEADER_LEN: usize = 13;

/// Bytes before a handshake message's fragment.
pub(super) const HANDSHAKE_HEADER_LEN: usize = 12;

/// The version in the header of every record that we write: DTLS 1.2.
const VERSION: [u8; 2] = [0xfe, 0xfd];

/// Content types (RFC 5246 section 6.2.1).
pub(super) mod content {
    pub(in super::super) const CHANGE_CIPHER_SPEC: u8 = 20;
    pub(in super::super) const ALERT: u8 = 21;
    pub(in super::super) const HANDSHAKE: u8 = 22;
}

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) content: u8,
    pub(super) epoch: u16,
    pub(super) sequence: [u8; 6],
    pub(super) fragment: &'a [u8],
    /// Header and fragment.
    pub(super) bytes: &'a [u8],
}

/// What stands where a record should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slice<'a> {
    Record(Record<'a>),
    /// The unified header of DTLS 1.3 (RFC 9147 section 4), which takes the rest of the datagram.
    Unified,
    /// Something that does not fit into the datagram; there is no telling where the next record would begin.
    Malformed,
}

/// Splits a datagram.
pub(super) fn slices(datagram: &[u8]) -> impl Iterator<Item = Slice<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        if (32..64).contains(first) {
            rest = &[];
            return Some(Slice::Unified);
        }
        let Some(record) = record(rest) else {
            rest = &[];
            return Some(Slice::Malformed);
        };
        rest = rest.get(record.bytes.len()..).unwrap_or_default();
        Some(Slice::Record(record))
    })
}

fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER_LEN>()?;
    let [content, major, _, e0, e1, sequence @ .., l0, l1] = *header;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    if major != VERSION[0] {
        return None;
    }
    Some(Record {
        content,
        epoch: u16::from_be_bytes([e0, e1]),
        sequence,
        fragment: rest.get(..len)?,
        bytes: bytes.get(..RECORD_HEADER_LEN + len)?,
    })
}

/// A fragment of a handshake message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    pub(super) kind: u8,
    pub(super) number: u16,
    /// Bytes in the whole message's body.
    pub(super) total: usize,
    pub(super) offset: usize,
    pub(super) body: &'a [u8],
}

impl Fragment<'_> {
    /// Whether it is the message.
    pub(super) fn is_whole(&self) -> bool {
        self.offset == 0 && self.body.len() == self.total
    }
}

/// Splits a handshake record; ends after the first message that contradicts itself, which is `None`.
pub(super) fn fragments(record: &[u8]) -> impl Iterator<Item = Option<Fragment<'_>>> {
    let mut rest = record;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let fragment = fragment(rest);
        let len = fragment.map_or(rest.len(), |fragment| {
            HANDSHAKE_HEADER_LEN + fragment.body.len()
        });
        rest = rest.get(len..).unwrap_or_default();
        Some(fragment)
    })
}

fn fragment(bytes: &[u8]) -> Option<Fragment<'_>> {
    let (header, rest) = bytes.split_first_chunk::<HANDSHAKE_HEADER_LEN>()?;
    let [kind, t0, t1, t2, n0, n1, o0, o1, o2, l0, l1, l2] = *header;
    let number24 = |a, b, c| u32::from_be_bytes([0, a, b, c]) as usize;
    let (total, offset) = (number24(t0, t1, t2), number24(o0, o1, o2));
    let body = rest.get(..number24(l0, l1, l2))?;
    (offset + body.len() <= total).then_some(Fragment {
        kind,
        number: u16::from_be_bytes([n0, n1]),
        total,
        offset,
        body,
    })
}

/// Appends a plaintext record with one unfragmented handshake message.
pub(super) fn write_handshake(
    out: &mut Vec<u8>,
    kind: u8,
    number: u16,
    sequence: [u8; 6],
    body: &[u8],
) {
    let total = (body.len() as u32).to_be_bytes();
    out.push(content::HANDSHAKE);
    out.extend(VERSION);
    out.extend([0, 0]);
    out.extend(sequence);
    out.extend(((HANDSHAKE_HEADER_LEN + body.len()) as u16).to_be_bytes());
    out.push(kind);
    out.extend(&total[1..]);
    out.extend(number.to_be_bytes());
    out.extend([0; 3]);
    out.extend(&total[1..]);
    out.extend(body);
}

/// A plaintext fatal alert (RFC 5246 section 7.2) with a sequence number that the implementation does not reach.
pub(in crate::media::transport) fn fatal_alert(description: u8) -> Vec<u8> {
    let mut record = vec![content::ALERT];
    record.extend(VERSION);
    record.extend([0, 0]);
    record.extend([0, 1, 0, 0, 0, 0]);
    record.extend([0, 2, 2, description]);
    record
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_datagram_is_split_without_panic(datagram in proptest::collection::vec(any::<u8>(), 0..300)) {
            for slice in slices(&datagram) {
                if let Slice::Record(record) = slice {
                    let _ = fragments(record.fragment).count();
                }
            }
        }

        #[test]
        fn a_written_message_is_read(
            body in proptest::collection::vec(any::<u8>(), 0..4_096),
            kind in any::<u8>(),
            number in any::<u16>(),
            sequence in any::<[u8; 6]>(),
        ) {
            let mut out = Vec::new();
            write_handshake(&mut out, kind, number, sequence, &body);
            let read: Vec<_> = slices(&out).collect();
            let [Slice::Record(record)] = read[..] else {
                panic!("{read:?}");
            };
            prop_assert_eq!((record.epoch, record.sequence), (0, sequence));
            let read: Vec<_> = fragments(record.fragment).collect();
            let whole = Fragment { kind, number, total: body.len(), offset: 0, body: &body };
            prop_assert!(whole.is_whole());
            prop_assert_eq!(read, vec![Some(whole)]);
        }
    }

    #[test]
    fn a_record_that_does_not_fit_ends_the_datagram() {
        let mut datagram = fatal_alert(42);
        let record = datagram.len();
        datagram.extend(&fatal_alert(42)[..record - 1]);
        let read: Vec<_> = slices(&datagram).collect();
        assert!(matches!(read[..], [Slice::Record(_), Slice::Malformed]));
    }

    #[test]
    fn the_header_of_dtls_1_3_takes_the_rest() {
        let mut datagram = fatal_alert(42);
        datagram.extend([0x2f, 22, 22, 22]);
        let read: Vec<_> = slices(&datagram).collect();
        assert!(matches!(read[..], [Slice::Record(_), Slice::Unified]));
    }
}
