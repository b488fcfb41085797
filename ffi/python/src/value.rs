//! One number in shared memory.

use std::sync::Mutex;

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use sharehold::{Manager, Object, Proxy as _};

use crate::fault::{Fault, Outcome, duration, patiently};
use crate::proxy::Proxy;

/// A number that any process reads and writes whole.
#[pyclass(extends = Proxy, frozen, module = "sharehold._sharehold")]
pub(crate) struct Value(Number);

/// How numbers are added: those that are whole do not wrap.
trait Add: Sized {
    fn sum(self, other: Self) -> Option<Self>;
}

macro_rules! numbers {
    ($($variant:ident $type:ident $sum:expr;)*) => {
        enum Number {
            $($variant(sharehold::Value<$type>),)*
        }

        $(impl Add for $type {
            fn sum(self, other: Self) -> Option<Self> {
                let sum: fn($type, $type) -> Option<$type> = $sum;
                sum(self, other)
            }
        })*

        /// Does the same with whichever type it is.
        macro_rules! with {
            ($number:expr, $value:ident => $work:expr) => {
                match $number {
                    $(Number::$variant($value) => $work,)*
                }
            };
        }

        impl Number {
            fn of(object: &Object) -> Outcome<Self> {
                match &*object.type_name()? {
                    $(stringify!($type) => Ok(Self::$variant(object.downcast()?)),)*
                    other => Err(PyTypeError::new_err(format!("a value of {other} is no number")).into()),
                }
            }
        }

        /// Shares a number, of the type of this name.
        pub(crate) fn create(manager: &Manager, name: &str, number: &Bound<'_, PyAny>) -> Outcome<Object> {
            let py = number.py();
            match name {
                $(stringify!($type) => {
                    let number: $type = number.extract()?;
                    Ok(py.detach(|| manager.value(number))?.untyped())
                })*
                other => Err(PyTypeError::new_err(format!("'{other}' is no type of numbers")).into()),
            }
        }
    };
}

numbers! {
    U8 u8 u8::checked_add;
    I8 i8 i8::checked_add;
    U16 u16 u16::checked_add;
    I16 i16 i16::checked_add;
    U32 u32 u32::checked_add;
    I32 i32 i32::checked_add;
    U64 u64 u64::checked_add;
    I64 i64 i64::checked_add;
    F32 f32 |a, b| Some(a + b);
    F64 f64 |a, b| Some(a + b);
}

impl Value {
    pub(crate) fn of(object: &Object) -> Outcome<Self> {
        Number::of(object).map(Self)
    }
}

#[pymethods]
impl Value {
    fn get<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyAny>> {
        Ok(with!(&self.0, value => value.get()?.into_pyobject(py)?.into_any()))
    }

    #[pyo3(signature = (number, /, *, timeout = None))]
    fn set(&self, number: &Bound<'_, PyAny>, timeout: Option<f64>) -> Outcome<()> {
        let (py, timeout) = (number.py(), duration(timeout)?);
        with!(&self.0, value => {
            let number = number.extract()?;
            patiently(py, timeout, |slice| value.update_for(slice, |now| *now = number))
        })
    }

    #[pyo3(signature = (number, /, *, timeout = None))]
    fn add<'py>(&self, number: &Bound<'py, PyAny>, timeout: Option<f64>) -> Outcome<Bound<'py, PyAny>> {
        let (py, timeout) = (number.py(), duration(timeout)?);
        with!(&self.0, value => {
            let number = number.extract()?;
            let sum = patiently(py, timeout, |slice| {
                value.update_for(slice, |now| {
                    let sum = Add::sum(*now, number)?;
                    *now = sum;
                    Some(sum)
                })
            })?;
            let sum = sum.ok_or_else(|| PyOverflowError::new_err("the sum does not fit the type of the value"))?;
            Ok(sum.into_pyobject(py)?.into_any())
        })
    }

    #[pyo3(signature = (function, /, *, timeout = None))]
    fn update<'py>(&self, function: &Bound<'py, PyAny>, timeout: Option<f64>) -> Outcome<Bound<'py, PyAny>> {
        let (py, timeout) = (function.py(), duration(timeout)?);
        let function = function.clone().unbind();
        // What the function has raised: the value is as it was then.
        let raised = Mutex::new(None);
        with!(&self.0, value => {
            let changed = patiently(py, timeout, |slice| {
                value.update_for(slice, |now| {
                    let next = Python::attach(|py| function.call1(py, (*now,))?.extract(py));
                    let next = next.map_err(|error: PyErr| {
                        if let Ok(mut raised) = raised.lock() {
                            raised.replace(error);
                        }
                    });
                    if let Ok(next) = next {
                        *now = next;
                    }
                    *now
                })
            })?;
            match raised.into_inner() {
                Ok(Some(error)) => Err(Fault::from(error)),
                _ => Ok(changed.into_pyobject(py)?.into_any()),
            }
        })
    }

    fn seal(&self, py: Python<'_>) -> Outcome<()> {
        with!(&self.0, value => Ok(py.detach(|| value.seal().map(|_| ()))?))
    }
}
