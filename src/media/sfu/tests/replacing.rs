//! Publishers and subscribers that come back on another transport (`reconnectStream`).

use super::*;

const SUCCESSOR: TransportKey = TransportKey(11);
const VIEWER: TransportKey = TransportKey(12);

const NEW_AUDIO: Ssrc = Ssrc(1100);
const NEW_VIDEO: Ssrc = Ssrc(2100);
const NEW_VIDEO_RTX: Ssrc = Ssrc(2101);

/// As a restarted browser publishes it: every number differs from [`audio`].
fn new_audio() -> Track {
    Track {
        mid: "sound".into(),
        payload_type: payload_type(109),
        extensions: ids(&[(Extension::AudioLevel, 5), (Extension::TransportCc, 1)]),
        ssrc: Some(NEW_AUDIO),
        ..audio()
    }
}

fn new_video() -> Track {
    Track {
        mid: "picture".into(),
        payload_type: payload_type(111),
        rtx_payload_type: Some(payload_type(112)),
        extensions: ids(&[
            (Extension::PlayoutDelay, 2),
            (Extension::Mid, 3),
            (Extension::TransportCc, 1),
        ]),
        ssrc: Some(NEW_VIDEO),
        rtx_ssrc: Some(NEW_VIDEO_RTX),
        ..video()
    }
}

impl Rtp {
    /// As the restarted browser numbers it, with a clock of its own.
    fn restarted(mut self, timestamp: u32) -> Self {
        let is_audio = self.header.ssrc == AUDIO;
        self.header.ssrc = if is_audio { NEW_AUDIO } else { NEW_VIDEO };
        self.header.payload_type = payload_type(if is_audio { 109 } else { 111 });
        self.header.timestamp = timestamp;
        self
    }
}

impl Room {
    /// The publisher comes back with `tracks`; `closes_first` tells whether its old end was noticed before.
    fn replace_publisher(&mut self, closes_first: bool, tracks: &[Track]) {
        let old = if closes_first {
            self.router.detach_publisher(PUBLISHER).unwrap()
        } else {
            PUBLISHER
        };
        self.router.add_publisher(self.now, SUCCESSOR, tracks, None);
        self.router.replace_publisher(self.now, old, SUCCESSOR);
        self.drain();
        self.router.connected(self.now, SUCCESSOR);
        self.drain();
    }

    fn publish_anew(&mut self, packet: &Rtp) {
        self.publish_run_from(SUCCESSOR, std::slice::from_ref(packet));
    }

    /// How often `publisher` was asked for a key frame of `media`, and for which packets.
    fn requests_to(&mut self, publisher: TransportKey, wanted: Ssrc) -> (usize, Vec<u16>) {
        let (mut key_frames, mut packets) = (0, Vec::new());
        for report in self.reports(publisher) {
            for packet in Compound::new(&report) {
                if let Packet::PictureLossIndication { media } = packet {
                    assert_eq!(media, wanted);
                    key_frames += 1;
                } else if let Packet::Nack { media, lost } = packet {
                    assert_eq!(media, wanted);
                    packets.extend(lost.map(|seq| seq.0));
                }
            }
        }
        (key_frames, packets)
    }
}

/// A call in which sound and picture flow; the last packets of both that the subscriber got.
fn call_with_both() -> (Room, Received, Received) {
    let mut room = Room::flowing_call(100);
    room.publish(&Rtp::audio(500));
    room.publish(&Rtp::frame(101));
    let [sound, picture] = <[Received; 2]>::try_from(room.received(SUBSCRIBER)).unwrap();
    room.rtcp.clear();
    (room, sound, picture)
}

