//! A lock word that survives its owner.
//!
//! | bits | meaning |
//! |---|---|
//! | 0..13 | the owner's session + 1; 0: nobody |
//! | 13..29 | the owner's session generation, cut to 16 bits |
//! | 29 | whole: what is locked is whole at each moment, so the owner's death leaves no mark |
//! | 30 | poisoned: an owner died while it held the lock, and nobody has cleared the mark |
//! | 31 | somebody may be waiting |
//!
//! There is no pointer in it: whoever can write the word can at worst give the lock away. A pthread mutex keeps its robust list
//! inside the shared page and lets a writer of that page write into its victim's private memory.
//! Source of the waiting scheme: Drepper, *Futexes Are Tricky*, the second mutex.
#![expect(unsafe_code, reason = "the guard of raw_sync has no constructor that another crate may call")]

use std::error::Error;
use std::ffi::c_void;
use std::time::{Duration, Instant};

use raw_sync::Timeout;
use raw_sync::locks::{LockGuard, LockImpl};

use super::atomic::{AtomicU32, Ordering};
use crate::sys::futex;

const OWNER: u32 = (1 << 29) - 1;
const WHOLE: u32 = 1 << 29;
const POISONED: u32 = 1 << 30;
const WAITERS: u32 = 1 << 31;

/// How often a lock is looked at before sleeping: about as long as a short critical section.
const SPINS: u32 = 100;
/// How long a waiter sleeps before it looks for itself whether the owner lives: nobody waits for ever, even without a broker.
const SLICE: Duration = Duration::from_millis(100);

/// A session as the lock word has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    pub(crate) fn new(session: u16, generation: u32) -> Self {
        Self((u32::from(session) + 1) & 0x1fff | (generation & 0xffff) << 13)
    }

    pub(crate) fn session(self) -> u16 {
        ((self.0 & 0x1fff) - 1) as u16
    }

    /// Whether this is the session of that generation, as far as the word can tell.
    pub(crate) fn has_generation(self, generation: u32) -> bool {
        self.0 >> 13 == generation & 0xffff
    }

    /// As a word that is not 0.
    pub(crate) fn word(self) -> u32 {
        self.0
    }

    pub(crate) fn of_word(word: u32) -> Option<Self> {
        (word & 0x1fff != 0).then_some(Self(word & OWNER))
    }
}

/// How a lock was got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// From nobody or from one that let go.
    Clean,
    /// From one that died, now or earlier; the mark is still there.
    Poisoned,
}

/// A view of a lock word in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct RobustLock<'a>(&'a AtomicU32);

impl<'a> RobustLock<'a> {
    pub(crate) fn new(word: &'a AtomicU32) -> Self {
        Self(word)
    }

