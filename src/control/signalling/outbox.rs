//! What waits to be written to one socket, and what was written without our knowing that it arrived
//! (`openvidu-signalling` section 5.2, `robustness` S30).
//!
//! TCP does not tell what the client has received before a connection broke. Probes do: they are WebSocket pings with
//! a number, browsers answer them by themselves and in order, so an answer vouches for everything before its probe.
//! What no answer vouches for is written again on the client's next socket. Only the answer itself can be lost then,
//! and what arrived in the last moment before the break comes twice.
//!
//! A browser answers for a page that stands still, too, and when that page moves again, it gives up its socket before it
//! has read what came. So what such a page was told since its last request is written again as well.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::session::{Notification, Unheard};

/// Bytes that may wait, and as many that may be unheard; a client that lets more pile up is disconnected.
const LIMIT: usize = 1024 * 1024;

/// What the page may not have read is kept up to so many bytes; of more, the oldest is taken as read.
const MAX_UNREAD: usize = LIMIT / 2;

/// A browser that was heard so lately is there.
const IS_THERE: Duration = Duration::from_secs(10);

/// Frames in order, bounded by their size.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// To be written.
    waiting: VecDeque<Outgoing>,
    waiting_bytes: usize,
    /// Written, each with the number of the probe whose answer vouches for it.
    unheard: VecDeque<Written>,
    unheard_bytes: usize,
    /// Received by the browser since the page's last request.
    unread: VecDeque<Written>,
    unread_bytes: usize,
    /// When the browser was last heard, its page's requests included, and when the page was.
    browser_spoke: Option<Instant>,
    page_spoke: Option<Instant>,
    /// The connection broke: the client may have read everything that arrived.
    is_broken: bool,
    /// What came when the end was decided already.
    late: VecDeque<Arc<Notification>>,
    /// Something was written since the last probe that its answer would tell us about.
    is_unprobed: bool,
    /// How many probes were written, and the last one that was answered.
    probes: u64,
    answered: u64,
    end: Option<End>,
}

/// One frame that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// A text frame that nobody but this socket's requests wait for.
    Text(String),
    /// A notification and its text.
    Notification(Arc<Notification>, String),
    /// A WebSocket ping.
    Probe,
}

/// One frame to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A text frame.
    Text(String),
    /// A WebSocket ping with this number.
    Probe(u64),
}

#[derive(Debug)]
struct Written {
    notification: Arc<Notification>,
    bytes: usize,
    probe: u64,
}

/// How the socket is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With this close code and reason, after everything before it was written.
    Close(u16, &'static str),
    /// At once: the client does not read.
    Overflow,
    /// At once: what waits goes elsewhere.
    TakenBack,
}

impl Outbox {
    /// Appends a frame, or ends the socket if too much waits already. A notification that comes after the end is kept
    /// for [`Outbox::take_back`].
    pub(super) fn push(&mut self, frame: Outgoing) {
        let size = frame.size();
        match (self.end, frame) {
            (None, frame) => self.waiting.push_back(frame),
            (Some(End::Close(..)), Outgoing::Notification(notification, _)) => {
                self.late.push_back(notification);
            }
            (Some(_), _) => return,
        }
        self.waiting_bytes += size;
        if self.waiting_bytes > LIMIT {
            self.overflow();
        }
    }

    /// The next frame to write; a probe if nothing else waits and we would like to know what has arrived.
    pub(super) fn pop(&mut self) -> Option<Frame> {
        let Some(frame) = self.waiting.pop_front() else {
            let is_due = self.is_unprobed && self.answered == self.probes && self.end.is_none();
            return is_due.then(|| self.probe());
        };
        let size = frame.size();
        self.waiting_bytes -= size;
        match frame {
            Outgoing::Text(text) => {
                // Whether the client answers at all is to be known before it matters.
                self.is_unprobed |= self.probes == 0;
                Some(Frame::Text(text))
            }
            Outgoing::Notification(notification, text) => {
                self.is_unprobed = true;
                self.unheard.push_back(Written {
                    notification,
                    bytes: size,
                    probe: self.probes + 1,
                });
                self.unheard_bytes += size;
                self.bound_unheard();
                Some(Frame::Text(text))
            }
            Outgoing::Probe => Some(self.probe()),
        }
    }