#[test]
fn subscribers_go_on_with_the_new_transport_in_their_own_numbering() {
    for closes_first in [false, true] {
        let (mut room, sound, picture) = call_with_both();
        room.advance(ms(1_000));
        room.rtcp.clear();
        // Video first now, and other numbers throughout.
        room.replace_publisher(closes_first, &[new_video(), new_audio()]);
        room.advance(ms(1_000));
        room.publish(&Rtp::frame(102));
        room.publish(&Rtp::audio(501));
        assert_eq!(
            room.received(SUBSCRIBER),
            [],
            "nothing of the old transport"
        );

        room.publish_anew(&Rtp::audio(7).restarted(9).with(5, &[0x42]));
        room.publish_anew(&Rtp::key_frame(60_000).restarted(77).with(2, &[1, 2, 3]));
        room.advance(ms(20));
        room.publish_anew(&Rtp::frame(60_001).restarted(77 + 20 * 90));
        let received = room.received(SUBSCRIBER);
        let [new_sound, new_picture, next_picture] = &received[..] else {
            panic!("{received:?}")
        };
        for (old, new, clock) in [(&sound, new_sound, 48), (&picture, new_picture, 90)] {
            assert_eq!(new.header.ssrc, old.header.ssrc);
            assert_eq!(new.header.payload_type, old.header.payload_type);
            assert_eq!(new.seq(), old.seq().wrapping_add(1));
            let passed = new.header.timestamp.wrapping_sub(old.header.timestamp);
            assert_eq!(passed, 2_000 * clock, "real time");
            assert_eq!(new.extension(9), old.extension(9), "the mid");
        }
        assert_eq!(new_sound.extension(7), Some(&[0x42][..]));
        assert_eq!(new_picture.extension(14), Some(&[1, 2, 3][..]));
        assert_eq!(next_picture.seq(), new_picture.seq().wrapping_add(1));
        let passed = next_picture
            .header
            .timestamp
            .wrapping_sub(new_picture.header.timestamp);
        assert_eq!(passed, 20 * 90);
    }
}

#[test]
fn the_new_publisher_is_asked_for_a_key_frame_at_once_and_nothing_goes_before_it() {
    let (mut room, _, picture) = call_with_both();
    room.replace_publisher(true, &[new_audio(), new_video()]);
    room.publish_anew(&Rtp::frame(9).restarted(5));
    assert_eq!(room.requests_to(SUCCESSOR, NEW_VIDEO), (1, vec![]));
    assert_eq!(room.received(SUBSCRIBER), []);
    room.publish_anew(&Rtp::key_frame(10).restarted(6));
    let received = room.received(SUBSCRIBER);
    assert_eq!(seqs(&received), [picture.seq().wrapping_add(1)]);
    room.advance(ms(3_000));
    assert_eq!(room.requests_to(SUCCESSOR, NEW_VIDEO), (0, vec![]));
    assert_eq!(room.key_frame_requests(), 0, "the old transport is gone");
}

#[test]
fn what_the_old_transport_sent_is_not_sent_again() {
    for with_rtx in [true, false] {
        let mut room = Room::published(&[video()]);
        let track = if with_rtx {
            video_out()
        } else {
            video_out_without_rtx()
        };
        room.subscribe(SUBSCRIBER, &[track]);
        room.publish(&Rtp::key_frame(100));
        room.publish(&Rtp::frame(101));
        let before = seqs(&room.received(SUBSCRIBER));
        let nack = |room: &mut Room, seqs: &[u16]| {
            room.advance(ms(40));
            let lost: Vec<_> = seqs.iter().copied().map(SeqNo).collect();
            room.rtcp_from(SUBSCRIBER, |writer| {
                writer.nack(Ssrc(1), OUT_VIDEO, &lost);
            });
            room.received(SUBSCRIBER)
        };
        room.replace_publisher(false, &[new_video()]);
        assert_eq!(nack(&mut room, &before), []);
        // The same source numbers as the old transport's: they must not be taken for those.
        room.publish_anew(&Rtp::key_frame(100).restarted(1));
        room.publish_anew(&Rtp::frame(101).restarted(2));
        let after = room.received(SUBSCRIBER);
        assert_eq!(nack(&mut room, &before), []);
        let again = nack(&mut room, &seqs(&after));
        assert_eq!(again.len(), 2);
        let prefix = if with_rtx { 2 } else { 0 };
        for (again, first) in again.iter().zip(&after) {
            assert_eq!(again.payload[prefix..], first.payload);
            assert_eq!(again.header.timestamp, first.header.timestamp);
        }
    }
}

