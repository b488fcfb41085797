//! Arrays, which are read and written in place, and what nobody can change.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use sharehold_rust::{Array, Error, Kind, ReadGuard, WriteGuard};

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

/// Elements in so many bytes. An object whose size is no multiple was refused when the type was looked at, or is damaged.
fn count(bytes: usize, of: &sh_type) -> usize {
    bytes / usize::try_from(of.0.size()).unwrap_or(usize::MAX).max(1)
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
        let size = usize::try_from(of.0.size()).ok().and_then(|size| size.checked_mul(count));
        let size = size.ok_or_else(|| invalid(format!("{count} elements do not fit any memory")))?;
        let source = if elements.is_null() { None } else { Some(bytes(elements, size)?) };
        let array = manager.0.array_of(&of.0, count, |place| {
            match source {
                Some(source) => place.copy_from_slice(source),
                None => place.fill(0),
            }
            Ok::<(), Error>(())
        })?;
        object.set(give(sh_object::of_array(&array)?));
        Ok(())
    }
}

/// Shares a copy of bytes that nobody can change: an array of "u8" that is sealed. Any thread. The object is to be dropped by sh_object_drop; sh_array_sealed gives the bytes.
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
        object.set(give(sh_object::of_array(&array)?));
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
        length.set(self::count(guard.len(), of));
        lock.set(give(sh_lock { _guard: Guard::Read(guard), _array: array }));
        Ok(())
    }
}

/// As sh_array_read, to write: also waits for readers, and keeps them out. If the process dies before sh_unlock, others get SH_POISONED.
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
        length.set(self::count(guard.len(), of));
        lock.set(give(sh_lock { _guard: Guard::Write(guard), _array: array }));
        Ok(())
    }
}

/// Gives a lock back, in the thread that took it. The elements must not be used any more. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_unlock(lock: *mut sh_lock) -> sh_status {
    border! { take_back(lock) }
}

/// The elements of an array of this type that is sealed. Without a lock, valid as long as the object is held. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_array_sealed(
    object: *const sh_object,
    of: *const sh_type,
    elements: *mut *const c_void,
    count: *mut usize,
) -> sh_status {
    border! {
        let (elements, length) = (out(elements)?, out(count)?);
        let (object, of) = (get(object)?, get(of)?);
        let array = array_of(object, of)?;
        let bytes = array.sealed()?;
        // The object's own hold keeps them.
        elements.set(if bytes.is_empty() { ptr::null() } else { bytes.as_ptr().cast() });
        length.set(self::count(bytes.len(), of));
        Ok(())
    }
}

/// Takes the mark of a writer that has died away; the caller writes what is right next. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_array_clear_poison(object: *const sh_object) -> sh_status {
    border! { Ok(get(object)?.0.array_bytes()?.clear_poison()?) }
}
