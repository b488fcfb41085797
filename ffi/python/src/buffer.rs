//! The buffer protocol: how NumPy, `memoryview` and everybody else look into an array without a copy, and how arrays are filled from others' buffers.
//!
//! The slots of a type for it, and the struct that goes through them, belong to the stable ABI from Python 3.11 on, and PyO3 offers them from there. In 3.9 and 3.10 they are the same: `PyType_FromSpec` takes the two slots by
//! these numbers since 3.9, the struct has had this layout since 3.3, and both versions are finished. So they are declared here, and one wheel serves all versions.
#![expect(unsafe_code, reason = "the protocol is one of pointers")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::array::{Elements, Writer};

const GETBUFFER: c_int = 1;
const RELEASEBUFFER: c_int = 2;

// What a consumer asks for.
const WRITABLE: c_int = 0x1;
const FORMAT: c_int = 0x4;
const ND: c_int = 0x8;
const STRIDES: c_int = 0x10 | ND;
const C_CONTIGUOUS: c_int = 0x20 | STRIDES;
const F_CONTIGUOUS: c_int = 0x40 | STRIDES;

/// `Py_buffer`.
#[repr(C)]
struct View {
    buf: *mut c_void,
    obj: *mut ffi::PyObject,
    len: isize,
    itemsize: isize,
    readonly: c_int,
    ndim: c_int,
    format: *mut c_char,
    shape: *mut isize,
    strides: *mut isize,
    suboffsets: *mut isize,
    internal: *mut c_void,
}

unsafe extern "C" {
    fn PyObject_GetBuffer(object: *mut ffi::PyObject, view: *mut View, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut View);
}

/// What a view points to. The elements themselves are kept by the object.
struct Exported {
    shape: Vec<isize>,
    strides: Vec<isize>,
    format: CString,
    _writer: Option<Writer>,
}

/// A subclass of [`Elements`] that has the protocol.
pub(crate) fn type_of_arrays(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    const NAME: &CStr = c"sharehold._sharehold.Buffered";
    let get: unsafe extern "C" fn(*mut ffi::PyObject, *mut View, c_int) -> c_int = get;
    let release: unsafe extern "C" fn(*mut ffi::PyObject, *mut View) = release;
    let mut slots = [
        ffi::PyType_Slot { slot: GETBUFFER, pfunc: get as *mut c_void },
        ffi::PyType_Slot { slot: RELEASEBUFFER, pfunc: release as *mut c_void },
        ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() },
    ];
    let mut spec = ffi::PyType_Spec {
        name: NAME.as_ptr(),
        // Those of the base.
        basicsize: 0,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE) as c_uint,
        slots: slots.as_mut_ptr(),
    };
    let bases = PyTuple::new(py, [py.get_type::<Elements>()])?;
    // SAFETY: the specification is complete, its name static; the interpreter copies the slots, whose functions have the types that belong there.
    let made = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()) };
    // SAFETY: a new reference, or null with an exception.
    let made = unsafe { Bound::from_owned_ptr_or_err(py, made) }?;
    Ok(made.cast_into::<PyType>()?)
}

/// Fills in a view of an array.
unsafe extern "C" fn get(object: *mut ffi::PyObject, view: *mut View, flags: c_int) -> c_int {
    Python::attach(|py| {
        // SAFETY: the interpreter calls with a view that may be written.
        let view = unsafe { &mut *view };
        view.obj = ptr::null_mut();
        // SAFETY: a borrowed reference of the interpreter's.
        let object = unsafe { Bound::from_borrowed_ptr(py, object) };
        match object.cast::<Elements>().map_err(PyErr::from).and_then(|elements| fill(elements, view, flags)) {
            Ok(()) => {
                view.obj = object.into_ptr();
                0
            }
            Err(error) => {
                error.restore(py);
                -1
            }
        }
    })
}

