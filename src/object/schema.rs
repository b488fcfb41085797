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
    ($($type:ty)*) => {$(
        impl Shareable for $type {
            const FINGERPRINT: u64 = fingerprint(stringify!($type), size_of::<$type>(), align_of::<$type>(), &[]);

            fn type_name() -> String {
                stringify!($type).into()
            }
        }
    )*};
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
    fn names_lose_their_paths_and_nothing_else() {
        assert_eq!(short_name::<Vec<std::collections::BTreeMap<String, u8>>>(), "Vec<BTreeMap<String, u8>>");
        assert_eq!(short_name::<(u8, Option<&str>)>(), "(u8, Option<&str>)");
    }
}