    /// Who has the lock.
    pub(crate) fn owner(self) -> Option<Owner> {
        // SeqCst: a reader of an array announces itself, then looks here; see `object/guard.rs`.
        Owner::of_word(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn is_poisoned(self) -> bool {
        // Acquire: pairs with the release of `unlock`.
        self.0.load(Ordering::Acquire) & POISONED != 0
    }

    pub(crate) fn clear_poison(self) {
        self.0.fetch_and(!POISONED, Ordering::AcqRel);
    }

    /// Waits for the lock, at most until `deadline`. `poisons`: if this owner dies, what is locked may be half changed. `is_dead` tells whether an owner's process is
    /// gone; the lock of a dead owner is taken over, with the mark if that one poisons. `None`: the time is over.
    pub(crate) fn lock(
        self,
        me: Owner,
        deadline: Option<Instant>,
        poisons: bool,
        is_dead: impl Fn(Owner) -> bool,
    ) -> Option<Acquired> {
        let mine = if poisons { me.0 } else { me.0 | WHOLE };
        let mut flags = 0;
        let mut spins = 0;
        loop {
            let word = self.0.load(Ordering::Relaxed);
            let Some(owner) = Owner::of_word(word) else {
                // SeqCst: a writer of an array takes the lock, then looks for readers; see `object/guard.rs`.
                // The bit of the owner before goes with him (R50).
                let taken = word & (POISONED | WAITERS) | flags | mine;
                if self.0.compare_exchange(word, taken, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                    return Some(if word & POISONED == 0 { Acquired::Clean } else { Acquired::Poisoned });
                }
                continue;
            };
            if !self.pause(word, owner, &mut spins, deadline, &is_dead) {
                return None;
            }
            if spins >= SPINS {
                // Others may sleep on: whoever comes from sleeping leaves the mark for them.
                flags = WAITERS;
            }
        }
    }

    /// Lets go and wakes the next. Does nothing if `me` is not the owner.
    pub(crate) fn unlock(self, me: Owner) {
        self.release(me, false);
    }

    /// Takes the lock from an owner that is dead, and leaves the mark if that one poisons. Does nothing if it is not the owner any more. Returns whether it was.
    pub(crate) fn take_from(self, dead: Owner) -> bool {
        self.release(dead, true)
    }

    fn release(self, owner: Owner, died: bool) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if word & OWNER != owner.0 {
                return false;
            }
            let mark = if died && word & WHOLE == 0 { POISONED } else { 0 };
            let free = word & POISONED | mark;
            // Release: what the owner did is seen by the next, whose swap in `lock` acquires.
            match self.0.compare_exchange(word, free, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if word & WAITERS != 0 {
            futex::wake_one(self.0);
        }
        true
    }

    /// Sleeps until the lock has no owner, or for a slice. For readers, who do not take it.
    pub(crate) fn wait_until_free(self, deadline: Option<Instant>, is_dead: impl Fn(Owner) -> bool) -> bool {
        let mut spins = 0;
        loop {
            let word = self.0.load(Ordering::SeqCst);
            let Some(owner) = Owner::of_word(word) else {
                // Another sleeper may be owed the wake-up that this one got.
                if spins >= SPINS {
                    futex::wake_one(self.0);
                }
                return true;
            };
            if !self.pause(word, owner, &mut spins, deadline, &is_dead) {
                return false;
            }
        }
    }

    /// One round of waiting for the owner in `word`: spins at first, then sleeps for a slice and looks whether the owner lives. False: the time is over.
    fn pause(
        self,
        word: u32,
        owner: Owner,
        spins: &mut u32,
        deadline: Option<Instant>,
        is_dead: impl Fn(Owner) -> bool,
    ) -> bool {
        if *spins < SPINS {
            *spins += 1;
            std::hint::spin_loop();
            return true;
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return false;
        }
        let marked = word | WAITERS;
        if word != marked && self.0.compare_exchange(word, marked, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return true;
        }
        let slept = Instant::now();
        futex::wait(self.0, marked, Some(left.map_or(SLICE, |left| left.min(SLICE))));
        if slept.elapsed() >= SLICE && is_dead(owner) {
            self.take_from(owner);
        }
        true
    }
}

/// A robust lock behind the lock traits of `raw_sync`: what was written against those can use it unchanged.
///
/// Its own timed lock adds nanoseconds without carrying, and its mutex never recovers from a dead owner; this one does both right.
pub(crate) struct RobustMutex<'a> {
    lock: RobustLock<'a>,
    me: Owner,
    is_dead: Box<dyn Fn(Owner) -> bool + Send + Sync + 'a>,
    data: std::cell::UnsafeCell<*mut u8>,
}

impl<'a> RobustMutex<'a> {
    pub(crate) fn new(word: &'a AtomicU32, me: Owner, is_dead: impl Fn(Owner) -> bool + Send + Sync + 'a) -> Self {
        Self {
            lock: RobustLock::new(word),
            me,
            is_dead: Box::new(is_dead),
            data: std::cell::UnsafeCell::new(std::ptr::null_mut()),
        }
    }

    fn guard(&self) -> LockGuard<'_> {
        let lock: &dyn LockImpl = self;
        const { assert!(size_of::<LockGuard<'static>>() == size_of::<&'static dyn LockImpl>()) };
        // SAFETY: in the pinned version 0.1.5 the guard is a struct of one field, a `&dyn LockImpl`, and has its size, so the bytes are
        // the field's. The lock is held, which is all that a guard stands for.
        unsafe { std::mem::transmute::<&dyn LockImpl, LockGuard<'_>>(lock) }
    }
}

impl LockImpl for RobustMutex<'_> {
    fn as_raw(&self) -> *mut c_void {
        std::ptr::from_ref(self.lock.0).cast_mut().cast()
    }

