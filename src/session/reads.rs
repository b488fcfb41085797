//! The read guards that each thread has: a child that it forks has the same, and those of no other thread.

use std::cell::RefCell;

use super::Session;
use crate::region::SlotIndex;

thread_local! {
    /// The session, told by its address, and the slot of each guard.
    static READS: RefCell<Vec<(*const Session, SlotIndex)>> = const { RefCell::new(Vec::new()) };
}

/// Notes a guard of this thread.
pub(crate) fn begin(session: &Session, slot: SlotIndex) {
    let _ = READS.try_with(|reads| reads.borrow_mut().push((session, slot)));
}

/// Forgets it, on the same thread.
pub(crate) fn end(session: &Session, slot: SlotIndex) {
    let _ = READS.try_with(|reads| {
        let mut reads = reads.borrow_mut();
        if let Some(at) = reads.iter().rposition(|read| *read == (std::ptr::from_ref(session), slot)) {
            reads.swap_remove(at);
        }
    });
}

/// The slots of the guards that this thread has, each as often as it has one.
pub(super) fn of(session: &Session) -> Vec<SlotIndex> {
    let of = |reads: &RefCell<Vec<(*const Session, SlotIndex)>>| {
        let reads = reads.borrow();
        reads.iter().filter(|(other, _)| std::ptr::eq(*other, session)).map(|(_, slot)| *slot).collect()
    };
    READS.try_with(of).unwrap_or_default()
}
