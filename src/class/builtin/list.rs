//! A list that any process can change.

use crate::class::MethodError;
use crate::object::{Datum, Object};

/// The list itself, in the broker.
#[derive(Debug, Default)]
pub(super) struct Elements(Vec<Datum>);

/// The place that an index means in a list of `len` elements, if it is below `end`.
fn place(index: i64, len: usize, end: usize) -> Result<usize, MethodError> {
    let from_start = if index < 0 { index.checked_add_unsigned(len as u64) } else { Some(index) };
    let found = from_start.and_then(|index| usize::try_from(index).ok()).filter(|index| *index < end);
    found.ok_or_else(|| MethodError::plain(format!("index {index} is out of range: the list has {len} elements")))
}

impl Elements {
    fn place(&self, index: i64) -> Result<usize, MethodError> {
        place(index, self.0.len(), self.0.len())
    }
}

/// A list of values and proxies, shared by processes.
///
/// Indices from -1 down count from the end. Proxies in the list hold their objects as any proxy does.
///
/// ```
/// use sharehold::{Datum, List, Manager};
///
/// let manager = Manager::start()?;
/// let list = List::new(&manager)?;
/// list.push("first")?;
/// list.extend(vec![Datum::from(2), Datum::from(3.5)])?;
/// assert_eq!(list.get(-1)?, Datum::from(3.5));
/// assert_eq!(list.to_vec()?.len(), 3);
/// # Ok::<(), sharehold::Error>(())
/// ```
#[sharehold::class(name = "List", proxy = List)]
impl Elements {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy of the element at `index`.
    pub fn get(&self, index: i64) -> Result<Datum, MethodError> {
        Ok(self.0[self.place(index)?].clone())
    }

    /// Replaces the element at `index`.
    pub fn set(&mut self, index: i64, value: impl Into<Datum>) -> Result<(), MethodError> {
        let place = self.place(index)?;
        self.0[place] = value.into();
        Ok(())
    }

    /// Adds an element at the end.
    pub fn push(&mut self, value: impl Into<Datum>) {
        self.0.push(value.into());
    }

    /// Adds elements at the end.
    pub fn extend(&mut self, values: Vec<Datum>) {
        self.0.extend(values);
    }

    /// Takes the last element; nothing if there is none.
    pub fn pop(&mut self) -> Option<Datum> {
        self.0.pop()
    }

    /// Adds an element before the one at `index`; `len` adds at the end.
    pub fn insert(&mut self, index: i64, value: impl Into<Datum>) -> Result<(), MethodError> {
        // One place more than elements.
        let place = place(index, self.0.len(), self.0.len() + 1)?;
        self.0.insert(place, value.into());
        Ok(())
    }

    /// Takes the element at `index`.
    pub fn remove(&mut self, index: i64) -> Result<Datum, MethodError> {
        let place = self.place(index)?;
        Ok(self.0.remove(place))
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// A copy of all elements.
    pub fn to_vec(&self) -> Vec<Datum> {
        self.0.clone()
    }

    /// Copies of the elements from `from` up to and without `to`, as far as there are any.
    pub fn slice(&self, from: usize, to: usize) -> Vec<Datum> {
        let to = to.min(self.0.len());
        self.0.get(from..to).unwrap_or_default().to_vec()
    }

    #[references]
    fn references(&self, visit: &mut dyn FnMut(&Object)) {
        self.0.iter().for_each(|element| element.references(visit));
    }
}
