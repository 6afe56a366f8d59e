//! UDP sockets that receive in batches (recvmmsg, GRO) and send in GSO runs or batches (sendmmsg).

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::io::Errno;
use rustix::net::sockopt::Ipv4PathMtuDiscovery;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny};
use socket2::{Domain, Protocol, Socket, Type};

/// Messages that one receive call may return.
pub const RECEIVE_BATCH: usize = quinn_udp::BATCH_SIZE;

/// Bytes of one receive buffer: a whole GRO train.
const RECEIVE_BUFFER: usize = 65_536;

/// Datagrams of one `sendmmsg`.
const SEND_BATCH: usize = 32;

/// Most bytes of each datagram of a GSO run. Browsers send 1,200 and a few. A run of datagrams that are longer than the
/// device's MTU fails like one on a device without GSO, after which none is made any more: a publisher of such packets
/// must not do that to everybody else.
const MAX_SEGMENT: usize = 1_300;

/// Most bytes of one GSO run: an IPv4 datagram less its headers.
const MAX_RUN_BYTES: usize = 65_507;

/// What the kernel chooses as the source of what stays on the loopback interface.
const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// What we ask of the kernel for each direction; it grants what `net.core.*mem_max` allows.
const SOCKET_BUFFER: usize = 4 << 20;

/// The same for a socket that one client has for itself: there may be thousands.
const SMALL_SOCKET_BUFFER: usize = 256 << 10;

/// A bound UDP socket.
#[derive(Debug)]
pub struct BatchSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    /// The socket is bound to no address, so datagrams leave from the one that the kernel chooses.
    is_wildcard: bool,
    /// What it chooses for every receiver but those on the loopback interface.
    sole: Option<IpAddr>,
    /// The device has refused a GSO run, so that none is made any more.
    refuses_runs: Cell<bool>,
}

/// One datagram, or several of one size from one sender (GRO).
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// The sender.
    pub from: SocketAddr,
    /// The address of ours that was asked.
    pub to: Option<IpAddr>,
    /// Bytes in the buffer.
    pub len: usize,
    /// Bytes of each datagram but the last.
    pub stride: usize,
}

/// The buffers of one receive call, and what they hold.
#[derive(Debug)]
pub struct ReceiveBuffers {
    bytes: Vec<u8>,
    meta: [RecvMeta; RECEIVE_BATCH],
    filled: usize,
}

impl Default for ReceiveBuffers {
    fn default() -> Self {
        Self {
            bytes: vec![0; RECEIVE_BUFFER * RECEIVE_BATCH],
            meta: [RecvMeta::default(); RECEIVE_BATCH],
            filled: 0,
        }
    }
}

impl ReceiveBuffers {
    /// The number of messages that the last receive call returned.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Returns whether the last receive call returned nothing.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// What message `index` is.
    pub fn received(&self, index: usize) -> Received {
        let meta = &self.meta[index];
        Received {
            from: canonical(meta.addr),
            to: meta.dst_ip.map(|ip| ip.to_canonical()),
            len: meta.len,
            stride: if meta.stride == 0 {
                meta.len
            } else {
                meta.stride
            },
        }
    }

    /// Where in [`Self::bytes`] the buffer of message `index` begins.
    pub const fn offset(index: usize) -> usize {
        index * RECEIVE_BUFFER
    }

    /// All buffers.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All buffers, to be decrypted in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// One datagram to send; its bytes lie in a buffer that the caller passes beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// The receiver.
    pub to: SocketAddr,
    /// The address of ours to send from; the kernel's choice if `None`.
    pub from: Option<IpAddr>,
    /// Where its bytes begin.
    pub start: usize,
    /// How many they are.
    pub len: usize,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that it did not take: full buffer, unreachable receiver.
    pub dropped: u64,
    /// GSO runs of two or more datagrams.
    pub runs: u64,
    /// Runs that the device refused, whereupon the socket makes none any more.
    pub refused_runs: u64,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.datagrams += more.datagrams;
        self.bytes += more.bytes;
        self.dropped += more.dropped;
        self.runs += more.runs;
        self.refused_runs += more.refused_runs;
    }
}

