//! DNS messages (RFC 1035), as far as the doctor asks: A, AAAA (RFC 3596) and CAA (RFC 8659). Pure.
//!
//! The system's resolver tells no CAA records, and mixes what `/etc/hosts` says into what the world sees.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    A,
    Aaaa,
    Caa,
}

impl Kind {
    const fn code(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
            Self::Caa => 257,
        }
    }
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    Caa(Caa),
}

/// Who may issue certificates (RFC 8659 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caa {
    /// `issue`, `issuewild`, `iodef`, in lower case.
    pub(super) property: String,
    /// The issuer's domain with parameters, or `;` for nobody.
    pub(super) value: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DnsError {
    #[error("it is no name that DNS can carry")]
    Name,
    #[error("the answer cannot be read")]
    Malformed,
    #[error("the answer does not fit into a datagram")]
    Truncated,
    #[error("there is no such name")]
    NoSuchName,
    #[error("the name server answers with error {0}")]
    Refused(u8),
    #[error("no name server answers")]
    Silent,
    #[error("/etc/resolv.conf names no name server")]
    NoServer,
    #[error("it was not asked (--offline)")]
    NotAsked,
}

const RECURSION_DESIRED: u16 = 0x0100;
const RESPONSE: u16 = 0x8000;
const TRUNCATED: u16 = 0x0200;
const INTERNET: u16 = 1;
const NAME_ERROR: u8 = 3;

/// A question for `name`.
pub(super) fn query(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>, DnsError> {
    let mut message = Vec::with_capacity(18 + name.len());
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).map_err(|_| DnsError::Name)?;
        if !(1..=63).contains(&length) || !label.is_ascii() {
            return Err(DnsError::Name);
        }
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    if message.len() > 12 + 255 {
        return Err(DnsError::Name);
    }
    message.extend(kind.code().to_be_bytes());
    message.extend(INTERNET.to_be_bytes());
    Ok(message)
}

