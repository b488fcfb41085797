//! Values that need no declared type: what the built-in classes hold, and what any language can say.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::proxy::sealed::Typed as _;
use super::proxy::{Object, Proxy};
use super::transit::{self, Reference};
use super::{Archivable, Archive, Array, Frozen, Shareable, Value};
use crate::error::{Error, ErrorKind, Result};

/// A value of no declared type: what [`List`](crate::List), [`Dict`](crate::Dict) and [`Namespace`](crate::Namespace) hold.
///
/// It can be an argument or a result of any method, whatever the type is that the method declares.
///
/// ```
/// use sharehold::Datum;
///
/// let datum = Datum::from(vec![Datum::from(1), Datum::from("two"), Datum::Unit]);
/// assert_eq!(datum.to_string(), r#"[1, "two", ()]"#);
/// assert_eq!(datum.as_list().map(<[_]>::len), Some(3));
/// ```
#[derive(Debug, Clone, Default)]
pub enum Datum {
    /// Nothing: `()`, or `None`.
    #[default]
    Unit,
    /// True or false.
    Bool(bool),
    /// A whole number from -2^63 to 2^64 - 1; others can't be sent.
    Int(i128),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Datum>),
    /// Keys and values in order. A struct is one with its fields' names as keys.
    Map(Vec<(Datum, Datum)>),
    /// A counted reference to any object.
    Proxy(Object),
}

impl Datum {
    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The whole number, if it is one.
    pub fn as_int(&self) -> Option<i128> {
        if let Self::Int(value) = self { Some(*value) } else { None }
    }

    /// The number, if it is one of either type.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(value) = self { Some(value) } else { None }
    }

    /// The bytes, if it is such.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(value) = self { Some(value) } else { None }
    }

    /// The elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Datum]> {
        if let Self::List(value) = self { Some(value) } else { None }
    }

    /// The entries, if it is a map.
    pub fn as_map(&self) -> Option<&[(Datum, Datum)]> {
        if let Self::Map(value) = self { Some(value) } else { None }
    }

    /// The proxy, if it is one: then [`Object::downcast`] gives a typed one.
    pub fn as_proxy(&self) -> Option<&Object> {
        if let Self::Proxy(value) = self { Some(value) } else { None }
    }

    /// The proxy as a typed one.
    ///
    /// ```
    /// use sharehold::{Dict, List, Manager};
    ///
    /// let manager = Manager::start()?;
    /// let dict = Dict::new(&manager)?;
    /// dict.set("list", List::new(&manager)?)?;
    /// let list: List = dict.get("list")?.downcast()?;
    /// list.push(1)?;
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TypeMismatch` if it is no proxy, or one of an object of another type.
    pub fn downcast<P: Proxy>(&self) -> Result<P> {
        match self {
            Self::Proxy(object) => object.downcast(),
            other => Err(Error::new(ErrorKind::TypeMismatch, format!("{other} is not a proxy"))),
        }
    }

    /// Any value as one of no declared type, as it would be as an argument: a struct becomes a map.
    ///
    /// ```
    /// use sharehold::{Datum, Manager};
    ///
    /// let stats = Datum::of(&Manager::start()?.stats()?)?;
    /// assert!(stats.as_map().is_some_and(|map| map.contains(&(Datum::from("objects"), Datum::from(0)))));
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Unserializable`, also for one with proxies: these are converted with `into`.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        transit::pack(value).and_then(|bytes| transit::unpack(&bytes))
    }

    /// The value that stands in bytes of [MessagePack](https://msgpack.org).
    ///
    /// # Errors
    /// `TypeMismatch` if they are none, or more than one, or nested deeper than 120 levels. A proxy can't stand in them.
    pub fn from_msgpack(bytes: &[u8]) -> Result<Self> {
        transit::unpack(bytes)
    }

    /// The value as bytes of [MessagePack](https://msgpack.org), which any language can read.
    ///
    /// ```
    /// use sharehold::Datum;
    ///
    /// let bytes = Datum::from(vec![Datum::from(1), Datum::from("two")]).to_msgpack()?;
    /// assert_eq!(bytes, b"\x92\x01\xa3two");
    /// assert_eq!(Datum::from_msgpack(&bytes)?.as_list().map(<[_]>::len), Some(2));
    /// # Ok::<(), sharehold::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Unserializable` if there is a proxy in it, which has no bytes outside of a call, or a number that does not fit.
    pub fn to_msgpack(&self) -> Result<Vec<u8>> {
        transit::pack(self)
    }

    /// Calls `visit` with each proxy inside.
    pub(crate) fn references(&self, visit: &mut dyn FnMut(&Object)) {
        match self {
            Self::Proxy(object) => visit(object),
            Self::List(elements) => elements.iter().for_each(|element| element.references(visit)),
            Self::Map(entries) => entries.iter().for_each(|(key, value)| {
                key.references(visit);
                value.references(visit);
            }),
            _ => {}
        }
    }
}