#[test]
fn the_new_publisher_is_not_asked_for_what_the_old_one_lost() {
    let (mut room, ..) = call_with_both();
    room.publish(&Rtp::frame(104));
    assert_eq!(room.asked(), [102, 103]);
    room.replace_publisher(true, &[new_audio(), new_video()]);
    room.publish_anew(&Rtp::key_frame(300).restarted(5));
    room.publish_anew(&Rtp::frame(302).restarted(6));
    room.advance(ms(10));
    assert_eq!(room.requests_to(SUCCESSOR, NEW_VIDEO), (0, vec![301]));
    // Its own retransmission arrives under its own numbers.
    let mut repeated = Rtp::frame(301).restarted(6);
    repeated.payload.splice(..0, 301_u16.to_be_bytes());
    repeated.header.payload_type = payload_type(112);
    repeated.header.ssrc = NEW_VIDEO_RTX;
    room.received(SUBSCRIBER);
    room.publish_anew(&repeated);
    assert_eq!(room.received(SUBSCRIBER).len(), 1);
}

#[test]
fn a_kind_or_codec_that_the_new_transport_lacks_falls_silent_and_may_return() {
    let (mut room, sound, picture) = call_with_both();
    let vp9 = Track {
        codec: Codec::Vp9,
        ..new_video()
    };
    room.replace_publisher(true, &[vp9]);
    room.publish_anew(&Rtp::key_frame(1).restarted(1));
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.picture_loss_indication(Ssrc(1), OUT_VIDEO).nack(
            Ssrc(1),
            OUT_VIDEO,
            &[SeqNo(picture.seq())],
        );
    });
    room.advance(ms(5_000));
    assert_eq!(room.received(SUBSCRIBER), []);
    assert_eq!(room.reports(SUBSCRIBER), Vec::<Vec<u8>>::new());

    // Once more, with both.
    room.router
        .add_publisher(room.now, PUBLISHER, &[audio(), video()], None);
    room.router
        .replace_publisher(room.now, SUCCESSOR, PUBLISHER);
    room.publish(&Rtp::key_frame(1));
    room.publish(&Rtp::audio(1));
    let received = room.received(SUBSCRIBER);
    assert_eq!(
        seqs(&received),
        [picture.seq().wrapping_add(1), sound.seq().wrapping_add(1)]
    );
}

#[test]
fn a_kind_that_only_the_new_transport_has_reaches_who_negotiated_it() {
    let mut room = Room::published(&[audio()]);
    room.subscribe(SUBSCRIBER, &[audio_out(), video_out()]);
    room.replace_publisher(true, &[new_video(), new_audio()]);
    room.publish_anew(&Rtp::key_frame(1).restarted(1));
    assert_eq!(room.received(SUBSCRIBER).len(), 1);
}

#[test]
fn who_subscribes_while_the_publisher_is_away_waits_for_it() {
    let (mut room, ..) = call_with_both();
    let waiting = room.router.detach_publisher(PUBLISHER).unwrap();
    assert_ne!(waiting, PUBLISHER);
    room.router
        .add_subscriber(room.now, VIEWER, waiting, &[audio_out(), video_out()]);
    room.router.connected(room.now, VIEWER);
    room.advance(ms(5_000));
    assert_eq!(
        room.reports(waiting),
        Vec::<Vec<u8>>::new(),
        "nobody to ask"
    );
    assert_eq!(room.router.poll_timeout(), None);
    // The index is given to somebody else meanwhile, who has nothing to do with it.
    room.router
        .add_publisher(room.now, PUBLISHER, &[audio(), video()], None);
    room.publish(&Rtp::key_frame(1));
    assert_eq!(room.sink.sent, []);

    room.router
        .add_publisher(room.now, SUCCESSOR, &[new_audio(), new_video()], None);
    room.router.replace_publisher(room.now, waiting, SUCCESSOR);
    room.publish_anew(&Rtp::key_frame(1).restarted(1));
    assert_eq!(room.received(VIEWER).len(), 1);
    assert_eq!(room.received(SUBSCRIBER).len(), 1);
}

