//! One plain value, read and written whole by any process.
//!
//! It has two copies. A writer, under the object's lock, fills the copy that readers do not use and then flips the sequence number, whose
//! low bit tells the copy to read. So readers never wait, and a writer that dies leaves the old value whole.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::guard::{ObjectLock, not_sealed, sealed as is_sealed};
use super::payload::{Payload, load, slot_of, store};
use super::proxy::{Kind, expect_type, item, sealed, typed_words};
use super::schema::Shareable;
use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, Region};
use crate::session::Hold;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// A plain value in shared memory.
///
/// ```
/// use sharehold::Manager;
///
/// let manager = Manager::start()?;
/// let price = manager.value(41.5)?;
/// price.set(42.0)?;
/// let doubled = price.update(|price| {
///     *price *= 2.0;
///     *price
/// })?;
/// assert_eq!((doubled, price.get()?), (84.0, 84.0));
/// # Ok::<(), sharehold::Error>(())
/// ```
pub struct Value<T: Shareable> {
    hold: Hold,
    payload: Payload<AtomicU64>,
    value: PhantomData<T>,
}

impl<T: Shareable> Clone for Value<T> {
    fn clone(&self) -> Self {
        Self { hold: self.hold.clone(), payload: self.payload, value: PhantomData }
    }
}

/// Words of one copy of a type: whole cache lines' worth of alignment is kept for the second copy too.
pub(crate) const fn copy_words<T>() -> usize {
    copy_words_of(size_of::<T>(), align_of::<T>())
}

/// The same of a type of this size and alignment.
pub(crate) const fn copy_words_of(size: usize, align: usize) -> usize {
    let align = if align > 8 { align } else { 8 };
    let size = if size == 0 { 1 } else { size };
    size.next_multiple_of(align) / 8
}

/// The two copies of a value.
pub(super) struct Copies<'v> {
    hold: &'v Hold,
    words: &'v [AtomicU64],
    /// Words of each. There are twice as many.
    each: usize,
}

impl<'v> Copies<'v> {
    /// The copies in a payload, which has enough words: whoever has made the proxy has checked that.
    #[inline]
    pub(super) fn of(hold: &'v Hold, payload: Payload<AtomicU64>, each: usize) -> Self {
        Self { hold, words: payload.words(hold), each }
    }

    #[inline]
    fn copy(&self, sequence: u32) -> &'v [AtomicU64] {
        let start = (sequence & 1) as usize * self.each;
        &self.words[start..start + self.each]
    }

    fn sequence(&self) -> Result<&'v AtomicU32> {
        slot_of(self.hold).map(|slot| &slot.seq)
    }

    /// What `load` makes of the copy that is read. It may be called more than once; the last time counts.
    #[inline]
    pub(super) fn get<R>(&self, mut load: impl FnMut(&[AtomicU64]) -> R) -> Result<R> {
        let sequence = self.sequence()?;
        loop {
            // Acquire: pairs with the flip in `change`.
            let before = sequence.load(Ordering::Acquire);
            let value = load(self.copy(before));
            // Pairs with the fence in `change`: a read of the next but one writer's bytes makes its predecessor's flip visible.
            fence(Ordering::Acquire);
            if sequence.load(Ordering::Relaxed) == before {
                return Ok(value);
            }
        }
    }

    pub(super) fn change<T>(
        &self,
        timeout: Option<Duration>,
        load: impl FnOnce(&[AtomicU64]) -> T,
        change: impl FnOnce(T) -> T,
        store: impl FnOnce(&[AtomicU64], &T),
    ) -> Result<()> {
        let lock = ObjectLock::of(self.hold)?;
        // Whoever dies, the value is whole.
        lock.exclude_writers(timeout, false)?;
        let unlock = Unlock(&lock);
        if lock.is_sealed() {
            return Err(is_sealed(self.hold));
        }
        let sequence = lock.sequence();
        // Relaxed: the lock orders writers.
        let now = sequence.load(Ordering::Relaxed);
        let next = change(load(self.copy(now)));
        if !lock.is_mine() {
            return Err(Error::new(ErrorKind::Forked, "the lock is the parent's of this process")
                .help("do not fork while a value is being changed"));
        }
        // Pairs with the fence in `get`: whoever reads one of the bytes below also sees the flip before.
        fence(Ordering::Release);
        store(self.copy(now.wrapping_add(1)), &next);
        // Release: whoever sees the new number sees the new copy.
        sequence.store(now.wrapping_add(1), Ordering::Release);
        drop(unlock);
        Ok(())
    }

    /// The first bytes of the copy that is read, in place, if nobody can change them.
    #[expect(unsafe_code, reason = "a sealed payload is immutable")]
    pub(super) fn sealed(&self, size: usize) -> Result<&'v [u8]> {
        if !ObjectLock::of(self.hold)?.is_sealed() {
            return Err(not_sealed(self.hold));
        }
        let copy = (self.sequence()?.load(Ordering::Acquire) & 1) as usize;
        let values: Payload<u8> = Payload::of(self.hold)?;
        // SAFETY: sealed, so nobody writes for as long as it is held.
        let bytes = unsafe { values.slice() };
        let start = copy * self.each * 8;
        bytes.get(start..start + size).ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> Error {
        Error::new(ErrorKind::Damaged, format!("object {} is too small or badly aligned", self.hold.id()))
    }
}

