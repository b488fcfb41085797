//! Values on their way through a call. Between Python and Python they are a pickle, beside which the proxies in it go as references, unless they are simple: a number or a text needs no pickle to arrive as what it
//! was. With other languages they are what all languages have.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use sharehold::{Datum, Object};

use crate::fault::Outcome;
use crate::proxy::{Proxy, wrap};

/// Mark what Python sends, so that a method tells it from the arguments of other languages.
const PICKLE: &str = "pickle";
const SIMPLE: &str = "simple";
const PROXIES: &str = "proxies";

/// A pickle, and the proxies that stand in it by their places.
pub(crate) fn pickled<'a>(data: Vec<u8>, proxies: impl Iterator<Item = &'a Object>) -> Datum {
    let mut entries = vec![(Datum::from(PICKLE), Datum::Bytes(data))];
    let proxies: Vec<Datum> = proxies.map(|object| object.clone().into()).collect();
    if !proxies.is_empty() {
        entries.push((PROXIES.into(), Datum::List(proxies)));
    }
    Datum::Map(entries)
}

/// The arguments of Python for Python, if each of them is simple.
pub(crate) fn simple_arguments(arguments: &Bound<'_, PyTuple>) -> Option<Datum> {
    let arguments = arguments.iter().map(|argument| simple(&argument)).collect::<Option<_>>()?;
    Some(Datum::Map(vec![(SIMPLE.into(), Datum::List(arguments))]))
}

/// A value that any language has, if it comes back from it as what it is: of the very type, not of one that is derived from it.
pub(crate) fn simple(value: &Bound<'_, PyAny>) -> Option<Datum> {
    if value.is_none() {
        Some(Datum::Unit)
    } else if let Ok(value) = value.cast_exact::<PyFloat>() {
        Some(value.value().into())
    } else if let Ok(value) = value.cast_exact::<PyInt>() {
        value.extract::<i64>().ok().map(Datum::from)
    } else if let Ok(value) = value.cast_exact::<PyBool>() {
        Some(value.is_true().into())
    } else if let Ok(value) = value.cast_exact::<PyString>() {
        value.to_cow().ok().map(|text| Datum::Text(text.into_owned()))
    } else if let Ok(value) = value.cast_exact::<PyBytes>() {
        Some(Datum::Bytes(value.as_bytes().to_vec()))
    } else {
        None
    }
}

/// What a method is called with.
pub(crate) enum Arguments<'py> {
    Pickle(Pickled<'py>),
    Simple(Bound<'py, PyTuple>),
    /// By another language.
    Plain(Bound<'py, PyAny>),
}

impl<'py> Arguments<'py> {
    pub(crate) fn of(py: Python<'py>, value: Datum) -> PyResult<Self> {
        let value = match value {
            Datum::Map(mut entries) => match &mut entries[..] {
                [(key, Datum::List(values))] if key.as_text() == Some(SIMPLE) => {
                    let values = std::mem::take(values).into_iter().map(|value| to_python(py, value));
                    return Ok(Self::Simple(PyTuple::new(py, values.collect::<PyResult<Vec<_>>>()?)?));
                }
                _ => Datum::Map(entries),
            },
            other => other,
        };
        Ok(match split(py, value)? {
            Ok(pickled) => Self::Pickle(pickled),
            Err(plain) => Self::Plain(to_python(py, plain)?),
        })
    }
}

/// What a pickle and its proxies are for Python.
pub(crate) type Pickled<'py> = (Bound<'py, PyBytes>, Vec<Bound<'py, PyAny>>);

/// The pickle in a value, if it is one; else the value.
fn split<'py>(py: Python<'py>, value: Datum) -> PyResult<Result<Pickled<'py>, Datum>> {
    let entries = match value {
        Datum::Map(entries) => entries,
        other => return Ok(Err(other)),
    };
    let (data, proxies) = match &entries[..] {
        [(key, Datum::Bytes(data))] if key.as_text() == Some(PICKLE) => (data, &[][..]),
        [(key, Datum::Bytes(data)), (other, Datum::List(proxies))]
            if key.as_text() == Some(PICKLE) && other.as_text() == Some(PROXIES) =>
        {
            (data, &proxies[..])
        }
        _ => return Ok(Err(Datum::Map(entries))),
    };
    let proxies = proxies.iter().filter_map(Datum::as_proxy).map(|object| wrap(py, object.clone()));
    Ok(Ok((PyBytes::new(py, data), proxies.collect::<PyResult<_>>()?)))
}

