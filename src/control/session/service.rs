//! The shell around one session core: the task that owns it (`actor`), the handle and mailbox by which others reach it
//! (`handle`), and the table of all sessions (`registry`).

mod actor;
mod handle;
mod registry;

#[cfg(any(test, feature = "testing"))]
pub use handle::Fault;
pub use handle::Handle;
pub(super) use registry::{NotStarted, Registry};
pub use registry::{Occupancy, OccupancyWatch};
