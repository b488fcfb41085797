//! The session table: who is attached. Written by the broker.

use super::counting::SessionState;
use crate::region::layout::{SessionEntry, WALKING};
use crate::region::region::{read_text, write_text};
use crate::region::{Generation, Region, Rights, SessionIndex, SlotIndex};
use crate::sync::Owner;
use crate::sync::atomic::Ordering;
use crate::sys::{clock, process};

/// What the table says about an attached process.
#[derive(Debug, Clone)]
pub(crate) struct SessionRecord {
    pub(crate) index: SessionIndex,
    pub(crate) generation: Generation,
    pub(crate) state: SessionState,
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) comm: String,
}

/// Has those who look for holders look at this row too. Returns whether they did not.
fn count(region: &Region, index: SessionIndex) -> bool {
    let used = u32::from(index.0) + 1;
    // Release: before anybody has the session, and sets a hint for it.
    region.header().sessions_used.fetch_max(used, Ordering::Release) < used
}

/// Enters a process in a free row and makes it active, with the next generation.
pub(crate) fn enter(
    region: &Region,
    index: SessionIndex,
    entry: &SessionEntry,
    pid: u32,
    uid: u32,
    rights: Rights,
) -> Generation {
    count(region, index);
    let generation = Generation(generation(entry.state.load(Ordering::Relaxed)).0.wrapping_add(1));
    entry.pid.store(pid, Ordering::Relaxed);
    entry.parent.store(0, Ordering::Relaxed);
    entry.uid.store(uid, Ordering::Relaxed);
    entry.start.store(process::start_time(pid).unwrap_or(0), Ordering::Relaxed);
    write_text(&entry.comm, &process::comm(pid));
    entry.attached_at.store(clock::unix_seconds(), Ordering::Relaxed);
    entry.rights.store(rights as u32, Ordering::Relaxed);
    // Closed until it has a slab.
    entry.returned.store(0, Ordering::Relaxed);
    set_state(entry, generation, SessionState::Active);
    generation
}

/// A pid that nobody has: of a session that was withdrawn before anybody claimed it.
const WITHDRAWN: u32 = u32::MAX;

/// Enters a process that is about to be forked. It claims the session when it is there.
pub(crate) fn prepare(
    region: &Region,
    index: SessionIndex,
    entry: &SessionEntry,
    parent: SessionIndex,
    uid: u32,
) -> Generation {
    count(region, index);
    let generation = Generation(generation(entry.state.load(Ordering::Relaxed)).0.wrapping_add(1));
    entry.pid.store(0, Ordering::Relaxed);
    entry.uid.store(uid, Ordering::Relaxed);
    entry.start.store(0, Ordering::Relaxed);
    entry.parent.store(u32::from(parent.0) + 1, Ordering::Relaxed);
    entry.rights.store(Rights::All as u32, Ordering::Relaxed);
    write_text(&entry.comm, "?");
    entry.returned.store(0, Ordering::Relaxed);
    entry.attached_at.store(clock::unix_seconds(), Ordering::Relaxed);
    set_state(entry, generation, SessionState::Active);
    generation
}