impl BatchSocket {
    /// Binds `addr`. With `shared`, several sockets of ours may bind it and the kernel spreads senders over them.
    /// `sole` is the only unicast address of that family that the host has, loopback aside; `None` if it has several.
    ///
    /// # Errors
    /// The port is taken, or the address is not ours.
    pub fn bind(addr: SocketAddr, shared: bool, sole: Option<IpAddr>) -> io::Result<Self> {
        Self::bind_with(addr, shared, sole, SOCKET_BUFFER)
    }

    /// Binds `addr` for one client, whose datagrams may be fragmented.
    ///
    /// # Errors
    /// The port is taken, the address is not ours, or the process is out of descriptors.
    pub fn bind_small(addr: SocketAddr) -> io::Result<Self> {
        let socket = Self::bind_with(addr, false, None, SMALL_SOCKET_BUFFER)?;
        socket.may_fragment(true);
        Ok(socket)
    }

    fn bind_with(
        addr: SocketAddr,
        shared: bool,
        sole: Option<IpAddr>,
        buffer: usize,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if shared {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&addr.into())?;
        Self::adopt_with(UdpSocket::from(socket), sole, buffer)
    }

    /// Takes a socket that is bound already, to IPv4 or IPv6 but not both. `sole` as of [`Self::bind`].
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn adopt(socket: UdpSocket, sole: Option<IpAddr>) -> io::Result<Self> {
        Self::adopt_with(socket, sole, SOCKET_BUFFER)
    }

