//! Media that stop for a while and come back: muted, stopped and replaced tracks, pictures that hardly ever change.

use super::*;

const MINUTES: Duration = Duration::from_secs(5 * 60);

/// As `replaceTrack` after a stopped track: the same source goes on, its clock has run on.
fn later(mut packet: Rtp, passed: Duration, clock_rate: u32) -> Rtp {
    packet.header.timestamp += passed.as_secs() as u32 * clock_rate;
    packet
}

#[test]
fn sound_that_was_stopped_for_minutes_goes_on_in_numbers_and_time() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::audio(10));
    let before = room.received(SUBSCRIBER).remove(0);
    room.advance(MINUTES);
    room.publish(&later(Rtp::audio(11), MINUTES, 48_000));
    let after = room.received(SUBSCRIBER).remove(0);
    assert_eq!(after.seq(), before.seq().wrapping_add(1));
    let passed = after.header.timestamp - before.header.timestamp;
    assert_eq!(passed, 960 + MINUTES.as_secs() as u32 * 48_000);
}

#[test]
fn a_picture_that_was_stopped_for_minutes_goes_on_and_asks_for_nothing() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(2));
    let before = room.received(SUBSCRIBER).remove(0);
    room.advance(MINUTES);
    assert_eq!(room.router.poll_timeout(), None, "silence costs nothing");
    room.rtcp.clear();
    room.publish(&later(Rtp::frame(3), MINUTES, 90_000));
    let after = room.received(SUBSCRIBER).remove(0);
    assert_eq!(after.seq(), before.seq().wrapping_add(1));
    assert_eq!(room.key_frame_requests(), 0);
    // What was sent before the pause is nobody's any more.
    room.rtcp_from(SUBSCRIBER, |writer| {
        writer.nack(Ssrc(1), OUT_VIDEO, &[before.header.sequence_number]);
    });
    assert_eq!(room.received(SUBSCRIBER), []);
}

#[test]
fn who_comes_while_the_picture_is_stopped_gets_it_with_its_next_key_frame() {
    let mut room = Room::flowing_call(1);
    room.advance(MINUTES);
    let late = TransportKey(9);
    room.subscribe(late, &[audio_out(), video_out()]);
    assert_eq!(room.key_frame_requests(), 1, "it may only stand still");
    room.publish(&Rtp::audio(1));
    assert_eq!(room.received(late).len(), 1, "sound does not wait");
    room.advance(MINUTES);
    room.rtcp.clear();
    room.publish(&later(Rtp::frame(2), MINUTES * 2, 90_000));
    assert_eq!(room.key_frame_requests(), 1, "at once, when it comes back");
    assert_eq!(room.received(late), []);
    room.publish(&later(Rtp::key_frame(3), MINUTES * 2, 90_000));
    assert_eq!(room.received(late).len(), 1);
}

#[test]
fn a_picture_that_comes_back_from_another_source_goes_on_in_numbers_and_time() {
    let mut room = Room::flowing_call(1);
    room.publish(&Rtp::frame(2));
    let before = room.received(SUBSCRIBER).remove(0);
    room.advance(MINUTES);
    room.publish(&Rtp::key_frame(40_000).from(Ssrc(77)));
    let after = room.received(SUBSCRIBER).remove(0);
    assert_eq!(after.seq(), before.seq().wrapping_add(1));
    let passed = after.header.timestamp.wrapping_sub(before.header.timestamp);
    assert_eq!(passed, MINUTES.as_secs() as u32 * 90_000);
}

/// One frame in ten seconds: whichever request arrives before it is in time.
#[test]
fn a_picture_that_hardly_ever_changes_reaches_a_newcomer_with_its_next_frame() {
    let mut room = Room::flowing_call(1);
    let late = TransportKey(9);
    room.advance(ms(3_000));
    room.subscribe(late, &[video_out()]);
    room.advance(ms(7_000));
    assert_eq!(room.key_frame_requests(), 4);
    room.publish(&Rtp::key_frame(2));
    assert_eq!(room.received(late).len(), 1);
    assert_eq!(room.received(SUBSCRIBER).len(), 1);
}

#[test]
fn one_kind_alone_flows_whatever_was_negotiated() {
    for (track, packet) in [(audio(), Rtp::audio(1)), (video(), Rtp::key_frame(1))] {
        let mut room = Room::published(&[track]);
        room.subscribe(SUBSCRIBER, &[audio_out(), video_out()]);
        room.publish(&packet);
        room.advance(ms(1_500));
        assert_eq!(room.received(SUBSCRIBER).len(), 1);
    }
}
