//! The calls that this thread is making on hosted objects, and those that wait for each other.

use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::object::scope;
use crate::region::ObjectId;

/// For whom a thread works.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) pid: u32,
    /// Closed when the caller has gone or does not wait any more.
    pub(crate) stream: Arc<UnixStream>,
}

/// What this thread is doing.
#[derive(Default)]
struct Frames {
    caller: Option<Caller>,
    /// Objects whose locks it has, and whether exclusively.
    held: Vec<(ObjectId, bool)>,
}

thread_local! {
    static FRAMES: RefCell<Frames> = RefCell::new(Frames::default());
}

/// The process that made the call which this thread is executing. `None` outside of methods.
pub fn caller() -> Option<u32> {
    FRAMES.with_borrow(|frames| frames.caller.as_ref().map(|caller| caller.pid))
}

/// Whether nobody waits any more for the method that this thread is executing: the caller has cancelled, run out of time or died. A long method looks from time to
/// time; one that goes on is in nobody's way.
///
/// ```
/// assert!(!sharehold::is_cancelled(), "outside of methods nothing is cancelled");
/// ```
pub fn is_cancelled() -> bool {
    let gone = FRAMES.with_borrow(|frames| {
        frames.caller.as_ref().is_some_and(|caller| crate::sys::socket::is_hung_up(&caller.stream))
    });
    gone || scope::current().is_cancelled()
}

/// Executes a call for a caller.
pub(crate) fn for_caller<R>(caller: Caller, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Caller>);
    impl Drop for Restore {
        fn drop(&mut self) {
            FRAMES.with_borrow_mut(|frames| frames.caller = self.0.take());
        }
    }
    let _restore = Restore(FRAMES.with_borrow_mut(|frames| frames.caller.replace(caller)));
    work()
}

/// How this thread has an object already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Already {
    No,
    Shared,
    Exclusively,
}

/// Whether this thread is in a method of this object.
pub(crate) fn already(id: ObjectId) -> Already {
    FRAMES.with_borrow(|frames| {
        match frames.held.iter().filter(|(held, _)| *held == id).map(|(_, exclusively)| *exclusively).max() {
            None => Already::No,
            Some(false) => Already::Shared,
            Some(true) => Already::Exclusively,
        }
    })
}

/// Notes that this thread has the lock of an object, until the result is dropped.
pub(crate) fn hold(id: ObjectId, exclusively: bool) -> Held {
    FRAMES.with_borrow_mut(|frames| frames.held.push((id, exclusively)));
    Held
}

pub(crate) struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        FRAMES.with_borrow_mut(|frames| frames.held.pop());
    }
}

/// A thread that waits for an object's lock, and what it has meanwhile.
struct Waiter {
    number: u64,
    held: Vec<(ObjectId, bool)>,
    wanted: ObjectId,
}

impl Waiter {
    fn holds(&self, id: ObjectId) -> bool {
        self.held.iter().any(|(held, _)| *held == id)
    }
}

/// All threads that wait. A deadlock consists of such only.
static WAITERS: Mutex<Vec<Waiter>> = Mutex::new(Vec::new());

/// Notes that this thread waits for an object's lock, until the result is dropped.
pub(crate) fn wait(wanted: ObjectId) -> Waiting {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let held = FRAMES.with_borrow(|frames| frames.held.clone());
    WAITERS.lock().push(Waiter { number, held, wanted });
    Waiting { number, wanted, seen: false }
}

pub(crate) struct Waiting {
    number: u64,
    wanted: ObjectId,
    /// Whether a ring was there at the last look: one that is there twice is not just dissolving.
    seen: bool,
}

impl Waiting {
    /// Looks whether waiting on makes sense.
    pub(crate) fn look(&mut self) -> Result<()> {
        scope::current().check()?;
        if is_cancelled() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                format!("nobody waits any more for a call that waited for object {}", self.wanted),
            ));
        }
        let is_ring = self.is_in_a_ring();
        if is_ring && self.seen {
            return Err(Error::new(
                ErrorKind::Deadlock,
                format!("this call waits for object {}, whose call waits for this one", self.wanted),
            )
            .help("let methods that change objects call each other in one order"));
        }
        self.seen = is_ring;
        Ok(())
    }

    /// Whether the one that has the wanted object waits, over however many others, for something that this thread has, and this thread is the youngest
    /// of that ring: one that gives way is enough.
    fn is_in_a_ring(&self) -> bool {
        let waiters = WAITERS.lock();
        let Some(me) = waiters.iter().find(|waiter| waiter.number == self.number) else { return false };
        // What is waited for, and the youngest waiter on the way to it.
        let mut seen = vec![(self.wanted, self.number)];
        let mut next = 0;
        while let Some((wanted, youngest)) = seen.get(next).copied() {
            next += 1;
            let others = waiters.iter().filter(|waiter| waiter.number != self.number);
            for waiter in others.filter(|waiter| waiter.holds(wanted)) {
                let youngest = youngest.max(waiter.number);
                if me.holds(waiter.wanted) && youngest == self.number {
                    return true;
                }
                if seen.iter().all(|(wanted, _)| *wanted != waiter.wanted) {
                    seen.push((waiter.wanted, youngest));
                }
            }
        }
        false
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITERS.lock().retain(|waiter| waiter.number != self.number);
    }
}
