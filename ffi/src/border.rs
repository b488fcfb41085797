//! The border between C and Rust: no panic crosses it, no pointer is used before it was looked at, and whoever fails says why.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::status::{SH_INTERNAL, SH_INVALID_ARGUMENT, SH_OK, SH_OS, SH_TYPE_MISMATCH, sh_status};

/// Why a function fails.
pub(crate) struct Failure {
    status: sh_status,
    text: String,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl From<sharehold_rust::Error> for Failure {
    fn from(error: sharehold_rust::Error) -> Self {
        Self { status: error.kind() as sh_status, text: error.to_string() }
    }
}

/// An argument that can't be.
pub(crate) fn invalid(text: impl Into<String>) -> Failure {
    Failure { status: SH_INVALID_ARGUMENT, text: text.into() }
}

/// An object of another kind than the function is for.
pub(crate) fn mismatch(
    object: &sharehold_rust::Object,
    found: sharehold_rust::Kind,
    wanted: sharehold_rust::Kind,
) -> Failure {
    let text = format!("object {} is {found}, not {wanted}", sharehold_rust::Proxy::id(object));
    Failure { status: SH_TYPE_MISMATCH, text }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs what a function does.
pub(crate) fn run(work: impl FnOnce() -> Result<()>) -> sh_status {
    let failure = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return SH_OK,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            Failure { status: SH_INTERNAL, text: format!("a panic in this library: {said}") }
        }
    };
    let text = CString::new(failure.text.replace('\0', " ")).unwrap_or_default();
    // A thread that ends has no last error any more.
    let _ = LAST.try_with(|last| last.replace(text));
    failure.status
}

/// The body of a function of C: unsafe as its caller's pointers are, and run by [`run`].
macro_rules! border {
    ($($body:tt)*) => {
        $crate::border::run(|| {
            // SAFETY: pointers are looked at for what can be seen of them; for the rest the caller keeps to the header.
            unsafe { $($body)* }
        })
    };
}
pub(crate) use border;

/// What the last function that failed in this thread has to say, as text in UTF-8. Empty if none has failed. Valid until the next one fails in this thread; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn sh_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Frees texts and bytes that this library has allocated. NULL is nothing to free. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sh_free(memory: *mut c_void) -> sh_status {
    border! {
        libc::free(memory);
        Ok(())
    }
}

/// Refuses what is NULL or misaligned.
pub(crate) fn check<T>(pointer: *const T) -> Result<*const T> {
    let what = || std::any::type_name::<T>().rsplit("::").next().unwrap_or_default();
    if pointer.is_null() {
        return Err(invalid(format!("a pointer to {} is NULL", what())));
    }
    if !pointer.is_aligned() {
        return Err(invalid(format!("a pointer to {} is misaligned", what())));
    }
    Ok(pointer)
}

pub(crate) unsafe fn get<'a, T>(pointer: *const T) -> Result<&'a T> {
    // SAFETY: neither NULL nor misaligned; that it points to one is the caller's word.
    check(pointer).map(|pointer| unsafe { &*pointer })
}

pub(crate) unsafe fn get_mut<'a, T>(pointer: *mut T) -> Result<&'a mut T> {
    // SAFETY: as `get`, and nobody else uses it now.
    check(pointer).map(|pointer| unsafe { &mut *pointer.cast_mut() })
}

/// Where a result goes: looked at before the work, written after it.
pub(crate) struct Out<T>(*mut T);

pub(crate) fn out<T>(pointer: *mut T) -> Result<Out<T>> {
    check(pointer).map(|pointer| Out(pointer.cast_mut()))
}

impl<T> Out<T> {
    pub(crate) unsafe fn set(self, value: T) {
        // SAFETY: neither NULL nor misaligned; the caller's place.
        unsafe { self.0.write(value) }
    }
}

/// `len` elements; of none the pointer may be NULL.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, len: usize) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(invalid(format!("{len} elements do not fit any memory")));
    }
    // SAFETY: as `get`.
    check(pointer).map(|pointer| unsafe { std::slice::from_raw_parts(pointer, len) })
}

