//! Forwarding in memory, through the real path: SRTP opened once, router, rewriting, copy, SRTP sealed per consumer.
//!
//! `scripts/bench forwarding` prints CPU time and heap allocations per outgoing packet, as a table and as one JSON
//! line. `cargo bench --bench forwarding -- PROFILE CONSUMERS` runs one case, for a profiler.
#![expect(
    unsafe_code,
    reason = "counting heap allocations takes a global allocator"
)]
#![expect(
    clippy::print_stdout,
    reason = "a bench tells its result on standard output"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hanok::media::sdp::{
    Candidate, CodecPolicy, Fingerprint, IceCredentials, LocalTransport, answer_publisher,
    offer_subscriber,
};
use hanok::media::sfu::{Output, Router, Sink, TransportKey};
use hanok::media::transport::srtp::{
    MAX_OVERHEAD, Profile, Receiver, Sender, client_halves, server_halves,
};
use hanok::units::{Random, clock};
use rustix::time::{ClockId, clock_gettime};

const PROFILES: [(&str, Profile); 3] = [
    ("AEAD_AES_256_GCM", Profile::AeadAes256Gcm),
    ("AEAD_AES_128_GCM", Profile::AeadAes128Gcm),
    ("AES128_CM_SHA1_80", Profile::Aes128CmSha1_80),
];
const CONSUMERS: [usize; 3] = [1, 10, 100];
const ROUNDS: usize = 9;
/// Outgoing packets that one round is about, so that it takes some tens of milliseconds.
const PACKETS_PER_ROUND: usize = 60_000;

/// Packets of one video frame, which arrive together: 1.5 Mbit/s at 30 frames per second.
const PACKETS_PER_FRAME: usize = 5;
const FRAME_INTERVAL: Duration = Duration::from_millis(33);
/// Bytes of an incoming RTP packet without SRTP's tag.
const PACKET_LEN: usize = 1_200;

const PUBLISHER: TransportKey = TransportKey(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let cases = PROFILES
        .into_iter()
        .flat_map(|profile| CONSUMERS.map(|consumers| (profile, consumers)))
        .filter(|((name, _), consumers)| {
            arguments.first().is_none_or(|wanted| name.contains(wanted))
                && arguments
                    .get(1)
                    .is_none_or(|wanted| *wanted == consumers.to_string())
        });
    println!(
        "{:<18} {:>9} {:>10} {:>12} {:>12} {:>15}",
        "profile", "consumers", "ns/packet", "spread", "allocations", "of reports, /s"
    );
    let mut lines = Vec::new();
    for ((name, profile), consumers) in cases {
        let measured = measure(profile, consumers);
        println!(
            "{name:<18} {consumers:>9} {:>10.1} {:>12} {:>12.6} {:>15.1}",
            measured.median,
            format!("{:.0}-{:.0}", measured.fastest, measured.slowest),
            measured.allocations,
            measured.report_allocations
        );
        lines.push(format!(
            r#"{{"profile":"{name}","consumers":{consumers},"ns_per_packet":{:.1},"allocations_per_packet":{:.6},"report_allocations_per_second":{:.1}}}"#,
            measured.median, measured.allocations, measured.report_allocations
        ));
    }
    println!(
        r#"{{"bench":"forwarding","packet_bytes":{PACKET_LEN},"rounds":{ROUNDS},"cases":[{}]}}"#,
        lines.join(",")
    );
}

struct Measured {
    /// Nanoseconds of CPU time per outgoing packet, reports included.
    median: f64,
    fastest: f64,
    slowest: f64,
    /// Heap allocations per outgoing packet, over all rounds.
    allocations: f64,
    /// Heap allocations of the reports and requests to the publisher, per second of the stream.
    report_allocations: f64,
}