    fn probe(&mut self) -> Frame {
        self.is_unprobed = false;
        self.probes += 1;
        Frame::Probe(self.probes)
    }

    /// The client has answered a probe, or pretends to; returns whether another one is due.
    pub(super) fn heard(&mut self, probe: u64) -> bool {
        self.answered = self.answered.max(probe.min(self.probes));
        while let Some(written) = self.unheard.front()
            && written.probe <= self.answered
        {
            self.unheard_bytes -= written.bytes;
            self.unread_bytes += written.bytes;
            self.unread.extend(self.unheard.pop_front());
        }
        while self.unread_bytes > MAX_UNREAD
            && let Some(written) = self.unread.pop_front()
        {
            self.unread_bytes -= written.bytes;
        }
        self.is_unprobed && self.answered == self.probes
    }

    /// Something has come from the browser.
    pub(super) fn browser_spoke(&mut self, now: Instant) {
        self.browser_spoke = Some(now);
    }

    /// A request has come from the page, which has read what its browser had received before.
    pub(super) fn page_spoke(&mut self, now: Instant) {
        self.browser_spoke = Some(now);
        self.page_spoke = Some(now);
        self.unread.clear();
        self.unread_bytes = 0;
    }

    /// The connection has broken.
    pub(super) fn broke(&mut self) {
        self.is_broken = true;
    }

    /// Whether the browser is there while its page has been silent for longer than `patience`.
    fn stands_still(&self, now: Instant, patience: Duration) -> bool {
        let (Some(browser), Some(page)) = (self.browser_spoke, self.page_spoke) else {
            return false;
        };
        !self.is_broken
            && browser.saturating_duration_since(page) > patience
            && now.saturating_duration_since(browser) < IS_THERE
    }

    /// Ends the socket after what waits; the first end counts.
    pub(super) fn close(&mut self, code: u16, reason: &'static str) {
        self.end.get_or_insert(End::Close(code, reason));
    }

    /// How the socket is to end, once [`Outbox::pop`] yields nothing.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// Yields the notifications that the client is not known to have received, and ends the socket. Answers are not
    /// among them: clients that reconnect have given up their requests. A page that has asked nothing for `patience`,
    /// though its browser answers, stands still.
    pub(super) fn take_back(&mut self, now: Instant, patience: Duration) -> Unheard {
        if self.end == Some(End::Overflow) {
            return None;
        }
        self.end = Some(End::TakenBack);
        let stands_still = self.stands_still(now, patience);
        self.unread_bytes = 0;
        let unread = std::mem::take(&mut self.unread)
            .into_iter()
            .filter(|_| stands_still)
            .map(|written| written.notification);
        // Who never answers would hear twice whatever it has heard.
        let unheard = std::mem::take(&mut self.unheard)
            .into_iter()
            .filter(|_| self.answered > 0)
            .map(|written| written.notification);
        let waiting =
            std::mem::take(&mut self.waiting)
                .into_iter()
                .filter_map(|frame| match frame {
                    Outgoing::Notification(notification, _) => Some(notification),
                    Outgoing::Text(_) | Outgoing::Probe => None,
                });
        let late = std::mem::take(&mut self.late);
        Some(unread.chain(unheard).chain(waiting).chain(late).collect())
    }

    fn bound_unheard(&mut self) {
        if self.unheard_bytes <= LIMIT {
            return;
        }
        if self.answered > 0 {
            self.overflow();
            return;
        }
        while self.unheard_bytes > LIMIT
            && let Some(written) = self.unheard.pop_front()
        {
            self.unheard_bytes -= written.bytes;
        }
    }

    fn overflow(&mut self) {
        self.waiting.clear();
        self.unheard.clear();
        self.unread.clear();
        self.late.clear();
        (self.waiting_bytes, self.unheard_bytes, self.unread_bytes) = (0, 0, 0);
        self.end = Some(End::Overflow);
    }
}

