//! What all proxies have in common, and how an object gets the Python class that suits it.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::basic::CompareOp;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple};
use sharehold::{CallScope, Datum, Kind, Object, Proxy as _, TicketOptions};

use crate::fault::{Outcome, duration};
use crate::manager::Session;
use crate::value::Value;
use crate::{channel, datum};

/// A counted reference to an object: it lives as long as any proxy, ticket or name for it does.
#[pyclass(subclass, frozen, module = "sharehold._sharehold")]
pub(crate) struct Proxy {
    pub(crate) object: Object,
}

/// The object as an instance of the class for its kind: of this module, or of `_array.py` and `_hosted.py`.
pub(crate) fn wrap(py: Python<'_>, object: Object) -> PyResult<Bound<'_, PyAny>> {
    static ARRAY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static HOSTED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let kind = object.kind().map_err(crate::fault::Fault::from)?;
    if kind == Kind::Value {
        let value = Value::of(&object)?;
        return Ok(Bound::new(py, PyClassInitializer::from(Proxy { object }).add_subclass(value))?.into_any());
    }
    if kind == Kind::Channel {
        return channel::open(py, object);
    }
    let proxy = Bound::new(py, Proxy { object })?;
    match kind {
        Kind::Array | Kind::Frozen => ARRAY.import(py, "sharehold._array", "Array")?.call1((proxy,)),
        Kind::Hosted => HOSTED.import(py, "sharehold._hosted", "of")?.call1((proxy,)),
        _ => Ok(proxy.into_any()),
    }
}

#[pymethods]
impl Proxy {
    /// Another proxy of the same object, for the classes that build on this one.
    #[new]
    #[pyo3(signature = (proxy, /))]
    fn new(proxy: &Bound<'_, Self>) -> Self {
        Self { object: proxy.get().object.clone() }
    }

    #[getter]
    fn id(&self) -> String {
        self.object.id().to_string()
    }

    #[getter]
    fn kind(&self) -> Outcome<String> {
        Ok(self.object.kind()?.to_string())
    }

    #[getter]
    fn type_name(&self) -> Outcome<String> {
        Ok(self.object.type_name()?)
    }

    #[getter]
    fn nbytes(&self) -> Outcome<u64> {
        Ok(self.object.bytes()?)
    }

    #[pyo3(signature = (*, uses = 1, deadline = None))]
    fn ticket(&self, uses: u32, deadline: Option<f64>) -> Outcome<String> {
        Ok(self.object.ticket_with(TicketOptions { uses, deadline: duration(deadline)? })?.to_string())
    }

    fn __copy__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        wrap(slf.py(), slf.get().object.clone())
    }

    fn __deepcopy__<'py>(slf: &Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Self::__copy__(slf)
    }

    fn __hash__(&self) -> u64 {
        self.object.id().to_bits()
    }

    fn __richcmp__(&self, other: &Bound<'_, PyAny>, op: CompareOp) -> PyResult<Py<PyAny>> {
        let py = other.py();
        let Ok(other) = other.cast::<Self>() else { return Ok(py.NotImplemented()) };
        let other = other.get();
        let is_same = self.object.id() == other.object.id() && self.broker() == other.broker();
        match op {
            CompareOp::Eq => Ok(is_same.into_pyobject(py)?.to_owned().into_any().unbind()),
            CompareOp::Ne => Ok((!is_same).into_pyobject(py)?.to_owned().into_any().unbind()),
            _ => Ok(py.NotImplemented()),
        }
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let class = slf.get_type().name()?;
        let object = &slf.get().object;
        let type_name = object.type_name().unwrap_or_else(|_| "?".into());
        Ok(format!("<sharehold.{class} {} of {type_name}>", object.id()))
    }

    /// The session that the object belongs to.
    #[getter]
    fn _session(&self) -> Outcome<Session> {
        Ok(Session::from(sharehold::Manager::of(&self.object)?))
    }

    /// Calls a method with a pickle and the proxies in it, and gives back the same of the result.
    #[pyo3(signature = (method, data, proxies, timeout))]
    fn _call<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        data: Vec<u8>,
        proxies: Vec<Bound<'py, Self>>,
        timeout: Option<f64>,
    ) -> Outcome<(Bound<'py, PyBytes>, Vec<Bound<'py, PyAny>>)> {
        let arguments = datum::pickled(data, proxies.iter().map(|proxy| &proxy.get().object));
        datum::unpickled(py, self.answer(py, method, &arguments, timeout)?)
    }

    /// Calls a method of a class that is written in Python, if all arguments are simple. Gives back what is simple, or a pickle and the proxies in it; `NotImplemented` if nothing was called.
    #[pyo3(signature = (method, arguments, timeout))]
    fn _call_simple<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        arguments: &Bound<'py, PyTuple>,
        timeout: Option<f64>,
    ) -> Outcome<Bound<'py, PyAny>> {
        let Some(arguments) = datum::simple_arguments(arguments) else {
            return Ok(py.NotImplemented().into_bound(py));
        };
        Ok(match self.answer(py, method, &arguments, timeout)? {
            pickled @ Datum::Map(_) => datum::unpickled(py, pickled)?.into_pyobject(py)?.into_any(),
            simple => datum::to_python(py, simple)?,
        })
    }

    /// Calls a method with values that any language has.
    #[pyo3(signature = (method, arguments, timeout))]
    fn _call_plain<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        arguments: &Bound<'py, PyTuple>,
        timeout: Option<f64>,
    ) -> Outcome<Bound<'py, PyAny>> {
        let arguments = datum::arguments(arguments)?;
        Ok(datum::to_python(py, self.answer(py, method, &arguments, timeout)?)?)
    }
}

impl Proxy {
    fn broker(&self) -> Option<String> {
        sharehold::Manager::of(&self.object).ok().map(|manager| manager.name().to_owned())
    }

    fn answer(&self, py: Python<'_>, method: &str, arguments: &Datum, timeout: Option<f64>) -> Outcome<Datum> {
        let object = &self.object;
        calling(py, timeout, || object.call::<Datum>(method, arguments))
    }
}

/// Makes a call without the interpreter's lock, looking for Ctrl-C from time to time.
pub(crate) fn calling<R: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    call: impl FnOnce() -> sharehold::Result<R> + Send,
) -> Outcome<R> {
    let raised = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&raised);
    let limits = CallScope::new().give_up_if(move || {
        let seen = Python::attach(|py| py.check_signals()).err();
        let is_raised = seen.is_some();
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        is_raised
    });
    let limits = match duration(timeout)? {
        Some(timeout) => limits.timeout(timeout),
        None => limits,
    };
    let called = py.detach(|| limits.run(call));
    let raised = raised.lock().unwrap_or_else(PoisonError::into_inner).take();
    raised.map_or_else(|| Ok(called?), |error| Err(error.into()))
}
