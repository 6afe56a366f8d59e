//! A subscriber that asks for everything, all the time (`robustness` S20): a hundred thousand datagrams in a second, each
//! with a request for packets and one for a key frame.

use super::*;

const STORMS: u32 = 100_000;
const FRAME_INTERVAL: Duration = Duration::from_millis(33);
const VIEWER: TransportKey = TransportKey(3);

/// What a subscriber may get again in one second.
const MOST_AGAIN: usize = 256 + 512;

#[test]
fn a_hundred_thousand_requests_in_a_second_cost_the_publisher_and_other_viewers_nothing() {
    let mut room = Room::call();
    room.subscribe(VIEWER, &[audio_out(), video_out()]);
    room.publish(&Rtp::key_frame(0));
    room.advance(ms(1_000));
    room.rtcp.clear();
    let newest = |room: &mut Room| room.received(SUBSCRIBER).last().map(Received::seq);
    let mut highest = newest(&mut room).unwrap();
    let mut next_frame = room.now;
    let mut frames = 0;
    let mut key_frames_asked_at = Vec::new();
    let (mut again, mut nacked) = (0, 0);
    for number in 0..STORMS {
        room.advance(Duration::from_secs(1) / STORMS);
        if room.now >= next_frame {
            next_frame += FRAME_INTERVAL;
            frames += 1;
            room.publish(&Rtp::frame(frames));
            highest = highest.wrapping_add(1);
        }
        // The latest, an older one, and one that is to come.
        let lost = [
            SeqNo(highest),
            SeqNo(highest.wrapping_sub((number % 30) as u16)),
            SeqNo(highest.wrapping_add(1)),
        ];
        room.rtcp_from(SUBSCRIBER, |writer| {
            writer
                .nack(Ssrc(1), OUT_VIDEO, &lost)
                .picture_loss_indication(Ssrc(1), OUT_VIDEO);
        });
        // What is sent again is dropped here, as a storm need not be remembered.
        again += room
            .sink
            .sent
            .extract_if(.., |(key, packet)| {
                *key == SUBSCRIBER && RtpPacket::parse(packet).unwrap().header.ssrc == OUT_VIDEO_RTX
            })
            .count();
        if !room.rtcp.is_empty() {
            let reports = room.reports(PUBLISHER);
            for packet in reports.iter().flat_map(|packet| Compound::new(packet)) {
                let is_for_key_frame = matches!(
                    packet,
                    Packet::PictureLossIndication { .. } | Packet::FullIntraRequest { .. }
                );
                if is_for_key_frame {
                    key_frames_asked_at.push(room.now);
                }
                nacked += u32::from(matches!(packet, Packet::Nack { .. }));
            }
        }
    }
    let stats = room.router.consumers().nth(1).unwrap().1;
    assert!(
        stats.nacks >= u64::from(STORMS),
        "the storm got in: {stats:?}"
    );

    // Bounded work: some are sent again, no more than the budget allows.
    assert!((256..=MOST_AGAIN).contains(&again), "{again}");
    // The publisher sends its next key frame once in 300 ms, and no packet twice: ours are kept.
    assert!((3..=4).contains(&key_frames_asked_at.len()));
    let mut pairs = key_frames_asked_at.windows(2);
    assert!(pairs.all(|pair| pair[1] - pair[0] >= ms(300)));
    assert_eq!(nacked, 0);
    // Each viewer has each frame once, in order; the storm's own sender, too.
    for viewer in [SUBSCRIBER, VIEWER] {
        let received = seqs(&room.received(viewer));
        let first = received[received.len() - usize::from(frames)];
        let expected: Vec<u16> = (0..frames).map(|n| first.wrapping_add(n)).collect();
        assert_eq!(received[received.len() - usize::from(frames)..], expected);
    }
}
