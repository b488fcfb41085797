//! Mistakes that can be planted without a change of the production source.

use std::cell::Cell;

/// What is done wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// Full fences only acquire and release.
    WeakFence,
    /// Loads do not acquire.
    LooseLoads,
    /// Stores do not release.
    LooseStores,
    /// Subtractions do not release.
    LooseSubtractions,
    /// Swaps neither acquire nor release.
    LooseSwaps,
    /// A taker moves the epoch before it counts.
    CountsLate,
    /// A taker that comes too late takes its count back without a check; a sweep empties a row without one.
    ForgetsCheck,
    /// The one that lets go of the last proxy clears the payload before the object is dead.
    ClearsEarly,
    /// The broker gives a slot to another object without a new generation.
    KeepsGeneration,
    /// An audit looks at the lanes only before it counts.
    LooksOnce,
    /// The broker looks at the tickets before it says that it does.
    LooksEarly,
    /// One that wakes takes the mark of an event away and does not count.
    WakesUncounted,
    /// One that wakes in the place of a dead one does so only where there is a mark.
    TrustsMark,
}

/// Whether a scene may leave objects behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaks {
    Forbidden,
    Allowed,
}

thread_local! {
    /// loom runs all threads of a scene on the thread of its test.
    static PLANTED: Cell<(Option<Flaw>, Leaks)> = const { Cell::new((None, Leaks::Forbidden)) };
}

pub(crate) fn plant(flaw: Option<Flaw>, leaks: Leaks) {
    PLANTED.set((flaw, leaks));
}

impl Flaw {
    pub(crate) fn is_planted(self) -> bool {
        PLANTED.get().0 == Some(self)
    }
}

impl Leaks {
    pub(crate) fn are_forbidden() -> bool {
        PLANTED.get().1 == Self::Forbidden
    }
}