impl<T: Shareable> Value<T> {
    #[inline]
    fn copies(&self) -> Copies<'_> {
        Copies::of(&self.hold, self.payload, copy_words::<T>())
    }

    /// A copy of the value. Never torn, and never waits for a writer, also a stopped one.
    ///
    /// # Errors
    /// `Damaged` if the region says something impossible.
    pub fn get(&self) -> Result<T> {
        self.copies().get(load)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// `Sealed` if it is sealed.
    pub fn set(&self, value: T) -> Result<()> {
        self.change(None, |_| value)
    }

    /// Changes the value under the object's lock and returns what `change` returns. If `change` panics or the process dies, the value stays as it was.
    ///
    /// # Errors
    /// `Sealed` if it is sealed.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.update_within(None, change)
    }

    /// As [`Value::update`], but waits at most this long for other writers.
    ///
    /// # Errors
    /// `Timeout` if the time is over, `Sealed` if the value is sealed.
    pub fn update_for<R>(&self, timeout: Duration, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        self.update_within(Some(timeout), change)
    }

    fn update_within<R>(&self, timeout: Option<Duration>, change: impl FnOnce(&mut T) -> R) -> Result<R> {
        let mut result = None;
        self.change(timeout, |mut value| {
            result = Some(change(&mut value));
            value
        })?;
        result.ok_or_else(|| Error::new(ErrorKind::Damaged, "the change was not made"))
    }

    fn change(&self, timeout: Option<Duration>, change: impl FnOnce(T) -> T) -> Result<()> {
        self.copies().change(timeout, load, change, store)
    }

    /// Makes the value immutable for ever, in all processes.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn seal(&self) -> Result<&T> {
        ObjectLock::of(&self.hold)?.seal()?;
        self.sealed()
    }

    /// The value in place, without a copy, if it is sealed.
    ///
    /// # Errors
    /// `NotSealed` if others may change it.
    pub fn sealed(&self) -> Result<&T> {
        let copies = self.copies();
        let bytes = copies.sealed(size_of::<T>())?;
        bytemuck::try_from_bytes(bytes).map_err(|_| copies.damaged())
    }
}

/// Lets go of the lock, also on the way of a panic.
struct Unlock<'l, 'h>(&'l ObjectLock<'h>);

impl Drop for Unlock<'_, '_> {
    fn drop(&mut self) {
        self.0.unlock();
    }
}

#[expect(private_interfaces, reason = "only this crate can call it")]
impl<T: Shareable> sealed::Typed for Value<T> {
    fn check(region: &Region, id: ObjectId) -> Result<()> {
        expect_type(region, id, Kind::Value, T::FINGERPRINT, T::type_name)
    }

    fn of(hold: Hold) -> Result<Self> {
        let words = typed_words(hold.session().region(), hold.id(), Kind::Value, T::FINGERPRINT, T::type_name)?;
        let payload: Payload<AtomicU64> = Payload::in_place(&hold, &words)?;
        if payload.count() < 2 * copy_words::<T>() {
            return Err(Error::new(ErrorKind::Damaged, format!("object {} is too small for its type", hold.id())));
        }
        Ok(Self { hold, payload, value: PhantomData })
    }

    fn hold(&self) -> &Hold {
        &self.hold
    }

    fn item() -> (u64, String) {
        item("Value", T::FINGERPRINT, Some(T::type_name()))
    }
}

impl<T: Shareable> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value<{}>({})", T::type_name(), self.hold.id())
    }
}
