//! Types that may lie in the region in place, and how two processes find out that they mean different ones.

use bytemuck::Pod;

use crate::region::layout::{FNV_BASIS, fnv};

/// A plain-data type that values and arrays can hold in shared memory.
///
/// Implemented for the integers, floats and arrays of such types; derive it for structs, together with the traits of `bytemuck`:
///
/// ```
/// use bytemuck::{Pod, Zeroable};
/// use sharehold::Shareable;
///
/// #[derive(Clone, Copy, Pod, Zeroable, Shareable)]
/// #[repr(C)]
/// struct Quote {
///     bid: f64,
///     ask: f64,
/// }
///
/// assert_eq!(Quote::type_name(), "Quote");
/// ```
///
/// The fingerprint covers the name without its path, the size, the alignment, and the name, offset and type of every field. Two programs that
/// declare the same struct share objects of it; two that differ get an error that names both. It guards against mistakes, not against
/// malice: whoever may write the region can put any bytes in it, and any bytes are a valid `Pod`.
pub trait Shareable: Pod {
    /// Tells this type and layout from others.
    const FINGERPRINT: u64;

    /// The name that others see in lists and errors.
    fn type_name() -> String;
}

/// A type of elements as a value: for languages and programs that know it only when they run.
///
/// It has the fingerprint that the same type has in Rust, so both share objects of it.
///
/// ```
/// use sharehold::{Schema, Shareable};
///
/// let row = Schema::primitive("f64").unwrap().array(3);
/// assert_eq!(row, Schema::of::<[f64; 3]>());
/// assert_eq!((row.name(), row.size()), ("[f64; 3]", 24));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    pub(crate) name: String,
    pub(crate) fingerprint: u64,
    pub(crate) size: u64,
    pub(crate) align: u32,
}

impl Schema {
    /// That of a type of this program.
    pub fn of<T: Shareable>() -> Self {
        Self {
            name: T::type_name(),
            fingerprint: T::FINGERPRINT,
            size: size_of::<T>() as u64,
            align: align_of::<T>() as u32,
        }
    }

    /// That of `u8` to `u128`, `i8` to `i128`, `usize`, `isize`, `f32` or `f64`.
    pub fn primitive(name: &str) -> Option<Self> {
        PRIMITIVES.iter().find(|primitive| primitive.0 == name).map(|primitive| primitive.1())
    }

    /// That of an array of so many of these.
    #[must_use]
    pub fn array(&self, len: usize) -> Self {
        let size = self.size.saturating_mul(len as u64);
        Self {
            name: format!("[{}; {len}]", self.name),
            fingerprint: fingerprint_of("[]", size, self.align.into(), [("element", len as u64, self.fingerprint)]),
            size,
            align: self.align,
        }
    }

    /// That of a struct with `#[repr(C)]` and these fields, each with its offset.
    ///
    /// ```
    /// use bytemuck::{Pod, Zeroable};
    /// use sharehold::{Schema, Shareable};
    ///
    /// #[derive(Clone, Copy, Pod, Zeroable, Shareable)]
    /// #[repr(C)]
    /// struct Quote {
    ///     bid: f64,
    ///     size: u64,
    /// }
    ///
    /// let fields = [("bid", 0, Schema::of::<f64>()), ("size", 8, Schema::of::<u64>())];
    /// assert_eq!(Schema::structure("Quote", 16, &fields), Some(Schema::of::<Quote>()));
    /// ```
    ///
    /// `None` if the fields are not one behind the other, aligned, without gaps, and `size` bytes in all: then it is no plain struct. Also if the name is empty or has control characters.
    pub fn structure(name: &str, size: u64, fields: &[(&str, u64, Schema)]) -> Option<Self> {
        let align = fields.iter().map(|(_, _, schema)| schema.align).max()?;
        if name.is_empty() || name.contains(char::is_control) {
            return None;
        }
        let mut end = 0;
        for (_, offset, schema) in fields {
            if *offset != end || !offset.is_multiple_of(schema.align.into()) {
                return None;
            }
            end = offset.checked_add(schema.size)?;
        }
        let is_plain = end == size && size.is_multiple_of(align.into());
        is_plain.then(|| Self {
            name: name.into(),
            fingerprint: fingerprint_of(
                name,
                size,
                align.into(),
                fields.iter().map(|(field, offset, schema)| (*field, *offset, schema.fingerprint)),
            ),
            size,
            align,
        })
    }

