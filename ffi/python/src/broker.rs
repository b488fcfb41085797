//! A broker that is an interpreter: it serves the classes that `_broker.py` hands to it, whose objects are Python objects.

use std::fmt;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sharehold::{Broker, ClassBuilder, ClassTable, Datum, Manager, MethodError};

use crate::datum::{self, Arguments};
use crate::fault::{Fault, Outcome};
use crate::proxy::{Proxy, wrap};
use crate::thread::attach;

/// A hosted object.
struct Hosted(Py<PyAny>);

impl Drop for Hosted {
    fn drop(&mut self) {
        // Here and now, with the interpreter's lock: what the object holds is let go with it.
        let none = Python::attach(|py| py.None());
        let object = std::mem::replace(&mut self.0, none);
        Python::attach(|_| drop(object));
    }
}

/// A class, as `_broker.Served` describes it.
#[derive(FromPyObject)]
struct Served {
    name: String,
    /// What the constructor takes; nothing if the class has none that others may call.
    constructor: Option<String>,
    /// Name, what it takes, and whether it runs beside others.
    methods: Vec<(String, String, bool)>,
    #[pyo3(attribute("run"))]
    run: Py<PyAny>,
    #[pyo3(attribute("call"))]
    call: Py<PyAny>,
}

/// The two ways into a class, each taking an object, or none for the constructor, and a method's name.
struct Ways {
    /// With a pickle and its proxies, or the values of another language.
    run: Py<PyAny>,
    /// With arguments as they are.
    call: Py<PyAny>,
}

impl Served {
    fn table(self) -> ClassTable {
        let mut class = ClassBuilder::<Hosted>::new(&*self.name).debug(debug);
        let ways = Arc::new(Ways { run: self.run, call: self.call });
        let making = Arc::clone(&ways);
        class = class.constructor(self.constructor.as_deref().unwrap_or_default(), move |arguments: Datum| {
            attach(|py| run(py, &making, None, "", arguments, |_, made| Ok(Hosted(made.unbind()))))
        });
        if self.constructor.is_none() {
            class = class.internal();
        }
        for (name, signature, is_shared) in self.methods {
            let (ways, method) = (Arc::clone(&ways), name.clone());
            let call = move |hosted: &Hosted, arguments: Datum| {
                attach(|py| run(py, &ways, Some(&hosted.0), &method, arguments, answer))
            };
            class = match is_shared {
                true => class.method(&name, &signature, call),
                false => class.method_mut(&name, &signature, move |hosted, arguments| call(hosted, arguments)),
            };
        }
        class.build()
    }
}

/// Has `_broker.py` run something.
fn run<R>(
    py: Python<'_>,
    ways: &Ways,
    object: Option<&Py<PyAny>>,
    method: &str,
    arguments: Datum,
    result: impl FnOnce(bool, Bound<'_, PyAny>) -> PyResult<R>,
) -> Result<R, MethodError> {
    let work = || {
        let run = ways.run.bind(py);
        match Arguments::of(py, arguments)? {
            Arguments::Simple(arguments) => result(true, ways.call.bind(py).call1((object, method, arguments))?),
            Arguments::Pickle((data, proxies)) => result(false, run.call1((object, method, data, proxies))?),
            Arguments::Plain(plain) => result(false, run.call1((object, method, py.None(), plain))?),
        }
    };
    work().map_err(|error| failure(py, &error))
}

/// What a method has answered. `as_it_is`: its result; else a pickle with its proxies, or a value for any language.
fn answer(as_it_is: bool, answered: Bound<'_, PyAny>) -> PyResult<Datum> {
    if as_it_is {
        return match datum::simple(&answered) {
            Some(simple) => Ok(simple),
            None => answer(false, answered.py().import("sharehold._broker")?.call_method1("pickled", (answered,))?),
        };
    }
    let (is_pickle, value, proxies): (bool, Bound<'_, PyAny>, Vec<Bound<'_, Proxy>>) = answered.extract()?;
    if !is_pickle {
        return datum::from_python(&value);
    }
    let data = value.cast::<PyBytes>()?.as_bytes().to_vec();
    Ok(datum::pickled(data, proxies.iter().map(|proxy| &proxy.get().object)))
}

/// An exception as an error of a method: with its type, text and traceback, and itself as a pickle.
fn failure(py: Python<'_>, error: &PyErr) -> MethodError {
    let tell = || -> PyResult<(String, String, String, Vec<u8>)> {
        // Before 3.12 it is kept beside the exception.
        error.value(py).setattr("__traceback__", error.traceback(py))?;
        py.import("sharehold._broker")?.getattr("tell")?.call1((error.value(py),))?.extract()
    };
    match tell() {
        Ok((type_name, message, traceback, pickle)) => MethodError::foreign(type_name, message, traceback, pickle),
        Err(failed) => MethodError::new(format!("{error}, which could not be told: {failed}")),
    }
}

fn debug(hosted: &Hosted, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let form = Python::attach(|py| hosted.0.bind(py).repr().map(|form| form.to_string()));
    f.write_str(form.as_deref().unwrap_or("(its __repr__ failed)"))
}

/// Serves the process that has started this one.
#[pyfunction]
pub(crate) fn serve_parent(py: Python<'_>, classes: Vec<Bound<'_, PyAny>>) -> Outcome<()> {
    let served = classes.iter().map(|class| class.extract::<Served>()).collect::<PyResult<Vec<_>>>()?;
    let tables: Vec<ClassTable> = served.into_iter().map(Served::table).collect();
    Ok(py.detach(|| Broker::serve_parent(tables))?)
}

/// Hosts an object that a method has made.
#[pyfunction]
pub(crate) fn host<'py>(py: Python<'py>, class: &str, object: Bound<'py, PyAny>) -> Outcome<Bound<'py, PyAny>> {
    if object.cast::<Proxy>().is_ok() {
        return Err(Fault::from(PyTypeError::new_err("this is a proxy already: its object is hosted")));
    }
    let manager = Manager::current()?;
    let hosted = Hosted(object.unbind());
    Ok(wrap(py, py.detach(|| manager.host_as(class, hosted))?)?)
}

/// The process that made the call which this thread is executing.
#[pyfunction]
pub(crate) fn caller() -> Option<u32> {
    sharehold::caller()
}

/// Whether nobody waits any more for the method that this thread is executing.
#[pyfunction]
pub(crate) fn is_cancelled() -> bool {
    sharehold::is_cancelled()
}
