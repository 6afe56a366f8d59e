//! A call over lossy paths: the router between a publisher and subscribers that behave as browsers do.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const ONE_WAY: Duration = Duration::from_millis(20);
const FRAME_INTERVAL: Duration = Duration::from_millis(33);
const PACKETS_PER_FRAME: u16 = 4;
const SUBSCRIBERS: u32 = 5;
/// How long a subscriber's jitter buffer waits for a packet.
const PATIENCE: Duration = Duration::from_millis(500);

/// What travels.
enum Travelling {
    /// RTP from the publisher to the router.
    Published(Vec<u8>),
    /// RTCP from a subscriber to the router.
    Feedback(TransportKey, Vec<u8>),
    /// RTCP from the router to the publisher.
    Request(Vec<u8>),
    /// RTP from the router to a subscriber.
    Forwarded(TransportKey, Vec<u8>),
}

/// Paths that delay everything by the same time and lose a share of it.
struct Network {
    random: Random,
    loss_percent: u32,
    travelling: BTreeMap<(Instant, u64), Travelling>,
    sent: u64,
}

impl Network {
    fn send(&mut self, now: Instant, what: Travelling) {
        self.sent += 1;
        if self.random.u32() % 100 >= self.loss_percent {
            self.travelling.insert((now + ONE_WAY, self.sent), what);
        }
    }

