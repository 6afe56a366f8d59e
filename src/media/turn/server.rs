//! Answers to what arrives on 3478.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::answer_budget::AnswerBudget;
use crate::media::stun::{
    AttributeType, Class, Fingerprint, Message, Method, TransactionId, Writer,
};
use crate::units::Random;

/// No answer is longer.
pub const MAX_ANSWER_LEN: usize = 64;

/// Unknown attributes that a 420 names at most; further ones are not listed.
const MAX_UNKNOWN: usize = 8;

/// Attributes of a Binding request that need no 420: those of RFC 8489 and RFC 8445. Without a credential to check,
/// integrity is neither required nor looked at (RFC 8489 section 9 leaves it to the usage).
const KNOWN: [AttributeType; 8] = [
    AttributeType::MAPPED_ADDRESS,
    AttributeType::USERNAME,
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::REALM,
    AttributeType::NONCE,
    AttributeType::PRIORITY,
    AttributeType::USE_CANDIDATE,
];

/// What the server did with what arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Binding requests answered.
    pub bindings: u64,
    /// TURN requests refused with 403, and Binding requests with 420.
    pub refused: u64,
    /// Requests left unanswered because their source has used up its budget.
    pub over_budget: u64,
    /// Datagrams that are no request to this server.
    pub ignored: u64,
}

/// The STUN server of RFC 8489 section 12 ("basic server behaviour"), for one worker's socket. Sans-I/O.
#[derive(Debug)]
pub struct Server {
    budget: AnswerBudget,
    counters: Counters,
}

impl Server {
    /// A server; `random` keys its table of sources.
    pub fn new(now: Instant, random: &mut Random) -> Self {
        Self {
            budget: AnswerBudget::new(now, random),
            counters: Counters::default(),
        }
    }

    /// What it has done so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Writes the answer to a UDP datagram into `out`, which needs [`MAX_ANSWER_LEN`] bytes, and returns its length.
    ///
    /// A Binding answer is exactly 32 bytes (IPv4) or 44 (IPv6), 8 more if the request carried a FINGERPRINT: no
    /// SOFTWARE, no reason phrase, nothing to amplify with. TURN requests get 403, so that browsers stop gathering at
    /// once. Everything else gets silence, and so does a source beyond its budget.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let Some((len, kind)) = answer(from, datagram, out) else {
            self.counters.ignored += 1;
            return None;
        };
        if !self.budget.spend(now, from.ip(), datagram.len(), len) {
            self.counters.over_budget += 1;
            return None;
        }
        match kind {
            Answer::Mapped => self.counters.bindings += 1,
            Answer::Refusal => self.counters.refused += 1,
        }
        Some(len)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Mapped,
    Refusal,
}

fn answer(from: SocketAddr, datagram: &[u8], out: &mut [u8]) -> Option<(usize, Answer)> {
    let request = Message::parse(datagram).ok()?;
    if request.class() != Class::Request {
        return None;
    }
    let (method, id) = (request.method(), request.transaction_id());
    let fingerprint = match request.fingerprint() {
        Fingerprint::Absent => false,
        Fingerprint::Valid => true,
        Fingerprint::Invalid => return None,
    };
    let (mut writer, kind) = match method {
        Method::BINDING if request.unknown_attributes(&KNOWN).next().is_some() => {
            let mut writer = refusal(out, method, id, 420);
            writer.unknown_attributes(request.unknown_attributes(&KNOWN).take(MAX_UNKNOWN));
            (writer, Answer::Refusal)
        }
        Method::BINDING => {
            let mut writer = Writer::new(out, Class::Success, method, id);
            writer.xor_mapped_address(canonical(from));
            (writer, Answer::Mapped)
        }
        Method::ALLOCATE
        | Method::REFRESH
        | Method::CREATE_PERMISSION
        | Method::CHANNEL_BIND
        | Method::CONNECT
        | Method::CONNECTION_BIND => (refusal(out, method, id, 403), Answer::Refusal),
        _ => return None,
    };
    if fingerprint {
        writer.fingerprint();
    }
    Some((writer.finish().ok()?, kind))
}

fn refusal(out: &mut [u8], method: Method, id: TransactionId, code: u16) -> Writer<'_> {
    let mut writer = Writer::new(out, Class::Error, method, id);
    writer.error_code(code);
    writer
}

