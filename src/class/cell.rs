//! A hosted object with its lock: methods that read run together, one that changes runs alone.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{RwLock, RwLockWriteGuard};

use super::frame::{self, Already};
use super::snapshot::Keeping;
use crate::error::{Error, ErrorKind, Result};
use crate::object::Object;
use crate::region::ObjectId;
use crate::session::Session;
use crate::table::tickets;

/// How often one that waits for a lock looks whether anybody waits for it.
const LOOK: Duration = Duration::from_millis(20);

/// An object of a class, in the broker.
pub(crate) struct Cell<T> {
    /// Empty once the object was collected with its cycle.
    lock: RwLock<Option<T>>,
    /// A method panicked while it changed the object.
    poisoned: AtomicBool,
    /// Tells the proxies inside, if the class can.
    references: Option<References<T>>,
    keeping: Option<Keeping<T>>,
}

pub(crate) type References<T> = fn(&T, &mut dyn FnMut(&Object));

/// The same without its type.
pub(crate) trait AnyCell: Any + Send + Sync {
    /// The object alone, if no method is running. `None` if one is, or the class can't tell what it holds.
    fn freeze(&self) -> Option<Box<dyn Frozen + '_>>;
    /// What brings the object back, if its class keeps that. For a new object, which nobody changes yet.
    fn save(&self, session: &Session) -> Result<Option<Vec<u8>>>;
    fn is_poisoned(&self) -> bool;
    fn clear_poison(&self);
}

/// An object on which no method can run.
pub(crate) trait Frozen {
    /// Calls `visit` with each proxy inside.
    fn references(&self, visit: &mut dyn FnMut(&Object));
    /// Takes the object out: all that follows is told that it is gone.
    fn take(self: Box<Self>) -> Box<dyn Any>;
}

impl<T> Cell<T> {
    pub(crate) fn new(object: T, references: Option<References<T>>, keeping: Option<Keeping<T>>) -> Self {
        Self { lock: RwLock::new(Some(object)), poisoned: AtomicBool::new(false), references, keeping }
    }

    /// Runs a method that reads.
    pub(crate) fn read<R>(&self, id: ObjectId, work: impl FnOnce(&T) -> Result<R>) -> Result<R> {
        let guard = match frame::already(id) {
            Already::Exclusively => return Err(own_call(id)),
            // This thread reads it already, so it may again, also while another waits to write.
            Already::Shared => Some(self.lock.read_recursive()),
            Already::No => self.lock.try_read(),
        };
        let guard = match guard {
            Some(guard) => guard,
            None => wait(id, || self.lock.try_read_for(LOOK))?,
        };
        self.check(id)?;
        let object = guard.as_ref().ok_or_else(|| tickets::gone(id))?;
        let _held = frame::hold(id, false);
        work(object)
    }

    /// Runs a method that changes, and has kept what it leaves if the class wants that.
    pub(crate) fn write<R>(
        &self,
        id: ObjectId,
        session: &Session,
        work: impl FnOnce(&mut T) -> Result<R>,
    ) -> Result<R> {
        if frame::already(id) != Already::No {
            return Err(own_call(id));
        }
        let guard = match self.lock.try_write() {
            Some(guard) => guard,
            None => wait(id, || self.lock.try_write_for(LOOK))?,
        };
        self.check(id)?;
        let mut change = Change { guard, poisoned: &self.poisoned, is_whole: false };
        let result = change.guard.as_mut().ok_or_else(|| tickets::gone(id)).and_then(|object| {
            let _held = frame::hold(id, true);
            let result = work(object);
            let Some(keeping) = &self.keeping else { return result };
            // Also after an error: the method may have changed something before it.
            let kept = (keeping.save)(session, object).and_then(|bytes| session.keep(id, &bytes));
            result.and_then(|result| {
                kept.map(|()| result).map_err(|error| {
                    let what =
                        format!("the method was executed, but what it changed can't be kept: {}", error.message());
                    Error::new(error.kind(), what).caused_by(error)
                })
            })
        });
        change.is_whole = true;
        result
    }

    /// Looks at the object without waiting, poisoned or not. `None` if a method changes it just now.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.lock.try_read_recursive()?.as_ref().map(look)
    }

    fn check(&self, id: ObjectId) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::Poisoned,
                format!("object {id} may be half changed: a method panicked while it changed it"),
            )
            .help("make a new one, or clear the mark with Manager::clear_poison"));
        }
        Ok(())
    }
}

/// A method that changes: one that panics leaves the mark. Whether the thread is panicking says nothing: a destructor may call while another method's panic goes by.
struct Change<'a, T> {
    guard: RwLockWriteGuard<'a, Option<T>>,
    poisoned: &'a AtomicBool,
    is_whole: bool,
}

impl<T> Drop for Change<'_, T> {
    fn drop(&mut self) {
        if !self.is_whole {
            self.poisoned.store(true, Ordering::Release);
        }
    }
}

fn own_call(id: ObjectId) -> Error {
    Error::new(
        ErrorKind::Deadlock,
        format!("object {id} is in the middle of a call which leads to this call on itself"),
    )
    .help("a method that changes an object can't be called by way of another from itself")
}

/// Waits as long as somebody waits for us, and nobody of whom we are in the way.
fn wait<G>(id: ObjectId, mut attempt: impl FnMut() -> Option<G>) -> Result<G> {
    let mut waiting = frame::wait(id);
    loop {
        if let Some(guard) = attempt() {
            return Ok(guard);
        }
        waiting.look()?;
    }
}

impl<T: Send + Sync + 'static> AnyCell for Cell<T> {
    fn freeze(&self) -> Option<Box<dyn Frozen + '_>> {
        let references = self.references?;
        let guard = self.lock.try_write()?;
        guard.is_some().then(|| Box::new(FrozenCell { guard, references }) as Box<dyn Frozen>)
    }

    fn save(&self, session: &Session) -> Result<Option<Vec<u8>>> {
        let guard = self.lock.read();
        let Some((keeping, object)) = self.keeping.as_ref().zip(guard.as_ref()) else { return Ok(None) };
        (keeping.save)(session, object).map(Some)
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    fn clear_poison(&self) {
        self.poisoned.store(false, Ordering::Release);
    }
}

struct FrozenCell<'a, T> {
    guard: RwLockWriteGuard<'a, Option<T>>,
    references: References<T>,
}

impl<T: 'static> Frozen for FrozenCell<'_, T> {
    fn references(&self, visit: &mut dyn FnMut(&Object)) {
        if let Some(object) = &*self.guard {
            (self.references)(object, visit);
        }
    }

    fn take(mut self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.guard.take())
    }
}
