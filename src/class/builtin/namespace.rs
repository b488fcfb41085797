//! Named values that any process can change.

use std::collections::BTreeMap;

use crate::class::MethodError;
use crate::object::{Datum, Object};

/// The namespace itself, in the broker.
#[derive(Debug, Default)]
pub(super) struct Attributes(BTreeMap<String, Datum>);

/// Named values and proxies, shared by processes: what programs have in common in one place.
///
/// ```
/// use sharehold::{Manager, Namespace};
///
/// let manager = Manager::start()?;
/// let settings = Namespace::new(&manager)?;
/// settings.set("rate", 0.5)?;
/// assert_eq!(settings.get("rate")?.as_float(), Some(0.5));
/// assert_eq!(settings.names()?, ["rate"]);
/// # Ok::<(), sharehold::Error>(())
/// ```
#[sharehold::class(name = "Namespace", proxy = Namespace)]
impl Attributes {
    /// Makes an empty namespace.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of the value of a name; an error if there is none.
    pub fn get(&self, name: &str) -> Result<Datum, MethodError> {
        self.0.get(name).cloned().ok_or_else(|| missing(name))
    }

    /// Sets the value of a name.
    pub fn set(&mut self, name: &str, value: impl Into<Datum>) {
        self.0.insert(name.into(), value.into());
    }

    /// Removes a name; an error if it is not there.
    pub fn remove(&mut self, name: &str) -> Result<(), MethodError> {
        self.0.remove(name).map(drop).ok_or_else(|| missing(name))
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    #[references]
    fn references(&self, visit: &mut dyn FnMut(&Object)) {
        self.0.values().for_each(|value| value.references(visit));
    }
}

#[track_caller]
fn missing(name: &str) -> MethodError {
    MethodError::plain(format!("there is no name {name:?}"))
}