/// The pickle that a call has to be answered with.
pub(crate) fn unpickled<'py>(py: Python<'py>, value: Datum) -> Outcome<Pickled<'py>> {
    split(py, value)?.map_err(|other| {
        let what = format!("the method is not written in Python: it has answered {other}");
        pyo3::exceptions::PyTypeError::new_err(what).into()
    })
}

/// Positional arguments, as any method takes them.
pub(crate) fn arguments(arguments: &Bound<'_, PyTuple>) -> PyResult<Datum> {
    if arguments.is_empty() {
        return Ok(Datum::Unit);
    }
    Ok(Datum::List(arguments.iter().map(|argument| from_python(&argument)).collect::<PyResult<_>>()?))
}

/// A value of Python as any language has it.
pub(crate) fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Datum> {
    // Deeper than this no call takes it. A list that contains itself has no end.
    const DEPTH: usize = 100;
    convert(value, DEPTH)
}

fn convert(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Datum> {
    let all = |values: Bound<'_, PyAny>| {
        let within = |value: PyResult<Bound<'_, PyAny>>| convert(&value?, depth - 1);
        values.try_iter()?.map(within).collect::<PyResult<Vec<Datum>>>()
    };
    if depth == 0 {
        return Err(unserializable(value, "is nested too deep for a call"));
    }
    if value.is_none() {
        Ok(Datum::Unit)
    } else if let Ok(value) = value.cast::<PyBool>() {
        Ok(value.is_true().into())
    } else if value.cast::<PyInt>().is_ok() {
        let range = |_| PyOverflowError::new_err(format!("{value} is not from -2**63 to 2**64 - 1"));
        Ok(Datum::Int(
            value
                .extract::<i64>()
                .map(i128::from)
                .or_else(|_| value.extract::<u64>().map(i128::from))
                .map_err(range)?,
        ))
    } else if let Ok(value) = value.cast::<PyFloat>() {
        Ok(value.value().into())
    } else if let Ok(value) = value.cast::<PyString>() {
        Ok(Datum::Text(value.to_cow()?.into_owned()))
    } else if value.cast::<PyBytes>().is_ok() || value.cast::<PyByteArray>().is_ok() {
        Ok(Datum::Bytes(value.extract()?))
    } else if let Ok(value) = value.cast::<Proxy>() {
        Ok(value.get().object.clone().into())
    } else if value.cast::<PyList>().is_ok() || value.cast::<PyTuple>().is_ok() {
        Ok(Datum::List(all(value.clone())?))
    } else if let Ok(value) = value.cast::<PyDict>() {
        let entry = |(key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            Ok((convert(&key, depth - 1)?, convert(&value, depth - 1)?))
        };
        Ok(Datum::Map(value.iter().map(entry).collect::<PyResult<_>>()?))
    } else {
        Err(unserializable(
            value,
            "has no form in other languages; classes that are written in Python take it, as they take whatever can be pickled",
        ))
    }
}

fn unserializable(value: &Bound<'_, PyAny>, why: &str) -> PyErr {
    let class = value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
    let kind = sharehold::ErrorKind::Unserializable as u32;
    let raise = || -> PyResult<PyErr> {
        let make = value.py().import("sharehold._errors")?.getattr("make")?;
        Ok(PyErr::from_value(make.call1((kind, format!("a value of type {class} {why}"), "", value.py().None()))?))
    };
    raise().unwrap_or_else(|failed| failed)
}

/// A value of any language as Python has it.
pub(crate) fn to_python(py: Python<'_>, value: Datum) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        Datum::Unit => py.None().into_bound(py),
        Datum::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        Datum::Int(value) => match i64::try_from(value) {
            Ok(value) => value.into_pyobject(py)?.into_any(),
            Err(_) => u64::try_from(value)?.into_pyobject(py)?.into_any(),
        },
        Datum::Float(value) => PyFloat::new(py, value).into_any(),
        Datum::Text(value) => PyString::new(py, &value).into_any(),
        Datum::Bytes(value) => PyBytes::new(py, &value).into_any(),
        Datum::List(values) => {
            let values = values.into_iter().map(|value| to_python(py, value)).collect::<PyResult<Vec<_>>>()?;
            PyList::new(py, values)?.into_any()
        }
        Datum::Map(entries) => {
            let dict = PyDict::new(py);
            for (key, value) in entries {
                dict.set_item(to_python(py, key)?, to_python(py, value)?)?;
            }
            dict.into_any()
        }
        Datum::Proxy(object) => wrap(py, object)?,
    })
}