    fn adopt_with(socket: UdpSocket, sole: Option<IpAddr>, buffer: usize) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // Smaller buffers work too; the kernel caps them silently in some versions and refuses in others.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), buffer);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), buffer);
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            state,
            local,
            is_wildcard: local.ip().is_unspecified(),
            sole,
            refuses_runs: Cell::new(false),
        })
    }

    /// Binds `addr` as an ordinary client does: nothing is asked of the kernel, so each datagram arrives by itself (no
    /// GRO), and [`Received::to`] stays unknown.
    ///
    /// # Errors
    /// The port is taken, or the address is not ours.
    pub fn bind_plain(addr: SocketAddr) -> io::Result<Self> {
        // What the kernel can do is found out with another socket, because asking changes the socket's options.
        let any: IpAddr = match addr {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let asked = Self::bind(SocketAddr::new(any, 0), false, None)?;
        let socket = UdpSocket::bind(addr)?;
        socket.set_nonblocking(true)?;
        let _ = asked
            .state
            .set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let _ = asked
            .state
            .set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        Ok(Self {
            local: socket.local_addr()?,
            socket,
            is_wildcard: false,
            ..asked
        })
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Says whether IPv4 datagrams that are too long for their way may be fragmented, which they may not at first. IPv6
    /// ones never are.
    pub fn may_fragment(&self, may: bool) {
        let discovery = match may {
            true => Ipv4PathMtuDiscovery::DONT,
            false => Ipv4PathMtuDiscovery::PROBE,
        };
        if self.local.is_ipv4() {
            // A kernel that does not know the option leaves it to the network.
            let _ = rustix::net::sockopt::set_ip_mtu_discover(&self.socket, discovery);
        }
    }

    /// Receives what waits, up to [`RECEIVE_BATCH`] messages, into `buffers`; nothing waiting is no error.
    ///
    /// # Errors
    /// The socket failed; errors about earlier sends are skipped.
    pub fn receive(&self, buffers: &mut ReceiveBuffers) -> io::Result<()> {
        self.receive_at_most(RECEIVE_BATCH, buffers)
    }

    /// The same, up to `most` messages: room for many costs time even where few come.
    ///
    /// # Errors
    /// As of [`Self::receive`].
    pub fn receive_at_most(&self, most: usize, buffers: &mut ReceiveBuffers) -> io::Result<()> {
        buffers.filled = 0;
        let mut chunks = buffers.bytes.chunks_exact_mut(RECEIVE_BUFFER);
        let mut slices: [IoSliceMut<'_>; RECEIVE_BATCH] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        match self.state.recv(
            UdpSockRef::from(&self.socket),
            &mut slices[..most.min(RECEIVE_BATCH)],
            &mut buffers.meta,
        ) {
            Ok(filled) => {
                buffers.filled = filled;
                Ok(())
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::Interrupted
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::HostUnreachable
                        | io::ErrorKind::NetworkUnreachable
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Sends `batch`, whose bytes lie in `bytes`, in order. Neighbours of one size (the last may be shorter) to one
    /// receiver whose bytes adjoin leave as one GSO run; the rest leaves by `sendmmsg`.
    pub fn send(&self, bytes: &[u8], batch: &[Outgoing]) -> Sent {
        let mut sent = Sent::default();
        let mut singles: usize = 0;
        let mut at = 0;
        while at < batch.len() {
            let run = self.run_length(&batch[at..]);
            if run > 1 || self.source_to_name(&batch[at]).is_some() {
                self.send_singles(bytes, &batch[at - singles..at], &mut sent);
                singles = 0;
                self.send_run(bytes, &batch[at..at + run], &mut sent);
            } else {
                singles += 1;
            }
            at += run;
        }
        self.send_singles(bytes, &batch[at - singles..at], &mut sent);
        sent
    }

    /// The source of `datagram`, if the kernel would choose another one. Naming it costs a call for each datagram that
    /// is in no run.
    fn source_to_name(&self, datagram: &Outgoing) -> Option<IpAddr> {
        let from = datagram.from.filter(|_| self.is_wildcard)?;
        let chosen = if datagram.to.ip().is_loopback() {
            LOOPBACK.contains(&from)
        } else {
            self.sole == Some(from)
        };
        (!chosen).then_some(from)
    }

    fn run_length(&self, batch: &[Outgoing]) -> usize {
        let first = batch[0];
        if self.refuses_runs.get() || first.len > MAX_SEGMENT {
            return 1;
        }
        let most = self
            .state
            .max_gso_segments()
            .min(MAX_RUN_BYTES / first.len.max(1));
        let mut run = 1;
        let mut end = first.start + first.len;
        while run < most {
            let Some(next) = batch.get(run) else { break };
            if next.to != first.to
                || next.from != first.from
                || next.start != end
                || next.len > first.len
            {
                break;
            }
            end += next.len;
            run += 1;
            if next.len < first.len {
                break;
            }
        }
        run
    }

    fn send_run(&self, bytes: &[u8], run: &[Outgoing], sent: &mut Sent) {
        let first = run[0];
        let end = run
            .iter()
            .map(|datagram| datagram.start + datagram.len)
            .max()
            .unwrap_or(first.start);
        let transmit = Transmit {
            destination: first.to,
            ecn: None,
            contents: &bytes[first.start..end],
            segment_size: (run.len() > 1).then_some(first.len),
            src_ip: self.source_to_name(&first),
        };
        match self
            .state
            .try_send(UdpSockRef::from(&self.socket), &transmit)
        {
            Ok(()) => {
                sent.datagrams += run.len() as u64;
                sent.bytes += transmit.contents.len() as u64;
                sent.runs += u64::from(run.len() > 1);
            }
            // The kernel's buffer is full, so that the rest of the run would not be taken either.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sent.dropped += run.len() as u64;
            }
            // The run leaves one by one, and if the device refuses GSO, all others too, for good.
            Err(error) if run.len() > 1 => {
                if is_refusal(&error) {
                    self.refuses_runs.set(true);
                    sent.refused_runs += 1;
                }
                if transmit.src_ip.is_none() {
                    return self.send_singles(bytes, run, sent);
                }
                for single in run.chunks(1) {
                    self.send_run(bytes, single, sent);
                }
            }
            Err(_) => sent.dropped += 1,
        }
    }

    fn send_singles(&self, bytes: &[u8], batch: &[Outgoing], sent: &mut Sent) {
        for batch in batch.chunks(SEND_BATCH) {
            self.send_batch(bytes, batch, sent);
        }
    }

    fn send_batch(&self, bytes: &[u8], batch: &[Outgoing], sent: &mut Sent) {
        let contents = |datagram: &Outgoing| &bytes[datagram.start..datagram.start + datagram.len];
        if let [datagram] = batch {
            match rustix::net::sendto(
                &self.socket,
                contents(datagram),
                SendFlags::empty(),
                &datagram.to,
            ) {
                Ok(_) => {
                    sent.datagrams += 1;
                    sent.bytes += datagram.len as u64;
                }
                Err(_) => sent.dropped += 1,
            }
            return;
        }
        let addrs: [SocketAddrAny; SEND_BATCH] = std::array::from_fn(|i| {
            SocketAddrAny::from(batch.get(i).map_or(self.local, |datagram| datagram.to))
        });
        let slices: [[IoSlice<'_>; 1]; SEND_BATCH] =
            std::array::from_fn(|i| [IoSlice::new(batch.get(i).map_or(&[], contents))]);
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; SEND_BATCH] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut control = controls.iter_mut();
        let mut messages: [MMsgHdr<'_>; SEND_BATCH] = std::array::from_fn(|i| {
            let control = control.next().expect("as many control buffers as messages");
            MMsgHdr::new_with_addr(&addrs[i], &slices[i], control)
        });
        let mut at = 0;
        while at < batch.len() {
            match rustix::net::sendmmsg(
                &self.socket,
                &mut messages[at..batch.len()],
                SendFlags::empty(),
            ) {
                Ok(taken) if taken > 0 => {
                    sent.datagrams += taken as u64;
                    let taken = &batch[at..batch.len().min(at + taken)];
                    sent.bytes += taken
                        .iter()
                        .map(|datagram| datagram.len as u64)
                        .sum::<u64>();
                    at += taken.len();
                }
                Err(Errno::AGAIN) => {
                    sent.dropped += (batch.len() - at) as u64;
                    return;
                }
                // The error belongs to the first message that was not taken; the rest may still go out.
                Ok(_) | Err(_) => {
                    sent.dropped += 1;
                    at += 1;
                }
            }
        }
    }
}

impl AsFd for BatchSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a device that is given a GSO run answers so because it cannot split it: no checksums in hardware (EIO), a
/// driver or kernel without it (EINVAL), datagrams that its MTU does not let through whole (EMSGSIZE).
fn is_refusal(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::IO | Errno::INVAL | Errno::MSGSIZE))
}

/// `addr` with an IPv4-mapped IPv6 address turned into IPv4, and without a flow label, so that equal senders are equal.
/// The scope stays: a link-local address means nothing without it.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    match (addr, addr.ip().to_canonical()) {
        (SocketAddr::V6(scoped), IpAddr::V6(ip)) => {
            SocketAddrV6::new(ip, addr.port(), 0, scoped.scope_id()).into()
        }
        (SocketAddr::V4(_) | SocketAddr::V6(_), ip) => SocketAddr::new(ip, addr.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (BatchSocket, BatchSocket) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        (
            BatchSocket::bind(any, false, None).unwrap(),
            BatchSocket::bind(any, false, None).unwrap(),
        )
    }

    fn receive_some(socket: &BatchSocket, buffers: &mut ReceiveBuffers) {
        let mut fds = [rustix::event::PollFd::new(
            socket,
            rustix::event::PollFlags::IN,
        )];
        let timeout = rustix::event::Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        let ready = rustix::event::poll(&mut fds, Some(&timeout)).unwrap();
        assert_eq!(ready, 1, "nothing arrives");
        socket.receive(buffers).unwrap();
    }

    fn receive_all(socket: &BatchSocket, expected: usize) -> Vec<Vec<u8>> {
        let mut buffers = ReceiveBuffers::default();
        let mut datagrams = Vec::new();
        while datagrams.len() < expected {
            receive_some(socket, &mut buffers);
            for index in 0..buffers.len() {
                let received = buffers.received(index);
                let start = ReceiveBuffers::offset(index);
                let bytes = &buffers.bytes()[start..start + received.len];
                datagrams.extend(bytes.chunks(received.stride.max(1)).map(<[u8]>::to_vec));
            }
        }
        datagrams
    }

    fn batch_of(sizes: &[usize], to: SocketAddr) -> (Vec<u8>, Vec<Outgoing>) {
        let mut bytes = Vec::new();
        let mut batch = Vec::new();
        for (number, &len) in sizes.iter().enumerate() {
            batch.push(Outgoing {
                to,
                from: None,
                start: bytes.len(),
                len,
            });
            bytes.extend(std::iter::repeat_n(number as u8, len));
        }
        (bytes, batch)
    }

    #[test]
    fn datagrams_arrive_whole_and_in_order_whatever_their_sizes() {
        let (sender, receiver) = pair();
        let sizes = [
            1200, 1200, 1200, 700, 90, 1100, 1100, 5, 1200, 1201, 1199, 1,
        ];
        let (bytes, batch) = batch_of(&sizes, receiver.local_addr());
        let sent = sender.send(&bytes, &batch);
        assert_eq!((sent.datagrams, sent.dropped), (sizes.len() as u64, 0));
        let arrived = receive_all(&receiver, sizes.len());
        for (number, (datagram, &size)) in arrived.iter().zip(&sizes).enumerate() {
            assert_eq!(datagram.len(), size, "datagram {number}");
            assert!(
                datagram.iter().all(|&byte| byte == number as u8),
                "datagram {number}"
            );
        }
    }

    #[test]
    fn a_sender_is_known_by_address_port_and_scope() {
        let v6 = |ip: &str, flow, scope| {
            SocketAddr::from(SocketAddrV6::new(ip.parse().unwrap(), 5, flow, scope))
        };
        assert_eq!(
            canonical(v6("::ffff:192.0.2.1", 1, 0)),
            SocketAddr::from(([192, 0, 2, 1], 5))
        );
        assert_eq!(canonical(v6("2001:db8::1", 7, 0)), v6("2001:db8::1", 0, 0));
        assert_eq!(canonical(v6("fe80::1", 7, 3)), v6("fe80::1", 0, 3));
    }

    #[test]
    fn a_train_of_equal_datagrams_leaves_as_one_run() {
        let (sender, receiver) = pair();
        let (bytes, batch) = batch_of(&[1000; 20], receiver.local_addr());
        let sent = sender.send(&bytes, &batch);
        assert_eq!(sent.datagrams, 20);
        if sender.state.max_gso_segments() > 1 {
            assert_eq!(sent.runs, 1);
        }
        assert_eq!(receive_all(&receiver, 20).len(), 20);
    }

    #[test]
    fn a_plain_socket_gets_each_datagram_of_a_run_by_itself() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sender = BatchSocket::bind_plain(any).unwrap();
        let receiver = BatchSocket::bind_plain(any).unwrap();
        let (bytes, batch) = batch_of(&[1000; 8], receiver.local_addr());
        let sent = sender.send(&bytes, &batch);
        assert_eq!(sent.datagrams, 8);
        assert_eq!(sent.runs > 0, sender.state.max_gso_segments() > 1);
        let (mut buffers, mut arrived) = (ReceiveBuffers::default(), 0);
        while arrived < 8 {
            receive_some(&receiver, &mut buffers);
            for index in 0..buffers.len() {
                let received = buffers.received(index);
                assert_eq!((received.len, received.stride), (1000, 1000));
                assert_eq!((received.from, received.to), (sender.local_addr(), None));
            }
            arrived += buffers.len();
        }
    }

    #[test]
    fn datagrams_that_a_device_may_find_too_long_are_never_put_to_the_test_as_a_run() {
        let (sender, receiver) = pair();
        for (size, is_run) in [(MAX_SEGMENT, true), (MAX_SEGMENT + 1, false)] {
            let (bytes, batch) = batch_of(&[size; 4], receiver.local_addr());
            let sent = sender.send(&bytes, &batch);
            let may_run = sender.state.max_gso_segments() > 1;
            assert_eq!((sent.datagrams, sent.runs > 0), (4, is_run && may_run));
            assert_eq!(receive_all(&receiver, 4).len(), 4);
        }
    }

    #[test]
    fn a_socket_of_one_client_lets_long_datagrams_be_fragmented_unless_it_is_told_not_to() {
        let socket = BatchSocket::bind_small(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let discovery = || rustix::net::sockopt::ip_mtu_discover(&socket.socket).unwrap();
        assert_eq!(discovery(), Ipv4PathMtuDiscovery::DONT);
        socket.may_fragment(false);
        assert_eq!(discovery(), Ipv4PathMtuDiscovery::PROBE);
    }

    #[test]
    fn no_more_messages_are_received_than_asked_for() {
        let (sender, receiver) = pair();
        let (bytes, batch) = batch_of(&[10, 20, 30], receiver.local_addr());
        assert_eq!(sender.send(&bytes, &batch).datagrams, 3);
        let mut buffers = ReceiveBuffers::default();
        receiver.receive_at_most(2, &mut buffers).unwrap();
        assert_eq!(buffers.len(), 2);
        receiver.receive_at_most(2, &mut buffers).unwrap();
        assert_eq!(buffers.len(), 1);
    }

    #[test]
    fn a_device_that_refuses_a_run_gets_no_more_of_them() {
        for errno in [Errno::IO, Errno::INVAL, Errno::MSGSIZE] {
            assert!(is_refusal(&errno.into()));
        }
        for errno in [Errno::PERM, Errno::NETUNREACH, Errno::NOBUFS] {
            assert!(!is_refusal(&errno.into()));
        }
        let (sender, receiver) = pair();
        sender.refuses_runs.set(true);
        let (bytes, batch) = batch_of(&[1000; 20], receiver.local_addr());
        let sent = sender.send(&bytes, &batch);
        assert_eq!((sent.datagrams, sent.runs, sent.refused_runs), (20, 0, 0));
        assert_eq!(receive_all(&receiver, 20).len(), 20);
    }

    #[test]
    fn more_datagrams_than_one_batch_all_arrive() {
        let (sender, receiver) = pair();
        let sizes: Vec<usize> = (0..100).map(|i| 10 + i).collect();
        let (bytes, batch) = batch_of(&sizes, receiver.local_addr());
        assert_eq!(sender.send(&bytes, &batch).datagrams, 100);
        let arrived = receive_all(&receiver, 100);
        assert!(
            arrived
                .iter()
                .zip(&sizes)
                .all(|(datagram, size)| datagram.len() == *size)
        );
    }

    #[test]
    fn an_unreachable_receiver_costs_only_its_own_datagram() {
        let (sender, receiver) = pair();
        let (bytes, mut batch) = batch_of(&[10, 20, 30], receiver.local_addr());
        batch[1].to = SocketAddr::from(([255, 255, 255, 255], 9));
        let sent = sender.send(&bytes, &batch);
        assert_eq!((sent.datagrams, sent.dropped), (2, 1));
        assert_eq!(receive_all(&receiver, 2).len(), 2);
    }

    #[test]
    fn a_socket_bound_to_every_address_answers_from_the_address_that_was_asked() {
        for sole in [None, Some(IpAddr::from([192, 0, 2, 1]))] {
            answers_from_the_address_that_was_asked(sole);
        }
    }

    fn answers_from_the_address_that_was_asked(sole: Option<IpAddr>) {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let server = BatchSocket::bind(any, false, sole).unwrap();
        let port = server.local_addr().port();
        let client = BatchSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0)), false, None).unwrap();
        let (bytes, batch) = batch_of(&[4], SocketAddr::from(([127, 0, 0, 77], port)));
        assert_eq!(client.send(&bytes, &batch).datagrams, 1);

        let mut buffers = ReceiveBuffers::default();
        receive_some(&server, &mut buffers);
        let received = buffers.received(0);
        assert_eq!(received.to, Some(IpAddr::from([127, 0, 0, 77])));

        let answer = [Outgoing {
            to: received.from,
            from: received.to,
            start: 0,
            len: 4,
        }];
        assert_eq!(server.send(&bytes, &answer).datagrams, 1);
        receive_some(&client, &mut buffers);
        assert_eq!(
            buffers.received(0).from,
            SocketAddr::from(([127, 0, 0, 77], port))
        );
    }
}
