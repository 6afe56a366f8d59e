//! Requests without a user: Binding, and Allocate as whoever forges addresses sends it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::book::{Book, Course, Stage};
use super::clients::{every_address, ready, receive, sockets};
use super::pacer::Pacer;
use super::report::{Charge, Outcome};
use super::sources::Sources;
use super::{Case, Error, Options, Pace};
use crate::loadtest::measure::Window;
use crate::media::net::udp::{BatchSocket, Outgoing, ReceiveBuffers};
use crate::media::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};
use crate::units::clock;

/// Room for a request: Allocate without a user has 28 bytes.
const REQUEST_ROOM: usize = 32;

/// Requests that leave before sockets are looked at again.
const AT_ONCE: usize = 64;

/// How often somebody asks who waits for a server to start.
const ASKING: Duration = Duration::from_millis(1);

/// What a request says about itself, so that nothing need be kept of it: the socket, its number there, and when it left.
///
/// ```text
/// | socket 2 | number 4 | sent, ns since the beginning 6 |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    socket: u16,
    number: u32,
    sent_ns: u64,
}

impl Note {
    fn to_id(self) -> TransactionId {
        let mut id = [0; 12];
        id[..2].copy_from_slice(&self.socket.to_be_bytes());
        id[2..6].copy_from_slice(&self.number.to_be_bytes());
        id[6..].copy_from_slice(&self.sent_ns.to_be_bytes()[2..]);
        TransactionId(id)
    }

    fn from_id(id: TransactionId) -> Self {
        let [s0, s1, n0, n1, n2, n3, t0, t1, t2, t3, t4, t5] = id.0;
        Self {
            socket: u16::from_be_bytes([s0, s1]),
            number: u32::from_be_bytes([n0, n1, n2, n3]),
            sent_ns: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
        }
    }
}

/// Writes a request into `out`; returns its length.
fn write(case: Case, id: TransactionId, out: &mut [u8]) -> usize {
    let is_flood = case == Case::Flood;
    let method = if is_flood {
        Method::ALLOCATE
    } else {
        Method::BINDING
    };
    let mut writer = Writer::new(out, Class::Request, method, id);
    if is_flood {
        // UDP, and three bytes that are reserved (RFC 8656 section 18.7).
        writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    }
    writer.finish().unwrap_or(0)
}

/// The note in an answer of the kind that is to come.
fn read(case: Case, answer: &[u8]) -> Option<Note> {
    let message = Message::parse(answer).ok()?;
    let is_expected = if case == Case::Flood {
        message.class() == Class::Error
    } else {
        message.class() == Class::Success && message.xor_mapped_address().is_some()
    };
    is_expected.then(|| Note::from_id(message.transaction_id()))
}

#[derive(Debug)]
struct Asking {
    case: Case,
    server: SocketAddr,
    sockets: Vec<BatchSocket>,
    sources: Option<Sources>,
    /// Requests so far, for the next source address or socket.
    asked: u64,
    buffers: ReceiveBuffers,
    book: Book,
}

impl Asking {
    fn open(options: &Options) -> Result<Self, Error> {
        let sources = options.sources.map(Sources::new);
        let sockets = match sources {
            Some(_) => vec![every_address(options.server)?],
            None => {
                let count = options.allocations.min(usize::from(u16::MAX));
                sockets(options.local_address()?, count, false)?
            }
        };
        Ok(Self {
            case: options.case,
            server: options.server,
            book: Book::new(clock::now(), sockets.len()),
            sockets,
            sources,
            asked: 0,
            buffers: ReceiveBuffers::default(),
        })
    }

    /// Sends one request. They leave one by one: nobody sends a run of them.
    fn ask(&mut self, now: Instant) {
        let (socket, from): (usize, Option<IpAddr>) = match &self.sources {
            Some(sources) => (0, Some(sources.address(self.asked))),
            None => ((self.asked % self.sockets.len() as u64) as usize, None),
        };
        self.asked += 1;
        let (Some(open), Some((number, sent_ns))) =
            (self.sockets.get(socket), self.book.leaves(now, socket))
        else {
            return;
        };
        let note = Note {
            socket: socket as u16,
            number,
            sent_ns,
        };
        let mut request = [0; REQUEST_ROOM];
        let len = write(self.case, note.to_id(), &mut request);
        let outgoing = Outgoing {
            to: self.server,
            from,
            start: 0,
            len,
        };
        let sent = open.send(&request, &[outgoing]);
        self.book.outcome.unsent += sent.dropped;
    }

