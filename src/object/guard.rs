//! Reading and writing an array in place while others do.
//!
//! Readers are listed as holders are: in the own ledger cell. A reader announces itself and looks at the lock; a writer
//! takes the lock and looks at the readers, with a full fence between the two on both sides, so that one of them sees the other (R19). Whoever dies
//! is taken off the list with its row; a dead writer's lock is marked poisoned and given on.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use bytemuck::Pod;

use super::payload::{Payload, slot_of};
use crate::error::{Error, ErrorKind, Result};
use crate::region::SessionIndex;
use crate::region::layout::{SEALED, Slot};
use crate::session::{Hold, reads};
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use crate::sync::{Owner, RobustLock};
use crate::sys::futex;
use crate::table::Counts;
use crate::table::counting::{READER, READERS, SessionState, readers};
use crate::table::sessions;

/// How long a writer sleeps before it looks for itself whether the readers live.
const SLICE: Duration = Duration::from_millis(100);
/// Most read guards of a process on one array: half of what a cell can count, so that no race of threads overflows.
const MOST_READERS: u32 = 1 << 15;
/// How often the readers are looked at before sleeping.
const SPINS: u32 = 100;

/// The lock words of one object, seen by one holder.
pub(crate) struct ObjectLock<'h> {
    hold: &'h Hold,
    slot: &'h Slot,
    /// Who locks. In a forked child the guards that it has inherited are its parent's.
    me: Owner,
}

impl<'h> ObjectLock<'h> {
    pub(crate) fn of(hold: &'h Hold) -> Result<Self> {
        hold.session().check_ours()?;
        Ok(Self { hold, slot: slot_of(hold)?, me: hold.session().owner() })
    }

    /// Whether this process is the one that has locked.
    pub(crate) fn is_mine(&self) -> bool {
        self.hold.session().is_ours() && self.me == self.hold.session().owner()
    }

