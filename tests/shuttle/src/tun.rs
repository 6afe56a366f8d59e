//! A TUN device in a network namespace of our choice: what its kernel sends there can be read here, and the reverse.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{Setter, ioctl, opcode};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The request that makes an open `/dev/net/tun` the device of a name.
const TUNSETIFF: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TUN: i16 = 0x0001;
/// Packets begin with their IP header, nothing before it.
const IFF_NO_PI: i16 = 0x1000;

/// `struct ifreq` of the kernel as far as this request reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Creates device `name` in the namespace `namespace`, a name below `/run/netns` or a path. It is gone when the file
/// is closed.
///
/// # Errors
/// When the namespace does not exist, the name is taken, or this process may not do it.
pub(crate) fn open(namespace: &str, name: &str) -> io::Result<File> {
    let mut padded = [0; 16];
    if name.is_empty() || name.len() >= padded.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a device's name has 1 to 15 characters",
        ));
    }
    padded[..name.len()].copy_from_slice(name.as_bytes());
    let namespace = File::open(Path::new("/run/netns").join(namespace))?;
    // A thread of its own: only it moves into the namespace, and the device stays in the one where it was opened.
    thread::scope(|scope| {
        let opening = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let file = rustix::fs::open(
                "/dev/net/tun",
                OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            attach(&file, padded)?;
            Ok(File::from(file))
        });
        opening
            .join()
            .map_err(|_| io::Error::other("opening the device panicked"))?
    })
}

#[expect(
    unsafe_code,
    reason = "the kernel has no safe interface for this one request"
)]
fn attach(file: impl AsFd, name: [u8; 16]) -> io::Result<()> {
    let request = InterfaceRequest {
        name,
        flags: IFF_TUN | IFF_NO_PI,
        rest: [0; 22],
    };
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which has the 40 bytes of `InterfaceRequest` and which
    // `Setter` keeps alive during the call.
    unsafe { ioctl(file, Setter::<TUNSETIFF, InterfaceRequest>::new(request)) }?;
    Ok(())
}