    fn lock(&self) -> Result<LockGuard<'_>, Box<dyn Error>> {
        self.try_lock(Timeout::Infinite)
    }

    fn try_lock(&self, timeout: Timeout) -> Result<LockGuard<'_>, Box<dyn Error>> {
        let deadline = match timeout {
            Timeout::Infinite => None,
            Timeout::Val(duration) => Instant::now().checked_add(duration),
        };
        // Behind these traits nobody can look at a mark.
        self.lock
            .lock(self.me, deadline, false, &self.is_dead)
            .map(|_| self.guard())
            .ok_or_else(|| "the lock is held by a living process".into())
    }

    fn release(&self) -> Result<(), Box<dyn Error>> {
        self.lock.unlock(self.me);
        Ok(())
    }

    unsafe fn get_inner(&self) -> &mut *mut u8 {
        // SAFETY: the caller holds the lock, by the contract of the trait.
        unsafe { &mut *self.data.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(index: u16) -> Owner {
        Owner::new(index, 7)
    }

    #[test]
    fn the_lock_of_a_dead_owner_is_given_on_with_a_mark() {
        let word = AtomicU32::new(0);
        let lock = RobustLock::new(&word);
        assert_eq!(lock.lock(owner(3), None, true, |_| false), Some(Acquired::Clean));
        assert_eq!(lock.owner(), Some(owner(3)));
        assert_eq!(owner(3).session(), 3);
        assert_eq!(lock.lock(owner(4), None, true, |dead| dead == owner(3)), Some(Acquired::Poisoned));
        lock.unlock(owner(4));
        assert!(lock.is_poisoned());
        lock.clear_poison();
        assert_eq!(lock.lock(owner(5), None, true, |_| false), Some(Acquired::Clean));
    }

    #[test]
    fn only_an_owner_that_could_leave_something_half_changed_leaves_a_mark() {
        let word = AtomicU32::new(0);
        let lock = RobustLock::new(&word);
        assert_eq!(lock.lock(owner(3), None, false, |_| false), Some(Acquired::Clean));
        assert_eq!(lock.owner(), Some(owner(3)));
        // One that poisons takes it from one that does not, and dies too.
        assert_eq!(lock.lock(owner(4), None, true, |dead| dead == owner(3)), Some(Acquired::Clean));
        assert!(lock.take_from(owner(4)) && lock.is_poisoned());
        // The mark stays, whoever comes and dies.
        assert_eq!(lock.lock(owner(5), None, false, |_| false), Some(Acquired::Poisoned));
        assert!(lock.take_from(owner(5)) && lock.is_poisoned());
    }

    #[test]
    fn a_wait_for_a_living_owner_ends_in_time_and_changes_nothing() {
        let word = AtomicU32::new(0);
        let lock = RobustLock::new(&word);
        assert!(lock.lock(owner(1), None, true, |_| false).is_some());
        let deadline = Instant::now() + Duration::from_millis(5);
        assert_eq!(lock.lock(owner(2), Some(deadline), true, |_| false), None);
        assert_eq!(lock.owner(), Some(owner(1)));
    }

    #[test]
    fn nobody_unlocks_what_is_not_his() {
        let word = AtomicU32::new(0);
        let lock = RobustLock::new(&word);
        assert!(lock.lock(owner(1), None, true, |_| false).is_some());
        lock.unlock(owner(2));
        assert_eq!(lock.owner(), Some(owner(1)));
    }

    #[test]
    fn threads_that_sleep_are_all_woken_in_the_end() {
        let word = AtomicU32::new(0);
        let mut counter = 0_u64;
        let shared = std::sync::Mutex::new(&mut counter);
        std::thread::scope(|scope| {
            for index in 0..4 {
                let (word, shared) = (&word, &shared);
                scope.spawn(move || {
                    for _ in 0..2000 {
                        let lock = RobustLock::new(word);
                        assert!(lock.lock(owner(index), None, true, |_| false).is_some());
                        **shared.try_lock().expect("the robust lock excludes") += 1;
                        lock.unlock(owner(index));
                    }
                });
            }
        });
        assert_eq!(counter, 8000);
    }

    #[test]
    fn a_raw_sync_user_gets_a_guard_that_locks_and_a_timeout_that_carries() {
        let word = AtomicU32::new(0);
        let first = RobustMutex::new(&word, owner(1), |_| false);
        let second = RobustMutex::new(&word, owner(2), |_| false);
        let guard = first.lock().expect("free");
        // raw_sync's own lock failed at once for most timeouts with a fraction of a second.
        assert!(second.try_lock(Timeout::Val(Duration::from_millis(7))).is_err());
        drop(guard);
        assert!(second.try_lock(Timeout::Val(Duration::from_millis(7))).is_ok());
    }
}