#[test]
fn a_publisher_that_stays_away_is_forgotten_with_its_subscribers() {
    let (mut room, ..) = call_with_both();
    let waiting = room.router.detach_publisher(PUBLISHER).unwrap();
    room.router.remove(waiting);
    assert_eq!(
        room.router.producers().count() + room.router.consumers().count(),
        0
    );
    assert_eq!(room.router.detach_publisher(PUBLISHER), None);
    room.replace_after_end(waiting);
}

impl Room {
    /// A replacement of somebody who is unknown is a publisher like any other.
    fn replace_after_end(&mut self, gone: TransportKey) {
        self.router
            .add_publisher(self.now, SUCCESSOR, &[new_video()], None);
        self.router.replace_publisher(self.now, gone, SUCCESSOR);
        self.router
            .add_subscriber(self.now, VIEWER, SUCCESSOR, &[video_out()]);
        self.router.connected(self.now, VIEWER);
        self.publish_anew(&Rtp::key_frame(1).restarted(1));
        assert_eq!(self.received(VIEWER).len(), 1);
    }
}

#[test]
fn sender_reports_speak_of_the_new_clock_once_it_is_known() {
    let (mut room, ..) = call_with_both();
    sender_report(&mut room, VIDEO, 1000 << 32, 3000);
    room.replace_publisher(false, &[new_video()]);
    room.publish_anew(&Rtp::key_frame(1).restarted(500_000));
    let timestamp = room.received(SUBSCRIBER)[0].header.timestamp;
    room.advance(ms(1_500));
    assert_eq!(room.reports(SUBSCRIBER), Vec::<Vec<u8>>::new());
    room.publish_anew(&Rtp::frame(2).restarted(500_000 + 1_500 * 90));
    room.received(SUBSCRIBER);
    let mut bytes = Vec::new();
    Writer::new(&mut bytes).sender_report(
        NEW_VIDEO,
        SenderInfo {
            ntp_time: 2000 << 32,
            rtp_time: 500_000 + 1_500 * 90,
            packet_count: 1,
            octet_count: 1,
        },
    );
    room.router
        .handle_rtcp(room.now, SUCCESSOR, &bytes, &mut room.sink);
    room.advance(ms(1_100));
    let reports = room.reports(SUBSCRIBER);
    let Some(Packet::SenderReport { info, ssrc, .. }) = Compound::new(&reports[0]).next() else {
        panic!("{reports:?}")
    };
    assert_eq!(ssrc, OUT_VIDEO);
    let since = ((info.ntp_time - (2000 << 32)) * 90_000) >> 32;
    let expected = timestamp.wrapping_add(1_500 * 90);
    assert!(u64::from(info.rtp_time.wrapping_sub(expected)).abs_diff(since) <= 1);
}

#[test]
fn what_the_publisher_got_back_of_itself_is_not_taken_over() {
    let mut room = Room::published(&[audio(), video()]);
    room.router
        .add_subscriber(room.now, PUBLISHER, PUBLISHER, &[audio_out()]);
    room.replace_publisher(false, &[new_audio()]);
    room.publish_anew(&Rtp::audio(1).restarted(1));
    assert_eq!(room.sink.sent, []);
    assert_eq!(room.router.consumers().count(), 0);
}

