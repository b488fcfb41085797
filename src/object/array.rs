//! Many plain values of one type, read and written in place.

use std::fmt;
use std::time::Duration;

use super::guard::{ObjectLock, ReadGuard, WriteGuard, not_sealed};
use super::payload::Payload;
use super::proxy::{Kind, expect_kind, expect_type, item, sealed, typed_words};
use super::schema::Shareable;
use crate::error::Result;
use crate::region::{ObjectId, Region};
use crate::session::Hold;

/// An array in shared memory: of any length up to the region's capacity, aligned to 64 bytes or more.
///
/// While others may write, it is read and written under guards. Sealed, it is a slice for ever.
///
/// ```
/// use sharehold::Manager;
///
/// let manager = Manager::start()?;
/// let array = manager.array(&[1_u32, 2, 3])?;
/// array.write()?[0] = 10;
/// assert_eq!(array.seal()?, [10, 2, 3]);
/// assert!(array.write().is_err());
/// # Ok::<(), sharehold::Error>(())
/// ```
pub struct Array<T: Shareable> {
    hold: Hold,
    payload: Payload<T>,
}

impl<T: Shareable> Clone for Array<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self { hold: self.hold.clone(), payload: self.payload }
    }
}

impl<T: Shareable> Array<T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.payload.count()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, while no process writes. Waits for a writer.
    ///
    /// A thread that reads or writes an array and asks for a guard of another kind on the same array waits for itself for ever.
    ///
    /// # Errors
    /// `Poisoned` if a writer died or panicked: see [`Array::clear_poison`].
    pub fn read(&self) -> Result<ReadGuard<'_, T>> {
        ReadGuard::new(&self.hold, self.payload, None)
    }

    /// As [`Array::read`], but waits at most this long.
    ///
    /// # Errors
    /// As [`Array::read`], and `Timeout`.
    pub fn read_for(&self, timeout: Duration) -> Result<ReadGuard<'_, T>> {
        ReadGuard::new(&self.hold, self.payload, Some(timeout))
    }

    /// The elements, exclusively. Waits for readers and writers.
    ///
    /// # Errors
    /// `Sealed`, or `Poisoned` if an earlier writer died or panicked.
    pub fn write(&self) -> Result<WriteGuard<'_, T>> {
        WriteGuard::new(&self.hold, self.payload, None)
    }

    /// As [`Array::write`], but waits at most this long.
    ///
    /// # Errors
    /// As [`Array::write`], and `Timeout`.
    pub fn write_for(&self, timeout: Duration) -> Result<WriteGuard<'_, T>> {
        WriteGuard::new(&self.hold, self.payload, Some(timeout))
    }

    /// Makes the array immutable for ever, in all processes. Waits for writers.
    ///
    /// # Errors
    /// `Poisoned` if a writer died or panicked. A sealed array may be sealed again.
    pub fn seal(&self) -> Result<&[T]> {
        if !self.is_sealed()? {
            ObjectLock::of(&self.hold)?.seal()?;
        }
        self.sealed()
    }

    /// The elements in place, without a guard, if the array is sealed.
    ///
    /// # Errors
    /// `NotSealed` if others may change it.
    #[expect(unsafe_code, reason = "a sealed payload is immutable")]
    pub fn sealed(&self) -> Result<&[T]> {
        if !self.is_sealed()? {
            return Err(not_sealed(&self.hold));
        }
        // SAFETY: sealed, so nobody writes for as long as it is held, which the borrow of `self` sees to.
        Ok(unsafe { self.payload.slice() })
    }

    /// Whether it is immutable.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn is_sealed(&self) -> Result<bool> {
        ObjectLock::of(&self.hold).map(|lock| lock.is_sealed())
    }

    /// Whether a writer died or panicked, so that the elements may be half changed.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn is_poisoned(&self) -> Result<bool> {
        ObjectLock::of(&self.hold).map(|lock| lock.is_poisoned())
    }

    /// Whether this process can't change it: it is sealed, or was reached by a manager that only reads.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn is_read_only(&self) -> Result<bool> {
        Ok(self.hold.session().only_reads() || self.is_sealed()?)
    }

    /// Where the elements lie, as long as a proxy of this process holds them: for views that other languages have of them. Whoever reads or writes there keeps to the guards by himself, and does
    /// not write what is [`is_read_only`](Array::is_read_only).
    pub fn as_ptr(&self) -> *const T {
        self.payload.start()
    }

    /// Takes the mark of a dead writer away. Whoever calls it should write what is right next.
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn clear_poison(&self) -> Result<()> {
        ObjectLock::of(&self.hold)?.clear_poison()
    }
}

impl Array<u8> {
    /// The bytes of an array, whatever its elements are.
    pub(crate) fn bytes_of(hold: Hold) -> Result<Self> {
        expect_kind(&hold, Kind::Array)?;
        let payload = Payload::of(&hold)?;
        Ok(Self { hold, payload })
    }
}

#[expect(private_interfaces, reason = "only this crate can call it")]
impl<T: Shareable> sealed::Typed for Array<T> {
    fn check(region: &Region, id: ObjectId) -> Result<()> {
        expect_type(region, id, Kind::Array, T::FINGERPRINT, T::type_name)
    }

    fn of(hold: Hold) -> Result<Self> {
        let words = typed_words(hold.session().region(), hold.id(), Kind::Array, T::FINGERPRINT, T::type_name)?;
        let payload = Payload::in_place(&hold, &words)?;
        Ok(Self { hold, payload })
    }

    fn hold(&self) -> &Hold {
        &self.hold
    }

    fn item() -> (u64, String) {
        item("Array", T::FINGERPRINT, Some(T::type_name()))
    }
}

impl<T: Shareable> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Array<{}>({}, {} elements)", T::type_name(), self.hold.id(), self.len())
    }
}
