//! loom's atomics behind the names of `src/sync/atomic.rs`, able to be weaker than they are told to be.

use crate::flaw::Flaw;

pub(crate) use loom::sync::atomic::Ordering;

fn unless(flaw: Flaw, ordering: Ordering) -> Ordering {
    if flaw.is_planted() { Ordering::Relaxed } else { ordering }
}

pub(crate) fn fence(ordering: Ordering) {
    loom::sync::atomic::fence(if Flaw::WeakFence.is_planted() { Ordering::AcqRel } else { ordering });
}

/// No change is a full fence to loom.
pub(crate) fn fence_after_change() {
    fence(Ordering::SeqCst);
}

/// Makes loom order any two accesses of one word both ways. By itself it looks at the latest access only, which is often the thread's own load
/// before its swap, and then it never tries the order in which another thread's load comes later. Nobody loads this, so it guarantees nothing.
struct Turn(loom::sync::atomic::AtomicU32);

impl Turn {
    fn new() -> Self {
        Self(loom::sync::atomic::AtomicU32::new(0))
    }

    fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// No method but those that the counting and the scenes use: another one has to say here which flaws it knows.
macro_rules! atomic {
    ($name:ident, $word:ty) => {
        pub(crate) struct $name {
            word: loom::sync::atomic::$name,
            turn: Turn,
        }

        impl $name {
            pub(crate) fn new(value: $word) -> Self {
                Self { word: loom::sync::atomic::$name::new(value), turn: Turn::new() }
            }

            pub(crate) fn load(&self, ordering: Ordering) -> $word {
                self.turn.begin();
                self.word.load(unless(Flaw::LooseLoads, ordering))
            }

            pub(crate) fn store(&self, value: $word, ordering: Ordering) {
                self.turn.begin();
                self.word.store(value, unless(Flaw::LooseStores, ordering));
            }

            pub(crate) fn compare_exchange(
                &self,
                now: $word,
                next: $word,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$word, $word> {
                let flaw = Flaw::LooseSwaps;
                // Only the wake of an event counts up by a swap.
                let counts = Flaw::WakesUncounted.is_planted() && next == now.wrapping_add(1);
                let next = if counts { now - 1 } else { next };
                self.turn.begin();
                self.word.compare_exchange(now, next, unless(flaw, success), unless(flaw, failure))
            }
        }
    };
}

#[expect(dead_code, reason = "nobody swaps it")]
mod half {
    use super::{Flaw, Ordering, Turn, unless};

    atomic!(AtomicU16, u16);
}
pub(crate) use half::AtomicU16;
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

impl AtomicU32 {
    pub(crate) fn swap(&self, value: u32, ordering: Ordering) -> u32 {
        self.turn.begin();
        self.word.swap(value, unless(Flaw::LooseSwaps, ordering))
    }

    pub(crate) fn fetch_or(&self, value: u32, ordering: Ordering) -> u32 {
        self.turn.begin();
        self.word.fetch_or(value, ordering)
    }
}

impl AtomicU64 {
    pub(crate) fn swap(&self, value: u64, ordering: Ordering) -> u64 {
        self.turn.begin();
        self.word.swap(value, unless(Flaw::LooseSwaps, ordering))
    }

    pub(crate) fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
        self.turn.begin();
        self.word.fetch_add(value, ordering)
    }

    pub(crate) fn fetch_sub(&self, value: u64, ordering: Ordering) -> u64 {
        self.turn.begin();
        self.word.fetch_sub(value, unless(Flaw::LooseSubtractions, ordering))
    }

    pub(crate) fn fetch_or(&self, value: u64, ordering: Ordering) -> u64 {
        self.turn.begin();
        self.word.fetch_or(value, ordering)
    }
}