// Subscribers

#[test]
fn a_subscriber_goes_on_where_its_former_transport_stood() {
    let (mut room, sound, picture) = call_with_both();
    let sound_out = Track {
        ssrc: Some(Ssrc(7100)),
        payload_type: payload_type(96),
        ..audio_out()
    };
    let picture_out = Track {
        ssrc: Some(Ssrc(8100)),
        rtx_ssrc: Some(Ssrc(8101)),
        payload_type: payload_type(97),
        ..video_out()
    };
    room.router
        .add_subscriber(room.now, VIEWER, PUBLISHER, &[picture_out, sound_out]);
    room.router.replace_subscriber(SUBSCRIBER, VIEWER);
    room.publish(&Rtp::frame(102));
    assert_eq!(
        room.sink.sent,
        [],
        "the old one has ended, the new one is not up"
    );
    room.router.connected(room.now, VIEWER);
    room.drain();
    assert_eq!(room.key_frame_requests(), 1);
    room.publish(&Rtp::frame(103));
    room.publish(&Rtp::audio(501));
    room.publish(&Rtp::key_frame(104));
    assert_eq!(room.received(SUBSCRIBER), []);
    let received = room.received(VIEWER);
    let [new_sound, new_picture] = &received[..] else {
        panic!("{received:?}")
    };
    assert_eq!(new_sound.header.ssrc, Ssrc(7100));
    assert_eq!(new_picture.header.ssrc, Ssrc(8100));
    assert_eq!(new_picture.header.payload_type, payload_type(97));
    // Before the old transport's wrap they simply go on.
    for (old, new) in [(&sound, new_sound), (&picture, new_picture)] {
        assert_eq!(new.seq(), old.seq().wrapping_add(1) & 0x7fff);
    }
    assert_eq!(new_sound.header.timestamp, sound.header.timestamp + 960);
    assert_eq!(
        new_picture.header.timestamp,
        picture.header.timestamp + 3 * 3000
    );
    // What went out on the old transport had another source, and another key.
    room.rtcp_from(VIEWER, |writer| {
        writer.nack(Ssrc(1), Ssrc(8100), &[SeqNo(picture.seq())]);
    });
    assert_eq!(room.received(VIEWER), []);
}

#[test]
fn a_subscriber_whose_former_transport_is_unknown_begins_anew() {
    let mut room = Room::published(&[audio()]);
    room.router
        .add_subscriber(room.now, VIEWER, PUBLISHER, &[audio_out()]);
    room.router.replace_subscriber(SUBSCRIBER, VIEWER);
    room.router.connected(room.now, VIEWER);
    room.publish(&Rtp::audio(1));
    assert_eq!(room.received(VIEWER).len(), 1);
}

#[test]
fn a_fresh_receiver_begins_in_the_lower_half_wherever_the_old_one_stood() {
    let mut room = Room::published(&[audio()]);
    room.subscribe(SUBSCRIBER, &[audio_out()]);
    room.publish(&Rtp::audio(0));
    let mut last = room.received(SUBSCRIBER)[0].seq();
    let mut source = 0;
    while last < 0xfff0 {
        source += 1;
        room.publish(&Rtp::audio(source));
        last = room.received(SUBSCRIBER)[0].seq();
    }
    room.router
        .add_subscriber(room.now, VIEWER, PUBLISHER, &[audio_out()]);
    room.router.replace_subscriber(SUBSCRIBER, VIEWER);
    room.router.connected(room.now, VIEWER);
    room.publish(&Rtp::audio(source + 1));
    assert_eq!(seqs(&room.received(VIEWER)), [0x7ff1]);
}

// Whatever happens

