//! What an array's elements are: the type that the region knows, and the format in which Python sees it.

use std::ffi::CString;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use sharehold::Schema;

/// The numbers, and their letters in the formats of the module `struct`.
const NUMBERS: [(&str, &str); 12] = [
    ("u8", "B"),
    ("i8", "b"),
    ("u16", "H"),
    ("i16", "h"),
    ("u32", "I"),
    ("i32", "i"),
    ("u64", "Q"),
    ("i64", "q"),
    ("usize", "Q"),
    ("isize", "q"),
    ("f32", "f"),
    ("f64", "d"),
];

/// A type of elements.
///
/// An array of `[[f64; 4]; 3]` is one of `f64` for Python, with three dimensions: so a shape is part of the type, and found by whoever finds the array.
#[derive(Clone)]
pub(crate) struct Element {
    pub(crate) schema: Schema,
    /// Of the innermost type.
    pub(crate) format: CString,
    /// The innermost type's name and bytes.
    pub(crate) name: String,
    pub(crate) size: usize,
    /// Dimensions of one element.
    pub(crate) inner: Vec<usize>,
}

impl Element {
    /// That of an object whose type only the region tells. A struct that is not described is that many bytes.
    pub(crate) fn of(schema: Schema) -> PyResult<Self> {
        let mut name = schema.name().to_owned();
        let mut inner = Vec::new();
        while let Some((rest, count)) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).and_then(split) {
            inner.push(count);
            name = rest;
        }
        let count: usize = inner.iter().product();
        let size = usize::try_from(schema.size())? / count.max(1);
        let format = NUMBERS.iter().find(|(number, _)| *number == name);
        let is_right = Schema::primitive(&name).is_some_and(|primitive| {
            inner.iter().rev().fold(primitive, |element, count| element.array(*count)) == schema
        });
        match format {
            Some((_, letter)) if is_right => Ok(Self { schema, format: CString::new(*letter)?, name, size, inner }),
            _ => {
                let size = usize::try_from(schema.size())?;
                let (name, format) = (schema.name().to_owned(), CString::new(format!("{size}s"))?);
                Ok(Self { schema, format, name, size, inner: Vec::new() })
            }
        }
    }

    /// What `_types.py` makes of a description: the name of a number, `("array", element, count)`, or `("struct", name, size, [(field, offset, element), ...])`.
    pub(crate) fn described(description: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (schema, format) = read(description)?;
        let told = Self::of(schema.clone())?;
        if told.format.as_bytes() != format!("{}s", told.size).as_bytes() {
            return Ok(told);
        }
        // A struct, or an array of such: the dimensions are those of the array.
        let mut inner = Vec::new();
        let mut innermost = description.clone();
        let mut size = schema.size();
        while let Ok((kind, element, count)) = innermost.extract::<(String, Bound<'_, PyAny>, usize)>() {
            if kind != "array" {
                break;
            }
            inner.push(count);
            size /= count.max(1) as u64;
            innermost = element;
        }
        let letters = format.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '(' | ')' | ','));
        let name = schema.name().trim_start_matches('[').split(';').next().unwrap_or_default().to_owned();
        Ok(Self { schema, format: CString::new(letters)?, name, size: usize::try_from(size)?, inner })
    }
}

/// `f64; 3` is an `f64` and 3.
fn split(array: &str) -> Option<(String, usize)> {
    let (element, count) = array.rsplit_once("; ")?;
    Some((element.to_owned(), count.parse().ok()?))
}

/// The type, and its format with the dimensions in front.
fn read(description: &Bound<'_, PyAny>) -> PyResult<(Schema, String)> {
    if let Ok(name) = description.cast::<PyString>() {
        let name = name.to_cow()?;
        let letter = NUMBERS.iter().find(|(number, _)| *number == name).map(|(_, letter)| *letter);
        return Schema::primitive(&name)
            .zip(letter)
            .map(|(schema, letter)| (schema, letter.to_owned()))
            .ok_or_else(|| PyTypeError::new_err(format!("'{name}' is no type of elements")));
    }
    let description = description.cast::<PyTuple>()?;
    let kind: String = description.get_item(0)?.extract()?;
    if kind == "array" {
        let (_, element, count): (String, Bound<'_, PyAny>, usize) = description.extract()?;
        let (schema, format) = read(&element)?;
        let dimensions =
            format.strip_prefix('(').map_or_else(|| format!("({count}){format}"), |rest| format!("({count},{rest}"));
        return Ok((schema.array(count), dimensions));
    }
    type Fields<'py> = Vec<(String, u64, Bound<'py, PyAny>)>;
    let (_, name, size, fields): (String, String, u64, Fields<'_>) = description.extract()?;
    let mut format = String::from("T{");
    let mut schemas = Vec::new();
    for (field, offset, element) in &fields {
        let (schema, letters) = read(element)?;
        format.push_str(&format!("{letters}:{field}:"));
        schemas.push((&**field, *offset, schema));
    }
    format.push('}');
    let schema = Schema::structure(&name, size, &schemas).ok_or_else(|| {
        PyValueError::new_err(format!("the fields of {name} have gaps between them, or are not aligned"))
    })?;
    Ok((schema, format))
}
