//! The end of a session: all that it held is given back. Each step may be repeated.

use super::host::Host;
use crate::object::guard::readers_changed;
use crate::region::layout::{SessionEntry, Slot};
use crate::region::{Region, SessionIndex, SlotIndex};
use crate::session::Session;
use crate::sync::atomic::Ordering;
use crate::sync::{Owner, RobustLock};
use crate::table::counting::{READERS, SessionState};
use crate::table::{channels, sessions, tickets};

/// Sweeps a session that has ended and makes its number free for another. Returns the slots that the session was
/// working on, whose pins are to be audited. `is_gone`: nothing of its process works for it any more.
pub(super) fn sweep(host: &Host, dead: SessionIndex, is_gone: bool) -> Vec<SlotIndex> {
    let broker = host.session();
    let region = broker.region();
    let Some(entry) = region.session(dead) else { return Vec::new() };
    let generation = sessions::generation(entry.state.load(Ordering::Relaxed));
    sessions::set_state(entry, generation, SessionState::Dead);
    // What it pushed is taken first: a slot that is dead after that and named in a lane was not pushed.
    host.take_back();
    host.books().close_stack(dead);
    let moving = slots_in_lanes(entry);
    if !moving.is_empty() {
        tickets::abandon(region, dead);
    }
    release_row(broker, dead);
    {
        let mut books = host.books();
        for slot in &moving {
            books.finish(*slot, dead);
        }
    }
    for lane in &entry.lanes {
        lane.store(0, Ordering::Release);
    }
    host.take_back();
    host.books().end_slabs(dead, is_gone);
    sessions::set_state(entry, generation, SessionState::Free);
    moving
}

fn slots_in_lanes(entry: &SessionEntry) -> Vec<SlotIndex> {
    entry.lanes.iter().filter_map(|lane| lane.load(Ordering::Acquire).checked_sub(1)).map(SlotIndex).collect()
}

/// Sets every cell of a row to zero, and checks each slot that was held or that the hint says may have been.
fn release_row(broker: &Session, dead: SessionIndex) {
    let region = broker.region();
    let counting = broker.counting();
    let used = region.slots_used();
    let hint = 1 << (dead.0 % 64);
    for (slot, cell) in region.reserved_cells(dead).take_while(|(slot, _)| slot.0 < used) {
        let Some(words) = region.slot(slot) else { break };
        // Relaxed: the owner is gone, nobody else writes.
        let count = cell.load(Ordering::Relaxed);
        if count != 0 {
            // First: a broker that dies here is followed by one that knows of the lock by the cell.
            give_on(words, |owner| owner.session() == dead.0);
            vacate(region, slot, |owner| owner.session() == dead.0);
            cell.store(0, Ordering::Release);
            tell_writer(words, count);
        }
        // Also where the cell is zero: the session may have died between its last decrement and its check (R14).
        if count != 0 || words.holders.load(Ordering::Acquire) & hint != 0 {
            broker.with_lane(|lane| counting.check(slot, lane));
        }
    }
    region.clear_row(dead);
}

/// Gives on the lock of an object if its owner is dead.
pub(super) fn give_on(slot: &Slot, is_dead: impl Fn(Owner) -> bool) {
    let lock = RobustLock::new(&slot.lock);
    if let Some(owner) = lock.owner().filter(|owner| is_dead(*owner)) {
        lock.take_from(owner);
    }
}

/// Takes the ends of a channel that those have who are dead, if the slot has one.
pub(super) fn vacate(region: &Region, slot: SlotIndex, is_dead: impl Fn(Owner) -> bool) {
    if let Some(channel) = channels::words(region, slot) {
        channel.vacate(is_dead);
    }
}

/// Tells a writer that waits, after the readers in a cell that had this count are gone.
pub(super) fn tell_writer(slot: &Slot, count: u64) {
    if count & READERS != 0 {
        readers_changed(slot);
    }
}
