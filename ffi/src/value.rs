//! One plain value.

use std::ffi::c_void;

use sharehold_rust::Kind;

use crate::border::{Result, border, bytes, check, get, invalid, mismatch, out, time};
use crate::manager::sh_manager;
use crate::object::sh_object;
use crate::status::sh_status;
use crate::types::sh_type;

/// Changes a value in place; `context` is what was given with the function.
pub type sh_change = Option<unsafe extern "C" fn(value: *mut c_void, context: *mut c_void)>;

fn size_of(of: &sh_type) -> Result<usize> {
    usize::try_from(of.0.size()).map_err(|_| invalid("a value does not fit any memory"))
}

fn value_of(object: &sh_object, of: &sh_type) -> Result<sharehold_rust::RawValue> {
    match object.0.expect(&of.0)? {
        Kind::Value => Ok(object.0.value_bytes()?),
        kind => Err(mismatch(&object.0, kind, Kind::Value)),
    }
}

/// Shares a copy of a value. Any thread. The object is to be dropped by sh_object_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_value_new(
    manager: *const sh_manager,
    of: *const sh_type,
    value: *const c_void,
    object: *mut *mut sh_object,
) -> sh_status {
    border! {
        let object = out(object)?;
        let (manager, of) = (get(manager)?, get(of)?);
        let made = manager.0.value_of(&of.0, bytes(value, size_of(of)?)?)?;
        object.set(sh_object::give(made.untyped()));
        Ok(())
    }
}

/// Copies the value out, which is of this type. Never torn, and never waits. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_value_get(object: *const sh_object, of: *const sh_type, value: *mut c_void) -> sh_status {
    border! {
        let (object, of) = (get(object)?, get(of)?);
        check(value)?;
        // Not straight into the caller's memory, which may be uninitialised.
        let mut copy = vec![0; size_of(of)?];
        value_of(object, of)?.get(&mut copy)?;
        value.cast::<u8>().copy_from_nonoverlapping(copy.as_ptr(), copy.len());
        Ok(())
    }
}

/// Replaces the value, which is of this type. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_value_set(object: *const sh_object, of: *const sh_type, value: *const c_void) -> sh_status {
    border! {
        let (object, of) = (get(object)?, get(of)?);
        Ok(value_of(object, of)?.set(bytes(value, size_of(of)?)?)?)
    }
}

/// Changes the value, which is of this type, while nobody else does: waits at most `timeout_ms` for others, without limit if it is negative. Any thread; `change` is called in this one, must return, and
/// must not change this value by other functions. If the process dies in it, the value stays as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_value_update(
    object: *const sh_object,
    of: *const sh_type,
    timeout_ms: i64,
    change: sh_change,
    context: *mut c_void,
) -> sh_status {
    border! {
        let (object, of) = (get(object)?, get(of)?);
        let change = change.ok_or_else(|| invalid("the function that changes the value is NULL"))?;
        Ok(value_of(object, of)?.update_within(time(timeout_ms), |value| change(value.as_mut_ptr().cast(), context))?)
    }
}
