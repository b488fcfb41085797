//! The bytes of one object: bounds and alignment checked once, when the proxy is made.
#![expect(unsafe_code, reason = "the only place where bytes of the heap become references")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use bytemuck::Pod;

use crate::error::{Error, ErrorKind, Result};
use crate::region::layout::{DAMAGED, Shared, Slot};
use crate::region::{Offset, Region};
use crate::session::Hold;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::table::words::Words;

/// Where `count` elements of `T` lie. It is valid as long as the region is mapped; who uses it keeps a hold.
pub(crate) struct Payload<T> {
    start: NonNull<T>,
    count: usize,
    element: PhantomData<T>,
}

// SAFETY: a place, no ownership; access goes through the methods below, whose contracts say when.
unsafe impl<T: Send + Sync> Send for Payload<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Payload<T> {}

impl<T> Clone for Payload<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Payload<T> {}

impl<T> Payload<T> {
    /// The payload of a held object, as elements of `T`. What the slot says is read once and checked.
    #[inline]
    pub(crate) fn of(hold: &Hold) -> Result<Self> {
        Self::in_place(hold, &Words::of(hold.session().region(), hold.id())?)
    }

    /// The same where what the slot says was read, and checked, before.
    #[inline]
    pub(crate) fn in_place(hold: &Hold, words: &Words) -> Result<Self> {
        let (region, slot) = (hold.session().region(), slot_of(hold)?);
        if slot.flags.load(Ordering::Relaxed) & DAMAGED != 0 {
            return Err(out_of_use(hold));
        }
        let (offset, len) = (Offset(words.offset), words.len);
        Self::at(region, offset, len).ok_or_else(|| damaged(hold, offset, len))
    }

    /// The elements in these bytes of the heap, unless they can't be there.
    #[inline]
    pub(crate) fn at(region: &Region, offset: Offset, len: u64) -> Option<Self> {
        let start = if len == 0 { NonNull::dangling() } else { region.payload(offset, len)?.cast::<T>() };
        let size = size_of::<T>().max(1) as u64;
        (start.is_aligned() && len.is_multiple_of(size)).then(|| Self {
            start,
            count: (len / size) as usize,
            element: PhantomData,
        })
    }

    /// Where the first element lies.
    pub(crate) fn start(&self) -> *const T {
        self.start.as_ptr()
    }

    /// Number of elements.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether it starts on a multiple of this many bytes. What is empty starts anywhere.
    pub(crate) fn is_aligned_to(&self, align: usize) -> bool {
        self.count == 0 || self.start.addr().get().is_multiple_of(align)
    }
}

impl<T: Shared> Payload<T> {
    /// A struct of atomics, which anybody may write at any time. `hold` keeps it mapped. `None`: there is no room for one.
    #[inline]
    pub(crate) fn shared(self, _hold: &Hold) -> Option<&T> {
        let first = (self.count > 0).then_some(self.start)?;
        // SAFETY: in bounds and aligned since `of`, valid whatever the bytes, and mapped while the hold lives, whose borrow the result shares.
        Some(unsafe { first.as_ref() })
    }
}

impl<T: Pod> Payload<T> {
    /// The elements, shared.
    ///
    /// # Safety
    /// For `'a` the object is held, and nobody writes: a read guard is held, or the object is sealed.
    pub(crate) unsafe fn slice<'a>(self) -> &'a [T] {
        // SAFETY: in bounds and aligned since `of`; any bytes are a `T`; unwritten for 'a by contract.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }

    /// The elements, exclusively.
    ///
    /// # Safety
    /// For `'a` the object is held, and nobody else reads or writes: the write guard is held, or nobody else knows the object yet.
    pub(crate) unsafe fn slice_mut<'a>(self) -> &'a mut [T] {
        // SAFETY: in bounds and aligned since `of`; any bytes are a `T`; exclusive for 'a by contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.count) }
    }
}

impl Payload<AtomicU64> {
    /// The words, which anybody may write at any time: atomics bear that. `hold` keeps them mapped.
    #[inline]
    pub(crate) fn words(self, _hold: &Hold) -> &[AtomicU64] {
        // SAFETY: in bounds and aligned since `of`, and mapped while the hold lives, whose borrow the result shares.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.count) }
    }
}

/// Copies words out into a value. Torn if somebody writes meanwhile: the caller finds out, see `object/value.rs`.
pub(crate) fn load<T: Pod>(words: &[AtomicU64]) -> T {
    let mut value = T::zeroed();
    load_bytes(words, bytemuck::bytes_of_mut(&mut value));
    value
}

/// The same into bytes.
#[inline]
pub(crate) fn load_bytes(words: &[AtomicU64], value: &mut [u8]) {
    for (chunk, word) in value.chunks_mut(8).zip(words) {
        // Relaxed: the sequence number orders the copy.
        let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
}

/// Copies a value into words.
pub(crate) fn store<T: Pod>(words: &[AtomicU64], value: &T) {
    store_bytes(words, bytemuck::bytes_of(value));
}

/// The same from bytes.
#[inline]
pub(crate) fn store_bytes(words: &[AtomicU64], value: &[u8]) {
    for (chunk, word) in value.chunks(8).zip(words) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        // Relaxed: the flip of the sequence number publishes the copy.
        word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
    }
}

#[cold]
fn out_of_use(hold: &Hold) -> Error {
    let what = format!("object {}: somebody has changed what only the broker writes", hold.id());
    Error::new(ErrorKind::Damaged, what).help("its bytes can't be trusted; `sharehold check` says more")
}

/// The error for an object that can't have these bytes.
#[cold]
pub(crate) fn damaged(hold: &Hold, offset: Offset, len: u64) -> Error {
    Error::new(ErrorKind::Damaged, format!("object {} says that its {len} bytes lie at {}", hold.id(), offset.0))
}

/// The slot of a held object.
#[inline]
pub(crate) fn slot_of(hold: &Hold) -> Result<&Slot> {
    hold.session()
        .region()
        .slot(hold.slot())
        .ok_or_else(|| Error::new(ErrorKind::Damaged, format!("there is no slot for object {}", hold.id())))
}
