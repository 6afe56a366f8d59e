//! TCP connections that carry datagrams, over TLS or not: never blocking, with bounds on what waits in either direction.
//!
//! A stream does not know where it comes from: an accepted connection, with the bytes that somebody has read from it
//! already, is as good as a fresh one. So is the state of a TLS connection whose handshake somebody else has done.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::SendFlags;
use rustls::ServerConnection;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::framing::{Extent, Framing, MAX_FRAMED};
use super::udp::canonical;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1_024;

/// Bytes that the kernel takes beyond what is under way. A key frame fits; more would only arrive too late.
const UNSENT: u32 = 128 * 1024;

/// Bytes that wait here for the kernel's room: the rest of a frame, and what must not be lost.
const MAX_PENDING: usize = 32 * 1024;

/// Most bytes that wait for the rest of their frame.
const MAX_PARTIAL: usize = 2 + MAX_FRAMED;

/// Bytes of one read call at most: whoever fills them with the shortest frames must not keep media waiting.
pub const READ: usize = 16 * 1024;

/// What [`Stream::receive`] needs: what waits for the rest of its frame, one read, and what rustls decrypts of a record
/// that ends in it.
pub const RECEIVE_BUFFER: usize = 3 * READ;

/// Plaintext of one TLS record at most (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;

/// What a TLS record adds to its plaintext, with any cipher suite of ours.
const RECORD_OVERHEAD: usize = 32;

/// What rustls decrypts at once: no more than its buffer for the largest record holds (RFC 8446 section 5.2).
const DECRYPTED_AT_ONCE: usize = 5 + RECORD + 2_048;

/// What rustls asks the kernel for; less than that was everything.
const TLS_READ: usize = 4 * 1024;

/// A listening TCP socket.
#[derive(Debug)]
pub struct StreamListener {
    socket: TcpListener,
    local: SocketAddr,
}

impl StreamListener {
    /// Listens on `addr`; with `shared`, other listeners may do so too, and the kernel spreads the connections.
    ///
    /// # Errors
    /// The port is taken, or the address is not ours.
    pub fn bind(addr: SocketAddr, shared: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Connections of an earlier process that linger must not keep us from our port; a living listener still does.
        socket.set_reuse_address(true)?;
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Self::adopt(TcpListener::from(socket))
    }

