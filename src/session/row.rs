//! The own row of the ledger: where its cells are, and which of them this process may touch.
#![expect(unsafe_code, reason = "a cell is looked at without asking the region for it again")]

use std::ptr::NonNull;
use std::sync::atomic::AtomicPtr;

use crate::region::layout::CELL;
use crate::region::{Presence, SlotIndex};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sys::memory;

pub(super) struct Row {
    /// The cell of slot 0; those of further slots follow.
    first: AtomicPtr<AtomicU64>,
    /// The pages of cells that this process has reserved, and noted in the row's page map: others look at their cells.
    pages: Presence,
}

impl Row {
    /// With cells for so many slots, none of them reserved. They stay mapped as long as the session.
    pub(super) fn new(first: NonNull<AtomicU64>, slots: u32) -> Self {
        let pages = Presence::of_nothing(u64::from(slots) * CELL);
        Self { first: AtomicPtr::new(first.as_ptr()), pages }
    }

    /// Has another row from now on, as a forked child that has one thread. Safe in a signal handler.
    pub(super) fn become_another(&self, first: NonNull<AtomicU64>) {
        self.first.store(first.as_ptr(), Ordering::Relaxed);
        self.pages.clear();
    }

    /// The cell of a slot. It may be touched once [`Row::cell`] has given it, here or in the process that has forked this one.
    #[inline]
    pub(super) fn place(&self, slot: SlotIndex) -> *const AtomicU64 {
        self.first.load(Ordering::Relaxed).wrapping_add(slot.0 as usize)
    }

    /// The cell of a slot, if its page was noted before.
    #[inline]
    pub(super) fn cell(&self, slot: SlotIndex) -> Option<&AtomicU64> {
        // SAFETY: the page is one of this row, which stays mapped.
        self.pages.has(u64::from(slot.0) * CELL).then(|| unsafe { &*self.place(slot) })
    }

    /// Notes that the page of a cell is reserved, and in the row's page map.
    pub(super) fn note(&self, slot: SlotIndex) {
        self.pages.add(u64::from(slot.0) * CELL, CELL);
    }

    #[inline]
    pub(super) fn prefetch(&self, slot: SlotIndex) {
        memory::prefetch(self.place(slot));
    }
}
