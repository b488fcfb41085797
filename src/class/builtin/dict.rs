//! A dictionary that any process can change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::class::MethodError;
use crate::object::{Datum, Object};

/// A key of a [`Dict`]: what can be compared exactly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Key {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
}

impl From<Key> for Datum {
    fn from(key: Key) -> Self {
        match key {
            Key::Bool(key) => key.into(),
            Key::Int(key) => key.into(),
            Key::Text(key) => key.into(),
        }
    }
}

macro_rules! keys {
    ($($type:ty as $variant:ident;)*) => {$(
        impl From<$type> for Key {
            fn from(key: $type) -> Self {
                Self::$variant(key.into())
            }
        }
    )*};
}

keys! { bool as Bool; i64 as Int; i32 as Int; u32 as Int; &str as Text; String as Text; }

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(key) => write!(f, "{key}"),
            Self::Int(key) => write!(f, "{key}"),
            Self::Text(key) => write!(f, "{key:?}"),
        }
    }
}

/// The dictionary itself, in the broker.
#[derive(Debug, Default)]
pub(super) struct Entries(BTreeMap<Key, Datum>);

/// A dictionary of values and proxies, shared by processes. Keys are text, whole numbers or truth values, and kept in order.
///
/// ```
/// use sharehold::{Datum, Dict, List, Manager};
///
/// let manager = Manager::start()?;
/// let dict = Dict::new(&manager)?;
/// dict.set("answer", 42)?;
/// dict.set("list", List::new(&manager)?)?; // the dictionary holds the list
///
/// let list: List = dict.get("list")?.downcast()?;
/// list.push(1)?;
/// assert_eq!(dict.keys()?, ["answer".into(), "list".into()]);
/// assert!(dict.get("question").unwrap_err().to_string().contains("no key \"question\""));
/// # Ok::<(), sharehold::Error>(())
/// ```
#[sharehold::class(name = "Dict", proxy = Dict)]
impl Entries {
    /// Makes an empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A copy of the value of a key; an error if there is none.
    pub fn get(&self, key: impl Into<Key>) -> Result<Datum, MethodError> {
        let key = key.into();
        self.0.get(&key).cloned().ok_or_else(|| missing(&key))
    }

    /// A copy of the value of a key, if there is one.
    pub fn find(&self, key: impl Into<Key>) -> Option<Datum> {
        self.0.get(&key.into()).cloned()
    }

    /// Whether there is a value for a key.
    pub fn contains(&self, key: impl Into<Key>) -> bool {
        self.0.contains_key(&key.into())
    }

    /// Sets the value of a key.
    pub fn set(&mut self, key: impl Into<Key>, value: impl Into<Datum>) {
        self.0.insert(key.into(), value.into());
    }

    /// The value of a key, which is set to `value` if there is none yet.
    pub fn get_or_set(&mut self, key: impl Into<Key>, value: impl Into<Datum>) -> Datum {
        self.0.entry(key.into()).or_insert_with(|| value.into()).clone()
    }

    /// Takes the value of a key; an error if there is none.
    pub fn remove(&mut self, key: impl Into<Key>) -> Result<Datum, MethodError> {
        let key = key.into();
        self.0.remove(&key).ok_or_else(|| missing(&key))
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<Key> {
        self.0.keys().cloned().collect()
    }

    /// Copies of all entries, in the order of the keys.
    pub fn items(&self) -> Vec<(Key, Datum)> {
        self.0.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    #[references]
    fn references(&self, visit: &mut dyn FnMut(&Object)) {
        self.0.values().for_each(|value| value.references(visit));
    }
}

#[track_caller]
fn missing(key: &Key) -> MethodError {
    MethodError::plain(format!("there is no key {key}"))
}