fn measure(profile: Profile, consumers: usize) -> Measured {
    let mut room = Room::new(profile, consumers);
    let packets = PACKETS_PER_ROUND / consumers;
    // The first round fills rings, tables and caches.
    room.run(packets);
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| room.run(packets)).collect();
    let sent: u64 = rounds.iter().map(|round| round.sent).sum();
    assert_eq!(
        sent,
        (ROUNDS * packets * consumers) as u64,
        "every packet reaches every consumer"
    );
    let mut times: Vec<f64> = rounds
        .iter()
        .map(|round| round.cpu.as_nanos() as f64 / round.sent as f64)
        .collect();
    times.sort_by(f64::total_cmp);
    let allocations: u64 = rounds.iter().map(|round| round.allocations).sum();
    let report_allocations: u64 = rounds.iter().map(|round| round.report_allocations).sum();
    let seconds = FRAME_INTERVAL.as_secs_f64() * (ROUNDS * packets / PACKETS_PER_FRAME) as f64;
    Measured {
        median: times[times.len() / 2],
        fastest: times[0],
        slowest: times[times.len() - 1],
        allocations: allocations as f64 / sent as f64,
        report_allocations: report_allocations as f64 / seconds,
    }
}

#[derive(Default)]
struct Round {
    cpu: Duration,
    allocations: u64,
    report_allocations: u64,
    sent: u64,
}

/// One publisher with audio and video, of which video flows, and its subscribers.
struct Room {
    now: Instant,
    browser: Sender,
    receiver: Receiver,
    router: Router,
    egress: Egress,
    sequence_number: u16,
    frame: u32,
}

impl Room {
    fn new(profile: Profile, consumers: usize) -> Self {
        let now = clock::now();
        let mut random = Random::seeded(1);
        let offer = include_str!("../fuzz/corpus/sdp_answer_publisher/audio_and_video");
        let published = answer_publisher(offer, &CodecPolicy::default(), &local_transport())
            .expect("the seed is an offer of a browser");
        let mut router = Router::new(now, Random::seeded(2));
        router.add_publisher(now, PUBLISHER, &published.tracks, None);
        for consumer in 1..=consumers {
            let key = TransportKey(consumer as u32);
            let offered = offer_subscriber(
                &published.tracks,
                "cname",
                0,
                &mut random,
                &local_transport(),
            );
            router.add_subscriber(now, key, PUBLISHER, &offered.tracks);
            router.connected(now, key);
        }
        let material = keying_material(profile, &mut random);
        let (browser, _) = client_halves(profile, &material).expect("the length fits");
        let (publisher_sender, receiver) =
            server_halves(profile, &material).expect("the length fits");
        let subscriber_senders = (0..consumers).map(|_| {
            let material = keying_material(profile, &mut random);
            let (sender, _) = server_halves(profile, &material).expect("the length fits");
            sender
        });
        Self {
            now,
            browser,
            receiver,
            router,
            egress: Egress {
                senders: std::iter::once(publisher_sender)
                    .chain(subscriber_senders)
                    .collect(),
                arena: vec![0; PACKETS_PER_FRAME * consumers * 1_600],
                used: 0,
                sent: 0,
            },
            sequence_number: 0,
            frame: 0,
        }
    }

    /// Forwards `packets` packets to every consumer; the browser's part is not measured.
    fn run(&mut self, packets: usize) -> Round {
        let mut frames: Vec<Vec<Vec<u8>>> = (0..packets / PACKETS_PER_FRAME)
            .map(|_| self.frame())
            .collect();
        let mut round = Round::default();
        let sent_before = self.egress.sent;
        let cpu_before = cpu_time();
        for frame in &mut frames {
            let before = allocations();
            self.forward(frame);
            let between = allocations();
            self.report();
            round.allocations += between - before;
            round.report_allocations += allocations() - between;
        }
        round.cpu = cpu_time() - cpu_before;
        round.sent = self.egress.sent - sent_before;
        round
    }

