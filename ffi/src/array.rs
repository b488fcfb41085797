//! Arrays, which are read and written in place, and what nobody can change.

use std::ffi::c_void;
use std::sync::Arc;

use sharehold_rust::{Array, Error, Kind, Proxy, ReadGuard, WriteGuard};

use crate::border::{Result, border, bytes, get, give, invalid, mismatch, out, take_back, time};
use crate::manager::sh_manager;
use crate::object::sh_object;
use crate::status::sh_status;
use crate::types::sh_type;

/// A lock on an array, of one thread: the one that took it gives it back.
pub struct sh_lock {
    // Before what it borrows of.
    _guard: Guard,
    _array: Arc<Array<u8>>,
}

#[expect(dead_code, reason = "they are held, and let go when they are dropped")]
enum Guard {
    Read(ReadGuard<'static, u8>),
    Write(WriteGuard<'static, u8>),
}

fn array_of(object: &sh_object, of: &sh_type) -> Result<Arc<Array<u8>>> {
    match object.0.expect(&of.0)? {
        Kind::Array => Ok(Arc::new(object.0.array_bytes()?)),
        kind => Err(mismatch(&object.0, kind, Kind::Array)),
    }
}

/// # Safety
/// The result is dropped before the array is.
unsafe fn for_ever(array: &Arc<Array<u8>>) -> &'static Array<u8> {
    // SAFETY: it stays where it is as long as the `Arc` does.
    unsafe { &*Arc::as_ptr(array) }
}

fn size_of_all(of: &sh_type, count: usize) -> Result<usize> {
    let size = usize::try_from(of.0.size()).ok().and_then(|size| size.checked_mul(count));
    size.ok_or_else(|| invalid(format!("{count} elements do not fit any memory")))
}

/// Shares a copy of `count` elements; of zeros if `elements` is NULL. Any thread. The object is to be dropped by sh_object_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_array_new(
    manager: *const sh_manager,
    of: *const sh_type,
    elements: *const c_void,
    count: usize,
    object: *mut *mut sh_object,
) -> sh_status {
    border! {
        let object = out(object)?;
        let (manager, of) = (get(manager)?, get(of)?);
        let size = size_of_all(of, count)?;
        let source = if elements.is_null() { None } else { Some(bytes(elements, size)?) };
        let array = manager.0.array_of(&of.0, count, |place| {
            match source {
                Some(source) => place.copy_from_slice(source),
                None => place.fill(0),
            }
            Ok::<(), Error>(())
        })?;
        object.set(sh_object::give(array.untyped()));
        Ok(())
    }
}

/// Shares a copy of bytes that nobody can change: an array of "u8" that is sealed. Any thread. The object is to be dropped by sh_object_drop; sh_object_sealed gives the bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_bytes_new(
    manager: *const sh_manager,
    data: *const c_void,
    len: usize,
    object: *mut *mut sh_object,
) -> sh_status {
    border! {
        let object = out(object)?;
        let array = get(manager)?.0.array(bytes(data, len)?)?;
        array.seal()?;
        object.set(sh_object::give(array.untyped()));
        Ok(())
    }
}

/// Waits until nobody writes the array, which is of this type, at most `timeout_ms`, without limit if it is negative, and keeps writers out until the lock is given to sh_unlock: `elements` and `count` are what is
/// there, in place. This thread must not write the array meanwhile, not even through another object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_array_read(
    object: *const sh_object,
    of: *const sh_type,
    timeout_ms: i64,
    elements: *mut *const c_void,
    count: *mut usize,
    lock: *mut *mut sh_lock,
) -> sh_status {
    border! {
        let (elements, length, lock) = (out(elements)?, out(count)?, out(lock)?);
        let (object, of) = (get(object)?, get(of)?);
        let array = array_of(object, of)?;
        let place = for_ever(&array);
        let guard = time(timeout_ms).map_or_else(|| place.read(), |time| place.read_for(time))?;
        elements.set(guard.as_ptr().cast());
        length.set(of.count(guard.len()));
        lock.set(give(sh_lock { _guard: Guard::Read(guard), _array: array }));
        Ok(())
    }
}

/// As sh_array_read, to write: also waits for readers, and keeps them out. If the process dies before sh_unlock, others get SH_POISONED. The lock is this thread's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_array_write(
    object: *const sh_object,
    of: *const sh_type,
    timeout_ms: i64,
    elements: *mut *mut c_void,
    count: *mut usize,
    lock: *mut *mut sh_lock,
) -> sh_status {
    border! {
        let (elements, length, lock) = (out(elements)?, out(count)?, out(lock)?);
        let (object, of) = (get(object)?, get(of)?);
        let array = array_of(object, of)?;
        let place = for_ever(&array);
        let mut guard = time(timeout_ms).map_or_else(|| place.write(), |time| place.write_for(time))?;
        elements.set(guard.as_mut_ptr().cast());
        length.set(of.count(guard.len()));
        lock.set(give(sh_lock { _guard: Guard::Write(guard), _array: array }));
        Ok(())
    }
}

/// Gives a lock back, in the thread that took it. The elements must not be used any more. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_unlock(lock: *mut sh_lock) -> sh_status {
    border! { take_back(lock) }
}

/// Whether a writer of the array has died while it wrote. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_array_is_poisoned(object: *const sh_object, is_poisoned: *mut u32) -> sh_status {
    border! {
        let is_poisoned = out(is_poisoned)?;
        is_poisoned.set(get(object)?.0.array_bytes()?.is_poisoned()?.into());
        Ok(())
    }
}

/// Shares a copy of `count` elements that the kernel keeps from being changed, by whatever process. It costs a descriptor in each process that reads it. Any thread. The object is to be dropped by sh_object_drop;
/// sh_object_sealed gives the elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_frozen_new(
    manager: *const sh_manager,
    of: *const sh_type,
    elements: *const c_void,
    count: usize,
    object: *mut *mut sh_object,
) -> sh_status {
    border! {
        let object = out(object)?;
        let (manager, of) = (get(manager)?, get(of)?);
        let frozen = manager.0.freeze_of(&of.0, bytes(elements, size_of_all(of, count)?)?)?;
        object.set(sh_object::give(frozen.untyped()));
        Ok(())
    }
}
