//! Whoever comes late begins with a key frame, whatever the codec.

use super::*;

/// The packets of a key frame and of the frame after it, as browsers cut them, one picture each.
struct Pictures {
    codec: Codec,
    what: &'static str,
    key: &'static [&'static [u8]],
    delta: &'static [&'static [u8]],
}

const PICTURES: [Pictures; 11] = [
    Pictures {
        codec: Codec::Vp8,
        what: "Chromium's, with a picture id of 15 bits",
        key: &[
            &[0x90, 0x80, 0x80, 1, 0x10, 0x02, 0],
            &[0x80, 0x80, 0x80, 1, 9],
        ],
        delta: &[
            &[0x90, 0x80, 0x80, 2, 0x11, 0x02, 0],
            &[0x80, 0x80, 0x80, 2, 8],
        ],
    },
    Pictures {
        codec: Codec::Vp8,
        what: "a screen in two temporal layers",
        key: &[&[0x90, 0xe0, 0x80, 1, 5, 0x20, 0x10, 0x02, 0]],
        delta: &[&[0xb0, 0xe0, 0x80, 2, 5, 0x60, 0x11, 0x02, 0]],
    },
    Pictures {
        codec: Codec::Vp9,
        what: "flexible mode",
        // I, F, B, E, and V with one layer of 320 by 240; then I, P, F and one reference.
        key: &[
            &[0x9a, 0x80, 1, 0x10, 1, 0x40, 0, 0xf0, 7],
            &[0x94, 0x80, 1, 7],
        ],
        delta: &[&[0xd8, 0x80, 2, 0x02, 7], &[0xd4, 0x80, 2, 0x02, 7]],
    },
    Pictures {
        codec: Codec::Vp9,
        what: "without flexible mode, layers numbered",
        key: &[&[0xac, 0x80, 1, 0x00, 0, 7]],
        delta: &[&[0xec, 0x80, 2, 0x00, 1, 7]],
    },
    Pictures {
        codec: Codec::Vp9,
        what: "two spatial layers, of which the upper predicts from the lower",
        key: &[&[0xbc, 0x80, 1, 0x00, 7], &[0xbc, 0x80, 1, 0x03, 7]],
        delta: &[
            &[0xfc, 0x80, 2, 0x00, 0x02, 7],
            &[0xfc, 0x80, 2, 0x03, 0x02, 7],
        ],
    },
    Pictures {
        codec: Codec::H264,
        what: "parameter sets and picture in one aggregate",
        key: &[&[0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 1, 0, 2, 0x65, 1]],
        delta: &[&[0x61, 1, 2]],
    },
    Pictures {
        codec: Codec::H264,
        what: "parameter sets in an aggregate, the picture in fragments",
        key: &[
            &[0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 1],
            &[0x7c, 0x85, 1],
            &[0x7c, 0x05, 1],
            &[0x7c, 0x45, 1],
        ],
        delta: &[&[0x7c, 0x81, 1], &[0x7c, 0x01, 1], &[0x7c, 0x41, 1]],
    },
    Pictures {
        codec: Codec::H264,
        what: "single packets, mode 0",
        key: &[&[0x67, 1], &[0x68, 1], &[0x65, 1]],
        delta: &[&[0x41, 1]],
    },
    Pictures {
        codec: Codec::H264,
        what: "parameter sets out of band",
        key: &[&[0x65, 1]],
        delta: &[&[0x41, 1], &[0x41, 1]],
    },
    Pictures {
        codec: Codec::Av1,
        what: "one unit with the sequence header",
        key: &[&[0x18, 0x0a, 1, 0x32, 9]],
        delta: &[&[0x10, 0x32, 9]],
    },
    Pictures {
        codec: Codec::Av1,
        what: "a picture in several packets",
        key: &[&[0x68, 2, 0x0a, 1, 0x32], &[0xd0, 7], &[0x90, 7]],
        delta: &[&[0x50, 0x32, 9], &[0x90, 7]],
    },
];

fn packets(first: u16, picture: u16, payloads: &[&[u8]]) -> Vec<Rtp> {
    (first..)
        .zip(payloads)
        .map(|(seq, payload)| {
            let mut packet = Rtp::frame(seq);
            packet.header.timestamp = u32::from(picture) * 3000;
            packet.payload = payload.to_vec();
            packet
        })
        .collect()
}

#[test]
fn a_late_subscriber_begins_with_the_first_packet_of_a_key_frame() {
    for Pictures {
        codec,
        what,
        key,
        delta,
    } in PICTURES
    {
        let case = format!("{}: {what}", codec.name());
        let of_codec = |track| Track { codec, ..track };
        let mut room = Room::published(&[of_codec(video())]);
        room.subscribe(SUBSCRIBER, &[of_codec(video_out())]);
        let mut seq = 1;
        let mut publish = |room: &mut Room, picture: u16, payloads: &[&[u8]]| {
            room.advance(ms(33));
            room.publish_run(&packets(seq, picture, payloads));
            seq += payloads.len() as u16;
            room.received(SUBSCRIBER).len()
        };
        assert_eq!(publish(&mut room, 1, delta), 0, "{case}");
        assert_eq!(room.key_frame_requests(), 1, "{case}");
        assert_eq!(publish(&mut room, 2, key), key.len(), "{case}");
        assert_eq!(publish(&mut room, 3, delta), delta.len(), "{case}");

        let late = TransportKey(3);
        room.subscribe(late, &[of_codec(video_out())]);
        room.advance(ms(300));
        assert_eq!(room.key_frame_requests(), 1, "{case}");
        publish(&mut room, 4, delta);
        assert_eq!(room.received(late), [], "{case}");
        publish(&mut room, 5, key);
        publish(&mut room, 6, delta);
        let received = room.received(late);
        let payloads: Vec<&[u8]> = received.iter().map(|it| it.payload.as_slice()).collect();
        assert_eq!(payloads, [key, delta].concat(), "{case}");
        let first = received[0].seq();
        let in_a_row: Vec<u16> = (0..received.len() as u16)
            .map(|step| first.wrapping_add(step))
            .collect();
        assert_eq!(seqs(&received), in_a_row, "{case}");
        let counted = room.router.producers().next().map(|(_, it)| it.key_frames);
        assert_eq!(counted, Some(2), "{case}");
    }
}

#[test]
fn descriptors_at_their_maxima_are_forwarded_as_they_are() {
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
        let of_codec = |track| Track { codec, ..track };
        let mut room = Room::published(&[of_codec(video())]);
        room.subscribe(SUBSCRIBER, &[of_codec(video_out())]);
        let key = PICTURES
            .iter()
            .find(|pictures| pictures.codec == codec)
            .unwrap()
            .key;
        room.publish_run(&packets(1, 1, key));
        room.received(SUBSCRIBER);
        for len in 1..40 {
            let mut packet = packets(100 + len, 2 + len, &[&[0xff; 40][..usize::from(len)]]);
            room.publish_run(&packet);
            let received = room.received(SUBSCRIBER);
            assert_eq!(received.len(), 1, "{codec:?} {len}");
            assert_eq!(received[0].payload, packet.remove(0).payload);
        }
    }
}
