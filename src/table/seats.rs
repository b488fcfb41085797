//! Who has an end of a channel: a seat a session, with the number of its handles. Words and rules: `docs/protocol.md`, "Channels".
//!
//! | bits of a seat | meaning |
//! |---|---|
//! | 0..32 | the session and its generation, as a lock has them; 0: nobody |
//! | 32..64 | its handles |
//!
//! | bits of `state` | meaning |
//! |---|---|
//! | 0 | closed for good |
//! | 1 | there were senders, and there are none |
//! | 2 | the same of receivers |
//! | 3 | damaged |
//! | 4, 5 | there have been senders, receivers |
//! | 6..32 | epoch: moved whenever a handle is opened |

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

pub(crate) const CLOSED: u32 = 1;
pub(crate) const NO_SENDERS: u32 = 2;
pub(crate) const NO_RECEIVERS: u32 = 4;
pub(crate) const DAMAGED: u32 = 8;
/// From the bit that says that there are none to the one that says that there were some.
const HAD: u32 = 3;
const EPOCH: u32 = 64;

const HANDLE: u64 = 1 << 32;

/// Why no handle can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There may be one, and it is this one's.
    Taken(u32),
    /// All seats are taken by others.
    Full,
}

/// The seats of one side of a channel.
#[derive(Clone, Copy)]
pub(crate) struct Side<'c> {
    pub(crate) state: &'c AtomicU32,
    pub(crate) seats: &'c [AtomicU64],
    /// The bit of `state` that says that there are none.
    pub(crate) none: u32,
}

fn owner(seat: u64) -> u32 {
    seat as u32
}

impl Side<'_> {
    /// Opens a handle of `me`, which is not 0. `alone`: if there is no other.
    pub(crate) fn open(&self, me: u32, alone: bool) -> Result<(), Refused> {
        self.take_seat(me, alone)?;
        // R98: after the seat is taken, whatever the state says: who has found all seats empty before finds it changed.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let next = (state & !self.none | self.none << HAD).wrapping_add(EPOCH);
            match self.state.compare_exchange(state, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    fn take_seat(&self, me: u32, alone: bool) -> Result<(), Refused> {
        let seats = if alone { self.seats.get(..1).unwrap_or_default() } else { self.seats };
        loop {
            let words = seats.iter().map(|seat| (seat, seat.load(Ordering::Relaxed)));
            let own = words.clone().find(|(_, word)| owner(*word) == me && *word < u64::MAX - HANDLE);
            let found = own.or_else(|| words.clone().find(|(_, word)| *word == 0));
            let (seat, before) = match found {
                Some((_, word)) if alone && word != 0 => return Err(Refused::Taken(owner(word))),
                Some(found) => found,
                None if alone => return Err(Refused::Taken(words.map(|(_, word)| owner(word)).next().unwrap_or(0))),
                None => return Err(Refused::Full),
            };
            let after = (before | u64::from(me)) + HANDLE;
            if seat.compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Ok(());
            }
        }
    }

    /// Closes a handle of `me`. Returns whether there are none any more.
    pub(crate) fn close(&self, me: u32) -> bool {
        for seat in self.seats {
            let mut word = seat.load(Ordering::Relaxed);
            while owner(word) == me {
                let left = if word < 2 * HANDLE { 0 } else { word - HANDLE };
                match seat.compare_exchange(word, left, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => return left == 0 && self.settle(),
                    Err(now) => word = now,
                }
            }
        }
        false
    }

    /// Whether somebody may have a handle.
    pub(crate) fn is_used(&self) -> bool {
        self.seats.iter().any(|seat| seat.load(Ordering::Acquire) != 0)
    }

    /// Takes the seats of those who are dead. Returns whether there are none any more.
    pub(crate) fn vacate(&self, is_dead: impl Fn(u32) -> bool) -> bool {
        for seat in self.seats {
            let word = seat.load(Ordering::Relaxed);
            if word != 0 && is_dead(owner(word)) {
                // If it has changed, another has done this.
                let _ = seat.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        // In any case: one may have died between its seat and the state.
        self.settle()
    }

    /// Says that there are none, if there are none (R99). Also for one that has died before it could.
    pub(crate) fn settle(&self) -> bool {
        loop {
            // Of two that leave at once, one sees both gone.
            fence(Ordering::SeqCst);
            let state = self.state.load(Ordering::Acquire);
            // Before the first one they are waited for.
            if state & self.none << HAD == 0 || self.is_used() {
                return false;
            }
            if state & self.none != 0 {
                return true;
            }
            if self.state.compare_exchange(state, state | self.none, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }
}
