//! The broker's threads in the interpreter.
//!
//! A thread that the interpreter does not know gets a state when it attaches and loses it when it lets go, which costs more than a call. One that calls methods keeps its state until it ends: then attaching is taking a lock.
#![expect(unsafe_code, reason = "a state outlives the function that has asked for it")]

use pyo3::ffi;
use pyo3::prelude::*;

/// The state of a thread, without the interpreter's lock.
struct Kept {
    state: ffi::PyGILState_STATE,
    thread: *mut ffi::PyThreadState,
}

thread_local! {
    static KEPT: Option<Kept> = Kept::new();
}

impl Kept {
    /// Nothing for a thread that the interpreter has made itself, which takes the state with it.
    fn new() -> Option<Self> {
        // SAFETY: can be asked at any time.
        let known = unsafe { ffi::PyGILState_GetThisThreadState() };
        if !known.is_null() {
            return None;
        }
        // SAFETY: the interpreter runs as long as the broker serves, and this thread does not have its lock.
        let state = unsafe { ffi::PyGILState_Ensure() };
        // SAFETY: the lock was just taken.
        let thread = unsafe { ffi::PyEval_SaveThread() };
        Some(Self { state, thread })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: the state is this thread's, which ends and has let go of it. A broker ends without tearing down its interpreter: see `_broker.main`.
        unsafe { ffi::PyEval_RestoreThread(self.thread) };
        // SAFETY: the other half of `PyGILState_Ensure`.
        unsafe { ffi::PyGILState_Release(self.state) };
    }
}

/// Works with the interpreter, in a thread of the broker that does not have its lock.
pub(crate) fn attach<R>(work: impl FnOnce(Python<'_>) -> R) -> R {
    // A thread that is ending has no state to keep.
    let _ = KEPT.try_with(|_| ());
    Python::attach(work)
}