    fn word(&self) -> RobustLock<'h> {
        RobustLock::new(&self.slot.lock)
    }

    pub(crate) fn is_sealed(&self) -> bool {
        // Acquire: pairs with the release in `seal`; what was written before is seen.
        self.slot.flags.load(Ordering::Acquire) & SEALED != 0
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.word().is_poisoned()
    }

    pub(crate) fn clear_poison(&self) -> Result<()> {
        self.hold.session().check_writes("clear a mark")?;
        self.word().clear_poison();
        Ok(())
    }

    /// Waits for the lock alone: the mutual exclusion of writers. `poisons`: the death of this process before it unlocks may leave the object half changed.
    pub(crate) fn exclude_writers(&self, timeout: Option<Duration>, poisons: bool) -> Result<()> {
        let session = self.hold.session();
        session.check_writes("change or seal an object")?;
        let deadline = deadline(timeout);
        self.word()
            .lock(self.me, deadline, poisons, |owner| session.is_dead(owner))
            .map(|_| ())
            .ok_or_else(|| timed_out("the lock of object", self.hold, timeout))
    }

    pub(crate) fn unlock(&self) {
        if self.is_mine() {
            self.word().unlock(self.me);
        }
    }

    /// Lets go of the lock and leaves the mark that says the object may be half changed.
    fn unlock_poisoned(&self) {
        if self.is_mine() {
            self.word().take_from(self.me);
        }
    }

    /// Marks the object as never to be changed again, once no writer is at work. That changes no byte of it, so readers are in nobody's way.
    pub(crate) fn seal(&self) -> Result<()> {
        self.exclude_writers(None, false)?;
        let whole = if self.is_poisoned() { Err(poisoned(self.hold)) } else { Ok(()) };
        if whole.is_ok() {
            // Release: whoever sees the mark sees the payload.
            self.slot.flags.fetch_or(SEALED, Ordering::Release);
        }
        self.unlock();
        whole
    }

    pub(crate) fn sequence(&self) -> &'h AtomicU32 {
        &self.slot.seq
    }

    fn begin_reading(&self, timeout: Option<Duration>) -> Result<()> {
        let deadline = deadline(timeout);
        let session = self.hold.session();
        if session.only_reads() {
            // What is sealed needs no guard.
            return if self.is_sealed() { Ok(()) } else { Err(unguarded(self.hold)) };
        }
        loop {
            let before = self.hold.cell().fetch_add(READER, Ordering::Relaxed);
            if readers(before) >= MOST_READERS {
                self.hold.cell().fetch_sub(READER, Ordering::Relaxed);
                return Err(too_many(self.hold));
            }
            // Pairs with the fence in `begin_writing`.
            fence(Ordering::SeqCst);
            if self.word().owner().is_none() {
                if self.is_poisoned() {
                    self.end_reading();
                    return Err(poisoned(self.hold));
                }
                return Ok(());
            }
            self.end_reading();
            if !self.word().wait_until_free(deadline, |owner| session.is_dead(owner)) {
                return Err(timed_out("a writer of object", self.hold, timeout));
            }
        }
    }

    fn end_reading(&self) {
        if self.hold.session().only_reads() {
            return;
        }
        // Release: what was read comes before what the writer does next.
        self.hold.cell().fetch_sub(READER, Ordering::Release);
        // Pairs with the fence in `begin_writing`: either the writer sees that we left, or we see the writer.
        fence(Ordering::SeqCst);
        if self.word().owner().is_some() {
            readers_changed(self.slot);
        }
    }

    fn begin_writing(&self, timeout: Option<Duration>) -> Result<()> {
        let deadline = deadline(timeout);
        self.exclude_writers(timeout, true)?;
        let refused = if self.is_sealed() {
            Some(sealed(self.hold))
        } else if self.is_poisoned() {
            Some(poisoned(self.hold))
        } else if !self.wait_for_readers(deadline) {
            Some(timed_out("the readers of object", self.hold, timeout))
        } else {
            None
        };
        refused.map_or(Ok(()), |error| {
            self.unlock();
            Err(error)
        })
    }

    /// Waits until nobody reads. The lock is held, so no new reader begins.
    fn wait_for_readers(&self, deadline: Option<Instant>) -> bool {
        let mut spins = 0;
        loop {
            let seen = self.slot.seq.load(Ordering::Acquire);
            // Pairs with the fences of the readers.
            fence(Ordering::SeqCst);
            if !self.has_readers(spins > SPINS) {
                return true;
            }
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
                continue;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return false;
            }
            futex::wait(&self.slot.seq, seen, Some(left.map_or(SLICE, |left| left.min(SLICE))));
        }
    }

    /// Whether any session reads. With `look_closely` the readers of processes that are gone do not count, whatever the broker says.
    fn has_readers(&self, look_closely: bool) -> bool {
        let region = self.hold.session().region();
        let hint = self.slot.holders.load(Ordering::Acquire);
        SessionIndex::any_hinted(hint, region.session_count(), |session| {
            // Most rows that a hint means are free. Whoever takes one later sees the lock.
            let attached = Counts::session_state(region, session)
                .is_some_and(|state| SessionState::of_word(state.load(Ordering::Acquire)) != SessionState::Free);
            // Acquire: pairs with the release in `end_reading`.
            let reads = || {
                Counts::cell(region, session, self.hold.slot())
                    .is_some_and(|cell| cell.load(Ordering::Acquire) & READERS != 0)
            };
            let lives = || sessions::read(region, session).is_some_and(|record| record.lives());
            attached && reads() && (!look_closely || lives())
        })
    }
}

/// Tells a waiting writer to look at the readers again.
pub(crate) fn readers_changed(slot: &Slot) {
    slot.seq.fetch_add(1, Ordering::Release);
    futex::wake_all(&slot.seq);
}

fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

