//! Transports that replace others, and publishers that are away in between.

use super::*;

const ROOM: u64 = 1;

impl Bench {
    fn publish(&mut self, transport: u64, replaces: Option<u64>, loopback: &[Track]) {
        let mut spec = publisher(transport, audio(1), replaces);
        spec.loopback = loopback.to_vec();
        self.command(ROOM, Command::OpenPublisher(Box::new(spec)));
    }

    fn subscribe(&mut self, transport: u64, source: u64, replaces: Option<u64>) {
        let spec = subscriber(transport, source, audio(2), replaces);
        self.command(ROOM, Command::OpenSubscriber(Box::new(spec)));
    }

    /// The transports that are up, and how many publishers are away.
    fn open_transports(&mut self) -> (Vec<u64>, usize) {
        let slot = self.worker.rooms_by_id[&RoomId(ROOM)];
        let room = self.worker.rooms.get_mut(slot).unwrap();
        (room.peers.keys().map(|id| id.0).collect(), room.away.len())
    }

    /// The slots to which the room's router has incoming and outgoing tracks.
    fn routed(&mut self) -> (Vec<u32>, Vec<u32>) {
        let slot = self.worker.rooms_by_id[&RoomId(ROOM)];
        let router = &self.worker.rooms.get_mut(slot).unwrap().router;
        let incoming = router.producers().map(|(key, _)| key.0);
        let outgoing = router.consumers().map(|(key, _)| key.0);
        (sorted(incoming), sorted(outgoing))
    }

    fn slots<const N: usize>(&mut self, transports: [u64; N]) -> Vec<u32> {
        sorted(transports.map(|transport| self.peer(ROOM, transport)))
    }

    fn fail(&mut self, transport: u64) {
        let peer = self.peer(ROOM, transport);
        self.worker.fail_peer(peer, FailureReason::ClosedByPeer);
    }
}

fn sorted(slots: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut slots: Vec<u32> = slots.into_iter().collect();
    slots.sort_unstable();
    slots
}

#[test]
fn a_transport_that_replaces_another_ends_it_at_once() {
    let mut bench = Bench::new();
    let mut events = bench.open_room(ROOM, 8);
    bench.publish(10, None, &[]);
    bench.subscribe(20, 10, None);
    bench.publish(11, Some(10), &[]);
    bench.subscribe(21, 11, Some(20));
    assert_eq!(bench.open_transports(), (vec![11, 21], 0));
    assert_eq!(bench.routed(), (bench.slots([11]), bench.slots([21])));
    bench.close(ROOM, 10);
    bench.close(ROOM, 20);
    assert_eq!(bench.open_transports(), (vec![11, 21], 0));
    assert!(
        events.try_recv().is_err(),
        "what a command ends is no failure"
    );
}

#[test]
fn a_publisher_whose_transport_fails_is_away_until_it_is_replaced() {
    let mut bench = Bench::new();
    let mut events = bench.open_room(ROOM, 8);
    bench.publish(10, None, &[audio(3)]);
    bench.subscribe(20, 10, None);
    bench.fail(10);
    let failed = EventKind::Failed(FailureReason::ClosedByPeer);
    assert_eq!(events.try_recv(), Ok(event(10, failed)));
    assert_eq!(bench.open_transports(), (vec![20], 1));
    bench.subscribe(21, 10, None);
    let (_, receivers) = bench.routed();
    assert_eq!(receivers, bench.slots([20, 21]), "no longer itself");

    bench.publish(11, Some(10), &[audio(4)]);
    assert_eq!(bench.open_transports(), (vec![11, 20, 21], 0));
    let expected = (bench.slots([11]), bench.slots([11, 20, 21]));
    assert_eq!(bench.routed(), expected);
}

#[test]
fn a_publisher_that_is_away_ends_by_command() {
    let mut bench = Bench::new();
    let _events = bench.open_room(ROOM, 8);
    bench.publish(10, None, &[]);
    bench.subscribe(20, 10, None);
    bench.fail(10);
    bench.close(ROOM, 10);
    assert_eq!(bench.open_transports(), (vec![20], 0));
    assert_eq!(bench.routed(), (vec![], vec![]));
    // The slot goes to a stranger, whom the subscriber does not hear.
    bench.publish(12, None, &[]);
    assert_eq!(bench.routed(), (bench.slots([12]), vec![]));
}

#[test]
fn what_replaces_an_unknown_transport_is_like_any_other() {
    let mut bench = Bench::new();
    let _events = bench.open_room(ROOM, 8);
    bench.publish(10, Some(9), &[]);
    bench.subscribe(20, 10, Some(19));
    assert_eq!(bench.open_transports(), (vec![10, 20], 0));
    assert_eq!(bench.routed(), (bench.slots([10]), bench.slots([20])));
}

#[test]
fn transports_that_never_connect_may_replace_each_other_again_and_again() {
    let mut bench = Bench::new();
    let _events = bench.open_room(ROOM, 8);
    bench.publish(100, None, &[]);
    bench.subscribe(200, 100, None);
    for number in 1..50 {
        if number % 3 == 0 {
            bench.fail(99 + number);
        }
        bench.publish(100 + number, Some(99 + number), &[audio(3)]);
        bench.subscribe(200 + number, 100 + number, Some(199 + number));
        assert_eq!(
            bench.open_transports(),
            (vec![100 + number, 200 + number], 0)
        );
        let [publisher, subscriber] = [100 + number, 200 + number];
        let expected = (
            bench.slots([publisher]),
            bench.slots([publisher, subscriber]),
        );
        assert_eq!(bench.routed(), expected, "{number}");
    }
    bench.close(ROOM, 149);
    bench.close(ROOM, 249);
    assert!(bench.is_empty());
    assert_eq!(bench.routed(), (vec![], vec![]));
}
