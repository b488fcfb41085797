//! Queues of proxies in shared memory.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use sharehold::{ErrorKind, Object, Proxy as _};

use crate::fault::{Fault, Outcome, duration, patiently};
use crate::proxy::{Proxy, wrap};

/// A queue by which processes hand objects over, of whatever kind.
#[pyclass(extends = Proxy, frozen, module = "sharehold._sharehold")]
pub(crate) struct Channel(sharehold::Channel<Object>);

/// The channel as a Python object. One of proxies of a certain type, which only Rust knows, is a plain proxy.
pub(crate) fn open(py: Python<'_>, object: Object) -> PyResult<Bound<'_, PyAny>> {
    match object.downcast::<sharehold::Channel<Object>>() {
        Ok(channel) => of(py, channel),
        Err(error) if error.kind() == ErrorKind::TypeMismatch => Ok(Bound::new(py, Proxy { object })?.into_any()),
        Err(error) => Err(Fault::from(error).into()),
    }
}

pub(crate) fn of(py: Python<'_>, channel: sharehold::Channel<Object>) -> PyResult<Bound<'_, PyAny>> {
    let object = channel.untyped();
    Ok(Bound::new(py, PyClassInitializer::from(Proxy { object }).add_subclass(Channel(channel)))?.into_any())
}

#[pymethods]
impl Channel {
    #[getter]
    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// Not whether something is in it: a proxy is always true.
    fn __bool__(&self) -> bool {
        true
    }

    #[getter]
    fn closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&self) -> Outcome<()> {
        Ok(self.0.close()?)
    }

    fn sender(&self) -> Outcome<Sender> {
        Ok(Sender(End::new(self.0.sender()?)))
    }

    fn receiver(&self) -> Outcome<Receiver> {
        Ok(Receiver(End::new(self.0.receiver()?)))
    }
}

/// An end of a channel, which one thread at a time uses. `None`: it was closed.
struct End<T>(Mutex<Option<T>>);

impl<T: Send> End<T> {
    fn new(end: T) -> Self {
        Self(Mutex::new(Some(end)))
    }

    /// Tries until it is done. Of threads that wait at the same end, each has it for a slice of time.
    fn wait<R: Send>(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        attempt: impl Fn(&T, Duration) -> sharehold::Result<R> + Sync,
    ) -> Outcome<R> {
        patiently(py, duration(timeout)?, |slice| {
            // With the interpreter's lock, nobody waits for a thread that waits for something else.
            let end = match self.0.try_lock() {
                Ok(end) => end,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if slice.is_zero() => {
                    return Err(Fault::Busy("another thread is using this end of the channel"));
                }
                Err(TryLockError::WouldBlock) => self.lock(),
            };
            match &*end {
                Some(end) => attempt(end, slice).map_err(Fault::from),
                None => Err(PyValueError::new_err("this end of the channel was closed").into()),
            }
        })
    }

    fn close(&self, py: Python<'_>) {
        drop(py.detach(|| self.lock().take()));
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a channel that sends.
#[pyclass(frozen, module = "sharehold._sharehold")]
pub(crate) struct Sender(End<sharehold::Sender<Object>>);

#[pymethods]
impl Sender {
    #[pyo3(signature = (proxy, /, timeout = None))]
    fn send(&self, py: Python<'_>, proxy: &Bound<'_, Proxy>, timeout: Option<f64>) -> Outcome<()> {
        let object = &proxy.get().object;
        // A proxy of its own for each attempt, as the channel takes one.
        self.0.wait(py, timeout, |sender, slice| Ok(sender.send_timeout(object.clone(), slice)?))
    }

    fn close(&self, py: Python<'_>) {
        self.0.close(py);
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.0.close(py);
    }
}

/// The end of a channel that receives.
#[pyclass(frozen, module = "sharehold._sharehold")]
pub(crate) struct Receiver(End<sharehold::Receiver<Object>>);

#[pymethods]
impl Receiver {
    #[pyo3(signature = (timeout = None))]
    fn receive<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> Outcome<Bound<'py, PyAny>> {
        let object = self.0.wait(py, timeout, |receiver, slice| receiver.recv_timeout(slice))?;
        Ok(wrap(py, object)?)
    }

    fn close(&self, py: Python<'_>) {
        self.0.close(py);
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next object, until nothing comes any more.
    fn __next__<'py>(&self, py: Python<'py>) -> Outcome<Option<Bound<'py, PyAny>>> {
        match self.receive(py, None) {
            Err(Fault::Own(error)) if error.kind() == ErrorKind::Disconnected => Ok(None),
            received => received.map(Some),
        }
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) {
        self.0.close(py);
    }
}