fn fill(elements: &Bound<'_, Elements>, view: &mut View, flags: c_int) -> PyResult<()> {
    let elements = elements.get();
    let place = elements.place()?;
    if place.is_read_only && flags & WRITABLE != 0 {
        return Err(PyBufferError::new_err("the array is sealed, frozen, or only read here: its views can't write"));
    }
    let shape: Vec<isize> = elements.dimensions()?.into_iter().map(isize::try_from).collect::<Result<_, _>>()?;
    if flags & F_CONTIGUOUS == F_CONTIGUOUS && flags & C_CONTIGUOUS != C_CONTIGUOUS && shape.len() > 1 {
        return Err(PyBufferError::new_err("the array is contiguous in the order of C, not of Fortran"));
    }
    let itemsize = isize::try_from(elements.element.size)?;
    let mut strides = vec![itemsize; shape.len()];
    for at in (1..shape.len()).rev() {
        strides[at - 1] = strides[at] * shape[at];
    }
    let _writer = (!place.is_read_only).then(|| Writer::of(&place));
    let exported = Box::new(Exported { shape, strides, format: elements.element.format.clone(), _writer });
    let has = |what: c_int| flags & what == what;
    view.buf = place.start.cast_mut().cast();
    view.len = isize::try_from(place.len)?;
    view.itemsize = if has(FORMAT) || has(ND) { itemsize } else { 1 };
    view.readonly = place.is_read_only.into();
    view.ndim = if has(ND) { exported.shape.len() as c_int } else { 1 };
    view.format = if has(FORMAT) { exported.format.as_ptr().cast_mut() } else { ptr::null_mut() };
    view.shape = if has(ND) { exported.shape.as_ptr().cast_mut() } else { ptr::null_mut() };
    view.strides = if has(STRIDES) { exported.strides.as_ptr().cast_mut() } else { ptr::null_mut() };
    view.suboffsets = ptr::null_mut();
    view.internal = Box::into_raw(exported).cast();
    Ok(())
}

unsafe extern "C" fn release(_object: *mut ffi::PyObject, view: *mut View) {
    // SAFETY: the interpreter calls with a view that `get` has filled in.
    let internal = unsafe { (*view).internal };
    if !internal.is_null() {
        // SAFETY: from `Box::into_raw` in `fill`, and released once.
        drop(unsafe { Box::from_raw(internal.cast::<Exported>()) });
    }
}

/// The bytes of somebody else's buffer, as long as this lives.
pub(crate) struct Foreign(Box<View>);

impl Foreign {
    /// The contiguous bytes of an object.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let empty = View {
            buf: ptr::null_mut(),
            obj: ptr::null_mut(),
            len: 0,
            itemsize: 0,
            readonly: 0,
            ndim: 0,
            format: ptr::null_mut(),
            shape: ptr::null_mut(),
            strides: ptr::null_mut(),
            suboffsets: ptr::null_mut(),
            internal: ptr::null_mut(),
        };
        let mut view = Box::new(empty);
        // SAFETY: the view may be written, and stays where it is.
        let status = unsafe { PyObject_GetBuffer(object.as_ptr(), &raw mut *view, C_CONTIGUOUS) };
        if status != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        Ok(Self(view))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len.unsigned_abs()
    }

    /// Copies the bytes to a place of this length. Another thread that writes them meanwhile has its part copied or not, as in every copy that is made in Python.
    pub(crate) fn copy_to(&self, place: &mut [u8]) {
        let len = self.len().min(place.len());
        if len > 0 {
            // SAFETY: the exporter keeps so many bytes there until the release; the place is another one, which nobody else knows.
            unsafe { ptr::copy_nonoverlapping(self.0.buf.cast_const().cast::<u8>(), place.as_mut_ptr(), len) };
        }
    }
}

// SAFETY: a place and a length; it is released with the interpreter's lock.
unsafe impl Send for Foreign {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Foreign {}

impl Drop for Foreign {
    fn drop(&mut self) {
        Python::attach(|_| {
            // SAFETY: filled in by `PyObject_GetBuffer`, and released once.
            unsafe { PyBuffer_Release(&raw mut *self.0) }
        });
    }
}
