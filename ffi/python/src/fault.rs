//! Errors of the library as exceptions, which are classes in `_errors.py`.

use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use sharehold::{Error, ErrorKind};

/// What a function of this module fails with.
pub(crate) enum Fault {
    Own(Error),
    Python(PyErr),
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
        }
    }
}

/// The exception for an error: of the class of its kind, and with all that is known of an error of a method.
fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let remote = error.remote().map(|remote| {
        let causes: Vec<_> = remote.causes.iter().map(|cause| (&*cause.type_name, &*cause.message)).collect();
        let places: Vec<_> = remote.places.iter().map(|place| (&*place.call, &*place.file, place.line)).collect();
        (causes, places, &*remote.backtrace, PyBytes::new(py, &remote.original))
    });
    let make = MAKE.import(py, "sharehold._errors", "make")?;
    make.call1((error.kind() as u32, error.message(), error.advice(), remote)).map(PyErr::from_value)
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

/// How long one that waits for a lock does not look for signals.
const SLICE: Duration = Duration::from_millis(50);

/// Tries something that waits for a lock: at once, and then without the interpreter's lock, looking for Ctrl-C from time to time.
pub(crate) fn patiently<R: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    attempt: impl Fn(Duration) -> sharehold::Result<R> + Sync,
) -> Outcome<R> {
    let is_late = |error: &Error| error.kind() == ErrorKind::Timeout;
    match attempt(Duration::ZERO) {
        Err(error) if is_late(&error) && timeout != Some(Duration::ZERO) => {}
        other => return Ok(other?),
    }
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let slice = left.map_or(SLICE, |left| left.min(SLICE));
        match py.detach(|| attempt(slice)) {
            Err(error) if is_late(&error) && left.is_none_or(|left| left > slice) => py.check_signals()?,
            other => return Ok(other?),
        }
    }
}
