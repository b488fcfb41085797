//! What a process holds that only reads: it can't count in its row, so it counts here, and has the broker count in the row how often it has asked.
//!
//! The order is that of `docs/protocol.md`, "A session that only reads".
#![expect(unsafe_code, reason = "zeroed memory that is not touched until a slot is held")]

use std::collections::HashMap;
use std::ptr::NonNull;

use parking_lot::Mutex;

use super::Link;
use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, SlotIndex};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::table::counting::{PROXY, proxies};
use crate::table::tickets::TicketPlace;

pub(super) struct Takings {
    /// A cell a slot, as in a row of the ledger.
    cells: Box<[AtomicU64]>,
    /// Taking and giving back exclude each other.
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    /// How often the broker has counted each object.
    times: HashMap<ObjectId, u64>,
    /// What could not be given back yet.
    owed: Vec<(ObjectId, u64)>,
}

impl Takings {
    pub(super) fn new(slots: u32) -> Self {
        // SAFETY: an atomic of zero bytes is an atomic with the value zero.
        Self { cells: unsafe { Box::new_zeroed_slice(slots as usize).assume_init() }, asked: Mutex::default() }
    }

    /// Of slot 0. A region has a slot at least.
    pub(super) fn first_cell(&self) -> NonNull<AtomicU64> {
        NonNull::from(&*self.cells).cast()
    }

    pub(super) fn cell(&self, slot: SlotIndex) -> Result<&AtomicU64> {
        self.cells
            .get(slot.0 as usize)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("there is no slot {}", slot.0)))
    }

    /// Takes a reference. Returns whether there was no proxy of the object before.
    pub(super) fn take(&self, link: &dyn Link, id: ObjectId, ticket: Option<TicketPlace>) -> Result<bool> {
        let cell = self.cell(id.slot())?;
        let mut asked = self.asked.lock();
        asked.settle(link);
        link.take(id, ticket)?;
        *asked.times.entry(id).or_default() += 1;
        // Relaxed: the lock orders it with the one that gives back.
        Ok(proxies(cell.fetch_add(PROXY, Ordering::Relaxed)) == 0)
    }

    /// After the last proxy of this process has gone: gives back what was taken, unless there is another proxy by now.
    pub(super) fn give_back(&self, link: &dyn Link, id: ObjectId) {
        let mut asked = self.asked.lock();
        if self.cell(id.slot()).is_ok_and(|cell| proxies(cell.load(Ordering::Acquire)) == 0)
            && let Some(times) = asked.times.remove(&id)
        {
            asked.owed.push((id, times));
            asked.settle(link);
        }
    }
}

impl Asked {
    /// Gives back what it owes, as far as the broker is there.
    fn settle(&mut self, link: &dyn Link) {
        self.owed.retain(|(id, times)| match link.give_back(*id, *times) {
            Ok(()) => false,
            Err(error) => {
                tracing::debug!(object = %id, times, %error, "a reference could not be given back yet");
                true
            }
        });
    }
}