/// The child's part: claims the session that was prepared for it, unless that was withdrawn. Safe in a signal handler.
pub(crate) fn claim(entry: &SessionEntry, prepared: Generation, pid: u32) -> bool {
    let state = entry.state.load(Ordering::Acquire);
    generation(state) == prepared
        && SessionState::of_word(state) == SessionState::Active
        && entry.pid.compare_exchange(0, pid, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// The broker's part: takes a session back that nobody has claimed. Else the pid of the one that has.
pub(crate) fn withdraw(entry: &SessionEntry) -> Result<(), u32> {
    match entry.pid.compare_exchange(0, WITHDRAWN, Ordering::AcqRel, Ordering::Relaxed) {
        Ok(_) | Err(WITHDRAWN) => Ok(()),
        Err(pid) => Err(pid),
    }
}

/// Writes all about a child that has claimed its session.
pub(crate) fn complete(entry: &SessionEntry, pid: u32) {
    entry.start.store(process::start_time(pid).unwrap_or(0), Ordering::Relaxed);
    write_text(&entry.comm, &process::comm(pid));
    entry.pid.store(pid, Ordering::Release);
}

/// Moves a session to another state of the same generation.
pub(crate) fn set_state(entry: &SessionEntry, generation: Generation, state: SessionState) {
    // Release: whoever sees the state sees the entry.
    entry.state.store(u64::from(generation.0) << 32 | state as u64, Ordering::Release);
}

pub(crate) fn generation(state: u64) -> Generation {
    Generation((state >> 32) as u32)
}

/// Reads one row.
pub(crate) fn read(region: &Region, index: SessionIndex) -> Option<SessionRecord> {
    let entry = region.session(index)?;
    let state = entry.state.load(Ordering::Acquire);
    Some(SessionRecord {
        index,
        generation: generation(state),
        state: SessionState::of_word(state),
        pid: entry.pid.load(Ordering::Relaxed),
        start: entry.start.load(Ordering::Relaxed),
        comm: read_text(&entry.comm, usize::MAX),
    })
}

impl SessionRecord {
    /// Whether its process lives, as far as this one can tell. One that has yet to be forked does.
    pub(crate) fn lives(&self) -> bool {
        self.pid == 0 || process::is_alive(self.pid, self.start)
    }
}

/// All rows that are not free.
pub(crate) fn attached(region: &Region) -> impl Iterator<Item = SessionRecord> {
    (0..region.capacities().sessions as u16)
        .filter_map(|index| read(region, SessionIndex(index)))
        .filter(|record| record.state != SessionState::Free)
}

/// Whether a lane of the session names the slot.
pub(crate) fn names(region: &Region, index: SessionIndex, slot: SlotIndex) -> bool {
    region.session(index).is_some_and(|entry| entry.lanes.iter().any(|lane| lane.load(Ordering::Acquire) == slot.0 + 1))
}

/// Whether a thread of the session takes what came back to its slabs.
pub(crate) fn walks(region: &Region, index: SessionIndex) -> bool {
    region.session(index).is_some_and(|entry| entry.lanes.iter().any(|lane| lane.load(Ordering::Acquire) == WALKING))
}

/// Whether the owner of a lock is gone: its session has ended, or its process has, whatever the broker says.
pub(crate) fn is_dead(region: &Region, owner: Owner) -> bool {
    let Some(record) = read(region, SessionIndex(owner.session())) else { return true };
    record.state != SessionState::Active || !owner.has_generation(record.generation.0) || !record.lives()
}

/// What the broker has written about an attached process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    state: u64,
    pid: u32,
    uid: u32,
    start: u64,
    rights: u32,
}

impl Entry {
    /// Reads it back, right after it was written.
    pub(crate) fn of(entry: &SessionEntry) -> Self {
        Self {
            state: entry.state.load(Ordering::Relaxed),
            pid: entry.pid.load(Ordering::Relaxed),
            uid: entry.uid.load(Ordering::Relaxed),
            start: entry.start.load(Ordering::Relaxed),
            rights: entry.rights.load(Ordering::Relaxed),
        }
    }

    /// Writes it again if the table says something else. Returns whether it did.
    pub(crate) fn mend(&self, region: &Region, index: SessionIndex) -> bool {
        let is_overlooked = count(region, index);
        let Some(entry) = region.session(index).filter(|entry| Self::of(entry) != *self) else { return is_overlooked };
        entry.pid.store(self.pid, Ordering::Relaxed);
        entry.uid.store(self.uid, Ordering::Relaxed);
        entry.start.store(self.start, Ordering::Relaxed);
        entry.rights.store(self.rights, Ordering::Relaxed);
        entry.state.store(self.state, Ordering::Release);
        true
    }

    pub(crate) fn generation(&self) -> Generation {
        generation(self.state)
    }

    /// The same with other rights, yet to be written.
    pub(crate) fn with(self, rights: Rights) -> Self {
        Self { rights: rights as u32, ..self }
    }

    pub(crate) fn only_reads(&self) -> bool {
        Rights::of_word(self.rights) == Rights::Read
    }
}
