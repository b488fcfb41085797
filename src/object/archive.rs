//! Immutable objects of any `rkyv` type, read in place.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::AtomicBool;

use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;

use super::guard::{ObjectLock, not_sealed};
use super::payload::Payload;
use super::proxy::{Kind, expect_type, item, sealed, typed_words};
use super::schema::{fingerprint, short_name};
use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, Region};
use crate::session::Hold;
use crate::sync::atomic::Ordering;

/// A type that can be archived: whatever derives `rkyv`'s `Archive` and `Serialize`.
pub trait Archivable:
    rkyv::Archive<Archived: for<'a> CheckBytes<HighValidator<'a, rancor::Error>>>
    + for<'a> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>>
{
}

impl<T> Archivable for T where
    T: rkyv::Archive<Archived: for<'a> CheckBytes<HighValidator<'a, rancor::Error>>>
        + for<'a> rkyv::Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, rancor::Error>>
{
}

/// An immutable object with strings, vectors and whatever else `rkyv` can archive. It is validated once by each proxy that reads it, and then read in place.
///
/// ```
/// use sharehold::{Archive, Manager};
///
/// let manager = Manager::start()?;
/// let words: Archive<Vec<String>> = manager.archive(&vec!["zero".into(), "copy".into()])?;
/// assert_eq!(words.get()?[1], "copy");
/// # Ok::<(), sharehold::Error>(())
/// ```
pub struct Archive<T: Archivable> {
    hold: Hold,
    payload: Payload<u8>,
    valid: AtomicBool,
    value: PhantomData<fn() -> T>,
}

impl<T: Archivable> Clone for Archive<T> {
    fn clone(&self) -> Self {
        Self {
            hold: self.hold.clone(),
            payload: self.payload,
            valid: AtomicBool::new(self.valid.load(Ordering::Relaxed)),
            value: PhantomData,
        }
    }
}

/// Tells archives of this type from others: its name without paths, and the size and alignment of its archived form.
pub(crate) fn archive_fingerprint<T: Archivable>() -> u64 {
    fingerprint(&short_name::<T>(), size_of::<T::Archived>(), align_of::<T::Archived>(), &[("archived", 0, 0)])
}

impl<T: Archivable> Archive<T> {
    /// The archived value in place.
    ///
    /// # Errors
    /// `ArchiveInvalid` if the bytes are not an archive of this type.
    #[expect(unsafe_code, reason = "a sealed payload is immutable, and was validated before")]
    pub fn get(&self) -> Result<&T::Archived> {
        if !ObjectLock::of(&self.hold)?.is_sealed() {
            return Err(not_sealed(&self.hold));
        }
        // SAFETY: sealed, so nobody writes for as long as it is held, which the borrow of `self` sees to.
        let bytes: &[u8] = unsafe { self.payload.slice() };
        // Relaxed: each thread that reads false validates for itself.
        if self.valid.load(Ordering::Relaxed) {
            // SAFETY: these very bytes were validated and are immutable.
            return Ok(unsafe { rkyv::access_unchecked::<T::Archived>(bytes) });
        }
        let value = rkyv::access::<T::Archived, rancor::Error>(bytes).map_err(|error| {
            Error::new(
                ErrorKind::ArchiveInvalid,
                format!("object {} is not a valid archive of {}: {error}", self.hold.id(), short_name::<T>()),
            )
        })?;
        self.valid.store(true, Ordering::Relaxed);
        Ok(value)
    }
}

#[expect(private_interfaces, reason = "only this crate can call it")]
impl<T: Archivable> sealed::Typed for Archive<T> {
    fn check(region: &Region, id: ObjectId) -> Result<()> {
        expect_type(region, id, Kind::Archive, archive_fingerprint::<T>(), short_name::<T>)
    }

    fn of(hold: Hold) -> Result<Self> {
        let (region, fingerprint) = (hold.session().region(), archive_fingerprint::<T>());
        let words = typed_words(region, hold.id(), Kind::Archive, fingerprint, short_name::<T>)?;
        let payload = Payload::in_place(&hold, &words)?;
        Ok(Self { hold, payload, valid: AtomicBool::new(false), value: PhantomData })
    }

    fn hold(&self) -> &Hold {
        &self.hold
    }

    fn item() -> (u64, String) {
        item("Archive", archive_fingerprint::<T>(), Some(short_name::<T>()))
    }
}

impl<T: Archivable> fmt::Debug for Archive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive<{}>({})", short_name::<T>(), self.hold.id())
    }
}