    /// Takes a socket that listens already; others may accept its connections, too.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn adopt(socket: TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The next connection, if one waits.
    ///
    /// # Errors
    /// The process or the system is out of something. What went wrong with one connection is no error.
    pub fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        match self.socket.accept() {
            Ok(accepted) => Ok(Some(accepted)),
            // accept(2): errors of the new connection are told here; the next one may be good.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::HostUnreachable
                        | io::ErrorKind::NetworkUnreachable
                        | io::ErrorKind::NetworkDown
                        | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl AsFd for StreamListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What [`Stream::receive`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrived {
    /// So many bytes stand at the beginning of the buffer.
    Bytes(usize),
    /// There was nothing to read.
    Nothing,
    /// The peer sends no more, or the connection broke.
    End,
}

/// What became of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Datagrams that the kernel took, or that wait for its room.
    pub datagrams: u64,
    /// Their bytes, with what frames them.
    pub bytes: u64,
    /// Datagrams that were lost.
    pub dropped: u64,
}

/// A connection that carries datagrams framed as `F` says.
#[derive(Debug)]
pub struct Stream<F> {
    socket: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    tls: Option<Tls>,
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// There is something to be handled of which the kernel knows nothing: what somebody else has read, or the end.
    is_unseen: bool,
    /// Without TLS: sent as soon as the kernel takes it.
    pending: Vec<u8>,
    is_broken: bool,
    framing: PhantomData<F>,
}

/// The TLS layer of a connection.
#[derive(Debug)]
struct Tls {
    session: Box<ServerConnection>,
    /// At least as many bytes as it holds back because the kernel had no room for them.
    sealed: usize,
    /// The peer sends no more, though what it has sent has not been handled yet.
    is_over: bool,
}

impl<F: Framing> Stream<F> {
    /// Takes over an accepted connection from which `first` has been read already.
    ///
    /// # Errors
    /// The connection has broken, or `first` is more than one [`READ`].
    pub fn new(socket: TcpStream, peer: SocketAddr, first: &[u8]) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT)?;
        if first.len() > READ {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let local = canonical(socket.local_addr()?);
        Ok(Self {
            socket,
            peer: canonical(peer),
            local,
            tls: None,
            partial: first.to_vec(),
            is_unseen: !first.is_empty(),
            pending: Vec::new(),
            is_broken: false,
            framing: PhantomData,
        })
    }

    /// Takes over a connection with TLS whose handshake is done; `session` may hold decrypted bytes.
    ///
    /// # Errors
    /// The connection has broken, or its handshake is not done.
    pub fn over_tls(
        socket: TcpStream,
        peer: SocketAddr,
        mut session: Box<ServerConnection>,
    ) -> io::Result<Self> {
        if session.is_handshaking() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Ours is the stricter bound; what exceeded this one would be cut in the middle of a frame.
        session.set_buffer_limit(Some(MAX_PENDING + RECORD));
        let mut stream = Self::new(socket, peer, &[])?;
        stream.tls = Some(Tls {
            session,
            sealed: 0,
            is_over: false,
        });
        stream.is_unseen = true;
        stream.resume();
        Ok(stream)
    }

    /// The peer's address; IPv4-mapped ones are given as IPv4.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Our address; IPv4-mapped ones are given as IPv4.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether datagrams travel in TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether [`Self::receive`] finds something of which the kernel does not know.
    pub fn has_unseen(&self) -> bool {
        self.is_unseen
    }

    /// Reads once into `buffer`, which has at least [`RECEIVE_BUFFER`] bytes, behind what [`Self::keep`] was given.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Arrived {
        let kept = self.partial.len();
        let (before, space) = buffer.split_at_mut(kept);
        let is_unseen = std::mem::take(&mut self.is_unseen);
        let arrived = match &mut self.tls {
            Some(tls) => {
                let space = &mut space[..RECEIVE_BUFFER - kept];
                let (arrived, has_more) = tls.receive(&self.socket, space);
                self.is_unseen = has_more;
                // An alert, or new keys.
                self.resume();
                arrived
            }
            None if is_unseen => Arrived::Bytes(0),
            None => read(&self.socket, &mut space[..READ]),
        };
        match arrived {
            Arrived::Bytes(len) => {
                before.copy_from_slice(&self.partial);
                self.partial.clear();
                Arrived::Bytes(kept + len)
            }
            Arrived::Nothing | Arrived::End => arrived,
        }
    }