/// Proxies are equal if they are of the same object. Floats are compared as such: one that is not a number differs from itself.
impl PartialEq for Datum {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unit, Self::Unit) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Proxy(a), Self::Proxy(b)) => a.id() == b.id(),
            _ => false,
        }
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Bytes(value) => write!(f, "b\"{}\"", value.escape_ascii()),
            Self::List(elements) => {
                f.write_str("[")?;
                for (index, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if index > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
            Self::Proxy(object) => write!(f, "{object:?}"),
        }
    }
}

macro_rules! from {
    ($($type:ty as $variant:ident;)*) => {$(
        impl From<$type> for Datum {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from! {
    bool as Bool;
    u8 as Int; u16 as Int; u32 as Int; u64 as Int; i8 as Int; i16 as Int; i32 as Int; i64 as Int;
    f32 as Float; f64 as Float;
    &str as Text; String as Text;
    &[u8] as Bytes; Vec<u8> as Bytes;
    Vec<Datum> as List;
    Vec<(Datum, Datum)> as Map;
    Object as Proxy;
}

macro_rules! from_proxy {
    ($($proxy:ty [$($generics:tt)*];)*) => {$(
        impl<$($generics)*> From<$proxy> for Datum {
            fn from(proxy: $proxy) -> Self {
                Self::Proxy(Object::from_hold(proxy.hold().clone()))
            }
        }
    )*};
}

from_proxy! {
    Value<T> [T: Shareable];
    Array<T> [T: Shareable];
    Archive<T> [T: Archivable];
    Frozen<T> [T: Shareable];
}

impl From<usize> for Datum {
    fn from(value: usize) -> Self {
        Self::Int(value as i128)
    }
}

impl From<()> for Datum {
    fn from((): ()) -> Self {
        Self::Unit
    }
}

impl<T: Into<Datum>> From<Option<T>> for Datum {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unit, Into::into)
    }
}

impl<T: Into<Datum>> From<BTreeMap<String, T>> for Datum {
    fn from(value: BTreeMap<String, T>) -> Self {
        Self::Map(value.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl<T: Into<Datum>> From<HashMap<String, T>> for Datum {
    fn from(value: HashMap<String, T>) -> Self {
        Self::Map(value.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl Serialize for Datum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => serializer.serialize_i64(value),
                (_, Ok(value)) => serializer.serialize_u64(value),
                _ => Err(S::Error::custom(format!("{value} is not from -2^63 to 2^64 - 1"))),
            },
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::List(elements) => serializer.collect_seq(elements),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
            Self::Proxy(object) => object.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Datum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Datum;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Datum, E> {
        Ok(Datum::Unit)
    }

    fn visit_none<E>(self) -> Result<Datum, E> {
        Ok(Datum::Unit)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Datum, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Datum, E> {
        Ok(Datum::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Datum, E> {
        Ok(Datum::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Datum, E> {
        Ok(Datum::Int(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Datum, E> {
        Ok(Datum::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Datum, E> {
        Ok(Datum::Text(value.into()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Datum, E> {
        Ok(Datum::Bytes(value.into()))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Datum, D::Error> {
        Reference.visit_newtype_struct(deserializer).map(Datum::Proxy)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Datum, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Datum::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Datum, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Datum::Map(map))
    }
}
