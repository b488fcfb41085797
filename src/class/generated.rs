//! What the code of the attribute `class` needs, and nobody else.

use std::fmt;

/// Prints an object if its type can: the method of this type is found before the one of [`DebugFallback`].
pub struct MaybeDebug<'a, T>(pub &'a T);

impl<T: fmt::Debug> MaybeDebug<'_, T> {
    /// The object's own form.
    pub fn fmt_maybe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// For types without a debug form.
pub trait DebugFallback {
    /// The type's name.
    fn fmt_maybe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

impl<T> DebugFallback for MaybeDebug<'_, T> {
    fn fmt_maybe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::object::schema::short_name::<T>())
    }
}

/// Implements for a generated proxy what all proxies have.
#[doc(hidden)]
#[macro_export]
macro_rules! class_proxy_traits {
    ($proxy:ty) => {
        impl $crate::__private::serde::Serialize for $proxy {
            fn serialize<S: $crate::__private::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                $crate::__private::serialize_proxy(self, serializer)
            }
        }

        impl<'de> $crate::__private::serde::Deserialize<'de> for $proxy {
            fn deserialize<D: $crate::__private::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                $crate::__private::deserialize_proxy(deserializer)
            }
        }

        impl ::core::fmt::Debug for $proxy {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::write!(
                    f,
                    "{}({})",
                    <Self as $crate::ClassProxy>::CLASS,
                    $crate::Proxy::id(<Self as $crate::ClassProxy>::object(self))
                )
            }
        }

        impl ::core::convert::From<$proxy> for $crate::Datum {
            fn from(proxy: $proxy) -> Self {
                $crate::Datum::Proxy(<$proxy as $crate::ClassProxy>::object(&proxy).clone())
            }
        }
    };
}
