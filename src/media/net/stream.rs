//! TCP connections that carry datagrams: never blocking, with bounds on what waits in either direction.
//!
//! A stream does not know where it comes from: an accepted connection, with the bytes that somebody has read from it
//! already, is as good as a fresh one.

use std::io::{self, Read};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::SendFlags;
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

/// What [`Stream::receive`] needs: what waits for the rest of its frame, and one read.
pub const RECEIVE_BUFFER: usize = 2 * READ;

/// A listening TCP socket.
#[derive(Debug)]
pub struct StreamListener {
    socket: TcpListener,
    local: SocketAddr,
}

impl StreamListener {
    /// Listens on `addr`.
    ///
    /// # Errors
    /// The port is taken, or the address is not ours.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Connections of an earlier process that linger must not keep us from our port; a living listener still does.
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from(socket);
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
    /// Datagrams that were lost.
    pub dropped: u64,
}

/// A connection that carries datagrams framed as `F` says.
#[derive(Debug)]
pub struct Stream<F> {
    socket: TcpStream,
    peer: SocketAddr,
    /// The beginning of a frame.
    partial: Vec<u8>,
    /// Somebody else has read what is kept, so that there may be whole frames in it.
    is_unseen: bool,
    /// Sent as soon as the kernel takes it.
    pending: Vec<u8>,
    is_broken: bool,
    framing: PhantomData<F>,
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
        Ok(Self {
            socket,
            peer: canonical(peer),
            partial: first.to_vec(),
            is_unseen: !first.is_empty(),
            pending: Vec::new(),
            is_broken: false,
            framing: PhantomData,
        })
    }

    /// The peer's address; IPv4-mapped ones are given as IPv4.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Reads once into `buffer`, which has at least [`RECEIVE_BUFFER`] bytes, behind what [`Self::keep`] was given.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Arrived {
        let kept = self.partial.len();
        let (before, space) = buffer[..kept + READ].split_at_mut(kept);
        if std::mem::take(&mut self.is_unseen) {
            before.copy_from_slice(&self.partial);
            self.partial.clear();
            return Arrived::Bytes(kept);
        }
        match self.socket.read(space) {
            Ok(0) => Arrived::End,
            Ok(len) => {
                before.copy_from_slice(&self.partial);
                self.partial.clear();
                Arrived::Bytes(kept + len)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Arrived::Nothing
            }
            Err(_) => Arrived::End,
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
            } else {
                written.dropped += 1;
            }
        }
        written
    }

    /// Sends what waits. Returns whether something still does.
    pub fn resume(&mut self) -> bool {
        if !self.pending.is_empty() {
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
        !self.pending.is_empty() && !self.is_broken
    }

    /// How many of `bytes` the kernel takes now. Of a broken connection it takes none; reading tells its end.
    fn offer(&mut self, bytes: &[u8]) -> usize {
        if self.is_broken || bytes.is_empty() {
            return 0;
        }
        loop {
            match rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL) {
                Ok(taken) => return taken,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return 0,
                Err(_) => {
                    self.is_broken = true;
                    return 0;
                }
            }
        }
    }
}

impl<F> AsFd for Stream<F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::media::net::framing::Rfc4571;

    /// A stream of ours and the browser's end of it.
    fn pair(first: &[u8]) -> (Stream<Rfc4571>, TcpStream) {
        let listener = StreamListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let browser = TcpStream::connect(listener.local_addr()).unwrap();
        let (socket, peer) = loop {
            if let Some(accepted) = listener.accept().unwrap() {
                break accepted;
            }
        };
        assert_eq!(peer, browser.local_addr().unwrap());
        (Stream::new(socket, peer, first).unwrap(), browser)
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
    fn datagrams(browser: &mut TcpStream, stream: &mut Stream<Rfc4571>) -> Vec<Vec<u8>> {
        let pause = std::time::Duration::from_millis(100);
        browser.set_read_timeout(Some(pause)).unwrap();
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

    #[test]
    fn a_frame_that_comes_byte_by_byte_is_whole_in_the_end() {
        let (mut stream, mut browser) = pair(&[]);
        let mut buffer = vec![0; RECEIVE_BUFFER];
        assert_eq!(stream.receive(&mut buffer), Arrived::Nothing);
        let bytes = frame(RTP, 30);
        for (number, byte) in bytes.iter().enumerate() {
            browser.write_all(&[*byte]).unwrap();
            let arrived = loop {
                let arrived = stream.receive(&mut buffer);
                if arrived != Arrived::Nothing {
                    break arrived;
                }
            };
            assert_eq!(arrived, Arrived::Bytes(number + 1));
            assert!(stream.keep(&buffer[..=number]));
        }
        assert_eq!(buffer[..bytes.len()], bytes);
        drop(browser);
        let end = std::iter::repeat_with(|| stream.receive(&mut buffer))
            .find(|arrived| *arrived != Arrived::Nothing);
        assert_eq!(end, Some(Arrived::End));
        assert!(!stream.keep(&[0; MAX_PARTIAL + 1]));
    }

    #[test]
    fn bytes_that_somebody_else_has_read_come_first() {
        let first = [frame(RTP, 10), frame(RTCP, 20)].concat();
        let (mut stream, mut browser) = pair(&first);
        let mut buffer = vec![0; RECEIVE_BUFFER];
        assert_eq!(stream.receive(&mut buffer), Arrived::Bytes(first.len()));
        assert_eq!(buffer[..first.len()], first);
        browser.write_all(&[7]).unwrap();
        let arrived = std::iter::repeat_with(|| stream.receive(&mut buffer))
            .find(|arrived| *arrived != Arrived::Nothing);
        assert_eq!(arrived, Some(Arrived::Bytes(1)));
    }

    #[test]
    fn a_peer_that_does_not_read_loses_whole_media_packets_and_nothing_else() {
        let (mut stream, mut browser) = pair(&[]);
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
        assert!(stream.pending.len() <= MAX_PENDING + MAX_PARTIAL);
        let arrived = datagrams(&mut browser, &mut stream);
        assert_eq!(arrived.len() as u64, sent);
        let is_control = |datagram: &&Vec<u8>| datagram[1] == RTCP[1];
        assert_eq!(arrived.iter().filter(is_control).count() as u64, controls);
        assert!(!stream.is_waiting());
        // It goes on as before.
        assert_eq!(stream.send(&frame(RTP, 100)).dropped, 0);
        assert_eq!(datagrams(&mut browser, &mut stream).len(), 1);
    }

    #[test]
    fn control_is_bounded_too() {
        let (mut stream, _browser) = pair(&[]);
        let mut dropped = 0;
        while dropped == 0 {
            dropped = stream.send(&frame(RTCP, 1_000)).dropped;
        }
        assert!(stream.pending.len() <= MAX_PENDING);
    }

    #[test]
    fn a_broken_connection_takes_everything_and_sends_nothing() {
        let (mut stream, browser) = pair(&[]);
        drop(browser);
        let mut dropped = 0;
        for _ in 0..100 {
            dropped += stream.send(&frame(RTP, 1_000)).dropped;
        }
        assert!(dropped >= 98, "the first may go before the kernel knows");
        assert!(!stream.resume());
    }

    #[test]
    fn a_port_that_listens_is_taken() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = StreamListener::bind(any).unwrap();
        let error = StreamListener::bind(listener.local_addr()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(listener.accept().unwrap().is_none());
    }
}