#[derive(Debug, Clone)]
enum Turn {
    Publish {
        step: u8,
        is_key: bool,
    },
    Nack(u8),
    ReplacePublisher {
        closes_first: bool,
        first: u16,
        has_video: bool,
    },
    Pass(u16),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    prop::collection::vec(
        prop_oneof![
            8 => (1_u8..4, any::<bool>()).prop_map(|(step, is_key)| Turn::Publish { step, is_key }),
            3 => (0_u8..40).prop_map(Turn::Nack),
            1 => (any::<bool>(), any::<u16>(), any::<bool>())
                .prop_map(|(closes_first, first, has_video)| Turn::ReplacePublisher {
                    closes_first,
                    first,
                    has_video,
                }),
            2 => (0_u16..3_000).prop_map(Turn::Pass),
        ],
        1..150,
    )
}

proptest! {
    /// However often a publisher comes back: a number names one packet, the first packet of every publisher is a key
    /// frame and follows the last one's without a gap, and neither clock nor numbers ever run backwards.
    #[test]
    fn numbers_and_clock_go_on_across_any_replacements(turns in turns(), with_rtx in any::<bool>(), start in any::<u16>()) {
        let mut room = Room::published(&[video()]);
        let out = if with_rtx { video_out() } else { video_out_without_rtx() };
        room.subscribe(SUBSCRIBER, &[out]);
        let mut publisher = PUBLISHER;
        let mut seq = start;
        let mut began = room.now;
        let mut has_begun = false;
        let mut last: Option<Received> = None;
        let mut sent: BTreeMap<(u32, u16), Vec<u8>> = BTreeMap::new();
        for turn in turns {
            match turn {
                Turn::Publish { step, is_key } => {
                    seq = seq.wrapping_add(u16::from(step));
                    let mut packet = if is_key { Rtp::key_frame(seq) } else { Rtp::frame(seq) };
                    // No two pictures share an instant.
                    room.advance(ms(1));
                    packet.header.timestamp = (room.now - began).as_millis() as u32 * 90;
                    packet.payload.extend(publisher.0.to_be_bytes());
                    room.publish_run_from(publisher, &[packet]);
                }
                Turn::Nack(back) => {
                    if let Some(last) = &last {
                        let lost = [last.header.sequence_number.minus(u16::from(back))];
                        room.rtcp_from(SUBSCRIBER, |writer| {
                            writer.nack(Ssrc(1), OUT_VIDEO, &lost);
                        });
                    }
                }
                Turn::ReplacePublisher { closes_first, first, has_video } => {
                    let old = if closes_first {
                        room.router.detach_publisher(publisher).unwrap()
                    } else {
                        publisher
                    };
                    publisher = TransportKey(publisher.0 + 10);
                    let track = if has_video { video() } else { audio() };
                    room.router.add_publisher(room.now, publisher, &[track], None);
                    room.router.replace_publisher(room.now, old, publisher);
                    room.drain();
                    seq = first;
                    began = room.now;
                    has_begun = false;
                }
                Turn::Pass(by) => room.advance(ms(u64::from(by))),
            }
            for (_, bytes) in room.sink.sent.drain(..) {
                let packet = Received::read(&bytes);
                let earlier = sent.insert((packet.header.ssrc.0, packet.seq()), bytes.clone());
                prop_assert!(earlier.is_none_or(|earlier| earlier == bytes), "{:?}", packet.header);
                if packet.header.ssrc != OUT_VIDEO {
                    continue;
                }
                let Some(before) = &last else {
                    last = Some(packet);
                    has_begun = true;
                    continue;
                };
                let step = packet.header.sequence_number.distance_from(before.header.sequence_number);
                if step <= 0 {
                    continue;
                }
                let passed = packet.header.timestamp.wrapping_sub(before.header.timestamp);
                prop_assert!(passed > 0 && passed < 1 << 28, "{}", passed);
                if !has_begun {
                    prop_assert_eq!(step, 1);
                    prop_assert_eq!(packet.payload[1] & 1, 0, "a key frame");
                    has_begun = true;
                }
                last = Some(packet);
            }
        }
    }
}