pub(crate) unsafe fn bytes<'a>(pointer: *const c_void, len: usize) -> Result<&'a [u8]> {
    // SAFETY: as `slice`.
    unsafe { slice(pointer.cast(), len) }
}

pub(crate) unsafe fn text<'a>(pointer: *const c_char) -> Result<&'a str> {
    check(pointer)?;
    // SAFETY: not NULL; it ends with a zero, by the caller's word.
    unsafe { CStr::from_ptr(pointer) }.to_str().map_err(|_| invalid("a text is not UTF-8"))
}

/// Moves something to C, which gives it back to be dropped.
pub(crate) fn give<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes back and drops what was given. NULL is nothing.
pub(crate) unsafe fn take_back<T>(pointer: *mut T) -> Result<()> {
    if !pointer.is_null() {
        check(pointer)?;
        // SAFETY: from `give`, and nobody uses it any more.
        drop(unsafe { Box::from_raw(pointer) });
    }
    Ok(())
}

/// A copy that C frees, with a zero behind it.
pub(crate) fn allocate(bytes: &[u8]) -> Result<*mut u8> {
    // SAFETY: any size; the result is looked at.
    let memory = unsafe { libc::malloc(bytes.len() + 1) }.cast::<u8>();
    if memory.is_null() {
        return Err(Failure { status: SH_OS, text: format!("no memory for {} bytes", bytes.len()) });
    }
    // SAFETY: one byte more than these was allocated.
    unsafe {
        memory.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        memory.add(bytes.len()).write(0);
    }
    Ok(memory)
}

/// Milliseconds of C: none if negative, which is without limit.
pub(crate) fn time(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{sh_type, sh_type_drop, sh_type_number};

    /// As a function of the library with a mistake in it: it takes things up, and panics in the middle.
    unsafe extern "C" fn sh_mistaken(name: *const c_char, length: *mut usize) -> sh_status {
        border! {
            let length = out(length)?;
            let name = text(name)?.to_owned();
            let at = name.find('=').unwrap_or(name.len() + 1);
            length.set(name[at..].len());
            Ok(())
        }
    }

    fn last() -> String {
        // SAFETY: the text of this thread, which nothing changes meanwhile.
        unsafe { CStr::from_ptr(sh_last_error()) }.to_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_panic_stops_at_the_border_and_the_next_call_goes_well() {
        let (mut length, mut of) = (77, std::ptr::null_mut::<sh_type>());
        // SAFETY: texts that end with a zero, and places for results.
        unsafe {
            assert_eq!(sh_mistaken(c"name".as_ptr(), &raw mut length), SH_INTERNAL);
            assert!(last().starts_with("a panic in this library: "), "{}", last());
            assert_eq!(length, 77, "a result was written");
            assert_eq!(sh_mistaken(c"name=x".as_ptr(), &raw mut length), SH_OK);
            assert_eq!(length, 2);
            assert_eq!(sh_type_number(c"f64".as_ptr(), &raw mut of), SH_OK);
            assert_eq!(sh_type_drop(of), SH_OK);
        }
    }

    #[test]
    fn a_panic_in_a_drop_stops_there_too() {
        struct Mistaken;
        impl Drop for Mistaken {
            fn drop(&mut self) {
                std::panic::panic_any("dropped with a mistake");
            }
        }
        let given = give(Mistaken);
        // SAFETY: given above.
        assert_eq!(run(|| unsafe { take_back(given) }), SH_INTERNAL);
        assert!(last().ends_with("dropped with a mistake"), "{}", last());
    }

    #[test]
    fn the_text_is_that_of_this_thread() {
        assert_eq!(run(|| Err(invalid("mine"))), SH_INVALID_ARGUMENT);
        let other = std::thread::spawn(|| {
            let before = last();
            let _ = run(|| Err(invalid("another one's")));
            (before, last())
        });
        assert_eq!(other.join().ok(), Some((String::new(), "another one's".to_owned())));
        assert_eq!(last(), "mine");
    }
}