/// The records of `kind` in the answer to `query`, wherever aliases have led; `None` if it is the answer to another one.
pub(super) fn answer(
    query: &[u8],
    kind: Kind,
    bytes: &[u8],
) -> Option<Result<Vec<Record>, DnsError>> {
    let mut reader = Reader { bytes, at: 0 };
    let (id, flags) = (reader.word()?, reader.word()?);
    if query.get(..2)? != id.to_be_bytes() || flags & RESPONSE == 0 {
        return None;
    }
    let question = query.get(12..)?;
    let counts = [reader.word()?, reader.word()?];
    // What answers another question may be a guess of somebody who wants to be believed.
    let repeated = bytes.get(12..12 + question.len())?;
    if counts[0] != 1 || !repeated.eq_ignore_ascii_case(question) {
        return None;
    }
    let code = u8::try_from(flags & 0xf).unwrap_or(u8::MAX);
    Some(match code {
        0 if flags & TRUNCATED != 0 => Err(DnsError::Truncated),
        0 => {
            reader.at = 12 + question.len();
            reader.records(counts[1], kind).ok_or(DnsError::Malformed)
        }
        NAME_ERROR => Err(DnsError::NoSuchName),
        other => Err(DnsError::Refused(other)),
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn word(&mut self) -> Option<u16> {
        let bytes: [u8; 2] = self.take(2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    }

    /// Skips a name: labels until the root, or until a pointer to some that were before (RFC 1035 section 4.1.4).
    fn skip_name(&mut self) -> Option<()> {
        loop {
            let length = *self.take(1)?.first()?;
            match length {
                0 => return Some(()),
                1..=63 => drop(self.take(usize::from(length))?),
                192.. => return self.take(1).map(drop),
                64..192 => return None,
            }
        }
    }

    fn records(&mut self, count: u16, kind: Kind) -> Option<Vec<Record>> {
        let mut records = Vec::new();
        for _ in 0..count {
            self.skip_name()?;
            let (code, class) = (self.word()?, self.word()?);
            self.take(4)?;
            let length = self.word()?;
            let data = self.take(usize::from(length))?;
            if code == kind.code() && class == INTERNET {
                records.push(record(kind, data)?);
            }
        }
        Some(records)
    }
}

fn record(kind: Kind, data: &[u8]) -> Option<Record> {
    Some(match kind {
        Kind::A => Record::Address(Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into()),
        Kind::Aaaa => Record::Address(Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into()),
        Kind::Caa => {
            let (_flags, rest) = data.split_first()?;
            let (length, rest) = rest.split_first()?;
            let (property, value) = rest.split_at_checked(usize::from(*length))?;
            let text = |bytes: &[u8]| {
                let text: String = String::from_utf8_lossy(bytes).into_owned();
                text.replace(char::is_control, "\u{fffd}")
            };
            Record::Caa(Caa {
                property: text(property).to_ascii_lowercase(),
                value: text(value),
            })
        }
    })
}

/// `name` and the names above it, down to two labels: where CAA records are looked for, the first set found counts
/// (RFC 8659 section 3).
pub(super) fn climb(name: &str) -> Vec<&str> {
    let mut names = vec![name];
    let mut rest = name;
    while let Some((_, above)) = rest.split_once('.') {
        if !above.contains('.') {
            break;
        }
        names.push(above);
        rest = above;
    }
    names
}

/// Whether `issuer` may make a certificate for a name with this set of records: there is no `issue` record, or one of
/// them names it.
pub(super) fn may_issue(records: &[Caa], issuer: &str) -> bool {
    let mut issue = records
        .iter()
        .filter(|caa| caa.property == "issue")
        .peekable();
    issue.peek().is_none()
        || issue.any(|caa| {
            let domain = caa.value.split(';').next().unwrap_or_default();
            domain.trim().eq_ignore_ascii_case(issuer)
        })
}

/// The name servers of a `resolv.conf` (resolv.conf(5)): the first three count.
pub(super) fn name_servers(text: &str) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some("nameserver")
            && let Some(address) = words.next()
            // A zone (`%eth0`) cannot be carried by an address alone.
            && let Ok(address) = address.parse()
        {
            servers.push(address);
        }
    }
    servers.truncate(3);
    servers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer to `query` with these flags and records: type and data, each under a pointer to the question's name.
    fn answered(query: &[u8], flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = query[..2].to_vec();
        let count = u16::try_from(records.len()).unwrap();
        for word in [RESPONSE | flags, 1, count, 0, 0] {
            message.extend(word.to_be_bytes());
        }
        message.extend(&query[12..]);
        for (code, data) in records {
            message.extend([0xc0, 12]);
            for word in [*code, INTERNET, 0, 60, u16::try_from(data.len()).unwrap()] {
                message.extend(word.to_be_bytes());
            }
            message.extend(*data);
        }
        message
    }

    #[test]
    fn a_question_is_written_as_rfc_1035_says() {
        let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04call\x07example\x03com\x00\x00\x1c\x00\x01";
        let written = query(0x1234, "call.example.com", Kind::Aaaa).unwrap();
        assert_eq!(written, expected);
        for bad in ["", "a..b", &"x".repeat(64), &"abcdefg.".repeat(40), "한.kr"] {
            assert_eq!(query(1, bad, Kind::A), Err(DnsError::Name), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read_behind_aliases() {
        let query = query(7, "call.example.com", Kind::A).unwrap();
        let alias = b"\x03cdn\xc0\x11";
        let bytes = answered(
            &query,
            0,
            &[(5, alias), (1, &[203, 0, 113, 7]), (1, &[203, 0, 113, 8])],
        );
        let found = answer(&query, Kind::A, &bytes).unwrap().unwrap();
        let expected = [[203, 0, 113, 7], [203, 0, 113, 8]];
        assert_eq!(found, expected.map(|octets| Record::Address(octets.into())));
        let nothing = answered(&query, 0, &[]);
        assert_eq!(answer(&query, Kind::A, &nothing), Some(Ok(Vec::new())));
    }

    #[test]
    fn errors_are_told_apart_and_answers_to_other_questions_do_not_count() {
        let asked = query(7, "call.example.com", Kind::A).unwrap();
        for (flags, error) in [
            (3, DnsError::NoSuchName),
            (2, DnsError::Refused(2)),
            (TRUNCATED, DnsError::Truncated),
        ] {
            let bytes = answered(&asked, flags, &[]);
            assert_eq!(answer(&asked, Kind::A, &bytes), Some(Err(error)));
        }
        let short = answered(&asked, 0, &[(1, &[203, 0, 113])]);
        assert_eq!(
            answer(&asked, Kind::A, &short),
            Some(Err(DnsError::Malformed))
        );
        let other_id = answered(&query(8, "call.example.com", Kind::A).unwrap(), 0, &[]);
        assert_eq!(answer(&asked, Kind::A, &other_id), None);
        let other_name = answered(&query(7, "call.example.org", Kind::A).unwrap(), 0, &[]);
        assert_eq!(answer(&asked, Kind::A, &other_name), None);
        assert_eq!(answer(&asked, Kind::A, &asked), None, "a question");
    }

    #[test]
    fn caa_records_say_who_may_issue() {
        let query = query(7, "example.com", Kind::Caa).unwrap();
        let bytes = answered(
            &query,
            0,
            &[
                (
                    257,
                    b"\x00\x05issueletsencrypt.org; validationmethods=http-01",
                ),
                (257, b"\x80\x05iodefmailto:me@example.com"),
            ],
        );
        let records = answer(&query, Kind::Caa, &bytes).unwrap().unwrap();
        let records: Vec<Caa> = records
            .into_iter()
            .map(|record| match record {
                Record::Caa(caa) => caa,
                Record::Address(address) => panic!("{address}"),
            })
            .collect();
        assert!(may_issue(&records, "letsencrypt.org"));
        assert!(!may_issue(&records, "pki.goog"));
        assert!(may_issue(&records[1..], "pki.goog"), "no issue record");
        let nobody = Caa {
            property: "issue".to_owned(),
            value: ";".to_owned(),
        };
        assert!(!may_issue(&[nobody], "letsencrypt.org"));
    }

    #[test]
    fn names_are_climbed_to_the_registered_one() {
        assert_eq!(
            climb("a.call.example.com"),
            ["a.call.example.com", "call.example.com", "example.com"]
        );
        assert_eq!(climb("example.com"), ["example.com"]);
        assert_eq!(climb("localhost"), ["localhost"]);
    }

    #[test]
    fn the_first_three_name_servers_count() {
        let text = "# c\nsearch example.com\nnameserver 127.0.0.53\nnameserver\t2001:db8::53 # x\nnameserver fe80::1%eth0\n\
                    nameserver 192.0.2.1\nnameserver 192.0.2.2\n";
        let found: Vec<_> = name_servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53", "2001:db8::53", "192.0.2.1"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), keep: bool) {
            let query = query(7, "example.com", Kind::Caa).unwrap();
            if keep {
                let begin = answered(&query, 0, &[(257, b"\x00\x05issuex")]);
                bytes.splice(0..0, begin.iter().copied().take(bytes.len()));
            }
            for kind in [Kind::A, Kind::Aaaa, Kind::Caa] {
                let _ = answer(&query, kind, &bytes);
            }
        }
    }
}