    /// Keeps the beginning of a frame until the rest of it arrives. False if it is more than any frame has.
    pub fn keep(&mut self, rest: &[u8]) -> bool {
        if rest.len() > MAX_PARTIAL {
            return false;
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        true
    }

    /// Sends `frames`, whole frames one behind the other. What the kernel does not take is lost if it is expendable,
    /// always by whole datagrams, and waits if it is not, as far as there is room.
    pub fn send(&mut self, frames: &[u8]) -> Written {
        if self.tls.is_some() {
            return self.send_sealed(frames);
        }
        let taken = if self.pending.is_empty() {
            self.offer(frames)
        } else {
            0
        };
        let mut written = Written::default();
        let mut at = 0;
        while let Extent::Complete { datagram, end } = F::first(&frames[at..]) {
            let (start, datagram) = (at, &frames[at..][datagram]);
            at += end;
            let is_begun = start < taken;
            let rest = &frames[taken.clamp(start, at)..at];
            let has_room = self.pending.len() + rest.len() <= MAX_PENDING;
            // What has been begun must be finished, or nothing behind it could be read.
            if rest.is_empty() || is_begun || (has_room && !F::is_expendable(datagram)) {
                self.pending.extend_from_slice(rest);
                written.datagrams += 1;
                written.bytes += (at - start) as u64;
            } else {
                written.dropped += 1;
            }
        }
        written
    }

    /// As [`Self::send`]. What is sealed must be sent, or nothing behind it could be opened: so the room is looked for
    /// first. Neighbours share a record.
    fn send_sealed(&mut self, frames: &[u8]) -> Written {
        let mut written = Written::default();
        let (mut begin, mut datagrams) = (0, 0);
        let mut at = 0;
        while let Extent::Complete { datagram, end } = F::first(&frames[at..]) {
            let (start, is_expendable) = (at, F::is_expendable(&frames[at..][datagram]));
            at += end;
            if at - begin > RECORD {
                self.seal(&frames[begin..start], datagrams, &mut written);
                (begin, datagrams) = (start, 0);
            }
            let waiting = self.tls.as_ref().map_or(0, |tls| tls.sealed);
            let has_room = waiting + (at - begin) + RECORD_OVERHEAD <= MAX_PENDING;
            if waiting == 0 || (has_room && !is_expendable) {
                datagrams += 1;
            } else {
                self.seal(&frames[begin..start], datagrams, &mut written);
                (begin, datagrams) = (at, 0);
                written.dropped += 1;
            }
        }
        self.seal(&frames[begin..at], datagrams, &mut written);
        written
    }

    /// Sends `bytes`, at most a [`RECORD`], as one record.
    fn seal(&mut self, bytes: &[u8], datagrams: u64, written: &mut Written) {
        let Some(tls) = self.tls.as_mut().filter(|_| !bytes.is_empty()) else {
            return;
        };
        let is_sealed = !self.is_broken
            && matches!(tls.session.writer().write(bytes), Ok(len) if len == bytes.len());
        if !is_sealed {
            self.is_broken = true;
            written.dropped += datagrams;
            return;
        }
        tls.sealed += bytes.len() + RECORD_OVERHEAD;
        written.datagrams += datagrams;
        written.bytes += bytes.len() as u64;
        self.resume();
    }

    /// Sends what waits. Returns whether something still does.
    pub fn resume(&mut self) -> bool {
        if let Some(tls) = &mut self.tls {
            self.is_broken |= !tls.resume(&self.socket);
        } else if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            let taken = self.offer(&pending);
            if taken < pending.len() {
                self.pending = pending;
                self.pending.drain(..taken);
            }
        }
        self.is_waiting()
    }

    /// Returns whether something waits for the kernel's room.
    pub fn is_waiting(&self) -> bool {
        let is_sealed = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.session.wants_write());
        !self.is_broken && (is_sealed || !self.pending.is_empty())
    }

    /// Says goodbye where there is a way to: what is sent afterwards is lost.
    pub fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.session.send_close_notify();
            // The kernel takes it, or the peer learns the end from the connection's.
            self.resume();
        }
    }

    /// How many of `bytes` the kernel takes now. Of a broken connection it takes none; reading tells its end.
    fn offer(&mut self, bytes: &[u8]) -> usize {
        if self.is_broken || bytes.is_empty() {
            return 0;
        }
        match send(&self.socket, bytes) {
            Ok(taken) => taken,
            Err(error) => {
                self.is_broken = error.kind() != io::ErrorKind::WouldBlock;
                0
            }
        }
    }
}

impl Tls {
    /// Reads and decrypts a few records into `space`. The second value tells that more can be had without the kernel's
    /// knowing of it.
    fn receive(&mut self, socket: &TcpStream, space: &mut [u8]) -> (Arrived, bool) {
        let mut filled = 0;
        let mut is_drained = false;
        while !self.is_over {
            // What has been decrypted goes first: rustls bounds what it reads beyond that.
            match self.session.reader().read(&mut space[filled..]) {
                Ok(0) => self.is_over = true,
                Ok(len) => filled += len,
                Err(error) => self.is_over = error.kind() != io::ErrorKind::WouldBlock,
            }
            if is_drained || space.len() - filled < DECRYPTED_AT_ONCE {
                break;
            }
            match self.session.read_tls(&mut &*socket) {
                Ok(len) => is_drained = len < TLS_READ,
                Err(error) if is_temporary(&error) => break,
                Err(_) => self.is_over = true,
            }
            self.is_over |= self.session.process_new_packets().is_err();
        }
        let arrived = match filled {
            1.. => Arrived::Bytes(filled),
            0 if self.is_over => Arrived::End,
            0 => Arrived::Nothing,
        };
        let has_more = filled == space.len() || (self.is_over && filled > 0);
        (arrived, has_more)
    }

