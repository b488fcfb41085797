//! Many numbers in shared memory, or plain structs. `Array` in `_array.py` builds on this.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use sharehold::{Array, Frozen, Kind, Proxy as _};

use crate::element::Element;
use crate::fault::{Fault, Outcome, duration};
use crate::guard::Guard;
use crate::proxy::Proxy;

/// The elements of an array, sealed or not, or of a frozen one.
#[pyclass(extends = Proxy, subclass, frozen, module = "sharehold._sharehold")]
pub(crate) struct Elements {
    bytes: Bytes,
    pub(crate) element: Element,
    /// How the elements were described, if the region does not tell it.
    description: Option<Py<PyAny>>,
}

enum Bytes {
    Array(Array<u8>),
    Frozen(Frozen<u8>),
}

/// Where elements lie.
pub(crate) struct Place {
    pub(crate) start: *const u8,
    pub(crate) len: usize,
    pub(crate) is_read_only: bool,
}

/// How many views of this process may write an array, by the place of its elements: as long as there are some, it can't be sealed here.
static WRITERS: Mutex<Option<HashMap<usize, usize>>> = Mutex::new(None);

/// Notes a view that may write, until the result is dropped.
pub(crate) struct Writer(usize);

impl Writer {
    pub(crate) fn of(place: &Place) -> Self {
        let at = place.start as usize;
        *WRITERS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().entry(at).or_default() += 1;
        Self(at)
    }

    fn count(place: &Place) -> usize {
        let writers = WRITERS.lock().unwrap_or_else(PoisonError::into_inner);
        writers.as_ref().and_then(|writers| writers.get(&(place.start as usize)).copied()).unwrap_or_default()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut writers = WRITERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writers) = writers.as_mut()
            && let Some(count) = writers.get_mut(&self.0)
        {
            *count -= 1;
            if *count == 0 {
                writers.remove(&self.0);
            }
        }
    }
}

impl Elements {
    pub(crate) fn place(&self) -> Outcome<Place> {
        Ok(match &self.bytes {
            Bytes::Array(array) => {
                Place { start: array.as_ptr(), len: array.len(), is_read_only: array.is_read_only()? }
            }
            Bytes::Frozen(frozen) => Place { start: frozen.as_ptr(), len: frozen.len(), is_read_only: true },
        })
    }

    /// Dimensions of the whole.
    pub(crate) fn dimensions(&self) -> Outcome<Vec<usize>> {
        let each = usize::try_from(self.element.schema.size()).map_err(PyErr::from)?.max(1);
        let count = self.place()?.len / each;
        Ok(std::iter::once(count).chain(self.element.inner.iter().copied()).collect())
    }

    /// The array, if it has locks: what is frozen has none, since nobody writes it.
    pub(crate) fn lockable(&self) -> Outcome<Option<&Array<u8>>> {
        Ok(match &self.bytes {
            Bytes::Array(array) => Some(array),
            Bytes::Frozen(_) => None,
        })
    }
}

#[pymethods]
impl Elements {
    /// The elements of an object, as `description` has them, or as the region tells.
    #[new]
    #[pyo3(signature = (proxy, description = None, /))]
    fn new(proxy: &Bound<'_, Proxy>, description: Option<Bound<'_, PyAny>>) -> Outcome<PyClassInitializer<Self>> {
        let object = &proxy.get().object;
        let there = object.schema()?;
        let element = match &description {
            Some(description) => Element::described(description)?,
            None => Element::of(there.clone())?,
        };
        if element.schema != there {
            let what = format!("object {} is of {}, not of {}", object.id(), there.name(), element.schema.name());
            return Err(PyTypeError::new_err(what).into());
        }
        let bytes = match object.kind()? {
            Kind::Frozen => Bytes::Frozen(object.frozen_bytes()?),
            _ => Bytes::Array(object.array_bytes()?),
        };
        let elements = Self { bytes, element, description: description.map(Bound::unbind) };
        Ok(PyClassInitializer::from(Proxy { object: object.clone() }).add_subclass(elements))
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyTuple>> {
        Ok(PyTuple::new(py, self.dimensions()?)?)
    }

    #[getter]
    fn element(&self) -> &str {
        &self.element.name
    }

    #[getter]
    fn itemsize(&self) -> usize {
        self.element.size
    }

    #[getter]
    fn _description(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.description.as_ref().map(|description| description.clone_ref(py))
    }

    #[getter]
    fn address(&self) -> Outcome<usize> {
        Ok(self.place()?.start as usize)
    }

    #[getter]
    fn sealed(&self) -> Outcome<bool> {
        Ok(match &self.bytes {
            Bytes::Array(array) => array.is_sealed()?,
            Bytes::Frozen(_) => true,
        })
    }

    #[getter]
    fn poisoned(&self) -> Outcome<bool> {
        Ok(match &self.bytes {
            Bytes::Array(array) => array.is_poisoned()?,
            Bytes::Frozen(_) => false,
        })
    }

    fn clear_poison(&self) -> Outcome<()> {
        Ok(self.lockable()?.map_or(Ok(()), Array::clear_poison)?)
    }

    fn seal(&self, py: Python<'_>) -> Outcome<()> {
        let Some(array) = self.lockable()? else { return Ok(()) };
        let place = self.place()?;
        match Writer::count(&place) {
            0 => Ok(py.detach(|| array.seal().map(|_| ()))?),
            views => Err(Fault::from(PyBufferError::new_err(format!(
                "{views} views of this process may write the array, as numpy.asarray makes them: it can be sealed when they are gone"
            )))),
        }
    }

    #[pyo3(signature = (timeout = None))]
    fn read(slf: Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Guard> {
        Ok(Guard::new(slf.unbind(), false, duration(timeout)?))
    }

    #[pyo3(signature = (timeout = None))]
    fn write(slf: Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Guard> {
        Ok(Guard::new(slf.unbind(), true, duration(timeout)?))
    }
}
