//! Types of values and of elements, stated when the program runs.

use std::ffi::c_char;

use sharehold_rust::Schema;

use crate::border::{allocate, border, get, give, invalid, out, slice, take_back, text};
use crate::status::sh_status;

/// A type of values or of an array's elements. It never changes: any threads may use it at once.
pub struct sh_type(pub(crate) Schema);

impl sh_type {
    /// Elements in so many bytes. An object whose size is no multiple was refused when the type was looked at, or is damaged.
    pub(crate) fn count(&self, bytes: usize) -> usize {
        bytes / usize::try_from(self.0.size()).unwrap_or(usize::MAX).max(1)
    }
}

/// A field of a struct.
#[repr(C)]
pub struct sh_field {
    /// Its name.
    pub name: *const c_char,
    /// Its offset in bytes.
    pub offset: usize,
    /// Its type.
    pub of: *const sh_type,
}

/// The type of a number by its name in Rust: "u8" to "u128", "i8" to "i128", "usize", "isize", "f32", "f64". Any thread. To be dropped by sh_type_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_type_number(name: *const c_char, of: *mut *mut sh_type) -> sh_status {
    border! {
        let of = out(of)?;
        let name = text(name)?;
        let schema = Schema::primitive(name).ok_or_else(|| invalid(format!("'{name}' is no type of a number")))?;
        of.set(give(sh_type(schema)));
        Ok(())
    }
}

/// The type of `count` elements, one behind the other, as one. Any thread. To be dropped by sh_type_drop.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_type_array(element: *const sh_type, count: usize, of: *mut *mut sh_type) -> sh_status {
    border! {
        let of = out(of)?;
        let element = &get(element)?.0;
        let size = element.size().checked_mul(count as u64).filter(|size| (1..=i64::MAX as u64).contains(size));
        if size.is_none() {
            return Err(invalid(format!("{count} elements of {} are no type", element.name())));
        }
        of.set(give(sh_type(element.array(count))));
        Ok(())
    }
}

/// The type of a struct of `size` bytes, which is that of a struct in Rust with the same name and fields. The fields stand one behind the other, aligned, without
/// gaps. Any thread. To be dropped by sh_type_drop; the types of the fields may be dropped before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_type_struct(
    name: *const c_char,
    size: usize,
    fields: *const sh_field,
    count: usize,
    of: *mut *mut sh_type,
) -> sh_status {
    border! {
        let of = out(of)?;
        let name = text(name)?;
        let mut stated = Vec::new();
        for field in slice(fields, count)? {
            stated.push((text(field.name)?, field.offset as u64, get(field.of)?.0.clone()));
        }
        let schema = Schema::structure(name, size as u64, &stated).ok_or_else(|| {
            invalid(format!("'{name}' is no plain struct: fields without gaps, each aligned, {size} bytes in all"))
        })?;
        of.set(give(sh_type(schema)));
        Ok(())
    }
}

/// Bytes of one value of the type. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_type_size(of: *const sh_type, size: *mut usize) -> sh_status {
    border! {
        let size = out(size)?;
        size.set(usize::try_from(get(of)?.0.size()).map_err(|_| invalid("it does not fit any memory"))?);
        Ok(())
    }
}

/// Its name, as others see it in lists and errors. Any thread. To be freed by sh_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_type_name(of: *const sh_type, name: *mut *mut c_char) -> sh_status {
    border! {
        let name = out(name)?;
        name.set(allocate(get(of)?.0.name().as_bytes())?.cast());
        Ok(())
    }
}

/// The number that tells it from other types, in all languages: of its name, size and alignment, and of the name, place and type of every field. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_type_tag(of: *const sh_type, tag: *mut u64) -> sh_status {
    border! {
        let tag = out(tag)?;
        tag.set(get(of)?.0.fingerprint());
        Ok(())
    }
}

/// Drops a type, which no other thread uses meanwhile. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_type_drop(of: *mut sh_type) -> sh_status {
    border! { take_back(of) }
}
