//! A sender that starts anew, through the whole packet path: SRTP opened, router, SRTP sealed, opened by the subscriber.
//! Both sides roll over meanwhile (S16 of the reliability goals).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hanok::media::rtp::{Header, RtpPacket};
use hanok::media::sfu::{Router, TransportKey};
use hanok::media::transport::srtp::{
    MAX_OVERHEAD, Profile, Receiver, Sender, client_halves, server_halves,
};
use hanok::testing::sink::Recording;
use hanok::testing::t0;
use hanok::units::{
    Codec, ExtensionIds, Feedback, MediaKind, PayloadType, Random, SeqNo, Ssrc, Track,
};

const SUBSCRIBER: TransportKey = TransportKey(1);
const PAYLOAD_TYPE: u8 = 96;
const OUT: Ssrc = Ssrc(9);
const ROLL_OVERS: u32 = 3;

fn track(ssrc: Ssrc) -> Track {
    Track {
        kind: MediaKind::Video,
        mid: "0".into(),
        codec: Codec::Vp8,
        payload_type: PayloadType::new(PAYLOAD_TYPE).unwrap(),
        rtx_payload_type: None,
        fmtp: String::new(),
        extensions: ExtensionIds::default(),
        feedback: Feedback::default(),
        ssrc: Some(ssrc),
        rtx_ssrc: None,
    }
}

/// The two ends of one direction, with keys of their own.
fn association(profile: Profile, random: &mut Random) -> (Sender, Receiver) {
    let mut material = vec![0; profile.keying_material_len()];
    random.fill(&mut material);
    let (sender, _) = client_halves(profile, &material).unwrap();
    let (_, receiver) = server_halves(profile, &material).unwrap();
    (sender, receiver)
}

/// One publisher at a time, one subscriber.
struct Call {
    now: Instant,
    profile: Profile,
    random: Random,
    router: Router,
    sink: Recording,
    /// Seals what the router sends; what the network loses is sealed all the same.
    sender: Sender,
    subscriber: Receiver,
    publisher: TransportKey,
    browser: Sender,
    server: Receiver,
    ssrc: Ssrc,
    seq: SeqNo,
    /// The number of every packet that the subscriber opened, and how often the numbers have begun anew.
    received: BTreeMap<u64, u32>,
    newest: Option<u64>,
}

impl Call {
    fn new(profile: Profile, seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let (sender, subscriber) = association(profile, &mut random);
        let (browser, server) = association(profile, &mut random);
        let mut call = Self {
            now: t0(),
            profile,
            router: Router::new(t0(), Random::seeded(seed)),
            sink: Recording::default(),
            sender,
            subscriber,
            publisher: TransportKey(10),
            browser,
            server,
            ssrc: Ssrc(100),
            seq: SeqNo(65_000),
            received: BTreeMap::new(),
            newest: None,
            random,
        };
        call.router
            .add_publisher(t0(), call.publisher, &[track(call.ssrc)], None);
        call.router
            .add_subscriber(t0(), SUBSCRIBER, call.publisher, &[track(OUT)]);
        call.router.connected(t0(), SUBSCRIBER);
        call
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.random.u32() % limit
    }

    /// The publisher's browser restarts: another transport, other keys and, as chance has it, the same source and numbers.
    fn restart(&mut self) {
        let old = self.publisher;
        self.publisher = TransportKey(old.0 + 1);
        (self.browser, self.server) = association(self.profile, &mut self.random);
        if self.below(2) == 0 {
            self.ssrc = Ssrc(self.ssrc.0 + 1);
        }
        if self.below(2) == 0 {
            self.seq = SeqNo(self.random.u32() as u16);
        }
        let old = if self.below(2) == 0 {
            self.router.detach_publisher(old).unwrap()
        } else {
            old
        };
        let tracks = [track(self.ssrc)];
        self.router
            .add_publisher(self.now, self.publisher, &tracks, None);
        self.router.replace_publisher(self.now, old, self.publisher);
        self.publish(true);
    }