    /// What a worker does with a batch from one transport.
    fn forward(&mut self, frame: &mut [Vec<u8>]) {
        self.now += FRAME_INTERVAL;
        let mut opened: [&[u8]; PACKETS_PER_FRAME] = [&[]; PACKETS_PER_FRAME];
        for (packet, opened) in frame.iter_mut().zip(&mut opened) {
            let len = self
                .receiver
                .unprotect_rtp(packet)
                .expect("the browser sealed it");
            *opened = &packet[..len];
        }
        self.router
            .handle_rtp(self.now, PUBLISHER, &opened, &mut self.egress);
        // The worker has handed the batch to the kernel.
        self.egress.used = 0;
    }

    /// What a worker does once time has passed.
    fn report(&mut self) {
        self.router.handle_timeout(self.now);
        while let Some(output) = self.router.poll_output() {
            if let Output::Rtcp { to, packet } = output {
                self.egress.send_rtcp(to, packet);
            }
        }
    }

    /// A VP8 frame as Chromium sends it: mid, abs-send-time and transport-wide number in its extension.
    fn frame(&mut self) -> Vec<Vec<u8>> {
        self.frame += 1;
        (0..PACKETS_PER_FRAME)
            .map(|index| {
                self.sequence_number = self.sequence_number.wrapping_add(1);
                let is_last = index + 1 == PACKETS_PER_FRAME;
                let mut packet = vec![0x90, u8::from(is_last) << 7 | 96];
                packet.extend(self.sequence_number.to_be_bytes());
                packet.extend((self.frame * 2_970).to_be_bytes());
                packet.extend(2_001_u32.to_be_bytes());
                packet.extend([0xbe, 0xde, 0, 3, 0x41, b'1', 0x22, 1, 2, 3, 0x31]);
                packet.extend(self.sequence_number.to_be_bytes());
                packet.extend([0, 0, 0]);
                // The descriptor (RFC 7741 section 4.2); only the very first frame is a key frame.
                let starts = u8::from(index == 0) << 4;
                packet.extend([0x80 | starts, 0x80, 0x80 | (self.frame >> 8) as u8 & 0x7f]);
                packet.extend([self.frame as u8, u8::from(self.frame > 1)]);
                packet.resize(PACKET_LEN, 0x5a);
                packet.resize(PACKET_LEN + MAX_OVERHEAD, 0);
                let len = self
                    .browser
                    .protect_rtp(&mut packet, PACKET_LEN)
                    .expect("an RTP packet");
                packet.truncate(len);
                packet
            })
            .collect()
    }
}

/// Seals into one arena, as a worker does before it hands a batch to the kernel.
struct Egress {
    /// By transport key.
    senders: Vec<Sender>,
    arena: Vec<u8>,
    used: usize,
    sent: u64,
}

impl Egress {
    fn send_rtcp(&mut self, to: TransportKey, packet: &[u8]) {
        let mut buffer = [0; 1_500];
        buffer[..packet.len()].copy_from_slice(packet);
        self.senders[to.0 as usize]
            .protect_rtcp(&mut buffer, packet.len())
            .expect("a compound packet");
    }
}

impl Sink for Egress {
    fn send_rtp(
        &mut self,
        to: TransportKey,
        max_len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        let room = &mut self.arena[self.used..][..max_len + MAX_OVERHEAD];
        let len = write(&mut room[..max_len]);
        let sealed = self.senders[to.0 as usize]
            .protect_rtp(room, len)
            .expect("an RTP packet");
        self.used += sealed;
        self.sent += 1;
        true
    }
}

fn keying_material(profile: Profile, random: &mut Random) -> Vec<u8> {
    let mut material = vec![0; profile.keying_material_len()];
    random.fill(&mut material);
    material
}

fn local_transport() -> LocalTransport {
    LocalTransport {
        ice: IceCredentials {
            ufrag: "ours".into(),
            pwd: "0123456789abcdefghijkl".into(),
        },
        fingerprint: Fingerprint {
            hash: "sha-256".into(),
            digest: vec![0xab; 32],
        },
        candidates: Arc::new([Candidate {
            addr: SocketAddr::from(([192, 0, 2, 1], 40_000)),
            tcp: false,
            rank: 0,
        }]),
    }
}

fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// CPU time of this thread: other processes do not disturb it much.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
