//! What a new peer costs a worker: transport, check and DTLS handshake with a browser-like client, in memory.
//!
//! `scripts/bench handshakes` prints the server's CPU time per peer, by flight, beside that of the cryptographic
//! operations in it, as a table and as one JSON line.
#![expect(
    clippy::print_stdout,
    reason = "a bench tells its result on standard output"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{agreement, signature};
use dimpl::{Config, Dtls, DtlsCertificate, Output as DtlsOutput};
use hanok::media::sdp::{Fingerprint, IceCredentials, RemoteTransport};
use hanok::media::stun::{AttributeType, Class, IntegrityKey, Method, TransactionId, Writer};
use hanok::media::transport::{Identity, Input, Link, Output, Path, Transport};
use hanok::units::clock;
use rustix::time::{ClockId, clock_gettime};

const PEERS_PER_ROUND: usize = 400;
const ROUNDS: usize = 9;
/// Repetitions of one cryptographic operation.
const OPERATIONS: u32 = 2_000;

const PWD: &str = "serverpasswordserverpass";

/// What the server does, in this order.
const STEPS: [&str; 5] = [
    "transport",
    "check",
    "ClientHello",
    "certificate flight",
    "end",
];

fn main() {
    let identity = Arc::new(Identity::generate().expect("keys can be made"));
    let certificate = Certificate::generate();
    measure(&identity, &certificate);
    let mut rounds: Vec<[Duration; STEPS.len()]> = (0..ROUNDS)
        .map(|_| measure(&identity, &certificate))
        .collect();
    rounds.sort_by_key(|steps| steps.iter().sum::<Duration>());
    let median = rounds[ROUNDS / 2];
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let total = micros(median.iter().sum());
    println!("{:<24} {:>10}", "step", "us/peer");
    let mut json = Vec::new();
    for (name, time) in STEPS.iter().zip(median) {
        println!("{name:<24} {:>10.1}", micros(time));
        json.push(format!(r#""{name}":{:.1}"#, micros(time)));
    }
    let [fastest, slowest] = [rounds[0], rounds[ROUNDS - 1]].map(|it| micros(it.iter().sum()));
    println!("{:<24} {total:>10.1} ({fastest:.0}-{slowest:.0})", "all");
    println!("{:<24} {:>10.0}", "peers/s and core", 1e6 / total);
    println!("\n{:<24} {:>10}", "operation", "us");
    let mut operations = Vec::new();
    for (name, time) in operations_in_a_handshake() {
        println!("{name:<24} {:>10.1}", micros(time));
        operations.push(format!(r#""{name}":{:.1}"#, micros(time)));
    }
    println!(
        r#"{{"bench":"handshakes","us_per_peer":{total:.1},"peers_per_second":{:.0},"steps":{{{}}},"operations":{{{}}}}}"#,
        1e6 / total,
        json.join(","),
        operations.join(",")
    );
}

/// The server's CPU time per peer, by step.
fn measure(identity: &Arc<Identity>, certificate: &Certificate) -> [Duration; STEPS.len()] {
    let mut total = [Duration::ZERO; STEPS.len()];
    for _ in 0..PEERS_PER_ROUND {
        for (total, time) in total.iter_mut().zip(handshake(identity, certificate)) {
            *total += time;
        }
    }
    total.map(|time| time / PEERS_PER_ROUND as u32)
}

struct Certificate {
    dtls: DtlsCertificate,
    fingerprint: Fingerprint,
}

impl Certificate {
    fn generate() -> Self {
        let key = rcgen::KeyPair::generate().expect("keys can be made");
        let certificate = rcgen::CertificateParams::new(Vec::new())
            .and_then(|params| params.self_signed(&key))
            .expect("nothing about it is unusual");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der());
        Self {
            fingerprint: Fingerprint {
                hash: "sha-256".to_owned(),
                digest: digest.as_ref().to_vec(),
            },
            dtls: DtlsCertificate {
                certificate: certificate.der().to_vec(),
                private_key: key.serialize_der(),
            },
        }
    }
}

/// A transport from its beginning to its end, and how long the server was busy with each step.
fn handshake(identity: &Arc<Identity>, certificate: &Certificate) -> [Duration; STEPS.len()] {
    let now = clock::now();
    let mut times = [Duration::ZERO; STEPS.len()];
    let path = Path {
        link: Link(0),
        local: None,
        remote: ([192, 0, 2, 1], 5_000).into(),
    };
    let remote = RemoteTransport {
        ice: credentials(),
        fingerprints: vec![certificate.fingerprint.clone()],
    };
    let mut transport = timed(&mut times[0], || {
        Transport::new(now, credentials(), Some(remote), identity)
    });
    let mut server = |packets: Vec<Vec<u8>>, time: &mut Duration| {
        let (mut answers, mut connected) = (Vec::new(), false);
        for mut packet in packets {
            timed(time, || {
                let input = transport.handle_input(now, path, &mut packet);
                assert_eq!(input, Input::Handled);
                while let Some(output) = transport.poll_output() {
                    match output {
                        Output::Transmit { datagram, .. } => answers.push(datagram),
                        Output::Connected { .. } => connected = true,
                        Output::Failed(reason) => panic!("{reason:?}"),
                        Output::WentQuiet | Output::HeardAgain => {}
                    }
                }
            });
        }
        (answers, connected)
    };
    server(vec![check()], &mut times[1]);
    let mut client = Client::new(now, certificate);
    let hello = client.advance(now, &[]);
    let (flight, _) = server(hello, &mut times[2]);
    let finished = client.advance(now, &flight);
    let (last, connected) = server(finished, &mut times[3]);
    assert!(connected && !last.is_empty());
    timed(&mut times[4], || transport.close(now));
    times
}

fn credentials() -> IceCredentials {
    IceCredentials {
        ufrag: "serv".to_owned(),
        pwd: PWD.to_owned(),
    }
}

fn check() -> Vec<u8> {
    let mut buffer = vec![0; 256];
    let id = TransactionId([7; 12]);
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, id);
    writer.attribute(AttributeType::USERNAME, b"serv:brow");
    writer.attribute(AttributeType::USE_CANDIDATE, &[]);
    writer.integrity(&IntegrityKey::short_term(PWD));
    writer.fingerprint();
    let len = writer.finish().expect("it fits");
    buffer.truncate(len);
    buffer
}

/// The browser's end; its time is not measured.
struct Client(Dtls);

impl Client {
    fn new(now: Instant, certificate: &Certificate) -> Self {
        let config = Config::builder().build().expect("the defaults are good");
        let mut dtls = Dtls::new_12(Arc::new(config), certificate.dtls.clone(), now);
        dtls.set_active(true);
        Self(dtls)
    }

    /// Takes the server's datagrams and returns the client's next ones.
    fn advance(&mut self, now: Instant, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        self.0.handle_timeout(now).expect("time is no error");
        self.drain(&mut out);
        for datagram in datagrams {
            self.0
                .handle_packet(datagram)
                .expect("the server is honest");
            self.drain(&mut out);
        }
        out
    }

    fn drain(&mut self, out: &mut Vec<Vec<u8>>) {
        let mut buffer = [0; 4_096];
        loop {
            match self.0.poll_output(&mut buffer) {
                DtlsOutput::Packet(packet) => out.push(packet.to_vec()),
                DtlsOutput::Timeout(_) => return,
                DtlsOutput::BufferTooSmall { .. } => panic!("a datagram fits"),
                DtlsOutput::Connected
                | DtlsOutput::PeerCert(_)
                | DtlsOutput::KeyingMaterial(..)
                | DtlsOutput::ApplicationData(_)
                | DtlsOutput::CloseNotify
                | _ => {}
            }
        }
    }
}

/// The costly operations of one handshake at the server: it makes a key share, agrees, signs it and verifies the
/// client's signature.
fn operations_in_a_handshake() -> Vec<(&'static str, Duration)> {
    let random = SystemRandom::new();
    let rules = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let document = signature::EcdsaKeyPair::generate_pkcs8(rules, &random).expect("keys");
    let pair = signature::EcdsaKeyPair::from_pkcs8(rules, document.as_ref()).expect("keys");
    let message = [7; 133];
    let signed = pair.sign(&random, &message).expect("it signs");
    let public = signature::KeyPair::public_key(&pair);
    let verifier =
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, public.as_ref());
    let mut operations = vec![
        (
            "ECDSA P-256 sign",
            repeated(|| {
                pair.sign(&random, &message).expect("it signs");
            }),
        ),
        (
            "ECDSA P-256 verify",
            repeated(|| verifier.verify(&message, signed.as_ref()).expect("valid")),
        ),
        (
            "key from PKCS #8",
            repeated(|| {
                drop(signature::EcdsaKeyPair::from_pkcs8(
                    rules,
                    document.as_ref(),
                ));
            }),
        ),
    ];
    for (name, curve) in [
        ("ECDHE X25519", &agreement::X25519),
        ("ECDHE P-256", &agreement::ECDH_P256),
    ] {
        let peer = agreement::PrivateKey::generate(curve).expect("keys");
        let peer = peer.compute_public_key().expect("keys");
        operations.push((
            name,
            repeated(|| {
                let ours = agreement::PrivateKey::generate(curve).expect("keys");
                ours.compute_public_key().expect("keys");
                let peer = agreement::UnparsedPublicKey::new(curve, peer.as_ref());
                agreement::agree(&ours, peer, (), |_| Ok(())).expect("they agree");
            }),
        ));
    }
    operations
}

fn repeated(mut operation: impl FnMut()) -> Duration {
    let mut time = Duration::ZERO;
    timed(&mut time, || (0..OPERATIONS).for_each(|_| operation()));
    time / OPERATIONS
}

fn timed<T>(time: &mut Duration, work: impl FnOnce() -> T) -> T {
    let before = cpu_time();
    let result = work();
    *time += cpu_time() - before;
    result
}

/// CPU time of this thread: other processes do not disturb it much.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
