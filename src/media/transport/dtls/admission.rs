//! What may reach the DTLS implementation.
//!
//! Anyone who can send from a validated address can forge plaintext; a single such record must not end a handshake or
//! fill a queue. So every plaintext record is taken apart here, and only what an honest DTLS 1.2 client says next is
//! handed on, written anew as whole messages in order:
//!
//! ```text
//! ClientHello 0 | Certificate 1, ClientKeyExchange 2, CertificateVerify 3, ChangeCipherSpec | epoch 1
//! ```
//!
//! The price: an honest peer's plaintext alert shows as a timeout.
//!
//! What is left: without its keys nobody can tell a forged encrypted record from the client's Finished, and the
//! implementation gives up at a bad one as long as it has not seen a good one. A forger would have to send from the
//! validated address between the datagram that ends the client's flight in plaintext and the one that brings Finished;
//! browsers put both into one, after which bad records are harmless.

use super::Counters;
use super::client_hello;
use super::reassembly::Reassembly;
use super::record::{self, Fragment, Record, Slice, content};

const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// A message of the client that travels in plaintext. Without a cookie exchange its number is fixed, which keeps
/// forged numbers from taking the place of true messages in the implementation's queue.
struct Expected {
    kind: u8,
    number: u16,
    len: std::ops::RangeInclusive<usize>,
}

const EXPECTED: [Expected; 4] = [
    Expected {
        kind: CLIENT_HELLO,
        number: 0,
        len: client_hello::BODY_LEN,
    },
    Expected {
        kind: CERTIFICATE,
        number: 1,
        len: 3..=super::MAX_CERTIFICATE_MESSAGE,
    },
    Expected {
        kind: CLIENT_KEY_EXCHANGE,
        number: 2,
        len: 1..=512,
    },
    Expected {
        kind: CERTIFICATE_VERIFY,
        number: 3,
        len: 4..=1_024,
    },
];

/// ChangeCipherSpec records handed on per handshake; the implementation's queue holds 30 of anything.
const MAX_CHANGE_CIPHER_SPEC: u8 = 16;

/// The filter in front of one association.
#[derive(Debug, Default)]
pub(in crate::media::transport) struct Admission {
    /// Of the ClientHello that was handed on.
    hello: Option<client_hello::Random>,
    /// How many of `EXPECTED` have been handed on at least once.
    passed: usize,
    cipher_changes: u8,
    established: bool,
    reassembly: Reassembly,
}

impl Admission {
    /// Appends to `out` what may be handed on of `datagram`, as one datagram; nothing if that is nothing (yet).
    /// Returns whether anything of it was of use.
    pub(in crate::media::transport) fn admit(
        &mut self,
        datagram: &[u8],
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) -> bool {
        counters.datagrams_in += 1;
        if datagram.len() > super::MAX_DATAGRAM {
            counters.malformed_records += 1;
            return false;
        }
        let mut kept = false;
        for slice in record::slices(datagram) {
            match slice {
                Slice::Record(record) if record.epoch == 0 => {
                    kept |= self.admit_plaintext(&record, out, counters);
                }
                Slice::Record(record) => self.admit_ciphertext(&record, out, counters),
                Slice::Unified => counters.unified_records += 1,
                Slice::Malformed => counters.malformed_records += 1,
            }
        }
        kept || !out.is_empty()
    }

    /// The handshake is done: plaintext has nothing more to say, except that the client may repeat its last flight.
    pub(in crate::media::transport) fn establish(&mut self) {
        self.established = true;
        self.reassembly.clear();
    }

    /// Whether a ClientHello, or a part of one, has arrived.
    pub(in crate::media::transport) fn has_begun(&self) -> bool {
        self.hello.is_some() || self.reassembly.held_bytes() > 0
    }