    /// Its name, as others see it in lists and errors.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of one.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What tells it from other types.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// As [`fingerprint`], of what is known only now.
fn fingerprint_of<'a>(name: &str, size: u64, align: u64, fields: impl IntoIterator<Item = (&'a str, u64, u64)>) -> u64 {
    let start = number(number(fnv(FNV_BASIS, name.as_bytes()), size), align);
    fields
        .into_iter()
        .fold(start, |hash, (field, offset, kind)| number(number(fnv(hash, field.as_bytes()), offset), kind))
}

/// The fingerprint of a struct. For the derive macro.
#[doc(hidden)]
pub const fn fingerprint(name: &str, size: usize, align: usize, fields: &[(&str, usize, u64)]) -> u64 {
    let mut hash = fnv(FNV_BASIS, name.as_bytes());
    hash = number(number(hash, size as u64), align as u64);
    let mut i = 0;
    while i < fields.len() {
        let (field, offset, kind) = fields[i];
        hash = number(number(fnv(hash, field.as_bytes()), offset as u64), kind);
        i += 1;
    }
    hash
}

const fn number(hash: u64, number: u64) -> u64 {
    fnv(hash, &number.to_le_bytes())
}

macro_rules! primitives {
    ($($type:ty)*) => {
        $(
        impl Shareable for $type {
            const FINGERPRINT: u64 = fingerprint(stringify!($type), size_of::<$type>(), align_of::<$type>(), &[]);

            fn type_name() -> String {
                stringify!($type).into()
            }
        }
    )*

        /// The primitive types by their names.
        const PRIMITIVES: &[(&str, fn() -> Schema)] = &[$((stringify!($type), Schema::of::<$type>)),*];
    };
}

primitives!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);

impl<T: Shareable, const N: usize> Shareable for [T; N] {
    const FINGERPRINT: u64 =
        fingerprint("[]", size_of::<Self>(), align_of::<Self>(), &[("element", N, T::FINGERPRINT)]);

    fn type_name() -> String {
        format!("[{}; {N}]", T::type_name())
    }
}

/// A type's name without the paths, so that two programs that declare the same type agree: `Vec<Order>`, not `alloc::vec::Vec<a::Order>`.
pub(crate) fn short_name<T: ?Sized>() -> String {
    let full = std::any::type_name::<T>();
    let mut short = String::with_capacity(full.len());
    let mut segment = 0;
    for (at, c) in full.char_indices() {
        short.push(c);
        if full[..=at].ends_with("::") {
            short.truncate(segment);
        } else if !(c.is_alphanumeric() || c == '_' || c == ':') {
            segment = short.len();
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_layouts_have_different_fingerprints() {
        let all = [
            u32::FINGERPRINT,
            i32::FINGERPRINT,
            f32::FINGERPRINT,
            <[u32; 2]>::FINGERPRINT,
            <[u32; 3]>::FINGERPRINT,
            <[f32; 2]>::FINGERPRINT,
            fingerprint("P", 8, 4, &[("x", 0, 1), ("y", 4, 1)]),
            fingerprint("P", 8, 4, &[("y", 0, 1), ("x", 4, 1)]),
            fingerprint("Q", 8, 4, &[("x", 0, 1), ("y", 4, 1)]),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn what_is_no_plain_struct_has_no_schema() {
        let word = Schema::of::<u64>();
        let plain = |name, size, fields: &[(&str, u64, Schema)]| Schema::structure(name, size, fields);
        let field = |offset| [("bid", 0, word.clone()), ("ask", offset, word.clone())];
        assert!(plain("Quote", 16, &field(8)).is_some());
        for wrong in [
            plain("", 16, &field(8)),
            plain("a\tb", 16, &field(8)),
            plain("Quote", 24, &field(8)),
            plain("Quote", 24, &field(16)),
            plain("Quote", 12, &field(4)),
            plain("Quote", 8, &field(u64::MAX - 7)),
            plain("Quote", 0, &[]),
        ] {
            assert_eq!(wrong, None);
        }
    }

    #[test]
    fn names_lose_their_paths_and_nothing_else() {
        assert_eq!(short_name::<Vec<std::collections::BTreeMap<String, u8>>>(), "Vec<BTreeMap<String, u8>>");
        assert_eq!(short_name::<(u8, Option<&str>)>(), "(u8, Option<&str>)");
    }
}
