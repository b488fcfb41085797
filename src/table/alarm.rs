//! When the broker looks at the tickets next: by this word who issues one with a deadline sees whether the broker has to be told of it.

use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// The time of the next look, in nanoseconds of the boot clock. Only the broker writes it, and knows it without reading.
pub(crate) struct Alarm<'r>(&'r AtomicU64);

/// The broker will not look by itself.
pub(crate) const NEVER: u64 = u64::MAX;

impl<'r> Alarm<'r> {
    pub(crate) fn new(word: &'r AtomicU64) -> Self {
        Self(word)
    }

    /// Whether the next look is too late for a ticket that stands in the table. (R66)
    pub(crate) fn is_too_late_for(&self, deadline: u64) -> bool {
        // The ticket before the word, as the broker writes the word before it looks at the tickets: one of the two sees the other.
        fence(Ordering::SeqCst);
        deadline < self.0.load(Ordering::Relaxed)
    }

    /// From here on the broker is told of every ticket; those that it is not told of are in the table.
    pub(crate) fn begin_look(&self) {
        self.0.store(NEVER, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The broker looks at this time, whatever it is told.
    pub(crate) fn set(&self, at: u64) {
        self.0.store(at, Ordering::Relaxed);
    }
}