    /// Receives what waits; returns how much it was.
    fn receive(&mut self) -> usize {
        let Self {
            case,
            sockets,
            buffers,
            book,
            ..
        } = self;
        let mut take = |now, answer: &[u8]| {
            let note = read(*case, answer);
            let note = note.map(|note| (usize::from(note.socket), note.number, note.sent_ns));
            book.arrives(now, note, answer.len());
        };
        if let [only] = sockets.as_slice() {
            return receive(only, buffers, take);
        }
        let ready = ready(sockets).into_iter();
        ready
            .map(|socket| receive(&sockets[socket], buffers, &mut take))
            .sum()
    }
}

/// Asks for as long as was said.
pub(super) fn run(options: &Options, stop: &AtomicBool) -> Result<Outcome, Error> {
    let mut charge = Charge::begin(options)?;
    let mut asking = Asking::open(options)?;
    let own = asking.sockets.iter();
    charge.watch(
        [options.server.port()].into(),
        own.map(|socket| socket.local_addr().port()).collect(),
    );
    let begin = clock::now();
    let (mut pacer, most) = match options.pace {
        Pace::PerSecond(rate) => (Some(Pacer::new(begin, rate, 1)), u32::MAX),
        Pace::Saturated { in_flight } => (None, in_flight),
    };
    let mut course = Course::new(begin, options);
    loop {
        let requests = match course.advance(clock::now(), stop, &mut asking.book, &mut charge)? {
            Stage::Sending => AT_ONCE,
            Stage::Draining => 0,
            Stage::Over => break,
        };
        for _ in 0..requests {
            let now = clock::now();
            match &mut pacer {
                Some(pacer) => match pacer.take(now) {
                    Some(due) => asking.book.measure.leaves(now, due),
                    None => break,
                },
                None if asking.book.in_flight >= most => break,
                None => {}
            }
            asking.ask(now);
        }
        let came = asking.receive();
        let now = clock::now();
        asking.book.give_up_if_stalled(now);
        if came == 0
            && let Some(pacer) = &pacer
        {
            let pause = pacer.due().saturating_duration_since(now).min(options.poll);
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
    }
    let mut outcome = asking.book.close();
    outcome.charge = charge.finish();
    // Nobody counts on an answer to each request of a flood.
    outcome.nobody_receives = options.case == Case::Flood;
    Ok(outcome)
}

/// Asks again and again until there is an answer.
pub(super) fn first_answer(options: &Options, stop: &AtomicBool) -> Result<Outcome, Error> {
    let mut asking = Asking::open(&Options {
        allocations: 1,
        sources: None,
        ..options.clone()
    })?;
    asking.book.measure.window = Some(Window {
        begin_ns: 0,
        end_ns: u64::MAX,
    });
    let begin = clock::now();
    while asking.book.measure.arrived == 0 {
        let now = clock::now();
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        if now >= begin + options.duration {
            return Err(Error::Silence(options.duration.as_secs_f64()));
        }
        asking.ask(now);
        let next = now + ASKING;
        while asking.receive() == 0 && clock::now() < next {
            thread::sleep(ASKING / 10);
        }
    }
    let answered_at_unix_ms = Some(clock::wall_ms());
    let duration = clock::now().saturating_duration_since(begin);
    Ok(Outcome {
        duration,
        answered_at_unix_ms,
        // What was asked before there was a server is not lost.
        sent: 1,
        received: 1,
        ..asking.book.close()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_note_survives_its_way_to_the_server_and_back(
            socket in any::<u16>(),
            number in any::<u32>(),
            sent_ns in 0..1_u64 << 48,
        ) {
            let note = Note { socket, number, sent_ns };
            prop_assert_eq!(Note::from_id(note.to_id()), note);
        }
    }

    #[test]
    fn requests_are_as_short_as_their_kind_allows() {
        let id = TransactionId([7; 12]);
        let mut out = [0; REQUEST_ROOM];
        for (case, len, method) in [
            (Case::Binding, 20, Method::BINDING),
            (Case::Flood, 28, Method::ALLOCATE),
        ] {
            assert_eq!(write(case, id, &mut out), len);
            let message = Message::parse(&out[..len]).unwrap();
            assert_eq!(
                (message.class(), message.method()),
                (Class::Request, method)
            );
            assert_eq!(message.transaction_id(), id);
        }
    }
}