    fn publish(&mut self, is_key_frame: bool) {
        self.now += Duration::from_millis(10);
        // Gaps make the numbers run faster than the test.
        let gap = 1 + self.below(400) as u16;
        self.seq = self.seq.plus(gap);
        let mut packet = vec![0; 12];
        Header {
            marker: true,
            payload_type: PayloadType::new(PAYLOAD_TYPE).unwrap(),
            sequence_number: self.seq,
            timestamp: self.random.u32(),
            ssrc: self.ssrc,
        }
        .write(packet.first_chunk_mut().unwrap(), false);
        packet.extend([0x10, u8::from(!is_key_frame), 0, 0]);
        let len = packet.len();
        packet.resize(len + MAX_OVERHEAD, 0);
        let len = self.browser.protect_rtp(&mut packet, len).unwrap();
        let len = self.server.unprotect_rtp(&mut packet[..len]).unwrap();
        let run = [&packet[..len]];
        self.router
            .handle_rtp(self.now, self.publisher, &run, &mut self.sink);
        let expected = usize::from(!self.sink.refuses);
        assert_eq!(self.sink.sent.len(), expected, "every packet goes on");
        self.deliver();
    }

    fn deliver(&mut self) {
        for (to, mut datagram) in std::mem::take(&mut self.sink.sent) {
            assert_eq!(to, SUBSCRIBER);
            let len = datagram.len();
            datagram.resize(len + MAX_OVERHEAD, 0);
            let len = self.sender.protect_rtp(&mut datagram, len).unwrap();
            datagram.truncate(len);
            if self.below(10) == 0 {
                continue;
            }
            let len = self.subscriber.unprotect_rtp(&mut datagram);
            let len = len.unwrap_or_else(|error| panic!("after {:?}: {error:?}", self.newest));
            let seq = RtpPacket::parse(&datagram[..len])
                .unwrap()
                .header
                .sequence_number;
            let extended = self.newest.map_or(1 << 16 | u64::from(seq.0), |newest| {
                newest.saturating_add_signed(seq.distance_from(SeqNo(newest as u16)).into())
            });
            assert!(
                self.newest.is_none_or(|newest| extended > newest),
                "in order"
            );
            self.newest = Some(extended);
            *self.received.entry(extended).or_default() += 1;
        }
    }
}

#[test]
fn a_subscriber_opens_everything_however_often_the_publisher_restarts_around_the_roll_over() {
    for profile in [
        Profile::AeadAes256Gcm,
        Profile::AeadAes128Gcm,
        Profile::Aes128CmSha1_80,
    ] {
        for seed in 0..10 {
            let mut call = Call::new(profile, seed);
            call.publish(true);
            let mut restarts = 0;
            while call
                .newest
                .is_none_or(|newest| newest >> 16 <= u64::from(ROLL_OVERS))
            {
                // Most often where it is hardest.
                let near_the_end = call.newest.is_some_and(|newest| newest as u16 > 62_000);
                if call.below(if near_the_end { 4 } else { 60 }) == 0 {
                    call.restart();
                    restarts += 1;
                } else {
                    call.publish(false);
                }
            }
            assert!(restarts > 10, "{restarts}");
            assert!(call.received.values().all(|count| *count == 1));
        }
    }
}

#[test]
fn a_cycle_of_packets_that_could_not_be_sent_brings_no_nonce_back() {
    // Half a cycle, where a receiver would be lost; just short of a whole one, where numbers are taken for
    // retransmissions; beyond.
    for unsent in [
        1_000, 30_000, 33_000, 40_000, 64_000, 65_000, 65_530, 70_000,
    ] {
        for restarts in [false, true] {
            let mut call = Call::new(Profile::AeadAes128Gcm, unsent.into());
            call.publish(true);
            for _ in 0..20 {
                call.publish(false);
            }
            call.sink.refuses = true;
            let mut passed = 0;
            while passed < unsent {
                let before = call.seq;
                let is_key_frame = call.below(4) == 0;
                call.publish(is_key_frame);
                passed += u32::from(call.seq.0.wrapping_sub(before.0));
            }
            if restarts {
                call.ssrc = Ssrc(call.ssrc.0 + 1);
                call.publish(true);
            }
            call.sink.refuses = false;
            // The subscriber opens them, and each is newer than all before.
            call.publish(true);
            for _ in 0..20 {
                call.publish(false);
            }
            assert!(call.received.values().all(|count| *count == 1));
        }
    }
}