fn timed_out(what: &str, hold: &Hold, timeout: Option<Duration>) -> Error {
    let waited = timeout.unwrap_or_default();
    Error::new(ErrorKind::Timeout, format!("waited {waited:?} for {what} {}", hold.id()))
        .help("`sharehold inspect` shows who holds it")
}

fn too_many(hold: &Hold) -> Error {
    let what = format!("object {} has {MOST_READERS} read guards in this process, and can't have more", hold.id());
    Error::new(ErrorKind::InvalidArgument, what).help("let go of some")
}

fn unguarded(hold: &Hold) -> Error {
    let what = "others may change it, and a manager that only reads can't tell them that it reads";
    Error::new(ErrorKind::ReadOnly, format!("object {} is not sealed: {what}", hold.id()))
        .help("seal it, or connect without read_only; values are read as they are")
}

pub(crate) fn sealed(hold: &Hold) -> Error {
    Error::new(ErrorKind::Sealed, format!("object {} is sealed: it can't be changed any more", hold.id()))
}

pub(crate) fn not_sealed(hold: &Hold) -> Error {
    Error::new(ErrorKind::NotSealed, format!("object {} is not sealed: others may change it", hold.id()))
        .help("read it under a guard, or seal it first")
}

fn poisoned(hold: &Hold) -> Error {
    Error::new(
        ErrorKind::Poisoned,
        format!("a writer of object {} died or panicked: it may be half changed", hold.id()),
    )
    .help("call clear_poison, then write what is right")
}

/// Elements that nobody writes while this lives. Made by [`Array::read`](super::Array::read).
///
/// It stays in its thread, as the guards of the standard library do: a child that this thread forks reads on under a guard of its own.
pub struct ReadGuard<'a, T: Pod> {
    lock: ObjectLock<'a>,
    elements: &'a [T],
    thread: PhantomData<std::sync::MutexGuard<'static, ()>>,
}

impl<'a, T: Pod> ReadGuard<'a, T> {
    #[expect(unsafe_code, reason = "the guard is what makes the reference sound")]
    pub(crate) fn new(hold: &'a Hold, payload: Payload<T>, timeout: Option<Duration>) -> Result<Self> {
        let lock = ObjectLock::of(hold)?;
        lock.begin_reading(timeout)?;
        reads::begin(hold.session(), hold.slot());
        // SAFETY: no writer begins until `end_reading`, and the hold outlives 'a.
        let elements = unsafe { payload.slice() };
        Ok(Self { lock, elements, thread: PhantomData })
    }
}

impl<T: Pod> Deref for ReadGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.elements
    }
}

impl<T: Pod> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        let hold = self.lock.hold;
        reads::end(hold.session(), hold.slot());
        if hold.session().is_ours() {
            self.lock.end_reading();
        }
    }
}

/// Elements that nobody else reads or writes while this lives. Made by [`Array::write`](super::Array::write).
///
/// A panic while it lives marks the array as poisoned, as the death of the process does. In a child that is forked while it lives it still is the parent's: the child must not
/// touch the elements, and drops it without effect.
pub struct WriteGuard<'a, T: Pod> {
    lock: ObjectLock<'a>,
    elements: &'a mut [T],
}

impl<'a, T: Pod> WriteGuard<'a, T> {
    #[expect(unsafe_code, reason = "the guard is what makes the reference sound")]
    pub(crate) fn new(hold: &'a Hold, payload: Payload<T>, timeout: Option<Duration>) -> Result<Self> {
        let lock = ObjectLock::of(hold)?;
        lock.begin_writing(timeout)?;
        // SAFETY: nobody else reads or writes until the lock is let go, and the hold outlives 'a.
        let elements = unsafe { payload.slice_mut() };
        Ok(Self { lock, elements })
    }
}

impl<T: Pod> Deref for WriteGuard<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.elements
    }
}

impl<T: Pod> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.elements
    }
}

impl<T: Pod> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lock.unlock_poisoned();
        } else {
            self.lock.unlock();
        }
    }
}