    /// Sends what is sealed as far as the kernel takes it. False if the connection is broken.
    fn resume(&mut self, socket: &TcpStream) -> bool {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Unsignalled(socket)) {
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
        self.sealed = 0;
        true
    }
}

/// Writes without SIGPIPE for whoever hosts us.
struct Unsignalled<'a>(&'a TcpStream);

impl Write for Unsignalled<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        send(self.0, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}

fn read(mut socket: &TcpStream, space: &mut [u8]) -> Arrived {
    match socket.read(space) {
        Ok(0) => Arrived::End,
        Ok(len) => Arrived::Bytes(len),
        Err(error) if is_temporary(&error) => Arrived::Nothing,
        Err(_) => Arrived::End,
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl<F> AsFd for Stream<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_with;

    use rustls::SupportedProtocolVersion;
    use rustls::version::{TLS12, TLS13};

    use super::*;
    use crate::media::net::framing::Rfc4571;
    use crate::testing::tls::{Browser, WAYS, connected};

    fn sockets() -> (TcpStream, SocketAddr, TcpStream) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = StreamListener::bind(any, false).unwrap();
        let browser = TcpStream::connect(listener.local_addr()).unwrap();
        let accepted = repeat_with(|| listener.accept().unwrap()).find_map(|accepted| accepted);
        let (socket, peer) = accepted.unwrap();
        assert_eq!(peer, browser.local_addr().unwrap());
        (socket, peer, browser)
    }

    /// A stream of ours, from which `first` has been read, and the browser's end of it.
    fn pair<F: Framing>(
        way: Option<&'static SupportedProtocolVersion>,
        first: &[u8],
    ) -> (Stream<F>, Browser) {
        let (socket, peer, browser) = sockets();
        let Some(version) = way else {
            let stream = Stream::new(socket, peer, first).unwrap();
            return (stream, Browser::Plain(browser));
        };
        let (server, client) = connected(version, first);
        let stream = Stream::over_tls(socket, peer, Box::new(server)).unwrap();
        (stream, Browser::over_tls(client, browser))
    }

    fn frame(kind: [u8; 2], len: usize) -> Vec<u8> {
        let mut frame = vec![0; 2 + len];
        Rfc4571::write_header(&mut frame[..2], len);
        frame[2..4].copy_from_slice(&kind);
        frame
    }

    const RTP: [u8; 2] = [128, 96];
    const RTCP: [u8; 2] = [128, 200];

    /// Every datagram that arrives until nothing does for a moment.
    fn datagrams(browser: &mut Browser, stream: &mut Stream<Rfc4571>) -> Vec<Vec<u8>> {
        let pause = std::time::Duration::from_millis(100);
        browser.socket().set_read_timeout(Some(pause)).unwrap();
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; READ]);
        while let Ok(len @ 1..) = browser.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..len]);
            stream.resume();
        }
        let (mut at, mut found) = (0, Vec::new());
        while let Extent::Complete { datagram, end } = Rfc4571::first(&bytes[at..]) {
            found.push(bytes[at..][datagram].to_vec());
            at += end;
        }
        assert_eq!(at, bytes.len(), "no frame is cut");
        found
    }

    /// What is received once something is.
    fn arrived<F: Framing>(stream: &mut Stream<F>, buffer: &mut [u8]) -> Arrived {
        repeat_with(|| stream.receive(buffer))
            .find(|arrived| *arrived != Arrived::Nothing)
            .unwrap()
    }

    #[test]
    fn a_frame_that_comes_byte_by_byte_is_whole_in_the_end() {
        for way in WAYS {
            let (mut stream, mut browser) = pair::<Rfc4571>(way, &[]);
            let mut buffer = vec![0; RECEIVE_BUFFER];
            assert_eq!(stream.receive(&mut buffer), Arrived::Nothing);
            assert!(!stream.has_unseen());
            let bytes = frame(RTP, 30);
            for (number, byte) in bytes.iter().enumerate() {
                browser.write_all(&[*byte]).unwrap();
                let arrived = arrived(&mut stream, &mut buffer);
                assert_eq!(arrived, Arrived::Bytes(number + 1));
                assert!(stream.keep(&buffer[..=number]));
            }
            assert_eq!(buffer[..bytes.len()], bytes);
            drop(browser);
            assert_eq!(arrived(&mut stream, &mut buffer), Arrived::End);
            assert!(!stream.keep(&[0; MAX_PARTIAL + 1]));
        }
    }

    #[test]
    fn bytes_that_somebody_else_has_read_come_first() {
        for way in WAYS {
            let first = [frame(RTP, 10), frame(RTCP, 20)].concat();
            let (mut stream, mut browser) = pair::<Rfc4571>(way, &first);
            let mut buffer = vec![0; RECEIVE_BUFFER];
            assert!(stream.has_unseen(), "the kernel will not call");
            assert_eq!(stream.receive(&mut buffer), Arrived::Bytes(first.len()));
            assert_eq!(buffer[..first.len()], first);
            assert!(!stream.has_unseen());
            browser.write_all(&[7]).unwrap();
            assert_eq!(arrived(&mut stream, &mut buffer), Arrived::Bytes(1));
        }
    }

    #[test]
    fn a_peer_that_does_not_read_loses_whole_media_packets_and_nothing_else() {
        for way in WAYS {
            let (mut stream, mut browser) = pair::<Rfc4571>(way, &[]);
            let (mut sent, mut dropped, mut controls) = (0, 0, 0);
            for round in 0..4_000 {
                let mut frames = [frame(RTP, 1_200), frame(RTP, 900)].concat();
                if round % 20 == 0 {
                    frames.extend(frame(RTCP, 60));
                    controls += 1;
                }
                let written = stream.send(&frames);
                sent += written.datagrams;
                dropped += written.dropped;
            }
            assert!(stream.is_waiting());
            assert!(dropped > 0 && sent + dropped == 8_000 + controls);
            assert!(held_back(&mut stream) <= MAX_PENDING + MAX_PARTIAL);
            let arrived = datagrams(&mut browser, &mut stream);
            assert_eq!(arrived.len() as u64, sent);
            let is_control = |datagram: &&Vec<u8>| datagram[1] == RTCP[1];
            assert_eq!(arrived.iter().filter(is_control).count() as u64, controls);
            assert!(!stream.is_waiting());
            // It goes on as before.
            assert_eq!(stream.send(&frame(RTP, 100)).dropped, 0);
            assert_eq!(datagrams(&mut browser, &mut stream).len(), 1);
        }
    }

    /// Bytes that wait here for the kernel's room.
    fn held_back(stream: &mut Stream<Rfc4571>) -> usize {
        let sealed = stream.tls.as_mut().map_or(0, |tls| {
            let state = tls.session.process_new_packets().unwrap();
            assert!(state.tls_bytes_to_write() <= tls.sealed);
            state.tls_bytes_to_write()
        });
        stream.pending.len() + sealed
    }

    #[test]
    fn control_is_bounded_too() {
        for way in WAYS {
            let (mut stream, _browser) = pair::<Rfc4571>(way, &[]);
            let mut dropped = 0;
            while dropped == 0 {
                dropped = stream.send(&frame(RTCP, 20)).dropped;
            }
            assert!(held_back(&mut stream) <= MAX_PENDING);
        }
    }

    #[test]
    fn more_than_a_record_at_once_arrives_in_order_in_both_directions() {
        for way in WAYS {
            let (mut stream, mut browser) = pair::<Rfc4571>(way, &[]);
            let sizes = (0..300).map(|number| 2 + number * 37 % 1_300);
            let frames: Vec<u8> = sizes.flat_map(|size| frame(RTCP, size)).collect();
            // Ours may wait for room, so that the browser must read meanwhile.
            let mut written = 0;
            let mut received = 0;
            for part in [&frames[..], &frames[..]] {
                let sent = stream.send(part);
                assert_eq!(sent.dropped, 0);
                written += sent.datagrams;
                received += datagrams(&mut browser, &mut stream).len() as u64;
            }
            assert_eq!((written, received), (600, 600));

            let mut buffer = vec![0; RECEIVE_BUFFER];
            let expected = frames.clone();
            let writer = std::thread::spawn(move || {
                browser.write_all(&frames).unwrap();
                browser
            });
            let mut bytes = Vec::new();
            while bytes.len() < expected.len() {
                if let Arrived::Bytes(len) = arrived(&mut stream, &mut buffer) {
                    assert!(way.is_none() || len < RECEIVE_BUFFER);
                    bytes.extend_from_slice(&buffer[..len]);
                }
            }
            assert_eq!(bytes, expected);
            drop(writer.join().unwrap());
            assert_eq!(arrived(&mut stream, &mut buffer), Arrived::End);
        }
    }

    #[test]
    fn a_broken_connection_takes_everything_and_sends_nothing() {
        for way in WAYS {
            let (mut stream, browser) = pair::<Rfc4571>(way, &[]);
            drop(browser);
            let mut dropped = 0;
            for _ in 0..100 {
                dropped += stream.send(&frame(RTP, 1_000)).dropped;
            }
            assert!(dropped >= 98, "the first may go before the kernel knows");
            assert!(!stream.resume());
        }
    }

    #[test]
    fn both_ends_of_tls_say_goodbye_and_what_came_before_is_handled() {
        for version in [&TLS12, &TLS13] {
            let (mut stream, browser) = pair::<Rfc4571>(Some(version), &[]);
            let Browser::Tls(mut browser) = browser else {
                unreachable!("it has TLS")
            };
            let mut buffer = vec![0; RECEIVE_BUFFER];
            browser.write_all(&frame(RTP, 10)).unwrap();
            browser.conn.send_close_notify();
            browser.flush().unwrap();
            assert_eq!(arrived(&mut stream, &mut buffer), Arrived::Bytes(12));
            assert_eq!(arrived(&mut stream, &mut buffer), Arrived::End);
            stream.finish();
            drop(stream);
            // Without our farewell, rustls would speak of an unexpected end.
            assert_eq!(browser.read(&mut buffer).unwrap(), 0);
        }
    }

    #[test]
    fn what_is_no_tls_ends_the_stream_and_is_told_why() {
        for version in [&TLS12, &TLS13] {
            let (mut stream, browser) = pair::<Rfc4571>(Some(version), &[]);
            let Browser::Tls(mut browser) = browser else {
                unreachable!("it has TLS")
            };
            let mut buffer = vec![0; RECEIVE_BUFFER];
            // A record that was never sealed.
            browser.sock.write_all(&[23, 3, 3, 0, 40]).unwrap();
            browser.sock.write_all(&[7; 40]).unwrap();
            assert_eq!(arrived(&mut stream, &mut buffer), Arrived::End);
            stream.finish();
            drop(stream);
            let error = browser.read(&mut buffer).unwrap_err();
            assert!(error.to_string().contains("BadRecordMac"), "{error}");
        }
    }

    #[test]
    fn a_port_that_listens_is_taken() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = StreamListener::bind(any, false).unwrap();
        for shared in [false, true] {
            let error = StreamListener::bind(listener.local_addr(), shared).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
        assert!(listener.accept().unwrap().is_none());
        // Only who shares it gets in beside those who share it.
        let first = StreamListener::bind(any, true).unwrap();
        StreamListener::bind(first.local_addr(), true).unwrap();
        assert!(StreamListener::bind(first.local_addr(), false).is_err());
    }
}