    /// Bytes of heap in use.
    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        self.reassembly.held_bytes()
    }

    /// Returns whether a part of a message was kept.
    fn admit_plaintext(
        &mut self,
        record: &Record<'_>,
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) -> bool {
        let mut kept = false;
        match record.content {
            content::HANDSHAKE => {
                for fragment in record::fragments(record.fragment) {
                    match fragment {
                        Some(fragment) => {
                            kept |= self.admit_fragment(fragment, record, out, counters);
                        }
                        None => counters.malformed_records += 1,
                    }
                }
            }
            content::CHANGE_CIPHER_SPEC
                if !self.established
                    && record.fragment == [1]
                    && self.passed == EXPECTED.len()
                    && self.cipher_changes < MAX_CHANGE_CIPHER_SPEC =>
            {
                self.cipher_changes += 1;
                out.extend(record.bytes);
            }
            content::ALERT => counters.plaintext_alerts += 1,
            _ => counters.unexpected_records += 1,
        }
        kept
    }

    fn admit_ciphertext(
        &mut self,
        record: &Record<'_>,
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) {
        // Application data has no taker: media is SRTP.
        let is_wanted = [content::ALERT, content::HANDSHAKE].contains(&record.content);
        if record.epoch == 1 && self.cipher_changes > 0 && is_wanted {
            out.extend(record.bytes);
        } else {
            counters.unexpected_records += 1;
        }
    }

    /// Returns whether it was kept.
    fn admit_fragment(
        &mut self,
        fragment: Fragment<'_>,
        record: &Record<'_>,
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) -> bool {
        let is_hello = fragment.kind == CLIENT_HELLO;
        if is_hello && self.established {
            counters.late_client_hellos += 1;
            return false;
        }
        let expected = EXPECTED.iter().position(|expected| {
            (expected.kind, expected.number) == (fragment.kind, fragment.number)
                && expected.len.contains(&fragment.total)
        });
        // Before the ClientHello nothing else is listened to. Afterwards the key exchange alone is let through: a
        // repeated one makes the implementation send our last flight again.
        let Some(expected) = expected.filter(|expected| {
            !fragment.body.is_empty()
                && (*expected == 0 || self.passed > 0)
                && (!self.established || fragment.kind == CLIENT_KEY_EXCHANGE)
        }) else {
            counters.unexpected_records += 1;
            return false;
        };
        if is_hello && !fragment.is_whole() {
            counters.client_hello_fragments += 1;
        }
        let keep = !fragment.is_whole() || expected > self.passed;
        if keep {
            self.reassembly.add(fragment);
        } else {
            self.hand_on(expected, fragment.body, record.sequence, out, counters);
        }
        self.hand_on_complete(expected, record.sequence, out, counters);
        keep
    }

    /// Hands on the message `index` and those that have waited for it.
    fn hand_on_complete(
        &mut self,
        mut index: usize,
        sequence: [u8; 6],
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) {
        while let Some(expected) = EXPECTED.get(index).filter(|_| index <= self.passed) {
            let whole = self.reassembly.take(expected.kind, expected.number);
            match whole {
                Some(body) => self.hand_on(index, &body, sequence, out, counters),
                None if index == self.passed => return,
                None => {}
            }
            index += 1;
        }
    }

    fn hand_on(
        &mut self,
        index: usize,
        body: &[u8],
        sequence: [u8; 6],
        out: &mut Vec<u8>,
        counters: &mut Counters,
    ) {
        let Some(expected) = EXPECTED.get(index) else {
            return;
        };
        if expected.kind == CLIENT_HELLO && !self.accept_hello(body, counters) {
            return;
        }
        record::write_handshake(out, expected.kind, expected.number, sequence, body);
        self.passed = self.passed.max(index + 1);
    }

    fn accept_hello(&mut self, body: &[u8], counters: &mut Counters) -> bool {
        let Some((random, offer)) = client_hello::parse(body) else {
            counters.malformed_records += 1;
            return false;
        };
        match self.hello {
            None => {
                self.hello = Some(random);
                counters.offer = Some(offer);
                // Whatever else was in pieces was a forgery or another cut of the same message.
                self.reassembly.clear();
                true
            }
            Some(first) if first == random => {
                counters.client_hello_repeats += 1;
                true
            }
            Some(_) => {
                counters.foreign_client_hellos += 1;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::client_hello::sample;
    use super::*;
    use crate::units::Random;

    const SEQUENCE: [u8; 6] = [0, 0, 0, 0, 0, 9];

    fn record(content: u8, epoch: u16, fragment: &[u8]) -> Vec<u8> {
        let mut record = vec![content, 0xfe, 0xfd];
        record.extend(epoch.to_be_bytes());
        record.extend(SEQUENCE);
        record.extend((fragment.len() as u16).to_be_bytes());
        record.extend(fragment);
        record
    }

    /// A record with `body[offset..][..len]` of a message that claims `total` bytes.
    fn piece(kind: u8, number: u16, total: usize, offset: usize, part: &[u8]) -> Vec<u8> {
        let number24 = |value: usize| (value as u32).to_be_bytes()[1..].to_vec();
        let mut message = vec![kind];
        message.extend(number24(total));
        message.extend(number.to_be_bytes());
        message.extend(number24(offset));
        message.extend(number24(part.len()));
        message.extend(part);
        record(content::HANDSHAKE, 0, &message)
    }

    fn whole(kind: u8, number: u16, body: &[u8]) -> Vec<u8> {
        piece(kind, number, body.len(), 0, body)
    }

    struct Stage {
        admission: Admission,
        counters: Counters,
    }

    impl Stage {
        fn new() -> Self {
            Self {
                admission: Admission::default(),
                counters: Counters::default(),
            }
        }

        fn after_hello() -> Self {
            let mut stage = Self::new();
            assert!(!stage.admit(&whole(1, 0, &sample([1; 32], 100))).is_empty());
            stage
        }

        fn established() -> Self {
            let mut stage = Self::after_hello();
            assert!(!stage.admit(&client_flight()).is_empty());
            stage.admission.establish();
            stage
        }

        fn admit(&mut self, datagram: &[u8]) -> Vec<u8> {
            let mut out = Vec::new();
            self.admission.admit(datagram, &mut out, &mut self.counters);
            out
        }
    }

    const CERTIFICATE_BODY: [u8; 300] = [11; 300];
    const KEY_EXCHANGE_BODY: [u8; 33] = [16; 33];
    const VERIFY_BODY: [u8; 75] = [15; 75];

    fn finished() -> Vec<u8> {
        record(content::HANDSHAKE, 1, &[0xcc; 48])
    }

    fn client_flight() -> Vec<u8> {
        [
            whole(11, 1, &CERTIFICATE_BODY),
            whole(16, 2, &KEY_EXCHANGE_BODY),
            whole(15, 3, &VERIFY_BODY),
            record(content::CHANGE_CIPHER_SPEC, 0, &[1]),
            finished(),
        ]
        .concat()
    }

    #[test]
    fn an_honest_client_passes_unchanged() {
        let mut stage = Stage::new();
        let hello = whole(1, 0, &sample([1; 32], 1_216));
        assert_eq!(stage.admit(&hello), hello);
        assert_eq!(stage.admit(&hello), hello, "the repetition asks for ours");
        assert_eq!(stage.admit(&client_flight()), client_flight());
        assert_eq!(stage.counters.client_hello_repeats, 1);
        assert_eq!(stage.counters.unexpected_records, 0);
        assert!(stage.counters.offer.is_some());
    }

    #[test]
    fn a_flight_in_pieces_and_out_of_order_leaves_whole_and_in_order() {
        let mut stage = Stage::after_hello();
        assert!(stage.admit(&whole(15, 3, &VERIFY_BODY)).is_empty());
        assert!(
            stage
                .admit(&piece(11, 1, 300, 150, &CERTIFICATE_BODY[150..]))
                .is_empty()
        );
        assert!(stage.admit(&whole(16, 2, &KEY_EXCHANGE_BODY)).is_empty());
        let out = stage.admit(&piece(11, 1, 300, 0, &CERTIFICATE_BODY[..150]));
        let expected = [
            whole(11, 1, &CERTIFICATE_BODY),
            whole(16, 2, &KEY_EXCHANGE_BODY),
            whole(15, 3, &VERIFY_BODY),
        ]
        .concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn changed_cut_points_do_no_harm() {
        let body = sample([1; 32], 1_330);
        let mut stage = Stage::new();
        // Firefox: the second datagram of three attempts is lost, then it cuts elsewhere and the first is lost.
        for _ in 0..3 {
            assert!(
                stage
                    .admit(&piece(1, 0, body.len(), 0, &body[..1_383]))
                    .is_empty()
            );
        }
        let out = stage.admit(&piece(1, 0, body.len(), 1_163, &body[1_163..]));
        assert_eq!(out, whole(1, 0, &body));
        assert_eq!(stage.counters.client_hello_fragments, 4);
    }

    #[test]
    fn nothing_precedes_the_client_hello() {
        let mut stage = Stage::new();
        for datagram in [
            client_flight(),
            finished(),
            whole(0, 0, &[]),
            whole(20, 0, &[1; 12]),
        ] {
            assert!(stage.admit(&datagram).is_empty());
        }
        assert!(!stage.admission.has_begun());
        assert_eq!(stage.admission.held_bytes(), 0);
    }

    #[test]
    fn ciphertext_waits_for_the_change_cipher_spec_and_that_for_the_flight() {
        let mut stage = Stage::after_hello();
        let change = record(content::CHANGE_CIPHER_SPEC, 0, &[1]);
        assert!(
            stage
                .admit(&[change.clone(), finished()].concat())
                .is_empty()
        );
        let messages = [
            whole(11, 1, &CERTIFICATE_BODY),
            whole(16, 2, &KEY_EXCHANGE_BODY),
            whole(15, 3, &VERIFY_BODY),
        ]
        .concat();
        assert_eq!(stage.admit(&messages), messages);
        assert!(stage.admit(&finished()).is_empty());
        assert!(
            stage
                .admit(&record(content::CHANGE_CIPHER_SPEC, 0, &[2]))
                .is_empty()
        );
        let last = [change, finished()].concat();
        assert_eq!(stage.admit(&last), last);
    }

    #[test]
    fn a_flood_of_change_cipher_specs_is_cut_off() {
        let mut stage = Stage::after_hello();
        stage.admit(&client_flight());
        let change = record(content::CHANGE_CIPHER_SPEC, 0, &[1]);
        let passed = (0..1_000)
            .filter(|_| !stage.admit(&change).is_empty())
            .count();
        assert!(passed < usize::from(MAX_CHANGE_CIPHER_SPEC), "{passed}");
    }

    #[test]
    fn established_only_the_repeated_key_exchange_and_ciphertext_pass() {
        let mut stage = Stage::established();
        let again = [whole(16, 2, &KEY_EXCHANGE_BODY), finished()].concat();
        assert_eq!(stage.admit(&client_flight()), again);
        for hello in [sample([1; 32], 100), sample([2; 32], 100)] {
            assert!(stage.admit(&whole(1, 0, &hello)).is_empty());
        }
        assert_eq!(stage.counters.late_client_hellos, 2);
        let notify = record(content::ALERT, 1, &[0; 26]);
        assert_eq!(stage.admit(&notify), notify);
        assert!(stage.admit(&record(content::ALERT, 0, &[1, 0])).is_empty());
        assert!(stage.admit(&record(content::ALERT, 2, &[0; 26])).is_empty());
        assert!(stage.admit(&record(23, 1, &[0; 40])).is_empty());
    }

    #[test]
    fn another_client_hello_does_not_replace_the_first() {
        let mut stage = Stage::after_hello();
        assert!(stage.admit(&whole(1, 0, &sample([2; 32], 100))).is_empty());
        assert_eq!(stage.counters.foreign_client_hellos, 1);
        assert_eq!(stage.admit(&client_flight()), client_flight());
    }

    #[test]
    fn a_message_the_implementation_may_have_refused_passes_again() {
        let mut stage = Stage::after_hello();
        let forged = whole(11, 1, &[0; 20]);
        assert_eq!(stage.admit(&forged), forged);
        assert_eq!(stage.admit(&client_flight()), client_flight());
    }

    #[test]
    fn alerts_short_headers_and_broken_records_are_counted_and_dropped() {
        let mut stage = Stage::new();
        for alert in [[1, 0], [2, 40], [2, 0]] {
            assert!(stage.admit(&record(content::ALERT, 0, &alert)).is_empty());
        }
        assert!(stage.admit(&[0x2f; 40]).is_empty());
        assert!(stage.admit(&[22; 40]).is_empty());
        assert!(stage.admit(&record(23, 0, b"x")).is_empty());
        let absurd = piece(1, 0, 0xff_ffff, 0, &[0; 100]);
        assert!(stage.admit(&absurd).is_empty());
        assert!(stage.admit(&whole(1, 0, &[1; 5_000])).is_empty());
        let outside = piece(1, 0, 100, 90, &[0; 20]);
        assert!(stage.admit(&outside).is_empty());
        let counters = &stage.counters;
        assert_eq!(counters.plaintext_alerts, 3);
        assert_eq!(counters.unified_records, 1);
        assert_eq!(counters.malformed_records, 3);
        assert_eq!(counters.unexpected_records, 2);
        assert_eq!(counters.datagrams_in, 9);
    }

    #[test]
    fn no_flood_makes_it_hold_more_than_20_kib() {
        let mut random = Random::seeded(5);
        for stage in [Stage::new(), Stage::after_hello()] {
            let mut stage = stage;
            for _ in 0..20_000 {
                let expected = &EXPECTED[random.u32() as usize % EXPECTED.len()];
                let span = expected.len.end() - expected.len.start();
                let total = expected.len.start() + 1 + random.u32() as usize % span;
                let offset = random.u32() as usize % total;
                stage.admit(&piece(expected.kind, expected.number, total, offset, &[0]));
                assert!(stage.admission.held_bytes() <= 20 * 1_024);
            }
        }
    }

    #[derive(Debug, Clone)]
    enum Noise {
        Bytes(Vec<u8>),
        Alert(u8, u8),
        /// A fragment of another length, so of another message, than the true one.
        Forged(usize, usize, u8),
    }

    fn noise() -> impl Strategy<Value = Noise> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60).prop_map(Noise::Bytes),
            (any::<u8>(), any::<u8>())
                .prop_map(|(level, description)| Noise::Alert(level, description)),
            (1usize..0xff_ffff, any::<prop::sample::Index>(), any::<u8>())
                .prop_map(|(total, at, fill)| Noise::Forged(total, at.index(total), fill)),
        ]
    }

    fn datagram_of(noise: &Noise, true_len: usize) -> Vec<u8> {
        match noise {
            Noise::Bytes(bytes) => bytes.clone(),
            Noise::Alert(level, description) => record(content::ALERT, 0, &[*level, *description]),
            Noise::Forged(total, at, fill) => {
                let total = if *total == true_len {
                    total + 1
                } else {
                    *total
                };
                let len = (total - at).min(1_000);
                piece(1, 0, total, *at, &vec![*fill; len])
            }
        }
    }

    proptest! {
        #[test]
        fn the_client_hello_comes_out_whole_whatever_order_overlap_and_forgeries(
            filler in 0usize..1_400,
            size in 30usize..1_200,
            extra in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..900), 0..6),
            noise in proptest::collection::vec((any::<prop::sample::Index>(), noise()), 0..3),
            seed in any::<u64>(),
        ) {
            let body = sample([7; 32], filler);
            let mut pieces: Vec<(usize, usize)> = (0..body.len())
                .step_by(size)
                .map(|at| (at, size.min(body.len() - at)))
                .collect();
            pieces.extend(extra.iter().map(|(at, len)| {
                let at = at.index(body.len());
                (at, (*len).min(body.len() - at))
            }));
            let mut random = Random::seeded(seed);
            for i in (1..pieces.len()).rev() {
                pieces.swap(i, random.u64() as usize % (i + 1));
            }
            let mut datagrams: Vec<Vec<u8>> = pieces
                .iter()
                .map(|(at, len)| piece(1, 0, body.len(), *at, &body[*at..at + len]))
                .collect();
            for (at, noise) in &noise {
                let at = at.index(datagrams.len() + 1);
                datagrams.insert(at, datagram_of(noise, body.len()));
            }
            let mut stage = Stage::new();
            let out: Vec<u8> = datagrams.iter().flat_map(|datagram| stage.admit(datagram)).collect();
            let hello = whole(1, 0, &body);
            // Later pieces may make it come out again, which is a repetition.
            prop_assert!(!out.is_empty());
            prop_assert_eq!(out.len() % hello.len(), 0);
            for copy in out.chunks(hello.len()) {
                prop_assert_eq!(copy, &hello[..]);
            }
        }

        #[test]
        fn whatever_arrives_only_whole_expected_messages_leave(
            datagrams in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..80),
                    (0u8..25, 0u16..5, 0usize..200, any::<u8>()).prop_map(|(kind, number, len, fill)| {
                        whole(kind, number, &vec![fill; len])
                    }),
                    (0u8..26, 0u16..3, 0usize..60).prop_map(|(content, epoch, len)| {
                        record(content, epoch, &vec![1; len])
                    }),
                    Just(client_flight()),
                    Just(whole(1, 0, &sample([1; 32], 10))),
                ],
                0..40,
            ),
        ) {
            let mut stage = Stage::new();
            for datagram in &datagrams {
                let out = stage.admit(datagram);
                for slice in record::slices(&out) {
                    let Slice::Record(record) = slice else {
                        panic!("{slice:?}");
                    };
                    match (record.epoch, record.content) {
                        (0, content::HANDSHAKE) => {
                            let fragments: Vec<_> = record::fragments(record.fragment).collect();
                            let [Some(fragment)] = fragments[..] else {
                                panic!("{fragments:?}");
                            };
                            prop_assert!(fragment.is_whole());
                            let is_expected = EXPECTED.iter().any(|expected| {
                                (expected.kind, expected.number) == (fragment.kind, fragment.number)
                            });
                            prop_assert!(is_expected);
                        }
                        (0, content::CHANGE_CIPHER_SPEC) => prop_assert_eq!(record.fragment, &[1][..]),
                        (epoch, _) => prop_assert_eq!(epoch, 1),
                    }
                }
            }
        }
    }
}
