//! The Python package `sharehold`: what has to be Rust of it. The rest stands in `python/sharehold`.
//!
//! A proxy is a Python object that holds a Rust proxy. [`proxy`] is what all have in common, [`value`] and [`array`] are those of plain data; hosted objects get their methods in Python.
//! [`buffer`] lets NumPy and everybody else look into arrays, [`guard`] keeps others out meanwhile, [`channel`] hands objects over. [`manager`] creates and finds objects, [`broker`] serves classes that are written in Python, whose
//! calls [`datum`] carries, in threads that [`thread`] keeps known to the interpreter. [`element`] knows types, [`fault`] turns errors into exceptions.

use pyo3::prelude::*;

mod array;
mod broker;
mod buffer;
mod channel;
mod datum;
mod element;
mod fault;
mod guard;
mod manager;
mod proxy;
mod thread;
mod value;

#[pymodule]
fn _sharehold(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_class::<proxy::Proxy>()?;
    module.add_class::<value::Value>()?;
    module.add_class::<array::Elements>()?;
    module.add_class::<guard::Guard>()?;
    module.add_class::<channel::Channel>()?;
    module.add_class::<channel::Sender>()?;
    module.add_class::<channel::Receiver>()?;
    module.add_class::<manager::Session>()?;
    module.add("Buffered", buffer::type_of_arrays(py)?)?;
    module.add("KINDS", sharehold::ErrorKind::ALL.map(|kind| format!("{kind:?}")))?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(manager::redeem, module)?)?;
    module.add_function(wrap_pyfunction!(manager::brokers, module)?)?;
    module.add_function(wrap_pyfunction!(broker::serve_parent, module)?)?;
    module.add_function(wrap_pyfunction!(broker::host, module)?)?;
    module.add_function(wrap_pyfunction!(broker::caller, module)?)?;
    module.add_function(wrap_pyfunction!(broker::is_cancelled, module)?)
}
