//! What a bug of ours may cost: a request or a connection, never a listener (`robustness` R18).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;

/// Catches panics and counts them; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Containment {
    panics: Arc<AtomicU64>,
    #[cfg(any(test, feature = "testing"))]
    fault: Arc<std::sync::Mutex<Option<Fault>>>,
}

/// Where an injected panic strikes.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// In a listener's task, while it admits the next connection.
    Admission,
    /// In the task of the next connection.
    Connection,
    /// While the next request is answered.
    Request,
}

impl Containment {
    /// How many panics have been contained.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Takes note of a panic that has ended `what`.
    pub(super) fn count(&self, what: &'static str) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            what,
            "a bug of ours has ended this and nothing else: please report the panic above"
        );
    }

    /// What `work` returns; `None` if it has panicked.
    pub(super) fn contain<T>(&self, what: &'static str, work: impl FnOnce() -> T) -> Option<T> {
        let outcome = catch_unwind(AssertUnwindSafe(work));
        outcome.inspect_err(|_| self.count(what)).ok()
    }

    /// What `work` yields; `None` if it has panicked. As cancel safe as `work`.
    pub(super) async fn contain_future<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let outcome = AssertUnwindSafe(work).catch_unwind().await;
        outcome.inspect_err(|_| self.count(what)).ok()
    }

    /// Injects a panic, for tests of containment.
    #[cfg(any(test, feature = "testing"))]
    pub fn strike_next(&self, fault: Fault) {
        *self.fault() = Some(fault);
    }

    /// Panics where a test has asked for it.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn strike(&self, here: Fault) {
        let struck = self.fault().take_if(|fault| *fault == here);
        assert!(struck.is_none(), "injected");
    }

    #[cfg(any(test, feature = "testing"))]
    fn fault(&self) -> std::sync::MutexGuard<'_, Option<Fault>> {
        self.fault
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