    fn take_arrived(&mut self, now: Instant) -> Option<Travelling> {
        let entry = self.travelling.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

/// Sends frames, answers NACK by RTX and PLI by a key frame.
#[derive(Default)]
struct Publisher {
    next: u16,
    next_rtx: u16,
    history: BTreeMap<u16, Rtp>,
    key_frame_wanted: bool,
    retransmitted: usize,
}

impl Publisher {
    fn frame(&mut self, number: u32) -> Vec<Rtp> {
        let is_key = number == 0 || std::mem::take(&mut self.key_frame_wanted);
        (0..PACKETS_PER_FRAME)
            .map(|part| {
                let mut packet = Rtp::frame(self.next);
                packet.header.timestamp = number * 3000;
                packet.header.marker = part == PACKETS_PER_FRAME - 1;
                packet.payload = vec![
                    if part == 0 { 0x10 } else { 0 },
                    u8::from(!is_key),
                    part as u8,
                ];
                packet.payload.extend(number.to_be_bytes());
                self.history.insert(self.next, packet.clone());
                self.next = self.next.wrapping_add(1);
                packet
            })
            .collect()
    }

    fn handle_rtcp(&mut self, datagram: &[u8]) -> Vec<Rtp> {
        let mut answers = Vec::new();
        for packet in Compound::new(datagram) {
            if let Packet::Nack { lost, .. } = packet {
                for seq in lost {
                    let original = self.history[&seq.0].clone();
                    answers.push(original.retransmitted(self.next_rtx));
                    self.next_rtx = self.next_rtx.wrapping_add(1);
                    self.retransmitted += 1;
                }
            } else if let Packet::PictureLossIndication { .. } = packet {
                self.key_frame_wanted = true;
            }
        }
        answers
    }
}

/// Asks again for what is missing, and counts the frames that are whole in time.
#[derive(Default)]
struct Subscriber {
    /// Sequence numbers since the first, unwrapped.
    first: Option<SeqNo>,
    highest: i64,
    missing: BTreeMap<i64, (Instant, Instant)>,
    parts: BTreeMap<u32, BTreeSet<u8>>,
}

impl Subscriber {
    fn handle_rtp(&mut self, now: Instant, begun: &BTreeMap<u32, Instant>, bytes: &[u8]) {
        let packet = Received::read(bytes);
        let (seq, payload) = if packet.header.ssrc == OUT_VIDEO_RTX {
            let seq = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
            (SeqNo(seq), &packet.payload[2..])
        } else {
            (packet.header.sequence_number, &packet.payload[..])
        };
        let first = *self.first.get_or_insert(seq);
        let expected = SeqNo((i64::from(first.0) + self.highest) as u16);
        let index = self.highest + i64::from(seq.distance_from(expected));
        for skipped in self.highest + 1..index {
            self.missing.insert(skipped, (now, now));
        }
        self.highest = self.highest.max(index);
        self.missing.remove(&index);
        let frame = u32::from_be_bytes(payload[3..7].try_into().unwrap());
        if now < begun[&frame] + PATIENCE {
            self.parts.entry(frame).or_default().insert(payload[2]);
        }
    }

    /// What to ask for now.
    fn rtcp(&mut self, now: Instant) -> Option<Vec<u8>> {
        let before = self.missing.len();
        self.missing.retain(|_, (since, _)| now < *since + PATIENCE);
        let gave_up = self.missing.len() < before;
        let first = self.first?;
        let lost: Vec<_> = self
            .missing
            .iter_mut()
            .filter(|(_, (_, at))| *at <= now)
            .map(|(index, (_, at))| {
                *at = now + ONE_WAY * 5 / 2;
                SeqNo((i64::from(first.0) + index) as u16)
            })
            .collect();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.nack(Ssrc(1), OUT_VIDEO, &lost);
        if gave_up {
            writer.picture_loss_indication(Ssrc(1), OUT_VIDEO);
        }
        (!out.is_empty()).then_some(out)
    }
}

#[test]
fn with_five_percent_loss_each_way_frames_arrive_whole_and_in_time() {
    let mut room = Room::published(&[video()]);
    let mut network = Network {
        random: Random::seeded(42),
        loss_percent: 5,
        travelling: BTreeMap::new(),
        sent: 0,
    };
    let mut publisher = Publisher::default();
    let mut subscribers: BTreeMap<_, _> = (0..SUBSCRIBERS)
        .map(|n| (TransportKey(10 + n), Subscriber::default()))
        .collect();
    for key in subscribers.keys() {
        room.subscribe(*key, &[video_out()]);
    }
    let mut begun = BTreeMap::new();
    let mut next_frame = room.now;

    let end = room.now + Duration::from_secs(60);
    while room.now < end {
        let now = room.now;
        if now >= next_frame {
            let number = begun.len() as u32;
            begun.insert(number, now);
            next_frame += FRAME_INTERVAL;
            for packet in publisher.frame(number) {
                network.send(now, Travelling::Published(packet.bytes()));
            }
        }
        while let Some(arrived) = network.take_arrived(now) {
            match arrived {
                Travelling::Published(bytes) => {
                    room.router
                        .handle_rtp(now, PUBLISHER, &[&bytes], &mut room.sink);
                }
                Travelling::Feedback(from, bytes) => {
                    room.router.handle_rtcp(now, from, &bytes, &mut room.sink);
                }
                Travelling::Request(bytes) => {
                    for answer in publisher.handle_rtcp(&bytes) {
                        network.send(now, Travelling::Published(answer.bytes()));
                    }
                }
                Travelling::Forwarded(to, bytes) => {
                    let subscriber = subscribers.get_mut(&to).unwrap();
                    subscriber.handle_rtp(now, &begun, &bytes);
                }
            }
            room.drain();
        }
        for (key, subscriber) in &mut subscribers {
            if let Some(bytes) = subscriber.rtcp(now) {
                network.send(now, Travelling::Feedback(*key, bytes));
            }
        }
        room.advance(ms(1));
        for (to, bytes) in room.rtcp.drain(..) {
            if to == PUBLISHER {
                network.send(now, Travelling::Request(bytes));
            }
        }
        for (to, bytes) in room.sink.sent.drain(..) {
            network.send(now, Travelling::Forwarded(to, bytes));
        }
    }

    // The last frames had no time to be completed, the first ones preceded the first key frame.
    let settled = 40..begun.len() as u32 - 40;
    for (key, subscriber) in &subscribers {
        let whole = settled
            .clone()
            .filter(|frame| {
                subscriber
                    .parts
                    .get(frame)
                    .is_some_and(|parts| parts.len() == usize::from(PACKETS_PER_FRAME))
            })
            .count();
        let share = whole as f64 / settled.len() as f64;
        assert!(share >= 0.995, "{key:?}: {share}");
    }
    // Five subscribers lost five times as much: only what was lost before the router was asked of the publisher.
    let lost_upstream = publisher.history.len() / 20;
    assert!(
        publisher.retransmitted < lost_upstream * 3 / 2,
        "{} for {lost_upstream}",
        publisher.retransmitted
    );
    let repeated: u64 = room
        .router
        .consumers()
        .map(|(_, stats)| stats.retransmissions)
        .sum();
    assert!(repeated > lost_upstream as u64 * 4, "{repeated}");
}
