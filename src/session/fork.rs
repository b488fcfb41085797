//! A fork: the row of this process is copied for the child, while other threads go on counting. Rules R40 to R44 of `docs/protocol.md`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Hold, Session, reads};
use crate::error::{Error, ErrorKind, Result};
use crate::region::{Generation, ObjectId, SessionIndex, SlotIndex};
use crate::sync::atomic::fence;
use crate::table::counting::{READER, lift, settle};
use crate::table::{Counting, Counts, sessions};

/// No fork is under way.
const NONE: u32 = 0;
/// What was to be counted for the child could not be: it can't have the session.
const SPOILED: u32 = u32::MAX;

/// What [`Session::copy_row`] has lifted, which [`Session::settle_row`] puts back.
#[derive(Default)]
pub(crate) struct Lifted(Vec<SlotIndex>);

impl Session {
    /// Before a fork: copies this process's counts to the row of a session that the broker has prepared. After an error the child can't have it. In either case what was lifted is
    /// to be put back after the fork.
    pub(crate) fn copy_row(&self, child: SessionIndex, lifted: &mut Lifted) -> Result<()> {
        // SeqCst, and the fence: whoever counts in a cell after it was read here sees that a fork is under way (R42).
        self.forking.store(u32::from(child.0) + 1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let copied = self.copy_cells(child, lifted);
        if copied.is_err() {
            self.forking.store(SPOILED, Ordering::SeqCst);
        }
        copied
    }

    fn copy_cells(&self, child: SessionIndex, lifted: &mut Lifted) -> Result<()> {
        let region = self.region();
        for (slot, cell) in region.reserved_cells(self.index()) {
            let Some(count) = lift(cell) else { continue };
            lifted.0.push(slot);
            if let Some(id) = region.id_of(slot) {
                self.count_for(child, id, count)?;
            }
        }
        for slot in reads::of(self) {
            // The guard of this thread keeps writers out while this is added.
            if let Some(cell) = region.cell(child, slot) {
                cell.fetch_add(READER, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn count_for(&self, child: SessionIndex, id: ObjectId, count: u64) -> Result<()> {
        let region = self.region();
        if !region.cell_is_reserved(child, id.slot()) {
            region.reserve_cell(child, id.slot())?;
        }
        let missing = || Error::new(ErrorKind::InvalidArgument, format!("there is no cell for object {id}"));
        let cell = region.cell(child, id.slot()).ok_or_else(missing)?;
        let words = Counts::slot(region, id.slot()).ok_or_else(missing)?;
        Counting::new(region, child).count(&words, cell, id, count);
        Ok(())
    }

    /// Counts a proxy that this thread is getting for the child too, if a fork is under way. The own count is there already.
    #[inline]
    pub(super) fn count_late(&self, id: ObjectId) {
        // SeqCst: pairs with `copy_row`.
        if self.forking.load(Ordering::SeqCst) != NONE {
            self.count_for_child(id);
        }
    }

    #[cold]
    fn count_for_child(&self, id: ObjectId) {
        // The parent does not let go of the child's session while this is not zero.
        self.late.fetch_add(1, Ordering::SeqCst);
        let forking = self.forking.load(Ordering::SeqCst);
        if forking != NONE
            && forking != SPOILED
            && let Err(error) = self.count_for(SessionIndex((forking - 1) as u16), id, 1)
        {
            // Before this thread has the proxy: a child that has it in its memory sees this too.
            let _ = self.forking.compare_exchange(forking, SPOILED, Ordering::SeqCst, Ordering::SeqCst);
            tracing::warn!(%error, "what is taken during a fork could not be counted for the child");
        }
        self.late.fetch_sub(1, Ordering::SeqCst);
    }

    /// After a fork, in the parent, whether there is a child or not. Afterwards nobody counts in the child's row but the child.
    pub(crate) fn settle_row(self: &Arc<Self>, lifted: &mut Lifted) {
        self.forking.store(NONE, Ordering::SeqCst);
        while self.late.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
        let region = self.region();
        for slot in lifted.0.drain(..) {
            let Some(cell) = region.cell(self.index(), slot) else { continue };
            if settle(cell)
                && let Some(id) = region.id_of(slot)
            {
                // What went meanwhile was not the last, because the cell was lifted (R43).
                Hold::end_last(self, id);
            }
        }
    }

    /// After a fork, in the child, which has one thread: takes the prepared session. `false`: it can't be had. Safe in a signal handler.
    pub(crate) fn become_child(&self, child: SessionIndex, generation: Generation) -> bool {
        let forking = self.forking.swap(NONE, Ordering::Relaxed);
        // The threads that had these are the parent's.
        self.late.store(0, Ordering::Relaxed);
        self.lanes_taken.store(0, Ordering::Relaxed);
        let (Some(entry), Some(cells)) = (self.region().session(child), self.region().first_cell(child)) else {
            return false;
        };
        let pid = std::process::id();
        if forking != u32::from(child.0) + 1 || !sessions::claim(entry, generation, pid) {
            return false;
        }
        self.pid.store(pid, Ordering::Relaxed);
        self.become_another(child, generation, cells);
        self.is_new.store(true, Ordering::Relaxed);
        self.token.renew();
        true
    }
}
