//! What the router says of its publishers' networks.

use super::*;
use crate::media::rtp::rtcp::ReferenceReply;

/// A publisher of 50 audio packets a second that answers our reference times.
struct Talk {
    room: Room,
    seq: u16,
    round_trip: Duration,
    /// Reference times on their way, and when their answers arrive.
    on_the_way: Vec<(Instant, u32)>,
}

impl Talk {
    fn new(round_trip: Duration) -> Self {
        Self {
            room: Room::published(&[audio(), video()]),
            seq: 0,
            round_trip,
            on_the_way: Vec::new(),
        }
    }

    /// The levels told in so many seconds, of whose packets one in `one_in` is lost.
    fn go_on(&mut self, seconds: u64, one_in: u16) -> Vec<u8> {
        for _ in 0..seconds * 50 {
            self.seq = self.seq.wrapping_add(1);
            if !self.seq.is_multiple_of(one_in) {
                self.room.publish(&Rtp::audio(self.seq));
            }
            self.room.advance(ms(20));
            self.answer_reference_times();
        }
        self.levels()
    }

    fn answer_reference_times(&mut self) {
        for report in self.room.reports(PUBLISHER) {
            let header = report.windows(4).position(|it| it == [0x80, 207, 0, 4]);
            if let Some(at) = header {
                let middle = u32::from_be_bytes(*report[at + 14..].first_chunk().unwrap());
                self.on_the_way
                    .push((self.room.now + self.round_trip, middle));
            }
        }
        let now = self.room.now;
        for (_, middle) in self.on_the_way.extract_if(.., |(at, _)| *at <= now) {
            self.room.rtcp_from(PUBLISHER, |writer| {
                writer.reference_reply(
                    AUDIO,
                    ReferenceReply {
                        ssrc: Ssrc(0),
                        last_reference_time: middle,
                        delay_since_last_reference_time: 0,
                    },
                );
            });
        }
    }

    fn levels(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.room.qualities)
            .into_iter()
            .map(|(of, level)| {
                assert_eq!(of, PUBLISHER);
                level
            })
            .collect()
    }
}

#[test]
fn the_level_is_told_once_known_and_follows_the_loss() {
    let mut talk = Talk::new(ms(30));
    assert_eq!(talk.go_on(60, u16::MAX), [5]);
    assert_eq!(talk.go_on(60, 10).last(), Some(&2));
    assert_eq!(talk.go_on(60, u16::MAX).last(), Some(&5));
}

#[test]
fn the_round_trip_to_the_publisher_counts() {
    let mut talk = Talk::new(ms(300));
    assert_eq!(talk.go_on(30, u16::MAX), [3]);
    let seen = talk.room.router.counts.round_trips_up.get();
    let count: u64 = seen.within.iter().sum();
    assert!(
        count > 10 && seen.sum_us.abs_diff(count * 300_000) < count * 10_000,
        "{seen:?}"
    );
}

#[test]
fn a_publisher_that_sends_nothing_keeps_its_level_until_it_is_not_heard_at_all() {
    let mut talk = Talk::new(ms(30));
    assert_eq!(talk.go_on(10, u16::MAX), [5]);
    talk.room.advance(ms(600_000));
    assert_eq!(talk.levels(), Vec::<u8>::new());
    let now = talk.room.now;
    talk.room.router.went_quiet(now, PUBLISHER);
    talk.room.drain();
    assert_eq!(talk.levels(), [0]);
    talk.room.router.heard_again(now, PUBLISHER);
    talk.room.drain();
    assert_eq!(talk.levels(), [5]);
}

#[test]
fn subscribers_are_not_rated() {
    let mut room = Room::flowing_call(1);
    let now = room.now;
    room.router.went_quiet(now, SUBSCRIBER);
    room.router.heard_again(now, SUBSCRIBER);
    room.advance(ms(10_000));
    assert_eq!(room.qualities, []);
}
