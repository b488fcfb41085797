//! Errors of the library as exceptions, which are classes in `_errors.py`.

use std::time::{Duration, Instant};

use pyo3::call::PyCallArgs;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use sharehold::{Error, ErrorKind};

/// What a function of this module fails with.
pub(crate) enum Fault {
    Own(Error),
    Python(PyErr),
    /// Another thread of this process uses what was wanted, for a moment.
    Busy(&'static str),
}

pub(crate) type Outcome<T> = Result<T, Fault>;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// Of conversions that can't fail.
impl From<std::convert::Infallible> for Fault {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<Fault> for PyErr {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Own(error) => Python::attach(|py| exception(py, &error).unwrap_or_else(|failed| failed)),
            Fault::Python(error) => error,
            Fault::Busy(what) => Python::attach(|py| {
                let kind = ErrorKind::Timeout as u32;
                make(py, (kind, what, None::<&str>, None::<u8>)).unwrap_or_else(|failed| failed)
            }),
        }
    }
}

impl Fault {
    /// Whether it may be different the next moment.
    fn is_late(&self) -> bool {
        match self {
            Self::Own(error) => error.kind() == ErrorKind::Timeout,
            Self::Busy(_) => true,
            Self::Python(_) => false,
        }
    }
}

/// The exception for an error: of the class of its kind, and with all that is known of an error of a method.
fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let remote = error.remote().map(|remote| {
        let causes: Vec<_> = remote.causes.iter().map(|cause| (&*cause.type_name, &*cause.message)).collect();
        let places: Vec<_> = remote.places.iter().map(|place| (&*place.call, &*place.file, place.line)).collect();
        (causes, places, &*remote.backtrace, PyBytes::new(py, &remote.original))
    });
    make(py, (error.kind() as u32, error.message(), error.advice(), remote))
}

fn make<'py>(py: Python<'py>, told: impl PyCallArgs<'py>) -> PyResult<PyErr> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    MAKE.import(py, "sharehold._errors", "make")?.call1(told).map(PyErr::from_value)
}

/// Seconds as Python has them. `None`, and what is longer than anybody waits: no limit.
pub(crate) fn duration(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    match seconds {
        Some(seconds) if seconds.is_nan() => {
            Err(pyo3::exceptions::PyValueError::new_err("a time is a number of seconds, not nan"))
        }
        Some(seconds) => Ok(Duration::try_from_secs_f64(seconds.max(0.0)).ok()),
        None => Ok(None),
    }
}

/// How long one that waits does not look for signals.
const SLICE: Duration = Duration::from_millis(50);

/// Tries something that waits: at once, and then without the interpreter's lock, looking for Ctrl-C from time to time.
pub(crate) fn patiently<R: Send, E: Into<Fault>>(
    py: Python<'_>,
    timeout: Option<Duration>,
    attempt: impl Fn(Duration) -> Result<R, E> + Sync,
) -> Outcome<R> {
    let attempt = |slice| attempt(slice).map_err(E::into);
    match attempt(Duration::ZERO) {
        Err(fault) if fault.is_late() && timeout != Some(Duration::ZERO) => {}
        other => return other,
    }
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        match py.detach(|| attempt(slice)) {
            Err(fault) if fault.is_late() && left.is_none_or(|left| left > slice) => py.check_signals()?,
            other => return other,
        }
    }
}