/// A socket for both families shows IPv4 clients as mapped addresses, which would be useless to them.
fn canonical(from: SocketAddr) -> SocketAddr {
    match from.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, from.port()),
        IpAddr::V6(_) => from,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::t0;

    const ID: TransactionId = TransactionId([5; 12]);

    fn server() -> Server {
        Server::new(t0(), &mut Random::seeded(3))
    }

    fn request(method: Method, build: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = vec![0; 2_048];
        let mut writer = Writer::new(&mut buffer, Class::Request, method, ID);
        build(&mut writer);
        let len = writer.finish().unwrap();
        buffer.truncate(len);
        buffer
    }

    fn ask(server: &mut Server, from: &str, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut out = [0xee; MAX_ANSWER_LEN];
        let len = server.handle_datagram(t0(), from.parse().unwrap(), datagram, &mut out)?;
        Some(out[..len].to_vec())
    }

    #[test]
    fn a_binding_answer_is_32_or_44_bytes_and_carries_the_mapped_address() {
        let bare = request(Method::BINDING, |_| {});
        for (from, seen, len) in [
            ("192.0.2.1:4000", "192.0.2.1:4000", 32),
            ("[::ffff:192.0.2.1]:4000", "192.0.2.1:4000", 32),
            ("[2001:db8::1]:4000", "[2001:db8::1]:4000", 44),
        ] {
            let answer = ask(&mut server(), from, &bare).unwrap();
            assert_eq!(answer.len(), len);
            let message = Message::parse(&answer).unwrap();
            assert_eq!(message.class(), Class::Success);
            assert_eq!(message.transaction_id(), ID);
            assert_eq!(message.xor_mapped_address(), Some(seen.parse().unwrap()));
        }
    }

    #[test]
    fn a_fingerprint_is_answered_with_one() {
        let sealed = request(Method::BINDING, |writer| writer.fingerprint());
        let answer = ask(&mut server(), "192.0.2.1:4000", &sealed).unwrap();
        assert_eq!(answer.len(), 40);
        assert_eq!(
            Message::parse(&answer).unwrap().fingerprint(),
            Fingerprint::Valid
        );
        let mut broken = sealed;
        broken[27] ^= 1;
        assert_eq!(ask(&mut server(), "192.0.2.1:4000", &broken), None);
    }

    #[test]
    fn an_allocation_is_forbidden_in_as_few_bytes_as_it_asked_with() {
        let allocate = request(Method::ALLOCATE, |writer| {
            writer.attribute(AttributeType(0x0019), &[17, 0, 0, 0]);
        });
        let answer = ask(&mut server(), "192.0.2.1:4000", &allocate).unwrap();
        assert_eq!((allocate.len(), answer.len()), (28, 28));
        let message = Message::parse(&answer).unwrap();
        assert_eq!(
            (message.class(), message.method()),
            (Class::Error, Method::ALLOCATE)
        );
        let error = message.error_code().unwrap();
        assert_eq!((error.code, error.reason), (403, ""));
    }

    #[test]
    fn unknown_required_attributes_are_named_and_bounded() {
        let many = request(Method::BINDING, |writer| {
            for kind in 0..200 {
                writer.attribute(AttributeType(0x7000 + kind), &[]);
            }
            writer.attribute(AttributeType(0x9999), &[]);
            writer.fingerprint();
        });
        let answer = ask(&mut server(), "192.0.2.1:4000", &many).unwrap();
        assert!(answer.len() <= MAX_ANSWER_LEN);
        let message = Message::parse(&answer).unwrap();
        assert_eq!(message.error_code().unwrap().code, 420);
        let listed = message.get(AttributeType::UNKNOWN_ATTRIBUTES).unwrap();
        assert_eq!(listed.value.len(), 2 * MAX_UNKNOWN);
        assert_eq!(listed.value[..4], [0x70, 0x00, 0x70, 0x01]);
    }

    #[test]
    fn indications_answers_unknown_methods_and_noise_get_silence() {
        let mut server = server();
        let mut buffer = [0; 20];
        for class in [Class::Indication, Class::Success, Class::Error] {
            Writer::new(&mut buffer, class, Method::BINDING, ID)
                .finish()
                .unwrap();
            assert_eq!(ask(&mut server, "192.0.2.1:4000", &buffer), None);
        }
        let unknown = request(Method::new(0x00f), |_| {});
        assert_eq!(ask(&mut server, "192.0.2.1:4000", &unknown), None);
        for noise in [&b""[..], b"\0", b"GET / HTTP/1.1\r\n\r\n", &[0x40; 40]] {
            assert_eq!(ask(&mut server, "192.0.2.1:4000", noise), None);
        }
        assert_eq!(server.counters().ignored, 8);
    }

    #[test]
    fn a_flood_from_one_source_never_gets_more_than_it_sent_over_ten_seconds() {
        let mut server = server();
        let bare = request(Method::BINDING, |_| {});
        let mut out = [0; MAX_ANSWER_LEN];
        let from = "192.0.2.1:4000".parse().unwrap();
        let (mut bytes_in, mut bytes_out) = (0, 0);
        for packet in 0..500_000u32 {
            let now = t0() + Duration::from_micros(20) * packet;
            bytes_in += bare.len();
            bytes_out += server
                .handle_datagram(now, from, &bare, &mut out)
                .unwrap_or(0);
        }
        assert!(bytes_out <= bytes_in, "{bytes_out} > {bytes_in}");
        assert!(bytes_out > 64 * 1024, "the budget itself was answered");
        assert!(server.counters().over_budget > 400_000);
        let other = "192.0.2.2:4000".parse().unwrap();
        let now = t0() + Duration::from_secs(10);
        assert!(
            server
                .handle_datagram(now, other, &bare, &mut out)
                .is_some()
        );
    }

    proptest! {
        #[test]
        fn any_datagram_gets_a_bounded_answer_or_none(
            datagram in proptest::collection::vec(any::<u8>(), 0..200),
            room in 0usize..80,
        ) {
            let mut out = vec![0; room];
            let len = server().handle_datagram(t0(), "192.0.2.1:1".parse().unwrap(), &datagram, &mut out);
            prop_assert!(len.is_none_or(|len| len <= room.min(MAX_ANSWER_LEN)));
        }
    }
}