impl Outgoing {
    /// What it counts: half the limit at most, since the answer to joining a large session is as long as the session
    /// is large, and must pass among the small frames that come with it.
    fn size(&self) -> usize {
        match self {
            Self::Text(text) | Self::Notification(_, text) => text.len().min(LIMIT / 2),
            Self::Probe => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::t0;

    fn text(len: usize) -> Outgoing {
        Outgoing::Text("x".repeat(len))
    }

    fn told(name: &str) -> Outgoing {
        Outgoing::Notification(notification(name), name.to_owned())
    }

    fn notification(name: &str) -> Arc<Notification> {
        Arc::new(Notification::MediaError {
            text: name.to_owned(),
        })
    }

    const PATIENCE: Duration = Duration::from_secs(7);

    fn take_back(outbox: &mut Outbox) -> Unheard {
        outbox.take_back(t0(), PATIENCE)
    }

    fn seconds(seconds: u64) -> Instant {
        t0() + Duration::from_secs(seconds)
    }

    fn written(outbox: &mut Outbox) -> Vec<Frame> {
        std::iter::from_fn(|| outbox.pop()).collect()
    }

    fn frame(name: &str) -> Frame {
        Frame::Text(name.to_owned())
    }

    /// An outbox whose client has answered the first probe.
    fn answering() -> Outbox {
        let mut outbox = Outbox::default();
        outbox.push(text(1));
        assert_eq!(written(&mut outbox), [frame("x"), Frame::Probe(1)]);
        assert!(!outbox.heard(1));
        outbox
    }

    #[test]
    fn more_than_the_limit_ends_the_socket_and_frees_what_waited() {
        let mut outbox = Outbox::default();
        for _ in 0..4 {
            outbox.push(text(LIMIT / 4));
        }
        assert_eq!(outbox.end(), None);
        outbox.push(text(1));
        assert_eq!(outbox.end(), Some(End::Overflow));
        assert_eq!(outbox.pop(), None);
        outbox.push(text(1));
        assert_eq!(outbox.pop(), None);
        assert_eq!(take_back(&mut outbox), None);
    }

    #[test]
    fn a_large_frame_passes_among_small_ones_and_popping_makes_room() {
        let mut outbox = Outbox::default();
        for frame in [text(10), text(3 * LIMIT), text(1000)] {
            outbox.push(frame);
        }
        assert_eq!(outbox.end(), None);
        let lengths = [10, 3 * LIMIT].map(|len| Frame::Text("x".repeat(len)));
        assert_eq!(outbox.pop().as_ref(), Some(&lengths[0]));
        assert_eq!(outbox.pop().as_ref(), Some(&lengths[1]));
        outbox.push(text(3 * LIMIT));
        assert_eq!(outbox.end(), None);
        outbox.push(text(LIMIT));
        assert_eq!(outbox.end(), Some(End::Overflow), "two of them do not");
    }

    #[test]
    fn what_was_queued_before_the_close_is_still_written_and_nothing_after() {
        let mut outbox = Outbox::default();
        outbox.push(text(1));
        outbox.close(1000, "first");
        outbox.close(1001, "second");
        outbox.push(text(2));
        assert_eq!(outbox.pop(), Some(frame("x")));
        assert_eq!(outbox.pop(), None);
        assert_eq!(outbox.end(), Some(End::Close(1000, "first")));
    }

    #[test]
    fn what_no_answer_vouches_for_is_taken_back_with_what_waits_and_what_came_late() {
        let mut outbox = answering();
        outbox.push(told("a"));
        assert_eq!(written(&mut outbox), [frame("a"), Frame::Probe(2)]);
        outbox.push(told("b"));
        assert_eq!(
            written(&mut outbox),
            [frame("b")],
            "one probe at a time, lest they outnumber what they vouch for"
        );
        assert!(outbox.heard(2), "b is still to be vouched for");
        assert_eq!(written(&mut outbox), [Frame::Probe(3)]);
        outbox.push(told("c"));
        outbox.push(text(1));
        outbox.close(1000, "");
        outbox.push(told("d"));
        outbox.push(text(1));
        let taken = take_back(&mut outbox).unwrap();
        assert_eq!(taken, ["b", "c", "d"].map(notification));
        outbox.push(told("e"));
        assert_eq!(outbox.pop(), None);
        assert_eq!(outbox.end(), Some(End::TakenBack));
        assert_eq!(take_back(&mut outbox), Some(Vec::new()));
    }

    #[test]
    fn who_never_answers_is_told_nothing_twice_and_never_disconnected_for_it() {
        let mut outbox = Outbox::default();
        for _ in 0..5 {
            outbox.push(Outgoing::Notification(notification("a"), "x".repeat(LIMIT)));
            assert!(outbox.pop().is_some());
        }
        assert_eq!(outbox.end(), None);
        assert!(outbox.unheard_bytes <= LIMIT && outbox.unheard.len() == 2);
        outbox.push(told("b"));
        assert_eq!(take_back(&mut outbox), Some(vec![notification("b")]));
    }

    #[test]
    fn who_answers_no_longer_is_disconnected_when_too_much_is_unheard() {
        let mut outbox = answering();
        for _ in 0..3 {
            assert_eq!(outbox.end(), None);
            outbox.push(Outgoing::Notification(notification("a"), "x".repeat(LIMIT)));
            while outbox.pop().is_some() {}
        }
        assert_eq!(outbox.end(), Some(End::Overflow));
        assert_eq!(take_back(&mut outbox), None);
    }

    #[test]
    fn answers_to_probes_that_were_never_sent_vouch_for_nothing_that_comes() {
        let mut outbox = answering();
        assert!(!outbox.heard(u64::MAX));
        outbox.push(told("a"));
        assert_eq!(written(&mut outbox), [frame("a"), Frame::Probe(2)]);
        assert!(!outbox.heard(0));
        assert_eq!(take_back(&mut outbox), Some(vec![notification("a")]));
    }

    /// What is taken back at 61 s of a client that is told `a` at 1 s, `b` at 4 s and `c` at 40 s, each answered at once.
    fn taken_of(lives: impl FnOnce(&mut Outbox)) -> Vec<Notification> {
        let mut outbox = answering();
        outbox.page_spoke(seconds(0));
        for (name, at) in [("a", 1), ("b", 4), ("c", 40)] {
            outbox.push(told(name));
            while let Some(frame) = outbox.pop() {
                if let Frame::Probe(number) = frame {
                    outbox.browser_spoke(seconds(at));
                    outbox.heard(number);
                }
            }
            if name == "a" {
                outbox.page_spoke(seconds(2));
            }
        }
        lives(&mut outbox);
        let taken = outbox.take_back(seconds(61), PATIENCE).unwrap();
        taken.iter().map(|told| (**told).clone()).collect()
    }

    #[test]
    fn a_page_that_stood_still_while_its_browser_answered_is_told_again_since_its_last_request() {
        let names = |taken: Vec<Notification>| taken.len();
        let still = taken_of(|outbox| outbox.browser_spoke(seconds(58)));
        assert_eq!(still, ["b", "c"].map(|name| (*notification(name)).clone()));
        let moving = taken_of(|outbox| outbox.page_spoke(seconds(58)));
        assert_eq!(names(moving), 0, "it has read everything");
        let cut = taken_of(|_| {});
        assert_eq!(names(cut), 0, "the browser is gone, too, and had it all");
        let reset = taken_of(|outbox| {
            outbox.browser_spoke(seconds(58));
            outbox.broke();
        });
        assert_eq!(names(reset), 0, "a slow page, not one that stands still");
    }

    #[test]
    fn what_a_page_may_not_have_read_is_bounded() {
        let mut outbox = answering();
        outbox.page_spoke(t0());
        for _ in 0..10 {
            outbox.push(Outgoing::Notification(
                notification("a"),
                "x".repeat(LIMIT / 8),
            ));
            while let Some(frame) = outbox.pop() {
                if let Frame::Probe(number) = frame {
                    outbox.heard(number);
                }
            }
            assert!(outbox.unread_bytes <= MAX_UNREAD);
        }
        assert_eq!(outbox.unread.len(), 4);
        assert_eq!(outbox.end(), None);
    }
}
