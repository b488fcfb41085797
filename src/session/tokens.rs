//! How many strong counts of the session the cells of this process own, slot by slot.
//!
//! The cells are shared words: who damages one must not make this process give back a count that it has not taken, and free what is in use. So what was taken is counted
//! privately beside it, where a cell leaves zero and where it returns there.
#![expect(unsafe_code, reason = "zeroed memory that is not touched until a slot is held")]

use std::sync::atomic::{AtomicU32, Ordering, fence};

use crate::region::SlotIndex;

pub(super) struct Tokens(Box<[AtomicU32]>);

impl Tokens {
    pub(super) fn new(slots: u32) -> Self {
        // SAFETY: an atomic of zero bytes is an atomic with the value zero.
        Self(unsafe { Box::new_zeroed_slice(slots as usize).assume_init() })
    }

    /// Notes that the cell of a slot owns one more count.
    #[inline]
    pub(super) fn take(&self, slot: SlotIndex) {
        if let Some(taken) = self.0.get(slot.0 as usize) {
            taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the cell of a slot owns a count, which is given back by this.
    #[inline]
    pub(super) fn give_back(&self, slot: SlotIndex) -> bool {
        // Pairs with the release of the drops before: what those threads have taken is seen.
        fence(Ordering::Acquire);
        self.0.get(slot.0 as usize).is_some_and(|taken| {
            taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
        })
    }
}
