//! Plain values that nobody can change, also not by writing what is not his.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::proxy::{Kind, expect_kind, expect_type, item, sealed};
use super::schema::Shareable;
use crate::error::{Error, ErrorKind, Result};
use crate::region::{ObjectId, Region};
use crate::session::Hold;
use crate::sys::frozen::Frozen as Bytes;

/// An immutable array whose bytes the kernel keeps from being written, by whatever process. Made by [`Manager::freeze`](crate::Manager::freeze).
///
/// A sealed [`Array`](crate::Array) is immutable as long as every attached process keeps to that. A frozen one is mapped for reading from a file that is sealed against writing, and whoever gets it looks at the seals
/// himself: no reader has to trust a writer. It costs a descriptor in the broker, and a descriptor and a mapping in each process that reads it: the next broker gets the file from them if this one is killed.
///
/// ```
/// use sharehold::{Frozen, Manager, Proxy};
///
/// let manager = Manager::start()?;
/// let primes = manager.freeze(&[2_u32, 3, 5, 7])?;
/// let same: Frozen<u32> = manager.redeem(&primes.ticket()?)?;
/// assert_eq!(same[3], 7);
/// # Ok::<(), sharehold::Error>(())
/// ```
pub struct Frozen<T: Shareable> {
    hold: Hold,
    bytes: Arc<Bytes>,
    elements: std::marker::PhantomData<T>,
}

impl<T: Shareable> Clone for Frozen<T> {
    fn clone(&self) -> Self {
        Self { hold: self.hold.clone(), bytes: Arc::clone(&self.bytes), elements: self.elements }
    }
}

impl<T: Shareable> Deref for Frozen<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // `of` has checked that it can be.
        bytemuck::try_cast_slice(self.bytes.bytes()).unwrap_or_default()
    }
}

impl<T: Shareable> Frozen<T> {
    /// The bytes alone, for whoever holds the object otherwise: they are not counted, and stay where they are as long as somebody has them.
    ///
    /// ```
    /// use sharehold::{Manager, Proxy};
    ///
    /// let manager = Manager::start()?;
    /// let primes = manager.freeze(&[2_u8, 3, 5, 7])?;
    /// let bytes = primes.mapping();
    /// assert_eq!(manager.object_info(primes.id())?.proxies(), 1);
    /// assert_eq!((*bytes).as_ref(), [2, 3, 5, 7]);
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    pub fn mapping(&self) -> Arc<dyn AsRef<[u8]> + Send + Sync> {
        Arc::<Bytes>::clone(&self.bytes)
    }
}

impl Frozen<u8> {
    /// The bytes of a frozen object, whatever its elements are.
    pub(crate) fn bytes_of(hold: Hold) -> Result<Self> {
        expect_kind(&hold, Kind::Frozen)?;
        let bytes = hold.session().frozen(hold.id())?;
        Ok(Self { hold, bytes, elements: std::marker::PhantomData })
    }
}

#[expect(private_interfaces, reason = "only this crate can call it")]
impl<T: Shareable> sealed::Typed for Frozen<T> {
    fn check(region: &Region, id: ObjectId) -> Result<()> {
        expect_type(region, id, Kind::Frozen, T::FINGERPRINT, T::type_name)
    }

    fn of(hold: Hold) -> Result<Self> {
        Self::check(hold.session().region(), hold.id())?;
        let bytes = hold.session().frozen(hold.id())?;
        if let Err(error) = bytemuck::try_cast_slice::<u8, T>(bytes.bytes()) {
            let what = format!("object {} has {} bytes: {error}", hold.id(), bytes.bytes().len());
            return Err(Error::new(ErrorKind::Damaged, what));
        }
        Ok(Self { hold, bytes, elements: std::marker::PhantomData })
    }

    fn hold(&self) -> &Hold {
        &self.hold
    }

    fn item() -> (u64, String) {
        item("Frozen", T::FINGERPRINT, Some(T::type_name()))
    }

    fn forget(self) {
        std::mem::forget(self.hold);
    }
}

impl<T: Shareable> fmt::Debug for Frozen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frozen<{}>({}, {} elements)", T::type_name(), self.hold.id(), self.len())
    }
}
