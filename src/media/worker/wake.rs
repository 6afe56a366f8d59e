//! Waking a worker from the control plane.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::EventfdFlags;

/// An event counter that a worker polls beside its sockets; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Wake(Arc<OwnedFd>);

impl Wake {
    /// A new counter at zero.
    ///
    /// # Errors
    /// The process is out of file descriptors.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(rustix::event::eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?)))
    }

    /// Wakes the worker. Harmless if it is awake.
    pub(super) fn wake(&self) {
        // The only failure is a counter at its maximum, and then the worker wakes anyway.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Resets the counter; whether somebody has called.
    pub(super) fn clear(&self) -> bool {
        let mut counter = [0; 8];
        rustix::io::read(&self.0, &mut counter).is_ok()
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
