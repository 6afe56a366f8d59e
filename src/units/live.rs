//! Values that a reload may change.

use std::fmt::Debug;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A value that is read by many and swapped whole. Cheap to clone; all clones hold the same value.
///
/// Who needs several parts of it that belong together reads it once and keeps what [`Live::get`] returned.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    /// Holds `value` until it is swapped.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// From now on everybody reads `value`.
    pub fn set(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clones_see_a_swap_and_who_has_read_keeps_what_it_read() {
        let live = Live::new(1);
        let (other, read) = (live.clone(), live.get());
        live.set(2);
        assert_eq!((*read, *other.get()), (1, 2));
    }
}
