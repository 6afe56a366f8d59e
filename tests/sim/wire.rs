//! DTLS datagrams taken apart and forged (RFC 6347 sections 4.1 and 4.2.2).

/// The records of a datagram.
pub(crate) fn records(datagram: &[u8]) -> Vec<&[u8]> {
    let mut rest = datagram;
    let mut records = Vec::new();
    while rest.len() >= 13 {
        let len = 13 + usize::from(u16::from_be_bytes([rest[11], rest[12]]));
        records.push(&rest[..len]);
        rest = &rest[len..];
    }
    assert!(rest.is_empty(), "whole records");
    records
}

/// A record with a sequence number that the client under test does not reach.
pub(crate) fn record(content: u8, epoch: u16, fragment: &[u8]) -> Vec<u8> {
    let mut record = vec![content, 0xfe, 0xfd];
    record.extend(epoch.to_be_bytes());
    record.extend([0, 0, 0, 7, 7, 7]);
    record.extend((fragment.len() as u16).to_be_bytes());
    record.extend(fragment);
    record
}

/// A handshake record with a part of a message that claims `total` bytes.
pub(crate) fn piece(kind: u8, number: u16, total: usize, offset: usize, part: &[u8]) -> Vec<u8> {
    let number24 = |value: usize| (value as u32).to_be_bytes()[1..].to_vec();
    let mut message = vec![kind];
    message.extend(number24(total));
    message.extend(number.to_be_bytes());
    message.extend(number24(offset));
    message.extend(number24(part.len()));
    message.extend(part);
    record(22, 0, &message)
}

/// The type of the first handshake message in plaintext, if the datagram begins with one.
pub(crate) fn first_message(datagram: &[u8]) -> Option<u8> {
    (datagram.first() == Some(&22) && datagram.get(3..5) == Some(&[0, 0]))
        .then(|| datagram.get(13).copied())
        .flatten()
}

/// The body of an unfragmented ClientHello.
pub(crate) fn client_hello_body(datagram: &[u8]) -> &[u8] {
    assert_eq!(first_message(datagram), Some(1));
    &records(datagram)[0][25..]
}

/// A plaintext alert.
pub(crate) fn alert(level: u8, description: u8) -> Vec<u8> {
    record(21, 0, &[level, description])
}
