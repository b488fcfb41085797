//! The locks of arrays, taken and let go by `with`.
#![expect(unsafe_code, reason = "a guard lives beside the array that it borrows from")]

use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use sharehold::{Array, ReadGuard, WriteGuard};

use crate::array::Elements;
use crate::fault::{Outcome, patiently};

/// The lock of an array. It is held from `__enter__` to `__exit__`, in one thread.
#[pyclass(unsendable, module = "sharehold._sharehold")]
pub(crate) struct Guard {
    array: Py<Elements>,
    writes: bool,
    timeout: Option<Duration>,
    held: Option<Held>,
    view: Option<Py<PyAny>>,
}

impl Guard {
    pub(crate) fn new(array: Py<Elements>, writes: bool, timeout: Option<Duration>) -> Self {
        Self { array, writes, timeout, held: None, view: None }
    }
}

/// A guard, and the array that it borrows from. Fields are dropped in their order.
enum Held {
    Read {
        _guard: ReadGuard<'static, u8>,
        _array: Box<Array<u8>>,
    },
    Write {
        _guard: WriteGuard<'static, u8>,
        _array: Box<Array<u8>>,
    },
    /// Nobody writes it.
    Frozen,
}

/// A guard on its way out of a closure that has run without the interpreter's lock.
struct SameThread<T>(T);

// SAFETY: `Python::detach` runs its closure in the thread that calls it, so nothing changes threads.
unsafe impl<T> Send for SameThread<T> {}

impl Held {
    fn take(py: Python<'_>, array: Option<&Array<u8>>, writes: bool, timeout: Option<Duration>) -> Outcome<Self> {
        let Some(array) = array else {
            return if writes {
                Err(PyRuntimeError::new_err("what is frozen can't be written").into())
            } else {
                Ok(Self::Frozen)
            };
        };
        let array = Box::new(array.clone());
        // SAFETY: the box does not move what is in it, and is dropped after the guard.
        let borrowed: &'static Array<u8> = unsafe { &*std::ptr::from_ref(&*array) };
        if writes {
            let guard = patiently(py, timeout, |slice| borrowed.write_for(slice))?;
            return Ok(Self::Write { _guard: guard, _array: array });
        }
        let guard = patiently(py, timeout, |slice| borrowed.read_for(slice).map(SameThread))?.0;
        Ok(Self::Read { _guard: guard, _array: array })
    }
}

#[pymethods]
impl Guard {
    fn __enter__<'py>(&mut self, py: Python<'py>) -> Outcome<Bound<'py, PyAny>> {
        if self.held.is_some() {
            return Err(PyRuntimeError::new_err("this guard is held already: each `with` takes one of its own").into());
        }
        let array = self.array.bind(py);
        self.held = Some(Held::take(py, array.get().lockable()?, self.writes, self.timeout)?);
        let view = PyMemoryView::from(array)
            .and_then(|view| if self.writes { Ok(view.into_any()) } else { view.call_method0("toreadonly") });
        match view {
            Ok(view) => {
                self.view = Some(view.clone().unbind());
                Ok(view)
            }
            Err(error) => {
                self.held = None;
                Err(error.into())
            }
        }
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&mut self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        if let Some(view) = self.view.take() {
            // An array that was made of it keeps it, and is the user's to forget.
            let _ = view.call_method0(py, "release");
        }
        self.held = None;
    }
}
